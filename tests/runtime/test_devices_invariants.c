/* What depends on weights alone is computed on a device once per content of the weights, too, and
 * is copied between devices no more often than that. */
#include <math.h>

#include "devices_test.h"

#define N 12

typedef struct model {
    tc_graph *graph;
    tc_value x, y;
    tc_tensor *fed;
} model;

/* y = x (w' w + 1) by rows that ids choose: all but the product with x is of weights. Where there
 * is a scope, it has the product of the weights alone. */
static void model_create(model *m, const char *scope)
{
    float elements[2 * N];
    int64_t ids[N];
    for (int i = 0; i < 2 * N; i++)
        elements[i] = (float)(i % 5) - 2;
    for (int i = 0; i < N; i++)
        ids[i] = N - 1 - i;
    tc_graph *g = m->graph = tc_graph_create();
    m->x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), N));
    tc_value w = tc_variable(g, "w", tc_random_normal(g, TC_F32, TC_SHAPE(N, N)));
    if (scope)
        tc_device_push(g, scope);
    tc_value square = tc_matmul(w, w, .transpose_a = true);
    if (scope)
        tc_device_pop(g);
    tc_value table = tc_add(square, tc_constant_scalar(g, TC_F32, 1));
    tc_value chosen = tc_variable(g, "ids", tc_constant_data(g, TC_I64, TC_SHAPE(N), ids));
    m->y = tc_matmul(m->x, tc_gather(table, chosen));
    assert_ok(tc_graph_status(g));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2, N), elements, &m->fed));
}

static void model_destroy(model *m)
{
    tc_tensor_release(m->fed);
    tc_graph_release(m->graph);
}

static tc_session *session_of(const model *m, const char *device, tc_store *store, bool keeps)
{
    tc_session *s;
    const tc_session_options o = {.struct_size = sizeof o,
                                  .device = device,
                                  .store = store,
                                  .disable_passes = keeps ? NULL : "all"};
    assert_ok(tc_session_create(m->graph, &o, &s));
    return s;
}

static tc_status run(const model *m, tc_session *s, float result[2 * N])
{
    tc_tensor *y = NULL;
    tc_status status =
        tc_session_run(s, TC_FEEDS({m->x, m->fed}), TC_FETCHES(m->y), TC_NO_TARGETS, &y, NULL);
    if (status == TC_OK)
        memcpy(result, tc_tensor_data(y), 2 * N * sizeof *result);
    tc_tensor_release(y);
    return status;
}

static tc_session_counters counters_of(tc_session *s)
{
    tc_session_counters counters;
    tc_session_count(s, &counters);
    return counters;
}

static void restore_weights(tc_session *s, float first)
{
    float elements[N * N];
    tc_tensor *w;
    for (int i = 0; i < N * N; i++)
        elements[i] = first + (float)(i % 7) - 3;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(N, N), elements, &w));
    assert_ok(tc_store_restore(tc_session_store(s), (const char *[]){"w"}, &w, 1, NULL));
    tc_tensor_release(w);
}

static void assert_same(const float *a, const float *b)
{
    assert_memory_equal(a, b, 2 * N * sizeof *a);
}

static const loopback_options variants[] = {
    {.n_devices = 2},
    {.n_devices = 2, .deferred = true},
    {.n_devices = 2, .deferred = true, .no_recordings = true},
};

enum { VARIANTS = sizeof variants / sizeof variants[0] };

/* Runs after the first compute and copy what depends on x alone, until the weights change. */
static void check_kept(const char *scope)
{
    float result[2 * N], expected[2 * N];
    model m;
    model_create(&m, scope);
    tc_session *s = session_of(&m, "loop:0", NULL, true);
    tc_session *plain = session_of(&m, "loop:0", tc_session_store(s), false);
    tc_session *second = session_of(&m, "loop:0", tc_session_store(s), true);
    uint64_t packed = 0;
    size_t live = 0;
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 4; k++) {
            assert_ok(run(&m, plain, expected));
            assert_ok(run(&m, s, result));
            assert_same(result, expected);
        }
        assert_ok(run(&m, second, result));
        assert_same(result, expected);
        if (i == 0) {
            packed = counters_of(s).packed_bytes;
            live = loopback_live_bytes();
            assert_true(packed >= 2 * N * N * sizeof(float));
        }
        assert_int_equal(counters_of(s).packed_bytes, (uint64_t)(i + 1) * packed);
        assert_int_equal(loopback_live_bytes(), live); /* what is out of date is gone */
        restore_weights(s, (float)i);
    }
    assert_int_equal(counters_of(second).packed_bytes, 0); /* finds all of it made */
    assert_int_equal(counters_of(s).transferred_bytes, 12 * 2 * sizeof(float) * 2 * N);
    tc_session_release(s);
    assert_ok(run(&m, plain, expected));
    assert_ok(run(&m, second, result));
    assert_same(result, expected);
    tc_session_release(second);
    tc_session_release(plain);
    model_destroy(&m);
    assert_clean();
}

static void test_kept(void **state)
{
    const char *const scopes[] = {NULL, "cpu", "loop:1"};
    (void)state;
    for (int i = 0; i < VARIANTS; i++)
        for (int k = 0; k < 3; k++) {
            loopback_reset(&variants[i]);
            check_kept(scopes[k]);
        }
}

/* One kernel and two copies are left in the plan. */
static void test_plan_that_is_left(void **state)
{
    const tc_shape shape = TC_SHAPE(2, N);
    tc_plan_info info;
    tc_callable *callable;
    model m;
    (void)state;
    loopback_reset(&variants[0]);
    model_create(&m, "cpu");
    tc_session *s = session_of(&m, "loop:0", NULL, true);
    assert_ok(tc_session_compile(s, &m.x, 1, &m.y, 1, TC_NO_TARGETS, NULL, &callable));
    assert_ok(tc_callable_plan(callable, &shape, &info));
    assert_int_equal(info.kernels, 1);
    tc_callable_release(callable);
    tc_session_release(s);
    model_destroy(&m);
    assert_clean();
}

/* What another graph commits, on the device or not, is seen. */
static void test_commits_of_other_graphs(void **state)
{
    float result[2 * N], expected[2 * N];
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        model m, other;
        loopback_reset(&variants[i]);
        model_create(&m, NULL);
        other.graph = tc_graph_create();
        tc_value v = tc_variable(other.graph, "w", tc_zeros(other.graph, TC_F32, TC_SHAPE(N, N)));
        tc_value halve = tc_assign(v, tc_mul(v, tc_constant_scalar(other.graph, TC_F32, 0.5)));
        tc_session *s = session_of(&m, "loop:0", NULL, true);
        tc_session *plain = session_of(&m, "loop:0", tc_session_store(s), false);
        tc_session *writers[] = {session_of(&other, "loop:0", tc_session_store(s), true),
                                 session_of(&other, "cpu", tc_session_store(s), true)};
        for (int k = 0; k < 6; k++) {
            assert_ok(run(&m, s, result));
            assert_ok(run(&m, plain, expected));
            assert_same(result, expected);
            assert_ok(tc_session_run(writers[k % 2], TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(halve),
                                     NULL, NULL));
        }
        tc_session_release(writers[0]);
        tc_session_release(writers[1]);
        tc_session_release(plain);
        tc_session_release(s);
        tc_graph_release(other.graph);
        model_destroy(&m);
        assert_clean();
    }
}

static void restore_ids(tc_session *s, int64_t first)
{
    int64_t ids[N] = {first};
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(N), ids, &tensor));
    assert_ok(tc_store_restore(tc_session_store(s), (const char *[]){"ids"}, &tensor, 1, NULL));
    tc_tensor_release(tensor);
}

/* A fault is the error of the run that computes it, as on the CPU, and leaves nothing behind. */
static void test_faults(void **state)
{
    float result[2 * N], expected[2 * N];
    char message[512];
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        model m;
        loopback_reset(&variants[i]);
        model_create(&m, NULL);
        tc_session *cpu = session_of(&m, "cpu", NULL, true);
        tc_session *s = session_of(&m, "loop:0", tc_session_store(cpu), true);
        for (int k = 0; k < 3; k++) {
            restore_ids(s, k);
            assert_ok(run(&m, cpu, expected));
            assert_ok(run(&m, s, result));
            assert_same(result, expected);
            restore_ids(s, N + k);
            assert_status(run(&m, cpu, expected), TC_INVALID_ARGUMENT);
            snprintf(message, sizeof message, "%s", tc_error_message());
            for (int again = 0; again < 2; again++) {
                assert_status(run(&m, s, result), TC_INVALID_ARGUMENT);
                assert_string_equal(tc_error_message(), message);
                assert_error_contains("test_devices_invariants.c:");
            }
        }
        tc_session_release(s);
        tc_session_release(cpu);
        model_destroy(&m);
        assert_clean();
    }
}

/* Three contents of the weights; whether the device was not lost on the way. */
static bool run_contents(const model *m, float results[3][2 * N])
{
    tc_session *s = session_of(m, "loop:0", NULL, true);
    bool lost = false;
    for (int i = 0; i < 3 && !lost; i++) {
        restore_weights(s, (float)i);
        tc_status status = run(m, s, results[i]);
        for (int tries = 0; tries < 2 && status != TC_OK && !lost; tries++) {
            assert_true(tc_error_message()[0]);
            status = run(m, s, results[i]);
            lost = status == TC_UNAVAILABLE;
        }
        assert_true(lost || status == TC_OK);
    }
    tc_session_release(s);
    return !lost;
}

/* Whatever call fails, the next run makes what is missing. */
static void test_calls_that_fail(void **state)
{
    static float results[3][2 * N], expected[3][2 * N];
    const char *const scopes[] = {NULL, "cpu", "loop:1"};
    (void)state;
    for (int k = 0; k < 3 * VARIANTS; k++) {
        model m;
        bool failed = true;
        int kept = 0;
        model_create(&m, scopes[k / VARIANTS]);
        loopback_reset(&variants[k % VARIANTS]);
        assert_true(run_contents(&m, expected));
        for (int64_t n = 0; failed; n++) {
            loopback_reset(&variants[k % VARIANTS]);
            loopback_fail_at(LOOPBACK_ANY, n);
            bool whole = run_contents(&m, results);
            failed = loopback_failed();
            if (whole)
                assert_memory_equal(results, expected, sizeof results);
            kept += whole;
            assert_clean();
        }
        assert_true(kept > 20);
        model_destroy(&m);
    }
}

/* What there is no room for is told, and what other plans have kept makes room. */
static void test_memory(void **state)
{
    enum { side = 64, bytes = side * side * 4 };
    (void)state;
    loopback_reset(&(loopback_options){.memory = 5 * bytes + 2048});
    tc_graph *g = tc_graph_create();
    tc_tensor *fed, *out = NULL;
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("rows"), side));
    tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(side, side)));
    tc_value one = tc_matmul(x, tc_matmul(v, v)), many = one;
    for (int i = 0; i < 3; i++)
        many = tc_add(many, tc_matmul(x, tc_add(tc_matmul(v, v, .transpose_b = true),
                                                tc_constant_scalar(g, TC_F32, i))));
    tc_value wide = tc_neg(x);
    assert_ok(tc_graph_status(g));
    tc_session *s = session_on(g, "loop:0");
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(side, side), &fed));
    memset(tc_tensor_data(fed), 0, bytes);
    assert_ok(tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(wide), TC_NO_TARGETS, &out, NULL));
    assert_ok(tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(one), TC_NO_TARGETS, &out, NULL));
    assert_status(
        tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(many), TC_NO_TARGETS, &out, NULL),
        TC_RESOURCE_EXHAUSTED);
    assert_error_contains("loop:0");
    assert_ok(tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(one), TC_NO_TARGETS, &out, NULL));
    assert_true(tc_tensor_get(out, 0) == 0);
    tc_tensor_release(out);
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
    assert_clean();
}

/* A request whose whole work is done once has no steps. */
static void test_nothing_left(void **state)
{
    (void)state;
    for (int i = 0; i < VARIANTS; i++) {
        loopback_reset(&variants[i]);
        tc_graph *g = tc_graph_create();
        tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(5)));
        tc_value y = tc_exp(v);
        tc_session *s = session_on(g, "loop:1");
        for (int k = 0; k < 3; k++)
            assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(y), NULL, NULL));
        assert_int_equal(counters_of(s).packed_bytes, 5 * sizeof(float));
        tc_session_release(s);
        tc_graph_release(g);
        assert_clean();
    }
}

/* On a GPU, or its emulation, where there is one: equal but for roundings. */
static void test_kept_on_cuda(void **state)
{
    float result[2 * N], expected[2 * N];
    (void)state;
    loopback_reset(NULL);
    if (!has_cuda())
        skip();
    model m;
    model_create(&m, NULL);
    tc_session *s = session_of(&m, "cuda:0", NULL, true);
    tc_session *cpu = session_of(&m, "cpu", tc_session_store(s), true);
    uint64_t packed = 0;
    for (int i = 0; i < 3; i++) {
        restore_weights(s, (float)i);
        for (int k = 0; k < 4; k++) {
            assert_ok(run(&m, s, result));
            assert_ok(run(&m, cpu, expected));
            for (int e = 0; e < 2 * N; e++)
                assert_float_equal(result[e], expected[e], 1e-2 + 1e-4 * fabs((double)expected[e]));
        }
        packed = i == 0 ? counters_of(s).packed_bytes : packed;
        assert_true(packed > 0);
        assert_int_equal(counters_of(s).packed_bytes, (uint64_t)(i + 1) * packed);
    }
    restore_ids(s, N);
    assert_status(run(&m, s, result), TC_INVALID_ARGUMENT);
    restore_ids(s, 1);
    assert_ok(run(&m, s, result));
    tc_session_release(cpu);
    tc_session_release(s);
    model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_plan_that_is_left),
        cmocka_unit_test(test_commits_of_other_graphs),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_calls_that_fail),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_nothing_left),
        cmocka_unit_test(test_kept_on_cuda),
    };
    return cmocka_run_group_tests_name("devices_invariants", tests, NULL, NULL);
}
