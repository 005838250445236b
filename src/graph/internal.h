/* What the files of this folder share. */
#ifndef TC_GRAPH_INTERNAL_H
#define TC_GRAPH_INTERNAL_H

#include "base/text.h"
#include "graph/graph.h"

/* Room for a place: "file:line (called from file:line)". */
#define TC_PLACE_SIZE 512

/** "; built at file:line (called from file:line)", "" where nothing is known. */
const char *tc_place_text(tc_location at, char buffer[TC_PLACE_SIZE]);

/**
 * Makes an error stick to `graph` and to those it is a function of, unless they have one: "<op>
 * '<path>': <why>; built at ...". `op` and `path` may be NULL. Returns an invalid value of the
 * graph.
 */
tc_value tc_graph_fail_node(tc_graph *graph, tc_location at, tc_status status, const char *op,
                            const char *path, const char *format, ...) TC_PRINTF(6, 7);
tc_value tc_graph_fail_memory(tc_graph *graph, tc_location at);

static inline tc_value tc_invalid_value(const tc_graph *graph)
{
    tc_value invalid = {(tc_graph *)graph, -1, 0};
    return invalid;
}

static inline bool tc_graph_failed(const tc_graph *graph)
{
    return graph->status != TC_OK;
}

/** Node of a valid value, NULL of an invalid one. */
const tc_node *tc_value_node(tc_value value);

/** True when `graph` is `ancestor` or a function inside of it. */
bool tc_graph_is_within(const tc_graph *graph, const tc_graph *ancestor);

/** The edge in `graph` for a value of one of the graphs around it, capturing it where needed; node
 * -1: failed. */
tc_edge tc_graph_capture(tc_graph *graph, tc_location at, tc_value value);

/** NULL when `name` may be a name or part of a path, otherwise what is wrong with it. */
const char *tc_name_problem(const char *name);

/** A copy of the shape with interned names; false when memory is exhausted. */
bool tc_graph_intern_shape(tc_graph *graph, tc_shape *shape);
/** A location whose file names belong to the graph. */
bool tc_graph_intern_location(tc_graph *graph, tc_location *at);

/* Attributes. */
const char *tc_attr_type_name(tc_attr_type type);
/** Copies what `attr` points at into the graph; tensors are retained. False when memory is
 * exhausted. */
bool tc_attr_copy(tc_graph *graph, tc_attr *attr);
void tc_attr_write(const tc_attr *attr, tc_text *text);

#endif
