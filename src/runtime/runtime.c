#include "runtime/runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tensorc/version.h>

#include "base/alloc.h"
#include "base/status.h"
#include "compiler/plan.h"
#include "core/kernel.h"
#include "core/registry.h"
#include "core/tensor.h"

/* The default runtime lives while somebody holds a reference; the pointer itself does not count. */
static pthread_mutex_t default_lock = PTHREAD_MUTEX_INITIALIZER;
static tc_runtime *default_runtime;

#define TC_QUOTE_(text) #text
#define TC_QUOTE(text)  TC_QUOTE_(text)

const char *tc_version(void)
{
    return TC_QUOTE(TC_VERSION_MAJOR) "." TC_QUOTE(TC_VERSION_MINOR) "." TC_QUOTE(TC_VERSION_PATCH);
}

/*
 * The compiler's view
 */
static const char *target_device_name(const tc_target *target, int32_t device)
{
    if (device < 0 || device >= target->device_count)
        return NULL;
    return device == 0 ? "cpu" : ((const tc_runtime_target *)target)->devices->list[device].name;
}

static tc_device_type target_device_type(const tc_target *target, int32_t device, int32_t *index)
{
    *index = 0;
    if (device <= 0 || device >= target->device_count)
        return TC_DEVICE_CPU;
    const tc_device *found = &((const tc_runtime_target *)target)->devices->list[device];
    *index = found->index;
    return found->type;
}

static const tc_kernel *target_find_kernel(const tc_target *target, int32_t device, const char *op,
                                           tc_dtype dtype)
{
    const tc_runtime_target *view = (const tc_runtime_target *)target;
    const tc_registry *registry = view->runtime->registry;
    if (device == 0)
        return tc_registry_find_kernel(registry, op, dtype, TC_DEVICE_CPU, view->runtime->isa);
    if (device < 0 || device >= target->device_count)
        return NULL;
    /* Users may have kernels of their own for a device, too. */
    const tc_kernel *kernel = tc_registry_find_kernel(
        registry, op, dtype, view->devices->list[device].type, TC_ISA_SCALAR);
    return kernel ? kernel : tc_devices_kernel(view->devices, device, op, dtype);
}

static tc_status fold_prepared(tc_pool *pool, const tc_kernel *kernel, const tc_prepared *prepared,
                               tc_tensor *const *inputs, const void **input_data, int32_t n_inputs,
                               tc_tensor **outputs, void **output_data, int32_t n_outputs)
{
    void *workspace = NULL;
    if (prepared->workspace_bytes > 0) {
        workspace = tc_alloc_aligned(prepared->workspace_bytes, TC_ALIGNMENT);
        if (!workspace)
            return tc_fail_memory(prepared->workspace_bytes, "the workspace of a constant");
    }
    for (int32_t i = 0; i < n_inputs; i++)
        input_data[i] = tc_tensor_data(inputs[i]);
    for (int32_t i = 0; i < n_outputs; i++)
        output_data[i] = tc_tensor_data(outputs[i]);
    tc_kernel_context context = {.workspace = workspace, .pool = pool};
    tc_status status = kernel->run(prepared->params, input_data, output_data, &context);
    tc_free(workspace);
    return status;
}

static tc_status target_fold(const tc_target *target, const tc_attrs *attrs,
                             tc_tensor *const *inputs, const tc_value_info *input_infos,
                             int32_t n_inputs, const tc_value_info *output_infos, int32_t n_outputs,
                             tc_tensor **outputs)
{
    /* Not all threads of the runtime: the workspace is for those that the target speaks of. */
    tc_pool *pool = ((const tc_runtime_target *)target)->pool;
    tc_dtype dtype = tc_op_kernel_dtype(attrs->op, input_infos, n_inputs, output_infos, n_outputs);
    const tc_kernel *kernel = target_find_kernel(target, 0, attrs->op->name, dtype);
    if (!kernel)
        return tc_fail(TC_UNIMPLEMENTED, "no CPU kernel for %s of %s", attrs->op->name,
                       tc_dtype_name(dtype));
    tc_arena arena = {0};
    tc_prepared prepared;
    const tc_kernel_place place = {.threads = target->threads};
    tc_status status = tc_kernel_prepare(kernel, attrs, input_infos, n_inputs, output_infos,
                                         n_outputs, &place, &arena, &prepared);
    for (int32_t i = 0; i < n_outputs; i++)
        outputs[i] = NULL;
    for (int32_t i = 0; i < n_inputs && status == TC_OK; i++)
        if (inputs[i])
            status = tc_tensor_check(inputs[i]);
    for (int32_t i = 0; i < n_outputs && status == TC_OK; i++)
        status = tc_tensor_create(output_infos[i].dtype, output_infos[i].shape, &outputs[i]);
    if (status == TC_OK) {
        const void **input_data = tc_arena_array(&arena, (size_t)n_inputs, sizeof *input_data);
        void **output_data = tc_arena_array(&arena, (size_t)n_outputs, sizeof *output_data);
        status = input_data && output_data
                     ? fold_prepared(pool, kernel, &prepared, inputs, input_data, n_inputs, outputs,
                                     output_data, n_outputs)
                     : tc_fail_memory((size_t)(n_inputs + n_outputs) * sizeof(void *), "operands");
    }
    tc_arena_free(&arena);
    if (status != TC_OK) {
        for (int32_t i = 0; i < n_outputs; i++) {
            tc_tensor_release(outputs[i]);
            outputs[i] = NULL;
        }
    }
    return status;
}

/*
 * Creating and releasing
 */
static tc_status choose_isa(const char *name, tc_isa *isa)
{
    if (!name)
        return tc_cpu_isa_selected(isa);
    for (int i = 0; i < TC_ISA_COUNT; i++) {
        if (strcmp(name, tc_isa_name((tc_isa)i)) != 0)
            continue;
        if (!tc_cpu_supports((tc_isa)i))
            return tc_fail(TC_UNAVAILABLE,
                           "runtime: this processor cannot run cpu_isa \"%s\"; its best is \"%s\"",
                           name, tc_isa_name(tc_cpu_isa()));
        *isa = (tc_isa)i;
        return TC_OK;
    }
    return tc_fail(TC_INVALID_ARGUMENT,
                   "runtime: unknown cpu_isa \"%s\"; known are scalar, avx2, avx512 and neon",
                   name);
}

/* Threads from the options, else from TENSORC_THREADS, else 0 (one per usable core). */
static tc_status choose_threads(int32_t wanted, int *threads)
{
    const char *text = getenv("TENSORC_THREADS");
    *threads = wanted;
    if (wanted < 0)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "runtime: %d threads; give 1 or more, or 0 for all cores", wanted);
    if (wanted > 0 || !text || !*text)
        return TC_OK;
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 1 || value > TC_POOL_MAX_THREADS)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "runtime: TENSORC_THREADS is \"%s\"; give a number from 1 to %d", text,
                       TC_POOL_MAX_THREADS);
    *threads = (int)value;
    return TC_OK;
}

uint64_t tc_runtime_fallbacks(const tc_runtime *runtime, const tc_plan *plan)
{
    uint64_t count = (uint64_t)plan->program->fallbacks;
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const tc_kernel *kernel = plan->steps[i].kernel, *best;
        if (!kernel || kernel->device != TC_DEVICE_CPU || kernel->isa >= (int32_t)runtime->isa)
            continue;
        /* Kernels of f32 are written for every instruction set where that matters at all. */
        best = tc_registry_find_kernel(runtime->registry, kernel->op, TC_F32, kernel->device,
                                       runtime->isa);
        count += best && best->isa > kernel->isa;
    }
    return count;
}

tc_runtime_target tc_runtime_view(const tc_runtime *runtime, tc_pool *pool,
                                  const tc_devices *devices)
{
    return (tc_runtime_target){.target = {.threads = tc_pool_threads(pool),
                                          .device_count = devices ? devices->count : 1,
                                          .missing = devices ? devices->why : NULL,
                                          .device_name = target_device_name,
                                          .device_type = target_device_type,
                                          .find_kernel = target_find_kernel,
                                          .fold = target_fold},
                               .runtime = runtime,
                               .pool = pool,
                               .devices = devices};
}

tc_status tc_runtime_create(const tc_runtime_options *options, tc_runtime **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "runtime: out is NULL");
    *out = NULL;
    TC_OPTIONS(tc_runtime_options, o, options);
    tc_isa isa;
    int threads;
    TC_TRY(choose_isa(o.cpu_isa, &isa));
    /* A list of cores says how many threads, too. */
    if (o.affinity && o.threads == 0)
        threads = 0;
    else
        TC_TRY(choose_threads(o.threads, &threads));
    tc_runtime *runtime = tc_alloc_zero(1, sizeof *runtime);
    if (!runtime)
        return tc_fail_memory(sizeof *runtime, "a runtime");
    tc_status status = o.affinity ? tc_pool_create_on(threads, o.affinity, &runtime->pool)
                                  : tc_pool_create(threads, &runtime->pool);
    if (status != TC_OK) {
        tc_free(runtime);
        return tc_fail_prefix(status, "runtime: ");
    }
    runtime->references = 1;
    runtime->registry = tc_registry_retain(o.registry);
    runtime->isa = isa;
    runtime->view = tc_runtime_view(runtime, runtime->pool, NULL);
    pthread_mutex_init(&runtime->devices_lock, NULL);
    pthread_mutex_init(&runtime->sessions_lock, NULL);
    tc_watch_init(&runtime->watch);
    tc_async_init(&runtime->async);
    *out = runtime;
    return TC_OK;
}

tc_runtime *tc_runtime_retain(tc_runtime *runtime)
{
    if (runtime)
        atomic_fetch_add_explicit(&runtime->references, 1, memory_order_relaxed);
    return runtime;
}

void tc_runtime_destroy(tc_runtime *runtime)
{
    tc_async_destroy(&runtime->async);
    tc_watch_destroy(&runtime->watch);
    tc_pool_destroy(runtime->pool);
    tc_registry_release(runtime->registry);
    tc_devices_release(runtime->devices);
    pthread_mutex_destroy(&runtime->devices_lock);
    pthread_mutex_destroy(&runtime->sessions_lock);
    tc_free(runtime);
}

void tc_runtime_release(tc_runtime *runtime)
{
    if (!runtime)
        return;
    /* The lock keeps tc_runtime_acquire from reviving the default runtime while its last reference
     * goes. */
    pthread_mutex_lock(&default_lock);
    bool last = atomic_fetch_sub_explicit(&runtime->references, 1, memory_order_acq_rel) == 1;
    if (last && runtime == default_runtime)
        default_runtime = NULL;
    pthread_mutex_unlock(&default_lock);
    if (last && !tc_async_leave(&runtime->async))
        tc_runtime_destroy(runtime);
}

tc_status tc_runtime_acquire(tc_runtime *runtime, tc_runtime **out)
{
    if (runtime) {
        *out = tc_runtime_retain(runtime);
        return TC_OK;
    }
    tc_status status = TC_OK;
    pthread_mutex_lock(&default_lock);
    if (default_runtime)
        tc_runtime_retain(default_runtime);
    else
        status = tc_runtime_create(NULL, &default_runtime);
    *out = default_runtime;
    pthread_mutex_unlock(&default_lock);
    return status;
}

int32_t tc_runtime_threads(const tc_runtime *runtime)
{
    return runtime ? runtime->view.target.threads : 0;
}

/*
 * Devices
 */
tc_status tc_runtime_devices(tc_runtime *runtime, tc_devices **out)
{
    tc_status status = TC_OK;
    pthread_mutex_lock(&runtime->devices_lock);
    if (!runtime->devices)
        status = tc_devices_acquire(&runtime->devices);
    *out = runtime->devices;
    pthread_mutex_unlock(&runtime->devices_lock);
    return status;
}

static void describe_cpu(const tc_runtime *runtime, tc_device_info *device)
{
    *device = (tc_device_info){
        .name = "cpu", .type = TC_DEVICE_CPU, .threads = runtime->view.target.threads};
    char model[96] = "processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "model name : %95[^\n]", model) == 1)
            break;
    }
    if (file)
        fclose(file);
    snprintf(device->description, sizeof device->description, "%s, %s kernels", model,
             tc_isa_name(runtime->isa));
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0)
        device->memory_bytes = (size_t)pages * (size_t)page;
}

static tc_status describe(const tc_device *device, tc_device_info *info)
{
    *info = (tc_device_info){.type = device->type, .index = device->index};
    TC_TRY(device->backend->describe(device->backend, device->index, info));
    memcpy(info->name, device->name, sizeof info->name);
    return TC_OK;
}

static tc_status list_devices(tc_runtime *runtime, tc_device_info *infos, size_t capacity,
                              size_t *count, char *why, size_t why_size)
{
    tc_devices *devices;
    TC_TRY(tc_runtime_devices(runtime, &devices));
    for (int32_t i = 0; i < devices->count && (size_t)i < capacity; i++) {
        if (i == 0)
            describe_cpu(runtime, &infos[i]);
        else
            TC_TRY(describe(&devices->list[i], &infos[i]));
    }
    *count = (size_t)devices->count;
    if (why && why_size > 0)
        snprintf(why, why_size, "%s", devices->why ? devices->why : "");
    return TC_OK;
}

tc_status tc_device_list(tc_runtime *runtime, tc_device_info *devices, size_t capacity,
                         size_t *count, char *why, size_t why_size)
{
    if (!count || (capacity > 0 && !devices))
        return tc_fail(TC_INVALID_ARGUMENT, "device list: count or devices is NULL");
    tc_runtime *used;
    TC_TRY(tc_runtime_acquire(runtime, &used));
    tc_status status = list_devices(used, devices, capacity, count, why, why_size);
    tc_runtime_release(used);
    return status;
}

/* Dtypes of the ports that select the kernel; 0 when there are none. */
static uint32_t kernel_ports(const tc_op *op)
{
    for (int16_t i = 0; i < op->n_inputs; i++)
        if (op->inputs[i].type == 'T')
            return op->inputs[i].dtypes;
    for (int16_t i = 0; i < op->n_outputs; i++)
        if (op->outputs[i].type == 'T')
            return op->outputs[i].dtypes;
    return 0;
}

static tc_status list_kernels(tc_runtime *runtime, int32_t device, const char *name,
                              uint32_t *dtypes)
{
    tc_devices *devices;
    TC_TRY(tc_runtime_devices(runtime, &devices));
    const tc_op *op = tc_registry_find_op(runtime->registry, name);
    if (!op)
        return tc_fail(TC_INVALID_ARGUMENT, "device kernels: there is no operator '%s'", name);
    if (device < 0 || device >= devices->count)
        return tc_fail(TC_INVALID_ARGUMENT, "device kernels: there is no device %d, only %d",
                       (int)device, (int)devices->count);
    const tc_runtime_target view = tc_runtime_view(runtime, runtime->pool, devices);
    uint32_t ports = kernel_ports(op);
    *dtypes = 0;
    for (int dtype = 1; dtype < TC_DTYPE_COUNT; dtype++)
        if (ports & TC_DTYPE_BIT(dtype) &&
            target_find_kernel(&view.target, device, name, (tc_dtype)dtype))
            *dtypes |= TC_DTYPE_BIT(dtype);
    if (!ports && target_find_kernel(&view.target, device, name, TC_DTYPE_INVALID))
        *dtypes = TC_DTYPES_ANY;
    return TC_OK;
}

tc_status tc_device_kernels(tc_runtime *runtime, int32_t device, const char *op, uint32_t *dtypes)
{
    if (!op || !dtypes)
        return tc_fail(TC_INVALID_ARGUMENT, "device kernels: op or dtypes is NULL");
    tc_runtime *used;
    TC_TRY(tc_runtime_acquire(runtime, &used));
    tc_status status = list_kernels(used, device, op, dtypes);
    tc_runtime_release(used);
    return status;
}
