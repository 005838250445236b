/* One step of each optimizer; tests/kernels/test_update.c takes twenty. */
#include "op_case.h"

typedef struct apply {
    double momentum, weight_decay, beta1, beta2, epsilon;
    bool nesterov;
} apply;

static tc_value build_sgd(tc_graph *graph, const tc_value *in, const void *options)
{
    const apply *o = options;
    return tc_apply_sgd(in[0], in[1], in[2], .weight_decay = o ? o->weight_decay : 0);
}

static void sgd(const op_run *run)
{
    const apply *o = run->options;
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++) {
        double p = run->inputs[0][i];
        run->outputs[0][i] = p - run->inputs[2][0] * (run->inputs[1][i] + o->weight_decay * p);
    }
}

/* The learning rate, and a slot, which is f32 beside 16-bit floats. */
#define RATE                                           \
    {                                                  \
        .dtype = TC_F64, .rank = 0, OP_ELEMENTS(0.125) \
    }
#define BY_DTYPE(macro) \
    macro(TC_F32, TC_F32), macro(TC_F64, TC_F64), macro(TC_F16, TC_F32), macro(TC_BF16, TC_F32)

static const apply plain = {.momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8};
static const apply decay = {.momentum = 0.5,
                            .weight_decay = 0.25,
                            .beta1 = 0.5,
                            .beta2 = 0.75,
                            .epsilon = 1e-3,
                            .nesterov = true};

static const op_sample sgd_samples[] = {
    {.name = "matrix",
     .inputs = {{OP_SHAPE(3, 5), .variable = true}, {OP_SHAPE(3, 5)}, RATE},
     .outputs = {{OP_SHAPE(3, 5)}},
     .options = &plain},
    {.name = "rate f32, decay",
     .inputs = {{OP_SHAPE(7), .variable = true},
                {OP_SHAPE(7)},
                {.dtype = TC_F32, .rank = 0, OP_ELEMENTS(0.5)}},
     .outputs = {{OP_SHAPE(7)}},
     .options = &decay},
    {.name = "scalar",
     .inputs = {{.rank = 0, .variable = true}, {.rank = 0}, RATE},
     .outputs = {{.rank = 0}},
     .options = &decay},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 3), .variable = true}, {OP_SHAPE(0, 3)}, RATE},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = &plain},
    {.name = "several blocks",
     .inputs = {{OP_SHAPE(40001), .variable = true}, {OP_SHAPE(40001)}, RATE},
     .outputs = {{OP_SHAPE(40001)}},
     .options = &plain},
};

static const op_bad sgd_bad[] = {
    {.inputs = {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(4)}, RATE},
     .options = &plain,
     .message = "gradient has shape [4], but parameter has [3]"},
    {.inputs = {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(3)}, {.dtype = TC_F32, OP_SHAPE(1)}},
     .options = &plain,
     .message = "learning_rate must be a scalar, but has shape [1]"},
    {.inputs = {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(3)}, {.dtype = TC_F16, .rank = 0}},
     .options = &plain,
     .message = "learning_rate' is f16, but must be f32 or f64"},
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(3)}, RATE}, .options = &plain, .message = "parameter"},
    {.inputs = {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(3)}, RATE},
     .options = &(const apply){.weight_decay = -1},
     .message = "weight_decay is -1, but must be finite and at least 0"},
};

/*
 * Momentum
 */

static tc_value build_momentum(tc_graph *graph, const tc_value *in, const void *options)
{
    const apply *o = options;
    if (o == &plain)
        return tc_apply_momentum(in[0], in[1], in[2], in[3]);
    return tc_apply_momentum(in[0], in[1], in[2], in[3], .momentum = TC_SOME(o->momentum),
                             .weight_decay = o->weight_decay, .nesterov = o->nesterov);
}

static void momentum(const op_run *run)
{
    const apply *o = run->options;
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++) {
        double p = run->inputs[0][i], g = run->inputs[2][i] + o->weight_decay * p;
        double v = o->momentum * run->inputs[1][i] + g;
        run->outputs[0][i] = p - run->inputs[3][0] * (o->nesterov ? g + o->momentum * v : v);
        run->outputs[1][i] = v;
    }
}

#define MOMENTUM(sample_name, tag, slot, how)                                           \
    {                                                                                   \
        .name = sample_name,                                                            \
        .inputs = {{OP_SHAPE(3, 5), .variable = true},                                  \
                   {.dtype = slot, OP_SHAPE(3, 5), .variable = true},                   \
                   {OP_SHAPE(3, 5)},                                                    \
                   RATE},                                                               \
        .outputs = {{OP_SHAPE(3, 5)}, {.dtype = slot, OP_SHAPE(3, 5)}}, .options = how, \
        .dtypes = TC_DTYPE_BIT(tag)                                                     \
    }
#define MOMENTUM_OF(tag, slot) \
    MOMENTUM("plain", tag, slot, &plain), MOMENTUM("nesterov", tag, slot, &decay)
static const op_sample momentum_samples[] = {BY_DTYPE(MOMENTUM_OF)};

static const op_bad momentum_bad[] = {
    {.inputs = {{.dtype = TC_BF16, OP_SHAPE(3), .variable = true},
                {.dtype = TC_F64, OP_SHAPE(3), .variable = true},
                {.dtype = TC_BF16, OP_SHAPE(3)},
                RATE},
     .options = &plain,
     .message = "velocity is f64, but a slot of a parameter of dtype bf16 is f32"},
    {.inputs =
         {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(2), .variable = true}, {OP_SHAPE(3)}, RATE},
     .options = &plain,
     .message = "velocity has shape [2], but parameter has [3]"},
    {.inputs = {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(3)}, {OP_SHAPE(3)}, RATE},
     .options = &plain,
     .message = "velocity"},
    {.inputs =
         {{OP_SHAPE(3), .variable = true}, {OP_SHAPE(3), .variable = true}, {OP_SHAPE(3)}, RATE},
     .options = &(const apply){.momentum = 1},
     .message = "momentum is 1, but must be at least 0 and below 1"},
};

/*
 * Adam
 */

static tc_value build_adam(tc_graph *graph, const tc_value *in, const void *options)
{
    const apply *o = options;
    const tc_apply_adam_inputs inputs = {in[0], in[1], in[2], in[3], in[4], in[5]};
    if (o == &plain)
        return tc_apply_adam(&inputs);
    return tc_apply_adam(&inputs, .beta1 = TC_SOME(o->beta1), .beta2 = TC_SOME(o->beta2),
                         .epsilon = TC_SOME(o->epsilon), .weight_decay = o->weight_decay);
}

static void adam(const op_run *run)
{
    const apply *o = run->options;
    double rate = run->inputs[4][0], t = run->inputs[5][0];
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++) {
        double p = run->inputs[0][i], g = run->inputs[3][i];
        double m = o->beta1 * run->inputs[1][i] + (1 - o->beta1) * g;
        double v = o->beta2 * run->inputs[2][i] + (1 - o->beta2) * g * g;
        p -= rate * o->weight_decay * p;
        p -= rate * (m / (1 - pow(o->beta1, t))) / (sqrt(v / (1 - pow(o->beta2, t))) + o->epsilon);
        run->outputs[0][i] = p;
        run->outputs[1][i] = m;
        run->outputs[2][i] = v;
    }
}

#define STEP(number)                                    \
    {                                                   \
        .dtype = TC_I64, .rank = 0, OP_ELEMENTS(number) \
    }
#define ADAM(sample_name, tag, slot, step, how)                                              \
    {                                                                                        \
        .name = sample_name,                                                                 \
        .inputs = {{OP_SHAPE(3, 5), .variable = true},                                       \
                   {.dtype = slot, OP_SHAPE(3, 5), .variable = true},                        \
                   {.dtype = slot, OP_SHAPE(3, 5), .low = 0.1, .high = 2, .variable = true}, \
                   {OP_SHAPE(3, 5)},                                                         \
                   RATE,                                                                     \
                   STEP(step)},                                                              \
        .outputs = {{OP_SHAPE(3, 5)},                                                        \
                    {.dtype = slot, OP_SHAPE(3, 5)},                                         \
                    {.dtype = slot, OP_SHAPE(3, 5)}},                                        \
        .options = how, .dtypes = TC_DTYPE_BIT(tag)                                          \
    }
#define ADAM_OF(tag, slot) \
    ADAM("first", tag, slot, 1, &plain), ADAM("later, decay", tag, slot, 5, &decay)
static const op_sample adam_samples[] = {BY_DTYPE(ADAM_OF)};

#define SLOT                          \
    {                                 \
        OP_SHAPE(3), .variable = true \
    }
static const op_bad adam_bad[] = {
    {.inputs = {SLOT, SLOT, SLOT, {OP_SHAPE(3)}, RATE, {.dtype = TC_I64, OP_SHAPE(2)}},
     .options = &plain,
     .message = "step must be a scalar, but has shape [2]"},
    {.inputs = {SLOT, SLOT, SLOT, {OP_SHAPE(3)}, RATE, {.dtype = TC_I32, .rank = 0}},
     .options = &plain,
     .message = "step' is i32, but must be i64"},
    {.inputs = {SLOT, SLOT, SLOT, {OP_SHAPE(3)}, RATE, STEP(1)},
     .options = &(const apply){.beta1 = 1.5},
     .message = "beta1 is 1.5, but must be at least 0 and below 1"},
    {.inputs = {SLOT, SLOT, SLOT, {OP_SHAPE(3)}, RATE, STEP(1)},
     .options = &(const apply){.beta2 = NAN},
     .message = "beta2 is"},
    {.inputs = {SLOT, SLOT, SLOT, {OP_SHAPE(3)}, RATE, STEP(1)},
     .options = &(const apply){.epsilon = -1e-8},
     .message = "epsilon is -1e-08, but must be finite and at least 0"},
};

extern const op_case op_case_apply_sgd, op_case_apply_momentum, op_case_apply_adam;

#define APPLY_CASE(kind, inputs_count)                              \
    const op_case op_case_apply_##kind = {.op = "apply_" #kind,     \
                                          .build = build_##kind,    \
                                          .reference = kind,        \
                                          OP_LIST(kind##_samples),  \
                                          OP_BAD(kind##_bad),       \
                                          .n_inputs = inputs_count, \
                                          .dtypes = TC_DTYPES_FLOAT};
APPLY_CASE(sgd, 3)
APPLY_CASE(momentum, 4)
APPLY_CASE(adam, 6)

/*
 * Two parameters of different sizes in one operation: operand k of parameter i is input 2 k + i.
 */
#define ALL(kind, slots_, scalars_, ...)                                                         \
    static tc_value build_##kind##_all(tc_graph *graph, const tc_value *in, const void *how)     \
    {                                                                                            \
        const apply *o = how;                                                                    \
        const tc_attr_arg attrs[] = {__VA_ARGS__};                                               \
        return tc_node_build(graph, &(tc_node_spec){.op = "apply_" #kind "_all",                 \
                                                    .at = TC_HERE,                               \
                                                    .inputs = in,                                \
                                                    .n_inputs = 2 * (2 + (slots_)) + (scalars_), \
                                                    .attrs = attrs,                              \
                                                    .n_attrs = sizeof attrs / sizeof attrs[0]}); \
    }                                                                                            \
    static void kind##_all(const op_run *run)                                                    \
    {                                                                                            \
        for (int i = 0; i < 2; i++) {                                                            \
            const double *in[OP_MAX_INPUTS];                                                     \
            double *out[OP_MAX_OUTPUTS];                                                         \
            for (int k = 0; k < (slots_) + 2; k++)                                               \
                in[k] = run->inputs[2 * k + i];                                                  \
            for (int k = 0; k < (scalars_); k++)                                                 \
                in[(slots_) + 2 + k] = run->inputs[2 * ((slots_) + 2) + k];                      \
            for (int k = 0; k <= (slots_); k++)                                                  \
                out[k] = run->outputs[2 * k + i];                                                \
            op_run one = *run;                                                                   \
            one.inputs = in;                                                                     \
            one.outputs = out;                                                                   \
            one.output_shapes = run->output_shapes + i;                                          \
            kind(&one);                                                                          \
        }                                                                                        \
    }
#define DECAY                                          \
    {                                                  \
        "weight_decay", tc_attr_float(o->weight_decay) \
    }
ALL(sgd, 0, 1, DECAY)
ALL(momentum, 1, 1, DECAY, {"momentum", tc_attr_float(o->momentum)},
    {"nesterov", tc_attr_bool(o->nesterov)})
ALL(adam, 2, 2, DECAY, {"beta1", tc_attr_float(o->beta1)}, {"beta2", tc_attr_float(o->beta2)},
    {"epsilon", tc_attr_float(o->epsilon)})

/* Inputs or outputs of both parameters: a matrix and a vector of 20,000 elements, so that blocks of
 * the loop hold parts of both; then of an empty one and a scalar. */
#define BOTH(type, ...)                             \
    {.dtype = type, OP_SHAPE(3, 5), __VA_ARGS__},   \
    {                                               \
        .dtype = type, OP_SHAPE(20000), __VA_ARGS__ \
    }
#define SMALL(type, ...)                          \
    {.dtype = type, OP_SHAPE(0, 5), __VA_ARGS__}, \
    {                                             \
        .dtype = type, .rank = 0, __VA_ARGS__     \
    }
#define SGD_ALL_OF(of, name_, tag, slot, how)                                                    \
    {                                                                                            \
        .name = name_, .inputs = {of(0, .variable = true), of(0, ), RATE}, .outputs = {of(0, )}, \
        .options = how, .dtypes = TC_DTYPE_BIT(tag)                                              \
    }
#define SGD_ALL(tag, slot) \
    SGD_ALL_OF(BOTH, "large", tag, slot, &decay), SGD_ALL_OF(SMALL, "small", tag, slot, &plain)
#define MOMENTUM_ALL_OF(of, name_, tag, slot, how)                                      \
    {                                                                                   \
        .name = name_,                                                                  \
        .inputs = {of(0, .variable = true), of(slot, .variable = true), of(0, ), RATE}, \
        .outputs = {of(0, ), of(slot, )}, .options = how, .dtypes = TC_DTYPE_BIT(tag)   \
    }
#define MOMENTUM_ALL(tag, slot)                        \
    MOMENTUM_ALL_OF(BOTH, "large", tag, slot, &decay), \
        MOMENTUM_ALL_OF(SMALL, "small", tag, slot, &plain)
#define ADAM_ALL_OF(of, name_, tag, slot, how)                                                    \
    {                                                                                             \
        .name = name_,                                                                            \
        .inputs = {of(0, .variable = true),                                                       \
                   of(slot, .variable = true),                                                    \
                   of(slot, .low = 0.1, .high = 2, .variable = true),                             \
                   of(0, ),                                                                       \
                   RATE,                                                                          \
                   STEP(3)},                                                                      \
        .outputs = {of(0, ), of(slot, ), of(slot, )}, .options = how, .dtypes = TC_DTYPE_BIT(tag) \
    }
#define ADAM_ALL(tag, slot) \
    ADAM_ALL_OF(BOTH, "large", tag, slot, &decay), ADAM_ALL_OF(SMALL, "small", tag, slot, &plain)
static const op_sample sgd_all_samples[] = {BY_DTYPE(SGD_ALL)};
static const op_sample momentum_all_samples[] = {BY_DTYPE(MOMENTUM_ALL)};
static const op_sample adam_all_samples[] = {BY_DTYPE(ADAM_ALL)};

#define GRADIENT    \
    {               \
        OP_SHAPE(3) \
    }
static const op_bad sgd_all_bad[] = {
    {.inputs = {SLOT, SLOT, GRADIENT, {OP_SHAPE(4)}, RATE},
     .options = &plain,
     .message = "operand 1 of parameter 1 has shape [4] instead of [3]"},
    {.inputs = {SLOT, SLOT, GRADIENT, {.dtype = TC_F64, OP_SHAPE(3)}, RATE},
     .options = &plain,
     .message = "operand 1 of parameter 1 is f64 instead of f32"},
    {.inputs = {SLOT, SLOT, GRADIENT, GRADIENT, {OP_SHAPE(1)}},
     .options = &plain,
     .message = "learning_rate is no scalar of the right dtype, but f32 of rank 1"},
};
static const op_bad momentum_all_bad[] = {
    {.inputs = {SLOT,
                SLOT,
                SLOT,
                {.dtype = TC_F64, OP_SHAPE(3), .variable = true},
                GRADIENT,
                GRADIENT,
                RATE},
     .options = &plain,
     .message = "operand 1 of parameter 1 is f64 instead of f32"},
};
static const op_bad adam_all_bad[] = {
    {.inputs = {SLOT,
                SLOT,
                SLOT,
                SLOT,
                SLOT,
                SLOT,
                GRADIENT,
                GRADIENT,
                RATE,
                {.dtype = TC_F32, .rank = 0}},
     .options = &plain,
     .message = "step is no scalar of the right dtype, but f32 of rank 0"},
};

extern const op_case op_case_apply_sgd_all, op_case_apply_momentum_all, op_case_apply_adam_all;
APPLY_CASE(sgd_all, 5)
APPLY_CASE(momentum_all, 7)
APPLY_CASE(adam_all, 10)
