/* Bad use of graph.h and gradients.h: NULL, invalid values, calls in the wrong order. */
#include "../support/misuse.h"

/*
 * graph.h
 */
static void assert_invalid_value(tc_value value)
{
    assert_false(tc_value_ok(value));
    assert_int_equal(tc_value_dtype(value), TC_DTYPE_INVALID);
    assert_int_equal(tc_value_shape(value).rank, -1);
    assert_string_equal(tc_value_name(value), "");
    assert_string_equal(tc_value_op(value), "");
    assert_int_equal(tc_output_count(value), 0);
    assert_false(tc_value_ok(tc_output(value, 0)));
    assert_int_equal(tc_node_input_count(value), 0);
    assert_false(tc_value_ok(tc_node_input(value, 0)));
    assert_int_equal(tc_node_control_count(value), 0);
    assert_false(tc_value_ok(tc_node_control(value, 0)));
    assert_null(tc_node_location(value).file);
    assert_int_equal(tc_node_attr_text(value, "axis", NULL, 0), 0);
    assert_null(tc_annotation(value, "device"));
}

static void test_misuse_of_no_graph(void **state)
{
    tc_tensor *t;
    assert_ok(tc_tensor_create_scalar(TC_F32, 1, &t));
    assert_null(tc_graph_retain(NULL));
    tc_graph_release(NULL);
    invalid(tc_graph_status(NULL));
    assert_string_equal(tc_graph_error(NULL), "");
    assert_int_equal(tc_graph_seed(NULL), 0);
    assert_invalid_value(tc_graph_fail(NULL, TC_HERE, TC_INTERNAL, "own error %d", 1));
    assert_error_contains("own error 1");
    tc_scope_push(NULL, "a");
    tc_scope_pop(NULL);
    tc_control_push(NULL, NULL, 0);
    tc_control_pop(NULL);
    tc_device_push(NULL, "cpu");
    tc_device_pop(NULL);
    tc_annotate(TC_NO_VALUE, "key", "text");
    assert_int_equal(tc_graph_node_count(NULL), 0);
    assert_invalid_value(tc_graph_node(NULL, 0));
    assert_invalid_value(tc_graph_find(NULL, "x"));
    invalid(tc_graph_verify(NULL));
    invalid(tc_graph_print(NULL, stdout));
    invalid(tc_graph_print_dot(NULL, stdout));
    (void)tc_graph_hash(NULL);
    assert_invalid_value(tc_placeholder(NULL, "x", TC_F32, TC_SHAPE(1)));
    assert_invalid_value(tc_constant(NULL, t));
    assert_invalid_value(tc_constant_data(NULL, TC_F32, TC_SHAPE(1), (float[]){1}));
    assert_invalid_value(tc_constant_scalar(NULL, TC_F32, 1));
    assert_invalid_value(tc_variable(NULL, "v", TC_NO_VALUE));
    assert_null(tc_function_begin(NULL, "f"));
    assert_invalid_value(tc_parameter(NULL, "p", TC_F32, TC_SCALAR));
    tc_function_end(NULL, NULL, 0);
    assert_invalid_value(tc_call(NULL, "f", NULL, 0));
    assert_int_equal(tc_graph_function_count(NULL), 0);
    assert_null(tc_graph_function(NULL, 0));
    assert_string_equal(tc_function_name(NULL), "");
    assert_int_equal(tc_function_result_count(NULL), 0);
    assert_invalid_value(tc_function_result(NULL, 0));
    assert_invalid_value(tc_node_build(NULL, NULL));
    assert_invalid_value(tc_add(TC_NO_VALUE, TC_NO_VALUE));
    assert_invalid_value(TC_NO_VALUE);
    tc_tensor_release(t);
}

/* What makes a graph fail, one graph each; the error sticks, has a sentence, and sessions give it.
 */
typedef tc_value (*mistake)(tc_graph *g);

#define MISTAKE(name, expression)              \
    static tc_value name(tc_graph *g)          \
    {                                          \
        tc_value invalid_result = TC_NO_VALUE; \
        (void)g;                               \
        expression;                            \
        return invalid_result;                 \
    }
#define MISTAKEN_VALUE(name, expression) MISTAKE(name, invalid_result = (expression))

static tc_value made_up(tc_graph *g, int32_t node, int32_t output)
{
    return (tc_value){g, node, output};
}

MISTAKEN_VALUE(null_name, tc_placeholder(g, NULL, TC_F32, TC_SHAPE(1)))
MISTAKEN_VALUE(empty_name, tc_placeholder(g, "", TC_F32, TC_SHAPE(1)))
MISTAKEN_VALUE(slash_name, tc_placeholder(g, "a//b", TC_F32, TC_SHAPE(1)))
MISTAKEN_VALUE(bad_rank, tc_placeholder(g, "x", TC_F32, bad_shapes[2]))
MISTAKEN_VALUE(bad_dtype, tc_placeholder(g, "x", (tc_dtype)777, TC_SHAPE(1)))
MISTAKEN_VALUE(null_constant, tc_constant(g, NULL))
MISTAKEN_VALUE(null_data, tc_constant_data(g, TC_F32, TC_SHAPE(2), NULL))
MISTAKEN_VALUE(unknown_constant, tc_constant_data(g, TC_F32, TC_SHAPE(-1), (float[]){1}))
MISTAKEN_VALUE(scalar_string, tc_constant_scalar(g, TC_STRING, 1))
MISTAKEN_VALUE(no_initial, tc_variable(g, "v", TC_NO_VALUE))
MISTAKEN_VALUE(open_shape, tc_variable(g, "v", tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1))))
MISTAKEN_VALUE(one_operand, tc_add(tc_constant_scalar(g, TC_F32, 1), TC_NO_VALUE))
MISTAKEN_VALUE(made_up_node, tc_neg(made_up(g, 1000, 0)))
MISTAKEN_VALUE(made_up_output, tc_neg(made_up(g, tc_constant_scalar(g, TC_F32, 1).node, 7)))
MISTAKEN_VALUE(minus_output, tc_neg(made_up(g, tc_constant_scalar(g, TC_F32, 1).node, -1)))
MISTAKEN_VALUE(far_output, tc_output(tc_constant_scalar(g, TC_F32, 1), INT32_MAX))
MISTAKEN_VALUE(assign_constant,
               tc_assign(tc_constant_scalar(g, TC_F32, 1), tc_constant_scalar(g, TC_F32, 1)))
MISTAKEN_VALUE(no_spec, tc_node_build(g, NULL))
MISTAKEN_VALUE(no_op_name, tc_node_build(g, &(tc_node_spec){.at = TC_HERE}))
MISTAKEN_VALUE(null_inputs, tc_node_build(g, &(tc_node_spec){.op = "add", .n_inputs = 2}))
MISTAKEN_VALUE(null_attrs, tc_node_build(g, &(tc_node_spec){.op = "add", .n_attrs = 2}))
MISTAKEN_VALUE(no_function, tc_call(g, "f", NULL, 0))
MISTAKEN_VALUE(null_function, tc_call(g, NULL, NULL, 0))
MISTAKEN_VALUE(parameter_outside, tc_parameter(g, "p", TC_F32, TC_SCALAR))
MISTAKE(pop_scope, tc_scope_pop(g))
MISTAKE(pop_control, tc_control_pop(g))
MISTAKE(pop_device, tc_device_pop(g))
MISTAKE(null_scope, tc_scope_push(g, NULL))
MISTAKE(null_device, tc_device_push(g, NULL))
MISTAKE(null_controls, tc_control_push(g, NULL, 3))
MISTAKE(foreign_control, tc_control_push(g, &(tc_value){NULL, 3, 0}, 1))
MISTAKE(null_key, tc_annotate(tc_constant_scalar(g, TC_F32, 1), NULL, "text"))
MISTAKE(null_text, tc_annotate(tc_constant_scalar(g, TC_F32, 1), "key", NULL))
MISTAKE(null_function_name, (void)tc_function_begin(g, NULL))
MISTAKE(function_twice,
        (tc_function_end(tc_function_begin(g, "f"), NULL, 0), (void)tc_function_begin(g, "f")))
MISTAKE(end_of_graph, tc_function_end(g, NULL, 0))
MISTAKE(null_results, tc_function_end(tc_function_begin(g, "f"), NULL, 2))
MISTAKE(odd_results, tc_function_end(tc_function_begin(g, "f"), &(tc_value){g, 99, 0}, 1))
MISTAKE(own_error, (void)tc_graph_fail(g, TC_HERE, TC_OK, "an error with the status of success"))

static tc_value call_open_function(tc_graph *g)
{
    (void)tc_function_begin(g, "f");
    return tc_call(g, "f", NULL, 0);
}

static tc_value call_itself(tc_graph *g)
{
    tc_graph *body = tc_function_begin(g, "f");
    tc_value x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
    return tc_call(body, "f", &x, 1);
}

static tc_value build_after_end(tc_graph *g)
{
    tc_graph *body = tc_function_begin(g, "f");
    tc_value x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
    tc_function_end(body, &x, 1);
    return tc_neg(x);
}

/* A value of a function, used outside. */
static tc_value value_of_a_function(tc_graph *g)
{
    tc_graph *body = tc_function_begin(g, "f");
    tc_value x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
    return tc_node_build(g, &(tc_node_spec){.op = "neg", .at = TC_HERE, TC_SPEC_INPUTS(x)});
}

static tc_value variable_in_function(tc_graph *g)
{
    tc_graph *body = tc_function_begin(g, "f");
    return tc_variable(body, "v", tc_constant_scalar(body, TC_F32, 1));
}

/* One update that would write a variable twice at once. */
static tc_value same_variable_twice(tc_graph *g)
{
    tc_value v = tc_variable(g, "v", tc_constant_scalar(g, TC_F32, 1));
    tc_value one = tc_constant_scalar(g, TC_F32, 1);
    return tc_node_build(
        g, &(tc_node_spec){.op = "apply_momentum", .at = TC_HERE, TC_SPEC_INPUTS(v, v, one, one)});
}

static const mistake mistakes[] = {
    null_name,           empty_name,
    slash_name,          bad_rank,
    bad_dtype,           null_constant,
    null_data,           unknown_constant,
    scalar_string,       no_initial,
    open_shape,          one_operand,
    made_up_node,        made_up_output,
    minus_output,        far_output,
    assign_constant,     no_spec,
    no_op_name,          null_inputs,
    null_attrs,          no_function,
    null_function,       parameter_outside,
    pop_scope,           pop_control,
    pop_device,          null_scope,
    null_device,         null_controls,
    foreign_control,     null_key,
    null_text,           null_function_name,
    function_twice,      end_of_graph,
    null_results,        odd_results,
    own_error,           call_open_function,
    call_itself,         build_after_end,
    value_of_a_function, variable_in_function,
    same_variable_twice,
};

static void test_misuse_sticks_to_the_graph(void **state)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value result = mistakes[i](g);
        tc_status status = tc_graph_status(g);
        if (status == TC_OK || status == TC_RESOURCE_EXHAUSTED || tc_value_ok(result) ||
            strlen(tc_graph_error(g)) < 10) {
            print_error("mistake %zu gives %s: \"%s\"\n", i, tc_status_name(status),
                        tc_graph_error(g));
            fail();
        }
        /* From now on everything on this graph is quiet and invalid. */
        char first[256];
        snprintf(first, sizeof first, "%s", tc_graph_error(g));
        tc_scope_pop(g);
        tc_control_pop(g);
        tc_annotate((tc_value){g, 0, 0}, NULL, NULL);
        assert_false(tc_value_ok(tc_constant_scalar(g, TC_F32, 1)));
        assert_null(tc_function_begin(g, "late"));
        assert_memory_equal(first, tc_graph_error(g), strlen(first));
        tc_session *session;
        assert_status(tc_session_create(g, NULL, &session), status);
        assert_null(session);
        assert_string_equal(tc_error_message(), tc_graph_error(g));
        tc_value gradient;
        tc_value y = {g, 0, 0};
        assert_int_equal(tc_gradients(&y, 1, &y, 1, &gradient), status);
        tc_graph_release(g);
    }
}

static void test_misuse_reading_graphs(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
    char text[4];
    assert_int_equal(tc_node_attr_text(x, NULL, text, sizeof text), 0);
    assert_int_equal(tc_node_attr_text(x, "no such", NULL, 0), 0);
    assert_true(tc_node_attr_text(x, "dtype", NULL, 0) > 0);
    assert_true(tc_node_attr_text(x, "dtype", NULL, 8) > 0);
    assert_true(tc_node_attr_text(x, "dtype", text, 1) > 0);
    assert_null(tc_annotation(x, NULL));
    assert_null(tc_annotation(x, "no such"));
    const char *names[] = {NULL,    "", "y", "x:", "x:1", "x:-1", "x:99999999999999999999",
                           "x:0:0", ":"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_invalid_value(tc_graph_find(g, names[i]));
    assert_invalid_value(tc_graph_node(g, -1));
    assert_invalid_value(tc_graph_node(g, INT32_MAX));
    assert_string_equal(tc_value_name((tc_value){g, 5, 0}), "");
    assert_int_equal(tc_value_dtype((tc_value){g, 5, 0}), TC_DTYPE_INVALID);
    assert_false(tc_value_ok(tc_node_input(x, 0)));
    assert_false(tc_value_ok(tc_node_input(x, -1)));
    assert_false(tc_value_ok(tc_node_control(x, INT32_MIN)));
    assert_int_equal(tc_value_shape((tc_value){g, x.node, 3}).rank, -1);
    assert_null(tc_graph_function(g, 0));
    assert_null(tc_graph_function(g, -1));
    invalid(tc_graph_print(g, NULL));
    invalid(tc_graph_print_dot(g, NULL));
    assert_ok(tc_graph_status(g)); /* reading never sticks an error */
    tc_graph_release(g);
}

/*
 * gradients.h
 */
static void test_misuse_of_gradients(void **state)
{
    tc_value none = TC_NO_VALUE, out[2];
    invalid(tc_gradients(NULL, 1, &none, 1, out));
    invalid(tc_gradients(&none, 1, NULL, 1, out));
    invalid(tc_gradients(&none, 1, &none, 1, NULL));
    invalid(tc_gradients(&none, 1, &none, 1, out));
    invalid(tc_gradients(NULL, 0, &none, 1, out));
    invalid(tc_gradients_at(TC_HERE, NULL, 0, NULL, 0, NULL, NULL));
    for (int i = 0; i < 7; i++) {
        tc_graph *g = tc_graph_create(), *other = tc_graph_create();
        tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
        tc_value n = tc_placeholder(g, "n", TC_I32, TC_SHAPE(2));
        tc_value y = tc_square(x), foreign = tc_placeholder(other, "z", TC_F32, TC_SHAPE(2));
        tc_value far_away = {g, 1000, 0}, scalar = tc_constant_scalar(g, TC_F32, 1);
        out[0] = y;
        switch (i) {
        case 0: invalid(tc_gradients(&y, 1, &n, 1, out)); break;
        case 1: invalid(tc_gradients(&n, 1, &x, 1, out)); break;
        case 2: invalid(tc_gradients(&y, 1, &foreign, 1, out)); break;
        case 3: invalid(tc_gradients(TC_VALUES(y, foreign), &x, 1, out)); break;
        case 4: invalid(tc_gradients(&far_away, 1, &x, 1, out)); break;
        case 5: invalid(tc_gradients(&y, 1, &x, 1, out, .output_gradients = &scalar)); break;
        default: invalid(tc_gradients(&x, 1, &y, 1, out)); break; /* the wrong way round */
        }
        assert_false(tc_value_ok(out[0]));
        tc_graph_release(g);
        tc_graph_release(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MISUSE(test_misuse_of_no_graph),
        MISUSE(test_misuse_sticks_to_the_graph),
        MISUSE(test_misuse_reading_graphs),
        MISUSE(test_misuse_of_gradients),
    };
    return cmocka_run_group_tests_name("graph misuse", tests, NULL, NULL);
}
