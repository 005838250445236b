/* Comparison and logic of two inputs. */
#include "elementwise.h"

#define BUILD(op)                                                                        \
    static tc_value build_##op(tc_graph *graph, const tc_value *in, const void *options) \
    {                                                                                    \
        (void)graph;                                                                     \
        (void)options;                                                                   \
        return tc_##op(in[0], in[1]);                                                    \
    }

/* Small whole numbers, many of which are equal. */
#define SAMPLE(sample_name, shape_a, shape_b, shape_y, flat)          \
    {.name = sample_name,                                             \
     .inputs = {{.fill = OP_INTEGERS, .low = 0, .high = 3, shape_a},  \
                {.fill = OP_INTEGERS, .low = 0, .high = 3, shape_b}}, \
     .outputs = {{.dtype = TC_BOOL, shape_y}},                        \
     .no_gradients = flat},
#define PAIRS(sample_name, allowed, n, a, b)                                                  \
    {                                                                                         \
        .name = sample_name,                                                                  \
        .inputs = {{OP_SHAPE(n), OP_ELEMENTS a}, {OP_SHAPE(n), OP_ELEMENTS b}},               \
        .outputs = {{.dtype = TC_BOOL, OP_SHAPE(n)}}, .dtypes = allowed, .no_gradients = true \
    }
static const op_sample samples[] = {
    BROADCASTS(SAMPLE)
        PAIRS("special", TC_DTYPES_FLOAT, 8, (NAN, 1, NAN, INFINITY, -INFINITY, 0, -0.0, 1e-7),
              (1, NAN, NAN, INFINITY, INFINITY, -0.0, 0, 0)),
    PAIRS("unsigned", TC_DTYPES_UNSIGNED, 3, (255, 0, 128), (1, 255, 127)),
    PAIRS("signed", TC_DTYPES_SIGNED, 3, (-128, 0, 127), (1, -1, -127)),
};

#define TRUTH(sample_name, shape_a, shape_b, shape_y, flat)           \
    {.name = sample_name,                                             \
     .inputs = {{.fill = OP_INTEGERS, .low = 0, .high = 1, shape_a},  \
                {.fill = OP_INTEGERS, .low = 0, .high = 1, shape_b}}, \
     .outputs = {{.dtype = TC_BOOL, shape_y}},                        \
     .no_gradients = flat},
static const op_sample truth[] = {BROADCASTS(TRUTH)};

#define BAD_SHAPE                                                                                \
    {                                                                                            \
        .inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(3, 3)}}, .dtype = TC_BOOL, .message = "broadcast" \
    }
static const op_bad sameness_bad[] = {
    BAD_SHAPE,
    {.inputs = {{.dtype = TC_I64, OP_SHAPE(2)}, {.dtype = TC_U64, OP_SHAPE(2)}},
     .message = "must have the same dtype, but are i64 and u64"},
};
static const op_bad order_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, {OP_SHAPE(3, 3)}}, .message = "broadcast"},
    {.inputs = {{OP_SHAPE(2)}, {OP_SHAPE(2)}}, .dtype = TC_BOOL, .message = "but must be"},
};
static const op_bad logic_bad[] = {
    BAD_SHAPE,
    {.inputs = {{OP_SHAPE(2)}, {OP_SHAPE(2)}}, .dtype = TC_U8, .message = "but must be"},
};

#define CASE(op_name, sample_set, bad_set, allowed, expression)          \
    BUILD(op_name)                                                       \
    BINARY_REFERENCE(reference_##op_name, expression)                    \
    extern const op_case op_case_##op_name;                              \
    const op_case op_case_##op_name = {.op = #op_name,                   \
                                       .build = build_##op_name,         \
                                       .reference = reference_##op_name, \
                                       OP_LIST(sample_set),              \
                                       OP_BAD(bad_set),                  \
                                       .dtypes = allowed,                \
                                       .n_inputs = 2};

CASE(equal, samples, sameness_bad, TC_DTYPES_ANY, a == b)
CASE(not_equal, samples, sameness_bad, TC_DTYPES_ANY, a != b)
CASE(less, samples, order_bad, TC_DTYPES_NUMBER, a < b)
CASE(less_equal, samples, order_bad, TC_DTYPES_NUMBER, a <= b)
CASE(greater, samples, order_bad, TC_DTYPES_NUMBER, a > b)
CASE(greater_equal, samples, order_bad, TC_DTYPES_NUMBER, a >= b)
CASE(logical_and, truth, logic_bad, TC_DTYPES_BOOL, a != 0 && b != 0)
CASE(logical_or, truth, logic_bad, TC_DTYPES_BOOL, a != 0 || b != 0)
CASE(logical_xor, truth, logic_bad, TC_DTYPES_BOOL, (a != 0) != (b != 0))
