/* See placement.h. */
#include "compiler/placement.h"

#include <stdio.h>
#include <string.h>

#include "core/registry.h"

int32_t tc_placement_reason(tc_pass_context *pass, const char *text)
{
    tc_program *program = pass->program;
    /* Few texts are used, the last ones most. */
    for (size_t i = program->reasons.count; i-- > 0 && i + 16 > program->reasons.count;)
        if (program->reasons.data[i] == text || strcmp(program->reasons.data[i], text) == 0)
            return (int32_t)i;
    if (!tc_vector_push(&program->reasons, text)) {
        (void)tc_compiler_exhausted();
        return -1;
    }
    return (int32_t)program->reasons.count - 1;
}

tc_status tc_placement_put(tc_pass_context *pass, tc_node *node, int32_t device, const char *reason)
{
    node->device = device;
    node->reason = tc_placement_reason(pass, reason);
    return node->reason < 0 ? TC_RESOURCE_EXHAUSTED : TC_OK;
}

int32_t tc_placement_owner(tc_placement_work *w, int32_t node)
{
    while (w->owner[node] != node)
        node = w->owner[node] = w->owner[w->owner[node]];
    return node;
}

static void join(tc_placement_work *w, int32_t a, int32_t b)
{
    a = tc_placement_owner(w, a);
    b = tc_placement_owner(w, b);
    w->owner[a > b ? a : b] = a > b ? b : a;
}

static void find_owners(tc_placement_work *w)
{
    for (int32_t i = 0; i < w->count; i++) {
        const tc_node *node = w->nodes[i];
        w->owner[i] = w->root[i] = i;
        if (tc_node_is_view(node))
            w->root[i] = w->root[node->inputs[0].node];
        for (int32_t k = 0; tc_node_writes(node) && k < node->n_inputs; k++)
            if (node->inputs[k].node >= 0 && tc_input_flags(node, k) & TC_PORT_RESOURCE)
                join(w, i, node->inputs[k].node);
    }
}

tc_status tc_placement_begin(tc_pass_context *pass, tc_placement_work *w)
{
    size_t count = pass->graph->nodes.count;
    int32_t widest = 0;
    *w = (tc_placement_work){
        .pass = pass, .nodes = pass->graph->nodes.data, .count = (int32_t)count};
    for (size_t i = 0; i < count; i++)
        if (w->nodes[i]->n_inputs > widest)
            widest = w->nodes[i]->n_inputs;
    w->owner = tc_arena_array(&w->arena, count, sizeof *w->owner);
    w->root = tc_arena_array(&w->arena, count, sizeof *w->root);
    w->infos = tc_arena_array(&w->arena, (size_t)widest, sizeof *w->infos);
    w->no_kernel =
        tc_arena_array(&w->arena, (size_t)pass->target->device_count, sizeof *w->no_kernel);
    if (!w->owner || !w->root || !w->infos || !w->no_kernel)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < pass->target->device_count; i++)
        w->no_kernel[i] = -1;
    find_owners(w);
    return TC_OK;
}

void tc_placement_end(tc_placement_work *w)
{
    tc_arena_free(&w->arena);
}

bool tc_placement_possible(tc_placement_work *w, const tc_node *node, int32_t device)
{
    const tc_pass_context *pass = w->pass;
    if (device == 0 || tc_node_is_source(node) || tc_node_is_view(node) ||
        tc_node_is(node, "transfer"))
        return true;
    for (int32_t k = 0; k < node->n_inputs; k++)
        w->infos[k] = node->inputs[k].node < 0 ? (tc_value_info){0}
                                               : *tc_edge_info(pass->graph, node->inputs[k]);
    tc_dtype dtype = tc_op_kernel_dtype(node->attrs.op, w->infos, node->n_inputs, node->outputs,
                                        node->n_outputs);
    return pass->target->find_kernel(pass->target, device, node->attrs.op->name, dtype) != NULL;
}

/* The reason of nodes that `device` has no kernel for, -1 when memory is exhausted. */
static int32_t no_kernel_on(tc_placement_work *w, int32_t device)
{
    const tc_target *target = w->pass->target;
    const char *name = target->device_name(target, device);
    size_t size = strlen(name) + 16;
    if (w->no_kernel[device] >= 0)
        return w->no_kernel[device];
    char *text = tc_arena_alloc(&w->pass->program->arena, size);
    if (!text) {
        (void)tc_compiler_exhausted();
        return -1;
    }
    snprintf(text, size, "no kernel on %s", name);
    return w->no_kernel[device] = tc_placement_reason(w->pass, text);
}

static tc_status fall_back(tc_placement_work *w, tc_node *node)
{
    int32_t reason = no_kernel_on(w, node->device);
    node->device = 0;
    node->reason = reason;
    if (!w->free || !w->free[node->index])
        w->pass->program->fallbacks++;
    return reason < 0 ? TC_RESOURCE_EXHAUSTED : TC_OK;
}

/* What shares an owner follows the first of them that had to go to the CPU. */
static tc_status keep_together(tc_placement_work *w, const int32_t *fallen)
{
    tc_pass_context *pass = w->pass;
    for (int32_t i = 0; i < w->count; i++) {
        tc_node *node = w->nodes[i];
        int32_t first = fallen[tc_placement_owner(w, i)];
        if (first < 0 || node->device == 0)
            continue;
        const char *name = w->nodes[first]->name;
        size_t size = strlen(name) + 8;
        char *text = tc_arena_alloc(&pass->program->arena, size);
        if (!text)
            return tc_compiler_exhausted();
        snprintf(text, size, "with '%s'", name);
        TC_TRY(tc_placement_put(pass, node, 0, text));
    }
    return TC_OK;
}

tc_status tc_placement_settle(tc_placement_work *w)
{
    bool apart = false;
    int32_t *fallen = tc_arena_array(&w->arena, (size_t)w->count, sizeof *fallen);
    if (!fallen)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < w->count; i++)
        fallen[i] = -1;
    for (int32_t i = 0; i < w->count; i++) {
        tc_node *node = w->nodes[i];
        if (tc_placement_possible(w, node, node->device))
            continue;
        TC_TRY(fall_back(w, node));
        if (tc_node_writes(node) && fallen[tc_placement_owner(w, i)] < 0) {
            fallen[tc_placement_owner(w, i)] = i;
            apart = true;
        }
    }
    return apart ? keep_together(w, fallen) : TC_OK;
}

tc_status tc_placement_move_views(tc_placement_work *w)
{
    for (int32_t i = 0; i < w->count; i++)
        if (w->root[i] != i && w->nodes[i]->device != w->nodes[w->root[i]]->device) {
            w->nodes[i]->device = w->nodes[w->root[i]]->device;
            w->nodes[i]->reason = tc_placement_reason(w->pass, "where its input is");
            if (w->nodes[i]->reason < 0)
                return TC_RESOURCE_EXHAUSTED;
        }
    return TC_OK;
}
