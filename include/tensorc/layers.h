/*
 * Layers: builders that make their own variables. Each opens a name scope, so that its variables
 * are "hidden/weights", "hidden/bias" and so on, and is built once per set of weights.
 *
 * Builders are not thread-safe on one graph; errors stick to the graph (see graph.h).
 */
#ifndef TENSORC_LAYERS_H
#define TENSORC_LAYERS_H

#include <tensorc/graph.h>
#include <tensorc/ops/conv.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Function applied to the result of a layer. */
typedef enum tc_activation {
    TC_ACT_NONE = 0,
    TC_ACT_RELU = 1,
    TC_ACT_GELU = 2,
    TC_ACT_SIGMOID = 3,
    TC_ACT_TANH = 4
} tc_activation;

/** `x` through `activation`. */
TC_API tc_value tc_activate_at(tc_location at, tc_value x, tc_activation activation);

/** Distribution of the first content of weights. */
typedef enum tc_initializer {
    TC_INIT_DEFAULT = 0, /**< TC_INIT_GLOROT_UNIFORM */
    TC_INIT_GLOROT_UNIFORM =
        1, /**< uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010) */
    TC_INIT_GLOROT_NORMAL = 2, /**< truncated normal of variance 2 / (fan_in + fan_out) */
    TC_INIT_HE_UNIFORM = 3,    /**< uniform in ±sqrt(6 / fan_in) (He et al. 2015) */
    TC_INIT_HE_NORMAL = 4,     /**< truncated normal of variance 2 / fan_in */
    TC_INIT_ZEROS = 5,
    TC_INIT_ONES = 6
} tc_initializer;

/**
 * Initial value for a variable of `dtype` (a float) and `shape` (known) that maps `fan_in` inputs
 * to each of its outputs and `fan_out` outputs to each of its inputs. Truncated normals keep to two
 * standard deviations of the untruncated distribution, which is widened so that the stated variance
 * is that of the truncated one.
 */
TC_API tc_value tc_initialize_at(tc_location at, tc_graph *graph, tc_initializer initializer,
                                 tc_dtype dtype, tc_shape shape, int64_t fan_in, int64_t fan_out);

typedef struct tc_dense_options {
    size_t struct_size;
    const char *name; /**< scope of the layer; default "dense", then "dense_1", ... */
    tc_activation activation;
    bool no_bias;
    tc_initializer initializer; /**< of the weights; the bias begins with zeros */
} tc_dense_options;

/**
 * Fully connected layer: activation(x weights + bias) of `x` [..., inputs], whose last dimension
 * must be known, to
 * [..., units]. Variables: "weights" [inputs, units], "bias" [units], of the dtype of `x`.
 */
TC_API tc_value tc_dense_at(tc_location at, tc_value x, int64_t units,
                            const tc_dense_options *options);

typedef struct tc_conv2d_layer_options {
    size_t struct_size;
    const char *name;    /**< scope of the layer; default "conv2d", then "conv2d_1", ... */
    int64_t stride[2];   /**< {height, width}; default 1 */
    int64_t dilation[2]; /**< default 1 */
    tc_padding padding;  /**< default TC_PADDING_VALID */
    int64_t groups;      /**< default 1 */
    tc_activation activation;
    bool no_bias;
    tc_initializer initializer; /**< of the weights; the bias begins with zeros */
} tc_conv2d_layer_options;

/**
 * Convolution layer: activation(conv2d(x, weights) + bias) of `x` [n, c, h, w], whose channels must
 * be known, with square kernels of `kernel_size`, to [n, filters, oh, ow]. Variables: "weights"
 * [filters, c / groups, kernel_size, kernel_size], "bias" [filters].
 */
TC_API tc_value tc_conv2d_layer_at(tc_location at, tc_value x, int64_t filters, int64_t kernel_size,
                                   const tc_conv2d_layer_options *options);

typedef struct tc_batch_norm_layer_options {
    size_t struct_size;
    const char *name; /**< scope of the layer; default "batch_norm", then "batch_norm_1", ... */
    tc_optional_float epsilon;  /**< default 1e-5 */
    tc_optional_float momentum; /**< weight of the old running statistics; default 0.9 */
    tc_activation activation;
} tc_batch_norm_layer_options;

/**
 * Batch normalization of `x` [n, channels, ...] with its variables "scale", "offset" and, not
 * trainable, "running_mean" and "running_variance" [channels], f64 where `x` is and f32 otherwise.
 * A training run uses the statistics of the batch and, where its target comes from tc_minimize or
 * tc_apply_gradients, moves the running ones; any other run uses the running ones.
 */
TC_API tc_value tc_batch_norm_layer_at(tc_location at, tc_value x,
                                       const tc_batch_norm_layer_options *options);

typedef struct tc_layer_norm_layer_options {
    size_t struct_size;
    const char *name; /**< scope of the layer; default "layer_norm", then "layer_norm_1", ... */
    tc_optional_float epsilon; /**< default 1e-5 */
} tc_layer_norm_layer_options;

/**
 * Layer normalization of `x` [..., features] over its last dimension, which must be known, with the
 * variables "scale" (ones at first) and "offset" (zeros) [features], of the dtype of `x`.
 */
TC_API tc_value tc_layer_norm_layer_at(tc_location at, tc_value x,
                                       const tc_layer_norm_layer_options *options);

typedef struct tc_embedding_layer_options {
    size_t struct_size;
    const char *name; /**< scope of the layer; default "embedding", then "embedding_1", ... */
    tc_dtype dtype;   /**< of the table, a float; default TC_F32 */
    tc_initializer initializer; /**< fan_in and fan_out are `depth`; default
                                   TC_INIT_GLOROT_NORMAL: variance 1 / depth */
} tc_embedding_layer_options;

/**
 * Rows of the variable "table" [count, depth] at `ids` (i32 or i64, any shape): [ids..., depth].
 * Its gradient is dense. A run with an id outside -count..count-1 fails with INVALID_ARGUMENT.
 */
TC_API tc_value tc_embedding_layer_at(tc_location at, tc_value ids, int64_t count, int64_t depth,
                                      const tc_embedding_layer_options *options);

typedef struct tc_multi_head_attention_options {
    size_t struct_size;
    const char *name;  /**< scope of the layer; default "attention", then "attention_1", ... */
    tc_value memory;   /**< what keys and values are made of; default `x`: self-attention */
    tc_value mask;     /**< of tc_attention, broadcast to [..., heads, n, n_memory]; default none */
    bool causal;       /**< element i sees those up to i + n_memory - n alone */
    int64_t heads_kv;  /**< heads of keys and values, a divisor of `heads`; default `heads` */
    int64_t head_size; /**< default features / heads */
    double dropout;    /**< rate of dropout of the result in training, 0 to below 1; default 0 */
    bool no_bias;
    tc_initializer initializer; /**< of the weights; the biases begin with zeros */
} tc_multi_head_attention_options;

/**
 * Multi-head attention (Vaswani et al. 2017, "Attention Is All You Need", section 3.2.2) of `x`
 * [..., n, features] to `memory` [..., n_memory, memory_features], whose last dimensions must be
 * known: [..., n, features]. Dense layers "query", "key" and "value" give each of the `heads` its
 * operands of tc_attention, the dense layer "output" joins the results. Their variables are
 * "query/weights" [features, heads * head_size], "query/bias" and so on, of the dtype of `x`.
 */
TC_API tc_value tc_multi_head_attention_at(tc_location at, tc_value x, int64_t heads,
                                           const tc_multi_head_attention_options *options);

#ifndef __cplusplus
#define tc_activate(x, activation) tc_activate_at(TC_HERE, x, activation)
#define tc_initialize(graph, initializer, dtype, shape, fan_in, fan_out) \
    tc_initialize_at(TC_HERE, graph, initializer, dtype, shape, fan_in, fan_out)
/* tc_dense(x, units, .option = ...) */
#define tc_dense(...) TC_BUILD2(tc_dense, __VA_ARGS__)
/* tc_conv2d_layer(x, filters, kernel_size, .option = ...) */
#define tc_conv2d_layer(...) TC_BUILD3(tc_conv2d_layer, __VA_ARGS__)
/* tc_batch_norm_layer(x, .option = ...) */
#define tc_batch_norm_layer(...) TC_BUILD1(tc_batch_norm_layer, __VA_ARGS__)
/* tc_layer_norm_layer(x, .option = ...) */
#define tc_layer_norm_layer(...) TC_BUILD1(tc_layer_norm_layer, __VA_ARGS__)
/* tc_embedding_layer(ids, count, depth, .option = ...) */
#define tc_embedding_layer(...) TC_BUILD3(tc_embedding_layer, __VA_ARGS__)
/* tc_multi_head_attention(x, heads, .option = ...) */
#define tc_multi_head_attention(...) TC_BUILD2(tc_multi_head_attention, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
