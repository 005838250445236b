/* Selection by a condition. */
#include "elementwise.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_where(in[0], in[1], in[2]);
}

static void reference(const op_run *run)
{
    for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++)
        run->outputs[0][i] = broadcast_element(run, broadcast_element(run, 0, i) ? 1 : 2, i);
}

#define SAMPLE(sample_name, condition, x, y, z, flat)                             \
    {                                                                             \
        .name = sample_name, .inputs = {{.dtype = TC_BOOL, condition}, {x}, {y}}, \
        .outputs = {{z}}, .no_gradients = flat                                    \
    }
/* The shapes of two inputs: the condition has that of the first or of the second. */
#define LEFT(sample_name, a, b, y, flat)          \
    {.name = sample_name ", left",                \
     .inputs = {{.dtype = TC_BOOL, a}, {a}, {b}}, \
     .outputs = {{y}},                            \
     .no_gradients = flat},
#define RIGHT(sample_name, a, b, y, flat)         \
    {.name = sample_name ", right",               \
     .inputs = {{.dtype = TC_BOOL, b}, {b}, {a}}, \
     .outputs = {{y}},                            \
     .no_gradients = flat},
static const op_sample samples[] = {
    BROADCASTS(LEFT) BROADCASTS(RIGHT)
        SAMPLE("one condition", .rank = 0, OP_SHAPE(3, 4), OP_SHAPE(3, 4), OP_SHAPE(3, 4), false),
    SAMPLE("outer", OP_SHAPE(3, 1, 1), OP_SHAPE(4, 1), OP_SHAPE(5), OP_SHAPE(3, 4, 5), false),
    SAMPLE("long", OP_SHAPE(20000), .rank = 0, .rank = 0, OP_SHAPE(20000), true),
    {.name = "NaN is only taken",
     .inputs = {{.dtype = TC_BOOL, OP_SHAPE(2), OP_ELEMENTS(1, 0)},
                {OP_SHAPE(2), OP_ELEMENTS(1, NAN)},
                {OP_SHAPE(2), OP_ELEMENTS(INFINITY, -INFINITY)}},
     .outputs = {{OP_SHAPE(2)}},
     .dtypes = TC_DTYPES_FLOAT,
     .no_gradients = true},
};

static const op_bad bad[] = {
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)}, {OP_SHAPE(3)}, {OP_SHAPE(3)}},
     .message = "x of shape [3] does not broadcast with [2]"},
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)}, {OP_SHAPE(2)}, {OP_SHAPE(3)}},
     .message = "y of shape [3] does not broadcast with [2]"},
    {.inputs = {{OP_SHAPE(2)}, {OP_SHAPE(2)}, {OP_SHAPE(2)}}, .message = "but must be bool"},
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)}, {OP_SHAPE(2)}, {.dtype = TC_F64, OP_SHAPE(2)}},
     .message = "must have the same dtype"},
};

extern const op_case op_case_where;
const op_case op_case_where = {.op = "where",
                               .build = build,
                               .reference = reference,
                               OP_LIST(samples),
                               OP_BAD(bad),
                               .n_inputs = 3,
                               .dtypes = TC_DTYPES_ANY,
                               .gradients = OP_INPUT(1) | OP_INPUT(2)};
