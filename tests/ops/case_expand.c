/* Broadcasting to a shape, and shapes as values. */
#include "places.h"

#define INTS(...) (&(const tc_ints)COUNTED(__VA_ARGS__))
static const tc_ints none = {NULL, 0};

static tc_value build_expand(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const tc_ints *sizes = options;
    return tc_expand(in[0], tc_shape_of(sizes->count, sizes->data));
}

static void reference(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0], *y = &run->output_shapes[0];
    for (int64_t i = 0; i < elements_of(y); i++) {
        int64_t place[TC_MAX_RANK], from[TC_MAX_RANK];
        place_of(y, i, place);
        for (int32_t d = 0; d < x->rank; d++)
            from[d] = x->dims[d].size == 1 ? 0 : place[y->rank - x->rank + d];
        run->outputs[0][i] = run->inputs[0][index_of(x, from)];
    }
}

static const op_sample expand_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(3, 4)},
    {.name = "columns",
     .inputs = {{OP_SHAPE(3, 1), .fixed = 2}},
     .outputs = {{OP_SHAPE(3, 40)}},
     .options = INTS(3, 40)},
    {.name = "few columns",
     .inputs = {{OP_SHAPE(37, 1), .fixed = 2}},
     .outputs = {{OP_SHAPE(37, 3)}},
     .options = INTS(37, 3)},
    {.name = "middle",
     .inputs = {{OP_SHAPE(2, 1, 3), .fixed = 2}},
     .outputs = {{OP_SHAPE(2, 4, 3)}},
     .options = INTS(-1, 4, -1)},
    {.name = "both",
     .inputs = {{OP_SHAPE(1, 3, 1), .fixed = 5}},
     .outputs = {{OP_SHAPE(2, 5, 3, 4)}},
     .options = INTS(2, 5, -1, 4)},
    {.name = "scalar",
     .inputs = {{.rank = 0}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = INTS(2, 3)},
    {.name = "scalar to scalar",
     .inputs = {{.rank = 0}},
     .outputs = {{.rank = 0}},
     .options = &none},
    {.name = "same",
     .inputs = {{OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = INTS(-1, 3)},
    {.name = "to empty",
     .inputs = {{OP_SHAPE(1, 3), .fixed = 1}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = INTS(0, 3)},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 1), .fixed = 2}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = INTS(-1, 3)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(2, 1, 2, 1)}},
     .outputs = {{OP_SHAPE(2, 1, 1, 2, 2, 3, 2, 2)}},
     .options = INTS(2, 1, 1, 2, 2, 3, 2, 2)},
    {.name = "large",
     .inputs = {{OP_SHAPE(500, 1), .fixed = 2}},
     .outputs = {{OP_SHAPE(500, 601)}},
     .options = INTS(500, 601),
     .no_gradients = true},
};

static const op_bad expand_bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(3, 5),
     .message = "[3, 4] does not broadcast to [3, 5]"},
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(4),
     .message = "[3, 4] does not broadcast to [4]"},
    {.inputs = {{OP_SHAPE(3)}},
     .options = INTS(-1, 3),
     .message = "size 0 is -1, but x has no dimension there"},
    {.inputs = {{OP_SHAPE(1)}}, .options = INTS(-2), .message = "size 0 is -2"},
    {.inputs = {{OP_SHAPE(1)}},
     .options = INTS(1, 1, 1, 1, 1, 1, 1, 1, 1),
     .message = "must be 0 to 8"},
};

extern const op_case op_case_expand;
const op_case op_case_expand = {.op = "expand",
                                .build = build_expand,
                                .reference = reference,
                                OP_LIST(expand_samples),
                                OP_BAD(expand_bad),
                                .n_inputs = 1,
                                .dtypes = TC_DTYPES_ANY,
                                .gradients = OP_INPUT(0)};

static tc_value build_expand_like(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph, (void)options;
    return tc_expand_like(in[0], in[1]);
}

static const op_sample expand_like_samples[] = {
    {.name = "rows", .inputs = {{OP_SHAPE(4)}, {OP_SHAPE(3, 4)}}, .outputs = {{OP_SHAPE(3, 4)}}},
    {.name = "columns",
     .inputs = {{OP_SHAPE(3, 1)}, {.dtype = TC_I32, OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(3, 4)}}},
    {.name = "scalar", .inputs = {{.rank = 0}, {OP_SHAPE(2, 3)}}, .outputs = {{OP_SHAPE(2, 3)}}},
    {.name = "scalars", .inputs = {{.rank = 0}, {.rank = 0}}, .outputs = {{.rank = 0}}},
    {.name = "empty", .inputs = {{OP_SHAPE(1)}, {OP_SHAPE(2, 0)}}, .outputs = {{OP_SHAPE(2, 0)}}},
};

static const op_bad expand_like_bad[] = {
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(3, 1)}}, .message = "[3] does not broadcast to [3, 1]"},
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(3)}}, .message = "[2, 3] does not broadcast to [3]"},
};

extern const op_case op_case_expand_like;
const op_case op_case_expand_like = {.op = "expand_like",
                                     .build = build_expand_like,
                                     .reference = reference,
                                     OP_LIST(expand_like_samples),
                                     OP_BAD(expand_like_bad),
                                     .n_inputs = 2,
                                     .dtypes = TC_DTYPES_ANY,
                                     .gradients = OP_INPUT(0)};

static tc_value build_shape_of(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph, (void)options;
    return tc_shape_of_at(TC_HERE, in[0]);
}

static void shape_of_reference(const op_run *run)
{
    for (int32_t d = 0; d < run->input_shapes[0].rank; d++)
        run->outputs[0][d] = (double)run->input_shapes[0].dims[d].size;
}

#define SIZES(count, ...)                                             \
    {                                                                 \
        .name = #__VA_ARGS__, .inputs = {{__VA_ARGS__}}, .outputs = { \
            {.dtype = TC_I64, OP_SHAPE(count)}                        \
        }                                                             \
    }
static const op_sample shape_of_samples[] = {
    SIZES(2, OP_SHAPE(3, 4)),
    SIZES(0, .rank = 0),
    SIZES(3, OP_SHAPE(2, 0, 5)),
    SIZES(8, OP_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)),
};

extern const op_case op_case_shape_of;
const op_case op_case_shape_of = {.op = "shape_of",
                                  .build = build_shape_of,
                                  .reference = shape_of_reference,
                                  OP_LIST(shape_of_samples),
                                  .n_inputs = 1,
                                  .dtypes = TC_DTYPES_ANY};
