/*
 * Parameters and calls of functions. The graph builds them (tc_parameter_at, tc_call_at), infers a
 * call from the body it names, and differentiates it by differentiating that body; the compiler
 * puts the body in its place. Neither has a kernel.
 */
#include "ops/build.h"
#include "ops/source.h"

static const tc_port parameter_outputs[] = {{.name = "value", .dtypes = TC_DTYPES_ANY}};

static const tc_attr_def parameter_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
};

const tc_op tc_op_parameter = {
    .name = "parameter",
    .version = 1,
    .doc = "A value given by the call of the function.",
    TC_LIST(outputs, parameter_outputs),
    TC_LIST(attrs, parameter_attrs),
    .infer = tc_infer_source,
    .grad = TC_GRAD_NONE,
};

static const tc_port call_inputs[] = {
    {.name = "inputs",
     .dtypes = TC_DTYPES_ANY,
     .flags = TC_PORT_VARIADIC,
     .doc = "parameters of the function, captured values last"},
};

static const tc_port call_outputs[] = {
    {.name = "outputs",
     .dtypes = TC_DTYPES_ANY,
     .flags = TC_PORT_VARIADIC,
     .doc = "results of the function"},
};

static const tc_attr_def call_attrs[] = {
    {.name = "function", .type = TC_ATTR_FUNCTION, .doc = "name of the function"},
    {.name = "gradient",
     .type = TC_ATTR_STRING,
     .fallback = {.type = TC_ATTR_STRING, .s = ""},
     .doc = "function that computes the gradient; empty: the body is differentiated"},
    {.name = "stream",
     .type = TC_ATTR_INT,
     .fallback = {.type = TC_ATTR_INT, .i = 0},
     .doc = "combined with the streams of the body, so that each call draws its own numbers"},
};

/* Reached only by who infers a call without its graph. */
static tc_status call_infer(tc_infer *infer)
{
    return tc_infer_fail(infer, "function '%s' can only be inferred within its graph",
                         tc_attrs_string(infer->attrs, "function"));
}

/* RANDOM because the body may draw numbers: the node gets a stream of its own. */
const tc_op tc_op_call = {
    .name = "call",
    .version = 1,
    .doc = "Calls a function of the graph.",
    TC_LIST(inputs, call_inputs),
    TC_LIST(outputs, call_outputs),
    TC_LIST(attrs, call_attrs),
    .effects = TC_EFFECT_RANDOM,
    .infer = call_infer,
};
