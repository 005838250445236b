/* Products of matrices. Builders: not thread-safe on one graph; errors stick to the graph (see
 * graph.h). */
#ifndef TENSORC_OPS_LINALG_H
#define TENSORC_OPS_LINALG_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_matmul_options {
    size_t struct_size;
    const char *name; /**< of the node; default "matmul" */
    bool transpose_a; /**< `a` is [..., k, m] instead of [..., m, k] */
    bool transpose_b; /**< `b` is [..., n, k] instead of [..., k, n] */
} tc_matmul_options;

/**
 * Matrix product over the last two dimensions: [..., m, k] times [..., k, n] gives [..., m, n]. The
 * leading dimensions are broadcast by NumPy's rules. Both operands have rank 2 at least and one
 * dtype: f32, f64, f16, bf16 (the 16-bit floats accumulate in f32), i32 or i64 (wrapping). k = 0
 * gives zeros. Differentiable to any order. `options` may be NULL. Errors: INVALID_ARGUMENT for
 * rank below 2, an inner or leading dimension that does not fit, another dtype.
 */
TC_API tc_value tc_matmul_at(tc_location at, tc_value a, tc_value b,
                             const tc_matmul_options *options);

#ifndef __cplusplus
#define tc_matmul(...) TC_BUILD2(tc_matmul, __VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif

#endif
