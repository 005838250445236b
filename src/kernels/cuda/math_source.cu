/* The formulas of math.def as text, for sources that are compiled at run time. */
#include "kernels/cuda/math_source.h"

#define TC_MATH_CODE(...) #__VA_ARGS__ "\n"
#define TC_MATH_UNARY(code, domain, ...)                                                    \
    "template <typename T, typename W = typename tc_math_wide<T>::type> static __device__ " \
    "__forceinline__ T tc_math_" #code "(T x) { " #__VA_ARGS__ " }\n"
#define TC_MATH_BINARY(code, domain, ...)                                                   \
    "template <typename T, typename W = typename tc_math_wide<T>::type> static __device__ " \
    "__forceinline__ T tc_math_" #code "(T a, T b) { " #__VA_ARGS__ " }\n"
#define TC_MATH_COMPARE(code, domain, ...)                                        \
    "template <typename T> static __device__ __forceinline__ bool tc_math_" #code \
    "(T a, T b) { " #__VA_ARGS__ " }\n"

const char tc_cuda_math_source[] =
#include "kernels/cuda/math.def"
    ;
