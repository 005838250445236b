/* What operators without inputs share: the attributes that say what they make. */
#ifndef TC_OPS_SOURCE_H
#define TC_OPS_SOURCE_H

#include <tensorc/extend.h>

#define TC_DTYPE_ATTR                                                        \
    {                                                                        \
        .name = "dtype", .type = TC_ATTR_DTYPE, .doc = "dtype of the output" \
    }
#define TC_SHAPE_ATTR                                                        \
    {                                                                        \
        .name = "shape", .type = TC_ATTR_SHAPE, .doc = "shape of the output" \
    }

/** Integer tensors of up to this many elements are known to shape inference. */
#define TC_KNOWN_MAX 64

/** infer: output 0 has the dtype and shape of the attributes. */
tc_status tc_infer_source(tc_infer *infer);

/** infer: as tc_infer_source, and every dimension is known. */
tc_status tc_infer_known_source(tc_infer *infer);

/** Fails naming attribute `what` unless `value` is a number that `dtype` holds without change. */
tc_status tc_infer_exact(tc_infer *infer, const char *what, tc_dtype dtype, double value);

/**
 * Room for the elements of output 0 when it is a small integer tensor; otherwise, and when memory
 * is exhausted (which the framework reports), NULL. The caller fills in the sizes.
 */
tc_dim *tc_infer_known(tc_infer *infer);

/** How an element is known: negative ones cannot be told from unknown sizes and stay unknown. */
static inline tc_dim tc_known_element(int64_t value)
{
    tc_dim dim;
    dim.size = value < 0 ? -1 : value;
    dim.name = NULL;
    return dim;
}

#endif
