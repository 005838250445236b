/*
 * Matrix products described by strides, and the kernel that computes any of them: with shared
 * memory, without matrix units. It is for small products, which it finishes in the same launch, for
 * integers, and for what cuBLASLt refuses.
 */
#ifndef TC_KERNELS_CUDA_PRODUCT_CUH
#define TC_KERNELS_CUDA_PRODUCT_CUH

#include "kernels/cuda/epilogue.cuh"

/** One dimension of the batch: elements between neighbours, 0 where an operand has one for all. */
struct tc_cuda_batch_dim {
    int64_t size, a, b, y;
};

/** y = a b for every item of a batch, all row-major: plain data, passed to kernels. */
struct tc_cuda_product {
    int64_t m, n, k;
    int64_t a_ld, b_ld;      /* elements between rows as they lie in memory; of y it is n */
    int64_t items;           /* of the batch */
    int32_t rank;            /* dimensions of the batch that could not be merged */
    bool a_turned, b_turned; /* stored transposed: a as [k, m], b as [n, k] */
    tc_cuda_batch_dim batch[TC_MAX_RANK];
};

/** Reads a node of matmul or matmul_fused. Dimensions of the batch are merged with each other and,
 * where b is the same for them, into the rows. */
tc_cuda_product tc_cuda_product_read(const tc_prepare *prepare);

#define TC_CUDA_TILE_THREADS 16 /* in each direction */
#define TC_CUDA_TILE_DEPTH   16

/**
 * A block computes tiles of 16 each by 16 each elements, a thread every 16th of them in both
 * directions, so that neighbours read and write neighbours. Sums run along k in order, whatever the
 * tile.
 */
template <typename T, int each>
static __global__ void __launch_bounds__(256)
    tc_cuda_product_tiles(tc_cuda_product p, const T *a, const T *b, T *y, tc_cuda_finish finish)
{
    typedef typename tc_compute<T>::type C;
    constexpr int threads = TC_CUDA_TILE_THREADS, depth = TC_CUDA_TILE_DEPTH;
    constexpr int tile = threads * each;
    /* One more column: without it a turned operand would be written into one bank. */
    __shared__ C a_tile[depth][tile + 1];
    __shared__ C b_tile[depth][tile + 1];
    const int column = static_cast<int>(threadIdx.x) % threads;
    const int row = static_cast<int>(threadIdx.x) / threads;
    const unsigned tiles_n = static_cast<unsigned>((p.n + tile - 1) / tile);
    const int64_t m0 = static_cast<int64_t>(blockIdx.x / tiles_n) * tile;
    const int64_t n0 = static_cast<int64_t>(blockIdx.x % tiles_n) * tile;
#pragma unroll 1
    for (unsigned item = blockIdx.y; item < p.items; item += gridDim.y) {
        int64_t a0 = 0, b0 = 0, y0 = 0;
        unsigned rest = item;
#pragma unroll 1
        for (int32_t d = p.rank; d-- > 0;) {
            const unsigned size = static_cast<unsigned>(p.batch[d].size), i = rest % size;
            rest /= size;
            a0 += i * p.batch[d].a;
            b0 += i * p.batch[d].b;
            y0 += i * p.batch[d].y;
        }
        C sum[each][each] = {};
#pragma unroll 1
        for (int64_t k0 = 0; k0 < p.k; k0 += depth) {
            /* Threads follow the memory: along k in rows of a, along m in those of its transpose.
             */
            for (int i = static_cast<int>(threadIdx.x); i < depth * tile; i += threads * threads) {
                int k = p.a_turned ? i / tile : i % depth, m = p.a_turned ? i % tile : i / depth;
                C value = 0;
                if (k0 + k < p.k && m0 + m < p.m)
                    value = tc_load(a[a0 + (p.a_turned ? (k0 + k) * p.a_ld + m0 + m
                                                       : (m0 + m) * p.a_ld + k0 + k)]);
                a_tile[k][m] = value;
                k = p.b_turned ? i % depth : i / tile;
                int n = p.b_turned ? i / depth : i % tile;
                value = 0;
                if (k0 + k < p.k && n0 + n < p.n)
                    value = tc_load(b[b0 + (p.b_turned ? (n0 + n) * p.b_ld + k0 + k
                                                       : (k0 + k) * p.b_ld + n0 + n)]);
                b_tile[k][n] = value;
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < depth; k++)
#pragma unroll
                for (int i = 0; i < each; i++)
#pragma unroll
                    for (int j = 0; j < each; j++)
                        sum[i][j] += a_tile[k][row + threads * i] * b_tile[k][column + threads * j];
            __syncthreads();
        }
        /* One at a time, so that the functions that may follow are here once. */
        C *next = &sum[0][0];
#pragma unroll 1
        for (int e = 0; e < each * each; e++) {
            int64_t m = m0 + row + threads * (e / each), n = n0 + column + threads * (e % each);
            if (m < p.m && n < p.n) {
                int64_t at = y0 + m * p.n + n;
                y[at] = tc_store<T>(tc_cuda_finish_at<T>(finish, next[0], at, n));
            }
#pragma unroll
            for (int i = 1; i < each * each; i++)
                next[i - 1] = next[i];
        }
    }
}

/** Computes the product into `y`, which may be the residual of `finish`, but no operand. */
template <typename T>
static inline tc_status tc_cuda_product_launch(const tc_cuda_product *p, const void *a,
                                               const void *b, void *y, const tc_cuda_finish *finish,
                                               const tc_kernel_context *context)
{
    /* Large tiles do more with what they load, small ones spread a small product over the device.
     */
    constexpr int most = sizeof(typename tc_compute<T>::type) == 8 ? 2 : 4;
    const bool large = p->m > 64 && p->n > 64;
    const int64_t tile = TC_CUDA_TILE_THREADS * (large ? most : 1);
    const int64_t tiles = (p->m + tile - 1) / tile * ((p->n + tile - 1) / tile);
    if (p->items == 0)
        return TC_OK;
    if (tiles > INT32_MAX || p->items > INT32_MAX)
        return tc_kernel_fail(TC_UNIMPLEMENTED,
                              "%lld products of %lld x %lld elements are too many",
                              static_cast<long long>(p->items), static_cast<long long>(p->m),
                              static_cast<long long>(p->n));
    const dim3 grid(static_cast<unsigned>(tiles), tc_cuda_blocks(p->items, 1, 65535));
    const dim3 block(TC_CUDA_TILE_THREADS * TC_CUDA_TILE_THREADS);
    return tc_cuda_launch(large ? tc_cuda_product_tiles<T, most> : tc_cuda_product_tiles<T, 1>,
                          grid, block, 0, context, *p, static_cast<const T *>(a),
                          static_cast<const T *>(b), static_cast<T *>(y), *finish);
}

#endif
