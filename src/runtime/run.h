/* A run under way: what run.c and stages.c share. */
#ifndef TC_RUNTIME_RUN_H
#define TC_RUNTIME_RUN_H

#include "runtime/deadline.h"
#include "runtime/session.h"

/** One run: what the loop needs at hand. Of a run in stages, the one that is at its turn. */
typedef struct tc_run {
    tc_session *session;
    tc_entry *entry;
    tc_bound_plan *bound;
    const tc_plan *plan;
    tc_frame *frame;
    const tc_cancellation *cancellation;
    tc_profile *profile;
    tc_deadline deadline;
    tc_kernel_context context;
    struct tc_staged_run *staged; /* NULL: one program */
} tc_run;

/** Runs the plan or the stages of `r` under the locks of the store, which `writes` chooses, watched
 * for its deadline. */
tc_status tc_run_guarded(tc_run *r, bool writes);
/** Computes: all steps but those that commit. The locks are held. */
tc_status tc_run_compute(tc_run *r);
/** Commits what the plan of `r` writes, if anything. The locks are held. */
tc_status tc_run_finish(tc_run *r);
/** The failure of `kernel`, which runs for `node` of the plan's graph, with where that was built.
 */
tc_status tc_run_fail_at(const tc_plan *plan, int32_t node, const tc_kernel *kernel,
                         tc_status status);
/** Adds a run that is over to the counters. */
void tc_run_count(const tc_run *r, size_t copied_bytes);
/**
 * Whether outputs[i] can receive a result of `info` called `name`: dtype, shape, that it may be
 * written and shares no memory with the feeds and the outputs before.
 */
tc_status tc_run_check_output(const char *name, const tc_value_info *info,
                              tc_tensor *const *outputs, int32_t i, tc_tensor *const *feeds,
                              int32_t n_feeds);

#endif
