/* Included by epilogue.c for float and double: S is the type, V a vector of LANES of it; NARROW
 * says that results of 16 bits are computed in it too. */

/* What stands for a factor and for terms that are not given: x * 1 and x + -0 are x. */
static const S NAME(ones)[LANES] = SPLAT(1);
static const S NAME(zeros)[LANES] = SPLAT((S)-0.0);

/* The elements of a row as loads see them: an array, or one vector that does not move. */
typedef struct NAME(operand) {
    const S *at;
    int64_t step;
} NAME(operand);

TC_INLINE NAME(operand) NAME(operand_of)(const S *given, int64_t step, const S *otherwise, S *room)
{
    if (given && step)
        return (NAME(operand)){given, LANES};
    if (!given)
        return (NAME(operand)){otherwise, 0};
    NAME(store)(room, NAME(splat)(*given));
    return (NAME(operand)){room, 0};
}

/* Functions that take longer than another pass over a row in the first cache. */
static void NAME(activate)(tc_epilogue_function function, S *x, int64_t count)
{
    switch (function) {
    case TC_EPILOGUE_SIGMOID: NAME(map)(NAME(sigmoid), x, x, count); break;
    case TC_EPILOGUE_TANH: NAME(map)(NAME(tanh), x, x, count); break;
    case TC_EPILOGUE_GELU: NAME(map)(NAME(gelu), x, x, count); break;
    case TC_EPILOGUE_GELU_TANH: NAME(map)(NAME(gelu_tanh), x, x, count); break;
    default: break;
    }
}

/* `count` elements of a row; scale and bias are theirs with `step`, else one for all. */
static void NAME(finish_row)(const tc_epilogue *e, const S *from, S *to, const S *scale,
                             const S *bias, int64_t step, const S *residual, int64_t count)
{
    S room[2][LANES];
    const V alpha = NAME(splat)((S)e->alpha);
    /* No number is below the limit of what is not relu. */
    const V low = NAME(splat)(e->activation == TC_EPILOGUE_RELU ? 0 : (S)-INFINITY);
    NAME(operand) factor = NAME(operand_of)(scale, step, NAME(ones), room[0]);
    NAME(operand) term = NAME(operand_of)(bias, step, NAME(zeros), room[1]);
    NAME(operand) rest = NAME(operand_of)(residual, 1, NAME(zeros), NULL);
    int64_t i = 0;
#define WHOLE(p) NAME(load)(p)
#define PART(p)  NAME(load_part)(p, count - i)
#define ELEMENTS(LOAD) \
    NAME(max)(low, LOAD(from + i) * alpha * LOAD(factor.at) + LOAD(term.at) + LOAD(rest.at))
    for (; i + LANES <= count; i += LANES) {
        NAME(store)(to + i, ELEMENTS(WHOLE));
        factor.at += factor.step;
        term.at += term.step;
        rest.at += rest.step;
    }
    if (i < count)
        NAME(store_part)(to + i, count - i, ELEMENTS(PART));
#undef ELEMENTS
#undef WHOLE
#undef PART
    if (e->activation > TC_EPILOGUE_RELU)
        NAME(activate)(e->activation, to, count);
}

#if NARROW
/* The same with a residual of 16 bits. */
static void NAME(finish_narrow)(const tc_epilogue *e, const S *from, S *to, const S *scale,
                                const S *bias, int64_t step, const uint16_t *residual,
                                int64_t count)
{
    S wide[PIECE];
    for (int64_t i = 0; i < count; i += PIECE) {
        int64_t n = count - i < PIECE ? count - i : PIECE;
        (e->dtype == TC_F16 ? convert_from_f16 : convert_from_bf16)(residual + i, wide, n);
        NAME(finish_row)
        (e, from + i, to + i, scale ? scale + i * step : NULL, bias ? bias + i * step : NULL, step,
         wide, n);
    }
}
#endif

static void NAME(finish)(const tc_epilogue *e, const tc_epilogue_tile *t)
{
    for (int64_t i = 0; i < t->rows; i++) {
        const S *from = (const S *)t->from + i * t->from_ld;
        S *to = (S *)t->to + i * t->to_ld;
        const S *scale = t->scale ? (const S *)t->scale + i * t->row_step : NULL;
        const S *bias = t->bias ? (const S *)t->bias + i * t->row_step : NULL;
        int64_t rest = i * t->residual_ld;
#if NARROW
        if (t->residual && e->dtype != TC_F32)
            NAME(finish_narrow)
        (e, from, to, scale, bias, t->column_step, (const uint16_t *)t->residual + rest,
         t->columns);
        else
#endif
            NAME(finish_row)(e, from, to, scale, bias, t->column_step,
                             t->residual ? (const S *)t->residual + rest : NULL, t->columns);
    }
}

#undef S
#undef V
#undef NAME
#undef LANES
#undef SPLAT
#undef NARROW
