/*
 * Walking two strided views of equal sizes side by side: what transposing, slicing, broadcasting
 * and joining come down to.
 */
#ifndef TC_KERNELS_CUDA_STRIDED_CUH
#define TC_KERNELS_CUDA_STRIDED_CUH

#include "kernels/cuda/cuda.cuh"

/* Division by numbers of 1 at least that are known before the launch, by a multiplication: of
 * 32-bit indices below 2^31 and of 64-bit ones below 2^62. */
struct strided_divisor {
    int64_t by;
    uint64_t wide_factor;
    uint32_t factor;
    uint8_t shift, wide_shift;
};

static inline strided_divisor strided_divisor_of(int64_t by)
{
    strided_divisor d = {by, 0, 0, 0, 0};
    int shift = 0;
    while ((int64_t{1} << shift) < by)
        shift++;
    if (shift == 0)
        return d;
    unsigned __int128 power = static_cast<unsigned __int128>(1) << (63 + shift);
    d.wide_factor = static_cast<uint64_t>(power / static_cast<uint64_t>(by)) + 1;
    d.wide_shift = static_cast<uint8_t>(shift - 1);
    if (by > INT32_MAX)
        return d;
    uint64_t excess = (uint64_t{1} << shift) - static_cast<uint64_t>(by);
    d.factor = static_cast<uint32_t>((excess << 32) / static_cast<uint64_t>(by) + 1);
    d.shift = static_cast<uint8_t>(shift);
    return d;
}

static __device__ __forceinline__ uint32_t strided_quotient(uint32_t n, const strided_divisor &d)
{
    return (__umulhi(n, d.factor) + n) >> d.shift;
}
static __device__ __forceinline__ int64_t strided_quotient(int64_t n, const strided_divisor &d)
{
    if (d.wide_factor == 0)
        return n;
    return static_cast<int64_t>(__umul64hi(static_cast<uint64_t>(n), d.wide_factor) >>
                                d.wide_shift);
}

/** True when 32-bit indices count so far, with the stride of a grid added. */
static inline bool strided_is_narrow(int64_t count)
{
    return count <= (int64_t{1} << 30);
}

/** A dimension of both views; strides are in bytes and may be 0 (in `from`) or negative. */
struct strided_dim {
    int64_t count, from, to;
};

#define STRIDED_RANK (TC_MAX_RANK + 1)

/** How to copy. Plain data without pointers. */
struct strided_plan {
    int32_t rank;
    int32_t element; /* bytes that move as one */
    int32_t row;     /* dimension that is contiguous in `from` alone, for tiles; -1: no tiles */
    int64_t count;   /* elements */
    int64_t from_offset, to_offset; /* of the first element, in bytes */
    strided_dim dims[STRIDED_RANK]; /* outermost of `to` first */
};

/**
 * Plans a copy of `rank` dimensions, outermost of `to` first, of elements of 1, 2, 4 or 8 bytes,
 * from and to byte offsets of the buffers. Neighbours that lie contiguous in both views are merged,
 * contiguous runs become elements of up to 16 bytes. No two elements of `to` overlap.
 */
void strided_make(strided_plan *plan, int32_t rank, const strided_dim *dims, int32_t element,
                  int64_t from_offset, int64_t to_offset);

/** Copies. `from` and `to` do not overlap. */
tc_status strided_copy(const strided_plan *plan, const void *from, void *to,
                       const tc_kernel_context *context);

/** What kernels are given of the dimensions: outermost first. */
struct strided_walk {
    int32_t rank;
    strided_divisor size[STRIDED_RANK];
    int64_t from[STRIDED_RANK], to[STRIDED_RANK]; /* bytes */
};

static inline strided_walk strided_walk_of(int32_t rank, const strided_dim *dims)
{
    strided_walk w;
    memset(&w, 0, sizeof w);
    w.rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        w.size[i] = strided_divisor_of(dims[i].count);
        w.from[i] = dims[i].from;
        w.to[i] = dims[i].to;
    }
    return w;
}

/** Adds the offsets of row-major element `i`. */
static __device__ __forceinline__ void strided_offsets(const strided_walk &w, uint32_t i,
                                                       int64_t *from, int64_t *to)
{
#pragma unroll 1 /* there are two or three, and code for eight is long */
    for (int32_t d = w.rank - 1; d > 0; d--) {
        uint32_t next = strided_quotient(i, w.size[d]);
        int64_t place = i - next * static_cast<uint32_t>(w.size[d].by);
        *from += place * w.from[d];
        *to += place * w.to[d];
        i = next;
    }
    if (w.rank > 0) {
        *from += static_cast<int64_t>(i) * w.from[0];
        *to += static_cast<int64_t>(i) * w.to[0];
    }
}

#endif
