/* Sum, mean, maximum, minimum and product along axes, and what their gradients need. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/reduce.h"

/* Of the products of reduce_prod_others: each more makes one more order of derivatives. */
#define MAX_TANGENTS 6

static tc_status find_axes(tc_infer *infer, int32_t rank, bool reduced[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(infer->attrs, "axes", &count);
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        reduced[i] = count == 0 && i < rank;
    for (int32_t i = 0; i < count; i++) {
        int axis;
        TC_TRY(tc_infer_axis(infer, "axis", axes[i], rank, &axis));
        if (reduced[axis])
            return tc_infer_fail(infer, "axis %d is listed twice in axes", axis);
        reduced[axis] = true;
    }
    return TC_OK;
}

/* The shape that reducing `shape` gives. */
static tc_status reduce_shape(tc_infer *infer, const tc_shape *shape, tc_shape *out)
{
    bool reduced[TC_MAX_RANK];
    TC_TRY(find_axes(infer, shape->rank, reduced));
    bool keep_dims = tc_attrs_bool(infer->attrs, "keep_dims");
    tc_shape result = tc_shape_of(0, NULL);
    for (int32_t i = 0; i < shape->rank; i++) {
        if (!reduced[i])
            result.dims[result.rank++] = shape->dims[i];
        else if (keep_dims)
            result.dims[result.rank++].size = 1;
    }
    *out = result;
    return TC_OK;
}

static tc_status reduce_infer(tc_infer *infer)
{
    return reduce_shape(infer, &infer->inputs[0].shape, &infer->outputs[0].shape);
}

/* A maximum needs an element, unless there is nothing to compute it for. */
static tc_status extremum_infer(tc_infer *infer)
{
    TC_TRY(reduce_infer(infer));
    const tc_shape *shape = &infer->inputs[0].shape;
    if (tc_shape_size(&infer->outputs[0].shape) == 0)
        return TC_OK;
    bool reduced[TC_MAX_RANK];
    TC_TRY(find_axes(infer, shape->rank, reduced));
    for (int32_t i = 0; i < shape->rank; i++) {
        char text[TC_SHAPE_TEXT_SIZE];
        if (reduced[i] && shape->dims[i].size == 0)
            return tc_infer_fail(infer, "axis %d of x %s is empty, and nothing has no %s", i,
                                 tc_shape_text(shape, text),
                                 strcmp(infer->attrs->op->name, "reduce_max") ? "minimum"
                                                                              : "maximum");
    }
    return TC_OK;
}

static tc_attr axes_of(const tc_attrs *attrs)
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(attrs, "axes", &count);
    return tc_attr_ints(axes, (size_t)count);
}

/* Reduces over the axes of the node whose gradient is built. */
static tc_value reduce_alike(tc_grad *g, const char *op, tc_value x)
{
    return TC_NODE_WITH(op, NULL, TC_WITHIN(g->at), (x), {"axes", axes_of(g->attrs)},
                        {"keep_dims", tc_attr_bool(tc_attrs_bool(g->attrs, "keep_dims"))});
}

/* Broadcasts a result of the node whose gradient is built up to its input. */
static tc_value expand_alike(tc_grad *g, tc_value reduced, bool mean)
{
    return TC_NODE_WITH("reduce_expand", NULL, TC_WITHIN(g->at), (reduced, g->inputs[0]),
                        {"axes", axes_of(g->attrs)},
                        {"keep_dims", tc_attr_bool(tc_attrs_bool(g->attrs, "keep_dims"))},
                        {"mean", tc_attr_bool(mean)});
}

static void sum_grad(tc_grad *g)
{
    g->input_gradients[0] = expand_alike(g, g->output_gradients[0], false);
}

static void mean_grad(tc_grad *g)
{
    g->input_gradients[0] = expand_alike(g, g->output_gradients[0], true);
}

static void extremum_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value x = g->inputs[0];
    tc_value wins = tc_equal_at(at, x, expand_alike(g, g->outputs[0], false));
    tc_value mask = tc_cast_at(at, wins, tc_value_dtype(x));
    tc_value share = tc_div_at(at, g->output_gradients[0], reduce_alike(g, "reduce_sum", mask));
    g->input_gradients[0] = tc_mul_at(at, mask, expand_alike(g, share, false));
}

static void prod_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value others =
        TC_NODE_WITH("reduce_prod_others", NULL, at, (g->inputs[0]), {"axes", axes_of(g->attrs)});
    g->input_gradients[0] = tc_mul_at(at, others, expand_alike(g, g->output_gradients[0], false));
}

static const tc_attr_def reduce_attrs[] = {
    {"axes", TC_ATTR_INTS, {.type = TC_ATTR_INTS}, NULL, "axes to reduce; none: all"},
    {"keep_dims", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "keep reduced axes with size 1"},
};

#define PORTS(set, dtypes)                                                        \
    static const tc_port set##_in[] = {{"x", dtypes, 'T', 0, "what is reduced"}}; \
    static const tc_port set##_out[] = {{"y", dtypes, 'T', 0, "one element per group"}};
PORTS(numbers, TC_DTYPES_NUMBER)
PORTS(floats, TC_DTYPES_FLOAT)
PORTS(all, TC_DTYPES_ANY)

#define REDUCE(op_name, ports, infer_function, gradient, text)                               \
    const tc_op tc_op_##op_name = {                                                          \
        .name = #op_name,                                                                    \
        .version = 1,                                                                        \
        .doc = text,                                                                         \
        TC_LIST(inputs, ports##_in),                                                         \
        TC_LIST(outputs, ports##_out),                                                       \
        TC_LIST(attrs, reduce_attrs),                                                        \
        .infer = infer_function,                                                             \
        .cost = tc_cost_each_input,                                                          \
        .grad = gradient,                                                                    \
    };                                                                                       \
    tc_value tc_##op_name##_at(tc_location at, tc_value x, const tc_reduce_options *options) \
    {                                                                                        \
        TC_OPTIONS(tc_reduce_options, o, options);                                           \
        return TC_NODE_WITH(#op_name, o.name, at, (x),                                       \
                            {"axes", tc_attr_ints(o.axes.data, o.axes.count)},               \
                            {"keep_dims", tc_attr_bool(o.keep_dims)});                       \
    }

REDUCE(reduce_sum, numbers, reduce_infer, sum_grad, "sum along axes; integers wrap around")
REDUCE(reduce_mean, floats, reduce_infer, mean_grad, "arithmetic mean along axes")
REDUCE(reduce_max, all, extremum_infer, extremum_grad, "largest element along axes; NaN wins")
REDUCE(reduce_min, all, extremum_infer, extremum_grad, "smallest element along axes; NaN wins")
REDUCE(reduce_prod, numbers, reduce_infer, prod_grad, "product along axes; integers wrap around")

/*
 * reduce_expand: the transpose of reduce_sum and reduce_mean.
 */

static tc_status expand_infer(tc_infer *infer)
{
    const tc_shape *y = &infer->inputs[0].shape, *like = &infer->inputs[1].shape;
    tc_shape expected;
    TC_TRY(reduce_shape(infer, like, &expected));
    if (!tc_shape_compatible(y, &expected)) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], c[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "y is %s, but reducing %s gives %s", tc_shape_text(y, a),
                             tc_shape_text(like, b), tc_shape_text(&expected, c));
    }
    infer->outputs[0].shape = *like;
    return TC_OK;
}

static void expand_grad(tc_grad *g)
{
    bool mean = tc_attrs_bool(g->attrs, "mean");
    if (g->needed[0])
        g->input_gradients[0] =
            reduce_alike(g, mean ? "reduce_mean" : "reduce_sum", g->output_gradients[0]);
}

static const tc_port expand_inputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0, "shaped as like reduced over the axes"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "gives the shape of the result"},
};
static const tc_port expand_outputs[] = {{"x", TC_DTYPES_FLOAT, 'T', 0, "in the shape of like"}};
static const tc_attr_def expand_attrs[] = {
    {"axes", TC_ATTR_INTS, {.type = TC_ATTR_INTS}, NULL, "axes that were reduced; none: all"},
    {"keep_dims", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "y has them with size 1"},
    {"mean", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "divide by the size of a group"},
};

const tc_op tc_op_reduce_expand = {
    .name = "reduce_expand",
    .version = 1,
    .doc = "y repeated along reduced axes, the gradient of reduce_sum and reduce_mean",
    TC_LIST(inputs, expand_inputs),
    TC_LIST(outputs, expand_outputs),
    TC_LIST(attrs, expand_attrs),
    .infer = expand_infer,
    .grad = expand_grad,
};

/*
 * reduce_prod_others: derivatives of products without division.
 *
 * In a group of elements x with directions t1 ... tm let P(i) be the product of x_j + e1 t1_j + ...
 * + em tm_j over all j but i. Result i is the coefficient of e1 e2 ... em in P(i): the m-th
 * derivative, along the directions, of the product of the others. A product is linear in each of
 * its factors, so the derivative of sum_i u_i result_i with respect to x is the same operator with
 * u as one more direction, and with respect to t_k the same with u in its place.
 */

static tc_status others_infer(tc_infer *infer)
{
    bool reduced[TC_MAX_RANK];
    const tc_shape *x = &infer->inputs[0].shape;
    TC_TRY(find_axes(infer, x->rank, reduced));
    if (infer->n_inputs - 1 > MAX_TANGENTS)
        return tc_infer_fail(infer, "a product can be differentiated at most %d times",
                             MAX_TANGENTS + 1);
    for (int32_t i = 1; i < infer->n_inputs; i++) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        if (!tc_shape_compatible(x, &infer->inputs[i].shape))
            return tc_infer_fail(infer, "x %s and direction %s differ in shape",
                                 tc_shape_text(x, a), tc_shape_text(&infer->inputs[i].shape, b));
    }
    infer->outputs[0].shape = *x;
    return TC_OK;
}

static void others_grad(tc_grad *g)
{
    for (int32_t i = 0; i < g->n_inputs; i++) {
        if (!g->needed[i])
            continue;
        tc_value inputs[MAX_TANGENTS + 2];
        memcpy(inputs, g->inputs, (size_t)g->n_inputs * sizeof *inputs);
        inputs[i ? i : g->n_inputs] = g->output_gradients[0];
        g->input_gradients[i] =
            tc_node_build(NULL, &(tc_node_spec){.op = "reduce_prod_others",
                                                .at = TC_WITHIN(g->at),
                                                .inputs = inputs,
                                                .n_inputs = (size_t)g->n_inputs + (i == 0),
                                                TC_SPEC_ATTRS({"axes", axes_of(g->attrs)})});
    }
}

static const tc_port others_inputs[] = {
    {"x", TC_DTYPES_FLOAT, 'T', 0, "factors"},
    {"directions", TC_DTYPES_FLOAT, 'T', TC_PORT_VARIADIC, "directions of derivatives"},
};
static const tc_port others_outputs[] = {{"y", TC_DTYPES_FLOAT, 'T', 0, "in the shape of x"}};

const tc_op tc_op_reduce_prod_others = {
    .name = "reduce_prod_others",
    .version = 1,
    .doc = "for each element the product of the others of its group, or a derivative of that",
    TC_LIST(inputs, others_inputs),
    TC_LIST(outputs, others_outputs),
    .attrs = reduce_attrs,
    .n_attrs = 1,
    .infer = others_infer,
    .cost = tc_cost_each_input,
    .grad = others_grad,
};
