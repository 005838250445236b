/* The pass recognize_rows: what it takes for an operator and what not, with equal results. */
#include "compiler/same_results.h"

enum { ROWS = 5, COLUMNS = 12 };

/* What rows are written of. */
typedef struct inputs {
    tc_value x;             /* [rows, COLUMNS] */
    tc_value scale, offset; /* [COLUMNS] */
    tc_value extra;         /* a second fetch; graph NULL: none */
} inputs;

static tc_value number(tc_value like, double value)
{
    return tc_constant_scalar(like.graph, tc_value_dtype(like), value);
}

static tc_value total(tc_value x)
{
    return tc_reduce_sum(x, .axes = TC_INTS(-1), .keep_dims = true);
}

static tc_value mean(tc_value x)
{
    return tc_reduce_mean(x, .axes = TC_INTS(1), .keep_dims = true);
}

static tc_value below_max(tc_value x, int64_t axis)
{
    return tc_sub(x, tc_reduce_max(x, .axes = TC_INTS(axis), .keep_dims = true));
}

static tc_value softmax(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 1));
    return tc_div(e, total(e));
}

static tc_value softmax_of_columns(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 0));
    return tc_div(e, tc_reduce_sum(e, .axes = TC_INTS(-2), .keep_dims = true));
}

static tc_value softmax_f64(inputs *in)
{
    in->x = tc_cast(in->x, TC_F64);
    return softmax(in);
}

static tc_value softmax_f16(inputs *in)
{
    in->x = tc_cast(in->x, TC_F16);
    return softmax(in);
}

/* Overflows where the operator does not. */
static tc_value softmax_without_max(inputs *in)
{
    tc_value e = tc_exp(in->x);
    return tc_div(e, total(e));
}

static tc_value softmax_other_axis(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 0));
    return tc_div(e, total(e));
}

static tc_value softmax_both_axes(inputs *in)
{
    tc_value e =
        tc_exp(tc_sub(in->x, tc_reduce_max(in->x, .axes = TC_INTS(0, 1), .keep_dims = true)));
    return tc_div(e, tc_reduce_sum(e, .axes = TC_INTS(0, 1), .keep_dims = true));
}

static tc_value softmax_of_another(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 1));
    return tc_div(tc_exp(tc_neg(in->x)), total(e));
}

static tc_value softmax_max_of_another(inputs *in)
{
    tc_value max = tc_reduce_max(tc_abs(in->x), .axes = TC_INTS(1), .keep_dims = true);
    tc_value e = tc_exp(tc_sub(in->x, max));
    return tc_div(e, total(e));
}

static tc_value softmax_read_inside(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 1));
    in->extra = tc_neg(e);
    return tc_div(e, total(e));
}

static tc_value softmax_fetched_inside(inputs *in)
{
    tc_value e = tc_exp(below_max(in->x, 1));
    in->extra = total(e);
    return tc_div(e, in->extra);
}

static tc_value log_softmax(inputs *in)
{
    tc_value d = below_max(in->x, 1);
    return tc_sub(d, tc_log(total(tc_exp(d))));
}

static tc_value log_softmax_turned(inputs *in)
{
    tc_value d = below_max(in->x, 1);
    return tc_sub(tc_log(total(tc_exp(d))), d);
}

static tc_value log_softmax_in_two(inputs *in)
{
    return tc_log(tc_add(softmax(in), number(in->x, 1)));
}

static tc_value variance(tc_value d)
{
    return tc_add(mean(tc_square(d)), number(d, 1e-3));
}

static tc_value centered(inputs *in)
{
    return tc_sub(in->x, mean(in->x));
}

static tc_value normal(inputs *in)
{
    tc_value d = centered(in);
    return tc_mul(d, tc_rsqrt(variance(d)));
}

static tc_value layer_norm(inputs *in)
{
    return tc_add(tc_mul(normal(in), in->scale), in->offset);
}

static tc_value layer_norm_turned(inputs *in)
{
    tc_value d = centered(in);
    tc_value deviation = tc_sqrt(tc_add(number(d, 1e-3), mean(tc_mul(d, d))));
    return tc_add(in->offset, tc_mul(in->scale, tc_div(d, deviation)));
}

static tc_value layer_norm_reciprocal(inputs *in)
{
    tc_value d = centered(in);
    return tc_add(tc_mul(tc_reciprocal(tc_sqrt(variance(d))), d), in->offset);
}

static tc_value layer_norm_everything(inputs *in)
{
    tc_value mu = tc_reduce_mean(in->x, .keep_dims = true), d = tc_sub(in->x, mu);
    tc_value v = tc_add(tc_reduce_mean(tc_square(d), .keep_dims = true), number(d, 1e-3));
    return tc_mul(d, tc_rsqrt(v));
}

/* The factor is no parameter of the operator: it stays behind it. */
static tc_value layer_norm_times_number(inputs *in)
{
    return tc_mul(normal(in), in->x);
}

static tc_value norm_twice(inputs *in)
{
    in->x = tc_relu(layer_norm(in));
    return layer_norm(in);
}

static tc_value no_mean(inputs *in)
{
    return tc_mul(in->x, tc_rsqrt(variance(in->x)));
}

static tc_value other_variance(inputs *in)
{
    tc_value d = centered(in);
    return tc_mul(d, tc_rsqrt(variance(in->x)));
}

static tc_value variance_of_columns(inputs *in)
{
    tc_value d = centered(in);
    tc_value v = tc_reduce_mean(tc_square(d), .axes = TC_INTS(0), .keep_dims = true);
    return tc_mul(d, tc_rsqrt(tc_add(v, number(d, 1e-3))));
}

static tc_value columns_normalized(inputs *in)
{
    tc_value mu = tc_reduce_mean(in->x, .axes = TC_INTS(0), .keep_dims = true);
    tc_value d = tc_sub(in->x, mu);
    tc_value v = tc_reduce_mean(tc_square(d), .axes = TC_INTS(0), .keep_dims = true);
    return tc_mul(d, tc_rsqrt(tc_add(v, number(d, 1e-3))));
}

static tc_value no_epsilon(inputs *in)
{
    tc_value d = centered(in);
    return tc_mul(d, tc_rsqrt(tc_add(mean(tc_square(d)), tc_square(total(in->x)))));
}

static tc_value deviation_read(inputs *in)
{
    tc_value d = centered(in);
    in->extra = tc_rsqrt(variance(d));
    return tc_mul(d, in->extra);
}

static tc_value distance_read(inputs *in)
{
    tc_value d = centered(in);
    in->extra = tc_neg(d);
    return tc_mul(d, tc_rsqrt(variance(d)));
}

/* Ways of writing rows: the operator that a program has in the end and how often, and operators
 * that it has no more. */
static const struct way {
    const char *name;
    tc_value (*build)(inputs *in);
    const char *op;
    int found;
    int parameters; /* of layer_norm */
} ways[] = {
#define TAKEN(name, op, found, parameters) \
    {                                      \
#name, name, op, found, parameters \
    }
#define LEFT(name, op)        \
    {                         \
#name, name, op, 0, 0 \
    }
    TAKEN(softmax, "softmax", 1, 0),
    TAKEN(softmax_of_columns, "softmax", 1, 0),
    TAKEN(softmax_f64, "softmax", 1, 0),
    LEFT(softmax_f16, "softmax"),
    LEFT(softmax_without_max, "softmax"),
    LEFT(softmax_other_axis, "softmax"),
    LEFT(softmax_both_axes, "softmax"),
    LEFT(softmax_of_another, "softmax"),
    LEFT(softmax_max_of_another, "softmax"),
    LEFT(softmax_read_inside, "softmax"),
    LEFT(softmax_fetched_inside, "softmax"),
    TAKEN(log_softmax, "log_softmax", 1, 0),
    LEFT(log_softmax_turned, "log_softmax"),
    TAKEN(log_softmax_in_two, "softmax", 1, 0),
    TAKEN(normal, "layer_norm", 1, 0),
    TAKEN(layer_norm, "layer_norm", 1, 2),
    TAKEN(layer_norm_turned, "layer_norm", 1, 2),
    TAKEN(layer_norm_reciprocal, "layer_norm", 1, 1),
    TAKEN(layer_norm_everything, "layer_norm", 1, 0),
    TAKEN(layer_norm_times_number, "layer_norm", 1, 0),
    TAKEN(norm_twice, "layer_norm", 2, 2),
    LEFT(no_mean, "layer_norm"),
    LEFT(other_variance, "layer_norm"),
    LEFT(variance_of_columns, "layer_norm"),
    LEFT(columns_normalized, "layer_norm"),
    LEFT(no_epsilon, "layer_norm"),
    LEFT(deviation_read, "layer_norm"),
    LEFT(distance_read, "layer_norm"),
#undef TAKEN
#undef LEFT
};

static void check_program(const struct way *w, tc_graph *g, tc_value x, tc_value y, tc_value extra)
{
    test_request r = {0};
    fake_target target = fake_target_make();
    request_feed(&r, x);
    request_fetch(&r, y);
    if (extra.graph)
        request_fetch(&r, extra);
    for (int off = 0; off < 2; off++) {
        r.request.disable_passes = off ? "recognize_rows" : NULL;
        tc_program *program = compile_ok(g, &r, &target);
        int count = count_nodes(program->graph, w->op);
        if (count != (off ? 0 : w->found))
            fail_msg("%s: %d nodes of %s", w->name, count, w->op);
        for (size_t i = 0; i < program->graph->nodes.count; i++) {
            const tc_node *node = program->graph->nodes.data[i];
            if (!tc_node_is(node, "layer_norm"))
                continue;
            int parameters = (node->inputs[1].node >= 0) + (node->inputs[2].node >= 0);
            assert_int_equal(parameters, w->parameters);
            assert_float_equal(tc_attrs_float(&node->attrs, "epsilon"), 1e-3, 1e-9);
        }
        tc_program_release(program);
    }
}

static void check_ways(tc_dim rows)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(rows, COLUMNS));
        inputs in = {.x = x};
        float numbers[2][COLUMNS];
        for (int c = 0; c < COLUMNS; c++) {
            numbers[0][c] = 1 + (float)c / 8;
            numbers[1][c] = (float)(c % 5) - 2;
        }
        in.scale = tc_constant_data(g, TC_F32, TC_SHAPE(COLUMNS), numbers[0]);
        in.offset = tc_constant_data(g, TC_F32, TC_SHAPE(COLUMNS), numbers[1]);
        tc_value y = ways[i].build(&in);
        assert_ok(tc_graph_status(g));
        check_program(&ways[i], g, x, y, in.extra);
        expect_same_results(g, "recognize_rows", x, TC_SHAPE(ROWS, COLUMNS), &y, 1, TC_NO_VALUE,
                            ways[i].build == softmax_f16 ? 1e-3 : 1e-6);
        tc_graph_release(g);
    }
}

static void test_known(void **state)
{
    (void)state;
    check_ways((tc_dim){ROWS, NULL});
}

static void test_symbolic(void **state)
{
    (void)state;
    check_ways(TC_DIM("rows"));
}

/* Gradients read what lies between. */
static void test_training(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    inputs in = {.x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(ROWS, COLUMNS))};
    tc_value y = softmax(&in), loss = tc_reduce_sum(tc_square(y)), dx;
    assert_ok(tc_gradients(TC_VALUES(loss), TC_VALUES(in.x), &dx));
    const tc_value fetches[] = {y, dx};
    expect_same_results(g, "recognize_rows", in.x, TC_SHAPE(ROWS, COLUMNS), fetches, 2, TC_NO_VALUE,
                        1e-6);
    tc_graph_release(g);
}

/* A softmax written out between products is attention. */
static void test_attention(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value q = tc_placeholder(g, "q", TC_F32, TC_SHAPE(2, 3, COLUMNS));
    inputs in = {.x = tc_matmul(q, q, .transpose_b = true)};
    tc_value e = tc_exp(below_max(in.x, -1)), y = tc_matmul(tc_div(e, total(e)), q);
    test_request r = {0};
    fake_target target = fake_target_make();
    request_feed(&r, q);
    request_fetch(&r, y);
    tc_program *program = compile_ok(g, &r, &target);
    assert_int_equal(count_nodes(program->graph, "attention"), 1);
    tc_program_release(program);
    expect_same_results(g, "recognize_rows", q, TC_SHAPE(2, 3, COLUMNS), &y, 1, TC_NO_VALUE, 1e-5);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_symbolic),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_attention),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
