/* Asynchronous runs: order, delivery, lifetimes. */
#include <pthread.h>

#include "../support/counting_allocator.h"
#include "../support/test.h"
#include "probe.h"

#define LENGTH 3

typedef struct fixture {
    probe_graph p;
    tc_session *session;
    tc_callable *sum;   /* fetches the sum */
    tc_callable *train; /* updates a */
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_ok(probe_graph_create(&f->p, LENGTH, 2));
    assert_ok(tc_session_create(
        f->p.graph,
        &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = f->p.runtime},
        &f->session));
    assert_ok(tc_session_compile(f->session, TC_FETCHES(f->p.x), TC_FETCHES(f->p.sum),
                                 TC_NO_TARGETS, NULL, &f->sum));
    assert_ok(tc_session_compile(f->session, TC_FETCHES(f->p.x), TC_NO_FETCHES,
                                 TC_TARGETS(f->p.update_a), NULL, &f->train));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    tc_callable_release(f->sum);
    tc_callable_release(f->train);
    tc_session_release(f->session);
    probe_graph_destroy(&f->p);
    free(f);
    return 0;
}

static void test_async_run(void **state)
{
    fixture *f = *state;
    tc_tensor *sum = NULL;
    tc_completion *completion;
    assert_ok(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, NULL, NULL, &completion));
    assert_ok(tc_completion_wait(completion, 0));
    assert_true(tc_completion_is_done(completion));
    assert_ok(tc_completion_wait(completion, 1)); /* again */
    assert_float_equal(tc_tensor_get(sum, 3), 2 * LENGTH, 0);
    tc_tensor_release(sum);
    tc_completion_release(completion);
    tc_completion_release(NULL);
    assert_false(tc_completion_is_done(NULL));
}

/* Runs go on in the order they were started, whichever callable they are of. */
typedef struct order {
    int finished[64];
    int count;
    pthread_t thread;
    bool same_thread;
} order;

typedef struct note {
    order *order;
    int number;
} note;

static void note_end(void *context, tc_status status, const char *message)
{
    note *n = context;
    order *o = n->order;
    if (o->count == 0)
        o->thread = pthread_self();
    o->same_thread = pthread_equal(o->thread, pthread_self()) && (o->count == 0 || o->same_thread);
    o->finished[o->count++] = status == TC_OK && message[0] == '\0' ? n->number : -1;
}

static void test_async_order(void **state)
{
    fixture *f = *state;
    order o = {0};
    note notes[64];
    tc_tensor *sums[64] = {0};
    tc_completion *last = NULL;
    for (int i = 0; i < 64; i++) {
        notes[i] = (note){&o, i};
        assert_ok(tc_callable_start(i % 3 ? f->sum : f->train, &f->p.fed, i % 3 ? &sums[i] : NULL,
                                    NULL, note_end, &notes[i], i == 63 ? &last : NULL));
    }
    assert_ok(tc_completion_wait(last, 0));
    assert_int_equal(o.count, 64);
    assert_true(o.same_thread);
    assert_false(pthread_equal(o.thread, pthread_self()));
    for (int i = 0; i < 64; i++) {
        assert_int_equal(o.finished[i], i);
        tc_tensor_release(sums[i]);
    }
    assert_int_equal(tc_store_step(tc_session_store(f->session)), 22);
    tc_completion_release(last);
}

typedef struct outcome {
    tc_status status;
    char message[512];
} outcome;

static void note_outcome(void *context, tc_status status, const char *message)
{
    outcome *o = context;
    o->status = status;
    snprintf(o->message, sizeof o->message, "%s", message);
}

/* Status and sentence come to who waits and to the function. */
static void test_async_failure(void **state)
{
    fixture *f = *state;
    tc_tensor *sum = NULL;
    tc_completion *completion;
    outcome o = {.status = TC_OK};
    the_probe.fails = 1;
    assert_ok(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, note_outcome, &o, &completion));
    (void)tc_error_take(NULL, 0);
    for (int i = 0; i < 2; i++) {
        assert_status(tc_completion_wait(completion, 0), TC_OUT_OF_RANGE);
        assert_error_contains("probe");
        assert_error_contains("the input is 1");
        assert_string_equal(o.message, tc_error_message());
    }
    assert_int_equal(o.status, TC_OUT_OF_RANGE);
    assert_null(sum);
    tc_completion_release(completion);
    the_probe.fails = 0;
    assert_ok(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, note_outcome, &o, &completion));
    assert_ok(tc_completion_wait(completion, 0)); /* the failure is over */
    assert_int_equal(o.status, TC_OK);
    assert_string_equal(o.message, "");
    tc_completion_release(completion);
    tc_tensor_release(sum);
}

/* What is wrong at once is told at once, and nothing is called. */
static void test_async_bad_arguments(void **state)
{
    fixture *f = *state;
    outcome o = {.status = TC_UNKNOWN};
    tc_tensor *sum = NULL, *wrong, *none = NULL;
    tc_completion *completion = (tc_completion *)f;
    assert_ok(tc_tensor_create(TC_F64, TC_SHAPE(4), &wrong));
    assert_status(tc_callable_start(NULL, &f->p.fed, &sum, NULL, note_outcome, &o, &completion),
                  TC_INVALID_ARGUMENT);
    assert_null(completion);
    assert_status(tc_callable_start(f->sum, &wrong, &sum, NULL, note_outcome, &o, &completion),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("f64");
    assert_status(tc_callable_start(f->sum, &none, &sum, NULL, note_outcome, &o, NULL),
                  TC_INVALID_ARGUMENT);
    assert_status(tc_callable_start(f->sum, &f->p.fed, NULL, NULL, note_outcome, &o, NULL),
                  TC_INVALID_ARGUMENT);
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = -1};
    assert_status(tc_callable_start(f->sum, &f->p.fed, &sum, &options, note_outcome, &o, NULL),
                  TC_INVALID_ARGUMENT);
    assert_status(tc_completion_wait(NULL, 0), TC_INVALID_ARGUMENT);
    assert_int_equal(o.status, TC_UNKNOWN);
    tc_tensor_release(wrong);
}

/* The timeout of a run counts from its start, also while it waits for its turn; that of a wait ends
 * the wait alone. */
static void test_async_timeouts(void **state)
{
    fixture *f = *state;
    tc_tensor *sums[2] = {0};
    tc_completion *slow, *late;
    tc_run_options options = {.struct_size = sizeof options, .timeout_us = 10000};
    the_probe.at = 0;
    the_probe.sleep_us = 100000;
    assert_ok(tc_callable_start(f->sum, &f->p.fed, &sums[0], NULL, NULL, NULL, &slow));
    assert_ok(tc_callable_start(f->sum, &f->p.fed, &sums[1], &options, NULL, NULL, &late));
    assert_status(tc_completion_wait(slow, 1000), TC_DEADLINE_EXCEEDED);
    assert_error_contains("it goes on");
    assert_false(tc_completion_is_done(slow));
    assert_status(tc_completion_wait(slow, -1), TC_INVALID_ARGUMENT);
    assert_ok(tc_completion_wait(slow, 60000000));
    assert_status(tc_completion_wait(late, 0), TC_DEADLINE_EXCEEDED);
    assert_error_contains("missed its deadline");
    assert_int_equal(atomic_load(&the_probe.calls), 2 * LENGTH); /* the late one never began */
    assert_null(sums[1]);
    tc_tensor_release(sums[0]);
    tc_completion_release(slow);
    tc_completion_release(late);
}

/* A chain of runs, each started by the end of the one before. */
typedef struct relay {
    fixture *f;
    tc_tensor *sum;
    int left;
    tc_status waited;
    tc_completion *self;
    atomic_bool over;
} relay;

static void start_next(void *context, tc_status status, const char *message)
{
    relay *r = context;
    (void)message;
    if (r->left == 5 && r->self)
        r->waited = tc_completion_wait(r->self, 0); /* refused: it would wait for ever */
    if (status == TC_OK && --r->left > 0)
        status = tc_callable_start(r->f->sum, &r->f->p.fed, &r->sum, NULL, start_next, r, NULL);
    if (status != TC_OK || r->left == 0)
        atomic_store(&r->over, true);
}

static void test_async_start_from_done(void **state)
{
    relay r = {.f = *state, .left = 50};
    assert_ok(tc_callable_start(r.f->sum, &r.f->p.fed, &r.sum, NULL, start_next, &r, NULL));
    while (!atomic_load(&r.over))
        probe_sleep(100);
    assert_int_equal(r.left, 0);
    tc_tensor_release(r.sum);
    r = (relay){.f = *state, .left = 5};
    assert_ok(tc_callable_start(r.f->sum, &r.f->p.fed, &r.sum, NULL, start_next, &r, &r.self));
    assert_ok(tc_completion_wait(r.self, 0));
    while (!atomic_load(&r.over))
        probe_sleep(100);
    if (r.waited != TC_OK) /* unless the run was over before `self` was there */
        assert_int_equal(r.waited, TC_FAILED_PRECONDITION);
    tc_completion_release(r.self);
    tc_tensor_release(r.sum);
}

static void set_flag(void *context, tc_status status, const char *message)
{
    (void)message;
    atomic_store((atomic_int *)context, status == TC_OK ? 1 : -1);
}

/* Everything is released while the run goes on: it keeps what it needs, the runtime too, which
 * then ends on its own thread. */
static void test_async_released_while_running(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        fixture *f;
        setup((void **)&f);
        static tc_tensor *sum;
        static atomic_int over;
        tc_completion *completion = NULL;
        sum = NULL;
        atomic_store(&over, 0);
        the_probe.at = 0;
        the_probe.sleep_us = 30000;
        assert_ok(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, set_flag, &over,
                                    keep ? &completion : NULL));
        teardown((void **)&f);
        if (keep)
            assert_ok(tc_completion_wait(completion, 0));
        while (atomic_load(&over) == 0)
            probe_sleep(100);
        assert_int_equal(atomic_load(&over), 1);
        tc_completion_release(completion); /* the last reference to the runtime */
        assert_float_equal(tc_tensor_get(sum, 0), 2 * LENGTH, 0);
        tc_tensor_release(sum);
    }
    probe_sleep(20000); /* the thread that was left to itself ends */
}

static void test_async_released_early(void **state)
{
    fixture *f = *state;
    tc_tensor *sums[100] = {0};
    tc_completion *completion, *last;
    for (int i = 0; i < 100; i++) {
        assert_ok(tc_callable_start(f->sum, &f->p.fed, &sums[i], NULL, NULL, NULL, &completion));
        tc_completion_release(completion);
    }
    assert_ok(tc_callable_start(f->train, &f->p.fed, NULL, NULL, NULL, NULL, &last));
    assert_ok(tc_completion_wait(last, 0));
    for (int i = 0; i < 100; i++) {
        assert_float_equal(tc_tensor_get(sums[i], 0), 2 * LENGTH, 0);
        tc_tensor_release(sums[i]);
    }
    tc_completion_release(last);
}

#define STARTERS 8
#define STARTS   (TEST_SANITIZED ? 50 : 200)

static void *start_many(void *argument)
{
    fixture *f = argument;
    tc_tensor *sum = NULL;
    for (int i = 0; i < STARTS; i++) {
        tc_completion *completion;
        bool train = i % 4 == 0;
        if (tc_callable_start(train ? f->train : f->sum, &f->p.fed, train ? NULL : &sum, NULL, NULL,
                              NULL, &completion) != TC_OK ||
            tc_completion_wait(completion, 0) != TC_OK)
            return argument;
        tc_completion_release(completion);
    }
    tc_tensor_release(sum);
    return NULL;
}

static void test_async_many_threads(void **state)
{
    fixture *f = *state;
    pthread_t threads[STARTERS];
    for (int i = 0; i < STARTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_many, f), 0);
    for (int i = 0; i < STARTERS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(tc_store_step(tc_session_store(f->session)), STARTERS * ((STARTS + 3) / 4));
}

/* Completions are used again. */
static tc_status start_and_wait(void *context)
{
    fixture *f = context;
    tc_tensor *sum = NULL;
    tc_completion *completion;
    TC_TRY(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, NULL, NULL, &completion));
    tc_status status = tc_completion_wait(completion, 0);
    tc_completion_release(completion);
    tc_tensor_release(sum);
    return status;
}

static void test_async_does_not_allocate(void **state)
{
    (void)state;
    counting_allocator_install();
    fixture *f;
    setup((void **)&f);
    tc_tensor *sum = NULL;
    int64_t total = 0;
    for (int i = 0; i < 60; i++) {
        if (i == 10)
            total = counting_allocator_total();
        tc_completion *completion;
        assert_ok(tc_callable_start(f->sum, &f->p.fed, &sum, NULL, NULL, NULL, &completion));
        assert_ok(tc_completion_wait(completion, 0));
        tc_completion_release(completion);
    }
    assert_int_equal(counting_allocator_total(), total);
    tc_tensor_release(sum);
    teardown((void **)&f);
    counting_allocator_remove();
}

static tc_status whole_life(void *context)
{
    probe_graph p;
    (void)context;
    tc_session *session = NULL;
    tc_callable *callable = NULL;
    tc_status status = probe_graph_create(&p, LENGTH, 2);
    if (status == TC_OK)
        status = tc_session_create(
            p.graph,
            &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = p.runtime},
            &session);
    if (status == TC_OK)
        status = tc_session_compile(session, TC_FETCHES(p.x), TC_FETCHES(p.sum), TC_NO_TARGETS,
                                    NULL, &callable);
    fixture f = {.p = p, .sum = callable};
    for (int i = 0; i < 2 && status == TC_OK; i++)
        status = start_and_wait(&f);
    tc_callable_release(callable);
    tc_session_release(session);
    probe_graph_destroy(&p);
    return status;
}

static void test_async_without_memory(void **state)
{
    (void)state;
    counting_allocator_install();
    assert_true(counting_allocator_sweep(whole_life, NULL) > 50);
    counting_allocator_remove();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_async_run),
        TEST(test_async_order),
        TEST(test_async_failure),
        TEST(test_async_bad_arguments),
        TEST(test_async_timeouts),
        TEST(test_async_start_from_done),
        TEST(test_async_released_early),
        TEST(test_async_many_threads),
        cmocka_unit_test(test_async_does_not_allocate),
        cmocka_unit_test(test_async_without_memory),
        /* Last: nobody joins the thread that takes its runtime apart. */
        cmocka_unit_test(test_async_released_while_running),
    };
    return cmocka_run_group_tests_name("async", tests, NULL, NULL);
}
