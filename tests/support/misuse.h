/*
 * For tests of bad use: every mistake must give a status and a sentence, and nothing may crash or
 * stay allocated.
 */
#ifndef TC_TEST_SUPPORT_MISUSE_H
#define TC_TEST_SUPPORT_MISUSE_H

#include <tensorc/tensorc.h>

#include "counting_allocator.h"
#include "test.h"

/* The last status and that it came with a sentence. */
static inline void misuse_refused(tc_status status, tc_status expected, const char *call,
                                  const char *file, int line)
{
    char text[64];
    test_status_check(status, expected, call, file, line);
    if (!tc_error_message()[0]) {
        print_error("%s fails without a message\n", call);
        _fail(file, line);
    }
    assert_int_equal(tc_error_take(text, sizeof text), expected);
}

#define refuses(call, status) misuse_refused((call), (status), #call, __FILE__, __LINE__)
#define invalid(call)         refuses(call, TC_INVALID_ARGUMENT)

static const tc_shape bad_shapes[] = {
    {.rank = -1},
    {.rank = TC_MAX_RANK + 1},
    {.rank = INT32_MAX},
    {.rank = 1, .dims = {{-2, NULL}}},
};
#define BAD_SHAPES (sizeof bad_shapes / sizeof bad_shapes[0])

static const tc_dtype bad_dtypes[] = {TC_DTYPE_INVALID, TC_STRING, TC_I4, TC_DTYPE_COUNT,
                                      (tc_dtype)1000000};
#define BAD_DTYPES (sizeof bad_dtypes / sizeof bad_dtypes[0])

static inline int misuse_set_up(void **state)
{
    (void)state;
    counting_allocator_install();
    return 0;
}

/* Fails when anything is left. */
static inline int misuse_tear_down(void **state)
{
    (void)state;
    counting_allocator_remove();
    return 0;
}

#define MISUSE(test) cmocka_unit_test_setup_teardown(test, misuse_set_up, misuse_tear_down)

#endif
