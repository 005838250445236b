/* Conversion between element types: every pair. */
#include "core/dtype.h"
#include "elementwise.h"

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_cast(in[0], *(const tc_dtype *)options);
}

static double saturated(tc_dtype dtype, double x)
{
    int bits = tc_dtype_bits(dtype);
    bool is_signed = TC_DTYPES_SIGNED & TC_DTYPE_BIT(dtype);
    double low = is_signed ? -ldexp(1, bits - 1) : 0;
    double high = ldexp(1, is_signed ? bits - 1 : bits) - 1;
    return isnan(x) ? 0 : x < low ? low : x > high ? high : trunc(x);
}

static double rounded(tc_dtype dtype, double x)
{
    double element;
    tc_dtype_store(dtype, &element, x);
    return tc_dtype_load(dtype, &element);
}

static void reference(const op_run *run)
{
    tc_dtype to = *(const tc_dtype *)run->options;
    bool from_float = TC_DTYPES_FLOAT & TC_DTYPE_BIT(run->dtype);
    bool to_int = TC_DTYPES_INT & TC_DTYPE_BIT(to);
    for (int64_t i = 0; i < element_count(&run->output_shapes[0]); i++) {
        double x = run->inputs[0][i];
        run->outputs[0][i] = to == TC_BOOL ? x != 0
                             : !to_int     ? rounded(to, x)
                             : from_float  ? saturated(to, x)
                                           : wrapped(to, x);
    }
}

static const tc_dtype dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16, TC_I8,  TC_I16, TC_I32,
                                  TC_I64, TC_U8,  TC_U16, TC_U32,  TC_U64, TC_BOOL};
enum { F32, F64, F16, BF16, I8, I16, I32, I64, U8, U16, U32, U64, BOOL };

/* To a type: any numbers, numbers that it cannot hold, limits of the types that come from. */
#define TO(tag, differentiable)                                                                  \
    {.name = "to " #tag,                                                                         \
     .inputs = {{OP_SHAPE(5, 7), .low = 0, .high = 100}},                                        \
     .outputs = {{.dtype = TC_##tag, OP_SHAPE(5, 7)}},                                           \
     .options = &dtypes[tag],                                                                    \
     .no_gradients = !(differentiable)},                                                         \
        {.name = "signed to " #tag,                                                              \
         .inputs = {{OP_SHAPE(1003), .low = -128, .high = 128}},                                 \
         .outputs = {{.dtype = TC_##tag, OP_SHAPE(1003)}},                                       \
         .options = &dtypes[tag],                                                                \
         .dtypes = TC_DTYPES_FLOAT | TC_DTYPES_SIGNED,                                           \
         .no_gradients = true},                                                                  \
        {.name = "special to " #tag,                                                             \
         .inputs = {{OP_SHAPE(12), OP_ELEMENTS(0, -0.0, NAN, INFINITY, -INFINITY, 0.75, -0.75,   \
                                               127.5, 65504, -65504, 1e-7, 1e-40)}},             \
         .outputs = {{.dtype = TC_##tag, OP_SHAPE(12)}},                                         \
         .options = &dtypes[tag],                                                                \
         .dtypes = TC_DTYPES_FLOAT,                                                              \
         .no_gradients = true},                                                                  \
        {.name = "huge to " #tag,                                                                \
         .inputs = {{OP_SHAPE(6),                                                                \
                     OP_ELEMENTS(2147483648.0, -2147483904.0, 9.3e18, -9.3e18, 1.9e19, 1e30)}},  \
         .outputs = {{.dtype = TC_##tag, OP_SHAPE(6)}},                                          \
         .options = &dtypes[tag],                                                                \
         .dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64) | TC_DTYPE_BIT(TC_BF16),          \
         .no_gradients = true},                                                                  \
    {                                                                                            \
        .name = "wrapping to " #tag,                                                             \
        .inputs = {{OP_SHAPE(6), OP_ELEMENTS(2147483647, -2147483648.0, -1, 65537, 255, -129)}}, \
        .outputs = {{.dtype = TC_##tag, OP_SHAPE(6)}}, .options = &dtypes[tag],                  \
        .dtypes = TC_DTYPE_BIT(TC_I32) | TC_DTYPE_BIT(TC_I64), .no_gradients = true              \
    }
static const op_sample samples[] = {
    TO(F32, false),
    TO(F64, true),
    TO(F16, false),
    TO(BF16, false),
    TO(I8, false),
    TO(I16, false),
    TO(I32, false),
    TO(I64, false),
    TO(U8, false),
    TO(U16, false),
    TO(U32, false),
    TO(U64, false),
    TO(BOOL, false),
    {.name = "scalar",
     .inputs = {{.rank = 0}},
     .outputs = {{.dtype = TC_F64, .rank = 0}},
     .options = &dtypes[F64]},
    {.name = "empty",
     .inputs = {{OP_SHAPE(3, 0)}},
     .outputs = {{.dtype = TC_I32, OP_SHAPE(3, 0)}},
     .options = &dtypes[I32],
     .no_gradients = true},
    {.name = "long",
     .inputs = {{OP_SHAPE(40007), .low = 0, .high = 100}},
     .outputs = {{.dtype = TC_BF16, OP_SHAPE(40007)}},
     .options = &dtypes[BF16],
     .no_gradients = true},
};

static const tc_dtype complex64 = TC_C64, invalid = TC_DTYPE_INVALID;
static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(2)}}, .options = &complex64, .message = "c64"},
    {.inputs = {{OP_SHAPE(2)}}, .options = &invalid, .message = "dtype"},
};

extern const op_case op_case_cast;
const op_case op_case_cast = {.op = "cast",
                              .build = build,
                              .reference = reference,
                              OP_LIST(samples),
                              OP_BAD(bad),
                              .n_inputs = 1,
                              .dtypes = TC_DTYPES_ANY,
                              .gradients = OP_INPUT(0)};
