/*
 * Kernels of a device other than the CPU, called one by one: every operand is copied to an
 * allocation of its own and back.
 */
#ifndef TC_TEST_SUPPORT_DEVICE_H
#define TC_TEST_SUPPORT_DEVICE_H

#include <tensorc/backend.h>

#include "core/kernel.h"

typedef struct test_device test_device;

/**
 * The device that TENSORC_TEST_DEVICE names ("cuda:0"), NULL when it names none or "cpu".
 * UNAVAILABLE with the reason when there is no such device.
 */
tc_status test_device_open(test_device **out);
void test_device_close(test_device *device);
const char *test_device_name(const test_device *device);

const tc_kernel *test_device_find_kernel(const test_device *device, const char *op, tc_dtype dtype);
/** What a kernel is prepared for. */
tc_kernel_place test_device_place(const test_device *device);

/** An operand in the memory of the CPU; operands with the same `data` are one. */
typedef struct test_operand {
    void *data; /**< NULL: not given */
    size_t bytes;
} test_operand;

/**
 * Runs `kernel` and writes all operands back. A fault of the kernel comes back as its status and
 * sentence.
 */
tc_status test_device_run(test_device *device, const tc_kernel *kernel, const tc_prepared *prepared,
                          const test_operand *inputs, int32_t n_inputs, const test_operand *outputs,
                          int32_t n_outputs, uint64_t seed, uint64_t step);

#endif
