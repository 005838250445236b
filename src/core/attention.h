/* What an attention operator and its kernels must agree on. */
#ifndef TC_CORE_ATTENTION_H
#define TC_CORE_ATTENTION_H

#include <math.h>
#include <stdint.h>

#include "core/anywhere.h"

/** The factor of q k' for a last dimension of `depth` where none is given. */
TC_ANYWHERE double tc_attention_scale(int64_t depth)
{
    return depth > 0 ? 1 / sqrt((double)depth) : 1;
}

#endif
