/*
 * The best that cuBLASLt does with a bf16 product of 8192 x 8192, on random numbers: every
 * algorithm that its heuristics propose, timed.
 */
#include <cublasLt.h>
#include <cuda_runtime.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define SIZE       8192
#define CANDIDATES 64
#define ROUNDS     20

#define CHECK(call)                                                                               \
    do {                                                                                          \
        int check_status = static_cast<int>(call);                                                \
        if (check_status) {                                                                       \
            fprintf(stderr, "%s:%d: status %d of %s\n", __FILE__, __LINE__, check_status, #call); \
            exit(1);                                                                              \
        }                                                                                         \
    } while (0)

/* bf16 in [-1, 1) from a counter. */
static __global__ void fill(uint16_t *x, size_t count, uint32_t seed)
{
    for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < count;
         i += static_cast<size_t>(gridDim.x) * blockDim.x) {
        uint32_t h = static_cast<uint32_t>(i) * 2654435761u + seed;
        h = (h ^ h >> 15) * 2246822519u;
        float value = static_cast<float>((h ^ h >> 13) >> 8) * 0x1p-23f - 1;
        x[i] = static_cast<uint16_t>(__float_as_uint(value) >> 16);
    }
}

int main(void)
{
    const size_t bytes = static_cast<size_t>(SIZE) * SIZE * 2, workspace_bytes = 256 << 20;
    uint16_t *a, *b, *c;
    void *workspace;
    CHECK(cudaMalloc(&a, bytes));
    CHECK(cudaMalloc(&b, bytes));
    CHECK(cudaMalloc(&c, bytes));
    CHECK(cudaMalloc(&workspace, workspace_bytes));
    fill<<<1024, 256>>>(a, bytes / 2, 1);
    fill<<<1024, 256>>>(b, bytes / 2, 2);
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t layout;
    cublasLtMatmulPreference_t preference;
    CHECK(cublasLtCreate(&handle));
    CHECK(cublasLtMatmulDescCreate(&product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    CHECK(cublasLtMatrixLayoutCreate(&layout, CUDA_R_16BF, SIZE, SIZE, SIZE));
    CHECK(cublasLtMatmulPreferenceCreate(&preference));
    CHECK(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &workspace_bytes, sizeof workspace_bytes));
    static cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int count = 0;
    CHECK(cublasLtMatmulAlgoGetHeuristic(handle, product, layout, layout, layout, layout,
                                         preference, CANDIDATES, found, &count));
    cudaEvent_t begin, end;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    const float one = 1, zero = 0;
    float best = 0, first = 0;
    for (int i = 0; i < count; i++) {
        float milliseconds;
        for (int round = -3; round < ROUNDS; round++) {
            if (round == 0)
                CHECK(cudaEventRecord(begin, 0));
            CHECK(cublasLtMatmul(handle, product, &one, a, layout, b, layout, &zero, c, layout, c,
                                 layout, &found[i].algo, workspace, workspace_bytes, 0));
        }
        CHECK(cudaEventRecord(end, 0));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventElapsedTime(&milliseconds, begin, end));
        milliseconds /= ROUNDS;
        if (i == 0)
            first = milliseconds;
        if (i == 0 || milliseconds < best)
            best = milliseconds;
    }
    const double flops = 2.0 * SIZE * SIZE * SIZE;
    printf(
        "cuBLASLt  bf16 product %d: best of %d algorithms %.3f us (%.1f TFLOP/s), first %.3f us\n",
        SIZE, count, best * 1e3, flops / best * 1e-9, first * 1e3);
    return 0;
}
