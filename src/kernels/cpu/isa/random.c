/* Random tensors and dropout, as core/philox.h defines them. */
#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "core/normal.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/philox.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/kernel.h"

/* Elements whose words are in the first-level cache at one time, and elements of one parallel
 * block. */
#define CHUNK 1024
#define GRAIN (16 * CHUNK)

typedef struct random_params {
    int64_t count;
    uint64_t stream;
    double base, scale, limit; /* a float is min(limit, base + scale * x), x of the distribution */
    uint64_t low, range;       /* an integer is low + x, x below range; range 0 stands for 2^64 */
    uint64_t reject;           /* 2^b mod range */
    uint32_t threshold;        /* dropout drops words below it and multiplies the others by scale */
    int32_t element;           /* bytes */
    bool copy;                 /* dropout: pass x on */
} random_params;

/* Coefficients of core/normal.h. */
static const float f32_center_above[] = {TC_NORMAL_F32_CENTER_ABOVE};
static const float f32_center_below[] = {TC_NORMAL_F32_CENTER_BELOW};
static const float f32_tail_above[] = {TC_NORMAL_F32_TAIL_ABOVE};
static const float f32_tail_below[] = {TC_NORMAL_F32_TAIL_BELOW};
static const double f64_center_above[] = {TC_NORMAL_F64_CENTER_ABOVE};
static const double f64_center_below[] = {TC_NORMAL_F64_CENTER_BELOW};
static const double f64_tail_above[] = {TC_NORMAL_F64_TAIL_ABOVE};
static const double f64_tail_below[] = {TC_NORMAL_F64_TAIL_BELOW};
static const double f64_far_above[] = {TC_NORMAL_F64_FAR_ABOVE};
static const double f64_far_below[] = {TC_NORMAL_F64_FAR_BELOW};

#define S          float
#define V          tc_f32v
#define I          tc_i32v
#define WORD       int32_t
#define NAME(name) f32_##name
#define SIMD(name) tc_f32_##name
#define BITS       32
#define DIGITS     24
#define UNIT       0x1p-24f
#define HALF_WORD  0x1p-32f
#include "random_body.h" /* tails are above 2^-33, so r is below 5 */

#define S          double
#define V          tc_f64v
#define I          tc_i64v
#define WORD       int64_t
#define NAME(name) f64_##name
#define SIMD(name) tc_f64_##name
#define BITS       64
#define DIGITS     53
#define UNIT       0x1p-53
#define HALF_WORD  0x1p-64
#define FAR_TAIL
#include "random_body.h"

/* Computes elements [first, first + count) of a tensor into y; first is a multiple of CHUNK, count
 * at most that. */
typedef void (*chunk_function)(const random_params *p, const tc_random *random, int64_t first,
                               int64_t count, const void *x, void *y);

typedef struct random_job {
    const random_params *params;
    tc_random random;
    const char *x; /* of dropout */
    char *y;
    chunk_function chunk;
} random_job;

static void run_chunks(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const random_job *job = argument;
    int64_t element = job->params->element;
    for (int64_t i = begin; i < end; i += CHUNK)
        job->chunk(job->params, &job->random, i, end - i < CHUNK ? end - i : CHUNK,
                   job->x ? job->x + i * element : NULL, job->y + i * element);
}

static tc_status run_random(const random_params *p, const void *x, void *y,
                            const tc_kernel_context *context, chunk_function chunk)
{
    random_job job = {p,
                      tc_random_make(context->seed, p->stream, context->step, context->loop_index),
                      x, y, chunk};
    tc_parallel_for(context->pool, p->count, GRAIN, run_chunks, &job);
    return TC_OK;
}

/* Words of chunk `first`, `per_element` 32-bit words for each element. */
static void chunk_words(const tc_random *random, int64_t first, int64_t count, int per_element,
                        uint32_t *words)
{
    tc_philox_words(random, (uint64_t)(first / 4 * per_element), count * per_element, words);
}

#define RUN(op, tag)                                                                          \
    static tc_status run_##op##_##tag(const void *params, const void *const *inputs,          \
                                      void *const *outputs, const tc_kernel_context *context) \
    {                                                                                         \
        (void)inputs;                                                                         \
        return run_random(params, NULL, outputs[0], context, op##_##tag);                     \
    }

/* Elements of 16 bits are computed as f32 and rounded. */
#define STORE_f32(x, y, count)  memcpy(y, x, sizeof(float) * (size_t)(count))
#define STORE_f64(x, y, count)  memcpy(y, x, sizeof(double) * (size_t)(count))
#define STORE_f16(x, y, count)  convert_to_f16(x, y, count)
#define STORE_bf16(x, y, count) convert_to_bf16(x, y, count)

#define FLOATS(op, kind, tag, S, numbers_tag)                                              \
    static void op##_##tag(const random_params *p, const tc_random *random, int64_t first, \
                           int64_t count, const void *x, void *y)                          \
    {                                                                                      \
        (void)x;                                                                           \
        uint32_t words[CHUNK * sizeof(S) / 4];                                             \
        S numbers[CHUNK];                                                                  \
        chunk_words(random, first, count, (int)sizeof(S) / 4, words);                      \
        numbers_tag##_##kind(p, words, count, numbers);                                    \
        STORE_##tag(numbers, y, count);                                                    \
    }                                                                                      \
    RUN(op, tag)
#define EACH_FLOAT(op, kind)           \
    FLOATS(op, kind, f32, float, f32)  \
    FLOATS(op, kind, f16, float, f32)  \
    FLOATS(op, kind, bf16, float, f32) \
    FLOATS(op, kind, f64, double, f64)
EACH_FLOAT(random_uniform, uniform)
EACH_FLOAT(random_normal, normal)
EACH_FLOAT(random_truncated_normal, truncated_normal)

static random_params *prepare_params(tc_prepare *prepare)
{
    random_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return NULL;
    p->count = tc_shape_size(&prepare->outputs[0].shape);
    p->stream = (uint64_t)tc_attrs_int(prepare->attrs, "stream");
    p->element = (int32_t)tc_dtype_size(prepare->outputs[0].dtype);
    return p;
}

static double rounded(tc_dtype dtype, double value)
{
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, value);
    return tc_dtype_load(dtype, &element);
}

/* The largest number of `dtype` below `high`, one of its finite numbers. */
static double number_below(tc_dtype dtype, double high)
{
    if (dtype == TC_F64)
        return nextafter(high, -INFINITY);
    if (dtype == TC_F32)
        return (double)nextafterf((float)high, -INFINITY);
    uint16_t bits;
    tc_dtype_store(dtype, &bits, high);
    if (high == 0)
        bits = 0x8001;
    else
        bits = (uint16_t)(high > 0 ? bits - 1 : bits + 1);
    return tc_dtype_load(dtype, &bits);
}

static tc_status prepare_uniform(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = prepare->outputs[0].dtype;
    double high = rounded(dtype, tc_attrs_float(prepare->attrs, "high"));
    p->base = rounded(dtype, tc_attrs_float(prepare->attrs, "low"));
    p->scale = dtype == TC_F64 ? high - p->base : (double)((float)high - (float)p->base);
    p->limit = number_below(dtype, high);
    return TC_OK;
}

static tc_status prepare_normal(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->base = tc_attrs_float(prepare->attrs, "mean");
    p->scale = tc_attrs_float(prepare->attrs, "stddev");
    p->limit = INFINITY;
    return TC_OK;
}

/*
 * Integers
 */

__extension__ typedef unsigned __int128 uint128;

/*
 * Elements x in [0, range) from words of `bits` bits. Nearly all of them take their first word; the
 * others are drawn again one by one until they are not rejected.
 */
#define DRAW(bits, wide)                                                                          \
    static uint64_t draw_again##bits(const random_params *p, const tc_random *random, uint64_t i) \
    {                                                                                             \
        for (uint32_t attempt = 1;; attempt++) {                                                  \
            wide product = (wide)tc_random_w##bits(random, i, attempt) * p->range;                \
            if ((uint##bits##_t)product >= p->reject || attempt == 255)                           \
                return (uint64_t)(product >> bits);                                               \
        }                                                                                         \
    }                                                                                             \
    static void draw##bits(const random_params *p, const tc_random *random, int64_t first,        \
                           int64_t count, uint64_t *x)                                            \
    {                                                                                             \
        uint32_t words[CHUNK * (bits / 32)];                                                      \
        chunk_words(random, first, count, bits / 32, words);                                      \
        bool rejected = false;                                                                    \
        for (int64_t i = 0; i < count; i++) {                                                     \
            uint##bits##_t word;                                                                  \
            memcpy(&word, words + i * (bits / 32), sizeof word);                                  \
            wide product = (wide)word * p->range;                                                 \
            x[i] = (uint64_t)(product >> bits);                                                   \
            rejected |= (uint##bits##_t)product < p->reject;                                      \
        }                                                                                         \
        for (int64_t i = 0; rejected && i < count; i++) {                                         \
            uint##bits##_t word;                                                                  \
            memcpy(&word, words + i * (bits / 32), sizeof word);                                  \
            if ((uint##bits##_t)(word * p->range) < p->reject)                                    \
                x[i] = draw_again##bits(p, random, (uint64_t)(first + i));                        \
        }                                                                                         \
    }
DRAW(32, uint64_t)
DRAW(64, uint128)

static void random_int_any(const random_params *p, const tc_random *random, int64_t first,
                           int64_t count, const void *source, void *y)
{
    (void)source;
    uint64_t x[CHUNK];
    (p->range <= (uint64_t)1 << 32 ? draw32 : draw64)(p, random, first, count, x);
#define STORE(type)                             \
    for (int64_t i = 0; i < count; i++)         \
        ((type *)y)[i] = (type)(p->low + x[i]); \
    break
    switch (p->element) {
    case 1: STORE(uint8_t);
    case 2: STORE(uint16_t);
    case 4: STORE(uint32_t);
    default: STORE(uint64_t);
    }
#undef STORE
}
RUN(random_int, any)

static tc_status prepare_int(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->low = (uint64_t)tc_attrs_int(prepare->attrs, "low");
    p->range = (uint64_t)tc_attrs_int(prepare->attrs, "high") - p->low;
    if (p->range <= (uint64_t)1 << 32)
        p->reject = ((uint64_t)1 << 32) % p->range;
    else
        p->reject = (0 - p->range) % p->range;
    return TC_OK;
}

/*
 * Dropout
 */

static tc_status prepare_dropout(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    double rate = tc_attrs_float(prepare->attrs, "rate");
    double threshold = floor(rate * 0x1p32 + 0.5);
    p->threshold = threshold < 0x1p32 ? (uint32_t)threshold : UINT32_MAX;
    p->scale = 1 / (1 - rate);
    p->copy = rate == 0 || strcmp(tc_attrs_string(prepare->attrs, "mode"), "training") != 0;
    return TC_OK;
}

/* y may be x. A dropped infinity or NaN becomes 0 too. */
#define DROP(S)                                                                                \
    static void drop_##S(const uint32_t *words, uint32_t threshold, S scale, const S *x, S *y, \
                         int64_t count)                                                        \
    {                                                                                          \
        TC_INDEPENDENT                                                                         \
        for (int64_t i = 0; i < count; i++) {                                                  \
            S scaled = x[i] * scale;                                                           \
            y[i] = words[i] < threshold ? (S)0 : scaled;                                       \
        }                                                                                      \
    }
DROP(float)
DROP(double)

#define DROPOUT(tag, S)                                                                       \
    static void dropout_##tag(const random_params *p, const tc_random *random, int64_t first, \
                              int64_t count, const void *x, void *y)                          \
    {                                                                                         \
        uint32_t words[CHUNK];                                                                \
        chunk_words(random, first, count, 1, words);                                          \
        drop_##S(words, p->threshold, (S)p->scale, x, y, count);                              \
    }
DROPOUT(f32, float)
DROPOUT(f64, double)

#define DROPOUT16(tag)                                                                        \
    static void dropout_##tag(const random_params *p, const tc_random *random, int64_t first, \
                              int64_t count, const void *x, void *y)                          \
    {                                                                                         \
        uint32_t words[CHUNK];                                                                \
        float numbers[CHUNK];                                                                 \
        chunk_words(random, first, count, 1, words);                                          \
        convert_from_##tag(x, numbers, count);                                                \
        drop_float(words, p->threshold, (float)p->scale, numbers, numbers, count);            \
        convert_to_##tag(numbers, y, count);                                                  \
    }
DROPOUT16(f16)
DROPOUT16(bf16)

static void copy_chunk(const random_params *p, const tc_random *random, int64_t first,
                       int64_t count, const void *x, void *y)
{
    (void)random;
    (void)first;
    memcpy(y, x, (size_t)(count * p->element));
}

#define RUN_DROPOUT(tag)                                                                       \
    static tc_status run_dropout_##tag(const void *params, const void *const *inputs,          \
                                       void *const *outputs, const tc_kernel_context *context) \
    {                                                                                          \
        const random_params *p = params;                                                       \
        if (p->copy && inputs[0] == outputs[0])                                                \
            return TC_OK;                                                                      \
        return run_random(p, inputs[0], outputs[0], context,                                   \
                          p->copy ? copy_chunk : dropout_##tag);                               \
    }
RUN_DROPOUT(f32)
RUN_DROPOUT(f64)
RUN_DROPOUT(f16)
RUN_DROPOUT(bf16)

#define FLOAT_KERNELS(op, prepare_op)                                     \
    TC_KERNEL(op, f32, .prepare = prepare_op, .run = run_##op##_f32),     \
        TC_KERNEL(op, f64, .prepare = prepare_op, .run = run_##op##_f64), \
        TC_KERNEL(op, f16, .prepare = prepare_op, .run = run_##op##_f16), \
        TC_KERNEL(op, bf16, .prepare = prepare_op, .run = run_##op##_bf16)

static const tc_kernel kernels[] = {
    FLOAT_KERNELS(random_uniform, prepare_uniform),
    FLOAT_KERNELS(random_normal, prepare_normal),
    FLOAT_KERNELS(random_truncated_normal, prepare_normal),
    TC_KERNEL(random_int, any, .prepare = prepare_int, .run = run_random_int_any),
    FLOAT_KERNELS(dropout, prepare_dropout),
};

TC_KERNEL_TABLE(random, kernels);
