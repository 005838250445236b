/*
 * Operators whose result has as many elements as are found. Blocks of the input are counted first,
 * then written where the counts before them end, so that the order never depends on threads.
 */
#include <string.h>

#include "base/alloc.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "kernels/cpu/kernel.h"

/* Bytes of input of one block. */
#define BLOCK_BYTES 16384

static void set_extents(const tc_kernel_context *context, int output, int32_t rank,
                        const int64_t *sizes)
{
    if (context->extents)
        memcpy(context->extents + output * TC_MAX_RANK, sizes, (size_t)rank * sizeof *sizes);
}

/*
 * nonzero: x is [rows, columns] with the last dimension as columns
 */
typedef struct nonzero_params {
    int64_t rows, columns;
    int64_t block; /* rows */
    int64_t blocks;
    int64_t sizes[TC_MAX_RANK];
    uint64_t bits; /* of an element: those that are not all 0 in what is not zero */
    int32_t rank;
    int32_t element;
} nonzero_params;

static tc_status prepare_nonzero(tc_prepare *prepare)
{
    nonzero_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    tc_dtype dtype = prepare->inputs[0].dtype;
    p->element = (int32_t)tc_dtype_size(dtype);
    p->bits = ~(uint64_t)0 >> (64 - 8 * p->element);
    if (TC_DTYPES_FLOAT & TC_DTYPE_BIT(dtype))
        p->bits >>= 1; /* -0 is 0 */
    p->rank = x->rank;
    p->rows = p->columns = 1;
    for (int32_t i = 0; i < x->rank; i++) {
        p->sizes[i] = x->dims[i].size;
        *(i == x->rank - 1 ? &p->columns : &p->rows) *= x->dims[i].size;
    }
    if (p->columns == 0)
        p->rows = 0;
    int64_t row = p->columns * p->element;
    p->block = row > 0 && row < BLOCK_BYTES ? BLOCK_BYTES / row : 1;
    p->blocks = (p->rows + p->block - 1) / p->block;
    prepare->workspace_bytes = (size_t)p->blocks * sizeof(int64_t);
    return TC_OK;
}

typedef struct nonzero_job {
    const nonzero_params *params;
    const char *x;
    int64_t *places;
    int64_t *counts; /* per block: found, then the first place it writes */
} nonzero_job;

static inline void unravel(const nonzero_params *p, int64_t row, int64_t place[TC_MAX_RANK])
{
    for (int32_t d = p->rank - 2; d >= 0; d--) {
        place[d] = row % p->sizes[d];
        row /= p->sizes[d];
    }
}

static inline void next_row(const nonzero_params *p, int64_t place[TC_MAX_RANK])
{
    for (int32_t d = p->rank - 2; d >= 0 && ++place[d] == p->sizes[d]; d--)
        place[d] = 0;
}

#define NONZERO(type)                                                                       \
    static void count_##type(void *argument, int64_t begin, int64_t end, int worker)        \
    {                                                                                       \
        (void)worker;                                                                       \
        const nonzero_job *job = argument;                                                  \
        const nonzero_params *p = job->params;                                              \
        for (int64_t b = begin; b < end; b++) {                                             \
            int64_t last = (b + 1) * p->block < p->rows ? (b + 1) * p->block : p->rows;     \
            const type *x = (const type *)(const void *)job->x + b * p->block * p->columns; \
            int64_t size = (last - b * p->block) * p->columns, found = 0;                   \
            type bits = (type)p->bits;                                                      \
            for (int64_t i = 0; i < size; i++)                                              \
                found += (x[i] & bits) != 0;                                                \
            job->counts[b] = found;                                                         \
        }                                                                                   \
    }                                                                                       \
    static void list_##type(void *argument, int64_t begin, int64_t end, int worker)         \
    {                                                                                       \
        (void)worker;                                                                       \
        const nonzero_job *job = argument;                                                  \
        const nonzero_params *p = job->params;                                              \
        for (int64_t b = begin; b < end; b++) {                                             \
            int64_t last = (b + 1) * p->block < p->rows ? (b + 1) * p->block : p->rows;     \
            const type *x = (const type *)(const void *)job->x + b * p->block * p->columns; \
            int64_t *out = job->places + job->counts[b] * p->rank;                          \
            int64_t place[TC_MAX_RANK];                                                     \
            unravel(p, b * p->block, place);                                                \
            for (int64_t r = b * p->block; r < last; r++, x += p->columns) {                \
                for (int64_t i = 0; i < p->columns; i++) {                                  \
                    if (!(x[i] & (type)p->bits))                                            \
                        continue;                                                           \
                    for (int32_t d = 0; d < p->rank - 1; d++)                               \
                        *out++ = place[d];                                                  \
                    if (p->rank > 0)                                                        \
                        *out++ = i;                                                         \
                }                                                                           \
                next_row(p, place);                                                         \
            }                                                                               \
        }                                                                                   \
    }

NONZERO(uint8_t)
NONZERO(uint16_t)
NONZERO(uint32_t)
NONZERO(uint64_t)

/* Turns counts into places; returns their sum. */
static int64_t sum_before(int64_t *counts, int64_t blocks)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < blocks; i++) {
        int64_t count = counts[i];
        counts[i] = sum;
        sum += count;
    }
    return sum;
}

static tc_status run_nonzero(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    static const tc_loop_function functions[][2] = {
        {count_uint8_t, list_uint8_t},
        {count_uint16_t, list_uint16_t},
        {count_uint32_t, list_uint32_t},
        {count_uint64_t, list_uint64_t},
    };
    const nonzero_params *p = params;
    const tc_loop_function *f = functions[__builtin_ctz((unsigned)p->element)];
    nonzero_job job = {p, inputs[0], outputs[0], context->workspace};
    tc_parallel_for(context->pool, p->blocks, 4, f[0], &job);
    const int64_t sizes[] = {sum_before(job.counts, p->blocks), p->rank};
    tc_parallel_for(context->pool, p->blocks, 4, f[1], &job);
    set_extents(context, 0, 2, sizes);
    return TC_OK;
}

/*
 * boolean_mask and its gradient: slices of `row` bytes
 */
typedef struct mask_params {
    int64_t count; /* of the mask's elements */
    int64_t row;
    int64_t block; /* elements of the mask */
    int64_t blocks;
    int64_t slices; /* that the gradient is given */
    int64_t sizes[TC_MAX_RANK];
    int32_t rank; /* of the slices together */
} mask_params;

/* `slices` is the shape of all slices together. */
static tc_status prepare_slices(tc_prepare *prepare, const tc_value_info *slices)
{
    mask_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->count = tc_shape_size(&prepare->inputs[1].shape);
    p->row = (int64_t)tc_dtype_size(slices->dtype);
    p->rank = slices->shape.rank;
    p->slices = slices->shape.dims[0].size;
    for (int32_t i = 0; i < p->rank; i++) {
        p->sizes[i] = slices->shape.dims[i].size;
        p->row *= i > 0 ? p->sizes[i] : 1;
    }
    p->block = BLOCK_BYTES / (1 + p->row);
    p->block = p->block > 0 ? p->block : 1;
    p->blocks = (p->count + p->block - 1) / p->block;
    prepare->workspace_bytes = (size_t)p->blocks * sizeof(int64_t);
    return TC_OK;
}

static tc_status prepare_mask(tc_prepare *prepare)
{
    return prepare_slices(prepare, &prepare->outputs[0]);
}

static tc_status prepare_mask_grad(tc_prepare *prepare)
{
    return prepare_slices(prepare, &prepare->inputs[0]);
}

typedef struct mask_job {
    const mask_params *params;
    const uint8_t *mask;
    const char *from;
    char *to;
    int64_t *counts;
} mask_job;

static void count_true(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const mask_job *job = argument;
    const mask_params *p = job->params;
    for (int64_t b = begin; b < end; b++) {
        int64_t last = (b + 1) * p->block < p->count ? (b + 1) * p->block : p->count, found = 0;
        for (int64_t i = b * p->block; i < last; i++)
            found += job->mask[i] != 0;
        job->counts[b] = found;
    }
}

/* The end of the run of equal elements of the mask that begins at i. */
static inline int64_t run_end(const uint8_t *mask, int64_t i, int64_t last)
{
    bool value = mask[i] != 0;
    do
        i++;
    while (i < last && (mask[i] != 0) == value);
    return i;
}

/* Copies the slices of each run of true elements; with `spread` from a row to their places. */
static inline __attribute__((always_inline)) void move_slices(const mask_job *job, int64_t begin,
                                                              int64_t end, bool spread)
{
    const mask_params *p = job->params;
    for (int64_t b = begin; b < end; b++) {
        int64_t last = (b + 1) * p->block < p->count ? (b + 1) * p->block : p->count;
        int64_t slice = job->counts[b];
        for (int64_t i = b * p->block, next; i < last; i = next) {
            next = run_end(job->mask, i, last);
            size_t bytes = (size_t)((next - i) * p->row);
            if (job->mask[i]) {
                int64_t from = spread ? slice : i, to = spread ? i : slice;
                memcpy(job->to + to * p->row, job->from + from * p->row, bytes);
                slice += next - i;
            } else if (spread) {
                memset(job->to + i * p->row, 0, bytes);
            }
        }
    }
}

static void take_slices(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    move_slices(argument, begin, end, false);
}

static void spread_slices(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    move_slices(argument, begin, end, true);
}

static mask_job count_slices(const mask_params *p, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context, int64_t *found)
{
    mask_job job = {p, inputs[1], inputs[0], outputs[0], context->workspace};
    tc_parallel_for(context->pool, p->blocks, 16, count_true, &job);
    *found = sum_before(job.counts, p->blocks);
    return job;
}

static tc_status run_mask(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    const mask_params *p = params;
    int64_t sizes[TC_MAX_RANK];
    memcpy(sizes, p->sizes, sizeof sizes);
    mask_job job = count_slices(p, inputs, outputs, context, &sizes[0]);
    tc_parallel_for(context->pool, p->row > 0 ? p->blocks : 0, 4, take_slices, &job);
    set_extents(context, 0, p->rank, sizes);
    return TC_OK;
}

static tc_status run_mask_grad(const void *params, const void *const *inputs, void *const *outputs,
                               const tc_kernel_context *context)
{
    const mask_params *p = params;
    int64_t found;
    mask_job job = count_slices(p, inputs, outputs, context, &found);
    if (found != p->slices)
        return tc_kernel_fail(TC_INVALID_ARGUMENT,
                              "the mask is true %lld times, but dy has %lld slices",
                              (long long)found, (long long)p->slices);
    tc_parallel_for(context->pool, p->row > 0 ? p->blocks : 0, 4, spread_slices, &job);
    return TC_OK;
}

/*
 * unique: a radix sort (least significant byte first, so that it is stable) of keys that order as
 * the elements do
 */
typedef struct unique_params {
    int64_t count;
    tc_dtype dtype;
    int32_t element;
} unique_params;

typedef struct keyed {
    uint64_t key;
    int64_t index;
} keyed;

static tc_status prepare_unique(tc_prepare *prepare)
{
    unique_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->count = tc_shape_size(&prepare->inputs[0].shape);
    p->dtype = prepare->inputs[0].dtype;
    p->element = (int32_t)tc_dtype_size(p->dtype);
    if (!tc_mul_size((size_t)p->count, 2 * sizeof(keyed), &prepare->workspace_bytes))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "%lld elements are too many to sort",
                              (long long)p->count);
    return TC_OK;
}

/* Unsigned order is that of the elements: 0 and -0 equal, NaN last. */
static inline uint64_t key_of(uint64_t bits, uint64_t sign, uint64_t infinity)
{
    if (infinity) {
        if ((bits & ~sign) > infinity)
            return sign | (sign - 1); /* NaN */
        if (bits & sign && bits != sign)
            return ~bits & (sign | (sign - 1));
        return bits | sign; /* -0 too */
    }
    return bits ^ sign;
}

static void load_keys(const unique_params *p, const void *x, keyed *keys)
{
    static const uint64_t infinities[TC_DTYPE_COUNT] = {[TC_F64] = 0x7ff0000000000000u,
                                                        [TC_F32] = 0x7f800000u,
                                                        [TC_F16] = 0x7c00u,
                                                        [TC_BF16] = 0x7f80u};
    bool is_signed = (TC_DTYPES_FLOAT | TC_DTYPES_SIGNED) & TC_DTYPE_BIT(p->dtype);
    uint64_t sign = is_signed ? (uint64_t)1 << (8 * p->element - 1) : 0;
    uint64_t infinity = infinities[p->dtype];
#define LOAD(type)                                                          \
    for (int64_t i = 0; i < p->count; i++)                                  \
        keys[i] = (keyed){key_of(((const type *)x)[i], sign, infinity), i}; \
    break
    switch (p->element) {
    case 1: LOAD(uint8_t);
    case 2: LOAD(uint16_t);
    case 4: LOAD(uint32_t);
    default: LOAD(uint64_t);
    }
#undef LOAD
}

/* Sorts `keys` by help of `spare`; returns the one of the two that holds the result. */
static keyed *sort_keys(keyed *keys, keyed *spare, int64_t count, int32_t bytes)
{
    for (int32_t byte = 0; byte < bytes; byte++) {
        int64_t starts[256] = {0};
        for (int64_t i = 0; i < count; i++)
            starts[keys[i].key >> 8 * byte & 255]++;
        if (count == 0 || starts[keys[0].key >> 8 * byte & 255] == count)
            continue;
        (void)sum_before(starts, 256);
        for (int64_t i = 0; i < count; i++)
            spare[starts[keys[i].key >> 8 * byte & 255]++] = keys[i];
        keyed *sorted = spare;
        spare = keys;
        keys = sorted;
    }
    return keys;
}

static tc_status run_unique(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const unique_params *p = params;
    const char *x = inputs[0];
    char *values = outputs[0];
    int64_t *inverse = outputs[1], *counts = outputs[2], found = 0;
    keyed *keys = context->workspace;
    load_keys(p, x, keys);
    keys = sort_keys(keys, keys + p->count, p->count, p->element);
    for (int64_t i = 0; i < p->count; i++) {
        if (i == 0 || keys[i].key != keys[i - 1].key) {
            memcpy(values + found * p->element, x + keys[i].index * p->element, (size_t)p->element);
            counts[found++] = 0;
        }
        counts[found - 1]++;
        inverse[keys[i].index] = found - 1;
    }
    set_extents(context, 0, 1, &found);
    set_extents(context, 2, 1, &found);
    return TC_OK;
}

/*
 * reshape_to
 */
typedef struct reshape_params {
    int64_t count;
    int64_t bytes;
    tc_shape x;
    int32_t rank; /* of the result */
} reshape_params;

static tc_status prepare_reshape_to(tc_prepare *prepare)
{
    reshape_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->x = prepare->inputs[0].shape;
    for (int32_t i = 0; i < p->x.rank; i++)
        p->x.dims[i].name = NULL;
    p->count = tc_shape_size(&prepare->inputs[0].shape);
    p->bytes = p->count * (int64_t)tc_dtype_size(prepare->inputs[0].dtype);
    p->rank = prepare->outputs[0].shape.rank;
    return TC_OK;
}

/* The sizes with what is left in the place of the -1. */
static tc_status resolve_sizes(const reshape_params *p, const int64_t *sizes, int64_t *out)
{
    int64_t product = 1;
    int32_t open = -1;
    char text[TC_SHAPE_TEXT_SIZE];
    for (int32_t i = 0; i < p->rank; i++) {
        out[i] = sizes[i];
        if (sizes[i] == -1 && open >= 0)
            return tc_kernel_fail(TC_INVALID_ARGUMENT, "sizes %d and %d are both -1", (int)open,
                                  (int)i);
        if (sizes[i] < -1)
            return tc_kernel_fail(TC_INVALID_ARGUMENT,
                                  "size %d is %lld; sizes are 0 or more, or -1 once", (int)i,
                                  (long long)sizes[i]);
        if (sizes[i] == -1)
            open = i;
        else if (!tc_mul_i64(product, sizes[i], &product))
            return tc_kernel_fail(TC_INVALID_ARGUMENT, "the sizes are too many elements");
    }
    if (open >= 0 && product == 0)
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "beside a size of 0 the -1 could be anything");
    if (open >= 0) {
        out[open] = p->count / product;
        product *= out[open];
    }
    if (product == p->count)
        return TC_OK;
    return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s does not have %lld elements%s",
                          tc_shape_text(&p->x, text), (long long)product,
                          open >= 0 ? ", nor a number that the other sizes divide" : "");
}

static void copy_part(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const mask_job *job = argument;
    memcpy(job->to + begin, job->from + begin, (size_t)(end - begin));
}

static tc_status run_reshape_to(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context)
{
    const reshape_params *p = params;
    int64_t sizes[TC_MAX_RANK];
    mask_job job = {.from = inputs[0], .to = outputs[0]};
    tc_status status = resolve_sizes(p, inputs[1], sizes);
    if (status != TC_OK)
        return status;
    tc_parallel_for(context->pool, p->bytes, 16 * BLOCK_BYTES, copy_part, &job);
    set_extents(context, 0, p->rank, sizes);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(reshape_to, any, .prepare = prepare_reshape_to, .run = run_reshape_to),
    TC_KERNEL(nonzero, any, .prepare = prepare_nonzero, .run = run_nonzero),
    TC_KERNEL(boolean_mask, any, .prepare = prepare_mask, .run = run_mask),
    TC_KERNEL(boolean_mask_grad, any, .prepare = prepare_mask_grad, .run = run_mask_grad),
    TC_KERNEL(unique, any, .prepare = prepare_unique, .run = run_unique),
};

TC_KERNEL_TABLE(dynamic, kernels);
