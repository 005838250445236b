/*
 * Running graphs: runtime (devices, threads) -> store (variables) -> session (programs and plans of
 * one graph).
 *
 * Every object is reference-counted. NULL for a runtime or store means a default: one runtime per
 * process that is made when first needed and lives as long as somebody uses it; a store of its own
 * for each session.
 *
 * State: within a run every read of a variable sees its content from before the run, unless it
 * reads the output of an update. Writes to one variable happen in the order they were built. All
 * updates of a run are applied, or, when it fails, is cancelled or misses its deadline, none. Runs
 * that only read share the store; runs that write exclude each other.
 */
#ifndef TENSORC_SESSION_H
#define TENSORC_SESSION_H

#include <tensorc/device.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_store tc_store;
typedef struct tc_session tc_session;
typedef struct tc_callable tc_callable;
typedef struct tc_cancellation tc_cancellation;
typedef struct tc_profile tc_profile;
typedef struct tc_completion tc_completion;

/*
 * Runtime
 */
typedef struct tc_runtime_options {
    size_t struct_size;
    int32_t threads; /**< of the CPU pool; 0: TENSORC_THREADS when set, else one per usable core */
    tc_registry *registry; /**< operators and kernels; NULL: the library's. Retained. */
    const char *cpu_isa;   /**< "scalar", "avx2", "avx512", "neon"; NULL: TENSORC_CPU_ISA when set,
                              else the best */
    /** Cores for the threads, as "0-3,8": worker i is bound to the i-th of them, over again when
     * there are fewer. The first, number 0, is left to the caller. Unless `threads` says otherwise,
     * there is one thread per core of the list. NULL: wherever the system puts them. */
    const char *affinity;
} tc_runtime_options;

/**
 * Creates a runtime with its threads; `options` may be NULL. Errors: INVALID_ARGUMENT, UNAVAILABLE
 * (instruction set, a core that this process may not use), RESOURCE_EXHAUSTED. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_runtime_create(const tc_runtime_options *options, tc_runtime **out);
TC_API tc_runtime *tc_runtime_retain(tc_runtime *runtime);
/** The last release joins the threads. */
TC_API void tc_runtime_release(tc_runtime *runtime);
TC_API int32_t tc_runtime_threads(const tc_runtime *runtime);

/*
 * Store
 */
/** An empty store of `runtime` (NULL: the default one). The caller owns one reference. */
TC_MUST_USE TC_API tc_status tc_store_create(tc_runtime *runtime, tc_store **out);
TC_API tc_store *tc_store_retain(tc_store *store);
TC_API void tc_store_release(tc_store *store);
/** Committed runs so far: the step that random numbers are keyed by. Thread-safe. */
TC_API uint64_t tc_store_step(tc_store *store);

/** One variable of a store, borrowed during a visit. */
typedef struct tc_variable_info {
    const char *name;
    tc_dtype dtype;
    tc_shape shape;
    tc_tensor *tensor; /**< NULL while the variable has not been initialized */
} tc_variable_info;

/**
 * Calls `visitor` for each variable in the order they were declared, while no run may commit, and
 * writes the step. Stops at the first status that is not TC_OK and returns it. The visitor must not
 * run sessions of this store nor call any function of it: one that waits for a commit, which waits
 * for the visit, would wait for ever.
 */
TC_MUST_USE TC_API tc_status tc_store_visit(tc_store *store,
                                            tc_status (*visitor)(void *context,
                                                                 const tc_variable_info *variable),
                                            void *context, uint64_t *step);

/**
 * Replaces the contents of `count` variables and, when `step` is not NULL, the step, all at once;
 * tensors are copied. A name that no session has declared yet is kept for the first session that
 * does. Errors: INVALID_ARGUMENT naming the variable whose dtype or shape differs (then nothing
 * changed). Thread-safe; waits for runs.
 */
TC_MUST_USE TC_API tc_status tc_store_restore(tc_store *store, const char *const *names,
                                              tc_tensor *const *tensors, size_t count,
                                              const uint64_t *step);

/** Copies the content of a variable into a new tensor owned by the caller. Errors: NOT_FOUND,
 * FAILED_PRECONDITION. */
TC_MUST_USE TC_API tc_status tc_store_read(tc_store *store, const char *name, tc_tensor **out);

/*
 * Session
 */
/** How much the compiler does. */
typedef enum tc_optimization {
    TC_OPTIMIZATION_DEFAULT = 0, /**< full */
    TC_OPTIMIZATION_NONE = 1,    /**< what running takes: nodes run as they were built */
    TC_OPTIMIZATION_BASIC = 2,   /**< what gives the same bits and keeps nodes apart: folding,
                                    simplification, common subexpressions */
    TC_OPTIMIZATION_FULL = 3     /**< also what fuses, lays out and reorders */
} tc_optimization;

typedef struct tc_session_options {
    size_t struct_size;
    tc_runtime *runtime; /**< NULL: that of `store`, else the default one. Retained. */
    tc_store *store;     /**< NULL: a new one. Retained. Variables of equal names are shared. */
    /** Names the first node that produces NaN or Inf: the run fails with INTERNAL and commits
     * nothing. Slow. */
    bool check_numerics;
    const char *disable_passes; /**< comma-separated compiler passes to leave out, "all" for every
                                   optional one */
    /** Called with the graph's text before and after each pass, while the session is locked: it
     * must not run it. NULL: not. */
    void (*dump)(void *context, const char *pass, const char *when, const char *text);
    void *dump_context;
    /** Bytes a plan may take for intermediate results; 0: no limit. A plan that would need more
     * computes some of them twice; where that does not help, it is refused. */
    size_t memory_budget;
    int32_t plan_cache;    /**< plans kept per program; 0: 16 */
    int32_t program_cache; /**< programs kept of those no callable holds; 0: 64. Least recently used
                              ones go first */
    tc_optimization optimization;
    tc_dtype precision; /**< TC_BF16 or TC_F16: f32 intermediate results of operators that stand it
                           are stored so and accumulated in f32, in training with f32 variables. The
                           table of operators is in docs/compiler.md. TC_DTYPE_INVALID: as built */
    size_t fold_budget; /**< bytes that folded constants may take; 0: 64 MiB */
    int32_t threads;    /**< that a run may use, of the runtime's; 0: all */
    /** Where nodes run that name no device themselves: a name of tc_device_list, or "auto" for
     * wherever the compiler expects the run to be shortest. What the device has no kernel for runs
     * on the CPU. NULL: "cpu". */
    const char *device;
    bool allow_tf32;      /**< products of f32 on a GPU may round their operands to 11 bits */
    bool allow_any_order; /**< kernels may add in an order that differs from run to run, where that
                             is faster */
    /** With precision TC_F16, training computes the gradients of f32 losses multiplied by this
     * (powers of two round nothing), so that small ones do not become 0, and divides them by it
     * before they are used; a run in which one is not finite writes no variable. 0: a scale that
     * adapts, which the store keeps as "loss_scale/scale": it begins with 2^16, halves after such a
     * run and doubles after 2000 others, between 1 and 2^24. */
    float loss_scale;
} tc_session_options;

/**
 * Creates a session on a snapshot of `graph`; nodes built later are not part of it. Compile errors
 * surface here or at the first run of a fetch set. On failure `*out` is NULL. Thread-safe as long
 * as nobody builds the graph.
 */
TC_MUST_USE TC_API tc_status tc_session_create(tc_graph *graph, const tc_session_options *options,
                                               tc_session **out);
TC_API tc_session *tc_session_retain(tc_session *session);
TC_API void tc_session_release(tc_session *session);
/** Borrowed from the session. */
TC_API tc_store *tc_session_store(tc_session *session);
/** The graph the session was created from, borrowed. */
TC_API tc_graph *tc_session_graph(tc_session *session);

/** Initializes the variables that have no content yet. Runs do this by themselves for those they
 * use. Thread-safe. */
TC_MUST_USE TC_API tc_status tc_session_initialize(tc_session *session);

/** A tensor for a value, retained until the run completes. Any value may be fed but a variable. */
typedef struct tc_feed {
    tc_value value;
    tc_tensor *tensor;
} tc_feed;

typedef struct tc_run_options {
    size_t struct_size;
    tc_mode mode; /**< ignored by callables, which fix it when compiled */
    /** From the call; 0: none. DEADLINE_EXCEEDED between two kernels, and when other runs or visits
     * of the store are waited for any longer. */
    int64_t timeout_us;
    tc_cancellation *cancellation; /**< CANCELLED likewise, but not by a run that only waits to
                                      apply its updates; NULL: none */
    tc_profile *profile;           /**< receives the times of this run's nodes; NULL: off */
} tc_run_options;

/**
 * Runs what `fetches` and `targets` need. outputs[i] receives fetch i: where it is NULL a new
 * tensor that the caller owns is stored, else the given tensor is written to, whose dtype and shape
 * must fit. On failure new outputs stay NULL and given ones are undefined. `outputs` may be NULL
 * when there is no fetch; `options` may be NULL. Errors: INVALID_ARGUMENT (feeds, fetches),
 * FAILED_PRECONDITION, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, whatever a kernel reports.
 * Thread-safe. With given outputs and shapes seen before it does not allocate. The session keeps
 * the programs of the requests (feeds, fetches, targets and mode) that were used last: see
 * program_cache. Where shapes depend on elements (ops/dynamic.h) the run has several stages, each
 * planned when its sizes are known; updates are applied at the end of the last one.
 */
TC_MUST_USE TC_API tc_status tc_session_run(tc_session *session, const tc_feed *feeds,
                                            size_t n_feeds, const tc_value *fetches,
                                            size_t n_fetches, const tc_value *targets,
                                            size_t n_targets, tc_tensor **outputs,
                                            const tc_run_options *options);

typedef struct tc_callable_options {
    size_t struct_size;
    tc_mode mode;
} tc_callable_options;

/** Fixes feeds, fetches and targets for many runs. The callable retains the session. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_session_compile(tc_session *session, const tc_value *feeds,
                                                size_t n_feeds, const tc_value *fetches,
                                                size_t n_fetches, const tc_value *targets,
                                                size_t n_targets,
                                                const tc_callable_options *options,
                                                tc_callable **out);
/** Runs with one tensor per feed; as tc_session_run otherwise. */
TC_MUST_USE TC_API tc_status tc_callable_run(tc_callable *callable, tc_tensor *const *inputs,
                                             tc_tensor **outputs, const tc_run_options *options);
TC_API tc_callable *tc_callable_retain(tc_callable *callable);
TC_API void tc_callable_release(tc_callable *callable);

/*
 * Asynchronous runs: as tc_callable_run, on a thread of the runtime, in the order they were
 * started per runtime.
 */
/** Called once when the run is over, on the runtime's thread; `message` is borrowed, "" for TC_OK.
 * It must not block for long nor wait for another asynchronous run. */
typedef void (*tc_completion_function)(void *context, tc_status status, const char *message);

/**
 * Starts a run and returns at once. Inputs are retained and options copied; `outputs` (the array)
 * must stay valid until the run is over, and so must cancellation and profile. `done` may be NULL.
 * `out` may be NULL when nobody waits; else the caller owns the completion. Errors: those that are
 * seen before anything runs (then `done` is not called), RESOURCE_EXHAUSTED. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_callable_start(tc_callable *callable, tc_tensor *const *inputs,
                                               tc_tensor **outputs, const tc_run_options *options,
                                               tc_completion_function done, void *context,
                                               tc_completion **out);
/**
 * Waits until the run is over and returns its status, whose message becomes that of this thread.
 * `timeout_us` 0: for ever; DEADLINE_EXCEEDED when the wait, not the run, took longer. Thread-safe.
 */
TC_MUST_USE TC_API tc_status tc_completion_wait(tc_completion *completion, int64_t timeout_us);
/** True once the run is over. Thread-safe. */
TC_API bool tc_completion_is_done(const tc_completion *completion);
/** Does not wait: the run goes on. NULL is allowed. */
TC_API void tc_completion_release(tc_completion *completion);

/** What a plan costs, known before anything runs. */
typedef struct tc_plan_info {
    size_t peak_bytes;     /**< memory of intermediate results of one run: the arena */
    size_t constant_bytes; /**< of constants the plan reads */
    size_t variable_bytes; /**< of variables it uses */
    size_t copied_bytes;   /**< copied per run where in place was impossible */
    int32_t kernels;       /**< kernel calls per run */
    int32_t commits;       /**< of which update state */
    size_t live_bytes;     /**< of peak_bytes, alive at the fullest step: no placement needs less */
    int32_t recomputed;    /**< kernel calls that compute something again to save memory */
    int32_t branches;      /**< runs of kernels that go on beside each other */
    /* Beside the CPU, of which the above is. */
    size_t device_bytes;      /**< memory of intermediate results of one run on all other devices */
    int32_t transfers;        /**< copies between devices per run */
    size_t transferred_bytes; /**< of those */
} tc_plan_info;

/**
 * Makes the plan for these feed shapes (all known) ahead of a run and tells what it costs; `info`
 * may be NULL. Errors: as the first run with such feeds, RESOURCE_EXHAUSTED when it exceeds the
 * memory budget.
 */
TC_MUST_USE TC_API tc_status tc_callable_plan(tc_callable *callable, const tc_shape *feed_shapes,
                                              tc_plan_info *info);
typedef enum tc_dump_format {
    TC_DUMP_TEXT = 0,
    TC_DUMP_DOT = 1, /**< for Graphviz */
    TC_DUMP_JSON = 2
} tc_dump_format;

/** Writes the plan for these feed shapes: kernels in order and what was fused into them, buffers
 * with offsets, peak. Errors: as tc_callable_plan, UNAVAILABLE when `file` cannot be written. */
TC_MUST_USE TC_API tc_status tc_plan_dump(tc_callable *callable, const tc_shape *feed_shapes,
                                          tc_dump_format format, FILE *file);

/** What one compiler pass did to a program. */
typedef struct tc_pass_info {
    const char *pass; /**< static */
    int32_t nodes_before;
    int32_t nodes_after;
    double milliseconds;
} tc_pass_info;

/** Writes up to `capacity` of the callable's passes in the order they ran, and their number into
 * `*count`. Thread-safe. */
TC_MUST_USE TC_API tc_status tc_callable_passes(tc_callable *callable, tc_pass_info *passes,
                                                size_t capacity, size_t *count);

/** Where a node of a program runs, and why. Borrowed from the callable. */
typedef struct tc_placement {
    const char *node;
    const char *op;
    const char *device;
    const char *reason; /**< "asked for", "default", "with 'w'", "no kernel on cuda:0" ... */
} tc_placement;

/** Writes up to `capacity` placements of the callable's program, in the order of its nodes, and
 * their number into `*count`. Of a program in stages: those of the first. Thread-safe. */
TC_MUST_USE TC_API tc_status tc_callable_placements(tc_callable *callable, tc_placement *placements,
                                                    size_t capacity, size_t *count);

typedef struct tc_session_counters {
    uint64_t runs;         /**< completed */
    uint64_t commits;      /**< of which updated state */
    uint64_t programs;     /**< compiled */
    uint64_t plans;        /**< made */
    uint64_t evictions;    /**< plans dropped from a full cache */
    uint64_t packed_bytes; /**< written into packed weights */
    uint64_t copied_bytes; /**< copied by runs where in place was impossible */
    uint64_t fallbacks;    /**< kernels of plans that are not for the best instruction set or device
                              asked for */
    uint64_t transferred_bytes; /**< copied by runs between devices */
    uint64_t recordings;        /**< of work for a device, made when it first ran */
    uint64_t replays;           /**< runs of recordings */
} tc_session_counters;
TC_API void tc_session_count(tc_session *session, tc_session_counters *counters);

/*
 * Cancellation: one flag that any thread may set.
 */
TC_MUST_USE TC_API tc_status tc_cancellation_create(tc_cancellation **out);
/** Cancels running and future runs that were given it. Thread-safe, async-signal-safe. */
TC_API void tc_cancellation_cancel(tc_cancellation *cancellation);
TC_API void tc_cancellation_reset(tc_cancellation *cancellation);
TC_API void tc_cancellation_destroy(tc_cancellation *cancellation);

/*
 * Profiling: wall time per node, summed over the runs it was given to. One run at a time.
 */
TC_MUST_USE TC_API tc_status tc_profile_create(tc_profile **out);
TC_API void tc_profile_destroy(tc_profile *profile);
/** Table sorted by total time: node, operator, kernel, calls, total and mean µs, share, GFLOP/s,
 * GB/s. */
TC_MUST_USE TC_API tc_status tc_profile_print(const tc_profile *profile, FILE *file);
/** The same rows as JSON: {"nodes": [{"node", "operator", "kernel", "calls", "total_us", "mean_us",
 * "flops", "bytes"}]}. */
TC_MUST_USE TC_API tc_status tc_profile_write_json(const tc_profile *profile, const char *path);
/** Chrome trace event JSON of the last run. */
TC_MUST_USE TC_API tc_status tc_profile_write_trace(const tc_profile *profile, const char *path);

#ifndef __cplusplus
/* Arrays and their counts: two arguments. */
#define TC_FEEDS(...) \
    (const tc_feed[]){__VA_ARGS__}, sizeof((const tc_feed[]){__VA_ARGS__}) / sizeof(tc_feed)
#define TC_FETCHES(...) \
    (const tc_value[]){__VA_ARGS__}, sizeof((const tc_value[]){__VA_ARGS__}) / sizeof(tc_value)
#define TC_TARGETS(...) TC_FETCHES(__VA_ARGS__)
#endif
#define TC_NO_FEEDS   NULL, 0
#define TC_NO_FETCHES NULL, 0
#define TC_NO_TARGETS NULL, 0

#ifdef __cplusplus
}
#endif

#endif
