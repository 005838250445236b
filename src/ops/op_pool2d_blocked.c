/* Pooling of images in blocks of 16 channels, as of op_pool2d.c. */
#include "core/shape.h"
#include "ops/blocked.h"
#include "ops/window.h"

static tc_status pool_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    char text[TC_SHAPE_TEXT_SIZE], why[TC_WINDOW_MESSAGE];
    int32_t count;
    const int64_t *kernel = tc_attrs_ints(infer->attrs, "kernel", &count);
    TC_TRY(tc_infer_blocked(infer, x));
    if (count != 2 || kernel[0] < 1 || kernel[1] < 1)
        return tc_infer_fail(infer, "the kernel must be {height, width}, both 1 or more");
    int64_t in[2];
    tc_image_sizes(x, in);
    tc_window window;
    if (!tc_window_make(infer->attrs, in, kernel, &window, why) || !tc_window_covers(&window, why))
        return tc_infer_fail(infer, "x %s: %s", tc_shape_text(x, text), why);
    tc_shape *y = &infer->outputs[0].shape;
    *y = *x;
    for (int i = 0; i < 2; i++)
        y->dims[2 + i] = tc_window_out(&window.axis[i], x->dims[2 + i]);
    return TC_OK;
}

/* One operation per element of each window. */
static void pool_cost(const tc_infer *node, tc_node_cost *cost)
{
    int32_t count;
    const int64_t *kernel = tc_attrs_ints(node->attrs, "kernel", &count);
    double size = (double)tc_shape_size(&node->outputs[0].shape);
    cost->flops = size * (double)kernel[0] * (double)kernel[1];
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

static const tc_port inputs[] = {{"x", TC_DTYPE_BIT(TC_F32), 'T', 0, "[n, blocks, h, w, 16]"}};
static const tc_port outputs[] = {{"y", TC_DTYPE_BIT(TC_F32), 'T', 0, "[n, blocks, oh, ow, 16]"}};

const tc_op tc_op_max_pool2d_blocked = {
    .name = "max_pool2d_blocked",
    .version = 1,
    .doc = "internal: maximum of each window of images in blocks of 16 channels",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, max_attrs),
    .flags = TC_OP_INTERNAL,
    .infer = pool_infer,
    .grad = TC_GRAD_NONE,
    .cost = pool_cost,
};

const tc_op tc_op_avg_pool2d_blocked = {
    .name = "avg_pool2d_blocked",
    .version = 1,
    .doc = "internal: mean of each window of images in blocks of 16 channels",
    TC_LIST(inputs, inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, avg_attrs),
    .flags = TC_OP_INTERNAL,
    .infer = pool_infer,
    .grad = TC_GRAD_NONE,
    .cost = pool_cost,
};
