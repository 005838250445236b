/* Places of the elements that are not zero. */
#include "places.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_nonzero(in[0]);
}

static void reference(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0];
    double *out = run->outputs[0];
    for (int64_t i = 0; i < elements_of(x); i++) {
        int64_t place[TC_MAX_RANK];
        if (run->inputs[0][i] == 0)
            continue;
        place_of(x, i, place);
        for (int32_t d = 0; d < x->rank; d++)
            *out++ = (double)place[d];
    }
}

#define PLACES(n, rank_of_x)                            \
    {                                                   \
        {                                               \
            .dtype = TC_I64, OP_SHAPE((n), (rank_of_x)) \
        }                                               \
    }
/* 1 element in 4 is not 0. */
static const double sparse[] = {0, 1, 0, 0, 0, 0, 1, 0};

static const op_sample samples[] = {
    {.name = "matrix",
     .inputs = {{OP_SHAPE(2, 3), OP_ELEMENTS(0, 1, 0, 2, 0, 3)}},
     .outputs = PLACES(3, 2)},
    {.name = "vector", .inputs = {{OP_SHAPE(4), OP_ELEMENTS(1, 0, 0, 5)}}, .outputs = PLACES(2, 1)},
    {.name = "nothing", .inputs = {{OP_SHAPE(3, 2), OP_ELEMENTS(0)}}, .outputs = PLACES(0, 2)},
    {.name = "everything", .inputs = {{OP_SHAPE(2, 2), OP_ELEMENTS(1)}}, .outputs = PLACES(4, 2)},
    {.name = "zeros with a sign, and not a number",
     .inputs = {{OP_SHAPE(5), OP_ELEMENTS(-0.0, NAN, INFINITY, -1, 0)}},
     .outputs = PLACES(3, 1),
     .dtypes = TC_DTYPES_FLOAT},
    {.name = "negative",
     .inputs = {{OP_SHAPE(3), OP_ELEMENTS(-1, 0, -128)}},
     .outputs = PLACES(2, 1),
     .dtypes = TC_DTYPES_SIGNED},
    {.name = "scalar", .inputs = {{.rank = 0, OP_ELEMENTS(1)}}, .outputs = PLACES(1, 0)},
    {.name = "scalar zero", .inputs = {{.rank = 0, OP_ELEMENTS(0)}}, .outputs = PLACES(0, 0)},
    {.name = "no rows", .inputs = {{OP_SHAPE(0, 3)}}, .outputs = PLACES(0, 2)},
    {.name = "no columns", .inputs = {{OP_SHAPE(3, 0)}}, .outputs = PLACES(0, 2)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(1, 2, 1, 3, 2, 1, 2, 2), .fill = OP_VALUES, .values = sparse,
                 .n_values = 8}},
     .outputs = PLACES(12, 8)},
    {.name = "many blocks of rows",
     .inputs = {{OP_SHAPE(3000, 17), .fill = OP_VALUES, .values = sparse, .n_values = 8}},
     .outputs = PLACES(12750, 2)},
    {.name = "rows larger than a block",
     .inputs = {{OP_SHAPE(3, 40000), .fill = OP_VALUES, .values = sparse, .n_values = 8}},
     .outputs = PLACES(30000, 2)},
};

extern const op_case op_case_nonzero;
const op_case op_case_nonzero = {.op = "nonzero",
                                 .build = build,
                                 .reference = reference,
                                 OP_LIST(samples),
                                 .dtypes = TC_DTYPES_ANY};
