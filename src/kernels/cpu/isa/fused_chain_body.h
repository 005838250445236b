/*
 * Included by fused.c for f32 and f64: R is the type, V a vector of N of it, ROW(x) names. The
 * value of a chain, SPAN elements, is in the vectors a0 to a7 while all its operations pass.
 */

#define SPAN        (8 * N)
#define VECTORS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
/* With b, the second operand. */
#define WITH(i, DO)           \
    b = ROW(load)(p + (i)*N); \
    DO(i)
#define OPERANDS(DO) \
    WITH(0, DO) WITH(1, DO) WITH(2, DO) WITH(3, DO) WITH(4, DO) WITH(5, DO) WITH(6, DO) WITH(7, DO)
#define STATE(index) ((tc_fused_state *)(void *)t->scratch + (index))

typedef struct ROW(operation) {
    int code;
    int64_t step; /* bytes from one span to the next */
    char *at;
    tc_tile_function tile;
} ROW(operation);

static void ROW(set_up)(const task *t, const tc_fused_step *micro, ROW(operation) * o)
{
    *o = (ROW(operation)){.code = micro->kind * 2, .at = t->scratch, .step = SPAN * sizeof(R)};
    switch (micro->kind) {
    case TC_FUSED_MICRO_STREAM:
        o->at = t->at[micro->to];
        /* What lies where an input does is in the caches already. */
        if ((uintptr_t)o->at % 64 != 0 || t->inputs_overwritten)
            o->code = TC_FUSED_MICRO_STORE * 2;
        break;
    case TC_FUSED_MICRO_STORE: o->at = t->at[micro->to]; break;
    case TC_FUSED_MICRO_EXP:
        if (!INLINE_EXP)
            o->code = TC_FUSED_MICRO_CALL * 2;
        o->step = 0;
        o->tile = TC_ISA_NAME(tc_fused_unary_tiles)[TC_FUSED_exp][sizeof(R) == sizeof(double)];
        break;
    case TC_FUSED_MICRO_CALL:
        o->step = 0;
        o->tile = TC_ISA_NAME(tc_fused_unary_tiles)[micro->code][sizeof(R) == sizeof(double)];
        break;
    case TC_FUSED_MICRO_SUM:
    case TC_FUSED_MICRO_MOST:
    case TC_FUSED_MICRO_LEAST:
        o->at = (char *)STATE(micro->code);
        o->step = 0;
        break;
    default:
        o->at = t->at[micro->from[0]];
        if (micro->scalars) {
            o->code++;
            o->step = 0;
        }
        break;
    }
}

static __attribute__((noinline)) void ROW(add_flush)(tc_fused_state *s)
{
    ROW(flush)(s);
}

/* Elements [0, n), whole rows of lanes. */
static void ROW(run_operations)(ROW(operation) * first, const ROW(operation) * end, int64_t n)
{
    R buffer[SPAN] __attribute__((aligned(64)));
    V a0 = {0}, a1 = {0}, a2 = {0}, a3 = {0}, a4 = {0}, a5 = {0}, a6 = {0}, a7 = {0};
    for (int64_t done = 0; done < n; done += SPAN)
        for (ROW(operation) *o = first; o < end; o++) {
            R *p = (R *)(void *)o->at;
            o->at += o->step;
            switch (o->code) {
#define CASE(name) \
    case TC_FUSED_MICRO_##name * 2: VECTORS(name##_EACH) break;
/* With a vector of each and with one element. */
#define BINARY(name)                      \
    case TC_FUSED_MICRO_##name * 2: {     \
        V b;                              \
        OPERANDS(name##_EACH)             \
        break;                            \
    }                                     \
    case TC_FUSED_MICRO_##name * 2 + 1: { \
        V b = ROW(splat)(*p);             \
        VECTORS(name##_EACH)              \
        break;                            \
    }
#define LOAD_EACH(i) a##i = b;
#define ADD_EACH(i)  a##i = a##i + b;
#define SUB_EACH(i)  a##i = a##i - b;
#define RSUB_EACH(i) a##i = b - a##i;
#define MUL_EACH(i)  a##i = a##i * b;
#define DIV_EACH(i)  a##i = a##i / b;
#define RDIV_EACH(i) a##i = b / a##i;
#define MAX_EACH(i)  a##i = ROW(select)((a##i > b) | (a##i != a##i), a##i, b);
#define MIN_EACH(i)  a##i = ROW(select)((a##i < b) | (a##i != a##i), a##i, b);
                BINARY(LOAD)
                BINARY(ADD)
                BINARY(SUB)
                BINARY(RSUB)
                BINARY(MUL)
                BINARY(DIV)
                BINARY(RDIV)
                BINARY(MAX)
                BINARY(MIN)
#define NEG_EACH(i)        a##i = -a##i;
#define ABS_EACH(i)        a##i = ROW(abs)(a##i);
#define SQUARE_EACH(i)     a##i = a##i * a##i;
#define EXP_EACH(i)        a##i = ROW(exp)(a##i);
#define SQRT_EACH(i)       a##i = ROW(sqrt)(a##i);
#define RELU_EACH(i)       a##i = ROW(select)(a##i < 0, ROW(splat)(0), a##i);
#define RECIPROCAL_EACH(i) a##i = 1 / a##i;
#define STORE_EACH(i)      ROW(store)(p + (i)*N, a##i);
#define SUM_EACH(i)        ROW(store)(p + (i)*N, b + a##i);
#define MOST_EACH(i)       ROW(store)(p + (i)*N, ROW(select)((a##i > b) | (a##i != a##i), a##i, b));
#define LEAST_EACH(i)      ROW(store)(p + (i)*N, ROW(select)((a##i < b) | (a##i != a##i), a##i, b));
#define STREAM_EACH(i)     stream(p + (i)*N, (tc_f32v)a##i);
                CASE(NEG)
                CASE(ABS)
                CASE(SQUARE)
#if INLINE_EXP
                CASE(EXP)
#endif
                CASE(SQRT)
                CASE(RELU)
                CASE(RECIPROCAL)
                CASE(STORE)
                CASE(STREAM)
            case TC_FUSED_MICRO_CALL * 2: {
                const void *const in[3] = {buffer, buffer, buffer};
                p = buffer;
                VECTORS(STORE_EACH)
                o->tile(in, buffer, SPAN, 0);
                V b;
                OPERANDS(LOAD_EACH)
                break;
            }
            case TC_FUSED_MICRO_SUM * 2: {
                tc_fused_state *s = (tc_fused_state *)(void *)p;
                V b;
                p = ROW(lanes)(s) + done % TC_FUSED_LANES;
                OPERANDS(SUM_EACH)
                if ((done + SPAN) % TC_FUSED_LANES == 0 && ++s->added == TC_FUSED_FLUSH)
                    ROW(add_flush)(s);
                break;
            }
            case TC_FUSED_MICRO_MOST * 2: {
                V b;
                p = ROW(lanes)((tc_fused_state *)(void *)p) + done % TC_FUSED_LANES;
                OPERANDS(MOST_EACH)
                break;
            }
            default: {
                V b;
                p = ROW(lanes)((tc_fused_state *)(void *)p) + done % TC_FUSED_LANES;
                OPERANDS(LEAST_EACH)
                break;
            }
            }
        }
}

/* The steps themselves on what is left behind the first `done` elements. */
static void ROW(run_rest)(const task *t, const tc_fused_step *own, int n, int64_t done)
{
    const tc_fused_plan *p = t->j->plan;
    for (const tc_fused_step *step = own; step < own + n; step++) {
        const void *in[3];
        for (int k = 0; k < 3; k++)
            in[k] = t->at[step->from[k]] + (step->scalars >> k & 1 ? 0 : done * (int64_t)sizeof(R));
        int64_t left = t->count - done;
        if (step->kind == TC_FUSED_STEP_COMPUTE)
            tile_of(step)(in, t->at[step->to] + done * (int64_t)sizeof(R), left, step->scalars);
        else
            ROW(take)(STATE(step->code), &p->reductions[step->code], p->group, in[0], left);
    }
}

static void ROW(finish)(const task *t, int index, double total)
{
    const tc_fused_reduction *r = &t->j->plan->reductions[index];
    *(R *)(void *)t->at[r->slot] = (R)(total / r->divisor);
}

static void ROW(run_chain)(const task *t, const tc_fused_step *chain)
{
    const tc_fused_plan *p = t->j->plan;
    const tc_fused_step *micro = chain + 1, *own = micro + chain->code, *end = own + chain->from[0];
    ROW(operation) operations[TC_FUSED_CHAIN];
    int64_t done = t->count - t->count % TC_FUSED_LANES;
    for (const tc_fused_step *step = own; p->whole && step < end; step++)
        if (step->kind == TC_FUSED_STEP_REDUCE)
            ROW(start)(STATE(step->code), &p->reductions[step->code]);
    for (int i = 0; done > 0 && i < chain->code; i++)
        ROW(set_up)(t, micro + i, &operations[i]);
    ROW(run_operations)(operations, operations + chain->code, done);
    if (done < t->count)
        ROW(run_rest)(t, own, chain->from[0], done);
    for (const tc_fused_step *step = own; p->whole && step < end; step++)
        if (step->kind == TC_FUSED_STEP_REDUCE) {
            const tc_fused_reduction *r = &p->reductions[step->code];
            ROW(finish)(t, step->code, ROW(partial)(STATE(step->code), r, p->group));
        }
}

#undef ABS_EACH
#undef ADD_EACH
#undef BINARY
#undef CASE
#undef DIV_EACH
#undef EXP_EACH
#undef LEAST_EACH
#undef LOAD_EACH
#undef MAX_EACH
#undef MIN_EACH
#undef MOST_EACH
#undef MUL_EACH
#undef NEG_EACH
#undef OPERANDS
#undef RDIV_EACH
#undef RECIPROCAL_EACH
#undef RELU_EACH
#undef RSUB_EACH
#undef SPAN
#undef SQRT_EACH
#undef SQUARE_EACH
#undef STATE
#undef STORE_EACH
#undef STREAM_EACH
#undef SUB_EACH
#undef SUM_EACH
#undef VECTORS
#undef WITH
