/*
 * An allocator that counts what the library holds and fails on demand. Thread-safe but for install
 * and remove, which follow the rule of tc_allocator_set: no object of the library may exist.
 *
 *     static tc_status scenario(void *context) { ... create, use, destroy; return the first failure
 * ... }
 *
 *     counting_allocator_install();
 *     counting_allocator_sweep(scenario, NULL);
 *     counting_allocator_remove();
 */
#ifndef TC_TEST_SUPPORT_COUNTING_ALLOCATOR_H
#define TC_TEST_SUPPORT_COUNTING_ALLOCATOR_H

#include <stdbool.h>
#include <stdint.h>

#include <tensorc/status.h>

/** Makes it the library's allocator and sets all counts to 0. */
void counting_allocator_install(void);
/** Restores the default; the test fails when blocks are still live. */
void counting_allocator_remove(void);

int64_t counting_allocator_live_blocks(void);
int64_t counting_allocator_live_bytes(void);
/** Highest live_bytes since install. */
int64_t counting_allocator_peak_bytes(void);
/** Successful and failed allocations since install: unchanged means that nothing was allocated. */
int64_t counting_allocator_total(void);

/** Lets the n-th allocation from now fail, 0 being the next one; negative: none. */
void counting_allocator_fail_at(int64_t n);
/** As above, with all allocations after it. */
void counting_allocator_fail_from(int64_t n);
/** Whether an allocation failed since the last call of fail_at or fail_from. */
bool counting_allocator_failed(void);

/**
 * Runs `scenario` with its 1st, 2nd, 3rd, ... allocation failing until no failure is reached, first
 * one at a time and then with all later ones failing too. The test fails when a run that met a
 * failure returns anything but TC_OK or RESOURCE_EXHAUSTED, has no message, or leaves blocks
 * behind, and when the last run is not TC_OK. A scenario that keeps something (a cache) must run
 * once before. Returns how many allocations the scenario makes.
 */
int64_t counting_allocator_sweep(tc_status (*scenario)(void *context), void *context);

#endif
