/*
 * Following the elements of small integer tensors through shape inference, so that shapes computed
 * from shapes are known as soon as their ingredients are.
 */
#ifndef TC_OPS_KNOWN_H
#define TC_OPS_KNOWN_H

#include <tensorc/extend.h>

/** Largest number of elements that is followed. */
#define TC_KNOWN_MAX 64

/**
 * Room for the elements of output `output`, whose dtype and shape are set, preset to unknown; NULL
 * when they are not followed (another dtype, too many, an unknown size).
 */
tc_dim *tc_known_output(tc_infer *infer, int32_t output);

/** Element `index` of input `input`; size -1 without name when it is not known. */
tc_dim tc_known_element(const tc_infer *infer, int32_t input, int64_t index);

/** Output 0 has the elements of input 0 in the same order. */
void tc_known_copy(tc_infer *infer);

#endif
