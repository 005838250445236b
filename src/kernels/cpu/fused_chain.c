/*
 * Chains: neighbouring steps on elements of one float type become one step that works on a few
 * vectors at a time, whose value stays in registers from one operation to the next. Only what other
 * steps read is stored.
 */
#include <string.h>

#include "kernels/cpu/fused_emit.h"

/* Outputs of so many bytes leave the caches before anybody reads them. */
#define STREAMED_BYTES ((int64_t)16 << 20)

/* What a chain does for an instruction, with its value as the first and as the second operand; 0:
 * it has no such operation. */
typedef struct form {
    uint8_t direct, reversed;
} form;

#define FORM(code, direct) [TC_FUSED_##code] = {TC_FUSED_MICRO_##direct, 0}
#define FORMS(code, direct, reversed) \
    [TC_FUSED_##code] = {TC_FUSED_MICRO_##direct, TC_FUSED_MICRO_##reversed}
static const form forms[TC_FUSED_CODES] = {
    FORMS(add, ADD, ADD),
    FORMS(sub, SUB, RSUB),
    FORMS(mul, MUL, MUL),
    FORMS(div, DIV, RDIV),
    FORM(maximum, MAX),
    FORM(minimum, MIN),
    FORM(exp, EXP),
    FORM(neg, NEG),
    FORM(abs, ABS),
    FORM(square, SQUARE),
    FORM(sqrt, SQRT),
    FORM(relu, RELU),
    FORM(reciprocal, RECIPROCAL),
    FORM(reduce_sum, SUM),
    FORM(reduce_mean, SUM),
    FORM(reduce_max, MOST),
    FORM(reduce_min, LEAST),
};
#undef FORM
#undef FORMS

/* A chain that is being made of steps. */
typedef struct chain {
    emitter *e;
    int n_own, n_micro;
    int own[TC_FUSED_CHAIN];      /* the steps */
    int ends[TC_FUSED_CHAIN];     /* operations up to and with those of each */
    bool stored[TC_FUSED_CHAIN];  /* its result is read from memory */
    int8_t maker[TC_FUSED_SLOTS]; /* 1 + which of them made what lies in a slot, 0: none */
    tc_fused_step micro[TC_FUSED_CHAIN];
} chain;

static int operands_of(const tc_fused_step *step)
{
    switch (step->kind) {
    case TC_FUSED_STEP_LOAD: return 0;
    case TC_FUSED_STEP_COMPUTE: return tc_fused_infos[step->code].operands;
    case TC_FUSED_STEP_WHERE: return 3;
    default: return 1;
    }
}

static bool reads(const tc_fused_step *step, int slot)
{
    for (int k = 0; k < operands_of(step); k++)
        if (step->from[k] == slot)
            return true;
    return false;
}

static bool is_output(const emitter *e, int slot)
{
    for (int o = 0; o < e->p->n_outputs; o++)
        if (e->plan.output_slot[o] == slot)
            return true;
    return false;
}

/* Whether a step behind `step` reads what lies in `slot` then. */
static bool is_read_later(const emitter *e, int step, int slot)
{
    for (int i = step + 1; i < e->plan.n_steps; i++) {
        if (reads(&e->steps[i], slot))
            return true;
        if (e->steps[i].to == slot && e->steps[i].full && e->steps[i].kind != TC_FUSED_STEP_REDUCE)
            return false;
    }
    return false;
}

/* Whether reductions add to their lanes as chains do. */
static bool takes_reductions(const tc_fused_plan *plan)
{
    return plan->group == TC_FUSED_LANES && !plan->one_by_one &&
           (!plan->whole || (plan->by_rows && plan->together == 1));
}

static const tc_fused_step *own_step(const chain *c, int index)
{
    return &c->e->steps[c->own[index]];
}

static bool can_join(const chain *c, const tc_fused_step *step)
{
    if (!step->full || step->type > TC_FUSED_F64 || c->n_own == TC_FUSED_CHAIN / 4 ||
        (c->n_own > 0 && step->type != own_step(c, 0)->type))
        return false;
    if (step->kind == TC_FUSED_STEP_COMPUTE) {
        tc_fused_kind kind = tc_fused_infos[step->code].kind;
        if (kind != TC_FUSED_UNARY && !forms[step->code].direct)
            return false;
    } else if (step->kind != TC_FUSED_STEP_REDUCE || !takes_reductions(&c->e->plan)) {
        return false;
    }
    /* Totals are there when all elements have been taken. */
    for (int k = 0; k < operands_of(step); k++) {
        int maker = c->maker[step->from[k]];
        if (maker && own_step(c, maker - 1)->kind == TC_FUSED_STEP_REDUCE)
            return false;
    }
    return true;
}

/* Adds an operation that reads operand `k` of `step`. */
static void add_reading(chain *c, uint8_t kind, const tc_fused_step *step, int k)
{
    bool scalar = step->scalars >> k & 1;
    int maker = c->maker[step->from[k]];
    if (!scalar && maker)
        c->stored[maker - 1] = true;
    c->micro[c->n_micro++] =
        (tc_fused_step){.kind = kind, .scalars = scalar, .from = {step->from[k]}};
}

static void add_own(chain *c, int index)
{
    const tc_fused_step *step = &c->e->steps[index];
    const tc_fused_step *before = c->n_own ? own_step(c, c->n_own - 1) : NULL;
    /* A reduction leaves the value as it is. */
    int held = !before ? -1 : before->kind == TC_FUSED_STEP_REDUCE ? before->from[0] : before->to;
    bool has[2] = {held == step->from[0] && !(step->scalars & 1),
                   operands_of(step) > 1 && held == step->from[1] && !(step->scalars & 2)};
    bool reduces = step->kind == TC_FUSED_STEP_REDUCE;
    form f = forms[reduces ? c->e->plan.reductions[step->code].code : step->code];
    if (!has[0] && !(has[1] && f.reversed)) {
        bool second = step->scalars & 1 && f.reversed;
        add_reading(c, TC_FUSED_MICRO_LOAD, step, second);
        has[0] = !second;
        has[1] = second;
    }
    if (operands_of(step) > 1)
        add_reading(c, has[0] ? f.direct : f.reversed, step, has[0]);
    else
        c->micro[c->n_micro++] =
            (tc_fused_step){.kind = f.direct ? f.direct : (uint8_t)TC_FUSED_MICRO_CALL,
                            .code = step->code,
                            .to = step->to};
    c->own[c->n_own] = index;
    c->ends[c->n_own++] = c->n_micro;
    c->maker[step->to] = (int8_t)c->n_own;
}

static void put(emitter *e, tc_fused_step step)
{
    e->chained[e->n_chained++] = step;
}

static void put_store(emitter *e, int step)
{
    int slot = e->steps[step].to;
    bool streams = e->plan.streams && is_output(e, slot) && !is_read_later(e, step, slot);
    put(e, (tc_fused_step){.kind = streams ? TC_FUSED_MICRO_STREAM : TC_FUSED_MICRO_STORE,
                           .to = (uint8_t)slot});
}

/* Writes the chain, or the steps themselves where that would be no gain. */
static void put_chain(chain *c)
{
    emitter *e = c->e;
    int micro = 0;
    if (c->n_own > 1) {
        int head = e->n_chained;
        put(e, (tc_fused_step){.kind = TC_FUSED_STEP_CHAIN,
                               .type = own_step(c, 0)->type,
                               .full = true,
                               .from = {(uint8_t)c->n_own}});
        for (int i = 0; i < c->n_own; i++) {
            for (; micro < c->ends[i]; micro++)
                put(e, c->micro[micro]);
            const tc_fused_step *step = own_step(c, i);
            if (step->kind != TC_FUSED_STEP_REDUCE &&
                (c->stored[i] || is_output(e, step->to) ||
                 (c->maker[step->to] == i + 1 && is_read_later(e, c->own[c->n_own - 1], step->to))))
                put_store(e, c->own[i]);
        }
        e->chained[head].code = (uint8_t)(e->n_chained - head - 1);
    }
    for (int i = 0; i < c->n_own; i++)
        put(e, *own_step(c, i));
    memset(c, 0, sizeof *c);
    c->e = e;
}

/* Room for all that is left, chained or not. */
static bool has_room(const emitter *e)
{
    return e->n_chained + TC_FUSED_CHAIN + e->plan.n_steps < MAX_CHAINED;
}

/* Chains the steps [first, last). Loads that only say where an input lies come before the chain. */
static void chain_steps(emitter *e, int first, int last)
{
    chain c = {.e = e};
    for (int i = first; i < last; i++) {
        const tc_fused_step *step = &e->steps[i];
        if (step->kind == TC_FUSED_STEP_LOAD && !e->layouts[step->from[0]].gather) {
            put(e, *step);
            continue;
        }
        if (!can_join(&c, step))
            put_chain(&c);
        if (has_room(e) && can_join(&c, step))
            add_own(&c, i);
        else
            put(e, *step);
    }
    put_chain(&c);
}

static bool streams(const emitter *e)
{
    int64_t bytes = 0;
    for (int32_t o = 0; o < e->p->n_outputs; o++)
        if (e->plan.output_full[o])
            bytes += e->plan.rows * e->plan.columns * e->plan.output_size[o];
    return bytes >= STREAMED_BYTES;
}

void fused_chain(emitter *e)
{
    tc_fused_plan *plan = &e->plan;
    e->n_chained = 0;
    plan->streams = streams(e);
    for (int phase = 0; phase <= plan->n_phases; phase++) {
        tc_fused_phase *at = &plan->phases[phase];
        int rows = at->rows, tiles = at->tiles;
        int end = phase < plan->n_phases ? plan->phases[phase + 1].rows : plan->n_steps;
        at->rows = (int16_t)e->n_chained;
        chain_steps(e, rows, tiles);
        at->tiles = (int16_t)e->n_chained;
        chain_steps(e, tiles, end);
    }
    plan->n_steps = (int16_t)e->n_chained;
}
