/*
 * Sums, products, maxima and minima.
 *
 * All are made of one primitive: a matrix of rows is accumulated into a row of accumulators. A
 * plain loop over the columns does it, which compilers vectorize for every dtype. A long vector is
 * a matrix of TC_REDUCE_LANES columns whose accumulators are combined pairwise at the end. Sums of
 * floats run in the dtype over FLUSH rows only and go on in f64.
 */
#include <string.h>

#include "core/float16.h"
#include "core/shape.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/reduce_plan.h"

/* Accumulators are of 8 bytes at most. */
#define ACCUMULATOR_BYTES (TC_REDUCE_TILE * 8)
/* Rows that are summed in the dtype itself. */
#define FLUSH 64
/* 16-bit floats are converted in pieces of so many elements. */
#define PIECE 4096

typedef struct reducer {
    size_t accumulator, element; /* bytes */
    void (*start)(void *accumulators, int64_t count);
    void (*merge)(void *accumulators, const void *others, int64_t count);
    /* Accumulates the matrix [rows, width], `stride` elements from row to row, by columns. */
    void (*block)(const void *x, int64_t rows, int64_t stride, int64_t width, void *accumulators);
    /* Accumulates each row of a dense matrix [rows, width]. */
    void (*lines)(const void *x, int64_t rows, int64_t width, void *accumulators);
    void (*finish)(const void *accumulators, int64_t count, double divisor, void *y);
} reducer;

#define SUM(a, x)     ((a) + (x))
#define PRODUCT(a, x) ((a) * (x))
#define PRODUCT_INT(a, x)                                                  \
    (1u * (a) * (x)) /* small dtypes would be promoted to int and overflow \
                      */
#define MAXIMUM(a, x)     ((((x) > (a)) | ((x) != (x))) ? (x) : (a))
#define MINIMUM(a, x)     ((((x) < (a)) | ((x) != (x))) ? (x) : (a))
#define MAXIMUM_INT(a, x) ((x) > (a) ? (x) : (a))
#define MINIMUM_INT(a, x) ((x) < (a) ? (x) : (a))

/* Accumulators of type A. */
#define ACCUMULATOR(tag, A, first, STEP)                                           \
    static void start_##tag(void *accumulators, int64_t count)                     \
    {                                                                              \
        A *a = accumulators;                                                       \
        for (int64_t i = 0; i < count; i++)                                        \
            a[i] = (first);                                                        \
    }                                                                              \
    static void merge_##tag(void *accumulators, const void *others, int64_t count) \
    {                                                                              \
        A *a = accumulators;                                                       \
        const A *x = others;                                                       \
        for (int64_t i = 0; i < count; i++)                                        \
            a[i] = (A)STEP(a[i], x[i]);                                            \
    }

/* Rows of type T, one after the other. */
#define LINES(tag, T, A, first, STEP)                                                            \
    static void lines_##tag(const void *source, int64_t rows, int64_t width, void *accumulators) \
    {                                                                                            \
        A *a = accumulators;                                                                     \
        const T *x = source;                                                                     \
        for (int64_t r = 0; r < rows; r++, x += width) {                                         \
            A sum = (first);                                                                     \
            for (int64_t c = 0; c < width; c++)                                                  \
                sum = (A)STEP(sum, (A)x[c]);                                                     \
            a[r] = sum;                                                                          \
        }                                                                                        \
    }

#define BLOCK(tag, T, A, STEP)                                                               \
    static void block_##tag(const void *source, int64_t rows, int64_t stride, int64_t width, \
                            void *accumulators)                                              \
    {                                                                                        \
        A *restrict a = accumulators;                                                        \
        const T *restrict x = source;                                                        \
        for (int64_t r = 0; r < rows; r++, x += stride)                                      \
            for (int64_t c = 0; c < width; c++)                                              \
                a[c] = (A)STEP(a[c], (A)x[c]);                                               \
    }

/*
 * As BLOCK, in the dtype for FLUSH rows. A tile of wider rows takes four of them for each access of
 * the lanes; a dense matrix goes row by row, because the hardware prefetches a stream that goes
 * forward only.
 */
#define SUM_BLOCK(tag, T)                                                                         \
    static void block_##tag(const void *source, int64_t rows, int64_t stride, int64_t width,      \
                            void *accumulators)                                                   \
    {                                                                                             \
        double *restrict a = accumulators;                                                        \
        const T *restrict x = source;                                                             \
        _Alignas(64) T lanes[TC_REDUCE_TILE];                                                     \
        int64_t together = stride > width ? 4 : FLUSH + 1;                                        \
        for (int64_t done = 0; done < rows; done += FLUSH) {                                      \
            int64_t left = rows - done < FLUSH ? rows - done : FLUSH;                             \
            memset(lanes, 0, (size_t)width * sizeof *lanes);                                      \
            for (; left >= together; left -= 4, x += 4 * stride)                                  \
                for (int64_t c = 0; c < width; c++)                                               \
                    lanes[c] += (x[c] + x[c + stride]) + (x[c + 2 * stride] + x[c + 3 * stride]); \
            for (; left > 0; left--, x += stride)                                                 \
                for (int64_t c = 0; c < width; c++)                                               \
                    lanes[c] += x[c];                                                             \
            for (int64_t c = 0; c < width; c++)                                                   \
                a[c] += (double)lanes[c];                                                         \
        }                                                                                         \
    }

/* 16-bit floats by way of f32. */
#define CONVERTED(tag, base, dtype)                                                              \
    static void block_##tag(const void *source, int64_t rows, int64_t stride, int64_t width,     \
                            void *accumulators)                                                  \
    {                                                                                            \
        const uint16_t *x = source;                                                              \
        _Alignas(64) float piece[PIECE];                                                         \
        int64_t step = PIECE / (width ? width : 1);                                              \
        for (int64_t r = 0; r < rows; r += step) {                                               \
            int64_t count = rows - r < step ? rows - r : step;                                   \
            for (int64_t i = 0; i < count; i++)                                                  \
                convert_from_##dtype(x + (r + i) * stride, piece + i * width, width);            \
            block_##base(piece, count, width, width, accumulators);                              \
        }                                                                                        \
    }                                                                                            \
    static void lines_##tag(const void *source, int64_t rows, int64_t width, void *accumulators) \
    {                                                                                            \
        const uint16_t *x = source;                                                              \
        _Alignas(64) float piece[TC_REDUCE_SHORT];                                               \
        for (int64_t r = 0; r < rows; r++, x += width) {                                         \
            convert_from_##dtype(x, piece, width);                                               \
            lines_##base(piece, 1, width, (ACC_##base *)accumulators + r);                       \
        }                                                                                        \
    }

#define FINISH(tag, T, A, CONVERT)                                                              \
    static void finish_##tag(const void *accumulators, int64_t count, double divisor, void *to) \
    {                                                                                           \
        const A *a = accumulators;                                                              \
        T *y = to;                                                                              \
        (void)divisor;                                                                          \
        for (int64_t i = 0; i < count; i++)                                                     \
            y[i] = (T)CONVERT(a[i]);                                                            \
    }
#define PLAIN(a)       (a)
#define DIVIDE(a)      ((a) / divisor)
#define DIVIDE_F16(a)  tc_f64_to_f16((a) / divisor)
#define DIVIDE_BF16(a) tc_f64_to_bf16((a) / divisor)

/* Sums and products of floats: in f64. */
ACCUMULATOR(sum_f, double, 0, SUM)
ACCUMULATOR(prod_f, double, 1, PRODUCT)
SUM_BLOCK(sum_f32, float)
SUM_BLOCK(sum_f64, double)
LINES(sum_f32, float, double, 0, SUM)
LINES(sum_f64, double, double, 0, SUM)
BLOCK(prod_f32, float, double, PRODUCT)
BLOCK(prod_f64, double, double, PRODUCT)
LINES(prod_f32, float, double, 1, PRODUCT)
LINES(prod_f64, double, double, 1, PRODUCT)
FINISH(f32, float, double, DIVIDE)
FINISH(f64, double, double, DIVIDE)
FINISH(f16, uint16_t, double, DIVIDE_F16)
FINISH(bf16, uint16_t, double, DIVIDE_BF16)
typedef double ACC_sum_f32;
typedef double ACC_prod_f32;
CONVERTED(sum_f16, sum_f32, f16)
CONVERTED(sum_bf16, sum_f32, bf16)
CONVERTED(prod_f16, prod_f32, f16)
CONVERTED(prod_bf16, prod_f32, bf16)

/* Sums and products of integers: unsigned, so that they wrap; signed ones have the same bits. */
#define WRAPPING(tag, T)                       \
    ACCUMULATOR(sum_##tag, T, 0, SUM)          \
    ACCUMULATOR(prod_##tag, T, 1, PRODUCT_INT) \
    BLOCK(sum_##tag, T, T, SUM)                \
    BLOCK(prod_##tag, T, T, PRODUCT_INT)       \
    LINES(sum_##tag, T, T, 0, SUM)             \
    LINES(prod_##tag, T, T, 1, PRODUCT_INT)
WRAPPING(u8, uint8_t)
WRAPPING(u16, uint16_t)
WRAPPING(u32, uint32_t)
WRAPPING(u64, uint64_t)

/* Extrema: in the dtype. */
#define EXTREMA(tag, T, lowest, highest, MAX, MIN) \
    ACCUMULATOR(max_##tag, T, lowest, MAX)         \
    ACCUMULATOR(min_##tag, T, highest, MIN)        \
    BLOCK(max_##tag, T, T, MAX)                    \
    BLOCK(min_##tag, T, T, MIN)                    \
    LINES(max_##tag, T, T, lowest, MAX)            \
    LINES(min_##tag, T, T, highest, MIN)           \
    FINISH(same_##tag, T, T, PLAIN)
#define EXTREMA_INT(tag, T, lowest, highest) \
    EXTREMA(tag, T, lowest, highest, MAXIMUM_INT, MINIMUM_INT)
EXTREMA(f32, float, -__builtin_inff(), __builtin_inff(), MAXIMUM, MINIMUM)
EXTREMA(f64, double, -__builtin_inf(), __builtin_inf(), MAXIMUM, MINIMUM)
EXTREMA_INT(i8, int8_t, INT8_MIN, INT8_MAX)
EXTREMA_INT(i16, int16_t, INT16_MIN, INT16_MAX)
EXTREMA_INT(i32, int32_t, INT32_MIN, INT32_MAX)
EXTREMA_INT(i64, int64_t, INT64_MIN, INT64_MAX)
EXTREMA_INT(u8, uint8_t, 0, UINT8_MAX)
EXTREMA_INT(u16, uint16_t, 0, UINT16_MAX)
EXTREMA_INT(u32, uint32_t, 0, UINT32_MAX)
EXTREMA_INT(u64, uint64_t, 0, UINT64_MAX)
FINISH(same_f16, uint16_t, float, tc_f32_to_f16)
FINISH(same_bf16, uint16_t, float, tc_f32_to_bf16)
typedef float ACC_max_f32;
typedef float ACC_min_f32;
CONVERTED(max_f16, max_f32, f16)
CONVERTED(max_bf16, max_f32, bf16)
CONVERTED(min_f16, min_f32, f16)
CONVERTED(min_bf16, min_f32, bf16)

/*
 * The driver.
 */
typedef struct job {
    const tc_reduce_plan *plan;
    const reducer *reducer;
    const char *x;
    char *y;
    char *partials; /* [units][tile] accumulators; NULL when each unit makes its outputs whole */
} job;

/* Combines `group` rows of `width` accumulators into the first one, pairwise. */
static void fold(const reducer *r, char *accumulators, int64_t group, int64_t width)
{
    while (group > 1) {
        int64_t half = group / 2, upper = group - half;
        r->merge(accumulators, accumulators + (size_t)(upper * width) * r->accumulator,
                 half * width);
        group = upper;
    }
}

static void reduce_chunk(const job *j, const char *x, int64_t width, int64_t chunk,
                         char *accumulators)
{
    const tc_reduce_plan *plan = j->plan;
    const reducer *r = j->reducer;
    int64_t group = plan->group, begin = chunk * plan->chunk_rows;
    int64_t end = begin + plan->chunk_rows < plan->count ? begin + plan->chunk_rows : plan->count;
    r->start(accumulators, group * width);
    while (begin < end) {
        int64_t slice = begin / plan->rows, row = begin % plan->rows;
        int64_t rows = plan->rows - row < end - begin ? plan->rows - row : end - begin;
        const char *at =
            x + (size_t)(tc_reduce_offset(&plan->reduced, slice) + row * plan->width) * r->element;
        int64_t whole = rows / group, rest = rows % group;
        r->block(at, whole, plan->width * group, width * group, accumulators);
        at += (size_t)(whole * group * plan->width) * r->element;
        if (rest) /* only narrow matrices are grouped, so these rows are dense */
            r->block(at, 1, 0, rest * width, accumulators);
        begin += rows;
    }
    fold(r, accumulators, group, width);
}

static int64_t tile_width(const tc_reduce_plan *plan, int64_t tile)
{
    int64_t left = plan->width - tile * plan->tile;
    return left < plan->tile ? left : plan->tile;
}

static void reduce_units(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const tc_reduce_plan *plan = j->plan;
    const reducer *r = j->reducer;
    _Alignas(64) char accumulators[ACCUMULATOR_BYTES];
    (void)worker;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t output = unit / plan->chunks, chunk = unit % plan->chunks;
        int64_t kept = output / plan->tiles, tile = output % plan->tiles;
        int64_t first = tile * plan->tile, width = tile_width(plan, tile);
        const char *x = j->x + (size_t)(tc_reduce_offset(&plan->kept, kept) + first) * r->element;
        reduce_chunk(j, x, width, chunk, accumulators);
        if (j->partials)
            memcpy(j->partials + (size_t)(unit * plan->tile) * r->accumulator, accumulators,
                   (size_t)width * r->accumulator);
        else
            r->finish(accumulators, width, plan->divisor,
                      j->y + (size_t)(kept * plan->width + first) * r->element);
    }
}

static void combine_chunks(const job *j)
{
    const tc_reduce_plan *plan = j->plan;
    const reducer *r = j->reducer;
    size_t row = (size_t)plan->tile * r->accumulator;
    for (int64_t output = 0; output < plan->kept.count * plan->tiles; output++) {
        int64_t kept = output / plan->tiles, tile = output % plan->tiles;
        int64_t width = tile_width(plan, tile);
        char *total = j->partials + (size_t)(output * plan->chunks) * row;
        for (int64_t chunk = 1; chunk < plan->chunks; chunk++)
            r->merge(total, total + (size_t)chunk * row, width);
        r->finish(total, width, plan->divisor,
                  j->y + (size_t)(kept * plan->width + tile * plan->tile) * r->element);
    }
}

static void reduce_lines(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const tc_reduce_plan *plan = j->plan;
    const reducer *r = j->reducer;
    _Alignas(64) char accumulators[ACCUMULATOR_BYTES];
    (void)worker;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit * plan->short_rows, left = plan->kept.count - first;
        int64_t count = left < plan->short_rows ? left : plan->short_rows;
        r->lines(j->x + (size_t)(first * plan->rows) * r->element, count, plan->rows, accumulators);
        r->finish(accumulators, count, plan->divisor, j->y + (size_t)first * r->element);
    }
}

static tc_status reduce(const tc_reduce_plan *plan, const reducer *r, const void *x, void *y,
                        const tc_kernel_context *context)
{
    if (plan->count == 1) {
        if (x != y)
            memcpy(y, x, (size_t)(plan->kept.count * plan->width) * r->element);
        return TC_OK;
    }
    job j = {plan, r, x, y, plan->chunks > 1 ? context->workspace : NULL};
    tc_parallel_for(context->pool, plan->units, plan->grain,
                    plan->short_rows ? reduce_lines : reduce_units, &j);
    if (j.partials)
        combine_chunks(&j);
    return TC_OK;
}

static tc_status prepare(tc_prepare *p, const bool reduced[TC_MAX_RANK], bool mean)
{
    tc_reduce_plan *plan = tc_prepare_params(p, sizeof *plan);
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    tc_reduce_plan_make(&p->inputs[0].shape, reduced, plan);
    if (mean)
        plan->divisor = (double)plan->count;
    if (plan->chunks > 1)
        p->workspace_bytes = (size_t)(plan->units * plan->tile) * 8;
    return TC_OK;
}

static tc_status prepare_reduce(tc_prepare *p)
{
    bool reduced[TC_MAX_RANK];
    tc_reduce_plan_axes(p->attrs, p->inputs[0].shape.rank, reduced);
    return prepare(p, reduced, false);
}

static tc_status prepare_mean(tc_prepare *p)
{
    bool reduced[TC_MAX_RANK];
    tc_reduce_plan_axes(p->attrs, p->inputs[0].shape.rank, reduced);
    return prepare(p, reduced, true);
}

static tc_status prepare_sum_to_like(tc_prepare *p)
{
    const tc_shape *x = &p->inputs[0].shape, *like = &p->inputs[1].shape;
    int32_t extra = x->rank - like->rank;
    bool reduced[TC_MAX_RANK] = {false};
    for (int32_t i = 0; i < x->rank; i++)
        reduced[i] = i < extra || (like->dims[i - extra].size == 1 && x->dims[i].size != 1);
    return prepare(p, reduced, false);
}

/* The function `run_<kind>_<tag>`; `acc` and `code` name the accumulator and the rest. */
#define RUN(kind, tag, T, A, acc, code, end)                                                    \
    static tc_status run_##kind##_##tag(const void *params, const void *const *inputs,          \
                                        void *const *outputs, const tc_kernel_context *context) \
    {                                                                                           \
        static const reducer r = {sizeof(A),                                                    \
                                  sizeof(T),                                                    \
                                  start_##acc,                                                  \
                                  merge_##acc,                                                  \
                                  block_##kind##_##code,                                        \
                                  lines_##kind##_##code,                                        \
                                  finish_##end};                                                \
        return reduce(params, &r, inputs[0], outputs[0], context);                              \
    }
#define RUN_WRAPPING(tag, T, code)                     \
    RUN(sum, tag, T, T, sum_##code, code, same_##code) \
    RUN(prod, tag, T, T, prod_##code, code, same_##code)
#define RUN_FLOAT(tag, T)                     \
    RUN(sum, tag, T, double, sum_f, tag, tag) \
    RUN(prod, tag, T, double, prod_f, tag, tag)
#define RUN_EXTREMA(tag, T, A, code, code_acc)             \
    RUN(max, tag, T, A, max_##code_acc, code, same_##code) \
    RUN(min, tag, T, A, min_##code_acc, code, same_##code)

RUN_FLOAT(f32, float)
RUN_FLOAT(f64, double)
RUN_FLOAT(f16, uint16_t)
RUN_FLOAT(bf16, uint16_t)
RUN_WRAPPING(i8, uint8_t, u8)
RUN_WRAPPING(i16, uint16_t, u16)
RUN_WRAPPING(i32, uint32_t, u32)
RUN_WRAPPING(i64, uint64_t, u64)
RUN_EXTREMA(f32, float, float, f32, f32)
RUN_EXTREMA(f64, double, double, f64, f64)
RUN_EXTREMA(f16, uint16_t, float, f16, f32)
RUN_EXTREMA(bf16, uint16_t, float, bf16, f32)
RUN_EXTREMA(i8, int8_t, int8_t, i8, i8)
RUN_EXTREMA(i16, int16_t, int16_t, i16, i16)
RUN_EXTREMA(i32, int32_t, int32_t, i32, i32)
RUN_EXTREMA(i64, int64_t, int64_t, i64, i64)
RUN_EXTREMA(u8, uint8_t, uint8_t, u8, u8)
RUN_EXTREMA(u16, uint16_t, uint16_t, u16, u16)
RUN_EXTREMA(u32, uint32_t, uint32_t, u32, u32)
RUN_EXTREMA(u64, uint64_t, uint64_t, u64, u64)

#define KERNEL(op, preparation, kind, tag, code) \
    TC_KERNEL(op, tag, .prepare = preparation, .run = run_##kind##_##code),
#define FLOATS(op, preparation, kind)       \
    KERNEL(op, preparation, kind, f32, f32) \
    KERNEL(op, preparation, kind, f64, f64) \
    KERNEL(op, preparation, kind, f16, f16) \
    KERNEL(op, preparation, kind, bf16, bf16)
#define NUMBERS(op, preparation, kind)      \
    FLOATS(op, preparation, kind)           \
    KERNEL(op, preparation, kind, i8, i8)   \
    KERNEL(op, preparation, kind, i16, i16) \
    KERNEL(op, preparation, kind, i32, i32) \
    KERNEL(op, preparation, kind, i64, i64)
#define SAME_BITS(op, preparation, kind)    \
    KERNEL(op, preparation, kind, u8, i8)   \
    KERNEL(op, preparation, kind, u16, i16) \
    KERNEL(op, preparation, kind, u32, i32) \
    KERNEL(op, preparation, kind, u64, i64)
#define UNSIGNED(op, preparation, kind)     \
    KERNEL(op, preparation, kind, u8, u8)   \
    KERNEL(op, preparation, kind, u16, u16) \
    KERNEL(op, preparation, kind, u32, u32) \
    KERNEL(op, preparation, kind, u64, u64)

/* clang-format off */
static const tc_kernel kernels[] = {
    NUMBERS(reduce_sum, prepare_reduce, sum)
    SAME_BITS(reduce_sum, prepare_reduce, sum)
    NUMBERS(sum_to_like, prepare_sum_to_like, sum)
    SAME_BITS(sum_to_like, prepare_sum_to_like, sum)
    FLOATS(reduce_mean, prepare_mean, sum)
    NUMBERS(reduce_prod, prepare_reduce, prod)
    SAME_BITS(reduce_prod, prepare_reduce, prod)
    NUMBERS(reduce_max, prepare_reduce, max)
    UNSIGNED(reduce_max, prepare_reduce, max)
    TC_KERNEL(reduce_max, bool, .prepare = prepare_reduce, .run = run_max_u8),
    NUMBERS(reduce_min, prepare_reduce, min)
    UNSIGNED(reduce_min, prepare_reduce, min)
    TC_KERNEL(reduce_min, bool, .prepare = prepare_reduce, .run = run_min_u8),
};
/* clang-format on */
TC_KERNEL_TABLE(reduce, kernels);
