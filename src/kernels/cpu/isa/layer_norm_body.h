/* Included by layer_norm.c once per dtype (see storage.h). */

/* y = ((x - mean) inverse + shift) scale + offset; scale and offset may be NULL. */
static void NAME(normalize)(const REAL *x, REAL mean, REAL inverse, REAL shift, const REAL *scale,
                            const REAL *offset, REAL *y, int64_t n)
{
    if (scale && offset) {
        TC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = ((x[i] - mean) * inverse + shift) * scale[i] + offset[i];
        return;
    }
    TC_INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse + shift;
    if (scale) {
        TC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] *= scale[i];
    }
    if (offset) {
        TC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] += offset[i];
    }
}

static void NAME(forward)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    int64_t n = p->count;
    REAL *buffer = worker_scratch(j->workspace, p->scratch, worker);
    REAL *means = j->mean, *inverses = j->inverse;
    for (int64_t row = begin; row < end; row++) {
        STORED *out = (STORED *)j->y + row * n;
        const REAL *x = FETCH((const STORED *)j->x + row * n, n, buffer);
        /* The first mean is rounded; its error is found with the variance, which it corrects too.
         */
        REAL mean = (REAL)(MATH(row_sum)(x, n) / (double)n);
        double squares, rest = MATH(row_distances)(x, mean, &squares, n) / (double)n;
        double variance = squares / (double)n - rest * rest;
        double deviation = sqrt((variance > 0 ? variance : variance * 0) + p->epsilon);
        REAL inverse = (REAL)(1 / deviation), shift = (REAL)(-rest / deviation);
        means[row] = (REAL)((double)mean + rest);
        inverses[row] = inverse;
        NAME(normalize)(x, mean, inverse, shift, j->scale, j->offset, PLACE(out, buffer), n);
        DELIVER(out, buffer, n);
    }
}

/* A whole scale or offset as REAL, in row `index` of the workspace where it is converted. */
static const REAL *NAME(parameter)(const params *p, const void *source, char *workspace, int index)
{
    if (!source)
        return NULL;
    REAL *buffer = worker_scratch(workspace, p->partials / 2, index);
    return FETCH((const STORED *)source, p->count, buffer);
}

static tc_status NAME(run_forward)(const void *prepared, const void *const *inputs,
                                   void *const *outputs, const tc_kernel_context *context)
{
    const params *p = prepared;
    char *workspace = context->workspace;
    job j = {.params = p,
             .x = inputs[0],
             .scale = NAME(parameter)(p, inputs[1], workspace, 0),
             .offset = NAME(parameter)(p, inputs[2], workspace, 1),
             .y = outputs[0],
             .mean = outputs[1],
             .inverse = outputs[2],
             .workspace = workspace ? workspace + p->scratch_at : NULL};
    tc_parallel_for(context->pool, p->rows, p->grain, NAME(forward), &j);
    return TC_OK;
}

/*
 * With h = dy scale and z = (x - mean) inverse: dx = inverse (h - mean(h) - z mean(h z)), dscale =
 * sum(dy z), doffset = sum(dy), the last two over rows.
 */
static void NAME(gradient_row)(const job *j, const REAL *x, const REAL *dy, int64_t row, REAL *dx,
                               REAL *restrict dscale, REAL *restrict doffset)
{
    int64_t n = j->params->count;
    const REAL *scale = j->scale;
    REAL mean = ((const REAL *)j->mean_in)[row], inverse = ((const REAL *)j->inverse_in)[row];
    const REAL *h = dy;
    if (scale) {
        TC_INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i] * scale[i];
        h = dx;
    }
    REAL base = (REAL)(MATH(row_sum)(h, n) / (double)n);
    REAL slope =
        (REAL)(MATH(sum_products)(h, x, mean, n) / (double)n * (double)inverse * (double)inverse);
    TC_INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL centered = x[i] - mean;
        dscale[i] += dy[i] * (centered * inverse);
        doffset[i] += dy[i];
        dx[i] = (h[i] - base - centered * slope) * inverse;
    }
}

static void NAME(gradient)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    int64_t n = p->count;
    if (n <= 0)
        return;
    REAL *buffers = worker_scratch(j->workspace + p->scratch_at, p->scratch, worker);
    for (int64_t chunk = begin; chunk < end; chunk++) {
        double *sums = (void *)(j->workspace + p->partials + (size_t)chunk * p->partial);
        REAL *lanes = (void *)(sums + 2 * n);
        int64_t first = chunk * p->chunk_rows, last = first + p->chunk_rows;
        last = last < p->rows ? last : p->rows;
        memset(sums, 0, (size_t)n * 2 * sizeof *sums);
        for (int64_t row = first; row < last; row++) {
            if ((row - first) % FLUSH == 0)
                memset(lanes, 0, (size_t)n * 2 * sizeof *lanes);
            STORED *out = (STORED *)j->y + row * n;
            const REAL *x = FETCH((const STORED *)j->x + row * n, n, buffers);
            const REAL *dy = FETCH((const STORED *)j->dy + row * n, n, buffers + n);
            REAL *dx = PLACE(out, buffers + 2 * n);
            NAME(gradient_row)(j, x, dy, row, dx, lanes, lanes + n);
            DELIVER(out, dx, n);
            if ((row - first) % FLUSH == FLUSH - 1 || row == last - 1)
                for (int64_t i = 0; i < 2 * n; i++)
                    sums[i] += (double)lanes[i];
        }
    }
}

/* Adds the partial sums of the columns [begin, end) of dscale and doffset, in blocks that a buffer
 * holds. */
static void NAME(combine)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    (void)worker;
    for (int part = 0; part < 2; part++) {
        STORED *out = (STORED *)(part ? j->doffset : j->dscale);
        for (int64_t i = begin; i < end; i++) {
            double sum = 0;
            for (int64_t chunk = 0; chunk < p->chunks; chunk++)
                sum += ((const double *)(const void *)(j->workspace + p->partials +
                                                       (size_t)chunk *
                                                           p->partial))[part * p->count + i];
            REAL buffer[1];
            *PLACE(out + i, buffer) = (REAL)sum;
            DELIVER(out + i, buffer, 1);
        }
    }
}

static tc_status NAME(run_gradient)(const void *prepared, const void *const *inputs,
                                    void *const *outputs, const tc_kernel_context *context)
{
    const params *p = prepared;
    char *workspace = context->workspace;
    job j = {.params = p,
             .dy = inputs[0],
             .x = inputs[1],
             .scale = NAME(parameter)(p, inputs[2], workspace, 0),
             .mean_in = inputs[3],
             .inverse_in = inputs[4],
             .y = outputs[0],
             .dscale = outputs[1],
             .doffset = outputs[2],
             .workspace = workspace};
    tc_parallel_for(context->pool, p->chunks, 1, NAME(gradient), &j);
    tc_parallel_for(context->pool, p->count, 1024, NAME(combine), &j);
    return TC_OK;
}
#undef TAG
