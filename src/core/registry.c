#include "core/registry.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"
#include "base/status.h"
#include "base/text.h"

/* Open addressing over numbers + 1 of operators or kernels; 0 is a free slot. */
typedef struct tc_slots {
    uint32_t *data;
    size_t count; /* power of two, more than the entries */
} tc_slots;

struct tc_registry {
    atomic_int references;
    TC_VECTOR(const tc_op *) ops; /* added to the library's */
    TC_VECTOR(const tc_kernel *) kernels;
    tc_slots op_slots, kernel_slots;
};

/*
 * The library's own tables are constants, so their index is a constant too, but one that no
 * compiler makes for us. It lives in static memory: an index from an allocator would outlive every
 * handle that could free it.
 */
#define TC_BUILTIN_OP_SLOTS     4096
#define TC_BUILTIN_KERNEL_SLOTS 65536

static uint32_t builtin_op_data[TC_BUILTIN_OP_SLOTS];
static uint32_t builtin_kernel_data[TC_BUILTIN_KERNEL_SLOTS]; /* table << 16 | (kernel + 1) */
static const tc_slots builtin_op_slots = {builtin_op_data, TC_BUILTIN_OP_SLOTS};
static const tc_slots builtin_kernel_slots = {builtin_kernel_data, TC_BUILTIN_KERNEL_SLOTS};
static pthread_once_t builtin_once = PTHREAD_ONCE_INIT;

static void slots_put(tc_slots slots, uint64_t hash, uint32_t value)
{
    size_t slot = hash & (slots.count - 1);
    while (slots.data[slot])
        slot = (slot + 1) & (slots.count - 1);
    slots.data[slot] = value;
}

static uint64_t kernel_hash(const char *op, tc_dtype dtype, tc_device_type device, int32_t isa)
{
    return tc_hash_combine(tc_hash_string(op),
                           (uint64_t)dtype | (uint64_t)device << 16 | (uint64_t)isa << 32);
}

static const tc_kernel *builtin_kernel(uint32_t packed)
{
    return &tc_builtin_kernels[packed >> 16]->kernels[(packed & 0xffffu) - 1];
}

static void builtin_index(void)
{
    assert(tc_builtin_op_count < TC_BUILTIN_OP_SLOTS / 2);
    for (size_t i = 0; i < tc_builtin_op_count; i++)
        slots_put(builtin_op_slots, tc_hash_string(tc_builtin_ops[i]->name), (uint32_t)i + 1);
    size_t total = 0;
    for (size_t t = 0; t < tc_builtin_kernel_table_count; t++) {
        assert(tc_builtin_kernels[t]->count < 0xffff);
        for (size_t k = 0; k < tc_builtin_kernels[t]->count; k++) {
            const tc_kernel *kernel = &tc_builtin_kernels[t]->kernels[k];
            slots_put(builtin_kernel_slots,
                      kernel_hash(kernel->op, kernel->dtype, kernel->device, kernel->isa),
                      (uint32_t)(t << 16 | (k + 1)));
            total++;
        }
    }
    assert(total < TC_BUILTIN_KERNEL_SLOTS / 2);
    (void)total;
}

tc_registry *tc_registry_create(void)
{
    tc_registry *registry = tc_alloc_zero(1, sizeof *registry);
    if (!registry) {
        tc_fail_memory(sizeof *registry, "a registry");
        return NULL;
    }
    atomic_init(&registry->references, 1);
    return registry;
}

tc_registry *tc_registry_retain(tc_registry *registry)
{
    if (registry)
        atomic_fetch_add_explicit(&registry->references, 1, memory_order_relaxed);
    return registry;
}

void tc_registry_release(tc_registry *registry)
{
    if (!registry || atomic_fetch_sub_explicit(&registry->references, 1, memory_order_acq_rel) > 1)
        return;
    tc_vector_free(&registry->ops);
    tc_vector_free(&registry->kernels);
    tc_free(registry->op_slots.data);
    tc_free(registry->kernel_slots.data);
    tc_free(registry);
}

/* Room for `entries`; where the table grew, `*grown` and everything must be put again. */
static bool slots_reserve(tc_slots *slots, size_t entries, bool *grown)
{
    *grown = false;
    if (entries * 2 <= slots->count)
        return true;
    size_t count = slots->count ? slots->count * 2 : 16;
    uint32_t *data = tc_alloc_zero(count, sizeof *data);
    if (!data)
        return false;
    tc_free(slots->data);
    *slots = (tc_slots){data, count};
    *grown = true;
    return true;
}

static tc_status port_check(const tc_op *op, const tc_port *ports, int n_ports, const char *kind)
{
    if (n_ports < 0 || (n_ports > 0 && !ports))
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': the list of %ss is broken", op->name,
                       kind);
    for (int i = 0; i < n_ports; i++) {
        const tc_port *port = &ports[i];
        if (!port->name || !port->name[0])
            return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': %s %d has no name", op->name, kind,
                           i);
        if (!port->dtypes || port->dtypes & ~TC_DTYPES_ANY)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "operator '%s': the dtypes of %s '%s' are none or unknown", op->name,
                           kind, port->name);
        if (port->flags & TC_PORT_VARIADIC && i + 1 < n_ports)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "operator '%s': %s '%s' is variadic but not the last one", op->name,
                           kind, port->name);
        if (port->type &&
            !((port->type >= 'A' && port->type <= 'Z') || (port->type >= 'a' && port->type <= 'z')))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "operator '%s': the type of %s '%s' must be a letter or 0", op->name,
                           kind, port->name);
        for (int j = 0; j < i; j++)
            if (strcmp(ports[j].name, port->name) == 0)
                return tc_fail(TC_INVALID_ARGUMENT, "operator '%s' has two %ss called '%s'",
                               op->name, kind, port->name);
    }
    return TC_OK;
}

static tc_status attr_check(const tc_op *op)
{
    if (op->n_attrs < 0 || (op->n_attrs > 0 && !op->attrs))
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': the list of attributes is broken",
                       op->name);
    for (int i = 0; i < op->n_attrs; i++) {
        const tc_attr_def *attr = &op->attrs[i];
        if (!attr->name || !attr->name[0])
            return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': attribute %d has no name", op->name,
                           i);
        if (attr->type <= TC_ATTR_NONE || attr->type > TC_ATTR_FUNCTION)
            return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': attribute '%s' has no type",
                           op->name, attr->name);
        if (attr->fallback.type != TC_ATTR_NONE && attr->fallback.type != attr->type)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "operator '%s': the fallback of attribute '%s' has another type",
                           op->name, attr->name);
        if (attr->choices && attr->type != TC_ATTR_STRING)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "operator '%s': attribute '%s' has choices but is no string", op->name,
                           attr->name);
        if (tc_op_attr_index(op, attr->name) != i)
            return tc_fail(TC_INVALID_ARGUMENT, "operator '%s' has two attributes called '%s'",
                           op->name, attr->name);
    }
    return TC_OK;
}

static bool is_lower_snake_case(const char *name)
{
    if (!name || !(name[0] >= 'a' && name[0] <= 'z'))
        return false;
    for (const char *c = name; *c; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9') || *c == '_'))
            return false;
    return true;
}

tc_status tc_op_check(const tc_op *op)
{
    if (!op)
        return tc_fail(TC_INVALID_ARGUMENT, "the operator is NULL");
    if (!is_lower_snake_case(op->name))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "the name of an operator must be lower_snake_case, but is '%s'",
                       op->name ? op->name : "(NULL)");
    if (op->version < 1)
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': the version must be 1 or more",
                       op->name);
    if (!op->doc || !op->doc[0])
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s' has no doc", op->name);
    if (!op->infer)
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s' has no infer function", op->name);
    TC_TRY(port_check(op, op->inputs, op->n_inputs, "input"));
    TC_TRY(port_check(op, op->outputs, op->n_outputs, "output"));
    TC_TRY(attr_check(op));
    if (op->n_inplace < 0 || (op->n_inplace > 0 && !op->inplace))
        return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': the list of in-place pairs is broken",
                       op->name);
    for (int i = 0; i < op->n_inplace; i++)
        if (!tc_op_input_port(op, op->inplace[i].input) ||
            !tc_op_output_port(op, op->inplace[i].output))
            return tc_fail(TC_INVALID_ARGUMENT, "operator '%s': in-place pair %d names no port",
                           op->name, i);
    return TC_OK;
}

tc_status tc_registry_add_op(tc_registry *registry, const tc_op *op)
{
    if (!registry)
        return tc_fail(TC_INVALID_ARGUMENT, "the registry is NULL; the library's own takes no more "
                                            "operators, create one with tc_registry_create");
    TC_TRY(tc_op_check(op));
    if (tc_registry_find_op(registry, op->name))
        return tc_fail(TC_ALREADY_EXISTS, "there is an operator '%s' already", op->name);
    bool grown;
    if (!tc_vector_reserve(&registry->ops, registry->ops.count + 1) ||
        !slots_reserve(&registry->op_slots, registry->ops.count + 1, &grown))
        return tc_fail_memory(sizeof op, "an operator of a registry");
    registry->ops.data[registry->ops.count++] = op;
    for (size_t i = grown ? 0 : registry->ops.count - 1; i < registry->ops.count; i++)
        slots_put(registry->op_slots, tc_hash_string(registry->ops.data[i]->name), (uint32_t)i + 1);
    return TC_OK;
}

tc_status tc_registry_add_kernel(tc_registry *registry, const tc_kernel *kernel)
{
    if (!registry)
        return tc_fail(TC_INVALID_ARGUMENT, "the registry is NULL; the library's own takes no more "
                                            "kernels, create one with tc_registry_create");
    if (!kernel || !kernel->op || !kernel->symbol || !kernel->run)
        return tc_fail(TC_INVALID_ARGUMENT, "a kernel needs an operator, a symbol and run");
    if ((unsigned)kernel->dtype >= TC_DTYPE_COUNT)
        return tc_fail(TC_INVALID_ARGUMENT, "kernel '%s': there is no dtype number %d",
                       kernel->symbol, (int)kernel->dtype);
    if ((unsigned)kernel->isa >= TC_ISA_COUNT)
        return tc_fail(TC_INVALID_ARGUMENT, "kernel '%s': there is no ISA level %d", kernel->symbol,
                       (int)kernel->isa);
    if (!tc_registry_find_op(registry, kernel->op))
        return tc_fail(TC_INVALID_ARGUMENT,
                       "kernel '%s': there is no operator '%s'; add the operator first",
                       kernel->symbol, kernel->op);
    bool grown;
    if (!tc_vector_reserve(&registry->kernels, registry->kernels.count + 1) ||
        !slots_reserve(&registry->kernel_slots, registry->kernels.count + 1, &grown))
        return tc_fail_memory(sizeof kernel, "a kernel of a registry");
    registry->kernels.data[registry->kernels.count++] = kernel;
    size_t begin = grown ? 0 : registry->kernels.count - 1;
    for (size_t i = begin; i < registry->kernels.count; i++) {
        const tc_kernel *k = registry->kernels.data[i];
        slots_put(registry->kernel_slots, kernel_hash(k->op, k->dtype, k->device, k->isa),
                  (uint32_t)i + 1);
    }
    return TC_OK;
}

int32_t tc_registry_op_count(const tc_registry *registry)
{
    return (int32_t)(tc_builtin_op_count + (registry ? registry->ops.count : 0));
}

const tc_op *tc_registry_op(const tc_registry *registry, int32_t index)
{
    if (index < 0 || index >= tc_registry_op_count(registry))
        return NULL;
    size_t i = (size_t)index;
    return i < tc_builtin_op_count ? tc_builtin_ops[i]
                                   : registry->ops.data[i - tc_builtin_op_count];
}

const tc_op *tc_registry_find_op(const tc_registry *registry, const char *name)
{
    if (!name)
        return NULL;
    pthread_once(&builtin_once, builtin_index);
    uint64_t hash = tc_hash_string(name);
    for (size_t slot = hash & (builtin_op_slots.count - 1); builtin_op_slots.data[slot];
         slot = (slot + 1) & (builtin_op_slots.count - 1)) {
        const tc_op *op = tc_builtin_ops[builtin_op_slots.data[slot] - 1];
        if (strcmp(op->name, name) == 0)
            return op;
    }
    if (!registry || !registry->op_slots.count)
        return NULL;
    tc_slots slots = registry->op_slots;
    for (size_t slot = hash & (slots.count - 1); slots.data[slot];
         slot = (slot + 1) & (slots.count - 1)) {
        const tc_op *op = registry->ops.data[slots.data[slot] - 1];
        if (strcmp(op->name, name) == 0)
            return op;
    }
    return NULL;
}

int32_t tc_registry_kernel_count(const tc_registry *registry)
{
    size_t count = registry ? registry->kernels.count : 0;
    for (size_t t = 0; t < tc_builtin_kernel_table_count; t++)
        count += tc_builtin_kernels[t]->count;
    return (int32_t)count;
}

const tc_kernel *tc_registry_kernel(const tc_registry *registry, int32_t index)
{
    if (index < 0)
        return NULL;
    size_t i = (size_t)index;
    for (size_t t = 0; t < tc_builtin_kernel_table_count; t++) {
        if (i < tc_builtin_kernels[t]->count)
            return &tc_builtin_kernels[t]->kernels[i];
        i -= tc_builtin_kernels[t]->count;
    }
    return registry && i < registry->kernels.count ? registry->kernels.data[i] : NULL;
}

static bool kernel_is(const tc_kernel *kernel, const char *op, tc_dtype dtype,
                      tc_device_type device, int32_t isa)
{
    return kernel->dtype == dtype && kernel->device == device && kernel->isa == isa &&
           strcmp(kernel->op, op) == 0;
}

/* Of equal kernels the last one put lies furthest along the probe sequence. */
static const tc_kernel *find_exact(const tc_registry *registry, const char *op, tc_dtype dtype,
                                   tc_device_type device, int32_t isa)
{
    uint64_t hash = kernel_hash(op, dtype, device, isa);
    const tc_kernel *found = NULL;
    if (registry && registry->kernel_slots.count) {
        tc_slots slots = registry->kernel_slots;
        for (size_t slot = hash & (slots.count - 1); slots.data[slot];
             slot = (slot + 1) & (slots.count - 1)) {
            const tc_kernel *kernel = registry->kernels.data[slots.data[slot] - 1];
            if (kernel_is(kernel, op, dtype, device, isa))
                found = kernel;
        }
    }
    for (size_t slot = hash & (builtin_kernel_slots.count - 1);
         !found && builtin_kernel_slots.data[slot];
         slot = (slot + 1) & (builtin_kernel_slots.count - 1)) {
        const tc_kernel *kernel = builtin_kernel(builtin_kernel_slots.data[slot]);
        if (kernel_is(kernel, op, dtype, device, isa))
            found = kernel;
    }
    return found;
}

const tc_kernel *tc_registry_find_kernel(const tc_registry *registry, const char *op,
                                         tc_dtype dtype, tc_device_type device, tc_isa isa)
{
    pthread_once(&builtin_once, builtin_index);
    const tc_dtype dtypes[] = {dtype, TC_DTYPE_INVALID};
    for (int d = dtype == TC_DTYPE_INVALID; d < 2; d++) {
        /* Levels of x86 contain those below; NEON stands on scalar alone. */
        for (int32_t level = (int32_t)isa; level >= 0;
             level = level == TC_ISA_NEON ? TC_ISA_SCALAR : level - 1) {
            const tc_kernel *kernel = find_exact(registry, op, dtypes[d], device, level);
            if (kernel)
                return kernel;
        }
    }
    return NULL;
}

static const char *op_name_at(const void *registry, size_t i)
{
    return tc_registry_op(registry, (int32_t)i)->name;
}

const char *tc_registry_nearest_op(const tc_registry *registry, const char *name)
{
    return tc_text_nearest(name, (size_t)tc_registry_op_count(registry), op_name_at, registry);
}

const tc_port *tc_op_input_port(const tc_op *op, int32_t index)
{
    if (index >= 0 && index < op->n_inputs)
        return &op->inputs[index];
    const tc_port *last = op->n_inputs > 0 ? &op->inputs[op->n_inputs - 1] : NULL;
    return index >= 0 && last && last->flags & TC_PORT_VARIADIC ? last : NULL;
}

uint32_t tc_op_input_flags(const tc_op *op, int32_t index, int32_t n_outputs)
{
    const tc_port *port = tc_op_input_port(op, index);
    uint32_t flags = port ? port->flags : 0;
    return flags & TC_PORT_VARIADIC && index >= n_outputs ? flags & ~TC_PORT_RESOURCE : flags;
}

const tc_port *tc_op_output_port(const tc_op *op, int32_t index)
{
    if (index >= 0 && index < op->n_outputs)
        return &op->outputs[index];
    const tc_port *last = op->n_outputs > 0 ? &op->outputs[op->n_outputs - 1] : NULL;
    return index >= 0 && last && last->flags & TC_PORT_VARIADIC ? last : NULL;
}

tc_dtype tc_op_kernel_dtype(const tc_op *op, const tc_value_info *inputs, int32_t n_inputs,
                            const tc_value_info *outputs, int32_t n_outputs)
{
    for (int32_t i = 0; i < n_inputs; i++)
        if (inputs[i].dtype != TC_DTYPE_INVALID && tc_op_input_port(op, i)->type == 'T')
            return inputs[i].dtype;
    for (int32_t i = 0; i < n_outputs; i++)
        if (tc_op_output_port(op, i)->type == 'T')
            return outputs[i].dtype;
    return TC_DTYPE_INVALID;
}
