/* Conversion between element types. */
#include "ops/build.h"

#include "tensorc/ops/elementwise.h"

/* What is known of the elements of an index tensor holds for another index type that they fit in.
 */
static bool keeps_known(const tc_value_info *x, tc_dtype dtype)
{
    bool keeps = x->known && (TC_DTYPES_INDEX & TC_DTYPE_BIT(x->dtype)) &&
                 (TC_DTYPES_INDEX & TC_DTYPE_BIT(dtype));
    for (int32_t i = 0; keeps && dtype == TC_I32 && i < x->known_count; i++)
        keeps = x->known[i].size <= INT32_MAX && (x->dtype == TC_I32 || x->known[i].size >= 0);
    return keeps;
}

static tc_status cast_infer(tc_infer *infer)
{
    tc_dtype dtype = tc_attrs_dtype(infer->attrs, "dtype");
    infer->outputs[0].dtype = dtype;
    if (keeps_known(&infer->inputs[0], dtype)) {
        infer->outputs[0].known = infer->inputs[0].known;
        infer->outputs[0].known_count = infer->inputs[0].known_count;
    }
    return tc_infer_same(infer);
}

static bool is_float(tc_value value)
{
    return TC_DTYPES_FLOAT & TC_DTYPE_BIT(tc_value_dtype(value));
}

static void cast_grad(tc_grad *grad)
{
    tc_value x = grad->inputs[0];
    if (is_float(x) && is_float(grad->outputs[0]))
        grad->input_gradients[0] =
            tc_cast_at(TC_WITHIN(grad->at), grad->output_gradients[0], tc_value_dtype(x));
}

static const tc_port cast_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "operand"}};
static const tc_port cast_outputs[] = {{"y", TC_DTYPES_ANY, 0, 0, "result, of the shape of x"}};
static const tc_attr_def cast_attrs[] = {
    {.name = "dtype", .type = TC_ATTR_DTYPE, .doc = "element type of the result"}};
static const tc_inplace cast_inplace[] = {{0, 0}};

const tc_op tc_op_cast = {
    .name = "cast",
    .version = 1,
    .doc = "x converted to another element type",
    TC_LIST(inputs, cast_inputs),
    TC_LIST(outputs, cast_outputs),
    TC_LIST(attrs, cast_attrs),
    TC_LIST(inplace, cast_inplace),
    .flags = TC_OP_ELEMENTWISE,
    .infer = cast_infer,
    .grad = cast_grad,
};

tc_value tc_cast_at(tc_location at, tc_value x, tc_dtype dtype)
{
    return TC_NODE_WITH("cast", NULL, at, (x), {"dtype", tc_attr_dtype(dtype)});
}
