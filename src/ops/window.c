#include "ops/window.h"

#include "core/shape.h"

tc_pair tc_pair_of(const int64_t option[2], int64_t otherwise)
{
    int64_t height = option[0] ? option[0] : otherwise;
    return (tc_pair){{height, option[1] ? option[1] : height}};
}

const char *tc_padding_word(tc_padding padding)
{
    switch (padding.mode) {
    case TC_PADDING_MODE_EXPLICIT: return "explicit";
    case TC_PADDING_MODE_SAME: return "same";
    case TC_PADDING_MODE_SAME_LOWER: return "same_lower";
    }
    return "unknown";
}

tc_padding tc_padding_of_attrs(const tc_attrs *attrs)
{
    const char *word = tc_attrs_string(attrs, "padding");
    if (strcmp(word, "same") == 0)
        return TC_PADDING_SAME;
    if (strcmp(word, "same_lower") == 0)
        return TC_PADDING_SAME_LOWER;
    int32_t count;
    const int64_t *pads = tc_attrs_ints(attrs, "pads", &count);
    return tc_padding_sides(pads[0], pads[1], pads[2], pads[3]);
}

tc_status tc_infer_image(tc_infer *infer, const char *what, const tc_shape *shape)
{
    char text[TC_SHAPE_TEXT_SIZE];
    if (shape->rank == 4)
        return TC_OK;
    return tc_infer_fail(infer, "%s of shape %s has rank %d instead of 4", what,
                         tc_shape_text(shape, text), shape->rank);
}

tc_dim tc_window_out(const tc_window_axis *axis, tc_dim in)
{
    bool kept = axis->stride == 1 && axis->kernel > 0 &&
                axis->before + axis->after == tc_window_extent(axis) - 1;
    return axis->out < 0 && kept ? in : (tc_dim){axis->out, NULL};
}
