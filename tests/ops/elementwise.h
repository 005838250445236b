/* What the cases of element-wise operators share. */
#ifndef TC_TESTS_OPS_ELEMENTWISE_H
#define TC_TESTS_OPS_ELEMENTWISE_H

#include "op_case.h"

static inline int64_t element_count(const tc_shape *shape)
{
    int64_t count = 1;
    for (int d = 0; d < shape->rank; d++)
        count *= shape->dims[d].size;
    return count;
}

/** Index of the element of an input of shape `in` that belongs to element `index` of output `out`.
 */
static inline int64_t broadcast_index(const tc_shape *out, const tc_shape *in, int64_t index)
{
    int64_t result = 0, stride = 1;
    for (int d = out->rank - 1, k = in->rank - 1; k >= 0; d--, k--) {
        int64_t coordinate = index % out->dims[d].size;
        index /= out->dims[d].size;
        result += in->dims[k].size == 1 ? 0 : coordinate * stride;
        stride *= in->dims[k].size;
    }
    return result;
}

/** Element of input `i` that belongs to element `index` of output 0. */
static inline double broadcast_element(const op_run *run, int i, int64_t index)
{
    return run->inputs[i][broadcast_index(&run->output_shapes[0], &run->input_shapes[i], index)];
}

/** `value` modulo two to the bits of the integer `dtype`, in its range; floats and bool as they
 * are. */
static inline double wrapped(tc_dtype dtype, double value)
{
    if (!(TC_DTYPES_INT & TC_DTYPE_BIT(dtype)))
        return value;
    bool is_signed = TC_DTYPES_SIGNED & TC_DTYPE_BIT(dtype);
    double range = ldexp(1, tc_dtype_bits(dtype));
    double low = is_signed ? -range / 2 : 0;
    if (value >= low && value < low + range) /* exact, where the sums below may round */
        return value;
    return value - floor((value - low) / range) * range;
}

/** `name`: a reference that computes `expression` of element x of the only input. */
#define UNARY_REFERENCE(name, expression)                                     \
    static void name(const op_run *run)                                       \
    {                                                                         \
        for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++) { \
            double x = run->inputs[0][i];                                     \
            run->outputs[0][i] = wrapped(run->dtype, expression);             \
        }                                                                     \
    }

/** `name`: a reference that computes `expression` of elements a and b of two broadcast inputs. */
#define BINARY_REFERENCE(name, expression)                                             \
    static void name(const op_run *run)                                                \
    {                                                                                  \
        for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++) {          \
            double a = broadcast_element(run, 0, i), b = broadcast_element(run, 1, i); \
            run->outputs[0][i] = wrapped(run->dtype, expression);                      \
        }                                                                              \
    }

/*
 * Shapes for two inputs: S(name, {a}, {b}, {output}, no_gradients). They reach every path of the
 * driver of the kernels: rows that are joined, long, short, cut by the grain of the threads; single
 * elements left and right; periodic ones.
 */
#define BROADCASTS(S)                                                                      \
    S("same", OP_SHAPE(3, 5), OP_SHAPE(3, 5), OP_SHAPE(3, 5), false)                       \
    S("scalars", .rank = 0, .rank = 0, .rank = 0, false)                                   \
    S("scalar left", .rank = 0, OP_SHAPE(4, 3), OP_SHAPE(4, 3), false)                     \
    S("scalar right", OP_SHAPE(4, 3), .rank = 0, OP_SHAPE(4, 3), false)                    \
    S("row", OP_SHAPE(7, 5), OP_SHAPE(5), OP_SHAPE(7, 5), false)                           \
    S("row left", OP_SHAPE(5), OP_SHAPE(7, 5), OP_SHAPE(7, 5), false)                      \
    S("column", OP_SHAPE(7, 5), OP_SHAPE(7, 1), OP_SHAPE(7, 5), false)                     \
    S("both", OP_SHAPE(4, 1), OP_SHAPE(1, 5), OP_SHAPE(4, 5), false)                       \
    S("middle", OP_SHAPE(2, 3, 4), OP_SHAPE(3, 1), OP_SHAPE(2, 3, 4), false)               \
    S("crossed", OP_SHAPE(2, 1, 4, 1), OP_SHAPE(3, 1, 6), OP_SHAPE(2, 3, 4, 6), false)     \
    S("rank 8", OP_SHAPE(2, 1, 2, 1, 2, 1, 2, 1), OP_SHAPE(1, 2, 1, 2, 1, 2, 1, 2),        \
      OP_SHAPE(2, 2, 2, 2, 2, 2, 2, 2), true)                                              \
    S("empty", OP_SHAPE(0, 3), OP_SHAPE(1, 3), OP_SHAPE(0, 3), true)                       \
    S("empty against one", OP_SHAPE(2, 0), OP_SHAPE(2, 1), OP_SHAPE(2, 0), true)           \
    S("long", OP_SHAPE(40007), OP_SHAPE(40007), OP_SHAPE(40007), true)                     \
    S("long rows", OP_SHAPE(150, 301), OP_SHAPE(301), OP_SHAPE(150, 301), true)            \
    S("long columns", OP_SHAPE(150, 1), OP_SHAPE(150, 301), OP_SHAPE(150, 301), true)      \
    S("many short rows", OP_SHAPE(5003, 7), OP_SHAPE(1, 7), OP_SHAPE(5003, 7), true)       \
    S("many short columns", OP_SHAPE(5003, 1), OP_SHAPE(5003, 7), OP_SHAPE(5003, 7), true) \
    S("channels", OP_SHAPE(5, 6, 3, 9), OP_SHAPE(6, 1, 1), OP_SHAPE(5, 6, 3, 9), true)

#endif
