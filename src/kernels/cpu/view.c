/* Operators that keep elements and order, which only copy when the plan could not share memory; and
 * shapes as values. */
#include <string.h>

#include "kernels/cpu/copy.h"
#include "kernels/cpu/kernel.h"

static tc_status run_view(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    return tc_copy_run(context, *(const int64_t *)params, inputs[0], outputs[0]);
}

typedef struct sizes_params {
    int32_t rank;
    int64_t sizes[TC_MAX_RANK];
} sizes_params;

static tc_status prepare_shape_of(tc_prepare *prepare)
{
    sizes_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    p->rank = x->rank;
    for (int32_t i = 0; i < x->rank; i++)
        p->sizes[i] = x->dims[i].size;
    return TC_OK;
}

static tc_status run_shape_of(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    (void)inputs, (void)context;
    const sizes_params *p = params;
    memcpy(outputs[0], p->sizes, (size_t)p->rank * sizeof *p->sizes);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(reshape, any, .prepare = tc_copy_prepare, .run = run_view),
    TC_KERNEL(reshape_like, any, .prepare = tc_copy_prepare, .run = run_view),
    TC_KERNEL(flatten, any, .prepare = tc_copy_prepare, .run = run_view),
    TC_KERNEL(squeeze, any, .prepare = tc_copy_prepare, .run = run_view),
    TC_KERNEL(unsqueeze, any, .prepare = tc_copy_prepare, .run = run_view),
    TC_KERNEL(shape_of, any, .prepare = prepare_shape_of, .run = run_shape_of),
};

TC_KERNEL_TABLE(view, kernels);
