/* The same elements in a shape that a tensor tells. */
#include "places.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_reshape_to(in[0], in[1]);
}

/* The length of the sizes is always known, since the result has that rank. */
#define SIZES(count, ...)                                                                    \
    {                                                                                        \
        .dtype = TC_I64, .rank = 1, .sizes = {(count)}, .fixed = 1, OP_ELEMENTS(__VA_ARGS__) \
    }
#define NO_SIZES                                             \
    {                                                        \
        .dtype = TC_I64, .rank = 1, .sizes = {0}, .fixed = 1 \
    }

static const op_sample samples[] = {
    {.name = "to a matrix",
     .inputs = {{OP_SHAPE(6)}, SIZES(2, 2, 3)},
     .outputs = {{OP_SHAPE(2, 3)}}},
    {.name = "what is left",
     .inputs = {{OP_SHAPE(2, 6)}, SIZES(3, 2, -1, 2)},
     .outputs = {{OP_SHAPE(2, 3, 2)}}},
    {.name = "to one dimension",
     .inputs = {{OP_SHAPE(2, 3)}, SIZES(1, -1)},
     .outputs = {{OP_SHAPE(6)}}},
    {.name = "to a scalar", .inputs = {{OP_SHAPE(1, 1)}, NO_SIZES}, .outputs = {{.rank = 0}}},
    {.name = "of a scalar", .inputs = {{.rank = 0}, SIZES(2, 1, 1)}, .outputs = {{OP_SHAPE(1, 1)}}},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0, 3)}, SIZES(3, 2, 0, 5)},
     .outputs = {{OP_SHAPE(2, 0, 5)}}},
    {.name = "of nothing, what is left",
     .inputs = {{OP_SHAPE(0, 3)}, SIZES(2, 7, -1)},
     .outputs = {{OP_SHAPE(7, 0)}}},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(24)}, SIZES(8, 1, 2, 1, 3, 1, 2, 2, 1)},
     .outputs = {{OP_SHAPE(1, 2, 1, 3, 1, 2, 2, 1)}}},
    {.name = "constant sizes",
     .inputs = {{OP_SHAPE(2, 6)},
                {.dtype = TC_I64, OP_SHAPE(2), OP_ELEMENTS(4, -1), .constant = true}},
     .outputs = {{OP_SHAPE(4, 3)}}},
    {.name = "large",
     .inputs = {{OP_SHAPE(500, 301)}, SIZES(2, 301, -1)},
     .outputs = {{OP_SHAPE(301, 500)}},
     .no_gradients = true},
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(6)}, SIZES(2, 4, 2)},
     .message = "[6] does not have 8 elements",
     .at_run = true},
    {.inputs = {{OP_SHAPE(6)}, SIZES(2, -1, 4)}, .message = "[6]", .at_run = true},
    {.inputs = {{OP_SHAPE(6)}, SIZES(2, -1, -1)},
     .message = "sizes 0 and 1 are both -1",
     .at_run = true},
    {.inputs = {{OP_SHAPE(6)}, SIZES(2, -2, -3)}, .message = "size 0 is -2", .at_run = true},
    {.inputs = {{OP_SHAPE(0)}, SIZES(2, 0, -1)},
     .message = "beside a size of 0 the -1 could be anything",
     .at_run = true},
    {.inputs = {{OP_SHAPE(6)}, {.dtype = TC_I64, OP_SHAPE(1, 2)}},
     .message = "the sizes have shape [1, 2]"},
    {.inputs = {{OP_SHAPE(6)}, {.dtype = TC_I64, OP_SHAPE(9)}}, .message = "at most 8"},
    {.inputs = {{OP_SHAPE(6)}, {.dtype = TC_I64, OP_SHAPE(2), OP_ELEMENTS(4, 2), .constant = true}},
     .message = "the numbers of elements differ"},
    {.inputs = {{OP_SHAPE(6)},
                {.dtype = TC_I64, OP_SHAPE(2), OP_ELEMENTS(4, -1), .constant = true}},
     .message = "do not divide"},
};

extern const op_case op_case_reshape_to;
const op_case op_case_reshape_to = {.op = "reshape_to",
                                    .build = build,
                                    .reference = copy_reference,
                                    OP_LIST(samples),
                                    OP_BAD(bad),
                                    .n_inputs = 2,
                                    .dtypes = TC_DTYPES_ANY,
                                    .gradients = OP_INPUT(0)};
