/* Selection: copies bits, so that types matter by their size alone. */
#include "kernels/cuda/elementwise.cuh"

/* What bits are moved in; any size of elements goes with it. */
typedef int64_t bits;
#define WIDTH tc_width<bits>

struct select_task {
    tc_loops loops; /* of condition, a and b */
    const void *condition, *a, *b;
    void *y;
    int32_t size;
};

template <int V> struct operands {
    tc_raw<bits, V> condition, a, b;
};

/* Groups from element `first` on. */
template <int V>
static __device__ __forceinline__ void select_loop(const select_task &task, int64_t first,
                                                   int64_t groups)
{
    typedef bits C;
    tc_each(
        groups,
        [&](int64_t i) {
            tc_places<3> places = tc_loops_places<3>(task.loops, first + i * V);
            return operands<V>{
                tc_read_broadcast<C, V>(task.condition, places.at[0], 1, task.loops, 0),
                tc_read_broadcast<C, V>(task.a, places.at[1], task.size, task.loops, 1),
                tc_read_broadcast<C, V>(task.b, places.at[2], task.size, task.loops, 2)};
        },
        [&](int64_t i, const operands<V> &raw) {
            tc_raw<C, V> y = {};
            TC_BY_SIZE(
                tc_reads, task.size, TC_EACH_OF(V) {
                    T a = tc_unpack<T>(raw.a, i), b = tc_unpack<T>(raw.b, i);
                    tc_pack(y, i, tc_unpack<uint8_t>(raw.condition, i) ? a : b);
                })
            tc_write(task.y, first + i * V, task.size, y);
        });
}

static __global__ void __launch_bounds__(TC_THREADS)
    choose(const __grid_constant__ select_task task, int64_t groups)
{
    select_loop<WIDTH>(task, 0, groups);
    select_loop<1>(task, groups * WIDTH, task.loops.count - groups * WIDTH);
}

struct select_params {
    tc_loops loops;
    int32_t size;
};

static tc_status prepare(tc_prepare *prepare)
{
    select_params *p = static_cast<select_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_broadcast broadcast;
    memset(&broadcast, 0, sizeof broadcast);
    tc_broadcast_plan(&broadcast, prepare);
    tc_loops_of(&p->loops, &broadcast);
    p->size = static_cast<int32_t>(tc_dtype_size(prepare->outputs[0].dtype));
    return TC_OK;
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const select_params *p = static_cast<const select_params *>(params);
    bool aligned = tc_aligned(inputs[0], inputs[1], inputs[2], outputs[0]);
    int64_t groups = tc_loops_groups(&p->loops, WIDTH, aligned);
    select_task task = {p->loops, inputs[0], inputs[1], inputs[2], outputs[0], p->size};
    return tc_cuda_launch(choose, tc_grid(p->loops.count, groups, WIDTH), dim3(TC_THREADS), 0,
                          context, task, groups);
}

static const tc_kernel kernels[] = {TC_CUDA_KERNEL(where, any, prepare, run)};

TC_CUDA_TABLE(select, kernels);
