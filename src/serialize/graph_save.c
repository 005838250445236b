/* From graphs to messages. */
#include <string.h>

#include "core/shape.h"
#include "core/tensor.h"
#include "serialize/graph_file.h"

/* What inferring a body takes: calls within calls, and nodes with those of the bodies called. */
typedef struct tc_cost {
    int depth;
    uint64_t nodes;
} tc_cost;

/* The messages of a graph, all in one arena. Once a step fails, `status` sticks and the others do
 * nothing harmful. */
typedef struct tc_graph_writing {
    const tc_graph *graph;
    const tc_graph_selection *selection;
    tc_arena arena;
    tc_status status;
    int32_t *numbers; /* node of the graph -> number in the file, -1: left out */
    TC_VECTOR(char *) files;
    tc_map file_numbers; /* interned per graph, so keyed by content */
    TC_VECTOR(tc_tensor *) tensors;
    tc_map tensor_numbers;                 /* by address */
    TC_VECTOR(const tc_graph *) functions; /* each after the one it belongs to */
    tc_map function_numbers;               /* by address, counted from 1 */
    struct tc_cost *costs;                 /* by that number */
} tc_graph_writing;

static void fail_memory(tc_graph_writing *w)
{
    if (w->status == TC_OK)
        w->status = tc_fail_memory(w->arena.bytes, "writing a graph");
}

static void *take(tc_graph_writing *w, size_t count, size_t size)
{
    void *memory = tc_arena_array(&w->arena, count, size);
    if (!memory)
        fail_memory(w);
    return memory;
}

/* A message in the arena, initialized. */
#define NEW(w, upper, lower) \
    (Tensorc__##upper *)new_message((w), sizeof(Tensorc__##upper), &tensorc__##lower##__descriptor)

static void *new_message(tc_graph_writing *w, size_t size, const ProtobufCMessageDescriptor *type)
{
    void *message = take(w, 1, size);
    if (message)
        protobuf_c_message_init(type, message);
    return message;
}

/* protobuf-c wants strings to write as char *, without writing to them. */
static char *text(tc_graph_writing *w, const char *what, const char *string)
{
    if (w->status == TC_OK && !tc_text_is_utf8(string))
        w->status = tc_fail(TC_INVALID_ARGUMENT, "%s \"%.200s\" is not UTF-8", what, string);
    return (char *)(uintptr_t)string;
}

/*
 * Attributes
 */
Tensorc__Shape *tc_shape_to_message(const tc_shape *shape, tc_arena *arena)
{
    size_t rank = (size_t)shape->rank;
    Tensorc__Shape *message = tc_arena_alloc(arena, sizeof *message);
    int64_t *sizes = tc_arena_array(arena, rank, sizeof *sizes);
    char **names = tc_arena_array(arena, rank, sizeof *names);
    if (!message || !sizes || !names)
        return NULL;
    tensorc__shape__init(message);
    message->sizes = sizes;
    message->n_sizes = rank;
    message->names = names;
    for (size_t i = 0; i < rank; i++) {
        const char *name = shape->dims[i].name;
        sizes[i] = shape->dims[i].size;
        names[i] = (char *)(uintptr_t)(name ? name : "");
        if (name)
            message->n_names = rank;
    }
    return message;
}

static Tensorc__Shape *write_shape(tc_graph_writing *w, const tc_shape *shape)
{
    Tensorc__Shape *message = tc_shape_to_message(shape, &w->arena);
    if (!message)
        fail_memory(w);
    for (size_t i = 0; message && i < message->n_names; i++)
        text(w, "the name of a dimension", message->names[i]);
    return message;
}

static char **write_strings(tc_graph_writing *w, const tc_attr *attr)
{
    char **strings = take(w, (size_t)attr->count, sizeof *strings);
    for (int32_t i = 0; strings && i < attr->count; i++)
        strings[i] = text(w, "an attribute", attr->strings[i]);
    return strings;
}

static uint64_t tensor_number(tc_graph_writing *w, tc_tensor *tensor)
{
    const uint64_t *known = tc_map_find(&w->tensor_numbers, &tensor, sizeof tensor);
    if (known)
        return *known;
    /* The map borrows its key; the vector may move. */
    tc_tensor **key = take(w, 1, sizeof *key);
    if (!key)
        return 0;
    *key = tensor;
    uint64_t number = w->tensors.count;
    if (!tc_vector_push(&w->tensors, tensor) ||
        !tc_map_put(&w->tensor_numbers, key, sizeof *key, number))
        fail_memory(w);
    return number;
}

#define WRITE_LIST(w, message, upper, lower, field, list)     \
    do {                                                      \
        if (((message)->field = NEW((w), upper, lower))) {    \
            (message)->field->values = (list);                \
            (message)->field->n_values = (size_t)attr->count; \
        }                                                     \
    } while (0)

/* False for an attribute that is left out, because it is nothing, which only defaults can be. */
static bool write_attr(tc_graph_writing *w, const tc_attr *attr, Tensorc__Attribute *message)
{
    static const Tensorc__Attribute__ValueCase cases[] = {
        [TC_ATTR_INT] = TENSORC__ATTRIBUTE__VALUE_I,
        [TC_ATTR_FLOAT] = TENSORC__ATTRIBUTE__VALUE_F,
        [TC_ATTR_BOOL] = TENSORC__ATTRIBUTE__VALUE_B,
        [TC_ATTR_STRING] = TENSORC__ATTRIBUTE__VALUE_S,
        [TC_ATTR_DTYPE] = TENSORC__ATTRIBUTE__VALUE_DTYPE,
        [TC_ATTR_SHAPE] = TENSORC__ATTRIBUTE__VALUE_SHAPE,
        [TC_ATTR_INTS] = TENSORC__ATTRIBUTE__VALUE_INTS,
        [TC_ATTR_FLOATS] = TENSORC__ATTRIBUTE__VALUE_FLOATS,
        [TC_ATTR_STRINGS] = TENSORC__ATTRIBUTE__VALUE_STRINGS,
        [TC_ATTR_TENSOR] = TENSORC__ATTRIBUTE__VALUE_TENSOR,
        [TC_ATTR_FUNCTION] = TENSORC__ATTRIBUTE__VALUE_FUNCTION,
    };
    message->value_case = cases[attr->type];
    switch (attr->type) {
    case TC_ATTR_NONE: return false;
    case TC_ATTR_INT: message->i = attr->i; break;
    case TC_ATTR_FLOAT: message->f = attr->f; break;
    case TC_ATTR_BOOL: message->b = attr->b; break;
    case TC_ATTR_STRING:
        if (!attr->s)
            return false;
        message->s = text(w, "an attribute", attr->s);
        break;
    case TC_ATTR_DTYPE: message->dtype = (Tensorc__DType)attr->dtype; break;
    case TC_ATTR_SHAPE:
        if (!attr->shape)
            return false;
        message->shape = write_shape(w, attr->shape);
        break;
    case TC_ATTR_INTS:
        WRITE_LIST(w, message, Ints, ints, ints, (int64_t *)(uintptr_t)attr->ints);
        break;
    case TC_ATTR_FLOATS:
        WRITE_LIST(w, message, Floats, floats, floats, (double *)(uintptr_t)attr->floats);
        break;
    case TC_ATTR_STRINGS:
        WRITE_LIST(w, message, Strings, strings, strings, write_strings(w, attr));
        break;
    case TC_ATTR_TENSOR:
        if (!attr->tensor)
            return false;
        message->tensor = tensor_number(w, attr->tensor);
        break;
    case TC_ATTR_FUNCTION:
        if (!attr->s)
            return false;
        message->function = text(w, "a function", attr->s);
        break;
    }
    return true;
}

static void write_attrs(tc_graph_writing *w, const tc_node *node, Tensorc__Node *message)
{
    const tc_op *op = node->attrs.op;
    message->attributes = take(w, (size_t)op->n_attrs, sizeof *message->attributes);
    for (int i = 0; message->attributes && i < op->n_attrs; i++) {
        Tensorc__Attribute *attribute = NEW(w, Attribute, attribute);
        if (!attribute)
            return;
        attribute->name = text(w, "an attribute", op->attrs[i].name);
        if (write_attr(w, &node->attrs.values[i], attribute))
            message->attributes[message->n_attributes++] = attribute;
    }
}

/*
 * Nodes
 */

/* Number of a file name. Names that are not UTF-8 are bent into it: they only inform. */
static uint32_t file_number(tc_graph_writing *w, const char *file)
{
    if (!file)
        return 0;
    const uint64_t *known = tc_map_find_string(&w->file_numbers, file);
    if (known)
        return (uint32_t)*known;
    char *name = tc_arena_strdup(&w->arena, file);
    if (!name || !tc_vector_push(&w->files, name) ||
        !tc_map_put_string(&w->file_numbers, file, w->files.count)) {
        fail_memory(w);
        return 0;
    }
    for (char *c = tc_text_is_utf8(name) ? name + strlen(name) : name; *c; c++)
        if (*c & 0x80)
            *c = '?';
    return (uint32_t)w->files.count;
}

static void write_location(tc_graph_writing *w, const tc_location *at, Tensorc__Node *message)
{
    if (!at->file || !(message->location = NEW(w, Location, location)))
        return;
    message->location->file = file_number(w, at->file);
    message->location->line = at->line > 0 ? (uint32_t)at->line : 0;
    message->location->outer_file = file_number(w, at->outer_file);
    message->location->outer_line =
        at->outer_file && at->outer_line > 0 ? (uint32_t)at->outer_line : 0;
}

static void write_notes(tc_graph_writing *w, const tc_node *node, Tensorc__Node *message)
{
    size_t count = 0;
    for (const tc_note *note = node->notes; note; note = note->next)
        count++;
    message->annotations = take(w, count, sizeof *message->annotations);
    for (const tc_note *note = node->notes; message->annotations && note; note = note->next) {
        Tensorc__Annotation *annotation = NEW(w, Annotation, annotation);
        if (!annotation)
            return;
        annotation->key = text(w, "an annotation", note->key);
        annotation->text = text(w, "an annotation", note->text);
        message->annotations[message->n_annotations++] = annotation;
    }
}

/* Number of a node of `graph` in the file. */
static int32_t number_of(const tc_graph_writing *w, const tc_graph *graph, int32_t node)
{
    return node >= 0 && graph == w->graph && w->numbers ? w->numbers[node] : node;
}

static bool is_kept(const tc_graph_writing *w, const tc_graph *graph, const tc_node *node)
{
    return number_of(w, graph, node->index) >= 0;
}

static void write_edges(tc_graph_writing *w, const tc_graph *graph, const tc_node *node,
                        Tensorc__Node *message)
{
    size_t count = (size_t)node->n_inputs;
    if (w->selection && w->selection->no_initial && tc_node_is(node, "variable"))
        count = 0;
    message->input_nodes = take(w, count, sizeof *message->input_nodes);
    message->input_outputs = take(w, count, sizeof *message->input_outputs);
    message->controls = take(w, (size_t)node->n_controls, sizeof *message->controls);
    if (!message->input_nodes || !message->input_outputs || !message->controls)
        return;
    message->n_input_nodes = message->n_input_outputs = count;
    for (size_t i = 0; i < count; i++) {
        message->input_nodes[i] = number_of(w, graph, node->inputs[i].node);
        message->input_outputs[i] = (uint32_t)node->inputs[i].output;
    }
    message->n_controls = (size_t)node->n_controls;
    for (int32_t i = 0; i < node->n_controls; i++)
        message->controls[i] = (uint32_t)number_of(w, graph, node->controls[i]);
}

static Tensorc__Node *write_node(tc_graph_writing *w, const tc_graph *graph, const tc_node *node)
{
    Tensorc__Node *message = NEW(w, Node, node);
    if (!message)
        return NULL;
    message->name = text(w, "a node", node->name);
    message->op = text(w, "an operator", node->attrs.op->name);
    message->version = (uint32_t)node->attrs.op->version;
    write_edges(w, graph, node, message);
    write_attrs(w, node, message);
    write_notes(w, node, message);
    write_location(w, &node->at, message);
    return message;
}

static Tensorc__Node **write_nodes(tc_graph_writing *w, const tc_graph *graph, size_t *count)
{
    Tensorc__Node **nodes = take(w, graph->nodes.count, sizeof *nodes);
    *count = 0;
    for (size_t i = 0; nodes && i < graph->nodes.count && w->status == TC_OK; i++)
        if (is_kept(w, graph, graph->nodes.data[i]))
            nodes[(*count)++] = write_node(w, graph, graph->nodes.data[i]);
    return nodes;
}

/*
 * Functions
 */
static void list_functions(tc_graph_writing *w, const tc_graph *graph, int depth)
{
    if (w->status == TC_OK && depth > TC_FILE_MAX_DEPTH)
        w->status =
            tc_fail(TC_INVALID_ARGUMENT,
                    "function '%s' lies more than %d functions deep, which no file can hold",
                    graph->function_name, TC_FILE_MAX_DEPTH);
    for (size_t i = 0; i < graph->functions.count && w->status == TC_OK; i++) {
        const tc_graph *body = graph->functions.data[i];
        if (w->selection && !tc_selection_has_function(w->selection, body))
            continue;
        const tc_graph **key = take(w, 1, sizeof(tc_graph *));
        if (!key)
            return;
        *key = body;
        if (!tc_vector_push(&w->functions, body) ||
            !tc_map_put(&w->function_numbers, key, sizeof *key, w->functions.count))
            fail_memory(w);
        list_functions(w, body, depth + 1);
    }
    if (w->status == TC_OK && w->functions.count > TC_FILE_MAX_FUNCTIONS)
        w->status = tc_fail(TC_INVALID_ARGUMENT, "the graph has more than %d functions",
                            TC_FILE_MAX_FUNCTIONS);
}

static uint64_t function_number(const tc_graph_writing *w, const tc_graph *body)
{
    const uint64_t *number = tc_map_find(&w->function_numbers, &body, sizeof body);
    return number ? *number : 0;
}

/* Refuses what the reader would refuse. */
static void measure(tc_graph_writing *w, const tc_graph *graph, int level)
{
    tc_cost cost = {0};
    bool too_deep = false;
    for (size_t i = 0; i < graph->nodes.count && w->status == TC_OK; i++) {
        const tc_node *node = graph->nodes.data[i];
        if (!is_kept(w, graph, node))
            continue;
        cost.nodes++;
        for (int a = 0; a < node->attrs.op->n_attrs && w->status == TC_OK; a++) {
            if (node->attrs.op->attrs[a].type != TC_ATTR_FUNCTION)
                continue;
            const tc_graph *body = tc_graph_find_function(graph, node->attrs.values[a].s);
            if (!body)
                continue;
            const tc_cost *called = &w->costs[function_number(w, body)];
            if (called->depth == 0 && level < TC_FILE_MAX_DEPTH)
                measure(w, body, level + 1);
            too_deep |= called->depth == 0;
            cost.depth = called->depth > cost.depth ? called->depth : cost.depth;
            cost.nodes += called->nodes;
        }
        too_deep |= cost.depth + (graph->parent != NULL) > TC_FILE_MAX_DEPTH;
        if (w->status == TC_OK && (too_deep || cost.nodes > TC_FILE_MAX_INFERRED))
            w->status =
                tc_fail(TC_INVALID_ARGUMENT,
                        "the calls of %s '%s' put more than %d functions into each other or "
                        "take more than %llu nodes, which no file can hold",
                        node->attrs.op->name, node->name, TC_FILE_MAX_DEPTH,
                        (unsigned long long)TC_FILE_MAX_INFERRED);
    }
    cost.depth++;
    w->costs[function_number(w, graph)] = cost;
}

static void write_ports(tc_graph_writing *w, const tc_graph *body, Tensorc__Function *message)
{
    message->parameters = take(w, body->parameters.count, sizeof *message->parameters);
    message->result_nodes = take(w, body->results.count, sizeof *message->result_nodes);
    message->result_outputs = take(w, body->results.count, sizeof *message->result_outputs);
    message->captures = take(w, body->captures.count, sizeof *message->captures);
    if (w->status != TC_OK)
        return;
    message->n_parameters = body->parameters.count;
    for (size_t i = 0; i < body->parameters.count; i++)
        message->parameters[i] = (uint32_t)body->parameters.data[i];
    message->n_result_nodes = message->n_result_outputs = body->results.count;
    for (size_t i = 0; i < body->results.count; i++) {
        message->result_nodes[i] = (uint32_t)body->results.data[i].node;
        message->result_outputs[i] = (uint32_t)body->results.data[i].output;
    }
    for (size_t i = 0; i < body->captures.count; i++) {
        const tc_capture *from = &body->captures.data[i];
        Tensorc__Capture *capture = NEW(w, Capture, capture);
        if (!capture)
            return;
        capture->node = (uint32_t)number_of(w, body->parent, from->outer.node);
        capture->output = (uint32_t)from->outer.output;
        capture->parameter = (uint32_t)from->parameter;
        message->captures[message->n_captures++] = capture;
    }
}

static Tensorc__Function *write_function(tc_graph_writing *w, const tc_graph *body)
{
    Tensorc__Function *message = NEW(w, Function, function);
    if (!message)
        return NULL;
    message->name = text(w, "a function", body->function_name);
    message->parent = (uint32_t)function_number(w, body->parent);
    message->nodes = write_nodes(w, body, &message->n_nodes);
    write_ports(w, body, message);
    return message;
}

static void number_nodes(tc_graph_writing *w)
{
    size_t count = w->graph->nodes.count;
    if (!(w->numbers = take(w, count, sizeof *w->numbers)))
        return;
    int32_t next = 0;
    for (size_t i = 0; i < count; i++)
        w->numbers[i] = w->selection->nodes[i] ? next++ : -1;
}

static void write_graph(tc_graph_writing *w, Tensorc__Graph *message)
{
    if (w->selection)
        number_nodes(w);
    list_functions(w, w->graph, 0);
    if (w->status == TC_OK && (w->costs = take(w, w->functions.count + 1, sizeof *w->costs)))
        measure(w, w->graph, 0);
    for (size_t i = 0; i < w->functions.count && w->status == TC_OK; i++)
        if (w->costs[i + 1].depth == 0) /* nobody calls it yet */
            measure(w, w->functions.data[i], 0);
    message->seed = w->graph->seed;
    message->functions = take(w, w->functions.count, sizeof *message->functions);
    for (size_t i = 0; i < w->functions.count && w->status == TC_OK; i++)
        message->functions[message->n_functions++] = write_function(w, w->functions.data[i]);
    if (w->status == TC_OK)
        message->nodes = write_nodes(w, w->graph, &message->n_nodes);
    message->files = w->files.data;
    message->n_files = w->files.count;
}

tc_status tc_graph_put(tc_records_writer *writer, const tc_graph *graph,
                       const tc_graph_selection *selection)
{
    tc_graph_writing w = {.graph = graph, .selection = selection};
    Tensorc__Graph message = TENSORC__GRAPH__INIT;
    write_graph(&w, &message);
    for (size_t i = 0; i < w.tensors.count && w.status == TC_OK; i++)
        w.status = tc_records_put_tensor(writer, NULL, w.tensors.data[i]);
    if (w.status == TC_OK)
        w.status = tc_records_put(writer, TENSORC__RECORD__CONTENT_GRAPH, &message.base);
    tc_vector_free(&w.files);
    tc_vector_free(&w.tensors);
    tc_vector_free(&w.functions);
    tc_map_free(&w.file_numbers);
    tc_map_free(&w.tensor_numbers);
    tc_map_free(&w.function_numbers);
    tc_arena_free(&w.arena);
    return w.status;
}
