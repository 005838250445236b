#include "core/tensor.h"

#include <math.h>
#include <pthread.h>

#include "base/alloc.h"
#include "core/dtype.h"
#include "support/counting_allocator.h"
#include "support/test.h"

static void test_tensor_create(void **state)
{
    /* On both sides of where the elements get an allocation of their own. */
    static const int64_t sizes[] = {0, 1, 15, 1023, 1024, 1025, 100000};
    for (int dtype = TC_F32; dtype <= TC_BOOL; dtype++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            tc_tensor *tensor;
            assert_ok(tc_tensor_create((tc_dtype)dtype, TC_SHAPE(sizes[i], 2), &tensor));
            assert_int_equal(tc_tensor_dtype(tensor), dtype);
            assert_int_equal(tc_tensor_size(tensor), 2 * sizes[i]);
            size_t bytes = (size_t)sizes[i] * 2 * tc_dtype_size((tc_dtype)dtype);
            assert_int_equal(tc_tensor_bytes(tensor), bytes);
            assert_int_equal(tc_tensor_shape(tensor)->rank, 2);
            assert_int_equal(tc_tensor_shape(tensor)->dims[0].size, sizes[i]);
            assert_non_null(tc_tensor_data(tensor)); /* empty ones too */
            assert_int_equal((uintptr_t)tc_tensor_data(tensor) % TC_ALIGNMENT, 0);
            memset(tc_tensor_data(tensor), 1, bytes);
            assert_true(tc_tensor_is_unique(tensor));
            assert_false(tc_tensor_is_read_only(tensor));
            tc_tensor_release(tensor);
        }
}

static void test_tensor_create_refuses(void **state)
{
    static const struct {
        tc_dtype dtype;
        tc_shape shape;
        tc_status status;
        const char *message;
    } cases[] = {
        {TC_DTYPE_INVALID, {0}, TC_INVALID_ARGUMENT, "0 is not"},
        {(tc_dtype)77, {0}, TC_INVALID_ARGUMENT, "77 is not"},
        {TC_C64, {0}, TC_INVALID_ARGUMENT, "c64"},
        {TC_STRING, {0}, TC_INVALID_ARGUMENT, "string"},
        {TC_F32, {.rank = -1}, TC_INVALID_ARGUMENT, "rank"},
        {TC_F32, {.rank = 9}, TC_INVALID_ARGUMENT, "rank"},
        {TC_F32, {1, {{-1, "batch"}}}, TC_INVALID_ARGUMENT, "[batch]"},
        {TC_F32, {2, {{3, NULL}, {-1, NULL}}}, TC_INVALID_ARGUMENT, "[3, ?]"},
        {TC_F32, {1, {{-7, NULL}}}, TC_INVALID_ARGUMENT, "-7"},
        {TC_U8, {2, {{1ll << 40, NULL}, {1ll << 40, NULL}}}, TC_INVALID_ARGUMENT, "64 bits"},
        {TC_U8, {3, {{1ll << 40, NULL}, {1ll << 40, NULL}, {0, NULL}}}, TC_INVALID_ARGUMENT, "64"},
        {TC_F64, {1, {{INT64_MAX, NULL}}}, TC_RESOURCE_EXHAUSTED, "too large"},
        {TC_U8, {1, {{INT64_MAX, NULL}}}, TC_RESOURCE_EXHAUSTED, "too large"},
        {TC_F32, {1, {{1ll << 50, NULL}}}, TC_RESOURCE_EXHAUSTED, "4503599627370496 bytes"},
    };
    counting_allocator_install();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tc_tensor *tensor = (tc_tensor *)state;
        assert_status(tc_tensor_create(cases[i].dtype, cases[i].shape, &tensor), cases[i].status);
        assert_error_contains(cases[i].message);
        assert_null(tensor);
        if (i + 1 == sizeof cases / sizeof cases[0])
            break; /* fine but for the memory */
        int element = 0;
        tensor = (tc_tensor *)state;
        assert_status(tc_tensor_wrap(cases[i].dtype, cases[i].shape, &element, NULL, NULL, &tensor),
                      cases[i].status);
        assert_null(tensor);
    }
    assert_status(tc_tensor_create(TC_F32, TC_SCALAR, NULL), TC_INVALID_ARGUMENT);
    counting_allocator_remove();
}

static void test_tensor_create_copy(void **state)
{
    int32_t numbers[] = {1, 2, 3, 4, 5, 6};
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_copy(TC_I32, TC_SHAPE(2, 3), numbers, &tensor));
    assert_memory_equal(tc_tensor_data(tensor), numbers, sizeof numbers);
    numbers[0] = 9;
    assert_true(tc_tensor_get(tensor, 0) == 1);
    tc_tensor_release(tensor);
    assert_status(tc_tensor_create_copy(TC_I32, TC_SHAPE(2), NULL, &tensor), TC_INVALID_ARGUMENT);
    assert_null(tensor);
    assert_ok(tc_tensor_create_copy(TC_I32, TC_SHAPE(0), NULL, &tensor));
    tc_tensor_release(tensor);
    assert_ok(tc_tensor_create_zero(TC_I64, TC_SHAPE(1000), &tensor));
    for (int64_t i = 0; i < 1000; i++)
        assert_true(tc_tensor_get(tensor, i) == 0);
    tc_tensor_release(tensor);
}

static void count_call(void *context)
{
    ++*(int *)context;
}

static void test_tensor_wrap(void **state)
{
    float numbers[] = {1, 2, 3, 4};
    int deleted = 0;
    tc_tensor *tensor;
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(2, 2), numbers, count_call, &deleted, &tensor));
    assert_ptr_equal(tc_tensor_data(tensor), numbers);
    assert_ptr_equal(tc_tensor_retain(tensor), tensor);
    assert_false(tc_tensor_is_unique(tensor));
    tc_tensor_release(tensor);
    assert_int_equal(deleted, 0);
    tc_tensor_release(tensor);
    assert_int_equal(deleted, 1);

    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(4), numbers, NULL, NULL, &tensor));
    tc_tensor_release(tensor);
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(4, 0), NULL, count_call, &deleted, &tensor));
    assert_non_null(tc_tensor_data(tensor));
    tc_tensor_release(tensor);
    assert_int_equal(deleted, 2);
}

static void test_tensor_wrap_refuses_without_deleting(void **state)
{
    float numbers[4];
    int deleted = 0;
    tc_tensor *tensor;
    assert_status(tc_tensor_wrap(TC_F32, TC_SHAPE(4), NULL, count_call, &deleted, &tensor),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("NULL");
    assert_status(
        tc_tensor_wrap(TC_F32, TC_SHAPE(2), (char *)numbers + 2, count_call, &deleted, &tensor),
        TC_INVALID_ARGUMENT);
    assert_error_contains("aligned");
    assert_ok(tc_tensor_wrap(TC_F16, TC_SHAPE(2), (char *)numbers + 2, NULL, NULL, &tensor));
    tc_tensor_release(tensor);
    assert_status(tc_tensor_wrap(TC_F32, TC_SHAPE(-1), numbers, count_call, &deleted, &tensor),
                  TC_INVALID_ARGUMENT);
    assert_status(tc_tensor_wrap(TC_F32, TC_SHAPE(4), numbers, count_call, &deleted, NULL),
                  TC_INVALID_ARGUMENT);
    counting_allocator_install();
    counting_allocator_fail_at(0);
    assert_status(tc_tensor_wrap(TC_F32, TC_SHAPE(4), numbers, count_call, &deleted, &tensor),
                  TC_RESOURCE_EXHAUSTED);
    assert_null(tensor);
    counting_allocator_remove();
    assert_int_equal(deleted, 0);
}

static void test_tensor_null(void **state)
{
    assert_null(tc_tensor_retain(NULL));
    tc_tensor_release(NULL);
    assert_int_equal(tc_tensor_dtype(NULL), TC_DTYPE_INVALID);
    assert_int_equal(tc_tensor_shape(NULL)->rank, -1);
    assert_int_equal(tc_tensor_size(NULL), 0);
    assert_int_equal(tc_tensor_bytes(NULL), 0);
    assert_null(tc_tensor_data(NULL));
    assert_true(tc_tensor_get(NULL, 0) == 0);
    assert_status(tc_tensor_set(NULL, 0, 1), TC_INVALID_ARGUMENT);
    tc_tensor *out = (tc_tensor *)state;
    assert_status(tc_tensor_reshape(NULL, TC_SCALAR, &out), TC_INVALID_ARGUMENT);
    assert_null(out);
}

static void test_tensor_reshape(void **state)
{
    counting_allocator_install();
    float numbers[6] = {0, 1, 2, 3, 4, 5};
    int deleted = 0;
    tc_tensor *tensor, *flat, *tall;
    assert_ok(tc_tensor_wrap(TC_F32, TC_SHAPE(2, 3), numbers, count_call, &deleted, &tensor));
    assert_ok(tc_tensor_reshape(tensor, TC_SHAPE(6), &flat));
    assert_ok(tc_tensor_reshape(flat, TC_SHAPE(3, 1, 2), &tall));
    assert_ptr_equal(tc_tensor_data(tall), numbers);
    assert_int_equal(tc_tensor_shape(tall)->rank, 3);
    assert_int_equal(tc_tensor_shape(tensor)->rank, 2);
    assert_false(tc_tensor_is_unique(tensor));
    assert_false(tc_tensor_is_unique(flat));
    tc_tensor_release(tensor); /* the views keep the storage */
    tc_tensor_release(flat);
    assert_int_equal(deleted, 0);
    assert_true(tc_tensor_is_unique(tall));
    assert_true(tc_tensor_get(tall, 5) == 5);

    assert_status(tc_tensor_reshape(tall, TC_SHAPE(5), &flat), TC_INVALID_ARGUMENT);
    assert_error_contains("[3, 1, 2] to [5]: they have 6 and 5 elements");
    assert_null(flat);
    assert_status(tc_tensor_reshape(tall, TC_SHAPE(-1), &flat), TC_INVALID_ARGUMENT);
    assert_status(tc_tensor_reshape(tall, TC_SHAPE(6), NULL), TC_INVALID_ARGUMENT);
    tc_tensor_release(tall);
    assert_int_equal(deleted, 1);
    counting_allocator_remove();
}

static void test_tensor_get_and_set(void **state)
{
    for (int dtype = TC_F32; dtype <= TC_BOOL; dtype++) {
        tc_tensor *tensor;
        assert_ok(tc_tensor_create_zero((tc_dtype)dtype, TC_SHAPE(2, 2), &tensor));
        assert_ok(tc_tensor_set(tensor, 3, 1));
        assert_ok(tc_tensor_set(tensor, 1, dtype == TC_BOOL ? 1 : 100));
        assert_true(tc_tensor_get(tensor, 3) == 1);
        assert_true(tc_tensor_get(tensor, 1) == (dtype == TC_BOOL ? 1 : 100));
        assert_true(tc_tensor_get(tensor, 0) == 0 && tc_tensor_get(tensor, 2) == 0);
        assert_status(tc_tensor_set(tensor, 4, 1), TC_OUT_OF_RANGE);
        assert_error_contains("element 4 of a tensor of 4");
        assert_status(tc_tensor_set(tensor, -1, 1), TC_OUT_OF_RANGE);
        assert_true(tc_tensor_get(tensor, 4) == 0 && tc_tensor_get(tensor, -1) == 0);
        tc_tensor_release(tensor);

        assert_ok(tc_tensor_create_scalar((tc_dtype)dtype, 1, &tensor));
        assert_int_equal(tc_tensor_shape(tensor)->rank, 0);
        assert_true(tc_tensor_get(tensor, 0) == 1);
        tc_tensor_release(tensor);
    }
    tc_tensor *scalar;
    assert_ok(tc_tensor_create_scalar(TC_BF16, -INFINITY, &scalar));
    assert_true(tc_tensor_get(scalar, 0) == -INFINITY);
    tc_tensor_release(scalar);
    assert_status(tc_tensor_create_scalar(TC_I4, 1, &scalar), TC_INVALID_ARGUMENT);
    assert_null(scalar);
}

static void test_tensor_read_only(void **state)
{
    static const double numbers[] = {1, 2};
    tc_tensor *tensor, *view;
    assert_ok(tc_tensor_wrap_read_only(TC_F64, TC_SHAPE(2), numbers, NULL, NULL, &tensor));
    assert_ok(tc_tensor_reshape(tensor, TC_SHAPE(2, 1), &view));
    assert_true(tc_tensor_is_read_only(tensor) && tc_tensor_is_read_only(view));
    assert_status(tc_tensor_set(view, 0, 5), TC_INVALID_ARGUMENT);
    assert_error_contains("read-only");
    assert_true(tc_tensor_get(view, 1) == 2);
    tc_tensor_release(view);
    tc_tensor_release(tensor);
}

static tc_status small_and_large(void *context)
{
    static const float numbers[5000];
    tc_tensor *tensors[4] = {0};
    (void)context;
    tc_status status = tc_tensor_create_copy(TC_F32, TC_SHAPE(5), numbers, &tensors[0]);
    if (status == TC_OK)
        status = tc_tensor_create_copy(TC_F32, TC_SHAPE(5000), numbers, &tensors[1]);
    if (status == TC_OK)
        status = tc_tensor_create_scalar(TC_F32, 3, &tensors[2]);
    if (status == TC_OK)
        status = tc_tensor_reshape(tensors[1], TC_SHAPE(50, 100), &tensors[3]);
    for (int i = 0; i < 4; i++)
        tc_tensor_release(tensors[i]);
    return status;
}

static void test_tensor_exhausted(void **state)
{
    counting_allocator_install();
    /* One allocation for a small tensor, two for a large one, one for a view. */
    assert_int_equal(counting_allocator_sweep(small_and_large, NULL), 5);
    counting_allocator_remove();
}

static void *retain_and_release(void *argument)
{
    for (int i = 0; i < 10000; i++)
        tc_tensor_release(tc_tensor_retain(argument));
    tc_tensor_release(argument);
    return NULL;
}

static void test_tensor_references_from_many_threads(void **state)
{
    int number = 0, deleted = 0;
    tc_tensor *tensor;
    assert_ok(tc_tensor_wrap(TC_I32, TC_SCALAR, &number, count_call, &deleted, &tensor));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, retain_and_release, tc_tensor_retain(tensor)), 0);
    tc_tensor_release(tensor);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(deleted, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensor_create),
        cmocka_unit_test(test_tensor_create_refuses),
        cmocka_unit_test(test_tensor_create_copy),
        cmocka_unit_test(test_tensor_wrap),
        cmocka_unit_test(test_tensor_wrap_refuses_without_deleting),
        cmocka_unit_test(test_tensor_null),
        cmocka_unit_test(test_tensor_reshape),
        cmocka_unit_test(test_tensor_get_and_set),
        cmocka_unit_test(test_tensor_read_only),
        cmocka_unit_test(test_tensor_exhausted),
        cmocka_unit_test(test_tensor_references_from_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
