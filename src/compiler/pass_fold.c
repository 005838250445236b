/*
 * Nodes that depend on constants alone are computed now, by the target's own kernels, unless the
 * result takes much more memory than what it is made from, or all of them together more than the
 * request's budget. Elements that shape inference knows need no kernel, and neither does nothing: a
 * result without elements.
 */
#include "compiler/pass.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/* A folded result may be this much larger than the inputs of its node: room for masks, ranges and
 * initial fills. */
#define MAX_GROWTH ((size_t)64 << 10)

/* Of all folded constants, when the request says nothing. */
#define DEFAULT_BUDGET ((size_t)64 << 20)

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

/* Bytes of the outputs; false when they are not known. */
static bool measure_outputs(const tc_node *node, size_t *total)
{
    *total = 0;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        size_t bytes;
        int64_t size;
        if (!tc_shape_is_known(&node->outputs[i].shape) ||
            tc_tensor_measure(node->outputs[i].dtype, &node->outputs[i].shape, &size, &bytes) !=
                TC_OK ||
            !tc_add_size(*total, bytes, total))
            return false;
    }
    return true;
}

static bool within_budget(const tc_pass_context *pass, size_t bytes)
{
    size_t budget = pass->request->fold_budget ? pass->request->fold_budget : DEFAULT_BUDGET;
    return bytes <= budget && pass->folded_bytes <= budget - bytes;
}

static bool may_fold(const tc_node *node)
{
    return node->n_outputs > 0 && !(node->attrs.op->effects & NOT_FOLDED) &&
           !tc_node_is_identity(node) && !tc_node_is(node, "constant");
}

/* Collects the inputs, for which there is room, and tells whether the node can be folded. */
static void collect(const tc_pass_context *pass, folder *f, const tc_node *node, bool *foldable)
{
    size_t bytes = MAX_GROWTH, made;
    *foldable = false;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        tc_edge edge = node->inputs[k];
        f->tensors.data[k] = NULL;
        f->infos.data[k] = (tc_value_info){0};
        if (edge.node < 0)
            continue;
        f->infos.data[k] = *tc_edge_info(pass->graph, edge);
        if (tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY) {
            if (!tc_shape_is_known(&f->infos.data[k].shape))
                return;
            continue;
        }
        tc_tensor *tensor = constant_of(pass, edge);
        if (!tensor)
            return;
        f->tensors.data[k] = tensor;
        bytes += tc_tensor_bytes(tensor);
    }
    *foldable = measure_outputs(node, &made) && made <= bytes && within_budget(pass, made);
}

/* A tensor of the elements that inference knows; `*out` stays NULL when it does not know all. */
static tc_status tensor_of_known(const tc_node *node, tc_tensor **out)
{
    const tc_value_info *info = &node->outputs[0];
    if (node->n_outputs != 1 || !info->known || tc_shape_size(&info->shape) != info->known_count)
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

/* Whether all outputs are known to have no elements, which `outputs` then holds. */
static tc_status tensors_of_nothing(const tc_node *node, tc_tensor **outputs, bool *nothing)
{
    size_t bytes;
    *nothing = measure_outputs(node, &bytes) && bytes == 0;
    for (int32_t i = 0; *nothing && i < node->n_outputs; i++) {
        tc_status status =
            tc_tensor_create(node->outputs[i].dtype, node->outputs[i].shape, &outputs[i]);
        if (status != TC_OK) {
            while (i-- > 0)
                tc_tensor_release(outputs[i]);
            return status;
        }
    }
    return TC_OK;
}

/* Puts constants in the place of the outputs of `node`; takes over the tensors. */
static tc_status replace(tc_pass_context *pass, const tc_node *node, int32_t old,
                         tc_tensor **tensors)
{
    tc_status status = TC_OK;
    pass->changes++;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        pass->folded_bytes += tc_tensor_bytes(tensors[i]);
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
    bool nothing, foldable;
    tc_tensor *known = NULL;
    if (!may_fold(node))
        return tc_ir_keep(pass, node, old);
    TC_TRY(tensor_of_known(node, &known));
    if (known)
        return replace(pass, node, old, &known);
    if (!tc_vector_reserve(&f->tensors, (size_t)node->n_inputs + (size_t)node->n_outputs) ||
        !tc_vector_reserve(&f->infos, (size_t)node->n_inputs))
        return tc_compiler_exhausted();
    tc_tensor **outputs = f->tensors.data + node->n_inputs;
    TC_TRY(tensors_of_nothing(node, outputs, &nothing));
    if (nothing)
        return replace(pass, node, old, outputs);
    collect(pass, f, node, &foldable);
    if (foldable) {
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
