/*
 * Element by element: arithmetic, functions, comparison, selection, conversion.
 *
 * Builders: not thread-safe on one graph; errors stick to the graph (see graph.h).
 *
 * Operators of several inputs broadcast them by NumPy's rules: counted from the last dimension,
 * sizes are equal or one of them is 1. Inputs that are called alike below have one dtype; nothing
 * is converted silently (see tc_cast). f16 and bf16 are computed in f32 and rounded once.
 * Floating-point follows IEEE 754 to nearest even, subnormals included; functions are accurate to 4
 * units in the last place unless stated. Integer arithmetic wraps; no input traps. Floating-point
 * operators are differentiable to any order unless stated. Errors: INVALID_ARGUMENT for a dtype
 * that is not listed, dtypes that differ or shapes that do not broadcast.
 */
#ifndef TENSORC_OPS_ELEMENTWISE_H
#define TENSORC_OPS_ELEMENTWISE_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Of one input. The result has its shape and dtype.
 */

/** -x. Floats and signed integers; the smallest integer gives itself. */
TC_API tc_value tc_neg_at(tc_location at, tc_value x);
/** |x|. Numbers; the smallest integer gives itself. The gradient at 0 is 0. */
TC_API tc_value tc_abs_at(tc_location at, tc_value x);
/** e^x. Floats. */
TC_API tc_value tc_exp_at(tc_location at, tc_value x);
/** Natural logarithm. Floats; 0 gives -inf, negative numbers NaN. */
TC_API tc_value tc_log_at(tc_location at, tc_value x);
/** Square root. Floats; negative numbers give NaN. */
TC_API tc_value tc_sqrt_at(tc_location at, tc_value x);
/** 1 / sqrt(x). Floats; 0 gives inf. */
TC_API tc_value tc_rsqrt_at(tc_location at, tc_value x);
/** x * x. Numbers. */
TC_API tc_value tc_square_at(tc_location at, tc_value x);
/** 1 / (1 + e^-x). Floats. */
TC_API tc_value tc_sigmoid_at(tc_location at, tc_value x);
/** Hyperbolic tangent. Floats. */
TC_API tc_value tc_tanh_at(tc_location at, tc_value x);
/** max(x, 0). Floats and signed integers; NaN gives NaN. The gradient at 0 is 0. */
TC_API tc_value tc_relu_at(tc_location at, tc_value x);
/** Error function 2/sqrt(pi) * integral of e^(-t^2) from 0 to x. Floats. */
TC_API tc_value tc_erf_at(tc_location at, tc_value x);
/** -1, 0 or 1. Numbers; NaN gives NaN and -0 gives -0. The gradient is 0 everywhere. */
TC_API tc_value tc_sign_at(tc_location at, tc_value x);
/** Largest integer not above x. Floats. The gradient is 0 everywhere. */
TC_API tc_value tc_floor_at(tc_location at, tc_value x);
/** Smallest integer not below x. Floats. The gradient is 0 everywhere. */
TC_API tc_value tc_ceil_at(tc_location at, tc_value x);
/** 1 / x. Floats. */
TC_API tc_value tc_reciprocal_at(tc_location at, tc_value x);
/** Negation of a bool. No gradient. */
TC_API tc_value tc_logical_not_at(tc_location at, tc_value x);

typedef struct tc_gelu_options {
    size_t struct_size;
    const char *name;        /**< of the node; default "gelu" */
    bool tanh_approximation; /**< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
} tc_gelu_options;

/**
 * x * P(N <= x) of a standard normal N: x/2 (1 + erf(x / sqrt 2)). Floats. In f32 the error is
 * relative to x, so that the vanishing left tail is accurate in absolute terms only. `options` may
 * be NULL. Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
 */
TC_API tc_value tc_gelu_at(tc_location at, tc_value x, const tc_gelu_options *options);

/**
 * x converted to `dtype`, any to any. Float to float rounds to nearest even. Float to integer
 * truncates towards zero and saturates, NaN gives 0. Integer to integer keeps the low bits. Integer
 * to float rounds to nearest even (f16 and bf16 by way of f32). To bool: everything but 0 is true;
 * bool gives 0 or 1. Differentiable between floats. Errors: INVALID_ARGUMENT for a dtype that this
 * version cannot store.
 */
TC_API tc_value tc_cast_at(tc_location at, tc_value x, tc_dtype dtype);

/** Zeros of dtype and shape of x, whose elements are not read. Any dtype; the gradient is 0
 * everywhere. */
TC_API tc_value tc_zeros_like_at(tc_location at, tc_value x);
/** Ones of dtype and shape of x, whose elements are not read. Any dtype; the gradient is 0
 * everywhere. */
TC_API tc_value tc_ones_like_at(tc_location at, tc_value x);

/*
 * Of two inputs, with broadcasting.
 */

/** a + b. Numbers. */
TC_API tc_value tc_add_at(tc_location at, tc_value a, tc_value b);
/** a - b. Numbers. */
TC_API tc_value tc_sub_at(tc_location at, tc_value a, tc_value b);
/** a * b. Numbers. */
TC_API tc_value tc_mul_at(tc_location at, tc_value a, tc_value b);
/**
 * a / b. Numbers. Integers are truncated towards zero; division by zero gives 0, and the smallest
 * integer by -1 gives itself.
 */
TC_API tc_value tc_div_at(tc_location at, tc_value a, tc_value b);
/**
 * a to the power of b. Numbers; floats as IEEE 754 pow. Of integers the result wraps, and a
 * negative exponent gives the exact power truncated towards zero: 1 for a = 1, 1 or -1 for a = -1,
 * otherwise 0 (also for a = 0). The gradient of b is 0 where a is 0 and b positive, and NaN where a
 * is negative.
 */
TC_API tc_value tc_pow_at(tc_location at, tc_value a, tc_value b);
/** The larger one. Numbers; NaN where either is NaN. The gradient goes to the winner; half to each
 * where they are equal. */
TC_API tc_value tc_maximum_at(tc_location at, tc_value a, tc_value b);
/** The smaller one. Numbers; NaN where either is NaN. The gradient goes to the winner; half to each
 * where they are equal. */
TC_API tc_value tc_minimum_at(tc_location at, tc_value a, tc_value b);

/* Comparisons give bool and have no gradient. NaN is unequal to everything and not ordered. */

/** a == b. Any dtype. */
TC_API tc_value tc_equal_at(tc_location at, tc_value a, tc_value b);
/** a != b. Any dtype. */
TC_API tc_value tc_not_equal_at(tc_location at, tc_value a, tc_value b);
/** a < b. Numbers. */
TC_API tc_value tc_less_at(tc_location at, tc_value a, tc_value b);
/** a <= b. Numbers. */
TC_API tc_value tc_less_equal_at(tc_location at, tc_value a, tc_value b);
/** a > b. Numbers. */
TC_API tc_value tc_greater_at(tc_location at, tc_value a, tc_value b);
/** a >= b. Numbers. */
TC_API tc_value tc_greater_equal_at(tc_location at, tc_value a, tc_value b);
/** a and b, of bools. No gradient. */
TC_API tc_value tc_logical_and_at(tc_location at, tc_value a, tc_value b);
/** a or b, of bools. No gradient. */
TC_API tc_value tc_logical_or_at(tc_location at, tc_value a, tc_value b);
/** Whether two bools differ. No gradient. */
TC_API tc_value tc_logical_xor_at(tc_location at, tc_value a, tc_value b);

/** x where `condition` (bool) is true, else y; all three are broadcast. Any dtype. */
TC_API tc_value tc_where_at(tc_location at, tc_value condition, tc_value x, tc_value y);

typedef struct tc_bias_add_options {
    size_t struct_size;
    const char *name;     /**< of the node; default "bias_add" */
    tc_optional_int axis; /**< dimension of x that the bias belongs to, negative from the end;
                             default 1, channels */
} tc_bias_add_options;

/**
 * x + bias along one dimension: `bias` is [x.shape[axis]]. Numbers. `options` may be NULL.
 * Errors: INVALID_ARGUMENT for an axis outside x, a bias that is not of rank 1 or of another size.
 */
TC_API tc_value tc_bias_add_at(tc_location at, tc_value x, tc_value bias,
                               const tc_bias_add_options *options);

#ifndef __cplusplus
#define tc_neg(x)                 tc_neg_at(TC_HERE, x)
#define tc_abs(x)                 tc_abs_at(TC_HERE, x)
#define tc_exp(x)                 tc_exp_at(TC_HERE, x)
#define tc_log(x)                 tc_log_at(TC_HERE, x)
#define tc_sqrt(x)                tc_sqrt_at(TC_HERE, x)
#define tc_rsqrt(x)               tc_rsqrt_at(TC_HERE, x)
#define tc_square(x)              tc_square_at(TC_HERE, x)
#define tc_sigmoid(x)             tc_sigmoid_at(TC_HERE, x)
#define tc_tanh(x)                tc_tanh_at(TC_HERE, x)
#define tc_relu(x)                tc_relu_at(TC_HERE, x)
#define tc_erf(x)                 tc_erf_at(TC_HERE, x)
#define tc_sign(x)                tc_sign_at(TC_HERE, x)
#define tc_floor(x)               tc_floor_at(TC_HERE, x)
#define tc_ceil(x)                tc_ceil_at(TC_HERE, x)
#define tc_reciprocal(x)          tc_reciprocal_at(TC_HERE, x)
#define tc_logical_not(x)         tc_logical_not_at(TC_HERE, x)
#define tc_gelu(...)              TC_BUILD1(tc_gelu, __VA_ARGS__)
#define tc_cast(x, dtype)         tc_cast_at(TC_HERE, x, dtype)
#define tc_zeros_like(x)          tc_zeros_like_at(TC_HERE, x)
#define tc_ones_like(x)           tc_ones_like_at(TC_HERE, x)
#define tc_add(a, b)              tc_add_at(TC_HERE, a, b)
#define tc_sub(a, b)              tc_sub_at(TC_HERE, a, b)
#define tc_mul(a, b)              tc_mul_at(TC_HERE, a, b)
#define tc_div(a, b)              tc_div_at(TC_HERE, a, b)
#define tc_pow(a, b)              tc_pow_at(TC_HERE, a, b)
#define tc_maximum(a, b)          tc_maximum_at(TC_HERE, a, b)
#define tc_minimum(a, b)          tc_minimum_at(TC_HERE, a, b)
#define tc_equal(a, b)            tc_equal_at(TC_HERE, a, b)
#define tc_not_equal(a, b)        tc_not_equal_at(TC_HERE, a, b)
#define tc_less(a, b)             tc_less_at(TC_HERE, a, b)
#define tc_less_equal(a, b)       tc_less_equal_at(TC_HERE, a, b)
#define tc_greater(a, b)          tc_greater_at(TC_HERE, a, b)
#define tc_greater_equal(a, b)    tc_greater_equal_at(TC_HERE, a, b)
#define tc_logical_and(a, b)      tc_logical_and_at(TC_HERE, a, b)
#define tc_logical_or(a, b)       tc_logical_or_at(TC_HERE, a, b)
#define tc_logical_xor(a, b)      tc_logical_xor_at(TC_HERE, a, b)
#define tc_where(condition, x, y) tc_where_at(TC_HERE, condition, x, y)
#define tc_bias_add(...)          TC_BUILD2(tc_bias_add, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
