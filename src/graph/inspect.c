/* Reading values and nodes. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/internal.h"

const tc_node *tc_value_node(tc_value value)
{
    if (!value.graph || value.node < 0 || (size_t)value.node >= value.graph->nodes.count)
        return NULL;
    return value.graph->nodes.data[value.node];
}

static const tc_value_info *value_info(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node && value.output >= 0 && value.output < node->n_outputs
               ? &node->outputs[value.output]
               : NULL;
}

bool tc_node_is(const tc_node *node, const char *op)
{
    return strcmp(node->attrs.op->name, op) == 0;
}

const char *tc_node_describe(const tc_node *node, char *buffer, size_t size)
{
    char place[TC_PLACE_SIZE];
    tc_place_text(node->at, place);
    snprintf(buffer, size, "%s '%s'%s%s%s", node->attrs.op->name, node->name, place[0] ? " (" : "",
             place, place[0] ? ")" : "");
    return buffer;
}

tc_dtype tc_value_dtype(tc_value value)
{
    const tc_value_info *info = value_info(value);
    return info ? info->dtype : TC_DTYPE_INVALID;
}

tc_shape tc_value_shape(tc_value value)
{
    const tc_value_info *info = value_info(value);
    return info ? info->shape : (tc_shape){.rank = -1};
}

const char *tc_value_name(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->name : "";
}

const char *tc_value_op(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->attrs.op->name : "";
}

tc_value tc_output(tc_value value, int32_t output)
{
    const tc_node *node = tc_value_node(value);
    if (!node)
        return tc_invalid_value(value.graph);
    if (output < 0 || output >= node->n_outputs) {
        return tc_graph_fail_node(value.graph, node->at, TC_INVALID_ARGUMENT, node->attrs.op->name,
                                  node->name, "has no output %d, but %d output%s", (int)output,
                                  (int)node->n_outputs, node->n_outputs == 1 ? "" : "s");
    }
    value.output = output;
    return value;
}

int32_t tc_output_count(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->n_outputs : 0;
}

int32_t tc_graph_node_count(const tc_graph *graph)
{
    return graph ? (int32_t)graph->nodes.count : 0;
}

tc_value tc_graph_node(const tc_graph *graph, int32_t index)
{
    bool found = index >= 0 && index < tc_graph_node_count(graph);
    return (tc_value){(tc_graph *)graph, found ? index : -1, 0};
}

tc_value tc_graph_find(const tc_graph *graph, const char *name)
{
    tc_value value = tc_invalid_value(graph);
    if (!graph || !name)
        return value;
    const char *colon = strrchr(name, ':');
    size_t length = colon ? (size_t)(colon - name) : strlen(name);
    long output = 0;
    if (colon) {
        char *end;
        if (colon[1] < '0' || colon[1] > '9')
            return value;
        output = strtol(colon + 1, &end, 10);
        if (*end || output > INT32_MAX)
            return value;
    }
    const uint64_t *index = tc_map_find(&graph->names, name, length);
    if (!index)
        return value;
    /* Output 0 stands for the node itself, which may have no outputs. */
    if (output > 0 && output >= graph->nodes.data[*index]->n_outputs)
        return value;
    value.node = (int32_t)*index;
    value.output = (int32_t)output;
    return value;
}

int32_t tc_node_input_count(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->n_inputs : 0;
}

tc_value tc_node_input(tc_value value, int32_t index)
{
    const tc_node *node = tc_value_node(value);
    if (!node || index < 0 || index >= node->n_inputs || node->inputs[index].node < 0)
        return TC_NO_VALUE;
    return tc_edge_value(value.graph, node->inputs[index]);
}

int32_t tc_node_control_count(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->n_controls : 0;
}

tc_value tc_node_control(tc_value value, int32_t index)
{
    const tc_node *node = tc_value_node(value);
    if (!node || index < 0 || index >= node->n_controls)
        return TC_NO_VALUE;
    return (tc_value){value.graph, node->controls[index], 0};
}

tc_location tc_node_location(tc_value value)
{
    const tc_node *node = tc_value_node(value);
    return node ? node->at : (tc_location){0};
}

size_t tc_node_attr_text(tc_value value, const char *name, char *buffer, size_t size)
{
    if (!buffer)
        size = 0;
    if (size)
        buffer[0] = 0;
    const tc_node *node = tc_value_node(value);
    const tc_attr *attr = node ? tc_attrs_get(&node->attrs, name) : NULL;
    if (!attr)
        return 0;
    tc_text text = {0};
    tc_attr_write(attr, &text);
    size_t length = 0;
    if (text.failed) {
        tc_fail_memory(text.length, "the text of an attribute");
    } else {
        length = text.length;
        if (size)
            snprintf(buffer, size, "%s", text.data);
    }
    tc_text_free(&text);
    return length;
}
