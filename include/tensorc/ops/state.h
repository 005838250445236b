/*
 * Operators that make values from nothing, pass values on, order work, and write variables.
 *
 * Builders are not thread-safe on one graph; errors stick to the graph (see graph.h). Placeholders,
 * constants and variables themselves are declared in graph.h.
 */
#ifndef TENSORC_OPS_STATE_H
#define TENSORC_OPS_STATE_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Filled tensors. Unlike constants they take no memory in the graph or in files.
 */

/**
 * `shape`, every dimension known, filled with `value` converted to `dtype` (any). For an integer
 * dtype `value` must be a whole number that the dtype can hold.
 */
TC_API tc_value tc_fill_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                           double value);
/** tc_fill_at with 0. */
TC_API tc_value tc_zeros_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape);
/** tc_fill_at with 1. */
TC_API tc_value tc_ones_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape);

typedef struct tc_range_options {
    size_t struct_size;
    const char *name; /**< of the node; default "range" */
    double step;      /**< distance of neighbours, may be negative; default 1 */
} tc_range_options;

/**
 * start, start + step, start + 2 step, ... before `limit`: max(0, ceil((limit - start) / step))
 * elements of `dtype` (numbers), shape [n]. Element i is start + i * step computed in f64 and
 * rounded once; for an integer dtype all three must be whole numbers and every element must fit.
 */
TC_API tc_value tc_range_at(tc_location at, tc_graph *graph, tc_dtype dtype, double start,
                            double limit, const tc_range_options *options);

/*
 * Passing on and ordering.
 */

/** `x` itself as a value of its own node; any shape and dtype. Shares the memory of `x`. */
TC_API tc_value tc_identity_at(tc_location at, tc_value x);

/** `x` itself, through which no gradient flows. */
TC_API tc_value tc_stop_gradient_at(tc_location at, tc_value x);

/** A node without inputs and outputs, for control dependencies and as a target of runs. */
TC_API tc_value tc_no_op_at(tc_location at, tc_graph *graph);

/**
 * One target for many: running it runs the nodes of all `values` (of `graph`; groups and updates
 * among them). It has no output to fetch.
 */
TC_API tc_value tc_group_at(tc_location at, tc_graph *graph, const tc_value *values, size_t count);

/*
 * Updates of variables. The first argument of each is a variable; the result is its new content,
 * while the variable itself still reads as before the run. Updates of one variable happen in the
 * order they were built, after everything in the run that can fail, all of them or none.
 */

/** Content becomes `value`, of the variable's dtype and shape. */
TC_API tc_value tc_assign_at(tc_location at, tc_value variable, tc_value value);
/** Content becomes content + delta, of the variable's dtype (numbers) and shape. Integers wrap. */
TC_API tc_value tc_assign_add_at(tc_location at, tc_value variable, tc_value delta);
/** Content becomes content - delta, of the variable's dtype (numbers) and shape. Integers wrap. */
TC_API tc_value tc_assign_sub_at(tc_location at, tc_value variable, tc_value delta);

/*
 * Steps of optimizers as single in-place updates: the building blocks of optimizers.h.
 *
 * `parameter` is a float variable p and `gradient` has its dtype and shape. The slots (velocity,
 * moments) are variables of its shape that start as zeros, f64 for an f64 parameter and f32 for all
 * others: a 16-bit slot would lose small steps. `learning_rate` is a scalar, f32 or f64, so that
 * schedules can feed it. The arithmetic is in the dtype of the slots. No gradient flows through.
 * The option `when`, a bool scalar, makes a step that changes nothing where it is false.
 */

typedef struct tc_apply_sgd_options {
    size_t struct_size;
    const char *name;    /**< of the node; default "apply_sgd" */
    double weight_decay; /**< L2 penalty: adds weight_decay * p to the gradient; default 0 */
    tc_value when;       /**< see above; default: always */
} tc_apply_sgd_options;

/** Stochastic gradient descent: p -= learning_rate * (gradient + weight_decay * p). */
TC_API tc_value tc_apply_sgd_at(tc_location at, tc_value parameter, tc_value gradient,
                                tc_value learning_rate, const tc_apply_sgd_options *options);

typedef struct tc_apply_momentum_options {
    size_t struct_size;
    const char *name;           /**< of the node; default "apply_momentum" */
    tc_optional_float momentum; /**< in [0, 1); default 0.9 */
    double weight_decay;        /**< L2 penalty: adds weight_decay * p to the gradient; default 0 */
    bool nesterov;              /**< look ahead along the velocity */
    tc_value when;              /**< see above; default: always */
} tc_apply_momentum_options;

/**
 * SGD with momentum as in Sutskever et al. 2013, with the learning rate outside the velocity:
 *     g = gradient + weight_decay * p;  velocity = momentum * velocity + g
 *     p -= learning_rate * velocity, with nesterov learning_rate * (g + momentum * velocity)
 * Output 0 is the new parameter, output 1 the new velocity.
 */
TC_API tc_value tc_apply_momentum_at(tc_location at, tc_value parameter, tc_value velocity,
                                     tc_value gradient, tc_value learning_rate,
                                     const tc_apply_momentum_options *options);

typedef struct tc_apply_adam_options {
    size_t struct_size;
    const char *name;          /**< of the node; default "apply_adam" */
    tc_optional_float beta1;   /**< decay of the mean of gradients, in [0, 1); default 0.9 */
    tc_optional_float beta2;   /**< decay of the mean of their squares, in [0, 1); default 0.999 */
    tc_optional_float epsilon; /**< added to the root, at least 0; default 1e-8 */
    double weight_decay;       /**< decoupled from the gradient (AdamW); default 0 */
    tc_value when;             /**< see above; default: always */
} tc_apply_adam_options;

/** The tensors that tc_apply_adam_at works on. */
typedef struct tc_apply_adam_inputs {
    tc_value parameter;
    tc_value mean;   /**< slot m: running mean of the gradients */
    tc_value square; /**< slot v: running mean of their squares */
    tc_value gradient;
    tc_value learning_rate; /**< scalar, f32 or f64 */
    tc_value step;          /**< scalar, i64: which update this is, counted from 1 */
} tc_apply_adam_inputs;

/**
 * Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay (Loshchilov and Hutter 2019):
 *     p -= learning_rate * weight_decay * p
 *     m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
 *     p -= learning_rate * m / (1 - beta1^step) / (sqrt(v / (1 - beta2^step)) + epsilon)
 * Outputs 0, 1, 2 are the new parameter, mean and square.
 */
TC_API tc_value tc_apply_adam_at(tc_location at, const tc_apply_adam_inputs *inputs,
                                 const tc_apply_adam_options *options);

#ifndef __cplusplus
#define tc_fill(graph, dtype, shape, value) tc_fill_at(TC_HERE, graph, dtype, shape, value)
#define tc_zeros(graph, dtype, shape)       tc_zeros_at(TC_HERE, graph, dtype, shape)
#define tc_ones(graph, dtype, shape)        tc_ones_at(TC_HERE, graph, dtype, shape)
/* tc_range(graph, dtype, start, limit, .option = ...) */
#define tc_range(...)       TC_BUILD4(tc_range, __VA_ARGS__)
#define tc_identity(x)      tc_identity_at(TC_HERE, x)
#define tc_stop_gradient(x) tc_stop_gradient_at(TC_HERE, x)
#define tc_no_op(graph)     tc_no_op_at(TC_HERE, graph)
/* tc_group(graph, TC_VALUES(a, b)) */
#define tc_group(graph, ...)           tc_group_at(TC_HERE, graph, __VA_ARGS__)
#define tc_assign(variable, value)     tc_assign_at(TC_HERE, variable, value)
#define tc_assign_add(variable, delta) tc_assign_add_at(TC_HERE, variable, delta)
#define tc_assign_sub(variable, delta) tc_assign_sub_at(TC_HERE, variable, delta)
/* tc_apply_sgd(parameter, gradient, learning_rate, .option = ...) */
#define tc_apply_sgd(...) TC_BUILD3(tc_apply_sgd, __VA_ARGS__)
/* tc_apply_momentum(parameter, velocity, gradient, learning_rate, .option = ...) */
#define tc_apply_momentum(...) TC_BUILD4(tc_apply_momentum, __VA_ARGS__)
/* tc_apply_adam(&(tc_apply_adam_inputs){...}, .option = ...) */
#define tc_apply_adam(...) TC_BUILD1(tc_apply_adam, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
