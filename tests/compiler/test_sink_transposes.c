/* Transposes that meet their opposite go; where that spares nothing, all stay as they are. */
#include "compiler/passes_test.h"

#define TO_LAST  .permutation = TC_INTS(0, 2, 3, 1)
#define TO_FIRST .permutation = TC_INTS(0, 3, 1, 2)

static tc_value image(fixture *f, const char *name)
{
    tc_value x = tc_placeholder(f->graph, name, TC_F32, TC_SHAPE(TC_DIM("n"), 3, 8, 8));
    request_feed(&f->r, x);
    return x;
}

/* A new variable of normal numbers. */
static tc_value weights(fixture *f, tc_shape shape)
{
    char name[16];
    snprintf(name, sizeof name, "w%d", (int)f->graph->nodes.count);
    return tc_variable(f->graph, name, tc_random_normal(f->graph, TC_F32, shape));
}

/* Compiles y alone, with and without the pass. */
static void expect_transposes(fixture *f, tc_value y, int with, int without)
{
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, y);
    only_passes(f, "simplify fold cse");
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "transpose"), without);
    only_passes(f, "simplify fold cse sink_transposes");
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "transpose"), with);
    const tc_shape built = tc_value_shape(y);
    assert_true(tc_shape_compatible(&fetch_node(f->program, 0)->outputs[0].shape, &built));
    tc_shape shapes[8] = {TC_SHAPE(2, 4), TC_SHAPE(4)};
    for (int i = 2; i < f->r.request.n_feeds; i++)
        shapes[i] = TC_SHAPE(2, 3, 8, 8);
    tc_plan_release(plan_ok(f->program, shapes, &f->target));
}

/* A layer as it comes from a framework with channels last. */
static tc_value layer(fixture *f, tc_value last, int64_t out, int64_t in)
{
    tc_value y = tc_conv2d(tc_transpose(last, TO_FIRST), weights(f, TC_SHAPE(out, in, 3, 3)),
                           .padding = TC_PADDING_SAME);
    y = tc_transpose(y, TO_LAST);
    return tc_relu(tc_add(y, weights(f, TC_SHAPE(out))));
}

static void test_channels_last(void **state)
{
    fixture *f = *state;
    tc_value x = tc_transpose(image(f, "t"), TO_LAST);
    tc_value y = layer(f, layer(f, layer(f, x, 4, 3), 4, 4), 5, 4);
    expect_transposes(f, y, 1, 5);
    tc_value mean = tc_reduce_mean(y, .axes = TC_INTS(1, 2));
    expect_transposes(f, mean, 0, 5);
    assert_int_equal(count_nodes(f->program->graph, "reshape"), 3); /* of biases */
}

static void test_operators(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "t"), t = tc_transpose(x, TO_LAST);
    tc_value bias = tc_constant_data(f->graph, TC_F32, TC_SHAPE(3), ((float[]){1, 2, 3}));
    tc_value column = tc_exp(tc_slice(t, TC_INTS(0), TC_INTS(1), .axes = TC_INTS(1)));
    expect_transposes(f, tc_transpose(tc_bias_add(t, bias, .axis = TC_SOME(-1)), TO_FIRST), 0, 2);
    expect_transposes(f, tc_transpose(tc_softmax(t), TO_FIRST), 0, 2);
    expect_transposes(f, tc_transpose(tc_concat(TC_VALUES(t, tc_exp(t)), 3), TO_FIRST), 0, 2);
    expect_transposes(f, tc_transpose(tc_output(tc_split(t, 1, 2), 1), TO_FIRST), 0, 2);
    expect_transposes(f, tc_transpose(tc_mul(column, t), TO_FIRST), 0, 2);
    expect_transposes(f, tc_transpose(tc_slice(t, TC_INTS(0, 1), TC_INTS(TC_TO_END, 7)), TO_FIRST),
                      0, 2);
    expect_transposes(
        f, tc_transpose(tc_pad(t, TC_INTS(0, 1, 2, 0), TC_INTS(0, 0, 1, 0)), TO_FIRST), 0, 2);
    expect_transposes(
        f,
        tc_transpose(tc_where(tc_less(t, bias), t, tc_cast(tc_cast(t, TC_F16), TC_F32)), TO_FIRST),
        0, 2);
    tc_value kept = tc_reduce_max(t, .axes = TC_INTS(-1), .keep_dims = true);
    expect_transposes(f, tc_transpose(tc_sub(t, kept), TO_FIRST), 0, 2);
    /* [n, 8, 8, 3] without its third dimension is what is there without its last, the channels
     * last. */
    expect_transposes(
        f, tc_transpose(tc_reduce_sum(t, .axes = TC_INTS(2)), .permutation = TC_INTS(0, 2, 1)), 0,
        2);
    expect_transposes(f, tc_reduce_sum(t, .axes = TC_INTS(-1)), 0, 1);
}

/* Where as many would be left as there were, nothing changes. */
static void test_left_alone(void **state)
{
    fixture *f = *state;
    tc_value x = image(f, "t"), t = tc_transpose(x, TO_LAST), y = tc_tanh(t);
    expect_transposes(f, y, 1, 1);
    assert_string_equal(fetch_node(f->program, 0)->attrs.op->name, "tanh");
    /* Seen by two: one transpose before, two after. */
    request_fetch(&f->r, tc_matmul(y, tc_exp(t), .transpose_b = true));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "transpose"), 1);
    /* Numbers are drawn by place. */
    tc_value noisy = tc_dropout(t, 0.5, .mode = TC_MODE_TRAINING);
    expect_transposes(f, tc_transpose(noisy, TO_FIRST), 2, 2);
    /* Operands that are ordered differently, or would have to be transposed themselves. */
    tc_value other = image(f, "u");
    expect_transposes(
        f, tc_transpose(tc_add(t, tc_reshape(other, TC_SHAPE(TC_DIM("n"), 8, 8, 3))), TO_FIRST), 2,
        2);
    tc_value plane =
        tc_constant_data(f->graph, TC_F32, TC_SHAPE(2, 3), ((float[]){1, 2, 3, 4, 5, 6}));
    tc_value wide = tc_slice(t, TC_INTS(0), TC_INTS(2), .axes = TC_INTS(2));
    expect_transposes(f, tc_transpose(tc_add(wide, plane), TO_FIRST), 2, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_channels_last), TEST(test_operators),
                                       TEST(test_left_alone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
