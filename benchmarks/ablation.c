#include "ablation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "networks.h"

#define MAX_PASSES      64
#define SAMPLES         15
#define WARM_UP         2
#define TIME_LIMIT      4e6
#define ROUNDS_AT_LEAST 3

typedef struct subject {
    const char *file;
    const network *network;
} subject;

static const subject subjects[] = {
    {"lenet_training", &network_lenet_training},
    {"resnet50_inference", &network_resnet50},
    {"tiny_gpt_training", &network_gpt_training},
};
#define SUBJECT_COUNT (sizeof subjects / sizeof subjects[0])

typedef struct measurement {
    tc_plan_info info;
    int32_t nodes;
    double us;
} measurement;

/* Everything but extracting and placing, which no program does without. */
static const char *const optional_passes[] = {
    "simplify",
    "fold",
    "cse",
    "strength",
    "recognize_rows",
    "recognize_attention",
    "sink_transposes",
    "fold_batch_norm",
    "fuse_epilogues",
    "layout",
    "winograd",
    "fuse_elementwise",
    "merge_updates",
    "low_peak",
    "alias",
    "invariants",
    "branches",
};

static tc_status measure(const network *n, tc_runtime *runtime, const char *disabled,
                         measurement *m)
{
    bound *b = bound_create();
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    const tc_session_options options = {
        .struct_size = sizeof options, .runtime = runtime, .disable_passes = disabled};
    const tc_shape shapes[BOUND_INPUTS] = {n->shape, n->labels};
    tc_pass_info passes[MAX_PASSES];
    size_t count = 0;
    tc_status status = network_compile(n, b, &options);
    if (status == TC_OK)
        status = tc_callable_passes(b->callable, passes, MAX_PASSES, &count);
    if (status == TC_OK)
        status = tc_callable_plan(b->callable, shapes, &m->info);
    m->nodes = count > 0 && count <= MAX_PASSES ? passes[count - 1].nodes_after : 0;
    double times[SAMPLES], begin = now_us();
    int taken = 0;
    for (int i = 0; i < SAMPLES + WARM_UP && status == TC_OK; i++) {
        if (taken >= ROUNDS_AT_LEAST && now_us() - begin > TIME_LIMIT)
            break;
        double start = now_us();
        status = bound_run(b);
        if (i >= WARM_UP)
            times[taken++] = now_us() - start;
    }
    qsort(times, (size_t)taken, sizeof *times, ascending);
    m->us = taken ? median_of(times, taken) : 0;
    bound_destroy(b);
    return status;
}

static void print_row(const char *what, const measurement *m, const measurement *all)
{
    printf("%-22s %6d %7d %12zu %12zu %12zu %12.1f %7.3f\n", what, (int)m->nodes,
           (int)m->info.kernels, m->info.peak_bytes, m->info.live_bytes, m->info.copied_bytes,
           m->us, m->us / all->us);
    fflush(stdout);
}

static tc_status print_subject(const subject *s, tc_runtime *runtime)
{
    measurement all, m;
    printf("\n%s\n%-22s %6s %7s %12s %12s %12s %12s %7s\n", s->network->name, "", "nodes",
           "kernels", "peak bytes", "live bytes", "copied", "median us", "time");
    TC_TRY(measure(s->network, runtime, NULL, &all));
    print_row("all passes", &all, &all);
    for (size_t i = 0; i < sizeof optional_passes / sizeof optional_passes[0]; i++) {
        char what[64];
        TC_TRY(measure(s->network, runtime, optional_passes[i], &m));
        snprintf(what, sizeof what, "- %s", optional_passes[i]);
        print_row(what, &m, &all);
    }
    TC_TRY(measure(s->network, runtime, "all", &m));
    print_row("none", &m, &all);
    return TC_OK;
}

tc_status ablation_print(tc_runtime *runtime, const char *filter)
{
    for (size_t i = 0; i < SUBJECT_COUNT; i++)
        if (!filter || strstr(subjects[i].network->name, filter))
            TC_TRY(print_subject(&subjects[i], runtime));
    return TC_OK;
}

static tc_status dump(const subject *s, tc_runtime *runtime, const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s.txt", folder, s->file);
    FILE *file = fopen(path, "w");
    if (!file)
        return tc_kernel_fail(TC_UNAVAILABLE, "cannot write '%s'", path);
    bound *b = bound_create();
    const tc_session_options options = {.struct_size = sizeof options, .runtime = runtime};
    const tc_shape shapes[BOUND_INPUTS] = {s->network->shape, s->network->labels};
    tc_status status = b ? network_compile(s->network, b, &options)
                         : tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    if (status == TC_OK)
        status = tc_plan_dump(b->callable, shapes, TC_DUMP_TEXT, file);
    if (b)
        bound_destroy(b);
    if (fclose(file) != 0 && status == TC_OK)
        status = tc_kernel_fail(TC_UNAVAILABLE, "cannot write '%s'", path);
    return status;
}

tc_status ablation_dump(tc_runtime *runtime, const char *folder)
{
    for (size_t i = 0; i < SUBJECT_COUNT; i++)
        TC_TRY(dump(&subjects[i], runtime, folder));
    return TC_OK;
}
