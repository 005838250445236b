/*
 * The graph as the rest of the library sees it: an append-only array of nodes in an arena. Edges
 * always point to earlier nodes, so index order is a topological order.
 */
#ifndef TC_GRAPH_GRAPH_H
#define TC_GRAPH_GRAPH_H

#include <stdatomic.h>

#include <tensorc/extend.h>
#include <tensorc/graph.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/map.h"
#include "base/status.h"
#include "core/infer.h"

/** Output `output` of node `node`; node -1 is an optional input that is not given. */
typedef struct tc_edge {
    int32_t node;
    int32_t output;
} tc_edge;

typedef struct tc_note {
    const char *key;
    const char *text;
    struct tc_note *next;
} tc_note;

/* Annotations by which differentiation tells the compiler what it built: of its seeds and of the
 * nodes of its results, in that order, with the same text for those of one call. */
#define TC_NOTE_SEED   "gradient_seed"
#define TC_NOTE_RESULT "gradient_result"
/* "f32": a pass that lowers the precision leaves the node alone. */
#define TC_NOTE_PRECISION "precision"

typedef struct tc_node {
    tc_attrs attrs; /* attrs.op is the operator; values are owned by the graph's arena (tensors are
                       retained) */
    const char *name; /* full path, unique in its graph */
    tc_edge *inputs;
    int32_t *controls; /* nodes that must have run before */
    tc_value_info *outputs;
    tc_note *notes;
    tc_location at;
    int32_t n_inputs;
    int32_t n_controls;
    int32_t n_outputs;
    int32_t index;
    /* In programs. */
    int32_t device; /* index of the target's devices; -1 until the pass place has been */
    int32_t reason; /* why there: index of tc_program.reasons */
} tc_node;

/** A value of the enclosing graph that a function body uses: becomes a parameter of the body and an
 * input of calls. */
typedef struct tc_capture {
    tc_edge outer;     /* in the parent */
    int32_t parameter; /* node of the body */
} tc_capture;

struct tc_graph {
    atomic_int references;
    tc_registry *registry; /* retained; NULL: the library's */
    tc_arena arena;
    TC_VECTOR(tc_node *) nodes;
    tc_map names;   /* path -> node index */
    tc_map counts;  /* base path -> next suffix to try */
    tc_map symbols; /* interned strings: dimension names, file names -> pointer */
    uint64_t seed;
    TC_VECTOR(tc_tensor *) tensors; /* retained by attributes */

    /* Scopes of the builder. */
    TC_VECTOR(const char *) scopes;
    TC_VECTOR(int32_t) controls;       /* pending control dependencies, all levels */
    TC_VECTOR(int32_t) control_levels; /* how many each push added */
    TC_VECTOR(const char *) devices;

    /* First error of building. */
    tc_status status;
    char *message; /* TC_ERROR_MESSAGE_SIZE bytes, there from the beginning: failing must not need
                      memory */

    /* Functions. */
    TC_VECTOR(tc_graph *) functions; /* owned */
    tc_graph *parent;                /* of a function body; borrowed */
    const tc_graph
        *origin; /* of a part cut out for a run: the whole, which outlives it; else NULL */
    const char *function_name;
    TC_VECTOR(int32_t) parameters; /* nodes, in order; captured ones come last */
    TC_VECTOR(tc_edge) results;
    TC_VECTOR(tc_capture) captures;
    bool closed; /* a finished function takes no more nodes */
};

static inline const tc_node *tc_graph_node_at(const tc_graph *graph, int32_t index)
{
    return graph->nodes.data[index];
}

static inline const tc_value_info *tc_edge_info(const tc_graph *graph, tc_edge edge)
{
    return &graph->nodes.data[edge.node]->outputs[edge.output];
}

static inline tc_value tc_edge_value(const tc_graph *graph, tc_edge edge)
{
    tc_value value = {(tc_graph *)graph, edge.node, edge.output};
    return value;
}

/** True when node `node` applies the operator called `op`. */
bool tc_node_is(const tc_node *node, const char *op);

/** The string stored once per graph; NULL when memory is exhausted (then the graph fails). */
const char *tc_graph_intern(tc_graph *graph, const char *text);

/**
 * The random stream of a node of a function body once the call is inlined. Calls nest from the
 * outermost inwards: a nested call's own stream is replaced by tc_stream_within(outer, its own)
 * before its body is put in its place. The gradient of a call runs in the stream of the call, so
 * both draw the same numbers.
 */
static inline int64_t tc_stream_within(int64_t call, int64_t inner)
{
    return (int64_t)tc_hash_combine((uint64_t)call, (uint64_t)inner);
}

/** Body of function `name` of `graph` (or of its parent), NULL when there is none. */
tc_graph *tc_graph_find_function(const tc_graph *graph, const char *name);

/**
 * A node with everything given, for loading, cloning and passes: `name` is the full path (made
 * unique when taken), scopes do not apply. Returns the node or NULL, the error sticking to the
 * graph. `attrs` are by name, as in tc_node_spec; `controls` may be NULL. Of a function body the
 * caller fills parameters, captures and results itself.
 */
tc_node *tc_graph_append(tc_graph *graph, const tc_node_spec *spec, const int32_t *controls,
                         size_t n_controls);

/** Copies `graph` with all functions and annotations; node indexes stay. Tensors are shared. NULL:
 * memory (status set). */
tc_graph *tc_graph_clone(const tc_graph *graph);

/**
 * The infos of a node's outputs from those of its inputs, in `arena`: tc_infer_run, or for a call
 * the inference of the function's body with these inputs. `message` as for tc_infer_run.
 */
tc_status tc_graph_infer(const tc_graph *graph, const tc_attrs *attrs, const tc_value_info *inputs,
                         int32_t n_inputs, tc_arena *arena, tc_value_info **outputs,
                         int32_t *n_outputs, char message[TC_INFER_MESSAGE_SIZE]);

/** tc_call_at drawing the random numbers of another call: `stream` is its attribute, 0 one of its
 * own. */
tc_value tc_call_in_stream(tc_location at, tc_graph *graph, const char *function,
                           const tc_value *inputs, size_t count, const tc_call_options *options,
                           int64_t stream);

/** The attribute naming the function that a call-like operator runs, NULL for other operators. */
const tc_attr *tc_node_function(const tc_attrs *attrs);

/** "op 'name' (file:line, called from file:line)" of a node, for messages. */
const char *tc_node_describe(const tc_node *node, char *buffer, size_t size);

#endif
