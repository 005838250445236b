/*
 * Steps of an optimizer whose attributes, learning rate and number agree become one operation on
 * all their parameters: a single loop over all elements, the same bits. A step is merged when
 * nobody reads the new content before the run ends, and stands where the last of its group stood,
 * or before the first node that must run after one of them.
 */
#include <string.h>

#include "compiler/pass.h"
#include "core/registry.h"

/* Parameters of one operation: enough that its own cost vanishes. */
#define MAX_MEMBERS 64

static const struct {
    const char *op, *merged;
    int32_t slots;
} kinds[] = {{"apply_sgd", "apply_sgd_all", 0},
             {"apply_momentum", "apply_momentum_all", 1},
             {"apply_adam", "apply_adam_all", 2}};

/* Operands that are arrays: parameter, slots and gradient. */
enum { KINDS = sizeof kinds / sizeof kinds[0], MAX_ATTRS = 4, MAX_OPERANDS = 4, MAX_SCALARS = 3 };

/* What the members of a group have in common; compared as bytes. */
typedef struct group_key {
    const tc_op *op;
    int32_t device;
    double attrs[MAX_ATTRS];
    tc_edge scalars[MAX_SCALARS];
    int32_t n_scalars;
    int32_t dtypes[MAX_OPERANDS];
} group_key;

typedef struct group {
    int32_t kind;
    int32_t count;
    int32_t first, last; /* members: old nodes, in order */
} group;

typedef struct merger {
    tc_pass_context *pass;
    const tc_op *ops[KINDS];
    bool *read;        /* per old node: somebody reads an output */
    int32_t *group_of; /* per old node: the group that it waits in, -1 */
    int32_t *next;     /* per old node: the next member of its group */
    tc_map keys;       /* group_key -> index of its open group */
    TC_VECTOR(group) groups;
} merger;

static void find_readers(merger *m)
{
    const tc_program *program = m->pass->program;
    for (int32_t i = 0; i < m->pass->n_old; i++) {
        const tc_node *node = m->pass->old[i];
        m->group_of[i] = -1;
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (node->inputs[k].node >= 0)
                m->read[node->inputs[k].node] = true;
    }
    for (int32_t i = 0; i < program->n_fetches; i++)
        m->read[program->fetches[i].node] = true;
}

/* The kind of step that a node is when it may be merged, -1 otherwise. */
static int32_t kind_of(const merger *m, const tc_node *node)
{
    int32_t kind = 0;
    while (kind < KINDS && node->attrs.op != m->ops[kind])
        kind++;
    if (kind == KINDS || m->read[node->index] || node->n_controls > 0 ||
        !tc_ir_has_kernel(m->pass, node, kinds[kind].merged, node->outputs[0].dtype))
        return -1;
    for (int32_t k = 0; k <= kinds[kind].slots; k++)
        if (!tc_node_is(m->pass->old[node->inputs[k].node], "variable"))
            return -1;
    return kind;
}

/* Inputs behind the operands: learning rate, number of the step, whether it is taken. */
static int32_t scalars_of(const tc_node *node, int32_t kind)
{
    int32_t n = node->n_inputs - (kinds[kind].slots + 2);
    return n > 0 && node->inputs[node->n_inputs - 1].node < 0 ? n - 1 : n;
}

static void key_of(const merger *m, const tc_node *node, int32_t kind, group_key *key)
{
    memset(key, 0, sizeof *key); /* padding too */
    key->op = node->attrs.op;
    key->device = node->device;
    for (int16_t i = 0; i < key->op->n_attrs && i < MAX_ATTRS; i++) {
        const tc_attr *attr = &node->attrs.values[i];
        key->attrs[i] = attr->type == TC_ATTR_BOOL ? attr->b : attr->f;
    }
    int32_t operands = kinds[kind].slots + 2;
    for (int32_t k = 0; k < operands; k++) {
        tc_edge edge = node->inputs[k];
        key->dtypes[k] = (int32_t)m->pass->old[edge.node]->outputs[edge.output].dtype;
    }
    key->n_scalars = scalars_of(node, kind);
    for (int32_t k = 0; k < key->n_scalars; k++)
        key->scalars[k] = node->inputs[operands + k];
}

static tc_status keep(tc_pass_context *pass, int32_t old)
{
    tc_ir_renumber(pass, pass->old[old]);
    return tc_ir_keep(pass, pass->old[old], old);
}

/* Operands of the merged node: the first of every member, then the second, ... then the scalars. */
static tc_status make(merger *m, const group *g, tc_node **out)
{
    tc_pass_context *pass = m->pass;
    const tc_node *like = pass->old[g->first];
    const tc_op *op = like->attrs.op;
    int32_t operands = kinds[g->kind].slots + 2, n = 0;
    tc_edge inputs[MAX_MEMBERS * MAX_OPERANDS + MAX_SCALARS];
    tc_attr_arg attrs[MAX_ATTRS];
    for (int32_t k = 0; k < operands; k++)
        for (int32_t i = 0, at = g->first; i < g->count; i++, at = m->next[at])
            inputs[n++] = tc_ir_new_edge(pass, pass->old[at]->inputs[k]);
    for (int32_t k = 0; k < scalars_of(like, g->kind); k++)
        inputs[n++] = tc_ir_new_edge(pass, like->inputs[operands + k]);
    for (int16_t i = 0; i < op->n_attrs; i++)
        attrs[i] = (tc_attr_arg){op->attrs[i].name, like->attrs.values[i]};
    tc_node *node = tc_arena_alloc(&pass->graph->arena, sizeof *node);
    if (!node)
        return tc_compiler_exhausted();
    *node = (tc_node){.name = like->name,
                      .notes = like->notes,
                      .at = like->at,
                      .device = like->device,
                      .reason = like->reason};
    node->n_outputs = g->count * (1 + kinds[g->kind].slots);
    TC_TRY(tc_ir_become(pass, node, kinds[g->kind].merged, inputs, (size_t)n, attrs,
                        (size_t)op->n_attrs));
    TC_TRY(tc_ir_infer(pass, node));
    *out = node;
    return tc_ir_append(pass, node);
}

/* Puts a group into the program; it takes no more members. */
static tc_status flush(merger *m, group *g)
{
    tc_pass_context *pass = m->pass;
    tc_node *node = NULL;
    if (g->count == 1)
        TC_TRY(keep(pass, g->first));
    else if (g->count > 1)
        TC_TRY(make(m, g, &node));
    for (int32_t i = 0, at = g->first; i < g->count; i++, at = m->next[at]) {
        m->group_of[at] = -1;
        for (int32_t k = 0; node && k <= kinds[g->kind].slots; k++)
            tc_ir_forward(pass, at, k, (tc_edge){node->index, k * g->count + i});
    }
    pass->changes += g->count > 1;
    g->count = 0;
    return TC_OK;
}

static tc_status add(merger *m, const tc_node *node, int32_t kind)
{
    group_key key, *kept;
    key_of(m, node, kind, &key);
    const uint64_t *found = tc_map_find(&m->keys, &key, sizeof key);
    uint64_t index = found ? *found : m->groups.count;
    if (!found) {
        kept = tc_arena_memdup(&m->pass->graph->arena, &key, sizeof key);
        if (!kept || !tc_map_put(&m->keys, kept, sizeof *kept, index) ||
            !tc_vector_push(&m->groups, (group){.kind = kind}))
            return tc_compiler_exhausted();
    }
    group *g = &m->groups.data[index];
    if (g->count++ == 0)
        g->first = node->index;
    else
        m->next[g->last] = node->index;
    g->last = node->index;
    m->group_of[node->index] = (int32_t)index;
    return g->count == MAX_MEMBERS ? flush(m, g) : TC_OK;
}

static tc_status merge(merger *m)
{
    tc_pass_context *pass = m->pass;
    for (int32_t i = 0; i < pass->n_old; i++) {
        const tc_node *node = pass->old[i];
        int32_t kind = kind_of(m, node);
        if (kind >= 0) {
            TC_TRY(add(m, node, kind));
            continue;
        }
        for (int32_t k = 0; k < node->n_controls; k++)
            if (m->group_of[node->controls[k]] >= 0)
                TC_TRY(flush(m, &m->groups.data[m->group_of[node->controls[k]]]));
        TC_TRY(keep(pass, i));
    }
    for (size_t i = 0; i < m->groups.count; i++)
        TC_TRY(flush(m, &m->groups.data[i]));
    return TC_OK;
}

tc_status tc_pass_merge_updates(tc_pass_context *pass)
{
    /* Where results are looked at, messages name the parameter. */
    if (!pass->program->writes || pass->program->commit_copies)
        return TC_OK;
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    size_t n = (size_t)pass->n_old;
    merger m = {.pass = pass,
                .read = tc_alloc_zero(n, sizeof *m.read),
                .group_of = tc_alloc_zero(n, sizeof *m.group_of),
                .next = tc_alloc_zero(n, sizeof *m.next)};
    for (int32_t k = 0; k < KINDS; k++)
        m.ops[k] = tc_registry_find_op(pass->graph->registry, kinds[k].op);
    if (status == TC_OK && (!m.read || !m.group_of || !m.next))
        status = tc_compiler_exhausted();
    if (status == TC_OK) {
        find_readers(&m);
        status = merge(&m);
    }
    tc_free(m.read);
    tc_free(m.group_of);
    tc_free(m.next);
    tc_map_free(&m.keys);
    tc_vector_free(&m.groups);
    return tc_ir_end(pass, status);
}
