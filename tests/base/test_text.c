#include "base/text.h"

#include "support/counting_allocator.h"
#include "support/test.h"

static void test_text_append(void **state)
{
    tc_text text = {0};
    tc_text_append(&text, "%s", "");
    assert_string_equal(text.data, "");
    tc_text_append(&text, "%d, %s", 12, "x");
    assert_string_equal(text.data, "12, x");
    assert_int_equal(text.length, 5);
    /* Around every boundary of the capacity. */
    for (int i = 0; i < 300; i++)
        tc_text_append(&text, "%c", 'a' + i % 26);
    assert_int_equal(text.length, 305);
    assert_int_equal(text.data[304], 'a' + 299 % 26);
    char word[1000];
    memset(word, 'w', sizeof word);
    word[sizeof word - 1] = 0;
    tc_text_append(&text, "<%s>", word);
    assert_int_equal(text.length, 305 + 1001);
    assert_int_equal(strlen(text.data), text.length);
    assert_int_equal(text.data[text.length - 1], '>');
    assert_false(text.failed);
    tc_text_free(&text);
    assert_null(text.data);
    tc_text_append(&text, "again");
    assert_string_equal(text.data, "again");
    tc_text_free(&text);
}

static void check_json(const char *text, const char *expected)
{
    tc_text json = {0};
    tc_text_append_json(&json, text);
    assert_string_equal(json.data, expected);
    tc_text_free(&json);
}

static void test_text_json(void **state)
{
    check_json("", "\"\"");
    check_json("dense/kernel:0", "\"dense/kernel:0\"");
    check_json("a\"b\\c", "\"a\\\"b\\\\c\"");
    check_json("\n\t\r\x01\x1f\x7f", "\"\\n\\t\\r\\u0001\\u001f\\u007f\"");
    check_json("\u00e9\u20ac\U0001f600", "\"\u00e9\u20ac\U0001f600\"");
    /*
     * Malformed: a lone continuation, a cut character, an overlong one, a surrogate, beyond
     * U+10FFFF.
     */
    check_json("a\x80z", "\"a\\ufffdz\"");
    check_json("\xe2\x82", "\"\\ufffd\\ufffd\"");
    check_json("\xc0\xaf", "\"\\ufffd\\ufffd\"");
    check_json("\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\"");
    check_json("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");
    check_json("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
    check_json("\xf0\x9f\x98", "\"\\ufffd\\ufffd\\ufffd\"");
}

static void test_text_exhausted(void **state)
{
    counting_allocator_install();
    for (int64_t n = 0;; n++) {
        counting_allocator_fail_at(n);
        tc_text text = {0};
        tc_text_append(&text, "begin ");
        for (int i = 0; i < 100; i++)
            tc_text_append_json(&text, "0123456789");
        bool failed = counting_allocator_failed();
        assert_int_equal(text.failed, failed);
        size_t length = text.length;
        tc_text_append(&text, "x");
        assert_int_equal(text.length, failed ? length : length + 1); /* failure sticks */
        if (text.data)
            assert_int_equal(strlen(text.data), text.length);
        tc_text_free(&text);
        assert_int_equal(counting_allocator_live_blocks(), 0);
        if (!failed)
            break;
    }
    counting_allocator_remove();
}

static const char *const names[] = {"relu",   "relu6",  "softmax", "log_softmax",
                                    "conv2d", "matmul", ""};

static const char *name_at(const void *context, size_t i)
{
    return ((const char *const *)context)[i];
}

static const char *nearest(const char *name)
{
    return tc_text_nearest(name, sizeof names / sizeof names[0], name_at, names);
}

static void test_text_nearest(void **state)
{
    assert_string_equal(nearest("relu"), "relu");
    assert_string_equal(nearest("rleu"), "relu");
    assert_string_equal(nearest("RELU"), "relu");
    assert_string_equal(nearest("reLu66"), "relu6");
    assert_string_equal(nearest("sofmax"), "softmax");
    assert_string_equal(nearest("LogSoftmax"), "log_softmax");
    assert_string_equal(nearest("conv_2d"), "conv2d");
    assert_string_equal(nearest("matmull"), "matmul");
    assert_null(nearest("attention"));
    assert_null(nearest("x"));
    assert_null(nearest(""));
    assert_null(nearest(NULL));
    char lengthy[200];
    memset(lengthy, 'r', sizeof lengthy);
    lengthy[sizeof lengthy - 1] = 0;
    assert_null(nearest(lengthy));
    const char *only[] = {lengthy, NULL};
    assert_null(tc_text_nearest("rrrr", 2, name_at, only));
    assert_null(tc_text_nearest("relu", 0, name_at, names));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_append),
        cmocka_unit_test(test_text_json),
        cmocka_unit_test(test_text_exhausted),
        cmocka_unit_test(test_text_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
