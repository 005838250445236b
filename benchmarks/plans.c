/* Compiling programs, and specializing them for new shapes. */
#include <stdio.h>
#include <stdlib.h>

#include "bound.h"

/* About `nodes` nodes of a deep network without matrices: what counts is their number. */
static tc_value build_graph(tc_graph *graph, tc_value x, int64_t nodes)
{
    tc_value y = x;
    for (int64_t i = 0; i < nodes / 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "scale_%d", (int)i);
        tc_value scale = tc_variable(graph, name, tc_fill(graph, TC_F32, TC_SHAPE(16), 0.5));
        y = tc_add(tc_tanh(tc_mul(y, scale)), x);
    }
    return y;
}

typedef struct compile_state {
    tc_graph *graph;
    tc_value x, y;
    tc_session_options options;
} compile_state;

static tc_status create_compile(const workload *w, const tc_session_options *options, void **state)
{
    compile_state *c = calloc(1, sizeof *c);
    *state = c;
    if (!c)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    c->options = *options;
    c->graph = tc_graph_create();
    c->x = tc_placeholder(c->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 16));
    c->y = build_graph(c->graph, c->x, *(const int64_t *)w->detail);
    return tc_graph_status(c->graph);
}

static tc_status run_compile(void *state)
{
    const compile_state *c = state;
    tc_session *session;
    tc_callable *callable = NULL;
    TC_TRY(tc_session_create(c->graph, &c->options, &session));
    tc_status status = tc_session_compile(session, TC_FETCHES(c->x), TC_FETCHES(c->y),
                                          TC_NO_TARGETS, NULL, &callable);
    tc_callable_release(callable);
    tc_session_release(session);
    return status;
}

static void destroy_compile(void *state)
{
    compile_state *c = state;
    tc_graph_release(c->graph);
    free(c);
}

typedef struct specialize_state {
    bound b;
    int64_t batch;
} specialize_state;

static tc_status create_specialize(const workload *w, const tc_session_options *options,
                                   void **state)
{
    bound *b = bound_create();
    specialize_state *s = b ? realloc(b, sizeof *s) : NULL;
    *state = s;
    if (!s)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    s->batch = 0;
    tc_session_options with = *options;
    with.plan_cache = 1;
    tc_value x = tc_placeholder(s->b.graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 16));
    tc_value y = build_graph(s->b.graph, x, *(const int64_t *)w->detail);
    TC_TRY(bound_compile(&s->b, &with, TC_FETCHES(x), y, TC_NO_VALUE));
    return tc_session_initialize(s->b.session);
}

static tc_status run_specialize(void *state)
{
    specialize_state *s = state;
    const tc_shape shape = TC_SHAPE(++s->batch, 16);
    return tc_callable_plan(s->b.callable, &shape, NULL);
}

static const int64_t nodes_10k = 10000, nodes_100k = 100000;
static const workload rows[] = {
    {"plans", "compile 10,000 nodes", create_compile, run_compile, destroy_compile, 1, 0,
     &nodes_10k},
    {"plans", "compile 100,000 nodes", create_compile, run_compile, destroy_compile, 1, 0,
     &nodes_100k},
    {"plans", "new shape, 10,000 nodes, per node", create_specialize, run_specialize, bound_destroy,
     1, 10000, &nodes_10k},
};

const workload_table plan_workloads = {rows, sizeof rows / sizeof rows[0]};
