/* Functions of one input. */
#include "elementwise.h"

#define SPECIAL                                                                                \
    {                                                                                          \
        .name = "special",                                                                     \
        .inputs = {{OP_SHAPE(21), OP_ELEMENTS(0.0, -0.0, INFINITY, -INFINITY, NAN, 1, -1, 0.5, \
                                              -0.5, 1e-30, -1e-30, 1e-42, 88.5, -88.5, 1e30,   \
                                              -1e30, 100, -100, -103.25, 30, -30)}},           \
        .outputs = {{OP_SHAPE(21)}}, .dtypes = TC_DTYPES_FLOAT, .no_gradients = true           \
    }

#define ON(low_, high_, ...)                        \
    {                                               \
        {                                           \
            __VA_ARGS__, .low = low_, .high = high_ \
        }                                           \
    }
#define SAMPLES(low, high, flat)                                     \
    {.name = "matrix",                                               \
     .inputs = ON(low, high, OP_SHAPE(3, 7)),                        \
     .outputs = {{OP_SHAPE(3, 7)}},                                  \
     .no_gradients = flat},                                          \
        {.name = "scalar",                                           \
         .inputs = ON(low, high, .rank = 0),                         \
         .outputs = {{.rank = 0}},                                   \
         .no_gradients = flat},                                      \
        {.name = "empty",                                            \
         .inputs = ON(low, high, OP_SHAPE(2, 0)),                    \
         .outputs = {{OP_SHAPE(2, 0)}},                              \
         .no_gradients = true},                                      \
        {.name = "rank 8",                                           \
         .inputs = ON(low, high, OP_SHAPE(1, 2, 1, 3, 2, 1, 2, 1)),  \
         .outputs = {{OP_SHAPE(1, 2, 1, 3, 2, 1, 2, 1)}},            \
         .no_gradients = true},                                      \
    {                                                                \
        .name = "long", .inputs = ON(low, high, OP_SHAPE(33, 1003)), \
        .outputs = {{OP_SHAPE(33, 1003)}}, .no_gradients = true      \
    }
static const op_sample real_line[] = {SAMPLES(-3.0, 3.0, false), SPECIAL};
static const op_sample positive[] = {SAMPLES(0.125, 4.0, false), SPECIAL};
static const op_sample truth[] = {SAMPLES(0.0, 2.0, true)};
static const op_sample steps[] = {
    SAMPLES(-40.0, 40.0, true),
    SPECIAL,
    {.name = "halves",
     .inputs = {{OP_SHAPE(6), OP_ELEMENTS(0.5, -0.5, 1.5, -2.5, 7.25, -8.75)}},
     .outputs = {{OP_SHAPE(6)}}},
};

/* Smallest and largest numbers, which wrap. */
#define LIMITS(tag, ...)                                                                \
    {                                                                                   \
        .name = "limits of " #tag, .inputs = {{OP_SHAPE(5), OP_ELEMENTS(__VA_ARGS__)}}, \
        .outputs = {{OP_SHAPE(5)}}, .dtypes = TC_DTYPE_BIT(tag), .no_gradients = true   \
    }
#define SIGNED_SAMPLES                                                                    \
    {.name = "matrix",                                                                    \
     .inputs = ON(-9, 9, OP_SHAPE(9, 7)),                                                 \
     .outputs = {{OP_SHAPE(9, 7)}},                                                       \
     .dtypes = TC_DTYPES_FLOAT | TC_DTYPES_SIGNED},                                       \
        {.name = "long",                                                                  \
         .inputs = ON(0, 120, OP_SHAPE(33, 1003)),                                        \
         .outputs = {{OP_SHAPE(33, 1003)}},                                               \
         .no_gradients = true},                                                           \
        LIMITS(TC_I8, -128, 127, -127, 0, -1), LIMITS(TC_I16, -32768, 32767, 300, 0, -1), \
        LIMITS(TC_I32, -2147483648.0, 46341, 40000, 0, -1),                               \
        LIMITS(TC_I64, -9223372036854775808.0, 4294967296.0, -4294967296.0, 0, -1), SPECIAL
static const op_sample signeds[] = {SIGNED_SAMPLES};
static const op_sample numbers[] = {
    SIGNED_SAMPLES,
    LIMITS(TC_U8, 255, 254, 16, 0, 1),
    LIMITS(TC_U16, 65535, 65534, 256, 0, 1),
    LIMITS(TC_U32, 4227858432.0, 67108864.0, 65537, 0, 1),
    LIMITS(TC_U64, 4294967296.0, 9223372036854775808.0, 3, 0, 1),
};

#define BUILD(op)                                                                        \
    static tc_value build_##op(tc_graph *graph, const tc_value *in, const void *options) \
    {                                                                                    \
        (void)graph;                                                                     \
        (void)options;                                                                   \
        return tc_##op(in[0]);                                                           \
    }

#define UNARY_CASE(op_name, allowed, sample_set, wrong_dtype, with_gradient, expression) \
    BUILD(op_name)                                                                       \
    UNARY_REFERENCE(reference_##op_name, expression)                                     \
    static const op_bad bad_##op_name[] = {                                              \
        {.inputs = {{OP_SHAPE(2)}}, .dtype = wrong_dtype, .message = "but must be"}};    \
    extern const op_case op_case_##op_name;                                              \
    const op_case op_case_##op_name = {.op = #op_name,                                   \
                                       .build = build_##op_name,                         \
                                       .reference = reference_##op_name,                 \
                                       OP_LIST(sample_set),                              \
                                       OP_BAD(bad_##op_name),                            \
                                       .dtypes = allowed,                                \
                                       .gradients = with_gradient ? OP_INPUT(0) : 0,     \
                                       .n_inputs = 1};

#define FLOATS  TC_DTYPES_FLOAT
#define SIGNEDS (TC_DTYPES_FLOAT | TC_DTYPES_SIGNED)
#define NUMBERS TC_DTYPES_NUMBER

static double sigmoid(double x)
{
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}

UNARY_CASE(neg, SIGNEDS, signeds, TC_U8, true, -x)
UNARY_CASE(abs, NUMBERS, numbers, TC_BOOL, true, fabs(x))
UNARY_CASE(square, NUMBERS, numbers, TC_BOOL, true, x *x)
UNARY_CASE(relu, SIGNEDS, signeds, TC_U8, true, x < 0 ? 0 : x)
UNARY_CASE(sign, NUMBERS, numbers, TC_BOOL, true, x > 0 ? 1 : x < 0 ? -1 : x)
UNARY_CASE(exp, FLOATS, real_line, TC_I32, true, exp(x))
UNARY_CASE(log, FLOATS, positive, TC_I32, true, log(x))
UNARY_CASE(sqrt, FLOATS, positive, TC_I32, true, sqrt(x))
UNARY_CASE(rsqrt, FLOATS, positive, TC_I32, true, 1 / sqrt(x))
UNARY_CASE(reciprocal, FLOATS, positive, TC_I32, true, 1 / x)
UNARY_CASE(sigmoid, FLOATS, real_line, TC_I32, true, sigmoid(x))
UNARY_CASE(tanh, FLOATS, real_line, TC_I32, true, tanh(x))
UNARY_CASE(erf, FLOATS, real_line, TC_I32, true, erf(x))
UNARY_CASE(floor, FLOATS, steps, TC_I32, true, floor(x))
UNARY_CASE(ceil, FLOATS, steps, TC_I32, true, ceil(x))
UNARY_CASE(logical_not, TC_DTYPES_BOOL, truth, TC_U8, false, x == 0)
UNARY_CASE(gelu, FLOATS, real_line, TC_I32, true,
           x == -INFINITY ? 0 : 0.5 * x * erfc(-x * sqrt(0.5)))

static tc_value build_gelu_tanh(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_gelu(in[0], .tanh_approximation = true, .name = "approximate");
}

static double gelu_tanh(double x)
{
    double u = sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x);
    return x < -100 ? 0 : x * sigmoid(2 * u);
}
UNARY_REFERENCE(reference_gelu_tanh, gelu_tanh(x))

extern const op_case op_case_gelu_tanh;
const op_case op_case_gelu_tanh = {.op = "gelu",
                                   .build = build_gelu_tanh,
                                   .reference = reference_gelu_tanh,
                                   OP_LIST(real_line),
                                   .dtypes = FLOATS,
                                   .gradients = OP_INPUT(0)};
