/* Kernels that are compiled while the test runs. */
#include <nvrtc.h>

#include "kernel_test.h"

static const char source[] = R"(
struct numbers {
    const float *from;
    float *to;
    int count;
};
static __device__ float twice(float x) { return x + x; }
extern "C" __global__ void __launch_bounds__(64) doubled(const __grid_constant__ numbers n)
{
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n.count; i += gridDim.x * blockDim.x)
        n.to[i] = twice(n.from[i]);
}
extern "C" __global__ void reversed(float *values, int count)
{
    __shared__ float all[64];
    all[threadIdx.x] = values[threadIdx.x];
#ifndef WRONG
    __syncthreads();
#endif
    values[threadIdx.x] = all[count - 1 - threadIdx.x];
}
)";

static cudaLibrary_t compile(const std::string &text)
{
    nvrtcProgram program;
    assert_int_equal(nvrtcCreateProgram(&program, text.c_str(), "test.cu", 0, nullptr, nullptr),
                     NVRTC_SUCCESS);
    const char *const options[] = {"--gpu-architecture=sm_90"};
    if (nvrtcCompileProgram(program, 1, options) != NVRTC_SUCCESS) {
        size_t bytes;
        assert_int_equal(nvrtcGetProgramLogSize(program, &bytes), NVRTC_SUCCESS);
        std::string log(bytes, ' ');
        assert_int_equal(nvrtcGetProgramLog(program, log.data()), NVRTC_SUCCESS);
        fail_msg("%s", log.c_str());
    }
    size_t bytes;
    assert_int_equal(nvrtcGetCUBINSize(program, &bytes), NVRTC_SUCCESS);
    std::string cubin(bytes, ' ');
    assert_int_equal(nvrtcGetCUBIN(program, cubin.data()), NVRTC_SUCCESS);
    assert_int_equal(nvrtcDestroyProgram(&program), NVRTC_SUCCESS);
    cudaLibrary_t library;
    assert_good(
        cudaLibraryLoadData(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0));
    return library;
}

static const void *find(cudaLibrary_t library, const char *name)
{
    cudaKernel_t kernel;
    assert_good(cudaLibraryGetKernel(&kernel, library, name));
    return kernel;
}

static void generated_kernels(void **)
{
    cudaLibrary_t library = compile(source);
    device_array<float> from(std::vector<float>(64, 1.5f)), to(64);
    struct {
        const float *from;
        float *to;
        int count;
    } numbers = {from.at, to.at, 64};
    void *arguments[] = {&numbers};
    assert_good(cudaLaunchKernel(find(library, "doubled"), 3, 16, arguments, 0, nullptr));
    for (float value : to.read())
        assert_true(value == 3.0f);
    int count = 64;
    void *others[] = {&to.at, &count};
    assert_good(cudaLaunchKernel(find(library, "reversed"), 1, 64, others, 0, nullptr));
    assert_good(cudaDeviceSynchronize());
    cudaKernel_t none;
    assert_int_equal(cudaLibraryGetKernel(&none, library, "other"), cudaErrorSymbolNotFound);
    (void)cudaGetLastError();
    assert_good(cudaLibraryUnload(library));
}

/* They are watched like all others. */
static void wrong_generated_kernels(void **)
{
    cudaLibrary_t library = compile(std::string("#define WRONG\n") + source);
    device_array<float> values(std::vector<float>(64, 1.0f));
    int count = 65;
    void *arguments[] = {&values.at, &count};
    assert_good(cudaLaunchKernel(find(library, "reversed"), 1, 64, arguments, 0, nullptr));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    const char *report = cudaGetErrorString(cudaErrorIllegalAddress);
    assert_non_null(strstr(report, "kernel reversed"));
    assert_non_null(strstr(report, "index 64"));
    assert_non_null(strstr(report, "generated.cu"));
    tc_cuda_host_reset();
    count = 64;
    assert_good(cudaLaunchKernel(find(library, "reversed"), 1, 64, arguments, 0, nullptr));
    assert_int_equal(cudaDeviceSynchronize(), cudaErrorIllegalAddress);
    tc_cuda_host_reset();
    assert_good(cudaLibraryUnload(library));
}

static void sources_that_do_not_compile(void **)
{
    nvrtcProgram program;
    assert_int_equal(nvrtcCreateProgram(&program, "extern \"C\" __global__ void f() { g(); }",
                                        "test.cu", 0, nullptr, nullptr),
                     NVRTC_SUCCESS);
    assert_int_equal(nvrtcCompileProgram(program, 0, nullptr), NVRTC_ERROR_COMPILATION);
    size_t bytes;
    assert_int_equal(nvrtcGetProgramLogSize(program, &bytes), NVRTC_SUCCESS);
    std::string log(bytes, ' ');
    assert_int_equal(nvrtcGetProgramLog(program, log.data()), NVRTC_SUCCESS);
    assert_non_null(strstr(log.c_str(), "generated.cu:1"));
    assert_int_equal(nvrtcGetCUBINSize(program, &bytes), NVRTC_ERROR_INVALID_PROGRAM);
    assert_int_equal(nvrtcDestroyProgram(&program), NVRTC_SUCCESS);
    cudaLibrary_t library;
    char zeros[128] = {0};
    assert_int_equal(cudaLibraryLoadData(&library, zeros, nullptr, nullptr, 0, nullptr, nullptr, 0),
                     cudaErrorInvalidKernelImage);
    (void)cudaGetLastError();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_kernels),
        cmocka_unit_test(wrong_generated_kernels),
        cmocka_unit_test(sources_that_do_not_compile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
