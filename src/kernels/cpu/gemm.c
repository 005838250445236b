/* Blocking, packing and splitting of matrix products (see gemm.h; the register tiles are in
 * gemm_micro.h). */
#include "kernels/cpu/gemm.h"

#include <string.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "core/dtype.h"
#include "kernels/cpu/gemm_widen.h"

/* How B reaches the register tiles. */
enum {
    MODE_DIRECT, /* its rows are read where they are */
    MODE_DOT,    /* transposed, dot products of rows */
    MODE_LOCAL,  /* every job packs the block it multiplies */
    MODE_SHARED  /* all of B is packed first */
};

enum {
    COPY_ROWS = 112,     /* of A at a time: 8 strips of 14 */
    ROW_TILE = 224,      /* of C per job at most */
    COLUMN_TILE = 256,   /* with DEPTH, a block of B that fills less than half of a 1 MiB cache */
    DEPTH = 384,         /* of k per pass */
    JOBS = 32,           /* more jobs than this are not sought */
    JOB_WORK = 1 << 19,  /* multiply-adds that are worth a job: about 10 us */
    ITEM_WORK = 1 << 24, /* products of a batch below this are not split */
    DIRECT_ROWS = 64,    /* up to this many rows, packing B costs more than it gains */
};

extern const tc_gemm_micro tc_gemm_micro_scalar;
#if defined(__x86_64__)
extern const tc_gemm_micro tc_gemm_micro_avx2, tc_gemm_micro_avx512;
#elif defined(__aarch64__)
extern const tc_gemm_micro tc_gemm_micro_neon;
#endif

const tc_gemm_micro *tc_gemm_micro_of(tc_isa isa)
{
    static const tc_gemm_micro *const variants[TC_ISA_COUNT] = {
        [TC_ISA_SCALAR] = &tc_gemm_micro_scalar,
#if defined(__x86_64__)
        [TC_ISA_AVX2] = &tc_gemm_micro_avx2,
        [TC_ISA_AVX512] = &tc_gemm_micro_avx512,
#elif defined(__aarch64__)
        [TC_ISA_NEON] = &tc_gemm_micro_neon,
#endif
    };
    return variants[isa] ? variants[isa] : &tc_gemm_micro_scalar;
}

static bool is_wide(const tc_gemm *g)
{
    return g->dtype == TC_F32 || g->dtype == TC_F64;
}

/* Whether tiles are computed in C itself: not where C must be rounded, or holds the residual. */
static bool in_c(const tc_gemm *g)
{
    return is_wide(g) && !g->epilogue.residual;
}

/* Bytes of an element while computing. */
static size_t compute_size(const tc_gemm *g)
{
    return g->dtype == TC_F64 ? sizeof(double) : sizeof(float);
}

static int64_t panel_width(const tc_gemm *g)
{
    const tc_gemm_micro *micro = tc_gemm_micro_of(g->isa);
    return g->dtype == TC_F64 ? micro->f64.width : micro->f32.width;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static int64_t round_up(int64_t a, int64_t b)
{
    return ceil_div(a, b) * b;
}

static int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* True when a * b * c is above `limit`, for numbers of any size. */
static bool product_above(int64_t a, int64_t b, int64_t c, int64_t limit)
{
    int64_t product;
    return !tc_mul_i64(a, b, &product) || !tc_mul_i64(product, c, &product) || product > limit;
}

/* Elements between rows of a copy of `columns` columns: odd multiples of 64 bytes spread over the
 * sets of a cache. */
static int64_t copy_ld(int64_t columns)
{
    return round_up(columns, 32) + 16;
}

/* Bytes of the parts of a worker's scratch: copy of A, panels of B, tile of C. */
static void scratch_sizes(const tc_gemm *g, size_t sizes[3])
{
    size_t size = compute_size(g);
    int64_t m = g->row_tile, k = g->depth, rows = min_i64(m, COPY_ROWS);
    int64_t copy = g->transpose_a ? k * copy_ld(rows) : rows * copy_ld(k);
    sizes[0] = g->copy_a ? tc_align_up((size_t)copy * size, 64) : 0;
    sizes[1] = g->mode == MODE_LOCAL ? tc_align_up((size_t)(k * g->column_tile) * size, 64) : 0;
    sizes[2] = in_c(g) ? 0 : tc_align_up((size_t)(m * g->column_tile) * size, 64);
}

static int choose_mode(const tc_gemm *g)
{
    bool pays = g->m > COPY_ROWS && !g->whole_items;
    if (!is_wide(g))
        return pays ? MODE_SHARED : MODE_LOCAL;
    if (g->transpose_b) {
        if (!g->transpose_a && g->m <= tc_gemm_micro_of(g->isa)->dot_rows && g->k >= 32)
            return MODE_DOT;
        return pays ? MODE_SHARED : MODE_LOCAL;
    }
    if (g->m <= DIRECT_ROWS || g->n <= panel_width(g))
        return MODE_DIRECT;
    /* Rows of B at a large power of two fall on few sets of the caches. */
    bool clash = (size_t)g->ldb * compute_size(g) % 2048 == 0 && g->k > 64;
    if (g->m <= 2 * COPY_ROWS)
        return clash ? (pays ? MODE_SHARED : MODE_LOCAL) : MODE_DIRECT;
    return pays ? MODE_SHARED : MODE_DIRECT;
}

static void choose_tiles(tc_gemm *g)
{
    int64_t width = panel_width(g);
    /* Every tile of rows would read, or pack, all of B again. */
    bool all_rows = g->mode == MODE_DOT || g->mode == MODE_LOCAL || g->m <= DIRECT_ROWS;
    g->row_tile = all_rows ? g->m : min_i64(g->m, ROW_TILE);
    g->column_tile = min_i64(round_up(g->n, width), COLUMN_TILE);
    /* Halve the tiles while that gives more jobs that are still worth one. */
    while (ceil_div(g->m, g->row_tile) * ceil_div(g->n, g->column_tile) < JOBS &&
           product_above(g->row_tile, g->column_tile, g->k, 2 * JOB_WORK)) {
        if (g->column_tile > 4 * width)
            g->column_tile = round_up(g->column_tile / 2, width);
        else if (!all_rows && g->row_tile > COPY_ROWS / 2)
            g->row_tile = ceil_div(g->row_tile, 2);
        else
            break;
    }
}

bool tc_gemm_plan(tc_gemm *g, int threads)
{
    bool empty = g->m == 0 || g->n == 0;
    for (int i = 0; i < g->batch_rank; i++)
        empty = empty || g->batch_dims[i] == 0;
    g->items = empty ? 0 : 1;
    if (empty)
        return true;
    for (int i = 0; i < g->batch_rank; i++)
        if (!tc_mul_i64(g->items, g->batch_dims[i], &g->items))
            return false;
    g->whole_items = g->items > 1 && !product_above(g->m, g->n, g->k, ITEM_WORK);
    g->mode = choose_mode(g);
    choose_tiles(g);
    int64_t passes = ceil_div(g->k, DEPTH);
    g->depth = passes > 1 ? round_up(ceil_div(g->k, passes), 8) : g->k;
    int64_t work = g->m * g->n; /* C exists, so this does not overflow */
    g->items_per_job = 1;
    if (!product_above(work, g->k > 0 ? g->k : 1, 2, JOB_WORK))
        g->items_per_job = JOB_WORK / (work * (g->k > 0 ? g->k : 1));
    /* A copy of A pays when enough columns read it: at once where its rows are columns, later where
     * they clash. */
    size_t row = (size_t)g->lda * compute_size(g);
    g->copy_a = !is_wide(g) ||
                (g->mode != MODE_DOT && g->k > 32 &&
                 (g->transpose_a ? g->column_tile >= 32 : g->column_tile >= 96 && row % 1024 == 0));

    size_t size = compute_size(g), parts[3];
    scratch_sizes(g, parts);
    g->worker_bytes = parts[0] + parts[1] + parts[2];
    g->single = g->items == 1 && g->mode == MODE_DIRECT && g->worker_bytes == 0 &&
                g->m <= g->row_tile && g->n <= g->column_tile && g->k <= g->depth &&
                g->m <= tc_epilogue_rows(g->m, g->n, size, tc_gemm_micro_of(g->isa)->strip);
    g->packed_bytes = g->shared_bytes = 0;
    if (g->mode == MODE_SHARED || g->mode == MODE_LOCAL) {
        size_t all;
        if (!tc_mul_size((size_t)round_up(g->n, panel_width(g)), (size_t)g->k, &all) ||
            !tc_mul_size(all, size, &all) || all > SIZE_MAX - 64)
            return false;
        bool one_b = true;
        for (int i = 0; i < g->batch_rank; i++)
            one_b = one_b && (g->batch_b[i] == 0 || g->batch_dims[i] == 1);
        g->packed_bytes = one_b ? all : 0;
        g->shared_bytes = g->mode == MODE_SHARED ? tc_align_up(all, 64) : 0;
    }
    return tc_mul_size(g->worker_bytes, (size_t)(threads > 0 ? threads : 1), &g->workspace_bytes) &&
           tc_add_size(g->workspace_bytes, g->shared_bytes, &g->workspace_bytes);
}

/* Address of element `index` of an array of the dtype of `g`. */
static const void *at(const tc_gemm *g, const void *base, int64_t index)
{
    return (const char *)base + index * (int64_t)tc_dtype_size(g->dtype);
}

static void *at_out(const tc_gemm *g, void *base, int64_t index)
{
    return (char *)base + index * (int64_t)tc_dtype_size(g->dtype);
}

/*
 * Columns [j, j + columns) and depth [p, p + depth) of B as panels; `stride` is elements of a
 * panel, so that a part of a longer panel can be written. The tail of the last panel stays
 * unwritten, and unread.
 */
static void pack_panels(const tc_gemm *g, const void *b, int64_t p, int64_t depth, int64_t j,
                        int64_t columns, void *panels, int64_t stride)
{
    int64_t width = panel_width(g);
    size_t size = compute_size(g);
    /* A few rows of B at a time, all their columns: the pages that hold them are read once. */
    int64_t chunk = g->transpose_b ? depth : 16;
    for (int64_t row = 0; row < depth; row += chunk) {
        int64_t rows = min_i64(chunk, depth - row);
        for (int64_t first = 0; first < columns; first += width) {
            char *to = (char *)panels + (size_t)(first / width * stride + row * width) * size;
            int64_t count = min_i64(width, columns - first), p0 = p + row, j0 = j + first;
            if (g->transpose_b)
                tc_widen_transpose(tc_gemm_micro_of(g->isa), g->dtype, at(g, b, j0 * g->ldb + p0),
                                   g->ldb, count, rows, to, width);
            else
                tc_widen(tc_gemm_micro_of(g->isa), g->dtype, at(g, b, p0 * g->ldb + j0), g->ldb,
                         rows, count, to, width);
        }
    }
}

/* A tile of C being computed: rows [i, i + m) and columns [j, j + n) of one item. */
typedef struct tile {
    const tc_gemm *g;
    const tc_epilogue_inputs *after; /* NULL: nothing follows */
    int64_t i, m, j, n;
    char *out; /* where it is computed: C, or scratch */
    int64_t ld;
    char *c;              /* element (i, j) of C */
    const char *residual; /* that of the residual, NULL */
} tile;

/* One run of the register tiles. B and C are f32 or f64 here, A too. */
static void multiply(const tc_gemm *g, int64_t m, int64_t n, int64_t k, const void *a,
                     int64_t a_row, int64_t a_column, const void *b, int64_t ldb, int64_t panel,
                     void *c, int64_t ldc, bool accumulate)
{
    const tc_gemm_micro *micro = tc_gemm_micro_of(g->isa);
    if (g->dtype == TC_F64)
        micro->f64.run(m, n, k, a, a_row, a_column, b, ldb, panel, c, ldc, accumulate);
    else
        micro->f32.run(m, n, k, a, a_row, a_column, b, ldb, panel, c, ldc, accumulate);
}

/* Finishes rows [row, row + m) and columns [column, column + n) of a tile, counted within it. */
static void finish(const tile *t, int64_t row, int64_t m, int64_t column, int64_t n)
{
    const tc_gemm *g = t->g;
    const tc_epilogue_inputs *after = t->after;
    size_t size = compute_size(g), vector = (size_t)(t->j + column) * size;
    char *out = t->out + (size_t)(row * t->ld + column) * size;
    int64_t place = row * g->ldc + column;
    tc_epilogue_tile part = {.rows = m,
                             .columns = n,
                             .from = out,
                             .to = is_wide(g) ? at_out(g, t->c, place) : out,
                             .from_ld = t->ld,
                             .to_ld = is_wide(g) ? g->ldc : t->ld,
                             .scale = after->scale ? (const char *)after->scale + vector : NULL,
                             .bias = after->bias ? (const char *)after->bias + vector : NULL,
                             .column_step = 1,
                             .residual_ld = g->ldc};
    if (t->residual)
        part.residual = at(g, t->residual, place);
    tc_epilogue_apply(&g->epilogue, &part);
}

/* With B transposed: dot products of its rows with those of A. */
static void run_dots(const tile *t, const void *a, const void *b)
{
    const tc_gemm *g = t->g;
    const tc_gemm_micro *micro = tc_gemm_micro_of(g->isa);
    const void *left = at(g, a, t->i * g->lda);
    size_t size = compute_size(g);
    /* Finished by columns, while they are in the first cache. */
    int64_t columns = t->after ? tc_epilogue_rows(t->n, t->m, size, 4) : t->n;
    for (int64_t j = 0; j < t->n; j += columns) {
        int64_t n = min_i64(columns, t->n - j);
        const void *right = at(g, b, (t->j + j) * g->ldb);
        void *out = t->out + (size_t)j * size;
        if (g->dtype == TC_F64)
            micro->f64.dot(t->m, n, g->k, left, g->lda, right, g->ldb, out, t->ld, g->accumulate);
        else
            micro->f32.dot(t->m, n, g->k, left, g->lda, right, g->ldb, out, t->ld, g->accumulate);
        if (t->after)
            finish(t, 0, t->m, j, n);
    }
}

/* `packed`: all of B in panels, or NULL. */
static void run_products(const tile *t, const void *a, const void *b, const void *packed,
                         char *copy, char *panels)
{
    const tc_gemm *g = t->g;
    int64_t width = panel_width(g);
    size_t size = compute_size(g);
    int64_t a_row = g->transpose_a ? 1 : g->lda, a_column = g->transpose_a ? g->lda : 1;
    int64_t strip = tc_gemm_micro_of(g->isa)->strip;
    int64_t p = 0;
    do { /* k = 0 makes one pass, which writes zeros */
        int64_t depth = min_i64(g->depth, g->k - p);
        bool finishes = t->after && p + depth >= g->k;
        const void *right = at(g, b, p * g->ldb + t->j);
        int64_t right_ld = g->ldb, panel = width;
        if (packed) {
            right = (const char *)packed + (size_t)(t->j * g->k + p * width) * size;
            right_ld = width;
            panel = g->k * width;
        } else if (g->mode == MODE_LOCAL) {
            pack_panels(g, b, p, depth, t->j, t->n, panels, depth * width);
            right = panels;
            right_ld = width;
            panel = depth * width;
        }
        for (int64_t row = 0; row < t->m; row += COPY_ROWS) {
            int64_t rows = min_i64(COPY_ROWS, t->m - row);
            const char *left = at(g, a, (t->i + row) * a_row + p * a_column);
            int64_t left_row = a_row, left_column = a_column;
            if (g->copy_a) {
                int64_t ld = copy_ld(g->transpose_a ? rows : depth);
                tc_widen(tc_gemm_micro_of(g->isa), g->dtype, left, g->lda,
                         g->transpose_a ? depth : rows, g->transpose_a ? rows : depth, copy, ld);
                left = copy;
                left_row = g->transpose_a ? 1 : ld;
                left_column = g->transpose_a ? ld : 1;
            }
            int64_t step = finishes ? tc_epilogue_rows(rows, t->n, size, strip) : rows;
            for (int64_t done = 0; done < rows; done += step) {
                int64_t count = min_i64(step, rows - done);
                multiply(g, count, t->n, depth, left + (size_t)(done * left_row) * size, left_row,
                         left_column, right, right_ld, panel,
                         t->out + (size_t)((row + done) * t->ld) * size, t->ld,
                         g->accumulate || p > 0);
                if (finishes)
                    finish(t, row + done, count, 0, t->n);
            }
        }
        p += depth;
    } while (p < g->k);
}

typedef struct job {
    const tc_gemm *gemm;
    const void *a, *b, *packed;
    const tc_epilogue_inputs *after; /* NULL: nothing follows */
    const void *residual;            /* of the item, NULL */
    void *c;
    char *scratch;
    void *panels; /* to be written */
} job;

/* Rows [i, i + m) and columns [j, j + n) of one item. */
static void run_tile(const job *w, int64_t i, int64_t m, int64_t j, int64_t n, char *scratch)
{
    const tc_gemm *g = w->gemm;
    tile t = {.g = g, .after = w->after, .i = i, .m = m, .j = j, .n = n};
    size_t parts[3] = {0};
    if (g->worker_bytes)
        scratch_sizes(g, parts);
    char *panels = scratch ? scratch + parts[0] : NULL;
    t.c = at_out(g, w->c, i * g->ldc + j);
    t.residual = w->residual ? at(g, w->residual, i * g->ldc + j) : NULL;
    t.out = in_c(g) ? t.c : panels + parts[1];
    t.ld = in_c(g) ? g->ldc : g->column_tile;
    if (g->mode == MODE_DOT)
        run_dots(&t, w->a, w->b);
    else
        run_products(&t, w->a, w->b, w->packed, scratch, panels);
    if (!is_wide(g))
        tc_narrow(tc_gemm_micro_of(g->isa), g->dtype, (const float *)(const void *)t.out, t.ld, m,
                  n, t.c, g->ldc);
}

static void pack_block(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    const job *w = context;
    const tc_gemm *g = w->gemm;
    int64_t width = panel_width(g);
    char *to = (char *)w->panels + (size_t)(begin * width * g->k) * compute_size(g);
    pack_panels(g, w->b, 0, g->k, begin * width, min_i64(end * width, g->n) - begin * width, to,
                g->k * width);
}

void tc_gemm_pack(const tc_gemm *g, const void *b, void *packed, tc_pool *pool)
{
    if (g->items == 0)
        return;
    job w = {.gemm = g, .b = b, .panels = packed};
    int64_t width = panel_width(g);
    int64_t grain = g->k * width > 0 ? 65536 / (g->k * width) : 1;
    tc_parallel_for(pool, ceil_div(g->n, width), grain > 0 ? grain : 1, pack_block, &w);
}

static void tile_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *w = context;
    const tc_gemm *g = w->gemm;
    int64_t row_tiles = ceil_div(g->m, g->row_tile);
    char *scratch = g->worker_bytes ? w->scratch + (size_t)worker * g->worker_bytes : NULL;
    for (int64_t t = begin; t < end; t++) {
        /* Neighbouring jobs share a block of B. */
        int64_t i = t % row_tiles * g->row_tile, j = t / row_tiles * g->column_tile;
        run_tile(w, i, min_i64(g->row_tile, g->m - i), j, min_i64(g->column_tile, g->n - j),
                 scratch);
    }
}

/* Offsets of A and B of an item of the batch. */
static void locate(const tc_gemm *g, int64_t item, int64_t *a, int64_t *b)
{
    *a = *b = 0;
    for (int d = g->batch_rank; d-- > 0;) {
        int64_t index = item % g->batch_dims[d];
        item /= g->batch_dims[d];
        *a += index * g->batch_a[d];
        *b += index * g->batch_b[d];
    }
}

static job item_of(const job *w, int64_t item)
{
    const tc_gemm *g = w->gemm;
    int64_t a, b;
    locate(g, item, &a, &b);
    job one = *w;
    one.a = at(g, w->a, a);
    one.b = at(g, w->b, b);
    one.c = at_out(g, w->c, item * g->m * g->ldc);
    one.residual = w->residual ? at(g, w->residual, item * g->m * g->ldc) : NULL;
    return one;
}

static void item_block(void *context, int64_t begin, int64_t end, int worker)
{
    const job *w = context;
    const tc_gemm *g = w->gemm;
    int64_t tiles = ceil_div(g->m, g->row_tile) * ceil_div(g->n, g->column_tile);
    for (int64_t item = begin; item < end; item++) {
        job one = item_of(w, item);
        tile_block(&one, 0, tiles, worker);
    }
}

void tc_gemm_run(const tc_gemm *g, const void *a, const void *b, const void *packed,
                 const tc_epilogue_inputs *after, void *c, void *workspace, tc_pool *pool)
{
    job w = {.gemm = g,
             .a = a,
             .b = b,
             .packed = packed,
             .after = g->epilogue.used ? after : NULL,
             .c = c,
             .scratch = workspace};
    w.residual = w.after ? after->residual : NULL;
    if (g->single) {
        const tile t = {
            .g = g, .after = w.after, .m = g->m, .n = g->n, .out = c, .ld = g->ldc, .c = c};
        multiply(g, g->m, g->n, g->k, a, g->transpose_a ? 1 : g->lda, g->transpose_a ? g->lda : 1,
                 b, g->ldb, panel_width(g), c, g->ldc, g->accumulate);
        if (t.after)
            finish(&t, 0, g->m, 0, g->n);
        return;
    }
    if (g->whole_items) {
        tc_parallel_for(pool, g->items, g->items_per_job, item_block, &w);
        return;
    }
    int64_t tiles = g->items ? ceil_div(g->m, g->row_tile) * ceil_div(g->n, g->column_tile) : 0;
    if (g->mode == MODE_SHARED) {
        w.panels = workspace;
        w.scratch = (char *)workspace + g->shared_bytes;
    }
    for (int64_t item = 0; item < g->items; item++) {
        job one = item_of(&w, item);
        if (g->mode == MODE_SHARED && !packed) {
            /* A B that all items share is packed for the first one. */
            if (item == 0 || !g->packed_bytes)
                tc_gemm_pack(g, one.b, w.panels, pool);
            one.packed = w.panels;
        }
        tc_parallel_for(pool, tiles, 1, tile_block, &one);
    }
}
