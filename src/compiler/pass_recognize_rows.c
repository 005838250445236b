/*
 * Softmax, log_softmax and layer_norm written out become the operators, whose kernels go over a row
 * in fewer steps:
 *
 *     exp(d) / reduce_sum(exp(d)), d = x - reduce_max(x)
 *     d - log(reduce_sum(exp(d)))
 *     c / sqrt(v + epsilon) * scale + offset, c = x - reduce_mean(x), v = reduce_mean(c * c)
 *
 * Nothing else may read what lies between x and the result, as gradients do. Floats of 16 bits are
 * left alone: rounding between the operations is not that of the operators.
 */
#include <math.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/* Edges are old ones. */
typedef struct rows {
    const char *op; /* NULL: nothing was recognized */
    tc_edge x, scale, offset;
    int64_t axis; /* of layer_norm the first of those normalized */
    double epsilon;
} rows;

typedef struct matcher {
    const tc_pass_context *pass;
    int32_t *uses;  /* per node: readers of elements of any output */
    int32_t *found; /* per node: 1 + its pattern, 0: none */
    TC_VECTOR(rows) patterns;
} matcher;

static const tc_node *node_of(const matcher *m, tc_edge edge)
{
    return m->pass->old[edge.node];
}

static const tc_value_info *info_of(const matcher *m, tc_edge edge)
{
    return &node_of(m, edge)->outputs[edge.output];
}

static bool same_edge(tc_edge a, tc_edge b)
{
    return a.node == b.node && a.output == b.output;
}

/* The node that computes `edge` where that is `op` and has `uses` readers; else NULL. */
static const tc_node *take(const matcher *m, tc_edge edge, const char *op, int32_t uses)
{
    const tc_node *node = node_of(m, edge);
    return tc_node_is(node, op) && m->uses[edge.node] == uses ? node : NULL;
}

/* The value that `edge` is a function `op` of, which nothing else reads; node -1: it is not. */
static tc_edge operand(const matcher *m, tc_edge edge, const char *op)
{
    const tc_node *node = take(m, edge, op, 1);
    return node ? node->inputs[0] : TC_NO_EDGE;
}

/* First of the last axes that a reduction `op`, which nothing else reads, takes and leaves with
 * size 1; -1 where `edge` is none. `single`: it is one axis, but any. */
static int32_t reduced_from(const matcher *m, tc_edge edge, const char *op, bool single, tc_edge *x)
{
    const tc_node *node = take(m, edge, op, 1);
    if (!node || !tc_attrs_bool(&node->attrs, "keep_dims"))
        return -1;
    int32_t count, rank = node->outputs[0].shape.rank, first = rank;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    uint32_t set = 0;
    for (int32_t i = 0; i < (count ? count : rank); i++) {
        int32_t axis = count ? tc_axis_normalize(axes[i], rank) : i;
        first = axis < first ? axis : first;
        set |= 1u << axis;
    }
    *x = node->inputs[0];
    if (single ? (set & (set - 1)) != 0 : set != (1u << rank) - (1u << first))
        return -1;
    return first < rank ? first : -1;
}

/* x where `edge` is x minus a reduction `op` of it and has `uses` readers. */
static tc_edge centered(const matcher *m, tc_edge edge, const char *op, int32_t uses, bool single,
                        int64_t *axis)
{
    const tc_node *node = take(m, edge, "sub", uses);
    tc_edge x;
    if (!node)
        return TC_NO_EDGE;
    *axis = reduced_from(m, node->inputs[1], op, single, &x);
    return *axis >= 0 && same_edge(x, node->inputs[0]) ? x : TC_NO_EDGE;
}

/* What the sum along `axis` in `edge` is taken of; node -1: it is no such sum. */
static tc_edge summed(const matcher *m, tc_edge edge, int64_t *axis)
{
    tc_edge x = TC_NO_EDGE;
    *axis = reduced_from(m, edge, "reduce_sum", true, &x);
    return *axis >= 0 ? x : TC_NO_EDGE;
}

/* e / sum(e). */
static bool match_softmax(const matcher *m, const tc_node *y, rows *r)
{
    int64_t sum_axis;
    if (!tc_node_is(y, "div"))
        return false;
    tc_edge e = summed(m, y->inputs[1], &sum_axis);
    if (e.node < 0 || !same_edge(e, y->inputs[0]))
        return false;
    const tc_node *exponential = take(m, e, "exp", 2);
    if (!exponential)
        return false;
    r->x = centered(m, exponential->inputs[0], "reduce_max", 1, true, &r->axis);
    r->op = "softmax";
    return r->x.node >= 0 && r->axis == sum_axis;
}

/* d - log(sum(exp(d))). */
static bool match_log_softmax(const matcher *m, const tc_node *y, rows *r)
{
    int64_t sum_axis;
    if (!tc_node_is(y, "sub"))
        return false;
    tc_edge sum = operand(m, y->inputs[1], "log");
    tc_edge e = sum.node >= 0 ? summed(m, sum, &sum_axis) : TC_NO_EDGE;
    tc_edge d = e.node >= 0 ? operand(m, e, "exp") : TC_NO_EDGE;
    if (d.node < 0 || !same_edge(d, y->inputs[0]))
        return false;
    r->x = centered(m, d, "reduce_max", 2, true, &r->axis);
    r->op = "log_softmax";
    return r->x.node >= 0 && r->axis == sum_axis;
}

/* v where `edge`, which nothing else reads, is v + epsilon. */
static tc_edge before_epsilon(const matcher *m, tc_edge edge, double *epsilon)
{
    const tc_node *node = take(m, edge, "add", 1);
    for (int32_t k = 0; node && k < 2; k++) {
        const tc_node *constant = node_of(m, node->inputs[k]);
        const tc_tensor *tensor =
            tc_node_is(constant, "constant") ? tc_attrs_tensor(&constant->attrs, "tensor") : NULL;
        if (!tensor || tc_tensor_size(tensor) != 1 ||
            tc_tensor_shape(tensor)->rank > node->outputs[0].shape.rank)
            continue;
        *epsilon = tc_dtype_load(tc_tensor_dtype(tensor), tc_tensor_data((tc_tensor *)tensor));
        if (*epsilon >= 0 && *epsilon < INFINITY)
            return node->inputs[1 - k];
    }
    return TC_NO_EDGE;
}

/* Whether v is the mean of the squares of c from `axis` on; `*uses` of c are its own then. */
static bool is_variance(const matcher *m, tc_edge v, tc_edge c, int64_t axis, int32_t *uses)
{
    tc_edge squares;
    if (reduced_from(m, v, "reduce_mean", false, &squares) != axis)
        return false;
    const tc_node *square = take(m, squares, "square", 1);
    const tc_node *product = square ? NULL : take(m, squares, "mul", 1);
    *uses = square ? 1 : 2;
    if (square)
        return same_edge(square->inputs[0], c);
    return product && same_edge(product->inputs[0], c) && same_edge(product->inputs[1], c);
}

/* Whether `edge`, which nothing else reads, is the inverse of a deviation; of a `divisor` the
 * deviation itself. */
static bool match_normalized(const matcher *m, tc_edge c, tc_edge edge, bool divisor, rows *r)
{
    tc_edge v = divisor ? operand(m, edge, "sqrt") : operand(m, edge, "rsqrt");
    if (v.node < 0 && !divisor) {
        tc_edge root = operand(m, edge, "reciprocal");
        v = root.node >= 0 ? operand(m, root, "sqrt") : TC_NO_EDGE;
    }
    v = v.node >= 0 ? before_epsilon(m, v, &r->epsilon) : TC_NO_EDGE;
    if (v.node < 0 || !tc_node_is(node_of(m, c), "sub"))
        return false;
    int32_t uses;
    tc_edge x;
    r->axis = reduced_from(m, node_of(m, c)->inputs[1], "reduce_mean", false, &x);
    if (r->axis < 0 || !is_variance(m, v, c, r->axis, &uses))
        return false;
    r->x = centered(m, c, "reduce_mean", uses + 1, false, &r->axis);
    r->scale = r->offset = TC_NO_EDGE;
    r->op = "layer_norm";
    return r->x.node >= 0;
}

/* c / sqrt(v + epsilon), or c * rsqrt(v + epsilon). */
static bool match_normal(const matcher *m, const tc_node *y, rows *r)
{
    if (tc_node_is(y, "div"))
        return match_normalized(m, y->inputs[0], y->inputs[1], true, r);
    return tc_node_is(y, "mul") && (match_normalized(m, y->inputs[0], y->inputs[1], false, r) ||
                                    match_normalized(m, y->inputs[1], y->inputs[0], false, r));
}

/* Whether `edge` has the shape of the normalized axes. */
static bool is_parameter(const matcher *m, tc_edge edge, const rows *r)
{
    const tc_shape *shape = &info_of(m, edge)->shape, *x = &info_of(m, r->x)->shape;
    if (shape->rank != x->rank - (int32_t)r->axis)
        return false;
    for (int32_t i = 0; i < shape->rank; i++)
        if (!tc_dim_same(shape->dims[i], x->dims[r->axis + i]))
            return false;
    return true;
}

typedef bool (*match_function)(const matcher *m, const tc_node *y, rows *r);

/* `y` as an operation on something that `inner` matches, which nothing else reads, and a parameter
 * that goes to `*parameter`, a part of `r`. */
static bool match_with(const matcher *m, const tc_node *y, match_function inner, rows *r,
                       tc_edge *parameter)
{
    for (int32_t k = 0; k < 2; k++) {
        if (m->uses[y->inputs[k].node] != 1 || !inner(m, node_of(m, y->inputs[k]), r) ||
            !is_parameter(m, y->inputs[1 - k], r))
            continue;
        *parameter = y->inputs[1 - k];
        return true;
    }
    return false;
}

static bool match_scaled(const matcher *m, const tc_node *y, rows *r)
{
    return (tc_node_is(y, "mul") && match_with(m, y, match_normal, r, &r->scale)) ||
           match_normal(m, y, r);
}

static bool match_layer_norm(const matcher *m, const tc_node *y, rows *r)
{
    return (tc_node_is(y, "add") && match_with(m, y, match_scaled, r, &r->offset)) ||
           match_scaled(m, y, r);
}

static rows match(const matcher *m, const tc_node *y)
{
    rows r = {NULL, TC_NO_EDGE, TC_NO_EDGE, TC_NO_EDGE, 0, 0};
    if (y->n_outputs != 1 || y->n_controls > 0 ||
        (y->outputs[0].dtype != TC_F32 && y->outputs[0].dtype != TC_F64) ||
        !(match_softmax(m, y, &r) || match_log_softmax(m, y, &r) || match_layer_norm(m, y, &r)) ||
        !tc_ir_has_kernel(m->pass, y, r.op, y->outputs[0].dtype))
        return (rows){.op = NULL};
    return r;
}

static tc_status replace(tc_pass_context *pass, const rows *r, tc_node *node, int32_t old)
{
    const tc_edge in[] = {tc_ir_new_edge(pass, r->x), tc_ir_new_edge(pass, r->scale),
                          tc_ir_new_edge(pass, r->offset)};
    const tc_attr_arg attrs[] = {{"axis", tc_attr_int(r->axis)},
                                 {"epsilon", tc_attr_float(r->epsilon)}};
    bool norm = strcmp(r->op, "layer_norm") == 0;
    TC_TRY(tc_ir_become(pass, node, r->op, in, norm ? 3 : 1, attrs, norm ? 2 : 1));
    node->n_outputs = norm ? 3 : 1;
    TC_TRY(tc_ir_infer(pass, node));
    TC_TRY(tc_ir_append(pass, node));
    tc_ir_forward(pass, old, 0, (tc_edge){node->index, 0});
    pass->changes++;
    return TC_OK;
}

static tc_status find_patterns(matcher *m)
{
    for (int32_t i = 0; i < m->pass->n_old; i++) {
        rows r = match(m, m->pass->old[i]);
        if (!r.op)
            continue;
        if (!tc_vector_push(&m->patterns, r))
            return tc_compiler_exhausted();
        m->found[i] = (int32_t)m->patterns.count;
    }
    return TC_OK;
}

tc_status tc_pass_recognize_rows(tc_pass_context *pass)
{
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    size_t count = (size_t)pass->n_old;
    matcher m = {.pass = pass,
                 .uses = tc_alloc_zero(count, sizeof *m.uses),
                 .found = tc_alloc_zero(count, sizeof *m.found)};
    if (status == TC_OK && (!m.uses || !m.found))
        status = tc_compiler_exhausted();
    if (status == TC_OK) {
        tc_ir_count_uses(pass, m.uses);
        status = find_patterns(&m);
    }
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_node *node = pass->old[i];
        if (m.found[i]) {
            status = replace(pass, &m.patterns.data[m.found[i] - 1], node, i);
            continue;
        }
        tc_ir_renumber(pass, node);
        status = tc_ir_keep(pass, node, i);
    }
    bool changed = m.patterns.count > 0;
    tc_free(m.uses);
    tc_free(m.found);
    tc_vector_free(&m.patterns);
    status = tc_ir_end(pass, status);
    return status == TC_OK && changed ? tc_ir_prune(pass) : status;
}
