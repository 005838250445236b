/* Many threads on devices: they share variables, queues of their own, recordings. */
#include <pthread.h>
#include <stdatomic.h>

#include "devices_test.h"

enum { TRAINERS = 3, READERS = 3, RUNS = 40, TIGHT_BYTES = 3000 };

typedef struct crowd {
    test_model model;
    tc_session *trainers[TRAINERS]; /* on loop:0, loop:1 and the CPU */
    tc_session *readers[READERS];
    tc_session *visitor;
    atomic_int number, failures;
} crowd;

static void *train(void *argument)
{
    crowd *c = argument;
    int own = atomic_fetch_add(&c->number, 1) % TRAINERS;
    tc_tensor *loss = NULL;
    for (int i = 0; i < RUNS; i++)
        if (model_step(&c->model, c->trainers[own], &loss, NULL) != TC_OK)
            atomic_fetch_add(&c->failures, 1);
    tc_tensor_release(loss);
    return NULL;
}

static void *infer(void *argument)
{
    crowd *c = argument;
    test_model *m = &c->model;
    int own = atomic_fetch_add(&c->number, 1) % READERS;
    tc_tensor *logits = NULL;
    for (int i = 0; i < RUNS; i++)
        if (tc_session_run(c->readers[own], TC_FEEDS({m->x, m->features}), TC_FETCHES(m->logits),
                           TC_NO_TARGETS, &logits, NULL) != TC_OK)
            atomic_fetch_add(&c->failures, 1);
    tc_tensor_release(logits);
    return NULL;
}

static tc_status look(void *context, const tc_variable_info *variable)
{
    double *sum = context;
    for (size_t i = 0; i < tc_tensor_bytes(variable->tensor); i++)
        *sum += ((const unsigned char *)tc_tensor_data(variable->tensor))[i];
    return TC_OK;
}

static void *visit(void *argument)
{
    crowd *c = argument;
    double sum = 0;
    tc_tensor *weights;
    for (int i = 0; i < RUNS / 2; i++) {
        if (tc_store_visit(tc_session_store(c->visitor), look, &sum, NULL) != TC_OK ||
            tc_store_read(tc_session_store(c->visitor), "hidden/weights", &weights) != TC_OK)
            atomic_fetch_add(&c->failures, 1);
        else
            tc_tensor_release(weights);
    }
    return NULL;
}

/* Updates of all trainers are made one after the other, in whatever order: they all do the same. */
static void test_threads_share_a_store(void **state)
{
    const char *const devices[] = {"loop:0", "loop:1", "cpu"};
    (void)state;
    for (int deferred = 0; deferred < 2; deferred++) {
        loopback_reset(&(loopback_options){.n_devices = 2, .deferred = deferred});
        crowd c = {0};
        assert_ok(test_model_create(&c.model));
        tc_session *reference = session_on(c.model.graph, "cpu");
        tc_session_options o = {.struct_size = sizeof o};
        for (int i = 0; i < TRAINERS; i++) {
            o.device = devices[i];
            assert_ok(tc_session_create(c.model.graph, &o, &c.trainers[i]));
            o.store = tc_session_store(c.trainers[0]);
            assert_ok(tc_session_create(c.model.graph, &o, &c.readers[i]));
        }
        c.visitor = c.readers[2];
        assert_ok(tc_session_initialize(c.trainers[0]));
        pthread_t threads[TRAINERS + READERS + 1];
        int n = 0;
        for (int i = 0; i < TRAINERS; i++)
            assert_int_equal(pthread_create(&threads[n++], NULL, train, &c), 0);
        for (int i = 0; i < READERS; i++)
            assert_int_equal(pthread_create(&threads[n++], NULL, infer, &c), 0);
        assert_int_equal(pthread_create(&threads[n++], NULL, visit, &c), 0);
        for (int i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&c.failures), 0);

        tc_tensor *loss = NULL;
        for (int i = 0; i < TRAINERS * RUNS; i++)
            assert_ok(model_step(&c.model, reference, &loss, NULL));
        contents expected = contents_of(reference), after = contents_of(c.visitor);
        assert_int_equal(after.step, TRAINERS * RUNS);
        assert_true(contents_equal(&expected, &after));
        contents_free(&expected);
        contents_free(&after);
        tc_tensor_release(loss);
        for (int i = 0; i < TRAINERS; i++) {
            tc_session_release(c.readers[i]);
            tc_session_release(c.trainers[i]);
        }
        tc_session_release(reference);
        test_model_destroy(&c.model);
        assert_clean();
    }
}

/* Asynchronous runs and callables go the same way. */
static void test_threads_asynchronous(void **state)
{
    enum { n_runs = 16 };
    test_model m;
    tc_callable *callable;
    tc_completion *completions[n_runs];
    tc_tensor *losses[n_runs] = {0};
    (void)state;
    loopback_reset(&(loopback_options){.deferred = true});
    assert_ok(test_model_create(&m));
    tc_session *s = session_on(m.graph, "loop:0");
    assert_ok(tc_session_compile(s, TC_FETCHES(m.x, m.y), TC_FETCHES(m.loss), TC_TARGETS(m.train),
                                 NULL, &callable));
    tc_tensor *inputs[] = {m.features, m.labels};
    for (int i = 0; i < n_runs; i++)
        assert_ok(
            tc_callable_start(callable, inputs, &losses[i], NULL, NULL, NULL, &completions[i]));
    for (int i = 0; i < n_runs; i++) {
        assert_ok(tc_completion_wait(completions[i], 0));
        tc_completion_release(completions[i]);
        assert_true(i == 0 || tc_tensor_get(losses[i], 0) < tc_tensor_get(losses[0], 0));
    }
    for (int i = 0; i < n_runs; i++)
        tc_tensor_release(losses[i]);
    tc_callable_release(callable);
    tc_session_release(s);
    test_model_destroy(&m);
    assert_clean();
}

/* Sessions that come and go on one store, released while their runs go on, on a device that has
 * not always room for one more: what counts as done was done, and nothing else. */
typedef struct visitors {
    test_model model;
    tc_store *store;
    const char *devices[TRAINERS];
    atomic_int number, done, failures;
} visitors;

static void *come_and_go(void *argument)
{
    enum { n_starts = 3 };
    visitors *c = argument;
    tc_tensor *inputs[] = {c->model.features, c->model.labels};
    const tc_session_options o = {.struct_size = sizeof o,
                                  .store = c->store,
                                  .device = c->devices[atomic_fetch_add(&c->number, 1) % TRAINERS]};
    for (int i = 0; i < RUNS / 4; i++) {
        tc_session *s;
        tc_callable *callable;
        tc_completion *completions[n_starts] = {0};
        tc_tensor *losses[n_starts + 1] = {0};
        if (tc_session_create(c->model.graph, &o, &s) != TC_OK ||
            tc_session_compile(s, TC_FETCHES(c->model.x, c->model.y), TC_FETCHES(c->model.loss),
                               TC_TARGETS(c->model.train), NULL, &callable) != TC_OK) {
            atomic_fetch_add(&c->failures, 1);
            continue;
        }
        for (int k = 0; k < n_starts; k++)
            if (tc_callable_start(callable, inputs, &losses[k], NULL, NULL, NULL,
                                  &completions[k]) != TC_OK)
                atomic_fetch_add(&c->failures, 1);
        tc_status status = tc_callable_run(callable, inputs, &losses[n_starts], NULL);
        tc_callable_release(callable);
        tc_session_release(s);
        for (int k = 0; k <= n_starts; k++) {
            if (k > 0)
                status = tc_completion_wait(completions[k - 1], 0);
            atomic_fetch_add(status == TC_OK ? &c->done : &c->failures,
                             status != TC_RESOURCE_EXHAUSTED);
        }
        for (int k = 0; k <= n_starts; k++) {
            tc_completion_release(k < n_starts ? completions[k] : NULL);
            tc_tensor_release(losses[k]);
        }
    }
    return NULL;
}

static void test_threads_come_and_go(void **state)
{
    (void)state;
    for (int tight = 0; tight < 2; tight++) {
        loopback_reset(&(loopback_options){
            .n_devices = 2, .deferred = true, .memory = tight ? TIGHT_BYTES : 0});
        visitors c = {.devices = {"loop:0", "loop:1", "cpu"}};
        assert_ok(test_model_create(&c.model));
        tc_session *reference = session_on(c.model.graph, "cpu");
        assert_ok(tc_store_create(NULL, &c.store));
        pthread_t threads[TRAINERS + 1];
        for (int i = 0; i <= TRAINERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &c), 0);
        for (int i = 0; i <= TRAINERS; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&c.failures), 0);
        int done = atomic_load(&c.done);
        assert_int_equal(tc_store_step(c.store), done);
        assert_true(tight ? done > 0 : done == (TRAINERS + 1) * (RUNS / 4) * 4);

        tc_tensor *loss = NULL;
        for (int i = 0; i < done; i++)
            assert_ok(model_step(&c.model, reference, &loss, NULL));
        contents expected = contents_of(reference), after = {0};
        assert_ok(tc_store_visit(c.store, contents_add, &after, &after.step));
        assert_true(contents_equal(&expected, &after));
        contents_free(&expected);
        contents_free(&after);
        tc_tensor_release(loss);
        tc_session_release(reference);
        tc_store_release(c.store);
        test_model_destroy(&c.model);
        assert_clean();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_share_a_store),
        cmocka_unit_test(test_threads_asynchronous),
        cmocka_unit_test(test_threads_come_and_go),
    };
    return cmocka_run_group_tests_name("devices_threads", tests, NULL, NULL);
}
