/* What kernels of images share: windows, and indices that are mostly small. */
#ifndef TC_KERNELS_CUDA_IMAGES_CUH
#define TC_KERNELS_CUDA_IMAGES_CUH

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "core/window.h"
}

/* Rare, and long: in one place. */
static __device__ __attribute__((noinline)) int64_t tc_divide_wide(int64_t a, int64_t b)
{
    return a / b;
}

/** a / b of numbers that are not negative. Divisions of 64 bits take several times longer than
 * those of 32. */
static __device__ __forceinline__ int64_t tc_divide(int64_t a, int64_t b)
{
    if (((a | b) >> 32) == 0)
        return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
    return tc_divide_wide(a, b);
}

/** A place in planes of height[0] by height[1] elements. */
struct tc_plane_index {
    int64_t plane;
    int32_t y, x;
};

static __device__ __forceinline__ tc_plane_index tc_plane_at(int64_t i, int64_t height,
                                                             int64_t width)
{
    int64_t row = tc_divide(i, width), plane = tc_divide(row, height);
    return {plane, static_cast<int32_t>(row - plane * height),
            static_cast<int32_t>(i - row * width)};
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
