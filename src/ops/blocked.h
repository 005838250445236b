/* Images in blocks of 16 channels, [n, ceil(c / 16), h, w, 16]: the layout of the operators
 * *_blocked. */
#ifndef TC_OPS_BLOCKED_H
#define TC_OPS_BLOCKED_H

#include <tensorc/extend.h>

enum { TC_BLOCK_CHANNELS = 16 };

static inline int64_t tc_blocks_of(int64_t channels)
{
    return channels / TC_BLOCK_CHANNELS + (channels % TC_BLOCK_CHANNELS != 0);
}

/** infer: fails unless `x` has such a shape. */
tc_status tc_infer_blocked(tc_infer *infer, const tc_shape *x);

#endif
