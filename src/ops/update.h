/* What operators that write variables share. */
#ifndef TC_OPS_UPDATE_H
#define TC_OPS_UPDATE_H

#include <tensorc/extend.h>

#include "core/registry.h"
#include "core/shape.h"

/**
 * infer: input `index` can have the shape of input 0, the variable. Where dimensions are unknown
 * when the node is built, the plan, which knows them, infers again before anything runs.
 */
tc_status tc_infer_update(tc_infer *infer, int32_t index);

#endif
