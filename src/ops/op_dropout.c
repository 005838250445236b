/*
 * Dropout. For given random numbers it is linear in x, so its gradient is the same operator with
 * the same stream on the gradient: the mask is drawn again rather than kept.
 */
#include "ops/build.h"
#include "tensorc/ops/random.h"

static const tc_port dropout_inputs[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_port dropout_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_inplace dropout_inplace[] = {{0, 0}};

static const tc_attr_def dropout_attrs[] = {
    {.name = "rate", .type = TC_ATTR_FLOAT, .doc = "probability of 0, at least 0 and below 1"},
    {.name = "mode",
     .type = TC_ATTR_STRING,
     .fallback = {.type = TC_ATTR_STRING, .s = "auto"},
     .choices = "auto|training|inference",
     .doc = "auto is resolved by the compiler: runs that update variables train"},
    {.name = "stream",
     .type = TC_ATTR_INT,
     .fallback = {.type = TC_ATTR_INT, .i = 0},
     .doc = "which sequence of numbers; 0: from the path of the node"},
};

static tc_status dropout_infer(tc_infer *infer)
{
    double rate = tc_attrs_float(infer->attrs, "rate");
    if (!(rate >= 0 && rate < 1))
        return tc_infer_fail(infer, "rate is %g, but must be at least 0 and below 1", rate);
    return tc_infer_same(infer);
}

static tc_value build(tc_location at, const char *name, tc_value x, double rate, const char *mode,
                      int64_t stream)
{
    return TC_NODE_WITH("dropout", name, at, (x), {"rate", tc_attr_float(rate)},
                        {"mode", tc_attr_string(mode)}, {"stream", tc_attr_int(stream)});
}

static void dropout_grad(tc_grad *grad)
{
    grad->input_gradients[0] = build(
        TC_WITHIN(grad->at), NULL, grad->output_gradients[0], tc_attrs_float(grad->attrs, "rate"),
        tc_attrs_string(grad->attrs, "mode"), tc_attrs_int(grad->attrs, "stream"));
}

const tc_op tc_op_dropout = {
    .name = "dropout",
    .version = 1,
    .doc = "Sets random elements to 0 and scales the others up when training.",
    TC_LIST(inputs, dropout_inputs),
    TC_LIST(outputs, dropout_outputs),
    TC_LIST(attrs, dropout_attrs),
    TC_LIST(inplace, dropout_inplace),
    .effects = TC_EFFECT_RANDOM,
    .infer = dropout_infer,
    .grad = dropout_grad,
};

tc_value tc_dropout_at(tc_location at, tc_value x, double rate, const tc_dropout_options *options)
{
    static const char *const modes[] = {[TC_MODE_AUTO] = "auto",
                                        [TC_MODE_TRAINING] = "training",
                                        [TC_MODE_INFERENCE] = "inference"};
    TC_OPTIONS(tc_dropout_options, o, options);
    if ((unsigned)o.mode >= sizeof modes / sizeof modes[0])
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "dropout: %d is no tc_mode",
                             (int)o.mode);
    return build(at, o.name, x, rate, modes[o.mode], o.stream);
}
