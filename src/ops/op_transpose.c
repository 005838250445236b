/* Permuting dimensions. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/shape.h"

static tc_status transpose_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int32_t count;
    const int64_t *permutation = tc_attrs_ints(infer->attrs, "permutation", &count);
    tc_shape shape = *x;
    uint32_t seen = 0;
    if (count && count != x->rank)
        return tc_infer_fail(infer, "permutation has %d entries for a value of rank %d", (int)count,
                             (int)x->rank);
    for (int32_t i = 0; i < x->rank; i++) {
        int axis = x->rank - 1 - i;
        if (count)
            TC_TRY(tc_infer_axis(infer, "permutation entry", permutation[i], x->rank, &axis));
        if (seen >> axis & 1u)
            return tc_infer_fail(infer, "permutation lists dimension %d twice", axis);
        seen |= 1u << axis;
        shape.dims[i] = x->dims[axis];
    }
    infer->outputs[0].shape = shape;
    if (x->rank <= 1)
        tc_known_copy(infer);
    return TC_OK;
}

static void transpose_grad(tc_grad *grad)
{
    int32_t count, rank = tc_value_shape(grad->inputs[0]).rank;
    const int64_t *permutation = tc_attrs_ints(grad->attrs, "permutation", &count);
    int64_t inverse[TC_MAX_RANK];
    for (int32_t i = 0; i < count; i++)
        inverse[tc_axis_normalize(permutation[i], rank)] = i;
    tc_transpose_options options = {.struct_size = sizeof options,
                                    .permutation = {inverse, (size_t)count}};
    grad->input_gradients[0] =
        tc_transpose_at(TC_WITHIN(grad->at), grad->output_gradients[0], &options);
}

static const tc_port transpose_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port transpose_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "x, permuted"}};
static const tc_attr_def transpose_attrs[] = {
    {"permutation",
     TC_ATTR_INTS,
     {.type = TC_ATTR_INTS},
     NULL,
     "dimension of x that each dimension of y is; empty: reversed"},
};

const tc_op tc_op_transpose = {
    .name = "transpose",
    .version = 1,
    .doc = "permutes the dimensions of x",
    TC_LIST(inputs, transpose_inputs),
    TC_LIST(outputs, transpose_outputs),
    TC_LIST(attrs, transpose_attrs),
    .infer = transpose_infer,
    .grad = transpose_grad,
};

tc_value tc_transpose_at(tc_location at, tc_value x, const tc_transpose_options *options)
{
    TC_OPTIONS(tc_transpose_options, o, options);
    return TC_NODE_WITH("transpose", o.name, at, (x),
                        {"permutation", tc_attr_ints(o.permutation.data, o.permutation.count)});
}
