/* A graph with two placeholders and what its program became: for the tests of passes. */
#ifndef TC_TEST_COMPILER_PASSES_H
#define TC_TEST_COMPILER_PASSES_H

#include "compiler/compiler_test.h"

typedef struct fixture {
    tc_graph *graph;
    tc_value x; /* f32 [batch, 4] */
    tc_value i; /* i32 [4] */
    test_request r;
    fake_target target;
    tc_program *program;
    char disabled[1024];
} fixture;

/** Switches off all passes but those whose names `tested` lists and the mandatory ones, so that
 * nothing else changes what is looked at. */
static inline void only_passes(fixture *f, const char *tested)
{
    static const struct {
        const char *name;
        bool optional;
    } passes[] = {
#define ALWAYS                    false
#define BASIC                     true
#define FULL                      true
#define TC_PASS(name, level, doc) {#name, level},
#define TC_PLAN_PASS(name, doc)   {#name, true},
#include "compiler/passes.def"
#undef TC_PASS
#undef ALWAYS
#undef BASIC
#undef FULL
    };
    f->disabled[0] = 0;
    for (size_t i = 0; i < sizeof passes / sizeof passes[0]; i++)
        if (passes[i].optional && !strstr(tested, passes[i].name)) {
            assert_true(strlen(f->disabled) + strlen(passes[i].name) + 2 < sizeof f->disabled);
            strcat(f->disabled, passes[i].name);
            strcat(f->disabled, ",");
        }
    f->r.request.disable_passes = f->disabled;
}

static inline int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->graph = tc_graph_create();
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    f->i = tc_placeholder(f->graph, "i", TC_I32, TC_SHAPE(4));
    f->target = fake_target_make();
    f->r.request.disable_passes = "fuse_elementwise"; /* it would hide what others did */
    request_feed(&f->r, f->x);
    request_feed(&f->r, f->i);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture *f = *state;
    tc_program_release(f->program);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

static inline const tc_program *compile(fixture *f)
{
    assert_ok(tc_graph_status(f->graph));
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &f->r, &f->target);
    return f->program;
}

static inline void expect_error(fixture *f, tc_status status, const char *text)
{
    tc_program *program = (tc_program *)f;
    assert_ok(tc_graph_status(f->graph));
    assert_status(tc_program_create(f->graph, &f->r.request, &f->target.target, &program), status);
    assert_null(program);
    assert_error_contains(text);
}

/* Compiles y alone; it must have become the value of `node`, a name. */
static inline void expect_same(fixture *f, tc_value y, const char *name)
{
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, y);
    assert_string_equal(fetch_node(compile(f), 0)->name, name);
}

/* Compiles y alone; operator `op` must compute it from x and i directly. */
static inline void expect_computed(fixture *f, tc_value y, const char *op)
{
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, y);
    assert_string_equal(fetch_node(compile(f), 0)->attrs.op->name, op);
}

static inline int node_count(const fixture *f)
{
    return (int)f->program->graph->nodes.count;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
