/* Conversion between element types. 16-bit floats go through f32, but for double, which is rounded
 * once. */
#include "core/dtype.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/isa/convert16.h"
#include "kernels/cpu/isa/fused_tiles.h"
#include "kernels/cpu/isa/simd.h"

#define TILE(name, from, to, expression)                                            \
    static void name(const void *const *in, void *out, int64_t n, unsigned scalars) \
    {                                                                               \
        (void)scalars;                                                              \
        const from *px = in[0];                                                     \
        to *y = out;                                                                \
        TC_INDEPENDENT                                                              \
        for (int64_t i = 0; i < n; i++) {                                           \
            from x = px[i];                                                         \
            y[i] = (to)(expression);                                                \
        }                                                                           \
    }

/* `limit` is the power of two after the largest value; what lies between the two is truncated to
 * the value. */
#define SATURATE(to, smallest, limit, largest) \
    (x != x ? 0 : x <= (smallest) ? (to)(smallest) : x >= (limit) ? (to)(largest) : (to)x)
#define FROM_FLOAT(tag, from)                                                          \
    TILE(tag##_to_f32, from, float, x)                                                 \
    TILE(tag##_to_f64, from, double, x)                                                \
    TILE(tag##_to_i8, from, int8_t, SATURATE(int8_t, -0x1p7f, 0x1p7f, INT8_MAX))       \
    TILE(tag##_to_i16, from, int16_t, SATURATE(int16_t, -0x1p15f, 0x1p15f, INT16_MAX)) \
    TILE(tag##_to_i32, from, int32_t, SATURATE(int32_t, -0x1p31f, 0x1p31f, INT32_MAX)) \
    TILE(tag##_to_i64, from, int64_t, SATURATE(int64_t, -0x1p63f, 0x1p63f, INT64_MAX)) \
    TILE(tag##_to_u8, from, uint8_t, SATURATE(uint8_t, 0, 0x1p8f, UINT8_MAX))          \
    TILE(tag##_to_u16, from, uint16_t, SATURATE(uint16_t, 0, 0x1p16f, UINT16_MAX))     \
    TILE(tag##_to_u32, from, uint32_t, SATURATE(uint32_t, 0, 0x1p32f, UINT32_MAX))     \
    TILE(tag##_to_u64, from, uint64_t, SATURATE(uint64_t, 0, 0x1p64f, UINT64_MAX))     \
    TILE(tag##_to_bool, from, uint8_t, x != 0)
FROM_FLOAT(f32, float)
FROM_FLOAT(f64, double)
TILE(f64_to_f16, double, uint16_t, tc_f64_to_f16(x))
TILE(f64_to_bf16, double, uint16_t, tc_f64_to_bf16(x))

#define HALF_TILES(tag)                                                                   \
    static void f32_to_##tag(const void *const *in, void *y, int64_t n, unsigned scalars) \
    {                                                                                     \
        (void)scalars;                                                                    \
        convert_to_##tag(in[0], y, n);                                                    \
    }                                                                                     \
    static void tag##_to_f32(const void *const *in, void *y, int64_t n, unsigned scalars) \
    {                                                                                     \
        (void)scalars;                                                                    \
        convert_from_##tag(in[0], y, n);                                                  \
    }
HALF_TILES(f16)
HALF_TILES(bf16)

/* Integers keep their low bits, whatever the sign of the target. */
#define FROM_INT(tag)                            \
    TILE(tag##_to_f32, TC_TYPE(tag), float, x)   \
    TILE(tag##_to_f64, TC_TYPE(tag), double, x)  \
    TILE(tag##_to_8, TC_TYPE(tag), uint8_t, x)   \
    TILE(tag##_to_16, TC_TYPE(tag), uint16_t, x) \
    TILE(tag##_to_32, TC_TYPE(tag), uint32_t, x) \
    TILE(tag##_to_64, TC_TYPE(tag), uint64_t, x) \
    TILE(tag##_to_bool, TC_TYPE(tag), uint8_t, x != 0)
FROM_INT(i8)
FROM_INT(i16)
FROM_INT(i32)
FROM_INT(i64)
FROM_INT(u8)
FROM_INT(u16)
FROM_INT(u32)
FROM_INT(u64)

#define FLOAT_ROW(tag)                                                         \
    [TC_F32] = tag##_to_f32, [TC_F64] = tag##_to_f64, [TC_I8] = tag##_to_i8,   \
    [TC_I16] = tag##_to_i16, [TC_I32] = tag##_to_i32, [TC_I64] = tag##_to_i64, \
    [TC_U8] = tag##_to_u8, [TC_U16] = tag##_to_u16, [TC_U32] = tag##_to_u32,   \
    [TC_U64] = tag##_to_u64, [TC_BOOL] = tag##_to_bool
#define INT_ROW(tag)                                                            \
    {                                                                           \
        [TC_F32] = tag##_to_f32, [TC_F64] = tag##_to_f64, [TC_I8] = tag##_to_8, \
        [TC_I16] = tag##_to_16, [TC_I32] = tag##_to_32, [TC_I64] = tag##_to_64, \
        [TC_U8] = tag##_to_8, [TC_U16] = tag##_to_16, [TC_U32] = tag##_to_32,   \
        [TC_U64] = tag##_to_64, [TC_BOOL] = tag##_to_bool                       \
    }

#define DTYPES (TC_BOOL + 1)
#define tiles  TC_ISA_NAME(tc_fused_cast_tiles)
const tc_tile_function tiles[DTYPES][DTYPES] = {
    [TC_F32] = {FLOAT_ROW(f32), [TC_F16] = f32_to_f16, [TC_BF16] = f32_to_bf16},
    [TC_F64] = {FLOAT_ROW(f64), [TC_F16] = f64_to_f16, [TC_BF16] = f64_to_bf16},
    [TC_F16] = {[TC_F32] = f16_to_f32, [TC_F16] = u16_to_16},
    [TC_BF16] = {[TC_F32] = bf16_to_f32, [TC_BF16] = u16_to_16},
    [TC_I8] = INT_ROW(i8),
    [TC_I16] = INT_ROW(i16),
    [TC_I32] = INT_ROW(i32),
    [TC_I64] = INT_ROW(i64),
    [TC_U8] = INT_ROW(u8),
    [TC_U16] = INT_ROW(u16),
    [TC_U32] = INT_ROW(u32),
    [TC_U64] = INT_ROW(u64),
    [TC_BOOL] = INT_ROW(u8),
};

static const tc_widen_function widen[DTYPES] = {
    [TC_F16] = convert_from_f16, [TC_BF16] = convert_from_bf16};
static const tc_narrow_function narrow[DTYPES] = {
    [TC_F16] = convert_to_f16, [TC_BF16] = convert_to_bf16};

static tc_status prepare(tc_prepare *p)
{
    tc_elementwise_params *params = tc_elementwise_plan(p);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    params->variant = p->inputs[0].dtype * DTYPES + p->outputs[0].dtype;
    return TC_OK;
}

static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const tc_elementwise_params *p = params;
    int from = p->variant / DTYPES, to = p->variant % DTYPES;
    tc_elementwise code = {.inputs = 1,
                           .input_size = {(int8_t)tc_dtype_size((tc_dtype)from)},
                           .output_size = (int8_t)tc_dtype_size((tc_dtype)to)};
    if (!tiles[from][to] && widen[from]) {
        code.widen = widen[from];
        from = TC_F32;
    }
    if (!tiles[from][to]) { /* an integer to a 16-bit float */
        code.narrow = narrow[to];
        to = TC_F32;
    }
    code.tile = tiles[from][to];
    tc_elementwise_run(&code, p, inputs, outputs[0], context);
    return TC_OK;
}

static const tc_kernel kernels[] = {TC_KERNEL(cast, any, .prepare = prepare, .run = run)};

TC_KERNEL_TABLE(cast, kernels);
