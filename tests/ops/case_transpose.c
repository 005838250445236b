/* Permuting dimensions: every way through the tiles, widths that merge into wider elements, high
 * ranks. */
#include "places.h"

#define INTS(...) (&(const tc_ints)COUNTED(__VA_ARGS__))
static const tc_ints reversed = {NULL, 0};

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_transpose(in[0], .permutation = *(const tc_ints *)options);
}

static void reference(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0], *y = &run->output_shapes[0];
    const tc_ints *permutation = run->options;
    for (int64_t i = 0; i < elements_of(y); i++) {
        int64_t place[TC_MAX_RANK], from[TC_MAX_RANK];
        place_of(y, i, place);
        for (int32_t d = 0; d < x->rank; d++) {
            int64_t axis = permutation->count ? permutation->data[d] : x->rank - 1 - d;
            from[axis < 0 ? axis + x->rank : axis] = place[d];
        }
        run->outputs[0][i] = run->inputs[0][index_of(x, from)];
    }
}

#define MATRIX(rows, columns)                                                              \
    {                                                                                      \
        .name = #rows " x " #columns, .inputs = {{OP_SHAPE(rows, columns)}},               \
        .outputs = {{OP_SHAPE(columns, rows)}}, .options = &reversed, .no_gradients = true \
    }
static const op_sample samples[] = {
    {.name = "matrix",
     .inputs = {{OP_SHAPE(3, 4)}},
     .outputs = {{OP_SHAPE(4, 3)}},
     .options = &reversed},
    {.name = "reversed",
     .inputs = {{OP_SHAPE(2, 3, 4)}},
     .outputs = {{OP_SHAPE(4, 3, 2)}},
     .options = &reversed},
    {.name = "negative",
     .inputs = {{OP_SHAPE(2, 3, 4)}},
     .outputs = {{OP_SHAPE(2, 4, 3)}},
     .options = INTS(0, -1, -2)},
    {.name = "to the front",
     .inputs = {{OP_SHAPE(2, 3, 4)}},
     .outputs = {{OP_SHAPE(4, 2, 3)}},
     .options = INTS(2, 0, 1)},
    {.name = "pairs stay",
     .inputs = {{OP_SHAPE(3, 5, 2)}},
     .outputs = {{OP_SHAPE(5, 3, 2)}},
     .options = INTS(1, 0, 2)},
    {.name = "fours stay",
     .inputs = {{OP_SHAPE(19, 17, 4)}},
     .outputs = {{OP_SHAPE(17, 19, 4)}},
     .options = INTS(1, 0, 2),
     .no_gradients = true},
    {.name = "runs stay",
     .inputs = {{OP_SHAPE(9, 7, 33)}},
     .outputs = {{OP_SHAPE(7, 9, 33)}},
     .options = INTS(1, 0, 2),
     .no_gradients = true},
    {.name = "heads",
     .inputs = {{OP_SHAPE(2, 65, 3, 16)}},
     .outputs = {{OP_SHAPE(2, 3, 16, 65)}},
     .options = INTS(0, 2, 3, 1),
     .no_gradients = true},
    {.name = "channels last",
     .inputs = {{OP_SHAPE(2, 3, 17, 19)}},
     .outputs = {{OP_SHAPE(2, 17, 19, 3)}},
     .options = INTS(0, 2, 3, 1),
     .no_gradients = true},
    {.name = "channels first",
     .inputs = {{OP_SHAPE(2, 17, 19, 3)}},
     .outputs = {{OP_SHAPE(2, 3, 17, 19)}},
     .options = INTS(0, 3, 1, 2),
     .no_gradients = true},
    {.name = "identity",
     .inputs = {{OP_SHAPE(5, 6, 7)}},
     .outputs = {{OP_SHAPE(5, 6, 7)}},
     .options = INTS(0, 1, 2),
     .no_gradients = true},
    {.name = "scalar", .inputs = {{.rank = 0}}, .outputs = {{.rank = 0}}, .options = &reversed},
    {.name = "vector", .inputs = {{OP_SHAPE(5)}}, .outputs = {{OP_SHAPE(5)}}, .options = &reversed},
    {.name = "empty",
     .inputs = {{OP_SHAPE(3, 0, 2)}},
     .outputs = {{OP_SHAPE(2, 0, 3)}},
     .options = &reversed},
    {.name = "ones",
     .inputs = {{OP_SHAPE(1, 5, 1)}},
     .outputs = {{OP_SHAPE(5, 1, 1)}},
     .options = INTS(1, 2, 0)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(2, 3, 1, 2, 3, 2, 1, 3)}},
     .outputs = {{OP_SHAPE(3, 2, 1, 3, 2, 2, 3, 1)}},
     .options = INTS(7, 0, 2, 4, 3, 5, 1, 6),
     .no_gradients = true},
    {.name = "rank 5",
     .inputs = {{OP_SHAPE(5, 4, 3, 11, 18)}},
     .outputs = {{OP_SHAPE(18, 3, 5, 11, 4)}},
     .options = INTS(4, 2, 0, 3, 1),
     .no_gradients = true},
    MATRIX(64, 64),
    MATRIX(63, 65),
    MATRIX(130, 67),
    MATRIX(132, 204),
    MATRIX(1, 300),
    MATRIX(200, 2),
    MATRIX(3, 5000),
    MATRIX(5000, 17),
    /* Past the size from which stores go around the caches, aligned and not. */
    {.name = "2048 x 4096",
     .inputs = {{OP_SHAPE(2048, 4096)}},
     .outputs = {{OP_SHAPE(4096, 2048)}},
     .options = &reversed,
     .no_gradients = true,
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_BF16)},
    {.name = "1030 x 4099",
     .inputs = {{OP_SHAPE(1030, 4099)}},
     .outputs = {{OP_SHAPE(4099, 1030)}},
     .options = &reversed,
     .no_gradients = true,
     .dtypes = TC_DTYPE_BIT(TC_I32)},
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(0),
     .message = "permutation has 1 entries for a value of rank 2"},
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(0, 0),
     .message = "permutation lists dimension 0 twice"},
    {.inputs = {{OP_SHAPE(3, 4)}},
     .options = INTS(0, 2),
     .message = "permutation entry 2 is outside"},
};

extern const op_case op_case_transpose;
const op_case op_case_transpose = {.op = "transpose",
                                   .build = build,
                                   .reference = reference,
                                   OP_LIST(samples),
                                   OP_BAD(bad),
                                   .n_inputs = 1,
                                   .dtypes = TC_DTYPES_ANY,
                                   .gradients = OP_INPUT(0)};
