/*
 * Streams, events and graphs. Work that is put into a stream stays there until somebody waits for
 * it, so that a wait that is missing shows; with TENSORC_CUDA_HOST_STREAMS=eager it runs at once.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <deque>
#include <set>
#include <vector>

#include "emulation.h"

namespace cuda_host
{

struct stream;

/* Work of a stream up to a place. */
struct ticket {
    std::shared_ptr<stream> of;
    uint64_t number = 0;
};

struct operation {
    std::function<cudaError_t()> work;
    ticket after;
};

struct node {
    std::function<cudaError_t()> work;
    std::vector<size_t> after;
};

struct capture {
    std::vector<node> nodes;
    std::set<stream *> streams;
    stream *origin;
    bool invalid = false;
    bool relaxed;
};

struct stream {
    int device;
    bool blocking; /* waits for the legacy stream, and it for this */
    std::deque<operation> queue;
    uint64_t given = 0, done = 0;
    std::shared_ptr<capture> recording;
    std::vector<size_t> last; /* nodes that the next one comes after */
};

/* Guards what is here; never held while work runs. */
static std::mutex lock;
static std::set<std::shared_ptr<stream>> streams;
static thread_local int captures_of_thread; /* that forbid waiting and allocating */

static bool eager()
{
    const char *mode = getenv("TENSORC_CUDA_HOST_STREAMS");
    return mode && !strcmp(mode, "eager");
}

} // namespace cuda_host

using namespace cuda_host;

struct CUstream_st {
    std::shared_ptr<stream> self;
};

struct CUevent_st {
    ticket at;
    std::shared_ptr<capture> recording;
    std::vector<size_t> last;
    std::shared_ptr<double> time = std::make_shared<double>(0); /* milliseconds */
};

struct CUgraph_st {
    std::vector<node> nodes;
};

struct CUgraphExec_st {
    std::shared_ptr<const std::vector<node>> nodes;
};

namespace cuda_host
{

static std::shared_ptr<stream> legacy_stream()
{
    static std::shared_ptr<stream> legacy[max_devices];
    std::shared_ptr<stream> &s = legacy[current_device()];
    if (!s) {
        s = std::make_shared<stream>();
        s->device = current_device();
        s->blocking = true;
        streams.insert(s);
    }
    return s;
}

static bool is_legacy(cudaStream_t handle)
{
    return !handle || handle == cudaStreamLegacy || handle == cudaStreamPerThread;
}

/* Both with the lock held. */
static std::shared_ptr<stream> stream_of(cudaStream_t handle)
{
    return is_legacy(handle) ? legacy_stream() : handle->self;
}

/* Runs a stream up to a place, and before that what it waits for. The execution lock is held. */
static cudaError_t run_until(const std::shared_ptr<stream> &s, uint64_t number)
{
    cudaError_t error = cudaSuccess;
    for (;;) {
        operation next;
        {
            std::lock_guard<std::mutex> guard(lock);
            if (s->done >= number || s->queue.empty())
                break;
            next = std::move(s->queue.front());
            s->queue.pop_front();
        }
        if (next.after.of)
            (void)run_until(next.after.of, next.after.number);
        cudaError_t one = lost() != cudaSuccess ? lost() : next.work ? next.work() : cudaSuccess;
        error = error != cudaSuccess ? error : one;
        std::lock_guard<std::mutex> guard(lock);
        s->done++;
    }
    return lost() != cudaSuccess ? lost() : error;
}

static cudaError_t drain(const std::shared_ptr<stream> &s)
{
    std::lock_guard<std::recursive_mutex> guard(execution_lock);
    return run_until(s, UINT64_MAX);
}

static cudaError_t drain_if(int device, bool (*which)(const stream &))
{
    std::vector<std::shared_ptr<stream>> all;
    {
        std::lock_guard<std::mutex> guard(lock);
        for (const std::shared_ptr<stream> &s : streams)
            if (s->device == device && which(*s))
                all.push_back(s);
    }
    cudaError_t error = cudaSuccess;
    for (const std::shared_ptr<stream> &s : all) {
        cudaError_t one = drain(s);
        error = error != cudaSuccess ? error : one;
    }
    return error;
}

cudaError_t drain_device(int device)
{
    return drain_if(device, [](const stream &) { return true; });
}

void drop_all_work()
{
    std::lock_guard<std::mutex> guard(lock);
    for (const std::shared_ptr<stream> &s : streams) {
        s->done += s->queue.size();
        s->queue.clear();
    }
}

bool capture_forbids()
{
    return captures_of_thread > 0;
}

bool is_capturing(cudaStream_t handle)
{
    std::lock_guard<std::mutex> guard(lock);
    return !is_legacy(handle) && handle->self->recording;
}

static cudaError_t push(const std::shared_ptr<stream> &s, operation o)
{
    {
        std::lock_guard<std::mutex> guard(lock);
        if (s->recording) {
            if (s->recording->invalid)
                return cudaErrorStreamCaptureInvalidated;
            s->recording->nodes.push_back({std::move(o.work), s->last});
            s->last = {s->recording->nodes.size() - 1};
            return cudaSuccess;
        }
        s->queue.push_back(std::move(o));
        s->given++;
    }
    return eager() ? drain(s) : cudaSuccess;
}

cudaError_t stream_push(cudaStream_t handle, std::function<cudaError_t()> work)
{
    if (lost() != cudaSuccess)
        return lost();
    std::shared_ptr<stream> s;
    {
        std::lock_guard<std::mutex> guard(lock);
        s = stream_of(handle);
    }
    if (is_legacy(handle)) {
        if (capture_forbids())
            return cudaErrorStreamCaptureUnsupported;
        cudaError_t error = drain_if(s->device, [](const stream &other) { return other.blocking; });
        if (error != cudaSuccess)
            return error;
    }
    return push(s, {std::move(work), {}});
}

static double milliseconds()
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

/* A wait of the host while this thread records breaks the recording, as in CUDA. */
static cudaError_t forbidden(const std::shared_ptr<stream> &s)
{
    std::lock_guard<std::mutex> guard(lock);
    if (s && s->recording) {
        s->recording->invalid = true;
        return cudaErrorStreamCaptureUnsupported;
    }
    return cudaSuccess;
}

/*
 * Runs nodes so that each comes after those that it must come after, and otherwise in another order
 * than they were recorded in: the newest first.
 */
static cudaError_t run_nodes(const std::vector<node> &nodes)
{
    std::vector<size_t> missing(nodes.size()), ready;
    std::vector<std::vector<size_t>> later(nodes.size());
    for (size_t i = 0; i < nodes.size(); i++) {
        missing[i] = nodes[i].after.size();
        for (size_t before : nodes[i].after)
            later[before].push_back(i);
        if (missing[i] == 0)
            ready.push_back(i);
    }
    while (!ready.empty()) {
        size_t i = ready.back();
        ready.pop_back();
        cudaError_t error = nodes[i].work ? nodes[i].work() : cudaSuccess;
        if (error != cudaSuccess)
            return error;
        for (size_t next : later[i])
            if (--missing[next] == 0)
                ready.push_back(next);
    }
    return cudaSuccess;
}

} // namespace cuda_host

/*
 * Streams
 */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *handle, unsigned int flags)
{
    *handle = nullptr;
    if (lost() != cudaSuccess)
        return result(lost());
    std::lock_guard<std::mutex> guard(lock);
    std::shared_ptr<stream> s = std::make_shared<stream>();
    s->device = current_device();
    s->blocking = !(flags & cudaStreamNonBlocking);
    streams.insert(s);
    *handle = new CUstream_st{s};
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *handle)
{
    return cudaStreamCreateWithFlags(handle, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *handle, unsigned int flags, int)
{
    return cudaStreamCreateWithFlags(handle, flags);
}

/* CUDA lets the work run on; here it runs now, as nobody would wait for it later. */
cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    if (is_legacy(handle))
        return result(cudaErrorInvalidResourceHandle);
    (void)drain(handle->self);
    std::lock_guard<std::mutex> guard(lock);
    streams.erase(handle->self);
    delete handle;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    std::shared_ptr<stream> s;
    {
        std::lock_guard<std::mutex> guard(lock);
        s = stream_of(handle);
    }
    cudaError_t error = forbidden(s);
    if (error != cudaSuccess)
        return result(error);
    return result(is_legacy(handle)
                      ? drain_if(s->device, [](const stream &other) { return other.blocking; })
                      : drain(s));
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    return result(drain_device(current_device()));
}

cudaError_t cudaDeviceReset(void)
{
    return cudaDeviceSynchronize();
}

/* Asking lets one piece of work run, so that programs that ask again and again come on. */
static cudaError_t query(const ticket &t)
{
    uint64_t next;
    {
        std::lock_guard<std::mutex> guard(lock);
        if (!t.of || t.of->done >= t.number)
            return lost();
        next = t.of->done + 1;
    }
    std::lock_guard<std::recursive_mutex> guard(execution_lock);
    cudaError_t error = run_until(t.of, next);
    return error != cudaSuccess ? error : cudaErrorNotReady;
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    ticket t;
    {
        std::lock_guard<std::mutex> guard(lock);
        t.of = stream_of(handle);
        t.number = t.of->given;
    }
    cudaError_t error = forbidden(t.of);
    return result(error != cudaSuccess ? error : query(t));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *argument)
{
    return result(stream_push(handle, [=] {
        function(argument);
        return cudaSuccess;
    }));
}

/*
 * Events
 */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int)
{
    *event = new CUevent_st;
    return result(lost());
}

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
    std::shared_ptr<double> time = event->time;
    std::shared_ptr<stream> s;
    {
        std::lock_guard<std::mutex> guard(lock);
        s = stream_of(handle);
        event->recording = s->recording;
        event->last = s->last;
        if (s->recording)
            return result(s->recording->invalid ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
    }
    cudaError_t error = stream_push(handle, [time] {
        *time = milliseconds();
        return cudaSuccess;
    });
    std::lock_guard<std::mutex> guard(lock);
    event->at = {s, s->given};
    return result(error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int)
{
    std::shared_ptr<stream> s;
    {
        std::lock_guard<std::mutex> guard(lock);
        s = stream_of(handle);
        if (event->recording) {
            if (s->recording && s->recording != event->recording)
                return result(cudaErrorStreamCaptureIsolation);
            if (!s->recording) { /* joins the recording of the other stream */
                if (is_legacy(handle))
                    return result(cudaErrorStreamCaptureUnsupported);
                s->recording = event->recording;
                s->recording->streams.insert(s.get());
                s->last.clear();
            }
            for (size_t before : event->last)
                s->last.push_back(before);
            return cudaSuccess;
        }
        if (s->recording) {
            s->recording->invalid = s->recording->invalid || event->at.of;
            return result(event->at.of ? cudaErrorStreamCaptureIsolation : cudaSuccess);
        }
    }
    return event->at.of ? result(push(s, {nullptr, event->at})) : cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    if (event->recording)
        return result(cudaErrorCapturedEvent);
    if (!event->at.of)
        return cudaSuccess;
    std::lock_guard<std::recursive_mutex> guard(execution_lock);
    return result(run_until(event->at.of, event->at.number));
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return result(event->recording ? cudaErrorCapturedEvent : query(event->at));
}

cudaError_t cudaEventElapsedTime(float *elapsed, cudaEvent_t from, cudaEvent_t to)
{
    {
        std::lock_guard<std::mutex> guard(lock);
        for (cudaEvent_t event : {from, to}) {
            if (!event->at.of)
                return result(cudaErrorInvalidResourceHandle);
            if (event->at.of->done < event->at.number)
                return cudaErrorNotReady;
        }
    }
    *elapsed = static_cast<float>(*to->time - *from->time);
    return cudaSuccess;
}

/*
 * Graphs
 */
cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
    if (is_legacy(handle))
        return result(cudaErrorStreamCaptureUnsupported);
    std::lock_guard<std::mutex> guard(lock);
    if (handle->self->recording)
        return result(cudaErrorInvalidValue);
    std::shared_ptr<capture> c = std::make_shared<capture>();
    c->origin = handle->self.get();
    c->streams.insert(c->origin);
    c->relaxed = mode == cudaStreamCaptureModeRelaxed;
    handle->self->recording = c;
    handle->self->last.clear();
    captures_of_thread += !c->relaxed;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
    *graph = nullptr;
    std::lock_guard<std::mutex> guard(lock);
    std::shared_ptr<capture> c = is_legacy(handle) ? nullptr : handle->self->recording;
    if (!c)
        return result(cudaErrorInvalidValue);
    if (c->origin != handle->self.get())
        return result(cudaErrorStreamCaptureUnmatched);
    captures_of_thread -= !c->relaxed;
    /* What the origin's end comes after, which must be everything. */
    std::vector<bool> joined(c->nodes.size());
    std::vector<size_t> rest = handle->self->last;
    size_t n_joined = 0;
    while (!rest.empty()) {
        size_t i = rest.back();
        rest.pop_back();
        if (joined[i])
            continue;
        joined[i] = true;
        n_joined++;
        rest.insert(rest.end(), c->nodes[i].after.begin(), c->nodes[i].after.end());
    }
    for (stream *s : c->streams) {
        s->recording = nullptr;
        s->last.clear();
    }
    if (c->invalid)
        return result(cudaErrorStreamCaptureInvalidated);
    if (n_joined < c->nodes.size())
        return result(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st{std::move(c->nodes)};
    return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
    std::lock_guard<std::mutex> guard(lock);
    std::shared_ptr<capture> c = is_legacy(handle) ? nullptr : handle->self->recording;
    *status = !c           ? cudaStreamCaptureStatusNone
              : c->invalid ? cudaStreamCaptureStatusInvalidated
                           : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode *mode)
{
    static thread_local cudaStreamCaptureMode of_thread = cudaStreamCaptureModeGlobal;
    std::swap(of_thread, *mode);
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new CUgraphExec_st{std::make_shared<const std::vector<node>>(graph->nodes)};
    return result(lost());
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, void *nodes, size_t *count)
{
    if (nodes)
        return result(cudaErrorNotSupported);
    *count = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return result(lost());
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle)
{
    std::shared_ptr<const std::vector<node>> nodes = exec->nodes;
    return result(stream_push(handle, [nodes] { return run_nodes(*nodes); }));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    return cudaSuccess;
}
