/*
 * How the CPU runs a fused program: tile by tile, every value of a tile in the first-level cache.
 *
 * The domain is a matrix of rows. A unit of work is
 *   - without reductions: a tile, which lies within one row; rows are as long as no input changes
 *     its pattern;
 *   - with reductions, where a row fits in a tile: as many whole rows as fit;
 *   - otherwise one row, walked in phases: in each, tile by tile, everything that later reductions
 *     need, until all values are there. Where nothing in a row depends on reductions, units are
 *     chunks of a row, whose partial results are combined in order.
 * All that is a function of program and shapes alone. prepare compiles the program into steps on
 * slots; a slot is a register in the worker's scratch, the place of an input, or that of an output.
 */
#ifndef TC_KERNELS_CPU_FUSED_PLAN_H
#define TC_KERNELS_CPU_FUSED_PLAN_H

#include "core/fused_program.h"

/** Types of registers that are computed with. */
enum { TC_FUSED_F32, TC_FUSED_F64, TC_FUSED_BOOL, TC_FUSED_I32, TC_FUSED_I64, TC_FUSED_TYPES };

#define TC_FUSED_PHASES (TC_FUSED_REDUCTIONS + 1)
#define TC_FUSED_SLOTS  256
/** Elements that a sum adds in parallel, as the kernel of reduce_sum does. */
#define TC_FUSED_LANES 128
/** Additions to a lane before the sum goes on in f64. */
#define TC_FUSED_FLUSH 64

typedef enum tc_fused_step_kind {
    TC_FUSED_STEP_LOAD,    /* from[0]: input */
    TC_FUSED_STEP_COMPUTE, /* tile of `code` and `type` */
    TC_FUSED_STEP_WHERE,   /* `type`: logarithm of the bytes of an element */
    TC_FUSED_STEP_CAST,    /* from dtype `type` to dtype `code` */
    TC_FUSED_STEP_SPREAD,  /* one element, or one per row, repeated; `type` as for WHERE */
    TC_FUSED_STEP_REDUCE,  /* from[0] into reduction `code`, in slot `to` */
    TC_FUSED_STEP_CHAIN    /* `code` operations that follow do the same as the from[0] steps behind
                              them, on all but the last elements */
} tc_fused_step_kind;

/** Operations of a chain on its value; their second operand is from[0], one element where `scalars`
 * says so. */
typedef enum tc_fused_micro {
    TC_FUSED_MICRO_NONE,
    TC_FUSED_MICRO_LOAD,
    TC_FUSED_MICRO_STORE,  /* into slot `to` */
    TC_FUSED_MICRO_STREAM, /* likewise, past the caches */
    TC_FUSED_MICRO_CALL,   /* the unary tile of `code` */
    TC_FUSED_MICRO_SUM,    /* takes it into reduction `code` */
    TC_FUSED_MICRO_MOST,
    TC_FUSED_MICRO_LEAST,
    TC_FUSED_MICRO_ADD,
    TC_FUSED_MICRO_SUB,
    TC_FUSED_MICRO_RSUB, /* R: the value is the second operand */
    TC_FUSED_MICRO_MUL,
    TC_FUSED_MICRO_DIV,
    TC_FUSED_MICRO_RDIV,
    TC_FUSED_MICRO_MAX,
    TC_FUSED_MICRO_MIN,
    TC_FUSED_MICRO_NEG,
    TC_FUSED_MICRO_ABS,
    TC_FUSED_MICRO_SQUARE,
    TC_FUSED_MICRO_EXP,
    TC_FUSED_MICRO_SQRT,
    TC_FUSED_MICRO_RELU,
    TC_FUSED_MICRO_RECIPROCAL
} tc_fused_micro;
/** Operations of a chain at most. */
#define TC_FUSED_CHAIN 96

typedef struct tc_fused_step {
    uint8_t kind, code, type;
    uint8_t scalars; /* operands of one element */
    uint8_t full;    /* works on the elements of the tile; else on one per row */
    uint8_t per_row; /* SPREAD: from one per row */
    uint8_t from[3], to;
} tc_fused_step;

/** Where the elements of an input lie: neighbouring dimensions merged, outermost first. */
typedef struct tc_fused_layout {
    int64_t run;  /* elements of the innermost dimension */
    int64_t step; /* their distance, 0 or 1 */
    int32_t rank;
    uint8_t size;     /* bytes of an element */
    uint8_t full;     /* over the domain; else over its rows */
    uint8_t gather;   /* tiles cross runs: elements are copied together */
    uint8_t periodic; /* every tile reads the same elements */
    int64_t dims[TC_MAX_RANK], strides[TC_MAX_RANK];
} tc_fused_layout;

typedef struct tc_fused_reduction {
    uint8_t code, type;
    uint8_t slot; /* of the result */
    double divisor;
} tc_fused_reduction;

/** Where a phase begins: steps per row, then steps per tile, then the steps of the next phase. */
typedef struct tc_fused_phase {
    int16_t rows, tiles;
    int8_t first_reduction; /* of those that end with it */
} tc_fused_phase;

/** Parameters of the kernel: this, then layouts, slots, constants, steps. */
typedef struct tc_fused_plan {
    int64_t rows, columns; /* of the matrix */
    int64_t tile;          /* elements of a tile at most */
    int64_t together;      /* rows of a unit */
    int64_t chunk, chunks; /* columns that a sum takes before it is added to the total */
    int64_t units, grain;
    int64_t group;   /* lanes of a reduction */
    size_t scratch;  /* bytes of a worker, states of reductions first */
    size_t partials; /* offset of the partial results in the workspace, one per unit and
                        reduction */
    bool whole;      /* a unit is one tile */
    bool by_rows;
    bool split;         /* a unit is one chunk */
    bool streams;       /* outputs are so large that they need not pass the caches */
    bool one_by_one;    /* rows so short that they are reduced element by element */
    int16_t n_prologue; /* steps at the beginning that are done once per task */
    int16_t n_steps;
    int16_t n_inputs, n_outputs, n_slots, n_reductions, n_phases;
    uint8_t output_slot[TC_FUSED_OUTPUTS], output_size[TC_FUSED_OUTPUTS];
    bool output_full[TC_FUSED_OUTPUTS];
    tc_fused_phase phases[TC_FUSED_PHASES + 1];
    tc_fused_reduction reductions[TC_FUSED_REDUCTIONS];
    uint32_t layouts, slots, constants, steps; /* offsets in bytes of what follows */
} tc_fused_plan;

/** A register in scratch, or, with `offset` -1, a place that a step or the loop over tiles sets. */
typedef struct tc_fused_slot {
    int64_t offset;
    int32_t moving; /* bytes of an element of a register that holds a row, of which a tile sees its
                       part; else 0 */
    int32_t constant; /* -1: none */
} tc_fused_slot;

/** What a reduction of more than a tile has seen. */
typedef struct tc_fused_state {
    union {
        float f32[TC_FUSED_LANES];
        double f64[TC_FUSED_LANES];
    } lanes;
    double sums[TC_FUSED_LANES];
    int64_t added; /* rows of lanes since the last flush */
    bool empty;    /* nothing is in `sums` yet, which hold anything */
} tc_fused_state;

/** Fills everything up to `grain` but `scratch` and `split`, and the layouts, for tiles of `tile`
 * elements. */
void tc_fused_cut(const tc_fused_program *program, const tc_value_info *inputs,
                  const tc_shape *domain, int64_t tile, tc_fused_plan *plan,
                  tc_fused_layout *layouts);

/** prepare of the kernels of `fused`. */
tc_status tc_fused_prepare(tc_prepare *prepare);

#endif
