/* Softmax, its logarithm, and the gradients of both. */
#include "rows.h"

static int64_t axis_of(const void *options)
{
    return options ? *(const int64_t *)options : -1;
}

static tc_value build_softmax(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return options ? tc_softmax(in[0], .axis = TC_SOME(axis_of(options))) : tc_softmax(in[0]);
}

static tc_value build_log_softmax(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return options ? tc_log_softmax(in[0], .axis = TC_SOME(axis_of(options)))
                   : tc_log_softmax(in[0]);
}

/* Of the gradient operators, dy is given and y is the result for x. */
static tc_value build_gradient(const char *op, tc_value dy, tc_value y, const void *options)
{
    return tc_node_build(NULL,
                         &(tc_node_spec){.op = op,
                                         .at = TC_HERE,
                                         TC_SPEC_INPUTS(dy, y),
                                         TC_SPEC_ATTRS({"axis", tc_attr_int(axis_of(options))})});
}

static tc_value build_softmax_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return build_gradient("softmax_grad", in[0], in[1], options);
}

static tc_value build_log_softmax_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return build_gradient("log_softmax_grad", in[0], in[1], options);
}

/* Calls `body` for each row: v its view, `at` its first element. */
#define EACH_ROW(body)                                                       \
    axis_view v = view_along(&run->output_shapes[0], axis_of(run->options)); \
    for (int64_t row = 0; row < v.outer * v.inner; row++) {                  \
        int64_t at = row_start(&v, row);                                     \
        body                                                                 \
    }

static void softmax_reference(const op_run *run)
{
    EACH_ROW({
        double lse = log_sum_exp(run->inputs[0] + at, v.count, v.inner);
        for (int64_t k = 0; k < v.count; k++, at += v.inner)
            run->outputs[0][at] = exp(run->inputs[0][at] - lse);
    })
}

static void log_softmax_reference(const op_run *run)
{
    EACH_ROW({
        double lse = log_sum_exp(run->inputs[0] + at, v.count, v.inner);
        for (int64_t k = 0; k < v.count; k++, at += v.inner)
            run->outputs[0][at] = run->inputs[0][at] - lse;
    })
}

static void softmax_grad_reference(const op_run *run)
{
    const double *dy = run->inputs[0], *y = run->inputs[1];
    EACH_ROW({
        double s = 0;
        for (int64_t k = 0; k < v.count; k++)
            s += dy[at + k * v.inner] * y[at + k * v.inner];
        for (int64_t k = 0; k < v.count; k++, at += v.inner)
            run->outputs[0][at] = y[at] * (dy[at] - s);
    })
}

static void log_softmax_grad_reference(const op_run *run)
{
    const double *dy = run->inputs[0], *y = run->inputs[1];
    EACH_ROW({
        double s = 0;
        for (int64_t k = 0; k < v.count; k++)
            s += dy[at + k * v.inner];
        for (int64_t k = 0; k < v.count; k++, at += v.inner)
            run->outputs[0][at] = dy[at] - exp(y[at]) * s;
    })
}

/* S(name, {shape}, axis or NULL for the default, no_gradients) */
#define AXIS(i) (&(const int64_t){i})
#define SHAPES(S)                                            \
    S("vector", OP_SHAPE(7), NULL, false)                    \
    S("rows", OP_SHAPE(3, 5), NULL, false)                   \
    S("columns", OP_SHAPE(4, 5), AXIS(0), false)             \
    S("middle", OP_SHAPE(2, 3, 4), AXIS(-2), false)          \
    S("one element", OP_SHAPE(3, 1), NULL, false)            \
    S("whole vectors", OP_SHAPE(5, 1024), NULL, true)        \
    S("long rows", OP_SHAPE(70, 1001), AXIS(1), true)        \
    S("very long rows", OP_SHAPE(2, 20011), AXIS(1), true)   \
    S("many rows", OP_SHAPE(2003, 10), AXIS(1), true)        \
    S("planes", OP_SHAPE(3, 21, 7, 9), AXIS(1), true)        \
    S("long columns", OP_SHAPE(300, 67), AXIS(0), true)      \
    S("very long columns", OP_SHAPE(9001, 3), AXIS(0), true) \
    S("no rows", OP_SHAPE(0, 5), NULL, true)                 \
    S("no elements", OP_SHAPE(3, 0), NULL, true)             \
    S("no columns", OP_SHAPE(3, 0, 2), AXIS(0), true)
#define ONE(sample_name, shape, axis, flat)     \
    {.name = sample_name,                       \
     .inputs = {{shape, .low = -6, .high = 6}}, \
     .outputs = {{shape}},                      \
     .options = axis,                           \
     .no_gradients = flat},
/* y is like a result: probabilities, or logarithms of some. */
#define PROBABLE(sample_name, shape, axis, flat)           \
    {.name = sample_name,                                  \
     .inputs = {{shape}, {shape, .low = 0, .high = 0.05}}, \
     .outputs = {{shape}},                                 \
     .options = axis,                                      \
     .no_gradients = flat},
#define LOGARITHMIC(sample_name, shape, axis, flat)       \
    {.name = sample_name,                                 \
     .inputs = {{shape}, {shape, .low = -8, .high = -3}}, \
     .outputs = {{shape}},                                \
     .options = axis,                                     \
     .no_gradients = flat},
static const op_sample samples[] = {
    SHAPES(ONE){.name = "far apart",
                .inputs = {{OP_SHAPE(3, 3),
                            OP_ELEMENTS(1000, 0, -1000, 30000, 30000, 1, -30000, -30000, -30000)}},
                .outputs = {{OP_SHAPE(3, 3)}},
                .no_gradients = true},
    {.name = "infinities and NaN",
     .inputs = {{OP_SHAPE(5, 3), OP_ELEMENTS(-INFINITY, 0, 1, -INFINITY, -INFINITY, -INFINITY,
                                             INFINITY, 0, 0, NAN, 0, 0, 0, NAN, -INFINITY)}},
     .outputs = {{OP_SHAPE(5, 3)}},
     .no_gradients = true},
    {.name = "infinities and NaN in columns",
     .inputs = {{OP_SHAPE(3, 5), OP_ELEMENTS(-INFINITY, -INFINITY, INFINITY, NAN, 0, 0, -INFINITY,
                                             0, 0, NAN, 1, -INFINITY, 0, 0, -INFINITY)}},
     .outputs = {{OP_SHAPE(3, 5)}},
     .options = AXIS(0),
     .no_gradients = true},
};
static const op_sample grad_samples[] = {SHAPES(PROBABLE)};
static const op_sample log_grad_samples[] = {SHAPES(LOGARITHMIC)};
static const op_bad bad[] = {
    {.inputs = {{.rank = 0}}, .n_inputs = 1, .message = "axis -1 is outside"},
    {.inputs = {{OP_SHAPE(3, 5)}}, .options = AXIS(2), .message = "axis 2 is outside"},
    {.inputs = {{OP_SHAPE(3, 5), .dtype = TC_I32}}, .message = "is i32"},
};
static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(3, 5)}, {OP_SHAPE(3, 4)}},
     .message = "dy [3, 5] and y [3, 4] differ in shape"},
};

#define CASE(name, set, bad_set, inputs, checked)                  \
    extern const op_case op_case_##name;                           \
    const op_case op_case_##name = {.op = #name,                   \
                                    .build = build_##name,         \
                                    .reference = name##_reference, \
                                    OP_LIST(set),                  \
                                    OP_BAD(bad_set),               \
                                    .n_inputs = inputs,            \
                                    .dtypes = TC_DTYPES_FLOAT,     \
                                    .gradients = checked};
CASE(softmax, samples, bad, 1, OP_INPUT(0))
CASE(log_softmax, samples, bad, 1, OP_INPUT(0))
CASE(softmax_grad, grad_samples, grad_bad, 2, OP_INPUT(0) | OP_INPUT(1))
CASE(log_softmax_grad, log_grad_samples, grad_bad, 2, OP_INPUT(0) | OP_INPUT(1))
