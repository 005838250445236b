#include "base/crc32c.h"

#include "support/test.h"

/* RFC 3720, appendix B.4. */
static void test_crc32c_known_values(void **state)
{
    unsigned char data[32];
    memset(data, 0, sizeof data);
    assert_int_equal(tc_crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(tc_crc32c(0, data, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)i;
    assert_int_equal(tc_crc32c(0, data, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        data[i] = (unsigned char)(31 - i);
    assert_int_equal(tc_crc32c(0, data, 32), 0x113fdb5c);
    static const unsigned char read_command[48] = {
        0x01, 0xc0, 0, 0, 0, 0, 0,    0, 0,    0, 0, 0,    0, 0, 0, 0,
        0x14, 0,    0, 0, 0, 0, 0x04, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
        0x28, 0,    0, 0, 0, 0, 0,    0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    assert_int_equal(tc_crc32c(0, read_command, 48), 0xd9963a56);
    assert_int_equal(tc_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(tc_crc32c(0, NULL, 0), 0);
}

static void test_crc32c_portable_agrees(void **state)
{
    unsigned char data[300];
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof data; i++) {
        x = x * 1664525u + 1013904223u;
        data[i] = (unsigned char)(x >> 24);
    }
    for (size_t begin = 0; begin < 9; begin++)
        for (size_t size = 0; begin + size <= sizeof data; size++)
            assert_int_equal(tc_crc32c(x, data + begin, size),
                             tc_crc32c_portable(x, data + begin, size));
}

static void test_crc32c_continues(void **state)
{
    const char *text = "The quick brown fox jumps over the lazy dog";
    size_t size = strlen(text);
    uint32_t whole = tc_crc32c(0, text, size);
    for (size_t cut = 0; cut <= size; cut++) {
        uint32_t crc = tc_crc32c(0, text, cut);
        assert_int_equal(tc_crc32c(crc, text + cut, size - cut), whole);
        crc = tc_crc32c_portable(0, text, cut);
        assert_int_equal(tc_crc32c_portable(crc, text + cut, size - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_known_values),
        cmocka_unit_test(test_crc32c_portable_agrees),
        cmocka_unit_test(test_crc32c_continues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
