/* Operators that keep elements and order, which only copy when the plan could not share memory; and
 * shapes as values. */
#include <string.h>

#include "core/dtype.h"
#include "kernels/cpu/kernel.h"

/* Bytes of one parallel block. */
#define GRAIN (256 * 1024)

static tc_status prepare_view(tc_prepare *prepare)
{
    int64_t *bytes = tc_prepare_params(prepare, sizeof *bytes);
    if (!bytes)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *y = &prepare->outputs[0];
    *bytes = tc_shape_size(&y->shape) * (int64_t)tc_dtype_size(y->dtype);
    return TC_OK;
}

typedef struct copy_job {
    const char *from;
    char *to;
} copy_job;

static void copy_block(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const copy_job *job = argument;
    memcpy(job->to + begin, job->from + begin, (size_t)(end - begin));
}

static tc_status run_view(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    copy_job job = {inputs[0], outputs[0]};
    if (inputs[0] != outputs[0])
        tc_parallel_for(context->pool, *(const int64_t *)params, GRAIN, copy_block, &job);
    return TC_OK;
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
    TC_KERNEL(reshape, any, .prepare = prepare_view, .run = run_view),
    TC_KERNEL(reshape_like, any, .prepare = prepare_view, .run = run_view),
    TC_KERNEL(flatten, any, .prepare = prepare_view, .run = run_view),
    TC_KERNEL(squeeze, any, .prepare = prepare_view, .run = run_view),
    TC_KERNEL(unsqueeze, any, .prepare = prepare_view, .run = run_view),
    TC_KERNEL(shape_of, any, .prepare = prepare_shape_of, .run = run_shape_of),
};

TC_KERNEL_TABLE(view, kernels);
