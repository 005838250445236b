#include "base/arena.h"

#include "base/alloc.h"
#include "support/counting_allocator.h"
#include "support/test.h"

static bool all_zero(const unsigned char *memory, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (memory[i])
            return false;
    return true;
}

static void test_arena_zeroed_aligned_disjoint(void **state)
{
    counting_allocator_install();
    tc_arena arena = {0};
    struct {
        unsigned char *memory;
        size_t size;
    } blocks[3000];
    for (size_t i = 0; i < 3000; i++) {
        size_t alignment = (size_t)1 << i % 7;
        blocks[i].size = i * 37 % 500;
        blocks[i].memory = tc_arena_alloc_aligned(&arena, blocks[i].size, alignment);
        assert_non_null(blocks[i].memory);
        assert_int_equal((uintptr_t)blocks[i].memory % alignment, 0);
        assert_true(all_zero(blocks[i].memory, blocks[i].size));
        memset(blocks[i].memory, (int)(i % 251), blocks[i].size);
    }
    for (size_t i = 0; i < 3000; i++)
        for (size_t j = 0; j < blocks[i].size; j++)
            assert_int_equal(blocks[i].memory[j], i % 251);
    assert_int_equal(arena.bytes, counting_allocator_live_bytes());
    assert_true(counting_allocator_live_blocks() < 12); /* blocks double in size */
    tc_arena_free(&arena);
    assert_null(arena.blocks);
    assert_int_equal(arena.bytes, 0);
    tc_arena_free(&arena);
    counting_allocator_remove();
}

static void test_arena_large_requests(void **state)
{
    counting_allocator_install();
    tc_arena arena = {0};
    char *first = tc_arena_alloc(&arena, 100);
    char *large = tc_arena_alloc(&arena, (size_t)5 << 20);
    char *second = tc_arena_alloc(&arena, 100);
    assert_non_null(large);
    assert_true(all_zero((unsigned char *)large, (size_t)5 << 20));
    assert_int_equal(second - first, 112); /* the block before the large one goes on being filled */
    assert_int_equal(counting_allocator_live_blocks(), 2);
    for (int i = 0; i < 5000; i++)
        assert_non_null(tc_arena_alloc(&arena, 1000));
    assert_true(arena.bytes < ((size_t)12 << 20)); /* the size of blocks is bounded */
    tc_arena_free(&arena);
    assert_non_null(tc_arena_alloc(&arena, (size_t)1 << 22)); /* large as the first of all */
    assert_non_null(tc_arena_alloc(&arena, 10));
    tc_arena_free(&arena);
    counting_allocator_remove();
}

static void test_arena_empty_requests(void **state)
{
    tc_arena arena = {0};
    assert_non_null(tc_arena_alloc(&arena, 0));
    assert_non_null(tc_arena_array(&arena, 0, 8));
    assert_non_null(tc_arena_memdup(&arena, NULL, 0));
    assert_string_equal(tc_arena_strndup(&arena, NULL, 0), "");
    tc_arena_free(&arena);
}

static void test_arena_copies(void **state)
{
    tc_arena arena = {0};
    assert_string_equal(tc_arena_strdup(&arena, "dense/kernel"), "dense/kernel");
    assert_string_equal(tc_arena_strndup(&arena, "dense/kernel", 5), "dense");
    int numbers[] = {1, 2, 3};
    int *copy = tc_arena_memdup(&arena, numbers, sizeof numbers);
    assert_memory_equal(copy, numbers, sizeof numbers);
    tc_arena_free(&arena);
}

static void test_arena_overflow(void **state)
{
    tc_arena arena = {0};
    assert_null(tc_arena_array(&arena, SIZE_MAX, 2));
    assert_null(tc_arena_alloc(&arena, SIZE_MAX));
    assert_null(tc_arena_alloc(&arena, SIZE_MAX - 16));
    assert_null(tc_arena_strndup(&arena, "", SIZE_MAX));
    assert_non_null(tc_arena_alloc(&arena, 1));
    assert_null(tc_arena_alloc(&arena, SIZE_MAX - 64));
    tc_arena_free(&arena);
}

static void test_arena_exhausted(void **state)
{
    counting_allocator_install();
    tc_arena arena = {0};
    counting_allocator_fail_at(0);
    assert_null(tc_arena_alloc(&arena, 8));
    assert_null(arena.blocks);
    char *kept = tc_arena_strdup(&arena, "kept");
    counting_allocator_fail_from(0);
    assert_null(tc_arena_alloc(&arena, 1 << 20));
    assert_non_null(tc_arena_alloc(&arena, 8)); /* what is left of the block can still be had */
    assert_string_equal(kept, "kept");
    counting_allocator_fail_at(-1);
    tc_arena_free(&arena);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arena_zeroed_aligned_disjoint),
        cmocka_unit_test(test_arena_large_requests),
        cmocka_unit_test(test_arena_empty_requests),
        cmocka_unit_test(test_arena_copies),
        cmocka_unit_test(test_arena_overflow),
        cmocka_unit_test(test_arena_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
