#include "processes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "networks.h"

#define MAX_SAMPLES 21

/*
 * In the child
 */
static tc_status first_inference(const tc_session_options *options, const char *folder,
                                 process_report *report)
{
    (void)folder;
    (void)report;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    tc_value h = tc_dense(x, 8, .activation = TC_ACT_RELU, .name = "hidden1");
    h = tc_dense(h, 8, .activation = TC_ACT_RELU, .name = "hidden2");
    tc_value y = tc_dense(h, 2, .name = "logits");
    tc_session *session;
    tc_tensor *input, *output = NULL;
    TC_TRY(tc_session_create(g, options, &session));
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(1, 4), (float[]){1, 2, 3, 4}, &input));
    return tc_session_run(session, TC_FEEDS({x, input}), TC_FETCHES(y), TC_NO_TARGETS, &output,
                          NULL);
}

static tc_status run_network(const network *n, const tc_session_options *options,
                             process_report *report)
{
    bound *b = bound_create();
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    const tc_shape shapes[BOUND_INPUTS] = {n->shape, n->labels};
    tc_plan_info info;
    tc_status status = network_compile(n, b, options);
    if (status == TC_OK)
        status = tc_callable_plan(b->callable, shapes, &info);
    double begin = now_us();
    for (int i = 0; i < 3 && status == TC_OK; i++) {
        begin = now_us();
        status = bound_run(b);
    }
    report->us = now_us() - begin;
    if (status == TC_OK) {
        report->planned_bytes = info.peak_bytes;
        report->live_bytes = info.live_bytes;
    }
    bound_destroy(b);
    return status;
}

static tc_status gpt_memory(const tc_session_options *options, const char *folder,
                            process_report *report)
{
    (void)folder;
    return run_network(&network_gpt_training, options, report);
}

/* Servers load a model; so do these. */
static tc_status save_network(const network *n, const char *path)
{
    bound *b = bound_create();
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    network_values values;
    tc_session *session = NULL;
    tc_status status = network_build(n, b, &values);
    if (status == TC_OK)
        status = tc_session_create(b->graph, NULL, &session);
    if (status == TC_OK)
        status = tc_session_initialize(session);
    const tc_signature_port input = {"x", values.inputs[0]}, output = {"y", values.result};
    const tc_signature signature = {"serve", &input, 1, &output, 1};
    if (status == TC_OK)
        status = tc_saved_model_save(session, path, &signature, 1);
    tc_session_release(session);
    bound_destroy(b);
    return status;
}

static tc_status serve(const network *n, const char *path, const tc_session_options *options,
                       process_report *report)
{
    double begin = now_us();
    tc_saved_model *model;
    tc_session *session;
    tc_callable *callable;
    TC_TRY(tc_saved_model_load(path, NULL, &model));
    TC_TRY(tc_saved_model_session(model, options, &session));
    const tc_signature *signature = tc_saved_model_find(model, "serve");
    TC_TRY(tc_session_compile(session, &signature->inputs[0].value, 1, &signature->outputs[0].value,
                              1, TC_NO_TARGETS, NULL, &callable));
    report->us = now_us() - begin;
    tc_tensor *input, *output = NULL;
    TC_TRY(random_floats(n->shape, &input));
    begin = now_us();
    TC_TRY(tc_callable_run(callable, &input, &output, NULL));
    report->first_us = now_us() - begin;
    for (int i = 0; i < 3; i++)
        TC_TRY(tc_callable_run(callable, &input, &output, NULL));
    tc_plan_info info;
    TC_TRY(tc_callable_plan(callable, &n->shape, &info));
    report->planned_bytes = info.peak_bytes;
    report->live_bytes = info.live_bytes;
    return TC_OK;
}

static void path_in(char *path, size_t size, const char *folder, const char *name)
{
    snprintf(path, size, "%s/%s", folder, name);
}

/* One inference process of a network: a model that is saved first and then served. */
#define SERVED(network)                                                                     \
    static tc_status prepare_##network(const char *folder)                                  \
    {                                                                                       \
        char path[512];                                                                     \
        path_in(path, sizeof path, folder, #network ".tcm");                                \
        return save_network(&network_##network, path);                                      \
    }                                                                                       \
    static tc_status serve_##network(const tc_session_options *options, const char *folder, \
                                     process_report *report)                                \
    {                                                                                       \
        char path[512];                                                                     \
        path_in(path, sizeof path, folder, #network ".tcm");                                \
        return serve(&network_##network, path, options, report);                            \
    }
SERVED(gpt2_stack_step)
SERVED(resnet50)
SERVED(resnet50_batch)

static double processor_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* Processor time that a second of waiting takes, after a run that had work for all threads. */
static tc_status idle(const tc_session_options *options, const char *folder, process_report *report)
{
    (void)folder;
    bound *b = bound_create();
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_status status = network_compile(&network_mlp_training, b, options);
    if (status == TC_OK)
        status = bound_run(b);
    usleep(10000);
    double begin = processor_us();
    sleep(1);
    report->us = processor_us() - begin;
    bound_destroy(b);
    return status;
}

const process processes[] = {
    {"overhead", "process start to first MLP 4-8-8-2 inference", first_inference, NULL, 21},
    {"overhead", "processor time of 1 s of waiting", idle, NULL, 3},
    {"loading", "saved model with 340 MB of weights, to ready", serve_gpt2_stack_step,
     prepare_gpt2_stack_step, 5},
    {"memory", "ResNet-50 batch 1 served", serve_resnet50, prepare_resnet50, 1},
    {"memory", "ResNet-50 batch 8 served", serve_resnet50_batch, prepare_resnet50_batch, 1},
    {"memory", "tiny GPT training step", gpt_memory, NULL, 1},
};
const size_t process_count = sizeof processes / sizeof processes[0];

int process_child(const char *name, int32_t threads, const char *folder)
{
    process_report report = {0};
    tc_runtime_options with = {.struct_size = sizeof with, .threads = threads};
    tc_session_options options = {.struct_size = sizeof options};
    tc_status status = tc_runtime_create(&with, &options.runtime);
    for (size_t i = 0; i < process_count && status == TC_OK; i++)
        if (strcmp(processes[i].name, name) == 0)
            status = processes[i].run(&options, folder, &report);
    if (status != TC_OK) {
        fprintf(stderr, "%s: %s\n", name, tc_error_message());
        return 1;
    }
    printf("%.3f %.3f %zu %zu\n", report.us, report.first_us, report.planned_bytes,
           report.live_bytes);
    return 0;
}

/*
 * In the parent
 */
static tc_status run_child(const char *program, const process *p, int32_t threads,
                           const char *folder, process_report *report)
{
    char number[16];
    int ends[2];
    snprintf(number, sizeof number, "%d", (int)threads);
    if (pipe(ends) != 0)
        return tc_kernel_fail(TC_UNAVAILABLE, "cannot make a pipe");
    double start = now_us();
    pid_t child = vfork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execl(program, program, "--process", p->name, number, folder, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *file = fdopen(ends[0], "r");
    bool read = file && fscanf(file, "%lf %lf %zu %zu", &report->us, &report->first_us,
                               &report->planned_bytes, &report->live_bytes) == 4;
    int state = 0;
    struct rusage usage;
    bool ended = child > 0 && wait4(child, &state, 0, &usage) == child;
    if (file)
        fclose(file);
    if (!read || !ended || !WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return tc_kernel_fail(TC_INTERNAL, "the process of '%s' failed", p->name);
    if (report->us == 0)
        report->us = now_us() - start;
    report->resident_kib = usage.ru_maxrss;
    return TC_OK;
}

static tc_status sample(const char *program, const process *p, int32_t threads, const char *folder,
                        double *times, process_report *report)
{
    if (p->prepare)
        TC_TRY(p->prepare(folder));
    TC_TRY(run_child(program, p, threads, folder, report)); /* warms the page cache */
    for (int i = 0; i < p->samples; i++) {
        TC_TRY(run_child(program, p, threads, folder, report));
        times[i] = report->us;
    }
    qsort(times, (size_t)p->samples, sizeof *times, ascending);
    return TC_OK;
}

tc_status process_measure(const char *program, const process *p, int32_t threads, double *min_us,
                          double *median_us, double *max_us, process_report *report)
{
    double times[MAX_SAMPLES];
    char folder[] = "/tmp/tc_bench_XXXXXX", command[64];
    if (!mkdtemp(folder))
        return tc_kernel_fail(TC_UNAVAILABLE, "cannot make a temporary folder");
    tc_status status = sample(program, p, threads, folder, times, report);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0 && status == TC_OK)
        status = tc_kernel_fail(TC_UNAVAILABLE, "cannot remove %s", folder);
    if (status == TC_OK) {
        *min_us = times[0];
        *median_us = median_of(times, p->samples);
        *max_us = times[p->samples - 1];
    }
    return status;
}
