/* Adding steps, and the buffers they read and write. */
#include "compiler/planner.h"
#include "core/kernel.h"
#include "core/registry.h"
#include "core/tensor.h"
#include "ops/cost.h"

/*
 * Buffers
 */
static int32_t add_storage(tc_planner *p, tc_place place, int32_t index, int32_t device,
                           size_t bytes)
{
    tc_storage storage = {place, index, -1, device, -1, -1, -1, bytes, 0};
    if (!tc_vector_push(&p->storages, storage))
        return -1;
    return (int32_t)p->storages.count - 1;
}

static int32_t add_buffer(tc_planner *p, int32_t value, int32_t storage, size_t shift)
{
    tc_buffer buffer = {.bytes = p->bytes[value], .info = p->infos[value]};
    buffer.info.known = NULL; /* its elements lie in scratch memory */
    buffer.info.known_count = 0;
    if (storage < 0 || !tc_vector_push(&p->buffer_storage, storage) ||
        !tc_vector_push(&p->buffer_value, value) || !tc_vector_push(&p->buffer_shift, shift))
        return -1;
    return tc_vector_push(&p->buffers, buffer) ? (int32_t)p->buffers.count - 1 : -1;
}

static int32_t add_variable(tc_planner *p, const tc_node *node)
{
    tc_plan_variable variable = {
        .name = node->name, .dtype = node->outputs[0].dtype, .shape = node->outputs[0].shape};
    if (!tc_vector_push(&p->variables, variable) ||
        !tc_vector_push(&p->variable_nodes, node->index))
        return -1;
    return (int32_t)p->variables.count - 1;
}

static int32_t storage_of(tc_planner *p, int32_t value)
{
    const tc_node *node = tc_graph_node_at(p->graph, p->producer[value]);
    int32_t variable = p->variable_of[value], index = 0;
    tc_place place = TC_PLACE_ARENA;
    if (p->storage_of[value] >= 0)
        return p->storage_of[value];
    if (variable >= 0 && variable != node->index && p->commits[node->index])
        return p->storage_of[value] = storage_of(p, p->first[variable]);
    if (p->feed_of[node->index] >= 0) {
        place = TC_PLACE_FEED;
        index = p->feed_of[node->index];
    } else if (variable == node->index) {
        place = TC_PLACE_VARIABLE;
        index = add_variable(p, node);
    } else if (tc_node_is(node, "constant")) {
        place = TC_PLACE_CONSTANT;
        index = p->plan->n_constants++;
        p->plan->constants[index] = tc_tensor_retain(tc_attrs_tensor(&node->attrs, "tensor"));
    } else if (p->output_of[value] >= 0) {
        place = TC_PLACE_OUTPUT;
        index = p->output_of[value];
    }
    if (index >= 0)
        p->storage_of[value] = add_storage(p, place, index, node->device, p->bytes[value]);
    return p->storage_of[value];
}

int32_t tc_plan_buffer(tc_planner *p, int32_t value)
{
    if (p->buffer_of[value] < 0)
        p->buffer_of[value] = add_buffer(p, value, storage_of(p, p->root[value]), p->shift[value]);
    return p->buffer_of[value];
}

int32_t tc_plan_output_buffer(tc_planner *p, int32_t fetch)
{
    int32_t value = tc_plan_value(p, p->program->fetches[fetch]);
    return add_buffer(p, value, add_storage(p, TC_PLACE_OUTPUT, fetch, 0, p->bytes[value]), 0);
}

int32_t tc_plan_copy_buffer(tc_planner *p, int32_t value)
{
    int32_t device = tc_graph_node_at(p->graph, p->producer[value])->device;
    return add_buffer(p, value, add_storage(p, TC_PLACE_ARENA, 0, device, p->bytes[value]), 0);
}

/*
 * Steps
 */
static tc_status push_operand(tc_planner *p, int32_t buffer)
{
    return tc_vector_push(&p->operands, buffer) ? TC_OK : tc_compiler_exhausted();
}

static tc_status push_step(tc_planner *p, const tc_step *step, int32_t workspace)
{
    if (!tc_vector_push(&p->step_workspace, workspace) || !tc_vector_push(&p->steps, *step))
        return tc_compiler_exhausted();
    return TC_OK;
}

static int32_t device_of(const tc_planner *p, int32_t buffer)
{
    return p->storages.data[p->buffer_storage.data[buffer]].device;
}

/* A copy for `node`, -1: the planner's own. */
static tc_status add_copy(tc_planner *p, int32_t from, int32_t to, int32_t node)
{
    if (from < 0 || to < 0)
        return tc_compiler_exhausted();
    size_t bytes = p->buffers.data[from].bytes;
    int32_t source = device_of(p, from), receiver = device_of(p, to);
    if (bytes == 0)
        return TC_OK;
    tc_step step = {.first_input = (int32_t)p->operands.count,
                    .n_inputs = 1,
                    .first_output = (int32_t)p->operands.count + 1,
                    .n_outputs = 1,
                    .copy_bytes = bytes,
                    .pack = -1,
                    .node = node,
                    .device = receiver ? receiver : source,
                    .region = -1};
    TC_TRY(push_operand(p, from));
    TC_TRY(push_operand(p, to));
    bool kept = false;
    if (node >= 0)
        TC_TRY(tc_plan_add_invariant(p, &step, 0, &kept));
    if (kept)
        return TC_OK;
    if (source == receiver)
        p->plan->copied_bytes += bytes;
    return push_step(p, &step, -1);
}

tc_status tc_plan_add_copy(tc_planner *p, int32_t from, int32_t to)
{
    return add_copy(p, from, to, -1);
}

/* Between devices. */
static tc_status add_transfer(tc_planner *p, const tc_node *node)
{
    int32_t from = tc_plan_value(p, node->inputs[0]), to = p->first[node->index];
    p->plan->costs[node->index].bytes = 2 * (double)p->bytes[to];
    return add_copy(p, tc_plan_buffer(p, from), tc_plan_buffer(p, to), node->index);
}

static tc_status find_kernel(const tc_planner *p, const tc_node *node, const tc_value_info *outputs,
                             const tc_kernel **kernel)
{
    const tc_op *op = node->attrs.op;
    int32_t device = node->device;
    tc_dtype dtype =
        tc_op_kernel_dtype(op, p->node_infos, node->n_inputs, outputs, node->n_outputs);
    *kernel = p->target->find_kernel(p->target, device, op->name, dtype);
    if (*kernel)
        return TC_OK;
    char where[512];
    bool any = dtype == TC_DTYPE_INVALID;
    return tc_fail(TC_UNIMPLEMENTED, "%s: there is no kernel of '%s'%s%s on device %s",
                   tc_node_describe(node, where, sizeof where), op->name, any ? "" : " for ",
                   any ? "" : tc_dtype_name(dtype), p->target->device_name(p->target, device));
}

/* The buffer that input `k` is read from. */
static int32_t input_buffer(tc_planner *p, const tc_node *node, int32_t k)
{
    int32_t value = tc_plan_value(p, node->inputs[k]);
    if (!p->commits[node->index])
        return tc_plan_buffer(p, value);
    int32_t variable = p->variable_of[p->root[value]];
    if (tc_input_flags(node, k) & TC_PORT_RESOURCE)
        return tc_plan_buffer(p, p->first[variable]);
    /* The old content of a variable that is committed before, or by this very step, is read from
     * its copy. */
    bool is_old = variable >= 0 && variable == p->producer[p->root[value]];
    if (is_old && p->saved[variable] >= 0)
        return add_buffer(p, value, p->buffer_storage.data[p->saved[variable]], p->shift[value]);
    return tc_plan_buffer(p, value);
}

static tc_status push_operands(tc_planner *p, const tc_node *node, tc_step *step)
{
    step->first_input = (int32_t)p->operands.count;
    step->n_inputs = node->n_inputs;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        int32_t buffer = -1;
        if (tc_node_reads(node, k)) {
            buffer = input_buffer(p, node, k);
            if (buffer < 0)
                return tc_compiler_exhausted();
        }
        TC_TRY(push_operand(p, buffer));
    }
    step->first_output = (int32_t)p->operands.count;
    step->n_outputs = node->n_outputs;
    for (int32_t k = 0; k < node->n_outputs; k++) {
        int32_t buffer = tc_plan_buffer(p, p->first[node->index] + k);
        if (buffer < 0)
            return tc_compiler_exhausted();
        TC_TRY(push_operand(p, buffer));
    }
    return TC_OK;
}

/* A packed form is made once, so the operand must never change. */
static tc_status add_pack(tc_planner *p, const tc_prepared *prepared, tc_step *step)
{
    if (prepared->pack_input < 0 || step->device != 0)
        return TC_OK;
    int32_t buffer = p->operands.data[step->first_input + prepared->pack_input];
    if (buffer < 0 || !tc_plan_is_whole(p, buffer))
        return TC_OK;
    if (!tc_plan_is_fixed(p, buffer))
        return TC_OK;
    tc_pack pack = {.kernel = step->kernel,
                    .params = step->params,
                    .params_bytes = prepared->params_bytes,
                    .bytes = prepared->pack_bytes,
                    .buffer = buffer,
                    .node = step->node};
    if (!tc_vector_push(&p->packs, pack))
        return tc_compiler_exhausted();
    step->pack = (int32_t)p->packs.count - 1;
    return TC_OK;
}

tc_status tc_plan_add_kernel(tc_planner *p, const tc_node *node)
{
    if (tc_node_is(node, "transfer"))
        return add_transfer(p, node);
    const tc_value_info *outputs = &p->infos[p->first[node->index]];
    for (int32_t k = 0; k < node->n_inputs; k++)
        p->node_infos[k] = node->inputs[k].node < 0 ? (tc_value_info){0}
                                                    : p->infos[tc_plan_value(p, node->inputs[k])];
    tc_step step = {.pack = -1,
                    .node = node->index,
                    .device = node->device,
                    .region = -1,
                    .extents = p->extents_of[node->index]};
    TC_TRY(find_kernel(p, node, outputs, &step.kernel));
    tc_prepared prepared;
    tc_kernel_place place = {.threads = p->target->threads, .allows = p->target->allows};
    (void)p->target->device_type(p->target, node->device, &place.device);
    tc_status status =
        tc_kernel_prepare(step.kernel, &node->attrs, p->node_infos, node->n_inputs, outputs,
                          node->n_outputs, &place, &p->plan->arena, &prepared);
    if (status != TC_OK) {
        char where[512];
        return tc_fail_prefix(status, "%s: ", tc_node_describe(node, where, sizeof where));
    }
    const tc_infer work = {.attrs = &node->attrs,
                           .inputs = p->node_infos,
                           .outputs = &p->infos[p->first[node->index]],
                           .n_inputs = node->n_inputs,
                           .n_outputs = node->n_outputs};
    tc_op_cost(&work, &p->plan->costs[node->index]);
    step.params = prepared.params;
    step.workspace_bytes = prepared.workspace_bytes;
    int32_t workspace = -1;
    TC_TRY(push_operands(p, node, &step));
    bool kept;
    TC_TRY(tc_plan_add_invariant(p, &step, prepared.params_bytes, &kept));
    if (kept)
        return TC_OK;
    TC_TRY(add_pack(p, &prepared, &step));
    if (step.workspace_bytes > 0) {
        workspace = add_storage(p, TC_PLACE_ARENA, 0, step.device, step.workspace_bytes);
        if (workspace < 0)
            return tc_compiler_exhausted();
    }
    return push_step(p, &step, workspace);
}
