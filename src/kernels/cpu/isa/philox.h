/* The words of core/philox.h for many blocks at once. */
#ifndef TC_KERNELS_CPU_PHILOX_H
#define TC_KERNELS_CPU_PHILOX_H

#include "core/philox.h"

#if TC_ISA_LEVEL == 1 || TC_ISA_LEVEL == 2
#include <immintrin.h>
#endif

/** Blocks that one step computes, one per vector lane. */
#define TC_PHILOX_BLOCKS 16
#define TC_PHILOX_WORDS  (4 * TC_PHILOX_BLOCKS)

#if TC_ISA_LEVEL == 2
#define PHILOX_LANES     16
#define philox_v         __m512i
#define philox_set       _mm512_set1_epi32
#define philox_add       _mm512_add_epi32
#define philox_xor       _mm512_xor_si512
#define philox_mul       _mm512_mul_epu32
#define philox_down      _mm512_srli_epi64
#define philox_up        _mm512_slli_epi64
#define philox_mix(a, b) _mm512_mask_blend_epi32(0xAAAA, a, b)
#define philox_low32     _mm512_unpacklo_epi32
#define philox_high32    _mm512_unpackhi_epi32
#define philox_low64     _mm512_unpacklo_epi64
#define philox_high64    _mm512_unpackhi_epi64
#define philox_store     _mm512_storeu_si512
#define philox_offsets   _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
#elif TC_ISA_LEVEL == 1
#define PHILOX_LANES     8
#define philox_v         __m256i
#define philox_set       _mm256_set1_epi32
#define philox_add       _mm256_add_epi32
#define philox_xor       _mm256_xor_si256
#define philox_mul       _mm256_mul_epu32
#define philox_down      _mm256_srli_epi64
#define philox_up        _mm256_slli_epi64
#define philox_mix(a, b) _mm256_blend_epi32(a, b, 0xAA)
#define philox_low32     _mm256_unpacklo_epi32
#define philox_high32    _mm256_unpackhi_epi32
#define philox_low64     _mm256_unpacklo_epi64
#define philox_high64    _mm256_unpackhi_epi64
#define philox_store     _mm256_storeu_si256
#define philox_offsets   _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7)
#endif

#ifdef PHILOX_LANES

/* The multipliers take part in 64-bit products of the even lanes, so the odd lanes go separately.
 */
static inline void philox_multiply(philox_v a, philox_v m, philox_v *high, philox_v *low)
{
    philox_v even = philox_mul(a, m), odd = philox_mul(philox_down(a, 32), m);
    *high = philox_mix(philox_down(even, 32), odd);
    *low = philox_mix(even, philox_up(odd, 32));
}

/*
 * The unpacks transpose 4x4 words within each 128-bit lane L and leave in result k the block of
 * lane position (L, k); `philox_offsets` gives that position block k * (PHILOX_LANES / 4) + L,
 * which makes the four results one row of blocks. `block` is a multiple of PHILOX_LANES, so that
 * the additions never carry.
 */
static inline void philox_lanes(const tc_random *random, uint64_t block, uint32_t *words)
{
    philox_v m0 = philox_set((int)TC_PHILOX_M0), m1 = philox_set((int)TC_PHILOX_M1);
    philox_v c0 = philox_add(philox_set((int)(uint32_t)block), philox_offsets);
    philox_v c1 = philox_set((int)(uint32_t)(block >> 32));
    philox_v c2 = philox_set((int)random->tick[0]), c3 = philox_set((int)random->tick[1]);
    uint32_t k0 = random->key[0], k1 = random->key[1];
    for (int round = 0; round < 10; round++) {
        philox_v high0, low0, high1, low1;
        philox_multiply(c0, m0, &high0, &low0);
        philox_multiply(c2, m1, &high1, &low1);
        c0 = philox_xor(philox_xor(high1, c1), philox_set((int)k0));
        c2 = philox_xor(philox_xor(high0, c3), philox_set((int)k1));
        c1 = low1;
        c3 = low0;
        k0 += TC_PHILOX_W0;
        k1 += TC_PHILOX_W1;
    }
    philox_v a = philox_low32(c0, c1), b = philox_high32(c0, c1);
    philox_v c = philox_low32(c2, c3), d = philox_high32(c2, c3);
    philox_v *out = (philox_v *)words;
    philox_store(out, philox_low64(a, c));
    philox_store(out + 1, philox_high64(a, c));
    philox_store(out + 2, philox_low64(b, d));
    philox_store(out + 3, philox_high64(b, d));
}

#else

#define PHILOX_LANES 1
static inline void philox_lanes(const tc_random *random, uint64_t block, uint32_t *words)
{
    tc_random_block(random, block, 0, words);
}

#endif

/**
 * Words of the blocks from `block`, a multiple of TC_PHILOX_BLOCKS, on; at least `count` of them,
 * rounded up to TC_PHILOX_WORDS.
 */
static inline void tc_philox_words(const tc_random *random, uint64_t block, int64_t count,
                                   uint32_t *words)
{
    int64_t blocks = (count + TC_PHILOX_WORDS - 1) / TC_PHILOX_WORDS * TC_PHILOX_BLOCKS;
    for (int64_t i = 0; i < blocks; i += PHILOX_LANES)
        philox_lanes(random, block + (uint64_t)i, words + 4 * i);
}

#endif
