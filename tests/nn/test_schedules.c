/* The learning rate of warm-up and cosine decay at every step, and far out. */
#include "nn_test.h"

static double formula(const tc_warmup_cosine *p, int64_t step)
{
    if (step < p->warmup_steps)
        return p->peak * (double)(step + 1) / (double)p->warmup_steps;
    double share = (double)(step - p->warmup_steps) / (double)(p->total_steps - p->warmup_steps);
    double pi = acos(-1.0);
    /* (1 + cos(pi x)) / 2 without the cancellation near x = 1 */
    double wave = share < 1 ? pow(sin(pi / 2 * (1 - share)), 2) : 0;
    return p->final + (p->peak - p->final) * wave;
}

static void check_schedule(tc_warmup_cosine p, const int64_t *steps, int64_t count)
{
    tc_graph *g = tc_graph_create();
    tc_value step = tc_placeholder(g, "step", TC_I64, TC_SCALAR);
    tc_value rate = tc_warmup_cosine_schedule(TC_HERE, step, &p);
    assert_int_equal(tc_value_dtype(rate), TC_F32);
    check_shape(rate, "[]");
    tc_session *s = session_of(g);
    tc_tensor *fed;
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SCALAR, &(int64_t){0}, &fed));
    for (int64_t i = 0; i < count; i++) {
        double actual, expected = formula(&p, steps ? steps[i] : i);
        *(int64_t *)tc_tensor_data(fed) = steps ? steps[i] : i;
        run_for(s, TC_FEEDS({step, fed}), rate, TC_NO_VALUE, &actual, 1);
        /* Relative to the value itself, near its end as well. */
        if (!(fabs(actual - expected) <= 1e-6 * fabs(expected)))
            fail_msg("step %lld of %lld: the rate is %.9g instead of %.9g",
                     (long long)(steps ? steps[i] : i), (long long)p.total_steps, actual, expected);
    }
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_schedules_formula(void **state)
{
    check_schedule((tc_warmup_cosine){.peak = 0.1, .warmup_steps = 10, .total_steps = 60}, NULL,
                   80);
    check_schedule((tc_warmup_cosine){.peak = 2e-3, .final = 1e-4, .total_steps = 50}, NULL, 70);
    check_schedule((tc_warmup_cosine){.peak = 1, .final = 3, .warmup_steps = 1, .total_steps = 2},
                   NULL, 5);
    check_schedule((tc_warmup_cosine){.peak = 0.5, .warmup_steps = 1, .total_steps = 1000}, NULL,
                   1010);
}

/* Steps beyond 2^24 are no multiples of what f32 can count. */
static void test_schedules_of_many_steps(void **state)
{
    const int64_t billion = 1000000000;
    const int64_t steps[] = {0,         1,           12345677,       12345678,    100000000,
                             100000001, 500000000,   billion - 1000, billion - 2, billion - 1,
                             billion,   billion + 1, 3 * billion};
    check_schedule(
        (tc_warmup_cosine){.peak = 0.1, .warmup_steps = 12345678, .total_steps = billion}, steps,
        sizeof steps / sizeof steps[0]);
}

/* Through an optimizer: the rate of a run is that of the updates before it. */
static void test_schedules_in_an_optimizer(void **state)
{
    tc_warmup_cosine p = {.peak = 0.1, .final = 0.01, .warmup_steps = 4, .total_steps = 12};
    tc_graph *g = tc_graph_create();
    tc_value w = tc_variable(g, "w", tc_zeros(g, TC_F32, TC_SHAPE(3)));
    tc_optimizer optimizer =
        tc_adam(g, .schedule = tc_warmup_cosine_schedule, .schedule_context = &p);
    tc_value step = tc_minimize(optimizer, tc_reduce_sum(tc_square(w)));
    tc_session *s = session_of(g);
    for (int i = 0; i < 15; i++) {
        double rate;
        run_for(s, TC_NO_FEEDS, optimizer.learning_rate, step, &rate, 1);
        assert_float_equal(rate, formula(&p, i), 1e-7);
    }
    tc_session_release(s);
    tc_graph_release(g);
}

static void check_mistake(tc_warmup_cosine *p)
{
    tc_graph *g = tc_graph_create();
    tc_optimizer optimizer =
        tc_adam(g, .schedule = tc_warmup_cosine_schedule, .schedule_context = p);
    assert_false(tc_value_ok(optimizer.learning_rate));
    check_graph_error(g, "warmup_cosine: total_steps must be more than warmup_steps",
                      "test_schedules.c:");
    tc_graph_release(g);
}

static void test_schedules_mistakes(void **state)
{
    check_mistake(NULL);
    check_mistake(&(tc_warmup_cosine){.peak = 1});
    check_mistake(&(tc_warmup_cosine){.peak = 1, .warmup_steps = 5, .total_steps = 5});
    check_mistake(&(tc_warmup_cosine){.peak = 1, .warmup_steps = -1, .total_steps = 5});
    assert_false(tc_value_ok(tc_warmup_cosine_schedule(
        TC_HERE, TC_NO_VALUE, &(tc_warmup_cosine){.peak = 1, .total_steps = 5})));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedules_formula),
        cmocka_unit_test(test_schedules_of_many_steps),
        cmocka_unit_test(test_schedules_in_an_optimizer),
        cmocka_unit_test(test_schedules_mistakes),
    };
    return cmocka_run_group_tests_name("schedules", tests, NULL, NULL);
}
