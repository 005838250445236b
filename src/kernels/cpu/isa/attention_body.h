/*
 * Included by attention.c for f32, which 16-bit floats are widened to, and f64 (see storage.h).
 * EXP_LOW is an argument near the least whose exponential is a normal number.
 */

#define WIDTH TC_ATTENTION_LANES /* elements between lines of a tile */

/* e^x for x up to a little above 0; 0 for what would be subnormal. */
TC_INLINE VECTOR NAME(exp_down)(VECTOR x)
{
    TC_PASTE(INTEGERS_, TAG) n;
    VECTOR low = MATH(splat)(EXP_LOW);
    VECTOR e = MATH(exp_reduce)(MATH(max)(low, x), &n) + (REAL)1;
    return MATH(select)(x < low, MATH(splat)(0), e * MATH(exp2_int)(n));
}

static void NAME(multiply)(int64_t m, int64_t n, int64_t k, const REAL *a, int64_t a_row,
                           int64_t a_column, const REAL *b, int64_t ldb, int64_t panel, REAL *c,
                           int64_t ldc, bool accumulate)
{
    MICRO->TAG.run(m, n, k, a, a_row, a_column, b, ldb, panel, c, ldc, accumulate);
}

/* `count` rows of an array: where they are, or widened into `buffer`. */
static const REAL *NAME(rows)(const tc_attention *p, const void *from, int64_t count,
                              int64_t columns, REAL *buffer)
{
    if (!p->narrow)
        return from;
    tc_widen(MICRO, p->dtype, from, columns, count, columns, buffer, columns);
    return buffer;
}

/* `count` rows transposed, in panels of the width of the register tiles; missing lanes are 0. */
static void NAME(panels)(const tc_attention *p, const void *from, int64_t count, int64_t columns,
                         REAL *to)
{
    const int64_t width = MICRO->TAG.width;
    size_t row = (size_t)columns * tc_dtype_size(p->dtype);
    for (int64_t first = 0; first < count; first += width) {
        int64_t here = min_i64(width, count - first);
        tc_widen_transpose(MICRO, p->dtype, (const char *)from + (size_t)first * row, columns, here,
                           columns, to, width);
        for (int64_t i = 0; here < width && i < columns; i++)
            memset(to + i * width + here, 0, (size_t)(width - here) * sizeof *to);
        to += columns * width;
    }
}

/* What the mask adds to row `row`, from key `key` on. */
static void NAME(bias_row)(const job *j, int64_t item, int64_t row, int64_t key, int64_t keys,
                           REAL *bias)
{
    const tc_attention *p = j->p;
    int64_t at = tc_attention_mask_start(p, item) + row / p->n_q * p->mask_head +
                 row % p->n_q * p->mask_q + key * p->mask_k;
    int64_t distinct = p->mask_k ? keys : 1;
    if (p->mask_dtype == TC_BOOL) {
        const uint8_t *from = (const uint8_t *)j->in[MASK] + at;
        for (int64_t i = 0; i < distinct; i++)
            bias[i] = from[i] ? 0 : -(REAL)INFINITY;
    } else {
        tc_widen(MICRO, p->dtype, (const char *)j->in[MASK] + (size_t)at * tc_dtype_size(p->dtype),
                 distinct, 1, distinct, bias, distinct);
    }
    for (int64_t i = distinct; i < keys; i++)
        bias[i] = bias[0];
}

/* score * scale + bias; -inf where the bias is or the key is not below `seen`, whatever the score:
 * what is masked need not be a number. */
TC_INLINE VECTOR NAME(masked)(VECTOR score, REAL scale, VECTOR bias, VECTOR seen, VECTOR key)
{
    VECTOR none = MATH(splat)(-(REAL)INFINITY);
    VECTOR s = MATH(fma)(score, MATH(splat)(scale), bias);
    return MATH(select)((bias == none) | (key >= seen), none, s);
}

/* Masks a tile in place, whose lines are `ld` apart. */
static void NAME(mask_tile)(const job *j, int worker, const tile *t, lanes along, REAL *scores,
                            int64_t ld)
{
    const tc_attention *p = j->p;
    REAL *bias = part_of(j, worker, TC_ATTENTION_BIAS), *turned = NULL;
    REAL seen[TC_ATTENTION_LANES > TC_ATTENTION_LINES ? TC_ATTENTION_LANES : TC_ATTENTION_LINES];
    REAL ramp[LANES];
    bool has_mask = p->mask_dtype != TC_DTYPE_INVALID;
    int64_t bias_ld = along == LANES_ARE_KEYS ? ld : round_up(t->keys, LANES);
    int64_t bias_rows = !has_mask ? 0 : p->mask_shared ? 1 : t->rows;
    for (int64_t i = 0; i < bias_rows; i++)
        NAME(bias_row)(j, t->item, t->row + i, t->key, t->keys, bias + i * bias_ld);
    if (along == LANES_ARE_ROWS && bias_rows > 1) {
        turned = part_of(j, worker, TC_ATTENTION_BIAS_TURNED);
        tc_widen_transpose(MICRO, sizeof(REAL) == 8 ? TC_F64 : TC_F32, bias, bias_ld, bias_rows,
                           t->keys, turned, ld);
    }
    /* Numbers of keys from the tile's first on: small, so that they are exact. */
    for (int64_t i = 0; i < t->rows; i++) {
        int64_t s = tc_attention_seen(p, t->row + i) - t->key;
        seen[i] = (REAL)(s < 0 ? 0 : min_i64(s, t->keys));
    }
    for (int64_t i = t->rows; i < round_up(t->rows, LANES); i++)
        seen[i] = 0;
    for (int i = 0; i < LANES; i++)
        ramp[i] = (REAL)i;
    int64_t lines = along == LANES_ARE_ROWS ? t->keys : t->rows;
    int64_t count = along == LANES_ARE_ROWS ? t->rows : t->keys;
    for (int64_t i = 0; i < lines; i++)
        for (int64_t c = 0; c < count; c += LANES) {
            VECTOR add = MATH(splat)(0), last, key;
            if (along == LANES_ARE_ROWS) {
                add =
                    turned ? MATH(load)(turned + i * ld + c) : MATH(splat)(bias_rows ? bias[i] : 0);
                last = MATH(load)(seen + c);
                key = MATH(splat)((REAL)i);
            } else {
                if (bias_rows)
                    add = MATH(load)(bias + (bias_rows > 1 ? i * bias_ld : 0) + c);
                last = MATH(splat)(seen[i]);
                key = MATH(load)(ramp) + (REAL)c;
            }
            REAL *at = scores + i * ld + c;
            MATH(store)(at, NAME(masked)(MATH(load)(at), (REAL)p->scale, add, last, key));
        }
}

/* Of the queries of a block: maximum and sum so far, and by what earlier sums have just shrunk. */
typedef struct NAME(online) {
    REAL *most, *sum, *shrink;
} NAME(online);

/* What to subtract from scores whose maximum is `most`. */
#define SHIFT_OF(most) MATH(select)((most) == -(REAL)INFINITY, MATH(splat)(0), most)

/* One block of keys: scores become weights relative to the maximum so far. Lanes are queries. */
static void NAME(soften_columns)(const tile *t, REAL scale, REAL *scores, NAME(online) * o)
{
    for (int64_t c = 0; c < t->rows; c += LANES) {
        VECTOR old = MATH(load)(o->most + c), most = old;
        for (int64_t i = 0; i < t->keys; i++)
            most = MATH(max)(MATH(load)(scores + i * WIDTH + c) * scale, most);
        VECTOR shift = SHIFT_OF(most), shrink = NAME(exp_down)(old - shift);
        VECTOR sum = MATH(load)(o->sum + c) * shrink;
        for (int64_t i = 0; i < t->keys; i++) {
            REAL *at = scores + i * WIDTH + c;
            VECTOR e = NAME(exp_down)(MATH(fma)(MATH(load)(at), MATH(splat)(scale), -shift));
            MATH(store)(at, e);
            sum += e;
        }
        MATH(store)(o->most + c, most);
        MATH(store)(o->sum + c, sum);
        MATH(store)(o->shrink + c, shrink);
    }
}

/* The same where each row of scores lies along vectors. */
static void NAME(soften_rows)(const tile *t, REAL scale, REAL *scores, int64_t ld, NAME(online) * o)
{
    for (int64_t r = 0; r < t->rows; r++) {
        REAL *row = scores + r * ld, most = o->most[r], lane[LANES];
        if (scale != 1)
            for (int64_t i = 0; i < t->keys; i++)
                row[i] *= scale;
        REAL here = MATH(row_max)(row, t->keys);
        most = here > most ? here : most;
        REAL shift = most == -(REAL)INFINITY ? 0 : most;
        MATH(store)(lane, NAME(exp_down)(MATH(splat)(o->most[r] - shift)));
        o->shrink[r] = lane[0];
        o->sum[r] = o->sum[r] * lane[0] + (REAL)MATH(row_exp)(row, shift, row, t->keys);
        o->most[r] = most;
    }
}

static void NAME(scale_row)(REAL *x, REAL factor, int64_t n)
{
    TC_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        x[i] *= factor;
}

/* Divides by the sums, and writes what was widened and the logsumexp. */
static void NAME(finish_rows)(const job *j, const tile *t, REAL *y, const NAME(online) * o)
{
    const tc_attention *p = j->p;
    REAL *lse = (REAL *)j->out[1] + t->item * p->rows + t->row;
    for (int64_t r = 0; r < t->rows; r++) {
        if (o->sum[r] == 0)
            memset(y + r * p->depth_v, 0, (size_t)p->depth_v * sizeof *y);
        else
            NAME(scale_row)(y + r * p->depth_v, 1 / o->sum[r], p->depth_v);
        lse[r] = o->most[r] + (REAL)log((double)o->sum[r]);
    }
    if (p->narrow)
        tc_narrow(MICRO, p->dtype, (const void *)y, p->depth_v, t->rows, p->depth_v,
                  result(p, j->out[0], p->rows, t->item, t->row, p->depth_v), p->depth_v);
}

/* A block of rows against all keys that it sees. */
static void NAME(forward_block)(const job *j, int64_t item, int64_t row, int worker)
{
    const tc_attention *p = j->p;
    const int64_t width = MICRO->TAG.width, step = p->few ? TC_ATTENTION_KEYS : TC_ATTENTION_LINES;
    tile t = {.item = item, .row = row, .rows = min_i64(TC_ATTENTION_LANES, p->rows - row)};
    REAL *panels = part_of(j, worker, TC_ATTENTION_PANEL_1);
    REAL *scores = part_of(j, worker, TC_ATTENTION_SCORES);
    REAL *statistics = part_of(j, worker, TC_ATTENTION_STATISTICS);
    NAME(online) o = {statistics, statistics + WIDTH, statistics + 2 * WIDTH};
    for (int64_t i = 0; i < WIDTH; i++) {
        o.most[i] = -(REAL)INFINITY;
        o.sum[i] = 0;
    }
    const void *q_at = stored(p, j->in[Q], p->rows, item, row, p->depth);
    const REAL *q = NULL;
    if (p->few)
        q = NAME(rows)(p, q_at, t.rows, p->depth, part_of(j, worker, TC_ATTENTION_PANEL_2));
    else
        NAME(panels)(p, q_at, t.rows, p->depth, panels);
    REAL *y = p->narrow ? part_of(j, worker, TC_ATTENTION_SUM_1)
                        : result(p, j->out[0], p->rows, item, row, p->depth_v);
    int64_t least, most;
    tc_attention_seen_range(p, row, t.rows, &least, &most);
    for (; t.key < most; t.key += step) {
        t.keys = min_i64(step, p->n_k - t.key);
        const REAL *k = NAME(rows)(p, stored(p, j->in[K], p->n_k, item, t.key, p->depth), t.keys,
                                   p->depth, part_of(j, worker, TC_ATTENTION_LINES_1));
        const REAL *v = NAME(rows)(p, stored(p, j->in[V], p->n_k, item, t.key, p->depth_v), t.keys,
                                   p->depth_v, part_of(j, worker, TC_ATTENTION_LINES_2));
        bool masked = is_masked(p, &t);
        REAL scale = masked ? 1 : (REAL)p->scale;
        if (p->few) {
            MICRO->TAG.dot(t.rows, t.keys, p->depth, q, p->depth, k, p->depth, scores, step, false);
            if (masked)
                NAME(mask_tile)(j, worker, &t, LANES_ARE_KEYS, scores, step);
            NAME(soften_rows)(&t, scale, scores, step, &o);
        } else {
            NAME(multiply)
            (t.keys, round_up(t.rows, LANES), p->depth, k, p->depth, 1, panels, width,
             p->depth * width, scores, WIDTH, false);
            if (masked)
                NAME(mask_tile)(j, worker, &t, LANES_ARE_ROWS, scores, WIDTH);
            NAME(soften_columns)(&t, scale, scores, &o);
        }
        for (int64_t r = 0; t.key > 0 && r < t.rows; r++)
            if (o.shrink[r] != 1)
                NAME(scale_row)(y + r * p->depth_v, o.shrink[r], p->depth_v);
        NAME(multiply)
        (t.rows, p->depth_v, t.keys, scores, p->few ? step : 1, p->few ? 1 : WIDTH, v, p->depth_v,
         width, y, p->depth_v, t.key > 0);
    }
    NAME(finish_rows)(j, &t, y, &o);
}

static void NAME(forward_blocks)(void *argument, int64_t begin, int64_t end, int worker)
{
    const job *j = argument;
    for (int64_t i = begin; i < end; i++)
        NAME(forward_block)
    (j, i / j->p->row_blocks, i % j->p->row_blocks * TC_ATTENTION_LANES, worker);
}

static tc_status NAME(forward)(const void *params, const void *const *inputs, void *const *outputs,
                               const tc_kernel_context *context)
{
    const tc_attention *p = params;
    job j = {.p = p, .in = inputs, .out = outputs, .scratch = context->workspace};
    tc_parallel_for(context->pool, p->items * p->row_blocks, 1, NAME(forward_blocks), &j);
    return TC_OK;
}
