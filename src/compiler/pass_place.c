/*
 * Gives every node a device: the one that its annotation "device" names, else the one of the
 * target, else the one where it is expected to be quickest; within the rules of placement.h. Shapes
 * stay on the CPU, which needs them to prepare kernels: operators whose shapes depend on elements,
 * shapes as tensors and what is computed from them alone. Variables that nothing writes are where
 * they are read most. Constants are copied to their readers by the pass transfer.
 */
#include <stdio.h>
#include <string.h>

#include "compiler/placement.h"
#include "core/shape.h"

#define SHAPES "shapes are found on the CPU"

/* Larger tensors of integers are no shapes. */
#define MAX_SHAPE_WORK 64

typedef struct placer {
    tc_placement_work work;
    tc_pass_context *pass;
    int32_t *asked;       /* per node: device of its annotation, -1 */
    int32_t *group_asked; /* per owner: device that a write or variable asks for, -1 */
    bool *written;        /* per owner: there is a write */
    bool *free;           /* per node: it may be anywhere */
    bool *shape_work;     /* per node */
} placer;

/* "cpu" is "cpu:0" as well. */
static bool same_device(const char *asked, const char *name)
{
    size_t length = strlen(name);
    const char *colon = strchr(name, ':');
    if (strcmp(asked, name) == 0)
        return true;
    if (!colon)
        return strncmp(asked, name, length) == 0 && strcmp(asked + length, ":0") == 0;
    length = (size_t)(colon - name);
    return strcmp(colon, ":0") == 0 && strlen(asked) == length && strncmp(asked, name, length) == 0;
}

static tc_status unknown_device(const tc_pass_context *pass, const tc_node *node, const char *asked)
{
    char where[512], known[512] = "";
    size_t length = 0;
    for (int32_t i = 0; i < pass->target->device_count && length < sizeof known; i++)
        length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "",
                                   pass->target->device_name(pass->target, i));
    const char *why = pass->target->missing;
    return tc_fail(TC_INVALID_ARGUMENT, "%s: there is no device '%s'; the devices are: %s%s%s",
                   tc_node_describe(node, where, sizeof where), asked, known,
                   why && why[0] ? ". " : "", why ? why : "");
}

static tc_status read_annotations(placer *p)
{
    const tc_target *target = p->pass->target;
    const char *last = NULL; /* scopes annotate many nodes with one text */
    int32_t last_device = -1;
    for (int32_t i = 0; i < p->work.count; i++) {
        const char *asked = tc_node_note(p->work.nodes[i], "device");
        p->asked[i] = -1;
        if (!asked)
            continue;
        for (int32_t d = 0; asked != last && d <= target->device_count; d++) {
            if (d == target->device_count)
                return unknown_device(p->pass, p->work.nodes[i], asked);
            last_device = d;
            if (same_device(asked, target->device_name(target, d)))
                last = asked;
        }
        p->asked[i] = last_device;
    }
    return TC_OK;
}

static tc_status copy_names(tc_pass_context *pass)
{
    const tc_target *target = pass->target;
    tc_program *program = pass->program;
    size_t count = (size_t)target->device_count;
    program->devices = tc_arena_array(&program->arena, count, sizeof *program->devices);
    for (int32_t d = 0; program->devices && d < target->device_count; d++) {
        const char *name = target->device_name(target, d);
        program->devices[d] = tc_arena_memdup(&program->arena, name, strlen(name) + 1);
        if (!program->devices[d])
            return tc_compiler_exhausted();
    }
    return program->devices ? TC_OK : tc_compiler_exhausted();
}

/* What a write asks for counts before what its variables do. */
static void ask_for_groups(placer *p)
{
    tc_placement_work *w = &p->work;
    for (int32_t i = 0; i < w->count; i++)
        p->group_asked[i] = -1;
    for (int pass = 0; pass < 2; pass++)
        for (int32_t i = 0; i < w->count; i++) {
            int32_t owner = tc_placement_owner(w, i);
            if (tc_node_writes(w->nodes[i]) != (pass == 0))
                continue;
            p->written[owner] = p->written[owner] || pass == 0;
            if (p->group_asked[owner] < 0)
                p->group_asked[owner] = p->asked[i];
        }
}

static bool are_few_integers(const tc_node *node)
{
    for (int32_t i = 0; i < node->n_outputs; i++)
        if (!(TC_DTYPES_INDEX & TC_DTYPE_BIT(node->outputs[i].dtype)) ||
            !tc_shape_is_known(&node->outputs[i].shape) ||
            tc_shape_size(&node->outputs[i].shape) > MAX_SHAPE_WORK)
            return false;
    return node->n_outputs > 0;
}

/* Shapes as tensors, and integers computed from them and constants alone. */
static void find_shape_work(placer *p)
{
    tc_placement_work *w = &p->work;
    for (int32_t i = 0; i < w->count; i++) {
        const tc_node *node = w->nodes[i];
        int32_t reads = 0, shapes = 0, constants = 0;
        if (tc_node_is_source(node) || node->attrs.op->effects || !are_few_integers(node))
            continue;
        for (int32_t k = 0; k < node->n_inputs; k++) {
            if (!tc_node_reads(node, k))
                continue;
            reads++;
            shapes += p->shape_work[node->inputs[k].node];
            constants += tc_node_is(w->nodes[node->inputs[k].node], "constant");
        }
        bool is_shape = reads == 0 && node->n_inputs > 0 && node->outputs[0].known;
        p->shape_work[i] = is_shape || (shapes > 0 && shapes + constants == reads);
    }
}

static tc_status wish(placer *p, tc_node *node)
{
    tc_pass_context *pass = p->pass;
    int32_t owner = tc_placement_owner(&p->work, node->index);
    bool owned = p->written[owner];
    int32_t asked = owned ? p->group_asked[owner] : p->asked[node->index];
    if (tc_node_is(node, "placeholder"))
        return tc_placement_put(pass, node, 0, "fed on the CPU");
    if (tc_node_is(node, "constant"))
        return tc_placement_put(pass, node, 0, "a constant");
    if (tc_node_is_idle(node))
        return tc_placement_put(pass, node, 0, "computes nothing");
    if (node->attrs.op->bound)
        return tc_placement_put(pass, node, 0, "its shape depends on elements");
    if (p->shape_work[node->index])
        return tc_placement_put(pass, node, 0, SHAPES);
    if (asked >= 0)
        return tc_placement_put(pass, node, asked, "asked for");
    if (pass->target->default_device >= 0)
        return tc_placement_put(pass, node, pass->target->default_device, "default");
    p->free[node->index] = owned || !tc_node_is_source(node);
    return tc_placement_put(pass, node, 1, "expected to be quicker");
}

/* Variables that nothing writes and nobody asks for go where they are read most. */
static tc_status move_variables(placer *p)
{
    tc_placement_work *w = &p->work;
    const tc_program *program = p->pass->program;
    const tc_target *target = p->pass->target;
    int32_t n_devices = target->device_count;
    int32_t first = target->default_device > 0 ? target->default_device : 0;
    int32_t *reads = tc_arena_array(&w->arena, (size_t)w->count * (size_t)n_devices, sizeof *reads);
    if (!reads)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < w->count; i++) {
        const tc_node *node = w->nodes[i];
        for (int32_t k = 0; k < node->n_inputs && !tc_node_is_view(node); k++)
            if (tc_node_reads(node, k))
                reads[w->root[node->inputs[k].node] * n_devices + node->device]++;
    }
    for (int32_t i = 0; i < program->n_fetches; i++)
        reads[w->root[program->fetches[i].node] * n_devices]++;
    for (int32_t i = 0; i < w->count; i++) {
        const int32_t *of = reads + i * n_devices;
        int32_t most = first;
        if (!tc_node_is(w->nodes[i], "variable") || p->asked[i] >= 0 ||
            p->written[tc_placement_owner(w, i)])
            continue;
        for (int32_t d = 0; d < n_devices; d++)
            if (of[d] > of[most])
                most = d;
        TC_TRY(tc_placement_put(p->pass, w->nodes[i], most, "where it is read most"));
    }
    return TC_OK;
}

static tc_status place(placer *p)
{
    tc_pass_context *pass = p->pass;
    tc_placement_work *w = &p->work;
    size_t count = (size_t)w->count;
    p->asked = tc_arena_array(&w->arena, count, sizeof *p->asked);
    p->group_asked = tc_arena_array(&w->arena, count, sizeof *p->group_asked);
    p->written = tc_arena_array(&w->arena, count, sizeof *p->written);
    w->free = p->free = tc_arena_array(&w->arena, count, sizeof *p->free);
    p->shape_work = tc_arena_array(&w->arena, count, sizeof *p->shape_work);
    if (!p->asked || !p->group_asked || !p->written || !p->free || !p->shape_work)
        return tc_compiler_exhausted();
    TC_TRY(copy_names(pass));
    TC_TRY(read_annotations(p));
    if (pass->target->device_count == 1) {
        for (int32_t i = 0; i < w->count; i++)
            TC_TRY(tc_placement_put(pass, w->nodes[i], 0,
                                    p->asked[i] == 0 ? "asked for" : "the only device"));
        return TC_OK;
    }
    ask_for_groups(p);
    find_shape_work(p);
    for (int32_t i = 0; i < w->count; i++)
        TC_TRY(wish(p, w->nodes[i]));
    TC_TRY(tc_placement_settle(w));
    if (pass->target->default_device < 0)
        TC_TRY(tc_placement_choose(w));
    TC_TRY(move_variables(p));
    return tc_placement_move_views(w);
}

tc_status tc_pass_place(tc_pass_context *pass)
{
    placer p = {.pass = pass};
    tc_status status = tc_placement_begin(pass, &p.work);
    if (status == TC_OK)
        status = place(&p);
    tc_placement_end(&p.work);
    return status;
}
