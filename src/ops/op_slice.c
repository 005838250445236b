/* Ranges of dimensions, and their gradient. */
#include "core/slice.h"

#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/shape.h"

/* The size of a range of `whole`, which may be unknown. */
static tc_dim range_dim(tc_slice_range range, tc_dim whole)
{
    int64_t first;
    bool forward = range.stride == 1 && range.begin == 0 && range.end == TC_TO_END;
    bool backward = range.stride == -1 && range.begin == -1 && range.end == TC_TO_END;
    if (forward || backward)
        return whole;
    if (whole.size < 0)
        return (tc_dim){-1, NULL};
    return (tc_dim){tc_slice_count(range, whole.size, &first), NULL};
}

/* infer: the shape of the slice of a value of shape `whole`. */
static tc_status slice_shape(tc_infer *infer, const tc_shape *whole, tc_shape *out,
                             tc_slice_range ranges[TC_MAX_RANK])
{
    const char *why = tc_slice_ranges(infer->attrs, whole->rank, ranges);
    if (why) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "cannot slice %s: %s", tc_shape_text(whole, text), why);
    }
    *out = *whole;
    for (int32_t i = 0; i < whole->rank; i++)
        out->dims[i] = range_dim(ranges[i], whole->dims[i]);
    return TC_OK;
}

static tc_status slice_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    tc_slice_range ranges[TC_MAX_RANK];
    TC_TRY(slice_shape(infer, x, &infer->outputs[0].shape, ranges));
    tc_dim *known = x->rank == 1 && infer->inputs[0].known ? tc_known_output(infer, 0) : NULL;
    if (known) {
        int64_t first, count = tc_slice_count(ranges[0], x->dims[0].size, &first);
        for (int64_t i = 0; i < count; i++)
            known[i] = tc_known_element(infer, 0, first + i * ranges[0].stride);
    }
    return TC_OK;
}

/* The attributes of a slice as arguments of the builders. */
typedef struct slice_arguments {
    tc_ints begin, end;
    tc_slice_options options;
} slice_arguments;

static tc_ints read_ints(const tc_attrs *attrs, const char *name)
{
    int32_t count;
    const int64_t *data = tc_attrs_ints(attrs, name, &count);
    return (tc_ints){data, (size_t)count};
}

static slice_arguments read_arguments(const tc_attrs *attrs)
{
    return (slice_arguments){
        .begin = read_ints(attrs, "begin"),
        .end = read_ints(attrs, "end"),
        .options = {.struct_size = sizeof(tc_slice_options),
                    .strides = read_ints(attrs, "strides"),
                    .axes = read_ints(attrs, "axes")},
    };
}

static void slice_grad(tc_grad *grad)
{
    slice_arguments a = read_arguments(grad->attrs);
    grad->input_gradients[0] = tc_slice_grad_at(TC_WITHIN(grad->at), grad->output_gradients[0],
                                                grad->inputs[0], a.begin, a.end, &a.options);
}

static const tc_port slice_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port slice_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "the elements taken"}};
static const tc_attr_def slice_attrs[] = {
    {"begin", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "first index, negative from the end"},
    {"end",
     TC_ATTR_INTS,
     {.type = TC_ATTR_NONE},
     NULL,
     "index to stop before, negative from the end; the largest i64: to the end"},
    {"strides", TC_ATTR_INTS, {.type = TC_ATTR_INTS}, NULL, "steps; empty: 1"},
    {"axes", TC_ATTR_INTS, {.type = TC_ATTR_INTS}, NULL, "dimensions; empty: the first ones"},
};

const tc_op tc_op_slice = {
    .name = "slice",
    .version = 1,
    .doc = "ranges of the dimensions of x",
    TC_LIST(inputs, slice_inputs),
    TC_LIST(outputs, slice_outputs),
    TC_LIST(attrs, slice_attrs),
    .infer = slice_infer,
    .grad = slice_grad,
};

tc_value tc_slice_at(tc_location at, tc_value x, tc_ints begin, tc_ints end,
                     const tc_slice_options *options)
{
    TC_OPTIONS(tc_slice_options, o, options);
    return TC_NODE_WITH("slice", o.name, at, (x), {"begin", tc_attr_ints(begin.data, begin.count)},
                        {"end", tc_attr_ints(end.data, end.count)},
                        {"strides", tc_attr_ints(o.strides.data, o.strides.count)},
                        {"axes", tc_attr_ints(o.axes.data, o.axes.count)});
}

static tc_status slice_grad_infer(tc_infer *infer)
{
    const tc_shape *like = &infer->inputs[1].shape;
    tc_slice_range ranges[TC_MAX_RANK];
    tc_shape taken;
    TC_TRY(slice_shape(infer, like, &taken, ranges));
    if (!tc_shape_compatible(&taken, &infer->inputs[0].shape)) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], c[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "dy has shape %s, but the slice of %s has shape %s",
                             tc_shape_text(&infer->inputs[0].shape, a), tc_shape_text(like, b),
                             tc_shape_text(&taken, c));
    }
    infer->outputs[0].shape = *like;
    return TC_OK;
}

static void slice_grad_grad(tc_grad *grad)
{
    slice_arguments a = read_arguments(grad->attrs);
    grad->input_gradients[0] =
        tc_slice_at(TC_WITHIN(grad->at), grad->output_gradients[0], a.begin, a.end, &a.options);
}

static const tc_port slice_grad_inputs[] = {
    {"dy", TC_DTYPES_ANY, 'T', 0, "of the shape of the slice"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "what was sliced"},
};
static const tc_port slice_grad_outputs[] = {
    {"dx", TC_DTYPES_ANY, 'T', 0, "dy at the places of the slice, zeros elsewhere"}};

const tc_op tc_op_slice_grad = {
    .name = "slice_grad",
    .version = 1,
    .doc = "gradient of slice: zeros with dy at the places taken",
    TC_LIST(inputs, slice_grad_inputs),
    TC_LIST(outputs, slice_grad_outputs),
    TC_LIST(attrs, slice_attrs),
    .infer = slice_grad_infer,
    .grad = slice_grad_grad,
};

tc_value tc_slice_grad_at(tc_location at, tc_value dy, tc_value like, tc_ints begin, tc_ints end,
                          const tc_slice_options *options)
{
    TC_OPTIONS(tc_slice_options, o, options);
    return TC_NODE_WITH("slice_grad", o.name, at, (dy, like),
                        {"begin", tc_attr_ints(begin.data, begin.count)},
                        {"end", tc_attr_ints(end.data, end.count)},
                        {"strides", tc_attr_ints(o.strides.data, o.strides.count)},
                        {"axes", tc_attr_ints(o.axes.data, o.axes.count)});
}
