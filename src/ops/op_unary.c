/* Functions of one input: the result has its shape and dtype. */
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/elementwise.h"

/* Inside a gradient function. */
#define AT TC_WITHIN(g->at)
#define X  (g->inputs[0])
#define Y  (g->outputs[0])
#define DY (g->output_gradients[0])
#define DX (g->input_gradients[0])

static tc_value scale(tc_grad *g, double factor, tc_value x)
{
    return tc_mul_at(AT, tc_constant_like(AT, x, factor), x);
}

static tc_value one_minus(tc_grad *g, tc_value x)
{
    return tc_sub_at(AT, tc_constant_like(AT, x, 1), x);
}

static void zero_grad(tc_grad *g)
{
    DX = tc_zeros_like_at(AT, X);
}

static void neg_grad(tc_grad *g)
{
    DX = tc_neg_at(AT, DY);
}

static void abs_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, DY, tc_sign_at(AT, X));
}

static void exp_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, DY, Y);
}

static void log_grad(tc_grad *g)
{
    DX = tc_div_at(AT, DY, X);
}

static void sqrt_grad(tc_grad *g)
{
    DX = tc_div_at(AT, scale(g, 0.5, DY), Y);
}

static void rsqrt_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, scale(g, -0.5, DY), tc_mul_at(AT, Y, tc_square_at(AT, Y)));
}

static void square_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, DY, scale(g, 2, X));
}

static void sigmoid_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, DY, tc_mul_at(AT, Y, one_minus(g, Y)));
}

static void tanh_grad(tc_grad *g)
{
    DX = tc_mul_at(AT, DY, one_minus(g, tc_square_at(AT, Y)));
}

/* Of y rather than x, so that x need not be kept; the two are positive together. */
static void relu_grad(tc_grad *g)
{
    tc_value zero = tc_constant_like(AT, Y, 0);
    DX = tc_where_at(AT, tc_greater_at(AT, Y, zero), DY, zero);
}

#define TWO_OVER_SQRT_PI 1.12837916709551257390

static void erf_grad(tc_grad *g)
{
    tc_value slope = tc_exp_at(AT, tc_neg_at(AT, tc_square_at(AT, X)));
    DX = tc_mul_at(AT, DY, scale(g, TWO_OVER_SQRT_PI, slope));
}

static void reciprocal_grad(tc_grad *g)
{
    DX = tc_neg_at(AT, tc_mul_at(AT, DY, tc_square_at(AT, Y)));
}

#define SQRT_HALF        0.70710678118654752440
#define SQRT_TWO_OVER_PI 0.79788456080286535588
#define GELU_CUBIC       0.044715

/* d/dx x P(x) = P(x) + x p(x) with P the normal distribution and p its density. */
static tc_value gelu_slope(tc_grad *g)
{
    tc_value erf = tc_erf_at(AT, scale(g, SQRT_HALF, X));
    tc_value one = tc_constant_like(AT, X, 1);
    tc_value distribution = scale(g, 0.5, tc_add_at(AT, one, erf));
    tc_value bell = tc_exp_at(AT, scale(g, -0.5, tc_square_at(AT, X)));
    tc_value density = scale(g, 0.5 * SQRT_TWO_OVER_PI, bell);
    return tc_add_at(AT, distribution, tc_mul_at(AT, X, density));
}

/* With u = k (x + c x^3) and t = tanh u: (1 + t)/2 + x/2 (1 - t^2) u', u' = k (1 + 3 c x^2). */
static tc_value gelu_tanh_slope(tc_grad *g)
{
    tc_value one = tc_constant_like(AT, X, 1);
    tc_value xx = tc_square_at(AT, X);
    tc_value inner = tc_add_at(AT, one, scale(g, GELU_CUBIC, xx));
    tc_value t = tc_tanh_at(AT, tc_mul_at(AT, scale(g, SQRT_TWO_OVER_PI, X), inner));
    tc_value du = scale(g, SQRT_TWO_OVER_PI, tc_add_at(AT, one, scale(g, 3 * GELU_CUBIC, xx)));
    tc_value curve = tc_mul_at(AT, one_minus(g, tc_square_at(AT, t)), tc_mul_at(AT, X, du));
    return scale(g, 0.5, tc_add_at(AT, tc_add_at(AT, one, t), curve));
}

static void gelu_grad(tc_grad *g)
{
    bool tanh = tc_attrs_bool(g->attrs, "tanh_approximation");
    DX = tc_mul_at(AT, DY, tanh ? gelu_tanh_slope(g) : gelu_slope(g));
}

/* Ports by the dtypes that they take. */
#define PORTS(set, dtypes)                                                \
    static const tc_port set##_in[] = {{"x", dtypes, 'T', 0, "operand"}}; \
    static const tc_port set##_out[] = {{"y", dtypes, 'T', 0, "result, of the shape of x"}};
PORTS(floats, TC_DTYPES_FLOAT)
PORTS(signeds, TC_DTYPES_FLOAT | TC_DTYPES_SIGNED)
PORTS(numbers, TC_DTYPES_NUMBER)
PORTS(bools, TC_DTYPES_BOOL)

static const tc_inplace in_place[] = {{0, 0}};

#define DEFINE(op, set, gradient, text, ...)               \
    const tc_op tc_op_##op = {.name = #op,                 \
                              .version = 1,                \
                              .doc = text,                 \
                              TC_LIST(inputs, set##_in),   \
                              TC_LIST(outputs, set##_out), \
                              TC_LIST(inplace, in_place),  \
                              .flags = TC_OP_ELEMENTWISE,  \
                              .infer = tc_infer_same,      \
                              .grad = gradient,            \
                              __VA_ARGS__}

#define UNARY_WITH(op, set, gradient, text, ...)      \
    DEFINE(op, set, gradient, text, __VA_ARGS__);     \
    tc_value tc_##op##_at(tc_location at, tc_value x) \
    {                                                 \
        return TC_NODE(#op, NULL, at, (x));           \
    }
#define UNARY(op, set, gradient, text) UNARY_WITH(op, set, gradient, text, .effects = 0)
#define FUNCTION(op, set, gradient, text) \
    UNARY_WITH(op, set, gradient, text, .cost = tc_cost_function)

UNARY(neg, signeds, neg_grad, "-x")
UNARY(abs, numbers, abs_grad, "|x|")
FUNCTION(exp, floats, exp_grad, "e^x")
FUNCTION(log, floats, log_grad, "natural logarithm")
UNARY(sqrt, floats, sqrt_grad, "square root")
UNARY(rsqrt, floats, rsqrt_grad, "1 / sqrt(x)")
UNARY(square, numbers, square_grad, "x * x")
FUNCTION(sigmoid, floats, sigmoid_grad, "1 / (1 + e^-x)")
FUNCTION(tanh, floats, tanh_grad, "hyperbolic tangent")
UNARY(relu, signeds, relu_grad, "max(x, 0)")
FUNCTION(erf, floats, erf_grad, "error function")
UNARY(sign, numbers, zero_grad, "-1, 0 or 1")
UNARY(floor, floats, zero_grad, "largest integer not above x")
UNARY(ceil, floats, zero_grad, "smallest integer not below x")
UNARY(reciprocal, floats, reciprocal_grad, "1 / x")
UNARY(logical_not, bools, TC_GRAD_NONE, "negation")

static const tc_attr_def gelu_attrs[] = {{.name = "tanh_approximation",
                                          .type = TC_ATTR_BOOL,
                                          .fallback = {.type = TC_ATTR_BOOL, .b = false},
                                          .doc = "approximate the distribution by tanh"}};

DEFINE(gelu, floats, gelu_grad, "x times the standard normal distribution of x",
       TC_LIST(attrs, gelu_attrs), .cost = tc_cost_function);

tc_value tc_gelu_at(tc_location at, tc_value x, const tc_gelu_options *options)
{
    TC_OPTIONS(tc_gelu_options, o, options);
    return TC_NODE_WITH("gelu", o.name, at, (x),
                        {"tanh_approximation", tc_attr_bool(o.tanh_approximation)});
}
