/* The rest of simd.h: functions that are in vectors for one of the two types only. */

#define POLY(array, x) tc_f32_poly(array, (int)(sizeof(array) / sizeof(array[0])), x)
#define TC_ERF_SPLIT   0.92f

/* 1 - erf(t) for t in TC_ERF_SPLIT..10. */
TC_INLINE tc_f32v tc_f32_erfc_tail(tc_f32v t)
{
    return tc_f32_exp(-tc_f32_fma(t, POLY(tc_f32_erfc_poly, t), t));
}

TC_INLINE tc_f32v tc_f32_erf_center(tc_f32v x)
{
    return tc_f32_fma(x, POLY(tc_f32_erf_poly, x * x), x);
}

/** Error function; at most 2 units in the last place. */
TC_INLINE tc_f32v tc_f32_erf(tc_f32v x)
{
    tc_f32v t = tc_f32_min(tc_f32_splat(10), tc_f32_abs(x));
    tc_f32v tail = tc_f32_copysign(1.0f - tc_f32_erfc_tail(t), x);
    return tc_f32_select(t < TC_ERF_SPLIT, tc_f32_erf_center(x), tail);
}

/** x/2 erfc(-x/sqrt(2)), by the tail of erfc where erf would cancel. */
TC_INLINE tc_f32v tc_f32_gelu(tc_f32v x)
{
    tc_f32v u = tc_f32_max(tc_f32_splat(-10), x * 0.70710678118654752440f);
    tc_f32v t = tc_f32_min(tc_f32_splat(10), tc_f32_abs(u));
    tc_f32v tail = tc_f32_erfc_tail(t);
    tail = tc_f32_select(u < 0.0f, tail, 2.0f - tail);
    tc_f32v twice = tc_f32_select(t < TC_ERF_SPLIT, 1.0f + tc_f32_erf_center(u), tail);
    return 0.5f * tc_f32_max(tc_f32_splat(-15), x) * twice;
}

#undef POLY

/** x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). Below the limit it is 0, where -inf times 0
 * would be NaN. */
TC_INLINE tc_f32v tc_f32_gelu_tanh(tc_f32v x)
{
    x = tc_f32_max(tc_f32_splat(-30), x);
    return x * tc_f32_sigmoid(1.59576912160573071176f * x * (1.0f + 0.044715f * x * x));
}

TC_INLINE tc_f64v tc_f64_gelu_tanh(tc_f64v x)
{
    x = tc_f64_max(tc_f64_splat(-30), x);
    return x * tc_f64_sigmoid(1.59576912160573071176 * x * (1.0 + 0.044715 * x * x));
}

/* Calls of libm lane by lane, where a vector version would be used rarely. */
#define TC_F64_LANEWISE(name, call)            \
    TC_INLINE tc_f64v tc_f64_##name(tc_f64v x) \
    {                                          \
        for (int i = 0; i < TC_F64_LANES; i++) \
            x[i] = call;                       \
        return x;                              \
    }
TC_F64_LANEWISE(erf, erf(x[i]))
TC_F64_LANEWISE(gelu, 0.5 * fmax(x[i], -60) * erfc(-x[i] * 0.70710678118654752440))
#undef TC_F64_LANEWISE

TC_INLINE tc_f64v tc_f64_pow(tc_f64v a, tc_f64v b)
{
    for (int i = 0; i < TC_F64_LANES; i++)
        a[i] = pow(a[i], b[i]);
    return a;
}

/* |a|^b of doubles that hold floats, but for a = 1, b = 0 and signs. */
TC_INLINE tc_f64v tc_f64_pow_magnitude(tc_f64v a, tc_f64v b)
{
    return tc_f64_exp(b * tc_f64_log(tc_f64_abs(a)));
}

typedef float tc_f32half __attribute__((vector_size(TC_VECTOR_BYTES / 2)));
typedef union tc_f32_halves {
    tc_f32v whole;
    tc_f32half half[2];
} tc_f32_halves;

/** IEEE 754 pow, computed in double and rounded once but for a last-place error. */
TC_INLINE tc_f32v tc_f32_pow(tc_f32v a, tc_f32v b)
{
    tc_f32_halves base = {a}, power = {b}, y;
    for (int h = 0; h < 2; h++)
        y.half[h] = __builtin_convertvector(
            tc_f64_pow_magnitude(__builtin_convertvector(base.half[h], tc_f64v),
                                 __builtin_convertvector(power.half[h], tc_f64v)),
            tc_f32half);
    tc_f32v one = tc_f32_splat(1), infinity = tc_f32_splat(INFINITY);
    tc_f32v magnitude = tc_f32_abs(a), whole = tc_f32_round(b);
    tc_i32v endless = tc_f32_abs(b) == infinity;
    tc_i32v integer = (whole == b); /* infinities too */
    tc_f32v half = 0.5f * b;
    tc_i32v odd = integer & (tc_f32_round(half) != half) & (tc_f32_abs(b) < 0x1p24f);
    tc_i32v negative = (tc_i32v)a < 0;
    tc_f32v r =
        tc_f32_select((b == 0.0f) | (a == 1.0f) | ((magnitude == 1.0f) & endless), one, y.whole);
    r = tc_f32_select((a < 0.0f) & ~integer & (magnitude < infinity) & (b == b), tc_f32_splat(NAN),
                      r);
    return (tc_f32v)((tc_i32v)r ^ (negative & odd & (tc_i32v)tc_f32_splat(-0.0f)));
}
