/* Making a plan, and its life. */
#include "compiler/plan.h"

#include "compiler/planner.h"

/* Arrays of `count` int32_t in scratch memory, all set to -1. */
static int32_t *indexes(tc_planner *p, int32_t count)
{
    int32_t *array = tc_arena_array(&p->scratch, (size_t)count, sizeof *array);
    for (int32_t i = 0; array && i < count; i++)
        array[i] = -1;
    return array;
}

static tc_status number_values(tc_planner *p)
{
    int32_t widest = 0, constants = 0;
    size_t values = 0;
    p->n_nodes = (int32_t)p->graph->nodes.count;
    p->first = indexes(p, p->n_nodes + 1);
    if (!p->first)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < p->n_nodes; i++) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        p->first[i] = (int32_t)values;
        values += (size_t)node->n_outputs;
        constants += tc_node_is(node, "constant");
        if (node->n_inputs > widest)
            widest = node->n_inputs;
    }
    if (values > INT32_MAX)
        return tc_fail(TC_RESOURCE_EXHAUSTED, "the program has more than %d values", INT32_MAX);
    p->first[p->n_nodes] = p->n_values = (int32_t)values;
    p->node_infos = tc_arena_array(&p->scratch, (size_t)widest, sizeof *p->node_infos);
    p->infos = tc_arena_array(&p->scratch, values, sizeof *p->infos);
    p->plan->constants =
        tc_arena_array(&p->plan->arena, (size_t)constants, sizeof *p->plan->constants);
    if (!p->node_infos || !p->infos || !p->plan->constants)
        return tc_compiler_exhausted();
    return TC_OK;
}

static tc_status allocate(tc_planner *p)
{
    TC_TRY(number_values(p));
    int32_t **per_value[] = {&p->producer,   &p->root,      &p->variable_of, &p->next_write,
                             &p->fetch_list, &p->output_of, &p->storage_of,  &p->buffer_of};
    for (size_t i = 0; i < sizeof per_value / sizeof per_value[0]; i++)
        if (!(*per_value[i] = indexes(p, p->n_values)))
            return tc_compiler_exhausted();
    p->shift = tc_arena_array(&p->scratch, (size_t)p->n_values, sizeof *p->shift);
    p->bytes = tc_arena_array(&p->scratch, (size_t)p->n_values, sizeof *p->bytes);
    p->shown = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *p->shown);
    p->plan->costs = tc_arena_array(&p->plan->arena, (size_t)p->n_nodes, sizeof *p->plan->costs);
    p->plan->n_devices = p->target->device_count;
    p->plan->devices =
        tc_arena_array(&p->plan->arena, (size_t)p->plan->n_devices, sizeof *p->plan->devices);
    if (!p->plan->costs || !p->plan->devices)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < p->n_nodes; i++)
        p->plan->mixed |= tc_graph_node_at(p->graph, i)->device != 0;
    p->feed_of = indexes(p, p->n_nodes);
    p->saved = indexes(p, p->n_nodes);
    p->fetch_next = indexes(p, p->program->n_fetches);
    p->needed = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *p->needed);
    p->commits = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *p->commits);
    if (!p->shift || !p->bytes || !p->shown || !p->feed_of || !p->saved || !p->fetch_next ||
        !p->needed || !p->commits)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < p->n_nodes; i++)
        for (int32_t value = p->first[i]; value < p->first[i + 1]; value++)
            p->producer[value] = i;
    return TC_OK;
}

/* Moves the lists into the plan's own memory. */
static tc_status finish(tc_planner *p)
{
    tc_plan *plan = p->plan;
    tc_arena *arena = &plan->arena;
    int32_t n_outputs = p->program->n_fetches;
#define MOVE(list, total)                                                                     \
    (plan->list = tc_arena_memdup(arena, p->list.data, p->list.count * sizeof *p->list.data), \
     plan->total = (int32_t)p->list.count, plan->list != NULL)
    if (p->operands.count > INT32_MAX || !MOVE(steps, n_steps) || !MOVE(operands, n_operands) ||
        !MOVE(buffers, n_buffers) || !MOVE(variables, n_variables) || !MOVE(packs, n_packs) ||
        !MOVE(regions, n_regions) || !MOVE(segments, n_segments))
        return tc_compiler_exhausted();
#undef MOVE
    plan->outputs = tc_arena_array(arena, (size_t)n_outputs, sizeof *plan->outputs);
    if (!plan->outputs)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < n_outputs; i++) {
        plan->outputs[i] = p->infos[tc_plan_value(p, p->program->fetches[i])];
        plan->outputs[i].known = NULL;
        plan->outputs[i].known_count = 0;
        for (int32_t d = 0; d < plan->outputs[i].shape.rank; d++)
            plan->outputs[i].shape.dims[d].name = NULL;
    }
    return TC_OK;
}

static void free_planner(tc_planner *p)
{
    tc_vector_free(&p->storages);
    tc_vector_free(&p->buffers);
    tc_vector_free(&p->buffer_storage);
    tc_vector_free(&p->buffer_value);
    tc_vector_free(&p->buffer_shift);
    tc_vector_free(&p->steps);
    tc_vector_free(&p->step_workspace);
    tc_vector_free(&p->operands);
    tc_vector_free(&p->variables);
    tc_vector_free(&p->variable_nodes);
    tc_vector_free(&p->packs);
    tc_vector_free(&p->regions);
    tc_vector_free(&p->segments);
    tc_arena_free(&p->scratch);
}

/* The node that the fullest step belongs to; copies belong to none, the steps round them do. */
static const char *peak_place(const tc_planner *p, char *buffer, size_t size)
{
    for (int32_t i = p->plan->peak_step; i >= 0; i--)
        if (p->steps.data[i].node >= 0)
            return tc_node_describe(tc_graph_node_at(p->graph, p->steps.data[i].node), buffer,
                                    size);
    return "a copy";
}

static tc_status check_budget(const tc_planner *p)
{
    const tc_plan *plan = p->plan;
    char where[512];
    if (p->memory_budget == 0 || plan->arena_bytes <= p->memory_budget)
        return TC_OK;
    return tc_fail(
        TC_RESOURCE_EXHAUSTED,
        "the plan needs %zu bytes for intermediate results%s%s, but the memory budget is %zu; "
        "most are alive at %s",
        plan->arena_bytes, p->focus ? " on " : "",
        p->focus ? p->target->device_name(p->target, p->focus) : "", p->memory_budget,
        peak_place(p, where, sizeof where));
}

/* What saves memory looks at the device that needs most. */
static tc_status focus_on_fullest(tc_planner *p)
{
    size_t most = 0;
    int32_t fullest = 0;
    if (!p->plan->mixed)
        return TC_OK;
    TC_TRY(tc_plan_measure(p));
    for (int32_t d = 0; d < p->plan->n_devices; d++) {
        TC_TRY(tc_plan_focus(p, d));
        if (p->plan->live_bytes > most) {
            most = p->plan->live_bytes;
            fullest = d;
        }
    }
    return tc_plan_focus(p, fullest);
}

/* The budget is for each device. */
static tc_status recompute(tc_planner *p)
{
    for (int32_t d = 0; d < p->plan->n_devices; d++) {
        p->focus = d;
        TC_TRY(tc_plan_recompute(p));
        if (!p->plan->mixed)
            break;
    }
    p->focus = 0;
    return TC_OK;
}

/* The CPU comes last: its measures stay in the plan. */
static tc_status check_budgets(tc_planner *p)
{
    for (int32_t d = p->plan->n_devices - 1; d >= 0; d--) {
        TC_TRY(tc_plan_focus(p, d));
        TC_TRY(check_budget(p));
    }
    return TC_OK;
}

static bool exceeds_budget(const tc_planner *p)
{
    for (int32_t d = 0; d < p->plan->n_devices; d++)
        if (p->memory_budget > 0 && p->plan->devices[d].arena_bytes > p->memory_budget)
            return true;
    return false;
}

static tc_status make_plan(tc_planner *p)
{
    TC_TRY(allocate(p));
    TC_TRY(tc_plan_infer(p));
    TC_TRY(tc_plan_schedule(p));
    TC_TRY(focus_on_fullest(p));
    if (tc_plan_does(p, TC_PLAN_PASS_low_peak))
        TC_TRY(tc_plan_low_peak(p));
    if (p->plan->mixed)
        TC_TRY(tc_plan_group(p));
    if (tc_plan_does(p, TC_PLAN_PASS_rematerialize))
        TC_TRY(recompute(p));
    if (tc_plan_does(p, TC_PLAN_PASS_branches) && p->plan->recomputed == 0)
        TC_TRY(tc_plan_branches(p));
    TC_TRY(tc_plan_place(p));
    if (p->regions.count > 0 && exceeds_budget(p)) {
        TC_TRY(tc_plan_drop_branches(p)); /* what goes on at the same time lives at the same time */
        TC_TRY(tc_plan_place(p));
    }
    TC_TRY(check_budgets(p));
    if (p->plan->mixed)
        TC_TRY(tc_plan_find_segments(p));
    return finish(p);
}

tc_status tc_plan_create(tc_program *program, const tc_shape *feed_shapes, const tc_target *target,
                         size_t memory_budget, tc_plan **out)
{
    *out = NULL;
    tc_plan *plan = tc_alloc_zero(1, sizeof *plan);
    if (!plan)
        return tc_compiler_exhausted();
    atomic_init(&plan->references, 1);
    plan->program = tc_program_retain(program);
    plan->peak_step = -1;
    tc_planner planner = {
        .plan = plan,
        .program = program,
        .graph = program->graph,
        .target = target,
        .feed_shapes = feed_shapes,
        .memory_budget = memory_budget,
    };
    tc_status status = make_plan(&planner);
    free_planner(&planner);
    if (status != TC_OK) {
        tc_plan_release(plan);
        return status;
    }
    *out = plan;
    return TC_OK;
}

tc_plan *tc_plan_retain(tc_plan *plan)
{
    if (plan)
        atomic_fetch_add_explicit(&plan->references, 1, memory_order_relaxed);
    return plan;
}

void tc_plan_release(tc_plan *plan)
{
    if (!plan || atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel) != 1)
        return;
    for (int32_t i = 0; i < plan->n_constants; i++)
        tc_tensor_release(plan->constants[i]);
    tc_program_release(plan->program);
    tc_arena_free(&plan->arena);
    tc_free(plan);
}
