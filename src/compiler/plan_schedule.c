/*
 * What runs and in which order. The compute part may fail and changes no state; the commit part
 * after it updates variables in place and cannot fail. A write whose new content nobody computes
 * with runs in the commit part on the variable itself; another one computes into the arena and is
 * copied there. Everything that reads a variable in the commit part must see its old content: where
 * an earlier commit would have changed it, a copy is saved before.
 */
#include "compiler/planner.h"
#include "core/tensor.h"

#define SAVE_WANTED (-2)

static bool is_resource(const tc_node *node, int32_t input)
{
    return node->inputs[input].node >= 0 && tc_input_flags(node, input) & TC_PORT_RESOURCE;
}

static tc_status measure_values(const tc_planner *p)
{
    for (int32_t i = 0; i < p->n_values; i++) {
        int64_t size;
        tc_status status =
            tc_tensor_measure(p->infos[i].dtype, &p->infos[i].shape, &size, &p->bytes[i]);
        if (status != TC_OK) {
            char where[512];
            const tc_node *node = tc_graph_node_at(p->graph, p->producer[i]);
            return tc_fail_prefix(status, "%s: ", tc_node_describe(node, where, sizeof where));
        }
    }
    return TC_OK;
}

/* Values only whose shape is used are not computed, nor is what only they need. */
static void mark_needed(tc_planner *p)
{
    const tc_program *program = p->program;
    for (int32_t i = 0; i < program->n_fetches; i++)
        p->needed[program->fetches[i].node] = true;
    for (int32_t i = 0; i < program->n_targets; i++)
        p->needed[program->targets[i]] = true;
    for (int32_t i = p->n_nodes - 1; i >= 0; i--) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        if (tc_node_writes(node) || tc_node_reaches_outside(node))
            p->needed[i] = true;
        if (!p->needed[i])
            continue;
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (tc_node_reads(node, k))
                p->needed[node->inputs[k].node] = true;
        for (int32_t k = 0; k < node->n_controls; k++)
            p->needed[node->controls[k]] = true;
    }
}

static void find_variables(tc_planner *p)
{
    for (int32_t i = 0; i < p->n_nodes; i++) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        bool variable = tc_node_is(node, "variable");
        for (int32_t k = 0; k < node->n_outputs; k++)
            p->variable_of[p->first[i] + k] = variable ? i : -1;
        for (int32_t k = 0; tc_node_writes(node) && k < node->n_inputs; k++) {
            if (!is_resource(node, k))
                continue;
            int32_t old = tc_plan_value(p, node->inputs[k]);
            p->variable_of[p->first[i] + k] = p->variable_of[old];
            p->next_write[old] = i;
        }
    }
}

/* Backwards, so that it is known of every reader whether it computes. */
static void choose_commits(tc_planner *p)
{
    for (int32_t i = 0; i < p->n_nodes; i++)
        p->commits[i] = p->needed[i] && tc_node_writes(tc_graph_node_at(p->graph, i)) &&
                        !p->program->commit_copies;
    for (int32_t i = p->n_nodes - 1; i >= 0; i--) {
        const tc_node *node = tc_graph_node_at(p->graph, i);
        if (!p->needed[i])
            continue;
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (tc_node_reads(node, k) && !(p->commits[i] && is_resource(node, k)))
                p->commits[node->inputs[k].node] = false;
        for (int32_t k = 0; node->attrs.op->effects & TC_EFFECT_IO && k < node->n_controls; k++)
            p->commits[node->controls[k]] = false;
    }
}

/* The first fetch of a value that a step computes has it computed into its own tensor. */
static void assign_outputs(tc_planner *p)
{
    for (int32_t i = p->program->n_fetches - 1; i >= 0; i--) {
        int32_t value = tc_plan_value(p, p->program->fetches[i]);
        p->fetch_next[i] = p->fetch_list[value];
        p->fetch_list[value] = i;
        int32_t root = p->root[value], producer = p->producer[root];
        if (p->bytes[value] == p->bytes[root] &&
            !tc_node_is_source(tc_graph_node_at(p->graph, producer)) && !p->commits[producer])
            p->output_of[root] = i;
    }
}

static tc_status copy_fetches(tc_planner *p, int32_t value)
{
    for (int32_t i = p->fetch_list[value]; i >= 0; i = p->fetch_next[i])
        if (p->output_of[p->root[value]] != i)
            TC_TRY(tc_plan_add_copy(p, tc_plan_buffer(p, value), tc_plan_output_buffer(p, i)));
    return TC_OK;
}

static tc_status compute_node(tc_planner *p, const tc_node *node)
{
    if (!p->needed[node->index] || p->commits[node->index])
        return TC_OK;
    if (!tc_node_is_source(node) && !p->shown[node->index] && !tc_node_is_idle(node))
        TC_TRY(tc_plan_add_kernel(p, node));
    for (int32_t k = 0; k < node->n_outputs; k++)
        TC_TRY(copy_fetches(p, p->first[node->index] + k));
    return TC_OK;
}

/*
 * Commits
 */

/* The variable whose old content an ordinary input of a commit shows, -1 for none. */
static int32_t old_content(const tc_planner *p, const tc_node *node, int32_t input)
{
    if (!tc_node_reads(node, input) || is_resource(node, input))
        return -1;
    int32_t root = p->root[tc_plan_value(p, node->inputs[input])];
    int32_t variable = p->variable_of[root];
    return variable == p->producer[root] ? variable : -1;
}

/* Writes whose variables nobody else writes and that read other variables go first: they then need
 * no copies. */
static bool goes_first(const tc_planner *p, const tc_node *node)
{
    bool reads = false;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        reads = reads || old_content(p, node, k) >= 0;
        if (is_resource(node, k) &&
            (p->next_write[p->first[node->index] + k] >= 0 ||
             !tc_node_is(tc_graph_node_at(p->graph, node->inputs[k].node), "variable")))
            return false;
    }
    return reads && p->commits[node->index];
}

static int32_t order_writes(const tc_planner *p, int32_t *order)
{
    int32_t count = 0, n_devices = p->plan->mixed ? p->plan->n_devices : 1;
    for (int32_t d = n_devices - 1; d >= 0; d--) /* the CPU last: devices work beside it */
        for (int pass = 0; pass < 2; pass++)
            for (int32_t i = 0; i < p->n_nodes; i++) {
                const tc_node *node = tc_graph_node_at(p->graph, i);
                if (p->needed[i] && tc_node_writes(node) && node->device == d &&
                    goes_first(p, node) == (pass == 0))
                    order[count++] = i;
            }
    return count;
}

/* Finds the variables whose old content a commit reads after, or while, it is overwritten. */
static void find_saves(tc_planner *p, const int32_t *order, int32_t count, bool *dirty)
{
    for (int32_t i = 0; i < count; i++) {
        const tc_node *node = tc_graph_node_at(p->graph, order[i]);
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (is_resource(node, k))
                dirty[p->variable_of[tc_plan_value(p, node->inputs[k])]] = true;
        for (int32_t k = 0; p->commits[order[i]] && k < node->n_inputs; k++) {
            int32_t variable = old_content(p, node, k);
            if (variable >= 0 && dirty[variable])
                p->saved[variable] = SAVE_WANTED;
        }
    }
}

static tc_status save_variables(tc_planner *p)
{
    for (int32_t i = 0; i < p->n_nodes; i++) {
        if (p->saved[i] != SAVE_WANTED)
            continue;
        int32_t value = p->first[i], copy = tc_plan_copy_buffer(p, value);
        TC_TRY(tc_plan_add_copy(p, tc_plan_buffer(p, value), copy));
        p->saved[i] = p->buffers.data[copy].bytes > 0 ? copy : -1;
    }
    return TC_OK;
}

static tc_status commit_node(tc_planner *p, const tc_node *node)
{
    bool in_place = p->commits[node->index];
    if (in_place)
        TC_TRY(tc_plan_add_kernel(p, node));
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (!is_resource(node, k))
            continue;
        int32_t value = p->first[node->index] + k, next = p->next_write[value];
        int32_t variable = tc_plan_buffer(p, p->first[p->variable_of[value]]);
        if (variable < 0)
            return tc_compiler_exhausted();
        int32_t index = p->storages.data[p->buffer_storage.data[variable]].index;
        p->variables.data[index].written = true;
        if (in_place)
            TC_TRY(copy_fetches(p, value));
        else if (next < 0 || p->commits[next]) /* otherwise the next one brings the final content */
            TC_TRY(tc_plan_add_copy(p, tc_plan_buffer(p, value), variable));
    }
    return TC_OK;
}

tc_status tc_plan_schedule(tc_planner *p)
{
    int32_t *order = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *order);
    bool *dirty = tc_arena_array(&p->scratch, (size_t)p->n_nodes, sizeof *dirty);
    if (!order || !dirty)
        return tc_compiler_exhausted();
    TC_TRY(measure_values(p));
    mark_needed(p);
    find_variables(p);
    TC_TRY(tc_plan_alias(p));
    choose_commits(p);
    assign_outputs(p);
    int32_t n_writes = order_writes(p, order);
    find_saves(p, order, n_writes, dirty);
    for (int32_t i = 0; i < p->n_nodes; i++)
        TC_TRY(compute_node(p, tc_graph_node_at(p->graph, i)));
    TC_TRY(save_variables(p));
    p->plan->n_compute = (int32_t)p->steps.count;
    for (int32_t i = 0; i < n_writes; i++)
        TC_TRY(commit_node(p, tc_graph_node_at(p->graph, order[i])));
    return TC_OK;
}
