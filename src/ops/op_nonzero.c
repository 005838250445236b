/* Places of the elements that are not zero. */
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/ops/dynamic.h"

static tc_status nonzero_shape(tc_infer *infer, int64_t count)
{
    infer->outputs[0].shape = tc_shape_of(2, (int64_t[]){count, infer->inputs[0].shape.rank});
    return TC_OK;
}

static tc_status nonzero_infer(tc_infer *infer)
{
    return nonzero_shape(infer, -1);
}

static tc_status nonzero_bound(tc_infer *infer)
{
    return nonzero_shape(infer, tc_shape_size(&infer->inputs[0].shape));
}

/* Two passes over x; about every element may be found. */
static void nonzero_cost(const tc_infer *node, tc_node_cost *cost)
{
    double count = (double)tc_shape_size(&node->inputs[0].shape);
    cost->flops = count;
    cost->bytes =
        count * (2.0 * tc_dtype_bits(node->inputs[0].dtype) / 8 + 8.0 * node->inputs[0].shape.rank);
}

static const tc_port nonzero_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port nonzero_outputs[] = {
    {"places", TC_DTYPE_BIT(TC_I64), 0, 0, "[n, rank of x] in row-major order"}};

const tc_op tc_op_nonzero = {
    .name = "nonzero",
    .version = 1,
    .doc = "places of the elements that are not zero",
    TC_LIST(inputs, nonzero_inputs),
    TC_LIST(outputs, nonzero_outputs),
    .infer = nonzero_infer,
    .bound = nonzero_bound,
    .cost = nonzero_cost,
    .grad = TC_GRAD_NONE,
};

tc_value tc_nonzero_at(tc_location at, tc_value x)
{
    return TC_NODE("nonzero", NULL, at, (x));
}
