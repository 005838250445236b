/* Rules of simplify for arithmetic, comparison, logic, selection and casts. */
#include <math.h>
#include <string.h>

#include "compiler/simplify.h"
#include "core/dtype.h"
#include "core/tensor.h"

/* Larger divisors are not looked through. */
#define MAX_DIVISORS 4096

static bool is_integer(const tc_rewrite *r)
{
    return tc_dtype_in(r->node->outputs[0].dtype, TC_DTYPES_INT);
}

/* Comparison is exact and total: no NaN. */
static bool is_ordered(const tc_rewrite *r, tc_edge edge)
{
    return tc_dtype_in(tc_rewrite_info(r, edge)->dtype, TC_DTYPES_INT | TC_DTYPES_BOOL);
}

static bool inputs_equal(const tc_rewrite *r)
{
    return tc_edges_equal(r->node->inputs[0], r->node->inputs[1]);
}

/* Forwards input `x` when the other one is a constant of `neutral` and broadcasting leaves x as it
 * is. */
static void neutral(tc_rewrite *r, int32_t x, double value)
{
    if (!r->gone && tc_rewrite_same(r, r->node->inputs[x]) &&
        tc_rewrite_is(r, r->node->inputs[1 - x], value))
        tc_rewrite_forward(r, r->node->inputs[x]);
}

/* op(op(x)) is x. */
tc_status tc_rule_involution(tc_rewrite *r)
{
    const tc_node *inner = tc_rewrite_input(r, 0, r->node->attrs.op->name);
    if (inner)
        tc_rewrite_forward(r, inner->inputs[0]);
    return TC_OK;
}

/* op(op(x)) is op(x). */
tc_status tc_rule_idempotent(tc_rewrite *r)
{
    if (tc_rewrite_input(r, 0, r->node->attrs.op->name))
        tc_rewrite_forward(r, r->node->inputs[0]);
    return TC_OK;
}

/* The comparison that holds where the other does not; of the ordered ones only without NaN. */
static const struct {
    const char *op, *opposite;
    bool ordered;
} opposites[] = {
    {"equal", "not_equal", false},   {"not_equal", "equal", false},
    {"less", "greater_equal", true}, {"greater_equal", "less", true},
    {"greater", "less_equal", true}, {"less_equal", "greater", true},
};

tc_status tc_rule_not(tc_rewrite *r)
{
    TC_TRY(tc_rule_involution(r));
    for (size_t i = 0; !r->changed && i < sizeof opposites / sizeof opposites[0]; i++) {
        const tc_node *compare = tc_rewrite_input(r, 0, opposites[i].op);
        if (compare && (!opposites[i].ordered || is_ordered(r, compare->inputs[0])))
            return tc_rewrite_become(r, opposites[i].opposite, compare->inputs, 2, NULL, 0);
    }
    return TC_OK;
}

tc_status tc_rule_add(tc_rewrite *r)
{
    double zero = is_integer(r) ? 0.0 : -0.0; /* x + -0.0 is x for every float, -0.0 too */
    neutral(r, 0, zero);
    neutral(r, 1, zero);
    return TC_OK;
}

tc_status tc_rule_sub(tc_rewrite *r)
{
    neutral(r, 0, 0.0);
    if (!r->gone && is_integer(r) && inputs_equal(r))
        return tc_rewrite_fill(r, r->node->inputs[0], 0);
    return TC_OK;
}

/* Integers times 0 are zeros of the output's shape; floats are not where x is NaN or infinite. */
tc_status tc_rule_mul(tc_rewrite *r)
{
    neutral(r, 0, 1.0);
    neutral(r, 1, 1.0);
    if (!r->gone && inputs_equal(r))
        return tc_rewrite_become(r, "square", r->node->inputs, 1, NULL, 0);
    for (int32_t c = 0; c < 2 && !r->changed && is_integer(r); c++)
        if (tc_rewrite_is(r, r->node->inputs[c], 0.0))
            TC_TRY(tc_rewrite_fill(r, r->node->inputs[1 - c], 0));
    return TC_OK;
}

/* Powers of two whose reciprocal is exact and normal in `dtype`. */
static bool powers_of_two(const tc_rewrite *r, tc_edge edge)
{
    const tc_tensor *tensor = tc_rewrite_constant(r, edge);
    if (!tensor || tc_tensor_size(tensor) > MAX_DIVISORS)
        return false;
    tc_dtype dtype = tc_tensor_dtype(tensor);
    int limit = dtype == TC_F16 ? 14 : dtype == TC_F64 ? 1022 : 126;
    const char *element = tc_tensor_data(tensor);
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++, element += tc_dtype_size(dtype)) {
        int exponent;
        double fraction = frexp(tc_dtype_load(dtype, element), &exponent);
        if (fabs(fraction) != 0.5 || exponent - 1 > limit || 1 - exponent > limit)
            return false;
    }
    return true;
}

tc_status tc_rule_div(tc_rewrite *r)
{
    neutral(r, 0, 1.0);
    if (r->gone || is_integer(r) || !powers_of_two(r, r->node->inputs[1]))
        return TC_OK;
    tc_edge inputs[2] = {r->node->inputs[0], TC_NO_EDGE};
    TC_TRY(tc_rewrite_make(r, "reciprocal", &r->node->inputs[1], 1, NULL, 0, &inputs[1]));
    return tc_rewrite_become(r, "mul", inputs, 2, NULL, 0);
}

tc_status tc_rule_extremum(tc_rewrite *r)
{
    if (inputs_equal(r))
        tc_rewrite_forward(r, r->node->inputs[0]);
    return TC_OK;
}

/* x compared with itself; a NaN does not even equal itself. */
tc_status tc_rule_compare(tc_rewrite *r)
{
    if (!inputs_equal(r) || !is_ordered(r, r->node->inputs[0]))
        return TC_OK;
    const char *op = r->node->attrs.op->name;
    bool holds = strcmp(op, "equal") == 0 || strcmp(op, "less_equal") == 0 ||
                 strcmp(op, "greater_equal") == 0;
    return tc_rewrite_fill(r, r->node->inputs[0], holds);
}

/* What a constant c makes of op(x, c): x, its negation, or a constant whatever x is. */
typedef enum truth { KEEP, NEGATE, FALSE, TRUE } truth;

static const struct {
    const char *op;
    truth with_false, with_true, with_itself;
} logic[] = {
    {"logical_and", FALSE, KEEP, KEEP},
    {"logical_or", KEEP, TRUE, KEEP},
    {"logical_xor", KEEP, NEGATE, FALSE},
};

static tc_status apply_truth(tc_rewrite *r, truth what, tc_edge x)
{
    if (what == KEEP)
        tc_rewrite_forward_same(r, x);
    else if (what != NEGATE)
        return tc_rewrite_fill(r, x, what == TRUE);
    else if (tc_rewrite_same(r, x))
        return tc_rewrite_become(r, "logical_not", &x, 1, NULL, 0);
    return TC_OK;
}

tc_status tc_rule_logic(tc_rewrite *r)
{
    size_t i = 0;
    while (strcmp(logic[i].op, r->node->attrs.op->name) != 0)
        i++;
    if (inputs_equal(r))
        return apply_truth(r, logic[i].with_itself, r->node->inputs[0]);
    for (int32_t c = 0; c < 2 && !r->changed; c++) {
        double value;
        if (tc_rewrite_uniform(r, r->node->inputs[c], &value))
            TC_TRY(apply_truth(r, value != 0 ? logic[i].with_true : logic[i].with_false,
                               r->node->inputs[1 - c]));
    }
    return TC_OK;
}

/* The branch that a constant condition takes, broadcast where the other made it larger. */
static tc_status take_branch(tc_rewrite *r, tc_edge x)
{
    const tc_shape *shape = &r->node->outputs[0].shape;
    int64_t sizes[TC_MAX_RANK];
    tc_rewrite_forward_same(r, x);
    for (int32_t i = 0; i < shape->rank; i++) {
        sizes[i] = shape->dims[i].size;
        if (sizes[i] < 0)
            return TC_OK;
    }
    if (r->gone)
        return TC_OK;
    const tc_attr_arg attr = {"sizes", tc_attr_ints(sizes, (size_t)shape->rank)};
    return tc_rewrite_become(r, "expand", &x, 1, &attr, 1);
}

tc_status tc_rule_where(tc_rewrite *r)
{
    const tc_edge *in = r->node->inputs;
    double condition;
    if (tc_rewrite_uniform(r, in[0], &condition))
        return take_branch(r, in[condition != 0 ? 1 : 2]);
    if (tc_edges_equal(in[1], in[2]))
        tc_rewrite_forward_same(r, in[1]);
    const tc_node *opposite = tc_rewrite_input(r, 0, "logical_not");
    if (r->gone || !opposite)
        return TC_OK;
    const tc_edge swapped[] = {opposite->inputs[0], in[2], in[1]};
    return tc_rewrite_become(r, "where", swapped, 3, NULL, 0);
}

/* Bits of the numbers a dtype holds exactly: of an integer, or of a float's fraction; and of their
 * exponents. */
typedef struct span {
    int bits;
    int exponent;
    bool is_float, is_signed;
} span;

static span span_of(tc_dtype dtype)
{
    int width = 8 * (int)tc_dtype_size(dtype);
    switch (dtype) {
    case TC_F64: return (span){53, 11, true, true};
    case TC_F32: return (span){24, 8, true, true};
    case TC_F16: return (span){11, 5, true, true};
    case TC_BF16: return (span){8, 8, true, true};
    case TC_BOOL: return (span){1, 0, false, false};
    default: break;
    }
    bool is_signed = tc_dtype_in(dtype, TC_DTYPES_SIGNED);
    return (span){width - is_signed, 0, false, is_signed};
}

/* Whether every value of `from` is one of `to`; what is no number counts. */
static bool is_lossless(tc_dtype from, tc_dtype to)
{
    span a = span_of(from), b = span_of(to);
    if (from == to)
        return true;
    if (to == TC_BOOL || (a.is_float && !b.is_float) || (a.is_signed && !b.is_signed))
        return false;
    if (!a.is_float && b.is_float && a.bits >= 1 << (b.exponent - 1))
        return false; /* the largest integer is beyond the largest float */
    return a.bits <= b.bits && a.exponent <= (b.is_float ? b.exponent : 0);
}

tc_status tc_rule_cast(tc_rewrite *r)
{
    if (tc_rewrite_info(r, r->node->inputs[0])->dtype == r->node->outputs[0].dtype) {
        tc_rewrite_forward(r, r->node->inputs[0]);
        return TC_OK;
    }
    const tc_node *inner = tc_rewrite_input(r, 0, "cast");
    if (!inner)
        return TC_OK;
    tc_dtype from = tc_rewrite_info(r, inner->inputs[0])->dtype, via = inner->outputs[0].dtype;
    tc_dtype to = r->node->outputs[0].dtype;
    /* What does not fit keeps its low bits as an integer, but becomes the limit as a float. */
    bool limits = tc_dtype_in(from, TC_DTYPES_INT) && tc_dtype_in(via, TC_DTYPES_FLOAT) &&
                  tc_dtype_in(to, TC_DTYPES_INT);
    if (!is_lossless(from, via) || (limits && !is_lossless(from, to)))
        return TC_OK;
    r->node->inputs[0] = inner->inputs[0];
    r->changed = true;
    return TC_OK;
}
