/*
 * Batch normalization by running statistics is a factor and a term per channel:
 *     scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale.
 * They are computed by nodes on vectors, which folding or the plan's invariants do once, and
 * applied by mul and add, which a product before takes in or element-wise fusion joins with what is
 * around. The weights of the product stay as they are: mapped, and packed once.
 */
#include <string.h>

#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/tensor.h"

enum { X, GAMMA, BETA, MEAN, VARIANCE }; /* inputs of batch_norm */

/* Which nodes have readers of another output than y. */
static void find_statistics(const tc_pass_context *pass, bool *read)
{
    const tc_program *program = pass->program;
    for (int32_t i = 0; i < pass->n_old; i++)
        for (int32_t k = 0; k < pass->old[i]->n_inputs; k++) {
            tc_edge edge = pass->old[i]->inputs[k];
            if (edge.node >= 0 && edge.output > 0)
                read[edge.node] = true;
        }
    for (int32_t i = 0; i < program->n_fetches; i++)
        if (program->fetches[i].output > 0)
            read[program->fetches[i].node] = true;
}

/* A product, to which at most a vector was added. */
static bool is_product(const tc_pass_context *pass, tc_edge edge)
{
    const tc_node *node = tc_graph_node_at(pass->graph, edge.node);
    if (tc_node_is(node, "bias_add") || tc_node_is(node, "add"))
        node = tc_graph_node_at(pass->graph, node->inputs[0].node);
    return tc_node_is(node, "conv2d") || tc_node_is(node, "matmul");
}

/* In 16 bits with statistics in f32, only a product gains from what would be four operations. */
static bool is_folded(const tc_pass_context *pass, const tc_node *node, tc_edge x)
{
    const char *mode = tc_attrs_string(&node->attrs, "mode");
    return strcmp(mode, "inference") == 0 && node->n_controls == 0 &&
           (node->outputs[0].dtype == node->outputs[3].dtype || is_product(pass, x));
}

/* A constant scalar of dtype `dtype`. */
static tc_status scalar(tc_pass_context *pass, const tc_node *like, tc_dtype dtype, double value,
                        tc_edge *out)
{
    tc_tensor *tensor;
    TC_TRY(tc_tensor_create(dtype, TC_SCALAR, &tensor));
    tc_dtype_store(dtype, tc_tensor_data(tensor), value);
    tc_node *node = tc_ir_constant(pass, like, 3, tensor);
    tc_tensor_release(tensor);
    if (!node)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_ir_append(pass, node));
    *out = (tc_edge){node->index, 0};
    return TC_OK;
}

static tc_status unary(tc_pass_context *pass, const tc_node *like, const char *op, tc_edge *x)
{
    return tc_ir_make(pass, like, op, x, 1, NULL, 0, x);
}

static tc_status binary(tc_pass_context *pass, const tc_node *like, const char *op, tc_edge a,
                        tc_edge b, tc_edge *out)
{
    const tc_edge inputs[] = {a, b};
    return tc_ir_make(pass, like, op, inputs, 2, NULL, 0, out);
}

/* `in` are new edges. */
static tc_status coefficients(tc_pass_context *pass, const tc_node *node, const tc_edge *in,
                              tc_edge *scale, tc_edge *shift)
{
    tc_edge epsilon;
    TC_TRY(scalar(pass, node, node->outputs[3].dtype, tc_attrs_float(&node->attrs, "epsilon"),
                  &epsilon));
    TC_TRY(binary(pass, node, "add", in[VARIANCE], epsilon, scale));
    TC_TRY(unary(pass, node, "rsqrt", scale));
    if (in[GAMMA].node >= 0)
        TC_TRY(binary(pass, node, "mul", in[GAMMA], *scale, scale));
    TC_TRY(binary(pass, node, "mul", in[MEAN], *scale, shift));
    return in[BETA].node >= 0 ? binary(pass, node, "sub", in[BETA], *shift, shift)
                              : unary(pass, node, "neg", shift);
}

/* [channels] as [channels, 1, ...], to broadcast along axis 1 of x. */
static tc_status along_channels(tc_pass_context *pass, const tc_node *node, tc_edge *vector)
{
    int64_t axes[TC_MAX_RANK];
    int32_t rank = node->outputs[0].shape.rank;
    for (int32_t i = 0; i < rank - 2; i++)
        axes[i] = i + 1;
    const tc_attr_arg attr = {"axes", tc_attr_ints(axes, (size_t)(rank - 2))};
    return rank == 2 ? TC_OK : tc_ir_make(pass, node, "unsqueeze", vector, 1, &attr, 1, vector);
}

static tc_status cast(tc_pass_context *pass, const tc_node *node, tc_dtype dtype, tc_edge *x)
{
    const tc_attr_arg attr = {"dtype", tc_attr_dtype(dtype)};
    return tc_edge_info(pass->graph, *x)->dtype == dtype
               ? TC_OK
               : tc_ir_make(pass, node, "cast", x, 1, &attr, 1, x);
}

static tc_status fold(tc_pass_context *pass, const tc_node *node, int32_t old)
{
    tc_edge in[VARIANCE + 1], scale, shift, y;
    for (int32_t i = X; i <= VARIANCE; i++)
        in[i] = tc_ir_new_edge(pass, node->inputs[i]);
    TC_TRY(coefficients(pass, node, in, &scale, &shift));
    TC_TRY(along_channels(pass, node, &scale));
    TC_TRY(along_channels(pass, node, &shift));
    y = in[X];
    TC_TRY(cast(pass, node, node->outputs[3].dtype, &y));
    TC_TRY(binary(pass, node, "mul", y, scale, &y));
    TC_TRY(binary(pass, node, "add", y, shift, &y));
    TC_TRY(cast(pass, node, node->outputs[0].dtype, &y));
    tc_ir_forward(pass, old, 0, y);
    pass->changes++;
    return TC_OK;
}

tc_status tc_pass_fold_batch_norm(tc_pass_context *pass)
{
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    bool *statistics = tc_alloc_zero((size_t)pass->n_old, sizeof *statistics);
    if (status == TC_OK && !statistics)
        status = tc_compiler_exhausted();
    if (status == TC_OK)
        find_statistics(pass, statistics);
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_node *node = pass->old[i];
        if (tc_node_is(node, "batch_norm") && !statistics[i] &&
            is_folded(pass, node, tc_ir_new_edge(pass, node->inputs[X]))) {
            status = fold(pass, node, i);
        } else {
            tc_ir_renumber(pass, node);
            status = tc_ir_keep(pass, node, i);
        }
    }
    tc_free(statistics);
    return tc_ir_end(pass, status);
}
