/*
 * What is measured of a whole process: its start, its memory, its processor time. tc_bench starts
 * itself again with --process NAME; the child prints what it has seen.
 */
#ifndef TENSORC_BENCHMARKS_PROCESSES_H
#define TENSORC_BENCHMARKS_PROCESSES_H

#include "workload.h"

/** Numbers of one child; what does not apply is 0. */
typedef struct process_report {
    double us;            /* what the row is about, 0: wall time of the whole process */
    double first_us;      /* first inference after that */
    size_t planned_bytes; /* of intermediate results */
    size_t live_bytes;    /* of those, alive at the fullest step */
    long resident_kib;    /* peak, as the system saw it */
} process_report;

typedef struct process {
    const char *section;
    const char *name;
    /** In the child. `folder` is an empty one for files, shared by all samples. */
    tc_status (*run)(const tc_session_options *options, const char *folder, process_report *report);
    /** In the parent, before the samples; may be NULL. */
    tc_status (*prepare)(const char *folder);
    int samples;
} process;

extern const process processes[];
extern const size_t process_count;

/** Runs the child for `name` and prints its report; what main returns. */
int process_child(const char *name, int32_t threads, const char *folder);
/** Starts `program` as the child of `p` `samples` times: minimum, median and maximum of
 * process_report.us, and the report of the last. */
tc_status process_measure(const char *program, const process *p, int32_t threads, double *min_us,
                          double *median_us, double *max_us, process_report *report);

#endif
