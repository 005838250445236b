/* Transposing, slicing and broadcasting as strided copies; joining and cutting. */
#include "kernels/cuda/strided.cuh"

extern "C" {
#include "core/slice.h"
}

/*
 * One strided copy
 */

/* Row-major strides in bytes. */
static void byte_strides(const tc_shape *shape, int64_t element, int64_t strides[TC_MAX_RANK])
{
    tc_shape_strides(shape, strides);
    for (int32_t i = 0; i < shape->rank; i++)
        strides[i] *= element;
}

static int32_t element_of(const tc_prepare *prepare)
{
    return static_cast<int32_t>(tc_dtype_size(prepare->outputs[0].dtype));
}

static tc_status leave_plan(tc_prepare *prepare, int32_t rank, const strided_dim *dims,
                            int64_t from_offset)
{
    strided_plan *plan =
        static_cast<strided_plan *>(tc_prepare_params(prepare, sizeof(strided_plan)));
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    strided_make(plan, rank, dims, element_of(prepare), from_offset, 0);
    return TC_OK;
}

static tc_status run_plan(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    return strided_copy(static_cast<const strided_plan *>(params), inputs[0], outputs[0], context);
}

static tc_status prepare_transpose(tc_prepare *prepare)
{
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    int32_t count;
    const int64_t *permutation = tc_attrs_ints(prepare->attrs, "permutation", &count);
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK];
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element_of(prepare), from);
    byte_strides(y, element_of(prepare), to);
    for (int32_t i = 0; i < y->rank; i++) {
        int axis = count ? tc_axis_normalize(permutation[i], x->rank) : y->rank - 1 - i;
        dims[i] = {y->dims[i].size, from[axis], to[i]};
    }
    return leave_plan(prepare, y->rank, dims, 0);
}

static tc_status prepare_slice(tc_prepare *prepare)
{
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    tc_slice_range ranges[TC_MAX_RANK];
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK], offset = 0, first;
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element_of(prepare), from);
    byte_strides(y, element_of(prepare), to);
    (void)tc_slice_ranges(prepare->attrs, x->rank, ranges); /* infer has checked them */
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t count = tc_slice_count(ranges[i], x->dims[i].size, &first);
        /* A step that is never taken may be huge. */
        dims[i] = {count, count > 1 ? from[i] * ranges[i].stride : from[i], to[i]};
        offset += first * from[i];
    }
    return leave_plan(prepare, x->rank, dims, offset);
}

static tc_status prepare_expand(tc_prepare *prepare)
{
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    int32_t added = y->rank - x->rank;
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK];
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element_of(prepare), from);
    byte_strides(y, element_of(prepare), to);
    for (int32_t i = 0; i < y->rank; i++) {
        bool repeated = i < added || x->dims[i - added].size == 1;
        dims[i] = {y->dims[i].size, repeated ? 0 : from[i - added], to[i]};
    }
    return leave_plan(prepare, y->rank, dims, 0);
}

/*
 * Parts of a whole along an axis: rows of the whole are the rows of the parts end to end. Several
 * parts are moved by one launch, each by a line of blocks.
 */
#define PARTS   8
#define THREADS 256
/* Units of a thread that are under way together. */
#define EACH 4

struct parts_params {
    int64_t outer, row; /* rows, bytes of a row of the whole */
    int32_t count;
    int32_t unit; /* bytes that divide all rows, 16 at most */
    bool join;
    int64_t runs[]; /* bytes of a row of each part */
};

static tc_status prepare_parts(tc_prepare *prepare, const tc_value_info *whole,
                               const tc_value_info *parts, int32_t count, bool join)
{
    parts_params *p = static_cast<parts_params *>(
        tc_prepare_params(prepare, sizeof *p + static_cast<size_t>(count) * sizeof(int64_t)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *shape = &whole->shape;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), shape->rank);
    int64_t inner = element_of(prepare);
    p->outer = 1;
    for (int i = 0; i < axis; i++)
        p->outer *= shape->dims[i].size;
    for (int i = axis + 1; i < shape->rank; i++)
        inner *= shape->dims[i].size;
    p->row = inner * shape->dims[axis].size;
    p->count = count;
    p->join = join;
    uint64_t bits = 16;
    for (int32_t i = 0; i < count; i++) {
        p->runs[i] = inner * parts[i].shape.dims[axis].size;
        bits |= static_cast<uint64_t>(p->runs[i]);
    }
    p->unit = static_cast<int32_t>(bits & (0 - bits));
    return TC_OK;
}

static tc_status prepare_concat(tc_prepare *prepare)
{
    return prepare_parts(prepare, prepare->outputs, prepare->inputs, prepare->n_inputs, true);
}

static tc_status prepare_split(tc_prepare *prepare)
{
    return prepare_parts(prepare, prepare->inputs, prepare->outputs, prepare->n_outputs, false);
}

/* In units. */
struct part {
    const void *from;
    void *to;
    int64_t from_row, to_row;
    strided_divisor run;
};

struct parts {
    part at[PARTS];
};

/* Parts of up to 2^30 units. */
template <typename U>
static __global__ void __launch_bounds__(THREADS) copy_parts(parts all, uint32_t outer)
{
    const part &p = all.at[blockIdx.y];
    const U *__restrict__ from = static_cast<const U *>(p.from);
    U *__restrict__ to = static_cast<U *>(p.to);
    const uint32_t run = static_cast<uint32_t>(p.run.by), count = outer * run;
    for (uint32_t first = blockIdx.x * (THREADS * EACH) + threadIdx.x; first < count;
         first += gridDim.x * (THREADS * EACH)) {
        U v[EACH];
        uint32_t row[EACH], column[EACH];
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++) {
            uint32_t i = first + k * THREADS;
            row[k] = strided_quotient(i, p.run);
            column[k] = i - row[k] * run;
            if (i < count)
                v[k] = from[row[k] * p.from_row + column[k]];
        }
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++)
            if (first + k * THREADS < count)
                to[row[k] * p.to_row + column[k]] = v[k];
    }
}

template <typename U>
static tc_status launch_parts(const parts &all, int32_t count, int64_t outer, int64_t most,
                              const tc_kernel_context *context)
{
    unsigned blocks = tc_cuda_blocks(most, THREADS * EACH, TC_CUDA_MOST_BLOCKS);
    return tc_cuda_launch(copy_parts<U>, dim3(blocks, static_cast<unsigned>(count)), dim3(THREADS),
                          0, context, all, static_cast<uint32_t>(outer));
}

/* One launch for parts that 32-bit indices reach. */
static tc_status launch_unit(const parts &all, int32_t count, int64_t outer, int64_t most,
                             int64_t unit, const tc_kernel_context *context)
{
    switch (unit) {
    case 1: return launch_parts<uint8_t>(all, count, outer, most, context);
    case 2: return launch_parts<uint16_t>(all, count, outer, most, context);
    case 4: return launch_parts<uint32_t>(all, count, outer, most, context);
    case 8: return launch_parts<uint64_t>(all, count, outer, most, context);
    default: return launch_parts<uint4>(all, count, outer, most, context);
    }
}

/* A part of any size. */
static tc_status move_part(const parts_params *p, int32_t i, int64_t place, const void *whole,
                           void *piece, const tc_kernel_context *context)
{
    strided_plan plan;
    int64_t run = p->runs[i], unit = p->unit < 8 ? p->unit : 8;
    strided_dim dims[2] = {{p->outer, p->join ? run : p->row, p->join ? p->row : run},
                           {run / unit, unit, unit}};
    strided_make(&plan, 2, dims, static_cast<int32_t>(unit), p->join ? 0 : place,
                 p->join ? place : 0);
    return p->join ? strided_copy(&plan, piece, const_cast<void *>(whole), context)
                   : strided_copy(&plan, whole, piece, context);
}

static tc_status move_parts(const parts_params *p, const void *whole, void *const *pieces,
                            const tc_kernel_context *context)
{
    uintptr_t bits = static_cast<uintptr_t>(p->unit) | reinterpret_cast<uintptr_t>(whole);
    for (int32_t i = 0; i < p->count; i++)
        bits |= p->runs[i] ? reinterpret_cast<uintptr_t>(pieces[i]) : 0;
    int64_t unit = static_cast<int64_t>(bits & (0 - bits)), place = 0, most = 0;
    parts all;
    memset(&all, 0, sizeof all);
    int32_t count = 0;
    for (int32_t i = 0; i < p->count; place += p->runs[i++]) {
        int64_t run = p->runs[i] / unit;
        if (run * p->outer == 0)
            continue;
        if (!strided_is_narrow(run * p->outer)) {
            TC_TRY(move_part(p, i, place, whole, pieces[i], context));
            continue;
        }
        const char *inside = static_cast<const char *>(whole) + place;
        part *out = &all.at[count++];
        out->from = p->join ? pieces[i] : inside;
        out->to = p->join ? const_cast<char *>(inside) : pieces[i];
        out->from_row = p->join ? run : p->row / unit;
        out->to_row = p->join ? p->row / unit : run;
        out->run = strided_divisor_of(run);
        most = run * p->outer > most ? run * p->outer : most;
        if (count == PARTS) {
            TC_TRY(launch_unit(all, count, p->outer, most, unit, context));
            count = 0;
            most = 0;
        }
    }
    return launch_unit(all, count, p->outer, most, unit, context);
}

static tc_status run_concat(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    return move_parts(static_cast<const parts_params *>(params), outputs[0],
                      const_cast<void *const *>(inputs), context);
}

static tc_status run_split(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    return move_parts(static_cast<const parts_params *>(params), inputs[0], outputs, context);
}

static const tc_kernel kernels[] = {
    TC_CUDA_KERNEL(transpose, any, prepare_transpose, run_plan),
    TC_CUDA_KERNEL(slice, any, prepare_slice, run_plan),
    TC_CUDA_KERNEL(expand, any, prepare_expand, run_plan),
    TC_CUDA_KERNEL(expand_like, any, prepare_expand, run_plan),
    TC_CUDA_KERNEL(concat, any, prepare_concat, run_concat),
    TC_CUDA_KERNEL(split, any, prepare_split, run_split),
    TC_CUDA_KERNEL(split_like, any, prepare_split, run_split),
};

TC_CUDA_TABLE(move, kernels);
