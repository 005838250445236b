#include "kernels/cpu/gemm_widen.h"

#include <string.h>

#include "core/dtype.h"

void tc_widen(const tc_gemm_micro *micro, tc_dtype dtype, const void *from, int64_t from_ld,
              int64_t rows, int64_t columns, void *to, int64_t to_ld)
{
    size_t size = tc_dtype_size(dtype);
    if (size >= sizeof(float)) {
        for (int64_t i = 0; i < rows; i++)
            memcpy((char *)to + (size_t)(i * to_ld) * size,
                   (const char *)from + (size_t)(i * from_ld) * size, (size_t)columns * size);
        return;
    }
    for (int64_t i = 0; i < rows; i++)
        (dtype == TC_F16 ? micro->load_f16 : micro->load_bf16)(
            (float *)to + i * to_ld, (const uint16_t *)from + i * from_ld, columns);
}

void tc_narrow(const tc_gemm_micro *micro, tc_dtype dtype, const float *from, int64_t from_ld,
               int64_t rows, int64_t columns, void *to, int64_t to_ld)
{
    for (int64_t i = 0; i < rows; i++)
        (dtype == TC_F16 ? micro->store_f16 : micro->store_bf16)((uint16_t *)to + i * to_ld,
                                                                 from + i * from_ld, columns);
}

/* Squares of 8 x 8 keep both sides within a few cache lines, and the compiler makes vectors of the
 * inner loop. */
#define TRANSPOSE(T)                                                                   \
    static void transpose_##T(const T *restrict from, int64_t from_ld, int64_t rows,   \
                              int64_t columns, T *restrict to, int64_t to_ld)          \
    {                                                                                  \
        enum { SIDE = 8 };                                                             \
        for (int64_t j = 0; j < columns; j += SIDE) {                                  \
            int64_t height = columns - j < SIDE ? columns - j : SIDE;                  \
            int64_t i = 0;                                                             \
            for (; height == SIDE && i + SIDE <= rows; i += SIDE) {                    \
                T square[SIDE][SIDE];                                                  \
                for (int r = 0; r < SIDE; r++)                                         \
                    memcpy(square[r], from + (i + r) * from_ld + j, sizeof square[r]); \
                for (int c = 0; c < SIDE; c++)                                         \
                    for (int r = 0; r < SIDE; r++)                                     \
                        to[(j + c) * to_ld + i + r] = square[r][c];                    \
            }                                                                          \
            for (; i < rows; i++)                                                      \
                for (int64_t c = j; c < j + height; c++)                               \
                    to[c * to_ld + i] = from[i * from_ld + c];                         \
        }                                                                              \
    }
TRANSPOSE(float)
TRANSPOSE(double)

void tc_widen_transpose(const tc_gemm_micro *micro, tc_dtype dtype, const void *from,
                        int64_t from_ld, int64_t rows, int64_t columns, void *to, int64_t to_ld)
{
    if (dtype == TC_F32) {
        transpose_float(from, from_ld, rows, columns, to, to_ld);
        return;
    }
    if (dtype == TC_F64) {
        transpose_double(from, from_ld, rows, columns, to, to_ld);
        return;
    }
    enum { PART = 32 };
    float part[PART][PART];
    for (int64_t i = 0; i < rows; i += PART)
        for (int64_t j = 0; j < columns; j += PART) {
            int64_t height = rows - i < PART ? rows - i : PART;
            int64_t length = columns - j < PART ? columns - j : PART;
            tc_widen(micro, dtype, (const uint16_t *)from + i * from_ld + j, from_ld, height,
                     length, part, PART);
            transpose_float(part[0], PART, height, length, (float *)to + j * to_ld + i, to_ld);
        }
}
