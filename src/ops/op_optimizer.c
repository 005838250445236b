/* One step of an optimizer on one parameter, as one in-place update of it and its slots. */
#include "ops/build.h"
#include "ops/update.h"
#include "tensorc/ops/state.h"

#include <math.h>

#define PARAMETER_PORT(port_name)                                                               \
    {                                                                                           \
        .name = (port_name), .dtypes = TC_DTYPES_FLOAT, .type = 'T', .flags = TC_PORT_RESOURCE, \
        .doc = "variable that is trained"                                                       \
    }
#define SLOT_DTYPES (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))
#define SLOT_PORT(port_name)                                                                \
    {                                                                                       \
        .name = (port_name), .dtypes = SLOT_DTYPES, .type = 'S', .flags = TC_PORT_RESOURCE, \
        .doc = "slot of the parameter's shape, zero at the start"                           \
    }
#define GRADIENT_PORT                                               \
    {                                                               \
        .name = "gradient", .dtypes = TC_DTYPES_FLOAT, .type = 'T', \
        .doc = "of the loss with respect to the parameter"          \
    }
#define RATE_PORT                                                       \
    {                                                                   \
        .name = "learning_rate", .dtypes = SLOT_DTYPES, .doc = "scalar" \
    }
#define WHEN_PORT                                                            \
    {                                                                        \
        .name = "when", .dtypes = TC_DTYPES_BOOL, .flags = TC_PORT_OPTIONAL, \
        .doc = "scalar: nothing changes where it is false"                   \
    }
#define NEW_PARAMETER_PORT                                              \
    {                                                                   \
        .name = "new_parameter", .dtypes = TC_DTYPES_FLOAT, .type = 'T' \
    }
#define NEW_SLOT_PORT(port_name)                                \
    {                                                           \
        .name = (port_name), .dtypes = SLOT_DTYPES, .type = 'S' \
    }
#define FLOAT_ATTR(attr_name, value, text)                               \
    {                                                                    \
        .name = (attr_name), .type = TC_ATTR_FLOAT,                      \
        .fallback = {.type = TC_ATTR_FLOAT, .f = (value)}, .doc = (text) \
    }
#define DECAY_ATTR(text) FLOAT_ATTR("weight_decay", 0, text)

/* The outputs are the parameter and its slots, which are the first inputs; a gradient follows. */
static tc_status update_infer(tc_infer *infer)
{
    const tc_port *ports = infer->attrs->op->inputs;
    int32_t gradient = infer->n_outputs;
    for (int32_t i = 0; i <= gradient; i++) {
        TC_TRY(tc_infer_update(infer, i));
        if (i < gradient)
            infer->outputs[i].shape = infer->inputs[i].shape;
    }
    tc_dtype slot = infer->inputs[0].dtype == TC_F64 ? TC_F64 : TC_F32;
    for (int32_t i = 1; i < gradient; i++)
        if (infer->inputs[i].dtype != slot)
            return tc_infer_fail(infer, "%s is %s, but a slot of a parameter of dtype %s is %s",
                                 ports[i].name, tc_dtype_name(infer->inputs[i].dtype),
                                 tc_dtype_name(infer->inputs[0].dtype), tc_dtype_name(slot));
    for (int32_t i = gradient + 1; i < infer->n_inputs; i++) {
        char text[TC_SHAPE_TEXT_SIZE];
        if (infer->inputs[i].shape.rank != 0)
            return tc_infer_fail(infer, "%s must be a scalar, but has shape %s", ports[i].name,
                                 tc_shape_text(&infer->inputs[i].shape, text));
    }
    return TC_OK;
}

/* Attribute `what` in [0, limit). */
static tc_status check_attr(tc_infer *infer, const char *what, double limit)
{
    double value = tc_attrs_float(infer->attrs, what);
    if (value >= 0 && value < limit)
        return TC_OK;
    if (limit == INFINITY)
        return tc_infer_fail(infer, "%s is %g, but must be finite and at least 0", what, value);
    return tc_infer_fail(infer, "%s is %g, but must be at least 0 and below %g", what, value,
                         limit);
}

/* A value of the options, all zeros where it is not given. */
static tc_value option(tc_value value)
{
    return value.graph ? value : TC_NO_VALUE;
}

static tc_status sgd_infer(tc_infer *infer)
{
    TC_TRY(update_infer(infer));
    return check_attr(infer, "weight_decay", INFINITY);
}

static const tc_port sgd_inputs[] = {PARAMETER_PORT("parameter"), GRADIENT_PORT, RATE_PORT,
                                     WHEN_PORT};
static const tc_port sgd_outputs[] = {NEW_PARAMETER_PORT};
static const tc_attr_def sgd_attrs[] = {
    DECAY_ATTR("factor of the parameter that is added to the gradient"),
};
static const tc_inplace update_inplace[] = {{0, 0}, {1, 1}, {2, 2}};

const tc_op tc_op_apply_sgd = {
    .name = "apply_sgd",
    .version = 1,
    .doc = "Step of stochastic gradient descent.",
    TC_LIST(inputs, sgd_inputs),
    TC_LIST(outputs, sgd_outputs),
    TC_LIST(attrs, sgd_attrs),
    .inplace = update_inplace,
    .n_inplace = 1,
    .effects = TC_EFFECT_WRITE,
    .infer = sgd_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_apply_sgd_at(tc_location at, tc_value parameter, tc_value gradient,
                         tc_value learning_rate, const tc_apply_sgd_options *options)
{
    TC_OPTIONS(tc_apply_sgd_options, o, options);
    return TC_NODE_WITH("apply_sgd", o.name, at,
                        (parameter, gradient, learning_rate, option(o.when)),
                        {"weight_decay", tc_attr_float(o.weight_decay)});
}

static tc_status momentum_infer(tc_infer *infer)
{
    TC_TRY(sgd_infer(infer));
    return check_attr(infer, "momentum", 1);
}

static const tc_port momentum_inputs[] = {PARAMETER_PORT("parameter"), SLOT_PORT("velocity"),
                                          GRADIENT_PORT, RATE_PORT, WHEN_PORT};
static const tc_port momentum_outputs[] = {NEW_PARAMETER_PORT, NEW_SLOT_PORT("new_velocity")};
static const tc_attr_def momentum_attrs[] = {
    FLOAT_ATTR("momentum", 0.9, "factor of the velocity in each step"),
    DECAY_ATTR("factor of the parameter that is added to the gradient"),
    {.name = "nesterov",
     .type = TC_ATTR_BOOL,
     .fallback = {.type = TC_ATTR_BOOL, .b = false},
     .doc = "whether the step looks ahead along the velocity"},
};

const tc_op tc_op_apply_momentum = {
    .name = "apply_momentum",
    .version = 1,
    .doc = "Step of stochastic gradient descent with momentum.",
    TC_LIST(inputs, momentum_inputs),
    TC_LIST(outputs, momentum_outputs),
    TC_LIST(attrs, momentum_attrs),
    .inplace = update_inplace,
    .n_inplace = 2,
    .effects = TC_EFFECT_WRITE,
    .infer = momentum_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_apply_momentum_at(tc_location at, tc_value parameter, tc_value velocity,
                              tc_value gradient, tc_value learning_rate,
                              const tc_apply_momentum_options *options)
{
    TC_OPTIONS(tc_apply_momentum_options, o, options);
    return TC_NODE_WITH("apply_momentum", o.name, at,
                        (parameter, velocity, gradient, learning_rate, option(o.when)),
                        {"momentum", tc_attr_float(tc_float_or(o.momentum, 0.9))},
                        {"weight_decay", tc_attr_float(o.weight_decay)},
                        {"nesterov", tc_attr_bool(o.nesterov)});
}

static tc_status adam_infer(tc_infer *infer)
{
    TC_TRY(sgd_infer(infer));
    TC_TRY(check_attr(infer, "beta1", 1));
    TC_TRY(check_attr(infer, "beta2", 1));
    return check_attr(infer, "epsilon", INFINITY);
}

static const tc_port adam_inputs[] = {
    PARAMETER_PORT("parameter"),
    SLOT_PORT("mean"),
    SLOT_PORT("square"),
    GRADIENT_PORT,
    RATE_PORT,
    {.name = "step",
     .dtypes = TC_DTYPE_BIT(TC_I64),
     .doc = "scalar: which update this is, counted from 1"},
    WHEN_PORT,
};
static const tc_port adam_outputs[] = {NEW_PARAMETER_PORT, NEW_SLOT_PORT("new_mean"),
                                       NEW_SLOT_PORT("new_square")};
static const tc_attr_def adam_attrs[] = {
    FLOAT_ATTR("beta1", 0.9, "decay of the mean of the gradients"),
    FLOAT_ATTR("beta2", 0.999, "decay of the mean of their squares"),
    FLOAT_ATTR("epsilon", 1e-8, "added to the root of the square"),
    DECAY_ATTR("part of the parameter, times the learning rate, that is taken off"),
};

const tc_op tc_op_apply_adam = {
    .name = "apply_adam",
    .version = 1,
    .doc = "Step of Adam with decoupled weight decay.",
    TC_LIST(inputs, adam_inputs),
    TC_LIST(outputs, adam_outputs),
    TC_LIST(attrs, adam_attrs),
    TC_LIST(inplace, update_inplace),
    .effects = TC_EFFECT_WRITE,
    .infer = adam_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_apply_adam_at(tc_location at, const tc_apply_adam_inputs *inputs,
                          const tc_apply_adam_options *options)
{
    TC_OPTIONS(tc_apply_adam_options, o, options);
    return TC_NODE_WITH("apply_adam", o.name, at,
                        (inputs->parameter, inputs->mean, inputs->square, inputs->gradient,
                         inputs->learning_rate, inputs->step, option(o.when)),
                        {"beta1", tc_attr_float(tc_float_or(o.beta1, 0.9))},
                        {"beta2", tc_attr_float(tc_float_or(o.beta2, 0.999))},
                        {"epsilon", tc_attr_float(tc_float_or(o.epsilon, 1e-8))},
                        {"weight_decay", tc_attr_float(o.weight_decay)});
}

/*
 * The same on many parameters: what the compiler makes of steps whose attributes, learning rate and
 * number agree. Inputs are all parameters, all of each slot, all gradients, then the scalars, of
 * which "when" is the last.
 */
#define OPERAND_DTYPES (TC_DTYPES_FLOAT | TC_DTYPE_BIT(TC_I64) | TC_DTYPES_BOOL)
static const tc_port all_inputs[] = {
    PARAMETER_PORT("parameter"),
    {.name = "operands",
     .dtypes = OPERAND_DTYPES,
     .flags = TC_PORT_VARIADIC | TC_PORT_RESOURCE,
     .doc = "other parameters, slots of all, gradients of all, scalars"}};
static const tc_port all_outputs[] = {NEW_PARAMETER_PORT,
                                      {.name = "others",
                                       .dtypes = TC_DTYPES_FLOAT,
                                       .flags = TC_PORT_VARIADIC,
                                       .doc = "new parameters, then new slots"}};

/* Operands of member `member` are every `members`-th one. */
static tc_status member_infer(tc_infer *infer, int32_t members, int32_t member, int32_t slots)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    const tc_value_info *parameter = &infer->inputs[member];
    tc_dtype dtype = infer->inputs[0].dtype, slot = dtype == TC_F64 ? TC_F64 : TC_F32;
    for (int32_t k = 0; k <= slots + 1; k++) {
        const tc_value_info *operand = &infer->inputs[k * members + member];
        tc_dtype expected = k == 0 || k > slots ? dtype : slot;
        if (operand->dtype != expected)
            return tc_infer_fail(infer, "operand %d of parameter %d is %s instead of %s", (int)k,
                                 (int)member, tc_dtype_name(operand->dtype),
                                 tc_dtype_name(expected));
        if (!tc_shape_compatible(&parameter->shape, &operand->shape))
            return tc_infer_fail(infer, "operand %d of parameter %d has shape %s instead of %s",
                                 (int)k, (int)member, tc_shape_text(&operand->shape, a),
                                 tc_shape_text(&parameter->shape, b));
        if (k > slots)
            continue;
        infer->outputs[k * members + member].dtype = operand->dtype;
        infer->outputs[k * members + member].shape = operand->shape;
    }
    return TC_OK;
}

/* `scalars` besides "when", which is the last input where it is given. */
static tc_status all_infer(tc_infer *infer, int32_t slots, int32_t scalars)
{
    int32_t n_inputs = infer->n_inputs - (infer->inputs[infer->n_inputs - 1].dtype == TC_BOOL);
    int32_t operands = n_inputs - scalars, members = operands / (2 + slots);
    if (members < 1 || operands % (2 + slots))
        return tc_infer_fail(infer, "%d inputs are no whole number of parameters",
                             (int)infer->n_inputs);
    TC_TRY(tc_infer_outputs(infer, members * (1 + slots)));
    for (int32_t i = 0; i < members; i++)
        TC_TRY(member_infer(infer, members, i, slots));
    for (int32_t i = operands; i < infer->n_inputs; i++) {
        const tc_value_info *scalar = &infer->inputs[i];
        const char *name = i == operands ? "learning_rate" : i < n_inputs ? "step" : "when";
        uint32_t dtypes = i == operands  ? SLOT_DTYPES
                          : i < n_inputs ? TC_DTYPE_BIT(TC_I64)
                                         : TC_DTYPES_BOOL;
        if (scalar->shape.rank != 0 || !(dtypes & TC_DTYPE_BIT(scalar->dtype)))
            return tc_infer_fail(infer, "%s is no scalar of the right dtype, but %s of rank %d",
                                 name, tc_dtype_name(scalar->dtype), scalar->shape.rank);
    }
    return TC_OK;
}

static tc_status sgd_all_infer(tc_infer *infer)
{
    return all_infer(infer, 0, 1);
}

static tc_status momentum_all_infer(tc_infer *infer)
{
    return all_infer(infer, 1, 1);
}

static tc_status adam_all_infer(tc_infer *infer)
{
    return all_infer(infer, 2, 2);
}

/* `each` operations on every element of the parameters, which are as many as the gradients. */
static void all_cost(const tc_infer *node, int32_t slots, double each, tc_node_cost *cost)
{
    for (int32_t i = 0; i < node->n_outputs / (1 + slots); i++)
        cost->flops += each * (double)tc_shape_size(&node->outputs[i].shape);
}

static void sgd_all_cost(const tc_infer *node, tc_node_cost *cost)
{
    all_cost(node, 0, 4, cost);
}

static void momentum_all_cost(const tc_infer *node, tc_node_cost *cost)
{
    all_cost(node, 1, 8, cost);
}

static void adam_all_cost(const tc_infer *node, tc_node_cost *cost)
{
    all_cost(node, 2, 14, cost);
}

#define DEFINE_ALL(kind)                                       \
    const tc_op tc_op_apply_##kind##_all = {                   \
        .name = "apply_" #kind "_all",                         \
        .version = 1,                                          \
        .doc = "internal: apply_" #kind " on many parameters", \
        TC_LIST(inputs, all_inputs),                           \
        TC_LIST(outputs, all_outputs),                         \
        TC_LIST(attrs, kind##_attrs),                          \
        .effects = TC_EFFECT_WRITE,                            \
        .flags = TC_OP_INTERNAL,                               \
        .infer = kind##_all_infer,                             \
        .grad = TC_GRAD_NONE,                                  \
        .cost = kind##_all_cost,                               \
    }
DEFINE_ALL(sgd);
DEFINE_ALL(momentum);
DEFINE_ALL(adam);
