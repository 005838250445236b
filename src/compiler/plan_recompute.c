/*
 * Computing values again where they are needed late, instead of keeping them, until a plan fits its
 * memory budget.
 *
 * Each round looks at the fullest step. Of what is alive there but not used, those values go that
 * cost least to compute again for the bytes they free: the steps that make them are repeated just
 * before the next use, reading what is alive there and repeating what is not. Kernels give the same
 * bits again, random numbers too, as they are keyed by the node. A round that does not help is
 * taken back, and its values are kept for good. The annotation "rematerialize" of a node is asked
 * first: "always" repeats it whatever it costs and whether or not there is a budget, "never" keeps
 * its results.
 */
#include <stdlib.h>
#include <string.h>

#include "compiler/planner.h"

#define MAX_CHAIN  16 /* steps repeated for one value */
#define MAX_TRIES  128
#define MAX_ROUNDS 400

typedef enum wish { WISH_NONE, WISH_ALWAYS, WISH_NEVER } wish;

/* A value that could go, and what that costs. */
typedef struct choice {
    double price; /* per byte freed at the fullest step */
    int32_t storage;
    int32_t use; /* the step before which it is computed again */
} choice;

/* Steps to repeat for one value, the last one first. */
typedef struct chain {
    int32_t steps[MAX_CHAIN];
    int32_t count;
    int32_t tries; /* steps looked at, so that looking ends */
    double cost;
    size_t extended; /* bytes of inputs that must live on through the fullest step */
} chain;

/* A step to be put in before step `before`. */
typedef struct insertion {
    int32_t before;
    int32_t rank;
    tc_step step;
    int32_t workspace;
} insertion;

typedef struct recomputer {
    tc_planner *p;
    int32_t limit;   /* values that may go in a round: fewer after one that did not help */
    bool only_asked; /* within the budget: only what is annotated "always" */
    /* Of one round. */
    int32_t *maker;     /* per storage: the only step that writes it, -1 */
    int32_t *use_begin; /* per storage: its steps are uses[use_begin[s]] ... */
    int32_t *uses;
    bool *pinned; /* per storage: others count on it being alive */
    bool *gone;   /* per storage: goes in this round */
    TC_VECTOR(insertion) insertions;
    TC_VECTOR(choice) choices;
    TC_VECTOR(bool) kept; /* per storage, in all rounds: tried without success */
} recomputer;

/*
 * What uses what
 */
static int32_t storage_of(const tc_planner *p, int32_t operand)
{
    int32_t buffer = p->operands.data[operand];
    return buffer < 0 ? -1 : p->buffer_storage.data[buffer];
}

static tc_status find_uses(recomputer *r)
{
    tc_planner *p = r->p;
    size_t n = p->storages.count;
    r->maker = tc_arena_array(&p->scratch, n, sizeof *r->maker);
    r->use_begin = tc_arena_array(&p->scratch, n + 2, sizeof *r->use_begin);
    r->uses = tc_arena_array(&p->scratch, p->operands.count, sizeof *r->uses);
    r->pinned = tc_arena_array(&p->scratch, n, sizeof *r->pinned);
    r->gone = tc_arena_array(&p->scratch, n, sizeof *r->gone);
    if (!r->maker || !r->use_begin || !r->uses || !r->pinned || !r->gone)
        return tc_compiler_exhausted();
    while (r->kept.count < n)
        if (!tc_vector_push(&r->kept, false))
            return tc_compiler_exhausted();
    memset(r->maker, 0xff, n * sizeof *r->maker);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < p->steps.count; i++) {
            const tc_step *step = &p->steps.data[i];
            for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
                int32_t s = storage_of(p, step->first_input + k);
                if (s < 0)
                    continue;
                if (pass == 0)
                    r->use_begin[s + 2]++;
                else
                    r->uses[r->use_begin[s + 1]++] = (int32_t)i;
                if (pass == 0 && k >= step->n_inputs)
                    r->maker[s] = r->maker[s] == -1 ? (int32_t)i : -2; /* -2: made in parts */
            }
        }
        for (size_t s = 2; pass == 0 && s <= n; s++)
            r->use_begin[s] += r->use_begin[s - 1];
    }
    return TC_OK;
}

/* The first step after `step` that uses a storage, -1. */
static int32_t next_use(const recomputer *r, int32_t storage, int32_t step)
{
    int32_t low = r->use_begin[storage], high = r->use_begin[storage + 1];
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (r->uses[middle] <= step)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->use_begin[storage + 1] ? r->uses[low] : -1;
}

static wish wish_of(const tc_planner *p, const tc_step *step)
{
    const tc_node *node = tc_graph_node_at(p->graph, step->node);
    const char *text = node->notes ? tc_node_note(node, "rematerialize") : NULL;
    if (!text)
        return WISH_NONE;
    return strcmp(text, "always") == 0  ? WISH_ALWAYS
           : strcmp(text, "never") == 0 ? WISH_NEVER
                                        : WISH_NONE;
}

static bool may_repeat(const recomputer *r, int32_t index)
{
    const tc_planner *p = r->p;
    if (index < 0)
        return false;
    const tc_step *step = &p->steps.data[index];
    if (!step->kernel || step->node < 0 || index >= p->plan->n_compute)
        return false;
    const tc_op *op = tc_graph_node_at(p->graph, step->node)->attrs.op;
    if (op->effects & (TC_EFFECT_WRITE | TC_EFFECT_IO | TC_EFFECT_COLLECTIVE) || op->bound)
        return false;
    for (int32_t k = 0; k < step->n_outputs; k++)
        if (p->operands.data[step->first_output + k] < 0 ||
            p->storages.data[storage_of(p, step->first_output + k)].place != TC_PLACE_ARENA ||
            r->maker[storage_of(p, step->first_output + k)] != index)
            return false;
    return wish_of(p, step) != WISH_NEVER;
}

/* A rough measure of time: moving a byte takes as long as a few operations. */
static double step_cost(const tc_planner *p, const tc_step *step)
{
    tc_node_cost cost = p->plan->costs[step->node];
    return cost.flops + 4 * cost.bytes + 1000;
}

/*
 * Choosing
 */
static bool in_chain(const chain *c, int32_t step)
{
    for (int32_t i = 0; i < c->count; i++)
        if (c->steps[i] == step)
            return true;
    return false;
}

/* Adds the steps that make what step `index` reads available before step `use`. `peak` is the
 * fullest step. False when that is not possible or not worth it. */
static bool extend_chain(const recomputer *r, chain *c, int32_t index, int32_t use, int32_t peak)
{
    const tc_planner *p = r->p;
    const tc_step *step = &p->steps.data[index];
    if (c->count == MAX_CHAIN || c->tries++ == MAX_TRIES || !may_repeat(r, index))
        return false;
    c->steps[c->count++] = index;
    c->cost += step_cost(p, step);
    for (int32_t k = 0; k < step->n_inputs; k++) {
        int32_t s = storage_of(p, step->first_input + k);
        if (s < 0 || p->storages.data[s].place != TC_PLACE_ARENA)
            continue;
        const tc_storage *storage = &p->storages.data[s];
        if (storage->last >= use && !r->gone[s])
            continue; /* alive there anyway */
        int32_t maker = r->maker[s];
        if (maker >= 0 && in_chain(c, maker))
            continue;
        chain longer = *c;
        if (maker >= 0 && extend_chain(r, &longer, maker, use, peak)) {
            *c = longer;
            continue;
        }
        c->tries = longer.tries;
        if (r->gone[s] || storage->first > peak)
            return false;
        if (storage->last < peak)
            c->extended += tc_align_up(storage->bytes, TC_ALIGNMENT);
    }
    return true;
}

static int compare_choices(const void *a, const void *b)
{
    const choice *x = a, *y = b;
    if (x->price != y->price)
        return x->price < y->price ? -1 : 1;
    return x->storage < y->storage ? -1 : x->storage > y->storage;
}

/* Prices what is alive at the fullest step without being used there. */
static tc_status list_choices(recomputer *r, int32_t peak)
{
    const tc_planner *p = r->p;
    r->choices.count = 0;
    for (int32_t s = 0; s < (int32_t)p->storages.count; s++) {
        const tc_storage *storage = &p->storages.data[s];
        if (!tc_plan_counts(p, storage) || storage->bytes == 0 || r->kept.data[s] ||
            storage->first < 0 || storage->first >= peak || storage->last <= peak ||
            r->maker[s] < 0)
            continue;
        wish asked =
            may_repeat(r, r->maker[s]) ? wish_of(p, &p->steps.data[r->maker[s]]) : WISH_NEVER;
        if (asked == WISH_NEVER || (r->only_asked && asked != WISH_ALWAYS))
            continue;
        int32_t use = next_use(r, s, peak - 1);
        if (use == peak)
            continue;
        if (use > p->plan->n_compute)
            use = p->plan->n_compute; /* what commits use is made before anything commits */
        chain c = {.count = 0};
        if (use <= peak || !extend_chain(r, &c, r->maker[s], use, peak))
            continue;
        size_t bytes = tc_align_up(storage->bytes, TC_ALIGNMENT);
        if (c.extended >= bytes)
            continue;
        double price = asked == WISH_ALWAYS ? 0 : c.cost / (double)(bytes - c.extended);
        if (!tc_vector_push(&r->choices, ((choice){price, s, use})))
            return tc_compiler_exhausted();
    }
    if (r->choices.count > 0)
        qsort(r->choices.data, r->choices.count, sizeof *r->choices.data, compare_choices);
    return TC_OK;
}

/*
 * Repeating
 */
/* Storages that a chain makes again, and their new ones. */
typedef struct renaming {
    int32_t from[MAX_CHAIN * 8];
    int32_t to[MAX_CHAIN * 8];
    int32_t count;
} renaming;

static int32_t renamed(const renaming *names, int32_t storage)
{
    for (int32_t i = 0; i < names->count; i++)
        if (names->from[i] == storage)
            return names->to[i];
    return -1;
}

/* A buffer like `buffer` in another storage, -1 when memory is exhausted. */
static int32_t moved_buffer(tc_planner *p, int32_t buffer, int32_t storage)
{
    tc_buffer copy = p->buffers.data[buffer];
    int32_t value = p->buffer_value.data[buffer];
    size_t shift = p->buffer_shift.data[buffer];
    bool pushed = tc_vector_push(&p->buffer_storage, storage) &&
                  tc_vector_push(&p->buffer_value, value) &&
                  tc_vector_push(&p->buffer_shift, shift) && tc_vector_push(&p->buffers, copy);
    return pushed ? (int32_t)p->buffers.count - 1 : -1;
}

static int32_t new_storage(recomputer *r, int32_t like)
{
    tc_planner *p = r->p;
    tc_storage storage = p->storages.data[like];
    bool kept = r->kept.data[like];
    storage.first = storage.last = storage.lane = storage.alias = -1;
    if (!tc_vector_push(&p->storages, storage) || !tc_vector_push(&r->kept, kept))
        return -1;
    return (int32_t)p->storages.count - 1;
}

/* A copy of step `index` on new outputs. */
static tc_status repeat_step(recomputer *r, int32_t index, int32_t before, renaming *names)
{
    tc_planner *p = r->p;
    insertion put = {before, (int32_t)r->insertions.count, p->steps.data[index], -1};
    const tc_step *step = &put.step;
    int32_t first = (int32_t)p->operands.count;
    for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
        int32_t buffer = p->operands.data[step->first_input + k];
        int32_t storage = buffer < 0 ? -1 : p->buffer_storage.data[buffer], to = -1;
        if (storage >= 0)
            to = renamed(names, storage);
        if (k >= step->n_inputs && to < 0) {
            if ((to = new_storage(r, storage)) < 0)
                return tc_compiler_exhausted();
            names->from[names->count] = storage;
            names->to[names->count++] = to;
        }
        if (to >= 0 && (buffer = moved_buffer(p, buffer, to)) < 0)
            return tc_compiler_exhausted();
        if (!tc_vector_push(&p->operands, buffer))
            return tc_compiler_exhausted();
    }
    int32_t workspace = p->step_workspace.data[index];
    if (workspace >= 0 && (put.workspace = new_storage(r, workspace)) < 0)
        return tc_compiler_exhausted();
    put.step.first_output = first + (step->first_output - step->first_input);
    put.step.first_input = first;
    return tc_vector_push(&r->insertions, put) ? TC_OK : tc_compiler_exhausted();
}

/* Lets the steps from `use` on take `to` for `from`. */
static tc_status redirect(recomputer *r, int32_t from, int32_t to, int32_t use)
{
    tc_planner *p = r->p;
    for (int32_t i = r->use_begin[from]; i < r->use_begin[from + 1]; i++) {
        if (r->uses[i] < use)
            continue;
        tc_step *step = &p->steps.data[r->uses[i]];
        /* The operands may have been redirected before: the old ones are there to be put back. */
        for (int32_t k = 0; k < step->n_inputs; k++) {
            int32_t buffer = p->operands.data[step->first_input + k];
            if (buffer < 0 || p->buffer_storage.data[buffer] != from)
                continue;
            int32_t moved = moved_buffer(p, buffer, to);
            if (moved < 0)
                return tc_compiler_exhausted();
            p->operands.data[step->first_input + k] = moved;
        }
    }
    return TC_OK;
}

/* Steps of a chain in the order in which they ran. */
static int compare_steps(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

static tc_status repeat(recomputer *r, const choice *chosen, chain *c)
{
    const tc_planner *p = r->p;
    renaming names = {.count = 0};
    qsort(c->steps, (size_t)c->count, sizeof c->steps[0], compare_steps);
    for (int32_t i = 0; i < c->count; i++) {
        const tc_step *step = &p->steps.data[c->steps[i]];
        for (int32_t k = 0; k < step->n_inputs; k++) {
            int32_t s = storage_of(p, step->first_input + k);
            if (s >= 0)
                r->pinned[s] = true;
        }
        TC_TRY(repeat_step(r, c->steps[i], chosen->use, &names));
    }
    r->gone[chosen->storage] = true;
    return redirect(r, chosen->storage, renamed(&names, chosen->storage), chosen->use);
}

static bool fits_names(const recomputer *r, const chain *c)
{
    int32_t outputs = 0;
    for (int32_t i = 0; i < c->count; i++)
        outputs += r->p->steps.data[c->steps[i]].n_outputs;
    return outputs <= MAX_CHAIN * 8;
}

/* Takes the cheapest choices, `*taken` of them, until `wanted` bytes go. */
static tc_status take_choices(recomputer *r, int32_t peak, size_t wanted, int32_t *taken)
{
    size_t freed = 0;
    *taken = 0;
    for (size_t i = 0; i < r->choices.count && freed < wanted && *taken < r->limit; i++) {
        const choice *chosen = &r->choices.data[i];
        chain c = {.count = 0};
        if (r->pinned[chosen->storage] ||
            !extend_chain(r, &c, r->maker[chosen->storage], chosen->use, peak) ||
            !fits_names(r, &c))
            continue;
        size_t bytes = tc_align_up(r->p->storages.data[chosen->storage].bytes, TC_ALIGNMENT);
        if (c.extended >= bytes)
            continue;
        TC_TRY(repeat(r, chosen, &c));
        freed += bytes - c.extended;
        ++*taken;
    }
    return TC_OK;
}

static int compare_insertions(const void *a, const void *b)
{
    const insertion *x = a, *y = b;
    if (x->before != y->before)
        return x->before < y->before ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Puts the new steps between the others. */
static tc_status insert_steps(recomputer *r)
{
    tc_planner *p = r->p;
    size_t old = p->steps.count, added = r->insertions.count;
    const int32_t none = -1;
    const tc_step nothing = {0};
    qsort(r->insertions.data, added, sizeof *r->insertions.data, compare_insertions);
    for (size_t i = 0; i < added; i++)
        if (!tc_vector_push(&p->steps, nothing) || !tc_vector_push(&p->step_workspace, none))
            return tc_compiler_exhausted();
    size_t left = added;
    for (size_t i = old; left > 0; i--) {
        while (left > 0 && r->insertions.data[left - 1].before == (int32_t)i) {
            left--;
            p->steps.data[i + left] = r->insertions.data[left].step;
            p->step_workspace.data[i + left] = r->insertions.data[left].workspace;
        }
        if (i > 0 && left > 0) {
            p->steps.data[i - 1 + left] = p->steps.data[i - 1];
            p->step_workspace.data[i - 1 + left] = p->step_workspace.data[i - 1];
        }
    }
    p->plan->n_compute += (int32_t)added;
    p->plan->recomputed += (int32_t)added;
    return TC_OK;
}

/*
 * Rounds
 */
typedef struct snapshot {
    tc_step *steps;
    int32_t *workspaces;
    int32_t *operands;
    size_t n_steps, n_operands, n_buffers, n_storages;
    size_t live_bytes;
    int32_t n_compute, recomputed;
} snapshot;

static tc_status save(tc_planner *p, snapshot *s)
{
    *s = (snapshot){
        .steps = tc_arena_memdup(&p->scratch, p->steps.data, p->steps.count * sizeof *s->steps),
        .workspaces = tc_arena_memdup(&p->scratch, p->step_workspace.data,
                                      p->steps.count * sizeof *s->workspaces),
        .operands =
            tc_arena_memdup(&p->scratch, p->operands.data, p->operands.count * sizeof *s->operands),
        .n_steps = p->steps.count,
        .n_operands = p->operands.count,
        .n_buffers = p->buffers.count,
        .n_storages = p->storages.count,
        .live_bytes = p->plan->live_bytes,
        .n_compute = p->plan->n_compute,
        .recomputed = p->plan->recomputed,
    };
    return s->steps && s->workspaces && s->operands ? TC_OK : tc_compiler_exhausted();
}

static void restore(recomputer *r, const snapshot *s)
{
    tc_planner *p = r->p;
    memcpy(p->steps.data, s->steps, s->n_steps * sizeof *s->steps);
    memcpy(p->step_workspace.data, s->workspaces, s->n_steps * sizeof *s->workspaces);
    memcpy(p->operands.data, s->operands, s->n_operands * sizeof *s->operands);
    p->steps.count = p->step_workspace.count = s->n_steps;
    p->operands.count = s->n_operands;
    p->buffers.count = p->buffer_storage.count = p->buffer_value.count = p->buffer_shift.count =
        s->n_buffers;
    p->storages.count = r->kept.count = s->n_storages;
    p->plan->n_compute = s->n_compute;
    p->plan->recomputed = s->recomputed;
}

/* What the last round let go is kept from now on. */
static void keep_gone(recomputer *r, size_t n_storages)
{
    for (size_t s = 0; s < n_storages; s++)
        if (r->gone[s])
            r->kept.data[s] = true;
}

/* Frees up to `wanted` bytes at the fullest step. `*more` tells whether another round makes sense.
 */
static tc_status run_round(recomputer *r, size_t wanted, bool *more)
{
    tc_planner *p = r->p;
    snapshot before;
    int32_t taken, peak = p->plan->peak_step;
    *more = false;
    r->insertions.count = 0;
    TC_TRY(find_uses(r));
    TC_TRY(list_choices(r, peak));
    TC_TRY(save(p, &before));
    TC_TRY(take_choices(r, peak, wanted, &taken));
    if (taken == 0)
        return TC_OK;
    TC_TRY(insert_steps(r));
    TC_TRY(tc_plan_measure(p));
    *more = true;
    bool later = p->plan->live_bytes == before.live_bytes && p->plan->peak_step > peak;
    if (p->plan->live_bytes < before.live_bytes || later) {
        r->limit = r->limit > INT32_MAX / 2 ? INT32_MAX : r->limit * 2;
        return TC_OK;
    }
    restore(r, &before);
    if (taken == 1)
        keep_gone(r, before.n_storages);
    r->limit = taken > 1 ? taken / 2 : 1;
    return tc_plan_measure(p);
}

static tc_status run_rounds(recomputer *r, size_t budget)
{
    tc_planner *p = r->p;
    bool more = true;
    for (int round = 0; more && round < MAX_ROUNDS && p->plan->peak_step >= 0; round++) {
        size_t live = p->plan->live_bytes;
        if (live <= budget)
            break;
        tc_arena scratch = p->scratch; /* a round gives its memory back */
        p->scratch = (tc_arena){0};
        tc_status status = run_round(r, live - budget, &more);
        tc_arena_free(&p->scratch);
        p->scratch = scratch;
        TC_TRY(status);
    }
    return TC_OK;
}

static bool asks(const tc_planner *p)
{
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->steps.data[i].node >= 0 && wish_of(p, &p->steps.data[i]) == WISH_ALWAYS)
            return true;
    return false;
}

tc_status tc_plan_recompute(tc_planner *p)
{
    recomputer r = {.p = p, .limit = INT32_MAX, .only_asked = true};
    tc_status status = TC_OK;
    bool asked = asks(p);
    if (!asked && p->memory_budget == 0)
        return TC_OK;
    if (asked) {
        status = tc_plan_measure(p);
        if (status == TC_OK)
            status = run_rounds(&r, 0);
    }
    if (status == TC_OK)
        status = tc_plan_place(p);
    /* Steps that were moved to free memory keep many values waiting for each other, which cannot be
     * computed again. */
    if (status == TC_OK && p->memory_budget > 0 && p->plan->arena_bytes > p->memory_budget &&
        p->plan->recomputed == 0 && p->built_steps) {
        size_t n = (size_t)p->plan->n_compute;
        memcpy(p->steps.data, p->built_steps, n * sizeof *p->built_steps);
        memcpy(p->step_workspace.data, p->built_workspaces, n * sizeof *p->built_workspaces);
        status = tc_plan_place(p);
    }
    r.only_asked = false;
    r.limit = INT32_MAX;
    /* What the placement loses is made up for by aiming lower. */
    size_t budget = p->memory_budget;
    while (status == TC_OK && p->memory_budget > 0 && p->plan->arena_bytes > p->memory_budget) {
        size_t lost = p->plan->arena_bytes - p->plan->live_bytes, live = p->plan->live_bytes;
        size_t aim = p->memory_budget > lost ? p->memory_budget - lost : 0;
        budget = aim < budget ? aim : budget - budget / 64;
        status = run_rounds(&r, budget);
        if (status == TC_OK)
            status = tc_plan_place(p);
        if (p->plan->live_bytes >= live)
            break;
    }
    tc_vector_free(&r.insertions);
    tc_vector_free(&r.choices);
    tc_vector_free(&r.kept);
    return status;
}
