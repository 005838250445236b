/* What callers are told of placements and of the kernels of devices. */
#include "devices_test.h"

static const tc_placement *placed(const tc_placement *places, size_t count, const char *op)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(places[i].op, op) == 0)
            return &places[i];
    fail_msg("no node of %s", op);
    return NULL;
}

static void test_placements(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.n_devices = 1, .without = ",tanh,"});
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(2, 3));
    tc_value y =
        tc_matmul(tc_tanh(x), tc_variable(graph, "w", tc_fill(graph, TC_F32, TC_SHAPE(3, 3), 1)));
    tc_session *s = session_on(graph, "loop:0");
    tc_callable *callable;
    tc_placement places[16];
    size_t count, all;
    assert_ok(tc_session_compile(s, TC_FETCHES(x), TC_FETCHES(y), TC_NO_TARGETS, NULL, &callable));
    assert_ok(tc_callable_placements(callable, NULL, 0, &all));
    assert_ok(tc_callable_placements(callable, places, 16, &count));
    assert_true(count == all && count <= 16);
    assert_string_equal(placed(places, count, "matmul")->device, "loop:0");
    assert_string_equal(placed(places, count, "matmul")->reason, "default");
    assert_string_equal(placed(places, count, "tanh")->device, "cpu");
    assert_string_equal(placed(places, count, "tanh")->reason, "no kernel on loop:0");
    assert_string_equal(placed(places, count, "variable")->node, "w");
    assert_string_equal(placed(places, count, "variable")->reason, "where it is read most");
    places[1].node = NULL; /* no more than there is room for */
    assert_ok(tc_callable_placements(callable, places, 1, &count));
    assert_true(count == all && !places[1].node);
    assert_status(tc_callable_placements(callable, NULL, 1, &count), TC_INVALID_ARGUMENT);
    assert_status(tc_callable_placements(NULL, places, 1, &count), TC_INVALID_ARGUMENT);
    tc_callable_release(callable);
    tc_session_release(s);
    tc_graph_release(graph);
    assert_clean();
}

static void test_kernels(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.n_devices = 1, .without = ",tanh,"});
    tc_runtime *runtime;
    uint32_t cpu, device;
    assert_ok(tc_runtime_create(NULL, &runtime));
    assert_ok(tc_device_kernels(runtime, 0, "matmul", &cpu));
    assert_ok(tc_device_kernels(runtime, 1, "matmul", &device));
    assert_true(cpu & TC_DTYPE_BIT(TC_F32) && !(cpu & TC_DTYPE_BIT(TC_BOOL)));
    assert_int_equal(cpu, device);
    assert_ok(tc_device_kernels(runtime, 0, "tanh", &cpu));
    assert_ok(tc_device_kernels(runtime, 1, "tanh", &device));
    assert_true(cpu != 0 && device == 0);
    assert_ok(tc_device_kernels(runtime, 0, "transfer", &cpu));
    assert_int_equal(cpu, 0);
    assert_status(tc_device_kernels(runtime, 2, "tanh", &device), TC_INVALID_ARGUMENT);
    assert_error_contains("no device 2");
    assert_status(tc_device_kernels(runtime, 0, "tan", &device), TC_INVALID_ARGUMENT);
    assert_error_contains("'tan'");
    assert_status(tc_device_kernels(runtime, 0, "tanh", NULL), TC_INVALID_ARGUMENT);
    tc_runtime_release(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_placements),
                                       cmocka_unit_test(test_kernels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
