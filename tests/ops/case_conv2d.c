/* Convolution and its two gradients against the definition, term by term. */
#include "op_case.h"

#define OPTIONS(name, ...) \
    static const tc_conv2d_options name = {.struct_size = sizeof(tc_conv2d_options), __VA_ARGS__}
#define PAD(t, l, b, r) .padding = {TC_PADDING_MODE_EXPLICIT, t, l, b, r}

OPTIONS(plain, .groups = 0);
OPTIONS(pad_one, PAD(1, 1, 1, 1));
OPTIONS(pad_uneven, PAD(1, 0, 2, 3));
OPTIONS(pad_wide, PAD(4, 4, 4, 4));
OPTIONS(stride_two, .stride = {2});
OPTIONS(stride_uneven, .stride = {2, 3}, PAD(1, 2, 0, 1));
OPTIONS(stride_three, .stride = {3});
OPTIONS(dilated, .dilation = {2, 1}, PAD(2, 0, 1, 1));
OPTIONS(dilated_strided, .dilation = {3, 2}, .stride = {2, 3}, PAD(3, 1, 2, 4));
OPTIONS(dilated_even, .dilation = {2}, .stride = {2}, PAD(1, 1, 1, 1));
OPTIONS(two_groups, .groups = 2, PAD(1, 1, 1, 1));
OPTIONS(depthwise, .groups = 5, PAD(1, 1, 1, 1));
OPTIONS(depthwise_strided, .groups = 5, .stride = {2}, PAD(0, 1, 1, 0));
OPTIONS(same, .padding = {TC_PADDING_MODE_SAME});
OPTIONS(same_strided, .padding = {TC_PADDING_MODE_SAME}, .stride = {2, 3});
OPTIONS(same_lower, .padding = {TC_PADDING_MODE_SAME_LOWER}, .stride = {2});
OPTIONS(first_layer, .stride = {2}, PAD(3, 3, 3, 3));

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return options ? tc_conv2d_at(TC_HERE, in[0], in[1], options) : tc_conv2d(in[0], in[1]);
}

static tc_value build_by_macro(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_conv2d(in[0], in[1], .stride = {2, 3}, .padding = TC_PADDING(1, 2, 0, 1),
                     .name = "macro");
}

static tc_value build_grad_input(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_conv2d_grad_input_at(TC_HERE, in[0], in[1], in[2], options);
}

static tc_value build_grad_filter(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_conv2d_grad_filter_at(TC_HERE, in[0], in[1], in[2], options);
}

/* Padding before the image, from the documentation alone. */
static int64_t padding_before(const tc_conv2d_options *o, bool height, int64_t in, int64_t kernel,
                              int64_t stride, int64_t dilation)
{
    if (o->padding.mode == TC_PADDING_MODE_EXPLICIT)
        return height ? o->padding.top : o->padding.left;
    int64_t out = (in + stride - 1) / stride;
    int64_t all = (out - 1) * stride + (kernel - 1) * dilation + 1 - in;
    all = all > 0 ? all : 0;
    return o->padding.mode == TC_PADDING_MODE_SAME ? all / 2 : all - all / 2;
}

/* Every product of an input element and a filter element that a convolution adds to an output
 * element. */
static void each_term(const op_run *run, const tc_shape *x, const tc_shape *w, const tc_shape *y,
                      void (*term)(const op_run *run, int64_t x, int64_t w, int64_t y))
{
    const tc_conv2d_options *o = run->options ? run->options : &plain;
    int64_t stride[2], dilation[2], before[2];
    for (int i = 0; i < 2; i++) {
        int64_t s = o->stride[i] ? o->stride[i] : o->stride[0];
        int64_t d = o->dilation[i] ? o->dilation[i] : o->dilation[0];
        stride[i] = s ? s : 1;
        dilation[i] = d ? d : 1;
        before[i] = padding_before(o, i == 0, x->dims[2 + i].size, w->dims[2 + i].size, stride[i],
                                   dilation[i]);
    }
    int64_t groups = o->groups ? o->groups : 1, channels = w->dims[1].size;
    int64_t filters = w->dims[0].size;
#define SIZE(shape, d) (shape)->dims[d].size
#define AT(shape, a, b, c, d) \
    (((a)*SIZE(shape, 1) + (b)) * SIZE(shape, 2) + (c)) * SIZE(shape, 3) + (d)
    for (int64_t n = 0; n < SIZE(x, 0); n++)
        for (int64_t f = 0; f < filters; f++)
            for (int64_t oy = 0; oy < SIZE(y, 2); oy++)
                for (int64_t ox = 0; ox < SIZE(y, 3); ox++)
                    for (int64_t c = 0; c < channels; c++)
                        for (int64_t ky = 0; ky < SIZE(w, 2); ky++)
                            for (int64_t kx = 0; kx < SIZE(w, 3); kx++) {
                                int64_t iy = oy * stride[0] + ky * dilation[0] - before[0];
                                int64_t ix = ox * stride[1] + kx * dilation[1] - before[1];
                                int64_t channel = f / (filters / groups) * channels + c;
                                if (iy >= 0 && iy < SIZE(x, 2) && ix >= 0 && ix < SIZE(x, 3))
                                    term(run, AT(x, n, channel, iy, ix), AT(w, f, c, ky, kx),
                                         AT(y, n, f, oy, ox));
                            }
}

static void clear(const op_run *run)
{
    int64_t size = tc_shape_size(&run->output_shapes[0]);
    for (int64_t i = 0; i < size; i++)
        run->outputs[0][i] = 0;
}

static void forward_term(const op_run *run, int64_t x, int64_t w, int64_t y)
{
    run->outputs[0][y] += run->inputs[0][x] * run->inputs[1][w];
}

static void input_term(const op_run *run, int64_t x, int64_t w, int64_t y)
{
    run->outputs[0][x] += run->inputs[0][w] * run->inputs[1][y];
}

static void filter_term(const op_run *run, int64_t x, int64_t w, int64_t y)
{
    run->outputs[0][w] += run->inputs[0][x] * run->inputs[1][y];
}

static void reference(const op_run *run)
{
    clear(run);
    each_term(run, &run->input_shapes[0], &run->input_shapes[1], &run->output_shapes[0],
              forward_term);
}

static void reference_grad_input(const op_run *run)
{
    clear(run);
    each_term(run, &run->input_shapes[2], &run->input_shapes[0], &run->input_shapes[1], input_term);
}

static void reference_grad_filter(const op_run *run)
{
    clear(run);
    each_term(run, &run->input_shapes[0], &run->input_shapes[2], &run->input_shapes[1],
              filter_term);
}

static void reference_macro(const op_run *run)
{
    op_run copy = *run;
    copy.options = &stride_uneven;
    reference(&copy);
}

/* Sizes, in parentheses so that they pass through macros. */
#define S(...) (__VA_ARGS__)
#define IN(sizes)                            \
    {                                        \
        OP_SHAPE sizes, .low = -1, .high = 1 \
    }
#define OUT(sizes)     \
    {                  \
        OP_SHAPE sizes \
    }

/* CONV(name, x, w, y, options): what all three operators are tested on; small ones are
 * differentiated. */
#define SMALL(CONV)                                                                               \
    CONV("plain", S(2, 3, 5, 6), S(4, 3, 3, 2), S(2, 4, 3, 5), &plain)                            \
    CONV("one by one", S(2, 3, 3, 2), S(4, 3, 1, 1), S(2, 4, 3, 2), &plain)                       \
    CONV("padded", S(1, 2, 4, 5), S(3, 2, 3, 3), S(1, 3, 4, 5), &pad_one)                         \
    CONV("padded unevenly", S(2, 2, 3, 4), S(2, 2, 2, 3), S(2, 2, 5, 5), &pad_uneven)             \
    CONV("padded beyond the kernel", S(1, 1, 2, 3), S(2, 1, 2, 2), S(1, 2, 9, 10), &pad_wide)     \
    CONV("strided", S(2, 2, 5, 6), S(3, 2, 3, 3), S(2, 3, 2, 2), &stride_two)                     \
    CONV("strided unevenly", S(2, 2, 5, 6), S(2, 2, 3, 2), S(2, 2, 2, 3), &stride_uneven)         \
    CONV("stride over kernel", S(1, 2, 7, 8), S(3, 2, 1, 1), S(1, 3, 3, 3), &stride_three)        \
    CONV("stride over larger kernel", S(1, 2, 8, 9), S(2, 2, 2, 2), S(1, 2, 3, 3), &stride_three) \
    CONV("one by one strided", S(2, 3, 5, 4), S(2, 3, 1, 1), S(2, 2, 3, 2), &stride_two)          \
    CONV("dilated", S(1, 2, 6, 5), S(2, 2, 3, 3), S(1, 2, 5, 4), &dilated)                        \
    CONV("dilated and strided", S(1, 2, 7, 8), S(2, 2, 3, 2), S(1, 2, 3, 4), &dilated_strided)    \
    CONV("dilated by the stride", S(1, 1, 6, 6), S(2, 1, 2, 2), S(1, 2, 3, 3), &dilated_even)     \
    CONV("groups", S(2, 4, 4, 3), S(6, 2, 3, 3), S(2, 6, 4, 3), &two_groups)                      \
    CONV("depthwise", S(2, 5, 4, 4), S(5, 1, 3, 3), S(2, 5, 4, 4), &depthwise)                    \
    CONV("depthwise twice", S(1, 5, 3, 3), S(10, 1, 3, 3), S(1, 10, 3, 3), &depthwise)            \
    CONV("depthwise strided", S(1, 5, 5, 4), S(5, 1, 3, 2), S(1, 5, 2, 2), &depthwise_strided)    \
    CONV("same", S(1, 2, 4, 5), S(2, 2, 3, 2), S(1, 2, 4, 5), &same)                              \
    CONV("same strided", S(1, 2, 5, 7), S(2, 2, 4, 5), S(1, 2, 3, 3), &same_strided)              \
    CONV("same lower", S(1, 2, 5, 6), S(2, 2, 2, 3), S(1, 2, 3, 3), &same_lower)                  \
    CONV("one pixel", S(3, 2, 1, 1), S(2, 2, 1, 1), S(3, 2, 1, 1), &plain)

#define LARGE(CONV)                                                                       \
    CONV("many tiles", S(2, 9, 13, 37), S(130, 9, 3, 3), S(2, 130, 13, 37), &pad_one)     \
    CONV("deep", S(1, 50, 6, 5), S(5, 50, 3, 3), S(1, 5, 6, 5), &pad_one)                 \
    CONV("rows far apart", S(2, 256, 3, 3), S(3, 256, 1, 1), S(2, 3, 3, 3), &plain)       \
    CONV("first layer", S(2, 3, 21, 20), S(7, 3, 7, 7), S(2, 7, 11, 10), &first_layer)    \
    CONV("one channel", S(5, 1, 28, 28), S(8, 1, 5, 5), S(5, 8, 24, 24), &plain)          \
    CONV("long rows", S(1, 2, 3, 1100), S(3, 2, 3, 3), S(1, 3, 3, 1100), &pad_one)        \
    CONV("several chunks", S(9, 8, 130, 130), S(2, 8, 1, 1), S(9, 2, 132, 132), &pad_one) \
    CONV("no images", S(0, 3, 5, 5), S(4, 3, 3, 3), S(0, 4, 3, 3), &plain)                \
    CONV("no channels", S(2, 0, 5, 5), S(4, 0, 3, 3), S(2, 4, 3, 3), &plain)              \
    CONV("no filters", S(2, 3, 5, 5), S(0, 3, 3, 3), S(2, 0, 3, 3), &plain)               \
    CONV("no pixels", S(2, 3, 0, 5), S(4, 3, 3, 3), S(2, 4, 0, 5), &same)                 \
    CONV("only padding", S(2, 3, 0, 2), S(4, 3, 2, 2), S(2, 4, 7, 9), &pad_wide)

#define FORWARD(text, x, w, y, o) \
    {.name = text, .inputs = {IN(x), IN(w)}, .outputs = {OUT(y)}, .options = o},
#define FORWARD_LARGE(text, x, w, y, o) \
    {.name = text,                      \
     .inputs = {IN(x), IN(w)},          \
     .outputs = {OUT(y)},               \
     .options = o,                      \
     .no_gradients = true},
#define GRAD_INPUT(text, x, w, y, o) \
    {.name = text, .inputs = {IN(w), IN(y), IN(x)}, .outputs = {OUT(x)}, .options = o},
#define GRAD_INPUT_LARGE(text, x, w, y, o) \
    {.name = text,                         \
     .inputs = {IN(w), IN(y), IN(x)},      \
     .outputs = {OUT(x)},                  \
     .options = o,                         \
     .no_gradients = true},
#define GRAD_FILTER(text, x, w, y, o) \
    {.name = text, .inputs = {IN(x), IN(y), IN(w)}, .outputs = {OUT(w)}, .options = o},
#define GRAD_FILTER_LARGE(text, x, w, y, o) \
    {.name = text,                          \
     .inputs = {IN(x), IN(y), IN(w)},       \
     .outputs = {OUT(w)},                   \
     .options = o,                          \
     .no_gradients = true},

static const op_sample samples[] = {
    SMALL(FORWARD) LARGE(FORWARD_LARGE){.name = "without options",
                                        .inputs = {IN((1, 2, 3, 3)), IN((2, 2, 2, 2))},
                                        .outputs = {OUT((1, 2, 2, 2))}},
    {.name = "by macro",
     .inputs = {IN((2, 2, 5, 6)), IN((2, 2, 3, 2))},
     .outputs = {OUT((2, 2, 2, 3))},
     .build = build_by_macro,
     .reference = reference_macro},
    {.name = "constant filter",
     .inputs = {IN((1, 256, 4, 4)),
                {OP_SHAPE(20, 256, 1, 1), .low = -1, .high = 1, .constant = true}},
     .outputs = {OUT((1, 20, 4, 4))},
     .options = &plain,
     .no_gradients = true},
};
static const op_sample samples_grad_input[] = {
    SMALL(GRAD_INPUT) LARGE(GRAD_INPUT_LARGE){
        .name = "constant filter",
        .inputs = {{OP_SHAPE(3, 2, 3, 3), .low = -1, .high = 1, .constant = true},
                   IN((2, 3, 3, 3)),
                   IN((2, 2, 6, 6))},
        .outputs = {OUT((2, 2, 6, 6))},
        .options = &same_lower,
        .no_gradients = true},
};
static const op_sample samples_grad_filter[] = {SMALL(GRAD_FILTER) LARGE(GRAD_FILTER_LARGE)};

OPTIONS(negative_stride, .stride = {-1});
OPTIONS(negative_padding, PAD(0, -1, 0, 0));
OPTIONS(negative_dilation, .dilation = {1, -2});
OPTIONS(negative_groups, .groups = -2);
OPTIONS(three_groups, .groups = 3);
OPTIONS(unknown_padding, .padding = {(tc_padding_mode)9});

#define BAD(x, w, o, text)                                      \
    {                                                           \
        .inputs = {IN(x), IN(w)}, .options = o, .message = text \
    }
static const op_bad bad[] = {
    BAD((3, 5, 5), (4, 3, 3, 3), &plain, "x of shape [3, 5, 5] has rank 3 instead of 4"),
    BAD((1, 3, 5, 5), (4, 3, 3), &plain, "w of shape [4, 3, 3] has rank 3 instead of 4"),
    BAD((1, 3, 5, 5), (4, 2, 3, 3), &plain, "has 3 channels per group, but w [4, 2, 3, 3] reads 2"),
    BAD((1, 4, 5, 5), (4, 4, 3, 3), &two_groups, "has 2 channels per group"),
    BAD((1, 4, 5, 5), (5, 2, 3, 3), &two_groups,
        "5 filters of w [5, 2, 3, 3] do not divide into 2"),
    BAD((1, 4, 5, 5), (6, 2, 3, 3), &three_groups,
        "4 channels of x [1, 4, 5, 5] do not divide into 3"),
    BAD((1, 3, 2, 5), (4, 3, 3, 3), &plain,
        "the kernel covers a height of 3, but the image with its padding only has 2"),
    BAD((1, 3, 5, 1), (4, 3, 3, 4), &pad_one, "the kernel covers a width of 4"),
    BAD((1, 3, 5, 5), (4, 3, 0, 3), &plain, "the kernel has height 0"),
    BAD((1, 3, 5, 5), (4, 3, 3, 3), &negative_stride, "strides has the number -1"),
    BAD((1, 3, 5, 5), (4, 3, 3, 3), &negative_padding, "pads has the number -1"),
    BAD((1, 3, 5, 5), (4, 3, 3, 3), &negative_dilation, "dilations has the number -2"),
    BAD((1, 3, 5, 5), (4, 3, 3, 3), &negative_groups, "groups is -2"),
    BAD((1, 3, 5, 5), (4, 3, 3, 3), &unknown_padding, "explicit|same|same_lower"),
    {.inputs = {IN((1, 3, 5, 5)), IN((4, 3, 3, 3))}, .dtype = TC_I32, .message = "i32"},
};
#define BAD3(a, b, c, o, text)                                         \
    {                                                                  \
        .inputs = {IN(a), IN(b), IN(c)}, .options = o, .message = text \
    }
static const op_bad bad_grad_input[] = {
    BAD3((4, 3, 3, 3), (1, 4, 3, 4), (1, 3, 5, 5), &plain,
         "dy has shape [1, 4, 3, 4], but the convolution gives [1, 4, 3, 3]"),
    BAD3((4, 3, 3, 3), (1, 4, 3), (1, 3, 5, 5), &plain, "dy of shape [1, 4, 3] has rank 3"),
    BAD3((4, 3, 3, 3), (1, 4, 3, 3), (1, 2, 5, 5), &plain, "has 2 channels per group"),
};
static const op_bad bad_grad_filter[] = {
    BAD3((1, 3, 5, 5), (1, 5, 3, 3), (4, 3, 3, 3), &plain,
         "dy has shape [1, 5, 3, 3], but the convolution gives [1, 4, 3, 3]"),
    BAD3((1, 3, 5, 5), (1, 4, 3, 3), (4, 3, 6, 3), &plain, "the kernel covers a height of 6"),
};

#define TOLERANCE                            \
    .tolerance = {[TC_F32] = {1e-5, 1e-4},   \
                  [TC_F64] = {1e-12, 1e-12}, \
                  [TC_F16] = {2e-3, 2e-3},   \
                  [TC_BF16] = {1.6e-2, 1.6e-2}}

const op_case op_case_conv2d = {.op = "conv2d",
                                .build = build,
                                .reference = reference,
                                OP_LIST(samples),
                                OP_BAD(bad),
                                .dtypes = TC_DTYPES_FLOAT,
                                .gradients = OP_INPUT(0) | OP_INPUT(1),
                                TOLERANCE};
const op_case op_case_conv2d_grad_input = {.op = "conv2d_grad_input",
                                           .build = build_grad_input,
                                           .reference = reference_grad_input,
                                           OP_LIST(samples_grad_input),
                                           OP_BAD(bad_grad_input),
                                           .dtypes = TC_DTYPES_FLOAT,
                                           .gradients = OP_INPUT(0) | OP_INPUT(1),
                                           TOLERANCE};
const op_case op_case_conv2d_grad_filter = {.op = "conv2d_grad_filter",
                                            .build = build_grad_filter,
                                            .reference = reference_grad_filter,
                                            OP_LIST(samples_grad_filter),
                                            OP_BAD(bad_grad_filter),
                                            .dtypes = TC_DTYPES_FLOAT,
                                            .gradients = OP_INPUT(0) | OP_INPUT(1),
                                            TOLERANCE};
