/* What attention does once for all instruction sets: shapes, blocks, scratch, the causal mask. */
#include "kernels/cpu/attention.h"

#include <string.h>

#include "base/alloc.h"
#include "core/attention.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "kernels/cpu/kernel.h"

enum { Q, K, V, MASK };

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Steps of the mask over the dimensions of the scores; 0 where it is broadcast. */
static void describe_mask(const tc_value_info *mask, const tc_shape *q, tc_attention *p)
{
    int64_t steps[TC_MAX_RANK] = {0}, step = 1;
    p->mask_dtype = mask->dtype;
    for (int32_t d = mask->shape.rank; d-- > 0;) {
        int64_t size = mask->shape.dims[d].size;
        steps[q->rank - mask->shape.rank + d] = size == 1 ? 0 : step;
        step *= size > 0 ? size : 1; /* an empty mask is never read */
    }
    for (int32_t d = 0; d < p->mask_rank; d++)
        p->mask_steps[d] = steps[d];
    p->mask_head = steps[q->rank - 3];
    p->mask_q = steps[q->rank - 2];
    p->mask_k = steps[q->rank - 1];
    p->mask_shared = p->mask_q == 0 && (p->mask_head == 0 || p->group == 1);
}

/* Number of queries of all heads, whatever their last dimension. */
static int64_t queries_of(const tc_shape *q)
{
    tc_shape shape = *q;
    shape.rank--;
    return tc_shape_size(&shape);
}

static void describe(const tc_prepare *prepare, tc_attention *p)
{
    const tc_shape *q = &prepare->inputs[Q].shape, *k = &prepare->inputs[K].shape;
    int32_t count, last = q->rank - 1;
    const double *scale = tc_attrs_floats(prepare->attrs, "scale", &count);
    p->dtype = prepare->inputs[Q].dtype;
    p->narrow = p->dtype == TC_F16 || p->dtype == TC_BF16;
    p->causal = tc_attrs_bool(prepare->attrs, "causal");
    p->n_q = q->dims[last - 1].size;
    p->n_k = k->dims[last - 1].size;
    p->depth = q->dims[last].size;
    p->depth_v = prepare->inputs[V].shape.dims[last].size;
    p->scale = count > 0 ? scale[0] : tc_attention_scale(p->depth);
    p->heads_kv = k->dims[last - 2].size;
    p->group = p->heads_kv ? q->dims[last - 2].size / p->heads_kv : 0;
    p->mask_rank = last - 2;
    for (int32_t d = 0; d < p->mask_rank; d++)
        p->mask_dims[d] = q->dims[d].size;
    /* Of an empty result the other sizes may be any, and their products overflow. */
    if (queries_of(q) > 0) {
        p->rows = p->group * p->n_q;
        p->items = p->heads_kv;
        for (int32_t d = 0; d < p->mask_rank; d++)
            p->items *= p->mask_dims[d];
    }
    p->row_blocks = ceil_div(p->rows, TC_ATTENTION_LANES);
    p->key_blocks = ceil_div(p->n_k, TC_ATTENTION_LANES);
    if (prepare->inputs[MASK].dtype != TC_DTYPE_INVALID)
        describe_mask(&prepare->inputs[MASK], q, p);
}

/* Scratch under construction: false for ever once a size did not fit. */
typedef struct layout {
    tc_attention *p;
    bool fits;
} layout;

static void add_part(layout *l, tc_attention_part part, int64_t rows, int64_t columns)
{
    size_t size;
    l->p->part[part] = l->p->scratch;
    l->fits = l->fits && tc_mul_size((size_t)rows, (size_t)columns, &size) &&
              tc_mul_size(size, l->p->dtype == TC_F64 ? sizeof(double) : sizeof(float), &size) &&
              size < SIZE_MAX / 2 &&
              tc_add_size(l->p->scratch, tc_align_up(size, 64), &l->p->scratch);
}

static tc_status finish(tc_prepare *prepare, layout *l)
{
    size_t all;
    if (l->fits && tc_mul_size(l->p->scratch, (size_t)prepare->threads, &all) &&
        tc_add_size(all, l->p->shared, &prepare->workspace_bytes))
        return TC_OK;
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                          "keys of %lld and values of %lld numbers are too long",
                          (long long)l->p->depth, (long long)l->p->depth_v);
}

tc_status tc_attention_prepare(tc_prepare *prepare)
{
    tc_attention *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    describe(prepare, p);
    if (p->rows == 0)
        return TC_OK;
    p->few = p->rows <= TC_ATTENTION_FEW;
    layout l = {p, true};
    int64_t rows = p->few ? p->rows : TC_ATTENTION_LANES;
    int64_t keys = p->few ? TC_ATTENTION_KEYS : TC_ATTENTION_LINES;
    if (!p->few)
        add_part(&l, TC_ATTENTION_PANEL_1, TC_ATTENTION_LANES, p->depth);
    add_part(&l, TC_ATTENTION_SCORES, rows, keys);
    add_part(&l, TC_ATTENTION_STATISTICS, 4, TC_ATTENTION_LANES);
    if (p->mask_dtype) {
        add_part(&l, TC_ATTENTION_BIAS, rows, keys);
        add_part(&l, TC_ATTENTION_BIAS_TURNED, rows, keys);
    }
    if (p->narrow) {
        add_part(&l, TC_ATTENTION_PANEL_2, rows, p->depth); /* q of few rows */
        add_part(&l, TC_ATTENTION_LINES_1, keys, p->depth);
        add_part(&l, TC_ATTENTION_LINES_2, keys, p->depth_v);
        add_part(&l, TC_ATTENTION_SUM_1, rows, p->depth_v);
    }
    return finish(prepare, &l);
}

tc_status tc_attention_grad_prepare(tc_prepare *prepare)
{
    tc_attention *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    describe(prepare, p);
    if (p->rows == 0 || p->n_k == 0) {
        for (int32_t i = 0; i < 3; i++)
            p->zeros[i] =
                (size_t)tc_shape_size(&prepare->outputs[i].shape) * tc_dtype_size(p->dtype);
        return TC_OK;
    }
    /* Both ways add the same numbers in the same order. The whole one computes the scores once
     * instead of twice, but has only as many jobs as items. */
    p->whole = !p->narrow && p->items >= prepare->threads;
    const int64_t lanes = TC_ATTENTION_LANES, lines = TC_ATTENTION_LINES;
    layout l = {p, true};
    add_part(&l, TC_ATTENTION_PANEL_1, lanes, p->depth);
    add_part(&l, TC_ATTENTION_PANEL_2, lanes, p->depth_v);
    add_part(&l, TC_ATTENTION_SCORES, lines, lanes);
    add_part(&l, TC_ATTENTION_DSCORES, lines, lanes);
    if (p->mask_dtype) {
        add_part(&l, TC_ATTENTION_BIAS, lines, lanes);
        add_part(&l, TC_ATTENTION_BIAS_TURNED, lines, lanes);
    }
    if (p->narrow) {
        add_part(&l, TC_ATTENTION_LINES_1, lines, p->depth);
        add_part(&l, TC_ATTENTION_LINES_2, lines, p->depth_v);
        add_part(&l, TC_ATTENTION_SUM_1, lanes, p->depth);
        add_part(&l, TC_ATTENTION_SUM_2, lanes, p->depth_v);
    }
    /* Two numbers per query for everyone. */
    size_t size = p->dtype == TC_F64 ? sizeof(double) : sizeof(float);
    l.fits = l.fits && tc_mul_size((size_t)(p->items * p->rows), 2 * size, &p->shared);
    p->shared = tc_align_up(p->shared, 64);
    return finish(prepare, &l);
}

int64_t tc_attention_mask_start(const tc_attention *p, int64_t item)
{
    int64_t start = item % p->heads_kv * p->group * p->mask_head;
    item /= p->heads_kv;
    for (int32_t d = p->mask_rank; d-- > 0;) {
        start += item % p->mask_dims[d] * p->mask_steps[d];
        item /= p->mask_dims[d];
    }
    return start;
}

typedef struct causal_params {
    int64_t n_q, n_k;
} causal_params;

static tc_status prepare_causal(tc_prepare *prepare)
{
    causal_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    *p = (causal_params){prepare->outputs[0].shape.dims[0].size,
                         prepare->outputs[0].shape.dims[1].size};
    return TC_OK;
}

typedef struct causal_job {
    causal_params p;
    uint8_t *allowed;
} causal_job;

static void causal_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const causal_job *j = argument;
    for (int64_t i = begin; i < end; i++) {
        int64_t seen = i + j->p.n_k - j->p.n_q + 1;
        seen = seen < 0 ? 0 : seen > j->p.n_k ? j->p.n_k : seen;
        memset(j->allowed + i * j->p.n_k, 1, (size_t)seen);
        memset(j->allowed + i * j->p.n_k + seen, 0, (size_t)(j->p.n_k - seen));
    }
}

static tc_status run_causal(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    (void)inputs;
    causal_job j = {*(const causal_params *)params, outputs[0]};
    if (j.p.n_k > 0)
        tc_parallel_for(context->pool, j.p.n_q, 65536 / j.p.n_k + 1, causal_rows, &j);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(causal_mask, any, .prepare = prepare_causal, .run = run_causal),
};
TC_KERNEL_TABLE(causal_mask, kernels);
