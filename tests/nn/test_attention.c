/* Multi-head attention, layer normalization and embedding as layers: shapes, names, values,
 * dropout, a model that learns, mistakes. */
#include "nn_test.h"

#define MAX_VALUES 4096

static void expect_variable(tc_graph *g, const char *name, const char *shape)
{
    tc_value variable = tc_graph_find(g, name);
    if (!tc_value_ok(variable))
        fail_msg("there is no '%s'", name);
    assert_string_equal(tc_value_op(variable), "variable");
    check_shape(variable, shape);
}

static void test_attention_shapes_and_names(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), TC_DIM("time"), 12));
    tc_value memory = tc_placeholder(g, "memory", TC_F32, TC_SHAPE(TC_DIM("batch"), -1, 5));
    check_shape(tc_multi_head_attention(x, 3, .causal = true), "[batch, time, 12]");
    expect_variable(g, "attention/query/weights", "[12, 12]");
    expect_variable(g, "attention/key/bias", "[12]");
    expect_variable(g, "attention/output/weights", "[12, 12]");
    tc_value cross = tc_multi_head_attention(x, 4, .memory = memory, .heads_kv = 2, .head_size = 7,
                                             .no_bias = true, .name = "cross");
    check_shape(cross, "[batch, time, 12]");
    expect_variable(g, "cross/query/weights", "[12, 28]");
    expect_variable(g, "cross/key/weights", "[5, 14]");
    expect_variable(g, "cross/value/weights", "[5, 14]");
    expect_variable(g, "cross/output/weights", "[28, 12]");
    assert_false(tc_value_ok(tc_graph_find(g, "cross/key/bias")));
    tc_value anonymous = tc_placeholder(g, "anonymous", TC_F32, TC_SHAPE(-1, -1, -1, 6));
    check_shape(tc_multi_head_attention(anonymous, 2), "[?, ?, ?, 6]");
    expect_variable(g, "attention_1/value/weights", "[6, 6]");
    check_shape(tc_layer_norm_layer(x), "[batch, time, 12]");
    expect_variable(g, "layer_norm/scale", "[12]");
    expect_variable(g, "layer_norm/offset", "[12]");
    tc_value ids = tc_placeholder(g, "ids", TC_I32, TC_SHAPE(TC_DIM("batch"), TC_DIM("time")));
    tc_value words = tc_embedding_layer(ids, 100, 8, .dtype = TC_F16, .name = "words");
    check_shape(words, "[batch, time, 8]");
    assert_int_equal(tc_value_dtype(words), TC_F16);
    expect_variable(g, "words/table", "[100, 8]");
    assert_ok(tc_graph_status(g));
    tc_graph_release(g);
}

enum { B = 2, N = 5, M = 4, F = 6, FM = 3, HEADS = 4, HEADS_KV = 2, SIZE = 3 };

/* x [rows, in] times "<name>/weights" [in, out] plus "<name>/bias". */
static void dense_reference(tc_session *s, const char *name, const double *x, int rows, int in,
                            int out, double *y)
{
    double w[MAX_VALUES], b[MAX_VALUES];
    char path[64];
    snprintf(path, sizeof path, "attention/%s/weights", name);
    read_variable(s, path, w, in * out);
    snprintf(path, sizeof path, "attention/%s/bias", name);
    read_variable(s, path, b, out);
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < out; o++) {
            y[r * out + o] = b[o];
            for (int i = 0; i < in; i++)
                y[r * out + o] += x[r * in + i] * w[i * out + o];
        }
}

/* Attention of head `h` of row `i` of example `e`, over the first `seen` elements of the memory. */
static void head_reference(const double *q, const double *k, const double *v, int n_memory, int e,
                           int i, int h, int seen, double out[SIZE])
{
    double sum = 0, weights[N];
    int shared = h / (HEADS / HEADS_KV);
    for (int c = 0; c < SIZE; c++)
        out[c] = 0;
    for (int j = 0; j < seen; j++) {
        double score = 0;
        for (int c = 0; c < SIZE; c++)
            score += q[((e * N + i) * HEADS + h) * SIZE + c] *
                     k[((e * n_memory + j) * HEADS_KV + shared) * SIZE + c];
        weights[j] = exp(score / sqrt(SIZE));
        sum += weights[j];
    }
    for (int j = 0; j < seen; j++)
        for (int c = 0; c < SIZE; c++)
            out[c] += weights[j] / sum * v[((e * n_memory + j) * HEADS_KV + shared) * SIZE + c];
}

static void check_values(bool cross)
{
    int n_memory = cross ? M : N, memory_features = cross ? FM : F;
    double x[B * N * F], memory[B * N * F], q[MAX_VALUES], k[MAX_VALUES], v[MAX_VALUES];
    double joined[B * N * HEADS * SIZE], expected[B * N * F], y[B * N * F];
    for (int i = 0; i < B * N * F; i++)
        x[i] = sin(3.0 * i + 1);
    for (int i = 0; i < B * n_memory * memory_features; i++)
        memory[i] = cross ? cos(2.0 * i + 1) : x[i];
    tc_graph *g = tc_graph_create();
    tc_value input = tc_placeholder(g, "x", TC_F64, TC_SHAPE(-1, N, F));
    tc_value other = cross ? tc_placeholder(g, "memory", TC_F64, TC_SHAPE(-1, M, FM)) : TC_NO_VALUE;
    tc_value output = tc_multi_head_attention(input, HEADS, .memory = other, .heads_kv = HEADS_KV,
                                              .head_size = SIZE, .causal = !cross);
    tc_session *s = session_of(g);
    assert_ok(tc_session_initialize(s));
    double bias[HEADS * SIZE];
    for (int i = 0; i < HEADS * SIZE; i++)
        bias[i] = 0.1 * i - 0.3;
    tc_tensor *tensors[] = {tensor_of(TC_F64, TC_SHAPE(HEADS * SIZE), bias),
                            tensor_of(TC_F64, TC_SHAPE(F), bias + 1)};
    const char *names[] = {"attention/query/bias", "attention/output/bias"};
    assert_ok(tc_store_restore(tc_session_store(s), names, tensors, 2, NULL));
    tc_tensor *fed = tensor_of(TC_F64, TC_SHAPE(B, N, F), x);
    tc_tensor *fed_memory =
        tensor_of(TC_F64, cross ? TC_SHAPE(B, M, FM) : TC_SHAPE(B, N, F), memory);
    const tc_feed feeds[] = {{input, fed}, {other, fed_memory}};
    run_for(s, feeds, cross ? 2 : 1, output, TC_NO_VALUE, y, B * N * F);

    dense_reference(s, "query", x, B * N, F, HEADS * SIZE, q);
    dense_reference(s, "key", memory, B * n_memory, memory_features, HEADS_KV * SIZE, k);
    dense_reference(s, "value", memory, B * n_memory, memory_features, HEADS_KV * SIZE, v);
    for (int e = 0; e < B; e++)
        for (int i = 0; i < N; i++)
            for (int h = 0; h < HEADS; h++)
                head_reference(q, k, v, n_memory, e, i, h, cross ? M : i + 1,
                               joined + ((e * N + i) * HEADS + h) * SIZE);
    dense_reference(s, "output", joined, B * N, HEADS * SIZE, F, expected);
    for (int i = 0; i < B * N * F; i++)
        check_close(y[i], expected[i], 1e-12, "an output");
    tc_tensor_release(fed);
    tc_tensor_release(fed_memory);
    for (int i = 0; i < 2; i++)
        tc_tensor_release(tensors[i]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_attention_values(void **state)
{
    check_values(false);
    check_values(true);
}

static void test_attention_mask(void **state)
{
    tc_graph *g = tc_graph_create();
    const double numbers[] = {1, 2, 3, 4, -1, 0.5, 2, 1, 9, -9, 3, 5}, allowed[] = {1, 1, 0};
    tc_value x = tc_placeholder(g, "x", TC_F64, TC_SHAPE(1, -1, 4));
    tc_value mask = tc_placeholder(g, "mask", TC_BOOL, TC_SHAPE(-1));
    tc_value y = tc_multi_head_attention(x, 2, .mask = mask);
    tc_session *s = session_of(g);
    tc_tensor *three = tensor_of(TC_F64, TC_SHAPE(1, 3, 4), numbers);
    tc_tensor *two = tensor_of(TC_F64, TC_SHAPE(1, 2, 4), numbers);
    tc_tensor *of_three = tensor_of(TC_BOOL, TC_SHAPE(3), allowed);
    tc_tensor *of_two = tensor_of(TC_BOOL, TC_SHAPE(2), allowed);
    double masked[12], cut[8];
    run_for(s, TC_FEEDS({x, three}, {mask, of_three}), y, TC_NO_VALUE, masked, 12);
    run_for(s, TC_FEEDS({x, two}, {mask, of_two}), y, TC_NO_VALUE, cut, 8);
    for (int i = 0; i < 8; i++)
        check_close(masked[i], cut[i], 1e-13, "a row beside a masked one");
    tc_tensor *tensors[] = {three, two, of_three, of_two};
    for (int i = 0; i < 4; i++)
        tc_tensor_release(tensors[i]);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_attention_dropout_is_for_training(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_ones(g, TC_F64, TC_SHAPE(2, 40, 8));
    tc_value y = tc_multi_head_attention(x, 2, .dropout = 0.5);
    tc_value zeros = tc_reduce_sum(tc_cast(tc_equal(y, tc_zeros_like(y)), TC_F64));
    tc_session *s = session_of(g);
    tc_tensor *out = NULL;
    for (int mode = TC_MODE_TRAINING; mode <= TC_MODE_INFERENCE; mode++) {
        tc_run_options options = {.struct_size = sizeof options, .mode = (tc_mode)mode};
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(zeros), TC_NO_TARGETS, &out, &options));
        double count = tc_tensor_get(out, 0);
        assert_true(mode == TC_MODE_TRAINING ? count > 200 && count < 440 : count == 0);
        tc_tensor_release(out);
        out = NULL;
    }
    tc_session_release(s);
    tc_graph_release(g);
}

/* To tell the first word of a sequence at its last place takes attention to other places. */
static void test_attention_learns(void **state)
{
    enum { words = 4, length = 6, examples = 16, depth = 16 };
    tc_graph *g = tc_graph_create();
    double ids[examples * length], labels[examples];
    for (int i = 0; i < examples * length; i++)
        ids[i] = (i * 7 + i / 3 * 5 + i / 11) % words;
    for (int e = 0; e < examples; e++)
        labels[e] = ids[e * length];
    tc_value x = tc_placeholder(g, "x", TC_I32, TC_SHAPE(-1, length));
    tc_value y = tc_placeholder(g, "y", TC_I32, TC_SHAPE(-1));
    tc_value h = tc_embedding_layer(x, words, depth, .name = "words");
    double places[length];
    for (int i = 0; i < length; i++)
        places[i] = i;
    tc_tensor *order = tensor_of(TC_I32, TC_SHAPE(length), places);
    h = tc_add(h, tc_embedding_layer(tc_constant(g, order), length, depth, .name = "places"));
    h = tc_add(h, tc_multi_head_attention(tc_layer_norm_layer(h), 2, .causal = true));
    tc_value last = tc_slice(h, TC_INTS(-1), TC_INTS(TC_TO_END), .axes = TC_INTS(1));
    tc_value logits = tc_dense(tc_flatten(last, 1), words);
    tc_value loss = tc_softmax_cross_entropy(logits, y);
    tc_value train = tc_minimize(tc_adam(g, .learning_rate = 0.01f), loss);
    tc_session *s = session_of(g);
    tc_tensor *in = tensor_of(TC_I32, TC_SHAPE(examples, length), ids);
    tc_tensor *out = tensor_of(TC_I32, TC_SHAPE(examples), labels);
    double first = 0, value = 0;
    for (int step = 0; step < 150; step++) {
        run_for(s, TC_FEEDS({x, in}, {y, out}), loss, train, &value, 1);
        first = step == 0 ? value : first;
    }
    assert_true(first > 0.8);
    assert_true(value < 0.1);
    tc_tensor_release(order);
    tc_tensor_release(in);
    tc_tensor_release(out);
    tc_session_release(s);
    tc_graph_release(g);
}

static tc_value no_such_rank(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(4)), 2);
}

static tc_value unknown_features(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 3, -1)), 2);
}

static tc_value too_many_dimensions(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(1, 1, 1, 1, 1, 1, 3, 4)),
                                   2);
}

static tc_value indivisible(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 3, 7)), 2);
}

static tc_value no_heads(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 3, 8)), 0);
}

static tc_value wrong_group(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 3, 8)), 4,
                                   .heads_kv = 3);
}

static tc_value integers(tc_graph *g)
{
    return tc_multi_head_attention(tc_placeholder(g, "x", TC_I32, TC_SHAPE(2, 3, 8)), 4);
}

static tc_value nothing_to_embed(tc_graph *g)
{
    return tc_embedding_layer(tc_placeholder(g, "x", TC_I32, TC_SHAPE(2)), 0, 4);
}

static tc_value embedded_floats(tc_graph *g)
{
    return tc_embedding_layer(tc_placeholder(g, "x", TC_F32, TC_SHAPE(2)), 3, 4);
}

static tc_value normalized_scalar(tc_graph *g)
{
    return tc_layer_norm_layer(tc_placeholder(g, "x", TC_F32, TC_SCALAR));
}

static void test_attention_mistakes(void **state)
{
    static const struct {
        tc_value (*build)(tc_graph *g);
        const char *text;
    } mistakes[] = {
        {no_such_rank, "attention layer: x is [4], but must be [..., n, features]"},
        {unknown_features, "with features known"},
        {too_many_dimensions, "x has rank 8, but may have 7 at most"},
        {indivisible, "heads must divide the features"},
        {no_heads, "heads must be positive"},
        {wrong_group, "a multiple of heads_kv"},
        {integers, "x is i32, but must be a float"},
        {nothing_to_embed, "embedding layer: count is 0, but must be positive"},
        {embedded_floats, "f32"},
        {normalized_scalar, "layer_norm layer: x is [], but must have rank 1 or more"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        tc_graph *g = tc_graph_create();
        assert_false(tc_value_ok(mistakes[i].build(g)));
        check_graph_error(g, mistakes[i].text, "test_attention.c:");
        tc_graph_release(g);
    }
    tc_value x = tc_placeholder((tc_graph *)NULL, "x", TC_F32, TC_SHAPE(-1, 3, 4));
    assert_false(tc_value_ok(tc_multi_head_attention(x, 2)));
    assert_false(tc_value_ok(tc_layer_norm_layer(x)));
    assert_false(tc_value_ok(tc_embedding_layer(x, 3, 4)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_shapes_and_names),
        cmocka_unit_test(test_attention_values),
        cmocka_unit_test(test_attention_mask),
        cmocka_unit_test(test_attention_dropout_is_for_training),
        cmocka_unit_test(test_attention_learns),
        cmocka_unit_test(test_attention_mistakes),
    };
    return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
