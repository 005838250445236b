/* Feeds, fetches and targets: what runs, and what each misuse says. */
#include "../support/test.h"
#include "model.h"

typedef struct fixture {
    test_model model;
    tc_session *session;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_ok(test_model_create(&f->model));
    assert_ok(tc_session_create(f->model.graph, NULL, &f->session));
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    tc_session_release(f->session);
    test_model_destroy(&f->model);
    free(f);
    return 0;
}

static void test_session_trains(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_tensor *loss = NULL;
    double first = 0, last = 0;
    for (int i = 0; i < 100; i++) {
        assert_ok(tc_session_run(f->session, TC_FEEDS({m->x, m->features}, {m->y, m->labels}),
                                 TC_FETCHES(m->loss), TC_TARGETS(m->train), &loss, NULL));
        last = tc_tensor_get(loss, 0);
        if (i == 0)
            first = last;
    }
    tc_tensor_release(loss);
    assert_true(last < 0.25 * first);
    assert_int_equal(tc_store_step(tc_session_store(f->session)), 100);
}

static void test_session_refuses_feeds(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_session *s = f->session;
    tc_tensor *out = NULL, *bad;

    assert_status(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("'x'");
    assert_error_contains("model.h:");

    assert_status(tc_session_run(s, TC_FEEDS({m->x, m->features}, {m->x, m->features}),
                                 TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("feeds 0 and 1 are both for 'x'");

    assert_status(
        tc_session_run(s, TC_FEEDS({m->x, NULL}), TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("feed 'x': the tensor is NULL");

    assert_ok(tc_tensor_create(TC_F64, TC_SHAPE(3, 4), &bad));
    assert_status(
        tc_session_run(s, TC_FEEDS({m->x, bad}), TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("feed 'x' wants f32, but the tensor is f64");
    tc_tensor_release(bad);

    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(3, 5), &bad));
    assert_status(
        tc_session_run(s, TC_FEEDS({m->x, bad}), TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("x");
    assert_error_contains("[3, 5]");
    tc_tensor_release(bad);

    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(12), &bad));
    assert_status(
        tc_session_run(s, TC_FEEDS({m->x, bad}), TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("[12]");
    tc_tensor_release(bad);

    /* A feed that nothing needs is checked too. */
    assert_ok(tc_tensor_create(TC_I64, TC_SHAPE(2, 2), &bad));
    assert_status(tc_session_run(s, TC_FEEDS({m->x, m->features}, {m->y, bad}),
                                 TC_FETCHES(m->logits), TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("feed 'y' has shape [batch], but the tensor is [2, 2]");
    tc_tensor_release(bad);

    /* One name, two sizes. */
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(MODEL_BATCH + 1, 4), &bad));
    assert_status(tc_session_run(s, TC_FEEDS({m->x, bad}, {m->y, m->labels}), TC_FETCHES(m->loss),
                                 TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("batch");
    tc_tensor_release(bad);

    tc_value weights = tc_graph_find(m->graph, "hidden/weights");
    assert_status(tc_session_run(s, TC_FEEDS({weights, m->features}), TC_FETCHES(m->logits),
                                 TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("variable 'hidden/weights' cannot be fed");
    assert_null(out);
}

static void test_session_refuses_fetches(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_tensor *out = NULL;

    tc_graph *other = tc_graph_create();
    tc_value stranger = tc_constant_scalar(other, TC_F32, 1);
    assert_status(
        tc_session_run(f->session, TC_NO_FEEDS, TC_FETCHES(stranger), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("belongs to another graph");
    tc_graph_release(other);

    tc_value late = tc_constant_scalar(m->graph, TC_F32, 1);
    assert_status(
        tc_session_run(f->session, TC_NO_FEEDS, TC_FETCHES(late), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("after the session was created");

    assert_status(tc_session_run(f->session, TC_NO_FEEDS, TC_FETCHES(tc_no_value()), TC_NO_TARGETS,
                                 &out, NULL),
                  TC_INVALID_ARGUMENT);

    tc_value second = m->loss;
    second.output = 7;
    assert_status(
        tc_session_run(f->session, TC_NO_FEEDS, TC_FETCHES(second), TC_NO_TARGETS, &out, NULL),
        TC_INVALID_ARGUMENT);
    assert_null(out);
}

static void test_session_refuses_outputs(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_tensor *out;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(MODEL_BATCH, 3), &out));
    assert_status(tc_session_run(f->session, TC_FEEDS({m->x, m->features}), TC_FETCHES(m->logits),
                                 TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("but the given tensor is f32 [6, 3]");
    tc_tensor_release(out);

    /* The elements of a constant stay as they are. */
    tc_tensor *fixed;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(MODEL_BATCH, 2), (float[MODEL_BATCH * 2]){1},
                                    &fixed));
    assert_true(tc_value_ok(tc_constant(m->graph, fixed)));
    out = fixed;
    assert_status(tc_session_run(f->session, TC_FEEDS({m->x, m->features}), TC_FETCHES(m->logits),
                                 TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("read-only");
    assert_status(tc_tensor_set(fixed, 0, 5), TC_INVALID_ARGUMENT);
    tc_tensor_release(fixed);

    /* An output in the memory of a feed would be overwritten while it is read. */
    tc_value copy = tc_identity(m->x);
    tc_session *session;
    assert_ok(tc_session_create(m->graph, NULL, &session));
    out = m->features;
    assert_status(tc_session_run(session, TC_FEEDS({m->x, m->features}), TC_FETCHES(copy),
                                 TC_NO_TARGETS, &out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("shares memory");
    tc_session_release(session);
}

static void test_session_reports_graph_errors(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value a = tc_placeholder(g, "a", TC_F32, TC_SHAPE(2, 3));
    tc_value b = tc_placeholder(g, "b", TC_F32, TC_SHAPE(4, 5));
    int line = __LINE__ + 1;
    tc_value c = tc_matmul(a, b);
    tc_value d = tc_relu(c);
    assert_false(tc_value_ok(d));
    tc_session *session;
    assert_status(tc_session_create(g, NULL, &session), TC_INVALID_ARGUMENT);
    assert_null(session);
    char where[64];
    snprintf(where, sizeof where, "test_session.c:%d", line);
    assert_error_contains("matmul");
    assert_error_contains("[2, 3]");
    assert_error_contains("[4, 5]");
    assert_error_contains(where);
    tc_graph_release(g);

    assert_status(tc_session_create(NULL, NULL, &session), TC_INVALID_ARGUMENT);
    assert_error_contains("graph is NULL");
}

/* Any value can be fed, and what it was computed from is then not needed. */
static void test_session_feeds_intermediate(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
    tc_value y = tc_square(x);
    tc_value z = tc_add(y, tc_constant_scalar(g, TC_F32, 1));
    tc_session *session;
    assert_ok(tc_session_create(g, NULL, &session));
    tc_tensor *fed, *out = NULL;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){5, 6}, &fed));
    assert_ok(
        tc_session_run(session, TC_FEEDS({y, fed}), TC_FETCHES(z), TC_NO_TARGETS, &out, NULL));
    assert_true(tc_tensor_get(out, 0) == 6 && tc_tensor_get(out, 1) == 7);
    tc_tensor_release(out);
    tc_tensor_release(fed);
    tc_session_release(session);
    tc_graph_release(g);
}

static void test_session_plans(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_callable *c;
    assert_ok(tc_session_compile(f->session, TC_FETCHES(m->x, m->y), TC_FETCHES(m->loss),
                                 TC_TARGETS(m->train), NULL, &c));
    tc_shape shapes[] = {TC_SHAPE(32, 4), TC_SHAPE(32)};
    tc_plan_info info;
    assert_ok(tc_callable_plan(c, shapes, &info));
    assert_true(info.peak_bytes > 0 && info.kernels > 0 && info.commits > 0);
    assert_true(info.variable_bytes >= 4 * (4 * 8 + 8 + 8 * 2 + 2) * 3);
    shapes[0] = TC_SHAPE(-1, 4);
    assert_status(tc_callable_plan(c, shapes, &info), TC_INVALID_ARGUMENT);
    tc_callable_release(c);

    /* A budget below the peak is refused before anything runs. */
    tc_session *small;
    tc_session_options options = {.struct_size = sizeof options, .memory_budget = 64};
    assert_ok(tc_session_create(m->graph, &options, &small));
    tc_tensor *out = NULL;
    assert_status(tc_session_run(small, TC_FEEDS({m->x, m->features}, {m->y, m->labels}),
                                 TC_FETCHES(m->loss), TC_NO_TARGETS, &out, NULL),
                  TC_RESOURCE_EXHAUSTED);
    assert_error_contains("budget");
    tc_session_release(small);
}

static void test_session_caches_plans(void **state)
{
    fixture *f = *state;
    test_model *m = &f->model;
    tc_session *session;
    tc_session_options options = {.struct_size = sizeof options, .plan_cache = 2};
    assert_ok(tc_session_create(m->graph, &options, &session));
    for (int round = 0; round < 2; round++) {
        for (int64_t batch = 1; batch <= 3; batch++) {
            tc_tensor *x, *out = NULL;
            assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(batch, 4), &x));
            memset(tc_tensor_data(x), 0, tc_tensor_bytes(x));
            assert_ok(tc_session_run(session, TC_FEEDS({m->x, x}), TC_FETCHES(m->logits),
                                     TC_NO_TARGETS, &out, NULL));
            assert_int_equal(tc_tensor_shape(out)->dims[0].size, batch);
            tc_tensor_release(out);
            tc_tensor_release(x);
        }
    }
    tc_session_counters counters;
    tc_session_count(session, &counters);
    assert_int_equal(counters.runs, 6);
    assert_true(counters.evictions >= 4);
    tc_session_release(session);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session_trains, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_refuses_feeds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_refuses_fetches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_refuses_outputs, set_up, tear_down),
        cmocka_unit_test(test_session_reports_graph_errors),
        cmocka_unit_test(test_session_feeds_intermediate),
        cmocka_unit_test_setup_teardown(test_session_plans, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_session_caches_plans, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
