/*
 * The gradients, included by attention.c after attention_body.h for each type. With P the weights
 * and D = sum(dy y) - dlogsumexp per query:
 *
 *     dv = P' dy,  dS = scale P (dy v' - D),  dk = dS' q,  dq = dS k
 *
 * P is computed again from the saved logsumexp. A block of keys meets all queries and gives dk and
 * dv; a block of queries meets all keys and gives dq. Where one job has all keys of an item, dq
 * comes with dk and dv. Scores and dS have the same bits whichever of keys and queries lie along
 * vectors, and every sum runs over keys or queries in their order.
 */

/* Of the query at row `row` of an item: D, and what to subtract from scores before exp. */
static REAL *NAME(d_of)(const job *j, int64_t item, int64_t row)
{
    return (REAL *)(void *)j->shared + item * j->p->rows + row;
}

static REAL *NAME(shift_of)(const job *j, int64_t item, int64_t row)
{
    return NAME(d_of)(j, item, row) + j->p->items * j->p->rows;
}

static void NAME(sum_queries)(void *argument, int64_t begin, int64_t end, int worker)
{
    const job *j = argument;
    const tc_attention *p = j->p;
    const REAL *lse = j->in[LSE], *dlse = j->in[DLSE];
    for (int64_t r = begin; r < end; r++) {
        const REAL *y = NAME(rows)(p, stored(p, j->in[Y], 0, 0, r, p->depth_v), 1, p->depth_v,
                                   part_of(j, worker, TC_ATTENTION_LINES_2));
        const REAL *dy = NAME(rows)(p, stored(p, j->in[DY], 0, 0, r, p->depth_v), 1, p->depth_v,
                                    part_of(j, worker, TC_ATTENTION_SUM_2));
        *NAME(d_of)(j, 0, r) =
            (REAL)MATH(sum_products)(dy, y, 0, p->depth_v) - (dlse ? dlse[r] : 0);
        *NAME(shift_of)(j, 0, r) = lse[r] == -(REAL)INFINITY ? 0 : lse[r];
    }
}

/* Numbers of the queries of `count` lanes, all of them the one of `from` where queries are lines.
 */
TC_INLINE VECTOR NAME(lane_numbers)(const REAL *from, lanes along, int64_t c, int64_t count)
{
    if (along == LANES_ARE_KEYS)
        return MATH(splat)(from[0]);
    int64_t left = count - c;
    return left < LANES ? MATH(load_part)(from + c, left) : MATH(load)(from + c);
}

/* Tiles of scores and of their gradients: the weights and dS. */
static void NAME(differentiate)(const job *j, const tile *t, lanes along, REAL scale, REAL *scores,
                                REAL *dscores)
{
    bool rows_are_lanes = along == LANES_ARE_ROWS;
    int64_t lines = rows_are_lanes ? t->keys : t->rows, count = rows_are_lanes ? t->rows : t->keys;
    VECTOR factor = MATH(splat)((REAL)j->p->scale);
    for (int64_t i = 0; i < lines; i++) {
        const REAL *d = NAME(d_of)(j, t->item, t->row + (rows_are_lanes ? 0 : i));
        const REAL *shift = NAME(shift_of)(j, t->item, t->row + (rows_are_lanes ? 0 : i));
        for (int64_t c = 0; c < count; c += LANES) {
            REAL *s = scores + i * WIDTH + c, *ds = dscores + i * WIDTH + c;
            VECTOR w = NAME(exp_down)(MATH(fma)(MATH(load)(s), MATH(splat)(scale),
                                                -NAME(lane_numbers)(shift, along, c, count)));
            MATH(store)(s, w);
            MATH(store)(ds, w * factor * (MATH(load)(ds) - NAME(lane_numbers)(d, along, c, count)));
        }
    }
}

/* The weights and dS of a tile, whose lanes are in the panels: `a` and `b` are k and v of its keys
 * or q and dy of its rows. */
static void NAME(grad_tile)(const job *j, int worker, const tile *t, lanes along, const REAL *a,
                            const REAL *b, REAL *scores, REAL *dscores)
{
    const tc_attention *p = j->p;
    const int64_t width = MICRO->TAG.width;
    int64_t lines = along == LANES_ARE_ROWS ? t->keys : t->rows;
    int64_t count = round_up(along == LANES_ARE_ROWS ? t->rows : t->keys, LANES);
    bool masked = is_masked(p, t);
    NAME(multiply)
    (lines, count, p->depth, a, p->depth, 1, part_of(j, worker, TC_ATTENTION_PANEL_1), width,
     p->depth * width, scores, WIDTH, false);
    if (masked)
        NAME(mask_tile)(j, worker, t, along, scores, WIDTH);
    NAME(multiply)
    (lines, count, p->depth_v, b, p->depth_v, 1, part_of(j, worker, TC_ATTENTION_PANEL_2), width,
     p->depth_v * width, dscores, WIDTH, false);
    NAME(differentiate)(j, t, along, masked ? 1 : (REAL)p->scale, scores, dscores);
}

/* Where a block of results is added up: in place, or before it is narrowed. It begins as zeros. */
static REAL *NAME(sum_at)(const job *j, int worker, tc_attention_part part, void *to, int64_t count)
{
    REAL *sum = j->p->narrow ? part_of(j, worker, part) : to;
    memset(sum, 0, (size_t)count * sizeof *sum);
    return sum;
}

static void NAME(deliver)(const tc_attention *p, const REAL *sum, void *to, int64_t count)
{
    if (p->narrow)
        tc_narrow(MICRO, p->dtype, (const void *)sum, count, 1, count, to, count);
}

/* dk and dv of a block of keys; dq too where one job has all of them. */
static void NAME(backward_keys)(const job *j, int64_t item, int64_t key, int worker)
{
    const tc_attention *p = j->p;
    const int64_t width = MICRO->TAG.width;
    tile t = {.item = item, .key = key, .keys = min_i64(TC_ATTENTION_LANES, p->n_k - key)};
    const void *k = stored(p, j->in[K], p->n_k, item, key, p->depth);
    void *dk_to = result(p, j->out[K], p->n_k, item, key, p->depth);
    void *dv_to = result(p, j->out[V], p->n_k, item, key, p->depth_v);
    REAL *dk = NAME(sum_at)(j, worker, TC_ATTENTION_SUM_1, dk_to, t.keys * p->depth);
    REAL *dv = NAME(sum_at)(j, worker, TC_ATTENTION_SUM_2, dv_to, t.keys * p->depth_v);
    REAL *scores = part_of(j, worker, TC_ATTENTION_SCORES);
    REAL *dscores = part_of(j, worker, TC_ATTENTION_DSCORES);
    NAME(panels)(p, k, t.keys, p->depth, part_of(j, worker, TC_ATTENTION_PANEL_1));
    NAME(panels)
    (p, stored(p, j->in[V], p->n_k, item, key, p->depth_v), t.keys, p->depth_v,
     part_of(j, worker, TC_ATTENTION_PANEL_2));
    for (; t.row < p->rows; t.row += TC_ATTENTION_LINES) {
        t.rows = min_i64(TC_ATTENTION_LINES, p->rows - t.row);
        int64_t least, most;
        tc_attention_seen_range(p, t.row, t.rows, &least, &most);
        if (most <= key)
            continue;
        const REAL *q = NAME(rows)(p, stored(p, j->in[Q], p->rows, item, t.row, p->depth), t.rows,
                                   p->depth, part_of(j, worker, TC_ATTENTION_LINES_1));
        const REAL *dy = NAME(rows)(p, stored(p, j->in[DY], p->rows, item, t.row, p->depth_v),
                                    t.rows, p->depth_v, part_of(j, worker, TC_ATTENTION_LINES_2));
        NAME(grad_tile)(j, worker, &t, LANES_ARE_KEYS, q, dy, scores, dscores);
        NAME(multiply)
        (t.keys, p->depth_v, t.rows, scores, 1, WIDTH, dy, p->depth_v, width, dv, p->depth_v, true);
        NAME(multiply)
        (t.keys, p->depth, t.rows, dscores, 1, WIDTH, q, p->depth, width, dk, p->depth, true);
        if (p->whole)
            NAME(multiply)
        (t.rows, p->depth, t.keys, dscores, WIDTH, 1, k, p->depth, width,
         result(p, j->out[Q], p->rows, item, t.row, p->depth), p->depth, true);
    }
    NAME(deliver)(p, dk, dk_to, t.keys * p->depth);
    NAME(deliver)(p, dv, dv_to, t.keys * p->depth_v);
}

/* dq of a block of rows. */
static void NAME(backward_rows)(const job *j, int64_t item, int64_t row, int worker)
{
    const tc_attention *p = j->p;
    tile t = {.item = item, .row = row, .rows = min_i64(TC_ATTENTION_LANES, p->rows - row)};
    void *to = result(p, j->out[Q], p->rows, item, row, p->depth);
    REAL *dq = NAME(sum_at)(j, worker, TC_ATTENTION_SUM_1, to, t.rows * p->depth);
    REAL *scores = part_of(j, worker, TC_ATTENTION_SCORES);
    REAL *dscores = part_of(j, worker, TC_ATTENTION_DSCORES);
    NAME(panels)
    (p, stored(p, j->in[Q], p->rows, item, row, p->depth), t.rows, p->depth,
     part_of(j, worker, TC_ATTENTION_PANEL_1));
    NAME(panels)
    (p, stored(p, j->in[DY], p->rows, item, row, p->depth_v), t.rows, p->depth_v,
     part_of(j, worker, TC_ATTENTION_PANEL_2));
    int64_t least, most;
    tc_attention_seen_range(p, row, t.rows, &least, &most);
    for (; t.key < most; t.key += TC_ATTENTION_LINES) {
        t.keys = min_i64(TC_ATTENTION_LINES, p->n_k - t.key);
        const REAL *k = NAME(rows)(p, stored(p, j->in[K], p->n_k, item, t.key, p->depth), t.keys,
                                   p->depth, part_of(j, worker, TC_ATTENTION_LINES_1));
        const REAL *v = NAME(rows)(p, stored(p, j->in[V], p->n_k, item, t.key, p->depth_v), t.keys,
                                   p->depth_v, part_of(j, worker, TC_ATTENTION_LINES_2));
        NAME(grad_tile)(j, worker, &t, LANES_ARE_ROWS, k, v, scores, dscores);
        NAME(multiply)
        (t.rows, p->depth, t.keys, dscores, 1, WIDTH, k, p->depth, MICRO->TAG.width, dq, p->depth,
         true);
    }
    NAME(deliver)(p, dq, to, t.rows * p->depth);
}

static void NAME(backward_items)(void *argument, int64_t begin, int64_t end, int worker)
{
    const job *j = argument;
    const tc_attention *p = j->p;
    for (int64_t item = begin; item < end; item++) {
        memset(result(p, j->out[Q], p->rows, item, 0, p->depth), 0,
               (size_t)(p->rows * p->depth) * sizeof(REAL));
        for (int64_t key = 0; key < p->n_k; key += TC_ATTENTION_LANES)
            NAME(backward_keys)(j, item, key, worker);
    }
}

static void NAME(backward_blocks)(void *argument, int64_t begin, int64_t end, int worker)
{
    const job *j = argument;
    int64_t blocks = j->p->key_blocks + j->p->row_blocks;
    for (int64_t i = begin; i < end; i++) {
        int64_t item = i / blocks, block = i % blocks - j->p->key_blocks;
        if (block < 0)
            NAME(backward_keys)(j, item, i % blocks * TC_ATTENTION_LANES, worker);
        else
            NAME(backward_rows)(j, item, block * TC_ATTENTION_LANES, worker);
    }
}

static tc_status NAME(backward)(const void *params, const void *const *inputs, void *const *outputs,
                                const tc_kernel_context *context)
{
    const tc_attention *p = params;
    if (p->rows == 0 || p->n_k == 0) {
        for (int i = 0; i < 3; i++)
            if (p->zeros[i])
                memset(outputs[i], 0, p->zeros[i]);
        return TC_OK;
    }
    job j = {.p = p, .in = inputs, .out = outputs, .shared = context->workspace};
    j.scratch = j.shared + p->shared;
    tc_parallel_for(context->pool, p->items * p->rows, 4096 / (p->depth_v + 1) + 1,
                    NAME(sum_queries), &j);
    if (p->whole)
        tc_parallel_for(context->pool, p->items, 1, NAME(backward_items), &j);
    else
        tc_parallel_for(context->pool, p->items * (p->key_blocks + p->row_blocks), 1,
                        NAME(backward_blocks), &j);
    return TC_OK;
}

#undef WIDTH
#undef SHIFT_OF
#undef TAG
#undef EXP_LOW
