/* Maximum and mean of the windows of an image. */
#include "core/shape.h"
#include "ops/cost.h"
#include "ops/window.h"

/* infer: pooling of `x`; fails where a window has no element. */
static tc_status pool(tc_infer *infer, const tc_shape *x, tc_shape *out)
{
    char text[TC_SHAPE_TEXT_SIZE], why[TC_WINDOW_MESSAGE];
    TC_TRY(tc_infer_image(infer, "x", x));
    int32_t count;
    const int64_t *kernel = tc_attrs_ints(infer->attrs, "kernel", &count);
    if (count != 2 || kernel[0] < 1 || kernel[1] < 1)
        return tc_infer_fail(infer, "the kernel must be {height, width}, both 1 or more: set "
                                    ".kernel");
    int64_t in[2];
    tc_image_sizes(x, in);
    tc_window window;
    if (!tc_window_make(infer->attrs, in, kernel, &window, why) || !tc_window_covers(&window, why))
        return tc_infer_fail(infer, "x %s: %s", tc_shape_text(x, text), why);
    *out = *x;
    for (int i = 0; i < 2; i++)
        out->dims[2 + i] = tc_window_out(&window.axis[i], x->dims[2 + i]);
    return TC_OK;
}

static tc_status max_pool2d_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    char text[TC_SHAPE_TEXT_SIZE];
    TC_TRY(pool(infer, x, &infer->outputs[0].shape));
    tc_shape plane = tc_shape_make(2, &x->dims[2]);
    if (tc_shape_is_known(&plane) &&
        (tc_shape_size(&plane) < 0 || tc_shape_size(&plane) > INT32_MAX))
        return tc_infer_fail(infer, "a plane of x %s has more elements than argmax can count (%d)",
                             tc_shape_text(x, text), INT32_MAX);
    infer->outputs[1].shape = infer->outputs[0].shape;
    return TC_OK;
}

/* One operation per element of each window. */
static double windows(const tc_infer *node, const tc_value_info *pooled)
{
    int32_t count;
    const int64_t *kernel = tc_attrs_ints(node->attrs, "kernel", &count);
    return tc_cost_elements(pooled) * (double)kernel[0] * (double)kernel[1];
}

static void pool2d_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = windows(node, &node->outputs[0]);
}

static void avg_pool2d_grad_cost(const tc_infer *node, tc_node_cost *cost)
{
    cost->flops = windows(node, &node->inputs[0]);
}

static void max_pool2d_grad(tc_grad *grad)
{
    if (tc_value_ok(grad->output_gradients[0]))
        grad->input_gradients[0] = tc_max_pool2d_grad_at(
            TC_WITHIN(grad->at), grad->output_gradients[0], grad->outputs[1], grad->inputs[0]);
}

/* infer: two values of rank 4 whose leading two dimensions, and with `all` the others, must agree.
 */
static tc_status agree(tc_infer *infer, int i, int j, bool all)
{
    const tc_port *ports = infer->attrs->op->inputs;
    tc_shape a = infer->inputs[i].shape, b = infer->inputs[j].shape;
    char at[TC_SHAPE_TEXT_SIZE], bt[TC_SHAPE_TEXT_SIZE];
    TC_TRY(tc_infer_image(infer, ports[i].name, &a));
    TC_TRY(tc_infer_image(infer, ports[j].name, &b));
    a.rank = b.rank = all ? 4 : 2;
    if (tc_shape_compatible(&a, &b))
        return TC_OK;
    return tc_infer_fail(infer, "%s %s and %s %s must have the same %s", ports[i].name,
                         tc_shape_text(&infer->inputs[i].shape, at), ports[j].name,
                         tc_shape_text(&infer->inputs[j].shape, bt),
                         all ? "shape" : "batch and channels");
}

static tc_status max_pool2d_grad_infer(tc_infer *infer)
{
    TC_TRY(agree(infer, 0, 1, true));
    TC_TRY(agree(infer, 0, 2, false));
    infer->outputs[0].shape = infer->inputs[2].shape;
    return TC_OK;
}

static void max_pool2d_grad_grad(tc_grad *grad)
{
    grad->input_gradients[0] =
        tc_max_pool2d_gather_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[1]);
}

static tc_status max_pool2d_gather_infer(tc_infer *infer)
{
    TC_TRY(agree(infer, 0, 1, false));
    infer->outputs[0].shape = infer->inputs[1].shape;
    return TC_OK;
}

static void max_pool2d_gather_grad(tc_grad *grad)
{
    grad->input_gradients[0] = tc_max_pool2d_grad_at(TC_WITHIN(grad->at), grad->output_gradients[0],
                                                     grad->inputs[1], grad->inputs[0]);
}

static tc_status avg_pool2d_infer(tc_infer *infer)
{
    return pool(infer, &infer->inputs[0].shape, &infer->outputs[0].shape);
}

static tc_status avg_pool2d_grad_infer(tc_infer *infer)
{
    const tc_shape *dy = &infer->inputs[0].shape;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    tc_shape out;
    TC_TRY(tc_infer_image(infer, "dy", dy));
    TC_TRY(pool(infer, &infer->inputs[1].shape, &out));
    if (!tc_shape_compatible(&out, dy))
        return tc_infer_fail(infer, "dy has shape %s, but pooling gives %s", tc_shape_text(dy, a),
                             tc_shape_text(&out, b));
    infer->outputs[0].shape = infer->inputs[1].shape;
    return TC_OK;
}

static tc_avg_pool2d_options options_of(const tc_attrs *attrs)
{
    int32_t n;
    const int64_t *kernel = tc_attrs_ints(attrs, "kernel", &n);
    const int64_t *strides = tc_attrs_ints(attrs, "strides", &n);
    tc_avg_pool2d_options o = {.struct_size = sizeof o,
                               .kernel = {kernel[0], kernel[1]},
                               .stride = {strides[0], strides[1]},
                               .padding = tc_padding_of_attrs(attrs),
                               .ceil_mode = tc_attrs_bool(attrs, "ceil_mode"),
                               .count_include_pad = tc_attrs_bool(attrs, "count_include_pad")};
    return o;
}

static void avg_pool2d_grad(tc_grad *grad)
{
    tc_avg_pool2d_options o = options_of(grad->attrs);
    grad->input_gradients[0] =
        tc_avg_pool2d_grad_at(TC_WITHIN(grad->at), grad->output_gradients[0], grad->inputs[0], &o);
}

static void avg_pool2d_grad_grad(tc_grad *grad)
{
    tc_avg_pool2d_options o = options_of(grad->attrs);
    grad->input_gradients[0] = tc_avg_pool2d_at(TC_WITHIN(grad->at), grad->output_gradients[0], &o);
}

#define KERNEL_ATTR                                                           \
    {                                                                         \
        "kernel", TC_ATTR_INTS, {.type = TC_ATTR_NONE}, NULL, "height, width" \
    }
#define BOOL_ATTR(name, doc)                                  \
    {                                                         \
        name, TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, doc \
    }
#define CEIL_ATTR BOOL_ATTR("ceil_mode", "round the output size up")

static const tc_attr_def max_attrs[] = {KERNEL_ATTR, TC_ATTR_PAIR("strides", "height, width"),
                                        TC_ATTR_PAIR("dilations", "height, width"),
                                        TC_ATTRS_PADDING, CEIL_ATTR};
static const tc_attr_def avg_attrs[] = {
    KERNEL_ATTR, TC_ATTR_PAIR("strides", "height, width"), TC_ATTRS_PADDING, CEIL_ATTR,
    BOOL_ATTR("count_include_pad", "padding counts as elements")};

#define IMAGE(name, dtypes)                  \
    {                                        \
        name, dtypes, 'T', 0, "[n, c, h, w]" \
    }
#define POOLED(name, dtypes)                   \
    {                                          \
        name, dtypes, 'T', 0, "[n, c, oh, ow]" \
    }
#define ARGMAX                                                    \
    {                                                             \
        "argmax", TC_DTYPE_BIT(TC_I32), 0, 0,                     \
            "[n, c, oh, ow]: row * w + column in the input plane" \
    }
#define LIKE                                                                         \
    {                                                                                \
        "like", TC_DTYPES_ANY, 0, TC_PORT_SHAPE_ONLY, "gives the shape [n, c, h, w]" \
    }

static const tc_port max_pool2d_inputs[] = {IMAGE("x", TC_DTYPES_NUMBER)};
static const tc_port max_pool2d_outputs[] = {POOLED("y", TC_DTYPES_NUMBER), ARGMAX};
static const tc_port max_pool2d_grad_inputs[] = {POOLED("dy", TC_DTYPES_FLOAT), ARGMAX, LIKE};
static const tc_port max_pool2d_grad_outputs[] = {IMAGE("dx", TC_DTYPES_FLOAT)};
static const tc_port max_pool2d_gather_inputs[] = {IMAGE("x", TC_DTYPES_FLOAT), ARGMAX};
static const tc_port max_pool2d_gather_outputs[] = {POOLED("y", TC_DTYPES_FLOAT)};
static const tc_port avg_pool2d_inputs[] = {IMAGE("x", TC_DTYPES_FLOAT)};
static const tc_port avg_pool2d_outputs[] = {POOLED("y", TC_DTYPES_FLOAT)};
static const tc_port avg_pool2d_grad_inputs[] = {POOLED("dy", TC_DTYPES_FLOAT), LIKE};
static const tc_port avg_pool2d_grad_outputs[] = {IMAGE("dx", TC_DTYPES_FLOAT)};

const tc_op tc_op_max_pool2d = {
    .name = "max_pool2d",
    .version = 1,
    .doc = "Maximum of each window of an image, and where it is",
    TC_LIST(inputs, max_pool2d_inputs),
    TC_LIST(outputs, max_pool2d_outputs),
    TC_LIST(attrs, max_attrs),
    .infer = max_pool2d_infer,
    .cost = pool2d_cost,
    .grad = max_pool2d_grad,
};

const tc_op tc_op_max_pool2d_grad = {
    .name = "max_pool2d_grad",
    .version = 1,
    .doc = "Adds gradients into zeros at the places of the maxima",
    TC_LIST(inputs, max_pool2d_grad_inputs),
    TC_LIST(outputs, max_pool2d_grad_outputs),
    .infer = max_pool2d_grad_infer,
    .cost = tc_cost_each_input,
    .grad = max_pool2d_grad_grad,
};

const tc_op tc_op_max_pool2d_gather = {
    .name = "max_pool2d_gather",
    .version = 1,
    .doc = "Elements of an image at the places of the maxima",
    TC_LIST(inputs, max_pool2d_gather_inputs),
    TC_LIST(outputs, max_pool2d_gather_outputs),
    .infer = max_pool2d_gather_infer,
    .grad = max_pool2d_gather_grad,
};

const tc_op tc_op_avg_pool2d = {
    .name = "avg_pool2d",
    .version = 1,
    .doc = "Mean of each window of an image",
    TC_LIST(inputs, avg_pool2d_inputs),
    TC_LIST(outputs, avg_pool2d_outputs),
    TC_LIST(attrs, avg_attrs),
    .infer = avg_pool2d_infer,
    .cost = pool2d_cost,
    .grad = avg_pool2d_grad,
};

const tc_op tc_op_avg_pool2d_grad = {
    .name = "avg_pool2d_grad",
    .version = 1,
    .doc = "Spreads gradients of means over their windows",
    TC_LIST(inputs, avg_pool2d_grad_inputs),
    TC_LIST(outputs, avg_pool2d_grad_outputs),
    TC_LIST(attrs, avg_attrs),
    .infer = avg_pool2d_grad_infer,
    .cost = avg_pool2d_grad_cost,
    .grad = avg_pool2d_grad_grad,
};

tc_value tc_max_pool2d_at(tc_location at, tc_value x, const tc_max_pool2d_options *options)
{
    TC_OPTIONS(tc_max_pool2d_options, o, options);
    tc_pair kernel = tc_pair_of(o.kernel, 0), dilations = tc_pair_of(o.dilation, 1);
    tc_pair strides = o.stride[0] || o.stride[1] ? tc_pair_of(o.stride, 1) : kernel;
    int64_t pads[] = {o.padding.top, o.padding.left, o.padding.bottom, o.padding.right};
    return TC_NODE_WITH("max_pool2d", o.name, at, (x), {"kernel", tc_attr_ints(kernel.numbers, 2)},
                        {"strides", tc_attr_ints(strides.numbers, 2)},
                        {"dilations", tc_attr_ints(dilations.numbers, 2)},
                        {"padding", tc_attr_string(tc_padding_word(o.padding))},
                        {"pads", tc_attr_ints(pads, 4)}, {"ceil_mode", tc_attr_bool(o.ceil_mode)});
}

tc_value tc_max_pool2d_grad_at(tc_location at, tc_value dy, tc_value argmax, tc_value like)
{
    return TC_NODE("max_pool2d_grad", NULL, at, (dy, argmax, like));
}

tc_value tc_max_pool2d_gather_at(tc_location at, tc_value x, tc_value argmax)
{
    return TC_NODE("max_pool2d_gather", NULL, at, (x, argmax));
}

static tc_value build_avg(const char *op, tc_location at, const tc_value *inputs, size_t n_inputs,
                          const tc_avg_pool2d_options *options)
{
    TC_OPTIONS(tc_avg_pool2d_options, o, options);
    tc_pair kernel = tc_pair_of(o.kernel, 0);
    tc_pair strides = o.stride[0] || o.stride[1] ? tc_pair_of(o.stride, 1) : kernel;
    int64_t pads[] = {o.padding.top, o.padding.left, o.padding.bottom, o.padding.right};
    return tc_node_build(
        NULL,
        &(const tc_node_spec){
            .op = op,
            .name = o.name,
            .at = at,
            .inputs = inputs,
            .n_inputs = n_inputs,
            TC_SPEC_ATTRS({"kernel", tc_attr_ints(kernel.numbers, 2)},
                          {"strides", tc_attr_ints(strides.numbers, 2)},
                          {"padding", tc_attr_string(tc_padding_word(o.padding))},
                          {"pads", tc_attr_ints(pads, 4)}, {"ceil_mode", tc_attr_bool(o.ceil_mode)},
                          {"count_include_pad", tc_attr_bool(o.count_include_pad)})});
}

tc_value tc_avg_pool2d_at(tc_location at, tc_value x, const tc_avg_pool2d_options *options)
{
    return build_avg("avg_pool2d", at, (const tc_value[]){x}, 1, options);
}

tc_value tc_avg_pool2d_grad_at(tc_location at, tc_value dy, tc_value like,
                               const tc_avg_pool2d_options *options)
{
    return build_avg("avg_pool2d_grad", at, (const tc_value[]){dy, like}, 2, options);
}
