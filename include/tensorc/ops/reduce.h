/*
 * Reductions along axes.
 *
 * `axes` lists what is reduced, negative ones counted from the end; an empty list means all axes.
 * The reduced axes disappear from the result, or stay with size 1 under `keep_dims`. Sums of floats
 * are accurate to a few units in the last place of the sum of magnitudes whatever their length,
 * 16-bit floats accumulate in f32 or better, and the result has the same bits with any number of
 * threads. Builders are not thread-safe on one graph; errors stick to the graph (see graph.h):
 * INVALID_ARGUMENT for an axis that is out of range or listed twice, and for a dtype the operator
 * does not take.
 */
#ifndef TENSORC_OPS_REDUCE_H
#define TENSORC_OPS_REDUCE_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_reduce_options {
    size_t struct_size;
    const char *name; /**< of the node; default: the operator's name */
    tc_ints axes;     /**< default (empty): all axes */
    bool keep_dims;   /**< keep the reduced axes with size 1; default false */
} tc_reduce_options;

typedef tc_reduce_options tc_reduce_sum_options;
typedef tc_reduce_options tc_reduce_mean_options;
typedef tc_reduce_options tc_reduce_max_options;
typedef tc_reduce_options tc_reduce_min_options;
typedef tc_reduce_options tc_reduce_prod_options;

/** Sum of `x`, of its dtype: any float or integer. Integer sums wrap around in the dtype. An empty
 * sum is 0. Differentiable to any order. */
TC_API tc_value tc_reduce_sum_at(tc_location at, tc_value x, const tc_reduce_options *options);

/** Arithmetic mean of `x`, any float (the mean of integers is an error: cast first). An empty mean
 * is NaN. Differentiable to any order. */
TC_API tc_value tc_reduce_mean_at(tc_location at, tc_value x, const tc_reduce_options *options);

/**
 * Largest element of `x`: any float, integer or bool (where it means "any"). NaN wins over every
 * number. The maximum of nothing is an error. The gradient is shared equally by all maximal
 * elements.
 */
TC_API tc_value tc_reduce_max_at(tc_location at, tc_value x, const tc_reduce_options *options);

/** Smallest element, as tc_reduce_max_at; of bool it means "all". */
TC_API tc_value tc_reduce_min_at(tc_location at, tc_value x, const tc_reduce_options *options);

/**
 * Product of `x`: any float or integer, integers wrap around. An empty product is 1. The gradient
 * of element i is the product of the others, computed without division, so zeros are no exception.
 * Differentiable to any order up to 7.
 */
TC_API tc_value tc_reduce_prod_at(tc_location at, tc_value x, const tc_reduce_options *options);

typedef struct tc_argmax_options {
    size_t struct_size;
    const char *name;     /**< of the node; default "argmax" */
    tc_optional_int axis; /**< the axis searched; default the last */
    bool keep_dims;       /**< keep the axis with size 1; default false */
} tc_argmax_options;

/**
 * Index, as i64, of the largest element of `x` along an axis: any float, integer or bool. Of equal
 * ones the first; the first NaN wins over every number. Not differentiable: no gradient flows.
 * Errors: INVALID_ARGUMENT for a scalar and for an axis of size 0.
 */
TC_API tc_value tc_argmax_at(tc_location at, tc_value x, const tc_argmax_options *options);

/**
 * Sums `x` down to the shape of `like`, the inverse of broadcasting `like` up to `x`: over the
 * leading axes that `like` lacks and over those where `like` has size 1. Of `like` (any dtype) only
 * the shape is used. Returns `x` itself where the shapes surely agree. Any float or integer dtype;
 * differentiable to any order. Errors: INVALID_ARGUMENT where `like` does not broadcast to `x`.
 */
TC_API tc_value tc_sum_to_like_at(tc_location at, tc_value x, tc_value like);

#ifndef __cplusplus
/** tc_reduce_sum(x, .axes = TC_INTS(0, 2), .keep_dims = true, .name = "total"); the others alike.
 */
#define tc_reduce_sum(...)      TC_BUILD1(tc_reduce_sum, __VA_ARGS__)
#define tc_reduce_mean(...)     TC_BUILD1(tc_reduce_mean, __VA_ARGS__)
#define tc_reduce_max(...)      TC_BUILD1(tc_reduce_max, __VA_ARGS__)
#define tc_reduce_min(...)      TC_BUILD1(tc_reduce_min, __VA_ARGS__)
#define tc_reduce_prod(...)     TC_BUILD1(tc_reduce_prod, __VA_ARGS__)
#define tc_argmax(...)          TC_BUILD1(tc_argmax, __VA_ARGS__)
#define tc_sum_to_like(x, like) tc_sum_to_like_at(TC_HERE, x, like)
#endif

#ifdef __cplusplus
}
#endif

#endif
