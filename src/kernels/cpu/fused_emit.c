#include "kernels/cpu/fused_emit.h"

/* Bytes of a register of one element; those of tiles of parts of a row are larger. */
#define ROW_REGISTER 64

/* Codes whose tiles of floats take a single element beside a long operand. */
static bool takes_scalar(tc_fused_code code)
{
    switch (code) {
    case TC_FUSED_add:
    case TC_FUSED_sub:
    case TC_FUSED_mul:
    case TC_FUSED_div:
    case TC_FUSED_maximum:
    case TC_FUSED_minimum: return true;
    default: return false;
    }
}

static int type_of(tc_dtype dtype)
{
    switch (computed(dtype)) {
    case TC_F32: return TC_FUSED_F32;
    case TC_F64: return TC_FUSED_F64;
    case TC_BOOL: return TC_FUSED_BOOL;
    case TC_I32: return TC_FUSED_I32;
    default: return TC_FUSED_I64;
    }
}

static int log_size(tc_dtype dtype)
{
    return __builtin_ctz((unsigned)tc_dtype_size(computed(dtype)));
}

/*
 * Slots
 */
int16_t fused_new_slot(emitter *e)
{
    if (e->plan.n_slots == TC_FUSED_SLOTS - 1) {
        e->failed = true;
        return 0;
    }
    int16_t slot = e->plan.n_slots++;
    e->slots[slot] = (tc_fused_slot){.offset = -1, .constant = -1};
    e->slot_bytes[slot] = 0;
    e->slot_state[slot] = IN_USE;
    return slot;
}

/* Of content that lasts longer than a tile: nothing else may lie there before or after. */
typedef enum hold { HOLD_TILE, HOLD_TASK, HOLD_ROW } hold;

static int16_t take_register(emitter *e, reach r, tc_dtype dtype, hold h)
{
    size_t size = tc_dtype_size(dtype);
    bool moving = h == HOLD_ROW;
    int64_t count = moving ? e->plan.columns : r == EACH ? e->plan.tile : e->plan.together;
    size_t bytes = tc_align_up((size_t)count * size, ROW_REGISTER);
    for (int16_t slot = 0; slot < e->plan.n_slots && h == HOLD_TILE; slot++) {
        if (e->slot_state[slot] == UNUSED && e->slot_bytes[slot] == bytes) {
            e->slot_state[slot] = IN_USE;
            return slot;
        }
    }
    int16_t slot = fused_new_slot(e);
    e->slots[slot].offset = (int64_t)e->plan.scratch;
    e->slots[slot].moving = moving ? (int32_t)size : 0;
    e->slot_bytes[slot] = bytes;
    e->plan.scratch += bytes;
    e->moving_bytes += moving ? bytes : 0;
    return slot;
}

/* Only registers that do not move are used again. */
static void free_register(emitter *e, int16_t *slot)
{
    if (*slot >= 0 && e->slots[*slot].offset >= 0 && !e->slots[*slot].moving)
        e->slot_state[*slot] =
            e->plan.whole || e->slot_bytes[*slot] > ROW_REGISTER ? UNUSED : IN_USE_UNTIL_NEXT_PHASE;
    *slot = -1;
}

static void add_step(emitter *e, tc_fused_step step)
{
    if (e->plan.n_steps == MAX_STEPS)
        e->failed = true;
    else
        e->steps[e->plan.n_steps++] = step;
}

/*
 * Values
 */
static reach reach_of(const emitter *e, int32_t v)
{
    reach most = e->values[v].full ? EACH : e->plan.together > 1 ? EACH_ROW : ONE;
    if (v < e->p->n_inputs) {
        const tc_fused_layout *layout = &e->layouts[v];
        return layout->step == 0 && !layout->gather ? ONE : most;
    }
    return tc_fused_producer(e->p, v) ? most : ONE;
}

static void load_input(emitter *e, int32_t v)
{
    const tc_fused_layout *layout = &e->layouts[v];
    tc_dtype dtype = e->p->inputs[v].dtype;
    value *input = &e->values[v];
    reach r = reach_of(e, v);
    if (input->raw < 0)
        input->raw = layout->gather
                         ? take_register(e, r, dtype, layout->periodic ? HOLD_TASK : HOLD_TILE)
                         : fused_new_slot(e);
    add_step(e, (tc_fused_step){.kind = TC_FUSED_STEP_LOAD,
                                .full = layout->full,
                                .from = {(uint8_t)v},
                                .to = (uint8_t)input->raw});
    input->slot = input->raw;
    if (computed(dtype) == dtype)
        return;
    input->slot = take_register(e, r, TC_F32, HOLD_TILE);
    add_step(e, (tc_fused_step){.kind = TC_FUSED_STEP_CAST,
                                .type = (uint8_t)dtype,
                                .code = TC_F32,
                                .scalars = r == ONE,
                                .full = layout->full,
                                .from = {(uint8_t)input->raw},
                                .to = (uint8_t)input->slot});
    if (layout->gather && !layout->periodic)
        free_register(e, &input->raw);
}

static int16_t slot_of(emitter *e, int32_t v)
{
    if (e->values[v].slot < 0)
        load_input(e, v);
    return e->values[v].slot;
}

/* A register with an element for each that a step works on. Those of constants last. */
static int16_t dense_slot(emitter *e, int32_t v, bool full)
{
    value *repeated = &e->values[v];
    if (repeated->dense[full] >= 0)
        return repeated->dense[full];
    int16_t from = slot_of(e, v);
    bool constant = e->slots[from].constant >= 0;
    tc_dtype dtype = computed(tc_fused_dtype(e->p, v));
    int16_t to = take_register(e, full ? EACH : EACH_ROW, dtype, constant ? HOLD_TASK : HOLD_TILE);
    tc_fused_step step = {.kind = TC_FUSED_STEP_SPREAD,
                          .type = (uint8_t)log_size(dtype),
                          .full = full,
                          .per_row = reach_of(e, v) == EACH_ROW,
                          .from = {(uint8_t)from},
                          .to = (uint8_t)to};
    repeated->dense[full] = to;
    if (constant)
        e->prologue[e->plan.n_prologue++] = step;
    else
        add_step(e, step);
    return to;
}

/* The slot of an operand as a step that works on tiles (`full`) or rows takes it. */
static int16_t operand_slot(emitter *e, int32_t v, bool full, bool takes_scalar, bool *scalar)
{
    reach r = reach_of(e, v);
    reach wanted = full ? EACH : e->plan.together > 1 ? EACH_ROW : ONE;
    *scalar = r == ONE && wanted != ONE && takes_scalar;
    return r == wanted || *scalar ? slot_of(e, v) : dense_slot(e, v, full);
}

static void release(emitter *e, int32_t v, int32_t key)
{
    value *read = &e->values[v];
    if (read->last != key || (v >= e->p->n_inputs && !tc_fused_producer(e->p, v)))
        return;
    if (v < e->p->n_inputs && read->slot == read->raw) {
        if (e->layouts[v].gather && !e->layouts[v].periodic)
            free_register(e, &read->raw);
        read->slot = -1;
    } else {
        free_register(e, &read->slot);
    }
    free_register(e, &read->dense[0]);
    free_register(e, &read->dense[1]);
}

void fused_end_phase(emitter *e)
{
    for (int16_t slot = 0; slot < e->plan.n_slots; slot++)
        if (e->slot_state[slot] == IN_USE_UNTIL_NEXT_PHASE)
            e->slot_state[slot] = UNUSED;
    for (int32_t v = 0; v < tc_fused_values(e->p); v++) {
        value *left = &e->values[v];
        if (v < e->p->n_inputs && left->slot >= 0) {
            if (left->slot != left->raw)
                free_register(e, &left->slot);
            left->slot = -1;
        }
        if (v < e->p->n_inputs || tc_fused_producer(e->p, v)) {
            free_register(e, &left->dense[0]);
            free_register(e, &left->dense[1]);
        }
    }
}

/*
 * Instructions
 */
static void emit_cast(emitter *e, int16_t from, tc_dtype from_dtype, int16_t to, tc_dtype dtype,
                      bool full)
{
    tc_fused_step step = {.kind = TC_FUSED_STEP_CAST,
                          .type = (uint8_t)from_dtype,
                          .code = (uint8_t)dtype,
                          .full = full,
                          .from = {(uint8_t)from},
                          .to = (uint8_t)to};
    add_step(e, step);
}

/* Into the dtype itself: a 16-bit float is rounded and widened again. */
static void emit_rounding_cast(emitter *e, int16_t from, tc_dtype from_dtype, int16_t to,
                               tc_dtype dtype, bool full)
{
    if (computed(dtype) == dtype) {
        emit_cast(e, from, from_dtype, to, dtype, full);
        return;
    }
    if (from_dtype != TC_F32 && from_dtype != TC_F64) {
        emit_cast(e, from, from_dtype, to, TC_F32, full);
        from = to;
        from_dtype = TC_F32;
    }
    int16_t narrow = take_register(e, full ? EACH : EACH_ROW, dtype, HOLD_TILE);
    emit_cast(e, from, from_dtype, narrow, dtype, full);
    emit_cast(e, narrow, dtype, to, TC_F32, full);
    free_register(e, &narrow);
}

static void emit_reduction(emitter *e, const tc_fused_instruction *instruction, value *v,
                           int32_t key)
{
    tc_fused_plan *plan = &e->plan;
    bool scalar;
    int16_t from = operand_slot(e, instruction->operands[0], true, false, &scalar);
    v->slot = take_register(e, EACH_ROW, computed(instruction->dtype), HOLD_TILE);
    plan->reductions[plan->n_reductions] = (tc_fused_reduction){
        .code = (uint8_t)instruction->code,
        .type = (uint8_t)type_of(instruction->dtype),
        .slot = (uint8_t)v->slot,
        .divisor = instruction->code == TC_FUSED_reduce_mean ? (double)plan->columns : 1};
    add_step(e, (tc_fused_step){.kind = TC_FUSED_STEP_REDUCE,
                                .code = (uint8_t)plan->n_reductions++,
                                .type = (uint8_t)type_of(instruction->dtype),
                                .full = true,
                                .from = {(uint8_t)from},
                                .to = (uint8_t)v->slot});
    release(e, instruction->operands[0], key);
}

/* The number of columns as a constant behind those of the program. */
static int16_t columns_slot(emitter *e, int type)
{
    int16_t slot = fused_new_slot(e);
    e->slots[slot].constant = e->p->n_constants + type;
    return slot;
}

void fused_emit(emitter *e, int32_t index)
{
    const tc_fused_program *p = e->p;
    const tc_fused_instruction *instruction = &p->instructions[index];
    const tc_fused_info *info = &tc_fused_infos[instruction->code];
    value *v = &e->values[p->n_inputs + p->n_constants + index];
    int32_t key = instruction_key(e, index), n = info->operands;
    bool full = v->full, takes_scalars = takes_scalar(instruction->code), scalar;
    if (info->kind == TC_FUSED_REDUCE) {
        emit_reduction(e, instruction, v, key);
        return;
    }
    tc_fused_step step = {.kind = TC_FUSED_STEP_COMPUTE, .full = full};
    tc_dtype first = tc_fused_dtype(p, instruction->operands[info->kind == TC_FUSED_WHERE]);
    /* A tile takes one single element at most, and integers none. */
    takes_scalars = takes_scalars && (TC_DTYPES_FLOAT & TC_DTYPE_BIT(first));
    for (int k = 0; k < n; k++) {
        int16_t slot = operand_slot(e, instruction->operands[k], full, takes_scalars, &scalar);
        step.from[k] = (uint8_t)slot;
        step.scalars |= (uint8_t)(scalar << k);
        takes_scalars = takes_scalars && !scalar;
    }
    int16_t from = step.from[0];
    /* The result may take the place of an operand whose elements are as large. */
    size_t size = tc_dtype_size(computed(instruction->dtype));
    for (int k = 0; k < n && info->kind != TC_FUSED_CAST; k++)
        if (tc_dtype_size(computed(tc_fused_dtype(p, instruction->operands[k]))) == size)
            release(e, instruction->operands[k], key);
    bool crosses = full && v->last >= key_of(v->phase + 1, false, 0);
    if (v->slot < 0)
        v->slot = take_register(e, full ? EACH : EACH_ROW, computed(instruction->dtype),
                                crosses ? HOLD_ROW : HOLD_TILE);
    for (int k = 0; k < n && info->kind != TC_FUSED_CAST; k++)
        release(e, instruction->operands[k], key);
    step.to = (uint8_t)v->slot;
    step.code = (uint8_t)instruction->code;
    step.type = (uint8_t)type_of(first);
    switch (info->kind) {
    case TC_FUSED_CAST:
        emit_rounding_cast(e, from, computed(first), v->slot, instruction->dtype, full);
        release(e, instruction->operands[0], key);
        return;
    case TC_FUSED_WHERE:
        step.kind = TC_FUSED_STEP_WHERE;
        step.type = (uint8_t)log_size(first);
        break;
    case TC_FUSED_SHARE:
        step.code = TC_FUSED_div;
        step.from[1] = (uint8_t)columns_slot(e, step.type);
        step.scalars = 2;
        break;
    default: break;
    }
    add_step(e, step);
}

void fused_emit_store(emitter *e, int32_t output, int phase)
{
    const tc_fused_output *o = &e->p->outputs[output];
    tc_dtype dtype = tc_fused_dtype(e->p, o->value);
    bool full = o->extent == TC_FUSED_FULL, scalar;
    int16_t from = operand_slot(e, o->value, full, false, &scalar);
    emit_cast(e, from, computed(dtype), e->plan.output_slot[output], dtype, full);
    release(e, o->value, key_of(phase, full, STORE_INDEX));
}
