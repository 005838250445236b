/*
 * Winograd's algorithm: convolutions in blocks with kernels of 3 x 3 may be computed by it. Their
 * kernel decides when it knows the sizes of the images (see kernels/cpu/winograd.h).
 */
#include "compiler/pass.h"

static bool may_use(const tc_pass_context *pass, const tc_node *node)
{
    if (!tc_node_is(node, "conv2d_blocked") || tc_attrs_int(&node->attrs, "groups") != 1)
        return false;
    tc_edge w = node->inputs[1];
    const tc_node *filter = pass->graph->nodes.data[w.node];
    const tc_dim *sizes = filter->outputs[w.output].shape.dims;
    return sizes[2].size == 3 && sizes[3].size == 3;
}

tc_status tc_pass_winograd(tc_pass_context *pass)
{
    for (size_t i = 0; i < pass->graph->nodes.count; i++) {
        tc_node *node = pass->graph->nodes.data[i];
        if (may_use(pass, node))
            TC_TRY(tc_ir_set_attr(pass, node, "winograd", tc_attr_bool(true)));
    }
    return TC_OK;
}
