/* Rules of the passes simplify and strength: what becomes of small graphs, and what they leave. */
#include "compiler/passes_test.h"

static tc_value number(fixture *f, tc_dtype dtype, double value)
{
    return tc_constant_scalar(f->graph, dtype, value);
}

static tc_value fed(fixture *f, const char *name, tc_dtype dtype, tc_shape shape)
{
    tc_value value = tc_placeholder(f->graph, name, dtype, shape);
    request_feed(&f->r, value);
    return value;
}

/* Compiles y alone, which `op` must compute with `count` nodes in all (placeholders too). */
static const tc_node *expect_nodes(fixture *f, tc_value y, const char *op, int count)
{
    expect_computed(f, y, op);
    assert_int_equal(node_count(f), count);
    return fetch_node(f->program, 0);
}

static double constant_element(fixture *f, int64_t index)
{
    tc_tensor *tensor = tc_attrs_tensor(&fetch_node(f->program, 0)->attrs, "tensor");
    assert_non_null(tensor);
    return tc_tensor_get(tensor, index);
}

static int basic(void **state)
{
    assert_int_equal(setup(state), 0);
    ((fixture *)*state)->r.request.optimization = TC_OPTIMIZATION_BASIC;
    return 0;
}

static int full(void **state)
{
    assert_int_equal(setup(state), 0);
    only_passes(*state, "simplify fold cse strength");
    return 0;
}

#define FULL(name)  cmocka_unit_test_setup_teardown(name, full, teardown)
#define BASIC(name) cmocka_unit_test_setup_teardown(name, basic, teardown)

static void test_integers(void **state)
{
    fixture *f = *state;
    tc_value i = f->i, rows = tc_cast(f->x, TC_I32);
    expect_nodes(f, tc_sub(i, i), "constant", 1);
    assert_true(constant_element(f, 3) == 0);
    expect_nodes(f, tc_sub(rows, rows), "zeros_like", 3);
    expect_nodes(f, tc_sub(f->x, f->x), "sub", 2); /* NaN */
    expect_nodes(f, tc_equal(i, i), "constant", 1);
    assert_true(constant_element(f, 0) == 1);
    expect_nodes(f, tc_less(i, i), "constant", 1);
    assert_true(constant_element(f, 0) == 0);
    expect_nodes(f, tc_greater_equal(rows, rows), "cast", 4);
    expect_nodes(f, tc_equal(f->x, f->x), "equal", 2);
    expect_nodes(f, tc_mul(f->x, f->x), "square", 2);
    expect_same(f, tc_maximum(f->x, f->x), "x");
    expect_same(f, tc_minimum(i, i), "i");
}

static void test_logic(void **state)
{
    fixture *f = *state;
    tc_value a = fed(f, "a", TC_BOOL, TC_SHAPE(3)), i = f->i, x = f->x;
    tc_value yes = number(f, TC_BOOL, 1), no = number(f, TC_BOOL, 0);
    expect_same(f, tc_logical_and(a, yes), "a");
    expect_same(f, tc_logical_or(no, a), "a");
    expect_same(f, tc_logical_xor(a, no), "a");
    expect_same(f, tc_logical_and(a, a), "a");
    expect_same(f, tc_logical_not(tc_logical_xor(a, yes)), "a");
    expect_nodes(f, tc_logical_xor(yes, a), "logical_not", 2);
    expect_nodes(f, tc_logical_and(a, no), "constant", 1);
    expect_nodes(f, tc_logical_or(yes, a), "constant", 1);
    assert_true(constant_element(f, 2) == 1);
    expect_nodes(f, tc_logical_xor(a, a), "constant", 1);
    assert_true(constant_element(f, 2) == 0);
    /* Not where broadcasting makes it larger. */
    expect_nodes(f, tc_logical_and(a, tc_fill(f->graph, TC_BOOL, TC_SHAPE(2, 3), 1)), "logical_and",
                 3);
    tc_value j = tc_neg(i);
    expect_nodes(f, tc_logical_not(tc_less(i, j)), "greater_equal", 3);
    expect_nodes(f, tc_logical_not(tc_equal(x, tc_neg(x))), "not_equal", 3);
    expect_nodes(f, tc_logical_not(tc_less(x, tc_neg(x))), "logical_not", 4); /* NaN */
}

static void test_where(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, y = tc_exp(x), c = tc_less(x, y);
    expect_same(f, tc_where(number(f, TC_BOOL, 1), x, y), "x");
    expect_nodes(f, tc_where(number(f, TC_BOOL, 0), x, y), "exp", 2);
    expect_same(f, tc_where(c, x, x), "x");
    const tc_node *node =
        expect_nodes(f, tc_where(tc_logical_not(tc_less(x, y)), x, y), "where", 4);
    assert_int_equal(node->inputs[2].node, f->program->feeds[0].node);
    expect_nodes(f,
                 tc_where(number(f, TC_BOOL, 1), f->i, tc_zeros(f->graph, TC_I32, TC_SHAPE(2, 4))),
                 "expand", 2);
    expect_nodes(f, tc_where(number(f, TC_BOOL, 1), number(f, TC_F32, 2), x), "where", 4);
}

static void test_division(void **state)
{
    fixture *f = *state;
    expect_nodes(f, tc_div(f->x, number(f, TC_F32, 8)), "mul", 3);
    expect_nodes(f, tc_div(f->x, number(f, TC_F32, -0.25)), "mul", 3);
    expect_nodes(
        f,
        tc_div(f->x, tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, -4, 0.5f}))),
        "mul", 3);
    expect_nodes(f, tc_div(f->x, number(f, TC_F32, 3)), "div", 3);
    expect_nodes(f, tc_div(f->x, number(f, TC_F32, 0x1p127)), "div", 3); /* 1 / it is not normal */
    expect_nodes(f, tc_div(f->x, number(f, TC_F32, 0)), "div", 3);
    expect_nodes(f, tc_div(f->i, number(f, TC_I32, 8)), "div", 3);
}

static void test_casts(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, i = f->i;
    expect_same(f, tc_cast(tc_cast(x, TC_F64), TC_F32), "x");
    expect_nodes(f, tc_cast(tc_cast(x, TC_F64), TC_F16), "cast", 2);
    expect_same(f, tc_cast(tc_cast(i, TC_F64), TC_I32), "i");
    expect_nodes(f, tc_cast(tc_cast(i, TC_F32), TC_I32), "cast", 3); /* rounds */
    expect_nodes(f, tc_cast(tc_cast(i, TC_I64), TC_F32), "cast", 2);
    expect_nodes(f, tc_cast(tc_cast(i, TC_U64), TC_I64), "cast", 3); /* loses the sign */
    expect_nodes(f, tc_cast(tc_cast(x, TC_BF16), TC_F32), "cast", 3);
    tc_value h = fed(f, "h", TC_F16, TC_SHAPE(2)), u = fed(f, "u", TC_U16, TC_SHAPE(2));
    expect_same(f, tc_cast(tc_cast(h, TC_F32), TC_F16), "h");
    expect_nodes(f, tc_cast(tc_cast(h, TC_BF16), TC_F16), "cast", 3);
    expect_nodes(f, tc_cast(tc_cast(u, TC_F16), TC_U16), "cast", 3);
    expect_same(f, tc_cast(tc_cast(u, TC_I32), TC_U16), "u");
    tc_value b = fed(f, "b", TC_BOOL, TC_SHAPE(2));
    expect_same(f, tc_cast(tc_cast(b, TC_F32), TC_BOOL), "b");
}

static void expect_slice(fixture *f, tc_value y, tc_value of, int64_t begin, int64_t end,
                         int64_t stride)
{
    expect_computed(f, y, "slice");
    const tc_node *node = fetch_node(f->program, 0);
    assert_string_equal(tc_graph_node_at(f->program->graph, node->inputs[0].node)->name,
                        tc_value_name(of));
    assert_true(tc_attrs_ints(&node->attrs, "begin", NULL)[0] == begin);
    assert_true(tc_attrs_ints(&node->attrs, "end", NULL)[0] == end);
    assert_true(tc_attrs_ints(&node->attrs, "strides", NULL)[0] == stride);
}

static void test_slices(void **state)
{
    fixture *f = *state;
    tc_value v = fed(f, "v", TC_F32, TC_SHAPE(20)), w = fed(f, "w", TC_F32, TC_SHAPE(5));
    tc_value part =
        tc_slice(v, TC_INTS(2), TC_INTS(18), .strides = TC_INTS(3)); /* 2 5 8 11 14 17 */
    expect_slice(f, tc_slice(part, TC_INTS(1), TC_INTS(-1)), v, 5, 15, 3);
    expect_slice(f, tc_slice(part, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-2)), v, 17,
                 4, -6);
    tc_value back = tc_slice(v, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-1));
    expect_slice(f, tc_slice(back, TC_INTS(3), TC_INTS(6)), v, 16, 13, -1);
    expect_slice(f, tc_slice(back, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-5)), v, 0,
                 16, 5);
    expect_same(f, tc_slice(back, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-1)), "v");
    tc_value joined = tc_concat(TC_VALUES(v, w, v), 0);
    expect_slice(f, tc_slice(joined, TC_INTS(21), TC_INTS(24)), w, 1, 4, 1);
    expect_same(f, tc_slice(joined, TC_INTS(20), TC_INTS(25)), "w");
    expect_nodes(f, tc_slice(joined, TC_INTS(19), TC_INTS(21)), "slice", 4);
    /* Of an unknown size only what is whole in one of the two. */
    tc_value rows = tc_slice(f->x, TC_INTS(1), TC_INTS(TC_TO_END));
    expect_nodes(f, tc_slice(rows, TC_INTS(1), TC_INTS(3), .axes = TC_INTS(1)), "slice", 2);
    expect_nodes(f, tc_slice(rows, TC_INTS(0), TC_INTS(2)), "slice", 3);
}

static void test_joins(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, y = tc_exp(x), z = tc_neg(x);
    const tc_node *node =
        expect_nodes(f, tc_concat(TC_VALUES(tc_concat(TC_VALUES(x, y), 1), z), -1), "concat", 4);
    assert_int_equal(node->n_inputs, 3);
    expect_nodes(
        f, tc_concat(TC_VALUES(tc_concat(TC_VALUES(x, y), 0), tc_concat(TC_VALUES(z, z), 0)), 1),
        "concat", 6);
    tc_value none = tc_slice(x, TC_INTS(0), TC_INTS(0), .axes = TC_INTS(1));
    expect_same(f, tc_concat(TC_VALUES(none, x), 1), "x");
    tc_value v = fed(f, "v", TC_F32, TC_SHAPE(6)), parts = tc_split(v, 0, 3);
    expect_same(f, tc_concat(TC_VALUES(parts, tc_output(parts, 1), tc_output(parts, 2)), 0), "v");
    expect_nodes(f, tc_concat(TC_VALUES(tc_output(parts, 1), parts, tc_output(parts, 2)), 0),
                 "concat", 3);
    tc_value apart = tc_split(tc_concat(TC_VALUES(x, y), 1), 1, 2);
    expect_nodes(f, tc_output(apart, 1), "exp", 2);
    expect_nodes(f, tc_output(tc_split(tc_concat(TC_VALUES(x, y, z), 1), 1, 2), 1), "split", 5);
}

static void test_broadcasts(void **state)
{
    fixture *f = *state;
    tc_value v = fed(f, "v", TC_F32, TC_SHAPE(4)), x = f->x;
    expect_nodes(f, tc_add(x, tc_expand_like(v, x)), "add", 3);
    expect_nodes(f, tc_where(tc_less(x, v), tc_expand_like(v, x), x), "where", 4);
    expect_nodes(f, tc_add(tc_expand_like(v, x), tc_expand_like(v, x)), "add",
                 4); /* nobody else has the shape */
    expect_nodes(f, tc_expand(tc_expand(v, TC_SHAPE(2, 4)), TC_SHAPE(3, 2, 4)), "expand", 2);
    expect_nodes(f, tc_expand_like(tc_expand(v, TC_SHAPE(1, 4)), x), "expand_like", 3);
    const tc_node *node =
        expect_nodes(f, tc_mul(f->i, tc_fill(f->graph, TC_I32, TC_SHAPE(4), 7)), "mul", 3);
    assert_int_equal(tc_edge_info(f->program->graph, node->inputs[1])->shape.rank, 0);
    /* The gradient of a sum is a view that operators broadcast. */
    tc_value loss = tc_reduce_sum(tc_square(tc_reduce_sum(tc_mul(x, x), .axes = TC_INTS(1)))), dx;
    assert_ok(tc_gradients(TC_VALUES(loss), TC_VALUES(x), &dx));
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, dx);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "reduce_expand"), 0);
    assert_int_equal(count_nodes(f->program->graph, "expand_like"), 0);
    assert_int_equal(count_nodes(f->program->graph, "unsqueeze"), 1);
}

static void test_reductions(void **state)
{
    fixture *f = *state;
    tc_value t = fed(f, "t", TC_F32, TC_SHAPE(2, 1, 3, 5)),
             n = fed(f, "n", TC_I32, TC_SHAPE(2, 1, 3));
    expect_nodes(f, tc_reduce_max(t, .axes = TC_INTS(1)), "squeeze", 2);
    expect_same(f, tc_reduce_min(t, .axes = TC_INTS(-3), .keep_dims = true), "t");
    expect_nodes(f, tc_reduce_sum(n, .axes = TC_INTS(1)), "squeeze", 2);
    expect_nodes(f, tc_reduce_sum(t, .axes = TC_INTS(1)), "reduce_sum", 2); /* -0 becomes 0 */
    const tc_node *node =
        expect_nodes(f, tc_reduce_max(tc_reduce_max(t, .axes = TC_INTS(0)), .axes = TC_INTS(-1)),
                     "reduce_max", 2);
    int32_t count;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    assert_true(count == 2 && axes[0] == 0 && axes[1] == 3);
    expect_nodes(f, tc_reduce_sum(tc_reduce_sum(n, .axes = TC_INTS(0), .keep_dims = true)),
                 "reduce_sum", 3);
    expect_nodes(f, tc_reduce_sum(tc_reduce_sum(n, .axes = TC_INTS(0))), "reduce_sum", 2);
    expect_nodes(f, tc_reduce_sum(tc_reduce_sum(t, .axes = TC_INTS(0))), "reduce_sum",
                 3); /* order */
}

static void test_strength_reductions(void **state)
{
    fixture *f = *state;
    tc_value t = fed(f, "t", TC_F32, TC_SHAPE(2, 1, 3, 5));
    expect_nodes(f, tc_reduce_mean(tc_reduce_mean(t, .axes = TC_INTS(0))), "reduce_mean", 2);
    expect_nodes(f, tc_reduce_sum(t, .axes = TC_INTS(1)), "squeeze", 2);
}

static void test_transposes(void **state)
{
    fixture *f = *state;
    tc_value t = fed(f, "t", TC_F32, TC_SHAPE(TC_DIM("n"), 1, 3, 1, 5));
    expect_nodes(f, tc_transpose(t, .permutation = TC_INTS(1, 0, 2, 4, 3)), "reshape", 2);
    tc_plan_release(plan_ok(f->program,
                            (tc_shape[]){TC_SHAPE(6, 4), TC_SHAPE(4), TC_SHAPE(7, 1, 3, 1, 5)},
                            &f->target));
    expect_nodes(f, tc_transpose(t, .permutation = TC_INTS(2, 1, 0, 3, 4)), "transpose", 2);
    expect_nodes(f, tc_reshape_like(tc_reshape(f->x, TC_SHAPE(-1)), tc_exp(f->x)), "placeholder",
                 1);
    expect_nodes(f, tc_reshape_like(f->x, tc_unsqueeze(f->x, TC_INTS(1))), "reshape", 2);
}

static void test_modes(void **state)
{
    fixture *f = *state;
    tc_value training = tc_node_build(
        f->graph, &(const tc_node_spec){.op = "is_training", .at = TC_HERE, .name = NULL});
    tc_value y = tc_where(training, tc_exp(f->x), f->x);
    expect_same(f, y, "x");
    f->r.request.mode = TC_MODE_TRAINING;
    expect_computed(f, y, "exp");
}

/*
 * strength
 */
static void test_strength_powers(void **state)
{
    fixture *f = *state;
    static const struct {
        double exponent;
        const char *op;
    } powers[] = {{1, "placeholder"}, {2, "square"},      {3, "mul"}, {0.5, "sqrt"},
                  {-0.5, "rsqrt"},    {-1, "reciprocal"}, {4, "pow"}, {0, "pow"}};
    for (size_t i = 0; i < sizeof powers / sizeof powers[0]; i++)
        expect_computed(f, tc_pow(f->x, number(f, TC_F32, powers[i].exponent)), powers[i].op);
    expect_computed(f, tc_pow(f->i, number(f, TC_I32, 2)), "pow");
    expect_computed(f, tc_pow(f->x, tc_fill(f->graph, TC_F32, TC_SHAPE(2, 1, 4), 2)), "pow");
    expect_nodes(f, tc_div(number(f, TC_F32, 1), tc_sqrt(f->x)), "rsqrt", 2);
    f->r.request.optimization = TC_OPTIMIZATION_BASIC;
    expect_computed(f, tc_pow(f->x, number(f, TC_F32, 2)), "pow");
}

static void test_strength_signs(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, y = tc_exp(x), minus = tc_neg(y);
    expect_nodes(f, tc_add(x, minus), "sub", 3);
    expect_nodes(f, tc_add(minus, x), "sub", 3);
    expect_nodes(f, tc_sub(x, minus), "add", 3);
    expect_nodes(f, tc_sub(minus, x), "sub", 4);
    expect_nodes(f, tc_mul(minus, tc_neg(x)), "mul", 3);
    expect_nodes(f, tc_mul(number(f, TC_F32, -1), x), "neg", 2);
    expect_nodes(f, tc_div(x, number(f, TC_F32, -1)), "neg", 2);
    const tc_node *node =
        expect_nodes(f, tc_mul(number(f, TC_F32, 3), tc_mul(x, number(f, TC_F32, 0.5))), "mul", 3);
    tc_tensor *c = tc_attrs_tensor(
        &tc_graph_node_at(f->program->graph, node->inputs[1].node)->attrs, "tensor");
    assert_true(tc_tensor_get(c, 0) == 1.5);
    /* A product that may vanish where the two do not. */
    expect_nodes(f, tc_mul(number(f, TC_F32, 1e-30), tc_mul(x, number(f, TC_F32, 1e-30))), "mul",
                 4);
}

static void test_strength_matmul(void **state)
{
    fixture *f = *state;
    tc_value a = fed(f, "a", TC_F32, TC_SHAPE(2, 3, 5)), b = fed(f, "b", TC_F32, TC_SHAPE(7, 5));
    const tc_node *node = expect_nodes(f, tc_matmul(a, tc_transpose(b)), "matmul", 3);
    assert_true(tc_attrs_bool(&node->attrs, "transpose_b"));
    tc_value swapped = tc_transpose(a, .permutation = TC_INTS(0, 2, 1));
    node = expect_nodes(f, tc_matmul(swapped, tc_transpose(b), .transpose_a = true), "matmul", 3);
    assert_false(tc_attrs_bool(&node->attrs, "transpose_a"));
    tc_value turned = tc_transpose(a, .permutation = TC_INTS(1, 0, 2));
    expect_nodes(f, tc_matmul(turned, b, .transpose_b = true), "matmul", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BASIC(test_integers),       BASIC(test_logic),
        BASIC(test_where),          BASIC(test_division),
        BASIC(test_casts),          BASIC(test_slices),
        BASIC(test_joins),          BASIC(test_broadcasts),
        BASIC(test_reductions),     BASIC(test_transposes),
        BASIC(test_modes),          FULL(test_strength_powers),
        FULL(test_strength_signs),  FULL(test_strength_reductions),
        FULL(test_strength_matmul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
