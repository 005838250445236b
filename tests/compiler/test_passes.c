/* Passes that take the graph apart and put it together, and the manager: choosing, dumping,
 * reporting. */
#include "compiler/passes_test.h"

/*
 * extract
 */
static void test_extract(void **state)
{
    fixture *f = *state;
    f->r.request.disable_passes = "all";
    tc_value a = tc_exp(f->x), b = tc_neg(a);
    (void)tc_exp(b);
    request_fetch(&f->r, b);
    compile(f);
    assert_int_equal(node_count(f), 3);
    assert_int_equal(f->program->feeds[0].node, 0);
    assert_int_equal(f->program->feeds[1].node, -1); /* nothing needs it */
    assert_string_equal(f->program->reports[0].pass, "extract");
    assert_int_equal(f->program->reports[0].nodes_after, 3);
}

static void test_extract_stops_at_feeds(void **state)
{
    fixture *f = *state;
    tc_value missing = tc_placeholder(f->graph, "missing", TC_F32, TC_SHAPE(3, 4));
    tc_value middle = tc_exp(missing);
    tc_value parts = tc_split(f->x, 1, 2);
    request_feed(&f->r, middle);
    request_feed(&f->r, tc_output(parts, 1));
    request_fetch(&f->r, tc_add(middle, middle));
    request_fetch(&f->r, middle);
    request_fetch(&f->r, tc_concat(TC_VALUES(parts, tc_output(parts, 1)), 1));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "exp"), 0);
    assert_int_equal(count_nodes(f->program->graph, "split"), 1); /* for its other output */
    assert_int_equal(count_nodes(f->program->graph, "placeholder"), 3);
    assert_int_equal(f->program->fetches[1].node, f->program->feeds[2].node);
    const tc_node *joined = fetch_node(f->program, 2);
    assert_int_equal(joined->inputs[1].node, f->program->feeds[3].node);
    assert_string_equal(tc_graph_node_at(f->program->graph, joined->inputs[0].node)->attrs.op->name,
                        "split");
}

/* Known elements of a fed value say nothing of what is fed. */
static void test_fed_value_with_known_elements(void **state)
{
    fixture *f = *state;
    tc_value c = tc_constant_data(f->graph, TC_I64, TC_SHAPE(2), ((int64_t[]){3, 4}));
    request_feed(&f->r, c);
    request_fetch(&f->r, tc_slice(c, TC_INTS(1), TC_INTS(2)));
    compile(f);
    assert_string_equal(fetch_node(f->program, 0)->attrs.op->name, "slice");
    assert_null(fetch_node(f->program, 0)->outputs[0].known);
}

static void test_missing_feed(void **state)
{
    fixture *f = *state;
    tc_value missing = tc_placeholder(f->graph, "missing", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    request_fetch(&f->r, tc_add(f->x, missing));
    expect_error(f, TC_INVALID_ARGUMENT, "placeholder 'missing'");
    assert_error_contains("not fed");
    assert_error_contains("test_passes.c:");
    assert_error_contains("f32 [batch, 4]");
}

static void test_bad_requests(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 0));
    request_fetch(&f->r, tc_neg(f->x));
    request_feed(&f->r, v);
    expect_error(f, TC_INVALID_ARGUMENT, "variable 'v'");
    f->r.feeds[2] = f->r.feeds[0];
    expect_error(f, TC_INVALID_ARGUMENT, "feeds 0 and 2 are both for");
    f->r.feeds[2] = (tc_edge){1000, 0};
    expect_error(f, TC_INVALID_ARGUMENT, "feed 2 is no value");
    f->r.request.n_feeds = 2;
    f->r.fetches[0].output = 1;
    expect_error(f, TC_INVALID_ARGUMENT, "fetch 0 is no value");
    f->r.fetches[0].output = 0;
    request_target(&f->r, f->x);
    f->r.targets[0] = -1;
    expect_error(f, TC_INVALID_ARGUMENT, "target 0 is no node");
    tc_program *program;
    assert_status(tc_program_create(NULL, &f->r.request, &f->target.target, &program),
                  TC_INVALID_ARGUMENT);
    (void)tc_neg(tc_logical_not(f->x));
    assert_status(tc_program_create(f->graph, &f->r.request, &f->target.target, &program),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("logical_not");
}

static void test_initial_values(void **state)
{
    fixture *f = *state;
    tc_value initial = tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2);
    tc_value v = tc_variable(f->graph, "v", initial);
    f->r.request.disable_passes = "all";
    request_fetch(&f->r, v);
    compile(f);
    assert_int_equal(node_count(f), 1); /* the initial value is not part of a run */
    request_fetch(&f->r, initial);
    compile(f);
    assert_int_equal(node_count(f), 2); /* unless asked for */
    assert_string_equal(fetch_node(f->program, 1)->attrs.op->name, "fill");
}

static void test_control_dependencies(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_value update = tc_assign_add(v, v);
    tc_control_push(f->graph, TC_VALUES(update));
    tc_value y = tc_neg(f->x);
    tc_control_pop(f->graph);
    request_fetch(&f->r, y);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "assign_add"), 1);
    assert_true(f->program->writes);
    f->r.request.n_fetches = 0;
    request_target(&f->r, tc_group(f->graph, TC_VALUES(update, y)));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "assign_add"), 1);
    assert_int_equal(count_nodes(f->program->graph, "neg"), 1);
}

/*
 * inline_calls
 */
static tc_value call_of(fixture *f, const char *function, tc_value x)
{
    return tc_call(f->graph, function, TC_VALUES(x));
}

static void make_function(fixture *f)
{
    tc_graph *body = tc_function_begin(f->graph, "block");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(TC_DIM("rows"), 4));
    tc_value noise = tc_random_uniform(body, TC_F32, TC_SHAPE(4));
    tc_function_end(body, TC_VALUES(tc_mul(tc_add(p, noise), tc_cast(f->i, TC_F32))));
}

static void test_inline(void **state)
{
    fixture *f = *state;
    make_function(f);
    tc_value a = call_of(f, "block", f->x), b = call_of(f, "block", a);
    request_fetch(&f->r, b);
    compile(f);
    const tc_graph *graph = f->program->graph;
    assert_int_equal(count_nodes(graph, "call"), 0);
    assert_int_equal(count_nodes(graph, "parameter"), 0);
    assert_int_equal(count_nodes(graph, "mul"), 2);
    assert_int_equal(count_nodes(graph, "random_uniform"), 2); /* other numbers in each call */
    assert_int_equal(count_nodes(graph, "cast"), 1);           /* captured once */
    assert_int_equal(count_nodes(graph, "no_op"), 0);
    assert_true(tc_map_find_string(&graph->names, "block/mul") != NULL);
    assert_true(tc_map_find_string(&graph->names, "block_1/mul") != NULL);
    /* Shapes are those of the call: "rows" of the body is "batch" here. */
    const tc_shape shape = TC_SHAPE(TC_DIM("batch"), 4);
    assert_true(tc_shape_compatible(&fetch_node(f->program, 0)->outputs[0].shape, &shape));
    assert_string_equal(fetch_node(f->program, 0)->outputs[0].shape.dims[0].name, "batch");
}

static void test_inline_streams_differ_from_each_other_only(void **state)
{
    fixture *f = *state;
    make_function(f);
    request_fetch(&f->r, call_of(f, "block", f->x));
    int64_t streams[2];
    for (int i = 0; i < 2; i++) {
        compile(f);
        const tc_graph *graph = f->program->graph;
        const uint64_t *node = tc_map_find_string(&graph->names, "block/random_uniform");
        assert_non_null(node);
        streams[i] = tc_attrs_int(&tc_graph_node_at(graph, (int32_t)*node)->attrs, "stream");
    }
    assert_true(streams[0] == streams[1]);
    assert_true(streams[0] != 0);
}

static void test_inline_nested(void **state)
{
    fixture *f = *state;
    tc_graph *inner = tc_function_begin(f->graph, "inner");
    tc_value p = tc_parameter(inner, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(inner, TC_VALUES(tc_exp(p), p));
    tc_graph *outer = tc_function_begin(f->graph, "outer");
    tc_value q = tc_parameter(outer, "q", TC_F32, TC_SHAPE(-1, 4));
    tc_value both = tc_call(outer, "inner", TC_VALUES(q));
    tc_function_end(outer, TC_VALUES(tc_sub(both, tc_output(both, 1)), q));
    tc_value result = call_of(f, "outer", f->x);
    request_fetch(&f->r, result);
    request_fetch(&f->r, tc_output(result, 1)); /* a parameter handed through */
    compile(f);
    assert_string_equal(fetch_node(f->program, 0)->name, "outer/sub");
    assert_true(tc_map_find_string(&f->program->graph->names, "outer/inner/exp") != NULL);
    assert_int_equal(f->program->fetches[1].node, f->program->feeds[0].node);
    assert_int_equal(node_count(f), 3);
}

/* A call as a target or as something to wait for stands for everything in it. */
static void test_inline_target(void **state)
{
    fixture *f = *state;
    make_function(f);
    tc_value call = call_of(f, "block", f->x);
    request_target(&f->r, call);
    compile(f);
    assert_int_equal(f->program->n_targets, 1);
    assert_int_equal(count_nodes(f->program->graph, "mul"), 1);
    f->r.request.n_targets = 0;
    tc_control_push(f->graph, TC_VALUES(call));
    request_fetch(&f->r, tc_neg(f->x));
    tc_control_pop(f->graph);
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "mul"), 1);
    tc_plan *plan = plan_ok(f->program, (tc_shape[]){TC_SHAPE(2, 4), TC_SHAPE(4)}, &f->target);
    assert_string_equal(plan->steps[plan->n_steps - 1].kernel->op, "neg");
    tc_plan_release(plan);
}

/* Only a file can hold it: builders refuse calls of functions that are not finished. */
static void test_recursion(void **state)
{
    fixture *f = *state;
    make_function(f);
    tc_graph *other = tc_function_begin(f->graph, "other");
    tc_value p = tc_parameter(other, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(other, TC_VALUES(tc_call(other, "block", TC_VALUES(p))));
    request_fetch(&f->r, call_of(f, "other", f->x));
    compile(f);
    for (size_t i = 0; i < other->nodes.count; i++) {
        tc_node *node = other->nodes.data[i];
        if (!tc_node_is(node, "call"))
            continue;
        ((tc_attr *)tc_attrs_get(&node->attrs, "function"))->s = "other";
        node->n_inputs = (int32_t)other->parameters.count;
    }
    expect_error(f, TC_INVALID_ARGUMENT, "calls itself");
    assert_error_contains("'other'");
}

static void test_call_device(void **state)
{
    fixture *f = *state;
    make_function(f);
    tc_device_push(f->graph, "tpu");
    tc_value y = call_of(f, "block", f->x);
    tc_device_pop(f->graph);
    request_fetch(&f->r, y);
    expect_error(f, TC_INVALID_ARGUMENT, "no device 'tpu'");
}

/*
 * mode
 */
static const char *mode_of_dropout(fixture *f)
{
    const tc_graph *graph = compile(f)->graph;
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (tc_node_is(graph->nodes.data[i], "dropout"))
            return tc_attrs_string(&graph->nodes.data[i]->attrs, "mode");
    return "none";
}

static void test_mode(void **state)
{
    fixture *f = *state;
    tc_value v = tc_variable(f->graph, "v", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_value update = tc_assign_add(v, v);
    tc_value fixed = tc_dropout(f->x, 0.5, .mode = TC_MODE_TRAINING);
    request_fetch(&f->r, tc_dropout(f->x, 0.5));
    assert_string_equal(mode_of_dropout(f), "none"); /* inference: it is the identity */
    assert_false(f->program->training);
    assert_int_equal(f->program->fetches[0].node, f->program->feeds[0].node);
    f->r.request.disable_passes = "simplify";
    assert_string_equal(mode_of_dropout(f), "inference");
    f->r.request.mode = TC_MODE_TRAINING;
    assert_string_equal(mode_of_dropout(f), "training");
    f->r.request.mode = TC_MODE_AUTO;
    request_target(&f->r, update);
    assert_string_equal(mode_of_dropout(f), "training");
    assert_true(f->program->training);
    f->r.request.mode = TC_MODE_INFERENCE;
    assert_string_equal(mode_of_dropout(f), "inference");
    assert_true(f->program->writes);
    f->r.request.n_fetches = 0;
    request_fetch(&f->r, fixed);
    assert_string_equal(mode_of_dropout(f), "training"); /* said by the node itself */
}

/*
 * place
 */
static void test_place(void **state)
{
    fixture *f = *state;
    f->target.target.device_count = 2;
    static const char *const asked[] = {"cuda:0", "cuda", "cpu", "cpu:0"};
    for (int i = 0; i < 4; i++) {
        tc_device_push(f->graph, asked[i]);
        request_fetch(&f->r, tc_exp(f->x)); /* equal on two devices is not equal */
        tc_device_pop(f->graph);
    }
    f->r.request.disable_passes = "cse";
    compile(f);
    assert_int_equal(tc_graph_node_at(f->program->graph, f->program->feeds[0].node)->device, 0);
    for (int i = 0; i < 4; i++) {
        const tc_node *node = fetch_node(f->program, i);
        assert_int_equal(node->device, 0);
        assert_int_equal(tc_node_is(node, "transfer"), i < 2);
        assert_int_equal(count_nodes(f->program->graph, "exp"), 4);
    }
    tc_device_push(f->graph, "cuda:1");
    request_fetch(&f->r, tc_sqrt(f->x));
    tc_device_pop(f->graph);
    expect_error(f, TC_INVALID_ARGUMENT, "sqrt 'sqrt'");
    assert_error_contains("'cuda:1'");
    assert_error_contains("cpu, cuda:0");
    assert_error_contains("test_passes.c:");
}

/*
 * The manager
 */
typedef struct dumps {
    char log[4096];
    int count;
} dumps;

static void record(void *context, const char *pass, const char *when, const char *text)
{
    dumps *d = context;
    size_t used = strlen(d->log);
    snprintf(d->log + used, sizeof d->log - used, "%s %s %d;", pass, when,
             strstr(text, "neg_1 = neg") != NULL);
    d->count++;
}

static void test_dump(void **state)
{
    fixture *f = *state;
    dumps d = {0};
    f->r.request.dump = record;
    f->r.request.dump_context = &d;
    f->r.request.disable_passes = "fold, cse";
    request_fetch(&f->r, tc_neg(tc_neg(f->x)));
    expect_error(f, TC_INVALID_ARGUMENT, "' cse'");
    f->r.request.disable_passes = "fold,cse";
    d = (dumps){0};
    compile(f);
    assert_non_null(strstr(d.log, "extract before 0;extract after 1;"));
    assert_non_null(strstr(d.log, "simplify before 1;simplify after 0;"));
    assert_null(strstr(d.log, "cse"));
    assert_int_equal(d.count, 2 * f->program->n_reports);
}

static bool was_run(const fixture *f, const char *pass)
{
    bool found = false;
    for (int32_t i = 0; i < f->program->n_reports; i++)
        found = found || strcmp(f->program->reports[i].pass, pass) == 0;
    return found;
}

static void test_levels(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_pow(tc_neg(tc_neg(f->x)), tc_constant_scalar(f->graph, TC_F32, 2)));
    for (int level = TC_OPTIMIZATION_NONE; level <= TC_OPTIMIZATION_FULL; level++) {
        f->r.request.optimization = (tc_optimization)level;
        compile(f);
        assert_int_equal(was_run(f, "cse"), level >= TC_OPTIMIZATION_BASIC);
        assert_int_equal(was_run(f, "strength"), level == TC_OPTIMIZATION_FULL);
        assert_int_equal(count_nodes(f->program->graph, "neg"),
                         level == TC_OPTIMIZATION_NONE ? 2 : 0);
        assert_int_equal(count_nodes(f->program->graph, "pow"), level < TC_OPTIMIZATION_FULL);
    }
}

/* Passes run a second time only when others left something to do: here the constant that cse made
 * of two. */
static void test_again(void **state)
{
    fixture *f = *state;
    f->r.request.optimization = TC_OPTIMIZATION_BASIC;
    request_fetch(&f->r, tc_exp(f->x));
    compile(f);
    assert_int_equal(f->program->n_reports, 10);
    f->r.request.n_fetches = 0;
    tc_value a = tc_exp(tc_cast(f->i, TC_F32)), b = tc_exp(tc_cast(f->i, TC_F32));
    request_fetch(&f->r, tc_maximum(a, b));
    compile(f);
    assert_int_equal(count_nodes(f->program->graph, "maximum"), 0);
    assert_int_equal(f->program->n_reports, 13);
}

static void test_disable(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_neg(f->x));
    f->r.request.disable_passes = "fold,simplfy";
    expect_error(f, TC_INVALID_ARGUMENT, "'simplfy'");
    assert_error_contains("all, simplify, fold, cse");
    f->r.request.disable_passes = "extract"; /* mandatory */
    expect_error(f, TC_INVALID_ARGUMENT, "'extract'");
    f->r.request.disable_passes = "";
    compile(f);
    assert_true(was_run(f, "simplify") && was_run(f, "place"));
    f->r.request.disable_passes = "simplify";
    compile(f);
    assert_false(was_run(f, "simplify"));
    f->r.request.disable_passes = "all";
    compile(f);
    assert_int_equal(f->program->n_reports, 7); /* the mandatory ones */
    assert_true(f->program->plan_passes == 0);
    for (int32_t i = 0; i < f->program->n_reports; i++)
        assert_true(f->program->reports[i].milliseconds >= 0);
}

/* Placeholders and variables keep their names; others give way to them. */
static void test_names(void **state)
{
    fixture *f = *state;
    tc_graph *body = tc_function_begin(f->graph, "s");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(body, TC_VALUES(tc_neg(p)));
    tc_value y = call_of(f, "s", f->x);
    tc_scope_push(f->graph, "s");
    tc_value v = tc_variable(f->graph, "neg", tc_fill(f->graph, TC_F32, TC_SHAPE(4), 2));
    tc_scope_pop(f->graph);
    request_fetch(&f->r, y);
    request_fetch(&f->r, v);
    compile(f);
    assert_string_equal(fetch_node(f->program, 1)->name, "s/neg");
    assert_string_equal(fetch_node(f->program, 0)->name, "s/neg_1");
}

/* The program keeps what it borrows of its source alive. */
static void test_program_outlives_graph(void **state)
{
    fixture *f = *state;
    request_fetch(&f->r, tc_exp(f->x));
    compile(f);
    tc_graph_release(f->graph);
    f->graph = NULL;
    tc_program *again = tc_program_retain(f->program);
    tc_program_release(f->program);
    f->program = again;
    tc_plan_release(plan_ok(f->program, (tc_shape[]){TC_SHAPE(2, 4), TC_SHAPE(4)}, &f->target));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_extract),
        TEST(test_extract_stops_at_feeds),
        TEST(test_fed_value_with_known_elements),
        TEST(test_missing_feed),
        TEST(test_bad_requests),
        TEST(test_initial_values),
        TEST(test_control_dependencies),
        TEST(test_inline),
        TEST(test_inline_streams_differ_from_each_other_only),
        TEST(test_inline_nested),
        TEST(test_inline_target),
        TEST(test_recursion),
        TEST(test_call_device),
        TEST(test_mode),
        TEST(test_place),
        TEST(test_dump),
        TEST(test_disable),
        TEST(test_levels),
        TEST(test_again),
        TEST(test_names),
        TEST(test_program_outlives_graph),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
