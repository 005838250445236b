/*
 * Operations that change nothing or that a simpler one replaces, by a table of rules. Only what
 * gives the same bits: x + 0 goes for integers, but -0 + 0 is 0 for floats. What rounds differently
 * is for the pass strength.
 */
#include <math.h>
#include <string.h>

#include "compiler/simplify.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/* Constants larger than this are not searched, and none larger are made. */
#define MAX_SEARCH 4096

/* A node that rules keep changing is left after as many turns. */
#define MAX_TURNS 8

/*
 * What rules are written with
 */
const tc_node *tc_rewrite_input(const tc_rewrite *r, int32_t input, const char *op)
{
    tc_edge edge = r->node->inputs[input];
    const tc_node *node = edge.node < 0 ? NULL : tc_rewrite_producer(r, edge);
    return node && edge.output == 0 && tc_node_is(node, op) && !node->attrs.op->effects ? node
                                                                                        : NULL;
}

bool tc_rewrite_same(const tc_rewrite *r, tc_edge edge)
{
    return tc_info_same(tc_rewrite_info(r, edge), &r->node->outputs[0]);
}

void tc_rewrite_forward(tc_rewrite *r, tc_edge edge)
{
    tc_ir_forward(r->pass, r->old, 0, edge);
    r->gone = r->changed = true;
}

void tc_rewrite_forward_same(tc_rewrite *r, tc_edge edge)
{
    if (tc_rewrite_same(r, edge))
        tc_rewrite_forward(r, edge);
}

tc_status tc_rewrite_become(tc_rewrite *r, const char *op, const tc_edge *inputs, size_t n_inputs,
                            const tc_attr_arg *attrs, size_t n_attrs)
{
    r->changed = true;
    return tc_ir_become(r->pass, r->node, op, inputs, n_inputs, attrs, n_attrs);
}

tc_status tc_rewrite_make(tc_rewrite *r, const char *op, const tc_edge *inputs, size_t n_inputs,
                          const tc_attr_arg *attrs, size_t n_attrs, tc_edge *out)
{
    return tc_ir_make(r->pass, r->node, op, inputs, n_inputs, attrs, n_attrs, out);
}

tc_tensor *tc_rewrite_constant(const tc_rewrite *r, tc_edge edge)
{
    const tc_node *node = edge.node < 0 ? NULL : tc_rewrite_producer(r, edge);
    return node && tc_node_is(node, "constant") ? tc_attrs_tensor(&node->attrs, "tensor") : NULL;
}

static bool same_number(double a, double b, bool is_float)
{
    return a == b && (!is_float || !signbit(a) == !signbit(b));
}

bool tc_rewrite_uniform(const tc_rewrite *r, tc_edge edge, double *value)
{
    const tc_node *node = tc_rewrite_producer(r, edge);
    if (tc_node_is(node, "fill")) {
        *value = tc_attrs_float(&node->attrs, "value");
        return true;
    }
    const tc_tensor *tensor = tc_rewrite_constant(r, edge);
    if (!tensor || tc_tensor_size(tensor) > MAX_SEARCH || tc_tensor_size(tensor) == 0)
        return false;
    tc_dtype dtype = tc_tensor_dtype(tensor);
    const char *element = tc_tensor_data(tensor);
    *value = tc_dtype_load(dtype, element);
    if (tc_dtype_in(dtype, TC_DTYPES_INT) && !tc_is_exact(*value))
        return false; /* other integers round to it */
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++, element += tc_dtype_size(dtype))
        if (!same_number(tc_dtype_load(dtype, element), *value,
                         tc_dtype_in(dtype, TC_DTYPES_FLOAT)))
            return false;
    return true;
}

bool tc_rewrite_is(const tc_rewrite *r, tc_edge edge, double value)
{
    double found;
    return tc_rewrite_uniform(r, edge, &found) &&
           same_number(found, value, tc_dtype_in(tc_rewrite_info(r, edge)->dtype, TC_DTYPES_FLOAT));
}

/* Appends a constant of one value with the dtype and known `shape`. */
static tc_status append_constant(tc_rewrite *r, tc_dtype dtype, const tc_shape *shape, double value,
                                 tc_edge *out)
{
    tc_tensor *tensor;
    tc_value_info info = {.dtype = dtype, .shape = *shape};
    tc_node like = *r->node;
    like.outputs = &info;
    like.n_outputs = 1;
    TC_TRY(tc_tensor_create(dtype, *shape, &tensor));
    char *element = tc_tensor_data(tensor);
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++, element += tc_dtype_size(dtype))
        tc_dtype_store(dtype, element, value);
    tc_node *node = tc_ir_constant(r->pass, &like, 0, tensor);
    tc_tensor_release(tensor);
    if (!node)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_ir_append(r->pass, node));
    *out = (tc_edge){node->index, 0};
    return TC_OK;
}

tc_status tc_rewrite_scalar(tc_rewrite *r, tc_dtype dtype, double value, tc_edge *out)
{
    const tc_shape scalar = TC_SCALAR;
    return append_constant(r, dtype, &scalar, value, out);
}

tc_status tc_rewrite_fill(tc_rewrite *r, tc_edge like, double value)
{
    const tc_value_info *info = &r->node->outputs[0];
    tc_edge constant, x = like;
    if (tc_shape_is_known(&info->shape)) {
        if (tc_shape_size(&info->shape) <= MAX_SEARCH) {
            TC_TRY(append_constant(r, info->dtype, &info->shape, value, &constant));
            tc_rewrite_forward(r, constant);
            return TC_OK;
        }
        return tc_rewrite_become(r, "fill", NULL, 0,
                                 (const tc_attr_arg[]){{"dtype", tc_attr_dtype(info->dtype)},
                                                       {"shape", tc_attr_shape(&info->shape)},
                                                       {"value", tc_attr_float(value)}},
                                 3);
    }
    tc_value_info wanted = *tc_rewrite_info(r, like);
    wanted.dtype = info->dtype;
    if (!tc_info_same(&wanted, info) || (value != 0 && value != 1))
        return TC_OK;
    const char *op = value == 0 ? "zeros_like" : "ones_like";
    if (tc_rewrite_info(r, like)->dtype == info->dtype)
        return tc_rewrite_become(r, op, &x, 1, NULL, 0);
    TC_TRY(tc_rewrite_make(r, op, &like, 1, NULL, 0, &x));
    return tc_rewrite_become(r, "cast", &x, 1,
                             &(const tc_attr_arg){"dtype", tc_attr_dtype(info->dtype)}, 1);
}

/*
 * Rules that need no file of their own
 */
static tc_status rule_identity(tc_rewrite *r)
{
    tc_rewrite_forward(r, r->node->inputs[0]);
    return TC_OK;
}

static tc_status rule_dropout(tc_rewrite *r)
{
    const char *mode = tc_attrs_string(&r->node->attrs, "mode");
    if (mode && (strcmp(mode, "inference") == 0 || tc_attrs_float(&r->node->attrs, "rate") == 0))
        tc_rewrite_forward(r, r->node->inputs[0]);
    return TC_OK;
}

static tc_status rule_is_training(tc_rewrite *r)
{
    const char *mode = tc_attrs_string(&r->node->attrs, "mode");
    if (!mode || strcmp(mode, "auto") == 0)
        return TC_OK;
    return tc_rewrite_fill(r, TC_NO_EDGE, strcmp(mode, "training") == 0);
}

static const tc_rule rules[] = {
    {"identity", rule_identity},
    {"stop_gradient", rule_identity},
    {"dropout", rule_dropout},
    {"is_training", rule_is_training},
    {"cast", tc_rule_cast},
    {"reshape", tc_rule_reshape},
    {"reshape_like", tc_rule_reshape_like},
    {"flatten", tc_rule_view},
    {"squeeze", tc_rule_view},
    {"unsqueeze", tc_rule_view},
    {"expand", tc_rule_expand},
    {"expand_like", tc_rule_expand_like},
    {"reduce_expand", tc_rule_reduce_expand},
    {"sum_to_like", tc_rule_same_shape},
    {"reduce_sum", tc_rule_reduce},
    {"reduce_mean", tc_rule_reduce},
    {"reduce_max", tc_rule_reduce},
    {"reduce_min", tc_rule_reduce},
    {"reduce_prod", tc_rule_reduce},
    {"pad", tc_rule_same_shape},
    {"slice", tc_rule_slice},
    {"concat", tc_rule_concat},
    {"split", tc_rule_split},
    {"split_like", tc_rule_split},
    {"transpose", tc_rule_transpose},
    {"neg", tc_rule_involution},
    {"logical_not", tc_rule_not},
    {"abs", tc_rule_idempotent},
    {"relu", tc_rule_idempotent},
    {"sign", tc_rule_idempotent},
    {"floor", tc_rule_idempotent},
    {"ceil", tc_rule_idempotent},
    {"add", tc_rule_add},
    {"add", tc_rule_absorb_expand},
    {"sub", tc_rule_sub},
    {"sub", tc_rule_absorb_expand},
    {"mul", tc_rule_mul},
    {"mul", tc_rule_absorb_expand},
    {"div", tc_rule_div},
    {"div", tc_rule_absorb_expand},
    {"maximum", tc_rule_extremum},
    {"maximum", tc_rule_absorb_expand},
    {"minimum", tc_rule_extremum},
    {"minimum", tc_rule_absorb_expand},
    {"equal", tc_rule_compare},
    {"equal", tc_rule_absorb_expand},
    {"not_equal", tc_rule_compare},
    {"not_equal", tc_rule_absorb_expand},
    {"less", tc_rule_compare},
    {"less", tc_rule_absorb_expand},
    {"less_equal", tc_rule_compare},
    {"less_equal", tc_rule_absorb_expand},
    {"greater", tc_rule_compare},
    {"greater", tc_rule_absorb_expand},
    {"greater_equal", tc_rule_compare},
    {"greater_equal", tc_rule_absorb_expand},
    {"logical_and", tc_rule_logic},
    {"logical_or", tc_rule_logic},
    {"logical_xor", tc_rule_logic},
    {"where", tc_rule_where},
    {"where", tc_rule_absorb_expand},
};

/*
 * The engine
 */
static tc_status apply_rules(tc_rewrite *r, const tc_map *by_op, const tc_rule *table, size_t count)
{
    for (int turn = 0; turn < MAX_TURNS; turn++) {
        const uint64_t *first = tc_map_find(by_op, &r->node->attrs.op, sizeof r->node->attrs.op);
        r->changed = false;
        if (!first)
            return TC_OK;
        for (size_t i = *first; i < count && strcmp(table[i].op, table[*first].op) == 0; i++) {
            TC_TRY(table[i].apply(r));
            if (r->changed)
                break;
        }
        if (!r->changed)
            return TC_OK;
        r->pass->changes++;
        if (r->gone)
            return TC_OK;
    }
    return TC_OK;
}

tc_status tc_rewrite_run(tc_pass_context *pass, const tc_rule *table, size_t count, bool rounding)
{
    const tc_op **ops = tc_alloc_zero(count, sizeof *ops); /* keys of the map */
    tc_map by_op = {0};
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (!ops && status == TC_OK)
        status = tc_compiler_exhausted();
    for (size_t i = 0; i < count && status == TC_OK; i++) {
        ops[i] = tc_registry_find_op(pass->graph->registry, table[i].op);
        if (ops[i] && !tc_map_find(&by_op, &ops[i], sizeof ops[i]) &&
            !tc_map_put(&by_op, &ops[i], sizeof ops[i], i))
            status = tc_compiler_exhausted();
    }
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_rewrite r = {.pass = pass, .node = pass->old[i], .old = i, .rounding = rounding};
        tc_ir_renumber(pass, r.node);
        status = apply_rules(&r, &by_op, table, count);
        if (status == TC_OK && !r.gone)
            status = tc_ir_keep(pass, r.node, i);
    }
    tc_map_free(&by_op);
    tc_free(ops);
    return tc_ir_end(pass, status);
}

tc_status tc_pass_simplify(tc_pass_context *pass)
{
    return tc_rewrite_run(pass, rules, sizeof rules / sizeof rules[0], false);
}
