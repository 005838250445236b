/* Losses and metrics against double-precision references. */
#include "nn_test.h"

#define COUNT 9

typedef tc_value (*loss_builder)(tc_location at, tc_value x, tc_value target,
                                 const tc_loss_options *options);
typedef double (*element)(double x, double target);

static double squared(double x, double t)
{
    return (x - t) * (x - t);
}

static double squared_slope(double x, double t)
{
    return 2 * (x - t);
}

static double absolute(double x, double t)
{
    return fabs(x - t);
}

static double absolute_slope(double x, double t)
{
    return (x > t) - (x < t);
}

/* log(1 + e^x) - x t */
static double binary(double x, double t)
{
    return (x > 0 ? x + log1p(exp(-x)) : log1p(exp(x))) - x * t;
}

static double binary_slope(double x, double t)
{
    return 1 / (1 + exp(-x)) - t;
}

typedef struct loss_case {
    loss_builder build;
    const char *name;
    element value, slope;
} loss_case;

static const loss_case losses[] = {
    {tc_mean_squared_error_at, "mean_squared_error", squared, squared_slope},
    {tc_mean_absolute_error_at, "mean_absolute_error", absolute, absolute_slope},
    {tc_sigmoid_cross_entropy_at, "sigmoid_cross_entropy", binary, binary_slope},
};

/* Extreme logits, ties and zeros among them. */
static const double xs[COUNT] = {0, 0, 1.5, -2, 100, -100, 8000, -8000, 0.5};
static const double ts[COUNT] = {0, 1, 0.25, 1, 1, 0, 0, 1, 0.5};

static void check_loss(const loss_case *c, tc_dtype dtype, double tolerance)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", dtype, TC_SHAPE(-1, 3));
    tc_value t = tc_placeholder(g, "t", dtype, TC_SHAPE(-1, 3));
    tc_loss_options o = {.struct_size = sizeof o};
    tc_value mean = c->build(TC_HERE, x, t, NULL);
    o.reduction = TC_REDUCTION_SUM;
    tc_value sum = c->build(TC_HERE, x, t, &o);
    o.reduction = TC_REDUCTION_NONE;
    o.name = "own";
    tc_value each = c->build(TC_HERE, x, t, &o);
    check_shape(mean, "[]");
    check_shape(each, "[?, 3]");
    assert_memory_equal(tc_value_name(mean), c->name, strlen(c->name));
    assert_memory_equal(tc_value_name(each), "own/", 4);
    tc_value gradient;
    assert_ok(tc_gradients(TC_VALUES(sum), TC_VALUES(x), &gradient));
    tc_session *s = session_of(g);
    tc_tensor *fed[] = {tensor_of(dtype, TC_SHAPE(3, 3), xs), tensor_of(dtype, TC_SHAPE(3, 3), ts)};
    const tc_feed feeds[] = {{x, fed[0]}, {t, fed[1]}};
    double m, total, values[COUNT], slopes[COUNT], expected = 0;
    run_for(s, feeds, 2, mean, TC_NO_VALUE, &m, 1);
    run_for(s, feeds, 2, sum, TC_NO_VALUE, &total, 1);
    run_for(s, feeds, 2, each, TC_NO_VALUE, values, COUNT);
    run_for(s, feeds, 2, gradient, TC_NO_VALUE, slopes, COUNT);
    for (int i = 0; i < COUNT; i++) {
        check_close(values[i], c->value(xs[i], ts[i]), tolerance, c->name);
        check_close(slopes[i], c->slope(xs[i], ts[i]), tolerance, "a gradient");
        expected += c->value(xs[i], ts[i]);
    }
    check_close(total, expected, tolerance, "the sum");
    check_close(m, expected / COUNT, tolerance, "the mean");
    tc_tensor_release(fed[0]);
    tc_tensor_release(fed[1]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_losses_values_and_gradients(void **state)
{
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        check_loss(&losses[i], TC_F32, 1e-6);
        check_loss(&losses[i], TC_F64, 1e-14);
    }
}

/* The second derivative of the cross entropy is s (1 - s), also where the logit is 0. */
static void test_losses_second_order(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F64, TC_SHAPE(COUNT));
    tc_value t = tc_placeholder(g, "t", TC_F64, TC_SHAPE(COUNT));
    tc_value first, second, loss = tc_sigmoid_cross_entropy(x, t, .reduction = TC_REDUCTION_SUM);
    assert_ok(tc_gradients(TC_VALUES(loss), TC_VALUES(x), &first));
    assert_ok(tc_gradients(TC_VALUES(first), TC_VALUES(x), &second));
    tc_session *s = session_of(g);
    tc_tensor *fed[] = {tensor_of(TC_F64, TC_SHAPE(COUNT), xs),
                        tensor_of(TC_F64, TC_SHAPE(COUNT), ts)};
    double values[COUNT];
    run_for(s, TC_FEEDS({x, fed[0]}, {t, fed[1]}), second, TC_NO_VALUE, values, COUNT);
    for (int i = 0; i < COUNT; i++) {
        double sigmoid = 1 / (1 + exp(-xs[i]));
        check_close(values[i], sigmoid * (1 - sigmoid), 1e-14, "a second derivative");
    }
    tc_tensor_release(fed[0]);
    tc_tensor_release(fed[1]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void check_loss_mistake(tc_dtype x_dtype, tc_shape x_shape, tc_dtype t_dtype,
                               tc_shape t_shape, int reduction, const char *text)
{
    for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", x_dtype, x_shape);
        tc_value t = tc_placeholder(g, "t", t_dtype, t_shape);
        tc_loss_options o = {.struct_size = sizeof o, .reduction = (tc_reduction)reduction};
        assert_false(tc_value_ok(losses[i].build(TC_HERE, x, t, &o)));
        check_graph_error(g, text, "test_losses.c:");
        tc_graph_release(g);
    }
}

static void test_losses_mistakes(void **state)
{
    tc_shape column = TC_SHAPE(8, 1), row = TC_SHAPE(8);
    check_loss_mistake(TC_F32, column, TC_F32, row, 0,
                       ": [8, 1] and targets [8] differ in rank; reshape one of them");
    check_loss_mistake(TC_F32, row, TC_F32, row, 5, "reduction 5 is none of tc_reduction");
    check_loss_mistake(TC_F32, row, TC_F64, row, 0, "f64");
    check_loss_mistake(TC_F32, row, TC_F32, TC_SHAPE(7), 0, "[7]");
}

static void test_losses_broadcast(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1, 3));
    tc_value half = tc_constant_scalar(g, TC_F32, 0.5);
    check_shape(tc_mean_squared_error(x, half, .reduction = TC_REDUCTION_NONE), "[?, 3]");
    tc_value one = tc_zeros(g, TC_F32, TC_SHAPE(1, 3));
    check_shape(tc_mean_absolute_error(x, one, .reduction = TC_REDUCTION_NONE), "[?, 3]");
    assert_ok(tc_graph_status(g));
    tc_graph_release(g);
}

/*
 * Metrics
 */
static void check_metrics(tc_dtype dtype, tc_dtype label_dtype, tc_shape logits_shape,
                          tc_shape labels_shape)
{
    /* A tie counts for the first class; NaN wins over every number. */
    static const double logits[] = {1, 2, 3, 5, 5, 1, -1, -2, -3, 0, 0, 0, -9, 4, NAN, 2, 9, 1};
    static const double labels[] = {2, 0, 1, 0, 2, 1};
    const double hits = 5;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", dtype, logits_shape);
    tc_value y = tc_placeholder(g, "y", label_dtype, labels_shape);
    tc_value count = tc_correct_count(x, y), share = tc_accuracy(x, y);
    assert_int_equal(tc_value_dtype(count), TC_I64);
    assert_int_equal(tc_value_dtype(share), TC_F32);
    check_shape(count, "[]");
    check_shape(share, "[]");
    tc_session *s = session_of(g);
    tc_tensor *fed[] = {tensor_of(dtype, logits_shape, logits),
                        tensor_of(label_dtype, labels_shape, labels)};
    double n, accuracy;
    run_for(s, TC_FEEDS({x, fed[0]}, {y, fed[1]}), count, TC_NO_VALUE, &n, 1);
    run_for(s, TC_FEEDS({x, fed[0]}, {y, fed[1]}), share, TC_NO_VALUE, &accuracy, 1);
    assert_float_equal(n, hits, 0);
    assert_float_equal(accuracy, hits / 6, 1e-7);
    tc_tensor_release(fed[0]);
    tc_tensor_release(fed[1]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_metrics_values(void **state)
{
    check_metrics(TC_F32, TC_I64, TC_SHAPE(6, 3), TC_SHAPE(6));
    check_metrics(TC_F64, TC_I32, TC_SHAPE(6, 3), TC_SHAPE(6));
    check_metrics(TC_F32, TC_I32, TC_SHAPE(2, 3, 3), TC_SHAPE(2, 3));
}

static void test_metrics_mistakes(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 10));
    tc_value y = tc_placeholder(g, "y", TC_I32, TC_SHAPE(TC_DIM("batch"), 1));
    assert_false(tc_value_ok(tc_accuracy(x, y)));
    check_graph_error(g,
                      "labels [batch, 1] must have the shape of logits [batch, 10] without its "
                      "last dimension",
                      "test_losses.c:");
    tc_graph_release(g);
    g = tc_graph_create();
    x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(4, 10));
    y = tc_placeholder(g, "y", TC_I32, TC_SHAPE(5));
    assert_false(tc_value_ok(tc_correct_count(x, y)));
    check_graph_error(g, "[5]", "test_losses.c:");
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_values_and_gradients),
        cmocka_unit_test(test_losses_second_order),
        cmocka_unit_test(test_losses_mistakes),
        cmocka_unit_test(test_losses_broadcast),
        cmocka_unit_test(test_metrics_values),
        cmocka_unit_test(test_metrics_mistakes),
    };
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
