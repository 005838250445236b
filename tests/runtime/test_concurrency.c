/* Many threads on one session, on sessions that share a store, beside a training loop. */
#include <pthread.h>
#include <stdatomic.h>

#include "../support/test.h"
#include "model.h"

#define THREADS 8
#define RUNS    300

typedef struct shared {
    test_model model;
    tc_session *sessions[2]; /* one store */
    tc_callable *infer;
    atomic_int failures;
    atomic_int trained;
} shared;

static bool finite_logits(const tc_tensor *logits)
{
    for (int64_t i = 0; i < tc_tensor_size(logits); i++)
        if (!(tc_tensor_get(logits, i) > -1e6 && tc_tensor_get(logits, i) < 1e6))
            return false;
    return true;
}

static void *serve(void *argument)
{
    shared *s = argument;
    test_model *m = &s->model;
    tc_tensor *logits = NULL;
    for (int i = 0; i < RUNS; i++) {
        tc_status status =
            i % 2 ? tc_callable_run(s->infer, &m->features, &logits, NULL)
                  : tc_session_run(s->sessions[1], TC_FEEDS({m->x, m->features}),
                                   TC_FETCHES(m->logits), TC_NO_TARGETS, &logits, NULL);
        if (status != TC_OK || !finite_logits(logits))
            atomic_fetch_add(&s->failures, 1);
    }
    tc_tensor_release(logits);
    return NULL;
}

static void *train(void *argument)
{
    shared *s = argument;
    test_model *m = &s->model;
    for (int i = 0; i < RUNS / 4; i++) {
        tc_status status =
            tc_session_run(s->sessions[i % 2], TC_FEEDS({m->x, m->features}, {m->y, m->labels}),
                           TC_NO_FETCHES, TC_TARGETS(m->train), NULL, NULL);
        if (status == TC_OK)
            atomic_fetch_add(&s->trained, 1);
        else
            atomic_fetch_add(&s->failures, 1);
    }
    return NULL;
}

static void test_concurrency_readers_and_writers(void **state)
{
    (void)state;
    shared s = {0};
    test_model *m = &s.model;
    assert_ok(test_model_create(m));
    tc_runtime *runtime;
    tc_runtime_options options = {.struct_size = sizeof options, .threads = 3};
    assert_ok(tc_runtime_create(&options, &runtime));
    tc_session_options first = {.struct_size = sizeof first, .runtime = runtime};
    assert_ok(tc_session_create(m->graph, &first, &s.sessions[0]));
    tc_session_options second = {.struct_size = sizeof second,
                                 .store = tc_session_store(s.sessions[0])};
    assert_ok(tc_session_create(m->graph, &second, &s.sessions[1]));
    assert_ok(tc_session_compile(s.sessions[0], TC_FETCHES(m->x), TC_FETCHES(m->logits),
                                 TC_NO_TARGETS, NULL, &s.infer));
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < 2 ? train : serve, &s), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&s.failures), 0);
    assert_int_equal(tc_store_step(tc_session_store(s.sessions[0])), atomic_load(&s.trained));
    tc_tensor *steps;
    assert_ok(tc_store_read(tc_session_store(s.sessions[0]), "adam/step", &steps));
    assert_true(tc_tensor_get(steps, 0) == atomic_load(&s.trained));
    tc_tensor_release(steps);
    tc_callable_release(s.infer);
    tc_session_release(s.sessions[0]);
    tc_session_release(s.sessions[1]);
    tc_runtime_release(runtime);
    test_model_destroy(m);
}

/* The default runtime is shared while it is used and made anew afterwards, from any thread. */
static void *use_default(void *argument)
{
    (void)argument;
    for (int i = 0; i < 20; i++) {
        tc_store *store;
        if (tc_store_create(NULL, &store) != TC_OK)
            return (void *)1;
        tc_store_release(store);
    }
    return NULL;
}

static void test_concurrency_default_runtime(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_default, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
}

/* Weights after some steps, for a number of threads. */
static tc_tensor *trained_weights(int threads)
{
    test_model m;
    assert_ok(test_model_create(&m));
    tc_runtime *runtime;
    tc_runtime_options options = {.struct_size = sizeof options, .threads = threads};
    assert_ok(tc_runtime_create(&options, &runtime));
    tc_session_options with = {.struct_size = sizeof with, .runtime = runtime};
    tc_session *s;
    assert_ok(tc_session_create(m.graph, &with, &s));
    for (int i = 0; i < 50; i++)
        assert_ok(tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, m.labels}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, NULL));
    tc_tensor *weights;
    assert_ok(tc_store_read(tc_session_store(s), "hidden/weights", &weights));
    tc_session_release(s);
    tc_runtime_release(runtime);
    test_model_destroy(&m);
    return weights;
}

static void test_concurrency_bits_do_not_depend_on_threads(void **state)
{
    (void)state;
    tc_tensor *one = trained_weights(1);
    for (int threads = 2; threads <= 8; threads *= 2) {
        tc_tensor *more = trained_weights(threads);
        assert_memory_equal(tc_tensor_data(one), tc_tensor_data(more), tc_tensor_bytes(one));
        tc_tensor_release(more);
    }
    tc_tensor_release(one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concurrency_readers_and_writers),
        cmocka_unit_test(test_concurrency_default_runtime),
        cmocka_unit_test(test_concurrency_bits_do_not_depend_on_threads),
    };
    return cmocka_run_group_tests_name("concurrency", tests, NULL, NULL);
}
