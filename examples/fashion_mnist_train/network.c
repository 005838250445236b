#include "network.h"

#include <string.h>

/* Two convolutions, pooled; dropout against overfitting. */
static tc_value cnn(tc_value x)
{
    x = tc_conv2d_layer(x, 32, 3, .padding = TC_PADDING_SAME, .activation = TC_ACT_RELU,
                        .initializer = TC_INIT_HE_NORMAL, .name = "conv1");
    x = tc_max_pool2d(x, .kernel = {2});
    x = tc_conv2d_layer(x, 64, 3, .padding = TC_PADDING_SAME, .activation = TC_ACT_RELU,
                        .initializer = TC_INIT_HE_NORMAL, .name = "conv2");
    x = tc_max_pool2d(x, .kernel = {2});
    x = tc_dropout(tc_flatten(x, 1), 0.25);
    x = tc_dense(x, 128, .activation = TC_ACT_RELU, .initializer = TC_INIT_HE_NORMAL,
                 .name = "hidden");
    return tc_dense(tc_dropout(x, 0.25), 10, .name = "logits");
}

/* After LeCun et al. 1998, with wider layers and rectifiers. */
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

static tc_value mlp(tc_value x)
{
    x = tc_dense(tc_flatten(x, 1), 512, .activation = TC_ACT_RELU, .name = "hidden1");
    x = tc_dense(x, 256, .activation = TC_ACT_RELU, .name = "hidden2");
    return tc_dense(x, 10, .name = "logits");
}

network network_build(tc_graph *g, const char *name, double learning_rate, int64_t total_steps)
{
    network n;
    n.images = tc_placeholder(g, "images", TC_U8, TC_SHAPE(TC_DIM("batch"), 28, 28));
    n.labels = tc_placeholder(g, "labels", TC_I32, TC_SHAPE(TC_DIM("batch")));

    /* Pixels in [-1, 1], one channel. */
    tc_value pixels = tc_mul(tc_cast(n.images, TC_F32), tc_constant_scalar(g, TC_F32, 2.0 / 255));
    pixels = tc_sub(pixels, tc_constant_scalar(g, TC_F32, 1));
    tc_value x = tc_unsqueeze(pixels, TC_INTS(1));
    tc_value logits = strcmp(name, "mlp") == 0     ? mlp(x)
                      : strcmp(name, "lenet") == 0 ? lenet(x)
                                                   : cnn(x);

    n.probabilities = tc_softmax(logits);
    n.predicted = tc_argmax(logits);
    n.loss = tc_softmax_cross_entropy(logits, n.labels);
    n.correct = tc_correct_count(logits, n.labels);

    tc_warmup_cosine schedule = {
        .peak = learning_rate, .warmup_steps = total_steps / 20, .total_steps = total_steps};
    n.train = tc_minimize(
        tc_adam(g, .schedule = tc_warmup_cosine_schedule, .schedule_context = &schedule), n.loss);
    return n;
}
