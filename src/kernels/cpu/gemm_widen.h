/* Copies of parts of matrices between the dtype of a buffer and the dtype that is computed in (f16,
 * bf16 <-> f32). */
#ifndef TC_KERNELS_CPU_GEMM_WIDEN_H
#define TC_KERNELS_CPU_GEMM_WIDEN_H

#include <stdint.h>

#include <tensorc/types.h>

#include "kernels/cpu/gemm_micro.h"

/** `to` [rows, columns] (rows to_ld apart) = `from` (rows from_ld apart), widened to f32 where
 * `dtype` has 16 bits. */
void tc_widen(const tc_gemm_micro *micro, tc_dtype dtype, const void *from, int64_t from_ld,
              int64_t rows, int64_t columns, void *to, int64_t to_ld);
/** The same transposed: `to` [columns, rows]. */
void tc_widen_transpose(const tc_gemm_micro *micro, tc_dtype dtype, const void *from,
                        int64_t from_ld, int64_t rows, int64_t columns, void *to, int64_t to_ld);
/** `to` [rows, columns] of `dtype` (f16, bf16) = `from`, f32, rounded to nearest even. */
void tc_narrow(const tc_gemm_micro *micro, tc_dtype dtype, const float *from, int64_t from_ld,
               int64_t rows, int64_t columns, void *to, int64_t to_ld);

#endif
