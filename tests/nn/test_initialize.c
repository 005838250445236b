/* Initializers: mean, variance and bounds of many numbers. */
#include "nn_test.h"

#define FAN_IN  300
#define FAN_OUT 100
#define COUNT   (FAN_IN * FAN_OUT)

typedef struct distribution {
    tc_initializer initializer;
    double mean;
    double variance;
    double bound; /* of |x - mean| */
} distribution;

/* Standard deviations kept on both sides, over the standard deviation of what is kept: of a normal
 * cut at 2 it is sqrt(1 - 4 phi(2) / (2 Phi(2) - 1)). */
static double cut(void)
{
    double density = exp(-2.0) / sqrt(2 * acos(-1.0));
    return 2 / sqrt(1 - 4 * density / erf(sqrt(2)));
}

static void draw(tc_initializer initializer, tc_dtype dtype, double values[COUNT])
{
    tc_graph *g = tc_graph_create();
    tc_value v = tc_initialize(g, initializer, dtype, TC_SHAPE(FAN_IN, FAN_OUT), FAN_IN, FAN_OUT);
    assert_int_equal(tc_value_dtype(v), dtype);
    tc_session *s = session_of(g);
    run_for(s, TC_NO_FEEDS, v, TC_NO_VALUE, values, COUNT);
    tc_session_release(s);
    tc_graph_release(g);
}

static void check_distribution(const distribution *d, tc_dtype dtype)
{
    static double values[COUNT];
    draw(d->initializer, dtype, values);
    double sum = 0, squares = 0, largest = 0, sum4 = 0;
    for (int i = 0; i < COUNT; i++) {
        double x = values[i] - d->mean;
        sum += x;
        squares += x * x;
        sum4 += x * x * x * x;
        largest = fmax(largest, fabs(x));
    }
    double variance = squares / COUNT;
    /* Five standard errors of the mean and, for kurtosis 3 at most, of the variance; rounding of
     * 16-bit floats is far below that. */
    double mean_error = 5 * sqrt(d->variance / COUNT),
           variance_error = 5 * d->variance * sqrt(2.0 / COUNT);
    if (fabs(sum / COUNT) > mean_error || fabs(variance - d->variance) > variance_error)
        fail_msg("initializer %d as %s: mean %g, variance %g instead of %g", (int)d->initializer,
                 tc_dtype_name(dtype), sum / COUNT, variance, d->variance);
    if (largest > d->bound * 1.004 || largest < d->bound * 0.99)
        fail_msg("initializer %d as %s: the largest is %g, the bound %g", (int)d->initializer,
                 tc_dtype_name(dtype), largest, d->bound);
    if (d->variance > 0) { /* uniform numbers have kurtosis 1.8, normal ones cut at 2 have 2.37 */
        bool uniform = d->bound < 1.8 * sqrt(d->variance);
        assert_true(fabs(sum4 / COUNT / (variance * variance) - (uniform ? 1.8 : 2.37)) < 0.1);
    }
}

static void test_initialize_statistics(void **state)
{
    const double glorot = 2.0 / (FAN_IN + FAN_OUT), he = 2.0 / FAN_IN;
    const distribution all[] = {
        {TC_INIT_DEFAULT, 0, glorot, sqrt(3 * glorot)},
        {TC_INIT_GLOROT_UNIFORM, 0, glorot, sqrt(3 * glorot)},
        {TC_INIT_GLOROT_NORMAL, 0, glorot, cut() * sqrt(glorot)},
        {TC_INIT_HE_UNIFORM, 0, he, sqrt(3 * he)},
        {TC_INIT_HE_NORMAL, 0, he, cut() * sqrt(he)},
        {TC_INIT_ZEROS, 0, 0, 0},
        {TC_INIT_ONES, 1, 0, 0},
    };
    static const tc_dtype dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t j = 0; j < sizeof dtypes / sizeof dtypes[0]; j++)
            check_distribution(&all[i], dtypes[j]);
}

/* Layers give their fans: [inputs, units] and, for convolutions, channels times window. */
static double layer_variance(tc_graph *g, const char *name, int64_t count)
{
    tc_session *s = session_of(g);
    assert_ok(tc_session_initialize(s));
    double *w = malloc((size_t)count * sizeof *w), squares = 0;
    assert_non_null(w);
    read_variable(s, name, w, count);
    for (int64_t i = 0; i < count; i++)
        squares += w[i] * w[i];
    free(w);
    tc_session_release(s);
    return squares / (double)count;
}

static void check_layer(tc_graph *g, const char *name, int64_t count, double variance)
{
    double actual = layer_variance(g, name, count);
    if (fabs(actual - variance) > 5 * variance * sqrt(2.0 / (double)count))
        fail_msg("%s has variance %g instead of %g", name, actual, variance);
}

static void test_initialize_fans_of_layers(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value flat = tc_placeholder(g, "flat", TC_F32, TC_SHAPE(-1, 200));
    tc_value image = tc_placeholder(g, "image", TC_F32, TC_SHAPE(-1, 24, 8, 8));
    tc_dense(flat, 50, .name = "dense");
    tc_dense(flat, 50, .name = "dense_he", .initializer = TC_INIT_HE_NORMAL);
    tc_conv2d_layer(image, 48, 3, .name = "conv");
    tc_conv2d_layer(image, 48, 3, .name = "conv_he", .initializer = TC_INIT_HE_UNIFORM,
                    .groups = 4);
    check_layer(g, "dense/weights", 200 * 50, 2.0 / 250);
    check_layer(g, "dense_he/weights", 200 * 50, 2.0 / 200);
    check_layer(g, "conv/weights", 48 * 24 * 9, 2.0 / (9 * (24 + 48)));
    check_layer(g, "conv_he/weights", 48 * 6 * 9, 2.0 / (9 * 6));
    tc_graph_release(g);
}

static void test_initialize_mistakes(void **state)
{
    tc_graph *g = tc_graph_create();
    assert_false(tc_value_ok(tc_initialize(g, (tc_initializer)77, TC_F32, TC_SHAPE(2, 2), 2, 2)));
    check_graph_error(g, "initializer 77 is none of tc_initializer", "test_initialize.c:");
    tc_graph_release(g);
    g = tc_graph_create();
    assert_false(
        tc_value_ok(tc_initialize(g, TC_INIT_GLOROT_UNIFORM, TC_I32, TC_SHAPE(2, 2), 2, 2)));
    check_graph_error(g, "i32", "test_initialize.c:");
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_initialize_statistics),
        cmocka_unit_test(test_initialize_fans_of_layers),
        cmocka_unit_test(test_initialize_mistakes),
    };
    return cmocka_run_group_tests_name("initialize", tests, NULL, NULL);
}
