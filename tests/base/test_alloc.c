#include "base/alloc.h"

#include "support/counting_allocator.h"
#include "support/test.h"

static void test_alloc_alignment(void **state)
{
    for (size_t size = 0; size < 300; size += 7) {
        void *memory = tc_alloc(size);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 1, size);
        tc_free(memory);
        for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
            memory = tc_alloc_aligned(size, alignment);
            assert_non_null(memory);
            assert_int_equal((uintptr_t)memory % alignment, 0);
            memset(memory, 1, size);
            tc_free(memory);
        }
    }
    tc_free(NULL);
}

static void test_alloc_zero(void **state)
{
    unsigned char *memory = tc_alloc_zero(10, 100);
    assert_non_null(memory);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(memory[i], 0);
    tc_free(memory);
    memory = tc_alloc_zero(0, 0);
    assert_non_null(memory);
    tc_free(memory);
}

static void test_alloc_overflow(void **state)
{
    assert_null(tc_alloc_zero(SIZE_MAX, 2));
    assert_null(tc_alloc_zero(SIZE_MAX / 2 + 1, 2));
    volatile size_t huge = SIZE_MAX; /* hidden from the compiler, which knows that it cannot be */
    assert_null(tc_alloc_aligned(huge, 64));
    size_t out = 7;
    assert_false(tc_mul_size(SIZE_MAX, 2, &out));
    assert_false(tc_add_size(SIZE_MAX, 1, &out));
    assert_int_equal(out, 7);
    assert_true(tc_mul_size(6, 7, &out));
    assert_int_equal(out, 42);
    assert_true(tc_add_size(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    int64_t product = 1;
    assert_false(tc_mul_i64(INT64_MIN, -1, &product));
    assert_int_equal(product, 1);
    assert_true(tc_mul_i64(-3, 5, &product));
    assert_int_equal(product, -15);
    assert_int_equal(tc_align_up(0, 64), 0);
    assert_int_equal(tc_align_up(1, 64), 64);
    assert_int_equal(tc_align_up(64, 64), 64);
}

static void test_alloc_realloc(void **state)
{
    char *text = tc_strdup("hello");
    assert_string_equal(text, "hello");
    text = tc_realloc(text, 6, 100);
    assert_string_equal(text, "hello");
    tc_free(text);
    text = tc_realloc(NULL, 0, 10);
    assert_non_null(text);
    tc_free(text);

    counting_allocator_install();
    text = tc_strdup("kept");
    counting_allocator_fail_at(0);
    assert_null(tc_realloc(text, 5, 100));
    assert_string_equal(text, "kept");
    tc_free(text);
    counting_allocator_fail_at(0);
    assert_null(tc_strdup("none"));
    counting_allocator_remove();
}

static void test_alloc_replaced(void **state)
{
    counting_allocator_install();
    int *zeros = tc_alloc_zero(25, sizeof *zeros);
    assert_non_null(zeros);
    for (int i = 0; i < 25; i++)
        assert_int_equal(zeros[i], 0);
    assert_int_equal(counting_allocator_live_blocks(), 1);
    assert_int_equal(counting_allocator_live_bytes(), 100);

    /* An incomplete allocator is refused, the one in use stays. */
    tc_error_take(NULL, 0);
    tc_allocator_set(&(tc_allocator){NULL, NULL, NULL});
    assert_error_contains("tc_allocator_set");
    tc_free(zeros);
    assert_int_equal(counting_allocator_live_blocks(), 0);
    assert_int_equal(counting_allocator_peak_bytes(), 100);
    assert_int_equal(counting_allocator_total(), 1);
    counting_allocator_remove();

    void *memory = tc_alloc(10); /* the default again */
    assert_int_equal(counting_allocator_total(), 1);
    tc_free(memory);
}

typedef struct point {
    double x, y, z;
} point;

static void test_alloc_vector(void **state)
{
    counting_allocator_install();
    TC_VECTOR(point) points = {0};
    for (int i = 0; i < 1000; i++)
        assert_true(tc_vector_push(&points, ((point){i, 2.0 * i, 3.0 * i})));
    assert_int_equal(points.count, 1000);
    assert_true(points.capacity >= 1000);
    assert_true(counting_allocator_total() < 12); /* grows by doubling */
    for (int i = 0; i < 1000; i++)
        assert_true(points.data[i].z == 3.0 * i);

    assert_true(tc_vector_reserve(&points, 3000));
    int64_t total = counting_allocator_total();
    while (points.count < 3000)
        assert_true(tc_vector_push(&points, (point){0}));
    assert_int_equal(counting_allocator_total(), total);

    size_t capacity = points.capacity;
    counting_allocator_fail_at(0);
    assert_false(tc_vector_reserve(&points, capacity + 1));
    assert_false(tc_vector_reserve(&points, SIZE_MAX / 8));
    assert_false(tc_vector_reserve(&points, SIZE_MAX));
    assert_int_equal(points.capacity, capacity);
    assert_int_equal(points.count, 3000);
    assert_true(points.data[999].z == 2997.0);
    tc_vector_free(&points);
    assert_null(points.data);
    assert_int_equal(points.count, 0);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_alignment), cmocka_unit_test(test_alloc_zero),
        cmocka_unit_test(test_alloc_overflow),  cmocka_unit_test(test_alloc_realloc),
        cmocka_unit_test(test_alloc_replaced),  cmocka_unit_test(test_alloc_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
