/* Runs that end early, at every place where they can; and runs that are allowed less. */
#include <pthread.h>

#include "../support/counting_allocator.h"
#include "../support/test.h"
#include "probe.h"

#define LENGTH 5

typedef struct limits {
    probe_graph p;
    tc_session *session;
    tc_callable *train; /* fetches the sum, updates both variables */
    tc_cancellation *cancel;
    tc_tensor *sum;
    int32_t branches;
} limits;

static void limits_create(limits *l, int threads, const char *disabled)
{
    *l = (limits){0};
    assert_ok(probe_graph_create(&l->p, LENGTH, threads));
    assert_ok(tc_session_create(l->p.graph,
                                &(tc_session_options){.struct_size = sizeof(tc_session_options),
                                                      .runtime = l->p.runtime,
                                                      .disable_passes = disabled},
                                &l->session));
    assert_ok(tc_session_compile(l->session, TC_FETCHES(l->p.x), TC_FETCHES(l->p.sum),
                                 TC_TARGETS(l->p.update_a, l->p.update_b), NULL, &l->train));
    assert_ok(tc_cancellation_create(&l->cancel));
    tc_shape shape = TC_SHAPE(4);
    tc_plan_info info;
    assert_ok(tc_callable_plan(l->train, &shape, &info));
    l->branches = info.branches;
}

static void limits_destroy(limits *l)
{
    tc_tensor_release(l->sum);
    tc_cancellation_destroy(l->cancel);
    tc_callable_release(l->train);
    tc_session_release(l->session);
    probe_graph_destroy(&l->p);
}

static double element(tc_session *s, const char *name, int index)
{
    tc_tensor *tensor;
    assert_ok(tc_store_read(tc_session_store(s), name, &tensor));
    double value = tc_tensor_get(tensor, index);
    tc_tensor_release(tensor);
    return value;
}

/* Both variables hold what so many whole runs leave. */
static void check_state(limits *l, int runs)
{
    for (int i = 0; i < 4; i++) {
        assert_float_equal(element(l->session, "a", i), runs * (LENGTH - (i + 1)), 0);
        assert_float_equal(element(l->session, "b", i), runs * (LENGTH + (i + 1)), 0);
    }
    assert_int_equal(tc_store_step(tc_session_store(l->session)), runs);
}

static tc_status limits_run(limits *l, const tc_run_options *options)
{
    atomic_store(&the_probe.calls, 0);
    return tc_callable_run(l->train, &l->p.fed, &l->sum, options);
}

/* Cancelled or late within kernel k, for every k, each time on a run that would have gone well:
 * nothing is applied, and the next run applies all. */
static void stop_everywhere(int threads, const char *disabled, bool branches)
{
    limits l;
    limits_create(&l, threads, disabled);
    assert_true((l.branches > 0) == branches);
    int runs = 0;
    for (int at = 0; at < 2 * LENGTH; at++) {
        tc_run_options options = {.struct_size = sizeof options, .cancellation = l.cancel};
        the_probe.at = at;
        the_probe.cancel = l.cancel;
        assert_status(limits_run(&l, &options), TC_CANCELLED);
        assert_error_contains("no update was applied");
        check_state(&l, runs);
        tc_cancellation_reset(l.cancel);

        the_probe.cancel = NULL;
        the_probe.sleep_us = 20000;
        options = (tc_run_options){.struct_size = sizeof options, .timeout_us = 10000};
        assert_status(limits_run(&l, &options), TC_DEADLINE_EXCEEDED);
        assert_error_contains("missed its deadline");
        check_state(&l, runs);

        the_probe = (probe){.at = -1};
        options = (tc_run_options){
            .struct_size = sizeof options, .cancellation = l.cancel, .timeout_us = 60000000};
        assert_ok(limits_run(&l, &options));
        check_state(&l, ++runs);
    }
    limits_destroy(&l);
}

static void test_limits_stop_everywhere(void **state)
{
    (void)state;
    stop_everywhere(1, NULL, false);
    stop_everywhere(2, "branches", false);
    stop_everywhere(2, NULL, true);
    stop_everywhere(5, NULL, true);
}

/* The flag of the watcher ends a run soon after its deadline, not at its end. */
static void test_limits_deadline_is_seen_between_kernels(void **state)
{
    (void)state;
    limits l;
    limits_create(&l, 1, NULL);
    assert_ok(limits_run(&l, NULL));
    the_probe.at = 2;
    the_probe.sleep_us = 30000;
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = 5000};
    assert_status(limits_run(&l, &options), TC_DEADLINE_EXCEEDED);
    assert_int_equal(atomic_load(&the_probe.calls), 3); /* the fourth is not called any more */
    limits_destroy(&l);
}

static void test_limits_past_deadline_runs_nothing(void **state)
{
    (void)state;
    limits l;
    limits_create(&l, 1, NULL);
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = 1};
    tc_status status = tc_session_run(l.session, TC_FEEDS({l.p.x, l.p.fed}), TC_FETCHES(l.p.sum),
                                      TC_NO_TARGETS, &l.sum, &options); /* compiles first */
    assert_int_equal(status, TC_DEADLINE_EXCEEDED);
    assert_int_equal(atomic_load(&the_probe.calls), 0);
    assert_null(l.sum);
    options.timeout_us = -1;
    assert_status(limits_run(&l, &options), TC_INVALID_ARGUMENT);
    options.timeout_us = INT64_MAX;
    assert_ok(limits_run(&l, &options));
    limits_destroy(&l);
}

/* A run waits for the writer before it no longer than to its deadline. */
static void *run_slowly(void *argument)
{
    limits *l = argument;
    tc_tensor *sum = NULL;
    tc_status status = tc_callable_run(l->train, &l->p.fed, &sum, NULL);
    tc_tensor_release(sum);
    return status == TC_OK ? NULL : argument;
}

static void test_limits_deadline_of_who_waits(void **state)
{
    (void)state;
    limits l;
    limits_create(&l, 1, NULL);
    assert_ok(limits_run(&l, NULL));
    atomic_store(&the_probe.calls, 0);
    the_probe.at = 0;
    the_probe.sleep_us = 200000;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_slowly, &l), 0);
    while (atomic_load(&the_probe.calls) == 0)
        probe_sleep(100);
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = 2000};
    assert_status(tc_callable_run(l.train, &l.p.fed, &l.sum, &options), TC_DEADLINE_EXCEEDED);
    assert_int_equal(atomic_load(&the_probe.calls), 1); /* the other one still sleeps */
    void *result;
    pthread_join(thread, &result);
    assert_null(result);
    check_state(&l, 2);
    limits_destroy(&l);
}

/* Of failures in several lanes the first in the order of steps is reported, every time. */
static void test_limits_failures_in_lanes(void **state)
{
    (void)state;
    limits l;
    limits_create(&l, 2, NULL);
    assert_true(l.branches == 2);
    char first[256] = "";
    for (int i = 0; i < 200; i++) {
        atomic_store(&the_probe.failures, 0);
        the_probe.fails = 1.5f; /* both branches come to it, at different steps */
        assert_status(limits_run(&l, NULL), TC_OUT_OF_RANGE);
        assert_int_equal(atomic_load(&the_probe.failures), 2);
        assert_error_contains("the input is 2");
        assert_error_contains("probe");
        if (i == 0)
            snprintf(first, sizeof first, "%s", tc_error_message());
        assert_string_equal(tc_error_message(), first);
        check_state(&l, 0);
    }
    the_probe.fails = 0;
    assert_ok(limits_run(&l, NULL));
    check_state(&l, 1);
    limits_destroy(&l);
}

static void test_limits_do_not_allocate(void **state)
{
    (void)state;
    counting_allocator_install();
    limits l;
    limits_create(&l, 2, NULL);
    assert_true(l.branches == 2);
    tc_run_options options = {
        .struct_size = sizeof options, .cancellation = l.cancel, .timeout_us = 60000000};
    for (int i = 0; i < 3; i++)
        assert_ok(limits_run(&l, &options));
    int64_t total = counting_allocator_total();
    for (int i = 0; i < 100; i++)
        assert_ok(limits_run(&l, &options));
    assert_int_equal(counting_allocator_total(), total);
    limits_destroy(&l);
    counting_allocator_remove();
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* Workers, watcher and the thread of asynchronous runs sleep when there is nothing to do. */
static void test_limits_idle_session_takes_no_time(void **state)
{
    (void)state;
    limits l;
    limits_create(&l, 2, NULL);
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = 60000000};
    tc_completion *completion;
    for (int i = 0; i < 10; i++)
        assert_ok(limits_run(&l, &options));
    assert_ok(tc_callable_start(l.train, &l.p.fed, &l.sum, &options, NULL, NULL, &completion));
    assert_ok(tc_completion_wait(completion, 0));
    tc_completion_release(completion);
    probe_sleep(5000);
    double before = cpu_ms();
    probe_sleep(200000);
    assert_true(cpu_ms() - before < 2);
    limits_destroy(&l);
}

/* Threads of a session: fewer than the runtime's are a part of them, more are not made. */
static void test_limits_threads_of_a_session(void **state)
{
    (void)state;
    probe_graph p;
    assert_ok(probe_graph_create(&p, LENGTH, 4));
    tc_session_options options = {
        .struct_size = sizeof options, .runtime = p.runtime, .threads = -1};
    tc_session *s;
    assert_status(tc_session_create(p.graph, &options, &s), TC_INVALID_ARGUMENT);
    assert_null(s);
    assert_error_contains("-1 threads; give 1 or more, or 0");
    for (options.threads = 0; options.threads <= 9; options.threads++) {
        tc_callable *callable;
        tc_shape shape = TC_SHAPE(4);
        tc_plan_info info;
        tc_tensor *sum = NULL;
        assert_ok(tc_session_create(p.graph, &options, &s));
        assert_ok(tc_session_compile(s, TC_FETCHES(p.x), TC_FETCHES(p.sum), TC_NO_TARGETS, NULL,
                                     &callable));
        assert_ok(tc_callable_plan(callable, &shape, &info));
        assert_int_equal(info.branches, options.threads == 1 ? 0 : 2);
        assert_ok(tc_callable_run(callable, &p.fed, &sum, NULL));
        assert_float_equal(tc_tensor_get(sum, 0), 2 * LENGTH, 0);
        tc_tensor_release(sum);
        tc_callable_release(callable);
        tc_session_release(s);
    }
    probe_graph_destroy(&p);
}

static void test_limits_affinity(void **state)
{
    (void)state;
    tc_runtime *runtime;
    tc_runtime_options options = {.struct_size = sizeof options, .affinity = "0,0"};
    assert_ok(tc_runtime_create(&options, &runtime));
    assert_int_equal(tc_runtime_threads(runtime), 2);
    tc_runtime_release(runtime);
    options.threads = 3;
    assert_ok(tc_runtime_create(&options, &runtime));
    assert_int_equal(tc_runtime_threads(runtime), 3);
    tc_runtime_release(runtime);
    options.affinity = "two";
    assert_status(tc_runtime_create(&options, &runtime), TC_INVALID_ARGUMENT);
    assert_null(runtime);
    assert_error_contains("runtime: affinity \"two\" is no list of cores like \"0-3,8\"");
    options.affinity = "0-99999";
    assert_status(tc_runtime_create(&options, &runtime), TC_INVALID_ARGUMENT);
    assert_error_contains("names core 99999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits_stop_everywhere),
        cmocka_unit_test(test_limits_deadline_is_seen_between_kernels),
        cmocka_unit_test(test_limits_past_deadline_runs_nothing),
        cmocka_unit_test(test_limits_deadline_of_who_waits),
        cmocka_unit_test(test_limits_failures_in_lanes),
        cmocka_unit_test(test_limits_do_not_allocate),
        cmocka_unit_test(test_limits_idle_session_takes_no_time),
        cmocka_unit_test(test_limits_threads_of_a_session),
        cmocka_unit_test(test_limits_affinity),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
