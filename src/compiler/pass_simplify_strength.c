/*
 * The pass strength: cheaper operations that round differently, by a table of rules like those of
 * simplify. Results differ by a few units in the last place; where x is -0 or -inf, pow(x, 0.5)
 * becomes what sqrt gives.
 */
#include <math.h>
#include <string.h>

#include "compiler/simplify.h"
#include "core/shape.h"

static bool is_float(const tc_rewrite *r)
{
    return tc_dtype_in(r->node->outputs[0].dtype, TC_DTYPES_FLOAT);
}

/* pow by a constant exponent. */
static const struct {
    double exponent;
    const char *op; /* NULL: x itself */
} powers[] = {{1, NULL}, {2, "square"}, {0.5, "sqrt"}, {-0.5, "rsqrt"}, {-1, "reciprocal"}};

static tc_status rule_pow(tc_rewrite *r)
{
    tc_edge x = r->node->inputs[0];
    if (!is_float(r) || !tc_rewrite_same(r, x))
        return TC_OK;
    for (size_t i = 0; i < sizeof powers / sizeof powers[0]; i++) {
        if (!tc_rewrite_is(r, r->node->inputs[1], powers[i].exponent))
            continue;
        if (powers[i].op)
            return tc_rewrite_become(r, powers[i].op, &x, 1, NULL, 0);
        tc_rewrite_forward(r, x);
        return TC_OK;
    }
    if (!tc_rewrite_is(r, r->node->inputs[1], 3))
        return TC_OK;
    tc_edge factors[2] = {x, x};
    TC_TRY(tc_rewrite_make(r, "square", &x, 1, NULL, 0, &factors[0]));
    return tc_rewrite_become(r, "mul", factors, 2, NULL, 0);
}

/* a + -b is a - b, a - -b is a + b, whatever the sign of a NaN. */
static tc_status rule_signs(tc_rewrite *r)
{
    bool add = tc_node_is(r->node, "add");
    for (int32_t i = 1; i >= (add ? 0 : 1); i--) {
        const tc_node *neg = tc_rewrite_input(r, i, "neg");
        if (!neg)
            continue;
        const tc_edge inputs[] = {r->node->inputs[1 - i], neg->inputs[0]};
        return tc_rewrite_become(r, add ? "sub" : "add", inputs, 2, NULL, 0);
    }
    return TC_OK;
}

/* Two factors of which each is negated, a factor of -1, and two constants after each other. */
static tc_status rule_product(tc_rewrite *r)
{
    const tc_node *node = r->node, *a = tc_rewrite_input(r, 0, "neg"),
                  *b = tc_rewrite_input(r, 1, "neg");
    bool mul = tc_node_is(node, "mul");
    if (!is_float(r))
        return TC_OK;
    if (a && b) {
        const tc_edge inputs[] = {a->inputs[0], b->inputs[0]};
        return tc_rewrite_become(r, node->attrs.op->name, inputs, 2, NULL, 0);
    }
    for (int32_t c = 1; c >= (mul ? 0 : 1); c--) {
        tc_edge x = node->inputs[1 - c];
        if (tc_rewrite_same(r, x) && tc_rewrite_is(r, node->inputs[c], -1))
            return tc_rewrite_become(r, "neg", &x, 1, NULL, 0);
    }
    return TC_OK;
}

/* (x * c) * d is x * cd for scalars, when that is a number like they are. */
static tc_status rule_factors(tc_rewrite *r)
{
    tc_edge inputs[2];
    double c, d;
    if (!is_float(r))
        return TC_OK;
    for (int32_t i = 0; i < 2; i++) {
        const tc_node *inner = tc_rewrite_input(r, i, "mul");
        if (!inner || !tc_rewrite_uniform(r, r->node->inputs[1 - i], &d) || !isnormal(d))
            continue;
        for (int32_t k = 0; k < 2; k++) {
            inputs[0] = inner->inputs[1 - k];
            if (!tc_rewrite_same(r, inputs[0]) || !tc_rewrite_uniform(r, inner->inputs[k], &c) ||
                !isnormal(c) || fabs(c * d) > 1e4 || fabs(c * d) < 1e-4)
                continue;
            TC_TRY(tc_rewrite_scalar(r, r->node->outputs[0].dtype, c * d, &inputs[1]));
            return tc_rewrite_become(r, "mul", inputs, 2, NULL, 0);
        }
    }
    return TC_OK;
}

static tc_status rule_mul(tc_rewrite *r)
{
    TC_TRY(rule_product(r));
    return r->changed ? TC_OK : rule_factors(r);
}

/* 1 / x, and 1 / sqrt(x). */
static tc_status rule_div(tc_rewrite *r)
{
    tc_edge x = r->node->inputs[1];
    if (is_float(r) && tc_rewrite_same(r, x) && tc_rewrite_is(r, r->node->inputs[0], 1))
        return tc_rewrite_become(r, "reciprocal", &x, 1, NULL, 0);
    return rule_product(r);
}

static tc_status rule_reciprocal(tc_rewrite *r)
{
    const tc_node *root = tc_rewrite_input(r, 0, "sqrt");
    return root ? tc_rewrite_become(r, "rsqrt", root->inputs, 1, NULL, 0) : TC_OK;
}

/* matmul reads either operand transposed. */
static tc_status rule_matmul(tc_rewrite *r)
{
    static const char *const flags[] = {"transpose_a", "transpose_b"};
    for (int32_t i = 0; i < 2; i++) {
        const tc_node *transpose = tc_rewrite_input(r, i, "transpose");
        if (!transpose)
            continue;
        int32_t rank = transpose->outputs[0].shape.rank;
        int64_t permutation[TC_MAX_RANK];
        tc_permutation_of(transpose, permutation);
        bool swaps = permutation[rank - 1] == rank - 2 && permutation[rank - 2] == rank - 1;
        for (int32_t d = 0; d < rank - 2; d++)
            swaps = swaps && permutation[d] == d;
        if (!swaps)
            continue;
        bool flag = tc_attrs_bool(&r->node->attrs, flags[i]);
        TC_TRY(tc_ir_set_attr(r->pass, r->node, flags[i], tc_attr_bool(!flag)));
        r->node->inputs[i] = transpose->inputs[0];
        r->changed = true;
    }
    return TC_OK;
}

static const tc_rule rules[] = {
    {"pow", rule_pow},
    {"add", rule_signs},
    {"sub", rule_signs},
    {"mul", rule_mul},
    {"div", rule_div},
    {"reciprocal", rule_reciprocal},
    {"matmul", rule_matmul},
    {"reduce_sum", tc_rule_reduce},
    {"reduce_mean", tc_rule_reduce},
    {"reduce_prod", tc_rule_reduce},
};

tc_status tc_pass_strength(tc_pass_context *pass)
{
    return tc_rewrite_run(pass, rules, sizeof rules / sizeof rules[0], true);
}
