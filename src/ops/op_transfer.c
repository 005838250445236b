/* A value on another device: made by the pass transfer between devices, a copy in plans. */
#include "ops/build.h"

static const tc_port transfer_inputs[] = {{.name = "x", .dtypes = TC_DTYPES_ANY, .type = 'T'}};
static const tc_port transfer_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_ANY, .type = 'T'}};

static tc_status transfer_infer(tc_infer *infer)
{
    infer->outputs[0] = infer->inputs[0];
    return TC_OK;
}

const tc_op tc_op_transfer = {
    .name = "transfer",
    .version = 1,
    .doc = "internal: the input, copied to the device of the node.",
    TC_LIST(inputs, transfer_inputs),
    TC_LIST(outputs, transfer_outputs),
    .flags = TC_OP_INTERNAL,
    .infer = transfer_infer,
    .grad = TC_GRAD_NONE,
};
