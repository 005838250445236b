/* Graphs as messages. */
#ifndef TC_SERIALIZE_GRAPH_FILE_H
#define TC_SERIALIZE_GRAPH_FILE_H

#include "graph/graph.h"
#include "serialize/records.h"

/*
 * Limits of a file, so that a small one cannot keep its reader busy for ever. Inferring a call
 * infers the body, and so on.
 */
#define TC_FILE_MAX_FUNCTIONS 16384
/** Calls within functions, and functions within functions. */
#define TC_FILE_MAX_DEPTH 64
/** Nodes of the graph with all calls put in place. */
#define TC_FILE_MAX_INFERRED ((uint64_t)1 << 24)

/** A part of a graph. The nodes that kept ones refer to are kept themselves. */
typedef struct tc_graph_selection {
    const bool *nodes;       /* per node of the graph */
    const tc_map *functions; /* keys are addresses of bodies (tc_selection_key) */
    bool no_initial;         /* variables lose their initial values */
} tc_graph_selection;

static inline bool tc_selection_has_function(const tc_graph_selection *selection,
                                             const tc_graph *body)
{
    return tc_map_find(selection->functions, &body, sizeof body) != NULL;
}

/** Writes the constants and the graph; `selection` NULL: all of it. */
TC_MUST_USE tc_status tc_graph_put(tc_records_writer *writer, const tc_graph *graph,
                                   const tc_graph_selection *selection);

/** A shape as a message in `arena`; NULL: memory. `failed` is set when a name is not UTF-8. */
Tensorc__Shape *tc_shape_to_message(const tc_shape *shape, tc_arena *arena);

/** What a message says, with names borrowed from it; false when it is no shape. */
bool tc_shape_from_message(const Tensorc__Shape *message, tc_shape *shape);

/**
 * Builds the graph of `record` on the `constants` that its attributes refer to. Errors: DATA_LOSS,
 * UNIMPLEMENTED (operators, attributes), RESOURCE_EXHAUSTED.
 */
TC_MUST_USE tc_status tc_graph_get(const tc_records *records, const tc_record *record,
                                   tc_tensor *const *constants, size_t n_constants,
                                   tc_registry *registry, tc_graph **out);

/** What a graph or saved model file has: constants, then one graph. */
typedef struct tc_graph_parts {
    TC_VECTOR(tc_tensor *) constants;
    TC_VECTOR(tc_stored_tensor) variables;
    TC_VECTOR(tc_record) signatures;
    tc_record graph;
    tc_arena arena;
} tc_graph_parts;

TC_MUST_USE tc_status tc_graph_parts_read(const tc_records *records, tc_graph_parts *parts);
void tc_graph_parts_free(tc_graph_parts *parts);

#endif
