/* Addition of a vector along one dimension. */
#include "elementwise.h"

static const tc_optional_int channels = {false, 0}, last = {true, -1}, first = {true, 0},
                             second = {true, 2}, beyond = {true, 3};

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_bias_add(in[0], in[1], .axis = *(const tc_optional_int *)options, .name = "shifted");
}

static void reference(const op_run *run)
{
    const tc_optional_int *option = run->options;
    const tc_shape *x = &run->input_shapes[0];
    int64_t axis = option->has ? option->value : 1, below = 1;
    axis += axis < 0 ? x->rank : 0;
    for (int d = (int)axis + 1; d < x->rank; d++)
        below *= x->dims[d].size;
    for (int64_t i = 0; i < element_count(x); i++) {
        double bias = run->inputs[1][i / below % x->dims[axis].size];
        run->outputs[0][i] = wrapped(run->dtype, run->inputs[0][i] + bias);
    }
}

#define SAMPLE(sample_name, axis, n, flat, ...)                                      \
    {                                                                                \
        .name = sample_name, .inputs = {{OP_SHAPE(__VA_ARGS__)}, {OP_SHAPE(n)}},     \
        .outputs = {{OP_SHAPE(__VA_ARGS__)}}, .options = &axis, .no_gradients = flat \
    }
static const op_sample samples[] = {
    SAMPLE("rows", channels, 5, false, 4, 5),
    SAMPLE("channels", channels, 3, false, 2, 3, 4, 2),
    SAMPLE("large channels", channels, 7, true, 3, 7, 20, 30),
    SAMPLE("last", last, 3, false, 2, 4, 3),
    SAMPLE("first", first, 4, false, 4, 3),
    SAMPLE("vector", first, 4, false, 4),
    SAMPLE("one channel", channels, 1, false, 3, 1, 2),
    SAMPLE("wide", channels, 1000, true, 50, 1000),
    SAMPLE("logits", channels, 10, true, 3000, 10),
    SAMPLE("middle", second, 3, false, 2, 1, 3, 2),
    SAMPLE("no rows", channels, 5, true, 0, 5),
    SAMPLE("no channels", channels, 0, true, 4, 0),
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(4, 5)}, {OP_SHAPE(4)}},
     .options = &channels,
     .message = "bias of shape [4] does not fit dimension 1 of x of shape [4, 5]"},
    {.inputs = {{OP_SHAPE(4, 5)}, {OP_SHAPE(1, 5)}},
     .options = &channels,
     .message = "bias has shape [1, 5], but must have rank 1"},
    {.inputs = {{OP_SHAPE(4, 5)}, {OP_SHAPE(5)}}, .options = &beyond, .message = "axis 3"},
    {.inputs = {{OP_SHAPE(4)}, {OP_SHAPE(4)}}, .options = &channels, .message = "axis 1"},
    {.inputs = {{OP_SHAPE(4, 5)}, {OP_SHAPE(5)}},
     .options = &channels,
     .dtype = TC_BOOL,
     .message = "but must be"},
};

extern const op_case op_case_bias_add;
const op_case op_case_bias_add = {.op = "bias_add",
                                  .build = build,
                                  .reference = reference,
                                  OP_LIST(samples),
                                  OP_BAD(bad),
                                  .n_inputs = 2,
                                  .dtypes = TC_DTYPES_NUMBER,
                                  .gradients = OP_INPUT(0) | OP_INPUT(1)};
