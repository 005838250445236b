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

/*
 * Thousands of runs from many threads: two stores, each with several sessions, on one runtime.
 * Every thread trains now and then, serves, and asks for asynchronous runs; some runs are cancelled
 * and some have no time.
 */
#define CROWD      32
#define CROWD_RUNS (TEST_SANITIZED ? 40 : 320) /* of each: 10,000 in all */
#define STORES     2
#define SESSIONS   4

typedef struct crowd {
    test_model model;
    tc_session *sessions[SESSIONS];
    tc_callable *infer[SESSIONS], *train[SESSIONS];
    atomic_int failures, applied[STORES], number;
} crowd;

static tc_status run_one(crowd *c, int i, tc_tensor **logits)
{
    test_model *m = &c->model;
    tc_tensor *inputs[] = {m->features, m->labels};
    int at = i % SESSIONS;
    tc_run_options hasty = {.struct_size = sizeof hasty, .timeout_us = 1 + i % 50};
    tc_status status;
    tc_completion *completion;
    switch (i % 7) {
    case 0:
    case 1:
        status = tc_callable_run(c->train[at], inputs, NULL, i % 2 ? &hasty : NULL);
        if (status == TC_OK)
            atomic_fetch_add(&c->applied[at % STORES], 1);
        return status == TC_DEADLINE_EXCEEDED ? TC_OK : status;
    case 2:
        TC_TRY(tc_callable_start(c->infer[at], inputs, logits, NULL, NULL, NULL, &completion));
        status = tc_completion_wait(completion, 0);
        tc_completion_release(completion);
        return status;
    case 3:
        return tc_session_run(c->sessions[at], TC_FEEDS({m->x, m->features}), TC_FETCHES(m->logits),
                              TC_NO_TARGETS, logits, NULL);
    default: return tc_callable_run(c->infer[at], inputs, logits, NULL);
    }
}

static void *join_crowd(void *argument)
{
    crowd *c = argument;
    tc_tensor *logits = NULL;
    int number = atomic_fetch_add(&c->number, 1);
    for (int i = 0; i < CROWD_RUNS; i++)
        if (run_one(c, i + 3 * number, &logits) != TC_OK || (logits && !finite_logits(logits)))
            atomic_fetch_add(&c->failures, 1);
    tc_tensor_release(logits);
    return NULL;
}

static void test_concurrency_crowd(void **state)
{
    (void)state;
    static crowd c;
    test_model *m = &c.model;
    assert_ok(test_model_create(m));
    tc_runtime *runtime;
    tc_store *stores[STORES];
    assert_ok(tc_runtime_create(
        &(tc_runtime_options){.struct_size = sizeof(tc_runtime_options), .threads = 3}, &runtime));
    for (int i = 0; i < STORES; i++)
        assert_ok(tc_store_create(runtime, &stores[i]));
    for (int i = 0; i < SESSIONS; i++) {
        tc_session_options options = {.struct_size = sizeof options,
                                      .store = stores[i % STORES],
                                      .threads = i}; /* all, and views of one, two, three */
        assert_ok(tc_session_create(m->graph, &options, &c.sessions[i]));
        assert_ok(tc_session_compile(c.sessions[i], TC_FETCHES(m->x, m->y), TC_FETCHES(m->logits),
                                     TC_NO_TARGETS, NULL, &c.infer[i]));
        assert_ok(tc_session_compile(c.sessions[i], TC_FETCHES(m->x, m->y), TC_NO_FETCHES,
                                     TC_TARGETS(m->train), NULL, &c.train[i]));
    }
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, join_crowd, &c), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&c.failures), 0);
    for (int i = 0; i < STORES; i++) {
        assert_int_equal(tc_store_step(stores[i]), atomic_load(&c.applied[i]));
        tc_tensor *steps;
        assert_ok(tc_store_read(stores[i], "adam/step", &steps));
        assert_true(tc_tensor_get(steps, 0) == atomic_load(&c.applied[i]));
        tc_tensor_release(steps);
    }
    uint64_t runs = 0;
    for (int i = 0; i < SESSIONS; i++) {
        tc_session_counters counters;
        tc_session_count(c.sessions[i], &counters);
        runs += counters.runs;
        tc_callable_release(c.infer[i]);
        tc_callable_release(c.train[i]);
        tc_session_release(c.sessions[i]);
    }
    assert_in_range(runs, CROWD * CROWD_RUNS / 2, CROWD * CROWD_RUNS);
    for (int i = 0; i < STORES; i++)
        tc_store_release(stores[i]);
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

/* Two towers that meet at the loss, large enough for lanes. */
static tc_value tower(tc_value x, const char *name)
{
    char layer[32];
    for (int i = 0; i < 3; i++) {
        snprintf(layer, sizeof layer, "%s%d", name, i);
        x = tc_dense(x, 96, .activation = TC_ACT_TANH, .name = layer);
    }
    return x;
}

/* Weights of both towers after some steps, one after the other. */
static void train_towers(int threads, float weights[2][96 * 96], int32_t *branches)
{
    tc_graph *g = tc_graph_create();
    tc_shape shapes[] = {TC_SHAPE(32, 96), TC_SHAPE(32)};
    tc_value x = tc_placeholder(g, "x", TC_F32, shapes[0]);
    tc_value y = tc_placeholder(g, "y", TC_I64, shapes[1]);
    tc_value both = tc_add(tower(x, "left"), tower(tc_neg(x), "right"));
    tc_value loss = tc_softmax_cross_entropy(tc_dense(both, 8, .name = "logits"), y);
    tc_value step = tc_minimize(tc_adam(g, .learning_rate = 0.01f), loss);
    tc_tensor *inputs[2], *read;
    assert_ok(tc_tensor_create(TC_F32, shapes[0], &inputs[0]));
    assert_ok(tc_tensor_create(TC_I64, shapes[1], &inputs[1]));
    for (int i = 0; i < 32 * 96; i++)
        ((float *)tc_tensor_data(inputs[0]))[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < 32; i++)
        ((int64_t *)tc_tensor_data(inputs[1]))[i] = i % 8;
    tc_runtime *runtime;
    tc_session *s;
    tc_callable *train_step;
    tc_plan_info info;
    assert_ok(tc_runtime_create(
        &(tc_runtime_options){.struct_size = sizeof(tc_runtime_options), .threads = threads},
        &runtime));
    assert_ok(tc_session_create(
        g, &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = runtime},
        &s));
    assert_ok(tc_session_compile(s, TC_FETCHES(x, y), TC_NO_FETCHES, TC_TARGETS(step), NULL,
                                 &train_step));
    assert_ok(tc_callable_plan(train_step, shapes, &info));
    *branches = info.branches;
    for (int i = 0; i < 20; i++)
        assert_ok(tc_callable_run(train_step, inputs, NULL, NULL));
    static const char *const names[] = {"left1/weights", "right1/weights"};
    for (int i = 0; i < 2; i++) {
        assert_ok(tc_store_read(tc_session_store(s), names[i], &read));
        assert_int_equal(tc_tensor_bytes(read), sizeof weights[i]);
        memcpy(weights[i], tc_tensor_data(read), sizeof weights[i]);
        tc_tensor_release(read);
        tc_tensor_release(inputs[i]);
    }
    tc_callable_release(train_step);
    tc_session_release(s);
    tc_runtime_release(runtime);
    tc_graph_release(g);
}

static void test_concurrency_bits_do_not_depend_on_lanes(void **state)
{
    (void)state;
    static float one[2][96 * 96], more[2][96 * 96];
    static const int threads[] = {2, 3, 8};
    int32_t branches;
    train_towers(1, one, &branches);
    assert_int_equal(branches, 0);
    for (int i = 0; i < 3; i++) {
        train_towers(threads[i], more, &branches);
        assert_true(branches >= 2);
        assert_memory_equal(one, more, sizeof one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_concurrency_readers_and_writers),
        cmocka_unit_test(test_concurrency_crowd),
        cmocka_unit_test(test_concurrency_default_runtime),
        cmocka_unit_test(test_concurrency_bits_do_not_depend_on_threads),
        cmocka_unit_test(test_concurrency_bits_do_not_depend_on_lanes),
    };
    return cmocka_run_group_tests_name("concurrency", tests, NULL, NULL);
}
