/* Operators and kernels of a user's own that break the rules: found out, not trusted. */
#include <stdatomic.h>
#include <time.h>

#include <tensorc/extend.h>

#include "../support/test.h"
#include "model.h"

static tc_status infer_many(tc_infer *infer)
{
    infer->outputs[0].shape = TC_SHAPE(100000);
    return TC_OK;
}

static tc_status infer_same(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static tc_status run_nothing(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    (void)params;
    (void)inputs;
    (void)outputs;
    (void)context;
    return TC_OK;
}

static tc_status run_badly(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    (void)run_nothing(params, inputs, outputs, context);
    return TC_OUT_OF_RANGE;
}

/* Takes long enough for all threads that there are to come, and tells the highest of them. */
static void note_worker(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)begin;
    (void)end;
    atomic_int *highest = argument;
    int seen = atomic_load(highest);
    while (seen < worker && !atomic_compare_exchange_weak(highest, &seen, worker))
        ;
    nanosleep(&(struct timespec){0, 200000}, NULL);
}

static tc_status prepare_workers(tc_prepare *prepare)
{
    int32_t *threads = tc_prepare_params(prepare, sizeof *threads);
    if (!threads)
        return TC_RESOURCE_EXHAUSTED;
    *threads = prepare->threads;
    return TC_OK;
}

static tc_status run_workers(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    float *y = outputs[0];
    atomic_int highest = 0;
    (void)inputs;
    tc_kernel_parallel_for(context, 64, 1, note_worker, &highest);
    y[0] = (float)highest;
    y[1] = (float)*(const int32_t *)params;
    return TC_OK;
}

static const tc_port resource[] = {
    {.name = "state", .dtypes = TC_DTYPES_FLOAT, .type = 'T', .flags = TC_PORT_RESOURCE}};
static const tc_port value[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};

#define TEST_OP(op, port, ...)                                                                    \
    {                                                                                             \
        .name = op, .version = 1, .doc = "Test.", TC_LIST(inputs, port), TC_LIST(outputs, value), \
        .grad = TC_GRAD_NONE, __VA_ARGS__                                                         \
    }
static const tc_op ops[] = {
    TEST_OP("write_more", resource, .effects = TC_EFFECT_WRITE, .infer = infer_many),
    TEST_OP("view_more", value, .flags = TC_OP_VIEW, .infer = infer_many),
    TEST_OP("fail_silently", value, .infer = infer_same),
    TEST_OP("no_kernel", value, .infer = infer_same),
    TEST_OP("workers", value, .infer = infer_same),
};
static const tc_kernel kernels[] = {
    {.op = "write_more", .symbol = "test_write_more", .run = run_nothing},
    {.op = "view_more", .symbol = "test_view_more", .run = run_nothing},
    {.op = "fail_silently", .symbol = "test_fail_silently", .run = run_badly},
    {.op = "workers", .symbol = "test_workers", .prepare = prepare_workers, .run = run_workers},
};

typedef struct fixture {
    tc_graph *graph;
    tc_runtime *runtime;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    tc_registry *registry = tc_registry_create();
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        assert_ok(tc_registry_add_op(registry, &ops[i]));
    for (size_t i = 0; i < sizeof kernels / sizeof kernels[0]; i++)
        assert_ok(tc_registry_add_kernel(registry, &kernels[i]));
    const tc_graph_options graph = {.struct_size = sizeof graph, .registry = registry};
    const tc_runtime_options runtime = {
        .struct_size = sizeof runtime, .registry = registry, .threads = 4};
    f->graph = tc_graph_create_with(&graph);
    assert_ok(tc_runtime_create(&runtime, &f->runtime));
    tc_registry_release(registry);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tc_runtime_release(f->runtime);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

static tc_value apply(tc_graph *graph, const char *op, tc_value x)
{
    return tc_node_build(graph, &(const tc_node_spec){.op = op, .at = TC_HERE, TC_SPEC_INPUTS(x)});
}

/* Runs `fetch` with two elements for `x` in a session of `runtime`. */
static tc_status run(fixture *f, tc_runtime *runtime, tc_value x, tc_value fetch)
{
    tc_session *s;
    tc_tensor *fed, *out = NULL;
    const tc_session_options options = {.struct_size = sizeof options, .runtime = runtime};
    assert_ok(tc_session_create(f->graph, &options, &s));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){1, 2}, &fed));
    tc_status status = tc_session_run(s, TC_FEEDS({x, fed}), &fetch, 1, TC_NO_TARGETS, &out, NULL);
    tc_tensor_release(fed);
    tc_tensor_release(out);
    tc_session_release(s);
    return status;
}

static void test_extension_writes_no_more_than_the_variable(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_constant_scalar(f->graph, TC_F32, 1));
    assert_false(tc_value_ok(apply(f->graph, "write_more", v)));
    assert_status(tc_graph_status(f->graph), TC_INTERNAL);
    assert_error_contains("f32 [100000], but it replaces input 'state', f32 []");
    assert_error_contains("test_extension.c:");
}

/* Where the shape is not known before, the plan finds it. */
static void test_extension_views_no_more_than_the_input(void **state)
{
    fixture *f = *state;
    tc_value x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(-1));
    assert_status(run(f, f->runtime, x, tc_neg(apply(f->graph, "view_more", x))), TC_INTERNAL);
    assert_error_contains("is a view of input 'x', f32 [2]");
}

static void test_extension_kernels(void **state)
{
    fixture *f = *state;
    tc_value x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(-1));
    tc_value bad = apply(f->graph, "fail_silently", x), none = apply(f->graph, "no_kernel", x);
    assert_status(tc_store_create(NULL, NULL), TC_INVALID_ARGUMENT); /* an error of before */
    assert_status(run(f, f->runtime, x, bad), TC_OUT_OF_RANGE);
    assert_error_contains("fail_silently 'fail_silently'");
    assert_error_contains("the kernel 'test_fail_silently' fails without a reason");
    assert_status(run(f, f->runtime, x, none), TC_UNIMPLEMENTED);
    assert_error_contains("there is no kernel of 'no_kernel' for f32 on device cpu");
    assert_status(run(f, NULL, x, bad), TC_UNIMPLEMENTED); /* of the default runtime's registry */
    assert_error_contains("there is no kernel of 'fail_silently'");
}

/* Kernels that fold constants have the threads they were prepared for, not all of the runtime. */
static void test_extension_folds_with_the_threads_of_the_session(void **state)
{
    fixture *f = *state;
    tc_value two = tc_constant_data(f->graph, TC_F32, TC_SHAPE(2), ((float[]){1, 2}));
    tc_value y = apply(f->graph, "workers", two);
    for (int threads = 1; threads <= 4; threads++) {
        tc_session *s;
        tc_tensor *out = NULL;
        const tc_session_options options = {
            .struct_size = sizeof options, .runtime = f->runtime, .threads = threads};
        assert_ok(tc_session_create(f->graph, &options, &s));
        assert_ok(tc_session_run(s, TC_NO_FEEDS, &y, 1, TC_NO_TARGETS, &out, NULL));
        assert_float_equal(tc_tensor_get(out, 1), threads, 0);
        assert_true(tc_tensor_get(out, 0) < threads);
        tc_tensor_release(out);
        tc_session_release(s);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_extension_writes_no_more_than_the_variable),
        TEST(test_extension_views_no_more_than_the_input),
        TEST(test_extension_kernels),
        TEST(test_extension_folds_with_the_threads_of_the_session),
    };
    return cmocka_run_group_tests_name("extension", tests, NULL, NULL);
}
