/* conv2d_blocked against the definition, term by term, with all that may follow it. */
#include "op_case.h"

enum { X, W, SCALE, BIAS, RESIDUAL, INPUTS, BLOCK = 16 };

typedef struct blocked {
    int64_t strides[2], dilations[2]; /* 0: 1 */
    int64_t pads[4];
    int64_t groups; /* 0: 1 */
    double alpha;   /* 0: 1 */
    const char *activation;
    bool winograd;
} blocked;

static int64_t or_one(int64_t number)
{
    return number ? number : 1;
}

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const blocked *o = options;
    const int64_t strides[] = {or_one(o->strides[0]), or_one(o->strides[1])};
    const int64_t dilations[] = {or_one(o->dilations[0]), or_one(o->dilations[1])};
    return tc_node_build(
        graph,
        &(const tc_node_spec){
            .op = "conv2d_blocked",
            .at = TC_HERE,
            .inputs = in,
            .n_inputs = INPUTS,
            TC_SPEC_ATTRS(
                {"strides", tc_attr_ints(strides, 2)}, {"dilations", tc_attr_ints(dilations, 2)},
                {"pads", tc_attr_ints(o->pads, 4)}, {"groups", tc_attr_int(or_one(o->groups))},
                {"alpha", tc_attr_float(o->alpha != 0 ? o->alpha : 1)},
                {"activation", tc_attr_string(o->activation ? o->activation : "none")},
                {"winograd", tc_attr_bool(o->winograd)})});
}

static double activate(const char *name, double x)
{
    if (!name)
        return x;
    if (strcmp(name, "relu") == 0)
        return x < 0 ? 0 : x;
    if (strcmp(name, "sigmoid") == 0)
        return 1 / (1 + exp(-x));
    if (strcmp(name, "tanh") == 0)
        return tanh(x);
    if (strcmp(name, "gelu") == 0)
        return 0.5 * x * erfc(-x / sqrt(2));
    return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
}

/* Element of x, blocked or not; 0 outside. */
static double element(const op_run *run, int64_t n, int64_t c, int64_t y, int64_t x)
{
    const tc_shape *s = &run->input_shapes[X];
    if (y < 0 || y >= s->dims[2].size || x < 0 || x >= s->dims[3].size)
        return 0;
    int64_t block = s->rank == 5 ? c / BLOCK : c;
    int64_t pixel = ((n * s->dims[1].size + block) * s->dims[2].size + y) * s->dims[3].size + x;
    return run->inputs[X][s->rank == 5 ? pixel * BLOCK + c % BLOCK : pixel];
}

static double sum_of(const op_run *run, int64_t n, int64_t filter, int64_t oy, int64_t ox)
{
    const blocked *o = run->options;
    const tc_dim *w = run->input_shapes[W].dims;
    int64_t group = filter / (w[0].size / or_one(o->groups));
    double sum = 0;
    for (int64_t c = 0; c < w[1].size; c++)
        for (int64_t ky = 0; ky < w[2].size; ky++)
            for (int64_t kx = 0; kx < w[3].size; kx++)
                sum +=
                    run->inputs[W][((filter * w[1].size + c) * w[2].size + ky) * w[3].size + kx] *
                    element(run, n, group * w[1].size + c,
                            oy * or_one(o->strides[0]) + ky * or_one(o->dilations[0]) - o->pads[0],
                            ox * or_one(o->strides[1]) + kx * or_one(o->dilations[1]) - o->pads[1]);
    return sum;
}

/* Channels that fill up the last block are the function of their residual. */
static void reference(const op_run *run)
{
    const blocked *o = run->options;
    const tc_dim *y = run->output_shapes[0].dims;
    int64_t filters = run->input_shapes[W].dims[0].size, at = 0;
    for (int64_t n = 0; n < y[0].size; n++)
        for (int64_t block = 0; block < y[1].size; block++)
            for (int64_t oy = 0; oy < y[2].size; oy++)
                for (int64_t ox = 0; ox < y[3].size; ox++)
                    for (int64_t lane = 0; lane < BLOCK; lane++, at++) {
                        int64_t filter = block * BLOCK + lane;
                        double v = 0;
                        if (filter < filters) {
                            v = sum_of(run, n, filter, oy, ox) * (o->alpha != 0 ? o->alpha : 1);
                            v *= run->inputs[SCALE] ? run->inputs[SCALE][filter] : 1;
                            v += run->inputs[BIAS] ? run->inputs[BIAS][filter] : 0;
                        }
                        v += run->inputs[RESIDUAL] ? run->inputs[RESIDUAL][at] : 0;
                        run->outputs[0][at] = activate(o->activation, v);
                    }
}

#define OPTIONS(name, ...) static const blocked name = {__VA_ARGS__}
#define PAD(size)          .pads = {size, size, size, size}
OPTIONS(plain, .groups = 1);
OPTIONS(pad_one, PAD(1));
OPTIONS(pad_uneven, .pads = {1, 0, 2, 3});
OPTIONS(pad_wide, PAD(4));
OPTIONS(stride_two, .strides = {2, 2});
OPTIONS(stride_two_padded, .strides = {2, 2}, PAD(1));
OPTIONS(stride_uneven, .strides = {2, 3}, .pads = {1, 2, 0, 1});
OPTIONS(dilated, .dilations = {2, 3}, .strides = {2, 1}, .pads = {2, 0, 1, 3});
OPTIONS(first_layer, .strides = {2, 2}, PAD(3), .activation = "relu");
OPTIONS(two_groups, .groups = 2, PAD(1));
OPTIONS(depthwise_20, .groups = 20, PAD(1));
OPTIONS(depthwise_strided, .groups = 32, .strides = {2, 1}, PAD(1), .activation = "relu");
OPTIONS(scaled, .alpha = -0.5, .activation = "relu");
OPTIONS(pad_relu, PAD(1), .activation = "relu");
OPTIONS(sigmoid, .activation = "sigmoid", .alpha = 0.25);
OPTIONS(hyperbolic, .activation = "tanh", .alpha = 0.25);
OPTIONS(gelu, .activation = "gelu");
OPTIONS(gelu_tanh, .activation = "gelu_tanh");

OPTIONS(winograd, PAD(1), .winograd = true);
OPTIONS(winograd_uneven, .pads = {0, 2, 1, 3}, .winograd = true);
OPTIONS(winograd_relu, PAD(1), .alpha = -0.5, .activation = "relu", .winograd = true);
OPTIONS(winograd_gelu, PAD(1), .alpha = 0.125, .activation = "gelu", .winograd = true);
OPTIONS(winograd_strided, .strides = {1, 2}, PAD(1), .winograd = true);
OPTIONS(winograd_groups, .groups = 2, PAD(1), .winograd = true);

/* Sizes, in parentheses so that they pass through macros. */
#define S(...) (__VA_ARGS__)
#define IN(sizes)                            \
    {                                        \
        OP_SHAPE sizes, .low = -1, .high = 1 \
    }
/* Filters and channels stay known. */
#define FILTER(sizes)                                     \
    {                                                     \
        OP_SHAPE sizes, .low = -1, .high = 1, .fixed = 3u \
    }
#define OUT(sizes)     \
    {                  \
        OP_SHAPE sizes \
    }
#define ABSENT      \
    {               \
        .absent = 1 \
    }
#define CONV(text, x, w, y, o)                             \
    {.name = text,                                         \
     .inputs = {IN(x), FILTER(w), ABSENT, ABSENT, ABSENT}, \
     .outputs = {OUT(y)},                                  \
     .options = o},
#define FINISHED(text, x, w, channels, y, o)                          \
    {.name = text,                                                    \
     .inputs = {IN(x), FILTER(w), IN(channels), IN(channels), IN(y)}, \
     .outputs = {OUT(y)},                                             \
     .options = o},

static const op_sample samples[] = {
    CONV("one by one", S(2, 1, 3, 5, 16), S(16, 16, 1, 1), S(2, 1, 3, 5, 16), &plain) CONV(
        "three by three", S(1, 2, 5, 9, 16), S(32, 32, 3, 3), S(1, 2, 5, 9, 16),
        &pad_one) CONV("incomplete blocks", S(2, 2, 4, 5, 16), S(35, 20, 3, 2), S(2, 3, 4, 6, 16),
                       &pad_one) CONV("few channels in a block", S(1, 1, 6, 5, 16), S(3, 5, 3, 3),
                                      S(1, 1, 4, 3, 16), &plain)
        CONV("three blocks", S(1, 1, 3, 7, 16), S(48, 16, 1, 1), S(1, 3, 3, 7, 16),
             &plain) CONV("five blocks", S(1, 1, 3, 7, 16), S(80, 16, 3, 3), S(1, 5, 3, 7, 16),
                          &pad_one) CONV("four blocks", S(1, 5, 7, 7, 16),
                                         S(64, 80, 3, 3), S(1, 4, 7, 7, 16), &pad_one)
            CONV("padded unevenly", S(2, 1, 3, 4, 16), S(20, 16, 2, 3), S(2, 2, 5, 5, 16),
                 &pad_uneven) CONV("padded beyond the kernel", S(1, 1, 2, 3, 16), S(16, 16, 2, 2),
                                   S(1, 1, 9, 10, 16),
                                   &pad_wide) CONV("strided", S(1, 2, 9, 8, 16), S(64, 32, 1, 1),
                                                   S(1, 4, 5, 4, 16), &stride_two)
                CONV("strided and padded", S(2, 1, 9, 8, 16), S(40, 16, 3, 3), S(2, 3, 5, 4, 16),
                     &stride_two_padded) CONV("strided unevenly", S(1, 1, 5, 6, 16), S(16, 9, 3, 2),
                                              S(1, 1, 2, 3, 16), &stride_uneven)
                    CONV(
                        "dilated",
                        S(1, 1, 8, 9, 16), S(33, 16, 3, 3), S(1, 3, 4, 6, 16),
                        &dilated) CONV("many pixels", S(1, 1, 31, 33, 16), S(16, 7, 3, 3),
                                       S(1, 1, 31, 33, 16),
                                       &pad_one) CONV("deep", S(1, 24, 3, 3, 16),
                                                      S(64, 384, 3, 3), S(1, 4, 3, 3, 16), &pad_one)
                        CONV("one pixel", S(3, 2, 1, 1, 16), S(20, 20, 1, 1), S(3, 2, 1, 1, 16),
                             &plain) CONV("from planes", S(2, 3, 21, 20), S(70, 3, 7, 7),
                                          S(2, 5, 11, 10, 16), &first_layer)
                            CONV(
                                "from one plane", S(2, 1, 9, 7),
                                S(16, 1, 5, 5),
                                S(2, 1, 7, 5, 16),
                                &pad_one) CONV("from planes, dilated",
                                               S(1, 2, 8, 9), S(20, 2, 3, 3), S(1, 2, 4, 6, 16),
                                               &dilated) CONV("from planes beyond the kernel",
                                                              S(1, 4, 2, 3), S(16, 4, 2, 2),
                                                              S(1, 1, 9, 10, 16), &pad_wide)
                                CONV("from planes that are cut", S(1, 2, 6, 7), S(16, 2, 2, 2),
                                     S(1, 1, 3, 3, 16),
                                     &stride_two)
                                    CONV("groups", S(2, 4, 4, 3, 16), S(96, 32, 3, 3),
                                         S(2, 6, 4, 3, 16),
                                         &two_groups) CONV("depthwise", S(2, 2, 6, 9, 16),
                                                           S(20, 1, 3, 3),
                                                           S(2, 2, 6, 9, 16),
                                                           &depthwise_20) CONV("depthwise strided",
                                                                               S(1, 2, 7, 16, 16),
                                                                               S(32, 1, 3, 5),
                                                                               S(1, 2, 4, 14, 16),
                                                                               &depthwise_strided)
                                        FINISHED(
                                            "all that follows",
                                            S(1, 1, 4, 5, 16), S(32, 16, 1, 1), S(32),
                                            S(1, 2, 4, 5, 16),
                                            &scaled) FINISHED("all that follows, incomplete",
                                                              S(2, 2, 5, 5, 16), S(20, 17, 3, 3),
                                                              S(20),
                                                              S(2, 2, 5, 5, 16), &pad_relu)
                                            FINISHED("all that follows in parts",
                                                     S(1, 6, 16, 16, 16), S(64, 96, 3, 3), S(64),
                                                     S(1, 4, 16, 16, 16), &pad_relu)
                                                FINISHED(
                                                    "sigmoid", S(1, 1, 4, 5, 16), S(20, 16, 1, 1),
                                                    S(20), S(1, 2, 4, 5, 16),
                                                    &sigmoid) FINISHED("tanh", S(1, 1, 4, 5, 16),
                                                                       S(64, 16, 1, 1),
                                                                       S(64), S(1, 4, 4, 5, 16),
                                                                       &hyperbolic)
                                                    FINISHED("gelu", S(1, 1, 4, 5, 16),
                                                             S(20, 16, 1, 1), S(20),
                                                             S(1, 2, 4, 5, 16), &gelu)
                                                        FINISHED("gelu by tanh", S(1, 1, 4, 5, 16),
                                                                 S(20, 16, 1, 1), S(20),
                                                                 S(1, 2, 4, 5, 16), &gelu_tanh)
                                                            CONV("no images", S(0, 1, 5, 5, 16),
                                                                 S(16, 16, 3, 3), S(0, 1, 3, 3, 16),
                                                                 &plain) CONV("no channels",
                                                                              S(2, 0, 5, 5, 16),
                                                                              S(16, 0, 3, 3),
                                                                              S(2, 1, 3, 3, 16),
                                                                              &plain)
                                                                CONV("no filters",
                                                                     S(2, 1, 5, 5, 16),
                                                                     S(0, 16, 3, 3),
                                                                     S(2, 0, 3, 3, 16),
                                                                     &plain) CONV("only padding",
                                                                                  S(2, 1, 0, 2, 16),
                                                                                  S(16, 16, 2, 2),
                                                                                  S(2, 1, 7, 9, 16),
                                                                                  &pad_wide){
                                                                    .name = "scale alone",
                                                                    .inputs = {IN((1, 1, 4, 5, 16)),
                                                                               FILTER(
                                                                                   (20, 16, 1, 1)),
                                                                               IN((20)), ABSENT,
                                                                               ABSENT},
                                                                    .outputs = {OUT(
                                                                        (1, 2, 4, 5, 16))},
                                                                    .options = &plain},
    {.name = "constant filter",
     .inputs = {IN((1, 4, 6, 6, 16)),
                {OP_SHAPE(100, 64, 3, 3), .low = -1, .high = 1, .constant = true},
                ABSENT,
                IN((100)),
                ABSENT},
     .outputs = {OUT((1, 7, 6, 6, 16))},
     .options = &pad_one},
    /* Those that Winograd's algorithm computes: images of one round of tiles and of several. */
    CONV("winograd", S(1, 4, 12, 12, 16), S(64, 64, 3, 3), S(1, 4, 12, 12, 16), &winograd) CONV(
        "winograd, a tile that is cut", S(2, 4, 13, 11, 16), S(80, 64, 3, 3), S(2, 5, 13, 11, 16),
        &winograd) CONV("winograd padded unevenly", S(1, 4, 13, 12, 16), S(64, 64, 3, 3),
                        S(1, 4, 12, 15, 16), &winograd_uneven)
        CONV("winograd, incomplete blocks", S(1, 5, 12, 14, 16), S(90, 70, 3, 3),
             S(1, 6, 12, 14, 16), &winograd) CONV("winograd, several rounds", S(4, 4, 28, 20, 16),
                                                  S(64, 64, 3, 3), S(4, 4, 28, 20, 16), &winograd)
            CONV("winograd, deep", S(2, 8, 12, 12, 16), S(64, 128, 3, 3), S(2, 4, 12, 12, 16),
                 &winograd) FINISHED("winograd and all that follows", S(2, 4, 14, 14, 16),
                                     S(72, 64, 3, 3), S(72), S(2, 5, 14, 14, 16), &winograd_relu)
                FINISHED("winograd and gelu", S(1, 4, 12, 13, 16), S(64, 64, 3, 3), S(64),
                         S(1, 4, 12, 13, 16), &winograd_gelu){
                    .name = "winograd, constant filter",
                    .inputs = {IN((1, 4, 15, 13, 16)),
                               {OP_SHAPE(100, 64, 3, 3), .low = -1, .high = 1, .constant = true},
                               ABSENT,
                               IN((100)),
                               ABSENT},
                    .outputs = {OUT((1, 7, 15, 13, 16))},
                    .options = &winograd},
    /* and where it cannot or would not pay */
    CONV("no winograd of strides", S(1, 4, 8, 9, 16), S(64, 64, 3, 3), S(1, 4, 8, 5, 16),
         &winograd_strided) CONV("no winograd of groups", S(1, 8, 6, 6, 16), S(128, 64, 3, 3),
                                 S(1, 8, 6, 6, 16), &winograd_groups)
        CONV("no winograd of small images", S(1, 4, 3, 3, 16), S(64, 64, 3, 3), S(1, 4, 3, 3, 16),
             &winograd) CONV("no winograd of few channels", S(1, 2, 12, 12, 16), S(64, 32, 3, 3),
                             S(1, 4, 12, 12, 16), &winograd)};

OPTIONS(negative_stride, .strides = {-1, 1});
OPTIONS(negative_groups, .groups = -2);
OPTIONS(swish, .activation = "swish");

#define BAD(x, w, o, text)                                                                  \
    {                                                                                       \
        .inputs = {IN(x), FILTER(w), ABSENT, ABSENT, ABSENT}, .options = o, .message = text \
    }
static const op_bad bad[] = {
    BAD((3, 5, 5), (4, 3, 3, 3), &plain, "x of shape [3, 5, 5] must be [n, blocks, h, w, 16]"),
    BAD((1, 1, 5, 5, 16), (4, 3, 3), &plain, "w of shape [4, 3, 3] has rank 3 instead of 4"),
    BAD((1, 1, 5, 5, 8), (8, 8, 3, 3), &plain, "does not have the channels of w [8, 8, 3, 3]"),
    BAD((1, 2, 5, 5, 16), (8, 16, 3, 3), &plain, "does not have the channels of w"),
    BAD((1, 3, 5, 5), (8, 4, 3, 3), &plain, "does not have the channels of w"),
    BAD((1, 2, 5, 5, 16), (32, 8, 3, 3), &two_groups, "do not keep blocks of 16 channels whole"),
    BAD((1, 32, 5, 5), (32, 16, 3, 3), &two_groups, "with one group"),
    BAD((1, 1, 5, 5, 16), (4, 16, 3, 3), &negative_stride, "strides has the number -1"),
    BAD((1, 1, 5, 5, 16), (4, 16, 3, 3), &negative_groups, "groups is -2"),
    BAD((1, 1, 5, 5, 16), (4, 16, 3, 3), &swish, "none|relu|sigmoid|tanh|gelu|gelu_tanh"),
    BAD((1, 1, 5, 5, 16), (4, 16, 6, 3), &plain, "the kernel covers a height of 6"),
    {.inputs = {IN((1, 1, 4, 4, 16)), FILTER((4, 16, 1, 1)), IN((5)), ABSENT, ABSENT},
     .options = &plain,
     .message = "scale has shape [5] instead of [4]"},
    {.inputs = {IN((1, 1, 4, 4, 16)), FILTER((4, 16, 1, 1)), ABSENT, ABSENT, IN((1, 1, 4, 5, 16))},
     .options = &plain,
     .message = "residual has shape [1, 1, 4, 5, 16], but the result has [1, 1, 4, 4, 16]"},
};

const op_case op_case_conv2d_blocked = {.op = "conv2d_blocked",
                                        .build = build,
                                        .reference = reference,
                                        OP_LIST(samples),
                                        OP_BAD(bad),
                                        .n_inputs = INPUTS,
                                        .dtypes = TC_DTYPE_BIT(TC_F32),
                                        .tolerance = {[TC_F32] = {1e-5, 1e-4}}};
