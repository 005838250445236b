/* What nvcc gives every file: the runtime's interface and, for kernels, the language. */
#ifndef TC_CUDA_HOST_RUNTIME_H
#define TC_CUDA_HOST_RUNTIME_H

#include "cuda_runtime_api.h"

#include "cuda_host_device.h"
#include "cuda_host_launch.h"

#endif
