/* Reading option structs that may come from callers built against an older header. */
#ifndef TC_NN_OPTIONS_H
#define TC_NN_OPTIONS_H

#include <stddef.h>
#include <string.h>

#include <tensorc/graph.h>

/** Declares `local`: what the caller's struct holds, zeros for the rest and for a NULL `options`.
 */
#define TC_OPTIONS(type, local, options) \
    type local;                          \
    tc_options_read(&local, sizeof local, (options), (options) ? (options)->struct_size : 0)

static inline void tc_options_read(void *to, size_t size, const void *from, size_t from_size)
{
    memset(to, 0, size);
    if (from_size > 0)
        memcpy(to, from, from_size < size ? from_size : size);
}

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
