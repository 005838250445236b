/* Images from and to blocks of 16 channels: what the compiler puts round convolutions. */
#include "core/shape.h"
#include "ops/blocked.h"
#include "ops/window.h"

static tc_status to_blocked_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    tc_shape *y = &infer->outputs[0].shape;
    TC_TRY(tc_infer_image(infer, "x", x));
    *y = *x;
    y->rank = 5;
    y->dims[1] = tc_dim_from_int(x->dims[1].size < 0 ? -1 : tc_blocks_of(x->dims[1].size));
    y->dims[4] = tc_dim_from_int(TC_BLOCK_CHANNELS);
    return TC_OK;
}

static tc_status from_blocked_infer(tc_infer *infer)
{
    const tc_shape *x = &infer->inputs[0].shape;
    int64_t channels = tc_attrs_int(infer->attrs, "channels");
    TC_TRY(tc_infer_blocked(infer, x));
    if (channels < 0 || (x->dims[1].size >= 0 && x->dims[1].size != tc_blocks_of(channels))) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_infer_fail(infer, "x %s does not hold %lld channels", tc_shape_text(x, text),
                             (long long)channels);
    }
    infer->outputs[0].shape = *x;
    infer->outputs[0].shape.rank = 4;
    infer->outputs[0].shape.dims[1] = tc_dim_from_int(channels);
    return TC_OK;
}

tc_status tc_infer_blocked(tc_infer *infer, const tc_shape *x)
{
    char text[TC_SHAPE_TEXT_SIZE];
    if (x->rank == 5 && (x->dims[4].size < 0 || x->dims[4].size == TC_BLOCK_CHANNELS))
        return TC_OK;
    return tc_infer_fail(infer, "x of shape %s must be [n, blocks, h, w, %d]",
                         tc_shape_text(x, text), TC_BLOCK_CHANNELS);
}

static const tc_port image[] = {{"x", TC_DTYPE_BIT(TC_F32), 'T', 0, "[n, c, h, w]"}};
static const tc_port blocked[] = {
    {"y", TC_DTYPE_BIT(TC_F32), 'T', 0, "[n, ceil(c / 16), h, w, 16], filled up with zeros"}};
static const tc_attr_def from_attrs[] = {
    {"channels", TC_ATTR_INT, {.type = TC_ATTR_NONE}, NULL, "of the result"}};

const tc_op tc_op_to_blocked = {
    .name = "to_blocked",
    .version = 1,
    .doc = "internal: the channels of images in blocks of 16",
    TC_LIST(inputs, image),
    TC_LIST(outputs, blocked),
    .flags = TC_OP_INTERNAL,
    .infer = to_blocked_infer,
    .grad = TC_GRAD_NONE,
};

const tc_op tc_op_from_blocked = {
    .name = "from_blocked",
    .version = 1,
    .doc = "internal: images from blocks of 16 channels",
    TC_LIST(inputs, blocked),
    TC_LIST(outputs, image),
    TC_LIST(attrs, from_attrs),
    .flags = TC_OP_INTERNAL,
    .infer = from_blocked_infer,
    .grad = TC_GRAD_NONE,
};
