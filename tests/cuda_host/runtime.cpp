/* Errors, devices, and what is asked of kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <new>

#include "cuda_host.h"
#include "emulation.h"

namespace cuda_host
{

/*
 * Errors
 */
static std::mutex error_lock;
static cudaError_t lost_with;
static std::string lost_text;
static thread_local cudaError_t last_error;

cudaError_t result(cudaError_t error)
{
    if (error != cudaSuccess && error != cudaErrorNotReady)
        last_error = error;
    return error;
}

void lose_device(cudaError_t error, const std::string &text)
{
    std::lock_guard<std::mutex> guard(error_lock);
    if (lost_with != cudaSuccess)
        return;
    lost_with = error;
    lost_text = text;
    fprintf(stderr, "cuda_host: %s\n", text.c_str());
}

cudaError_t lost()
{
    std::lock_guard<std::mutex> guard(error_lock);
    return lost_with;
}

void forget_errors()
{
    std::lock_guard<std::mutex> guard(error_lock);
    lost_with = last_error = cudaSuccess;
}

/*
 * Devices
 */
static thread_local int device_of_thread;

static size_t number_from_environment(const char *name, size_t fallback)
{
    const char *text = getenv(name);
    return text && *text ? strtoull(text, nullptr, 10) : fallback;
}

int device_count()
{
    size_t count = number_from_environment("TENSORC_CUDA_HOST_DEVICES", 1);
    return count < max_devices ? static_cast<int>(count) : max_devices;
}

int current_device()
{
    return device_of_thread;
}

size_t device_bytes()
{
    size_t bytes = number_from_environment("TENSORC_CUDA_HOST_MEMORY", device_range);
    return bytes < device_range ? bytes : device_range;
}

/* As launches need it: what was asked for per kernel. */
static std::mutex attribute_lock;
static std::map<const void *, int> dynamic_shared;

} // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = lost();
    if (error == cudaSuccess)
        error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    cudaError_t error = lost();
    return error != cudaSuccess ? error : last_error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    {
        std::lock_guard<std::mutex> guard(error_lock);
        /* The text stays as it is until the errors are forgotten. */
        if (error != cudaSuccess && error == lost_with)
            return lost_text.c_str();
    }
    switch (error) {
#define TC_ERROR(name, code, text) \
    case name:                     \
        return text;
#include "cuda_errors.def"
#undef TC_ERROR
    }
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define TC_ERROR(name, code, text) \
    case name:                     \
        return #name;
#include "cuda_errors.def"
#undef TC_ERROR
    }
    return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = device_count();
    return *count ? cudaSuccess : result(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device();
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= device_count())
        return result(cudaErrorInvalidDevice);
    device_of_thread = device;
    return result(lost());
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (device < 0 || device >= device_count())
        return result(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "Emulated device");
    memcpy(p->uuid.bytes, "tensorc emulated", sizeof p->uuid.bytes);
    p->uuid.bytes[15] = static_cast<char>('0' + device);
    p->totalGlobalMem = device_bytes();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = shared_bytes_limit;
    p->sharedMemPerMultiprocessor = 228 << 10;
    p->reservedSharedMemPerBlock = 1 << 10;
    p->totalConstMem = 64 << 10;
    p->textureAlignment = 512;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->major = 9;
    p->multiProcessorCount = 3; /* few, so that loops with the stride of the grid do loop */
    p->l2CacheSize = 50 << 20;
    p->memoryBusWidth = 6144;
    p->asyncEngineCount = 3;
    p->concurrentKernels = 1;
    p->unifiedAddressing = 1;
    p->canMapHostMemory = 1;
    p->pciBusID = device + 1;
    p->memoryPoolsSupported = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess)
        return error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
    case cudaDevAttrWarpSize: *value = p.warpSize; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = static_cast<int>(p.sharedMemPerMultiprocessor);
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(p.sharedMemPerBlockOptin);
        break;
    case cudaDevAttrMemoryPoolsSupported: *value = p.memoryPoolsSupported; break;
    default: return result(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/*
 * Kernels
 */
cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return attribute == cudaFuncAttributePreferredSharedMemoryCarveout
                   ? cudaSuccess
                   : result(cudaErrorInvalidValue);
    if (value < 0 || value > static_cast<int>(shared_bytes_limit))
        return result(cudaErrorInvalidValue);
    std::lock_guard<std::mutex> guard(attribute_lock);
    dynamic_shared[kernel] = value;
    return cudaSuccess;
}

cudaError_t cudaKernelSetAttributeForDevice(cudaKernel_t kernel, cudaFuncAttribute attribute,
                                            int value, int device)
{
    if (device < 0 || device >= device_count())
        return result(cudaErrorInvalidDevice);
    return cudaFuncSetAttribute(kernel, attribute, value);
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *attributes, const void *kernel)
{
    memset(attributes, 0, sizeof *attributes);
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    std::lock_guard<std::mutex> guard(attribute_lock);
    auto found = dynamic_shared.find(kernel);
    attributes->maxDynamicSharedSizeBytes =
        found == dynamic_shared.end() ? 48 << 10 : found->second;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *kernel,
                                                          int threads, size_t shared_bytes)
{
    (void)kernel;
    if (threads < 1 || threads > 1024)
        return result(cudaErrorInvalidValue);
    int by_threads = 2048 / threads;
    *blocks = by_threads < 32 ? by_threads : 32;
    if (shared_bytes > 0) {
        int by_shared = static_cast<int>((228 << 10) / (shared_bytes + 1024));
        *blocks = by_shared < *blocks ? by_shared : *blocks;
    }
    return cudaSuccess;
}

thread_local bounds cuda_host::current_bounds;

static cudaError_t check_launch(const void *kernel, dim3 grid, dim3 block, size_t shared_bytes,
                                size_t argument_bytes)
{
    uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
    if (!kernel)
        return cudaErrorInvalidDeviceFunction;
    if (threads == 0 || threads > 1024 || block.z > 64 || grid.x == 0 || grid.y == 0 ||
        grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    cudaFuncAttributes attributes;
    (void)cudaFuncGetAttributes(&attributes, kernel);
    if (shared_bytes > static_cast<size_t>(attributes.maxDynamicSharedSizeBytes) ||
        argument_bytes > 32764)
        return cudaErrorInvalidValue;
    return lost();
}

cudaError_t tc_cuda_host_enqueue(const void *kernel, void (*call)(const void *arguments),
                                 const void *arguments, size_t bytes, dim3 grid, dim3 block,
                                 size_t shared_bytes, cudaStream_t stream)
{
    cudaError_t error = check_launch(kernel, grid, block, shared_bytes, bytes);
    if (error != cudaSuccess)
        return result(error);
    std::shared_ptr<char> copy(new (std::align_val_t(64)) char[bytes],
                               [](char *p) { operator delete[](p, std::align_val_t(64)); });
    memcpy(copy.get(), arguments, bytes);
    launch l = {kernel,
                launched_name ? launched_name : "",
                call,
                copy,
                bytes,
                grid,
                block,
                shared_bytes,
                current_device(),
                current_bounds};
    return result(stream_push(stream, [l] { return run_launch(l); }));
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    *can = device != peer;
    return device < 0 || device >= device_count() || peer < 0 || peer >= device_count()
               ? result(cudaErrorInvalidDevice)
               : cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned int)
{
    return peer < 0 || peer >= device_count() || peer == current_device()
               ? result(cudaErrorInvalidDevice)
               : cudaSuccess;
}

cudaError_t cudaDeviceDisablePeerAccess(int peer)
{
    return cudaDeviceEnablePeerAccess(peer, 0);
}

void tc_cuda_host_reset(void)
{
    drop_all_work();
    forget_errors();
}

void tc_cuda_host_set_bounds(const tc_cuda_host_bound *places, size_t count)
{
    current_bounds = nullptr;
    if (count)
        current_bounds =
            std::make_shared<const std::vector<tc_cuda_host_bound>>(places, places + count);
}
