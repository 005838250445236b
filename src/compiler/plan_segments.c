/*
 * Segments: stretches of steps on one device. Steps are put into few of them first: devices take
 * turns, and each step goes into the first turn of its device in which all it needs is there.
 */
#include <string.h>

#include "compiler/planner.h"

/* Turn t is that of device (start + t) % devices. */
static int32_t first_turn(int32_t device, int32_t start, int32_t n_devices, int32_t earliest)
{
    int32_t phase = (device - start + n_devices) % n_devices;
    int32_t ahead = (phase - earliest % n_devices + n_devices) % n_devices;
    return earliest + ahead;
}

typedef struct turns {
    tc_planner *p;
    tc_needs needs;
    int32_t n;     /* compute steps */
    int32_t *turn; /* per step */
    int32_t *used; /* per turn: steps */
    int32_t count; /* turns that have some */
    int32_t last;  /* of them */
} turns;

static void take_turns(turns *t, int32_t start)
{
    const tc_planner *p = t->p;
    t->count = t->last = 0;
    for (int32_t i = 0; i < t->n; i++) {
        int32_t earliest = 0;
        for (int32_t k = t->needs.begin[i]; k < t->needs.begin[i + 1]; k++)
            if (t->turn[t->needs.steps[k]] > earliest)
                earliest = t->turn[t->needs.steps[k]];
        t->turn[i] = first_turn(p->steps.data[i].device, start, p->plan->n_devices, earliest);
        if (t->turn[i] > t->last)
            t->last = t->turn[i];
    }
    for (int32_t i = 0; i <= t->last; i++)
        t->used[i] = 0;
    for (int32_t i = 0; i < t->n; i++)
        t->count += t->used[t->turn[i]]++ == 0;
}

/* Of orders with as few turns the one in which the CPU comes last: devices work beside it. */
static int32_t best_start(turns *t)
{
    int32_t best = 0, fewest = INT32_MAX;
    for (int32_t start = t->p->plan->n_devices - 1; start >= 0; start--) {
        take_turns(t, start);
        if (t->count < fewest) {
            fewest = t->count;
            best = start;
        }
    }
    return best;
}

tc_status tc_plan_group(tc_planner *p)
{
    turns t = {.p = p, .n = p->plan->n_compute};
    tc_arena *scratch = &p->scratch;
    size_t n = (size_t)t.n, n_turns = (n + 1) * (size_t)p->plan->n_devices;
    TC_TRY(tc_plan_needs(p, &t.needs));
    if (t.needs.entangled || t.n < 2)
        return TC_OK;
    int32_t *order = tc_arena_array(scratch, n, sizeof *order);
    t.turn = tc_arena_array(scratch, n, sizeof *t.turn);
    t.used = tc_arena_array(scratch, n_turns, sizeof *t.used);
    if (!order || !t.turn || !t.used)
        return tc_compiler_exhausted();
    take_turns(&t, best_start(&t));
    for (int32_t turn = 0, begin = 0; turn <= t.last; turn++) {
        int32_t steps = t.used[turn];
        t.used[turn] = begin;
        begin += steps;
    }
    for (int32_t i = 0; i < t.n; i++)
        order[t.used[t.turn[i]]++] = i;
    return tc_plan_reorder(p, order);
}

/*
 * Writing them down
 */
/* What is under way when a segment begins, unless it waits. */
typedef struct pending {
    tc_planner *p;
    char *busy;      /* per storage of the CPU: WRITTEN and READ by copies of devices */
    bool arena;      /* copies use the CPU's arena */
    bool *working;   /* per device */
    bool *linked;    /* per device: another one copies from or to it */
    int32_t outside; /* device of the last step that reaches outside, -1: none */
} pending;

enum { WRITTEN = 1, READ = 2 };

static int32_t storage_at(const tc_planner *p, int32_t operand)
{
    int32_t buffer = p->operands.data[operand];
    return buffer < 0 ? -1 : p->buffer_storage.data[buffer];
}

static void nothing_is_pending(pending *s)
{
    size_t n_devices = (size_t)s->p->plan->n_devices;
    memset(s->busy, 0, s->p->storages.count * sizeof *s->busy);
    memset(s->working, 0, n_devices * sizeof *s->working);
    memset(s->linked, 0, n_devices * sizeof *s->linked);
    s->arena = false;
    s->outside = -1;
}

/* The devices of a copy; false for a kernel and a copy within one. */
static bool is_between(const tc_planner *p, const tc_step *step, int32_t *from, int32_t *to)
{
    if (step->kernel)
        return false;
    *from = p->storages.data[storage_at(p, step->first_input)].device;
    *to = p->storages.data[storage_at(p, step->first_output)].device;
    return *from != *to;
}

static bool others_work(const pending *s, int32_t device)
{
    for (int32_t d = 0; d < s->p->plan->n_devices; d++)
        if (d != device && s->working[d])
            return true;
    return false;
}

/* What only orders other nodes stands for nodes of any device. */
static bool is_ordered_behind(const pending *s, const tc_node *node, int32_t device)
{
    for (int32_t k = 0; k < node->n_controls; k++) {
        const tc_node *before = tc_graph_node_at(s->p->graph, node->controls[k]);
        if (tc_node_is_idle(before) ? others_work(s, device)
                                    : before->device != device && s->working[before->device])
            return true;
    }
    return tc_node_reaches_outside(node) && s->outside >= 0 && s->outside != device &&
           s->working[s->outside];
}

static bool follows_working(const pending *s, const tc_step *step)
{
    int32_t from, to;
    if (step->node >= 0 &&
        is_ordered_behind(s, tc_graph_node_at(s->p->graph, step->node), step->device))
        return true;
    return is_between(s->p, step, &from, &to) && from && to && s->working[from];
}

/* Whether a step must not begin while what is pending goes on. */
static bool must_wait(const pending *s, const tc_step *step)
{
    const tc_planner *p = s->p;
    if (s->linked[step->device] || follows_working(s, step))
        return true;
    for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
        int32_t storage = storage_at(p, step->first_input + k);
        if (storage < 0 || p->storages.data[storage].device != 0)
            continue;
        /* What a device is told to copy to the CPU is copied when the device is waited for. */
        bool writes = k >= step->n_inputs && step->device == 0;
        if (s->busy[storage] & (writes ? WRITTEN | READ : WRITTEN) ||
            (writes && s->arena && p->storages.data[storage].place == TC_PLACE_ARENA))
            return true;
    }
    return s->arena && step->device == 0 && step->workspace_bytes > 0;
}

static void begin_step(pending *s, const tc_step *step)
{
    const tc_planner *p = s->p;
    int32_t from, to;
    s->working[step->device] = step->device != 0;
    if (step->node >= 0 && tc_node_reaches_outside(tc_graph_node_at(p->graph, step->node)))
        s->outside = step->device;
    if (!is_between(p, step, &from, &to))
        return;
    if (from && to) {
        s->linked[from] = s->linked[to] = true;
        return;
    }
    int32_t here = storage_at(p, from ? step->first_output : step->first_input);
    s->busy[here] |= from ? WRITTEN : READ;
    s->arena = s->arena || p->storages.data[here].place == TC_PLACE_ARENA;
}

/* A copy to a device of what a device is still to copy to the CPU. */
static bool comes_back(const pending *s, const tc_step *step)
{
    int32_t from, to;
    return is_between(s->p, step, &from, &to) && from == 0 &&
           s->busy[storage_at(s->p, step->first_input)] & WRITTEN;
}

static bool begins_segment(const pending *s, int32_t index)
{
    const tc_planner *p = s->p;
    const tc_step *step = &p->steps.data[index];
    return index == 0 || index == p->plan->n_compute || step[-1].device != step->device ||
           comes_back(s, step);
}

/* Whether the stretch of steps from `first` on must wait; it may end earlier for another reason. */
static bool stretch_waits(const pending *s, int32_t first)
{
    const tc_planner *p = s->p;
    int32_t n = first < p->plan->n_compute ? p->plan->n_compute : (int32_t)p->steps.count;
    for (int32_t i = first; i < n; i++) {
        const tc_step *step = &p->steps.data[i];
        if (step->device != p->steps.data[first].device)
            return false;
        if (must_wait(s, step))
            return true;
    }
    return false;
}

static tc_status measure_copies(tc_planner *p)
{
    tc_plan *plan = p->plan;
    int32_t from, to;
    for (size_t i = 0; i < p->steps.count; i++) {
        tc_step *step = &p->steps.data[i];
        if (!is_between(p, step, &from, &to))
            continue;
        plan->n_transfers++;
        plan->transferred_bytes += step->copy_bytes;
        if (from && to)
            continue;
        step->staging_offset = plan->staging_bytes;
        if (!tc_add_size(plan->staging_bytes, tc_align_up(step->copy_bytes, TC_ALIGNMENT),
                         &plan->staging_bytes))
            return tc_fail(TC_RESOURCE_EXHAUSTED, "copies between devices overflow");
    }
    return TC_OK;
}

tc_status tc_plan_find_segments(tc_planner *p)
{
    tc_plan *plan = p->plan;
    size_t n_devices = (size_t)plan->n_devices;
    pending s = {.p = p,
                 .busy = tc_arena_array(&p->scratch, p->storages.count, sizeof *s.busy),
                 .working = tc_arena_array(&p->scratch, n_devices, sizeof *s.working),
                 .linked = tc_arena_array(&p->scratch, n_devices, sizeof *s.linked),
                 .outside = -1};
    if (!s.busy || !s.working || !s.linked)
        return tc_compiler_exhausted();
    TC_TRY(measure_copies(p));
    for (int32_t i = 0; i < (int32_t)p->steps.count; i++) {
        const tc_step *step = &p->steps.data[i];
        if (begins_segment(&s, i)) {
            const tc_segment segment = {step->device, i, 0, stretch_waits(&s, i)};
            if (segment.waits)
                nothing_is_pending(&s);
            if (!tc_vector_push(&p->segments, segment))
                return tc_compiler_exhausted();
            plan->n_compute_segments += i < plan->n_compute;
        }
        p->segments.data[p->segments.count - 1].n_steps++;
        begin_step(&s, step);
    }
    return TC_OK;
}
