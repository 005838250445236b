/*
 * What fuses into one node and what must not; and random graphs, which give the same bits with the
 * pass and without any, on every instruction set.
 */
#include "compiler/passes_test.h"

#include "base/cpu.h"

/* Every optional pass but the one that is tested. */
static const char others[] = ""
#define ALWAYS(name)
#define BASIC(name)               #name ","
#define FULL(name)                #name ","
#define TC_PASS(name, level, doc) level(name)
#define TC_PLAN_PASS(name, doc)   #name ","
#include "compiler/passes.def"
#undef TC_PASS
#undef ALWAYS
#undef BASIC
#undef FULL
    ;

/* `others` without the pass itself. */
static const char *only_fusion(void)
{
    static char list[sizeof others];
    const char word[] = "fuse_elementwise,";
    const char *at = strstr(others, word);
    assert_non_null(at);
    snprintf(list, sizeof list, "%.*s%s", (int)(at - others), others, at + sizeof word - 1);
    return list;
}

static const tc_node *only_fused(const fixture *f)
{
    const tc_graph *graph = f->program->graph;
    const tc_node *found = NULL;
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (tc_node_is(graph->nodes.data[i], "fused")) {
            assert_null(found);
            found = graph->nodes.data[i];
        }
    assert_non_null(found);
    return found;
}

static const char *text_of(const tc_node *node)
{
    return tc_attrs_string(&node->attrs, "text");
}

static void begin(fixture *f)
{
    only_passes(f, "fuse_elementwise");
}

/* Compiles y alone: it must be one fused node with this program, beside it only sources. */
static void expect_program(fixture *f, tc_value y, const char *text)
{
    begin(f);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, y);
    compile(f);
    const tc_node *node = only_fused(f);
    assert_string_equal(text_of(node), text);
    assert_ptr_equal(fetch_node(f->program, 0), node);
    for (size_t i = 0; i < f->program->graph->nodes.count; i++) {
        const tc_node *other = f->program->graph->nodes.data[i];
        assert_true(other == node || other->n_inputs == 0);
    }
}

static void test_chain(void **state)
{
    fixture *f = *state;
    tc_value b = tc_fill(f->graph, TC_F32, TC_SHAPE(4), 3);
    tc_value half = tc_constant_scalar(f->graph, TC_F32, 0.5);
    tc_value product = tc_mul(f->x, half), y = tc_relu(tc_add(product, tc_exp(f->x)));
    expect_program(f, y, "relu((a * 0.5) + exp(a))");
    assert_string_equal(only_fused(f)->name, tc_value_name(y));
    assert_string_equal(tc_node_note(only_fused(f), "fused"), "mul exp add relu");
    expect_program(f, tc_square(tc_sub(f->x, b)), "square(a - b)");
    tc_value gated = tc_where(tc_greater(f->x, half), f->x, tc_cast(tc_cast(f->x, TC_I32), TC_F32));
    expect_program(f, gated, "where(a > 0.5, a, f32(i32(a)))");
}

static tc_value softmax(tc_value x)
{
    tc_value e = tc_exp(tc_sub(x, tc_reduce_max(x, .axes = TC_INTS(-1), .keep_dims = true)));
    return tc_div(e, tc_reduce_sum(e, .axes = TC_INTS(-1), .keep_dims = true));
}

static tc_value normalize(tc_value x, tc_value scale, tc_value offset)
{
    tc_value mean = tc_reduce_mean(x, .axes = TC_INTS(1), .keep_dims = true);
    tc_value d = tc_sub(x, mean);
    tc_value variance = tc_reduce_mean(tc_square(d), .axes = TC_INTS(1), .keep_dims = true);
    tc_value epsilon = tc_constant_scalar(x.graph, TC_F32, 0.25);
    return tc_add(tc_mul(tc_mul(d, tc_rsqrt(tc_add(variance, epsilon))), scale), offset);
}

static void test_rows(void **state)
{
    fixture *f = *state;
    tc_value s = tc_placeholder(f->graph, "s", TC_F32, TC_SHAPE(4));
    tc_value o = tc_placeholder(f->graph, "o", TC_F32, TC_SHAPE(4));
    request_feed(&f->r, s);
    request_feed(&f->r, o);
    expect_program(f, softmax(f->x),
                   "t2 = exp(a - reduce_max(a)); t2 * reciprocal(reduce_sum(t2))");
    expect_program(f, normalize(f->x, s, o),
                   "t1 = a - reduce_mean(a); ((t1 * rsqrt(reduce_mean(square(t1)) + 0.25)) * b) "
                   "+ c");
    /* Sizes that have no name are followed through the graph. */
    tc_value u = tc_placeholder(f->graph, "u", TC_F32, TC_SHAPE(-1, 4));
    request_feed(&f->r, u);
    expect_program(f, normalize(u, s, o),
                   "t1 = a - reduce_mean(a); ((t1 * rsqrt(reduce_mean(square(t1)) + 0.25)) * b) "
                   "+ c");
    tc_value mean = tc_reduce_mean(tc_square(tc_sub(f->x, s)));
    expect_program(f, mean, "reduce_mean(square(a - b))");
    tc_value dx;
    assert_ok(tc_gradients(TC_VALUES(mean), TC_VALUES(f->x), &dx));
    f->r.request.disable_passes = NULL; /* ones of the shape of the mean are folded */
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, dx);
    compile(f);
    (void)only_fused(f);
    assert_int_equal(count_nodes(f->program->graph, "reduce_expand"), 0);
}

static void test_bias_gelu_residual(void **state)
{
    fixture *f = *state;
    tc_value bias = tc_placeholder(f->graph, "bias", TC_F32, TC_SHAPE(4));
    tc_value image = tc_placeholder(f->graph, "image", TC_F32, TC_SHAPE(-1, 3, 5, 5));
    tc_value per_channel = tc_placeholder(f->graph, "c", TC_F32, TC_SHAPE(3));
    request_feed(&f->r, bias);
    request_feed(&f->r, image);
    request_feed(&f->r, per_channel);
    expect_program(f, tc_add(tc_gelu(tc_bias_add(f->x, bias)), f->x), "gelu(a + b) + a");
    expect_program(f, tc_relu(tc_bias_add(image, per_channel)), "relu(a + b)");
}

/* What several need is computed once and leaves the node beside the rest. */
static void test_outputs(void **state)
{
    fixture *f = *state;
    begin(f);
    tc_value e = tc_exp(f->x), y = tc_mul(tc_tanh(e), f->x), z = tc_neg(y);
    request_fetch(&f->r, e);
    request_fetch(&f->r, z);
    compile(f);
    const tc_node *node = only_fused(f);
    assert_int_equal(node->n_outputs, 2);
    assert_ptr_equal(fetch_node(f->program, 0), node);
    assert_ptr_equal(fetch_node(f->program, 1), node);
    assert_int_not_equal(f->program->fetches[0].output, f->program->fetches[1].output);
}

/* relu(x) feeds a product that comes back: one node would need its own result. */
static void test_no_cycle(void **state)
{
    fixture *f = *state;
    begin(f);
    tc_value w = tc_fill(f->graph, TC_F32, TC_SHAPE(4, 4), 0.5);
    tc_value h = tc_relu(tc_neg(f->x));
    tc_value y = tc_exp(tc_add(h, tc_matmul(h, w)));
    request_fetch(&f->r, y);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "fused"), 2);
}

static void test_left_alone(void **state)
{
    fixture *f = *state;
    begin(f);
    /* One node is no group. */
    request_fetch(&f->r, tc_exp(f->x));
    /* Different shapes, and sizes that may differ. */
    tc_value u = tc_placeholder(f->graph, "u", TC_F32, TC_SHAPE(-1));
    tc_value v = tc_placeholder(f->graph, "v", TC_F32, TC_SHAPE(-1));
    request_feed(&f->r, u);
    request_feed(&f->r, v);
    request_fetch(&f->r, tc_add(tc_exp(u), v));
    /* Random numbers and reductions of other axes. */
    request_fetch(&f->r, tc_dropout(f->x, 0.5));
    request_fetch(&f->r, tc_reduce_sum(f->x, .axes = TC_INTS(0)));
    /* Operators that programs have no code for, and dtypes that they do not compute with. */
    request_fetch(&f->r, tc_softmax(f->x));
    tc_value small = tc_cast(f->i, TC_I8);
    request_fetch(&f->r, tc_add(small, small));
    f->r.request.mode = TC_MODE_TRAINING;
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "fused"), 0);
}

static void test_controls(void **state)
{
    fixture *f = *state;
    begin(f);
    tc_value first = tc_exp(f->x);
    tc_value held;
    tc_control_push(f->graph, TC_VALUES(first));
    held = tc_neg(f->x);
    tc_control_pop(f->graph);
    request_fetch(&f->r, tc_mul(tc_tanh(held), f->x));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "neg"), 1);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 1);
    assert_int_equal(count_nodes(f->program->graph, "fused"), 1);
}

/* The old content of a variable is not kept for a node that also needs what comes after the write.
 */
static void test_writes(void **state)
{
    fixture *f = *state;
    begin(f);
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 1));
    tc_value old = tc_exp(v);
    tc_value now = tc_assign(v, tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    request_fetch(&f->r, tc_add(tc_neg(old), now));
    compile(f);
    const tc_node *node = only_fused(f);
    for (int32_t i = 0; i < node->n_inputs; i++)
        assert_true(
            node->inputs[i].node < 0 ||
            !tc_node_is(tc_graph_node_at(f->program->graph, node->inputs[i].node), "variable"));
}

/* Longer chains than a program holds become several. */
static void test_long_chain(void **state)
{
    fixture *f = *state;
    begin(f);
    tc_value y = f->x;
    for (int i = 0; i < 200; i++)
        y = i % 2 ? tc_neg(y) : tc_mul(y, f->x);
    request_fetch(&f->r, y);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "fused"), 4);
    assert_int_equal(node_count(f), 4 + 1);
}

static void test_gradient_tails(void **state)
{
    fixture *f = *state;
    tc_value (*const functions[])(tc_location, tc_value) = {tc_sigmoid_at, tc_tanh_at, tc_relu_at};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        tc_value y = functions[i](TC_HERE, f->x), dx;
        assert_ok(tc_gradients(TC_VALUES(tc_reduce_sum(tc_mul(y, f->x))), TC_VALUES(f->x), &dx));
        f->r.request.disable_passes = NULL;
        f->r.request.n_fetches = 0;
        request_fetch(&f->r, dx);
        compile(f);
        only_fused(f);
    }
}

/*
 * Random graphs
 */
#define MAX_VALUES 60

typedef struct generator {
    uint64_t state;
    tc_graph *graph;
    tc_value values[MAX_VALUES];
    int n;
    tc_value feeds[6];
} generator;

static uint32_t pick(generator *g, uint32_t count)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return (uint32_t)(g->state >> 33) % count;
}

/* Not to large numbers, so that everything stays finite. */
static tc_value unary(generator *g, tc_value x)
{
    switch (pick(g, 12)) {
    case 0: return tc_tanh(x);
    case 1: return tc_sigmoid(x);
    case 2: return tc_relu(x);
    case 3: return tc_abs(x);
    case 4: return tc_neg(x);
    case 5: return tc_square(tc_tanh(x));
    case 6: return tc_exp(tc_neg(tc_abs(x)));
    case 7: return tc_gelu(x);
    case 8: return tc_floor(x);
    case 9: return tc_cast(tc_cast(x, TC_F64), TC_F32);
    case 10: return tc_cast(tc_cast(x, TC_I32), TC_F32);
    default: return tc_erf(x);
    }
}

static tc_value reduction(generator *g, tc_value x)
{
    bool keep = pick(g, 4) != 0;
    tc_value y;
    switch (pick(g, 4)) {
    case 0: y = tc_reduce_sum(x, .axes = TC_INTS(-1), .keep_dims = keep); break;
    case 1: y = tc_reduce_mean(x, .axes = TC_INTS(-1), .keep_dims = keep); break;
    case 2: y = tc_reduce_max(x, .axes = TC_INTS(-1), .keep_dims = keep); break;
    default: y = tc_reduce_min(x, .axes = TC_INTS(-1), .keep_dims = keep); break;
    }
    y = tc_tanh(y);
    return keep ? y : tc_unsqueeze(y, TC_INTS(1));
}

static tc_value binary(generator *g, tc_value a, tc_value b)
{
    switch (pick(g, 7)) {
    case 0: return tc_add(a, b);
    case 1: return tc_sub(a, b);
    case 2: return tc_mul(tc_tanh(a), b);
    case 3: return tc_maximum(a, b);
    case 4: return tc_minimum(a, b);
    case 5: return tc_where(tc_less(a, b), a, b);
    default: return tc_where(tc_logical_not(tc_greater_equal(a, b)), b, tc_neg(a));
    }
}

static void build(generator *g)
{
    g->graph = tc_graph_create();
    tc_dim rows = pick(g, 2) ? TC_DIM("n") : (tc_dim){-1, NULL};
    g->feeds[0] = tc_placeholder(g->graph, "x", TC_F32, TC_SHAPE(rows, TC_DIM("c")));
    g->feeds[1] = tc_placeholder(g->graph, "z", TC_F32, TC_SHAPE(TC_DIM("n"), TC_DIM("c")));
    g->feeds[2] = tc_placeholder(g->graph, "row", TC_F32, TC_SHAPE(TC_DIM("c")));
    g->feeds[3] = tc_placeholder(g->graph, "column", TC_F32, TC_SHAPE(TC_DIM("n"), 1));
    g->feeds[4] = tc_placeholder(g->graph, "one", TC_F32, TC_SCALAR);
    g->feeds[5] = tc_placeholder(g->graph, "bias", TC_F32, TC_SHAPE(TC_DIM("n")));
    for (int i = 0; i < 5; i++)
        g->values[g->n++] = g->feeds[i];
    int nodes = 5 + (int)pick(g, 40);
    for (int i = 0; i < nodes; i++) {
        tc_value a = g->values[pick(g, (uint32_t)g->n)], b = g->values[pick(g, (uint32_t)g->n)];
        bool matrix = tc_value_shape(a).rank == 2;
        tc_value y;
        switch (pick(g, 9)) {
        case 0:
        case 1:
        case 2: y = unary(g, a); break;
        case 3: y = matrix ? reduction(g, a) : unary(g, a); break;
        case 4: y = matrix ? tc_bias_add(a, g->feeds[5], .axis = TC_SOME(0)) : unary(g, a); break;
        case 5: y = tc_add(a, tc_constant_scalar(g->graph, TC_F32, 0.25 * pick(g, 9) - 1)); break;
        default: y = binary(g, a, b); break;
        }
        g->values[g->n++] = y;
    }
    tc_value dx;
    assert_ok(tc_graph_status(g->graph));
    if (pick(g, 3))
        return;
    tc_value sum = tc_reduce_sum(tc_tanh(g->values[g->n - 1]));
    assert_ok(tc_gradients(TC_VALUES(sum), TC_VALUES(g->feeds[0]), &dx, .zero_unconnected = true));
    g->values[g->n++] = dx;
}

#define FETCHES 3

static int count_fused;

static void see_fused(void *context, const char *pass, const char *when, const char *text)
{
    if (strcmp(when, "after") == 0 && strcmp(pass, "fuse_elementwise") == 0)
        for (const char *at = text; (at = strstr(at, " = fused(")); at++)
            count_fused++;
}

static void observe(generator *g, tc_runtime *runtime, const tc_value *fetches,
                    tc_tensor *const *inputs, bool fused, tc_tensor **outputs)
{
    const tc_session_options options = {.struct_size = sizeof options,
                                        .runtime = runtime,
                                        .disable_passes = fused ? only_fusion() : "all",
                                        .dump = fused ? see_fused : NULL};
    tc_session *session;
    tc_feed feeds[6];
    for (int i = 0; i < 6; i++)
        feeds[i] = (tc_feed){g->feeds[i], inputs[i]};
    assert_ok(tc_session_create(g->graph, &options, &session));
    assert_ok(tc_session_run(session, feeds, 6, fetches, FETCHES, TC_NO_TARGETS, outputs, NULL));
    tc_session_release(session);
}

static tc_tensor *make_input(generator *g, tc_value value, int64_t n, int64_t c)
{
    tc_shape shape = tc_value_shape(value);
    tc_tensor *tensor;
    for (int32_t i = 0; i < shape.rank; i++)
        if (shape.dims[i].size < 0)
            shape.dims[i] =
                (tc_dim){shape.dims[i].name && shape.dims[i].name[0] == 'c' ? c : n, NULL};
    assert_ok(tc_tensor_create(TC_F32, shape, &tensor));
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_ok(tc_tensor_set(tensor, i, pick(g, 8001) / 2000.0 - 2));
    return tensor;
}

static void check_seed(uint64_t seed, tc_runtime *runtime, const char *isa)
{
    static const int64_t rows[] = {1, 2, 3, 7, 40, 130},
                         columns[] = {1, 3, 10, 33, 100, 128, 130, 600, 1500, 3000};
    generator g = {.state = seed * 0x9E3779B97F4A7C15u + 1};
    for (int i = 0; i < 5; i++)
        (void)pick(&g, 2);
    build(&g);
    int64_t n = rows[pick(&g, 6)], c = columns[pick(&g, 10)];
    tc_value fetches[FETCHES];
    tc_tensor *inputs[6], *with[FETCHES] = {0}, *without[FETCHES] = {0};
    fetches[0] = g.values[g.n - 1];
    for (int i = 1; i < FETCHES; i++)
        fetches[i] = g.values[5 + pick(&g, (uint32_t)g.n - 5)];
    for (int i = 0; i < 6; i++)
        inputs[i] = make_input(&g, g.feeds[i], n, c);
    observe(&g, runtime, fetches, inputs, true, with);
    observe(&g, runtime, fetches, inputs, false, without);
    for (int i = 0; i < FETCHES; i++) {
        assert_true(tc_shape_equal(tc_tensor_shape(with[i]), tc_tensor_shape(without[i])));
        const char *a = tc_tensor_data(with[i]), *b = tc_tensor_data(without[i]);
        if (memcmp(a, b, tc_tensor_bytes(with[i])) != 0) {
            int64_t k = 0;
            while (tc_tensor_get(with[i], k) == tc_tensor_get(without[i], k))
                k++;
            fail_msg(
                "seed %llu on %s, n %lld, c %lld: fetch %d '%s' differs at %lld: %.9g, not %.9g",
                (unsigned long long)seed, isa, (long long)n, (long long)c, i,
                tc_value_name(fetches[i]), (long long)k, tc_tensor_get(with[i], k),
                tc_tensor_get(without[i], k));
        }
        tc_tensor_release(with[i]);
        tc_tensor_release(without[i]);
    }
    for (int i = 0; i < 6; i++)
        tc_tensor_release(inputs[i]);
    tc_graph_release(g.graph);
}

static void test_random_graphs(void **state)
{
    for (tc_isa isa = TC_ISA_SCALAR; isa < TC_ISA_COUNT; isa++) {
        if (!tc_cpu_supports(isa))
            continue;
        const tc_runtime_options options = {
            .struct_size = sizeof options, .threads = 3, .cpu_isa = tc_isa_name(isa)};
        tc_runtime *runtime;
        assert_ok(tc_runtime_create(&options, &runtime));
        count_fused = 0;
        for (uint64_t seed = 1; seed <= (TEST_SANITIZED ? 40 : 300); seed++)
            check_seed(seed, runtime, tc_isa_name(isa));
        assert_true(count_fused > (TEST_SANITIZED ? 40 : 300));
        tc_runtime_release(runtime);
    }
}

/* Every operation of a chain, either operand held, single elements on both sides. */
static tc_value chain(tc_value x, tc_value z)
{
    tc_value two = tc_constant_scalar(x.graph, tc_value_dtype(x), 2);
    tc_value a = tc_sub(two, tc_mul(tc_add(x, z), two));
    a = tc_div(z, tc_add(tc_square(tc_sub(z, a)), two));
    a = tc_maximum(tc_neg(a), tc_minimum(tc_abs(x), two));
    a = tc_exp(tc_minimum(tc_sqrt(tc_div(two, tc_add(tc_relu(a), two))), a));
    return tc_tanh(tc_div(tc_reciprocal(tc_sub(a, two)), two));
}

static tc_value of_row(tc_value (*reduce)(tc_location, tc_value, const tc_reduce_options *),
                       tc_value x)
{
    const int64_t last = -1;
    return reduce(TC_HERE, x,
                  &(tc_reduce_options){.struct_size = sizeof(tc_reduce_options),
                                       .axes = {&last, 1},
                                       .keep_dims = true});
}

static tc_value chain_of_rows(tc_value x, tc_value z)
{
    tc_value y = tc_sub(chain(x, z), of_row(tc_reduce_max_at, x));
    y = tc_mul(y, of_row(tc_reduce_mean_at, tc_square(y)));
    y = tc_add(y, of_row(tc_reduce_sum_at, tc_abs(tc_mul(y, z))));
    return tc_mul(tc_sub(y, of_row(tc_reduce_min_at, tc_neg(y))), x);
}

static void check_chain(tc_runtime *runtime, tc_dtype dtype, int64_t rows, int64_t columns,
                        bool by_rows)
{
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", dtype, TC_SHAPE(rows, columns));
    tc_value z = tc_placeholder(graph, "z", dtype, TC_SHAPE(rows, columns));
    tc_value y = by_rows ? chain_of_rows(x, z) : chain(x, z);
    tc_feed feeds[] = {{x, NULL}, {z, NULL}};
    tc_tensor *results[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        assert_ok(tc_tensor_create(dtype, TC_SHAPE(rows, columns), &feeds[i].tensor));
        for (int64_t k = 0; k < rows * columns; k++) {
            double number = (double)((k * 7919 + 31 * i) % 4001) / 1000 - 2;
            if (dtype == TC_F32)
                ((float *)tc_tensor_data(feeds[i].tensor))[k] = (float)number;
            else
                ((double *)tc_tensor_data(feeds[i].tensor))[k] = number;
        }
    }
    for (int fused = 0; fused < 2; fused++) {
        const tc_session_options options = {.struct_size = sizeof options,
                                            .runtime = runtime,
                                            .disable_passes = fused ? only_fusion() : "all"};
        tc_session *session;
        assert_ok(tc_session_create(graph, &options, &session));
        assert_ok(tc_session_run(session, feeds, 2, &y, 1, TC_NO_TARGETS, &results[fused], NULL));
        tc_session_release(session);
    }
    assert_memory_equal(tc_tensor_data(results[0]), tc_tensor_data(results[1]),
                        tc_tensor_bytes(results[0]));
    for (int i = 0; i < 2; i++) {
        tc_tensor_release(results[i]);
        tc_tensor_release(feeds[i].tensor);
    }
    tc_graph_release(graph);
}

/* Rows of whole vectors and not, in one tile and in several; and an output that is streamed. */
static void test_chains(void **state)
{
    (void)state;
    static const int64_t columns[] = {20, 127, 128, 200, 1024, 1100, 9000};
    for (tc_isa isa = TC_ISA_SCALAR; isa < TC_ISA_COUNT; isa++) {
        if (!tc_cpu_supports(isa))
            continue;
        const tc_runtime_options options = {
            .struct_size = sizeof options, .threads = 2, .cpu_isa = tc_isa_name(isa)};
        tc_runtime *runtime;
        assert_ok(tc_runtime_create(&options, &runtime));
        for (size_t i = 0; i < 2 * sizeof columns / sizeof columns[0]; i++)
            for (int by_rows = 0; by_rows < 2; by_rows++)
                check_chain(runtime, i % 2 ? TC_F64 : TC_F32, 9, columns[i / 2], by_rows);
        check_chain(runtime, TC_F32, 2049, 2060, false);
        tc_runtime_release(runtime);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_chain),
        TEST(test_rows),
        TEST(test_bias_gelu_residual),
        TEST(test_outputs),
        TEST(test_no_cycle),
        TEST(test_left_alone),
        TEST(test_controls),
        TEST(test_writes),
        TEST(test_long_chain),
        TEST(test_gradient_tails),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_chains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
