/* Passes that make programs smaller: constant folding, simplification, common subexpressions. */
#include "compiler/passes_test.h"

static tc_value number(fixture *f, tc_dtype dtype, double value)
{
    return tc_constant_scalar(f->graph, dtype, value);
}

/*
 * fold
 */
static void test_fold(void **state)
{
    fixture *f = *state;
    tc_value c = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, 3, 4}));
    tc_value parts = tc_split(tc_add(c, tc_fill(f->graph, TC_F32, TC_SHAPE(4), 1)), 0, 2);
    request_fetch(&f->r, tc_mul(parts, tc_output(parts, 1)));
    compile(f);
    assert_int_equal(node_count(f), 1);
    tc_tensor *tensor = tc_attrs_tensor(&fetch_node(f->program, 0)->attrs, "tensor");
    assert_true(tc_tensor_get(tensor, 0) == 2 * 4 && tc_tensor_get(tensor, 1) == 3 * 5);
    assert_int_equal(f->target.folds, 3); /* the fill is one number to the sum */
    assert_string_equal(fetch_node(f->program, 0)->name, "mul");
    f->r.request.disable_passes = "cse,fold";
    compile(f);
    assert_int_equal(f->target.folds, 3);
    assert_int_equal(node_count(f), 5);
}

static void test_not_folded(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    request_fetch(&f->r, tc_random_uniform(f->graph, TC_F32, TC_SHAPE(4)));
    request_fetch(&f->r, tc_neg(v));
    request_fetch(&f->r, tc_assign(v, tc_fill(f->graph, TC_F32, TC_SHAPE(4), 1)));
    request_fetch(&f->r,
                  tc_fill(f->graph, TC_F32, TC_SHAPE(100, 1000), 1)); /* 400 kB from nothing */
    compile(f);
    assert_string_equal(fetch_node(f->program, 0)->attrs.op->name, "random_uniform");
    assert_string_equal(fetch_node(f->program, 1)->attrs.op->name, "neg");
    assert_string_equal(fetch_node(f->program, 2)->attrs.op->name, "assign");
    assert_string_equal(fetch_node(f->program, 3)->attrs.op->name, "fill");
}

/* What a kernel refuses, or has none for, stays for the run, which reports it with the line. */
static void test_fold_fails(void **state)
{
    fixture *f = *state;
    tc_value c = tc_constant_data(f->graph, TC_F32, TC_SHAPE(2), ((float[]){1, 2}));
    tc_value outside = tc_constant_data(f->graph, TC_I64, TC_SHAPE(1), ((int64_t[]){7}));
    request_fetch(&f->r, tc_gather(c, outside));
    request_fetch(&f->r, tc_exp(c));
    f->target.missing = "exp";
    compile(f);
    assert_string_equal(fetch_node(f->program, 0)->attrs.op->name, "gather");
    assert_string_equal(fetch_node(f->program, 1)->attrs.op->name, "exp");
}

/* Sizes that inference knows are constants although x is not. */
static void test_fold_known_sizes(void **state)
{
    fixture *f = *state;
    tc_value shape = tc_shape_of_value(f->x);
    request_fetch(&f->r, tc_slice(shape, TC_INTS(1), TC_INTS(2)));
    request_fetch(&f->r, tc_slice(shape, TC_INTS(0), TC_INTS(1)));
    compile(f);
    assert_string_equal(fetch_node(f->program, 0)->attrs.op->name, "constant");
    assert_true(tc_tensor_get(tc_attrs_tensor(&fetch_node(f->program, 0)->attrs, "tensor"), 0) ==
                4);
    assert_string_equal(fetch_node(f->program, 1)->attrs.op->name, "slice");
}

/* Folded constants have a budget, and what was folded further is let go. */
static void test_fold_budget(void **state)
{
    fixture *f = *state;
    static const float zeros[1000];
    for (int i = 0; i < 4; i++) {
        tc_value c = tc_constant_data(f->graph, TC_F32, TC_SHAPE(1000), zeros);
        request_fetch(&f->r, tc_exp(tc_add(c, number(f, TC_F32, i + 1))));
    }
    f->r.request.fold_budget = 5 * 4000 + 100;
    compile(f);
    assert_int_equal(f->target.folds, 5);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 2);
    assert_int_equal(count_nodes(f->program->graph, "add"), 1);
    assert_int_equal(f->program->graph->tensors.count, 3);
    f->r.request.fold_budget = 0; /* the default is no limit for so little */
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 0);
    assert_int_equal(f->program->graph->tensors.count, 4);
}

/* What has no elements needs nothing computed. */
static void test_fold_nothing(void **state)
{
    fixture *f = *state;
    tc_value none = tc_slice(f->i, TC_INTS(2), TC_INTS(2));
    tc_value parts = tc_split(tc_mul(none, none), 0, 2);
    request_fetch(&f->r, tc_output(parts, 1));
    request_fetch(&f->r, tc_reduce_sum(tc_cast(none, TC_F32)));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "constant"), 2);
    assert_int_equal(node_count(f), 2);
    tc_tensor *sum = tc_attrs_tensor(&fetch_node(f->program, 1)->attrs, "tensor");
    assert_true(tc_tensor_get(sum, 0) == 0);
}

/*
 * simplify
 */
static void test_simplify_neutral(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, i = f->i;
    f->r.request.optimization = TC_OPTIMIZATION_BASIC;
    expect_same(f, tc_mul(x, number(f, TC_F32, 1)), "x");
    expect_same(f, tc_mul(number(f, TC_F32, 1), x), "x");
    expect_same(f, tc_div(x, number(f, TC_F32, 1)), "x");
    expect_same(f, tc_sub(x, number(f, TC_F32, 0)), "x");
    expect_same(f, tc_add(x, number(f, TC_F32, -0.0)), "x");
    expect_same(f, tc_add(i, number(f, TC_I32, 0)), "i");
    expect_same(f, tc_add(number(f, TC_I32, 0), i), "i");
    expect_same(f, tc_sub(i, number(f, TC_I32, 0)), "i");
    /* -0 + 0 is 0, 0 - x is not x, 1 / x is not x. */
    expect_computed(f, tc_add(x, number(f, TC_F32, 0)), "add");
    expect_computed(f, tc_sub(x, number(f, TC_F32, -0.0)), "sub");
    expect_computed(f, tc_sub(number(f, TC_F32, 0), x), "sub");
    expect_computed(f, tc_div(number(f, TC_F32, 1), x), "div");
    expect_computed(f, tc_mul(x, number(f, TC_F32, 2)), "mul");
    /* Not where broadcasting makes it larger. */
    tc_value ones = tc_fill(f->graph, TC_I32, TC_SHAPE(3, 4), 1);
    expect_computed(f, tc_mul(i, ones), "mul");
    expect_same(f, tc_mul(i, tc_fill(f->graph, TC_I32, TC_SHAPE(1), 1)), "i");
}

static void test_simplify_zero(void **state)
{
    fixture *f = *state;
    expect_computed(f, tc_mul(f->x, number(f, TC_F32, 0)), "mul"); /* NaN times 0 is NaN */
    tc_value rows = tc_cast(f->x, TC_I32);
    expect_computed(f, tc_mul(rows, number(f, TC_I32, 0)), "zeros_like");
    expect_computed(f, tc_mul(f->i, number(f, TC_I32, 0)), "constant");
    expect_computed(f, tc_mul(tc_fill(f->graph, TC_I32, TC_SHAPE(2, 1), 0), f->i), "constant");
    assert_int_equal(fetch_node(f->program, 0)->outputs[0].shape.dims[0].size, 2);
    tc_value wide = tc_expand(f->i, TC_SHAPE(5000, 4));
    expect_computed(f, tc_mul(wide, number(f, TC_I32, 0)), "fill"); /* too large to make now */
    /* Larger than both operands, by an amount that nobody knows. */
    tc_value column = tc_fill(f->graph, TC_I32, TC_SHAPE(1, 1, 1), 0);
    expect_computed(f, tc_mul(rows, column), "mul");
}

static void test_simplify_identities(void **state)
{
    fixture *f = *state;
    tc_value x = f->x;
    expect_same(f, tc_identity(x), "x");
    expect_same(f, tc_stop_gradient(tc_identity(x)), "x");
    expect_same(f, tc_neg(tc_neg(x)), "x");
    expect_computed(f, tc_neg(tc_neg(tc_neg(x))), "neg");
    expect_same(f, tc_cast(x, TC_F32), "x");
    expect_computed(f, tc_cast(x, TC_F64), "cast");
    expect_computed(f, tc_cast(tc_cast(x, TC_F16), TC_F32), "cast"); /* rounds */
    expect_same(f, tc_expand(x, TC_SHAPE(-1, 4)), "x");
    expect_same(f, tc_expand_like(x, tc_exp(x)), "x");
    expect_computed(f, tc_expand_like(f->i, tc_cast(x, TC_I32)), "expand_like");
    expect_same(f, tc_sum_to_like(x, tc_exp(x)), "x");
    expect_same(f, tc_dropout(x, 0, .mode = TC_MODE_TRAINING), "x");
    expect_same(f, tc_concat(TC_VALUES(x), 0), "x");
    expect_same(f, tc_slice(f->i, TC_INTS(0), TC_INTS(4)), "i");
    expect_computed(f, tc_slice(f->i, TC_INTS(-1), TC_INTS(TC_TO_END), .strides = TC_INTS(-1)),
                    "slice");
    expect_computed(f, tc_slice(f->i, TC_INTS(1), TC_INTS(4)), "slice");
    expect_same(f, tc_pad(x, TC_INTS(0, 0), TC_INTS(0, 0)), "x");
}

static void test_simplify_transpose(void **state)
{
    fixture *f = *state;
    tc_value t = tc_placeholder(f->graph, "t", TC_F32, TC_SHAPE(2, 3, 5));
    request_feed(&f->r, t);
    expect_same(f, tc_transpose(tc_transpose(f->x)), "x");
    expect_same(f, tc_transpose(t, .permutation = TC_INTS(0, 1, -1)), "t");
    tc_value y = tc_transpose(tc_transpose(t, .permutation = TC_INTS(1, 2, 0)),
                              .permutation = TC_INTS(1, 2, 0));
    expect_computed(f, y, "transpose");
    const tc_node *node = fetch_node(f->program, 0);
    assert_int_equal(node->inputs[0].node, f->program->feeds[2].node);
    int32_t count;
    const int64_t *composed = tc_attrs_ints(&node->attrs, "permutation", &count);
    assert_int_equal(count, 3);
    assert_true(composed[0] == 2 && composed[1] == 0 && composed[2] == 1);
    assert_int_equal(node->outputs[0].shape.dims[0].size, 5);
    assert_int_equal(node->outputs[0].shape.dims[1].size, 2);
    expect_same(f, tc_transpose(y, .permutation = TC_INTS(1, 2, 0)), "t");
}

static void test_simplify_views(void **state)
{
    fixture *f = *state;
    tc_value x = f->x;
    expect_same(f, tc_reshape(x, TC_SHAPE(TC_DIM("batch"), 4)), "x");
    expect_same(f, tc_squeeze(tc_unsqueeze(x, TC_INTS(1)), .axes = TC_INTS(1)), "x");
    expect_same(f, tc_reshape_like(tc_reshape(x, TC_SHAPE(-1)), x), "x");
    expect_computed(f, tc_reshape(tc_reshape(x, TC_SHAPE(2, -1)), TC_SHAPE(-1)), "reshape");
    assert_int_equal(fetch_node(f->program, 0)->inputs[0].node, f->program->feeds[0].node);
    assert_int_equal(node_count(f), 2);
    /* "batch" is a dimension of what is between. */
    tc_value m = tc_reshape(x, TC_SHAPE(2, 2, TC_DIM("batch")));
    expect_computed(f, tc_reshape(m, TC_SHAPE(TC_DIM("batch"), 2, 2)), "reshape");
    tc_plan_release(plan_ok(f->program, (tc_shape[]){TC_SHAPE(6, 4), TC_SHAPE(4)}, &f->target));
}

/*
 * cse
 */
static void test_cse(void **state)
{
    fixture *f = *state;
    tc_value x = f->x, i = f->i;
    tc_value y = tc_cast(i, TC_F32);
    request_fetch(&f->r, tc_add(tc_exp(x), y));
    request_fetch(&f->r, tc_add(y, tc_exp(x))); /* commutative */
    request_fetch(&f->r, tc_sub(tc_exp(x), y));
    request_fetch(&f->r, tc_sub(y, tc_exp(x))); /* not */
    request_fetch(&f->r, tc_reduce_sum(x, .axes = TC_INTS(0)));
    request_fetch(&f->r, tc_reduce_sum(x, .axes = TC_INTS(1)));
    request_fetch(&f->r, tc_random_uniform(f->graph, TC_F32, TC_SHAPE(4), .stream = 5));
    request_fetch(&f->r, tc_random_uniform(f->graph, TC_F32, TC_SHAPE(4), .stream = 5));
    request_fetch(&f->r, tc_random_uniform(f->graph, TC_F32, TC_SHAPE(4)));
    compile(f);
    const tc_edge *e = f->program->fetches;
    assert_int_equal(e[0].node, e[1].node);
    assert_int_not_equal(e[2].node, e[3].node);
    assert_int_not_equal(e[4].node, e[5].node);
    assert_int_equal(e[6].node, e[7].node);
    assert_int_not_equal(e[6].node, e[8].node);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 1);
}

static void test_cse_leaves(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_value w = tc_variable(f->graph, "w", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_value c = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, 3, 4}));
    tc_value same = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, 3, 4}));
    tc_value bits = tc_constant_data(f->graph, TC_F32, TC_SHAPE(2, 2), ((float[]){1, 2, 3, 4}));
    request_fetch(&f->r, tc_exp(v));
    request_fetch(&f->r, tc_exp(w));
    request_fetch(&f->r, tc_assign_add(v, c));
    request_fetch(&f->r, tc_assign_add(v, same)); /* twice is not once */
    request_fetch(&f->r, bits);
    f->target.target.device_count = 2;
    tc_device_push(f->graph, "cuda:0");
    request_fetch(&f->r, tc_exp(v)); /* equal, but somewhere else */
    tc_device_pop(f->graph);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "variable"), 2);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 3);
    assert_int_equal(count_nodes(f->program->graph, "assign_add"), 2);
    assert_int_equal(count_nodes(f->program->graph, "constant"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fold),
        TEST(test_not_folded),
        TEST(test_fold_fails),
        TEST(test_fold_known_sizes),
        TEST(test_fold_budget),
        TEST(test_fold_nothing),
        TEST(test_simplify_neutral),
        TEST(test_simplify_zero),
        TEST(test_simplify_identities),
        TEST(test_simplify_transpose),
        TEST(test_simplify_views),
        TEST(test_cse),
        TEST(test_cse_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
