/* Functions that kernels of every device share: nvcc compiles them for both sides. */
#ifndef TC_CORE_INLINE_H
#define TC_CORE_INLINE_H

#ifdef __CUDACC__
#define TC_INLINE static __host__ __device__ inline
#else
#define TC_INLINE static inline
#endif

#endif
