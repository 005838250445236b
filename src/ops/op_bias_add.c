/* Addition of a vector along one dimension. */
#include "ops/build.h"
#include "ops/cost.h"

#include "core/shape.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/reduce.h"

static tc_status bias_add_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape, *bias = &infer->inputs[1].shape;
    char text[TC_SHAPE_TEXT_SIZE], bias_text[TC_SHAPE_TEXT_SIZE];
    int axis;
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, &axis));
    if (bias->rank != 1)
        return tc_infer_fail(infer, "bias has shape %s, but must have rank 1",
                             tc_shape_text(bias, bias_text));
    tc_dim *dim = &infer->outputs[0].shape.dims[axis];
    infer->outputs[0].shape = *x;
    if (!tc_dim_is_known(*dim) && (tc_dim_is_known(bias->dims[0]) || !dim->name))
        *dim = bias->dims[0];
    else if (tc_dim_is_known(bias->dims[0]) && dim->size != bias->dims[0].size)
        return tc_infer_fail(infer, "bias of shape %s does not fit dimension %d of x of shape %s",
                             tc_shape_text(bias, bias_text), axis, tc_shape_text(x, text));
    return TC_OK;
}

static void bias_add_grad(tc_grad *grad)
{
    tc_value dy = grad->output_gradients[0];
    int32_t rank = tc_value_shape(grad->inputs[0]).rank;
    int axis = tc_axis_normalize(tc_attrs_int(grad->attrs, "axis"), rank);
    int64_t others[TC_MAX_RANK];
    size_t count = 0;
    for (int d = 0; d < rank; d++)
        if (d != axis)
            others[count++] = d;
    grad->input_gradients[0] = dy;
    if (!grad->needed[1])
        return;
    tc_reduce_options options = {.struct_size = sizeof options, .axes = {others, count}};
    grad->input_gradients[1] = count ? tc_reduce_sum_at(TC_WITHIN(grad->at), dy, &options) : dy;
}

static const tc_port bias_add_inputs[] = {
    {"x", TC_DTYPES_NUMBER, 'T', 0, "operand"},
    {"bias", TC_DTYPES_NUMBER, 'T', 0, "[x.shape[axis]]"},
};
static const tc_port bias_add_outputs[] = {
    {"y", TC_DTYPES_NUMBER, 'T', 0, "result, of the shape of x"}};
static const tc_attr_def bias_add_attrs[] = {
    {.name = "axis",
     .type = TC_ATTR_INT,
     .fallback = {.type = TC_ATTR_INT, .i = 1},
     .doc = "dimension of x that the bias belongs to, negative from the end"}};
static const tc_inplace bias_add_inplace[] = {{0, 0}};

const tc_op tc_op_bias_add = {
    .name = "bias_add",
    .version = 1,
    .doc = "x plus a vector along one dimension",
    TC_LIST(inputs, bias_add_inputs),
    TC_LIST(outputs, bias_add_outputs),
    TC_LIST(attrs, bias_add_attrs),
    TC_LIST(inplace, bias_add_inplace),
    .infer = bias_add_infer,
    .cost = tc_cost_each_input,
    .grad = bias_add_grad,
};

tc_value tc_bias_add_at(tc_location at, tc_value x, tc_value bias,
                        const tc_bias_add_options *options)
{
    TC_OPTIONS(tc_bias_add_options, o, options);
    return TC_NODE_WITH("bias_add", o.name, at, (x, bias),
                        {"axis", tc_attr_int(tc_int_or(o.axis, 1))});
}
