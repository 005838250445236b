/*
 * Attention that was built of products:
 *
 *     softmax(mask(scale * q k')) v
 *
 * becomes the operator, when nobody else reads what lies between. The scale may also stand on q or
 * k. A mask is added, or where(mask, scores, -large); then a query that may look at nothing would
 * see everything alike, while the operator gives zeros: only what surely has no such query is
 * taken, unless -large is -inf, of which the softmax makes NaN.
 */
#include <math.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/* At most this the exponential is 0 beside that of any score. */
#define MINUS_LARGE (-1e4)
/* Constant masks larger than this are not looked into. */
#define MAX_SEARCH ((int64_t)1 << 22)

/* Edges are old ones. */
typedef struct pattern {
    tc_edge q, k, v, mask;
    double scale;
    bool causal;
    bool inverted; /* the mask is true where a query may not look */
    bool alone;    /* no other mask may join: the number for what is masked is finite */
    bool turned;   /* k is [..., d, n_k] before `order`, a permutation of it */
    int64_t order[TC_MAX_RANK];
} pattern;

typedef struct matcher {
    const tc_pass_context *pass;
    int32_t *uses;  /* per node: readers of elements of any output */
    int32_t *found; /* per node: 1 + its pattern, 0: none */
    TC_VECTOR(pattern) patterns;
} matcher;

static const tc_node *node_of(const matcher *m, tc_edge edge)
{
    return m->pass->old[edge.node];
}

static const tc_value_info *info_of(const matcher *m, tc_edge edge)
{
    return &node_of(m, edge)->outputs[edge.output];
}

static tc_dim from_end(const tc_shape *shape, int place)
{
    return shape->dims[shape->rank - place];
}

/* The constant that `edge` is, of known and not too many elements; NULL for anything else. */
static const tc_tensor *constant_of(const matcher *m, tc_edge edge)
{
    const tc_node *node = node_of(m, edge);
    const tc_tensor *tensor =
        tc_node_is(node, "constant") ? tc_attrs_tensor(&node->attrs, "tensor") : NULL;
    return tensor && tc_tensor_size(tensor) <= MAX_SEARCH ? tensor : NULL;
}

static double element(const tc_tensor *tensor, int64_t index)
{
    tc_dtype dtype = tc_tensor_dtype(tensor);
    return tc_dtype_load(dtype, (const char *)tc_tensor_data((tc_tensor *)tensor) +
                                    index * (int64_t)tc_dtype_size(dtype));
}

/* Whether `edge` is a constant of one number below infinity, which leaves the shape of `x`. */
static bool number_of(const matcher *m, tc_edge edge, tc_edge x, double *value)
{
    const tc_tensor *tensor = constant_of(m, edge);
    if (!tensor || tc_tensor_size(tensor) != 1 ||
        tc_tensor_shape(tensor)->rank > info_of(m, x)->shape.rank)
        return false;
    *value = element(tensor, 0);
    return *value < INFINITY;
}

/* Takes a factor off `edge`, of which nobody else may read the product. */
static bool take_factor(const matcher *m, tc_edge *edge, double *scale)
{
    const tc_node *node = node_of(m, *edge);
    bool mul = tc_node_is(node, "mul");
    if (m->uses[edge->node] != 1 || (!mul && !tc_node_is(node, "div")))
        return false;
    for (int32_t c = 1; c >= (mul ? 0 : 1); c--) {
        double factor;
        if (!number_of(m, node->inputs[c], node->inputs[1 - c], &factor))
            continue;
        factor = mul ? *scale * factor : *scale / factor;
        if (!isfinite(factor))
            return false;
        *scale = factor;
        *edge = node->inputs[1 - c];
        return true;
    }
    return false;
}

/* Whether a product, with factors or without, is all that `edge` is. */
static bool is_product(const matcher *m, tc_edge edge)
{
    double scale = 1;
    while (take_factor(m, &edge, &scale)) {
    }
    return m->uses[edge.node] == 1 && tc_node_is(node_of(m, edge), "matmul");
}

/* Whether `mask` broadcasts to `scores` and leaves its shape. */
static bool is_mask_of(const matcher *m, tc_edge mask, tc_edge scores)
{
    const tc_node *node = node_of(m, mask);
    const tc_shape *shape = &info_of(m, mask)->shape, *whole = &info_of(m, scores)->shape;
    if (tc_node_is(node, "causal_mask") && node->inputs[0].node == scores.node)
        return true;
    for (int32_t i = 1; i <= shape->rank && i <= whole->rank; i++)
        if (from_end(shape, i).size != 1 && !tc_dim_same(from_end(shape, i), from_end(whole, i)))
            return false;
    return shape->rank <= whole->rank;
}

/* Whether the constant mask of bool is that of causal attention. */
static bool is_triangle(const tc_tensor *mask, const tc_shape *scores, bool inverted)
{
    const tc_shape *shape = tc_tensor_shape(mask);
    int64_t n_q = from_end(scores, 2).size, n_k = from_end(scores, 1).size;
    if (shape->rank < 2 || n_q < 1 || n_k < 1 || tc_tensor_size(mask) != n_q * n_k ||
        from_end(shape, 2).size != n_q || from_end(shape, 1).size != n_k)
        return false;
    const uint8_t *allowed = tc_tensor_data((tc_tensor *)mask);
    for (int64_t i = 0; i < n_q; i++)
        for (int64_t j = 0; j < n_k; j++)
            if ((allowed[i * n_k + j] != 0) == ((j > i + n_k - n_q) != inverted))
                return false;
    return true;
}

/* Whether each query surely sees some key through a mask of bool. */
static bool sees_something(const tc_tensor *mask, bool inverted)
{
    const tc_shape *shape = tc_tensor_shape(mask);
    int64_t n_k = shape->rank > 0 ? from_end(shape, 1).size : 1, size = tc_tensor_size(mask);
    const uint8_t *allowed = tc_tensor_data((tc_tensor *)mask);
    for (int64_t row = 0; row < size; row += n_k)
        if (!memchr(allowed + row, inverted ? 0 : 1, (size_t)n_k))
            return false;
    return size > 0;
}

/* Whether `mask` allows what causal attention does, for scores of the shape `whole`. */
static bool is_causal(const matcher *m, tc_edge mask, const tc_shape *whole, bool inverted)
{
    const tc_shape *shape = &info_of(m, mask)->shape;
    const tc_tensor *constant = constant_of(m, mask);
    if (constant)
        return is_triangle(constant, whole, inverted);
    if (inverted || !tc_node_is(node_of(m, mask), "causal_mask"))
        return false;
    for (int32_t i = 1; i <= 2; i++)
        if (from_end(shape, i).size == 1 && from_end(whole, i).size != 1)
            return false;
    return true;
}

/* where(mask, scores, number), or the other way round. */
static bool take_choice(const matcher *m, const tc_node *node, pattern *p, tc_edge *scores)
{
    tc_edge mask = node->inputs[0];
    double fill;
    bool inverted = number_of(m, node->inputs[1], node->inputs[2], &fill);
    if (!inverted && !number_of(m, node->inputs[2], node->inputs[1], &fill))
        return false;
    *scores = node->inputs[inverted ? 2 : 1];
    /* Factors that follow, p->scale so far, work on the number too. */
    if (!(fill <= MINUS_LARGE) || !(fill * p->scale <= MINUS_LARGE) ||
        !is_mask_of(m, mask, *scores))
        return false;
    const tc_shape *shape = &info_of(m, *scores)->shape;
    tc_dim n_q = from_end(shape, 2), n_k = from_end(shape, 1);
    bool causal = is_causal(m, mask, shape, inverted), infinite = fill == -(double)INFINITY;
    bool first = p->mask.node < 0 && !p->causal, some = infinite;
    if (causal)
        some = some || tc_dim_same(n_q, n_k) || (n_q.size >= 0 && n_q.size <= n_k.size);
    else if (constant_of(m, mask))
        some = some || sees_something(constant_of(m, mask), inverted);
    /* Two masks may leave nothing where each leaves something. */
    if (!some || !(first || infinite) || (causal ? p->causal : p->mask.node >= 0))
        return false;
    p->alone = p->alone || !infinite;
    p->causal = p->causal || causal;
    if (!causal) {
        p->mask = mask;
        p->inverted = inverted;
    }
    return true;
}

/* scores + mask, in either order. */
static bool take_sum(const matcher *m, const tc_node *node, pattern *p, tc_edge *scores)
{
    if (p->scale != 1 || p->mask.node >= 0 || p->alone)
        return false;
    for (int32_t i = 0; i < 2; i++) {
        *scores = node->inputs[i];
        p->mask = node->inputs[1 - i];
        bool chain = is_product(m, *scores) ||
                     (m->uses[scores->node] == 1 && tc_node_is(node_of(m, *scores), "where"));
        if (chain && is_mask_of(m, p->mask, *scores))
            return true;
    }
    return false;
}

/* One step from the softmax towards the product of q and k. */
static bool take_step(const matcher *m, pattern *p, tc_edge *edge)
{
    const tc_node *node = node_of(m, *edge);
    tc_edge scores = TC_NO_EDGE;
    if (take_factor(m, edge, &p->scale))
        return true;
    bool taken = m->uses[edge->node] == 1 &&
                 ((tc_node_is(node, "where") && take_choice(m, node, p, &scores)) ||
                  (tc_node_is(node, "add") && take_sum(m, node, p, &scores)));
    *edge = scores;
    return taken;
}

/* k from the second operand of its product with q. */
static bool take_keys(const matcher *m, const tc_node *product, pattern *p)
{
    int32_t rank = product->outputs[0].shape.rank, count;
    p->k = product->inputs[1];
    while (take_factor(m, &p->k, &p->scale)) {
    }
    if (tc_attrs_bool(&product->attrs, "transpose_b"))
        return true;
    const tc_node *node = node_of(m, p->k);
    if (!tc_node_is(node, "transpose") || node->outputs[0].shape.rank != rank)
        return false;
    const int64_t *given = tc_attrs_ints(&node->attrs, "permutation", &count);
    for (int32_t i = 0; i < rank; i++) {
        int64_t axis = count ? tc_axis_normalize(given[i], rank) : rank - 1 - i;
        int32_t to = i == rank - 1 ? rank - 2 : i == rank - 2 ? rank - 1 : i;
        p->order[to] = axis;
    }
    for (int32_t i = 0; i < rank; i++)
        p->turned = p->turned || p->order[i] != i;
    p->k = node->inputs[0];
    return true;
}

/* Dimension i of k, as the operator will see it. */
static tc_dim dim_of_k(const matcher *m, const pattern *p, int32_t i)
{
    return info_of(m, p->k)->shape.dims[p->turned ? p->order[i] : i];
}

/* Whether the operands are those of attention: products broadcast more than it does. */
static bool operands_fit(const matcher *m, const pattern *p)
{
    const tc_shape *q = &info_of(m, p->q)->shape, *v = &info_of(m, p->v)->shape;
    if (q->rank < 3 || v->rank != q->rank || info_of(m, p->k)->shape.rank != q->rank)
        return false;
    for (int32_t i = 0; i < q->rank - 2; i++) {
        tc_dim k = dim_of_k(m, p, i);
        bool head = i == q->rank - 3;
        if (!tc_dim_same(k, v->dims[i]) || !(tc_dim_same(k, q->dims[i]) || (head && k.size == 1)))
            return false;
    }
    return true;
}

static bool match(const matcher *m, const tc_node *y, pattern *p)
{
    *p = (pattern){.mask = TC_NO_EDGE, .scale = 1};
    if (!tc_node_is(y, "matmul") || tc_attrs_bool(&y->attrs, "transpose_a") ||
        tc_attrs_bool(&y->attrs, "transpose_b") || y->n_controls > 0)
        return false;
    const tc_node *softmax = node_of(m, y->inputs[0]);
    if (!tc_node_is(softmax, "softmax") || m->uses[y->inputs[0].node] != 1)
        return false;
    int32_t rank = softmax->outputs[0].shape.rank;
    if (tc_axis_normalize(tc_attrs_int(&softmax->attrs, "axis"), rank) != rank - 1)
        return false;
    p->v = y->inputs[1];
    tc_edge scores = softmax->inputs[0];
    while (!tc_node_is(node_of(m, scores), "matmul"))
        if (!take_step(m, p, &scores))
            return false;
    const tc_node *product = node_of(m, scores);
    if (m->uses[scores.node] != 1 || tc_attrs_bool(&product->attrs, "transpose_a"))
        return false;
    p->q = product->inputs[0];
    while (take_factor(m, &p->q, &p->scale)) {
    }
    return take_keys(m, product, p) && operands_fit(m, p) &&
           tc_ir_has_kernel(m->pass, y, "attention", y->outputs[0].dtype);
}

static tc_status find_patterns(matcher *m)
{
    for (int32_t i = 0; i < m->pass->n_old; i++) {
        pattern p;
        if (!match(m, m->pass->old[i], &p))
            continue;
        if (!tc_vector_push(&m->patterns, p))
            return tc_compiler_exhausted();
        m->found[i] = (int32_t)m->patterns.count;
    }
    return TC_OK;
}

static tc_status replace(tc_pass_context *pass, const pattern *p, tc_node *node, int32_t old)
{
    tc_edge in[] = {tc_ir_new_edge(pass, p->q), tc_ir_new_edge(pass, p->k),
                    tc_ir_new_edge(pass, p->v), tc_ir_new_edge(pass, p->mask)};
    const tc_attr_arg order = {"permutation",
                               tc_attr_ints(p->order, (size_t)node->outputs[0].shape.rank)};
    double *scale = tc_arena_memdup(&pass->graph->arena, &p->scale, sizeof *scale);
    if (!scale)
        return tc_compiler_exhausted();
    const tc_attr_arg attrs[] = {{"scale", tc_attr_floats(scale, 1)},
                                 {"causal", tc_attr_bool(p->causal)}};
    if (p->turned)
        TC_TRY(tc_ir_make(pass, node, "transpose", &in[1], 1, &order, 1, &in[1]));
    if (p->inverted && in[3].node >= 0)
        TC_TRY(tc_ir_make(pass, node, "logical_not", &in[3], 1, NULL, 0, &in[3]));
    TC_TRY(tc_ir_become(pass, node, "attention", in, 4, attrs, 2));
    node->n_outputs = 2;
    TC_TRY(tc_ir_infer(pass, node));
    TC_TRY(tc_ir_append(pass, node));
    tc_ir_forward(pass, old, 0, (tc_edge){node->index, 0});
    pass->changes++;
    return TC_OK;
}

tc_status tc_pass_recognize_attention(tc_pass_context *pass)
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
    size_t found = m.patterns.count;
    tc_free(m.uses);
    tc_free(m.found);
    tc_vector_free(&m.patterns);
    status = tc_ir_end(pass, status);
    return status == TC_OK && found > 0 ? tc_ir_prune(pass) : status;
}
