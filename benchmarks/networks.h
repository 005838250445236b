/* The networks that several sections measure. */
#ifndef TENSORC_BENCHMARKS_NETWORKS_H
#define TENSORC_BENCHMARKS_NETWORKS_H

#include "bound.h"

/** What a network takes and is asked for; sizes are of one input tensor. */
typedef struct network {
    const char *name;
    /** Builds it on the inputs and returns its result, or, of a training step, its loss. */
    tc_value (*build)(tc_graph *graph, const tc_value *inputs);
    tc_value (*minimize)(tc_graph *graph, tc_value loss); /* NULL: inference */
    tc_dtype dtype; /* of input 0: f32 in [-1, 1), or i64 ids below `ids` */
    tc_shape shape;
    tc_shape labels; /* of input 1, i64 ids below `ids`; rank 0: there is none */
    int64_t ids;
} network;

extern const network network_mlp_training;
extern const network network_lenet_training;
extern const network network_gpt_training;    /* 6 layers, d 384, 6 heads, 256 x 8 tokens, AdamW */
extern const network network_resnet50;        /* batch 1 */
extern const network network_resnet50_batch;  /* batch 8 */
extern const network network_gpt2_stack;      /* 12 layers, d 768, 12 heads, sequence 128 */
extern const network network_gpt2_stack_step; /* the same, sequence 1: reads 340 MB of weights */

/* At sizes that fill a GPU. */
extern const network network_small_mlp_training; /* batch 1: nothing but launches */
extern const network network_lenet_large;
extern const network network_resnet50_large;
extern const network network_resnet50_training;
extern const network
    network_gpt2_training; /* 12 layers, d 768, 12 heads, 64 x 1024 tokens, AdamW */

/** Builds `n` into the empty graph of `b` and makes its inputs. `values` receives them and the
 * result. */
typedef struct network_values {
    tc_value inputs[BOUND_INPUTS];
    size_t n_inputs;
    tc_value result;
    tc_value train; /* TC_NO_VALUE: inference */
} network_values;

tc_status network_build(const network *n, bound *b, network_values *values);
/** network_build and bound_compile with `options`. */
tc_status network_compile(const network *n, bound *b, const tc_session_options *options);

#endif
