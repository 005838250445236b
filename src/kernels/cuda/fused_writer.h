/* A source under way: text, values and where their elements lie. What fused_source.cu makes kernels
 * of. */
#ifndef TC_KERNELS_CUDA_FUSED_WRITER_H
#define TC_KERNELS_CUDA_FUSED_WRITER_H

#include "kernels/cuda/fused_source.h"

typedef struct writer {
    const tc_fused_program *p;
    const fused_shape *shape;
    bool full[TC_FUSED_VALUES];
    int32_t phase[TC_FUSED_VALUES];     /* in which a value is computed */
    int32_t available[TC_FUSED_VALUES]; /* from which on it is known: later for reductions */
    int32_t n_phases;
    char *text;
    size_t length, capacity;
    bool failed;
} writer;

/* Text: what does not fit into memory sets `failed`. */
void fused_put(writer *w, const char *format, ...) TC_PRINTF(2, 3);
/** A long text as it is. */
void fused_put_text(writer *w, const char *text);

/** Name of the type of an element in memory, and of one that is computed with. */
const char *fused_stored(tc_dtype dtype);
const char *fused_computed(tc_dtype dtype);

static inline bool fused_is_reduction(const tc_fused_instruction *instruction)
{
    return tc_fused_infos[instruction->code].kind == TC_FUSED_REDUCE;
}

/** Number of the value that an instruction computes. */
static inline int32_t fused_value_of(const tc_fused_program *p, int32_t instruction)
{
    return p->n_inputs + p->n_constants + instruction;
}

/** Fills full, phase, available and n_phases. */
void fused_find_phases(writer *w);
/** The full values that the loop over the columns of `phase` computes: what its reductions take,
 * and, in the last one, what is stored. */
void fused_find_needed(const writer *w, int32_t phase, bool needed[TC_FUSED_VALUES]);

/** A value where it is used: of a thread's element `e`, or of the row. */
void fused_put_value(writer *w, int32_t v);
/** The line that computes instruction `i`. */
void fused_put_instruction(writer *w, int32_t i);
/** Sums of coordinate times stride of an index along rows (part 0) or columns (1), for the inputs
 * that need them. */
void fused_put_loops(writer *w, const char *index, int part, const char *prefix);
/** Element of an input at `index` along rows or columns. */
void fused_put_place(writer *w, int32_t input, int part, const char *index, const char *prefix);
/** Loads the elements of the needed full inputs at column `c`. */
void fused_put_loads(writer *w, const bool *needed);

#endif
