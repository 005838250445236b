/* Position of the maximum. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/reduce.h"

static tc_status argmax_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int axis;
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, &axis));
    bool keep_dims = tc_attrs_bool(infer->attrs, "keep_dims");
    tc_shape shape = tc_shape_of(0, NULL);
    for (int32_t i = 0; i < x->rank; i++) {
        if (i != axis)
            shape.dims[shape.rank++] = x->dims[i];
        else if (keep_dims)
            shape.dims[shape.rank++].size = 1;
    }
    char text[TC_SHAPE_TEXT_SIZE];
    if (x->dims[axis].size == 0 && tc_shape_size(&shape) != 0)
        return tc_infer_fail(infer, "axis %d of x %s is empty, and nothing has no maximum", axis,
                             tc_shape_text(x, text));
    infer->outputs[0].shape = shape;
    return TC_OK;
}

static const tc_port argmax_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "what is searched"}};
static const tc_port argmax_outputs[] = {
    {"index", TC_DTYPE_BIT(TC_I64), 0, 0, "position along the axis"}};
static const tc_attr_def argmax_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_INT, .i = -1}, NULL, "axis that is searched"},
    {"keep_dims", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "keep the axis with size 1"},
};

const tc_op tc_op_argmax = {
    .name = "argmax",
    .version = 1,
    .doc = "index of the first largest element along an axis; the first NaN wins",
    TC_LIST(inputs, argmax_inputs),
    TC_LIST(outputs, argmax_outputs),
    TC_LIST(attrs, argmax_attrs),
    .infer = argmax_infer,
    .cost = tc_cost_each_input,
    .grad = TC_GRAD_NONE,
};

tc_value tc_argmax_at(tc_location at, tc_value x, const tc_argmax_options *options)
{
    TC_OPTIONS(tc_argmax_options, o, options);
    return TC_NODE_WITH("argmax", o.name, at, (x), {"axis", tc_attr_int(tc_int_or(o.axis, -1))},
                        {"keep_dims", tc_attr_bool(o.keep_dims)});
}
