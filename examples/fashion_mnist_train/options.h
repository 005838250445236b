/* Command line of the trainer. */
#ifndef FASHION_MNIST_TRAIN_OPTIONS_H
#define FASHION_MNIST_TRAIN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct train_options {
    int64_t epochs;
    int64_t batch;
    int64_t seed;
    int64_t threads;          /* 0: one per core */
    int64_t checkpoint_every; /* steps; 0: at the end of each epoch */
    int64_t limit;            /* training images used; 0: all */
    double learning_rate;
    const char *device;      /* where to run; NULL: the CPU */
    const char *network;     /* "cnn", "lenet" or "mlp" */
    const char *model;       /* saved-model file to write */
    const char *data;        /* folder of the data set; NULL: the Debian package's */
    const char *checkpoints; /* folder; NULL: no checkpoints */
    bool resume;
} train_options;

/** Reads the command line into `options`. Returns -1 to go on, else the status to exit with;
 * explains on the terminal. */
int train_options_parse(int argc, char **argv, train_options *options);

#endif
