/*
 * Cutting a request where shapes depend on elements. A stage computes everything up to the nodes
 * whose operators have bounds; what reads their results belongs to the next one, which is planned
 * once their sizes are known. Each stage is a request of its own on one common graph.
 *
 *   - Values that a later stage needs are fetched by the one that computes them and fed to it. What
 *     is only a constant, a variable or a view of one is read again, and where nothing but a shape
 *     is needed, it is inferred again without anything being computed.
 *   - All writes are in the last stage, so that the updates of a run are applied together; what
 *     reaches outside happens in the order it was built.
 */
#ifndef TC_COMPILER_STAGES_H
#define TC_COMPILER_STAGES_H

#include "compiler/program.h"

/** Where a stage has a feed from: feed `user` of the whole request, or, where that is -1, fetch
 * `fetch` of the earlier stage `stage`. */
typedef struct tc_stage_feed {
    int32_t user;
    int32_t stage;
    int32_t fetch;
} tc_stage_feed;

/** Where a fetch of a stage goes. */
typedef struct tc_stage_fetch {
    int32_t user; /* fetch of the whole request that it is, -1: none */
    bool passed;  /* a later stage is fed with it */
} tc_stage_fetch;

typedef struct tc_stage {
    tc_edge *feeds; /* these as in tc_program_request, of tc_stages.whole->graph */
    tc_edge *fetches;
    int32_t *targets;
    tc_stage_feed *from; /* per feed */
    tc_stage_fetch *to;  /* per fetch; those of the whole request come first, in its order */
    int32_t n_feeds;
    int32_t n_fetches;
    int32_t n_targets;
} tc_stage;

typedef struct tc_stages {
    tc_program *whole; /* the request extracted and with its calls inlined, but not a program to
                          run; owned */
    tc_stage *list;
    int32_t count;
    tc_mode mode; /* resolved, since no stage but the last sees the writes */
} tc_stages;

/** True when a node of `graph` or of its functions has a shape that depends on elements. */
bool tc_graph_is_dynamic(const tc_graph *graph);

/**
 * Cuts the request into stages, whose lists lie in `arena`. `out->count` is 0 when nothing it needs
 * has a shape that depends on elements: it is then compiled as it is. Otherwise free `out->whole`
 * with tc_program_release. Errors: as tc_program_create; UNIMPLEMENTED when such a shape would have
 * to be known after an update of the same run.
 */
tc_status tc_stages_create(const tc_graph *graph, const tc_program_request *request,
                           const tc_target *target, tc_arena *arena, tc_stages *out);

#endif
