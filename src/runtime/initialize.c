/* First contents of variables. */
#include "base/status.h"
#include "core/loss_scale.h"
#include "runtime/session.h"

static bool has_content(tc_store *store, const tc_variable *variable)
{
    pthread_rwlock_rdlock(&store->lock);
    bool has = tc_variable_has_content(variable);
    pthread_rwlock_unlock(&store->lock);
    return has;
}

/* Value of the graph that initializes `variable`. */
static tc_status initial_value(const tc_session *session, const tc_variable *variable,
                               tc_value *value)
{
    uint64_t *index = tc_map_find_string(&session->graph->names, variable->name);
    if (!index)
        return tc_fail(
            TC_FAILED_PRECONDITION,
            "variable '%s' has no content and is not part of the session's graph itself; "
            "restore it from a checkpoint",
            variable->name);
    const tc_node *node = tc_graph_node_at(session->graph, (int32_t)*index);
    if (node->n_inputs < 1 || node->inputs[0].node < 0)
        return tc_fail(TC_FAILED_PRECONDITION,
                       "variable '%s' has no content and no initial value; restore it from a "
                       "checkpoint",
                       variable->name);
    *value = (tc_value){session->source, node->inputs[0].node, node->inputs[0].output};
    return TC_OK;
}

/* The entry that computes `count` initial values. They only compute: an update among them would
 * happen outside of any run. */
static tc_status find_entry(tc_session *session, tc_variable *const *variables,
                            const tc_value *values, int32_t count, tc_entry **entry)
{
    tc_status status = tc_entry_find(session, NULL, NULL, 0, values, (size_t)count, NULL, 0,
                                     TC_MODE_INFERENCE, false, entry);
    if (status == TC_OK && (*entry)->program->writes) {
        tc_entry_leave(*entry);
        status = tc_fail(TC_FAILED_PRECONDITION, "it updates a variable, which only runs may do");
    }
    if (status == TC_OK || status == TC_RESOURCE_EXHAUSTED)
        return status;
    /* Which of several it is shows when they are taken one by one. */
    for (int32_t i = 0; i < count && count > 1; i++) {
        TC_TRY(find_entry(session, &variables[i], &values[i], 1, entry));
        tc_entry_leave(*entry);
    }
    return tc_fail_prefix(status, "the initial value of variable '%s': ", variables[0]->name);
}

/* Runs the initial values of `count` variables at once and hands them to the store. */
static tc_status run_initial(tc_session *session, tc_variable **variables, int32_t count,
                             tc_arena *arena)
{
    tc_value *values = tc_arena_array(arena, (size_t)count, sizeof *values);
    tc_tensor **tensors = tc_arena_array(arena, (size_t)count, sizeof *tensors);
    if (!values || !tensors)
        return tc_fail_memory(arena->bytes, "initial values");
    for (int32_t i = 0; i < count; i++)
        TC_TRY(initial_value(session, variables[i], &values[i]));
    tc_entry *entry;
    TC_TRY(find_entry(session, variables, values, count, &entry));
    tc_status status = tc_entry_run_initial(session, entry, tensors);
    tc_entry_leave(entry);
    TC_TRY(status);
    for (int32_t i = 0; i < count; i++)
        tc_store_fill(session->store, variables[i], tensors[i]);
    return TC_OK;
}

tc_status tc_session_fill_variables(tc_session *session, tc_variable *const *variables,
                                    int32_t count)
{
    tc_store *store = session->store;
    int32_t missing = 0;
    for (int32_t i = 0; i < count; i++)
        missing += !has_content(store, variables[i]);
    if (missing == 0)
        return TC_OK;
    tc_arena arena = {0};
    tc_status status = TC_OK;
    pthread_mutex_lock(&store->init);
    tc_variable **empty = tc_arena_array(&arena, (size_t)count, sizeof *empty);
    if (!empty)
        status = tc_fail_memory(arena.bytes, "initial values");
    missing = 0;
    for (int32_t i = 0; empty && i < count; i++)
        if (!has_content(store, variables[i]))
            empty[missing++] = variables[i];
    if (status == TC_OK && missing > 0)
        status = run_initial(session, empty, missing, &arena);
    pthread_mutex_unlock(&store->init);
    tc_arena_free(&arena);
    return status;
}

/* Every variable of the graph, declared in the store. */
static tc_status declare_all(tc_session *session, tc_variable **variables, int32_t *count)
{
    const tc_graph *graph = session->graph;
    *count = 0;
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const tc_node *node = graph->nodes.data[i];
        if (!tc_node_is(node, "variable"))
            continue;
        tc_variable *variable;
        TC_TRY(tc_store_declare(session->store, node->name, node->outputs[0].dtype,
                                &node->outputs[0].shape, &variable));
        if (variables)
            variables[*count] = variable;
        ++*count;
    }
    return TC_OK;
}

/* Whether gradients are computed anywhere in `graph`. */
static bool has_gradients(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (tc_annotation((tc_value){(tc_graph *)graph, (int32_t)i, 0}, TC_NOTE_SEED))
            return true;
    for (size_t i = 0; i < graph->functions.count; i++)
        if (has_gradients(graph->functions.data[i]))
            return true;
    return false;
}

static tc_status declare_filled(tc_session *session, const char *name, tc_dtype dtype, double first)
{
    const tc_shape scalar = TC_SCALAR;
    tc_variable *variable;
    tc_tensor *tensor;
    if (tc_map_find_string(&session->graph->names, name))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "session: with precision f16 '%s' is a variable of the library; give the "
                       "node of this name another one",
                       name);
    TC_TRY(tc_store_declare(session->store, name, dtype, &scalar, &variable));
    TC_TRY(tc_tensor_create_scalar(dtype, first, &tensor));
    tc_store_fill(session->store, variable, tensor);
    return TC_OK;
}

tc_status tc_session_declare_variables(tc_session *session)
{
    int32_t count;
    TC_TRY(declare_all(session, NULL, &count));
    if (session->precision != TC_F16 || session->loss_scale > 0 || !has_gradients(session->source))
        return TC_OK;
    TC_TRY(declare_filled(session, TC_LOSS_SCALE, TC_F32, TC_LOSS_SCALE_FIRST));
    return declare_filled(session, TC_LOSS_SCALE_STEPS, TC_I64, 0);
}

tc_status tc_session_initialize(tc_session *session)
{
    if (!session)
        return tc_fail(TC_INVALID_ARGUMENT, "initialize: session is NULL");
    tc_arena arena = {0};
    int32_t count;
    tc_status status = TC_OK;
    tc_variable **variables =
        tc_arena_array(&arena, session->graph->nodes.count, sizeof *variables);
    if (!variables)
        status = tc_fail_memory(arena.bytes, "variables");
    if (status == TC_OK)
        status = declare_all(session, variables, &count);
    if (status == TC_OK)
        status = tc_session_fill_variables(session, variables, count);
    tc_arena_free(&arena);
    return status;
}
