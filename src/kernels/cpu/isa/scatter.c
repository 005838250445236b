/*
 * Adding slices at indices: scatter_add and the gradient of gather.
 *
 * The positions are sorted by their index once (counting sort, which keeps their order). After that
 * every slice of the result is one task that adds up its own updates in order, so the sums do not
 * depend on the threads, and 16-bit floats are rounded once. Slices of a few elements are not worth
 * sorting: one task per outer place adds them as they come, which is the same order. 16-bit floats
 * are always sorted.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "core/dtype.h"
#include "kernels/cpu/indices.h"
#include "kernels/cpu/isa/convert16.h"

/* Elements that are added up at a time: of one slice, in the first cache. */
#define CHUNK       1024
#define BLOCK_BYTES (64 * 1024)
/* Slices of fewer elements are narrow. */
#define NARROW 16

typedef struct scatter_params {
    index_params index;
    bool sorted;
} scatter_params;

static tc_status prepare_scatter(tc_prepare *prepare)
{
    scatter_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = prepare->outputs[0].dtype;
    index_params_set(&p->index, prepare->attrs, &prepare->outputs[0].shape, &prepare->inputs[1]);
    p->sorted = p->index.inner >= NARROW || dtype == TC_F16 || dtype == TC_BF16;
    size_t words;
    if (!p->sorted)
        return TC_OK;
    if (!tc_add_size((size_t)p->index.size + 1, (size_t)p->index.count, &words) ||
        !tc_mul_size(words, sizeof(int64_t), &prepare->workspace_bytes))
        return tc_fail_memory(SIZE_MAX, "sorting indices");
    return TC_OK;
}

typedef struct scatter_job {
    const index_params *params;
    const void *x;       /* what is added to, NULL: zeros */
    const void *updates; /* [outer, count, inner] */
    const void *indices;
    const int64_t *start; /* of the positions of each index, in `order` */
    const int64_t *order;
    void *y; /* [outer, size, inner] */
    int64_t chunks;
} scatter_job;

static tc_status check_indices(const index_params *p, const void *indices)
{
    for (int64_t i = 0; i < p->count; i++)
        if (index_read(p, indices, i) < 0)
            return index_fail(p, indices, i);
    return TC_OK;
}

/* Sorts the positions by index into the workspace. start has size + 1 entries. */
static void sort_positions(const index_params *p, const void *indices, int64_t *start,
                           int64_t *order)
{
    memset(start, 0, ((size_t)p->size + 1) * sizeof *start);
    for (int64_t i = 0; i < p->count; i++)
        start[index_read(p, indices, i) + 1]++;
    for (int64_t r = 0; r < p->size; r++)
        start[r + 1] += start[r];
    /* Placing moves each start to the next one's, which the shift below undoes. */
    for (int64_t i = 0; i < p->count; i++)
        order[start[index_read(p, indices, i)]++] = i;
    memmove(start + 1, start, (size_t)p->size * sizeof *start);
    start[0] = 0;
}

/* Tasks are (outer, slice, chunk of inner). */
#define SCATTER(tag, type, add)                                                              \
    static void scatter_##tag(void *argument, int64_t begin, int64_t end, int worker)        \
    {                                                                                        \
        (void)worker;                                                                        \
        const scatter_job *job = argument;                                                   \
        const index_params *p = job->params;                                                 \
        int64_t chunk = begin % job->chunks, slice = begin / job->chunks % p->size;          \
        int64_t outer = begin / job->chunks / p->size;                                       \
        for (int64_t task = begin; task < end; task++) {                                     \
            int64_t at = (outer * p->size + slice) * p->inner + chunk * CHUNK;               \
            int64_t n = p->inner - chunk * CHUNK < CHUNK ? p->inner - chunk * CHUNK : CHUNK; \
            type *y = (type *)job->y + at;                                                   \
            const type *x = job->x ? (const type *)job->x + at : NULL;                       \
            const type *updates =                                                            \
                (const type *)job->updates + outer * p->count * p->inner + chunk * CHUNK;    \
            const int64_t *order = job->order + job->start[slice];                           \
            int64_t count = job->start[slice + 1] - job->start[slice];                       \
            if (count)                                                                       \
                add(y, x, updates, p->inner, order, count, n);                               \
            else if (!x)                                                                     \
                memset(y, 0, (size_t)n * sizeof *y);                                         \
            else if (x != y)                                                                 \
                memcpy(y, x, (size_t)n * sizeof *y);                                         \
            if (++chunk == job->chunks) {                                                    \
                chunk = 0;                                                                   \
                if (++slice == p->size) {                                                    \
                    slice = 0;                                                               \
                    outer++;                                                                 \
                }                                                                            \
            }                                                                                \
        }                                                                                    \
    }

/* y = x + the updates at `order`, n elements; x may be y, or NULL for zeros. */
#define SCATTER_NATIVE(tag, type)                                                          \
    static void add_##tag(type *y, const type *x, const type *updates, int64_t inner,      \
                          const int64_t *order, int64_t count, int64_t n)                  \
    {                                                                                      \
        int64_t k = 0;                                                                     \
        if (!x)                                                                            \
            memcpy(y, updates + order[k++] * inner, (size_t)n * sizeof *y);                \
        else if (x != y)                                                                   \
            memcpy(y, x, (size_t)n * sizeof *y);                                           \
        for (; k < count; k++) {                                                           \
            const type *update = updates + order[k] * inner;                               \
            for (int64_t i = 0; i < n; i++)                                                \
                y[i] = (type)(y[i] + update[i]);                                           \
        }                                                                                  \
    }                                                                                      \
    SCATTER(tag, type, add_##tag)                                                          \
    static void narrow_##tag(void *argument, int64_t begin, int64_t end, int worker)       \
    {                                                                                      \
        (void)worker;                                                                      \
        const scatter_job *job = argument;                                                 \
        const index_params *p = job->params;                                               \
        int64_t n = p->size * p->inner;                                                    \
        for (int64_t outer = begin; outer < end; outer++) {                                \
            type *y = (type *)job->y + outer * n;                                          \
            const type *update = (const type *)job->updates + outer * p->count * p->inner; \
            if (!job->x)                                                                   \
                memset(y, 0, (size_t)n * sizeof *y);                                       \
            else if (job->x != job->y)                                                     \
                memcpy(y, (const type *)job->x + outer * n, (size_t)n * sizeof *y);        \
            for (int64_t k = 0; k < p->count; k++, update += p->inner) {                   \
                type *to = y + index_read(p, job->indices, k) * p->inner;                  \
                for (int64_t i = 0; i < p->inner; i++)                                     \
                    to[i] = (type)(to[i] + update[i]);                                     \
            }                                                                              \
        }                                                                                  \
    }

#define SCATTER_16(tag)                                                                           \
    static void add_##tag(uint16_t *y, const uint16_t *x, const uint16_t *updates, int64_t inner, \
                          const int64_t *order, int64_t count, int64_t n)                         \
    {                                                                                             \
        float sum[CHUNK], part[CHUNK];                                                            \
        if (x)                                                                                    \
            convert_from_##tag(x, sum, n);                                                        \
        else                                                                                      \
            memset(sum, 0, (size_t)n * sizeof *sum);                                              \
        for (int64_t k = 0; k < count; k++) {                                                     \
            convert_from_##tag(updates + order[k] * inner, part, n);                              \
            for (int64_t i = 0; i < n; i++)                                                       \
                sum[i] += part[i];                                                                \
        }                                                                                         \
        convert_to_##tag(sum, y, n);                                                              \
    }                                                                                             \
    SCATTER(tag, uint16_t, add_##tag)                                                             \
    static const tc_loop_function narrow_##tag = NULL;

SCATTER_NATIVE(f32, float)
SCATTER_NATIVE(f64, double)
SCATTER_16(f16)
SCATTER_16(bf16)
/* Unsigned, which wraps around: for signed integers too. */
SCATTER_NATIVE(u8, uint8_t)
SCATTER_NATIVE(u16, uint16_t)
SCATTER_NATIVE(u32, uint32_t)
SCATTER_NATIVE(u64, uint64_t)

static tc_status run_scatter(const scatter_params *params, const void *x, const void *indices,
                             const void *updates, void *y, const tc_kernel_context *context,
                             tc_loop_function sorted, tc_loop_function narrow, int64_t element)
{
    const index_params *p = &params->index;
    scatter_job job = {.params = p, .x = x, .updates = updates, .indices = indices, .y = y};
    TC_TRY(check_indices(p, indices));
    if (!params->sorted) {
        tc_parallel_for(context->pool, p->outer, 1, narrow, &job);
        return TC_OK;
    }
    int64_t *start = context->workspace, *order = start + p->size + 1;
    sort_positions(p, indices, start, order);
    job.start = start;
    job.order = order;
    job.chunks = (p->inner + CHUNK - 1) / CHUNK;
    int64_t bytes = element * (p->inner < CHUNK ? p->inner : CHUNK);
    int64_t grain = bytes ? BLOCK_BYTES / bytes : 1;
    tc_parallel_for(context->pool, p->outer * p->size * job.chunks, grain, sorted, &job);
    return TC_OK;
}

/* The two operators for one dtype, whose elements are added by those of `tag`. */
#define RUN(dtype, tag, element)                                                                   \
    static tc_status run_scatter_add_##dtype(const void *params, const void *const *inputs,        \
                                             void *const *outputs,                                 \
                                             const tc_kernel_context *context)                     \
    {                                                                                              \
        return run_scatter(params, inputs[0], inputs[1], inputs[2], outputs[0], context,           \
                           scatter_##tag, narrow_##tag, element);                                  \
    }                                                                                              \
    static tc_status run_gather_grad_##dtype(const void *params, const void *const *inputs,        \
                                             void *const *outputs,                                 \
                                             const tc_kernel_context *context)                     \
    {                                                                                              \
        return run_scatter(params, NULL, inputs[1], inputs[0], outputs[0], context, scatter_##tag, \
                           narrow_##tag, element);                                                 \
    }

#define EACH_DTYPE(do_)                                                                    \
    do_(f32, f32, 4) do_(f64, f64, 8) do_(f16, f16, 2) do_(bf16, bf16, 2) do_(i8, u8, 1)   \
        do_(i16, u16, 2) do_(i32, u32, 4) do_(i64, u64, 8) do_(u8, u8, 1) do_(u16, u16, 2) \
            do_(u32, u32, 4) do_(u64, u64, 8)

EACH_DTYPE(RUN)

#define KERNELS(dtype, tag, element)                                                           \
    TC_KERNEL(scatter_add, dtype, .prepare = prepare_scatter, .run = run_scatter_add_##dtype), \
        TC_KERNEL(gather_grad, dtype, .prepare = prepare_scatter, .run = run_gather_grad_##dtype),

static const tc_kernel kernels[] = {EACH_DTYPE(KERNELS)};

TC_KERNEL_TABLE(scatter, kernels);
