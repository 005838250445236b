/* Layers that do other things in training runs: batch normalization and dropout. */
#include "nn_test.h"

#define ROWS     6
#define CHANNELS 3

typedef struct norm_model {
    tc_graph *g;
    tc_value x, y, loss, train;
    tc_session *s;
    double data[ROWS * CHANNELS];
    tc_tensor *fed;
} norm_model;

static norm_model norm_create(double momentum, double epsilon)
{
    norm_model m = {.g = tc_graph_create()};
    m.x = tc_placeholder(m.g, "x", TC_F64, TC_SHAPE(-1, CHANNELS));
    m.y = tc_batch_norm_layer(m.x, .momentum = TC_SOME(momentum), .epsilon = TC_SOME(epsilon));
    /* A loss without gradient for scale and offset would leave them as they are: rate 0 does. */
    m.loss = tc_reduce_sum(tc_square(m.y));
    m.train = tc_minimize(tc_sgd(m.g, .learning_rate = 1e-30f), m.loss);
    m.s = session_of(m.g);
    for (int i = 0; i < ROWS * CHANNELS; i++)
        m.data[i] = 3 * sin(i * 1.7) + i % CHANNELS;
    m.fed = tensor_of(TC_F64, TC_SHAPE(ROWS, CHANNELS), m.data);
    return m;
}

static void norm_destroy(norm_model *m)
{
    tc_tensor_release(m->fed);
    tc_session_release(m->s);
    tc_graph_release(m->g);
}

/* y, of a run with `target` in `mode`. */
static void norm_run(norm_model *m, tc_value target, tc_mode mode, double y[ROWS * CHANNELS])
{
    tc_tensor *out = NULL;
    tc_run_options options = {.struct_size = sizeof options, .mode = mode};
    assert_ok(tc_session_run(m->s, TC_FEEDS({m->x, m->fed}), TC_FETCHES(m->y), &target,
                             (size_t)tc_value_ok(target), &out, &options));
    for (int i = 0; i < ROWS * CHANNELS; i++)
        y[i] = tc_tensor_get(out, i);
    tc_tensor_release(out);
}

static void check_normalized(const norm_model *m, const double *mean, const double *variance,
                             double epsilon, const double *y)
{
    for (int i = 0; i < ROWS * CHANNELS; i++) {
        int c = i % CHANNELS;
        check_close(y[i], (m->data[i] - mean[c]) / sqrt(variance[c] + epsilon), 1e-12, "y");
    }
}

static void check_running(const norm_model *m, const double *mean, const double *variance)
{
    double actual[CHANNELS];
    read_variable(m->s, "batch_norm/running_mean", actual, CHANNELS);
    for (int c = 0; c < CHANNELS; c++)
        check_close(actual[c], mean[c], 1e-13, "a running mean");
    read_variable(m->s, "batch_norm/running_variance", actual, CHANNELS);
    for (int c = 0; c < CHANNELS; c++)
        check_close(actual[c], variance[c], 1e-13, "a running variance");
}

static void test_modes_batch_norm(void **state)
{
    const double momentum = 0.75, epsilon = 1e-3;
    norm_model m = norm_create(momentum, epsilon);
    double mean[CHANNELS] = {0}, variance[CHANNELS] = {0}, y[ROWS * CHANNELS];
    double running_mean[CHANNELS] = {0}, running_variance[CHANNELS] = {1, 1, 1};
    for (int i = 0; i < ROWS * CHANNELS; i++)
        mean[i % CHANNELS] += m.data[i] / ROWS;
    for (int i = 0; i < ROWS * CHANNELS; i++)
        variance[i % CHANNELS] += pow(m.data[i] - mean[i % CHANNELS], 2) / ROWS;

    /* Inference: running statistics, which stay. */
    norm_run(&m, TC_NO_VALUE, TC_MODE_AUTO, y);
    check_normalized(&m, running_mean, running_variance, epsilon, y);
    check_running(&m, running_mean, running_variance);

    /* Training: those of the batch, and the running ones move. */
    for (int step = 0; step < 3; step++) {
        norm_run(&m, m.train, TC_MODE_AUTO, y);
        check_normalized(&m, mean, variance, epsilon, y);
        for (int c = 0; c < CHANNELS; c++) {
            running_mean[c] = momentum * running_mean[c] + (1 - momentum) * mean[c];
            running_variance[c] =
                momentum * running_variance[c] + (1 - momentum) * variance[c] * ROWS / (ROWS - 1);
        }
        check_running(&m, running_mean, running_variance);
    }
    norm_run(&m, TC_NO_VALUE, TC_MODE_AUTO, y);
    check_normalized(&m, running_mean, running_variance, epsilon, y);

    /* Asked for the other mode, statistics are used as there; without the target none moves. */
    norm_run(&m, TC_NO_VALUE, TC_MODE_TRAINING, y);
    check_normalized(&m, mean, variance, epsilon, y);
    check_running(&m, running_mean, running_variance);
    norm_run(&m, m.train, TC_MODE_INFERENCE, y);
    check_normalized(&m, running_mean, running_variance, epsilon, y);
    check_running(&m, running_mean, running_variance);
    norm_destroy(&m);
}

/* The defaults that the header states. */
static void test_modes_batch_norm_defaults(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1, CHANNELS));
    tc_batch_norm_layer(x);
    char text[32] = "";
    tc_value node = tc_graph_find(g, "batch_norm/batch_norm");
    tc_node_attr_text(node, "momentum", text, sizeof text);
    assert_string_equal(text, "0.9");
    tc_node_attr_text(node, "epsilon", text, sizeof text);
    assert_float_equal(strtod(text, NULL), 1e-5, 1e-20);
    tc_graph_release(g);
}

/*
 * Dropout
 */
#define WIDTH 4000

typedef struct drop_model {
    tc_graph *g;
    tc_value y, count;
    tc_session *s;
} drop_model;

static drop_model drop_create(uint64_t seed, double rate)
{
    drop_model m = {.g = tc_graph_create_with(&(tc_graph_options){
                        .struct_size = sizeof(tc_graph_options), .seed = seed})};
    m.y = tc_dropout(tc_ones(m.g, TC_F32, TC_SHAPE(WIDTH)), rate);
    tc_value steps = tc_variable(m.g, "steps", tc_constant_scalar(m.g, TC_I64, 0));
    m.count = tc_assign_add(steps, tc_constant_scalar(m.g, TC_I64, 1));
    m.s = session_of(m.g);
    return m;
}

static void drop_destroy(drop_model *m)
{
    tc_session_release(m->s);
    tc_graph_release(m->g);
}

static void test_modes_dropout_drops_in_training_runs_only(void **state)
{
    const double rate = 0.25;
    drop_model m = drop_create(3, rate);
    static double y[WIDTH], before[WIDTH];
    run_for(m.s, TC_NO_FEEDS, m.y, TC_NO_VALUE, y, WIDTH);
    for (int i = 0; i < WIDTH; i++)
        assert_float_equal(y[i], 1, 0);
    for (int step = 0; step < 3; step++) {
        int dropped = 0;
        memcpy(before, y, sizeof y);
        run_for(m.s, TC_NO_FEEDS, m.y, m.count, y, WIDTH);
        for (int i = 0; i < WIDTH; i++) {
            assert_true(y[i] == 0 || fabs(y[i] - 1 / (1 - rate)) < 1e-6);
            dropped += y[i] == 0;
        }
        assert_true(fabs(dropped - WIDTH * rate) < 5 * sqrt(WIDTH * rate * (1 - rate)));
        assert_memory_not_equal(y, before, sizeof y); /* each step draws anew */
    }
    drop_destroy(&m);
}

static void test_modes_dropout_follows_the_seed(void **state)
{
    static double a[WIDTH], b[WIDTH], c[WIDTH];
    drop_model first = drop_create(5, 0.5), same = drop_create(5, 0.5), other = drop_create(6, 0.5);
    run_for(first.s, TC_NO_FEEDS, first.y, first.count, a, WIDTH);
    run_for(same.s, TC_NO_FEEDS, same.y, same.count, b, WIDTH);
    run_for(other.s, TC_NO_FEEDS, other.y, other.count, c, WIDTH);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, c, sizeof a);
    drop_destroy(&first);
    drop_destroy(&same);
    drop_destroy(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes_batch_norm),
        cmocka_unit_test(test_modes_batch_norm_defaults),
        cmocka_unit_test(test_modes_dropout_drops_in_training_runs_only),
        cmocka_unit_test(test_modes_dropout_follows_the_seed),
    };
    return cmocka_run_group_tests_name("modes", tests, NULL, NULL);
}
