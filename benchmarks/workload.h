/* A workload: something prepared once and run many times. */
#ifndef TENSORC_BENCHMARKS_WORKLOAD_H
#define TENSORC_BENCHMARKS_WORKLOAD_H

#include <tensorc/tensorc.h>

typedef struct workload {
    const char *section;
    const char *name;
    /** Readies a state with a session of `options`; freed by `destroy`, also after a failure. */
    tc_status (*create)(const struct workload *workload, const tc_session_options *options,
                        void **state);
    tc_status (*run)(void *state);
    void (*destroy)(void *state);
    int32_t
        repeats; /* calls of `run` per sample: more than one where a call is too short to time */
    double per_sample; /* what a sample's time is divided by, beyond repeats (operators of a chain);
                          0: 1 */
    const void *detail; /* of the section's file */
} workload;

typedef struct workload_table {
    const workload *rows;
    size_t count;
} workload_table;

extern const workload_table overhead_workloads;
extern const workload_table plan_workloads;
extern const workload_table product_workloads;
extern const workload_table branch_workloads;
extern const workload_table network_workloads;
/** Too large for most machines: run only where a device is named. */
extern const workload_table device_workloads;

/** Wall time in microseconds since any fixed moment. */
double now_us(void);

/** Middle of `count` sorted numbers. */
double median_of(const double *sorted, int count);
int ascending(const void *a, const void *b);

#endif
