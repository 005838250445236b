/* Layer normalization and its gradient. */
#include "rows.h"

typedef struct norm_options {
    int64_t axis; /* 0: the default */
    double epsilon;
} norm_options;

static tc_layer_norm_options options_of(const void *options)
{
    const norm_options *o = options;
    tc_layer_norm_options result = {.struct_size = sizeof result};
    if (o && o->axis)
        result.axis = (tc_optional_int){true, o->axis};
    if (o && o->epsilon != 0)
        result.epsilon = (tc_optional_float){true, o->epsilon};
    return result;
}

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    tc_layer_norm_options o = options_of(options);
    (void)graph;
    return tc_layer_norm_at(TC_HERE, in[0], in[1], in[2], &o);
}

/* dy, x, scale; the statistics are those of x. */
static tc_value build_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    tc_layer_norm_options o = options_of(options);
    tc_value y = tc_layer_norm_at(TC_HERE, in[1], TC_NO_VALUE, TC_NO_VALUE, &o);
    return tc_node_build(
        graph,
        &(tc_node_spec){
            .op = "layer_norm_grad",
            .at = TC_HERE,
            TC_SPEC_INPUTS(in[0], in[1], in[2], tc_output(y, 1), tc_output(y, 2)),
            TC_SPEC_ATTRS({"axis", tc_attr_int(o.axis.has ? o.axis.value : -1)},
                          {"epsilon", tc_attr_float(o.epsilon.has ? o.epsilon.value : 1e-5)})});
}

/* Rows and their length. */
static void size_up(const op_run *run, int x, int64_t *rows, int64_t *count)
{
    const norm_options *o = run->options;
    const tc_shape *shape = &run->input_shapes[x];
    int64_t axis = o && o->axis ? o->axis : -1;
    axis += axis < 0 ? shape->rank : 0;
    *rows = *count = 1;
    for (int d = 0; d < shape->rank; d++)
        *(d < axis ? rows : count) *= shape->dims[d].size;
}

static void statistics(const op_run *run, const double *x, int64_t count, double *mean,
                       double *inverse)
{
    const norm_options *o = run->options;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    *mean = sum / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *inverse = 1 / sqrt(squares / (double)count + (o && o->epsilon != 0 ? o->epsilon : 1e-5));
}

static void reference(const op_run *run)
{
    int64_t rows, count;
    size_up(run, 0, &rows, &count);
    for (int64_t row = 0; row < rows; row++) {
        const double *x = run->inputs[0] + row * count;
        double mean, inverse;
        statistics(run, x, count, &mean, &inverse);
        run->outputs[1][row] = mean;
        run->outputs[2][row] = inverse;
        for (int64_t i = 0; i < count; i++) {
            double scale = run->inputs[1] ? run->inputs[1][i] : 1;
            double offset = run->inputs[2] ? run->inputs[2][i] : 0;
            run->outputs[0][row * count + i] = (x[i] - mean) * inverse * scale + offset;
        }
    }
}

static void grad_reference(const op_run *run)
{
    int64_t rows, count;
    size_up(run, 1, &rows, &count);
    for (int64_t i = 0; i < count; i++)
        run->outputs[1][i] = run->outputs[2][i] = 0;
    for (int64_t row = 0; row < rows; row++) {
        const double *dy = run->inputs[0] + row * count, *x = run->inputs[1] + row * count;
        double mean, inverse, base = 0, along = 0;
        statistics(run, x, count, &mean, &inverse);
        for (int64_t i = 0; i < count; i++) {
            double h = dy[i] * (run->inputs[2] ? run->inputs[2][i] : 1);
            double z = (x[i] - mean) * inverse;
            base += h / (double)count;
            along += h * z / (double)count;
            run->outputs[1][i] += dy[i] * z;
            run->outputs[2][i] += dy[i];
        }
        for (int64_t i = 0; i < count; i++) {
            double h = dy[i] * (run->inputs[2] ? run->inputs[2][i] : 1);
            double z = (x[i] - mean) * inverse;
            run->outputs[0][row * count + i] = (h - base - z * along) * inverse;
        }
    }
}

#define WIDE (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))
#define HALF (TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16))
/* S(name, {x}, {parameters}, {statistics}, scale, offset given, options, no_gradients) */
#define SHAPES(S)                                                                                 \
    S("rows", OP_SHAPE(3, 5), OP_SHAPE(5), OP_SHAPE(3), true, true, NULL, false)                  \
    S("vector", OP_SHAPE(6), OP_SHAPE(6), .rank = 0, true, true, NULL, false)                     \
    S("bare", OP_SHAPE(3, 5), OP_SHAPE(5), OP_SHAPE(3), false, false, NULL, false)                \
    S("scale only", OP_SHAPE(3, 5), OP_SHAPE(5), OP_SHAPE(3), true, false, NULL, false)           \
    S("offset only", OP_SHAPE(3, 5), OP_SHAPE(5), OP_SHAPE(3), false, true, NULL, false)          \
    S("two axes", OP_SHAPE(2, 3, 4), OP_SHAPE(3, 4), OP_SHAPE(2), true, true,                     \
      (&(const norm_options){.axis = 1, .epsilon = 0.125}), false)                                \
    S("many rows", OP_SHAPE(3001, 19), OP_SHAPE(19), OP_SHAPE(3001), true, true, NULL, true)      \
    S("whole vectors", OP_SHAPE(130, 256), OP_SHAPE(256), OP_SHAPE(130), true, true, NULL, true)  \
    S("long whole vectors", OP_SHAPE(9, 2048), OP_SHAPE(2048), OP_SHAPE(9), true, true, NULL,     \
      true)                                                                                       \
    S("long rows", OP_SHAPE(70, 1003), OP_SHAPE(1003), OP_SHAPE(70), true, true, NULL, true)      \
    S("very long rows", OP_SHAPE(3, 20011), OP_SHAPE(20011), OP_SHAPE(3), true, true, NULL, true) \
    S("no rows", OP_SHAPE(0, 4), OP_SHAPE(4), OP_SHAPE(0), true, true, NULL, true)                \
    S("no elements", OP_SHAPE(3, 0), OP_SHAPE(0), OP_SHAPE(3), true, true, NULL, true)
#define FORWARD(sample_name, x, parameters, leading, scale, offset, options_, flat)            \
    {.name = sample_name,                                                                      \
     .inputs = {{x}, {parameters, .absent = !(scale)}, {parameters, .absent = !(offset)}},     \
     .outputs = {{x}, {leading}, {leading}},                                                   \
     .options = options_,                                                                      \
     .dtypes = WIDE,                                                                           \
     .no_gradients = flat},                                                                    \
        {.name = sample_name ", 16 bits",                                                      \
         .inputs = {{x}, {parameters, .absent = !(scale)}, {parameters, .absent = !(offset)}}, \
         .outputs = {{x}, {.dtype = TC_F32, leading}, {.dtype = TC_F32, leading}},             \
         .options = options_,                                                                  \
         .dtypes = HALF},
#define BACKWARD(sample_name, x, parameters, leading, scale, offset, options_, flat) \
    {.name = sample_name,                                                            \
     .inputs = {{x}, {x}, {parameters, .absent = !(scale)}},                         \
     .outputs = {{x}, {parameters}, {parameters}},                                   \
     .options = options_,                                                            \
     .no_gradients = flat},
static const op_sample samples[] = {
    SHAPES(FORWARD){.name = "far from 0",
                    .inputs = {{OP_SHAPE(3, 64), .low = 4095, .high = 4097},
                               {.absent = true},
                               {.absent = true}},
                    .outputs = {{OP_SHAPE(3, 64)}, {OP_SHAPE(3)}, {OP_SHAPE(3)}},
                    .dtypes = TC_DTYPE_BIT(TC_F32),
                    .no_gradients = true},
};
static const op_sample grad_samples[] = {SHAPES(BACKWARD)};

#define NEGATIVE (&(const norm_options){.epsilon = -1})
#define FAR      (&(const norm_options){.axis = 2})
static const op_bad bad[] = {
    {.inputs = {{.rank = 0}, {.absent = true}, {.absent = true}}, .message = "axis -1 is outside"},
    {.inputs = {{OP_SHAPE(3, 5)}, {.absent = true}, {.absent = true}},
     .options = FAR,
     .message = "axis 2 is outside"},
    {.inputs = {{OP_SHAPE(3, 5)}, {OP_SHAPE(3)}, {.absent = true}},
     .message = "scale is [3], but for x [3, 5] must be [5]"},
    {.inputs = {{OP_SHAPE(3, 5)}, {.absent = true}, {OP_SHAPE(1, 5)}},
     .message = "offset is [1, 5], but for x [3, 5] must be [5]"},
    {.inputs = {{OP_SHAPE(3, 5)}, {.absent = true}, {.absent = true}},
     .options = NEGATIVE,
     .message = "epsilon is -1"},
};
static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 5)}, {.absent = true}},
     .message = "dy is [3, 4], but for x [3, 5] must be [3, 5]"},
};

extern const op_case op_case_layer_norm, op_case_layer_norm_grad;
const op_case op_case_layer_norm = {.op = "layer_norm",
                                    .build = build,
                                    .reference = reference,
                                    OP_LIST(samples),
                                    OP_BAD(bad),
                                    .n_inputs = 3,
                                    .dtypes = TC_DTYPES_FLOAT,
                                    .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2)};
const op_case op_case_layer_norm_grad = {.op = "layer_norm_grad",
                                         .build = build_grad,
                                         .reference = grad_reference,
                                         OP_LIST(grad_samples),
                                         OP_BAD(grad_bad),
                                         .n_inputs = 3,
                                         .dtypes = TC_DTYPES_FLOAT,
                                         .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2)};
