/* Included by softmax_cross_entropy.c once per dtype (see storage.h). */

static void NAME(load_one)(const STORED *from, REAL *to)
{
    REAL buffer[1];
    *to = *FETCH(from, 1, buffer);
}

static void NAME(store_one)(REAL value, STORED *to)
{
    REAL buffer[1];
    *PLACE(to, buffer) = value;
    DELIVER(to, buffer, 1);
}

/* log(sum(exp(x))) - high, where high is the maximum of x. */
static REAL NAME(log_sum)(const REAL *x, int64_t n, REAL *high)
{
    *high = MATH(row_max)(x, n);
    return *high == -(REAL)INFINITY ? -(REAL)INFINITY : (REAL)log(MATH(row_exp)(x, *high, NULL, n));
}

static void NAME(loss)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    REAL *buffer = worker_scratch(j->scratch, p->scratch, worker), *lse = j->lse_out;
    for (int64_t i = begin; i < end; i++) {
        int64_t label = label_of(p, j->labels, i);
        const REAL *x = FETCH((const STORED *)j->logits + i * p->classes, p->classes, buffer);
        REAL high, rest = NAME(log_sum)(x, p->classes, &high);
        lse[i] = high + rest;
        REAL loss = is_ignored(p, label) ? 0 : (high - x[label]) + rest;
        NAME(store_one)(loss, (STORED *)j->out + i);
    }
}

static void NAME(dense)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    int64_t n = p->classes;
    REAL *buffer = worker_scratch(j->scratch, p->scratch, worker), *lse = j->lse_out;
    for (int64_t i = begin; i < end; i++) {
        const REAL *x = FETCH((const STORED *)j->logits + i * n, n, buffer);
        const REAL *t = FETCH((const STORED *)j->labels + i * n, n, buffer + n);
        REAL high, rest = NAME(log_sum)(x, n, &high);
        lse[i] = high + rest;
        NAME(store_one)((REAL)MATH(sum_entropy)(t, x, lse[i], n), (STORED *)j->out + i);
    }
}

/* dx = weight exp(x - lse) */
static void NAME(weighted_softmax)(const REAL *x, REAL lse, REAL weight, REAL *dx, int64_t n)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        MATH(store)(dx + i, MATH(exp)(MATH(load)(x + i) - lse) * weight);
    if (i < n)
        MATH(store_part)(dx + i, n - i, MATH(exp)(MATH(load_part)(x + i, n - i) - lse) * weight);
}

static void NAME(loss_grad)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    int64_t n = p->classes;
    REAL *buffer = worker_scratch(j->scratch, p->scratch, worker);
    const REAL *lse = j->lse_in;
    for (int64_t i = begin; i < end; i++) {
        int64_t label = label_of(p, j->labels, i);
        STORED *out = (STORED *)j->out + i * n;
        REAL *dx = PLACE(out, buffer + n), weight;
        if (is_ignored(p, label)) {
            memset(out, 0, (size_t)n * sizeof *out);
            continue;
        }
        NAME(load_one)((const STORED *)j->dloss + i, &weight);
        const REAL *x = FETCH((const STORED *)j->logits + i * n, n, buffer);
        NAME(weighted_softmax)(x, lse[i], weight, dx, n);
        dx[label] -= weight;
        DELIVER(out, dx, n);
    }
}

static void NAME(dense_grad)(void *context, int64_t begin, int64_t end, int worker)
{
    const job *j = context;
    const params *p = j->params;
    int64_t n = p->classes;
    REAL *buffer = worker_scratch(j->scratch, p->scratch, worker);
    const REAL *lse = j->lse_in;
    for (int64_t i = begin; i < end; i++) {
        STORED *out = (STORED *)j->out + i * n;
        const REAL *x = FETCH((const STORED *)j->logits + i * n, n, buffer);
        const REAL *t = FETCH((const STORED *)j->labels + i * n, n, buffer + n);
        REAL *dx = PLACE(out, buffer), weight;
        NAME(load_one)((const STORED *)j->dloss + i, &weight);
        NAME(weighted_softmax)(x, lse[i], (REAL)(weight * MATH(row_sum)(t, n)), dx, n);
        TC_INDEPENDENT
        for (int64_t c = 0; c < n; c++)
            dx[c] -= weight * t[c];
        DELIVER(out, dx, n);
    }
}

#define RUN_LOSS(kind, check)                                                                 \
    static tc_status NAME(run_##kind)(const void *params_, const void *const *inputs,         \
                                      void *const *outputs, const tc_kernel_context *context) \
    {                                                                                         \
        const params *p = params_;                                                            \
        check;                                                                                \
        job j = {.params = p,                                                                 \
                 .logits = inputs[0],                                                         \
                 .labels = inputs[1],                                                         \
                 .out = outputs[0],                                                           \
                 .lse_out = outputs[1],                                                       \
                 .scratch = context->workspace};                                              \
        tc_parallel_for(context->pool, p->examples, p->grain, NAME(kind), &j);                \
        return TC_OK;                                                                         \
    }
#define RUN_GRAD(kind, check)                                                                 \
    static tc_status NAME(run_##kind)(const void *params_, const void *const *inputs,         \
                                      void *const *outputs, const tc_kernel_context *context) \
    {                                                                                         \
        const params *p = params_;                                                            \
        check;                                                                                \
        job j = {.params = p,                                                                 \
                 .dloss = inputs[0],                                                          \
                 .logits = inputs[1],                                                         \
                 .labels = inputs[2],                                                         \
                 .lse_in = inputs[3],                                                         \
                 .out = outputs[0],                                                           \
                 .scratch = context->workspace};                                              \
        tc_parallel_for(context->pool, p->examples, p->grain, NAME(kind), &j);                \
        return TC_OK;                                                                         \
    }
RUN_LOSS(loss, TC_TRY(check_labels(p, inputs[1])))
RUN_LOSS(dense, )
RUN_GRAD(loss_grad, TC_TRY(check_labels(p, inputs[2])))
RUN_GRAD(dense_grad, )
#undef RUN_LOSS
#undef RUN_GRAD
#undef TAG
