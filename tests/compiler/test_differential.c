/*
 * Random programs run through sessions with all optional passes and with none give the same bits,
 * run after run: outputs, and the contents of variables. A failing seed is found again by giving it
 * as the only argument.
 */
#include "support/test.h"

#include <tensorc/tensorc.h>

#include "base/alloc.h"

#define SIDE     4
#define ELEMENTS (SIDE * SIDE)

typedef struct generator {
    uint64_t state;
    tc_graph *graph;
    tc_value values[160]; /* f32 [4, 4] or [n, 4] with n fed as 4 */
    tc_value integers[40];
    tc_value variables[4];
    tc_value updates[40];
    int n_values, n_integers, n_variables, n_updates;
} generator;

static uint32_t pick(generator *g, int count)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return (uint32_t)(g->state >> 33) % (uint32_t)count;
}

static tc_value any_value(generator *g)
{
    return g->values[pick(g, g->n_values)];
}

static tc_value any_integer(generator *g)
{
    return g->integers[pick(g, g->n_integers)];
}

/* Constants that rules look for, and others. */
static tc_value number(generator *g, tc_dtype dtype)
{
    static const double numbers[] = {0, 1, -0.0, 2, -3};
    double value = numbers[pick(g, 5)];
    if (pick(g, 2))
        return tc_constant_scalar(g->graph, dtype, value);
    return tc_fill(g->graph, dtype, TC_SHAPE(SIDE, SIDE), value);
}

static tc_value unary(generator *g, tc_value x)
{
    switch (pick(g, 12)) {
    case 0: return tc_neg(x);
    case 1: return tc_neg(tc_neg(x));
    case 2: return tc_tanh(x);
    case 3: return tc_sigmoid(x);
    case 4: return tc_transpose(tc_transpose(x));
    case 5: return tc_reshape(tc_reshape(x, TC_SHAPE(-1)), TC_SHAPE(SIDE, SIDE));
    case 6: return tc_softmax(x);
    case 7: return tc_identity(tc_stop_gradient(x));
    case 8: return tc_dropout(x, 0.5);
    case 9: return tc_sum_to_like(tc_expand(x, TC_SHAPE(1, -1, SIDE)), x);
    case 10: return tc_reduce_sum(x, .axes = TC_INTS(1), .keep_dims = true);
    default: return tc_transpose(x);
    }
}

static tc_value binary(generator *g, tc_value a, tc_value b)
{
    switch (pick(g, 6)) {
    case 0: return tc_add(a, b);
    case 1: return tc_sub(a, b);
    case 2: return tc_mul(a, b);
    case 3: return tc_maximum(a, b);
    case 4: return tc_where(tc_less(a, b), a, b);
    default: return tc_matmul(a, b);
    }
}

/* Values stay [4, 4]: what is smaller is broadcast again. */
static tc_value square(generator *g, tc_value x)
{
    return tc_reshape(tc_expand(x, TC_SHAPE(SIDE, SIDE)), TC_SHAPE(SIDE, SIDE));
}

static tc_value write(generator *g)
{
    tc_value variable = g->variables[pick(g, g->n_variables)];
    /* Kept small, so that nothing becomes infinite after a few runs. */
    tc_value content =
        pick(g, 3) ? tc_tanh(square(g, any_value(g))) : g->variables[pick(g, g->n_variables)];
    switch (pick(g, 3)) {
    case 0: return tc_assign(variable, content);
    case 1: return tc_assign_add(variable, content);
    default: return tc_assign_sub(variable, content);
    }
}

static void add_integer(generator *g)
{
    tc_value a = any_integer(g), b = pick(g, 2) ? any_integer(g) : number(g, TC_I32);
    tc_value y = pick(g, 3) == 0 ? tc_mul(a, b) : pick(g, 2) ? tc_add(b, a) : tc_sub(a, b);
    g->integers[g->n_integers++] = y;
    g->values[g->n_values++] = tc_tanh(tc_cast(y, TC_F32));
}

static void add_node(generator *g)
{
    tc_value y;
    switch (pick(g, 8)) {
    case 0:
    case 1: y = square(g, unary(g, any_value(g))); break;
    case 2: y = binary(g, any_value(g), any_value(g)); break;
    case 3: y = binary(g, any_value(g), square(g, number(g, TC_F32))); break;
    case 4: y = tc_mul(number(g, TC_F32), any_value(g)); break;
    case 5: y = tc_call(g->graph, "block", TC_VALUES(any_value(g))); break;
    case 6: add_integer(g); return;
    default:
        y = write(g);
        g->updates[g->n_updates++] = y;
        if (pick(g, 2))
            return;
    }
    g->values[g->n_values++] = square(g, tc_tanh(y));
}

static void make_function(generator *g)
{
    tc_graph *body = tc_function_begin(g->graph, "block");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, SIDE));
    tc_value noise = tc_random_normal(body, TC_F32, TC_SHAPE(SIDE));
    tc_function_end(body, TC_VALUES(tc_dropout(tc_mul(tc_add(p, noise), any_value(g)), 0.3)));
}

static void build(generator *g)
{
    g->graph = tc_graph_create();
    g->values[g->n_values++] = tc_placeholder(g->graph, "x", TC_F32, TC_SHAPE(TC_DIM("n"), SIDE));
    g->integers[g->n_integers++] =
        tc_placeholder(g->graph, "i", TC_I32, TC_SHAPE(SIDE, TC_DIM("n")));
    g->values[g->n_values++] = tc_random_uniform(g->graph, TC_F32, TC_SHAPE(SIDE, SIDE));
    g->n_variables = 1 + (int)pick(g, 4);
    for (int i = 0; i < g->n_variables; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        tc_value initial = tc_random_uniform(g->graph, TC_F32, TC_SHAPE(SIDE, SIDE));
        g->variables[i] = tc_variable(g->graph, name, initial);
        g->values[g->n_values++] = g->variables[i];
    }
    make_function(g);
    int nodes = 3 + (int)pick(g, 30);
    for (int i = 0; i < nodes; i++)
        add_node(g);
    if (pick(g, 2) && g->n_values > 8) { /* and gradients of some of it */
        tc_value y = tc_reduce_sum(tc_square(g->values[g->n_values - 1])), gradient;
        tc_value x = g->values[pick(g, 4)];
        if (tc_gradients(TC_VALUES(y), TC_VALUES(x), &gradient, .zero_unconnected = true) == TC_OK)
            g->values[g->n_values++] = gradient;
    }
    assert_ok(tc_graph_status(g->graph));
}

enum { MAX_FETCHES = 8, RUNS = 3 };

typedef struct request {
    tc_value fetches[MAX_FETCHES], targets[40];
    size_t n_fetches, n_targets;
} request;

/* Everything that can be seen of a few runs, in `seen`: outputs and then variables. */
static void observe(generator *g, const request *r, const char *disable, tc_tensor *x, tc_tensor *i,
                    tc_tensor *seen[RUNS][MAX_FETCHES + 4])
{
    tc_session *session;
    const tc_session_options options = {.struct_size = sizeof options, .disable_passes = disable};
    const tc_feed feeds[] = {{g->values[0], x}, {g->integers[0], i}};
    assert_ok(tc_session_create(g->graph, &options, &session));
    assert_ok(tc_session_initialize(session));
    for (int run = 0; run < RUNS; run++) {
        assert_ok(tc_session_run(session, feeds, 2, r->fetches, r->n_fetches, r->targets,
                                 r->n_targets, seen[run], NULL));
        for (int v = 0; v < g->n_variables; v++) {
            char name[16];
            snprintf(name, sizeof name, "v%d", v);
            assert_ok(tc_store_read(tc_session_store(session), name, &seen[run][MAX_FETCHES + v]));
        }
    }
    tc_session_release(session);
}

static void check_equal(uint64_t seed, tc_tensor *a, tc_tensor *b, int run, int index)
{
    assert_true(!a == !b);
    if (!a)
        return;
    assert_int_equal(tc_tensor_bytes(a), tc_tensor_bytes(b));
    if (memcmp(tc_tensor_data(a), tc_tensor_data(b), tc_tensor_bytes(a)) == 0)
        return;
    print_error("seed %llu, run %d, result %d differs:\n", (unsigned long long)seed, run, index);
    assert_ok(tc_tensor_print(a, stderr));
    assert_ok(tc_tensor_print(b, stderr));
    fail();
}

static void check_seed(uint64_t seed)
{
    generator g = {.state = seed * 0x9E3779B97F4A7C15u + 1};
    request r = {0};
    build(&g);
    r.n_fetches = pick(&g, MAX_FETCHES + 1);
    for (size_t k = 0; k < r.n_fetches; k++)
        r.fetches[k] = any_value(&g);
    for (int k = 0; k < g.n_updates; k++)
        if (pick(&g, 2))
            r.targets[r.n_targets++] = g.updates[k];
    tc_tensor *x, *i;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(SIDE, SIDE), &x));
    assert_ok(tc_tensor_create(TC_I32, TC_SHAPE(SIDE, SIDE), &i));
    for (int k = 0; k < ELEMENTS; k++) {
        assert_ok(tc_tensor_set(x, k, (double)pick(&g, 2000) / 1000 - 1));
        assert_ok(tc_tensor_set(i, k, (double)pick(&g, 7) - 3));
    }
    tc_tensor *with[RUNS][MAX_FETCHES + 4] = {0}, *without[RUNS][MAX_FETCHES + 4] = {0};
    observe(&g, &r, NULL, x, i, with);
    observe(&g, &r, "all", x, i, without);
    for (int run = 0; run < RUNS; run++)
        for (int k = 0; k < MAX_FETCHES + 4; k++) {
            check_equal(seed, with[run][k], without[run][k], run, k);
            tc_tensor_release(with[run][k]);
            tc_tensor_release(without[run][k]);
        }
    tc_tensor_release(x);
    tc_tensor_release(i);
    tc_graph_release(g.graph);
}

static uint64_t first_seed = 1, last_seed = TEST_SANITIZED ? 40 : 400;

static void test_passes_change_nothing(void **state)
{
    for (uint64_t seed = first_seed; seed <= last_seed; seed++)
        check_seed(seed);
}

/* y = tanh(x w) w twice, by a function that is called and by hand; and the gradient of its sum for
 * w. */
static tc_value layer(tc_value x, tc_value w)
{
    return tc_matmul(tc_tanh(tc_matmul(x, w)), w);
}

static void test_gradients_through_calls(void **state)
{
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(-1, SIDE));
    tc_value w = tc_variable(graph, "w", tc_random_normal(graph, TC_F32, TC_SHAPE(SIDE, SIDE)));
    tc_graph *body = tc_function_begin(graph, "layer");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, SIDE));
    tc_function_end(body, TC_VALUES(layer(p, w)));
    tc_graph *outer = tc_function_begin(graph, "twice");
    tc_value q = tc_parameter(outer, "q", TC_F32, TC_SHAPE(-1, SIDE));
    tc_function_end(outer, TC_VALUES(tc_call(outer, "layer",
                                             TC_VALUES(tc_call(outer, "layer", TC_VALUES(q))))));
    tc_value called = tc_reduce_sum(tc_call(graph, "twice", TC_VALUES(x)));
    tc_value written = tc_reduce_sum(layer(layer(x, w), w));
    tc_value fetches[4] = {called, written};
    assert_ok(tc_gradients(TC_VALUES(called), TC_VALUES(w), &fetches[2]));
    assert_ok(tc_gradients(TC_VALUES(written), TC_VALUES(w), &fetches[3]));
    static const char *const disabled[] = {NULL, "all", "cse", "simplify,fold"};
    for (size_t i = 0; i < sizeof disabled / sizeof disabled[0]; i++) {
        const tc_session_options options = {.struct_size = sizeof options,
                                            .disable_passes = disabled[i]};
        tc_session *session;
        tc_tensor *input, *outputs[4] = {0};
        assert_ok(tc_session_create(graph, &options, &session));
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(3, SIDE), &input));
        for (int k = 0; k < 3 * SIDE; k++)
            assert_ok(tc_tensor_set(input, k, 0.1 * k - 0.5));
        const tc_feed feed = {x, input};
        assert_ok(tc_session_run(session, &feed, 1, fetches, 4, TC_NO_TARGETS, outputs, NULL));
        assert_true(tc_tensor_get(outputs[0], 0) == tc_tensor_get(outputs[1], 0));
        for (int k = 0; k < ELEMENTS; k++) {
            double a = tc_tensor_get(outputs[2], k), b = tc_tensor_get(outputs[3], k);
            assert_true(a != 0 && a - b < 1e-5 && b - a < 1e-5);
        }
        for (int k = 0; k < 4; k++)
            tc_tensor_release(outputs[k]);
        tc_tensor_release(input);
        tc_session_release(session);
    }
    tc_graph_release(graph);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_passes_change_nothing),
                                       cmocka_unit_test(test_gradients_through_calls)};
    if (argc > 1)
        first_seed = last_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
