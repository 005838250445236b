/* Plans by shape and programs by request: found again, bounded, dropped when nobody uses them. */
#include "../support/counting_allocator.h"
#include "../support/test.h"

#include <tensorc/tensorc.h>

typedef struct fixture {
    tc_graph *graph;
    tc_value x, y; /* f32 [batch, length] -> [batch], the sums of squares */
} fixture;

static fixture fixture_create(void)
{
    fixture f = {.graph = tc_graph_create()};
    f.x = tc_placeholder(f.graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), TC_DIM("length")));
    f.y = tc_reduce_sum(tc_square(f.x), .axes = TC_INTS(1));
    return f;
}

static tc_session *session_with(tc_graph *graph, int32_t plans, int32_t programs)
{
    const tc_session_options options = {
        .struct_size = sizeof options, .plan_cache = plans, .program_cache = programs};
    tc_session *s;
    assert_ok(tc_session_create(graph, &options, &s));
    return s;
}

/* Ones, so that each sum is `length`. */
static tc_tensor *ones(int64_t batch, int64_t length)
{
    tc_tensor *t;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(batch, length), &t));
    for (int64_t i = 0; i < batch * length; i++)
        assert_ok(tc_tensor_set(t, i, 1));
    return t;
}

static tc_session_counters counters_of(tc_session *s)
{
    tc_session_counters counters;
    tc_session_count(s, &counters);
    return counters;
}

static void run_shape(tc_session *s, const fixture *f, int64_t batch, int64_t length)
{
    tc_tensor *x = ones(batch, length), *out = NULL;
    assert_ok(tc_session_run(s, TC_FEEDS({f->x, x}), TC_FETCHES(f->y), TC_NO_TARGETS, &out, NULL));
    assert_int_equal(tc_tensor_size(out), batch);
    for (int64_t i = 0; i < batch; i++)
        assert_float_equal(tc_tensor_get(out, i), (double)length, 0);
    tc_tensor_release(x);
    tc_tensor_release(out);
}

/* Batches and lengths in turn: nothing is planned or allocated twice. */
static void test_shapes_alternate_without_allocation(void **state)
{
    enum { shapes = 3 };
    static const int64_t sizes[shapes][2] = {{4, 7}, {1, 100}, {4, 8}};
    counting_allocator_install();
    fixture f = fixture_create();
    tc_session *s = session_with(f.graph, 0, 0);
    tc_tensor *x[shapes], *out[shapes];
    for (int k = 0; k < shapes; k++) {
        x[k] = ones(sizes[k][0], sizes[k][1]);
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(sizes[k][0]), &out[k]));
    }
    int64_t counted = 0;
    for (int round = 0; round < 101; round++) {
        for (int k = 0; k < shapes; k++)
            if (tc_session_run(s, TC_FEEDS({f.x, x[k]}), TC_FETCHES(f.y), TC_NO_TARGETS, &out[k],
                               NULL) != TC_OK)
                fail();
        if (round == 0)
            counted = counting_allocator_total();
    }
    assert_int_equal(counting_allocator_total(), counted);
    assert_int_equal(counters_of(s).plans, shapes);
    assert_int_equal(counters_of(s).evictions, 0);
    for (int k = 0; k < shapes; k++) {
        assert_float_equal(tc_tensor_get(out[k], 0), (double)sizes[k][1], 0);
        tc_tensor_release(x[k]);
        tc_tensor_release(out[k]);
    }
    tc_session_release(s);
    tc_graph_release(f.graph);
    counting_allocator_remove();
}

/* The least recently used plan goes, and its memory with it. */
static void test_shapes_evict_the_oldest(void **state)
{
    counting_allocator_install();
    fixture f = fixture_create();
    tc_session *s = session_with(f.graph, 2, 0);
    run_shape(s, &f, 1, 3);
    run_shape(s, &f, 2, 3);
    run_shape(s, &f, 1, 3); /* now 2 is the oldest */
    assert_int_equal(counters_of(s).plans, 2);
    run_shape(s, &f, 3, 3);
    assert_int_equal(counters_of(s).plans, 3);
    assert_int_equal(counters_of(s).evictions, 1);
    run_shape(s, &f, 1, 3);
    assert_int_equal(counters_of(s).plans, 3);
    run_shape(s, &f, 2, 3);
    assert_int_equal(counters_of(s).plans, 4);
    assert_int_equal(counters_of(s).evictions, 2);
    int64_t live = 0;
    for (int64_t batch = 1; batch <= 100; batch++) {
        run_shape(s, &f, batch, 3);
        if (batch == 50)
            live = counting_allocator_live_blocks();
    }
    assert_int_equal(counting_allocator_live_blocks(), live);
    assert_int_equal(counters_of(s).programs, 1);
    tc_session_release(s);
    tc_graph_release(f.graph);
    counting_allocator_remove();
}

/* As many requests as nodes: the programs that no callable holds are bounded. */
static void test_shapes_programs_are_bounded(void **state)
{
    enum { requests = 40, kept = 4 };
    counting_allocator_install();
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1)), sums[requests];
    for (int i = 0; i < requests; i++)
        sums[i] = tc_add(x, tc_constant_scalar(g, TC_F32, i));
    tc_session *s = session_with(g, 0, kept);
    tc_callable *held;
    assert_ok(tc_session_compile(s, &x, 1, &sums[0], 1, TC_NO_TARGETS, NULL, &held));
    tc_tensor *t;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(1), (const float[]){1}, &t));
    int64_t live = 0;
    for (int i = 1; i < requests; i++) {
        tc_tensor *out = NULL;
        assert_ok(tc_session_run(s, TC_FEEDS({x, t}), &sums[i], 1, TC_NO_TARGETS, &out, NULL));
        assert_float_equal(tc_tensor_get(out, 0), 1 + i, 0);
        tc_tensor_release(out);
        if (i == requests / 2)
            live = counting_allocator_live_blocks();
    }
    assert_int_equal(counting_allocator_live_blocks(), live);
    assert_int_equal(counters_of(s).programs, requests);

    /* The last ones are there, an older one is not, and the callable has its own. */
    tc_tensor *out = NULL;
    for (int i = requests - kept; i < requests; i++)
        assert_ok(tc_session_run(s, TC_FEEDS({x, t}), &sums[i], 1, TC_NO_TARGETS, &out, NULL));
    assert_ok(tc_callable_run(held, &t, &out, NULL));
    assert_float_equal(tc_tensor_get(out, 0), 1, 0);
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}), &sums[0], 1, TC_NO_TARGETS, &out, NULL));
    assert_int_equal(counters_of(s).programs, requests);
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}), &sums[1], 1, TC_NO_TARGETS, &out, NULL));
    assert_int_equal(counters_of(s).programs, requests + 1);
    /* It took the place of the least recently used one. */
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, t}), &sums[requests - 1], 1, TC_NO_TARGETS, &out, NULL));
    assert_int_equal(counters_of(s).programs, requests + 1);
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, t}), &sums[requests - kept], 1, TC_NO_TARGETS, &out, NULL));
    assert_int_equal(counters_of(s).programs, requests + 2);
    tc_callable_release(held);
    tc_tensor_release(out);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
    counting_allocator_remove();
}

/* A released callable's program is one of those that may go. */
static void test_shapes_released_callables(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_constant_scalar(g, TC_F32, 2), values[8];
    tc_session *s;
    tc_tensor *out = NULL;
    for (int i = 0; i < 8; i++)
        values[i] = tc_add(x, tc_constant_scalar(g, TC_F32, i));
    s = session_with(g, 0, 1);
    tc_callable *callables[8];
    for (int i = 0; i < 8; i++)
        assert_ok(
            tc_session_compile(s, TC_NO_FEEDS, &values[i], 1, TC_NO_TARGETS, NULL, &callables[i]));
    for (int i = 0; i < 8; i++) {
        assert_ok(tc_callable_run(callables[i], NULL, &out, NULL));
        assert_float_equal(tc_tensor_get(out, 0), 2 + i, 0);
        tc_callable_release(callables[i]);
    }
    assert_int_equal(counters_of(s).programs, 8);
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(x), TC_NO_TARGETS, &out, NULL));
    assert_ok(tc_session_run(s, TC_NO_FEEDS, &values[7], 1, TC_NO_TARGETS, &out, NULL));
    assert_int_equal(counters_of(s).programs, 10);
    tc_tensor_release(out);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_shapes_options(void **state)
{
    fixture f = fixture_create();
    tc_session *s;
    tc_session_options options = {.struct_size = sizeof options, .program_cache = -1};
    assert_status(tc_session_create(f.graph, &options, &s), TC_INVALID_ARGUMENT);
    assert_error_contains("program_cache is negative");
    tc_graph_release(f.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_alternate_without_allocation),
        cmocka_unit_test(test_shapes_evict_the_oldest),
        cmocka_unit_test(test_shapes_programs_are_bounded),
        cmocka_unit_test(test_shapes_released_callables),
        cmocka_unit_test(test_shapes_options),
    };
    return cmocka_run_group_tests_name("shapes", tests, NULL, NULL);
}
