/* What the parts of the emulation tell each other. */
#ifndef TC_CUDA_HOST_EMULATION_H
#define TC_CUDA_HOST_EMULATION_H

#include <stdint.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda_host.h"
#include "cuda_runtime.h"

namespace cuda_host
{

/*
 * Errors
 */
/** What a call returns: remembers a failure for cudaGetLastError. */
cudaError_t result(cudaError_t error);
/** Loses the device for good, as a fault in a kernel does: prints `text` and keeps it for
 * cudaGetErrorString. The first one wins. */
void lose_device(cudaError_t error, const std::string &text);
/** The error that the device was lost with, or cudaSuccess. */
cudaError_t lost();
void forget_errors();

/*
 * Devices
 */
constexpr int max_devices = 4;
constexpr size_t shared_bytes_limit = 227 << 10;

int device_count();
int current_device();

/*
 * Memory
 */
constexpr size_t device_range = static_cast<size_t>(4) << 30; /* addresses of one device */

extern char *device_base; /* of device 0; NULL before the first allocation */
/** What a device says that it has. */
size_t device_bytes();
/** The device whose range of addresses this is in, or -1. */
int device_of(const void *address);
bool is_pinned(const void *address, size_t bytes);
cudaError_t memory_free(void *memory);

struct nearest {
    const char *address;
    size_t bytes;
    ptrdiff_t beyond; /* from its end on, or below 0 from its beginning backwards */
};
/** The live allocation before or behind an address. */
bool nearest_allocation(const void *address, nearest *n);

/*
 * Execution
 */
/** What an operation may touch; NULL: everything. */
typedef std::shared_ptr<const std::vector<tc_cuda_host_bound>> bounds;
extern thread_local bounds current_bounds;

struct launch {
    const void *kernel;
    std::string name;                      /* empty: found from `kernel` when it is needed */
    void (*call)(const void *arguments);   /* one thread */
    std::shared_ptr<const char> arguments; /* kernels may read these bytes */
    size_t argument_bytes;
    dim3 grid, block;
    size_t shared_bytes;
    int device;
    bounds within;
};

/** Name of the kernel that this thread launches, where it is known; NULL elsewhere. */
extern thread_local const char *launched_name;
/** Runs a launch to its end. One at a time in the process: see `execution_lock`. */
cudaError_t run_launch(const launch &l);
extern std::recursive_mutex execution_lock;

/*
 * Streams
 */
/** Puts `work` into a stream, or into what it records. */
cudaError_t stream_push(cudaStream_t stream, std::function<cudaError_t()> work);
/** Whether this thread may not make calls that wait or allocate, as it captures. */
bool capture_forbids();
/** Runs everything that was put into streams of a device. */
cudaError_t drain_device(int device);
bool is_capturing(cudaStream_t stream);
void drop_all_work();

} // namespace cuda_host

#endif
