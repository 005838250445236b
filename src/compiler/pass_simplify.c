/*
 * Operations that change nothing, by tables: of operators that are the identity where shapes agree,
 * and of rules by operator. Only what gives the same bits: x + 0 goes for integers, but -0 + 0 is 0
 * for floats.
 */
#include <math.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/shape.h"

/* Constants larger than this are not searched for anything but zeros and ones. */
#define MAX_SEARCH 4096

/* A rule may forward output 0 to `*edge` or change the node; inputs are new edges. */
typedef tc_status (*rule_function)(tc_pass_context *pass, tc_node *node, tc_edge *edge);

typedef struct rule {
    const char *op;
    rule_function apply;
} rule;

static const tc_node *producer(const tc_pass_context *pass, tc_edge edge)
{
    return tc_graph_node_at(pass->graph, edge.node);
}

static bool same_as_output(const tc_pass_context *pass, const tc_node *node, tc_edge edge)
{
    return tc_info_same(tc_edge_info(pass->graph, edge), &node->outputs[0]);
}

/* The identity wherever the output surely has the shape of input 0. */
static tc_status rule_same_shape(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    if (same_as_output(pass, node, node->inputs[0]))
        *edge = node->inputs[0];
    return TC_OK;
}

/* The same for operators that join several inputs or cut into several outputs. */
static tc_status rule_single(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    return node->n_inputs == 1 && node->n_outputs == 1 ? rule_same_shape(pass, node, edge) : TC_OK;
}

/* A slice keeps everything in order unless it walks backwards. */
static tc_status rule_slice(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    int32_t count;
    const int64_t *strides = tc_attrs_ints(&node->attrs, "strides", &count);
    for (int32_t i = 0; i < count; i++)
        if (strides[i] < 0)
            return TC_OK;
    return rule_same_shape(pass, node, edge);
}

/* Views read through views: elements and order are the same all the way up. */
static tc_status rule_view(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    tc_edge source = node->inputs[0];
    while (true) {
        if (same_as_output(pass, node, source)) {
            *edge = source;
            return TC_OK;
        }
        const tc_node *from = producer(pass, source);
        if (!(from->attrs.op->flags & TC_OP_VIEW) || source.output != 0 || from->attrs.op->effects)
            break;
        source = from->inputs[0];
    }
    return TC_OK;
}

/* reshape and reshape_like need nothing of the shape of x where they do not copy its dimensions. */
static tc_status rule_reshape(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    TC_TRY(rule_view(pass, node, edge));
    int32_t copies = 0;
    (void)tc_attrs_ints(&node->attrs, "from", &copies);
    while (edge->node < 0 && copies == 0) {
        const tc_node *from = producer(pass, node->inputs[0]);
        if (!(from->attrs.op->flags & TC_OP_VIEW) || from->attrs.op->effects)
            break;
        node->inputs[0] = from->inputs[0];
    }
    return TC_OK;
}

/* Of an operator that undoes itself. */
static tc_status rule_involution(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    const tc_node *inner = producer(pass, node->inputs[0]);
    if (inner->attrs.op == node->attrs.op)
        *edge = inner->inputs[0];
    return TC_OK;
}

static tc_status rule_dropout(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    (void)pass;
    const char *mode = tc_attrs_string(&node->attrs, "mode");
    if (mode && (strcmp(mode, "inference") == 0 || tc_attrs_float(&node->attrs, "rate") == 0))
        *edge = node->inputs[0];
    return TC_OK;
}

static void permutation_of(const tc_node *node, int32_t rank, int64_t out[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *given = tc_attrs_ints(&node->attrs, "permutation", &count);
    for (int32_t i = 0; i < rank; i++)
        out[i] = count == 0 ? rank - 1 - i : tc_axis_normalize(given[i], rank);
}

static tc_status rule_transpose(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    int32_t rank = node->outputs[0].shape.rank;
    int64_t outer[TC_MAX_RANK], inner[TC_MAX_RANK];
    permutation_of(node, rank, outer);
    tc_edge source = node->inputs[0];
    const tc_node *from = producer(pass, source);
    bool twice = from->attrs.op == node->attrs.op;
    if (twice) {
        permutation_of(from, rank, inner);
        for (int32_t i = 0; i < rank; i++)
            outer[i] = inner[outer[i]];
        source = from->inputs[0];
    }
    bool identity = true;
    for (int32_t i = 0; i < rank; i++)
        identity = identity && outer[i] == i;
    if (identity) {
        *edge = source;
        return TC_OK;
    }
    if (!twice)
        return TC_OK;
    int64_t *composed = tc_arena_memdup(&pass->graph->arena, outer, (size_t)rank * sizeof *outer);
    if (!composed)
        return tc_compiler_exhausted();
    node->inputs[0] = source;
    return tc_ir_set_attr(pass, node, "permutation", tc_attr_ints(composed, (size_t)rank));
}

/* Whether `edge` is a constant of nothing but `value`, with the sign of zero for floats. */
static bool is_constant(const tc_pass_context *pass, tc_edge edge, double value)
{
    const tc_node *node = producer(pass, edge);
    const tc_tensor *tensor =
        tc_node_is(node, "constant") ? tc_attrs_tensor(&node->attrs, "tensor") : NULL;
    if (!tensor || tc_tensor_size(tensor) > MAX_SEARCH || tc_tensor_size(tensor) == 0)
        return false;
    bool is_float = (TC_DTYPES_FLOAT & TC_DTYPE_BIT(tc_tensor_dtype(tensor))) != 0;
    const char *element = tc_tensor_data(tensor);
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++) {
        double x = tc_dtype_load(tc_tensor_dtype(tensor), element);
        if (x != value || (is_float && !signbit(x) != !signbit(value)))
            return false;
        element += tc_dtype_size(tc_tensor_dtype(tensor));
    }
    return true;
}

/* Forwards input `x` when input `c` is a constant of `neutral` and broadcasting leaves x as it is.
 */
static void neutral(const tc_pass_context *pass, const tc_node *node, int32_t x, int32_t c,
                    double value, tc_edge *edge)
{
    if (edge->node < 0 && same_as_output(pass, node, node->inputs[x]) &&
        is_constant(pass, node->inputs[c], value))
        *edge = node->inputs[x];
}

static bool is_integer(const tc_node *node)
{
    return (TC_DTYPES_INT & TC_DTYPE_BIT(node->outputs[0].dtype)) != 0;
}

static tc_status rule_add(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    double zero = is_integer(node) ? 0.0 : -0.0; /* x + -0.0 is x for every float, -0.0 too */
    neutral(pass, node, 0, 1, zero, edge);
    neutral(pass, node, 1, 0, zero, edge);
    return TC_OK;
}

static tc_status rule_sub(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    neutral(pass, node, 0, 1, 0.0, edge);
    return TC_OK;
}

static tc_status rule_div(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    neutral(pass, node, 0, 1, 1.0, edge);
    return TC_OK;
}

/* Integers times 0 are zeros of the output's shape; floats are not where x is NaN or infinite. */
static tc_status rule_mul(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    neutral(pass, node, 0, 1, 1.0, edge);
    neutral(pass, node, 1, 0, 1.0, edge);
    if (edge->node >= 0 || !is_integer(node))
        return TC_OK;
    for (int32_t c = 0; c < 2; c++) {
        if (!is_constant(pass, node->inputs[c], 0.0))
            continue;
        const tc_op *op = tc_registry_find_op(pass->graph->registry, "zeros_like");
        if (same_as_output(pass, node, node->inputs[c])) {
            *edge = node->inputs[c];
        } else if (op && op->n_attrs == 0 && same_as_output(pass, node, node->inputs[1 - c])) {
            node->attrs = (tc_attrs){op, NULL};
            node->inputs[0] = node->inputs[1 - c];
            node->n_inputs = 1;
        } else {
            continue;
        }
        break;
    }
    return TC_OK;
}

static tc_status rule_cast(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    if (tc_edge_info(pass->graph, node->inputs[0])->dtype == node->outputs[0].dtype)
        *edge = node->inputs[0];
    return TC_OK;
}

static tc_status rule_identity(tc_pass_context *pass, tc_node *node, tc_edge *edge)
{
    (void)pass;
    *edge = node->inputs[0];
    return TC_OK;
}

static const rule rules[] = {
    {"identity", rule_identity},
    {"stop_gradient", rule_identity},
    {"dropout", rule_dropout},
    {"cast", rule_cast},
    {"reshape", rule_reshape},
    {"reshape_like", rule_reshape},
    {"flatten", rule_view},
    {"squeeze", rule_view},
    {"unsqueeze", rule_view},
    {"expand", rule_same_shape},
    {"expand_like", rule_same_shape},
    {"sum_to_like", rule_same_shape},
    {"pad", rule_same_shape},
    {"slice", rule_slice},
    {"concat", rule_single},
    {"split", rule_single},
    {"transpose", rule_transpose},
    {"neg", rule_involution},
    {"logical_not", rule_involution},
    {"add", rule_add},
    {"sub", rule_sub},
    {"mul", rule_mul},
    {"div", rule_div},
};

static tc_status simplify_node(tc_pass_context *pass, const tc_map *by_op, tc_node *node,
                               int32_t old)
{
    const uint64_t *found = tc_map_find(by_op, &node->attrs.op, sizeof node->attrs.op);
    tc_edge edge = TC_NO_EDGE;
    if (found)
        TC_TRY(rules[*found].apply(pass, node, &edge));
    if (edge.node < 0)
        return tc_ir_keep(pass, node, old);
    tc_ir_forward(pass, old, 0, edge);
    return TC_OK;
}

tc_status tc_pass_simplify(tc_pass_context *pass)
{
    const tc_op *ops[sizeof rules / sizeof rules[0]]; /* keys of the map */
    tc_map by_op = {0};
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        ops[i] = tc_registry_find_op(pass->graph->registry, rules[i].op);
        if (ops[i] && !tc_map_put(&by_op, &ops[i], sizeof ops[i], i) && status == TC_OK)
            status = tc_compiler_exhausted();
    }
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_ir_renumber(pass, pass->old[i]);
        status = simplify_node(pass, &by_op, pass->old[i], i);
    }
    tc_map_free(&by_op);
    return tc_ir_end(pass, status);
}
