/*
 * Vectors of the width of the instruction set that this is compiled for, and mathematics on them.
 *
 * tc_f32v holds TC_F32_LANES floats, tc_f64v TC_F64_LANES doubles, in the vector extension of GCC
 * and Clang: + - * / and comparisons (which give lanes of 0 or -1) are operators. Everything else
 * is a function tc_f32_<name> or tc_f64_<name> of simd_math.h; the few below need intrinsics.
 * Static data and inline code alone, usable in every file of isa/.
 */
#ifndef TC_KERNELS_CPU_ISA_SIMD_H
#define TC_KERNELS_CPU_ISA_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__) && TC_ISA_LEVEL == 2
#define TC_VECTOR_BYTES 64
#elif defined(__AVX2__) && TC_ISA_LEVEL == 1
#define TC_VECTOR_BYTES 32
#else
#define TC_VECTOR_BYTES 16
#endif

#define TC_F32_LANES (TC_VECTOR_BYTES / 4)
#define TC_F64_LANES (TC_VECTOR_BYTES / 8)

typedef float tc_f32v __attribute__((vector_size(TC_VECTOR_BYTES)));
typedef double tc_f64v __attribute__((vector_size(TC_VECTOR_BYTES)));
typedef int32_t tc_i32v __attribute__((vector_size(TC_VECTOR_BYTES)));
typedef int64_t tc_i64v __attribute__((vector_size(TC_VECTOR_BYTES)));
typedef uint32_t tc_u32v __attribute__((vector_size(TC_VECTOR_BYTES)));
typedef uint64_t tc_u64v __attribute__((vector_size(TC_VECTOR_BYTES)));

/** Every function that takes vectors must be inlined: their calling convention depends on the
 * flags. */
#define TC_INLINE static inline __attribute__((always_inline, unused))

/** For loops whose iterations touch different elements, also where the result overwrites an
 * operand. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* a loop that stays scalar is no mistake */
#define TC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define TC_INDEPENDENT _Pragma("GCC ivdep")
#endif

/*
 * Intrinsics.
 *   fma(a, b, c)   a * b + c, in one rounding where the machine has it
 *   select(m, a, b) a where the mask is -1, b where it is 0
 *   min, max(limit, x)  x where it is NaN
 *   load_part, store_part  of the first n < LANES elements; the rest loads as 0
 */
#if TC_VECTOR_BYTES == 64

TC_INLINE tc_f32v tc_f32_fma(tc_f32v a, tc_f32v b, tc_f32v c)
{
    return (tc_f32v)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
TC_INLINE tc_f64v tc_f64_fma(tc_f64v a, tc_f64v b, tc_f64v c)
{
    return (tc_f64v)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
TC_INLINE tc_f32v tc_f32_sqrt(tc_f32v x)
{
    return (tc_f32v)_mm512_sqrt_ps((__m512)x);
}
TC_INLINE tc_f64v tc_f64_sqrt(tc_f64v x)
{
    return (tc_f64v)_mm512_sqrt_pd((__m512d)x);
}
TC_INLINE tc_f32v tc_f32_select(tc_i32v m, tc_f32v a, tc_f32v b)
{
    return (tc_f32v)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)m), (__m512)b, (__m512)a);
}
TC_INLINE tc_f64v tc_f64_select(tc_i64v m, tc_f64v a, tc_f64v b)
{
    return (tc_f64v)_mm512_mask_blend_pd(_mm512_movepi64_mask((__m512i)m), (__m512d)b, (__m512d)a);
}
TC_INLINE tc_f32v tc_f32_min(tc_f32v limit, tc_f32v x)
{
    return (tc_f32v)_mm512_min_ps((__m512)limit, (__m512)x);
}
TC_INLINE tc_f32v tc_f32_max(tc_f32v limit, tc_f32v x)
{
    return (tc_f32v)_mm512_max_ps((__m512)limit, (__m512)x);
}
TC_INLINE tc_f64v tc_f64_min(tc_f64v limit, tc_f64v x)
{
    return (tc_f64v)_mm512_min_pd((__m512d)limit, (__m512d)x);
}
TC_INLINE tc_f64v tc_f64_max(tc_f64v limit, tc_f64v x)
{
    return (tc_f64v)_mm512_max_pd((__m512d)limit, (__m512d)x);
}
TC_INLINE tc_f32v tc_f32_load_part(const float *p, int64_t n)
{
    return (tc_f32v)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
TC_INLINE void tc_f32_store_part(float *p, int64_t n, tc_f32v v)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
TC_INLINE tc_f64v tc_f64_load_part(const double *p, int64_t n)
{
    return (tc_f64v)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}
TC_INLINE void tc_f64_store_part(double *p, int64_t n, tc_f64v v)
{
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
}

#elif TC_VECTOR_BYTES == 32

TC_INLINE tc_f32v tc_f32_fma(tc_f32v a, tc_f32v b, tc_f32v c)
{
    return (tc_f32v)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
TC_INLINE tc_f64v tc_f64_fma(tc_f64v a, tc_f64v b, tc_f64v c)
{
    return (tc_f64v)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
TC_INLINE tc_f32v tc_f32_sqrt(tc_f32v x)
{
    return (tc_f32v)_mm256_sqrt_ps((__m256)x);
}
TC_INLINE tc_f64v tc_f64_sqrt(tc_f64v x)
{
    return (tc_f64v)_mm256_sqrt_pd((__m256d)x);
}
TC_INLINE tc_f32v tc_f32_select(tc_i32v m, tc_f32v a, tc_f32v b)
{
    return (tc_f32v)_mm256_blendv_ps((__m256)b, (__m256)a, (__m256)m);
}
TC_INLINE tc_f64v tc_f64_select(tc_i64v m, tc_f64v a, tc_f64v b)
{
    return (tc_f64v)_mm256_blendv_pd((__m256d)b, (__m256d)a, (__m256d)m);
}
TC_INLINE tc_f32v tc_f32_min(tc_f32v limit, tc_f32v x)
{
    return (tc_f32v)_mm256_min_ps((__m256)limit, (__m256)x);
}
TC_INLINE tc_f32v tc_f32_max(tc_f32v limit, tc_f32v x)
{
    return (tc_f32v)_mm256_max_ps((__m256)limit, (__m256)x);
}
TC_INLINE tc_f64v tc_f64_min(tc_f64v limit, tc_f64v x)
{
    return (tc_f64v)_mm256_min_pd((__m256d)limit, (__m256d)x);
}
TC_INLINE tc_f64v tc_f64_max(tc_f64v limit, tc_f64v x)
{
    return (tc_f64v)_mm256_max_pd((__m256d)limit, (__m256d)x);
}
TC_INLINE __m256i tc_part_mask32(int64_t n)
{
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lanes);
}
TC_INLINE __m256i tc_part_mask64(int64_t n)
{
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
}
TC_INLINE tc_f32v tc_f32_load_part(const float *p, int64_t n)
{
    return (tc_f32v)_mm256_maskload_ps(p, tc_part_mask32(n));
}
TC_INLINE void tc_f32_store_part(float *p, int64_t n, tc_f32v v)
{
    _mm256_maskstore_ps(p, tc_part_mask32(n), (__m256)v);
}
TC_INLINE tc_f64v tc_f64_load_part(const double *p, int64_t n)
{
    return (tc_f64v)_mm256_maskload_pd(p, tc_part_mask64(n));
}
TC_INLINE void tc_f64_store_part(double *p, int64_t n, tc_f64v v)
{
    _mm256_maskstore_pd(p, tc_part_mask64(n), (__m256d)v);
}

#else

#if defined(__aarch64__)
TC_INLINE tc_f32v tc_f32_fma(tc_f32v a, tc_f32v b, tc_f32v c)
{
    return (tc_f32v)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
TC_INLINE tc_f64v tc_f64_fma(tc_f64v a, tc_f64v b, tc_f64v c)
{
    return (tc_f64v)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else
TC_INLINE tc_f32v tc_f32_fma(tc_f32v a, tc_f32v b, tc_f32v c)
{
    return a * b + c;
}
TC_INLINE tc_f64v tc_f64_fma(tc_f64v a, tc_f64v b, tc_f64v c)
{
    return a * b + c;
}
#endif

TC_INLINE tc_f32v tc_f32_sqrt(tc_f32v x)
{
#if defined(__x86_64__)
    return (tc_f32v)_mm_sqrt_ps((__m128)x);
#else
    for (int i = 0; i < TC_F32_LANES; i++)
        x[i] = sqrtf(x[i]);
    return x;
#endif
}
TC_INLINE tc_f64v tc_f64_sqrt(tc_f64v x)
{
#if defined(__x86_64__)
    return (tc_f64v)_mm_sqrt_pd((__m128d)x);
#else
    for (int i = 0; i < TC_F64_LANES; i++)
        x[i] = sqrt(x[i]);
    return x;
#endif
}
TC_INLINE tc_f32v tc_f32_select(tc_i32v m, tc_f32v a, tc_f32v b)
{
    return (tc_f32v)((m & (tc_i32v)a) | (~m & (tc_i32v)b));
}
TC_INLINE tc_f64v tc_f64_select(tc_i64v m, tc_f64v a, tc_f64v b)
{
    return (tc_f64v)((m & (tc_i64v)a) | (~m & (tc_i64v)b));
}
TC_INLINE tc_f32v tc_f32_min(tc_f32v limit, tc_f32v x)
{
    return tc_f32_select(limit < x, limit, x);
}
TC_INLINE tc_f32v tc_f32_max(tc_f32v limit, tc_f32v x)
{
    return tc_f32_select(limit > x, limit, x);
}
TC_INLINE tc_f64v tc_f64_min(tc_f64v limit, tc_f64v x)
{
    return tc_f64_select(limit < x, limit, x);
}
TC_INLINE tc_f64v tc_f64_max(tc_f64v limit, tc_f64v x)
{
    return tc_f64_select(limit > x, limit, x);
}
TC_INLINE tc_f32v tc_f32_load_part(const float *p, int64_t n)
{
    tc_f32v v = {0};
    for (int64_t i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}
TC_INLINE void tc_f32_store_part(float *p, int64_t n, tc_f32v v)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = v[i];
}
TC_INLINE tc_f64v tc_f64_load_part(const double *p, int64_t n)
{
    tc_f64v v = {0};
    for (int64_t i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}
TC_INLINE void tc_f64_store_part(double *p, int64_t n, tc_f64v v)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = v[i];
}

#endif

/* What simd_math.h is told of each type: its names, format and polynomials (fitted by Remez's
 * algorithm). */

/* (e^r - 1 - r) / r^2 for |r| <= ln(2)/2, in powers of r. */
static const float tc_f32_exp_poly[] = {0x1p-1f, 0x1.5554b2p-3f, 0x1.55548ap-5f, 0x1.1226ecp-7f,
                                        0x1.6d9764p-10f};
static const double tc_f64_exp_poly[] = {0x1p-1,
                                         0x1.5555555555559p-3,
                                         0x1.555555555555ap-5,
                                         0x1.111111110f761p-7,
                                         0x1.6c16c16c14556p-10,
                                         0x1.a01a01afa4f3bp-13,
                                         0x1.a01a01b075f13p-16,
                                         0x1.71ddf8e97b768p-19,
                                         0x1.27e4c616d5631p-22,
                                         0x1.af5dc9bd03370p-26,
                                         0x1.1f94c3636bd73p-29};

/* (log(1 + f) - f + f^2/2) / f^3 in powers of f; (2 atanh(s) - 2s) / s^3 in powers of s^2; for 1 +
 * f in sqrt(1/2)..sqrt(2). */
static const float tc_f32_log_poly[] = {0x1.555546p-2f,  -0x1.ffffeep-3f, 0x1.99a4dap-3f,
                                        -0x1.5562b4p-3f, 0x1.2339e0p-3f,  -0x1.fb4fe8p-4f,
                                        0x1.e5feccp-4f,  -0x1.e289aap-4f, 0x1.1b7cc8p-4f};
static const double tc_f64_log_poly[] = {
    0x1.5555555555592p-1, 0x1.999999997fde3p-2, 0x1.24924941ef293p-2, 0x1.c71c520abf581p-3,
    0x1.74663ea830fa6p-3, 0x1.39a1c08e9ccd5p-3, 0x1.2f052da048e77p-3};

/* erf(x)/x - 1 in powers of x^2 for |x| <= 0.92; (-log(erfc(t)) - t) / t in powers of t for 0.92 <=
 * t <= 10. */
static const float tc_f32_erf_poly[] = {0x1.06eba6p-3f,  -0x1.8126eep-2f, 0x1.ce1be0p-4f,
                                        -0x1.b69ee8p-6f, 0x1.47a768p-8f,  -0x1.3bb75ap-11f};
static const float tc_f32_erfc_poly[] = {0x1.07f3bcp-3f,  0x1.44b2a0p-1f,   0x1.b9f382p-4f,
                                         -0x1.9dbbf4p-6f, 0x1.20420ep-8f,   -0x1.1a2a3ap-11f,
                                         0x1.6920a0p-15f, -0x1.0c58a4p-19f, 0x1.5c8856p-25f};

#define S           float
#define V           tc_f32v
#define I           tc_i32v
#define U           tc_u32v
#define NAME(name)  tc_f32_##name
#define LANES       TC_F32_LANES
#define MANTISSA    23
#define BIAS        127
#define ROUND_MAGIC 0x1.8p23f
#define ROUND_LIMIT 0x1p23f
#define MIN_NORMAL  0x1p-126f
#define SQRT_HALF   0x3f3504f3
#define LN2_HIGH    0x1.63p-1f
#define LN2_LOW     -0x1.bd0106p-13f
#define EXP_LOW     -104.0f
#define EXP_HIGH    89.0f
#define TANH_LIMIT  9.5f
#include "simd_math.h"

#define S           double
#define V           tc_f64v
#define I           tc_i64v
#define U           tc_u64v
#define NAME(name)  tc_f64_##name
#define LANES       TC_F64_LANES
#define MANTISSA    52
#define BIAS        1023
#define ROUND_MAGIC 0x1.8p52
#define ROUND_LIMIT 0x1p52
#define MIN_NORMAL  0x1p-1022
#define SQRT_HALF   0x3fe6a09e667f3bcd
#define LN2_HIGH    0x1.62e42feep-1
#define LN2_LOW     0x1.a39ef35793c76p-33
#define EXP_LOW     -746.0
#define EXP_HIGH    710.0
#define TANH_LIMIT  20.0
#include "simd_math.h"

#include "simd_float.h"

#endif
