/* From messages to graphs. Every node is built as a program would build it, so that nothing in a
 * file is believed. */
#include <stdio.h>
#include <string.h>

#include "core/registry.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "serialize/graph_file.h"

typedef enum tc_body_state { TC_BODY_NEW, TC_BODY_OPEN, TC_BODY_DONE } tc_body_state;

/* The graph itself or one of its functions, while its nodes are being built. */
typedef struct tc_body {
    tc_graph *graph;
    Tensorc__Node **nodes;
    size_t n_nodes;
    const Tensorc__Function *function; /* NULL: the graph itself */
    tc_body_state state;
    int nesting;       /* functions around it */
    int depth;         /* longest chain of calls within it, itself included */
    uint64_t inferred; /* nodes with those of the bodies it calls */
    size_t next;       /* node to build */
    size_t parameters; /* parameter nodes built so far */
} tc_body;

typedef struct tc_graph_reading {
    const tc_records *records;
    const tc_record *record;
    const Tensorc__Graph *message;
    tc_tensor *const *constants;
    size_t n_constants;
    tc_registry *registry;
    tc_arena arena;
    tc_body *bodies; /* the graph, then its functions */
    size_t n_bodies;
    tc_map numbers; /* address of a body's graph -> its index */
    TC_VECTOR(size_t) stack;
    /* Of the node being built. */
    TC_VECTOR(tc_value) inputs;
    TC_VECTOR(int32_t) controls;
    TC_VECTOR(tc_attr_arg) attrs;
} tc_graph_reading;

enum { where_size = 160 };

/* "function 'f', node 3 'name': " */
static const char *where(const tc_body *body, char text[where_size])
{
    int length = 0;
    if (body->function)
        length = snprintf(text, where_size, "function '%.40s', ", body->function->name);
    if (body->next < body->n_nodes)
        snprintf(text + length, (size_t)(where_size - length), "node %zu '%.60s'", body->next,
                 body->nodes[body->next]->name);
    else if (body->function)
        text[length - 2] = 0;
    else
        snprintf(text, where_size, "graph");
    return text;
}

static tc_status fail(const tc_graph_reading *r, const tc_body *body, const char *format, ...)
    TC_PRINTF(3, 4);

static tc_status fail(const tc_graph_reading *r, const tc_body *body, const char *format, ...)
{
    char why[TC_ERROR_MESSAGE_SIZE / 2], text[where_size];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return tc_records_fail(r->records, r->record->offset, "%s: %s", where(body, text), why);
}

static tc_status fail_memory(const tc_graph_reading *r)
{
    return tc_fail_memory(r->arena.bytes, "reading a graph");
}

/* The error that stuck to a graph, with the file before it. What a file asks for is damage when no
 * program could have built it. */
static tc_status fail_built(const tc_graph_reading *r, const tc_body *body)
{
    char message[TC_ERROR_MESSAGE_SIZE];
    snprintf(message, sizeof message, "%s", tc_error_message());
    tc_status status = tc_error_take(NULL, 0);
    if (status == TC_RESOURCE_EXHAUSTED)
        return tc_fail_saved(status, message);
    return fail(r, body, "%s", message);
}

/*
 * Attributes
 */
bool tc_shape_from_message(const Tensorc__Shape *message, tc_shape *shape)
{
    size_t rank = message->n_sizes;
    if (rank > TC_MAX_RANK || (message->n_names != 0 && message->n_names != rank))
        return false;
    *shape = tc_shape_of(rank, message->sizes);
    for (size_t i = 0; i < message->n_names; i++)
        if (message->names[i][0])
            shape->dims[i].name = message->names[i];
    return tc_shape_valid(shape) == TC_OK;
}

static tc_status count_list(const tc_graph_reading *r, const tc_body *body, size_t count,
                            tc_attr *attr)
{
    if (count > INT32_MAX)
        return fail(r, body, "an attribute has %zu elements", count);
    attr->count = (int32_t)count;
    return TC_OK;
}

static tc_status read_attr(tc_graph_reading *r, const tc_body *body,
                           const Tensorc__Attribute *message, tc_attr *attr)
{
    *attr = (tc_attr){0};
    switch (message->value_case) {
    case TENSORC__ATTRIBUTE__VALUE_I: *attr = tc_attr_int(message->i); return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_F: *attr = tc_attr_float(message->f); return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_B: *attr = tc_attr_bool(message->b); return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_S: *attr = tc_attr_string(message->s); return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_FUNCTION:
        *attr = tc_attr_function(message->function);
        return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_DTYPE:
        if ((uint32_t)message->dtype >= TC_DTYPE_COUNT)
            return fail(r, body, "attribute '%.60s' is dtype %d, which there is not", message->name,
                        (int)message->dtype);
        *attr = tc_attr_dtype((tc_dtype)message->dtype);
        return TC_OK;
    case TENSORC__ATTRIBUTE__VALUE_SHAPE: {
        tc_shape *shape = tc_arena_alloc(&r->arena, sizeof *shape);
        if (!shape)
            return fail_memory(r);
        if (!tc_shape_from_message(message->shape, shape))
            return fail(r, body, "attribute '%.60s' is a malformed shape", message->name);
        *attr = tc_attr_shape(shape);
        return TC_OK;
    }
    case TENSORC__ATTRIBUTE__VALUE_INTS:
        *attr = (tc_attr){.type = TC_ATTR_INTS, .ints = message->ints->values};
        return count_list(r, body, message->ints->n_values, attr);
    case TENSORC__ATTRIBUTE__VALUE_FLOATS:
        *attr = (tc_attr){.type = TC_ATTR_FLOATS, .floats = message->floats->values};
        return count_list(r, body, message->floats->n_values, attr);
    case TENSORC__ATTRIBUTE__VALUE_STRINGS:
        *attr = (tc_attr){.type = TC_ATTR_STRINGS,
                          .strings = (const char *const *)message->strings->values};
        return count_list(r, body, message->strings->n_values, attr);
    case TENSORC__ATTRIBUTE__VALUE_TENSOR:
        if (message->tensor >= r->n_constants)
            return fail(r, body, "attribute '%.60s' is constant %llu, but the file has %zu",
                        message->name, (unsigned long long)message->tensor, r->n_constants);
        *attr = tc_attr_tensor(r->constants[message->tensor]);
        return TC_OK;
    default:
        return tc_fail(TC_UNIMPLEMENTED,
                       "'%s': attribute '%.60s' of node '%.200s' has a type that this library does "
                       "not know: use a newer libtensorc",
                       r->records->path, message->name, body->nodes[body->next]->name);
    }
}

static tc_status read_attrs(tc_graph_reading *r, const tc_body *body, const tc_op *op,
                            const Tensorc__Node *node)
{
    if (!tc_vector_reserve(&r->attrs, node->n_attributes))
        return fail_memory(r);
    r->attrs.count = 0;
    for (size_t i = 0; i < node->n_attributes; i++) {
        const Tensorc__Attribute *message = node->attributes[i];
        int index = tc_op_attr_index(op, message->name);
        if (index < 0)
            return tc_fail(TC_UNIMPLEMENTED,
                           "'%s': node '%.200s' has attribute '%.60s', which operator %s of this "
                           "library does not know: use a newer libtensorc",
                           r->records->path, node->name, message->name, op->name);
        tc_attr_arg *arg = &r->attrs.data[r->attrs.count++];
        arg->name = message->name;
        TC_TRY(read_attr(r, body, message, &arg->value));
        if (arg->value.type == TC_ATTR_FUNCTION && op->attrs[index].type != TC_ATTR_FUNCTION)
            return fail(r, body, "attribute '%.60s' is not a function", message->name);
    }
    return TC_OK;
}

/*
 * Nodes
 */
static const char *file_name(const tc_graph_reading *r, uint32_t number)
{
    return number > 0 && number <= r->message->n_files ? r->message->files[number - 1] : NULL;
}

static tc_location read_location(const tc_graph_reading *r, const Tensorc__Location *message)
{
    if (!message)
        return (tc_location){0};
    tc_location at = tc_location_make(file_name(r, message->file), (int32_t)message->line);
    if (at.file && (at.outer_file = file_name(r, message->outer_file)))
        at.outer_line = (int32_t)message->outer_line;
    return at;
}

static tc_status find_op(const tc_graph_reading *r, const Tensorc__Node *node, const tc_op **out)
{
    const tc_op *op = tc_registry_find_op(r->registry, node->op);
    if (!op) {
        const char *nearest = tc_registry_nearest_op(r->registry, node->op);
        return tc_fail(TC_UNIMPLEMENTED,
                       "'%s': node '%.200s' applies operator '%.60s', which this library does not "
                       "know%s%s%s",
                       r->records->path, node->name, node->op, nearest ? "; the nearest is '" : "",
                       nearest ? nearest : "", nearest ? "'" : "");
    }
    if (node->version > (uint32_t)op->version)
        return tc_fail(TC_UNIMPLEMENTED,
                       "'%s': node '%.200s' applies version %u of operator '%s', but this library "
                       "has version %d: use a newer libtensorc",
                       r->records->path, node->name, (unsigned)node->version, op->name,
                       (int)op->version);
    *out = op;
    return TC_OK;
}

static tc_status read_edges(tc_graph_reading *r, const tc_body *body, const Tensorc__Node *node)
{
    const tc_graph *graph = body->graph;
    size_t count = node->n_input_nodes;
    if (node->n_input_outputs != count)
        return fail(r, body, "has %zu input_nodes, but %zu input_outputs", count,
                    node->n_input_outputs);
    if (!tc_vector_reserve(&r->inputs, count) || !tc_vector_reserve(&r->controls, node->n_controls))
        return fail_memory(r);
    r->inputs.count = count;
    for (size_t i = 0; i < count; i++) {
        int32_t from = node->input_nodes[i];
        uint32_t output = node->input_outputs[i];
        r->inputs.data[i] = TC_NO_VALUE;
        if (from == -1)
            continue;
        if (from < 0 || (size_t)from >= graph->nodes.count ||
            output >= (uint32_t)graph->nodes.data[from]->n_outputs)
            return fail(r, body, "input %zu is output %u of node %d, which is no earlier value", i,
                        (unsigned)output, (int)from);
        r->inputs.data[i] = tc_edge_value(graph, (tc_edge){from, (int32_t)output});
    }
    r->controls.count = node->n_controls;
    for (size_t i = 0; i < node->n_controls; i++) {
        if (node->controls[i] >= graph->nodes.count)
            return fail(r, body, "control dependency %zu is node %u, which is no earlier one", i,
                        (unsigned)node->controls[i]);
        r->controls.data[i] = (int32_t)node->controls[i];
    }
    return TC_OK;
}

static tc_body *body_of(const tc_graph_reading *r, const tc_graph *graph)
{
    const uint64_t *number = tc_map_find(&r->numbers, &graph, sizeof graph);
    return number ? &r->bodies[*number] : NULL;
}

static tc_status enter(tc_graph_reading *r, size_t index);

/* Enters the first function that the node calls and that is not built yet; counts what the others
 * cost. */
static tc_status prepare_calls(tc_graph_reading *r, tc_body *body, bool *entered)
{
    uint64_t inferred = 1;
    for (size_t i = 0; i < r->attrs.count; i++) {
        if (r->attrs.data[i].value.type != TC_ATTR_FUNCTION)
            continue;
        const char *name = r->attrs.data[i].value.s;
        tc_body *called = body_of(r, tc_graph_find_function(body->graph, name));
        if (!called)
            return fail(r, body, "there is no function '%.60s'", name);
        if (called->state == TC_BODY_OPEN)
            return fail(r, body, "function '%.60s' calls itself", name);
        if (called->state == TC_BODY_NEW) {
            *entered = true;
            return enter(r, (size_t)(called - r->bodies));
        }
        if (called->depth >= body->depth)
            body->depth = called->depth + 1;
        inferred += called->inferred;
    }
    body->inferred += inferred;
    if (body->depth > TC_FILE_MAX_DEPTH + !body->function || body->inferred > TC_FILE_MAX_INFERRED)
        return fail(r, body,
                    "calls put more than %d functions into each other or take more than "
                    "%llu nodes",
                    TC_FILE_MAX_DEPTH, (unsigned long long)TC_FILE_MAX_INFERRED);
    return TC_OK;
}

static tc_status build_node(tc_graph_reading *r, tc_body *body, const Tensorc__Node *message)
{
    const tc_node_spec spec = {
        .op = message->op,
        .name = message->name,
        .at = read_location(r, message->location),
        .inputs = r->inputs.data,
        .n_inputs = r->inputs.count,
        .attrs = r->attrs.data,
        .n_attrs = r->attrs.count,
    };
    const tc_node *node = tc_graph_append(body->graph, &spec, r->controls.data, r->controls.count);
    if (!node)
        return fail_built(r, body);
    if (strcmp(node->name, message->name) != 0)
        return fail(r, body, "another node has this name");
    bool parameter = tc_node_is(node, "parameter");
    if (parameter && !body->function)
        return fail(r, body, "is a parameter, which only functions have");
    body->parameters += parameter;
    tc_value value = {body->graph, node->index, 0};
    for (size_t i = 0; i < message->n_annotations; i++)
        tc_annotate(value, message->annotations[i]->key, message->annotations[i]->text);
    return tc_graph_status(body->graph) == TC_OK ? TC_OK : fail_built(r, body);
}

/* Builds the next node of `body`, or enters a function that it needs. */
static tc_status read_node(tc_graph_reading *r, tc_body *body)
{
    const Tensorc__Node *node = body->nodes[body->next];
    const tc_op *op = NULL;
    TC_TRY(find_op(r, node, &op));
    if (node->version == 0)
        return fail(r, body, "the version of operator '%s' is missing", op->name);
    TC_TRY(read_attrs(r, body, op, node));
    bool entered = false;
    TC_TRY(prepare_calls(r, body, &entered));
    if (entered)
        return TC_OK;
    TC_TRY(read_edges(r, body, node));
    TC_TRY(build_node(r, body, node));
    body->next++;
    return TC_OK;
}

/*
 * Functions
 */

/* Captures come before the nodes, which may write captured variables. */
static tc_status read_captures(const tc_graph_reading *r, const tc_body *body)
{
    tc_graph *graph = body->graph;
    const Tensorc__Function *function = body->function;
    if (function->n_captures > function->n_parameters)
        return fail(r, body, "has %zu captures, but %zu parameters", function->n_captures,
                    function->n_parameters);
    for (size_t i = 0; i < function->n_captures; i++) {
        const Tensorc__Capture *from = function->captures[i];
        size_t position = function->n_parameters - function->n_captures + i;
        if (from->node >= graph->parent->nodes.count ||
            from->output >= (uint32_t)graph->parent->nodes.data[from->node]->n_outputs ||
            from->parameter != function->parameters[position])
            return fail(r, body, "capture %zu is broken", i);
        const tc_capture capture = {{(int32_t)from->node, (int32_t)from->output},
                                    (int32_t)from->parameter};
        if (!tc_vector_push(&graph->captures, capture))
            return fail_memory(r);
    }
    return TC_OK;
}

static tc_status enter(tc_graph_reading *r, size_t index)
{
    tc_body *body = &r->bodies[index];
    if (!tc_vector_push(&r->stack, index))
        return fail_memory(r);
    body->state = TC_BODY_OPEN;
    body->depth = 1;
    return body->function ? read_captures(r, body) : TC_OK;
}

static tc_status read_parameters(const tc_graph_reading *r, const tc_body *body)
{
    tc_graph *graph = body->graph;
    const Tensorc__Function *function = body->function;
    /* As many as there are nodes of this kind, each of them once. */
    bool *seen = tc_alloc_zero(graph->nodes.count + 1, sizeof *seen);
    if (!seen || !tc_vector_reserve(&graph->parameters, function->n_parameters)) {
        tc_free(seen);
        return fail_memory(r);
    }
    bool valid = function->n_parameters == body->parameters;
    for (size_t i = 0; valid && i < function->n_parameters; i++) {
        uint32_t node = function->parameters[i];
        valid = node < graph->nodes.count && !seen[node] &&
                tc_node_is(graph->nodes.data[node], "parameter");
        if (valid)
            seen[node] = true;
        graph->parameters.data[graph->parameters.count++] = (int32_t)node;
    }
    tc_free(seen);
    return valid ? TC_OK : fail(r, body, "its parameters are broken");
}

static tc_status read_results(const tc_graph_reading *r, const tc_body *body)
{
    tc_graph *graph = body->graph;
    const Tensorc__Function *function = body->function;
    if (function->n_result_nodes != function->n_result_outputs)
        return fail(r, body, "has %zu result_nodes, but %zu result_outputs",
                    function->n_result_nodes, function->n_result_outputs);
    for (size_t i = 0; i < function->n_result_nodes; i++) {
        uint32_t node = function->result_nodes[i], output = function->result_outputs[i];
        if (node >= graph->nodes.count || output >= (uint32_t)graph->nodes.data[node]->n_outputs)
            return fail(r, body, "result %zu is output %u of node %u, which there is not", i,
                        (unsigned)output, (unsigned)node);
        const tc_edge edge = {(int32_t)node, (int32_t)output};
        if (!tc_vector_push(&graph->results, edge))
            return fail_memory(r);
    }
    return TC_OK;
}

static tc_status leave(tc_graph_reading *r, tc_body *body)
{
    if (body->function) {
        TC_TRY(read_parameters(r, body));
        TC_TRY(read_results(r, body));
        body->graph->closed = true;
    }
    body->state = TC_BODY_DONE;
    r->stack.count--;
    return TC_OK;
}

/* Builds a body and, before the node that calls them, the functions it needs. Their order in the
 * file is that in which they were begun, which need not be that in which they were finished. */
static tc_status build_body(tc_graph_reading *r, size_t index)
{
    if (r->bodies[index].state == TC_BODY_DONE)
        return TC_OK;
    TC_TRY(enter(r, index));
    while (r->stack.count > 0) {
        tc_body *body = &r->bodies[r->stack.data[r->stack.count - 1]];
        TC_TRY(body->next < body->n_nodes ? read_node(r, body) : leave(r, body));
    }
    return TC_OK;
}

static tc_status begin_function(tc_graph_reading *r, size_t index)
{
    const Tensorc__Function *function = r->message->functions[index - 1];
    tc_body *body = &r->bodies[index];
    if (function->parent >= index)
        return tc_records_fail(r->records, r->record->offset,
                               "function %zu '%.60s' belongs to function %u, which is no earlier "
                               "one",
                               index, function->name, (unsigned)function->parent);
    const tc_body *parent = &r->bodies[function->parent];
    *body = (tc_body){.nodes = function->nodes,
                      .n_nodes = function->n_nodes,
                      .function = function,
                      .nesting = parent->nesting + 1};
    if (body->nesting > TC_FILE_MAX_DEPTH + 1)
        return fail(r, body, "lies more than %d functions deep", TC_FILE_MAX_DEPTH);
    body->graph = tc_function_begin(parent->graph, function->name);
    if (!body->graph)
        return fail_built(r, body);
    return tc_map_put(&r->numbers, &body->graph, sizeof body->graph, index) ? TC_OK
                                                                            : fail_memory(r);
}

static tc_status build(tc_graph_reading *r, tc_graph *graph)
{
    const Tensorc__Graph *message = r->message;
    r->n_bodies = message->n_functions + 1;
    if (message->n_functions > TC_FILE_MAX_FUNCTIONS)
        return tc_records_fail(r->records, r->record->offset,
                               "graph.functions has %zu entries, "
                               "more than %d",
                               message->n_functions, TC_FILE_MAX_FUNCTIONS);
    r->bodies = tc_arena_array(&r->arena, r->n_bodies, sizeof *r->bodies);
    if (!r->bodies)
        return fail_memory(r);
    r->bodies[0] = (tc_body){.graph = graph, .nodes = message->nodes, .n_nodes = message->n_nodes};
    for (size_t i = 1; i < r->n_bodies; i++)
        TC_TRY(begin_function(r, i));
    for (size_t i = 0; i < r->n_bodies; i++)
        TC_TRY(build_body(r, i));
    if (tc_graph_verify(graph) != TC_OK)
        return fail_built(r, &r->bodies[0]);
    return TC_OK;
}

tc_status tc_graph_get(const tc_records *records, const tc_record *record,
                       tc_tensor *const *constants, size_t n_constants, tc_registry *registry,
                       tc_graph **out)
{
    *out = NULL;
    tc_graph_reading r = {.records = records,
                          .record = record,
                          .constants = constants,
                          .n_constants = n_constants,
                          .registry = registry};
    Tensorc__Graph *message;
    tc_graph *graph = NULL;
    tc_status status =
        tc_records_unpack(records, record, &tensorc__graph__descriptor, &r.arena, &message);
    if (status == TC_OK) {
        r.message = message;
        const tc_graph_options options = {sizeof options, registry, message->seed};
        graph = tc_graph_create_with(&options);
        status = graph ? build(&r, graph) : TC_RESOURCE_EXHAUSTED;
    }
    tc_map_free(&r.numbers);
    tc_vector_free(&r.stack);
    tc_vector_free(&r.inputs);
    tc_vector_free(&r.controls);
    tc_vector_free(&r.attrs);
    tc_arena_free(&r.arena);
    if (status == TC_OK)
        *out = graph;
    else
        tc_graph_release(graph);
    return status;
}
