#include <math.h>

#include <tensorc/tensor.h>

#include "support/counting_allocator.h"
#include "support/test.h"

/* Takes the reference to `tensor`. */
static void check_print(tc_tensor *tensor, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    assert_ok(tc_tensor_print(tensor, file));
    fclose(file);
    assert_string_equal(text, expected);
    free(text);
    tc_tensor_release(tensor);
}

static tc_tensor *copy_of(tc_dtype dtype, tc_shape shape, const void *data)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_copy(dtype, shape, data, &tensor));
    return tensor;
}

static tc_tensor *count_up(tc_shape shape)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create(TC_I32, shape, &tensor));
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_ok(tc_tensor_set(tensor, i, (double)i));
    return tensor;
}

static void test_print_small(void **state)
{
    tc_tensor *scalar;
    assert_ok(tc_tensor_create_scalar(TC_F32, 2.5, &scalar));
    check_print(scalar, "f32 [] 2.5\n");
    check_print(count_up(TC_SHAPE(0)), "i32 [0] []\n");
    check_print(count_up(TC_SHAPE(2, 0)), "i32 [2, 0] []\n");
    check_print(count_up(TC_SHAPE(4)), "i32 [4] [0, 1, 2, 3]\n");
    check_print(count_up(TC_SHAPE(1, 1)), "i32 [1, 1]\n[[0]]\n");
    check_print(count_up(TC_SHAPE(4, 3)), "i32 [4, 3]\n"
                                          "[[ 0,  1,  2],\n"
                                          " [ 3,  4,  5],\n"
                                          " [ 6,  7,  8],\n"
                                          " [ 9, 10, 11]]\n");
    check_print(count_up(TC_SHAPE(2, 2, 2)), "i32 [2, 2, 2]\n"
                                             "[[[0, 1],\n"
                                             "  [2, 3]],\n"
                                             "\n"
                                             " [[4, 5],\n"
                                             "  [6, 7]]]\n");
}

static void test_print_elements(void **state)
{
    const double numbers[] = {0, -1, 1.0 / 3, 1e10, 1e-10, NAN, -NAN, INFINITY, -INFINITY};
    check_print(copy_of(TC_F64, TC_SHAPE(9), numbers),
                "f64 [9] [       0,       -1, 0.333333,    1e+10,    1e-10,      nan,      nan, "
                "     inf,     -inf]\n");
    const uint8_t truth[] = {1, 0};
    check_print(copy_of(TC_BOOL, TC_SHAPE(2), truth), "bool [2] [ true, false]\n");
    const int64_t large[] = {INT64_MIN, INT64_MAX}; /* not rounded to a double */
    check_print(copy_of(TC_I64, TC_SHAPE(2), large),
                "i64 [2] [-9223372036854775808,  9223372036854775807]\n");
    const uint64_t larger[] = {UINT64_MAX};
    check_print(copy_of(TC_U64, TC_SHAPE(1), larger), "u64 [1] [18446744073709551615]\n");
    const int8_t bytes[] = {-128, 127};
    check_print(copy_of(TC_I8, TC_SHAPE(2), bytes), "i8 [2] [-128,  127]\n");
    const uint32_t words[] = {UINT32_MAX};
    check_print(copy_of(TC_U32, TC_SHAPE(1), words), "u32 [1] [4294967295]\n");
    const uint16_t halves[] = {0x3c00, 0xc000};
    check_print(copy_of(TC_F16, TC_SHAPE(2), halves), "f16 [2] [ 1, -2]\n");
    check_print(copy_of(TC_BF16, TC_SHAPE(2), halves), "bf16 [2] [0.0078125,        -2]\n");
}

static void test_print_shortens(void **state)
{
    check_print(count_up(TC_SHAPE(1001)), "i32 [1001] [   0,    1,    2, ...,  998,  999, 1000]\n");
    check_print(count_up(TC_SHAPE(100, 100)), "i32 [100, 100]\n"
                                              "[[   0,    1,    2, ...,   97,   98,   99],\n"
                                              " [ 100,  101,  102, ...,  197,  198,  199],\n"
                                              " [ 200,  201,  202, ...,  297,  298,  299],\n"
                                              " ...,\n"
                                              " [9700, 9701, 9702, ..., 9797, 9798, 9799],\n"
                                              " [9800, 9801, 9802, ..., 9897, 9898, 9899],\n"
                                              " [9900, 9901, 9902, ..., 9997, 9998, 9999]]\n");
    check_print(count_up(TC_SHAPE(2, 501)), /* six or fewer are all shown */
                "i32 [2, 501]\n"
                "[[   0,    1,    2, ...,  498,  499,  500],\n"
                " [ 501,  502,  503, ...,  999, 1000, 1001]]\n");
    tc_tensor *whole = count_up(TC_SHAPE(1000));
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_ok(tc_tensor_print(whole, file));
    fclose(file);
    assert_null(strstr(text, "..."));
    assert_non_null(strstr(text, "500"));
    free(text);
    tc_tensor_release(whole);
}

static void test_print_errors(void **state)
{
    assert_status(tc_tensor_print(NULL, stdout), TC_INVALID_ARGUMENT);
    tc_tensor *tensor = count_up(TC_SHAPE(3));
    assert_status(tc_tensor_print(tensor, NULL), TC_INVALID_ARGUMENT);
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        assert_status(tc_tensor_print(tensor, full), TC_UNAVAILABLE);
        assert_error_contains("writing");
        fclose(full);
    }
    tc_tensor_release(tensor);
}

static tc_status print_once(void *context)
{
    FILE *file = fopen("/dev/null", "w");
    assert_non_null(file);
    tc_tensor *tensor;
    tc_status status = tc_tensor_create_scalar(TC_F32, 1, &tensor);
    if (status == TC_OK)
        status = tc_tensor_print(tensor, file);
    tc_tensor_release(tensor);
    fclose(file);
    return status;
}

static void test_print_exhausted(void **state)
{
    counting_allocator_install();
    assert_true(counting_allocator_sweep(print_once, NULL) >= 2);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print_small),     cmocka_unit_test(test_print_elements),
        cmocka_unit_test(test_print_shortens),  cmocka_unit_test(test_print_errors),
        cmocka_unit_test(test_print_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
