/* Geometry, packing and loops of blocked convolution (see conv2d_blocked.h). */
#include "kernels/cpu/conv2d_blocked.h"

#include <string.h>

#include "base/alloc.h"
#include "base/threads.h"
#include "core/shape.h"
#include "core/window.h"
#include "kernels/cpu/winograd.h"

enum {
    CHUNK_BYTES =
        24 << 10,      /* of weights that stay in the first cache while a part is gone through */
    PART_PIXELS = 224, /* of a job, at most about */
    LEAST_PIXELS = 56, /* that are worth a job */
    JOBS = 32          /* more jobs than this are not sought */
};

/* Everything decided ahead; the steps follow in memory. */
typedef struct conv {
    tc_window window;
    int64_t images, channels, filters;
    int64_t groups; /* independent sums of channels: of a depthwise convolution the blocks */
    int64_t group_channels, group_filters;
    int64_t group_blocks, group_tiles; /* of the result */
    bool plain;                        /* x is [n, c, h, w] */
    bool depthwise;
    int64_t pixel, row;         /* elements between pixels and rows of the image */
    int64_t in_image, in_group; /* elements of an image and of the channels of a group */
    int64_t height, width;      /* of the image, padded if it is plain */
    int64_t before[2];          /* padding that is not in the image */
    int64_t parts, part_pixels; /* jobs per image and tile of channels */
    int64_t n_steps;
    int64_t depth; /* rows of weights: the sum of the runs */
    float alpha;
    tc_blocked_activation activation;
    tc_winograd winograd; /* where that is chosen, the steps are those of its products */
    size_t weights_bytes, image_bytes, worker_bytes;
} conv;

static tc_blocked_step *steps_of(const conv *c)
{
    return (tc_blocked_step *)(c + 1);
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* First output block of tile `tile` of a group; the next one's ends it. */
static int64_t tile_begin(const conv *c, int64_t tile)
{
    return tile * c->group_blocks / c->group_tiles;
}

/*
 * prepare
 */

/* Where windows are the pixels themselves, an image is one row. */
static void join_rows(tc_window *window)
{
    int64_t area;
    for (int i = 0; i < 2; i++) {
        const tc_window_axis *axis = &window->axis[i];
        if (axis->kernel != 1 || axis->stride != 1 || axis->before + axis->after != 0)
            return;
    }
    if (tc_mul_i64(window->axis[0].in, window->axis[1].in, &area)) {
        window->axis[0].in = window->axis[0].out = 1;
        window->axis[1].in = window->axis[1].out = area;
    }
}

/* What an image is to the steps. False when it is too large. */
static bool plan_image(conv *c)
{
    const tc_window_axis *h = &c->window.axis[0], *w = &c->window.axis[1];
    int64_t padded, check, bytes;
    c->height = h->in;
    c->width = w->in;
    c->pixel = TC_BLOCK;
    c->before[0] = h->before;
    c->before[1] = w->before;
    if (c->plain) {
        c->height = (h->out - 1) * h->stride + tc_window_extent(h);
        c->width = (w->out - 1) * w->stride + tc_window_extent(w);
        c->pixel = c->channels;
        c->before[0] = c->before[1] = 0;
    }
    padded = h->in + h->before + h->after + tc_window_extent(h) + h->stride;
    if (!tc_mul_i64(c->width, c->pixel, &c->row) || !tc_mul_i64(c->row, padded, &check) ||
        !tc_mul_i64(c->row, c->height, &c->in_group))
        return false;
    if (c->plain) {
        c->in_image = c->in_group;
        if (!tc_mul_i64(c->in_image, c->images, &bytes) || bytes > INT64_MAX / 8)
            return false;
        c->image_bytes = tc_align_up((size_t)bytes * sizeof(float), TC_ALIGNMENT);
        return true;
    }
    c->in_image = c->in_group * ceil_div(c->channels, TC_BLOCK);
    if (!c->depthwise)
        c->in_group *= ceil_div(c->group_channels, TC_BLOCK);
    return true;
}

static void add_step(conv *c, int64_t plane, int64_t ky, int64_t kx, int64_t run)
{
    const tc_window_axis *h = &c->window.axis[0], *w = &c->window.axis[1];
    int64_t y = ky * h->dilation, x = kx * w->dilation;
    steps_of(c)[c->n_steps++] =
        (tc_blocked_step){plane * c->height * c->row + y * c->row + x * c->pixel, y, x, run};
    c->depth += run;
}

static int64_t count_steps(const conv *c)
{
    if (c->winograd.tiles > 0)
        return ceil_div(c->channels, TC_BLOCK);
    int64_t taps = c->window.axis[0].kernel * c->window.axis[1].kernel;
    if (c->plain)
        return c->window.axis[1].dilation == 1 ? c->window.axis[0].kernel : taps;
    return taps * (c->depthwise ? 1 : ceil_div(c->group_channels, TC_BLOCK));
}

static void plan_steps(conv *c)
{
    for (int64_t first = 0; first < c->channels && c->winograd.tiles > 0; first += TC_BLOCK) {
        int64_t run = min_i64(TC_BLOCK, c->channels - first);
        steps_of(c)[c->n_steps++] =
            (tc_blocked_step){.delta = first * c->winograd.pitch, .run = run};
    }
    if (c->winograd.tiles > 0)
        return;
    const tc_window_axis *h = &c->window.axis[0], *w = &c->window.axis[1];
    bool rows = c->plain && w->dilation == 1;
    int64_t block = c->plain ? c->channels : TC_BLOCK;
    for (int64_t first = 0; first < c->group_channels; first += block)
        for (int64_t ky = 0; ky < h->kernel; ky++)
            for (int64_t kx = 0; kx < (rows ? 1 : w->kernel); kx++)
                add_step(c, first / TC_BLOCK, ky, kx,
                         min_i64(block, c->group_channels - first) * (rows ? w->kernel : 1));
}

/* Channels in tiles, pixels in parts. */
static void plan_jobs(conv *c, const tc_blocked_tiles *tiles)
{
    c->group_blocks = c->depthwise ? 1 : ceil_div(c->group_filters, TC_BLOCK);
    c->group_tiles = ceil_div(c->group_blocks, tiles->widest);
    int64_t pixels = ceil_div(c->window.axis[0].out * c->window.axis[1].out, tiles->pixels);
    int64_t others = c->groups * c->group_tiles * c->images;
    int64_t wanted = others > 0 ? ceil_div(JOBS, others) : 1;
    c->parts = ceil_div(pixels * tiles->pixels, PART_PIXELS);
    wanted = min_i64(wanted, pixels * tiles->pixels / LEAST_PIXELS);
    c->parts = c->parts > wanted ? c->parts : wanted;
    if (c->parts == 0)
        return;
    c->part_pixels = ceil_div(pixels, c->parts) * tiles->pixels;
    c->parts = ceil_div(pixels * tiles->pixels, c->part_pixels);
}

static bool plan_memory(conv *c, const tc_blocked_tiles *tiles)
{
    size_t bytes;
    if (c->winograd.tiles > 0) {
        c->weights_bytes = tc_winograd_weights_bytes(&c->winograd);
        c->image_bytes = tc_winograd_image_bytes(&c->winograd);
        c->worker_bytes = tc_winograd_worker_bytes(&c->winograd, tiles);
        return true;
    }
    if (!tc_mul_size((size_t)c->groups * (size_t)c->group_blocks, (size_t)c->depth, &bytes) ||
        !tc_mul_size(bytes, TC_BLOCK * sizeof(float), &bytes) || bytes > SIZE_MAX / 4)
        return false;
    c->weights_bytes = bytes;
    c->worker_bytes = (size_t)c->part_pixels * (size_t)tiles->widest * TC_BLOCK * sizeof(float);
    return true;
}

static tc_blocked_activation activation_of(const tc_attrs *attrs)
{
    static const char *const words[] = {"none", "relu", "sigmoid", "tanh", "gelu", "gelu_tanh"};
    const char *word = tc_attrs_string(attrs, "activation");
    int i = 0;
    while (strcmp(words[i], word) != 0) /* the attribute allows no other */
        i++;
    return (tc_blocked_activation)i;
}

static tc_status too_large(void)
{
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the images or filters are too large");
}

tc_status tc_conv2d_blocked_prepare(tc_prepare *prepare, const tc_blocked_tiles *tiles)
{
    char why[TC_WINDOW_MESSAGE];
    const tc_shape *x = &prepare->inputs[0].shape, *w = &prepare->inputs[1].shape;
    int64_t groups = tc_attrs_int(prepare->attrs, "groups");
    conv c = {.images = x->dims[0].size,
              .channels = w->dims[1].size * groups,
              .filters = w->dims[0].size,
              .groups = groups,
              .group_channels = w->dims[1].size,
              .group_filters = w->dims[0].size / groups,
              .plain = x->rank == 4,
              .alpha = (float)tc_attrs_float(prepare->attrs, "alpha"),
              .activation = activation_of(prepare->attrs)};
    c.depthwise = groups > 1 && c.group_channels == 1;
    if (c.depthwise) {
        c.groups = ceil_div(c.channels, TC_BLOCK);
        c.group_filters = TC_BLOCK;
    }
    int64_t in[2] = {x->dims[2].size, x->dims[3].size};
    int64_t kernel[2] = {w->dims[2].size, w->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, kernel, &c.window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    join_rows(&c.window);
    if (!plan_image(&c))
        return too_large();
    plan_jobs(&c, tiles);
    if (c.groups == 1 && !c.plain && tc_attrs_bool(prepare->attrs, "winograd"))
        tc_winograd_plan(&c.winograd, &c.window, c.images, c.channels, c.filters, tiles);
    size_t steps_bytes, workers;
    if (!tc_mul_size((size_t)count_steps(&c), sizeof(tc_blocked_step), &steps_bytes))
        return too_large();
    conv *params = tc_prepare_params(prepare, sizeof c + steps_bytes);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    *params = c;
    plan_steps(params);
    if (!plan_memory(params, tiles) ||
        !tc_mul_size(params->worker_bytes, (size_t)prepare->threads, &workers) ||
        !tc_add_size(workers, params->weights_bytes, &workers) ||
        !tc_add_size(workers, params->image_bytes, &workers))
        return too_large();
    prepare->workspace_bytes = workers;
    prepare->pack_input = 1;
    prepare->pack_bytes = params->weights_bytes;
    return TC_OK;
}

/*
 * pack: for each tile of blocks, a row of all its channels for each row of the steps.
 */
typedef struct packing {
    const conv *c;
    const float *filter;
    float *to;
} packing;

/* Tiles of channels [begin, end), counted over all groups. */
static void pack_tiles(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const packing *p = context;
    const conv *c = p->c;
    int64_t taps = c->window.axis[0].kernel * c->window.axis[1].kernel;
    int64_t block = c->plain ? c->channels : TC_BLOCK;
    for (int64_t i = begin; i < end; i++) {
        int64_t group = i / c->group_tiles, tile = i % c->group_tiles;
        int64_t first = tile_begin(c, tile) * TC_BLOCK;
        int64_t lanes = tile_begin(c, tile + 1) * TC_BLOCK - first;
        float *to = p->to + (group * c->group_blocks * TC_BLOCK + first) * c->depth;
        int64_t filter = group * c->group_filters + first;
        int64_t valid = min_i64(min_i64(lanes, c->group_filters - first), c->filters - filter);
        for (int64_t channel = 0; channel < c->group_channels; channel += block)
            for (int64_t tap = 0; tap < taps; tap++)
                for (int64_t k = channel; k < min_i64(channel + block, c->group_channels); k++) {
                    const float *from = p->filter + (filter * c->group_channels + k) * taps + tap;
                    for (int64_t lane = 0; lane < lanes; lane++)
                        *to++ = lane < valid ? from[lane * c->group_channels * taps] : 0;
                }
    }
}

void tc_conv2d_blocked_pack(const void *params, const void *weights, void *blob)
{
    const conv *c = params;
    packing p = {c, weights, blob};
    if (c->winograd.tiles > 0) {
        tc_winograd_pack(&c->winograd, weights, blob);
        return;
    }
    pack_tiles(&p, 0, c->groups * c->group_tiles, 0);
}

/*
 * run
 */
typedef struct work {
    const conv *c;
    const tc_blocked_tiles *tiles;
    tc_blocked_call call;
    const float *image; /* as the steps read it */
    float *interleaved;
    char *scratch;
} work;

/* Rows [begin, end) of all padded images. */
static void interleave_rows(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *w = context;
    const conv *c = w->c;
    const tc_window_axis *h = &c->window.axis[0], *v = &c->window.axis[1];
    for (int64_t i = begin; i < end; i++) {
        int64_t image = i / c->height, y = i % c->height - h->before;
        int64_t right = min_i64(v->before + v->in, c->width);
        float *to = w->interleaved + i * c->row;
        if (y < 0 || y >= h->in || right <= v->before) {
            memset(to, 0, (size_t)c->row * sizeof(float));
            continue;
        }
        memset(to, 0, (size_t)(v->before * c->pixel) * sizeof(float));
        for (int64_t channel = 0; channel < c->channels; channel++) {
            const float *from = w->call.x + ((image * c->channels + channel) * h->in + y) * v->in;
            float *at = to + v->before * c->pixel + channel;
            for (int64_t x = 0; x < right - v->before; x++)
                at[x * c->pixel] = from[x];
        }
        memset(to + right * c->pixel, 0, (size_t)((c->width - right) * c->pixel) * sizeof(float));
    }
}

/* Where the windows of a tile from pixel (y, x) on lie: `t` knows how many there are. */
static void locate_windows(const conv *c, int64_t y, int64_t x, int32_t pixels, tc_blocked_tile *t)
{
    const tc_window_axis *h = &c->window.axis[0], *w = &c->window.axis[1];
    int64_t bottom = c->height - tc_window_extent(h), right = c->width - tc_window_extent(w);
    t->spacing = 0;
    if (t->count == pixels && x + pixels <= w->out) { /* of one row, as nearly all are */
        int64_t top = y * h->stride - c->before[0], left = x * w->stride - c->before[1];
        int64_t offset = top * c->row + left * c->pixel, spacing = w->stride * c->pixel;
        t->inside =
            top >= 0 && top <= bottom && left >= 0 && left + (pixels - 1) * w->stride <= right;
        for (int32_t i = 0; i < pixels; i++)
            t->offset[i] = offset + i * spacing;
        for (int32_t i = 0; i < pixels && !t->inside; i++) {
            t->y[i] = top;
            t->x[i] = left + i * w->stride;
        }
        t->spacing = spacing;
        return;
    }
    t->inside = true;
    for (int32_t i = 0; i < pixels; i++) {
        t->y[i] = y * h->stride - c->before[0];
        t->x[i] = x * w->stride - c->before[1];
        t->offset[i] = t->y[i] * c->row + t->x[i] * c->pixel;
        t->inside =
            t->inside && t->y[i] >= 0 && t->y[i] <= bottom && t->x[i] >= 0 && t->x[i] <= right;
        if (i + 1 < t->count && ++x == w->out) {
            x = 0;
            y++;
        }
    }
}

void tc_blocked_vectors(const tc_blocked_call *call, int64_t filter, int64_t lanes, float *factor,
                        float *shift)
{
    for (int64_t i = 0; i < lanes; i++) {
        bool valid = filter + i < call->filters;
        factor[i] = call->alpha * (valid && call->scale ? call->scale[filter + i] : 1);
        shift[i] = valid && call->bias ? call->bias[filter + i] : 0;
    }
}

const tc_blocked_step *tc_blocked_chunk(const tc_blocked_step *begin, const tc_blocked_step *end,
                                        int64_t lanes, int64_t *rows)
{
    int64_t most = CHUNK_BYTES / (lanes * (int64_t)sizeof(float));
    *rows = 0;
    do
        if (begin < end)
            *rows += begin++->run;
    while (begin < end && *rows + begin->run <= most);
    return begin;
}

static void run_part(const work *w, int64_t group, int64_t tile, int64_t image, int64_t part,
                     int worker)
{
    const conv *c = w->c;
    int64_t first_block = tile_begin(c, tile), blocks = tile_begin(c, tile + 1) - first_block;
    int64_t lanes = blocks * TC_BLOCK, area = c->window.axis[0].out * c->window.axis[1].out;
    int64_t all_blocks = c->groups * c->group_blocks, block = group * c->group_blocks + first_block;
    int64_t begin = part * c->part_pixels, end = min_i64(begin + c->part_pixels, area);
    int64_t out = (image * all_blocks + block) * area * TC_BLOCK;
    int64_t columns = c->window.axis[1].out;
    float factor[TC_BLOCKED_WIDEST * TC_BLOCK], shift[TC_BLOCKED_WIDEST * TC_BLOCK];
    void (*run)(const tc_blocked_tile *) =
        c->depthwise ? w->tiles->depthwise : w->tiles->dense[blocks - 1];
    float *sums = (float *)(void *)(w->scratch + (size_t)worker * c->worker_bytes);
    tc_blocked_vectors(&w->call, group * c->group_filters + first_block * TC_BLOCK, lanes, factor,
                       shift);
    tc_blocked_tile t = {.image = w->image + image * c->in_image + group * c->in_group,
                         .weights = w->call.weights + block * TC_BLOCK * c->depth,
                         .end = steps_of(c),
                         .height = c->height,
                         .width = c->width,
                         .first = true,
                         .factor = factor,
                         .shift = shift,
                         .out_block = area * TC_BLOCK,
                         .activation = c->activation};
    const tc_blocked_step *all_steps = steps_of(c) + c->n_steps;
    int64_t rows;
    do {
        t.steps = t.end;
        t.end = tc_blocked_chunk(t.steps, all_steps, lanes, &rows);
        t.last = t.end == all_steps;
        t.sums = sums;
        int64_t y = begin / columns, x = begin % columns;
        for (int64_t pixel = begin; pixel < end; pixel += w->tiles->pixels) {
            t.count = (int32_t)min_i64(w->tiles->pixels, end - pixel);
            t.out = w->call.out + out + pixel * TC_BLOCK;
            t.residual = w->call.residual ? w->call.residual + out + pixel * TC_BLOCK : NULL;
            locate_windows(c, y, x, w->tiles->pixels, &t);
            run(&t);
            t.sums += w->tiles->pixels * lanes;
            for (x += w->tiles->pixels; x >= columns; x -= columns)
                y++;
        }
        t.weights += rows * lanes;
        t.first = false;
    } while (!t.last);
}

/* Parts of an image follow each other, then images: a tile's weights are needed for all of them. */
static void run_jobs(void *context, int64_t begin, int64_t end, int worker)
{
    const work *w = context;
    const conv *c = w->c;
    for (int64_t job = begin; job < end; job++) {
        int64_t part = job % c->parts, image = job / c->parts % c->images;
        int64_t tile = job / c->parts / c->images;
        run_part(w, tile / c->group_tiles, tile % c->group_tiles, image, part, worker);
    }
}

tc_status tc_conv2d_blocked_run(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context, const tc_blocked_tiles *tiles)
{
    const conv *c = params;
    char *memory = context->workspace;
    work w = {.c = c,
              .tiles = tiles,
              .call = {.x = inputs[0],
                       .weights = context->packed,
                       .scale = inputs[2],
                       .bias = inputs[3],
                       .residual = inputs[4],
                       .out = outputs[0],
                       .filters = c->filters,
                       .alpha = c->alpha,
                       .activation = c->activation},
              .image = inputs[0],
              .interleaved = (float *)(void *)(memory + c->weights_bytes),
              .scratch = memory + c->weights_bytes + c->image_bytes};
    int64_t n_tiles = c->groups * c->group_tiles, jobs = n_tiles * c->images * c->parts;
    if (jobs == 0)
        return TC_OK;
    if (!context->packed) {
        packing p = {c, inputs[1], (float *)(void *)memory};
        if (c->winograd.tiles > 0)
            tc_winograd_pack(&c->winograd, p.filter, p.to);
        else
            tc_parallel_for(context->pool, n_tiles, 1, pack_tiles, &p);
        w.call.weights = p.to;
    }
    if (c->winograd.tiles > 0) {
        tc_winograd_run(&c->winograd, &w.call, steps_of(c), tiles, context->pool, w.interleaved,
                        w.scratch);
        return TC_OK;
    }
    if (c->plain) {
        w.image = w.interleaved;
        tc_parallel_for(context->pool, c->images * c->height, 1 + 8192 / (1 + c->row),
                        interleave_rows, &w);
    }
    tc_parallel_for(context->pool, jobs, 1, run_jobs, &w);
    return TC_OK;
}
