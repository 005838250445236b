/*
 * Memory of lanes. What one lane alone uses, from its first use to its last, is placed in a block
 * of the lane, where it takes turns with the rest of the lane; the blocks of lanes that go on at
 * the same time lie side by side.
 */
#include "compiler/memory.h"
#include "compiler/planner.h"

typedef struct lane_blocks {
    tc_planner *p;
    int32_t *base;   /* per region: number of its first lane */
    int32_t n_lanes; /* of all regions */
    int32_t *lane;   /* per storage: the one lane that uses it, -1 */
    int32_t *begin;  /* per lane: its first in `members`, and one more */
    int32_t *members;
    tc_lifetime *blocks; /* of one lane */
    int32_t *number;     /* per storage: its number among them */
} lane_blocks;

static int32_t lane_of(const lane_blocks *l, int32_t storage)
{
    const tc_planner *p = l->p;
    const tc_storage *s = &p->storages.data[storage];
    if (p->block_of[storage] < 0 || s->lane < 0)
        return -1;
    int32_t region = p->steps.data[s->first].region;
    if (region < 0 || p->steps.data[s->last].region != region)
        return -1;
    return l->base[region] + s->lane;
}

/* What shares memory in place stays together: all of it is one lane's, or none. */
static void find_owners(lane_blocks *l)
{
    const tc_planner *p = l->p;
    int32_t n = (int32_t)p->storages.count;
    for (int32_t i = 0; i < n; i++)
        l->lane[i] = lane_of(l, i);
    for (int32_t i = 0; i < n; i++) {
        int32_t start = p->storages.data[i].alias;
        if (start >= 0 && l->lane[i] != l->lane[start])
            l->lane[start] = -1;
    }
    for (int32_t i = 0; i < n; i++)
        if (p->storages.data[i].alias >= 0)
            l->lane[i] = l->lane[p->storages.data[i].alias];
}

static void list_members(lane_blocks *l)
{
    int32_t n = (int32_t)l->p->storages.count;
    for (int32_t i = 0; i < n; i++)
        if (l->lane[i] >= 0)
            l->begin[l->lane[i] + 1]++;
    for (int32_t lane = 0; lane < l->n_lanes; lane++)
        l->begin[lane + 1] += l->begin[lane];
    for (int32_t i = 0; i < n; i++)
        if (l->lane[i] >= 0)
            l->members[l->begin[l->lane[i]]++] = i;
    for (int32_t lane = l->n_lanes; lane > 0; lane--) /* each has moved on to its end */
        l->begin[lane] = l->begin[lane - 1];
    l->begin[0] = 0;
}

/* Places the storages of a lane within it. */
static tc_status place_lane(lane_blocks *l, int32_t lane, size_t *bytes)
{
    tc_planner *p = l->p;
    const int32_t *members = l->members + l->begin[lane];
    int32_t count = l->begin[lane + 1] - l->begin[lane];
    for (int32_t i = 0; i < count; i++)
        l->number[members[i]] = i;
    for (int32_t i = 0; i < count; i++) {
        const tc_storage *s = &p->storages.data[members[i]];
        int32_t alias = s->alias < 0 ? -1 : l->number[s->alias];
        l->blocks[i] = (tc_lifetime){s->bytes, s->first, s->last, alias, 0};
    }
    TC_TRY(tc_memory_plan(l->blocks, count, bytes));
    for (int32_t i = 0; i < count; i++)
        p->storages.data[members[i]].offset = l->blocks[i].offset;
    return TC_OK;
}

/* Keeps the blocks of storages that no lane has for itself, and adds one per lane. */
static tc_status replace_blocks(lane_blocks *l)
{
    tc_planner *p = l->p;
    int32_t n = (int32_t)p->storages.count, count = 0;
    tc_lifetime *blocks =
        tc_arena_array(&p->scratch, (size_t)n + (size_t)l->n_lanes, sizeof *blocks);
    int32_t *devices = tc_arena_array(&p->scratch, (size_t)n + (size_t)l->n_lanes, sizeof *devices);
    if (!blocks || !devices)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < n; i++)
        if (p->block_of[i] >= 0 && l->lane[i] < 0) {
            blocks[count] = p->blocks[p->block_of[i]];
            devices[count] = p->block_device[p->block_of[i]];
            p->block_of[i] = count++;
        }
    for (int32_t i = 0; i < n; i++)
        if (p->block_of[i] >= 0 && l->lane[i] < 0 && p->storages.data[i].alias >= 0)
            blocks[p->block_of[i]].alias = p->block_of[p->storages.data[i].alias];
    for (size_t r = 0; r < p->regions.count; r++) {
        const tc_region *region = &p->regions.data[r];
        for (int32_t lane = l->base[r]; lane < l->base[r] + region->n_lanes; lane++) {
            tc_lifetime block = {.first = region->first_step,
                                 .last = region->first_step + region->n_steps - 1,
                                 .alias = -1};
            TC_TRY(place_lane(l, lane, &block.bytes));
            for (int32_t i = l->begin[lane]; i < l->begin[lane + 1]; i++)
                p->block_of[l->members[i]] = count;
            if (l->begin[lane + 1] == l->begin[lane])
                continue;
            devices[count] = p->steps.data[region->first_step].device;
            blocks[count++] = block;
        }
    }
    p->blocks = blocks;
    p->n_blocks = count;
    p->block_device = devices;
    return TC_OK;
}

tc_status tc_plan_gather_lanes(tc_planner *p)
{
    size_t n = p->storages.count;
    lane_blocks l = {.p = p};
    for (size_t i = 0; i < n; i++)
        p->storages.data[i].offset = 0;
    if (p->regions.count == 0)
        return TC_OK;
    l.base = tc_arena_array(&p->scratch, p->regions.count, sizeof *l.base);
    for (size_t r = 0; l.base && r < p->regions.count; r++) {
        l.base[r] = l.n_lanes;
        l.n_lanes += p->regions.data[r].n_lanes;
    }
    l.lane = tc_arena_array(&p->scratch, n, sizeof *l.lane);
    l.begin = tc_arena_array(&p->scratch, (size_t)l.n_lanes + 1, sizeof *l.begin);
    l.members = tc_arena_array(&p->scratch, n, sizeof *l.members);
    l.blocks = tc_arena_array(&p->scratch, n, sizeof *l.blocks);
    l.number = tc_arena_array(&p->scratch, n, sizeof *l.number);
    if (!l.base || !l.lane || !l.begin || !l.members || !l.blocks || !l.number)
        return tc_compiler_exhausted();
    find_owners(&l);
    list_members(&l);
    return replace_blocks(&l);
}
