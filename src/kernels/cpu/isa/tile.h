/*
 * Transposing square tiles in registers, for elements of 1, 2, 4 and 8 bytes.
 *
 * n rows of n elements are read as one index of 2 log2(n) bits, row above column. Interleaving row
 * i with row i + n/2 into rows 2i and 2i + 1 rotates that index by one bit, so log2(n) rounds swap
 * row and column.
 */
#ifndef TC_KERNELS_CPU_TILE_H
#define TC_KERNELS_CPU_TILE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define TC_TILE_LO_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define TC_TILE_HI_2(a, b) __builtin_shufflevector(a, b, 1, 3)
#define TC_TILE_LO_4(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define TC_TILE_HI_4(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define TC_TILE_LO_8(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define TC_TILE_HI_8(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define TC_TILE_LO_16(a, b) \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define TC_TILE_HI_16(a, b) \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)

/* Elements along the edge of a tile: a register of the instruction set, 16 of the narrow ones at
 * most. */
#if TC_ISA_LEVEL == 2
#define TC_TILE_EDGE_8 8
#define TC_TILE_EDGE_4 16
#define TC_TILE_EDGE_2 16
#elif TC_ISA_LEVEL == 1
#define TC_TILE_EDGE_8 4
#define TC_TILE_EDGE_4 8
#define TC_TILE_EDGE_2 16
#else
#define TC_TILE_EDGE_8 2
#define TC_TILE_EDGE_4 4
#define TC_TILE_EDGE_2 8
#endif
#define TC_TILE_EDGE_1 16

/* Writes one cache line past the caches where the processor can; `to` is aligned to 64. */
static inline void tile_stream(char *to, const void *line)
{
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)to, _mm512_loadu_si512(line));
#elif defined(__AVX__)
    for (int i = 0; i < 2; i++)
        _mm256_stream_si256((__m256i *)to + i, _mm256_loadu_si256((const __m256i *)line + i));
#elif defined(__SSE2__)
    for (int i = 0; i < 4; i++)
        _mm_stream_si128((__m128i *)to + i, _mm_loadu_si128((const __m128i *)line + i));
#else
    memcpy(to, line, 64);
#endif
}

/* After streaming: other threads see the stores of this one in order again. */
static inline void tile_fence(void)
{
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

/*
 * tile_<size>(from, from_row, to, to_row): to[r][c] = from[c][r] for one tile; rows are that many
 * bytes apart. square_<size>(..., stream): the same for 64 bytes by 64 / size rows, so that both
 * sides move whole cache lines. Where a register is shorter, a buffer puts the lines together.
 */
#define TC_TILE(size, type, edge) TC_TILE_(size, type, edge)
#define TC_TILE_(size, type, edge)                                                                 \
    typedef type tile_row_##size __attribute__((vector_size(size * edge)));                        \
    static inline __attribute__((always_inline)) void tile_##size(                                 \
        const char *from, int64_t from_row, char *to, int64_t to_row)                              \
    {                                                                                              \
        tile_row_##size a[edge], b[edge];                                                          \
        _Pragma("GCC unroll 16") for (int i = 0; i < edge; i++)                                    \
            memcpy(&a[i], from + i * from_row, sizeof a[i]);                                       \
        _Pragma("GCC unroll 4") for (int round = 1; round < edge; round *= 2)                      \
        {                                                                                          \
            _Pragma("GCC unroll 8") for (int i = 0; i < edge / 2; i++)                             \
            {                                                                                      \
                b[2 * i] = TC_TILE_LO_##edge(a[i], a[i + edge / 2]);                               \
                b[2 * i + 1] = TC_TILE_HI_##edge(a[i], a[i + edge / 2]);                           \
            }                                                                                      \
            _Pragma("GCC unroll 16") for (int i = 0; i < edge; i++) a[i] = b[i];                   \
        }                                                                                          \
        _Pragma("GCC unroll 16") for (int i = 0; i < edge; i++)                                    \
            memcpy(to + i * to_row, &a[i], sizeof a[i]);                                           \
    }                                                                                              \
    static inline void square_##size(const char *from, int64_t from_row, char *to, int64_t to_row, \
                                     bool stream)                                                  \
    {                                                                                              \
        enum { side = 64 / size };                                                                 \
        if (side == edge && !stream) {                                                             \
            tile_##size(from, from_row, to, to_row);                                               \
            return;                                                                                \
        }                                                                                          \
        char lines[side][64] __attribute__((aligned(64)));                                         \
        for (int c = 0; c < side; c += edge)                                                       \
            for (int r = 0; r < side; r += edge)                                                   \
                tile_##size(from + c * from_row + r * size, from_row, &lines[r][c * size], 64);    \
        for (int r = 0; r < side; r++) {                                                           \
            if (stream)                                                                            \
                tile_stream(to + r * to_row, lines[r]);                                            \
            else                                                                                   \
                memcpy(to + r * to_row, lines[r], 64);                                             \
        }                                                                                          \
    }

TC_TILE(1, uint8_t, TC_TILE_EDGE_1)
TC_TILE(2, uint16_t, TC_TILE_EDGE_2)
TC_TILE(4, uint32_t, TC_TILE_EDGE_4)
TC_TILE(8, uint64_t, TC_TILE_EDGE_8)

#endif
