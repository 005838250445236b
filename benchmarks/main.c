/* Runs workloads and reports minimum, median and maximum of their times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ablation.h"
#include "processes.h"

#define MAX_SAMPLES          1000
#define MIN_SAMPLES          5
#define SECONDS_PER_WORKLOAD 3.0

typedef struct options {
    const char *filter;
    const char *json;
    const char *dump;   /* folder for plans */
    const char *device; /* NULL: the CPU, without the section "device" */
    int32_t threads;
    bool list;
    bool ablation;
    bool once; /* one sample without warming up, to see how long a process takes */
} options;

typedef struct report {
    FILE *json;
    const char *separator;
    int32_t threads;
} report;

double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_of(const double *sorted, int count)
{
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* `seen` is what a process reported, NULL for others. */
static void add_row(report *r, const char *section, const char *name, double min_us,
                    double median_us, double max_us, const process_report *seen)
{
    printf("%-10s %-40s %2d threads  min %12.3f us  median %12.3f us  max %12.3f us\n", section,
           name, (int)r->threads, min_us, median_us, max_us);
    if (seen)
        printf("%-10s %-40s resident %.1f MB, first inference %.1f ms, planned %zu bytes, of these "
               "%zu alive at once\n",
               section, "", (double)seen->resident_kib / 1024, seen->first_us / 1e3,
               seen->planned_bytes, seen->live_bytes);
    fflush(stdout);
    if (!r->json)
        return;
    fprintf(r->json,
            "%s\n  {\"section\": \"%s\", \"workload\": \"%s\", \"threads\": %d, \"min_us\": %.4f, "
            "\"median_us\": %.4f, \"max_us\": %.4f",
            r->separator, section, name, (int)r->threads, min_us, median_us, max_us);
    if (seen)
        fprintf(r->json,
                ", \"resident_kib\": %ld, \"first_us\": %.4f, \"planned_bytes\": %zu, "
                "\"live_bytes\": %zu",
                seen->resident_kib, seen->first_us, seen->planned_bytes, seen->live_bytes);
    fprintf(r->json, "}");
    r->separator = ",";
}

static tc_status sample(const workload *w, void *state, bool once, double *samples, int *count)
{
    double begin = now_us();
    for (int i = 0; i < 2 * w->repeats && !once; i++)
        TC_TRY(w->run(state));
    for (*count = 0; *count < (once ? 1 : MAX_SAMPLES); ++*count) {
        if (*count >= MIN_SAMPLES && now_us() - begin > SECONDS_PER_WORKLOAD * 1e6)
            break;
        double start = now_us();
        for (int i = 0; i < w->repeats; i++)
            TC_TRY(w->run(state));
        samples[*count] = (now_us() - start) / w->repeats / (w->per_sample > 0 ? w->per_sample : 1);
    }
    qsort(samples, (size_t)*count, sizeof *samples, ascending);
    return TC_OK;
}

static tc_status run_workload(const workload *w, const options *o, tc_runtime *runtime, report *r)
{
    static double samples[MAX_SAMPLES];
    void *state = NULL;
    int count = 0;
    const tc_session_options with = {
        .struct_size = sizeof with, .runtime = runtime, .device = o->device};
    tc_status status = w->create(w, &with, &state);
    if (status == TC_OK)
        status = sample(w, state, o->once, samples, &count);
    if (state)
        w->destroy(state);
    if (status == TC_OK)
        add_row(r, w->section, w->name, samples[0], median_of(samples, count), samples[count - 1],
                NULL);
    return status;
}

static bool is_wanted(const options *o, const char *section, const char *name)
{
    return !o->filter || strstr(name, o->filter) || strstr(section, o->filter);
}

static tc_status run_table(const workload_table *table, const options *o, tc_runtime *runtime,
                           report *r)
{
    for (size_t i = 0; i < table->count; i++) {
        const workload *w = &table->rows[i];
        if (!is_wanted(o, w->section, w->name))
            continue;
        if (o->list)
            printf("%-10s %s\n", w->section, w->name);
        else
            TC_TRY(run_workload(w, o, runtime, r));
    }
    return TC_OK;
}

static tc_status run_processes(const char *program, const options *o, report *r)
{
    for (size_t i = 0; i < process_count; i++) {
        const process *p = &processes[i];
        if (!is_wanted(o, p->section, p->name))
            continue;
        if (o->list) {
            printf("%-10s %s\n", p->section, p->name);
            continue;
        }
        double min_us, median_us, max_us;
        process_report seen = {0};
        TC_TRY(process_measure(program, p, r->threads, &min_us, &median_us, &max_us, &seen));
        add_row(r, p->section, p->name, min_us, median_us, max_us, &seen);
    }
    return TC_OK;
}

/* Children are measured before the parent has threads and memory of its own. */
static tc_status run_all(const char *program, const options *o)
{
    report r = {.separator = ""};
    tc_runtime *runtime;
    tc_runtime_options with = {.struct_size = sizeof with, .threads = o->threads};
    TC_TRY(tc_runtime_create(&with, &runtime));
    r.threads = tc_runtime_threads(runtime);
    if (o->ablation || o->dump) {
        tc_status done =
            o->ablation ? ablation_print(runtime, o->filter) : ablation_dump(runtime, o->dump);
        tc_runtime_release(runtime);
        return done;
    }
    if (o->json) {
        r.json = fopen(o->json, "w");
        if (!r.json) {
            tc_runtime_release(runtime);
            return tc_kernel_fail(TC_UNAVAILABLE, "cannot write '%s'", o->json);
        }
        fprintf(r.json, "[");
    }
    tc_status status = o->device ? TC_OK : run_processes(program, o, &r);
    const workload_table *tables[] = {&overhead_workloads, &plan_workloads,    &product_workloads,
                                      &branch_workloads,   &network_workloads, &device_workloads};
    size_t count = sizeof tables / sizeof tables[0] - !o->device;
    for (size_t i = 0; i < count && status == TC_OK; i++)
        status = run_table(tables[i], o, runtime, &r);
    tc_runtime_release(runtime);
    if (r.json) {
        fprintf(r.json, "\n]\n");
        fclose(r.json);
    }
    return status;
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--list") == 0)
            o->list = true;
        else if (strcmp(argv[i], "--ablation") == 0)
            o->ablation = true;
        else if (strcmp(argv[i], "--plans") == 0 && more)
            o->dump = argv[++i];
        else if (strcmp(argv[i], "--filter") == 0 && more)
            o->filter = argv[++i];
        else if (strcmp(argv[i], "--json") == 0 && more)
            o->json = argv[++i];
        else if (strcmp(argv[i], "--device") == 0 && more)
            o->device = argv[++i];
        else if (strcmp(argv[i], "--once") == 0)
            o->once = true;
        else if (strcmp(argv[i], "--threads") == 0 && more && atoi(argv[i + 1]) > 0)
            o->threads = (int32_t)atoi(argv[++i]);
        else {
            fprintf(
                stderr,
                "usage: %s [--list] [--filter TEXT] [--threads N] [--json FILE] [--device NAME] [--once]\n"
                "       %s --ablation [--filter TEXT] [--threads N]\n"
                "       %s --plans FOLDER\n",
                argv[0], argv[0], argv[0]);
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    return -1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--process") == 0)
        return process_child(argv[2], (int32_t)atoi(argv[3]), argv[4]);
    options o = {0};
    int exit_status = parse(argc, argv, &o);
    if (exit_status >= 0)
        return exit_status;
    tc_status status = run_all(argv[0], &o);
    if (status != TC_OK)
        fprintf(stderr, "%s: %s: %s\n", argv[0], tc_status_name(status), tc_error_message());
    return status == TC_OK ? 0 : 1;
}
