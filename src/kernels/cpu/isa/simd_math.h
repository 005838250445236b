/*
 * Mathematics on vectors, included by simd.h once for f32 and once for f64. NAME(exp) is tc_f32_exp
 * or tc_f64_exp.
 *
 * Bits are computed on in U, where overflow is defined. Exact at infinities, NaN, signed zeros and
 * subnormals, over the whole range. Largest errors in units in the last place, found by
 * tests/kernels/test_simd_math.c: exp 1.1, log 0.9, tanh 2.5, sigmoid 2.4, in every instruction
 * set.
 */

TC_INLINE V NAME(splat)(S x)
{
    return x - (V){0};
}

TC_INLINE V NAME(load)(const S *p)
{
    V v;
    memcpy(&v, p, sizeof v);
    return v;
}

TC_INLINE void NAME(store)(S *p, V v)
{
    memcpy(p, &v, sizeof v);
}

TC_INLINE V NAME(abs)(V x)
{
    return (V)((I)x & ~(I)NAME(splat)((S)-0.0));
}

/** |magnitude| with the sign bit of `sign`. */
TC_INLINE V NAME(copysign)(V magnitude, V sign)
{
    I bit = (I)NAME(splat)((S)-0.0);
    return (V)(((I)magnitude & ~bit) | ((I)sign & bit));
}

/** c[0] + c[1] x + ... + c[n-1] x^(n-1). */
TC_INLINE V NAME(poly)(const S *c, int n, V x)
{
    V p = NAME(splat)(c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        p = NAME(fma)(p, x, NAME(splat)(c[i]));
    return p;
}
#define POLY(array, x) NAME(poly)(array, (int)(sizeof(array) / sizeof(array[0])), x)

/* Nearest integer of |x| < ROUND_LIMIT: numbers beyond have no fraction, and adding the limit drops
 * it from the others. */
TC_INLINE V NAME(round)(V x)
{
    V magnitude = NAME(abs)(x);
    V whole = NAME(copysign)((magnitude + ROUND_LIMIT) - ROUND_LIMIT, x);
    return NAME(select)(magnitude < ROUND_LIMIT, whole, x);
}

TC_INLINE V NAME(floor)(V x)
{
    V whole = NAME(round)(x);
    return NAME(select)(whole > x, whole - (S)1, whole);
}

TC_INLINE V NAME(ceil)(V x)
{
    V whole = NAME(round)(x);
    return NAME(copysign)(NAME(select)(whole < x, whole + (S)1, whole), x);
}

/** 2^n for n of a normal number. */
TC_INLINE V NAME(exp2_int)(I n)
{
    return (V)(((U)n + BIAS) << MANTISSA);
}

/* x = n ln(2) + r with |r| <= ln(2)/2; gives e^r - 1. The parts of ln(2) are such that n times the
 * high one is exact. */
TC_INLINE V NAME(exp_reduce)(V x, I *n)
{
    V shifted = NAME(fma)(x, NAME(splat)((S)1.4426950408889634074), NAME(splat)(ROUND_MAGIC));
    V count = shifted - ROUND_MAGIC;
    *n = (I)((U)shifted - (U)NAME(splat)(ROUND_MAGIC));
    V r = NAME(fma)(count, NAME(splat)(-LN2_HIGH), x);
    r = NAME(fma)(count, NAME(splat)(-LN2_LOW), r);
    return NAME(fma)(POLY(NAME(exp_poly), r), r * r, r);
}

TC_INLINE V NAME(exp)(V x)
{
    I n;
    x = NAME(min)(NAME(splat)(EXP_HIGH), NAME(max)(NAME(splat)(EXP_LOW), x));
    V p = NAME(exp_reduce)(x, &n) + (S)1;
    I half = n >> 1; /* in two steps, because 2^n alone may overflow or be subnormal */
    return p * NAME(exp2_int)(half) * NAME(exp2_int)(n - half);
}

/* e^x - 1 = 2^n (e^r - 1) + (2^n - 1), so that nothing cancels near 0. */
TC_INLINE V NAME(tanh)(V x)
{
    I n;
    V magnitude = NAME(min)(NAME(splat)(TANH_LIMIT), NAME(abs)(x));
    V p = NAME(exp_reduce)(magnitude + magnitude, &n);
    V scale = NAME(exp2_int)(n);
    V expm1 = NAME(fma)(scale, p, scale - (S)1);
    return NAME(copysign)(expm1 / (expm1 + (S)2), x);
}

/* By e^-|x|, which does not overflow: the left tail keeps its relative accuracy. */
TC_INLINE V NAME(sigmoid)(V x)
{
    V e = NAME(exp)(-NAME(abs)(x));
    return NAME(select)(x < (S)0, e, NAME(splat)(1)) / (e + (S)1);
}

/* log(1 + f) + e ln(2) for 1 + f in sqrt(1/2)..sqrt(2). */
TC_INLINE V NAME(log_core)(V f, V e)
{
    V half_square = (S)0.5 * f * f;
#if MANTISSA == 23
    V p = POLY(NAME(log_poly), f) * (f * (f * f));
    p = NAME(fma)(e, NAME(splat)(LN2_LOW), p) - half_square;
#else
    V s = f / (f + (S)2);
    V ss = s * s;
    V p = s * NAME(fma)(POLY(NAME(log_poly), ss), ss, half_square);
    p = NAME(fma)(e, NAME(splat)(LN2_LOW), p) - half_square;
#endif
    return NAME(fma)(e, NAME(splat)(LN2_HIGH), f + p);
}

TC_INLINE V NAME(log)(V x)
{
    V infinity = NAME(splat)((S)INFINITY);
    I tiny = x < MIN_NORMAL;
    V scaled = NAME(select)(tiny, x * (ROUND_LIMIT * 2), x);
    I exponent = (I)((U)scaled - SQRT_HALF) >> MANTISSA;
    V m = (V)((U)scaled - ((U)exponent << MANTISSA));
    exponent += tiny & -(MANTISSA + 1);
    V e = (V)(exponent + (I)NAME(splat)(ROUND_MAGIC)) - ROUND_MAGIC;
    V y = NAME(log_core)(m - (S)1, e);
    V outside = NAME(select)(x < (S)0, NAME(splat)((S)NAN), x); /* inf and NaN give themselves */
    outside = NAME(select)(x == (S)0, -infinity, outside);
    return NAME(select)((x > (S)0) & (x < infinity), y, outside);
}

/** y[i] = f(x[i]); the buffers may be one. */
TC_INLINE void NAME(map)(V (*f)(V), const S *x, S *y, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        NAME(store)(y + i, f(NAME(load)(x + i)));
    if (i < n)
        NAME(store_part)(y + i, n - i, f(NAME(load_part)(x + i, n - i)));
}

#undef POLY
#undef S
#undef V
#undef I
#undef U
#undef NAME
#undef LANES
#undef MANTISSA
#undef BIAS
#undef ROUND_MAGIC
#undef ROUND_LIMIT
#undef MIN_NORMAL
#undef SQRT_HALF
#undef LN2_HIGH
#undef LN2_LOW
#undef EXP_LOW
#undef EXP_HIGH
#undef TANH_LIMIT
