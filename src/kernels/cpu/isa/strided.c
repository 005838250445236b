#include "strided.h"

#include <string.h>

#include "tile.h"

/* What the innermost two dimensions look like. */
enum {
    RUN,  /* columns contiguous in both */
    FILL, /* columns contiguous in `to`, one element in `from` */
    STEP, /* anything */
    TILE  /* columns contiguous in `to`, rows in `from` */
};

/* Bytes that one block moves, and that a thread takes at a time: far above the cost of starting it.
 */
#define BLOCK_BYTES (64 * 1024)
/* Tiles read this much of a source row at a time: a page. */
#define RUN_BYTES  4096
#define LINE_BYTES 64
/* Results above this do not stay in the caches anyway. */
#define STREAM_BYTES (16 * 1024 * 1024)
#define WIDEST       16

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t at_least_1(int64_t n)
{
    return n < 1 ? 1 : n;
}

static int64_t at_most(int64_t n, int64_t limit)
{
    return n < limit ? n : limit;
}

/* Drops dimensions of size 1 and merges neighbours that are contiguous in both views. Returns the
 * rank left. */
static int32_t merge(int32_t rank, const strided_dim *dims, strided_dim *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < rank; i++) {
        strided_dim d = dims[i];
        if (d.count == 1)
            continue;
        if (n && out[n - 1].from == d.from * d.count && out[n - 1].to == d.to * d.count) {
            d.count *= out[n - 1].count;
            n--;
        }
        out[n++] = d;
    }
    return n;
}

static bool contiguous(strided_dim d, int64_t element)
{
    return d.from == element && d.to == element;
}

/* The dimension that tiles run along in the source, -1 when there is none. */
static int32_t tile_rows(int32_t rank, const strided_dim *dims, int64_t element)
{
    if (rank < 2 || dims[rank - 1].to != element || dims[rank - 1].from == 0)
        return -1;
    for (int32_t i = 0; i < rank - 1; i++)
        if (dims[i].from == element)
            return i;
    return -1;
}

static void take_blocks(strided_plan *plan)
{
    int64_t rows = plan->row.count, columns = plan->column.count, element = plan->element;
    if (plan->kind == TILE) {
        /* Long runs of few source rows at a time, for the sake of prefetching; whole lines of the
         * result. */
        int64_t line = LINE_BYTES / element;
        plan->block_rows = at_most(rows, RUN_BYTES / element);
        plan->block_columns =
            at_most(columns, at_least_1(BLOCK_BYTES / element / plan->block_rows / line) * line);
    } else {
        plan->block_columns = at_most(columns, BLOCK_BYTES / element);
        plan->block_rows =
            at_most(rows, at_least_1(BLOCK_BYTES / (element * at_least_1(plan->block_columns))));
    }
    plan->loop[plan->loops++] =
        (strided_dim){ceil_div(rows, plan->block_rows), plan->row.from * plan->block_rows,
                      plan->row.to * plan->block_rows};
    plan->loop[plan->loops++] = (strided_dim){ceil_div(columns, plan->block_columns),
                                              plan->column.from * plan->block_columns,
                                              plan->column.to * plan->block_columns};
    plan->blocks = 1;
    for (int32_t i = 0; i < plan->loops; i++)
        plan->blocks *= plan->loop[i].count;
    plan->grain = at_least_1(BLOCK_BYTES / (element * plan->block_rows * plan->block_columns));
}

void strided_make(strided_plan *plan, int32_t rank, const strided_dim *dims, int32_t element)
{
    strided_dim d[TC_MAX_RANK];
    *plan = (strided_plan){.element = element};
    int64_t total = element;
    for (int32_t i = 0; i < rank; i++)
        if (dims[i].count == 0)
            return; /* no blocks */
    for (int32_t i = 0; i < rank; i++)
        total *= dims[i].count;
    rank = merge(rank, dims, d);
    while (rank && contiguous(d[rank - 1], plan->element)) {
        int64_t wider = plan->element * at_most(d[rank - 1].count, WIDEST + 1);
        if (wider > WIDEST || (wider & (wider - 1)))
            break;
        plan->element = (int32_t)wider;
        rank--;
    }
    strided_dim one = {1, plan->element, plan->element};
    plan->column = rank ? d[--rank] : one;
    d[rank] = plan->column;
    int32_t along = tile_rows(rank + 1, d, plan->element);
    plan->kind = contiguous(plan->column, plan->element)                      ? RUN
                 : along >= 0                                                 ? TILE
                 : plan->column.from == 0 && plan->column.to == plan->element ? FILL
                                                                              : STEP;
    if (plan->kind != TILE)
        along = rank - 1;
    plan->row = along >= 0 ? d[along] : one;
    for (int32_t i = 0; i < rank; i++)
        if (i != along)
            plan->loop[plan->loops++] = d[i];
    /* Short inner loops cost more than strides. */
    if ((plan->kind == STEP || plan->kind == FILL) && plan->column.count < 16 &&
        plan->row.count > plan->column.count) {
        strided_dim swap = plan->row;
        plan->row = plan->column;
        plan->column = swap;
        plan->kind = STEP;
    }
    plan->stream = total >= STREAM_BYTES;
    take_blocks(plan);
}

/* One block of each kind; strides are those of the plan. */
typedef struct block {
    const char *from;
    char *to;
    int64_t rows, columns;
} block;

static void copy_run(const strided_plan *p, block b)
{
    for (int64_t r = 0; r < b.rows; r++)
        memcpy(b.to + r * p->row.to, b.from + r * p->row.from, (size_t)(b.columns * p->element));
}

/* Elements of a fixed size; `memcpy` because wide elements are aligned to their parts alone. */
typedef struct wide {
    uint64_t part[2];
} wide;

#define ELEMENTS(size, type)                                                                    \
    static void copy_fill_##size(const strided_plan *p, block b)                                \
    {                                                                                           \
        for (int64_t r = 0; r < b.rows; r++) {                                                  \
            char *to = b.to + r * p->row.to;                                                    \
            type e;                                                                             \
            memcpy(&e, b.from + r * p->row.from, size);                                         \
            for (int64_t c = 0; c < b.columns; c++)                                             \
                memcpy(to + c * size, &e, size);                                                \
        }                                                                                       \
    }                                                                                           \
    static void copy_step_##size(const strided_plan *p, block b)                                \
    {                                                                                           \
        int64_t from_step = p->column.from, to_step = p->column.to;                             \
        for (int64_t r = 0; r < b.rows; r++) {                                                  \
            const char *from = b.from + r * p->row.from;                                        \
            char *to = b.to + r * p->row.to;                                                    \
            for (int64_t c = 0; c < b.columns; c++)                                             \
                memcpy(to + c * to_step, from + c * from_step, size);                           \
        }                                                                                       \
    }                                                                                           \
    static void copy_edge_##size(const strided_plan *p, block b)                                \
    {                                                                                           \
        if (b.rows < b.columns) {                                                               \
            copy_step_##size(p, b);                                                             \
            return;                                                                             \
        }                                                                                       \
        for (int64_t c = 0; c < b.columns; c++)                                                 \
            for (int64_t r = 0; r < b.rows; r++)                                                \
                memcpy(b.to + r * p->row.to + c * size, b.from + c * p->column.from + r * size, \
                       size);                                                                   \
    }

ELEMENTS(1, uint8_t)
ELEMENTS(2, uint16_t)
ELEMENTS(4, uint32_t)
ELEMENTS(8, uint64_t)
ELEMENTS(16, wide)

/* The part of a block below its first `rows` and right of its first `columns`, as two blocks. */
static block block_right(const strided_plan *p, block b, int64_t columns)
{
    return (block){b.from + columns * p->column.from, b.to + columns * p->column.to, b.rows,
                   b.columns - columns};
}

static block block_below(const strided_plan *p, block b, int64_t rows, int64_t columns)
{
    return (block){b.from + rows * p->row.from, b.to + rows * p->row.to, b.rows - rows, columns};
}

/* Squares of whole cache lines, beside them tiles of whole registers, beside those elements. */
#define TILES(size)                                                                    \
    static void copy_small_##size(const strided_plan *p, block b)                      \
    {                                                                                  \
        const int64_t edge = TC_TILE_EDGE_##size;                                      \
        int64_t rows = b.rows / edge * edge, columns = b.columns / edge * edge;        \
        for (int64_t r = 0; r < rows; r += edge)                                       \
            for (int64_t c = 0; c < columns; c += edge)                                \
                tile_##size(b.from + c * p->column.from + r * size, p->column.from,    \
                            b.to + r * p->row.to + c * size, p->row.to);               \
        copy_edge_##size(p, block_right(p, b, columns));                               \
        copy_edge_##size(p, block_below(p, b, rows, columns));                         \
    }                                                                                  \
    static void copy_tile_##size(const strided_plan *p, block b)                       \
    {                                                                                  \
        const int64_t side = 64 / size;                                                \
        int64_t rows = b.rows / side * side, columns = b.columns / side * side;        \
        bool stream = p->stream && ((uintptr_t)b.to | (uintptr_t)p->row.to) % 64 == 0; \
        for (int64_t r = 0; r < rows; r += side)                                       \
            for (int64_t c = 0; c < columns; c += side)                                \
                square_##size(b.from + c * p->column.from + r * size, p->column.from,  \
                              b.to + r * p->row.to + c * size, p->row.to, stream);     \
        if (stream)                                                                    \
            tile_fence();                                                              \
        copy_small_##size(p, block_right(p, b, columns));                              \
        copy_small_##size(p, block_below(p, b, rows, columns));                        \
    }

TILES(1)
TILES(2)
TILES(4)
TILES(8)

typedef void (*block_function)(const strided_plan *plan, block b);

static block_function function_of(const strided_plan *plan)
{
    static const block_function functions[][3] = {
        {copy_fill_1, copy_step_1, copy_tile_1},    {copy_fill_2, copy_step_2, copy_tile_2},
        {copy_fill_4, copy_step_4, copy_tile_4},    {copy_fill_8, copy_step_8, copy_tile_8},
        {copy_fill_16, copy_step_16, copy_edge_16},
    };
    return plan->kind == RUN ? copy_run
                             : functions[__builtin_ctz((unsigned)plan->element)][plan->kind - FILL];
}

typedef struct copy_job {
    const strided_plan *plan;
    const char *from;
    char *to;
} copy_job;

static void copy_blocks(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const copy_job *job = context;
    const strided_plan *p = job->plan;
    block_function function = function_of(p);
    int32_t n = p->loops;
    int64_t index[TC_MAX_RANK + 2], rest = begin;
    block b = {.from = job->from, .to = job->to};
    for (int32_t i = n; i-- > 0;) {
        index[i] = rest % p->loop[i].count;
        rest /= p->loop[i].count;
        b.from += index[i] * p->loop[i].from;
        b.to += index[i] * p->loop[i].to;
    }
    for (int64_t at = begin; at < end; at++) {
        b.rows = at_most(p->row.count - index[n - 2] * p->block_rows, p->block_rows);
        b.columns = at_most(p->column.count - index[n - 1] * p->block_columns, p->block_columns);
        function(p, b);
        for (int32_t i = n; i-- > 0;) {
            b.from += p->loop[i].from;
            b.to += p->loop[i].to;
            if (++index[i] < p->loop[i].count)
                break;
            b.from -= index[i] * p->loop[i].from;
            b.to -= index[i] * p->loop[i].to;
            index[i] = 0;
        }
    }
}

void strided_copy(const strided_plan *plan, const void *from, void *to, tc_pool *pool)
{
    copy_job job = {plan, (const char *)from + plan->from_offset, (char *)to + plan->to_offset};
    if (plan->blocks)
        tc_parallel_for(pool, plan->blocks, plan->grain, copy_blocks, &job);
}
