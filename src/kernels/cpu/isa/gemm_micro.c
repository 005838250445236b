/* Register tiles for every instruction set (see gemm_micro.h). */
#include "kernels/cpu/gemm_micro.h"

#include <string.h>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "core/float16.h"
#include "kernels/cpu/kernel.h"

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/*
 * MR x 2 sums, two vectors of B and one of A fill the register file of 32 or 16 registers. WIDE
 * vectors per tile when there are few rows.
 */
#define STRIPS_6(X)  X(1) X(2) X(3) X(4) X(5) X(6)
#define STRIPS_12(X) STRIPS_6(X) X(7) X(8) X(9) X(10) X(11) X(12)
#define STRIPS_14(X) STRIPS_12(X) X(13) X(14)

#if TC_ISA_LEVEL == 2
#define VECTOR_BYTES               64
#define MR                         14
#define WIDE                       8
#define STRIPS                     STRIPS_14
#define FMA_f32(a, b, c)           (vector_f32) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
#define FMA_f64(a, b, c)           (vector_f64) _mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c))
#define MASK16(part)               ((__mmask16)((1u << (part)) - 1))
#define MASK8(part)                ((__mmask8)((1u << (part)) - 1))
#define LOAD_PART_f32(p, part)     (vector_f32) _mm512_maskz_loadu_ps(MASK16(part), p)
#define LOAD_PART_f64(p, part)     (vector_f64) _mm512_maskz_loadu_pd(MASK8(part), p)
#define STORE_PART_f32(p, part, v) _mm512_mask_storeu_ps(p, MASK16(part), (__m512)(v))
#define STORE_PART_f64(p, part, v) _mm512_mask_storeu_pd(p, MASK8(part), (__m512d)(v))

#elif TC_ISA_LEVEL == 1
#define VECTOR_BYTES               32
#define MR                         6
#define WIDE                       4
#define STRIPS                     STRIPS_6
#define FMA_f32(a, b, c)           (vector_f32) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define FMA_f64(a, b, c)           (vector_f64) _mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c))
/* Read from 8 - part (4 - part) on, the first `part` lanes are set. */
static const int32_t mask_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t mask_f64[8] = {-1, -1, -1, -1};
#define MASK_f32(part)             _mm256_loadu_si256((const __m256i *)(mask_f32 + 8 - (part)))
#define MASK_f64(part)             _mm256_loadu_si256((const __m256i *)(mask_f64 + 4 - (part)))
#define LOAD_PART_f32(p, part)     (vector_f32) _mm256_maskload_ps(p, MASK_f32(part))
#define LOAD_PART_f64(p, part)     (vector_f64) _mm256_maskload_pd(p, MASK_f64(part))
#define STORE_PART_f32(p, part, v) _mm256_maskstore_ps(p, MASK_f32(part), (__m256)(v))
#define STORE_PART_f64(p, part, v) _mm256_maskstore_pd(p, MASK_f64(part), (__m256d)(v))

#else
#define VECTOR_BYTES 16
#if TC_ISA_LEVEL == 3
#define MR     12
#define WIDE   8
#define STRIPS STRIPS_12
#define FMA_f32(a, b, c) \
    (vector_f32) vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b))
#define FMA_f64(a, b, c) \
    (vector_f64) vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b))
#else
#define MR               6
#define WIDE             4
#define STRIPS           STRIPS_6
#define FMA_f32(a, b, c) ((a) * (b) + (c))
#define FMA_f64          FMA_f32
#endif
#define LOAD_PART_f32(p, part)     load_part_f32(p, part)
#define LOAD_PART_f64(p, part)     load_part_f64(p, part)
#define STORE_PART_f32(p, part, v) memcpy(p, &(v), (size_t)(part) * sizeof(float))
#define STORE_PART_f64(p, part, v) memcpy(p, &(v), (size_t)(part) * sizeof(double))
#define NEEDS_LOAD_PART
#endif

#define DOT_ROWS    (MR > 6 ? 4 : 2)
#define DOT_COLUMNS 4

typedef float vector_f32 __attribute__((vector_size(VECTOR_BYTES)));
typedef double vector_f64 __attribute__((vector_size(VECTOR_BYTES)));
/* The same anywhere in an array. */
typedef float memory_f32 __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double memory_f64 __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

#define T   float
#define TAG f32
#include "kernels/cpu/isa/gemm_micro_body.h"

#define T   double
#define TAG f64
#include "kernels/cpu/isa/gemm_micro_body.h"

static void load_f16(float *to, const uint16_t *from, int64_t count)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
#endif
    for (; i < count; i++)
        to[i] = tc_f16_to_f32(from[i]);
}

static void store_f16(uint16_t *to, const float *from, int64_t count)
{
    int64_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(to + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(from + i),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#endif
    for (; i < count; i++)
        to[i] = tc_f32_to_f16(from[i]);
}

/* The compiler makes vectors of these two. */
static void load_bf16(float *to, const uint16_t *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = tc_bf16_to_f32(from[i]);
}

static void store_bf16(uint16_t *to, const float *from, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        to[i] = tc_f32_to_bf16(from[i]);
}

extern const tc_gemm_micro TC_ISA_NAME(tc_gemm_micro);
const tc_gemm_micro TC_ISA_NAME(tc_gemm_micro) = {
    .strip = MR,
    .dot_rows = MR > 6 ? 64 : 16,
    .f32 = {2 * VECTOR_BYTES / 4, run_f32, dot_f32, run_at_f32, dot_at_f32},
    .f64 = {2 * VECTOR_BYTES / 8, run_f64, dot_f64, run_at_f64, dot_at_f64},
    .load_f16 = load_f16,
    .load_bf16 = load_bf16,
    .store_f16 = store_f16,
    .store_bf16 = store_bf16,
};
