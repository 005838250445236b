/* What the emulation offers beyond CUDA. */
#ifndef TC_CUDA_HOST_H
#define TC_CUDA_HOST_H

#include "cuda_runtime_api.h"

/** Drops the work of all streams and the error that a kernel left, which nothing of CUDA can: for
 * tests that look for such errors. */
void tc_cuda_host_reset(void);

/** Device memory that work may touch. */
struct tc_cuda_host_bound {
    const void *address;
    size_t bytes;
    bool writable;
    const char *what; /* static: "input" */
    int index;
};

/** What the calling thread puts into streams from now on touches these places alone (`count` 0: all
 * memory again): tensors that lie side by side in one allocation. Copied. */
void tc_cuda_host_set_bounds(const struct tc_cuda_host_bound *bounds, size_t count);

/** Lets copies to the host take bytes that nobody has written for as long as this integer of device
 * memory is not 0: kernels may stop early after a fault that they tell the host of so. */
void tc_cuda_host_excuse(const int *fault);

/** Puts into the stream that nobody has written these bytes. */
cudaError_t tc_cuda_host_forget(void *memory, size_t bytes, cudaStream_t stream);

#endif
