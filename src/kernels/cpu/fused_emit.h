/* The making of the steps of a fused program: what fused_plan.c and fused_emit.c share. */
#ifndef TC_KERNELS_CPU_FUSED_EMIT_H
#define TC_KERNELS_CPU_FUSED_EMIT_H

#include "base/alloc.h"
#include "core/dtype.h"
#include "kernels/cpu/fused_plan.h"

#define MAX_STEPS   1536
#define MAX_CHAINED (2 * MAX_STEPS)

/* 16-bit floats are computed in f32. */
static inline tc_dtype computed(tc_dtype dtype)
{
    return dtype == TC_F16 || dtype == TC_BF16 ? TC_F32 : dtype;
}

/* How many elements of a value a step sees at a time. */
typedef enum reach { ONE, EACH_ROW, EACH } reach;

typedef struct value {
    int16_t slot;     /* -1 until it is there */
    int16_t dense[2]; /* the same, repeated for every row or element; -1 */
    int16_t raw;      /* of an input: as stored; -1 */
    int8_t phase;
    int8_t available; /* first phase that may read it */
    int32_t last;     /* key of the last step that reads it */
    bool full;
    bool stored; /* it is computed where an output lies */
} value;

/* What a register of one element for a row holds is read again by the next tile. */
enum { IN_USE, IN_USE_UNTIL_NEXT_PHASE, UNUSED };

typedef struct emitter {
    const tc_fused_program *p;
    tc_fused_plan plan;
    tc_fused_layout layouts[TC_FUSED_INPUTS];
    value values[TC_FUSED_VALUES];
    int8_t store_phase[TC_FUSED_OUTPUTS];
    size_t moving_bytes; /* of registers that hold rows */
    size_t states;       /* bytes of the states of reductions */
    bool failed;
    /* Not cleared. */
    tc_fused_slot slots[TC_FUSED_SLOTS];
    size_t slot_bytes[TC_FUSED_SLOTS];
    uint8_t slot_state[TC_FUSED_SLOTS];
    tc_fused_step prologue[TC_FUSED_VALUES];
    tc_fused_step steps[MAX_STEPS];
    int n_chained;
    tc_fused_step chained[MAX_CHAINED]; /* the same with chains */
} emitter;

/*
 * Steps are emitted phase by phase, in each those per row first. The key of a step orders them.
 */
#define STORE_INDEX 127
static inline int32_t key_of(int phase, bool tiles, int index)
{
    return (phase * 2 + tiles) * 128 + index;
}

static inline bool is_reduction(const tc_fused_instruction *instruction)
{
    return tc_fused_infos[instruction->code].kind == TC_FUSED_REDUCE;
}

/* A unit that is one tile computes all in the order of the program. */
static inline int32_t instruction_key(const emitter *e, int32_t index)
{
    const tc_fused_instruction *instruction = &e->p->instructions[index];
    const value *v = &e->values[e->p->n_inputs + e->p->n_constants + index];
    return key_of(v->phase, e->plan.whole || v->full || is_reduction(instruction), index);
}

/** A slot without a register. */
int16_t fused_new_slot(emitter *e);
/** The steps of an instruction of the program, and those that load its operands. */
void fused_emit(emitter *e, int32_t instruction);
/** Copies a value to output `output` at the end of a phase. */
void fused_emit_store(emitter *e, int32_t output, int phase);
/** Makes chains of the steps, in `chained`. */
void fused_chain(emitter *e);
/** Lets go what was loaded or repeated: it is not there in the next phase. */
void fused_end_phase(emitter *e);

#endif
