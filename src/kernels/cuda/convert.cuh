/* Conversion between element types, as on the CPU: floats to integers are cut and saturated, NaN
 * gives 0, integers keep their low bits, 16-bit floats are rounded from float, or once from double.
 */
#ifndef TC_KERNELS_CUDA_CONVERT_CUH
#define TC_KERNELS_CUDA_CONVERT_CUH

#include <limits>

#include "kernels/cuda/elementwise.cuh"

template <typename T, typename C> static __device__ __forceinline__ T tc_convert_to_int(C x)
{
    if constexpr (std::is_integral_v<C>)
        return static_cast<T>(x);
    /* The largest integer is rounded up where C does not hold it. */
    constexpr T least = std::numeric_limits<T>::min(), most = std::numeric_limits<T>::max();
    return x != x                       ? static_cast<T>(0)
           : x <= static_cast<C>(least) ? least
           : x >= static_cast<C>(most)  ? most
                                        : static_cast<T>(x);
}

template <typename C> static __device__ __forceinline__ uint16_t tc_convert_to_f16(C x)
{
    if constexpr (std::is_same_v<C, double>)
        return tc_f64_to_f16(x);
    return tc_store<tc_half>(static_cast<float>(x)).bits;
}

template <typename C> static __device__ __forceinline__ uint16_t tc_convert_to_bf16(C x)
{
    if constexpr (std::is_same_v<C, double>)
        return tc_f64_to_bf16(x);
    return tc_store<tc_bfloat>(static_cast<float>(x)).bits;
}

/** The bits of numbers as elements of `dtype`: tc_write takes them. */
template <typename C, int V>
static __device__ __forceinline__ tc_raw<int64_t, V> tc_convert(int dtype, const C (&x)[V])
{
    tc_raw<int64_t, V> raw = {};
#define TC_CONVERT_TO(dtype, bits, value) \
    case dtype: TC_EACH_OF(V) tc_pack(raw, i, static_cast<bits>(value)); break;
    switch (dtype) {
        TC_CONVERT_TO(TC_F32, uint32_t, __float_as_uint(static_cast<float>(x[i])))
        TC_CONVERT_TO(TC_F64, uint64_t, __double_as_longlong(static_cast<double>(x[i])))
        TC_CONVERT_TO(TC_F16, uint16_t, tc_convert_to_f16(x[i]))
        TC_CONVERT_TO(TC_BF16, uint16_t, tc_convert_to_bf16(x[i]))
        TC_CONVERT_TO(TC_I8, uint8_t, tc_convert_to_int<int8_t>(x[i]))
        TC_CONVERT_TO(TC_I16, uint16_t, tc_convert_to_int<int16_t>(x[i]))
        TC_CONVERT_TO(TC_I32, uint32_t, tc_convert_to_int<int32_t>(x[i]))
        TC_CONVERT_TO(TC_I64, uint64_t, tc_convert_to_int<int64_t>(x[i]))
        TC_CONVERT_TO(TC_U8, uint8_t, tc_convert_to_int<uint8_t>(x[i]))
        TC_CONVERT_TO(TC_U16, uint16_t, tc_convert_to_int<uint16_t>(x[i]))
        TC_CONVERT_TO(TC_U32, uint32_t, tc_convert_to_int<uint32_t>(x[i]))
        TC_CONVERT_TO(TC_U64, uint64_t, tc_convert_to_int<uint64_t>(x[i]))
        TC_CONVERT_TO(TC_BOOL, uint8_t, x[i] != 0)
    }
#undef TC_CONVERT_TO
    return raw;
}

#endif
