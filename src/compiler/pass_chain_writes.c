/*
 * Several writes of one variable happen in the order they were built: each but the first takes the
 * output of the one before as its resource. All other readers of the variable keep reading its
 * content from before the run.
 */
#include "compiler/pass.h"

static tc_status chain(tc_pass_context *pass, tc_node *node, tc_edge *latest)
{
    for (int32_t k = 0; k < node->n_inputs; k++) {
        tc_edge resource = node->inputs[k];
        if (!(tc_input_flags(node, k) & TC_PORT_RESOURCE) || resource.node < 0)
            continue;
        if (!tc_node_is(tc_graph_node_at(pass->graph, resource.node), "variable") ||
            k >= node->n_outputs) {
            char where[512];
            return tc_fail(TC_INVALID_ARGUMENT, "%s: input %d must be a variable",
                           tc_node_describe(node, where, sizeof where), (int)k);
        }
        if (latest[resource.node].node >= 0)
            node->inputs[k] = latest[resource.node];
        latest[resource.node] = (tc_edge){node->index, k};
    }
    return TC_OK;
}

tc_status tc_pass_chain_writes(tc_pass_context *pass)
{
    size_t count = pass->graph->nodes.count;
    tc_edge *latest = tc_alloc_zero(count, sizeof *latest);
    if (!latest)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < count; i++)
        latest[i] = TC_NO_EDGE;
    tc_status status = TC_OK;
    for (size_t i = 0; i < count && status == TC_OK; i++) {
        tc_node *node = pass->graph->nodes.data[i];
        if (!(node->attrs.op->effects & TC_EFFECT_WRITE))
            continue;
        pass->program->writes = true;
        status = chain(pass, node, latest);
    }
    tc_free(latest);
    return status;
}
