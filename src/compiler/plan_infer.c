/* Concrete shapes: feeds against placeholders, then every node in order. */
#include <stdio.h>

#include "compiler/planner.h"
#include "core/infer.h"
#include "core/shape.h"

static const char *shape_pair(const tc_shape *a, const tc_shape *b,
                              char buffer[2 * TC_SHAPE_TEXT_SIZE])
{
    char first[TC_SHAPE_TEXT_SIZE], second[TC_SHAPE_TEXT_SIZE];
    snprintf(buffer, 2 * TC_SHAPE_TEXT_SIZE, "%s, but the tensor is %s", tc_shape_text(a, first),
             tc_shape_text(b, second));
    return buffer;
}

/* Sizes that named dimensions have in this plan, and the feed that gave each. */
typedef struct dim_names {
    tc_map sizes; /* name -> feed << 3 | dimension, of the first feed that has the name */
} dim_names;

static tc_status check_name(tc_planner *p, dim_names *names, int32_t feed, int32_t dim,
                            const char *name)
{
    const uint64_t *seen = tc_map_find_string(&names->sizes, name);
    if (!seen) {
        uint64_t where = (uint64_t)feed << 3 | (uint64_t)dim;
        return tc_map_put_string(&names->sizes, name, where) ? TC_OK : tc_compiler_exhausted();
    }
    int32_t other = (int32_t)(*seen >> 3);
    int64_t size = p->feed_shapes[feed].dims[dim].size;
    int64_t other_size = p->feed_shapes[other].dims[*seen & 7].size;
    if (size == other_size)
        return TC_OK;
    return tc_fail(TC_INVALID_ARGUMENT,
                   "feeds '%s' and '%s' disagree on dimension '%s': it is %lld in the first and "
                   "%lld in the second",
                   tc_graph_node_at(p->graph, p->program->feeds[other].node)->name,
                   tc_graph_node_at(p->graph, p->program->feeds[feed].node)->name, name,
                   (long long)other_size, (long long)size);
}

static tc_status check_feed(tc_planner *p, dim_names *names, int32_t feed)
{
    tc_edge edge = p->program->feeds[feed];
    const tc_shape *given = &p->feed_shapes[feed];
    if (!tc_shape_is_known(given))
        return tc_fail(TC_INVALID_ARGUMENT, "the shape of feed %d has an unknown dimension",
                       (int)feed);
    if (edge.node < 0)
        return TC_OK;
    const tc_node *node = tc_graph_node_at(p->graph, edge.node);
    const tc_shape *declared = &node->outputs[0].shape;
    char text[2 * TC_SHAPE_TEXT_SIZE];
    if (given->rank != declared->rank)
        return tc_fail(TC_INVALID_ARGUMENT, "feed '%s' has rank %d, shape %s", node->name,
                       (int)declared->rank, shape_pair(declared, given, text));
    tc_value_info *info = &p->infos[p->first[edge.node]];
    *info = node->outputs[0];
    for (int32_t i = 0; i < declared->rank; i++) {
        tc_dim dim = declared->dims[i];
        if (tc_dim_is_known(dim) && dim.size != given->dims[i].size)
            return tc_fail(TC_INVALID_ARGUMENT, "feed '%s' has shape %s", node->name,
                           shape_pair(declared, given, text));
        if (dim.name)
            TC_TRY(check_name(p, names, feed, i, dim.name));
        info->shape.dims[i] = (tc_dim){given->dims[i].size, NULL};
    }
    p->feed_of[edge.node] = feed;
    return TC_OK;
}

static tc_status check_feeds(tc_planner *p)
{
    dim_names names = {0};
    tc_status status = TC_OK;
    for (int32_t i = 0; i < p->n_nodes; i++)
        p->feed_of[i] = -1;
    for (int32_t i = 0; i < p->program->n_feeds && status == TC_OK; i++)
        status = check_feed(p, &names, i);
    tc_map_free(&names.sizes);
    return status;
}

static bool info_is_static(const tc_value_info *info)
{
    for (int32_t i = 0; i < info->known_count; i++)
        if (info->known[i].size < 0)
            return false;
    return tc_shape_is_known(&info->shape);
}

/* What was inferred with every dimension known, and every element that is followed, needs no second
 * time. */
static bool is_static(const tc_planner *p, const tc_node *node)
{
    for (int32_t i = 0; i < node->n_outputs; i++)
        if (!info_is_static(&node->outputs[i]))
            return false;
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i].node >= 0 && !info_is_static(tc_edge_info(p->graph, node->inputs[i])))
            return false;
    return true;
}

/*
 * Shapes that depend on elements: the memory is for the bound, the kernel tells the actual ones.
 * Nothing of the program may read such a value, since stages end there.
 */
static tc_status check_bounded_inputs(const tc_planner *p, const tc_node *node)
{
    char where[512];
    for (int32_t i = 0; p->plan->n_extents > 0 && i < node->n_inputs; i++)
        if (node->inputs[i].node >= 0 && p->extents_of[node->inputs[i].node])
            return tc_fail(TC_INTERNAL, "%s reads a value in the stage that finds its shape",
                           tc_node_describe(node, where, sizeof where));
    return TC_OK;
}

static tc_status bound_node(tc_planner *p, const tc_node *node, tc_value_info *outputs,
                            int32_t n_outputs, char message[TC_INFER_MESSAGE_SIZE])
{
    size_t count = (size_t)n_outputs * TC_MAX_RANK;
    if (count > (size_t)(INT32_MAX - 1 - p->plan->n_extents))
        return tc_fail(TC_RESOURCE_EXHAUSTED, "too many shapes depend on elements");
    p->extents_of[node->index] = 1 + p->plan->n_extents;
    p->plan->n_extents += (int32_t)count;
    return tc_infer_bound(&node->attrs, p->node_infos, node->n_inputs, &p->scratch, outputs,
                          n_outputs, message);
}

static tc_status write_bounds(tc_planner *p)
{
    tc_plan *plan = p->plan;
    if (plan->n_extents == 0)
        return TC_OK;
    plan->extents = tc_arena_array(&plan->arena, (size_t)plan->n_extents, sizeof *plan->extents);
    if (!plan->extents)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < p->n_nodes; i++)
        for (int32_t v = p->first[i]; p->extents_of[i] && v < p->first[i + 1]; v++)
            for (int32_t d = 0; d < p->infos[v].shape.rank; d++)
                plan->extents[p->extents_of[i] - 1 + (v - p->first[i]) * TC_MAX_RANK + d] =
                    p->infos[v].shape.dims[d].size;
    return TC_OK;
}

/* Which fetches have a shape that only a run knows. */
static tc_status find_live_outputs(tc_planner *p)
{
    const tc_program *program = p->program;
    p->plan->output_extents = tc_arena_array(&p->plan->arena, (size_t)program->n_fetches,
                                             sizeof *p->plan->output_extents);
    if (!p->plan->output_extents)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < program->n_fetches; i++) {
        tc_edge edge = program->fetches[i];
        int32_t extents = p->extents_of[edge.node];
        if (extents && !tc_shape_is_known(&tc_edge_info(p->graph, edge)->shape))
            p->plan->output_extents[i] = extents + edge.output * TC_MAX_RANK;
    }
    return TC_OK;
}

static bool all_known(const tc_value_info *infos, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (!tc_shape_is_known(&infos[i].shape))
            return false;
    return true;
}

static tc_status infer_node(tc_planner *p, const tc_node *node)
{
    tc_value_info *infos = &p->infos[p->first[node->index]], *outputs = node->outputs;
    int32_t n_outputs = node->n_outputs;
    char message[TC_INFER_MESSAGE_SIZE], where[512], shape[TC_SHAPE_TEXT_SIZE];
    tc_status status = TC_OK;
    if (tc_node_is(node, "placeholder"))
        return TC_OK; /* fed: extract saw to that, and check_feed has filled it */
    TC_TRY(check_bounded_inputs(p, node));
    if (!is_static(p, node)) {
        for (int32_t i = 0; i < node->n_inputs; i++)
            p->node_infos[i] = node->inputs[i].node < 0
                                   ? (tc_value_info){0}
                                   : p->infos[tc_plan_value(p, node->inputs[i])];
        status = tc_infer_run(&node->attrs, p->node_infos, node->n_inputs, &p->scratch, &outputs,
                              &n_outputs, message);
        if (status == TC_OK && node->attrs.op->bound && !all_known(outputs, n_outputs))
            status = bound_node(p, node, outputs, n_outputs, message);
    }
    if (status == TC_OK && n_outputs != node->n_outputs) {
        status = TC_INVALID_ARGUMENT;
        snprintf(message, sizeof message, "has %d outputs for these shapes instead of %d",
                 (int)n_outputs, (int)node->n_outputs);
    }
    if (status != TC_OK)
        return tc_fail(status, "%s: %s", tc_node_describe(node, where, sizeof where), message);
    for (int32_t i = 0; i < n_outputs; i++) {
        infos[i] = outputs[i];
        if (!tc_shape_is_known(&infos[i].shape))
            return tc_fail(TC_UNIMPLEMENTED,
                           "%s: the shape %s of output %d depends on the elements of a tensor",
                           tc_node_describe(node, where, sizeof where),
                           tc_shape_text(&infos[i].shape, shape), (int)i);
    }
    return TC_OK;
}

tc_status tc_plan_infer(tc_planner *p)
{
    p->extents_of = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *p->extents_of);
    if (!p->extents_of)
        return tc_compiler_exhausted();
    TC_TRY(check_feeds(p));
    for (int32_t i = 0; i < p->n_nodes; i++)
        TC_TRY(infer_node(p, tc_graph_node_at(p->graph, i)));
    TC_TRY(write_bounds(p));
    return find_live_outputs(p);
}
