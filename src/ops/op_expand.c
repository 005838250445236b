/* Broadcasting to a larger shape, and shapes as values. */
#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/reduce.h"
#include "tensorc/ops/shape.h"

/* Output 0: input 0 broadcast to `target`, whose unknown sizes are at least 1 where x has something
 * else. */
static tc_status expand_to(tc_infer *infer, const tc_shape *target)
{
    const tc_shape *x = &infer->inputs[0].shape;
    tc_shape shape = *target;
    int32_t added = target->rank - x->rank;
    bool fits = added >= 0;
    for (int32_t i = 0; fits && i < x->rank; i++) {
        tc_dim from = x->dims[i], *to = &shape.dims[added + i];
        if (from.size >= 0 && from.size != 1) {
            fits = to->size < 0 || to->size == from.size;
            *to = from;
        }
    }
    if (!fits) {
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer,
                             "%s does not broadcast to %s: counted from the last, dimensions of "
                             "the first must be 1 or equal to those of the second",
                             tc_shape_text(x, a), tc_shape_text(target, b));
    }
    infer->outputs[0].shape = shape;
    return TC_OK;
}

static void expand_grad(tc_grad *grad)
{
    grad->input_gradients[0] =
        tc_sum_to_like_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[0]);
}

static tc_status expand_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int32_t rank;
    const int64_t *sizes = tc_attrs_ints(infer->attrs, "sizes", &rank);
    if (rank > TC_MAX_RANK)
        return tc_infer_fail(infer, "a result of rank %d is beyond the limit of %d", rank,
                             TC_MAX_RANK);
    tc_shape shape = tc_shape_of((size_t)rank, sizes);
    for (int32_t i = 0; i < rank; i++) {
        int32_t d = i - (rank - x->rank);
        if (sizes[i] < -1)
            return tc_infer_fail(infer, "size %d is %lld; sizes are 0 or more, or -1 to keep one",
                                 (int)i, (long long)sizes[i]);
        if (sizes[i] == -1 && d < 0)
            return tc_infer_fail(infer, "size %d is -1, but x has no dimension there to keep",
                                 (int)i);
        if (sizes[i] == -1)
            shape.dims[i] = x->dims[d];
    }
    return expand_to(infer, &shape);
}

static const tc_port expand_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port expand_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "x, repeated"}};
static const tc_attr_def expand_attrs[] = {
    {"sizes",
     TC_ATTR_INTS,
     {.type = TC_ATTR_NONE},
     NULL,
     "size of each dimension of y, -1: that of x"},
};

const tc_op tc_op_expand = {
    .name = "expand",
    .version = 1,
    .doc = "x broadcast to given sizes",
    TC_LIST(inputs, expand_inputs),
    TC_LIST(outputs, expand_outputs),
    TC_LIST(attrs, expand_attrs),
    .infer = expand_infer,
    .grad = expand_grad,
};

tc_value tc_expand_at(tc_location at, tc_value x, tc_shape shape)
{
    int64_t sizes[TC_MAX_RANK];
    tc_shape source = tc_value_shape(x);
    if (shape.rank < 0 || shape.rank > TC_MAX_RANK)
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                             "expand: the rank of the new shape must be 0 to %d", TC_MAX_RANK);
    for (int32_t i = 0; i < shape.rank; i++) {
        int32_t d = i - (shape.rank - source.rank);
        const char *name = shape.dims[i].name;
        sizes[i] = shape.dims[i].size;
        if (name && tc_value_ok(x) && (d < 0 || !tc_dim_equal(shape.dims[i], source.dims[d]))) {
            char text[TC_SHAPE_TEXT_SIZE];
            return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                                 "expand: %s has no dimension '%s' in that place to keep; expand "
                                 "to an unknown size with tc_expand_like",
                                 tc_shape_text(&source, text), name);
        }
    }
    return TC_NODE_WITH("expand", NULL, at, (x),
                        {"sizes", tc_attr_ints(sizes, (size_t)shape.rank)});
}

static tc_status expand_like_infer(tc_infer *infer)
{
    return expand_to(infer, &infer->inputs[1].shape);
}

static const tc_port expand_like_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "any shape that broadcasts to that of like"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "gives the shape"},
};

const tc_op tc_op_expand_like = {
    .name = "expand_like",
    .version = 1,
    .doc = "x broadcast to the shape of another value",
    TC_LIST(inputs, expand_like_inputs),
    TC_LIST(outputs, expand_outputs),
    .infer = expand_like_infer,
    .grad = expand_grad,
};

tc_value tc_expand_like_at(tc_location at, tc_value x, tc_value like)
{
    return TC_NODE("expand_like", NULL, at, (x, like));
}

static tc_status shape_of_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int64_t rank = x->rank;
    infer->outputs[0].shape = tc_shape_of(1, &rank);
    tc_dim *known = tc_known_output(infer, 0);
    if (known)
        memcpy(known, x->dims, (size_t)rank * sizeof *known);
    return TC_OK;
}

static const tc_port shape_of_inputs[] = {{"x", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "any shape"}};
static const tc_port shape_of_outputs[] = {{"sizes", TC_DTYPE_BIT(TC_I64), 0, 0, "[rank of x]"}};

const tc_op tc_op_shape_of = {
    .name = "shape_of",
    .version = 1,
    .doc = "the sizes of x as a vector",
    TC_LIST(inputs, shape_of_inputs),
    TC_LIST(outputs, shape_of_outputs),
    .infer = shape_of_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_shape_of_at(tc_location at, tc_value x)
{
    return TC_NODE("shape_of", NULL, at, (x));
}
