/*
 * Random graphs over most operators, for tests that run one graph in several ways: a symbolic
 * batch, variables with updates, functions, gradients. Values stay small and no operator meets
 * numbers it is not made for, so that nothing becomes NaN; what is not continuous (comparisons,
 * argmax, floor) sees only elements that every way of running gives exactly.
 */
#ifndef TC_TEST_SUPPORT_RANDOM_GRAPH_H
#define TC_TEST_SUPPORT_RANDOM_GRAPH_H

#include <tensorc/tensorc.h>

enum {
    RANDOM_FEEDS = 4,
    RANDOM_VALUES = 200,
    RANDOM_VARIABLES = 24,
    RANDOM_UPDATES = 24,
    RANDOM_MAX_BATCH = 5
};

typedef struct random_value {
    tc_value value;
    tc_shape shape;
    tc_dtype dtype;
    double bound; /* of magnitudes, roughly */
    bool exact;   /* the same bits however the graph is run */
} random_value;

typedef struct random_graph {
    uint64_t state;
    tc_graph *graph;
    tc_value feeds[RANDOM_FEEDS];
    random_value values[RANDOM_VALUES];
    tc_value variables[RANDOM_VARIABLES];
    tc_value updates[RANDOM_UPDATES];
    int n_values, n_variables, n_updates;
    int n_plain;     /* variables that anything may be written to, the first ones */
    bool has_layers; /* convolutions and normalizations of images were made */
} random_graph;

/** The graph of `seed`, which the caller releases; its status is TC_OK unless an operator is
 * broken. */
void random_graph_build(random_graph *g, uint64_t seed);
/** A number in 0..count-1. */
uint32_t random_pick(random_graph *g, int count);
/** A new tensor for feed `index` with a batch of `batch`, equal for equal `seed`. */
tc_status random_graph_feed(int index, int64_t batch, uint64_t seed, tc_tensor **out);

#endif
