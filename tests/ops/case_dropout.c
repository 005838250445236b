/* Dropout; the mask itself is checked by tests/kernels/test_random.c. */
#include <stdio.h>

#include "op_case.h"

typedef struct dropout {
    double rate;
    tc_mode mode;
} dropout;

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const dropout *o = options;
    return tc_dropout(in[0], o->rate, .mode = o->mode);
}

/* Each element is 0 or scaled up, in about the right proportion. */
static void check(const op_run *run, char why[256])
{
    static const double tolerance[TC_DTYPE_COUNT] = {
        [TC_F32] = 1e-6, [TC_F64] = 1e-15, [TC_F16] = 0x1p-10, [TC_BF16] = 0x1p-7};
    const dropout *o = run->options;
    double rate = o->mode == TC_MODE_TRAINING ? o->rate : 0;
    int64_t count = tc_shape_size(&run->output_shapes[0]), dropped = 0;
    for (int64_t i = 0; i < count; i++) {
        double y = run->outputs[0][i], expected = run->inputs[0][i] / (1 - rate);
        if (y == 0 && rate > 0)
            dropped++;
        else if (!(fabs(y - expected) <= tolerance[run->dtype] * fabs(expected)))
            snprintf(why, 256, "element %d is %g instead of %g", (int)i, y, expected);
    }
    double deviation = sqrt(rate * (1 - rate) * (double)count);
    if (fabs((double)dropped - rate * (double)count) > 4 * deviation)
        snprintf(why, 256, "%d of %d elements are dropped", (int)dropped, (int)count);
}

static const dropout training = {0.25, TC_MODE_TRAINING}, heavy = {0.9, TC_MODE_TRAINING},
                     none = {0, TC_MODE_TRAINING}, inference = {0.25, TC_MODE_INFERENCE},
                     automatic = {0.25, TC_MODE_AUTO};

#define POSITIVE .low = 0.5, .high = 2
#define SAMPLE(sample_name, how)                                     \
    {                                                                \
        .name = sample_name, .inputs = {{OP_SHAPE(6, 7), POSITIVE}}, \
        .outputs = {{OP_SHAPE(6, 7)}}, .options = how                \
    }

static const op_sample samples[] = {
    SAMPLE("training", &training),
    SAMPLE("heavy", &heavy),
    SAMPLE("rate 0", &none),
    SAMPLE("inference", &inference),
    SAMPLE("auto without a compiler", &automatic),
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = &training,
     .no_gradients = true},
    {.name = "several blocks",
     .inputs = {{OP_SHAPE(40001), POSITIVE}},
     .outputs = {{OP_SHAPE(40001)}},
     .options = &training,
     .no_gradients = true},
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3)}},
     .options = &(const dropout){1, TC_MODE_AUTO},
     .message = "rate is 1, but must be at least 0 and below 1"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = &(const dropout){-0.1, TC_MODE_AUTO},
     .message = "rate is -0.1"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = &(const dropout){NAN, TC_MODE_AUTO},
     .message = "rate is"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = &(const dropout){0.5, (tc_mode)7},
     .message = "7 is no tc_mode"},
    {.inputs = {{.dtype = TC_I32, OP_SHAPE(3)}},
     .options = &training,
     .message = "input 'x' is i32"},
};

extern const op_case op_case_dropout;
const op_case op_case_dropout = {.op = "dropout",
                                 .build = build,
                                 .check = check,
                                 OP_LIST(samples),
                                 OP_BAD(bad),
                                 .n_inputs = 1,
                                 .dtypes = TC_DTYPES_FLOAT,
                                 .gradients = OP_INPUT(0)};
