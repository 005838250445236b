/*
 * Bad use of tensor.h, device.h and session.h: NULL, invalid arguments, calls in the wrong order.
 * That of graphs is in tests/graph/test_misuse.c.
 */
#include <math.h>

#include "../support/misuse.h"
#include "model.h"

/*
 * status.h, types.h, tensor.h
 */
static void test_misuse_of_values(void **state)
{
    assert_string_equal(tc_status_name((tc_status)99), "UNKNOWN");
    (void)tc_error_take(NULL, 0);
    (void)tc_error_take(NULL, 100);
    assert_int_equal(tc_error_take(NULL, 0), TC_OK);
    assert_string_equal(tc_dtype_name((tc_dtype)12345), "invalid");
    assert_int_equal(tc_dtype_bits((tc_dtype)12345), 0);
    assert_int_equal(tc_dtype_from_name(NULL), TC_DTYPE_INVALID);
    assert_int_equal(tc_shape_size(NULL), -1);
    assert_false(tc_shape_equal(NULL, NULL));
    for (size_t i = 0; i < BAD_SHAPES; i++) {
        char text[8];
        assert_int_equal(tc_shape_size(&bad_shapes[i]), -1);
        assert_true(tc_shape_format(&bad_shapes[i], text, sizeof text) > 0);
        assert_true(tc_shape_format(&bad_shapes[i], NULL, 0) > 0);
        assert_true(tc_shape_format(&bad_shapes[i], NULL, 100) > 0);
    }
    assert_true(tc_shape_format(NULL, NULL, 0) > 0);
    assert_int_equal(tc_shape_make(9, (tc_dim[9]){{0}}).rank, -1);
    assert_int_equal(tc_shape_of(SIZE_MAX, (int64_t[8]){0}).rank, -1);
}

static void test_misuse_of_tensors(void **state)
{
    tc_tensor *t = NULL, *other = NULL;
    float data[4] = {1, 2, 3, 4};
    invalid(tc_tensor_create(TC_F32, TC_SHAPE(4), NULL));
    invalid(tc_tensor_create_copy(TC_F32, TC_SHAPE(4), data, NULL));
    invalid(tc_tensor_create_scalar(TC_F32, 1, NULL));
    invalid(tc_tensor_wrap(TC_F32, TC_SHAPE(4), data, NULL, NULL, NULL));
    for (size_t i = 0; i < BAD_SHAPES; i++) {
        invalid(tc_tensor_create(TC_F32, bad_shapes[i], &t));
        assert_null(t);
        invalid(tc_tensor_wrap(TC_F32, bad_shapes[i], data, NULL, NULL, &t));
    }
    for (size_t i = 0; i < BAD_DTYPES; i++) {
        tc_status status = tc_tensor_create(bad_dtypes[i], TC_SHAPE(4), &t);
        assert_true(status == TC_INVALID_ARGUMENT || status == TC_UNIMPLEMENTED);
        assert_true(tc_tensor_create_scalar(bad_dtypes[i], 1, &t) != TC_OK);
        assert_true(tc_tensor_wrap(bad_dtypes[i], TC_SHAPE(4), data, NULL, NULL, &t) != TC_OK);
        assert_null(t);
    }
    invalid(tc_tensor_create(TC_F32, TC_SHAPE(-1), &t));
    invalid(tc_tensor_create(TC_F32, TC_SHAPE(INT64_MAX, 4), &t));
    refuses(tc_tensor_create(TC_F64, TC_SHAPE(INT64_MAX / 2), &t), TC_RESOURCE_EXHAUSTED);
    /* Empty, but with strides that would not fit. */
    refuses(tc_tensor_create(TC_F64, TC_SHAPE(0, INT64_MAX / 2), &t), TC_RESOURCE_EXHAUSTED);
    refuses(tc_tensor_create(TC_U8, TC_SHAPE((int64_t)1 << 60), &t), TC_RESOURCE_EXHAUSTED);
    invalid(tc_tensor_create_copy(TC_F32, TC_SHAPE(4), NULL, &t));
    invalid(tc_tensor_wrap(TC_F32, TC_SHAPE(4), NULL, NULL, NULL, &t));
    invalid(tc_tensor_wrap(TC_F32, TC_SHAPE(3), (char *)data + 1, NULL, NULL, &t));
    assert_null(t);

    assert_null(tc_tensor_retain(NULL));
    tc_tensor_release(NULL);
    assert_int_equal(tc_tensor_dtype(NULL), TC_DTYPE_INVALID);
    assert_int_equal(tc_tensor_shape(NULL)->rank, -1);
    assert_int_equal(tc_tensor_size(NULL), 0);
    assert_int_equal(tc_tensor_bytes(NULL), 0);
    assert_null(tc_tensor_data(NULL));
    assert_float_equal(tc_tensor_get(NULL, 0), 0, 0);
    invalid(tc_tensor_set(NULL, 0, 1));
    invalid(tc_tensor_print(NULL, stdout));
    invalid(tc_tensor_reshape(NULL, TC_SHAPE(4), &other));

    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(4), data, &t));
    invalid(tc_tensor_print(t, NULL));
    invalid(tc_tensor_reshape(t, TC_SHAPE(4), NULL));
    invalid(tc_tensor_reshape(t, TC_SHAPE(5), &other));
    invalid(tc_tensor_reshape(t, TC_SHAPE(-1), &other));
    assert_null(other);
    assert_float_equal(tc_tensor_get(t, -1), 0, 0);
    assert_float_equal(tc_tensor_get(t, INT64_MAX), 0, 0);
    refuses(tc_tensor_set(t, 4, 1), TC_OUT_OF_RANGE);
    refuses(tc_tensor_set(t, INT64_MIN, 1), TC_OUT_OF_RANGE);
    struct DLManagedTensorVersioned *exported;
    invalid(tc_tensor_to_dlpack(t, NULL));
    invalid(tc_tensor_to_dlpack(NULL, &exported));
    invalid(tc_tensor_from_dlpack(NULL, true, &other));
    assert_ok(tc_tensor_to_dlpack(t, &exported));
    invalid(tc_tensor_from_dlpack(exported, true, NULL));
    assert_ok(tc_tensor_from_dlpack(exported, false, &other));
    tc_tensor_release(t); /* the import keeps what it shows */
    assert_float_equal(tc_tensor_get(other, 3), 4, 0);
    tc_tensor_release(other);

    tc_allocator_set(&(tc_allocator){0}); /* refused: the one in use stays */
    tc_memory_free(NULL);
    tc_memory_free(tc_memory_allocate(0));
    assert_null(tc_memory_allocate(SIZE_MAX));
}

/*
 * device.h, session.h
 */
static tc_status visit_never(void *context, const tc_variable_info *variable)
{
    (void)context;
    (void)variable;
    fail();
    return TC_OK;
}

static tc_status visit_and_stop(void *context, const tc_variable_info *variable)
{
    assert_non_null(variable->name);
    ++*(int *)context;
    return TC_ABORTED;
}

static void test_misuse_of_nothing(void **state)
{
    size_t count;
    tc_runtime *runtime;
    tc_store *store;
    tc_session *session;
    tc_tensor *tensor, *no_tensor = NULL;
    const char *name = "v", *no_name = NULL;
    tc_callable *callable;
    invalid(tc_device_list(NULL, NULL, 0, NULL, NULL, 0));
    invalid(tc_device_list(NULL, NULL, 1, &count, NULL, 0));
    invalid(tc_runtime_create(NULL, NULL));
    const tc_runtime_options bad_runtimes[] = {
        {.struct_size = sizeof bad_runtimes[0], .threads = -1},
        {.struct_size = sizeof bad_runtimes[0], .threads = INT32_MAX},
        {.struct_size = sizeof bad_runtimes[0], .cpu_isa = "z80"},
        {.struct_size = sizeof bad_runtimes[0], .cpu_isa = ""},
    };
    for (size_t i = 0; i < sizeof bad_runtimes / sizeof bad_runtimes[0]; i++) {
        invalid(tc_runtime_create(&bad_runtimes[i], &runtime));
        assert_null(runtime);
    }
    assert_null(tc_runtime_retain(NULL));
    tc_runtime_release(NULL);
    assert_int_equal(tc_runtime_threads(NULL), 0);
    invalid(tc_store_create(NULL, NULL));
    assert_null(tc_store_retain(NULL));
    tc_store_release(NULL);
    assert_int_equal(tc_store_step(NULL), 0);
    invalid(tc_store_visit(NULL, visit_never, NULL, NULL));
    invalid(tc_store_restore(NULL, NULL, NULL, 0, NULL));
    invalid(tc_store_read(NULL, "v", &tensor));
    invalid(tc_session_create(NULL, NULL, &session));
    invalid(tc_session_create(NULL, NULL, NULL));
    assert_null(session);
    assert_null(tc_session_retain(NULL));
    tc_session_release(NULL);
    assert_null(tc_session_store(NULL));
    assert_null(tc_session_graph(NULL));
    invalid(tc_session_initialize(NULL));
    invalid(tc_session_run(NULL, TC_NO_FEEDS, TC_NO_FETCHES, TC_NO_TARGETS, NULL, NULL));
    invalid(tc_session_compile(NULL, NULL, 0, TC_NO_FETCHES, TC_NO_TARGETS, NULL, &callable));
    invalid(tc_callable_run(NULL, NULL, NULL, NULL));
    assert_null(tc_callable_retain(NULL));
    tc_callable_release(NULL);
    invalid(tc_callable_plan(NULL, NULL, NULL));
    invalid(tc_plan_dump(NULL, NULL, TC_DUMP_TEXT, stdout));
    tc_session_count(NULL, NULL);
    invalid(tc_cancellation_create(NULL));
    tc_cancellation_cancel(NULL);
    tc_cancellation_reset(NULL);
    tc_cancellation_destroy(NULL);
    invalid(tc_profile_create(NULL));
    tc_profile_destroy(NULL);
    refuses(tc_profile_print(NULL, stdout), TC_FAILED_PRECONDITION);
    refuses(tc_profile_write_trace(NULL, "trace.json"), TC_FAILED_PRECONDITION);
    tc_profile *profile;
    assert_ok(tc_profile_create(&profile));
    invalid(tc_profile_print(profile, NULL));
    invalid(tc_profile_write_trace(profile, NULL));
    refuses(tc_profile_print(profile, stdout), TC_FAILED_PRECONDITION);
    tc_profile_destroy(profile);

    assert_ok(tc_store_create(NULL, &store));
    invalid(tc_store_visit(store, NULL, NULL, NULL));
    assert_ok(tc_store_visit(store, visit_never, NULL, NULL));
    refuses(tc_store_read(store, "v", &tensor), TC_NOT_FOUND);
    assert_null(tensor);
    invalid(tc_store_read(store, NULL, &tensor));
    invalid(tc_store_read(store, "v", NULL));
    invalid(tc_store_restore(store, NULL, NULL, 1, NULL));
    invalid(tc_store_restore(store, &name, &no_tensor, 1, NULL));
    assert_ok(tc_tensor_create_scalar(TC_F32, 1, &tensor));
    invalid(tc_store_restore(store, &no_name, &tensor, 1, NULL));
    assert_ok(tc_store_restore(store, NULL, NULL, 0, NULL));
    assert_ok(tc_store_visit(store, visit_never, NULL, NULL));
    tc_tensor_release(tensor);
    tc_store_release(store);
}

/* Contents of variables that no session has declared may be of any shape, also one after another.
 */
static void test_misuse_restoring_twice(void **state)
{
    enum { large = 100000 };
    tc_store *store;
    tc_tensor *one, *many, *read;
    int visits = 0;
    assert_ok(tc_store_create(NULL, &store));
    assert_ok(tc_tensor_create_scalar(TC_F64, 1, &one));
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(large), &many));
    for (int64_t i = 0; i < large; i++)
        assert_ok(tc_tensor_set(many, i, (double)i));
    const char *names[] = {"v", "v"};
    assert_ok(tc_store_restore(store, names, (tc_tensor *[]){one, many}, 2, NULL));
    assert_ok(tc_store_read(store, "v", &read));
    assert_int_equal(tc_tensor_size(read), large);
    assert_float_equal(tc_tensor_get(read, large - 1), large - 1, 0);
    tc_tensor_release(read);
    assert_ok(tc_store_restore(store, names, (tc_tensor *[]){many, one}, 2, NULL));
    assert_ok(tc_store_read(store, "v", &read));
    assert_int_equal(tc_tensor_dtype(read), TC_F64);
    assert_int_equal(tc_tensor_size(read), 1);
    tc_tensor_release(read);
    assert_int_equal(tc_store_visit(store, visit_and_stop, &visits, NULL), TC_ABORTED);
    assert_int_equal(visits, 1);

    tc_graph *g = tc_graph_create();
    (void)tc_variable(g, "v", tc_constant_scalar(g, TC_F64, 5));
    tc_session_options options = {.struct_size = sizeof options, .store = store};
    tc_session *session;
    assert_ok(tc_session_create(g, &options, &session));
    uint64_t step = 7;
    invalid(tc_store_restore(store, names, (tc_tensor *[]){one, many}, 2, &step));
    assert_ok(tc_store_read(store, "v", &read));
    assert_float_equal(tc_tensor_get(read, 0), 1, 0);
    assert_int_equal(tc_store_step(store), 0);
    tc_tensor_release(read);
    tc_session_release(session);
    tc_graph_release(g);
    tc_tensor_release(one);
    tc_tensor_release(many);
    tc_store_release(store);
}

static void test_misuse_of_sessions(void **state)
{
    test_model m;
    assert_ok(test_model_create(&m));
    tc_graph *g = m.graph, *other = tc_graph_create();
    tc_value foreign = tc_constant_scalar(other, TC_F32, 1);
    tc_graph *body = tc_function_begin(g, "f");
    tc_value inner = tc_parameter(body, "p", TC_F32, TC_SCALAR);
    tc_session *s;
    invalid(tc_session_create(g, NULL, NULL));
    invalid(tc_session_create(body, NULL, &s));
    tc_session_options bad = {.struct_size = sizeof bad, .plan_cache = -1};
    invalid(tc_session_create(g, &bad, &s));
    assert_null(s);
    tc_runtime *one, *two;
    tc_store *store;
    assert_ok(tc_runtime_create(NULL, &one));
    assert_ok(tc_runtime_create(NULL, &two));
    assert_ok(tc_store_create(one, &store));
    bad = (tc_session_options){.struct_size = sizeof bad, .runtime = two, .store = store};
    invalid(tc_session_create(g, &bad, &s));
    tc_store_release(store);
    tc_runtime_release(one);
    tc_runtime_release(two);
    bad = (tc_session_options){.struct_size = sizeof bad, .disable_passes = "no such pass"};
    assert_ok(tc_session_create(g, &bad, &s));
    tc_tensor *out[2] = {0};
    invalid(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_FETCHES(m.logits), TC_NO_TARGETS, out,
                           NULL));
    tc_session_release(s);

    assert_ok(tc_session_create(g, NULL, &s));
    tc_value late = tc_neg(m.logits);
    tc_value odd[] = {TC_NO_VALUE,
                      foreign,
                      inner,
                      late,
                      {g, -1, 0},
                      {g, 1000000, 0},
                      {g, INT32_MAX, 0},
                      {g, INT32_MIN, 0},
                      {g, m.logits.node, 5},
                      {g, m.logits.node, -1}};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        tc_callable *callable;
        invalid(
            tc_session_run(s, TC_FEEDS({m.x, m.features}), &odd[i], 1, TC_NO_TARGETS, out, NULL));
        invalid(tc_session_run(s, TC_FEEDS({odd[i], m.features}), TC_FETCHES(m.logits),
                               TC_NO_TARGETS, out, NULL));
        invalid(tc_session_compile(s, &odd[i], 1, TC_NO_FETCHES, TC_NO_TARGETS, NULL, &callable));
        assert_null(callable);
        if (odd[i].node != m.logits.node)
            invalid(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_NO_FETCHES, &odd[i], 1, NULL,
                                   NULL));
    }
    assert_null(out[0]);
    invalid(tc_session_run(s, NULL, 1, TC_FETCHES(m.logits), TC_NO_TARGETS, out, NULL));
    invalid(tc_session_run(s, TC_NO_FEEDS, NULL, 1, TC_NO_TARGETS, out, NULL));
    invalid(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, NULL, 1, out, NULL));
    invalid(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_FETCHES(m.logits), TC_NO_TARGETS,
                           NULL, NULL));
    invalid(
        tc_session_run(s, TC_FEEDS({m.x, NULL}), TC_FETCHES(m.logits), TC_NO_TARGETS, out, NULL));
    tc_run_options run = {.struct_size = sizeof run, .mode = (tc_mode)17};
    invalid(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_FETCHES(m.logits), TC_NO_TARGETS, out,
                           &run));
    run = (tc_run_options){.struct_size = sizeof run, .timeout_us = INT64_MIN};
    invalid(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_FETCHES(m.logits), TC_NO_TARGETS, out,
                           &run));
    run.timeout_us = INT64_MAX; /* for ever */
    assert_ok(tc_session_run(s, TC_FEEDS({m.x, m.features}), TC_FETCHES(m.logits), TC_NO_TARGETS,
                             out, &run));
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_NO_TARGETS, NULL, NULL));
    tc_session_count(s, NULL);
    tc_tensor_release(out[0]);
    tc_session_release(s);
    tc_graph_release(other);
    test_model_destroy(&m);
}

/* Objects released in the order that hurts most: what still needs them keeps them. */
static void test_misuse_of_order(void **state)
{
    test_model m;
    assert_ok(test_model_create(&m));
    tc_runtime *runtime;
    tc_store *store;
    tc_session *s;
    tc_callable *c;
    tc_profile *profile;
    tc_tensor *out = NULL, *view;
    tc_runtime_options with = {.struct_size = sizeof with, .threads = 2};
    assert_ok(tc_runtime_create(&with, &runtime));
    assert_ok(tc_store_create(runtime, &store));
    tc_session_options options = {.struct_size = sizeof options, .store = store};
    assert_ok(tc_session_create(m.graph, &options, &s));
    assert_ok(tc_session_compile(s, &m.x, 1, &m.logits, 1, TC_NO_TARGETS, NULL, &c));
    assert_ok(tc_profile_create(&profile));
    tc_runtime_release(runtime);
    tc_store_release(store);
    tc_graph_release(m.graph);
    m.graph = NULL;
    tc_session_release(s);
    tc_run_options run = {.struct_size = sizeof run, .profile = profile};
    assert_ok(tc_callable_run(c, &m.features, &out, &run));

    tc_shape shapes[] = {bad_shapes[0], bad_shapes[1],  bad_shapes[2],         TC_SHAPE(-1, 4),
                         TC_SHAPE(3),   TC_SHAPE(3, 5), TC_SHAPE(INT64_MAX, 4)};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        assert_true(tc_callable_plan(c, &shapes[i], NULL) != TC_OK);
        assert_true(tc_error_message()[0]);
        assert_true(tc_plan_dump(c, &shapes[i], TC_DUMP_TEXT, stdout) != TC_OK);
    }
    /* What no machine can run can still be asked for its cost. */
    tc_shape huge = TC_SHAPE((int64_t)1 << 55, 4);
    tc_plan_info info;
    assert_ok(tc_callable_plan(c, &huge, &info));
    assert_true(info.peak_bytes > (size_t)1 << 57);
    invalid(tc_callable_plan(c, NULL, NULL));
    invalid(tc_plan_dump(c, &shapes[0], TC_DUMP_TEXT, NULL));
    invalid(tc_callable_run(c, NULL, &out, NULL));
    invalid(tc_callable_run(c, &(tc_tensor *){NULL}, &out, NULL));
    invalid(tc_callable_run(c, &m.features, NULL, NULL));
    invalid(tc_callable_run(c, &m.labels, &out, NULL));
    invalid(tc_callable_run(c, &m.features, &m.features, NULL)); /* the feed as output */
    assert_ok(tc_tensor_reshape(out, TC_SHAPE(2 * MODEL_BATCH), &view));
    invalid(tc_callable_run(c, &m.features, &view, NULL));

    tc_callable_release(c);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_ok(tc_profile_print(profile, file)); /* names of a graph that only it knows of */
    fclose(file);
    tc_profile_destroy(profile);
    tc_tensor_release(out);
    assert_true(isfinite(tc_tensor_get(view, 0)));
    tc_tensor_release(view);
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MISUSE(test_misuse_of_values),   MISUSE(test_misuse_of_tensors),
        MISUSE(test_misuse_of_nothing),  MISUSE(test_misuse_restoring_twice),
        MISUSE(test_misuse_of_sessions), MISUSE(test_misuse_of_order),
    };
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
