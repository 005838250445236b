/*
 * Random numbers and dropout.
 *
 * Numbers come from the counter-based generator Philox 4x32-10 (Salmon et al. 2011). Element i of a
 * value is a pure function of (seed of the graph, stream of the node, step, loop index, i): runs
 * that commit no update repeat their numbers, and the number of threads, the instruction set and
 * the device do not matter. The stream follows from the path of the node, so equal programs draw
 * equal numbers, and renaming a node changes its numbers. Uniform numbers, integers and dropout
 * masks have the same bits on every device; normal ones agree within a few units in the last place.
 *
 * Builders are not thread-safe on one graph; errors stick to the graph (see graph.h).
 */
#ifndef TENSORC_OPS_RANDOM_H
#define TENSORC_OPS_RANDOM_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_random_uniform_options {
    size_t struct_size;
    const char *name;       /**< of the node; default: the operator's name */
    double low;             /**< smallest number; default 0 */
    tc_optional_float high; /**< all numbers are below it; default 1 */
    int64_t stream;         /**< which sequence of numbers; 0: from the path of the node */
} tc_random_uniform_options;
typedef tc_random_uniform_options tc_random_uniform_like_options;

/**
 * Uniform numbers in [low, high), `dtype` float, `shape` known. Numbers of f32 are multiples of
 * 2^-24 (f64: 2^-53) scaled to the interval; those of 16-bit floats are rounded from f32.
 */
TC_API tc_value tc_random_uniform_at(tc_location at, tc_graph *graph, tc_dtype dtype,
                                     tc_shape shape, const tc_random_uniform_options *options);
/** As tc_random_uniform_at with the dtype and shape of `x`, which may be known only in runs. */
TC_API tc_value tc_random_uniform_like_at(tc_location at, tc_value x,
                                          const tc_random_uniform_options *options);

typedef struct tc_random_int_options {
    size_t struct_size;
    const char *name; /**< of the node; default "random_int" */
    int64_t stream;   /**< which sequence of numbers; 0: from the path of the node */
} tc_random_int_options;

/**
 * Uniform integers in [low, high), without bias; `dtype` is an integer one that holds all of them,
 * `shape` is known.
 */
TC_API tc_value tc_random_int_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                                 int64_t low, int64_t high, const tc_random_int_options *options);

typedef struct tc_random_normal_options {
    size_t struct_size;
    const char *name;         /**< of the node; default: the operator's name */
    double mean;              /**< default 0 */
    tc_optional_float stddev; /**< standard deviation, at least 0; default 1 */
    int64_t stream;           /**< which sequence of numbers; 0: from the path of the node */
} tc_random_normal_options;
typedef tc_random_normal_options tc_random_normal_like_options;
typedef tc_random_normal_options tc_random_truncated_normal_options;

/**
 * Normal (Gaussian) numbers, `dtype` float, `shape` known. The inverse of the distribution function
 * by algorithm AS 241 (Wichura 1988) turns one uniform number into one normal number: relative
 * error below 5e-7 for f32 and 2e-15 for f64; at most 6.4 (f32) or 9.2 (f64) deviations from the
 * mean.
 */
TC_API tc_value tc_random_normal_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                                    const tc_random_normal_options *options);
/** As tc_random_normal_at with the dtype and shape of `x`, which may be known only in runs. */
TC_API tc_value tc_random_normal_like_at(tc_location at, tc_value x,
                                         const tc_random_normal_options *options);

/**
 * As tc_random_normal_at, with the distribution cut off at mean - 2 stddev and mean + 2 stddev
 * (`mean` and `stddev` are those before the cut).
 */
TC_API tc_value tc_random_truncated_normal_at(tc_location at, tc_graph *graph, tc_dtype dtype,
                                              tc_shape shape,
                                              const tc_random_normal_options *options);

typedef struct tc_dropout_options {
    size_t struct_size;
    const char *name; /**< of the node; default "dropout" */
    tc_mode mode;     /**< training drops, inference passes `x` on; default TC_MODE_AUTO */
    int64_t stream;   /**< which sequence of numbers; 0: from the path of the node */
} tc_dropout_options;

/**
 * Dropout (Srivastava et al. 2014), inverted: when training, each element of `x` (float, any shape)
 * becomes 0 with probability `rate` in [0, 1), and x / (1 - rate) otherwise. The gradient draws
 * the same mask again instead of keeping it.
 */
TC_API tc_value tc_dropout_at(tc_location at, tc_value x, double rate,
                              const tc_dropout_options *options);

#ifndef __cplusplus
/* tc_random_uniform(graph, dtype, shape, .option = ...) and so on */
#define tc_random_uniform(...)          TC_BUILD3(tc_random_uniform, __VA_ARGS__)
#define tc_random_uniform_like(...)     TC_BUILD1(tc_random_uniform_like, __VA_ARGS__)
#define tc_random_int(...)              TC_BUILD5(tc_random_int, __VA_ARGS__)
#define tc_random_normal(...)           TC_BUILD3(tc_random_normal, __VA_ARGS__)
#define tc_random_normal_like(...)      TC_BUILD1(tc_random_normal_like, __VA_ARGS__)
#define tc_random_truncated_normal(...) TC_BUILD3(tc_random_truncated_normal, __VA_ARGS__)
/* tc_dropout(x, rate, .option = ...) */
#define tc_dropout(...) TC_BUILD2(tc_dropout, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
