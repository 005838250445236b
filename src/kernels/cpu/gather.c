/* Slices at indices, and unit vectors of indices. */
#include <stdatomic.h>
#include <string.h>

#include "core/dtype.h"
#include "kernels/cpu/indices.h"

/* Bytes of one parallel block. */
#define BLOCK_BYTES (64 * 1024)

static int64_t grain_of(int64_t bytes_each)
{
    int64_t grain = BLOCK_BYTES / (bytes_each > 0 ? bytes_each : 1);
    return grain > 0 ? grain : 1;
}

typedef struct gather_params {
    index_params index;
    int64_t run; /* bytes of one slice */
} gather_params;

static tc_status prepare_gather(tc_prepare *prepare)
{
    gather_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    index_params_set(&p->index, prepare->attrs, &prepare->inputs[0].shape, &prepare->inputs[1]);
    /* Where there is nothing to copy the indices are checked all the same. */
    p->run = p->index.outer ? p->index.inner * (int64_t)tc_dtype_size(prepare->inputs[0].dtype) : 0;
    return TC_OK;
}

typedef struct gather_job {
    const gather_params *params;
    const char *x;
    const void *indices;
    char *y;
    _Atomic int64_t bad; /* first position out of range */
} gather_job;

static void note_bad(gather_job *job, int64_t position)
{
    int64_t seen = atomic_load(&job->bad);
    while (position < seen && !atomic_compare_exchange_weak(&job->bad, &seen, position))
        continue;
}

static inline __attribute__((always_inline)) void gather_runs(gather_job *job, const char *x,
                                                              int64_t begin, int64_t end, char *y,
                                                              size_t run)
{
    const index_params *p = &job->params->index;
    for (int64_t i = begin; i < end; i++, y += run) {
        int64_t place = index_read(p, job->indices, i);
        if (place < 0)
            note_bad(job, i);
        else
            memcpy(y, x + (size_t)place * run, run);
    }
}

static void gather_block(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    gather_job *job = argument;
    const gather_params *p = job->params;
    while (begin < end) { /* one outer place at a time */
        int64_t outer = begin / p->index.count, first = begin % p->index.count;
        int64_t count = p->index.count - first;
        if (count > end - begin)
            count = end - begin;
        const char *x = job->x + outer * p->index.size * p->run;
        char *y = job->y + begin * p->run;
        switch (p->run) { /* sizes known to the compiler become single moves */
        case 1: gather_runs(job, x, first, first + count, y, 1); break;
        case 2: gather_runs(job, x, first, first + count, y, 2); break;
        case 4: gather_runs(job, x, first, first + count, y, 4); break;
        case 8: gather_runs(job, x, first, first + count, y, 8); break;
        default: gather_runs(job, x, first, first + count, y, (size_t)p->run);
        }
        begin += count;
    }
}

static tc_status run_gather(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const gather_params *p = params;
    gather_job job = {.params = p, .x = inputs[0], .indices = inputs[1], .y = outputs[0]};
    int64_t outer = p->index.outer > 0 ? p->index.outer : 1;
    atomic_init(&job.bad, INT64_MAX);
    tc_parallel_for(context->pool, p->index.count * outer, grain_of(p->run), gather_block, &job);
    int64_t bad = atomic_load(&job.bad);
    return bad == INT64_MAX ? TC_OK : index_fail(&p->index, inputs[1], bad);
}

/* The result is [outer, depth, inner], the indices are [outer, inner]. */
typedef struct one_hot_params {
    int64_t outer, depth, inner;
    uint64_t on, off; /* one element each */
    int32_t element;
    bool wide;
} one_hot_params;

static tc_status prepare_one_hot(tc_prepare *prepare)
{
    one_hot_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *y = &prepare->outputs[0].shape;
    tc_dtype dtype = prepare->outputs[0].dtype;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), y->rank);
    p->outer = p->inner = 1;
    for (int i = 0; i < y->rank; i++) {
        if (i < axis)
            p->outer *= y->dims[i].size;
        else if (i > axis)
            p->inner *= y->dims[i].size;
    }
    p->depth = y->dims[axis].size;
    p->element = (int32_t)tc_dtype_size(dtype);
    p->wide = prepare->inputs[0].dtype == TC_I64;
    tc_dtype_store(dtype, &p->on, tc_attrs_float(prepare->attrs, "on"));
    tc_dtype_store(dtype, &p->off, tc_attrs_float(prepare->attrs, "off"));
    return TC_OK;
}

typedef struct one_hot_job {
    const one_hot_params *params;
    const void *indices;
    void *y;
} one_hot_job;

/* Rows (outer, depth) of `inner` elements; with inner 1 those of one outer place are a run. */
#define ONE_HOT(type)                                                                       \
    static void one_hot_##type(void *argument, int64_t begin, int64_t end, int worker)      \
    {                                                                                       \
        (void)worker;                                                                       \
        const one_hot_job *job = argument;                                                  \
        const one_hot_params *p = job->params;                                              \
        type on, off, *y = (type *)job->y + begin * p->inner;                               \
        memcpy(&on, &p->on, sizeof on);                                                     \
        memcpy(&off, &p->off, sizeof off);                                                  \
        for (int64_t row = begin; row < end; row++) {                                       \
            int64_t outer = row / p->depth, place = row % p->depth;                         \
            for (int64_t i = 0; i < p->inner; i++) {                                        \
                int64_t index = index_value(p->wide, job->indices, outer * p->inner + i);   \
                index += index < 0 ? p->depth : 0;                                          \
                *y++ = index == place ? on : off;                                           \
            }                                                                               \
        }                                                                                   \
    }                                                                                       \
    static void one_hot_last_##type(void *argument, int64_t begin, int64_t end, int worker) \
    {                                                                                       \
        (void)worker;                                                                       \
        const one_hot_job *job = argument;                                                  \
        const one_hot_params *p = job->params;                                              \
        type on, off, *y = (type *)job->y + begin * p->depth;                               \
        memcpy(&on, &p->on, sizeof on);                                                     \
        memcpy(&off, &p->off, sizeof off);                                                  \
        for (int64_t row = begin; row < end; row++, y += p->depth) {                        \
            int64_t index = index_value(p->wide, job->indices, row);                        \
            index += index < 0 ? p->depth : 0;                                              \
            for (int64_t i = 0; i < p->depth; i++)                                          \
                y[i] = off;                                                                 \
            if (index >= 0 && index < p->depth)                                             \
                y[index] = on;                                                              \
        }                                                                                   \
    }

ONE_HOT(uint8_t)
ONE_HOT(uint16_t)
ONE_HOT(uint32_t)
ONE_HOT(uint64_t)

static tc_status run_one_hot(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    static const tc_loop_function functions[][2] = {
        {one_hot_uint8_t, one_hot_last_uint8_t},
        {one_hot_uint16_t, one_hot_last_uint16_t},
        {one_hot_uint32_t, one_hot_last_uint32_t},
        {one_hot_uint64_t, one_hot_last_uint64_t},
    };
    const one_hot_params *p = params;
    one_hot_job job = {p, inputs[0], outputs[0]};
    bool last = p->inner == 1;
    int64_t rows = last ? p->outer : p->outer * p->depth;
    tc_parallel_for(context->pool, rows, grain_of((last ? p->depth : p->inner) * p->element),
                    functions[__builtin_ctz((unsigned)p->element)][last], &job);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(gather, any, .prepare = prepare_gather, .run = run_gather),
    TC_KERNEL(one_hot, any, .prepare = prepare_one_hot, .run = run_one_hot),
};

TC_KERNEL_TABLE(gather, kernels);
