/*
 * Distributions on vectors of words, included by random.c once for f32 and once for f64. V and I
 * are the vectors of numbers and words, BITS the bits of a word, DIGITS those of a mantissa.
 */

#define POLY(array, x) SIMD(poly)(array, (int)(sizeof(array) / sizeof(array[0])), x)
#define LOW_BITS(n)    ((WORD)(UINT64_MAX >> (64 - (n))))

/* In [0, 1). */
TC_INLINE V NAME(unit)(I w)
{
    return __builtin_convertvector((w >> (BITS - DIGITS)) & LOW_BITS(DIGITS), V) * UNIT;
}

/* (k + 1/2) 2^-BITS. */
TC_INLINE V NAME(middle)(I k)
{
    return (__builtin_convertvector(k, V) + (S)0.5) * HALF_WORD;
}

/*
 * The deviation that a normal number exceeds with probability `tail` = 1/2 - `q`, for q in [0,
 * 1/2]: algorithm AS 241. Both are passed because neither can be had from the other without loss
 * near its zero.
 */
TC_INLINE V NAME(deviation)(V q, V tail)
{
    V r = (S)0.180625 - q * q;
    V above = q * POLY(NAME(center_above), r), below = POLY(NAME(center_below), r);
    I central = q <= (S)0.425;
    V s = SIMD(sqrt)(-SIMD(log)(tail));
    V t = s - (S)1.6;
    above = SIMD(select)(central, above, POLY(NAME(tail_above), t));
    below = SIMD(select)(central, below, POLY(NAME(tail_below), t));
#ifdef FAR_TAIL
    t = s - (S)5;
    above = SIMD(select)((t > 0) & ~central, POLY(NAME(far_above), t), above);
    below = SIMD(select)((t > 0) & ~central, POLY(NAME(far_below), t), below);
#endif
    return above / below;
}

/* `z` with the sign that the top bit of the word says. */
TC_INLINE V NAME(signed)(V z, I w)
{
    return (V)((I)z ^ (w & ~LOW_BITS(BITS - 1)));
}

TC_INLINE V NAME(gauss)(I w)
{
    I k = w & LOW_BITS(BITS - 1);
    return NAME(signed)(NAME(deviation)(NAME(middle)(k), NAME(middle)(LOW_BITS(BITS - 1) - k)), w);
}

/* Within two deviations: q is scaled to what of the probability lies there. */
TC_INLINE V NAME(cut_gauss)(I w)
{
    V q = NAME(middle)(w & LOW_BITS(BITS - 1)) * (S)0.95449973610364158560;
    V z = NAME(deviation)(q, (S)0.5 - q);
    return NAME(signed)(SIMD(min)(SIMD(splat)(2), z), w);
}

/* `count` numbers, rounded up to whole vectors, from the words of their elements. */
#define NUMBERS(kind, distribution)                                                            \
    static void NAME(kind)(const random_params *p, const uint32_t *words, int64_t count, S *y) \
    {                                                                                          \
        V base = SIMD(splat)((S)p->base), scale = SIMD(splat)((S)p->scale);                    \
        V limit = SIMD(splat)((S)p->limit);                                                    \
        for (int64_t i = 0; i < count; i += (int64_t)(sizeof(V) / sizeof(S))) {                \
            I w;                                                                               \
            memcpy(&w, words + i * (int64_t)(sizeof(S) / 4), sizeof w);                        \
            SIMD(store)(y + i, SIMD(min)(limit, base + scale * NAME(distribution)(w)));        \
        }                                                                                      \
    }
NUMBERS(uniform, unit)
NUMBERS(normal, gauss)
NUMBERS(truncated_normal, cut_gauss)

#undef NUMBERS
#undef LOW_BITS
#undef POLY
#undef S
#undef V
#undef I
#undef WORD
#undef NAME
#undef SIMD
#undef BITS
#undef DIGITS
#undef UNIT
#undef HALF_WORD
#undef FAR_TAIL
