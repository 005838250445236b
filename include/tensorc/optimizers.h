/*
 * Optimizers: from a loss to one value that, as the target of a run, makes one training step.
 *
 * An optimizer keeps its state in variables of the graph, below its name: "adam/learning_rate" (f32
 * scalar, which may be changed between runs with tc_store_restore), "adam/step" (i64 scalar,
 * updates so far) and slots such as "adam/mean/hidden/weights", f64 for an f64 variable and f32 for
 * all others. So checkpoints hold it and a resumed run goes on exactly.
 *
 * Builders are not thread-safe on one graph; errors stick to the graph (see graph.h).
 */
#ifndef TENSORC_OPTIMIZERS_H
#define TENSORC_OPTIMIZERS_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tc_optimizer_kind {
    TC_OPTIMIZER_SGD = 0,
    TC_OPTIMIZER_MOMENTUM = 1,
    TC_OPTIMIZER_ADAM = 2
} tc_optimizer_kind;

/** An optimizer of a graph, passed by value; made by tc_sgd, tc_adam, tc_adamw. Valid as long as
 * its graph. */
typedef struct tc_optimizer {
    tc_graph *graph;
    tc_optimizer_kind kind;
    tc_value learning_rate; /**< f32 scalar */
    tc_value step;          /**< variable: updates so far */
    double momentum;
    double beta1, beta2, epsilon;
    double weight_decay;
    bool nesterov;
} tc_optimizer;

typedef struct tc_sgd_options {
    size_t struct_size;
    const char *name;    /**< scope of its variables; default "sgd" */
    float learning_rate; /**< default 0.01 */
    tc_value (*schedule)(tc_location at, tc_value step, void *context); /**< see tc_adam_options */
    void *schedule_context;
    double momentum; /**< 0 (default): plain gradient descent, without velocity slots */
    bool nesterov;
    double weight_decay; /**< L2 penalty: adds weight_decay * w to the gradient of w; default 0 */
} tc_sgd_options;

typedef struct tc_adam_options {
    size_t struct_size;
    const char *name;    /**< scope of its variables; default "adam" or "adamw" */
    float learning_rate; /**< default 0.001 */
    /**
     * Builds the learning rate (f32 scalar) from the number of updates before this one (i64
     * scalar); instead of `learning_rate`. tc_warmup_cosine_schedule is one, with a
     * tc_warmup_cosine as context. Called once, while building.
     */
    tc_value (*schedule)(tc_location at, tc_value step, void *context);
    void *schedule_context;
    tc_optional_float beta1;   /**< default 0.9 */
    tc_optional_float beta2;   /**< default 0.999 */
    tc_optional_float epsilon; /**< default 1e-8 */
    double weight_decay;  /**< decoupled (Loshchilov & Hutter 2019); default 0 for tc_adam, 0.01 for
                             tc_adamw */
    bool no_weight_decay; /**< tc_adamw with a weight decay of 0 */
} tc_adam_options;
typedef tc_adam_options tc_adamw_options;

/** Gradient descent: w -= rate * g, or with momentum v = momentum * v + g; w -= rate * v (Sutskever
 * et al. 2013). */
TC_API tc_optimizer tc_sgd_at(tc_location at, tc_graph *graph, const tc_sgd_options *options);
/** Adam (Kingma & Ba 2015). */
TC_API tc_optimizer tc_adam_at(tc_location at, tc_graph *graph, const tc_adam_options *options);
/** AdamW (Loshchilov & Hutter 2019): Adam with a decoupled weight decay, 0.01 unless given. */
TC_API tc_optimizer tc_adamw_at(tc_location at, tc_graph *graph, const tc_adam_options *options);

/** Parameters of a warm-up with cosine decay (Loshchilov & Hutter 2017). */
typedef struct tc_warmup_cosine {
    double peak;  /**< learning rate after the warm-up */
    double final; /**< from `total_steps` on */
    int64_t
        warmup_steps;    /**< rises linearly: update t (from 0) has peak * (t + 1) / warmup_steps */
    int64_t total_steps; /**< more than warmup_steps */
} tc_warmup_cosine;

/** A schedule for optimizer options; `context` is a tc_warmup_cosine, read while building. */
TC_API tc_value tc_warmup_cosine_schedule(tc_location at, tc_value step, void *context);

typedef struct tc_minimize_options {
    size_t struct_size;
    const char *name; /**< scope of the backward graph; default "minimize" */
    const tc_value
        *variables; /**< what to train; NULL: every trainable variable that the loss depends on */
    size_t n_variables;
    double clip_global_norm; /**< scales all gradients down to this joint norm; 0 (default): off */
} tc_minimize_options;

/**
 * One training step that lowers `loss` (a float; its sum where it is no scalar): gradients,
 * clipping, update of every variable, of the optimizer's step and of all nodes annotated collection
 * = "updates". The result is a target for runs. Errors: INVALID_ARGUMENT (the loss depends on no
 * trainable variable, or not on one that was given), as tc_gradients.
 */
TC_API tc_value tc_minimize_at(tc_location at, tc_optimizer optimizer, tc_value loss,
                               const tc_minimize_options *options);

/** The last part of tc_minimize for gradients of your own, `gradients[i]` of variable
 * `variables[i]`. */
TC_API tc_value tc_apply_gradients_at(tc_location at, tc_optimizer optimizer,
                                      const tc_value *variables, const tc_value *gradients,
                                      size_t count);

/**
 * Writes gradients scaled by min(1, max_norm / norm) to `clipped`, where norm is the square root of
 * the sum of all their squares (Pascanu et al. 2013), and returns the norm: a scalar, f64 where all
 * gradients are, else f32. `clipped` may be `gradients`. Errors: INVALID_ARGUMENT (no gradients,
 * max_norm that is not positive).
 */
TC_API tc_value tc_clip_by_global_norm_at(tc_location at, const tc_value *gradients, size_t count,
                                          double max_norm, tc_value *clipped);

#ifndef __cplusplus
/* tc_adam(graph, .option = ...) */
#define tc_sgd(...)   TC_BUILD1(tc_sgd, __VA_ARGS__)
#define tc_adam(...)  TC_BUILD1(tc_adam, __VA_ARGS__)
#define tc_adamw(...) TC_BUILD1(tc_adamw, __VA_ARGS__)
/* tc_minimize(optimizer, loss, .option = ...) */
#define tc_minimize(...) TC_BUILD2(tc_minimize, __VA_ARGS__)
#define tc_apply_gradients(optimizer, variables, gradients, count) \
    tc_apply_gradients_at(TC_HERE, optimizer, variables, gradients, count)
#define tc_clip_by_global_norm(gradients, count, max_norm, clipped) \
    tc_clip_by_global_norm_at(TC_HERE, gradients, count, max_norm, clipped)
#endif

#ifdef __cplusplus
}
#endif

#endif
