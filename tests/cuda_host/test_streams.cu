/* Streams wait for nobody but those that they must, and graphs replay what they recorded. */
#include "kernel_test.h"

static __global__ void append(int *list, int *count, int value)
{
    list[(*count)++] = value;
}

static __global__ void add(int *to, int value)
{
    to[threadIdx.x] += value;
}

struct queues {
    cudaStream_t first, second;
    cudaEvent_t event;
};

static int begin(void **state)
{
    queues *q = new queues;
    *state = q;
    return cudaStreamCreateWithFlags(&q->first, cudaStreamNonBlocking) != cudaSuccess ||
           cudaStreamCreateWithFlags(&q->second, cudaStreamNonBlocking) != cudaSuccess ||
           cudaEventCreateWithFlags(&q->event, cudaEventDisableTiming) != cudaSuccess;
}

static int end(void **state)
{
    queues *q = static_cast<queues *>(*state);
    int failed = cudaStreamDestroy(q->first) != cudaSuccess ||
                 cudaStreamDestroy(q->second) != cudaSuccess ||
                 cudaEventDestroy(q->event) != cudaSuccess || cudaGetLastError() != cudaSuccess;
    delete q;
    return failed;
}

/* What the host reads before it has waited is old. */
static void work_waits(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> a(std::vector<int>(4));
    int *pinned = nullptr;
    assert_good(cudaHostAlloc(&pinned, 4 * sizeof(int), cudaHostAllocPortable));
    memset(pinned, 0, 4 * sizeof(int));
    assert_good(tc_cuda_host_launch(add, 1, 4, 0, q->first, a.at, 3));
    assert_good(cudaMemcpyAsync(pinned, a.at, 4 * sizeof(int), cudaMemcpyDeviceToHost, q->first));
    assert_int_equal(pinned[2], 0);
    assert_int_equal(cudaStreamQuery(q->first), cudaErrorNotReady);
    assert_good(cudaStreamSynchronize(q->first));
    assert_int_equal(pinned[2], 3);
    assert_int_equal(cudaStreamQuery(q->first), cudaSuccess);
    /* Asking for long enough also gets there. */
    assert_good(cudaMemsetAsync(a.at, 0, 4 * sizeof(int), q->first));
    assert_good(cudaMemcpyAsync(pinned, a.at, 4 * sizeof(int), cudaMemcpyDeviceToHost, q->first));
    assert_good(cudaEventRecord(q->event, q->first));
    while (cudaEventQuery(q->event) == cudaErrorNotReady)
        ;
    assert_int_equal(pinned[2], 0);
    assert_good(cudaFreeHost(pinned));
}

/* Arguments are those of the time of the launch. */
static void arguments_are_copied(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> a(std::vector<int>(1));
    int value = 5;
    void *at = a.at, *arguments[] = {&at, &value};
    assert_good(cudaLaunchKernel(add, 1, 1, arguments, 0, q->first));
    value = 6;
    at = nullptr;
    assert_good(cudaStreamSynchronize(q->first));
    assert_int_equal(a.read()[0], 5);
}

static void events_order_streams(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> list(4), count(std::vector<int>(1));
    /* Without an event, the stream that is waited for runs alone. */
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->first, list.at, count.at, 1));
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->second, list.at, count.at, 2));
    assert_good(cudaStreamSynchronize(q->second));
    assert_int_equal(count.read()[0], 1);
    assert_good(cudaStreamSynchronize(q->first));
    /* With one it brings on what was before it. */
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->first, list.at, count.at, 3));
    assert_good(cudaEventRecord(q->event, q->first));
    assert_good(cudaStreamWaitEvent(q->second, q->event, 0));
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->second, list.at, count.at, 4));
    assert_good(cudaStreamSynchronize(q->second));
    std::vector<int> found = list.read();
    const int expected[] = {2, 1, 3, 4};
    assert_memory_equal(found.data(), expected, sizeof expected);
}

static void count_call(void *argument)
{
    ++*static_cast<int *>(argument);
}

static void graphs(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> a(std::vector<int>(2)), b(2);
    int calls = 0;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    assert_good(cudaStreamBeginCapture(q->first, cudaStreamCaptureModeThreadLocal));
    assert_good(tc_cuda_host_launch(add, 1, 2, 0, q->first, a.at, 10));
    assert_good(cudaEventRecord(q->event, q->first));
    assert_good(cudaStreamWaitEvent(q->second, q->event, 0));
    assert_good(cudaMemcpyAsync(b.at, a.at, 8, cudaMemcpyDeviceToDevice, q->second));
    assert_good(tc_cuda_host_launch(add, 1, 2, 0, q->second, b.at, 1));
    assert_good(cudaLaunchHostFunc(q->first, count_call, &calls));
    assert_good(cudaEventRecord(q->event, q->second));
    assert_good(cudaStreamWaitEvent(q->first, q->event, 0));
    assert_good(cudaStreamEndCapture(q->first, &graph));
    size_t nodes = 0;
    assert_good(cudaGraphGetNodes(graph, nullptr, &nodes));
    assert_int_equal(nodes, 4);
    assert_good(cudaGraphInstantiate(&exec, graph, 0));
    assert_good(cudaGraphDestroy(graph));
    assert_good(cudaDeviceSynchronize());
    assert_int_equal(a.read()[0], 0); /* recorded, not run */
    for (int i = 1; i <= 3; i++) {
        assert_good(cudaGraphLaunch(exec, q->first));
        assert_int_equal(calls, i - 1);
        assert_good(cudaStreamSynchronize(q->first));
        assert_int_equal(calls, i);
        assert_int_equal(a.read()[1], 10 * i);
        assert_int_equal(b.read()[1], 10 * i + 1);
    }
    assert_good(cudaGraphExecDestroy(exec));
}

/* Branches of a graph do not run in the order that they were recorded in. */
static void branches_of_graphs(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> list(2), count(std::vector<int>(1));
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    assert_good(cudaStreamBeginCapture(q->first, cudaStreamCaptureModeThreadLocal));
    assert_good(cudaEventRecord(q->event, q->first));
    assert_good(cudaStreamWaitEvent(q->second, q->event, 0));
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->first, list.at, count.at, 1));
    assert_good(tc_cuda_host_launch(append, 1, 1, 0, q->second, list.at, count.at, 2));
    assert_good(cudaEventRecord(q->event, q->second));
    assert_good(cudaStreamWaitEvent(q->first, q->event, 0));
    assert_good(cudaStreamEndCapture(q->first, &graph));
    assert_good(cudaGraphInstantiate(&exec, graph, 0));
    assert_good(cudaGraphLaunch(exec, q->first));
    assert_good(cudaStreamSynchronize(q->first));
    assert_int_equal(list.read()[0], 2);
    assert_good(cudaGraphExecDestroy(exec));
    assert_good(cudaGraphDestroy(graph));
}

/* What CUDA forbids while a stream is recorded. */
static void recordings_that_fail(void **state)
{
    queues *q = static_cast<queues *>(*state);
    device_array<int> a(std::vector<int>(2));
    cudaGraph_t graph;
    void *memory;
    int on_stack[2];
    assert_good(cudaStreamBeginCapture(q->first, cudaStreamCaptureModeThreadLocal));
    assert_int_equal(cudaMalloc(&memory, 4), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaMemcpyAsync(on_stack, a.at, 8, cudaMemcpyDeviceToHost, q->first),
                     cudaErrorStreamCaptureUnsupported); /* not pinned */
    assert_int_equal(cudaStreamSynchronize(q->first), cudaErrorStreamCaptureUnsupported);
    assert_int_equal(cudaStreamEndCapture(q->first, &graph), cudaErrorStreamCaptureInvalidated);
    assert_null(graph);
    /* A branch that does not come back. */
    assert_good(cudaStreamBeginCapture(q->first, cudaStreamCaptureModeThreadLocal));
    assert_good(cudaEventRecord(q->event, q->first));
    assert_good(cudaStreamWaitEvent(q->second, q->event, 0));
    assert_good(tc_cuda_host_launch(add, 1, 2, 0, q->second, a.at, 1));
    assert_int_equal(cudaStreamEndCapture(q->first, &graph), cudaErrorStreamCaptureUnjoined);
    (void)cudaGetLastError();
    assert_good(tc_cuda_host_launch(add, 1, 2, 0, q->second, a.at, 1));
    assert_good(cudaStreamSynchronize(q->second));
    assert_int_equal(a.read()[0], 1);
}

/* An error is that of the wait, and of everything after it. */
static void errors_come_late(void **state)
{
    queues *q = static_cast<queues *>(*state);
    assert_good(tc_cuda_host_launch(add, 1, 2, 0, q->first, static_cast<int *>(nullptr), 1));
    assert_int_equal(cudaStreamSynchronize(q->first), cudaErrorIllegalAddress);
    assert_int_equal(cudaSetDevice(0), cudaErrorIllegalAddress);
    assert_int_equal(tc_cuda_host_launch(add, 1, 2, 0, q->first, static_cast<int *>(nullptr), 1),
                     cudaErrorIllegalAddress);
    tc_cuda_host_reset();
    assert_good(cudaSetDevice(0));
}

static void launches_that_cannot_be(void **state)
{
    queues *q = static_cast<queues *>(*state);
    int *none = nullptr;
    assert_int_equal(tc_cuda_host_launch(add, 1, 1025, 0, q->first, none, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(tc_cuda_host_launch(add, 0, 1, 0, q->first, none, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(tc_cuda_host_launch(add, dim3(1, 65536), 1, 0, q->first, none, 1),
                     cudaErrorInvalidConfiguration);
    assert_int_equal(tc_cuda_host_launch(add, 1, 1, 300 << 10, q->first, none, 1),
                     cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaErrorInvalidValue);
    assert_int_equal(cudaGetLastError(), cudaSuccess);
}

static void memory_runs_out(void **)
{
    size_t before, after, total;
    void *memory, *more;
    assert_good(cudaMemGetInfo(&before, &total));
    assert_good(cudaMalloc(&memory, total / 2));
    assert_good(cudaMemGetInfo(&after, &total));
    assert_int_equal(before - after, total / 2);
    assert_int_equal(cudaMalloc(&more, total / 2 + 1), cudaErrorMemoryAllocation);
    assert_null(more);
    assert_int_equal(cudaGetLastError(), cudaErrorMemoryAllocation);
    assert_good(cudaFree(memory));
    assert_good(cudaMalloc(&more, total / 2 + 1));
    assert_good(cudaFree(more));
    assert_int_equal(cudaFree(more), cudaErrorInvalidValue);
    (void)cudaGetLastError();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(work_waits, begin, end),
        cmocka_unit_test_setup_teardown(arguments_are_copied, begin, end),
        cmocka_unit_test_setup_teardown(events_order_streams, begin, end),
        cmocka_unit_test_setup_teardown(graphs, begin, end),
        cmocka_unit_test_setup_teardown(branches_of_graphs, begin, end),
        cmocka_unit_test_setup_teardown(recordings_that_fail, begin, end),
        cmocka_unit_test_setup_teardown(errors_come_late, begin, end),
        cmocka_unit_test_setup_teardown(launches_that_cannot_be, begin, end),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
