/*
 * Convolution and its two gradients. Each is linear in both of its operands, and the three are each
 * other's gradients: that is what makes them differentiable to any order.
 */
#include "core/shape.h"
#include "ops/cost.h"
#include "ops/products.h"

/* infer: window of a convolution of `x` with `w`, and the shape of its result. Fails where they
 * cannot fit. */
static tc_status convolve(tc_infer *infer, const tc_shape *x, const tc_shape *w, tc_window *window,
                          tc_shape *out)
{
    char xt[TC_SHAPE_TEXT_SIZE], wt[TC_SHAPE_TEXT_SIZE], why[TC_WINDOW_MESSAGE];
    TC_TRY(tc_infer_image(infer, "x", x));
    TC_TRY(tc_infer_image(infer, "w", w));
    int64_t groups = tc_attrs_int(infer->attrs, "groups");
    tc_dim channels = x->dims[1], group_channels = w->dims[1], filters = w->dims[0];
    if (groups < 1 || groups > TC_WINDOW_LIMIT)
        return tc_infer_fail(infer, "groups is %lld; it counts from 1", (long long)groups);
    if (tc_dim_is_known(filters) && filters.size % groups)
        return tc_infer_fail(infer, "the %lld filters of w %s do not divide into %lld groups",
                             (long long)filters.size, tc_shape_text(w, wt), (long long)groups);
    if (tc_dim_is_known(channels) && channels.size % groups)
        return tc_infer_fail(infer, "the %lld channels of x %s do not divide into %lld groups",
                             (long long)channels.size, tc_shape_text(x, xt), (long long)groups);
    if (tc_dim_is_known(channels) && tc_dim_is_known(group_channels) &&
        channels.size / groups != group_channels.size)
        return tc_infer_fail(
            infer,
            "x %s has %lld channels per group, but w %s reads %lld: w is [filters, "
            "channels / groups, height, width]",
            tc_shape_text(x, xt), (long long)(channels.size / groups), tc_shape_text(w, wt),
            (long long)group_channels.size);
    int64_t in[2], kernel[2];
    tc_image_sizes(x, in);
    tc_image_sizes(w, kernel);
    if (!tc_window_make(infer->attrs, in, kernel, window, why))
        return tc_infer_fail(infer, "x %s with w %s: %s", tc_shape_text(x, xt),
                             tc_shape_text(w, wt), why);
    out->rank = 4;
    out->dims[0] = x->dims[0];
    out->dims[1] = filters;
    for (int i = 0; i < 2; i++)
        out->dims[2 + i] = tc_window_out(&window->axis[i], x->dims[2 + i]);
    return TC_OK;
}

tc_status tc_infer_conv2d(tc_infer *infer)
{
    tc_window window;
    return convolve(infer, &infer->inputs[0].shape, &infer->inputs[1].shape, &window,
                    &infer->outputs[0].shape);
}

/* infer of a gradient: `x` and `w` convolved must have the shape of `dy`; the result has that of
 * `like`. */
static tc_status grad_infer(tc_infer *infer, const tc_shape *x, const tc_shape *w,
                            const tc_shape *dy)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    tc_window window;
    tc_shape out;
    TC_TRY(convolve(infer, x, w, &window, &out));
    TC_TRY(tc_infer_image(infer, "dy", dy));
    if (!tc_shape_compatible(&out, dy))
        return tc_infer_fail(infer, "dy has shape %s, but the convolution gives %s",
                             tc_shape_text(dy, a), tc_shape_text(&out, b));
    infer->outputs[0].shape = infer->inputs[2].shape;
    return TC_OK;
}

static tc_status conv2d_grad_input_infer(tc_infer *infer)
{
    return grad_infer(infer, &infer->inputs[2].shape, &infer->inputs[0].shape,
                      &infer->inputs[1].shape);
}

static tc_status conv2d_grad_filter_infer(tc_infer *infer)
{
    return grad_infer(infer, &infer->inputs[0].shape, &infer->inputs[2].shape,
                      &infer->inputs[1].shape);
}

/* Every element of y meets each element of one filter. */
static double products(const tc_value_info *y, const tc_value_info *w)
{
    double filters = (double)w->shape.dims[0].size;
    return filters > 0 ? 2 * tc_cost_elements(y) * tc_cost_elements(w) / filters : 0;
}

static void conv2d_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = products(&node->outputs[0], &node->inputs[1]);
}

static void conv2d_grad_input_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = products(&node->inputs[1], &node->inputs[0]);
}

static void conv2d_grad_filter_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = products(&node->inputs[1], &node->outputs[0]);
}

/* The options that the attributes of a node came from. */
static tc_conv2d_options options_of(const tc_attrs *attrs)
{
    int32_t n;
    const int64_t *strides = tc_attrs_ints(attrs, "strides", &n);
    const int64_t *dilations = tc_attrs_ints(attrs, "dilations", &n);
    tc_conv2d_options o = {.struct_size = sizeof o,
                           .stride = {strides[0], strides[1]},
                           .dilation = {dilations[0], dilations[1]},
                           .padding = tc_padding_of_attrs(attrs),
                           .groups = tc_attrs_int(attrs, "groups")};
    return o;
}

static void conv2d_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_conv2d_options o = options_of(grad->attrs);
    tc_value x = grad->inputs[0], w = grad->inputs[1], dy = grad->output_gradients[0];
    if (grad->needed[0])
        grad->input_gradients[0] = tc_conv2d_grad_input_at(at, w, dy, x, &o);
    if (grad->needed[1])
        grad->input_gradients[1] = tc_conv2d_grad_filter_at(at, x, dy, w, &o);
}

static void conv2d_grad_input_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_conv2d_options o = options_of(grad->attrs);
    tc_value w = grad->inputs[0], dy = grad->inputs[1], dx = grad->output_gradients[0];
    if (grad->needed[0])
        grad->input_gradients[0] = tc_conv2d_grad_filter_at(at, dx, dy, w, &o);
    if (grad->needed[1])
        grad->input_gradients[1] = tc_conv2d_at(at, dx, w, &o);
}

static void conv2d_grad_filter_grad(tc_grad *grad)
{
    tc_location at = TC_WITHIN(grad->at);
    tc_conv2d_options o = options_of(grad->attrs);
    tc_value x = grad->inputs[0], dy = grad->inputs[1], dw = grad->output_gradients[0];
    if (grad->needed[0])
        grad->input_gradients[0] = tc_conv2d_grad_input_at(at, dw, dy, x, &o);
    if (grad->needed[1])
        grad->input_gradients[1] = tc_conv2d_at(at, x, dw, &o);
}

static const tc_attr_def conv2d_attrs[] = {TC_ATTRS_CONV2D};

#define X_PORT                                       \
    {                                                \
        "x", TC_DTYPES_FLOAT, 'T', 0, "[n, c, h, w]" \
    }
#define W_PORT                                                  \
    {                                                           \
        "w", TC_DTYPES_FLOAT, 'T', 0, "[o, c / groups, kh, kw]" \
    }
#define DY_PORT                                         \
    {                                                   \
        "dy", TC_DTYPES_FLOAT, 'T', 0, "[n, o, oh, ow]" \
    }
#define LIKE_PORT(of)                                                          \
    {                                                                          \
        "like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "gives the shape of " of \
    }

static const tc_port conv2d_inputs[] = {X_PORT, W_PORT};
static const tc_port conv2d_outputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0,
     "[n, o, oh, ow], oh = (h + pads - dilation (kh - 1) - 1) / "
     "stride + 1"}};
static const tc_port grad_input_inputs[] = {W_PORT, DY_PORT, LIKE_PORT("dx, [n, c, h, w]")};
static const tc_port grad_input_outputs[] = {{"dx", TC_DTYPES_FLOAT, 'T', 0, "[n, c, h, w]"}};
static const tc_port grad_filter_inputs[] = {X_PORT, DY_PORT,
                                             LIKE_PORT("dw, [o, c / groups, kh, kw]")};
static const tc_port grad_filter_outputs[] = {
    {"dw", TC_DTYPES_FLOAT, 'T', 0, "[o, c / groups, kh, kw]"}};

const tc_op tc_op_conv2d = {
    .name = "conv2d",
    .version = 1,
    .doc = "Two-dimensional convolution (cross-correlation) of images with filters",
    TC_LIST(inputs, conv2d_inputs),
    TC_LIST(outputs, conv2d_outputs),
    TC_LIST(attrs, conv2d_attrs),
    .infer = tc_infer_conv2d,
    .cost = conv2d_cost,
    .grad = conv2d_grad,
};

const tc_op tc_op_conv2d_grad_input = {
    .name = "conv2d_grad_input",
    .version = 1,
    .doc = "Gradient of conv2d with respect to its input: transposed convolution",
    TC_LIST(inputs, grad_input_inputs),
    TC_LIST(outputs, grad_input_outputs),
    TC_LIST(attrs, conv2d_attrs),
    .infer = conv2d_grad_input_infer,
    .cost = conv2d_grad_input_cost,
    .grad = conv2d_grad_input_grad,
};

const tc_op tc_op_conv2d_grad_filter = {
    .name = "conv2d_grad_filter",
    .version = 1,
    .doc = "Gradient of conv2d with respect to its filter",
    TC_LIST(inputs, grad_filter_inputs),
    TC_LIST(outputs, grad_filter_outputs),
    TC_LIST(attrs, conv2d_attrs),
    .infer = conv2d_grad_filter_infer,
    .cost = conv2d_grad_filter_cost,
    .grad = conv2d_grad_filter_grad,
};

static tc_value build(const char *op, tc_location at, const tc_value *inputs, size_t n_inputs,
                      const tc_conv2d_options *options)
{
    TC_OPTIONS(tc_conv2d_options, o, options);
    tc_pair strides = tc_pair_of(o.stride, 1), dilations = tc_pair_of(o.dilation, 1);
    int64_t pads[] = {o.padding.top, o.padding.left, o.padding.bottom, o.padding.right};
    return tc_node_build(
        NULL,
        &(const tc_node_spec){.op = op,
                              .name = o.name,
                              .at = at,
                              .inputs = inputs,
                              .n_inputs = n_inputs,
                              TC_SPEC_ATTRS({"strides", tc_attr_ints(strides.numbers, 2)},
                                            {"dilations", tc_attr_ints(dilations.numbers, 2)},
                                            {"padding", tc_attr_string(tc_padding_word(o.padding))},
                                            {"pads", tc_attr_ints(pads, 4)},
                                            {"groups", tc_attr_int(o.groups ? o.groups : 1)})});
}

tc_value tc_conv2d_at(tc_location at, tc_value x, tc_value w, const tc_conv2d_options *options)
{
    return build("conv2d", at, (const tc_value[]){x, w}, 2, options);
}

tc_value tc_conv2d_grad_input_at(tc_location at, tc_value w, tc_value dy, tc_value like,
                                 const tc_conv2d_options *options)
{
    return build("conv2d_grad_input", at, (const tc_value[]){w, dy, like}, 3, options);
}

tc_value tc_conv2d_grad_filter_at(tc_location at, tc_value x, tc_value dy, tc_value like,
                                  const tc_conv2d_options *options)
{
    return build("conv2d_grad_filter", at, (const tc_value[]){x, dy, like}, 3, options);
}
