/* The kernels of conv2d.cu that compute convolutions of any shape. */
#ifndef TC_KERNELS_CUDA_CONV2D_TILES_CUH
#define TC_KERNELS_CUDA_CONV2D_TILES_CUH

#include "kernels/cuda/conv2d.cuh"

/*
 * All three are products of a matrix of weights, or of gradients, with
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
enum {
    THREADS = 128, /* 8 rows of 16 */
    COLUMNS = 64,
    DEPTH = 16,
    COLUMNS_EACH = COLUMNS / 16,
    LEAST_SPLIT = 512, /* products worth a block */
    BLOCKS = 512       /* that a launch should have */
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

/* Where a row or a column of the second matrix begins: its elements are at the sum of two. */
struct place {
    int64_t at;
    int32_t y, x;
};

/* What a block computes. */
struct task {
    int32_t split, group, row0, column0;
    int32_t first[2], taps[2]; /* grad_input: kernel elements of the class: first, number */
    int32_t residue[2];        /* and its first pixel */
    int32_t rows, columns;     /* pixels of an image */
};

static __device__ __forceinline__ task task_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                               int rows)
{
    task t = {};
    int32_t i = tc_split(static_cast<int32_t>(blockIdx.x), p.row_tiles, &t.row0);
    i = tc_split(i, p.column_tiles, &t.column0);
    t.row0 *= rows;
    t.column0 *= COLUMNS;
    t.rows = p.axis[0].out;
    t.columns = p.axis[1].out;
    if (kind == TC_CUDA_CONV_GRAD_INPUT) {
        int32_t sizes[2];
#pragma unroll
        for (int a = 0; a < 2; a++) {
            i = tc_split(i, p.classes[a], &t.residue[a]);
            sizes[a] = (p.axis[a].in - t.residue[a] + p.axis[a].stride - 1) / p.axis[a].stride;
            taps_of(p.axis[a], t.residue[a] + p.axis[a].before, &t.first[a], &t.taps[a]);
        }
        t.rows = sizes[0];
        t.columns = sizes[1];
    }
    t.split = tc_split(i, p.by_groups, &t.group);
    return t;
}

/* As tc_plane_at, of planes that nobody knew before. */
static __device__ __forceinline__ tc_plane_index in_class(int32_t i, int32_t rows, int32_t columns)
{
    const int32_t row = i / columns, plane = row / rows;
    return {plane, row - plane * rows, i - row * columns};
}

/* Column n: where it begins in the second matrix and, in *out, in the result. */
static __device__ __forceinline__ place column_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                                  const task &t, int32_t n, int64_t *out)
{
    const tc_cuda_axis &h = p.axis[0], &w = p.axis[1];
    if (kind == TC_CUDA_CONV_GRAD_FILTER) {
        const tc_plane_index k = tc_plane_at(n, p.w);
        *out = n;
        return {k.plane * p.x_plane, k.y * h.dilation, k.x * w.dilation};
    }
    if (kind == TC_CUDA_CONV) {
        const tc_plane_index q = tc_plane_at(n, p.y);
        *out = q.plane * p.image_filters * p.y_plane + static_cast<int64_t>(q.y) * w.out + q.x;
        return {q.plane * p.image_channels * p.x_plane, q.y * h.stride - h.before,
                q.x * w.stride - w.before};
    }
    const tc_plane_index q = in_class(n, t.rows, t.columns);
    *out = q.plane * p.image_channels * p.x_plane +
           static_cast<int64_t>(q.y * h.stride + t.residue[0]) * w.in + q.x * w.stride +
           t.residue[1];
    return {q.plane * p.image_filters * p.y_plane, q.y, q.x};
}

/* Element k of the sum: where it begins in the second matrix and, in *a, in the first. */
static __device__ __forceinline__ place depth_of(const tc_cuda_conv &p, tc_cuda_conv_kind kind,
                                                 const task &t, int32_t k, int64_t *a)
{
    const tc_cuda_axis &h = p.axis[0], &w = p.axis[1];
    if (kind == TC_CUDA_CONV_GRAD_FILTER) {
        const tc_plane_index q = tc_plane_at(k, p.y);
        *a = q.plane * p.image_filters * p.y_plane + static_cast<int64_t>(q.y) * w.out + q.x;
        return {q.plane * p.image_channels * p.x_plane, q.y * h.stride - h.before,
                q.x * w.stride - w.before};
    }
    if (kind == TC_CUDA_CONV) {
        const tc_plane_index tap = tc_plane_at(k, p.w);
        *a = k;
        return {tap.plane * p.x_plane, tap.y * h.dilation, tap.x * w.dilation};
    }
    const tc_plane_index tap = in_class(k, t.taps[0], t.taps[1]);
    const int32_t ky = t.first[0] + tap.y * h.step, kx = t.first[1] + tap.x * w.step;
    *a = static_cast<int64_t>(tap.plane) * p.channels * p.w_plane + ky * w.kernel + kx;
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
    /* Parts of both matrices, whose rows begin at multiples of what is loaded at a time or are
     * spread over the banks; then the result, that it may be written in order. */
    constexpr int a_ld = rows + 4, b_ld = COLUMNS + 1;
    constexpr int operands = DEPTH * (a_ld + b_ld), result = rows * COLUMNS;
    alignas(16) __shared__ C tile[operands > result ? operands : result];
    C *const a_tile = tile, *const b_tile = tile + DEPTH * a_ld;
    __shared__ place columns[COLUMNS], depths[2][DEPTH];
    __shared__ int64_t column_out[COLUMNS], depth_a[2][DEPTH];

    const int thread = static_cast<int>(threadIdx.x);
    const tc_cuda_conv_kind kind = along ? TC_CUDA_CONV_GRAD_FILTER : p.kind;
    const bool input = kind == TC_CUDA_CONV_GRAD_INPUT;
    const int32_t m = input ? p.channels : p.filters;
    const task t = task_of(p, kind, rows);
    const int32_t n = along ? p.channels * p.w_plane : p.images * t.rows * t.columns;
    if (t.column0 >= n)
        return; /* a class of fewer pixels */
    const int32_t depth = input ? p.filters * t.taps[0] * t.taps[1] : p.depth;
    const int32_t begin = t.split * p.split_depth;
    const int32_t end = min(depth, begin + p.split_depth);
    const int32_t b_rows = input ? p.axis[0].out : p.axis[0].in,
                  b_columns = input ? p.axis[1].out : p.axis[1].in;
    const int64_t a_step = along ? p.y_plane : input ? p.w_plane : p.depth;
    a += t.group *
         (along ? p.filters * p.y_plane : static_cast<int64_t>(p.filters) * p.channels * p.w_plane);
    b += t.group * (input ? p.filters * p.y_plane : p.channels * p.x_plane);

    if (thread < COLUMNS) {
        int64_t out = -1;
        place here = {0, TC_CUDA_OUTSIDE, TC_CUDA_OUTSIDE};
        if (t.column0 + thread < n)
            here = column_of(p, kind, t, t.column0 + thread, &out);
        columns[thread] = here;
        column_out[thread] = out;
    }
    auto fill_depth = [&](int buffer, int32_t k0) {
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
            const int32_t row = t.row0 + thread / DEPTH + THREADS / DEPTH * i;
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
    for (int32_t k0 = begin - DEPTH; k0 < end; k0 += DEPTH) {
        const bool loaded = k0 >= begin;
        if (loaded) {
#pragma unroll
            for (int i = 0; i < a_loads; i++)
                a_tile[thread % DEPTH * a_ld + thread / DEPTH + THREADS / DEPTH * i] = a_next[i];
#pragma unroll
            for (int i = 0; i < b_loads; i++) {
                const int k = along ? thread % DEPTH : thread / COLUMNS + THREADS / COLUMNS * i;
                b_tile[k * b_ld + (along ? thread / DEPTH + THREADS / DEPTH * i
                                         : thread % COLUMNS)] = b_next[i];
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
                    left[i] = a_tile[k * a_ld + row + i];
#pragma unroll
                for (int j = 0; j < COLUMNS_EACH; j++)
                    right[j] = b_tile[k * b_ld + column + 16 * j];
#pragma unroll
                for (int i = 0; i < each; i++)
#pragma unroll
                    for (int j = 0; j < COLUMNS_EACH; j++)
                        sum[i][j] += left[i] * right[j];
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < each; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS_EACH; j++)
            tile[(row + i) * COLUMNS + column + 16 * j] = sum[i][j];
    __syncthreads();
    const int64_t out_step = along ? n : input ? p.x_plane : p.y_plane;
    const int64_t out = column_out[thread % COLUMNS];
    if (out < 0)
        return;
    if (along)
        parts += static_cast<int64_t>(t.split) * p.groups * m * n;
#pragma unroll 1
    for (int i = thread / COLUMNS; i < rows && t.row0 + i < m; i += THREADS / COLUMNS) {
        const int32_t channel = t.group * m + t.row0 + i;
        const int64_t at = channel * out_step + out;
        const C value = tile[i * COLUMNS + thread % COLUMNS];
        if (!along)
            y[at] = tc_store<T>(tc_cuda_finish_at<T>(finish, value, at, channel));
        else if (p.parts > 1)
            parts[at] = value;
        else
            y[at] = tc_store<T>(value);
    }
}

/*
 * Groups of one channel: nothing is shared between the rows of a product, so that each thread sums
 * an element of the result, or a block one of the gradient of the filter.
 */
template <typename T>
static __global__ void conv_single(tc_cuda_conv p, int32_t first, uint32_t count, const T *x,
                                   const T *w, T *y, tc_cuda_finish finish)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const tc_plane_index at = tc_plane_at(i, p.y);
        int32_t filter;
        const int32_t image = tc_split(first + at.plane, p.by_image_filters, &filter);
        const T *plane =
            x + (image * p.image_channels + tc_quotient(filter, p.by_filters)) * p.x_plane;
        const T *weights = w + static_cast<int64_t>(filter) * p.w_plane;
        C sum = 0;
        for (int32_t ky = 0, yy = at.y * h.stride - h.before; ky < h.kernel;
             ky++, yy += h.dilation) {
            if (yy < 0 || yy >= h.in)
                continue;
            for (int32_t kx = 0, xx = at.x * v.stride - v.before; kx < v.kernel;
                 kx++, xx += v.dilation)
                if (xx >= 0 && xx < v.in)
                    sum += tc_load(weights[ky * v.kernel + kx]) *
                           tc_load(plane[static_cast<int64_t>(yy) * v.in + xx]);
        }
        const int64_t out = first * p.y_plane + i;
        y[out] = tc_store<T>(tc_cuda_finish_at<T>(finish, sum, out, filter));
    }
}

template <typename T>
static __global__ void conv_single_grad_input(tc_cuda_conv p, int32_t start, uint32_t count,
                                              const T *w, const T *dy, T *dx)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const tc_plane_index at = tc_plane_at(i, p.x);
        int32_t group, first[2], taps[2];
        (void)tc_split(start + at.plane, p.by_groups, &group);
        taps_of(h, at.y + h.before, &first[0], &taps[0]);
        taps_of(v, at.x + v.before, &first[1], &taps[1]);
        /* Of the first kernel elements; each next one meets an earlier output. */
        const int32_t y0 = (at.y + h.before - first[0] * h.dilation) / h.stride,
                      x0 = (at.x + v.before - first[1] * v.dilation) / v.stride;
        C sum = 0;
        for (int32_t f = 0; f < p.filters; f++) {
            const T *weights = w + static_cast<int64_t>(group * p.filters + f) * p.w_plane;
            const T *plane =
                dy + (static_cast<int64_t>(start + at.plane) * p.filters + f) * p.y_plane;
            for (int32_t ty = 0, oy = y0; ty < taps[0]; ty++, oy -= h.shift) {
                if (oy < 0 || oy >= h.out)
                    continue;
                const int32_t weights_row = (first[0] + ty * h.step) * v.kernel;
                for (int32_t tx = 0, ox = x0; tx < taps[1]; tx++, ox -= v.shift)
                    if (ox >= 0 && ox < v.out)
                        sum += tc_load(weights[weights_row + first[1] + tx * v.step]) *
                               tc_load(plane[static_cast<int64_t>(oy) * v.out + ox]);
            }
        }
        dx[start * p.x_plane + i] = tc_store<T>(sum);
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS)
    conv_single_grad_filter(tc_cuda_conv p, const T *x, const T *dy, T *dw,
                            typename tc_compute<T>::type *parts)
{
    typedef typename tc_compute<T>::type C;
    __shared__ C sums[THREADS / 32];
    const tc_cuda_axis h = p.axis[0], v = p.axis[1];
    const int32_t split = static_cast<int32_t>(blockIdx.y), i = static_cast<int32_t>(blockIdx.x);
    const tc_plane_index tap = tc_plane_at(i, p.w);
    const int32_t group = tc_quotient(tap.plane, p.by_filters);
    const int32_t begin = split * p.split_depth, end = min(p.depth, begin + p.split_depth);
    C sum = 0;
    for (int32_t k = begin + static_cast<int32_t>(threadIdx.x); k < end; k += THREADS) {
        const tc_plane_index at = tc_plane_at(k, p.y);
        const int32_t yy = at.y * h.stride - h.before + tap.y * h.dilation,
                      xx = at.x * v.stride - v.before + tap.x * v.dilation;
        if (yy < 0 || yy >= h.in || xx < 0 || xx >= v.in)
            continue;
        const T *pixels = x + (at.plane * p.image_channels + group) * p.x_plane;
        const T *grads = dy + (at.plane * p.image_filters + tap.plane) * p.y_plane;
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
    if (p.parts == 1)
        dw[i] = tc_store<T>(sum);
    else
        parts[static_cast<int64_t>(split) * gridDim.x + i] = sum;
}

#endif
