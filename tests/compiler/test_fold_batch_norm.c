/* Batch normalization by running statistics becomes a factor and a term per channel. */
#include "compiler/same_results.h"

typedef struct fixture {
    tc_graph *graph;
    tc_value x; /* f32 [batch, 3, 5, 5] */
    fake_target target;
    tc_program *program;
    int n_variables;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->graph = tc_graph_create();
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 3, 5, 5));
    f->target = fake_target_make();
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    tc_program_release(f->program);
    tc_graph_release(f->graph);
    free(f);
    return 0;
}

/* A variable of positive elements, as variances are, called `name` and a number. */
static tc_value positive(fixture *f, const char *name, tc_shape shape)
{
    char numbered[32];
    tc_tensor *initial = same_input(TC_F32, shape);
    for (int64_t i = 0; i < tc_tensor_size(initial); i++)
        assert_ok(tc_tensor_set(initial, i, tc_tensor_get(initial, i) * 0.75 + 1));
    snprintf(numbered, sizeof numbered, "%s_%d", name, f->n_variables++);
    tc_value v = tc_variable(f->graph, numbered, tc_constant(f->graph, initial));
    tc_tensor_release(initial);
    return v;
}

static tc_value vector(fixture *f, const char *name, int64_t size)
{
    return positive(f, name, TC_SHAPE(size));
}

static tc_value normalize(fixture *f, tc_value x, int64_t channels, tc_mode mode)
{
    return tc_batch_norm(x, vector(f, "gamma", channels), vector(f, "beta", channels),
                         vector(f, "mean", channels), vector(f, "variance", channels),
                         .epsilon = TC_SOME(1e-3), .mode = mode);
}

static tc_value convolution(fixture *f)
{
    return tc_conv2d(f->x, positive(f, "w", TC_SHAPE(4, 3, 3, 3)));
}

static int compiled(fixture *f, const tc_value *fetches, size_t n, const char *op)
{
    test_request r = {0};
    request_feed(&r, f->x);
    for (size_t i = 0; i < n; i++)
        request_fetch(&r, fetches[i]);
    assert_ok(tc_graph_status(f->graph));
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &r, &f->target);
    return count_nodes(f->program->graph, op);
}

static void same(fixture *f, tc_value y, const char *disable)
{
    expect_same_results(f->graph, disable, f->x, TC_SHAPE(2, 3, 5, 5), &y, 1, TC_NO_VALUE, 1e-5);
}

static void test_after_convolution(void **state)
{
    fixture *f = *state;
    tc_value y = tc_relu(normalize(f, convolution(f), 4, TC_MODE_AUTO));
    assert_int_equal(compiled(f, &y, 1, "batch_norm"), 0);
    const tc_node *node = fetch_node(f->program, 0);
    assert_string_equal(node->attrs.op->name, "conv2d_fused");
    assert_true(node->inputs[2].node >= 0 && node->inputs[3].node >= 0);
    /* The filter is the variable itself. */
    assert_true(tc_node_is(tc_graph_node_at(f->program->graph, node->inputs[1].node), "variable"));
    same(f, y, "fold_batch_norm");
    same(f, y, "all");
}

static void test_alone(void **state)
{
    fixture *f = *state;
    tc_value y = normalize(f, f->x, 3, TC_MODE_INFERENCE);
    assert_int_equal(compiled(f, &y, 1, "batch_norm"), 0);
    same(f, y, "fold_batch_norm");
}

static void test_after_matmul(void **state)
{
    fixture *f = *state;
    tc_value w = positive(f, "w", TC_SHAPE(75, 6));
    tc_value p = tc_matmul(tc_reshape(f->x, TC_SHAPE(-1, 75)), w);
    tc_value y = tc_sigmoid(normalize(f, tc_bias_add(p, vector(f, "b", 6)), 6, TC_MODE_AUTO));
    assert_int_equal(compiled(f, &y, 1, "matmul_fused"), 1);
    same(f, y, "fold_batch_norm");
}

/* Without factor and term of its own. */
static void test_bare(void **state)
{
    fixture *f = *state;
    tc_value y = tc_batch_norm(convolution(f), TC_NO_VALUE, TC_NO_VALUE, vector(f, "mean", 4),
                               vector(f, "variance", 4));
    assert_int_equal(compiled(f, &y, 1, "conv2d_fused"), 1);
    same(f, y, "fold_batch_norm");
}

/* Coefficients of constants are constants. */
static void test_constants(void **state)
{
    fixture *f = *state;
    tc_value v = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, 0.5, 3}));
    tc_value y = tc_batch_norm(convolution(f), v, v, v, v);
    assert_int_equal(compiled(f, &y, 1, "rsqrt"), 0);
    assert_int_equal(count_nodes(f->program->graph, "constant"), 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(count_nodes(f->program->graph, ((const char *[]){"add", "mul", "sub"})[i]),
                         0);
    same(f, y, "fold_batch_norm");
}

/* Statistics of the batch, or statistics that are read, keep the operator. */
static void test_left_alone(void **state)
{
    fixture *f = *state;
    tc_value y = normalize(f, convolution(f), 4, TC_MODE_TRAINING);
    assert_int_equal(compiled(f, &y, 1, "batch_norm"), 1);
    tc_value z = tc_batch_norm(convolution(f), TC_NO_VALUE, TC_NO_VALUE, vector(f, "m", 4),
                               vector(f, "v", 4));
    const tc_value both[] = {z, tc_output(z, 4)};
    assert_int_equal(compiled(f, both, 2, "batch_norm"), 1);
    const tc_value read[] = {z, tc_neg(tc_output(z, 3))};
    assert_int_equal(compiled(f, read, 2, "batch_norm"), 1);
}

/* 16 bits with statistics in f32 only behind a product. */
static void test_half(void **state)
{
    fixture *f = *state;
    tc_value x = tc_cast(f->x, TC_BF16);
    tc_value w = tc_cast(tc_random_uniform(f->graph, TC_F32, TC_SHAPE(4, 3, 3, 3)), TC_BF16);
    tc_value y = tc_relu(normalize(f, tc_conv2d(x, w), 4, TC_MODE_AUTO));
    assert_int_equal(compiled(f, &y, 1, "conv2d_fused"), 1);
    assert_int_equal(count_nodes(f->program->graph, "batch_norm"), 0);
    tc_value z = normalize(f, x, 3, TC_MODE_AUTO);
    assert_int_equal(compiled(f, &z, 1, "batch_norm"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_after_convolution),
        TEST(test_alone),
        TEST(test_after_matmul),
        TEST(test_bare),
        TEST(test_constants),
        TEST(test_left_alone),
        TEST(test_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
