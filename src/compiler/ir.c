/* What passes are written with: see pass.h. */
#include <stdio.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/infer.h"
#include "core/registry.h"
#include "core/shape.h"

/* Beyond this a program is the work of functions that call each other, not of anybody who means it.
 */
#define MAX_NODES ((size_t)1 << 26)

tc_status tc_compiler_exhausted(void)
{
    return tc_fail(TC_RESOURCE_EXHAUSTED, "out of memory while compiling");
}

tc_status tc_ir_map(tc_pass_context *pass, tc_node *const *nodes, size_t count)
{
    size_t n_edges = 0;
    for (size_t i = 0; i < count; i++)
        n_edges += (size_t)nodes[i]->n_outputs;
    pass->n_old = 0;
    pass->old = tc_alloc_zero(count, sizeof *pass->old);
    pass->first = tc_alloc_zero(count + 1, sizeof *pass->first);
    pass->places = tc_alloc_zero(count, sizeof *pass->places);
    pass->edges = tc_alloc_zero(n_edges, sizeof *pass->edges);
    if (!pass->old || !pass->first || !pass->places || !pass->edges || n_edges > INT32_MAX)
        return tc_compiler_exhausted();
    if (count)
        memcpy(pass->old, nodes, count * sizeof(tc_node *));
    for (size_t i = 0; i < count; i++) {
        pass->first[i + 1] = pass->first[i] + nodes[i]->n_outputs;
        pass->places[i] = -1;
    }
    for (size_t i = 0; i < n_edges; i++)
        pass->edges[i] = TC_NO_EDGE;
    pass->n_old = (int32_t)count;
    return TC_OK;
}

void tc_ir_unmap(tc_pass_context *pass)
{
    tc_free(pass->old);
    tc_free(pass->first);
    tc_free(pass->places);
    tc_free(pass->edges);
    pass->old = NULL;
    pass->first = pass->places = NULL;
    pass->edges = NULL;
    pass->n_old = 0;
}

tc_status tc_ir_begin(tc_pass_context *pass, tc_node *const *nodes, size_t count)
{
    TC_TRY(tc_ir_map(pass, nodes, count));
    pass->graph->nodes.count = 0;
    return TC_OK;
}

tc_edge tc_ir_new_edge(const tc_pass_context *pass, tc_edge old)
{
    return old.node < 0 ? TC_NO_EDGE : pass->edges[pass->first[old.node] + old.output];
}

tc_status tc_ir_end(tc_pass_context *pass, tc_status status)
{
    tc_program *program = pass->program;
    if (status == TC_OK) {
        for (int32_t i = 0; i < program->n_feeds; i++)
            program->feeds[i] = tc_ir_new_edge(pass, program->feeds[i]);
        for (int32_t i = 0; i < program->n_fetches; i++)
            program->fetches[i] = tc_ir_new_edge(pass, program->fetches[i]);
        int32_t kept = 0;
        for (int32_t i = 0; i < program->n_targets; i++) {
            int32_t place = pass->places[program->targets[i]];
            if (place >= 0)
                program->targets[kept++] = place;
        }
        program->n_targets = kept;
    }
    tc_ir_unmap(pass);
    return status;
}

void tc_ir_renumber(const tc_pass_context *pass, tc_node *node)
{
    for (int32_t i = 0; i < node->n_inputs; i++)
        node->inputs[i] = tc_ir_new_edge(pass, node->inputs[i]);
    int32_t kept = 0;
    for (int32_t i = 0; i < node->n_controls; i++) {
        int32_t place = pass->places[node->controls[i]];
        if (place >= 0)
            node->controls[kept++] = place;
    }
    node->n_controls = kept;
}

tc_status tc_ir_append(tc_pass_context *pass, tc_node *node)
{
    if (pass->graph->nodes.count >= MAX_NODES)
        return tc_fail(TC_RESOURCE_EXHAUSTED, "the program has more than %zu nodes", MAX_NODES);
    node->index = (int32_t)pass->graph->nodes.count;
    return tc_vector_push(&pass->graph->nodes, node) ? TC_OK : tc_compiler_exhausted();
}

tc_status tc_ir_keep(tc_pass_context *pass, tc_node *node, int32_t old)
{
    TC_TRY(tc_ir_append(pass, node));
    pass->places[old] = node->index;
    for (int32_t i = 0; i < node->n_outputs; i++)
        pass->edges[pass->first[old] + i] = (tc_edge){node->index, i};
    return TC_OK;
}

void tc_ir_forward(tc_pass_context *pass, int32_t old, int32_t output, tc_edge edge)
{
    pass->edges[pass->first[old] + output] = edge;
    if (output == 0)
        pass->places[old] = edge.node;
}

/* A node is needed for what it does, whoever reads it: extract has dropped those that nobody asked
 * for. */
static bool has_effect(const tc_node *node)
{
    return tc_node_writes(node) || tc_node_reaches_outside(node);
}

void tc_ir_mark(tc_node *const *nodes, int32_t count, bool *live)
{
    for (int32_t i = count - 1; i >= 0; i--) {
        const tc_node *node = nodes[i];
        live[i] = live[i] || has_effect(node);
        for (int32_t k = 0; live[i] && k < node->n_inputs; k++)
            if (node->inputs[k].node >= 0 && !(tc_input_flags(node, k) & TC_PORT_INITIAL))
                live[node->inputs[k].node] = true;
        for (int32_t k = 0; live[i] && k < node->n_controls; k++)
            live[node->controls[k]] = true;
    }
}

static void mark_program(const tc_pass_context *pass, bool *live)
{
    const tc_program *program = pass->program;
    for (int32_t i = 0; i < program->n_fetches; i++)
        live[program->fetches[i].node] = true;
    for (int32_t i = 0; i < program->n_targets; i++)
        live[program->targets[i]] = true;
    tc_ir_mark(pass->old, pass->n_old, live);
}

void tc_ir_count_uses(const tc_pass_context *pass, int32_t *uses)
{
    const tc_program *program = pass->program;
    for (int32_t i = 0; i < pass->n_old; i++) {
        const tc_node *node = pass->old[i];
        for (int32_t k = 0; k < node->n_inputs; k++) {
            int32_t input = node->inputs[k].node;
            if (input >= 0 && !(tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY))
                uses[input] += pass->old[input]->device == node->device ? 1 : TC_IR_PINNED;
        }
        /* What stands in an order of its own stays. */
        for (int32_t k = 0; k < node->n_controls; k++)
            uses[node->controls[k]] += TC_IR_PINNED;
        if (node->n_controls > 0)
            uses[i] += TC_IR_PINNED;
    }
    for (int32_t i = 0; i < program->n_fetches; i++)
        uses[program->fetches[i].node] += TC_IR_PINNED;
    for (int32_t i = 0; i < program->n_targets; i++)
        uses[program->targets[i]] += TC_IR_PINNED;
}

tc_status tc_ir_prune(tc_pass_context *pass)
{
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    bool *live = status == TC_OK ? tc_alloc_zero((size_t)pass->n_old, 1) : NULL;
    if (status == TC_OK && !live)
        status = tc_compiler_exhausted();
    if (status == TC_OK)
        mark_program(pass, live);
    for (int32_t i = 0; status == TC_OK && i < pass->n_old; i++) {
        if (!live[i])
            continue;
        tc_ir_renumber(pass, pass->old[i]);
        status = tc_ir_keep(pass, pass->old[i], i);
    }
    tc_free(live);
    return tc_ir_end(pass, status);
}

tc_status tc_ir_infer(tc_pass_context *pass, tc_node *node)
{
    tc_arena *arena = &pass->graph->arena;
    char message[TC_INFER_MESSAGE_SIZE], where[512];
    tc_value_info *inputs = tc_alloc_zero((size_t)node->n_inputs, sizeof *inputs), *outputs;
    if (!inputs)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i].node >= 0)
            inputs[i] = *tc_edge_info(pass->graph, node->inputs[i]);
    int32_t n_outputs;
    tc_status status = tc_graph_infer(pass->source, &node->attrs, inputs, node->n_inputs, arena,
                                      &outputs, &n_outputs, message);
    tc_free(inputs);
    if (status == TC_OK && n_outputs != node->n_outputs) {
        status = TC_INVALID_ARGUMENT;
        snprintf(message, sizeof message, "has %d outputs here, but %d where it was built",
                 (int)n_outputs, (int)node->n_outputs);
    }
    if (status != TC_OK)
        return tc_fail(status, "%s: %s", tc_node_describe(node, where, sizeof where), message);
    node->outputs = outputs;
    return TC_OK;
}

tc_node *tc_ir_copy(tc_pass_context *pass, const tc_node *node)
{
    tc_arena *arena = &pass->graph->arena;
    tc_node *copy = tc_arena_memdup(arena, node, sizeof *node);
    if (copy) {
        copy->inputs =
            tc_arena_memdup(arena, node->inputs, (size_t)node->n_inputs * sizeof *node->inputs);
        copy->controls = tc_arena_memdup(arena, node->controls,
                                         (size_t)node->n_controls * sizeof *node->controls);
        copy->outputs =
            tc_arena_memdup(arena, node->outputs, (size_t)node->n_outputs * sizeof *node->outputs);
    }
    if (!copy || !copy->inputs || !copy->controls || !copy->outputs) {
        (void)tc_compiler_exhausted();
        return NULL;
    }
    return copy;
}

/* Attribute values of a new node: those given, whose arrays are copied, and defaults. */
static tc_attr *attr_values(tc_pass_context *pass, const tc_op *op, const tc_attr_arg *attrs,
                            size_t n_attrs)
{
    tc_arena *arena = &pass->graph->arena;
    tc_attr *values = tc_arena_array(arena, (size_t)op->n_attrs, sizeof *values);
    for (int16_t i = 0; values && i < op->n_attrs; i++)
        values[i] = op->attrs[i].fallback;
    for (size_t i = 0; values && i < n_attrs; i++) {
        tc_attr value = attrs[i].value;
        if (value.type == TC_ATTR_INTS)
            value.ints =
                tc_arena_memdup(arena, value.ints, (size_t)value.count * sizeof *value.ints);
        else if (value.type == TC_ATTR_SHAPE)
            value.shape = tc_arena_memdup(arena, value.shape, sizeof *value.shape);
        if ((value.type == TC_ATTR_INTS && !value.ints) ||
            (value.type == TC_ATTR_SHAPE && !value.shape))
            return NULL;
        values[tc_op_attr_index(op, attrs[i].name)] = value;
    }
    return values;
}

const tc_op *tc_ir_op(const tc_pass_context *pass, const char *name)
{
    const tc_op *op = tc_registry_find_op(pass->graph->registry, name);
    if (!op)
        (void)tc_fail(TC_INTERNAL, "the registry has no operator '%s'", name);
    return op;
}

tc_status tc_ir_become(tc_pass_context *pass, tc_node *node, const char *op_name,
                       const tc_edge *inputs, size_t n_inputs, const tc_attr_arg *attrs,
                       size_t n_attrs)
{
    const tc_op *op = tc_ir_op(pass, op_name);
    if (!op)
        return TC_INTERNAL;
    tc_attr *values = attr_values(pass, op, attrs, n_attrs);
    tc_edge *edges = tc_arena_memdup(&pass->graph->arena, inputs, n_inputs * sizeof *inputs);
    if (!values || !edges)
        return tc_compiler_exhausted();
    node->attrs = (tc_attrs){op, values};
    node->inputs = edges;
    node->n_inputs = (int32_t)n_inputs;
    return TC_OK;
}

tc_status tc_ir_make(tc_pass_context *pass, const tc_node *like, const char *op,
                     const tc_edge *inputs, size_t n_inputs, const tc_attr_arg *attrs,
                     size_t n_attrs, tc_edge *out)
{
    tc_node *node = tc_arena_alloc(&pass->graph->arena, sizeof *node);
    if (!node)
        return tc_compiler_exhausted();
    *node = (tc_node){.name = like->name,
                      .notes = like->notes,
                      .at = like->at,
                      .n_outputs = 1,
                      .device = like->device,
                      .reason = like->reason};
    TC_TRY(tc_ir_become(pass, node, op, inputs, n_inputs, attrs, n_attrs));
    TC_TRY(tc_ir_infer(pass, node));
    TC_TRY(tc_ir_append(pass, node));
    *out = (tc_edge){node->index, 0};
    return TC_OK;
}

tc_node *tc_ir_source(tc_pass_context *pass, const char *op_name, const tc_node *like,
                      int32_t output, const tc_attr_arg *attrs, size_t n_attrs)
{
    tc_arena *arena = &pass->graph->arena;
    const tc_op *op = tc_ir_op(pass, op_name);
    if (!op)
        return NULL;
    tc_node *node = tc_arena_alloc(arena, sizeof *node);
    tc_attr *values = attr_values(pass, op, attrs, n_attrs);
    tc_value_info *info = tc_arena_memdup(arena, &like->outputs[output], sizeof *info);
    size_t size = strlen(like->name) + 16;
    char *name = like->n_outputs > 1 ? tc_arena_alloc(arena, size) : (char *)like->name;
    if (!node || !values || !info || !name) {
        (void)tc_compiler_exhausted();
        return NULL;
    }
    if (like->n_outputs > 1)
        snprintf(name, size, "%s_output_%d", like->name, (int)output);
    *node = (tc_node){
        .attrs = {op, values},
        .name = name,
        .outputs = info,
        .n_outputs = 1,
        .notes = like->notes,
        .at = like->at,
        .device = like->device,
        .reason = like->reason,
    };
    return node;
}

tc_node *tc_ir_constant(tc_pass_context *pass, const tc_node *like, int32_t output,
                        tc_tensor *tensor)
{
    if (!tc_vector_push(&pass->graph->tensors, tensor)) {
        (void)tc_compiler_exhausted();
        return NULL;
    }
    tc_tensor_retain(tensor);
    const tc_attr_arg attr = {"tensor", tc_attr_tensor(tensor)};
    tc_node *node = tc_ir_source(pass, "constant", like, output, &attr, 1);
    if (node)
        node->outputs[0].shape = *tc_tensor_shape(tensor);
    return node;
}

tc_status tc_ir_set_attr(tc_pass_context *pass, tc_node *node, const char *name, tc_attr value)
{
    const tc_op *op = node->attrs.op;
    tc_attr *values = tc_arena_memdup(&pass->graph->arena, node->attrs.values,
                                      (size_t)op->n_attrs * sizeof *values);
    if (!values)
        return tc_compiler_exhausted();
    values[tc_op_attr_index(op, name)] = value;
    node->attrs.values = values;
    return TC_OK;
}

const char *tc_node_note(const tc_node *node, const char *key)
{
    for (const tc_note *note = node->notes; note; note = note->next)
        if (strcmp(note->key, key) == 0)
            return note->text;
    return NULL;
}

bool tc_node_same_device(const tc_node *a, const tc_node *b)
{
    if (a->device >= 0 || b->device >= 0)
        return a->device == b->device;
    const char *x = tc_node_note(a, "device"), *y = tc_node_note(b, "device");
    return x == y || (x && y && strcmp(x, y) == 0);
}

uint32_t tc_input_flags(const tc_node *node, int32_t index)
{
    return tc_op_input_flags(node->attrs.op, index, node->n_outputs);
}

bool tc_node_is_identity(const tc_node *node)
{
    return tc_node_is(node, "placeholder") || tc_node_is(node, "variable") ||
           tc_node_is(node, "parameter");
}

bool tc_node_is_source(const tc_node *node)
{
    return tc_node_is_identity(node) || tc_node_is(node, "constant");
}

bool tc_node_is_view(const tc_node *node)
{
    const tc_op *op = node->attrs.op;
    return op->flags & TC_OP_VIEW && !op->effects && node->n_outputs == 1 && node->n_inputs > 0 &&
           tc_node_reads(node, 0);
}

bool tc_node_writes(const tc_node *node)
{
    return (node->attrs.op->effects & TC_EFFECT_WRITE) != 0;
}

bool tc_node_reaches_outside(const tc_node *node)
{
    return (node->attrs.op->effects & (TC_EFFECT_IO | TC_EFFECT_COLLECTIVE)) != 0;
}

bool tc_node_is_idle(const tc_node *node)
{
    return node->n_outputs == 0 && !has_effect(node);
}

bool tc_node_reads(const tc_node *node, int32_t input)
{
    return node->inputs[input].node >= 0 &&
           !(tc_input_flags(node, input) & (TC_PORT_SHAPE_ONLY | TC_PORT_INITIAL));
}

bool tc_ir_has_kernel(const tc_pass_context *pass, const tc_node *node, const char *op,
                      tc_dtype dtype)
{
    return pass->target->find_kernel(pass->target, node->device, op, dtype) != NULL;
}

bool tc_info_same(const tc_value_info *a, const tc_value_info *b)
{
    if (a->dtype != b->dtype || a->shape.rank != b->shape.rank)
        return false;
    for (int32_t i = 0; i < a->shape.rank; i++)
        if (!tc_dim_same(a->shape.dims[i], b->shape.dims[i]))
            return false;
    return true;
}
