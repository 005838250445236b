/* Included by softmax.c once per dtype (see storage.h). Every function has the form `line`, and may
 * work in place. */

static void NAME(softmax_row)(const REAL *x, const REAL *unused, REAL *y, int64_t n)
{
    (void)unused;
    REAL scale = (REAL)(1 / MATH(row_exp)(x, MATH(row_max)(x, n), y, n));
    for (int64_t i = 0; i < n; i++)
        y[i] *= scale;
}

static void NAME(log_softmax_row)(const REAL *x, const REAL *unused, REAL *y, int64_t n)
{
    (void)unused;
    REAL high = MATH(row_max)(x, n), rest = (REAL)log(MATH(row_exp)(x, high, NULL, n));
    TC_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - high) - rest;
}

static void NAME(softmax_grad_row)(const REAL *dy, const REAL *y, REAL *dx, int64_t n)
{
    REAL s = (REAL)MATH(sum_products)(dy, y, 0, n);
    TC_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - s);
}

static void NAME(log_softmax_grad_row)(const REAL *dy, const REAL *y, REAL *dx, int64_t n)
{
    REAL s = (REAL)MATH(row_sum)(dy, n);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        MATH(store)(dx + i, MATH(load)(dy + i) - MATH(exp)(MATH(load)(y + i)) * s);
    if (i < n)
        MATH(store_part)
    (dx + i, n - i, MATH(load_part)(dy + i, n - i) - MATH(exp)(MATH(load_part)(y + i, n - i)) * s);
}

/* Columns: `k` neighbours at once, whose elements are `stride` apart. */
#define GET(p, i) (k == LANES ? MATH(load)((p) + (i)*stride) : MATH(load_part)((p) + (i)*stride, k))
#define PUT(p, i, v)                                  \
    do {                                              \
        if (k == LANES)                               \
            MATH(store)((p) + (i)*stride, v);         \
        else                                          \
            MATH(store_part)((p) + (i)*stride, k, v); \
    } while (0)

/* Sum of `expression` over i, in parts of COLUMN_PART, so that errors do not grow with the length.
 */
#define COLUMN_PART 32
#define COLUMN_SUM(result, expression)                                    \
    VECTOR result = MATH(splat)(0);                                       \
    for (int64_t first = 0; first < n; first += COLUMN_PART) {            \
        int64_t last = first + COLUMN_PART < n ? first + COLUMN_PART : n; \
        VECTOR part = MATH(splat)(0);                                     \
        for (int64_t i = first; i < last; i++)                            \
            part += (expression);                                         \
        result += part;                                                   \
    }
#define EACH(v)                     \
    for (int64_t i = 0; i < n; i++) \
    PUT(y, i, v)

static VECTOR NAME(column_max)(const REAL *x, int64_t n, int64_t stride, int64_t k)
{
    VECTOR high = MATH(splat)(-(REAL)INFINITY);
    for (int64_t i = 0; i < n; i++)
        high = MATH(max)(GET(x, i), high);
    return high;
}

static void NAME(softmax_columns)(const REAL *x, const REAL *unused, REAL *y, int64_t n,
                                  int64_t stride, int64_t k)
{
    (void)unused;
    VECTOR high = NAME(column_max)(x, n, stride, k);
    EACH(MATH(exp)(GET(x, i) - high));
    COLUMN_SUM(total, GET(y, i))
    VECTOR scale = (REAL)1 / total;
    EACH(GET(y, i) * scale);
}

static void NAME(log_softmax_columns)(const REAL *x, const REAL *unused, REAL *y, int64_t n,
                                      int64_t stride, int64_t k)
{
    (void)unused;
    VECTOR high = NAME(column_max)(x, n, stride, k);
    COLUMN_SUM(total, MATH(exp)(GET(x, i) - high))
    VECTOR rest = MATH(log)(total);
    EACH((GET(x, i) - high) - rest);
}

static void NAME(softmax_grad_columns)(const REAL *dy, const REAL *p, REAL *y, int64_t n,
                                       int64_t stride, int64_t k)
{
    COLUMN_SUM(s, GET(dy, i) * GET(p, i))
    EACH(GET(p, i) * (GET(dy, i) - s));
}

static void NAME(log_softmax_grad_columns)(const REAL *dy, const REAL *p, REAL *y, int64_t n,
                                           int64_t stride, int64_t k)
{
    COLUMN_SUM(s, GET(dy, i))
    EACH(GET(dy, i) - MATH(exp)(GET(p, i)) * s);
}

#undef EACH
#undef COLUMN_SUM
#undef COLUMN_PART
#undef GET
#undef PUT

typedef struct NAME(functions) {
    int inputs;
    void (*row)(const REAL *a, const REAL *b, REAL *y, int64_t n);
    void (*columns)(const REAL *a, const REAL *b, REAL *y, int64_t n, int64_t stride, int64_t k);
} NAME(functions);

typedef struct NAME(job) {
    const params *params;
    const NAME(functions) * functions;
    const STORED *in[2];
    STORED *out;
    char *scratch;
} NAME(job);

static void NAME(rows)(void *context, int64_t begin, int64_t end, int worker)
{
    const NAME(job) *j = context;
    int64_t n = j->params->count;
    REAL *buffers = worker_scratch(j->scratch, j->params->scratch, worker);
    for (int64_t unit = begin; unit < end; unit++) {
        STORED *out = j->out + unit * n;
        const REAL *a = FETCH(j->in[0] + unit * n, n, buffers), *b = a;
        if (j->functions->inputs == 2)
            b = FETCH(j->in[1] + unit * n, n, buffers + n);
        j->functions->row(a, b, PLACE(out, buffers), n);
        DELIVER(out, buffers, n);
    }
}

static void NAME(columns)(void *context, int64_t begin, int64_t end, int worker)
{
    const NAME(job) *j = context;
    const params *p = j->params;
    int64_t tiles = (p->inner + LANES - 1) / LANES;
    for (int64_t unit = begin; unit < end; unit++) {
        int64_t first = unit % tiles * LANES, left = p->inner - first;
        int64_t k = left < LANES ? left : LANES;
        int64_t at = unit / tiles * p->count * p->inner + first;
        const STORED *b = j->in[j->functions->inputs - 1] + at;
        REAL *first_buffer = worker_scratch(j->scratch, p->scratch, worker), *second_buffer;
        if (!TAG_IS_16_BIT && !p->gathered) { /* STORED is REAL, which the casts say */
            j->functions->columns((const void *)(j->in[0] + at), (const void *)b,
                                  (void *)(j->out + at), p->count, p->inner, k);
            continue;
        }
        second_buffer = first_buffer + (j->functions->inputs - 1) * p->count * LANES;
        for (int64_t i = 0; i < p->count; i++) {
            GATHER(j->in[0] + at + i * p->inner, k, first_buffer + i * LANES);
            if (second_buffer != first_buffer)
                GATHER(b + i * p->inner, k, second_buffer + i * LANES);
        }
        j->functions->columns(first_buffer, second_buffer, first_buffer, p->count, LANES, k);
        for (int64_t i = 0; i < p->count; i++)
            SCATTER(j->out + at + i * p->inner, first_buffer + i * LANES, k);
    }
}

static tc_status NAME(run)(const params *p, const NAME(functions) * functions,
                           const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    NAME(job)
    j = {p, functions, {inputs[0], inputs[functions->inputs - 1]}, outputs[0], context->workspace};
    int64_t tiles = (p->inner + LANES - 1) / LANES;
    if (p->inner == 1)
        tc_parallel_for(context->pool, p->outer, p->grain, NAME(rows), &j);
    else
        tc_parallel_for(context->pool, p->outer * tiles, p->grain, NAME(columns), &j);
    return TC_OK;
}

#define RUN(op, n_in)                                                                        \
    static tc_status NAME(run_##op)(const void *prepared, const void *const *inputs,         \
                                    void *const *outputs, const tc_kernel_context *context)  \
    {                                                                                        \
        static const NAME(functions) functions = {n_in, NAME(op##_row), NAME(op##_columns)}; \
        return NAME(run)(prepared, &functions, inputs, outputs, context);                    \
    }
RUN(softmax, 1)
RUN(log_softmax, 1)
RUN(softmax_grad, 2)
RUN(log_softmax_grad, 2)
#undef RUN
#undef TAG
#undef TAG_IS_16_BIT
