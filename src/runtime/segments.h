/*
 * Plans with devices: memory and work of one run there. The host gives a device's segment to its
 * queue at once and goes on; what the device has copied back lies in pinned memory until it is
 * waited for, and is put where it belongs then.
 */
#ifndef TC_RUNTIME_SEGMENTS_H
#define TC_RUNTIME_SEGMENTS_H

#include "runtime/run.h"

#define TC_MAX_QUEUES 8

/** Of one frame on one device. */
typedef struct tc_device_frame {
    tc_device *device; /* NULL: the plan does not use it */
    tc_queue *queues[TC_MAX_QUEUES];
    int32_t n_queues;
    char *memory;           /* the state, then the arena */
    char *staging;          /* pinned: of all copies of the plan; shared within a backend */
    char *pinned;           /* what is freed with this: the staging memory, if it is its own */
    tc_run_state *sent;     /* pinned: what a run begins with */
    tc_run_state *received; /* and ends with */
} tc_device_frame;

/** How a frame runs one segment: step by step, and once that went well, recorded. */
typedef struct tc_segment_record {
    tc_recording *recording;
    int8_t attempts; /* 0: it has not run yet */
} tc_segment_record;

typedef struct tc_segments_frame {
    tc_device_frame *devices;   /* per device of the plan */
    tc_segment_record *records; /* per segment */
    uint64_t busy;              /* devices, by TC_PLACE_BIT, that nobody has waited for */
    int32_t given;              /* segments before this one have run or been given to a queue */
    int32_t landed;             /* what those before this one copied to the CPU is in place */
    int32_t committed; /* steps and recordings of the commit part that devices were given */
} tc_segments_frame;

/** The compute part. Waits for it unless the commit may follow at once. */
tc_status tc_segments_compute(tc_run *r);
/** Whether work is under way. */
static inline bool tc_segments_are_busy(const tc_run *r)
{
    return r->frame->segments && r->frame->segments->busy != 0;
}
/** Waits for the work under way: faults, and failures of devices. What it copied is in place then.
 */
tc_status tc_segments_settle(tc_run *r);
/** What can fail of a commit without changing anything. */
tc_status tc_segments_prepare_commit(tc_run *r);
/** The commit part, to its end. The store is locked for it. When it fails nothing is committed, or
 * the devices that were to commit are lost. */
tc_status tc_segments_commit(tc_run *r);
/** After `status`, the failure of a run, waits for what is under way. Returns the status. */
tc_status tc_segments_abandon(tc_run *r, tc_status status);
/** Recordings of `frame` were made for other addresses. */
void tc_segments_forget_recordings(const tc_bound_plan *bound, tc_frame *frame);

#endif
