/* The different elements of a tensor. */
#include <stdlib.h>

#include "places.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_unique(in[0]);
}

/* Equal as unique means it. */
static bool same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

static bool before(double a, double b)
{
    return isnan(b) ? !isnan(a) : a < b;
}

/* By insertion: quadratic, but nothing like a radix sort. */
static void reference(const op_run *run)
{
    int64_t count = elements_of(&run->input_shapes[0]), found = 0;
    double *values = run->outputs[0], *counts = run->outputs[2];
    for (int64_t i = 0; i < count; i++) {
        double x = run->inputs[0][i];
        int64_t at = 0;
        while (at < found && before(values[at], x))
            at++;
        if (at == found || !same(values[at], x)) {
            for (int64_t k = found++; k > at; k--) {
                values[k] = values[k - 1];
                counts[k] = counts[k - 1];
            }
            values[at] = x;
            counts[at] = 0;
        }
        counts[at]++;
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < found; k++)
            if (same(values[k], run->inputs[0][i]))
                run->outputs[1][i] = (double)k;
}

#define FORMS(n, ...)                                  \
    {                                                  \
        {OP_SHAPE(n)}, {.dtype = TC_I64, __VA_ARGS__}, \
        {                                              \
            .dtype = TC_I64, OP_SHAPE(n)               \
        }                                              \
    }

/* What the reference takes as the first of 0 and -0 must be so in bits. */
static void check(const op_run *run, char why[256])
{
    const tc_shape *x = &run->input_shapes[0];
    for (int64_t i = elements_of(x); i-- > 0;)
        if (run->inputs[0][i] == 0 && i == 0 &&
            !signbit(run->inputs[0][0]) != !signbit(run->outputs[0][(int64_t)run->outputs[1][0]]))
            snprintf(why, 256, "of 0 and -0 the first one is taken");
}

static const op_sample samples[] = {
    {.name = "repeated",
     .inputs = {{OP_SHAPE(6), OP_ELEMENTS(3, 1, 3, 2, 1, 3)}},
     .outputs = FORMS(3, OP_SHAPE(6)),
     .dtypes = TC_DTYPES_NUMBER},
    {.name = "matrix",
     .inputs = {{OP_SHAPE(2, 2), OP_ELEMENTS(1, 0, 0, 1)}},
     .outputs = FORMS(2, OP_SHAPE(2, 2))},
    {.name = "all equal",
     .inputs = {{OP_SHAPE(5), OP_ELEMENTS(1)}},
     .outputs = FORMS(1, OP_SHAPE(5))},
    {.name = "one", .inputs = {{.rank = 0, OP_ELEMENTS(1)}}, .outputs = FORMS(1, .rank = 0)},
    {.name = "none", .inputs = {{OP_SHAPE(0, 3)}}, .outputs = FORMS(0, OP_SHAPE(0, 3))},
    {.name = "signs",
     .inputs = {{OP_SHAPE(6), OP_ELEMENTS(-1, 100, -100, 0, 1, -1)}},
     .outputs = FORMS(5, OP_SHAPE(6)),
     .dtypes = TC_DTYPES_SIGNED | TC_DTYPES_FLOAT},
    {.name = "large",
     .inputs = {{OP_SHAPE(4), OP_ELEMENTS(200, 3, 255, 200)}},
     .outputs = FORMS(3, OP_SHAPE(4)),
     .dtypes = TC_DTYPES_UNSIGNED},
    {.name = "zeros with a sign, infinities and not a number",
     .inputs = {{OP_SHAPE(9), OP_ELEMENTS(-0.0, NAN, INFINITY, 0, -INFINITY, 1e-4, NAN, -1e-4, 1)}},
     .outputs = FORMS(7, OP_SHAPE(9)),
     .dtypes = TC_DTYPES_FLOAT},
    {.name = "many, few different",
     .inputs = {{OP_SHAPE(40, 250), OP_ELEMENTS(5, 3, 1, 7, 9, 0, 2, 2, 11, 100, 101)}},
     .outputs = FORMS(10, OP_SHAPE(40, 250)),
     .dtypes = TC_DTYPES_NUMBER},
    {.name = "all different",
     .inputs = {{OP_SHAPE(3000), .fill = OP_DISTINCT}},
     .outputs = FORMS(3000, OP_SHAPE(3000)),
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64)},
};

extern const op_case op_case_unique;
const op_case op_case_unique = {.op = "unique",
                                .build = build,
                                .reference = reference,
                                .check = check,
                                OP_LIST(samples),
                                .dtypes = TC_DTYPES_ANY};
