/* Products take in what follows them, and nothing that another needs. */
#include "compiler/same_results.h"

typedef struct fixture {
    tc_graph *graph;
    tc_value x;     /* f32 [batch, 8] */
    tc_value image; /* f32 [batch, 3, 6, 6] */
    fake_target target;
    tc_program *program;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->graph = tc_graph_create();
    f->x = tc_placeholder(f->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 8));
    f->image = tc_placeholder(f->graph, "image", TC_F32, TC_SHAPE(TC_DIM("batch"), 3, 6, 6));
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

static tc_value variable(fixture *f, const char *name, tc_shape shape)
{
    tc_tensor *initial = same_input(TC_F32, shape);
    tc_value v = tc_variable(f->graph, name, tc_constant(f->graph, initial));
    tc_tensor_release(initial);
    return v;
}

static tc_value number(fixture *f, double value)
{
    return tc_constant_scalar(f->graph, TC_F32, value);
}

static tc_value product(fixture *f, const char *name)
{
    return tc_matmul(f->x, variable(f, name, TC_SHAPE(8, 8)));
}

static tc_value convolution(fixture *f, const char *name)
{
    return tc_conv2d(f->image, variable(f, name, TC_SHAPE(5, 3, 3, 3)),
                     .padding = TC_PADDING(1, 1, 1, 1));
}

static const tc_program *compile_for(fixture *f, const tc_value *fetches, size_t n, tc_value target)
{
    test_request r = {.request = {.disable_passes = "fuse_elementwise"}};
    request_feed(&r, f->x);
    request_feed(&r, f->image);
    for (size_t i = 0; i < n; i++)
        request_fetch(&r, fetches[i]);
    if (target.graph)
        request_target(&r, target);
    assert_ok(tc_graph_status(f->graph));
    tc_program_release(f->program);
    f->program = compile_ok(f->graph, &r, &f->target);
    return f->program;
}

static int count(const fixture *f, const char *op)
{
    return count_nodes(f->program->graph, op);
}

/* Compiled, y is one node that computes `op` with this set of inputs 2, 3, 4 and this activation.
 */
static const tc_node *expect_fused(fixture *f, tc_value y, const char *op, const char *inputs,
                                   const char *activation)
{
    const tc_node *node = fetch_node(compile_for(f, &y, 1, TC_NO_VALUE), 0);
    static const char letters[] = "sbr";
    assert_string_equal(node->attrs.op->name, op);
    assert_int_equal(node->n_inputs, 5);
    for (int i = 0; i < 3; i++)
        assert_int_equal(node->inputs[2 + i].node >= 0, strchr(inputs, letters[i]) != NULL);
    assert_string_equal(tc_attrs_string(&node->attrs, "activation"), activation);
    return node;
}

static void same(fixture *f, tc_value x, tc_value y, double tolerance)
{
    tc_shape shape = x.node == f->x.node ? TC_SHAPE(5, 8) : TC_SHAPE(2, 3, 6, 6);
    expect_same_results(f->graph, "fuse_epilogues", x, shape, &y, 1, TC_NO_VALUE, tolerance);
}

static void test_dense(void **state)
{
    fixture *f = *state;
    tc_value b = variable(f, "b", TC_SHAPE(8));
    tc_value y = tc_relu(tc_bias_add(product(f, "w"), b));
    const tc_node *node = expect_fused(f, y, "matmul_fused", "b", "relu");
    assert_string_equal(node->name, "matmul"); /* messages and profiles speak of the product */
    assert_int_equal(f->program->graph->nodes.count, 4);
    same(f, f->x, y, 0);
    y = tc_gelu(tc_add(b, product(f, "w1")), .tanh_approximation = true);
    expect_fused(f, y, "matmul_fused", "b", "gelu_tanh");
    same(f, f->x, y, 1e-6);
}

static void test_factors(void **state)
{
    fixture *f = *state;
    tc_value v = variable(f, "v", TC_SHAPE(8)), row = variable(f, "row", TC_SHAPE(1, 8));
    tc_value y = tc_div(product(f, "a"), number(f, -4));
    const tc_node *node = expect_fused(f, y, "matmul_fused", "", "none");
    assert_true(tc_attrs_float(&node->attrs, "alpha") == -0.25);
    same(f, f->x, y, 0);
    y = tc_sigmoid(tc_add(tc_mul(tc_mul(number(f, 0.3), product(f, "b")), v), row));
    node = expect_fused(f, y, "matmul_fused", "sb", "sigmoid");
    assert_true(tc_attrs_float(&node->attrs, "alpha") == (double)0.3f);
    same(f, f->x, y, 0);
    /* The bias before a factor is multiplied, too. */
    y = tc_add(tc_mul(tc_bias_add(product(f, "c"), v), row), v);
    expect_fused(f, y, "matmul_fused", "sb", "none");
    assert_int_equal(count(f, "mul") + count(f, "add"), 2);
    same(f, f->x, y, 1e-6);
    y = tc_mul(tc_bias_add(product(f, "d"), v), row);
    expect_fused(f, y, "matmul_fused", "sb", "none");
    same(f, f->x, y, 1e-6);
    /* A third of it would be rounded. */
    y = tc_div(product(f, "e"), number(f, 3));
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul"), 1);
    /* Nor is the product the divisor. */
    y = tc_div(number(f, 2), product(f, "f"));
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul"), 1);
}

static void test_convolution(void **state)
{
    fixture *f = *state;
    tc_value b = variable(f, "b", TC_SHAPE(5)), s = variable(f, "s", TC_SHAPE(5, 1, 1));
    tc_value t = variable(f, "t", TC_SHAPE(1, 5, 1, 1));
    tc_value r = tc_conv2d(f->image, variable(f, "w1", TC_SHAPE(5, 3, 1, 1)));
    tc_value y = tc_relu(tc_add(tc_add(tc_mul(convolution(f, "w"), s), t), r));
    expect_fused(f, y, "conv2d_fused", "sbr", "relu");
    assert_int_equal(count(f, "conv2d"), 1);
    assert_int_equal(count(f, "add") + count(f, "mul") + count(f, "relu"), 0);
    same(f, f->image, y, 0);
    y = tc_tanh(tc_bias_add(convolution(f, "w2"), b));
    expect_fused(f, y, "conv2d_fused", "b", "tanh");
    same(f, f->image, y, 0);
    /* Along another axis it is no bias of channels. */
    y = tc_bias_add(convolution(f, "w3"), variable(f, "c", TC_SHAPE(6)), .axis = TC_SOME(3));
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "conv2d"), 1);
}

/* Of two products the later takes the sum. */
static void test_two_products(void **state)
{
    fixture *f = *state;
    tc_value b = variable(f, "b", TC_SHAPE(8));
    tc_value early = tc_relu(tc_bias_add(product(f, "w"), b)), late = product(f, "w1");
    tc_value y = tc_add(early, late);
    const tc_node *node = expect_fused(f, y, "matmul_fused", "r", "none");
    assert_int_equal(count(f, "matmul_fused"), 2);
    const tc_node *other = tc_graph_node_at(f->program->graph, node->inputs[4].node);
    assert_string_equal(tc_attrs_string(&other->attrs, "activation"), "relu");
    same(f, f->x, y, 0);
    /* A residual that is computed last of all. */
    tc_value p = product(f, "w2");
    y = tc_relu(tc_add(p, tc_tanh(tc_mul(f->x, b))));
    expect_fused(f, y, "matmul_fused", "r", "relu");
    same(f, f->x, y, 0);
    /* Doubled, it has two readers. */
    y = tc_add(p, p);
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul_fused"), 0);
}

/* What somebody else reads, or asks for, is not in between. */
static void test_other_readers(void **state)
{
    fixture *f = *state;
    tc_value b = variable(f, "b", TC_SHAPE(8)), p = product(f, "w"), s = tc_bias_add(p, b);
    tc_value ys[] = {tc_relu(s), tc_tanh(s), p, tc_sigmoid(tc_bias_add(product(f, "w1"), b))};
    compile_for(f, ys, 2, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul_fused"), 1);
    assert_int_equal(count(f, "relu") + count(f, "tanh"), 2);
    compile_for(f, ys, 4, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul"), 1);
    assert_int_equal(count(f, "matmul_fused"), 1);
    assert_int_equal(count(f, "bias_add"), 1);
    expect_same_results(f->graph, "fuse_epilogues", f->x, TC_SHAPE(4, 8), ys, 4, TC_NO_VALUE, 0);
}

/* A reader of the shape alone reads that of the result. */
static void test_shape_readers(void **state)
{
    fixture *f = *state;
    tc_value p = product(f, "w");
    tc_value y = tc_relu(tc_bias_add(p, variable(f, "b", TC_SHAPE(8))));
    tc_value ys[] = {y, tc_expand_like(tc_reduce_sum(y), p)};
    compile_for(f, ys, 2, TC_NO_VALUE);
    assert_int_equal(count(f, "matmul_fused"), 1);
    assert_int_equal(count(f, "matmul"), 0);
    assert_int_equal(fetch_node(f->program, 1)->inputs[1].node, f->program->fetches[0].node);
}

/* Gradients of relu, sigmoid and tanh read results, that of gelu its operand. */
static void test_training(void **state)
{
    fixture *f = *state;
    tc_value w = variable(f, "w", TC_SHAPE(8, 8)), b = variable(f, "b", TC_SHAPE(8));
    tc_value h = tc_relu(tc_bias_add(tc_matmul(f->x, w), b));
    tc_value g = tc_gelu(tc_bias_add(tc_matmul(h, w), b));
    tc_value loss = tc_reduce_mean(tc_square(g));
    tc_value fetches[] = {loss, w, b};
    tc_value step = tc_minimize(tc_sgd(f->graph, .learning_rate = 0.1), loss);
    compile_for(f, fetches, 1, step);
    /* Two layers, and the sum of the gradients of w for each of its uses. */
    assert_int_equal(count(f, "matmul_fused"), 3);
    assert_int_equal(count(f, "gelu"), 1);
    assert_int_equal(count(f, "bias_add"), 0);
    expect_same_results(f->graph, "fuse_epilogues", f->x, TC_SHAPE(5, 8), fetches, 3, step, 0);
}

/* 16 bits with vectors in f32, through the casts in between. */
static void test_half(void **state)
{
    fixture *f = *state;
    tc_value x = tc_cast(f->image, TC_F16);
    tc_value w = tc_cast(variable(f, "w", TC_SHAPE(5, 3, 1, 1)), TC_F16);
    tc_value s = variable(f, "s", TC_SHAPE(5, 1, 1)), t = variable(f, "t", TC_SHAPE(5, 1, 1));
    tc_value y = tc_add(tc_mul(tc_cast(tc_conv2d(x, w), TC_F32), s), t);
    tc_value z = tc_relu(tc_cast(y, TC_F16));
    const tc_node *node = expect_fused(f, z, "conv2d_fused", "sb", "relu");
    assert_int_equal(tc_edge_info(f->program->graph, node->inputs[2])->dtype, TC_F32);
    same(f, f->image, z, 4e-3);
    /* Without the way back the product stays. */
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "conv2d"), 1);
}

/* Where a device has no such kernel, nothing is fused. */
static void test_no_kernel(void **state)
{
    fixture *f = *state;
    f->target.missing = "matmul_fused";
    tc_value y = tc_relu(product(f, "w"));
    compile_for(f, &y, 1, TC_NO_VALUE);
    assert_int_equal(count(f, "relu"), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_dense),        TEST(test_factors),       TEST(test_convolution),
        TEST(test_two_products), TEST(test_other_readers), TEST(test_shape_readers),
        TEST(test_training),     TEST(test_half),          TEST(test_no_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
