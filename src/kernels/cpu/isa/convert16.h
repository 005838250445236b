/* Arrays of 16-bit floats to f32 and back, rounding to nearest even. */
#ifndef TC_KERNELS_CPU_ISA_CONVERT16_H
#define TC_KERNELS_CPU_ISA_CONVERT16_H

#include "core/float16.h"
#include "kernels/cpu/isa/simd.h"

TC_INLINE void convert_from_f16(const uint16_t *x, float *y, int64_t count)
{
    int64_t i = 0;
#if TC_VECTOR_BYTES == 64
    for (; i + 16 <= count; i += 16)
        _mm512_storeu_ps(y + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(x + i))));
#elif TC_VECTOR_BYTES == 32
    for (; i + 8 <= count; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(x + i))));
#endif
    for (; i < count; i++)
        y[i] = tc_f16_to_f32(x[i]);
}

TC_INLINE void convert_to_f16(const float *x, uint16_t *y, int64_t count)
{
    int64_t i = 0;
#if TC_VECTOR_BYTES == 64
    for (; i + 16 <= count; i += 16)
        _mm256_storeu_si256((void *)(y + i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#elif TC_VECTOR_BYTES == 32
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((void *)(y + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i < count; i++)
        y[i] = tc_f32_to_f16(x[i]);
}

TC_INLINE void convert_from_bf16(const uint16_t *x, float *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = tc_bf16_to_f32(x[i]);
}

TC_INLINE void convert_to_bf16(const float *x, uint16_t *y, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = tc_f32_to_bf16(x[i]);
}

#endif
