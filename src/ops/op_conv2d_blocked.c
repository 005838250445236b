/*
 * Convolution of images in blocks of 16 channels, and what follows it on each element: what the
 * compiler makes of conv2d and conv2d_fused where it pays. The last block is filled up with
 * channels whose elements mean nothing.
 */
#include "core/shape.h"
#include "ops/blocked.h"
#include "ops/products.h"

enum { X, W, SCALE, BIAS, RESIDUAL };

/* A vector of one element per filter. */
static tc_status check_vector(tc_infer *infer, int32_t index, tc_dim filters)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (index >= infer->n_inputs || infer->inputs[index].dtype == TC_DTYPE_INVALID)
        return TC_OK;
    tc_shape expected = tc_shape_make(1, &filters);
    if (tc_shape_compatible(&infer->inputs[index].shape, &expected))
        return TC_OK;
    return tc_infer_fail(
        infer, "%s has shape %s instead of %s", infer->attrs->op->inputs[index].name,
        tc_shape_text(&infer->inputs[index].shape, a), tc_shape_text(&expected, b));
}

/* Groups must keep blocks whole: one, of single channels, or of whole blocks. */
static tc_status check_channels(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[X].shape, *w = &infer->inputs[W].shape;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    int64_t groups = tc_attrs_int(infer->attrs, "groups");
    int64_t filters = w->dims[0].size, channels = w->dims[1].size;
    if (groups < 1 || groups > TC_WINDOW_LIMIT)
        return tc_infer_fail(infer, "groups is %lld; it counts from 1", (long long)groups);
    if (filters < 0 || channels < 0)
        return tc_infer_fail(infer, "w %s must have known filters and channels",
                             tc_shape_text(w, b));
    if (groups > 1 && !(channels == 1 && filters == groups) &&
        (channels % TC_BLOCK_CHANNELS || filters % (groups * TC_BLOCK_CHANNELS)))
        return tc_infer_fail(infer, "%lld groups of w %s do not keep blocks of %d channels whole",
                             (long long)groups, tc_shape_text(w, b), TC_BLOCK_CHANNELS);
    if (x->rank != 5 && (x->rank != 4 || groups != 1))
        return tc_infer_fail(infer,
                             "x of shape %s must be [n, blocks, h, w, %d], or [n, c, h, w] with "
                             "one group",
                             tc_shape_text(x, a), TC_BLOCK_CHANNELS);
    int64_t expected = x->rank == 4 ? channels : tc_blocks_of(channels * groups);
    if ((tc_dim_is_known(x->dims[1]) && x->dims[1].size != expected) ||
        (x->rank == 5 && x->dims[4].size >= 0 && x->dims[4].size != TC_BLOCK_CHANNELS))
        return tc_infer_fail(infer, "x %s does not have the channels of w %s in %lld groups",
                             tc_shape_text(x, a), tc_shape_text(w, b), (long long)groups);
    return TC_OK;
}

static tc_status conv2d_blocked_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[X].shape, *w = &infer->inputs[W].shape;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE], why[TC_WINDOW_MESSAGE];
    tc_shape *y = &infer->outputs[0].shape;
    TC_TRY(tc_infer_image(infer, "w", w));
    TC_TRY(check_channels(infer));
    int64_t in[2], kernel[2];
    tc_window window;
    tc_image_sizes(x, in);
    tc_image_sizes(w, kernel);
    if (!tc_window_make(infer->attrs, in, kernel, &window, why))
        return tc_infer_fail(infer, "x %s with w %s: %s", tc_shape_text(x, a), tc_shape_text(w, b),
                             why);
    y->rank = 5;
    y->dims[0] = x->dims[0];
    y->dims[1] = tc_dim_from_int(tc_blocks_of(w->dims[0].size));
    for (int i = 0; i < 2; i++)
        y->dims[2 + i] = tc_window_out(&window.axis[i], x->dims[2 + i]);
    y->dims[4] = tc_dim_from_int(TC_BLOCK_CHANNELS);
    TC_TRY(check_vector(infer, SCALE, w->dims[0]));
    TC_TRY(check_vector(infer, BIAS, w->dims[0]));
    if (infer->n_inputs > RESIDUAL && infer->inputs[RESIDUAL].dtype != TC_DTYPE_INVALID &&
        !tc_shape_compatible(&infer->inputs[RESIDUAL].shape, y))
        return tc_infer_fail(infer, "residual has shape %s, but the result has %s",
                             tc_shape_text(&infer->inputs[RESIDUAL].shape, a), tc_shape_text(y, b));
    return TC_OK;
}

static void conv2d_blocked_cost(const tc_infer *node, tc_node_cost *cost)
{
    const tc_dim *w = node->inputs[W].shape.dims;
    double size = (double)tc_shape_size(&node->outputs[0].shape);
    double after = strcmp(tc_attrs_string(node->attrs, "activation"), "none") != 0;
    cost->bytes = size * sizeof(float);
    for (int32_t i = 0; i < node->n_inputs; i++) {
        if (node->inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        after += i >= SCALE;
        cost->bytes += (double)tc_shape_size(&node->inputs[i].shape) * sizeof(float);
    }
    cost->flops = size * (2 * (double)w[1].size * (double)w[2].size * (double)w[3].size + after);
}

#define F32 TC_DTYPE_BIT(TC_F32)

static const tc_port inputs[] = {
    {"x", F32, 'T', 0, "[n, blocks, h, w, 16], or [n, c, h, w] of few channels"},
    {"w", F32, 'T', 0, "as of conv2d"},
    {"scale", F32, 'T', TC_PORT_OPTIONAL, "factors of the convolution, [filters]"},
    {"bias", F32, 'T', TC_PORT_OPTIONAL, "added to it, [filters]"},
    {"residual", F32, 'T', TC_PORT_OPTIONAL, "added, of the shape of y"}};
static const tc_port outputs[] = {
    {"y", F32, 'T', 0,
     "[n, blocks, oh, ow, 16]: activation(alpha * scale * conv + bias + residual)"}};
static const tc_attr_def attrs[] = {
    TC_ATTRS_CONV2D,
    {"alpha", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 1}, NULL, "factor of the convolution"},
    {"activation",
     TC_ATTR_STRING,
     {.type = TC_ATTR_STRING, .s = "none"},
     "none|relu|sigmoid|tanh|gelu|gelu_tanh",
     "function of the sum"},
    {"winograd",
     TC_ATTR_BOOL,
     {.type = TC_ATTR_BOOL},
     NULL,
     "whether Winograd's algorithm may be used"}};
static const tc_inplace in_place[] = {{RESIDUAL, 0}};

const tc_op tc_op_conv2d_blocked = {
    .name = "conv2d_blocked",
    .version = 1,
    .doc = "internal: conv2d_fused of images in blocks of 16 channels",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, attrs),
    TC_LIST(inplace, in_place),
    .flags = TC_OP_INTERNAL,
    .infer = conv2d_blocked_infer,
    .grad = TC_GRAD_NONE,
    .cost = conv2d_blocked_cost,
};
