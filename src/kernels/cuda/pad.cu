/*
 * Padding, its gradient and the gradient of slicing: values whose elements lie inside of larger
 * ones.
 */
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/strided.cuh"

extern "C" {
#include "core/slice.h"
}

#define THREADS 256

enum { CONSTANT, REFLECT, EDGE, STEPS };

/*
 * A dimension of the smaller value and where it lies in the larger one: element i at before + i,
 * or, with STEPS, at before + i * step.
 */
struct inside_dim {
    strided_divisor larger, smaller; /* sizes */
    int64_t before;
    strided_divisor step;
    bool backwards; /* the first one is the last one of the smaller value */
};

/*
 * Dimensions that both have whole are merged: those at the end into `cell`, a run that moves as
 * one, others into the dimension before them.
 */
struct inside {
    int32_t rank, mode;
    inside_dim dims[TC_MAX_RANK];
    int64_t larger, smaller; /* units of all */
    int64_t cell;            /* units */
    int32_t unit;            /* bytes of a unit */
    int32_t element;
    tc_dtype dtype;
    uint64_t constant[2]; /* 16 bytes of elements */
};

static void start_inside(inside *p, int32_t mode, const tc_value_info *value)
{
    p->mode = mode;
    p->cell = 1;
    p->dtype = value->dtype;
    p->element = p->unit = static_cast<int32_t>(tc_dtype_size(value->dtype));
}

/* The next dimension: `size` elements at `before` in steps of `step` among `larger`. */
static void add_inside(inside *p, bool *whole, int64_t larger, int64_t size, int64_t before,
                       int64_t step, bool backwards)
{
    bool plain = larger == size && !backwards && (step == 1 || size == 1);
    int32_t d = plain && *whole ? p->rank - 1 : p->rank++;
    inside_dim *dim = &p->dims[d];
    if (plain && *whole) {
        dim->smaller.by *= size;
        dim->larger.by *= larger;
    } else {
        memset(dim, 0, sizeof *dim);
        dim->larger.by = larger;
        dim->smaller.by = size;
        dim->before = before;
        dim->step = strided_divisor_of(step);
        dim->backwards = backwards;
    }
    *whole = plain;
}

/* `wide`: whether the cell may move in units of several elements. */
static void finish_inside(inside *p, bool whole, bool wide)
{
    if (p->rank && whole)
        p->cell = p->dims[--p->rank].smaller.by;
    p->larger = p->smaller = p->cell;
    for (int32_t d = 0; d < p->rank; d++) {
        p->larger *= p->dims[d].larger.by;
        p->smaller *= p->dims[d].smaller.by;
        p->dims[d].larger = strided_divisor_of(p->dims[d].larger.by);
        p->dims[d].smaller = strided_divisor_of(p->dims[d].smaller.by);
    }
    if (!wide || p->cell == 0)
        return;
    uint64_t bits = static_cast<uint64_t>(p->cell * p->element) | 16;
    p->unit = static_cast<int32_t>(bits & (0 - bits));
    int64_t parts = p->unit / p->element;
    p->cell /= parts;
    p->larger /= parts;
    p->smaller /= parts;
}

static tc_status prepare_pad_of(tc_prepare *prepare, const tc_shape *x, bool wide)
{
    inside *p = static_cast<inside *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *y = &prepare->outputs[0];
    const int64_t *before = tc_attrs_ints(prepare->attrs, "before", NULL);
    const int64_t *after = tc_attrs_ints(prepare->attrs, "after", NULL);
    const char *mode = tc_attrs_string(prepare->attrs, "mode");
    start_inside(p, mode[0] == 'r' ? REFLECT : mode[0] == 'e' ? EDGE : CONSTANT, y);
    bool whole = false;
    for (int32_t i = 0; i < x->rank; i++)
        add_inside(p, &whole, x->dims[i].size + before[i] + after[i], x->dims[i].size, before[i], 1,
                   false);
    finish_inside(p, whole, wide);
    uint64_t element = 0;
    tc_dtype_store(y->dtype, &element, tc_attrs_float(prepare->attrs, "value"));
    for (int32_t at = 0; at < 16; at += p->element)
        memcpy(reinterpret_cast<char *>(p->constant) + at, &element,
               static_cast<size_t>(p->element));
    return TC_OK;
}

static tc_status prepare_pad(tc_prepare *prepare)
{
    return prepare_pad_of(prepare, &prepare->inputs[0].shape, true);
}

static tc_status prepare_pad_grad(tc_prepare *prepare)
{
    return prepare_pad_of(prepare, &prepare->outputs[0].shape, false);
}

static tc_status prepare_slice_grad(tc_prepare *prepare)
{
    inside *p = static_cast<inside *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *dx = &prepare->outputs[0].shape;
    tc_slice_range ranges[TC_MAX_RANK];
    (void)tc_slice_ranges(prepare->attrs, dx->rank, ranges); /* infer has checked them */
    start_inside(p, STEPS, &prepare->outputs[0]);
    bool whole = false;
    for (int32_t i = 0; i < dx->rank; i++) {
        int64_t first, count = tc_slice_count(ranges[i], dx->dims[i].size, &first);
        int64_t step = count > 1 ? ranges[i].stride : 1; /* one never taken may be huge */
        bool backwards = step < 0;
        if (backwards) {
            first += (count - 1) * step;
            step = -step;
        }
        add_inside(p, &whole, dx->dims[i].size, count, first, step, backwards);
    }
    finish_inside(p, whole, true);
    return TC_OK;
}

/* Where the element at `place` of the larger dimension comes from; -1: from nowhere. */
template <typename I>
static __device__ __forceinline__ int64_t source(const inside_dim &d, int32_t mode, I place)
{
    int64_t i = static_cast<int64_t>(place) - d.before, last = d.smaller.by - 1;
    if (mode == STEPS) {
        if (i < 0)
            return -1;
        I step = strided_quotient(static_cast<I>(i), d.step);
        if (static_cast<int64_t>(step) > last || static_cast<int64_t>(step) * d.step.by != i)
            return -1;
        return d.backwards ? last - static_cast<int64_t>(step) : static_cast<int64_t>(step);
    }
    if (i >= 0 && i <= last)
        return i;
    if (mode == CONSTANT)
        return -1;
    if (mode == EDGE)
        return i < 0 ? 0 : last;
    return i < 0 ? -i : 2 * last - i;
}

/* Each element of the larger value: U is the unit, `fill` what comes from nowhere. */
template <typename U, typename I>
static __global__ void __launch_bounds__(THREADS)
    embed(inside p, strided_divisor cell, U fill, const U *__restrict__ x, U *__restrict__ y)
{
    I stride = static_cast<I>(gridDim.x) * THREADS, count = static_cast<I>(p.larger);
    for (I i = static_cast<I>(blockIdx.x) * THREADS + threadIdx.x; i < count; i += stride) {
        I rest = strided_quotient(i, cell);
        int64_t from = static_cast<int64_t>(i - rest * static_cast<I>(cell.by)), size = cell.by;
        bool outside = false;
#pragma unroll 1
        for (int32_t d = p.rank - 1; d >= 0; d--) {
            I next = d ? strided_quotient(rest, p.dims[d].larger) : 0;
            int64_t s = source(p.dims[d], p.mode,
                               static_cast<I>(rest - next * static_cast<I>(p.dims[d].larger.by)));
            outside |= s < 0;
            from += s * size;
            size *= p.dims[d].smaller.by;
            rest = next;
        }
        y[i] = outside ? fill : x[from];
    }
}

template <typename U>
static tc_status launch_embed(const inside *p, const void *x, void *y,
                              const tc_kernel_context *context)
{
    U fill;
    memcpy(&fill, p->constant, sizeof fill);
    unsigned blocks = tc_cuda_blocks(p->larger, THREADS, TC_CUDA_MOST_BLOCKS);
    strided_divisor cell = strided_divisor_of(p->cell);
    if (strided_is_narrow(p->larger))
        return tc_cuda_launch(embed<U, uint32_t>, dim3(blocks), dim3(THREADS), 0, context, *p, cell,
                              fill, static_cast<const U *>(x), static_cast<U *>(y));
    return tc_cuda_launch(embed<U, int64_t>, dim3(blocks), dim3(THREADS), 0, context, *p, cell,
                          fill, static_cast<const U *>(x), static_cast<U *>(y));
}

static tc_status run_embed(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    inside p = *static_cast<const inside *>(params);
    if (p.larger == 0)
        return TC_OK;
    uintptr_t bits = reinterpret_cast<uintptr_t>(inputs[0]) |
                     reinterpret_cast<uintptr_t>(outputs[0]) | static_cast<uintptr_t>(p.unit);
    int32_t unit = static_cast<int32_t>(bits & (0 - bits)), parts = p.unit / unit;
    p.cell *= parts;
    p.larger *= parts;
    switch (unit) {
    case 1: return launch_embed<uint8_t>(&p, inputs[0], outputs[0], context);
    case 2: return launch_embed<uint16_t>(&p, inputs[0], outputs[0], context);
    case 4: return launch_embed<uint32_t>(&p, inputs[0], outputs[0], context);
    case 8: return launch_embed<uint64_t>(&p, inputs[0], outputs[0], context);
    default: return launch_embed<uint4>(&p, inputs[0], outputs[0], context);
    }
}

/*
 * Gradient of padding: each element of the result adds up the padded ones that are copies of it.
 */

/* The copies of index i of a dimension: one, up to three by reflection, or a run at an edge. */
struct copies {
    int64_t place[3]; /* the first three */
    int64_t count;    /* beyond three they go on by 1 */
};

static __device__ copies copies_of(const inside_dim &d, int32_t mode, int64_t i)
{
    int64_t last = d.smaller.by - 1;
    copies c = {{d.before + i, 0, 0}, 1};
    if (mode == EDGE && (i == 0 || i == last)) {
        int64_t low = i == 0 ? 0 : d.before + i;
        int64_t high = i == last ? d.larger.by - 1 : d.before + i;
        c = {{low, low + 1, low + 2}, high - low + 1};
    }
    if (mode != REFLECT)
        return c;
    int64_t below = d.before - i, above = d.before + 2 * last - i;
    bool has_below = i > 0 && below >= 0, has_above = i < last && above < d.larger.by;
    if (has_below)
        c = {{below, c.place[0], 0}, 2};
    if (has_above)
        c = {{c.place[0], has_below ? c.place[1] : above, above}, c.count + 1};
    return c;
}

static __device__ __forceinline__ int64_t copy_place(const copies &c, int64_t k)
{
    return k == 0 ? c.place[0] : k == 1 ? c.place[1] : k == 2 ? c.place[2] : c.place[0] + k;
}

/* The place of copy `k` of element `i`, where the innermost dimension turns fastest, and the number
 * of copies. */
static __device__ __forceinline__ int64_t find_copy(const inside &p, strided_divisor cell,
                                                    int64_t i, int64_t k, int64_t *count)
{
    int64_t rest = strided_quotient(i, cell), place = i - rest * cell.by, size = cell.by;
    *count = 1;
#pragma unroll 1
    for (int32_t d = p.rank - 1; d >= 0; d--) {
        int64_t next = strided_quotient(rest, p.dims[d].smaller);
        copies c = copies_of(p.dims[d], p.mode, rest - next * p.dims[d].smaller.by);
        int64_t left = c.count > 1 ? k / c.count : k;
        place += copy_place(c, k - left * c.count) * size;
        size *= p.dims[d].larger.by;
        *count *= c.count;
        k = left;
        rest = next;
    }
    return place;
}

/* C is computed in. */
template <typename C>
static __global__ void __launch_bounds__(THREADS)
    add_copies(inside p, strided_divisor cell, tc_dtype dtype, const void *__restrict__ dy,
               void *__restrict__ dx)
{
    int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < p.smaller;
         i += stride) {
        int64_t count = 1;
        C sum = 0;
#pragma unroll 1
        for (int64_t k = 0; k < count; k++)
            sum += load_as<C>(dy, dtype, find_copy(p, cell, i, k, &count));
        store_as(sum, dx, dtype, i);
    }
}

template <typename C>
static tc_status run_add_copies(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context)
{
    const inside *p = static_cast<const inside *>(params);
    unsigned blocks = tc_cuda_blocks(p->smaller, THREADS, TC_CUDA_MOST_BLOCKS);
    return tc_cuda_launch(add_copies<C>, dim3(blocks), dim3(THREADS), 0, context, *p,
                          strided_divisor_of(p->cell), p->dtype, inputs[0], outputs[0]);
}

#define GRAD(dtype, C) TC_CUDA_KERNEL(pad_grad, dtype, prepare_pad_grad, run_add_copies<C>)

static const tc_kernel kernels[] = {
    TC_CUDA_KERNEL(pad, any, prepare_pad, run_embed),
    TC_CUDA_KERNEL(slice_grad, any, prepare_slice_grad, run_embed),
    GRAD(f32, float),
    GRAD(f64, double),
    GRAD(f16, float),
    GRAD(bf16, float),
    GRAD(i8, uint64_t),
    GRAD(i16, uint64_t),
    GRAD(i32, uint64_t),
    GRAD(i64, uint64_t),
    GRAD(u8, uint64_t),
    GRAD(u16, uint64_t),
    GRAD(u32, uint64_t),
    GRAD(u64, uint64_t),
};

TC_CUDA_TABLE(pad, kernels);
