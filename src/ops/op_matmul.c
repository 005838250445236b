/* Matrix product over the last two dimensions, the leading ones broadcast. */
#include "core/shape.h"
#include "ops/cost.h"
#include "ops/products.h"
#include "tensorc/ops/linalg.h"
#include "tensorc/ops/shape.h"

tc_status tc_infer_matmul(tc_infer *infer)
{
    const tc_shape *a = &infer->inputs[0].shape, *b = &infer->inputs[1].shape;
    char at[TC_SHAPE_TEXT_SIZE], bt[TC_SHAPE_TEXT_SIZE];
    for (int i = 0; i < 2; i++) {
        const tc_shape *shape = &infer->inputs[i].shape;
        if (shape->rank < 2)
            return tc_infer_fail(
                infer,
                "%s of shape %s has rank %d and no matrix: reshape it to [1, n] or "
                "[n, 1] first",
                i ? "b" : "a", tc_shape_text(shape, at), shape->rank);
    }
    bool ta = tc_attrs_bool(infer->attrs, "transpose_a");
    bool tb = tc_attrs_bool(infer->attrs, "transpose_b");
    tc_dim m = a->dims[a->rank - (ta ? 1 : 2)], ka = a->dims[a->rank - (ta ? 2 : 1)];
    tc_dim n = b->dims[b->rank - (tb ? 2 : 1)], kb = b->dims[b->rank - (tb ? 1 : 2)];
    if (tc_dim_is_known(ka) && tc_dim_is_known(kb) && ka.size != kb.size)
        return tc_infer_fail(infer,
                             "the inner dimensions differ: %s%s has %lld columns, %s%s has %lld "
                             "rows",
                             ta ? "the transpose of a " : "a ", tc_shape_text(a, at),
                             (long long)ka.size, tb ? "the transpose of b " : "b ",
                             tc_shape_text(b, bt), (long long)kb.size);
    tc_shape batch_a = *a, batch_b = *b, *out = &infer->outputs[0].shape;
    batch_a.rank -= 2;
    batch_b.rank -= 2;
    if (!tc_shape_broadcast(&batch_a, &batch_b, out))
        return tc_infer_fail(infer, "the leading dimensions of a %s and b %s do not broadcast",
                             tc_shape_text(a, at), tc_shape_text(b, bt));
    out->dims[out->rank++] = m;
    out->dims[out->rank++] = n;
    return TC_OK;
}

static void matmul_cost(const tc_infer *node, tc_node_cost *cost)
{
    const tc_shape *a = &node->inputs[0].shape;
    int32_t inner = a->rank - (tc_attrs_bool(node->attrs, "transpose_a") ? 2 : 1);
    cost->flops = 2 * tc_cost_elements(&node->outputs[0]) * (double)a->dims[inner].size;
}

static tc_value product(tc_location at, tc_value a, bool transpose_a, tc_value b, bool transpose_b)
{
    return tc_matmul_at(at, a, b,
                        &(tc_matmul_options){.struct_size = sizeof(tc_matmul_options),
                                             .transpose_a = transpose_a,
                                             .transpose_b = transpose_b});
}

/* [..., n] as [rows, n]; an invalid value where n is unknown or 0. */
static tc_value as_rows(tc_location at, tc_value x)
{
    tc_shape shape = tc_value_shape(x);
    int64_t n = shape.rank > 0 ? shape.dims[shape.rank - 1].size : -1;
    return n > 0 ? tc_reshape_at(at, x, tc_shape_of(2, (const int64_t[]){-1, n})) : TC_NO_VALUE;
}

static void matmul_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_value a = grad->inputs[0], b = grad->inputs[1], dy = grad->output_gradients[0];
    bool ta = tc_attrs_bool(grad->attrs, "transpose_a");
    bool tb = tc_attrs_bool(grad->attrs, "transpose_b");
    if (grad->needed[0]) {
        tc_value da = ta ? product(at, b, tb, dy, true) : product(at, dy, false, b, !tb);
        grad->input_gradients[0] = tc_unbroadcast(at, da, a);
    }
    if (!grad->needed[1])
        return;
    if (tc_value_shape(b).rank == 2 && tc_value_shape(a).rank > 2 && !ta) {
        /* One long product instead of a batch of products that are summed afterwards. */
        tc_value rows = as_rows(at, a), dy_rows = as_rows(at, dy);
        if (tc_value_ok(rows) && tc_value_ok(dy_rows)) {
            grad->input_gradients[1] = tb ? product(at, dy_rows, true, rows, false)
                                          : product(at, rows, true, dy_rows, false);
            return;
        }
    }
    tc_value db = tb ? product(at, dy, true, a, ta) : product(at, a, !ta, dy, false);
    grad->input_gradients[1] = tc_unbroadcast(at, db, b);
}

#define MATMUL_DTYPES (TC_DTYPES_FLOAT | TC_DTYPES_INDEX)
static const tc_port matmul_inputs[] = {
    {"a", MATMUL_DTYPES, 'T', 0, "[..., m, k], or [..., k, m] with transpose_a"},
    {"b", MATMUL_DTYPES, 'T', 0, "[..., k, n], or [..., n, k] with transpose_b"}};
static const tc_port matmul_outputs[] = {{"y", MATMUL_DTYPES, 'T', 0, "[..., m, n]"}};
static const tc_attr_def matmul_attrs[] = {TC_ATTRS_MATMUL};

const tc_op tc_op_matmul = {
    .name = "matmul",
    .version = 1,
    .doc = "Matrix product over the last two dimensions; the leading ones are broadcast",
    TC_LIST(inputs, matmul_inputs),
    TC_LIST(outputs, matmul_outputs),
    TC_LIST(attrs, matmul_attrs),
    .infer = tc_infer_matmul,
    .cost = matmul_cost,
    .grad = matmul_grad,
};

tc_value tc_matmul_at(tc_location at, tc_value a, tc_value b, const tc_matmul_options *options)
{
    TC_OPTIONS(tc_matmul_options, o, options);
    return TC_NODE_WITH("matmul", o.name, at, (a, b), {"transpose_a", tc_attr_bool(o.transpose_a)},
                        {"transpose_b", tc_attr_bool(o.transpose_b)});
}
