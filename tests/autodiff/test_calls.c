/* Differentiating through calls. */
#include <math.h>

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "autodiff/values.h"

static tc_value scalar(tc_graph *g, const char *name)
{
    return tc_placeholder(g, name, TC_F64, TC_SCALAR);
}

static tc_value parameter(tc_graph *body, const char *name)
{
    return tc_parameter(body, name, TC_F64, TC_SCALAR);
}

static tc_value derivative(tc_value y, tc_value x)
{
    tc_value gradient;
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), &gradient));
    assert_ok(tc_graph_verify(y.graph->parent ? y.graph->parent : y.graph));
    return gradient;
}

/* f(a, b) = (a^2 b, exp(a), b); */
static void define(tc_graph *g)
{
    tc_graph *body = tc_function_begin(g, "f");
    tc_value a = parameter(body, "a"), b = parameter(body, "b");
    tc_function_end(body, TC_VALUES(tc_mul(tc_square(a), b), tc_exp(a), b));
}

static void test_calls_of_all_orders(void **state)
{
    tc_graph *g = tc_graph_create();
    define(g);
    tc_value x = scalar(g, "x");
    tc_value f = tc_call(g, "f", TC_VALUES(x, tc_square(x)));
    tc_value y = tc_add(tc_add(f, tc_output(f, 1)), tc_output(f, 2)); /* x^4 + exp x + x^2 */
    tc_value d1 = derivative(y, x), d2 = derivative(d1, x), d3 = derivative(d2, x);
    for (double at = -1; at <= 1; at += 0.5) {
        assert_near(value_at(d1, x, at), 4 * pow(at, 3) + exp(at) + 2 * at);
        assert_near(value_at(d2, x, at), 12 * at * at + exp(at) + 2);
        assert_near(value_at(d3, x, at), 24 * at + exp(at));
    }
    tc_graph_release(g);
}

static void test_calls_share_derived_functions(void **state)
{
    tc_graph *g = tc_graph_create();
    define(g);
    tc_value x = scalar(g, "x"), c = tc_constant_scalar(g, TC_F64, 5);
    tc_value one = tc_call(g, "f", TC_VALUES(x, x)), two = tc_call(g, "f", TC_VALUES(one, x));
    assert_near(value_at(derivative(two, x), x, 2), 7 * pow(2, 6)); /* (x^3)^2 x */
    assert_int_equal(tc_graph_function_count(g), 2);
    /* Other inputs or outputs: another function; the same again: none. */
    tc_value three = tc_call(g, "f", TC_VALUES(x, c));
    assert_near(value_at(derivative(three, x), x, 2), 20);
    assert_int_equal(tc_graph_function_count(g), 3);
    assert_near(value_at(derivative(tc_call(g, "f", TC_VALUES(x, c)), x), x, 3), 30);
    assert_int_equal(tc_graph_function_count(g), 3);
    assert_near(value_at(derivative(tc_output(three, 1), x), x, 0), 1);
    assert_int_equal(tc_graph_function_count(g), 4);
    tc_graph_release(g);
}

static void test_calls_that_carry_no_gradient(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_graph *body = tc_function_begin(g, "constant_part");
    tc_value a = parameter(body, "a"), b = parameter(body, "b");
    tc_function_end(body, TC_VALUES(tc_mul(tc_stop_gradient(a), b), tc_stop_gradient(a)));
    tc_value x = scalar(g, "x"), z = tc_square(x), d[2];
    tc_value f = tc_call(g, "constant_part", TC_VALUES(x, z));
    assert_ok(tc_gradients(TC_VALUES(f), TC_VALUES(x, z), d));
    assert_near(value_at(d[0], x, 3), 3 * 6);
    assert_near(value_at(d[1], x, 3), 3);
    tc_value none = tc_output(f, 1);
    assert_ok(tc_gradients(TC_VALUES(none), TC_VALUES(x), d, .zero_unconnected = true));
    assert_near(value_at(d[0], x, 3), 0);
    tc_graph_release(g);
}

static void test_calls_with_captures(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value w = tc_variable(g, "w", tc_constant_scalar(g, TC_F64, 4)), x = scalar(g, "x");
    tc_graph *outer = tc_function_begin(g, "outer");
    tc_value p = parameter(outer, "p");
    tc_graph *inner = tc_function_begin(outer, "inner"); /* known inside of outer only */
    tc_value q = parameter(inner, "q");
    tc_function_end(inner, TC_VALUES(tc_mul(tc_mul(q, q), tc_mul(w, p))));
    tc_value twice = tc_call(outer, "inner", TC_VALUES(tc_call(outer, "inner", TC_VALUES(p))));
    tc_function_end(outer, TC_VALUES(twice));
    /* inner(q) = q^2 w p; outer(p) = inner(inner(p)) = (p^3 w)^2 w p = w^3 p^7 */
    tc_value y = tc_call(g, "outer", TC_VALUES(x)), d[2];
    assert_near(value_at(y, x, 2), 64 * 128);
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x, w), d));
    assert_ok(tc_graph_verify(g));
    assert_near(value_at(d[0], x, 2), 64 * 7 * 64);
    assert_near(value_at(d[1], x, 2), 3 * 16 * 128);
    assert_near(value_at(derivative(d[1], w), x, 2), 6 * 4 * 128);
    tc_graph_release(g);
}

static void test_calls_inside_functions(void **state)
{
    /* A gradient taken inside of a function, with respect to a value that it captures. */
    tc_graph *g = tc_graph_create();
    define(g);
    tc_value x = scalar(g, "x");
    tc_graph *body = tc_function_begin(g, "slope");
    tc_value p = parameter(body, "p");
    tc_value y = tc_call(body, "f", TC_VALUES(tc_mul(p, x), p)), d;
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), &d)); /* d(p^3 x^2)/dx */
    tc_function_end(body, TC_VALUES(d));
    tc_value slope = tc_call(g, "slope", TC_VALUES(tc_constant_scalar(g, TC_F64, 2)));
    assert_ok(tc_graph_verify(g));
    assert_near(value_at(slope, x, 3), 8 * 6);
    assert_near(value_at(derivative(slope, x), x, 3), 16);
    tc_graph_release(g);
}

static void test_calls_draw_the_same_numbers(void **state)
{
    /* y = x r with a random r inside of the function: dy/dx must be that very r, at every step of
     * nesting. */
    tc_graph *g = tc_graph_create();
    tc_graph *outer = tc_function_begin(g, "outer");
    tc_value p = parameter(outer, "p");
    tc_graph *inner = tc_function_begin(outer, "inner");
    tc_value q = parameter(inner, "q");
    tc_value noise = tc_random_uniform(inner, TC_F64, TC_SCALAR);
    tc_function_end(inner, TC_VALUES(tc_mul(q, noise)));
    tc_value own = tc_random_uniform(outer, TC_F64, TC_SCALAR);
    tc_value product = tc_mul(own, tc_call(outer, "inner", TC_VALUES(p)));
    tc_function_end(outer, TC_VALUES(product));
    tc_value x = scalar(g, "x");
    tc_value y = tc_call(g, "outer", TC_VALUES(x)), other = tc_call(g, "outer", TC_VALUES(x));
    double r = value_at(y, x, 1);
    assert_true(r > 0 && r < 1);
    assert_true(value_at(other, x, 1) != r); /* each call draws its own */
    assert_near(value_at(derivative(y, x), x, 1), r);
    assert_near(value_at(derivative(other, x), x, 1), value_at(other, x, 1));
    tc_graph_release(g);
}

static void test_calls_with_custom_gradient(void **state)
{
    tc_graph *g = tc_graph_create();
    define(g);
    tc_graph *body = tc_function_begin(g, "custom");
    tc_value in[8];
    const char *names[] = {"a", "b", "y0", "y1", "y2", "g0", "g1", "g2"};
    for (int i = 0; i < 8; i++)
        in[i] = parameter(body, names[i]);
    /* Nonsense that shows which values arrive: (1000 y1 + g1, 0 * everything) */
    tc_value thousand = tc_constant_scalar(body, TC_F64, 1000);
    tc_function_end(body, TC_VALUES(tc_add(tc_mul(thousand, in[3]), in[6]), tc_mul(in[5], in[7])));
    tc_value x = scalar(g, "x"), b = scalar(g, "b"), d[2];
    tc_value f = tc_call(g, "f", TC_VALUES(x, b), .gradient = "custom");
    tc_value y = tc_mul(tc_output(f, 1), tc_constant_scalar(g, TC_F64, 7));
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), d));
    assert_ok(tc_graph_verify(g));
    assert_int_equal(tc_graph_function_count(g), 2); /* nothing was derived */
    assert_string_equal(tc_value_op(d[0]), "call");
    tc_value z = tc_call(g, "f", TC_VALUES(x, x), .gradient = "custom");
    assert_near(value_at(derivative(tc_output(z, 1), x), x, 2), 1000 * exp(2) + 1);

    body = tc_function_begin(g, "short");
    for (int i = 0; i < 8; i++)
        in[i] = parameter(body, names[i]);
    tc_function_end(body, TC_VALUES(in[0]));
    tc_value s = tc_call(g, "f", TC_VALUES(x, x), .gradient = "short");
    assert_status(tc_gradients(TC_VALUES(s), TC_VALUES(x), d), TC_INVALID_ARGUMENT);
    assert_error_contains("the gradient function 'short' has 1 results, but must have one for each "
                          "of the 2 inputs");
    tc_graph_release(g);
}

static void test_calls_that_write(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value v = tc_variable(g, "v", tc_constant_scalar(g, TC_F64, 4)), x = scalar(g, "x"), d;
    tc_graph *body = tc_function_begin(g, "count");
    tc_value p = parameter(body, "p");
    tc_value updated = tc_assign_add(v, p);
    tc_function_end(body, TC_VALUES(tc_square(p), tc_mul(p, updated)));
    tc_value y = tc_call(g, "count", TC_VALUES(x));
    assert_near(value_at(derivative(y, x), x, 3), 6); /* the write is beside the way */
    tc_value other = tc_output(y, 1);
    assert_status(tc_gradients(TC_VALUES(other), TC_VALUES(x), &d), TC_UNIMPLEMENTED);
    assert_error_contains("function 'count' cannot be differentiated");
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_of_all_orders),
        cmocka_unit_test(test_calls_share_derived_functions),
        cmocka_unit_test(test_calls_that_carry_no_gradient),
        cmocka_unit_test(test_calls_with_captures),
        cmocka_unit_test(test_calls_inside_functions),
        cmocka_unit_test(test_calls_draw_the_same_numbers),
        cmocka_unit_test(test_calls_with_custom_gradient),
        cmocka_unit_test(test_calls_that_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
