/* A graph bound to its inputs: what most workloads are. */
#ifndef TENSORC_BENCHMARKS_BOUND_H
#define TENSORC_BENCHMARKS_BOUND_H

#include "workload.h"

#define BOUND_INPUTS 2

typedef struct bound {
    tc_graph *graph;
    tc_session *session;
    tc_callable *callable;
    tc_tensor *inputs[BOUND_INPUTS];
    tc_tensor *output;   /* made by the first run */
    tc_profile *profile; /* of all runs, NULL: none */
} bound;

/** A zeroed state with an empty graph. NULL: memory. */
bound *bound_create(void);
/** Compiles the callable; `fetch` or `target` may be TC_NO_VALUE. The inputs are set by the caller.
 */
tc_status bound_compile(bound *b, const tc_session_options *options, const tc_value *feeds,
                        size_t n_feeds, tc_value fetch, tc_value target);
tc_status bound_run(void *state);
void bound_destroy(void *state);

/** Tensors with fixed pseudo-random contents: floats in [-1, 1), i64 ids below `ids`. */
tc_status random_floats(tc_shape shape, tc_tensor **out);
tc_status random_ids(tc_shape shape, int64_t ids, tc_tensor **out);

#endif
