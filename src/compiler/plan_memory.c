/* Arena memory: in-place pairs first, then offsets for what remains. */
#include "compiler/planner.h"

static int32_t storage_at(const tc_planner *p, int32_t operand)
{
    int32_t buffer = p->operands.data[operand];
    return buffer < 0 ? -1 : p->buffer_storage.data[buffer];
}

/*
 * Lifetimes
 */
static void use(tc_planner *p, int32_t storage, int32_t index)
{
    tc_storage *s = &p->storages.data[storage];
    const tc_step *step = &p->steps.data[index];
    bool again = s->last >= 0 && step->region >= 0 && p->steps.data[s->last].region == step->region;
    if (s->first < 0)
        s->first = index;
    s->lane = again && s->lane != step->lane ? -1 : step->lane;
    s->last = index;
}

/* From the steps as they stand, in the order of their indexes. */
static void find_lifetimes(tc_planner *p)
{
    for (size_t i = 0; i < p->storages.count; i++) {
        tc_storage *s = &p->storages.data[i];
        s->first = s->last = s->lane = s->alias = -1;
    }
    for (size_t i = 0; i < p->steps.count; i++) {
        const tc_step *step = &p->steps.data[i];
        for (int32_t k = 0; k < step->n_inputs + step->n_outputs; k++) {
            int32_t storage = storage_at(p, step->first_input + k);
            if (storage >= 0)
                use(p, storage, (int32_t)i);
        }
        if (p->step_workspace.data[i] >= 0)
            use(p, p->step_workspace.data[i], (int32_t)i);
    }
}

/* Storages that share memory in place, seen from the one that began it. */
typedef struct chains {
    tc_planner *p;
    int32_t *start; /* per storage */
    int32_t *last;  /* per start: last step of the whole chain */
    int32_t *taken; /* per start: the step that last took it over, -1 */
} chains;

/* Whether operands show all of their storages, which a storage of parts may not. */
static bool are_whole(const tc_planner *p, int32_t a, int32_t b)
{
    return tc_plan_is_whole(p, p->operands.data[a]) && tc_plan_is_whole(p, p->operands.data[b]);
}

/* Whether output number `output` may take the memory of input number `input`, which dies in this
 * step. */
static bool may_take(const chains *c, int32_t index, int32_t input, int32_t output)
{
    const tc_planner *p = c->p;
    const tc_step *step = &p->steps.data[index];
    int32_t from = storage_at(p, step->first_input + input);
    int32_t to = storage_at(p, step->first_output + output);
    if (from < 0 || from == to || p->storages.data[from].place != TC_PLACE_ARENA ||
        p->storages.data[from].device != p->storages.data[to].device ||
        p->storages.data[to].place != TC_PLACE_ARENA || p->storages.data[to].alias >= 0)
        return false;
    int32_t start = c->start[from];
    if (c->last[start] != index || c->taken[start] == index || p->storages.data[to].bytes == 0 ||
        p->storages.data[from].bytes != p->storages.data[to].bytes ||
        p->storages.data[to].first != index ||
        !are_whole(p, step->first_input + input, step->first_output + output))
        return false;
    /* Beside other lanes "last" means nothing: the memory must be this lane's alone. */
    if (step->region >= 0 && p->storages.data[from].lane < 0)
        return false;
    for (int32_t k = 0; k < step->n_inputs; k++) {
        int32_t other = storage_at(p, step->first_input + k);
        if (k != input && other >= 0 && c->start[other] == start)
            return false;
    }
    return true;
}

static void pair_step(chains *c, int32_t index)
{
    tc_planner *p = c->p;
    const tc_step *step = &p->steps.data[index];
    const tc_op *op = tc_graph_node_at(p->graph, step->node)->attrs.op;
    for (int16_t i = 0; i < op->n_inplace; i++) {
        int32_t input = op->inplace[i].input, output = op->inplace[i].output;
        if (input >= step->n_inputs || output >= step->n_outputs)
            continue;
        if (!may_take(c, index, input, output))
            continue;
        int32_t to = storage_at(p, step->first_output + output);
        int32_t start = c->start[storage_at(p, step->first_input + input)];
        p->storages.data[to].alias = start;
        c->start[to] = start;
        c->taken[start] = index;
        if (p->storages.data[to].last > c->last[start])
            c->last[start] = p->storages.data[to].last;
    }
}

/* Commit steps work on variables, so only the compute part has pairs. */
static tc_status find_pairs(tc_planner *p)
{
    size_t n = p->storages.count;
    chains c = {p, tc_arena_array(&p->scratch, n, sizeof *c.start),
                tc_arena_array(&p->scratch, n, sizeof *c.last),
                tc_arena_array(&p->scratch, n, sizeof *c.taken)};
    if (!c.start || !c.last || !c.taken)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < n; i++) {
        c.start[i] = (int32_t)i;
        c.last[i] = p->storages.data[i].last;
        c.taken[i] = -1;
    }
    for (int32_t i = 0; i < p->plan->n_compute; i++)
        if (p->steps.data[i].kernel)
            pair_step(&c, i);
    return TC_OK;
}

/*
 * Placement
 */
/* The steps that the memory of a storage lasts for. Steps of a region go on at the same time, so
 * what one of them uses lasts for all of it. */
static void lasting(const tc_planner *p, const tc_storage *s, int32_t *first, int32_t *last)
{
    int32_t begin = p->steps.data[s->first].region, end = p->steps.data[s->last].region;
    *first = begin < 0 ? s->first : p->regions.data[begin].first_step;
    *last = end < 0 ? s->last : p->regions.data[end].first_step + p->regions.data[end].n_steps - 1;
}

/* Bytes alive at the fullest step on the device in focus. */
static tc_status find_peak(tc_planner *p)
{
    const tc_lifetime *blocks = p->blocks;
    int32_t count = p->n_blocks;
    size_t n_steps = p->steps.count, live = 0;
    size_t *begins = tc_arena_array(&p->scratch, n_steps + 1, sizeof *begins);
    size_t *ends = tc_arena_array(&p->scratch, n_steps + 1, sizeof *ends);
    /* Blocks in one chain follow each other: they last as one. */
    int32_t *whole = tc_arena_array(&p->scratch, (size_t)count, sizeof *whole);
    if (!begins || !ends || !whole)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < count; i++) {
        int32_t start = blocks[i].alias < 0 ? i : blocks[i].alias;
        if (blocks[i].last > whole[start])
            whole[start] = blocks[i].last;
    }
    for (int32_t i = 0; i < count; i++) {
        if (blocks[i].alias >= 0 || p->block_device[i] != p->focus)
            continue;
        size_t bytes = tc_align_up(blocks[i].bytes, TC_ALIGNMENT);
        begins[blocks[i].first] += bytes;
        ends[whole[i] + 1] += bytes;
    }
    p->plan->live_bytes = 0;
    p->plan->peak_step = -1;
    for (size_t i = 0; i < n_steps; i++) {
        live += begins[i] - ends[i];
        if (live > p->plan->live_bytes) {
            p->plan->live_bytes = live;
            p->plan->peak_step = (int32_t)i;
        }
    }
    return TC_OK;
}

static tc_status make_blocks(tc_planner *p)
{
    size_t n = p->storages.count;
    p->n_blocks = 0;
    p->blocks = tc_arena_array(&p->scratch, n, sizeof *p->blocks);
    p->block_of = tc_arena_array(&p->scratch, n, sizeof *p->block_of);
    p->block_device = tc_arena_array(&p->scratch, n, sizeof *p->block_device);
    if (!p->blocks || !p->block_of || !p->block_device)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < n; i++) {
        const tc_storage *s = &p->storages.data[i];
        p->block_of[i] = -1;
        if (s->place != TC_PLACE_ARENA || s->first < 0)
            continue;
        tc_lifetime *block = &p->blocks[p->block_of[i] = p->n_blocks++];
        *block = (tc_lifetime){.bytes = s->bytes, .alias = s->alias};
        p->block_device[p->block_of[i]] = s->device;
        lasting(p, s, &block->first, &block->last);
    }
    /* The storage that an alias names was made by an earlier step, though not always numbered
     * before. */
    for (int32_t i = 0; i < p->n_blocks; i++)
        if (p->blocks[i].alias >= 0)
            p->blocks[i].alias = p->block_of[p->blocks[i].alias];
    return TC_OK;
}

tc_status tc_plan_measure(tc_planner *p)
{
    find_lifetimes(p);
    TC_TRY(find_pairs(p));
    TC_TRY(make_blocks(p));
    TC_TRY(tc_plan_gather_lanes(p));
    return find_peak(p);
}

/* Places the blocks of one device, which are collected in `some`; what shares memory does so on one
 * device. */
static tc_status place_blocks(tc_planner *p, int32_t device, tc_lifetime *some, int32_t *number)
{
    int32_t count = 0;
    for (int32_t i = 0; i < p->n_blocks; i++)
        if (p->block_device[i] == device) {
            number[i] = count;
            some[count++] = p->blocks[i];
        }
    for (int32_t i = 0; i < count; i++)
        if (some[i].alias >= 0)
            some[i].alias = number[some[i].alias];
    TC_TRY(tc_memory_plan(some, count, &p->plan->devices[device].arena_bytes));
    for (int32_t i = 0; i < p->n_blocks; i++)
        if (p->block_device[i] == device)
            p->blocks[i].offset = some[number[i]].offset;
    return TC_OK;
}

static tc_status place_all_blocks(tc_planner *p)
{
    tc_plan_memory *devices = p->plan->devices;
    if (!p->plan->mixed) {
        TC_TRY(tc_memory_plan(p->blocks, p->n_blocks, &devices[0].arena_bytes));
    } else {
        size_t n = (size_t)p->n_blocks;
        tc_lifetime *some = tc_arena_array(&p->scratch, n, sizeof *some);
        int32_t *number = tc_arena_array(&p->scratch, n, sizeof *number);
        if (!some || !number)
            return tc_compiler_exhausted();
        for (int32_t d = 0; d < p->plan->n_devices; d++)
            TC_TRY(place_blocks(p, d, some, number));
    }
    p->plan->arena_bytes = devices[p->focus].arena_bytes;
    return TC_OK;
}

tc_status tc_plan_place(tc_planner *p)
{
    TC_TRY(tc_plan_measure(p));
    TC_TRY(place_all_blocks(p));
    for (size_t i = 0; i < p->storages.count; i++)
        if (p->block_of[i] >= 0)
            p->storages.data[i].offset += p->blocks[p->block_of[i]].offset;
    for (size_t i = 0; i < p->buffers.count; i++) {
        const tc_storage *s = &p->storages.data[p->buffer_storage.data[i]];
        p->buffers.data[i].place = s->place;
        p->buffers.data[i].index = s->index;
        p->buffers.data[i].device = s->device;
        p->buffers.data[i].offset = s->offset + p->buffer_shift.data[i];
    }
    for (size_t i = 0; i < p->steps.count; i++)
        if (p->step_workspace.data[i] >= 0)
            p->steps.data[i].workspace_offset = p->storages.data[p->step_workspace.data[i]].offset;
    return TC_OK;
}

tc_status tc_plan_focus(tc_planner *p, int32_t device)
{
    p->focus = device;
    TC_TRY(find_peak(p));
    p->plan->arena_bytes = p->plan->devices[device].arena_bytes;
    p->plan->devices[device].live_bytes = p->plan->live_bytes;
    return TC_OK;
}
