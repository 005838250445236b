/* Checks the invariants that builders establish: after passes and loaders, and in tests. */
#include <string.h>

#include "core/shape.h"
#include "graph/internal.h"

static tc_status broken(const tc_node *node, const char *format, ...) TC_PRINTF(2, 3);

static tc_status broken(const tc_node *node, const char *format, ...)
{
    char text[TC_ERROR_MESSAGE_SIZE / 2];
    va_list arguments;
    va_start(arguments, format);
    tc_fail_v(TC_INTERNAL, format, arguments);
    va_end(arguments);
    return tc_fail_prefix(TC_INTERNAL,
                          "broken graph: %s: ", tc_node_describe(node, text, sizeof text));
}

static bool edge_exists(const tc_graph *graph, tc_edge edge, int32_t before)
{
    return edge.node >= 0 && edge.node < before && edge.output >= 0 &&
           edge.output < graph->nodes.data[edge.node]->n_outputs;
}

static tc_status verify_edges(const tc_graph *graph, const tc_node *node)
{
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i].node != -1 && !edge_exists(graph, node->inputs[i], node->index))
            return broken(node, "input %d is output %d of node %d, which is no earlier value",
                          (int)i, (int)node->inputs[i].output, (int)node->inputs[i].node);
    for (int32_t i = 0; i < node->n_controls; i++)
        if (node->controls[i] < 0 || node->controls[i] >= node->index)
            return broken(node, "control dependency %d is no earlier node", (int)node->controls[i]);
    return TC_OK;
}

static tc_status verify_attrs(const tc_graph *graph, const tc_node *node)
{
    const tc_op *op = node->attrs.op;
    if (tc_registry_find_op(graph->registry, op->name) != op)
        return broken(node, "the operator is not the one of the registry");
    for (int i = 0; i < op->n_attrs; i++)
        if (node->attrs.values[i].type != op->attrs[i].type)
            return broken(node, "attribute '%s' is %s instead of %s", op->attrs[i].name,
                          tc_attr_type_name(node->attrs.values[i].type),
                          tc_attr_type_name(op->attrs[i].type));
    return TC_OK;
}

/* The stored infos must not contradict what inference says now. Passes may have made them more
 * exact. */
static tc_status verify_outputs(const tc_graph *graph, const tc_node *node)
{
    TC_VECTOR(tc_value_info) inputs = {0};
    if (!tc_vector_reserve(&inputs, (size_t)node->n_inputs))
        return tc_fail_memory((size_t)node->n_inputs * sizeof *inputs.data, "verifying a graph");
    for (int32_t i = 0; i < node->n_inputs; i++)
        inputs.data[i] =
            node->inputs[i].node < 0 ? (tc_value_info){0} : *tc_edge_info(graph, node->inputs[i]);
    tc_arena arena = {0};
    tc_value_info *outputs;
    int32_t n_outputs;
    char message[TC_INFER_MESSAGE_SIZE], stored[TC_SHAPE_TEXT_SIZE], inferred[TC_SHAPE_TEXT_SIZE];
    tc_status status = tc_graph_infer(graph, &node->attrs, inputs.data, node->n_inputs, &arena,
                                      &outputs, &n_outputs, message);
    if (status != TC_OK)
        status = status == TC_RESOURCE_EXHAUSTED ? tc_fail(status, "%s", message)
                                                 : broken(node, "%s", message);
    else if (n_outputs != node->n_outputs)
        status = broken(node, "has %d outputs instead of %d", (int)node->n_outputs, (int)n_outputs);
    for (int32_t i = 0; status == TC_OK && i < n_outputs; i++)
        if (outputs[i].dtype != node->outputs[i].dtype ||
            !tc_shape_compatible(&outputs[i].shape, &node->outputs[i].shape))
            status =
                broken(node, "output %d is stored as %s%s, but inferred as %s%s", (int)i,
                       tc_dtype_name(node->outputs[i].dtype),
                       tc_shape_text(&node->outputs[i].shape, stored),
                       tc_dtype_name(outputs[i].dtype), tc_shape_text(&outputs[i].shape, inferred));
    tc_arena_free(&arena);
    tc_vector_free(&inputs);
    return status;
}

static tc_status verify_function(const tc_graph *body)
{
    const char *name = body->function_name;
    int32_t count = (int32_t)body->nodes.count;
    if (!body->closed)
        return tc_fail(TC_FAILED_PRECONDITION,
                       "function '%s' was begun but not ended; call tc_function_end", name);
    for (size_t i = 0; i < body->results.count; i++)
        if (!edge_exists(body, body->results.data[i], count))
            return tc_fail(TC_INTERNAL, "broken graph: result %zu of function '%s' is no value", i,
                           name);
    for (size_t i = 0; i < body->parameters.count; i++) {
        int32_t node = body->parameters.data[i];
        if (node < 0 || node >= count || !tc_node_is(body->nodes.data[node], "parameter"))
            return tc_fail(TC_INTERNAL, "broken graph: parameter %zu of function '%s' is none", i,
                           name);
    }
    size_t first = body->parameters.count - body->captures.count;
    for (size_t i = 0; i < body->captures.count; i++) {
        const tc_capture *capture = &body->captures.data[i];
        if (body->captures.count > body->parameters.count ||
            body->parameters.data[first + i] != capture->parameter ||
            !edge_exists(body->parent, capture->outer, (int32_t)body->parent->nodes.count))
            return tc_fail(TC_INTERNAL, "broken graph: capture %zu of function '%s' is broken", i,
                           name);
    }
    return TC_OK;
}

/* What inference relies on, in the functions too: they are inferred through their calls. */
static tc_status verify_structure(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const tc_node *node = graph->nodes.data[i];
        const uint64_t *named = tc_map_find_string(&graph->names, node->name);
        if (node->index != (int32_t)i || !named || *named != i)
            return broken(node, "is not found by its name and number %zu", i);
        TC_TRY(verify_attrs(graph, node));
        TC_TRY(verify_edges(graph, node));
    }
    if (graph->function_name)
        TC_TRY(verify_function(graph));
    for (size_t i = 0; i < graph->functions.count; i++)
        TC_TRY(verify_structure(graph->functions.data[i]));
    return TC_OK;
}

static tc_status verify_inference(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++)
        TC_TRY(verify_outputs(graph, graph->nodes.data[i]));
    for (size_t i = 0; i < graph->functions.count; i++)
        TC_TRY(verify_inference(graph->functions.data[i]));
    return TC_OK;
}

tc_status tc_graph_verify(const tc_graph *graph)
{
    TC_TRY(tc_graph_status(graph));
    TC_TRY(verify_structure(graph));
    return verify_inference(graph);
}
