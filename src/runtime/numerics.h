/* Finding the first node that produces NaN or Inf. */
#ifndef TC_RUNTIME_NUMERICS_H
#define TC_RUNTIME_NUMERICS_H

#include "compiler/plan.h"

/** INTERNAL naming node, output, element and value when an output of `step` holds NaN or Inf.
 * `operands` and `extents` are the run's. */
tc_status tc_check_step_numerics(const tc_plan *plan, const tc_step *step, void *const *operands,
                                 const int64_t *extents);

/** Likewise of one output, whose elements are `data`, wherever it lies in the run. */
tc_status tc_check_output_numerics(const tc_plan *plan, const tc_step *step, int32_t output,
                                   const void *data, const int64_t *extents);

#endif
