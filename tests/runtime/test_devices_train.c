/* Training on devices: as on the CPU, to the last bit. */
#include "devices_test.h"

enum { STEPS = 6 };

static void train(test_model *m, const char *device, float *losses, contents *after)
{
    tc_session *s = session_on(m->graph, device);
    tc_tensor *loss = NULL;
    for (int i = 0; i < STEPS; i++) {
        assert_ok(model_step(m, s, &loss, NULL));
        losses[i] = (float)tc_tensor_get(loss, 0);
    }
    tc_tensor_release(loss);
    *after = contents_of(s);
    if (strcmp(device, "cpu") != 0) {
        tc_session_counters counters;
        tc_session_count(s, &counters);
        assert_true(counters.transferred_bytes > 0);
    }
    if (strcmp(device, "loop:0") == 0)
        assert_true(loopback_count(LOOPBACK_LAUNCH) > 0);
    tc_session_release(s);
}

static void check_optimizer(tc_optimizer (*make)(tc_graph *graph))
{
    test_model m;
    float expected[STEPS], losses[STEPS];
    contents on_cpu, on_loop;
    assert_ok(test_model_create(&m));
    if (make)
        m.train = tc_minimize(make(m.graph), m.loss);
    train(&m, "cpu", expected, &on_cpu);
    train(&m, "loop:0", losses, &on_loop);
    for (int i = 0; i < STEPS; i++)
        assert_true(losses[i] == expected[i]);
    assert_true(losses[STEPS - 1] < losses[0]);
    assert_int_equal(on_loop.step, STEPS);
    assert_true(contents_equal(&on_cpu, &on_loop));
    contents_free(&on_cpu);
    contents_free(&on_loop);
    test_model_destroy(&m);
    assert_clean();
}

static tc_optimizer make_sgd(tc_graph *graph)
{
    return tc_sgd(graph, .learning_rate = 0.1f, .momentum = 0.9f);
}

static tc_optimizer make_adamw(tc_graph *graph)
{
    return tc_adamw(graph, .learning_rate = 0.01f, .weight_decay = 0.1f);
}

static void test_train_optimizers(void **state)
{
    const loopback_options variants[] = {
        {.n_devices = 1}, {.deferred = true}, {.no_recordings = true}};
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        loopback_reset(&variants[i]);
        check_optimizer(NULL);
        check_optimizer(make_sgd);
        check_optimizer(make_adamw);
    }
}

/* On a GPU, or its emulation, where there is one: equal but for roundings. */
static void test_train_on_cuda(void **state)
{
    (void)state;
    loopback_reset(NULL);
    if (!has_cuda())
        skip();
    tc_optimizer (*const optimizers[])(tc_graph *) = {NULL, make_sgd, make_adamw};
    for (size_t k = 0; k < sizeof optimizers / sizeof optimizers[0]; k++) {
        test_model m;
        float expected[STEPS], losses[STEPS];
        contents on_cpu, on_cuda;
        assert_ok(test_model_create(&m));
        if (optimizers[k])
            m.train = tc_minimize(optimizers[k](m.graph), m.loss);
        train(&m, "cpu", expected, &on_cpu);
        train(&m, "cuda:0", losses, &on_cuda);
        for (int i = 0; i < STEPS; i++)
            assert_float_equal(losses[i], expected[i], 1e-4);
        assert_int_equal(on_cuda.step, STEPS);
        assert_int_equal(on_cuda.size, on_cpu.size);
        contents_free(&on_cpu);
        contents_free(&on_cuda);
        test_model_destroy(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_train_optimizers),
        cmocka_unit_test(test_train_on_cuda),
    };
    return cmocka_run_group_tests_name("devices_train", tests, NULL, NULL);
}
