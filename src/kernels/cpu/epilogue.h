/*
 * What follows a product on each of its elements, while they are in the cache:
 *     y = activation(alpha * scale * x + bias + residual)
 * scale and bias have an element per column (matmul) or per row (conv2d) of the product, residual
 * one for each. The operations are rounded one after the other, as separate operators would.
 */
#ifndef TC_KERNELS_CPU_EPILOGUE_H
#define TC_KERNELS_CPU_EPILOGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tensorc/extend.h>

#include "base/cpu.h"

/** In the order of the choices of the attribute "activation". */
typedef enum tc_epilogue_function {
    TC_EPILOGUE_NONE,
    TC_EPILOGUE_RELU,
    TC_EPILOGUE_SIGMOID,
    TC_EPILOGUE_TANH,
    TC_EPILOGUE_GELU,
    TC_EPILOGUE_GELU_TANH
} tc_epilogue_function;

/** Decided ahead; plain data. Zeroed: nothing follows. */
typedef struct tc_epilogue {
    bool used;
    bool residual; /* the result may lie in its memory: it is read before anything is written there
                    */
    tc_isa isa;
    tc_dtype dtype;   /* of residual and result */
    tc_dtype vectors; /* of scale and bias */
    tc_epilogue_function activation;
    double alpha;
    int64_t channels; /* elements of scale and bias */
    size_t bytes;     /* of the workspace: scale and bias as they are computed with */
} tc_epilogue;

/** The inputs of one run; NULL for those not given. */
typedef struct tc_epilogue_inputs {
    const void *scale, *bias; /* in the dtype that is computed in: f64, or f32 for all others */
    const void *residual;     /* in the dtype of the result */
} tc_epilogue_inputs;

/** Rows and columns of a product, in the dtype that is computed in; `to` may be `from`. */
typedef struct tc_epilogue_tile {
    int64_t rows, columns;
    const void *from;
    void *to;
    int64_t from_ld, to_ld;        /* elements between rows */
    const void *scale, *bias;      /* of the first element; NULL: none */
    int64_t row_step, column_step; /* of scale and bias: 0 or 1 */
    const void *residual;          /* of the first element; NULL: none */
    int64_t residual_ld;
} tc_epilogue_tile;

/**
 * Reads attributes and inputs 2 (scale), 3 (bias) and 4 (residual) of a node, unused for an
 * operator without the attribute "activation". False when a size overflows.
 */
bool tc_epilogue_read(const tc_prepare *prepare, tc_isa isa, tc_epilogue *epilogue);

/** The inputs of a run, widened into `memory` (epilogue->bytes) where they need be. */
tc_epilogue_inputs tc_epilogue_bind(const tc_epilogue *epilogue, const void *const *inputs,
                                    void *memory);

/** Computes one tile. Thread-safe. */
void tc_epilogue_apply(const tc_epilogue *epilogue, const tc_epilogue_tile *tile);

/** Bodies in isa/epilogue.c. */
typedef struct tc_epilogue_code {
    void (*f32)(const tc_epilogue *epilogue, const tc_epilogue_tile *tile);
    void (*f64)(const tc_epilogue *epilogue, const tc_epilogue_tile *tile);
} tc_epilogue_code;

/** How many of `rows` rows of a tile, of `columns` elements of `size` bytes, to compute before they
 * are finished: equal strips of at most `strip` rows, as many as stay in the first cache. */
static inline int64_t tc_epilogue_rows(int64_t rows, int64_t columns, size_t size, int64_t strip)
{
    int64_t strips = (rows + strip - 1) / strip;
    int64_t height = strips > 1 ? (rows + strips - 1) / strips : strip;
    int64_t together = 16384 / ((columns > 0 ? columns : 1) * height * (int64_t)size);
    return together > 1 ? together * height : height;
}

#endif
