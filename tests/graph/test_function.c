/* Functions: parameters, captures (of captures too), calls, and how their results are inferred. */
#include "support/test.h"

#include <tensorc/ops.h>

#include "core/shape.h"
#include "graph/graph.h"

static const char *shape_of(tc_value value)
{
    static char text[TC_SHAPE_TEXT_SIZE];
    tc_shape shape = tc_value_shape(value);
    return tc_shape_text(&shape, text);
}

static void test_function_infers_by_call(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_graph *body = tc_function_begin(g, "twice");
    tc_value x = tc_parameter(body, "x", TC_F32, TC_SHAPE(TC_DIM("n"), -1));
    tc_value y = tc_parameter(body, "y", TC_F32, TC_SHAPE(TC_DIM("n"), -1));
    tc_function_end(body, TC_VALUES(tc_add(x, y), tc_neg(x)));
    tc_value a = tc_placeholder(g, "a", TC_F32, TC_SHAPE(3, 4));
    tc_value b = tc_placeholder(g, "b", TC_F32, TC_SHAPE(TC_DIM("batch"), 1));
    tc_value r = tc_call(g, "twice", TC_VALUES(a, a));
    assert_ok(tc_graph_status(g));
    assert_string_equal(shape_of(r), "[3, 4]");
    assert_int_equal(tc_output_count(r), 2);
    assert_string_equal(shape_of(tc_output(r, 1)), "[3, 4]");
    assert_string_equal(tc_value_name(r), "twice");
    tc_value s = tc_call(NULL, "twice", TC_VALUES(b, b), .name = "again");
    assert_string_equal(shape_of(s), "[batch, 1]");
    assert_ptr_equal(tc_value_shape(s).dims[0].name, tc_value_shape(b).dims[0].name);
    assert_string_equal(tc_value_name(s), "again");
    char one[32], two[32];
    assert_true(tc_node_attr_text(r, "stream", one, sizeof one) > 0);
    assert_true(tc_node_attr_text(s, "stream", two, sizeof two) > 0);
    assert_string_not_equal(one, two);
    assert_int_equal(tc_graph_function_count(g), 1);
    assert_ptr_equal(tc_graph_function(g, 0), body);
    assert_null(tc_graph_function(g, 1));
    assert_string_equal(tc_function_name(body), "twice");
    assert_int_equal(tc_function_result_count(body), 2);
    assert_string_equal(tc_value_op(tc_function_result(body, 1)), "neg");
    assert_false(tc_value_ok(tc_function_result(body, 2)));
    assert_ok(tc_graph_verify(g));
    tc_graph_release(g);
}

static void test_function_captures(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value w = tc_placeholder(g, "w", TC_F32, TC_SHAPE(4));
    tc_value unused = tc_placeholder(g, "v", TC_F32, TC_SHAPE(4));
    tc_graph *outer = tc_function_begin(g, "outer");
    tc_value p = tc_parameter(outer, "p", TC_F32, TC_SHAPE(-1, 4));
    tc_graph *inner = tc_function_begin(outer, "inner");
    tc_value q = tc_parameter(inner, "q", TC_F32, TC_SHAPE(-1, 4));
    /* The outer value first: the node goes to the innermost graph all the same. */
    tc_value sum = tc_add(w, q);
    assert_ptr_equal(sum.graph, inner);
    sum = tc_add(tc_add(sum, w), p);
    /* Parameters may follow captures: captured values stay the last. */
    tc_value late = tc_parameter(inner, "late", TC_F32, TC_SHAPE(4));
    tc_function_end(inner, TC_VALUES(tc_mul(sum, late)));
    assert_int_equal(inner->captures.count, 2);
    assert_int_equal(inner->parameters.count, 4);
    assert_int_equal(inner->parameters.data[1], late.node);
    assert_int_equal(outer->captures.count, 1);
    tc_value r = tc_call(outer, "inner", TC_VALUES(p, w));
    assert_int_equal(tc_node_input_count(r), 4);
    tc_function_end(outer, TC_VALUES(r));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(5, 4));
    tc_value y = tc_call(g, "outer", TC_VALUES(x));
    assert_ok(tc_graph_status(g));
    assert_int_equal(tc_node_input_count(y), 2);
    assert_int_equal(tc_node_input(y, 1).node, w.node);
    assert_string_equal(shape_of(y), "[5, 4]");
    assert_ok(tc_graph_verify(g));
    (void)unused;
    tc_graph_release(g);
}

static void test_function_captures_variables(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value v = tc_variable(g, "v", tc_constant_scalar(g, TC_F32, 1));
    tc_graph *body = tc_function_begin(g, "f");
    tc_value x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
    tc_value updated = tc_assign_add(v, x);
    assert_ptr_equal(updated.graph, body);
    tc_function_end(body, TC_VALUES(updated));
    assert_true(tc_value_ok(tc_call(g, "f", TC_VALUES(v))));
    body = tc_function_begin(g, "wrong");
    x = tc_parameter(body, "x", TC_F32, TC_SCALAR);
    tc_assign_add(x, x);
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    assert_error_contains("must be a variable itself");
    tc_graph_release(g);
}

/* Each builds one wrong thing into a fresh graph that has a finished function f(x: f32 [n, n]). */
typedef struct mistake {
    void (*build)(tc_graph *g, tc_value x);
    tc_status status;
    const char *part;
} mistake;

static void unknown(tc_graph *g, tc_value x)
{
    tc_call(g, "h", TC_VALUES(x));
}
static void too_many(tc_graph *g, tc_value x)
{
    tc_call(g, "f", TC_VALUES(x, x));
}
static void wrong_dtype(tc_graph *g, tc_value x)
{
    tc_call(g, "f", TC_VALUES(tc_placeholder(g, "i", TC_I32, TC_SHAPE(2, 2))));
}
static void two_sizes(tc_graph *g, tc_value x)
{
    tc_call(g, "f", TC_VALUES(tc_placeholder(g, "i", TC_F32, TC_SHAPE(2, 3))));
}
static void inner_error(tc_graph *g, tc_value x)
{
    tc_call(g, "f", TC_VALUES(tc_placeholder(g, "i", TC_F32, TC_SHAPE(7, 7))));
}
static void itself(tc_graph *g, tc_value x)
{
    tc_graph *body = tc_function_begin(g, "again");
    tc_call(body, "again", NULL, 0);
}
static void taken(tc_graph *g, tc_value x)
{
    tc_function_begin(g, "f");
}
static void taken_outside(tc_graph *g, tc_value x)
{
    tc_function_begin(tc_function_begin(g, "k"), "f");
}
static void bad_name(tc_graph *g, tc_value x)
{
    tc_function_begin(g, "a b");
}
static void finished(tc_graph *g, tc_value x)
{
    tc_parameter((tc_graph *)tc_graph_function(g, 0), "more", TC_F32, TC_SCALAR);
}
static void finished_twice(tc_graph *g, tc_value x)
{
    tc_graph *f = (tc_graph *)tc_graph_function(g, 0);
    tc_function_end(f, NULL, 0);
}
static void no_function(tc_graph *g, tc_value x)
{
    tc_parameter(g, "p", TC_F32, TC_SCALAR);
}
static void end_of_no_function(tc_graph *g, tc_value x)
{
    tc_function_end(g, &x, 1);
}
static void placeholder_inside(tc_graph *g, tc_value x)
{
    tc_placeholder(tc_function_begin(g, "k"), "p", TC_F32, TC_SCALAR);
}
static void bad_result(tc_graph *g, tc_value x)
{
    tc_value none = TC_NO_VALUE;
    tc_function_end(tc_function_begin(g, "k"), &none, 1);
}
static void no_gradient_function(tc_graph *g, tc_value x)
{
    tc_call(g, "f", TC_VALUES(x), .gradient = "nothing");
}
static void inside_out(tc_graph *g, tc_value x)
{
    tc_graph *body = tc_function_begin(g, "k");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SCALAR);
    tc_node_build(g, &(const tc_node_spec){.op = "neg", .at = TC_HERE, TC_SPEC_INPUTS(p)});
}

static void test_function_mistakes(void **state)
{
    static const mistake mistakes[] = {
        {unknown, TC_NOT_FOUND, "call 'h': there is no function 'h'"},
        {too_many, TC_INVALID_ARGUMENT, "function 'f' takes 1 input, but 2 are given"},
        {wrong_dtype, TC_INVALID_ARGUMENT,
         "parameter 'x' of function 'f' is f32[n, n], but input 0 is i32[2, 2]"},
        {two_sizes, TC_INVALID_ARGUMENT, "parameter 'x' of function 'f'"},
        {inner_error, TC_INVALID_ARGUMENT, "in function 'f', add 'add':"},
        {itself, TC_INVALID_ARGUMENT, "function 'again' is not finished"},
        {taken, TC_ALREADY_EXISTS, "function 'f' exists already"},
        {taken_outside, TC_ALREADY_EXISTS, "function 'f' exists already"},
        {bad_name, TC_INVALID_ARGUMENT, "function: the name 'a b'"},
        {finished, TC_FAILED_PRECONDITION, "function 'f' is finished and takes no more nodes"},
        {finished_twice, TC_FAILED_PRECONDITION, "function 'f' is finished already"},
        {no_function, TC_INVALID_ARGUMENT, "use tc_placeholder"},
        {end_of_no_function, TC_FAILED_PRECONDITION, "the graph is no function"},
        {placeholder_inside, TC_INVALID_ARGUMENT,
         "placeholder: a placeholder belongs to the graph, not to function 'k'"},
        {bad_result, TC_INVALID_ARGUMENT, "function 'k': result 0 is not a value"},
        {no_gradient_function, TC_NOT_FOUND, "there is no function 'nothing' for the gradient"},
        {inside_out, TC_INVALID_ARGUMENT, "belongs to another graph"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        tc_graph *g = tc_graph_create();
        tc_value c = tc_constant_data(g, TC_F32, TC_SHAPE(2), ((const float[]){1, 2}));
        tc_graph *body = tc_function_begin(g, "f");
        tc_value p = tc_parameter(body, "x", TC_F32, TC_SHAPE(TC_DIM("n"), TC_DIM("n")));
        tc_function_end(body, TC_VALUES(tc_add(p, c)));
        tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 2));
        assert_ok(tc_graph_verify(g));
        mistakes[i].build(g, x);
        if (tc_graph_status(g) != mistakes[i].status)
            print_error("mistake %zu: %s\n", i, tc_graph_error(g));
        assert_status(tc_graph_status(g), mistakes[i].status);
        assert_error_contains(mistakes[i].part);
        tc_graph_release(g);
    }
}

/* f0 .. f<n-1>, each calling the one before it `times` times. */
static tc_graph *chain(int n, int times)
{
    tc_graph *g = tc_graph_create();
    char before[16] = "", name[16];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "f%d", i);
        tc_graph *body = tc_function_begin(g, name);
        tc_value y = tc_parameter(body, "p", TC_F32, TC_SCALAR);
        for (int k = 0; k < times && i > 0; k++)
            y = tc_call(body, before, TC_VALUES(y));
        tc_function_end(body, TC_VALUES(y));
        memcpy(before, name, sizeof before);
    }
    return g;
}

static void test_function_limits(void **state)
{
    tc_graph *g = chain(200, 1);
    assert_ok(tc_graph_verify(g));
    tc_graph_release(g);
    g = chain(100, 2); /* 2^100 nodes */
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    assert_error_contains("unfolds into too many nodes");
    tc_graph_release(g);
    g = chain(400, 1);
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    assert_error_contains("is called too deep inside of other functions");
    tc_graph_release(g);
    g = tc_graph_create();
    tc_graph *body = g;
    for (int i = 0; i < 100 && body; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        body = tc_function_begin(body, name);
    }
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    assert_error_contains("function 'n64' is nested in more than 64 others");
    tc_graph_release(g);
}

static void test_function_must_end(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_function_begin(g, "f");
    assert_ok(tc_graph_status(g));
    assert_status(tc_graph_verify(g), TC_FAILED_PRECONDITION);
    assert_error_contains("function 'f' was begun but not ended");
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_function_infers_by_call),
        cmocka_unit_test(test_function_captures),
        cmocka_unit_test(test_function_captures_variables),
        cmocka_unit_test(test_function_mistakes),
        cmocka_unit_test(test_function_limits),
        cmocka_unit_test(test_function_must_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
