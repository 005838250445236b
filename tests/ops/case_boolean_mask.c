/* Slices where a mask is true, and their places in zeros. */
#include "places.h"

/* Calls for each element of the slices: its index there, and that of the element of the whole. */
static void each_slice(const op_run *run, const tc_shape *whole,
                       void (*visit)(const op_run *run, int64_t slices, int64_t whole))
{
    int64_t count = elements_of(&run->input_shapes[1]), row = 1, slice = 0;
    for (int32_t d = run->input_shapes[1].rank; d < whole->rank; d++)
        row *= whole->dims[d].size;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t k = 0; run->inputs[1][i] && k < row; k++)
            visit(run, slice * row + k, i * row + k);
        slice += run->inputs[1][i] != 0;
    }
}

static void take(const op_run *run, int64_t slices, int64_t whole)
{
    run->outputs[0][slices] = run->inputs[0][whole];
}

static void put(const op_run *run, int64_t slices, int64_t whole)
{
    run->outputs[0][whole] = run->inputs[0][slices];
}

static tc_value build_mask(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_boolean_mask(in[0], in[1]);
}

static void mask_reference(const op_run *run)
{
    each_slice(run, &run->input_shapes[0], take);
}

#define MASK(shape, ...)                                  \
    {                                                     \
        .dtype = TC_BOOL, shape, OP_ELEMENTS(__VA_ARGS__) \
    }

static const op_sample mask_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(4, 3)}, MASK(OP_SHAPE(4), 1, 0, 1, 1)},
     .outputs = {{OP_SHAPE(3, 3)}}},
    {.name = "elements",
     .inputs = {{OP_SHAPE(2, 3)}, MASK(OP_SHAPE(2, 3), 0, 1, 1, 0, 0, 1)},
     .outputs = {{OP_SHAPE(3)}}},
    {.name = "leading two of three",
     .inputs = {{OP_SHAPE(2, 2, 2)}, MASK(OP_SHAPE(2, 2), 1, 0, 0, 1)},
     .outputs = {{OP_SHAPE(2, 2)}}},
    {.name = "no slice",
     .inputs = {{OP_SHAPE(3, 2)}, MASK(OP_SHAPE(3), 0)},
     .outputs = {{OP_SHAPE(0, 2)}}},
    {.name = "every slice",
     .inputs = {{OP_SHAPE(3, 2)}, MASK(OP_SHAPE(3), 1)},
     .outputs = {{OP_SHAPE(3, 2)}}},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0, 2)}, MASK(OP_SHAPE(0), 1)},
     .outputs = {{OP_SHAPE(0, 2)}}},
    {.name = "empty slices",
     .inputs = {{OP_SHAPE(3, 0)}, MASK(OP_SHAPE(3), 1, 0, 1)},
     .outputs = {{OP_SHAPE(2, 0)}}},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(2, 1, 3, 1, 2, 1, 1, 2)}, MASK(OP_SHAPE(2, 1, 3), 1, 0, 1, 1, 1, 0)},
     .outputs = {{OP_SHAPE(4, 1, 2, 1, 1, 2)}}},
    {.name = "many elements",
     .inputs = {{OP_SHAPE(300, 211)}, MASK(OP_SHAPE(300, 211), 1, 1, 0, 1, 0, 0, 0)},
     .outputs = {{OP_SHAPE(27129)}},
     .no_gradients = true},
    {.name = "many rows",
     .inputs = {{OP_SHAPE(9001, 7)}, MASK(OP_SHAPE(9001), 0, 1, 1, 0, 1)},
     .outputs = {{OP_SHAPE(5400, 7)}},
     .no_gradients = true},
};

static const op_bad mask_bad[] = {
    {.inputs = {{OP_SHAPE(4, 3)}, MASK(OP_SHAPE(3), 1)},
     .message = "the mask has shape [3], which is not that of the first dimensions of [4, 3]"},
    {.inputs = {{OP_SHAPE(4)}, MASK(OP_SHAPE(4, 1), 1)}, .message = "the mask has shape [4, 1]"},
    {.inputs = {{OP_SHAPE(4)}, MASK(.rank = 0, 1)}, .message = "the mask is a scalar"},
    {.inputs = {{OP_SHAPE(4)}, {.dtype = TC_I32, OP_SHAPE(4)}}, .message = "must be bool"},
};

extern const op_case op_case_boolean_mask;
const op_case op_case_boolean_mask = {.op = "boolean_mask",
                                      .build = build_mask,
                                      .reference = mask_reference,
                                      OP_LIST(mask_samples),
                                      OP_BAD(mask_bad),
                                      .n_inputs = 2,
                                      .dtypes = TC_DTYPES_ANY,
                                      .gradients = OP_INPUT(0)};

static tc_value build_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_boolean_mask_grad(in[0], in[1], in[2]);
}

static void grad_reference(const op_run *run)
{
    each_slice(run, &run->input_shapes[2], put);
}

static const op_sample grad_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(2, 3)}, MASK(OP_SHAPE(4), 0, 1, 1, 0), {OP_SHAPE(4, 3)}},
     .outputs = {{OP_SHAPE(4, 3)}}},
    {.name = "elements",
     .inputs = {{OP_SHAPE(3)}, MASK(OP_SHAPE(2, 2), 1, 1, 0, 1), {OP_SHAPE(2, 2)}},
     .outputs = {{OP_SHAPE(2, 2)}}},
    {.name = "no slice",
     .inputs = {{OP_SHAPE(0, 2)}, MASK(OP_SHAPE(3), 0), {OP_SHAPE(3, 2)}},
     .outputs = {{OP_SHAPE(3, 2)}}},
    {.name = "every slice",
     .inputs = {{OP_SHAPE(3, 2)}, MASK(OP_SHAPE(3), 1), {OP_SHAPE(3, 2)}},
     .outputs = {{OP_SHAPE(3, 2)}}},
    {.name = "of nothing",
     .inputs = {{OP_SHAPE(0)}, MASK(OP_SHAPE(0, 2), 1), {OP_SHAPE(0, 2)}},
     .outputs = {{OP_SHAPE(0, 2)}}},
    {.name = "many rows",
     .inputs = {{OP_SHAPE(5400, 7)}, MASK(OP_SHAPE(9001), 0, 1, 1, 0, 1), {OP_SHAPE(9001, 7)}},
     .outputs = {{OP_SHAPE(9001, 7)}},
     .no_gradients = true},
};

static const op_bad grad_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, MASK(OP_SHAPE(4), 1, 1, 0, 1), {OP_SHAPE(4, 3)}},
     .message = "the mask is true 3 times, but dy has 2 slices",
     .at_run = true},
    {.inputs = {{OP_SHAPE(2, 2)}, MASK(OP_SHAPE(4), 1), {OP_SHAPE(4, 3)}},
     .message = "dy has shape [2, 2], but the slices have shape [?, 3]"},
};

extern const op_case op_case_boolean_mask_grad;
const op_case op_case_boolean_mask_grad = {.op = "boolean_mask_grad",
                                           .build = build_grad,
                                           .reference = grad_reference,
                                           OP_LIST(grad_samples),
                                           OP_BAD(grad_bad),
                                           .n_inputs = 3,
                                           .dtypes = TC_DTYPES_ANY,
                                           .gradients = OP_INPUT(0)};
