/* Plans: order, in-place memory, views, outputs, commits, packs, budgets, messages. */
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

static tc_value vector_variable(tc_graph *graph, const char *name)
{
    return tc_variable(graph, name, tc_fill(graph, TC_F32, TC_SHAPE(4), 1));
}

static int setup(void **state)
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

static int teardown(void **state)
{
    fixture *f = *state;
    tc_plan_release(f->plan);
    tc_program_release(f->program);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

static const tc_shape *batch_of_8(void)
{
    static tc_shape shape;
    shape = TC_SHAPE(8, 4);
    return &shape;
}

/* Compiles what was asked for and plans it for a batch of 8; every plan of this file is followed by
 * check_plan. */
static tc_plan *plan_batch(fixture *f, int64_t batch)
{
    assert_ok(tc_graph_status(f->graph));
    tc_plan_release(f->plan);
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &f->r, &f->target);
    const tc_shape shape = TC_SHAPE(batch, 4);
    f->plan = plan_ok(f->program, &shape, &f->target);
    return f->plan;
}

static tc_plan *plan_of(fixture *f)
{
    return plan_batch(f, 8);
}

static const tc_buffer *output_buffer(const tc_plan *plan, int32_t step)
{
    return &plan->buffers[plan->operands[plan->steps[step].first_output]];
}

static const tc_buffer *input_buffer(const tc_plan *plan, int32_t step, int32_t input)
{
    return &plan->buffers[plan->operands[plan->steps[step].first_input + input]];
}

static int kernels(const tc_plan *plan)
{
    int count = 0;
    for (int32_t i = 0; i < plan->n_steps; i++)
        count += plan->steps[i].kernel != NULL;
    return count;
}

static void test_chain_in_place(void **state)
{
    fixture *f = *state;
    tc_value y = tc_neg(tc_exp(tc_neg(tc_exp(f->x))));
    request_fetch(&f->r, y);
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_steps, 4);
    assert_int_equal(plan->arena_bytes, 128);
    assert_int_equal(plan->live_bytes, 128);
    assert_int_equal(plan->n_compute, 4);
    for (int32_t i = 0; i < 3; i++) {
        assert_int_equal(output_buffer(plan, i)->place, TC_PLACE_ARENA);
        assert_int_equal(output_buffer(plan, i)->offset, 0);
    }
    assert_int_equal(output_buffer(plan, 3)->place, TC_PLACE_OUTPUT);
    assert_int_equal(plan->copied_bytes, 0);
}

static void test_not_in_place(void **state)
{
    fixture *f = *state;
    /* A feed, a variable and an output are never overwritten; nor what is read again or twice in
     * one step. */
    tc_value a = tc_exp(f->x), b = tc_neg(a);
    request_fetch(&f->r, tc_mul(a, b));
    request_fetch(&f->r, tc_neg(f->x));
    request_fetch(&f->r, tc_neg(f->v));
    tc_value o = tc_exp(b);
    request_fetch(&f->r, o);
    request_fetch(&f->r, tc_neg(o));
    tc_value s = tc_square(f->x);
    request_fetch(&f->r, tc_exp(tc_add(s, s)));
    (void)plan_of(f);
}

static void test_views(void **state)
{
    fixture *f = *state;
    tc_value h = tc_reshape(tc_exp(f->x), TC_SHAPE(4, -1));
    request_fetch(&f->r, tc_neg(h));                               /* of an intermediate result */
    request_fetch(&f->r, tc_reshape(f->x, TC_SHAPE(-1)));          /* of a feed: copied */
    request_fetch(&f->r, tc_reshape(f->v, TC_SHAPE(2, 2)));        /* of a variable: copied */
    request_fetch(&f->r, tc_reshape(tc_sqrt(f->x), TC_SHAPE(-1))); /* computed into the output */
    tc_plan *plan = plan_of(f);
    assert_int_equal(kernels(plan), 3);
    assert_int_equal(plan->n_steps, 5);
    assert_int_equal(plan->copied_bytes, 8 * 16 + 16);
    assert_int_equal(plan->n_compute, 5);
}

static void test_same_fetch_twice(void **state)
{
    fixture *f = *state;
    tc_value y = tc_exp(f->x);
    request_fetch(&f->r, y);
    request_fetch(&f->r, y);
    request_fetch(&f->r, f->x);
    request_fetch(&f->r, f->x);
    tc_plan *plan = plan_of(f);
    assert_int_equal(kernels(plan), 1);
    assert_int_equal(plan->n_steps, 4);
    assert_int_equal(plan->copied_bytes, 3 * 128);
}

static void test_shape_only(void **state)
{
    fixture *f = *state;
    /* Only the shape of the product is used, so neither it nor its inputs are computed. */
    tc_value like = tc_exp(tc_mul(f->x, tc_exp(f->x)));
    request_fetch(&f->r, tc_expand_like(f->v, like));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_steps, 1);
    assert_int_equal(plan->operands[plan->steps[0].first_input + 1], -1);
    assert_int_equal(plan->arena_bytes, 0);
    request_target(&f->r, like); /* unless somebody asks for it */
    assert_int_equal(plan_of(f)->n_steps, 4);
}

static void test_empty_tensors(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_neg(tc_exp(f->x)));
    request_fetch(&f->r, f->x);
    tc_plan *plan = plan_batch(f, 0);
    assert_int_equal(plan->arena_bytes, 0);
    assert_int_equal(plan->n_steps, 2); /* the copy of nothing is left out */
    assert_int_equal(plan->outputs[0].shape.dims[0].size, 0);
}

static void test_dead_outputs(void **state)
{
    fixture *f = *state;
    tc_value parts = tc_split(f->x, 1, 4);
    request_fetch(&f->r, tc_output(parts, 2));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_steps, 1);
    assert_int_equal(plan->arena_bytes, 3 * 64);
}

/*
 * State
 */
static void test_commit_in_place(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_sub(f->v, tc_exp(f->v));
    request_target(&f->r, update);
    request_fetch(&f->r, f->v); /* old */
    request_fetch(&f->r, update);
    tc_plan *plan = plan_of(f);
    assert_true(f->program->writes);
    assert_true(f->program->training);
    assert_int_equal(plan->n_steps, 4);
    assert_int_equal(plan->n_compute, 2);
    assert_int_equal(output_buffer(plan, 2)->place, TC_PLACE_VARIABLE);
    assert_int_equal(input_buffer(plan, 3, 0)->place, TC_PLACE_VARIABLE);
    assert_int_equal(output_buffer(plan, 3)->place, TC_PLACE_OUTPUT);
    assert_int_equal(plan->copied_bytes, 32);
    assert_true(plan->variables[0].written);
}

static void test_update_that_is_read(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_add(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_mul(update, f->v)); /* new times old */
    tc_plan *plan = plan_of(f);
    /* exp, assign_add into the arena, mul; then the copy into the variable. */
    assert_int_equal(plan->n_compute, 3);
    assert_int_equal(plan->n_steps, 4);
    assert_null(plan->steps[3].kernel);
    assert_int_equal(plan->copied_bytes, 16);
}

static void test_view_of_update(void **state)
{
    fixture *f = *state;
    tc_value update = tc_assign_add(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_reshape(update, TC_SHAPE(2, 2)));
    request_fetch(&f->r, update);
    (void)plan_of(f);
}

static void test_chained_writes(void **state)
{
    fixture *f = *state;
    tc_value first = tc_assign_add(f->v, tc_exp(f->w));
    tc_value second = tc_assign(f->v, tc_neg(f->v)); /* reads the old content */
    tc_value third = tc_assign_sub(f->v, f->w);
    request_fetch(&f->r, first);
    request_fetch(&f->r, second);
    request_target(&f->r, third);
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_steps - plan->n_compute, 5);
    assert_int_equal(plan->copied_bytes, 32);
    /* The resource of the second write is the output of the first, and so on. */
    const tc_graph *graph = f->program->graph;
    const tc_node *last = tc_graph_node_at(graph, f->program->targets[0]);
    const tc_node *middle = tc_graph_node_at(graph, last->inputs[0].node);
    assert_string_equal(middle->attrs.op->name, "assign");
    assert_string_equal(tc_graph_node_at(graph, middle->inputs[0].node)->attrs.op->name,
                        "assign_add");
}

/* Of three writes the output of the second is read: the first two compute in the arena, the third
 * commits. */
static void test_chain_read_in_the_middle(void **state)
{
    fixture *f = *state;
    tc_value first = tc_assign_add(f->v, f->w);
    tc_value second = tc_assign_add(f->v, f->w);
    tc_value third = tc_assign_add(f->v, f->w);
    request_fetch(&f->r, tc_exp(second));
    request_fetch(&f->r, first);
    request_target(&f->r, third);
    tc_plan *plan = plan_of(f);
    assert_int_equal(kernels(plan), 4);
    assert_int_equal(plan->n_compute, 3);
    assert_int_equal(plan->n_steps, 5); /* copy of the second, then the third in place */
    assert_int_equal(plan->copied_bytes, 16);
}

static void test_swap(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign(f->v, f->w));
    request_target(&f->r, tc_assign(f->w, f->v));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 16); /* one of the two must be saved */
    assert_int_equal(plan->n_steps, 3);
    assert_int_equal(plan->n_compute, 1);
}

static void test_commit_reads_itself(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign_add(f->v, f->v));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 16);
}

/* A view shows a variable's memory as well. */
static void test_commit_reads_a_view(void **state)
{
    fixture *f = *state;
    tc_value m = tc_variable(f->graph, "m", tc_fill(f->graph, TC_F32, TC_SHAPE(2, 2), 0));
    request_target(&f->r, tc_assign_add(f->v, f->w));
    request_target(&f->r, tc_assign_add(f->w, f->v));
    request_target(&f->r, tc_assign(m, tc_reshape(f->v, TC_SHAPE(2, 2))));
    (void)plan_of(f);
}

/* A copy of the weights is taken before they change, whatever was built first. */
static void test_reader_commits_first(void **state)
{
    fixture *f = *state;
    request_target(&f->r, tc_assign_sub(f->w, tc_exp(f->w)));
    request_target(&f->r, tc_assign(f->v, f->w));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->copied_bytes, 0);
    assert_string_equal(plan->steps[1].kernel->op, "assign");
}

static void test_optimizer_in_place(void **state)
{
    fixture *f = *state;
    tc_value m = vector_variable(f->graph, "m"), s = vector_variable(f->graph, "s");
    tc_value lr = tc_constant_scalar(f->graph, TC_F32, 0.1);
    tc_value step = tc_variable(f->graph, "step", tc_constant_scalar(f->graph, TC_I64, 0));
    tc_value count = tc_assign_add(step, tc_constant_scalar(f->graph, TC_I64, 1));
    tc_value update = tc_apply_adam(&((tc_apply_adam_inputs){f->v, m, s, tc_neg(f->v), lr, count}));
    request_target(&f->r, update);
    tc_plan *plan = plan_of(f);
    /* The new step is read by the update, so it is computed before and copied; the rest is in
     * place. */
    assert_int_equal(plan->copied_bytes, 8);
    assert_int_equal(plan->n_steps - plan->n_compute, 2);
    const tc_step *adam = NULL;
    for (int32_t i = plan->n_compute; i < plan->n_steps; i++)
        if (plan->steps[i].kernel)
            adam = &plan->steps[i];
    assert_non_null(adam);
    assert_string_equal(adam->kernel->op, "apply_adam");
    for (int32_t i = 0; i < 3; i++)
        assert_int_equal(plan->buffers[plan->operands[adam->first_output + i]].place,
                         TC_PLACE_VARIABLE);
}

static void test_inference_does_not_write(void **state)
{
    fixture *f = *state;
    (void)tc_assign(f->v, tc_exp(f->v));
    request_fetch(&f->r, tc_mul(f->x, f->v));
    tc_plan *plan = plan_of(f);
    assert_false(f->program->writes);
    assert_int_equal(plan->n_compute, plan->n_steps);
    assert_false(plan->variables[0].written);
}

/*
 * Workspaces, packs, budgets
 */
static tc_status prepare_fake(tc_prepare *prepare)
{
    int32_t *params = tc_prepare_params(prepare, 20);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params[0] = prepare->threads;
    prepare->workspace_bytes = 1000;
    prepare->pack_input = 1;
    prepare->pack_bytes = 48;
    return TC_OK;
}

static void pack_fake(const void *params, const void *weights, void *blob)
{
    (void)params;
    (void)weights;
    (void)blob;
}

static const tc_kernel fake_mul = {
    .op = "mul", .symbol = "fake_mul", .prepare = prepare_fake, .pack = pack_fake};

static void test_workspace(void **state)
{
    fixture *f = *state;
    f->target.override = &fake_mul;
    request_fetch(&f->r, tc_exp(tc_mul(tc_exp(f->x), f->v)));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->steps[1].workspace_bytes, 1000);
    assert_int_equal(plan->steps[1].workspace_offset % 64, 0);
    assert_int_equal(*(const int32_t *)plan->steps[1].params, f->target.target.threads);
    assert_int_equal(plan->arena_bytes, 1024 + 128); /* mul works in place */
}

static void test_packs(void **state)
{
    fixture *f = *state;
    f->target.override = &fake_mul;
    float four[] = {1, 2, 3, 4};
    tc_value c = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), four);
    (void)tc_assign_add(f->v, c); /* not part of the run, but it may change v between two */
    request_fetch(&f->r, tc_mul(f->x, c));
    request_fetch(&f->r, tc_mul(f->x, f->v));
    request_fetch(&f->r, tc_mul(f->x, f->w));
    request_fetch(&f->r, tc_mul(f->x, tc_neg(c)));
    tc_plan *plan = plan_of(f);
    assert_int_equal(plan->n_packs, 2);
    assert_int_equal(plan->buffers[plan->packs[0].buffer].place, TC_PLACE_CONSTANT);
    assert_int_equal(plan->buffers[plan->packs[1].buffer].place, TC_PLACE_VARIABLE);
    assert_string_equal(plan->variables[plan->buffers[plan->packs[1].buffer].index].name, "w");
    assert_int_equal(plan->packs[0].bytes, 48);
    assert_int_equal(plan->packs[0].params_bytes, 20);
    int packed = 0;
    for (int32_t i = 0; i < plan->n_steps; i++)
        packed += plan->steps[i].pack >= 0;
    assert_int_equal(packed, 2);
}

static void test_budget(void **state)
{
    fixture *f = *state;
    tc_value a = tc_exp(f->x), b = tc_sqrt(f->x);
    request_fetch(&f->r, tc_sub(a, b));
    (void)plan_of(f);
    tc_plan *plan;
    size_t need = f->plan->arena_bytes;
    assert_int_equal(need, 256);
    assert_ok(tc_plan_create(f->program, batch_of_8(), &f->target.target, need, &plan));
    tc_plan_release(plan);
    assert_status(tc_plan_create(f->program, batch_of_8(), &f->target.target, need - 1, &plan),
                  TC_RESOURCE_EXHAUSTED);
    assert_null(plan);
    assert_error_contains("needs 256 bytes");
    assert_error_contains("budget is 255");
    assert_error_contains("'sqrt'");
    assert_error_contains("test_plan.c:");
}

/*
 * Messages
 */
static void expect_plan_error(fixture *f, const tc_shape *shapes, tc_status status,
                              const char *text)
{
    tc_plan *plan = (tc_plan *)f;
    assert_status(tc_plan_create(f->program, shapes, &f->target.target, 0, &plan), status);
    assert_null(plan);
    assert_error_contains(text);
}

static void test_feed_errors(void **state)
{
    fixture *f = *state;
    tc_value labels = tc_placeholder(f->graph, "labels", TC_F32, TC_SHAPE(TC_DIM("batch")));
    tc_value other = tc_placeholder(f->graph, "other", TC_F32, TC_SHAPE(-1));
    request_feed(&f->r, labels);
    request_feed(&f->r, other);
    request_fetch(&f->r, tc_exp(f->x));
    request_fetch(&f->r, tc_exp(labels));
    request_fetch(&f->r, tc_add(labels, other));
    assert_ok(tc_graph_status(f->graph));
    f->program = compile_ok(f->graph, &f->r, &f->target);
    const tc_shape rank[] = {TC_SHAPE(8), TC_SHAPE(8), TC_SHAPE(8)};
    expect_plan_error(f, rank, TC_INVALID_ARGUMENT, "'x' has rank 2");
    const tc_shape known[] = {TC_SHAPE(8, 5), TC_SHAPE(8), TC_SHAPE(8)};
    expect_plan_error(f, known, TC_INVALID_ARGUMENT, "'x' has shape [batch, 4]");
    assert_error_contains("[8, 5]");
    const tc_shape named[] = {TC_SHAPE(8, 4), TC_SHAPE(7), TC_SHAPE(8)};
    expect_plan_error(f, named, TC_INVALID_ARGUMENT, "'x' and 'labels' disagree");
    assert_error_contains("'batch'");
    const tc_shape unknown[] = {TC_SHAPE(8, 4), TC_SHAPE(-1), TC_SHAPE(8)};
    expect_plan_error(f, unknown, TC_INVALID_ARGUMENT, "unknown dimension");
    const tc_shape clash[] = {TC_SHAPE(8, 4), TC_SHAPE(8), TC_SHAPE(9)};
    expect_plan_error(f, clash, TC_INVALID_ARGUMENT, "add 'add'");
    assert_error_contains("test_plan.c:");
    assert_error_contains("[9]");
    const tc_shape good[] = {TC_SHAPE(8, 4), TC_SHAPE(8), TC_SHAPE(1)};
    f->plan = plan_ok(f->program, good, &f->target);
}

static void test_missing_kernel(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_exp(f->x));
    f->program = compile_ok(f->graph, &f->r, &f->target);
    f->target.missing = "exp";
    expect_plan_error(f, batch_of_8(), TC_UNIMPLEMENTED, "exp 'exp'");
    assert_error_contains("f32");
    assert_error_contains("cpu");
    assert_error_contains("test_plan.c:");
}

static tc_status refuse(tc_prepare *prepare)
{
    (void)prepare;
    return tc_kernel_fail(TC_INVALID_ARGUMENT, "does not like it");
}

static void test_prepare_error(void **state)
{
    static const tc_kernel refusing = {.op = "exp", .symbol = "refusing", .prepare = refuse};
    fixture *f = *state;
    request_fetch(&f->r, tc_exp(f->x));
    f->program = compile_ok(f->graph, &f->r, &f->target);
    f->target.override = &refusing;
    expect_plan_error(f, batch_of_8(), TC_INVALID_ARGUMENT, "does not like it");
    assert_error_contains("exp 'exp'");
    assert_error_contains("test_plan.c:");
}

static void test_huge_values(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_reduce_sum(tc_expand(f->x, TC_SHAPE(1 << 30, 1 << 20, -1, 4))));
    assert_ok(tc_graph_status(f->graph));
    f->program = compile_ok(f->graph, &f->r, &f->target);
    tc_plan *plan;
    tc_shape shape = TC_SHAPE(4096, 4);
    assert_true(tc_plan_create(f->program, &shape, &f->target.target, 0, &plan) != TC_OK);
    assert_error_contains("expand");
    assert_null(plan);
}

static void test_print(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_mul(tc_exp(f->x), f->v));
    request_target(&f->r, tc_assign(f->v, f->w));
    tc_plan *plan = plan_of(f);
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_ok(tc_plan_print(plan, file));
    fclose(file);
    assert_non_null(strstr(text, "cpu_exp_f32"));
    assert_non_null(strstr(text, "'exp' (feed 0:f32[8, 4]) -> arena+0:f32[8, 4]  <- peak\n"));
    assert_non_null(strstr(text, "variable 'v':f32[4]"));
    assert_non_null(strstr(text, "commit"));
    assert_non_null(strstr(text, "arena 128 bytes, 128 alive at step 0"));
    free(text);
}

/* The plan is a function of program, shapes and target alone. */
static void test_deterministic(void **state)
{
    fixture *f = *state;
    tc_value y = f->x;
    for (int i = 0; i < 20; i++)
        y = tc_add(tc_exp(y), tc_mul(y, f->v));
    request_fetch(&f->r, y);
    char *texts[2] = {0};
    for (int i = 0; i < 2; i++) {
        size_t size = 0;
        FILE *file = open_memstream(&texts[i], &size);
        assert_ok(tc_plan_print(plan_of(f), file));
        fclose(file);
    }
    assert_string_equal(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_chain_in_place),
        TEST(test_not_in_place),
        TEST(test_views),
        TEST(test_same_fetch_twice),
        TEST(test_shape_only),
        TEST(test_empty_tensors),
        TEST(test_dead_outputs),
        TEST(test_commit_in_place),
        TEST(test_update_that_is_read),
        TEST(test_view_of_update),
        TEST(test_chained_writes),
        TEST(test_chain_read_in_the_middle),
        TEST(test_swap),
        TEST(test_commit_reads_itself),
        TEST(test_commit_reads_a_view),
        TEST(test_reader_commits_first),
        TEST(test_optimizer_in_place),
        TEST(test_inference_does_not_write),
        TEST(test_workspace),
        TEST(test_packs),
        TEST(test_budget),
        TEST(test_feed_errors),
        TEST(test_missing_kernel),
        TEST(test_prepare_error),
        TEST(test_huge_values),
        TEST(test_print),
        TEST(test_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
