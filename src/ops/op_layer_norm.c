/* Layer normalization. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/gradients.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/nn.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/state.h"

enum { X, SCALE, OFFSET };                                     /* inputs of layer_norm */
enum { GRAD_DY, GRAD_X, GRAD_SCALE, GRAD_MEAN, GRAD_INV_STD }; /* inputs of layer_norm_grad */

static tc_shape part_of(const tc_shape *shape, int begin, int end)
{
    return tc_shape_make((size_t)(end - begin), shape->dims + begin);
}

static tc_status expect_shape(tc_infer *infer, int input, const tc_shape *x,
                              const tc_shape *expected)
{
    const tc_value_info *info = &infer->inputs[input];
    if (info->dtype == TC_DTYPE_INVALID || tc_shape_compatible(&info->shape, expected))
        return TC_OK;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], c[TC_SHAPE_TEXT_SIZE];
    return tc_infer_fail(infer, "%s is %s, but for x %s must be %s",
                         infer->attrs->op->inputs[input].name, tc_shape_text(&info->shape, a),
                         tc_shape_text(x, b), tc_shape_text(expected, c));
}

static tc_status find_axis(tc_infer *infer, const tc_shape *x, int *axis)
{
    double epsilon = tc_attrs_float(infer->attrs, "epsilon");
    if (!(epsilon >= 0))
        return tc_infer_fail(infer, "epsilon is %g, but must be 0 or more", epsilon);
    return tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, axis);
}

static tc_status layer_norm_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[X].shape;
    int axis;
    TC_TRY(find_axis(infer, x, &axis));
    tc_shape normalized = part_of(x, axis, x->rank);
    TC_TRY(expect_shape(infer, SCALE, x, &normalized));
    TC_TRY(expect_shape(infer, OFFSET, x, &normalized));
    infer->outputs[0].shape = *x;
    infer->outputs[1].shape = infer->outputs[2].shape = part_of(x, 0, axis);
    infer->outputs[1].dtype = infer->outputs[2].dtype =
        infer->inputs[X].dtype == TC_F64 ? TC_F64 : TC_F32;
    return TC_OK;
}

static tc_status layer_norm_grad_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[GRAD_X].shape;
    int axis;
    TC_TRY(find_axis(infer, x, &axis));
    tc_shape normalized = part_of(x, axis, x->rank), leading = part_of(x, 0, axis);
    TC_TRY(expect_shape(infer, GRAD_DY, x, x));
    TC_TRY(expect_shape(infer, GRAD_SCALE, x, &normalized));
    TC_TRY(expect_shape(infer, GRAD_MEAN, x, &leading));
    TC_TRY(expect_shape(infer, GRAD_INV_STD, x, &leading));
    infer->outputs[0].shape = *x;
    infer->outputs[1].shape = infer->outputs[2].shape = normalized;
    return TC_OK;
}

/* Mean over the normalized axes of `x`, the forward input. */
static tc_value mean_of(tc_grad *g, tc_value x, bool keep_dims)
{
    int32_t rank = tc_value_shape(x).rank, count = 0;
    int64_t axes[TC_MAX_RANK];
    for (int32_t i = tc_axis_normalize(tc_attrs_int(g->attrs, "axis"), rank); i < rank; i++)
        axes[count++] = i;
    return tc_reduce_mean_at(TC_WITHIN(g->at), x,
                             &(tc_reduce_options){.struct_size = sizeof(tc_reduce_options),
                                                  .axes = {axes, (size_t)count},
                                                  .keep_dims = keep_dims});
}

static tc_value inverse_deviation(tc_grad *g, tc_value centered, bool keep_dims)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value variance = mean_of(g, tc_square_at(at, centered), keep_dims);
    tc_value epsilon = tc_constant_like(at, variance, tc_attrs_float(g->attrs, "epsilon"));
    return tc_rsqrt_at(at, tc_add_at(at, variance, epsilon));
}

/* What flows to x through the saved mean and inverse deviation: they are differentiated as written
 * in primitives. */
static tc_value statistics_grad(tc_grad *g, tc_value dx)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value x = tc_identity_at(at, g->inputs[X]);
    tc_value wide = tc_cast_at(at, x, tc_value_dtype(g->outputs[1]));
    tc_value statistics[] = {
        mean_of(g, wide, false),
        inverse_deviation(g, tc_sub_at(at, wide, mean_of(g, wide, true)), false)};
    tc_value part;
    tc_gradients_options options = {.struct_size = sizeof options,
                                    .output_gradients = g->output_gradients + 1};
    if (tc_gradients_at(at, statistics, 2, &x, 1, &part, &options) != TC_OK)
        return TC_NO_VALUE;
    return dx.node >= 0 ? tc_add_at(at, dx, part) : part;
}

static void layer_norm_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value dx = TC_NO_VALUE, dy = g->output_gradients[0];
    if (dy.node >= 0) {
        dx = TC_NODE_WITH("layer_norm_grad", NULL, at,
                          (dy, g->inputs[X], g->inputs[SCALE], g->outputs[1], g->outputs[2]),
                          {"axis", *tc_attrs_get(g->attrs, "axis")},
                          {"epsilon", *tc_attrs_get(g->attrs, "epsilon")});
        for (int i = SCALE; i <= OFFSET; i++)
            if (g->needed[i])
                g->input_gradients[i] = tc_output(dx, i);
    }
    if (!g->needed[X])
        return;
    if (g->output_gradients[1].node >= 0 || g->output_gradients[2].node >= 0)
        dx = statistics_grad(g, dx);
    g->input_gradients[X] = dx;
}

/*
 * Gradients of the gradient, of which the formula is written in primitives of copies of dy, x and
 * scale and then differentiated. The saved statistics are functions of x and counted with it.
 */
static void layer_norm_grad_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    bool scaled = g->inputs[GRAD_SCALE].node >= 0;
    tc_value in[3];
    size_t count = scaled ? 3 : 2;
    for (size_t i = 0; i < count; i++)
        in[i] = tc_identity_at(at, g->inputs[i]);
    tc_value centered = tc_sub_at(at, in[GRAD_X], mean_of(g, in[GRAD_X], true));
    tc_value inverse = inverse_deviation(g, centered, true);
    tc_value normal = tc_mul_at(at, centered, inverse);
    tc_value slope = scaled ? tc_mul_at(at, in[GRAD_DY], in[GRAD_SCALE]) : in[GRAD_DY];
    tc_value along = tc_mul_at(at, normal, mean_of(g, tc_mul_at(at, slope, normal), true));
    tc_value rest = tc_sub_at(at, tc_sub_at(at, slope, mean_of(g, slope, true)), along);
    tc_value out[] = {
        tc_mul_at(at, rest, inverse),
        tc_sum_to_like_at(at, tc_mul_at(at, in[GRAD_DY], normal), g->outputs[1]),
        tc_sum_to_like_at(at, in[GRAD_DY], g->outputs[2]),
    };
    tc_value gradients[3];
    tc_gradients_options options = {.struct_size = sizeof options,
                                    .output_gradients = g->output_gradients,
                                    .zero_unconnected = true};
    if (tc_gradients_at(at, out, 3, in, count, gradients, &options) != TC_OK)
        return;
    for (size_t i = 0; i < count; i++)
        if (g->needed[i])
            g->input_gradients[i] = gradients[i];
}

#define STATISTIC (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))

static const tc_port inputs[] = {
    {"x", TC_DTYPES_FLOAT, 'T', 0, "what is normalized"},
    {"scale", TC_DTYPES_FLOAT, 'T', TC_PORT_OPTIONAL, "factors, in the shape of the axes"},
    {"offset", TC_DTYPES_FLOAT, 'T', TC_PORT_OPTIONAL, "added, in the shape of the axes"},
};
static const tc_port outputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0, "in the shape of x"},
    {"mean", STATISTIC, 0, 0, "of the normalized axes"},
    {"inv_std", STATISTIC, 0, 0, "1 / sqrt(variance + epsilon)"},
};
static const tc_port grad_inputs[] = {
    {"dy", TC_DTYPES_FLOAT, 'T', 0, "gradient of y"},
    {"x", TC_DTYPES_FLOAT, 'T', 0, "what is normalized"},
    {"scale", TC_DTYPES_FLOAT, 'T', TC_PORT_OPTIONAL, "factors"},
    {"mean", STATISTIC, 0, 0, "as saved"},
    {"inv_std", STATISTIC, 0, 0, "as saved"},
};
static const tc_port grad_outputs[] = {
    {"dx", TC_DTYPES_FLOAT, 'T', 0, "gradient of x"},
    {"dscale", TC_DTYPES_FLOAT, 'T', 0, "gradient of scale"},
    {"doffset", TC_DTYPES_FLOAT, 'T', 0, "gradient of offset"},
};
static const tc_attr_def attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_INT, .i = -1}, NULL, "first of the normalized axes"},
    {"epsilon", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 1e-5}, NULL, "added to the variance"},
};

const tc_op tc_op_layer_norm = {
    .name = "layer_norm",
    .version = 1,
    .doc = "x normalized over its trailing axes",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, attrs),
    .infer = layer_norm_infer,
    .cost = tc_cost_normalize,
    .grad = layer_norm_grad,
};
const tc_op tc_op_layer_norm_grad = {
    .name = "layer_norm_grad",
    .version = 1,
    .doc = "gradient of layer_norm",
    TC_LIST(inputs, grad_inputs),
    TC_LIST(outputs, grad_outputs),
    TC_LIST(attrs, attrs),
    .infer = layer_norm_grad_infer,
    .cost = tc_cost_normalize,
    .grad = layer_norm_grad_grad,
};

tc_value tc_layer_norm_at(tc_location at, tc_value x, tc_value scale, tc_value offset,
                          const tc_layer_norm_options *options)
{
    TC_OPTIONS(tc_layer_norm_options, o, options);
    return TC_NODE_WITH("layer_norm", o.name, at, (x, scale, offset),
                        {"axis", tc_attr_int(tc_int_or(o.axis, -1))},
                        {"epsilon", tc_attr_float(tc_float_or(o.epsilon, 1e-5))});
}
