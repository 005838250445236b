/* Indices as unit vectors. */
#include "core/shape.h"
#include "ops/build.h"
#include "tensorc/ops/shape.h"

static tc_status one_hot_infer(tc_infer *infer)
{
    const tc_shape *indices = &infer->inputs[0].shape;
    int64_t depth = tc_attrs_int(infer->attrs, "depth");
    tc_shape shape = {.rank = indices->rank + 1};
    int axis;
    if (depth < 1)
        return tc_infer_fail(infer, "depth is %lld, but must be 1 at least", (long long)depth);
    if (shape.rank > TC_MAX_RANK)
        return tc_infer_fail(infer, "a result of rank %d is beyond the limit of %d",
                             (int)shape.rank, TC_MAX_RANK);
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), shape.rank, &axis));
    for (int32_t i = 0, d = 0; i < shape.rank; i++)
        shape.dims[i] = i == axis ? (tc_dim){depth, NULL} : indices->dims[d++];
    infer->outputs[0].dtype = tc_attrs_dtype(infer->attrs, "dtype");
    infer->outputs[0].shape = shape;
    return TC_OK;
}

static const tc_port one_hot_inputs[] = {
    {"indices", TC_DTYPES_INDEX, 0, 0, "any shape; negative from the end"}};
static const tc_port one_hot_outputs[] = {
    {"y", TC_DTYPES_ANY, 'T', 0, "indices with a new dimension of size depth"}};
static const tc_attr_def one_hot_attrs[] = {
    {"depth", TC_ATTR_INT, {.type = TC_ATTR_NONE}, NULL, "size of the new dimension"},
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_INT, .i = -1}, NULL, "place of the new dimension"},
    {"on", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 1}, NULL, "value at the index"},
    {"off", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT}, NULL, "value elsewhere"},
    {"dtype", TC_ATTR_DTYPE, {.type = TC_ATTR_DTYPE, .dtype = TC_F32}, NULL, "of the result"},
};

const tc_op tc_op_one_hot = {
    .name = "one_hot",
    .version = 1,
    .doc = "unit vectors of indices",
    TC_LIST(inputs, one_hot_inputs),
    TC_LIST(outputs, one_hot_outputs),
    TC_LIST(attrs, one_hot_attrs),
    .infer = one_hot_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_one_hot_at(tc_location at, tc_value indices, int64_t depth,
                       const tc_one_hot_options *options)
{
    TC_OPTIONS(tc_one_hot_options, o, options);
    return TC_NODE_WITH("one_hot", o.name, at, (indices), {"depth", tc_attr_int(depth)},
                        {"axis", tc_attr_int(tc_int_or(o.axis, -1))},
                        {"on", tc_attr_float(tc_float_or(o.on, 1))},
                        {"off", tc_attr_float(tc_float_or(o.off, 0))},
                        {"dtype", tc_attr_dtype(o.dtype ? o.dtype : TC_F32)});
}
