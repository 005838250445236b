/* Restoring a checkpoint, in whole and in part, into a session that does not know it. */
#include <tensorc/tensorc.h>

#include "fuzz/container.h"

static tc_session *session;

static int begin(void)
{
    tc_graph *graph = tc_graph_create();
    tc_variable(graph, "layer/w", tc_zeros(graph, TC_F32, TC_SHAPE(4)));
    tc_variable(graph, "layer/b", tc_zeros(graph, TC_F32, TC_SHAPE(4)));
    tc_variable(graph, "slot", tc_zeros(graph, TC_I64, TC_SHAPE(2, 3)));
    tc_status status = tc_session_create(graph, NULL, &session);
    tc_graph_release(graph);
    return status == TC_OK;
}

static void load(const char *path)
{
    char report[256];
    void *data;
    size_t size;
    const tc_restore_options options = {
        .struct_size = sizeof options, .report = report, .report_size = sizeof report};
    tc_restore_options partial = options;
    partial.partial = true;
    FILE *null = fopen("/dev/null", "w");
    if (tc_checkpoint_restore(session, path, &options) == TC_OK &&
        tc_checkpoint_restore(session, path, &partial) != TC_OK)
        abort();
    if (tc_checkpoint_restore(session, path, &partial) != TC_OK && !tc_error_message()[0])
        abort();
    if (tc_checkpoint_read_blob(path, "blob", &data, &size) == TC_OK)
        tc_blob_free(data);
    if (null && tc_file_inspect(path, null) != TC_OK && !tc_error_message()[0])
        abort();
    if (null)
        fclose(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!begin())
        return 0;
    container_fuzz(data, size, load);
    tc_session_release(session);
    return 0;
}
