/* Rules of simplify for what moves elements: views, slices, concatenations, broadcasts, reductions
 * of nothing, transposes. */
#include <string.h>

#include "compiler/simplify.h"
#include "core/shape.h"
#include "core/slice.h"

/* More pieces are not joined into one concatenation, so that chains of them take linear time. */
#define MAX_PIECES 256

/* The identity wherever the output surely has the shape of input 0. */
tc_status tc_rule_same_shape(tc_rewrite *r)
{
    tc_rewrite_forward_same(r, r->node->inputs[0]);
    return TC_OK;
}

/*
 * Slices
 */
static bool takes_all(tc_slice_range range)
{
    return range.begin == 0 && range.end == INT64_MAX && range.stride == 1;
}

/* `count` indices from `first` on, as a range. */
static tc_slice_range range_of(int64_t first, int64_t count, int64_t stride)
{
    if (count == 0)
        return (tc_slice_range){0, 0, 1};
    int64_t end = first + (count - 1) * stride + (stride > 0 ? 1 : -1);
    return (tc_slice_range){first, end < 0 ? INT64_MAX : end, stride};
}

/* `outer` of what `inner` takes of a dimension; false when that depends on its unknown size. */
static bool compose(tc_slice_range inner, tc_slice_range outer, int64_t size, tc_slice_range *out)
{
    int64_t first, count, start;
    if (takes_all(outer) || takes_all(inner)) {
        *out = takes_all(outer) ? inner : outer;
        return true;
    }
    if (size < 0)
        return false;
    count = tc_slice_count(inner, size, &first);
    count = tc_slice_count(outer, count, &start);
    /* Of one element the stride is nothing, and may be too large. */
    int64_t stride = count > 1 ? inner.stride * outer.stride : 1;
    *out = count ? range_of(first + start * inner.stride, count, stride) : range_of(0, 0, 1);
    return true;
}

static tc_status become_slice(tc_rewrite *r, tc_edge x, int32_t rank, const tc_slice_range *ranges)
{
    int64_t begin[TC_MAX_RANK], end[TC_MAX_RANK], strides[TC_MAX_RANK];
    size_t n = (size_t)rank;
    for (int32_t i = 0; i < rank; i++) {
        begin[i] = ranges[i].begin;
        end[i] = ranges[i].end;
        strides[i] = ranges[i].stride;
    }
    return tc_rewrite_become(r, "slice", &x, 1,
                             (const tc_attr_arg[]){{"begin", tc_attr_ints(begin, n)},
                                                   {"end", tc_attr_ints(end, n)},
                                                   {"strides", tc_attr_ints(strides, n)}},
                             3);
}

static tc_status slice_of_slice(tc_rewrite *r, const tc_node *inner, const tc_slice_range *outer)
{
    const tc_shape *x = &tc_rewrite_info(r, inner->inputs[0])->shape;
    tc_slice_range ranges[TC_MAX_RANK], composed[TC_MAX_RANK];
    if (tc_slice_ranges(&inner->attrs, x->rank, ranges))
        return TC_OK;
    for (int32_t i = 0; i < x->rank; i++)
        if (!compose(ranges[i], outer[i], x->dims[i].size, &composed[i]))
            return TC_OK;
    return become_slice(r, inner->inputs[0], x->rank, composed);
}

/* A slice that lies within one piece of a concatenation is one of that piece. */
static tc_status slice_of_concat(tc_rewrite *r, const tc_node *concat, tc_slice_range *ranges)
{
    const tc_shape *x = &concat->outputs[0].shape;
    int axis = tc_axis_normalize(tc_attrs_int(&concat->attrs, "axis"), x->rank);
    int64_t first, count = 0, offset = 0;
    if (x->dims[axis].size >= 0)
        count = tc_slice_count(ranges[axis], x->dims[axis].size, &first);
    if (count == 0)
        return TC_OK;
    int64_t stride = ranges[axis].stride, last = first + (count - 1) * stride;
    for (int32_t i = 0; i < concat->n_inputs; i++) {
        int64_t size = tc_rewrite_info(r, concat->inputs[i])->shape.dims[axis].size;
        if (first >= offset && last >= offset && first < offset + size && last < offset + size) {
            ranges[axis] = first == offset && count == size && stride == 1
                               ? (tc_slice_range){0, INT64_MAX, 1}
                               : range_of(first - offset, count, stride);
            return become_slice(r, concat->inputs[i], x->rank, ranges);
        }
        offset += size;
    }
    return TC_OK;
}

tc_status tc_rule_slice(tc_rewrite *r)
{
    int32_t rank = r->node->outputs[0].shape.rank;
    tc_slice_range ranges[TC_MAX_RANK];
    if (tc_slice_ranges(&r->node->attrs, rank, ranges))
        return TC_OK;
    bool forward = true; /* walking backwards keeps the shape, but not the order */
    for (int32_t i = 0; i < rank; i++)
        forward = forward && ranges[i].stride > 0;
    if (forward)
        tc_rewrite_forward_same(r, r->node->inputs[0]);
    if (r->gone)
        return TC_OK;
    const tc_node *inner = tc_rewrite_input(r, 0, "slice");
    if (inner)
        return slice_of_slice(r, inner, ranges);
    const tc_node *concat = tc_rewrite_input(r, 0, "concat");
    return concat ? slice_of_concat(r, concat, ranges) : TC_OK;
}

/*
 * Concatenation and splitting
 */
static int axis_of(const tc_node *node, int32_t rank)
{
    return tc_axis_normalize(tc_attrs_int(&node->attrs, "axis"), rank);
}

/* What a concatenation joined and a split cuts apart at the same places. */
tc_status tc_rule_split(tc_rewrite *r)
{
    tc_node *node = r->node;
    int32_t rank = node->outputs[0].shape.rank;
    if (node->n_outputs == 1)
        return tc_rule_same_shape(r);
    const tc_node *concat = tc_rewrite_input(r, 0, "concat");
    if (!concat || concat->n_inputs != node->n_outputs ||
        axis_of(concat, rank) != axis_of(node, rank))
        return TC_OK;
    for (int32_t i = 0; i < node->n_outputs; i++)
        if (!tc_info_same(tc_rewrite_info(r, concat->inputs[i]), &node->outputs[i]))
            return TC_OK;
    for (int32_t i = 0; i < node->n_outputs; i++)
        tc_ir_forward(r->pass, r->old, i, concat->inputs[i]);
    r->gone = r->changed = true;
    return TC_OK;
}

/* All parts of one split, in order and along its axis. */
static void concat_of_split(tc_rewrite *r, int axis)
{
    const tc_node *node = r->node, *from = tc_rewrite_producer(r, node->inputs[0]);
    if ((!tc_node_is(from, "split") && !tc_node_is(from, "split_like")) ||
        from->n_outputs != node->n_inputs || axis_of(from, node->outputs[0].shape.rank) != axis)
        return;
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (!tc_edges_equal(node->inputs[i], (tc_edge){from->index, i}))
            return;
    tc_rewrite_forward_same(r, from->inputs[0]);
}

/* Number of pieces when those of inner concatenations along the same axis are taken one by one and
 * empty ones left out; writes them into `pieces` unless that is NULL. */
static int32_t list_pieces(const tc_rewrite *r, int axis, tc_edge *pieces)
{
    const tc_node *node = r->node;
    int32_t count = 0;
    for (int32_t i = 0; i < node->n_inputs; i++) {
        const tc_node *inner = tc_rewrite_input(r, i, "concat");
        bool joins = inner && inner->n_inputs + count < MAX_PIECES &&
                     axis_of(inner, node->outputs[0].shape.rank) == axis;
        const tc_edge *from = joins ? inner->inputs : &node->inputs[i];
        for (int32_t k = 0; k < (joins ? inner->n_inputs : 1); k++) {
            if (tc_rewrite_info(r, from[k])->shape.dims[axis].size == 0)
                continue;
            if (pieces)
                pieces[count] = from[k];
            count++;
        }
    }
    return count;
}

static bool has_pieces(const tc_rewrite *r, int axis)
{
    for (int32_t i = 0; i < r->node->n_inputs; i++) {
        const tc_node *inner = tc_rewrite_input(r, i, "concat");
        if ((inner && inner->n_inputs < MAX_PIECES / 2 &&
             axis_of(inner, r->node->outputs[0].shape.rank) == axis) ||
            tc_rewrite_info(r, r->node->inputs[i])->shape.dims[axis].size == 0)
            return true;
    }
    return false;
}

tc_status tc_rule_concat(tc_rewrite *r)
{
    tc_node *node = r->node;
    int axis = axis_of(node, node->outputs[0].shape.rank);
    if (node->n_inputs == 1)
        return tc_rule_same_shape(r);
    concat_of_split(r, axis);
    if (r->gone || node->n_inputs >= MAX_PIECES || !has_pieces(r, axis))
        return TC_OK;
    int32_t count = list_pieces(r, axis, NULL);
    if (count == 0 || count == node->n_inputs)
        return TC_OK;
    tc_edge *pieces = tc_arena_array(&r->pass->graph->arena, (size_t)count, sizeof *pieces);
    if (!pieces)
        return tc_compiler_exhausted();
    (void)list_pieces(r, axis, pieces);
    node->inputs = pieces;
    node->n_inputs = count;
    r->changed = true;
    return TC_OK;
}

/*
 * Views
 */
static const tc_node *view_below(const tc_rewrite *r, tc_edge edge)
{
    const tc_node *from = tc_rewrite_producer(r, edge);
    bool view = from->attrs.op->flags & TC_OP_VIEW && edge.output == 0 && !from->attrs.op->effects;
    return view ? from : NULL;
}

/* Views read through views: elements and order are the same all the way up. */
tc_status tc_rule_view(tc_rewrite *r)
{
    tc_edge source = r->node->inputs[0];
    for (int turn = 0; turn < 64 && !r->gone; turn++) {
        tc_rewrite_forward_same(r, source);
        const tc_node *from = view_below(r, source);
        if (!from)
            break;
        source = from->inputs[0];
    }
    return TC_OK;
}

/* reshape and reshape_like need nothing of the shape of x where they do not copy its dimensions. */
tc_status tc_rule_reshape(tc_rewrite *r)
{
    TC_TRY(tc_rule_view(r));
    int32_t copies = 0;
    (void)tc_attrs_ints(&r->node->attrs, "from", &copies);
    const tc_node *from = r->gone || copies ? NULL : view_below(r, r->node->inputs[0]);
    if (from) {
        r->node->inputs[0] = from->inputs[0];
        r->changed = true;
    }
    return TC_OK;
}

/* With a shape that is known but for one size nothing needs to be like anything. */
tc_status tc_rule_reshape_like(tc_rewrite *r)
{
    TC_TRY(tc_rule_reshape(r));
    const tc_shape *shape = &r->node->outputs[0].shape;
    int64_t sizes[TC_MAX_RANK];
    int unknown = 0;
    bool empty = false;
    for (int32_t i = 0; i < shape->rank; i++) {
        sizes[i] = shape->dims[i].size;
        unknown += sizes[i] < 0;
        empty = empty || sizes[i] == 0;
    }
    if (r->changed || unknown > 1 || (unknown && empty))
        return TC_OK;
    const tc_attr_arg attr = {"sizes", tc_attr_ints(sizes, (size_t)shape->rank)};
    return tc_rewrite_become(r, "reshape", r->node->inputs, 1, &attr, 1);
}

/*
 * Broadcasts
 */

/* Sizes of an expansion of `x` to the output's shape: -1 where a dimension of x stays; false when
 * they are not known. */
static bool expand_sizes(const tc_rewrite *r, tc_edge x, int64_t sizes[TC_MAX_RANK])
{
    const tc_shape *from = &tc_rewrite_info(r, x)->shape, *to = &r->node->outputs[0].shape;
    for (int32_t i = 0; i < to->rank; i++) {
        int32_t d = i - (to->rank - from->rank);
        sizes[i] = to->dims[i].size;
        if (sizes[i] < 0 && (d < 0 || !tc_dim_same(from->dims[d], to->dims[i])))
            return false;
    }
    return true;
}

static tc_status become_expand(tc_rewrite *r, tc_edge x)
{
    int64_t sizes[TC_MAX_RANK];
    if (!expand_sizes(r, x, sizes))
        return TC_OK;
    const tc_attr_arg attr = {"sizes", tc_attr_ints(sizes, (size_t)r->node->outputs[0].shape.rank)};
    return tc_rewrite_become(r, "expand", &x, 1, &attr, 1);
}

static const tc_node *expansion_below(const tc_rewrite *r, int32_t input)
{
    const tc_node *inner = tc_rewrite_input(r, input, "expand");
    return inner ? inner : tc_rewrite_input(r, input, "expand_like");
}

tc_status tc_rule_expand(tc_rewrite *r)
{
    TC_TRY(tc_rule_same_shape(r));
    const tc_node *inner = r->gone ? NULL : expansion_below(r, 0);
    return inner ? become_expand(r, inner->inputs[0]) : TC_OK;
}

tc_status tc_rule_expand_like(tc_rewrite *r)
{
    TC_TRY(tc_rule_same_shape(r));
    const tc_node *inner = r->gone ? NULL : expansion_below(r, 0);
    if (inner) { /* expanding twice is expanding once */
        r->node->inputs[0] = inner->inputs[0];
        r->changed = true;
    }
    return r->changed ? TC_OK : become_expand(r, r->node->inputs[0]);
}

/* Without a division it is a view and a broadcast, which element-wise operators do themselves. */
tc_status tc_rule_reduce_expand(tc_rewrite *r)
{
    tc_node *node = r->node;
    tc_edge inputs[2] = {node->inputs[0], node->inputs[1]};
    int32_t count;
    if (tc_attrs_bool(&node->attrs, "mean"))
        return TC_OK;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    if (!tc_attrs_bool(&node->attrs, "keep_dims") && count > 0) {
        const tc_attr_arg attr = {"axes", tc_attr_ints(axes, (size_t)count)};
        /* Negative axes count from the end of the result in both. */
        TC_TRY(tc_rewrite_make(r, "unsqueeze", inputs, 1, &attr, 1, &inputs[0]));
    }
    return tc_rewrite_become(r, "expand_like", inputs, 2, NULL, 0);
}

/* Element-wise operators broadcast by themselves: an operand need not be expanded, nor be more than
 * one number when it is one everywhere, where another gives the shape. */
tc_status tc_rule_absorb_expand(tc_rewrite *r)
{
    tc_node *node = r->node;
    double value;
    for (int32_t i = 0; i < node->n_inputs; i++) {
        bool other = false;
        for (int32_t k = 0; k < node->n_inputs; k++) {
            const tc_shape *a = &tc_rewrite_info(r, node->inputs[k])->shape;
            const tc_shape *b = &node->outputs[0].shape;
            bool same = k != i && a->rank == b->rank;
            for (int32_t d = 0; same && d < a->rank; d++)
                same = tc_dim_same(a->dims[d], b->dims[d]);
            other = other || same;
        }
        if (!other)
            continue;
        const tc_value_info *info = tc_rewrite_info(r, node->inputs[i]);
        const tc_node *inner = expansion_below(r, i);
        if (inner) {
            node->inputs[i] = inner->inputs[0];
            r->changed = true;
        } else if (info->shape.rank > 0 && tc_shape_size(&info->shape) != 0 &&
                   tc_rewrite_uniform(r, node->inputs[i], &value)) {
            TC_TRY(tc_rewrite_scalar(r, info->dtype, value, &node->inputs[i]));
            r->changed = true;
        }
    }
    return TC_OK;
}

/*
 * Reductions
 */

/* Sets reduced[i] for the axes that `node` reduces of a value of `rank`. */
static void reduced_axes(const tc_node *node, int32_t rank, bool reduced[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        reduced[i] = count == 0 && i < rank;
    for (int32_t i = 0; i < count; i++)
        reduced[tc_axis_normalize(axes[i], rank)] = true;
}

static size_t list_axes(const bool reduced[TC_MAX_RANK], int64_t axes[TC_MAX_RANK])
{
    size_t count = 0;
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        if (reduced[i])
            axes[count++] = i;
    return count;
}

/* One element per group: the element, unless a sum turns -0 into 0. */
static tc_status reduce_nothing(tc_rewrite *r, const bool reduced[TC_MAX_RANK])
{
    const tc_shape *x = &tc_rewrite_info(r, r->node->inputs[0])->shape;
    int64_t axes[TC_MAX_RANK];
    size_t count = list_axes(reduced, axes);
    for (int32_t i = 0; i < x->rank; i++)
        if (reduced[i] && x->dims[i].size != 1)
            return TC_OK;
    if (count == 0 || tc_attrs_bool(&r->node->attrs, "keep_dims")) {
        tc_rewrite_forward_same(r, r->node->inputs[0]);
        return TC_OK;
    }
    const tc_attr_arg attr = {"axes", tc_attr_ints(axes, count)};
    return tc_rewrite_become(r, "squeeze", r->node->inputs, 1, &attr, 1);
}

/* The same reduction over the axes of both. */
static tc_status reduce_twice(tc_rewrite *r, const tc_node *inner, bool outer[TC_MAX_RANK])
{
    int32_t rank = tc_rewrite_info(r, inner->inputs[0])->shape.rank, kept = 0;
    bool keep_dims = tc_attrs_bool(&inner->attrs, "keep_dims"), both[TC_MAX_RANK];
    int64_t axes[TC_MAX_RANK];
    if (keep_dims != tc_attrs_bool(&r->node->attrs, "keep_dims"))
        return TC_OK;
    reduced_axes(inner, rank, both);
    for (int32_t i = 0; i < rank; i++) {
        if (keep_dims)
            both[i] = both[i] || outer[i];
        else if (!both[i])
            both[i] = outer[kept++];
    }
    tc_edge source = inner->inputs[0];
    size_t count = list_axes(both, axes);
    return tc_rewrite_become(r, r->node->attrs.op->name, &source, 1,
                             (const tc_attr_arg[]){{"axes", tc_attr_ints(axes, count)},
                                                   {"keep_dims", tc_attr_bool(keep_dims)}},
                             2);
}

tc_status tc_rule_reduce(tc_rewrite *r)
{
    const char *op = r->node->attrs.op->name;
    bool extremum = strcmp(op, "reduce_max") == 0 || strcmp(op, "reduce_min") == 0;
    bool exact = extremum || r->rounding || tc_dtype_in(r->node->outputs[0].dtype, TC_DTYPES_INT);
    bool reduced[TC_MAX_RANK];
    const tc_value_info *x = tc_rewrite_info(r, r->node->inputs[0]);
    if (!exact)
        return TC_OK;
    reduced_axes(r->node, x->shape.rank, reduced);
    TC_TRY(reduce_nothing(r, reduced));
    const tc_node *inner = r->changed ? NULL : tc_rewrite_input(r, 0, op);
    return inner ? reduce_twice(r, inner, reduced) : TC_OK;
}

/*
 * Transposes
 */
void tc_permutation_of(const tc_node *node, int64_t out[TC_MAX_RANK])
{
    int32_t count, rank = node->outputs[0].shape.rank;
    const int64_t *given = tc_attrs_ints(&node->attrs, "permutation", &count);
    for (int32_t i = 0; i < rank; i++)
        out[i] = count == 0 ? rank - 1 - i : tc_axis_normalize(given[i], rank);
}

/* Where only dimensions of size 1 move, the elements stay. */
static tc_status transpose_of_ones(tc_rewrite *r, const int64_t *permutation)
{
    const tc_shape *x = &tc_rewrite_info(r, r->node->inputs[0])->shape;
    int64_t sizes[TC_MAX_RANK], from[TC_MAX_RANK], last = -1;
    for (int32_t i = 0; i < x->rank; i++) {
        from[i] = permutation[i];
        sizes[i] = x->dims[from[i]].size;
        if (sizes[i] == 1)
            continue;
        if (from[i] < last)
            return TC_OK;
        last = from[i];
    }
    size_t n = (size_t)x->rank;
    return tc_rewrite_become(
        r, "reshape", r->node->inputs, 1,
        (const tc_attr_arg[]){{"sizes", tc_attr_ints(sizes, n)}, {"from", tc_attr_ints(from, n)}},
        2);
}

tc_status tc_rule_transpose(tc_rewrite *r)
{
    int32_t rank = r->node->outputs[0].shape.rank;
    int64_t outer[TC_MAX_RANK], inner[TC_MAX_RANK];
    bool identity = true;
    tc_permutation_of(r->node, outer);
    const tc_node *from = tc_rewrite_input(r, 0, "transpose");
    if (from) {
        tc_permutation_of(from, inner);
        for (int32_t i = 0; i < rank; i++)
            outer[i] = inner[outer[i]];
    }
    for (int32_t i = 0; i < rank; i++)
        identity = identity && outer[i] == i;
    tc_edge source = from ? from->inputs[0] : r->node->inputs[0];
    if (identity) {
        tc_rewrite_forward(r, source);
        return TC_OK;
    }
    if (!from)
        return transpose_of_ones(r, outer);
    const tc_attr_arg attr = {"permutation", tc_attr_ints(outer, (size_t)rank)};
    return tc_rewrite_become(r, "transpose", &source, 1, &attr, 1);
}
