#include "compiler/memory.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

/*
 * Looks at groups in the way that an order may take. Where tens of thousands of blocks are alive at
 * one time, looking for the best place of each takes minutes, and memory is given out instead as an
 * allocator would.
 */
#define MAX_LOOKS(groups) (((int64_t)1 << 22) + 64 * (int64_t)(groups))

/* A set of aliased blocks, which is placed as one. */
typedef struct group {
    size_t bytes; /* rounded up to the alignment */
    size_t offset;
    int32_t first, last;
    int32_t rank; /* among all groups by first step: the leaf of the tree */
} group;

/* A group that is in the way of the one being placed. */
typedef struct span {
    size_t begin, end;
} span;

typedef struct planner {
    group *groups;
    int32_t count;
    int32_t *by_first; /* groups in order of their first step */
    int32_t *order;    /* in which groups are placed */
    /*
     * Tree over by_first: the largest last step of the placed groups below a node, -1 for none. It
     * finds the k placed groups alive in some range of steps in about O(k + log count).
     */
    int32_t *tree;
    int32_t leaves; /* a power of two */
    span *spans;
    int32_t n_spans;
    int64_t looks; /* at groups in the way, which one order may still take */
} planner;

static int compare_first(const void *a, const void *b, void *context)
{
    const group *groups = context;
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    if (groups[i].first != groups[j].first)
        return groups[i].first < groups[j].first ? -1 : 1;
    return i < j ? -1 : i > j;
}

static int compare_size(const void *a, const void *b, void *context)
{
    const group *groups = context;
    const group *x = &groups[*(const int32_t *)a], *y = &groups[*(const int32_t *)b];
    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* Long-lived groups first: they split the space least when they lie at its bottom. */
static int compare_duration(const void *a, const void *b, void *context)
{
    const group *groups = context;
    const group *x = &groups[*(const int32_t *)a], *y = &groups[*(const int32_t *)b];
    int64_t p = (int64_t)x->last - x->first, q = (int64_t)y->last - y->first;
    if (p != q)
        return p > q ? -1 : 1;
    return compare_size(a, b, context);
}

/* What takes most bytes for most steps first. */
static int compare_area(const void *a, const void *b, void *context)
{
    const group *groups = context;
    const group *x = &groups[*(const int32_t *)a], *y = &groups[*(const int32_t *)b];
    double p = (double)x->bytes * (x->last - x->first + 1.0);
    double q = (double)y->bytes * (y->last - y->first + 1.0);
    if (p != q)
        return p > q ? -1 : 1;
    return compare_size(a, b, context);
}

/* In the order of time, as an allocator would. */
static int compare_time(const void *a, const void *b, void *context)
{
    const group *groups = context;
    const group *x = &groups[*(const int32_t *)a], *y = &groups[*(const int32_t *)b];
    return x->rank < y->rank ? -1 : x->rank > y->rank;
}

/* By the end of time, the latest first. */
static int compare_end(const void *a, const void *b, void *context)
{
    const group *groups = context;
    const group *x = &groups[*(const int32_t *)a], *y = &groups[*(const int32_t *)b];
    if (x->last != y->last)
        return x->last > y->last ? -1 : 1;
    return compare_size(a, b, context);
}

typedef int (*comparison)(const void *, const void *, void *);

/* Orders to place groups in. Those after the first two are tried where these leave gaps. */
static const comparison orders[] = {compare_size, compare_duration, compare_area, compare_time,
                                    compare_end};
#define N_ORDERS ((int)(sizeof orders / sizeof orders[0]))

static int compare_span(const void *a, const void *b)
{
    const span *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static void place_in_tree(planner *p, const group *g)
{
    for (int32_t node = p->leaves + g->rank; node >= 1 && p->tree[node] < g->last; node /= 2)
        p->tree[node] = g->last;
}

static void collect(planner *p, int32_t node, int32_t begin, int32_t size, int32_t first,
                    int32_t last)
{
    if (begin >= p->count || p->tree[node] < first || p->groups[p->by_first[begin]].first > last)
        return;
    if (size == 1) {
        const group *g = &p->groups[p->by_first[begin]];
        p->spans[p->n_spans++] = (span){g->offset, g->offset + g->bytes};
        return;
    }
    collect(p, node * 2, begin, size / 2, first, last);
    collect(p, node * 2 + 1, begin + size / 2, size / 2, first, last);
}

/* The smallest gap that holds the group, else the end of what is in the way. */
static bool place(planner *p, group *g)
{
    p->n_spans = 0;
    collect(p, 1, 0, p->leaves, g->first, g->last);
    p->looks -= p->n_spans;
    qsort(p->spans, (size_t)p->n_spans, sizeof *p->spans, compare_span);
    size_t end = 0, best = SIZE_MAX, at = 0;
    for (int32_t i = 0; i < p->n_spans; i++) {
        if (p->spans[i].begin > end) {
            size_t gap = p->spans[i].begin - end;
            if (gap >= g->bytes && gap < best) {
                best = gap;
                at = end;
            }
        }
        if (p->spans[i].end > end)
            end = p->spans[i].end;
    }
    g->offset = best == SIZE_MAX ? end : at;
    size_t top;
    return tc_add_size(g->offset, g->bytes, &top);
}

/* False when it does not fit in the address space, or `looks` were not enough. */
static bool place_all(planner *p, comparison compare, size_t *total)
{
    p->looks = MAX_LOOKS(p->count);
    for (int32_t i = 0; i < p->count; i++)
        p->order[i] = i;
    qsort_r(p->order, (size_t)p->count, sizeof *p->order, compare, p->groups);
    memset(p->tree, 0xff, sizeof *p->tree * (size_t)p->leaves * 2);
    *total = 0;
    for (int32_t i = 0; i < p->count; i++) {
        group *g = &p->groups[p->order[i]];
        if (!place(p, g) || p->looks < 0)
            return false;
        place_in_tree(p, g);
        if (g->offset + g->bytes > *total)
            *total = g->offset + g->bytes;
    }
    return true;
}

/*
 * Giving out memory in the order of time: the smallest free gap that is large enough, else at the
 * end. p->spans are the gaps in order of their place, none next to another.
 */
static void give_back(planner *p, const group *g)
{
    size_t begin = g->offset, end = begin + g->bytes;
    int32_t low = 0, high = p->n_spans;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (p->spans[middle].begin < begin)
            low = middle + 1;
        else
            high = middle;
    }
    span *next = p->spans + low;
    bool after = low > 0 && next[-1].end == begin, before = low < p->n_spans && next->begin == end;
    size_t behind = (size_t)(p->n_spans - low);
    if (after && before) {
        next[-1].end = next->end;
        memmove(next, next + 1, (behind - 1) * sizeof *next);
        p->n_spans--;
    } else if (after) {
        next[-1].end = end;
    } else if (before) {
        next->begin = begin;
    } else {
        memmove(next + 1, next, behind * sizeof *next);
        *next = (span){begin, end};
        p->n_spans++;
    }
}

static bool give_out(planner *p, group *g, size_t *end)
{
    int32_t best = -1;
    for (int32_t i = 0; i < p->n_spans; i++) {
        size_t bytes = p->spans[i].end - p->spans[i].begin;
        if (bytes >= g->bytes && (best < 0 || bytes < p->spans[best].end - p->spans[best].begin))
            best = i;
        if (bytes == g->bytes)
            break;
    }
    if (best < 0) {
        g->offset = *end;
        return tc_add_size(*end, g->bytes, end);
    }
    span *gap = p->spans + best;
    g->offset = gap->begin;
    gap->begin += g->bytes;
    if (gap->begin == gap->end)
        memmove(gap, gap + 1, (size_t)(--p->n_spans - best) * sizeof *gap);
    return true;
}

static bool allocate_all(planner *p, size_t *total)
{
    int32_t ended = p->count; /* those behind it in `order`, the latest end first, have */
    for (int32_t i = 0; i < p->count; i++)
        p->order[i] = i;
    qsort_r(p->order, (size_t)p->count, sizeof *p->order, compare_end, p->groups);
    p->n_spans = 0;
    *total = 0;
    for (int32_t i = 0; i < p->count; i++) {
        group *g = &p->groups[p->by_first[i]];
        while (p->groups[p->order[ended - 1]].last < g->first)
            give_back(p, &p->groups[p->order[--ended]]);
        if (!give_out(p, g, total))
            return false;
    }
    return true;
}

/* Places all in order number `order`, or as an allocator would behind the last one. */
static bool place_by(planner *p, int order, size_t *total)
{
    return order < N_ORDERS ? place_all(p, orders[order], total) : allocate_all(p, total);
}

/* Bytes alive at the fullest step: no placement needs less. Saturates. */
static size_t live_bound(planner *p)
{
    /* Groups by their last step, with the bytes in place of the end. */
    for (int32_t i = 0; i < p->count; i++)
        p->spans[i] = (span){(size_t)p->groups[i].last, p->groups[i].bytes};
    qsort(p->spans, (size_t)p->count, sizeof *p->spans, compare_span);
    size_t live = 0, most = 0;
    int32_t ended = 0;
    for (int32_t i = 0; i < p->count; i++) {
        const group *g = &p->groups[p->by_first[i]];
        while (ended < p->count && p->spans[ended].begin < (size_t)g->first)
            live -= p->spans[ended++].end;
        if (!tc_add_size(live, g->bytes, &live))
            return SIZE_MAX;
        if (live > most)
            most = live;
    }
    return most;
}

static tc_status plan_groups(planner *p, size_t *total)
{
    for (int32_t i = 0; i < p->count; i++)
        p->by_first[i] = i;
    qsort_r(p->by_first, (size_t)p->count, sizeof *p->by_first, compare_first, p->groups);
    for (int32_t i = 0; i < p->count; i++)
        p->groups[p->by_first[i]].rank = i;
    size_t bound = live_bound(p), other;
    int best = -1, last = -1;
    for (int i = 0; i <= N_ORDERS; i++) {
        bool slow = p->looks < 0; /* what one order took too long for, all do */
        if (best >= 0 && (*total == bound || (i >= 2 && *total - bound <= bound / 32)))
            break;
        if (slow ? i < N_ORDERS : i == N_ORDERS)
            continue;
        if (!place_by(p, last = i, &other) || (best >= 0 && other >= *total))
            continue;
        *total = other;
        best = i;
    }
    if (best < 0)
        return tc_fail(TC_RESOURCE_EXHAUSTED,
                       "intermediate results do not fit in the address space");
    if (best != last) /* offsets are a function of the order, so that placing again restores */
        (void)place_by(p, best, total);
    return TC_OK;
}

static int32_t root_of(const tc_lifetime *blocks, int32_t count, int32_t index)
{
    for (int32_t steps = 0; steps <= count; steps++) {
        int32_t alias = blocks[index].alias;
        if (alias < 0)
            return index;
        if (alias >= count)
            return -1;
        index = alias;
    }
    return -1;
}

/* Makes the groups; slot[i] is the group of root block i, -1 for other blocks and empty groups. */
static tc_status make_groups(planner *p, const tc_lifetime *blocks, int32_t count, int32_t *root,
                             int32_t *slot)
{
    for (int32_t i = 0; i < count; i++) {
        const tc_lifetime *b = &blocks[i];
        root[i] = root_of(blocks, count, i);
        if (root[i] < 0 || b->first < 0 || b->last < b->first)
            return tc_fail(TC_INTERNAL,
                           "memory plan: block %d has the lifetime %d..%d and alias %d", (int)i,
                           (int)b->first, (int)b->last, (int)b->alias);
        slot[i] = -1;
    }
    for (int32_t i = 0; i < count; i++) {
        const tc_lifetime *b = &blocks[i];
        if (b->bytes > SIZE_MAX - TC_ALIGNMENT)
            return tc_fail(TC_RESOURCE_EXHAUSTED,
                           "an intermediate result of %zu bytes does not fit in the address space",
                           b->bytes);
        size_t bytes = tc_align_up(b->bytes, TC_ALIGNMENT);
        int32_t r = root[i];
        if (bytes == 0)
            continue;
        if (slot[r] < 0) {
            slot[r] = p->count;
            p->groups[p->count++] = (group){bytes, 0, b->first, b->last, 0};
            continue;
        }
        group *g = &p->groups[slot[r]];
        if (bytes > g->bytes)
            g->bytes = bytes;
        if (b->first < g->first)
            g->first = b->first;
        if (b->last > g->last)
            g->last = b->last;
    }
    return TC_OK;
}

tc_status tc_memory_plan(tc_lifetime *blocks, int32_t count, size_t *total)
{
    *total = 0;
    if (count <= 0)
        return TC_OK;
    size_t n = (size_t)count;
    planner p = {.leaves = 1};
    while (p.leaves < count)
        p.leaves *= 2;
    /* One allocation for all scratch: two arrays of wide elements, then five of int32_t. */
    size_t ints = n * 4 + (size_t)p.leaves * 2;
    size_t bytes = n * (sizeof(group) + sizeof(span)) + ints * sizeof(int32_t);
    char *scratch = tc_alloc(bytes);
    if (!scratch)
        return tc_fail_memory(bytes, "the memory plan");
    p.groups = (group *)(void *)scratch;
    p.spans = (span *)(void *)(p.groups + n);
    int32_t *root = (int32_t *)(void *)(p.spans + n);
    int32_t *slot = root + n;
    p.by_first = slot + n;
    p.order = p.by_first + n;
    p.tree = p.order + n;
    tc_status status = make_groups(&p, blocks, count, root, slot);
    if (status == TC_OK && p.count > 0)
        status = plan_groups(&p, total);
    for (int32_t i = 0; status == TC_OK && i < count; i++)
        blocks[i].offset = slot[root[i]] >= 0 ? p.groups[slot[root[i]]].offset : 0;
    tc_free(scratch);
    return status;
}
