#include "base/status.h"

#include <pthread.h>

#include "support/test.h"

static void test_status_names(void **state)
{
    assert_string_equal(tc_status_name(TC_OK), "OK");
    assert_string_equal(tc_status_name(TC_INVALID_ARGUMENT), "INVALID_ARGUMENT");
    assert_string_equal(tc_status_name(TC_DATA_LOSS), "DATA_LOSS");
    assert_string_equal(tc_status_name((tc_status)16), "UNKNOWN");
    assert_string_equal(tc_status_name((tc_status)-1), "UNKNOWN");
    for (int i = 0; i <= TC_DATA_LOSS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(tc_status_name((tc_status)i), tc_status_name((tc_status)j));
}

static void test_status_records_one_sentence(void **state)
{
    tc_error_take(NULL, 0);
    assert_string_equal(tc_error_message(), "");
    assert_status(tc_fail(TC_NOT_FOUND, "no file %s in %d folders", "a.txt", 3), TC_NOT_FOUND);
    assert_string_equal(tc_error_message(), "no file a.txt in 3 folders");
    assert_status(tc_fail_memory(123, "a graph"), TC_RESOURCE_EXHAUSTED);
    assert_error_contains("123 bytes for a graph");
}

static void test_status_take_clears(void **state)
{
    char buffer[32];
    tc_fail(TC_ABORTED, "stopped");
    assert_int_equal(tc_error_take(buffer, sizeof buffer), TC_ABORTED);
    assert_string_equal(buffer, "stopped");
    assert_string_equal(tc_error_message(), "");
    assert_int_equal(tc_error_take(buffer, sizeof buffer), TC_OK);
    assert_string_equal(buffer, "");
}

static void test_status_take_cuts(void **state)
{
    char buffer[8];
    tc_fail(TC_ABORTED, "0123456");
    tc_error_take(buffer, sizeof buffer);
    assert_string_equal(buffer, "0123456");
    tc_fail(TC_ABORTED, "01234567");
    tc_error_take(buffer, sizeof buffer);
    assert_string_equal(buffer, "0123...");
    tc_fail(TC_ABORTED, "012\u00e9\u00e9\u00e9");
    tc_error_take(buffer, sizeof buffer);
    assert_string_equal(buffer, "012..."); /* not half of a character */
    tc_fail(TC_ABORTED, "0123");
    tc_error_take(buffer, 1);
    assert_string_equal(buffer, "");
    tc_fail(TC_ABORTED, "0123");
    buffer[0] = 'x';
    assert_int_equal(tc_error_take(buffer, 0), TC_ABORTED);
    assert_int_equal(buffer[0], 'x');
}

static void test_status_cuts_long_messages(void **state)
{
    char text[3 * TC_ERROR_MESSAGE_SIZE];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    tc_fail(TC_INTERNAL, "%s", text);
    assert_int_equal(strlen(tc_error_message()), TC_ERROR_MESSAGE_SIZE - 1);
    assert_string_equal(tc_error_message() + TC_ERROR_MESSAGE_SIZE - 4, "...");
    tc_fail(TC_INTERNAL, "%.*s", TC_ERROR_MESSAGE_SIZE - 1, text); /* just fits */
    assert_int_equal(strlen(tc_error_message()), TC_ERROR_MESSAGE_SIZE - 1);
    assert_null(strstr(tc_error_message(), "."));
    tc_fail_prefix(TC_INTERNAL, "%s", text);
    assert_int_equal(strlen(tc_error_message()), TC_ERROR_MESSAGE_SIZE - 1);
    tc_fail_saved(TC_INTERNAL, text);
    assert_int_equal(strlen(tc_error_message()), TC_ERROR_MESSAGE_SIZE - 1);
}

static void test_status_prefix(void **state)
{
    tc_fail(TC_INVALID_ARGUMENT, "size is 0");
    assert_status(tc_fail_prefix(TC_INVALID_ARGUMENT, "node '%s': ", "conv"), TC_INVALID_ARGUMENT);
    assert_string_equal(tc_error_message(), "node 'conv': size is 0");
    assert_status(tc_fail_prefix(TC_DATA_LOSS, "file: "), TC_DATA_LOSS);
    assert_string_equal(tc_error_message(), "file: node 'conv': size is 0");
    assert_int_equal(tc_error_take(NULL, 0), TC_DATA_LOSS);
    tc_fail_prefix(TC_INTERNAL, "alone");
    assert_string_equal(tc_error_message(), "alone");
}

static void test_status_message_as_argument(void **state)
{
    tc_fail(TC_INTERNAL, "inner");
    tc_fail(TC_INTERNAL, "%s, again %s", tc_error_message(), tc_error_message());
    assert_string_equal(tc_error_message(), "inner, again inner");
    tc_fail_prefix(TC_INTERNAL, "<%s> ", tc_error_message());
    assert_string_equal(tc_error_message(), "<inner, again inner> inner, again inner");
    tc_fail_saved(TC_INTERNAL, tc_error_message());
    assert_string_equal(tc_error_message(), "<inner, again inner> inner, again inner");
}

static void test_status_saved(void **state)
{
    assert_status(tc_fail_saved(TC_ABORTED, "kept %s"), TC_ABORTED);
    assert_string_equal(tc_error_message(), "kept %s");
    assert_status(tc_fail_saved(TC_ABORTED, NULL), TC_ABORTED);
    assert_string_equal(tc_error_message(), "");
}

static void *other_thread(void *argument)
{
    bool clean = tc_error_message()[0] == 0;
    tc_fail(TC_CANCELLED, "from the other thread");
    return clean ? argument : NULL;
}

static void test_status_is_per_thread(void **state)
{
    tc_fail(TC_INTERNAL, "from here");
    pthread_t thread;
    void *result;
    int token;
    assert_int_equal(pthread_create(&thread, NULL, other_thread, &token), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, &token);
    assert_string_equal(tc_error_message(), "from here");
}

static tc_status twice(tc_status status, int *evaluations)
{
    TC_TRY((++*evaluations, status));
    TC_TRY((++*evaluations, TC_OK));
    return TC_OK;
}

static void test_status_try(void **state)
{
    int evaluations = 0;
    assert_status(twice(TC_UNKNOWN, &evaluations), TC_UNKNOWN);
    assert_int_equal(evaluations, 1);
    assert_ok(twice(TC_OK, &evaluations));
    assert_int_equal(evaluations, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_names),
        cmocka_unit_test(test_status_records_one_sentence),
        cmocka_unit_test(test_status_take_clears),
        cmocka_unit_test(test_status_take_cuts),
        cmocka_unit_test(test_status_cuts_long_messages),
        cmocka_unit_test(test_status_prefix),
        cmocka_unit_test(test_status_message_as_argument),
        cmocka_unit_test(test_status_saved),
        cmocka_unit_test(test_status_is_per_thread),
        cmocka_unit_test(test_status_try),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
