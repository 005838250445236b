/*
 * Reductions along axes: how they are laid out on blocks and threads, a function of shape and axes
 * alone.
 *
 * Dimensions of size 1 are dropped and neighbours that are both kept or both reduced merged.
 * Innermost is then a dense matrix [rows, width] that is reduced over its rows (either may be 1).
 * Around it are dimensions `kept` and one of slices that are reduced together. The output is dense
 * [kept, width].
 */
#ifndef TC_KERNELS_CUDA_REDUCE_CUH
#define TC_KERNELS_CUDA_REDUCE_CUH

#include "kernels/cuda/strided.cuh"

#define REDUCE_THREADS 256

/** Dimensions around the innermost matrix. */
struct reduce_dims {
    int32_t rank;
    int64_t count; /* product of the sizes */
    strided_divisor sizes[TC_MAX_RANK];
    int64_t strides[TC_MAX_RANK]; /* elements */
};

struct reduce_matrix {
    reduce_dims kept;
    strided_divisor rows; /* of a slice; divides to 0 where there is one slice */
    int64_t width;
    int64_t slice; /* from the end of a slice to the next one, in elements */
    int64_t count; /* elements that make one output */
    bool slices;   /* there are several */
};

/**
 * How a matrix is cut. A block is [groups, down, across] threads, a group for one place of `kept`;
 * a thread owns `vector` columns. Or, without columns (width 1), a block is [groups, down] threads
 * that take `vector` elements of a row at once. blockIdx.y is the chunk of `count`.
 */
struct reduce_layout {
    strided_divisor tiles; /* of columns */
    int64_t chunk;         /* of the elements of an output */
    int32_t chunks;
    int32_t blocks;
    int32_t across_bits, down_bits; /* powers of 2 */
    int32_t vector;
    bool along; /* vectors lie along rows */
};

/** Sets what attribute "axes" lists, everything when it is empty. */
void reduce_axes(const tc_attrs *attrs, int32_t rank, bool reduced[TC_MAX_RANK]);

/**
 * The matrix of a tensor of known `shape` reduced over the axes that are set in `reduced`. False
 * where more than one dimension of slices is reduced: then it is that of the tensor after a copy
 * that puts all reduced dimensions behind the others, planned in `copy`.
 */
bool reduce_collapse(const tc_shape *shape, const bool reduced[TC_MAX_RANK], int32_t element,
                     reduce_matrix *matrix, strided_plan *copy);

/** Cuts, with vectors of `most` elements where they fit. RESOURCE_EXHAUSTED when 32-bit indices do
 * not reach far enough. */
tc_status reduce_lay_out(const reduce_matrix *matrix, int32_t most, reduce_layout *layout);

/** Offset in elements of the element with row-major number `index`. */
static __device__ __forceinline__ int64_t reduce_offset(const reduce_dims &dims, uint32_t index)
{
    int64_t offset = 0;
#pragma unroll 1
    for (int32_t i = dims.rank - 1; i > 0; i--) {
        uint32_t next = strided_quotient(index, dims.sizes[i]);
        offset += (index - next * static_cast<uint32_t>(dims.sizes[i].by)) * dims.strides[i];
        index = next;
    }
    return dims.rank ? offset + index * dims.strides[0] : 0;
}

/** Offset of element `index` of those that make one output, in steps along the rows. */
static __device__ __forceinline__ int64_t reduce_inside(const reduce_matrix &m, uint32_t index)
{
    return index * m.width + strided_quotient(index, m.rows) * m.slice;
}

#endif
