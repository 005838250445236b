/*
 * Pooling. A row of outputs is computed in blocks, kernel element by kernel element: the inner
 * loops run over neighbouring outputs and the compiler makes vectors of them. Floats of 16 bits
 * compute in f32.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/dtype.h"
#include "core/float16.h"
#include "core/shape.h"
#include "core/window.h"
#include "kernels/cpu/kernel.h"

enum { BLOCK = 128 /* outputs of a row at a time */, GRAIN = 32768 /* elements worth a job */ };

typedef struct pool_params {
    int64_t planes; /* batch times channels */
    tc_window window;
    bool count_include_pad;
    size_t worker_bytes;
} pool_params;

/* The window over `image`; its kernel is an attribute. */
static tc_status prepare(tc_prepare *prepare, const tc_shape *image, size_t scratch)
{
    char why[TC_WINDOW_MESSAGE];
    int32_t count;
    pool_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    int64_t in[2] = {image->dims[2].size, image->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, tc_attrs_ints(prepare->attrs, "kernel", &count),
                        &p->window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    tc_shape outer = tc_shape_make(2, image->dims);
    p->planes = tc_shape_size(&outer);
    if (tc_shape_size(image) == 0 && tc_shape_size(&prepare->outputs[0].shape) == 0)
        p->planes = 0;
    p->count_include_pad = tc_attrs_get(prepare->attrs, "count_include_pad") &&
                           tc_attrs_bool(prepare->attrs, "count_include_pad");
    p->worker_bytes = (scratch + 63) / 64 * 64;
    prepare->workspace_bytes = p->worker_bytes * (size_t)prepare->threads;
    return TC_OK;
}

static tc_status prepare_pool(tc_prepare *p)
{
    return prepare(p, &p->inputs[0].shape, 0);
}

/* The gradient of the mean sums a row of the image in the type that is computed in. */
static tc_status prepare_avg_grad(tc_prepare *p)
{
    size_t size = p->inputs[0].dtype == TC_F64 ? sizeof(double) : sizeof(float);
    return prepare(p, &p->outputs[0].shape, (size_t)p->outputs[0].shape.dims[3].size * size);
}

typedef struct work {
    const pool_params *p;
    const void *in;
    const int32_t *places;
    void *out;
    int32_t *argmax;
    char *scratch;
} work;

static int64_t grain_of(const pool_params *p)
{
    const tc_window_axis *h = &p->window.axis[0], *w = &p->window.axis[1];
    double cost = (double)h->out * (double)w->out * (double)h->kernel * (double)w->kernel +
                  (double)h->in * (double)w->in;
    return cost < GRAIN ? (int64_t)(GRAIN / (cost + 1)) + 1 : 1;
}

/* The outputs of [begin, end) whose element `k` lies inside the image. */
static inline void inside(const tc_window_axis *axis, int64_t k, int64_t begin, int64_t end,
                          int64_t *from, int64_t *to)
{
    int64_t first = k * axis->dilation - axis->before; /* of output 0 */
    *from = begin;
    *to = end;
    if (first + begin * axis->stride >= 0 && first + (end - 1) * axis->stride < axis->in)
        return; /* the usual case, without divisions */
    *from = first < 0 ? (-first + axis->stride - 1) / axis->stride : 0;
    *to = first < axis->in ? (axis->in - first + axis->stride - 1) / axis->stride : 0;
    *from = *from > begin ? *from : begin;
    *to = *to < end ? *to : end;
}

/* Elements of window `o` that a mean divides by, along one axis. */
static int64_t counted(const tc_window_axis *axis, int64_t o, bool include_pad)
{
    int64_t begin = o * axis->stride - axis->before, end = begin + axis->kernel;
    int64_t least = include_pad ? -axis->before : 0;
    int64_t most = axis->in + (include_pad ? axis->after : 0);
    return (end < most ? end : most) - (begin > least ? begin : least);
}

#define SAME(x) (x)

/* Every second element of two vectors of as many lanes. */
#define EVEN_2(a, b) __builtin_shufflevector(a, b, 0, 2)
#define EVEN_4(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
#define EVEN_8(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define EVEN_16(a, b) \
    __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)

static const uint32_t lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

/*
 * T: element, C: what is computed in, UP and DOWN: conversions, L: lanes. Up to L outputs of a row
 * are computed in a vector. Where the row has fewer, the lanes left over take nothing; what they
 * read lies behind the row, but within the `all` elements of the input.
 */
#define MAX_POOL(tag, T, C, UP, DOWN, L)                                                           \
    typedef T element_##tag __attribute__((vector_size(L * sizeof(T))));                           \
    typedef C value_##tag __attribute__((vector_size(L * sizeof(C))));                             \
    typedef uint32_t lane_##tag __attribute__((vector_size(L * sizeof(uint32_t))));                \
    typedef int32_t place_##tag __attribute__((vector_size(L * sizeof(int32_t))));                 \
    typedef __typeof__((value_##tag){0} < (value_##tag){0}) mask_##tag;                            \
    static inline void max_lanes_##tag(const pool_params *p, const T *image, int64_t all,          \
                                       int64_t plane, int64_t oy, int64_t begin, int64_t end,      \
                                       C *values, int32_t *places)                                 \
    {                                                                                              \
        const tc_window_axis *h = &p->window.axis[0], *w = &p->window.axis[1];                     \
        value_##tag best = {0};                                                                    \
        place_##tag place = ~(place_##tag){0};                                                     \
        lane_##tag lane;                                                                           \
        memcpy(&lane, lane_numbers, sizeof lane);                                                  \
        for (int64_t ky = 0; ky < h->kernel; ky++) {                                               \
            int64_t y = oy * h->stride + ky * h->dilation - h->before;                             \
            if (y < 0 || y >= h->in)                                                               \
                continue;                                                                          \
            for (int64_t kx = 0; kx < w->kernel; kx++) {                                           \
                int64_t from, to, stride = w->stride;                                              \
                inside(w, kx, begin, end, &from, &to);                                             \
                int64_t at = y * w->in + kx * w->dilation - w->before + begin * stride;            \
                int64_t left = plane + at >= 0 ? all - plane - at : 0;                             \
                const T *row = image + plane + at;                                                 \
                element_##tag v, next;                                                             \
                if (stride == 1 && left >= L) {                                                    \
                    memcpy(&v, row, sizeof v);                                                     \
                } else if (stride == 2 && left >= 2 * L) {                                         \
                    memcpy(&v, row, sizeof v);                                                     \
                    memcpy(&next, row + L, sizeof next);                                           \
                    v = TC_PASTE(EVEN_, L)(v, next);                                               \
                } else {                                                                           \
                    T each[L] = {0};                                                               \
                    for (int64_t o = from; o < to; o++)                                            \
                        each[o - begin] = row[(o - begin) * stride];                               \
                    memcpy(&v, each, sizeof v);                                                    \
                }                                                                                  \
                value_##tag x = {0};                                                               \
                if (sizeof(T) == sizeof(C))                                                        \
                    memcpy(&x, &v, sizeof v);                                                      \
                else                                                                               \
                    for (int i = 0; i < L; i++)                                                    \
                        x[i] = UP(v[i]);                                                           \
                /* Greater, or the first NaN, or the first of all. */                              \
                place_##tag take =                                                                 \
                    __builtin_convertvector(~(x <= best) & (best == best), place_##tag) |          \
                    (place < 0);                                                                   \
                take &= ((place_##tag)lane >= (int32_t)(from - begin)) &                           \
                        ((place_##tag)lane < (int32_t)(to - begin));                               \
                mask_##tag select = __builtin_convertvector(take, mask_##tag);                     \
                lane_##tag here = lane * (uint32_t)stride + (uint32_t)at;                          \
                best = (value_##tag)((select & (mask_##tag)x) | (~select & (mask_##tag)best));     \
                place = (take & (place_##tag)here) | (~take & place);                              \
            }                                                                                      \
        }                                                                                          \
        memcpy(values, &best, sizeof best);                                                        \
        memcpy(places, &place, sizeof place);                                                      \
    }                                                                                              \
    /* Rows go into a block, vectors over the unused lanes of the one before, and from there to    \
     * the outputs. */                                                                             \
    static void max_planes_##tag(void *argument, int64_t first, int64_t last, int worker)          \
    {                                                                                              \
        (void)worker;                                                                              \
        const work *k = argument;                                                                  \
        const tc_window_axis *h = &k->p->window.axis[0], *w = &k->p->window.axis[1];               \
        int64_t area = h->in * w->in, all = k->p->planes * area, plane = first * area;             \
        int64_t size = h->out * w->out;                                                            \
        C best[BLOCK + L];                                                                         \
        int32_t place[BLOCK + L];                                                                  \
        for (int64_t oy = 0, o = 0, done = first * size, held; done < last * size; done += held) { \
            for (held = 0; held < BLOCK && done + held < last * size;) {                           \
                int64_t end = o + L < w->out ? o + L : w->out;                                     \
                max_lanes_##tag(k->p, k->in, all, plane, oy, o, end, best + held, place + held);   \
                held += end - o;                                                                   \
                o = end < w->out ? end : 0;                                                        \
                oy += o == 0;                                                                      \
                if (oy == h->out) {                                                                \
                    oy = 0;                                                                        \
                    plane += area;                                                                 \
                }                                                                                  \
            }                                                                                      \
            T *y = (T *)k->out + done;                                                             \
            if (sizeof(T) == sizeof(C))                                                            \
                memcpy(y, best, (size_t)held * sizeof(T));                                         \
            for (int64_t i = 0; sizeof(T) != sizeof(C) && i < held; i++)                           \
                y[i] = DOWN(best[i]);                                                              \
            if (k->argmax)                                                                         \
                memcpy(k->argmax + done, place, (size_t)held * sizeof(int32_t));                   \
        }                                                                                          \
    }                                                                                              \
    static tc_status run_max_##tag(const void *params, const void *const *inputs,                  \
                                   void *const *outputs, const tc_kernel_context *context)         \
    {                                                                                              \
        work w = {.p = params, .in = inputs[0], .out = outputs[0], .argmax = outputs[1]};          \
        tc_parallel_for(context->pool, w.p->planes, grain_of(w.p), max_planes_##tag, &w);          \
        return TC_OK;                                                                              \
    }

/* Lanes of a vector of 4 and of 8 bytes; narrow types have those of 4. */
#if TC_ISA_LEVEL == 2
#define L4 16
#define L8 8
#elif TC_ISA_LEVEL == 1
#define L4 8
#define L8 4
#else
#define L4 4
#define L8 2
#endif

MAX_POOL(f32, float, float, SAME, SAME, L4)
MAX_POOL(f64, double, double, SAME, SAME, L8)
MAX_POOL(f16, uint16_t, float, tc_f16_to_f32, tc_f32_to_f16, L4)
MAX_POOL(bf16, uint16_t, float, tc_bf16_to_f32, tc_f32_to_bf16, L4)
MAX_POOL(i8, int8_t, int8_t, SAME, SAME, L4)
MAX_POOL(i16, int16_t, int16_t, SAME, SAME, L4)
MAX_POOL(i32, int32_t, int32_t, SAME, SAME, L4)
MAX_POOL(i64, int64_t, int64_t, SAME, SAME, L8)
MAX_POOL(u8, uint8_t, uint8_t, SAME, SAME, L4)
MAX_POOL(u16, uint16_t, uint16_t, SAME, SAME, L4)
MAX_POOL(u32, uint32_t, uint32_t, SAME, SAME, L4)
MAX_POOL(u64, uint64_t, uint64_t, SAME, SAME, L8)

#define AVG_POOL(tag, T, C, UP, DOWN)                                                              \
    static void avg_planes_##tag(void *argument, int64_t first, int64_t last, int worker)          \
    {                                                                                              \
        (void)worker;                                                                              \
        const work *k = argument;                                                                  \
        const tc_window_axis *h = &k->p->window.axis[0], *w = &k->p->window.axis[1];               \
        bool pad = k->p->count_include_pad;                                                        \
        for (int64_t r = first * h->out; r < last * h->out; r++) {                                 \
            const T *plane = (const T *)k->in + r / h->out * h->in * w->in;                        \
            int64_t oy = r % h->out, rows = counted(h, oy, pad);                                   \
            for (int64_t o = 0; o < w->out; o += BLOCK) {                                          \
                C sum[BLOCK] = {0};                                                                \
                int64_t count = w->out - o < BLOCK ? w->out - o : BLOCK;                           \
                for (int64_t ky = 0; ky < h->kernel; ky++) {                                       \
                    int64_t y = oy * h->stride + ky - h->before;                                   \
                    if (y < 0 || y >= h->in)                                                       \
                        continue;                                                                  \
                    for (int64_t kx = 0; kx < w->kernel; kx++) {                                   \
                        int64_t from, to, stride = w->stride;                                      \
                        inside(w, kx, o, o + count, &from, &to);                                   \
                        const T *row = plane + y * w->in + kx - w->before;                         \
                        for (int64_t i = from; i < to; i++)                                        \
                            sum[i - o] += UP(row[i * stride]);                                     \
                    }                                                                              \
                }                                                                                  \
                T *out = (T *)k->out + r * w->out + o;                                             \
                for (int64_t i = 0; i < count; i++)                                                \
                    out[i] = DOWN(sum[i] / (C)(rows * counted(w, o + i, pad)));                    \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static tc_status run_avg_##tag(const void *params, const void *const *inputs,                  \
                                   void *const *outputs, const tc_kernel_context *context)         \
    {                                                                                              \
        work k = {.p = params, .in = inputs[0], .out = outputs[0]};                                \
        tc_parallel_for(context->pool, k.p->planes, grain_of(k.p), avg_planes_##tag, &k);          \
        return TC_OK;                                                                              \
    }                                                                                              \
    /* Row by row of the image: the windows that touch it, in order. */                            \
    static void avg_grad_planes_##tag(void *argument, int64_t first, int64_t last, int worker)     \
    {                                                                                              \
        const work *k = argument;                                                                  \
        const tc_window_axis *h = &k->p->window.axis[0], *w = &k->p->window.axis[1];               \
        bool pad = k->p->count_include_pad;                                                        \
        C *sum = (C *)(void *)(k->scratch + (size_t)worker * k->p->worker_bytes);                  \
        for (int64_t r = first * h->in; r < last * h->in; r++) {                                   \
            const T *dy = (const T *)k->in + r / h->in * h->out * w->out;                          \
            int64_t position = r % h->in + h->before;                                              \
            memset(sum, 0, (size_t)w->in * sizeof(C));                                             \
            for (int64_t ky = position % h->stride; ky < h->kernel && ky <= position;              \
                 ky += h->stride) {                                                                \
                int64_t oy = (position - ky) / h->stride;                                          \
                if (oy >= h->out)                                                                  \
                    continue;                                                                      \
                int64_t rows = counted(h, oy, pad);                                                \
                for (int64_t o = 0; o < w->out; o++) {                                             \
                    int64_t x = o * w->stride - w->before, end = x + w->kernel;                    \
                    C part = UP(dy[oy * w->out + o]) / (C)(rows * counted(w, o, pad));             \
                    for (x = x < 0 ? 0 : x, end = end < w->in ? end : w->in; x < end; x++)         \
                        sum[x] += part;                                                            \
                }                                                                                  \
            }                                                                                      \
            T *dx = (T *)k->out + r * w->in;                                                       \
            for (int64_t x = 0; x < w->in; x++)                                                    \
                dx[x] = DOWN(sum[x]);                                                              \
        }                                                                                          \
    }                                                                                              \
    static tc_status run_avg_grad_##tag(const void *params, const void *const *inputs,             \
                                        void *const *outputs, const tc_kernel_context *context)    \
    {                                                                                              \
        work k = {.p = params, .in = inputs[0], .out = outputs[0], .scratch = context->workspace}; \
        tc_parallel_for(context->pool, k.p->planes, grain_of(k.p), avg_grad_planes_##tag, &k);     \
        return TC_OK;                                                                              \
    }

AVG_POOL(f32, float, float, SAME, SAME)
AVG_POOL(f64, double, double, SAME, SAME)
AVG_POOL(f16, uint16_t, float, tc_f16_to_f32, tc_f32_to_f16)
AVG_POOL(bf16, uint16_t, float, tc_bf16_to_f32, tc_f32_to_bf16)

/* Places in planes: sizes of the two sides. */
typedef struct place_params {
    int64_t planes, image, pooled;
    size_t worker_bytes;
} place_params;

static tc_status prepare_places(tc_prepare *prepare, const tc_shape *image, const tc_shape *pooled,
                                size_t scratch)
{
    place_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_shape outer = tc_shape_make(2, image->dims), a = tc_shape_make(2, image->dims + 2),
             b = tc_shape_make(2, pooled->dims + 2);
    *p = (place_params){tc_shape_size(&outer), tc_shape_size(&a), tc_shape_size(&b), 0};
    if (tc_shape_size(&prepare->outputs[0].shape) == 0)
        p->planes = 0;
    p->worker_bytes = p->planes ? ((size_t)p->image * scratch + 63) / 64 * 64 : 0;
    prepare->workspace_bytes = p->worker_bytes * (size_t)prepare->threads;
    return TC_OK;
}

/* Sums of 16-bit floats are kept in f32 until the plane is done. */
static tc_status prepare_max_grad(tc_prepare *p)
{
    size_t scratch = tc_dtype_size(p->inputs[0].dtype) == 2 ? sizeof(float) : 0;
    return prepare_places(p, &p->outputs[0].shape, &p->inputs[0].shape, scratch);
}

static tc_status prepare_gather(tc_prepare *p)
{
    return prepare_places(p, &p->inputs[0].shape, &p->outputs[0].shape, 0);
}

typedef struct place_work {
    const place_params *p;
    const void *in;
    const int32_t *places;
    void *out;
    char *scratch;
} place_work;

/* A place outside the plane, which only a foreign argmax can hold, takes and gives nothing. */
#define PLACES(tag, T, C, UP, DOWN)                                                             \
    static void max_grad_planes_##tag(void *argument, int64_t first, int64_t last, int worker)  \
    {                                                                                           \
        const place_work *w = argument;                                                         \
        const place_params *p = w->p;                                                           \
        for (int64_t c = first; c < last; c++) {                                                \
            const T *dy = (const T *)w->in + c * p->pooled;                                     \
            const int32_t *place = w->places + c * p->pooled;                                   \
            T *dx = (T *)w->out + c * p->image;                                                 \
            C *sum = sizeof(T) == sizeof(C)                                                     \
                         ? (C *)(void *)dx                                                      \
                         : (C *)(void *)(w->scratch + (size_t)worker * p->worker_bytes);        \
            memset(sum, 0, (size_t)p->image * sizeof(C));                                       \
            for (int64_t i = 0; i < p->pooled; i++)                                             \
                if (place[i] >= 0 && place[i] < p->image)                                       \
                    sum[place[i]] += UP(dy[i]);                                                 \
            for (int64_t i = 0; sizeof(T) != sizeof(C) && i < p->image; i++)                    \
                dx[i] = DOWN(sum[i]);                                                           \
        }                                                                                       \
    }                                                                                           \
    static tc_status run_max_grad_##tag(const void *params, const void *const *inputs,          \
                                        void *const *outputs, const tc_kernel_context *context) \
    {                                                                                           \
        place_work w = {params, inputs[0], inputs[1], outputs[0], context->workspace};          \
        tc_parallel_for(context->pool, w.p->planes, 1 + GRAIN / (w.p->image + w.p->pooled + 1), \
                        max_grad_planes_##tag, &w);                                             \
        return TC_OK;                                                                           \
    }                                                                                           \
    static void gather_planes_##tag(void *argument, int64_t first, int64_t last, int worker)    \
    {                                                                                           \
        (void)worker;                                                                           \
        const place_work *w = argument;                                                         \
        const place_params *p = w->p;                                                           \
        for (int64_t i = first * p->pooled; i < last * p->pooled; i++) {                        \
            int32_t place = w->places[i];                                                       \
            bool valid = place >= 0 && place < p->image;                                        \
            ((T *)w->out)[i] =                                                                  \
                valid ? ((const T *)w->in)[i / p->pooled * p->image + place] : (T)0;            \
        }                                                                                       \
    }                                                                                           \
    static tc_status run_gather_##tag(const void *params, const void *const *inputs,            \
                                      void *const *outputs, const tc_kernel_context *context)   \
    {                                                                                           \
        place_work w = {params, inputs[0], inputs[1], outputs[0], NULL};                        \
        tc_parallel_for(context->pool, w.p->planes, 1 + GRAIN / (w.p->pooled + 1),              \
                        gather_planes_##tag, &w);                                               \
        return TC_OK;                                                                           \
    }

PLACES(f32, float, float, SAME, SAME)
PLACES(f64, double, double, SAME, SAME)
PLACES(f16, uint16_t, float, tc_f16_to_f32, tc_f32_to_f16)
PLACES(bf16, uint16_t, float, tc_bf16_to_f32, tc_f32_to_bf16)

#define MAX_KERNEL(tag) TC_KERNEL(max_pool2d, tag, .prepare = prepare_pool, .run = run_max_##tag)
#define FLOAT_KERNELS(tag)                                                                       \
    MAX_KERNEL(tag),                                                                             \
        TC_KERNEL(max_pool2d_grad, tag, .prepare = prepare_max_grad, .run = run_max_grad_##tag), \
        TC_KERNEL(max_pool2d_gather, tag, .prepare = prepare_gather, .run = run_gather_##tag),   \
        TC_KERNEL(avg_pool2d, tag, .prepare = prepare_pool, .run = run_avg_##tag),               \
        TC_KERNEL(avg_pool2d_grad, tag, .prepare = prepare_avg_grad, .run = run_avg_grad_##tag)
static const tc_kernel kernels[] = {FLOAT_KERNELS(f32),  FLOAT_KERNELS(f64), FLOAT_KERNELS(f16),
                                    FLOAT_KERNELS(bf16), MAX_KERNEL(i8),     MAX_KERNEL(i16),
                                    MAX_KERNEL(i32),     MAX_KERNEL(i64),    MAX_KERNEL(u8),
                                    MAX_KERNEL(u16),     MAX_KERNEL(u32),    MAX_KERNEL(u64)};
TC_KERNEL_TABLE(pool2d, kernels);
