/*
 * Running in stages: each is an entry with its program, plans and frames. The values that one
 * passes on lie in its frame, in memory for their bounds, until the run is over. All stages run
 * under the same locks and with the same step; the last one commits.
 */
#ifndef TC_RUNTIME_STAGES_H
#define TC_RUNTIME_STAGES_H

#include "compiler/stages.h"
#include "runtime/run.h"

typedef struct tc_staged_run tc_staged_run;

typedef struct tc_staged {
    tc_stages stages;
    tc_entry **entries; /* one per stage */
    atomic_bool filled; /* every variable has content: plans that are made later find them so */
    struct tc_shared_dim *dims; /* pairs of feeds whose dimensions have one name */
    int32_t n_dims;
    tc_staged_run *free; /* kept for the next run; guarded by the entry's lock */
} tc_staged;

/**
 * Compiles the stages of `entry`, whose request is `request`, into entry->staged; leaves it NULL
 * where there is but one program to be made.
 */
tc_status tc_staged_create(tc_session *session, tc_entry *entry, const tc_program_request *request);
void tc_staged_free(tc_session *session, tc_staged *staged);

/** Runs all stages. `r` has everything but plan and frame. */
tc_status tc_staged_run_all(tc_run *r, const tc_inputs *inputs, tc_tensor **outputs);
/** As tc_entry_run_initial. */
tc_status tc_staged_run_initial(tc_run *r, tc_tensor **outputs);
/** The stages of r->staged, with the locks held. */
tc_status tc_staged_compute(tc_run *r);

/**
 * Enters the plan for feeds of these shapes: that of `*entry`, or of its first stage, which
 * `*entry` then is. Give it back by tc_plan_leave.
 */
tc_status tc_staged_enter_first(tc_session *session, tc_entry **entry, const tc_shape *shapes,
                                tc_bound_plan **bound);
/** Prints the plans that the later stages of `entry` had last, as text; nothing without stages. */
tc_status tc_staged_print_rest(tc_session *session, const tc_entry *entry, FILE *file);

#endif
