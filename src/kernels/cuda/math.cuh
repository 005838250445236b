/* The formulas of math.def as functions tc_math_<code>(x) or (a, b), and the choice among them at
 * run time. */
#ifndef TC_KERNELS_CUDA_MATH_CUH
#define TC_KERNELS_CUDA_MATH_CUH

#include <math.h>
#include <type_traits>

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "core/fused_program.h"
}

#define TC_MATH_CODE(...) __VA_ARGS__
#define TC_MATH_UNARY(code, domain, ...)                               \
    template <typename T, typename W = typename tc_math_wide<T>::type> \
    static __device__ __forceinline__ T tc_math_##code(T x)            \
    {                                                                  \
        __VA_ARGS__                                                    \
    }
#define TC_MATH_BINARY(code, domain, ...)                              \
    template <typename T, typename W = typename tc_math_wide<T>::type> \
    static __device__ __forceinline__ T tc_math_##code(T a, T b)       \
    {                                                                  \
        __VA_ARGS__                                                    \
    }
#define TC_MATH_COMPARE(code, domain, ...)                                                \
    template <typename T> static __device__ __forceinline__ bool tc_math_##code(T a, T b) \
    {                                                                                     \
        __VA_ARGS__                                                                       \
    }
#include "kernels/cuda/math.def"

/* The domains of math.def. */
template <typename T> constexpr bool tc_math_FLOAT = std::is_floating_point_v<T>;
template <typename T> constexpr bool tc_math_SIGNED = std::is_signed_v<T>;
template <typename T> constexpr bool tc_math_NUMBER = true;
template <typename T> constexpr bool tc_math_BOOL = std::is_same_v<T, int64_t>;

#define TC_MATH_CASE(code, domain, result, call)                                            \
    case TC_FUSED_##code:                                                                   \
        if constexpr (tc_math_##domain<T>) {                                                \
            _Pragma("unroll") for (int i = 0; i < count; i++) result = tc_math_##code call; \
        }                                                                                   \
        break;

/** x[i] = code(x[i]). `code` is the same for all threads. */
template <typename T, int count>
static __device__ __forceinline__ void tc_math_unary(int code, T (&x)[count])
{
    switch (code) {
#define TC_MATH_UNARY(code, domain, ...) TC_MATH_CASE(code, domain, x[i], (x[i]))
#include "kernels/cuda/math.def"
    }
}

/** a[i] = code(a[i], b[i]); what a comparison gives is 0 or 1. */
template <typename T, int count>
static __device__ __forceinline__ void tc_math_binary(int code, T (&a)[count], const T (&b)[count])
{
    switch (code) {
#define TC_MATH_BINARY(code, domain, ...)  TC_MATH_CASE(code, domain, a[i], (a[i], b[i]))
#define TC_MATH_COMPARE(code, domain, ...) TC_MATH_CASE(code, domain, a[i], (a[i], b[i]))
#include "kernels/cuda/math.def"
    }
}

#undef TC_MATH_CASE

#endif
