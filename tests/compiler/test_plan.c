/* Plans: order, in-place memory, views, outputs, packs, budgets, messages. */
#include "compiler/plan_test.h"

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

/* An operator whose two outputs may both take the memory of its input: only one gets it, even where
 * it is dead. */
static tc_status infer_both(tc_infer *infer)
{
    infer->outputs[0].shape = infer->outputs[1].shape = infer->inputs[0].shape;
    return TC_OK;
}

static void test_two_pairs_of_one_input(void **state)
{
    static const tc_port inputs[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
    static const tc_port outputs[] = {{.name = "a", .dtypes = TC_DTYPES_FLOAT, .type = 'T'},
                                      {.name = "b", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
    static const tc_inplace pairs[] = {{0, 0}, {0, 1}};
    static const tc_op op = {.name = "both",
                             .version = 1,
                             .doc = "two copies",
                             TC_LIST(inputs, inputs),
                             TC_LIST(outputs, outputs),
                             TC_LIST(inplace, pairs),
                             .infer = infer_both,
                             .grad = TC_GRAD_NONE};
    static const tc_kernel kernel = {.op = "both", .symbol = "fake_both"};
    fake_target target = fake_target_make();
    target.override = &kernel;
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &op));
    const tc_graph_options options = {.struct_size = sizeof options, .registry = registry};
    tc_graph *graph = tc_graph_create_with(&options);
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(8, 4));
    const tc_value h = tc_exp(x);
    tc_value both = tc_node_build(
        graph, &(const tc_node_spec){.op = "both", .at = TC_HERE, .inputs = &h, .n_inputs = 1});
    test_request r = {0};
    request_feed(&r, x);
    request_target(&r, both);
    tc_program *program = compile_ok(graph, &r, &target);
    tc_plan *plan = plan_ok(program, batch_of_8(), &target);
    assert_int_equal(plan->arena_bytes, 256);
    tc_plan_release(plan);
    tc_program_release(program);
    tc_graph_release(graph);
    tc_registry_release(registry);
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
    assert_ok(tc_plan_print(plan, TC_DUMP_TEXT, file));
    fclose(file);
    assert_non_null(strstr(text, "cpu_exp_f32"));
    assert_non_null(
        strstr(text, "'exp' (feed 'x' f32[8, 4] 128 B) -> arena+0 f32[8, 4] 128 B  <- peak\n"));
    assert_non_null(strstr(text, "variable 'v' f32[4]"));
    assert_non_null(strstr(text, "commit"));
    assert_non_null(strstr(text, "arena 128 bytes (0.00 MB), 128 (0.00 MB) alive at step 0"));
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
        assert_ok(tc_plan_print(plan_of(f), TC_DUMP_TEXT, file));
        fclose(file);
    }
    assert_string_equal(texts[0], texts[1]);
    free(texts[0]);
    free(texts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_chain_in_place), TEST(test_not_in_place),
        TEST(test_views),          TEST(test_same_fetch_twice),
        TEST(test_shape_only),     TEST(test_empty_tensors),
        TEST(test_dead_outputs),   cmocka_unit_test(test_two_pairs_of_one_input),
        TEST(test_workspace),      TEST(test_packs),
        TEST(test_budget),         TEST(test_feed_errors),
        TEST(test_missing_kernel), TEST(test_prepare_error),
        TEST(test_huge_values),    TEST(test_print),
        TEST(test_deterministic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
