/*
 * Losses beside tc_softmax_cross_entropy (ops/nn.h). Predictions and targets have one float dtype
 * and one rank, and broadcast to one shape; either may be a scalar. Builders are not thread-safe on
 * one graph; errors stick to the graph (see graph.h).
 */
#ifndef TENSORC_LOSSES_H
#define TENSORC_LOSSES_H

#include <tensorc/ops/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_loss_options {
    size_t struct_size;
    const char *name;       /**< scope of the loss; default: its own name */
    tc_reduction reduction; /**< over all elements; default TC_REDUCTION_MEAN */
} tc_loss_options;
typedef tc_loss_options tc_mean_squared_error_options;
typedef tc_loss_options tc_mean_absolute_error_options;
typedef tc_loss_options tc_sigmoid_cross_entropy_options;

/** (predictions - targets)^2 of each element, reduced. */
TC_API tc_value tc_mean_squared_error_at(tc_location at, tc_value predictions, tc_value targets,
                                         const tc_loss_options *options);
/** |predictions - targets| of each element, reduced. */
TC_API tc_value tc_mean_absolute_error_at(tc_location at, tc_value predictions, tc_value targets,
                                          const tc_loss_options *options);
/**
 * Cross entropy in nats between `targets` (probabilities in [0, 1]) and sigmoid(logits), each
 * element a binary problem, reduced. Computed as max(x, 0) - x z + log(1 + exp(-|x|)), which does
 * not overflow; a loss far below 1 has the absolute error of a number near 1, its gradient is
 * exact.
 */
TC_API tc_value tc_sigmoid_cross_entropy_at(tc_location at, tc_value logits, tc_value targets,
                                            const tc_loss_options *options);

#ifndef __cplusplus
#define tc_mean_squared_error(...)    TC_BUILD2(tc_mean_squared_error, __VA_ARGS__)
#define tc_mean_absolute_error(...)   TC_BUILD2(tc_mean_absolute_error, __VA_ARGS__)
#define tc_sigmoid_cross_entropy(...) TC_BUILD2(tc_sigmoid_cross_entropy, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
