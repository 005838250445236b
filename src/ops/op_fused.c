/*
 * A group of element-wise operators and row reductions as one node: see core/fused_program.h. Made
 * by the pass fuse_elementwise.
 */
#include "core/fused_program.h"
#include "core/shape.h"
#include "ops/build.h"
#include "ops/cost.h"

static tc_status fused_infer(tc_infer *infer)
{
    tc_fused_program program;
    tc_shape domain;
    const char *problem = tc_fused_read(infer->attrs, &program);
    if (problem)
        return tc_infer_fail(infer, "%s", problem);
    if (infer->n_inputs - 1 != program.n_inputs)
        return tc_infer_fail(infer, "the program takes %d inputs, but %d are given",
                             (int)program.n_inputs, (int)infer->n_inputs - 1);
    bool like = infer->inputs[0].dtype != TC_DTYPE_INVALID;
    problem = tc_fused_domain(&program, like ? infer->inputs : NULL, infer->inputs + 1, &domain);
    if (problem)
        return tc_infer_fail(infer, "%s", problem);
    TC_TRY(tc_infer_outputs(infer, program.n_outputs));
    for (int32_t i = 0; i < program.n_outputs; i++) {
        infer->outputs[i].dtype = tc_fused_dtype(&program, program.outputs[i].value);
        infer->outputs[i].shape = tc_fused_output_shape(&program, i, &domain);
    }
    return TC_OK;
}

static bool is_function(tc_fused_code code)
{
    switch (code) {
    case TC_FUSED_exp:
    case TC_FUSED_log:
    case TC_FUSED_sigmoid:
    case TC_FUSED_tanh:
    case TC_FUSED_erf:
    case TC_FUSED_gelu:
    case TC_FUSED_gelu_tanh:
    case TC_FUSED_pow: return true;
    default: return false;
    }
}

static void fused_cost(const tc_infer *node, tc_node_cost *cost)
{
    tc_fused_program program;
    tc_shape domain;
    if (tc_fused_read(node->attrs, &program))
        return;
    bool like = node->inputs[0].dtype != TC_DTYPE_INVALID;
    if (tc_fused_domain(&program, like ? node->inputs : NULL, node->inputs + 1, &domain))
        return;
    double operations = 0;
    for (int32_t i = 0; i < program.n_instructions; i++)
        operations += is_function(program.instructions[i].code) ? TC_COST_FUNCTION : 1;
    cost->flops = operations * (double)tc_shape_size(&domain);
}

static const tc_port fused_inputs[] = {
    {"like", TC_DTYPES_ANY, 0, TC_PORT_OPTIONAL | TC_PORT_SHAPE_ONLY,
     "has the shape of the domain where the inputs alone would broadcast to less"},
    {"inputs", TC_DTYPES_ANY, 0, TC_PORT_OPTIONAL | TC_PORT_VARIADIC, "inputs of the program"},
};
static const tc_port fused_outputs[] = {
    {"outputs", TC_DTYPES_ANY, 0, TC_PORT_VARIADIC, "outputs of the program"}};
static const tc_attr_def fused_attrs[] = {
    {"program", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "see core/fused_program.h"},
    {"constants", TC_ATTR_FLOATS, {.type = TC_ATTR_FLOATS}, NULL, "of the program"},
    {"text", TC_ATTR_STRING, {.type = TC_ATTR_STRING, .s = ""}, NULL, "the program for readers"},
};
/* tc_fused_verify sees to it that these inputs, where they have as many bytes as output 0, have its
 * layout. */
static const tc_inplace fused_inplace[] = {{1, 0}, {2, 0}, {3, 0}, {4, 0}};

const tc_op tc_op_fused = {
    .name = "fused",
    .version = 1,
    .doc = "internal: element-wise operators and row reductions computed together",
    TC_LIST(inputs, fused_inputs),
    TC_LIST(outputs, fused_outputs),
    TC_LIST(attrs, fused_attrs),
    TC_LIST(inplace, fused_inplace),
    .flags = TC_OP_INTERNAL,
    .infer = fused_infer,
    .grad = TC_GRAD_NONE,
    .cost = fused_cost,
};
