/*
 * Device memory: one range of addresses, of which each device has a part, with a gap between
 * allocations.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>

#include "emulation.h"
#include "shadow.h"

namespace cuda_host
{

char *device_base;

struct allocation {
    size_t bytes;
    size_t reserved; /* with the gap behind it */
};

static std::mutex lock;
static std::map<char *, allocation> live;          /* of all devices, by address */
static std::map<char *, size_t> vacant;            /* holes below the tops */
static size_t top[max_devices], used[max_devices]; /* bytes */
static std::map<char *, size_t> pinned;

constexpr size_t gap = 256; /* bytes that no allocation has, behind each */

static bool reserve()
{
    if (device_base)
        return true;
    void *range = mmap(nullptr, device_range * max_devices, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return false;
    (void)madvise(range, device_range * max_devices, MADV_DONTDUMP);
    if (!shadow_reserve()) {
        munmap(range, device_range * max_devices);
        return false;
    }
    device_base = static_cast<char *>(range);
    return true;
}

int device_of(const void *address)
{
    uintptr_t offset =
        reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(device_base);
    return device_base && offset < device_range * max_devices
               ? static_cast<int>(offset / device_range)
               : -1;
}

/* A hole of the device that is large enough, cut down to `reserved`. */
static char *take_vacant(int device, size_t reserved)
{
    for (auto i = vacant.begin(); i != vacant.end(); ++i) {
        if (i->second < reserved || device_of(i->first) != device)
            continue;
        char *address = i->first;
        size_t rest = i->second - reserved;
        vacant.erase(i);
        if (rest)
            vacant[address + reserved] = rest;
        return address;
    }
    return nullptr;
}

static void give_vacant(char *address, size_t reserved)
{
    auto after = vacant.lower_bound(address);
    if (after != vacant.end() && address + reserved == after->first) {
        reserved += after->second;
        after = vacant.erase(after);
    }
    if (after != vacant.begin()) {
        auto before = std::prev(after);
        if (before->first + before->second == address) {
            before->second += reserved;
            return;
        }
    }
    vacant[address] = reserved;
}

static cudaError_t allocate(char **address, size_t bytes, int device)
{
    std::lock_guard<std::mutex> guard(lock);
    *address = nullptr;
    if (bytes == 0)
        return cudaSuccess;
    if (!reserve() || bytes > device_bytes() || used[device] + bytes > device_bytes())
        return cudaErrorMemoryAllocation;
    size_t reserved = (bytes + 255) / 256 * 256 + gap;
    char *found = take_vacant(device, reserved);
    if (!found) {
        if (top[device] + reserved > device_range - gap)
            return cudaErrorMemoryAllocation;
        found = device_base + device_range * static_cast<size_t>(device) + gap + top[device];
        top[device] += reserved;
    }
    live[found] = {bytes, reserved};
    used[device] += bytes;
    shadow_allocated(found, bytes);
    *address = found;
    return cudaSuccess;
}

cudaError_t memory_free(void *memory)
{
    std::lock_guard<std::mutex> guard(lock);
    auto found = live.find(static_cast<char *>(memory));
    if (found == live.end())
        return cudaErrorInvalidValue;
    shadow_freed(found->first, found->second.bytes);
    used[device_of(memory)] -= found->second.bytes;
    give_vacant(found->first, found->second.reserved);
    live.erase(found);
    return cudaSuccess;
}

bool nearest_allocation(const void *address, nearest *n)
{
    std::lock_guard<std::mutex> guard(lock);
    char *a = static_cast<char *>(const_cast<void *>(address));
    auto after = live.upper_bound(a);
    bool found = false;
    if (after != live.begin()) {
        auto before = std::prev(after);
        *n = {before->first, before->second.bytes,
              a - (before->first + static_cast<ptrdiff_t>(before->second.bytes))};
        found = true;
    }
    if (after != live.end() && (!found || after->first - a < n->beyond)) {
        *n = {after->first, after->second.bytes, a - after->first};
        found = true;
    }
    return found;
}

bool is_pinned(const void *address, size_t bytes)
{
    std::lock_guard<std::mutex> guard(lock);
    char *a = static_cast<char *>(const_cast<void *>(address));
    auto after = pinned.upper_bound(a);
    if (after == pinned.begin())
        return false;
    auto before = std::prev(after);
    return a + bytes <= before->first + before->second;
}

} // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    if (lost() != cudaSuccess)
        return result(lost());
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    char *address;
    cudaError_t error = allocate(&address, bytes, current_device());
    *memory = address;
    return result(error);
}

cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream)
{
    if (lost() != cudaSuccess)
        return result(lost());
    if (is_capturing(stream))
        return result(cudaErrorNotSupported); /* CUDA would add a node that allocates */
    char *address;
    cudaError_t error = allocate(&address, bytes, current_device());
    *memory = address;
    return result(error);
}

/* As in CUDA, waits for the device first. */
cudaError_t cudaFree(void *memory)
{
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    if (!memory)
        return cudaSuccess;
    int device = device_of(memory);
    if (device < 0)
        return result(cudaErrorInvalidValue);
    cudaError_t error = drain_device(device);
    cudaError_t freed = memory_free(memory);
    return result(error != cudaSuccess ? error : freed);
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    if (is_capturing(stream))
        return result(cudaErrorNotSupported);
    return memory ? result(stream_push(stream, [memory] { return memory_free(memory); }))
                  : cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    std::lock_guard<std::mutex> guard(lock);
    *total = device_bytes();
    *free_bytes = *total - used[current_device()];
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned int flags)
{
    (void)flags;
    *memory = nullptr;
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    if (bytes == 0)
        return cudaSuccess;
    if (posix_memalign(memory, 4096, bytes)) {
        *memory = nullptr;
        return result(cudaErrorMemoryAllocation);
    }
    std::lock_guard<std::mutex> guard(lock);
    pinned[static_cast<char *>(*memory)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    return cudaHostAlloc(memory, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *memory)
{
    if (!memory)
        return cudaSuccess;
    for (int device = 0; device < device_count(); device++)
        (void)drain_device(device);
    std::lock_guard<std::mutex> guard(lock);
    if (!pinned.erase(static_cast<char *>(memory)))
        return result(cudaErrorInvalidValue);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *pointer)
{
    void *p = const_cast<void *>(pointer);
    int device = device_of(pointer);
    bool of_host = is_pinned(pointer, 1);
    *attributes = {device >= 0 ? cudaMemoryTypeDevice
                   : of_host   ? cudaMemoryTypeHost
                               : cudaMemoryTypeUnregistered,
                   device >= 0 ? device : -1, device >= 0 ? p : nullptr, device < 0 ? p : nullptr};
    return cudaSuccess;
}

/*
 * Copies
 */
static cudaError_t copy_kind_error(const void *to, const void *from, cudaMemcpyKind kind)
{
    bool to_device = device_of(to) >= 0, from_device = device_of(from) >= 0;
    switch (kind) {
    case cudaMemcpyHostToHost:
        return to_device || from_device ? cudaErrorInvalidValue : cudaSuccess;
    case cudaMemcpyHostToDevice:
        return to_device && !from_device ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToHost:
        return !to_device && from_device ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDeviceToDevice:
        return to_device && from_device ? cudaSuccess : cudaErrorInvalidValue;
    case cudaMemcpyDefault: return cudaSuccess;
    }
    return cudaErrorInvalidMemcpyDirection;
}

static cudaError_t copy_now(void *to, const void *from, size_t bytes, const bounds &within)
{
    std::lock_guard<std::recursive_mutex> execution(execution_lock);
    if (lost() != cudaSuccess)
        return lost();
    cudaError_t error = shadow_copy(to, from, bytes, within);
    if (error == cudaSuccess)
        memmove(to, from, bytes);
    return error;
}

static cudaError_t copy_later(void *to, const void *from, size_t bytes, cudaStream_t stream)
{
    /* A recorded copy is of memory that is there for as long as the recording. */
    if (is_capturing(stream) && ((device_of(to) < 0 && !is_pinned(to, bytes)) ||
                                 (device_of(from) < 0 && !is_pinned(from, bytes))))
        return result(cudaErrorStreamCaptureUnsupported);
    bounds within = current_bounds;
    return result(stream_push(stream, [=] { return copy_now(to, from, bytes, within); }));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    cudaError_t error = lost() != cudaSuccess ? lost() : copy_kind_error(to, from, kind);
    if (error != cudaSuccess || bytes == 0)
        return result(error);
    return copy_later(to, from, bytes, stream);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
    cudaError_t error =
        width > to_pitch || width > from_pitch ? cudaErrorInvalidValue : cudaSuccess;
    for (size_t i = 0; i < height && error == cudaSuccess; i++)
        error =
            cudaMemcpyAsync(static_cast<char *>(to) + i * to_pitch,
                            static_cast<const char *>(from) + i * from_pitch, width, kind, stream);
    return result(error);
}

cudaError_t cudaMemcpyPeerAsync(void *to, int to_device, const void *from, int from_device,
                                size_t bytes, cudaStream_t stream)
{
    if (device_of(to) != to_device || device_of(from) != from_device)
        return result(cudaErrorInvalidValue);
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return error != cudaSuccess ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    if (bytes == 0)
        return cudaSuccess;
    if (device_of(memory) < 0)
        return result(cudaErrorInvalidValue);
    bounds within = current_bounds;
    return result(stream_push(stream, [=] {
        std::lock_guard<std::recursive_mutex> execution(execution_lock);
        if (lost() != cudaSuccess)
            return lost();
        cudaError_t error = shadow_copy(memory, nullptr, bytes, within);
        if (error == cudaSuccess)
            memset(memory, value, bytes);
        return error;
    }));
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    if (capture_forbids())
        return result(cudaErrorStreamCaptureUnsupported);
    cudaError_t error = cudaMemsetAsync(memory, value, bytes, nullptr);
    return error != cudaSuccess ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t tc_cuda_host_forget(void *memory, size_t bytes, cudaStream_t stream)
{
    return bytes == 0 ? cudaSuccess : result(stream_push(stream, [=] {
        std::lock_guard<std::recursive_mutex> execution(execution_lock);
        return lost() != cudaSuccess ? lost() : shadow_forget(memory, bytes);
    }));
}

/*
 * Pools: allocations are at once, so that there is nothing to keep.
 */
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *pool, int device)
{
    static char pools[max_devices];
    if (device < 0 || device >= device_count())
        return result(cudaErrorInvalidDevice);
    *pool = reinterpret_cast<cudaMemPool_t>(&pools[device]);
    return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *)
{
    return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr, void *value)
{
    *static_cast<uint64_t *>(value) = 0;
    return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t)
{
    return cudaSuccess;
}
