/*
 * Included by fused.c for f32 and f64: R is the type, V a vector of N of it, ROW(x) names.
 * Reductions add in the order of the kernels of reduce.c and give the same bits.
 */

#define VECTORS (TC_FUSED_LANES / N)

/* NaN wins, of equal ones the first. */
#define WINS(most, x, a) ((most ? (x) > (a) : (x) < (a)) | ((x) != (x)))

/* lanes[c] += x[r][c] over `rows` rows of TC_FUSED_LANES. */
static const R *ROW(add_rows)(R *lanes, const R *x, int64_t rows)
{
    V sums[VECTORS];
    memcpy(sums, lanes, sizeof sums);
    for (int64_t r = 0; r < rows; r++, x += TC_FUSED_LANES)
        _Pragma("GCC unroll 32") for (int i = 0; i < VECTORS; i++) sums[i] += ROW(load)(x + i * N);
    memcpy(lanes, sums, sizeof sums);
    return x;
}

static const R *ROW(best_rows)(R *lanes, const R *x, int64_t rows, bool most)
{
    V best[VECTORS];
    memcpy(best, lanes, sizeof best);
    for (int64_t r = 0; r < rows; r++, x += TC_FUSED_LANES)
        _Pragma("GCC unroll 32") for (int i = 0; i < VECTORS; i++)
        {
            V v = ROW(load)(x + i * N);
            best[i] = most ? ROW(select)((v > best[i]) | (v != v), v, best[i])
                           : ROW(select)((v < best[i]) | (v != v), v, best[i]);
        }
    memcpy(lanes, best, sizeof best);
    return x;
}

static void ROW(add_upper)(double *sums, const double *upper, int64_t n)
{
    TC_INDEPENDENT
    for (int64_t c = 0; c < n; c++)
        sums[c] += upper[c];
}

static void ROW(take_upper)(R *lanes, const R *upper, int64_t n, bool most)
{
    int64_t c = 0;
    for (; c + N <= n; c += N) {
        V v = ROW(load)(upper + c), best = ROW(load)(lanes + c);
        V other = most ? ROW(select)((v > best) | (v != v), v, best)
                       : ROW(select)((v < best) | (v != v), v, best);
        ROW(store)(lanes + c, other);
    }
    for (; c < n; c++)
        if (WINS(most, upper[c], lanes[c]))
            lanes[c] = upper[c];
}

static void ROW(flush)(R *lanes, double *sums)
{
    TC_INDEPENDENT
    for (int64_t c = 0; c < TC_FUSED_LANES; c++)
        sums[c] += (double)lanes[c];
    memset(lanes, 0, TC_FUSED_LANES * sizeof *lanes);
}

static void ROW(start)(tc_fused_state *s, R *lanes, const tc_fused_reduction *r, int64_t group)
{
    bool sum = r->code == TC_FUSED_reduce_sum || r->code == TC_FUSED_reduce_mean;
    R first = sum ? 0 : (R)(r->code == TC_FUSED_reduce_max ? -INFINITY : INFINITY);
    for (int64_t c = 0; c < (group < TC_FUSED_LANES ? group : TC_FUSED_LANES); c++)
        lanes[c] = first;
    if (sum)
        memset(s->sums, 0, (size_t)group * sizeof *s->sums);
    s->added = 0;
}

/* Takes in n elements: whole groups, but for the last time. */
static void ROW(take)(tc_fused_state *s, R *lanes, const tc_fused_reduction *r, int64_t group,
                      const R *x, int64_t n)
{
    bool sum = r->code == TC_FUSED_reduce_sum || r->code == TC_FUSED_reduce_mean;
    bool most = r->code == TC_FUSED_reduce_max;
    int64_t rows = group == TC_FUSED_LANES ? n / group : 0, rest = n - rows * group;
    if (!sum && rows > 0)
        x = ROW(best_rows)(lanes, x, rows, most);
    while (sum && rows > 0) {
        int64_t part = TC_FUSED_FLUSH - s->added < rows ? TC_FUSED_FLUSH - s->added : rows;
        x = ROW(add_rows)(lanes, x, part);
        rows -= part;
        s->added += part;
        if (s->added == TC_FUSED_FLUSH) {
            ROW(flush)(lanes, s->sums);
            s->added = 0;
        }
    }
    if (rest == 0)
        return;
    if (sum && s->added > 0) {
        ROW(flush)(lanes, s->sums);
        s->added = 0;
    }
    for (int64_t c = 0; c < rest && sum; c++)
        s->sums[c] += (double)x[c];
    if (!sum)
        ROW(take_upper)(lanes, x, rest, most);
}

/* What was taken since the start. */
static double ROW(partial)(tc_fused_state *s, R *lanes, const tc_fused_reduction *r, int64_t group)
{
    bool sum = r->code == TC_FUSED_reduce_sum || r->code == TC_FUSED_reduce_mean;
    bool most = r->code == TC_FUSED_reduce_max;
    if (sum && s->added > 0)
        ROW(flush)(lanes, s->sums);
    while (group > 1) {
        int64_t half = group / 2, upper = group - half;
        if (sum)
            ROW(add_upper)(s->sums, s->sums + upper, half);
        else
            ROW(take_upper)(lanes, lanes + upper, half, most);
        group = upper;
    }
    return sum ? s->sums[0] : (double)lanes[0];
}

/* One row of so few elements that they are taken one by one. */
static double ROW(one_by_one)(const tc_fused_reduction *r, const R *x, int64_t n)
{
    bool most = r->code == TC_FUSED_reduce_max;
    if (r->code == TC_FUSED_reduce_sum || r->code == TC_FUSED_reduce_mean) {
        double sum = 0;
        for (int64_t c = 0; c < n; c++)
            sum += (double)x[c];
        return sum;
    }
    R best = (R)(most ? -INFINITY : INFINITY);
    for (int64_t c = 0; c < n; c++)
        best = WINS(most, x[c], best) ? x[c] : best;
    return (double)best;
}

/* `rows` whole rows of n. */
static void ROW(reduce)(const tc_fused_reduction *r, const tc_fused_plan *p, const R *x,
                        int64_t rows, R *y)
{
    tc_fused_state s;
    R lanes[TC_FUSED_LANES] __attribute__((aligned(64)));
    int64_t n = p->columns;
    for (int64_t i = 0; i < rows; i++, x += n) {
        double result;
        if (p->one_by_one) {
            result = ROW(one_by_one)(r, x, n);
        } else {
            ROW(start)(&s, lanes, r, p->group);
            ROW(take)(&s, lanes, r, p->group, x, n);
            result = ROW(partial)(&s, lanes, r, p->group);
        }
        y[i] = (R)(result / r->divisor);
    }
}

#undef WINS
#undef VECTORS
#undef R
#undef V
#undef N
#undef ROW
