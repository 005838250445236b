/* Files that hold a graph. */
#include "serialize/graph_file.h"
#include "tensorc/serialize.h"

static tc_status read_tensor(const tc_records *records, tc_record *record, tc_graph_parts *parts)
{
    tc_stored_tensor stored;
    size_t offset = record->offset;
    TC_TRY(tc_records_tensor(records, record, &parts->arena, &stored));
    if (stored.name[0]) {
        if (records->kind != TENSORC__KIND__KIND_SAVED_MODEL)
            return tc_records_fail(records, offset, "a graph file has no variables");
        return tc_vector_push(&parts->variables, stored)
                   ? TC_OK
                   : tc_fail_memory(sizeof stored, "reading a file");
    }
    if (!tc_vector_reserve(&parts->constants, parts->constants.count + 1))
        return tc_fail_memory(sizeof(tc_tensor *), "reading a file");
    TC_TRY(tc_stored_tensor_get(records, &stored, &parts->constants.data[parts->constants.count]));
    parts->constants.count++;
    return TC_OK;
}

static tc_status read_part(const tc_records *records, tc_record *record, tc_graph_parts *parts)
{
    switch (record->number) {
    case TENSORC__RECORD__CONTENT_TENSOR: return read_tensor(records, record, parts);
    case TENSORC__RECORD__CONTENT_GRAPH:
        if (parts->graph.content)
            return tc_records_fail(records, record->offset, "a second graph");
        parts->graph = *record;
        return TC_OK;
    case TENSORC__RECORD__CONTENT_SIGNATURE:
        return tc_vector_push(&parts->signatures, *record)
                   ? TC_OK
                   : tc_fail_memory(sizeof *record, "reading a file");
    default: return TC_OK;
    }
}

tc_status tc_graph_parts_read(const tc_records *records, tc_graph_parts *parts)
{
    *parts = (tc_graph_parts){0};
    tc_record record = {0};
    tc_status status = TC_OK;
    while (status == TC_OK && tc_records_next(records, &record))
        status = read_part(records, &record, parts);
    if (status == TC_OK && !parts->graph.content)
        status = tc_records_fail(records, 0, "the file has no graph");
    if (status != TC_OK)
        tc_graph_parts_free(parts);
    return status;
}

void tc_graph_parts_free(tc_graph_parts *parts)
{
    for (size_t i = 0; i < parts->constants.count; i++)
        tc_tensor_release(parts->constants.data[i]);
    tc_vector_free(&parts->constants);
    tc_vector_free(&parts->variables);
    tc_vector_free(&parts->signatures);
    tc_arena_free(&parts->arena);
    *parts = (tc_graph_parts){0};
}

tc_status tc_graph_load(const char *path, tc_registry *registry, tc_graph **out)
{
    if (!path || !out)
        return tc_fail(TC_INVALID_ARGUMENT, "loading a graph: %s is NULL", path ? "out" : "path");
    *out = NULL;
    tc_records records;
    TC_TRY(tc_records_open(&records, path, TENSORC__KIND__KIND_GRAPH));
    tc_graph_parts parts;
    tc_status status = tc_graph_parts_read(&records, &parts);
    if (status == TC_OK) {
        status = tc_graph_get(&records, &parts.graph, parts.constants.data, parts.constants.count,
                              registry, out);
        tc_graph_parts_free(&parts);
    }
    tc_records_close(&records);
    return status;
}

tc_status tc_graph_save(const tc_graph *graph, const char *path)
{
    if (!path || !path[0])
        return tc_fail(TC_INVALID_ARGUMENT, "saving a graph: the path is missing");
    TC_TRY(tc_graph_status(graph));
    if (graph->parent)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "saving a graph: '%s' is a function; save the graph "
                       "it belongs to",
                       tc_function_name(graph));
    TC_TRY(tc_graph_verify(graph));
    char *folder = tc_path_folder(path);
    if (!folder)
        return TC_RESOURCE_EXHAUSTED;
    tc_records_writer writer;
    tc_status status = tc_records_begin(&writer, folder, TENSORC__KIND__KIND_GRAPH, 0);
    tc_free(folder);
    TC_TRY(status);
    status = tc_graph_put(&writer, graph, NULL);
    if (status == TC_OK)
        return tc_records_finish(&writer, path);
    tc_records_abandon(&writer);
    return status;
}
