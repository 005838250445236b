/* The kernels of matmul and matmul_fused for floats; isa/products.c lists them for every
 * instruction set. */
#ifndef TC_KERNELS_CPU_MATMUL_H
#define TC_KERNELS_CPU_MATMUL_H

#include <tensorc/extend.h>

#include "base/cpu.h"

/* prepare for register tiles of `isa`: params is a tc_gemm. */
tc_status tc_matmul_prepare(tc_prepare *prepare, tc_isa isa);
void tc_matmul_pack(const void *params, const void *weights, void *blob);
tc_status tc_matmul_run(const void *params, const void *const *inputs, void *const *outputs,
                        const tc_kernel_context *context);

#endif
