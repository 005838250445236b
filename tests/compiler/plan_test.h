/* A graph with a placeholder and two variables, and the plan for what is asked of it: for the tests
 * of plans. */
#ifndef TC_TEST_COMPILER_PLAN_H
#define TC_TEST_COMPILER_PLAN_H

#include "compiler/compiler_test.h"

typedef struct fixture {
    tc_graph *graph;
    tc_value x;    /* f32 [batch, 4] */
    tc_value v, w; /* variables f32 [4] */
    test_request r;
    fake_target target;
    tc_program *program;
    tc_plan *plan;
} fixture;

static inline tc_value vector_variable(tc_graph *graph, const char *name)
{
    return tc_variable(graph, name, tc_fill(graph, TC_F32, TC_SHAPE(4), 1));
}

static inline int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->graph = tc_graph_create();
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    f->v = vector_variable(f->graph, "v");
    f->w = vector_variable(f->graph, "w");
    f->target = fake_target_make();
    f->r.request.disable_passes = "all";
    request_feed(&f->r, f->x);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture *f = *state;
    tc_plan_release(f->plan);
    tc_program_release(f->program);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

static inline const tc_shape *batch_of_8(void)
{
    static tc_shape shape;
    shape = TC_SHAPE(8, 4);
    return &shape;
}

/* Compiles what was asked for and plans it for a batch of 8; every plan of this file is followed by
 * check_plan. */
static inline tc_plan *plan_batch(fixture *f, int64_t batch)
{
    assert_ok(tc_graph_status(f->graph));
    tc_plan_release(f->plan);
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &f->r, &f->target);
    const tc_shape shape = TC_SHAPE(batch, 4);
    f->plan = plan_ok(f->program, &shape, &f->target);
    return f->plan;
}

static inline tc_plan *plan_of(fixture *f)
{
    return plan_batch(f, 8);
}

static inline const tc_buffer *output_buffer(const tc_plan *plan, int32_t step)
{
    return &plan->buffers[plan->operands[plan->steps[step].first_output]];
}

static inline const tc_buffer *input_buffer(const tc_plan *plan, int32_t step, int32_t input)
{
    return &plan->buffers[plan->operands[plan->steps[step].first_input + input]];
}

static inline int kernels(const tc_plan *plan)
{
    int count = 0;
    for (int32_t i = 0; i < plan->n_steps; i++)
        count += plan->steps[i].kernel != NULL;
    return count;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
