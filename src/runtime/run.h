/* A run under way: what run.c and stages.c share. */
#ifndef TC_RUNTIME_RUN_H
#define TC_RUNTIME_RUN_H

#include "runtime/cancellation.h"
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

/** Whether anything may end the run early. */
static inline bool tc_run_may_stop(const tc_run *r)
{
    return r->cancellation || r->deadline.at_ns != 0;
}
/** CANCELLED or DEADLINE_EXCEEDED when a flag of the run is raised: asked between two kernels. */
static inline bool tc_run_is_stopped(const tc_run *r)
{
    return (r->cancellation &&
            atomic_load_explicit(&r->cancellation->cancelled, memory_order_relaxed)) ||
           atomic_load_explicit(&r->deadline.passed, memory_order_relaxed);
}
tc_status tc_run_fail_stopped(const tc_run *r);
static inline tc_status tc_run_check_stop(const tc_run *r)
{
    return tc_run_is_stopped(r) ? tc_run_fail_stopped(r) : TC_OK;
}

/** Steps of the CPU from `begin` to before `end`, regions among them, of the compute part. */
tc_status tc_run_host_steps(tc_run *r, int32_t begin, int32_t end);
/** Likewise of the commit part, which cannot fail. */
void tc_run_host_commit(tc_run *r, int32_t begin, int32_t end);
/** Runs the plan or the stages of `r` under the locks of the store, which `writes` chooses, watched
 * for its deadline. */
tc_status tc_run_guarded(tc_run *r, bool writes);
/** Computes: all steps but those that commit. The locks are held. */
tc_status tc_run_compute(tc_run *r);
/** Commits what the plan of `r` writes, if anything. The locks are held. */
tc_status tc_run_finish(tc_run *r);
/** The failure of `kernel` (NULL: a copy), which runs for `node` of the plan's graph, with where
 * that was built. */
tc_status tc_run_fail_at(const tc_plan *plan, int32_t node, const tc_kernel *kernel,
                         tc_status status);
/** Adds a run that is over to the counters. */
void tc_run_count(const tc_run *r, size_t copied_bytes, size_t transferred_bytes);
/**
 * Whether outputs[i] can receive a result of `info` called `name`: dtype, shape, that it may be
 * written and shares no memory with the feeds and the outputs before.
 */
tc_status tc_run_check_output(const char *name, const tc_value_info *info,
                              tc_tensor *const *outputs, int32_t i, tc_tensor *const *feeds,
                              int32_t n_feeds);

#endif
