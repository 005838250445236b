/* Command line of the server example. */
#ifndef FASHION_MNIST_SERVE_OPTIONS_H
#define FASHION_MNIST_SERVE_OPTIONS_H

#include <stdint.h>

typedef struct serve_options {
    const char *model;
    const char *device; /* where to run; NULL: the CPU */
    const char *data;   /* folder of the data set; NULL: the Debian package's */
    int64_t clients;    /* threads that ask for single images; 0: none */
    int64_t requests;   /* of all clients together */
    int64_t show;       /* images drawn */
    int64_t batch;
    int64_t threads; /* of the runtime; 0: one per core */
} serve_options;

/** Reads the command line into `options`. Returns -1 to go on, else the status to exit with;
 * explains on the terminal. */
int serve_options_parse(int argc, char **argv, serve_options *options);

#endif
