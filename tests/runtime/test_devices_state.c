/* Where contents of variables are: on any device, on several, on the CPU; in files. */
#include <tensorc/serialize.h>

#include "devices_test.h"

/* Contents are the same whoever looks, and move on their own. */
static void test_state_shared_with_the_cpu(void **state)
{
    test_model m;
    (void)state;
    loopback_reset(&(loopback_options){.n_devices = 2, .deferred = true});
    assert_ok(test_model_create(&m));
    tc_session *reference = session_on(m.graph, "cpu");
    tc_store *store;
    tc_runtime *runtime;
    assert_ok(tc_runtime_create(NULL, &runtime));
    assert_ok(tc_store_create(runtime, &store));
    const char *const devices[] = {"cpu", "loop:0", "loop:1"};
    tc_session *sessions[3];
    for (int i = 0; i < 3; i++) {
        const tc_session_options o = {
            .struct_size = sizeof o, .store = store, .device = devices[i]};
        assert_ok(tc_session_create(m.graph, &o, &sessions[i]));
    }
    const int order[] = {1, 1, 0, 2, 2, 1, 0, 0, 2, 0, 1, 2};
    tc_tensor *expected = NULL, *loss = NULL;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        assert_ok(model_step(&m, reference, &expected, NULL));
        assert_ok(model_step(&m, sessions[order[i]], &loss, NULL));
        assert_true(tc_tensor_get(loss, 0) == tc_tensor_get(expected, 0));
        if (i % 3 != 2)
            continue;
        contents a = contents_of(reference), b = contents_of(sessions[0]);
        assert_true(contents_equal(&a, &b));
        contents_free(&a);
        contents_free(&b);
    }
    /* Nothing moves to or from where it stays. */
    assert_ok(model_step(&m, sessions[1], &loss, NULL));
    assert_ok(model_step(&m, sessions[1], &loss, NULL));
    int64_t copies = loopback_count(LOOPBACK_COPY);
    assert_ok(model_step(&m, sessions[1], &loss, NULL));
    assert_int_equal(loopback_count(LOOPBACK_COPY), copies);
    tc_tensor_release(expected);
    tc_tensor_release(loss);
    for (int i = 0; i < 3; i++)
        tc_session_release(sessions[i]);
    tc_session_release(reference);
    tc_store_release(store);
    tc_runtime_release(runtime);
    test_model_destroy(&m);
    assert_clean();
}

/* Trained on a device, saved, trained on; then restored on both, which go on alike. */
static void test_state_checkpoints(void **state)
{
    test_model m;
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    (void)state;
    loopback_reset(NULL);
    test_folder_create(folder);
    assert_ok(test_model_create(&m));
    tc_session *s = session_on(m.graph, "loop:0"), *cpu = session_on(m.graph, NULL);
    tc_tensor *loss = NULL, *other = NULL;
    for (int i = 0; i < 4; i++)
        assert_ok(model_step(&m, s, &loss, NULL));
    assert_ok(tc_checkpoint_save(s, folder, NULL, path, sizeof path));
    contents saved = contents_of(s);
    for (int i = 0; i < 3; i++)
        assert_ok(model_step(&m, s, &loss, NULL));
    contents later = contents_of(s);
    assert_false(contents_equal(&saved, &later));
    /* Into the store whose contents are on the device: those are stale now. */
    assert_ok(tc_checkpoint_restore(s, path, NULL));
    assert_ok(tc_checkpoint_restore(cpu, path, NULL));
    contents restored = contents_of(s);
    assert_true(contents_equal(&saved, &restored));
    for (int i = 0; i < 3; i++) {
        assert_ok(model_step(&m, s, &loss, NULL));
        assert_ok(model_step(&m, cpu, &other, NULL));
        assert_true(tc_tensor_get(loss, 0) == tc_tensor_get(other, 0));
    }
    contents a = contents_of(s), b = contents_of(cpu);
    assert_true(contents_equal(&a, &later));
    assert_true(contents_equal(&b, &later));
    contents *all[] = {&saved, &later, &restored, &a, &b};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        contents_free(all[i]);
    tc_tensor_release(loss);
    tc_tensor_release(other);
    tc_session_release(s);
    tc_session_release(cpu);
    test_model_destroy(&m);
    test_folder_remove(folder);
    assert_clean();
}

/* Large contents of a restored file stay in it until somebody writes them: on a device too. */
static void test_state_mapped(void **state)
{
    enum { size = 100000 };
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    (void)state;
    loopback_reset(NULL);
    test_folder_create(folder);
    tc_graph *g = tc_graph_create();
    tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(size)));
    tc_value up = tc_assign_add(v, tc_ones(g, TC_F32, TC_SHAPE(size)));
    tc_session *s = session_on(g, "loop:0");
    assert_ok(tc_session_initialize(s));
    assert_ok(tc_checkpoint_save(s, folder, NULL, path, sizeof path));
    for (int reads = 0; reads < 2; reads++) {
        assert_ok(tc_checkpoint_restore(s, path, NULL));
        tc_tensor *content;
        if (reads) {
            assert_ok(tc_store_read(tc_session_store(s), "v", &content));
            tc_tensor_release(content);
        }
        for (int i = 0; i < 3; i++)
            assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(up), NULL, NULL));
        assert_ok(tc_store_read(tc_session_store(s), "v", &content));
        assert_true(tc_tensor_get(content, 0) == 4 && tc_tensor_get(content, size - 1) == 4);
        tc_tensor_release(content);
    }
    tc_session_release(s);
    tc_graph_release(g);
    test_folder_remove(folder);
    assert_clean();
}

/* A graph over two devices and the CPU, with state on each, against the CPU alone. */
typedef struct mixed {
    tc_graph *graph;
    tc_value x, sum;
    tc_value updates[3];
} mixed;

static void mixed_create(mixed *m, bool devices)
{
    const char *const names[] = {"loop:0", "loop:1", "cpu"};
    m->graph = tc_graph_create();
    tc_graph *g = m->graph;
    m->x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 8));
    tc_value at = m->x, total = TC_NO_VALUE;
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        if (devices)
            tc_device_push(g, names[i % 3]);
        tc_value w = tc_variable(
            g, name, tc_random_normal(g, TC_F32, TC_SHAPE(8, 8), .stddev = TC_SOME(0.3)));
        at = tc_tanh(tc_matmul(at, w));
        tc_value mean = tc_reduce_mean(at, .axes = TC_INTS(0), .keep_dims = true);
        if (i < 3)
            m->updates[i] = tc_assign_add(w, tc_mul(w, mean));
        if (devices)
            tc_device_pop(g);
        total = i == 0 ? mean : tc_add(total, mean);
    }
    m->sum = total;
    assert_ok(tc_graph_status(g));
}

static void run_mixed(mixed *m, const char *device, int rows, float *sums, contents *after)
{
    tc_session *s = session_on(m->graph, device);
    tc_tensor *x, *sum = NULL;
    float values[64];
    for (int i = 0; i < 64; i++)
        values[i] = (float)(i % 7) - 2.5f;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(rows, 8), values, &x));
    for (int i = 0; i < 4; i++) {
        assert_ok(tc_session_run(s, TC_FEEDS({m->x, x}), TC_FETCHES(m->sum),
                                 TC_TARGETS(m->updates[0], m->updates[1], m->updates[2]), &sum,
                                 NULL));
        for (int k = 0; k < 8; k++)
            sums[8 * i + k] = (float)tc_tensor_get(sum, k);
    }
    *after = contents_of(s);
    tc_tensor_release(x);
    tc_tensor_release(sum);
    tc_session_release(s);
}

static void test_state_mixed_devices(void **state)
{
    (void)state;
    for (int deferred = 0; deferred < 2; deferred++) {
        loopback_reset(&(loopback_options){.n_devices = 2, .deferred = deferred});
        mixed plain, spread;
        float expected[32], sums[32];
        contents a, b;
        mixed_create(&plain, false);
        mixed_create(&spread, true);
        const char *const rest[] = {"cpu", "loop:0", "loop:1", "auto"};
        for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
            run_mixed(&plain, "cpu", 5, expected, &a);
            run_mixed(&spread, rest[i], 5, sums, &b);
            for (int k = 0; k < 32; k++)
                assert_float_equal(sums[k], expected[k], 1e-5);
            assert_int_equal(b.step, 4);
            assert_int_equal(a.size, b.size);
            for (size_t k = 0; k < a.size / sizeof(float); k++)
                assert_float_equal(((float *)(void *)b.data)[k], ((float *)(void *)a.data)[k],
                                   1e-5);
            contents_free(&a);
            contents_free(&b);
        }
        tc_graph_release(plain.graph);
        tc_graph_release(spread.graph);
        assert_clean();
    }
}

/* Operators without a kernel fall back to the CPU in the midst of a device's work, and are
 * counted. */
static void test_state_fallbacks(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.deferred = true, .without = ",tanh,matmul_fused,fused,"});
    mixed plain;
    float expected[32], sums[32];
    contents a, b;
    mixed_create(&plain, false);
    run_mixed(&plain, "cpu", 3, expected, &a);
    run_mixed(&plain, "loop:0", 3, sums, &b);
    for (int k = 0; k < 32; k++)
        assert_float_equal(sums[k], expected[k], 1e-5);
    contents_free(&a);
    contents_free(&b);
    tc_session *s = session_on(plain.graph, "loop:0");
    tc_callable *callable;
    tc_shape shape = TC_SHAPE(3, 8);
    tc_plan_info info;
    tc_session_counters counters;
    assert_ok(tc_session_compile(s, TC_FETCHES(plain.x), TC_FETCHES(plain.sum), TC_NO_TARGETS, NULL,
                                 &callable));
    assert_ok(tc_callable_plan(callable, &shape, &info));
    assert_true(info.device_bytes > 0);
    assert_true(info.transfers > 6);
    assert_int_equal(info.transferred_bytes % 4, 0);
    tc_session_count(s, &counters);
    assert_true(counters.fallbacks >= 6);
    tc_callable_release(callable);
    tc_session_release(s);
    tc_graph_release(plain.graph);
    assert_clean();
}

/* Shapes that depend on elements: stages with work of the device before and after. */
static void test_state_stages(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.deferred = true});
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    tc_value count = tc_variable(g, "count", tc_zeros(g, TC_F32, TC_SCALAR));
    tc_value y = tc_mul(x, x);
    tc_value kept = tc_boolean_mask(y, tc_greater(x, tc_zeros_like(x)));
    tc_value sum = tc_reduce_sum(tc_add(kept, kept));
    tc_value update = tc_assign_add(count, sum);
    const float values[] = {1, -2, 3, -4, 5};
    tc_tensor *fed;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(5), values, &fed));
    tc_session *s = session_on(g, "loop:0");
    for (int i = 1; i <= 4; i++) {
        tc_tensor *outputs[2] = {0}, *content;
        assert_ok(tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(sum, kept), TC_TARGETS(update),
                                 outputs, NULL));
        assert_true(tc_tensor_get(outputs[0], 0) == 70);
        assert_int_equal(tc_tensor_shape(outputs[1])->dims[0].size, 3);
        assert_true(tc_tensor_get(outputs[1], 2) == 25);
        assert_ok(tc_store_read(tc_session_store(s), "count", &content));
        assert_true(tc_tensor_get(content, 0) == 70 * i);
        tc_tensor_release(content);
        tc_tensor_release(outputs[0]);
        tc_tensor_release(outputs[1]);
    }
    assert_true(loopback_count(LOOPBACK_LAUNCH) > 0);
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
    assert_clean();
}

/* Random numbers depend on the step, also of a recording. */
static void test_state_random(void **state)
{
    (void)state;
    loopback_reset(NULL);
    tc_graph *g = tc_graph_create();
    tc_value r = tc_random_normal(g, TC_F32, TC_SHAPE(16));
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(16)));
    tc_value up = tc_assign_add(v, r);
    tc_session *s = session_on(g, "loop:0"), *cpu = session_on(g, NULL);
    tc_tensor *a = NULL, *b = NULL;
    double before = 0;
    for (int i = 0; i < 5; i++) {
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(r), TC_TARGETS(up), &a, NULL));
        assert_ok(tc_session_run(cpu, TC_NO_FEEDS, TC_FETCHES(r), TC_TARGETS(up), &b, NULL));
        assert_memory_equal(tc_tensor_data(a), tc_tensor_data(b), tc_tensor_bytes(a));
        assert_true(tc_tensor_get(a, 3) != before);
        before = tc_tensor_get(a, 3);
    }
    tc_session_counters counters;
    tc_session_count(s, &counters);
    assert_true(counters.recordings >= 2); /* what computes, and what commits */
    assert_true(counters.replays >= 8);
    tc_tensor_release(a);
    tc_tensor_release(b);
    tc_session_release(s);
    tc_session_release(cpu);
    tc_graph_release(g);
    assert_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_shared_with_the_cpu),
        cmocka_unit_test(test_state_checkpoints),
        cmocka_unit_test(test_state_mapped),
        cmocka_unit_test(test_state_mixed_devices),
        cmocka_unit_test(test_state_fallbacks),
        cmocka_unit_test(test_state_stages),
        cmocka_unit_test(test_state_random),
    };
    return cmocka_run_group_tests_name("devices_state", tests, NULL, NULL);
}
