/*
 * Whose memory each value lies in. Views have that of their input; contiguous slices and the parts
 * of a split along the leading axis are ranges of it; values that are only joined along the leading
 * axis are computed into their ranges of the result. Kernels take operands at any multiple of their
 * element's size, so ranges may begin anywhere.
 */
#include "compiler/planner.h"
#include "core/shape.h"
#include "core/slice.h"

typedef struct ranges {
    tc_planner *p;
    int32_t *within; /* per value: the value in whose memory it lies, -1 */
    size_t *at;      /* per value: the first byte there */
    bool *part;      /* per node: a slice or split whose outputs are ranges, if that is accepted */
    bool *exists;    /* per value: memory of a feed, variable or constant */
    int32_t *used;   /* per value: the last node that reads its memory, -1 */
} ranges;

static bool is_split(const tc_node *node)
{
    return tc_node_is(node, "split") || tc_node_is(node, "split_like");
}

/*
 * Ranges that slice, split and concat stand for
 */
/* The axis attribute, when what lies before the axis is 1: slabs along it are ranges. */
static bool is_leading(const tc_node *node, const tc_shape *whole)
{
    int64_t axis = tc_attrs_int(&node->attrs, "axis");
    axis += axis < 0 ? whole->rank : 0;
    for (int64_t i = 0; i < axis; i++)
        if (whole->dims[i].size != 1)
            return false;
    return true;
}

/* Whether a slice takes one range of its input, which begins at element `*first`. */
static bool slice_range(const tc_node *node, const tc_shape *whole, int64_t *first)
{
    tc_slice_range asked[TC_MAX_RANK];
    int64_t stride = 1;
    bool open = true; /* all dimensions so far are taken whole */
    *first = 0;
    if (tc_slice_ranges(&node->attrs, whole->rank, asked))
        return false;
    for (int32_t i = whole->rank - 1; i >= 0; i--) {
        int64_t size = whole->dims[i].size, begin;
        int64_t count = tc_slice_count(asked[i], size, &begin);
        if (count == 0 || (count > 1 && (!open || asked[i].stride != 1)))
            return false;
        open = open && count == size;
        *first += begin * stride;
        stride *= size;
    }
    return true;
}

static void find_part(ranges *r, const tc_node *node)
{
    const tc_planner *p = r->p;
    int32_t from = tc_plan_value(p, node->inputs[0]), to = p->first[node->index];
    const tc_shape *whole = &p->infos[from].shape;
    size_t at = 0;
    int64_t first;
    if (p->bytes[from] == 0)
        return;
    if (tc_node_is(node, "slice")) {
        if (!slice_range(node, whole, &first))
            return;
        at = p->bytes[from] / (size_t)tc_shape_size(whole) * (size_t)first;
    } else if (!is_split(node) || !is_leading(node, whole)) {
        return;
    }
    r->part[node->index] = true;
    for (int32_t k = 0; k < node->n_outputs; k++) {
        r->within[to + k] = from;
        r->at[to + k] = at;
        at += p->bytes[to + k];
    }
}

static void find_parts(ranges *r, bool all)
{
    tc_planner *p = r->p;
    for (int32_t i = 0; i < p->n_nodes; i++) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        int32_t value = p->first[i];
        if (tc_node_is_view(node)) {
            p->shown[i] = true;
            r->within[value] = tc_plan_value(p, node->inputs[0]);
        } else if (all && p->needed[i] && node->n_inputs > 0 && tc_node_reads(node, 0)) {
            find_part(r, node);
        }
        for (int32_t k = 0; k < node->n_outputs; k++)
            r->exists[value + k] = r->within[value + k] < 0 ? tc_node_is_source(node)
                                                            : r->exists[r->within[value + k]];
    }
}

/* A range keeps all of the memory alive: where that is not there anyway, most of it should be used,
 * or none of it later than before. */
static bool accept_part(const ranges *r, const tc_node *node)
{
    const tc_planner *p = r->p;
    int32_t value = p->first[node->index], from = r->within[value], used = -1;
    size_t bytes = 0;
    for (int32_t k = 0; k < node->n_outputs; k++) {
        bytes += r->used[value + k] >= 0 ? p->bytes[value + k] : 0;
        used = r->used[value + k] > used ? r->used[value + k] : used;
    }
    return r->exists[from] || bytes >= p->bytes[from] / 2 || used <= r->used[from];
}

static void accept_parts(ranges *r)
{
    tc_planner *p = r->p;
    for (int32_t i = 0; i < p->program->n_fetches; i++) {
        tc_edge fetch = p->program->fetches[i]; /* copied as soon as it is there */
        r->used[tc_plan_value(p, fetch)] = fetch.node;
    }
    for (int32_t i = p->n_nodes - 1; i >= 0; i--) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        int32_t value = p->first[i];
        if (r->part[i])
            p->shown[i] = accept_part(r, node);
        for (int32_t k = 0; r->part[i] && !p->shown[i] && k < node->n_outputs; k++) {
            r->within[value + k] = -1;
            r->at[value + k] = 0;
        }
        for (int32_t k = 0; p->needed[i] && k < node->n_inputs; k++) {
            if (!tc_node_reads(node, k))
                continue;
            int32_t *used = &r->used[tc_plan_value(p, node->inputs[k])];
            for (int32_t o = 0; p->shown[i] && o < node->n_outputs; o++)
                *used = r->used[value + o] > *used ? r->used[value + o] : *used;
            if (!p->shown[i] && i > *used)
                *used = i;
        }
    }
}

/*
 * Joining
 */
/* The value that a kernel computes and that `value` shows wholly, -1 when there is none. */
static int32_t computed(const ranges *r, int32_t value)
{
    const tc_planner *p = r->p;
    size_t bytes = p->bytes[value];
    while (r->within[value] >= 0) {
        if (!p->shown[p->producer[value]]) /* joined elsewhere */
            return -1;
        value = r->within[value];
    }
    const tc_node *node = tc_graph_node_at(p->graph, p->producer[value]);
    const tc_op *op = node->attrs.op;
    bool kernel = !tc_node_is_source(node) && !op->bound && !(op->effects & TC_EFFECT_WRITE);
    return kernel && p->bytes[value] == bytes ? value : -1;
}

/* Lets the inputs of a concat be computed into the result, when that can be done with all. */
static void join(ranges *r, const tc_node *node)
{
    tc_planner *p = r->p;
    int32_t to = p->first[node->index], done = 0;
    size_t at = 0;
    if (p->bytes[to] == 0 || !is_leading(node, &p->infos[to].shape))
        return;
    while (done < node->n_inputs) {
        int32_t input = tc_plan_value(p, node->inputs[done]), from = computed(r, input);
        if (from < 0 || p->bytes[from] == 0)
            break;
        r->within[from] = to;
        r->at[from] = at;
        at += p->bytes[from];
        done++;
    }
    p->shown[node->index] = done == node->n_inputs;
    while (!p->shown[node->index] && done-- > 0) {
        int32_t from = tc_plan_value(p, node->inputs[done]);
        while (r->within[from] != to)
            from = r->within[from];
        r->within[from] = -1;
        r->at[from] = 0;
    }
}

/*
 * Results
 */
/* `within` and `at` of every value in its way become those of the end of the way. Ways go from
 * views to what they show and on to what it is joined into, so they have no circles. */
static int32_t find_root(ranges *r, int32_t value)
{
    int32_t root = value;
    size_t at = 0;
    while (r->within[root] >= 0) {
        at += r->at[root];
        root = r->within[root];
    }
    while (r->within[value] >= 0) {
        int32_t next = r->within[value];
        size_t step = r->at[value];
        r->within[value] = root;
        r->at[value] = at;
        at -= step;
        value = next;
    }
    return root;
}

tc_status tc_plan_alias(tc_planner *p)
{
    size_t n = (size_t)p->n_values;
    bool all = tc_plan_does(p, TC_PLAN_PASS_alias);
    ranges r = {p,
                tc_arena_array(&p->scratch, n, sizeof *r.within),
                p->shift,
                tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *r.part),
                tc_arena_array(&p->scratch, n, sizeof *r.exists),
                tc_arena_array(&p->scratch, n, sizeof *r.used)};
    if (!r.within || !r.part || !r.exists || !r.used)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < n; i++)
        r.within[i] = r.used[i] = -1;
    find_parts(&r, all);
    if (all) {
        accept_parts(&r);
        for (int32_t i = 0; i < p->n_nodes; i++)
            if (p->needed[i] && tc_node_is(tc_graph_node_at(p->graph, i), "concat"))
                join(&r, tc_graph_node_at(p->graph, i));
    }
    for (int32_t i = 0; i < p->n_values; i++)
        p->root[i] = find_root(&r, i);
    return TC_OK;
}
