/* The saved model and how to call it. */
#ifndef FASHION_MNIST_SERVE_MODEL_H
#define FASHION_MNIST_SERVE_MODEL_H

#include <tensorc/tensorc.h>

typedef struct model {
    tc_saved_model *saved;
    tc_session *session;
    tc_callable *classify; /* u8 [batch, 28, 28] -> i64 [batch] */
} model;

/** Loads `path` and compiles its signature "classify" for `device` (NULL: the CPU). Release with
 * model_close, also after a
 * failure. */
tc_status model_open(const char *path, tc_runtime *runtime, const char *device, model *m);
void model_close(model *m);
/** Lists the signatures with their inputs and outputs. */
void model_print(const model *m);

#endif
