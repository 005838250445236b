/* A plan in the making: what the files plan_*.c share. */
#ifndef TC_COMPILER_PLANNER_H
#define TC_COMPILER_PLANNER_H

#include "compiler/memory.h"
#include "compiler/pass.h"
#include "compiler/plan.h"

/** Memory that one or several buffers (an output and its views) share. */
typedef struct tc_storage {
    tc_place place;
    int32_t index; /* as in tc_buffer */
    int32_t alias; /* storage whose memory this one takes over in place, -1 */
    int32_t device;
    /* What tc_plan_lifetimes finds, -1 where no step uses it. */
    int32_t first; /* step that produces it */
    int32_t last;  /* step that uses it last */
    int32_t
        lane; /* in the region of `last`: the lane of all steps there that use it, -1: several */
    size_t bytes;
    size_t offset;
} tc_storage;

/** Values of the program are numbered: output k of node n is first[n] + k. All plain arrays lie in
 * `scratch`. */
typedef struct tc_planner {
    tc_plan *plan;
    const tc_program *program;
    const tc_graph *graph;
    const tc_target *target;
    const tc_shape *feed_shapes;
    size_t memory_budget;
    int32_t focus; /* the device that live_bytes, peak_step and arena_bytes of the plan are of while
                      it is made; in the end the CPU */
    tc_arena scratch;

    int32_t n_nodes;
    int32_t n_values;
    int32_t *first;
    int32_t *producer;    /* node of each value */
    tc_value_info *infos; /* of each value, all dimensions known or bounded */
    int32_t *extents_of;  /* per node, as in tc_step */

    /* Schedule. */
    bool *needed;  /* per node: it runs, or its content is read */
    bool *commits; /* per node: a write that updates its variables in place, in the commit part */
    int32_t *feed_of; /* per node: the feed of a placeholder, -1 */
    bool *shown;      /* per node: it has no step, as its outputs show the memory of others */
    int32_t *root;    /* per value: the value in whose memory it lies, itself unless it is a view */
    size_t *shift;    /* per value: its first byte there */
    size_t *bytes;    /* per value */
    int32_t
        *variable_of; /* per value: node of the variable that it is or is the new content of, -1 */
    int32_t *next_write; /* per value: the write that continues from it, -1 */
    int32_t *fetch_list; /* per value: its first fetch, -1 */
    int32_t *fetch_next; /* per fetch: the next one of the same value, -1 */
    int32_t *output_of;  /* per root value: the fetch whose tensor it is computed into, -1 */
    int32_t *storage_of; /* per root value, -1 until needed */
    int32_t *buffer_of;  /* per value, -1 until needed */
    int32_t *saved; /* per node, a variable: buffer with its old content; -1 none, -2 to be made */
    tc_value_info *node_infos; /* room for the inputs of any node */

    TC_VECTOR(tc_storage) storages;
    TC_VECTOR(tc_buffer) buffers;
    TC_VECTOR(int32_t) buffer_storage; /* storage of each buffer */
    TC_VECTOR(int32_t) buffer_value;   /* value of each buffer */
    TC_VECTOR(size_t) buffer_shift;    /* first byte of each buffer in its storage */
    TC_VECTOR(tc_step) steps;
    TC_VECTOR(int32_t) step_workspace; /* storage of each step's workspace, -1 */
    TC_VECTOR(int32_t) operands;
    TC_VECTOR(tc_plan_variable) variables;
    TC_VECTOR(int32_t) variable_nodes;
    TC_VECTOR(tc_pack) packs;
    TC_VECTOR(tc_region) regions; /* lane_begin lies in plan->arena */
    TC_VECTOR(tc_segment) segments;
    int32_t *branch_order; /* step that regions put at each place */

    /* The compute steps as they were built, where tc_plan_low_peak has changed their order. */
    tc_step *built_steps;
    int32_t *built_workspaces;

    /* Of the last tc_plan_measure: the storages of the arena. */
    tc_lifetime *blocks;
    int32_t *block_of; /* per storage, -1 */
    int32_t *block_device;
    int32_t n_blocks;
} tc_planner;

/** Checks the feeds and infers all shapes. */
tc_status tc_plan_infer(tc_planner *planner);
/** Decides what runs, in which order and where it reads and writes. */
tc_status tc_plan_schedule(tc_planner *planner);
/** Finds lifetimes and in-place pairs of the steps as they stand now, and fills live_bytes and
 * peak_step of the plan. May be called again after steps have changed, as may the next one. */
tc_status tc_plan_measure(tc_planner *planner);
/** As above, then offsets for everything in the arenas. */
tc_status tc_plan_place(tc_planner *planner);
/** Makes the last measures those of `device`. */
tc_status tc_plan_focus(tc_planner *planner, int32_t device);
/** True for a storage in the arena of the device in focus. */
static inline bool tc_plan_counts(const tc_planner *planner, const tc_storage *storage)
{
    return storage->place == TC_PLACE_ARENA && storage->device == planner->focus;
}

/* plan_segments.c */

/** Puts compute steps into an order with few changes of device. */
tc_status tc_plan_group(tc_planner *planner);
/** Writes the segments of the final order into the plan, and what copies between devices take. */
tc_status tc_plan_find_segments(tc_planner *planner);

/* plan_order.c: what may change places. */

/** What each compute step waits for: step i for steps[begin[i]] ... steps[begin[i + 1] - 1], all of
 * them earlier ones and possibly several times the same. In scratch memory. */
typedef struct tc_needs {
    int32_t *begin;
    int32_t *steps;
    bool entangled; /* there would be too many: the order must stay, and the lists are empty */
} tc_needs;

/** Data and control dependencies of the compute steps as scheduled; what reaches outside keeps its
 * order. */
tc_status tc_plan_needs(tc_planner *planner, tc_needs *needs);
/** Puts compute step order[i] at place i, for every compute step. */
tc_status tc_plan_reorder(tc_planner *planner, const int32_t *order);

/* plan_alias.c */

/** Fills root, shift and shown, from needed and bytes. */
tc_status tc_plan_alias(tc_planner *planner);

/* plan_low_peak.c */

/** Puts compute steps into the order that keeps the least memory alive, when that is better. */
tc_status tc_plan_low_peak(tc_planner *planner);

/* plan_recompute.c */

/** Computes values again instead of keeping them where nodes ask for it, and until the plan fits
 * the memory budget or nothing helps. Before branches; leaves the plan placed. */
tc_status tc_plan_recompute(tc_planner *planner);

/* plan_branches.c */

/** Gathers compute steps into regions of lanes: reorders them, sets region and lane of each and
 * fills `regions`. Called by make_plan between schedule and placement. */
tc_status tc_plan_branches(tc_planner *planner);
/** Takes the regions back: the steps are in the order they had before. */
tc_status tc_plan_drop_branches(tc_planner *planner);

/* plan_lanes.c */

/** Puts the blocks of what one lane alone uses into one block per lane; `offset` of each storage is
 * then its place in its block. */
tc_status tc_plan_gather_lanes(tc_planner *planner);

/* plan_steps.c: adding steps. */

/** Buffer of a value, made when first asked for; -1 when memory is exhausted. */
int32_t tc_plan_buffer(tc_planner *planner, int32_t value);
/** The step of `node`; its operands are where tc_plan_buffer says, those of a commit in the
 * variables. */
tc_status tc_plan_add_kernel(tc_planner *planner, const tc_node *node);
/** A copy between buffers, nothing for empty ones. */
tc_status tc_plan_add_copy(tc_planner *planner, int32_t from, int32_t to);
/** Buffer in the tensor of fetch `fetch`. */
int32_t tc_plan_output_buffer(tc_planner *planner, int32_t fetch);
/** Buffer in the arena for a copy of `value`. */
int32_t tc_plan_copy_buffer(tc_planner *planner, int32_t value);

/** True for a buffer that shows all of its storage. */
static inline bool tc_plan_is_whole(const tc_planner *planner, int32_t buffer)
{
    return planner->buffers.data[buffer].bytes ==
           planner->storages.data[planner->buffer_storage.data[buffer]].bytes;
}

/** True when plans do `pass`. */
static inline bool tc_plan_does(const tc_planner *planner, tc_plan_pass pass)
{
    return planner->program->plan_passes & 1u << pass;
}

/* plan_invariants.c */

/** True when the content of `buffer` is the same in every run, until a variable is restored. */
bool tc_plan_is_fixed(const tc_planner *planner, int32_t buffer);
/** Makes `step`, whose operands are in place, an invariant where it is one: then it is not to be
 * added. */
tc_status tc_plan_add_invariant(tc_planner *planner, const tc_step *step, size_t params_bytes,
                                bool *added);

static inline int32_t tc_plan_value(const tc_planner *planner, tc_edge edge)
{
    return planner->first[edge.node] + edge.output;
}

#endif
