/* The meaning of begin, end and stride of a slice, shared by shape inference and kernels. */
#ifndef TC_CORE_SLICE_H
#define TC_CORE_SLICE_H

#include <tensorc/extend.h>

/** One dimension of a slice as it was asked for. `end` INT64_MAX: to the end in the direction of
 * the stride. */
typedef struct tc_slice_range {
    int64_t begin, end, stride;
} tc_slice_range;

/**
 * Reads the attributes begin, end, strides and axes into one range per dimension of a value of
 * `rank`; dimensions that are not listed are taken whole. Returns NULL, or what is wrong.
 * Thread-safe.
 */
const char *tc_slice_ranges(const tc_attrs *attrs, int32_t rank,
                            tc_slice_range ranges[TC_MAX_RANK]);

/**
 * First index and number of the elements that `range` (stride not 0) takes of a dimension of
 * `size`. As in NumPy, negative ends count from the end of the dimension and what lies outside is
 * cut off.
 */
int64_t tc_slice_count(tc_slice_range range, int64_t size, int64_t *first);

#endif
