/*
 * The order of compute steps that keeps the least memory alive. List scheduling: of the steps that
 * may run, the one that frees most beyond what it allocates; once from the first step on and once
 * from the last one back. The order in which nodes were built stays unless one of the two is
 * better.
 */
#include <string.h>

#include "compiler/planner.h"

/* Another order must save this part of the memory. */
#define WORTH 16

/* Lists per step or per storage: those of i are items[begin[i]] ... items[begin[i + 1] - 1]. */
typedef struct lists {
    int32_t *begin;
    int32_t *items;
} lists;

typedef struct scheduler {
    tc_planner *p;
    int32_t n;
    bool backward;
    lists before, after; /* steps that a step waits for, and that wait for it */
    lists storages;      /* arena storages that a step uses, each once */
    lists users;         /* steps that use a storage */
    size_t *bytes;       /* per storage */
    int32_t *remaining;  /* per storage: users that have not been taken, and commits */
    bool *alive;         /* per storage: one of its users has been taken */
    int32_t *seen;       /* per storage: the last step that listed it */
    int32_t *waiting;    /* per step: steps it still waits for */
    int64_t *gain;       /* per step: bytes it would free beyond what it allocates */
    int32_t *heap;       /* steps that may run, best first */
    int32_t *place;      /* per step: its place in the heap, -1 */
    int32_t n_heap;
} scheduler;

/*
 * Heap
 */
static bool better(const scheduler *s, int32_t a, int32_t b)
{
    if (s->gain[a] != s->gain[b])
        return s->gain[a] > s->gain[b];
    return s->backward ? a > b : a < b;
}

static void put(scheduler *s, int32_t place, int32_t step)
{
    s->heap[place] = step;
    s->place[step] = place;
}

static void sift_up(scheduler *s, int32_t place)
{
    int32_t step = s->heap[place];
    for (int32_t up; place > 0 && better(s, step, s->heap[up = (place - 1) / 2]); place = up)
        put(s, place, s->heap[up]);
    put(s, place, step);
}

static void sift_down(scheduler *s, int32_t place)
{
    int32_t step = s->heap[place];
    for (int32_t child; (child = 2 * place + 1) < s->n_heap; place = child) {
        if (child + 1 < s->n_heap && better(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!better(s, s->heap[child], step))
            break;
        put(s, place, s->heap[child]);
    }
    put(s, place, step);
}

static void offer(scheduler *s, int32_t step)
{
    put(s, s->n_heap++, step);
    sift_up(s, s->n_heap - 1);
}

static int32_t take_best(scheduler *s)
{
    int32_t step = s->heap[0];
    s->place[step] = -1;
    if (--s->n_heap > 0) {
        put(s, 0, s->heap[s->n_heap]);
        sift_down(s, 0);
    }
    return step;
}

/* Gains only grow. */
static void add_gain(scheduler *s, int32_t step, size_t bytes)
{
    s->gain[step] += (int64_t)bytes;
    if (s->place[step] >= 0)
        sift_up(s, s->place[step]);
}

/*
 * Lists
 */
static int32_t *ints(scheduler *s, size_t count)
{
    return tc_arena_array(&s->p->scratch, count, sizeof(int32_t));
}

/* The transpose of `from`: which of `rows` list each of `columns`. */
static tc_status transpose(scheduler *s, const lists *from, int32_t rows, int32_t columns,
                           lists *to)
{
    int32_t total = from->begin[rows];
    to->begin = ints(s, (size_t)columns + 2);
    to->items = ints(s, (size_t)total);
    if (!to->begin || !to->items)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < total; i++)
        to->begin[from->items[i] + 2]++;
    for (int32_t i = 2; i <= columns; i++)
        to->begin[i] += to->begin[i - 1];
    for (int32_t row = 0; row < rows; row++)
        for (int32_t i = from->begin[row]; i < from->begin[row + 1]; i++)
            to->items[to->begin[from->items[i] + 1]++] = row;
    return TC_OK;
}

static void list_storage(scheduler *s, int32_t step, int32_t storage, int32_t *count)
{
    if (storage < 0 || !tc_plan_counts(s->p, &s->p->storages.data[storage]) ||
        s->seen[storage] == step)
        return;
    s->seen[storage] = step;
    s->storages.items[(*count)++] = storage;
}

static tc_status list_storages(scheduler *s)
{
    tc_planner *p = s->p;
    int32_t count = 0;
    s->storages.begin = ints(s, (size_t)s->n + 1);
    s->storages.items = ints(s, p->operands.count + (size_t)s->n);
    if (!s->storages.begin || !s->storages.items)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < s->n; i++) {
        const tc_step *step = &p->steps.data[i];
        s->storages.begin[i] = count;
        for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
            int32_t buffer = p->operands.data[step->first_input + k];
            list_storage(s, i, buffer < 0 ? -1 : p->buffer_storage.data[buffer], &count);
        }
        list_storage(s, i, p->step_workspace.data[i], &count);
    }
    s->storages.begin[s->n] = count;
    return TC_OK;
}

static tc_status prepare(scheduler *s)
{
    tc_planner *p = s->p;
    size_t n = (size_t)s->n, m = p->storages.count;
    s->bytes = tc_arena_array(&p->scratch, m, sizeof *s->bytes);
    s->alive = tc_arena_array(&p->scratch, m, sizeof *s->alive);
    s->gain = tc_arena_array(&p->scratch, n, sizeof *s->gain);
    s->remaining = ints(s, m);
    s->seen = ints(s, m);
    s->waiting = ints(s, n);
    s->heap = ints(s, n);
    s->place = ints(s, n);
    if (!s->bytes || !s->alive || !s->gain || !s->remaining || !s->seen || !s->waiting ||
        !s->heap || !s->place)
        return tc_compiler_exhausted();
    memset(s->seen, 0xff, m * sizeof *s->seen);
    for (size_t i = 0; i < m; i++)
        s->bytes[i] = tc_align_up(p->storages.data[i].bytes, TC_ALIGNMENT);
    TC_TRY(list_storages(s));
    TC_TRY(transpose(s, &s->before, s->n, s->n, &s->after));
    return transpose(s, &s->storages, s->n, (int32_t)m, &s->users);
}

/*
 * Scheduling
 */
/* The compute step that is the only user of `storage` left, when there is one. */
static void credit_last_user(scheduler *s, int32_t storage)
{
    for (int32_t i = s->users.begin[storage]; i < s->users.begin[storage + 1]; i++)
        if (s->waiting[s->users.items[i]] >= 0)
            add_gain(s, s->users.items[i], s->bytes[storage]);
}

static void use_storage(scheduler *s, int32_t storage)
{
    if (!s->alive[storage]) {
        s->alive[storage] = true;
        for (int32_t i = s->users.begin[storage]; i < s->users.begin[storage + 1]; i++)
            if (s->waiting[s->users.items[i]] >= 0)
                add_gain(s, s->users.items[i], s->bytes[storage]);
    }
    if (--s->remaining[storage] == 1)
        credit_last_user(s, storage);
}

static void start(scheduler *s)
{
    const tc_planner *p = s->p;
    const lists *before = s->backward ? &s->after : &s->before;
    for (int32_t i = 0; i < (int32_t)p->storages.count; i++) {
        /* What commits use is alive after the last compute step. */
        bool commits = p->storages.data[i].last >= s->n;
        s->remaining[i] = s->users.begin[i + 1] - s->users.begin[i] + (commits && !s->backward);
        s->alive[i] = commits && s->backward;
    }
    s->n_heap = 0;
    for (int32_t i = 0; i < s->n; i++) {
        s->waiting[i] = before->begin[i + 1] - before->begin[i];
        s->place[i] = -1;
        s->gain[i] = 0;
        for (int32_t k = s->storages.begin[i]; k < s->storages.begin[i + 1]; k++) {
            int32_t storage = s->storages.items[k];
            if (s->remaining[storage] == 1)
                s->gain[i] += (int64_t)s->bytes[storage];
            if (!s->alive[storage])
                s->gain[i] -= (int64_t)s->bytes[storage];
        }
    }
    for (int32_t i = 0; i < s->n; i++)
        if (s->waiting[i] == 0)
            offer(s, i);
}

static void schedule(scheduler *s, int32_t *order)
{
    const lists *after = s->backward ? &s->before : &s->after;
    start(s);
    for (int32_t i = 0; i < s->n; i++) {
        int32_t step = take_best(s);
        order[s->backward ? s->n - 1 - i : i] = step;
        s->waiting[step] = -1;
        for (int32_t k = s->storages.begin[step]; k < s->storages.begin[step + 1]; k++)
            use_storage(s, s->storages.items[k]);
        for (int32_t k = after->begin[step]; k < after->begin[step + 1]; k++)
            if (--s->waiting[after->items[k]] == 0)
                offer(s, after->items[k]);
    }
}

/* Bytes that the fullest single step uses: no order needs less. */
static size_t widest_step(const scheduler *s)
{
    size_t widest = 0;
    for (int32_t i = 0; i < s->n; i++) {
        size_t bytes = 0;
        for (int32_t k = s->storages.begin[i]; k < s->storages.begin[i + 1]; k++)
            bytes += s->bytes[s->storages.items[k]];
        if (bytes > widest)
            widest = bytes;
    }
    return widest;
}

/* Leaves the built order when `order`, of built steps, is no better than `*least`. */
static tc_status try_order(scheduler *s, const int32_t *order, size_t *least)
{
    tc_planner *p = s->p;
    size_t bytes = (size_t)s->n * sizeof(tc_step);
    tc_step *steps = tc_arena_memdup(&p->scratch, p->steps.data, bytes);
    int32_t *workspaces =
        tc_arena_memdup(&p->scratch, p->step_workspace.data, (size_t)s->n * sizeof *workspaces);
    if (!steps || !workspaces)
        return tc_compiler_exhausted();
    TC_TRY(tc_plan_reorder(p, order));
    TC_TRY(tc_plan_measure(p));
    if (p->plan->live_bytes < *least) {
        *least = p->plan->live_bytes;
        if (!p->built_steps) {
            p->built_steps = steps;
            p->built_workspaces = workspaces;
        }
        return TC_OK;
    }
    memcpy(p->steps.data, steps, bytes);
    memcpy(p->step_workspace.data, workspaces, (size_t)s->n * sizeof *workspaces);
    return TC_OK;
}

tc_status tc_plan_low_peak(tc_planner *p)
{
    scheduler s = {.p = p, .n = p->plan->n_compute};
    tc_needs needs;
    if (s.n < 3)
        return TC_OK;
    TC_TRY(tc_plan_measure(p));
    TC_TRY(tc_plan_needs(p, &needs));
    if (needs.entangled)
        return TC_OK;
    s.before = (lists){needs.begin, needs.steps};
    TC_TRY(prepare(&s));
    size_t least = p->plan->live_bytes;
    if (least <= widest_step(&s))
        return TC_OK;
    int32_t *forward = ints(&s, (size_t)s.n), *backward = ints(&s, (size_t)s.n);
    if (!forward || !backward)
        return tc_compiler_exhausted();
    schedule(&s, forward);
    s.backward = true;
    schedule(&s, backward);
    /* What was built has results read soon after they are computed: worth a little memory. */
    least -= least / WORTH;
    TC_TRY(try_order(&s, forward, &least));
    if (p->built_steps) { /* `backward` counts built steps: see what comes after the first of both
                           */
        int32_t *place = ints(&s, (size_t)s.n);
        if (!place)
            return tc_compiler_exhausted();
        for (int32_t i = 0; i < s.n; i++)
            place[forward[i]] = i;
        for (int32_t i = 0; i < s.n; i++)
            backward[i] = place[backward[i]];
    }
    return try_order(&s, backward, &least);
}
