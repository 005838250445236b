/* Memory: none in steady state, and a status where there is none left. */
#include <stdatomic.h>

#include "../support/counting_allocator.h"
#include "../support/loopback.h"
#include "../support/test.h"
#include "model.h"
#include "probe.h"

/*
 * Every allocation of the process, whoever makes it: these stand before those of libc.
 */
static atomic_llong interposed;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

#if !TEST_SANITIZED
void *malloc(size_t size)
{
    atomic_fetch_add(&interposed, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&interposed, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    atomic_fetch_add(&interposed, 1);
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&interposed, 1);
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    atomic_fetch_add(&interposed, 1);
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}
#endif

typedef struct steady {
    const char *device;
    test_model model;
    tc_session *session;
    tc_callable *train, *infer;
    tc_tensor *loss, *logits;
} steady;

static tc_status run_all(steady *s)
{
    test_model *m = &s->model;
    tc_tensor *inputs[] = {m->features, m->labels};
    TC_TRY(tc_callable_run(s->train, inputs, &s->loss, NULL));
    TC_TRY(tc_callable_run(s->infer, inputs, &s->logits, NULL));
    TC_TRY(tc_session_run(s->session, TC_FEEDS({m->x, m->features}, {m->y, m->labels}),
                          TC_FETCHES(m->loss), TC_TARGETS(m->train), &s->loss, NULL));
    return tc_session_run(s->session, TC_FEEDS({m->x, m->features}), TC_FETCHES(m->logits),
                          TC_NO_TARGETS, &s->logits, NULL);
}

static tc_status steady_create(steady *s)
{
    test_model *m = &s->model;
    const tc_session_options options = {.struct_size = sizeof options, .device = s->device};
    TC_TRY(test_model_create(m));
    TC_TRY(tc_session_create(m->graph, &options, &s->session));
    TC_TRY(tc_session_compile(s->session, TC_FETCHES(m->x, m->y), TC_FETCHES(m->loss),
                              TC_TARGETS(m->train), NULL, &s->train));
    return tc_session_compile(s->session, TC_FETCHES(m->x), TC_FETCHES(m->logits), TC_NO_TARGETS,
                              NULL, &s->infer);
}

static void steady_destroy(steady *s)
{
    tc_tensor_release(s->loss);
    tc_tensor_release(s->logits);
    tc_callable_release(s->train);
    tc_callable_release(s->infer);
    tc_session_release(s->session);
    test_model_destroy(&s->model);
}

static void check_steady_state(const char *device)
{
    counting_allocator_install();
    steady s = {.device = device};
    assert_ok(steady_create(&s));
    for (int i = 0; i < 3; i++)
        assert_ok(run_all(&s));
    int64_t counted = counting_allocator_total();
    long long malloced = atomic_load(&interposed);
    for (int i = 0; i < 100; i++)
        if (run_all(&s) != TC_OK)
            fail();
    long long malloced_after = atomic_load(&interposed);
    assert_int_equal(counting_allocator_total(), counted);
    assert_int_equal(malloced_after, malloced);
#if !TEST_SANITIZED
    assert_true(malloced > 0); /* the interposition is in force */
#endif
    steady_destroy(&s);
    counting_allocator_remove();
}

static void test_allocation_none_in_steady_state(void **state)
{
    (void)state;
    check_steady_state(NULL);
}

/* Nor where recordings are replayed. */
static void test_allocation_none_on_devices(void **state)
{
    (void)state;
    loopback_reset(NULL);
    check_steady_state("loop:0");
    assert_string_equal(loopback_violation(), "");
}

/* Nor with lanes, deadlines and cancellation. */
static void test_allocation_none_with_lanes_and_deadlines(void **state)
{
    (void)state;
    probe_graph p;
    tc_session *s;
    tc_callable *callable;
    tc_cancellation *cancel;
    tc_tensor *sum = NULL;
    tc_shape shape = TC_SHAPE(4);
    tc_plan_info info;
    assert_ok(probe_graph_create(&p, 6, 3));
    assert_ok(tc_cancellation_create(&cancel));
    tc_session_options with = {.struct_size = sizeof with, .runtime = p.runtime, .threads = 2};
    assert_ok(tc_session_create(p.graph, &with, &s));
    assert_ok(tc_session_compile(s, TC_FETCHES(p.x), TC_FETCHES(p.sum),
                                 TC_TARGETS(p.update_a, p.update_b), NULL, &callable));
    assert_ok(tc_callable_plan(callable, &shape, &info));
    assert_int_equal(info.branches, 2);
    tc_run_options options = {
        .struct_size = sizeof options, .timeout_us = 50000000, .cancellation = cancel};
    long long malloced = 0;
    for (int i = 0; i < 200; i++) {
        if (i == 10)
            malloced = atomic_load(&interposed);
        options.timeout_us += i; /* other deadlines, sooner and later */
        if (tc_callable_run(callable, &p.fed, &sum, &options) != TC_OK)
            fail();
    }
    long long malloced_after = atomic_load(&interposed);
    assert_int_equal(malloced_after, malloced);
    tc_tensor_release(sum);
    tc_callable_release(callable);
    tc_session_release(s);
    tc_cancellation_destroy(cancel);
    probe_graph_destroy(&p);
}

/* However many feeds and fetches there are. */
static void test_allocation_none_for_many_feeds(void **state)
{
    (void)state;
    enum { count = 100 };
    counting_allocator_install();
    tc_graph *g = tc_graph_create();
    tc_feed feeds[count];
    tc_value sums[count];
    tc_tensor *outputs[count] = {0};
    for (int i = 0; i < count; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        feeds[i].value = tc_placeholder(g, name, TC_F32, TC_SCALAR);
        assert_ok(tc_tensor_create_scalar(TC_F32, i, &feeds[i].tensor));
        sums[i] = tc_add(feeds[i].value, feeds[i > 0 ? i - 1 : 0].value);
    }
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    for (int i = 0; i < 2; i++)
        assert_ok(tc_session_run(s, feeds, count, sums, count, TC_NO_TARGETS, outputs, NULL));
    int64_t counted = counting_allocator_total();
    assert_ok(tc_session_run(s, feeds, count, sums, count, TC_NO_TARGETS, outputs, NULL));
    assert_int_equal(counting_allocator_total(), counted);
    for (int i = 0; i < count; i++) {
        assert_float_equal(tc_tensor_get(outputs[i], 0), i > 0 ? 2 * i - 1 : 0, 0);
        tc_tensor_release(outputs[i]);
        tc_tensor_release(feeds[i].tensor);
    }
    tc_session_release(s);
    tc_graph_release(g);
    counting_allocator_remove();
}

/* Build, compile and run with every allocation failing in turn. */
static tc_status whole_life(void *context)
{
    steady s = {.device = context};
    tc_status status = steady_create(&s);
    for (int i = 0; i < 2 && status == TC_OK; i++)
        status = run_all(&s);
    steady_destroy(&s);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    counting_allocator_install();
    int64_t allocations = counting_allocator_sweep(whole_life, NULL);
    assert_true(allocations > 50);
    counting_allocator_remove();
}

static void test_allocation_failures_on_devices(void **state)
{
    (void)state;
    loopback_reset(NULL);
    counting_allocator_install();
    int64_t allocations = counting_allocator_sweep(whole_life, "loop:0");
    assert_true(allocations > 50);
    counting_allocator_remove();
    assert_string_equal(loopback_violation(), "");
    assert_int_equal(loopback_live_bytes() + loopback_pinned_bytes(), 0);
    assert_int_equal(loopback_live_objects(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocation_none_in_steady_state),
        cmocka_unit_test(test_allocation_none_on_devices),
        cmocka_unit_test(test_allocation_none_with_lanes_and_deadlines),
        cmocka_unit_test(test_allocation_none_for_many_feeds),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_allocation_failures_on_devices),
    };
    return cmocka_run_group_tests_name("allocation", tests, NULL, NULL);
}
