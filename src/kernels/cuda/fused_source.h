/*
 * CUDA source of a fused program. It depends on the program, on how its inputs are laid out, and on
 * the way rows are walked, but on no size, so that a source serves every shape of its kind.
 */
#ifndef TC_KERNELS_CUDA_FUSED_SOURCE_H
#define TC_KERNELS_CUDA_FUSED_SOURCE_H

#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "core/fused_program.h"
}

#include "kernels/cuda/fused_arguments.h"

/** How an input is found along the rows or along the columns of the domain. */
enum fused_axis {
    FUSED_ONE,   /* the same for all */
    FUSED_DENSE, /* at the index itself */
    FUSED_LOOPS  /* by the strides of the merged dimensions */
};

struct fused_shape {
    bool reduces;    /* rows are walked by groups of threads; else all elements are one row */
    bool vectors;    /* a kernel that takes `width` elements at a time exists as well */
    bool wide;       /* indexes take 64 bits */
    bool split;      /* a kernel for each phase, partial results in between */
    int32_t width;   /* elements of a thread at a time */
    int32_t threads; /* of a block */
    int32_t group;   /* threads that share a row: 32 or all */
    int32_t cached;  /* columns of a row that each thread keeps, which is then read once; 0: none */
    int32_t rank[2]; /* merged dimensions of rows and of columns */
    fused_axis axis[TC_FUSED_INPUTS][2]; /* along rows and columns */
    bool step[TC_FUSED_INPUTS];          /* the innermost stride along the columns is 1, not 0 */
};

/** Phases: reductions of earlier ones are known in later ones. The last one stores. */
int32_t fused_phases(const tc_fused_program *program);

/**
 * The source, which the caller frees with the host's release; NULL when memory is exhausted.
 * Kernels are called fused_<phase>_<width>: the phases of a split program, else 0; width 1 always,
 * and `width`.
 */
char *fused_source(const tc_fused_program *program, const fused_shape *shape);

#endif
