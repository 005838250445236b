/* Functions of one input. */
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/fused_tiles.h"
#include "kernels/cpu/isa/simd.h"

/* A tile of a function of simd.h. */
#define VECTOR_TILE(op, tag)                                                                   \
    static void op##_##tag##_tile(const void *const *in, void *y, int64_t n, unsigned scalars) \
    {                                                                                          \
        (void)scalars;                                                                         \
        tc_##tag##_map(tc_##tag##_##op, in[0], y, n);                                          \
    }

/* A tile of an expression of one element x that compilers turn into vectors themselves. */
#define SCALAR_TILE(op, tag, type, expression)                                                   \
    static void op##_##tag##_tile(const void *const *in, void *out, int64_t n, unsigned scalars) \
    {                                                                                            \
        (void)scalars;                                                                           \
        const type *px = in[0];                                                                  \
        type *y = out;                                                                           \
        TC_INDEPENDENT                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                        \
            type x = px[i];                                                                      \
            y[i] = (type)(expression);                                                           \
        }                                                                                        \
    }

#define RUN(op, tag, tile_tag, ...)             \
    TC_ELEMENTWISE_RUN(op, tag,                 \
                       {op##_##tile_tag##_tile, \
                        1,                      \
                        false,                  \
                        {sizeof(TC_TYPE(tag))}, \
                        sizeof(TC_TYPE(tag)),   \
                        __VA_ARGS__})

#define RUN_FLOATS(op)                                  \
    RUN(op, f32, f32, NULL, NULL)                       \
    RUN(op, f64, f64, NULL, NULL)                       \
    RUN(op, f16, f32, convert_from_f16, convert_to_f16) \
    RUN(op, bf16, f32, convert_from_bf16, convert_to_bf16)

#define VECTOR_OP(op)    \
    VECTOR_TILE(op, f32) \
    VECTOR_TILE(op, f64) \
    RUN_FLOATS(op)

#define FLOAT_OP(op, expression)             \
    SCALAR_TILE(op, f32, float, expression)  \
    SCALAR_TILE(op, f64, double, expression) \
    RUN_FLOATS(op)

/* An expression for every integer type; unsigned ones where `unsigned_too`. */
#define INT_TILE(op, tag, expression)              \
    SCALAR_TILE(op, tag, TC_TYPE(tag), expression) \
    RUN(op, tag, tag, NULL, NULL)
#define SIGNED_OP(op, expression) \
    INT_TILE(op, i8, expression)  \
    INT_TILE(op, i16, expression) \
    INT_TILE(op, i32, expression) \
    INT_TILE(op, i64, expression)
#define UNSIGNED_OP(op, expression) \
    INT_TILE(op, u8, expression)    \
    INT_TILE(op, u16, expression)   \
    INT_TILE(op, u32, expression)   \
    INT_TILE(op, u64, expression)

static inline tc_f32v tc_f32_rsqrt(tc_f32v x)
{
    return 1.0f / tc_f32_sqrt(x);
}

static inline tc_f64v tc_f64_rsqrt(tc_f64v x)
{
    return 1.0 / tc_f64_sqrt(x);
}

VECTOR_OP(exp)
VECTOR_OP(log)
VECTOR_OP(sqrt)
VECTOR_OP(rsqrt)
VECTOR_OP(sigmoid)
VECTOR_OP(tanh)
VECTOR_OP(erf)
VECTOR_OP(gelu)
VECTOR_OP(gelu_tanh)
VECTOR_OP(floor)
VECTOR_OP(ceil)

FLOAT_OP(reciprocal, 1 / x)
FLOAT_OP(neg, -x)
FLOAT_OP(square, x *x)
FLOAT_OP(relu, x < 0 ? 0 : x)
FLOAT_OP(sign, x > 0 ? 1 : x < 0 ? -1 : x)
VECTOR_OP(abs)

/* Through uint64_t, where overflow wraps. */
SIGNED_OP(neg, -(uint64_t)x)
SIGNED_OP(abs, x < 0 ? -(uint64_t)x : (uint64_t)x)
UNSIGNED_OP(abs, x)
SIGNED_OP(square, (uint64_t)x *(uint64_t)x)
UNSIGNED_OP(square, (uint64_t)x *(uint64_t)x)
SIGNED_OP(relu, x < 0 ? 0 : x)
SIGNED_OP(sign, (x > 0) - (x < 0))
UNSIGNED_OP(sign, x > 0)
INT_TILE(logical_not, u8, x ^ 1)

static tc_status gelu_prepare(tc_prepare *prepare)
{
    tc_elementwise_params *params = tc_elementwise_plan(prepare);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->variant = tc_attrs_bool(prepare->attrs, "tanh_approximation");
    return TC_OK;
}

#define RUN_GELU(tag)                                                                              \
    static tc_status run_gelu_choice_##tag(const void *params, const void *const *inputs,          \
                                           void *const *outputs, const tc_kernel_context *context) \
    {                                                                                              \
        bool tanh_approximation = ((const tc_elementwise_params *)params)->variant;                \
        return tanh_approximation ? run_gelu_tanh_##tag(params, inputs, outputs, context)          \
                                  : run_gelu_##tag(params, inputs, outputs, context);              \
    }
RUN_GELU(f32)
RUN_GELU(f64)
RUN_GELU(f16)
RUN_GELU(bf16)

#define ENTRY(op, tag) \
    TC_KERNEL(op, tag, .prepare = tc_elementwise_prepare, .run = run_##op##_##tag)
#define FLOATS(op)    ENTRY(op, f32), ENTRY(op, f64), ENTRY(op, f16), ENTRY(op, bf16)
#define SIGNEDS(op)   ENTRY(op, i8), ENTRY(op, i16), ENTRY(op, i32), ENTRY(op, i64)
#define UNSIGNEDS(op) ENTRY(op, u8), ENTRY(op, u16), ENTRY(op, u32), ENTRY(op, u64)
#define NUMBERS(op)   FLOATS(op), SIGNEDS(op), UNSIGNEDS(op)
#define LOGICAL_NOT \
    TC_KERNEL(logical_not, bool, .prepare = tc_elementwise_prepare, .run = run_logical_not_u8)
#define GELU(tag) TC_KERNEL(gelu, tag, .prepare = gelu_prepare, .run = run_gelu_choice_##tag)

static const tc_kernel kernels[] = {
    FLOATS(exp),  FLOATS(log),   FLOATS(sqrt), FLOATS(rsqrt),      FLOATS(sigmoid), FLOATS(tanh),
    FLOATS(erf),  FLOATS(floor), FLOATS(ceil), FLOATS(reciprocal), FLOATS(neg),     SIGNEDS(neg),
    FLOATS(relu), SIGNEDS(relu), NUMBERS(abs), NUMBERS(square),    NUMBERS(sign),   LOGICAL_NOT,
    GELU(f32),    GELU(f64),     GELU(f16),    GELU(bf16),
};

TC_KERNEL_TABLE(unary, kernels);

#define FUSED(op) [TC_FUSED_##op] = {op##_f32_tile, op##_f64_tile}
const tc_tile_function TC_ISA_NAME(tc_fused_unary_tiles)[TC_FUSED_CODES][TC_FUSED_TYPES] = {
    FUSED(exp),   FUSED(log),     FUSED(sqrt),
    FUSED(rsqrt), FUSED(sigmoid), FUSED(tanh),
    FUSED(erf),   FUSED(gelu),    FUSED(gelu_tanh),
    FUSED(floor), FUSED(ceil),    FUSED(reciprocal),
    FUSED(neg),   FUSED(square),  FUSED(relu),
    FUSED(sign),  FUSED(abs),     [TC_FUSED_logical_not] = {[TC_FUSED_BOOL] = logical_not_u8_tile},
};
