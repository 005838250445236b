/* The same elements in the same order in another shape. All of these share the memory of their
 * input. */
#include "base/alloc.h"
#include "core/shape.h"
#include "ops/build.h"
#include "ops/known.h"
#include "tensorc/ops/shape.h"

/* infer: ends a view whose output shape is set. */
static tc_status view_done(tc_infer *infer)
{
    tc_known_copy(infer);
    return TC_OK;
}

/* The gradient of every view is the same view backwards. */
static void view_grad(tc_grad *grad)
{
    grad->input_gradients[0] =
        tc_reshape_like_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[0]);
}

static const tc_port view_inputs[] = {{"x", TC_DTYPES_ANY, 'T', 0, "any shape"}};
static const tc_port view_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "the elements of x"}};
static const tc_inplace view_inplace[] = {{0, 0}};

/* What all views have in common, but for reshape_like the inputs. */
#define VIEW                                                                      \
    .version = 1, TC_LIST(outputs, view_outputs), TC_LIST(inplace, view_inplace), \
    .flags = TC_OP_VIEW, .grad = view_grad

/*
 * Elements of part of a shape: the product of its known sizes, and how many dimensions are unknown.
 * A known product of 0 with unknown dimensions is still 0.
 */
typedef struct extent {
    int64_t known;
    int unknown;
    tc_dim last; /* unknown one */
} extent;

static bool extent_of(const tc_shape *shape, uint32_t skip, extent *out)
{
    tc_shape known = {.rank = 0};
    *out = (extent){.last = {-1, NULL}};
    for (int32_t i = 0; i < shape->rank; i++) {
        if (skip >> i & 1u)
            continue;
        if (tc_dim_is_known(shape->dims[i])) {
            known.dims[known.rank++] = shape->dims[i];
        } else {
            out->unknown++;
            out->last = shape->dims[i];
        }
    }
    out->known = tc_shape_size(&known);
    return out->known >= 0;
}

static tc_status reshape_fail(tc_infer *infer, const tc_shape *to, const char *why)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    return tc_infer_fail(infer, "%s does not reshape to %s: %s",
                         tc_shape_text(&infer->inputs[0].shape, a), tc_shape_text(to, b), why);
}

static tc_status reshape_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int32_t rank, copies;
    const int64_t *sizes = tc_attrs_ints(infer->attrs, "sizes", &rank);
    const int64_t *from = tc_attrs_ints(infer->attrs, "from", &copies);
    if (rank > TC_MAX_RANK || (copies && copies != rank))
        return tc_infer_fail(infer,
                             "sizes has %d entries and from %d; both have one per dimension "
                             "of the result, at most %d",
                             rank, copies, TC_MAX_RANK);
    tc_shape shape = tc_shape_of((size_t)rank, sizes);
    uint32_t taken = 0, copied = 0; /* dimensions of x and of the result that are the same */
    int32_t open = -1;              /* the -1 */
    for (int32_t i = 0; i < rank; i++) {
        int64_t axis = copies ? from[i] : -1;
        if (axis >= 0) {
            if (axis >= x->rank || taken >> axis & 1u)
                return tc_infer_fail(infer,
                                     "entry %d of from is %lld, which is no dimension of x "
                                     "that is still free",
                                     i, (long long)axis);
            shape.dims[i] = x->dims[axis];
            taken |= 1u << axis;
            copied |= 1u << i;
        } else if (sizes[i] < -1) {
            return tc_infer_fail(infer, "size %d is %lld; sizes are 0 or more, or -1 once", i,
                                 (long long)sizes[i]);
        } else if (sizes[i] == -1) {
            if (open >= 0)
                return reshape_fail(infer, &shape,
                                    "only one size may be -1; name dimensions that "
                                    "x has, or use tc_reshape_like");
            open = i;
        }
    }
    extent source, target;
    if (!extent_of(x, taken, &source) || !extent_of(&shape, copied, &target))
        return reshape_fail(infer, &shape, "it has too many elements");
    if (open < 0) {
        bool fits = source.unknown == 0 ? source.known == target.known
                    : source.known == 0 ? target.known == 0
                    : target.known == 0 ? true
                                        : target.known % source.known == 0;
        if (!fits)
            return reshape_fail(infer, &shape, "the numbers of elements differ");
    } else if (target.known == 0) {
        return reshape_fail(infer, &shape, "beside a size of 0 the -1 could be anything");
    } else if (source.unknown == 0) {
        if (source.known % target.known)
            return reshape_fail(infer, &shape,
                                "the other sizes do not divide the number of "
                                "elements");
        shape.dims[open].size = source.known / target.known;
    } else if (source.unknown == 1 && source.known == target.known) {
        shape.dims[open] = source.last;
    }
    infer->outputs[0].shape = shape;
    return view_done(infer);
}

static const tc_attr_def reshape_attrs[] = {
    {"sizes",
     TC_ATTR_INTS,
     {.type = TC_ATTR_NONE},
     NULL,
     "size of each dimension of y; -1 once: what is left"},
    {"from",
     TC_ATTR_INTS,
     {.type = TC_ATTR_INTS},
     NULL,
     "dimension of x that each dimension of y is (its size is then ignored), -1: none; empty: none"},
};

const tc_op tc_op_reshape = {
    .name = "reshape",
    .doc = "the elements of x in another shape",
    TC_LIST(inputs, view_inputs),
    TC_LIST(attrs, reshape_attrs),
    .infer = reshape_infer,
    VIEW,
};

tc_value tc_reshape_at(tc_location at, tc_value x, tc_shape shape)
{
    int64_t sizes[TC_MAX_RANK], from[TC_MAX_RANK];
    tc_shape source = tc_value_shape(x);
    uint32_t taken = 0;
    if (shape.rank < 0 || shape.rank > TC_MAX_RANK)
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                             "reshape: the rank of the new shape must be 0 to %d", TC_MAX_RANK);
    for (int32_t i = 0; i < shape.rank; i++) {
        const char *name = shape.dims[i].name;
        sizes[i] = shape.dims[i].size;
        from[i] = -1;
        for (int32_t d = 0; name && from[i] < 0 && d < source.rank; d++)
            if (!(taken >> d & 1u) && source.dims[d].name && !strcmp(source.dims[d].name, name))
                from[i] = d;
        if (from[i] >= 0) {
            taken |= 1u << from[i];
        } else if (name && tc_value_ok(x)) {
            char text[TC_SHAPE_TEXT_SIZE];
            return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                                 "reshape: %s has no dimension '%s' that could be kept; write -1 "
                                 "for a size that follows from the others",
                                 tc_shape_text(&source, text), name);
        }
    }
    size_t rank = (size_t)shape.rank;
    return TC_NODE_WITH("reshape", NULL, at, (x), {"sizes", tc_attr_ints(sizes, rank)},
                        {"from", tc_attr_ints(from, taken ? rank : 0)});
}

static tc_status reshape_like_infer(tc_infer *infer)
{
    const tc_shape *like = &infer->inputs[1].shape;
    extent source, target;
    if (!extent_of(&infer->inputs[0].shape, 0, &source) || !extent_of(like, 0, &target))
        return reshape_fail(infer, like, "it has too many elements");
    if (!source.unknown && !target.unknown && source.known != target.known)
        return reshape_fail(infer, like, "the numbers of elements differ");
    infer->outputs[0].shape = *like;
    return view_done(infer);
}

static const tc_port reshape_like_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', 0, "any shape"},
    {"like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "gives the shape; as many elements as x"},
};

const tc_op tc_op_reshape_like = {
    .name = "reshape_like",
    .doc = "the elements of x in the shape of another value",
    TC_LIST(inputs, reshape_like_inputs),
    .infer = reshape_like_infer,
    VIEW,
};

tc_value tc_reshape_like_at(tc_location at, tc_value x, tc_value like)
{
    return TC_NODE("reshape_like", NULL, at, (x, like));
}

static tc_status flatten_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int axis = x->rank;
    if (tc_attrs_int(infer->attrs, "axis") != x->rank)
        TC_TRY(tc_infer_axis(infer, "axis", tc_attrs_int(infer->attrs, "axis"), x->rank, &axis));
    if (axis == TC_MAX_RANK)
        return tc_infer_fail(infer, "a result of rank %d is beyond the limit of %d", axis + 1,
                             TC_MAX_RANK);
    extent merged;
    if (!extent_of(x, (1u << axis) - 1u, &merged))
        return tc_infer_fail(infer, "the merged dimension has too many elements");
    tc_shape shape = *x;
    shape.rank = axis + 1;
    shape.dims[axis] = (tc_dim){-1, NULL};
    if (merged.known == 0 || merged.unknown == 0)
        shape.dims[axis].size = merged.known;
    else if (merged.known == 1 && merged.unknown == 1)
        shape.dims[axis] = merged.last;
    infer->outputs[0].shape = shape;
    return view_done(infer);
}

static const tc_attr_def flatten_attrs[] = {
    {"axis",
     TC_ATTR_INT,
     {.type = TC_ATTR_INT, .i = 1},
     NULL,
     "first dimension to merge, negative from the end; the rank: none, a 1 is added"},
};

const tc_op tc_op_flatten = {
    .name = "flatten",
    .doc = "merges the dimensions from an axis on into one",
    TC_LIST(inputs, view_inputs),
    TC_LIST(attrs, flatten_attrs),
    .infer = flatten_infer,
    VIEW,
};

tc_value tc_flatten_at(tc_location at, tc_value x, int64_t axis)
{
    return TC_NODE_WITH("flatten", NULL, at, (x), {"axis", tc_attr_int(axis)});
}

/* The set of dimensions that attribute axes lists, of a value of `rank`. */
static tc_status read_axes(tc_infer *infer, int32_t rank, uint32_t *set)
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(infer->attrs, "axes", &count);
    *set = 0;
    for (int32_t i = 0; i < count; i++) {
        int axis;
        TC_TRY(tc_infer_axis(infer, "axes entry", axes[i], rank, &axis));
        if (*set >> axis & 1u)
            return tc_infer_fail(infer, "axes lists dimension %d twice", axis);
        *set |= 1u << axis;
    }
    return TC_OK;
}

static tc_status squeeze_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    uint32_t set;
    TC_TRY(read_axes(infer, x->rank, &set));
    tc_shape shape = {.rank = 0};
    for (int32_t i = 0; i < x->rank; i++) {
        if (!(set >> i & 1u)) {
            shape.dims[shape.rank++] = x->dims[i];
        } else if (x->dims[i].size > 1 || x->dims[i].size == 0) {
            char text[TC_SHAPE_TEXT_SIZE];
            return tc_infer_fail(infer, "dimension %d of %s does not have size 1", (int)i,
                                 tc_shape_text(x, text));
        }
    }
    infer->outputs[0].shape = shape;
    return view_done(infer);
}

static const tc_attr_def squeeze_attrs[] = {
    {"axes",
     TC_ATTR_INTS,
     {.type = TC_ATTR_NONE},
     NULL,
     "dimensions of size 1 of x to drop, negative from the end"},
};

const tc_op tc_op_squeeze = {
    .name = "squeeze",
    .doc = "drops dimensions of size 1",
    TC_LIST(inputs, view_inputs),
    TC_LIST(attrs, squeeze_attrs),
    .infer = squeeze_infer,
    VIEW,
};

tc_value tc_squeeze_at(tc_location at, tc_value x, const tc_squeeze_options *options)
{
    TC_OPTIONS(tc_squeeze_options, o, options);
    int64_t ones[TC_MAX_RANK];
    tc_ints axes = o.axes;
    if (axes.count == 0) { /* decided now, so that the rank never depends on a size of the run */
        tc_shape shape = tc_value_shape(x);
        axes.data = ones;
        for (int32_t i = 0; i < shape.rank; i++)
            if (shape.dims[i].size == 1)
                ones[axes.count++] = i;
    }
    return TC_NODE_WITH("squeeze", o.name, at, (x), {"axes", tc_attr_ints(axes.data, axes.count)});
}

static tc_status unsqueeze_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int32_t count;
    uint32_t set;
    (void)tc_attrs_ints(infer->attrs, "axes", &count);
    tc_shape shape = {.rank = x->rank + count};
    if (shape.rank > TC_MAX_RANK)
        return tc_infer_fail(infer, "a result of rank %d is beyond the limit of %d", shape.rank,
                             TC_MAX_RANK);
    TC_TRY(read_axes(infer, shape.rank, &set));
    for (int32_t i = 0, d = 0; i < shape.rank; i++)
        shape.dims[i] = set >> i & 1u ? (tc_dim){1, NULL} : x->dims[d++];
    infer->outputs[0].shape = shape;
    return view_done(infer);
}

static const tc_attr_def unsqueeze_attrs[] = {
    {"axes",
     TC_ATTR_INTS,
     {.type = TC_ATTR_NONE},
     NULL,
     "dimensions of y that are new and have size 1, negative from the end"},
};

const tc_op tc_op_unsqueeze = {
    .name = "unsqueeze",
    .doc = "inserts dimensions of size 1",
    TC_LIST(inputs, view_inputs),
    TC_LIST(attrs, unsqueeze_attrs),
    .infer = unsqueeze_infer,
    VIEW,
};

tc_value tc_unsqueeze_at(tc_location at, tc_value x, tc_ints axes)
{
    return TC_NODE_WITH("unsqueeze", NULL, at, (x), {"axes", tc_attr_ints(axes.data, axes.count)});
}
