/* The lists that the library is made of: operators, and kernels as one file of src/kernels exports
 * them. */
#ifndef TC_CORE_KERNEL_TABLE_H
#define TC_CORE_KERNEL_TABLE_H

#include <stddef.h>

#include <tensorc/extend.h>

typedef struct tc_kernel_table {
    const tc_kernel *kernels;
    size_t count;
} tc_kernel_table;

/** The operators of the library, from src/ops/ops.def. */
extern const tc_op *const tc_builtin_ops[];
extern const size_t tc_builtin_op_count;

/** The CPU kernels of the library, from src/kernels/cpu/kernels.def. */
extern const tc_kernel_table *const tc_builtin_kernels[];
extern const size_t tc_builtin_kernel_table_count;

#endif
