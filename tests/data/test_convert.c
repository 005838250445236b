/* What columns deliver, from each dtype to each. */
#include <math.h>

#include <tensorc/data.h>

#include "support/test.h"

#define ROWS 8

/* Rows 0..7 of `dtype` in order, as `to`. */
static tc_status deliver(tc_dtype dtype, const double *values, tc_dtype to, double scale,
                         double offset, double out[ROWS])
{
    tc_tensor *data, *column;
    assert_ok(tc_tensor_create(dtype, TC_SHAPE(ROWS, 1), &data));
    for (int64_t i = 0; i < ROWS; i++)
        assert_ok(tc_tensor_set(data, i, values[i]));
    tc_batches *batches;
    tc_batches_options options = {
        .struct_size = sizeof options, .batch_size = ROWS, .no_shuffle = true};
    tc_status status =
        tc_batches_create(&(tc_column){.data = data, .dtype = to, .scale = scale, .offset = offset},
                          1, &options, &batches);
    tc_tensor_release(data);
    if (status != TC_OK)
        return status;
    assert_ok(tc_batches_next(batches, &column));
    assert_int_equal(tc_tensor_dtype(column), to);
    for (int64_t i = 0; i < ROWS; i++)
        out[i] = tc_tensor_get(column, i);
    tc_batches_destroy(batches);
    return TC_OK;
}

static const tc_dtype sources[] = {TC_F32, TC_F64, TC_I8,  TC_I16, TC_I32, TC_I64,
                                   TC_U8,  TC_U16, TC_U32, TC_U64, TC_BOOL};
static const tc_dtype targets[] = {TC_F32, TC_F64, TC_I32, TC_I64};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_convert_every_pair(void **state)
{
    static const double numbers[ROWS] = {0, 1, 2, 7, 31, 64, 100, 127},
                        bools[ROWS] = {0, 1, 1, 0, 0, 1, 0, 1};
    for (size_t f = 0; f < COUNT(sources); f++) {
        const double *values = sources[f] == TC_BOOL ? bools : numbers;
        for (size_t t = 0; t < COUNT(targets); t++) {
            double out[ROWS];
            bool whole = targets[t] == TC_I32 || targets[t] == TC_I64;
            assert_ok(deliver(sources[f], values, targets[t], 0, 0, out));
            for (int i = 0; i < ROWS; i++)
                assert_true(out[i] == values[i]);
            assert_ok(deliver(sources[f], values, targets[t], -0.75, 10.5, out));
            for (int i = 0; i < ROWS; i++) {
                double expected = values[i] * -0.75 + 10.5;
                assert_true(out[i] == (whole ? trunc(expected) : expected));
            }
        }
    }
}

/* As it is, any dtype may pass. */
static void test_convert_copies(void **state)
{
    static const double values[ROWS] = {0, 1, 0, 1, 1, 0, 0, 1};
    static const tc_dtype all[] = {TC_F16, TC_BF16, TC_I8, TC_U64, TC_BOOL, TC_F64};
    for (size_t i = 0; i < COUNT(all); i++) {
        double out[ROWS];
        assert_ok(deliver(all[i], values, all[i], 1, 0, out));
        assert_memory_equal(out, values, sizeof out);
    }
    /* Integers beyond 2^53 are copied, not computed. */
    tc_tensor *data, *column;
    const int64_t large[] = {INT64_MAX, INT64_MIN, (1LL << 53) + 1};
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(3), large, &data));
    tc_batches *batches;
    assert_ok(tc_batches_create(&(tc_column){.data = data}, 1,
                                &(tc_batches_options){.struct_size = sizeof(tc_batches_options),
                                                      .batch_size = 3,
                                                      .no_shuffle = true},
                                &batches));
    assert_ok(tc_batches_next(batches, &column));
    assert_memory_equal(tc_tensor_data(column), large, sizeof large);
    tc_batches_destroy(batches);
    tc_tensor_release(data);
}

static void test_convert_out_of_range(void **state)
{
    static const double values[ROWS] = {NAN,          INFINITY,      -INFINITY,     2147483647.0,
                                        2147483648.0, -2147483648.0, -2147483649.0, 1e300};
    static const double as_i32[ROWS] = {0,          2147483647,    -2147483648.0, 2147483647,
                                        2147483647, -2147483648.0, -2147483648.0, 2147483647};
    static const double as_i64[ROWS] = {
        0, 0x1p63, -0x1p63, 2147483647, 2147483648.0, -2147483648.0, -2147483649.0, 0x1p63};
    double out[ROWS];
    assert_ok(deliver(TC_F64, values, TC_I32, 0, 0, out));
    for (int i = 0; i < ROWS; i++)
        assert_true(out[i] == as_i32[i]);
    assert_ok(deliver(TC_F64, values, TC_I64, 0, 0, out));
    for (int i = 0; i < ROWS; i++)
        assert_true(out[i] == as_i64[i]);
}

/* f32 is computed in f32: what a network saw in training it sees in any other program. */
static void test_convert_rounds_in_f32(void **state)
{
    double values[ROWS], out[ROWS];
    for (int i = 0; i < ROWS; i++)
        values[i] = i * 36;
    assert_ok(deliver(TC_U8, values, TC_F32, 1.0 / 255, -0.1, out));
    for (int i = 0; i < ROWS; i++)
        assert_true((float)out[i] == (float)values[i] * (float)(1.0 / 255) + (float)-0.1);
}

static void test_convert_refused(void **state)
{
    static const double values[ROWS] = {0};
    double out[ROWS];
    assert_status(deliver(TC_F32, values, TC_F16, 0, 0, out), TC_INVALID_ARGUMENT);
    assert_status(deliver(TC_BF16, values, TC_F32, 0, 0, out), TC_INVALID_ARGUMENT);
    assert_status(deliver(TC_BF16, values, TC_BF16, 2, 0, out), TC_INVALID_ARGUMENT);
    assert_status(deliver(TC_U8, values, (tc_dtype)77, 0, 0, out), TC_INVALID_ARGUMENT);
    assert_error_contains("from u8 as invalid");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convert_every_pair),   cmocka_unit_test(test_convert_copies),
        cmocka_unit_test(test_convert_out_of_range), cmocka_unit_test(test_convert_rounds_in_f32),
        cmocka_unit_test(test_convert_refused),
    };
    return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
