/* Scaled dot-product attention and its gradient. */
#include <math.h>

#include "core/attention.h"
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/gradients.h"
#include "tensorc/ops/attention.h"
#include "tensorc/ops/elementwise.h"
#include "tensorc/ops/linalg.h"
#include "tensorc/ops/nn.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/shape.h"
#include "tensorc/ops/state.h"

enum { Q, K, V, MASK };                /* inputs of both */
enum { Y = 4, LSE, DY, DLSE, INPUTS }; /* further ones of attention_grad */

static tc_dim from_end(const tc_shape *shape, int place)
{
    return shape->dims[shape->rank - place];
}

static bool differ(tc_dim a, tc_dim b)
{
    return tc_dim_is_known(a) && tc_dim_is_known(b) && a.size != b.size;
}

static tc_status fail_shapes(tc_infer *infer, const char *why)
{
    char q[TC_SHAPE_TEXT_SIZE], k[TC_SHAPE_TEXT_SIZE], v[TC_SHAPE_TEXT_SIZE];
    return tc_infer_fail(infer, "q %s, k %s and v %s %s", tc_shape_text(&infer->inputs[Q].shape, q),
                         tc_shape_text(&infer->inputs[K].shape, k),
                         tc_shape_text(&infer->inputs[V].shape, v), why);
}

static tc_status check_mask(tc_infer *infer, const tc_shape *scores)
{
    const tc_value_info *mask = &infer->inputs[MASK];
    if (mask->dtype == TC_DTYPE_INVALID)
        return TC_OK;
    if (mask->dtype != TC_BOOL && mask->dtype != infer->inputs[Q].dtype)
        return tc_infer_fail(infer,
                             "mask is %s, but must be bool or %s as q; convert it with tc_cast",
                             tc_dtype_name(mask->dtype), tc_dtype_name(infer->inputs[Q].dtype));
    bool fits = mask->shape.rank <= scores->rank;
    for (int32_t i = 1; fits && i <= mask->shape.rank; i++) {
        tc_dim dim = from_end(&mask->shape, i);
        fits = dim.size == 1 || !differ(dim, from_end(scores, i));
    }
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    return fits ? TC_OK
                : tc_infer_fail(infer, "mask %s does not broadcast to [..., heads, n_q, n_k] %s",
                                tc_shape_text(&mask->shape, a), tc_shape_text(scores, b));
}

static tc_status check_inputs(tc_infer *infer)
{
    const tc_shape *q = &infer->inputs[Q].shape, *k = &infer->inputs[K].shape;
    const tc_shape *v = &infer->inputs[V].shape;
    if (q->rank < 3 || k->rank != q->rank || v->rank != q->rank)
        return fail_shapes(infer, "must have one rank, 3 or more: [..., heads, n, d]");
    for (int32_t i = 0; i < q->rank - 3; i++)
        if (differ(q->dims[i], k->dims[i]) || differ(q->dims[i], v->dims[i]) ||
            differ(k->dims[i], v->dims[i]))
            return fail_shapes(infer, "differ in their leading dimensions");
    tc_dim heads = from_end(q, 3), shared = from_end(k, 3);
    if (differ(shared, from_end(v, 3)) || differ(from_end(k, 2), from_end(v, 2)))
        return fail_shapes(infer, "do not fit: k and v must have the same heads and keys");
    if (differ(from_end(q, 1), from_end(k, 1)))
        return fail_shapes(infer, "do not fit: q and k must have the same last dimension");
    if (tc_dim_is_known(heads) && tc_dim_is_known(shared) &&
        (shared.size ? heads.size % shared.size : heads.size))
        return fail_shapes(infer, "do not fit: the heads of q must be a multiple of those of k");
    int32_t count;
    const double *scale = tc_attrs_floats(infer->attrs, "scale", &count);
    if (count > 1 || (count == 1 && !isfinite(scale[0])))
        return tc_infer_fail(infer, "scale must be one finite number");
    tc_shape scores = *q;
    scores.dims[scores.rank - 1] = from_end(k, 2);
    return check_mask(infer, &scores);
}

/* The result, and what there is one of per query. */
static void result_shapes(const tc_infer *infer, tc_shape *y, tc_shape *lse)
{
    *y = *lse = infer->inputs[Q].shape;
    y->dims[y->rank - 1] = from_end(&infer->inputs[V].shape, 1);
    lse->rank--;
}

static tc_status attention_infer(tc_infer *infer)
{
    TC_TRY(check_inputs(infer));
    result_shapes(infer, &infer->outputs[0].shape, &infer->outputs[1].shape);
    infer->outputs[1].dtype = infer->inputs[Q].dtype == TC_F64 ? TC_F64 : TC_F32;
    return TC_OK;
}

static tc_status attention_grad_infer(tc_infer *infer)
{
    TC_TRY(check_inputs(infer));
    tc_shape y, lse;
    result_shapes(infer, &y, &lse);
    for (int32_t i = Y; i < INPUTS; i++) {
        const tc_shape *expected = i == Y || i == DY ? &y : &lse;
        if (infer->inputs[i].dtype == TC_DTYPE_INVALID ||
            tc_shape_compatible(&infer->inputs[i].shape, expected))
            continue;
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "%s is %s, but must be %s", infer->attrs->op->inputs[i].name,
                             tc_shape_text(&infer->inputs[i].shape, a), tc_shape_text(expected, b));
    }
    for (int32_t i = Q; i <= V; i++)
        infer->outputs[i].shape = infer->inputs[i].shape;
    return TC_OK;
}

/* Multiply-adds of `products` products of scores with q and k, and of as many with v. */
static void cost_of(const tc_infer *node, double products, tc_node_cost *cost)
{
    double scores = 1, d = (double)from_end(&node->inputs[Q].shape, 1).size;
    double n_k = (double)from_end(&node->inputs[K].shape, 2).size;
    const tc_shape *q = &node->inputs[Q].shape;
    for (int32_t i = 0; i < q->rank - 1; i++)
        scores *= (double)q->dims[i].size;
    double n_q = (double)from_end(q, 2).size;
    if (tc_attrs_bool(node->attrs, "causal"))
        n_k = n_q <= n_k ? n_k - n_q / 2 : n_k * n_k / (2 * n_q);
    scores *= n_k;
    double both = d + (double)from_end(&node->inputs[V].shape, 1).size;
    cost->flops = scores * (2 * products * both + 8);
}

static void attention_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost_of(node, 1, cost);
}

static void attention_grad_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost_of(node, 2.5, cost);
}

static tc_value product(tc_location at, tc_value a, bool transpose_a, tc_value b, bool transpose_b)
{
    return tc_matmul_at(at, a, b,
                        &(tc_matmul_options){.struct_size = sizeof(tc_matmul_options),
                                             .transpose_a = transpose_a,
                                             .transpose_b = transpose_b});
}

static tc_value sum_last(tc_location at, tc_value x)
{
    return tc_reduce_sum_at(at, x,
                            &(tc_reduce_options){.struct_size = sizeof(tc_reduce_options),
                                                 .axes = {(const int64_t[]){-1}, 1},
                                                 .keep_dims = true});
}

static tc_value scale_factor(tc_location at, tc_grad *g, tc_value q)
{
    int32_t count;
    const double *scale = tc_attrs_floats(g->attrs, "scale", &count);
    tc_shape shape = tc_value_shape(q);
    int64_t depth = shape.rank > 0 ? from_end(&shape, 1).size : 1;
    if (count > 0 || depth >= 0)
        return tc_constant_like(at, q, count > 0 ? scale[0] : tc_attention_scale(depth));
    return tc_rsqrt_at(at, sum_last(at, tc_ones_like_at(at, q))); /* counts the dimension */
}

/* Which head of k belongs to each head of q; TC_NO_VALUE where it is the one of the same number. */
static tc_value heads_of(tc_location at, tc_value q, tc_value k)
{
    if (!tc_value_ok(q) || !tc_value_ok(k))
        return TC_NO_VALUE;
    tc_shape of_q = tc_value_shape(q), of_k = tc_value_shape(k);
    tc_dim many = from_end(&of_q, 3), few = from_end(&of_k, 3);
    if (tc_dim_same(many, few))
        return TC_NO_VALUE;
    if (!tc_dim_is_known(many) || !tc_dim_is_known(few))
        return tc_graph_fail(q.graph, at, TC_INVALID_ARGUMENT,
                             "attention: the gradient of a mask and gradients of higher order need "
                             "the heads of q and k known when they are built; give the "
                             "placeholders' sizes");
    double group = few.size ? (double)(many.size / few.size) : 1;
    return tc_div_at(at, tc_range_at(at, q.graph, TC_I64, 0, (double)many.size, NULL),
                     tc_constant_scalar_at(at, q.graph, TC_I64, group));
}

static tc_gather_options along_heads(tc_value k)
{
    return (tc_gather_options){.struct_size = sizeof(tc_gather_options),
                               .axis = tc_value_shape(k).rank - 3};
}

static tc_value repeat_heads(tc_location at, tc_value k, tc_value heads)
{
    tc_gather_options options = along_heads(k);
    return tc_value_ok(heads) ? tc_gather_at(at, k, heads, &options) : k;
}

static tc_value sum_heads(tc_location at, tc_value dk, tc_value heads, tc_value k)
{
    tc_gather_options options = along_heads(k);
    return tc_value_ok(heads) ? tc_gather_grad_at(at, dk, heads, k, &options) : dk;
}

/*
 * Scores of a mask that allows `*allowed` (TC_NO_VALUE: everything). What is forbidden gets a large
 * negative number instead of -inf, so that nothing becomes NaN.
 */
static tc_value masked(tc_location at, tc_grad *g, tc_value scores, tc_value mask,
                       tc_value *allowed)
{
    *allowed = TC_NO_VALUE;
    if (tc_value_ok(mask) && tc_value_dtype(mask) == TC_BOOL) {
        *allowed = mask;
    } else if (tc_value_ok(mask)) {
        scores = tc_add_at(at, scores, mask);
        *allowed = tc_greater_at(at, mask, tc_constant_like(at, mask, -(double)INFINITY));
    }
    if (tc_attrs_bool(g->attrs, "causal")) {
        tc_value causal = tc_causal_mask_at(at, scores);
        *allowed = tc_value_ok(*allowed) ? tc_logical_and_at(at, *allowed, causal) : causal;
    }
    if (tc_value_ok(*allowed))
        scores = tc_where_at(at, *allowed, scores, tc_constant_like(at, scores, -1e30));
    return scores;
}

static tc_value widened(tc_location at, tc_value x)
{
    tc_dtype dtype = tc_value_ok(x) ? tc_value_dtype(x) : TC_DTYPE_INVALID;
    return dtype == TC_F16 || dtype == TC_BF16 ? tc_cast_at(at, x, TC_F32) : x;
}

static tc_value narrowed(tc_location at, tc_value x, tc_value like)
{
    return tc_value_ok(x) && tc_value_dtype(x) != tc_value_dtype(like)
               ? tc_cast_at(at, x, tc_value_dtype(like))
               : x;
}

/*
 * The gradients `out` of q, k, v and a float mask, in primitives, where gradients are to be taken
 * of them or streaming gives none. `in` are the inputs of attention_grad, y and the logsumexp
 * aside.
 */
static void write_out(tc_location at, tc_grad *g, const tc_value *inputs, tc_value out[4])
{
    tc_value in[INPUTS];
    for (int32_t i = 0; i < INPUTS; i++)
        in[i] = i == Y || i == LSE ? TC_NO_VALUE : widened(at, inputs[i]);
    tc_value heads = heads_of(at, in[Q], in[K]), factor = scale_factor(at, g, in[Q]), allowed;
    tc_value k = repeat_heads(at, in[K], heads), v = repeat_heads(at, in[V], heads);
    tc_value q = tc_mul_at(at, in[Q], factor);
    tc_value scores = masked(at, g, product(at, q, false, k, true), in[MASK], &allowed);
    tc_value weights = tc_softmax_at(at, scores, NULL);
    if (tc_value_ok(allowed))
        weights = tc_where_at(at, allowed, weights, tc_constant_like(at, weights, 0));
    tc_value dweights = product(at, in[DY], false, v, true);
    tc_value flow = sum_last(at, tc_mul_at(at, weights, dweights));
    if (in[DLSE].node >= 0)
        flow = tc_sub_at(
            at, flow,
            tc_unsqueeze_at(at, in[DLSE],
                            (tc_ints){(const int64_t[]){tc_value_shape(in[DLSE]).rank}, 1}));
    tc_value dscores = tc_mul_at(at, weights, tc_sub_at(at, dweights, flow));
    out[Q] = tc_mul_at(at, product(at, dscores, false, k, false), factor);
    out[K] = sum_heads(at, product(at, dscores, true, q, false), heads, in[K]);
    out[V] = sum_heads(at, product(at, weights, true, in[DY], false), heads, in[V]);
    out[MASK] = TC_NO_VALUE;
    if (tc_value_ok(in[MASK]) && tc_value_dtype(in[MASK]) != TC_BOOL)
        out[MASK] = tc_unbroadcast(at, dscores, in[MASK]);
    for (int32_t i = Q; i <= MASK; i++)
        out[i] = narrowed(at, out[i], inputs[i]);
}

static void attention_grad(tc_grad *g)
{
    tc_location at = TC_WITHIN(g->at);
    tc_value dlse = g->output_gradients[1];
    const tc_value in[INPUTS] = {
        [Q] = g->inputs[Q],          [K] = g->inputs[K],  [V] = g->inputs[V],
        [MASK] = g->inputs[MASK],    [Y] = g->outputs[0], [LSE] = g->outputs[1],
        [DY] = tc_grad_output(g, 0), [DLSE] = dlse};
    if (g->needed[Q] || g->needed[K] || g->needed[V]) {
        tc_value dq =
            TC_NODE_WITH("attention_grad", NULL, at,
                         (in[Q], in[K], in[V], in[MASK], in[Y], in[LSE], in[DY], in[DLSE]),
                         {"scale", *tc_attrs_get(g->attrs, "scale")},
                         {"causal", *tc_attrs_get(g->attrs, "causal")});
        for (int32_t i = Q; i <= V; i++)
            if (g->needed[i])
                g->input_gradients[i] = tc_output(dq, i);
    }
    if (g->needed[MASK]) {
        tc_value out[4];
        write_out(at, g, in, out);
        g->input_gradients[MASK] = out[MASK];
    }
}

/* The saved y and logsumexp are functions of q, k, v and the mask and counted with them. */
static void attention_grad_grad(tc_grad *g)
{
    static const int32_t variables[] = {Q, K, V, MASK, DY, DLSE};
    tc_location at = TC_WITHIN(g->at);
    tc_value in[INPUTS], out[4], from[INPUTS], gradients[INPUTS];
    int32_t places[INPUTS], count = 0;
    for (int32_t i = 0; i < INPUTS; i++)
        in[i] = g->inputs[i];
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        int32_t place = variables[i];
        if (!tc_value_ok(in[place]) || tc_value_dtype(in[place]) == TC_BOOL)
            continue;
        from[count] = in[place] = tc_identity_at(at, in[place]);
        places[count++] = place;
    }
    write_out(at, g, in, out);
    tc_gradients_options options = {.struct_size = sizeof options,
                                    .output_gradients = g->output_gradients,
                                    .zero_unconnected = true};
    if (tc_gradients_at(at, out, 3, from, (size_t)count, gradients, &options) != TC_OK)
        return;
    for (int32_t i = 0; i < count; i++)
        if (g->needed[places[i]])
            g->input_gradients[places[i]] = gradients[i];
}

#define STATISTIC  (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64))
#define MASK_TYPES (TC_DTYPES_FLOAT | TC_DTYPES_BOOL)
#define OPERANDS                                                                         \
    {"q", TC_DTYPES_FLOAT, 'T', 0, "queries [..., heads, n_q, d]"},                      \
        {"k", TC_DTYPES_FLOAT, 'T', 0, "keys [..., heads_kv, n_k, d]"},                  \
        {"v", TC_DTYPES_FLOAT, 'T', 0, "values [..., heads_kv, n_k, d_v]"},              \
    {                                                                                    \
        "mask", MASK_TYPES, 0, TC_PORT_OPTIONAL,                                         \
            "broadcast to [..., heads, n_q, n_k]: added, or bool, true where q may look" \
    }

static const tc_port inputs[] = {OPERANDS};
static const tc_port outputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0, "[..., heads, n_q, d_v]"},
    {"logsumexp", STATISTIC, 0, 0, "of the scores of each query [..., heads, n_q]"},
};
static const tc_port grad_inputs[] = {
    OPERANDS,
    {"y", TC_DTYPES_FLOAT, 'T', 0, "the result"},
    {"logsumexp", STATISTIC, 0, 0, "as saved"},
    {"dy", TC_DTYPES_FLOAT, 'T', 0, "gradient of y"},
    {"dlogsumexp", STATISTIC, 0, TC_PORT_OPTIONAL, "gradient of logsumexp"},
};
static const tc_port grad_outputs[] = {
    {"dq", TC_DTYPES_FLOAT, 'T', 0, "gradient of q"},
    {"dk", TC_DTYPES_FLOAT, 'T', 0, "gradient of k"},
    {"dv", TC_DTYPES_FLOAT, 'T', 0, "gradient of v"},
};
static const tc_attr_def attrs[] = {
    {"scale", TC_ATTR_FLOATS, {.type = TC_ATTR_FLOATS}, NULL, "factor of q k'; none: 1 / sqrt(d)"},
    {"causal", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "queries see no later keys"},
};

const tc_op tc_op_attention = {
    .name = "attention",
    .version = 1,
    .doc = "softmax(scale * q k' + mask) v without the matrix of scores",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, attrs),
    .infer = attention_infer,
    .grad = attention_grad,
    .cost = attention_cost,
};
const tc_op tc_op_attention_grad = {
    .name = "attention_grad",
    .version = 1,
    .doc = "gradient of attention",
    TC_LIST(inputs, grad_inputs),
    TC_LIST(outputs, grad_outputs),
    TC_LIST(attrs, attrs),
    .infer = attention_grad_infer,
    .grad = attention_grad_grad,
    .cost = attention_grad_cost,
};

tc_value tc_attention_at(tc_location at, tc_value q, tc_value k, tc_value v,
                         const tc_attention_options *options)
{
    TC_OPTIONS(tc_attention_options, o, options);
    tc_value mask = o.mask.graph ? o.mask : TC_NO_VALUE;
    return TC_NODE_WITH("attention", o.name, at, (q, k, v, mask),
                        {"scale", tc_attr_floats(&o.scale.value, o.scale.has ? 1 : 0)},
                        {"causal", tc_attr_bool(o.causal)});
}

static tc_status causal_mask_infer(tc_infer *infer)
{
    const tc_shape *scores = &infer->inputs[0].shape;
    if (scores->rank < 2)
        return tc_infer_fail(infer, "scores have rank %d, but must be [..., n_q, n_k]",
                             (int)scores->rank);
    infer->outputs[0].shape = tc_shape_make(2, scores->dims + scores->rank - 2);
    return TC_OK;
}

static const tc_port causal_mask_inputs[] = {
    {"scores", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "[..., n_q, n_k]"}};
static const tc_port causal_mask_outputs[] = {
    {"allowed", TC_DTYPES_BOOL, 0, 0, "[n_q, n_k], true where j <= i + n_k - n_q"}};

const tc_op tc_op_causal_mask = {
    .name = "causal_mask",
    .version = 1,
    .doc = "which keys each query may look at when it sees no later one",
    TC_LIST(inputs, causal_mask_inputs),
    TC_LIST(outputs, causal_mask_outputs),
    .infer = causal_mask_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_causal_mask_at(tc_location at, tc_value scores)
{
    return TC_NODE("causal_mask", NULL, at, (scores));
}
