/*
 * Products of matrices of any size, in batches, on the threads of a pool: C = A B or C += A B,
 * row-major, each operand plain or transposed, f32 or f64; f16 and bf16 are widened on the way in
 * and accumulate in f32.
 *
 * A tc_gemm is described once (zero it, fill in the first part, call tc_gemm_plan in `prepare`) and
 * run many times. How the work is split depends on the shape alone. Every element of C is one chain
 * of multiply-adds over k in order, or, for a transposed B and few rows, one chain per vector lane:
 * no result depends on the number of threads. What follows the product on each element, an
 * epilogue, is computed before the next tile is.
 */
#ifndef TC_KERNELS_CPU_GEMM_H
#define TC_KERNELS_CPU_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/types.h>

#include "base/threads.h"
#include "kernels/cpu/epilogue.h"
#include "kernels/cpu/gemm_micro.h"

typedef struct tc_gemm {
    /* What to compute. */
    tc_isa isa;       /* whose register tiles compute it */
    tc_dtype dtype;   /* of A, B and C: f32, f64, f16, bf16 */
    bool transpose_a; /* A is stored [k, m] */
    bool transpose_b; /* B is stored [n, k] */
    bool accumulate;  /* C += A B; f32 and f64 only */
    int64_t m, n, k;
    int64_t lda, ldb, ldc; /* elements between stored rows */
    /*
     * Batch: item (i0, i1, ...) of `batch_dims` has A and B at the offsets sum of i * batch_a, i *
     * batch_b (elements; 0 broadcasts) and C, dense, at item * m * ldc. Rank 0 is one item.
     */
    int32_t batch_rank;
    int64_t batch_dims[TC_MAX_RANK], batch_a[TC_MAX_RANK], batch_b[TC_MAX_RANK];
    tc_epilogue epilogue; /* without `accumulate`; scale and bias along the columns */

    /* Chosen by tc_gemm_plan. */
    int32_t mode;
    int64_t items;                 /* of the batch */
    int64_t row_tile, column_tile; /* of C per job */
    int64_t depth;                 /* of k per pass */
    bool whole_items;              /* one job does whole items: small products in a batch */
    int64_t items_per_job;
    bool copy_a;
    bool single;         /* one run of the register tiles computes all of C */
    size_t worker_bytes; /* scratch of one worker */
    size_t packed_bytes; /* of B in panels, when it can be packed ahead (all items share one B); 0:
                            it cannot or need not */
    size_t shared_bytes; /* of the workspace: B in panels, written by every run */
    size_t workspace_bytes;
} tc_gemm;

/**
 * Fills the second part of `gemm`, for loops of at most `threads` workers (which sizes the
 * workspace and decides nothing else). False when a size overflows.
 */
bool tc_gemm_plan(tc_gemm *gemm, int threads);

/** Writes B in panels into `packed` (packed_bytes, aligned to 64), to be used by any number of
 * runs. */
void tc_gemm_pack(const tc_gemm *gemm, const void *b, void *packed, tc_pool *pool);

/**
 * Computes C. `packed` is what tc_gemm_pack wrote for this `gemm` (then `b` is not read), or NULL.
 * `after` are the inputs of the epilogue, NULL when there is none; its residual is laid out as C
 * and may be C. `workspace` has workspace_bytes, aligned to 64; NULL when that is 0. C must not
 * overlap A and B. Thread-safe.
 */
void tc_gemm_run(const tc_gemm *gemm, const void *a, const void *b, const void *packed,
                 const tc_epilogue_inputs *after, void *c, void *workspace, tc_pool *pool);

#endif
