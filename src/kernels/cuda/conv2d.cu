/*
 * Convolutions of any shape. All three are products of a matrix of weights, or of gradients, with
 * one that is never made: its elements are pixels that are found by adding up where its row and its
 * column begin. A block computes a tile from parts of both in shared memory:
 *
 *                  rows of the result     columns                 sum over
 *     conv         filters                images, output pixels   channels, kernel elements
 *     grad_input   channels               images, input pixels    filters, kernel elements
 *     grad_filter  filters                channels, kernel        images, output pixels
 *
 * The pixels of grad_input are taken by class: those that are a multiple of the stride apart meet
 * the same kernel elements, and no others are visited. The sum of grad_filter is long where its
 * result is small: it is cut into parts, which a second launch adds in order.
 */
#include "kernels/cuda/conv2d.cuh"

#include <string.h>

enum {
    THREADS = 128, /* 8 rows of 16 */
    COLUMNS = 64,
    DEPTH = 16,
    COLUMNS_EACH = COLUMNS / 16,
    LEAST_SPLIT = 512, /* products worth a block */
    BLOCKS = 512       /* that a launch should have */
};

/* Where a row or a column of the second matrix begins: its elements are at the sum of two. */
struct place {
    int64_t at;
    int32_t y, x;
};

/* What a block computes. */
struct task {
    int64_t split, group, row0, column0;
    int32_t first[2], taps[2]; /* grad_input: kernel elements of the class: first, number */
    int32_t residue[2];        /* and its first pixel */
    int32_t rows, columns;     /* pixels of an image */
};

/* The kernel elements that pixel `position` of the padded image meets: first, first + step, ... */
static __device__ __forceinline__ void taps_of(const tc_cuda_axis &axis, int32_t position,
                                               int32_t *first, int32_t *taps)
{
    *first = 0;
    while (*first < axis.step && *first < axis.kernel &&
           (position - *first * axis.dilation) % axis.stride != 0)
        ++*first;
    const bool none = *first == axis.step || *first >= axis.kernel;
    *taps = none ? 0 : (axis.kernel - *first + axis.step - 1) / axis.step;
}

static __device__ __forceinline__ task task_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                               int rows, int64_t m, int64_t n)
{
    task t = {};
    const int64_t row_tiles = tc_divide(m + rows - 1, rows),
                  column_tiles = tc_divide(n + COLUMNS - 1, COLUMNS);
    int64_t i = blockIdx.x, next = tc_divide(i, row_tiles);
    t.row0 = (i - next * row_tiles) * rows;
    i = next;
    next = tc_divide(i, column_tiles);
    t.column0 = (i - next * column_tiles) * COLUMNS;
    i = next;
    t.rows = p.axis[0].out;
    t.columns = p.axis[1].out;
    if (kind == TC_CUDA_CONV_GRAD_INPUT) {
        int32_t sizes[2];
        for (int a = 1; a >= 0; a--) {
            next = tc_divide(i, p.classes[a]);
            t.residue[a] = static_cast<int32_t>(i - next * p.classes[a]);
            i = next;
            sizes[a] = (p.axis[a].in - t.residue[a] + p.axis[a].stride - 1) / p.axis[a].stride;
            taps_of(p.axis[a], t.residue[a] + p.axis[a].before, &t.first[a], &t.taps[a]);
        }
        t.rows = sizes[0];
        t.columns = sizes[1];
    }
    t.split = tc_divide(i, p.groups);
    t.group = i - t.split * p.groups;
    return t;
}

/* Column n: where it begins in the second matrix and, in *out, in the result. */
static __device__ __forceinline__ place column_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                                  const task &t, int64_t n, int64_t *out)
{
    const tc_cuda_axis &h = p.axis[0], &w = p.axis[1];
    if (kind == TC_CUDA_CONV_GRAD_FILTER) {
        const tc_plane_index k = tc_plane_at(n, h.kernel, w.kernel);
        *out = n;
        return {k.plane * p.x_plane, k.y * h.dilation, k.x * w.dilation};
    }
    const tc_plane_index q = tc_plane_at(n, t.rows, t.columns);
    if (kind == TC_CUDA_CONV) {
        *out = q.plane * p.groups * p.filters * p.y_plane + static_cast<int64_t>(q.y) * w.out + q.x;
        return {q.plane * p.groups * p.channels * p.x_plane, q.y * h.stride - h.before,
                q.x * w.stride - w.before};
    }
    *out = q.plane * p.groups * p.channels * p.x_plane +
           (static_cast<int64_t>(q.y) * h.stride + t.residue[0]) * w.in +
           static_cast<int64_t>(q.x) * w.stride + t.residue[1];
    return {q.plane * p.groups * p.filters * p.y_plane, q.y, q.x};
}

/* Element k of the sum: where it begins in the second matrix and, in *a, in the first. */
static __device__ __forceinline__ place depth_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                                 const task &t, int64_t k, int64_t *a)
{
    const tc_cuda_axis &h = p.axis[0], &w = p.axis[1];
    if (kind == TC_CUDA_CONV_GRAD_FILTER) {
        const tc_plane_index q = tc_plane_at(k, h.out, w.out);
        *a = q.plane * p.groups * p.filters * p.y_plane + static_cast<int64_t>(q.y) * w.out + q.x;
        return {q.plane * p.groups * p.channels * p.x_plane, q.y * h.stride - h.before,
                q.x * w.stride - w.before};
    }
    if (kind == TC_CUDA_CONV) {
        const tc_plane_index tap = tc_plane_at(k, h.kernel, w.kernel);
        *a = k;
        return {tap.plane * p.x_plane, tap.y * h.dilation, tap.x * w.dilation};
    }
    const tc_plane_index tap = tc_plane_at(k, t.taps[0], t.taps[1]);
    const int32_t ky = t.first[0] + tap.y * h.step, kx = t.first[1] + tap.x * w.step;
    *a = tap.plane * p.channels * p.w_plane + static_cast<int64_t>(ky) * w.kernel + kx;
    /* Whole by the choice of the class. */
    return {tap.plane * p.y_plane, (t.residue[0] + h.before - ky * h.dilation) / h.stride,
            (t.residue[1] + w.before - kx * w.dilation) / w.stride};
}

/*
 * A thread computes `each` neighbouring rows of every 16th column. `along`: neighbours in a row of
 * the second matrix are far apart, those of a column are not (grad_filter). Parts of sums go to
 * `parts`.
 */
template <typename T, int each, bool along>
static __global__ void __launch_bounds__(THREADS, 4)
    conv_tiles(tc_cuda_conv p, const T *a, const T *b, T *y, typename tc_compute<T>::type *parts,
               tc_cuda_finish finish)
{
    typedef typename tc_compute<T>::type C;
    constexpr int rows = 8 * each, a_loads = rows * DEPTH / THREADS,
                  b_loads = COLUMNS * DEPTH / THREADS;
    /* Rows of a_tile begin at multiples of what is loaded at a time; b_tile may be written by
     * column. */
    alignas(16) __shared__ C a_tile[DEPTH][rows + 4];
    __shared__ C b_tile[DEPTH][COLUMNS + 1];
    __shared__ place columns[COLUMNS], depths[2][DEPTH];
    __shared__ int64_t column_out[COLUMNS], depth_a[2][DEPTH];

    __shared__ C scales[rows], biases[rows];

    const int thread = static_cast<int>(threadIdx.x);
    const tc_cuda_conv_kind kind = along ? TC_CUDA_CONV_GRAD_FILTER : p.kind;
    const bool input = kind == TC_CUDA_CONV_GRAD_INPUT;
    const int64_t m = input ? p.channels : p.filters;
    const task t = task_of(p, kind, rows, m, p.columns);
    const int64_t n = along ? p.columns : p.images * t.rows * t.columns;
    if (t.column0 >= n)
        return; /* a class of fewer pixels */
    const int64_t depth = input ? p.filters * t.taps[0] * t.taps[1] : p.depth;
    const int64_t begin = t.split * p.split_depth;
    const int64_t end = min(depth, begin + p.split_depth);
    const int32_t b_rows = input ? p.axis[0].out : p.axis[0].in,
                  b_columns = input ? p.axis[1].out : p.axis[1].in;
    const int64_t a_step = along ? p.y_plane : input ? p.w_plane : p.depth;
    a += t.group * (along ? p.filters * p.y_plane : p.filters * p.channels * p.w_plane);
    b += t.group * (input ? p.filters * p.y_plane : p.channels * p.x_plane);

    if (!along && thread < rows) {
        const int64_t channel = t.group * m + min(t.row0 + thread, m - 1);
        scales[thread] = static_cast<C>(1);
        biases[thread] = static_cast<C>(-0.0); /* x + -0 is x */
        if (finish.scale)
            scales[thread] = tc_cuda_of_channel<T>(finish.scale, finish.wide, channel);
        if (finish.bias)
            biases[thread] = tc_cuda_of_channel<T>(finish.bias, finish.wide, channel);
    }
    if (thread < COLUMNS) {
        int64_t out = -1;
        place here = {0, TC_CUDA_OUTSIDE, TC_CUDA_OUTSIDE};
        if (t.column0 + thread < n)
            here = column_of(p, kind, t, t.column0 + thread, &out);
        columns[thread] = here;
        column_out[thread] = out;
    }
    auto fill_depth = [&](int buffer, int64_t k0) {
        if (thread >= DEPTH)
            return;
        int64_t in_a = -1;
        place here = {0, TC_CUDA_OUTSIDE, TC_CUDA_OUTSIDE};
        if (k0 + thread < end)
            here = depth_of(p, kind, t, k0 + thread, &in_a);
        depths[buffer][thread] = here;
        depth_a[buffer][thread] = in_a;
    };
    C a_next[a_loads], b_next[b_loads];
    auto load = [&](int buffer) {
#pragma unroll
        for (int i = 0; i < a_loads; i++) {
            const int64_t row = t.row0 + thread / DEPTH + THREADS / DEPTH * i;
            const int64_t at = depth_a[buffer][thread % DEPTH];
            a_next[i] = row < m && at >= 0 ? tc_load(a[row * a_step + at]) : static_cast<C>(0);
        }
#pragma unroll
        for (int i = 0; i < b_loads; i++) {
            const int k = along ? thread % DEPTH : thread / COLUMNS + THREADS / COLUMNS * i;
            const int column = along ? thread / DEPTH + THREADS / DEPTH * i : thread % COLUMNS;
            const place u = depths[buffer][k], v = columns[column];
            const int32_t row_of = u.y + v.y, column_of = u.x + v.x;
            b_next[i] = 0;
            if (row_of >= 0 && row_of < b_rows && column_of >= 0 && column_of < b_columns)
                b_next[i] =
                    tc_load(b[u.at + v.at + static_cast<int64_t>(row_of) * b_columns + column_of]);
        }
    };

    const int row = thread / 16 * each, column = thread % 16;
    C sum[each][COLUMNS_EACH] = {};
    int buffer = 0;
    /* What is loaded in one round is multiplied in the next. */
    for (int64_t k0 = begin - DEPTH; k0 < end; k0 += DEPTH) {
        const bool loaded = k0 >= begin;
        if (loaded) {
#pragma unroll
            for (int i = 0; i < a_loads; i++)
                a_tile[thread % DEPTH][thread / DEPTH + THREADS / DEPTH * i] = a_next[i];
#pragma unroll
            for (int i = 0; i < b_loads; i++) {
                const int k = along ? thread % DEPTH : thread / COLUMNS + THREADS / COLUMNS * i;
                b_tile[k][along ? thread / DEPTH + THREADS / DEPTH * i : thread % COLUMNS] =
                    b_next[i];
            }
        }
        buffer ^= 1;
        fill_depth(buffer, k0 + DEPTH);
        __syncthreads();
        if (k0 + DEPTH < end)
            load(buffer); /* arrives while the tile is multiplied */
        if (loaded) {
#pragma unroll 4
            for (int k = 0; k < DEPTH; k++) {
                C left[each], right[COLUMNS_EACH];
#pragma unroll
                for (int i = 0; i < each; i++)
                    left[i] = a_tile[k][row + i];
#pragma unroll
                for (int j = 0; j < COLUMNS_EACH; j++)
                    right[j] = b_tile[k][column + 16 * j];
#pragma unroll
                for (int i = 0; i < each; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS_EACH; j++)
                        sum[i][j] += left[i] * right[j];
            }
        }
        __syncthreads();
    }

    const int64_t out_step = along ? n : input ? p.x_plane : p.y_plane;
    if (along)
        parts += t.split * p.groups * m * n;
#pragma unroll
    for (int i = 0; i < each; i++) {
        if (t.row0 + row + i >= m)
            break;
        const int64_t out_row = (t.group * m + t.row0 + row + i) * out_step;
#pragma unroll
        for (int j = 0; j < COLUMNS_EACH; j++) {
            if (column_out[column + 16 * j] < 0)
                continue;
            const int64_t at = out_row + column_out[column + 16 * j];
            C value = sum[i][j];
            if (along && p.splits > 1) {
                parts[at] = value;
                continue;
            }
            if (!along) {
                value = value * static_cast<C>(finish.alpha) * scales[row + i] + biases[row + i];
                if (finish.residual)
                    value += tc_load(static_cast<const T *>(finish.residual)[at]);
                value = tc_cuda_activate(finish.activation, value);
            }
            y[at] = tc_store<T>(value);
        }
    }
}

/*
 * Groups of one channel: nothing is shared between the rows of a product, so that each thread sums
 * an element of the result, or a block one of the gradient of the filter.
 */
template <typename T>
static __global__ void conv_single(tc_cuda_conv p, int64_t count, const T *x, const T *w, T *y,
                                   tc_cuda_finish finish)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        const tc_plane_index at = tc_plane_at(i, h.out, v.out);
        const int64_t filters = p.groups * p.filters, image = tc_divide(at.plane, filters),
                      filter = at.plane - image * filters;
        const T *plane = x + (image * p.groups + tc_divide(filter, p.filters)) * p.x_plane;
        const T *weights = w + filter * p.w_plane;
        C sum = 0;
        for (int32_t ky = 0, yy = at.y * h.stride - h.before; ky < h.kernel;
             ky++, yy += h.dilation) {
            if (yy < 0 || yy >= h.in)
                continue;
            for (int32_t kx = 0, xx = at.x * v.stride - v.before; kx < v.kernel;
                 kx++, xx += v.dilation)
                if (xx >= 0 && xx < v.in)
                    sum += tc_load(weights[static_cast<int64_t>(ky) * v.kernel + kx]) *
                           tc_load(plane[static_cast<int64_t>(yy) * v.in + xx]);
        }
        y[i] = tc_store<T>(tc_cuda_finish_element<T>(finish, sum, i, filter));
    }
}

template <typename T>
static __global__ void conv_single_grad_input(tc_cuda_conv p, int64_t count, const T *w,
                                              const T *dy, T *dx)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        const tc_plane_index at = tc_plane_at(i, h.in, v.in);
        const int64_t group = at.plane - tc_divide(at.plane, p.groups) * p.groups;
        int32_t first[2], taps[2];
        taps_of(h, at.y + h.before, &first[0], &taps[0]);
        taps_of(v, at.x + v.before, &first[1], &taps[1]);
        /* Of the first kernel elements; each next one meets an earlier output. */
        const int32_t y0 = (at.y + h.before - first[0] * h.dilation) / h.stride,
                      x0 = (at.x + v.before - first[1] * v.dilation) / v.stride;
        C sum = 0;
        for (int64_t f = 0; f < p.filters; f++) {
            const T *weights = w + (group * p.filters + f) * p.w_plane;
            const T *plane = dy + (at.plane * p.filters + f) * p.y_plane;
            for (int32_t ty = 0, oy = y0; ty < taps[0]; ty++, oy -= h.shift) {
                if (oy < 0 || oy >= h.out)
                    continue;
                const int64_t weights_row = static_cast<int64_t>(first[0] + ty * h.step) * v.kernel;
                for (int32_t tx = 0, ox = x0; tx < taps[1]; tx++, ox -= v.shift)
                    if (ox >= 0 && ox < v.out)
                        sum += tc_load(weights[weights_row + first[1] + tx * v.step]) *
                               tc_load(plane[static_cast<int64_t>(oy) * v.out + ox]);
            }
        }
        dx[i] = tc_store<T>(sum);
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    conv_single_grad_filter(tc_cuda_conv p, int64_t count, const T *x, const T *dy, T *dw,
                            typename tc_compute<T>::type *parts)
{
    typedef typename tc_compute<T>::type C;
    __shared__ C sums[THREADS / 32];
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    const int64_t split = tc_divide(blockIdx.x, count), i = blockIdx.x - split * count;
    const tc_plane_index tap = tc_plane_at(i, h.kernel, v.kernel);
    const int64_t group = tc_divide(tap.plane, p.filters);
    const int64_t begin = split * p.split_depth, end = min(p.depth, begin + p.split_depth);
    C sum = 0;
    for (int64_t k = begin + threadIdx.x; k < end; k += THREADS) {
        const tc_plane_index at = tc_plane_at(k, h.out, v.out);
        const int32_t yy = at.y * h.stride - h.before + tap.y * h.dilation,
                      xx = at.x * v.stride - v.before + tap.x * v.dilation;
        if (yy < 0 || yy >= h.in || xx < 0 || xx >= v.in)
            continue;
        const T *pixels = x + (at.plane * p.groups + group) * p.x_plane;
        const T *grads = dy + (at.plane * p.groups * p.filters + tap.plane) * p.y_plane;
        sum += tc_load(pixels[static_cast<int64_t>(yy) * v.in + xx]) *
               tc_load(grads[static_cast<int64_t>(at.y) * v.out + at.x]);
    }
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2)
        sum += __shfl_down_sync(0xffffffffu, sum, lanes);
    if (threadIdx.x % 32 == 0)
        sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
#pragma unroll
    for (int warp = 1; warp < THREADS / 32; warp++)
        sum += sums[warp];
    if (p.splits == 1)
        dw[i] = tc_store<T>(sum);
    else
        parts[blockIdx.x] = sum;
}

/* Adds the parts of sums, in order. */
template <typename T>
static __global__ void add_parts(int64_t count, int64_t splits,
                                 const typename tc_compute<T>::type *parts, T *y)
{
    typedef typename tc_compute<T>::type C;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        C sum = 0;
        for (int64_t s = 0; s < splits; s++)
            sum += parts[s * count + i];
        y[i] = tc_store<T>(sum);
    }
}

/* What follows a convolution of cuDNN; `from` may be y. */
template <typename T>
static __global__ void finish_images(int64_t count, int64_t channels, int64_t plane, const T *from,
                                     T *y, tc_cuda_finish finish)
{
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
         i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
        const int64_t planes = tc_divide(i, plane);
        y[i] = tc_store<T>(tc_cuda_finish_element<T>(
            finish, tc_load(from[i]), i, planes - tc_divide(planes, channels) * channels));
    }
}

/*
 * Prepare
 */
static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static tc_status too_large()
{
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the padded images are too large");
}

/* Cuts the sum of the gradient of the filter, of `tiles` blocks, as its shape says. */
static void split_sum(tc_cuda_conv *p, int64_t tiles)
{
    const int64_t wanted = ceil_div(BLOCKS, tiles > 0 ? tiles : 1), most = p->depth / LEAST_SPLIT;
    int64_t splits = wanted;
    splits = splits < most ? splits : most;
    splits = splits > 1 ? splits : 1;
    p->split_depth = ceil_div(ceil_div(p->depth, splits), DEPTH) * DEPTH;
    p->splits = p->split_depth > 0 ? ceil_div(p->depth, p->split_depth) : 1;
}

/* Of the product, in one group. */
static int64_t rows_of(const tc_cuda_conv *p)
{
    return p->kind == TC_CUDA_CONV_GRAD_INPUT ? p->channels : p->filters;
}

/* Blocks that one part of the sums takes. */
static int64_t tiles_of(const tc_cuda_conv_params *params)
{
    const tc_cuda_conv *p = &params->conv;
    if (p->channels == 1)
        return params->count;
    return ceil_div(rows_of(p), params->tile_rows) * ceil_div(p->columns, COLUMNS) * p->classes[0] *
           p->classes[1] * p->groups;
}

static tc_status prepare(tc_prepare *prepare, tc_cuda_conv_kind kind, const tc_shape *x,
                         const tc_shape *w, const tc_shape *y)
{
    char why[TC_WINDOW_MESSAGE];
    tc_window window;
    tc_cuda_conv_params *params =
        static_cast<tc_cuda_conv_params *>(tc_prepare_params(prepare, sizeof *params));
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->count = tc_shape_size(&prepare->outputs[0].shape);
    if (params->count == 0)
        return TC_OK;
    int64_t in[2] = {x->dims[2].size, x->dims[3].size};
    int64_t kernel[2] = {w->dims[2].size, w->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, kernel, &window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    tc_cuda_conv *p = &params->conv;
    p->kind = kind;
    p->images = x->dims[0].size;
    p->groups = tc_attrs_int(prepare->attrs, "groups");
    p->channels = w->dims[1].size;
    p->filters = w->dims[0].size / p->groups;
    p->x_plane = in[0] * in[1];
    p->y_plane = y->dims[2].size * y->dims[3].size;
    p->w_plane = kernel[0] * kernel[1];
    p->splits = p->classes[0] = p->classes[1] = 1;
    for (int i = 0; i < 2; i++) {
        tc_cuda_axis *axis = &p->axis[i];
        if (!tc_cuda_axis_of(&window.axis[i], axis))
            return too_large();
        if (kind == TC_CUDA_CONV_GRAD_INPUT)
            p->classes[i] = axis->stride < axis->in ? axis->stride : axis->in;
    }
    p->depth = kind == TC_CUDA_CONV              ? p->channels * p->w_plane
               : kind == TC_CUDA_CONV_GRAD_INPUT ? p->filters * p->w_plane
                                                 : p->images * p->y_plane;
    p->split_depth = p->depth;
    p->columns = kind == TC_CUDA_CONV ? p->images * p->y_plane
                 : kind == TC_CUDA_CONV_GRAD_FILTER
                     ? p->channels * p->w_plane
                     : p->images * ceil_div(in[0], p->classes[0]) * ceil_div(in[1], p->classes[1]);
    params->epilogue = tc_cuda_epilogue_read(prepare);
#ifdef TC_CUDA_CUDNN
    TC_TRY(tc_cuda_conv_plan(prepare, params));
    if (params->plan.index) {
        prepare->workspace_bytes = params->result_bytes + params->plan.workspace_bytes;
        return TC_OK;
    }
#endif
    params->tile_rows = rows_of(p) <= 32 ? 16 : prepare->outputs[0].dtype == TC_F64 ? 32 : 64;
    int64_t tiles = tiles_of(params);
    if (kind == TC_CUDA_CONV_GRAD_FILTER)
        split_sum(p, tiles);
    if (tiles > INT32_MAX / p->splits)
        return too_large();
    size_t element = prepare->outputs[0].dtype == TC_F64 ? sizeof(double) : sizeof(float);
    if (p->splits > 1)
        prepare->workspace_bytes = static_cast<size_t>(params->count * p->splits) * element;
    return TC_OK;
}

static tc_status prepare_conv(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV, &p->inputs[0].shape, &p->inputs[1].shape, &p->outputs[0].shape);
}

static tc_status prepare_grad_input(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV_GRAD_INPUT, &p->outputs[0].shape, &p->inputs[0].shape,
                   &p->inputs[1].shape);
}

static tc_status prepare_grad_filter(tc_prepare *p)
{
    return prepare(p, TC_CUDA_CONV_GRAD_FILTER, &p->inputs[0].shape, &p->outputs[0].shape,
                   &p->inputs[1].shape);
}

/*
 * Run
 */
#ifdef TC_CUDA_CUDNN
template <typename T>
static tc_status run_plan(const tc_cuda_conv_params *p, const void *const *inputs, void *y,
                          const tc_cuda_finish &finish, const tc_kernel_context *context)
{
    char *workspace = static_cast<char *>(context->workspace);
    void *result = p->result_bytes ? workspace : y;
    TC_TRY(tc_cuda_conv_run(p, inputs, result, workspace + p->result_bytes, context));
    if (p->fused)
        return TC_OK;
    return tc_cuda_launch(finish_images<T>,
                          dim3(tc_cuda_blocks(p->count, 256, TC_CUDA_MOST_BLOCKS)), dim3(256), 0,
                          context, p->count, p->conv.groups * p->conv.filters, p->conv.y_plane,
                          static_cast<const T *>(result), static_cast<T *>(y), finish);
}
#endif

template <typename T>
static tc_status run_single(const tc_cuda_conv_params *p, const T *a, const T *b, T *y,
                            typename tc_compute<T>::type *parts, const tc_cuda_finish &finish,
                            const tc_kernel_context *context)
{
    const dim3 grid(tc_cuda_blocks(p->count, 256, TC_CUDA_MOST_BLOCKS)), block(256);
    if (p->conv.kind == TC_CUDA_CONV)
        return tc_cuda_launch(conv_single<T>, grid, block, 0, context, p->conv, p->count, b, a, y,
                              finish);
    if (p->conv.kind == TC_CUDA_CONV_GRAD_INPUT)
        return tc_cuda_launch(conv_single_grad_input<T>, grid, block, 0, context, p->conv, p->count,
                              a, b, y);
    return tc_cuda_launch(conv_single_grad_filter<T>,
                          dim3(static_cast<unsigned>(p->count * p->conv.splits)), dim3(THREADS), 0,
                          context, p->conv, p->count, b, a, y, parts);
}

template <typename T>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const tc_cuda_conv_params *p = static_cast<const tc_cuda_conv_params *>(params);
    typedef typename tc_compute<T>::type C;
    if (p->count == 0)
        return TC_OK;
    const tc_cuda_finish finish = tc_cuda_epilogue_bind(&p->epilogue, inputs);
    T *y = static_cast<T *>(outputs[0]);
#ifdef TC_CUDA_CUDNN
    if (p->plan.index)
        return run_plan<T>(p, inputs, y, finish, context);
#endif
    /* The operands of the product: conv has x, w, the others w, dy and x, dy. */
    const bool input = p->conv.kind == TC_CUDA_CONV_GRAD_INPUT,
               filter = p->conv.kind == TC_CUDA_CONV_GRAD_FILTER;
    const T *a = static_cast<const T *>(inputs[input ? 0 : 1]);
    const T *b = static_cast<const T *>(inputs[input ? 1 : 0]);
    C *parts = static_cast<C *>(context->workspace);
    if (p->conv.channels == 1) {
        TC_TRY(run_single<T>(p, a, b, y, parts, finish, context));
    } else {
        constexpr int most = sizeof(C) == sizeof(double) ? 4 : 8; /* what registers hold */
        const bool few = p->tile_rows == 16;
        auto kernel = filter ? (few ? conv_tiles<T, 2, true> : conv_tiles<T, most, true>)
                             : (few ? conv_tiles<T, 2, false> : conv_tiles<T, most, false>);
        const dim3 grid(static_cast<unsigned>(tiles_of(p) * p->conv.splits));
        TC_TRY(tc_cuda_launch(kernel, grid, dim3(THREADS), 0, context, p->conv, a, b, y, parts,
                              finish));
    }
    if (p->conv.splits == 1)
        return TC_OK;
    return tc_cuda_launch(add_parts<T>, dim3(tc_cuda_blocks(p->count, 256, TC_CUDA_MOST_BLOCKS)),
                          dim3(256), 0, context, p->count, p->conv.splits,
                          static_cast<const C *>(parts), y);
}

#define KERNELS(tag, T)                                                     \
    TC_CUDA_KERNEL(conv2d, tag, prepare_conv, run<T>),                      \
        TC_CUDA_KERNEL(conv2d_fused, tag, prepare_conv, run<T>),            \
        TC_CUDA_KERNEL(conv2d_grad_input, tag, prepare_grad_input, run<T>), \
        TC_CUDA_KERNEL(conv2d_grad_filter, tag, prepare_grad_filter, run<T>)
static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(conv2d, kernels);
