/*
 * Shape and data movement: operators that rearrange, cut, join, repeat or look up elements without
 * changing them.
 *
 * They take every dtype. Unknown dimensions keep their names wherever the size surely stays the
 * same. Negative axes count from the end. All builders add a node to the graph of their inputs and
 * return its output 0; errors stick to that graph. Options may be NULL in the functions; `name` is
 * the node's name, NULL the operator's. Lists are copied.
 */
#ifndef TENSORC_OPS_SHAPE_H
#define TENSORC_OPS_SHAPE_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/** In the `end` of a slice: up to and including the last element in the direction of the stride. */
#define TC_TO_END INT64_MAX

/*
 * Shapes
 */

/**
 * The elements of `x`, in the same order, as `shape`. One size may be -1: it follows from the
 * number of elements. A named dimension (TC_DIM("batch")) is the dimension of `x` of that name, so
 * that several unknown sizes can be kept. Differentiable.
 */
TC_API tc_value tc_reshape_at(tc_location at, tc_value x, tc_shape shape);
/** The elements of `x`, in the same order, in the shape of `like`, whose elements are not used.
 * Differentiable in `x`. */
TC_API tc_value tc_reshape_like_at(tc_location at, tc_value x, tc_value like);
/** Merges dimensions `axis` and later into one: [n, c, h, w] with axis 1 gives [n, c*h*w]; axis =
 * rank adds a 1. */
TC_API tc_value tc_flatten_at(tc_location at, tc_value x, int64_t axis);

typedef struct tc_squeeze_options {
    size_t struct_size;
    tc_ints
        axes; /**< dimensions to drop, each of size 1; default: all whose size is known to be 1 */
    const char *name;
} tc_squeeze_options;

/** Drops dimensions of size 1. Differentiable. */
TC_API tc_value tc_squeeze_at(tc_location at, tc_value x, const tc_squeeze_options *options);
/** Inserts dimensions of size 1 so that they are the dimensions `axes` of the result.
 * Differentiable. */
TC_API tc_value tc_unsqueeze_at(tc_location at, tc_value x, tc_ints axes);

/**
 * `x` broadcast to `shape` by the rules of NumPy: dimensions are added in front, sizes 1 are
 * repeated. A size of -1 keeps the dimension of `x`. Differentiable.
 */
TC_API tc_value tc_expand_at(tc_location at, tc_value x, tc_shape shape);
/** `x` broadcast to the shape of `like`, whose elements are not used. Differentiable in `x`. */
TC_API tc_value tc_expand_like_at(tc_location at, tc_value x, tc_value like);

/** The sizes of `x` as an i64 vector of its rank. The elements of `x` are not used. Not
 * differentiable. */
TC_API tc_value tc_shape_of_at(tc_location at, tc_value x);

/*
 * Order
 */
typedef struct tc_transpose_options {
    size_t struct_size;
    tc_ints permutation; /**< dimension i of the result is dimension permutation[i] of x; default:
                            reversed */
    const char *name;
} tc_transpose_options;

/** Permutes dimensions. Differentiable. */
TC_API tc_value tc_transpose_at(tc_location at, tc_value x, const tc_transpose_options *options);

/*
 * Joining and cutting
 */
typedef struct tc_concat_options {
    size_t struct_size;
    const char *name;
} tc_concat_options;

/** Joins `count` (at least 1) values of one dtype and rank along `axis`; their other sizes agree.
 * Differentiable. */
TC_API tc_value tc_concat_at(tc_location at, const tc_value *values, size_t count, int64_t axis,
                             const tc_concat_options *options);
/** Joins `count` (at least 1) values of one dtype and shape along a new dimension `axis` of the
 * result. Differentiable. */
TC_API tc_value tc_stack_at(tc_location at, const tc_value *values, size_t count, int64_t axis);

typedef struct tc_split_options {
    size_t struct_size;
    tc_ints sizes; /**< sizes of the parts along the axis, instead of equal ones */
    const char *name;
} tc_split_options;

/**
 * Cuts `x` along `axis` into `parts` equal parts, or into those of `sizes` (then `parts` is their
 * count or 0). The result is the first part, tc_output(result, i) are the others. Differentiable.
 */
TC_API tc_value tc_split_at(tc_location at, tc_value x, int64_t axis, int64_t parts,
                            const tc_split_options *options);

typedef struct tc_slice_options {
    size_t struct_size;
    tc_ints strides; /**< steps, not 0; negative ones walk backwards; default 1 each */
    tc_ints axes;    /**< dimensions that begin, end and strides are for; default 0, 1, 2, ... */
    const char *name;
} tc_slice_options;

/**
 * Elements begin, begin + stride, ... before `end` of each listed dimension, x[begin:end:stride] in
 * NumPy: negative begin and end count from the end of the dimension, and what lies outside of it is
 * cut off. TC_TO_END as end takes the rest. x[::-1] of a vector is tc_slice(x, TC_INTS(-1),
 * TC_INTS(TC_TO_END), .strides = TC_INTS(-1)). Differentiable.
 */
TC_API tc_value tc_slice_at(tc_location at, tc_value x, tc_ints begin, tc_ints end,
                            const tc_slice_options *options);

typedef enum tc_pad_mode {
    TC_PAD_CONSTANT = 0, /**< `value` */
    TC_PAD_REFLECT =
        1, /**< mirrored at the border element, which is not repeated; needs padding < size */
    TC_PAD_EDGE = 2 /**< the border element repeated; needs size > 0 */
} tc_pad_mode;

typedef struct tc_pad_options {
    size_t struct_size;
    tc_pad_mode mode;
    double value; /**< of TC_PAD_CONSTANT, converted to the dtype of x as tc_cast does; default 0 */
    const char *name;
} tc_pad_options;

/** Adds before[i] and after[i] (0 or more; one per dimension of `x`) elements around dimension i.
 * Differentiable. */
TC_API tc_value tc_pad_at(tc_location at, tc_value x, tc_ints before, tc_ints after,
                          const tc_pad_options *options);

/*
 * Looking up
 */
typedef struct tc_gather_options {
    size_t struct_size;
    int64_t axis; /**< default 0 */
    const char *name;
} tc_gather_options;

/**
 * Slices of `x` along `axis` at `indices` (i32 or i64): the shape of the result is that of `x` with
 * dimension `axis` replaced by the shape of `indices`. Negative indices count from the end; a run
 * with an index out of range fails with INVALID_ARGUMENT naming its position and value.
 * Differentiable in `x`.
 */
TC_API tc_value tc_gather_at(tc_location at, tc_value x, tc_value indices,
                             const tc_gather_options *options);

typedef struct tc_scatter_add_options {
    size_t struct_size;
    int64_t axis; /**< default 0 */
    const char *name;
} tc_scatter_add_options;

/**
 * `x` with slice i of `updates` added to its slice indices[i] along `axis`; slices with one index
 * are added up in their order, 16-bit floats in f32. `updates` has the shape that tc_gather(x,
 * indices, .axis) has; indices as there. Numbers only; integers wrap around. Differentiable in `x`
 * and `updates`.
 */
TC_API tc_value tc_scatter_add_at(tc_location at, tc_value x, tc_value indices, tc_value updates,
                                  const tc_scatter_add_options *options);

typedef struct tc_embedding_options {
    size_t struct_size;
    const char *name;
} tc_embedding_options;

/**
 * Rows of `table` [n, d] at `ids` (i32 or i64, any shape): [ids..., d]. The gather operator along
 * axis 0; its gradient is dense. Differentiable in `table`.
 */
TC_API tc_value tc_embedding_at(tc_location at, tc_value table, tc_value ids,
                                const tc_embedding_options *options);

typedef struct tc_one_hot_options {
    size_t struct_size;
    tc_optional_float on;  /**< default 1 */
    tc_optional_float off; /**< default 0 */
    tc_optional_int axis;  /**< place of the new dimension in the result; default -1, the last */
    tc_dtype dtype;        /**< of the result; default TC_F32 */
    const char *name;
} tc_one_hot_options;

/**
 * A new dimension of size `depth` (at least 1) that is `on` at the index and `off` elsewhere.
 * `indices` is i32 or i64; -depth..-1 count from the end, and any other index gives `off`
 * throughout (as in ONNX). Not differentiable.
 */
TC_API tc_value tc_one_hot_at(tc_location at, tc_value indices, int64_t depth,
                              const tc_one_hot_options *options);

/*
 * Gradients of the above, for use in gradients of other operators. Each is differentiable in its
 * first input; the elements of `like` are not used.
 */

/** Cuts `x` along `axis` into parts of the sizes that the `count` values `likes` have there.
 * Outputs as tc_split. */
TC_API tc_value tc_split_like_at(tc_location at, tc_value x, const tc_value *likes, size_t count,
                                 int64_t axis);
/** Gradient of tc_slice for `like`: zeros of its shape with `dy` at the places that the slice took.
 */
TC_API tc_value tc_slice_grad_at(tc_location at, tc_value dy, tc_value like, tc_ints begin,
                                 tc_ints end, const tc_slice_options *options);
/** Gradient of tc_pad for `like`: each element of `dy` added to the one it was a copy of. */
TC_API tc_value tc_pad_grad_at(tc_location at, tc_value dy, tc_value like, tc_ints before,
                               tc_ints after, const tc_pad_options *options);
/** Gradient of tc_gather for `like`: zeros of its shape with the slices of `dy` added at `indices`.
 */
TC_API tc_value tc_gather_grad_at(tc_location at, tc_value dy, tc_value indices, tc_value like,
                                  const tc_gather_options *options);

#ifndef __cplusplus
#define tc_reshape(x, shape)     tc_reshape_at(TC_HERE, x, shape)
#define tc_reshape_like(x, like) tc_reshape_like_at(TC_HERE, x, like)
#define tc_flatten(x, axis)      tc_flatten_at(TC_HERE, x, axis)
#define tc_squeeze(...)          TC_BUILD1(tc_squeeze, __VA_ARGS__)
#define tc_unsqueeze(x, axes)    tc_unsqueeze_at(TC_HERE, x, axes)
#define tc_expand(x, shape)      tc_expand_at(TC_HERE, x, shape)
#define tc_expand_like(x, like)  tc_expand_like_at(TC_HERE, x, like)
#define tc_shape_of_value(x)     tc_shape_of_at(TC_HERE, x)
#define tc_transpose(...)        TC_BUILD1(tc_transpose, __VA_ARGS__)
#define tc_concat(...)           TC_BUILD3(tc_concat, __VA_ARGS__)
#define tc_stack(...)            tc_stack_at(TC_HERE, __VA_ARGS__)
#define tc_split(...)            TC_BUILD3(tc_split, __VA_ARGS__)
#define tc_slice(...)            TC_BUILD3(tc_slice, __VA_ARGS__)
#define tc_pad(...)              TC_BUILD3(tc_pad, __VA_ARGS__)
#define tc_gather(...)           TC_BUILD2(tc_gather, __VA_ARGS__)
#define tc_scatter_add(...)      TC_BUILD3(tc_scatter_add, __VA_ARGS__)
#define tc_embedding(...)        TC_BUILD2(tc_embedding, __VA_ARGS__)
#define tc_one_hot(...)          TC_BUILD2(tc_one_hot, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
