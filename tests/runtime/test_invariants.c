/* What depends on weights alone is computed once per content of the weights and shared. */
#include <math.h>

#include "support/counting_allocator.h"
#include "support/test.h"

#include <tensorc/tensorc.h>

#define N 24

typedef struct model {
    tc_graph *graph;
    tc_value x, y, weights;
} model;

/* y = x (w' w + 1): a transpose, a product and a sum of weights, used by one product with x. */
static model make_model(void)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), N));
    m.weights = tc_variable(m.graph, "w", tc_random_normal(m.graph, TC_F32, TC_SHAPE(N, N)));
    tc_value w = m.weights;
    tc_value square = tc_matmul(tc_transpose(w), w);
    m.y = tc_matmul(m.x, tc_add(square, tc_constant_scalar(m.graph, TC_F32, 1)));
    return m;
}

static tc_callable *compile(const model *m, tc_store *store, const char *disabled,
                            tc_session **session)
{
    const tc_session_options options = {
        .struct_size = sizeof options, .store = store, .disable_passes = disabled};
    tc_callable *callable;
    assert_ok(tc_session_create(m->graph, &options, session));
    assert_ok(tc_session_compile(*session, TC_FETCHES(m->x), TC_FETCHES(m->y), TC_NO_TARGETS, NULL,
                                 &callable));
    return callable;
}

static void run(tc_callable *callable, float result[2 * N])
{
    float elements[2 * N];
    for (int i = 0; i < 2 * N; i++)
        elements[i] = (float)(i % 5) - 2;
    tc_tensor *x, *y;
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(2, N), elements, NULL, NULL, &x));
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(2, N), result, NULL, NULL, &y));
    assert_ok(tc_callable_run(callable, &x, &y, NULL));
    tc_tensor_release(x);
    tc_tensor_release(y);
}

static int32_t kernels_of(tc_callable *callable)
{
    const tc_shape shape = TC_SHAPE(2, N);
    tc_plan_info info;
    assert_ok(tc_callable_plan(callable, &shape, &info));
    return info.kernels;
}

static uint64_t packed_bytes(tc_session *session)
{
    tc_session_counters counters;
    tc_session_count(session, &counters);
    return counters.packed_bytes;
}

static void scale_weights(tc_store *store, float factor)
{
    tc_tensor *w;
    assert_ok(tc_store_read(store, "w", &w));
    float *elements = tc_tensor_data(w);
    for (int i = 0; i < N * N; i++)
        elements[i] *= factor;
    assert_ok(tc_store_restore(store, (const char *[]){"w"}, &w, 1, NULL));
    tc_tensor_release(w);
}

static void assert_equal(const float *a, const float *b)
{
    assert_memory_equal(a, b, 2 * N * sizeof(float));
}

static void test_once_per_content(void **state)
{
    model m = make_model();
    tc_session *session, *plain_session;
    tc_callable *callable = compile(&m, NULL, NULL, &session);
    tc_store *store = tc_session_store(session);
    tc_callable *plain = compile(&m, store, "all", &plain_session);
    float result[2 * N], expected[2 * N];
    assert_int_equal(kernels_of(callable), 1);
    assert_true(kernels_of(plain) >= 4);

    run(callable, result);
    run(plain, expected);
    assert_equal(result, expected);
    uint64_t packed = packed_bytes(session);
    assert_true(packed >= 2 * N * N * sizeof(float)); /* product and sum */
    run(callable, result);
    assert_int_equal(packed_bytes(session), packed);

    scale_weights(store, 2);
    run(callable, result);
    run(plain, expected);
    assert_equal(result, expected);
    assert_int_equal(packed_bytes(session), 2 * packed);

    /* A second session of the store finds everything made. */
    tc_session *second_session;
    tc_callable *second = compile(&m, store, NULL, &second_session);
    run(second, result);
    assert_equal(result, expected);
    assert_int_equal(packed_bytes(second_session), 0);

    /* One after the other they are released, and the results with the last. */
    tc_callable_release(callable);
    tc_session_release(session);
    run(second, result);
    assert_equal(result, expected);
    tc_callable_release(second);
    tc_session_release(second_session);
    tc_callable_release(plain);
    tc_session_release(plain_session);
    tc_graph_release(m.graph);
}

/* A variable that the graph updates is read anew in every run, also by runs that do not write it.
 */
static void test_updated_variables_are_no_invariants(void **state)
{
    model m = make_model();
    tc_value halve =
        tc_assign(m.weights, tc_mul(m.weights, tc_constant_scalar(m.graph, TC_F32, 0.5)));
    tc_session *session, *plain_session;
    tc_callable *callable = compile(&m, NULL, NULL, &session);
    tc_callable *plain = compile(&m, tc_session_store(session), "all", &plain_session);
    float result[2 * N], expected[2 * N];
    assert_true(kernels_of(callable) > 1);
    for (int i = 0; i < 3; i++) {
        run(callable, result);
        run(plain, expected);
        assert_equal(result, expected);
        assert_ok(
            tc_session_run(session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(halve), NULL, NULL));
    }
    tc_callable_release(callable);
    tc_callable_release(plain);
    tc_session_release(session);
    tc_session_release(plain_session);
    tc_graph_release(m.graph);
}

/* Another session, whose graph does update it, shares the store: its commits are seen. */
static void test_commits_of_other_graphs_are_seen(void **state)
{
    model m = make_model(), other = make_model();
    tc_value halve = tc_assign(other.weights,
                               tc_mul(other.weights, tc_constant_scalar(other.graph, TC_F32, 0.5)));
    tc_session *session, *plain_session, *writer;
    tc_callable *callable = compile(&m, NULL, NULL, &session);
    tc_callable *plain = compile(&m, tc_session_store(session), "all", &plain_session);
    const tc_session_options options = {.struct_size = sizeof options,
                                        .store = tc_session_store(session)};
    assert_ok(tc_session_create(other.graph, &options, &writer));
    float result[2 * N], expected[2 * N];
    for (int i = 0; i < 3; i++) {
        run(callable, result);
        run(plain, expected);
        assert_equal(result, expected);
        assert_ok(
            tc_session_run(writer, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(halve), NULL, NULL));
    }
    tc_callable_release(callable);
    tc_callable_release(plain);
    tc_session_release(session);
    tc_session_release(plain_session);
    tc_session_release(writer);
    tc_graph_release(m.graph);
    tc_graph_release(other.graph);
}

/* Parts of an invariant, which share its memory, are read where they lie. */
static void test_parts_of_invariants(void **state)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), N));
    m.weights = tc_variable(m.graph, "w", tc_random_normal(m.graph, TC_F32, TC_SHAPE(N + 2, N)));
    tc_value doubled = tc_matmul(m.weights, tc_transpose(m.weights)); /* [N + 2, N + 2] */
    tc_value rows = tc_slice(doubled, TC_INTS(1), TC_INTS(N + 1));
    tc_value twice = tc_concat(TC_VALUES(rows, rows), 0);
    m.y = tc_matmul(m.x, tc_slice(twice, TC_INTS(3, 1), TC_INTS(N + 3, N + 1)));
    tc_session *session, *plain_session;
    tc_callable *callable = compile(&m, NULL, NULL, &session);
    tc_callable *plain = compile(&m, tc_session_store(session), "all", &plain_session);
    float result[2 * N], expected[2 * N];
    run(callable, result);
    run(plain, expected);
    assert_equal(result, expected);
    tc_callable_release(callable);
    tc_callable_release(plain);
    tc_session_release(session);
    tc_session_release(plain_session);
    tc_graph_release(m.graph);
}

/* A failure tells where, keeps nothing, and is over when the weights are good again. */
static void test_invariants_that_fail(void **state)
{
    (void)state;
    counting_allocator_install();
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
    tc_value table =
        tc_variable(g, "table", tc_constant_data(g, TC_F32, TC_SHAPE(3), ((float[]){1, 2, 4})));
    tc_value ids =
        tc_variable(g, "ids", tc_constant_data(g, TC_I64, TC_SHAPE(2), ((int64_t[]){0, 1})));
    tc_value y = tc_add(x, tc_gather(tc_exp(table), ids));
    static const int64_t rows[][2] = {{0, 1}, {2, 9}, {2, 9}, {2, 0}, {-7, 0}, {1, 1}};
    tc_session *s;
    tc_tensor *fed, *restored, *out = NULL;
    assert_ok(tc_session_create(g, NULL, &s));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){10, 20}, &fed));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_ok(tc_session_initialize(s));
        assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(2), rows[i], &restored));
        assert_ok(
            tc_store_restore(tc_session_store(s), (const char *[]){"ids"}, &restored, 1, NULL));
        tc_tensor_release(restored);
        tc_status status =
            tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(y), TC_NO_TARGETS, &out, NULL);
        bool good = rows[i][0] >= 0 && rows[i][1] < 3;
        assert_int_equal(status == TC_OK, good);
        if (!good) {
            assert_error_contains("gather 'gather'");
            assert_error_contains("test_invariants.c:");
            continue;
        }
        for (int k = 0; k < 2; k++)
            assert_float_equal(tc_tensor_get(out, k), 10 * (k + 1) + exp((double)(1 << rows[i][k])),
                               1e-4);
        assert_true(packed_bytes(s) > 0);
    }
    tc_tensor_release(out);
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_per_content),
        cmocka_unit_test(test_updated_variables_are_no_invariants),
        cmocka_unit_test(test_commits_of_other_graphs_are_seen),
        cmocka_unit_test(test_parts_of_invariants),
        cmocka_unit_test(test_invariants_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
