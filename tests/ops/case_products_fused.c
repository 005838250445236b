/* matmul_fused and conv2d_fused: every way of computing the product, with all that may follow it.
 */
#include "op_case.h"

typedef struct fused {
    bool transpose_a, transpose_b;
    int64_t stride, pad, groups; /* of conv2d_fused; stride 0: matmul_fused */
    double alpha;                /* 0: 1 */
    const char *activation;      /* NULL: none */
} fused;

enum { SCALE = 2, BIAS, RESIDUAL, INPUTS };

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    const fused *o = options;
    const int64_t pads[] = {o->pad, o->pad, o->pad, o->pad}, stride[] = {o->stride, o->stride};
    tc_attr_arg attrs[6] = {{"alpha", tc_attr_float(o->alpha != 0 ? o->alpha : 1)},
                            {"activation", tc_attr_string(o->activation ? o->activation : "none")}};
    if (o->stride) {
        attrs[2] = (tc_attr_arg){"strides", tc_attr_ints(stride, 2)};
        attrs[3] = (tc_attr_arg){"pads", tc_attr_ints(pads, 4)};
        attrs[4] = (tc_attr_arg){"groups", tc_attr_int(o->groups ? o->groups : 1)};
    } else {
        attrs[2] = (tc_attr_arg){"transpose_a", tc_attr_bool(o->transpose_a)};
        attrs[3] = (tc_attr_arg){"transpose_b", tc_attr_bool(o->transpose_b)};
    }
    return tc_node_build(graph, &(tc_node_spec){.op = o->stride ? "conv2d_fused" : "matmul_fused",
                                                .at = TC_HERE,
                                                .inputs = in,
                                                .n_inputs = INPUTS,
                                                .attrs = attrs,
                                                .n_attrs = o->stride ? 5 : 4});
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

/* What becomes of the sum for element `at`, in channel or column `channel`. */
static void finish(const op_run *run, int64_t at, int64_t channel, double sum)
{
    const fused *o = run->options;
    double x = sum * (o->alpha != 0 ? o->alpha : 1);
    if (run->inputs[SCALE])
        x *= run->inputs[SCALE][channel];
    if (run->inputs[BIAS])
        x += run->inputs[BIAS][channel];
    if (run->inputs[RESIDUAL])
        x += run->inputs[RESIDUAL][at];
    run->outputs[0][at] = activate(o->activation, x);
}

static void matmul_reference(const op_run *run)
{
    const fused *o = run->options;
    const tc_shape *a = &run->input_shapes[0], *b = &run->input_shapes[1];
    const tc_shape *y = &run->output_shapes[0];
    int64_t m = y->dims[y->rank - 2].size, n = y->dims[y->rank - 1].size, items = 1;
    int64_t k = a->dims[a->rank - (o->transpose_a ? 2 : 1)].size;
    for (int d = 0; d < y->rank - 2; d++)
        items *= y->dims[d].size;
    for (int64_t e = 0; e < items * m * n; e++) {
        int64_t item = e / (m * n), i = e / n % m, j = e % n;
        const double *p = run->inputs[0] + (a->rank > 2 ? item * m * k : 0);
        const double *q = run->inputs[1] + (b->rank > 2 ? item * k * n : 0);
        double sum = 0;
        for (int64_t t = 0; t < k; t++)
            sum += p[o->transpose_a ? t * m + i : i * k + t] *
                   q[o->transpose_b ? j * k + t : t * n + j];
        finish(run, e, j, sum);
    }
}

static void conv2d_reference(const op_run *run)
{
    const fused *o = run->options;
    const tc_dim *x = run->input_shapes[0].dims, *w = run->input_shapes[1].dims;
    const tc_dim *y = run->output_shapes[0].dims;
    int64_t channels = w[1].size, per_group = y[1].size / (o->groups ? o->groups : 1);
    for (int64_t e = 0; e < tc_shape_size(&run->output_shapes[0]); e++) {
        int64_t column = e % y[3].size, row = e / y[3].size % y[2].size;
        int64_t filter = e / y[3].size / y[2].size % y[1].size;
        int64_t image = e / y[3].size / y[2].size / y[1].size;
        double sum = 0;
        for (int64_t t = 0; t < channels * w[2].size * w[3].size; t++) {
            int64_t kx = t % w[3].size, ky = t / w[3].size % w[2].size;
            int64_t c = filter / per_group * channels + t / w[3].size / w[2].size;
            int64_t iy = row * o->stride + ky - o->pad, ix = column * o->stride + kx - o->pad;
            if (iy >= 0 && iy < x[2].size && ix >= 0 && ix < x[3].size)
                sum += run->inputs[0][((image * x[1].size + c) * x[2].size + iy) * x[3].size + ix] *
                       run->inputs[1][filter * channels * w[2].size * w[3].size + t];
        }
        finish(run, e, filter, sum);
    }
}

#define IS(...) OP_SHAPE(__VA_ARGS__)
#define NONE    .absent = true
#define OF(...) (&(const fused){__VA_ARGS__})
#define SAMPLE(text, a, b, scale, bias, residual, y, ...)                                  \
    {                                                                                      \
        .name = text, .inputs = {{a}, {b}, {scale}, {bias}, {residual}}, .outputs = {{y}}, \
        .n_inputs = INPUTS, .options = OF(__VA_ARGS__)                                     \
    }
/* Vectors in f32 beside data of 16 bits. */
#define F32 .dtype = TC_F32

static const op_sample matmul_samples[] = {
    SAMPLE("nothing follows", IS(3, 5), IS(5, 7), NONE, NONE, NONE, IS(3, 7), .alpha = 1),
    SAMPLE("small layer", IS(1, 4), IS(4, 8), NONE, IS(8), NONE, IS(1, 8), .activation = "relu"),
    SAMPLE("all", IS(3, 5), IS(5, 7), IS(7), IS(7), IS(3, 7), IS(3, 7), .alpha = 0.5,
           .activation = "relu"),
    SAMPLE("sigmoid", IS(9, 20), IS(20, 33), NONE, IS(33), NONE, IS(9, 33),
           .activation = "sigmoid"),
    SAMPLE("tanh", IS(5, 20), IS(20, 19), IS(19), NONE, NONE, IS(5, 19), .activation = "tanh"),
    SAMPLE("gelu", IS(4, 6), IS(6, 40), NONE, IS(40), IS(4, 40), IS(4, 40), .activation = "gelu"),
    SAMPLE("gelu_tanh", IS(4, 6), IS(6, 40), NONE, IS(40), NONE, IS(4, 40),
           .activation = "gelu_tanh"),
    SAMPLE("scaled", IS(6, 3), IS(3, 6), NONE, NONE, NONE, IS(6, 6), .alpha = -0.125),
    SAMPLE("transposed a", IS(70, 9), IS(70, 50), IS(50), IS(50), IS(9, 50), IS(9, 50),
           .transpose_a = true),
    SAMPLE("dot products", IS(9, 130), IS(1100, 130), IS(1100), IS(1100), IS(9, 1100), IS(9, 1100),
           .transpose_b = true, .activation = "relu"),
    SAMPLE("dot products in place", IS(60, 40), IS(300, 40), NONE, IS(300), NONE, IS(60, 300),
           .transpose_b = true, .activation = "relu"),
    SAMPLE("both transposed", IS(40, 130), IS(70, 40), NONE, IS(70), IS(130, 70), IS(130, 70),
           .transpose_a = true, .transpose_b = true),
    SAMPLE("deep", IS(20, 800), IS(800, 40), IS(40), IS(40), IS(20, 40), IS(20, 40),
           .activation = "relu"),
    SAMPLE("deep in the result", IS(20, 800), IS(800, 300), IS(300), IS(300), NONE, IS(20, 300),
           .activation = "relu"),
    SAMPLE("tall", IS(260, 70), IS(70, 90), IS(90), IS(90), IS(260, 90), IS(260, 90),
           .activation = "relu"),
    SAMPLE("tall and wide", IS(130, 30), IS(30, 530), NONE, IS(530), NONE, IS(130, 530),
           .activation = "relu"),
    SAMPLE("batch", IS(3, 2, 4), IS(3, 4, 5), IS(5), IS(5), IS(3, 2, 5), IS(3, 2, 5), .alpha = 2),
    SAMPLE("batch times matrix", IS(2, 3, 4), IS(4, 3), NONE, IS(3), IS(2, 3, 3), IS(2, 3, 3),
           .activation = "relu"),
    SAMPLE("transposed batch times matrix", IS(2, 4, 3), IS(4, 3), IS(3), NONE, IS(2, 3, 3),
           IS(2, 3, 3), .transpose_a = true),
    SAMPLE("large batch", IS(3, 40, 50), IS(3, 50, 30), IS(30), IS(30), IS(3, 40, 30),
           IS(3, 40, 30), .alpha = 2),
    SAMPLE("large gelu", IS(41, 50), IS(50, 63), NONE, NONE, IS(41, 63), IS(41, 63),
           .activation = "gelu"),
    SAMPLE("large gelu_tanh", IS(40, 50), IS(50, 64), NONE, IS(64), NONE, IS(40, 64), .alpha = 0.5,
           .activation = "gelu_tanh"),
    SAMPLE("large bias", IS(40, 300), IS(300, 63), NONE, IS(63), IS(40, 63), IS(40, 63),
           .alpha = -1),
    {.name = "constant weights",
     .inputs = {{IS(130, 40)}, {IS(50, 40), .constant = true}, {NONE}, {IS(50)}, {IS(130, 50)}},
     .n_inputs = INPUTS,
     .outputs = {{IS(130, 50)}},
     .options = OF(.transpose_b = true, .activation = "relu")},
    {.name = "f32 vectors",
     .inputs = {{IS(20, 30)}, {IS(30, 50)}, {IS(50), F32}, {IS(50), F32}, {IS(20, 50)}},
     .n_inputs = INPUTS,
     .outputs = {{IS(20, 50)}},
     .options = OF(.activation = "relu"),
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16)},
    {.name = "large, f32 bias",
     .inputs = {{IS(40, 300)}, {IS(300, 64)}, {NONE}, {IS(64), F32}, {IS(40, 64)}},
     .n_inputs = INPUTS,
     .outputs = {{IS(40, 64)}},
     .options = OF(.alpha = 1),
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16)},
    {.name = "large, f32 vectors",
     .inputs = {{IS(40, 300)}, {IS(300, 64)}, {IS(64), F32}, {IS(64), F32}, {IS(40, 64)}},
     .n_inputs = INPUTS,
     .outputs = {{IS(40, 64)}},
     .options = OF(.activation = "tanh"),
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16)},
    SAMPLE("no rows", IS(0, 5), IS(5, 7), IS(7), IS(7), IS(0, 7), IS(0, 7), .alpha = 1),
    SAMPLE("no columns", IS(3, 5), IS(5, 0), NONE, IS(0), NONE, IS(3, 0), .alpha = 1),
    SAMPLE("sum of nothing", IS(3, 0), IS(0, 4), IS(4), IS(4), IS(3, 4), IS(3, 4),
           .activation = "relu"),
    {.name = "NaN stays NaN",
     .inputs =
         {{IS(1, 1), OP_ELEMENTS(NAN)}, {IS(1, 2), OP_ELEMENTS(1, 2)}, {NONE}, {NONE}, {NONE}},
     .n_inputs = INPUTS,
     .outputs = {{IS(1, 2)}},
     .options = OF(.activation = "relu")},
};

static const op_sample conv2d_samples[] = {
    SAMPLE("nothing follows", IS(2, 3, 5, 6), IS(4, 3, 3, 3), NONE, NONE, NONE, IS(2, 4, 3, 4),
           .stride = 1),
    SAMPLE("all", IS(2, 3, 5, 6), IS(4, 3, 3, 3), IS(4), IS(4), IS(2, 4, 5, 6), IS(2, 4, 5, 6),
           .stride = 1, .pad = 1, .alpha = 0.5, .activation = "relu"),
    SAMPLE("in the result", IS(2, 20, 6, 7), IS(30, 20, 1, 1), IS(30), IS(30), NONE,
           IS(2, 30, 6, 7), .stride = 1, .activation = "relu"),
    SAMPLE("pixels with a residual", IS(2, 20, 6, 7), IS(30, 20, 1, 1), IS(30), IS(30),
           IS(2, 30, 6, 7), IS(2, 30, 6, 7), .stride = 1, .activation = "relu"),
    SAMPLE("deep", IS(1, 50, 9, 9), IS(20, 50, 3, 3), IS(20), IS(20), IS(1, 20, 9, 9),
           IS(1, 20, 9, 9), .stride = 1, .pad = 1, .activation = "relu"),
    SAMPLE("deep in the result", IS(1, 500, 4, 5), IS(33, 500, 1, 1), NONE, IS(33), NONE,
           IS(1, 33, 4, 5), .stride = 1, .activation = "tanh"),
    SAMPLE("large image", IS(1, 3, 40, 41), IS(17, 3, 3, 3), IS(17), IS(17), IS(1, 17, 40, 41),
           IS(1, 17, 40, 41), .stride = 1, .pad = 1, .activation = "relu"),
    SAMPLE("wide padding", IS(1, 2, 9, 300), IS(3, 2, 5, 5), IS(3), NONE, IS(1, 3, 13, 304),
           IS(1, 3, 13, 304), .stride = 1, .pad = 4, .activation = "relu"),
    SAMPLE("stride", IS(2, 3, 9, 9), IS(5, 3, 3, 3), IS(5), IS(5), IS(2, 5, 5, 5), IS(2, 5, 5, 5),
           .stride = 2, .pad = 1, .activation = "relu"),
    SAMPLE("groups", IS(2, 6, 7, 5), IS(9, 2, 3, 3), IS(9), IS(9), IS(2, 9, 7, 5), IS(2, 9, 7, 5),
           .stride = 1, .pad = 1, .groups = 3, .activation = "sigmoid"),
    SAMPLE("depthwise", IS(2, 5, 7, 8), IS(5, 1, 3, 3), IS(5), IS(5), NONE, IS(2, 5, 7, 8),
           .stride = 1, .pad = 1, .groups = 5, .activation = "relu"),
    SAMPLE("gelu", IS(1, 3, 4, 4), IS(5, 3, 1, 1), NONE, IS(5), NONE, IS(1, 5, 4, 4), .stride = 1,
           .activation = "gelu"),
    SAMPLE("gelu_tanh", IS(1, 3, 4, 4), IS(5, 3, 1, 1), NONE, NONE, IS(1, 5, 4, 4), IS(1, 5, 4, 4),
           .stride = 1, .activation = "gelu_tanh"),
    {.name = "constant filter",
     .inputs =
         {{IS(1, 64, 5, 5)}, {IS(20, 64, 2, 2), .constant = true}, {IS(20)}, {IS(20)}, {NONE}},
     .n_inputs = INPUTS,
     .outputs = {{IS(1, 20, 4, 4)}},
     .options = OF(.stride = 1, .activation = "relu")},
    {.name = "f32 vectors",
     .inputs = {{IS(2, 3, 5, 6)}, {IS(4, 3, 3, 3)}, {IS(4), F32}, {IS(4), F32}, {IS(2, 4, 5, 6)}},
     .n_inputs = INPUTS,
     .outputs = {{IS(2, 4, 5, 6)}},
     .options = OF(.stride = 1, .pad = 1, .activation = "relu"),
     .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16)},
    SAMPLE("no images", IS(0, 3, 5, 6), IS(4, 3, 3, 3), IS(4), IS(4), IS(0, 4, 5, 6),
           IS(0, 4, 5, 6), .stride = 1, .pad = 1),
    SAMPLE("no channels", IS(1, 0, 3, 3), IS(2, 0, 1, 1), IS(2), IS(2), IS(1, 2, 3, 3),
           IS(1, 2, 3, 3), .stride = 1, .activation = "relu"),
};

static const op_bad matmul_bad[] = {
    {.inputs = {{IS(3, 5)}, {IS(4, 7)}, {NONE}, {NONE}, {NONE}},
     .options = OF(.alpha = 1),
     .message = "[3, 5] has 5 columns"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {IS(3)}, {NONE}, {NONE}},
     .options = OF(.alpha = 1),
     .message = "scale has shape [3], but must be [7]"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {NONE}, {IS(1, 7)}, {NONE}},
     .options = OF(.alpha = 1),
     .message = "bias has shape [1, 7], but must be [7]"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {NONE}, {NONE}, {IS(7)}},
     .options = OF(.alpha = 1),
     .message = "residual has shape [7], but the product has [3, 7]"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {IS(7), .dtype = TC_F64}, {NONE}, {NONE}},
     .options = OF(.alpha = 1),
     .message = "scale is f64, but must be f32"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {IS(7), .dtype = TC_BF16}, {NONE}, {NONE}},
     .options = OF(.alpha = 1),
     .dtype = TC_F16,
     .message = "scale is bf16, but must be f16 or f32"},
    {.inputs = {{IS(3, 5)}, {IS(5, 7)}, {NONE}, {NONE}, {NONE}},
     .options = OF(.activation = "softplus"),
     .message = "softplus"},
};

static const op_bad conv2d_bad[] = {
    {.inputs = {{IS(1, 3, 4, 4)}, {IS(5, 2, 3, 3)}, {NONE}, {NONE}, {NONE}},
     .options = OF(.stride = 1),
     .message = "3 channels per group"},
    {.inputs = {{IS(1, 3, 4, 4)}, {IS(5, 3, 3, 3)}, {IS(3)}, {NONE}, {NONE}},
     .options = OF(.stride = 1),
     .message = "scale has shape [3], but must be [5]"},
    {.inputs = {{IS(1, 3, 4, 4)}, {IS(5, 3, 3, 3)}, {NONE}, {NONE}, {IS(1, 5, 4, 4)}},
     .options = OF(.stride = 1),
     .message = "residual has shape [1, 5, 4, 4], but the product has [1, 5, 2, 2]"},
};

#define TOLERANCE                            \
    .tolerance = {[TC_F32] = {1e-5, 1e-4},   \
                  [TC_F64] = {1e-12, 1e-12}, \
                  [TC_F16] = {2e-3, 2e-3},   \
                  [TC_BF16] = {1.6e-2, 1.6e-2}}

extern const op_case op_case_matmul_fused, op_case_conv2d_fused;
const op_case op_case_matmul_fused = {.op = "matmul_fused",
                                      .build = build,
                                      .reference = matmul_reference,
                                      OP_LIST(matmul_samples),
                                      OP_BAD(matmul_bad),
                                      .n_inputs = INPUTS,
                                      .dtypes = TC_DTYPES_FLOAT,
                                      TOLERANCE};
const op_case op_case_conv2d_fused = {.op = "conv2d_fused",
                                      .build = build,
                                      .reference = conv2d_reference,
                                      OP_LIST(conv2d_samples),
                                      OP_BAD(conv2d_bad),
                                      .n_inputs = INPUTS,
                                      .dtypes = TC_DTYPES_FLOAT,
                                      TOLERANCE};
