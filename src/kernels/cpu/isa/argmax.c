/* Position of the first maximum along an axis; the first NaN wins over every number. */
#include "core/shape.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/kernel.h"

/* Elements that are searched at once; columns of a tile. */
#define BLOCK 1024
/* Running maxima of a block, for whole vectors. */
#define LANES 64
/* Elements that are worth a task of their own. */
#define UNIT_ELEMENTS (32 * 1024)

typedef struct params {
    int64_t outer, count, inner; /* x is [outer, count, inner], searched along count */
    int64_t tiles, grain;
} params;

typedef struct job {
    const params *params;
    const void *x;
    int64_t *y;
} job;

#define NATIVE(x, n, buffer)    ((void)(n), (void)(buffer), (x))
#define FROM_F16(x, n, buffer)  (convert_from_f16(x, buffer, n), (buffer))
#define FROM_BF16(x, n, buffer) (convert_from_bf16(x, buffer, n), (buffer))

#define FLOAT_BEATS(x, best) (((x) > (best)) | (((x) != (x)) & ((best) == (best))))
#define INT_BEATS(x, best)   ((x) > (best))

/*
 * `T` is computed on, `S` stored. Rows: the maximum of a block is found in vectors; only the block
 * that has the maximum of the row is then searched for its place. Columns: a maximum and its place
 * for each.
 */
#define ARGMAX(tag, T, S, FETCH, BEATS)                                                  \
    static T block_maximum_##tag(const T *x, int64_t count)                              \
    {                                                                                    \
        T lanes[LANES], best = x[0];                                                     \
        int64_t i = 0;                                                                   \
        if (count >= LANES) {                                                            \
            for (; i < LANES; i++)                                                       \
                lanes[i] = x[i];                                                         \
            for (; i + LANES <= count; i += LANES)                                       \
                for (int64_t l = 0; l < LANES; l++)                                      \
                    lanes[l] = BEATS(x[i + l], lanes[l]) ? x[i + l] : lanes[l];          \
            for (int64_t l = 0; l < LANES; l++)                                          \
                best = BEATS(lanes[l], best) ? lanes[l] : best;                          \
        }                                                                                \
        for (; i < count; i++)                                                           \
            best = BEATS(x[i], best) ? x[i] : best;                                      \
        return best;                                                                     \
    }                                                                                    \
                                                                                         \
    static int64_t search_row_##tag(const S *source, int64_t count)                      \
    {                                                                                    \
        T buffer[BLOCK], best = 0;                                                       \
        int64_t place = 0;                                                               \
        for (int64_t i = 0; i < count; i += BLOCK) {                                     \
            int64_t n = count - i < BLOCK ? count - i : BLOCK;                           \
            T here = block_maximum_##tag(FETCH(source + i, n, buffer), n);               \
            if (i == 0 || BEATS(here, best)) {                                           \
                best = here;                                                             \
                place = i;                                                               \
            }                                                                            \
        }                                                                                \
        int64_t n = count - place < BLOCK ? count - place : BLOCK;                       \
        const T *x = FETCH(source + place, n, buffer);                                   \
        int64_t i = 0;                                                                   \
        while (BEATS(best, x[i])) /* equal ones do not beat, nor does a NaN another */   \
            i++;                                                                         \
        return place + i;                                                                \
    }                                                                                    \
                                                                                         \
    static void search_columns_##tag(const S *source, const params *p, int64_t width,    \
                                     int64_t *restrict y)                                \
    {                                                                                    \
        T buffer[BLOCK], best[BLOCK];                                                    \
        for (int64_t i = 0; i < p->count; i++, source += p->inner) {                     \
            const T *x = FETCH(source, width, buffer);                                   \
            for (int64_t c = 0; c < width; c++) {                                        \
                bool wins = i == 0 || BEATS(x[c], best[c]);                              \
                best[c] = wins ? x[c] : best[c];                                         \
                y[c] = wins ? i : y[c];                                                  \
            }                                                                            \
        }                                                                                \
    }                                                                                    \
                                                                                         \
    static void search_##tag(void *context, int64_t begin, int64_t end, int worker)      \
    {                                                                                    \
        const job *j = context;                                                          \
        const params *p = j->params;                                                     \
        const S *x = j->x;                                                               \
        (void)worker;                                                                    \
        for (int64_t unit = begin; unit < end; unit++) {                                 \
            int64_t outer = unit / p->tiles, first = unit % p->tiles * BLOCK;            \
            int64_t width = p->inner - first < BLOCK ? p->inner - first : BLOCK;         \
            const S *at = x + outer * p->count * p->inner + first;                       \
            int64_t *y = j->y + outer * p->inner + first;                                \
            if (p->inner == 1)                                                           \
                *y = search_row_##tag(at, p->count);                                     \
            else                                                                         \
                search_columns_##tag(at, p, width, y);                                   \
        }                                                                                \
    }                                                                                    \
                                                                                         \
    static tc_status run_##tag(const void *prepared, const void *const *inputs,          \
                               void *const *outputs, const tc_kernel_context *context)   \
    {                                                                                    \
        const params *p = prepared;                                                      \
        job j = {p, inputs[0], outputs[0]};                                              \
        tc_parallel_for(context->pool, p->outer * p->tiles, p->grain, search_##tag, &j); \
        return TC_OK;                                                                    \
    }

static tc_status prepare(tc_prepare *prepare)
{
    params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank);
    p->outer = p->inner = 1;
    for (int32_t i = 0; i < x->rank; i++) {
        int64_t size = x->dims[i].size;
        if (i == axis)
            p->count = size;
        else
            *(i < axis ? &p->outer : &p->inner) *= size;
    }
    if (p->count == 0) /* then the output is empty too */
        p->outer = 0;
    p->tiles = (p->inner + BLOCK - 1) / BLOCK;
    int64_t elements = p->count * (p->inner < BLOCK ? p->inner : BLOCK);
    p->grain = elements < UNIT_ELEMENTS ? UNIT_ELEMENTS / (elements ? elements : 1) : 1;
    return TC_OK;
}

ARGMAX(f32, float, float, NATIVE, FLOAT_BEATS)
ARGMAX(f64, double, double, NATIVE, FLOAT_BEATS)
ARGMAX(f16, float, uint16_t, FROM_F16, FLOAT_BEATS)
ARGMAX(bf16, float, uint16_t, FROM_BF16, FLOAT_BEATS)
ARGMAX(i8, int8_t, int8_t, NATIVE, INT_BEATS)
ARGMAX(i16, int16_t, int16_t, NATIVE, INT_BEATS)
ARGMAX(i32, int32_t, int32_t, NATIVE, INT_BEATS)
ARGMAX(i64, int64_t, int64_t, NATIVE, INT_BEATS)
ARGMAX(u8, uint8_t, uint8_t, NATIVE, INT_BEATS)
ARGMAX(u16, uint16_t, uint16_t, NATIVE, INT_BEATS)
ARGMAX(u32, uint32_t, uint32_t, NATIVE, INT_BEATS)
ARGMAX(u64, uint64_t, uint64_t, NATIVE, INT_BEATS)

#define KERNEL(tag) TC_KERNEL(argmax, tag, .prepare = prepare, .run = run_##tag)

static const tc_kernel kernels[] = {
    KERNEL(f32),
    KERNEL(f64),
    KERNEL(f16),
    KERNEL(bf16),
    KERNEL(i8),
    KERNEL(i16),
    KERNEL(i32),
    KERNEL(i64),
    KERNEL(u8),
    KERNEL(u16),
    KERNEL(u32),
    KERNEL(u64),
    TC_KERNEL(argmax, bool, .prepare = prepare, .run = run_u8),
};
TC_KERNEL_TABLE(argmax, kernels);
