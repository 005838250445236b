/* Graphs as text and in the DOT language. */
#include <stdio.h>
#include <string.h>

#include "core/shape.h"
#include "graph/internal.h"

static void write_edge(const tc_graph *graph, tc_edge edge, tc_text *text)
{
    if (edge.node < 0) {
        tc_text_append(text, "_");
        return;
    }
    tc_text_append(text, "%s", graph->nodes.data[edge.node]->name);
    if (edge.output)
        tc_text_append(text, ":%d", (int)edge.output);
}

static void write_info(const tc_value_info *info, tc_text *text)
{
    char shape[TC_SHAPE_TEXT_SIZE];
    tc_text_append(text, "%s%s", tc_dtype_name(info->dtype), tc_shape_text(&info->shape, shape));
}

static void write_attrs(const tc_node *node, tc_text *text)
{
    const tc_op *op = node->attrs.op;
    for (int i = 0; i < op->n_attrs; i++) {
        tc_text_append(text, "%s%s=", i ? ", " : " {", op->attrs[i].name);
        tc_attr_write(&node->attrs.values[i], text);
    }
    if (op->n_attrs)
        tc_text_append(text, "}");
}

/* name = op(inputs) {attributes} -> outputs  after controls  @annotations  # place */
static void write_node(const tc_graph *graph, const tc_node *node, const char *indent,
                       tc_text *text)
{
    tc_text_append(text, "%s%s = %s(", indent, node->name, node->attrs.op->name);
    for (int32_t i = 0; i < node->n_inputs; i++) {
        tc_text_append(text, "%s", i ? ", " : "");
        write_edge(graph, node->inputs[i], text);
    }
    tc_text_append(text, ")");
    write_attrs(node, text);
    for (int32_t i = 0; i < node->n_outputs; i++) {
        tc_text_append(text, "%s", i ? ", " : " -> ");
        write_info(&node->outputs[i], text);
    }
    for (int32_t i = 0; i < node->n_controls; i++)
        tc_text_append(text, "%s%s", i ? ", " : "  after ",
                       graph->nodes.data[node->controls[i]]->name);
    for (const tc_note *note = node->notes; note; note = note->next) {
        tc_text_append(text, "  @%s=", note->key);
        tc_text_append_json(text, note->text);
    }
    char place[TC_PLACE_SIZE];
    if (tc_place_text(node->at, place)[0])
        tc_text_append(text, "  # %s", place);
    tc_text_append(text, "\n");
}

static void write_graph(const tc_graph *graph, tc_text *text)
{
    const char *indent = graph->function_name ? "    " : "";
    if (graph->function_name) {
        tc_text_append(text, "\nfunction %s(", graph->function_name);
        for (size_t i = 0; i < graph->parameters.count; i++) {
            const tc_node *node = graph->nodes.data[graph->parameters.data[i]];
            tc_text_append(text, "%s%s: ", i ? ", " : "", node->name);
            write_info(&node->outputs[0], text);
        }
        tc_text_append(text, ")");
        for (size_t i = 0; i < graph->results.count; i++) {
            tc_text_append(text, "%s", i ? ", " : " -> ");
            write_edge(graph, graph->results.data[i], text);
        }
        tc_text_append(text, "\n");
    }
    for (size_t i = 0; i < graph->nodes.count; i++)
        write_node(graph, graph->nodes.data[i], indent, text);
    for (size_t i = 0; i < graph->functions.count; i++)
        write_graph(graph->functions.data[i], text);
}

static void write_dot_node(const tc_node *node, int cluster, tc_text *text)
{
    int32_t i = node->index;
    tc_text label = {0};
    tc_text_append(&label, "%s\n%s", node->name, node->attrs.op->name);
    for (int32_t o = 0; o < node->n_outputs; o++) {
        tc_text_append(&label, "%s", o ? ", " : "\n");
        write_info(&node->outputs[o], &label);
    }
    tc_text_append(text, "  n%d_%d [label=", cluster, (int)i);
    tc_text_append_json(text, label.data ? label.data : "");
    tc_text_append(text, "];\n");
    text->failed = text->failed || label.failed;
    tc_text_free(&label);
    for (int32_t k = 0; k < node->n_inputs; k++)
        if (node->inputs[k].node >= 0)
            tc_text_append(text, "  n%d_%d -> n%d_%d;\n", cluster, (int)node->inputs[k].node,
                           cluster, (int)i);
    for (int32_t k = 0; k < node->n_controls; k++)
        tc_text_append(text, "  n%d_%d -> n%d_%d [style=dashed];\n", cluster,
                       (int)node->controls[k], cluster, (int)i);
}

/* Clusters are numbered in the order they are printed; returns the next number. */
static int write_dot(const tc_graph *graph, int cluster, tc_text *text)
{
    if (graph->function_name) {
        tc_text_append(text, "  subgraph cluster_%d {\n  label=", cluster);
        tc_text_append_json(text, graph->function_name);
        tc_text_append(text, ";\n");
    }
    for (size_t i = 0; i < graph->nodes.count; i++)
        write_dot_node(graph->nodes.data[i], cluster, text);
    if (graph->function_name)
        tc_text_append(text, "  }\n");
    int next = cluster + 1;
    for (size_t i = 0; i < graph->functions.count; i++)
        next = write_dot(graph->functions.data[i], next, text);
    return next;
}

/* Writes the finished text and frees it. */
static tc_status flush(tc_text *text, FILE *file)
{
    tc_status status = TC_OK;
    if (text->failed)
        status = tc_fail_memory(text->length, "the text of a graph");
    else if (text->length && fwrite(text->data, 1, text->length, file) != text->length)
        status = tc_fail(TC_UNAVAILABLE, "cannot write the text of a graph to the file");
    tc_text_free(text);
    return status;
}

static tc_status check_arguments(const tc_graph *graph, FILE *file)
{
    if (!graph || !file)
        return tc_fail(TC_INVALID_ARGUMENT, "printing a graph: the %s is NULL",
                       graph ? "file" : "graph");
    return TC_OK;
}

tc_status tc_graph_print(const tc_graph *graph, FILE *file)
{
    TC_TRY(check_arguments(graph, file));
    tc_text text = {0};
    write_graph(graph, &text);
    return flush(&text, file);
}

tc_status tc_graph_print_dot(const tc_graph *graph, FILE *file)
{
    TC_TRY(check_arguments(graph, file));
    tc_text text = {0};
    tc_text_append(&text, "digraph tensorc {\n  node [shape=box, fontname=\"sans-serif\"];\n");
    write_dot(graph, 0, &text);
    tc_text_append(&text, "}\n");
    return flush(&text, file);
}
