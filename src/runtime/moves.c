/* Contents of variables and constants on devices. */
#include <string.h>

#include "base/status.h"
#include "core/tensor.h"
#include "runtime/store.h"

/*
 * Devices
 */
tc_status tc_device_check(const tc_device *device)
{
    if (!device->backend || !atomic_load_explicit(&device->lost, memory_order_relaxed))
        return TC_OK;
    return tc_fail(TC_UNAVAILABLE,
                   "%s: an earlier run broke it, and it is lost to this process; start it again",
                   device->name);
}

tc_status tc_device_wait(tc_device *device, tc_queue *queue)
{
    tc_status status = device->backend->wait(queue);
    if (status != TC_OK)
        atomic_store_explicit(&device->lost, true, memory_order_relaxed);
    return status;
}

tc_status tc_device_allocate(const tc_device *device, size_t bytes, const char *what, void **memory)
{
    tc_device_memory has = {0};
    *memory = NULL;
    TC_TRY(tc_device_check(device));
    tc_status status = device->backend->allocate(device->backend, device->index, bytes, memory);
    if (status != TC_RESOURCE_EXHAUSTED)
        return status;
    char message[TC_ERROR_MESSAGE_SIZE];
    (void)tc_error_take(message, sizeof message);
    if (device->backend->memory(device->backend, device->index, &has) != TC_OK)
        return tc_fail(status, "%s: %s needs %zu bytes: %s", device->name, what, bytes, message);
    return tc_fail(status, "%s: %s needs %zu bytes, of %zu that are free: %s", device->name, what,
                   bytes, has.free, message);
}

static tc_device *device_at(const tc_store *store, int32_t device)
{
    return &store->runtime->devices->list[device];
}

/* The queue that the store copies through. */
static tc_status queue_of(tc_store *store, int32_t device, tc_queue **out)
{
    tc_device *d = device_at(store, device);
    TC_TRY(tc_device_check(d));
    if (!store->queues) {
        store->queues = tc_alloc_zero(TC_MAX_DEVICES, sizeof(tc_queue *));
        if (!store->queues)
            return tc_fail_memory(TC_MAX_DEVICES * sizeof(tc_queue *), "the queues of a store");
    }
    if (!store->queues[device])
        TC_TRY(d->backend->queue_create(d->backend, d->index, &store->queues[device]));
    *out = store->queues[device];
    return TC_OK;
}

/* How a backend calls the device. */
static int32_t place_of(const tc_store *store, int32_t device)
{
    return device == 0 ? TC_DEVICE_HOST : device_at(store, device)->index;
}

/* Copies through the queue of `device`, which is one of the two ends. */
static tc_status copy(tc_store *store, int32_t device, int32_t to_device, void *to,
                      int32_t from_device, const void *from, size_t bytes)
{
    tc_queue *queue = NULL;
    if (bytes == 0)
        return TC_OK;
    TC_TRY(queue_of(store, device, &queue));
    return device_at(store, device)
        ->backend->copy(queue, to, place_of(store, to_device), from, place_of(store, from_device),
                        bytes);
}

/* Also after a failure: what was given to the queue uses memory of the caller's. */
static tc_status wait_for(tc_store *store, int32_t device, tc_status status)
{
    if (!store->queues || !store->queues[device])
        return status;
    char message[TC_ERROR_MESSAGE_SIZE];
    if (status == TC_OK)
        return tc_device_wait(device_at(store, device), store->queues[device]);
    (void)tc_error_take(message, sizeof message);
    (void)tc_device_wait(device_at(store, device), store->queues[device]);
    return tc_fail_saved(status, message);
}

/*
 * Variables
 */
static tc_mirror *mirror_on(const tc_variable *variable, int32_t device)
{
    tc_mirror *mirror = atomic_load_explicit(&variable->mirrors, memory_order_acquire);
    while (mirror && mirror->device != device)
        mirror = mirror->next;
    return mirror;
}

void *tc_variable_memory(const tc_variable *variable, int32_t device)
{
    if (device == 0)
        return tc_tensor_data(variable->tensor);
    const tc_mirror *mirror = mirror_on(variable, device);
    return mirror ? mirror->memory : NULL;
}

static tc_status add_mirror(tc_store *store, tc_variable *variable, int32_t device, size_t bytes)
{
    tc_mirror *mirror = tc_alloc_zero(1, sizeof *mirror);
    if (!mirror)
        return tc_fail_memory(sizeof *mirror, "a variable");
    mirror->device = device;
    /* Empty variables have an address too. */
    tc_status status = tc_device_allocate(device_at(store, device), bytes ? bytes : 1, "a variable",
                                          &mirror->memory);
    if (status != TC_OK) {
        tc_free(mirror);
        return tc_fail_prefix(status, "variable '%s': ", variable->name);
    }
    mirror->next = atomic_load_explicit(&variable->mirrors, memory_order_relaxed);
    atomic_store_explicit(&variable->mirrors, mirror, memory_order_release);
    return TC_OK;
}

static tc_status upload(tc_store *store, tc_variable *variable, int32_t device)
{
    size_t bytes = tc_tensor_bytes(variable->tensor);
    tc_status status = tc_tensor_check(variable->tensor);
    if (status != TC_OK)
        return tc_fail_prefix(status, "variable '%s': ", variable->name);
    if (!mirror_on(variable, device))
        TC_TRY(add_mirror(store, variable, device, bytes));
    return copy(store, device, device, mirror_on(variable, device)->memory, 0,
                tc_tensor_data(variable->tensor), bytes);
}

/* A mapped tensor cannot be written, so that the variable gets one of its own. */
static tc_status download(tc_store *store, tc_variable *variable, int32_t device)
{
    if (variable->mapped) {
        tc_tensor *own;
        TC_TRY(tc_tensor_create(variable->dtype, variable->shape, &own));
        tc_tensor_release(variable->tensor);
        variable->tensor = own;
        variable->mapped = false;
    }
    return copy(store, device, 0, tc_tensor_data(variable->tensor), device,
                mirror_on(variable, device)->memory, tc_tensor_bytes(variable->tensor));
}

static int32_t first_place(const tc_variable *variable)
{
    return __builtin_ctzll(atomic_load_explicit(&variable->places, memory_order_relaxed));
}

static void add_place(tc_variable *variable, int32_t device)
{
    atomic_fetch_or_explicit(&variable->places, TC_PLACE_BIT(device), memory_order_release);
}

/* The contents that are on device `from` alone, to the CPU. */
static tc_status bring_home(tc_store *store, tc_variable *const *variables, int32_t count,
                            int32_t from)
{
    tc_status status = TC_OK;
    int32_t done = 0;
    for (; done < count && status == TC_OK; done++)
        if (tc_variable_has_content(variables[done]) && first_place(variables[done]) == from)
            status = download(store, variables[done], from);
    status = wait_for(store, from, status);
    for (int32_t i = 0; i < done && status == TC_OK; i++)
        if (tc_variable_has_content(variables[i]) && first_place(variables[i]) == from)
            add_place(variables[i], 0);
    return status;
}

static tc_status bring(tc_store *store, tc_variable *const *variables, int32_t count,
                       int32_t device)
{
    for (int32_t i = 0; i < count; i++)
        if (tc_variable_has_content(variables[i]) && !tc_variable_is_at(variables[i], device) &&
            !tc_variable_is_at(variables[i], 0))
            TC_TRY(bring_home(store, variables + i, count - i, first_place(variables[i])));
    if (device == 0)
        return TC_OK;
    tc_status status = TC_OK;
    for (int32_t i = 0; i < count && status == TC_OK; i++)
        if (tc_variable_has_content(variables[i]) && !tc_variable_is_at(variables[i], device))
            status = upload(store, variables[i], device);
    status = wait_for(store, device, status);
    for (int32_t i = 0; i < count && status == TC_OK; i++)
        if (tc_variable_has_content(variables[i]))
            add_place(variables[i], device);
    return status;
}

tc_status tc_store_move(tc_store *store, tc_variable *const *variables, int32_t count,
                        int32_t device)
{
    int32_t missing = 0;
    for (int32_t i = 0; i < count; i++)
        missing +=
            tc_variable_has_content(variables[i]) && !tc_variable_is_at(variables[i], device);
    if (missing == 0)
        return TC_OK;
    pthread_mutex_lock(&store->moves);
    tc_status status = bring(store, variables, count, device);
    pthread_mutex_unlock(&store->moves);
    return status;
}

static void free_mirrors(const tc_store *store, const tc_variable *variable)
{
    tc_mirror *next;
    for (tc_mirror *mirror = variable->mirrors; mirror; mirror = next) {
        const tc_device *device = device_at(store, mirror->device);
        next = mirror->next;
        device->backend->release(device->backend, device->index, mirror->memory);
        tc_free(mirror);
    }
}

/*
 * Constants
 */
static tc_status create_placed(tc_store *store, tc_tensor *tensor, int32_t device, tc_placed **out)
{
    size_t bytes = tc_tensor_bytes(tensor);
    tc_placed *placed = tc_alloc_zero(1, sizeof *placed);
    if (!placed)
        return tc_fail_memory(sizeof *placed, "a constant");
    placed->device = device;
    tc_status status = tc_device_allocate(device_at(store, device), bytes ? bytes : 1, "a constant",
                                          &placed->memory);
    if (status == TC_OK) {
        status = copy(store, device, device, placed->memory, 0, tc_tensor_data(tensor), bytes);
        status = wait_for(store, device, status);
    }
    if (status != TC_OK) {
        const tc_device *d = device_at(store, device);
        if (placed->memory)
            d->backend->release(d->backend, d->index, placed->memory);
        tc_free(placed);
        return status;
    }
    placed->tensor = tc_tensor_retain(tensor);
    placed->next = store->placed;
    store->placed = placed;
    *out = placed;
    return TC_OK;
}

tc_status tc_store_place(tc_store *store, tc_tensor *tensor, int32_t device, tc_placed **out)
{
    tc_status status = TC_OK;
    *out = NULL;
    pthread_mutex_lock(&store->moves);
    tc_placed *placed = store->placed;
    while (placed &&
           (placed->device != device || tc_tensor_data(placed->tensor) != tc_tensor_data(tensor) ||
            tc_tensor_bytes(placed->tensor) != tc_tensor_bytes(tensor)))
        placed = placed->next;
    if (!placed)
        status = create_placed(store, tensor, device, &placed);
    if (status == TC_OK) {
        placed->references++;
        *out = placed;
    }
    pthread_mutex_unlock(&store->moves);
    return status;
}

void tc_store_unplace(tc_store *store, tc_placed *placed)
{
    if (!placed)
        return;
    pthread_mutex_lock(&store->moves);
    if (--placed->references == 0) {
        tc_placed **link = &store->placed;
        while (*link != placed)
            link = &(*link)->next;
        *link = placed->next;
        const tc_device *device = device_at(store, placed->device);
        device->backend->release(device->backend, device->index, placed->memory);
        tc_tensor_release(placed->tensor);
        tc_free(placed);
    }
    pthread_mutex_unlock(&store->moves);
}

/*
 * Invariants
 */
static tc_status copy_invariant(tc_store *store, const tc_pack *pack, int32_t from,
                                const void *input, void *output)
{
    int32_t device = pack->device ? pack->device : from;
    tc_status status = copy(store, device, pack->device, output, from, input, pack->bytes);
    return wait_for(store, device, status);
}

/* `memory` is a state and the kernel's workspace. */
static tc_status give_kernel(tc_store *store, const tc_pack *pack, const void *const *inputs,
                             void *output, void *memory, tc_run_state *state)
{
    tc_queue *queue;
    int32_t device = pack->device;
    TC_TRY(queue_of(store, device, &queue));
    const tc_kernel_context context = {
        .workspace = pack->workspace_bytes ? (char *)memory + TC_STATE_BYTES : NULL,
        .queue = queue,
        .state = memory,
        .place = 1,
    };
    TC_TRY(device_at(store, device)->backend->select(queue));
    TC_TRY(copy(store, device, device, memory, 0, state, sizeof *state));
    TC_TRY(pack->kernel->run(pack->params, inputs, &output, &context));
    return copy(store, device, 0, state, device, memory, sizeof *state);
}

static tc_status run_invariant(tc_store *store, const tc_pack *pack, const void *const *inputs,
                               void *output)
{
    const tc_device *device = device_at(store, pack->device);
    tc_run_state state = {0};
    size_t bytes;
    void *memory;
    if (!tc_add_size(TC_STATE_BYTES, pack->workspace_bytes, &bytes))
        return tc_fail_memory(SIZE_MAX, "what is computed from weights alone");
    TC_TRY(tc_device_allocate(device, bytes, "the workspace of what weights alone give", &memory));
    tc_status status = give_kernel(store, pack, inputs, output, memory, &state);
    status = wait_for(store, pack->device, status);
    device->backend->release(device->backend, device->index, memory);
    if (status != TC_OK || state.fault.place == 0)
        return status;
    if (pack->kernel->fault)
        status = pack->kernel->fault(pack->params, &state.fault);
    return status != TC_OK ? status
                           : tc_fail(TC_INTERNAL,
                                     "the kernel %s tells of a fault that it takes "
                                     "for none",
                                     pack->kernel->symbol);
}

tc_status tc_store_compute(tc_store *store, const tc_pack *pack, int32_t from,
                           const void *const *inputs, void *output)
{
    pthread_mutex_lock(&store->moves);
    tc_status status = pack->kernel ? run_invariant(store, pack, inputs, output)
                                    : copy_invariant(store, pack, from, inputs[0], output);
    pthread_mutex_unlock(&store->moves);
    return status;
}

void tc_store_leave_devices(tc_store *store)
{
    for (size_t i = 0; i < store->variables.count; i++)
        free_mirrors(store, store->variables.data[i]);
    for (int32_t i = 0; store->queues && i < TC_MAX_DEVICES; i++)
        if (store->queues[i])
            device_at(store, i)->backend->queue_destroy(store->queues[i]);
    tc_free(store->queues);
    store->queues = NULL;
}
