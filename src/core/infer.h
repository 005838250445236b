/* Running an operator's shape inference on given inputs: when a node is built and when a plan is
 * made. */
#ifndef TC_CORE_INFER_H
#define TC_CORE_INFER_H

#include "base/arena.h"
#include "core/registry.h"

/** Room for a sentence from tc_infer_fail. */
#define TC_INFER_MESSAGE_SIZE 512

/**
 * Checks ports and dtypes of `inputs` against `op` and calls its infer. On success `*outputs` (in
 * `arena`) holds
 * `*n_outputs` infos. On failure the status of infer (INVALID_ARGUMENT, RESOURCE_EXHAUSTED), and
 * `message` says why without operator, node or line. Thread-safe for different arenas.
 */
tc_status tc_infer_run(const tc_attrs *attrs, const tc_value_info *inputs, int32_t n_inputs,
                       tc_arena *arena, tc_value_info **outputs, int32_t *n_outputs,
                       char message[TC_INFER_MESSAGE_SIZE]);

/**
 * Of an operator with `bound` whose inputs are wholly known: puts upper bounds in the place of the
 * dimensions of `outputs` that tc_infer_run left unknown. `message` and errors as there, INTERNAL
 * when the bounds contradict what was inferred.
 */
tc_status tc_infer_bound(const tc_attrs *attrs, const tc_value_info *inputs, int32_t n_inputs,
                         tc_arena *arena, tc_value_info *outputs, int32_t n_outputs,
                         char message[TC_INFER_MESSAGE_SIZE]);

/** The first half of tc_infer_run: number and dtypes of the inputs alone. */
tc_status tc_infer_check(const tc_op *op, const tc_value_info *inputs, int32_t n_inputs,
                         char message[TC_INFER_MESSAGE_SIZE]);

#endif
