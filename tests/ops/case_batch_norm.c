/* Batch normalization, its gradient, and the mode of a run as a value. */
#include <string.h>

#include "rows.h"

typedef struct norm_options {
    tc_mode mode;
    bool set; /* epsilon 1/8 and momentum 0.75 instead of the defaults */
} norm_options;

static tc_batch_norm_options options_of(const void *options)
{
    const norm_options *o = options;
    tc_batch_norm_options result = {.struct_size = sizeof result};
    if (!o)
        return result;
    result.mode = o->mode;
    if (o->set) {
        result.epsilon = (tc_optional_float){true, 0.125};
        result.momentum = (tc_optional_float){true, 0.75};
    }
    return result;
}

static double epsilon_of(const op_run *run)
{
    const norm_options *o = run->options;
    return o && o->set ? 0.125 : 1e-5;
}

static double momentum_of(const op_run *run)
{
    const norm_options *o = run->options;
    return o && o->set ? 0.75 : 0.9;
}

static bool is_training(const op_run *run)
{
    const norm_options *o = run->options;
    return o && o->mode == TC_MODE_TRAINING;
}

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    tc_batch_norm_options o = options_of(options);
    (void)graph;
    return tc_batch_norm_at(TC_HERE, in[0], in[1], in[2], in[3], in[4], &o);
}

/* dy, x, scale, running mean and variance; the statistics are those that batch_norm would use. */
static tc_value build_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    static const char *const modes[] = {"auto", "training", "inference"};
    tc_batch_norm_options o = options_of(options);
    tc_value y = tc_batch_norm_at(TC_HERE, in[1], in[2], TC_NO_VALUE, in[3], in[4], &o);
    return tc_node_build(
        graph,
        &(tc_node_spec){
            .op = "batch_norm_grad",
            .at = TC_HERE,
            TC_SPEC_INPUTS(in[0], in[1], in[2], tc_output(y, 3), tc_output(y, 4)),
            TC_SPEC_ATTRS({"mode", tc_attr_string(modes[o.mode])},
                          {"epsilon", tc_attr_float(o.epsilon.has ? o.epsilon.value : 1e-5)})});
}

/* Statistics of channel `c` of a tensor of view [outer, channels, inner]. */
static void statistics(const double *x, const axis_view *v, int64_t c, double *mean,
                       double *variance)
{
    double sum = 0, squares = 0, count = (double)(v->outer * v->inner);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t o = 0; o < v->outer; o++)
            for (int64_t i = 0; i < v->inner; i++) {
                double value = x[(o * v->count + c) * v->inner + i];
                if (pass == 0)
                    sum += value / count;
                else
                    squares += (value - sum) * (value - sum);
            }
    *mean = sum;
    *variance = squares / count;
}

static void reference(const op_run *run)
{
    axis_view v = view_along(&run->input_shapes[0], 1);
    int64_t count = v.outer * v.inner;
    for (int64_t c = 0; c < v.count; c++) {
        double running[] = {run->inputs[3][c], run->inputs[4][c]};
        double mean = running[0], variance = running[1], momentum = momentum_of(run);
        if (is_training(run) && count > 0) {
            statistics(run->inputs[0], &v, c, &mean, &variance);
            double unbiased = count > 1 ? variance * (double)count / (double)(count - 1) : variance;
            running[0] = momentum * running[0] + (1 - momentum) * mean;
            running[1] = momentum * running[1] + (1 - momentum) * unbiased;
        }
        double inverse = 1 / sqrt(variance + epsilon_of(run));
        run->outputs[1][c] = running[0];
        run->outputs[2][c] = running[1];
        run->outputs[3][c] = mean;
        run->outputs[4][c] = inverse;
        double scale = run->inputs[1] ? run->inputs[1][c] : 1;
        double offset = run->inputs[2] ? run->inputs[2][c] : 0;
        for (int64_t o = 0; o < v.outer; o++)
            for (int64_t i = 0; i < v.inner; i++) {
                int64_t at = (o * v.count + c) * v.inner + i;
                run->outputs[0][at] = (run->inputs[0][at] - mean) * inverse * scale + offset;
            }
    }
}

static void grad_reference(const op_run *run)
{
    axis_view v = view_along(&run->input_shapes[1], 1);
    double count = (double)(v.outer * v.inner);
    for (int64_t c = 0; c < v.count; c++) {
        double mean = run->inputs[3][c], variance = run->inputs[4][c];
        if (is_training(run) && count > 0)
            statistics(run->inputs[1], &v, c, &mean, &variance);
        double inverse = 1 / sqrt(variance + epsilon_of(run)), plain = 0, products = 0;
        double scale = run->inputs[2] ? run->inputs[2][c] : 1;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t o = 0; o < v.outer; o++)
                for (int64_t i = 0; i < v.inner; i++) {
                    int64_t at = (o * v.count + c) * v.inner + i;
                    double dy = run->inputs[0][at], z = (run->inputs[1][at] - mean) * inverse;
                    if (pass == 0) {
                        plain += dy;
                        products += dy * z;
                    } else {
                        double less = is_training(run) ? plain / count + z * products / count : 0;
                        run->outputs[0][at] = scale * inverse * (dy - less);
                    }
                }
        run->outputs[1][c] = products;
        run->outputs[2][c] = plain;
    }
}

#define TRAIN     (&(const norm_options){.mode = TC_MODE_TRAINING})
#define TRAIN_SET (&(const norm_options){.mode = TC_MODE_TRAINING, .set = true})
#define INFER     (&(const norm_options){.mode = TC_MODE_INFERENCE})
#define AUTO      NULL
/* S(name, {x}, {channels}, parameters given, dtype of what belongs to channels, options, dtypes,
 * no_gradients) */
#define SHAPES(S)                                                                                  \
    S("images", OP_SHAPE(3, 2, 2, 3), OP_SHAPE(2), true, 0, TRAIN, 0, false)                       \
    S("images, set", OP_SHAPE(3, 2, 2, 3), OP_SHAPE(2), true, 0, TRAIN_SET, 0, false)              \
    S("features", OP_SHAPE(5, 3), OP_SHAPE(3), true, 0, TRAIN, 0, false)                           \
    S("bare", OP_SHAPE(4, 2, 3), OP_SHAPE(2), false, 0, TRAIN_SET, 0, false)                       \
    S("inference", OP_SHAPE(3, 2, 2, 3), OP_SHAPE(2), true, 0, INFER, 0, false)                    \
    S("automatic", OP_SHAPE(3, 2, 4), OP_SHAPE(2), true, 0, AUTO, 0, false)                        \
    S("features, inference", OP_SHAPE(5, 3), OP_SHAPE(3), true, 0, INFER, 0, false)                \
    S("one element per channel", OP_SHAPE(1, 3), OP_SHAPE(3), true, 0, TRAIN_SET, 0, true)         \
    S("chunks of images", OP_SHAPE(9, 2, 90, 70), OP_SHAPE(2), true, 0, TRAIN, 0, true)            \
    S("many features", OP_SHAPE(1100, 150), OP_SHAPE(150), true, 0, TRAIN, 0, true)                \
    S("large planes", OP_SHAPE(2, 1, 200, 210), OP_SHAPE(1), true, 0, TRAIN, 0, true)              \
    S("images, f32 parameters", OP_SHAPE(3, 2, 2, 3), OP_SHAPE(2), true, TC_F32, TRAIN, HALF,      \
      true)                                                                                        \
    S("features, f32 parameters", OP_SHAPE(50, 70), OP_SHAPE(70), true, TC_F32, TRAIN, HALF, true) \
    S("no images", OP_SHAPE(0, 3, 4, 4), OP_SHAPE(3), true, 0, TRAIN, 0, true)                     \
    S("no features", OP_SHAPE(0, 3), OP_SHAPE(3), true, 0, TRAIN, 0, true)                         \
    S("no channels", OP_SHAPE(2, 0, 3), OP_SHAPE(0), true, 0, TRAIN, 0, true)                      \
    S("no planes", OP_SHAPE(2, 3, 0), OP_SHAPE(3), true, 0, INFER, 0, true)
#define HALF (TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16))
/* clang-format off */
#define RUNNING(type, ...) \
    {__VA_ARGS__, .dtype = type}, {__VA_ARGS__, .dtype = type, .low = 0.5, .high = 2}
/* clang-format on */
#define FORWARD(sample_name, x, channels, given, type, options_, set, flat) \
    {.name = sample_name,                                                   \
     .inputs = {{x},                                                        \
                {channels, .dtype = type, .absent = !(given)},              \
                {channels, .dtype = type, .absent = !(given)},              \
                RUNNING(type, channels)},                                   \
     .outputs = {{x},                                                       \
                 {channels, .dtype = type},                                 \
                 {channels, .dtype = type},                                 \
                 {channels, .dtype = type},                                 \
                 {channels, .dtype = type}},                                \
     .options = options_,                                                   \
     .dtypes = set,                                                         \
     .no_gradients = true},
/* Gradients flow through output 0 alone. */
#define DIFFERENTIATED(sample_name, x, channels, given, type, options_, set, flat) \
    {.name = sample_name ", differentiated",                                       \
     .inputs = {{x},                                                               \
                {channels, .dtype = type, .absent = !(given)},                     \
                {channels, .dtype = type, .absent = !(given)},                     \
                RUNNING(type, channels)},                                          \
     .outputs = {{x},                                                              \
                 {channels, .dtype = type, .unchecked = true},                     \
                 {channels, .dtype = type, .unchecked = true},                     \
                 {channels, .dtype = type, .unchecked = true},                     \
                 {channels, .dtype = type, .unchecked = true}},                    \
     .options = options_,                                                          \
     .dtypes = set,                                                                \
     .no_gradients = flat},
#define BACKWARD(sample_name, x, channels, given, type, options_, set, flat)                       \
    {.name = sample_name,                                                                          \
     .inputs = {{x}, {x}, {channels, .dtype = type, .absent = !(given)}, RUNNING(type, channels)}, \
     .outputs = {{x}, {channels, .dtype = type}, {channels, .dtype = type}},                       \
     .options = options_,                                                                          \
     .dtypes = set,                                                                                \
     .no_gradients = flat},
static const op_sample samples[] = {
    SHAPES(FORWARD) SHAPES(DIFFERENTIATED){
        .name = "far from 0",
        .inputs = {{OP_SHAPE(40, 2, 5, 5), .low = 4095, .high = 4097},
                   {.absent = true},
                   {.absent = true},
                   RUNNING(0, OP_SHAPE(2))},
        .outputs =
            {{OP_SHAPE(40, 2, 5, 5)}, {OP_SHAPE(2)}, {OP_SHAPE(2)}, {OP_SHAPE(2)}, {OP_SHAPE(2)}},
        .options = TRAIN,
        .dtypes = TC_DTYPE_BIT(TC_F32),
        .no_gradients = true},
};
static const op_sample grad_samples[] = {SHAPES(BACKWARD)};

static tc_value build_bad_momentum(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_batch_norm(in[0], in[1], in[2], in[3], in[4], .momentum = TC_SOME(1.5));
}

static tc_value build_bad_mode(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_batch_norm(in[0], in[1], in[2], in[3], in[4], .mode = (tc_mode)7);
}

static tc_value build_bad_epsilon(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_batch_norm(in[0], in[1], in[2], in[3], in[4], .epsilon = TC_SOME(NAN));
}

#define CHANNELS(n) \
    {               \
        OP_SHAPE(n) \
    }
#define ABSENT         \
    {                  \
        .absent = true \
    }
static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(4)}, ABSENT, ABSENT, CHANNELS(4), CHANNELS(4)},
     .message = "x [4] has no axis 1 of channels"},
    {.inputs = {{OP_SHAPE(2, 4)}, CHANNELS(3), ABSENT, CHANNELS(4), CHANNELS(4)},
     .message = "scale is [3], but x [2, 4] has its channels on axis 1"},
    {.inputs = {{OP_SHAPE(2, 4)}, ABSENT, ABSENT, CHANNELS(4), CHANNELS(2)},
     .message = "running_variance is [2], but x [2, 4] has its channels on axis 1"},
    {.inputs = {{OP_SHAPE(2, 4)},
                ABSENT,
                ABSENT,
                {OP_SHAPE(4), .dtype = TC_F64},
                {OP_SHAPE(4), .dtype = TC_F64}},
     .message = "running_mean is f64, but must be f32"},
    {.inputs = {{OP_SHAPE(2, 4)}, ABSENT, ABSENT, CHANNELS(4), CHANNELS(4)},
     .build = build_bad_momentum,
     .message = "momentum is 1.5"},
    {.inputs = {{OP_SHAPE(2, 4)}, ABSENT, ABSENT, CHANNELS(4), CHANNELS(4)},
     .build = build_bad_epsilon,
     .message = "epsilon is"},
    {.inputs = {{OP_SHAPE(2, 4)}, ABSENT, ABSENT, CHANNELS(4), CHANNELS(4)},
     .build = build_bad_mode,
     .message = "there is no mode 7"},
};
static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(2, 5)}, {OP_SHAPE(2, 4)}, ABSENT, CHANNELS(4), CHANNELS(4)},
     .message = "dy [2, 5] and x [2, 4] differ in shape"},
};

extern const op_case op_case_batch_norm, op_case_batch_norm_grad, op_case_is_training;
const op_case op_case_batch_norm = {.op = "batch_norm",
                                    .build = build,
                                    .reference = reference,
                                    OP_LIST(samples),
                                    OP_BAD(bad),
                                    .n_inputs = 5,
                                    .dtypes = TC_DTYPES_FLOAT,
                                    .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2)};
const op_case op_case_batch_norm_grad = {.op = "batch_norm_grad",
                                         .build = build_grad,
                                         .reference = grad_reference,
                                         OP_LIST(grad_samples),
                                         OP_BAD(grad_bad),
                                         .n_inputs = 5,
                                         .dtypes = TC_DTYPES_FLOAT,
                                         .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2)};

/*
 * is_training
 */
static tc_value build_is_training(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)in;
    return tc_node_build(graph, &(tc_node_spec){.op = "is_training",
                                                .at = TC_HERE,
                                                TC_SPEC_ATTRS({"mode", tc_attr_string(options)})});
}

static void is_training_reference(const op_run *run)
{
    run->outputs[0][0] = strcmp(run->options, "training") == 0;
}

static const op_sample mode_samples[] = {
    {.name = "training", .outputs = {{.dtype = TC_BOOL}}, .options = "training"},
    {.name = "inference", .outputs = {{.dtype = TC_BOOL}}, .options = "inference"},
    {.name = "automatic", .outputs = {{.dtype = TC_BOOL}}, .options = "auto"},
};
static const op_bad mode_bad[] = {{.options = "trainign", .message = "trainign"}};
const op_case op_case_is_training = {.op = "is_training",
                                     .build = build_is_training,
                                     .reference = is_training_reference,
                                     OP_LIST(mode_samples),
                                     OP_BAD(mode_bad),
                                     .dtypes = TC_DTYPES_BOOL};
