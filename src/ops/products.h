/* What matmul and conv2d share with their forms that finish each element of the product at once. */
#ifndef TC_OPS_PRODUCTS_H
#define TC_OPS_PRODUCTS_H

#include "ops/window.h"

/** infer of the products alone: output 0 from inputs 0 and 1. */
tc_status tc_infer_matmul(tc_infer *infer);
tc_status tc_infer_conv2d(tc_infer *infer);

/* Declarations of attributes. */
#define TC_ATTRS_MATMUL                                                                     \
    {"transpose_a", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "a is stored transposed"},  \
    {                                                                                       \
        "transpose_b", TC_ATTR_BOOL, {.type = TC_ATTR_BOOL}, NULL, "b is stored transposed" \
    }
#define TC_ATTRS_CONV2D                                                                           \
    TC_ATTR_PAIR("strides", "height, width"), TC_ATTR_PAIR("dilations", "height, width"),         \
        TC_ATTRS_PADDING,                                                                         \
    {                                                                                             \
        "groups", TC_ATTR_INT, {.type = TC_ATTR_INT, .i = 1}, NULL, "separate groups of channels" \
    }

#endif
