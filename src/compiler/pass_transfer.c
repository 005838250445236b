/*
 * Copies values to the devices that need them: a node "transfer" in the device of the reader, once
 * per value and device, before the first reader. Constants and views are repeated there instead,
 * as they take no time. Between devices of different types the CPU is on the way; fetches end on
 * it. Dtypes may have changed since nodes got their devices, so kernels are looked for again first.
 */
#include "compiler/placement.h"

typedef struct mover {
    tc_pass_context *pass;
    int32_t n_devices;
    TC_VECTOR(int32_t) slots; /* per new node: its first place in `there`, -1 */
    TC_VECTOR(tc_edge) there; /* per output and device: the value on it, node -1: not yet */
    TC_VECTOR(tc_edge) views; /* to repeat */
} mover;

static bool is_mixed(const tc_pass_context *pass)
{
    for (size_t i = 0; i < pass->graph->nodes.count; i++)
        if (!tc_ir_on_cpu(pass->graph->nodes.data[i]))
            return true;
    return false;
}

static tc_node *node_of(const mover *m, tc_edge edge)
{
    return m->pass->graph->nodes.data[edge.node];
}

/* Where the value on `device` is noted, NULL when memory is exhausted. */
static tc_edge *note_of(mover *m, tc_edge edge, int32_t device)
{
    while (m->slots.count <= (size_t)edge.node)
        if (!tc_vector_push(&m->slots, -1))
            return NULL;
    int32_t *slot = &m->slots.data[edge.node];
    if (*slot < 0) {
        *slot = (int32_t)m->there.count;
        for (int32_t i = 0; i < node_of(m, edge)->n_outputs * m->n_devices; i++)
            if (!tc_vector_push(&m->there, TC_NO_EDGE))
                return NULL;
    }
    return &m->there.data[*slot + edge.output * m->n_devices + device];
}

/* Appends a node that brings `edge` to `device`: a constant again, a view of `input`, or a copy. */
static tc_status bring(mover *m, tc_edge edge, tc_edge input, int32_t device, tc_edge *out)
{
    tc_pass_context *pass = m->pass;
    tc_node *from = node_of(m, edge), *node = NULL;
    if (tc_node_is(from, "constant") || tc_node_is_view(from)) {
        node = tc_ir_copy(pass, from);
        if (!node)
            return TC_RESOURCE_EXHAUSTED;
        if (tc_node_is_view(from))
            node->inputs[0] = input;
        TC_TRY(tc_placement_put(pass, node, device, "for its readers"));
        TC_TRY(tc_ir_append(pass, node));
        *out = (tc_edge){node->index, edge.output};
    } else {
        TC_TRY(tc_ir_make(pass, from, "transfer", &edge, 1, NULL, 0, out));
        node = node_of(m, *out);
        TC_TRY(tc_placement_put(pass, node, device, "a copy for its readers"));
    }
    tc_edge *note = note_of(m, edge, device);
    if (!note)
        return tc_compiler_exhausted();
    *note = *out;
    return TC_OK;
}

/* The value of new edge `*edge` on `device`, to which a device of its type or the CPU copies it. */
static tc_status move_directly(mover *m, tc_edge *edge, int32_t device)
{
    tc_edge at = *edge, out = TC_NO_EDGE;
    m->views.count = 0;
    while (node_of(m, at)->device != device) {
        const tc_edge *note = note_of(m, at, device);
        if (!note)
            return tc_compiler_exhausted();
        out = *note;
        if (out.node >= 0)
            break;
        if (!tc_node_is_view(node_of(m, at))) {
            TC_TRY(bring(m, at, TC_NO_EDGE, device, &out));
            break;
        }
        if (!tc_vector_push(&m->views, at))
            return tc_compiler_exhausted();
        at = node_of(m, at)->inputs[0];
    }
    out = out.node < 0 ? at : out;
    while (m->views.count > 0)
        TC_TRY(bring(m, m->views.data[--m->views.count], out, device, &out));
    *edge = out;
    return TC_OK;
}

/* Backends know no devices but their own. */
static bool are_strangers(const mover *m, int32_t a, int32_t b)
{
    const tc_target *target = m->pass->target;
    int32_t index;
    return a && b &&
           target->device_type(target, a, &index) != target->device_type(target, b, &index);
}

/* The value of new edge `*edge` on `device`. */
static tc_status move(mover *m, tc_edge *edge, int32_t device)
{
    if (are_strangers(m, node_of(m, *edge)->device, device))
        TC_TRY(move_directly(m, edge, 0));
    return move_directly(m, edge, device);
}

static tc_status keep(mover *m, tc_node *node, int32_t old)
{
    tc_ir_renumber(m->pass, node);
    for (int32_t k = 0; k < node->n_inputs && !tc_node_is_idle(node); k++)
        if (tc_node_reads(node, k) && !(k > 0 && tc_node_is_view(node)))
            TC_TRY(move(m, &node->inputs[k], node->device));
    return tc_ir_keep(m->pass, node, old);
}

static tc_status transfer(mover *m)
{
    tc_pass_context *pass = m->pass;
    tc_program *program = pass->program;
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++)
        status = keep(m, pass->old[i], i);
    status = tc_ir_end(pass, status);
    for (int32_t i = 0; i < program->n_fetches && status == TC_OK; i++)
        status = move(m, &program->fetches[i], 0);
    return status;
}

static tc_status settle(tc_pass_context *pass)
{
    tc_placement_work work;
    tc_status status = tc_placement_begin(pass, &work);
    if (status == TC_OK)
        status = tc_placement_settle(&work);
    if (status == TC_OK)
        status = tc_placement_move_views(&work);
    tc_placement_end(&work);
    return status;
}

tc_status tc_pass_transfer(tc_pass_context *pass)
{
    mover m = {.pass = pass, .n_devices = pass->target->device_count};
    if (m.n_devices == 1 || !is_mixed(pass))
        return TC_OK;
    tc_status status = settle(pass);
    if (status == TC_OK)
        status = transfer(&m);
    tc_vector_free(&m.slots);
    tc_vector_free(&m.there);
    tc_vector_free(&m.views);
    return status;
}
