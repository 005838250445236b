#include "core/dtype.h"

#include <math.h>

#include "core/float16.h"
#include "support/test.h"

static void test_dtype_table(void **state)
{
    static const struct {
        tc_dtype dtype;
        int number; /* stored in files */
        const char *name;
        int bits, size;
    } table[] = {
        {TC_DTYPE_INVALID, 0, "invalid", 0, 0},
        {TC_F32, 1, "f32", 32, 4},
        {TC_F64, 2, "f64", 64, 8},
        {TC_F16, 3, "f16", 16, 2},
        {TC_BF16, 4, "bf16", 16, 2},
        {TC_I8, 5, "i8", 8, 1},
        {TC_I16, 6, "i16", 16, 2},
        {TC_I32, 7, "i32", 32, 4},
        {TC_I64, 8, "i64", 64, 8},
        {TC_U8, 9, "u8", 8, 1},
        {TC_U16, 10, "u16", 16, 2},
        {TC_U32, 11, "u32", 32, 4},
        {TC_U64, 12, "u64", 64, 8},
        {TC_BOOL, 13, "bool", 8, 1},
        {TC_F8E4M3, 14, "f8e4m3", 8, 0},
        {TC_F8E5M2, 15, "f8e5m2", 8, 0},
        {TC_I4, 16, "i4", 4, 0},
        {TC_U4, 17, "u4", 4, 0},
        {TC_C64, 18, "c64", 64, 0},
        {TC_C128, 19, "c128", 128, 0},
        {TC_STRING, 20, "string", 0, 0},
    };
    assert_int_equal(sizeof table / sizeof table[0], TC_DTYPE_COUNT);
    for (size_t i = 0; i < TC_DTYPE_COUNT; i++) {
        assert_int_equal(table[i].dtype, table[i].number);
        assert_string_equal(tc_dtype_name(table[i].dtype), table[i].name);
        assert_int_equal(tc_dtype_bits(table[i].dtype), table[i].bits);
        assert_int_equal(tc_dtype_size(table[i].dtype), table[i].size);
        assert_int_equal(tc_dtype_from_name(table[i].name), table[i].dtype);
        assert_status(tc_dtype_valid(table[i].dtype), table[i].size ? TC_OK : TC_INVALID_ARGUMENT);
    }
}

static void test_dtype_rejects_foreign_numbers(void **state)
{
    static const int numbers[] = {-1, TC_DTYPE_COUNT, 1000, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        tc_dtype dtype = (tc_dtype)numbers[i];
        assert_string_equal(tc_dtype_name(dtype), "invalid");
        assert_int_equal(tc_dtype_bits(dtype), 0);
        assert_int_equal(tc_dtype_size(dtype), 0);
        assert_status(tc_dtype_valid(dtype), TC_INVALID_ARGUMENT);
    }
    assert_status(tc_dtype_valid(TC_C64), TC_INVALID_ARGUMENT);
    assert_error_contains("c64");
    assert_int_equal(tc_dtype_from_name("float"), TC_DTYPE_INVALID);
    assert_int_equal(tc_dtype_from_name("F32"), TC_DTYPE_INVALID);
    assert_int_equal(tc_dtype_from_name(""), TC_DTYPE_INVALID);
    assert_int_equal(tc_dtype_from_name(NULL), TC_DTYPE_INVALID);
}

static double stored(tc_dtype dtype, double value)
{
    union {
        unsigned char bytes[8];
        double align;
    } element;
    memset(&element, 0x5a, sizeof element);
    tc_dtype_store(dtype, &element, value);
    for (size_t i = tc_dtype_size(dtype); i < sizeof element; i++)
        assert_int_equal(element.bytes[i], 0x5a);
    return tc_dtype_load(dtype, &element);
}

static void test_dtype_store_integers(void **state)
{
    static const struct {
        tc_dtype dtype;
        double lowest, highest;
    } ranges[] = {
        {TC_I8, -128, 127},        {TC_I16, -32768, 32767}, {TC_I32, -0x1p31, 0x1p31 - 1},
        {TC_I64, -0x1p63, 0x1p63}, {TC_U8, 0, 255},         {TC_U16, 0, 65535},
        {TC_U32, 0, 0x1p32 - 1},   {TC_U64, 0, 0x1p64},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        tc_dtype dtype = ranges[i].dtype;
        double lowest = ranges[i].lowest, highest = ranges[i].highest;
        assert_true(stored(dtype, highest) == highest);
        assert_true(stored(dtype, lowest) == lowest);
        assert_true(stored(dtype, highest * 2 + 1) == highest); /* saturates */
        assert_true(stored(dtype, lowest * 2 - 1) == lowest);
        assert_true(stored(dtype, INFINITY) == highest);
        assert_true(stored(dtype, -INFINITY) == lowest);
        assert_true(stored(dtype, NAN) == 0);
        assert_true(stored(dtype, 2.99) == 2); /* truncates */
        assert_true(stored(dtype, -2.99) == (lowest < 0 ? -2 : 0));
        assert_true(stored(dtype, -0.5) == 0);
    }
    int64_t exact;
    tc_dtype_store(TC_I64, &exact, 0x1p63);
    assert_true(exact == INT64_MAX);
    tc_dtype_store(TC_I64, &exact, -0x1p63);
    assert_true(exact == INT64_MIN);
    uint64_t unsigned_exact;
    tc_dtype_store(TC_U64, &unsigned_exact, 0x1p64);
    assert_true(unsigned_exact == UINT64_MAX);
}

static void test_dtype_store_others(void **state)
{
    assert_true(stored(TC_BOOL, 0) == 0);
    assert_true(stored(TC_BOOL, -0.0) == 0);
    assert_true(stored(TC_BOOL, 0.25) == 1);
    assert_true(stored(TC_BOOL, -7) == 1);
    assert_true(stored(TC_BOOL, NAN) == 1);
    assert_true(stored(TC_F64, 0.1) == 0.1);
    assert_true(stored(TC_F32, 0.1) == (double)0.1f);
    assert_true(stored(TC_F16, 1.0 / 3) == 0x1.554p-2);
    assert_true(stored(TC_BF16, 1.0 / 3) == 0x1.56p-2);
    assert_true(isnan(stored(TC_F16, NAN)));
    assert_true(isnan(stored(TC_BF16, NAN)));
    assert_true(stored(TC_C64, 5) == 0);
    assert_true(stored((tc_dtype)99, 5) == 0);
}

/* A 16-bit float by its definition. */
static double value_of(uint32_t bits, int exponent_bits)
{
    int mantissa_bits = 15 - exponent_bits;
    int bias = (1 << (exponent_bits - 1)) - 1;
    int exponent = (int)(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    double mantissa = (double)(bits & ((1u << mantissa_bits) - 1));
    double magnitude = exponent
                           ? ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)
                           : ldexp(mantissa, 1 - bias - mantissa_bits);
    return bits & 0x8000 ? -magnitude : magnitude;
}

typedef struct format16 {
    int exponent_bits;
    uint32_t infinity;
    double (*to_f64)(uint16_t);
    float (*to_f32)(uint16_t);
    uint16_t (*from_f64)(double);
    uint16_t (*from_f32)(float);
} format16;

static double f16_to_f64(uint16_t x)
{
    return tc_f16_to_f64(x);
}
static float f16_to_f32(uint16_t x)
{
    return tc_f16_to_f32(x);
}
static uint16_t f64_to_f16(double x)
{
    return tc_f64_to_f16(x);
}
static uint16_t f32_to_f16(float x)
{
    return tc_f32_to_f16(x);
}
static double bf16_to_f64(uint16_t x)
{
    return tc_bf16_to_f64(x);
}
static float bf16_to_f32(uint16_t x)
{
    return tc_bf16_to_f32(x);
}
static uint16_t f64_to_bf16(double x)
{
    return tc_f64_to_bf16(x);
}
static uint16_t f32_to_bf16(float x)
{
    return tc_f32_to_bf16(x);
}

static const format16 formats[] = {
    {5, 0x7c00, f16_to_f64, f16_to_f32, f64_to_f16, f32_to_f16},
    {8, 0x7f80, bf16_to_f64, bf16_to_f32, f64_to_bf16, f32_to_bf16},
};

static void test_dtype_16_bit_floats_widen_exactly(void **state)
{
    for (size_t f = 0; f < 2; f++)
        for (uint32_t bits = 0; bits <= 0xffff; bits++) {
            const format16 *format = &formats[f];
            uint16_t half = (uint16_t)bits;
            double wide = format->to_f64(half);
            uint32_t magnitude = bits & 0x7fff;
            if (magnitude > format->infinity) { /* quiet, with sign and payload */
                uint32_t quiet = bits | 1u << (14 - format->exponent_bits);
                assert_true(isnan(wide) && isnan(format->to_f32(half)));
                assert_int_equal(format->from_f64(wide), quiet);
                assert_int_equal(format->from_f32(format->to_f32(half)), quiet);
                continue;
            }
            if (magnitude == format->infinity)
                assert_true(wide == (bits & 0x8000 ? -INFINITY : INFINITY));
            else
                assert_true(wide == value_of(bits, format->exponent_bits));
            assert_true((double)format->to_f32(half) == wide);
            assert_int_equal(format->from_f64(wide), bits); /* the sign of zero too */
            assert_int_equal(format->from_f32((float)wide), bits);
        }
}

/* Between each two neighbours: just below the middle, the middle (ties to even), just above. */
static void test_dtype_16_bit_floats_round_to_even(void **state)
{
    for (size_t f = 0; f < 2; f++)
        for (uint32_t bits = 0; bits < formats[f].infinity; bits++) {
            const format16 *format = &formats[f];
            double low = value_of(bits, format->exponent_bits);
            double high = value_of(bits + 1, format->exponent_bits); /* past the end 2^emax */
            double middle = (low + high) / 2;
            uint32_t even = bits + (bits & 1);
            for (uint32_t sign = 0; sign <= 0x8000; sign += 0x8000) {
                double s = sign ? -1 : 1;
                assert_int_equal(format->from_f64(s * middle), sign | even);
                assert_int_equal(format->from_f64(s * nextafter(middle, 0)), sign | bits);
                assert_int_equal(format->from_f64(s * nextafter(middle, INFINITY)),
                                 sign | (bits + 1));
                float tie = (float)(s * middle);
                if (bits + 1 == format->infinity && f == 1)
                    continue; /* the middle below 2^128 is the float just above the last bf16 */
                assert_true((double)tie == s * middle);
                assert_int_equal(format->from_f32(tie), sign | even);
                assert_int_equal(format->from_f32(nextafterf(tie, 0)), sign | bits);
                assert_int_equal(format->from_f32(nextafterf(tie, (float)s * INFINITY)),
                                 sign | (bits + 1));
            }
        }
}

static void test_dtype_16_bit_floats_extremes(void **state)
{
    for (size_t f = 0; f < 2; f++) {
        const format16 *format = &formats[f];
        assert_int_equal(format->from_f64(INFINITY), format->infinity);
        assert_int_equal(format->from_f64(-INFINITY), format->infinity | 0x8000);
        assert_int_equal(format->from_f32(INFINITY), format->infinity);
        assert_int_equal(format->from_f64(1e300), format->infinity);
        assert_int_equal(format->from_f64(-1e300), format->infinity | 0x8000);
        assert_int_equal(format->from_f32(3.4028235e38f), format->infinity);
        assert_int_equal(format->from_f64(1e-300), 0);
        assert_int_equal(format->from_f64(-1e-300), 0x8000);
        assert_int_equal(format->from_f64(5e-324), 0);
        assert_true(isnan(format->to_f64(format->from_f64(NAN))));
        assert_true(isnan(format->to_f32(format->from_f32(NAN))));
        /* A NaN whose payload is only in the bits that are cut off is not to become infinity. */
        assert_true(isnan(format->to_f32(format->from_f32(tc_f32_from_bits(0x7f800001u)))));
    }
    assert_int_equal(tc_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(tc_f32_to_f16(65520.0f), 0x7c00);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dtype_table),
        cmocka_unit_test(test_dtype_rejects_foreign_numbers),
        cmocka_unit_test(test_dtype_store_integers),
        cmocka_unit_test(test_dtype_store_others),
        cmocka_unit_test(test_dtype_16_bit_floats_widen_exactly),
        cmocka_unit_test(test_dtype_16_bit_floats_round_to_even),
        cmocka_unit_test(test_dtype_16_bit_floats_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
