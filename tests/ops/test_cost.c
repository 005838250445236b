/* What operators say they take. */
#include <math.h>

#include "support/test.h"

#include <tensorc/tensorc.h>

#include "graph/graph.h"
#include "ops/cost.h"

/* Cost of the node of `value`, whose graph has only known dimensions. */
static tc_node_cost cost_of(tc_value value)
{
    assert_ok(tc_graph_status(value.graph));
    const tc_node *node = tc_graph_node_at(value.graph, value.node);
    tc_value_info inputs[8] = {0};
    assert_true(node->n_inputs <= 8);
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i].node >= 0)
            inputs[i] = *tc_edge_info(value.graph, node->inputs[i]);
    const tc_infer infer = {.attrs = &node->attrs,
                            .inputs = inputs,
                            .outputs = node->outputs,
                            .n_inputs = node->n_inputs,
                            .n_outputs = node->n_outputs};
    tc_node_cost cost = {-1, -1};
    tc_op_cost(&infer, &cost);
    return cost;
}

static void check_cost(tc_value value, double flops, double bytes)
{
    tc_node_cost cost = cost_of(value);
    assert_float_equal(cost.flops, flops, 0);
    assert_float_equal(cost.bytes, bytes, 0);
}

static void test_cost_of_operators(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value a = tc_placeholder(g, "a", TC_F32, TC_SHAPE(5, 2, 3));
    tc_value b = tc_placeholder(g, "b", TC_F32, TC_SHAPE(3, 7));
    tc_value at = tc_placeholder(g, "at", TC_F32, TC_SHAPE(3, 2));
    check_cost(tc_matmul(a, b), 2 * 5 * 2 * 7 * 3, 4 * (30 + 21 + 70));
    check_cost(tc_matmul(at, b, .transpose_a = true), 2 * 2 * 7 * 3, 4 * (6 + 21 + 14));
    check_cost(tc_add(b, b), 21, 4 * 3 * 21);
    check_cost(tc_transpose(b), 0, 4 * 2 * 21);
    check_cost(tc_softmax(b), 5 * 21, 4 * 2 * 21);
    check_cost(tc_reduce_sum(b), 21, 4 * 22);
    check_cost(tc_argmax(b), 21, 4 * 21 + 8 * 3);

    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2, 4, 9, 9));
    tc_value w = tc_placeholder(g, "w", TC_F32, TC_SHAPE(6, 2, 3, 3));
    tc_value y = tc_conv2d(x, w, .groups = 2);
    double flops = 2.0 * (2 * 6 * 7 * 7) * (2 * 3 * 3);
    double sum = 4 * (2 * 4 * 81 + 6 * 2 * 9 + 2 * 6 * 49);
    check_cost(y, flops, sum);
    tc_value dy = tc_placeholder(g, "dy", TC_F32, TC_SHAPE(2, 6, 7, 7));
    check_cost(tc_conv2d_grad_input(w, dy, x, .groups = 2), flops, sum);
    check_cost(tc_conv2d_grad_filter(x, dy, w, .groups = 2), flops, sum);
    tc_value pooled = tc_max_pool2d(x, .kernel = {2, 3}, .stride = {2, 3});
    check_cost(pooled, 2 * 4 * 4 * 3 * 6, 4 * (2 * 4 * 81 + 2 * (2 * 4 * 4 * 3)));

    tc_value ids = tc_placeholder(g, "ids", TC_I64, TC_SHAPE(2));
    check_cost(tc_gather(b, ids), 0, 4 * 2 * (2 * 7) + 8 * 2); /* rows of b, not all of it */
    tc_graph_release(g);
}

/* Nothing an operator says may be less than nothing, not even of empty values. */
static void test_cost_of_empty_values(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(0, 4, 9, 9));
    tc_value w = tc_placeholder(g, "w", TC_F32, TC_SHAPE(0, 4, 3, 3));
    check_cost(tc_conv2d(x, w), 0, 0);
    check_cost(tc_softmax(x), 0, 0);
    tc_graph_release(g);
}

/* Operators of others may say anything: the work that is taken orders steps, so it is a number. */
static double told;

static void tell(const tc_infer *node, tc_node_cost *cost)
{
    (void)node;
    cost->flops = told;
    cost->bytes = -told;
}

static void test_cost_is_a_number(void **state)
{
    (void)state;
    static const double odd[] = {NAN, -1, 1, -1e300, 1e308, -INFINITY, INFINITY};
    const tc_op op = {.name = "odd", .cost = tell};
    const tc_attrs attrs = {.op = &op};
    const tc_infer infer = {.attrs = &attrs};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        tc_node_cost cost;
        told = odd[i];
        tc_op_cost(&infer, &cost);
        assert_true(cost.flops >= 0 && cost.flops <= 1e30);
        assert_true(cost.bytes >= 0 && cost.bytes <= 1e30);
        if (fabs(told) == 1)
            assert_float_equal(cost.flops + cost.bytes, 1, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cost_of_operators),
        cmocka_unit_test(test_cost_of_empty_values),
        cmocka_unit_test(test_cost_is_a_number),
    };
    return cmocka_run_group_tests_name("cost", tests, NULL, NULL);
}
