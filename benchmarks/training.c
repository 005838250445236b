/* Training steps of usual networks. */
#include "bound.h"

typedef struct training {
    int64_t batch;
    bool image; /* input [batch, 1, 28, 28], else [batch, 784] */
    tc_value (*network)(tc_value x);
    tc_value (*minimize)(tc_graph *g, tc_value loss);
} training;

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

static tc_value sgd(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_sgd(g, .learning_rate = 0.01f), loss);
}

static tc_value adam(tc_graph *g, tc_value loss)
{
    return tc_minimize(tc_adam(g, .learning_rate = 0.001f), loss);
}

static tc_status create(const workload *w, tc_runtime *runtime, void **state)
{
    const training *t = w->detail;
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_shape shape = t->image ? TC_SHAPE(t->batch, 1, 28, 28) : TC_SHAPE(t->batch, 784);
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, shape);
    tc_value y = tc_placeholder(b->graph, "y", TC_I64, TC_SHAPE(t->batch));
    tc_value loss = tc_softmax_cross_entropy(t->network(x), y);
    tc_value train = t->minimize(b->graph, loss);
    TC_TRY(random_floats(shape, &b->inputs[0]));
    TC_TRY(random_classes(t->batch, 10, &b->inputs[1]));
    return bound_compile(b, runtime, TC_FETCHES(x, y), loss, train);
}

static const training mlp_sgd = {.batch = 128, .network = mlp, .minimize = sgd};
static const training lenet_adam = {.batch = 64, .image = true, .network = lenet, .minimize = adam};

static const workload rows[] = {
    {"training", "MLP 784-512-256-10 batch 128 SGD", create, bound_run, bound_destroy, 1, 0,
     &mlp_sgd},
    {"training", "LeNet batch 64 Adam", create, bound_run, bound_destroy, 1, 0, &lenet_adam},
};

const workload_table training_workloads = {rows, sizeof rows / sizeof rows[0]};
