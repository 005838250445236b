/* The inverse of broadcasting. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/shape.h"

static tc_status sum_to_like_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape, *like = &infer->inputs[1].shape;
    int32_t extra = x->rank - like->rank;
    bool fits = extra >= 0;
    for (int32_t i = 0; fits && i < like->rank; i++) {
        tc_dim from = x->dims[extra + i], to = like->dims[i];
        fits = to.size == 1 || from.size < 0 || to.size < 0 || from.size == to.size;
    }
    if (!fits) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer,
                             "like %s does not broadcast to x %s: counted from the last, its "
                             "dimensions must be those of x or 1",
                             tc_shape_text(like, b), tc_shape_text(x, a));
    }
    infer->outputs[0].shape = *like;
    return TC_OK;
}

static void sum_to_like_grad(tc_grad *grad)
{
    if (grad->needed[0])
        grad->input_gradients[0] =
            tc_expand_like_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[0]);
}

static const tc_port sum_to_like_inputs[] = {
    {"x", TC_DTYPES_NUMBER, 'T', 0, "what is summed"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "broadcasts to x; gives the result's shape"},
};
static const tc_port sum_to_like_outputs[] = {
    {"y", TC_DTYPES_NUMBER, 'T', 0, "in the shape of like"}};
/* Equal sizes mean that nothing is summed. */
static const tc_inplace sum_to_like_inplace[] = {{0, 0}};

const tc_op tc_op_sum_to_like = {
    .name = "sum_to_like",
    .version = 1,
    .doc = "x summed over the axes along which like would be broadcast to it",
    TC_LIST(inputs, sum_to_like_inputs),
    TC_LIST(outputs, sum_to_like_outputs),
    TC_LIST(inplace, sum_to_like_inplace),
    .infer = sum_to_like_infer,
    .cost = tc_cost_each_input,
    .grad = sum_to_like_grad,
};

tc_value tc_sum_to_like_at(tc_location at, tc_value x, tc_value like)
{
    if (tc_value_ok(x) && tc_value_ok(like)) {
        tc_shape from = tc_value_shape(x), to = tc_value_shape(like);
        bool same = from.rank == to.rank;
        for (int32_t i = 0; same && i < from.rank; i++)
            same = tc_dim_same(from.dims[i], to.dims[i]);
        if (same && x.graph == like.graph)
            return x;
    }
    return TC_NODE("sum_to_like", NULL, at, (x, like));
}
