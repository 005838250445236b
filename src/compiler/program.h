/*
 * A program: the part of a graph that one set of fetches needs, optimized once with symbolic
 * dimensions. Immutable and shared between threads.
 */
#ifndef TC_COMPILER_PROGRAM_H
#define TC_COMPILER_PROGRAM_H

#include <stdatomic.h>

#include <tensorc/session.h>

#include "core/target.h"
#include "graph/graph.h"

/** What to compile. Edges and nodes are of the source graph. */
typedef struct tc_program_request {
    const tc_edge *feeds;
    const tc_edge *fetches;
    const int32_t *targets; /* nodes */
    int32_t n_feeds;
    int32_t n_fetches;
    int32_t n_targets;
    tc_mode mode;
    bool commit_copies;           /* updates are computed aside, so that they can be looked at */
    tc_optimization optimization; /* these as in tc_session_options */
    tc_dtype precision;
    float loss_scale;
    size_t fold_budget;
    const char *disable_passes;
    void (*dump)(void *context, const char *pass, const char *when, const char *text);
    void *dump_context;
} tc_program_request;

/** What plans do beyond what running takes: TC_PLAN_PASS in passes.def. */
typedef enum tc_plan_pass {
#define TC_PASS(name, level, doc)
#define TC_PLAN_PASS(name, doc) TC_PLAN_PASS_##name,
#include "compiler/passes.def"
#undef TC_PASS
    TC_PLAN_PASS_COUNT
} tc_plan_pass;

typedef struct tc_program {
    atomic_int references;
    tc_graph *graph;  /* optimized, calls inlined, pruned; owned */
    tc_graph *source; /* retained: names, attribute values and annotations of `graph` lie in it */
    tc_edge *feeds;   /* in `graph`; node -1 for a feed that nothing needs */
    tc_edge *fetches; /* in `graph` */
    int32_t *targets; /* nodes of `graph` */
    bool *updated; /* per node of `graph`: a variable that some write of the source graph updates */
    int32_t n_feeds;
    int32_t n_fetches;
    int32_t n_targets;
    bool training;                   /* the mode that was resolved */
    bool writes;                     /* updates variables */
    bool commit_copies;              /* no write runs on the variable itself: commits only copy */
    uint32_t plan_passes;            /* set of 1 << tc_plan_pass */
    const char **devices;            /* names of the target's devices */
    TC_VECTOR(const char *) reasons; /* of placements: see tc_node.reason */
    int32_t fallbacks; /* nodes on the CPU because the device meant for them has no kernel */
    tc_pass_info *reports;
    int32_t n_reports;
    tc_arena arena; /* of the arrays above */
} tc_program;

/**
 * Checks that every placeholder the fetches need is fed (INVALID_ARGUMENT naming it), resolves the
 * mode, runs the passes and places the nodes. On failure `*out` is NULL. Thread-safe.
 */
tc_status tc_program_create(const tc_graph *graph, const tc_program_request *request,
                            const tc_target *target, tc_program **out);
tc_program *tc_program_retain(tc_program *program);
void tc_program_release(tc_program *program);

#endif
