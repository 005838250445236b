/* Regions of a device: lanes in queues of their own. */
#include "devices_test.h"
#include "runtime/session.h"

typedef struct lanes {
    tc_graph *graph;
    tc_value x, y[3];
    tc_tensor *fed;
    tc_session *session;
    tc_callable *callable;
} lanes;

static void lanes_create(lanes *l, const char *device)
{
    tc_shape shape = TC_SHAPE(4);
    tc_bound_plan *bound;
    *l = (lanes){.graph = tc_graph_create()};
    l->x = tc_placeholder(l->graph, "x", TC_F32, TC_SHAPE(4));
    l->y[0] = tc_neg(l->x);
    l->y[1] = tc_square(l->x);
    l->y[2] = tc_abs(l->x);
    assert_ok(tc_graph_status(l->graph));
    assert_ok(tc_tensor_create_copy(TC_F32, shape, (float[]){1, -2, 3, -4}, &l->fed));
    const tc_session_options with = {
        .struct_size = sizeof with, .device = device, .disable_passes = "fuse_elementwise"};
    assert_ok(tc_session_create(l->graph, &with, &l->session));
    assert_ok(tc_session_compile(l->session, &l->x, 1, l->y, 3, TC_NO_TARGETS, NULL, &l->callable));
    assert_ok(tc_plan_enter(l->session, l->callable->entry, &shape, &bound, NULL));
    assert_int_equal(bound->plan->n_regions, 1);
    assert_int_equal(bound->plan->regions[0].n_lanes, 3);
    int32_t at = bound->plan->steps[bound->plan->regions[0].first_step].device;
    assert_int_equal(bound->devices[at].n_queues, 3);
    tc_plan_leave(l->session, l->callable->entry, bound, NULL);
}

static void lanes_destroy(lanes *l)
{
    tc_callable_release(l->callable);
    tc_session_release(l->session);
    tc_tensor_release(l->fed);
    tc_graph_release(l->graph);
    assert_clean();
}

static tc_status lanes_run(lanes *l)
{
    tc_tensor *out[3] = {0};
    tc_status status = tc_callable_run(l->callable, &l->fed, out, NULL);
    for (int i = 0; i < 4 && status == TC_OK; i++) {
        double x = tc_tensor_get(l->fed, i);
        assert_true(tc_tensor_get(out[0], i) == -x);
        assert_true(tc_tensor_get(out[1], i) == x * x);
        assert_true(tc_tensor_get(out[2], i) == (x < 0 ? -x : x));
    }
    for (int i = 0; i < 3; i++)
        tc_tensor_release(out[i]);
    return status;
}

static void test_lanes(void **state)
{
    const loopback_options variants[] = {
        {.deferred = false}, {.deferred = true}, {.deferred = true, .no_recordings = true}};
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        lanes l;
        loopback_reset(&variants[i]);
        lanes_create(&l, "loop:0");
        for (int k = 0; k < 5; k++)
            assert_ok(lanes_run(&l));
        /* Forth and back, for two queues beside the first. */
        assert_int_equal(loopback_count(LOOPBACK_ORDER), variants[i].no_recordings ? 20 : 8);
        lanes_destroy(&l);
    }
}

/* Whatever fails between them, nothing goes on afterwards in a lane that was left. */
static void test_lanes_fail(void **state)
{
    (void)state;
    for (int deferred = 0; deferred < 2; deferred++) {
        bool failed = true;
        for (int n = 0; failed; n++) {
            lanes l;
            loopback_reset(&(loopback_options){.deferred = deferred});
            lanes_create(&l, "loop:0");
            loopback_fail_at(LOOPBACK_ANY, n);
            bool lost = false;
            for (int k = 0; k < 3 && !lost; k++) {
                tc_status status = lanes_run(&l);
                for (int tries = 0; tries < 2 && status != TC_OK && status != TC_UNAVAILABLE;
                     tries++)
                    status = lanes_run(&l);
                lost = status == TC_UNAVAILABLE;
                assert_true(lost || status == TC_OK);
            }
            failed = loopback_failed();
            lanes_destroy(&l);
        }
    }
}

/* Fork and join are recorded with the rest. */
static void test_lanes_on_cuda(void **state)
{
    lanes l;
    tc_session_counters counters;
    (void)state;
    loopback_reset(NULL);
    if (!has_cuda())
        skip();
    lanes_create(&l, "cuda:0");
    for (int k = 0; k < 5; k++)
        assert_ok(lanes_run(&l));
    tc_session_count(l.session, &counters);
    assert_int_equal(counters.recordings, 1);
    assert_int_equal(counters.replays, 4);
    lanes_destroy(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_lanes_fail),
        cmocka_unit_test(test_lanes_on_cuda),
    };
    return cmocka_run_group_tests_name("devices_lanes", tests, NULL, NULL);
}
