/* Devices that graphs run on. */
#ifndef TENSORC_DEVICE_H
#define TENSORC_DEVICE_H

#include <tensorc/extend.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_runtime tc_runtime;

typedef struct tc_device_info {
    char name[32];         /**< "cpu", "cuda:0" */
    char description[128]; /**< model, instruction set level or driver */
    tc_device_type type;
    int32_t index;
    int32_t threads;     /**< of the CPU's pool; 0 for others */
    size_t memory_bytes; /**< physical memory of the device */
} tc_device_info;

/**
 * Writes up to `capacity` devices of `runtime` (NULL: the default one) into `devices` and the
 * number there is into
 * `*count`. When `why` is not NULL, it receives one sentence per device type that is missing and
 * the reason ("" when none), cut at `why_size`. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_device_list(tc_runtime *runtime, tc_device_info *devices,
                                            size_t capacity, size_t *count, char *why,
                                            size_t why_size);

/**
 * Which dtypes operator `op` has kernels for on device `device` of tc_device_list (dtypes of its
 * ports with the letter 'T'): sets bit TC_DTYPE_BIT(dtype) of `*dtypes` for each; for an operator
 * without such ports TC_DTYPES_ANY, or nothing. Errors: INVALID_ARGUMENT (no such device or
 * operator). Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_device_kernels(tc_runtime *runtime, int32_t device, const char *op,
                                               uint32_t *dtypes);

#ifdef __cplusplus
}
#endif

#endif
