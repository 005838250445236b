/* Arithmetic of two inputs. */
#include "elementwise.h"

#define BUILD(op)                                                                        \
    static tc_value build_##op(tc_graph *graph, const tc_value *in, const void *options) \
    {                                                                                    \
        (void)graph;                                                                     \
        (void)options;                                                                   \
        return tc_##op(in[0], in[1]);                                                    \
    }

/* Elements of a within (low_a, high_a), of b within (low_b, high_b). */
#define SAMPLE(sample_name, shape_a, shape_b, shape_y, flat) \
    {.name = sample_name,                                    \
     .inputs = {{RANGE_A, shape_a}, {RANGE_B, shape_b}},     \
     .outputs = {{shape_y}},                                 \
     .no_gradients = flat},
#define PAIRS(sample_name, allowed, n, a, b)                                    \
    {                                                                           \
        .name = sample_name,                                                    \
        .inputs = {{OP_SHAPE(n), OP_ELEMENTS a}, {OP_SHAPE(n), OP_ELEMENTS b}}, \
        .outputs = {{OP_SHAPE(n)}}, .dtypes = allowed, .no_gradients = true     \
    }
#define SPECIAL                                                                                  \
    PAIRS("special", TC_DTYPES_FLOAT, 18,                                                        \
          (NAN, 1, NAN, INFINITY, INFINITY, -INFINITY, 0, -0.0, 0, 1, -1, INFINITY, 5, 1e30, -2, \
           -0.0, 0.5, 1),                                                                        \
          (1, NAN, NAN, INFINITY, -INFINITY, 2, 0, 0, 5, 0, 0, 0, INFINITY, 1e30, 3, -3,         \
           -INFINITY, -INFINITY))

#define RANGE_A .low = 0, .high = 0
#define RANGE_B .low = 0, .high = 0
static const op_sample samples[] = {
    BROADCASTS(SAMPLE) SPECIAL,
    PAIRS("limits of i8", TC_DTYPE_BIT(TC_I8), 6, (-128, 127, -128, 100, -1, 0),
          (-1, 1, -128, 100, 2, 5)),
    PAIRS("limits of u8", TC_DTYPE_BIT(TC_U8), 6, (255, 0, 16, 200, 1, 0), (1, 1, 17, 100, 2, 5)),
    PAIRS("limits of i16", TC_DTYPE_BIT(TC_I16), 4, (-32768, 32767, -32768, 300),
          (-1, 1, -32768, 300)),
    PAIRS("limits of u16", TC_DTYPE_BIT(TC_U16), 4, (65535, 0, 256, 300), (1, 1, 257, 300)),
    PAIRS("limits of i32", TC_DTYPE_BIT(TC_I32), 4,
          (-2147483648.0, 2147483647, -2147483648.0, 65536), (-1, 1, 1, 32768)),
    PAIRS("limits of u32", TC_DTYPE_BIT(TC_U32), 4, (4294967295.0, 0, 65536, 3), (1, 1, 65536, 7)),
    PAIRS("limits of i64", TC_DTYPE_BIT(TC_I64), 3, (0x1p62, 0x1p62, -3), (0x1p62, -0x1p62, 7)),
    PAIRS("limits of u64", TC_DTYPE_BIT(TC_U64), 3, (9223372036854775808.0, 4294967296.0, 3),
          (2, 1048576, 7)),
};

#undef RANGE_B
#define RANGE_B .low = 1, .high = 4
static const op_sample quotient_samples[] = {
    BROADCASTS(SAMPLE) SPECIAL,
    PAIRS("negative", TC_DTYPES_FLOAT | TC_DTYPES_SIGNED, 6, (7, -7, 7, -7, 5, -5),
          (2, 2, -2, -2, -1, 1)),
    PAIRS("by zero", TC_DTYPES_INT, 4, (7, 0, 1, 100), (0, 0, 0, 0)),
    PAIRS("limits of i8", TC_DTYPE_BIT(TC_I8), 4, (-128, -128, 127, -1), (-1, 1, -1, -128)),
    PAIRS("limits of i16", TC_DTYPE_BIT(TC_I16), 2, (-32768, 32767), (-1, -1)),
    PAIRS("limits of i32", TC_DTYPE_BIT(TC_I32), 2, (-2147483648.0, 2147483647), (-1, -1)),
    PAIRS("limits of i64", TC_DTYPE_BIT(TC_I64), 2, (-9223372036854775808.0, 3), (-1, -1)),
    PAIRS("limits of u8", TC_DTYPE_BIT(TC_U8), 3, (255, 255, 254), (255, 2, 255)),
};

#undef RANGE_A
#undef RANGE_B
#define RANGE_A .low = 0.25, .high = 3
#define RANGE_B .low = 0, .high = 3
static const op_sample power_samples[] = {
    BROADCASTS(SAMPLE) SPECIAL,
    PAIRS("signs", TC_DTYPES_FLOAT, 16,
          (-2, -2, -2, -2, -0.5, -0.0, -0.0, -INFINITY, -INFINITY, 1, -1, -1, 2, 2, 10, 0),
          (2, 3, -3, 0.5, -1, 3, -3, 3, -2, NAN, INFINITY, 1e10, -1e9, 1e9, -2.5, 0)),
    PAIRS("negative exponents", TC_DTYPES_SIGNED, 8, (1, -1, -1, 2, -2, 0, 7, -1),
          (-5, -5, -4, -1, -3, -1, -2, 0)),
    PAIRS("wrapping", TC_DTYPE_BIT(TC_I8) | TC_DTYPE_BIT(TC_U8), 4, (2, 3, 7, 2), (9, 5, 5, 7)),
};

/* Far enough from each other for differences. */
#define APART(sample_name, shape_a, shape_b, shape_y, flat)           \
    {.name = sample_name,                                             \
     .inputs = {{.fill = OP_INTEGERS, .low = -3, .high = 3, shape_a}, \
                {.low = 0.25, .high = 0.75, shape_b}},                \
     .outputs = {{shape_y}},                                          \
     .no_gradients = flat},
static const op_sample order_samples[] = {
    BROADCASTS(APART) SPECIAL,
    PAIRS("unsigned", TC_DTYPES_UNSIGNED, 3, (255, 0, 128), (1, 255, 127)),
    PAIRS("signed", TC_DTYPES_SIGNED, 3, (-128, 0, 127), (1, -1, -127)),
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2)}},
     .message = "b of shape [2] does not broadcast with [2, 3]"},
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(2, 0)}}, .message = "does not broadcast"},
    {.inputs = {{.dtype = TC_I32, OP_SHAPE(2)}, {OP_SHAPE(2)}},
     .message = "must have the same dtype, but are i32 and f32"},
    {.inputs = {{OP_SHAPE(2)}, {OP_SHAPE(2)}}, .dtype = TC_BOOL, .message = "but must be"},
};

#define BINARY_CASE(op_name, sample_set, expression)                           \
    BUILD(op_name)                                                             \
    BINARY_REFERENCE(reference_##op_name, expression)                          \
    extern const op_case op_case_##op_name;                                    \
    const op_case op_case_##op_name = {.op = #op_name,                         \
                                       .build = build_##op_name,               \
                                       .reference = reference_##op_name,       \
                                       OP_LIST(sample_set),                    \
                                       OP_BAD(bad),                            \
                                       .dtypes = TC_DTYPES_NUMBER,             \
                                       .gradients = OP_INPUT(0) | OP_INPUT(1), \
                                       .n_inputs = 2};

static bool is_int(tc_dtype dtype)
{
    return TC_DTYPES_INT & TC_DTYPE_BIT(dtype);
}

static double quotient(tc_dtype dtype, double a, double b)
{
    if (!is_int(dtype))
        return a / b;
    return b == 0 ? 0 : trunc(a / b);
}

static double power(tc_dtype dtype, double a, double b)
{
    if (!is_int(dtype))
        return pow(a, b);
    return a == 0 && b < 0 ? 0 : trunc(pow(a, b));
}

BINARY_CASE(add, samples, a + b)
BINARY_CASE(sub, samples, a - b)
BINARY_CASE(mul, samples, a *b)
BINARY_CASE(div, quotient_samples, quotient(run->dtype, a, b))
BINARY_CASE(pow, power_samples, power(run->dtype, a, b))
BINARY_CASE(maximum, order_samples, isnan(a) || isnan(b) ? NAN : a > b ? a : b)
BINARY_CASE(minimum, order_samples, isnan(a) || isnan(b) ? NAN : a < b ? a : b)
