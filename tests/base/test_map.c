#include "base/map.h"

#include "support/counting_allocator.h"
#include "support/test.h"

/* Values of the reference implementation of XXH64 for the first n bytes of (7 i + 3) mod 256. */
static void test_map_hash_is_xxh64(void **state)
{
    static const struct {
        size_t size;
        uint64_t hash, seeded;
    } known[] = {
        {0, 0xef46db3751d8e999, 0xac75fda2929b17ef},   {1, 0x1f25c8d0bc1f4bb6, 0x79cf94f5ace37fe1},
        {3, 0x31d2363f52e564c9, 0x96d2a5e583ddd738},   {4, 0x9bb64b7d66ee9fda, 0x4a862fbb4b73776e},
        {7, 0x9a7b149959ce60d8, 0xddc5cf71d37a6368},   {8, 0xdab99d95c6f90092, 0xc6e75e2cbd8e07ee},
        {15, 0x1b47cb8243cc8e32, 0x8120a1eda8ac77da},  {31, 0xa2aa5f33cc4a6119, 0x381822f33376d6b6},
        {32, 0x23c3c17ef790fd97, 0x9abd315470ac276a},  {33, 0x50a7cfc7ba588784, 0x72cdd3262f467933},
        {63, 0x5e3e54b431c7493c, 0x634da7d265979e61},  {64, 0x0eb64b3ef6eeb01f, 0xbcb3847d70525180},
        {100, 0xa61f8d4c170fe531, 0x86f549ede5ac87e2},
    };
    unsigned char data[101];
    for (size_t begin = 0; begin < 2; begin++) { /* any alignment */
        for (size_t i = 0; i < 100; i++)
            data[begin + i] = (unsigned char)(7 * i + 3);
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
            assert_true(tc_hash_bytes(data + begin, known[i].size, 0) == known[i].hash);
            assert_true(tc_hash_bytes(data + begin, known[i].size, 0x9E3779B1) == known[i].seeded);
        }
    }
    assert_true(tc_hash_string("relu") == 0x51636c525419c018);
}

static void test_map_hash_combine(void **state)
{
    assert_true(tc_hash_combine(1, 2) != tc_hash_combine(2, 1));
    assert_true(tc_hash_combine(0, 0) != 0);
    assert_true(tc_hash_combine(0, 1) != tc_hash_combine(1, 0));
    /* The value is stored in files: it may not change. */
    assert_true(tc_hash_combine(1, 2) == 0xf41807b003f7536c);
    uint64_t seen[64];
    for (uint64_t i = 0; i < 64; i++) {
        seen[i] = tc_hash_combine(i, 5);
        for (uint64_t j = 0; j < i; j++)
            assert_true(seen[i] != seen[j]);
    }
}

static void test_map_strings(void **state)
{
    counting_allocator_install();
    tc_map map = {0};
    assert_null(tc_map_find_string(&map, "a"));
    assert_int_equal(counting_allocator_total(), 0);
    char keys[2000][24];
    for (int i = 0; i < 2000; i++) {
        snprintf(keys[i], sizeof keys[i], "node_%d", i);
        assert_true(tc_map_put_string(&map, keys[i], (uint64_t)i * 3));
    }
    assert_int_equal(map.count, 2000);
    for (int i = 0; i < 2000; i++) {
        char copy[24];
        snprintf(copy, sizeof copy, "node_%d", i);
        uint64_t *value = tc_map_find_string(&map, copy);
        assert_non_null(value);
        assert_int_equal(*value, i * 3);
        assert_ptr_equal(map.entries[i].key, keys[i]); /* insertion order, keys borrowed */
    }
    assert_null(tc_map_find_string(&map, "node_2000"));
    assert_null(tc_map_find_string(&map, "node_"));
    assert_true(tc_map_put_string(&map, "node_7", 99)); /* overwrites */
    assert_int_equal(map.count, 2000);
    assert_int_equal(*tc_map_find_string(&map, "node_7"), 99);
    *tc_map_find_string(&map, "node_7") += 1;
    assert_int_equal(*tc_map_find_string(&map, "node_7"), 100);
    tc_map_free(&map);
    assert_int_equal(map.count, 0);
    assert_null(tc_map_find_string(&map, "node_7"));
    counting_allocator_remove();
}

static void test_map_bytes(void **state)
{
    tc_map map = {0};
    int64_t numbers[100];
    for (int64_t i = 0; i < 100; i++) {
        numbers[i] = i << 40;
        assert_true(tc_map_put(&map, &numbers[i], sizeof numbers[i], (uint64_t)i));
    }
    int64_t key = (int64_t)42 << 40;
    assert_int_equal(*tc_map_find(&map, &key, sizeof key), 42);
    assert_null(tc_map_find(&map, &key, 4)); /* another size is another key */
    assert_true(tc_map_put(&map, NULL, 0, 1234));
    assert_int_equal(*tc_map_find(&map, "", 0), 1234);
    assert_int_equal(*tc_map_find_string(&map, ""), 1234);
    tc_map_free(&map);
}

static void test_map_exhausted(void **state)
{
    static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                       "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"};
    counting_allocator_install();
    for (int64_t n = 0;; n++) {
        counting_allocator_fail_at(n);
        tc_map map = {0};
        size_t inserted = 0;
        while (inserted < 20 && tc_map_put_string(&map, keys[inserted], inserted))
            inserted++;
        bool failed = counting_allocator_failed();
        assert_int_equal(inserted < 20, failed);
        assert_int_equal(map.count, inserted);
        for (size_t i = 0; i < 20; i++) { /* as before the failure, and usable again */
            uint64_t *value = tc_map_find_string(&map, keys[i]);
            assert_int_equal(value != NULL, i < inserted);
            if (value)
                assert_int_equal(*value, i);
        }
        assert_true(tc_map_put_string(&map, "z", 26));
        tc_map_free(&map);
        assert_int_equal(counting_allocator_live_blocks(), 0);
        if (!failed)
            break;
    }
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_hash_is_xxh64), cmocka_unit_test(test_map_hash_combine),
        cmocka_unit_test(test_map_strings),       cmocka_unit_test(test_map_bytes),
        cmocka_unit_test(test_map_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
