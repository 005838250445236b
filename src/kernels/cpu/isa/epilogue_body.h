/* Included by epilogue.c for float and double: S is the type, V a vector of LANES of it; NARROW
 * says that results of 16 bits are computed in it too. */

/* One function whose branches are always the same: a copy of the loop for each activation would
 * gain nothing. */
TC_INLINE V NAME(activate)(tc_epilogue_function function, V x)
{
    switch (function) {
    case TC_EPILOGUE_RELU: return NAME(max)(NAME(splat)(0), x);
    case TC_EPILOGUE_SIGMOID: return NAME(sigmoid)(x);
    case TC_EPILOGUE_TANH: return NAME(tanh)(x);
    case TC_EPILOGUE_GELU: return NAME(gelu)(x);
    case TC_EPILOGUE_GELU_TANH: return NAME(gelu_tanh)(x);
    default: return x;
    }
}

TC_INLINE V NAME(fetch)(const S *p, int64_t count)
{
    return count >= LANES ? NAME(load)(p) : NAME(load_part)(p, count);
}

/* `count` elements of a row. Where nothing is given, x * 1 and x + -0 are x. */
static void NAME(finish_row)(const tc_epilogue *e, const S *from, S *to, const S *scale,
                             const S *bias, int64_t step, const S *residual, int64_t count)
{
    const V alpha = NAME(splat)((S)e->alpha);
    V factor = NAME(splat)(scale ? *scale : 1), term = NAME(splat)(bias ? *bias : (S)-0.0);
    V rest = NAME(splat)((S)-0.0);
    for (int64_t i = 0; i < count; i += LANES) {
        if (scale && step)
            factor = NAME(fetch)(scale + i, count - i);
        if (bias && step)
            term = NAME(fetch)(bias + i, count - i);
        if (residual)
            rest = NAME(fetch)(residual + i, count - i);
        V x = NAME(fetch)(from + i, count - i) * alpha * factor + term + rest;
        x = NAME(activate)(e->activation, x);
        if (count - i >= LANES)
            NAME(store)(to + i, x);
        else
            NAME(store_part)(to + i, count - i, x);
    }
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
#undef NARROW
