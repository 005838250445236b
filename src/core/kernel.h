/* The host side of the kernel interface: preparing a kernel for concrete shapes. */
#ifndef TC_CORE_KERNEL_H
#define TC_CORE_KERNEL_H

#include <tensorc/extend.h>

#include "base/arena.h"

/** What a kernel's prepare left. `params` lies in the arena it was prepared with. */
typedef struct tc_prepared {
    const void *params;
    size_t params_bytes;
    size_t workspace_bytes;
    size_t pack_bytes;
    int32_t pack_input; /* -1: none */
} tc_prepared;

/** Where a kernel is going to run: see tc_prepare. */
typedef struct tc_kernel_place {
    int32_t threads;
    int32_t device; /* among those of its type */
    uint32_t allows;
} tc_kernel_place;

/**
 * Calls prepare of `kernel` (which may have none) for a node whose dimensions are all known.
 * Returns its status, the message without node or line; RESOURCE_EXHAUSTED when the arena is.
 * Thread-safe for different arenas.
 */
tc_status tc_kernel_prepare(const tc_kernel *kernel, const tc_attrs *attrs,
                            const tc_value_info *inputs, int32_t n_inputs,
                            const tc_value_info *outputs, int32_t n_outputs,
                            const tc_kernel_place *place, tc_arena *arena, tc_prepared *prepared);

#endif
