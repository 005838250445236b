/* Kernels that are wrong are found, and the report says how. */
#include "kernel_test.h"

static __global__ void no_barrier(int *to)
{
    __shared__ int values[64];
    values[threadIdx.x] = 0;
    __syncthreads();
    values[threadIdx.x] = static_cast<int>(threadIdx.x);
    to[threadIdx.x] = values[63 - threadIdx.x];
}

/* The second round of writes may overtake the reads of the first. */
static __global__ void no_second_barrier(int *to)
{
    __shared__ int values[64];
    int sum = 0;
    for (int round = 0; round < 2; round++) {
        values[threadIdx.x] = round;
        __syncthreads();
        sum += values[63 - threadIdx.x];
    }
    to[threadIdx.x] = sum;
}

/* Reads by several threads before one writes. */
static __global__ void write_after_reads(int *to)
{
    __shared__ int value;
    if (threadIdx.x == 0)
        value = 1;
    __syncthreads();
    to[threadIdx.x] = value;
    if (threadIdx.x == 62)
        value = 2;
}

static void races_in_shared_memory(void **)
{
    device_array<int> to(64);
    run_wrong({"race: ", "kernel no_barrier", "block (0,0,0)", "test_wrong_kernels.cu:"},
              no_barrier, 1, 64, 0, to.at);
    run_wrong({"race: reads 4 bytes", "written by thread", "no barrier in between"},
              no_second_barrier, 1, 64, 0, to.at);
    run_wrong({"race: writes 4 bytes", "thread (62,0,0)", "read by thread"}, write_after_reads, 1,
              64, 0, to.at);
}

static __global__ void neighbours_in_block(int *values)
{
    values[threadIdx.x] = 1;
    if (threadIdx.x > 0)
        values[threadIdx.x - 1] = 2;
}

static __global__ void same_byte(unsigned char *values)
{
    values[threadIdx.x / 2] = static_cast<unsigned char>(threadIdx.x);
}

static __global__ void each_byte(unsigned char *values)
{
    values[threadIdx.x] = static_cast<unsigned char>(threadIdx.x);
}

static __global__ void bytes_of_a_word(unsigned char *bytes, unsigned *words)
{
    if (threadIdx.x < 4)
        bytes[threadIdx.x] = 1;
    else if (threadIdx.x == 4)
        words[0] = 2;
}

static __global__ void one_for_all_blocks(int *to)
{
    if (threadIdx.x == 0)
        *to = static_cast<int>(blockIdx.x);
}

static __global__ void sum_without_atomics(int *sum)
{
    if (threadIdx.x == 0)
        *sum += 1;
}

static __global__ void update_and_read(int *sum, int *to)
{
    atomicAdd(sum, 1);
    to[threadIdx.x] = *sum;
}

/* Without a fence, nothing says that the last block sees what the others wrote. */
static __global__ void last_block_without_fence(int *partial, unsigned *tickets, int *to)
{
    partial[blockIdx.x] = 1;
    if (atomicAdd(tickets, 1u) == gridDim.x - 1)
        *to = partial[0];
}

static void races_in_global_memory(void **)
{
    device_array<int> values(std::vector<int>(64)), other(64);
    device_array<unsigned char> bytes(64);
    device_array<unsigned> tickets(std::vector<unsigned>(1));
    run_wrong({"race: writes 4 bytes", "allocation of 256 bytes", "written by thread"},
              neighbours_in_block, 1, 64, 0, values.at);
    run_wrong({"race: writes 1 bytes"}, same_byte, 1, 64, 0, bytes.at);
    run_right(each_byte, 1, 64, 0, bytes.at);
    run_wrong({"race: writes 4 bytes", "thread (4,0,0)"}, bytes_of_a_word, 1, 32, 0, bytes.at,
              reinterpret_cast<unsigned *>(bytes.at));
    run_wrong({"race: writes 4 bytes", "another block", "block (1,0,0)"}, one_for_all_blocks, 2, 32,
              0, values.at);
    run_wrong({"race: reads 4 bytes", "written by another block"}, sum_without_atomics, 2, 32, 0,
              values.at);
    run_wrong({"race: updates 4 bytes", "test_wrong_kernels.cu"}, update_and_read, 1, 32, 0,
              values.at, other.at);
    run_wrong({"race: reads 4 bytes", "written by another block"}, last_block_without_fence, 3, 1,
              0, values.at, tickets.at, other.at);
}

static __global__ void no_warp_barrier(int *to)
{
    __shared__ int values[32];
    values[threadIdx.x] = static_cast<int>(threadIdx.x);
    int sum = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1); /* orders nothing */
    to[threadIdx.x] = sum + values[threadIdx.x ^ 1];
}

static __global__ void warp_barrier_for_block(int *to)
{
    __shared__ int values[64];
    values[threadIdx.x] = 0;
    __syncthreads();
    values[threadIdx.x] = static_cast<int>(threadIdx.x);
    __syncwarp();
    to[threadIdx.x] = values[threadIdx.x ^ 32];
}

static void races_in_warps(void **)
{
    device_array<int> to(64);
    run_wrong({"race: reads 4 bytes", "__shared__"}, no_warp_barrier, 1, 32, 0, to.at);
    run_wrong({"race: reads 4 bytes", "with no barrier"}, warp_barrier_for_block, 1, 64, 0, to.at);
}

static __global__ void copy(const int *from, int *to, int n)
{
    for (int i = static_cast<int>(threadIdx.x); i < n; i += static_cast<int>(blockDim.x))
        to[i] = from[i];
}

static __global__ void before(int *to)
{
    to[-1] = 0;
}

static __global__ void clear(char *to, size_t bytes)
{
    if (threadIdx.x == 0)
        memset(to, 0, bytes);
}

static __global__ void four_at_once(const float4 *from, float *to)
{
    to[threadIdx.x] = from[threadIdx.x].y;
}

static void addresses(void **)
{
    device_array<int> from(counting(100)), to(101), fewer(99);
    run_wrong({"reads 4 bytes", "0 bytes behind the end of an allocation of 400 bytes",
               "thread (4,0,0)", "test_wrong_kernels"},
              copy, 1, 32, 0, from.at, to.at, 101);
    run_wrong({"writes 4 bytes", "0 bytes behind the end of an allocation of 396 bytes"}, copy, 1,
              32, 0, from.at, fewer.at, 100);
    run_wrong({"writes 4 bytes", "4 bytes before an allocation"}, before, 1, 1, 0, from.at);
    run_wrong({"allocation of 396 bytes"}, clear, 1, 32, 0, reinterpret_cast<char *>(fewer.at),
              static_cast<size_t>(397));
    run_wrong({"not a multiple of 16"}, four_at_once, 1, 2, 0,
              reinterpret_cast<const float4 *>(from.at + 1), reinterpret_cast<float *>(to.at));
    int on_host = 1;
    run_wrong({"memory of the host"}, copy, 1, 32, 0, static_cast<const int *>(&on_host), to.at, 1);
    void *pinned = nullptr;
    assert_good(cudaHostAlloc(&pinned, 64, cudaHostAllocPortable));
    run_wrong({"memory of the host"}, copy, 1, 32, 0, from.at, static_cast<int *>(pinned), 1);
    assert_good(cudaFreeHost(pinned));
    run_wrong({"reads 4 bytes at (nil)"}, copy, 1, 32, 0, static_cast<const int *>(nullptr), to.at,
              1);
}

static __constant__ const int table[4] = {1, 2, 3, 4};
static int variable_of_the_host = 5;

static __global__ void read_table(int *to)
{
    to[threadIdx.x] = table[threadIdx.x];
}

static __global__ void write_host_variable(void)
{
    variable_of_the_host = 6;
}

static void constants(void **)
{
    device_array<int> to(5);
    run_right(read_table, 1, 4, 0, to.at);
    run_wrong({"index 4", "int [4]"}, read_table, 1, 5, 0, to.at);
    run_wrong({"writes 4 bytes", "memory of the host"}, write_host_variable, 1, 1, 0);
    assert_int_equal(variable_of_the_host, 5);
}

static __global__ void use_shared(int *to, int n)
{
    int *values = static_cast<int *>(tc_cuda_host_shared());
    for (int i = 0; i < n; i++)
        values[i] = i;
    *to = values[0];
}

static __global__ void use_array(int *to, int n)
{
    __shared__ int values[8];
    for (int i = 0; i < n; i++)
        values[i] = i;
    *to = values[0];
}

static __global__ void read_shared(int *to)
{
    __shared__ int values[8];
    if (blockIdx.x == 0)
        values[0] = 1;
    *to = values[0];
}

static void shared_memory(void **)
{
    device_array<int> to(1);
    run_right(use_shared, 1, 1, 32, to.at, 8);
    run_wrong({"outside of shared memory", "byte 32 of 32 bytes"}, use_shared, 1, 1, 32, to.at, 9);
    run_right(use_array, 1, 1, 0, to.at, 8);
    run_wrong({"index 8", "int [8]"}, use_array, 1, 1, 0, to.at, 9);
    run_wrong({"shared memory that nobody has written", "block (1,0,0)"}, read_shared, 2, 1, 0,
              to.at);
}

static void freed_and_unwritten_memory(void **)
{
    int *freed = nullptr;
    assert_good(cudaMalloc(&freed, 64));
    device_array<int> from(counting(16)), to(16), unwritten(16);
    assert_good(cudaFree(freed));
    run_wrong({"memory that was freed"}, copy, 1, 32, 0, static_cast<const int *>(freed), to.at, 1);
    run_wrong({"memory that was freed", "writes 4 bytes"}, copy, 1, 32, 0, from.at, freed, 1);
    run_wrong({"memory that nobody has written", "reads 4 bytes"}, copy, 1, 32, 0, unwritten.at,
              to.at, 1);
    /* A copy to the host may not either; one within the device hands on what is not known. */
    int on_host = 0;
    assert_good(cudaMemcpy(to.at, unwritten.at, 8, cudaMemcpyDeviceToDevice));
    assert_int_equal(cudaMemcpy(&on_host, to.at + 1, 4, cudaMemcpyDeviceToHost),
                     cudaErrorIllegalAddress);
    assert_non_null(strstr(cudaGetErrorString(cudaErrorIllegalAddress), "nobody has written"));
    tc_cuda_host_reset();
    device_array<int> fault(std::vector<int>(1));
    tc_cuda_host_excuse(fault.at);
    assert_int_equal(cudaMemcpy(&on_host, to.at + 1, 4, cudaMemcpyDeviceToHost),
                     cudaErrorIllegalAddress);
    tc_cuda_host_reset();
    assert_good(cudaMemset(fault.at, 1, 4));
    assert_good(cudaMemcpy(&on_host, to.at + 1, 4, cudaMemcpyDeviceToHost));
    assert_int_equal(cudaMemcpy(to.at, from.at, 65, cudaMemcpyDeviceToDevice),
                     cudaErrorIllegalAddress);
    tc_cuda_host_reset();
}

/* Tensors side by side in one allocation. */
static void bounds_of_operands(void **)
{
    device_array<int> arena(counting(64)), source(counting(17));
    const tc_cuda_host_bound bounds[] = {{source.at, 68, false, "input", 1},
                                         {arena.at + 16, 64, true, "output", 1},
                                         {arena.at, 64, false, "input", 0}};
    const int *from = source.at;
    tc_cuda_host_set_bounds(bounds, 3);
    run_right(copy, 1, 32, 0, from, arena.at + 16, 16);
    run_wrong({"outside of the operands", "writes 4 bytes", "0 bytes behind the end of output 1"},
              copy, 1, 32, 0, from, arena.at + 16, 17);
    run_wrong({"outside of the operands", "writes 4 bytes", "byte 4 of input 0", "not to be"}, copy,
              1, 32, 0, static_cast<const int *>(arena.at + 16), arena.at + 1, 1);
    run_wrong({"outside of the operands", "writes 4 bytes", "4 bytes before input 0"}, before, 1, 1,
              0, arena.at);
    assert_int_equal(cudaMemset(arena.at + 16, 0, 65), cudaErrorIllegalAddress);
    tc_cuda_host_reset();
    tc_cuda_host_set_bounds(nullptr, 0);
    run_right(copy, 1, 32, 0, from, arena.at + 16, 17);
    assert_good(tc_cuda_host_forget(arena.at, 8, nullptr));
    run_wrong({"nobody has written", "byte 0 of an allocation"}, copy, 1, 32, 0,
              static_cast<const int *>(arena.at), arena.at + 8, 1);
}

static __global__ void half_a_barrier(int *to)
{
    if (threadIdx.x < 16)
        __syncthreads();
    else
        __syncwarp(0xffff0000u);
    to[threadIdx.x] = 0;
    __syncthreads();
}

static __global__ void two_barriers(int *to)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        (void)__syncthreads_or(1);
    to[threadIdx.x] = 0;
}

static __global__ void half_an_exchange(int *to)
{
    int value = 0;
    if (threadIdx.x < 16)
        value = __shfl_sync(0xffffffffu, 1, 0);
    __syncthreads();
    to[threadIdx.x] = value;
}

static __global__ void outside_of_mask(int *to)
{
    to[threadIdx.x] = __shfl_sync(0x0000ffffu, 1, 0);
}

static void barriers(void **)
{
    device_array<int> to(64);
    run_wrong({"divergent barrier", "thread (31,0,0)", "thread (0,0,0)"}, half_a_barrier, 1, 32, 0,
              to.at);
    run_wrong({"divergent barrier", "__syncthreads_or", "thread (0,0,0)"}, two_barriers, 1, 64, 0,
              to.at);
    run_wrong({"waits in __shfl_sync", "__syncthreads"}, half_an_exchange, 1, 32, 0, to.at);
    run_wrong({"leaves the thread out"}, outside_of_mask, 1, 32, 0, to.at);
}

static __global__ void fail_here(int *to)
{
    to[blockIdx.x] = 1;
    if (blockIdx.x == 1)
        __trap();
}

static void traps(void **)
{
    device_array<int> to(2);
    run_wrong({"__trap()"}, fail_here, 2, 1, 0, to.at);
    /* Nothing of it stays. */
    run_right(fail_here, 1, 1, 0, to.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(races_in_shared_memory),
        cmocka_unit_test(races_in_global_memory),
        cmocka_unit_test(races_in_warps),
        cmocka_unit_test(addresses),
        cmocka_unit_test(constants),
        cmocka_unit_test(shared_memory),
        cmocka_unit_test(freed_and_unwritten_memory),
        cmocka_unit_test(bounds_of_operands),
        cmocka_unit_test(barriers),
        cmocka_unit_test(traps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
