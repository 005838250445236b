/* Padding and its gradient. */
#include <string.h>

#include "core/dtype.h"
#include "core/float16.h"
#include "kernels/cpu/kernel.h"

#define BLOCK_BYTES (64 * 1024)

enum { CONSTANT, REFLECT, EDGE };

/*
 * Dimensions without padding are merged: those at the end into `cell`, a run of elements that moves
 * as a whole, others into the dimension before them. Rows are the last of what is left.
 */
typedef struct pad_params {
    int32_t rank, mode, element;
    int64_t size[TC_MAX_RANK], before[TC_MAX_RANK], padded[TC_MAX_RANK];
    int64_t cell;      /* elements */
    uint64_t constant; /* 8 bytes of elements */
} pad_params;

static tc_status prepare_pad(tc_prepare *prepare, const tc_value_info *inside)
{
    pad_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &inside->shape;
    const int64_t *before = tc_attrs_ints(prepare->attrs, "before", NULL);
    const int64_t *after = tc_attrs_ints(prepare->attrs, "after", NULL);
    const char *mode = tc_attrs_string(prepare->attrs, "mode");
    p->mode = mode[0] == 'r' ? REFLECT : mode[0] == 'e' ? EDGE : CONSTANT;
    p->element = (int32_t)tc_dtype_size(prepare->outputs[0].dtype);
    p->cell = 1;
    bool plain = false; /* the last one was not padded */
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t size = x->dims[i].size, more = before[i] + after[i];
        bool merge = plain && !more;
        plain = !more;
        if (!merge) {
            p->size[p->rank] = p->padded[p->rank] = 1;
            p->rank++;
        }
        int32_t d = p->rank - 1;
        p->before[d] = before[i];
        p->size[d] *= size;
        p->padded[d] = p->size[d] + more;
    }
    if (p->rank && plain)
        p->cell = p->size[--p->rank];
    if (p->rank == 0) { /* nothing is padded: a row of elements */
        p->size[0] = p->padded[0] = p->cell;
        p->cell = p->rank = 1;
    }
    uint64_t element = 0;
    tc_dtype_store(prepare->outputs[0].dtype, &element, tc_attrs_float(prepare->attrs, "value"));
    for (int32_t at = 0; at < 8; at += p->element)
        memcpy((char *)&p->constant + at, &element, (size_t)p->element);
    return TC_OK;
}

/* Where the element at `place` of padded dimension `d` comes from; -1: it is the constant. */
static int64_t source(const pad_params *p, int32_t d, int64_t place)
{
    int64_t i = place - p->before[d], last = p->size[d] - 1;
    if (i >= 0 && i <= last)
        return i;
    if (p->mode == CONSTANT)
        return -1;
    if (p->mode == EDGE)
        return i < 0 ? 0 : last;
    return i < 0 ? -i : 2 * last - i;
}

static int64_t rows_of(const pad_params *p, const int64_t *sizes)
{
    int64_t rows = 1;
    for (int32_t d = 0; d + 1 < p->rank; d++)
        rows *= sizes[d];
    return rows;
}

static int64_t grain_of(int64_t row_bytes)
{
    int64_t grain = BLOCK_BYTES / (row_bytes ? row_bytes : 1);
    return grain ? grain : 1;
}

static void fill(char *to, int64_t bytes, uint64_t pattern)
{
    int64_t at = 0;
    for (; at + 8 <= bytes; at += 8)
        memcpy(to + at, &pattern, 8);
    memcpy(to + at, &pattern, (size_t)(bytes - at));
}

typedef struct pad_job {
    const pad_params *params;
    const char *from;
    char *to;
} pad_job;

static void pad_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const pad_job *job = argument;
    const pad_params *p = job->params;
    int32_t last = p->rank - 1;
    int64_t cell = p->cell * p->element, padded = p->padded[last] * cell;
    int64_t before = p->before[last], inside = p->size[last];
    for (int64_t row = begin; row < end; row++) {
        char *to = job->to + row * padded;
        int64_t from_row = 0, rest = row, stride = 1;
        bool outside = inside == 0;
        for (int32_t d = last; d-- > 0 && !outside;) {
            int64_t i = source(p, d, rest % p->padded[d]);
            rest /= p->padded[d];
            outside = i < 0;
            from_row += i * stride;
            stride *= p->size[d];
        }
        if (outside) {
            fill(to, padded, p->constant);
            continue;
        }
        const char *from = job->from + from_row * inside * cell;
        memcpy(to + before * cell, from, (size_t)(inside * cell));
        if (p->mode == CONSTANT) {
            fill(to, before * cell, p->constant);
            fill(to + (before + inside) * cell, padded - (before + inside) * cell, p->constant);
            continue;
        }
        for (int64_t i = 0; i < p->padded[last]; i++) {
            if (i == before)
                i += inside;
            if (i < p->padded[last])
                memcpy(to + i * cell, from + source(p, last, i) * cell, (size_t)cell);
        }
    }
}

static tc_status prepare_pad_forward(tc_prepare *prepare)
{
    return prepare_pad(prepare, &prepare->inputs[0]);
}

static tc_status run_pad(const void *params, const void *const *inputs, void *const *outputs,
                         const tc_kernel_context *context)
{
    const pad_params *p = params;
    pad_job job = {p, inputs[0], outputs[0]};
    int64_t row_bytes = p->padded[p->rank - 1] * p->cell * p->element;
    tc_parallel_for(context->pool, rows_of(p, p->padded), grain_of(row_bytes), pad_rows, &job);
    return TC_OK;
}

/*
 * Gradient: each row of the result adds up the padded rows that are copies of it.
 */

/* Elements that are added up at a time. */
#define CHUNK 512

/* The copies of index i of dimension d: places first, first + step, ... */
typedef struct copies {
    int64_t place[3]; /* the first three */
    int64_t count;    /* beyond three they go on by 1 */
} copies;

static copies copies_of(const pad_params *p, int32_t d, int64_t i)
{
    int64_t before = p->before[d], last = p->size[d] - 1;
    copies c = {.count = 0};
    if (p->mode == EDGE && (i == 0 || i == last)) {
        int64_t low = i == 0 ? 0 : before + i;
        int64_t high = i == last ? p->padded[d] - 1 : before + i;
        c.count = high - low + 1;
        for (int k = 0; k < 3; k++)
            c.place[k] = low + k;
        return c;
    }
    int64_t places[3] = {before - i, before + i, before + 2 * last - i};
    for (int k = 0; k < 3; k++) {
        bool mirrored = k == 0 ? i > 0 : i < last;
        if (k == 1 ||
            (p->mode == REFLECT && mirrored && places[k] >= 0 && places[k] < p->padded[d]))
            c.place[c.count++] = places[k];
    }
    return c;
}

static int64_t copy_place(const copies *c, int64_t k)
{
    return k < 3 ? c->place[k] : c->place[0] + k;
}

#define LOAD(x) (x)
#define PAD_GRAD(tag, type, sum_type, load, store)                                                \
    /* Adds the elements [e0, e1) of the result that padded row `dy` has copies of. */            \
    static void add_row_##tag(const pad_params *p, const type *dy, int64_t e0, int64_t e1,        \
                              sum_type *sum)                                                      \
    {                                                                                             \
        int32_t last = p->rank - 1;                                                               \
        int64_t cell = p->cell, before = p->before[last], inside = p->size[last];                 \
        for (int64_t e = e0; e < e1; e++)                                                         \
            sum[e - e0] += load(dy[before * cell + e]);                                           \
        for (int64_t place = 0; p->mode != CONSTANT && place < p->padded[last]; place++) {        \
            if (place == before)                                                                  \
                place += inside;                                                                  \
            if (place >= p->padded[last])                                                         \
                break;                                                                            \
            int64_t to = source(p, last, place) * cell, from = place * cell - to;                 \
            int64_t low = to > e0 ? to : e0, high = to + cell < e1 ? to + cell : e1;              \
            for (int64_t e = low; e < high; e++)                                                  \
                sum[e - e0] += load(dy[from + e]);                                                \
        }                                                                                         \
    }                                                                                             \
    static void grad_rows_##tag(void *argument, int64_t begin, int64_t end, int worker)           \
    {                                                                                             \
        (void)worker;                                                                             \
        const pad_job *job = argument;                                                            \
        const pad_params *p = job->params;                                                        \
        int32_t last = p->rank - 1;                                                               \
        int64_t inside = p->size[last] * p->cell, padded = p->padded[last] * p->cell;             \
        sum_type sum[CHUNK];                                                                      \
        for (int64_t row = begin; row < end; row++) {                                             \
            copies lists[TC_MAX_RANK];                                                            \
            int64_t rest = row, total = 1;                                                        \
            for (int32_t d = last; d-- > 0;) {                                                    \
                lists[d] = copies_of(p, d, rest % p->size[d]);                                    \
                rest /= p->size[d];                                                               \
                total *= lists[d].count;                                                          \
            }                                                                                     \
            type *to = (type *)job->to + row * inside;                                            \
            for (int64_t e0 = 0; e0 < inside; e0 += CHUNK) {                                      \
                int64_t e1 = e0 + CHUNK < inside ? e0 + CHUNK : inside;                           \
                memset(sum, 0, (size_t)(e1 - e0) * sizeof *sum);                                  \
                for (int64_t k = 0; k < total; k++) {                                             \
                    int64_t from = 0, stride = 1, left = k;                                       \
                    for (int32_t d = last; d-- > 0;) {                                            \
                        from += copy_place(&lists[d], left % lists[d].count) * stride;            \
                        left /= lists[d].count;                                                   \
                        stride *= p->padded[d];                                                   \
                    }                                                                             \
                    add_row_##tag(p, (const type *)job->from + from * padded, e0, e1, sum);       \
                }                                                                                 \
                for (int64_t e = e0; e < e1; e++)                                                 \
                    to[e] = store(sum[e - e0]);                                                   \
            }                                                                                     \
        }                                                                                         \
    }                                                                                             \
    static tc_status run_pad_grad_##tag(const void *params, const void *const *inputs,            \
                                        void *const *outputs, const tc_kernel_context *context)   \
    {                                                                                             \
        const pad_params *p = params;                                                             \
        pad_job job = {p, inputs[0], outputs[0]};                                                 \
        int64_t row_bytes = p->padded[p->rank - 1] * p->cell * p->element;                        \
        tc_parallel_for(context->pool, rows_of(p, p->size), grain_of(row_bytes), grad_rows_##tag, \
                        &job);                                                                    \
        return TC_OK;                                                                             \
    }

#define NARROW_8(x)  (uint8_t)(x)
#define NARROW_16(x) (uint16_t)(x)
#define NARROW_32(x) (uint32_t)(x)

PAD_GRAD(f32, float, float, LOAD, LOAD)
PAD_GRAD(f64, double, double, LOAD, LOAD)
PAD_GRAD(f16, uint16_t, float, tc_f16_to_f32, tc_f32_to_f16)
PAD_GRAD(bf16, uint16_t, float, tc_bf16_to_f32, tc_f32_to_bf16)
/* Unsigned sums wrap around: for signed integers too. */
PAD_GRAD(u8, uint8_t, uint64_t, LOAD, NARROW_8)
PAD_GRAD(u16, uint16_t, uint64_t, LOAD, NARROW_16)
PAD_GRAD(u32, uint32_t, uint64_t, LOAD, NARROW_32)
PAD_GRAD(u64, uint64_t, uint64_t, LOAD, LOAD)

static tc_status prepare_pad_grad(tc_prepare *prepare)
{
    return prepare_pad(prepare, &prepare->outputs[0]);
}

#define GRAD_KERNEL(dtype, tag) \
    TC_KERNEL(pad_grad, dtype, .prepare = prepare_pad_grad, .run = run_pad_grad_##tag)

static const tc_kernel kernels[] = {
    TC_KERNEL(pad, any, .prepare = prepare_pad_forward, .run = run_pad),
    GRAD_KERNEL(f32, f32),
    GRAD_KERNEL(f64, f64),
    GRAD_KERNEL(f16, f16),
    GRAD_KERNEL(bf16, bf16),
    GRAD_KERNEL(i8, u8),
    GRAD_KERNEL(i16, u16),
    GRAD_KERNEL(i32, u32),
    GRAD_KERNEL(i64, u64),
    GRAD_KERNEL(u8, u8),
    GRAD_KERNEL(u16, u16),
    GRAD_KERNEL(u32, u32),
    GRAD_KERNEL(u64, u64),
};

TC_KERNEL_TABLE(pad, kernels);
