/* The checker must find gradients that are wrong, however slightly. */
#include <math.h>

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "core/dtype.h"
#include "support/gradient_check.h"
#include "support/test.h"

/* test_square of f64: y = x^2 with a gradient that is wrong in the ways below. */
typedef enum wrong {
    RIGHT,
    SCALED,      /* by one part in a thousand */
    SIGN,        /* of negative inputs */
    ONE_ELEMENT, /* the last one */
    NOT_A_NUMBER,
    CONSTANT, /* detached: right once, but its own gradient is lost */
    NO_WEIGHT /* ignores the output gradient */
} wrong;

static wrong current;

static tc_value constant_like(tc_grad *grad, double value)
{
    return tc_constant_scalar_at(TC_WITHIN(grad->at), grad->graph, TC_F64, value);
}

static void square_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_value x = grad->inputs[0], dy = grad->output_gradients[0];
    tc_value two_x = tc_mul_at(at, constant_like(grad, 2), x);
    switch (current) {
    case SCALED: two_x = tc_mul_at(at, constant_like(grad, 2.002), x); break;
    case SIGN: two_x = tc_abs_at(at, two_x); break;
    case ONE_ELEMENT: {
        const double factors[] = {1, 1, 1, 1, 0.5};
        two_x = tc_mul_at(at, two_x,
                          tc_constant_data_at(at, grad->graph, TC_F64, TC_SHAPE(5), factors));
        break;
    }
    case NOT_A_NUMBER: two_x = tc_mul_at(at, two_x, constant_like(grad, NAN)); break;
    case CONSTANT: two_x = tc_stop_gradient_at(at, two_x); break;
    case NO_WEIGHT: dy = tc_ones_like_at(at, dy); break;
    case RIGHT: break;
    }
    grad->input_gradients[0] = tc_mul_at(at, dy, two_x);
}

static tc_status square_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static tc_status square_prepare(tc_prepare *prepare)
{
    int64_t *count = tc_prepare_params(prepare, sizeof *count);
    if (!count)
        return TC_RESOURCE_EXHAUSTED;
    *count = tc_shape_size(&prepare->outputs[0].shape);
    return TC_OK;
}

static tc_status square_run(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const double *x = inputs[0];
    double *y = outputs[0];
    for (int64_t i = 0; i < *(const int64_t *)params; i++)
        y[i] = x[i] * x[i];
    return TC_OK;
}

static const tc_port port[] = {{.name = "x", .dtypes = TC_DTYPE_BIT(TC_F64), .type = 'T'}};
static const tc_op square_op = {.name = "test_square",
                                .version = 1,
                                .doc = "Square.",
                                TC_LIST(inputs, port),
                                TC_LIST(outputs, port),
                                .infer = square_infer,
                                .grad = square_grad};
static const tc_kernel square_kernel = {.op = "test_square",
                                        .dtype = TC_F64,
                                        .symbol = "test_square",
                                        .prepare = square_prepare,
                                        .run = square_run};

static bool check(wrong how, bool second_order, char why[1024], double *worst)
{
    current = how;
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &square_op));
    assert_ok(tc_registry_add_kernel(registry, &square_kernel));
    tc_graph *g = tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), registry, 0});
    const tc_shape shape = TC_SHAPE(5);
    tc_value x = tc_placeholder(g, "x", TC_F64, shape);
    tc_value y = tc_node_build(
        g, &(const tc_node_spec){.op = "test_square", .at = TC_HERE, TC_SPEC_INPUTS(x)});
    eval_buffer buffer;
    assert_ok(eval_buffer_create(TC_F64, &shape, 0, &buffer));
    const double elements[] = {-1.5, -0.25, 0.5, 1, 3};
    memcpy(buffer.data, elements, sizeof elements);
    const eval_feed feed = {x, &buffer};
    const size_t zero = 0;
    const gradient_problem problem = {
        .graph = g,
        .ys = &y,
        .n_ys = 1,
        .xs = &x,
        .n_xs = 1,
        .x_feeds = &zero,
        .feeds = &feed,
        .n_feeds = 1,
        .relative = 1e-6,
        .absolute = 1e-6,
        .second_order = second_order,
        .isa = tc_cpu_isa(),
    };
    bool good = gradient_check(&problem, why, worst);
    assert_memory_equal(buffer.data, elements, sizeof elements);
    eval_buffer_free(&buffer);
    tc_graph_release(g);
    tc_registry_release(registry);
    return good;
}

static void test_gradient_check_accepts(void **state)
{
    char why[1024];
    double worst;
    if (!check(RIGHT, true, why, &worst))
        fail_msg("%s", why);
    assert_true(worst > 0 && worst < 1e-3);
    assert_true(check(CONSTANT, false, why, &worst)); /* right in the first order */
}

static void test_gradient_check_refuses(void **state)
{
    static const struct {
        wrong how;
        const char *part;
    } rows[] = {
        {SCALED, "first gradient of 'x' at element 0"},
        {SIGN, "first gradient of 'x' at element 0"},
        {ONE_ELEMENT, "first gradient of 'x' at element 4"},
        {NOT_A_NUMBER, "is nan"},
        {CONSTANT, "second gradient of 'x' at element 0"},
        {NO_WEIGHT, "first gradient of 'x' at element 0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char why[1024];
        if (check(rows[i].how, true, why, NULL))
            fail_msg("wrong gradient %zu is accepted", i);
        if (!strstr(why, rows[i].part) && !(rows[i].how == NOT_A_NUMBER && strstr(why, "is -nan")))
            fail_msg("\"%s\" lacks \"%s\"", why, rows[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradient_check_accepts),
        cmocka_unit_test(test_gradient_check_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
