/* Included by rows.h for f32 and f64: R is the type, V and I vectors of N of it and of integers. */

/* Additions to one lane before the sum goes on in f64. */
#define FLUSH 64

TC_INLINE R ROW(add_lanes)(V v)
{
    R lanes[N];
    ROW(store)(lanes, v);
    for (int half = N / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/** Largest element, -inf of none; of a row with NaN any of its elements. */
TC_INLINE R ROW(row_max)(const R *x, int64_t n)
{
    V m[4], low = ROW(splat)(-(R)INFINITY);
    R lanes[N];
    int64_t i = 0;
    for (int k = 0; k < 4; k++)
        m[k] = low;
    for (; i + 4 * N <= n; i += 4 * N)
        for (int k = 0; k < 4; k++)
            m[k] = ROW(max)(ROW(load)(x + i + k * N), m[k]);
    for (; i + N <= n; i += N)
        m[0] = ROW(max)(ROW(load)(x + i), m[0]);
    ROW(store)(lanes, ROW(max)(ROW(max)(m[0], m[1]), ROW(max)(m[2], m[3])));
    R best = lanes[0];
    for (int k = 1; k < N; k++)
        best = lanes[k] > best ? lanes[k] : best;
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
    return best;
}

/*
 * Sum over the row of an expression of a = x[i], b = y[i] and p, which is written for vectors, and
 * where that differs for scalars.
 */
#define SUM_OF(name, vectors, scalars)                                            \
    TC_INLINE double ROW(name)(const R *x, const R *y, R p, int64_t n)            \
    {                                                                             \
        double total = 0;                                                         \
        int64_t i = 0;                                                            \
        (void)p;                                                                  \
        while (i + N <= n) {                                                      \
            int64_t end = n - i < 4 * N * FLUSH ? n : i + 4 * N * FLUSH;          \
            V s[4] = {{0}, {0}, {0}, {0}};                                        \
            for (; i + 4 * N <= end; i += 4 * N)                                  \
                for (int k = 0; k < 4; k++) {                                     \
                    V a = ROW(load)(x + i + k * N), b = ROW(load)(y + i + k * N); \
                    (void)b;                                                      \
                    s[k] += (vectors);                                            \
                }                                                                 \
            for (; i + N <= end; i += N) {                                        \
                V a = ROW(load)(x + i), b = ROW(load)(y + i);                     \
                (void)b;                                                          \
                s[0] += (vectors);                                                \
            }                                                                     \
            total += (double)ROW(add_lanes)((s[0] + s[1]) + (s[2] + s[3]));       \
        }                                                                         \
        R rest = 0;                                                               \
        for (; i < n; i++) {                                                      \
            R a = x[i], b = y[i];                                                 \
            (void)b;                                                              \
            rest += (scalars);                                                    \
        }                                                                         \
        return total + (double)rest;                                              \
    }

SUM_OF(sum_plain, a, a)
SUM_OF(sum_products, a *(b - p), a *(b - p))
SUM_OF(sum_entropy, (V)((I)(a *(p - b)) & (a != 0)), a != 0 ? a * (p - b) : 0)

/** Sum of x. */
TC_INLINE double ROW(row_sum)(const R *x, int64_t n)
{
    return ROW(sum_plain)(x, x, 0, n);
}

/** Sum of x - p, and in `*squares` of (x - p)^2. */
TC_INLINE double ROW(row_distances)(const R *x, R p, double *squares, int64_t n)
{
    double total = 0, total_squares = 0;
    int64_t i = 0;
    while (i + N <= n) {
        int64_t end = n - i < 2 * N * FLUSH ? n : i + 2 * N * FLUSH;
        V s[2] = {{0}, {0}}, q[2] = {{0}, {0}};
        for (; i + 2 * N <= end; i += 2 * N)
            for (int k = 0; k < 2; k++) {
                V d = ROW(load)(x + i + k * N) - p;
                s[k] += d;
                q[k] += d * d;
            }
        for (; i + N <= end; i += N) {
            V d = ROW(load)(x + i) - p;
            s[0] += d;
            q[0] += d * d;
        }
        total += (double)ROW(add_lanes)(s[0] + s[1]);
        total_squares += (double)ROW(add_lanes)(q[0] + q[1]);
    }
    for (; i < n; i++) {
        double d = (double)(x[i] - p);
        total += d;
        total_squares += d * d;
    }
    *squares = total_squares;
    return total;
}

/** Sum of exp(x - shift), which are stored in `y` unless it is NULL; `y` may be `x`. */
TC_INLINE double ROW(row_exp)(const R *x, R shift, R *y, int64_t n)
{
    double total = 0;
    int64_t i = 0;
    while (i + N <= n) {
        int64_t end = n - i < 2 * N * FLUSH ? n : i + 2 * N * FLUSH;
        V s[2] = {{0}, {0}};
        for (; i + 2 * N <= end; i += 2 * N)
            for (int k = 0; k < 2; k++) {
                V e = ROW(exp)(ROW(load)(x + i + k * N) - shift);
                if (y)
                    ROW(store)(y + i + k * N, e);
                s[k] += e;
            }
        for (; i + N <= end; i += N) {
            V e = ROW(exp)(ROW(load)(x + i) - shift);
            if (y)
                ROW(store)(y + i, e);
            s[0] += e;
        }
        total += (double)ROW(add_lanes)(s[0] + s[1]);
    }
    if (i < n) {
        R lanes[N];
        V e = ROW(exp)(ROW(load_part)(x + i, n - i) - shift);
        ROW(store)(lanes, e);
        for (int64_t k = 0; i < n; i++, k++) {
            if (y)
                y[i] = lanes[k];
            total += (double)lanes[k];
        }
    }
    return total;
}

#undef SUM_OF
#undef FLUSH
#undef ROW
#undef R
#undef V
#undef I
#undef N
