/* Reductions along axes and what their gradients need. */
#include <stdlib.h>
#include <string.h>

#include "elementwise.h"

#include <tensorc/gradients.h>

typedef struct reduction {
    int64_t axes[TC_MAX_RANK];
    size_t count;
    bool keep_dims, mean;
} reduction;

#define AXES(...)                                                            \
    &(const reduction)                                                       \
    {                                                                        \
        .axes = {__VA_ARGS__}, .count = sizeof((int64_t[]){__VA_ARGS__}) / 8 \
    }
#define KEEP(...)                                                                               \
    &(const reduction)                                                                          \
    {                                                                                           \
        .axes = {__VA_ARGS__}, .count = sizeof((int64_t[]){__VA_ARGS__}) / 8, .keep_dims = true \
    }
#define ALL            \
    &(const reduction) \
    {                  \
        .count = 0     \
    }
#define ONES                          \
    &(const reduction)                \
    {                                 \
        .count = 0, .keep_dims = true \
    }

#define BUILD(op)                                                                        \
    static tc_value build_##op(tc_graph *graph, const tc_value *in, const void *options) \
    {                                                                                    \
        const reduction *o = options;                                                    \
        (void)graph;                                                                     \
        return tc_##op(in[0], .axes = {o->axes, o->count}, .keep_dims = o->keep_dims);   \
    }
BUILD(reduce_sum)
BUILD(reduce_mean)
BUILD(reduce_max)
BUILD(reduce_min)
BUILD(reduce_prod)

static bool is_reduced(const reduction *o, int axis, int rank)
{
    for (size_t i = 0; i < o->count; i++)
        if (o->axes[i] == axis || o->axes[i] + rank == axis)
            return true;
    return o->count == 0;
}

/* Group of element `index`: its number among the elements of the result. */
static int64_t group_of(const reduction *o, const tc_shape *shape, int64_t index)
{
    int64_t group = 0, stride = 1;
    for (int d = shape->rank - 1; d >= 0; d--) {
        int64_t size = shape->dims[d].size;
        if (!is_reduced(o, d, shape->rank)) {
            group += index % size * stride;
            stride *= size;
        }
        index /= size;
    }
    return group;
}

static double add(double a, double x)
{
    return a + x;
}

static double multiply(double a, double x)
{
    return a * x;
}

static double larger(double a, double x)
{
    return isnan(a) || isnan(x) ? NAN : fmax(a, x);
}

static double smaller(double a, double x)
{
    return isnan(a) || isnan(x) ? NAN : fmin(a, x);
}

static void reduce(const op_run *run, double first, double (*step)(double, double))
{
    int64_t groups = element_count(&run->output_shapes[0]);
    for (int64_t i = 0; i < groups; i++)
        run->outputs[0][i] = first;
    for (int64_t i = 0; i < element_count(&run->input_shapes[0]); i++) {
        double *y = &run->outputs[0][group_of(run->options, &run->input_shapes[0], i)];
        *y = wrapped(run->dtype, step(*y, run->inputs[0][i]));
    }
}

static void sum_reference(const op_run *run)
{
    reduce(run, 0, add);
}

static void mean_reference(const op_run *run)
{
    reduce(run, 0, add);
    int64_t groups = element_count(&run->output_shapes[0]);
    for (int64_t i = 0; i < groups; i++)
        run->outputs[0][i] *= (double)groups / (double)element_count(&run->input_shapes[0]);
}

static void max_reference(const op_run *run)
{
    reduce(run, -INFINITY, larger);
}

static void min_reference(const op_run *run)
{
    reduce(run, INFINITY, smaller);
}

static void prod_reference(const op_run *run)
{
    reduce(run, 1, multiply);
}

/*
 * Shapes that reach every way through memory: S(name, {x}, {y}, axes, no_gradients). Long ones are
 * cut into chunks, wide ones into tiles, narrow ones are read as if several rows were one.
 */
#define SMALL(S, ...)                                                                     \
    S("scalar", .rank = 0, .rank = 0, ALL, false, __VA_ARGS__)                            \
    S("one element", OP_SHAPE(1), .rank = 0, ALL, false, __VA_ARGS__)                     \
    S("vector", OP_SHAPE(7), .rank = 0, ALL, false, __VA_ARGS__)                          \
    S("kept", OP_SHAPE(3, 4), OP_SHAPE(1, 1), ONES, false, __VA_ARGS__)                   \
    S("last", OP_SHAPE(3, 5), OP_SHAPE(3), AXES(-1), false, __VA_ARGS__)                  \
    S("first", OP_SHAPE(3, 5), OP_SHAPE(5), AXES(0), false, __VA_ARGS__)                  \
    S("middle kept", OP_SHAPE(2, 3, 4), OP_SHAPE(2, 1, 4), KEEP(1), false, __VA_ARGS__)   \
    S("outer and inner", OP_SHAPE(2, 3, 4), OP_SHAPE(3), AXES(2, -3), false, __VA_ARGS__) \
    S("nothing but ones", OP_SHAPE(1, 5, 1), OP_SHAPE(5), AXES(0, 2), false, __VA_ARGS__) \
    S("no result", OP_SHAPE(0, 3), OP_SHAPE(0), AXES(1), true, __VA_ARGS__)
#define LARGE(S, ...)                                                                              \
    S("alternating", OP_SHAPE(2, 3, 2, 3, 2, 3, 2, 3), OP_SHAPE(3, 3, 3, 3), AXES(0, 2, 4, 6),     \
      true, __VA_ARGS__)                                                                           \
    S("alternating inside", OP_SHAPE(2, 3, 2, 3, 2, 3, 2, 3), OP_SHAPE(2, 2, 2, 2),                \
      AXES(1, 3, 5, 7), true, __VA_ARGS__)                                                         \
    S("chunks", OP_SHAPE(70003), .rank = 0, ALL, true, __VA_ARGS__)                                \
    S("chunks of rows", OP_SHAPE(2003, 70), OP_SHAPE(70), AXES(0), true, __VA_ARGS__)              \
    S("chunks over slices", OP_SHAPE(64, 3, 700), OP_SHAPE(3), AXES(0, 2), true, __VA_ARGS__)      \
    S("chunks of slices", OP_SHAPE(90, 2, 31, 17), OP_SHAPE(2, 17), AXES(0, 2), true, __VA_ARGS__) \
    S("tiles", OP_SHAPE(5, 2100), OP_SHAPE(2100), AXES(0), true, __VA_ARGS__)                      \
    S("long rows", OP_SHAPE(3, 1501), OP_SHAPE(3), AXES(1), true, __VA_ARGS__)                     \
    S("rows", OP_SHAPE(300, 33), OP_SHAPE(300), AXES(1), true, __VA_ARGS__)                        \
    S("short rows", OP_SHAPE(3000, 7), OP_SHAPE(3000), AXES(1), true, __VA_ARGS__)                 \
    S("narrow", OP_SHAPE(9001, 3), OP_SHAPE(3), AXES(0), true, __VA_ARGS__)                        \
    S("narrow, many", OP_SHAPE(50, 40, 3), OP_SHAPE(50, 3), AXES(1), true, __VA_ARGS__)
#define SAMPLE(sample_name, x, y, axes_, flat, ...) \
    {.name = sample_name,                           \
     .inputs = {{x, __VA_ARGS__}},                  \
     .outputs = {{y}},                              \
     .options = axes_,                              \
     .no_gradients = flat},
#define EMPTY_SUMS(S, ...)                                                      \
    S("empty sums", OP_SHAPE(0, 3), OP_SHAPE(3), AXES(0), true, __VA_ARGS__)    \
    S("empty rows", OP_SHAPE(3, 0), OP_SHAPE(3, 1), KEEP(1), true, __VA_ARGS__) \
    S("empty", OP_SHAPE(2, 0, 3), .rank = 0, ALL, true, __VA_ARGS__)

/* Integers that overflow small dtypes. */
static const op_sample sum_samples[] = {
    SMALL(SAMPLE, .fill = OP_UNIFORM) LARGE(SAMPLE, .fill = OP_UNIFORM)
        EMPTY_SUMS(SAMPLE, .fill = OP_UNIFORM){
            .name = "wraps",
            .inputs = {{OP_SHAPE(3, 400), .fill = OP_INTEGERS, .low = 0, .high = 120}},
            .outputs = {{OP_SHAPE(400)}},
            .options = AXES(0),
            .dtypes = TC_DTYPES_INT},
    {.name = "infinities and NaN",
     .inputs = {{OP_SHAPE(4, 2), OP_ELEMENTS(INFINITY, INFINITY, 1, NAN, -INFINITY, 3, 1, 1)}},
     .outputs = {{OP_SHAPE(2)}},
     .options = AXES(0),
     .dtypes = TC_DTYPES_FLOAT,
     .no_gradients = true},
};
static const op_sample mean_samples[] = {SMALL(SAMPLE, .fill = OP_UNIFORM) LARGE(
    SAMPLE, .fill = OP_UNIFORM) EMPTY_SUMS(SAMPLE, .fill = OP_UNIFORM)};
static const op_sample prod_samples[] = {
    SMALL(SAMPLE, .low = 0.5, .high = 1.75) LARGE(SAMPLE, .low = 0.9, .high = 1.1)
        EMPTY_SUMS(SAMPLE, .fill = OP_UNIFORM){.name = "wraps",
                                               .inputs = {{OP_SHAPE(7, 3), OP_ELEMENTS(3, 2, 7)}},
                                               .outputs = {{OP_SHAPE(3)}},
                                               .options = AXES(0),
                                               .dtypes = TC_DTYPES_INT},
    {.name = "no, one and two zeros",
     .inputs = {{OP_SHAPE(3, 4), OP_ELEMENTS(2, 3, 0.5, 1, 2, 0, 3, 1, 0, 2, 3, 0)}},
     .outputs = {{OP_SHAPE(3)}},
     .options = AXES(1),
     .dtypes = TC_DTYPES_FLOAT},
};
/* The gradient of an extremum is checked where there is one, and below where there are several. */
#define EXTREMUM_SAMPLES                                                                         \
    SMALL(SAMPLE, .fill = OP_DISTINCT)                                                           \
    LARGE(SAMPLE, .fill = OP_UNIFORM, .low = -120, .high = 120){                                 \
        .name = "NaN wins",                                                                      \
        .inputs = {{OP_SHAPE(3, 3), OP_ELEMENTS(1, NAN, 3, -INFINITY, 5, INFINITY, 4, 4, NAN)}}, \
        .outputs = {{OP_SHAPE(3)}},                                                              \
        .options = AXES(1),                                                                      \
        .dtypes = TC_DTYPES_FLOAT,                                                               \
        .no_gradients = true},                                                                   \
        {.name = "NaN in a long row",                                                            \
         .inputs = {{OP_SHAPE(2, 500), OP_ELEMENTS(1, 2, NAN, 3, 4, 5, 6)}},                     \
         .outputs = {{OP_SHAPE(2)}},                                                             \
         .options = AXES(1),                                                                     \
         .dtypes = TC_DTYPES_FLOAT,                                                              \
         .no_gradients = true},                                                                  \
        {.name = "nothing of nothing",                                                           \
         .inputs = {{OP_SHAPE(0, 0)}},                                                           \
         .outputs = {{OP_SHAPE(0)}},                                                             \
         .options = AXES(1),                                                                     \
         .no_gradients = true},                                                                  \
    {                                                                                            \
        .name = "the gradient of ties",                                                          \
        .inputs = {{OP_SHAPE(2, 4), OP_ELEMENTS(1, 3, 3, 3, -2, -2, -2, -2)}},                   \
        .outputs = {{OP_SHAPE(2, 4)}}, .options = AXES(1), .dtypes = TC_DTYPES_FLOAT,            \
        .no_gradients = true, .build = build_ties, .reference = ties_reference                   \
    }

/* The gradient of the maximum, and of the minimum of the negative, which is the same. */
static tc_value gradient_of(tc_value y, tc_value x)
{
    tc_value dx = TC_NO_VALUE;
    (void)tc_gradients(&y, 1, &x, 1, &dx, .zero_unconnected = false);
    return dx;
}

#define build_ties build_ties_max
static tc_value build_ties_max(tc_graph *graph, const tc_value *in, const void *options)
{
    return gradient_of(build_reduce_max(graph, in, options), in[0]);
}

static void ties_reference(const op_run *run)
{
    static const double expected[] = {0, 1.0 / 3, 1.0 / 3, 1.0 / 3, 0.25, 0.25, 0.25, 0.25};
    memcpy(run->outputs[0], expected, sizeof expected);
}
static const op_sample max_samples[] = {EXTREMUM_SAMPLES};
#undef build_ties

#define build_ties build_ties_min
static tc_value build_ties_min(tc_graph *graph, const tc_value *in, const void *options)
{
    tc_value negative = tc_neg(in[0]);
    return gradient_of(tc_neg(build_reduce_min(graph, &negative, options)), in[0]);
}
static const op_sample min_samples[] = {EXTREMUM_SAMPLES};
#undef build_ties

#define BAD_AXES                                                                                  \
    {.inputs = {{OP_SHAPE(2, 3)}}, .options = AXES(2), .message = "axis 2 is outside"},           \
        {.inputs = {{OP_SHAPE(2, 3)}}, .options = AXES(-3), .message = "axis -3 is outside"},     \
    {                                                                                             \
        .inputs = {{OP_SHAPE(2, 3)}}, .options = AXES(1, -1), .message = "axis 1 is listed twice" \
    }
static const op_bad sum_bad[] = {
    BAD_AXES, {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)}}, .options = ALL, .message = "is bool"}};
static const op_bad mean_bad[] = {
    BAD_AXES, {.inputs = {{.dtype = TC_I32, OP_SHAPE(2)}}, .options = ALL, .message = "is i32"}};
static const op_bad prod_bad[] = {
    BAD_AXES, {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)}}, .options = ALL, .message = "is bool"}};
static const op_bad max_bad[] = {
    BAD_AXES,
    {.inputs = {{OP_SHAPE(2, 0)}},
     .options = AXES(1),
     .message = "axis 1 of x [2, 0] is empty, and nothing has no maximum"}};
static const op_bad min_bad[] = {
    BAD_AXES, {.inputs = {{OP_SHAPE(2, 0)}}, .options = ALL, .message = "nothing has no minimum"}};

#define CASE(kind, set)                                                   \
    extern const op_case op_case_reduce_##kind;                           \
    const op_case op_case_reduce_##kind = {.op = "reduce_" #kind,         \
                                           .build = build_reduce_##kind,  \
                                           .reference = kind##_reference, \
                                           OP_LIST(kind##_samples),       \
                                           OP_BAD(kind##_bad),            \
                                           .n_inputs = 1,                 \
                                           .dtypes = set,                 \
                                           .gradients = OP_INPUT(0)};
CASE(sum, TC_DTYPES_NUMBER)
CASE(mean, TC_DTYPES_FLOAT)
CASE(max, TC_DTYPES_ANY)
CASE(min, TC_DTYPES_ANY)
CASE(prod, TC_DTYPES_NUMBER)

/*
 * reduce_expand
 */
static tc_value build_expand(tc_graph *graph, const tc_value *in, const void *options)
{
    const reduction *o = options;
    return tc_node_build(graph,
                         &(tc_node_spec){.op = "reduce_expand",
                                         .at = TC_HERE,
                                         TC_SPEC_INPUTS(in[0], in[1]),
                                         TC_SPEC_ATTRS({"axes", tc_attr_ints(o->axes, o->count)},
                                                       {"keep_dims", tc_attr_bool(o->keep_dims)},
                                                       {"mean", tc_attr_bool(o->mean)})});
}

static void expand_reference(const op_run *run)
{
    const reduction *o = run->options;
    int64_t count = element_count(&run->output_shapes[0]);
    double scale = o->mean ? (double)element_count(&run->input_shapes[0]) / (double)count : 1;
    for (int64_t i = 0; i < count; i++)
        run->outputs[0][i] = run->inputs[0][group_of(o, &run->output_shapes[0], i)] * scale;
}

#define AVERAGE(...)                                                                       \
    &(const reduction)                                                                     \
    {                                                                                      \
        .axes = {__VA_ARGS__}, .count = sizeof((int64_t[]){__VA_ARGS__}) / 8, .mean = true \
    }
#define EXPAND(sample_name, x, y, axes_, flat, ...) \
    {.name = sample_name,                           \
     .inputs = {{y, __VA_ARGS__}, {x}},             \
     .outputs = {{x}},                              \
     .options = axes_,                              \
     .no_gradients = flat},
static const op_sample expand_samples[] = {
    SMALL(EXPAND, .fill = OP_UNIFORM) LARGE(EXPAND, .fill = OP_UNIFORM)
        EXPAND("means", OP_SHAPE(3, 5), OP_SHAPE(3), AVERAGE(1), false, .fill = OP_UNIFORM)
            EXPAND("means of columns", OP_SHAPE(2, 3, 2100), OP_SHAPE(2, 2100), AVERAGE(1), true,
                   .fill = OP_UNIFORM)};
static const op_bad expand_bad[] = {
    {.inputs = {{OP_SHAPE(2)}, {OP_SHAPE(2, 3)}},
     .options = AXES(0),
     .message = "y is [2], but reducing [2, 3] gives [3]"},
};
extern const op_case op_case_reduce_expand;
const op_case op_case_reduce_expand = {.op = "reduce_expand",
                                       .build = build_expand,
                                       .reference = expand_reference,
                                       OP_LIST(expand_samples),
                                       OP_BAD(expand_bad),
                                       .n_inputs = 2,
                                       .dtypes = TC_DTYPES_FLOAT,
                                       .gradients = OP_INPUT(0)};

/*
 * reduce_prod_others
 */
static tc_value build_others(tc_graph *graph, const tc_value *in, const void *options)
{
    const reduction *o = options;
    size_t count = 1;
    while (count < OP_MAX_INPUTS && in[count].node >= 0 && in[count].graph == graph)
        count++;
    return tc_node_build(graph,
                         &(tc_node_spec){.op = "reduce_prod_others",
                                         .at = TC_HERE,
                                         .inputs = in,
                                         .n_inputs = count,
                                         TC_SPEC_ATTRS({"axes", tc_attr_ints(o->axes, o->count)})});
}

/* Derivative of the product of x over the rest of the group of `i`, along the directions from `t`
 * on, by its definition: the sum over every choice of different elements that are replaced. */
static double derivative(const op_run *run, int64_t i, int t, double *x)
{
    const tc_shape *shape = &run->input_shapes[0];
    int64_t count = element_count(shape), group = group_of(run->options, shape, i);
    double result = t == run->n_inputs;
    for (int64_t k = 0; k < count; k++) {
        if (k == i || group_of(run->options, shape, k) != group)
            continue;
        if (t == run->n_inputs) {
            result *= isnan(x[k]) ? 1 : x[k];
        } else if (!isnan(x[k])) { /* NaN marks an element that was replaced already */
            double kept = x[k];
            x[k] = NAN;
            result += run->inputs[t][k] * derivative(run, i, t + 1, x);
            x[k] = kept;
        }
    }
    return result;
}

static void others_reference(const op_run *run)
{
    int64_t count = element_count(&run->input_shapes[0]);
    double *x = malloc((size_t)(count + 1) * sizeof *x);
    if (!x)
        abort();
    memcpy(x, run->inputs[0], (size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++)
        run->outputs[0][i] = derivative(run, i, 1, x);
    free(x);
}

static const op_sample others_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(3, 4), OP_ELEMENTS(2, 3, 0.5, 1, 2, 0, 3, 1, 0, 2, 3, 0)}},
     .outputs = {{OP_SHAPE(3, 4)}},
     .options = AXES(1)},
    {.name = "two axes, one direction",
     .inputs = {{OP_SHAPE(2, 3, 2)}, {OP_SHAPE(2, 3, 2)}},
     .outputs = {{OP_SHAPE(2, 3, 2)}},
     .options = AXES(0, 2)},
    {.name = "all, two directions",
     .inputs = {{OP_SHAPE(5)}, {OP_SHAPE(5)}, {OP_SHAPE(5)}},
     .outputs = {{OP_SHAPE(5)}},
     .options = ALL},
    {.name = "three directions",
     .inputs = {{OP_SHAPE(4)}, {OP_SHAPE(4)}, {OP_SHAPE(4)}, {OP_SHAPE(4)}},
     .outputs = {{OP_SHAPE(4)}},
     .options = ALL},
    {.name = "long",
     .inputs = {{OP_SHAPE(601), .low = 0.9, .high = 1.1}},
     .outputs = {{OP_SHAPE(601)}},
     .options = ALL,
     .no_gradients = true},
    {.name = "long, one direction",
     .inputs = {{OP_SHAPE(101, 2), .low = 0.9, .high = 1.1}, {OP_SHAPE(101, 2)}},
     .outputs = {{OP_SHAPE(101, 2)}},
     .options = AXES(0),
     .no_gradients = true},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0)}},
     .outputs = {{OP_SHAPE(0)}},
     .options = ALL,
     .no_gradients = true},
};
static const op_bad others_bad[] = {
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(4)}},
     .options = ALL,
     .message = "x [3] and direction [4] differ in shape"},
    {.inputs = {{OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)},
                {OP_SHAPE(3)}},
     .options = ALL,
     .message = "at most 7 times"},
};
extern const op_case op_case_reduce_prod_others;
const op_case op_case_reduce_prod_others = {.op = "reduce_prod_others",
                                            .build = build_others,
                                            .reference = others_reference,
                                            OP_LIST(others_samples),
                                            OP_BAD(others_bad),
                                            .n_inputs = 1,
                                            .dtypes = TC_DTYPES_FLOAT,
                                            .gradients = OP_INPUT(0) | OP_INPUT(1) | OP_INPUT(2) |
                                                         OP_INPUT(3)};
