/*
 * Inside of sessions: programs found by what they fetch, plans found by feed shapes, frames taken
 * by runs.
 *
 *   session -> entry (one per feeds, fetches, targets, mode) -> bound plan (one per feed shapes) ->
 * frame (one per run that is under way; kept for the next one)
 */
#ifndef TC_RUNTIME_SESSION_H
#define TC_RUNTIME_SESSION_H

#include <pthread.h>

#include "compiler/plan.h"
#include "runtime/store.h"

/** Memory of one run: the arena and the pointer table of the plan's operands. */
typedef struct tc_frame {
    struct tc_frame *next;
    char *arena;
    void **operands;     /* arena and constant operands are set for good, the others at each run */
    void **feeds;        /* data of each feed */
    void **outputs;      /* data of each output */
    tc_tensor **pinned;  /* feeds retained for the run */
    tc_tensor **created; /* outputs that the caller gave no tensor for; NULL between runs */
    int64_t *extents;    /* of the plan: sizes that kernels tell, bounds before the first run */
    tc_packed *
        *packed; /* per pack of the plan; made when first used and when a variable has changed */
    uint64_t packed_step; /* of the store when `packed` was last looked at: then all of it is new */
    uint64_t packed_fills;
    tc_pack_source *pack_sources; /* room for those of any pack */
    struct tc_segments_frame
        *segments; /* memory and work on devices; NULL: the plan is not mixed */
} tc_frame;

/** An operand that is set at each run: from the feeds, outputs or variables, by `place`. */
typedef struct tc_patch {
    int32_t operand;
    int32_t index;
    tc_place place;
    int32_t device; /* of a variable */
    size_t offset;  /* of the operand in what is there */
} tc_patch;

/** What one variable of a plan is to it. */
typedef struct tc_variable_use {
    uint64_t places;    /* TC_PLACE_BIT of the devices that use it */
    int32_t written_at; /* device; -1: it is not written */
} tc_variable_use;

/** What a plan uses of a device. */
typedef struct tc_device_use {
    bool works;              /* has steps or memory on it; never of the CPU */
    int32_t n_queues;        /* lanes of its widest region */
    tc_variable **variables; /* that have to be there */
    int32_t n_variables;
} tc_device_use;

/** What a segment of a device does beside its steps. */
typedef struct tc_segment_use {
    int32_t first_upload; /* of bound->copies: steps that copy from the CPU */
    int32_t n_uploads;
    int32_t first_download; /* likewise, to the CPU */
    int32_t n_downloads;
    bool begins; /* the first one of its device: the run's state goes first */
    bool faults; /* of its compute part some kernel may find a fault */
} tc_segment_use;

/** A plan with what it needs of the store. Guarded by the entry's lock, but for constant fields. */
typedef struct tc_bound_plan {
    struct tc_bound_plan *next; /* most recently used first */
    tc_plan *plan;
    tc_shape *shapes; /* of the feeds: the key */
    tc_variable **variables;
    tc_variable_use *uses; /* per variable */
    tc_device_use
        *devices; /* per device that the plan may use: of a plan that is not mixed the CPU */
    int32_t n_devices;
    tc_segment_use *segments;
    int32_t *copies;
    tc_placed **placed;  /* per buffer: the constant on its device; NULL: none */
    bool commits_behind; /* commits may be given to the device before it has computed */
    tc_patch *patches;   /* made before every run */
    int32_t n_patches;
    tc_patch *packed_patches; /* made when something is packed */
    int32_t n_packed_patches;
    int32_t users; /* runs under way; an evicted plan goes with its last user */
    bool evicted;
    tc_frame *frames; /* free ones */
    tc_arena arena;
} tc_bound_plan;

typedef struct tc_entry {
    struct tc_entry *next;
    uint64_t hash;
    tc_edge *feeds; /* the key, with targets and mode */
    tc_edge *fetches;
    int32_t *targets;
    tc_value_info *feed_infos;
    int32_t n_feeds;
    int32_t n_fetches;
    int32_t n_targets;
    tc_mode mode;
    const tc_graph *graph; /* that the edges are of */
    tc_program *program;
    struct tc_staged *staged; /* the stages that it runs in; NULL: program is the whole of it */
    bool *kept;               /* of a stage, per fetch: its memory is part of the frame's. NULL: no
                                 stage */
    atomic_int users;         /* callables, and runs under way; without one it may be dropped */
    pthread_mutex_t lock;
    tc_bound_plan *plans;
    int32_t n_plans;
    tc_arena arena;
} tc_entry;

struct tc_session {
    atomic_int references;
    tc_session *next; /* of runtime->sessions */
    tc_graph *source; /* what the user built; retained, compared by address */
    tc_graph *graph;  /* snapshot of it */
    tc_runtime *runtime;
    tc_store *store;
    bool check_numerics;
    char *disable_passes;
    void (*dump)(void *context, const char *pass, const char *when, const char *text);
    void *dump_context;
    tc_optimization optimization;
    tc_dtype precision;
    float loss_scale;
    size_t fold_budget;
    size_t memory_budget;
    int32_t plan_cache;
    int32_t program_cache;
    tc_runtime_target view; /* of the runtime, with the threads that runs may use */
    tc_pool *pool;          /* those threads: the runtime's, or a view of it */
    pthread_mutex_t lock;   /* guards entries */
    tc_entry *entries;
    struct {
        _Atomic uint64_t runs, commits, programs, plans, evictions, packed_bytes, copied_bytes,
            fallbacks, transferred_bytes, recordings, replays;
    } counters;
};

/** The tensors of a run, one per feed: beside their values, or in a row when `feeds` is NULL. */
typedef struct tc_inputs {
    const tc_feed *feeds;
    tc_tensor *const *tensors;
} tc_inputs;

static inline tc_tensor *tc_input_tensor(const tc_inputs *inputs, int32_t i)
{
    if (inputs->feeds)
        return inputs->feeds[i].tensor;
    return inputs->tensors ? inputs->tensors[i] : NULL;
}

struct tc_callable {
    atomic_int references;
    tc_session *session;
    tc_entry *entry;
};

/* entry.c */

/** The entry for a request by values, compiled now when it is new; others may be dropped for it.
 * All values are checked against the session. Give it back by tc_entry_leave; `held`: not soon. */
tc_status tc_entry_find(tc_session *session, const tc_feed *feeds, const tc_value *feed_values,
                        size_t n_feeds, const tc_value *fetches, size_t n_fetches,
                        const tc_value *targets, size_t n_targets, tc_mode mode, bool held,
                        tc_entry **out);
/** Ends the use that tc_entry_find began. */
void tc_entry_leave(tc_entry *entry);
void tc_entry_free(tc_session *session, tc_entry *entry);

/* bind.c */

/** The plan of `entry` for these feed shapes, made now when there is none, and a frame. Give both
 * back by tc_plan_leave; `frame` NULL takes none. */
tc_status tc_plan_enter(tc_session *session, tc_entry *entry, const tc_shape *shapes,
                        tc_bound_plan **bound, tc_frame **frame);
/** As above with the shapes of tensors, which are not NULL. */
tc_status tc_plan_enter_tensors(tc_session *session, tc_entry *entry, const tc_inputs *inputs,
                                tc_bound_plan **bound, tc_frame **frame);
void tc_plan_leave(tc_session *session, tc_entry *entry, tc_bound_plan *bound, tc_frame *frame);
void tc_bound_plan_free(tc_session *session, tc_bound_plan *bound);
/** Whether a tensor of `shape` fits what was declared of feed `feed`. Every feed is asked, also one
 * that nothing needs; names are the planner's to compare. */
tc_status tc_entry_check_shape(const tc_entry *entry, int32_t feed, const tc_shape *shape);
/* packed.c */

/** Makes the packed weights and invariants of `frame` that it lacks or whose variables have
 * changed. The store is locked for reading, or its writer mutex held. */
tc_status tc_frame_pack(tc_session *session, const tc_bound_plan *bound, tc_frame *frame);

/* segments_frame.c */

/** What `bound`, whose plan is mixed, uses of devices; copies its constants there. */
tc_status tc_bind_segments(tc_session *session, tc_bound_plan *bound);
void tc_unbind_segments(tc_session *session, tc_bound_plan *bound);
/** Memory and queues on devices for a new frame: RESOURCE_EXHAUSTED names what is needed. */
tc_status tc_segments_frame_create(tc_session *session, const tc_bound_plan *bound,
                                   tc_frame *frame);
void tc_segments_frame_free(const tc_bound_plan *bound, tc_frame *frame);
/** Frees the frames that no run uses and that have memory on devices, of all programs of `session`
 * and of the other sessions of its runtime; false when there was none. */
bool tc_session_trim(tc_session *session);

/* initialize.c */

/** Declares every variable of the graph in the store. */
tc_status tc_session_declare_variables(tc_session *session);

/** Gives content to those of `count` variables that have none, from the graph's initial values. */
tc_status tc_session_fill_variables(tc_session *session, tc_variable *const *variables,
                                    int32_t count);

/* run.c */

/** What may end a run early, and what looks at it: the options of a run as they are used. */
typedef struct tc_run_limits {
    const tc_cancellation *cancellation; /* or NULL */
    tc_profile *profile;                 /* or NULL */
    int64_t deadline_ns;                 /* a time of tc_clock_ns; 0: none */
} tc_run_limits;

/** Reads `options`, which may be NULL; the timeout counts from now. */
tc_status tc_run_limits_read(const tc_run_options *options, tc_run_limits *limits);
/** What is wrong with a run before anything runs, but for shapes. */
tc_status tc_entry_check(const tc_session *session, const tc_entry *entry, const tc_inputs *inputs,
                         tc_tensor *const *outputs);
/** Runs the plan of `entry` for `inputs` (one per feed). */
tc_status tc_entry_run(tc_session *session, tc_entry *entry, const tc_inputs *inputs,
                       tc_tensor **outputs, const tc_run_limits *limits);
/** Runs with step 0, whatever the store's step is, and new outputs: for initial values. */
tc_status tc_entry_run_initial(tc_session *session, tc_entry *entry, tc_tensor **outputs);

#endif
