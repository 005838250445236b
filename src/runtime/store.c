#include "runtime/store.h"

#include <string.h>

#include "base/status.h"
#include "core/shape.h"
#include "core/tensor.h"

/* Smaller contents are copied, so that runs need not ask whether they are ready. */
#define SHARED_BYTES ((size_t)64 << 10)

tc_status tc_store_create(tc_runtime *runtime, tc_store **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "store: out is NULL");
    *out = NULL;
    tc_store *store = tc_alloc_zero(1, sizeof *store);
    if (!store)
        return tc_fail_memory(sizeof *store, "a store");
    tc_status status = tc_runtime_acquire(runtime, &store->runtime);
    if (status != TC_OK) {
        tc_free(store);
        return status;
    }
    store->references = 1;
    pthread_mutex_init(&store->writer, NULL);
    pthread_mutex_init(&store->table, NULL);
    pthread_mutex_init(&store->moves, NULL);

    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&store->init, &recursive);
    pthread_mutexattr_destroy(&recursive);

    /* A stream of readers must not keep a commit waiting for ever. */
    pthread_rwlockattr_t fair;
    pthread_rwlockattr_init(&fair);
#ifdef __GLIBC__
    pthread_rwlockattr_setkind_np(&fair, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
#endif
    pthread_rwlock_init(&store->lock, &fair);
    pthread_rwlockattr_destroy(&fair);
    *out = store;
    return TC_OK;
}

tc_store *tc_store_retain(tc_store *store)
{
    if (store)
        atomic_fetch_add_explicit(&store->references, 1, memory_order_relaxed);
    return store;
}

void tc_store_release(tc_store *store)
{
    if (!store || atomic_fetch_sub_explicit(&store->references, 1, memory_order_acq_rel) != 1)
        return;
    tc_store_leave_devices(store);
    for (size_t i = 0; i < store->variables.count; i++) {
        tc_variable *variable = store->variables.data[i];
        tc_tensor_release(variable->tensor);
        tc_free((void *)variable->name);
        tc_free(variable);
    }
    tc_vector_free(&store->variables);
    tc_map_free(&store->names);
    /* Whoever held packed forms held the store too. */
    pthread_mutex_destroy(&store->writer);
    pthread_mutex_destroy(&store->table);
    pthread_mutex_destroy(&store->moves);
    pthread_mutex_destroy(&store->init);
    pthread_rwlock_destroy(&store->lock);
    tc_runtime_release(store->runtime);
    tc_free(store);
}

uint64_t tc_store_step(tc_store *store)
{
    if (!store)
        return 0;
    pthread_rwlock_rdlock(&store->lock);
    uint64_t step = store->step;
    pthread_rwlock_unlock(&store->lock);
    return step;
}

/*
 * The table of variables
 */
static tc_variable *find_variable(const tc_store *store, const char *name)
{
    uint64_t *index = tc_map_find_string(&store->names, name);
    return index ? store->variables.data[*index] : NULL;
}

/* Adds an undeclared variable; the table lock is held. NULL: memory. */
static tc_variable *add_variable(tc_store *store, const char *name, tc_dtype dtype,
                                 const tc_shape *shape)
{
    tc_variable *variable = tc_alloc_zero(1, sizeof *variable);
    char *copy = tc_strdup(name);
    if (!variable || !copy || !tc_vector_reserve(&store->variables, store->variables.count + 1) ||
        !tc_map_put_string(&store->names, copy, store->variables.count)) {
        tc_free(variable);
        tc_free(copy);
        return NULL;
    }
    variable->name = copy;
    variable->dtype = dtype;
    variable->shape = *shape;
    store->variables.data[store->variables.count++] = variable;
    return variable;
}

static tc_status check_variable(const tc_variable *variable, tc_dtype dtype, const tc_shape *shape,
                                tc_status failure, const char *what)
{
    if (variable->dtype == dtype && tc_shape_equal(&variable->shape, shape))
        return TC_OK;
    char has[TC_SHAPE_TEXT_SIZE], wants[TC_SHAPE_TEXT_SIZE];
    return tc_fail(failure, "variable '%s' of the store is %s %s, but %s is %s %s", variable->name,
                   tc_dtype_name(variable->dtype), tc_shape_text(&variable->shape, has), what,
                   tc_dtype_name(dtype), tc_shape_text(shape, wants));
}

tc_status tc_store_declare(tc_store *store, const char *name, tc_dtype dtype, const tc_shape *shape,
                           tc_variable **out)
{
    tc_status status = TC_OK;
    pthread_mutex_lock(&store->table);
    tc_variable *variable = find_variable(store, name);
    if (!variable) {
        variable = add_variable(store, name, dtype, shape);
        if (!variable)
            status = tc_fail_memory(sizeof *variable, "a variable");
    } else if (!variable->declared && !variable->tensor) { /* left over from a failed restore */
        variable->dtype = dtype;
        variable->shape = *shape;
    } else {
        status = check_variable(variable, dtype, shape, TC_FAILED_PRECONDITION, "the session's");
    }
    if (status == TC_OK)
        variable->declared = true;
    pthread_mutex_unlock(&store->table);
    *out = status == TC_OK ? variable : NULL;
    return status;
}

void tc_store_fill(tc_store *store, tc_variable *variable, tc_tensor *tensor)
{
    pthread_rwlock_wrlock(&store->lock);
    bool first = !tc_variable_has_content(variable);
    if (first) {
        variable->tensor = tensor;
        atomic_store_explicit(&variable->places, TC_PLACE_BIT(0), memory_order_release);
        variable->version++;
        store->fills++;
    }
    pthread_rwlock_unlock(&store->lock);
    if (!first)
        tc_tensor_release(tensor);
}

/*
 * Reading and replacing contents
 */

/* The variable number `i` for a visit; NULL: there are no more. `*skip` for one without meaning.
 */
static tc_variable *visited(tc_store *store, size_t i, bool *skip)
{
    pthread_mutex_lock(&store->table);
    tc_variable *variable = i < store->variables.count ? store->variables.data[i] : NULL;
    *skip = variable && !variable->declared &&
            !tc_variable_has_content(variable); /* left over from a failure */
    pthread_mutex_unlock(&store->table);
    return variable;
}

tc_status tc_store_visit(tc_store *store,
                         tc_status (*visitor)(void *context, const tc_variable_info *variable),
                         void *context, uint64_t *step)
{
    if (!store || !visitor)
        return tc_fail(TC_INVALID_ARGUMENT, "store visit: store or visitor is NULL");
    tc_status status = TC_OK;
    pthread_rwlock_rdlock(&store->lock);
    if (step)
        *step = store->step;
    for (size_t i = 0; status == TC_OK; i++) {
        bool skip;
        tc_variable *variable = visited(store, i, &skip);
        if (!variable)
            break;
        if (skip)
            continue;
        status = tc_store_move(store, &variable, 1, 0);
        if (status != TC_OK)
            break;
        tc_variable_info info = {.name = variable->name,
                                 .dtype = variable->dtype,
                                 .shape = variable->shape,
                                 .tensor = variable->tensor};
        status = visitor(context, &info);
    }
    pthread_rwlock_unlock(&store->lock);
    return status;
}

tc_status tc_store_read(tc_store *store, const char *name, tc_tensor **out)
{
    if (!store || !name || !out)
        return tc_fail(TC_INVALID_ARGUMENT, "store read: store, name or out is NULL");
    *out = NULL;
    pthread_mutex_lock(&store->table);
    tc_variable *variable = find_variable(store, name);
    pthread_mutex_unlock(&store->table);
    if (!variable)
        return tc_fail(TC_NOT_FOUND, "store read: there is no variable '%s'", name);
    tc_status status = TC_OK;
    pthread_rwlock_rdlock(&store->lock);
    if (!tc_variable_has_content(variable))
        status = tc_fail(TC_FAILED_PRECONDITION,
                         "store read: variable '%s' has no content yet; call "
                         "tc_session_initialize or restore a checkpoint",
                         name);
    else
        status = tc_store_move(store, &variable, 1, 0);
    if (status == TC_OK)
        status = tc_tensor_check(variable->tensor);
    if (status == TC_OK)
        status = tc_tensor_create_copy(variable->dtype, variable->shape,
                                       tc_tensor_data(variable->tensor), out);
    pthread_rwlock_unlock(&store->lock);
    return status;
}

/* The content that `tensor` gives a variable: a copy, unless that takes time and memory and nobody
 * can change the elements. */
static tc_status take_content(tc_tensor *tensor, tc_tensor **out)
{
    if (tc_tensor_is_mapped(tensor) && tc_tensor_bytes(tensor) >= SHARED_BYTES) {
        *out = tc_tensor_retain(tensor);
        return TC_OK;
    }
    return tc_tensor_create_copy(tc_tensor_dtype(tensor), *tc_tensor_shape(tensor),
                                 tc_tensor_data(tensor), out);
}

/* Takes every tensor and finds or adds its variable, so that the swap afterwards needs no memory.
 */
static tc_status prepare_restore(tc_store *store, const char *const *names,
                                 tc_tensor *const *tensors, size_t count, tc_variable **variables,
                                 tc_tensor **copies)
{
    for (size_t i = 0; i < count; i++) {
        if (!names[i] || !tensors[i])
            return tc_fail(TC_INVALID_ARGUMENT, "store restore: entry %zu is NULL", i);
        TC_TRY(take_content(tensors[i], &copies[i]));
    }
    for (size_t i = 0; i < count; i++) {
        pthread_mutex_lock(&store->table);
        variables[i] = find_variable(store, names[i]);
        if (!variables[i])
            variables[i] = add_variable(store, names[i], tc_tensor_dtype(copies[i]),
                                        tc_tensor_shape(copies[i]));
        pthread_mutex_unlock(&store->table);
        if (!variables[i])
            return tc_fail_memory(sizeof **variables, "a variable");
    }
    return TC_OK;
}

/*
 * Puts the copies in place of the contents, which `copies` then holds, or, where one does not fit,
 * changes nothing. Until a session declares a variable, nothing but its content gives it a dtype
 * and shape. Both the table and the contents are locked: a session may declare it at any moment.
 */
static tc_status swap_contents(size_t count, tc_variable *const *variables, tc_tensor **copies)
{
    for (size_t i = 0; i < count; i++)
        if (variables[i]->declared)
            TC_TRY(check_variable(variables[i], tc_tensor_dtype(copies[i]),
                                  tc_tensor_shape(copies[i]), TC_INVALID_ARGUMENT,
                                  "the tensor to restore"));
    for (size_t i = 0; i < count; i++) {
        tc_tensor *old = variables[i]->tensor;
        atomic_store_explicit(&variables[i]->places, TC_PLACE_BIT(0), memory_order_release);
        variables[i]->tensor = copies[i];
        variables[i]->mapped = tc_tensor_is_mapped(copies[i]);
        variables[i]->dtype = tc_tensor_dtype(copies[i]);
        variables[i]->shape = *tc_tensor_shape(copies[i]);
        variables[i]->version++;
        copies[i] = old;
    }
    return TC_OK;
}

tc_status tc_store_restore(tc_store *store, const char *const *names, tc_tensor *const *tensors,
                           size_t count, const uint64_t *step)
{
    if (!store || (count > 0 && (!names || !tensors)))
        return tc_fail(TC_INVALID_ARGUMENT, "store restore: store, names or tensors is NULL");
    tc_arena arena = {0};
    tc_variable **variables = tc_arena_array(&arena, count, sizeof *variables);
    tc_tensor **copies = tc_arena_array(&arena, count, sizeof *copies);
    tc_status status = variables && copies
                           ? TC_OK
                           : tc_fail_memory(count * sizeof *copies, "the restored variables");
    pthread_mutex_lock(&store->writer);
    if (status == TC_OK)
        status = prepare_restore(store, names, tensors, count, variables, copies);
    if (status == TC_OK) {
        pthread_rwlock_wrlock(&store->lock);
        pthread_mutex_lock(&store->table);
        status = swap_contents(count, variables, copies);
        pthread_mutex_unlock(&store->table);
        if (status == TC_OK)
            store->fills++;
        if (status == TC_OK && step)
            store->step = *step;
        pthread_rwlock_unlock(&store->lock);
    }
    pthread_mutex_unlock(&store->writer);
    for (size_t i = 0; copies && i < count; i++)
        tc_tensor_release(copies[i]);
    tc_arena_free(&arena);
    return status;
}

tc_status tc_store_prepare(tc_store *store, tc_variable *variable, bool written)
{
    tc_tensor *old = variable->tensor, *own;
    tc_status status = tc_tensor_check(old);
    if (status != TC_OK)
        return tc_fail_prefix(status, "variable '%s': ", variable->name);
    if (!written)
        return TC_OK;
    TC_TRY(tc_tensor_create_copy(variable->dtype, variable->shape, tc_tensor_data(old), &own));
    pthread_rwlock_wrlock(&store->lock);
    variable->tensor = own;
    variable->mapped = false;
    pthread_rwlock_unlock(&store->lock);
    tc_tensor_release(old);
    return TC_OK;
}
