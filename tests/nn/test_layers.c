/* Layers: shapes, names, variables, values, places, mistakes. */
#include "nn_test.h"

static tc_value input(tc_graph *g, tc_dtype dtype, tc_shape shape)
{
    return tc_placeholder(g, "x", dtype, shape);
}

static void check_variable(tc_graph *g, const char *name, tc_dtype dtype, const char *shape)
{
    tc_value variable = tc_graph_find(g, name);
    if (!tc_value_ok(variable))
        fail_msg("there is no '%s'", name);
    assert_string_equal(tc_value_op(variable), "variable");
    assert_int_equal(tc_value_dtype(variable), dtype);
    check_shape(variable, shape);
}

static void test_layers_dense_shapes_and_names(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, TC_F32, TC_SHAPE(TC_DIM("batch"), 5));
    tc_value y = tc_dense(x, 3);
    check_shape(y, "[batch, 3]");
    check_variable(g, "dense/weights", TC_F32, "[5, 3]");
    check_variable(g, "dense/bias", TC_F32, "[3]");
    tc_scope_push(g, "head");
    tc_value z = tc_dense(y, 7, .name = "logits", .no_bias = true, .activation = TC_ACT_TANH);
    tc_scope_pop(g);
    check_shape(z, "[batch, 7]");
    check_variable(g, "head/logits/weights", TC_F32, "[3, 7]");
    assert_false(tc_value_ok(tc_graph_find(g, "head/logits/bias")));
    assert_string_equal(tc_value_name(z), "head/logits/tanh");
    tc_value wide = tc_placeholder(g, "wide", TC_F16, TC_SHAPE(-1, TC_DIM("time"), 4));
    check_shape(tc_dense(wide, 6, .name = "wide6"), "[?, time, 6]");
    check_variable(g, "wide6/weights", TC_F16, "[4, 6]");
    tc_value vector = tc_placeholder(g, "vector", TC_F64, TC_SHAPE(4));
    check_shape(tc_dense(vector, 2, .name = "vector2"), "[2]");
    check_variable(g, "vector2/bias", TC_F64, "[2]");
    assert_ok(tc_graph_status(g));
    tc_graph_release(g);
}

static double activate(tc_activation activation, double x)
{
    switch (activation) {
    case TC_ACT_NONE: return x;
    case TC_ACT_RELU: return x > 0 ? x : 0;
    case TC_ACT_GELU: return x / 2 * (1 + erf(x / sqrt(2)));
    case TC_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case TC_ACT_TANH: return tanh(x);
    }
    return NAN;
}

#define ROWS   6
#define INPUTS 5
#define UNITS  4

/* activation(x w + b), for x of any shape with these rows. */
static void check_dense(tc_shape shape, tc_activation activation, bool no_bias)
{
    double x[ROWS * INPUTS], w[INPUTS * UNITS], b[UNITS] = {0}, y[ROWS * UNITS];
    int64_t elements = 1;
    for (int32_t i = 0; i < shape.rank; i++)
        elements *= shape.dims[i].size;
    for (int64_t i = 0; i < elements; i++)
        x[i] = sin(3.0 * (double)i + 1);
    tc_graph *g = tc_graph_create();
    tc_value input_value = input(g, TC_F64, shape);
    tc_value output = tc_dense(input_value, UNITS, .activation = activation, .no_bias = no_bias);
    tc_session *s = session_of(g);
    assert_ok(tc_session_initialize(s));
    if (!no_bias) {
        tc_tensor *bias = tensor_of(TC_F64, TC_SHAPE(UNITS), (const double[]){.5, -1, 2, .25});
        const char *name = "dense/bias";
        assert_ok(tc_store_restore(tc_session_store(s), &name, &bias, 1, NULL));
        tc_tensor_release(bias);
        read_variable(s, "dense/bias", b, UNITS);
    }
    read_variable(s, "dense/weights", w, INPUTS * UNITS);
    tc_tensor *fed = tensor_of(TC_F64, shape, x);
    int64_t rows = elements / INPUTS;
    run_for(s, TC_FEEDS({input_value, fed}), output, TC_NO_VALUE, y, rows * UNITS);
    for (int64_t r = 0; r < rows; r++) {
        for (int u = 0; u < UNITS; u++) {
            double sum = b[u];
            for (int i = 0; i < INPUTS; i++)
                sum += x[r * INPUTS + i] * w[i * UNITS + u];
            check_close(y[r * UNITS + u], activate(activation, sum), 1e-12, "an output");
        }
    }
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_layers_dense_values(void **state)
{
    for (int activation = TC_ACT_NONE; activation <= TC_ACT_TANH; activation++)
        check_dense(TC_SHAPE(ROWS, INPUTS), (tc_activation)activation, false);
    check_dense(TC_SHAPE(ROWS, INPUTS), TC_ACT_RELU, true);
    check_dense(TC_SHAPE(2, 3, INPUTS), TC_ACT_NONE, false);
    check_dense(TC_SHAPE(INPUTS), TC_ACT_TANH, false);
}

static void test_layers_conv2d_shapes_and_names(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, TC_F32, TC_SHAPE(TC_DIM("batch"), 4, 9, 8));
    check_shape(tc_conv2d_layer(x, 6, 3), "[batch, 6, 7, 6]");
    check_variable(g, "conv2d/weights", TC_F32, "[6, 4, 3, 3]");
    check_variable(g, "conv2d/bias", TC_F32, "[6]");
    tc_value y = tc_conv2d_layer(x, 8, 3, .stride = {2}, .padding = TC_PADDING_SAME, .groups = 2,
                                 .no_bias = true, .activation = TC_ACT_RELU, .name = "grouped");
    check_shape(y, "[batch, 8, 5, 4]");
    check_variable(g, "grouped/weights", TC_F32, "[8, 2, 3, 3]");
    assert_false(tc_value_ok(tc_graph_find(g, "grouped/bias")));
    assert_string_equal(tc_value_op(y), "relu");
    check_shape(tc_conv2d_layer(x, 2, 3, .dilation = {2, 3}, .padding = TC_PADDING(1, 2),
                                .name = "dilated"),
                "[batch, 2, 7, 6]");
    assert_ok(tc_graph_status(g));
    tc_graph_release(g);
}

/* Two channels, one image, kernel 2: small enough to write the sum down. */
static void test_layers_conv2d_values(void **state)
{
    double x[2 * 3 * 3], w[3 * 2 * 2 * 2], y[3 * 2 * 2];
    for (int i = 0; i < 18; i++)
        x[i] = cos(i);
    tc_graph *g = tc_graph_create();
    tc_value input_value = input(g, TC_F64, TC_SHAPE(1, 2, 3, 3));
    tc_value output = tc_conv2d_layer(input_value, 3, 2, .activation = TC_ACT_SIGMOID);
    tc_session *s = session_of(g);
    assert_ok(tc_session_initialize(s));
    tc_tensor *bias = tensor_of(TC_F64, TC_SHAPE(3), (const double[]){1, -.5, .25});
    const char *name = "conv2d/bias";
    assert_ok(tc_store_restore(tc_session_store(s), &name, &bias, 1, NULL));
    read_variable(s, "conv2d/weights", w, 24);
    tc_tensor *fed = tensor_of(TC_F64, TC_SHAPE(1, 2, 3, 3), x);
    run_for(s, TC_FEEDS({input_value, fed}), output, TC_NO_VALUE, y, 12);
    for (int f = 0; f < 3; f++) {
        for (int at = 0; at < 4; at++) {
            double sum = tc_tensor_get(bias, f);
            for (int k = 0; k < 8; k++) /* channel, row, column of the kernel */
                sum += w[f * 8 + k] * x[k / 4 * 9 + (at / 2 + k / 2 % 2) * 3 + at % 2 + k % 2];
            check_close(y[f * 4 + at], activate(TC_ACT_SIGMOID, sum), 1e-12, "an output");
        }
    }
    tc_tensor_release(bias);
    tc_tensor_release(fed);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_layers_batch_norm_variables(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, TC_F32, TC_SHAPE(TC_DIM("batch"), 4, 9, 8));
    check_shape(tc_batch_norm_layer(x, .activation = TC_ACT_RELU), "[batch, 4, 9, 8]");
    static const char *const names[] = {"scale", "offset", "running_mean", "running_variance"};
    char path[64];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "batch_norm/%s", names[i]);
        check_variable(g, path, TC_F32, "[4]");
    }
    /* 16-bit images have running statistics that do not lose small steps. */
    tc_value half = tc_placeholder(g, "half", TC_BF16, TC_SHAPE(TC_DIM("batch"), 5));
    assert_int_equal(tc_value_dtype(tc_batch_norm_layer(half, .name = "half_norm")), TC_BF16);
    tc_value wide = tc_placeholder(g, "wide", TC_F64, TC_SHAPE(TC_DIM("batch"), 6));
    tc_batch_norm_layer(wide, .name = "wide_norm");
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "half_norm/%s", names[i]);
        check_variable(g, path, TC_F32, "[5]");
        snprintf(path, sizeof path, "wide_norm/%s", names[i]);
        check_variable(g, path, TC_F64, "[6]");
    }
    assert_ok(tc_graph_status(g));
    tc_graph_release(g);
}

/* First weights of a dense layer called `name` in a graph of that seed. */
static void first_weights(uint64_t seed, const char *name, double weights[12])
{
    tc_graph *g = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .seed = seed});
    tc_dense(input(g, TC_F32, TC_SHAPE(-1, 4)), 3, .name = name);
    tc_session *s = session_of(g);
    assert_ok(tc_session_initialize(s));
    char path[64];
    snprintf(path, sizeof path, "%s/weights", name);
    read_variable(s, path, weights, 12);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_layers_seed_and_name_make_the_weights(void **state)
{
    double a[12], b[12], other_seed[12], other_name[12];
    first_weights(7, "a", a);
    first_weights(7, "a", b);
    first_weights(8, "a", other_seed);
    first_weights(7, "b", other_name);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, other_seed, sizeof a);
    assert_memory_not_equal(a, other_name, sizeof a);
}

static void test_layers_keep_the_place_of_the_caller(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value y = tc_dense(input(g, TC_F32, TC_SHAPE(-1, 4)), 3);
    int line = __LINE__ - 1;
    tc_location at = tc_node_location(y);
    assert_non_null(strstr(at.file, "layers.c"));
    assert_non_null(at.outer_file);
    assert_non_null(strstr(at.outer_file, "test_layers.c"));
    assert_int_equal(at.outer_line, line);
    tc_graph_release(g);
}

typedef struct mistake {
    tc_value (*build)(tc_graph *g, tc_value x);
    tc_dtype dtype;
    tc_shape shape;
    const char *text;
} mistake;

static tc_value dense3(tc_graph *g, tc_value x)
{
    return tc_dense(x, 3);
}

static tc_value dense0(tc_graph *g, tc_value x)
{
    return tc_dense(x, 0);
}

static tc_value dense_twice(tc_graph *g, tc_value x)
{
    return tc_add(tc_dense(x, 3, .name = "dense"), tc_dense(x, 3, .name = "dense"));
}

static tc_value dense_of_nothing(tc_graph *g, tc_value x)
{
    return tc_dense(tc_graph_find(g, "there is none"), 3);
}

static tc_value dense_strangely_activated(tc_graph *g, tc_value x)
{
    return tc_dense(x, 3, .activation = (tc_activation)99);
}

static tc_value dense_strangely_initialized(tc_graph *g, tc_value x)
{
    return tc_dense(x, 3, .initializer = (tc_initializer)99);
}

static tc_value dense_strangely_named(tc_graph *g, tc_value x)
{
    return tc_dense(x, 3, .name = "no spaces");
}

static tc_value conv3(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, 6, 3);
}

static tc_value conv_no_filters(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, -1, 3);
}

static tc_value conv_no_kernel(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, 6, 0);
}

static tc_value conv_huge_kernel(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, 6, INT64_MAX);
}

static tc_value conv_negative_groups(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, 6, 3, .groups = -2);
}

static tc_value conv_odd_groups(tc_graph *g, tc_value x)
{
    return tc_conv2d_layer(x, 6, 3, .groups = 5);
}

static tc_value norm(tc_graph *g, tc_value x)
{
    return tc_batch_norm_layer(x);
}

static void test_layers_mistakes(void **state)
{
    const tc_shape flat = TC_SHAPE(-1, 4), image = TC_SHAPE(-1, 4, 8, 8);
    const mistake mistakes[] = {
        {dense3, TC_U8, flat, "dense layer: x is u8, but must be a float; convert it with tc_cast"},
        {dense3, TC_F32, TC_SCALAR, "dense layer: x is [], but must have rank 1 or more"},
        {dense3, TC_F32, TC_SHAPE(4, -1),
         "dense layer: x is [4, ?], but its last dimension must be known to make the weights"},
        {dense0, TC_F32, flat, "dense layer: units is 0, but must be positive"},
        {dense_of_nothing, TC_F32, flat, "dense layer: x is an invalid value"},
        {dense_strangely_activated, TC_F32, flat, "activation 99 is none of tc_activation"},
        {dense_strangely_initialized, TC_F32, flat, "initializer 99 is none of tc_initializer"},
        {conv3, TC_F32, flat, "conv2d layer: x is [?, 4], but must have rank 4 or more"},
        {conv3, TC_F32, TC_SHAPE(1, -1, 8, 8), "its number of channels must be known"},
        {conv3, TC_F32, TC_SHAPE(1, 4, 2, 2), "conv2d"},
        {conv_no_filters, TC_F32, image, "conv2d layer: filters is -1, but must be positive"},
        {conv_no_kernel, TC_F32, image, "conv2d layer: kernel_size is 0, but must be positive"},
        {conv_huge_kernel, TC_F32, image, "are too large"},
        {conv_negative_groups, TC_F32, image, "conv2d layer: groups is -2, but must be positive"},
        {conv_odd_groups, TC_F32, image, "5 groups do not divide 4 channels and 6 filters"},
        {norm, TC_F32, TC_SHAPE(4), "batch_norm layer: x is [4], but must have rank 2 or more"},
        {norm, TC_I32, flat, "batch_norm layer: x is i32, but must be a float"},
        {norm, TC_F32, TC_SHAPE(4, -1), "its number of channels must be known"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = input(g, mistakes[i].dtype, mistakes[i].shape);
        assert_true(tc_value_ok(x));
        assert_false(tc_value_ok(mistakes[i].build(g, x)));
        check_graph_error(g, mistakes[i].text, "test_layers.c:");
        tc_graph_release(g);
    }
}

/* Mistakes whose sentence is the graph's own. */
static void test_layers_without_names_are_numbered(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 3));
    x = tc_dense(tc_dense(tc_dense(x, 4), 4), 4);
    assert_ok(tc_graph_status(g));
    assert_true(tc_value_ok(tc_graph_find(g, "dense/weights")));
    assert_true(tc_value_ok(tc_graph_find(g, "dense_1/weights")));
    assert_true(tc_value_ok(tc_graph_find(g, "dense_2/bias")));
    tc_scope_push(g, "tower");
    tc_dense(x, 4);
    tc_scope_pop(g);
    assert_true(tc_value_ok(tc_graph_find(g, "tower/dense/weights")));
    tc_scope_push_new(g, "not good");
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    tc_graph_release(g);
}

static void test_layers_names_that_do_not_work(void **state)
{
    tc_graph *g = tc_graph_create();
    assert_false(tc_value_ok(dense_strangely_named(g, input(g, TC_F32, TC_SHAPE(-1, 4)))));
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    assert_non_null(strstr(tc_graph_error(g), "'no spaces'"));
    tc_graph_release(g);
    g = tc_graph_create();
    assert_false(tc_value_ok(dense_twice(g, input(g, TC_F32, TC_SHAPE(-1, 4)))));
    assert_status(tc_graph_status(g), TC_ALREADY_EXISTS);
    assert_non_null(strstr(tc_graph_error(g), "dense/weights"));
    tc_graph_release(g);
}

static void test_layers_without_a_graph(void **state)
{
    tc_value x = tc_placeholder((tc_graph *)NULL, "x", TC_F32, TC_SHAPE(-1, 4));
    assert_false(tc_value_ok(tc_dense(x, 3, .activation = TC_ACT_RELU)));
    assert_false(tc_value_ok(tc_conv2d_layer(x, 3, 3)));
    assert_false(tc_value_ok(tc_batch_norm_layer(x)));
    assert_false(tc_value_ok(tc_activate(x, TC_ACT_GELU)));
    assert_false(tc_value_ok(
        tc_initialize((tc_graph *)NULL, TC_INIT_HE_NORMAL, TC_F32, TC_SHAPE(2, 2), 2, 2)));
    assert_false(tc_value_ok(tc_mean_squared_error(x, x)));
    assert_false(tc_value_ok(tc_sigmoid_cross_entropy(x, x)));
    assert_false(tc_value_ok(tc_accuracy(x, x)));
    tc_session *s;
    assert_status(tc_session_create(NULL, NULL, &s), TC_INVALID_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_dense_shapes_and_names),
        cmocka_unit_test(test_layers_dense_values),
        cmocka_unit_test(test_layers_conv2d_shapes_and_names),
        cmocka_unit_test(test_layers_conv2d_values),
        cmocka_unit_test(test_layers_batch_norm_variables),
        cmocka_unit_test(test_layers_seed_and_name_make_the_weights),
        cmocka_unit_test(test_layers_keep_the_place_of_the_caller),
        cmocka_unit_test(test_layers_mistakes),
        cmocka_unit_test(test_layers_without_names_are_numbered),
        cmocka_unit_test(test_layers_names_that_do_not_work),
        cmocka_unit_test(test_layers_without_a_graph),
    };
    return cmocka_run_group_tests_name("layers", tests, NULL, NULL);
}
