/* Adding a node: every builder, loader and pass ends here. */
#include <stdio.h>
#include <string.h>

#include "core/dtype.h"
#include "core/shape.h"
#include "graph/internal.h"

/* A node on its way into a graph. */
typedef struct tc_building {
    tc_graph *graph;
    const tc_node_spec *spec;
    const tc_op *op;
    char *path;         /* in the arena, with room for a suffix */
    size_t path_length; /* without suffix */
    tc_edge *inputs;
    int32_t n_inputs;
    tc_attr *attrs;
    tc_value_info *outputs;
    int32_t n_outputs;
} tc_building;

enum { suffix_room = 24 };

static bool fail(tc_building *b, tc_status status, const char *format, ...) TC_PRINTF(3, 4);

static bool fail(tc_building *b, tc_status status, const char *format, ...)
{
    char why[TC_ERROR_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    tc_graph_fail_node(b->graph, b->spec->at, status, b->spec->op, b->path, "%s", why);
    return false;
}

static bool fail_memory(tc_building *b)
{
    tc_graph_fail_memory(b->graph, b->spec->at);
    return false;
}

/* Placeholders and variables are found by name from outside, so theirs is never changed. */
static bool name_is_identity(const tc_op *op)
{
    return strcmp(op->name, "placeholder") == 0 || strcmp(op->name, "variable") == 0;
}

static bool find_op(tc_building *b)
{
    const char *name = b->spec->op;
    if (!name)
        return fail(b, TC_INVALID_ARGUMENT, "a node needs an operator, but none is named");
    b->op = tc_registry_find_op(b->graph->registry, name);
    if (b->op) {
        if (b->graph->parent && name_is_identity(b->op))
            return fail(b, TC_INVALID_ARGUMENT,
                        "a %s belongs to the graph, not to function '%s': build it before the "
                        "function and use it inside",
                        name, b->graph->function_name);
        return true;
    }
    const char *nearest = tc_registry_nearest_op(b->graph->registry, name);
    return nearest ? fail(b, TC_NOT_FOUND, "there is no such operator; did you mean '%s'?", nearest)
                   : fail(b, TC_NOT_FOUND, "there is no such operator");
}

static bool make_path(tc_building *b, bool scoped)
{
    tc_graph *graph = b->graph;
    const char *name = b->spec->name ? b->spec->name : b->spec->op;
    const char *problem = tc_name_problem(name);
    if (problem)
        return fail(b, TC_INVALID_ARGUMENT, "the name '%.200s' %s", name, problem);
    const char *prefix =
        scoped && graph->scopes.count ? graph->scopes.data[graph->scopes.count - 1] : "";
    size_t prefix_length = strlen(prefix), length = strlen(name);
    char *path = tc_arena_alloc(&graph->arena, prefix_length + length + suffix_room);
    if (!path)
        return fail_memory(b);
    memcpy(path, prefix, prefix_length);
    memcpy(path + prefix_length, name, length);
    b->path = path;
    b->path_length = prefix_length + length;
    return true;
}

static const char *input_text(const tc_building *b, size_t index, char buffer[80])
{
    const tc_port *port = tc_op_input_port(b->op, (int32_t)index);
    if (port && !(port->flags & TC_PORT_VARIADIC))
        snprintf(buffer, 80, "input '%.60s'", port->name);
    else
        snprintf(buffer, 80, "input %zu", index);
    return buffer;
}

static bool resolve_input(tc_building *b, size_t index, tc_value value, tc_edge *edge)
{
    char name[80];
    *edge = (tc_edge){-1, 0};
    if (value.node < 0) {
        if (!value.graph)
            return true; /* not given: inference knows whether it may be */
        return fail(b, TC_INVALID_ARGUMENT, "%s is an invalid value", input_text(b, index, name));
    }
    const tc_node *node = tc_value_node(value);
    if (!node)
        return fail(b, TC_INVALID_ARGUMENT, "%s is no value of any graph",
                    input_text(b, index, name));
    if (value.output < 0 || value.output >= node->n_outputs)
        return fail(b, TC_INVALID_ARGUMENT, "%s is output %d of %s '%s', which has %d output%s",
                    input_text(b, index, name), (int)value.output, node->attrs.op->name, node->name,
                    (int)node->n_outputs, node->n_outputs == 1 ? "" : "s");
    if (!tc_graph_is_within(b->graph, value.graph))
        return fail(
            b, TC_INVALID_ARGUMENT,
            "%s, '%s', belongs to another graph; values can only be used in their own graph "
            "and in functions inside of it",
            input_text(b, index, name), node->name);
    *edge = tc_graph_capture(b->graph, b->spec->at, value);
    return edge->node >= 0;
}

static bool resolve_inputs(tc_building *b)
{
    size_t given = b->spec->n_inputs, count = (size_t)b->op->n_inputs;
    if (count && b->op->inputs[count - 1].flags & TC_PORT_VARIADIC)
        count--;
    if (count < given)
        count = given;
    if (count > INT32_MAX)
        return fail(b, TC_INVALID_ARGUMENT, "has too many inputs");
    b->inputs = tc_arena_array(&b->graph->arena, count, sizeof *b->inputs);
    if (!b->inputs)
        return fail_memory(b);
    b->n_inputs = (int32_t)count;
    for (size_t i = 0; i < count; i++)
        if (!resolve_input(b, i, i < given ? b->spec->inputs[i] : TC_NO_VALUE, &b->inputs[i]))
            return false;
    return true;
}

static const char *attr_name_at(const void *op, size_t i)
{
    return ((const tc_op *)op)->attrs[i].name;
}

static bool is_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (const char *c = choices;; c++) {
        size_t n = strcspn(c, "|");
        if (n == length && memcmp(c, word, n) == 0)
            return true;
        c += n;
        if (!*c)
            return false;
    }
}

static bool is_null(const tc_attr *attr)
{
    switch (attr->type) {
    case TC_ATTR_STRING:
    case TC_ATTR_FUNCTION: return !attr->s;
    case TC_ATTR_SHAPE: return !attr->shape;
    case TC_ATTR_TENSOR: return !attr->tensor;
    case TC_ATTR_INTS: return attr->count > 0 && !attr->ints;
    case TC_ATTR_FLOATS: return attr->count > 0 && !attr->floats;
    case TC_ATTR_STRINGS:
        for (int32_t i = 0; attr->strings && i < attr->count; i++)
            if (!attr->strings[i])
                return true;
        return attr->count > 0 && !attr->strings;
    default: return false;
    }
}

static bool check_attr(tc_building *b, const tc_attr_def *def, const tc_attr *value)
{
    if (value->type != def->type)
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s' must be %s, but is %s", def->name,
                    tc_attr_type_name(def->type), tc_attr_type_name(value->type));
    if (value->type == def->fallback.type && is_null(value) && is_null(&def->fallback))
        return true;
    if (value->type >= TC_ATTR_INTS && value->type <= TC_ATTR_STRINGS && value->count < 0)
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s' has %d elements", def->name,
                    (int)value->count);
    if (is_null(value))
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s' is NULL", def->name);
    if (def->choices && !is_choice(def->choices, value->s))
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s' is \"%.100s\"; it must be one of %s",
                    def->name, value->s, def->choices);
    if (def->type == TC_ATTR_SHAPE && tc_shape_valid(value->shape) != TC_OK)
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s': %s", def->name, tc_error_message());
    bool default_dtype = def->fallback.type == TC_ATTR_DTYPE && value->dtype == def->fallback.dtype;
    if (def->type == TC_ATTR_DTYPE && !default_dtype && tc_dtype_valid(value->dtype) != TC_OK)
        return fail(b, TC_INVALID_ARGUMENT, "attribute '%s': %s", def->name, tc_error_message());
    return true;
}

static bool make_attrs(tc_building *b)
{
    const tc_op *op = b->op;
    b->attrs = tc_arena_array(&b->graph->arena, (size_t)op->n_attrs, sizeof *b->attrs);
    if (!b->attrs)
        return fail_memory(b);
    for (int i = 0; i < op->n_attrs; i++)
        b->attrs[i] = op->attrs[i].fallback;
    for (size_t i = 0; i < b->spec->n_attrs; i++) {
        const tc_attr_arg *given = &b->spec->attrs[i];
        int index = given->name ? tc_op_attr_index(op, given->name) : -1;
        if (index < 0) {
            const char *nearest =
                tc_text_nearest(given->name, (size_t)op->n_attrs, attr_name_at, op);
            return fail(b, TC_INVALID_ARGUMENT, "has no attribute '%.100s'%s%s%s",
                        given->name ? given->name : "(NULL)", nearest ? "; did you mean '" : "",
                        nearest ? nearest : "", nearest ? "'?" : "");
        }
        if (!check_attr(b, &op->attrs[index], &given->value))
            return false;
        b->attrs[index] = given->value;
        if (!tc_attr_copy(b->graph, &b->attrs[index])) {
            b->attrs[index].type = TC_ATTR_NONE;
            return fail_memory(b);
        }
    }
    for (int i = 0; i < op->n_attrs; i++)
        if (b->attrs[i].type == TC_ATTR_NONE)
            return fail(b, TC_INVALID_ARGUMENT, "attribute '%s' (%s) is required",
                        op->attrs[i].name, tc_attr_type_name(op->attrs[i].type));
    return true;
}

/* A variable, or the parameter of a function that stands for one. */
static bool is_variable(const tc_graph *graph, tc_edge edge)
{
    while (edge.node >= 0) {
        if (tc_node_is(graph->nodes.data[edge.node], "variable"))
            return true;
        size_t i = 0;
        while (i < graph->captures.count && graph->captures.data[i].parameter != edge.node)
            i++;
        if (i == graph->captures.count)
            return false;
        edge = graph->captures.data[i].outer;
        graph = graph->parent;
    }
    return false;
}

static bool is_resource(const tc_building *b, int32_t input)
{
    return b->inputs[input].node >= 0 &&
           tc_op_input_flags(b->op, input, b->n_outputs) & TC_PORT_RESOURCE;
}

static bool check_resources(tc_building *b)
{
    for (int32_t i = 0; i < b->n_inputs; i++) {
        if (!is_resource(b, i))
            continue;
        const tc_port *port = tc_op_input_port(b->op, i);
        const tc_node *node = b->graph->nodes.data[b->inputs[i].node];
        for (int32_t k = 0; k < i; k++)
            if (is_resource(b, k) && b->inputs[k].node == b->inputs[i].node)
                return fail(b, TC_INVALID_ARGUMENT,
                            "inputs '%s' and '%s' are both '%s'; each variable that an update "
                            "writes must be another one",
                            tc_op_input_port(b->op, k)->name, port->name, node->name);
        if (is_variable(b->graph, b->inputs[i]))
            continue;
        return fail(b, TC_INVALID_ARGUMENT,
                    "input '%s' is written to and must be a variable itself, but '%s' is the "
                    "result of %s",
                    port->name, node->name, node->attrs.op->name);
    }
    return true;
}

static bool infer(tc_building *b)
{
    enum { on_stack = 8 };
    tc_value_info small[on_stack], *inputs = small;
    if (b->n_inputs > on_stack && !(inputs = tc_alloc_zero((size_t)b->n_inputs, sizeof *inputs)))
        return fail_memory(b);
    for (int32_t i = 0; i < b->n_inputs; i++)
        inputs[i] =
            b->inputs[i].node < 0 ? (tc_value_info){0} : *tc_edge_info(b->graph, b->inputs[i]);
    char message[TC_INFER_MESSAGE_SIZE];
    const tc_attrs attrs = {b->op, b->attrs};
    tc_status status = tc_graph_infer(b->graph, &attrs, inputs, b->n_inputs, &b->graph->arena,
                                      &b->outputs, &b->n_outputs, message);
    if (inputs != small)
        tc_free(inputs);
    if (status == TC_RESOURCE_EXHAUSTED)
        return fail_memory(b);
    if (status != TC_OK)
        return fail(b, status, "%s", message);
    for (int32_t i = 0; i < b->n_outputs; i++)
        if (!tc_graph_intern_shape(b->graph, &b->outputs[i].shape))
            return false;
    return true;
}

/* Makes the path unique: O(1) on average, because each base path remembers its next suffix. */
static bool make_unique(tc_building *b)
{
    tc_graph *graph = b->graph;
    const uint64_t *taken = tc_map_find_string(&graph->names, b->path);
    if (!taken)
        return true;
    const tc_node *other = graph->nodes.data[*taken];
    if (name_is_identity(b->op)) {
        char place[TC_PLACE_SIZE];
        tc_place_text(other->at, place);
        return fail(b, TC_ALREADY_EXISTS,
                    "the name is taken by a %s%s%s; %ss are found by name, choose another one",
                    other->attrs.op->name, place[0] ? " built at " : "", place, b->op->name);
    }
    const uint64_t *next = tc_map_find_string(&graph->counts, other->name);
    uint64_t suffix = next ? *next : 1;
    do {
        snprintf(b->path + b->path_length, suffix_room, "_%llu", (unsigned long long)suffix++);
    } while (tc_map_find_string(&graph->names, b->path));
    return tc_map_put_string(&graph->counts, other->name, suffix) || fail_memory(b);
}

/* Random numbers are keyed by the node's path, so that adding nodes elsewhere does not change them.
 */
static void fill_stream(tc_building *b)
{
    const tc_attrs attrs = {b->op, b->attrs};
    int index = tc_op_attr_index(b->op, "stream");
    if (!(b->op->effects & TC_EFFECT_RANDOM || tc_node_function(&attrs)) || index < 0 ||
        b->attrs[index].type != TC_ATTR_INT || b->attrs[index].i != 0)
        return;
    uint64_t hash = tc_hash_string(b->path);
    b->attrs[index].i = hash ? (int64_t)hash : 1;
}

static bool make_controls(tc_building *b, tc_node *node, const int32_t *controls, size_t count)
{
    if (count == 0)
        return true;
    node->controls = tc_arena_array(&b->graph->arena, count, sizeof *node->controls);
    if (!node->controls)
        return fail_memory(b);
    for (size_t i = 0; i < count; i++) {
        if (controls[i] < 0 || (size_t)controls[i] >= b->graph->nodes.count)
            return fail(b, TC_INVALID_ARGUMENT, "control dependency %d is not an earlier node",
                        (int)controls[i]);
        bool seen = false;
        for (int32_t j = 0; j < node->n_controls && !seen; j++)
            seen = node->controls[j] == controls[i];
        if (!seen)
            node->controls[node->n_controls++] = controls[i];
    }
    return true;
}

static tc_node *insert(tc_building *b, const int32_t *controls, size_t n_controls)
{
    tc_graph *graph = b->graph;
    tc_node *node = tc_arena_alloc(&graph->arena, sizeof *node);
    if (!node || graph->nodes.count >= INT32_MAX ||
        !tc_vector_reserve(&graph->nodes, graph->nodes.count + 1)) {
        fail_memory(b);
        return NULL;
    }
    *node = (tc_node){
        .attrs = {b->op, b->attrs},
        .name = b->path,
        .inputs = b->inputs,
        .outputs = b->outputs,
        .at = b->spec->at,
        .n_inputs = b->n_inputs,
        .n_outputs = b->n_outputs,
        .index = (int32_t)graph->nodes.count,
    };
    if (!make_controls(b, node, controls, n_controls))
        return NULL;
    if (!tc_graph_intern_location(graph, &node->at) ||
        !tc_map_put_string(&graph->names, node->name, (uint64_t)node->index)) {
        fail_memory(b);
        return NULL;
    }
    graph->nodes.data[graph->nodes.count++] = node;
    return node;
}

static tc_node *build(tc_graph *graph, const tc_node_spec *spec, bool scoped,
                      const int32_t *controls, size_t n_controls)
{
    tc_building b = {.graph = graph, .spec = spec};
    if (graph->closed) {
        fail(&b, TC_FAILED_PRECONDITION, "function '%s' is finished and takes no more nodes",
             graph->function_name);
        return NULL;
    }
    if (!find_op(&b) || !make_path(&b, scoped) || !resolve_inputs(&b) || !make_attrs(&b) ||
        !check_resources(&b) || !infer(&b) || !make_unique(&b))
        return NULL;
    fill_stream(&b);
    return insert(&b, controls, n_controls);
}

/* Of the graphs of the inputs the innermost one: outer values are captured by it. */
static tc_graph *graph_of(const tc_node_spec *spec)
{
    tc_graph *graph = NULL;
    for (size_t i = 0; i < spec->n_inputs; i++) {
        tc_graph *other = spec->inputs[i].graph;
        if (!graph || (other && other != graph && tc_graph_is_within(other, graph)))
            graph = other;
    }
    return graph;
}

tc_value tc_node_build(tc_graph *graph, const tc_node_spec *spec)
{
    if (!spec || (spec->n_inputs && !spec->inputs) || (spec->n_attrs && !spec->attrs))
        return tc_graph_fail(graph, spec ? spec->at : (tc_location){0}, TC_INVALID_ARGUMENT,
                             "tc_node_build: the spec, its inputs or its attributes are NULL");
    if (!graph)
        graph = graph_of(spec);
    if (!graph) {
        tc_fail(TC_INVALID_ARGUMENT, "%s: the graph is NULL and no input has one",
                spec->op ? spec->op : "tc_node_build");
        return TC_NO_VALUE;
    }
    if (tc_graph_failed(graph))
        return tc_invalid_value(graph);
    const tc_node *node = build(graph, spec, true, graph->controls.data, graph->controls.count);
    if (!node)
        return tc_invalid_value(graph);
    tc_value value = {graph, node->index, 0};
    if (graph->devices.count)
        tc_annotate(value, "device", graph->devices.data[graph->devices.count - 1]);
    return tc_graph_failed(graph) ? tc_invalid_value(graph) : value;
}

tc_node *tc_graph_append(tc_graph *graph, const tc_node_spec *spec, const int32_t *controls,
                         size_t n_controls)
{
    if (!graph || tc_graph_failed(graph))
        return NULL;
    return build(graph, spec, false, controls, n_controls);
}
