/*
 * Copying between two strided views of equal sizes: what transposing, slicing, broadcasting and
 * joining come down to.
 *
 * A plan is made once per shape. Dimensions that lie contiguous in both views are merged, short
 * contiguous runs become wider elements, and what is left is walked as blocks of rows and columns,
 * the two innermost dimensions.
 */
#ifndef TC_KERNELS_CPU_STRIDED_H
#define TC_KERNELS_CPU_STRIDED_H

#include <tensorc/types.h>

#include "base/threads.h"
#include "kernels/cpu/kernel.h"

/** A dimension of both views; strides are in bytes and may be 0 (in `from`) or negative. */
typedef struct strided_dim {
    int64_t count, from, to;
} strided_dim;

/** Plain data without pointers. */
typedef struct strided_plan {
    strided_dim loop[TC_MAX_RANK + 2]; /* outer dimensions, blocks of rows, blocks of columns */
    strided_dim row, column;           /* of everything, not of a block */
    int64_t block_rows, block_columns;
    int64_t blocks, grain;
    int64_t from_offset, to_offset; /* of the first element, in bytes */
    int32_t loops, element, kind;
    bool stream; /* the result exceeds the caches */
} strided_plan;

#define strided_make TC_ISA_NAME(tc_strided_make)
#define strided_copy TC_ISA_NAME(tc_strided_copy)

/**
 * Plans a copy of `rank` dimensions, outermost of `to` first, of elements of 1, 2, 4 or 8 bytes. No
 * two elements of `to` overlap. The offsets are left 0 for the caller to set.
 */
void strided_make(strided_plan *plan, int32_t rank, const strided_dim *dims, int32_t element);

/** Copies. `from` and `to` do not overlap. */
void strided_copy(const strided_plan *plan, const void *from, void *to, tc_pool *pool);

#endif
