/* What kernels of images share: windows and indices. */
#ifndef TC_KERNELS_CUDA_IMAGES_CUH
#define TC_KERNELS_CUDA_IMAGES_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "core/window.h"
}

/** Most elements that a launch counts: indices and their quotients stay in 32 bits, and more images
 * take more launches. */
#ifndef TC_CUDA_MOST_INDEX
#define TC_CUDA_MOST_INDEX (1 << 30)
#endif

/** Calls run(first, count) for at most `each` of `all` at a time. */
template <typename F>
static inline tc_status tc_cuda_in_turn(int64_t all, int64_t each, const F &run)
{
    for (int64_t first = 0; first < all; first += each)
        TC_TRY(run(first, all - first < each ? all - first : each));
    return TC_OK;
}

/** How many of what has `size` elements go into a launch; 0: not one does. */
static inline int64_t tc_cuda_at_a_time(int64_t size)
{
    return size > 0 ? TC_CUDA_MOST_INDEX / size : TC_CUDA_MOST_INDEX;
}

/** Division of numbers below 2^31 by a multiplication: n / by is n * ceil(2^(31 + s) / by) >>
 * (31 + s), where by <= 2^s (Granlund and Montgomery, Division by Invariant Integers). */
struct tc_cuda_divisor {
    uint32_t factor;
    int32_t by, shift;
};

/** `by` is 1 at least. */
static inline tc_cuda_divisor tc_cuda_divisor_of(int64_t by)
{
    int32_t bits = 0;
    while ((INT64_C(1) << bits) < by)
        bits++;
    const uint64_t factor =
        ((UINT64_C(1) << (31 + bits)) + static_cast<uint64_t>(by) - 1) / static_cast<uint64_t>(by);
    return {static_cast<uint32_t>(factor), static_cast<int32_t>(by), 31 + bits};
}

static __device__ __forceinline__ int32_t tc_quotient(int32_t n, const tc_cuda_divisor &d)
{
    return static_cast<int32_t>((static_cast<uint64_t>(static_cast<uint32_t>(n)) * d.factor) >>
                                d.shift);
}

/** n / d; *rest is n % d. */
static __device__ __forceinline__ int32_t tc_split(int32_t n, const tc_cuda_divisor &d,
                                                   int32_t *rest)
{
    const int32_t quotient = tc_quotient(n, d);
    *rest = n - quotient * d.by;
    return quotient;
}

/* A loop over the elements of a launch, which all threads of it share: the step keeps the index
 * below 2^32. */
static __device__ __forceinline__ uint32_t tc_first_index()
{
    return blockIdx.x * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ uint32_t tc_index_step()
{
    return gridDim.x * blockDim.x;
}

/** Planes of rows and columns. */
struct tc_cuda_planes {
    tc_cuda_divisor rows, columns;
};

static inline tc_cuda_planes tc_cuda_planes_of(int64_t rows, int64_t columns)
{
    return {tc_cuda_divisor_of(rows), tc_cuda_divisor_of(columns)};
}

/** A place in them. */
struct tc_plane_index {
    int32_t plane, y, x;
};

static __device__ __forceinline__ tc_plane_index tc_plane_at(int32_t i, const tc_cuda_planes &of)
{
    tc_plane_index at;
    at.plane = tc_split(tc_split(i, of.columns, &at.x), of.rows, &at.y);
    return at;
}

/** A window along one axis in 32 bits; see tc_window_axis. */
struct tc_cuda_axis {
    int32_t in, out, kernel, stride, dilation, before, after;
    int32_t step;  /* kernel elements from one that meets a pixel at some output to the next such */
    int32_t shift; /* and by how many outputs they differ */
};

/** Largest coordinate of a pixel with its padding: sums of two of them are still apart from
 * TC_CUDA_OUTSIDE. */
#define TC_CUDA_MOST_PIXELS (1 << 28)
/** Coordinate of what does not exist, which stays outside of any image when one is added. */
#define TC_CUDA_OUTSIDE (-(1 << 30))

/** False when coordinates are too large for 32 bits. */
static inline bool tc_cuda_axis_of(const tc_window_axis *from, tc_cuda_axis *to)
{
    int64_t extent = tc_window_extent(from);
    if (from->in + from->before + from->after > TC_CUDA_MOST_PIXELS ||
        from->out > TC_CUDA_MOST_PIXELS || extent > TC_CUDA_MOST_PIXELS)
        return false;
    int64_t a = from->stride, b = from->dilation;
    while (b) { /* the greatest common divisor */
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    *to = {static_cast<int32_t>(from->in),          static_cast<int32_t>(from->out),
           static_cast<int32_t>(from->kernel),      static_cast<int32_t>(from->stride),
           static_cast<int32_t>(from->dilation),    static_cast<int32_t>(from->before),
           static_cast<int32_t>(from->after),       static_cast<int32_t>(from->stride / a),
           static_cast<int32_t>(from->dilation / a)};
    return true;
}

#endif
