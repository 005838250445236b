/* Images in blocks of 16 channels: conversion and pooling. */
#include "op_case.h"

enum { BLOCK = 16 };

/* Element (n, c, y, x) of a blocked image of `channels` channels. */
static int64_t place(const tc_shape *s, int64_t n, int64_t c, int64_t y, int64_t x)
{
    const tc_dim *d = s->dims;
    return (((n * d[1].size + c / BLOCK) * d[2].size + y) * d[3].size + x) * BLOCK + c % BLOCK;
}

static void copy(const op_run *run, const tc_shape *image, const tc_shape *blocked, bool to)
{
    const tc_dim *d = image->dims;
    int64_t at = 0;
    for (int64_t n = 0; n < d[0].size; n++)
        for (int64_t c = 0; c < d[1].size; c++)
            for (int64_t y = 0; y < d[2].size; y++)
                for (int64_t x = 0; x < d[3].size; x++, at++) {
                    int64_t other = place(blocked, n, c, y, x);
                    run->outputs[0][to ? other : at] = run->inputs[0][to ? at : other];
                }
}

static void reference_to(const op_run *run)
{
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++)
        run->outputs[0][i] = 0;
    copy(run, &run->input_shapes[0], &run->output_shapes[0], true);
}

static void reference_from(const op_run *run)
{
    copy(run, &run->output_shapes[0], &run->input_shapes[0], false);
}

static tc_value build_to(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)options;
    return tc_node_build(
        graph,
        &(const tc_node_spec){.op = "to_blocked", .at = TC_HERE, .inputs = in, .n_inputs = 1});
}

static tc_value build_from(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_node_build(
        graph,
        &(const tc_node_spec){.op = "from_blocked",
                              .at = TC_HERE,
                              .inputs = in,
                              .n_inputs = 1,
                              TC_SPEC_ATTRS({"channels", tc_attr_int(*(const int64_t *)options)})});
}

static const int64_t five = 5, sixteen = 16, forty = 40, none = 0, minus = -1;

#define SHAPES(text, from, to, o)                                                           \
    {                                                                                       \
        .name = text, .inputs = {{OP_SHAPE from}}, .outputs = {{OP_SHAPE to}}, .options = o \
    }
static const op_sample samples_to[] = {
    SHAPES("one block", (2, 16, 5, 7), (2, 1, 5, 7, 16), NULL),
    SHAPES("incomplete", (2, 5, 3, 3), (2, 1, 3, 3, 16), NULL),
    SHAPES("three blocks", (1, 40, 9, 4), (1, 3, 9, 4, 16), NULL),
    SHAPES("many pixels", (2, 20, 40, 41), (2, 2, 40, 41, 16), NULL),
    SHAPES("one pixel", (3, 33, 1, 1), (3, 3, 1, 1, 16), NULL),
    SHAPES("no images", (0, 20, 3, 3), (0, 2, 3, 3, 16), NULL),
    SHAPES("no channels", (2, 0, 3, 3), (2, 0, 3, 3, 16), NULL),
    SHAPES("no pixels", (2, 20, 0, 3), (2, 2, 0, 3, 16), NULL),
};
static const op_sample samples_from[] = {
    SHAPES("one block", (2, 1, 5, 7, 16), (2, 16, 5, 7), &sixteen),
    SHAPES("incomplete", (2, 1, 3, 3, 16), (2, 5, 3, 3), &five),
    SHAPES("three blocks", (1, 3, 9, 4, 16), (1, 40, 9, 4), &forty),
    SHAPES("many pixels", (2, 3, 40, 41, 16), (2, 40, 40, 41), &forty),
    SHAPES("one pixel", (3, 3, 1, 1, 16), (3, 40, 1, 1), &forty),
    SHAPES("no images", (0, 1, 3, 3, 16), (0, 5, 3, 3), &five),
    SHAPES("no channels", (2, 0, 3, 3, 16), (2, 0, 3, 3), &none),
    SHAPES("no pixels", (2, 1, 0, 3, 16), (2, 5, 0, 3), &five),
};
static const op_bad bad_to[] = {
    {.inputs = {{OP_SHAPE(3, 5, 5)}}, .message = "x of shape [3, 5, 5] has rank 3 instead of 4"},
};
static const op_bad bad_from[] = {
    {.inputs = {{OP_SHAPE(2, 1, 3, 3)}}, .options = &five, .message = "must be [n, blocks, h, w,"},
    {.inputs = {{OP_SHAPE(2, 1, 3, 3, 8)}}, .options = &five, .message = "must be [n, blocks,"},
    {.inputs = {{OP_SHAPE(2, 2, 3, 3, 16)}},
     .options = &five,
     .message = "x [2, 2, 3, 3, 16] does not hold 5 channels"},
    {.inputs = {{OP_SHAPE(2, 2, 3, 3, 16)}}, .options = &minus, .message = "hold -1 channels"},
};

const op_case op_case_to_blocked = {.op = "to_blocked",
                                    .build = build_to,
                                    .reference = reference_to,
                                    OP_LIST(samples_to),
                                    OP_BAD(bad_to),
                                    .dtypes = TC_DTYPE_BIT(TC_F32)};
const op_case op_case_from_blocked = {.op = "from_blocked",
                                      .build = build_from,
                                      .reference = reference_from,
                                      OP_LIST(samples_from),
                                      OP_BAD(bad_from),
                                      .dtypes = TC_DTYPE_BIT(TC_F32)};

/*
 * Pooling
 */
typedef struct pool {
    int64_t kernel[2], strides[2], dilations[2], pads[4]; /* dilations 0: 1 */
    bool max, ceil_mode, count_include_pad;
} pool;

static tc_value build_pool(tc_graph *graph, const tc_value *in, const void *options)
{
    const pool *o = options;
    const int64_t ones[] = {1, 1};
    tc_attr_arg attrs[] = {
        {"kernel", tc_attr_ints(o->kernel, 2)},
        {"strides", tc_attr_ints(o->strides, 2)},
        {"pads", tc_attr_ints(o->pads, 4)},
        {"ceil_mode", tc_attr_bool(o->ceil_mode)},
        {"count_include_pad", tc_attr_bool(o->count_include_pad)},
    };
    if (o->max)
        attrs[4] =
            (tc_attr_arg){"dilations", tc_attr_ints(o->dilations[0] ? o->dilations : ones, 2)};
    return tc_node_build(
        graph, &(const tc_node_spec){.op = o->max ? "max_pool2d_blocked" : "avg_pool2d_blocked",
                                     .at = TC_HERE,
                                     .inputs = in,
                                     .n_inputs = 1,
                                     .attrs = attrs,
                                     .n_attrs = 5});
}

static double pooled(const op_run *run, const double *plane, int64_t oy, int64_t ox, int64_t lane)
{
    const pool *o = run->options;
    const tc_dim *in = run->input_shapes[0].dims;
    double best = -INFINITY, sum = 0;
    int64_t count = 0;
    for (int64_t ky = 0; ky < o->kernel[0]; ky++)
        for (int64_t kx = 0; kx < o->kernel[1]; kx++) {
            int64_t y = oy * o->strides[0] + ky * (o->dilations[0] ? o->dilations[0] : 1);
            int64_t x = ox * o->strides[1] + kx * (o->dilations[1] ? o->dilations[1] : 1);
            bool padded = y < o->pads[0] + in[2].size + o->pads[2] &&
                          x < o->pads[1] + in[3].size + o->pads[3];
            y -= o->pads[0];
            x -= o->pads[1];
            bool inside = y >= 0 && y < in[2].size && x >= 0 && x < in[3].size;
            count += inside || (o->count_include_pad && padded);
            if (!inside)
                continue;
            double v = plane[(y * in[3].size + x) * BLOCK + lane];
            best = v > best || isnan(v) ? v : best;
            sum += v;
        }
    return o->max ? best : sum / (double)count;
}

static void reference_pool(const op_run *run)
{
    const tc_dim *in = run->input_shapes[0].dims, *out = run->output_shapes[0].dims;
    int64_t at = 0;
    for (int64_t p = 0; p < out[0].size * out[1].size; p++)
        for (int64_t oy = 0; oy < out[2].size; oy++)
            for (int64_t ox = 0; ox < out[3].size; ox++)
                for (int64_t lane = 0; lane < BLOCK; lane++, at++)
                    run->outputs[0][at] = pooled(
                        run, run->inputs[0] + p * in[2].size * in[3].size * BLOCK, oy, ox, lane);
}

#define POOL(name, ...) static const pool name = {__VA_ARGS__}
POOL(max_two, .max = true, .kernel = {2, 2}, .strides = {2, 2});
POOL(max_three, .max = true, .kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1});
POOL(max_uneven, .max = true, .kernel = {2, 3}, .strides = {1, 2}, .pads = {0, 2, 1, 1},
     .ceil_mode = true);
POOL(max_dilated, .max = true, .kernel = {3, 2}, .strides = {2, 1}, .dilations = {2, 3},
     .pads = {2, 1, 1, 1});
POOL(mean_two, .kernel = {2, 2}, .strides = {2, 2});
POOL(mean_three, .kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1});
POOL(mean_counted, .kernel = {3, 3}, .strides = {2, 2}, .pads = {1, 1, 1, 1},
     .count_include_pad = true, .ceil_mode = true);
POOL(mean_uneven, .kernel = {2, 3}, .strides = {1, 2}, .pads = {0, 2, 1, 1}, .ceil_mode = true);
POOL(mean_all, .kernel = {5, 7}, .strides = {1, 1});
POOL(max_empty, .max = true, .kernel = {0, 2}, .strides = {1, 1});
POOL(max_far, .max = true, .kernel = {2, 2}, .strides = {1, 1}, .pads = {2, 0, 0, 0});
POOL(mean_large, .kernel = {9, 2}, .strides = {1, 1});
POOL(mean_negative, .kernel = {2, 2}, .strides = {1, -1});

static const op_sample samples_max[] = {
    SHAPES("two", (2, 2, 6, 8, 16), (2, 2, 3, 4, 16), &max_two),
    SHAPES("three", (1, 3, 7, 9, 16), (1, 3, 4, 5, 16), &max_three),
    SHAPES("uneven", (2, 1, 5, 6, 16), (2, 1, 5, 4, 16), &max_uneven),
    SHAPES("dilated", (1, 1, 8, 9, 16), (1, 1, 4, 8, 16), &max_dilated),
    SHAPES("no images", (0, 2, 6, 8, 16), (0, 2, 3, 4, 16), &max_two),
    {.name = "not a number",
     .inputs = {{OP_SHAPE(1, 1, 2, 4, 16), OP_ELEMENTS(1, NAN, 3, -INFINITY, 2, 0, INFINITY)}},
     .outputs = {{OP_SHAPE(1, 1, 1, 2, 16)}},
     .options = &max_two},
};
static const op_sample samples_mean[] = {
    SHAPES("two", (2, 2, 6, 8, 16), (2, 2, 3, 4, 16), &mean_two),
    SHAPES("three", (1, 3, 7, 9, 16), (1, 3, 4, 5, 16), &mean_three),
    SHAPES("counted", (1, 1, 6, 8, 16), (1, 1, 4, 5, 16), &mean_counted),
    SHAPES("uneven", (2, 1, 5, 6, 16), (2, 1, 5, 4, 16), &mean_uneven),
    SHAPES("all", (2, 2, 5, 7, 16), (2, 2, 1, 1, 16), &mean_all),
    SHAPES("no images", (0, 2, 6, 8, 16), (0, 2, 3, 4, 16), &mean_two),
};

#define BAD_POOL(x, o, text)                                    \
    {                                                           \
        .inputs = {{OP_SHAPE x}}, .options = o, .message = text \
    }
static const op_bad bad_max[] = {
    BAD_POOL((1, 16, 5, 5), &max_two, "must be [n, blocks, h, w, 16]"),
    BAD_POOL((1, 1, 5, 5, 16), &max_empty, "the kernel must be {height, width}, both 1 or more"),
    BAD_POOL((1, 1, 5, 5, 16), &max_far, "wholly in the padding"),
};
static const op_bad bad_mean[] = {
    BAD_POOL((1, 1, 5, 5, 16), &mean_large, "the kernel covers a height of 9"),
    BAD_POOL((1, 1, 5, 5, 16), &mean_negative, "strides has the number -1"),
};

const op_case op_case_max_pool2d_blocked = {.op = "max_pool2d_blocked",
                                            .build = build_pool,
                                            .reference = reference_pool,
                                            OP_LIST(samples_max),
                                            OP_BAD(bad_max),
                                            .dtypes = TC_DTYPE_BIT(TC_F32)};
const op_case op_case_avg_pool2d_blocked = {.op = "avg_pool2d_blocked",
                                            .build = build_pool,
                                            .reference = reference_pool,
                                            OP_LIST(samples_mean),
                                            OP_BAD(bad_mean),
                                            .dtypes = TC_DTYPE_BIT(TC_F32)};
