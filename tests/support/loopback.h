/*
 * A device backend for tests: "loop:0", "loop:1", ... compute with the CPU's kernels, in memory
 * that nobody else can touch. What it hands out are addresses without memory behind them, so that
 * whoever mixes up a device's memory and the processor's crashes; device memory itself is of
 * malloc and poisoned. Every pointer that it is given is checked; what is wrong is counted.
 *
 *     loopback_reset(&(loopback_options){.n_devices = 2, .deferred = true});
 *     ... a runtime made from now on has it ...
 */
#ifndef TC_TEST_SUPPORT_LOOPBACK_H
#define TC_TEST_SUPPORT_LOOPBACK_H

#include <stdbool.h>
#include <stdint.h>

#include <tensorc/backend.h>

#define LOOPBACK_TYPE ((tc_device_type)77)

typedef struct loopback_options {
    int32_t n_devices;   /* 0: 1 */
    bool deferred;       /* queues run when somebody waits for them, not at once */
    bool no_recordings;  /* record_begin says UNIMPLEMENTED */
    size_t memory;       /* of each device, in bytes; 0: 1 GiB */
    const char *without; /* ",relu,matmul,": operators without kernels */
} loopback_options;

/** What the backend is asked to do. */
typedef enum loopback_call {
    LOOPBACK_ALLOCATE,
    LOOPBACK_PIN,
    LOOPBACK_QUEUE,
    LOOPBACK_COPY,
    LOOPBACK_ORDER,
    LOOPBACK_LAUNCH,
    LOOPBACK_WAIT,
    LOOPBACK_RECORD,
    LOOPBACK_REPLAY,
    LOOPBACK_ANY,
    LOOPBACK_CALLS
} loopback_call;

/** Registers the backend if it is not, and sets it up for the runtimes made after this; counts and
 * violations start again, and nothing fails. Not while a runtime is alive. NULL: the defaults. */
void loopback_reset(const loopback_options *options);

/** Lets the n-th call of this kind from now fail, 0 being the next; negative: none. */
void loopback_fail_at(loopback_call call, int64_t n);
/** Whether the call that was to fail has been made. */
bool loopback_failed(void);
/** Calls of a kind since the last reset. */
int64_t loopback_count(loopback_call call);
/** Bytes of device memory in use, of all devices; of pinned memory; queues and recordings. */
size_t loopback_live_bytes(void);
size_t loopback_pinned_bytes(void);
int64_t loopback_live_objects(void);
/** Pointers and calls that were wrong, the first of them in words; "" when none was. */
const char *loopback_violation(void);

/** The entry, for those who register it themselves. */
tc_status loopback_entry(const tc_host *host, tc_backend **backend);

#endif
