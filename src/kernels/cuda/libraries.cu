#include "kernels/cuda/libraries.h"

#include <pthread.h>

#include "kernels/cuda/cuda.cuh"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tc_cuda_libraries of_device[TC_CUDA_MAX_DEVICES];

tc_status tc_cuda_check_blas(cublasStatus_t error, const char *what)
{
    if (error == CUBLAS_STATUS_SUCCESS)
        return TC_OK;
    return tc_kernel_fail(error == CUBLAS_STATUS_ALLOC_FAILED    ? TC_RESOURCE_EXHAUSTED
                          : error == CUBLAS_STATUS_NOT_SUPPORTED ? TC_UNIMPLEMENTED
                                                                 : TC_INTERNAL,
                          "cuBLASLt: %s: %s", what, cublasLtGetStatusString(error));
}

#ifdef TC_CUDA_CUDNN
tc_status tc_cuda_check_dnn(cudnnStatus_t error, const char *what)
{
    if (error == CUDNN_STATUS_SUCCESS)
        return TC_OK;
    char detail[512] = "";
    cudnnGetLastErrorString(detail, sizeof detail);
    return tc_kernel_fail(error / 1000 == 3 ? TC_UNIMPLEMENTED : TC_INTERNAL, "cuDNN: %s: %s%s%s",
                          what, cudnnGetErrorString(error), detail[0] ? ": " : "", detail);
}
#endif

static tc_status make(tc_cuda_libraries *libraries)
{
    if (!libraries->blaslt)
        TC_TRY(tc_cuda_check_blas(cublasLtCreate(&libraries->blaslt), "starting"));
#ifdef TC_CUDA_CUDNN
    if (!libraries->cudnn)
        TC_TRY(tc_cuda_check_dnn(cudnnCreate(&libraries->cudnn), "starting"));
#endif
    return TC_OK;
}

tc_status tc_cuda_libraries_of(int32_t device, tc_cuda_libraries **out)
{
    TC_CUDA_TRY(cudaSetDevice(device), "selecting the device");
    *out = &of_device[device];
    pthread_mutex_lock(&lock);
    tc_status status = make(*out);
    pthread_mutex_unlock(&lock);
    return status;
}

void tc_cuda_libraries_destroy(void)
{
    for (int32_t i = 0; i < TC_CUDA_MAX_DEVICES; i++) {
        if (of_device[i].blaslt)
            (void)cublasLtDestroy(of_device[i].blaslt);
#ifdef TC_CUDA_CUDNN
        if (of_device[i].cudnn)
            (void)cudnnDestroy(of_device[i].cudnn);
#endif
        memset(&of_device[i], 0, sizeof of_device[i]);
    }
}
