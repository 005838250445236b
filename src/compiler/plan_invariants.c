/*
 * What depends on constants and on variables that nothing in the graph updates is computed when a
 * plan is first run, kept in the store beside the packed weights, and computed again when such a
 * variable gets a new content: casts and transposes of weights, the scale and shift of a folded
 * batch normalization. Later runs find the results as they find constants, on the device where they
 * are wanted: a copy between devices is done once, too.
 */
#include "compiler/planner.h"

/* A result may be this much larger than what it is made from: it stays in memory. */
#define MAX_GROWTH ((size_t)64 << 10)

#define NOT_KEPT \
    (TC_EFFECT_READ | TC_EFFECT_WRITE | TC_EFFECT_RANDOM | TC_EFFECT_IO | TC_EFFECT_COLLECTIVE)

bool tc_plan_is_fixed(const tc_planner *p, int32_t buffer)
{
    const tc_storage *storage = &p->storages.data[p->buffer_storage.data[buffer]];
    switch (storage->place) {
    case TC_PLACE_CONSTANT:
    case TC_PLACE_PACKED: return true;
    case TC_PLACE_VARIABLE: return !p->program->updated[p->variable_nodes.data[storage->index]];
    default: return false;
    }
}

/* Whether all that the step reads is fixed, and keeping the result pays. */
static bool is_invariant(const tc_planner *p, const tc_step *step)
{
    const tc_op *op = tc_graph_node_at(p->graph, step->node)->attrs.op;
    if (op->effects & NOT_KEPT || op->bound || step->n_outputs != 1)
        return false;
    size_t bytes = MAX_GROWTH;
    bool reads = false;
    for (int32_t i = 0; i < step->n_inputs; i++) {
        int32_t buffer = p->operands.data[step->first_input + i];
        if (buffer < 0)
            continue;
        if (!tc_plan_is_fixed(p, buffer))
            return false;
        bytes += p->buffers.data[buffer].bytes;
        reads = true;
    }
    int32_t output = p->operands.data[step->first_output];
    return reads && tc_plan_is_whole(p, output) &&
           p->storages.data[p->buffer_storage.data[output]].place == TC_PLACE_ARENA &&
           p->buffers.data[output].bytes <= bytes;
}

tc_status tc_plan_add_invariant(tc_planner *p, const tc_step *step, size_t params_bytes,
                                bool *added)
{
    *added = tc_plan_does(p, TC_PLAN_PASS_invariants) && is_invariant(p, step);
    if (!*added)
        return TC_OK;
    int32_t output = p->operands.data[step->first_output];
    tc_storage *storage = &p->storages.data[p->buffer_storage.data[output]];
    tc_pack pack = {
        .kernel = step->kernel,
        .params = step->params,
        .params_bytes = params_bytes,
        .bytes = p->buffers.data[output].bytes,
        .device = storage->device,
        .buffer = -1,
        .node = step->node,
        .first_input = step->first_input,
        .n_inputs = step->n_inputs,
        .workspace_bytes = step->workspace_bytes,
    };
    storage->place = TC_PLACE_PACKED;
    storage->index = (int32_t)p->packs.count;
    return tc_vector_push(&p->packs, pack) ? TC_OK : tc_compiler_exhausted();
}
