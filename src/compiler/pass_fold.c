/*
 * Nodes that depend on constants alone are computed now, by the target's own kernels, unless the
 * result takes much more memory than what it is made from. Elements that shape inference knows need
 * no kernel.
 */
#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/* A folded result may be this much larger than the inputs of its node: room for masks, ranges and
 * initial fills. */
#define MAX_GROWTH ((size_t)64 << 10)

#define NOT_FOLDED \
    (TC_EFFECT_READ | TC_EFFECT_WRITE | TC_EFFECT_RANDOM | TC_EFFECT_IO | TC_EFFECT_COLLECTIVE)

/* Scratch of one node, enlarged as needed. */
typedef struct folder {
    TC_VECTOR(tc_tensor *) tensors; /* inputs, then outputs */
    TC_VECTOR(tc_value_info) infos; /* of the inputs */
} folder;

static tc_tensor *constant_of(const tc_pass_context *pass, tc_edge edge)
{
    const tc_node *node = tc_graph_node_at(pass->graph, edge.node);
    return tc_node_is(node, "constant") ? tc_attrs_tensor(&node->attrs, "tensor") : NULL;
}

static bool known_outputs(const tc_node *node, size_t limit)
{
    size_t total = 0;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        size_t bytes;
        int64_t size;
        if (!tc_shape_is_known(&node->outputs[i].shape) ||
            tc_tensor_measure(node->outputs[i].dtype, &node->outputs[i].shape, &size, &bytes) !=
                TC_OK ||
            !tc_add_size(total, bytes, &total))
            return false;
    }
    return total <= limit;
}

/* Collects the inputs; false when the node cannot be folded. */
static tc_status collect(const tc_pass_context *pass, folder *f, const tc_node *node,
                         bool *foldable)
{
    size_t n = (size_t)node->n_inputs + (size_t)node->n_outputs, bytes = MAX_GROWTH;
    *foldable = false;
    if (node->n_outputs == 0 || node->attrs.op->effects & NOT_FOLDED || tc_node_is_identity(node) ||
        tc_node_is(node, "constant"))
        return TC_OK;
    if (!tc_vector_reserve(&f->tensors, n) || !tc_vector_reserve(&f->infos, n))
        return tc_compiler_exhausted();
    for (int32_t k = 0; k < node->n_inputs; k++) {
        tc_edge edge = node->inputs[k];
        f->tensors.data[k] = NULL;
        f->infos.data[k] = (tc_value_info){0};
        if (edge.node < 0)
            continue;
        f->infos.data[k] = *tc_edge_info(pass->graph, edge);
        if (tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY) {
            if (!tc_shape_is_known(&f->infos.data[k].shape))
                return TC_OK;
            continue;
        }
        tc_tensor *tensor = constant_of(pass, edge);
        if (!tensor)
            return TC_OK;
        f->tensors.data[k] = tensor;
        bytes += tc_tensor_bytes(tensor);
    }
    *foldable = known_outputs(node, bytes);
    return TC_OK;
}

/* A tensor of the elements that inference knows; `*out` stays NULL when it does not know all. */
static tc_status tensor_of_known(const tc_node *node, tc_tensor **out)
{
    const tc_value_info *info = &node->outputs[0];
    if (node->n_outputs != 1 || !info->known || node->attrs.op->effects & NOT_FOLDED ||
        tc_node_is_identity(node) || tc_node_is(node, "constant") ||
        tc_shape_size(&info->shape) != info->known_count)
        return TC_OK;
    for (int32_t i = 0; i < info->known_count; i++)
        if (info->known[i].size < 0)
            return TC_OK;
    TC_TRY(tc_tensor_create(info->dtype, info->shape, out));
    char *element = tc_tensor_data(*out);
    for (int32_t i = 0; i < info->known_count; i++, element += tc_dtype_size(info->dtype))
        tc_dtype_store(info->dtype, element, (double)info->known[i].size);
    return TC_OK;
}

/* Puts constants in the place of the outputs of `node`; takes over the tensors. */
static tc_status replace(tc_pass_context *pass, const tc_node *node, int32_t old,
                         tc_tensor **tensors)
{
    tc_status status = TC_OK;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        if (status == TC_OK) {
            tc_node *constant = tc_ir_constant(pass, node, i, tensors[i]);
            status = constant ? tc_ir_append(pass, constant) : TC_RESOURCE_EXHAUSTED;
            if (status == TC_OK)
                tc_ir_forward(pass, old, i, (tc_edge){constant->index, 0});
        }
        tc_tensor_release(tensors[i]);
    }
    return status;
}

static tc_status fold_node(tc_pass_context *pass, folder *f, tc_node *node, int32_t old)
{
    bool foldable;
    tc_tensor *known = NULL;
    TC_TRY(tensor_of_known(node, &known));
    if (known)
        return replace(pass, node, old, &known);
    TC_TRY(collect(pass, f, node, &foldable));
    if (foldable) {
        tc_tensor **outputs = f->tensors.data + node->n_inputs;
        tc_status status =
            pass->target->fold(pass->target, &node->attrs, f->tensors.data, f->infos.data,
                               node->n_inputs, node->outputs, node->n_outputs, outputs);
        if (status == TC_OK)
            return replace(pass, node, old, outputs);
        if (status == TC_RESOURCE_EXHAUSTED)
            return status;
        /* No kernel, or one that refuses these elements, which a run reports with the node's place.
         */
    }
    return tc_ir_keep(pass, node, old);
}

tc_status tc_pass_fold(tc_pass_context *pass)
{
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    folder f = {0};
    for (int32_t i = 0; i < pass->n_old && status == TC_OK; i++) {
        tc_ir_renumber(pass, pass->old[i]);
        status = fold_node(pass, &f, pass->old[i], i);
    }
    tc_vector_free(&f.tensors);
    tc_vector_free(&f.infos);
    return tc_ir_end(pass, status);
}
