/*
 * Branches: steps that need nothing of each other run at the same time.
 *
 * Steps are joined into chains, which follow each other by when they could begin. A region is a
 * stretch of that order in which the chains fall into several parts that need nothing of each
 * other; the parts are dealt out to lanes, and the lanes begin and end together. Whether that pays
 * is estimated from what the steps cost (tc_op.cost): a large step already spreads over all threads
 * by itself and gains nothing, a tiny one is over before another thread has heard of it.
 *
 * On a device lanes are queues, and what is to be gained is different: a kernel too small to fill
 * it takes a few microseconds whatever it does, and several of them take no longer. In plans over
 * several devices no region reaches beyond a stretch of steps of one device, and copies between
 * devices are in none.
 *
 * Everything here depends on the program and the number of threads alone. Results do not even
 * depend on the latter: kernels split their work in the same way with and without threads.
 */
#include <stdlib.h>
#include <string.h>

#include "compiler/planner.h"

/* One core of an x86 server of the years round 2020 on data in its second-level cache, and two
 * threads of a pool that spin: microseconds, operations and bytes per microsecond. */
#define STEP_US      0.03
#define FLOPS_PER_US 100e3
#define BYTES_PER_US 25e3
#define FORK_JOIN_US 3.0
/* A GPU of the years round 2023: what any kernel takes, then operations and bytes per microsecond;
 * what it costs to tie queues together. */
#define DEVICE_STEP_US      3.0
#define DEVICE_FLOPS_PER_US 20e6
#define DEVICE_BYTES_PER_US 2e6
#define DEVICE_FORK_JOIN_US 4.0
/* Work that takes longer fills a device by itself. */
#define DEVICE_FILLED_US 20.0
#define DEVICE_LANES     4
/* What a region must gain: estimates are not exact, and threads may be busy elsewhere. */
#define LEAST_GAIN_US 1.0
#define LEAST_GAIN    0.1 /* of the time without it */
/* Kernels hand blocks of about this much to threads. */
#define BLOCK_US 8.0

/* What goes on at the same time lives at the same time. Beyond this, no more than twice the memory
 * is taken to save time. */
#define FREE_BYTES ((size_t)16 << 20)
/* On a device, whose memory is dearer than a queue, no more than a part of it as small as this. */
#define DEVICE_PART 8

/* Chains that a region may reach over: what bounds the time of the search. */
#define WINDOW 64

typedef struct chain {
    int32_t first, last; /* steps; in between by `next` */
    double time;         /* of its steps on one thread */
    double alone;        /* with all threads for each step */
    double work;         /* of its steps on a device that they filled; 0 on the CPU */
    double start;        /* when it could begin if nothing but its needs held it up */
    int32_t needs;       /* its first in branches.chain_needs; those of the next chain follow */
    int32_t segment;     /* regions and what lies between them, in order */
    int32_t lane;
    int32_t device;
    int32_t stretch; /* of steps of one device */
    bool fixed;      /* in no region */
} chain;

typedef struct branches {
    tc_planner *p;
    tc_needs needs;
    int32_t threads;
    int32_t n;         /* steps */
    int32_t *chain_of; /* per step */
    int32_t *next;     /* per step: the next one of its chain, -1 */
    chain *chains;
    int32_t n_chains;
    int32_t *chain_needs; /* earlier chains, possibly several times the same */
    int32_t n_segments;
    bool *is_region; /* per segment */
} branches;

/*
 * Costs
 */
static double larger(double a, double b)
{
    return a > b ? a : b;
}

static tc_node_cost cost_of(const tc_planner *p, const tc_step *step)
{
    return step->node >= 0 ? p->plan->costs[step->node]
                           : (tc_node_cost){0, 2 * (double)step->copy_bytes};
}

/* What a step of a device takes of the whole device. */
static double work_of(const tc_planner *p, const tc_step *step)
{
    tc_node_cost cost = cost_of(p, step);
    return step->device == 0
               ? 0
               : larger(cost.flops / DEVICE_FLOPS_PER_US, cost.bytes / DEVICE_BYTES_PER_US);
}

static double time_of(const tc_planner *p, const tc_step *step)
{
    tc_node_cost cost = cost_of(p, step);
    if (step->device != 0)
        return DEVICE_STEP_US + work_of(p, step);
    return STEP_US + larger(cost.flops / FLOPS_PER_US, cost.bytes / BYTES_PER_US);
}

/* The same with the threads that the step's own loop uses. */
static double time_alone(const tc_step *step, double time, int32_t threads)
{
    double blocks = time / BLOCK_US;
    if (!step->kernel || step->device != 0 || blocks < 2)
        return time;
    return time / (blocks < threads ? blocks : threads);
}

/*
 * Chains
 */
static bool is_between(const tc_planner *p, const tc_step *step)
{
    const int32_t *operands = p->operands.data, *storages = p->buffer_storage.data;
    return !step->kernel && p->storages.data[storages[operands[step->first_input]]].device !=
                                p->storages.data[storages[operands[step->first_output]]].device;
}

static bool is_fixed(const tc_planner *p, const tc_step *step)
{
    /* Of faults on a device the first is told, so that their steps have an order. */
    if (is_between(p, step) || (step->device != 0 && ((step->kernel && step->kernel->fault) ||
                                                      work_of(p, step) > DEVICE_FILLED_US)))
        return true;
    if (step->node < 0)
        return false;
    const tc_op *op = tc_graph_node_at(p->graph, step->node)->attrs.op;
    /* What a bounded operator finds is told to those after it beside their operands. */
    return op->effects & (TC_EFFECT_IO | TC_EFFECT_COLLECTIVE) || op->bound;
}

/* The one step that needs each one, -1 for none, -2 for several. */
static void find_users(const branches *b, int32_t *users)
{
    for (int32_t i = 0; i < b->n; i++)
        users[i] = -1;
    for (int32_t i = 0; i < b->n; i++)
        for (int32_t k = b->needs.begin[i]; k < b->needs.begin[i + 1]; k++) {
            int32_t *user = &users[b->needs.steps[k]];
            *user = *user == -1 || *user == i ? i : -2;
        }
}

/* Whether the first step of a chain needs a step of chain `other`. */
static bool begins_after(const branches *b, const chain *c, int32_t other)
{
    int32_t begin = b->needs.begin[c->first], end = b->needs.begin[c->first + 1];
    if (end - begin > 8)
        return false; /* does not matter: this only makes chains longer */
    for (int32_t k = begin; k < end; k++)
        if (b->chain_of[b->needs.steps[k]] == other)
            return true;
    return false;
}

/*
 * The chain that step `index` continues: that of the latest step it needs, if that has no other
 * user and the chain waits for whatever else the step needs anyway. Chains in the order of their
 * first steps are then in an order that can be run, and no chain waits for what it could begin
 * without. -1: it begins one.
 */
static int32_t continued(const branches *b, const int32_t *users, int32_t index, int32_t stretch)
{
    int32_t latest = -1;
    for (int32_t k = b->needs.begin[index]; k < b->needs.begin[index + 1]; k++)
        if (b->needs.steps[k] > latest)
            latest = b->needs.steps[k];
    if (latest < 0 || users[latest] != index)
        return -1;
    const chain *c = &b->chains[b->chain_of[latest]];
    if (c->last != latest || c->fixed || c->stretch != stretch)
        return -1;
    for (int32_t k = b->needs.begin[index]; k < b->needs.begin[index + 1]; k++)
        if (b->needs.steps[k] != latest && !begins_after(b, c, b->chain_of[b->needs.steps[k]]))
            return -1;
    return b->chain_of[latest];
}

static void make_chains(branches *b, const int32_t *users)
{
    int32_t stretch = 0;
    for (int32_t i = 0; i < b->n; i++) {
        const tc_step *step = &b->p->steps.data[i];
        stretch += i > 0 && step->device != step[-1].device;
        bool fixed = is_fixed(b->p, step);
        int32_t at = fixed ? -1 : continued(b, users, i, stretch);
        b->next[i] = -1;
        if (at < 0) {
            at = b->n_chains++;
            b->chains[at] = (chain){
                .first = i, .last = i, .device = step->device, .stretch = stretch, .fixed = fixed};
        } else {
            b->next[b->chains[at].last] = i;
            b->chains[at].last = i;
        }
        double time = time_of(b->p, step);
        b->chain_of[i] = at;
        b->chains[at].time += time;
        b->chains[at].work += work_of(b->p, step);
        b->chains[at].alone += time_alone(step, time, b->threads);
    }
}

static int by_start(const void *left, const void *right)
{
    const chain *a = left, *b = right;
    if (a->stretch != b->stretch)
        return a->stretch < b->stretch ? -1 : 1;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    return a->first < b->first ? -1 : 1;
}

/* What a chain needs ends before it could begin, so this is an order that can be run, too. */
static void sort_chains(branches *b)
{
    for (int32_t c = 0; c < b->n_chains; c++) {
        chain *this = &b->chains[c];
        for (int32_t i = this->first; i >= 0; i = b->next[i])
            for (int32_t k = b->needs.begin[i]; k < b->needs.begin[i + 1]; k++) {
                int32_t need = b->chain_of[b->needs.steps[k]];
                double end = b->chains[need].start + b->chains[need].alone;
                if (need != c && end > this->start)
                    this->start = end;
            }
    }
    qsort(b->chains, (size_t)b->n_chains, sizeof *b->chains, by_start);
    for (int32_t c = 0; c < b->n_chains; c++)
        for (int32_t i = b->chains[c].first; i >= 0; i = b->next[i])
            b->chain_of[i] = c;
}

static void list_chain_needs(branches *b)
{
    int32_t count = 0;
    for (int32_t c = 0; c < b->n_chains; c++) {
        b->chains[c].needs = count;
        for (int32_t i = b->chains[c].first; i >= 0; i = b->next[i])
            for (int32_t k = b->needs.begin[i]; k < b->needs.begin[i + 1]; k++) {
                int32_t need = b->chain_of[b->needs.steps[k]];
                if (need != c)
                    b->chain_needs[count++] = need;
            }
    }
    b->chains[b->n_chains].needs = count;
}

/*
 * Regions
 */

/* The parts of a window of chains, each known by one of its members. */
typedef struct window {
    int32_t begin;
    int32_t parent[WINDOW];
    double time[WINDOW]; /* per part */
    double total, work, alone, longest;
} window;

static int32_t part_of(window *w, int32_t member)
{
    while (w->parent[member] != member)
        member = w->parent[member] = w->parent[w->parent[member]];
    return member;
}

static void add_chain(const branches *b, window *w, int32_t at)
{
    const chain *c = &b->chains[at];
    int32_t member = at - w->begin;
    w->parent[member] = member;
    w->time[member] = c->time;
    w->total += c->time;
    w->work += c->work;
    w->alone += c->alone;
    int32_t part = member;
    for (int32_t k = c->needs; k < b->chains[at + 1].needs; k++) {
        if (b->chain_needs[k] < w->begin)
            continue;
        int32_t other = part_of(w, b->chain_needs[k] - w->begin);
        if (other == part)
            continue;
        /* Parts keep their first member. */
        int32_t from = other < part ? part : other, to = other < part ? other : part;
        w->parent[from] = to;
        w->time[to] += w->time[from];
        part = to;
    }
    if (w->time[part] > w->longest)
        w->longest = w->time[part];
}

/* What lanes of which the longest takes `longest` save of steps that take `alone`, `c` among them;
 * 0 when that is not worth it. */
static double gain_of(const chain *c, double alone, double longest)
{
    double gain = alone - (c->device ? DEVICE_FORK_JOIN_US : FORK_JOIN_US) - longest;
    return gain < LEAST_GAIN_US || gain < LEAST_GAIN * alone ? 0 : gain;
}

static int32_t most_lanes(const branches *b, const chain *c)
{
    return c->device ? DEVICE_LANES : b->threads;
}

/* The end of the best region from `begin` on, as far as the parts could be dealt out evenly; -1
 * when none would be faster than one step after the other. */
static int32_t best_end(const branches *b, int32_t begin)
{
    window w = {.begin = begin};
    double best = 0;
    int32_t end = -1;
    for (int32_t at = begin; at < b->n_chains && at < begin + WINDOW; at++) {
        const chain *c = &b->chains[at];
        if (c->fixed || c->stretch != b->chains[begin].stretch)
            break;
        add_chain(b, &w, at);
        double even = larger(w.total / most_lanes(b, c), w.work);
        double gain = gain_of(c, w.alone, larger(w.longest, even));
        if (gain > best) {
            best = gain;
            end = at + 1;
        }
    }
    return end;
}

/*
 * Deals the parts of chains [begin, end) out, the longest first, each to the lane that has least;
 * returns the number of lanes, 0 when it does not pay after all. `lanes` has a place for each.
 */
static int32_t deal(branches *b, int32_t begin, int32_t end, double *lanes)
{
    window w = {.begin = begin};
    for (int32_t at = begin; at < end; at++)
        add_chain(b, &w, at);
    int32_t parts[WINDOW], lane_of[WINDOW], n_parts = 0;
    for (int32_t i = 0; i < end - begin; i++) {
        if (part_of(&w, i) != i)
            continue;
        int32_t at = n_parts++; /* insertion keeps equal ones in order */
        for (; at > 0 && w.time[parts[at - 1]] < w.time[i]; at--)
            parts[at] = parts[at - 1];
        parts[at] = i;
    }
    int32_t most = most_lanes(b, &b->chains[begin]), n_lanes = n_parts < most ? n_parts : most;
    for (int32_t i = 0; i < n_lanes; i++)
        lanes[i] = 0;
    double longest = w.work;
    for (int32_t i = 0; i < n_parts; i++) {
        int32_t lane = 0;
        for (int32_t other = 1; other < n_lanes; other++)
            if (lanes[other] < lanes[lane])
                lane = other;
        lanes[lane] += w.time[parts[i]];
        lane_of[parts[i]] = lane;
        if (lanes[lane] > longest)
            longest = lanes[lane];
    }
    if (gain_of(&b->chains[begin], w.alone, longest) == 0)
        return 0;
    for (int32_t at = begin; at < end; at++)
        b->chains[at].lane = lane_of[part_of(&w, at - begin)];
    return n_lanes;
}

/* Numbers segments; returns how many of them are regions. */
static int32_t find_regions(branches *b, double *lanes)
{
    int32_t regions = 0;
    bool open = false; /* a segment outside of regions */
    for (int32_t at = 0; at < b->n_chains;) {
        int32_t end = best_end(b, at);
        bool region = end >= 0 && deal(b, at, end, lanes) > 1;
        if (!region)
            end = at + 1;
        if (region || !open) {
            b->is_region[b->n_segments++] = region;
            regions += region;
        }
        open = !region;
        for (; at < end; at++)
            b->chains[at].segment = b->n_segments - 1;
    }
    return regions;
}

/*
 * The new order
 */
typedef struct place {
    int32_t segment, lane, step;
} place;

static int by_place(const void *left, const void *right)
{
    const place *a = left, *b = right;
    if (a->segment != b->segment)
        return a->segment < b->segment ? -1 : 1;
    if (a->lane != b->lane)
        return a->lane < b->lane ? -1 : 1;
    return a->step < b->step ? -1 : 1;
}

static tc_status add_region(tc_planner *p, const place *places, int32_t first, int32_t end)
{
    int32_t n_lanes = places[end - 1].lane + 1;
    int32_t *begins = tc_arena_array(&p->plan->arena, (size_t)n_lanes + 1, sizeof *begins);
    if (!begins)
        return tc_compiler_exhausted();
    for (int32_t i = first; i < end; i++) {
        p->steps.data[i].region = (int32_t)p->regions.count;
        p->steps.data[i].lane = places[i].lane;
        begins[places[i].lane + 1] = i + 1;
    }
    begins[0] = first;
    tc_region region = {first, end - first, n_lanes, begins};
    return tc_vector_push(&p->regions, region) ? TC_OK : tc_compiler_exhausted();
}

static tc_status reorder(branches *b)
{
    tc_planner *p = b->p;
    place *places = tc_arena_array(&p->scratch, (size_t)b->n, sizeof *places);
    int32_t *order = tc_arena_array(&p->scratch, (size_t)b->n, sizeof *order);
    if (!places || !order)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < b->n; i++) {
        const chain *c = &b->chains[b->chain_of[i]];
        places[i] = (place){c->segment, b->is_region[c->segment] ? c->lane : 0, i};
    }
    qsort(places, (size_t)b->n, sizeof *places, by_place);
    for (int32_t i = 0; i < b->n; i++)
        order[i] = places[i].step;
    TC_TRY(tc_plan_reorder(p, order));
    p->branch_order = order;
    for (int32_t first = 0, end; first < b->n; first = end) {
        for (end = first; end < b->n && places[end].segment == places[first].segment;)
            end++;
        if (b->is_region[places[first].segment])
            TC_TRY(add_region(p, places, first, end));
    }
    return TC_OK;
}

tc_status tc_plan_drop_branches(tc_planner *p)
{
    int32_t n = p->plan->n_compute;
    int32_t *back = tc_arena_array(&p->scratch, (size_t)n, sizeof *back);
    if (!back)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < n; i++) {
        back[p->branch_order[i]] = i;
        p->steps.data[i].region = -1;
        p->steps.data[i].lane = 0;
    }
    p->regions.count = 0;
    return tc_plan_reorder(p, back);
}

/* Whether what is alive now on some device is too much more than `before`. */
static tc_status takes_too_much(tc_planner *p, const size_t *before, bool *too_much)
{
    *too_much = false;
    for (int32_t d = 0; d < p->plan->n_devices; d++) {
        TC_TRY(tc_plan_focus(p, d));
        size_t most = d ? before[d] + before[d] / DEVICE_PART : 2 * before[d];
        *too_much = *too_much || p->plan->live_bytes > most + FREE_BYTES;
    }
    return tc_plan_focus(p, 0);
}

static tc_status measure_alive(tc_planner *p, size_t *alive)
{
    TC_TRY(tc_plan_measure(p));
    for (int32_t d = 0; d < p->plan->n_devices; d++) {
        TC_TRY(tc_plan_focus(p, d));
        alive[d] = p->plan->live_bytes;
    }
    return tc_plan_focus(p, 0);
}

/* Less than this in all cannot be divided with gain. */
static bool is_small(const tc_planner *p)
{
    double total = 0;
    for (int32_t i = 0; i < p->plan->n_compute; i++)
        total += time_of(p, &p->steps.data[i]);
    return total < 2 * (FORK_JOIN_US + LEAST_GAIN_US);
}

tc_status tc_plan_branches(tc_planner *p)
{
    branches b = {.p = p, .threads = p->target->threads, .n = p->plan->n_compute};
    if ((b.threads < 2 && !p->plan->mixed) || b.n < 2 || is_small(p))
        return TC_OK;
    TC_TRY(tc_plan_needs(p, &b.needs));
    if (b.needs.entangled)
        return TC_OK;
    size_t n = (size_t)b.n;
    tc_arena *scratch = &p->scratch;
    int32_t *users = tc_arena_array(scratch, n, sizeof *users);
    double *lanes = tc_arena_array(scratch, (size_t)b.threads + DEVICE_LANES, sizeof *lanes);
    size_t *before = tc_arena_array(scratch, (size_t)p->plan->n_devices, sizeof *before);
    b.chain_of = tc_arena_array(scratch, n, sizeof *b.chain_of);
    b.next = tc_arena_array(scratch, n, sizeof *b.next);
    b.chains = tc_arena_array(scratch, n + 1, sizeof *b.chains);
    b.is_region = tc_arena_array(scratch, n, sizeof *b.is_region);
    b.chain_needs = tc_arena_array(scratch, (size_t)b.needs.begin[b.n], sizeof *b.chain_needs);
    if (!users || !lanes || !before || !b.chain_of || !b.next || !b.chains || !b.is_region ||
        !b.chain_needs)
        return tc_compiler_exhausted();
    find_users(&b, users);
    make_chains(&b, users);
    sort_chains(&b);
    list_chain_needs(&b);
    if (find_regions(&b, lanes) == 0)
        return TC_OK;
    TC_TRY(measure_alive(p, before));
    TC_TRY(reorder(&b));
    TC_TRY(tc_plan_measure(p));
    bool too_much;
    TC_TRY(takes_too_much(p, before, &too_much));
    return too_much ? tc_plan_drop_branches(p) : TC_OK;
}
