/* conv2d and its gradients as products over padded planes (see conv2d.h). */
#include "kernels/cpu/conv2d.h"

#include <string.h>

#include "base/threads.h"
#include "core/dtype.h"
#include "core/float16.h"
#include "kernels/cpu/gemm_micro.h"
#include "kernels/cpu/gemm_widen.h"

enum {
    RUN_BLOCK = 2048, /* columns of a dot product that stay in the first cache */
    ARRANGE_ROWS = 32 /* of weights that are rearranged at a time */
};

typedef struct work {
    const tc_conv *conv;
    const tc_conv_part *part;
    const void *image, *filter, *dy; /* as given */
    const char *planes;              /* of the chunk, or the image itself */
    const char *second;              /* the output's gradient, widened to the pitch */
    const char *weights;             /* as the product reads them */
    void *arranged;                  /* weights to be written */
    char *result;
    char *scratch;                   /* of the workers */
    int64_t first;                   /* image of the chunk */
    int64_t count;                   /* images of the chunk */
    const tc_epilogue_inputs *after; /* NULL: nothing follows */
} work;

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static const tc_conv_planes *planes_of(const work *w)
{
    return &w->conv->planes;
}

/* Elements `stride` apart, widened. */
static void widen_strided(const tc_conv *conv, const void *from, int64_t stride, int64_t count,
                          void *to)
{
    if (stride == 1) {
        tc_widen(tc_gemm_micro_of(conv->isa), conv->dtype, from, 0, 1, count, to, 0);
        return;
    }
#define EACH(T, convert, S)             \
    for (int64_t i = 0; i < count; i++) \
    ((T *)to)[i] = convert(((const S *)from)[i * stride])
    switch (conv->dtype) {
    case TC_F32: EACH(float, , float); break;
    case TC_F64: EACH(double, , double); break;
    case TC_F16: EACH(float, tc_f16_to_f32, uint16_t); break;
    default: EACH(float, tc_bf16_to_f32, uint16_t);
    }
#undef EACH
}

/* The inverse: `count` elements to places `stride` apart. */
static void narrow_strided(const tc_conv *conv, const void *from, int64_t count, void *to,
                           int64_t stride)
{
    if (stride == 1 && tc_dtype_size(conv->dtype) == 2) {
        tc_narrow(tc_gemm_micro_of(conv->isa), conv->dtype, from, 0, 1, count, to, 0);
        return;
    }
    if (stride == 1) {
        memcpy(to, from, (size_t)count * tc_dtype_size(conv->dtype));
        return;
    }
#define EACH(T, convert, S)             \
    for (int64_t i = 0; i < count; i++) \
    ((S *)to)[i * stride] = convert(((const T *)from)[i])
    switch (conv->dtype) {
    case TC_F32: EACH(float, , float); break;
    case TC_F64: EACH(double, , double); break;
    case TC_F16: EACH(float, tc_f32_to_f16, uint16_t); break;
    default: EACH(float, tc_f32_to_bf16, uint16_t);
    }
#undef EACH
}

/* The part of [0, count) for which i * stride + first lies in [0, size). */
static void inside(int64_t count, int64_t stride, int64_t first, int64_t size, int64_t *begin,
                   int64_t *end)
{
    *begin = first < 0 ? min_i64(count, ceil_div(-first, stride)) : 0;
    *end = first < size ? min_i64(count, ceil_div(size - first, stride)) : 0;
    *end = max_i64(*begin, *end);
}

/* Padded planes of channels [begin, end), counted over the images of the chunk. */
static void fill_planes(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const tc_conv_planes *p = planes_of(w);
    const int64_t *residues = tc_conv_residues(w->conv);
    size_t size = tc_conv_element(w->conv), given = tc_dtype_size(w->conv->dtype);
    const char *image =
        (const char *)w->image + (size_t)(w->first * p->channels * p->height * p->width) * given;
    for (int64_t c = begin; c < end; c++) {
        const char *from = image + (size_t)(c * p->height * p->width) * given;
        char *to =
            (char *)w->planes + (size_t)(c * p->residues[0] * p->residues[1] * p->plane) * size;
        for (int64_t ry = 0; ry < p->residues[0]; ry++)
            for (int64_t rx = 0; rx < p->residues[1]; rx++) {
                int64_t y0 = residues[ry] - p->before[0];
                int64_t x0 = residues[p->residues[0] + rx] - p->before[1];
                int64_t top, bottom, left, right;
                inside(p->rows, p->stride[0], y0, p->height, &top, &bottom);
                inside(p->pitch, p->stride[1], x0, p->width, &left, &right);
                if (right == left)
                    bottom = top;
                memset(to, 0, (size_t)(top * p->pitch) * size);
                for (int64_t y = top; y < bottom; y++) {
                    char *row = to + (size_t)(y * p->pitch) * size;
                    int64_t source = (y * p->stride[0] + y0) * p->width + left * p->stride[1] + x0;
                    memset(row, 0, (size_t)left * size);
                    widen_strided(w->conv, from + (size_t)source * given, p->stride[1],
                                  right - left, row + (size_t)left * size);
                    memset(row + (size_t)right * size, 0, (size_t)(p->pitch - right) * size);
                }
                memset(to + (size_t)(bottom * p->pitch) * size, 0,
                       (size_t)(p->plane - bottom * p->pitch) * size);
                to += (size_t)p->plane * size;
            }
    }
}

/* Planes of images [first, first + count), ready to be read at w->planes. */
static void hold_planes(work *w, char *memory, tc_pool *pool)
{
    const tc_conv_planes *p = planes_of(w);
    size_t image = (size_t)(p->channels * p->height * p->width) * tc_dtype_size(w->conv->dtype);
    if (!p->copied) {
        w->planes = (const char *)w->image + (size_t)w->first * image;
        return;
    }
    w->planes = memory;
    int64_t cost = p->residues[0] * p->residues[1] * p->plane;
    tc_parallel_for(pool, w->count * p->channels, max_i64(1, 16384 / max_i64(1, cost)), fill_planes,
                    w);
}

/* Rows [begin, end) of the weights of a part: a row per result channel, the taps of each filter in
 * turn. */
static void arrange_gradient(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const tc_conv *conv = w->conv;
    const tc_conv_part *part = w->part;
    int64_t filters = conv->filters / conv->groups, area = conv->kernel[0] * conv->kernel[1];
    int64_t n_taps = part->depth / filters, row = conv->group_channels * area;
    const int64_t *taps = tc_conv_taps(conv) + part->offsets / filters;
    /* A few rows of one group at a time, so that the lines of the filter are read once. */
    for (int64_t block = begin, count; block < end; block += count) {
        int64_t channel = block % conv->m;
        count = min_i64(min_i64(ARRANGE_ROWS, end - block), conv->m - channel);
        size_t source = (size_t)(block / conv->m * filters * row + channel * area);
        size_t target = (size_t)(part->weights + block * part->weights_ld);
#define EACH(T, convert, S)                                                       \
    for (int64_t o = 0; o < filters; o++) {                                       \
        const S *from = (const S *)w->filter + source + (size_t)(o * row);        \
        T *to = (T *)w->arranged + target + (size_t)(o * n_taps);                 \
        for (int64_t r = 0; r < count; r++, from += area, to += part->weights_ld) \
            for (int64_t t = 0; t < n_taps; t++)                                  \
                to[t] = convert(from[taps[t]]);                                   \
    }                                                                             \
    break
        switch (conv->dtype) {
        case TC_F32: EACH(float, , float);
        case TC_F64: EACH(double, , double);
        case TC_F16: EACH(float, tc_f16_to_f32, uint16_t);
        default: EACH(float, tc_bf16_to_f32, uint16_t);
        }
#undef EACH
    }
}

/* Rows of the filter, widened and further apart. */
static void arrange_rows(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const tc_conv_part *part = w->part;
    tc_widen(tc_gemm_micro_of(w->conv->isa), w->conv->dtype,
             (const char *)w->filter +
                 (size_t)(begin * part->depth) * tc_dtype_size(w->conv->dtype),
             part->depth, end - begin, part->depth,
             (char *)w->arranged + (size_t)(begin * part->weights_ld) * tc_conv_element(w->conv),
             part->weights_ld);
}

static void arrange(const tc_conv *conv, const void *filter, void *to, tc_pool *pool)
{
    work w = {.conv = conv, .filter = filter, .arranged = to};
    for (int32_t q = 0; q < conv->n_parts; q++) {
        w.part = tc_conv_parts(conv) + q;
        tc_parallel_for(pool, conv->groups * conv->m,
                        max_i64(ARRANGE_ROWS, 8192 / max_i64(1, w.part->depth)),
                        conv->gradient ? arrange_gradient : arrange_rows, &w);
    }
}

void tc_conv2d_pack(const void *params, const void *weights, void *blob)
{
    arrange(params, weights, blob, NULL);
}

/* The rest of the result's elements in rows of a tile: `rows` image rows of `columns` pixels from
 * `from`, the first of them pixel `pixel` of the plane of channel `channel`. */
static void finish_pixels(const work *w, int64_t channel, int64_t pixel, int64_t rows,
                          int64_t columns, const char *from)
{
    const tc_conv *conv = w->conv;
    size_t size = tc_conv_element(conv), given = tc_dtype_size(conv->dtype);
    int64_t place = channel * conv->out_height * conv->out_width + pixel;
    size_t vector = (size_t)(channel % conv->out_channels) * size;
    const tc_epilogue_inputs *after = w->after;
    char *to = w->result + (size_t)place * given;
    tc_epilogue_tile part = {.rows = rows,
                             .columns = columns,
                             .from = from,
                             .to = size == given ? to : (char *)from,
                             .from_ld = conv->planes.pitch,
                             .to_ld = size == given ? conv->out_width : conv->planes.pitch,
                             .scale = after->scale ? (const char *)after->scale + vector : NULL,
                             .bias = after->bias ? (const char *)after->bias + vector : NULL,
                             .residual_ld = conv->out_width};
    if (after->residual)
        part.residual = (const char *)after->residual + (size_t)place * given;
    tc_epilogue_apply(&conv->epilogue, &part);
}

/* Rows of a tile from the result's channel `channel` (of all images) on and columns [column, column
 * + n) to the pixels of the result that they are. */
static void write_tile(const work *w, int64_t channel, int64_t m, int64_t column, int64_t n,
                       char *tile)
{
    const tc_conv *conv = w->conv;
    const tc_conv_part *part = w->part;
    size_t size = tc_conv_element(conv), given = tc_dtype_size(conv->dtype);
    int64_t pitch = conv->planes.pitch, area = conv->out_height * conv->out_width;
    bool whole = pitch == conv->out_width && part->columns == pitch && conv->step[1] == 1 &&
                 conv->step[0] == 1; /* nothing is dropped, rows follow each other */
    for (int64_t i = 0; i < m; i++) {
        char *plane = w->result + (size_t)((channel + i) * area) * given;
        const char *from = tile + (size_t)(i * conv->column_tile) * size;
        for (int64_t j = 0; j < n;) {
            int64_t y = (column + j) / pitch, x = (column + j) % pitch;
            int64_t count = whole ? n - j : min_i64(part->columns - x, n - j), rows = 1;
            int64_t pixel = (part->first[0] + y * conv->step[0]) * conv->out_width +
                            part->first[1] + x * conv->step[1];
            if (w->after && x == 0 && !whole)
                rows += max_i64(0, (n - j - count) / pitch);
            if (w->after && count > 0)
                finish_pixels(w, channel + i, pixel, rows, count, from + (size_t)j * size);
            if (count > 0 && !(w->after && size == given))
                for (int64_t r = 0; r < rows; r++)
                    narrow_strided(conv, from + (size_t)(j + r * pitch) * size, count,
                                   plane + (size_t)(pixel + r * conv->out_width) * given,
                                   conv->step[1]);
            j += whole ? n : rows * pitch - x;
        }
    }
}

/* A tile of a product: rows of one group from `row` on, columns [column, column + n) of one image.
 */
typedef struct conv_tile {
    int64_t m, column, n;
    int64_t channel; /* of the result, of all images: that of the first row */
    const char *a, *b;
    char *c; /* where it is computed: in the result or in scratch */
    int64_t ldc;
} conv_tile;

/* Rows [row, row + m) and weights [k, k + depth) of a tile. */
static void multiply(const work *w, const conv_tile *t, int64_t row, int64_t m, int64_t k,
                     int64_t depth)
{
    const tc_gemm_micro *micro = tc_gemm_micro_of(w->conv->isa);
    const int64_t *offsets = tc_conv_offsets(w->conv) + w->part->offsets + k;
    size_t size = tc_conv_element(w->conv);
    int64_t lda = w->part->weights_ld;
    const void *a = t->a + (size_t)(row * lda + k) * size, *b = t->b;
    void *c = t->c + (size_t)(row * t->ldc) * size;
    if (w->conv->dtype == TC_F64)
        micro->f64.run_at(m, t->n, depth, a, lda, b, offsets, c, t->ldc, k > 0);
    else
        micro->f32.run_at(m, t->n, depth, a, lda, b, offsets, c, t->ldc, k > 0);
}

/* What follows the product in rows [row, row + m) of a tile that lies in the result itself. */
static void finish_in_result(const work *w, const conv_tile *t, int64_t row, int64_t m)
{
    size_t size = tc_conv_element(w->conv);
    size_t vector = (size_t)((t->channel + row) % w->conv->out_channels) * size;
    char *c = t->c + (size_t)(row * t->ldc) * size;
    const tc_epilogue_inputs *after = w->after;
    tc_epilogue_tile part = {.rows = m,
                             .columns = t->n,
                             .from = c,
                             .to = c,
                             .from_ld = t->ldc,
                             .to_ld = t->ldc,
                             .scale = after->scale ? (const char *)after->scale + vector : NULL,
                             .bias = after->bias ? (const char *)after->bias + vector : NULL,
                             .row_step = 1};
    tc_epilogue_apply(&w->conv->epilogue, &part);
}

static void run_tile(const work *w, const conv_tile *t)
{
    enum { DEPTH = 384 };
    const tc_conv *conv = w->conv;
    size_t size = tc_conv_element(conv);
    int64_t all = w->part->depth, k = 0;
    for (; all - k > DEPTH; k += DEPTH)
        multiply(w, t, 0, t->m, k, DEPTH);
    /* Rows are finished, or leave for the result, while they are in the first cache. */
    int64_t step = t->m;
    if (w->after)
        step = tc_epilogue_rows(t->m, t->n, size, tc_gemm_micro_of(conv->isa)->strip);
    for (int64_t row = 0; row < t->m; row += step) {
        int64_t m = min_i64(step, t->m - row);
        multiply(w, t, row, m, k, all - k);
        if (!conv->direct_out)
            write_tile(w, t->channel + row, m, t->column, t->n,
                       t->c + (size_t)(row * t->ldc) * size);
        else if (w->after)
            finish_in_result(w, t, row, m);
    }
}

/* Tiles [begin, end) of one part: columns, then images, then rows, then groups. */
static void multiply_tiles(void *context, int64_t begin, int64_t end, int worker)
{
    const work *w = context;
    const tc_conv *conv = w->conv;
    const tc_conv_part *part = w->part;
    const tc_conv_planes *p = &conv->planes;
    size_t size = tc_conv_element(conv);
    int64_t run = tc_conv_run(conv, part), area = conv->out_height * conv->out_width;
    int64_t columns = ceil_div(run, conv->column_tile), rows = ceil_div(conv->m, conv->row_tile);
    int64_t channel_size = p->residues[0] * p->residues[1] * p->plane;
    for (int64_t t = begin; t < end; t++) {
        int64_t column = t % columns * conv->column_tile, image = t / columns % w->count;
        int64_t row = t / columns / w->count % rows * conv->row_tile;
        int64_t group = t / columns / w->count / rows;
        int64_t channel = image * p->channels + group * (p->channels / conv->groups);
        conv_tile tile = {.m = min_i64(conv->row_tile, conv->m - row),
                          .column = column,
                          .n = min_i64(conv->column_tile, run - column),
                          .channel =
                              (w->first + image) * conv->out_channels + group * conv->m + row};
        tile.b = w->planes + (size_t)(channel * channel_size + column) * size;
        tile.a = w->weights +
                 (size_t)(part->weights + (group * conv->m + row) * part->weights_ld) * size;
        tile.c = conv->direct_out ? w->result + (size_t)(tile.channel * area + column) * size
                                  : w->scratch + (size_t)worker * conv->worker_bytes;
        tile.ldc = conv->direct_out ? area : conv->column_tile;
        run_tile(w, &tile);
    }
}

/* conv2d and conv2d_grad_input: products of weights and runs of planes. */
static void run_products(const tc_conv *conv, const void *image, const void *filter,
                         const void *const *inputs, void *result, const tc_kernel_context *context)
{
    if (conv->images == 0)
        return;
    char *memory = context->workspace;
    work w = {.conv = conv, .image = image, .filter = filter, .result = result, .weights = filter};
    tc_epilogue_inputs after = tc_epilogue_bind(&conv->epilogue, inputs, memory);
    w.after = conv->epilogue.used ? &after : NULL;
    memory = conv->epilogue.bytes ? memory + conv->epilogue.bytes : memory;
    if (conv->sparse_out)
        memset(result, 0,
               (size_t)(conv->images * conv->out_channels * conv->out_height * conv->out_width) *
                   tc_dtype_size(conv->dtype));
    if (conv->n_parts == 0)
        return;
    if (conv->arranged && context->packed) {
        w.weights = context->packed;
    } else if (conv->arranged) {
        arrange(conv, filter, memory, context->pool);
        w.weights = memory;
    }
    char *planes = memory + conv->weights_bytes;
    w.scratch = planes + conv->planes_bytes;
    for (w.first = 0; w.first < conv->images; w.first += w.count) {
        w.count = min_i64(conv->chunk, conv->images - w.first);
        hold_planes(&w, planes, context->pool);
        for (int32_t q = 0; q < conv->n_parts; q++) {
            w.part = tc_conv_parts(conv) + q;
            int64_t run = tc_conv_run(conv, w.part);
            int64_t jobs = conv->groups * w.count * ceil_div(conv->m, conv->row_tile) *
                           ceil_div(run, conv->column_tile);
            double cost = (double)conv->row_tile * (double)min_i64(conv->column_tile, run) *
                          (double)(w.part->depth + 4);
            int64_t grain = cost < 1 << 18 ? (int64_t)((1 << 18) / cost) : 1;
            tc_parallel_for(context->pool, jobs, grain, multiply_tiles, &w);
        }
    }
}

tc_status tc_conv2d_run(const void *params, const void *const *inputs, void *const *outputs,
                        const tc_kernel_context *context)
{
    run_products(params, inputs[0], inputs[1], inputs, outputs[0], context);
    return TC_OK;
}

tc_status tc_conv2d_grad_input_run(const void *params, const void *const *inputs,
                                   void *const *outputs, const tc_kernel_context *context)
{
    run_products(params, inputs[1], inputs[0], inputs, outputs[0], context);
    return TC_OK;
}

/* Channels [begin, end) of the output's gradient, over the images of the chunk, with rows of the
 * planes' pitch. */
static void widen_gradient(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const tc_conv *conv = w->conv;
    size_t size = tc_conv_element(conv), given = tc_dtype_size(conv->dtype);
    int64_t area = conv->out_height * conv->out_width, pitch = conv->planes.pitch;
    int64_t run = tc_conv_run(conv, w->part);
    for (int64_t c = begin; c < end; c++) {
        const char *from =
            (const char *)w->dy + (size_t)((w->first * conv->filters + c) * area) * given;
        char *to = (char *)w->second + (size_t)(c * run) * size;
        for (int64_t y = 0; y < conv->out_height; y++) {
            char *row = to + (size_t)(y * pitch) * size;
            tc_widen(tc_gemm_micro_of(conv->isa), conv->dtype,
                     from + (size_t)(y * conv->out_width) * given, 0, 1, conv->out_width, row, 0);
            if (y + 1 < conv->out_height)
                memset(row + (size_t)conv->out_width * size, 0,
                       (size_t)(pitch - conv->out_width) * size);
        }
    }
}

/*
 * Tiles [begin, end) of the filter's gradient, all images of the chunk in order: the sum of an
 * element never depends on who computes it.
 */
static void dot_tiles(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const tc_conv *conv = w->conv;
    const tc_conv_planes *p = &conv->planes;
    const tc_gemm_micro *micro = tc_gemm_micro_of(conv->isa);
    int64_t depth = conv->n_offsets, run = tc_conv_run(conv, w->part);
    int64_t rows = ceil_div(conv->m, conv->row_tile), columns = ceil_div(depth, conv->column_tile);
    int64_t channel_size = p->residues[0] * p->residues[1] * p->plane;
    for (int64_t t = begin; t < end; t++) {
        int64_t row = t % rows * conv->row_tile, column = t / rows % columns * conv->column_tile;
        int64_t group = t / rows / columns;
        int64_t m = min_i64(conv->row_tile, conv->m - row);
        int64_t n = min_i64(conv->column_tile, depth - column);
        const int64_t *offsets = tc_conv_offsets(conv) + column;
        int64_t filter = group * conv->m + row, result = filter * depth + column;
        /* Several small images at a time: fewer sums across the lanes of a vector. */
        int64_t together = max_i64(1, RUN_BLOCK / run), images;
        int64_t a_step = conv->filters * run, b_step = p->channels * channel_size;
        for (int64_t image = 0; image < w->count; image += images) {
            images = min_i64(together, w->count - image);
            int64_t b = image * b_step + group * conv->group_channels * channel_size;
            int64_t a = image * a_step + filter * run;
            for (int64_t q = 0; q < run; q += RUN_BLOCK) {
                int64_t k = min_i64(RUN_BLOCK, run - q);
                bool accumulate = w->first + image + q > 0;
                if (conv->dtype == TC_F64)
                    micro->f64.dot_at(m, n, k, (const double *)(const void *)w->second + a + q, run,
                                      (const double *)(const void *)w->planes + b + q, offsets,
                                      images, a_step, b_step, (double *)(void *)w->result + result,
                                      depth, accumulate);
                else
                    micro->f32.dot_at(m, n, k, (const float *)(const void *)w->second + a + q, run,
                                      (const float *)(const void *)w->planes + b + q, offsets,
                                      images, a_step, b_step, (float *)(void *)w->result + result,
                                      depth, accumulate);
            }
        }
    }
}

tc_status tc_conv2d_grad_filter_run(const void *params, const void *const *inputs,
                                    void *const *outputs, const tc_kernel_context *context)
{
    const tc_conv *conv = params;
    size_t given = tc_dtype_size(conv->dtype);
    if (conv->sparse_out)
        memset(outputs[0], 0, (size_t)(conv->filters * conv->n_offsets) * given);
    if (conv->sparse_out || conv->images == 0)
        return TC_OK;
    bool wide = tc_conv_element(conv) == given;
    char *memory = context->workspace;
    char *planes = memory + conv->weights_bytes, *second = planes + conv->planes_bytes;
    work w = {.conv = conv,
              .part = tc_conv_parts(conv),
              .image = inputs[0],
              .dy = inputs[1],
              .second = second,
              .result = wide ? outputs[0] : (void *)memory};
    int64_t jobs = conv->groups * ceil_div(conv->m, conv->row_tile) *
                   ceil_div(conv->n_offsets, conv->column_tile);
    int64_t run = tc_conv_run(conv, w.part);
    for (w.first = 0; w.first < conv->images; w.first += w.count) {
        w.count = min_i64(conv->chunk, conv->images - w.first);
        hold_planes(&w, planes, context->pool);
        if (conv->direct_out)
            w.second = (const char *)inputs[1] + (size_t)(w.first * conv->filters * run) * given;
        else
            tc_parallel_for(context->pool, w.count * conv->filters,
                            max_i64(1, 16384 / max_i64(1, run)), widen_gradient, &w);
        tc_parallel_for(context->pool, jobs, 1, dot_tiles, &w);
    }
    if (!wide)
        tc_narrow(tc_gemm_micro_of(conv->isa), conv->dtype, (const float *)(const void *)memory, 0,
                  1, conv->filters * conv->n_offsets, outputs[0], 0);
    return TC_OK;
}
