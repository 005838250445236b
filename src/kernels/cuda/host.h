/* The host's table inside of the plug-in. */
#ifndef TC_KERNELS_CUDA_HOST_H
#define TC_KERNELS_CUDA_HOST_H

#include <tensorc/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Set by the entry before anything else runs. */
extern const tc_host *tc_cuda_host;

#ifdef __cplusplus
}
#endif

#endif
