/*
 * Batch normalization and its gradient. x is [samples, channels, plane].
 *
 * Work is cut into units of a tile of channels and a chunk of samples, by the shape alone. With
 * planes a tile is one channel and its planes are rows; without (plane is 1) a tile is TILE
 * neighbouring channels and its samples are added up column by column. Statistics of a chunk (mean
 * and sum of squared distances from it) are found in two passes over data that the first one left
 * in cache, and the chunks combined in order by the formula of Chan, Golub & LeVeque (1983).
 */
#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/isa/storage.h"

/* Elements of a unit; channels of a tile; elements of a piece of a plane, the buffer of 16-bit
 * floats. */
#define UNIT_ELEMENTS (32 * 1024)
#define TILE          64
#define PIECE         2048

typedef struct params {
    int64_t samples, channels, plane;
    int64_t tile, tiles, chunks, chunk_samples;
    double epsilon, momentum;
    bool training;
    bool widened; /* what belongs to channels is f32, x a 16-bit float */
} params;

/* Per channel, in f64, in the workspace: y = (x - mean) slope + shift. For the gradient dx = (dy -
 * base - (x - mean) slope) factor. */
typedef struct channel {
    double mean, slope, shift, base, factor;
} channel;

/* Of a chunk of one channel: mean and squared distances, or sums of dy and dy (x - mean). */
typedef struct partial {
    double first, second;
} partial;

typedef struct job {
    const params *params;
    const void *x, *dy;
    void *y;
    channel *channels;
    partial *partials; /* [channels][chunks] */
} job;

static params *prepare_for(tc_prepare *prepare, int x_input, int channel_input)
{
    params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return NULL;
    const tc_value_info *x = &prepare->inputs[x_input];
    p->samples = x->shape.dims[0].size;
    p->channels = x->shape.dims[1].size;
    p->plane = 1;
    for (int32_t i = 2; i < x->shape.rank; i++)
        p->plane *= x->shape.dims[i].size;
    p->tile = p->plane == 1 ? TILE : 1;
    p->tiles = (p->channels + p->tile - 1) / p->tile;
    int64_t row = p->plane == 1 ? p->tile : p->plane ? p->plane : 1;
    p->chunk_samples = row < UNIT_ELEMENTS ? UNIT_ELEMENTS / row : 1;
    p->chunks = (p->samples + p->chunk_samples - 1) / p->chunk_samples;
    p->epsilon = tc_attrs_float(prepare->attrs, "epsilon");
    p->training = strcmp(tc_attrs_string(prepare->attrs, "mode"), "training") == 0;
    p->widened = prepare->inputs[channel_input].dtype != x->dtype;
    prepare->workspace_bytes =
        (size_t)p->channels * (sizeof(channel) + (size_t)p->chunks * sizeof(partial));
    return p;
}

static tc_status prepare_forward(tc_prepare *prepare)
{
    params *p = prepare_for(prepare, 0, 3);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->momentum = tc_attrs_float(prepare->attrs, "momentum");
    return TC_OK;
}

static tc_status prepare_gradient(tc_prepare *prepare)
{
    return prepare_for(prepare, 1, 3) ? TC_OK : TC_RESOURCE_EXHAUSTED;
}

/* Elements of a channel; a unit of work. */
static int64_t count_of(const params *p)
{
    return p->samples * p->plane;
}

typedef struct unit {
    int64_t channel, width;    /* first one, and how many */
    int64_t chunk, begin, end; /* samples */
} unit;

static unit unit_of(const params *p, int64_t index)
{
    unit u = {.channel = index / p->chunks * p->tile, .chunk = index % p->chunks};
    u.width = p->channels - u.channel < p->tile ? p->channels - u.channel : p->tile;
    u.begin = u.chunk * p->chunk_samples;
    u.end = u.begin + p->chunk_samples < p->samples ? u.begin + p->chunk_samples : p->samples;
    return u;
}

static job job_of(const params *p, const tc_kernel_context *context)
{
    channel *channels = context->workspace;
    return (job){.params = p, .channels = channels, .partials = (void *)(channels + p->channels)};
}

static int64_t grain_of(const params *p)
{
    int64_t row = p->plane == 1 ? p->tile : p->plane;
    int64_t samples = p->chunk_samples < p->samples ? p->chunk_samples : p->samples;
    int64_t elements = row * samples;
    return elements < UNIT_ELEMENTS ? UNIT_ELEMENTS / (elements + 1) + 1 : 1;
}

/* Mean and biased variance of a channel of one element at least. */
static void combine_statistics(const params *p, const partial *chunks, double *mean,
                               double *variance)
{
    double count = 0, average = 0, squares = 0;
    for (int64_t i = 0; i < p->chunks; i++) {
        int64_t begin = i * p->chunk_samples, end = begin + p->chunk_samples;
        double more = (double)(((end < p->samples ? end : p->samples) - begin) * p->plane);
        double distance = chunks[i].first - average, both = count + more;
        average += distance * (more / both);
        squares += chunks[i].second + distance * distance * (count * more / both);
        count = both;
    }
    *mean = average;
    *variance = squares > 0 ? squares / count : squares * 0; /* rounding may leave less than 0 */
}

#define TAG f32
#include "kernels/cpu/isa/batch_norm_body.h"
#define TAG f64
#include "kernels/cpu/isa/batch_norm_body.h"
#define TAG f16
#include "kernels/cpu/isa/batch_norm_body.h"
#define TAG bf16
#include "kernels/cpu/isa/batch_norm_body.h"

#define KERNELS(tag)                                                                  \
    TC_KERNEL(batch_norm, tag, .prepare = prepare_forward, .run = run_forward_##tag), \
        TC_KERNEL(batch_norm_grad, tag, .prepare = prepare_gradient, .run = run_gradient_##tag)

static const tc_kernel kernels[] = {KERNELS(f32), KERNELS(f64), KERNELS(f16), KERNELS(bf16)};
TC_KERNEL_TABLE(batch_norm, kernels);
