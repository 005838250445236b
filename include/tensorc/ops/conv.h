/*
 * Convolution and pooling of images, [batch, channels, height, width].
 *
 * Every pair of options is {height, width}. A width of 0 means "as the height", so `.stride = {2}`
 * is stride 2 along both axes. Builders are not thread-safe on one graph; errors stick to the graph
 * (see graph.h).
 */
#ifndef TENSORC_OPS_CONV_H
#define TENSORC_OPS_CONV_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/** How much is added round an image. */
typedef enum tc_padding_mode {
    TC_PADDING_MODE_EXPLICIT = 0, /**< the given numbers; all zero is "valid" */
    TC_PADDING_MODE_SAME =
        1, /**< output = ceil(input / stride), the odd element at bottom and right */
    TC_PADDING_MODE_SAME_LOWER = 2 /**< as SAME with the odd element at top and left */
} tc_padding_mode;

/** Padding of the two axes, in elements. Zeroed memory is "no padding". */
typedef struct tc_padding {
    tc_padding_mode mode;
    int64_t top, left, bottom, right; /**< of TC_PADDING_MODE_EXPLICIT, 0 at least */
} tc_padding;

/** Explicit padding of the four sides. */
static inline tc_padding tc_padding_sides(int64_t top, int64_t left, int64_t bottom, int64_t right)
{
    tc_padding padding;
    padding.mode = TC_PADDING_MODE_EXPLICIT;
    padding.top = top;
    padding.left = left;
    padding.bottom = bottom;
    padding.right = right;
    return padding;
}

/** A padding of that mode without numbers. */
static inline tc_padding tc_padding_of(tc_padding_mode mode)
{
    tc_padding padding = tc_padding_sides(0, 0, 0, 0);
    padding.mode = mode;
    return padding;
}

/** No padding: the kernel stays inside the image. The default. */
#define TC_PADDING_VALID      tc_padding_of(TC_PADDING_MODE_EXPLICIT)
#define TC_PADDING_SAME       tc_padding_of(TC_PADDING_MODE_SAME)
#define TC_PADDING_SAME_LOWER tc_padding_of(TC_PADDING_MODE_SAME_LOWER)

typedef struct tc_conv2d_options {
    size_t struct_size;
    const char *name;    /**< of the node; default: the operator's name */
    int64_t stride[2];   /**< default 1 */
    int64_t dilation[2]; /**< distance of neighbouring kernel elements in the input; default 1 */
    tc_padding padding;  /**< zeros; default TC_PADDING_VALID */
    int64_t groups;      /**< channels are convolved in this many separate groups; default 1 */
} tc_conv2d_options;

/**
 * Two-dimensional convolution (cross-correlation, the kernel is not flipped): `x` [n, c, h, w] with
 * the filter `w` [o, c / groups, kh, kw] gives [n, o, oh, ow], oh = (h + top + bottom - dilation
 * (kh - 1) - 1) / stride + 1 rounded down, ow alike. Output channel j reads the input channels of
 * group j / (o / groups). dtypes: f32, f64, f16, bf16 (the 16-bit floats accumulate in f32). Add a
 * bias with tc_bias_add. Differentiable to any order. Errors: INVALID_ARGUMENT for a rank other
 * than 4, channels that do not fit the groups, a kernel larger than the padded image, non-positive
 * strides or dilations, negative padding.
 */
TC_API tc_value tc_conv2d_at(tc_location at, tc_value x, tc_value w,
                             const tc_conv2d_options *options);

/**
 * Gradient of tc_conv2d with respect to its input, also called transposed convolution: filter `w`,
 * gradient of the output `dy` [n, o, oh, ow]; the result has the shape of `like` [n, c, h, w], of
 * which only the shape is used. `options` are those of the convolution.
 */
TC_API tc_value tc_conv2d_grad_input_at(tc_location at, tc_value w, tc_value dy, tc_value like,
                                        const tc_conv2d_options *options);

/**
 * Gradient of tc_conv2d with respect to its filter: input `x`, gradient of the output `dy`; the
 * result has the shape of `like` [o, c / groups, kh, kw], of which only the shape is used.
 */
TC_API tc_value tc_conv2d_grad_filter_at(tc_location at, tc_value x, tc_value dy, tc_value like,
                                         const tc_conv2d_options *options);

typedef struct tc_max_pool2d_options {
    size_t struct_size;
    const char *name;    /**< of the node; default "max_pool2d" */
    int64_t kernel[2];   /**< required */
    int64_t stride[2];   /**< default: the kernel */
    int64_t dilation[2]; /**< default 1 */
    tc_padding padding;  /**< never chosen as the maximum; default TC_PADDING_VALID */
    bool ceil_mode; /**< round the output size up; the last window begins inside image or top/left
                       padding */
} tc_max_pool2d_options;

/**
 * Maximum of each window of `x` [n, c, h, w]; [n, c, oh, ow], sizes as in tc_conv2d. NaN wins over
 * every number. Output 1 (tc_output) is "argmax", i32: where in the input plane, as row * w +
 * column, the (first) maximum is. Any numeric dtype. Differentiable to any order; the gradient
 * flows to the argmax alone. Errors: INVALID_ARGUMENT for a rank other than 4, a missing kernel, a
 * kernel larger than the padded image, padding that is not smaller than the kernel (a window would
 * be empty).
 */
TC_API tc_value tc_max_pool2d_at(tc_location at, tc_value x, const tc_max_pool2d_options *options);

/** Adds `dy` [n, c, oh, ow] into zeros of the shape of `like` [n, c, h, w] at the places `argmax`
 * (i32, of dy's shape). */
TC_API tc_value tc_max_pool2d_grad_at(tc_location at, tc_value dy, tc_value argmax, tc_value like);

/** Elements of `x` [n, c, h, w] at the places `argmax` (i32 [n, c, oh, ow], an output of
 * tc_max_pool2d). */
TC_API tc_value tc_max_pool2d_gather_at(tc_location at, tc_value x, tc_value argmax);

typedef struct tc_avg_pool2d_options {
    size_t struct_size;
    const char *name;       /**< of the node; default: the operator's name */
    int64_t kernel[2];      /**< required */
    int64_t stride[2];      /**< default: the kernel */
    tc_padding padding;     /**< default TC_PADDING_VALID */
    bool ceil_mode;         /**< as in tc_max_pool2d */
    bool count_include_pad; /**< divide by the elements of the window that lie in image or padding,
                               not in the image only */
} tc_avg_pool2d_options;

/**
 * Mean of each window of `x` [n, c, h, w]; [n, c, oh, ow]. f32, f64, f16, bf16. Differentiable to
 * any order. Errors as tc_max_pool2d.
 */
TC_API tc_value tc_avg_pool2d_at(tc_location at, tc_value x, const tc_avg_pool2d_options *options);

/** Gradient of tc_avg_pool2d: spreads `dy` [n, c, oh, ow] over its windows, in the shape of `like`
 * [n, c, h, w]. */
TC_API tc_value tc_avg_pool2d_grad_at(tc_location at, tc_value dy, tc_value like,
                                      const tc_avg_pool2d_options *options);

#ifndef __cplusplus
/** Explicit padding: all four sides, {height, width}, or {top, left, bottom, right}: `.padding =
 * TC_PADDING(1)`. */
#define TC_PADDING(...) \
    TC_PADDING_N_(TC_COUNT_(__VA_ARGS__, 8_, 7_, 6_, 5_, 4_, 3_, 2_, 1_, 0_), __VA_ARGS__)
#define TC_PADDING_N_(n, ...)                   TC_CONCAT_(TC_PADDING_, n)(__VA_ARGS__)
#define TC_PADDING_1_(all)                      tc_padding_sides(all, all, all, all)
#define TC_PADDING_2_(h, w)                     tc_padding_sides(h, w, h, w)
#define TC_PADDING_4_(top, left, bottom, right) tc_padding_sides(top, left, bottom, right)

#define tc_conv2d(...) TC_BUILD2(tc_conv2d, __VA_ARGS__)
#define TC_CONV2D_GRAD_(op, a, b, c, ...) \
    op##_at(TC_HERE, a, b, c, &(tc_conv2d_options){__VA_ARGS__})
#define tc_conv2d_grad_input(...) \
    TC_CONV2D_GRAD_(tc_conv2d_grad_input, __VA_ARGS__, .struct_size = sizeof(tc_conv2d_options))
#define tc_conv2d_grad_filter(...) \
    TC_CONV2D_GRAD_(tc_conv2d_grad_filter, __VA_ARGS__, .struct_size = sizeof(tc_conv2d_options))
#define tc_max_pool2d(...)                   TC_BUILD1(tc_max_pool2d, __VA_ARGS__)
#define tc_max_pool2d_grad(dy, argmax, like) tc_max_pool2d_grad_at(TC_HERE, dy, argmax, like)
#define tc_max_pool2d_gather(x, argmax)      tc_max_pool2d_gather_at(TC_HERE, x, argmax)
#define tc_avg_pool2d(...)                   TC_BUILD1(tc_avg_pool2d, __VA_ARGS__)
#define TC_AVG_POOL2D_GRAD_(dy, like, ...) \
    tc_avg_pool2d_grad_at(TC_HERE, dy, like, &(tc_avg_pool2d_options){__VA_ARGS__})
#define tc_avg_pool2d_grad(...) \
    TC_AVG_POOL2D_GRAD_(__VA_ARGS__, .struct_size = sizeof(tc_avg_pool2d_options))
#endif

#ifdef __cplusplus
}
#endif

#endif
