/* Training steps: clipping, what is trained, updates of the graph, mistakes. */
#include "nn_test.h"

/*
 * Clipping
 */
#define PARTS 3

static const double part_values[PARTS][4] = {{3, -4, 0, 1}, {0.5, 0.25, -2, 8}, {-6, 2, 0.125, 1}};

static void check_clip(const tc_dtype dtypes[PARTS], double factor, double max_norm,
                       tc_dtype norm_dtype, double tolerance)
{
    tc_graph *g = tc_graph_create();
    tc_value gradients[PARTS], clipped[PARTS];
    double squares = 0;
    for (int i = 0; i < PARTS; i++) {
        double values[4];
        for (int j = 0; j < 4; j++) {
            values[j] = part_values[i][j] * factor;
            squares += values[j] * values[j];
        }
        tc_tensor *tensor = tensor_of(dtypes[i], TC_SHAPE(2, 2), values);
        gradients[i] = tc_constant(g, tensor);
        tc_tensor_release(tensor);
    }
    tc_value norm = tc_clip_by_global_norm(gradients, PARTS, max_norm, clipped);
    assert_int_equal(tc_value_dtype(norm), norm_dtype);
    tc_session *s = session_of(g);
    check_close(scalar_of(s, norm), sqrt(squares), tolerance, "the norm");
    double scale = sqrt(squares) > max_norm ? max_norm / sqrt(squares) : 1;
    for (int i = 0; i < PARTS; i++) {
        double values[4];
        assert_int_equal(tc_value_dtype(clipped[i]), dtypes[i]);
        run_for(s, TC_NO_FEEDS, clipped[i], TC_NO_VALUE, values, 4);
        for (int j = 0; j < 4; j++)
            check_close(values[j], part_values[i][j] * factor * scale, tolerance, "a gradient");
    }
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_minimize_clips_by_the_global_norm(void **state)
{
    const tc_dtype f32[] = {TC_F32, TC_F32, TC_F32}, f64[] = {TC_F64, TC_F64, TC_F64};
    const tc_dtype mixed[] = {TC_F32, TC_F64, TC_F16};
    static const double norms[] = {0.01, 1, 11.7, 11.8, 1000};
    for (size_t i = 0; i < sizeof norms / sizeof norms[0]; i++) {
        check_clip(f32, 1, norms[i], TC_F32, 1e-6);
        check_clip(f64, 1, norms[i], TC_F64, 1e-14);
        check_clip(mixed, 1, norms[i], TC_F32, 2e-3);
        check_clip(f32, 0, norms[i], TC_F32, 0);
    }
    /* Squares that f16 cannot hold. */
    check_clip((const tc_dtype[]){TC_F16, TC_F16, TC_F16}, 1024, 4, TC_F32, 2e-3);
}

/* In place, and one gradient alone. */
static void test_minimize_clips_in_place(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value gradient = tc_fill_at(TC_HERE, g, TC_F64, TC_SHAPE(4), 3);
    tc_clip_by_global_norm(&gradient, 1, 0.5, &gradient);
    tc_session *s = session_of(g);
    double values[4];
    run_for(s, TC_NO_FEEDS, gradient, TC_NO_VALUE, values, 4);
    for (int i = 0; i < 4; i++)
        check_close(values[i], 0.25, 1e-15, "a gradient");
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_minimize_clip_mistakes(void **state)
{
    static const double norms[] = {0, -1, NAN};
    for (size_t i = 0; i < 3; i++) {
        tc_graph *g = tc_graph_create();
        tc_value gradient = tc_ones(g, TC_F32, TC_SHAPE(4)), clipped = gradient;
        assert_false(tc_value_ok(tc_clip_by_global_norm(&gradient, 1, norms[i], &clipped)));
        assert_false(tc_value_ok(clipped));
        check_graph_error(g, "clip_by_global_norm: needs gradients and a positive max_norm",
                          "test_minimize.c:");
        tc_graph_release(g);
    }
    tc_value nothing;
    assert_false(tc_value_ok(tc_clip_by_global_norm(NULL, 0, 1, &nothing)));
    assert_error_contains("not 0 gradients");
}

/*
 * What is trained
 */
typedef struct two {
    tc_graph *g;
    tc_value a, b, fixed, loss;
} two;

/* sum of a^2 + 3 b + fixed, from 4, 4 and 4. */
static two two_create(void)
{
    two t = {.g = tc_graph_create()};
    tc_value four = tc_fill_at(TC_HERE, t.g, TC_F32, TC_SHAPE(2), 4);
    t.a = tc_variable(t.g, "a", four);
    t.b = tc_variable(t.g, "b", four);
    t.fixed = tc_variable(t.g, "fixed", four, .not_trainable = true);
    tc_value three = tc_constant_scalar(t.g, TC_F32, 3);
    t.loss = tc_reduce_sum(tc_add(tc_add(tc_square(t.a), tc_mul(three, t.b)), t.fixed));
    tc_variable(t.g, "unused", four);
    return t;
}

static void check_two(const two *t, tc_value step, double a, double b)
{
    tc_session *s = session_of(t->g);
    run_target(s, step);
    static const char *const names[] = {"a", "b", "fixed"};
    const double expected[] = {a, b, 4};
    for (int i = 0; i < 3; i++) {
        double values[2];
        tc_tensor *tensor;
        /* A run initializes what it uses; the others are still as they begin. */
        tc_status status = tc_store_read(tc_session_store(s), names[i], &tensor);
        if (status == TC_FAILED_PRECONDITION && expected[i] == 4)
            continue;
        assert_ok(status);
        tc_tensor_release(tensor);
        read_variable(s, names[i], values, 2);
        check_close(values[0], expected[i], 1e-6, names[i]);
        check_close(values[1], expected[i], 1e-6, names[i]);
    }
    tc_session_release(s);
    tc_graph_release(t->g);
}

static void test_minimize_trains_what_the_loss_depends_on(void **state)
{
    two t = two_create();
    check_two(&t, tc_minimize(tc_sgd(t.g, .learning_rate = 0.5f), t.loss), 4 - 0.5 * 8, 4 - 1.5);
    t = two_create();
    check_two(&t,
              tc_minimize(tc_sgd(t.g, .learning_rate = 0.5f), t.loss, .variables = &t.b,
                          .n_variables = 1),
              4, 4 - 1.5);
    /* A variable that is not trainable is trained when it is asked for. */
    t = two_create();
    tc_value step = tc_minimize(tc_sgd(t.g, .learning_rate = 1), t.loss, .variables = &t.fixed,
                                .n_variables = 1);
    tc_session *s = session_of(t.g);
    double fixed[2];
    run_target(s, step);
    read_variable(s, "fixed", fixed, 2);
    assert_float_equal(fixed[0], 3, 1e-6);
    tc_session_release(s);
    tc_graph_release(t.g);
}

static void test_minimize_clips(void **state)
{
    two t = two_create();
    double norm = sqrt(8 * 8 + 8 * 8 + 3 * 3 + 3 * 3);
    tc_value step = tc_minimize(tc_sgd(t.g, .learning_rate = 1), t.loss, .clip_global_norm = 2);
    check_two(&t, step, 4 - 2 * 8 / norm, 4 - 2 * 3 / norm);
    t = two_create();
    step = tc_minimize(tc_sgd(t.g, .learning_rate = 1), t.loss, .clip_global_norm = 100);
    check_two(&t, step, 4 - 8, 4 - 3);
}

static void test_minimize_applies_gradients_of_ones_own(void **state)
{
    two t = two_create();
    const tc_value variables[] = {t.a, t.b};
    tc_value seven = tc_fill_at(TC_HERE, t.g, TC_F32, TC_SHAPE(2), 7);
    const tc_value gradients[] = {seven, tc_neg(seven)};
    tc_value step = tc_apply_gradients(tc_sgd(t.g, .learning_rate = 0.5f), variables, gradients, 2);
    check_two(&t, step, 0.5, 7.5);
}

/* A loss that is no scalar counts by its sum. */
static void test_minimize_a_vector(void **state)
{
    two t = two_create();
    check_two(&t, tc_minimize(tc_sgd(t.g, .learning_rate = 0.5f), tc_square(t.a)), 0, 4);
}

static void test_minimize_runs_the_updates_of_the_graph(void **state)
{
    two t = two_create();
    tc_value count =
        tc_variable(t.g, "count", tc_constant_scalar(t.g, TC_I64, 0), .not_trainable = true);
    tc_value one = tc_constant_scalar(t.g, TC_I64, 1);
    tc_annotate(tc_assign_add(count, one), "collection", "updates");
    tc_annotate(tc_assign_add(count, one), "collection", "something else");
    tc_value step = tc_minimize(tc_adam(t.g), t.loss);
    tc_session *s = session_of(t.g);
    for (int i = 0; i < 3; i++)
        run_target(s, step);
    double counted, steps;
    read_variable(s, "count", &counted, 1);
    read_variable(s, "adam/step", &steps, 1);
    assert_float_equal(counted, 3, 0);
    assert_float_equal(steps, 3, 0);
    tc_session_release(s);
    tc_graph_release(t.g);
}

static void check_mistake(tc_graph *g, tc_value step, const char *text)
{
    assert_false(tc_value_ok(step));
    check_graph_error(g, text, "test_minimize.c:");
    tc_graph_release(g);
}

static void test_minimize_mistakes(void **state)
{
    two t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), tc_reduce_sum(t.fixed)),
                  "minimize: the loss 'reduce_sum_1' depends on no trainable variable");
    t = two_create();
    check_mistake(t.g,
                  tc_minimize(tc_sgd(t.g), tc_reduce_sum(t.a), .variables = &t.b, .n_variables = 1),
                  "'b'");
    t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), t.loss, .variables = &t.b),
                  "minimize: the list of variables for the loss 'reduce_sum' is empty");
    t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), tc_graph_find(t.g, "none")),
                  "minimize: the loss is invalid");
    t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), TC_NO_VALUE), "minimize: the loss is invalid");
    t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), tc_cast(t.loss, TC_I32)), "");
    t = two_create();
    check_mistake(t.g, tc_minimize(tc_sgd(t.g), t.loss, .clip_global_norm = -2),
                  "not 2 gradients and -2");
    t = two_create();
    check_mistake(t.g, tc_apply_gradients(tc_sgd(t.g), NULL, NULL, 2),
                  "apply_gradients: variables or gradients are NULL");
    t = two_create();
    check_mistake(t.g, tc_apply_gradients(tc_sgd(t.g), &t.a, &t.loss, 1), "[2]");
}

static void test_minimize_of_two_graphs(void **state)
{
    two t = two_create(), other = two_create();
    assert_false(tc_value_ok(tc_minimize(tc_sgd(other.g), t.loss)));
    check_graph_error(t.g, "minimize: the loss 'reduce_sum' belongs to another graph",
                      "test_minimize.c:");
    tc_graph_release(t.g);
    tc_graph_release(other.g);
}

static void test_minimize_without_a_graph(void **state)
{
    two t = two_create();
    tc_graph *none = NULL;
    tc_warmup_cosine schedule = {.peak = 1, .total_steps = 9};
    assert_false(tc_value_ok(tc_minimize(tc_sgd(none, .momentum = 0.9), TC_NO_VALUE)));
    assert_false(tc_value_ok(tc_minimize(
        tc_adam(none, .schedule = tc_warmup_cosine_schedule, .schedule_context = &schedule),
        TC_NO_VALUE)));
    assert_false(tc_value_ok(tc_apply_gradients(tc_adamw(none), NULL, NULL, 0)));
    assert_false(tc_value_ok(tc_minimize(tc_sgd(none), t.loss)));
    check_graph_error(t.g, "belongs to another graph", "test_minimize.c:");
    tc_graph_release(t.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minimize_clips_by_the_global_norm),
        cmocka_unit_test(test_minimize_clips_in_place),
        cmocka_unit_test(test_minimize_clip_mistakes),
        cmocka_unit_test(test_minimize_trains_what_the_loss_depends_on),
        cmocka_unit_test(test_minimize_clips),
        cmocka_unit_test(test_minimize_applies_gradients_of_ones_own),
        cmocka_unit_test(test_minimize_a_vector),
        cmocka_unit_test(test_minimize_runs_the_updates_of_the_graph),
        cmocka_unit_test(test_minimize_mistakes),
        cmocka_unit_test(test_minimize_of_two_graphs),
        cmocka_unit_test(test_minimize_without_a_graph),
    };
    return cmocka_run_group_tests_name("minimize", tests, NULL, NULL);
}
