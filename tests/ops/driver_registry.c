/* Nothing may be missing: definition, kernels, case and gradient state of every operator of the
 * library. */
#include <string.h>

#include "core/registry.h"
#include "ops/driver.h"

/* Operators without kernel and case, because the graph, the compiler or the runtime gives them
 * their meaning. */
static const struct {
    const char *op;
    const char *reason;
} exempt[] = {
    {"placeholder", "fed"},
    {"constant", "part of the program"},
    {"variable", "lives in the store"},
    {"parameter", "replaced when its call is inlined"},
    {"call", "inlined"},
    {"transfer", "a copy of the plan"},
    {"no_op", "only orders other nodes"},
    {"group", "only orders other nodes"},
};

static bool is_exempt(const char *op)
{
    for (size_t i = 0; i < sizeof exempt / sizeof exempt[0]; i++)
        if (strcmp(exempt[i].op, op) == 0)
            return true;
    return false;
}

static uint32_t kernel_dtypes(const tc_op *op)
{
    for (int i = 0; i < op->n_inputs; i++)
        if (op->inputs[i].type == 'T')
            return op->inputs[i].dtypes;
    for (int i = 0; i < op->n_outputs; i++)
        if (op->outputs[i].type == 'T')
            return op->outputs[i].dtypes;
    return TC_DTYPE_BIT(TC_DTYPE_INVALID);
}

/* Operators that need no kernel of a device. */
static const char *const fallbacks[] = {
#define TC_CUDA_FALLBACK(op, reason) #op,
#include "kernels/cuda/fallbacks.def"
#undef TC_CUDA_FALLBACK
};

static void check_device_kernels(driver *d, const tc_op *op)
{
    bool falls_back = false;
    for (size_t i = 0; i < sizeof fallbacks / sizeof fallbacks[0]; i++)
        falls_back = falls_back || strcmp(fallbacks[i], op->name) == 0;
    for (int dtype = 0; dtype < TC_DTYPE_COUNT; dtype++) {
        bool found = test_device_find_kernel(d->device, op->name, (tc_dtype)dtype) != NULL;
        if (found == falls_back && kernel_dtypes(op) & TC_DTYPE_BIT(dtype))
            driver_fail(d, "%s has %s kernel for %s on %s, but is%s on the list of fallbacks",
                        op->name, found ? "a" : "no", tc_dtype_name((tc_dtype)dtype),
                        test_device_name(d->device), falls_back ? "" : " not");
    }
}

static void check_kernels(driver *d, const tc_op *op)
{
    if (d->device) {
        check_device_kernels(d, op);
        return;
    }
    for (int dtype = 0; dtype < TC_DTYPE_COUNT; dtype++)
        if (kernel_dtypes(op) & TC_DTYPE_BIT(dtype) &&
            !tc_registry_find_kernel(NULL, op->name, (tc_dtype)dtype, TC_DEVICE_CPU, d->isa))
            driver_fail(d, "%s allows %s, but has no kernel for it", op->name,
                        tc_dtype_name((tc_dtype)dtype));
}

static const op_case *find_case(const char *op, const op_case *const *cases, size_t n_cases)
{
    for (size_t i = 0; i < n_cases; i++)
        if (strcmp(cases[i]->op, op) == 0)
            return cases[i];
    return NULL;
}

void driver_registry(driver *d, const op_case *const *cases, size_t n_cases)
{
    int32_t count = tc_registry_op_count(NULL);
    int before = d->failures;
    for (int32_t i = 0; i < count; i++) {
        const tc_op *op = tc_registry_op(NULL, i);
        if (tc_op_check(op) != TC_OK)
            driver_fail(d, "%s", tc_error_message());
        if (tc_registry_find_op(NULL, op->name) != op)
            driver_fail(d, "there are two operators called %s", op->name);
        if (is_exempt(op->name))
            continue;
        check_kernels(d, op);
        const op_case *found = find_case(op->name, cases, n_cases);
        if (!found)
            driver_fail(d, "%s has no case", op->name);
        if (!op->grad)
            driver_fail(d, "%s has neither a gradient nor TC_GRAD_NONE", op->name);
        else if (op->grad != TC_GRAD_NONE && found && !found->gradients)
            driver_fail(d, "%s has a gradient that its case does not check", op->name);
    }
    for (int32_t i = 0; i < tc_registry_kernel_count(NULL); i++) {
        const tc_kernel *kernel = tc_registry_kernel(NULL, i);
        if (!tc_registry_find_op(NULL, kernel->op))
            driver_fail(d, "kernel %s is for the operator %s, which does not exist", kernel->symbol,
                        kernel->op);
    }
    printf("%s registry: %d operators, %d kernels\n", d->failures == before ? "ok  " : "FAIL",
           count, tc_registry_kernel_count(NULL));
}
