/* Included by batch_norm.c once per dtype (see storage.h). */

/* What belongs to a channel. */
static double NAME(get)(const params *p, const void *from, int64_t c)
{
    REAL buffer[1];
    if (p->widened)
        return (double)((const float *)from)[c];
    return (double)*FETCH((const STORED *)from + c, 1, buffer);
}

static void NAME(put)(const params *p, void *to, int64_t c, double value)
{
    if (p->widened) {
        ((float *)to)[c] = (float)value;
        return;
    }
    REAL buffer[1];
    STORED *at = (STORED *)to + c;
    *PLACE(at, buffer) = (REAL)value;
    DELIVER(at, buffer, 1);
}

static int64_t NAME(offset)(const params *p, const unit *u, int64_t sample)
{
    return (sample * p->channels + u->channel) * p->plane;
}

/* Calls `statement` for each piece [i, i + n) of the planes of a unit, at element `at` of the
 * tensor. */
#define EACH_PIECE(statement)                                        \
    for (int64_t s = u->begin; s < u->end; s++)                      \
        for (int64_t i = 0; i < p->plane; i += PIECE) {              \
            int64_t n = p->plane - i < PIECE ? p->plane - i : PIECE; \
            int64_t at = NAME(offset)(p, u, s) + i;                  \
            statement                                                \
        }

/* Calls `statement` for each row of a unit of columns. */
#define EACH_ROW(statement)                               \
    for (int64_t s = u->begin; s < u->end; s++) {         \
        int64_t n = u->width, at = NAME(offset)(p, u, s); \
        statement                                         \
    }

static void NAME(plane_statistics)(const job *j, const unit *u)
{
    const params *p = j->params;
    const STORED *source = j->x;
    REAL buffer[PIECE];
    double count = (double)((u->end - u->begin) * p->plane), sum = 0, rest = 0, squares = 0;
    EACH_PIECE(sum += MATH(row_sum)(FETCH(source + at, n, buffer), n);)
    REAL mean = (REAL)(sum / count); /* its error is found with the distances, which it corrects */
    EACH_PIECE({
        double more;
        rest += MATH(row_distances)(FETCH(source + at, n, buffer), mean, &more, n);
        squares += more;
    })
    j->partials[u->channel * p->chunks + u->chunk] =
        (partial){(double)mean + rest / count, squares - rest * (rest / count)};
}

static void NAME(column_statistics)(const job *j, const unit *u)
{
    const params *p = j->params;
    const STORED *source = j->x;
    REAL buffer[TILE];
    double mean[TILE] = {0}, squares[TILE] = {0};
    EACH_ROW({
        const REAL *x = FETCH(source + at, n, buffer);
        for (int64_t c = 0; c < n; c++)
            mean[c] += (double)x[c];
    })
    for (int64_t c = 0; c < u->width; c++)
        mean[c] /= (double)(u->end - u->begin);
    EACH_ROW({
        const REAL *x = FETCH(source + at, n, buffer);
        for (int64_t c = 0; c < n; c++)
            squares[c] += ((double)x[c] - mean[c]) * ((double)x[c] - mean[c]);
    })
    for (int64_t c = 0; c < u->width; c++)
        j->partials[(u->channel + c) * p->chunks + u->chunk] = (partial){mean[c], squares[c]};
}

static void NAME(plane_normalize)(const job *j, const unit *u)
{
    const params *p = j->params;
    const channel *c = &j->channels[u->channel];
    REAL mean = (REAL)c->mean, slope = (REAL)c->slope, shift = (REAL)c->shift;
    REAL buffer[PIECE];
    EACH_PIECE({
        STORED *out = (STORED *)j->y + at;
        const REAL *x = FETCH((const STORED *)j->x + at, n, buffer);
        REAL *y = PLACE(out, buffer);
        TC_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            y[k] = (x[k] - mean) * slope + shift;
        DELIVER(out, buffer, n);
    })
}

static void NAME(column_normalize)(const job *j, const unit *u)
{
    const params *p = j->params;
    REAL buffer[TILE], mean[TILE], slope[TILE], shift[TILE];
    for (int64_t k = 0; k < u->width; k++) {
        const channel *c = &j->channels[u->channel + k];
        mean[k] = (REAL)c->mean;
        slope[k] = (REAL)c->slope;
        shift[k] = (REAL)c->shift;
    }
    EACH_ROW({
        STORED *out = (STORED *)j->y + at;
        const REAL *x = FETCH((const STORED *)j->x + at, n, buffer);
        REAL *y = PLACE(out, buffer);
        TC_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            y[k] = (x[k] - mean[k]) * slope[k] + shift[k];
        DELIVER(out, buffer, n);
    })
}

static void NAME(plane_sums)(const job *j, const unit *u)
{
    const params *p = j->params;
    REAL mean = (REAL)j->channels[u->channel].mean, x_buffer[PIECE], dy_buffer[PIECE];
    partial sums = {0, 0};
    EACH_PIECE({
        const REAL *x = FETCH((const STORED *)j->x + at, n, x_buffer);
        const REAL *dy = FETCH((const STORED *)j->dy + at, n, dy_buffer);
        sums.first += MATH(row_sum)(dy, n);
        sums.second += MATH(sum_products)(dy, x, mean, n);
    })
    j->partials[u->channel * p->chunks + u->chunk] = sums;
}

static void NAME(column_sums)(const job *j, const unit *u)
{
    const params *p = j->params;
    REAL x_buffer[TILE], dy_buffer[TILE];
    double mean[TILE], plain[TILE] = {0}, products[TILE] = {0};
    for (int64_t c = 0; c < u->width; c++)
        mean[c] = j->channels[u->channel + c].mean;
    EACH_ROW({
        const REAL *x = FETCH((const STORED *)j->x + at, n, x_buffer);
        const REAL *dy = FETCH((const STORED *)j->dy + at, n, dy_buffer);
        for (int64_t c = 0; c < n; c++) {
            plain[c] += (double)dy[c];
            products[c] += (double)dy[c] * ((double)x[c] - mean[c]);
        }
    })
    for (int64_t c = 0; c < u->width; c++)
        j->partials[(u->channel + c) * p->chunks + u->chunk] = (partial){plain[c], products[c]};
}

static void NAME(plane_gradient)(const job *j, const unit *u)
{
    const params *p = j->params;
    const channel *c = &j->channels[u->channel];
    REAL mean = (REAL)c->mean, base = (REAL)c->base, slope = (REAL)c->slope;
    REAL factor = (REAL)c->factor, x_buffer[PIECE], dy_buffer[PIECE];
    EACH_PIECE({
        STORED *out = (STORED *)j->y + at;
        const REAL *x = FETCH((const STORED *)j->x + at, n, x_buffer);
        const REAL *dy = FETCH((const STORED *)j->dy + at, n, dy_buffer);
        REAL *dx = PLACE(out, x_buffer);
        TC_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            dx[k] = (dy[k] - base - (x[k] - mean) * slope) * factor;
        DELIVER(out, x_buffer, n);
    })
}

static void NAME(column_gradient)(const job *j, const unit *u)
{
    const params *p = j->params;
    REAL x_buffer[TILE], dy_buffer[TILE], mean[TILE], base[TILE], slope[TILE], factor[TILE];
    for (int64_t k = 0; k < u->width; k++) {
        const channel *c = &j->channels[u->channel + k];
        mean[k] = (REAL)c->mean;
        base[k] = (REAL)c->base;
        slope[k] = (REAL)c->slope;
        factor[k] = (REAL)c->factor;
    }
    EACH_ROW({
        STORED *out = (STORED *)j->y + at;
        const REAL *x = FETCH((const STORED *)j->x + at, n, x_buffer);
        const REAL *dy = FETCH((const STORED *)j->dy + at, n, dy_buffer);
        REAL *dx = PLACE(out, x_buffer);
        TC_INDEPENDENT
        for (int64_t k = 0; k < n; k++)
            dx[k] = (dy[k] - base[k] - (x[k] - mean[k]) * slope[k]) * factor[k];
        DELIVER(out, x_buffer, n);
    })
}
#undef EACH_PIECE
#undef EACH_ROW

/* The loop functions over units. */
#define OVER_UNITS(what)                                                          \
    static void NAME(what)(void *context, int64_t begin, int64_t end, int worker) \
    {                                                                             \
        const job *j = context;                                                   \
        (void)worker;                                                             \
        for (int64_t i = begin; i < end; i++) {                                   \
            unit u = unit_of(j->params, i);                                       \
            if (j->params->plane == 1)                                            \
                NAME(column_##what)(j, &u);                                       \
            else                                                                  \
                NAME(plane_##what)(j, &u);                                        \
        }                                                                         \
    }
OVER_UNITS(statistics)
OVER_UNITS(normalize)
OVER_UNITS(sums)
OVER_UNITS(gradient)
#undef OVER_UNITS

static tc_status NAME(run_forward)(const void *prepared, const void *const *inputs,
                                   void *const *outputs, const tc_kernel_context *context)
{
    const params *p = prepared;
    job j = job_of(p, context);
    j.x = inputs[0];
    j.y = outputs[0];
    int64_t grain = grain_of(p), count = count_of(p);
    bool batch = p->training && count > 0;
    if (batch)
        tc_parallel_for(context->pool, p->tiles * p->chunks, grain, NAME(statistics), &j);
    for (int64_t c = 0; c < p->channels; c++) {
        double running_mean = NAME(get)(p, inputs[3], c), mean = running_mean;
        double running_variance = NAME(get)(p, inputs[4], c), variance = running_variance;
        if (batch) {
            combine_statistics(p, j.partials + c * p->chunks, &mean, &variance);
            double unbiased =
                count > 1 ? variance * ((double)count / (double)(count - 1)) : variance;
            running_mean = p->momentum * running_mean + (1 - p->momentum) * mean;
            running_variance = p->momentum * running_variance + (1 - p->momentum) * unbiased;
        }
        double inverse = 1 / sqrt(variance + p->epsilon);
        NAME(put)(p, outputs[1], c, running_mean);
        NAME(put)(p, outputs[2], c, running_variance);
        NAME(put)(p, outputs[3], c, mean);
        NAME(put)(p, outputs[4], c, inverse);
        double slope = inputs[1] ? inverse * NAME(get)(p, inputs[1], c) : inverse;
        double offset = inputs[2] ? NAME(get)(p, inputs[2], c) : 0;
        /* The kernel subtracts the mean as rounded to REAL. */
        double rest = mean - (double)(REAL)mean;
        j.channels[c] = (channel){.mean = mean, .slope = slope, .shift = offset - rest * slope};
    }
    tc_parallel_for(context->pool, p->tiles * p->chunks, grain, NAME(normalize), &j);
    return TC_OK;
}

/*
 * doffset = sum(dy), dscale = inverse sum(dy (x - mean)), and dx = scale inverse dy, less in
 * training, where mean and deviation depend on x: scale inverse (dy - mean(dy) - (x - mean)
 * inverse^2 mean(dy (x - mean))).
 */
static tc_status NAME(run_gradient)(const void *prepared, const void *const *inputs,
                                    void *const *outputs, const tc_kernel_context *context)
{
    const params *p = prepared;
    job j = job_of(p, context);
    j.dy = inputs[0];
    j.x = inputs[1];
    j.y = outputs[0];
    int64_t grain = grain_of(p);
    for (int64_t c = 0; c < p->channels; c++)
        j.channels[c].mean = NAME(get)(p, inputs[3], c);
    tc_parallel_for(context->pool, p->tiles * p->chunks, grain, NAME(sums), &j);
    for (int64_t c = 0; c < p->channels; c++) {
        double inverse = NAME(get)(p, inputs[4], c), plain = 0, products = 0;
        for (int64_t i = 0; i < p->chunks; i++) {
            plain += j.partials[c * p->chunks + i].first;
            products += j.partials[c * p->chunks + i].second;
        }
        NAME(put)(p, outputs[1], c, products * inverse);
        NAME(put)(p, outputs[2], c, plain);
        double count = p->training ? (double)count_of(p) : 0;
        channel *at = &j.channels[c];
        at->base = count > 0 ? plain / count : 0;
        at->slope = count > 0 ? products / count * inverse * inverse : 0;
        at->factor = inputs[2] ? inverse * NAME(get)(p, inputs[2], c) : inverse;
    }
    tc_parallel_for(context->pool, p->tiles * p->chunks, grain, NAME(gradient), &j);
    return TC_OK;
}
#undef TAG
