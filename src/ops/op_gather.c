/* Slices at given indices, and adding slices there. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "ops/known.h"
#include "tensorc/ops/shape.h"

/* infer: the axis attribute and the shape of the slices of `x` at `indices`. */
static tc_status slices_shape(tc_infer *infer, const tc_shape *x, const tc_shape *indices,
                              tc_shape *out)
{
    int axis;
    char text[TC_SHAPE_TEXT_SIZE];
    if (x->rank == 0)
        return tc_infer_fail(infer, "a scalar has no slices");
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, &axis));
    *out = (tc_shape){.rank = x->rank - 1 + indices->rank};
    if (out->rank > TC_MAX_RANK)
        return tc_infer_fail(infer,
                             "slices of a value of rank %d at indices of shape %s would have "
                             "rank %d, beyond the limit of %d",
                             (int)x->rank, tc_shape_text(indices, text), (int)out->rank,
                             TC_MAX_RANK);
    int32_t d = 0;
    for (int32_t i = 0; i < axis; i++)
        out->dims[d++] = x->dims[i];
    for (int32_t i = 0; i < indices->rank; i++)
        out->dims[d++] = indices->dims[i];
    for (int32_t i = axis + 1; i < x->rank; i++)
        out->dims[d++] = x->dims[i];
    return TC_OK;
}

static tc_status slices_fit(tc_infer *infer, const char *what, const tc_shape *slices,
                            const tc_shape *x, const tc_shape *indices)
{
    tc_shape expected;
    TC_TRY(slices_shape(infer, x, indices, &expected));
    if (tc_shape_compatible(&expected, slices))
        return TC_OK;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    return tc_infer_fail(infer, "%s has shape %s, but the slices have shape %s", what,
                         tc_shape_text(slices, a), tc_shape_text(&expected, b));
}

static tc_gather_options read_options(const tc_attrs *attrs)
{
    return (tc_gather_options){.struct_size = sizeof(tc_gather_options),
                               .axis = tc_attrs_int(attrs, "axis")};
}

static tc_status gather_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape, *indices = &infer->inputs[1].shape;
    TC_TRY(slices_shape(infer, x, indices, &infer->outputs[0].shape));
    bool follow = x->rank == 1 && infer->inputs[0].known && infer->inputs[1].known;
    tc_dim *known = follow ? tc_known_output(infer, 0) : NULL;
    for (int32_t i = 0; known && i < infer->outputs[0].known_count; i++) {
        tc_dim index = tc_known_element(infer, 1, i);
        /* An unknown size reads as -1; a known index is never that, but counted from the front. */
        if (index.size >= 0)
            known[i] = tc_known_element(infer, 0, index.size);
    }
    return TC_OK;
}

static void gather_grad(tc_grad *grad)
{
    tc_gather_options options = read_options(grad->attrs);
    grad->input_gradients[0] = tc_gather_grad_at(TC_WITHIN(grad->at), grad->output_gradients[0],
                                                 grad->inputs[1], grad->inputs[0], &options);
}

/* Of x only the slices that are taken are read. */
static void gather_cost(const tc_infer *node, tc_node_cost *cost)
{
    double element = tc_dtype_bits(node->outputs[0].dtype) / 8.0;
    cost->bytes +=
        element * (tc_cost_elements(&node->outputs[0]) - tc_cost_elements(&node->inputs[0]));
}

static void scatter_add_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = tc_cost_elements(&node->inputs[2]);
}

static const tc_port gather_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "of rank 1 at least"},
    {"indices", TC_DTYPES_INDEX, 0, 0, "which slices, negative from the end; any shape"},
};
static const tc_port gather_outputs[] = {
    {"y", TC_DTYPES_ANY, 'T', 0, "x with dimension `axis` replaced by those of indices"}};
static const tc_attr_def gather_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_INT}, NULL, "dimension, negative from the end"},
};

const tc_op tc_op_gather = {
    .name = "gather",
    .version = 1,
    .doc = "slices of x at indices along a dimension",
    TC_LIST(inputs, gather_inputs),
    TC_LIST(outputs, gather_outputs),
    TC_LIST(attrs, gather_attrs),
    .infer = gather_infer,
    .cost = gather_cost,
    .grad = gather_grad,
};

tc_value tc_gather_at(tc_location at, tc_value x, tc_value indices,
                      const tc_gather_options *options)
{
    TC_OPTIONS(tc_gather_options, o, options);
    return TC_NODE_WITH("gather", o.name, at, (x, indices), {"axis", tc_attr_int(o.axis)});
}

tc_value tc_embedding_at(tc_location at, tc_value table, tc_value ids,
                         const tc_embedding_options *options)
{
    TC_OPTIONS(tc_embedding_options, o, options);
    tc_shape shape = tc_value_shape(table);
    if (tc_value_ok(table) && shape.rank != 2) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_graph_fail(
            table.graph, at, TC_INVALID_ARGUMENT,
            "embedding: the table has shape %s, but must have rank 2, a row per id",
            tc_shape_text(&shape, text));
    }
    return TC_NODE_WITH("gather", o.name ? o.name : "embedding", at, (table, ids),
                        {"axis", tc_attr_int(0)});
}

static tc_status gather_grad_infer(tc_infer *infer)
{
    const tc_shape *like = &infer->inputs[2].shape;
    TC_TRY(slices_fit(infer, "dy", &infer->inputs[0].shape, like, &infer->inputs[1].shape));
    infer->outputs[0].shape = *like;
    return TC_OK;
}

static void gather_grad_grad(tc_grad *grad)
{
    tc_gather_options options = read_options(grad->attrs);
    grad->input_gradients[0] =
        tc_gather_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[1], &options);
}

static const tc_port gather_grad_inputs[] = {
    {"dy", TC_DTYPES_NUMBER, 'T', 0, "slices"},
    {"indices", TC_DTYPES_INDEX, 0, 0, "where they were taken from"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "what they were taken from"},
};
static const tc_port gather_grad_outputs[] = {
    {"dx", TC_DTYPES_NUMBER, 'T', 0, "sums of the slices of each index"}};

const tc_op tc_op_gather_grad = {
    .name = "gather_grad",
    .version = 1,
    .doc = "gradient of gather: zeros with the slices of dy added at indices",
    TC_LIST(inputs, gather_grad_inputs),
    TC_LIST(outputs, gather_grad_outputs),
    TC_LIST(attrs, gather_attrs),
    .infer = gather_grad_infer,
    .cost = tc_cost_each_input,
    .grad = gather_grad_grad,
};

tc_value tc_gather_grad_at(tc_location at, tc_value dy, tc_value indices, tc_value like,
                           const tc_gather_options *options)
{
    TC_OPTIONS(tc_gather_options, o, options);
    return TC_NODE_WITH("gather_grad", o.name, at, (dy, indices, like),
                        {"axis", tc_attr_int(o.axis)});
}

static tc_status scatter_add_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    TC_TRY(slices_fit(infer, "updates", &infer->inputs[2].shape, x, &infer->inputs[1].shape));
    infer->outputs[0].shape = *x;
    return TC_OK;
}

static void scatter_add_grad(tc_grad *grad)
{
    tc_gather_options options = read_options(grad->attrs);
    tc_value dy = grad->output_gradients[0];
    grad->input_gradients[0] = dy;
    if (grad->needed[2])
        grad->input_gradients[2] = tc_gather_at(TC_WITHIN(grad->at), dy, grad->inputs[1], &options);
}

static const tc_port scatter_add_inputs[] = {
    {"x", TC_DTYPES_NUMBER, 'T', 0, "of rank 1 at least"},
    {"indices", TC_DTYPES_INDEX, 0, 0, "which slices, negative from the end; any shape"},
    {"updates", TC_DTYPES_NUMBER, 'T', 0, "x with dimension `axis` replaced by those of indices"},
};
static const tc_port scatter_add_outputs[] = {{"y", TC_DTYPES_NUMBER, 'T', 0, "of the shape of x"}};
static const tc_inplace scatter_add_inplace[] = {{0, 0}};

const tc_op tc_op_scatter_add = {
    .name = "scatter_add",
    .version = 1,
    .doc = "x with slices added at indices along a dimension",
    TC_LIST(inputs, scatter_add_inputs),
    TC_LIST(outputs, scatter_add_outputs),
    TC_LIST(attrs, gather_attrs),
    TC_LIST(inplace, scatter_add_inplace),
    .infer = scatter_add_infer,
    .cost = scatter_add_cost,
    .grad = scatter_add_grad,
};

tc_value tc_scatter_add_at(tc_location at, tc_value x, tc_value indices, tc_value updates,
                           const tc_scatter_add_options *options)
{
    TC_OPTIONS(tc_scatter_add_options, o, options);
    return TC_NODE_WITH("scatter_add", o.name, at, (x, indices, updates),
                        {"axis", tc_attr_int(o.axis)});
}
