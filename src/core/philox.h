/*
 * Random numbers as pure functions: what every device has to compute, bit for bit.
 *
 * Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * 2011) turns a key of 64 bits and a counter of 128 bits into four words of 32 bits. Here
 *
 *     key      = mix(seed + mix(stream))                       low word first
 *     counter  = {block, block >> 32 | attempt << 24, tick, tick >> 32}
 *     tick     = step + mix(loop_index)
 *     mix      = the finalizer of SplitMix64, a bijection that keeps 0
 *
 * with arithmetic modulo 2^64, block < 2^56 and attempt < 2^8. `seed` is of the graph, `stream` the
 * attribute of the node, `step` the committed runs so far, `loop_index` the iteration of a loop.
 *
 * Numbers of a tensor, i counting its elements in row-major order, attempt 0 unless said otherwise:
 *
 *     w32(i)   word i % 4 of block i / 4
 *     w64(i)   words 2 (i % 2) (low half) and 2 (i % 2) + 1 of block i / 2
 *
 * - random_uniform, f32 (and 16-bit floats before rounding): u = (w32 >> 8) 2^-24; f64:
 *   u = (w64 >> 11) 2^-53. The number is min(low + u * (high - low), the largest number of the
 *   dtype below high), each operation rounded by itself (no fused multiply-add), low and high first
 *   rounded to the dtype.
 * - random_int, n = high - low: with w = w32 and b = 32 when n <= 2^32, else w = w64 and b = 64,
 *   the number is low + (w * n >> b); it is drawn again with the next attempt while the low b bits
 *   of w * n are below 2^b mod n (Lemire 2019). Attempt 255 is taken as it is.
 * - random_normal, random_truncated_normal: the top bit of w32 (f64: w64) is the sign; with k the
 *   other b - 1 bits, q = (k + 1/2) 2^-b is the distance of the probability from 1/2.
 * - dropout keeps the element when w32 >= floor(rate * 2^32 + 1/2), at most 2^32 - 1.
 */
#ifndef TC_CORE_PHILOX_H
#define TC_CORE_PHILOX_H

#include <stdint.h>

#include "core/anywhere.h"

#define TC_PHILOX_M0 0xD2511F53u
#define TC_PHILOX_M1 0xCD9E8D57u
#define TC_PHILOX_W0 0x9E3779B9u
#define TC_PHILOX_W1 0xBB67AE85u

/** Four words of counter `in` under `key`; `out` may be `in`. */
TC_ANYWHERE void tc_philox4x32(const uint32_t key[2], const uint32_t in[4], uint32_t out[4])
{
    uint32_t c0 = in[0], c1 = in[1], c2 = in[2], c3 = in[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)TC_PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)TC_PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += TC_PHILOX_W0;
        k1 += TC_PHILOX_W1;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/** What all numbers of one node in one run share. */
typedef struct tc_random {
    uint32_t key[2];
    uint32_t tick[2];
} tc_random;

/** The finalizer of SplitMix64 (Steele, Lea and Flood 2014). */
TC_ANYWHERE uint64_t tc_random_mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

TC_ANYWHERE tc_random tc_random_make(uint64_t seed, uint64_t stream, uint64_t step,
                                     uint64_t loop_index)
{
    uint64_t key = tc_random_mix(seed + tc_random_mix(stream));
    uint64_t tick = step + tc_random_mix(loop_index);
    tc_random random = {{(uint32_t)key, (uint32_t)(key >> 32)},
                        {(uint32_t)tick, (uint32_t)(tick >> 32)}};
    return random;
}

/** The four words of one block. */
TC_ANYWHERE void tc_random_block(const tc_random *random, uint64_t block, uint32_t attempt,
                                 uint32_t words[4])
{
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32) | attempt << 24,
                                 random->tick[0], random->tick[1]};
    tc_philox4x32(random->key, counter, words);
}

TC_ANYWHERE uint32_t tc_random_w32(const tc_random *random, uint64_t i, uint32_t attempt)
{
    uint32_t words[4];
    tc_random_block(random, i / 4, attempt, words);
    return words[i % 4];
}

TC_ANYWHERE uint64_t tc_random_w64(const tc_random *random, uint64_t i, uint32_t attempt)
{
    uint32_t words[4];
    tc_random_block(random, i / 2, attempt, words);
    return (uint64_t)words[2 * (i % 2) + 1] << 32 | words[2 * (i % 2)];
}

#endif
