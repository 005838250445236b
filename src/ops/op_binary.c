/* Arithmetic, comparison and logic of two inputs with broadcasting. */
#include "ops/build.h"
#include "tensorc/ops/elementwise.h"

/* Inside a gradient function. */
#define AT TC_WITHIN(g->at)
#define A  (g->inputs[0])
#define B  (g->inputs[1])
#define Y  (g->outputs[0])
#define DY (g->output_gradients[0])

/* Gives input `i` the gradient `expression`, which is built only where it is needed. */
#define FLOW(i, expression)                                                         \
    do {                                                                            \
        if (g->needed[i])                                                           \
            g->input_gradients[i] = tc_unbroadcast(AT, (expression), g->inputs[i]); \
    } while (0)

static void add_grad(tc_grad *g)
{
    FLOW(0, DY);
    FLOW(1, DY);
}

static void sub_grad(tc_grad *g)
{
    FLOW(0, DY);
    FLOW(1, tc_neg_at(AT, DY));
}

static void mul_grad(tc_grad *g)
{
    FLOW(0, tc_mul_at(AT, DY, B));
    FLOW(1, tc_mul_at(AT, DY, A));
}

static void div_grad(tc_grad *g)
{
    FLOW(0, tc_div_at(AT, DY, B));
    FLOW(1, tc_neg_at(AT, tc_div_at(AT, tc_mul_at(AT, DY, Y), B)));
}

static tc_value ones_where_zero(tc_grad *g, tc_value x)
{
    tc_value is_zero = tc_equal_at(AT, x, tc_constant_like(AT, x, 0));
    return tc_where_at(AT, is_zero, tc_constant_like(AT, x, 1), x);
}

/* b a^(b-1) and a^b log a, kept from 0 * inf where b or a is 0. */
static tc_value pow_slope_base(tc_grad *g)
{
    tc_value less = tc_sub_at(AT, ones_where_zero(g, B), tc_constant_like(AT, B, 1));
    return tc_mul_at(AT, B, tc_pow_at(AT, A, less));
}

static tc_value pow_slope_exponent(tc_grad *g)
{
    return tc_mul_at(AT, Y, tc_log_at(AT, ones_where_zero(g, A)));
}

static void pow_grad(tc_grad *g)
{
    FLOW(0, tc_mul_at(AT, DY, pow_slope_base(g)));
    FLOW(1, tc_mul_at(AT, DY, pow_slope_exponent(g)));
}

/* The gradient where `wins`, half of it where the inputs are equal. */
static tc_value winner_gradient(tc_grad *g, tc_value wins)
{
    tc_value half = tc_mul_at(AT, tc_constant_like(AT, DY, 0.5), DY);
    tc_value rest = tc_where_at(AT, tc_equal_at(AT, A, B), half, tc_constant_like(AT, DY, 0));
    return tc_where_at(AT, wins, DY, rest);
}

static void maximum_grad(tc_grad *g)
{
    FLOW(0, winner_gradient(g, tc_greater_at(AT, A, B)));
    FLOW(1, winner_gradient(g, tc_less_at(AT, A, B)));
}

static void minimum_grad(tc_grad *g)
{
    FLOW(0, winner_gradient(g, tc_less_at(AT, A, B)));
    FLOW(1, winner_gradient(g, tc_greater_at(AT, A, B)));
}

/* Ports by the dtypes that they take; `_to_bool` gives a bool. */
#define PORTS(set, dtypes)                                                    \
    static const tc_port set##_in[] = {{"a", dtypes, 'T', 0, "left operand"}, \
                                       {"b", dtypes, 'T', 0, "right operand"}};
#define RESULT(set, dtypes, letter) \
    static const tc_port set##_out[] = {{"y", dtypes, letter, 0, "result, of the broadcast shape"}};
PORTS(numbers, TC_DTYPES_NUMBER)
PORTS(bools, TC_DTYPES_BOOL)
PORTS(all, TC_DTYPES_ANY)
RESULT(numbers, TC_DTYPES_NUMBER, 'T')
RESULT(bools, TC_DTYPES_BOOL, 'T')
RESULT(truth, TC_DTYPES_BOOL, 0)

static const tc_inplace in_place[] = {{0, 0}, {1, 0}};

#define BINARY(op, set_in, set_out, more_flags, gradient, text, ...)     \
    const tc_op tc_op_##op = {.name = #op,                               \
                              .version = 1,                              \
                              .doc = text,                               \
                              TC_LIST(inputs, set_in##_in),              \
                              TC_LIST(outputs, set_out##_out),           \
                              .flags = TC_OP_ELEMENTWISE | (more_flags), \
                              .infer = tc_infer_broadcast,               \
                              .grad = gradient,                          \
                              __VA_ARGS__};                              \
    tc_value tc_##op##_at(tc_location at, tc_value a, tc_value b)        \
    {                                                                    \
        return TC_NODE(#op, NULL, at, (a, b));                           \
    }

#define ARITHMETIC(op, more_flags, text) \
    BINARY(op, numbers, numbers, more_flags, op##_grad, text, TC_LIST(inplace, in_place))
#define COMPARISON(op, set, more_flags, text) \
    BINARY(op, set, truth, more_flags, TC_GRAD_NONE, text, .effects = 0)
#define LOGIC(op, text) \
    BINARY(op, bools, bools, TC_OP_COMMUTATIVE, TC_GRAD_NONE, text, TC_LIST(inplace, in_place))

ARITHMETIC(add, TC_OP_COMMUTATIVE, "a + b")
ARITHMETIC(sub, 0, "a - b")
ARITHMETIC(mul, TC_OP_COMMUTATIVE, "a * b")
ARITHMETIC(div, 0, "a / b; integers truncate, x / 0 is 0")
ARITHMETIC(pow, 0, "a to the power of b")
ARITHMETIC(maximum, TC_OP_COMMUTATIVE, "the larger one; NaN where either is")
ARITHMETIC(minimum, TC_OP_COMMUTATIVE, "the smaller one; NaN where either is")
COMPARISON(equal, all, TC_OP_COMMUTATIVE, "a == b")
COMPARISON(not_equal, all, TC_OP_COMMUTATIVE, "a != b")
COMPARISON(less, numbers, 0, "a < b")
COMPARISON(less_equal, numbers, 0, "a <= b")
COMPARISON(greater, numbers, 0, "a > b")
COMPARISON(greater_equal, numbers, 0, "a >= b")
LOGIC(logical_and, "a and b")
LOGIC(logical_or, "a or b")
LOGIC(logical_xor, "a unequal b")
