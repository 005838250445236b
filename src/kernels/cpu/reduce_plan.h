/* How a reduction walks through memory: a function of shape and axes alone. */
#ifndef TC_KERNELS_CPU_REDUCE_PLAN_H
#define TC_KERNELS_CPU_REDUCE_PLAN_H

#include <tensorc/extend.h>

/** Columns of a tile: its accumulators stay in the first-level cache. */
#define TC_REDUCE_TILE 1024
/** Narrower matrices are read as if several of their rows were one, for whole vectors. */
#define TC_REDUCE_LANES 128
/** Rows of at most so many elements are reduced one by one. */
#define TC_REDUCE_SHORT 32

/** Dimensions outside of the innermost matrix. */
typedef struct tc_reduce_dims {
    int32_t rank;
    int64_t count; /* product of the sizes */
    int64_t sizes[TC_MAX_RANK];
    int64_t strides[TC_MAX_RANK];
} tc_reduce_dims;

/**
 * Dimensions of size 1 are dropped and neighbours that are both kept or both reduced merged.
 * Innermost is then a dense matrix [rows, width] that is reduced over its rows (either may be 1);
 * `kept` and `reduced` are the dimensions around it. The output is dense [kept, width].
 *
 * Work is cut into units [kept][tiles of columns][chunks]; a chunk is `chunk_rows` of the
 * reduced.count * rows rows of one output. Where there is more than one, their partial results are
 * combined in order.
 */
typedef struct tc_reduce_plan {
    tc_reduce_dims kept, reduced;
    int64_t rows, width;
    int64_t group; /* rows that are read as one */
    int64_t tile, tiles;
    int64_t chunks, chunk_rows;
    int64_t units, grain;
    int64_t short_rows; /* outputs of a unit when short rows are reduced one by one; else 0 */
    int64_t count;      /* elements that make one output */
    double divisor;
    tc_dtype dtype;
} tc_reduce_plan;

/** Plans the reduction of a tensor of known `shape` over the axes that are set in `reduced`. */
void tc_reduce_plan_make(const tc_shape *shape, const bool reduced[TC_MAX_RANK],
                         tc_reduce_plan *plan);

/** Sets what attribute "axes" lists, everything when it is empty. */
void tc_reduce_plan_axes(const tc_attrs *attrs, int32_t rank, bool reduced[TC_MAX_RANK]);

/** Offset in elements of the element with row-major number `index`. */
static inline int64_t tc_reduce_offset(const tc_reduce_dims *dims, int64_t index)
{
    int64_t offset = 0;
    for (int32_t i = dims->rank - 1; i > 0; i--) {
        offset += index % dims->sizes[i] * dims->strides[i];
        index /= dims->sizes[i];
    }
    return dims->rank ? offset + index * dims->strides[0] : 0;
}

#endif
