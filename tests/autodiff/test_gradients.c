/* The walk: paths, sums, orders, what stops a gradient, mistakes. */
#include <math.h>

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "autodiff/values.h"

static tc_value scalar(tc_graph *g, const char *name)
{
    return tc_placeholder(g, name, TC_F64, TC_SCALAR);
}

static tc_value number(tc_graph *g, double value)
{
    return tc_constant_scalar(g, TC_F64, value);
}

/* dy/dx, failing the test on errors. */
static tc_value derivative(tc_value y, tc_value x)
{
    tc_value gradient;
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x), &gradient));
    assert_true(tc_value_ok(gradient));
    return gradient;
}

static void test_gradients_of_all_orders(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x");
    /* y = 2 x^4 - 3 x^3 + x, the powers by repeated use of x */
    tc_value x3 = tc_mul(tc_mul(x, x), x);
    tc_value y = tc_add(tc_sub(tc_mul(number(g, 2), tc_mul(x3, x)), tc_mul(number(g, 3), x3)), x);
    tc_value d1 = derivative(y, x), d2 = derivative(d1, x), d3 = derivative(d2, x);
    tc_value d4 = derivative(d3, x);
    assert_ok(tc_graph_verify(g));
    for (double at = -2; at <= 2; at += 0.5) {
        assert_near(value_at(d1, x, at), 8 * pow(at, 3) - 9 * at * at + 1);
        assert_near(value_at(d2, x, at), 24 * at * at - 18 * at);
        assert_near(value_at(d3, x, at), 48 * at - 18);
        assert_near(value_at(d4, x, at), 48);
    }
    tc_graph_release(g);
}

static void test_gradients_of_many_values(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x");
    tc_value h = tc_square(x); /* an intermediate value may be an x too */
    tc_value y = tc_mul(h, x), z = tc_exp(h), d[4];
    /* The second y is used by the third, h is an x and on the way to x, and x stands there twice.
     */
    tc_value sum = tc_add(y, z);
    assert_ok(tc_gradients(TC_VALUES(y, z, sum), TC_VALUES(x, h, x, z), d));
    assert_int_equal(d[0].node, d[2].node);
    for (double at = -1; at <= 1; at += 0.25) {
        double e = exp(at * at);
        assert_near(value_at(d[0], x, at), 2 * (3 * at * at + 2 * at * e));
        assert_near(value_at(d[1], x, at), 2 * (at + e));
        assert_near(value_at(d[3], x, at), 2);
    }
    tc_graph_release(g);
}

static void test_gradients_given(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x"), y = tc_square(x), z = tc_exp(x), d;
    const tc_value given[] = {tc_mul(x, number(g, 5)), TC_NO_VALUE};
    assert_ok(tc_gradients(TC_VALUES(y, z), TC_VALUES(x), &d, .output_gradients = given));
    assert_near(value_at(d, x, 3), 5 * 3 * 2 * 3);
    /* A y that is an x has the gradient that flows into it. */
    assert_ok(tc_gradients(TC_VALUES(x), TC_VALUES(x), &d, .output_gradients = given));
    assert_near(value_at(d, x, 3), 15);
    assert_near(value_at(derivative(x, x), x, 3), 1);
    tc_graph_release(g);
}

static void test_gradients_of_variables(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value v = tc_variable(g, "v", number(g, 3));
    assert_near(value_at(derivative(tc_mul(v, tc_square(v)), v), TC_NO_VALUE, 0), 27);
    tc_graph_release(g);
}

static void test_gradients_stop(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x");
    tc_value through = tc_mul(x, tc_stop_gradient(tc_square(x)));
    assert_near(value_at(derivative(through, x), x, 3), 9);
    tc_value whole = tc_cast(tc_cast(x, TC_I32), TC_F64); /* integers carry no gradient */
    tc_value d = TC_NO_VALUE;
    assert_ok(tc_gradients(TC_VALUES(whole), TC_VALUES(x), &d, .zero_unconnected = true));
    assert_near(value_at(d, x, 3), 0);
    tc_value zeros = tc_zeros_like(x); /* nor do ports of which only the shape counts */
    assert_ok(tc_gradients(TC_VALUES(zeros), TC_VALUES(x), &d, .zero_unconnected = true));
    assert_near(value_at(d, x, 3), 0);
    tc_graph_release(g);
}

static void test_gradients_unconnected(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x"), other = scalar(g, "other"), y = tc_square(x), d[3];
    tc_value later = tc_square(other);
    assert_ok(tc_gradients(TC_VALUES(y), TC_VALUES(x, other, later), d, .zero_unconnected = true));
    assert_near(value_at(d[0], x, 3), 6);
    assert_near(value_at(d[1], other, 3), 0);
    assert_near(value_at(d[2], other, 3), 0);
    assert_status(tc_gradients(TC_VALUES(y), TC_VALUES(x, other), d), TC_INVALID_ARGUMENT);
    assert_error_contains("no gradient flows from any y to x 1, placeholder 'other' (");
    assert_error_contains("zero_unconnected");
    assert_error_contains("test_gradients.c:");
    assert_int_equal(d[0].node, -1);
    assert_int_equal(d[1].node, -1);
    assert_status(tc_graph_status(g), TC_INVALID_ARGUMENT);
    tc_graph_release(g);
}

static void test_gradients_names_and_devices(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = scalar(g, "x");
    tc_scope_push(g, "layer");
    tc_device_push(g, "cuda:3");
    tc_value y = tc_exp(x);
    tc_device_pop(g);
    tc_scope_pop(g);
    tc_value d = derivative(y, x);
    assert_true(strncmp(tc_value_name(d), "gradients/layer/exp/", 20) == 0);
    assert_string_equal(tc_annotation(d, "device"), "cuda:3");
    tc_location at = tc_node_location(d);
    assert_non_null(strstr(at.outer_file, "test_gradients.c"));
    assert_int_equal(at.outer_line, tc_node_location(y).line);
    tc_graph_release(g);
}

/* Test operators: identity with gradients that are missing or wrong. */
static tc_status infer_same(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}
static void grad_wrong_shape(tc_grad *grad)
{
    tc_shape shape = TC_SHAPE(7);
    grad->input_gradients[0] =
        tc_zeros_at(TC_WITHIN(grad->at), grad->graph, tc_value_dtype(grad->inputs[0]), shape);
}
static void grad_wrong_dtype(tc_grad *grad)
{
    grad->input_gradients[0] = tc_cast_at(TC_WITHIN(grad->at), grad->output_gradients[0], TC_F32);
}
static void grad_invalid(tc_grad *grad)
{
    grad->input_gradients[0] = (tc_value){grad->graph, -1, 0};
}
static void grad_nothing(tc_grad *grad)
{
    (void)grad;
}
static void grad_fails(tc_grad *grad)
{
    grad->input_gradients[0] = tc_add_at(TC_WITHIN(grad->at), grad->output_gradients[0],
                                         tc_cast_at(TC_WITHIN(grad->at), grad->inputs[0], TC_F32));
}

static const tc_port port[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
#define TEST_OP(op_name, grad_function)                                         \
    {                                                                           \
        .name = (op_name), .version = 1, .doc = "Test.", TC_LIST(inputs, port), \
        TC_LIST(outputs, port), .infer = infer_same, .grad = (grad_function)    \
    }

static const struct {
    tc_op op;
    tc_status status;
    const char *part;
} broken[] = {
    {TEST_OP("test_missing", NULL), TC_UNIMPLEMENTED,
     "test_missing 'here/test_missing': this operator has no gradient"},
    {TEST_OP("test_shape", grad_wrong_shape), TC_INTERNAL,
     "test_shape 'here/test_shape': the gradient of the operator for input 'x' is f64[7], but the "
     "input is f64[2]"},
    {TEST_OP("test_dtype", grad_wrong_dtype), TC_INTERNAL, "is f32[2], but the input is f64[2]"},
    {TEST_OP("test_invalid", grad_invalid), TC_INTERNAL, "is no value of the graph"},
    {TEST_OP("test_fails", grad_fails), TC_INVALID_ARGUMENT, "(called from "},
    {TEST_OP("test_nothing", grad_nothing), TC_INVALID_ARGUMENT, "no gradient flows"},
    {TEST_OP("test_none", TC_GRAD_NONE), TC_INVALID_ARGUMENT, "no gradient flows"},
};

static void test_gradients_of_broken_operators(void **state)
{
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        tc_registry *registry = tc_registry_create();
        assert_ok(tc_registry_add_op(registry, &broken[i].op));
        tc_graph *g =
            tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), registry, 0});
        tc_value x = tc_placeholder(g, "x", TC_F64, TC_SHAPE(2)), d;
        tc_scope_push(g, "here");
        tc_value h = tc_node_build(
            g, &(const tc_node_spec){.op = broken[i].op.name, .at = TC_HERE, TC_SPEC_INPUTS(x)});
        tc_scope_pop(g);
        tc_value y = tc_square(h);
        assert_ok(tc_graph_status(g));
        assert_status(tc_gradients(TC_VALUES(y), TC_VALUES(x), &d), broken[i].status);
        assert_error_contains(broken[i].part);
        assert_error_contains("test_gradients.c:");
        assert_false(tc_value_ok(d));
        tc_graph_release(g);
        tc_registry_release(registry);
    }
}

/* A missing gradient off the way is no error. */
static void test_gradients_walk_only_between(void **state)
{
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &broken[0].op));
    tc_graph *g = tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), registry, 0});
    tc_value x = scalar(g, "x"), other = scalar(g, "other");
    const tc_node_spec dead = {.op = "test_missing", .at = TC_HERE, TC_SPEC_INPUTS(x)};
    const tc_node_spec aside = {.op = "test_missing", .at = TC_HERE, TC_SPEC_INPUTS(other)};
    tc_node_build(g, &dead);
    tc_value y = tc_mul(x, tc_node_build(g, &aside));
    assert_true(tc_value_ok(derivative(y, x)));
    tc_graph_release(g);
    tc_registry_release(registry);
}

typedef struct mistake {
    bool no_y, int_y, int_x, foreign_x, foreign_y, foreign_gradient, wrong_gradient, invalid_x;
    const char *part;
} mistake;

static void test_gradients_mistakes(void **state)
{
    static const mistake mistakes[] = {
        {.no_y = true, .part = "there is no y"},
        {.int_y = true, .part = "y 0, 'i', is i32; only floats have gradients"},
        {.int_x = true, .part = "x 0, 'i', is i32; only floats have gradients"},
        {.foreign_x = true, .part = "x 0, 'foreign', belongs to another graph"},
        {.foreign_y = true, .part = "y 1, 'foreign', belongs to another graph"},
        {.foreign_gradient = true, .part = "the output gradient 0 is not a value of the graph"},
        {.wrong_gradient = true, .part = "the output gradient 0 is f64[2], but y 0 is f64[]"},
        {.invalid_x = true, .part = "x 0 is not a valid value"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const mistake *m = &mistakes[i];
        tc_graph *g = tc_graph_create(), *other = tc_graph_create();
        tc_value x = scalar(g, "x"), y = tc_square(x), foreign = scalar(other, "foreign");
        tc_value integer = tc_placeholder(g, "i", TC_I32, TC_SCALAR), d;
        const tc_value ys[] = {m->int_y ? integer : y, foreign};
        tc_value xs = m->int_x ? integer : m->foreign_x ? foreign : m->invalid_x ? TC_NO_VALUE : x;
        const tc_value given =
            m->wrong_gradient ? tc_placeholder(g, "w", TC_F64, TC_SHAPE(2)) : foreign;
        const tc_gradients_options options = {
            sizeof options, m->foreign_gradient || m->wrong_gradient ? &given : NULL, false};
        size_t n_ys = m->no_y ? 0 : m->foreign_y ? 2 : 1;
        assert_status(tc_gradients_at(TC_HERE, ys, n_ys, &xs, 1, &d, &options),
                      TC_INVALID_ARGUMENT);
        assert_error_contains(m->part);
        assert_false(tc_value_ok(d));
        tc_graph_release(g);
        tc_graph_release(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_of_all_orders),
        cmocka_unit_test(test_gradients_of_many_values),
        cmocka_unit_test(test_gradients_given),
        cmocka_unit_test(test_gradients_of_variables),
        cmocka_unit_test(test_gradients_stop),
        cmocka_unit_test(test_gradients_unconnected),
        cmocka_unit_test(test_gradients_names_and_devices),
        cmocka_unit_test(test_gradients_of_broken_operators),
        cmocka_unit_test(test_gradients_walk_only_between),
        cmocka_unit_test(test_gradients_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
