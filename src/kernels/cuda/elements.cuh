/*
 * Elements of a dtype that is known at run time only, computed in a type that holds several: for
 * kernels that are rather small than fast.
 */
#ifndef TC_KERNELS_CUDA_ELEMENTS_CUH
#define TC_KERNELS_CUDA_ELEMENTS_CUH

#include "kernels/cuda/cuda.cuh"

/** Element `i` in C: f32 and the 16-bit floats in float, every float in double, integers and bool
 * in int64_t or uint64_t. */
template <typename C>
static __device__ __forceinline__ C load_as(const void *x, tc_dtype dtype, int64_t i);

template <>
__device__ __forceinline__ float load_as<float>(const void *x, tc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TC_F32: return static_cast<const float *>(x)[i];
    case TC_F16: return tc_load(static_cast<const tc_half *>(x)[i]);
    default: return tc_load(static_cast<const tc_bfloat *>(x)[i]);
    }
}

template <>
__device__ __forceinline__ double load_as<double>(const void *x, tc_dtype dtype, int64_t i)
{
    return dtype == TC_F64 ? static_cast<const double *>(x)[i]
                           : static_cast<double>(load_as<float>(x, dtype, i));
}

template <>
__device__ __forceinline__ int64_t load_as<int64_t>(const void *x, tc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TC_BOOL:
    case TC_U8: return static_cast<const uint8_t *>(x)[i];
    case TC_U16: return static_cast<const uint16_t *>(x)[i];
    case TC_U32: return static_cast<const uint32_t *>(x)[i];
    case TC_I8: return static_cast<const int8_t *>(x)[i];
    case TC_I16: return static_cast<const int16_t *>(x)[i];
    case TC_I32: return static_cast<const int32_t *>(x)[i];
    default: return static_cast<const int64_t *>(x)[i];
    }
}

template <>
__device__ __forceinline__ uint64_t load_as<uint64_t>(const void *x, tc_dtype dtype, int64_t i)
{
    return static_cast<uint64_t>(load_as<int64_t>(x, dtype, i));
}

/** `x` rounded to T once. */
template <typename T> static __device__ __forceinline__ T tc_round(double x)
{
    return static_cast<T>(x);
}
template <> __device__ __forceinline__ tc_half tc_round<tc_half>(double x)
{
#ifdef TC_CUDA_HOST
    return tc_half{tc_f64_to_f16(x)};
#else
    return tc_half{__half_as_ushort(__double2half(x))};
#endif
}
template <> __device__ __forceinline__ tc_bfloat tc_round<tc_bfloat>(double x)
{
#ifdef TC_CUDA_HOST
    return tc_bfloat{tc_f64_to_bf16(x)};
#else
    /* Cut off, with the last bit set where anything was: the second rounding sees which side of a
     * tie it is on. */
    float cut = __double2float_rz(x);
    uint32_t inexact = static_cast<double>(cut) != x;
    return tc_store<tc_bfloat>(__uint_as_float(__float_as_uint(cut) | inexact));
#endif
}

/* `value` as element `i`: floats are rounded once, integers wrap around. */
static __device__ __forceinline__ void store_as(float value, void *y, tc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TC_F32: static_cast<float *>(y)[i] = value; break;
    case TC_F16: static_cast<tc_half *>(y)[i] = tc_store<tc_half>(value); break;
    default: static_cast<tc_bfloat *>(y)[i] = tc_store<tc_bfloat>(value); break;
    }
}

static __device__ __forceinline__ void store_as(double value, void *y, tc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TC_F64: static_cast<double *>(y)[i] = value; break;
    case TC_F32: static_cast<float *>(y)[i] = static_cast<float>(value); break;
    case TC_F16: static_cast<tc_half *>(y)[i] = tc_round<tc_half>(value); break;
    default: static_cast<tc_bfloat *>(y)[i] = tc_round<tc_bfloat>(value); break;
    }
}

static __device__ __forceinline__ void store_as(uint64_t value, void *y, tc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case TC_BOOL:
    case TC_I8:
    case TC_U8: static_cast<uint8_t *>(y)[i] = static_cast<uint8_t>(value); break;
    case TC_I16:
    case TC_U16: static_cast<uint16_t *>(y)[i] = static_cast<uint16_t>(value); break;
    case TC_I32:
    case TC_U32: static_cast<uint32_t *>(y)[i] = static_cast<uint32_t>(value); break;
    default: static_cast<uint64_t *>(y)[i] = value; break;
    }
}

static __device__ __forceinline__ void store_as(int64_t value, void *y, tc_dtype dtype, int64_t i)
{
    store_as(static_cast<uint64_t>(value), y, dtype, i);
}

#endif
