/*
 * Softmax, its cross entropy, and normalizations.
 *
 * All take f32, f64, f16 and bf16 (the 16-bit floats are computed in f32), are differentiable to
 * any order unless they say otherwise, and give the same bits with any number of threads. Builders
 * are not thread-safe on one graph; errors stick to the graph (see graph.h).
 */
#ifndef TENSORC_OPS_NN_H
#define TENSORC_OPS_NN_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_softmax_options {
    size_t struct_size;
    const char *name; /**< of the node; default: the operator's name */
    tc_optional_int
        axis; /**< the axis that is normalized, negative: from the end; default the last */
} tc_softmax_options;

typedef tc_softmax_options tc_log_softmax_options;

/**
 * exp(x) / sum(exp(x)) along an axis, in the shape of `x`; the maximum is subtracted first, so that
 * nothing overflows. An axis whose elements are all -inf, or that has +inf or NaN, gives NaN.
 * Errors: INVALID_ARGUMENT for a scalar and for an axis out of range.
 */
TC_API tc_value tc_softmax_at(tc_location at, tc_value x, const tc_softmax_options *options);

/** x - log(sum(exp(x))) along an axis, as tc_softmax_at but accurate where the softmax would round
 * to 0. */
TC_API tc_value tc_log_softmax_at(tc_location at, tc_value x,
                                  const tc_log_softmax_options *options);

/** What becomes of the losses of the examples. */
typedef enum tc_reduction {
    TC_REDUCTION_MEAN =
        0, /**< their mean, a scalar; ignored examples do not count, and if all are, it is 0 */
    TC_REDUCTION_SUM = 1, /**< their sum, a scalar */
    TC_REDUCTION_NONE = 2 /**< one loss per example */
} tc_reduction;

typedef struct tc_softmax_cross_entropy_options {
    size_t struct_size;
    const char *name;             /**< of the node of the result; default: its operator's name */
    tc_reduction reduction;       /**< default TC_REDUCTION_MEAN */
    tc_optional_int ignore_index; /**< class ids only: examples of this label have loss and gradient
                                     0; default none */
} tc_softmax_cross_entropy_options;

/**
 * Cross entropy in nats between labels and softmax(logits), from `logits` [..., classes].
 *
 * Integer `labels` (i32 or i64) of the shape [...] are class ids: the loss of an example is
 * log(sum(exp(logits))) - logits[label]. Float `labels` of the shape and dtype of `logits` are
 * probabilities of the classes: the loss is sum(labels * (log(sum(exp(logits))) - logits)); they
 * need not sum to 1, and get a gradient too.
 *
 * Errors: INVALID_ARGUMENT where the shapes do not fit, ignore_index is given with probabilities,
 * and, when it runs, for a class id outside 0..classes-1 that is not ignore_index (naming position
 * and value).
 */
TC_API tc_value tc_softmax_cross_entropy_at(tc_location at, tc_value logits, tc_value labels,
                                            const tc_softmax_cross_entropy_options *options);

typedef struct tc_layer_norm_options {
    size_t struct_size;
    const char *name; /**< of the node; default "layer_norm" */
    tc_optional_int
        axis; /**< axes from this one to the last are normalized together; default the last */
    tc_optional_float epsilon; /**< added to the variance; 0 or more; default 1e-5 */
} tc_layer_norm_options;

/**
 * Layer normalization (Ba, Kiros & Hinton 2016): (x - mean) / sqrt(variance + epsilon) * scale +
 * offset, with mean and biased variance over the trailing axes. `scale` and `offset` have the shape
 * of those axes and the dtype of `x`; each may be TC_NO_VALUE. Outputs (tc_output): 0 the result; 1
 * the mean and 2 the inverse standard deviation, in the shape of the leading axes, f32 where `x` is
 * a 16-bit float. Errors: INVALID_ARGUMENT for a scalar, an axis out of range, shapes that do not
 * fit, a negative epsilon.
 */
TC_API tc_value tc_layer_norm_at(tc_location at, tc_value x, tc_value scale, tc_value offset,
                                 const tc_layer_norm_options *options);

typedef struct tc_batch_norm_options {
    size_t struct_size;
    const char *name;           /**< of the node; default "batch_norm" */
    tc_optional_float epsilon;  /**< added to the variance; 0 or more; default 1e-5 */
    tc_optional_float momentum; /**< weight of the old running statistics, 0 to 1; default 0.9 */
    tc_mode mode;               /**< default TC_MODE_AUTO */
} tc_batch_norm_options;

/**
 * Batch normalization (Ioffe & Szegedy 2015) of `x` [n, channels, ...] over all axes but axis 1:
 * (x - mean) / sqrt(variance + epsilon) * scale + offset. `scale`, `offset` (each may be
 * TC_NO_VALUE), `running_mean` and `running_variance` have shape [channels] and the dtype of `x`;
 * where `x` is a 16-bit float they may be f32.
 *
 * In training, mean and biased variance are those of the batch, and the new running statistics are
 * momentum * running + (1 - momentum) * batch, where the variance is the unbiased one (divided by
 * count - 1, as PyTorch does; a batch of one element per channel keeps the biased one). In
 * inference the running statistics are used and stay.
 *
 * Outputs (tc_output): 0 the result, 1 new_running_mean, 2 new_running_variance (assign them to the
 * variables), 3 the mean and 4 the inverse standard deviation that were used. Gradients flow to x,
 * scale and offset through output 0 alone. An empty batch keeps the running statistics. Errors:
 * INVALID_ARGUMENT for a rank below 2, shapes or dtypes that do not fit, a negative epsilon, a
 * momentum outside 0 to 1.
 */
TC_API tc_value tc_batch_norm_at(tc_location at, tc_value x, tc_value scale, tc_value offset,
                                 tc_value running_mean, tc_value running_variance,
                                 const tc_batch_norm_options *options);

#ifndef __cplusplus
/** tc_softmax(x, .axis = TC_SOME(1)) */
#define tc_softmax(...) TC_BUILD1(tc_softmax, __VA_ARGS__)
/** tc_log_softmax(x) */
#define tc_log_softmax(...) TC_BUILD1(tc_log_softmax, __VA_ARGS__)
/** tc_softmax_cross_entropy(logits, labels, .reduction = TC_REDUCTION_SUM) */
#define tc_softmax_cross_entropy(...) TC_BUILD2(tc_softmax_cross_entropy, __VA_ARGS__)
/** tc_layer_norm(x, scale, offset, .axis = TC_SOME(-1)) */
#define tc_layer_norm(...) TC_BUILD3(tc_layer_norm, __VA_ARGS__)
/** tc_batch_norm(x, scale, offset, running_mean, running_variance, .momentum = TC_SOME(0.99)) */
#define tc_batch_norm(...) TC_BUILD5(tc_batch_norm, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
