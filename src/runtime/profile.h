/* Recording node times. */
#ifndef TC_RUNTIME_PROFILE_H
#define TC_RUNTIME_PROFILE_H

#include <stdint.h>

#include <tensorc/session.h>

#include "compiler/plan.h"

/** Nanoseconds of a monotonic clock. */
int64_t tc_clock_ns(void);

/** Readies `profile` for running `plan`, of stage `stage` (0: the first or only one) of a run. */
tc_status tc_profile_begin(tc_profile *profile, tc_plan *plan, int32_t stage);
/** Adds one call. Lanes may record different steps at the same time. */
void tc_profile_record(tc_profile *profile, int32_t step, int64_t begin_ns, int64_t end_ns);

#endif
