/*
 * Transposes move down through what does not care about the order of dimensions: element-wise
 * operators, reductions, softmax, concatenation, slices, padding. Where they meet their opposite
 * both go. Transposes that are connected in that way make a region; it is rewritten only when fewer
 * are left in it than there were.
 *
 * A value of a region is seen as the transpose, which is not made, of a value that is. It is made
 * where somebody else reads it.
 */
#include <string.h>

#include "compiler/simplify.h"
#include "core/shape.h"

/* Dimension of the value there is that each dimension of the value seen is. */
typedef struct order {
    int8_t axis[TC_MAX_RANK];
} order;

typedef enum role {
    OPAQUE,
    TRANSPOSE,
    ELEMENTS, /* element-wise: other inputs may broadcast */
    AXIS,     /* an axis, the same for all inputs */
    BIAS,     /* an axis; the second input is a vector of it */
    REDUCE,
    SLICE,
    PAD
} role;

static const struct {
    const char *op;
    role role;
} roles[] = {
    {"transpose", TRANSPOSE},  {"zeros_like", ELEMENTS},   {"ones_like", ELEMENTS},
    {"expand_like", ELEMENTS}, {"softmax", AXIS},          {"log_softmax", AXIS},
    {"softmax_grad", AXIS},    {"log_softmax_grad", AXIS}, {"concat", AXIS},
    {"split", AXIS},           {"bias_add", BIAS},         {"reduce_sum", REDUCE},
    {"reduce_mean", REDUCE},   {"reduce_max", REDUCE},     {"reduce_min", REDUCE},
    {"reduce_prod", REDUCE},   {"slice", SLICE},           {"pad", PAD},
};

/* All arrays but `roles` are by old value: pass->first[node] + output. */
typedef struct sinker {
    tc_pass_context *pass;
    tc_map roles;  /* operator -> role */
    bool *pending; /* the value is seen through `orders` */
    order *orders;
    int32_t *region;  /* parent in a forest of disjoint sets */
    int32_t *balance; /* of a region: transposes there were less those that are left */
    bool *made;       /* somebody else reads the value */
    tc_edge *made_as;
    TC_VECTOR(tc_edge) inputs; /* old ones of the node at hand */
} sinker;

static int32_t value_of(const sinker *s, tc_edge edge)
{
    return s->pass->first[edge.node] + edge.output;
}

static int32_t region_of(sinker *s, int32_t value)
{
    while (s->region[value] != value) {
        s->region[value] = s->region[s->region[value]];
        value = s->region[value];
    }
    return value;
}

static void join(sinker *s, int32_t a, int32_t b)
{
    a = region_of(s, a);
    b = region_of(s, b);
    if (a == b)
        return;
    s->region[b] = a;
    s->balance[a] += s->balance[b];
}

static bool in_order(const order *o, int32_t rank)
{
    for (int32_t i = 0; i < rank; i++)
        if (o->axis[i] != i)
            return false;
    return true;
}

/* A value seen in order is the value there is: it ends a region and is nothing of it any more. */
static bool is_hidden(const sinker *s, tc_edge old)
{
    int32_t value = old.node < 0 ? -1 : value_of(s, old);
    return value >= 0 && s->pending[value] &&
           !in_order(&s->orders[value], s->pass->old[old.node]->outputs[old.output].shape.rank);
}

static role role_of(const sinker *s, const tc_node *node)
{
    const uint64_t *found = tc_map_find(&s->roles, &node->attrs.op, sizeof node->attrs.op);
    if (node->attrs.op->effects || node->n_inputs == 0)
        return OPAQUE;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        const tc_node *input = node->inputs[k].node < 0 ? node : s->pass->old[node->inputs[k].node];
        if (input->device != node->device && !tc_node_is_source(input))
            return OPAQUE;
    }
    if (found)
        return (role)*found;
    return node->attrs.op->flags & TC_OP_ELEMENTWISE && node->n_outputs == 1 ? ELEMENTS : OPAQUE;
}

/* Shape of the value there is for one seen as `shape`. */
static tc_shape unordered(const tc_shape *shape, const order *o)
{
    tc_shape result = *shape;
    for (int32_t i = 0; i < shape->rank; i++)
        result.dims[o->axis[i]] = shape->dims[i];
    return result;
}

/*
 * A value of `shape` that broadcasts to something seen through `o`, of rank `rank`, broadcasts to
 * what there is after a reshape to *sizes, a view; false when its elements would have to move. An
 * entry of *from is the dimension that stays, -1: a new one of size 1. The result has the last
 * *count dimensions, 0: the value fits as it is.
 */
static bool broadcasts(const tc_shape *shape, const order *o, int32_t rank, int64_t *sizes,
                       int64_t *from, int32_t *count)
{
    int32_t added = rank - shape->rank, last = -1;
    bool same = true;
    *count = 0;
    for (int32_t i = 0; i < rank; i++) {
        sizes[i] = 1;
        from[i] = -1;
    }
    for (int32_t i = added; i < rank; i++) {
        if (added < 0 || shape->dims[i - added].size == 1)
            continue;
        if (o->axis[i] < last)
            return false;
        last = o->axis[i];
        same = same && last == i;
        sizes[last] = shape->dims[i - added].size;
        from[last] = i - added;
        if (rank - last > *count)
            *count = rank - last;
    }
    if (same)
        *count = 0;
    return added >= 0;
}

/* What the inputs of a node are seen through: one order that fits all. */
static bool common_order(const sinker *s, const tc_node *node, const tc_edge *inputs, role what,
                         order *o)
{
    int32_t rank = -1;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (!is_hidden(s, inputs[k]))
            continue;
        int32_t value = value_of(s, inputs[k]);
        int32_t n = s->pass->old[inputs[k].node]->outputs[inputs[k].output].shape.rank;
        if (rank >= 0 && (n != rank || memcmp(s->orders[value].axis, o->axis, (size_t)n)))
            return false;
        *o = s->orders[value];
        rank = n;
        if (what == BIAS && k > 0)
            return false;
    }
    if (rank < 0 || (what == ELEMENTS && node->outputs[0].shape.rank != rank))
        return false;
    return true;
}

static bool fits(const sinker *s, const tc_node *node, const tc_edge *inputs, role what,
                 const order *o)
{
    int64_t sizes[TC_MAX_RANK], from[TC_MAX_RANK];
    int32_t count;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (inputs[k].node < 0)
            return false;
        if (is_hidden(s, inputs[k]) || (what == BIAS && k == 1))
            continue;
        const tc_shape *shape = &s->pass->old[inputs[k].node]->outputs[inputs[k].output].shape;
        if (what != ELEMENTS ||
            !broadcasts(shape, o, node->outputs[0].shape.rank, sizes, from, &count))
            return false;
    }
    return true;
}

static void mark_reduced(const tc_node *node, int32_t rank, bool reduced[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &count);
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        reduced[i] = count == 0;
    for (int32_t i = 0; i < count; i++)
        reduced[tc_axis_normalize(axes[i], rank)] = true;
}

/* What the outputs are seen through when the inputs, of `rank`, are through `in`. */
static order order_after(const tc_node *node, role what, int32_t rank, const order *in)
{
    order out = *in;
    bool reduced[TC_MAX_RANK], kept[TC_MAX_RANK] = {false};
    if (what != REDUCE || tc_attrs_bool(&node->attrs, "keep_dims"))
        return out;
    mark_reduced(node, rank, reduced);
    for (int32_t i = 0; i < rank; i++)
        kept[in->axis[i]] = !reduced[i];
    for (int32_t i = 0, n = 0; i < rank; i++) {
        if (reduced[i])
            continue;
        out.axis[n] = 0;
        for (int32_t d = 0; d < in->axis[i]; d++)
            out.axis[n] = (int8_t)(out.axis[n] + kept[d]);
        n++;
    }
    return out;
}

static int32_t input_rank(const sinker *s, tc_edge edge)
{
    return s->pass->old[edge.node]->outputs[edge.output].shape.rank;
}

/*
 * First walk: what would be seen through what, and what that would spare.
 */
static void need_made(sinker *s, tc_edge edge, bool elements)
{
    if (!elements || !is_hidden(s, edge) || s->made[value_of(s, edge)])
        return;
    int32_t value = value_of(s, edge);
    s->made[value] = true;
    s->balance[region_of(s, value)]--;
}

static void study_transpose(sinker *s, const tc_node *node, int32_t output)
{
    int32_t rank = node->outputs[0].shape.rank, input = value_of(s, node->inputs[0]);
    int64_t permutation[TC_MAX_RANK];
    bool hidden = is_hidden(s, node->inputs[0]);
    tc_permutation_of(node, permutation);
    for (int32_t i = 0; i < rank; i++) {
        int8_t axis = (int8_t)permutation[i];
        s->orders[output].axis[i] = hidden ? s->orders[input].axis[axis] : axis;
    }
    s->balance[region_of(s, output)]++;
    if (hidden)
        join(s, input, output);
    s->pending[output] = true;
}

static void study(sinker *s, int32_t index)
{
    const tc_node *node = s->pass->old[index];
    role what = role_of(s, node);
    int32_t output = s->pass->first[index];
    order o;
    if (what == TRANSPOSE) {
        study_transpose(s, node, output);
        return;
    }
    if (what == OPAQUE || !common_order(s, node, node->inputs, what, &o) ||
        !fits(s, node, node->inputs, what, &o)) {
        for (int32_t k = 0; k < node->n_inputs; k++)
            need_made(s, node->inputs[k], !(tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY));
        return;
    }
    for (int32_t k = 0; k < node->n_inputs; k++)
        if (is_hidden(s, node->inputs[k]))
            join(s, value_of(s, node->inputs[k]), output);
    for (int32_t k = 0; k < node->n_outputs; k++) {
        int32_t rank = what == REDUCE ? input_rank(s, node->inputs[0]) : 0;
        s->orders[output + k] = order_after(node, what, rank, &o);
        s->pending[output + k] = true;
        join(s, output, output + k);
    }
}

/*
 * Second walk: the regions that spare something are rewritten.
 */
static tc_status make_value(sinker *s, tc_edge old, tc_edge *edge)
{
    int32_t value = value_of(s, old);
    const tc_node *node = s->pass->old[old.node];
    int32_t rank = node->outputs[old.output].shape.rank;
    int64_t permutation[TC_MAX_RANK];
    if (s->made_as[value].node < 0) {
        for (int32_t i = 0; i < rank; i++)
            permutation[i] = s->orders[value].axis[i];
        const tc_attr_arg attr = {"permutation", tc_attr_ints(permutation, (size_t)rank)};
        tc_edge there = tc_ir_new_edge(s->pass, old);
        TC_TRY(tc_ir_make(s->pass, node, "transpose", &there, 1, &attr, 1, &s->made_as[value]));
    }
    *edge = s->made_as[value];
    return TC_OK;
}

/* Axis `axis` of what is seen, as one of what there is. */
static int64_t axis_below(const order *o, int64_t axis, int32_t rank)
{
    return o->axis[tc_axis_normalize(axis, rank)];
}

static tc_status set_axis(sinker *s, tc_node *node, const order *o, int32_t rank)
{
    int64_t axis = axis_below(o, tc_attrs_int(&node->attrs, "axis"), rank);
    return tc_ir_set_attr(s->pass, node, "axis", tc_attr_int(axis));
}

static tc_status set_ints(sinker *s, tc_node *node, const char *name, const int64_t *values,
                          int32_t count)
{
    int64_t *copy = tc_arena_memdup(&s->pass->graph->arena, values, (size_t)count * sizeof *values);
    if (!copy)
        return tc_compiler_exhausted();
    return tc_ir_set_attr(s->pass, node, name, tc_attr_ints(copy, (size_t)count));
}

/* Attribute axes; where it is empty and `count` is not 0, the first dimensions are meant. */
static tc_status set_axes(sinker *s, tc_node *node, const order *o, int32_t rank, int32_t count)
{
    int32_t given;
    const int64_t *axes = tc_attrs_ints(&node->attrs, "axes", &given);
    int64_t mapped[TC_MAX_RANK];
    for (int32_t i = 0; i < (given ? given : count); i++)
        mapped[i] = axis_below(o, given ? axes[i] : i, rank);
    return set_ints(s, node, "axes", mapped, given ? given : count);
}

static tc_status set_padding(sinker *s, tc_node *node, const order *o, const char *name)
{
    int32_t count;
    const int64_t *amounts = tc_attrs_ints(&node->attrs, name, &count);
    int64_t mapped[TC_MAX_RANK];
    for (int32_t i = 0; i < count; i++)
        mapped[o->axis[i]] = amounts[i];
    return set_ints(s, node, name, mapped, count);
}

static tc_status set_attrs(sinker *s, tc_node *node, role what, const order *o, int32_t rank)
{
    int32_t count;
    switch (what) {
    case AXIS:
    case BIAS: return set_axis(s, node, o, rank);
    case REDUCE: return set_axes(s, node, o, rank, 0);
    case SLICE:
        (void)tc_attrs_ints(&node->attrs, "begin", &count);
        return set_axes(s, node, o, rank, count);
    case PAD: TC_TRY(set_padding(s, node, o, "before")); return set_padding(s, node, o, "after");
    default: return TC_OK;
    }
}

/* Makes an operand of an element-wise operator, not seen through anything, broadcast to what there
 * is. */
static tc_status turn_operand(sinker *s, tc_node *node, int32_t k, tc_edge old, const order *o)
{
    const tc_shape *shape = &s->pass->old[old.node]->outputs[old.output].shape;
    int64_t sizes[TC_MAX_RANK], from[TC_MAX_RANK];
    int32_t count, rank = node->outputs[0].shape.rank;
    (void)broadcasts(shape, o, rank, sizes, from, &count);
    if (count == 0)
        return TC_OK;
    size_t n = (size_t)count, skip = (size_t)(rank - count);
    tc_edge input = node->inputs[k];
    return tc_ir_make(s->pass, node, "reshape", &input, 1,
                      (const tc_attr_arg[]){{"sizes", tc_attr_ints(sizes + skip, n)},
                                            {"from", tc_attr_ints(from + skip, n)}},
                      2, &node->inputs[k]);
}

/* Applies `node` to what there is instead of what is seen. */
static tc_status sink(sinker *s, tc_node *node, int32_t index, role what)
{
    order o;
    int32_t output = s->pass->first[index], rank = node->outputs[0].shape.rank;
    const tc_edge *old = s->inputs.data;
    if (common_order(s, node, old, what, &o)) {
        rank = what == ELEMENTS ? rank : input_rank(s, old[0]);
        for (int32_t k = 0; what == ELEMENTS && k < node->n_inputs; k++)
            if (!is_hidden(s, old[k]))
                TC_TRY(turn_operand(s, node, k, old[k], &o));
        TC_TRY(set_attrs(s, node, what, &o, rank));
    }
    tc_value_info *infos = tc_arena_memdup(&s->pass->graph->arena, node->outputs,
                                           (size_t)node->n_outputs * sizeof *infos);
    if (!infos)
        return tc_compiler_exhausted();
    for (int32_t k = 0; k < node->n_outputs; k++) {
        infos[k].shape = unordered(&node->outputs[k].shape, &s->orders[output + k]);
        infos[k].known = NULL;
        infos[k].known_count = 0;
    }
    /* The old node keeps its infos for those who look back. */
    tc_node *sunk = tc_arena_memdup(&s->pass->graph->arena, node, sizeof *node);
    if (!sunk)
        return tc_compiler_exhausted();
    sunk->outputs = infos;
    return tc_ir_keep(s->pass, sunk, index);
}

static tc_status rewrite(sinker *s, int32_t index)
{
    tc_pass_context *pass = s->pass;
    tc_node *node = pass->old[index];
    role what = role_of(s, node);
    int32_t output = pass->first[index];
    bool sinks = node->n_outputs > 0 && s->pending[output];
    if (!tc_vector_reserve(&s->inputs, (size_t)node->n_inputs))
        return tc_compiler_exhausted();
    if (node->n_inputs)
        memcpy(s->inputs.data, node->inputs, (size_t)node->n_inputs * sizeof *node->inputs);
    tc_ir_renumber(pass, node);
    if (sinks && what == TRANSPOSE) {
        tc_ir_forward(pass, index, 0, node->inputs[0]);
        pass->changes++;
        return TC_OK;
    }
    if (sinks)
        return sink(s, node, index, what);
    for (int32_t k = 0; k < node->n_inputs; k++) {
        tc_edge old = s->inputs.data[k];
        if (is_hidden(s, old))
            TC_TRY(make_value(s, old, &node->inputs[k]));
    }
    return tc_ir_keep(pass, node, index);
}

/*
 * The pass
 */
static tc_status start(sinker *s)
{
    tc_pass_context *pass = s->pass;
    size_t n = (size_t)pass->first[pass->n_old];
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const tc_op *op = tc_ir_op(pass, roles[i].op);
        if (!op)
            return TC_INTERNAL;
        const tc_op **key = tc_arena_memdup(&pass->graph->arena, &op, sizeof op);
        if (!key || !tc_map_put(&s->roles, key, sizeof *key, roles[i].role))
            return tc_compiler_exhausted();
    }
    s->pending = tc_alloc_zero(n, sizeof *s->pending);
    s->orders = tc_alloc_zero(n, sizeof *s->orders);
    s->region = tc_alloc_zero(n, sizeof *s->region);
    s->balance = tc_alloc_zero(n, sizeof *s->balance);
    s->made = tc_alloc_zero(n, sizeof *s->made);
    s->made_as = tc_alloc_zero(n, sizeof *s->made_as);
    if (!s->pending || !s->orders || !s->region || !s->balance || !s->made || !s->made_as)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < n; i++) {
        s->region[i] = (int32_t)i;
        s->made_as[i] = TC_NO_EDGE;
    }
    return TC_OK;
}

static tc_status run(sinker *s)
{
    tc_pass_context *pass = s->pass;
    TC_TRY(start(s));
    for (int32_t i = 0; i < pass->n_old; i++)
        study(s, i);
    for (int32_t i = 0; i < pass->program->n_fetches; i++)
        need_made(s, pass->program->fetches[i], true);
    for (int32_t i = 0; i < pass->first[pass->n_old]; i++)
        s->pending[i] = s->pending[i] && s->balance[region_of(s, i)] > 0;
    for (int32_t i = 0; i < pass->n_old; i++)
        TC_TRY(rewrite(s, i));
    for (int32_t i = 0; i < pass->program->n_fetches; i++) {
        tc_edge fetch = pass->program->fetches[i];
        if (is_hidden(s, fetch))
            TC_TRY(make_value(s, fetch, &pass->edges[value_of(s, fetch)]));
    }
    return TC_OK;
}

static bool has_transposes(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (tc_node_is(graph->nodes.data[i], "transpose"))
            return true;
    return false;
}

tc_status tc_pass_sink_transposes(tc_pass_context *pass)
{
    sinker s = {.pass = pass};
    if (!has_transposes(pass->graph))
        return TC_OK;
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK)
        status = run(&s);
    tc_map_free(&s.roles);
    tc_free(s.pending);
    tc_free(s.orders);
    tc_free(s.region);
    tc_free(s.balance);
    tc_free(s.made);
    tc_free(s.made_as);
    tc_vector_free(&s.inputs);
    return tc_ir_end(pass, status);
}
