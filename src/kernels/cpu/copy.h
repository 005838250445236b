/* Copying whole tensors, in parallel blocks. */
#ifndef TC_KERNELS_CPU_COPY_H
#define TC_KERNELS_CPU_COPY_H

#include <tensorc/extend.h>

/** prepare of a kernel whose params are the bytes of its first output, an int64_t. */
tc_status tc_copy_prepare(tc_prepare *prepare);

/** Copies `bytes` unless `from` is `to`. */
tc_status tc_copy_run(const tc_kernel_context *context, int64_t bytes, const void *from, void *to);

#endif
