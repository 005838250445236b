/* Loading, printing and inspecting a graph file. */
#include <tensorc/tensorc.h>

#include "fuzz/container.h"

static void load(const char *path)
{
    FILE *null = fopen("/dev/null", "w");
    tc_graph *graph;
    if (!null)
        return;
    if (tc_graph_load(path, NULL, &graph) == TC_OK) {
        if (tc_graph_print(graph, null) != TC_OK || tc_graph_status(graph) != TC_OK)
            abort(); /* what was loaded is a graph like any other */
        (void)tc_graph_hash(graph);
        tc_graph_release(graph);
    }
    if (tc_file_inspect(path, null) != TC_OK && !tc_error_message()[0])
        abort();
    fclose(null);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    container_fuzz(data, size, load);
    return 0;
}
