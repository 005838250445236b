#include "ops/cost.h"

#include <math.h>

double tc_cost_elements(const tc_value_info *value)
{
    if (value->dtype == TC_DTYPE_INVALID)
        return 0;
    double elements = 1;
    for (int32_t i = 0; i < value->shape.rank; i++)
        elements *= (double)value->shape.dims[i].size;
    return elements;
}

static double bytes_of(const tc_value_info *value)
{
    return tc_cost_elements(value) * tc_dtype_bits(value->dtype) / 8;
}

static uint8_t port_flags(const tc_op *op, int32_t input)
{
    int32_t last = op->n_inputs - 1;
    return last < 0 ? 0 : op->inputs[input < last ? input : last].flags;
}

/* Operators of others may tell anything; what costs order must stay an order. */
static double usable(double work)
{
    return work >= 0 ? fmin(work, 1e30) : 0;
}

void tc_op_cost(const tc_infer *node, tc_node_cost *cost)
{
    const tc_op *op = node->attrs->op;
    *cost = (tc_node_cost){0};
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (!(port_flags(op, i) & (TC_PORT_SHAPE_ONLY | TC_PORT_INITIAL)))
            cost->bytes += bytes_of(&node->inputs[i]);
    for (int32_t i = 0; i < node->n_outputs; i++)
        cost->bytes += bytes_of(&node->outputs[i]);
    if (op->flags & TC_OP_ELEMENTWISE && node->n_outputs > 0)
        cost->flops = tc_cost_elements(&node->outputs[0]);
    if (op->cost)
        op->cost(node, cost);
    cost->flops = usable(cost->flops);
    cost->bytes = usable(cost->bytes);
}

void tc_cost_each_input(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = tc_cost_elements(&node->inputs[0]);
}

void tc_cost_function(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = TC_COST_FUNCTION * tc_cost_elements(&node->outputs[0]);
}

void tc_cost_normalize(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = 5 * tc_cost_elements(&node->inputs[0]);
}
