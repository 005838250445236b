/* The same elements in a shape that a tensor tells. */
#include "base/alloc.h"
#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/dynamic.h"
#include "tensorc/ops/shape.h"

/* Product of the known sizes; false when it overflows. */
static bool product_of_known(const tc_shape *shape, int64_t *product, int *unknown)
{
    *product = 1;
    *unknown = 0;
    for (int32_t i = 0; i < shape->rank; i++) {
        if (!tc_dim_is_known(shape->dims[i]))
            ++*unknown;
        else if (!tc_mul_i64(*product, shape->dims[i].size, product))
            return false;
    }
    return true;
}

static tc_status fail(tc_infer *infer, const tc_shape *to, const char *why)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    return tc_infer_fail(infer, "%s does not reshape to %s: %s",
                         tc_shape_text(&infer->inputs[0].shape, a), tc_shape_text(to, b), why);
}

/* An element that is -1 and one that is not known read the same: with all others known, both are
 * what is left. */
static tc_status reshape_to_infer(tc_infer *infer)
{
    const tc_shape *sizes = &infer->inputs[1].shape;
    tc_shape *y = &infer->outputs[0].shape;
    char text[TC_SHAPE_TEXT_SIZE];
    if (sizes->rank != 1 || !tc_shape_is_known(sizes) || sizes->dims[0].size > TC_MAX_RANK)
        return tc_infer_fail(infer,
                             "the sizes have shape %s, but must be a list of known length, at most "
                             "%d",
                             tc_shape_text(sizes, text), TC_MAX_RANK);
    *y = (tc_shape){.rank = (int32_t)sizes->dims[0].size};
    int32_t open = 0;
    for (int32_t i = 0; i < y->rank; i++) {
        y->dims[i] = tc_known_element(infer, 1, i);
        open = tc_dim_is_known(y->dims[i]) ? open : i;
    }
    int64_t count = tc_shape_size(&infer->inputs[0].shape), product;
    int unknown;
    if (!product_of_known(y, &product, &unknown))
        return fail(infer, y, "it has too many elements");
    if (count < 0 || unknown > 1)
        return TC_OK;
    if (unknown == 0)
        return product == count ? TC_OK : fail(infer, y, "the numbers of elements differ");
    if (product == 0 && count == 0)
        return TC_OK; /* only the elements tell */
    if (product == 0 || count % product)
        return fail(infer, y, "the other sizes do not divide the number of elements");
    y->dims[open] = (tc_dim){count / product, NULL};
    return TC_OK;
}

/* Not of each dimension, but of all together: there are as many elements as in x. */
static tc_status reshape_to_bound(tc_infer *infer)
{
    TC_TRY(reshape_to_infer(infer));
    tc_shape *y = &infer->outputs[0].shape;
    int64_t count = tc_shape_size(&infer->inputs[0].shape), product;
    int unknown;
    if (!product_of_known(y, &product, &unknown))
        return fail(infer, y, "it has too many elements");
    for (int32_t i = 0; i < y->rank; i++) {
        if (tc_dim_is_known(y->dims[i]))
            continue;
        y->dims[i] = (tc_dim){product > 0 ? (count + product - 1) / product : 0, NULL};
        product = count; /* the first takes all that is left */
        if (y->dims[i].size == 0)
            break;
    }
    for (int32_t i = 0; i < y->rank; i++)
        if (!tc_dim_is_known(y->dims[i]))
            y->dims[i] = (tc_dim){1, NULL};
    return TC_OK;
}

static void reshape_to_grad(tc_grad *grad)
{
    grad->input_gradients[0] =
        tc_reshape_like_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[0]);
}

static const tc_port inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "any shape"},
    {"sizes", TC_DTYPE_BIT(TC_I64), 0, 0, "size of each dimension of y; -1 once: what is left"},
};
static const tc_port outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "the elements of x"}};

const tc_op tc_op_reshape_to = {
    .name = "reshape_to",
    .version = 1,
    .doc = "the elements of x in a shape that a tensor tells",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    .infer = reshape_to_infer,
    .bound = reshape_to_bound,
    .grad = reshape_to_grad,
};

tc_value tc_reshape_to_at(tc_location at, tc_value x, tc_value sizes)
{
    return TC_NODE("reshape_to", NULL, at, (x, sizes));
}
