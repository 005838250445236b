/*
 * Layer normalization and its gradient: x is [rows, count], normalized over each row.
 *
 * The gradients of scale and offset are sums over rows. Chunks of rows, cut by the shape alone,
 * leave partial sums in the workspace, which a second launch adds in order. Where a row fits into
 * the registers of a group and is cut into whole vectors, a thread has the same columns of every
 * row, and the sums come with dx from one reading of x and dy; otherwise they have a launch of
 * their own.
 */
#include "kernels/cuda/rows.cuh"

/* Threads of a block where sums of columns are kept in registers too, and elements of all partial
 * sums. */
#define FUSED_THREADS 256
#define MAX_CHUNKS    528
#define MAX_PARTIALS  (8 << 20)

struct norm_params {
    tc_rows rows;
    double epsilon;
    bool fused;
    int64_t chunks, chunk_rows;
};

static tc_status prepare_rows(tc_prepare *prepare, int input, norm_params **params)
{
    norm_params *p = static_cast<norm_params *>(tc_prepare_params(prepare, sizeof(norm_params)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    *params = p;
    const tc_shape *x = &prepare->inputs[input].shape;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank);
    int64_t rows = 1, count = 1;
    for (int32_t i = 0; i < x->rank; i++)
        *(i < axis ? &rows : &count) *= x->dims[i].size;
    p->epsilon = tc_attrs_float(prepare->attrs, "epsilon");
    return tc_rows_plan(rows, count, tc_dtype_size(prepare->inputs[input].dtype), &p->rows);
}

static tc_status prepare_forward(tc_prepare *prepare)
{
    norm_params *p;
    TC_TRY(prepare_rows(prepare, 0, &p));
    /* Rows of no elements have statistics. */
    p->rows.rows = tc_shape_size(&prepare->outputs[1].shape);
    p->rows.blocks = tc_cuda_blocks(p->rows.rows, p->rows.block / p->rows.group, 1 << 30);
    return TC_OK;
}

static tc_status prepare_gradient(tc_prepare *prepare)
{
    norm_params *p;
    TC_TRY(prepare_rows(prepare, 1, &p));
    tc_dtype dtype = prepare->inputs[1].dtype;
    int64_t count = p->rows.count, width = 16 / static_cast<int64_t>(tc_dtype_size(dtype));
    p->fused =
        dtype != TC_F64 && count % width == 0 && count / width <= TC_ROW_HOLD * FUSED_THREADS;
    int64_t slots = p->rows.block / p->rows.group;
    int64_t most = count > 0 ? MAX_PARTIALS / count : 1;
    most = most < 1 ? 1 : most > MAX_CHUNKS ? MAX_CHUNKS : most;
    int64_t least = 4 * slots; /* rows of a chunk, so that its sums are few beside its elements */
    p->chunk_rows = (p->rows.rows + most - 1) / most;
    p->chunk_rows = p->chunk_rows < least ? least : p->chunk_rows;
    p->chunks = (p->rows.rows + p->chunk_rows - 1) / p->chunk_rows;
    prepare->workspace_bytes = static_cast<size_t>(p->chunks) * static_cast<size_t>(count) * 2 *
                               (dtype == TC_F64 ? sizeof(double) : sizeof(float));
    return TC_OK;
}

/*
 * Forward
 */
template <typename R> struct statistics {
    R mean, inverse, shift; /* y = (x - mean) inverse + shift */
};

/* What belongs to a row: the first mean is rounded; its error is found with the variance, which it
 * corrects too. */
template <typename R>
static __device__ __forceinline__ statistics<R> finish(R mean, R rest, R squares, R count,
                                                       R epsilon)
{
    rest /= count;
    R variance = squares / count - rest * rest;
    variance = variance > 0 ? variance : variance * 0;
    R inverse = 1 / tc_sqrt(variance + epsilon);
    return {mean, inverse, -rest * inverse};
}

/* What scale or offset have for vector `v`, `absent` where there is none. */
template <typename T>
static __device__ __forceinline__ void load_parameter(
    const tc_row<T> &r, int v, const T *from, typename tc_row<T>::real absent,
    typename tc_row<T>::real (&to)[tc_row<T>::width])
{
    if (from) {
        r.load_shared(from, v, to);
        return;
    }
#pragma unroll
    for (int k = 0; k < tc_row<T>::width; k++)
        to[k] = absent;
}

template <typename T>
static __device__ __forceinline__ void put_normal(const tc_row<T> &r, int v, const T *scale,
                                                  const T *offset, T *y,
                                                  const statistics<typename tc_row<T>::real> &s,
                                                  typename tc_row<T>::real (&x)[tc_row<T>::width])
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width;
    R factor[N], add[N];
    load_parameter(r, v, scale, static_cast<R>(1), factor);
    load_parameter(r, v, offset, static_cast<R>(0), add);
#pragma unroll
    for (int k = 0; k < N; k++)
        x[k] = ((x[k] - s.mean) * s.inverse + s.shift) * factor[k] + add[k];
    r.store(y, v, x);
}

template <typename T, bool held>
static __global__ __launch_bounds__(TC_ROW_THREADS) void normalize(
    norm_params p, bool aligned, const T *x, const T *scale, const T *offset, T *y,
    typename tc_row<T>::real *mean, typename tc_row<T>::real *inverse)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width, HOLD = held ? TC_ROW_HOLD : 1;
    __shared__ R shared[TC_ROW_THREADS / 32];
    const int group = p.rows.group;
    const R count = static_cast<R>(p.rows.count);
    tc_row_place at(group);
    TC_EACH_ROW(p.rows, at, row)
    {
        tc_row<T> r(p.rows, row, aligned);
        R in[HOLD][N], sum = 0, rest = 0, squares = 0;
        int last = held ? at.lane + 1 : (r.end + N - 1) / N;
        for (int v = at.lane; v < last; v += group)
#pragma unroll
            for (int h = 0; h < HOLD; h++) {
                r.load(x, v + h * group, T(), in[h]);
#pragma unroll
                for (int k = 0; k < N; k++)
                    sum += in[h][k];
            }
        R average = tc_group_sum(sum, group, shared) / count;
        for (int v = at.lane; v < last; v += group)
#pragma unroll
            for (int h = 0; h < HOLD; h++) {
                if (!held)
                    r.load(x, v, T(), in[h]);
                const int low = r.low(v + h * group), high = r.high(v + h * group);
                if (low > 0 || high < N)
#pragma unroll
                    for (int k = 0; k < N; k++)
                        if (k < low || k >= high)
                            in[h][k] = average; /* which is no distance */
#pragma unroll
                for (int k = 0; k < N; k++) {
                    R d = in[h][k] - average;
                    rest += d;
                    squares += d * d;
                }
            }
        rest = tc_group_sum(rest, group, shared);
        squares = tc_group_sum(squares, group, shared);
        statistics<R> s = finish(average, rest, squares, count, static_cast<R>(p.epsilon));
        for (int v = at.lane; v < last; v += group)
#pragma unroll
            for (int h = 0; h < HOLD; h++) {
                if (!held)
                    r.load(x, v, T(), in[h]);
                put_normal(r, v + h * group, scale, offset, y, s, in[h]);
            }
        if (at.lane == 0 && row < p.rows.rows) {
            mean[row] = average + rest / count;
            inverse[row] = s.inverse;
        }
    }
}

template <typename T>
static tc_status run_forward(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    typedef typename tc_row<T>::real R;
    const norm_params *p = static_cast<const norm_params *>(params);
    const T *x = static_cast<const T *>(inputs[0]), *scale = static_cast<const T *>(inputs[1]);
    const T *offset = static_cast<const T *>(inputs[2]);
    T *y = static_cast<T *>(outputs[0]);
    auto kernel = normalize<T, false>;
    if constexpr (sizeof(T) < 8)
        if (p->rows.held)
            kernel = normalize<T, true>;
    return tc_cuda_launch(kernel, dim3(p->rows.blocks), dim3(static_cast<unsigned>(p->rows.block)),
                          0, context, *p, tc_rows_aligned(x, scale, offset, y), x, scale, offset, y,
                          static_cast<R *>(outputs[1]), static_cast<R *>(outputs[2]));
}

/*
 * Gradient: with h = dy scale and z = (x - mean) inverse, dx = inverse (h - mean(h) - z mean(h z)),
 * dscale = sum(dy z) and doffset = sum(dy), the last two over rows.
 */
template <typename T> struct gradient_args {
    typedef typename tc_row<T>::real R;
    const T *dy, *x, *scale;
    const R *mean, *inverse;
    T *dx;
    R *partials; /* [chunks][2][count] */
};

/* dx of the rows, and, `fused`, the partial sums of the chunk of rows that a block has. */
template <typename T, bool fused>
static __global__ __launch_bounds__(fused ? FUSED_THREADS
                                          : TC_ROW_THREADS) void gradient(norm_params p,
                                                                          bool aligned,
                                                                          gradient_args<T> a)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width, HOLD = fused ? TC_ROW_HOLD : 1;
    __shared__ R shared[TC_ROW_THREADS / 32];
    TC_DYNAMIC_SHARED(R, slots);
    const int group = p.rows.group;
    const R count = static_cast<R>(p.rows.count);
    R dscale[HOLD][N] = {}, doffset[HOLD][N] = {};
    tc_row_place at(group);
    const int64_t step = p.rows.block / group * (fused ? 1 : static_cast<int64_t>(gridDim.x));
    int64_t first = static_cast<int64_t>(blockIdx.x) *
                    (fused ? p.chunk_rows : static_cast<int64_t>(p.rows.block / group));
    int64_t behind =
        fused && first + p.chunk_rows < p.rows.rows ? first + p.chunk_rows : p.rows.rows;
    for (; first < behind; first += step) {
        int64_t row = first + at.slot;
        row = row < behind ? row : p.rows.rows; /* then without elements */
        tc_row<T> r(p.rows, row, aligned);
        R mean = 0, inverse = 0, plain = 0, products = 0, x[HOLD][N], dy[HOLD][N];
        if (row < p.rows.rows) {
            mean = a.mean[row];
            inverse = a.inverse[row];
        }
        int last = fused ? at.lane + 1 : (r.end + N - 1) / N;
        for (int v = at.lane; v < last; v += group)
#pragma unroll
            for (int h = 0; h < HOLD; h++) {
                R factor[N];
                r.load(a.x, v + h * group, T(), x[h]);
                r.load(a.dy, v + h * group, T(), dy[h]);
                load_parameter(r, v + h * group, a.scale, static_cast<R>(1), factor);
#pragma unroll
                for (int k = 0; k < N; k++) {
                    R slope = dy[h][k] * factor[k];
                    plain += slope;
                    products += slope * (x[h][k] - mean);
                }
            }
        R base = tc_group_sum(plain, group, shared) / count;
        R slope = tc_group_sum(products, group, shared) / count * inverse * inverse;
        for (int v = at.lane; v < last; v += group)
#pragma unroll
            for (int h = 0; h < HOLD; h++) {
                R factor[N];
                if (!fused) {
                    r.load(a.x, v, T(), x[h]);
                    r.load(a.dy, v, T(), dy[h]);
                }
                load_parameter(r, v + h * group, a.scale, static_cast<R>(1), factor);
#pragma unroll
                for (int k = 0; k < N; k++) {
                    R centered = x[h][k] - mean;
                    if (fused) {
                        dscale[h][k] += dy[h][k] * (centered * inverse);
                        doffset[h][k] += dy[h][k];
                    }
                    R here = dy[h][k] * factor[k];
                    x[h][k] = (here - base - centered * slope) * inverse;
                }
                r.store(a.dx, v + h * group, x[h]);
            }
    }
    if (!fused)
        return;
    /* Over the rows that the block had at a time. */
    const int columns = static_cast<int>(p.rows.count), n_slots = p.rows.block / group;
    R *partial = a.partials + static_cast<int64_t>(blockIdx.x) * 2 * columns;
    R *mine = n_slots == 1 ? partial : slots + static_cast<int64_t>(at.slot) * 2 * columns;
#pragma unroll
    for (int h = 0; h < HOLD; h++)
#pragma unroll
        for (int k = 0; k < N; k++) {
            int column = (at.lane + h * group) * N + k;
            if (column < columns) {
                mine[column] = dscale[h][k];
                mine[columns + column] = doffset[h][k];
            }
        }
    if (n_slots == 1)
        return;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < 2 * columns; i += p.rows.block) {
        R sum = 0;
        for (int slot = 0; slot < n_slots; slot++)
            sum += slots[static_cast<int64_t>(slot) * 2 * columns + i];
        partial[i] = sum;
    }
}

#define COLUMNS 32
#define LINES   16

/* Partial sums of the columns [32 blockIdx.x, ...) over chunk blockIdx.y of rows. */
template <typename T>
static __global__ __launch_bounds__(COLUMNS *LINES) void column_sums(norm_params p,
                                                                     gradient_args<T> a)
{
    typedef typename tc_row<T>::real R;
    __shared__ R sums[2][LINES][COLUMNS];
    const int64_t count = p.rows.count;
    int64_t column = static_cast<int64_t>(blockIdx.x) * COLUMNS + threadIdx.x;
    for (int64_t chunk = blockIdx.y; chunk < p.chunks; chunk += gridDim.y) {
        int64_t row = chunk * p.chunk_rows, behind = row + p.chunk_rows;
        behind = behind < p.rows.rows ? behind : p.rows.rows;
        R dscale = 0, doffset = 0;
        if (column < count)
#pragma unroll 4
            for (row += threadIdx.y; row < behind; row += LINES) {
                R dy = tc_load(a.dy[row * count + column]), x = tc_load(a.x[row * count + column]);
                dscale += dy * ((x - a.mean[row]) * a.inverse[row]);
                doffset += dy;
            }
        sums[0][threadIdx.y][threadIdx.x] = dscale;
        sums[1][threadIdx.y][threadIdx.x] = doffset;
        __syncthreads();
        if (threadIdx.y < 2 && column < count) {
            R sum = 0;
            for (int line = 0; line < LINES; line++)
                sum += sums[threadIdx.y][line][threadIdx.x];
            a.partials[(chunk * 2 + threadIdx.y) * count + column] = sum;
        }
        __syncthreads();
    }
}

/* The gradients of scale and offset from the partial sums. */
template <typename T>
static __global__ __launch_bounds__(COLUMNS *LINES) void combine(
    int64_t chunks, int64_t count, const typename tc_row<T>::real *partials, T *dscale, T *doffset)
{
    typedef typename tc_row<T>::real R;
    __shared__ R sums[LINES][COLUMNS];
    int64_t i = static_cast<int64_t>(blockIdx.x) * COLUMNS + threadIdx.x;
    R sum = 0;
    if (i < 2 * count)
#pragma unroll 4
        for (int64_t chunk = threadIdx.y; chunk < chunks; chunk += LINES)
            sum += partials[chunk * 2 * count + i];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y != 0 || i >= 2 * count)
        return;
    for (int line = 1; line < LINES; line++)
        sum += sums[line][threadIdx.x];
    *(i < count ? dscale + i : doffset + (i - count)) = tc_store<T>(sum);
}

template <typename T>
static tc_status run_gradient(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    typedef typename tc_row<T>::real R;
    const norm_params *p = static_cast<const norm_params *>(params);
    const int64_t count = p->rows.count;
    gradient_args<T> a = {static_cast<const T *>(inputs[0]),   static_cast<const T *>(inputs[1]),
                          static_cast<const T *>(inputs[2]),   static_cast<const R *>(inputs[3]),
                          static_cast<const R *>(inputs[4]),   static_cast<T *>(outputs[0]),
                          static_cast<R *>(context->workspace)};
    bool aligned = tc_rows_aligned(a.dy, a.x, a.scale, a.dx), fused = p->fused && aligned;
    dim3 block(COLUMNS, LINES);
    auto kernel = gradient<T, false>;
    unsigned blocks = tc_cuda_blocks(p->rows.rows, p->rows.block / p->rows.group, 1 << 30);
    size_t shared = 0;
    if constexpr (sizeof(T) < 8) {
        if (fused) {
            kernel = gradient<T, true>;
            blocks = static_cast<unsigned>(p->chunks);
            if (p->rows.block > p->rows.group)
                shared = static_cast<size_t>(p->rows.block / p->rows.group) *
                         static_cast<size_t>(count) * 2 * sizeof(R);
        }
    }
    TC_TRY(tc_cuda_launch(kernel, dim3(blocks), dim3(static_cast<unsigned>(p->rows.block)), shared,
                          context, *p, aligned, a));
    if (!fused) {
        dim3 grid(static_cast<unsigned>((count + COLUMNS - 1) / COLUMNS),
                  static_cast<unsigned>(p->chunks));
        TC_TRY(tc_cuda_launch(column_sums<T>, grid, block, 0, context, *p, a));
    }
    return tc_cuda_launch(combine<T>,
                          dim3(static_cast<unsigned>((2 * count + COLUMNS - 1) / COLUMNS)), block,
                          0, context, p->chunks, count, static_cast<const R *>(context->workspace),
                          static_cast<T *>(outputs[1]), static_cast<T *>(outputs[2]));
}

#define KERNELS(tag, T)                                               \
    TC_CUDA_KERNEL(layer_norm, tag, prepare_forward, run_forward<T>), \
        TC_CUDA_KERNEL(layer_norm_grad, tag, prepare_gradient, run_gradient<T>)

static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(layer_norm, kernels);
