/* Zeros and ones of the dtype and shape of another value. */
#include "elementwise.h"

#define SHAPES(...)                                                                   \
    {                                                                                 \
        .name = #__VA_ARGS__, .inputs = {{__VA_ARGS__}}, .outputs = { {__VA_ARGS__} } \
    }
static const op_sample samples[] = {
    SHAPES(OP_SHAPE(3, 5)),
    SHAPES(.rank = 0),
    SHAPES(OP_SHAPE(2, 0, 3)),
    SHAPES(OP_SHAPE(100003)),
    SHAPES(OP_SHAPE(1, 2, 1, 2, 1, 2, 1, 2)),
};

#define CASE(op_name, value)                                                                  \
    static tc_value build_##op_name(tc_graph *graph, const tc_value *in, const void *options) \
    {                                                                                         \
        (void)graph;                                                                          \
        (void)options;                                                                        \
        return tc_##op_name(in[0]);                                                           \
    }                                                                                         \
    static void reference_##op_name(const op_run *run)                                        \
    {                                                                                         \
        for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++)                   \
            run->outputs[0][i] = value;                                                       \
    }                                                                                         \
    extern const op_case op_case_##op_name;                                                   \
    const op_case op_case_##op_name = {.op = #op_name,                                        \
                                       .build = build_##op_name,                              \
                                       .reference = reference_##op_name,                      \
                                       OP_LIST(samples),                                      \
                                       .n_inputs = 1,                                         \
                                       .dtypes = TC_DTYPES_ANY};

CASE(zeros_like, 0)
CASE(ones_like, 1)
