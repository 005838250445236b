/* The list of the library's operators: a static table, because static linking drops constructors.
 */
#include "core/kernel_table.h"

#define TC_OP(name) extern const tc_op tc_op_##name;
#include "ops/ops.def"
#undef TC_OP

#define TC_OP(name) &tc_op_##name,
const tc_op *const tc_builtin_ops[] = {
#include "ops/ops.def"
};

const size_t tc_builtin_op_count = sizeof tc_builtin_ops / sizeof tc_builtin_ops[0];
