/* The different elements of a tensor. */
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/ops/dynamic.h"

static tc_status unique_shape(tc_infer *infer, int64_t count)
{
    infer->outputs[0].shape = infer->outputs[2].shape = tc_shape_of(1, &count);
    infer->outputs[1].shape = infer->inputs[0].shape;
    return TC_OK;
}

static tc_status unique_infer(tc_infer *infer)
{
    return unique_shape(infer, -1);
}

static tc_status unique_bound(tc_infer *infer)
{
    return unique_shape(infer, tc_shape_size(&infer->inputs[0].shape));
}

/* A radix sort of keys and places: a pass for each byte of an element. */
static void unique_cost(const tc_infer *node, tc_node_cost *cost)
{
    double count = (double)tc_shape_size(&node->inputs[0].shape);
    double passes = tc_dtype_bits(node->inputs[0].dtype) / 8.0;
    cost->flops = count * passes;
    cost->bytes = count * (32 * passes + 24);
}

static const tc_port unique_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port unique_outputs[] = {
    {"values", TC_DTYPES_ANY, 'T', 0, "[n], ascending"},
    {"inverse", TC_DTYPE_BIT(TC_I64), 0, 0, "index into values of each element of x"},
    {"counts", TC_DTYPE_BIT(TC_I64), 0, 0, "[n], how often each occurs"},
};

const tc_op tc_op_unique = {
    .name = "unique",
    .version = 1,
    .doc = "the different elements of x in ascending order, where they are and how many",
    TC_LIST(inputs, unique_inputs),
    TC_LIST(outputs, unique_outputs),
    .infer = unique_infer,
    .bound = unique_bound,
    .cost = unique_cost,
    .grad = TC_GRAD_NONE,
};

tc_value tc_unique_at(tc_location at, tc_value x)
{
    return TC_NODE("unique", NULL, at, (x));
}
