#include "core/shape.h"

#include "support/test.h"

#define B TC_DIM("batch")
#define T TC_DIM("time")

/* Pointers to shapes. */
#define S(...) ((const tc_shape[]){TC_SHAPE(__VA_ARGS__)})
#define SCALAR ((const tc_shape[]){TC_SCALAR})

static const char *text_of(const tc_shape *shape)
{
    static char buffers[4][TC_SHAPE_TEXT_SIZE];
    static int next;
    return tc_shape_text(shape, buffers[next++ % 4]);
}

static void test_shape_make(void **state)
{
    tc_shape shape = TC_SHAPE(B, 28, -1);
    assert_int_equal(shape.rank, 3);
    assert_string_equal(shape.dims[0].name, "batch");
    assert_int_equal(shape.dims[0].size, -1);
    assert_int_equal(shape.dims[1].size, 28);
    assert_null(shape.dims[2].name);
    assert_int_equal(TC_SCALAR.rank, 0);
    assert_int_equal(TC_SHAPE(1, 2, 3, 4, 5, 6, 7, 8).rank, 8);
    int64_t sizes[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    shape = tc_shape_of(9, sizes);
    assert_int_equal(shape.rank, -1);
    shape = tc_shape_of(2, sizes);
    assert_true(tc_shape_equal(&shape, S(1, 2)));
}

static void test_shape_size(void **state)
{
    assert_int_equal(tc_shape_size(SCALAR), 1);
    assert_int_equal(tc_shape_size(S(3, 4, 5)), 60);
    assert_int_equal(tc_shape_size(S(3, 0, 5)), 0);
    assert_int_equal(tc_shape_size(S(3, -1)), -1);
    assert_int_equal(tc_shape_size(S(0, B)), -1);
    assert_int_equal(tc_shape_size(NULL), -1);
    assert_int_equal(tc_shape_size(&(tc_shape){.rank = 9}), -1);
    assert_int_equal(tc_shape_size(&(tc_shape){.rank = -1}), -1);
    assert_true(tc_shape_size(S(INT64_MAX)) == INT64_MAX);
    assert_int_equal(tc_shape_size(S(INT64_MAX, 2)), -1);
    /* Overflow does not hide behind a zero, wherever that is. */
    int64_t big = (int64_t)1 << 40;
    assert_int_equal(tc_shape_size(S(0, big, big)), -1);
    assert_int_equal(tc_shape_size(S(big, big, 0)), -1);
}

static void test_shape_equal(void **state)
{
    char name[] = "batch"; /* another pointer, the same name */
    assert_true(tc_shape_equal(S(B, 3), S(TC_DIM(name), 3)));
    assert_false(tc_shape_equal(S(B, 3), S(T, 3)));
    assert_false(tc_shape_equal(S(B, 3), S(-1, 3)));
    assert_true(tc_shape_equal(S(-1), S(-1)));
    assert_false(tc_shape_equal(S(2, 3), S(3, 2)));
    assert_false(tc_shape_equal(S(2), S(2, 1)));
    assert_true(tc_shape_equal(SCALAR, SCALAR));
    assert_false(tc_shape_equal(NULL, NULL));
    tc_shape invalid = {.rank = -1};
    assert_false(tc_shape_equal(&invalid, &invalid));
}

static void test_shape_dims(void **state)
{
    assert_true(tc_dim_is_known((tc_dim){0, NULL}));
    assert_false(tc_dim_is_known(B));
    assert_true(tc_dim_same(B, B));
    assert_false(tc_dim_same(B, T));
    assert_true(tc_dim_same((tc_dim){4, NULL}, (tc_dim){4, NULL}));
    assert_false(tc_dim_same((tc_dim){-1, NULL}, (tc_dim){-1, NULL})); /* may differ at run time */
    assert_true(tc_dim_equal((tc_dim){-1, NULL}, (tc_dim){-1, NULL}));
    assert_true(tc_shape_is_known(S(0, 4)));
    assert_true(tc_shape_is_known(SCALAR));
    assert_false(tc_shape_is_known(S(4, B)));
    assert_false(tc_shape_is_known(&(tc_shape){.rank = -1}));
}

static void check_invalid(tc_shape shape, const char *message)
{
    assert_status(tc_shape_valid(&shape), TC_INVALID_ARGUMENT);
    assert_error_contains(message);
}

static void test_shape_valid(void **state)
{
    assert_ok(tc_shape_valid(SCALAR));
    assert_ok(tc_shape_valid(S(B, 0, -1, 5)));
    assert_status(tc_shape_valid(NULL), TC_INVALID_ARGUMENT);
    check_invalid((tc_shape){.rank = -1}, "0 to 8");
    check_invalid((tc_shape){.rank = 9}, "0 to 8");
    check_invalid(TC_SHAPE(3, -2), "dimension 1 is -2");
    check_invalid(TC_SHAPE(TC_DIM("")), "dimension 0 is empty");
    check_invalid(tc_shape_make(1, &(tc_dim){4, "n"}), "only unknown");
    check_invalid(TC_SHAPE((int64_t)1 << 32, (int64_t)1 << 32), "[4294967296, 4294967296]");
}

static void check_broadcast(tc_shape a, tc_shape b, tc_shape expected)
{
    for (int swap = 0; swap < 2; swap++) {
        tc_shape out;
        assert_true(tc_shape_broadcast(swap ? &b : &a, swap ? &a : &b, &out));
        if (!tc_shape_equal(&out, &expected))
            fail_msg("%s and %s give %s instead of %s", text_of(&a), text_of(&b), text_of(&out),
                     text_of(&expected));
    }
}

static void test_shape_broadcast(void **state)
{
    check_broadcast(TC_SHAPE(2, 3), TC_SHAPE(2, 3), TC_SHAPE(2, 3));
    check_broadcast(TC_SHAPE(2, 3), TC_SHAPE(3), TC_SHAPE(2, 3));
    check_broadcast(TC_SHAPE(2, 1), TC_SHAPE(1, 3), TC_SHAPE(2, 3));
    check_broadcast(TC_SCALAR, TC_SHAPE(4, B), TC_SHAPE(4, B));
    check_broadcast(TC_SCALAR, TC_SCALAR, TC_SCALAR);
    check_broadcast(TC_SHAPE(0, 3), TC_SHAPE(1, 3), TC_SHAPE(0, 3));
    /* Unknown against 1, a known size, the same name, another name, no name. */
    check_broadcast(TC_SHAPE(B), TC_SHAPE(1), TC_SHAPE(B));
    check_broadcast(TC_SHAPE(-1), TC_SHAPE(1), TC_SHAPE(-1));
    check_broadcast(TC_SHAPE(B), TC_SHAPE(5), TC_SHAPE(5));
    check_broadcast(TC_SHAPE(B), TC_SHAPE(0), TC_SHAPE(0));
    check_broadcast(TC_SHAPE(B), TC_SHAPE(B), TC_SHAPE(B));
    check_broadcast(TC_SHAPE(B), TC_SHAPE(T), TC_SHAPE(-1));
    check_broadcast(TC_SHAPE(B), TC_SHAPE(-1), TC_SHAPE(-1));
    check_broadcast(TC_SHAPE(-1), TC_SHAPE(-1), TC_SHAPE(-1));
    check_broadcast(TC_SHAPE(B, 1, 4), TC_SHAPE(T, 1), TC_SHAPE(B, T, 4));
}

static void test_shape_broadcast_refuses(void **state)
{
    tc_shape out = TC_SHAPE(77);
    assert_false(tc_shape_broadcast(S(2), S(3), &out));
    assert_false(tc_shape_broadcast(S(0), S(3), &out));
    assert_false(tc_shape_broadcast(S(B, 2), S(B, 3), &out));
    assert_false(tc_shape_broadcast(&(tc_shape){.rank = -1}, SCALAR, &out));
    assert_false(tc_shape_broadcast(SCALAR, &(tc_shape){.rank = 9}, &out));
    assert_true(tc_shape_equal(&out, S(77)));
    tc_shape in_place = TC_SHAPE(3, 1);
    assert_true(tc_shape_broadcast(&in_place, S(4), &in_place));
    assert_true(tc_shape_equal(&in_place, S(3, 4)));
}

static bool compatible(tc_shape a, tc_shape b)
{
    bool result = tc_shape_compatible(&a, &b);
    assert_int_equal(tc_shape_compatible(&b, &a), result);
    return result;
}

static void test_shape_compatible(void **state)
{
    assert_true(compatible(TC_SHAPE(B, 3), TC_SHAPE(5, 3)));
    assert_true(compatible(TC_SHAPE(B, 3), TC_SHAPE(T, -1)));
    assert_true(compatible(TC_SHAPE(B, B), TC_SHAPE(5, 5)));
    assert_true(compatible(TC_SHAPE(B, T), TC_SHAPE(5, 6)));
    assert_true(compatible(TC_SHAPE(B, B, 2), TC_SHAPE(5, -1, 2)));
    assert_true(compatible(TC_SCALAR, TC_SCALAR));
    assert_false(compatible(TC_SHAPE(B, 3), TC_SHAPE(B, 4)));
    assert_false(compatible(TC_SHAPE(1), TC_SHAPE(4))); /* no broadcasting */
    assert_false(compatible(TC_SHAPE(3), TC_SHAPE(3, 1)));
    assert_false(compatible(TC_SHAPE(B, B), TC_SHAPE(5, 6))); /* one name, two sizes */
    assert_false(compatible(TC_SHAPE(B, 1, B), TC_SHAPE(5, 1, 6)));
    assert_false(compatible((tc_shape){.rank = -1}, (tc_shape){.rank = -1}));
}

static void test_shape_axis(void **state)
{
    assert_int_equal(tc_axis_normalize(0, 3), 0);
    assert_int_equal(tc_axis_normalize(2, 3), 2);
    assert_int_equal(tc_axis_normalize(-1, 3), 2);
    assert_int_equal(tc_axis_normalize(-3, 3), 0);
    assert_int_equal(tc_axis_normalize(3, 3), -1);
    assert_int_equal(tc_axis_normalize(-4, 3), -1);
    assert_int_equal(tc_axis_normalize(0, 0), -1);
    assert_int_equal(tc_axis_normalize(-1, 0), -1);
    assert_int_equal(tc_axis_normalize(INT64_MAX, 8), -1);
    assert_int_equal(tc_axis_normalize(INT64_MIN, 8), -1);
}

static void test_shape_strides(void **state)
{
    int64_t strides[TC_MAX_RANK];
    tc_shape_strides(S(2, 3, 4), strides);
    const int64_t expected[TC_MAX_RANK] = {12, 4, 1};
    assert_memory_equal(strides, expected, sizeof strides);
    tc_shape_strides(S(2, 0, 4), strides);
    const int64_t with_zero[TC_MAX_RANK] = {4, 4, 1};
    assert_memory_equal(strides, with_zero, sizeof strides);
    const int64_t none[TC_MAX_RANK] = {0};
    tc_shape_strides(SCALAR, strides);
    assert_memory_equal(strides, none, sizeof strides);
    tc_shape_strides(&(tc_shape){.rank = 9}, strides);
    assert_memory_equal(strides, none, sizeof strides);
}

static void test_shape_text(void **state)
{
    assert_string_equal(text_of(SCALAR), "[]");
    assert_string_equal(text_of(S(B, 28, -1)), "[batch, 28, ?]");
    assert_string_equal(text_of(S(0)), "[0]");
    assert_string_equal(text_of(&(tc_shape){.rank = -1}), "[invalid]");
    assert_string_equal(text_of(NULL), "[invalid]");

    tc_shape shape = TC_SHAPE(B, 28, -1);
    char buffer[20];
    for (size_t size = 0; size < sizeof buffer; size++) { /* cut at every length, never beyond */
        memset(buffer, '#', sizeof buffer);
        assert_int_equal(tc_shape_format(&shape, buffer, size), 14);
        if (size > 0)
            assert_int_equal(strlen(buffer), size - 1 < 14 ? size - 1 : 14);
        assert_memory_equal(buffer, "[batch, 28, ?]", size ? strlen(buffer) : 0);
        for (size_t i = size; i < sizeof buffer; i++)
            assert_int_equal(buffer[i], '#');
    }
    assert_int_equal(tc_shape_format(&shape, NULL, 0), 14);

    char name[1000];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    assert_int_equal(strlen(text_of(S(TC_DIM(name)))), TC_SHAPE_TEXT_SIZE - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape_make),
        cmocka_unit_test(test_shape_size),
        cmocka_unit_test(test_shape_equal),
        cmocka_unit_test(test_shape_dims),
        cmocka_unit_test(test_shape_valid),
        cmocka_unit_test(test_shape_broadcast),
        cmocka_unit_test(test_shape_broadcast_refuses),
        cmocka_unit_test(test_shape_compatible),
        cmocka_unit_test(test_shape_axis),
        cmocka_unit_test(test_shape_strides),
        cmocka_unit_test(test_shape_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
