/* Operators that compute nothing. */
#include "ops/build.h"
#include "tensorc/ops/state.h"

static const tc_port same_inputs[] = {{.name = "x", .dtypes = TC_DTYPES_ANY, .type = 'T'}};
static const tc_port same_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_ANY, .type = 'T'}};
static const tc_inplace same_inplace[] = {{0, 0}};

/* What is known of x is known of y. */
static tc_status same_infer(tc_infer *infer)
{
    infer->outputs[0] = infer->inputs[0];
    return TC_OK;
}

static void identity_grad(tc_grad *grad)
{
    grad->input_gradients[0] = grad->output_gradients[0];
}

const tc_op tc_op_identity = {
    .name = "identity",
    .version = 1,
    .doc = "The input itself.",
    TC_LIST(inputs, same_inputs),
    TC_LIST(outputs, same_outputs),
    TC_LIST(inplace, same_inplace),
    .flags = TC_OP_VIEW,
    .infer = same_infer,
    .grad = identity_grad,
};

tc_value tc_identity_at(tc_location at, tc_value x)
{
    return TC_NODE("identity", NULL, at, (x));
}

const tc_op tc_op_stop_gradient = {
    .name = "stop_gradient",
    .version = 1,
    .doc = "The input itself; no gradient flows through.",
    TC_LIST(inputs, same_inputs),
    TC_LIST(outputs, same_outputs),
    TC_LIST(inplace, same_inplace),
    .flags = TC_OP_VIEW,
    .infer = same_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_stop_gradient_at(tc_location at, tc_value x)
{
    return TC_NODE("stop_gradient", NULL, at, (x));
}

static tc_status no_op_infer(tc_infer *infer)
{
    (void)infer;
    return TC_OK;
}

const tc_op tc_op_no_op = {
    .name = "no_op",
    .version = 1,
    .doc = "Nothing: something to depend on and to be a target.",
    .infer = no_op_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_no_op_at(tc_location at, tc_graph *graph)
{
    return tc_node_build(graph, &(const tc_node_spec){.op = "no_op", .at = at});
}

/* Control dependencies rather than inputs, because updates and groups may have no output. */
tc_value tc_group_at(tc_location at, tc_graph *graph, const tc_value *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!tc_value_ok(values[i]) || values[i].graph != graph)
            return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                                 "group: value %zu of %zu is not a value of this graph", i, count);
    tc_control_push(graph, values, count);
    tc_value group =
        tc_node_build(graph, &(const tc_node_spec){.op = "no_op", .name = "group", .at = at});
    tc_control_pop(graph);
    return group;
}
