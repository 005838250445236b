/* From process start to the first inference. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workload.h"

int first_inference(void)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    tc_value h = tc_dense(x, 8, .activation = TC_ACT_RELU, .name = "hidden1");
    h = tc_dense(h, 8, .activation = TC_ACT_RELU, .name = "hidden2");
    tc_value y = tc_dense(h, 2, .name = "logits");
    tc_session *session;
    tc_tensor *input, *output = NULL;
    TC_TRY(tc_session_create(g, NULL, &session));
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(1, 4), (float[]){1, 2, 3, 4}, &input));
    TC_TRY(
        tc_session_run(session, TC_FEEDS({x, input}), TC_FETCHES(y), TC_NO_TARGETS, &output, NULL));
    return TC_OK;
}

/* Runs `program` once; its wall time and peak memory. */
static tc_status run_process(const char *program, double *us, long *resident_kib)
{
    double start = now_us();
    pid_t child = vfork();
    if (child == 0) {
        execl(program, program, "--first-inference", (char *)NULL);
        _exit(127);
    }
    int state = 0;
    struct rusage usage;
    if (child < 0 || wait4(child, &state, 0, &usage) != child)
        return tc_kernel_fail(TC_UNAVAILABLE, "cannot start %s again", program);
    *us = now_us() - start;
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return tc_kernel_fail(TC_INTERNAL, "the first inference failed");
    if (usage.ru_maxrss > *resident_kib)
        *resident_kib = usage.ru_maxrss;
    return TC_OK;
}

tc_status measure_start(const char *program, int samples, double *min_us, double *median_us,
                        double *max_us, long *resident_kib)
{
    double *times = calloc((size_t)samples, sizeof *times);
    if (!times)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    *resident_kib = 0;
    tc_status status = run_process(program, &times[0], resident_kib); /* warms the page cache */
    for (int i = 0; i < samples && status == TC_OK; i++)
        status = run_process(program, &times[i], resident_kib);
    if (status == TC_OK) {
        qsort(times, (size_t)samples, sizeof *times, ascending);
        *min_us = times[0];
        *median_us = median_of(times, samples);
        *max_us = times[samples - 1];
    }
    free(times);
    return status;
}
