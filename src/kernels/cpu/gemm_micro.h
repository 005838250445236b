/*
 * Products of matrices on one thread without packing or workspace, in register tiles; one variant
 * per instruction set. For products whose operands stay in the cache: small ones, those with few
 * rows, and the tiles of convolutions, whose B is written in panels that fit. Bodies in
 * isa/gemm_micro.c.
 */
#ifndef TC_KERNELS_CPU_GEMM_MICRO_H
#define TC_KERNELS_CPU_GEMM_MICRO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"

/*
 * run: C [m, n] = A B, or C += A B with `accumulate`. Element (i, p) of A is a[i * a_row + p *
 * a_column], so A may be transposed. Rows of B and C are ldb and ldc apart; columns of B come in
 * groups of `width`, the groups `panel` elements apart: `width` for a plain matrix. Each element is
 * one chain over k in order: its bits depend on nothing else. dot: with B transposed, C = A B',
 * rows of all three contiguous; each element is as many chains as a vector has lanes. Best for long
 * k and few rows of A.
 */
#define TC_GEMM_MICRO_OF(T)                                                                       \
    struct {                                                                                      \
        int64_t width;                                                                            \
        void (*run)(int64_t m, int64_t n, int64_t k, const T *a, int64_t a_row, int64_t a_column, \
                    const T *b, int64_t ldb, int64_t panel, T *c, int64_t ldc, bool accumulate);  \
        void (*dot)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,         \
                    int64_t ldb, T *c, int64_t ldc, bool accumulate);                             \
        void (*run_at)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,      \
                       const int64_t *offsets, T *c, int64_t ldc, bool accumulate);               \
        void (*dot_at)(int64_t m, int64_t n, int64_t k, const T *a, int64_t lda, const T *b,      \
                       const int64_t *offsets, int64_t repeats, int64_t a_step, int64_t b_step,   \
                       T *c, int64_t ldc, bool accumulate);                                       \
    }

typedef struct tc_gemm_micro {
    int64_t strip;    /* rows of the tallest register tile */
    int64_t dot_rows; /* up to this many rows of A, `dot` is faster than packing B */
    TC_GEMM_MICRO_OF(float) f32;
    TC_GEMM_MICRO_OF(double) f64;
    /* Rows of 16-bit floats to f32 and back (round to nearest even). */
    void (*load_f16)(float *to, const uint16_t *from, int64_t count);
    void (*load_bf16)(float *to, const uint16_t *from, int64_t count);
    void (*store_f16)(uint16_t *to, const float *from, int64_t count);
    void (*store_bf16)(uint16_t *to, const float *from, int64_t count);
} tc_gemm_micro;

/** The variant for an instruction set; the scalar one where this library has none for it.
 * Thread-safe. */
const tc_gemm_micro *tc_gemm_micro_of(tc_isa isa);

#endif
