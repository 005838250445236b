/* Whole graphs: clone, hash, verify, text. */
#include "support/test.h"

#include <tensorc/ops.h>

#include "graph/graph.h"

/* How two graphs may differ. */
typedef struct recipe {
    int dim, constant, op, body, order, control, seed;
} recipe;

static tc_graph *make(recipe r)
{
    tc_graph *g =
        tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), NULL, (uint64_t)r.seed});
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM(r.dim ? "m" : "n"), 3));
    const float elements[] = {1, 2, (float)(3 + r.constant)};
    tc_value c = tc_constant_data(g, TC_F32, TC_SHAPE(3), elements);
    tc_graph *body = tc_function_begin(g, "f");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, -1));
    tc_function_end(body, TC_VALUES(r.body ? tc_exp(p) : tc_log(p), tc_neg(p)));
    tc_value y = tc_call(g, "f", TC_VALUES(x));
    if (r.control)
        tc_control_push(g, &c, 1);
    tc_value z = r.op ? tc_sub(y, tc_output(y, r.order)) : tc_add(y, tc_output(y, r.order));
    tc_annotate(z, "device", "cuda:1");
    tc_annotate(z, "note", "a \"quoted\" text");
    return g;
}

static void test_whole_hash(void **state)
{
    static const recipe others[] = {{.dim = 1},   {.constant = 1}, {.op = 1},  {.body = 1},
                                    {.order = 1}, {.control = 1},  {.seed = 1}};
    tc_graph *g = make((recipe){0}), *same = make((recipe){0});
    uint64_t hash = tc_graph_hash(g);
    assert_true(hash == tc_graph_hash(same));
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        tc_graph *other = make(others[i]);
        if (tc_graph_hash(other) == hash)
            fail_msg("recipe %zu has the same hash", i);
        tc_graph_release(other);
    }
    tc_graph_release(g);
    tc_graph_release(same);
}

static void test_whole_hash_ignores_names_and_lines(void **state)
{
    uint64_t hashes[2];
    for (int i = 0; i < 2; i++) {
        tc_graph *g = tc_graph_create();
        tc_value x = tc_placeholder(g, i ? "a" : "b", TC_F32, TC_SHAPE(2));
        if (i)
            tc_scope_push(g, "s");
        tc_value y = i ? tc_exp(x) : tc_exp_at(tc_location_make("elsewhere.c", 1), x);
        assert_true(tc_value_ok(y));
        hashes[i] = tc_graph_hash(g);
        tc_graph_release(g);
    }
    assert_true(hashes[0] == hashes[1]);
}

static void test_whole_hash_of_nested_functions(void **state)
{
    /* Each function calls the one before twice: 1023 bodies when inlined, 10 to hash. */
    tc_graph *g = tc_graph_create();
    char name[2][16];
    for (int i = 0; i < 10; i++) {
        snprintf(name[i & 1], sizeof name[0], "f%d", i);
        tc_graph *body = tc_function_begin(g, name[i & 1]);
        tc_value p = tc_parameter(body, "p", TC_F32, TC_SCALAR);
        tc_value y = i == 0 ? tc_exp(p)
                            : tc_add(tc_call(body, name[(i - 1) & 1], TC_VALUES(p)),
                                     tc_call(body, name[(i - 1) & 1], TC_VALUES(p)));
        tc_function_end(body, TC_VALUES(y));
    }
    assert_ok(tc_graph_status(g));
    assert_true(tc_graph_hash(g) != 0);
    tc_graph_release(g);
}

static char *printed(const tc_graph *g, tc_status (*print)(const tc_graph *, FILE *))
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_ok(print(g, file));
    fclose(file);
    return text;
}

static void test_whole_clone(void **state)
{
    tc_graph *g = make((recipe){0});
    assert_ok(tc_graph_verify(g));
    tc_graph *copy = tc_graph_clone(g);
    assert_non_null(copy);
    assert_true(tc_graph_hash(g) == tc_graph_hash(copy));
    char *before = printed(g, tc_graph_print), *after = printed(copy, tc_graph_print);
    assert_string_equal(before, after);
    assert_null(tc_graph_clone(tc_graph_function(g, 0)));
    tc_graph_release(g); /* the copy needs nothing of it */
    assert_ok(tc_graph_verify(copy));
    free(after);
    after = printed(copy, tc_graph_print);
    assert_string_equal(before, after);
    tc_value x = tc_graph_find(copy, "x");
    assert_string_equal(tc_value_name(tc_call(copy, "f", TC_VALUES(x))), "f_1");
    assert_string_equal(tc_annotation(tc_graph_find(copy, "add"), "device"), "cuda:1");
    free(before);
    free(after);
    tc_graph_fail(copy, TC_HERE, TC_ABORTED, "reason");
    tc_graph *failed = tc_graph_clone(copy);
    assert_status(tc_graph_status(failed), TC_ABORTED);
    assert_error_contains("reason");
    tc_graph_release(failed);
    tc_graph_release(copy);
}

static void test_whole_print(void **state)
{
    tc_graph *g = make((recipe){.control = 1});
    static const char *const parts[] = {
        "x = placeholder() {dtype=f32, shape=[n, 3]} -> f32[n, 3]  # ",
        "constant = constant() {tensor=f32[3]{1, 2, 3}} -> f32[3]",
        "f = call(x) {function=@f, gradient=\"\", stream=",
        "-> f32[n, 3], f32[n, 3]",
        "add = add(f, f) -> f32[n, 3]  after constant  @device=\"cuda:1\"  @note=",
        "@note=\"a \\\"quoted\\\" text\"  # ",
        "function f(p: f32[?, ?]) -> log, neg",
        "    log = log(p) -> f32[?, ?]",
        "test_whole.c:",
    };
    char *text = printed(g, tc_graph_print);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!strstr(text, parts[i]))
            fail_msg("\"%s\" is missing in\n%s", parts[i], text);
    free(text);
    static const char *const dot_parts[] = {
        "digraph tensorc {",  "n0_0 [label=\"x\\nplaceholder\\nf32[n, 3]\"];",
        "n0_2 -> n0_3;",      "n0_1 -> n0_3 [style=dashed];",
        "subgraph cluster_1", "n1_0 -> n1_1;",
    };
    text = printed(g, tc_graph_print_dot);
    for (size_t i = 0; i < sizeof dot_parts / sizeof dot_parts[0]; i++)
        if (!strstr(text, dot_parts[i]))
            fail_msg("\"%s\" is missing in\n%s", dot_parts[i], text);
    free(text);
    assert_status(tc_graph_print(g, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_print_dot(NULL, stdout), TC_INVALID_ARGUMENT);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        setvbuf(full, NULL, _IONBF, 0);
        assert_status(tc_graph_print(g, full), TC_UNAVAILABLE);
        fclose(full);
    }
    tc_graph_release(g);
}

/* Each breaks one invariant of the graph of make. */
static void edge_forward(tc_graph *g)
{
    g->nodes.data[2]->inputs[0].node = 3;
}
static void edge_output(tc_graph *g)
{
    g->nodes.data[3]->inputs[1].output = 2;
}
static void control_forward(tc_graph *g)
{
    static int32_t self = 3;
    g->nodes.data[3]->controls = &self;
    g->nodes.data[3]->n_controls = 1;
}
static void dtype(tc_graph *g)
{
    g->nodes.data[3]->outputs[0].dtype = TC_F64;
}
static void shape(tc_graph *g)
{
    g->nodes.data[3]->outputs[0].shape.dims[1].size = 4;
}
static void name(tc_graph *g)
{
    g->nodes.data[3]->name = "other";
}
static void attr(tc_graph *g)
{
    ((tc_attr *)g->nodes.data[0]->attrs.values)[0].type = TC_ATTR_INT;
}
static void outputs(tc_graph *g)
{
    g->nodes.data[2]->n_outputs = 1;
    g->nodes.data[3]->inputs[1].output = 0;
}
static void operator_of_other(tc_graph *g)
{
    static tc_op impostor;
    impostor = *g->nodes.data[3]->attrs.op;
    g->nodes.data[3]->attrs.op = &impostor;
}
static void function_result(tc_graph *g)
{
    g->functions.data[0]->results.data[0].node = 77;
}
static void function_parameter(tc_graph *g)
{
    g->functions.data[0]->parameters.data[0] = 1;
}
static void function_capture(tc_graph *g)
{
    const tc_capture capture = {{0, 0}, 2};
    assert_true(tc_vector_push(&g->functions.data[0]->captures, capture));
}

static void test_whole_verify_finds(void **state)
{
    static const struct {
        void (*breaks)(tc_graph *g);
        const char *part;
    } rows[] = {
        {edge_forward, "input 0 is output 0 of node 3, which is no earlier value"},
        {edge_output, "input 1 is output 2 of node 2"},
        {control_forward, "control dependency 3 is no earlier node"},
        {dtype, "output 0 is stored as f64[n, 3], but inferred as f32[n, 3]"},
        {shape, "output 0 is stored as f32[n, 4], but inferred as f32[n, 3]"},
        {name, "is not found by its name and number 3"},
        {attr, "attribute 'dtype' is an int instead of a dtype"},
        {outputs, "has 1 outputs instead of 2"},
        {operator_of_other, "the operator is not the one of the registry"},
        {function_result, "result 0 of function 'f' is no value"},
        {function_parameter, "parameter 0 of function 'f' is none"},
        {function_capture, "capture 0 of function 'f' is broken"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tc_graph *g = make((recipe){0});
        assert_ok(tc_graph_verify(g));
        rows[i].breaks(g);
        assert_status(tc_graph_verify(g), TC_INTERNAL);
        assert_error_contains(rows[i].part);
        tc_graph_release(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_hash),
        cmocka_unit_test(test_whole_hash_ignores_names_and_lines),
        cmocka_unit_test(test_whole_hash_of_nested_functions),
        cmocka_unit_test(test_whole_clone),
        cmocka_unit_test(test_whole_print),
        cmocka_unit_test(test_whole_verify_finds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
