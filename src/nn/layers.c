#include <tensorc/extend.h>
#include <tensorc/layers.h>
#include <tensorc/ops.h>

#include "options.h"

tc_value tc_activate_at(tc_location at, tc_value x, tc_activation activation)
{
    switch (activation) {
    case TC_ACT_NONE: return x;
    case TC_ACT_RELU: return tc_relu_at(TC_WITHIN(at), x);
    case TC_ACT_GELU: return tc_gelu_at(TC_WITHIN(at), x, NULL);
    case TC_ACT_SIGMOID: return tc_sigmoid_at(TC_WITHIN(at), x);
    case TC_ACT_TANH: return tc_tanh_at(TC_WITHIN(at), x);
    }
    return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "activation %d is none of tc_activation",
                         (int)activation);
}

static tc_value invalid(tc_value x)
{
    return (tc_value){x.graph, -1, 0};
}

/* A variable of the layer, of the dtype of `x`. */
static tc_value weights(tc_location at, tc_value x, const char *name, tc_initializer initializer,
                        tc_shape shape, int64_t fan_in, int64_t fan_out)
{
    tc_value initial =
        tc_initialize_at(at, x.graph, initializer, tc_value_dtype(x), shape, fan_in, fan_out);
    return tc_variable_at(TC_WITHIN(at), x.graph, name, initial, NULL);
}

/* Dimension `axis` of `x`, or -1 with the layer's error when x does not suit a layer. */
static int64_t known_dim(tc_location at, tc_value x, const char *layer, int32_t min_rank,
                         int32_t axis, const char *what)
{
    if (!tc_value_ok(x)) {
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "%s layer: x is an invalid value", layer);
        return -1;
    }
    tc_shape shape = tc_value_shape(x);
    char text[256];
    tc_shape_format(&shape, text, sizeof text);
    if (!(TC_DTYPES_FLOAT & TC_DTYPE_BIT(tc_value_dtype(x)))) {
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                      "%s layer: x is %s, but must be a float; convert it with tc_cast", layer,
                      tc_dtype_name(tc_value_dtype(x)));
        return -1;
    }
    if (shape.rank < min_rank) {
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                      "%s layer: x is %s, but must have rank %d or more", layer, text,
                      (int)min_rank);
        return -1;
    }
    int64_t size = shape.dims[axis < 0 ? shape.rank + axis : axis].size;
    if (size < 0)
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                      "%s layer: x is %s, but its %s must be known to make the weights; reshape it",
                      layer, text, what);
    return size;
}

static bool positive(tc_location at, tc_value x, const char *layer, const char *what,
                     int64_t number)
{
    if (number > 0)
        return true;
    tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "%s layer: %s is %lld, but must be positive",
                  layer, what, (long long)number);
    return false;
}

tc_value tc_dense_at(tc_location at, tc_value x, int64_t units, const tc_dense_options *options)
{
    TC_OPTIONS(tc_dense_options, o, options);
    int64_t inputs = known_dim(at, x, "dense", 1, -1, "last dimension");
    if (inputs < 0 || !positive(at, x, "dense", "units", units))
        return invalid(x);
    tc_shape x_shape = tc_value_shape(x);
    int64_t sizes[2] = {inputs, units};

    tc_scope_open(x.graph, o.name, "dense");
    tc_value w = weights(at, x, "weights", o.initializer, tc_shape_of(2, sizes), inputs, units);
    /* A vector is a batch of one for the product. */
    tc_value row = x_shape.rank > 1
                       ? x
                       : tc_unsqueeze_at(TC_WITHIN(at), x, (tc_ints){(const int64_t[]){0}, 1});
    tc_value y = tc_matmul_at(TC_WITHIN(at), row, w, NULL);
    if (!o.no_bias)
        y = tc_add_at(TC_WITHIN(at), y,
                      weights(at, x, "bias", TC_INIT_ZEROS, tc_shape_of(1, &units), 1, 1));
    if (x_shape.rank == 1) {
        tc_squeeze_options first = {.struct_size = sizeof first, .axes = {(const int64_t[]){0}, 1}};
        y = tc_squeeze_at(TC_WITHIN(at), y, &first);
    }
    y = tc_activate_at(at, y, o.activation);
    tc_scope_pop(x.graph);
    return y;
}

tc_value tc_conv2d_layer_at(tc_location at, tc_value x, int64_t filters, int64_t kernel_size,
                            const tc_conv2d_layer_options *options)
{
    TC_OPTIONS(tc_conv2d_layer_options, o, options);
    int64_t groups = o.groups ? o.groups : 1;
    int64_t channels = known_dim(at, x, "conv2d", 4, 1, "number of channels");
    if (channels < 0 || !positive(at, x, "conv2d", "filters", filters) ||
        !positive(at, x, "conv2d", "kernel_size", kernel_size) ||
        !positive(at, x, "conv2d", "groups", groups))
        return invalid(x);
    if (channels % groups != 0 || filters % groups != 0)
        return tc_graph_fail(
            x.graph, at, TC_INVALID_ARGUMENT,
            "conv2d layer: %lld groups do not divide %lld channels and %lld filters",
            (long long)groups, (long long)channels, (long long)filters);
    int64_t sizes[4] = {filters, channels / groups, kernel_size, kernel_size};
    int64_t window, fan_in, fan_out;
    if (__builtin_mul_overflow(kernel_size, kernel_size, &window) ||
        __builtin_mul_overflow(channels / groups, window, &fan_in) ||
        __builtin_mul_overflow(filters / groups, window, &fan_out))
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                             "conv2d layer: %lld filters of kernel_size %lld are too large",
                             (long long)filters, (long long)kernel_size);
    tc_conv2d_options conv = {.struct_size = sizeof conv,
                              .stride = {o.stride[0], o.stride[1]},
                              .dilation = {o.dilation[0], o.dilation[1]},
                              .padding = o.padding,
                              .groups = groups};

    tc_scope_open(x.graph, o.name, "conv2d");
    tc_value w = weights(at, x, "weights", o.initializer, tc_shape_of(4, sizes), fan_in, fan_out);
    tc_value y = tc_conv2d_at(TC_WITHIN(at), x, w, &conv);
    if (!o.no_bias)
        y = tc_bias_add_at(TC_WITHIN(at), y,
                           weights(at, x, "bias", TC_INIT_ZEROS, tc_shape_of(1, &filters), 1, 1),
                           NULL);
    y = tc_activate_at(at, y, o.activation);
    tc_scope_pop(x.graph);
    return y;
}

/*
 * A variable [channels] of a normalization that begins as `value`: f64 for f64, f32 for all others,
 * since running statistics in 16 bits would lose small steps.
 */
static tc_value per_channel(tc_location at, tc_value x, const char *name, int64_t channels,
                            double value, bool trainable)
{
    tc_variable_options options = {.struct_size = sizeof options, .not_trainable = !trainable};
    tc_dtype dtype = tc_value_dtype(x) == TC_F64 ? TC_F64 : TC_F32;
    tc_value initial = tc_fill_at(TC_WITHIN(at), x.graph, dtype, tc_shape_of(1, &channels), value);
    return tc_variable_at(TC_WITHIN(at), x.graph, name, initial, &options);
}

/* Has training steps write `value` to `variable`. */
static void update(tc_location at, tc_value variable, tc_value value)
{
    tc_annotate(tc_assign_at(TC_WITHIN(at), variable, value), "collection", "updates");
}

tc_value tc_batch_norm_layer_at(tc_location at, tc_value x,
                                const tc_batch_norm_layer_options *options)
{
    TC_OPTIONS(tc_batch_norm_layer_options, o, options);
    int64_t channels = known_dim(at, x, "batch_norm", 2, 1, "number of channels");
    if (channels < 0)
        return invalid(x);
    tc_batch_norm_options norm = {
        .struct_size = sizeof norm, .epsilon = o.epsilon, .momentum = o.momentum};

    tc_scope_open(x.graph, o.name, "batch_norm");
    tc_value scale = per_channel(at, x, "scale", channels, 1, true);
    tc_value offset = per_channel(at, x, "offset", channels, 0, true);
    tc_value mean = per_channel(at, x, "running_mean", channels, 0, false);
    tc_value variance = per_channel(at, x, "running_variance", channels, 1, false);
    tc_value y = tc_batch_norm_at(TC_WITHIN(at), x, scale, offset, mean, variance, &norm);
    update(at, mean, tc_output(y, 1));
    update(at, variance, tc_output(y, 2));
    y = tc_activate_at(at, y, o.activation);
    tc_scope_pop(x.graph);
    return y;
}

tc_value tc_layer_norm_layer_at(tc_location at, tc_value x,
                                const tc_layer_norm_layer_options *options)
{
    TC_OPTIONS(tc_layer_norm_layer_options, o, options);
    int64_t features = known_dim(at, x, "layer_norm", 1, -1, "last dimension");
    if (features < 0)
        return invalid(x);
    tc_layer_norm_options norm = {.struct_size = sizeof norm, .epsilon = o.epsilon};
    tc_shape shape = tc_shape_of(1, &features);

    tc_scope_open(x.graph, o.name, "layer_norm");
    tc_value scale = weights(at, x, "scale", TC_INIT_ONES, shape, 1, 1);
    tc_value offset = weights(at, x, "offset", TC_INIT_ZEROS, shape, 1, 1);
    tc_value y = tc_layer_norm_at(TC_WITHIN(at), x, scale, offset, &norm);
    tc_scope_pop(x.graph);
    return y;
}

tc_value tc_embedding_layer_at(tc_location at, tc_value ids, int64_t count, int64_t depth,
                               const tc_embedding_layer_options *options)
{
    TC_OPTIONS(tc_embedding_layer_options, o, options);
    if (!tc_value_ok(ids))
        return tc_graph_fail(ids.graph, at, TC_INVALID_ARGUMENT,
                             "embedding layer: ids is an invalid value");
    if (!positive(at, ids, "embedding", "count", count) ||
        !positive(at, ids, "embedding", "depth", depth))
        return invalid(ids);
    tc_dtype dtype = o.dtype ? o.dtype : TC_F32;
    tc_initializer initializer = o.initializer ? o.initializer : TC_INIT_GLOROT_NORMAL;

    tc_scope_open(ids.graph, o.name, "embedding");
    tc_value initial =
        tc_initialize_at(at, ids.graph, initializer, dtype,
                         tc_shape_of(2, (const int64_t[]){count, depth}), depth, depth);
    tc_value table = tc_variable_at(TC_WITHIN(at), ids.graph, "table", initial, NULL);
    tc_value y = tc_embedding_at(TC_WITHIN(at), table, ids, NULL);
    tc_scope_pop(ids.graph);
    return y;
}
