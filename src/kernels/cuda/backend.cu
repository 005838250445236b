/* Devices, memory, queues and recordings over the CUDA runtime. */
#include <stdio.h>

#include <atomic>

#include "kernels/cuda/compiled.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/host.h"
#include "kernels/cuda/libraries.h"

typedef struct cuda_state {
    tc_backend backend; /* first: cast back */
    struct tc_cuda_device devices[TC_CUDA_MAX_DEVICES];
} cuda_state;

static cuda_state state;

const tc_host *tc_cuda_host;

/* All tables one behind the other. */
#define TC_CUDA_KERNELS(family) extern "C" const tc_kernel_table tc_cuda_kernels_##family;
#include "kernels/cuda/kernels.def"
#undef TC_CUDA_KERNELS
#define TC_CUDA_KERNELS(family) &tc_cuda_kernels_##family,
static const tc_kernel_table *const tables[] = {
#include "kernels/cuda/kernels.def"
};
#undef TC_CUDA_KERNELS

/*
 * Errors
 */
tc_status tc_cuda_check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess)
        return TC_OK;
    int device = 0;
    (void)cudaGetDevice(&device);
    (void)cudaGetLastError(); /* errors that pass must not be told twice */
    tc_status status = error == cudaErrorMemoryAllocation ? TC_RESOURCE_EXHAUSTED
                       : error == cudaErrorNoDevice || error == cudaErrorInsufficientDriver ||
                               error == cudaErrorDevicesUnavailable
                           ? TC_UNAVAILABLE
                           : TC_INTERNAL;
    return tc_kernel_fail(status, "cuda:%d: %s: %s", device, what, cudaGetErrorString(error));
}

const struct tc_cuda_device *tc_cuda_device_at(int32_t index)
{
    return &state.devices[index];
}

/* Calls of the runtime are for the calling thread's device. */
static tc_status select_device(int32_t device)
{
    return tc_cuda_check(cudaSetDevice(device), "selecting the device");
}

/*
 * Devices
 */
static tc_status read_device(int32_t index, struct tc_cuda_device *device)
{
    cudaDeviceProp properties;
    TC_CUDA_TRY(cudaGetDeviceProperties(&properties, index), "reading the device's properties");
    device->multiprocessors = properties.multiProcessorCount;
    device->major = properties.major;
    device->minor = properties.minor;
    device->shared_bytes = properties.sharedMemPerBlock;
    device->shared_bytes_opt_in = properties.sharedMemPerBlockOptin;
    device->l2_bytes = static_cast<size_t>(properties.l2CacheSize);
    return TC_OK;
}

static tc_status describe(tc_backend *backend, int32_t device, tc_device_info *info)
{
    (void)backend;
    cudaDeviceProp properties;
    int driver = 0;
    TC_CUDA_TRY(cudaGetDeviceProperties(&properties, device), "reading the device's properties");
    TC_CUDA_TRY(cudaDriverGetVersion(&driver), "reading the driver's version");
    snprintf(info->name, sizeof info->name, "cuda:%d", static_cast<int>(device));
    snprintf(info->description, sizeof info->description,
             "%.64s, compute capability %d.%d, driver for CUDA %d.%d", properties.name,
             properties.major, properties.minor, driver / 1000, driver % 1000 / 10);
    info->memory_bytes = properties.totalGlobalMem;
    return TC_OK;
}

/*
 * Memory
 */
static tc_status memory(tc_backend *backend, int32_t device, tc_device_memory *m)
{
    (void)backend;
    TC_TRY(select_device(device));
    return tc_cuda_check(cudaMemGetInfo(&m->free, &m->total), "asking for the free memory");
}

static tc_status allocate(tc_backend *backend, int32_t device, size_t bytes, void **address)
{
    *address = NULL;
    TC_TRY(select_device(device));
    cudaError_t error = cudaMalloc(address, bytes ? bytes : 1);
    if (error != cudaErrorMemoryAllocation)
        return tc_cuda_check(error, "allocating memory");
    (void)cudaGetLastError();
    tc_device_memory m = {0, 0};
    TC_TRY(memory(backend, device, &m));
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                          "cuda:%d: there is no memory for %zu bytes; %zu of %zu are free",
                          static_cast<int>(device), bytes, m.free, m.total);
}

static void release(tc_backend *backend, int32_t device, void *address)
{
    (void)backend;
    (void)cudaSetDevice(device);
    (void)cudaFree(address);
}

static tc_status pin(tc_backend *backend, size_t bytes, void **address)
{
    (void)backend;
    *address = NULL;
    return tc_cuda_check(cudaHostAlloc(address, bytes ? bytes : 1, cudaHostAllocPortable),
                         "allocating pinned memory");
}

static void unpin(tc_backend *backend, void *address)
{
    (void)backend;
    (void)cudaFreeHost(address);
}

/*
 * Queues
 */
static void queue_destroy(tc_queue *queue)
{
    (void)cudaSetDevice(queue->device);
    if (queue->stream) {
        (void)cudaStreamSynchronize(queue->stream);
        (void)cudaStreamDestroy(queue->stream);
    }
    if (queue->event)
        (void)cudaEventDestroy(queue->event);
    tc_cuda_host->release(queue);
}

static tc_status fill_queue(tc_queue *queue)
{
    TC_TRY(select_device(queue->device));
    TC_CUDA_TRY(cudaStreamCreateWithFlags(&queue->stream, cudaStreamNonBlocking),
                "making a stream");
    TC_CUDA_TRY(cudaEventCreateWithFlags(&queue->event, cudaEventDisableTiming), "making an event");
    queue->libraries = tc_cuda_libraries_of(queue->device);
    return TC_OK;
}

static tc_status queue_create(tc_backend *backend, int32_t device, tc_queue **out)
{
    *out = NULL;
    tc_queue *queue = static_cast<tc_queue *>(tc_cuda_host->allocate(sizeof *queue));
    if (!queue)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for a queue");
    memset(queue, 0, sizeof *queue);
    queue->backend = backend;
    queue->device = device;
    tc_status status = fill_queue(queue);
    if (status != TC_OK) {
        queue_destroy(queue);
        return status;
    }
    *out = queue;
    return TC_OK;
}

static tc_status select_queue(tc_queue *queue)
{
    return select_device(queue->device);
}

/* Direct copies between devices where the hardware has a way, else CUDA goes through the host.
 * Once, before anything is recorded. */
static void enable_peers(int32_t device)
{
    static std::atomic<uint32_t> enabled;
    if (enabled.fetch_or(1u << device) >> device & 1)
        return;
    for (int32_t other = 0; other < state.backend.n_devices; other++) {
        int can = 0;
        if (other != device && cudaDeviceCanAccessPeer(&can, device, other) == cudaSuccess && can)
            (void)cudaDeviceEnablePeerAccess(other, 0);
    }
    (void)cudaGetLastError(); /* "already enabled" */
}

static tc_status copy(tc_queue *queue, void *to, int32_t to_device, const void *from,
                      int32_t from_device, size_t bytes)
{
    if (bytes == 0)
        return TC_OK;
    TC_TRY(select_device(queue->device));
    if (to_device != from_device && to_device != TC_DEVICE_HOST && from_device != TC_DEVICE_HOST) {
        enable_peers(queue->device);
        return tc_cuda_check(
            cudaMemcpyPeerAsync(to, to_device, from, from_device, bytes, queue->stream),
            "copying between devices");
    }
    cudaMemcpyKind kind = to_device == from_device        ? cudaMemcpyDeviceToDevice
                          : from_device == TC_DEVICE_HOST ? cudaMemcpyHostToDevice
                                                          : cudaMemcpyDeviceToHost;
    return tc_cuda_check(cudaMemcpyAsync(to, from, bytes, kind, queue->stream), "copying");
}

/* Groups of 16 bytes, then the bytes behind them. */
static __global__ void copy_bytes(unsigned char *to, const unsigned char *from, size_t bytes,
                                  size_t groups, const tc_run_state *run)
{
    if (run->fault.place != 0)
        return;
    size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
    size_t first = static_cast<size_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    for (size_t i = first; i < groups; i += stride)
        reinterpret_cast<uint4 *>(to)[i] = reinterpret_cast<const uint4 *>(from)[i];
    for (size_t i = groups * sizeof(uint4) + first; i < bytes; i += stride)
        to[i] = from[i];
}

static tc_status copy_unless_fault(tc_queue *queue, void *to, const void *from, size_t bytes,
                                   const tc_run_state *run)
{
    TC_TRY(select_device(queue->device));
    tc_kernel_context context;
    memset(&context, 0, sizeof context);
    context.queue = queue;
    uintptr_t bits = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
    size_t groups = bits % sizeof(uint4) == 0 ? bytes / sizeof(uint4) : 0;
    size_t rest = bytes - groups * sizeof(uint4), most = groups > rest ? groups : rest;
    unsigned blocks = tc_cuda_blocks(static_cast<int64_t>(most), 256, TC_CUDA_MOST_BLOCKS);
    return tc_cuda_launch(copy_bytes, dim3(blocks), dim3(256), 0, &context,
                          static_cast<unsigned char *>(to),
                          static_cast<const unsigned char *>(from), bytes, groups, run);
}

static tc_status order(tc_queue *later, tc_queue *earlier)
{
    TC_TRY(select_device(earlier->device));
    TC_CUDA_TRY(cudaEventRecord(earlier->event, earlier->stream), "recording an event");
    TC_TRY(select_device(later->device));
    return tc_cuda_check(cudaStreamWaitEvent(later->stream, earlier->event, 0),
                         "waiting for an event");
}

static tc_status wait(tc_queue *queue)
{
    TC_TRY(select_device(queue->device));
    return tc_cuda_check(cudaStreamSynchronize(queue->stream), "running");
}

/*
 * Recordings
 */
struct tc_recording {
    cudaGraphExec_t graph;
};

static tc_status record_begin(tc_queue *queue)
{
    TC_TRY(select_device(queue->device));
    return tc_cuda_check(cudaStreamBeginCapture(queue->stream, cudaStreamCaptureModeThreadLocal),
                         "beginning to record");
}

static tc_status record_end(tc_queue *queue, tc_recording **out)
{
    *out = NULL;
    TC_TRY(select_device(queue->device));
    cudaGraph_t graph = NULL;
    TC_CUDA_TRY(cudaStreamEndCapture(queue->stream, &graph), "ending to record");
    tc_recording *recording =
        static_cast<tc_recording *>(tc_cuda_host->allocate(sizeof *recording));
    tc_status status = recording ? tc_cuda_check(cudaGraphInstantiate(&recording->graph, graph, 0),
                                                 "making a graph of what was recorded")
                                 : tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    (void)cudaGraphDestroy(graph);
    if (status != TC_OK) {
        if (recording)
            tc_cuda_host->release(recording);
        return status;
    }
    *out = recording;
    return TC_OK;
}

static tc_status replay(tc_queue *queue, tc_recording *recording)
{
    TC_TRY(select_device(queue->device));
    return tc_cuda_check(cudaGraphLaunch(recording->graph, queue->stream), "replaying");
}

static void recording_destroy(tc_backend *backend, tc_recording *recording)
{
    (void)backend;
    (void)cudaGraphExecDestroy(recording->graph);
    tc_cuda_host->release(recording);
}

/*
 * The entry
 */
static void destroy(tc_backend *backend)
{
    tc_cuda_compiled_destroy();
    tc_cuda_libraries_destroy();
    tc_cuda_host->release(
        const_cast<tc_kernel **>(reinterpret_cast<const tc_kernel *const *>(backend->kernels)));
    backend->kernels = NULL;
}

#ifdef TC_CUDA_HOST
/* Of the emulation: the same kernel, watched to touch nothing but its operands. */
const tc_kernel *tc_cuda_host_bounded(const tc_kernel *kernel);
#endif

static tc_status list_kernels(tc_backend *backend)
{
    size_t count = 0, n = 0;
    for (const tc_kernel_table *table : tables)
        count += table->count;
    const tc_kernel **kernels =
        static_cast<const tc_kernel **>(tc_cuda_host->allocate((count + 1) * sizeof *kernels));
    if (!kernels)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory for the CUDA kernels");
    for (const tc_kernel_table *table : tables)
        for (size_t i = 0; i < table->count; i++)
#ifdef TC_CUDA_HOST
            kernels[n++] = tc_cuda_host_bounded(&table->kernels[i]);
#else
            kernels[n++] = &table->kernels[i];
#endif
    backend->kernels = kernels;
    backend->n_kernels = static_cast<int32_t>(count);
    return TC_OK;
}

static tc_status find_devices(int32_t *count)
{
    int found = 0;
    cudaError_t error = cudaGetDeviceCount(&found);
    if (error == cudaErrorInsufficientDriver)
        return tc_kernel_fail(TC_UNAVAILABLE,
                              "there is no CUDA driver, or one older than CUDA %d.%d needs",
                              CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    if (error == cudaErrorNoDevice || (error == cudaSuccess && found == 0))
        return tc_kernel_fail(TC_UNAVAILABLE, "the CUDA driver sees no device");
    TC_CUDA_TRY(error, "looking for devices");
    *count = found < TC_CUDA_MAX_DEVICES ? found : TC_CUDA_MAX_DEVICES;
    for (int32_t i = 0; i < *count; i++)
        TC_TRY(read_device(i, &state.devices[i]));
    return TC_OK;
}

extern "C" __attribute__((visibility("default"))) tc_status tensorc_backend(const tc_host *host,
                                                                            tc_backend **out)
{
    *out = NULL;
    if (host->version != TC_BACKEND_VERSION)
        return TC_FAILED_PRECONDITION; /* nothing of the table can be relied on */
    tc_cuda_host = host;
    tc_backend *backend = &state.backend;
    memset(backend, 0, sizeof *backend);
    TC_TRY(find_devices(&backend->n_devices));
    TC_TRY(list_kernels(backend));
    backend->name = "cuda";
    backend->type = TC_DEVICE_CUDA;
    backend->describe = describe;
    backend->memory = memory;
    backend->allocate = allocate;
    backend->release = release;
    backend->pin = pin;
    backend->unpin = unpin;
    backend->queue_create = queue_create;
    backend->queue_destroy = queue_destroy;
    backend->select = select_queue;
    backend->copy = copy;
    backend->copy_unless_fault = copy_unless_fault;
    backend->order = order;
    backend->wait = wait;
    backend->record_begin = record_begin;
    backend->record_end = record_end;
    backend->replay = replay;
    backend->recording_destroy = recording_destroy;
    backend->destroy = destroy;
    *out = backend;
    return TC_OK;
}
