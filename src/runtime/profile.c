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

/* One stage of the runs; most have but one. */
typedef struct part {
    tc_plan *plan; /* retained */
    step_times *times;
} part;

struct tc_profile {
    TC_VECTOR(part) parts; /* a run of another plan starts its part anew */
    step_times *times;     /* of the part under way */
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

static void forget_parts(tc_profile *profile, size_t kept)
{
    while (profile->parts.count > kept) {
        part *last = &profile->parts.data[--profile->parts.count];
        tc_plan_release(last->plan);
        tc_free(last->times);
    }
}

void tc_profile_destroy(tc_profile *profile)
{
    if (!profile)
        return;
    forget_parts(profile, 0);
    tc_vector_free(&profile->parts);
    tc_free(profile);
}

tc_status tc_profile_begin(tc_profile *profile, tc_plan *plan, int32_t stage)
{
    size_t at = (size_t)stage, count = (size_t)plan->n_steps;
    if (at < profile->parts.count && profile->parts.data[at].plan == plan) {
        profile->times = profile->parts.data[at].times;
        return TC_OK;
    }
    step_times *times = tc_alloc_zero(count ? count : 1, sizeof *times);
    if (!times || !tc_vector_reserve(&profile->parts, at + 1)) {
        tc_free(times);
        return tc_fail_memory(count * sizeof *times, "a profile");
    }
    forget_parts(profile, at); /* what follows belonged to another plan too */
    profile->parts.data[profile->parts.count++] = (part){tc_plan_retain(plan), times};
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

/* One step of one part, as it is printed. */
typedef struct row {
    const tc_plan *plan;
    const tc_step *step;
    const step_times *times;
    int32_t place; /* among all rows in order */
} row;

static int by_total(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->times->total_ns != y->times->total_ns)
        return x->times->total_ns < y->times->total_ns ? 1 : -1;
    return x->place - y->place;
}

static tc_status check_recorded(const tc_profile *profile)
{
    if (profile && profile->parts.count > 0)
        return TC_OK;
    return tc_fail(TC_FAILED_PRECONDITION,
                   "profile: nothing recorded; give it to a run in tc_run_options first");
}

/* All steps in the order of the run, in memory of the caller. */
static tc_status list_rows(const tc_profile *profile, row **out, int32_t *count)
{
    size_t total = 0;
    *count = 0;
    TC_TRY(check_recorded(profile));
    for (size_t i = 0; i < profile->parts.count; i++)
        total += (size_t)profile->parts.data[i].plan->n_steps;
    row *rows = tc_alloc(total ? total * sizeof *rows : 1);
    if (!rows)
        return tc_fail_memory(total * sizeof *rows, "a profile");
    for (size_t i = 0; i < profile->parts.count; i++) {
        const part *p = &profile->parts.data[i];
        for (int32_t k = 0; k < p->plan->n_steps; k++, ++*count)
            rows[*count] = (row){p->plan, &p->plan->steps[k], &p->times[k], *count};
    }
    *out = rows;
    return TC_OK;
}

/* Likewise by the time they took. */
static tc_status rank_rows(const tc_profile *profile, row **out, int32_t *count)
{
    TC_TRY(list_rows(profile, out, count));
    qsort(*out, (size_t)*count, sizeof **out, by_total);
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
    row *rows;
    int32_t count;
    int64_t total = 0;
    TC_TRY(rank_rows(profile, &rows, &count));
    for (int32_t i = 0; i < count; i++)
        total += rows[i].times->total_ns;
    fprintf(file, "%-40s %-24s %-32s %8s %12s %10s %6s %9s %8s\n", "node", "operator", "kernel",
            "calls", "total us", "mean us", "share", "GFLOP/s", "GB/s");
    for (int32_t i = 0; i < count; i++) {
        const tc_plan *plan = rows[i].plan;
        const tc_step *step = rows[i].step;
        const step_times *times = rows[i].times;
        tc_node_cost cost = step_cost(plan, step);
        double us = (double)times->total_ns / 1e3;
        fprintf(file, "%-40s %-24s %-32s %8lld %12.1f %10.2f %5.1f%% %9.2f %8.2f\n",
                step_name(plan, step), step_op(plan, step), step_symbol(step),
                (long long)times->calls, us, times->calls ? us / (double)times->calls : 0.0,
                total ? 100.0 * (double)times->total_ns / (double)total : 0.0,
                rate(times, cost.flops), rate(times, cost.bytes));
    }
    tc_free(rows);
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

static void append_row(const row *r, tc_text *text)
{
    const tc_plan *plan = r->plan;
    const tc_step *step = r->step;
    const step_times *times = r->times;
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
    row *rows;
    int32_t count;
    TC_TRY(rank_rows(profile, &rows, &count));
    tc_text text = {0};
    tc_text_append(&text, "{\"nodes\":[");
    for (int32_t i = 0; i < count; i++) {
        tc_text_append(&text, "%s\n", i ? "," : "");
        append_row(&rows[i], &text);
    }
    tc_text_append(&text, "\n]}\n");
    tc_free(rows);
    return write_text(&text, path);
}

/* Lanes go on beside each other, so each is a thread of the trace. */
tc_status tc_profile_write_trace(const tc_profile *profile, const char *path)
{
    if (!path)
        return tc_fail(TC_INVALID_ARGUMENT, "profile: path is NULL");
    row *rows;
    int32_t count;
    int64_t origin = INT64_MAX;
    const char *separator = "";
    TC_TRY(list_rows(profile, &rows, &count));
    for (int32_t i = 0; i < count; i++)
        if (rows[i].times->calls > 0 && rows[i].times->begin_ns < origin)
            origin = rows[i].times->begin_ns;
    tc_text text = {0};
    tc_text_append(&text, "{\"traceEvents\":[");
    for (int32_t i = 0; i < count; i++) {
        const tc_plan *plan = rows[i].plan;
        const tc_step *step = rows[i].step;
        const step_times *times = rows[i].times;
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
    tc_free(rows);
    return write_text(&text, path);
}
