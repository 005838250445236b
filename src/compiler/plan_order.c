/* What compute steps wait for, and putting them into another order. */
#include <string.h>

#include "compiler/planner.h"

/* Lists of steps, one per node: its own step, or, where it has none, the steps that its inputs and
 * controls stand for. */
typedef struct builder {
    tc_planner *p;
    tc_needs *needs;
    int32_t *step_of; /* per node, -1 */
    int32_t *begin;   /* per node without a step: its list in `stand_ins` */
    int32_t *end;
    TC_VECTOR(int32_t) stand_ins;
    TC_VECTOR(int32_t) steps;
    size_t limit; /* of both: nodes without steps could multiply edges */
} builder;

static tc_status push(builder *b, bool to_steps, int32_t step)
{
    if (b->steps.count + b->stand_ins.count >= b->limit) {
        b->needs->entangled = true;
        return TC_OK;
    }
    bool pushed = to_steps ? tc_vector_push(&b->steps, step) : tc_vector_push(&b->stand_ins, step);
    return pushed ? TC_OK : tc_compiler_exhausted();
}

static tc_status push_node(builder *b, bool to_steps, int32_t node)
{
    if (b->step_of[node] >= 0)
        return push(b, to_steps, b->step_of[node]);
    for (int32_t i = b->begin[node]; i < b->end[node] && !b->needs->entangled; i++)
        TC_TRY(push(b, to_steps, b->stand_ins.data[i]));
    return TC_OK;
}

static tc_status push_needs(builder *b, bool to_steps, const tc_node *node)
{
    for (int32_t k = 0; k < node->n_inputs; k++)
        if (tc_node_reads(node, k))
            TC_TRY(push_node(b, to_steps, node->inputs[k].node));
    for (int32_t k = 0; k < node->n_controls; k++)
        TC_TRY(push_node(b, to_steps, node->controls[k]));
    return TC_OK;
}

static tc_status list_stand_ins(builder *b)
{
    const tc_planner *p = b->p;
    for (int32_t i = 0; i < p->n_nodes && !b->needs->entangled; i++) {
        b->begin[i] = (int32_t)b->stand_ins.count;
        if (b->step_of[i] < 0 && p->needed[i] && !p->commits[i])
            TC_TRY(push_needs(b, false, tc_graph_node_at(p->graph, i)));
        b->end[i] = (int32_t)b->stand_ins.count;
    }
    return TC_OK;
}

static tc_status list_needs(builder *b)
{
    const tc_planner *p = b->p;
    int32_t outside = -1; /* the last step that reached outside */
    for (int32_t i = 0; i < p->plan->n_compute; i++) {
        const tc_step *step = &p->steps.data[i];
        b->needs->begin[i] = (int32_t)b->steps.count;
        if (step->node < 0) {
            int32_t value = p->buffer_value.data[p->operands.data[step->first_input]];
            TC_TRY(push_node(b, true, p->producer[value]));
            continue;
        }
        const tc_node *node = tc_graph_node_at(p->graph, step->node);
        TC_TRY(push_needs(b, true, node));
        if (!tc_node_reaches_outside(node))
            continue;
        if (outside >= 0)
            TC_TRY(push(b, true, outside));
        outside = i;
    }
    b->needs->begin[p->plan->n_compute] = (int32_t)b->steps.count;
    return TC_OK;
}

static tc_status build(builder *b)
{
    tc_planner *p = b->p;
    size_t n_nodes = (size_t)p->n_nodes;
    b->limit = 4 * (p->steps.count + p->operands.count + n_nodes) + 1024;
    if (b->limit > INT32_MAX)
        b->limit = INT32_MAX;
    b->step_of = tc_arena_array(&p->scratch, n_nodes, sizeof *b->step_of);
    b->begin = tc_arena_array(&p->scratch, n_nodes, sizeof *b->begin);
    b->end = tc_arena_array(&p->scratch, n_nodes, sizeof *b->end);
    b->needs->begin =
        tc_arena_array(&p->scratch, (size_t)p->plan->n_compute + 1, sizeof *b->needs->begin);
    if (!b->step_of || !b->begin || !b->end || !b->needs->begin)
        return tc_compiler_exhausted();
    memset(b->step_of, 0xff, n_nodes * sizeof *b->step_of);
    for (int32_t i = 0; i < p->plan->n_compute; i++)
        if (p->steps.data[i].node >= 0)
            b->step_of[p->steps.data[i].node] = i;
    TC_TRY(list_stand_ins(b));
    TC_TRY(list_needs(b));
    if (b->needs->entangled) {
        memset(b->needs->begin, 0, ((size_t)p->plan->n_compute + 1) * sizeof *b->needs->begin);
        return TC_OK;
    }
    b->needs->steps =
        tc_arena_memdup(&p->scratch, b->steps.data, b->steps.count * sizeof *b->steps.data);
    return b->needs->steps ? TC_OK : tc_compiler_exhausted();
}

tc_status tc_plan_needs(tc_planner *p, tc_needs *needs)
{
    *needs = (tc_needs){0};
    builder b = {.p = p, .needs = needs};
    tc_status status = build(&b);
    tc_vector_free(&b.stand_ins);
    tc_vector_free(&b.steps);
    return status;
}

tc_status tc_plan_reorder(tc_planner *p, const int32_t *order)
{
    size_t n = (size_t)p->plan->n_compute;
    tc_step *steps = tc_arena_memdup(&p->scratch, p->steps.data, n * sizeof *steps);
    int32_t *workspaces =
        tc_arena_memdup(&p->scratch, p->step_workspace.data, n * sizeof *workspaces);
    if (!steps || !workspaces)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < n; i++) {
        p->steps.data[i] = steps[order[i]];
        p->step_workspace.data[i] = workspaces[order[i]];
    }
    return TC_OK;
}
