/*
 * Pooling: a thread per element of the result, which loops over a window. Neighbours read
 * neighbours, and what windows share comes from the cache.
 */
#include "kernels/cuda/images.cuh"

enum { THREADS = 256 };

struct pool_params {
    int64_t planes, at_a_time; /* and those of a launch */
    tc_cuda_planes result;
    tc_cuda_axis axis[2];
    bool count_include_pad;
};

/* The window over `image`; its kernel is an attribute. */
static tc_status prepare(tc_prepare *prepare, const tc_shape *image)
{
    char why[TC_WINDOW_MESSAGE];
    int32_t count;
    tc_window window;
    pool_params *p = static_cast<pool_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *result = &prepare->outputs[0].shape;
    if (tc_shape_size(result) == 0)
        return TC_OK;
    p->planes = result->dims[0].size * result->dims[1].size;
    p->result = tc_cuda_planes_of(result->dims[2].size, result->dims[3].size);
    p->at_a_time = tc_cuda_at_a_time(result->dims[2].size * result->dims[3].size);
    int64_t in[2] = {image->dims[2].size, image->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, tc_attrs_ints(prepare->attrs, "kernel", &count),
                        &window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    for (int i = 0; i < 2; i++)
        if (!tc_cuda_axis_of(&window.axis[i], &p->axis[i]) || p->at_a_time == 0)
            return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the padded images are too large");
    p->count_include_pad = tc_attrs_get(prepare->attrs, "count_include_pad") &&
                           tc_attrs_bool(prepare->attrs, "count_include_pad");
    return TC_OK;
}

static tc_status prepare_pool(tc_prepare *p)
{
    return prepare(p, &p->inputs[0].shape);
}

static tc_status prepare_avg_grad(tc_prepare *p)
{
    return prepare(p, &p->outputs[0].shape);
}

static unsigned blocks_for(int64_t count)
{
    return tc_cuda_blocks(count, THREADS, TC_CUDA_MOST_BLOCKS);
}

/*
 * Maximum
 */
template <typename T>
static __global__ void max_pool(pool_params p, uint32_t count, const T *x, T *y, int32_t *argmax)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], w = p.axis[1];
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const tc_plane_index at = tc_plane_at(i, p.result);
        const T *plane = x + static_cast<int64_t>(at.plane) * h.in * w.in;
        const int32_t y0 = at.y * h.stride - h.before, x0 = at.x * w.stride - w.before;
        T best = {};
        C most = 0;
        int32_t place = -1;
        for (int32_t ky = 0, yy = y0; ky < h.kernel; ky++, yy += h.dilation) {
            if (yy < 0 || yy >= h.in)
                continue;
            for (int32_t kx = 0, xx = x0; kx < w.kernel; kx++, xx += w.dilation) {
                if (xx < 0 || xx >= w.in)
                    continue;
                const int32_t here = yy * w.in + xx; /* planes are counted in 32 bits */
                const T element = plane[here];
                const C value = tc_load(element);
                /* The first NaN wins over all numbers. */
                if (place < 0 || value > most || (value != value && most == most)) {
                    best = element;
                    most = value;
                    place = here;
                }
            }
        }
        y[i] = best;
        argmax[i] = place;
    }
}

template <typename T>
static tc_status run_max(const void *params, const void *const *inputs, void *const *outputs,
                         const tc_kernel_context *context)
{
    const pool_params *p = static_cast<const pool_params *>(params);
    const int64_t in = static_cast<int64_t>(p->axis[0].in) * p->axis[1].in,
                  out = static_cast<int64_t>(p->axis[0].out) * p->axis[1].out;
    return tc_cuda_in_turn(p->planes, p->at_a_time, [&](int64_t first, int64_t planes) {
        return tc_cuda_launch(max_pool<T>, dim3(blocks_for(planes * out)), dim3(THREADS), 0,
                              context, *p, planes * out,
                              static_cast<const T *>(inputs[0]) + first * in,
                              static_cast<T *>(outputs[0]) + first * out,
                              static_cast<int32_t *>(outputs[1]) + first * out);
    });
}

/*
 * Mean
 */

/* Elements of window `o` that a mean divides by, along one axis. */
static __device__ __forceinline__ int32_t counted(const tc_cuda_axis &axis, int32_t o, bool pad)
{
    const int32_t begin = o * axis.stride - axis.before, end = begin + axis.kernel;
    const int32_t least = pad ? -axis.before : 0, most = axis.in + (pad ? axis.after : 0);
    return min(end, most) - max(begin, least);
}

template <typename T>
static __global__ void avg_pool(pool_params p, uint32_t count, const T *x, T *y)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], w = p.axis[1];
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const tc_plane_index at = tc_plane_at(i, p.result);
        const T *plane = x + static_cast<int64_t>(at.plane) * h.in * w.in;
        const int32_t y0 = at.y * h.stride - h.before, x0 = at.x * w.stride - w.before;
        const int32_t y1 = min(y0 + h.kernel, h.in), x1 = min(x0 + w.kernel, w.in);
        C sum = 0;
        for (int32_t yy = max(y0, 0); yy < y1; yy++)
            for (int32_t xx = max(x0, 0); xx < x1; xx++)
                sum += tc_load(plane[static_cast<int64_t>(yy) * w.in + xx]);
        const int64_t elements = static_cast<int64_t>(counted(h, at.y, p.count_include_pad)) *
                                 counted(w, at.x, p.count_include_pad);
        y[i] = tc_store<T>(sum / static_cast<C>(elements));
    }
}

/* The windows that touch a pixel: [*from, *to). */
static __device__ __forceinline__ void touching(const tc_cuda_axis &axis, int32_t pixel,
                                                int32_t *from, int32_t *to)
{
    const int32_t position = pixel + axis.before, before = position - axis.kernel;
    *from = before < 0 ? 0 : before / axis.stride + 1;
    *to = min(position / axis.stride + 1, axis.out);
}

template <typename T>
static __global__ void avg_pool_grad(pool_params p, uint32_t count, const T *dy, T *dx)
{
    typedef typename tc_compute<T>::type C;
    const tc_cuda_axis h = p.axis[0], w = p.axis[1];
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const tc_plane_index at = tc_plane_at(i, p.result);
        const T *plane = dy + static_cast<int64_t>(at.plane) * h.out * w.out;
        int32_t y0, y1, x0, x1;
        touching(h, at.y, &y0, &y1);
        touching(w, at.x, &x0, &x1);
        C sum = 0;
        for (int32_t oy = y0; oy < y1; oy++) {
            const int64_t rows = counted(h, oy, p.count_include_pad);
            for (int32_t ox = x0; ox < x1; ox++)
                sum += tc_load(plane[static_cast<int64_t>(oy) * w.out + ox]) /
                       static_cast<C>(rows * counted(w, ox, p.count_include_pad));
        }
        dx[i] = tc_store<T>(sum);
    }
}

/* `grad`: x is the result. */
template <typename T, bool grad>
static tc_status run_avg(const void *params, const void *const *inputs, void *const *outputs,
                         const tc_kernel_context *context)
{
    const pool_params *p = static_cast<const pool_params *>(params);
    const int64_t x = static_cast<int64_t>(p->axis[0].in) * p->axis[1].in,
                  y = static_cast<int64_t>(p->axis[0].out) * p->axis[1].out;
    const int64_t in = grad ? y : x, out = grad ? x : y;
    return tc_cuda_in_turn(p->planes, p->at_a_time, [&](int64_t first, int64_t planes) {
        return tc_cuda_launch(grad ? avg_pool_grad<T> : avg_pool<T>, dim3(blocks_for(planes * out)),
                              dim3(THREADS), 0, context, *p, planes * out,
                              static_cast<const T *>(inputs[0]) + first * in,
                              static_cast<T *>(outputs[0]) + first * out);
    });
}

/*
 * Places in planes. One outside of the plane, which only a foreign argmax can hold, takes and gives
 * nothing.
 */
struct place_params {
    int64_t planes, at_a_time;     /* and those of a launch */
    int64_t image, pooled;         /* elements of a plane of the two sides */
    tc_cuda_divisor parts, places; /* parts of a plane of the image; elements of a pooled plane */
};

enum { WARPS = 4, PART = 1024 /* elements of the image that a warp adds up */ };

static tc_status prepare_places(tc_prepare *prepare, const tc_shape *image, const tc_shape *pooled)
{
    place_params *p = static_cast<place_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_shape outer = tc_shape_make(2, image->dims), a = tc_shape_make(2, image->dims + 2),
             b = tc_shape_make(2, pooled->dims + 2);
    p->image = tc_shape_size(&a);
    p->pooled = tc_shape_size(&b);
    if (tc_shape_size(&prepare->outputs[0].shape) == 0)
        return TC_OK;
    p->planes = tc_shape_size(&outer);
    /* Places are counted in 32 bits. */
    if (p->image > INT32_MAX || p->pooled > INT32_MAX)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "planes of the image are too large");
    const int64_t parts = (p->image + PART - 1) / PART;
    p->parts = tc_cuda_divisor_of(parts > 0 ? parts : 1);
    p->places = tc_cuda_divisor_of(p->pooled > 0 ? p->pooled : 1);
    p->at_a_time = tc_cuda_at_a_time(p->pooled > parts ? p->pooled : parts);
    return TC_OK;
}

static tc_status prepare_max_grad(tc_prepare *p)
{
    return prepare_places(p, &p->outputs[0].shape, &p->inputs[0].shape);
}

static tc_status prepare_gather(tc_prepare *p)
{
    return prepare_places(p, &p->inputs[0].shape, &p->outputs[0].shape);
}

/*
 * The operator does not know the windows: any place may be anywhere. A warp holds a part of a plane
 * and looks through all of its places, 32 at a time; those of a part are added in their order, the
 * same one as on the CPU.
 */
template <typename T>
static __global__ void __launch_bounds__(WARPS * 32)
    max_pool_grad(place_params p, int64_t jobs, const T *dy, const int32_t *places, T *dx)
{
    typedef typename tc_compute<T>::type C;
    __shared__ C sums[WARPS][PART];
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    C *sum = sums[warp];
    for (int64_t job = static_cast<int64_t>(blockIdx.x) * WARPS + warp; job < jobs;
         job += static_cast<int64_t>(gridDim.x) * WARPS) {
        int32_t part;
        const int64_t plane = tc_split(static_cast<int32_t>(job), p.parts, &part);
        const int64_t begin = static_cast<int64_t>(part) * PART;
        const int size = static_cast<int>(min(p.image - begin, static_cast<int64_t>(PART)));
        for (int i = lane; i < size; i += 32)
            sum[i] = 0;
        __syncwarp();
        for (int64_t i0 = 0; i0 < p.pooled; i0 += 32) {
            const int64_t i = plane * p.pooled + i0 + lane;
            int64_t place = -1;
            if (i0 + lane < p.pooled)
                place = places[i] - begin;
            const bool mine = place >= 0 && place < size;
            unsigned all = __ballot_sync(0xffffffffu, mine);
            if (all == 0)
                continue;
            const int at = mine ? static_cast<int>(place) : -1;
            const C value = mine ? tc_load(dy[i]) : static_cast<C>(0);
            C total = mine ? sum[at] : static_cast<C>(0);
            bool first = mine;
            for (; all; all &= all - 1) {
                const int other = __ffs(static_cast<int>(all)) - 1;
                const int other_at = __shfl_sync(0xffffffffu, at, other);
                const C other_value = __shfl_sync(0xffffffffu, value, other);
                if (other_at == at) {
                    total += other_value;
                    first = first && other >= lane;
                }
            }
            __syncwarp();
            if (first)
                sum[at] = total;
            __syncwarp();
        }
        for (int i = lane; i < size; i += 32)
            dx[plane * p.image + begin + i] = tc_store<T>(sum[i]);
        __syncwarp();
    }
}

template <typename T>
static tc_status run_max_grad(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    const place_params *p = static_cast<const place_params *>(params);
    return tc_cuda_in_turn(p->planes, p->at_a_time, [&](int64_t first, int64_t planes) {
        const int64_t jobs = planes * p->parts.by;
        return tc_cuda_launch(max_pool_grad<T>, dim3(tc_cuda_blocks(jobs, WARPS, INT32_MAX)),
                              dim3(WARPS * 32), 0, context, *p, jobs,
                              static_cast<const T *>(inputs[0]) + first * p->pooled,
                              static_cast<const int32_t *>(inputs[1]) + first * p->pooled,
                              static_cast<T *>(outputs[0]) + first * p->image);
    });
}

template <typename T>
static __global__ void max_pool_gather(place_params p, uint32_t count, const T *x,
                                       const int32_t *places, T *y)
{
    for (uint32_t i = tc_first_index(); i < count; i += tc_index_step()) {
        const int64_t place = places[i];
        const bool valid = place >= 0 && place < p.image;
        y[i] = valid ? x[tc_quotient(i, p.places) * p.image + place] : T{};
    }
}

template <typename T>
static tc_status run_gather(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const place_params *p = static_cast<const place_params *>(params);
    return tc_cuda_in_turn(p->planes, p->at_a_time, [&](int64_t first, int64_t planes) {
        return tc_cuda_launch(max_pool_gather<T>, dim3(blocks_for(planes * p->pooled)),
                              dim3(THREADS), 0, context, *p, planes * p->pooled,
                              static_cast<const T *>(inputs[0]) + first * p->image,
                              static_cast<const int32_t *>(inputs[1]) + first * p->pooled,
                              static_cast<T *>(outputs[0]) + first * p->pooled);
    });
}

#define MAX_KERNEL(tag, T) TC_CUDA_KERNEL(max_pool2d, tag, prepare_pool, run_max<T>)
#define FLOAT_KERNELS(tag, T)                                                                    \
    MAX_KERNEL(tag, T), TC_CUDA_KERNEL(max_pool2d_grad, tag, prepare_max_grad, run_max_grad<T>), \
        TC_CUDA_KERNEL(max_pool2d_gather, tag, prepare_gather, run_gather<T>),                   \
        TC_CUDA_KERNEL(avg_pool2d, tag, prepare_pool, (run_avg<T, false>)),                      \
        TC_CUDA_KERNEL(avg_pool2d_grad, tag, prepare_avg_grad, (run_avg<T, true>))
static const tc_kernel kernels[] = {
    FLOAT_KERNELS(f32, float),      FLOAT_KERNELS(f64, double), FLOAT_KERNELS(f16, tc_half),
    FLOAT_KERNELS(bf16, tc_bfloat), MAX_KERNEL(i8, int8_t),     MAX_KERNEL(i16, int16_t),
    MAX_KERNEL(i32, int32_t),       MAX_KERNEL(i64, int64_t),   MAX_KERNEL(u8, uint8_t),
    MAX_KERNEL(u16, uint16_t),      MAX_KERNEL(u32, uint32_t),  MAX_KERNEL(u64, uint64_t)};

TC_CUDA_TABLE(pool2d, kernels);
