/* Geometry, packing and loops of Winograd's algorithm (see winograd.h). */
#include "kernels/cpu/winograd.h"

#include <string.h>

#include "base/alloc.h"

enum {
    OUT = 4, /* results of a tile in a row */
    IN = 6,  /* pixels that they need */
    PLANES = IN * IN,
    LEAST_CHANNELS = 64, /* and filters: with less the transforms take too long */
    WEIGHT = 16,         /* multiply-adds in the time of reading a weight */
    TRANSFORM = 200,     /* and of transforming a tile of a channel */
    ROUND = 112,         /* tiles, about, that share a reading of the weights */
    GRAIN = 16           /* transforms that are worth a job */
};

static int64_t ceil_div(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool is_faster(int64_t tiles, int64_t pixels, int64_t channels, int64_t filters)
{
    double products = (double)channels * (double)filters;
    double direct = 9 * products * ((double)pixels + WEIGHT);
    double transforms = TRANSFORM * (double)(channels + filters) * (double)tiles;
    return PLANES * products * ((double)tiles + WEIGHT) + transforms < direct;
}

void tc_winograd_plan(tc_winograd *w, const tc_window *window, int64_t images, int64_t channels,
                      int64_t filters, const tc_blocked_tiles *tiles)
{
    tc_winograd plan = {.channels = channels,
                        .filters = filters,
                        .blocks_in = ceil_div(channels, TC_BLOCK),
                        .blocks_out = ceil_div(filters, TC_BLOCK)};
    if (channels < LEAST_CHANNELS || filters < LEAST_CHANNELS || channels > TC_WINDOW_LIMIT ||
        filters > TC_WINDOW_LIMIT)
        return;
    for (int i = 0; i < 2; i++) {
        const tc_window_axis *axis = &window->axis[i];
        if (axis->kernel != 3 || axis->stride != 1 || axis->dilation != 1)
            return;
        plan.in[i] = axis->in;
        plan.out[i] = axis->out;
        plan.before[i] = axis->before;
    }
    plan.rows = ceil_div(plan.out[0], OUT);
    plan.columns = ceil_div(plan.out[1], OUT);
    int64_t count, weights;
    if (!tc_mul_i64(plan.rows, plan.columns, &count) || !tc_mul_i64(count, images, &count) ||
        count > INT64_MAX / (2 * OUT * OUT) || count == 0 ||
        !tc_mul_i64(channels, plan.blocks_out, &weights) ||
        weights > INT64_MAX / (4 * PLANES * TC_BLOCK) ||
        !is_faster(count, images * plan.out[0] * plan.out[1], channels, filters))
        return;
    plan.wide_tiles = ceil_div(plan.blocks_out, tiles->widest);
    plan.round = ceil_div(count, ceil_div(count, ROUND));
    plan.round = min_i64(ceil_div(plan.round, tiles->pixels) * tiles->pixels, count);
    plan.pitch = plan.round | 1; /* planes at other places of the caches */
    plan.tiles = count;
    *w = plan;
}

size_t tc_winograd_weights_bytes(const tc_winograd *w)
{
    return (size_t)(PLANES * w->channels * w->blocks_out) * TC_BLOCK * sizeof(float);
}

size_t tc_winograd_image_bytes(const tc_winograd *w)
{
    return (size_t)(PLANES * w->pitch * (w->blocks_in + w->blocks_out)) * TC_BLOCK * sizeof(float);
}

size_t tc_winograd_worker_bytes(const tc_winograd *w, const tc_blocked_tiles *tiles)
{
    return (size_t)(w->round + tiles->pixels) * (size_t)tiles->widest * TC_BLOCK * sizeof(float);
}

/* First block of filters of register tile `tile`. */
static int64_t tile_begin(const tc_winograd *w, int64_t tile)
{
    return tile * w->blocks_out / w->wide_tiles;
}

/* Of each plane, tiles of filters: a row of all of them for each channel. */
void tc_winograd_pack(const tc_winograd *w, const float *filter, float *to)
{
    /* Powers of the points over the products of their distances to the others. */
    const double near = TC_WINOGRAD_NEAR, far = TC_WINOGRAD_FAR;
    const double g[IN][3] = {{1, 0, 0},
                             {-2.0 / 3, -2.0 / 3 * near, -1.0 / 3},
                             {-2.0 / 3, 2.0 / 3 * near, -1.0 / 3},
                             {1.0 / 6, 1.0 / 6 * far, 1.0 / 3},
                             {1.0 / 6, -1.0 / 6 * far, 1.0 / 3},
                             {0, 0, 1}};
    int64_t plane = w->channels * w->blocks_out * TC_BLOCK;
    for (int64_t tile = 0; tile < w->wide_tiles; tile++) {
        int64_t first = tile_begin(w, tile) * TC_BLOCK;
        int64_t lanes = tile_begin(w, tile + 1) * TC_BLOCK - first;
        for (int64_t k = 0; k < w->channels * lanes; k++) {
            int64_t lane = k % lanes, channel = k / lanes;
            float *at = to + first * w->channels + k;
            const float *kernel = filter + ((first + lane) * w->channels + channel) * 9;
            double half[IN][3];
            bool valid = first + lane < w->filters;
            for (int i = 0; i < IN; i++)
                for (int x = 0; x < 3; x++)
                    half[i][x] = valid ? g[i][0] * (double)kernel[x] +
                                             g[i][1] * (double)kernel[3 + x] +
                                             g[i][2] * (double)kernel[6 + x]
                                       : 0;
            for (int i = 0; i < PLANES; i++) {
                const double *row = half[i / IN], *column = g[i % IN];
                at[i * plane] =
                    (float)(row[0] * column[0] + row[1] * column[1] + row[2] * column[2]);
            }
        }
    }
}

/*
 * run: rounds of three loops
 */
typedef struct work {
    const tc_winograd *w;
    const tc_blocked_call *call;
    const tc_blocked_step *steps;
    const tc_blocked_tiles *tiles;
    int64_t first, count; /* tiles of the round */
    float *image, *products;
    char *scratch;
} work;

/* A tile of an image. */
typedef struct place {
    int64_t image, y, x; /* y and x: the first result */
} place;

static place place_of(const tc_winograd *w, int64_t tile)
{
    int64_t row = tile / w->columns;
    return (place){row / w->rows, row % w->rows * OUT, tile % w->columns * OUT};
}

/* Pixels of a tile that is not wholly inside the image. */
static void copy_square(const tc_winograd *w, const float *block, int64_t top, int64_t left,
                        float *to)
{
    for (int64_t y = top; y < top + IN; y++)
        for (int64_t x = left; x < left + IN; x++, to += TC_BLOCK) {
            if (y >= 0 && y < w->in[0] && x >= 0 && x < w->in[1])
                memcpy(to, block + (y * w->in[1] + x) * TC_BLOCK, TC_BLOCK * sizeof(float));
            else
                memset(to, 0, TC_BLOCK * sizeof(float));
        }
}

/* [begin, end) counts tiles of the round, then blocks of channels. */
static void transform_image(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *r = context;
    const tc_winograd *w = r->w;
    int64_t plane = w->blocks_in * w->pitch * TC_BLOCK;
    float square[PLANES * TC_BLOCK];
    for (int64_t i = begin; i < end; i++) {
        int64_t block = i / r->count, tile = i % r->count;
        place p = place_of(w, r->first + tile);
        int64_t top = p.y - w->before[0], left = p.x - w->before[1];
        const float *from =
            r->call->x + (p.image * w->blocks_in + block) * w->in[0] * w->in[1] * TC_BLOCK;
        float *to = r->image + (block * w->pitch + tile) * TC_BLOCK;
        if (top >= 0 && top + IN <= w->in[0] && left >= 0 && left + IN <= w->in[1]) {
            r->tiles->square_in(from + (top * w->in[1] + left) * TC_BLOCK, w->in[1] * TC_BLOCK, to,
                                plane);
        } else {
            copy_square(w, from, top, left, square);
            r->tiles->square_in(square, IN * TC_BLOCK, to, plane);
        }
    }
}

/* All pixels, with the weights of some steps. */
static void multiply_chunk(const work *r, int64_t lanes, tc_blocked_tile *t)
{
    const tc_blocked_tiles *tiles = r->tiles;
    float *out = t->out, *sums = t->sums;
    for (int64_t pixel = 0, pixels; pixel < r->count; pixel += pixels) {
        int64_t left = r->count - pixel;
        bool few = lanes == tiles->widest * TC_BLOCK && left % tiles->pixels != 0 &&
                   (left > tiles->pixels || left <= tiles->few);
        pixels = few ? tiles->few : tiles->pixels;
        t->count = (int32_t)min_i64(pixels, left);
        for (int64_t i = 0; i < tiles->pixels; i++)
            t->offset[i] = (pixel + min_i64(i, t->count - 1)) * TC_BLOCK;
        t->out = out + pixel * TC_BLOCK;
        t->sums = sums + pixel * lanes;
        if (few)
            tiles->dense_few(t);
        else
            tiles->dense[lanes / TC_BLOCK - 1](t);
    }
    t->out = out;
    t->sums = sums;
}

/* [begin, end) counts register tiles of filters, then planes, as the weights lie. */
static void multiply(void *context, int64_t begin, int64_t end, int worker)
{
    const work *r = context;
    const tc_winograd *w = r->w;
    float ones[TC_BLOCKED_WIDEST * TC_BLOCK], zeros[TC_BLOCKED_WIDEST * TC_BLOCK] = {0};
    for (int64_t i = 0; i < TC_BLOCKED_WIDEST * TC_BLOCK; i++)
        ones[i] = 1;
    for (int64_t i = begin; i < end; i++) {
        int64_t plane = i / w->wide_tiles, tile = i % w->wide_tiles;
        int64_t block = plane * w->blocks_out + tile_begin(w, tile);
        int64_t lanes = (tile_begin(w, tile + 1) - tile_begin(w, tile)) * TC_BLOCK;
        const tc_blocked_step *all_steps = r->steps + w->blocks_in;
        tc_blocked_tile t = {
            .image = r->image + plane * w->blocks_in * w->pitch * TC_BLOCK,
            .weights = r->call->weights + block * TC_BLOCK * w->channels,
            .end = r->steps,
            .inside = true,
            .first = true,
            .sums = (float *)(void *)(r->scratch +
                                      (size_t)worker * tc_winograd_worker_bytes(w, r->tiles)),
            .factor = ones,
            .shift = zeros,
            .out = r->products + block * w->pitch * TC_BLOCK,
            .out_block = w->pitch * TC_BLOCK};
        do {
            int64_t rows;
            t.steps = t.end;
            t.end = tc_blocked_chunk(t.steps, all_steps, lanes, &rows);
            t.last = t.end == all_steps;
            multiply_chunk(r, lanes, &t);
            t.weights += rows * lanes;
            t.first = false;
        } while (!t.last);
    }
}

/* [begin, end) counts tiles of the round, then blocks of filters. */
static void transform_products(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const work *r = context;
    const tc_winograd *w = r->w;
    const tc_blocked_call *call = r->call;
    float factor[TC_BLOCK], shift[TC_BLOCK];
    tc_blocked_square s = {.pitch = w->blocks_out * w->pitch * TC_BLOCK,
                           .factor = factor,
                           .shift = shift,
                           .row = w->out[1] * TC_BLOCK,
                           .activation = call->activation};
    for (int64_t i = begin; i < end; i++) {
        int64_t block = i / r->count, tile = i % r->count;
        place p = place_of(w, r->first + tile);
        int64_t at = ((p.image * w->blocks_out + block) * w->out[0] + p.y) * w->out[1] + p.x;
        if (i == begin || tile == 0)
            tc_blocked_vectors(call, block * TC_BLOCK, TC_BLOCK, factor, shift);
        s.from = r->products + (block * w->pitch + tile) * TC_BLOCK;
        s.residual = call->residual ? call->residual + at * TC_BLOCK : NULL;
        s.out = call->out + at * TC_BLOCK;
        s.rows = (int32_t)min_i64(OUT, w->out[0] - p.y);
        s.columns = (int32_t)min_i64(OUT, w->out[1] - p.x);
        r->tiles->square_out(&s);
    }
}

void tc_winograd_run(const tc_winograd *w, const tc_blocked_call *call,
                     const tc_blocked_step *steps, const tc_blocked_tiles *tiles, tc_pool *pool,
                     float *image, char *scratch)
{
    work r = {.w = w,
              .call = call,
              .steps = steps,
              .tiles = tiles,
              .image = image,
              .products = image + PLANES * w->blocks_in * w->pitch * TC_BLOCK,
              .scratch = scratch};
    for (; r.first < w->tiles; r.first += r.count) {
        r.count = min_i64(w->round, w->tiles - r.first);
        tc_parallel_for(pool, w->blocks_in * r.count, GRAIN, transform_image, &r);
        tc_parallel_for(pool, PLANES * w->wide_tiles, 1, multiply, &r);
        tc_parallel_for(pool, w->blocks_out * r.count, GRAIN, transform_products, &r);
    }
}
