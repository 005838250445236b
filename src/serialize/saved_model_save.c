/* Cutting a model out of the graph it was trained in. */
#include <string.h>

#include "core/shape.h"
#include "serialize/saved_model.h"

/* What the signatures need. */
typedef struct tc_cut {
    const tc_graph *graph;
    const tc_signature *signature; /* the one being followed */
    bool *nodes;                   /* kept */
    bool *seen;                    /* by this signature */
    tc_map functions;              /* kept; keys are addresses of bodies */
    tc_arena arena;
    TC_VECTOR(int32_t) pending;         /* nodes of the graph to follow */
    TC_VECTOR(const tc_graph *) bodies; /* functions to follow */
} tc_cut;

static tc_status fail_memory(void)
{
    return tc_fail_memory(0, "saving a model");
}

static tc_status reach(tc_cut *cut, int32_t node)
{
    if (node < 0 || cut->seen[node])
        return TC_OK;
    cut->seen[node] = cut->nodes[node] = true;
    return tc_vector_push(&cut->pending, node) ? TC_OK : fail_memory();
}

static bool is_input(const tc_signature *signature, int32_t node)
{
    for (size_t i = 0; i < signature->n_inputs; i++)
        if (signature->inputs[i].value.node == node)
            return true;
    return false;
}

static tc_status check_node(const tc_cut *cut, const tc_graph *graph, const tc_node *node)
{
    char text[TC_ERROR_MESSAGE_SIZE / 4];
    if (node->attrs.op->effects & TC_EFFECT_WRITE)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "signature '%s' updates a variable by %s: a saved model only reads; give it "
                       "outputs that do not depend on updates",
                       cut->signature->name, tc_node_describe(node, text, sizeof text));
    if (graph == cut->graph && tc_node_is(node, "placeholder") &&
        !is_input(cut->signature, node->index))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "signature '%s' needs %s, which is none of its inputs: add it to them",
                       cut->signature->name, tc_node_describe(node, text, sizeof text));
    return TC_OK;
}

static tc_status reach_function(tc_cut *cut, const tc_graph *from, const char *name)
{
    const tc_graph *body = name && name[0] ? tc_graph_find_function(from, name) : NULL;
    if (!body)
        return TC_OK;
    for (size_t i = 0; i < cut->bodies.count; i++)
        if (cut->bodies.data[i] == body)
            return TC_OK;
    const tc_graph **key = tc_arena_memdup(&cut->arena, &body, sizeof(tc_graph *));
    if (!key || !tc_map_put(&cut->functions, key, sizeof *key, 1) ||
        !tc_vector_push(&cut->bodies, body))
        return fail_memory();
    if (body->parent != cut->graph)
        return TC_OK;
    for (size_t i = 0; i < body->captures.count; i++)
        TC_TRY(reach(cut, body->captures.data[i].outer.node));
    return TC_OK;
}

/* The functions that a node names, also the one that gives the gradient of a call. */
static tc_status reach_functions(tc_cut *cut, const tc_graph *graph, const tc_node *node)
{
    const tc_op *op = node->attrs.op;
    for (int i = 0; i < op->n_attrs; i++)
        if (op->attrs[i].type == TC_ATTR_FUNCTION)
            TC_TRY(reach_function(cut, graph, node->attrs.values[i].s));
    if (tc_node_is(node, "call"))
        TC_TRY(reach_function(cut, graph, tc_attrs_string(&node->attrs, "gradient")));
    return TC_OK;
}

static tc_status follow_node(tc_cut *cut, int32_t index)
{
    const tc_node *node = tc_graph_node_at(cut->graph, index);
    TC_TRY(check_node(cut, cut->graph, node));
    TC_TRY(reach_functions(cut, cut->graph, node));
    /* The content of a variable comes from the file. */
    for (int32_t i = 0; i < node->n_inputs && !tc_node_is(node, "variable"); i++)
        TC_TRY(reach(cut, node->inputs[i].node));
    for (int32_t i = 0; i < node->n_controls; i++)
        TC_TRY(reach(cut, node->controls[i]));
    return TC_OK;
}

static tc_status follow_body(tc_cut *cut, const tc_graph *body)
{
    for (size_t i = 0; i < body->nodes.count; i++) {
        TC_TRY(check_node(cut, body, body->nodes.data[i]));
        TC_TRY(reach_functions(cut, body, body->nodes.data[i]));
    }
    return TC_OK;
}

static tc_status follow_signature(tc_cut *cut, const tc_signature *signature)
{
    cut->signature = signature;
    cut->pending.count = 0;
    cut->bodies.count = 0; /* what they need is checked against each signature */
    memset(cut->seen, 0, cut->graph->nodes.count * sizeof *cut->seen);
    for (size_t i = 0; i < signature->n_inputs; i++)
        TC_TRY(reach(cut, signature->inputs[i].value.node));
    for (size_t i = 0; i < signature->n_outputs; i++)
        TC_TRY(reach(cut, signature->outputs[i].value.node));
    for (size_t n = 0, b = 0; n < cut->pending.count || b < cut->bodies.count;)
        TC_TRY(n < cut->pending.count ? follow_node(cut, cut->pending.data[n++])
                                      : follow_body(cut, cut->bodies.data[b++]));
    return TC_OK;
}

/*
 * Signatures
 */
static tc_status check_ports(const tc_graph *graph, const tc_signature *signature,
                             const tc_signature_port *ports, size_t count, const char *what)
{
    if (count > 0 && !ports)
        return tc_fail(TC_INVALID_ARGUMENT, "signature '%s': its %ss are NULL", signature->name,
                       what);
    for (size_t i = 0; i < count; i++) {
        const tc_signature_port *port = &ports[i];
        if (!port->name || !port->name[0] || !tc_text_is_utf8(port->name))
            return tc_fail(TC_INVALID_ARGUMENT, "signature '%s': %s %zu has no name in UTF-8",
                           signature->name, what, i);
        if (port->value.graph != graph || port->value.node < 0 ||
            (size_t)port->value.node >= graph->nodes.count || port->value.output < 0 ||
            port->value.output >= graph->nodes.data[port->value.node]->n_outputs)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "signature '%s': %s '%s' is no value of the session's graph",
                           signature->name, what, port->name);
        for (size_t k = 0; k < i; k++)
            if (strcmp(ports[k].name, port->name) == 0)
                return tc_fail(TC_INVALID_ARGUMENT, "signature '%s' has two %ss called '%s'",
                               signature->name, what, port->name);
    }
    return TC_OK;
}

static tc_status check_signature(const tc_graph *graph, const tc_signature *signature)
{
    if (signature->n_outputs == 0)
        return tc_fail(TC_INVALID_ARGUMENT, "signature '%s' has no outputs", signature->name);
    TC_TRY(check_ports(graph, signature, signature->inputs, signature->n_inputs, "input"));
    TC_TRY(check_ports(graph, signature, signature->outputs, signature->n_outputs, "output"));
    for (size_t i = 0; i < signature->n_inputs; i++) {
        const tc_signature_port *port = &signature->inputs[i];
        if (!tc_node_is(tc_graph_node_at(graph, port->value.node), "placeholder"))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "signature '%s': input '%s' is the result of %s '%s', not a placeholder",
                           signature->name, port->name, tc_value_op(port->value),
                           tc_value_name(port->value));
        for (size_t k = 0; k < i; k++)
            if (signature->inputs[k].value.node == port->value.node)
                return tc_fail(TC_INVALID_ARGUMENT,
                               "signature '%s': inputs '%s' and '%s' are the same placeholder",
                               signature->name, signature->inputs[k].name, port->name);
    }
    return TC_OK;
}

static tc_status check_signatures(const tc_graph *graph, const tc_signature *signatures,
                                  size_t count)
{
    if (count == 0 || !signatures)
        return tc_fail(TC_INVALID_ARGUMENT, "saving a model: it needs at least one signature");
    for (size_t i = 0; i < count; i++) {
        const char *name = signatures[i].name;
        if (!name || !name[0] || !tc_text_is_utf8(name))
            return tc_fail(TC_INVALID_ARGUMENT, "signature %zu has no name in UTF-8", i);
        for (size_t k = 0; k < i; k++)
            if (strcmp(signatures[k].name, name) == 0)
                return tc_fail(TC_INVALID_ARGUMENT, "two signatures are called '%s'", name);
        TC_TRY(check_signature(graph, &signatures[i]));
    }
    return TC_OK;
}

static bool write_ports(const tc_signature_port *ports, size_t count, tc_arena *arena,
                        Tensorc__Port ***out)
{
    Tensorc__Port **list = tc_arena_array(arena, count, sizeof *list);
    Tensorc__Port *messages = tc_arena_array(arena, count, sizeof *messages);
    if (!list || !messages)
        return false;
    for (size_t i = 0; i < count; i++) {
        tc_shape shape = tc_value_shape(ports[i].value);
        list[i] = &messages[i];
        tensorc__port__init(list[i]);
        list[i]->name = (char *)(uintptr_t)ports[i].name;
        list[i]->node = (char *)(uintptr_t)tc_value_name(ports[i].value);
        list[i]->output = (uint32_t)ports[i].value.output;
        list[i]->dtype = (Tensorc__DType)tc_value_dtype(ports[i].value);
        if (!(list[i]->shape = tc_shape_to_message(&shape, arena)))
            return false;
    }
    *out = list;
    return true;
}

static tc_status put_signature(tc_records_writer *writer, const tc_signature *signature)
{
    tc_arena arena = {0};
    Tensorc__Signature message = TENSORC__SIGNATURE__INIT;
    message.name = (char *)(uintptr_t)signature->name;
    message.n_inputs = signature->n_inputs;
    message.n_outputs = signature->n_outputs;
    tc_status status =
        write_ports(signature->inputs, signature->n_inputs, &arena, &message.inputs) &&
                write_ports(signature->outputs, signature->n_outputs, &arena, &message.outputs)
            ? tc_records_put(writer, TENSORC__RECORD__CONTENT_SIGNATURE, &message.base)
            : fail_memory();
    tc_arena_free(&arena);
    return status;
}

/*
 * Variables
 */
typedef struct tc_put_variables {
    tc_records_writer *writer;
    const tc_cut *cut;
    size_t written;
} tc_put_variables;

static const tc_node *kept_variable(const tc_cut *cut, const char *name)
{
    const uint64_t *index = tc_map_find_string(&cut->graph->names, name);
    if (!index || !cut->nodes[*index])
        return NULL;
    const tc_node *node = tc_graph_node_at(cut->graph, (int32_t)*index);
    return tc_node_is(node, "variable") ? node : NULL;
}

static tc_status put_variable(void *context, const tc_variable_info *variable)
{
    tc_put_variables *put = context;
    if (!kept_variable(put->cut, variable->name) || !variable->tensor)
        return TC_OK;
    put->written++;
    return tc_records_put_tensor(put->writer, variable->name, variable->tensor);
}

static tc_status put_variables(tc_records_writer *writer, const tc_cut *cut, tc_session *session)
{
    tc_put_variables put = {writer, cut, 0};
    TC_TRY(tc_store_visit(tc_session_store(session), put_variable, &put, NULL));
    size_t wanted = 0;
    for (size_t i = 0; i < cut->graph->nodes.count; i++)
        wanted += cut->nodes[i] && tc_node_is(cut->graph->nodes.data[i], "variable");
    if (put.written != wanted)
        return tc_fail(TC_FAILED_PRECONDITION,
                       "saving a model: %zu of its %zu variables have no content in this session: "
                       "were they built after the session was created?",
                       wanted - put.written, wanted);
    return TC_OK;
}

static tc_status put_model(tc_records_writer *writer, const tc_cut *cut, tc_session *session,
                           const tc_signature *signatures, size_t count)
{
    const tc_graph_selection selection = {cut->nodes, &cut->functions, true};
    TC_TRY(tc_graph_put(writer, cut->graph, &selection));
    TC_TRY(put_variables(writer, cut, session));
    for (size_t i = 0; i < count; i++)
        TC_TRY(put_signature(writer, &signatures[i]));
    return TC_OK;
}

static tc_status save(tc_session *session, const tc_cut *cut, const char *path,
                      const tc_signature *signatures, size_t count)
{
    char *folder = tc_path_folder(path);
    if (!folder)
        return TC_RESOURCE_EXHAUSTED;
    tc_records_writer writer;
    tc_status status = tc_records_begin(&writer, folder, TENSORC__KIND__KIND_SAVED_MODEL, 0);
    tc_free(folder);
    TC_TRY(status);
    status = put_model(&writer, cut, session, signatures, count);
    if (status == TC_OK)
        return tc_records_finish(&writer, path);
    tc_records_abandon(&writer);
    return status;
}

tc_status tc_saved_model_save(tc_session *session, const char *path, const tc_signature *signatures,
                              size_t n_signatures)
{
    if (!session || !path || !path[0])
        return tc_fail(TC_INVALID_ARGUMENT, "saving a model: the %s is missing",
                       session ? "path" : "session");
    const tc_graph *graph = tc_session_graph(session);
    TC_TRY(tc_graph_verify(graph));
    TC_TRY(check_signatures(graph, signatures, n_signatures));
    TC_TRY(tc_session_initialize(session));
    tc_cut cut = {.graph = graph};
    cut.nodes = tc_arena_array(&cut.arena, graph->nodes.count, sizeof *cut.nodes);
    cut.seen = tc_arena_array(&cut.arena, graph->nodes.count, sizeof *cut.seen);
    tc_status status = cut.nodes && cut.seen ? TC_OK : fail_memory();
    for (size_t i = 0; i < n_signatures && status == TC_OK; i++)
        status = follow_signature(&cut, &signatures[i]);
    if (status == TC_OK)
        status = save(session, &cut, path, signatures, n_signatures);
    tc_vector_free(&cut.pending);
    tc_vector_free(&cut.bodies);
    tc_map_free(&cut.functions);
    tc_arena_free(&cut.arena);
    return status;
}
