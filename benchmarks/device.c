/*
 * What fills a GPU: the operators of section A of the published workloads at 64 times the size, and
 * the networks at batches to match. Inputs are variables, so that they lie on the device and a run
 * copies nothing but a loss.
 */
#include <stdlib.h>

#include "networks.h"

static tc_status start(void **state)
{
    *state = bound_create();
    return *state ? TC_OK : tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
}

/* A variable of `dtype` with numbers in [-1, 1). */
static tc_value numbers(tc_graph *g, const char *name, tc_dtype dtype, tc_shape shape)
{
    tc_value x = tc_random_uniform(g, TC_F32, shape, .low = -1, .high = TC_SOME(1));
    return tc_variable(g, name, dtype == TC_F32 ? x : tc_cast(x, dtype), .not_trainable = true);
}

/* A variable of i64 ids below `count`. */
static tc_value ids(tc_graph *g, const char *name, int64_t count, tc_shape shape)
{
    return tc_variable(g, name, tc_random_int(g, TC_I64, shape, 0, count), .not_trainable = true);
}

/* Computes `y` in each run and fetches nothing. */
static tc_status bind(bound *b, const tc_session_options *options, tc_value y)
{
    return bound_compile(b, options, NULL, 0, TC_NO_VALUE, y);
}

/*
 * Products
 */
typedef struct product {
    tc_dtype dtype;
    bool tf32;
    int64_t size;
} product;

static tc_status create_product(const workload *w, const tc_session_options *options, void **state)
{
    const product *p = w->detail;
    TC_TRY(start(state));
    bound *b = *state;
    tc_session_options with = *options;
    with.allow_tf32 = p->tf32;
    tc_value x = numbers(b->graph, "x", p->dtype, TC_SHAPE(p->size, p->size));
    tc_value y = numbers(b->graph, "y", p->dtype, TC_SHAPE(p->size, p->size));
    return bind(b, &with, tc_matmul(x, y));
}

/*
 * Attention: 16,384 tokens of 16 heads
 */
#define TOKENS 16384
#define HEADS  16

typedef struct attention {
    int64_t depth, sequence;
    bool backward;
} attention;

static tc_status create_attention(const workload *w, const tc_session_options *options,
                                  void **state)
{
    const attention *a = w->detail;
    TC_TRY(start(state));
    bound *b = *state;
    tc_shape shape = TC_SHAPE(TOKENS / a->sequence, HEADS, a->sequence, a->depth);
    tc_value q = numbers(b->graph, "q", TC_BF16, shape), k = numbers(b->graph, "k", TC_BF16, shape);
    tc_value v = numbers(b->graph, "v", TC_BF16, shape), y = tc_attention(q, k, v, .causal = true);
    if (!a->backward)
        return bind(b, options, y);
    tc_value dy = numbers(b->graph, "dy", TC_BF16, shape), gradients[3];
    TC_TRY(tc_gradients(TC_VALUES(y), TC_VALUES(q, k, v), gradients, .output_gradients = &dy));
    return bind(b, options, tc_output(gradients[0], 0));
}

/*
 * Memory: 2^28 f32
 */
#define ROWS    262144
#define COLUMNS 1024

static tc_value add_one(tc_graph *g, tc_value x)
{
    return tc_add(x, tc_constant_scalar(g, TC_F32, 1));
}

static tc_value chain(tc_graph *g, tc_value x)
{
    tc_value a = numbers(g, "a", TC_F32, TC_SHAPE(ROWS, COLUMNS));
    tc_value b = numbers(g, "b", TC_F32, TC_SHAPE(ROWS, COLUMNS));
    return tc_relu(tc_add(tc_mul(x, a), b));
}

static tc_value gelu(tc_graph *g, tc_value x)
{
    (void)g;
    return tc_gelu(x);
}

static tc_value sum(tc_graph *g, tc_value x)
{
    (void)g;
    return tc_reduce_sum(x);
}

static tc_value softmax(tc_graph *g, tc_value x)
{
    (void)g;
    return tc_softmax(x);
}

static tc_value layer_norm(tc_graph *g, tc_value x)
{
    (void)g;
    return tc_layer_norm_layer(x);
}

static tc_value transpose(tc_graph *g, tc_value x)
{
    (void)g;
    return tc_transpose(x);
}

typedef struct stream {
    tc_value (*build)(tc_graph *g, tc_value x);
} stream;

static tc_status create_stream(const workload *w, const tc_session_options *options, void **state)
{
    const stream *s = w->detail;
    TC_TRY(start(state));
    bound *b = *state;
    tc_value x = numbers(b->graph, "x", TC_F32, TC_SHAPE(ROWS, COLUMNS));
    return bind(b, options, s->build(b->graph, x));
}

/*
 * Networks
 */
typedef struct sized {
    const network *network;
    tc_dtype precision; /* as in tc_session_options */
} sized;

static tc_status create_network(const workload *w, const tc_session_options *options, void **state)
{
    const sized *size = w->detail;
    const network *n = size->network;
    TC_TRY(start(state));
    bound *b = *state;
    tc_session_options with = *options;
    with.precision = size->precision;
    tc_value inputs[BOUND_INPUTS];
    inputs[0] = n->dtype == TC_F32 ? numbers(b->graph, "x", TC_F32, n->shape)
                                   : ids(b->graph, "x", n->ids, n->shape);
    if (n->labels.rank > 0)
        inputs[1] = ids(b->graph, "y", n->ids, n->labels);
    tc_value result = n->build(b->graph, inputs);
    if (!n->minimize)
        return bind(b, &with, result);
    return bound_compile(b, &with, NULL, 0, result, n->minimize(b->graph, result));
}

static const product products[] = {
    {TC_BF16, false, 8192}, {TC_F32, true, 8192}, {TC_F32, false, 8192}};
static const attention attentions[] = {{64, 1024, false},  {64, 4096, false},  {64, 16384, false},
                                       {128, 1024, false}, {128, 4096, false}, {128, 16384, false},
                                       {64, 1024, true},   {64, 4096, true},   {64, 16384, true},
                                       {128, 1024, true},  {128, 4096, true},  {128, 16384, true}};
static const stream streams[] = {{add_one}, {chain},      {gelu},     {sum},
                                 {softmax}, {layer_norm}, {transpose}};

static const sized networks[] = {
    {&network_small_mlp_training, TC_DTYPE_INVALID},
    {&network_lenet_large, TC_DTYPE_INVALID},
    {&network_lenet_large, TC_BF16},
    {&network_resnet50_large, TC_DTYPE_INVALID},
    {&network_resnet50_large, TC_BF16},
    {&network_resnet50_training, TC_DTYPE_INVALID},
    {&network_resnet50_training, TC_BF16},
    {&network_gpt2_training, TC_BF16},
};

#define ROW(name, create, detail)                                      \
    {                                                                  \
        "device", name, create, bound_run, bound_destroy, 1, 0, detail \
    }

static const workload rows[] = {
    ROW("bf16 product 8192", create_product, &products[0]),
    ROW("tf32 product 8192", create_product, &products[1]),
    ROW("f32 product 8192", create_product, &products[2]),
    ROW("attention d 64 sequence 1024", create_attention, &attentions[0]),
    ROW("attention d 64 sequence 4096", create_attention, &attentions[1]),
    ROW("attention d 64 sequence 16384", create_attention, &attentions[2]),
    ROW("attention d 128 sequence 1024", create_attention, &attentions[3]),
    ROW("attention d 128 sequence 4096", create_attention, &attentions[4]),
    ROW("attention d 128 sequence 16384", create_attention, &attentions[5]),
    ROW("attention and gradient d 64 sequence 1024", create_attention, &attentions[6]),
    ROW("attention and gradient d 64 sequence 4096", create_attention, &attentions[7]),
    ROW("attention and gradient d 64 sequence 16384", create_attention, &attentions[8]),
    ROW("attention and gradient d 128 sequence 1024", create_attention, &attentions[9]),
    ROW("attention and gradient d 128 sequence 4096", create_attention, &attentions[10]),
    ROW("attention and gradient d 128 sequence 16384", create_attention, &attentions[11]),
    ROW("256Mi x + 1", create_stream, &streams[0]),
    ROW("256Mi relu(x * a + b)", create_stream, &streams[1]),
    ROW("256Mi gelu(x)", create_stream, &streams[2]),
    ROW("256Mi sum", create_stream, &streams[3]),
    ROW("softmax 262144 x 1024", create_stream, &streams[4]),
    ROW("layer norm 262144 x 1024", create_stream, &streams[5]),
    ROW("transpose 262144 x 1024", create_stream, &streams[6]),
    ROW("MLP 4-8-8-2 SGD step", create_network, &networks[0]),
    ROW("LeNet batch 4096 Adam", create_network, &networks[1]),
    ROW("LeNet batch 4096 Adam, bf16", create_network, &networks[2]),
    ROW("ResNet-50 batch 256", create_network, &networks[3]),
    ROW("ResNet-50 batch 256, bf16", create_network, &networks[4]),
    ROW("ResNet-50 batch 256 training", create_network, &networks[5]),
    ROW("ResNet-50 batch 256 training, bf16", create_network, &networks[6]),
    ROW("GPT-2 124M 64 x 1024 tokens AdamW, bf16", create_network, &networks[7]),
};

const workload_table device_workloads = {rows, sizeof rows / sizeof rows[0]};
