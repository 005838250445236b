/* The state contract: reads, order of writes, all updates of a run or none. */
#include <pthread.h>
#include <stdatomic.h>

#include "../support/test.h"
#include "model.h"

static double read_scalar(tc_session *session, const char *name)
{
    tc_tensor *tensor;
    assert_ok(tc_store_read(tc_session_store(session), name, &tensor));
    double value = tc_tensor_get(tensor, 0);
    tc_tensor_release(tensor);
    return value;
}

static double fetch_scalar(tc_session *session, tc_value fetch, tc_value target)
{
    tc_tensor *out = NULL;
    assert_ok(tc_session_run(session, TC_NO_FEEDS, &fetch, 1, &target, (size_t)tc_value_ok(target),
                             &out, NULL));
    double value = tc_tensor_get(out, 0);
    tc_tensor_release(out);
    return value;
}

static tc_value scalar_variable(tc_graph *g, const char *name, double value)
{
    return tc_variable(g, name, tc_constant_scalar(g, TC_F32, value));
}

/* A read gives the content from before the run, an update's output the new one. */
static void test_state_reads_before_and_after(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value v = scalar_variable(g, "v", 10);
    tc_value plus = tc_assign_add(v, tc_constant_scalar(g, TC_F32, 1));
    tc_value twice_old = tc_mul(v, tc_constant_scalar(g, TC_F32, 2));
    tc_value twice_new = tc_mul(plus, tc_constant_scalar(g, TC_F32, 2));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));

    assert_float_equal(fetch_scalar(s, twice_old, plus), 20, 0);
    assert_float_equal(fetch_scalar(s, twice_new, TC_NO_VALUE), 24, 0);
    assert_float_equal(fetch_scalar(s, v, plus), 12, 0);
    assert_float_equal(fetch_scalar(s, plus, TC_NO_VALUE), 14, 0);
    assert_float_equal(read_scalar(s, "v"), 14, 0);
    /* Reading alone changes nothing and counts as no step. */
    assert_float_equal(fetch_scalar(s, twice_old, TC_NO_VALUE), 28, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), 4);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_state_orders_writes(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value v = scalar_variable(g, "v", 1);
    tc_value first = tc_assign(v, tc_constant_scalar(g, TC_F32, 100));
    tc_value second = tc_assign_add(v, tc_constant_scalar(g, TC_F32, 5));
    tc_value both = tc_group(g, TC_VALUES(second, first));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    assert_float_equal(fetch_scalar(s, v, both), 1, 0);
    assert_float_equal(read_scalar(s, "v"), 105, 0);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Two variables that take each other's old content. */
static void test_state_swaps(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value a = scalar_variable(g, "a", 1), b = scalar_variable(g, "b", 2);
    tc_value swap = tc_group(g, TC_VALUES(tc_assign(a, b), tc_assign(b, a)));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(swap), NULL, NULL));
    assert_float_equal(read_scalar(s, "a"), 2, 0);
    assert_float_equal(read_scalar(s, "b"), 1, 0);
    tc_session_release(s);
    tc_graph_release(g);
}

/* A class id out of range fails when it runs: none of the other updates may be seen. */
static void test_state_failure_applies_nothing(void **state)
{
    (void)state;
    test_model m;
    assert_ok(test_model_create(&m));
    tc_session *s;
    assert_ok(tc_session_create(m.graph, NULL, &s));
    assert_ok(tc_session_initialize(s));
    tc_tensor *before, *after, *bad;
    assert_ok(tc_store_read(tc_session_store(s), "hidden/weights", &before));
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(MODEL_BATCH), tc_tensor_data(m.labels), &bad));
    assert_ok(tc_tensor_set(bad, 3, 9));
    assert_status(tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, bad}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("model.h:");
    assert_error_contains("9");
    assert_ok(tc_store_read(tc_session_store(s), "hidden/weights", &after));
    assert_memory_equal(tc_tensor_data(before), tc_tensor_data(after), tc_tensor_bytes(before));
    assert_float_equal(read_scalar(s, "adam/step"), 0, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), 0);
    tc_tensor_release(before);
    tc_tensor_release(after);
    tc_tensor_release(bad);
    tc_session_release(s);
    test_model_destroy(&m);
}

static void check_nothing_applied(tc_session *s, const test_model *m, const tc_run_options *options,
                                  tc_status expected)
{
    assert_status(tc_session_run(s, TC_FEEDS({m->x, m->features}, {m->y, m->labels}), TC_NO_FETCHES,
                                 TC_TARGETS(m->train), NULL, options),
                  expected);
    assert_float_equal(read_scalar(s, "adam/step"), 0, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), 0);
}

static void test_state_cancel_and_deadline(void **state)
{
    (void)state;
    test_model m;
    assert_ok(test_model_create(&m));
    tc_session *s;
    assert_ok(tc_session_create(m.graph, NULL, &s));
    assert_ok(tc_session_initialize(s));
    tc_cancellation *cancel;
    assert_ok(tc_cancellation_create(&cancel));
    tc_cancellation_cancel(cancel);
    tc_run_options options = {.struct_size = sizeof options, .cancellation = cancel};
    check_nothing_applied(s, &m, &options, TC_CANCELLED);
    tc_cancellation_reset(cancel);

    /* The first run makes the plan, which takes longer than a microsecond: the deadline has passed
     * by then. */
    options = (tc_run_options){.struct_size = sizeof options, .timeout_us = 1};
    check_nothing_applied(s, &m, &options, TC_DEADLINE_EXCEEDED);
    assert_error_contains("deadline");
    options = (tc_run_options){.struct_size = sizeof options, .timeout_us = -1};
    check_nothing_applied(s, &m, &options, TC_INVALID_ARGUMENT);

    options = (tc_run_options){
        .struct_size = sizeof options, .cancellation = cancel, .timeout_us = 60000000};
    assert_ok(tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, m.labels}), TC_NO_FETCHES,
                             TC_TARGETS(m.train), NULL, &options));
    assert_float_equal(read_scalar(s, "adam/step"), 1, 0);
    tc_cancellation_destroy(cancel);
    tc_session_release(s);
    test_model_destroy(&m);
}

typedef struct canceller {
    tc_cancellation *cancel;
    atomic_int stop;
} canceller;

static void *cancel_now_and_then(void *argument)
{
    canceller *c = argument;
    for (unsigned i = 0; !atomic_load(&c->stop); i++) {
        for (volatile unsigned spin = 0; spin < 997 * (i % 13); spin++)
            ;
        tc_cancellation_cancel(c->cancel);
    }
    return NULL;
}

/* Cancelled at any moment, a step is applied wholly or not at all: every counter agrees with the
 * number of successes. */
static void test_state_cancelled_anywhere(void **state)
{
    (void)state;
    test_model m;
    assert_ok(test_model_create(&m));
    tc_session *s;
    assert_ok(tc_session_create(m.graph, NULL, &s));
    canceller c = {0};
    assert_ok(tc_cancellation_create(&c.cancel));
    tc_run_options options = {.struct_size = sizeof options, .cancellation = c.cancel};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_now_and_then, &c), 0);
    int successes = 0;
    for (int i = 0; i < 2000; i++) {
        tc_cancellation_reset(c.cancel);
        tc_status status = tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, m.labels}),
                                          TC_NO_FETCHES, TC_TARGETS(m.train), NULL, &options);
        assert_true(status == TC_OK || status == TC_CANCELLED);
        successes += status == TC_OK;
    }
    atomic_store(&c.stop, 1);
    pthread_join(thread, NULL);
    tc_cancellation_destroy(c.cancel);
    assert_ok(tc_session_initialize(s));
    assert_float_equal(read_scalar(s, "adam/step"), successes, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), successes);
    tc_session_release(s);
    test_model_destroy(&m);
}

static void test_state_numerics_names_the_node(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(3));
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(3)));
    tc_value root = tc_log(x);
    tc_value update = tc_assign(v, tc_mul(root, root));
    tc_session *s;
    tc_session_options options = {.struct_size = sizeof options, .check_numerics = true};
    assert_ok(tc_session_create(g, &options, &s));
    tc_tensor *fed;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(3), (float[]){1, -1, 0}, &fed));
    assert_status(
        tc_session_run(s, TC_FEEDS({x, fed}), TC_NO_FETCHES, TC_TARGETS(update), NULL, NULL),
        TC_INTERNAL);
    assert_error_contains("log");
    assert_error_contains("NaN at element 1");
    assert_float_equal(read_scalar(s, "v"), 0, 0);
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Also where it is the update itself that overflows. */
static void test_state_numerics_of_updates(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value v = scalar_variable(g, "v", 3e38), w = scalar_variable(g, "w", 1);
    tc_value more = tc_assign_add(v, tc_constant_scalar(g, TC_F32, 3e38));
    tc_value other = tc_assign_add(w, v);
    tc_session *s;
    tc_session_options options = {.struct_size = sizeof options, .check_numerics = true};
    assert_ok(tc_session_create(g, &options, &s));
    assert_status(
        tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(other, more), NULL, NULL),
        TC_INTERNAL);
    assert_error_contains("assign_add");
    assert_error_contains("Inf");
    assert_float_equal(read_scalar(s, "v"), 3e38f, 0);
    assert_float_equal(read_scalar(s, "w"), 1, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), 0);
    assert_float_equal(fetch_scalar(s, other, TC_NO_VALUE), 3e38f, 0);
    assert_float_equal(read_scalar(s, "w"), 3e38f, 0);
    assert_int_equal(tc_store_step(tc_session_store(s)), 1);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Updates that are computed aside to be looked at have the bits of those in place. */
static void test_state_numerics_change_no_bits(void **state)
{
    (void)state;
    tc_tensor *weights[2];
    for (int check = 0; check < 2; check++) {
        test_model m;
        tc_session *s;
        const tc_session_options options = {.struct_size = sizeof options, .check_numerics = check};
        assert_ok(test_model_create(&m));
        assert_ok(tc_session_create(m.graph, &options, &s));
        for (int i = 0; i < 5; i++)
            assert_ok(tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, m.labels}), TC_NO_FETCHES,
                                     TC_TARGETS(m.train), NULL, NULL));
        assert_int_equal(tc_store_step(tc_session_store(s)), 5);
        assert_ok(tc_store_read(tc_session_store(s), "hidden/weights", &weights[check]));
        tc_session_release(s);
        test_model_destroy(&m);
    }
    assert_memory_equal(tc_tensor_data(weights[0]), tc_tensor_data(weights[1]),
                        tc_tensor_bytes(weights[0]));
    tc_tensor_release(weights[0]);
    tc_tensor_release(weights[1]);
}

/* State changes in runs only: initial values that would change it are refused by name. */
static void test_state_initial_values_write_nothing(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value v = scalar_variable(g, "v", 1);
    tc_value more = tc_assign_add(v, tc_constant_scalar(g, TC_F32, 1));
    tc_value good = tc_variable(g, "good", tc_mul(v, v));
    tc_value bad = tc_variable(g, "bad", more);
    tc_value hungry = tc_variable(g, "hungry", tc_placeholder(g, "x", TC_F32, TC_SCALAR));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    tc_tensor *out[3] = {0};
    assert_status(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(good, bad), TC_NO_TARGETS, out, NULL),
                  TC_FAILED_PRECONDITION);
    assert_error_contains("'bad'");
    assert_status(
        tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(good, hungry), TC_NO_TARGETS, out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("'hungry'");
    assert_error_contains("'x'");
    assert_float_equal(fetch_scalar(s, good, TC_NO_VALUE), 1, 0);
    assert_float_equal(read_scalar(s, "v"), 1, 0);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Sessions on one store see one another's updates; a store refuses a variable of another shape. */
static void test_state_shared_store(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value v = scalar_variable(g, "v", 3);
    tc_value more = tc_assign_add(v, tc_constant_scalar(g, TC_F32, 1));
    tc_store *store;
    assert_ok(tc_store_create(NULL, &store));
    tc_session_options options = {.struct_size = sizeof options, .store = store};
    tc_session *a, *b, *c;
    assert_ok(tc_session_create(g, &options, &a));
    assert_ok(tc_session_create(g, &options, &b));
    assert_float_equal(fetch_scalar(a, more, TC_NO_VALUE), 4, 0);
    assert_float_equal(fetch_scalar(b, v, TC_NO_VALUE), 4, 0);

    tc_graph *other = tc_graph_create();
    tc_variable(other, "v", tc_zeros(other, TC_F32, TC_SHAPE(2)));
    assert_status(tc_session_create(other, &options, &c), TC_FAILED_PRECONDITION);
    assert_error_contains("variable 'v'");
    tc_graph_release(other);

    tc_tensor *seven;
    assert_ok(tc_tensor_create_scalar(TC_F32, 7, &seven));
    uint64_t step = 41;
    assert_ok(tc_store_restore(store, (const char *[]){"v"}, &seven, 1, &step));
    assert_float_equal(fetch_scalar(b, v, TC_NO_VALUE), 7, 0);
    assert_int_equal(tc_store_step(store), 41);
    tc_tensor_release(seven);
    tc_session_release(a);
    tc_session_release(b);
    tc_store_release(store);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_state_reads_before_and_after),
        cmocka_unit_test(test_state_orders_writes),
        cmocka_unit_test(test_state_swaps),
        cmocka_unit_test(test_state_failure_applies_nothing),
        cmocka_unit_test(test_state_cancel_and_deadline),
        cmocka_unit_test(test_state_cancelled_anywhere),
        cmocka_unit_test(test_state_numerics_names_the_node),
        cmocka_unit_test(test_state_numerics_of_updates),
        cmocka_unit_test(test_state_numerics_change_no_bits),
        cmocka_unit_test(test_state_initial_values_write_nothing),
        cmocka_unit_test(test_state_shared_store),
    };
    return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
