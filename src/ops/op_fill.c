/* Tensors described by a few numbers. */
#include "ops/build.h"
#include "ops/source.h"
#include "tensorc/ops/state.h"

#include <math.h>

#include "core/dtype.h"

static const tc_port fill_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_ANY}};

static const tc_attr_def fill_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
    {.name = "value", .type = TC_ATTR_FLOAT, .doc = "every element"},
};

static tc_status fill_infer(tc_infer *infer)
{
    TC_TRY(tc_infer_known_source(infer));
    double value = tc_attrs_float(infer->attrs, "value");
    TC_TRY(tc_infer_exact(infer, "value", infer->outputs[0].dtype, value));
    tc_dim *known = tc_infer_known(infer);
    for (int32_t i = 0; known && i < infer->outputs[0].known_count; i++)
        known[i] = tc_known_element(value < 0x1p53 ? (int64_t)value : -1);
    return TC_OK;
}

const tc_op tc_op_fill = {
    .name = "fill",
    .version = 1,
    .doc = "A tensor whose elements are all equal.",
    TC_LIST(outputs, fill_outputs),
    TC_LIST(attrs, fill_attrs),
    .infer = fill_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_fill_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape, double value)
{
    return tc_node_build(graph,
                         &(const tc_node_spec){.op = "fill",
                                               .at = at,
                                               TC_SPEC_ATTRS({"dtype", tc_attr_dtype(dtype)},
                                                             {"shape", tc_attr_shape(&shape)},
                                                             {"value", tc_attr_float(value)})});
}

tc_value tc_zeros_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape)
{
    return tc_fill_at(at, graph, dtype, shape, 0);
}

tc_value tc_ones_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape)
{
    return tc_fill_at(at, graph, dtype, shape, 1);
}

/*
 * Range
 */

static const tc_port range_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_NUMBER, .type = 'T'}};

static const tc_attr_def range_attrs[] = {
    TC_DTYPE_ATTR,
    {.name = "start", .type = TC_ATTR_FLOAT, .doc = "element 0"},
    {.name = "limit", .type = TC_ATTR_FLOAT, .doc = "where the elements end, itself left out"},
    {.name = "step",
     .type = TC_ATTR_FLOAT,
     .fallback = {.type = TC_ATTR_FLOAT, .f = 1},
     .doc = "distance of neighbours"},
};

static tc_status range_infer(tc_infer *infer)
{
    tc_value_info *output = &infer->outputs[0];
    output->dtype = tc_attrs_dtype(infer->attrs, "dtype");
    double start = tc_attrs_float(infer->attrs, "start");
    double limit = tc_attrs_float(infer->attrs, "limit");
    double step = tc_attrs_float(infer->attrs, "step");
    if (!isfinite(start) || !isfinite(limit) || !isfinite(step) || step == 0)
        return tc_infer_fail(infer, "start %g, limit %g and step %g must be finite, the step not 0",
                             start, limit, step);
    double count = fmax(0, ceil((limit - start) / step));
    if (!(count < 0x1p53))
        return tc_infer_fail(infer, "start %g, limit %g and step %g give too many elements", start,
                             limit, step);
    if (TC_DTYPES_INT & TC_DTYPE_BIT(output->dtype)) {
        if (start != trunc(start) || limit != trunc(limit) || step != trunc(step))
            return tc_infer_fail(
                infer, "start %g, limit %g and step %g must be whole numbers for dtype %s", start,
                limit, step, tc_dtype_name(output->dtype));
        TC_TRY(tc_infer_exact(infer, "start", output->dtype, start));
        if (count > 0)
            TC_TRY(
                tc_infer_exact(infer, "last element", output->dtype, start + (count - 1) * step));
    }
    output->shape = tc_shape_of(1, (const int64_t[]){(int64_t)count});
    tc_dim *known = tc_infer_known(infer);
    for (int32_t i = 0; known && i < output->known_count; i++) {
        double value = start + i * step;
        known[i] = tc_known_element(value < 0x1p53 ? (int64_t)value : -1);
    }
    return TC_OK;
}

const tc_op tc_op_range = {
    .name = "range",
    .version = 1,
    .doc = "Evenly spaced numbers from start up to limit.",
    TC_LIST(outputs, range_outputs),
    TC_LIST(attrs, range_attrs),
    .infer = range_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_range_at(tc_location at, tc_graph *graph, tc_dtype dtype, double start, double limit,
                     const tc_range_options *options)
{
    TC_OPTIONS(tc_range_options, o, options);
    double step = o.step == 0 ? 1 : o.step;
    return tc_node_build(
        graph, &(const tc_node_spec){
                   .op = "range",
                   .name = o.name,
                   .at = at,
                   TC_SPEC_ATTRS({"dtype", tc_attr_dtype(dtype)}, {"start", tc_attr_float(start)},
                                 {"limit", tc_attr_float(limit)}, {"step", tc_attr_float(step)})});
}
