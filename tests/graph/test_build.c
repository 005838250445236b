/* Nodes, names, scopes, control dependencies, devices, annotations, reading. */
#include "support/test.h"

#include <tensorc/ops.h>

#include "core/shape.h"
#include "graph/graph.h"

static tc_value input(tc_graph *g, const char *name)
{
    return tc_placeholder(g, name, TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
}

static void test_build_reads_back(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, "x");
    int line = __LINE__ + 1;
    tc_value y = tc_add(x, x);
    assert_ok(tc_graph_verify(g));
    assert_int_equal(tc_graph_node_count(g), 2);
    assert_string_equal(tc_value_name(y), "add");
    assert_string_equal(tc_value_op(y), "add");
    assert_int_equal(tc_value_dtype(y), TC_F32);
    tc_shape shape = tc_value_shape(y);
    char text[TC_SHAPE_TEXT_SIZE];
    assert_string_equal(tc_shape_text(&shape, text), "[batch, 4]");
    assert_ptr_equal(shape.dims[0].name, tc_value_shape(x).dims[0].name);
    assert_int_equal(tc_node_input_count(y), 2);
    assert_int_equal(tc_node_input(y, 1).node, x.node);
    assert_int_equal(tc_node_input(y, 2).node, -1);
    assert_int_equal(tc_node_location(y).line, line);
    assert_non_null(strstr(tc_node_location(y).file, "test_build.c"));
    assert_int_equal(tc_graph_find(g, "add").node, y.node);
    assert_int_equal(tc_graph_find(g, "add:0").node, y.node);
    assert_int_equal(tc_graph_find(g, "add:1").node, -1);
    assert_int_equal(tc_graph_find(g, "add:x").node, -1);
    assert_int_equal(tc_graph_find(g, "nothing").node, -1);
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_node_attr_text(x, "dtype", text, sizeof text), 3);
    assert_string_equal(text, "f32");
    assert_int_equal(tc_node_attr_text(x, "shape", text, 4), strlen("[batch, 4]"));
    assert_string_equal(text, "[ba");
    assert_int_equal(tc_node_attr_text(x, "nothing", text, sizeof text), 0);
    tc_graph_release(g);
}

static void test_build_names(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, "x");
    assert_string_equal(tc_value_name(tc_neg(x)), "neg");
    assert_string_equal(tc_value_name(tc_neg(x)), "neg_1");
    assert_string_equal(tc_value_name(tc_neg(x)), "neg_2");
    tc_scope_push(g, "a/b");
    tc_scope_push(g, "c");
    assert_string_equal(tc_value_name(tc_neg(x)), "a/b/c/neg");
    assert_string_equal(tc_value_name(input(g, "x")), "a/b/c/x");
    tc_scope_push(g, "/");
    assert_string_equal(tc_value_name(tc_abs(x)), "abs");
    tc_scope_push(g, "d");
    assert_string_equal(tc_value_name(tc_abs(x)), "d/abs");
    tc_scope_pop(g);
    tc_scope_pop(g);
    assert_string_equal(tc_value_name(tc_abs(x)), "a/b/c/abs");
    tc_scope_pop(g);
    assert_string_equal(tc_value_name(tc_neg(x)), "a/b/neg");
    tc_scope_pop(g);
    /* A name that looks like one with a suffix is stepped over. */
    tc_value taken = tc_node_build(
        g, &(const tc_node_spec){.op = "neg", .name = "neg_3", .at = TC_HERE, TC_SPEC_INPUTS(x)});
    assert_string_equal(tc_value_name(taken), "neg_3");
    assert_string_equal(tc_value_name(tc_neg(x)), "neg_4");
    assert_ok(tc_graph_verify(g));
    tc_graph_release(g);
}

static void test_build_controls_devices_annotations(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = input(g, "x"), a = tc_neg(x), b = tc_abs(x);
    tc_control_push(g, TC_VALUES(a, b, a));
    tc_device_push(g, "cpu");
    tc_value c = tc_exp(x);
    tc_control_push(g, TC_VALUES(c));
    tc_device_push(g, "cuda:0");
    tc_value d = tc_log(x);
    tc_control_pop(g);
    tc_device_pop(g);
    tc_control_pop(g);
    tc_value e = tc_log(x);
    tc_device_pop(g);
    assert_int_equal(tc_node_control_count(c), 2);
    assert_int_equal(tc_node_control(c, 1).node, b.node);
    assert_int_equal(tc_node_control(c, 2).node, -1);
    assert_int_equal(tc_node_control_count(d), 3);
    assert_int_equal(tc_node_control_count(e), 0);
    assert_string_equal(tc_annotation(d, "device"), "cuda:0");
    assert_string_equal(tc_annotation(e, "device"), "cpu");
    assert_null(tc_annotation(x, "device"));
    tc_annotate(e, "device", "cuda:1");
    tc_annotate(e, "note", "n");
    assert_string_equal(tc_annotation(e, "device"), "cuda:1");
    assert_string_equal(tc_annotation(e, "note"), "n");
    assert_ok(tc_graph_verify(g));
    tc_graph_release(g);
}

static void test_build_streams(void **state)
{
    /* The stream of a random operator is its path: nodes built elsewhere do not change it, the
     * graph's seed neither. */
    char streams[2][64];
    for (int i = 0; i < 2; i++) {
        tc_graph *g = tc_graph_create();
        if (i == 1)
            tc_neg(input(g, "before"));
        tc_scope_push(g, "noise");
        tc_value a = tc_random_uniform(g, TC_F32, TC_SHAPE(3));
        tc_value b = tc_random_uniform(g, TC_F32, TC_SHAPE(3));
        assert_ok(tc_graph_status(g));
        char other[64];
        assert_true(tc_node_attr_text(a, "stream", streams[i], 64) > 0);
        assert_true(tc_node_attr_text(b, "stream", other, 64) > 0);
        assert_string_not_equal(streams[i], other);
        assert_string_not_equal(streams[i], "0");
        tc_graph_release(g);
    }
    assert_string_equal(streams[0], streams[1]);
}

static void test_build_null_graph(void **state)
{
    tc_value x = input(NULL, "x");
    assert_false(tc_value_ok(x));
    assert_false(tc_value_ok(tc_add(x, x)));
    tc_scope_push(NULL, "a");
    tc_scope_pop(NULL);
    tc_control_push(NULL, &x, 1);
    tc_control_pop(NULL);
    tc_device_push(NULL, "cpu");
    tc_device_pop(NULL);
    tc_annotate(x, "a", "b");
    assert_null(tc_annotation(x, "a"));
    assert_string_equal(tc_value_name(x), "");
    assert_int_equal(tc_value_shape(x).rank, -1);
    assert_int_equal(tc_output_count(x), 0);
    assert_null(tc_function_begin(NULL, "f"));
    tc_function_end(NULL, &x, 1);
    assert_false(tc_value_ok(tc_call(NULL, "f", NULL, 0)));
    assert_false(tc_value_ok(tc_graph_fail(NULL, TC_HERE, TC_UNKNOWN, "nothing")));
    assert_status(tc_graph_status(NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_graph_verify(NULL), TC_INVALID_ARGUMENT);
    assert_null(tc_graph_clone(NULL));
    assert_int_equal(tc_graph_hash(NULL), 0);
    tc_graph_release(NULL);
}

static void test_build_references(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_graph *body = tc_function_begin(g, "f");
    assert_ptr_equal(tc_graph_retain(body), body);
    tc_graph_release(g);
    tc_value x =
        tc_parameter(body, "x", TC_F32, TC_SCALAR); /* the graph around it is still there */
    assert_true(tc_value_ok(x));
    tc_graph_release(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_reads_back),
        cmocka_unit_test(test_build_names),
        cmocka_unit_test(test_build_controls_devices_annotations),
        cmocka_unit_test(test_build_streams),
        cmocka_unit_test(test_build_null_graph),
        cmocka_unit_test(test_build_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
