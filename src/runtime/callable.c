/* Requests fixed once for many runs. */
#include <string.h>

#include "base/status.h"
#include "core/shape.h"
#include "runtime/stages.h"

tc_status tc_session_compile(tc_session *session, const tc_value *feeds, size_t n_feeds,
                             const tc_value *fetches, size_t n_fetches, const tc_value *targets,
                             size_t n_targets, const tc_callable_options *options,
                             tc_callable **out)
{
    if (!session || !out)
        return tc_fail(TC_INVALID_ARGUMENT, "compile: session or out is NULL");
    *out = NULL;
    TC_OPTIONS(tc_callable_options, o, options);
    tc_entry *entry;
    TC_TRY(tc_entry_find(session, NULL, feeds, n_feeds, fetches, n_fetches, targets, n_targets,
                         o.mode, true, &entry));
    tc_callable *callable = tc_alloc_zero(1, sizeof *callable);
    if (!callable) {
        tc_entry_leave(entry);
        return tc_fail_memory(sizeof *callable, "a callable");
    }
    callable->references = 1;
    callable->session = tc_session_retain(session);
    callable->entry = entry;
    *out = callable;
    return TC_OK;
}

tc_callable *tc_callable_retain(tc_callable *callable)
{
    if (callable)
        atomic_fetch_add_explicit(&callable->references, 1, memory_order_relaxed);
    return callable;
}

void tc_callable_release(tc_callable *callable)
{
    if (!callable || atomic_fetch_sub_explicit(&callable->references, 1, memory_order_acq_rel) != 1)
        return;
    tc_entry_leave(callable->entry);
    tc_session_release(callable->session);
    tc_free(callable);
}

tc_status tc_callable_run(tc_callable *callable, tc_tensor *const *inputs, tc_tensor **outputs,
                          const tc_run_options *options)
{
    if (!callable)
        return tc_fail(TC_INVALID_ARGUMENT, "run: callable is NULL");
    const tc_inputs row = {.tensors = inputs};
    tc_run_limits limits;
    TC_TRY(tc_run_limits_read(options, &limits));
    return tc_entry_run(callable->session, callable->entry, &row, outputs, &limits);
}

static size_t tensor_bytes(const tc_plan *plan, tc_place place)
{
    size_t bytes = 0;
    if (place == TC_PLACE_CONSTANT)
        for (int32_t i = 0; i < plan->n_constants; i++)
            bytes += tc_tensor_bytes(plan->constants[i]);
    else
        for (int32_t i = 0; i < plan->n_variables; i++)
            bytes += (size_t)tc_shape_size(&plan->variables[i].shape) *
                     (size_t)tc_dtype_bits(plan->variables[i].dtype) / 8;
    return bytes;
}

static int32_t count_branches(const tc_plan *plan)
{
    int32_t branches = 0;
    for (int32_t i = 0; i < plan->n_regions; i++)
        branches += plan->regions[i].n_lanes;
    return branches;
}

static size_t device_bytes(const tc_plan *plan)
{
    size_t bytes = 0;
    for (int32_t d = 1; d < plan->n_devices; d++)
        bytes += plan->devices[d].arena_bytes;
    return bytes;
}

static int32_t count_kernels(const tc_plan *plan, int32_t begin)
{
    int32_t kernels = 0;
    for (int32_t i = begin; i < plan->n_steps; i++)
        kernels += plan->steps[i].kernel != NULL;
    return kernels;
}

/* Enters the plan for `feed_shapes`, which must be known. */
static tc_status enter_plan(tc_callable *callable, const tc_shape *feed_shapes, tc_entry **entry,
                            tc_bound_plan **bound)
{
    if (!callable || (callable->entry->n_feeds > 0 && !feed_shapes))
        return tc_fail(TC_INVALID_ARGUMENT, "plan: callable or feed_shapes is NULL");
    for (int32_t i = 0; i < callable->entry->n_feeds; i++) {
        if (!tc_shape_is_known(&feed_shapes[i])) {
            char text[TC_SHAPE_TEXT_SIZE];
            return tc_fail(TC_INVALID_ARGUMENT, "plan: the shape %s of feed %d is not wholly known",
                           tc_shape_text(&feed_shapes[i], text), i);
        }
    }
    *entry = callable->entry;
    return tc_staged_enter_first(callable->session, entry, feed_shapes, bound);
}

tc_status tc_callable_plan(tc_callable *callable, const tc_shape *feed_shapes, tc_plan_info *info)
{
    tc_entry *entry;
    tc_bound_plan *bound;
    TC_TRY(enter_plan(callable, feed_shapes, &entry, &bound));
    const tc_plan *plan = bound->plan;
    if (info)
        *info = (tc_plan_info){
            .peak_bytes = plan->arena_bytes,
            .constant_bytes = tensor_bytes(plan, TC_PLACE_CONSTANT),
            .variable_bytes = tensor_bytes(plan, TC_PLACE_VARIABLE),
            .copied_bytes = plan->copied_bytes,
            .kernels = count_kernels(plan, 0),
            .commits = plan->program->writes ? count_kernels(plan, plan->n_compute) : 0,
            .live_bytes = plan->live_bytes,
            .recomputed = plan->recomputed,
            .branches = count_branches(plan),
            .device_bytes = device_bytes(plan),
            .transfers = plan->n_transfers,
            .transferred_bytes = plan->transferred_bytes,
        };
    tc_plan_leave(callable->session, entry, bound, NULL);
    return TC_OK;
}

tc_status tc_plan_dump(tc_callable *callable, const tc_shape *feed_shapes, tc_dump_format format,
                       FILE *file)
{
    if (!file)
        return tc_fail(TC_INVALID_ARGUMENT, "plan: file is NULL");
    tc_entry *entry;
    tc_bound_plan *bound;
    TC_TRY(enter_plan(callable, feed_shapes, &entry, &bound));
    tc_status status = tc_plan_print(bound->plan, format, file);
    tc_plan_leave(callable->session, entry, bound, NULL);
    if (status == TC_OK && format == TC_DUMP_TEXT)
        status = tc_staged_print_rest(callable->session, callable->entry, file);
    return status;
}

tc_status tc_callable_passes(tc_callable *callable, tc_pass_info *passes, size_t capacity,
                             size_t *count)
{
    if (!callable || !count || (capacity > 0 && !passes))
        return tc_fail(TC_INVALID_ARGUMENT, "passes: the callable, passes or count is NULL");
    const tc_staged *staged = callable->entry->staged;
    *count = 0;
    for (int32_t i = 0; i < (staged ? staged->stages.count : 1); i++) {
        const tc_program *program = (staged ? staged->entries[i] : callable->entry)->program;
        for (int32_t k = 0; k < program->n_reports; k++, ++*count)
            if (*count < capacity)
                passes[*count] = program->reports[k];
    }
    return TC_OK;
}

tc_status tc_callable_placements(tc_callable *callable, tc_placement *placements, size_t capacity,
                                 size_t *count)
{
    if (!callable || !count || (capacity > 0 && !placements))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "placements: the callable, placements or count is NULL");
    const tc_staged *staged = callable->entry->staged;
    const tc_program *program = (staged ? staged->entries[0] : callable->entry)->program;
    const tc_target *target = &callable->session->view.target;
    *count = program->graph->nodes.count;
    for (size_t i = 0; i < *count && i < capacity; i++) {
        const tc_node *node = program->graph->nodes.data[i];
        placements[i] = (tc_placement){.node = node->name,
                                       .op = node->attrs.op->name,
                                       .device = target->device_name(target, node->device),
                                       .reason = program->reasons.data[node->reason]};
    }
    return TC_OK;
}
