/*
 * Rewriting nodes by tables of rules: what the passes simplify and strength share. A rule looks at
 * one node, whose inputs are new edges already, and forwards its output to another value, makes the
 * node apply another operator, or leaves it.
 */
#ifndef TC_COMPILER_SIMPLIFY_H
#define TC_COMPILER_SIMPLIFY_H

#include "compiler/pass.h"

typedef struct tc_rewrite {
    tc_pass_context *pass;
    tc_node *node;
    int32_t old;   /* what the node was before the pass */
    bool gone;     /* its outputs are forwarded: nothing of it is left */
    bool changed;  /* by the rule that runs */
    bool rounding; /* rules may round differently */
} tc_rewrite;

typedef tc_status (*tc_rule_function)(tc_rewrite *r);

/** Rules of one operator stand together and run in their order; after one that changes the node
 * they begin again with its new operator. */
typedef struct tc_rule {
    const char *op;
    tc_rule_function apply;
} tc_rule;

/** Rewrites the program by tables of rules. An operator's rules are those of the first table that
 * has some. */
tc_status tc_rewrite_run(tc_pass_context *pass, const tc_rule *rules, size_t count, bool rounding);

/*
 * What rules are written with
 */
static inline const tc_node *tc_rewrite_producer(const tc_rewrite *r, tc_edge edge)
{
    return tc_graph_node_at(r->pass->graph, edge.node);
}

static inline const tc_value_info *tc_rewrite_info(const tc_rewrite *r, tc_edge edge)
{
    return tc_edge_info(r->pass->graph, edge);
}

/** The node that computes input `input`, when it applies `op` and has no effects; else NULL. */
const tc_node *tc_rewrite_input(const tc_rewrite *r, int32_t input, const char *op);
/** Whether the value has surely the dtype and shape of output 0. */
bool tc_rewrite_same(const tc_rewrite *r, tc_edge edge);
/** Lets `edge` stand for output 0. */
void tc_rewrite_forward(tc_rewrite *r, tc_edge edge);
/** As above when the dtype and shape are surely the same; otherwise nothing happens. */
void tc_rewrite_forward_same(tc_rewrite *r, tc_edge edge);
/** Makes the node apply `op` to other inputs, see tc_ir_become. */
tc_status tc_rewrite_become(tc_rewrite *r, const char *op, const tc_edge *inputs, size_t n_inputs,
                            const tc_attr_arg *attrs, size_t n_attrs);
/** A node before this one, see tc_ir_make. */
tc_status tc_rewrite_make(tc_rewrite *r, const char *op, const tc_edge *inputs, size_t n_inputs,
                          const tc_attr_arg *attrs, size_t n_attrs, tc_edge *out);
/** A constant scalar before this node. */
tc_status tc_rewrite_scalar(tc_rewrite *r, tc_dtype dtype, double value, tc_edge *out);
/** The constant that `edge` is, NULL for anything else. */
tc_tensor *tc_rewrite_constant(const tc_rewrite *r, tc_edge edge);
/** Whether `edge` is a constant of nothing but one value, which is then in `*value`. */
bool tc_rewrite_uniform(const tc_rewrite *r, tc_edge edge, double *value);
/** Whether that value is `value`, with the sign of zero for floats. */
bool tc_rewrite_is(const tc_rewrite *r, tc_edge edge, double value);
/** Output 0 is a constant of one value: replaced when its shape is known and small, otherwise only
 * where `like` has its shape. */
tc_status tc_rewrite_fill(tc_rewrite *r, tc_edge like, double value);

static inline bool tc_dtype_in(tc_dtype dtype, uint32_t set)
{
    return (set & TC_DTYPE_BIT(dtype)) != 0;
}

/** Normalized permutation of a transpose. */
void tc_permutation_of(const tc_node *node, int64_t out[TC_MAX_RANK]);

/* pass_simplify_shapes.c */
tc_status tc_rule_same_shape(tc_rewrite *r);
tc_status tc_rule_slice(tc_rewrite *r);
tc_status tc_rule_split(tc_rewrite *r);
tc_status tc_rule_concat(tc_rewrite *r);
tc_status tc_rule_view(tc_rewrite *r);
tc_status tc_rule_reshape(tc_rewrite *r);
tc_status tc_rule_reshape_like(tc_rewrite *r);
tc_status tc_rule_expand(tc_rewrite *r);
tc_status tc_rule_expand_like(tc_rewrite *r);
tc_status tc_rule_reduce_expand(tc_rewrite *r);
tc_status tc_rule_reduce(tc_rewrite *r);
tc_status tc_rule_transpose(tc_rewrite *r);
tc_status tc_rule_absorb_expand(tc_rewrite *r);

/* pass_simplify_arithmetic.c */
tc_status tc_rule_involution(tc_rewrite *r);
tc_status tc_rule_idempotent(tc_rewrite *r);
tc_status tc_rule_not(tc_rewrite *r);
tc_status tc_rule_add(tc_rewrite *r);
tc_status tc_rule_sub(tc_rewrite *r);
tc_status tc_rule_mul(tc_rewrite *r);
tc_status tc_rule_div(tc_rewrite *r);
tc_status tc_rule_extremum(tc_rewrite *r);
tc_status tc_rule_compare(tc_rewrite *r);
tc_status tc_rule_logic(tc_rewrite *r);
tc_status tc_rule_where(tc_rewrite *r);
tc_status tc_rule_cast(tc_rewrite *r);

#endif
