/* Functions: bodies, captures, calls, and what a call's results look like. */
#include <stdio.h>
#include <string.h>

#include "core/shape.h"
#include "graph/internal.h"

tc_graph *tc_graph_find_function(const tc_graph *graph, const char *name)
{
    for (; graph && name; graph = graph->parent)
        for (size_t i = 0; i < graph->functions.count; i++)
            if (strcmp(graph->functions.data[i]->function_name, name) == 0)
                return graph->functions.data[i];
    return NULL;
}

bool tc_graph_is_within(const tc_graph *graph, const tc_graph *ancestor)
{
    while (graph && graph != ancestor)
        graph = graph->parent;
    return graph != NULL;
}

/* Functions inside of functions: clones and checks follow them with the stack. */
enum { most_nesting = 64 };

static int nesting(const tc_graph *graph)
{
    int depth = 0;
    while ((graph = graph->parent))
        depth++;
    return depth;
}

tc_graph *tc_function_begin(tc_graph *graph, const char *name)
{
    if (!graph || tc_graph_failed(graph))
        return NULL;
    const char *problem = name ? tc_name_problem(name) : "is NULL";
    if (problem)
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "function: the name '%.200s' %s", name ? name : "", problem);
    else if (graph->closed)
        tc_graph_fail(graph, (tc_location){0}, TC_FAILED_PRECONDITION,
                      "function '%s' is finished and takes no functions", graph->function_name);
    else if (nesting(graph) >= most_nesting)
        tc_graph_fail(graph, (tc_location){0}, TC_INVALID_ARGUMENT,
                      "function '%s' is nested in more than %d others", name, (int)most_nesting);
    else if (tc_graph_find_function(graph, name))
        tc_graph_fail(graph, (tc_location){0}, TC_ALREADY_EXISTS,
                      "function '%s' exists already in this graph", name);
    if (tc_graph_failed(graph))
        return NULL;
    const tc_graph_options options = {sizeof options, graph->registry, graph->seed};
    tc_graph *body = tc_graph_create_with(&options);
    if (body)
        body->function_name = tc_arena_strdup(&body->arena, name);
    if (!body || !body->function_name || !tc_vector_push(&graph->functions, body)) {
        tc_graph_release(body);
        tc_graph_fail_memory(graph, (tc_location){0});
        return NULL;
    }
    body->parent = graph;
    return body;
}

/* The spec of a parameter node. */
#define TC_PARAMETER_SPEC(node_name, location, node_dtype, node_shape)                            \
    {                                                                                             \
        .op = "parameter", .name = (node_name), .at = (location),                                 \
        TC_SPEC_ATTRS({"dtype", tc_attr_dtype(node_dtype)}, {"shape", tc_attr_shape(node_shape)}) \
    }

static bool insert_parameter(tc_graph *body, tc_location at, int32_t node, size_t position)
{
    if (!tc_vector_reserve(&body->parameters, body->parameters.count + 1)) {
        tc_graph_fail_memory(body, at);
        return false;
    }
    int32_t *data = body->parameters.data;
    memmove(data + position + 1, data + position,
            (body->parameters.count - position) * sizeof *data);
    data[position] = node;
    body->parameters.count++;
    return true;
}

tc_value tc_parameter_at(tc_location at, tc_graph *body, const char *name, tc_dtype dtype,
                         tc_shape shape)
{
    if (!body)
        return TC_NO_VALUE;
    if (!body->function_name)
        return tc_graph_fail_node(body, at, TC_INVALID_ARGUMENT, "parameter", name ? name : "",
                                  "only functions have parameters; use tc_placeholder");
    /* Captured values come last, whenever they are captured. */
    size_t position = body->parameters.count - body->captures.count;
    const tc_node_spec spec = TC_PARAMETER_SPEC(name, at, dtype, &shape);
    tc_value value = tc_node_build(body, &spec);
    if (tc_value_ok(value) && !insert_parameter(body, at, value.node, position))
        return tc_invalid_value(body);
    return value;
}

tc_edge tc_graph_capture(tc_graph *graph, tc_location at, tc_value value)
{
    const tc_edge invalid = {-1, 0};
    if (value.graph == graph)
        return (tc_edge){value.node, value.output};
    tc_edge outer = tc_graph_capture(graph->parent, at, value);
    if (outer.node < 0)
        return invalid;
    for (size_t i = 0; i < graph->captures.count; i++) {
        const tc_capture *capture = &graph->captures.data[i];
        if (capture->outer.node == outer.node && capture->outer.output == outer.output)
            return (tc_edge){capture->parameter, 0};
    }
    const tc_value_info *info = tc_edge_info(graph->parent, outer);
    size_t position = graph->parameters.count;
    const tc_node_spec spec = TC_PARAMETER_SPEC(graph->parent->nodes.data[outer.node]->name, at,
                                                info->dtype, &info->shape);
    const tc_node *node = tc_graph_append(graph, &spec, NULL, 0);
    if (!node)
        return invalid;
    const tc_capture capture = {outer, node->index};
    if (!tc_vector_push(&graph->captures, capture)) {
        tc_graph_fail_memory(graph, at);
        return invalid;
    }
    if (!insert_parameter(graph, at, node->index, position))
        return invalid;
    return (tc_edge){node->index, 0};
}

void tc_function_end_at(tc_location at, tc_graph *body, const tc_value *results, size_t count)
{
    if (!body || tc_graph_failed(body))
        return;
    if (count && !results) {
        tc_graph_fail(body, at, TC_INVALID_ARGUMENT, "tc_function_end: the results are NULL");
        return;
    }
    const char *name = body->function_name;
    if (!name || body->closed) {
        tc_graph_fail(body, at, TC_FAILED_PRECONDITION,
                      name ? "function '%s' is finished already" : "tc_function_end: %s",
                      name ? name : "the graph is no function");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const tc_node *node = tc_value_node(results[i]);
        if (!node || results[i].output < 0 || results[i].output >= node->n_outputs ||
            !tc_graph_is_within(body, results[i].graph)) {
            tc_graph_fail(body, at, TC_INVALID_ARGUMENT,
                          "function '%s': result %zu is not a value of the function", name, i);
            return;
        }
        tc_edge edge = tc_graph_capture(body, at, results[i]);
        if (edge.node < 0)
            return;
        if (!tc_vector_push(&body->results, edge)) {
            tc_graph_fail_memory(body, at);
            return;
        }
    }
    body->closed = true;
}

/* What a function takes, for messages: "2 inputs". */
static const char *inputs_text(const tc_graph *body, char buffer[64])
{
    size_t count = body->parameters.count - body->captures.count;
    snprintf(buffer, 64, "%zu input%s", count, count == 1 ? "" : "s");
    return buffer;
}

tc_value tc_call_at(tc_location at, tc_graph *graph, const char *function, const tc_value *inputs,
                    size_t count, const tc_call_options *options)
{
    return tc_call_in_stream(at, graph, function, inputs, count, options, 0);
}

tc_value tc_call_in_stream(tc_location at, tc_graph *graph, const char *function,
                           const tc_value *inputs, size_t count, const tc_call_options *options,
                           int64_t stream)
{
    TC_OPTIONS(tc_call_options, o, options);
    for (size_t i = 0; !graph && inputs && i < count; i++)
        graph = inputs[i].graph;
    if (!graph) {
        tc_fail(TC_INVALID_ARGUMENT, "call: the graph is NULL and no input has one");
        return TC_NO_VALUE;
    }
    if (tc_graph_failed(graph))
        return tc_invalid_value(graph);
    if (count && !inputs)
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT, "call: the inputs are NULL");
    const char *name = function ? function : "";
    const tc_graph *body = tc_graph_find_function(graph, function);
    if (!body)
        return tc_graph_fail_node(graph, at, TC_NOT_FOUND, "call", o.name ? o.name : name,
                                  "there is no function '%s'", name);
    if (o.gradient && !tc_graph_find_function(graph, o.gradient))
        return tc_graph_fail_node(graph, at, TC_NOT_FOUND, "call", o.name ? o.name : name,
                                  "there is no function '%s' for the gradient; define it before "
                                  "the call",
                                  o.gradient);
    char text[64];
    if (count != body->parameters.count - body->captures.count)
        return tc_graph_fail_node(graph, at, TC_INVALID_ARGUMENT, "call", o.name ? o.name : name,
                                  "function '%s' takes %s, but %zu %s given", name,
                                  inputs_text(body, text), count, count == 1 ? "is" : "are");
    tc_value *all = tc_alloc_zero(body->parameters.count + 1, sizeof *all);
    if (!all)
        return tc_graph_fail_memory(graph, at);
    if (count)
        memcpy(all, inputs, count * sizeof *all);
    for (size_t i = 0; i < body->captures.count; i++)
        all[count + i] = tc_edge_value(body->parent, body->captures.data[i].outer);
    tc_value result = tc_node_build(
        graph, &(const tc_node_spec){
                   .op = "call",
                   .name = o.name ? o.name : name,
                   .at = at,
                   .inputs = all,
                   .n_inputs = body->parameters.count,
                   TC_SPEC_ATTRS({"function", tc_attr_function(name)},
                                 {"gradient", tc_attr_string(o.gradient ? o.gradient : "")},
                                 {"stream", tc_attr_int(stream)})});
    tc_free(all);
    return result;
}

const tc_attr *tc_node_function(const tc_attrs *attrs)
{
    for (int i = 0; i < attrs->op->n_attrs; i++)
        if (attrs->op->attrs[i].type == TC_ATTR_FUNCTION)
            return &attrs->values[i];
    return NULL;
}

/* What one inference may take: a small file can describe calls that unfold into more than any
 * machine holds. */
enum { most_nodes = 1 << 20, most_depth = 256 };

typedef struct tc_unfolding {
    int32_t nodes, depth;
    bool located; /* the message names the innermost node that fails; those around it add nothing */
} tc_unfolding;

/* Inference of a body with the inputs of one call. */
typedef struct tc_body_infer {
    const tc_graph *body;
    tc_unfolding *unfolding;
    tc_arena arena;        /* of everything but the results */
    tc_value_info **infos; /* outputs of each node */
    tc_map sizes;          /* name of a dimension -> what it stands for in this call */
    TC_VECTOR(tc_value_info) inputs;
} tc_body_infer;

static tc_status exhausted(char *message)
{
    snprintf(message, TC_INFER_MESSAGE_SIZE, "out of memory while inferring shapes");
    return TC_RESOURCE_EXHAUSTED;
}

static tc_status bind_parameter(tc_body_infer *b, size_t index, const tc_value_info *input,
                                char *message)
{
    const tc_node *node = b->body->nodes.data[b->body->parameters.data[index]];
    const tc_value_info *declared = &node->outputs[0];
    char want[TC_SHAPE_TEXT_SIZE], got[TC_SHAPE_TEXT_SIZE];
    if (input->dtype != declared->dtype || !tc_shape_compatible(&input->shape, &declared->shape)) {
        snprintf(message, TC_INFER_MESSAGE_SIZE,
                 "parameter '%.60s' of function '%.60s' is %s%.100s, but input %zu is %s%.100s",
                 node->name, b->body->function_name, tc_dtype_name(declared->dtype),
                 tc_shape_text(&declared->shape, want), index, tc_dtype_name(input->dtype),
                 tc_shape_text(&input->shape, got));
        return TC_INVALID_ARGUMENT;
    }
    for (int32_t d = 0; d < declared->shape.rank; d++) {
        const char *name = declared->shape.dims[d].name;
        const tc_dim *actual = &input->shape.dims[d];
        if (!name || !tc_dim_is_known(*actual))
            continue;
        const uint64_t *bound = tc_map_find_string(&b->sizes, name);
        if (!bound) {
            if (!tc_map_put_string(&b->sizes, name, (uint64_t)actual->size))
                return exhausted(message);
        } else if (*bound != (uint64_t)actual->size) {
            snprintf(message, TC_INFER_MESSAGE_SIZE,
                     "dimension %.60s of function '%.60s' is both %lld and %lld in this call", name,
                     b->body->function_name, (long long)*bound, (long long)actual->size);
            return TC_INVALID_ARGUMENT;
        }
    }
    b->infos[node->index] = (tc_value_info *)input;
    return TC_OK;
}

static tc_status infer_node(const tc_graph *graph, const tc_attrs *attrs,
                            const tc_value_info *inputs, int32_t n_inputs, tc_arena *arena,
                            tc_value_info **outputs, int32_t *n_outputs, char *message,
                            tc_unfolding *unfolding);

static tc_status infer_body_node(tc_body_infer *b, const tc_node *node, char *message)
{
    if (!tc_vector_reserve(&b->inputs, (size_t)node->n_inputs))
        return exhausted(message);
    for (int32_t i = 0; i < node->n_inputs; i++) {
        tc_edge edge = node->inputs[i];
        b->inputs.data[i] = edge.node < 0 ? (tc_value_info){0} : b->infos[edge.node][edge.output];
    }
    int32_t n_outputs;
    char why[TC_INFER_MESSAGE_SIZE];
    tc_status status = infer_node(b->body, &node->attrs, b->inputs.data, node->n_inputs, &b->arena,
                                  &b->infos[node->index], &n_outputs, why, b->unfolding);
    if (status == TC_OK && n_outputs != node->n_outputs) {
        snprintf(why, sizeof why, "the number of outputs depends on the call");
        status = TC_INVALID_ARGUMENT;
    }
    if (status != TC_OK && b->unfolding->located)
        snprintf(message, TC_INFER_MESSAGE_SIZE, "%s", why);
    else if (status != TC_OK)
        snprintf(message, TC_INFER_MESSAGE_SIZE, "in function '%.60s', %.60s '%.100s': %.250s",
                 b->body->function_name, node->attrs.op->name, node->name, why);
    b->unfolding->located = status != TC_OK;
    return status;
}

static tc_status copy_results(const tc_body_infer *b, tc_arena *arena, tc_value_info **outputs,
                              char *message)
{
    size_t count = b->body->results.count;
    tc_value_info *results = tc_arena_array(arena, count, sizeof *results);
    if (!results)
        return exhausted(message);
    for (size_t i = 0; i < count; i++) {
        tc_edge edge = b->body->results.data[i];
        results[i] = b->infos[edge.node][edge.output];
        if (results[i].known && !(results[i].known = tc_arena_memdup(
                                      arena, results[i].known,
                                      (size_t)results[i].known_count * sizeof *results[i].known)))
            return exhausted(message);
    }
    *outputs = results;
    return TC_OK;
}

static tc_status infer_body(tc_body_infer *b, const tc_value_info *inputs, char *message)
{
    const tc_graph *body = b->body;
    b->infos = tc_alloc_zero(body->nodes.count + 1, sizeof *b->infos);
    if (!b->infos)
        return exhausted(message);
    for (size_t i = 0; i < body->parameters.count; i++)
        TC_TRY(bind_parameter(b, i, &inputs[i], message));
    for (size_t i = 0; i < body->nodes.count; i++)
        if (!b->infos[i])
            TC_TRY(infer_body_node(b, body->nodes.data[i], message));
    return TC_OK;
}

/* NULL, or why the function cannot be called. */
static const char *call_problem(const tc_graph *body, int32_t n_inputs,
                                const tc_unfolding *unfolding)
{
    if (!body)
        return "there is no function '%.200s'";
    if (!body->closed)
        return "function '%.200s' is not finished: end it with tc_function_end before it is "
               "called; it cannot call itself";
    if ((size_t)n_inputs != body->parameters.count)
        return "function '%.200s' takes another number of inputs";
    if (unfolding->depth > most_depth)
        return "function '%.200s' is called too deep inside of other functions";
    if (unfolding->nodes > most_nodes)
        return "function '%.200s' unfolds into too many nodes";
    return NULL;
}

static tc_status infer_call(const tc_graph *graph, const char *name, const tc_value_info *inputs,
                            int32_t n_inputs, tc_arena *arena, tc_value_info **outputs,
                            int32_t *n_outputs, char *message, tc_unfolding *unfolding)
{
    tc_body_infer b = {.body = tc_graph_find_function(graph, name), .unfolding = unfolding};
    const char *problem = call_problem(b.body, n_inputs, unfolding);
    if (problem) {
        snprintf(message, TC_INFER_MESSAGE_SIZE, problem, name);
        return b.body ? TC_INVALID_ARGUMENT : TC_NOT_FOUND;
    }
    unfolding->depth++;
    tc_status status = infer_body(&b, inputs, message);
    unfolding->depth--;
    if (status == TC_OK)
        status = copy_results(&b, arena, outputs, message);
    *n_outputs = (int32_t)b.body->results.count;
    tc_arena_free(&b.arena);
    tc_free(b.infos);
    tc_map_free(&b.sizes);
    tc_vector_free(&b.inputs);
    return status;
}

static tc_status infer_node(const tc_graph *graph, const tc_attrs *attrs,
                            const tc_value_info *inputs, int32_t n_inputs, tc_arena *arena,
                            tc_value_info **outputs, int32_t *n_outputs, char *message,
                            tc_unfolding *unfolding)
{
    unfolding->nodes++;
    const tc_attr *function = tc_node_function(attrs);
    if (!function)
        return tc_infer_run(attrs, inputs, n_inputs, arena, outputs, n_outputs, message);
    TC_TRY(tc_infer_check(attrs->op, inputs, n_inputs, message));
    return infer_call(graph, function->s, inputs, n_inputs, arena, outputs, n_outputs, message,
                      unfolding);
}

tc_status tc_graph_infer(const tc_graph *graph, const tc_attrs *attrs, const tc_value_info *inputs,
                         int32_t n_inputs, tc_arena *arena, tc_value_info **outputs,
                         int32_t *n_outputs, char message[TC_INFER_MESSAGE_SIZE])
{
    tc_unfolding unfolding = {0, 0, false};
    return infer_node(graph, attrs, inputs, n_inputs, arena, outputs, n_outputs, message,
                      &unfolding);
}

int32_t tc_graph_function_count(const tc_graph *graph)
{
    return graph ? (int32_t)graph->functions.count : 0;
}

const tc_graph *tc_graph_function(const tc_graph *graph, int32_t index)
{
    return index >= 0 && index < tc_graph_function_count(graph) ? graph->functions.data[index]
                                                                : NULL;
}

const char *tc_function_name(const tc_graph *body)
{
    return body && body->function_name ? body->function_name : "";
}

int32_t tc_function_result_count(const tc_graph *body)
{
    return body ? (int32_t)body->results.count : 0;
}

tc_value tc_function_result(const tc_graph *body, int32_t index)
{
    if (index < 0 || index >= tc_function_result_count(body))
        return tc_invalid_value(body);
    return tc_edge_value(body, body->results.data[index]);
}
