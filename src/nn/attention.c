/* The layer of multi-head attention. */
#include <tensorc/extend.h>
#include <tensorc/layers.h>
#include <tensorc/ops.h>

#include "options.h"

typedef struct attention_layer {
    tc_location at;
    int64_t head_size;
    const tc_multi_head_attention_options *options;
} attention_layer;

static tc_value project(const attention_layer *layer, tc_value x, int64_t units, const char *name)
{
    tc_dense_options dense = {.struct_size = sizeof dense,
                              .name = name,
                              .no_bias = layer->options->no_bias,
                              .initializer = layer->options->initializer};
    return tc_dense_at(layer->at, x, units, &dense);
}

/* [..., n, heads * size] to [..., heads, n, size]. The leading dimensions may all be unknown. */
static tc_value by_heads(const attention_layer *layer, tc_value x, int64_t heads)
{
    int32_t rank = tc_value_shape(x).rank + 1;
    if (!tc_value_ok(x) || rank > TC_MAX_RANK)
        return x;
    tc_location at = TC_WITHIN(layer->at);
    int64_t sizes[TC_MAX_RANK], from[TC_MAX_RANK], order[TC_MAX_RANK];
    for (int32_t i = 0; i < rank; i++) {
        sizes[i] = -1;
        from[i] = order[i] = i;
    }
    sizes[rank - 2] = heads;
    sizes[rank - 1] = layer->head_size;
    from[rank - 2] = from[rank - 1] = -1;
    order[rank - 3] = rank - 2;
    order[rank - 2] = rank - 3;
    tc_value split = tc_node_build(
        x.graph, &(const tc_node_spec){.op = "reshape",
                                       .at = at,
                                       TC_SPEC_INPUTS(x),
                                       TC_SPEC_ATTRS({"sizes", tc_attr_ints(sizes, (size_t)rank)},
                                                     {"from", tc_attr_ints(from, (size_t)rank)})});
    tc_transpose_options transpose = {.struct_size = sizeof transpose,
                                      .permutation = {order, (size_t)rank}};
    return tc_transpose_at(at, split, &transpose);
}

/* The way back. */
static tc_value joined(const attention_layer *layer, tc_value y)
{
    int32_t rank = tc_value_shape(y).rank;
    if (!tc_value_ok(y))
        return y;
    tc_location at = TC_WITHIN(layer->at);
    int64_t order[TC_MAX_RANK];
    for (int32_t i = 0; i < rank; i++)
        order[i] = i;
    order[rank - 3] = rank - 2;
    order[rank - 2] = rank - 3;
    tc_transpose_options transpose = {.struct_size = sizeof transpose,
                                      .permutation = {order, (size_t)rank}};
    return tc_flatten_at(at, tc_transpose_at(at, y, &transpose), rank - 2);
}

static tc_value refuse(tc_value x, tc_location at, const char *why)
{
    return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "attention layer: %s", why);
}

/* The number of features of `x`; -1 with the layer's error when it does not suit. */
static int64_t features_of(tc_location at, tc_value x, const char *what)
{
    if (!tc_value_ok(x)) {
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "attention layer: %s is an invalid value",
                      what);
        return -1;
    }
    tc_shape shape = tc_value_shape(x);
    int64_t features = shape.rank >= 2 ? shape.dims[shape.rank - 1].size : -1;
    char text[256];
    tc_shape_format(&shape, text, sizeof text);
    if (features < 0)
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                      "attention layer: %s is %s, but must be [..., n, features] with features "
                      "known; reshape it",
                      what, text);
    else if (shape.rank + 1 > TC_MAX_RANK)
        tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                      "attention layer: %s has rank %d, but may have %d at most; flatten it", what,
                      (int)shape.rank, TC_MAX_RANK - 1);
    return shape.rank + 1 > TC_MAX_RANK ? -1 : features;
}

tc_value tc_multi_head_attention_at(tc_location at, tc_value x, int64_t heads,
                                    const tc_multi_head_attention_options *options)
{
    TC_OPTIONS(tc_multi_head_attention_options, o, options);
    const tc_value invalid = {x.graph, -1, 0};
    tc_value memory = o.memory.graph ? o.memory : x;
    int64_t features = features_of(at, x, "x");
    if (features < 0 || features_of(at, memory, "memory") < 0)
        return invalid;
    int64_t heads_kv = o.heads_kv ? o.heads_kv : heads;
    if (heads <= 0 || heads_kv <= 0 || heads % heads_kv != 0)
        return refuse(x, at, "heads must be positive and a multiple of heads_kv");
    int64_t size = o.head_size ? o.head_size : features / heads, all;
    if (size <= 0 || (!o.head_size && features % heads != 0) ||
        __builtin_mul_overflow(size, heads, &all))
        return refuse(
            x, at,
            "heads must divide the features of x where no head_size is given, and head_size "
            "must be positive");
    attention_layer layer = {at, size, &o};
    tc_attention_options attention = {
        .struct_size = sizeof attention, .mask = o.mask, .causal = o.causal};

    tc_scope_open(x.graph, o.name, "attention");
    tc_value q = by_heads(&layer, project(&layer, x, all, "query"), heads);
    tc_value k = by_heads(&layer, project(&layer, memory, heads_kv * size, "key"), heads_kv);
    tc_value v = by_heads(&layer, project(&layer, memory, heads_kv * size, "value"), heads_kv);
    tc_value y = joined(&layer, tc_attention_at(TC_WITHIN(at), q, k, v, &attention));
    y = project(&layer, y, features, "output");
    if (o.dropout != 0)
        y = tc_dropout_at(TC_WITHIN(at), y, o.dropout, NULL);
    tc_scope_pop(x.graph);
    return y;
}
