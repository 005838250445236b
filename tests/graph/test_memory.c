/* Memory that runs out at every possible place, and the time that large graphs take. */
#include <time.h>

#include "support/counting_allocator.h"
#include "support/test.h"

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "graph/graph.h"

/* Uses everything of a graph that allocates. */
static tc_graph *build_all(void)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F64, TC_SHAPE(TC_DIM("n"), 3));
    tc_value v =
        tc_variable(g, "v", tc_constant_data(g, TC_F64, TC_SHAPE(3), ((const double[]){1, 2, 3})));
    tc_scope_push(g, "scope");
    tc_device_push(g, "cpu");
    tc_control_push(g, &x, 1);
    tc_graph *body = tc_function_begin(g, "f");
    tc_value p = tc_parameter(body, "p", TC_F64, TC_SHAPE(-1, 3));
    tc_graph *inner = tc_function_begin(body, "h");
    tc_value q = tc_parameter(inner, "q", TC_F64, TC_SHAPE(-1, 3));
    tc_function_end(inner, TC_VALUES(tc_mul(q, v)));
    tc_value inside = tc_call(body, "h", TC_VALUES(p));
    tc_function_end(body, TC_VALUES(tc_add(inside, p)));
    tc_value y = tc_call(g, "f", TC_VALUES(tc_call(g, "f", TC_VALUES(x))));
    tc_value many[12];
    for (int i = 0; i < 12; i++)
        many[i] = y;
    tc_value z = tc_concat(many, 12, 0);
    tc_annotate(z, "key", "text");
    tc_control_pop(g);
    tc_device_pop(g);
    tc_scope_pop(g);
    return g;
}

static tc_status scenario_build(void *context)
{
    tc_graph *g = build_all();
    tc_status status = g ? tc_graph_status(g) : TC_RESOURCE_EXHAUSTED;
    if (status == TC_OK)
        status = tc_graph_verify(g);
    tc_graph_release(g);
    return status;
}

static tc_status scenario_copy(void *context)
{
    tc_graph *g = build_all(), *copy = g ? tc_graph_clone(g) : NULL;
    tc_status status = !copy ? TC_RESOURCE_EXHAUSTED : tc_graph_status(copy);
    if (status == TC_OK)
        status = tc_graph_verify(copy);
    if (status == TC_OK) {
        FILE *nowhere = fopen("/dev/null", "w");
        status = tc_graph_print(copy, nowhere);
        if (status == TC_OK)
            status = tc_graph_print_dot(copy, nowhere);
        fclose(nowhere);
    }
    tc_graph_release(g);
    tc_graph_release(copy);
    return status;
}

static tc_status scenario_gradients(void *context)
{
    tc_graph *g = build_all();
    tc_value y = tc_graph_find(g, "scope/concat"), x = tc_graph_find(g, "x"), d = TC_NO_VALUE;
    tc_value v = tc_graph_find(g, "v");
    tc_status status = g ? tc_graph_status(g) : TC_RESOURCE_EXHAUSTED;
    if (status == TC_OK)
        status = tc_gradients(TC_VALUES(y), TC_VALUES(x), &d);
    if (status == TC_OK)
        status = tc_gradients(TC_VALUES(d), TC_VALUES(v), &d);
    tc_graph_release(g);
    return status;
}

static tc_status scenario_registry(void *context)
{
    static const tc_op *op;
    op = tc_registry_find_op(NULL, "add");
    static tc_op more[20];
    static char names[20][8];
    tc_registry *registry = tc_registry_create();
    tc_status status = registry ? TC_OK : TC_RESOURCE_EXHAUSTED;
    for (int i = 0; i < 20 && status == TC_OK; i++) {
        snprintf(names[i], sizeof names[i], "op%d", i);
        more[i] = *op;
        more[i].name = names[i];
        status = tc_registry_add_op(registry, &more[i]);
    }
    tc_registry_release(registry);
    return status;
}

static void test_memory_runs_out(void **state)
{
    static tc_status (*const scenarios[])(void *) = {scenario_build, scenario_copy,
                                                     scenario_gradients, scenario_registry};
    counting_allocator_install();
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        assert_ok(scenarios[i](NULL));
        assert_true(counting_allocator_sweep(scenarios[i], NULL) > 3);
    }
    counting_allocator_remove();
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void test_memory_large_graphs(void **state)
{
    double begin = seconds();
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 8)), y = x;
    for (int i = 0; i < 50000; i++)
        y = tc_add(tc_neg(y), x); /* all of one name: suffixes must not be searched for */
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_graph_node_count(g), 100001);
    assert_string_equal(tc_value_name(y), "add_49999");
    double built = seconds() - begin;
    tc_value d;
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), &d));
    double differentiated = seconds() - begin - built;
    print_message("100,000 nodes: built in %.3f s, differentiated in %.3f s\n", built,
                  differentiated);
    if (!TEST_SANITIZED)
        assert_true(built < 2 && differentiated < 4); /* quadratic work would take minutes */
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_runs_out),
        cmocka_unit_test(test_memory_large_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
