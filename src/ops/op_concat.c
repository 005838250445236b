/* Joining values along a dimension and cutting them apart again. */
#include "base/alloc.h"
#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/shape.h"

/* A size that two values share: what is known of either. */
static bool dim_meet(tc_dim a, tc_dim b, tc_dim *out)
{
    if (a.size >= 0 && b.size >= 0 && a.size != b.size)
        return false;
    *out = a.size >= 0 || (b.size < 0 && a.name) ? a : b;
    return true;
}

/* The size of dimensions laid end to end; unknown when one of several is. False: it overflows. */
static bool dim_join(tc_dim *sum, tc_dim more)
{
    if (sum->size == 0) {
        *sum = more;
    } else if (more.size != 0) {
        int64_t size = -1;
        if (sum->size >= 0 && more.size >= 0 && __builtin_add_overflow(sum->size, more.size, &size))
            return false;
        *sum = (tc_dim){size, NULL};
    }
    return true;
}

static tc_status concat_infer(tc_infer *infer)
{
    if (infer->n_inputs == 0)
        return tc_infer_fail(infer, "there is nothing to join: pass one value at least");
    tc_shape shape = infer->inputs[0].shape;
    int axis;
    if (shape.rank == 0)
        return tc_infer_fail(infer, "scalars have no dimension to join along; use tc_stack");
    TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), shape.rank, &axis));
    for (int32_t n = 1; n < infer->n_inputs; n++) {
        const tc_shape *next = &infer->inputs[n].shape;
        bool fits = next->rank == shape.rank;
        for (int32_t i = 0; fits && i < shape.rank; i++)
            fits = i == axis ? dim_join(&shape.dims[i], next->dims[i])
                             : dim_meet(shape.dims[i], next->dims[i], &shape.dims[i]);
        if (!fits) {
            char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
            return tc_infer_fail(infer,
                                 "value %d of shape %s does not fit to value 0 of shape %s along "
                                 "axis %d: all other dimensions must agree",
                                 (int)n, tc_shape_text(next, a),
                                 tc_shape_text(&infer->inputs[0].shape, b), axis);
        }
    }
    infer->outputs[0].shape = shape;
    tc_dim *known = shape.rank == 1 ? tc_known_output(infer, 0) : NULL;
    for (int32_t n = 0; known && n < infer->n_inputs; n++)
        for (int64_t i = 0; i < infer->inputs[n].shape.dims[0].size; i++)
            *known++ = tc_known_element(infer, n, i);
    return TC_OK;
}

static void concat_grad(tc_grad *grad)
{
    tc_value part = tc_split_like_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs,
                                     (size_t)grad->n_inputs, tc_attrs_int(grad->attrs, "axis"));
    for (int32_t i = 0; i < grad->n_inputs; i++)
        if (grad->needed[i])
            grad->input_gradients[i] = tc_output(part, i);
}

static const tc_port concat_inputs[] = {
    {"values", TC_DTYPES_ANY, 'T', TC_PORT_VARIADIC, "of one shape but for the axis"}};
static const tc_port concat_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "values, end to end"}};
static const tc_attr_def concat_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_NONE}, NULL, "dimension, negative from the end"},
};

const tc_op tc_op_concat = {
    .name = "concat",
    .version = 1,
    .doc = "joins values along a dimension",
    TC_LIST(inputs, concat_inputs),
    TC_LIST(outputs, concat_outputs),
    TC_LIST(attrs, concat_attrs),
    .infer = concat_infer,
    .grad = concat_grad,
};

tc_value tc_concat_at(tc_location at, const tc_value *values, size_t count, int64_t axis,
                      const tc_concat_options *options)
{
    TC_OPTIONS(tc_concat_options, o, options);
    return tc_node_build(NULL, &(const tc_node_spec){.op = "concat",
                                                     .name = o.name,
                                                     .at = at,
                                                     .inputs = values,
                                                     .n_inputs = count,
                                                     TC_SPEC_ATTRS({"axis", tc_attr_int(axis)})});
}

tc_value tc_stack_at(tc_location at, const tc_value *values, size_t count, int64_t axis)
{
    size_t bytes;
    if (count == 0 || !values)
        return tc_concat_at(at, values, 0, axis, NULL);
    tc_value *rows = tc_mul_size(count, sizeof *rows, &bytes) ? tc_alloc(bytes) : NULL;
    if (!rows)
        return tc_graph_fail(values[0].graph, at, TC_RESOURCE_EXHAUSTED,
                             "stack: out of memory for %zu values", count);
    for (size_t i = 0; i < count; i++)
        rows[i] = tc_unsqueeze_at(at, values[i], (tc_ints){&axis, 1});
    tc_concat_options options = {.struct_size = sizeof options, .name = "stack"};
    tc_value y = tc_concat_at(at, rows, count, axis, &options);
    tc_free(rows);
    return y;
}

/* Keeps a broken file from asking for billions of outputs. */
#define MAX_PARTS 65536

/* infer: `count` outputs of the shape of x but for `axis`, where output i takes sizes[i]. */
static tc_status cut(tc_infer *infer, int axis, int32_t count, const tc_dim *sizes, size_t stride)
{
    const tc_shape *x = &infer->inputs[0].shape;
    tc_dim sum = {0, NULL};
    tc_shape shape = *x;
    bool follow = x->rank == 1 && infer->inputs[0].known;
    int64_t place = 0; /* in a vector whose elements are followed */
    TC_TRY(tc_infer_outputs(infer, count));
    for (int32_t i = 0; i < count; i++) {
        shape.dims[axis] = *(const tc_dim *)((const char *)sizes + (size_t)i * stride);
        if (!dim_join(&sum, shape.dims[axis]))
            return tc_infer_fail(infer, "the sizes of the parts overflow");
        infer->outputs[i].shape = shape;
        tc_dim *known = follow ? tc_known_output(infer, i) : NULL;
        for (int64_t j = 0; known && j < shape.dims[axis].size; j++)
            known[j] = tc_known_element(infer, 0, place + j);
        follow = follow && known;
        if (follow)
            place += shape.dims[axis].size;
    }
    if (sum.size >= 0 && x->dims[axis].size >= 0 && sum.size != x->dims[axis].size) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "the parts have %lld elements along dimension %d of %s",
                             (long long)sum.size, axis, tc_shape_text(x, text));
    }
    return TC_OK;
}

/* infer: the axis of a cut. */
static tc_status cut_axis(tc_infer *infer, int *axis)
{
    const tc_shape *x = &infer->inputs[0].shape;
    if (x->rank == 0)
        return tc_infer_fail(infer, "a scalar has no dimension to cut");
    return tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, axis);
}

static tc_status split_infer(tc_infer *infer)
{
    int axis;
    int32_t count;
    TC_TRY(cut_axis(infer, &axis));
    const int64_t *sizes = tc_attrs_ints(infer->attrs, "sizes", &count);
    int64_t parts = tc_attrs_int(infer->attrs, "parts");
    tc_dim whole = infer->inputs[0].shape.dims[axis];
    if (count) {
        if (parts != 0 && parts != count)
            return tc_infer_fail(infer, "%lld parts are asked for, but %d sizes are given",
                                 (long long)parts, (int)count);
        tc_dim *dims = tc_infer_alloc(infer, (size_t)count * sizeof *dims);
        if (!dims)
            return TC_RESOURCE_EXHAUSTED;
        for (int32_t i = 0; i < count; i++) {
            if (sizes[i] < 0)
                return tc_infer_fail(infer, "the size of part %d is %lld; sizes are 0 or more",
                                     (int)i, (long long)sizes[i]);
            dims[i].size = sizes[i];
        }
        return cut(infer, axis, count, dims, sizeof *dims);
    }
    if (parts < 1 || parts > MAX_PARTS)
        return tc_infer_fail(infer,
                             "cannot cut into %lld parts; give their number, 1 to %d, or their "
                             "sizes",
                             (long long)parts, MAX_PARTS);
    if (whole.size >= 0 && whole.size % parts) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer,
                             "dimension %d of %s cannot be cut into %lld equal parts; give "
                             "sizes for unequal ones",
                             axis, tc_shape_text(&infer->inputs[0].shape, text), (long long)parts);
    }
    if (parts > 1)
        whole = (tc_dim){whole.size < 0 ? -1 : whole.size / parts, NULL};
    return cut(infer, axis, (int32_t)parts, &whole, 0);
}

/* Of split and split_like: the parts joined. Those that no gradient flows into count as zeros. */
static void split_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    size_t count = (size_t)grad->n_outputs;
    tc_value *parts = tc_alloc(count * sizeof *parts);
    if (!parts) {
        grad->input_gradients[0] = tc_graph_fail(grad->graph, at, TC_RESOURCE_EXHAUSTED,
                                                 "split: out of memory for %zu gradients", count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        parts[i] = tc_grad_output(grad, (int32_t)i);
    grad->input_gradients[0] =
        tc_concat_at(at, parts, count, tc_attrs_int(grad->attrs, "axis"), NULL);
    tc_free(parts);
}

static const tc_port split_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "of rank 1 at least"}};
static const tc_port split_outputs[] = {
    {"parts", TC_DTYPES_ANY, 'T', TC_PORT_VARIADIC, "x, in parts"}};
static const tc_attr_def split_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_NONE}, NULL, "dimension, negative from the end"},
    {"parts", TC_ATTR_INT, {.type = TC_ATTR_INT}, NULL, "number of equal parts, unless sizes"},
    {"sizes", TC_ATTR_INTS, {.type = TC_ATTR_INTS}, NULL, "size of each part"},
};

const tc_op tc_op_split = {
    .name = "split",
    .version = 1,
    .doc = "cuts x along a dimension",
    TC_LIST(inputs, split_inputs),
    TC_LIST(outputs, split_outputs),
    TC_LIST(attrs, split_attrs),
    .infer = split_infer,
    .grad = split_grad,
};

tc_value tc_split_at(tc_location at, tc_value x, int64_t axis, int64_t parts,
                     const tc_split_options *options)
{
    TC_OPTIONS(tc_split_options, o, options);
    return TC_NODE_WITH("split", o.name, at, (x), {"axis", tc_attr_int(axis)},
                        {"parts", tc_attr_int(parts)},
                        {"sizes", tc_attr_ints(o.sizes.data, o.sizes.count)});
}

static tc_status split_like_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int axis;
    TC_TRY(cut_axis(infer, &axis));
    if (infer->n_inputs < 2)
        return tc_infer_fail(infer, "there is no part to cut out");
    for (int32_t i = 1; i < infer->n_inputs; i++) {
        const tc_shape *like = &infer->inputs[i].shape;
        tc_shape expected = *x;
        if (like->rank == x->rank)
            expected.dims[axis] = like->dims[axis];
        if (!tc_shape_compatible(like, &expected)) {
            char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
            return tc_infer_fail(infer, "a part of shape %s cannot be cut from %s along axis %d",
                                 tc_shape_text(like, a), tc_shape_text(x, b), axis);
        }
    }
    TC_TRY(cut(infer, axis, infer->n_inputs - 1, &infer->inputs[1].shape.dims[axis],
               sizeof *infer->inputs));
    for (int32_t i = 0; i < infer->n_outputs; i++) {
        tc_dim *dims = infer->outputs[i].shape.dims;
        for (int32_t d = 0; d < x->rank; d++)
            (void)dim_meet(infer->inputs[i + 1].shape.dims[d], dims[d], &dims[d]);
    }
    return TC_OK;
}

static const tc_port split_like_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "of rank 1 at least"},
    {"likes", TC_DTYPES_ANY, 0, TC_PORT_VARIADIC | TC_PORT_SHAPE_ONLY, "give the shapes"},
};
static const tc_attr_def split_like_attrs[] = {
    {"axis", TC_ATTR_INT, {.type = TC_ATTR_NONE}, NULL, "dimension, negative from the end"},
};

const tc_op tc_op_split_like = {
    .name = "split_like",
    .version = 1,
    .doc = "cuts x along a dimension into parts of the shapes of other values",
    TC_LIST(inputs, split_like_inputs),
    TC_LIST(outputs, split_outputs),
    TC_LIST(attrs, split_like_attrs),
    .infer = split_like_infer,
    .grad = split_grad,
};

tc_value tc_split_like_at(tc_location at, tc_value x, const tc_value *likes, size_t count,
                          int64_t axis)
{
    size_t bytes;
    tc_value *inputs =
        count < SIZE_MAX && tc_mul_size(count + 1, sizeof *inputs, &bytes) ? tc_alloc(bytes) : NULL;
    if (!inputs)
        return tc_graph_fail(x.graph, at, TC_RESOURCE_EXHAUSTED,
                             "split_like: out of memory for %zu values", count);
    inputs[0] = x;
    if (count)
        memcpy(inputs + 1, likes, count * sizeof *likes);
    tc_value part = tc_node_build(NULL, &(const tc_node_spec){
                                            .op = "split_like",
                                            .at = at,
                                            .inputs = inputs,
                                            .n_inputs = count + 1,
                                            TC_SPEC_ATTRS({"axis", tc_attr_int(axis)}),
                                        });
    tc_free(inputs);
    return part;
}
