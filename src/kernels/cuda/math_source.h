/* Text of math.def. */
#ifndef TC_KERNELS_CUDA_MATH_SOURCE_H
#define TC_KERNELS_CUDA_MATH_SOURCE_H

#ifdef __cplusplus
extern "C" {
#endif

/** Functions tc_math_<code> of math.def for C++17 and later: templates over float and double, and
 * over integers where the code takes them. Needs nothing but CUDA's own mathematics. */
extern const char tc_cuda_math_source[];

#ifdef __cplusplus
}
#endif

#endif
