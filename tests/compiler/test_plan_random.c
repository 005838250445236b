/*
 * Random programs of computations, views, variables and writes: every plan is followed step by step
 * (check_plan), with optional passes on and off, on one device and on several. What is wrong with
 * one seed is found again by giving the seed as the only argument.
 */
#include "compiler/compiler_test.h"

typedef struct generator {
    uint64_t state;
    bool scopes; /* nodes ask for devices */
    tc_graph *graph;
    tc_value values[200]; /* f32 of 8 elements, in various shapes */
    int n_values;
    tc_value variables[5];
    int n_variables;
    tc_value updates[40];
    int n_updates;
} generator;

static uint32_t pick(generator *g, uint32_t count)
{
    g->state ^= g->state << 13;
    g->state ^= g->state >> 7;
    g->state ^= g->state << 17;
    return (uint32_t)(g->state >> 33) % count;
}

static tc_value any_value(generator *g)
{
    return g->values[pick(g, (uint32_t)g->n_values)];
}

/* A value in one of three shapes, so that views appear everywhere. */
static tc_value shaped(generator *g, tc_value value)
{
    switch (pick(g, 6)) {
    case 0: return tc_reshape(value, TC_SHAPE(2, 4));
    case 1: return tc_reshape(value, TC_SHAPE(8));
    case 2: return tc_identity(value);
    default: return value;
    }
}

static tc_value flat(tc_value value)
{
    return tc_value_shape(value).rank == 1 ? value : tc_reshape(value, TC_SHAPE(8));
}

static tc_value write(generator *g)
{
    tc_value variable = g->variables[pick(g, (uint32_t)g->n_variables)];
    tc_value source =
        pick(g, 3) ? flat(any_value(g)) : g->variables[pick(g, (uint32_t)g->n_variables)];
    switch (pick(g, 4)) {
    case 0: return tc_assign(variable, source);
    case 1: return tc_assign_add(variable, source);
    case 2: return tc_assign_sub(variable, source);
    default: {
        tc_value other = g->variables[pick(g, (uint32_t)g->n_variables)];
        if (other.node == variable.node)
            return tc_assign(variable, source);
        return tc_apply_momentum(variable, other, source,
                                 tc_constant_scalar(g->graph, TC_F32, 0.5));
    }
    }
}

/* 8 elements of two values, cut apart and joined again, often without copies. */
static tc_value mixed(generator *g)
{
    const int64_t middle = 4, none = 0, end = 8;
    tc_value a = flat(any_value(g)), b = flat(any_value(g));
    tc_value halves = tc_split(b, 0, 2);
    tc_value low = tc_slice_at(TC_HERE, a, (tc_ints){&none, 1}, (tc_ints){&middle, 1}, NULL);
    tc_value high = tc_slice_at(TC_HERE, a, (tc_ints){&middle, 1}, (tc_ints){&end, 1}, NULL);
    tc_value parts[] = {pick(g, 2) ? high : tc_neg(high), pick(g, 2) ? low : tc_exp(low)};
    tc_value others[] = {tc_tanh(halves), pick(g, 2) ? tc_output(halves, 1) : parts[0]};
    switch (pick(g, 4)) {
    case 0: return tc_concat(parts, 2, 0);
    case 1: return tc_concat(others, 2, 0);
    case 2: return tc_reshape(tc_stack(others, 2, 0), TC_SHAPE(8));
    default: return tc_reshape(tc_stack(parts, 2, pick(g, 2)), TC_SHAPE(8));
    }
}

/* Asks for a device until the next call. */
static void change_scope(generator *g, bool open)
{
    static const char *const names[] = {"cpu", "cuda:0", "cuda:1"};
    if (!g->scopes)
        return;
    if (open)
        tc_device_pop(g->graph);
    tc_device_push(g->graph, names[pick(g, 4) % 3]);
}

static void add_node(generator *g)
{
    tc_value value;
    switch (pick(g, 10)) {
    case 0: value = tc_neg(shaped(g, any_value(g))); break;
    case 1: value = tc_exp(shaped(g, any_value(g))); break;
    case 2:
    case 3: value = tc_add(flat(any_value(g)), flat(any_value(g))); break;
    case 4: value = tc_mul(flat(any_value(g)), flat(any_value(g))); break;
    case 5: value = shaped(g, any_value(g)); break;
    case 6: value = tc_expand_like(flat(any_value(g)), flat(any_value(g))); break;
    case 7: value = mixed(g); break;
    default:
        value = write(g);
        g->updates[g->n_updates++] = value;
        if (pick(g, 3)) /* whose output is seldom read */
            return;
    }
    g->values[g->n_values++] = value;
}

static void generate(generator *g, test_request *r)
{
    *r = (test_request){0};
    g->graph = tc_graph_create();
    tc_value x = tc_placeholder(g->graph, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    tc_value y = tc_placeholder(g->graph, "y", TC_F32, TC_SHAPE(8));
    g->values[g->n_values++] = tc_reshape(x, TC_SHAPE(8));
    g->values[g->n_values++] = y;
    g->values[g->n_values++] = tc_fill(g->graph, TC_F32, TC_SHAPE(8), 3);
    request_feed(r, x);
    request_feed(r, y);
    change_scope(g, false);
    g->n_variables = 1 + (int)pick(g, 5);
    for (int i = 0; i < g->n_variables; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        g->variables[i] = tc_variable(g->graph, name, tc_fill(g->graph, TC_F32, TC_SHAPE(8), i));
        g->values[g->n_values++] = g->variables[i];
        if (g->scopes && pick(g, 2))
            change_scope(g, true);
    }
    int nodes = 3 + (int)pick(g, 37);
    for (int i = 0; i < nodes; i++) {
        if (g->scopes && pick(g, 3) == 0)
            change_scope(g, true);
        add_node(g);
    }
    if (g->scopes)
        tc_device_pop(g->graph);
    int fetches = (int)pick(g, 6);
    for (int i = 0; i < fetches; i++)
        request_fetch(r, any_value(g));
    for (int i = 0;
         i < g->n_updates && r->request.n_fetches < TEST_EDGES && r->request.n_targets < TEST_EDGES;
         i++) {
        if (pick(g, 2))
            request_target(r, g->updates[i]);
        else if (pick(g, 3) == 0)
            request_fetch(r, g->updates[i]);
    }
    assert_ok(tc_graph_status(g->graph));
}

static void check_seed(uint64_t seed)
{
    generator g = {.state = seed * 0x9E3779B97F4A7C15u + 1};
    test_request r;
    fake_target target = fake_target_make();
    const tc_shape shapes[] = {TC_SHAPE(8), TC_SHAPE(8)};
    generate(&g, &r);
    for (int passes = 0; passes < 2; passes++) {
        r.request.disable_passes = passes ? NULL : "all";
        tc_program *program = compile_ok(g.graph, &r, &target);
        tc_plan_release(plan_ok(program, shapes, &target));
        tc_program_release(program);
    }
    tc_graph_release(g.graph);
}

/* Three devices, one of them the default, two of which lack some kernels; and with less memory. */
static void check_devices(uint64_t seed)
{
    static const char *const missing[] = {NULL, "exp", "tanh,concat", "assign,mul",
                                          "neg,assign_add"};
    generator g = {.state = seed * 0x9E3779B97F4A7C15u + 1, .scopes = true};
    test_request r;
    fake_target target = fake_devices(3, (int32_t)(seed % 4) - 1);
    const tc_shape shapes[] = {TC_SHAPE(8), TC_SHAPE(8)};
    target.cpu_only = missing[seed % 5];
    generate(&g, &r);
    for (int passes = 0; passes < 2; passes++) {
        tc_plan *small;
        r.request.disable_passes = passes ? NULL : "all";
        r.request.commit_copies = seed % 7 == 0;
        tc_program *program = compile_ok(g.graph, &r, &target);
        tc_plan *plan;
        assert_ok(tc_plan_create(program, shapes, &target.target, 0, &plan));
        check_plan(plan);
        size_t most = 0;
        for (int32_t d = 0; d < plan->n_devices; d++)
            most = plan->devices[d].arena_bytes > most ? plan->devices[d].arena_bytes : most;
        if (most > 64 &&
            tc_plan_create(program, shapes, &target.target, most - 1, &small) == TC_OK) {
            check_plan(small);
            for (int32_t d = 0; d < small->n_devices; d++)
                assert_true(small->devices[d].arena_bytes < most);
            tc_plan_release(small);
        }
        tc_plan_release(plan);
        tc_program_release(program);
    }
    tc_graph_release(g.graph);
}

/*
 * Running: what plans do must not change a bit of fetches and variables.
 */
typedef struct results {
    tc_tensor *outputs[TEST_EDGES];
    tc_tensor *variables[5];
} results;

static void release_results(results *r)
{
    for (int i = 0; i < TEST_EDGES; i++)
        tc_tensor_release(r->outputs[i]);
    for (int i = 0; i < 5; i++)
        tc_tensor_release(r->variables[i]);
}

static tc_value value_of(generator *g, tc_edge edge)
{
    return (tc_value){g->graph, edge.node, edge.output};
}

static results run(generator *g, const test_request *r, const char *disable_passes, size_t budget)
{
    results out = {0};
    tc_session *session;
    float data[2][8];
    tc_feed feeds[2];
    tc_value fetches[TEST_EDGES], targets[TEST_EDGES];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 8; k++)
            data[i][k] = (float)(k - 4 * i) * 0.25f;
        feeds[i].value = value_of(g, r->feeds[i]);
        assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(8), data[i], &feeds[i].tensor));
    }
    for (int32_t i = 0; i < r->request.n_fetches; i++)
        fetches[i] = value_of(g, r->fetches[i]);
    for (int32_t i = 0; i < r->request.n_targets; i++)
        targets[i] = (tc_value){g->graph, r->targets[i], 0};
    const tc_session_options options = {
        .struct_size = sizeof options, .disable_passes = disable_passes, .memory_budget = budget};
    assert_ok(tc_session_create(g->graph, &options, &session));
    for (int i = 0; i < 2; i++) /* the second run sees what the first one wrote */
        assert_ok(tc_session_run(session, feeds, 2, fetches, (size_t)r->request.n_fetches, targets,
                                 (size_t)r->request.n_targets, out.outputs, NULL));
    for (int i = 0; i < g->n_variables; i++) {
        char name[16];
        snprintf(name, sizeof name, "v%d", i);
        assert_ok(tc_session_initialize(session));
        assert_ok(tc_store_read(tc_session_store(session), name, &out.variables[i]));
    }
    tc_session_release(session);
    tc_tensor_release(feeds[0].tensor);
    tc_tensor_release(feeds[1].tensor);
    return out;
}

static void expect_same(tc_tensor *const *a, tc_tensor *const *b, int count)
{
    for (int i = 0; i < count; i++)
        assert_memory_equal(tc_tensor_data(a[i]), tc_tensor_data(b[i]), tc_tensor_bytes(a[i]));
}

/* The memory that a run of the random program takes with these passes. */
static size_t peak_bytes(generator *g, const test_request *r, const char *disable_passes)
{
    fake_target target = fake_target_make();
    test_request request = *r;
    const tc_shape shapes[] = {TC_SHAPE(8), TC_SHAPE(8)};
    request.request.disable_passes = disable_passes;
    tc_program *program = compile_ok(g->graph, &request, &target);
    tc_plan *plan = plan_ok(program, shapes, &target);
    size_t bytes = plan->arena_bytes;
    tc_plan_release(plan);
    tc_program_release(program);
    return bytes;
}

/* As much less memory as computing again saves. */
static void compare_within_budgets(generator *g, const test_request *r, const results *expected)
{
    const tc_shape shapes[] = {TC_SHAPE(8), TC_SHAPE(8)};
    fake_target target = fake_target_make();
    test_request request = *r;
    tc_program *program = compile_ok(g->graph, &request, &target);
    for (size_t budget = peak_bytes(g, r, NULL); budget > 64;) {
        tc_plan *plan;
        if (tc_plan_create(program, shapes, &target.target, --budget, &plan) != TC_OK)
            break;
        check_plan(plan);
        assert_true(plan->arena_bytes <= budget);
        budget = plan->arena_bytes;
        tc_plan_release(plan);
        results got = run(g, r, NULL, budget);
        expect_same(expected->outputs, got.outputs, r->request.n_fetches);
        expect_same(expected->variables, got.variables, g->n_variables);
        release_results(&got);
    }
    tc_program_release(program);
}

static void compare_seed(uint64_t seed)
{
    static const char *const none = "low_peak,rematerialize,alias,branches";
    static const char *const without[] = {"low_peak", "alias", "branches", NULL};
    generator g = {.state = seed * 0x9E3779B97F4A7C15u + 1};
    test_request r;
    generate(&g, &r);
    results expected = run(&g, &r, none, 0);
    for (size_t i = 0; i < sizeof without / sizeof without[0]; i++) {
        results got = run(&g, &r, without[i], 0);
        expect_same(expected.outputs, got.outputs, r.request.n_fetches);
        expect_same(expected.variables, got.variables, g.n_variables);
        release_results(&got);
    }
    compare_within_budgets(&g, &r, &expected);
    release_results(&expected);
    tc_graph_release(g.graph);
}

static uint64_t first_seed = 1, last_seed = TEST_SANITIZED ? 300 : 3000;

static void test_random_programs(void **state)
{
    for (uint64_t seed = first_seed; seed <= last_seed; seed++)
        check_seed(seed);
}

static void test_devices(void **state)
{
    for (uint64_t seed = first_seed; seed <= last_seed; seed++)
        check_devices(seed);
}

static void test_same_bits(void **state)
{
    for (uint64_t seed = first_seed; seed <= last_seed && seed <= first_seed + 200; seed++)
        compare_seed(seed);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_programs),
                                       cmocka_unit_test(test_devices),
                                       cmocka_unit_test(test_same_bits)};
    if (argc > 1)
        first_seed = last_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
