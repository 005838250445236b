#include <string.h>

#include "kernels/cpu/fused_emit.h"

/* Registers of a tile should leave room in the first-level cache for what streams through it. */
#define REGISTER_BYTES (24 * 1024)
#define LARGEST_TILE   1024
#define SMALLEST_TILE  256
/* Elements of a task. */
#define TASK_ELEMENTS 16384

static void find_phases(emitter *e)
{
    const tc_fused_program *p = e->p;
    bool full[TC_FUSED_VALUES];
    tc_fused_extents(p, full);
    e->plan.n_phases = 1;
    for (int32_t v = 0; v < tc_fused_values(p); v++) {
        const tc_fused_instruction *instruction = tc_fused_producer(p, v);
        value *made = &e->values[v];
        *made = (value){.slot = -1, .dense = {-1, -1}, .raw = -1, .last = -1, .full = full[v]};
        if (!instruction || e->plan.whole)
            continue;
        for (int k = 0; k < tc_fused_infos[instruction->code].operands; k++) {
            int8_t after = e->values[instruction->operands[k]].available;
            made->phase = made->phase > after ? made->phase : after;
        }
        made->available = (int8_t)(made->phase + is_reduction(instruction));
        if (made->phase >= e->plan.n_phases)
            e->plan.n_phases = (int16_t)(made->phase + 1);
    }
}

static void use(emitter *e, int32_t v, int32_t key)
{
    if (e->values[v].last < key)
        e->values[v].last = key;
}

static void find_uses(emitter *e)
{
    const tc_fused_program *p = e->p;
    for (int32_t i = 0; i < p->n_instructions; i++)
        for (int k = 0; k < tc_fused_infos[p->instructions[i].code].operands; k++)
            use(e, p->instructions[i].operands[k], instruction_key(e, i));
}

/*
 * Output 0 may lie where one of the first inputs does: it is written when that has been read for
 * the last time, at once or at the end of a tile.
 */
static void place_outputs(emitter *e)
{
    const tc_fused_program *p = e->p;
    int32_t read = -1;
    for (int32_t o = 0; o < p->n_outputs; o++)
        if (!tc_fused_producer(p, p->outputs[o].value))
            use(e, p->outputs[o].value, key_of(e->plan.n_phases - 1, true, STORE_INDEX));
    for (int32_t i = 0; i < p->n_inputs && i < TC_FUSED_TAKEN; i++)
        read = e->values[i].last > read ? e->values[i].last : read;
    for (int32_t o = 0; o < p->n_outputs; o++) {
        value *v = &e->values[p->outputs[o].value];
        const tc_fused_instruction *producer = tc_fused_producer(p, p->outputs[o].value);
        tc_dtype dtype = tc_fused_dtype(p, p->outputs[o].value);
        e->plan.output_slot[o] = (uint8_t)fused_new_slot(e);
        e->plan.output_size[o] = (uint8_t)tc_dtype_size(dtype);
        e->plan.output_full[o] = p->outputs[o].extent == TC_FUSED_FULL;
        e->store_phase[o] = (int8_t)e->plan.n_phases;
        if (!e->plan.output_full[o])
            continue;
        e->store_phase[o] =
            v->available < e->plan.n_phases ? v->available : (int8_t)(e->plan.n_phases - 1);
        int32_t key =
            producer ? instruction_key(e, p->outputs[o].value - p->n_inputs - p->n_constants) : -1;
        if (producer && v->full && !v->stored && computed(dtype) == dtype &&
            (o > 0 || read <= key)) {
            v->slot = e->plan.output_slot[o];
            v->stored = true;
            e->store_phase[o] = -1;
        } else if (o == 0 && read >= 0 && read / 256 > e->store_phase[o]) {
            e->store_phase[o] = (int8_t)(read / 256);
        }
    }
    for (int32_t o = 0; o < p->n_outputs; o++)
        if (e->store_phase[o] >= 0)
            use(e, p->outputs[o].value,
                key_of(e->store_phase[o], e->plan.output_full[o], STORE_INDEX));
}

static void emit_part(emitter *e, int phase, bool tiles)
{
    const tc_fused_program *p = e->p;
    for (int32_t i = 0; i < p->n_instructions; i++) {
        int32_t key = instruction_key(e, i);
        if (key / 256 == phase && key / 128 % 2 == tiles)
            fused_emit(e, i);
    }
    for (int32_t o = p->n_outputs - 1; o >= 0; o--)
        if (e->store_phase[o] == phase && e->plan.output_full[o] == tiles)
            fused_emit_store(e, o, phase);
}

static void emit_program(emitter *e)
{
    tc_fused_plan *plan = &e->plan;
    for (int32_t i = 0; i < e->p->n_constants; i++) {
        int16_t slot = fused_new_slot(e);
        e->slots[slot].constant = i;
        e->values[e->p->n_inputs + i].slot = slot;
    }
    for (int phase = 0; phase <= plan->n_phases; phase++) {
        plan->phases[phase].first_reduction = (int8_t)plan->n_reductions;
        plan->phases[phase].rows = plan->n_steps;
        emit_part(e, phase, false);
        plan->phases[phase].tiles = plan->n_steps;
        if (phase == plan->n_phases)
            break;
        emit_part(e, phase, true);
        fused_end_phase(e);
    }
}

/* Compiles for tiles of `tile` elements. */
static void compile(emitter *e, const tc_fused_program *p, const tc_value_info *inputs,
                    const tc_shape *domain, int64_t tile)
{
    memset(e, 0, offsetof(emitter, slots));
    e->p = p;
    tc_fused_cut(p, inputs, domain, tile, &e->plan, e->layouts);
    find_phases(e);
    find_uses(e);
    place_outputs(e);
    for (int32_t i = 0; i < p->n_instructions; i++)
        e->states += is_reduction(&p->instructions[i]) ? sizeof(tc_fused_state) : 0;
    e->plan.scratch = e->states = tc_align_up(e->states, 64);
    emit_program(e);
}

/* Tile steps of the first phase alone: what follows works on the totals of a row. */
static bool is_split(const tc_fused_plan *plan)
{
    bool split = !plan->whole && plan->chunks > 1;
    for (int phase = 1; phase < plan->n_phases; phase++)
        split = split && plan->phases[phase].tiles == plan->phases[phase + 1].rows;
    return split;
}

static void finish_plan(emitter *e, int32_t threads, size_t *workspace)
{
    tc_fused_plan *plan = &e->plan;
    plan->n_inputs = (int16_t)e->p->n_inputs;
    plan->n_outputs = (int16_t)e->p->n_outputs;
    plan->split = is_split(plan);
    if (plan->split)
        plan->units = plan->rows * plan->chunks;
    int64_t elements = plan->whole ? plan->tile : plan->split ? plan->chunk : plan->columns;
    plan->grain = elements < TASK_ELEMENTS ? TASK_ELEMENTS / (elements ? elements : 1) : 1;
    plan->scratch = tc_align_up(plan->scratch, 64);
    plan->partials = plan->scratch * (size_t)(threads > 0 ? threads : 1);
    *workspace = plan->partials;
    if (plan->split)
        *workspace += (size_t)plan->units * (size_t)plan->n_reductions * sizeof(double);
}

static tc_status write_params(const emitter *e, tc_prepare *prepare)
{
    const tc_fused_plan *plan = &e->plan;
    const tc_fused_program *p = e->p;
    size_t layouts = (size_t)plan->n_inputs * sizeof *e->layouts;
    size_t slots = (size_t)plan->n_slots * sizeof *e->slots;
    size_t constants = (size_t)(p->n_constants + 2) * sizeof(double);
    size_t prologue = (size_t)plan->n_prologue * sizeof *e->steps;
    size_t steps = (size_t)plan->n_steps * sizeof *e->steps;
    char *params =
        tc_prepare_params(prepare, sizeof *plan + layouts + slots + constants + prologue + steps);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    tc_fused_plan *out = (void *)params;
    *out = *plan;
    out->layouts = sizeof *plan;
    out->slots = (uint32_t)(out->layouts + layouts);
    out->constants = (uint32_t)(out->slots + slots);
    out->steps = (uint32_t)(out->constants + constants);
    if (layouts)
        memcpy(params + out->layouts, e->layouts, layouts);
    memcpy(params + out->slots, e->slots, slots);
    char *pool = params + out->constants;
    for (int32_t i = 0; i < p->n_constants; i++, pool += sizeof(double))
        tc_dtype_store(computed(p->constants[i].dtype), pool, p->constants[i].value);
    tc_dtype_store(TC_F32, pool, (double)plan->columns);
    tc_dtype_store(TC_F64, pool + sizeof(double), (double)plan->columns);
    memcpy(params + out->steps, e->prologue, prologue);
    memcpy(params + out->steps + prologue, e->chained, steps);
    return TC_OK;
}

tc_status tc_fused_prepare(tc_prepare *prepare)
{
    tc_fused_program program;
    tc_shape domain;
    emitter e;
    const char *problem = tc_fused_read(prepare->attrs, &program);
    bool like = prepare->inputs[0].dtype != TC_DTYPE_INVALID;
    const tc_value_info *inputs = prepare->inputs + 1;
    if (!problem)
        problem = tc_fused_domain(&program, like ? prepare->inputs : NULL, inputs, &domain);
    if (problem)
        return tc_kernel_fail(TC_INVALID_ARGUMENT, "%s", problem);
    for (int64_t tile = LARGEST_TILE; tile >= SMALLEST_TILE; tile /= 2) {
        compile(&e, &program, inputs, &domain, tile);
        if (e.plan.scratch - e.states - e.moving_bytes <= REGISTER_BYTES || e.failed)
            break;
    }
    if (e.failed)
        return tc_kernel_fail(TC_UNIMPLEMENTED, "the fused program has too many values");
    fused_chain(&e);
    finish_plan(&e, prepare->threads, &prepare->workspace_bytes);
    return write_params(&e, prepare);
}
