/*
 * Images in blocks of 16 channels, [n, ceil(c / 16), h, w, 16]: conversion from and to [n, c, h,
 * w], and pooling, where a pixel's 16 channels are vectors.
 */
#include <float.h>

#include "core/shape.h"
#include "core/window.h"
#include "kernels/cpu/isa/simd.h"
#include "kernels/cpu/isa/tile.h"
#include "kernels/cpu/kernel.h"

enum {
    BLOCK = 16,
    VECTORS = BLOCK / TC_F32_LANES,
    EDGE = TC_TILE_EDGE_4, /* of tiles that are transposed in registers */
    GRAIN = 16384          /* elements worth a job */
};

/*
 * Conversion
 */
typedef struct layout_params {
    int64_t blocks;   /* of all images */
    int64_t channels; /* of an image */
    int64_t area;     /* pixels */
    int64_t span;     /* pixels of a job */
} layout_params;

static tc_status prepare_layout(tc_prepare *prepare, const tc_shape *blocked, int64_t channels)
{
    layout_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->blocks = blocked->dims[0].size * blocked->dims[1].size;
    p->channels = channels;
    p->area = blocked->dims[2].size * blocked->dims[3].size;
    p->span = GRAIN / BLOCK;
    return TC_OK;
}

static tc_status prepare_to(tc_prepare *p)
{
    return prepare_layout(p, &p->outputs[0].shape, p->inputs[0].shape.dims[1].size);
}

static tc_status prepare_from(tc_prepare *p)
{
    return prepare_layout(p, &p->inputs[0].shape, p->outputs[0].shape.dims[1].size);
}

typedef struct layout_work {
    const layout_params *p;
    const float *in;
    float *out;
    bool from; /* blocks are read */
} layout_work;

/* `channels` rows of `pixels`, `area` apart, and a block, either of which may be the source. */
static void convert(const layout_work *w, const float *in, float *out, int64_t channels,
                    int64_t pixels)
{
    int64_t area = w->p->area;
    for (int64_t c = 0; c < BLOCK; c += EDGE) {
        int64_t p = 0;
        if (c + EDGE <= channels)
            for (; p + EDGE <= pixels; p += EDGE) {
                int64_t plane = c * area + p, block = p * BLOCK + c, row = 4 * area;
                if (w->from)
                    tile_4((const char *)(in + block), 4 * BLOCK, (char *)(out + plane), row);
                else
                    tile_4((const char *)(in + plane), row, (char *)(out + block), 4 * BLOCK);
            }
        for (int64_t k = c; k < c + EDGE; k++)
            for (int64_t q = p; q < pixels; q++) {
                if (!w->from)
                    out[q * BLOCK + k] = k < channels ? in[k * area + q] : 0;
                else if (k < channels)
                    out[k * area + q] = in[q * BLOCK + k];
            }
    }
}

static void convert_spans(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const layout_work *w = argument;
    const layout_params *p = w->p;
    int64_t spans = (p->area + p->span - 1) / p->span,
            per_image = (p->channels + BLOCK - 1) / BLOCK;
    for (int64_t i = begin; i < end; i++) {
        int64_t block = i / spans, first = i % spans * p->span;
        int64_t pixels = p->area - first < p->span ? p->area - first : p->span;
        int64_t channel = block % per_image * BLOCK;
        int64_t plane = (block / per_image * p->channels + channel) * p->area + first;
        int64_t blocked = (block * p->area + first) * BLOCK;
        convert(w, w->in + (w->from ? blocked : plane), w->out + (w->from ? plane : blocked),
                p->channels - channel < BLOCK ? p->channels - channel : BLOCK, pixels);
    }
}

static tc_status run_layout(const layout_work *w, const tc_kernel_context *context)
{
    int64_t spans = (w->p->area + w->p->span - 1) / w->p->span;
    int64_t grain = 1 + GRAIN / (BLOCK * (w->p->area + 1));
    tc_parallel_for(context->pool, w->p->blocks * spans, grain, convert_spans, (void *)w);
    return TC_OK;
}

static tc_status run_to(const void *params, const void *const *inputs, void *const *outputs,
                        const tc_kernel_context *context)
{
    layout_work w = {params, inputs[0], outputs[0], false};
    return run_layout(&w, context);
}

static tc_status run_from(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    layout_work w = {params, inputs[0], outputs[0], true};
    return run_layout(&w, context);
}

/*
 * Pooling
 */
typedef struct pool_params {
    int64_t planes;
    tc_window window;
    bool max;
    bool count_include_pad;
} pool_params;

static tc_status prepare_pool(tc_prepare *prepare)
{
    char why[TC_WINDOW_MESSAGE];
    const tc_shape *x = &prepare->inputs[0].shape;
    int32_t count;
    pool_params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    int64_t in[2] = {x->dims[2].size, x->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, tc_attrs_ints(prepare->attrs, "kernel", &count),
                        &p->window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    p->planes = x->dims[0].size * x->dims[1].size;
    p->max = !tc_attrs_get(prepare->attrs, "count_include_pad");
    p->count_include_pad = !p->max && tc_attrs_bool(prepare->attrs, "count_include_pad");
    return TC_OK;
}

typedef struct pool_work {
    const pool_params *p;
    const float *in;
    float *out;
} pool_work;

/* Elements [from, to) of window `o` along an axis that lie in the image. */
static void inside(const tc_window_axis *axis, int64_t o, int64_t *from, int64_t *to)
{
    int64_t first = o * axis->stride - axis->before, step = axis->dilation;
    *from = first < 0 ? (-first + step - 1) / step : 0;
    *to = first + tc_window_extent(axis) > axis->in ? (axis->in - first + step - 1) / step
                                                    : axis->kernel;
}

/* Elements of it that a mean, whose windows have no dilation, divides by. */
static int64_t counted(const tc_window_axis *axis, int64_t o, bool include_pad)
{
    int64_t from, to, first = o * axis->stride - axis->before;
    inside(axis, o, &from, &to);
    if (!include_pad)
        return to - from;
    int64_t end = first + axis->kernel, most = axis->in + axis->after;
    return (end < most ? end : most) - first;
}

/* `max` is a constant in both inlined copies. The greatest is the first NaN where there is one. */
TC_INLINE void pool_rows(const bool max, const pool_work *w, int64_t begin, int64_t end)
{
    const tc_window_axis *h = &w->p->window.axis[0], *v = &w->p->window.axis[1];
    for (int64_t i = begin; i < end; i++) {
        const float *plane = w->in + i / h->out * h->in * v->in * BLOCK;
        float *out = w->out + i * v->out * BLOCK;
        int64_t oy = i % h->out, top, bottom, y = oy * h->stride - h->before;
        inside(h, oy, &top, &bottom);
        float rows = max ? 1 : (float)counted(h, oy, w->p->count_include_pad);
        for (int64_t ox = 0; ox < v->out; ox++, out += BLOCK) {
            int64_t left, right, x = ox * v->stride - v->before;
            inside(v, ox, &left, &right);
            tc_f32v sum[VECTORS];
            for (int j = 0; j < VECTORS; j++)
                sum[j] = tc_f32_splat(max ? -INFINITY : 0);
            for (int64_t ky = top; ky < bottom; ky++)
                for (int64_t kx = left; kx < right; kx++) {
                    const float *from =
                        plane + ((y + ky * h->dilation) * v->in + x + kx * v->dilation) * BLOCK;
                    for (int j = 0; j < VECTORS; j++) {
                        tc_f32v value = tc_f32_load(from + j * TC_F32_LANES);
                        tc_i32v keep = (value <= sum[j]) | (sum[j] != sum[j]);
                        sum[j] = max ? tc_f32_select(keep, sum[j], value) : sum[j] + value;
                    }
                }
            float size = max ? 1 : rows * (float)counted(v, ox, w->p->count_include_pad);
            for (int j = 0; j < VECTORS; j++)
                tc_f32_store(out + j * TC_F32_LANES, max ? sum[j] : sum[j] / size);
        }
    }
}

static void max_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    pool_rows(true, argument, begin, end);
}

static void mean_rows(void *argument, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    pool_rows(false, argument, begin, end);
}

static tc_status run_pool(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    pool_work w = {params, inputs[0], outputs[0]};
    const tc_window_axis *h = &w.p->window.axis[0], *v = &w.p->window.axis[1];
    double row = (double)v->out * (double)v->kernel * (double)h->kernel * BLOCK;
    tc_parallel_for(context->pool, w.p->planes * h->out, 1 + (int64_t)(GRAIN / (row + 1)),
                    w.p->max ? max_rows : mean_rows, &w);
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_KERNEL(to_blocked, f32, .prepare = prepare_to, .run = run_to),
    TC_KERNEL(from_blocked, f32, .prepare = prepare_from, .run = run_from),
    TC_KERNEL(max_pool2d_blocked, f32, .prepare = prepare_pool, .run = run_pool),
    TC_KERNEL(avg_pool2d_blocked, f32, .prepare = prepare_pool, .run = run_pool)};
TC_KERNEL_TABLE(layout_blocked, kernels);
