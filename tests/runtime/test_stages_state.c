/* Runs in stages: updates, failures, random numbers, memory. */
#include <time.h>

#include <tensorc/extend.h>

#include "stages_test.h"

static void test_stages_train_through_a_mask(void **state)
{
    masked_model m = masked_model_create();
    tc_session *s = session_of(m.graph);
    tc_tensor *x = floats(TC_SHAPE(4, 3), features), *y = floats(TC_SHAPE(4), labels);
    tc_tensor *out[3] = {0};
    double w[3] = {1, -1, 2};
    for (int i = 0; i < 3; i++) {
        double before[3] = {w[0], w[1], w[2]}, loss = step_by_hand(w);
        /* The count and w are fetched as they were before the run. */
        assert_ok(tc_session_run(s, TC_FEEDS({m.x, x}, {m.y, y}), TC_FETCHES(m.loss, m.count, m.w),
                                 TC_TARGETS(m.train), out, NULL));
        assert_float_equal(tc_tensor_get(out[0], 0), loss, 1e-4);
        assert_float_equal(tc_tensor_get(out[1], 0), i, 0);
        expect(out[2], TC_SHAPE(3, 1), before);
        release(out, 3);
        expect_variable(s, "w", w);
        expect_variable(s, "count", ELEMENTS(i + 1));
        assert_int_equal(tc_store_step(tc_session_store(s)), i + 1);
    }
    tc_session_counters counters;
    tc_session_count(s, &counters);
    assert_int_equal(counters.runs, 3);
    assert_int_equal(counters.commits, 3);
    assert_int_equal(counters.programs, 2); /* with that of the initial values */
    release(&x, 1);
    release(&y, 1);
    tc_session_release(s);
    tc_graph_release(m.graph);
}

/*
 * Ending early: a kernel of the test's own in the middle of each stage
 */
typedef struct trap {
    int step; /* run of the kernel, over all stages, that acts; -1: none */
    int runs;
    tc_cancellation *cancel; /* cancelled by it */
    int sleep_us;            /* else slept by it; 0: it fails */
} trap;

static trap the_trap = {.step = -1};

static tc_status trap_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static tc_status trap_prepare(tc_prepare *prepare)
{
    size_t *bytes = tc_prepare_params(prepare, sizeof *bytes);
    if (!bytes)
        return TC_RESOURCE_EXHAUSTED;
    *bytes = (size_t)tc_shape_size(&prepare->inputs[0].shape) * sizeof(float);
    return TC_OK;
}

static tc_status trap_run(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    memcpy(outputs[0], inputs[0], *(const size_t *)params);
    if (context->extents)
        context->extents[0] = (int64_t)(*(const size_t *)params / sizeof(float) / 2);
    if (the_trap.runs++ != the_trap.step)
        return TC_OK;
    if (the_trap.sleep_us > 0)
        nanosleep(&(struct timespec){0, the_trap.sleep_us * 1000L}, NULL);
    else if (the_trap.cancel)
        tc_cancellation_cancel(the_trap.cancel);
    else
        return tc_kernel_fail(TC_ABORTED, "the trap was sprung");
    return TC_OK;
}

static tc_status half_infer(tc_infer *infer)
{
    infer->outputs[0].shape = TC_SHAPE(-1);
    return TC_OK;
}

static const tc_port trap_port[] = {{.name = "x", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'}};
static const tc_op trap_op = {
    .name = "trap",
    .version = 1,
    .doc = "Test.",
    TC_LIST(inputs, trap_port),
    TC_LIST(outputs, trap_port),
    .effects = TC_EFFECT_IO,
    .infer = trap_infer,
    .grad = TC_GRAD_NONE,
};
/* The first half of x: a trap that ends a stage. */
static const tc_op half_op = {
    .name = "half",
    .version = 1,
    .doc = "Test.",
    TC_LIST(inputs, trap_port),
    TC_LIST(outputs, trap_port),
    .infer = half_infer,
    .bound = trap_infer,
    .grad = TC_GRAD_NONE,
};
static const tc_kernel trap_kernels[] = {
    {.op = "trap", .symbol = "test_trap", .prepare = trap_prepare, .run = trap_run},
    {.op = "half", .symbol = "test_half", .prepare = trap_prepare, .run = trap_run},
};

static tc_value trap_at(tc_value x)
{
    return tc_node_build(NULL,
                         &(const tc_node_spec){.op = "trap", .at = TC_HERE, TC_SPEC_INPUTS(x)});
}

static tc_value half_at(tc_value x)
{
    return tc_node_build(NULL,
                         &(const tc_node_spec){.op = "half", .at = TC_HERE, TC_SPEC_INPUTS(x)});
}

static tc_registry *trap_registry(void)
{
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &trap_op));
    assert_ok(tc_registry_add_op(registry, &half_op));
    for (size_t i = 0; i < sizeof trap_kernels / sizeof trap_kernels[0]; i++)
        assert_ok(tc_registry_add_kernel(registry, &trap_kernels[i]));
    return registry;
}

/* Three stages with a trap in each; one variable is read by all and written, with another, at the
 * end. */
static void run_traps(bool cancel)
{
    enum { stages = 3 };
    tc_registry *registry = trap_registry();
    const tc_graph_options with = {.struct_size = sizeof with, .registry = registry};
    const tc_runtime_options runs = {.struct_size = sizeof runs, .registry = registry};
    tc_graph *g = tc_graph_create_with(&with);
    tc_session_options options = {.struct_size = sizeof options};
    assert_ok(tc_runtime_create(&runs, &options.runtime));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1)), left = x;
    tc_value v = tc_variable(g, "v", tc_constant_scalar(g, TC_F32, 2));
    tc_value n = tc_variable(g, "n", tc_constant_scalar(g, TC_F32, 0));
    for (int i = 0; i < stages; i++) {
        left = trap_at(tc_mul(left, v));
        if (i < stages - 1)
            left = tc_boolean_mask(left, tc_greater(left, tc_constant_scalar(g, TC_F32, i)));
    }
    tc_value sum = tc_reduce_sum(left);
    tc_value all = tc_group(g, TC_VALUES(tc_assign(v, sum), tc_assign_add(n, v)));
    tc_session *s;
    assert_ok(tc_session_create(g, &options, &s));
    tc_tensor *t = floats(TC_SHAPE(4), (const float[]){1, -1, 2, 0.25f}), *out[2] = {0};
    tc_cancellation *cancellation;
    assert_ok(tc_cancellation_create(&cancellation));
    const tc_run_options run = {.struct_size = sizeof run, .cancellation = cancellation};
    for (int step = 0; step < stages; step++) {
        the_trap = (trap){.step = step, .cancel = cancel ? cancellation : NULL};
        assert_status(
            tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(sum, left), TC_TARGETS(all), out, &run),
            cancel ? TC_CANCELLED : TC_ABORTED);
        assert_int_equal(the_trap.runs, step + 1);
        if (!cancel)
            assert_error_contains("test_stages_state.c:");
        assert_null(out[0]);
        assert_null(out[1]);
        expect_variable(s, "v", ELEMENTS(2));
        expect_variable(s, "n", ELEMENTS(0));
        assert_int_equal(tc_store_step(tc_session_store(s)), 0);
        tc_cancellation_reset(cancellation);
    }
    the_trap = (trap){.step = -1};
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(sum, left), TC_TARGETS(all), out, &run));
    assert_int_equal(the_trap.runs, stages);
    /* 2 -2 4 0.5 -> 2 4 0.5 -> 4 8 1 -> 4 8 -> 8 16 */
    expect(out[0], TC_SCALAR, ELEMENTS(24));
    expect(out[1], TC_SHAPE(2), ELEMENTS(8, 16));
    release(out, 2);
    expect_variable(s, "v", ELEMENTS(24));
    expect_variable(s, "n", ELEMENTS(2)); /* v as it was before the run */
    tc_cancellation_destroy(cancellation);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_runtime_release(options.runtime);
    tc_registry_release(registry);
    tc_graph_release(g);
}

static void test_stages_failure_applies_nothing(void **state)
{
    run_traps(false);
}

static void test_stages_cancelled_between(void **state)
{
    run_traps(true);
}

/* The deadline passes in the last kernel of a stage: the next one does not run, and what its
 * variables were to become is not applied. */
static void test_stages_deadline_between(void **state)
{
    (void)state;
    enum { stages = 3, timeout_us = 100000 };
    tc_registry *registry = trap_registry();
    const tc_graph_options with = {.struct_size = sizeof with, .registry = registry};
    const tc_runtime_options runs = {.struct_size = sizeof runs, .registry = registry};
    tc_graph *g = tc_graph_create_with(&with);
    tc_session_options options = {.struct_size = sizeof options};
    assert_ok(tc_runtime_create(&runs, &options.runtime));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1));
    tc_value n = tc_variable(g, "n", tc_constant_scalar(g, TC_F32, 1));
    tc_value left = half_at(half_at(half_at(tc_mul(x, n))));
    tc_value sum = tc_reduce_sum(left), update = tc_assign_add(n, sum);
    tc_session *s;
    assert_ok(tc_session_create(g, &options, &s));
    tc_tensor *t = floats(TC_SHAPE(8), (const float[]){1, 2, 3, 4, 5, 6, 7, 8}), *out[1] = {0};
    double value = 1;
    bool reached = false;
    for (int step = 0; step < stages; step++) {
        the_trap = (trap){.step = -1};
        assert_ok(
            tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(sum), TC_TARGETS(update), out, NULL));
        release(out, 1);
        value *= 2; /* the first element times n is added to n */
        expect_variable(s, "n", ELEMENTS(value));

        the_trap = (trap){.step = step, .sleep_us = timeout_us + 20000};
        const tc_run_options run = {.struct_size = sizeof run, .timeout_us = timeout_us};
        assert_status(
            tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(sum), TC_TARGETS(update), out, &run),
            TC_DEADLINE_EXCEEDED);
        assert_error_contains("no update was applied");
        assert_true(the_trap.runs <= step + 1); /* fewer on a machine that is busy elsewhere */
        reached |= the_trap.runs == step + 1;
        assert_null(out[0]);
        expect_variable(s, "n", ELEMENTS(value));
        assert_int_equal(tc_store_step(tc_session_store(s)), step + 1);
    }
    assert_true(reached);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_runtime_release(options.runtime);
    tc_registry_release(registry);
    tc_graph_release(g);
}

/* What reaches outside does so in the order it was built, though it could be in an earlier stage.
 */
static void test_stages_order_of_effects(void **state)
{
    tc_registry *registry = trap_registry();
    const tc_graph_options with = {.struct_size = sizeof with, .registry = registry};
    const tc_runtime_options runs = {.struct_size = sizeof runs, .registry = registry};
    tc_graph *g = tc_graph_create_with(&with);
    tc_session_options options = {.struct_size = sizeof options};
    assert_ok(tc_runtime_create(&runs, &options.runtime));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1));
    tc_value late = trap_at(tc_boolean_mask(x, tc_greater(x, tc_zeros_like(x))));
    tc_value next = trap_at(tc_neg(x));
    tc_session *s;
    assert_ok(tc_session_create(g, &options, &s));
    tc_tensor *t = floats(TC_SHAPE(2), (const float[]){1, -1}), *out[2] = {0};
    the_trap = (trap){.step = 0};
    assert_status(
        tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(late, next), TC_NO_TARGETS, out, NULL),
        TC_ABORTED);
    assert_error_contains("trap 'trap'"); /* not trap_1 */
    the_trap = (trap){.step = 1};
    assert_status(
        tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(late, next), TC_NO_TARGETS, out, NULL),
        TC_ABORTED);
    assert_error_contains("trap 'trap_1'");
    the_trap = (trap){.step = -1};
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(late, next), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(1), ELEMENTS(1));
    expect(out[1], TC_SHAPE(2), ELEMENTS(-1, 1));
    release(out, 2);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_runtime_release(options.runtime);
    tc_registry_release(registry);
    tc_graph_release(g);
}

static void test_stages_deadline(void **state)
{
    masked_model m = masked_model_create();
    tc_session *s = session_of(m.graph);
    tc_tensor *x = floats(TC_SHAPE(4, 3), features), *y = floats(TC_SHAPE(4), labels);
    tc_run_options run = {.struct_size = sizeof run, .timeout_us = 60 * 1000000};
    assert_ok(tc_session_run(s, TC_FEEDS({m.x, x}, {m.y, y}), TC_NO_FETCHES, TC_TARGETS(m.train),
                             NULL, &run));
    tc_cancellation *cancel;
    assert_ok(tc_cancellation_create(&cancel));
    tc_cancellation_cancel(cancel);
    run.cancellation = cancel;
    assert_status(tc_session_run(s, TC_FEEDS({m.x, x}, {m.y, y}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, &run),
                  TC_CANCELLED);
    expect_variable(s, "count", ELEMENTS(1));
    tc_cancellation_destroy(cancel);
    release(&x, 1);
    release(&y, 1);
    tc_session_release(s);
    tc_graph_release(m.graph);
}

static void test_stages_numerics(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1)), zero = tc_zeros_like(x);
    tc_value logs = tc_log(tc_boolean_mask(x, tc_greater_equal(x, zero)));
    tc_session_options options = {.struct_size = sizeof options, .check_numerics = true};
    tc_session *s;
    assert_ok(tc_session_create(g, &options, &s));
    tc_tensor *t = floats(TC_SHAPE(3), (const float[]){1, -1, -2}), *out[1] = {0};
    /* What lies beyond the actual size does not count. */
    for (int i = 0; i < 2; i++) {
        assert_ok(tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(logs), TC_NO_TARGETS, out, NULL));
        expect(out[0], TC_SHAPE(1), ELEMENTS(0));
        release(out, 1);
    }
    tc_tensor_release(t);
    t = floats(TC_SHAPE(3), (const float[]){1, -1, 0});
    assert_status(tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(logs), TC_NO_TARGETS, out, NULL),
                  TC_INTERNAL);
    assert_error_contains("output 0 holds Inf at element 1");
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
}

/*
 * State and random numbers
 */

/* Drawn once, however many stages need it, and the same as without stages. */
static void test_stages_random(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value r = tc_random_normal(g, TC_F32, TC_SHAPE(64), .name = "noise");
    tc_value some = tc_boolean_mask(r, tc_greater(r, tc_zeros_like(r)));
    tc_value both = tc_add(tc_reduce_sum(some), tc_reduce_sum(r));
    tc_value counted = tc_assign_add(tc_variable(g, "n", tc_constant_scalar(g, TC_F32, 0)),
                                     tc_constant_scalar(g, TC_F32, 1));
    tc_session *s = session_of(g);
    tc_tensor *plain[1] = {0}, *out[3] = {0};
    double previous = 0;
    for (int step = 0; step < 3; step++) {
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(r), TC_NO_TARGETS, plain, NULL));
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(r, some, both), TC_TARGETS(counted),
                                 out, NULL));
        assert_memory_equal(tc_tensor_data(plain[0]), tc_tensor_data(out[0]), 64 * sizeof(float));
        double sum = 0, positive_sum = 0;
        int64_t found = 0;
        for (int i = 0; i < 64; i++) {
            double value = tc_tensor_get(plain[0], i);
            sum += value;
            if (value > 0) {
                assert_float_equal(tc_tensor_get(out[1], found++), value, 0);
                positive_sum += value;
            }
        }
        assert_int_equal(tc_tensor_size(out[1]), found);
        assert_float_equal(tc_tensor_get(out[2], 0), sum + positive_sum, 1e-4);
        assert_true(step == 0 || sum != previous); /* each step draws anew */
        previous = sum;
        release(plain, 1);
        release(out, 3);
    }
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_stages_initial_values(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value data = tc_constant_data(g, TC_F32, TC_SHAPE(4), ((float[]){5, -1, 7, -2}));
    tc_value base = tc_variable(g, "base", data);
    tc_value some = tc_boolean_mask(base, tc_greater(base, tc_zeros_like(base)));
    tc_value v = tc_variable(g, "v", tc_reduce_sum(some));
    tc_session *s = session_of(g);
    tc_tensor *out[1] = {0};
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(v), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SCALAR, ELEMENTS(12));
    release(out, 1);
    tc_session_release(s);
    /* A variable that only a later stage reads. */
    tc_value w = tc_variable(g, "w", tc_constant_scalar(g, TC_F32, 3));
    tc_value scaled = tc_mul(some, w);
    s = session_of(g);
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(scaled), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(2), ELEMENTS(15, 21));
    release(out, 1);
    tc_session_release(s);
    tc_graph_release(g);
}

/*
 * Memory
 */
static tc_status masked_life(void *context)
{
    (void)context;
    positive p = {.graph = tc_graph_create()};
    tc_session *s = NULL;
    tc_tensor *x = NULL, *out[3] = {0};
    if (!p.graph)
        return TC_RESOURCE_EXHAUSTED;
    p.x = tc_placeholder(p.graph, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    p.chosen = tc_boolean_mask(p.x, tc_greater(p.x, tc_constant_scalar(p.graph, TC_F32, 0)));
    tc_value v = tc_variable(p.graph, "v", tc_constant_scalar(p.graph, TC_F32, 3));
    p.scaled = tc_mul(p.chosen, v);
    p.mean = tc_assign(v, tc_reduce_mean(p.scaled));
    tc_status status = tc_tensor_create_copy(TC_F32, TC_SHAPE(3), (const float[]){1, -1, 2}, &x);
    if (status == TC_OK)
        status = tc_session_create(p.graph, NULL, &s);
    if (status == TC_OK)
        status = tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.scaled, p.chosen),
                                TC_TARGETS(p.mean), out, NULL);
    release(out, 3);
    tc_tensor_release(x);
    tc_session_release(s);
    tc_graph_release(p.graph);
    return status;
}

static void test_stages_memory_exhausted(void **state)
{
    counting_allocator_install();
    assert_true(counting_allocator_sweep(masked_life, NULL) > 100);
    counting_allocator_remove();
}

/* Three shapes in turn, with 0, 1 and 3 elements chosen: nothing is allocated once they were seen.
 */
static void test_stages_allocate_nothing(void **state)
{
    enum { shapes = 3 };
    static const float data[shapes][4] = {{-1, -2}, {2, -1, -3}, {1, 2, 3, -4}};
    static const int sizes[shapes] = {2, 3, 4}, chosen[shapes] = {0, 1, 3};
    counting_allocator_install();
    positive p = positive_create();
    tc_session *s = session_of(p.graph);
    tc_callable *callable;
    assert_ok(tc_session_compile(s, &p.x, 1, TC_FETCHES(p.scaled, p.mean, p.chosen), TC_NO_TARGETS,
                                 NULL, &callable));
    tc_tensor *x[shapes], *out[shapes][3];
    for (int k = 0; k < shapes; k++) {
        x[k] = floats(TC_SHAPE(sizes[k]), data[k]);
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(chosen[k]), &out[k][0]));
        assert_ok(tc_tensor_create(TC_F32, TC_SCALAR, &out[k][1]));
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(chosen[k]), &out[k][2]));
    }
    int64_t counted = 0;
    for (int round = 0; round < 102; round++) {
        for (int k = 0; k < shapes; k++)
            if (tc_callable_run(callable, &x[k], out[k], NULL) != TC_OK)
                fail();
        if (round == 1)
            counted = counting_allocator_total();
    }
    assert_int_equal(counting_allocator_total(), counted);
    expect(out[2][0], TC_SHAPE(3), ELEMENTS(10, 20, 30));
    for (int k = 0; k < shapes; k++) {
        release(&x[k], 1);
        release(out[k], 3);
    }
    tc_callable_release(callable);
    tc_session_release(s);
    tc_graph_release(p.graph);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_train_through_a_mask),
        cmocka_unit_test(test_stages_failure_applies_nothing),
        cmocka_unit_test(test_stages_cancelled_between),
        cmocka_unit_test(test_stages_deadline_between),
        cmocka_unit_test(test_stages_order_of_effects),
        cmocka_unit_test(test_stages_deadline),
        cmocka_unit_test(test_stages_numerics),
        cmocka_unit_test(test_stages_random),
        cmocka_unit_test(test_stages_initial_values),
        cmocka_unit_test(test_stages_memory_exhausted),
        cmocka_unit_test(test_stages_allocate_nothing),
    };
    return cmocka_run_group_tests_name("stages_state", tests, NULL, NULL);
}
