/* Filling and copying: fill, range, assign and the operators that pass their input on. */
#include <string.h>

#include "core/dtype.h"
#include "kernels/cpu/copy.h"
#include "kernels/cpu/kernel.h"

/* Bytes of one parallel block. */
#define GRAIN (256 * 1024)

/*
 * Copies
 */

static tc_status run_identity(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    return tc_copy_run(context, *(const int64_t *)params, inputs[0], outputs[0]);
}

static tc_status run_assign(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    return tc_copy_run(context, *(const int64_t *)params, inputs[1], outputs[0]);
}

static tc_status run_no_op(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    (void)params, (void)inputs, (void)outputs, (void)context;
    return TC_OK;
}

/*
 * Elements that follow from their index
 */

typedef struct range_params {
    int64_t count;
    double start, step;
    tc_dtype dtype;
    int32_t element;                    /* bytes */
    _Alignas(8) unsigned char value[8]; /* of fill */
} range_params;

typedef struct range_job {
    const range_params *params;
    char *to;
} range_job;

static range_params *prepare_elements(tc_prepare *prepare)
{
    range_params *params = tc_prepare_params(prepare, sizeof *params);
    if (!params)
        return NULL;
    const tc_value_info *output = &prepare->outputs[0];
    params->count = tc_shape_size(&output->shape);
    params->dtype = output->dtype;
    params->element = (int32_t)tc_dtype_size(output->dtype);
    return params;
}

static tc_status prepare_fill(tc_prepare *prepare)
{
    range_params *params = prepare_elements(prepare);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype_store(params->dtype, params->value, tc_attrs_float(prepare->attrs, "value"));
    return TC_OK;
}

static void fill_block(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const range_job *job = argument;
    const range_params *p = job->params;
#define FILL(type)                              \
    do {                                        \
        type value, *to = (type *)job->to;      \
        memcpy(&value, p->value, sizeof value); \
        for (int64_t i = begin; i < end; i++)   \
            to[i] = value;                      \
    } while (0)
    switch (p->element) {
    case 1: FILL(uint8_t); break;
    case 2: FILL(uint16_t); break;
    case 4: FILL(uint32_t); break;
    default: FILL(uint64_t);
    }
#undef FILL
}

static tc_status prepare_range(tc_prepare *prepare)
{
    range_params *params = prepare_elements(prepare);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->start = tc_attrs_float(prepare->attrs, "start");
    params->step = tc_attrs_float(prepare->attrs, "step");
    return TC_OK;
}

static void range_block(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const range_job *job = argument;
    const range_params *p = job->params;
    for (int64_t i = begin; i < end; i++)
        tc_dtype_store(p->dtype, job->to + i * p->element, p->start + (double)i * p->step);
}

static tc_status run_elements(const void *params, void *to, const tc_kernel_context *context,
                              tc_block_function block)
{
    range_job job = {params, to};
    tc_parallel_for(context->pool, job.params->count, GRAIN / 8, block, &job);
    return TC_OK;
}

static tc_status run_fill(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    (void)inputs;
    return run_elements(params, outputs[0], context, fill_block);
}

static tc_status run_range(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    (void)inputs;
    return run_elements(params, outputs[0], context, range_block);
}

static const tc_kernel kernels[] = {
    TC_KERNEL(identity, any, .prepare = tc_copy_prepare, .run = run_identity),
    TC_KERNEL(stop_gradient, any, .prepare = tc_copy_prepare, .run = run_identity),
    TC_KERNEL(assign, any, .prepare = tc_copy_prepare, .run = run_assign),
    TC_KERNEL(no_op, any, .run = run_no_op),
    TC_KERNEL(fill, any, .prepare = prepare_fill, .run = run_fill),
    TC_KERNEL(range, any, .prepare = prepare_range, .run = run_range),
};

TC_KERNEL_TABLE(state, kernels);
