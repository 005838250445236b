/*
 * What the compiler knows of devices and kernels. The runtime implements it; the compiler tests do
 * with a fake one.
 */
#ifndef TC_CORE_TARGET_H
#define TC_CORE_TARGET_H

#include <tensorc/extend.h>

typedef struct tc_target tc_target;

struct tc_target {
    int32_t threads;        /* workers a kernel's loop may run on */
    int32_t device_count;   /* device 0 is the CPU */
    int32_t default_device; /* of nodes that name none; -1: where they are cheapest */
    uint32_t allows;        /* TC_ALLOW_*, for kernels */
    const char *missing;    /* why there are no others, for messages; NULL: nothing to tell */
    const char *(*device_name)(const tc_target *target, int32_t device);
    /** Type of a device, and which it is of that type. */
    tc_device_type (*device_type)(const tc_target *target, int32_t device, int32_t *index);
    /** Kernel of `op` for `dtype` (of letter 'T') on `device`; NULL when there is none. */
    const tc_kernel *(*find_kernel)(const tc_target *target, int32_t device, const char *op,
                                    tc_dtype dtype);
    /**
     * Computes one node on the CPU now: `outputs` receives n_outputs new tensors. UNIMPLEMENTED
     * without a kernel. A SHAPE_ONLY or absent input may be NULL. `infos` give dtypes and shapes.
     */
    tc_status (*fold)(const tc_target *target, const tc_attrs *attrs, tc_tensor *const *inputs,
                      const tc_value_info *input_infos, int32_t n_inputs,
                      const tc_value_info *output_infos, int32_t n_outputs, tc_tensor **outputs);
};

#endif
