/* Life, errors and names of graphs. */
#include <stdio.h>
#include <string.h>

#include "core/tensor.h"
#include "graph/internal.h"

tc_graph *tc_graph_create(void)
{
    return tc_graph_create_with(NULL);
}

tc_graph *tc_graph_create_with(const tc_graph_options *options)
{
    TC_OPTIONS(tc_graph_options, o, options);
    tc_graph *graph = tc_alloc_zero(1, sizeof *graph + TC_ERROR_MESSAGE_SIZE);
    if (!graph) {
        tc_fail_memory(sizeof *graph, "a graph");
        return NULL;
    }
    atomic_init(&graph->references, 1);
    graph->message = (char *)(graph + 1);
    graph->registry = tc_registry_retain(o.registry);
    graph->seed = o.seed;
    return graph;
}

/* A function lives as long as the graph around it: references to it are references to that. */
static tc_graph *root_of(tc_graph *graph)
{
    while (graph->parent)
        graph = graph->parent;
    return graph;
}

tc_graph *tc_graph_retain(tc_graph *graph)
{
    if (graph)
        atomic_fetch_add_explicit(&root_of(graph)->references, 1, memory_order_relaxed);
    return graph;
}

static void graph_free(tc_graph *graph)
{
    for (size_t i = 0; i < graph->functions.count; i++)
        graph_free(graph->functions.data[i]);
    for (size_t i = 0; i < graph->tensors.count; i++)
        tc_tensor_release(graph->tensors.data[i]);
    tc_registry_release(graph->registry);
    tc_arena_free(&graph->arena);
    tc_map_free(&graph->names);
    tc_map_free(&graph->counts);
    tc_map_free(&graph->symbols);
    tc_vector_free(&graph->nodes);
    tc_vector_free(&graph->tensors);
    tc_vector_free(&graph->scopes);
    tc_vector_free(&graph->controls);
    tc_vector_free(&graph->control_levels);
    tc_vector_free(&graph->devices);
    tc_vector_free(&graph->functions);
    tc_vector_free(&graph->parameters);
    tc_vector_free(&graph->results);
    tc_vector_free(&graph->captures);
    tc_free(graph);
}

void tc_graph_release(tc_graph *graph)
{
    if (!graph)
        return;
    tc_graph *root = root_of(graph);
    if (atomic_fetch_sub_explicit(&root->references, 1, memory_order_acq_rel) == 1)
        graph_free(root);
}

tc_status tc_graph_status(const tc_graph *graph)
{
    if (!graph)
        return tc_fail(TC_INVALID_ARGUMENT, "the graph is NULL: check the result of the call that "
                                            "created it");
    if (graph->status != TC_OK)
        return tc_fail_saved(graph->status, graph->message);
    return TC_OK;
}

const char *tc_graph_error(const tc_graph *graph)
{
    return graph ? graph->message : "";
}

uint64_t tc_graph_seed(const tc_graph *graph)
{
    return graph ? graph->seed : 0;
}

const char *tc_place_text(tc_location at, char buffer[TC_PLACE_SIZE])
{
    buffer[0] = 0;
    if (at.file && at.outer_file)
        snprintf(buffer, TC_PLACE_SIZE, "%s:%d (called from %s:%d)", at.file, (int)at.line,
                 at.outer_file, (int)at.outer_line);
    else if (at.file)
        snprintf(buffer, TC_PLACE_SIZE, "%s:%d", at.file, (int)at.line);
    return buffer;
}

/* Records "<prefix><why>; built at <place>" in the graph and in those around it. The place must not
 * be cut off. */
static tc_value fail(tc_graph *graph, tc_location at, tc_status status, const char *prefix,
                     const char *format, va_list arguments)
{
    char why[TC_ERROR_MESSAGE_SIZE], place[TC_PLACE_SIZE];
    vsnprintf(why, sizeof why, format, arguments);
    tc_place_text(at, place);
    int room = TC_ERROR_MESSAGE_SIZE - 16 - (int)strlen(place) - (int)strlen(prefix);
    char message[TC_ERROR_MESSAGE_SIZE];
    snprintf(message, sizeof message, "%s%.*s%s%s", prefix, room, why,
             place[0] ? "; built at " : "", place);
    tc_fail_saved(status, message);
    for (tc_graph *g = graph; g; g = g->parent) {
        if (g->status != TC_OK)
            continue;
        g->status = status;
        snprintf(g->message, TC_ERROR_MESSAGE_SIZE, "%s", message);
    }
    return tc_invalid_value(graph);
}

tc_value tc_graph_fail(tc_graph *graph, tc_location at, tc_status status, const char *format, ...)
{
    if (graph && tc_graph_failed(graph))
        return tc_invalid_value(graph);
    va_list arguments;
    va_start(arguments, format);
    tc_value invalid =
        fail(graph, at, status == TC_OK ? TC_INTERNAL : status, "", format, arguments);
    va_end(arguments);
    return invalid;
}

tc_value tc_graph_fail_node(tc_graph *graph, tc_location at, tc_status status, const char *op,
                            const char *path, const char *format, ...)
{
    if (graph && tc_graph_failed(graph))
        return tc_invalid_value(graph);
    char prefix[TC_ERROR_MESSAGE_SIZE / 4] = "";
    if (op && path)
        snprintf(prefix, sizeof prefix, "%.120s '%.360s': ", op, path);
    else if (op)
        snprintf(prefix, sizeof prefix, "%.120s: ", op);
    va_list arguments;
    va_start(arguments, format);
    tc_value invalid = fail(graph, at, status, prefix, format, arguments);
    va_end(arguments);
    return invalid;
}

tc_value tc_graph_fail_memory(tc_graph *graph, tc_location at)
{
    return tc_graph_fail(graph, at, TC_RESOURCE_EXHAUSTED,
                         "out of memory while building the graph (%zu nodes so far)",
                         graph ? graph->nodes.count : 0);
}

const char *tc_graph_intern(tc_graph *graph, const char *text)
{
    const uint64_t *found = tc_map_find_string(&graph->symbols, text);
    if (found)
        return (const char *)(uintptr_t)*found;
    const char *copy = tc_arena_strdup(&graph->arena, text);
    if (!copy || !tc_map_put_string(&graph->symbols, copy, (uint64_t)(uintptr_t)copy)) {
        tc_graph_fail_memory(graph, (tc_location){0});
        return NULL;
    }
    return copy;
}

bool tc_graph_intern_shape(tc_graph *graph, tc_shape *shape)
{
    for (int32_t i = 0; i < shape->rank; i++)
        if (shape->dims[i].name &&
            !(shape->dims[i].name = tc_graph_intern(graph, shape->dims[i].name)))
            return false;
    return true;
}

bool tc_graph_intern_location(tc_graph *graph, tc_location *at)
{
    if (at->file && !(at->file = tc_graph_intern(graph, at->file)))
        return false;
    return !at->outer_file || (at->outer_file = tc_graph_intern(graph, at->outer_file));
}

const char *tc_name_problem(const char *name)
{
    if (!name[0])
        return "is empty";
    for (const char *c = name; *c; c++) {
        bool word = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                    (*c >= '0' && *c <= '9') || (*c && strchr("_-.+", *c));
        if (!word && *c != '/')
            return "has a character other than letters, digits and _ - . + /";
        if (*c == '/' && (c == name || c[1] == '/' || !c[1]))
            return "has an empty part before, between or after '/'";
    }
    return NULL;
}

/* Scopes. The vector holds whole prefixes, "outer/inner/". */

/* "outer/name/", or "outer/name_suffix/" where `suffix` is not 0; NULL: memory. */
static const char *make_prefix(tc_graph *graph, const char *name, uint64_t suffix)
{
    const char *outer = graph->scopes.count ? graph->scopes.data[graph->scopes.count - 1] : "";
    char tail[24] = "/";
    if (suffix > 0)
        snprintf(tail, sizeof tail, "_%llu/", (unsigned long long)suffix);
    size_t size = strlen(outer) + strlen(name) + strlen(tail) + 1;
    char *prefix = tc_arena_alloc(&graph->arena, size);
    if (prefix)
        snprintf(prefix, size, "%s%s%s", outer, name, tail);
    return prefix;
}

void tc_scope_push(tc_graph *graph, const char *name)
{
    if (!graph || tc_graph_failed(graph))
        return;
    bool root = name && strcmp(name, "/") == 0;
    const char *problem = root ? NULL : name ? tc_name_problem(name) : "is NULL";
    if (problem) {
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "tc_scope_push: the name '%s' %s", name ? name : "", problem);
        return;
    }
    if (root) {
        if (!tc_vector_push(&graph->scopes, ""))
            tc_graph_fail_memory(graph, (tc_location){0});
        return;
    }
    const char *prefix = make_prefix(graph, name, 0);
    if (!prefix || !tc_vector_push(&graph->scopes, prefix))
        tc_graph_fail_memory(graph, (tc_location){0});
}

void tc_scope_push_new(tc_graph *graph, const char *name)
{
    if (!graph || tc_graph_failed(graph))
        return;
    const char *problem = name ? tc_name_problem(name) : "is NULL";
    if (problem) {
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "tc_scope_push_new: the name '%s' %s", name ? name : "", problem);
        return;
    }
    /* Prefixes end in a slash, which no path of a node does: one map serves both. */
    const char *prefix = make_prefix(graph, name, 0);
    const uint64_t *next = prefix ? tc_map_find_string(&graph->counts, prefix) : NULL;
    uint64_t suffix = next ? *next : 0;
    bool done = prefix && tc_map_put_string(&graph->counts, prefix, suffix + 1);
    if (done && suffix > 0)
        prefix = make_prefix(graph, name, suffix);
    if (!done || !prefix || !tc_vector_push(&graph->scopes, prefix))
        tc_graph_fail_memory(graph, (tc_location){0});
}

/* On a failed graph pushes did nothing, so that pops must not complain. */
static bool can_pop(tc_graph *graph, size_t count, const char *what)
{
    if (!graph || tc_graph_failed(graph))
        return false;
    if (count == 0)
        tc_graph_fail(graph, (tc_location){0}, TC_FAILED_PRECONDITION,
                      "tc_%s_pop without a matching tc_%s_push", what, what);
    return count > 0;
}

void tc_scope_pop(tc_graph *graph)
{
    if (can_pop(graph, graph ? graph->scopes.count : 0, "scope"))
        graph->scopes.count--;
}

void tc_control_push(tc_graph *graph, const tc_value *values, size_t count)
{
    if (!graph || tc_graph_failed(graph))
        return;
    if (count && !values) {
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "tc_control_push: the values are NULL");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i].graph != graph || values[i].node < 0 ||
            (size_t)values[i].node >= graph->nodes.count) {
            tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                          "tc_control_push: value %zu is not a value of this graph", i);
            return;
        }
    }
    if (!tc_vector_reserve(&graph->controls, graph->controls.count + count) ||
        !tc_vector_push(&graph->control_levels, (int32_t)count)) {
        tc_graph_fail_memory(graph, (tc_location){0});
        return;
    }
    for (size_t i = 0; i < count; i++)
        graph->controls.data[graph->controls.count++] = values[i].node;
}

void tc_control_pop(tc_graph *graph)
{
    if (can_pop(graph, graph ? graph->control_levels.count : 0, "control"))
        graph->controls.count -= (size_t)graph->control_levels.data[--graph->control_levels.count];
}

void tc_device_push(tc_graph *graph, const char *device)
{
    if (!graph || tc_graph_failed(graph))
        return;
    if (!device || !device[0]) {
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "tc_device_push: the device is empty");
        return;
    }
    const char *copy = tc_graph_intern(graph, device);
    if (copy && !tc_vector_push(&graph->devices, copy))
        tc_graph_fail_memory(graph, (tc_location){0});
}

void tc_device_pop(tc_graph *graph)
{
    if (can_pop(graph, graph ? graph->devices.count : 0, "device"))
        graph->devices.count--;
}

void tc_annotate(tc_value value, const char *key, const char *text)
{
    tc_graph *graph = value.graph;
    if (!graph || tc_graph_failed(graph))
        return;
    if (!tc_value_node(value) || !key || !key[0] || !text) {
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "tc_annotate: needs a valid value, a key and a text");
        return;
    }
    tc_node *node = graph->nodes.data[value.node];
    const char *copy = tc_graph_intern(graph, text);
    if (!copy)
        return;
    tc_note **last = &node->notes;
    for (; *last; last = &(*last)->next) {
        if (strcmp((*last)->key, key) == 0) {
            (*last)->text = copy;
            return;
        }
    }
    const char *own_key = tc_graph_intern(graph, key);
    tc_note *note = own_key ? tc_arena_alloc(&graph->arena, sizeof *note) : NULL;
    if (!note) {
        tc_graph_fail_memory(graph, (tc_location){0});
        return;
    }
    note->key = own_key;
    note->text = copy;
    *last = note;
}

const char *tc_annotation(tc_value value, const char *key)
{
    const tc_node *node = tc_value_node(value);
    for (const tc_note *note = node && key ? node->notes : NULL; note; note = note->next)
        if (strcmp(note->key, key) == 0)
            return note->text;
    return NULL;
}
