#include <string.h>

#include "core/shape.h"
#include "serialize/saved_model.h"

/*
 * Signatures
 */
static tc_status read_port(const tc_records *records, const tc_record *record,
                           const Tensorc__Signature *signature, const Tensorc__Port *port,
                           tc_saved_model *model, tc_signature_port *out)
{
    const uint64_t *index = tc_map_find_string(&model->graph->names, port->node);
    const tc_node *node = index ? tc_graph_node_at(model->graph, (int32_t)*index) : NULL;
    if (!node || port->output >= (uint32_t)node->n_outputs)
        return tc_records_fail(records, record->offset,
                               "signature '%.60s': port '%.60s' is output %u of node '%.200s', "
                               "which there is not",
                               signature->name, port->name, (unsigned)port->output, port->node);
    const tc_value_info *info = &node->outputs[port->output];
    tc_shape shape;
    if (!port->shape || !tc_shape_from_message(port->shape, &shape) ||
        (uint32_t)port->dtype != (uint32_t)info->dtype ||
        !tc_shape_compatible(&shape, &info->shape))
        return tc_records_fail(
            records, record->offset,
            "signature '%.60s': dtype and shape of port '%.60s' are not those of "
            "node '%.200s'",
            signature->name, port->name, port->node);
    out->value = tc_edge_value(model->graph, (tc_edge){node->index, (int32_t)port->output});
    out->name = tc_arena_strdup(&model->arena, port->name);
    return out->name ? TC_OK : tc_fail_memory(model->arena.bytes, "loading a model");
}

static tc_status read_ports(const tc_records *records, const tc_record *record,
                            const Tensorc__Signature *signature, Tensorc__Port *const *ports,
                            size_t count, tc_saved_model *model, const tc_signature_port **out)
{
    tc_signature_port *list = tc_arena_array(&model->arena, count, sizeof *list);
    *out = list;
    if (!list)
        return tc_fail_memory(model->arena.bytes, "loading a model");
    for (size_t i = 0; i < count; i++)
        TC_TRY(read_port(records, record, signature, ports[i], model, &list[i]));
    return TC_OK;
}

static tc_status read_signature(const tc_records *records, const tc_record *record,
                                tc_arena *scratch, tc_saved_model *model)
{
    Tensorc__Signature *message;
    TC_TRY(tc_records_unpack(records, record, &tensorc__signature__descriptor, scratch, &message));
    tc_signature *signature = &model->signatures[model->n_signatures];
    signature->n_inputs = message->n_inputs;
    signature->n_outputs = message->n_outputs;
    signature->name = tc_arena_strdup(&model->arena, message->name);
    if (!signature->name)
        return tc_fail_memory(model->arena.bytes, "loading a model");
    if (!signature->name[0] || tc_saved_model_find(model, signature->name))
        return tc_records_fail(records, record->offset, "two signatures are called '%.200s'",
                               signature->name);
    if (message->n_outputs == 0)
        return tc_records_fail(records, record->offset, "signature '%.200s' has no outputs",
                               signature->name);
    TC_TRY(read_ports(records, record, message, message->inputs, message->n_inputs, model,
                      &signature->inputs));
    TC_TRY(read_ports(records, record, message, message->outputs, message->n_outputs, model,
                      &signature->outputs));
    for (size_t i = 0; i < signature->n_inputs; i++)
        if (strcmp(tc_value_op(signature->inputs[i].value), "placeholder") != 0)
            return tc_records_fail(records, record->offset,
                                   "signature '%.60s': input '%.60s' is no placeholder",
                                   signature->name, signature->inputs[i].name);
    model->n_signatures++;
    return TC_OK;
}

static tc_status read_signatures(const tc_records *records, const tc_graph_parts *parts,
                                 tc_saved_model *model)
{
    size_t count = parts->signatures.count;
    model->signatures = tc_arena_array(&model->arena, count, sizeof *model->signatures);
    if (!model->signatures)
        return tc_fail_memory(model->arena.bytes, "loading a model");
    tc_arena scratch = {0};
    tc_status status = TC_OK;
    for (size_t i = 0; i < count && status == TC_OK; i++)
        status = read_signature(records, &parts->signatures.data[i], &scratch, model);
    tc_arena_free(&scratch);
    return status;
}

/*
 * Variables
 */
static tc_status check_variable(const tc_records *records, const tc_stored_tensor *stored,
                                const tc_graph *graph, bool *seen)
{
    const uint64_t *index = tc_map_find_string(&graph->names, stored->name);
    const tc_node *node = index ? tc_graph_node_at(graph, (int32_t)*index) : NULL;
    if (!node || !tc_node_is(node, "variable") || seen[*index])
        return tc_records_fail(records, stored->first.offset,
                               "tensor '%.200s' is no variable of the graph, or there twice",
                               stored->name);
    seen[*index] = true;
    char file[TC_SHAPE_TEXT_SIZE], wanted[TC_SHAPE_TEXT_SIZE];
    if (stored->dtype != node->outputs[0].dtype ||
        !tc_shape_equal(&stored->shape, &node->outputs[0].shape))
        return tc_records_fail(
            records, stored->first.offset, "tensor '%.200s' is %s %s, but the variable is %s %s",
            stored->name, tc_dtype_name(stored->dtype), tc_shape_text(&stored->shape, file),
            tc_dtype_name(node->outputs[0].dtype), tc_shape_text(&node->outputs[0].shape, wanted));
    return TC_OK;
}

static tc_status read_variables(const tc_records *records, const tc_graph_parts *parts,
                                tc_saved_model *model)
{
    size_t count = parts->variables.count, nodes = model->graph->nodes.count;
    model->names = tc_arena_array(&model->arena, count, sizeof *model->names);
    model->tensors = tc_arena_array(&model->arena, count, sizeof *model->tensors);
    bool *seen = tc_arena_array(&model->arena, nodes, sizeof *seen);
    if (!model->names || !model->tensors || !seen)
        return tc_fail_memory(model->arena.bytes, "loading a model");
    for (size_t i = 0; i < count; i++) {
        const tc_stored_tensor *stored = &parts->variables.data[i];
        TC_TRY(check_variable(records, stored, model->graph, seen));
        if (!(model->names[i] = tc_arena_strdup(&model->arena, stored->name)))
            return tc_fail_memory(model->arena.bytes, "loading a model");
        TC_TRY(tc_stored_tensor_get(records, stored, &model->tensors[i]));
        model->n_variables++;
    }
    for (size_t i = 0; i < nodes; i++) {
        const tc_node *node = model->graph->nodes.data[i];
        if (tc_node_is(node, "variable") && !seen[i])
            return tc_records_fail(records, parts->graph.offset,
                                   "the file has no tensor for variable '%.200s'", node->name);
    }
    return TC_OK;
}

/*
 * Models
 */
static tc_status read_model(const tc_records *records, tc_registry *registry, tc_saved_model *model)
{
    tc_graph_parts parts;
    TC_TRY(tc_graph_parts_read(records, &parts));
    tc_status status = tc_graph_get(records, &parts.graph, parts.constants.data,
                                    parts.constants.count, registry, &model->graph);
    if (status == TC_OK)
        status = read_variables(records, &parts, model);
    if (status == TC_OK)
        status = read_signatures(records, &parts, model);
    tc_graph_parts_free(&parts);
    return status;
}

tc_status tc_saved_model_load(const char *path, tc_registry *registry, tc_saved_model **out)
{
    if (!path || !out)
        return tc_fail(TC_INVALID_ARGUMENT, "loading a model: %s is NULL", path ? "out" : "path");
    *out = NULL;
    tc_records records;
    TC_TRY(tc_records_open_deferred(&records, path, TENSORC__KIND__KIND_SAVED_MODEL));
    tc_saved_model *model = tc_alloc_zero(1, sizeof *model);
    tc_status status = model ? TC_OK : tc_fail_memory(sizeof *model, "loading a model");
    if (model) {
        atomic_init(&model->references, 1);
        status = read_model(&records, registry, model);
    }
    tc_records_close(&records);
    if (status == TC_OK)
        *out = model;
    else
        tc_saved_model_release(model);
    return status;
}

tc_saved_model *tc_saved_model_retain(tc_saved_model *model)
{
    if (model)
        atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void tc_saved_model_release(tc_saved_model *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < model->n_variables; i++)
        tc_tensor_release(model->tensors[i]);
    tc_graph_release(model->graph);
    tc_arena_free(&model->arena);
    tc_free(model);
}

tc_graph *tc_saved_model_graph(tc_saved_model *model)
{
    return model ? model->graph : NULL;
}

size_t tc_saved_model_signature_count(const tc_saved_model *model)
{
    return model ? model->n_signatures : 0;
}

const tc_signature *tc_saved_model_signature(const tc_saved_model *model, size_t index)
{
    return model && index < model->n_signatures ? &model->signatures[index] : NULL;
}

const tc_signature *tc_saved_model_find(const tc_saved_model *model, const char *name)
{
    for (size_t i = 0; model && name && i < model->n_signatures; i++)
        if (strcmp(model->signatures[i].name, name) == 0)
            return &model->signatures[i];
    return NULL;
}

tc_status tc_saved_model_session(tc_saved_model *model, const tc_session_options *options,
                                 tc_session **out)
{
    if (!model || !out)
        return tc_fail(TC_INVALID_ARGUMENT, "session of a model: %s is NULL",
                       model ? "out" : "model");
    *out = NULL;
    tc_session *session;
    TC_TRY(tc_session_create(model->graph, options, &session));
    tc_status status = tc_store_restore(tc_session_store(session), model->names, model->tensors,
                                        model->n_variables, NULL);
    if (status == TC_OK)
        *out = session;
    else
        tc_session_release(session);
    return status;
}
