/* A family of kernels, as its file exports it. */
#ifndef TC_CORE_KERNEL_TABLE_H
#define TC_CORE_KERNEL_TABLE_H

#include <tensorc/extend.h>

typedef struct tc_kernel_table {
    const tc_kernel *kernels;
    size_t count;
} tc_kernel_table;

/* The library's own kernels (src/kernels/cpu/kernels.c) and operators (src/ops/ops.c). */
extern const tc_kernel_table *const tc_builtin_kernels[];
extern const size_t tc_builtin_kernels_count;
extern const tc_op *const tc_builtin_ops[];
extern const size_t tc_builtin_op_count;

#endif
