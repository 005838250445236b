/* Selection by a condition, with broadcasting. */
#include "ops/build.h"
#include "tensorc/ops/elementwise.h"

static void where_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_value condition = grad->inputs[0], dy = grad->output_gradients[0];
    tc_value zero = tc_constant_like(at, dy, 0);
    for (int i = 1; i <= 2; i++) {
        if (!grad->needed[i])
            continue;
        tc_value part = tc_where_at(at, condition, i == 1 ? dy : zero, i == 1 ? zero : dy);
        grad->input_gradients[i] = tc_unbroadcast(at, part, grad->inputs[i]);
    }
}

static const tc_port where_inputs[] = {
    {"condition", TC_DTYPES_BOOL, 0, 0, "which one to take"},
    {"x", TC_DTYPES_ANY, 'T', 0, "taken where the condition is true"},
    {"y", TC_DTYPES_ANY, 'T', 0, "taken where it is false"},
};
static const tc_port where_outputs[] = {
    {"z", TC_DTYPES_ANY, 'T', 0, "result, of the broadcast shape"}};
static const tc_inplace where_inplace[] = {{1, 0}, {2, 0}};

const tc_op tc_op_where = {
    .name = "where",
    .version = 1,
    .doc = "x where the condition is true, else y",
    TC_LIST(inputs, where_inputs),
    TC_LIST(outputs, where_outputs),
    TC_LIST(inplace, where_inplace),
    .flags = TC_OP_ELEMENTWISE,
    .infer = tc_infer_broadcast,
    .grad = where_grad,
};

tc_value tc_where_at(tc_location at, tc_value condition, tc_value x, tc_value y)
{
    return TC_NODE("where", NULL, at, (condition, x, y));
}
