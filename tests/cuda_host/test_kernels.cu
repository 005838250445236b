/* Kernels that are right run, and give what they should. */
#include <cuda_runtime.h>

#include <vector>

extern "C" {
#include "support/test.h"
}

template <typename T> struct device_array {
    T *at = nullptr;
    size_t count;
    explicit device_array(size_t n) : count(n)
    {
        assert_int_equal(cudaMalloc(&at, n * sizeof(T)), cudaSuccess);
    }
    explicit device_array(const std::vector<T> &values) : device_array(values.size())
    {
        assert_int_equal(cudaMemcpy(at, values.data(), count * sizeof(T), cudaMemcpyHostToDevice),
                         cudaSuccess);
    }
    ~device_array()
    {
        (void)cudaFree(at);
    }
    std::vector<T> read() const
    {
        std::vector<T> values(count);
        assert_int_equal(cudaMemcpy(values.data(), at, count * sizeof(T), cudaMemcpyDeviceToHost),
                         cudaSuccess);
        return values;
    }
};

static __global__ void fill(int *to, int n)
{
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        to[i] = 3 * i;
}

static void threads_without_barriers(void **)
{
    device_array<int> a(1000);
    assert_int_equal(tc_cuda_host_launch(fill, 4, 256, 0, 0, a.at, 1000), cudaSuccess);
    std::vector<int> values = a.read();
    for (int i = 0; i < 1000; i++)
        assert_int_equal(values[static_cast<size_t>(i)], 3 * i);
}

static __global__ void tree_sum(const int *from, int *to)
{
    __shared__ int partial[256];
    unsigned t = threadIdx.x;
    partial[t] = from[blockIdx.x * 256 + t];
    __syncthreads();
    for (unsigned step = 128; step > 0; step /= 2) {
        if (t < step)
            partial[t] += partial[t + step];
        __syncthreads();
    }
    if (t == 0)
        to[blockIdx.x] = partial[0];
}

static __global__ void warp_sum(const int *from, int *to)
{
    __shared__ int partial[32];
    unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int sum = from[blockIdx.x * 256 + threadIdx.x];
    for (unsigned step = 16; step > 0; step /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (lane == 0)
        partial[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = lane < blockDim.x / 32 ? partial[lane] : 0;
        for (int step = 16; step > 0; step /= 2)
            sum += __shfl_xor_sync(0xffffffffu, sum, step);
        if (lane == 0)
            to[blockIdx.x] = sum;
    }
}

static void sums(void **)
{
    std::vector<int> values(3 * 256);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = static_cast<int>(i % 97);
    device_array<int> from(values), to(3);
    for (auto kernel : {tree_sum, warp_sum}) {
        assert_int_equal(tc_cuda_host_launch(kernel, 3, 256, 0, 0, from.at, to.at), cudaSuccess);
        std::vector<int> found = to.read();
        for (size_t block = 0; block < 3; block++) {
            int sum = 0;
            for (size_t i = 0; i < 256; i++)
                sum += values[block * 256 + i];
            assert_int_equal(found[block], sum);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_without_barriers),
        cmocka_unit_test(sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
