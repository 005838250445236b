/* Broadcasts as few nested loops: what element-wise kernels of every device walk along. */
#ifndef TC_CORE_BROADCAST_H
#define TC_CORE_BROADCAST_H

#include <tensorc/extend.h>

#define TC_BROADCAST_INPUTS 3

/** An output and the inputs that are broadcast to it, with neighbouring dimensions merged. Plain
 * data. */
typedef struct tc_broadcast {
    int64_t count; /**< of output elements */
    int64_t inner; /**< size of the last dimension */
    int32_t rank;  /**< 0 or 1: no input is broadcast, or all is one row */
    int64_t dims[TC_MAX_RANK];
    int64_t strides[TC_BROADCAST_INPUTS][TC_MAX_RANK]; /**< in elements, 0 where broadcast; the last
                                                          one is 0 or 1 */
} tc_broadcast;

/** Fills `broadcast` for an output of known shape `out` and inputs of the given strides, which are
 * 0 where broadcast. Thread-safe. */
void tc_broadcast_merge(tc_broadcast *broadcast, const tc_shape *out, int32_t inputs,
                        int64_t (*strides)[TC_MAX_RANK]);

/** Fills `broadcast` for inputs of `prepare` that broadcast to output 0 by NumPy's rules.
 * Thread-safe. */
void tc_broadcast_plan(tc_broadcast *broadcast, const tc_prepare *prepare);

#endif
