/* Copies of whole graphs. */
#include <string.h>

#include "graph/internal.h"

static bool copy_array(tc_graph *to, void **array, size_t count, size_t size)
{
    const void *from;
    memcpy(&from, array, sizeof from);
    if (count == 0)
        return true;
    void *copy = tc_arena_memdup(&to->arena, from, count * size);
    memcpy(array, &copy, sizeof copy);
    return copy;
}

#define COPY_ARRAY(to, array, count) \
    copy_array((to), (void **)&(array), (size_t)(count), sizeof *(array))

static bool clone_infos(tc_graph *to, tc_node *node)
{
    if (!COPY_ARRAY(to, node->outputs, node->n_outputs))
        return false;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        tc_value_info *info = &node->outputs[i];
        if (!tc_graph_intern_shape(to, &info->shape))
            return false;
        if (!info->known)
            continue;
        tc_dim *known =
            tc_arena_memdup(&to->arena, info->known, (size_t)info->known_count * sizeof *known);
        for (int32_t k = 0; known && k < info->known_count; k++)
            if (known[k].name && !(known[k].name = tc_graph_intern(to, known[k].name)))
                return false;
        if (!(info->known = known))
            return false;
    }
    return true;
}

static bool clone_attrs(tc_graph *to, tc_node *node)
{
    int count = node->attrs.op->n_attrs;
    tc_attr *values = tc_arena_array(&to->arena, (size_t)count, sizeof *values);
    if (!values)
        return false;
    for (int i = 0; i < count; i++) {
        values[i] = node->attrs.values[i];
        if (!tc_attr_copy(to, &values[i]))
            return false;
    }
    node->attrs.values = values;
    return true;
}

static bool clone_notes(tc_graph *to, tc_node *node)
{
    for (tc_note **link = &node->notes; *link; link = &(*link)->next) {
        tc_note *copy = tc_arena_memdup(&to->arena, *link, sizeof *copy);
        if (!copy || !(copy->key = tc_graph_intern(to, copy->key)) ||
            !(copy->text = tc_graph_intern(to, copy->text)))
            return false;
        *link = copy;
    }
    return true;
}

static bool clone_node(tc_graph *to, const tc_node *from)
{
    tc_node *node = tc_arena_memdup(&to->arena, from, sizeof *node);
    if (!node || !(node->name = tc_arena_strdup(&to->arena, from->name)) ||
        !COPY_ARRAY(to, node->inputs, node->n_inputs) ||
        !COPY_ARRAY(to, node->controls, node->n_controls) || !clone_attrs(to, node) ||
        !clone_infos(to, node) || !clone_notes(to, node) ||
        !tc_graph_intern_location(to, &node->at) ||
        !tc_map_put_string(&to->names, node->name, (uint64_t)node->index))
        return false;
    return tc_vector_push(&to->nodes, node);
}

#define COPY_VECTOR(to, from)                                                                   \
    ((from).count == 0 || (tc_vector_reserve(&(to), (from).count) &&                            \
                           (memcpy((to).data, (from).data, (from).count * sizeof *(from).data), \
                            (to).count = (from).count)))

static tc_graph *clone(const tc_graph *from, tc_graph *parent)
{
    const tc_graph_options options = {sizeof options, from->registry, from->seed};
    tc_graph *to = tc_graph_create_with(&options);
    if (!to)
        return NULL;
    bool copied = !from->function_name ||
                  (to->function_name = tc_arena_strdup(&to->arena, from->function_name));
    copied = copied && tc_vector_reserve(&to->nodes, from->nodes.count);
    for (size_t i = 0; copied && i < from->nodes.count; i++)
        copied = clone_node(to, from->nodes.data[i]);
    copied = copied && COPY_VECTOR(to->parameters, from->parameters) &&
             COPY_VECTOR(to->results, from->results) && COPY_VECTOR(to->captures, from->captures) &&
             tc_vector_reserve(&to->functions, from->functions.count);
    for (size_t i = 0; copied && i < from->functions.count; i++) {
        tc_graph *function = clone(from->functions.data[i], to);
        copied = function != NULL;
        if (function)
            to->functions.data[to->functions.count++] = function;
    }
    if (!copied) {
        tc_graph_release(to);
        return NULL;
    }
    to->closed = from->closed;
    to->status = from->status;
    memcpy(to->message, from->message, TC_ERROR_MESSAGE_SIZE);
    to->parent = parent;
    return to;
}

tc_graph *tc_graph_clone(const tc_graph *graph)
{
    if (!graph || graph->parent) {
        tc_fail(TC_INVALID_ARGUMENT, graph ? "a function is cloned with the graph around it"
                                           : "the graph to clone is NULL");
        return NULL;
    }
    tc_graph *copy = clone(graph, NULL);
    if (!copy)
        tc_fail_memory(graph->arena.bytes, "a copy of a graph");
    return copy;
}
