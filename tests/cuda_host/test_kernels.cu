/* Kernels that are right run, and give what they should. */
#include "kernel_test.h"

static __global__ void fill(int *to, int n)
{
    int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n)
        to[i] = 3 * i;
}

static void threads_without_barriers(void **)
{
    device_array<int> a(1000);
    run_right(fill, 4, 256, 0, a.at, 1000);
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
        run_right(kernel, 3, 256, 0, from.at, to.at);
        std::vector<int> found = to.read();
        for (size_t block = 0; block < 3; block++) {
            int sum = 0;
            for (size_t i = 0; i < 256; i++)
                sum += values[block * 256 + i];
            assert_int_equal(found[block], sum);
        }
    }
}

/* Every thread counts what it sees; blocks and threads in any order. */
static __global__ void histogram(const int *from, int n, unsigned *counts, float *total)
{
    __shared__ unsigned of_block[16];
    if (threadIdx.x < 16)
        of_block[threadIdx.x] = 0;
    __syncthreads();
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n;
         i += static_cast<int>(gridDim.x * blockDim.x))
        atomicAdd(&of_block[from[i] % 16], 1u);
    __syncthreads();
    if (threadIdx.x < 16) {
        atomicAdd(&counts[threadIdx.x], of_block[threadIdx.x]);
        atomicAdd(total, static_cast<float>(of_block[threadIdx.x]));
    }
}

static void atomic_counters(void **)
{
    device_array<int> from(counting(1000));
    device_array<unsigned> counts(std::vector<unsigned>(16));
    device_array<float> total(std::vector<float>(1));
    run_right(histogram, 3, 128, 0, from.at, 1000, counts.at, total.at);
    std::vector<unsigned> found = counts.read();
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(found[i], 62 + (i < 8));
    assert_true(total.read()[0] == 1000.0f);
}

static __global__ void scan(const int *from, int *to)
{
    int *values = static_cast<int *>(tc_cuda_host_shared());
    unsigned t = threadIdx.x;
    values[t] = from[t];
    for (unsigned step = 1; step < blockDim.x; step *= 2) {
        __syncthreads();
        int before = t >= step ? values[t - step] : 0;
        __syncthreads();
        values[t] += before;
    }
    to[t] = values[t];
}

/* Each warp scans what is its own, with __syncwarp alone. */
static __global__ void warp_scan(const int *from, int *to)
{
    int *values = static_cast<int *>(tc_cuda_host_shared());
    unsigned t = threadIdx.x, lane = t % 32;
    values[t] = from[t];
    for (unsigned step = 1; step < 32; step *= 2) {
        __syncwarp();
        int before = lane >= step ? values[t - step] : 0;
        __syncwarp();
        values[t] += before;
    }
    to[t] = values[t];
}

static void scans(void **)
{
    device_array<int> from(counting(100)), to(100);
    run_right(scan, 1, 100, 100 * sizeof(int), from.at, to.at);
    std::vector<int> found = to.read();
    for (int i = 0; i < 100; i++)
        assert_int_equal(found[static_cast<size_t>(i)], i * (i + 1) / 2);
    run_right(warp_scan, 1, 96, 96 * sizeof(int), from.at, to.at);
    found = to.read();
    for (int i = 0; i < 96; i++) {
        int begin = i / 32 * 32;
        assert_int_equal(found[static_cast<size_t>(i)], i * (i + 1) / 2 - begin * (begin - 1) / 2);
    }
}

/* 50 x 70, by tiles whose rows are padded against bank conflicts. */
static __global__ void transpose(const unsigned short *from, unsigned short *to, unsigned rows,
                                 unsigned columns)
{
    __shared__ unsigned short tile[32][33];
    unsigned column = blockIdx.x * 32 + threadIdx.x;
    for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
        unsigned row = blockIdx.y * 32 + y;
        if (row < rows && column < columns)
            tile[y][threadIdx.x] = from[row * columns + column];
    }
    __syncthreads();
    unsigned row = blockIdx.y * 32 + threadIdx.x;
    for (unsigned y = threadIdx.y; y < 32; y += blockDim.y) {
        column = blockIdx.x * 32 + y;
        if (row < rows && column < columns)
            to[column * rows + row] = tile[threadIdx.x][y];
    }
}

static void tiles_of_halves(void **)
{
    std::vector<unsigned short> values(50 * 70);
    for (size_t i = 0; i < values.size(); i++)
        values[i] = static_cast<unsigned short>(i);
    device_array<unsigned short> from(values), to(values.size());
    run_right(transpose, dim3(3, 2), dim3(32, 8), 0, from.at, to.at, 50u, 70u);
    std::vector<unsigned short> found = to.read();
    for (size_t row = 0; row < 50; row++)
        for (size_t column = 0; column < 70; column++)
            assert_int_equal(found[column * 50 + row], row * 70 + column);
}

/* The last block to come adds up what all have left. */
static __global__ void last_block(const int *from, int *partial, unsigned *tickets, int *to)
{
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = from[2 * blockIdx.x] + from[2 * blockIdx.x + 1];
        __threadfence();
        last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        int sum = 0;
        for (unsigned i = 0; i < gridDim.x; i++)
            sum += partial[i];
        *to = sum;
        *tickets = 0;
    }
}

static void blocks_in_order_by_fences(void **)
{
    device_array<int> from(counting(20)), partial(10), to(1);
    device_array<unsigned> tickets(std::vector<unsigned>(1));
    for (int i = 0; i < 2; i++) {
        run_right(last_block, 10, 32, 0, from.at, partial.at, tickets.at, to.at);
        assert_int_equal(to.read()[0], 190);
    }
}

/* Threads that have returned are not waited for. */
static __global__ void early_exit(int *to)
{
    __shared__ int first;
    if (threadIdx.x >= 40)
        return;
    if (threadIdx.x == 0)
        first = 7;
    __syncthreads();
    unsigned vote = __ballot_sync(0xffffffffu, threadIdx.x % 2 == 0);
    to[threadIdx.x] =
        first + static_cast<int>(vote & 0xffu) + __syncthreads_count(threadIdx.x < 3) * 1000 +
        __syncthreads_or(threadIdx.x == 39) * 10000 + __syncthreads_and(threadIdx.x < 39) * 100000;
}

static void exited_threads(void **)
{
    device_array<int> to(40);
    run_right(early_exit, 1, 64, 0, to.at);
    for (int value : to.read())
        assert_int_equal(value, 7 + 0x55 + 3000 + 10000);
}

/* Groups of 8 lanes, and exchanges of 1, 2 and 8 bytes. */
static __global__ void exchanges(long long *to)
{
    int lane = static_cast<int>(threadIdx.x % 32);
    long long sum = 0;
    sum = sum * 100 + __shfl_sync(0xffffffffu, lane, 3, 8);
    sum = sum * 100 + __shfl_up_sync(0xffffffffu, static_cast<short>(lane), 2u, 8);
    sum = sum * 100 + __shfl_down_sync(0xffffffffu, static_cast<long long>(lane), 2u, 8);
    sum = sum * 100 + __shfl_xor_sync(0xffffffffu, static_cast<unsigned char>(lane), 5, 8);
    sum = sum * 100 + __popc(__match_any_sync(0xffffffffu, lane % 4));
    sum = sum * 1000 + __reduce_add_sync(0xffffffffu, lane);
    sum = sum * 100 + __reduce_max_sync(0xffffffffu, lane - 31);
    to[threadIdx.x] = sum;
}

static void warp_exchanges(void **)
{
    device_array<long long> to(64);
    run_right(exchanges, 1, 64, 0, to.at);
    std::vector<long long> found = to.read();
    for (int i = 0; i < 64; i++) {
        int lane = i % 32, group = lane / 8 * 8;
        long long sum = group + 3;
        sum = sum * 100 + (lane - group >= 2 ? lane - 2 : lane);
        sum = sum * 100 + (lane - group < 6 ? lane + 2 : lane);
        sum = sum * 100 + (lane ^ 5);
        sum = sum * 100 + 8;
        sum = sum * 1000 + 31 * 16;
        sum = sum * 100;
        assert_true(found[static_cast<size_t>(i)] == sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_without_barriers), cmocka_unit_test(sums),
        cmocka_unit_test(atomic_counters),          cmocka_unit_test(scans),
        cmocka_unit_test(tiles_of_halves),          cmocka_unit_test(blocks_in_order_by_fences),
        cmocka_unit_test(exited_threads),           cmocka_unit_test(warp_exchanges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
