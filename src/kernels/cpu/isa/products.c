/*
 * Matrix products and convolutions for every instruction set: the code is compiled once, prepare
 * tells it whose register tiles (gemm_micro.c) to use.
 */
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/matmul.h"

static tc_status matmul(tc_prepare *prepare)
{
    return tc_matmul_prepare(prepare, (tc_isa)TC_ISA_LEVEL);
}

static tc_status conv2d(tc_prepare *prepare)
{
    return tc_conv2d_prepare(prepare, (tc_isa)TC_ISA_LEVEL);
}

static tc_status grad_input(tc_prepare *prepare)
{
    return tc_conv2d_grad_input_prepare(prepare, (tc_isa)TC_ISA_LEVEL);
}

static tc_status grad_filter(tc_prepare *prepare)
{
    return tc_conv2d_grad_filter_prepare(prepare, (tc_isa)TC_ISA_LEVEL);
}

#define KERNELS(tag)                                                                             \
    TC_KERNEL(matmul, tag, .prepare = matmul, .pack = tc_matmul_pack, .run = tc_matmul_run),     \
        TC_KERNEL(matmul_fused, tag, .prepare = matmul, .pack = tc_matmul_pack,                  \
                  .run = tc_matmul_run),                                                         \
        TC_KERNEL(conv2d_fused, tag, .prepare = conv2d, .pack = tc_conv2d_pack,                  \
                  .run = tc_conv2d_run),                                                         \
        TC_KERNEL(conv2d, tag, .prepare = conv2d, .pack = tc_conv2d_pack, .run = tc_conv2d_run), \
        TC_KERNEL(conv2d_grad_input, tag, .prepare = grad_input, .pack = tc_conv2d_pack,         \
                  .run = tc_conv2d_grad_input_run),                                              \
        TC_KERNEL(conv2d_grad_filter, tag, .prepare = grad_filter,                               \
                  .run = tc_conv2d_grad_filter_run)
static const tc_kernel kernels[] = {KERNELS(f32), KERNELS(f64), KERNELS(f16), KERNELS(bf16)};
TC_KERNEL_TABLE(products, kernels);
