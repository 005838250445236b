/* Functions that kernels of every device share: nvcc compiles them for both sides. */
#ifndef TC_CORE_ANYWHERE_H
#define TC_CORE_ANYWHERE_H

#ifdef __CUDACC__
#define TC_ANYWHERE static __host__ __device__ inline
#else
#define TC_ANYWHERE static inline
#endif

#endif
