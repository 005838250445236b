/*
 * Steps of optimizers on arrays of S, included by update.c once for float and once for double.
 * Every result may overwrite the array it follows from. The formulas are in tensorc/ops/state.h.
 */

/* Arrays of one piece: parameter, gradient and slots with their successors. */
typedef struct NAME(piece) {
    const S *p, *g, *slot[2];
    S *new_p, *new_slot[2];
    int64_t count;
} NAME(piece);

/* No step: everything stays as it is, in place or as a copy. */
static void NAME(keep)(const update_scalars *u, const NAME(piece) * a)
{
    size_t bytes = (size_t)a->count * sizeof(S);
    (void)u;
    if (a->new_p != a->p)
        memcpy(a->new_p, a->p, bytes);
    for (int32_t s = 0; s < 2; s++)
        if (a->new_slot[s] != a->slot[s])
            memcpy(a->new_slot[s], a->slot[s], bytes);
}

static void NAME(sgd)(const update_scalars *u, const NAME(piece) * a)
{
    const S rate = (S)u->rate, decay = (S)u->decay, *p = a->p, *g = a->g;
    S *new_p = a->new_p;
    TC_INDEPENDENT
    for (int64_t i = 0; i < a->count; i++)
        new_p[i] = p[i] - rate * (g[i] + decay * p[i]);
}

static void NAME(momentum)(const update_scalars *u, const NAME(piece) * a)
{
    const S rate = (S)u->rate, decay = (S)u->decay, momentum = (S)u->momentum;
    /* The step is along (momentum * velocity + g) with Nesterov's look ahead, along the velocity
     * without. */
    const S along = u->nesterov ? momentum : 1, ahead = u->nesterov ? 1 : 0;
    const S *p = a->p, *g = a->g, *v = a->slot[0];
    S *new_p = a->new_p, *new_v = a->new_slot[0];
    TC_INDEPENDENT
    for (int64_t i = 0; i < a->count; i++) {
        S gradient = g[i] + decay * p[i];
        S velocity = momentum * v[i] + gradient;
        new_p[i] = p[i] - rate * (along * velocity + ahead * gradient);
        new_v[i] = velocity;
    }
}

static void NAME(adam)(const update_scalars *u, const NAME(piece) * a)
{
    const S keep = (S)u->keep, rate = (S)u->rate, root = (S)u->root, epsilon = (S)u->epsilon;
    const S beta1 = (S)u->beta1, beta2 = (S)u->beta2;
    const S rest1 = (S)(1 - u->beta1), rest2 = (S)(1 - u->beta2);
    const S *p = a->p, *g = a->g, *m = a->slot[0], *v = a->slot[1];
    S *new_p = a->new_p, *new_m = a->new_slot[0], *new_v = a->new_slot[1];
    TC_INDEPENDENT
    for (int64_t i = 0; i < a->count; i++) {
        S mean = beta1 * m[i] + rest1 * g[i];
        S square = beta2 * v[i] + rest2 * g[i] * g[i];
        new_p[i] = keep * p[i] - rate * mean / (SQRT(square) * root + epsilon);
        new_m[i] = mean;
        new_v[i] = square;
    }
}

#undef S
#undef NAME
#undef SQRT
