/*
 * A second way to run a graph, for tests: node by node, every value in a buffer of its own between
 * guard bytes, kernels straight from the registry. It shares nothing with the compiler and the
 * runtime, which it is the judge of.
 */
#ifndef TC_TEST_SUPPORT_EVALUATE_H
#define TC_TEST_SUPPORT_EVALUATE_H

#include "base/cpu.h"
#include "base/threads.h"
#include "graph/graph.h"
#include "support/device.h"

/** A value with its memory. Zero-initialize; free with eval_buffer_free. */
typedef struct eval_buffer {
    tc_value_info info;
    size_t bytes;
    void *data;
    unsigned char *block; /* with the guards */
} eval_buffer;

/** Known shape; elements are filled with `garbage`. RESOURCE_EXHAUSTED, INVALID_ARGUMENT. */
tc_status eval_buffer_create(tc_dtype dtype, const tc_shape *shape, unsigned char garbage,
                             eval_buffer *out);
void eval_buffer_free(eval_buffer *buffer);

/** The content of a placeholder. */
typedef struct eval_feed {
    tc_value placeholder;
    const eval_buffer *buffer;
} eval_feed;

typedef struct eval_options {
    tc_isa isa;
    tc_pool *pool;         /* NULL: one thread */
    int threads;           /* as prepare is told; 0: 1 */
    unsigned char garbage; /* what outputs and workspaces hold before a kernel runs */
    bool pack;             /* pack every input that a kernel would like to have packed */
    const char *inplace;   /* operator to run in place, by its pair number `inplace_pair` */
    int inplace_pair;
    uint64_t step;
    /** Runs the kernels of this device; of operators that it has none for, those of the CPU. */
    test_device *device;
    /* What happened. */
    int packed, placed; /* nodes that ran with a packed input, in place */
    int on_device;      /* nodes that ran there */
} eval_options;

/**
 * Evaluates `fetches` (and nothing else) of `graph` into `results`, which the caller frees. Every
 * kernel must write each byte of its outputs and workspace guards and inputs must stay as they are:
 * INTERNAL where they do not, and where an output contradicts the shape that was inferred when the
 * graph was built. Otherwise the error of the kernel with its node before it.
 */
tc_status evaluate(const tc_graph *graph, const eval_feed *feeds, size_t n_feeds,
                   const tc_value *fetches, size_t n_fetches, eval_options *options,
                   eval_buffer *results);

#endif
