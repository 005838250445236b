/* What mode "auto" of dropout, batch normalization and their like means in this program. */
#include <string.h>

#include "compiler/pass.h"

tc_status tc_pass_mode(tc_pass_context *pass)
{
    tc_program *program = pass->program;
    tc_mode mode = pass->request->mode;
    program->training = mode == TC_MODE_TRAINING || (mode == TC_MODE_AUTO && program->writes);
    const char *resolved = program->training ? "training" : "inference";
    for (size_t i = 0; i < pass->graph->nodes.count; i++) {
        tc_node *node = pass->graph->nodes.data[i];
        const char *text = tc_attrs_string(&node->attrs, "mode");
        if (text && strcmp(text, "auto") == 0)
            TC_TRY(tc_ir_set_attr(pass, node, "mode", tc_attr_string(resolved)));
    }
    return TC_OK;
}
