#include "runtime/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/status.h"
#include "base/text.h"

/* Times of one step: summed over runs, and of the last run. */
typedef struct step_times {
    int64_t calls;
    int64_t total_ns;
    int64_t begin_ns;
    int64_t end_ns;
} step_times;

struct tc_profile {
    tc_plan *plan; /* retained; a run of another plan starts anew */
    step_times *times;
};

int64_t tc_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

tc_status tc_profile_create(tc_profile **out)
{
    if (!out)
        return tc_fail(TC_INVALID_ARGUMENT, "profile: out is NULL");
    *out = tc_alloc_zero(1, sizeof **out);
    return *out ? TC_OK : tc_fail_memory(sizeof **out, "a profile");
}

void tc_profile_destroy(tc_profile *profile)
{
    if (!profile)
        return;
    tc_plan_release(profile->plan);
    tc_free(profile->times);
    tc_free(profile);
}

tc_status tc_profile_begin(tc_profile *profile, tc_plan *plan)
{
    if (profile->plan == plan)
        return TC_OK;
    size_t count = (size_t)plan->n_steps;
    step_times *times = tc_alloc_zero(count ? count : 1, sizeof *times);
    if (!times)
        return tc_fail_memory(count * sizeof *times, "a profile");
    tc_plan_release(profile->plan);
    tc_free(profile->times);
    profile->plan = tc_plan_retain(plan);
    profile->times = times;
    return TC_OK;
}

void tc_profile_record(tc_profile *profile, int32_t step, int64_t begin_ns, int64_t end_ns)
{
    step_times *times = &profile->times[step];
    times->calls++;
    times->total_ns += end_ns - begin_ns;
    times->begin_ns = begin_ns;
    times->end_ns = end_ns;
}

static const tc_node *step_node(const tc_plan *plan, const tc_step *step)
{
    return step->node >= 0 ? tc_graph_node_at(plan->program->graph, step->node) : NULL;
}

static const char *step_name(const tc_plan *plan, const tc_step *step)
{
    const tc_node *node = step_node(plan, step);
    return node ? node->name : "(copy)";
}

static const char *step_op(const tc_plan *plan, const tc_step *step)
{
    const tc_node *node = step_node(plan, step);
    return node ? node->attrs.op->name : "copy";
}

static const char *step_symbol(const tc_step *step)
{
    return step->kernel ? step->kernel->symbol : "memcpy";
}

/* Work of one call. */
static tc_node_cost step_cost(const tc_plan *plan, const tc_step *step)
{
    return step->node >= 0 ? plan->costs[step->node]
                           : (tc_node_cost){0, 2 * (double)step->copy_bytes};
}

typedef struct ranked {
    int64_t total_ns;
    int32_t step;
} ranked;

static int by_total(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->total_ns != y->total_ns)
        return x->total_ns < y->total_ns ? 1 : -1;
    return x->step - y->step;
}

static tc_status check_recorded(const tc_profile *profile)
{
    if (profile && profile->plan)
        return TC_OK;
    return tc_fail(TC_FAILED_PRECONDITION,
                   "profile: nothing recorded; give it to a run in tc_run_options first");
}

/* Steps by the time they took, in memory of the caller; the sum of all times. */
static tc_status rank_steps(const tc_profile *profile, ranked **out, int64_t *total)
{
    size_t count = (size_t)profile->plan->n_steps;
    ranked *order = tc_alloc(count ? count * sizeof *order : 1);
    if (!order)
        return tc_fail_memory(count * sizeof *order, "a profile");
    *total = 0;
    for (size_t i = 0; i < count; i++) {
        order[i] = (ranked){profile->times[i].total_ns, (int32_t)i};
        *total += profile->times[i].total_ns;
    }
    qsort(order, count, sizeof *order, by_total);
    *out = order;
    return TC_OK;
}

/* Of a work per call, how much was done in a nanosecond: 10^9 per second. */
static double rate(const step_times *times, double work)
{
    return times->total_ns > 0 ? work * (double)times->calls / (double)times->total_ns : 0;
}

tc_status tc_profile_print(const tc_profile *profile, FILE *file)
{
    if (!file)
        return tc_fail(TC_INVALID_ARGUMENT, "profile: file is NULL");
    TC_TRY(check_recorded(profile));
    const tc_plan *plan = profile->plan;
    ranked *order;
    int64_t total;
    TC_TRY(rank_steps(profile, &order, &total));
    fprintf(file, "%-40s %-24s %-32s %8s %12s %10s %6s %9s %8s\n", "node", "operator", "kernel",
            "calls", "total us", "mean us", "share", "GFLOP/s", "GB/s");
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const tc_step *step = &plan->steps[order[i].step];
        const step_times *times = &profile->times[order[i].step];
        tc_node_cost cost = step_cost(plan, step);
        double us = (double)times->total_ns / 1e3;
        fprintf(file, "%-40s %-24s %-32s %8lld %12.1f %10.2f %5.1f%% %9.2f %8.2f\n",
                step_name(plan, step), step_op(plan, step), step_symbol(step),
                (long long)times->calls, us, times->calls ? us / (double)times->calls : 0.0,
                total ? 100.0 * (double)times->total_ns / (double)total : 0.0,
                rate(times, cost.flops), rate(times, cost.bytes));
    }
    tc_free(order);
    return ferror(file) ? tc_fail(TC_UNAVAILABLE, "profile: cannot write") : TC_OK;
}

/* Writes `text` and frees it. */
static tc_status write_text(tc_text *text, const char *path)
{
    tc_status status = TC_OK;
    FILE *file = text->failed ? NULL : fopen(path, "w");
    if (text->failed)
        status = tc_fail_memory(text->length, "a profile");
    else if (!file)
        status = tc_fail(TC_UNAVAILABLE, "profile: cannot open '%s' for writing", path);
    if (file) {
        bool failed = fwrite(text->data, 1, text->length, file) != text->length;
        failed |= fclose(file) != 0;
        if (failed)
            status = tc_fail(TC_UNAVAILABLE, "profile: cannot write '%s'", path);
    }
    tc_text_free(text);
    return status;
}

static void append_row(const tc_profile *profile, int32_t index, tc_text *text)
{
    const tc_plan *plan = profile->plan;
    const tc_step *step = &plan->steps[index];
    const step_times *times = &profile->times[index];
    tc_node_cost cost = step_cost(plan, step);
    double us = (double)times->total_ns / 1e3;
    tc_text_append(text, "{\"node\":");
    tc_text_append_json(text, step_name(plan, step));
    tc_text_append(text, ",\"operator\":");
    tc_text_append_json(text, step_op(plan, step));
    tc_text_append(text, ",\"kernel\":");
    tc_text_append_json(text, step_symbol(step));
    tc_text_append(text,
                   ",\"calls\":%lld,\"total_us\":%.3f,\"mean_us\":%.3f,\"flops\":%.0f,"
                   "\"bytes\":%.0f}",
                   (long long)times->calls, us, times->calls ? us / (double)times->calls : 0.0,
                   cost.flops, cost.bytes);
}

tc_status tc_profile_write_json(const tc_profile *profile, const char *path)
{
    if (!path)
        return tc_fail(TC_INVALID_ARGUMENT, "profile: path is NULL");
    TC_TRY(check_recorded(profile));
    ranked *order;
    int64_t total;
    TC_TRY(rank_steps(profile, &order, &total));
    tc_text text = {0};
    tc_text_append(&text, "{\"nodes\":[");
    for (int32_t i = 0; i < profile->plan->n_steps; i++) {
        tc_text_append(&text, "%s\n", i ? "," : "");
        append_row(profile, order[i].step, &text);
    }
    tc_text_append(&text, "\n]}\n");
    tc_free(order);
    return write_text(&text, path);
}

/* Lanes go on beside each other, so each is a thread of the trace. */
tc_status tc_profile_write_trace(const tc_profile *profile, const char *path)
{
    if (!path)
        return tc_fail(TC_INVALID_ARGUMENT, "profile: path is NULL");
    TC_TRY(check_recorded(profile));
    const tc_plan *plan = profile->plan;
    int64_t origin = INT64_MAX;
    const char *separator = "";
    for (int32_t i = 0; i < plan->n_steps; i++)
        if (profile->times[i].calls > 0 && profile->times[i].begin_ns < origin)
            origin = profile->times[i].begin_ns;
    tc_text text = {0};
    tc_text_append(&text, "{\"traceEvents\":[");
    for (int32_t i = 0; i < plan->n_steps; i++) {
        const tc_step *step = &plan->steps[i];
        const step_times *times = &profile->times[i];
        if (times->calls == 0) /* the run failed before */
            continue;
        tc_text_append(&text, "%s\n{\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"name\":", separator,
                       step->lane + 1);
        separator = ",";
        tc_text_append_json(&text, step_name(plan, step));
        tc_text_append(&text, ",\"cat\":");
        tc_text_append_json(&text, step_op(plan, step));
        tc_text_append(&text, ",\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"kernel\":",
                       (double)(times->begin_ns - origin) / 1e3,
                       (double)(times->end_ns - times->begin_ns) / 1e3);
        tc_text_append_json(&text, step_symbol(step));
        tc_text_append(&text, "}}");
    }
    tc_text_append(&text, "\n]}\n");
    return write_text(&text, path);
}
