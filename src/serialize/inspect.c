/*
 * What a file holds, as text. Works on the messages, so that it also shows files with operators
 * that this library does not know.
 */
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/status.h"
#include "base/text.h"
#include "core/shape.h"
#include "serialize/graph_file.h"
#include "tensorc/serialize.h"

tc_status tc_file_kind(const char *path, const char **kind)
{
    if (!path || !kind)
        return tc_fail(TC_INVALID_ARGUMENT, "kind of a file: %s is NULL", path ? "kind" : "path");
    *kind = NULL;
    tc_records records;
    TC_TRY(tc_records_open_header(&records, path));
    *kind = tc_kind_name(records.kind);
    tc_records_close(&records);
    return TC_OK;
}

/* What is gathered before it is written. */
typedef struct tc_inspection {
    const tc_records *records;
    tc_arena arena;
    tc_text variables, blobs, signatures;
    size_t n_variables, n_constants, n_blobs, n_signatures;
    uint64_t elements, bytes, constant_bytes;
    const Tensorc__Graph *graph;
    const Tensorc__State *state;
} tc_inspection;

static void append_shape(tc_text *text, const Tensorc__Shape *message)
{
    tc_shape shape;
    char buffer[TC_SHAPE_TEXT_SIZE];
    bool valid = message && tc_shape_from_message(message, &shape);
    tc_text_append(text, "%s", valid ? tc_shape_text(&shape, buffer) : "[invalid]");
}

static tc_status inspect_tensor(tc_inspection *n, tc_record *record)
{
    tc_stored_tensor stored;
    char shape[TC_SHAPE_TEXT_SIZE];
    TC_TRY(tc_records_tensor(n->records, record, &n->arena, &stored));
    if (!stored.name[0]) {
        n->n_constants++;
        n->constant_bytes += stored.bytes;
        return TC_OK;
    }
    n->n_variables++;
    n->elements += (uint64_t)tc_shape_size(&stored.shape);
    n->bytes += stored.bytes;
    tc_text_append(&n->variables, "  %-40s %-5s %-20s %zu bytes\n", stored.name,
                   tc_dtype_name(stored.dtype), tc_shape_text(&stored.shape, shape), stored.bytes);
    return TC_OK;
}

static void append_ports(tc_text *text, const char *what, Tensorc__Port *const *ports, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tc_text_append(text, "    %s %-20s %s ", what, ports[i]->name,
                       tc_dtype_name((tc_dtype)ports[i]->dtype));
        append_shape(text, ports[i]->shape);
        tc_text_append(text, "  %s:%u\n", ports[i]->node, (unsigned)ports[i]->output);
    }
}

static tc_status inspect_signature(tc_inspection *n, const tc_record *record)
{
    Tensorc__Signature *signature;
    TC_TRY(tc_records_unpack(n->records, record, &tensorc__signature__descriptor, &n->arena,
                             &signature));
    n->n_signatures++;
    tc_text_append(&n->signatures, "  %s\n", signature->name);
    append_ports(&n->signatures, "input ", signature->inputs, signature->n_inputs);
    append_ports(&n->signatures, "output", signature->outputs, signature->n_outputs);
    return TC_OK;
}

static tc_status inspect_blob(tc_inspection *n, const tc_record *record)
{
    tc_stored_blob blob;
    TC_TRY(tc_records_blob(n->records, record, &n->arena, &blob));
    n->n_blobs++;
    tc_text_append(&n->blobs, "  %-40s %zu bytes\n", blob.name, blob.size);
    return TC_OK;
}

static tc_status inspect_record(tc_inspection *n, tc_record *record)
{
    switch (record->number) {
    case TENSORC__RECORD__CONTENT_TENSOR: return inspect_tensor(n, record);
    case TENSORC__RECORD__CONTENT_SIGNATURE: return inspect_signature(n, record);
    case TENSORC__RECORD__CONTENT_BLOB: return inspect_blob(n, record);
    case TENSORC__RECORD__CONTENT_GRAPH:
        return tc_records_unpack(n->records, record, &tensorc__graph__descriptor, &n->arena,
                                 &n->graph);
    case TENSORC__RECORD__CONTENT_STATE:
        return tc_records_unpack(n->records, record, &tensorc__state__descriptor, &n->arena,
                                 &n->state);
    default: return TC_OK;
    }
}

/*
 * Graphs
 */
#define APPEND_LIST(text, list, format, cast)                                            \
    do {                                                                                 \
        tc_text_append((text), "[");                                                     \
        for (size_t k = 0; k < (list)->n_values; k++)                                    \
            tc_text_append((text), "%s" format, k ? ", " : "", (cast)(list)->values[k]); \
        tc_text_append((text), "]");                                                     \
    } while (0)

static void append_attr(tc_text *text, const Tensorc__Attribute *attribute)
{
    switch (attribute->value_case) {
    case TENSORC__ATTRIBUTE__VALUE_I: tc_text_append(text, "%lld", (long long)attribute->i); break;
    case TENSORC__ATTRIBUTE__VALUE_F: tc_text_append(text, "%.9g", attribute->f); break;
    case TENSORC__ATTRIBUTE__VALUE_B:
        tc_text_append(text, "%s", attribute->b ? "true" : "false");
        break;
    case TENSORC__ATTRIBUTE__VALUE_S: tc_text_append_json(text, attribute->s); break;
    case TENSORC__ATTRIBUTE__VALUE_DTYPE:
        tc_text_append(text, "%s", tc_dtype_name((tc_dtype)attribute->dtype));
        break;
    case TENSORC__ATTRIBUTE__VALUE_SHAPE: append_shape(text, attribute->shape); break;
    case TENSORC__ATTRIBUTE__VALUE_INTS:
        APPEND_LIST(text, attribute->ints, "%lld", long long);
        break;
    case TENSORC__ATTRIBUTE__VALUE_FLOATS:
        APPEND_LIST(text, attribute->floats, "%.9g", double);
        break;
    case TENSORC__ATTRIBUTE__VALUE_STRINGS:
        APPEND_LIST(text, attribute->strings, "\"%s\"", const char *);
        break;
    case TENSORC__ATTRIBUTE__VALUE_TENSOR:
        tc_text_append(text, "constant %llu", (unsigned long long)attribute->tensor);
        break;
    case TENSORC__ATTRIBUTE__VALUE_FUNCTION:
        tc_text_append(text, "@%s", attribute->function);
        break;
    default: tc_text_append(text, "?"); break;
    }
}

static void append_node(tc_text *text, const char *indent, Tensorc__Node *const *nodes,
                        size_t index)
{
    const Tensorc__Node *node = nodes[index];
    tc_text_append(text, "%s%-4zu %-32s %s(", indent, index, node->name, node->op);
    for (size_t i = 0; i < node->n_input_nodes; i++) {
        int32_t from = node->input_nodes[i];
        tc_text_append(text, "%s", i ? ", " : "");
        if (from < 0 || (size_t)from >= index)
            tc_text_append(text, "-");
        else
            tc_text_append(text, "%s", nodes[from]->name);
        uint32_t output = i < node->n_input_outputs ? node->input_outputs[i] : 0;
        if (output > 0)
            tc_text_append(text, ":%u", (unsigned)output);
    }
    tc_text_append(text, ")");
    for (size_t i = 0; i < node->n_attributes; i++) {
        tc_text_append(text, " %s=", node->attributes[i]->name);
        append_attr(text, node->attributes[i]);
    }
    for (size_t i = 0; i < node->n_annotations; i++)
        tc_text_append(text, " {%s: %s}", node->annotations[i]->key, node->annotations[i]->text);
    tc_text_append(text, "\n");
}

static void append_nodes(tc_text *text, const char *indent, Tensorc__Node *const *nodes,
                         size_t count)
{
    for (size_t i = 0; i < count; i++)
        append_node(text, indent, nodes, i);
}

static bool count_ops(tc_map *counts, Tensorc__Node *const *nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t *seen = tc_map_find_string(counts, nodes[i]->op);
        if (!tc_map_put_string(counts, nodes[i]->op, seen ? *seen + 1 : 1))
            return false;
    }
    return true;
}

static int more_first(const void *a, const void *b)
{
    const tc_map_entry *const *x = a, *const *y = b;
    if ((*x)->value != (*y)->value)
        return (*x)->value < (*y)->value ? 1 : -1;
    return strcmp((*x)->key, (*y)->key);
}

static tc_status append_ops(tc_inspection *n, tc_text *text)
{
    tc_map counts = {0};
    bool counted = count_ops(&counts, n->graph->nodes, n->graph->n_nodes);
    for (size_t i = 0; counted && i < n->graph->n_functions; i++)
        counted =
            count_ops(&counts, n->graph->functions[i]->nodes, n->graph->functions[i]->n_nodes);
    const tc_map_entry **sorted = tc_arena_array(&n->arena, counts.count, sizeof *sorted);
    for (size_t i = 0; sorted && i < counts.count; i++)
        sorted[i] = &counts.entries[i];
    if (sorted && counts.count > 1)
        qsort(sorted, counts.count, sizeof *sorted, more_first);
    tc_text_append(text, "operators:\n");
    for (size_t i = 0; sorted && i < counts.count; i++)
        tc_text_append(text, "  %6llu %s\n", (unsigned long long)sorted[i]->value,
                       (const char *)sorted[i]->key);
    tc_map_free(&counts);
    return counted && sorted ? TC_OK : tc_fail_memory(n->arena.bytes, "inspecting a file");
}

static tc_status append_graph(tc_inspection *n, tc_text *text)
{
    const Tensorc__Graph *graph = n->graph;
    if (!graph)
        return TC_OK;
    tc_text_append(text,
                   "graph: %zu nodes, %zu functions, %zu constants of %llu bytes, seed %llu\n",
                   graph->n_nodes, graph->n_functions, n->n_constants,
                   (unsigned long long)n->constant_bytes, (unsigned long long)graph->seed);
    TC_TRY(append_ops(n, text));
    tc_text_append(text, "nodes:\n");
    append_nodes(text, "  ", graph->nodes, graph->n_nodes);
    for (size_t i = 0; i < graph->n_functions; i++) {
        const Tensorc__Function *function = graph->functions[i];
        tc_text_append(text, "function %s: %zu parameters, %zu of them captured, %zu results\n",
                       function->name, function->n_parameters, function->n_captures,
                       function->n_result_nodes);
        append_nodes(text, "    ", function->nodes, function->n_nodes);
    }
    return TC_OK;
}

static void append_list(tc_text *text, const char *title, size_t count, const tc_text *list)
{
    if (count > 0)
        tc_text_append(text, "%s: %zu\n%s", title, count, list->data ? list->data : "");
}

/* Names come from whoever made the file: they must not command the terminal. */
static void disarm(tc_text *text)
{
    for (size_t i = 0; i < text->length; i++)
        if ((unsigned char)text->data[i] < ' ' && text->data[i] != '\n')
            text->data[i] = '?';
}

static tc_status append_all(tc_inspection *n, tc_text *text)
{
    tc_text_append(text, "%s: %s, format %u, %s, %zu bytes\n", n->records->path,
                   tc_kind_name(n->records->kind), (unsigned)n->records->format,
                   n->records->producer, n->records->mapping->size);
    if (n->state)
        tc_text_append(text, "step: %llu\n", (unsigned long long)n->state->step);
    append_list(text, "signatures", n->n_signatures, &n->signatures);
    append_list(text, "variables", n->n_variables, &n->variables);
    if (n->n_variables > 0)
        tc_text_append(text, "parameters: %llu in %llu bytes\n", (unsigned long long)n->elements,
                       (unsigned long long)n->bytes);
    append_list(text, "blobs", n->n_blobs, &n->blobs);
    TC_TRY(append_graph(n, text));
    if (text->failed || n->signatures.failed || n->variables.failed || n->blobs.failed)
        return tc_fail_memory(text->length, "inspecting a file");
    return TC_OK;
}

tc_status tc_file_inspect(const char *path, FILE *file)
{
    if (!path || !file)
        return tc_fail(TC_INVALID_ARGUMENT, "inspecting a file: %s is NULL",
                       path ? "file" : "path");
    tc_records records;
    TC_TRY(tc_records_open(&records, path, TENSORC__KIND__KIND_UNKNOWN));
    tc_inspection n = {.records = &records};
    tc_record record = {0};
    tc_status status = TC_OK;
    while (status == TC_OK && tc_records_next(&records, &record))
        status = inspect_record(&n, &record);
    tc_text text = {0};
    if (status == TC_OK)
        status = append_all(&n, &text);
    disarm(&text);
    if (status == TC_OK && (fputs(text.data, file) == EOF || fflush(file) != 0))
        status = tc_fail(TC_UNAVAILABLE, "inspecting '%s': cannot write the report", path);
    tc_text_free(&text);
    tc_text_free(&n.variables);
    tc_text_free(&n.blobs);
    tc_text_free(&n.signatures);
    tc_arena_free(&n.arena);
    tc_records_close(&records);
    return status;
}
