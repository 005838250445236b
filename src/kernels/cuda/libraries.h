/*
 * cuBLASLt, cuDNN and NVRTC: loaded and started when the first kernel that needs them is prepared,
 * as loading takes longer than starting a small program (cuBLASLt: a quarter of a second).
 *
 * The functions in use are members of tables, as nothing links the libraries:
 *     libraries->blas->cublasLtMatmul(libraries->blaslt, ...)
 */
#ifndef TC_KERNELS_CUDA_LIBRARIES_H
#define TC_KERNELS_CUDA_LIBRARIES_H

#include <cublasLt.h>
#include <nvrtc.h>
#ifdef TC_CUDA_CUDNN
#include <cudnn.h>
#endif

#include <tensorc/status.h>

/* Every function that is called; a new one is added here and nowhere else. */
#define TC_CUDA_BLAS_FUNCTIONS(FUNCTION)            \
    FUNCTION(cublasLtCreate)                        \
    FUNCTION(cublasLtDestroy)                       \
    FUNCTION(cublasLtGetStatusString)               \
    FUNCTION(cublasLtMatmul)                        \
    FUNCTION(cublasLtMatmulAlgoGetHeuristic)        \
    FUNCTION(cublasLtMatmulDescInit_internal)       \
    FUNCTION(cublasLtMatmulDescSetAttribute)        \
    FUNCTION(cublasLtMatmulPreferenceInit_internal) \
    FUNCTION(cublasLtMatmulPreferenceSetAttribute)  \
    FUNCTION(cublasLtMatrixLayoutInit_internal)     \
    FUNCTION(cublasLtMatrixLayoutSetAttribute)

#define TC_CUDA_DNN_FUNCTIONS(FUNCTION)     \
    FUNCTION(cudnnBackendCreateDescriptor)  \
    FUNCTION(cudnnBackendDestroyDescriptor) \
    FUNCTION(cudnnBackendExecute)           \
    FUNCTION(cudnnBackendFinalize)          \
    FUNCTION(cudnnBackendGetAttribute)      \
    FUNCTION(cudnnBackendSetAttribute)      \
    FUNCTION(cudnnCreate)                   \
    FUNCTION(cudnnDestroy)                  \
    FUNCTION(cudnnGetErrorString)           \
    FUNCTION(cudnnGetLastErrorString)       \
    FUNCTION(cudnnGetVersion)               \
    FUNCTION(cudnnSetStream)

#define TC_CUDA_NVRTC_FUNCTIONS(FUNCTION) \
    FUNCTION(nvrtcCompileProgram)         \
    FUNCTION(nvrtcCreateProgram)          \
    FUNCTION(nvrtcDestroyProgram)         \
    FUNCTION(nvrtcGetCUBIN)               \
    FUNCTION(nvrtcGetCUBINSize)           \
    FUNCTION(nvrtcGetErrorString)         \
    FUNCTION(nvrtcGetProgramLog)          \
    FUNCTION(nvrtcGetProgramLogSize)

#define TC_CUDA_DECLARE(name) decltype(&::name) name;
struct tc_cuda_blas {
    TC_CUDA_BLAS_FUNCTIONS(TC_CUDA_DECLARE)
};
#ifdef TC_CUDA_CUDNN
struct tc_cuda_dnn {
    TC_CUDA_DNN_FUNCTIONS(TC_CUDA_DECLARE)
};
#endif
struct tc_cuda_nvrtc {
    TC_CUDA_NVRTC_FUNCTIONS(TC_CUDA_DECLARE)
};
#undef TC_CUDA_DECLARE

/** What there is for one device. tc_queue.libraries is that of its device: run finds there what
 * prepare has asked for. */
struct tc_cuda_libraries {
    const tc_cuda_blas *blas; /* NULL until tc_cuda_use_blas */
    cublasLtHandle_t blaslt;
#ifdef TC_CUDA_CUDNN
    const tc_cuda_dnn *dnn; /* NULL until tc_cuda_use_dnn */
    cudnnHandle_t cudnn;    /* its stream is set at every use */
#endif
};

/** The libraries of a device, as far as they have been asked for. */
tc_cuda_libraries *tc_cuda_libraries_of(int32_t device);

/** Loads and starts cuBLASLt for `device`, which becomes the current one, unless that is done.
 * Errors: UNAVAILABLE when it is not installed. Thread-safe. */
tc_status tc_cuda_use_blas(int32_t device, const tc_cuda_libraries **libraries);
/** TC_OK, or the status and sentence of a failed call. */
tc_status tc_cuda_check_blas(cublasStatus_t error, const char *what);

#ifdef TC_CUDA_CUDNN
/* Likewise for cuDNN. */
tc_status tc_cuda_use_dnn(int32_t device, const tc_cuda_libraries **libraries);
tc_status tc_cuda_check_dnn(cudnnStatus_t error, const char *what);
#endif

/** Loads NVRTC. Errors: UNAVAILABLE when it is not installed. Thread-safe. */
tc_status tc_cuda_use_nvrtc(const tc_cuda_nvrtc **nvrtc);

/** Frees all handles, when nobody uses them. */
void tc_cuda_libraries_destroy(void);

#endif
