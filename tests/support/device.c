#include "support/device.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "runtime/backend.h"

struct test_device {
    tc_devices *devices;
    tc_backend *backend;
    int32_t index;
    const char *name;
    tc_queue *queue;
    tc_run_state *state; /* device memory */
};

static tc_status find(test_device *device, const char *name)
{
    TC_TRY(tc_devices_acquire(&device->devices));
    int32_t found = tc_devices_find(device->devices, name);
    if (found <= 0)
        return tc_fail(TC_UNAVAILABLE, "there is no device '%s': %s", name, device->devices->why);
    device->backend = device->devices->list[found].backend;
    device->index = device->devices->list[found].index;
    device->name = device->devices->list[found].name;
    return TC_OK;
}

tc_status test_device_open(test_device **out)
{
    const char *name = getenv("TENSORC_TEST_DEVICE");
    *out = NULL;
    if (!name || !*name || strcmp(name, "cpu") == 0)
        return TC_OK;
    test_device *device = calloc(1, sizeof *device);
    if (!device)
        return tc_fail_memory(sizeof *device, "a device of a test");
    tc_status status = find(device, name);
    if (status == TC_OK)
        status = device->backend->queue_create(device->backend, device->index, &device->queue);
    if (status == TC_OK)
        status = device->backend->allocate(device->backend, device->index, sizeof *device->state,
                                           (void **)&device->state);
    if (status != TC_OK) {
        test_device_close(device);
        return status;
    }
    *out = device;
    return TC_OK;
}

void test_device_close(test_device *device)
{
    if (!device)
        return;
    if (device->state)
        device->backend->release(device->backend, device->index, device->state);
    if (device->queue)
        device->backend->queue_destroy(device->queue);
    tc_devices_release(device->devices);
    free(device);
}

const char *test_device_name(const test_device *device)
{
    return device->name;
}

const tc_kernel *test_device_find_kernel(const test_device *device, const char *op, tc_dtype dtype)
{
    for (int32_t i = device->backend->n_kernels - 1; i >= 0; i--) {
        const tc_kernel *kernel = device->backend->kernels[i];
        if (strcmp(kernel->op, op) == 0 &&
            (kernel->dtype == dtype || kernel->dtype == TC_DTYPE_INVALID))
            return kernel;
    }
    return NULL;
}

tc_kernel_place test_device_place(const test_device *device)
{
    return (tc_kernel_place){.threads = 1, .device = device->index};
}

/*
 * Running
 */
enum { max_operands = 128 };

/* Operands on the device, those of equal memory once. */
typedef struct mirrors {
    test_device *device;
    test_operand host[max_operands];
    void *memory[max_operands];
    int32_t count;
} mirrors;

static tc_status copy(const mirrors *m, int32_t i, bool back)
{
    tc_backend *backend = m->device->backend;
    if (back)
        return backend->copy(m->device->queue, m->host[i].data, TC_DEVICE_HOST, m->memory[i],
                             m->device->index, m->host[i].bytes);
    return backend->copy(m->device->queue, m->memory[i], m->device->index, m->host[i].data,
                         TC_DEVICE_HOST, m->host[i].bytes);
}

static tc_status place(mirrors *m, const test_operand *operand, void **memory)
{
    *memory = NULL;
    if (!operand->data)
        return TC_OK;
    for (int32_t i = 0; i < m->count; i++)
        if (m->host[i].data == operand->data) {
            *memory = m->memory[i];
            return TC_OK;
        }
    if (m->count == max_operands)
        return tc_fail(TC_UNIMPLEMENTED, "a test with more than %d operands", max_operands);
    int32_t i = m->count;
    tc_backend *backend = m->device->backend;
    TC_TRY(backend->allocate(backend, m->device->index, operand->bytes, &m->memory[i]));
    m->host[i] = *operand;
    m->count++;
    *memory = m->memory[i];
    return copy(m, i, false);
}

static tc_status run(mirrors *m, const tc_kernel *kernel, const tc_prepared *prepared,
                     const test_operand *inputs, int32_t n_inputs, const test_operand *outputs,
                     int32_t n_outputs, tc_run_state *state)
{
    test_device *device = m->device;
    tc_backend *backend = device->backend;
    const void *in[max_operands];
    void *out[max_operands], *operand, *workspace = NULL;
    if (n_inputs > max_operands || n_outputs > max_operands)
        return tc_fail(TC_UNIMPLEMENTED, "a test with more than %d operands", max_operands);
    for (int32_t i = 0; i < n_inputs; i++) {
        TC_TRY(place(m, &inputs[i], &operand));
        in[i] = operand;
    }
    for (int32_t i = 0; i < n_outputs; i++)
        TC_TRY(place(m, &outputs[i], &out[i]));
    if (prepared->workspace_bytes > 0) { /* left undefined: a kernel must write it first */
        TC_TRY(backend->allocate(backend, device->index, prepared->workspace_bytes, &workspace));
        m->memory[m->count] = workspace;
        m->host[m->count++] = (test_operand){NULL, 0};
    }
    TC_TRY(backend->copy(device->queue, device->state, device->index, state, TC_DEVICE_HOST,
                         sizeof *state));
    const tc_kernel_context context = {
        .workspace = workspace, .queue = device->queue, .state = device->state, .place = 1};
    TC_TRY(backend->select(device->queue));
    TC_TRY(kernel->run(prepared->params, in, out, &context));
    TC_TRY(backend->copy(device->queue, state, TC_DEVICE_HOST, device->state, device->index,
                         sizeof *state));
    for (int32_t i = 0; i < m->count; i++)
        if (m->host[i].data)
            TC_TRY(copy(m, i, true));
    return TC_OK;
}

tc_status test_device_run(test_device *device, const tc_kernel *kernel, const tc_prepared *prepared,
                          const test_operand *inputs, int32_t n_inputs, const test_operand *outputs,
                          int32_t n_outputs, uint64_t seed, uint64_t step)
{
    mirrors m = {.device = device};
    tc_run_state state = {.seed = seed, .step = step};
    tc_status status = run(&m, kernel, prepared, inputs, n_inputs, outputs, n_outputs, &state);
    tc_status waited = device->backend->wait(device->queue);
    for (int32_t i = 0; i < m.count; i++)
        device->backend->release(device->backend, device->index, m.memory[i]);
    if (status != TC_OK || waited != TC_OK)
        return status != TC_OK ? status : waited;
    if (state.fault.place == 0)
        return TC_OK;
    if (!kernel->fault)
        return tc_fail(TC_INTERNAL, "%s finds a fault that it does not tell", kernel->symbol);
    return kernel->fault(prepared->params, &state.fault);
}
