/*
 * Position of the first maximum along an axis; the first NaN wins over every number.
 *
 * x is [outer, count, inner]. A block is [groups, down, across] threads: a group for one place of
 * `outer`, `across` columns of inner, `down` threads that share the elements of each.
 */
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/strided.cuh"

#define THREADS 256
/* Loads of a thread that are under way together. */
#define EACH 4

struct argmax_params {
    int64_t outer, count, inner;
    strided_divisor tiles; /* of columns */
    int64_t blocks;
    int32_t across_bits, down_bits;
    tc_dtype dtype;
};

static int32_t bits_for(int64_t n, int32_t most)
{
    int32_t bits = 0;
    while (bits < most && (int64_t{1} << bits) < n)
        bits++;
    return bits;
}

static tc_status prepare(tc_prepare *prepare)
{
    argmax_params *p = static_cast<argmax_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank);
    p->outer = p->inner = 1;
    for (int32_t i = 0; i < x->rank; i++) {
        if (i == axis)
            p->count = x->dims[i].size;
        else
            *(i < axis ? &p->outer : &p->inner) *= x->dims[i].size;
    }
    p->dtype = prepare->inputs[0].dtype;
    p->across_bits = bits_for(p->inner, 5);
    p->down_bits = bits_for(p->count, 8 - p->across_bits);
    int32_t group_bits = 8 - p->across_bits - p->down_bits;
    p->tiles = strided_divisor_of(((p->inner - 1) >> p->across_bits) + 1);
    p->blocks = (((p->outer - 1) >> group_bits) + 1) * p->tiles.by;
    if (p->outer == 0 || p->inner == 0 || p->count == 0) /* the output is empty */
        p->blocks = 0;
    return TC_OK;
}

template <typename C> static __device__ __forceinline__ bool beats(C x, C best)
{
    return x > best || (x != x && best == best);
}

/* u64 in the order of i64. */
static __device__ __forceinline__ int64_t in_order(int64_t x, tc_dtype dtype)
{
    return dtype == TC_U64 ? x ^ INT64_MIN : x;
}
template <typename C> static __device__ __forceinline__ C in_order(C x, tc_dtype dtype)
{
    (void)dtype;
    return x;
}

template <typename C>
static __global__ void __launch_bounds__(THREADS)
    find_maximum(argmax_params p, const void *__restrict__ x, int64_t *__restrict__ y)
{
    __shared__ C best_of[THREADS];
    __shared__ int64_t place_of[THREADS];
    const uint32_t thread = threadIdx.x, down = 1u << p.down_bits;
    const uint32_t row = thread >> p.across_bits & (down - 1);
    const int32_t group_bits = p.across_bits + p.down_bits;
    for (int64_t unit = blockIdx.x; unit < p.blocks; unit += gridDim.x) {
        int64_t block = strided_quotient(unit, p.tiles);
        int64_t outer = block * (THREADS >> group_bits) + (thread >> group_bits);
        int64_t column =
            ((unit - block * p.tiles.by) << p.across_bits) + (thread & ((1u << p.across_bits) - 1));
        bool inside = outer < p.outer && column < p.inner;
        C best = 0;
        int64_t place = INT64_MAX; /* of nothing */
        int64_t base = outer * p.count * p.inner + column;
#pragma unroll 1
        for (int64_t i = row; inside && i < p.count; i += EACH * down) {
            C v[EACH];
#pragma unroll
            for (int e = 0; e < EACH; e++)
                if (i + e * down < p.count)
                    v[e] =
                        in_order(load_as<C>(x, p.dtype, base + (i + e * down) * p.inner), p.dtype);
#pragma unroll
            for (int e = 0; e < EACH; e++)
                if (i + e * down < p.count && (place == INT64_MAX || beats(v[e], best))) {
                    best = v[e];
                    place = i + e * down;
                }
        }
        best_of[thread] = best;
        place_of[thread] = place;
        /* Rows are folded in halves; of equals the first one stays. */
#pragma unroll 1
        for (uint32_t half = down / 2; half > 0; half /= 2) {
            __syncthreads();
            if (row < half) {
                uint32_t other = thread + (half << p.across_bits);
                C a = best_of[thread], b = best_of[other];
                int64_t i = place_of[thread], k = place_of[other];
                if (k != INT64_MAX && (i == INT64_MAX || beats(b, a) || (!beats(a, b) && k < i))) {
                    best_of[thread] = b;
                    place_of[thread] = k;
                }
            }
        }
        if (inside && row == 0)
            y[outer * p.inner + column] = place_of[thread];
        __syncthreads();
    }
}

template <typename C>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const argmax_params *p = static_cast<const argmax_params *>(params);
    unsigned blocks = static_cast<unsigned>(p->blocks < INT32_MAX ? p->blocks : INT32_MAX);
    return tc_cuda_launch(find_maximum<C>, dim3(blocks), dim3(THREADS), 0, context, *p, inputs[0],
                          static_cast<int64_t *>(outputs[0]));
}

#define KERNEL(tag, C) TC_CUDA_KERNEL(argmax, tag, prepare, run<C>)

static const tc_kernel kernels[] = {
    KERNEL(f32, float),    KERNEL(f64, double),  KERNEL(f16, float),   KERNEL(bf16, float),
    KERNEL(i8, int64_t),   KERNEL(i16, int64_t), KERNEL(i32, int64_t), KERNEL(i64, int64_t),
    KERNEL(u8, int64_t),   KERNEL(u16, int64_t), KERNEL(u32, int64_t), KERNEL(u64, int64_t),
    KERNEL(bool, int64_t),
};

TC_CUDA_TABLE(argmax, kernels);
