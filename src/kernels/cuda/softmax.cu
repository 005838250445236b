/*
 * Softmax, its logarithm, and their gradients along an axis. Along the last axis a group of threads
 * has a row, which stays in registers where it fits and is otherwise read twice. Along another one
 * a thread has some of the elements of a column, beside threads of the neighbouring columns.
 */
#include "kernels/cuda/rows.cuh"

struct softmax_params {
    tc_rows rows;
    int64_t outer, count, inner;   /* the tensor is [outer, count, inner] */
    int32_t columns, column_lines; /* threads of a block: columns, and of each column */
};

static tc_status prepare(tc_prepare *prepare)
{
    softmax_params *p =
        static_cast<softmax_params *>(tc_prepare_params(prepare, sizeof(softmax_params)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *x = &prepare->inputs[0];
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->shape.rank);
    p->outer = p->inner = 1;
    p->count = x->shape.dims[axis].size;
    for (int32_t i = 0; i < x->shape.rank; i++)
        if (i != axis)
            *(i < axis ? &p->outer : &p->inner) *= x->shape.dims[i].size;
    if (p->inner == 0 || p->count == 0)
        p->outer = 0;
    if (p->inner == 1)
        TC_TRY(tc_rows_plan(p->outer, p->count, tc_dtype_size(x->dtype), &p->rows));
    p->columns = tc_row_power(p->inner, 32);
    p->column_lines = tc_row_power((p->count + 15) / 16, 512 / p->columns);
    if (p->columns * p->column_lines < 128)
        p->column_lines = 128 / p->columns;
    return TC_OK;
}

/* Of the forward operators, a is x; of the gradients a is dy and b is y. */
#define LOWEST static_cast<R>(-INFINITY)

/* What of an element the gradients sum up. */
template <typename R> static __device__ __forceinline__ R term(bool log, R a, R b)
{
    return log ? a : a * b;
}

/* What of the sum every element needs. */
template <bool gradient, typename R> static __device__ __forceinline__ R factor_of(bool log, R sum)
{
    return gradient ? sum : log ? tc_log(sum) : 1 / sum;
}

/* The result of an element; `most` is the maximum of x. */
template <typename T, bool gradient, typename R>
static __device__ __forceinline__ R result(bool log, R a, R b, R most, R factor)
{
    if (gradient)
        return log ? a - tc_exp_of<T>(b) * factor : b * (a - factor);
    return log ? (a - most) - factor : tc_exp_of<T>(a - most) * factor;
}

template <typename T, bool gradient>
static __global__ __launch_bounds__(TC_ROW_THREADS) void held_rows(tc_rows p, bool log,
                                                                   bool aligned, const T *a,
                                                                   const T *b, T *out)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width;
    __shared__ R shared[TC_ROW_THREADS / 32];
    tc_row_place at(p.group);
    TC_EACH_ROW(p, at, row)
    {
        tc_row<T> r(p, row, aligned);
        R x[TC_ROW_HOLD][N], y[TC_ROW_HOLD][N], most = LOWEST, sum = 0;
#pragma unroll
        for (int h = 0; h < TC_ROW_HOLD; h++) {
            r.load(a, at.lane + h * p.group, gradient ? T() : tc_store<T>(LOWEST), x[h]);
            if (gradient)
                r.load(b, at.lane + h * p.group, T(), y[h]);
        }
        if (!gradient) {
#pragma unroll
            for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                for (int k = 0; k < N; k++)
                    most = tc_max(most, x[h][k]);
            most = tc_group_max(most, p.group, shared);
        }
        if (gradient) {
#pragma unroll
            for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                for (int k = 0; k < N; k++)
                    sum += x[h][k] * (log ? 1 : y[h][k]);
            sum = tc_group_sum(sum, p.group, shared);
            if (log) {
#pragma unroll
                for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                    for (int k = 0; k < N; k++)
                        x[h][k] = result<T, true>(true, x[h][k], y[h][k], most, sum);
            } else {
#pragma unroll
                for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                    for (int k = 0; k < N; k++)
                        x[h][k] = result<T, true>(false, x[h][k], y[h][k], most, sum);
            }
        } else {
            /* Of what is outside the row the shift makes exp(-inf) = 0, of a row of -inf NaN. */
            R shift = tc_shift_of(most);
#pragma unroll
            for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                for (int k = 0; k < N; k++) {
                    R d = x[h][k] - shift, e = tc_exp_of<T>(d);
                    sum += e;
                    x[h][k] = log ? d : e;
                }
            R rest = factor_of<false>(log, tc_group_sum(sum, p.group, shared));
            R factor = log ? 1 : rest, offset = log ? -rest : 0;
#pragma unroll
            for (int h = 0; h < TC_ROW_HOLD; h++)
#pragma unroll
                for (int k = 0; k < N; k++)
                    x[h][k] = x[h][k] * factor + offset;
        }
#pragma unroll
        for (int h = 0; h < TC_ROW_HOLD; h++)
            r.store(out, at.lane + h * p.group, x[h]);
    }
}

/* Rows too long for the registers. */
template <typename T, bool gradient>
static __global__ __launch_bounds__(TC_ROW_THREADS) void long_rows(tc_rows p, bool log,
                                                                   bool aligned, const T *a,
                                                                   const T *b, T *out)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width;
    __shared__ R shared[TC_ROW_THREADS / 32];
    tc_row_place at(p.group);
    TC_EACH_ROW(p, at, row)
    {
        tc_row<T> r(p, row, aligned);
        tc_online<T> online;
        R x[N], y[N];
#pragma unroll 2
        for (int v = at.lane; v * N < r.end; v += p.group) {
            r.load(a, v, gradient ? T() : tc_store<T>(LOWEST), x);
            if (!gradient) {
                online.add(x);
                continue;
            }
            r.load(b, v, T(), y);
#pragma unroll
            for (int k = 0; k < N; k++)
                online.sum += term(log, x[k], y[k]);
        }
        if (gradient)
            online.sum = tc_group_sum(online.sum, p.group, shared);
        else
            online.merge(p.group, shared);
        R factor = factor_of<gradient>(log, online.sum);
#pragma unroll 1
        for (int v = at.lane; v * N < r.end; v += p.group) {
            r.load(a, v, T(), x);
            if (gradient)
                r.load(b, v, T(), y);
#pragma unroll
            for (int k = 0; k < N; k++)
                x[k] = result<T, gradient>(log, x[k], gradient ? y[k] : x[k], online.most, factor);
            r.store(out, v, x);
        }
    }
}

template <typename T, bool gradient>
static __global__ __launch_bounds__(512) void columns(softmax_params p, bool log, const T *a,
                                                      const T *b, T *out)
{
    typedef typename tc_row<T>::real R;
    __shared__ R shared[512];
    int64_t tiles = (p.inner + p.columns - 1) / p.columns;
    for (int64_t tile = blockIdx.x; tile < p.outer * tiles; tile += gridDim.x) {
        int64_t column = tile % tiles * p.columns + threadIdx.x;
        int64_t start = tile / tiles * p.count * p.inner + column;
        int64_t count = column < p.inner ? p.count : 0;
        tc_online<T> online;
#pragma unroll 4
        for (int64_t i = threadIdx.y; i < count; i += blockDim.y) {
            R x[1] = {tc_load(a[start + i * p.inner])};
            if (gradient)
                online.sum += term(log, x[0], tc_load(b[start + i * p.inner]));
            else
                online.add(x);
        }
        if (!gradient) {
            R most = tc_column_reduce(online.most, shared, tc_most());
            online.sum *= tc_exp_of<T>(online.most - tc_shift_of(most));
            online.most = most;
        }
        R factor = factor_of<gradient>(log, tc_column_reduce(online.sum, shared, tc_add()));
#pragma unroll 1
        for (int64_t i = threadIdx.y; i < count; i += blockDim.y) {
            int64_t e = start + i * p.inner;
            R x = tc_load(a[e]), y = gradient ? tc_load(b[e]) : x;
            out[e] = tc_store<T>(result<T, gradient>(log, x, y, online.most, factor));
        }
    }
}

template <typename T, bool gradient, bool log>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const softmax_params *p = static_cast<const softmax_params *>(params);
    const T *a = static_cast<const T *>(inputs[0]);
    const T *b = static_cast<const T *>(inputs[gradient ? 1 : 0]);
    T *out = static_cast<T *>(outputs[0]);
    if (p->inner > 1) {
        int64_t tiles = (p->inner + p->columns - 1) / p->columns * p->outer;
        return tc_cuda_launch(
            columns<T, gradient>, dim3(tc_cuda_blocks(tiles, 1, 1 << 30)),
            dim3(static_cast<unsigned>(p->columns), static_cast<unsigned>(p->column_lines)), 0,
            context, *p, log, a, b, out);
    }
    auto kernel = long_rows<T, gradient>;
    if constexpr (sizeof(T) < 8)
        if (p->rows.held)
            kernel = held_rows<T, gradient>;
    return tc_cuda_launch(kernel, dim3(p->rows.blocks), dim3(static_cast<unsigned>(p->rows.block)),
                          0, context, p->rows, log, tc_rows_aligned(a, b, out), a, b, out);
}

#define KERNELS(op, gradient, log)                                       \
    TC_CUDA_KERNEL(op, f32, prepare, (run<float, gradient, log>)),       \
        TC_CUDA_KERNEL(op, f64, prepare, (run<double, gradient, log>)),  \
        TC_CUDA_KERNEL(op, f16, prepare, (run<tc_half, gradient, log>)), \
        TC_CUDA_KERNEL(op, bf16, prepare, (run<tc_bfloat, gradient, log>))

static const tc_kernel kernels[] = {
    KERNELS(softmax, false, false),
    KERNELS(log_softmax, false, true),
    KERNELS(softmax_grad, true, false),
    KERNELS(log_softmax_grad, true, true),
};

TC_CUDA_TABLE(softmax, kernels);
