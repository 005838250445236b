/* Storing intermediate results in 16 bits: which ones, with how many casts, and that training still
 * learns with less memory. */
#include <math.h>

#include "compiler/passes_test.h"

static void compile_narrow(fixture *f)
{
    only_passes(f, "simplify fold cse precision");
    f->r.request.precision = TC_BF16;
    compile(f);
}

static tc_value weights(fixture *f, const char *name, int64_t rows, int64_t columns)
{
    return tc_variable(
        f->graph, name,
        tc_random_normal(f->graph, TC_F32, TC_SHAPE(rows, columns), .stddev = TC_SOME(0.1)));
}

static tc_dtype dtype_of(const fixture *f, const char *op, int output)
{
    for (size_t i = 0; i < f->program->graph->nodes.count; i++)
        if (tc_node_is(f->program->graph->nodes.data[i], op))
            return f->program->graph->nodes.data[i]->outputs[output].dtype;
    return TC_DTYPE_INVALID;
}

static void test_dtypes(void **state)
{
    fixture *f = *state;
    tc_value x = tc_exp(f->x),
             bias = tc_constant_data(f->graph, TC_F32, TC_SHAPE(4), ((float[]){1, 2, 3, 4}));
    tc_value h = tc_relu(tc_bias_add(tc_matmul(x, weights(f, "a", 4, 4)), bias));
    tc_value y = tc_matmul(tc_transpose(h), tc_sigmoid(h));
    request_fetch(&f->r, tc_softmax(y));
    request_fetch(&f->r, h);
    compile_narrow(f);
    static const struct {
        const char *op;
        tc_dtype dtype;
    } expected[] = {{"exp", TC_F32},      {"matmul", TC_BF16},    {"bias_add", TC_BF16},
                    {"relu", TC_BF16},    {"transpose", TC_BF16}, {"sigmoid", TC_BF16},
                    {"softmax", TC_F32},  {"variable", TC_F32},   {"placeholder", TC_F32},
                    {"constant", TC_BF16}};
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        assert_int_equal(dtype_of(f, expected[i].op, 0), expected[i].dtype);
    /* x, the variable, before the softmax, the fetch; not the constant. */
    assert_int_equal(count_nodes(f->program->graph, "cast"), 4);
    for (int i = 0; i < 2; i++)
        assert_int_equal(tc_edge_info(f->program->graph, f->program->fetches[i])->dtype, TC_F32);
    tc_plan_release(plan_ok(f->program, (tc_shape[]){TC_SHAPE(6, 4), TC_SHAPE(4)}, &f->target));
    f->r.request.precision = TC_DTYPE_INVALID;
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "cast"), 0);
}

/* What is only moved and added stays as it is where nobody has 16 bits already, and statistics stay
 * f32. */
static void test_follows(void **state)
{
    fixture *f = *state;
    tc_value scale = tc_fill(f->graph, TC_F32, TC_SHAPE(4), 0.5);
    tc_value y = tc_layer_norm(tc_add(tc_relu(f->x), f->x), scale, TC_NO_VALUE);
    request_fetch(&f->r, y);
    compile_narrow(f);
    assert_int_equal(count_nodes(f->program->graph, "cast"), 0);
    f->r.request.n_fetches = 0;
    tc_value product = tc_matmul(f->x, weights(f, "a", 4, 4));
    tc_value normal = tc_layer_norm(tc_add(product, f->x), scale, TC_NO_VALUE);
    request_fetch(&f->r, tc_matmul(normal, weights(f, "b", 4, 4)));
    request_fetch(&f->r, tc_output(normal, 1));
    request_fetch(&f->r, tc_reduce_sum(product));
    request_fetch(&f->r, tc_reduce_sum(product, .axes = TC_INTS(0)));
    request_fetch(&f->r, tc_cast(product, TC_BF16));
    compile_narrow(f);
    assert_int_equal(dtype_of(f, "add", 0), TC_BF16);
    assert_int_equal(dtype_of(f, "layer_norm", 0), TC_BF16);
    assert_int_equal(dtype_of(f, "layer_norm", 1), TC_F32);
    const tc_graph *g = f->program->graph;
    assert_int_equal(fetch_node(f->program, 2)->outputs[0].dtype, TC_F32);
    assert_string_equal(fetch_node(f->program, 2)->attrs.op->name, "reduce_sum");
    assert_string_equal(fetch_node(f->program, 3)->attrs.op->name, "cast");
    assert_string_equal(fetch_node(f->program, 4)->attrs.op->name, "matmul");
    /* x, a, b; to the sums, one before and one after; the first fetch. */
    assert_int_equal(count_nodes(g, "cast"), 6);
    tc_plan_release(plan_ok(f->program, (tc_shape[]){TC_SHAPE(6, 4), TC_SHAPE(4)}, &f->target));
}

/* A note keeps a node as it is, and so does a constant that has no room in f16. */
static void test_stays(void **state)
{
    fixture *f = *state;
    tc_value product = tc_matmul(f->x, weights(f, "a", 4, 4));
    tc_value noted = tc_neg(product), scalar = tc_constant_scalar(f->graph, TC_F32, -1e9);
    tc_annotate(noted, "precision", "f32");
    request_fetch(&f->r, noted);
    request_fetch(&f->r, tc_maximum(product, scalar));
    static const tc_dtype precisions[] = {TC_BF16, TC_F16};
    for (int i = 0; i < 2; i++) {
        compile_narrow(f);
        f->r.request.precision = precisions[i];
        compile(f);
        assert_int_equal(dtype_of(f, "matmul", 0), precisions[i]);
        assert_int_equal(dtype_of(f, "neg", 0), TC_F32);
        assert_int_equal(dtype_of(f, "maximum", 0), i == 0 ? TC_BF16 : TC_F32);
    }
}

/* Of a tiny transformer. */
static tc_value block(tc_value x)
{
    x = tc_add(x, tc_multi_head_attention(tc_layer_norm_layer(x), 2, .causal = true));
    tc_value h = tc_dense(tc_layer_norm_layer(x), 32, .activation = TC_ACT_GELU);
    return tc_add(x, tc_dense(h, 16));
}

/*
 * Training
 */
typedef struct model {
    tc_graph *graph;
    tc_value x, labels, loss, train;
} model;

enum { CLASSES = 4, SIDE = 8 };

static model finish(model m, tc_value logits)
{
    m.labels = tc_placeholder(m.graph, "labels", TC_I64, TC_SHAPE(TC_DIM("n")));
    m.loss = tc_softmax_cross_entropy(logits, m.labels);
    m.train = tc_minimize(tc_adam(m.graph, .learning_rate = 2e-3f), m.loss);
    assert_ok(tc_graph_status(m.graph));
    return m;
}

static model make_perceptron(int64_t width, int layers)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("n"), SIDE * SIDE));
    tc_value h = tc_dense(m.x, width, .activation = TC_ACT_RELU, .name = "first");
    for (int i = 1; i < layers; i++) {
        char name[16];
        snprintf(name, sizeof name, "layer%d", i);
        h = tc_dense(h, width, .activation = TC_ACT_TANH, .name = name);
    }
    return finish(m, tc_dense(h, CLASSES, .name = "logits"));
}

static model make_lenet(void)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("n"), SIDE * SIDE));
    tc_value image = tc_reshape(m.x, TC_SHAPE(TC_DIM("n"), 1, SIDE, SIDE));
    tc_value w = tc_variable(
        m.graph, "w1",
        tc_random_normal(m.graph, TC_F32, TC_SHAPE(6, 1, 3, 3), .stddev = TC_SOME(0.3)));
    tc_value v = tc_variable(
        m.graph, "w2",
        tc_random_normal(m.graph, TC_F32, TC_SHAPE(8, 6, 3, 3), .stddev = TC_SOME(0.2)));
    tc_value h =
        tc_max_pool2d(tc_relu(tc_conv2d(image, w, .padding = TC_PADDING_SAME)), .kernel = {2, 2});
    h = tc_avg_pool2d(tc_relu(tc_conv2d(h, v, .padding = TC_PADDING_SAME)), .kernel = {2, 2});
    h = tc_dense(tc_flatten(h, 1), 24, .activation = TC_ACT_RELU, .name = "hidden");
    return finish(m, tc_dense(h, CLASSES, .name = "logits"));
}

static model make_transformer(void)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("n"), SIDE * SIDE));
    tc_value rows = tc_reshape(m.x, TC_SHAPE(TC_DIM("n"), SIDE, SIDE));
    tc_value h = block(block(tc_dense(rows, 16, .name = "embedding")));
    h = tc_reduce_mean(tc_layer_norm_layer(h), .axes = TC_INTS(1));
    return finish(m, tc_dense(h, CLASSES, .name = "logits"));
}

/* Images with a bright quarter, which is their class, in noise. */
static void make_batch(int64_t n, uint64_t seed, tc_tensor **x, tc_tensor **labels)
{
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(n, SIDE * SIDE), x));
    assert_ok(tc_tensor_create(TC_I64, TC_SHAPE(n), labels));
    float *pixels = tc_tensor_data(*x);
    int64_t *classes = tc_tensor_data(*labels);
    for (int64_t i = 0; i < n; i++) {
        classes[i] = (int64_t)(tc_hash_combine(seed, (uint64_t)i) % CLASSES);
        for (int64_t p = 0; p < SIDE * SIDE; p++) {
            double noise =
                (double)(tc_hash_combine(seed + 1, (uint64_t)(i * 64 + p)) % 1000) / 500 - 1;
            bool bright = (p / SIDE / 4) * 2 + p % SIDE / 4 == classes[i];
            pixels[i * SIDE * SIDE + p] = (float)(noise + (bright ? 0.8 : 0));
        }
    }
}

/* Loss after `steps` of training, and what the plan takes. */
static double train(const model *m, tc_dtype precision, int64_t batch, int steps,
                    tc_plan_info *info)
{
    const tc_session_options options = {.struct_size = sizeof options, .precision = precision};
    tc_session *session;
    tc_callable *callable;
    double loss = NAN;
    assert_ok(tc_session_create(m->graph, &options, &session));
    assert_ok(tc_session_compile(session, (tc_value[]){m->x, m->labels}, 2, &m->loss, 1, &m->train,
                                 1, NULL, &callable));
    assert_ok(tc_callable_plan(callable,
                               (tc_shape[]){TC_SHAPE(batch, SIDE * SIDE), TC_SHAPE(batch)}, info));
    for (int step = 0; step < steps; step++) {
        tc_tensor *feeds[2], *out = NULL;
        make_batch(batch, (uint64_t)(step % 8) + 1, &feeds[0], &feeds[1]);
        assert_ok(tc_callable_run(callable, feeds, &out, NULL));
        assert_int_equal(tc_tensor_dtype(out), TC_F32);
        loss = tc_tensor_get(out, 0);
        for (int i = 0; i < 2; i++)
            tc_tensor_release(feeds[i]);
        tc_tensor_release(out);
    }
    tc_callable_release(callable);
    tc_session_release(session);
    return loss;
}

/* After 30 steps losses differ by some percent at most. */
static void expect_parity(const model *m)
{
    tc_plan_info info;
    double wide = train(m, TC_DTYPE_INVALID, 64, 30, &info);
    double narrow = train(m, TC_BF16, 64, 30, &info), half = train(m, TC_F16, 64, 30, &info);
    print_message("after 30 steps %.4f with f32, %.4f with bf16, %.4f with f16\n", wide, narrow,
                  half);
    assert_true(narrow != wide && half != wide);
    assert_true(fabs(narrow - wide) < 0.05 * wide && fabs(half - wide) < 0.03 * wide);
}

static void expect_learns(model m, int steps)
{
    tc_plan_info info;
    expect_parity(&m);
    double first = train(&m, TC_DTYPE_INVALID, 64, 1, &info);
    double wide = train(&m, TC_DTYPE_INVALID, 64, steps, &info);
    double narrow = train(&m, TC_BF16, 64, steps, &info);
    double half = train(&m, TC_F16, 64, steps, &info);
    print_message("loss %.4f, after %d steps %.4f with f32, %.4f with bf16, %.4f with f16\n", first,
                  steps, wide, narrow, half);
    assert_true(wide < 0.2 * first && narrow < 0.25 * first && half < 0.25 * first);
    assert_true(narrow != wide); /* something was rounded */
    assert_true(fabs(narrow - wide) < 0.05 + 0.3 * wide && fabs(half - wide) < 0.05 + 0.3 * wide);
    tc_graph_release(m.graph);
}

static void test_perceptron_learns(void **state)
{
    expect_learns(make_perceptron(48, 3), 60);
}

static void test_lenet_learns(void **state)
{
    expect_learns(make_lenet(), 80);
}

static void test_transformer_learns(void **state)
{
    (void)state;
    expect_learns(make_transformer(), 80);
}

static void test_memory(void **state)
{
    model m = make_perceptron(256, 6);
    tc_plan_info wide, narrow;
    (void)train(&m, TC_DTYPE_INVALID, 4096, 0, &wide);
    (void)train(&m, TC_BF16, 4096, 0, &narrow);
    print_message("peak %.1f MiB with f32, %.1f MiB with bf16\n", (double)wide.peak_bytes / 0x1p20,
                  (double)narrow.peak_bytes / 0x1p20);
    assert_true((double)narrow.peak_bytes < 0.65 * (double)wide.peak_bytes);
    tc_graph_release(m.graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_dtypes),
        TEST(test_follows),
        TEST(test_stays),
        cmocka_unit_test(test_perceptron_learns),
        cmocka_unit_test(test_lenet_learns),
        cmocka_unit_test(test_transformer_learns),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
