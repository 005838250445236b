/*
 * A plan: a program bound to concrete feed shapes. Kernels in order with their parameters, every
 * buffer at its place, the memory known. Immutable and shared between threads; each run brings an
 * arena of `arena_bytes` and a table of `n_operands` pointers.
 */
#ifndef TC_COMPILER_PLAN_H
#define TC_COMPILER_PLAN_H

#include "compiler/program.h"

typedef enum tc_place {
    TC_PLACE_NONE,   /* no memory: an output nobody reads still gets arena space; this is for absent
                        operands */
    TC_PLACE_ARENA,  /* intermediate result at `offset` of the run's arena */
    TC_PLACE_FEED,   /* tensor of feed `index` */
    TC_PLACE_OUTPUT, /* tensor that receives fetch `index` */
    TC_PLACE_VARIABLE, /* content of plan->variables[index] */
    TC_PLACE_CONSTANT, /* plan->constants[index] */
    TC_PLACE_PACKED    /* result of plan->packs[index], an invariant */
} tc_place;

typedef struct tc_buffer {
    tc_place place;
    int32_t index;
    int32_t device; /* whose memory it is: of tc_target; feeds and outputs are the CPU's */
    size_t offset;
    size_t bytes;
    tc_value_info info;
} tc_buffer;

/**
 * One kernel call, or, with `kernel` NULL, a copy of `copy_bytes` from its only input to its only
 * output, which may lie on different devices. Operands are plan->operands[first_input ...]: indexes
 * of buffers, -1 for absent and shape-only ones.
 */
typedef struct tc_step {
    const tc_kernel *kernel;
    const void *params;
    int32_t first_input;
    int32_t n_inputs;
    int32_t first_output;
    int32_t n_outputs;
    size_t workspace_offset; /* in the arena; workspace_bytes 0: none */
    size_t workspace_bytes;
    size_t copy_bytes;
    int32_t pack; /* index of plan->packs, -1: none */
    int32_t
        node; /* of the program's graph, for messages and profiles; -1: a copy the planner added */
    int32_t device; /* whose queue it runs in; of a copy from or to another device: the one that is
                       not the CPU, the receiver's when both are not */
    int32_t region; /* index of plan->regions; -1: it runs alone */
    int32_t lane;   /* of its region, 0 without one */
    size_t staging_offset; /* of a copy between the CPU and a device: where in the frame's pinned
                              memory it passes */
    int32_t extents; /* of an operator with bounds: 1 + place of what it tells of output 0 among the
                        run's extents, TC_MAX_RANK for each output; 0: none */
} tc_step;

/**
 * Compute steps first_step ... first_step + n_steps - 1 in lanes: steps of one lane run in order,
 * lanes beside each other. Lane l has the steps from lane_begin[l] to before lane_begin[l + 1]
 * (indexes of plan->steps); no step needs a result of another lane.
 */
typedef struct tc_region {
    int32_t first_step;
    int32_t n_steps;
    int32_t n_lanes;
    const int32_t *lane_begin; /* n_lanes + 1 */
} tc_region;

/**
 * Steps first_step ... first_step + n_steps - 1, all of one device. Segments are in order, cover
 * every step, and none holds steps of both the compute and the commit part. What a device's segment
 * enqueues need not have run before the next begins; a segment of the CPU, or of another device,
 * begins when those before it have, if it `waits`.
 */
typedef struct tc_segment {
    int32_t device;
    int32_t first_step;
    int32_t n_steps;
    bool waits; /* it uses what segments of other devices before it have computed or freed */
} tc_segment;

/** Memory of a plan on one device. */
typedef struct tc_plan_memory {
    size_t arena_bytes; /* peak of intermediate results and workspaces */
    size_t live_bytes;  /* of those, alive at the fullest step */
} tc_plan_memory;

/**
 * What is made once per store and shared: the packed form of an input that a kernel wants so, or
 * the result of an invariant node. Kernel, parameters, device and the contents it is made from are
 * its key.
 */
typedef struct tc_pack {
    const tc_kernel *kernel; /* NULL: a copy from another device */
    const void *params;
    size_t params_bytes;
    size_t bytes;
    int32_t device; /* where it is made and lies */
    int32_t buffer; /* to pack: a constant, an invariant, or a variable that nothing in the graph
                       writes; -1: an invariant */
    /* Of an invariant. */
    int32_t node;
    int32_t first_input; /* of plan->operands, each fixed or absent */
    int32_t n_inputs;
    size_t workspace_bytes;
} tc_pack;

typedef struct tc_plan_variable {
    const char *name;
    tc_dtype dtype;
    tc_shape shape;
    bool written;
} tc_plan_variable;

typedef struct tc_plan {
    atomic_int references;
    tc_program *program; /* retained */
    tc_step *steps;
    int32_t n_steps;
    int32_t n_compute; /* steps before this one may fail and change no state; those from it on
                          commit and cannot fail */
    int32_t *operands; /* operand -> buffer, -1 */
    int32_t n_operands;
    tc_buffer *buffers;
    int32_t n_buffers;
    tc_plan_variable *variables;
    int32_t n_variables;
    tc_tensor **constants; /* retained */
    int32_t n_constants;
    tc_pack *packs;
    int32_t n_packs;
    tc_node_cost *costs; /* per node of the program's graph that has a step */
    tc_region *regions;  /* in order of their steps */
    int32_t n_regions;
    bool mixed;           /* not everything is the CPU's */
    tc_segment *segments; /* of a mixed plan, which may have no steps and none of these */
    int32_t n_segments;
    int32_t n_compute_segments;
    int32_t n_devices;        /* of the target */
    tc_plan_memory *devices;  /* per device of the target; [0], the CPU, is arena_bytes and
                                 live_bytes below */
    size_t staging_bytes;     /* pinned memory of each run */
    size_t transferred_bytes; /* between devices, by one run */
    int32_t n_transfers;
    tc_value_info *outputs; /* dtype and shape of each fetch; a bound where extents tell it */
    int32_t
        *output_extents; /* per fetch: 1 + place among the run's extents, 0: the shape is known */
    int64_t
        *extents; /* what each run brings beside its arena: n_extents, the bounds to begin with */
    int32_t n_extents;
    size_t arena_bytes; /* peak of intermediate results and workspaces */
    size_t live_bytes;  /* of those, alive at the fullest step: what no placement could go below */
    int32_t peak_step;  /* that step, -1 without intermediate results */
    int32_t recomputed; /* steps that compute something again */
    size_t copied_bytes;
    tc_arena arena;
} tc_plan;

/**
 * Specializes `program` for `feed_shapes` (one per feed, every dimension known; checked against the
 * feeds' inferred shapes and named dimensions before). `memory_budget` 0: none. Errors:
 * INVALID_ARGUMENT (shapes clash: operator, node, line), UNIMPLEMENTED (no kernel),
 * RESOURCE_EXHAUSTED. On failure `*out` is NULL. Thread-safe.
 */
tc_status tc_plan_create(tc_program *program, const tc_shape *feed_shapes, const tc_target *target,
                         size_t memory_budget, tc_plan **out);
tc_plan *tc_plan_retain(tc_plan *plan);
void tc_plan_release(tc_plan *plan);

/** Prints steps, buffers and peak. */
tc_status tc_plan_print(const tc_plan *plan, tc_dump_format format, FILE *file);

#endif
