#include "networks.h"

/*
 * Images
 */
static tc_value mlp(tc_value x)
{
    x = tc_dense(x, 512, .activation = TC_ACT_RELU, .name = "hidden1");
    x = tc_dense(x, 256, .activation = TC_ACT_RELU, .name = "hidden2");
    return tc_dense(x, 10, .name = "logits");
}

static tc_value lenet(tc_value x)
{
    x = tc_conv2d_layer(x, 32, 5, .padding = TC_PADDING(2), .activation = TC_ACT_RELU,
                        .name = "conv1");
    x = tc_max_pool2d(x, .kernel = {2});
    x = tc_conv2d_layer(x, 64, 5, .padding = TC_PADDING(2), .activation = TC_ACT_RELU,
                        .name = "conv2");
    x = tc_max_pool2d(x, .kernel = {2});
    x = tc_dense(tc_flatten(x, 1), 512, .activation = TC_ACT_RELU, .name = "hidden");
    return tc_dense(x, 10, .name = "logits");
}

static tc_value convolve(tc_value x, int64_t filters, int64_t size, int64_t stride,
                         tc_activation activation)
{
    x = tc_conv2d_layer(x, filters, size, .stride = {stride, stride},
                        .padding = TC_PADDING(size / 2), .no_bias = true);
    return tc_batch_norm_layer(x, .activation = activation);
}

/* He et al. 2015, "Deep Residual Learning for Image Recognition", the stride in the 3x3 part. */
static tc_value bottleneck(tc_value x, int64_t width, int64_t stride, bool project)
{
    tc_value shortcut = project ? convolve(x, width * 4, 1, stride, TC_ACT_NONE) : x;
    tc_value y = convolve(x, width, 1, 1, TC_ACT_RELU);
    y = convolve(y, width, 3, stride, TC_ACT_RELU);
    y = convolve(y, width * 4, 1, 1, TC_ACT_NONE);
    return tc_relu(tc_add(y, shortcut));
}

static tc_value resnet50(tc_graph *graph, const tc_value *inputs)
{
    (void)graph;
    static const int depths[] = {3, 4, 6, 3};
    tc_value x = convolve(inputs[0], 64, 7, 2, TC_ACT_RELU);
    x = tc_max_pool2d(x, .kernel = {3}, .stride = {2}, .padding = TC_PADDING(1));
    for (int stage = 0; stage < 4; stage++)
        for (int block = 0; block < depths[stage]; block++)
            x = bottleneck(x, (int64_t)64 << stage, block == 0 && stage > 0 ? 2 : 1, block == 0);
    x = tc_reduce_mean(x, .axes = TC_INTS(2, 3));
    return tc_dense(x, 1000, .name = "logits");
}

/*
 * Text
 */
static tc_value transformer_block(tc_value x, int64_t width, int64_t heads)
{
    tc_value h = tc_layer_norm_layer(x);
    x = tc_add(x, tc_multi_head_attention(h, heads, .causal = true));
    h = tc_dense(tc_layer_norm_layer(x), 4 * width, .activation = TC_ACT_GELU);
    return tc_add(x, tc_dense(h, width));
}

typedef struct gpt {
    int64_t layers, width, heads, vocabulary;
} gpt;

static tc_value gpt_loss(tc_graph *graph, const tc_value *inputs, const gpt *size)
{
    tc_shape shape = TC_SHAPE(tc_value_shape(inputs[0]).dims[1].size, size->width);
    tc_value initial = tc_random_normal(graph, TC_F32, shape, .stddev = TC_SOME(0.02));
    tc_value positions = tc_variable(graph, "positions", initial);
    tc_value x = tc_add(tc_embedding_layer(inputs[0], size->vocabulary, size->width), positions);
    for (int64_t i = 0; i < size->layers; i++)
        x = transformer_block(x, size->width, size->heads);
    tc_value logits = tc_dense(tc_layer_norm_layer(x), size->vocabulary, .name = "logits");
    return tc_softmax_cross_entropy(logits, inputs[1]);
}

static tc_value tiny_gpt_loss(tc_graph *graph, const tc_value *inputs)
{
    static const gpt size = {.layers = 6, .width = 384, .heads = 6, .vocabulary = 65};
    return gpt_loss(graph, inputs, &size);
}

/* Radford et al. 2019, with the vocabulary of 50,257 rounded up to a multiple of 128. */
static tc_value gpt2_loss(tc_graph *graph, const tc_value *inputs)
{
    static const gpt size = {.layers = 12, .width = 768, .heads = 12, .vocabulary = 50304};
    return gpt_loss(graph, inputs, &size);
}

static tc_value gpt2_stack(tc_graph *graph, const tc_value *inputs)
{
    (void)graph;
    tc_value x = inputs[0];
    for (int i = 0; i < 12; i++)
        x = transformer_block(x, 768, 12);
    return x;
}

/*
 * Training
 */
static tc_value mlp_loss(tc_graph *graph, const tc_value *inputs)
{
    (void)graph;
    return tc_softmax_cross_entropy(mlp(inputs[0]), inputs[1]);
}

static tc_value lenet_loss(tc_graph *graph, const tc_value *inputs)
{
    (void)graph;
    return tc_softmax_cross_entropy(lenet(inputs[0]), inputs[1]);
}

static tc_value small_mlp_loss(tc_graph *graph, const tc_value *inputs)
{
    (void)graph;
    tc_value x = tc_dense(inputs[0], 8, .activation = TC_ACT_RELU);
    x = tc_dense(x, 8, .activation = TC_ACT_RELU);
    return tc_softmax_cross_entropy(tc_dense(x, 2), inputs[1]);
}

static tc_value resnet50_loss(tc_graph *graph, const tc_value *inputs)
{
    return tc_softmax_cross_entropy(resnet50(graph, inputs), inputs[1]);
}

static tc_value sgd(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_sgd(g, .learning_rate = 0.01f), loss);
}

static tc_value momentum(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_sgd(g, .learning_rate = 0.1f, .momentum = 0.9f), loss);
}

static tc_value adam(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_adam(g, .learning_rate = 0.001f), loss);
}

static tc_value adamw(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_adamw(g, .learning_rate = 0.0003f), loss);
}

#define SHAPE(n, ...)                      \
    {                                      \
        .rank = n, .dims = { __VA_ARGS__ } \
    }

const network network_mlp_training = {.name = "MLP 784-512-256-10 batch 128 SGD",
                                      .build = mlp_loss,
                                      .minimize = sgd,
                                      .dtype = TC_F32,
                                      .shape = SHAPE(2, {128}, {784}),
                                      .labels = SHAPE(1, {128}),
                                      .ids = 10};
const network network_lenet_training = {.name = "LeNet batch 64 Adam",
                                        .build = lenet_loss,
                                        .minimize = adam,
                                        .dtype = TC_F32,
                                        .shape = SHAPE(4, {64}, {1}, {28}, {28}),
                                        .labels = SHAPE(1, {64}),
                                        .ids = 10};
const network network_gpt_training = {.name = "tiny GPT 6 x 384, 8 x 256 tokens AdamW",
                                      .build = tiny_gpt_loss,
                                      .minimize = adamw,
                                      .dtype = TC_I64,
                                      .shape = SHAPE(2, {8}, {256}),
                                      .labels = SHAPE(2, {8}, {256}),
                                      .ids = 65};
const network network_resnet50 = {.name = "ResNet-50 batch 1",
                                  .build = resnet50,
                                  .dtype = TC_F32,
                                  .shape = SHAPE(4, {1}, {3}, {224}, {224})};
const network network_resnet50_batch = {.name = "ResNet-50 batch 8",
                                        .build = resnet50,
                                        .dtype = TC_F32,
                                        .shape = SHAPE(4, {8}, {3}, {224}, {224})};
const network network_gpt2_stack = {.name = "GPT-2 blocks 12 x 768, sequence 128",
                                    .build = gpt2_stack,
                                    .dtype = TC_F32,
                                    .shape = SHAPE(3, {1}, {128}, {768})};
const network network_gpt2_stack_step = {.name = "GPT-2 blocks 12 x 768, sequence 1",
                                         .build = gpt2_stack,
                                         .dtype = TC_F32,
                                         .shape = SHAPE(3, {1}, {1}, {768})};

const network network_small_mlp_training = {.name = "MLP 4-8-8-2 SGD step",
                                            .build = small_mlp_loss,
                                            .minimize = sgd,
                                            .dtype = TC_F32,
                                            .shape = SHAPE(2, {1}, {4}),
                                            .labels = SHAPE(1, {1}),
                                            .ids = 2};
const network network_lenet_large = {.name = "LeNet batch 4096 Adam",
                                     .build = lenet_loss,
                                     .minimize = adam,
                                     .dtype = TC_F32,
                                     .shape = SHAPE(4, {4096}, {1}, {28}, {28}),
                                     .labels = SHAPE(1, {4096}),
                                     .ids = 10};
const network network_resnet50_large = {.name = "ResNet-50 batch 256",
                                        .build = resnet50,
                                        .dtype = TC_F32,
                                        .shape = SHAPE(4, {256}, {3}, {224}, {224})};
const network network_resnet50_training = {.name = "ResNet-50 batch 256 training",
                                           .build = resnet50_loss,
                                           .minimize = momentum,
                                           .dtype = TC_F32,
                                           .shape = SHAPE(4, {256}, {3}, {224}, {224}),
                                           .labels = SHAPE(1, {256}),
                                           .ids = 1000};
const network network_gpt2_training = {.name = "GPT-2 124M 64 x 1024 tokens AdamW",
                                       .build = gpt2_loss,
                                       .minimize = adamw,
                                       .dtype = TC_I64,
                                       .shape = SHAPE(2, {64}, {1024}),
                                       .labels = SHAPE(2, {64}, {1024}),
                                       .ids = 50257};

tc_status network_build(const network *n, bound *b, network_values *values)
{
    *values = (network_values){.n_inputs = 1, .train = TC_NO_VALUE};
    values->inputs[0] = tc_placeholder(b->graph, "x", n->dtype, n->shape);
    TC_TRY(n->dtype == TC_F32 ? random_floats(n->shape, &b->inputs[0])
                              : random_ids(n->shape, n->ids, &b->inputs[0]));
    if (n->labels.rank > 0) {
        values->inputs[values->n_inputs++] = tc_placeholder(b->graph, "y", TC_I64, n->labels);
        TC_TRY(random_ids(n->labels, n->ids, &b->inputs[1]));
    }
    values->result = n->build(b->graph, values->inputs);
    if (n->minimize)
        values->train = n->minimize(b->graph, values->result);
    return tc_graph_status(b->graph);
}

tc_status network_compile(const network *n, bound *b, const tc_session_options *options)
{
    network_values values;
    TC_TRY(network_build(n, b, &values));
    return bound_compile(b, options, values.inputs, values.n_inputs, values.result, values.train);
}

/*
 * Their workloads
 */
static tc_status create(const workload *w, const tc_session_options *options, void **state)
{
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    return network_compile(w->detail, b, options);
}

static const workload rows[] = {
    {"training", "MLP 784-512-256-10 batch 128 SGD", create, bound_run, bound_destroy, 1, 0,
     &network_mlp_training},
    {"training", "LeNet batch 64 Adam", create, bound_run, bound_destroy, 1, 0,
     &network_lenet_training},
    {"training", "tiny GPT 6 x 384, 8 x 256 tokens AdamW", create, bound_run, bound_destroy, 1, 0,
     &network_gpt_training},
    {"inference", "ResNet-50 batch 1", create, bound_run, bound_destroy, 1, 0, &network_resnet50},
    {"inference", "ResNet-50 batch 8", create, bound_run, bound_destroy, 1, 0,
     &network_resnet50_batch},
    {"inference", "GPT-2 blocks 12 x 768, sequence 128", create, bound_run, bound_destroy, 1, 0,
     &network_gpt2_stack},
    {"inference", "GPT-2 blocks 12 x 768, sequence 1", create, bound_run, bound_destroy, 1, 0,
     &network_gpt2_stack_step},
};

const workload_table network_workloads = {rows, sizeof rows / sizeof rows[0]};
