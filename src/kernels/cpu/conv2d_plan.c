/* Geometry and sizes of convolutions (see conv2d.h). Everything is a function of shapes and
 * attributes. */
#include <string.h>

#include "base/alloc.h"
#include "core/shape.h"
#include "core/window.h"
#include "kernels/cpu/conv2d.h"
#include "kernels/cpu/gemm_micro.h"

enum {
    ROW_TILE = 112, /* 8 strips of 14 rows */
    COLUMN_TILE = 256,
    JOBS = 32,            /* more jobs than this are not sought */
    JOB_WORK = 1 << 19,   /* multiply-adds that are worth a job */
    CHUNK_BYTES = 4 << 20 /* of planes held at a time, where that leaves enough jobs */
};

/* What the three operators have in common. */
typedef struct shapes {
    const tc_shape *x, *w, *y;
    int64_t groups;
    tc_window window;
} shapes;

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static tc_status too_large(void)
{
    return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the padded images are too large");
}

static tc_status read_shapes(const tc_prepare *prepare, const tc_shape *x, const tc_shape *w,
                             const tc_shape *y, shapes *s)
{
    char why[TC_WINDOW_MESSAGE];
    *s = (shapes){.x = x, .w = w, .y = y, .groups = tc_attrs_int(prepare->attrs, "groups")};
    int64_t in[2] = {x->dims[2].size, x->dims[3].size};
    int64_t kernel[2] = {w->dims[2].size, w->dims[3].size};
    if (!tc_window_make(prepare->attrs, in, kernel, &s->window, why))
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", why);
    return TC_OK;
}

static bool is_wide(tc_dtype dtype)
{
    return dtype == TC_F32 || dtype == TC_F64;
}

/* a * b * c * d in bytes; false on overflow. */
static bool bytes_of(int64_t a, int64_t b, int64_t c, size_t size, size_t *out)
{
    size_t product;
    if (!tc_mul_size((size_t)a, (size_t)b, &product) ||
        !tc_mul_size(product, (size_t)c, &product) || !tc_mul_size(product, size, &product) ||
        product > SIZE_MAX / 4)
        return false;
    *out = tc_align_up(product, 64);
    return true;
}

/* The residues of `kernel` elements `dilation` apart, ascending by first use; NULL only counts. */
static int64_t residues_of(const tc_window_axis *axis, int64_t *residues)
{
    int64_t count = 0;
    /* They repeat after `stride` elements at the latest. */
    for (int64_t k = 0; k < min_i64(axis->kernel, axis->stride); k++) {
        int64_t residue = k * axis->dilation % axis->stride;
        bool seen = false;
        for (int64_t earlier = 0; earlier < k && !seen; earlier++)
            seen = earlier * axis->dilation % axis->stride == residue;
        if (!seen && residues)
            residues[count] = residue;
        count += !seen;
    }
    return count;
}

static int64_t index_of(const int64_t *residues, int64_t residue)
{
    int64_t i = 0;
    while (residues[i] != residue)
        i++;
    return i;
}

/*
 * Rows of a plane, `columns` of which are outputs, share zeros: those at the end of one are those
 * at the start of the next, and the last row is followed by as many. False when planes are too
 * large.
 */
static bool share_padding(tc_conv_planes *p, int64_t columns)
{
    int64_t after = p->pitch - p->before[1] - p->width;
    int64_t shared = min_i64(min_i64(p->before[1], after), p->pitch - columns);
    shared = p->stride[1] == 1 ? max_i64(0, shared) : 0;
    if (!tc_mul_i64(p->rows, p->pitch, &p->plane))
        return false;
    p->plane -= (p->rows - 1) * shared;
    p->pitch -= shared;
    return true;
}

/* Planes of the input of a convolution. False when they are too large. */
static bool plan_input_planes(tc_conv *conv, const shapes *s)
{
    tc_conv_planes *p = &conv->planes;
    p->channels = s->x->dims[1].size;
    p->height = s->x->dims[2].size;
    p->width = s->x->dims[3].size;
    int64_t *sizes[2] = {&p->rows, &p->pitch};
    bool copied = !is_wide(conv->dtype);
    for (int i = 0; i < 2; i++) {
        const tc_window_axis *axis = &s->window.axis[i];
        p->stride[i] = axis->stride;
        p->before[i] = axis->before;
        p->residues[i] = residues_of(axis, NULL);
        *sizes[i] = axis->out + (axis->kernel - 1) * axis->dilation / axis->stride;
        copied = copied || axis->stride != 1 || axis->before != 0 || *sizes[i] != axis->in;
    }
    p->copied = copied;
    return share_padding(p, s->window.axis[1].out);
}

/* Offsets of rows of the product: channel, then kernel element. */
static void fill_input_offsets(const tc_conv *conv, const shapes *s)
{
    const tc_conv_planes *p = &conv->planes;
    int64_t *offsets = tc_conv_offsets(conv), *residues[2] = {tc_conv_residues(conv), NULL};
    residues[1] = residues[0] + p->residues[0];
    for (int i = 0; i < 2; i++)
        residues_of(&s->window.axis[i], residues[i]);
    const tc_window_axis *h = &s->window.axis[0], *w = &s->window.axis[1];
    for (int64_t c = 0; c < conv->group_channels; c++)
        for (int64_t ky = 0; ky < h->kernel; ky++)
            for (int64_t kx = 0; kx < w->kernel; kx++) {
                int64_t y = ky * h->dilation, x = kx * w->dilation;
                int64_t residue = index_of(residues[0], y % h->stride) * p->residues[1] +
                                  index_of(residues[1], x % w->stride);
                *offsets++ = (c * p->residues[0] * p->residues[1] + residue) * p->plane +
                             y / h->stride * p->pitch + x / w->stride;
            }
}

/* A row of weights at a multiple of 1 KiB from the next falls on few sets of a cache. */
static bool clashes(int64_t row, size_t size)
{
    return row >= 256 && (size_t)row * size % 1024 == 0;
}

static int64_t spread_ld(int64_t row)
{
    return (row + 31) / 32 * 32 + 16;
}

/* How many images to hold at a time, and the bytes of their planes and of `second` elements each.
 */
static bool plan_chunk(tc_conv *conv, int64_t jobs_per_image, int64_t second)
{
    const tc_conv_planes *p = &conv->planes;
    size_t size = tc_conv_element(conv), image = 0, other = 0;
    if (p->copied &&
        !bytes_of(p->channels * p->residues[0], p->residues[1], p->plane, size, &image))
        return false;
    if (!bytes_of(second, 1, 1, size, &other))
        return false;
    conv->chunk = conv->images;
    if (image + other > 0)
        conv->chunk =
            min_i64(conv->images, max_i64(max_i64(1, (int64_t)(CHUNK_BYTES / (image + other))),
                                          ceil_div(JOBS, max_i64(1, jobs_per_image))));
    return bytes_of((int64_t)(image / size), conv->chunk, 1, size, &conv->planes_bytes) &&
           bytes_of((int64_t)(other / size), conv->chunk, 1, size, &conv->second_bytes);
}

/* Tiles of a product of `m` rows, `run` columns and `depth`, of which there are `count` beside each
 * other. */
static void plan_tiles(tc_conv *conv, int64_t m, int64_t run, int64_t depth, int64_t count)
{
    const tc_gemm_micro *micro = tc_gemm_micro_of(conv->isa);
    int64_t width = conv->dtype == TC_F64 ? micro->f64.width : micro->f32.width;
    conv->row_tile = ceil_div(m, ceil_div(m, ROW_TILE));
    conv->column_tile = ceil_div(ceil_div(run, ceil_div(run, COLUMN_TILE)), width) * width;
    for (;;) {
        int64_t jobs = ceil_div(m, conv->row_tile) * ceil_div(run, conv->column_tile);
        double work = (double)conv->row_tile * (double)conv->column_tile * (double)depth;
        if ((double)jobs * (double)count >= JOBS || work < 2 * JOB_WORK)
            break;
        if (conv->column_tile > 4 * width)
            conv->column_tile = ceil_div(conv->column_tile / 2, width) * width;
        else if (conv->row_tile > 28)
            conv->row_tile = ceil_div(conv->row_tile, 2);
        else
            break;
    }
}

/* Copies `conv`, with room for what follows it, to where run finds it. */
static tc_conv *keep(tc_prepare *prepare, const tc_conv *conv, int64_t n_taps)
{
    size_t size =
        sizeof *conv + (size_t)conv->n_parts * sizeof(tc_conv_part) +
        (size_t)(conv->n_offsets + conv->planes.residues[0] + conv->planes.residues[1] + n_taps) *
            sizeof(int64_t);
    tc_conv *kept = tc_prepare_params(prepare, size);
    if (kept)
        *kept = *conv;
    return kept;
}

static tc_status finish(tc_prepare *prepare, const tc_conv *conv)
{
    size_t total = (size_t)(prepare->threads > 0 ? prepare->threads : 1);
    if (!tc_mul_size(conv->worker_bytes, total, &total) ||
        !tc_add_size(total, conv->weights_bytes, &total) ||
        !tc_add_size(total, conv->planes_bytes, &total) ||
        !tc_add_size(total, conv->second_bytes, &total) ||
        !tc_add_size(total, conv->epilogue.bytes, &total))
        return too_large();
    prepare->workspace_bytes = total;
    return TC_OK;
}

static tc_conv describe(tc_isa isa, tc_dtype dtype, const shapes *s)
{
    return (tc_conv){.isa = isa,
                     .dtype = dtype,
                     .images = s->x->dims[0].size,
                     .groups = s->groups,
                     .filters = s->w->dims[0].size,
                     .group_channels = s->w->dims[1].size,
                     .kernel = {s->window.axis[0].kernel, s->window.axis[1].kernel},
                     .step = {1, 1}};
}

/* A kernel that has nothing to compute: images = 0. */
static tc_status keep_empty(tc_prepare *prepare)
{
    return tc_prepare_params(prepare, sizeof(tc_conv)) ? TC_OK : TC_RESOURCE_EXHAUSTED;
}

tc_status tc_conv2d_prepare(tc_prepare *prepare, tc_isa isa)
{
    shapes s;
    TC_TRY(read_shapes(prepare, &prepare->inputs[0].shape, &prepare->inputs[1].shape,
                       &prepare->outputs[0].shape, &s));
    if (tc_shape_size(s.y) == 0)
        return keep_empty(prepare);
    tc_conv conv = describe(isa, prepare->inputs[0].dtype, &s);
    size_t size = tc_conv_element(&conv);
    conv.out_channels = conv.filters;
    conv.out_height = s.window.axis[0].out;
    conv.out_width = s.window.axis[1].out;
    conv.m = conv.filters / conv.groups;
    conv.n_parts = 1;
    conv.n_offsets = conv.group_channels * conv.kernel[0] * conv.kernel[1];
    if (!tc_epilogue_read(prepare, isa, &conv.epilogue) || !plan_input_planes(&conv, &s))
        return too_large();
    tc_conv_part part = {.depth = conv.n_offsets,
                         .weights_ld = conv.n_offsets,
                         .rows = conv.out_height,
                         .columns = conv.out_width};
    if (!is_wide(conv.dtype) || clashes(part.depth, size)) {
        part.weights_ld = spread_ld(part.depth);
        conv.arranged = conv.filters * part.weights_ld;
    }
    conv.direct_out =
        is_wide(conv.dtype) && conv.planes.pitch == conv.out_width && !conv.epilogue.residual;
    int64_t run = tc_conv_run(&conv, &part);
    plan_tiles(&conv, conv.m, run, part.depth, conv.images * conv.groups);
    int64_t jobs = conv.groups * ceil_div(conv.m, conv.row_tile) * ceil_div(run, conv.column_tile);
    if (!plan_chunk(&conv, jobs, 0) || !bytes_of(conv.arranged, 1, 1, size, &conv.weights_bytes) ||
        !bytes_of(conv.direct_out ? 0 : conv.row_tile, conv.column_tile, 1, size,
                  &conv.worker_bytes))
        return too_large();
    if (conv.arranged) {
        prepare->pack_input = 1;
        prepare->pack_bytes = conv.weights_bytes;
    }
    tc_conv *kept = keep(prepare, &conv, 0);
    if (!kept)
        return TC_RESOURCE_EXHAUSTED;
    tc_conv_parts(kept)[0] = part;
    fill_input_offsets(kept, &s);
    return finish(prepare, kept);
}

/* Input pixel q * stride + residue meets kernel element k at output q + shift; false where it meets
 * none. */
static bool meets(const tc_window_axis *axis, int64_t k, int64_t *residue, int64_t *shift)
{
    int64_t position = k * axis->dilation - axis->before; /* of output 0 */
    *residue = (position % axis->stride + axis->stride) % axis->stride;
    *shift = (*residue - position) / axis->stride;
    return *residue < axis->in;
}

/* One axis of the gradient of the input: the residues that are met, and the range of shifts. */
typedef struct meeting {
    int64_t count; /* residues */
    int64_t least; /* shift */
    int64_t size;  /* of a plane that holds all that is read */
} meeting;

static meeting meet(const tc_window_axis *axis)
{
    meeting m = {0, INT64_MAX, 0};
    int64_t end = INT64_MIN;
    for (int64_t k = 0; k < axis->kernel; k++) {
        int64_t residue, shift, other, unused;
        if (!meets(axis, k, &residue, &shift))
            continue;
        m.least = min_i64(m.least, shift);
        end = max_i64(end, shift + ceil_div(axis->in - residue, axis->stride));
        bool seen = false;
        for (int64_t earlier = max_i64(0, k - axis->stride); earlier < k && !seen; earlier++)
            seen = meets(axis, earlier, &other, &unused) && other == residue;
        m.count += !seen;
    }
    m.size = m.count ? end - m.least : 0;
    return m;
}

/* Fills parts, offsets and taps: a part per pair of residues, in the order in which kernel elements
 * meet them. */
static void fill_gradient_parts(tc_conv *conv, const shapes *s, const meeting meetings[2])
{
    const tc_window_axis *h = &s->window.axis[0], *w = &s->window.axis[1];
    const tc_conv_planes *p = &conv->planes;
    tc_conv_part *part = tc_conv_parts(conv), *end = part;
    int64_t *offsets = tc_conv_offsets(conv), *taps = tc_conv_taps(conv);
    int64_t n_offsets = 0, n_taps = 0, weights = 0, filters = conv->filters / conv->groups;
    tc_conv_residues(conv)[0] = tc_conv_residues(conv)[1] = 0;
    for (int64_t first = 0; first < h->kernel * w->kernel; first++) {
        int64_t ry, rx, ty, tx;
        if (!meets(h, first / w->kernel, &ry, &ty) || !meets(w, first % w->kernel, &rx, &tx))
            continue;
        bool seen = false;
        for (const tc_conv_part *e = part; e < end && !seen; e++)
            seen = e->first[0] == ry && e->first[1] == rx;
        if (seen)
            continue;
        int64_t begin = n_taps;
        for (int64_t tap = first; tap < h->kernel * w->kernel; tap++) {
            int64_t y, x;
            if (meets(h, tap / w->kernel, &y, &ty) && meets(w, tap % w->kernel, &x, &tx) &&
                y == ry && x == rx)
                taps[n_taps++] = tap;
        }
        tc_conv_part *next = end++;
        *next = (tc_conv_part){.depth = (n_taps - begin) * filters,
                               .offsets = n_offsets,
                               .weights = weights,
                               .weights_ld = spread_ld((n_taps - begin) * filters),
                               .rows = ceil_div(h->in - ry, h->stride),
                               .columns = ceil_div(w->in - rx, w->stride),
                               .first = {ry, rx}};
        for (int64_t o = 0; o < filters; o++)
            for (int64_t t = begin; t < n_taps; t++) {
                meets(h, taps[t] / w->kernel, &ry, &ty);
                meets(w, taps[t] % w->kernel, &rx, &tx);
                offsets[n_offsets++] =
                    o * p->plane + (ty - meetings[0].least) * p->pitch + (tx - meetings[1].least);
            }
        weights += conv->groups * conv->m * next->weights_ld;
    }
}

tc_status tc_conv2d_grad_input_prepare(tc_prepare *prepare, tc_isa isa)
{
    shapes s;
    TC_TRY(read_shapes(prepare, &prepare->outputs[0].shape, &prepare->inputs[0].shape,
                       &prepare->inputs[1].shape, &s));
    if (tc_shape_size(s.x) == 0)
        return keep_empty(prepare);
    tc_conv conv = describe(isa, prepare->inputs[0].dtype, &s);
    size_t size = tc_conv_element(&conv);
    const tc_window_axis *axis = s.window.axis;
    conv.out_channels = s.x->dims[1].size;
    conv.out_height = axis[0].in;
    conv.out_width = axis[1].in;
    conv.m = conv.group_channels;
    conv.gradient = true;
    conv.step[0] = axis[0].stride;
    conv.step[1] = axis[1].stride;
    meeting meetings[2] = {meet(&axis[0]), meet(&axis[1])};
    int64_t taps = 0, parts = meetings[0].count * meetings[1].count;
    bool none = tc_shape_size(s.y) == 0 || conv.filters == 0 || parts == 0;
    if (!none)
        for (int64_t tap = 0; tap < conv.kernel[0] * conv.kernel[1]; tap++) {
            int64_t residue, shift;
            taps += meets(&axis[0], tap / conv.kernel[1], &residue, &shift) &&
                    meets(&axis[1], tap % conv.kernel[1], &residue, &shift);
        }
    conv.n_parts = none ? 0 : (int32_t)parts;
    conv.n_offsets = taps * (conv.filters / conv.groups);
    conv.sparse_out = none || meetings[0].count < min_i64(axis[0].stride, axis[0].in) ||
                      meetings[1].count < min_i64(axis[1].stride, axis[1].in);
    tc_conv_planes *p = &conv.planes;
    *p = (tc_conv_planes){.channels = s.y->dims[1].size,
                          .height = axis[0].out,
                          .width = axis[1].out,
                          .stride = {1, 1},
                          .residues = {1, 1},
                          .rows = meetings[0].size,
                          .pitch = meetings[1].size,
                          .before = {-meetings[0].least, -meetings[1].least}};
    p->copied = !is_wide(conv.dtype) || p->before[0] != 0 || p->before[1] != 0 ||
                p->rows != p->height || p->pitch != p->width;
    if (none)
        *p = (tc_conv_planes){0};
    if (!share_padding(p, ceil_div(axis[1].in, axis[1].stride)))
        return too_large();
    tc_conv *kept = keep(prepare, &conv, taps);
    if (!kept)
        return TC_RESOURCE_EXHAUSTED;
    if (none)
        return TC_OK;
    fill_gradient_parts(kept, &s, meetings);
    const tc_conv_part *part = tc_conv_parts(kept), *last = part + parts - 1;
    kept->arranged = last->weights + kept->groups * kept->m * last->weights_ld;
    kept->direct_out = is_wide(kept->dtype) && parts == 1 && !kept->sparse_out &&
                       kept->step[0] == 1 && kept->step[1] == 1 &&
                       kept->planes.pitch == part->columns;
    int64_t run = tc_conv_run(kept, part);
    plan_tiles(kept, kept->m, run, part->depth, kept->images * kept->groups * parts);
    int64_t jobs =
        kept->groups * ceil_div(kept->m, kept->row_tile) * ceil_div(run, kept->column_tile);
    if (!plan_chunk(kept, jobs, 0) || !bytes_of(kept->arranged, 1, 1, size, &kept->weights_bytes) ||
        !bytes_of(kept->direct_out ? 0 : kept->row_tile, kept->column_tile, 1, size,
                  &kept->worker_bytes))
        return too_large();
    prepare->pack_input = 0;
    prepare->pack_bytes = kept->weights_bytes;
    return finish(prepare, kept);
}

tc_status tc_conv2d_grad_filter_prepare(tc_prepare *prepare, tc_isa isa)
{
    shapes s;
    TC_TRY(read_shapes(prepare, &prepare->inputs[0].shape, &prepare->outputs[0].shape,
                       &prepare->inputs[1].shape, &s));
    if (tc_shape_size(s.w) == 0)
        return keep_empty(prepare);
    tc_conv conv = describe(isa, prepare->inputs[0].dtype, &s);
    size_t size = tc_conv_element(&conv);
    conv.n_offsets = conv.group_channels * conv.kernel[0] * conv.kernel[1];
    conv.m = conv.filters / conv.groups;
    conv.n_parts = 1;
    conv.sparse_out = tc_shape_size(s.y) == 0; /* a sum of nothing */
    if (!plan_input_planes(&conv, &s))
        return too_large();
    tc_conv_part part = {.depth = conv.n_offsets,
                         .rows = max_i64(1, s.window.axis[0].out),
                         .columns = s.window.axis[1].out};
    conv.out_channels = conv.filters;
    conv.out_height = s.window.axis[0].out;
    conv.out_width = s.window.axis[1].out;
    /* Rows of the output's gradient are widened to the pitch unless they have it already. */
    conv.direct_out = is_wide(conv.dtype) && conv.planes.pitch == conv.out_width;
    conv.row_tile = min_i64(conv.m, 64);
    conv.column_tile = min_i64(conv.n_offsets, 64);
    while (conv.groups * ceil_div(conv.m, conv.row_tile) *
               ceil_div(conv.n_offsets, conv.column_tile) <
           JOBS) {
        if (conv.column_tile > 8)
            conv.column_tile = (conv.column_tile / 2 + 3) / 4 * 4;
        else if (conv.row_tile > 8)
            conv.row_tile = (conv.row_tile / 2 + 3) / 4 * 4;
        else
            break;
    }
    int64_t run = tc_conv_run(&conv, &part), second;
    if (!tc_mul_i64(conv.filters, run, &second) ||
        !plan_chunk(&conv, JOBS, conv.direct_out || conv.sparse_out ? 0 : second))
        return too_large();
    if (!is_wide(conv.dtype) &&
        !bytes_of(conv.filters, conv.n_offsets, 1, size, &conv.weights_bytes))
        return too_large();
    tc_conv *kept = keep(prepare, &conv, 0);
    if (!kept)
        return TC_RESOURCE_EXHAUSTED;
    tc_conv_parts(kept)[0] = part;
    fill_input_offsets(kept, &s);
    return finish(prepare, kept);
}
