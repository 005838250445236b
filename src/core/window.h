/* Windows that slide over the two last axes of an image: the geometry of convolution and pooling.
 */
#ifndef TC_CORE_WINDOW_H
#define TC_CORE_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include <tensorc/extend.h>

/** Along one axis. Sizes are -1 where unknown. */
typedef struct tc_window_axis {
    int64_t in, out;
    int64_t kernel, stride, dilation;
    int64_t before, after; /* padding */
} tc_window_axis;

/** Index 0 is the height, 1 the width. */
typedef struct tc_window {
    tc_window_axis axis[2];
} tc_window;

/** Largest kernel, stride, dilation and padding: products of two of them fit in an int64_t. */
#define TC_WINDOW_LIMIT INT32_MAX

/** Longest sentence of the functions below. */
#define TC_WINDOW_MESSAGE 256

/**
 * Window of the attributes "strides", "dilations" (where declared), "padding", "pads" and
 * "ceil_mode" (where declared) over an image of `in` with a kernel of `kernel` ({height, width}
 * each, -1 unknown). False with the reason in `message` when an attribute is wrong or the kernel
 * does not fit.
 */
bool tc_window_make(const tc_attrs *attrs, const int64_t in[2], const int64_t kernel[2],
                    tc_window *window, char message[TC_WINDOW_MESSAGE]);

/** False with the reason when some window may touch no element of the image, as no pooling can
 * allow. */
bool tc_window_covers(const tc_window *window, char message[TC_WINDOW_MESSAGE]);

/** Elements from the first to the last of a window. */
static inline int64_t tc_window_extent(const tc_window_axis *axis)
{
    return (axis->kernel - 1) * axis->dilation + 1;
}

#endif
