/* Many clients of one model. */
#ifndef FASHION_MNIST_SERVE_CLIENTS_H
#define FASHION_MNIST_SERVE_CLIENTS_H

#include "model.h"

/**
 * Serves `requests` single images of `images` (u8 [n, 28, 28]) to `clients` threads, which share
 * the model's session and store, and prints requests per second and percentiles of their latency.
 */
tc_status serve_clients(const model *m, tc_tensor *images, int64_t clients, int64_t requests);

#endif
