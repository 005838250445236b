/* What the tests of kernels share. */
#ifndef TC_CUDA_HOST_KERNEL_TEST_H
#define TC_CUDA_HOST_KERNEL_TEST_H

#include <cuda_runtime.h>

#include <string>
#include <vector>

extern "C" {
#include "support/test.h"
}

#include "cuda_host.h"

#define assert_good(call) assert_string_equal(cudaGetErrorName(call), "cudaSuccess")

/** Memory of the device. */
template <typename T> struct device_array {
    T *at = nullptr;
    size_t count;
    explicit device_array(size_t n) : count(n)
    {
        assert_good(cudaMalloc(&at, n * sizeof(T)));
    }
    explicit device_array(const std::vector<T> &values) : device_array(values.size())
    {
        assert_good(cudaMemcpy(at, values.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }
    device_array(const device_array &) = delete;
    ~device_array()
    {
        (void)cudaFree(at);
    }
    std::vector<T> read() const
    {
        std::vector<T> values(count);
        assert_good(cudaMemcpy(values.data(), at, count * sizeof(T), cudaMemcpyDeviceToHost));
        return values;
    }
};

/** 0, 1, 2, ... */
static inline std::vector<int> counting(size_t count)
{
    std::vector<int> values(count);
    for (size_t i = 0; i < count; i++)
        values[i] = static_cast<int>(i);
    return values;
}

/** Runs a kernel that is right. */
template <typename... P, typename... A>
static inline void run_right(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                             A... arguments)
{
    assert_good(tc_cuda_host_launch(kernel, grid, block, shared_bytes, nullptr, arguments...));
    cudaError_t error = cudaDeviceSynchronize();
    if (error != cudaSuccess)
        fail_msg("%s", cudaGetErrorString(error));
}

/** Runs a kernel that is wrong, and looks for the words of its report. */
template <typename... P, typename... A>
static inline void run_wrong(std::initializer_list<const char *> words, void (*kernel)(P...),
                             dim3 grid, dim3 block, size_t shared_bytes, A... arguments)
{
    assert_good(tc_cuda_host_launch(kernel, grid, block, shared_bytes, nullptr, arguments...));
    cudaError_t error = cudaDeviceSynchronize();
    if (error == cudaSuccess)
        fail_msg("nothing is found");
    std::string report = cudaGetErrorString(error);
    /* It stays, as the fault of a real device does, until the tests forget it. */
    void *memory = nullptr;
    assert_int_equal(cudaMalloc(&memory, 1), error);
    assert_int_equal(cudaGetLastError(), error);
    tc_cuda_host_reset();
    assert_int_equal(cudaGetLastError(), cudaSuccess);
    for (const char *word : words)
        if (report.find(word) == std::string::npos)
            fail_msg("\"%s\" is not in: %s", word, report.c_str());
}

#endif
