/* Between the files of the loopback backend: memory and failures (loopback.c), work
 * (loopback_work.c). */
#ifndef TC_TEST_SUPPORT_LOOPBACK_WORK_H
#define TC_TEST_SUPPORT_LOOPBACK_WORK_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/cpu.h"
#include "support/loopback.h"

enum { LOOP_MOST_DEVICES = 8, LOOP_MOST_FAULTS = 64 };

/* One backend at a time. */
typedef struct loop_state {
    pthread_mutex_t lock; /* of what follows, but for the atomics */
    loopback_options options;
    const tc_host *host;
    tc_isa isa; /* of the kernels that it computes with */
    bool registered;
    int64_t resets;
    struct memory *memories;
    int64_t fail_at[LOOPBACK_CALLS];
    bool failed;
    int64_t counts[LOOPBACK_CALLS];
    size_t live[LOOP_MOST_DEVICES], pinned;
    atomic_llong objects;
    atomic_bool lost[LOOP_MOST_DEVICES];
    char violation[256];
    char faults[LOOP_MOST_FAULTS][256];
    int32_t n_faults;
} loop_state;

extern loop_state loop;

tc_status loop_fail(tc_status status, const char *format, ...) TC_PRINTF(2, 3);
void loop_violate(const char *what);
/** Counts a call; true when it is to fail. */
bool loop_fails(loopback_call call);
/** The memory behind `address`, which must lie on `device` with `bytes` after it. NULL when it does
 * not; the processor's own is itself, and must be pinned when `pinned`. */
void *loop_real(const void *address, int32_t device, size_t bytes, bool pinned);

/** Fills in what queues and recordings do. */
void loop_work(tc_backend *backend);
/** Makes `kernels` and a list of them, both of malloc: one for each operator and dtype that the CPU
 * has any for. */
tc_status loop_list_kernels(tc_kernel **kernels, const tc_kernel ***list, int32_t *count);

#endif
