/* The networks and their training graph. */
#ifndef FASHION_MNIST_TRAIN_NETWORK_H
#define FASHION_MNIST_TRAIN_NETWORK_H

#include <tensorc/tensorc.h>

typedef struct network {
    tc_value images;        /* placeholder, u8 [batch, 28, 28] */
    tc_value labels;        /* placeholder, i32 [batch] */
    tc_value probabilities; /* f32 [batch, 10] */
    tc_value predicted;     /* i64 [batch] */
    tc_value loss;          /* mean of the batch */
    tc_value correct;       /* examples of the batch, i64 */
    tc_value train;         /* target: one step */
} network;

/** Builds network `name` ("cnn", "lenet", "mlp") with its loss and a training step of
 * `total_steps`. Errors stick to `g`. */
network network_build(tc_graph *g, const char *name, double learning_rate, int64_t total_steps);

#endif
