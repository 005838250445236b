#include "kernels/cuda/libraries.h"

#include <dlfcn.h>
#include <pthread.h>

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/dnn.cuh"

/* Guards loading and starting; what is there is read without it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tc_cuda_libraries of_device[TC_CUDA_MAX_DEVICES];

static tc_cuda_blas blas;
static bool blas_loaded;
static tc_cuda_nvrtc nvrtc;
static bool nvrtc_loaded;
#ifdef TC_CUDA_CUDNN
static tc_cuda_dnn dnn;
static bool dnn_loaded;
#endif

/*
 * Loading
 */
#define TEXT_OF(x) #x
#define TEXT(x)    TEXT_OF(x)

#ifdef TC_CUDA_HOST
/* The emulation links what it has instead. */
static tc_status load_blas(void)
{
#define LINKED(name) blas.name = ::name;
    TC_CUDA_BLAS_FUNCTIONS(LINKED)
#undef LINKED
    blas_loaded = true;
    return TC_OK;
}

static tc_status load_nvrtc(void)
{
#define LINKED(name) nvrtc.name = ::name;
    TC_CUDA_NVRTC_FUNCTIONS(LINKED)
#undef LINKED
    nvrtc_loaded = true;
    return TC_OK;
}
#else
struct function_of_library {
    const char *name;
    size_t offset; /* of the pointer in the table */
};

/* Opens `file` and fills the table. Once opened it stays: it may have put handlers into the
 * process. */
static tc_status load(const char *file, const function_of_library *functions, size_t count,
                      void *table)
{
    void *library = dlopen(file, RTLD_LAZY | RTLD_LOCAL);
    if (!library)
        return tc_kernel_fail(TC_UNAVAILABLE,
                              "%s cannot be loaded: install it, or name its folder in "
                              "LD_LIBRARY_PATH (%s)",
                              file, dlerror());
    for (size_t i = 0; i < count; i++) {
        void *address = dlsym(library, functions[i].name);
        if (!address)
            return tc_kernel_fail(TC_UNAVAILABLE, "%s has no %s: install a newer one", file,
                                  functions[i].name);
        memcpy(static_cast<char *>(table) + functions[i].offset, &address, sizeof address);
    }
    return TC_OK;
}

static tc_status load_blas(void)
{
#define OF_TABLE(name) {#name, offsetof(tc_cuda_blas, name)},
    static const function_of_library functions[] = {TC_CUDA_BLAS_FUNCTIONS(OF_TABLE)};
#undef OF_TABLE
    TC_TRY(load("libcublasLt.so." TEXT(CUBLAS_VER_MAJOR), functions,
                sizeof functions / sizeof *functions, &blas));
    blas_loaded = true;
    return TC_OK;
}

static tc_status load_nvrtc(void)
{
#define OF_TABLE(name) {#name, offsetof(tc_cuda_nvrtc, name)},
    static const function_of_library functions[] = {TC_CUDA_NVRTC_FUNCTIONS(OF_TABLE)};
#undef OF_TABLE
    TC_TRY(load("libnvrtc.so." TEXT(CUBLAS_VER_MAJOR), functions,
                sizeof functions / sizeof *functions, &nvrtc));
    nvrtc_loaded = true;
    return TC_OK;
}

#ifdef TC_CUDA_CUDNN
static tc_status load_dnn(void)
{
#define OF_TABLE(name) {#name, offsetof(tc_cuda_dnn, name)},
    static const function_of_library functions[] = {TC_CUDA_DNN_FUNCTIONS(OF_TABLE)};
#undef OF_TABLE
    TC_TRY(load("libcudnn.so." TEXT(CUDNN_MAJOR), functions, sizeof functions / sizeof *functions,
                &dnn));
    dnn_loaded = true;
    return TC_OK;
}
#endif
#endif

/*
 * Handles
 */
tc_status tc_cuda_check_blas(cublasStatus_t error, const char *what)
{
    if (error == CUBLAS_STATUS_SUCCESS)
        return TC_OK;
    return tc_kernel_fail(error == CUBLAS_STATUS_ALLOC_FAILED    ? TC_RESOURCE_EXHAUSTED
                          : error == CUBLAS_STATUS_NOT_SUPPORTED ? TC_UNIMPLEMENTED
                                                                 : TC_INTERNAL,
                          "cuBLASLt: %s: %s", what, blas.cublasLtGetStatusString(error));
}

static tc_status start_blas(tc_cuda_libraries *of)
{
    if (of->blas)
        return TC_OK;
    if (!blas_loaded)
        TC_TRY(load_blas());
    TC_TRY(tc_cuda_check_blas(blas.cublasLtCreate(&of->blaslt), "starting"));
    of->blas = &blas;
    return TC_OK;
}

#ifdef TC_CUDA_CUDNN
tc_status tc_cuda_check_dnn(cudnnStatus_t error, const char *what)
{
    if (error == CUDNN_STATUS_SUCCESS)
        return TC_OK;
    char detail[512] = "";
    dnn.cudnnGetLastErrorString(detail, sizeof detail);
    return tc_kernel_fail(error / 1000 == 3 ? TC_UNIMPLEMENTED : TC_INTERNAL, "cuDNN: %s: %s%s%s",
                          what, dnn.cudnnGetErrorString(error), detail[0] ? ": " : "", detail);
}

static tc_status start_dnn(tc_cuda_libraries *of)
{
    if (of->dnn)
        return TC_OK;
    if (!dnn_loaded)
        TC_TRY(load_dnn());
    TC_TRY(tc_cuda_check_dnn(dnn.cudnnCreate(&of->cudnn), "starting"));
    of->dnn = &dnn;
    return TC_OK;
}
#endif

static tc_status use(tc_status (*start)(tc_cuda_libraries *), int32_t device,
                     const tc_cuda_libraries **libraries)
{
    *libraries = &of_device[device];
    TC_CUDA_TRY(cudaSetDevice(device), "selecting the device");
    pthread_mutex_lock(&lock);
    tc_status status = start(&of_device[device]);
    pthread_mutex_unlock(&lock);
    return status;
}

tc_status tc_cuda_use_blas(int32_t device, const tc_cuda_libraries **libraries)
{
    return use(start_blas, device, libraries);
}

#ifdef TC_CUDA_CUDNN
tc_status tc_cuda_use_dnn(int32_t device, const tc_cuda_libraries **libraries)
{
    return use(start_dnn, device, libraries);
}
#endif

tc_status tc_cuda_use_nvrtc(const tc_cuda_nvrtc **out)
{
    *out = &nvrtc;
    pthread_mutex_lock(&lock);
    tc_status status = nvrtc_loaded ? TC_OK : load_nvrtc();
    pthread_mutex_unlock(&lock);
    return status;
}

tc_cuda_libraries *tc_cuda_libraries_of(int32_t device)
{
    return &of_device[device];
}

void tc_cuda_libraries_destroy(void)
{
#ifdef TC_CUDA_CUDNN
    tc_dnn_destroy();
#endif
    for (tc_cuda_libraries &of : of_device) {
        if (of.blas)
            (void)blas.cublasLtDestroy(of.blaslt);
#ifdef TC_CUDA_CUDNN
        if (of.dnn)
            (void)dnn.cudnnDestroy(of.cudnn);
#endif
        of = tc_cuda_libraries();
    }
}
