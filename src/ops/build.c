#include "ops/build.h"

#include "core/shape.h"
#include "tensorc/ops/reduce.h"

tc_status tc_infer_same(tc_infer *infer)
{
    for (int32_t i = 0; i < infer->n_outputs; i++)
        infer->outputs[i].shape = infer->inputs[0].shape;
    return TC_OK;
}

tc_status tc_infer_broadcast(tc_infer *infer)
{
    const tc_port *ports = infer->attrs->op->inputs;
    tc_shape shape = infer->inputs[0].shape;
    for (int32_t i = 1; i < infer->n_inputs; i++) {
        if (infer->inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        if (!tc_shape_broadcast(&shape, &infer->inputs[i].shape, &shape)) {
            char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
            return tc_infer_fail(
                infer,
                "%s of shape %s does not broadcast with %s: counted from the last, "
                "dimensions must be equal or 1",
                ports[i].name, tc_shape_text(&infer->inputs[i].shape, a), tc_shape_text(&shape, b));
        }
    }
    infer->outputs[0].shape = shape;
    return TC_OK;
}

tc_status tc_infer_axis(tc_infer *infer, const char *what, int64_t axis, int32_t rank, int *out)
{
    *out = tc_axis_normalize(axis, rank);
    if (*out >= 0)
        return TC_OK;
    return tc_infer_fail(infer, "%s %lld is outside -%d..%d of a value of rank %d", what,
                         (long long)axis, rank, rank - 1, rank);
}

tc_value tc_unbroadcast(tc_location at, tc_value gradient, tc_value like)
{
    tc_shape from = tc_value_shape(gradient), to = tc_value_shape(like);
    bool same = from.rank == to.rank;
    for (int32_t i = 0; same && i < from.rank; i++)
        same = tc_dim_same(from.dims[i], to.dims[i]);
    return same ? gradient : tc_sum_to_like_at(at, gradient, like);
}

tc_value tc_constant_like(tc_location at, tc_value like, double value)
{
    return tc_constant_scalar_at(at, like.graph, tc_value_dtype(like), value);
}
