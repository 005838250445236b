/* The pass that lays images out in blocks of channels: how few conversions it makes, when it keeps
 * away, and that results stay. */
#include <math.h>

#include "compiler/passes_test.h"

enum { SIZE = 7 }; /* of images: small ones are where blocks pay */

static tc_value weights(fixture *f, tc_shape shape)
{
    static int32_t count;
    char name[32];
    double scale = 1 / sqrt((double)(tc_shape_size(&shape) / shape.dims[0].size));
    snprintf(name, sizeof name, "w%d", count++);
    return tc_variable(
        f->graph, name,
        tc_random_uniform(f->graph, TC_F32, shape, .low = -scale, .high = TC_SOME(scale)));
}

static tc_value image(fixture *f, const char *name, tc_dim height, int64_t channels)
{
    tc_value x =
        tc_placeholder(f->graph, name, TC_F32, TC_SHAPE(TC_DIM("batch"), channels, height, height));
    request_feed(&f->r, x);
    return x;
}

static int64_t channels_of(tc_value x)
{
    return tc_value_shape(x).dims[1].size;
}

/* 3 x 3, or 1 x 1 for a size of 1. */
static tc_value convolve(fixture *f, tc_value x, int64_t filters, int64_t size, int64_t stride)
{
    tc_value w = weights(f, TC_SHAPE(filters, channels_of(x), size, size));
    return tc_conv2d(x, w, .stride = {stride}, .padding = TC_PADDING(size / 2));
}

static tc_value with_bias(fixture *f, tc_value x)
{
    return tc_bias_add(x, weights(f, TC_SHAPE(channels_of(x))));
}

/* 1 x 1, 3 x 3, 1 x 1 and the shortcut, with a convolution of its own where shapes change. */
static tc_value bottleneck(fixture *f, tc_value x, int64_t filters, int64_t stride)
{
    tc_value y = tc_relu(with_bias(f, convolve(f, x, filters / 4, 1, 1)));
    y = tc_relu(with_bias(f, convolve(f, y, filters / 4, 3, stride)));
    y = with_bias(f, convolve(f, y, filters, 1, 1));
    if (stride != 1 || channels_of(x) != filters)
        x = with_bias(f, convolve(f, x, filters, 1, stride));
    return tc_relu(tc_add(y, x));
}

static void expect_counts(const fixture *f, int convolutions, int into, int back)
{
    const tc_graph *g = f->program->graph;
    assert_int_equal(count_nodes(g, "conv2d") + count_nodes(g, "conv2d_fused"), 0);
    assert_int_equal(count_nodes(g, "conv2d_blocked"), convolutions);
    assert_int_equal(count_nodes(g, "to_blocked"), into);
    assert_int_equal(count_nodes(g, "from_blocked"), back);
}

static void expect_untouched(const fixture *f)
{
    assert_int_equal(count_nodes(f->program->graph, "conv2d_blocked"), 0);
    assert_int_equal(count_nodes(f->program->graph, "to_blocked"), 0);
}

/* Runs the fetches of the request with the pass and without, for images of `size`. The largest
 * difference, relative to the largest result. */
static double difference_without(fixture *f, const char *pass, int64_t batch, int64_t size)
{
    double relative = 0;
    tc_session *sessions[2];
    tc_tensor *outputs[2][TEST_EDGES] = {{NULL}};
    tc_feed feeds[TEST_EDGES];
    tc_value fetches[TEST_EDGES];
    int32_t n_feeds = f->r.request.n_feeds - 2, n_fetches = f->r.request.n_fetches;
    assert_ok(tc_session_create(f->graph, NULL, &sessions[0]));
    tc_session_options options = {.struct_size = sizeof options,
                                  .store = tc_session_store(sessions[0]),
                                  .disable_passes = pass};
    assert_ok(tc_session_create(f->graph, &options, &sessions[1]));
    for (int32_t i = 0; i < n_feeds; i++) {
        feeds[i].value = (tc_value){f->graph, f->r.feeds[2 + i].node, 0};
        tc_shape shape = tc_value_shape(feeds[i].value);
        shape.dims[0] = tc_dim_from_int(batch);
        for (int d = 2; d < 4; d++)
            if (shape.dims[d].size < 0)
                shape.dims[d] = tc_dim_from_int(size);
        assert_ok(tc_tensor_create(TC_F32, shape, &feeds[i].tensor));
        float *x = tc_tensor_data(feeds[i].tensor);
        for (int64_t e = 0; e < tc_tensor_size(feeds[i].tensor); e++)
            x[e] = (float)(e * 7919 % 1001) / 500 - 1;
    }
    for (int32_t i = 0; i < n_fetches; i++)
        fetches[i] = (tc_value){f->graph, f->r.fetches[i].node, f->r.fetches[i].output};
    for (int s = 0; s < 2; s++)
        assert_ok(tc_session_run(sessions[s], feeds, (size_t)n_feeds, fetches, (size_t)n_fetches,
                                 NULL, 0, outputs[s], NULL));
    for (int32_t i = 0; i < n_fetches; i++) {
        assert_true(tc_shape_equal(tc_tensor_shape(outputs[0][i]), tc_tensor_shape(outputs[1][i])));
        const float *a = tc_tensor_data(outputs[0][i]), *b = tc_tensor_data(outputs[1][i]);
        double largest = 0, difference = 0;
        for (int64_t e = 0; e < tc_tensor_size(outputs[0][i]); e++) {
            largest = fmax(largest, fabs((double)b[e]));
            difference = fmax(difference, fabs((double)a[e] - (double)b[e]));
            assert_true(isfinite(a[e]));
        }
        assert_true(largest > 0 || tc_tensor_size(outputs[0][i]) == 0);
        relative = fmax(relative, difference > 0 ? difference / largest : 0);
        tc_tensor_release(outputs[0][i]);
        tc_tensor_release(outputs[1][i]);
    }
    for (int32_t i = 0; i < n_feeds; i++)
        tc_tensor_release(feeds[i].tensor);
    tc_session_release(sessions[0]);
    tc_session_release(sessions[1]);
    return relative;
}

static void expect_equal(fixture *f, int64_t batch, int64_t size)
{
    assert_true(difference_without(f, "layout", batch, size) <= 1e-5);
}

static void test_residual_network(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(56), 3);
    tc_value stem =
        tc_conv2d(x, weights(f, TC_SHAPE(32, 3, 7, 7)), .stride = {2}, .padding = TC_PADDING(3));
    tc_value y = tc_max_pool2d(tc_relu(with_bias(f, stem)), .kernel = {3}, .stride = {2},
                               .padding = TC_PADDING(1));
    y = bottleneck(f, bottleneck(f, y, 64, 1), 64, 1);
    y = bottleneck(f, y, 128, 2);
    tc_value features = tc_reduce_mean(y, .axes = TC_INTS(2, 3));
    request_fetch(&f->r, tc_matmul(features, weights(f, TC_SHAPE(128, 10))));
    compile(f);
    expect_counts(f, 1 + 4 + 3 + 4, count_nodes(f->program->graph, "to_blocked"), 0);
    assert_int_equal(count_nodes(f->program->graph, "max_pool2d_blocked"), 1);
    for (size_t i = 0; i < f->program->graph->nodes.count; i++) { /* vectors, not images */
        const tc_node *node = f->program->graph->nodes.data[i];
        assert_true(!tc_node_is(node, "to_blocked") || node->outputs[0].shape.dims[0].size == 1);
    }
    expect_equal(f, 2, 56);
    f->r.request.disable_passes = "layout";
    compile(f);
    expect_untouched(f);
}

static void test_one_conversion_each_way(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 64);
    tc_value y = tc_relu(convolve(f, x, 64, 3, 1));
    y = tc_relu(tc_add(convolve(f, y, 64, 3, 1), x));
    request_fetch(&f->r, y);
    request_fetch(&f->r, tc_neg(tc_reshape(y, TC_SHAPE(-1, 64 * SIZE * SIZE))));
    compile(f);
    expect_counts(f, 2, 1, 1);
    expect_equal(f, 3, SIZE);
}

static void test_unknown_sizes(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", TC_DIM("side"), 64);
    tc_value y = tc_relu(convolve(f, x, 128, 3, 2));
    y = tc_max_pool2d(convolve(f, y, 160, 3, 1), .kernel = {2});
    request_fetch(
        &f->r, tc_reduce_max(convolve(f, y, 160, 3, 1), .axes = TC_INTS(-1, 2), .keep_dims = true));
    compile(f);
    expect_counts(f, 3, 1, 1);
    expect_equal(f, 1, 9);
    expect_equal(f, 3, 24);
    expect_equal(f, 0, 24);
}

static void test_incomplete_blocks(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 90);
    tc_value y = tc_sigmoid(with_bias(f, convolve(f, x, 70, 3, 1)));
    y = tc_mul(y, weights(f, TC_SHAPE(70, 1, 1)));
    y = tc_avg_pool2d(tc_exp(convolve(f, y, 75, 3, 1)), .kernel = {3}, .stride = {1},
                      .padding = TC_PADDING(1));
    request_fetch(&f->r, tc_reduce_mean(y, .axes = TC_INTS(2, 3)));
    request_fetch(&f->r, convolve(f, y, 77, 1, 1));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "conv2d_blocked"), 3);
    assert_int_equal(count_nodes(f->program->graph, "from_blocked"), 2);
    expect_equal(f, 2, SIZE);
}

/* Everything that stays in blocks, with operands of all shapes. */
static void test_between_convolutions(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 64);
    tc_value a = tc_tanh(convolve(f, x, 128, 3, 1)), b = tc_gelu(convolve(f, x, 128, 3, 1));
    tc_value gate = tc_reduce_mean(a, .axes = TC_INTS(2, 3), .keep_dims = true);
    gate = tc_sigmoid(convolve(f, tc_relu(convolve(f, gate, 32, 1, 1)), 128, 1, 1));
    a = tc_mul(a, gate);
    b = tc_maximum(tc_sub(b, weights(f, TC_SHAPE(1, 128, 1, 1))), weights(f, TC_SHAPE(1)));
    b = tc_minimum(tc_mul(tc_constant_scalar(f->graph, TC_F32, 0.5), tc_abs(b)),
                   weights(f, TC_SHAPE(128, SIZE, 1)));
    tc_value joined = tc_concat(TC_VALUES(a, b, tc_square(tc_neg(a))), 1);
    request_fetch(&f->r, convolve(f, joined, 64, 3, 1));
    compile(f);
    const tc_graph *g = f->program->graph;
    int images = 0;
    for (size_t i = 0; i < g->nodes.count; i++) {
        const tc_node *node = g->nodes.data[i];
        images += tc_node_is(node, "to_blocked") && node->outputs[0].shape.dims[0].size != 1;
    }
    assert_int_equal(images, 1);
    assert_int_equal(count_nodes(g, "from_blocked"), 1);
    expect_equal(f, 2, SIZE);
}

static void test_groups(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 64);
    tc_value y = convolve(f, x, 96, 1, 1);
    y = tc_conv2d(y, weights(f, TC_SHAPE(96, 1, 3, 3)), .groups = 96, .padding = TC_PADDING(1));
    y = tc_conv2d(convolve(f, y, 64, 3, 1), weights(f, TC_SHAPE(128, 32, 3, 3)), .groups = 2,
                  .padding = TC_PADDING(1));
    y = convolve(f, y, 64, 3, 1);
    request_fetch(&f->r, y);
    compile(f);
    expect_counts(f, 5, 1, 1);
    expect_equal(f, 2, SIZE);
    /* Groups that would cut blocks stay as they are. */
    tc_value z = tc_conv2d(y, weights(f, TC_SHAPE(64, 8, 3, 3)), .groups = 8);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, z);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "conv2d_blocked"), 5);
    assert_int_equal(count_nodes(f->program->graph, "conv2d"), 1);
    expect_equal(f, 2, SIZE);
}

static void test_pays_or_stays(void **state)
{
    fixture *f = *state;
    /* Large images, where conv2d is as fast. */
    tc_value large = image(f, "large", tc_dim_from_int(56), 16);
    request_fetch(&f->r, convolve(f, large, 16, 1, 1));
    compile(f);
    expect_untouched(f);
    /* Few filters, for which most of a block would be computed in vain. */
    tc_value x = image(f, "image", tc_dim_from_int(32), 64);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, convolve(f, x, 2, 3, 1));
    compile(f);
    expect_untouched(f);
    /* Small ones, where it computes columns in vain. */
    tc_value deep = image(f, "deep", tc_dim_from_int(SIZE), 256);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, convolve(f, deep, 256, 3, 1));
    compile(f);
    expect_counts(f, 1, 1, 1);
}

static void test_what_others_read(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(8), 128);
    tc_value y = convolve(f, x, 128, 3, 1);
    tc_value pool = tc_max_pool2d(y, .kernel = {2});
    request_fetch(&f->r, convolve(f, pool, 128, 3, 1));
    request_fetch(&f->r, tc_cast(tc_output(pool, 1), TC_F32)); /* where the maxima were */
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "max_pool2d"), 1);
    assert_int_equal(count_nodes(f->program->graph, "max_pool2d_blocked"), 0);
    expect_equal(f, 2, 8);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, tc_softmax(y, .axis = TC_SOME(1)));
    request_fetch(&f->r, tc_transpose(y));
    request_fetch(&f->r, y);
    compile(f);
    expect_counts(f, 1, 1, 1);
    expect_equal(f, 2, 8);
}

static void test_training_stays(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 256);
    tc_value w = weights(f, TC_SHAPE(256, 256, 3, 3));
    tc_value y = tc_conv2d(x, w, .padding = TC_PADDING(1));
    request_fetch(&f->r, y);
    compile(f);
    expect_counts(f, 1, 1, 1);
    (void)tc_assign(w, tc_neg(w)); /* whether the request asks for it or not */
    compile(f);
    expect_untouched(f);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, tc_conv2d(x, tc_neg(weights(f, TC_SHAPE(256, 256, 3, 3)))));
    compile(f);
    expect_untouched(f);
}

static void test_needs_kernels(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 256);
    tc_value y = tc_max_pool2d(convolve(f, x, 256, 3, 1), .kernel = {2});
    request_fetch(&f->r, tc_reduce_mean(y, .axes = TC_INTS(2, 3)));
    f->target.missing = "conv2d_blocked";
    compile(f);
    expect_untouched(f);
    f->target.missing = "max_pool2d_blocked";
    compile(f);
    expect_counts(f, 1, 1, 1);
    f->target.missing = NULL;
    compile(f);
    expect_counts(f, 1, 1, 0);
}

static void test_control_dependencies(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 256);
    tc_value y = convolve(f, x, 256, 3, 1);
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_control_push(f->graph, TC_VALUES(y));
    tc_value update = tc_assign_add(v, v);
    tc_control_pop(f->graph);
    request_fetch(&f->r, tc_reduce_mean(y, .axes = TC_INTS(2, 3)));
    request_target(&f->r, update);
    compile(f);
    expect_counts(f, 1, 1, 0);
    const tc_node *last = tc_graph_node_at(f->program->graph, f->program->targets[0]);
    assert_int_equal(last->n_controls, 1);
    assert_true(
        tc_node_is(tc_graph_node_at(f->program->graph, last->controls[0]), "conv2d_blocked"));
    /* A convolution that waits for others keeps its place. */
    tc_control_push(f->graph, TC_VALUES(update));
    tc_value late = convolve(f, x, 256, 3, 1);
    tc_control_pop(f->graph);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, late);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "conv2d"), 1);
}

/* A chain of many convolutions takes time in proportion to its length. */
static void test_long_chain(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", tc_dim_from_int(SIZE), 64);
    tc_value w = weights(f, TC_SHAPE(64, 64, 1, 1));
    for (int i = 0; i < 5000; i++)
        x = tc_relu(tc_conv2d(x, w));
    request_fetch(&f->r, x);
    compile(f);
    expect_counts(f, 5000, 1, 1);
    for (int32_t i = 0; i < f->program->n_reports; i++)
        if (strcmp(f->program->reports[i].pass, "layout") == 0 && !TEST_SANITIZED)
            assert_true(f->program->reports[i].milliseconds < 500);
}

/* Convolutions that may be computed by Winograd's algorithm. */
static int count_winograd(const fixture *f)
{
    int count = 0;
    for (size_t i = 0; i < f->program->graph->nodes.count; i++) {
        const tc_node *node = f->program->graph->nodes.data[i];
        count += tc_node_is(node, "conv2d_blocked") && tc_attrs_bool(&node->attrs, "winograd");
    }
    return count;
}

static void test_winograd(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "image", TC_DIM("height"), 64);
    tc_value y = tc_relu(convolve(f, tc_relu(convolve(f, x, 64, 3, 1)), 80, 3, 1));
    request_fetch(&f->r, convolve(f, y, 64, 1, 1));
    compile(f);
    assert_int_equal(count_winograd(f), 2);
    f->r.request.disable_passes = "winograd";
    compile(f);
    expect_counts(f, 3, 1, 1);
    assert_int_equal(count_winograd(f), 0);
    double large = difference_without(f, "winograd", 2, 21);
    assert_true(large > 0 && large <= 1e-5); /* other roundings show that it was used */
    assert_true(difference_without(f, "winograd", 1, 3) == 0);
    assert_true(difference_without(f, "winograd", 0, 21) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_residual_network),  TEST(test_one_conversion_each_way), TEST(test_unknown_sizes),
        TEST(test_incomplete_blocks), TEST(test_between_convolutions),    TEST(test_groups),
        TEST(test_pays_or_stays),     TEST(test_what_others_read),        TEST(test_training_stays),
        TEST(test_needs_kernels),     TEST(test_control_dependencies),    TEST(test_long_chain),
        TEST(test_winograd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
