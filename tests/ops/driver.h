/* What the files of the driver share. */
#ifndef TC_TESTS_OPS_DRIVER_H
#define TC_TESTS_OPS_DRIVER_H

#include "ops/op_case.h"
#include "support/evaluate.h"

/* Where the driver is, for messages, and what it has found so far. */
typedef struct driver {
    const op_case *op;
    const char *sample;
    tc_dtype dtype;
    const char *variant;
    tc_isa isa;
    tc_pool *pool;       /* of several threads */
    test_device *device; /* whose kernels are tested; NULL: the CPU */
    int failures;        /* of all cases */
    int runs;
    double worst_gradient; /* of this case */
} driver;

/** Prints a failure with its place and counts it; returns false. */
bool driver_fail(driver *d, const char *format, ...) TC_PRINTF(2, 3);

typedef enum variant { VARIANT_KNOWN, VARIANT_NAMED, VARIANT_ANONYMOUS, VARIANT_COUNT } variant;
extern const char *const variant_names[VARIANT_COUNT];

/** The inputs of one sample with one dtype. */
typedef struct sample_data {
    const op_input *inputs;
    int32_t n_inputs;
    eval_buffer buffers[OP_MAX_INPUTS];
    double *elements[OP_MAX_INPUTS]; /* as the dtype rounded them; NULL for an absent input */
    tc_shape shapes[OP_MAX_INPUTS];
} sample_data;

/** Number of inputs that a table entry gives. */
int32_t input_count(const op_case *op, const op_input *inputs, int32_t given);
bool sample_data_create(driver *d, const op_input *inputs, int32_t n_inputs, sample_data *data);
void sample_data_free(sample_data *data);

/** A sample built into a graph of its own. */
typedef struct built {
    tc_graph *graph;
    tc_value inputs[OP_MAX_INPUTS]; /* as the builder got them */
    eval_feed feeds[OP_MAX_INPUTS];
    size_t feed_of[OP_MAX_INPUTS]; /* feed of an input */
    size_t n_feeds;
    tc_value out;
} built;

/** Builds without checking; the graph's status tells. */
void built_create(const sample_data *data, variant shapes, op_build build, const void *options,
                  built *out);
void built_free(built *b);

/** Runs one sample of the case for every dtype. */
void driver_sample(driver *d, const op_sample *sample);
void driver_bad(driver *d, const op_bad *bad, int index);
/** Checks that nothing is missing for any operator of the library. */
void driver_registry(driver *d, const op_case *const *cases, size_t n_cases);

#endif
