/* What the operators with sliding windows share: attributes from options, and shapes. */
#ifndef TC_OPS_WINDOW_H
#define TC_OPS_WINDOW_H

#include <tensorc/ops/conv.h>

#include "core/window.h"
#include "ops/build.h"

/* Declarations of attributes. */
#define TC_ATTR_PAIR(attr_name, meaning)                                                       \
    {                                                                                          \
        attr_name, TC_ATTR_INTS,                                                               \
            {.type = TC_ATTR_INTS, .count = 2, .ints = (const int64_t[]){1, 1}}, NULL, meaning \
    }
#define TC_ATTRS_PADDING                                                                     \
    {"padding",                                                                              \
     TC_ATTR_STRING,                                                                         \
     {.type = TC_ATTR_STRING, .s = "explicit"},                                              \
     "explicit|same|same_lower",                                                             \
     "how the image is padded"},                                                             \
    {                                                                                        \
        "pads", TC_ATTR_INTS,                                                                \
            {.type = TC_ATTR_INTS, .count = 4, .ints = (const int64_t[]){0, 0, 0, 0}}, NULL, \
            "of explicit padding: top, left, bottom, right"                                  \
    }

/** A pair of options with its defaults filled in: height `otherwise`, width as the height. */
typedef struct tc_pair {
    int64_t numbers[2];
} tc_pair;
tc_pair tc_pair_of(const int64_t option[2], int64_t otherwise);

/** The word of the attribute "padding"; an impossible mode gives a word that is refused with its
 * choices. */
const char *tc_padding_word(tc_padding padding);

/** The padding that the attributes "padding" and "pads" of a node came from. */
tc_padding tc_padding_of_attrs(const tc_attrs *attrs);

/** infer: fails naming the input `what` when its rank is not 4. */
tc_status tc_infer_image(tc_infer *infer, const char *what, const tc_shape *shape);

/** Height and width of a shape of rank 4. */
static inline void tc_image_sizes(const tc_shape *shape, int64_t sizes[2])
{
    sizes[0] = shape->dims[2].size;
    sizes[1] = shape->dims[3].size;
}

/** Output dimension along an axis: the name of the input dimension stays where the size surely
 * does. */
tc_dim tc_window_out(const tc_window_axis *axis, tc_dim in);

#endif
