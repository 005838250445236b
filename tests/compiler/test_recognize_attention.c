/* The pass recognize_attention: what it takes for attention and what not, with equal results. */
#include <math.h>

#include "compiler/compiler_test.h"

enum { BATCH = 3, HEADS = 2, N = 5, KEYS = 7, DEPTH = 4 };

/* What a way of writing attention is built of. */
typedef struct inputs {
    tc_graph *g;
    tc_value q;        /* [batch, HEADS, N, DEPTH] */
    tc_value k, v;     /* [batch, HEADS, KEYS, DEPTH] */
    tc_value square;   /* [batch, HEADS, N, DEPTH], for keys of as many queries */
    tc_value turned;   /* [batch, KEYS, HEADS, DEPTH] */
    tc_value one_head; /* [batch, 1, KEYS, DEPTH] */
    tc_value mask;     /* f32 [batch, 1, N, KEYS] */
    tc_value allowed;  /* bool [batch, 1, 1, KEYS], that allows the first key at least */
    tc_value extra;    /* a second fetch; TC_NO_VALUE: none */
} inputs;

static tc_value number(const inputs *in, double value)
{
    return tc_constant_scalar(in->g, TC_F32, value);
}

static tc_value scores_of(const inputs *in)
{
    return tc_matmul(in->q, in->k, .transpose_b = true);
}

static tc_value attend(const inputs *in, tc_value scores)
{
    return tc_matmul(tc_softmax(scores), in->v);
}

static tc_value bare(inputs *in)
{
    return attend(in, scores_of(in));
}

static tc_value multiplied(inputs *in)
{
    return attend(in, tc_mul(number(in, 0.5), scores_of(in)));
}

static tc_value divided(inputs *in)
{
    return attend(in, tc_div(scores_of(in), number(in, 2)));
}

static tc_value scaled_operands(inputs *in)
{
    in->q = tc_mul(in->q, number(in, 0.5));
    in->k = tc_div(in->k, number(in, 3));
    return bare(in);
}

static tc_value transposed(inputs *in)
{
    tc_value k = tc_transpose(in->k, .permutation = TC_INTS(0, 1, 3, 2));
    return attend(in, tc_mul(tc_matmul(in->q, k), number(in, 0.5)));
}

static tc_value transposed_otherwise(inputs *in)
{
    tc_value k = tc_transpose(in->turned, .permutation = TC_INTS(0, 2, 3, 1));
    return attend(in, tc_matmul(in->q, tc_mul(k, number(in, 0.5))));
}

static tc_value added_mask(inputs *in)
{
    return attend(in, tc_add(tc_mul(scores_of(in), number(in, 0.5)), in->mask));
}

static tc_value mask_added_to(inputs *in)
{
    return attend(in, tc_add(in->mask, scores_of(in)));
}

static tc_value infinite(inputs *in)
{
    return attend(in, tc_where(in->allowed, scores_of(in), number(in, -INFINITY)));
}

static tc_value infinite_inverted(inputs *in)
{
    tc_value forbidden = tc_not_equal(tc_cast(in->allowed, TC_F32), number(in, 1));
    return attend(in, tc_where(forbidden, number(in, -INFINITY), scores_of(in)));
}

static tc_value causal(inputs *in)
{
    tc_value scores = tc_div(scores_of(in), number(in, 2));
    return attend(in, tc_where(tc_causal_mask(scores), scores, number(in, -1e9)));
}

static tc_value causal_scaled_later(inputs *in)
{
    tc_value scores = scores_of(in);
    scores = tc_where(tc_causal_mask(scores), scores, number(in, -1e9));
    return attend(in, tc_mul(scores, number(in, 0.5)));
}

static tc_value triangle(inputs *in)
{
    uint8_t allowed[N * N];
    for (int i = 0; i < N * N; i++)
        allowed[i] = i % N <= i / N;
    tc_value constant = tc_constant_data(in->g, TC_BOOL, TC_SHAPE(1, 1, N, N), allowed);
    tc_value scores = tc_matmul(in->q, in->square, .transpose_b = true);
    return tc_matmul(tc_softmax(tc_where(constant, scores, number(in, -1e9))), in->square);
}

static tc_value constant_mask(inputs *in)
{
    const uint8_t allowed[KEYS] = {1, 0, 1, 1, 0, 0, 1};
    tc_value constant = tc_constant_data(in->g, TC_BOOL, TC_SHAPE(KEYS), allowed);
    return attend(in, tc_where(constant, scores_of(in), number(in, -1e9)));
}

static tc_value causal_and_padding(inputs *in)
{
    tc_value scores = scores_of(in);
    tc_value seen = tc_where(tc_causal_mask(scores), scores, number(in, -INFINITY));
    return attend(in, tc_add(seen, in->mask));
}

static tc_value shared_keys(inputs *in)
{
    tc_value scores = tc_matmul(in->q, in->one_head, .transpose_b = true);
    return tc_matmul(tc_softmax(scores), in->one_head);
}

static tc_value dropped_out(inputs *in)
{
    return tc_matmul(tc_dropout(tc_softmax(scores_of(in)), 0.5), in->v);
}

static tc_value twice(inputs *in)
{
    tc_value y = bare(in);
    in->q = tc_add(in->q, y);
    return bare(in);
}

/* Near misses. */

static tc_value weights_read(inputs *in)
{
    tc_value weights = tc_softmax(scores_of(in));
    in->extra = weights;
    return tc_matmul(weights, in->v);
}

static tc_value scores_read(inputs *in)
{
    tc_value scores = scores_of(in);
    in->extra = tc_reduce_max(scores);
    return attend(in, scores);
}

static tc_value differentiated(inputs *in)
{
    tc_value y = bare(in), gradient;
    tc_gradients(TC_VALUES(y), TC_VALUES(in->q), &gradient);
    in->extra = gradient;
    return y;
}

static tc_value other_axis(inputs *in)
{
    return tc_matmul(tc_softmax(scores_of(in), .axis = TC_SOME(2)), in->v);
}

static tc_value transposed_weights(inputs *in)
{
    tc_value weights = tc_softmax(tc_matmul(in->q, in->square, .transpose_b = true));
    return tc_matmul(weights, in->square, .transpose_a = true);
}

static tc_value transposed_values(inputs *in)
{
    tc_value weights = tc_softmax(tc_matmul(in->q, in->k, .transpose_b = true));
    tc_value v = tc_reshape_like(in->v, tc_transpose(in->v, .permutation = TC_INTS(0, 1, 3, 2)));
    return tc_matmul(weights, v, .transpose_b = true);
}

static tc_value factor_per_head(inputs *in)
{
    const float factors[HEADS] = {0.5, 0.25};
    tc_value each = tc_constant_data(in->g, TC_F32, TC_SHAPE(HEADS, 1, 1), factors);
    return attend(in, tc_mul(scores_of(in), each));
}

static tc_value scaled_mask(inputs *in)
{
    return attend(in, tc_mul(tc_add(scores_of(in), in->mask), number(in, 0.5)));
}

static tc_value small_number(inputs *in)
{
    return attend(in, tc_where(in->allowed, scores_of(in), number(in, -5)));
}

static tc_value large_number(inputs *in)
{
    return attend(in, tc_where(in->allowed, scores_of(in), number(in, 1e9)));
}

/* A query that may look at nothing sees everything here. */
static tc_value finite_unknown(inputs *in)
{
    return attend(in, tc_where(in->allowed, scores_of(in), number(in, -1e9)));
}

static tc_value finite_nothing(inputs *in)
{
    const uint8_t nothing[KEYS] = {0};
    tc_value mask = tc_constant_data(in->g, TC_BOOL, TC_SHAPE(1, KEYS), nothing);
    tc_value some = tc_logical_and(mask, in->allowed);
    return attend(in, tc_where(some, scores_of(in), number(in, -1e9)));
}

static tc_value finite_causal_blind(inputs *in)
{
    tc_value scores = tc_matmul(in->k, in->q, .transpose_b = true); /* more queries than keys */
    scores = tc_where(tc_causal_mask(scores), scores, number(in, -1e9));
    return tc_matmul(tc_softmax(scores), in->q);
}

static tc_value finite_causal_and_padding(inputs *in)
{
    tc_value scores = scores_of(in);
    tc_value seen = tc_where(tc_causal_mask(scores), scores, number(in, -1e9));
    return attend(in, tc_add(seen, in->mask));
}

static tc_value broadcast_batch(inputs *in)
{
    tc_value one = tc_reduce_mean(in->k, .axes = TC_INTS(0), .keep_dims = true);
    return attend(in, tc_matmul(in->q, one, .transpose_b = true));
}

static tc_value broadcast_scores(inputs *in)
{
    tc_value one = tc_reduce_mean(in->q, .axes = TC_INTS(2), .keep_dims = true);
    tc_value scores = tc_matmul(one, in->k, .transpose_b = true); /* [batch, HEADS, 1, KEYS] */
    return attend(in, tc_add(scores, in->mask));
}

static tc_value matrices(inputs *in)
{
    tc_value a = tc_reduce_mean(in->q, .axes = TC_INTS(0, 1));
    tc_value b = tc_reduce_mean(in->k, .axes = TC_INTS(0, 1));
    return tc_matmul(tc_softmax(tc_matmul(a, b, .transpose_b = true)), b);
}

typedef struct way {
    const char *name;
    tc_value (*build)(inputs *in);
    int found;
    bool causal, masked;
    double scale;
} way;

static const way ways[] = {
    {"bare", bare, 1, false, false, 1},
    {"multiplied", multiplied, 1, false, false, 0.5},
    {"divided", divided, 1, false, false, 0.5},
    {"scaled operands", scaled_operands, 1, false, false, 0.5 / 3},
    {"transposed", transposed, 1, false, false, 0.5},
    {"transposed otherwise", transposed_otherwise, 1, false, false, 0.5},
    {"added mask", added_mask, 1, false, true, 0.5},
    {"mask added to", mask_added_to, 1, false, true, 1},
    {"infinite", infinite, 1, false, true, 1},
    {"infinite, inverted", infinite_inverted, 1, false, true, 1},
    {"causal", causal, 1, true, false, 0.5},
    {"causal, scaled later", causal_scaled_later, 1, true, false, 0.5},
    {"triangle", triangle, 1, true, false, 1},
    {"constant mask", constant_mask, 1, false, true, 1},
    {"causal and padding", causal_and_padding, 1, true, true, 1},
    {"shared keys", shared_keys, 1, false, false, 1},
    {"dropped out", dropped_out, 1, false, false, 1},
    {"twice", twice, 2, false, false, 1},
    {"weights read", weights_read, 0, false, false, 0},
    {"scores read", scores_read, 0, false, false, 0},
    {"differentiated", differentiated, 0, false, false, 0},
    {"other axis", other_axis, 0, false, false, 0},
    {"transposed weights", transposed_weights, 0, false, false, 0},
    {"transposed values", transposed_values, 0, false, false, 0},
    {"factor per head", factor_per_head, 0, false, false, 0},
    {"scaled mask", scaled_mask, 0, false, false, 0},
    {"small number", small_number, 0, false, false, 0},
    {"large number", large_number, 0, false, false, 0},
    {"finite and unknown", finite_unknown, 0, false, false, 0},
    {"finite and nothing", finite_nothing, 0, false, false, 0},
    {"finite, causal and blind", finite_causal_blind, 0, false, false, 0},
    {"finite, causal and padding", finite_causal_and_padding, 0, false, false, 0},
    {"broadcast batch", broadcast_batch, 0, false, false, 0},
    {"broadcast scores", broadcast_scores, 0, false, false, 0},
    {"matrices", matrices, 0, false, false, 0},
};

enum { FEEDS = 8 };

static inputs make_inputs(tc_graph *g, tc_dim batch, tc_value feeds[FEEDS])
{
    inputs in = {.g = g, .extra = TC_NO_VALUE};
    tc_shape of_q = TC_SHAPE(batch, HEADS, N, DEPTH), of_k = TC_SHAPE(batch, HEADS, KEYS, DEPTH);
    feeds[0] = in.q = tc_placeholder(g, "q", TC_F32, of_q);
    feeds[1] = in.k = tc_placeholder(g, "k", TC_F32, of_k);
    feeds[2] = in.v = tc_placeholder(g, "v", TC_F32, of_k);
    feeds[3] = in.square = tc_placeholder(g, "square", TC_F32, of_q);
    feeds[4] = in.turned = tc_placeholder(g, "turned", TC_F32, TC_SHAPE(batch, KEYS, HEADS, DEPTH));
    feeds[5] = in.one_head = tc_placeholder(g, "one_head", TC_F32, TC_SHAPE(batch, 1, KEYS, DEPTH));
    feeds[6] = in.mask = tc_placeholder(g, "mask", TC_F32, TC_SHAPE(batch, 1, N, KEYS));
    feeds[7] = in.allowed = tc_placeholder(g, "allowed", TC_BOOL, TC_SHAPE(batch, 1, 1, KEYS));
    return in;
}

static void check_program(const way *w, const inputs *in, tc_value y, const tc_value *feeds)
{
    fake_target target = fake_target_make();
    test_request r = {.request = {.mode = TC_MODE_INFERENCE}};
    for (int i = 0; i < FEEDS; i++)
        request_feed(&r, feeds[i]);
    request_fetch(&r, y);
    if (tc_value_ok(in->extra))
        request_fetch(&r, in->extra);
    tc_program *program = compile_ok(in->g, &r, &target);
    if (count_nodes(program->graph, "attention") != w->found)
        fail_msg("%s: %d nodes of attention", w->name, count_nodes(program->graph, "attention"));
    for (size_t i = 0; i < program->graph->nodes.count; i++) {
        const tc_node *node = program->graph->nodes.data[i];
        int32_t count;
        if (!tc_node_is(node, "attention"))
            continue;
        assert_int_equal(tc_attrs_bool(&node->attrs, "causal"), w->causal);
        assert_int_equal(node->inputs[3].node >= 0, w->masked);
        double scale = tc_attrs_floats(&node->attrs, "scale", &count)[0];
        assert_true(fabs(scale - w->scale) < 1e-6);
    }
    if (w->found) {
        assert_int_equal(count_nodes(program->graph, "softmax"), 0);
        assert_int_equal(count_nodes(program->graph, "causal_mask"), 0);
    }
    tc_program_release(program);
    r.request.disable_passes = "recognize_attention";
    program = compile_ok(in->g, &r, &target);
    assert_int_equal(count_nodes(program->graph, "attention"), 0);
    tc_program_release(program);
}

static tc_tensor *run(const inputs *in, tc_value y, const char *disable, const tc_feed *feeds)
{
    tc_session *session;
    tc_tensor *out = NULL;
    tc_session_options options = {.struct_size = sizeof options, .disable_passes = disable};
    assert_ok(tc_session_create(in->g, &options, &session));
    assert_ok(tc_session_run(session, feeds, FEEDS, &y, 1, TC_NO_TARGETS, &out, NULL));
    tc_session_release(session);
    return out;
}

static void check_results(const way *w, const inputs *in, tc_value y, const tc_value *values)
{
    tc_feed feeds[FEEDS];
    for (int i = 0; i < FEEDS; i++) {
        tc_tensor *tensor;
        tc_shape shape = tc_value_shape(values[i]);
        shape.dims[0] = (tc_dim){BATCH, NULL};
        assert_ok(tc_tensor_create(tc_value_dtype(values[i]), shape, &tensor));
        for (int64_t e = 0; e < tc_tensor_size(tensor); e++)
            assert_ok(tc_tensor_set(tensor, e,
                                    i == FEEDS - 1 ? e % KEYS == 0 || e % 3 == 0
                                                   : 2 * sin(1.7 * (double)(e + 31 * i))));
        feeds[i] = (tc_feed){values[i], tensor};
    }
    tc_tensor *plain = run(in, y, "recognize_attention", feeds);
    tc_tensor *found = run(in, y, NULL, feeds);
    assert_int_equal(tc_tensor_size(plain), tc_tensor_size(found));
    for (int64_t e = 0; e < tc_tensor_size(plain); e++)
        if (!(fabs(tc_tensor_get(plain, e) - tc_tensor_get(found, e)) < 1e-5))
            fail_msg("%s: element %d is %g instead of %g", w->name, (int)e, tc_tensor_get(found, e),
                     tc_tensor_get(plain, e));
    tc_tensor_release(plain);
    tc_tensor_release(found);
    for (int i = 0; i < FEEDS; i++)
        tc_tensor_release(feeds[i].tensor);
}

static void check_ways(tc_dim batch)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        tc_value feeds[FEEDS];
        tc_graph *g = tc_graph_create();
        inputs in = make_inputs(g, batch, feeds);
        tc_value y = ways[i].build(&in);
        assert_ok(tc_graph_status(g));
        check_program(&ways[i], &in, y, feeds);
        check_results(&ways[i], &in, y, feeds);
        tc_graph_release(g);
    }
}

static void test_recognize_attention_known(void **state)
{
    (void)state;
    check_ways((tc_dim){BATCH, NULL});
}

static void test_recognize_attention_symbolic(void **state)
{
    (void)state;
    check_ways(TC_DIM("batch"));
}

/* Dimensions of which nothing is known but what broadcasting of numbers keeps. */
static void test_recognize_attention_anonymous(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value q = tc_placeholder(g, "q", TC_F32, TC_SHAPE(2, 3, -1, 4));
    tc_value k = tc_placeholder(g, "k", TC_F32, TC_SHAPE(2, 3, -1, 4));
    tc_value scores =
        tc_div(tc_matmul(q, k, .transpose_b = true), tc_constant_scalar(g, TC_F32, 2));
    scores = tc_where(tc_causal_mask(scores), scores, tc_constant_scalar(g, TC_F32, -INFINITY));
    tc_value mask = tc_placeholder(g, "mask", TC_F32, TC_SHAPE(-1, -1));
    fake_target target = fake_target_make();
    for (int masked = 0; masked < 2; masked++) {
        test_request r = {.request = {.mode = TC_MODE_INFERENCE}};
        request_feed(&r, q);
        request_feed(&r, k);
        request_feed(&r, mask);
        tc_value s = masked ? tc_add(scores, mask) : scores;
        request_fetch(&r, tc_matmul(tc_softmax(s), k));
        tc_program *program = compile_ok(g, &r, &target);
        assert_int_equal(count_nodes(program->graph, "attention"), !masked);
        tc_program_release(program);
    }
    tc_graph_release(g);
}

static void test_recognize_attention_basic_leaves_it(void **state)
{
    (void)state;
    tc_value feeds[FEEDS];
    tc_graph *g = tc_graph_create();
    inputs in = make_inputs(g, (tc_dim){BATCH, NULL}, feeds);
    fake_target target = fake_target_make();
    test_request r = {.request = {.optimization = TC_OPTIMIZATION_BASIC}};
    for (int i = 0; i < FEEDS; i++)
        request_feed(&r, feeds[i]);
    request_fetch(&r, bare(&in));
    tc_program *program = compile_ok(g, &r, &target);
    assert_int_equal(count_nodes(program->graph, "attention"), 0);
    tc_program_release(program);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recognize_attention_known),
        cmocka_unit_test(test_recognize_attention_symbolic),
        cmocka_unit_test(test_recognize_attention_anonymous),
        cmocka_unit_test(test_recognize_attention_basic_leaves_it),
    };
    return cmocka_run_group_tests_name("recognize_attention", tests, NULL, NULL);
}
