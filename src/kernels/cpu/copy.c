#include "kernels/cpu/copy.h"

#include <string.h>

#include "base/threads.h"
#include "core/dtype.h"

/* Bytes of one parallel block. */
#define GRAIN (256 * 1024)

tc_status tc_copy_prepare(tc_prepare *prepare)
{
    int64_t *bytes = tc_prepare_params(prepare, sizeof *bytes);
    if (!bytes)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *output = &prepare->outputs[0];
    *bytes = tc_shape_size(&output->shape) * (int64_t)tc_dtype_size(output->dtype);
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

tc_status tc_copy_run(const tc_kernel_context *context, int64_t bytes, const void *from, void *to)
{
    copy_job job = {from, to};
    if (from != to)
        tc_parallel_for(context->pool, bytes, GRAIN, copy_block, &job);
    return TC_OK;
}
