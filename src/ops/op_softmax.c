/* Softmax and its logarithm. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/nn.h"
#include "tensorc/ops/reduce.h"

static tc_status softmax_infer(tc_infer *infer)
{
    const tc_shape *shape = &infer->inputs[0].shape;
    int axis;
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), shape->rank, &axis));
    if (infer->n_inputs == 2 && !tc_shape_compatible(shape, &infer->inputs[1].shape)) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "dy %s and y %s differ in shape", tc_shape_text(shape, a),
                             tc_shape_text(&infer->inputs[1].shape, b));
    }
    return tc_infer_same(infer);
}

static tc_attr axis_of(const tc_grad *g)
{
    return tc_attr_int(tc_attrs_int(g->attrs, "axis"));
}

/* Sum along the axis, which stays with size 1. */
static tc_value total(tc_grad *g, tc_value x)
{
    int64_t axis = tc_attrs_int(g->attrs, "axis");
    return tc_reduce_sum_at(TC_WITHIN(g->at), x,
                            &(tc_reduce_options){.struct_size = sizeof(tc_reduce_options),
                                                 .axes = {&axis, 1},
                                                 .keep_dims = true});
}

static void softmax_grad(tc_grad *g)
{
    g->input_gradients[0] =
        TC_NODE_WITH("softmax_grad", NULL, TC_WITHIN(g->at),
                     (g->output_gradients[0], g->outputs[0]), {"axis", axis_of(g)});
}

static void log_softmax_grad(tc_grad *g)
{
    g->input_gradients[0] =
        TC_NODE_WITH("log_softmax_grad", NULL, TC_WITHIN(g->at),
                     (g->output_gradients[0], g->outputs[0]), {"axis", axis_of(g)});
}

/* Of dx = y (dy - s), s = sum(dy y): with u the gradient of dx, y (u - t) and u (dy - s) - dy t, t
 * = sum(u y). */
static void softmax_grad_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value u = g->output_gradients[0], dy = g->inputs[0], y = g->inputs[1];
    if (g->needed[0])
        g->input_gradients[0] =
            TC_NODE_WITH("softmax_grad", NULL, at, (u, y), {"axis", axis_of(g)});
    if (g->needed[1]) {
        tc_value s = total(g, tc_mul_at(at, dy, y)), t = total(g, tc_mul_at(at, u, y));
        g->input_gradients[1] =
            tc_sub_at(at, tc_mul_at(at, u, tc_sub_at(at, dy, s)), tc_mul_at(at, dy, t));
    }
}

/* Of dx = dy - exp(y) sum(dy): u - sum(u exp(y)) and -u exp(y) sum(dy). */
static void log_softmax_grad_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value u = g->output_gradients[0], dy = g->inputs[0];
    tc_value weighted = tc_mul_at(at, u, tc_exp_at(at, g->inputs[1]));
    if (g->needed[0])
        g->input_gradients[0] = tc_sub_at(at, u, total(g, weighted));
    if (g->needed[1])
        g->input_gradients[1] = tc_neg_at(at, tc_mul_at(at, weighted, total(g, dy)));
}

static const tc_port x_port[] = {{"x", TC_DTYPES_FLOAT, 'T', 0, "logits"}};
static const tc_port y_port[] = {{"y", TC_DTYPES_FLOAT, 'T', 0, "in the shape of x"}};
static const tc_port grad_ports[] = {
    {"dy", TC_DTYPES_FLOAT, 'T', 0, "gradient of the result"},
    {"y", TC_DTYPES_FLOAT, 'T', 0, "the result"},
};
static const tc_port dx_port[] = {{"dx", TC_DTYPES_FLOAT, 'T', 0, "gradient of x"}};
static const tc_attr_def softmax_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_INT, .i = -1}, NULL, "axis that is normalized"},
};
static const tc_inplace unary_inplace[] = {{0, 0}};
static const tc_inplace grad_inplace[] = {{0, 0}, {1, 0}};

#define SOFTMAX(op_name, in_ports, out_ports, in_place, gradient, text) \
    const tc_op tc_op_##op_name = {                                     \
        .name = #op_name,                                               \
        .version = 1,                                                   \
        .doc = text,                                                    \
        TC_LIST(inputs, in_ports),                                      \
        TC_LIST(outputs, out_ports),                                    \
        TC_LIST(attrs, softmax_attrs),                                  \
        TC_LIST(inplace, in_place),                                     \
        .infer = softmax_infer,                                         \
        .cost = tc_cost_normalize,                                      \
        .grad = gradient,                                               \
    };
SOFTMAX(softmax, x_port, y_port, unary_inplace, softmax_grad,
        "exponentials of x, normalized to the sum 1 along an axis")
SOFTMAX(log_softmax, x_port, y_port, unary_inplace, log_softmax_grad, "logarithm of the softmax")
SOFTMAX(softmax_grad, grad_ports, dx_port, grad_inplace, softmax_grad_grad, "gradient of softmax")
SOFTMAX(log_softmax_grad, grad_ports, dx_port, grad_inplace, log_softmax_grad_grad,
        "gradient of log_softmax")

tc_value tc_softmax_at(tc_location at, tc_value x, const tc_softmax_options *options)
{
    TC_OPTIONS(tc_softmax_options, o, options);
    return TC_NODE_WITH("softmax", o.name, at, (x), {"axis", tc_attr_int(tc_int_or(o.axis, -1))});
}

tc_value tc_log_softmax_at(tc_location at, tc_value x, const tc_log_softmax_options *options)
{
    TC_OPTIONS(tc_log_softmax_options, o, options);
    return TC_NODE_WITH("log_softmax", o.name, at, (x),
                        {"axis", tc_attr_int(tc_int_or(o.axis, -1))});
}
