/* Zeros and ones of the shape of another value. */
#include <string.h>

#include "core/dtype.h"
#include "core/shape.h"
#include "kernels/cpu/kernel.h"

#define GRAIN_BYTES ((int64_t)65536)

typedef struct like_params {
    int64_t bytes;
    uint64_t pattern; /* 8 bytes of elements */
} like_params;

static tc_status prepare(tc_prepare *p, double value)
{
    like_params *params = tc_prepare_params(p, sizeof *params);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = p->outputs[0].dtype;
    size_t size = tc_dtype_size(dtype);
    params->bytes = tc_shape_size(&p->outputs[0].shape) * (int64_t)size;
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, value);
    for (size_t at = 0; at < sizeof params->pattern; at += size)
        memcpy((char *)&params->pattern + at, &element, size);
    return TC_OK;
}

static tc_status prepare_zeros(tc_prepare *p)
{
    return prepare(p, 0);
}

static tc_status prepare_ones(tc_prepare *p)
{
    return prepare(p, 1);
}

typedef struct job {
    char *output;
    uint64_t pattern;
} job;

static void fill(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const job *j = argument;
    uint64_t *whole = (uint64_t *)(void *)(j->output + begin); /* blocks begin at whole patterns */
    int64_t count = (end - begin) / 8;
    for (int64_t i = 0; i < count; i++)
        memcpy(&whole[i], &j->pattern, 8);
    memcpy(&whole[count], &j->pattern, (size_t)(end - begin) % 8);
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    (void)inputs;
    const like_params *p = params;
    job j = {outputs[0], p->pattern};
    tc_parallel_for(context->pool, p->bytes, GRAIN_BYTES, fill, &j);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(zeros_like, any, .prepare = prepare_zeros, .run = run),
    TC_KERNEL(ones_like, any, .prepare = prepare_ones, .run = run),
};

TC_KERNEL_TABLE(like, kernels);
