/* Handles of the libraries that kernels call, one set per device. */
#ifndef TC_KERNELS_CUDA_LIBRARIES_H
#define TC_KERNELS_CUDA_LIBRARIES_H

#include <cublasLt.h>
#ifdef TC_CUDA_CUDNN
#include <cudnn.h>
#endif

#include <tensorc/status.h>

struct tc_cuda_libraries {
    cublasLtHandle_t blaslt;
#ifdef TC_CUDA_CUDNN
    cudnnHandle_t cudnn; /* NULL when cuDNN cannot be used: its stream is set at every use */
#endif
};

/** The handles of a device, made when first asked for. Thread-safe. */
tc_status tc_cuda_libraries_of(int32_t device, struct tc_cuda_libraries **libraries);

/** TC_OK, or the status and sentence of a failed call. */
tc_status tc_cuda_check_blas(cublasStatus_t error, const char *what);
#ifdef TC_CUDA_CUDNN
tc_status tc_cuda_check_dnn(cudnnStatus_t error, const char *what);
#endif

/** Frees all handles, when nobody uses them. */
void tc_cuda_libraries_destroy(void);

#endif
