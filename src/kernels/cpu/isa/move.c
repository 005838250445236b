/* Transposing, slicing, broadcasting, joining and cutting, as plans of strided copies. */
#include "core/dtype.h"
#include "core/shape.h"
#include "core/slice.h"
#include "strided.h"

/* Row-major strides in bytes. */
static void byte_strides(const tc_shape *shape, int64_t element, int64_t strides[TC_MAX_RANK])
{
    tc_shape_strides(shape, strides);
    for (int32_t i = 0; i < shape->rank; i++)
        strides[i] *= element;
}

static int32_t element_of(const tc_prepare *prepare)
{
    return (int32_t)tc_dtype_size(prepare->outputs[0].dtype);
}

static tc_status run_plan(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    strided_copy(params, inputs[0], outputs[0], context->pool);
    return TC_OK;
}

static tc_status prepare_transpose(tc_prepare *prepare)
{
    strided_plan *plan = tc_prepare_params(prepare, sizeof *plan);
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    int32_t element = element_of(prepare), count;
    const int64_t *permutation = tc_attrs_ints(prepare->attrs, "permutation", &count);
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK];
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element, from);
    byte_strides(y, element, to);
    for (int32_t i = 0; i < y->rank; i++) {
        int axis = count ? tc_axis_normalize(permutation[i], x->rank) : y->rank - 1 - i;
        dims[i] = (strided_dim){y->dims[i].size, from[axis], to[i]};
    }
    strided_make(plan, y->rank, dims, element);
    return TC_OK;
}

static tc_status prepare_slice(tc_prepare *prepare)
{
    strided_plan *plan = tc_prepare_params(prepare, sizeof *plan);
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    int32_t element = element_of(prepare);
    tc_slice_range ranges[TC_MAX_RANK];
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK], offset = 0, first;
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element, from);
    byte_strides(y, element, to);
    (void)tc_slice_ranges(prepare->attrs, x->rank, ranges); /* infer has checked them */
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t count = tc_slice_count(ranges[i], x->dims[i].size, &first);
        /* A step that is never taken may be huge. */
        dims[i] = (strided_dim){count, count > 1 ? from[i] * ranges[i].stride : from[i], to[i]};
        offset += first * from[i];
    }
    strided_make(plan, x->rank, dims, element);
    plan->from_offset = offset;
    return TC_OK;
}

typedef struct slice_grad_params {
    strided_plan zeros, copy;
} slice_grad_params;

static tc_status prepare_slice_grad(tc_prepare *prepare)
{
    slice_grad_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *dy = &prepare->inputs[0].shape, *dx = &prepare->outputs[0].shape;
    int32_t element = element_of(prepare);
    tc_slice_range ranges[TC_MAX_RANK];
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK], from_offset = 0, to_offset = 0, first;
    strided_dim dims[TC_MAX_RANK];
    byte_strides(dy, element, from);
    byte_strides(dx, element, to);
    (void)tc_slice_ranges(prepare->attrs, dx->rank, ranges);
    for (int32_t i = 0; i < dx->rank; i++) {
        int64_t count = tc_slice_count(ranges[i], dx->dims[i].size, &first);
        dims[i] = (strided_dim){count, from[i], count > 1 ? to[i] * ranges[i].stride : to[i]};
        to_offset += first * to[i];
        if (dims[i].to < 0) { /* walked backwards, so that the result is written forwards */
            from_offset += (count - 1) * dims[i].from;
            to_offset += (count - 1) * dims[i].to;
            dims[i].from = -dims[i].from;
            dims[i].to = -dims[i].to;
        }
    }
    strided_make(&p->copy, dx->rank, dims, element);
    p->copy.from_offset = from_offset;
    p->copy.to_offset = to_offset;
    strided_dim all = {tc_shape_size(dx), 0, element};
    strided_make(&p->zeros, 1, &all, element);
    return TC_OK;
}

static tc_status run_slice_grad(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context)
{
    const slice_grad_params *p = params;
    static const uint64_t zero;
    strided_copy(&p->zeros, &zero, outputs[0], context->pool);
    strided_copy(&p->copy, inputs[0], outputs[0], context->pool);
    return TC_OK;
}

static tc_status prepare_expand(tc_prepare *prepare)
{
    strided_plan *plan = tc_prepare_params(prepare, sizeof *plan);
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    int32_t element = element_of(prepare), added = y->rank - x->rank;
    int64_t from[TC_MAX_RANK], to[TC_MAX_RANK];
    strided_dim dims[TC_MAX_RANK];
    byte_strides(x, element, from);
    byte_strides(y, element, to);
    for (int32_t i = 0; i < y->rank; i++) {
        bool repeated = i < added || x->dims[i - added].size == 1;
        dims[i] = (strided_dim){y->dims[i].size, repeated ? 0 : from[i - added], to[i]};
    }
    strided_make(plan, y->rank, dims, element);
    return TC_OK;
}

/*
 * Parts of a whole along an axis: a plan for each.
 */
typedef struct parts_params {
    int64_t count;
    strided_plan parts[];
} parts_params;

static tc_status prepare_parts(tc_prepare *prepare, const tc_value_info *whole,
                               const tc_value_info *parts, int32_t count, bool join)
{
    parts_params *p = tc_prepare_params(prepare, sizeof *p + (size_t)count * sizeof p->parts[0]);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *shape = &whole->shape;
    int32_t element = element_of(prepare);
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), shape->rank);
    int64_t outer = 1, inner = element, place = 0;
    for (int i = 0; i < axis; i++)
        outer *= shape->dims[i].size;
    for (int i = axis + 1; i < shape->rank; i++)
        inner *= shape->dims[i].size;
    int64_t row = inner * shape->dims[axis].size;
    p->count = count;
    for (int32_t i = 0; i < count; i++) {
        int64_t run = inner * parts[i].shape.dims[axis].size;
        strided_dim dims[2] = {{outer, join ? run : row, join ? row : run},
                               {run / element, element, element}};
        strided_make(&p->parts[i], 2, dims, element);
        if (join)
            p->parts[i].to_offset = place;
        else
            p->parts[i].from_offset = place;
        place += run;
    }
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

static tc_status run_concat(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const parts_params *p = params;
    for (int64_t i = 0; i < p->count; i++)
        strided_copy(&p->parts[i], inputs[i], outputs[0], context->pool);
    return TC_OK;
}

static tc_status run_split(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    const parts_params *p = params;
    for (int64_t i = 0; i < p->count; i++)
        strided_copy(&p->parts[i], inputs[0], outputs[i], context->pool);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(transpose, any, .prepare = prepare_transpose, .run = run_plan),
    TC_KERNEL(slice, any, .prepare = prepare_slice, .run = run_plan),
    TC_KERNEL(slice_grad, any, .prepare = prepare_slice_grad, .run = run_slice_grad),
    TC_KERNEL(expand, any, .prepare = prepare_expand, .run = run_plan),
    TC_KERNEL(expand_like, any, .prepare = prepare_expand, .run = run_plan),
    TC_KERNEL(concat, any, .prepare = prepare_concat, .run = run_concat),
    TC_KERNEL(split, any, .prepare = prepare_split, .run = run_split),
    TC_KERNEL(split_like, any, .prepare = prepare_split, .run = run_split),
};

TC_KERNEL_TABLE(move, kernels);
