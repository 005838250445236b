/* Waiting for the locks of a store: no longer than a deadline or a cancellation allows. */
#include <pthread.h>

#include "../support/test.h"
#include "probe.h"

#define LENGTH 3

typedef struct fixture {
    probe_graph p;
    tc_session *session;
    tc_callable *train, *serve;
    tc_cancellation *cancel;
    pthread_t visitor, trainer, canceller;
    atomic_bool inside, leave; /* of the visit */
    tc_run_options options;    /* of the run of `trainer` */
    tc_status status;          /* likewise */
} fixture;

static void create(fixture *f)
{
    *f = (fixture){.options = {.struct_size = sizeof f->options}};
    assert_ok(probe_graph_create(&f->p, LENGTH, 1));
    assert_ok(tc_session_create(
        f->p.graph,
        &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = f->p.runtime},
        &f->session));
    assert_ok(tc_session_compile(f->session, TC_FETCHES(f->p.x), TC_NO_FETCHES,
                                 TC_TARGETS(f->p.update_a, f->p.update_b), NULL, &f->train));
    assert_ok(tc_session_compile(f->session, TC_FETCHES(f->p.x), TC_FETCHES(f->p.sum),
                                 TC_NO_TARGETS, NULL, &f->serve));
    assert_ok(tc_cancellation_create(&f->cancel));
    tc_tensor *sum = NULL;
    assert_ok(tc_callable_run(f->train, &f->p.fed, NULL, NULL));
    assert_ok(tc_callable_run(f->serve, &f->p.fed, &sum, NULL));
    tc_tensor_release(sum);
    atomic_store(&the_probe.calls, 0);
}

static void destroy(fixture *f)
{
    tc_cancellation_destroy(f->cancel);
    tc_callable_release(f->train);
    tc_callable_release(f->serve);
    tc_session_release(f->session);
    probe_graph_destroy(&f->p);
}

static tc_status stay(void *context, const tc_variable_info *variable)
{
    fixture *f = context;
    (void)variable;
    atomic_store(&f->inside, true);
    while (!atomic_load(&f->leave))
        probe_sleep(200);
    return TC_OK;
}

static void *visit(void *argument)
{
    fixture *f = argument;
    return tc_store_visit(tc_session_store(f->session), stay, f, NULL) == TC_OK ? NULL : f;
}

static void *train(void *argument)
{
    fixture *f = argument;
    f->status = tc_callable_run(f->train, &f->p.fed, NULL, &f->options);
    return NULL;
}

static void *cancel_soon(void *argument)
{
    probe_sleep(5000);
    tc_cancellation_cancel(argument);
    return NULL;
}

/* A visit that stays, and a run that has computed its updates and waits for the visit's end. */
static void begin_waiting(fixture *f)
{
    assert_int_equal(pthread_create(&f->visitor, NULL, visit, f), 0);
    while (!atomic_load(&f->inside))
        probe_sleep(100);
    assert_int_equal(pthread_create(&f->trainer, NULL, train, f), 0);
    while (atomic_load(&the_probe.calls) < 2 * LENGTH)
        probe_sleep(100);
}

static void end_visit(fixture *f)
{
    void *result;
    atomic_store(&f->leave, true);
    pthread_join(f->visitor, &result);
    assert_null(result);
}

/* Runs `callable` until it fails, since at first the run before it may not wait yet. */
static tc_status run_held_off(fixture *f, tc_callable *callable, const tc_run_options *options)
{
    for (;;) {
        tc_tensor *sum = NULL;
        tc_status status = tc_callable_run(callable, &f->p.fed, &sum, options);
        tc_tensor_release(sum);
        if (status != TC_OK)
            return status;
    }
}

static void check_state(fixture *f, int runs)
{
    tc_tensor *a;
    assert_ok(tc_store_read(tc_session_store(f->session), "a", &a));
    assert_float_equal(tc_tensor_get(a, 0), runs * (LENGTH - 1), 0);
    tc_tensor_release(a);
    assert_int_equal(tc_store_step(tc_session_store(f->session)), runs);
}

/* Who writes waits for the writer before it, who reads for its commit. */
static void test_locks_are_not_waited_for_too_long(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    begin_waiting(&f);
    tc_callable *const callables[] = {f.train, f.serve};
    for (int i = 0; i < 2; i++) {
        tc_run_options options = {.struct_size = sizeof options, .timeout_us = 10000};
        assert_status(run_held_off(&f, callables[i], &options), TC_DEADLINE_EXCEEDED);
        assert_error_contains("missed its deadline");
        options = (tc_run_options){.struct_size = sizeof options, .cancellation = f.cancel};
        assert_int_equal(pthread_create(&f.canceller, NULL, cancel_soon, f.cancel), 0);
        assert_status(run_held_off(&f, callables[i], &options), TC_CANCELLED);
        pthread_join(f.canceller, NULL);
        tc_cancellation_reset(f.cancel);
    }
    end_visit(&f);
    pthread_join(f.trainer, NULL);
    assert_int_equal(f.status, TC_OK);
    check_state(&f, 2);
    destroy(&f);
}

/* A commit waits for who reads no longer than to its deadline, and then changes nothing. */
static void test_locks_deadline_of_a_commit(void **state)
{
    (void)state;
    fixture f;
    create(&f);
    f.options.timeout_us = 500000;
    begin_waiting(&f);
    pthread_join(f.trainer, NULL); /* while the visit goes on */
    assert_int_equal(f.status, TC_DEADLINE_EXCEEDED);
    end_visit(&f);
    check_state(&f, 1);
    assert_ok(tc_callable_run(f.train, &f.p.fed, NULL, NULL));
    check_state(&f, 2);
    destroy(&f);
}

/*
 * First contents arrive while a run that writes looks at what is packed.
 */
static tc_value weights(tc_graph *g, const char *name)
{
    return tc_variable(g, name, tc_random_normal(g, TC_F32, TC_SHAPE(8, 8)));
}

static void *initialize_others(void *argument)
{
    tc_store *store = argument;
    const tc_session_options options = {.struct_size = sizeof options, .store = store};
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "other%d", i);
        tc_graph *g = tc_graph_create();
        tc_session *s;
        weights(g, name);
        tc_status status = tc_session_create(g, &options, &s);
        if (status == TC_OK)
            status = tc_session_initialize(s);
        tc_session_release(s);
        tc_graph_release(g);
        if (status != TC_OK)
            return argument;
    }
    return NULL;
}

static void test_locks_initialized_beside_training(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value w = weights(g, "w"), square = tc_matmul(tc_transpose(w), w);
    tc_value sum = tc_variable(g, "sum", tc_zeros(g, TC_F32, TC_SHAPE(8, 8)));
    tc_value step = tc_assign_add(sum, tc_relu(square));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(step), NULL, NULL));
    tc_session_counters counters;
    tc_session_count(s, &counters);
    assert_true(counters.packed_bytes > 0);
    pthread_t thread;
    void *result;
    assert_int_equal(pthread_create(&thread, NULL, initialize_others, tc_session_store(s)), 0);
    for (int i = 0; i < 200; i++)
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(step), NULL, NULL));
    pthread_join(thread, &result);
    assert_null(result);
    assert_int_equal(tc_store_step(tc_session_store(s)), 201);
    tc_session_release(s);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks_are_not_waited_for_too_long),
        cmocka_unit_test(test_locks_deadline_of_a_commit),
        cmocka_unit_test(test_locks_initialized_beside_training),
    };
    return cmocka_run_group_tests_name("locks", tests, NULL, NULL);
}
