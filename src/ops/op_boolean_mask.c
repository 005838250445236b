/* Slices where a mask is true, and their places in zeros again. */
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/ops/dynamic.h"

/* The shape of the slices of `x` where input 1 is true, of which there are `count`. */
static tc_status masked_shape(tc_infer *infer, const tc_shape *x, int64_t count, tc_shape *out)
{
    const tc_shape *mask = &infer->inputs[1].shape;
    tc_shape front = *x;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (mask->rank == 0)
        return tc_infer_fail(infer, "the mask is a scalar; it has one dimension of x at least");
    front.rank = mask->rank < x->rank ? mask->rank : x->rank;
    if (mask->rank > x->rank || !tc_shape_compatible(&front, mask))
        return tc_infer_fail(infer,
                             "the mask has shape %s, which is not that of the first dimensions of "
                             "%s",
                             tc_shape_text(mask, a), tc_shape_text(x, b));
    out->rank = x->rank - mask->rank + 1;
    out->dims[0] = (tc_dim){count, NULL};
    for (int32_t i = mask->rank; i < x->rank; i++)
        out->dims[i - mask->rank + 1] = x->dims[i];
    return TC_OK;
}

static tc_status mask_infer(tc_infer *infer)
{
    return masked_shape(infer, &infer->inputs[0].shape, -1, &infer->outputs[0].shape);
}

static tc_status mask_bound(tc_infer *infer)
{
    int64_t count = tc_shape_size(&infer->inputs[1].shape);
    return masked_shape(infer, &infer->inputs[0].shape, count, &infer->outputs[0].shape);
}

static void mask_gradient(tc_grad *grad)
{
    grad->input_gradients[0] = tc_boolean_mask_grad_at(
        TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[1], grad->inputs[0]);
}

static const tc_port mask_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "of rank 1 at least"},
    {"mask", TC_DTYPES_BOOL, 0, 0, "which slices; its dimensions are the first ones of x"},
};
static const tc_port mask_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "[n, rest of x]"}};

const tc_op tc_op_boolean_mask = {
    .name = "boolean_mask",
    .version = 1,
    .doc = "slices of x where a mask is true",
    TC_LIST(inputs, mask_inputs),
    TC_LIST(outputs, mask_outputs),
    .infer = mask_infer,
    .bound = mask_bound,
    .grad = mask_gradient,
};

tc_value tc_boolean_mask_at(tc_location at, tc_value x, tc_value mask)
{
    return TC_NODE("boolean_mask", NULL, at, (x, mask));
}

static tc_status grad_infer(tc_infer *infer)
{
    const tc_shape *dy = &infer->inputs[0].shape, *like = &infer->inputs[2].shape;
    tc_shape slices = *like;
    TC_TRY(masked_shape(infer, like, -1, &slices));
    if (!tc_shape_compatible(&slices, dy)) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "dy has shape %s, but the slices have shape %s",
                             tc_shape_text(dy, a), tc_shape_text(&slices, b));
    }
    infer->outputs[0].shape = *like;
    return TC_OK;
}

static void grad_gradient(tc_grad *grad)
{
    grad->input_gradients[0] =
        tc_boolean_mask_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[1]);
}

static const tc_port grad_inputs[] = {
    {"dy", TC_DTYPES_ANY, 'T', 0, "slices"},
    {"mask", TC_DTYPES_BOOL, 0, 0, "where they were taken from"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "what they were taken from"},
};
static const tc_port grad_outputs[] = {
    {"dx", TC_DTYPES_ANY, 'T', 0, "of the shape of like, 0 where the mask is false"}};

const tc_op tc_op_boolean_mask_grad = {
    .name = "boolean_mask_grad",
    .version = 1,
    .doc = "gradient of boolean_mask: zeros with the slices of dy where the mask is true",
    TC_LIST(inputs, grad_inputs),
    TC_LIST(outputs, grad_outputs),
    .infer = grad_infer,
    .grad = grad_gradient,
};

tc_value tc_boolean_mask_grad_at(tc_location at, tc_value dy, tc_value mask, tc_value like)
{
    return TC_NODE("boolean_mask_grad", NULL, at, (dy, mask, like));
}
