/* Corners in which optimized programs once gave other results than the graph as it was built. */
#include "compiler/same_results.h"

#define BASIC TC_OPTIMIZATION_BASIC
#define FULL  TC_OPTIMIZATION_FULL

static tc_tensor *run_at(tc_graph *graph, tc_optimization level, const tc_feed *feeds, size_t n,
                         tc_value y)
{
    tc_session *session;
    tc_tensor *out = NULL;
    const tc_session_options options = {.struct_size = sizeof options, .optimization = level};
    assert_ok(tc_session_create(graph, &options, &session));
    assert_ok(tc_session_run(session, feeds, n, &y, 1, NULL, 0, &out, NULL));
    tc_session_release(session);
    return out;
}

/* The same bits at `level` and without optimization; within `tolerance` when that is not 0. */
static void expect_unchanged(tc_graph *graph, tc_optimization level, const tc_feed *feeds, size_t n,
                             tc_value y, double tolerance)
{
    assert_ok(tc_graph_status(graph));
    tc_tensor *built = run_at(graph, TC_OPTIMIZATION_NONE, feeds, n, y);
    tc_tensor *made = run_at(graph, level, feeds, n, y);
    assert_int_equal(tc_tensor_bytes(made), tc_tensor_bytes(built));
    if (tolerance == 0)
        assert_memory_equal(tc_tensor_data(made), tc_tensor_data(built), tc_tensor_bytes(built));
    for (int64_t i = 0; tolerance > 0 && i < tc_tensor_size(built); i++) {
        double a = tc_tensor_get(made, i), b = tc_tensor_get(built, i);
        assert_true(fabs(a - b) <= tolerance * fmax(1, fabs(b)));
    }
    tc_tensor_release(built);
    tc_tensor_release(made);
}

/* Integers that doubles do not tell apart are not one number, and keep their bits. */
static void test_large_integers(void **state)
{
    static const int64_t constants[][2] = {{(int64_t)1 << 53, ((int64_t)1 << 53) + 1},
                                           {INT64_MAX - 5, INT64_MAX - 5},
                                           {INT64_MIN, INT64_MIN + 1}};
    for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", TC_I64, TC_SHAPE(2));
        tc_value c = tc_constant_data(g, TC_I64, TC_SHAPE(2), constants[i]);
        tc_feed feed = {x, same_input(TC_I64, TC_SHAPE(2))};
        expect_unchanged(g, FULL, &feed, 1, tc_add(x, c), 0);
        expect_unchanged(g, FULL, &feed, 1, tc_maximum(x, c), 0);
        expect_unchanged(g, BASIC, &feed, 1, tc_where(tc_equal(x, x), c, x), 0);
        tc_tensor_release(feed.tensor);
        tc_graph_release(g);
    }
    (void)state;
}

/* What does not fit is cut off between integers, but limited where a float is converted. */
static void test_casts(void **state)
{
    static const tc_dtype dtypes[] = {TC_I8,  TC_I16, TC_I32, TC_I64,  TC_U8,  TC_U16, TC_U32,
                                      TC_U64, TC_F16, TC_F32, TC_BF16, TC_F64, TC_BOOL};
    enum { COUNT = sizeof dtypes / sizeof dtypes[0] };
    static const double numbers[] = {0, 1, 100, 1000, 70000, 3e9};
    for (int i = 0; i < COUNT * COUNT; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", dtypes[i / COUNT], TC_SHAPE(12));
        tc_feed feed = {x, same_input(dtypes[i / COUNT], TC_SHAPE(12))};
        for (int k = 0; k < 12; k++)
            assert_ok(tc_tensor_set(feed.tensor, k, k % 2 ? -numbers[k / 2] : numbers[k / 2]));
        tc_value y = tc_cast(x, dtypes[i % COUNT]);
        for (int k = 0; k < COUNT; k++)
            expect_unchanged(g, BASIC, &feed, 1, tc_cast(y, dtypes[k]), 0);
        tc_tensor_release(feed.tensor);
        tc_graph_release(g);
    }
    (void)state;
}

/* A vector that is multiplied with every row is as long as the sums of the rows, which must not be
 * written where it lies. */
static void test_square_row_sums(void **state)
{
    static const int64_t sizes[] = {8, 300, 2048};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int64_t n = sizes[i];
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(n, n));
        tc_value v = tc_placeholder(g, "v", TC_F32, TC_SHAPE(n));
        tc_value sums = tc_reduce_sum(tc_mul(x, tc_softmax(v)), .axes = TC_INTS(1));
        const tc_feed feeds[] = {{x, same_input(TC_F32, TC_SHAPE(n, n))},
                                 {v, same_input(TC_F32, TC_SHAPE(n))}};
        expect_unchanged(g, FULL, feeds, 2, tc_softmax(sums), 1e-5);
        tc_tensor_release(feeds[0].tensor);
        tc_tensor_release(feeds[1].tensor);
        tc_graph_release(g);
    }
    (void)state;
}

/* Strides whose product is no number: they matter for more than one element alone. */
static void test_huge_strides(void **state)
{
    static const int64_t strides[] = {(int64_t)1 << 32, INT64_MAX, 3};
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(10));
    tc_feed feed = {x, same_input(TC_F32, TC_SHAPE(10))};
    for (int i = 0; i < 9; i++) {
        tc_value inner = tc_slice(x, TC_INTS(1), TC_INTS(9), .strides = TC_INTS(strides[i / 3]));
        tc_value ahead =
            tc_slice(inner, TC_INTS(0), TC_INTS(INT64_MAX), .strides = TC_INTS(strides[i % 3]));
        tc_value back =
            tc_slice(inner, TC_INTS(-1), TC_INTS(INT64_MAX), .strides = TC_INTS(-strides[i % 3]));
        expect_unchanged(g, BASIC, &feed, 1, ahead, 0);
        expect_unchanged(g, BASIC, &feed, 1, back, 0);
    }
    tc_tensor_release(feed.tensor);
    tc_graph_release(g);
    (void)state;
}

/* Factors whose product is no number are not taken into attention. */
static void test_attention_factors(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value q = tc_placeholder(g, "q", TC_F64, TC_SHAPE(1, 2, 5, 4));
    tc_value huge = tc_constant_scalar(g, TC_F64, 1e200);
    tc_value tiny = tc_constant_scalar(g, TC_F64, 1e-300);
    tc_value scaled = tc_mul(tc_mul(tc_mul(q, tiny), huge), huge);
    tc_value keys = tc_transpose(q, .permutation = TC_INTS(0, 1, 3, 2));
    tc_value scores = tc_matmul(scaled, keys);
    tc_feed feed = {q, same_input(TC_F64, TC_SHAPE(1, 2, 5, 4))};
    expect_unchanged(g, FULL, &feed, 1, tc_matmul(tc_softmax(scores), q), 1e-9);
    tc_tensor_release(feed.tensor);
    tc_graph_release(g);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_integers),    cmocka_unit_test(test_casts),
        cmocka_unit_test(test_square_row_sums),   cmocka_unit_test(test_huge_strides),
        cmocka_unit_test(test_attention_factors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
