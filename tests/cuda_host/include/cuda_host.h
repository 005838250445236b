/* What the emulation offers beyond CUDA. */
#ifndef TC_CUDA_HOST_H
#define TC_CUDA_HOST_H

/** Drops the work of all streams and the error that a kernel left, which nothing of CUDA can: for
 * tests that look for such errors. */
void tc_cuda_host_reset(void);

#endif
