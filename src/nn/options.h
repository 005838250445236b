/* Names in options. */
#ifndef TC_NN_OPTIONS_H
#define TC_NN_OPTIONS_H

#include <stddef.h>
#include <string.h>

#include <tensorc/graph.h>

/** The name a caller chose, or the usual one. */
static inline const char *tc_name_or(const char *name, const char *usual)
{
    return name ? name : usual;
}

/** Opens the scope a caller chose, or a new one of the usual name. */
static inline void tc_scope_open(tc_graph *graph, const char *name, const char *usual)
{
    if (name)
        tc_scope_push(graph, name);
    else
        tc_scope_push_new(graph, usual);
}

#endif
