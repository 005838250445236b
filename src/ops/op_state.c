/*
 * Writing variables. Seen as functions, the operators give the new content from the old; that the
 * result replaces the old is the effect, which the runtime carries out in place or by a copy.
 */
#include "ops/build.h"
#include "ops/update.h"
#include "tensorc/ops/state.h"

#include "tensorc/ops/elementwise.h"

tc_status tc_infer_update(tc_infer *infer, int32_t index)
{
    const tc_value_info *variable = &infer->inputs[0], *value = &infer->inputs[index];
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (tc_shape_compatible(&variable->shape, &value->shape))
        return TC_OK;
    return tc_infer_fail(infer, "%s has shape %s, but %s has %s",
                         tc_op_input_port(infer->attrs->op, index)->name,
                         tc_shape_text(&value->shape, a), infer->attrs->op->inputs[0].name,
                         tc_shape_text(&variable->shape, b));
}

static tc_status assign_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return tc_infer_update(infer, 1);
}

static void assign_grad(tc_grad *grad)
{
    grad->input_gradients[1] = grad->output_gradients[0];
}

static void assign_add_grad(tc_grad *grad)
{
    grad->input_gradients[0] = grad->output_gradients[0];
    grad->input_gradients[1] = grad->output_gradients[0];
}

static void assign_sub_grad(tc_grad *grad)
{
    grad->input_gradients[0] = grad->output_gradients[0];
    if (grad->needed[1])
        grad->input_gradients[1] = tc_neg_at(TC_WITHIN(grad->at), grad->output_gradients[0]);
}

static const tc_inplace assign_inplace[] = {{0, 0}};

#define ASSIGN_OP(op_name, argument, set, summary)                                     \
    static const tc_port op_name##_inputs[] = {                                        \
        {.name = "variable", .dtypes = (set), .type = 'T', .flags = TC_PORT_RESOURCE}, \
        {.name = argument, .dtypes = (set), .type = 'T'},                              \
    };                                                                                 \
    static const tc_port op_name##_outputs[] = {                                       \
        {.name = "content", .dtypes = (set), .type = 'T'},                             \
    };                                                                                 \
    const tc_op tc_op_##op_name = {                                                    \
        .name = #op_name,                                                              \
        .version = 1,                                                                  \
        .doc = summary,                                                                \
        TC_LIST(inputs, op_name##_inputs),                                             \
        TC_LIST(outputs, op_name##_outputs),                                           \
        TC_LIST(inplace, assign_inplace),                                              \
        .effects = TC_EFFECT_WRITE,                                                    \
        .infer = assign_infer,                                                         \
        .grad = op_name##_grad,                                                        \
    };                                                                                 \
    tc_value tc_##op_name##_at(tc_location at, tc_value variable, tc_value value)      \
    {                                                                                  \
        return TC_NODE(#op_name, NULL, at, (variable, value));                         \
    }

ASSIGN_OP(assign, "value", TC_DTYPES_ANY, "Replaces the content of a variable.")
ASSIGN_OP(assign_add, "delta", TC_DTYPES_NUMBER, "Adds to the content of a variable.")
ASSIGN_OP(assign_sub, "delta", TC_DTYPES_NUMBER, "Subtracts from the content of a variable.")
