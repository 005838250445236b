/*
 * Attention in tiles, forward (the online softmax of Dao et al. 2022, "FlashAttention") and
 * backward, for every shape, mask and dtype.
 *
 * A block has a tile of queries (or keys) and meets those of keys (or queries) one after the
 * other. Results have up to GROUPS tiles of columns per block; more are in further slabs, which
 * compute the scores again.
 *
 * The gradients, with P the weights and D = sum(dy y) - dlogsumexp per query:
 *
 *     dv = P' dy,  dS = scale P (dy v' - D),  dk = dS' q,  dq = dS k
 *
 * P is computed again from the saved logsumexp. A block of keys meets all queries and gives dk and
 * dv, a block of queries meets all keys and gives dq: every sum has one owner and one order.
 */
#include <math.h>

#include "kernels/cuda/attention_tiles.cuh"

/* Columns of results per block, in tiles. */
#define GROUPS 2
/* Numbers of rows and keys are of 32 bits, those of tiles that end behind them too. */
#define MOST_ROWS ((1 << 30) - 1)

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/*
 * Shapes
 */
/* Steps of the mask over the dimensions of the scores; 0 where it is broadcast. */
static void describe_mask(const tc_value_info *mask, const tc_shape *q, tc_attention *p)
{
    int64_t steps[TC_MAX_RANK] = {0}, step = 1;
    p->mask_dtype = mask->dtype;
    for (int32_t d = mask->shape.rank; d-- > 0;) {
        int64_t size = mask->shape.dims[d].size;
        steps[q->rank - mask->shape.rank + d] = size == 1 ? 0 : step;
        step *= size > 0 ? size : 1; /* an empty mask is never read */
    }
    for (int32_t d = 0; d < p->mask_rank; d++)
        p->mask_steps[d] = steps[d];
    p->mask_head = steps[q->rank - 3];
    p->mask_q = steps[q->rank - 2];
    p->mask_k = steps[q->rank - 1];
}

tc_status tc_attention_describe(const tc_prepare *prepare, tc_attention *p)
{
    const tc_shape *q = &prepare->inputs[TC_ATTENTION_Q].shape;
    const tc_shape *k = &prepare->inputs[TC_ATTENTION_K].shape;
    int32_t count, last = q->rank - 1;
    const double *scale = tc_attrs_floats(prepare->attrs, "scale", &count);
    p->dtype = prepare->inputs[TC_ATTENTION_Q].dtype;
    p->causal = tc_attrs_bool(prepare->attrs, "causal");
    int64_t n_q = q->dims[last - 1].size, n_k = k->dims[last - 1].size, rows = 0;
    p->depth = q->dims[last].size;
    p->depth_v = prepare->inputs[TC_ATTENTION_V].shape.dims[last].size;
    p->scale = count > 0 ? scale[0] : tc_attention_scale(p->depth);
    p->heads_kv = k->dims[last - 2].size;
    p->group = p->heads_kv ? q->dims[last - 2].size / p->heads_kv : 0;
    p->mask_rank = last - 2;
    for (int32_t d = 0; d < p->mask_rank; d++)
        p->mask_dims[d] = q->dims[d].size;
    /* Of an empty result the other sizes may be any, and their products overflow. */
    tc_shape queries = *q;
    queries.rank--;
    if (tc_shape_size(&queries) > 0) {
        rows = p->group * n_q;
        p->items = p->heads_kv;
        for (int32_t d = 0; d < p->mask_rank; d++)
            p->items *= p->mask_dims[d];
    }
    if (rows > MOST_ROWS || (rows > 0 && n_k > MOST_ROWS))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                              "%lld queries of heads that share %lld keys are too many",
                              static_cast<long long>(rows), static_cast<long long>(n_k));
    p->rows = static_cast<int32_t>(rows);
    p->n_q = rows > 0 ? static_cast<int32_t>(n_q) : 0;
    p->n_k = rows > 0 ? static_cast<int32_t>(n_k) : 0;
    int64_t tile = p->dtype == TC_F64 ? shape_of<double>::TILE : shape_of<float>::TILE;
    p->row_blocks = ceil_div(p->rows, tile);
    p->key_blocks = ceil_div(p->n_k, tile);
    const int64_t blocks = p->row_blocks > p->key_blocks ? p->row_blocks : p->key_blocks;
    if (blocks > 0 && p->items > INT32_MAX / 8 / blocks) /* a block sums 8 queries of a tile */
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                              "attention of %lld heads with %lld queries is too much for one "
                              "kernel",
                              static_cast<long long>(p->items), static_cast<long long>(rows));
    if (prepare->inputs[TC_ATTENTION_MASK].dtype != TC_DTYPE_INVALID)
        describe_mask(&prepare->inputs[TC_ATTENTION_MASK], q, p);
    return TC_OK;
}

static uint32_t slabs_of(const tc_attention *p, int64_t columns)
{
    int64_t tile = p->dtype == TC_F64 ? shape_of<double>::TILE : shape_of<float>::TILE;
    return columns > 0 ? static_cast<uint32_t>(ceil_div(columns, GROUPS * tile)) : 1;
}

#define SUMS(name)                         \
    R name[GROUPS][M][M];                  \
    for (int g_ = 0; g_ < GROUPS; g_++)    \
        for (int i_ = 0; i_ < M; i_++)     \
            for (int j_ = 0; j_ < M; j_++) \
    name[g_][i_][j_] = 0

/*
 * Forward
 */
template <typename T>
static __global__ __launch_bounds__(THREADS) void forward(const __grid_constant__ tc_attention p,
                                                          bool aligned, const T *q, const T *k,
                                                          const T *v, const void *mask, T *y,
                                                          typename shape_of<T>::R *lse)
{
    typedef typename shape_of<T>::R R;
    constexpr int M = shape_of<T>::M, TILE = shape_of<T>::TILE, LD = shape_of<T>::LD;
    TC_DYNAMIC_SHARED(R, shared);
    tile_work<T> w = {p, aligned, shared, shared + TILE * LD, shared + 2 * TILE * LD, {}};
    /* The last rows first: where attention is causal they have the most to do. */
    int64_t block = static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x;
    int64_t item = block / p.row_blocks;
    int row = static_cast<int>(block % p.row_blocks) * TILE;
    int64_t slab = static_cast<int64_t>(blockIdx.y) * GROUPS * TILE;
    q += item * p.rows * p.depth;
    k += item * p.n_k * p.depth;
    v += item * p.n_k * p.depth_v;
    R most[M], sum[M];
    SUMS(sums);
#pragma unroll
    for (int i = 0; i < M; i++) {
        most[i] = static_cast<R>(-INFINITY);
        sum[i] = 0;
    }
    const int64_t start = mask ? mask_start(p, item) : 0;
    const int rows_here = p.rows - row < TILE ? p.rows - row : TILE;
    const int keys = most_seen(p, row, rows_here);
    for (int key = 0; key < keys; key += TILE) {
        const int keys_here = p.n_k - key < TILE ? p.n_k - key : TILE;
        R s[M][M];
        w.product(s, q, row, k, key, p.depth, key > 0);
#pragma unroll
        for (int i = 0; i < M; i++) {
            R here = most[i];
            w.view(s[i], row_view(p, start, row + w.at.row + i), mask, key);
#pragma unroll
            for (int j = 0; j < M; j++)
                here = tc_max(here, s[i][j]);
            here = over_keys(here, tc_most());
            R shift = tc_shift_of(here), shrink = tc_exp(most[i] - shift), more = 0;
#pragma unroll
            for (int j = 0; j < M; j++)
                more += s[i][j] = tc_exp(s[i][j] - shift);
            sum[i] = sum[i] * shrink + over_keys(more, tc_add());
            most[i] = here;
#pragma unroll
            for (int g = 0; g < GROUPS; g++)
#pragma unroll
                for (int j = 0; j < M; j++)
                    sums[g][i][j] *= shrink;
        }
        w.put_weights(s);
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            int64_t column = slab + g * TILE;
            if (column >= p.depth_v)
                break;
            __syncthreads();
            load_tile<T>(w.b, v, p.n_k, p.depth_v, key, column, aligned);
            __syncthreads();
            if (w.at.row < p.rows - row && column + w.at.column < p.depth_v)
                multiply_rows<T>(sums[g], w.weights, w.b, w.at, keys_here);
        }
        __syncthreads();
    }
    R factor[M];
#pragma unroll
    for (int i = 0; i < M; i++) {
        factor[i] = sum[i] == 0 ? 0 : 1 / sum[i];
        if (blockIdx.y == 0 && w.at.key == 0 && row + w.at.row + i < p.rows)
            lse[item * p.rows + row + w.at.row + i] = most[i] + tc_log(sum[i]);
    }
#pragma unroll
    for (int g = 0; g < GROUPS; g++)
        if (slab + g * TILE < p.depth_v)
            w.put_result(y + item * p.rows * p.depth_v, p.rows, p.depth_v, row, slab + g * TILE,
                         sums[g], factor);
}

/*
 * Backward
 */
/* Of every query: D, and what to subtract from scores before exp. A warp has one. */
template <typename T>
static __global__ __launch_bounds__(THREADS) void sum_queries(int64_t count, int64_t columns,
                                                              const T *y, const T *dy,
                                                              const typename shape_of<T>::R *lse,
                                                              const typename shape_of<T>::R *dlse,
                                                              typename shape_of<T>::R *d)
{
    typedef typename shape_of<T>::R R;
    int64_t row = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (row >= count)
        return;
    R sum = 0;
    for (int64_t c = threadIdx.x % 32; c < columns; c += 32)
        sum += tc_load(y[row * columns + c]) * tc_load(dy[row * columns + c]);
    for (int step = 16; step > 0; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 != 0)
        return;
    d[row] = sum - (dlse ? dlse[row] : 0);
    d[count + row] = tc_shift_of(lse[row]);
}

template <typename T> struct backward_args {
    typedef typename shape_of<T>::R R;
    const T *q, *k, *v, *dy;
    const void *mask;
    const R *d; /* D of every query, then the shifts */
    T *dq, *dk, *dv;
};

/* Weights and dS of the tile of `row` and `key`. */
template <typename T>
static __device__ __forceinline__ void grad_tile(
    tile_work<T> &w, const backward_args<T> &a, int64_t item, int64_t start, int row, int key,
    typename shape_of<T>::R (&s)[shape_of<T>::M][shape_of<T>::M],
    typename shape_of<T>::R (&ds)[shape_of<T>::M][shape_of<T>::M])
{
    typedef typename shape_of<T>::R R;
    constexpr int M = shape_of<T>::M;
    const tc_attention &p = w.p;
    w.product(s, a.q, row, a.k, key, p.depth, false);
    w.product(ds, a.dy, row, a.v, key, p.depth_v, false);
#pragma unroll
    for (int i = 0; i < M; i++) {
        int mine = row + w.at.row + i;
        R d = 0, shift = 0;
        if (mine < p.rows) {
            d = a.d[item * p.rows + mine];
            shift = a.d[(p.items + item) * p.rows + mine];
        }
        w.view(s[i], row_view(p, start, mine), a.mask, key);
#pragma unroll
        for (int j = 0; j < M; j++) {
            s[i][j] = tc_exp(s[i][j] - shift);
            ds[i][j] = s[i][j] * static_cast<R>(p.scale) * (ds[i][j] - d);
        }
    }
}

template <typename T>
static __device__ __forceinline__ void start_item(const tc_attention &p, int64_t item,
                                                  backward_args<T> &a)
{
    a.q += item * p.rows * p.depth;
    a.dy += item * p.rows * p.depth_v;
    a.k += item * p.n_k * p.depth;
    a.v += item * p.n_k * p.depth_v;
}

/* dk and dv of a block of keys. */
template <typename T>
static __global__ __launch_bounds__(THREADS) void backward_keys(
    const __grid_constant__ tc_attention p, bool aligned, backward_args<T> a)
{
    typedef typename shape_of<T>::R R;
    constexpr int M = shape_of<T>::M, TILE = shape_of<T>::TILE, LD = shape_of<T>::LD;
    TC_DYNAMIC_SHARED(R, shared);
    tile_work<T> w = {p, aligned, shared, shared + TILE * LD, shared + 2 * TILE * LD, {}};
    int64_t item = blockIdx.x / p.key_blocks;
    int key = static_cast<int>(blockIdx.x % p.key_blocks) * TILE;
    int64_t slab = static_cast<int64_t>(blockIdx.y) * GROUPS * TILE;
    start_item(p, item, a);
    SUMS(dk);
    SUMS(dv);
    const int64_t start = a.mask ? mask_start(p, item) : 0;
    for (int row = 0; row < p.rows; row += TILE) {
        const int rows_here = p.rows - row < TILE ? p.rows - row : TILE;
        if (most_seen(p, row, rows_here) <= key)
            continue;
        R s[M][M], ds[M][M];
        grad_tile(w, a, item, start, row, key, s, ds);
        __syncthreads();
        w.put_weights(s);
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            int64_t column = slab + g * TILE;
            if (column >= p.depth_v)
                break;
            __syncthreads();
            load_tile<T>(w.b, a.dy, p.rows, p.depth_v, row, column, aligned);
            __syncthreads();
            if (w.at.row < p.n_k - key && column + w.at.column < p.depth_v)
                multiply_turned<T>(dv[g], w.weights, w.b, w.at, rows_here);
        }
        __syncthreads();
        w.put_weights(ds);
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            int64_t column = slab + g * TILE;
            if (column >= p.depth)
                break;
            __syncthreads();
            load_tile<T>(w.b, a.q, p.rows, p.depth, row, column, aligned);
            __syncthreads();
            if (w.at.row < p.n_k - key && column + w.at.column < p.depth)
                multiply_turned<T>(dk[g], w.weights, w.b, w.at, rows_here);
        }
    }
    R one[M];
#pragma unroll
    for (int i = 0; i < M; i++)
        one[i] = 1;
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
        int64_t column = slab + g * TILE;
        if (column < p.depth)
            w.put_result(a.dk + item * p.n_k * p.depth, p.n_k, p.depth, key, column, dk[g], one);
        if (column < p.depth_v)
            w.put_result(a.dv + item * p.n_k * p.depth_v, p.n_k, p.depth_v, key, column, dv[g],
                         one);
    }
}

/* dq of a block of rows. */
template <typename T>
static __global__ __launch_bounds__(THREADS) void backward_rows(
    const __grid_constant__ tc_attention p, bool aligned, backward_args<T> a)
{
    typedef typename shape_of<T>::R R;
    constexpr int M = shape_of<T>::M, TILE = shape_of<T>::TILE, LD = shape_of<T>::LD;
    TC_DYNAMIC_SHARED(R, shared);
    tile_work<T> w = {p, aligned, shared, shared + TILE * LD, shared + 2 * TILE * LD, {}};
    int64_t block = static_cast<int64_t>(gridDim.x) - 1 - blockIdx.x;
    int64_t item = block / p.row_blocks;
    int row = static_cast<int>(block % p.row_blocks) * TILE;
    int64_t slab = static_cast<int64_t>(blockIdx.y) * GROUPS * TILE;
    start_item(p, item, a);
    SUMS(dq);
    const int64_t start = a.mask ? mask_start(p, item) : 0;
    const int keys = most_seen(p, row, p.rows - row < TILE ? p.rows - row : TILE);
    for (int key = 0; key < keys; key += TILE) {
        const int keys_here = p.n_k - key < TILE ? p.n_k - key : TILE;
        R s[M][M], ds[M][M];
        grad_tile(w, a, item, start, row, key, s, ds);
        __syncthreads();
        w.put_weights(ds);
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            int64_t column = slab + g * TILE;
            if (column >= p.depth)
                break;
            __syncthreads();
            load_tile<T>(w.b, a.k, p.n_k, p.depth, key, column, aligned);
            __syncthreads();
            if (w.at.row < p.rows - row && column + w.at.column < p.depth)
                multiply_rows<T>(dq[g], w.weights, w.b, w.at, keys_here);
        }
    }
    R one[M];
#pragma unroll
    for (int i = 0; i < M; i++)
        one[i] = 1;
#pragma unroll
    for (int g = 0; g < GROUPS; g++)
        if (slab + g * TILE < p.depth)
            w.put_result(a.dq + item * p.rows * p.depth, p.rows, p.depth, row, slab + g * TILE,
                         dq[g], one);
}

/*
 * Launches
 */
/* Whether every row begins at 16 bytes. */
template <typename T, typename... P>
static bool rows_aligned(const tc_attention *p, const P *...pointers)
{
    constexpr int N = 16 / sizeof(T);
    return p->depth % N == 0 && p->depth_v % N == 0 && tc_rows_aligned(pointers...);
}

static tc_status prepare_forward(tc_prepare *prepare)
{
    tc_attention *p = static_cast<tc_attention *>(tc_prepare_params(prepare, sizeof(tc_attention)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_attention_describe(prepare, p));
    p->slabs = slabs_of(p, p->depth_v);
    TC_TRY(tc_attention_plan(prepare, false, p));
    prepare->workspace_bytes = p->plan_bytes;
    return TC_OK;
}

template <typename T>
static tc_status run_forward(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    const tc_attention *p = static_cast<const tc_attention *>(params);
    const T *q = static_cast<const T *>(inputs[TC_ATTENTION_Q]);
    const T *k = static_cast<const T *>(inputs[TC_ATTENTION_K]);
    const T *v = static_cast<const T *>(inputs[TC_ATTENTION_V]);
    T *y = static_cast<T *>(outputs[0]);
    bool aligned = rows_aligned<T>(p, q, k, v, y);
    if (p->plan.index > 0 && aligned && tc_rows_aligned(outputs[1]))
        return tc_attention_run_plan(p, false, inputs, outputs, context);
    return tc_cuda_launch(
        forward<T>, dim3(static_cast<unsigned>(p->items * p->row_blocks), p->slabs), dim3(THREADS),
        shape_of<T>::shared_bytes, context, *p, aligned, q, k, v, inputs[TC_ATTENTION_MASK], y,
        static_cast<typename shape_of<T>::R *>(outputs[1]));
}

static tc_status prepare_gradient(tc_prepare *prepare)
{
    tc_attention *p = static_cast<tc_attention *>(tc_prepare_params(prepare, sizeof(tc_attention)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_attention_describe(prepare, p));
    if (p->rows == 0 || p->n_k == 0) {
        for (int32_t i = 0; i < 3; i++)
            p->zeros[i] = static_cast<size_t>(tc_shape_size(&prepare->outputs[i].shape)) *
                          tc_dtype_size(p->dtype);
        return TC_OK;
    }
    p->slabs = slabs_of(p, p->depth > p->depth_v ? p->depth : p->depth_v);
    TC_TRY(tc_attention_plan(prepare, true, p));
    size_t bytes = static_cast<size_t>(p->items * p->rows) * 2 *
                   (p->dtype == TC_F64 ? sizeof(double) : sizeof(float));
    prepare->workspace_bytes = bytes > p->plan_bytes ? bytes : p->plan_bytes;
    return TC_OK;
}

template <typename T>
static tc_status run_gradient(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    typedef typename shape_of<T>::R R;
    const tc_attention *p = static_cast<const tc_attention *>(params);
    if (p->rows == 0 || p->n_k == 0) {
        for (int i = 0; i < 3; i++)
            if (p->zeros[i])
                TC_CUDA_TRY(cudaMemsetAsync(outputs[i], 0, p->zeros[i], context->queue->stream),
                            "zeros");
        return TC_OK;
    }
    R *d = static_cast<R *>(context->workspace);
    backward_args<T> a = {static_cast<const T *>(inputs[TC_ATTENTION_Q]),
                          static_cast<const T *>(inputs[TC_ATTENTION_K]),
                          static_cast<const T *>(inputs[TC_ATTENTION_V]),
                          static_cast<const T *>(inputs[TC_ATTENTION_DY]),
                          inputs[TC_ATTENTION_MASK],
                          d,
                          static_cast<T *>(outputs[0]),
                          static_cast<T *>(outputs[1]),
                          static_cast<T *>(outputs[2])};
    const T *y = static_cast<const T *>(inputs[TC_ATTENTION_Y]);
    bool aligned = rows_aligned<T>(p, a.q, a.k, a.v, a.dy, a.dq, a.dk, a.dv);
    if (p->plan.index > 0 && aligned && tc_rows_aligned(y, inputs[TC_ATTENTION_LSE]))
        return tc_attention_run_plan(p, true, inputs, outputs, context);
    const int64_t queries = p->items * p->rows;
    TC_TRY(tc_cuda_launch(
        sum_queries<T>, dim3(static_cast<unsigned>(ceil_div(queries * 32, THREADS))), dim3(THREADS),
        0, context, queries, p->depth_v, y, a.dy, static_cast<const R *>(inputs[TC_ATTENTION_LSE]),
        static_cast<const R *>(inputs[TC_ATTENTION_DLSE]), d));
    TC_TRY(tc_cuda_launch(backward_keys<T>,
                          dim3(static_cast<unsigned>(p->items * p->key_blocks), p->slabs),
                          dim3(THREADS), shape_of<T>::shared_bytes, context, *p, aligned, a));
    return tc_cuda_launch(
        backward_rows<T>,
        dim3(static_cast<unsigned>(p->items * p->row_blocks), slabs_of(p, p->depth)), dim3(THREADS),
        shape_of<T>::shared_bytes, context, *p, aligned, a);
}

#define KERNELS(tag, T)                                              \
    TC_CUDA_KERNEL(attention, tag, prepare_forward, run_forward<T>), \
        TC_CUDA_KERNEL(attention_grad, tag, prepare_gradient, run_gradient<T>)

static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(attention, kernels);
