/* Position of the maximum. */
#include "elementwise.h"

typedef struct search {
    int64_t axis;
    bool keep_dims;
} search;

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const search *o = options;
    (void)graph;
    return o ? tc_argmax(in[0], .axis = TC_SOME(o->axis), .keep_dims = o->keep_dims)
             : tc_argmax(in[0]);
}

static void reference(const op_run *run)
{
    const search *o = run->options;
    const tc_shape *x = &run->input_shapes[0];
    int64_t axis = o ? o->axis : -1, inner = 1;
    axis += axis < 0 ? x->rank : 0;
    for (int64_t d = axis + 1; d < x->rank; d++)
        inner *= x->dims[d].size;
    int64_t count = x->dims[axis].size;
    for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++) {
        const double *at = run->inputs[0] + i / inner * inner * count + i % inner;
        int64_t best = 0;
        for (int64_t k = 1; k < count; k++)
            if (!isnan(at[best * inner]) &&
                (isnan(at[k * inner]) || at[k * inner] > at[best * inner]))
                best = k;
        run->outputs[0][i] = (double)best;
    }
}

#define SAMPLE(sample_name, x, y, options_, ...)                                              \
    {                                                                                         \
        .name = sample_name, .inputs = {{x, __VA_ARGS__}}, .outputs = {{.dtype = TC_I64, y}}, \
        .options = options_                                                                   \
    }
#define ALONG(axis_) (&(const search){.axis = axis_})
static const op_sample samples[] = {
    SAMPLE("vector", OP_SHAPE(7), .rank = 0, NULL, .fill = OP_DISTINCT),
    SAMPLE("rows with ties", OP_SHAPE(50, 9), OP_SHAPE(50), ALONG(1), .fill = OP_INTEGERS, .low = 0,
           .high = 4),
    SAMPLE("long rows", OP_SHAPE(3, 5003), OP_SHAPE(3), NULL, .fill = OP_INTEGERS, .low = 0,
           .high = 120),
    SAMPLE("one of many", OP_SHAPE(2, 3000), OP_SHAPE(2), NULL, .fill = OP_INTEGERS, .low = 1,
           .high = 1),
    SAMPLE("columns", OP_SHAPE(9, 1500), OP_SHAPE(1500), ALONG(0), .fill = OP_INTEGERS, .low = 0,
           .high = 9),
    SAMPLE("middle", OP_SHAPE(3, 40, 7), OP_SHAPE(3, 7), ALONG(-2), .fill = OP_INTEGERS, .low = 0,
           .high = 100),
    SAMPLE("kept", OP_SHAPE(3, 4), OP_SHAPE(3, 1), (&(const search){.axis = 1, .keep_dims = true}),
           .fill = OP_DISTINCT),
    SAMPLE("one element", OP_SHAPE(3, 1), OP_SHAPE(3), NULL, .fill = OP_UNIFORM),
    SAMPLE("no result", OP_SHAPE(0, 4), OP_SHAPE(0), NULL, .fill = OP_UNIFORM),
    SAMPLE("nothing of nothing", OP_SHAPE(0, 0), OP_SHAPE(0), NULL, .fill = OP_UNIFORM),
    {.name = "NaN and infinity",
     .inputs = {{OP_SHAPE(4, 4), OP_ELEMENTS(1, NAN, INFINITY, NAN, -INFINITY, -INFINITY, 0, 0,
                                             INFINITY, 1, INFINITY, 2, NAN, NAN, 3, 4)}},
     .outputs = {{.dtype = TC_I64, OP_SHAPE(4)}},
     .dtypes = TC_DTYPES_FLOAT},
    {.name = "NaN in columns",
     .inputs = {{OP_SHAPE(4, 4), OP_ELEMENTS(1, NAN, INFINITY, NAN, -INFINITY, -INFINITY, 0, 0,
                                             INFINITY, 1, INFINITY, 2, NAN, NAN, 3, 4)}},
     .outputs = {{.dtype = TC_I64, OP_SHAPE(4)}},
     .options = ALONG(0),
     .dtypes = TC_DTYPES_FLOAT},
    {.name = "nothing above -inf",
     .inputs = {{OP_SHAPE(2, 70), OP_ELEMENTS(-INFINITY)}},
     .outputs = {{.dtype = TC_I64, OP_SHAPE(2)}},
     .dtypes = TC_DTYPES_FLOAT},
};
static const op_bad bad[] = {
    {.inputs = {{.rank = 0}}, .n_inputs = 1, .message = "axis -1 is outside"},
    {.inputs = {{OP_SHAPE(2)}}, .options = ALONG(1), .message = "axis 1 is outside"},
    {.inputs = {{OP_SHAPE(2, 0)}}, .message = "axis 1 of x [2, 0] is empty"},
};

extern const op_case op_case_argmax;
const op_case op_case_argmax = {.op = "argmax",
                                .build = build,
                                .reference = reference,
                                OP_LIST(samples),
                                OP_BAD(bad),
                                .n_inputs = 1,
                                .dtypes = TC_DTYPES_ANY};
