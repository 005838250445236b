/*
 * Finding operators and kernels by name. A registry is immutable while graphs and runtimes read it;
 * the library's own one is a constant table (NULL registry). The handle functions are in extend.h.
 */
#ifndef TC_CORE_REGISTRY_H
#define TC_CORE_REGISTRY_H

#include <tensorc/extend.h>

#include "base/cpu.h"
#include "core/kernel_table.h"

/** Index of attribute `name` in the declarations of `op`, -1 when it has none. */
int tc_op_attr_index(const tc_op *op, const char *name);
/** Name of the operator nearest to `name`, for "did you mean"; NULL when none is near. */
const char *tc_registry_nearest_op(const tc_registry *registry, const char *name);

/**
 * The kernel of operator `op` for `dtype` (of letter 'T') on `device` with the highest ISA level
 * that is at most `isa` (on x86; NEON and scalar on Arm). An exact dtype goes before
 * TC_DTYPE_INVALID. NULL when there is none. O(1) after the first call per registry.
 */
const tc_kernel *tc_registry_find_kernel(const tc_registry *registry, const char *op,
                                         tc_dtype dtype, tc_device_type device, tc_isa isa);

/** The dtype of letter 'T' of a node with these values; TC_DTYPE_INVALID when no port has the
 * letter. */
tc_dtype tc_op_kernel_dtype(const tc_op *op, const tc_value_info *inputs, int32_t n_inputs,
                            const tc_value_info *outputs, int32_t n_outputs);

/** Port of input or output `index` (a variadic last port repeats); NULL when out of range. */
const tc_port *tc_op_input_port(const tc_op *op, int32_t index);
const tc_port *tc_op_output_port(const tc_op *op, int32_t index);

/** Flags of the port of input `index` of a node with `n_outputs` outputs: of a variadic resource
 * port only inputs that have an output are written. */
uint32_t tc_op_input_flags(const tc_op *op, int32_t index, int32_t n_outputs);

/** INVALID_ARGUMENT naming the broken field of a definition: what tc_registry_add_op checks. */
tc_status tc_op_check(const tc_op *op);

#endif
