/*
 * Operators whose result has a shape that depends on the elements of a tensor: how many are chosen,
 * how many differ.
 *
 * Such a dimension is unknown (-1) in the graph. A run computes in stages: each ends where a size
 * must be known to go on, and what follows is planned for the sizes that were seen (plans are
 * cached by them). All updates of a run are applied at its end, or none. Results that are fetched
 * are tensors of the actual shape; a tensor given for one must have that shape. All builders add a
 * node to the graph of their inputs and return its output 0; errors stick to that graph.
 */
#ifndef TENSORC_OPS_DYNAMIC_H
#define TENSORC_OPS_DYNAMIC_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Places of the elements of `x` (any dtype and shape) that are not 0 or false, in row-major order:
 * i64 [n, rank of x]. NaN is not 0. Not differentiable.
 */
TC_API tc_value tc_nonzero_at(tc_location at, tc_value x);

/**
 * The different elements of `x` (any dtype and shape), as one list: output 0 holds them in
 * ascending order, [n]; output 1 says for each element of `x` which of them it is, i64 of the shape
 * of `x`; output 2 how often each occurs, i64 [n]. 0 and -0 are equal, all NaN are equal and come
 * last; of equal elements the first one is taken. Outputs by tc_output. Not differentiable.
 */
TC_API tc_value tc_unique_at(tc_location at, tc_value x);

/**
 * The slices of `x` where `mask` (bool) is true, in row-major order. The dimensions of `mask`, one
 * at least, are the first ones of `x`; they become one, [n, rest of x]. Differentiable in `x`.
 */
TC_API tc_value tc_boolean_mask_at(tc_location at, tc_value x, tc_value mask);

/**
 * The elements of `x`, in the same order, in the shape that `sizes` (i64, a list of known length)
 * tells; one size may be -1: what is left. Where shape inference knows the elements of `sizes` (of
 * constants, tc_shape_of_value and what is joined or picked of it) it knows the shape. A run whose
 * sizes do not fit fails with INVALID_ARGUMENT. Differentiable in `x`.
 */
TC_API tc_value tc_reshape_to_at(tc_location at, tc_value x, tc_value sizes);

/**
 * Gradient of tc_boolean_mask for `like`, whose elements are not used: zeros of its shape with the
 * slices of `dy` where `mask` is true. A run in which `dy` has another number of slices fails with
 * INVALID_ARGUMENT. Differentiable in `dy`.
 */
TC_API tc_value tc_boolean_mask_grad_at(tc_location at, tc_value dy, tc_value mask, tc_value like);

#ifndef __cplusplus
#define tc_nonzero(x)                        tc_nonzero_at(TC_HERE, x)
#define tc_unique(x)                         tc_unique_at(TC_HERE, x)
#define tc_boolean_mask(x, mask)             tc_boolean_mask_at(TC_HERE, x, mask)
#define tc_reshape_to(x, sizes)              tc_reshape_to_at(TC_HERE, x, sizes)
#define tc_boolean_mask_grad(dy, mask, like) tc_boolean_mask_grad_at(TC_HERE, dy, mask, like)
#endif

#ifdef __cplusplus
}
#endif

#endif
