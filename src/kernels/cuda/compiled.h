/*
 * Kernels that are compiled while the program runs: from source by NVRTC, once per source and
 * architecture, kept in memory and in a folder.
 *
 * The folder is TENSORC_CACHE, else tensorc in XDG_CACHE_HOME, else ~/.cache/tensorc; TENSORC_CACHE
 * set to nothing means none. What cannot be read or written there is compiled, and nothing is said.
 */
#ifndef TC_KERNELS_CUDA_COMPILED_H
#define TC_KERNELS_CUDA_COMPILED_H

#include <cuda_runtime.h>
#include <stdint.h>

#include <tensorc/status.h>

/**
 * Compiles `source` for `device` unless that is done, and gives the number by which it is known
 * from now on. Errors: INTERNAL with the compiler's log, UNAVAILABLE when NVRTC is not installed,
 * RESOURCE_EXHAUSTED. Thread-safe.
 */
tc_status tc_cuda_compile(const char *source, int32_t device, int32_t *number);

/** The kernel called `name` of source `number`, for cudaLaunchKernel. Thread-safe. */
tc_status tc_cuda_compiled_kernel(int32_t number, const char *name, const void **kernel);

/** Unloads everything, when nobody uses it. */
void tc_cuda_compiled_destroy(void);

#endif
