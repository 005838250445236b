/* Batch normalization. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/gradients.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/nn.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/shape.h"
#include "tensorc/ops/state.h"

enum { X, SCALE, OFFSET, RUNNING_MEAN, RUNNING_VARIANCE };     /* inputs of batch_norm */
enum { GRAD_DY, GRAD_X, GRAD_SCALE, GRAD_MEAN, GRAD_INV_STD }; /* inputs of batch_norm_grad */

/* x has channels; what belongs to channels has one element for each, and is of the dtype of x or,
 * for 16-bit floats, f32. */
static tc_status check(tc_infer *infer, int x_input, int first, int last)
{
    const tc_value_info *x = &infer->inputs[x_input];
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (x->shape.rank < 2)
        return tc_infer_fail(infer, "x %s has no axis 1 of channels", tc_shape_text(&x->shape, a));
    double epsilon = tc_attrs_float(infer->attrs, "epsilon");
    if (!(epsilon >= 0))
        return tc_infer_fail(infer, "epsilon is %g, but must be 0 or more", epsilon);
    tc_shape channels = tc_shape_make(1, &x->shape.dims[1]);
    bool small = x->dtype == TC_F16 || x->dtype == TC_BF16;
    for (int i = first; i <= last; i++) {
        const tc_value_info *info = &infer->inputs[i];
        const char *name = infer->attrs->op->inputs[i].name;
        if (info->dtype == TC_DTYPE_INVALID)
            continue;
        if (!tc_shape_compatible(&info->shape, &channels))
            return tc_infer_fail(infer, "%s is %s, but x %s has its channels on axis 1", name,
                                 tc_shape_text(&info->shape, b), tc_shape_text(&x->shape, a));
        if (info->dtype != x->dtype && !(small && info->dtype == TC_F32))
            return tc_infer_fail(infer, "%s is %s, but must be %s%s; convert it with tc_cast", name,
                                 tc_dtype_name(info->dtype), tc_dtype_name(x->dtype),
                                 small ? " or f32" : "");
    }
    return TC_OK;
}

static tc_status batch_norm_infer(tc_infer *infer)
{
    TC_TRY(check(infer, X, SCALE, RUNNING_VARIANCE));
    double momentum = tc_attrs_float(infer->attrs, "momentum");
    if (!(momentum >= 0 && momentum <= 1))
        return tc_infer_fail(infer, "momentum is %g, but must be in 0..1", momentum);
    const tc_shape *x = &infer->inputs[X].shape;
    infer->outputs[0].shape = *x;
    for (int i = 1; i < 5; i++)
        infer->outputs[i].shape = tc_shape_make(1, &x->dims[1]);
    return TC_OK;
}

static tc_status batch_norm_grad_infer(tc_infer *infer)
{
    TC_TRY(check(infer, GRAD_X, GRAD_SCALE, GRAD_INV_STD));
    const tc_shape *dy = &infer->inputs[GRAD_DY].shape, *x = &infer->inputs[GRAD_X].shape;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (!tc_shape_compatible(dy, x))
        return tc_infer_fail(infer, "dy %s and x %s differ in shape", tc_shape_text(dy, a),
                             tc_shape_text(x, b));
    infer->outputs[0].shape = *x;
    infer->outputs[1].shape = infer->outputs[2].shape = tc_shape_make(1, &x->dims[1]);
    return TC_OK;
}

static void batch_norm_grad(tc_grad *g)
{
    tc_value dy = g->output_gradients[0];
    if (dy.node < 0 || !(g->needed[X] || g->needed[SCALE] || g->needed[OFFSET]))
        return;
    tc_value dx = TC_NODE_WITH("batch_norm_grad", NULL, TC_WITHIN(g->at),
                               (dy, g->inputs[X], g->inputs[SCALE], g->outputs[3], g->outputs[4]),
                               {"mode", *tc_attrs_get(g->attrs, "mode")},
                               {"epsilon", *tc_attrs_get(g->attrs, "epsilon")});
    for (int i = X; i <= OFFSET; i++)
        if (g->needed[i])
            g->input_gradients[i] = tc_output(dx, i);
}

/* Axes of x without the channels, for reductions of x and for putting [channels] into its rank. */
static tc_ints other_axes(tc_value x, int64_t axes[TC_MAX_RANK])
{
    int32_t rank = tc_value_shape(x).rank;
    size_t count = 0;
    for (int32_t i = 0; i < rank; i++)
        if (i != 1)
            axes[count++] = i;
    return (tc_ints){axes, count};
}

static tc_value reduce(tc_location at, tc_value x, bool mean)
{
    int64_t axes[TC_MAX_RANK];
    tc_reduce_options options = {
        .struct_size = sizeof options, .axes = other_axes(x, axes), .keep_dims = mean};
    return mean ? tc_reduce_mean_at(at, x, &options) : tc_reduce_sum_at(at, x, &options);
}

/*
 * Gradients of the gradient: its formula is written in primitives of copies of dy, x and scale, and
 * differentiated. Whether the statistics are those of the batch, functions of x, is decided when it
 * runs, as for the node itself.
 */
static void batch_norm_grad_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    bool scaled = g->inputs[GRAD_SCALE].node >= 0;
    tc_dtype dtype = tc_value_dtype(g->outputs[1]);
    int64_t axes_data[TC_MAX_RANK];
    tc_ints axes = other_axes(g->inputs[GRAD_X], axes_data);
    tc_value in[3], wide[3];
    size_t count = scaled ? 3 : 2;
    for (size_t i = 0; i < count; i++) {
        in[i] = tc_identity_at(at, g->inputs[i]);
        wide[i] = tc_cast_at(at, in[i], dtype);
    }
    tc_value training = tc_node_build(
        g->graph, &(tc_node_spec){.op = "is_training",
                                  .at = at,
                                  TC_SPEC_ATTRS({"mode", *tc_attrs_get(g->attrs, "mode")})});
    tc_value mean = tc_where_at(at, training, reduce(at, wide[GRAD_X], true),
                                tc_unsqueeze_at(at, g->inputs[GRAD_MEAN], axes));
    tc_value centered = tc_sub_at(at, wide[GRAD_X], mean);
    tc_value variance = reduce(at, tc_square_at(at, centered), true);
    tc_value epsilon = tc_constant_like(at, variance, tc_attrs_float(g->attrs, "epsilon"));
    tc_value inverse = tc_where_at(at, training, tc_rsqrt_at(at, tc_add_at(at, variance, epsilon)),
                                   tc_unsqueeze_at(at, g->inputs[GRAD_INV_STD], axes));
    tc_value normal = tc_mul_at(at, centered, inverse);
    tc_value slope = wide[GRAD_DY];
    if (scaled)
        slope = tc_mul_at(at, slope, tc_unsqueeze_at(at, wide[GRAD_SCALE], axes));
    tc_value along = tc_mul_at(at, normal, reduce(at, tc_mul_at(at, slope, normal), true));
    tc_value rest = tc_sub_at(at, tc_sub_at(at, slope, reduce(at, slope, true)), along);
    rest = tc_where_at(at, training, rest, slope);
    tc_value out[] = {
        tc_cast_at(at, tc_mul_at(at, rest, inverse), tc_value_dtype(g->inputs[GRAD_X])),
        reduce(at, tc_mul_at(at, wide[GRAD_DY], normal), false),
        reduce(at, wide[GRAD_DY], false),
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

static const tc_port inputs[] = {
    {"x", TC_DTYPES_FLOAT, 'T', 0, "[n, channels, ...]"},
    {"scale", TC_DTYPES_FLOAT, 'S', TC_PORT_OPTIONAL, "factors [channels]"},
    {"offset", TC_DTYPES_FLOAT, 'S', TC_PORT_OPTIONAL, "added [channels]"},
    {"running_mean", TC_DTYPES_FLOAT, 'S', 0, "of earlier batches [channels]"},
    {"running_variance", TC_DTYPES_FLOAT, 'S', 0, "of earlier batches [channels]"},
};
static const tc_port outputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0, "in the shape of x"},
    {"new_running_mean", TC_DTYPES_FLOAT, 'S', 0, "[channels]"},
    {"new_running_variance", TC_DTYPES_FLOAT, 'S', 0, "[channels]"},
    {"mean", TC_DTYPES_FLOAT, 'S', 0, "that was used [channels]"},
    {"inv_std", TC_DTYPES_FLOAT, 'S', 0, "1 / sqrt(variance + epsilon) that was used [channels]"},
};
static const tc_port grad_inputs[] = {
    {"dy", TC_DTYPES_FLOAT, 'T', 0, "gradient of y"},
    {"x", TC_DTYPES_FLOAT, 'T', 0, "[n, channels, ...]"},
    {"scale", TC_DTYPES_FLOAT, 'S', TC_PORT_OPTIONAL, "factors [channels]"},
    {"mean", TC_DTYPES_FLOAT, 'S', 0, "that was used [channels]"},
    {"inv_std", TC_DTYPES_FLOAT, 'S', 0, "that was used [channels]"},
};
static const tc_port grad_outputs[] = {
    {"dx", TC_DTYPES_FLOAT, 'T', 0, "gradient of x"},
    {"dscale", TC_DTYPES_FLOAT, 'S', 0, "gradient of scale [channels]"},
    {"doffset", TC_DTYPES_FLOAT, 'S', 0, "gradient of offset [channels]"},
};

#define MODE                                                                                      \
    {                                                                                             \
        "mode", TC_ATTR_STRING, {.type = TC_ATTR_STRING, .s = "auto"}, "auto|training|inference", \
            "auto: as the run updates or not"                                                     \
    }
#define EPSILON                                                             \
    {                                                                       \
        "epsilon", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 1e-5}, NULL, \
            "added to the variance"                                         \
    }
static const tc_attr_def mode_attrs[] = {MODE};
static const tc_attr_def grad_attrs[] = {MODE, EPSILON};
static const tc_attr_def attrs[] = {
    MODE,
    EPSILON,
    {"momentum", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 0.9}, NULL, "of running statistics"},
};

const tc_op tc_op_batch_norm = {
    .name = "batch_norm",
    .version = 1,
    .doc = "x normalized per channel over the batch, or by running statistics",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, attrs),
    .infer = batch_norm_infer,
    .cost = tc_cost_normalize,
    .grad = batch_norm_grad,
};
const tc_op tc_op_batch_norm_grad = {
    .name = "batch_norm_grad",
    .version = 1,
    .doc = "gradient of batch_norm",
    TC_LIST(inputs, grad_inputs),
    TC_LIST(outputs, grad_outputs),
    TC_LIST(attrs, grad_attrs),
    .infer = batch_norm_grad_infer,
    .cost = tc_cost_normalize,
    .grad = batch_norm_grad_grad,
};

/*
 * is_training: the mode as a value.
 */
static tc_status is_training_infer(tc_infer *infer)
{
    infer->outputs[0].shape = TC_SCALAR;
    return TC_OK;
}

static const tc_port is_training_outputs[] = {
    {"training", TC_DTYPES_BOOL, 0, 0, "scalar, true in training"}};

const tc_op tc_op_is_training = {
    .name = "is_training",
    .version = 1,
    .doc = "whether the run is a training run",
    TC_LIST(outputs, is_training_outputs),
    TC_LIST(attrs, mode_attrs),
    .infer = is_training_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_batch_norm_at(tc_location at, tc_value x, tc_value scale, tc_value offset,
                          tc_value running_mean, tc_value running_variance,
                          const tc_batch_norm_options *options)
{
    static const char *const modes[] = {"auto", "training", "inference"};
    TC_OPTIONS(tc_batch_norm_options, o, options);
    if (o.mode < TC_MODE_AUTO || o.mode > TC_MODE_INFERENCE)
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "batch_norm: there is no mode %d",
                             (int)o.mode);
    return TC_NODE_WITH("batch_norm", o.name, at,
                        (x, scale, offset, running_mean, running_variance),
                        {"mode", tc_attr_string(modes[o.mode])},
                        {"epsilon", tc_attr_float(tc_float_or(o.epsilon, 1e-5))},
                        {"momentum", tc_attr_float(tc_float_or(o.momentum, 0.9))});
}
