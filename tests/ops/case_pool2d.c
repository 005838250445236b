/* Pooling, its gradients, and scattering to and gathering from places. */
#include "op_case.h"

#define MAX_OPTIONS(name, ...)                                                               \
    static const tc_max_pool2d_options name = {.struct_size = sizeof(tc_max_pool2d_options), \
                                               __VA_ARGS__}
#define AVG_OPTIONS(name, ...)                                                               \
    static const tc_avg_pool2d_options name = {.struct_size = sizeof(tc_avg_pool2d_options), \
                                               __VA_ARGS__}
#define PAD(t, l, b, r) .padding = {TC_PADDING_MODE_EXPLICIT, t, l, b, r}
#define SAME            .padding = {TC_PADDING_MODE_SAME}

MAX_OPTIONS(max_two, .kernel = {2});
MAX_OPTIONS(max_three, .kernel = {3}, .stride = {2}, PAD(1, 1, 1, 1));
MAX_OPTIONS(max_uneven, .kernel = {2, 3}, .stride = {1, 2}, PAD(0, 2, 1, 1));
MAX_OPTIONS(max_sparse, .kernel = {1}, .stride = {2, 3});
MAX_OPTIONS(max_dilated, .kernel = {2, 3}, .stride = {1}, .dilation = {3, 2}, PAD(1, 2, 1, 0));
MAX_OPTIONS(max_ceil, .kernel = {2}, .stride = {2}, .ceil_mode = true);
MAX_OPTIONS(max_ceil_padded, .kernel = {3}, .stride = {2}, PAD(1, 1, 1, 1), .ceil_mode = true);
MAX_OPTIONS(max_same, .kernel = {3, 2}, .stride = {2}, SAME);
MAX_OPTIONS(max_no_kernel, .stride = {2});
MAX_OPTIONS(max_negative, .kernel = {2, -2});
MAX_OPTIONS(max_all_padding, .kernel = {2}, PAD(2, 0, 0, 0));
MAX_OPTIONS(max_gap, .kernel = {2}, .stride = {1}, .dilation = {2}, PAD(1, 1, 1, 1));
AVG_OPTIONS(avg_two, .kernel = {2});
AVG_OPTIONS(avg_three, .kernel = {3}, .stride = {2}, PAD(1, 1, 1, 1));
AVG_OPTIONS(avg_padding, .kernel = {3}, .stride = {2}, PAD(1, 1, 1, 1), .count_include_pad = true);
AVG_OPTIONS(avg_uneven, .kernel = {2, 3}, .stride = {1, 2}, PAD(0, 2, 1, 1));
AVG_OPTIONS(avg_sparse, .kernel = {1, 2}, .stride = {2, 3});
AVG_OPTIONS(avg_ceil, .kernel = {3}, .stride = {2}, PAD(1, 0, 0, 1), .ceil_mode = true);
AVG_OPTIONS(avg_ceil_padding, .kernel = {3}, .stride = {2}, PAD(1, 0, 0, 1), .ceil_mode = true,
            .count_include_pad = true);
AVG_OPTIONS(avg_same, .kernel = {3, 2}, .stride = {2}, SAME);
AVG_OPTIONS(avg_whole, .kernel = {5, 4});
AVG_OPTIONS(avg_no_kernel, .stride = {2});

static tc_value build_max(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_max_pool2d_at(TC_HERE, in[0], options);
}

static tc_value build_max_by_macro(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_max_pool2d(in[0], .kernel = {3}, .stride = {2}, .padding = TC_PADDING(1));
}

static tc_value build_max_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_max_pool2d_grad(in[0], in[1], in[2]);
}

static tc_value build_gather(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_max_pool2d_gather(in[0], in[1]);
}

static tc_value build_avg(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_avg_pool2d_at(TC_HERE, in[0], options);
}

static tc_value build_avg_by_macro(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    (void)options;
    return tc_avg_pool2d(in[0], .kernel = {3}, .stride = {2}, .padding = TC_PADDING(1, 1),
                         .count_include_pad = true);
}

static tc_value build_avg_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_avg_pool2d_grad_at(TC_HERE, in[0], in[1], options);
}

/* A window along one axis: its elements are first, first + dilation, ... below end. */
typedef struct window {
    int64_t first, end, dilation, size; /* size of the image */
    int64_t padded_end;                 /* of image and padding */
    int64_t padded_begin;
} window;

static window window_of(int64_t in, int64_t o, int64_t kernel, int64_t stride, int64_t dilation,
                        tc_padding_mode mode, int64_t before, int64_t after)
{
    int64_t extent = (kernel - 1) * dilation + 1;
    if (mode == TC_PADDING_MODE_SAME) {
        int64_t all = ((in + stride - 1) / stride - 1) * stride + extent - in;
        all = all > 0 ? all : 0;
        before = all / 2;
        after = all - before;
    }
    int64_t first = o * stride - before;
    return (window){first, first + extent, dilation, in, in + after, -before};
}

#define OR(a, b) ((a) ? (a) : (b))
#define WINDOW(options, axis, in, o, dilation)                          \
    window_of(in, o, OR((options)->kernel[axis], (options)->kernel[0]), \
              OR(OR((options)->stride[axis], (options)->stride[0]),     \
                 OR((options)->kernel[axis], (options)->kernel[0])),    \
              dilation, (options)->padding.mode,                        \
              axis ? (options)->padding.left : (options)->padding.top,  \
              axis ? (options)->padding.right : (options)->padding.bottom)

/* Loops over the output elements: plane `p` and position, windows `v` and `h`. */
#define EACH_WINDOW(x, y, options, dilation_y, dilation_x, body)       \
    int64_t height = (x)->dims[2].size, width = (x)->dims[3].size;     \
    int64_t at = 0, planes = (x)->dims[0].size * (x)->dims[1].size;    \
    for (int64_t p = 0; p < planes; p++)                               \
        for (int64_t oy = 0; oy < (y)->dims[2].size; oy++)             \
            for (int64_t ox = 0; ox < (y)->dims[3].size; ox++, at++) { \
                window v = WINDOW(options, 0, height, oy, dilation_y); \
                window h = WINDOW(options, 1, width, ox, dilation_x);  \
                body                                                   \
            }

/* Loops over the elements of the windows that lie in the image: `i` in the plane. */
#define EACH_ELEMENT(body)                                          \
    for (int64_t yy = v.first; yy < v.end; yy += v.dilation)        \
        for (int64_t xx = h.first; xx < h.end; xx += h.dilation)    \
            if (yy >= 0 && yy < v.size && xx >= 0 && xx < h.size) { \
                int64_t i = yy * h.size + xx;                       \
                body                                                \
            }

static void reference_max(const op_run *run)
{
    const tc_max_pool2d_options *o = run->options;
    int64_t dy = OR(o->dilation[0], 1), dx = OR(o->dilation[1], dy);
    EACH_WINDOW(&run->input_shapes[0], &run->output_shapes[0], o, dy, dx, {
        const double *plane = run->inputs[0] + p * height * width;
        int64_t best = -1;
        EACH_ELEMENT({
            if (best < 0 || plane[i] > plane[best] || (isnan(plane[i]) && !isnan(plane[best])))
                best = i;
        })
        run->outputs[0][at] = plane[best];
        run->outputs[1][at] = (double)best;
    })
}

static void reference_max_macro(const op_run *run)
{
    op_run copy = *run;
    copy.options = &max_three;
    reference_max(&copy);
}

static int64_t counted(const window *w, bool padding)
{
    int64_t begin = w->first, end = w->end;
    int64_t least = padding ? w->padded_begin : 0, most = padding ? w->padded_end : w->size;
    return (end < most ? end : most) - (begin > least ? begin : least);
}

static void reference_avg(const op_run *run)
{
    const tc_avg_pool2d_options *o = run->options;
    EACH_WINDOW(&run->input_shapes[0], &run->output_shapes[0], o, 1, 1, {
        double sum = 0;
        EACH_ELEMENT({ sum += run->inputs[0][p * height * width + i]; })
        int64_t count = counted(&v, o->count_include_pad) * counted(&h, o->count_include_pad);
        run->outputs[0][at] = sum / (double)count;
    })
}

static void reference_avg_macro(const op_run *run)
{
    op_run copy = *run;
    copy.options = &avg_padding;
    reference_avg(&copy);
}

static void reference_avg_grad(const op_run *run)
{
    const tc_avg_pool2d_options *o = run->options;
    int64_t size = tc_shape_size(&run->output_shapes[0]);
    for (int64_t i = 0; i < size; i++)
        run->outputs[0][i] = 0;
    EACH_WINDOW(&run->input_shapes[1], &run->input_shapes[0], o, 1, 1, {
        int64_t count = counted(&v, o->count_include_pad) * counted(&h, o->count_include_pad);
        EACH_ELEMENT(
            { run->outputs[0][p * height * width + i] += run->inputs[0][at] / (double)count; })
    })
}

static void reference_max_grad(const op_run *run)
{
    const tc_shape *x = &run->output_shapes[0], *y = &run->input_shapes[0];
    int64_t image = x->dims[2].size * x->dims[3].size, pooled = y->dims[2].size * y->dims[3].size;
    for (int64_t i = 0; i < tc_shape_size(x); i++)
        run->outputs[0][i] = 0;
    for (int64_t i = 0; i < tc_shape_size(y); i++) {
        int64_t place = (int64_t)run->inputs[1][i];
        if (place >= 0 && place < image)
            run->outputs[0][i / pooled * image + place] += run->inputs[0][i];
    }
}

static void reference_gather(const op_run *run)
{
    const tc_shape *x = &run->input_shapes[0], *y = &run->output_shapes[0];
    int64_t image = x->dims[2].size * x->dims[3].size, pooled = y->dims[2].size * y->dims[3].size;
    for (int64_t i = 0; i < tc_shape_size(y); i++) {
        int64_t place = (int64_t)run->inputs[1][i];
        bool valid = place >= 0 && place < image;
        run->outputs[0][i] = valid ? run->inputs[0][i / pooled * image + place] : 0;
    }
}

#define S(...) (__VA_ARGS__)
#define POOL(text, x, y, o)                                                    \
    {                                                                          \
        .name = text, .inputs = {{OP_SHAPE x, .fill = OP_DISTINCT}},           \
        .outputs = {{OP_SHAPE y}, {.dtype = TC_I32, OP_SHAPE y}}, .options = o \
    }

static const op_sample max_samples[] = {
    POOL("two by two", S(2, 3, 4, 6), S(2, 3, 2, 3), &max_two),
    POOL("odd size", S(1, 2, 5, 7), S(1, 2, 2, 3), &max_two),
    POOL("overlapping, padded", S(2, 2, 5, 6), S(2, 2, 3, 3), &max_three),
    POOL("uneven", S(1, 2, 4, 5), S(1, 2, 4, 3), &max_uneven),
    POOL("stride over kernel", S(1, 2, 5, 8), S(1, 2, 3, 3), &max_sparse),
    POOL("dilated", S(1, 2, 6, 7), S(1, 2, 5, 5), &max_dilated),
    POOL("ceil", S(1, 2, 5, 4), S(1, 2, 3, 2), &max_ceil),
    POOL("ceil with padding", S(1, 2, 6, 6), S(1, 2, 4, 4), &max_ceil_padded),
    POOL("same", S(1, 2, 5, 6), S(1, 2, 3, 3), &max_same),
    {.name = "wide rows",
     .inputs = {{OP_SHAPE(1, 2, 5, 601)}},
     .outputs = {{OP_SHAPE(1, 2, 3, 301)}, {.dtype = TC_I32, OP_SHAPE(1, 2, 3, 301)}},
     .options = &max_three,
     .no_gradients = true},
    {.name = "many narrow rows",
     .inputs = {{OP_SHAPE(3, 4, 14, 15)}},
     .outputs = {{OP_SHAPE(3, 4, 7, 7)}, {.dtype = TC_I32, OP_SHAPE(3, 4, 7, 7)}},
     .options = &max_two,
     .no_gradients = true},
    {.name = "rows of one vector and some, dilated",
     .inputs = {{OP_SHAPE(2, 2, 7, 37)}},
     .outputs = {{OP_SHAPE(2, 2, 6, 35)}, {.dtype = TC_I32, OP_SHAPE(2, 2, 6, 35)}},
     .options = &max_dilated,
     .no_gradients = true},
    {.name = "ties take the first",
     .inputs = {{OP_SHAPE(1, 1, 2, 4), OP_ELEMENTS(1)}},
     .outputs = {{OP_SHAPE(1, 1, 1, 2)}, {.dtype = TC_I32, OP_SHAPE(1, 1, 1, 2)}},
     .options = &max_two,
     .no_gradients = true},
    {.name = "NaN and infinity",
     .inputs = {{OP_SHAPE(1, 1, 2, 8), OP_ELEMENTS(1, NAN, -INFINITY, -INFINITY, INFINITY, 2, 3, 4,
                                                   NAN, 9, -INFINITY, -INFINITY, 1, NAN, 5, NAN)}},
     .outputs = {{OP_SHAPE(1, 1, 1, 4)}, {.dtype = TC_I32, OP_SHAPE(1, 1, 1, 4)}},
     .options = &max_two,
     .dtypes = TC_DTYPES_FLOAT,
     .no_gradients = true},
    {.name = "no images",
     .inputs = {{OP_SHAPE(0, 3, 4, 4)}},
     .outputs = {{OP_SHAPE(0, 3, 2, 2)}, {.dtype = TC_I32, OP_SHAPE(0, 3, 2, 2)}},
     .options = &max_two,
     .no_gradients = true},
    {.name = "no pixels",
     .inputs = {{OP_SHAPE(2, 3, 0, 4)}},
     .outputs = {{OP_SHAPE(2, 3, 0, 2)}, {.dtype = TC_I32, OP_SHAPE(2, 3, 0, 2)}},
     .options = &max_same,
     .no_gradients = true},
    {.name = "by macro",
     .inputs = {{OP_SHAPE(1, 2, 5, 6), .fill = OP_DISTINCT}},
     .outputs = {{OP_SHAPE(1, 2, 3, 3)}, {.dtype = TC_I32, OP_SHAPE(1, 2, 3, 3)}},
     .build = build_max_by_macro,
     .reference = reference_max_macro},
};

#define BAD(x, o, text)                                         \
    {                                                           \
        .inputs = {{OP_SHAPE x}}, .options = o, .message = text \
    }
static const op_bad max_bad[] = {
    BAD((3, 4, 4), &max_two, "x of shape [3, 4, 4] has rank 3 instead of 4"),
    BAD((1, 1, 4, 4), &max_no_kernel, "set .kernel"),
    BAD((1, 1, 4, 4), &max_negative, "both 1 or more"),
    BAD((1, 1, 1, 4), &max_two,
        "the kernel covers a height of 2, but the image with its padding only has 1"),
    BAD((1, 1, 4, 4), &max_all_padding, "lie wholly in the padding"),
    BAD((1, 1, 1, 1), &max_gap, "lie wholly in the padding"),
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(1, 1, 4, 4)}}, .options = &max_two, .message = "bool"},
};

#define PLACES(n) .dtype = TC_I32, .fill = OP_INTEGERS, .low = 0, .high = (n)-1
static const op_sample max_grad_samples[] = {
    {.name = "overlapping",
     .inputs = {{OP_SHAPE(2, 3, 3, 4)}, {OP_SHAPE(2, 3, 3, 4), PLACES(6)}, {OP_SHAPE(2, 3, 2, 3)}},
     .outputs = {{OP_SHAPE(2, 3, 2, 3)}}},
    {.name = "many planes",
     .inputs = {{OP_SHAPE(9, 50, 4, 4)},
                {OP_SHAPE(9, 50, 4, 4), PLACES(64)},
                {OP_SHAPE(9, 50, 8, 8)}},
     .outputs = {{OP_SHAPE(9, 50, 8, 8)}},
     .no_gradients = true},
    {.name = "places outside",
     .inputs = {{OP_SHAPE(1, 1, 2, 2)},
                {OP_SHAPE(1, 1, 2, 2), .dtype = TC_I32, OP_ELEMENTS(-1, 4, 2147483647, 3)},
                {OP_SHAPE(1, 1, 2, 2)}},
     .outputs = {{OP_SHAPE(1, 1, 2, 2)}}},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0, 2, 2, 2)},
                {OP_SHAPE(0, 2, 2, 2), .dtype = TC_I32},
                {OP_SHAPE(0, 2, 4, 4)}},
     .outputs = {{OP_SHAPE(0, 2, 4, 4)}},
     .no_gradients = true},
};
static const op_bad max_grad_bad[] = {
    {.inputs = {{OP_SHAPE(1, 1, 2, 2)},
                {OP_SHAPE(1, 1, 2, 3), .dtype = TC_I32},
                {OP_SHAPE(1, 1, 4, 4)}},
     .message = "dy [1, 1, 2, 2] and argmax [1, 1, 2, 3] must have the same shape"},
    {.inputs = {{OP_SHAPE(1, 1, 2, 2)},
                {OP_SHAPE(1, 1, 2, 2), .dtype = TC_I32},
                {OP_SHAPE(1, 2, 4, 4)}},
     .message = "must have the same batch and channels"},
};
static const op_sample gather_samples[] = {
    {.name = "gather",
     .inputs = {{OP_SHAPE(2, 3, 4, 2)}, {OP_SHAPE(2, 3, 2, 2), PLACES(8)}},
     .outputs = {{OP_SHAPE(2, 3, 2, 2)}}},
    {.name = "places outside",
     .inputs = {{OP_SHAPE(1, 1, 2, 2)},
                {OP_SHAPE(1, 1, 1, 4), .dtype = TC_I32, OP_ELEMENTS(-1, 4, -2147483648.0, 3)}},
     .outputs = {{OP_SHAPE(1, 1, 1, 4)}}},
    {.name = "empty",
     .inputs = {{OP_SHAPE(2, 0, 2, 2)}, {OP_SHAPE(2, 0, 1, 1), .dtype = TC_I32}},
     .outputs = {{OP_SHAPE(2, 0, 1, 1)}},
     .no_gradients = true},
};
static const op_bad gather_bad[] = {
    {.inputs = {{OP_SHAPE(1, 1, 2, 2)}, {OP_SHAPE(2, 1, 2, 2), .dtype = TC_I32}},
     .message = "must have the same batch and channels"},
};

#define AVG(DO)                                                                      \
    DO("two by two", S(2, 3, 4, 6), S(2, 3, 2, 3), &avg_two),                        \
        DO("odd size", S(1, 2, 5, 7), S(1, 2, 2, 3), &avg_two),                      \
        DO("overlapping, padded", S(2, 2, 5, 6), S(2, 2, 3, 3), &avg_three),         \
        DO("padding counts", S(2, 2, 5, 6), S(2, 2, 3, 3), &avg_padding),            \
        DO("uneven", S(1, 2, 4, 5), S(1, 2, 4, 3), &avg_uneven),                     \
        DO("stride over kernel", S(1, 2, 5, 8), S(1, 2, 3, 3), &avg_sparse),         \
        DO("ceil", S(1, 2, 6, 5), S(1, 2, 3, 3), &avg_ceil),                         \
        DO("ceil, padding counts", S(1, 2, 5, 6), S(1, 2, 3, 3), &avg_ceil_padding), \
        DO("same", S(1, 2, 5, 6), S(1, 2, 3, 3), &avg_same),                         \
        DO("whole image", S(2, 3, 5, 4), S(2, 3, 1, 1), &avg_whole),                 \
        DO("no channels", S(2, 0, 4, 4), S(2, 0, 2, 2), &avg_two),                   \
        DO("no pixels", S(2, 2, 4, 0), S(2, 2, 2, 0), &avg_same)

#define AVG_FORWARD(text, x, y, o)                                                      \
    {                                                                                   \
        .name = text, .inputs = {{OP_SHAPE x}}, .outputs = {{OP_SHAPE y}}, .options = o \
    }
#define AVG_BACKWARD(text, x, y, o)                                                      \
    {                                                                                    \
        .name = text, .inputs = {{OP_SHAPE y}, {OP_SHAPE x}}, .outputs = {{OP_SHAPE x}}, \
        .options = o                                                                     \
    }
static const op_sample avg_samples[] = {
    AVG(AVG_FORWARD),
    {.name = "wide rows",
     .inputs = {{OP_SHAPE(1, 2, 5, 601)}},
     .outputs = {{OP_SHAPE(1, 2, 3, 301)}},
     .options = &avg_three,
     .no_gradients = true},
    {.name = "by macro",
     .inputs = {{OP_SHAPE(1, 2, 5, 6)}},
     .outputs = {{OP_SHAPE(1, 2, 3, 3)}},
     .build = build_avg_by_macro,
     .reference = reference_avg_macro},
};
static const op_sample avg_grad_samples[] = {AVG(AVG_BACKWARD)};
static const op_bad avg_bad[] = {
    BAD((3, 4, 4), &avg_two, "x of shape [3, 4, 4] has rank 3 instead of 4"),
    BAD((1, 1, 4, 4), &avg_no_kernel, "set .kernel"),
    BAD((1, 1, 4, 1), &avg_two, "the kernel covers a width of 2"),
    {.inputs = {{OP_SHAPE(1, 1, 4, 4)}}, .options = &avg_two, .dtype = TC_I32, .message = "i32"},
};
static const op_bad avg_grad_bad[] = {
    {.inputs = {{OP_SHAPE(1, 1, 3, 2)}, {OP_SHAPE(1, 1, 4, 4)}},
     .options = &avg_two,
     .message = "dy has shape [1, 1, 3, 2], but pooling gives [1, 1, 2, 2]"},
};

const op_case op_case_max_pool2d = {.op = "max_pool2d",
                                    .build = build_max,
                                    .reference = reference_max,
                                    OP_LIST(max_samples),
                                    OP_BAD(max_bad),
                                    .dtypes = TC_DTYPES_NUMBER,
                                    .gradients = OP_INPUT(0)};
const op_case op_case_max_pool2d_grad = {.op = "max_pool2d_grad",
                                         .build = build_max_grad,
                                         .reference = reference_max_grad,
                                         OP_LIST(max_grad_samples),
                                         OP_BAD(max_grad_bad),
                                         .dtypes = TC_DTYPES_FLOAT,
                                         .gradients = OP_INPUT(0)};
const op_case op_case_max_pool2d_gather = {.op = "max_pool2d_gather",
                                           .build = build_gather,
                                           .reference = reference_gather,
                                           OP_LIST(gather_samples),
                                           OP_BAD(gather_bad),
                                           .dtypes = TC_DTYPES_FLOAT,
                                           .gradients = OP_INPUT(0)};
const op_case op_case_avg_pool2d = {.op = "avg_pool2d",
                                    .build = build_avg,
                                    .reference = reference_avg,
                                    OP_LIST(avg_samples),
                                    OP_BAD(avg_bad),
                                    .dtypes = TC_DTYPES_FLOAT,
                                    .gradients = OP_INPUT(0)};
const op_case op_case_avg_pool2d_grad = {.op = "avg_pool2d_grad",
                                         .build = build_avg_grad,
                                         .reference = reference_avg_grad,
                                         OP_LIST(avg_grad_samples),
                                         OP_BAD(avg_grad_bad),
                                         .dtypes = TC_DTYPES_FLOAT,
                                         .gradients = OP_INPUT(0)};
