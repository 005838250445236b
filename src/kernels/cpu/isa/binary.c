/* Arithmetic, comparison and logic of two inputs. */
#include "core/shape.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/fused_tiles.h"
#include "kernels/cpu/isa/simd.h"

#define LOOP(A, B, expression)               \
    TC_INDEPENDENT                           \
    for (int64_t i = 0; i < n; i++) {        \
        __typeof__(*pa) a = A;               \
        __typeof__(*pb) b = B;               \
        y[i] = (__typeof__(*y))(expression); \
    }

#define TILE(op, tag, result, body)                                                              \
    static void op##_##tag##_tile(const void *const *in, void *out, int64_t n, unsigned scalars) \
    {                                                                                            \
        const TC_TYPE(tag) *pa = in[0], *pb = in[1];                                             \
        result *y = out;                                                                         \
        body                                                                                     \
    }

/* The expression of elements a and b; a single element stays in a register. */
#define WITH_SCALARS(expression)        \
    if (scalars == 1) {                 \
        __typeof__(*pa) single = pa[0]; \
        LOOP(single, pb[i], expression) \
    } else if (scalars == 2) {          \
        __typeof__(*pb) single = pb[0]; \
        LOOP(pa[i], single, expression) \
    } else {                            \
        LOOP(pa[i], pb[i], expression)  \
    }

/* The same without single elements, where code size counts for more. */
#define DENSE(expression) \
    (void)scalars;        \
    LOOP(pa[i], pb[i], expression)

#define RUN(op, tag, tile_op, tile_tag, takes_scalars, result, ...)   \
    TC_ELEMENTWISE_RUN(op, tag,                                       \
                       {tile_op##_##tile_tag##_tile,                  \
                        2,                                            \
                        takes_scalars,                                \
                        {sizeof(TC_TYPE(tag)), sizeof(TC_TYPE(tag))}, \
                        sizeof(result),                               \
                        __VA_ARGS__})

/* Floats: f32 and f64 natively, 16-bit floats through f32. */
#define RUN_FLOATS(op)                                                               \
    RUN(op, f32, op, f32, FLOAT_SCALARS, float, NULL, NULL)                          \
    RUN(op, f64, op, f64, FLOAT_SCALARS, double, NULL, NULL)                         \
    RUN(op, f16, op, f32, FLOAT_SCALARS, uint16_t, convert_from_f16, convert_to_f16) \
    RUN(op, bf16, op, f32, FLOAT_SCALARS, uint16_t, convert_from_bf16, convert_to_bf16)
#define FLOAT_OP(op, expression)                    \
    TILE(op, f32, float, WITH_SCALARS(expression))  \
    TILE(op, f64, double, WITH_SCALARS(expression)) \
    RUN_FLOATS(op)

#define INT_OP(op, tag, expression)                \
    TILE(op, tag, TC_TYPE(tag), DENSE(expression)) \
    RUN(op, tag, op, tag, false, TC_TYPE(tag), NULL, NULL)
#define UNSIGNED_OP(op, expression) \
    INT_OP(op, u8, expression)      \
    INT_OP(op, u16, expression)     \
    INT_OP(op, u32, expression)     \
    INT_OP(op, u64, expression)
#define SIGNED_OP(op, expression) \
    INT_OP(op, i8, expression)    \
    INT_OP(op, i16, expression)   \
    INT_OP(op, i32, expression)   \
    INT_OP(op, i64, expression)
/* Signed integers by the code of the unsigned ones of their size. */
#define SIGNED_AS_UNSIGNED(op, result)                    \
    RUN(op, i8, op, u8, false, result(i8), NULL, NULL)    \
    RUN(op, i16, op, u16, false, result(i16), NULL, NULL) \
    RUN(op, i32, op, u32, false, result(i32), NULL, NULL) \
    RUN(op, i64, op, u64, false, result(i64), NULL, NULL)
#define BYTE(tag) uint8_t

#define FLOAT_SCALARS true

/* In uint64_t, where overflow wraps; compilers narrow it again. */
FLOAT_OP(add, a + b)
UNSIGNED_OP(add, (uint64_t)a + b)
SIGNED_AS_UNSIGNED(add, TC_TYPE)
FLOAT_OP(sub, a - b)
UNSIGNED_OP(sub, (uint64_t)a - b)
SIGNED_AS_UNSIGNED(sub, TC_TYPE)
FLOAT_OP(mul, a *b)
UNSIGNED_OP(mul, (uint64_t)a *b)
SIGNED_AS_UNSIGNED(mul, TC_TYPE)
FLOAT_OP(div, a / b)
UNSIGNED_OP(div, b == 0 ? 0 : a / (b + (b == 0)))
/* By -1 negation, which wraps where the quotient would trap. */
SIGNED_OP(div, b == 0 ? 0 : b == -1 ? -(uint64_t)a : (uint64_t)(a / (b == 0 || b == -1 ? 1 : b)))
FLOAT_OP(maximum, a > b || a != a ? a : b)
UNSIGNED_OP(maximum, a > b ? a : b)
SIGNED_OP(maximum, a > b ? a : b)
FLOAT_OP(minimum, a < b || a != a ? a : b)
UNSIGNED_OP(minimum, a < b ? a : b)
SIGNED_OP(minimum, a < b ? a : b)

static inline uint64_t power(uint64_t base, uint64_t exponent)
{
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, base *= base)
        result *= exponent & 1 ? base : 1;
    return result;
}

static inline uint64_t signed_power(int64_t base, int64_t exponent)
{
    if (exponent >= 0)
        return power((uint64_t)base, (uint64_t)exponent);
    if (base == 1 || base == -1)
        return exponent & 1 ? (uint64_t)base : 1;
    return 0;
}
UNSIGNED_OP(pow, power(a, b))
SIGNED_OP(pow, signed_power(a, b))

#define POW_TILE(tag, lanes)                                                                    \
    static void pow_##tag##_tile(const void *const *in, void *out, int64_t n, unsigned scalars) \
    {                                                                                           \
        (void)scalars;                                                                          \
        const TC_TYPE(tag) *a = in[0], *b = in[1];                                              \
        TC_TYPE(tag) *y = out;                                                                  \
        int64_t i = 0;                                                                          \
        for (; i + lanes <= n; i += lanes)                                                      \
            tc_##tag##_store(y + i,                                                             \
                             tc_##tag##_pow(tc_##tag##_load(a + i), tc_##tag##_load(b + i)));   \
        if (i < n)                                                                              \
            tc_##tag##_store_part(y + i, n - i,                                                 \
                                  tc_##tag##_pow(tc_##tag##_load_part(a + i, n - i),            \
                                                 tc_##tag##_load_part(b + i, n - i)));          \
    }
POW_TILE(f32, TC_F32_LANES)
POW_TILE(f64, TC_F64_LANES)
#undef FLOAT_SCALARS
#define FLOAT_SCALARS false
RUN_FLOATS(pow)

/* Comparisons give bytes of 0 or 1. */
#define COMPARE_FLOATS(op, expression)                            \
    TILE(op, f32, uint8_t, DENSE(expression))                     \
    TILE(op, f64, uint8_t, DENSE(expression))                     \
    RUN(op, f32, op, f32, false, uint8_t, NULL, NULL)             \
    RUN(op, f64, op, f64, false, uint8_t, NULL, NULL)             \
    RUN(op, f16, op, f32, false, uint8_t, convert_from_f16, NULL) \
    RUN(op, bf16, op, f32, false, uint8_t, convert_from_bf16, NULL)
#define COMPARE_INT(op, tag, expression)      \
    TILE(op, tag, uint8_t, DENSE(expression)) \
    RUN(op, tag, op, tag, false, uint8_t, NULL, NULL)
#define COMPARE_UNSIGNED(op, expression) \
    COMPARE_INT(op, u8, expression)      \
    COMPARE_INT(op, u16, expression)     \
    COMPARE_INT(op, u32, expression)     \
    COMPARE_INT(op, u64, expression)
#define COMPARE_SIGNED(op, expression) \
    COMPARE_INT(op, i8, expression)    \
    COMPARE_INT(op, i16, expression)   \
    COMPARE_INT(op, i32, expression)   \
    COMPARE_INT(op, i64, expression)
#define SAMENESS(op, expression)     \
    COMPARE_FLOATS(op, expression)   \
    COMPARE_UNSIGNED(op, expression) \
    SIGNED_AS_UNSIGNED(op, BYTE)
#define ORDER(op, expression)        \
    COMPARE_FLOATS(op, expression)   \
    COMPARE_UNSIGNED(op, expression) \
    COMPARE_SIGNED(op, expression)

SAMENESS(equal, a == b)
SAMENESS(not_equal, a != b)
ORDER(less, a < b)
ORDER(less_equal, a <= b)
ORDER(greater, a > b)
ORDER(greater_equal, a >= b)
COMPARE_INT(logical_and, u8, a &b)
COMPARE_INT(logical_or, u8, a | b)
COMPARE_INT(logical_xor, u8, a ^ b)

#define ENTRY(op, tag) \
    TC_KERNEL(op, tag, .prepare = tc_elementwise_prepare, .run = run_##op##_##tag)
#define BOOLS(op) TC_KERNEL(op, bool, .prepare = tc_elementwise_prepare, .run = run_##op##_u8)
#define NUMBERS(op)                                                                    \
    ENTRY(op, f32), ENTRY(op, f64), ENTRY(op, f16), ENTRY(op, bf16), ENTRY(op, i8),    \
        ENTRY(op, i16), ENTRY(op, i32), ENTRY(op, i64), ENTRY(op, u8), ENTRY(op, u16), \
        ENTRY(op, u32), ENTRY(op, u64)

/* The bias varies along one dimension of x, wherever that is. */
static tc_status bias_add_prepare(tc_prepare *prepare)
{
    tc_elementwise_params *params = tc_prepare_params(prepare, sizeof *params);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    int64_t strides[TC_ELEMENTWISE_INPUTS][TC_MAX_RANK] = {{0}};
    tc_shape_strides(x, strides[0]);
    strides[1][tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank)] = 1;
    tc_broadcast_merge(&params->broadcast, x, 2, strides);
    return TC_OK;
}
#define BIAS(tag) TC_KERNEL(bias_add, tag, .prepare = bias_add_prepare, .run = run_add_##tag)

static const tc_kernel kernels[] = {
    BIAS(f32),           BIAS(f64),         BIAS(f16),
    BIAS(bf16),          BIAS(i8),          BIAS(i16),
    BIAS(i32),           BIAS(i64),         BIAS(u8),
    BIAS(u16),           BIAS(u32),         BIAS(u64),
    NUMBERS(add),        NUMBERS(sub),      NUMBERS(mul),
    NUMBERS(div),        NUMBERS(maximum),  NUMBERS(minimum),
    NUMBERS(pow),        NUMBERS(equal),    BOOLS(equal),
    NUMBERS(not_equal),  BOOLS(not_equal),  NUMBERS(less),
    NUMBERS(less_equal), NUMBERS(greater),  NUMBERS(greater_equal),
    BOOLS(logical_and),  BOOLS(logical_or), BOOLS(logical_xor),
};

TC_KERNEL_TABLE(binary, kernels);

/* Integers by the code of unsigned ones where signs do not matter. */
#define FUSED(op, b, i32, i64) \
    [TC_FUSED_##op] = {op##_f32_tile, op##_f64_tile, b, op##_##i32##_tile, op##_##i64##_tile}
#define FUSED_FLOATS(op) [TC_FUSED_##op] = {op##_f32_tile, op##_f64_tile}
#define FUSED_BOOL(op)   [TC_FUSED_##op] = {[TC_FUSED_BOOL] = op##_u8_tile}
const tc_tile_function TC_ISA_NAME(tc_fused_binary_tiles)[TC_FUSED_CODES][TC_FUSED_TYPES] = {
    FUSED(add, NULL, u32, u64),
    FUSED(sub, NULL, u32, u64),
    FUSED(mul, NULL, u32, u64),
    FUSED(maximum, NULL, i32, i64),
    FUSED(minimum, NULL, i32, i64),
    FUSED(equal, equal_u8_tile, u32, u64),
    FUSED(not_equal, not_equal_u8_tile, u32, u64),
    FUSED(less, NULL, i32, i64),
    FUSED(less_equal, NULL, i32, i64),
    FUSED(greater, NULL, i32, i64),
    FUSED(greater_equal, NULL, i32, i64),
    FUSED_FLOATS(div),
    FUSED_FLOATS(pow),
    FUSED_BOOL(logical_and),
    FUSED_BOOL(logical_or),
    FUSED_BOOL(logical_xor),
};
