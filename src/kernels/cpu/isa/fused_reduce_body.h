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

/* The larger of v and best, lane by lane; the smaller one where both are given and taken negative.
 */
TC_INLINE V ROW(better)(V v, V best)
{
    return ROW(select)((v > best) | (v != v), v, best);
}

TC_INLINE V ROW(turned)(V v, bool most)
{
    return (V)((I)v ^ (I)ROW(splat)(most ? (R)0 : (R)-0.0));
}

/* lanes[c] becomes the best of it and x[r][c]. */
static const R *ROW(best_rows)(R *lanes, const R *x, int64_t rows, bool most)
{
    enum { PART = VECTORS < 8 ? VECTORS : 8 };
    for (int64_t c = 0; c < TC_FUSED_LANES; c += PART * N) {
        V best[PART];
        _Pragma("GCC unroll 8") for (int i = 0; i < PART; i++) best[i] =
            ROW(turned)(ROW(load)(lanes + c + i * N), most);
        for (int64_t r = 0; r < rows; r++)
            _Pragma("GCC unroll 8") for (int i = 0; i < PART; i++) best[i] = ROW(better)(
                ROW(turned)(ROW(load)(x + r * TC_FUSED_LANES + c + i * N), most), best[i]);
        _Pragma("GCC unroll 8") for (int i = 0; i < PART; i++)
            ROW(store)(lanes + c + i * N, ROW(turned)(best[i], most));
    }
    return x + rows * TC_FUSED_LANES;
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

static inline R *ROW(lanes)(tc_fused_state *s)
{
    return (R *)(void *)&s->lanes;
}

/* 0 + x is x: no lane is -0, since sums begin with 0. */
static void ROW(flush)(tc_fused_state *s)
{
    R *lanes = ROW(lanes)(s);
    if (s->empty) {
        for (int64_t c = 0; c < TC_FUSED_LANES; c++)
            s->sums[c] = (double)lanes[c];
    } else {
        for (int64_t c = 0; c < TC_FUSED_LANES; c++)
            s->sums[c] += (double)lanes[c];
    }
    memset(lanes, 0, TC_FUSED_LANES * sizeof *lanes);
    s->empty = false;
    s->added = 0;
}

static inline bool ROW(is_sum)(const tc_fused_reduction *r)
{
    return r->code == TC_FUSED_reduce_sum || r->code == TC_FUSED_reduce_mean;
}

static void ROW(start)(tc_fused_state *s, const tc_fused_reduction *r)
{
    R first = ROW(is_sum)(r) ? 0 : (R)(r->code == TC_FUSED_reduce_max ? -INFINITY : INFINITY);
    R *lanes = ROW(lanes)(s);
    for (int64_t c = 0; c < TC_FUSED_LANES; c++)
        lanes[c] = first;
    s->empty = true;
    s->added = 0;
}

/* Takes in n elements: whole groups, but for the last time. */
static void ROW(take)(tc_fused_state *s, const tc_fused_reduction *r, int64_t group, const R *x,
                      int64_t n)
{
    bool sum = ROW(is_sum)(r), most = r->code == TC_FUSED_reduce_max;
    R *lanes = ROW(lanes)(s);
    int64_t rows = group == TC_FUSED_LANES ? n / group : 0, rest = n - rows * group;
    if (!sum && rows > 0)
        x = ROW(best_rows)(lanes, x, rows, most);
    while (sum && rows > 0) {
        int64_t part = TC_FUSED_FLUSH - s->added < rows ? TC_FUSED_FLUSH - s->added : rows;
        x = ROW(add_rows)(lanes, x, part);
        rows -= part;
        s->added += part;
        if (s->added == TC_FUSED_FLUSH)
            ROW(flush)(s);
    }
    if (rest == 0)
        return;
    if (!sum) {
        ROW(take_upper)(lanes, x, rest, most);
        return;
    }
    if (s->added > 0 || s->empty)
        ROW(flush)(s);
    for (int64_t c = 0; c < rest; c++)
        s->sums[c] += (double)x[c];
}

/* Sum of all lanes: the upper half is added to the lower one until one is left. */
static double ROW(sum_of_lanes)(tc_fused_state *s)
{
    enum { PARTS = TC_FUSED_LANES / 2 / TC_F64_LANES };
    double halves[TC_FUSED_LANES / 2] __attribute__((aligned(64)));
    const double *sums = s->sums;
    const R *lanes = ROW(lanes)(s);
    tc_f64v parts[PARTS];
    if (s->empty) {
        for (int c = 0; c < TC_FUSED_LANES / 2; c++)
            halves[c] = (double)lanes[c] + (double)lanes[c + TC_FUSED_LANES / 2];
    } else {
        if (s->added > 0)
            ROW(flush)(s);
        for (int c = 0; c < TC_FUSED_LANES / 2; c++)
            halves[c] = sums[c] + sums[c + TC_FUSED_LANES / 2];
    }
    memcpy(parts, halves, sizeof parts);
    _Pragma("GCC unroll 8") for (int half = PARTS / 2; half > 0; half /= 2)
        _Pragma("GCC unroll 16") for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    memcpy(halves, parts, sizeof parts[0]);
    for (int half = TC_F64_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            halves[i] += halves[i + half];
    return halves[0];
}

/* The upper half of the lanes is taken into the lower one until one is left. */
static R ROW(best_of_lanes)(tc_fused_state *s, bool most)
{
    R *lanes = ROW(lanes)(s);
    for (int half = TC_FUSED_LANES / 2; half >= N; half /= 2)
        for (int i = 0; i < half; i += N) {
            V v = ROW(turned)(ROW(load)(lanes + half + i), most);
            V best = ROW(better)(v, ROW(turned)(ROW(load)(lanes + i), most));
            ROW(store)(lanes + i, ROW(turned)(best, most));
        }
    for (int half = N / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] = WINS(most, lanes[i + half], lanes[i]) ? lanes[i + half] : lanes[i];
    return lanes[0];
}

/* What was taken since the start. */
static double ROW(partial)(tc_fused_state *s, const tc_fused_reduction *r, int64_t group)
{
    bool sum = ROW(is_sum)(r), most = r->code == TC_FUSED_reduce_max;
    R *lanes = ROW(lanes)(s);
    if (group == TC_FUSED_LANES)
        return sum ? ROW(sum_of_lanes)(s) : (double)ROW(best_of_lanes)(s, most);
    if (sum && (s->added > 0 || s->empty))
        ROW(flush)(s);
    while (group > 1) {
        int64_t half = group / 2, upper = group - half;
        for (int64_t c = 0; c < half && sum; c++)
            s->sums[c] += s->sums[upper + c];
        if (!sum)
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

/* One row of fewer elements than there are lanes: each is a lane. */
static double ROW(lane_by_lane)(const tc_fused_reduction *r, const R *x, int64_t n)
{
    tc_fused_state s;
    double *sums = s.sums;
    int64_t half = n / 2, upper = n - half;
    s.empty = false;
    s.added = 0;
    if (!ROW(is_sum)(r)) {
        memcpy(ROW(lanes)(&s), x, (size_t)n * sizeof *x);
        return ROW(partial)(&s, r, n);
    }
    for (int64_t c = 0; c < half; c++)
        sums[c] = (0 + (double)x[c]) + (double)x[upper + c];
    if (half < upper)
        sums[half] = 0 + (double)x[half];
    return ROW(partial)(&s, r, upper);
}

/* `rows` whole rows of n. */
static void ROW(reduce)(const tc_fused_reduction *r, const tc_fused_plan *p, const R *x,
                        int64_t rows, R *y)
{
    tc_fused_state s;
    int64_t n = p->columns;
    for (int64_t i = 0; i < rows; i++, x += n) {
        double result;
        if (p->one_by_one) {
            result = ROW(one_by_one)(r, x, n);
        } else if (n > 0 && n < TC_FUSED_LANES) {
            result = ROW(lane_by_lane)(r, x, n);
        } else {
            ROW(start)(&s, r);
            ROW(take)(&s, r, p->group, x, n);
            result = ROW(partial)(&s, r, p->group);
        }
        y[i] = (R)(result / r->divisor);
    }
}

#undef WINS
#undef VECTORS
