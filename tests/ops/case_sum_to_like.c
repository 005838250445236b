/* The inverse of broadcasting. */
#include "elementwise.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_sum_to_like(in[0], in[1]);
}

/* The builder returns x itself where the shapes surely agree; this is what other graphs may hold.
 */
static tc_value build_node(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)options;
    return tc_node_build(
        graph, &(tc_node_spec){.op = "sum_to_like", .at = TC_HERE, TC_SPEC_INPUTS(in[0], in[1])});
}

static void reference(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0], *y = &run->output_shapes[0];
    for (int64_t i = 0; i < element_count(y); i++)
        run->outputs[0][i] = 0;
    for (int64_t i = 0; i < element_count(x); i++) {
        double *sum = &run->outputs[0][broadcast_index(x, y, i)];
        *sum = wrapped(run->dtype, *sum + run->inputs[0][i]);
    }
}

#define SAMPLE(sample_name, x, like, flat)                                                   \
    {                                                                                        \
        .name = sample_name, .inputs = {{x}, {like, .dtype = TC_BOOL}}, .outputs = {{like}}, \
        .no_gradients = flat                                                                 \
    }
static const op_sample samples[] = {
    SAMPLE("to a scalar", OP_SHAPE(3, 4), .rank = 0, false),
    SAMPLE("row", OP_SHAPE(3, 4), OP_SHAPE(4), false),
    SAMPLE("column", OP_SHAPE(3, 4), OP_SHAPE(3, 1), false),
    SAMPLE("middle", OP_SHAPE(2, 3, 4), OP_SHAPE(3, 1), false),
    SAMPLE("outer and inner", OP_SHAPE(2, 3, 4, 5), OP_SHAPE(1, 3, 4, 1), false),
    SAMPLE("channels", OP_SHAPE(40, 5, 30, 9), OP_SHAPE(5, 1, 1), true),
    SAMPLE("rows of a batch", OP_SHAPE(512, 300), OP_SHAPE(300), true),
    SAMPLE("of nothing", OP_SHAPE(0, 4), OP_SHAPE(4), true),
    SAMPLE("empty", OP_SHAPE(3, 0), OP_SHAPE(1, 0), true),
    {.name = "nothing to do",
     .inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3, 4), .dtype = TC_I8}},
     .outputs = {{OP_SHAPE(3, 4)}},
     .build = build_node},
    {.name = "scalars",
     .inputs = {{.rank = 0}, {.rank = 0, .dtype = TC_I8}},
     .outputs = {{.rank = 0}},
     .build = build_node},
};
static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}, {OP_SHAPE(3)}},
     .message = "like [3] does not broadcast to x [3, 4]"},
    {.inputs = {{OP_SHAPE(4)}, {OP_SHAPE(1, 4)}},
     .message = "like [1, 4] does not broadcast to x [4]"},
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(4)}, {OP_SHAPE(1)}}, .message = "is bool"},
};

extern const op_case op_case_sum_to_like;
const op_case op_case_sum_to_like = {.op = "sum_to_like",
                                     .build = build,
                                     .reference = reference,
                                     OP_LIST(samples),
                                     OP_BAD(bad),
                                     .n_inputs = 2,
                                     .dtypes = TC_DTYPES_NUMBER,
                                     .gradients = OP_INPUT(0)};
