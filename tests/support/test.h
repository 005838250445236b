/*
 * What every test includes: CMocka with its prerequisites in the order it wants, and assertions
 * about statuses.
 */
#ifndef TC_TEST_SUPPORT_TEST_H
#define TC_TEST_SUPPORT_TEST_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/status.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

static inline void test_status_check(tc_status actual, tc_status expected, const char *expression,
                                     const char *file, int line)
{
    if (actual == expected)
        return;
    print_error("%s is %s instead of %s: %s\n", expression, tc_status_name(actual),
                tc_status_name(expected), tc_error_message());
    _fail(file, line);
}

/** Fails with the message of the thread's error record unless `expression` is TC_OK. */
#define assert_ok(expression) \
    test_status_check((expression), TC_OK, #expression, __FILE__, __LINE__)

/** Fails unless `expression` is `expected`. */
#define assert_status(expression, expected) \
    test_status_check((expression), (expected), #expression, __FILE__, __LINE__)

static inline void test_error_check(const char *text, const char *file, int line)
{
    if (strstr(tc_error_message(), text))
        return;
    print_error("the error is \"%s\", without \"%s\"\n", tc_error_message(), text);
    _fail(file, line);
}

/** Fails unless the message of the thread's error record contains `text`. */
#define assert_error_contains(text) test_error_check((text), __FILE__, __LINE__)

#define TEST_PATH_SIZE 1024

/** Creates an empty folder of its own below $TMPDIR (or /tmp) and writes its path. */
static inline void test_folder_create(char path[TEST_PATH_SIZE])
{
    const char *parent = getenv("TMPDIR");
    int length = snprintf(path, TEST_PATH_SIZE, "%s/tensorc-test-XXXXXX",
                          parent && parent[0] ? parent : "/tmp");
    assert_in_range(length, 1, TEST_PATH_SIZE - 1);
    assert_non_null(mkdtemp(path));
}

static inline int test_folder_remove_entry(const char *path, const struct stat *info, int kind,
                                           struct FTW *position)
{
    (void)info;
    (void)kind;
    (void)position;
    return remove(path);
}

/** Removes the folder with everything in it. */
static inline void test_folder_remove(const char *path)
{
    assert_int_equal(nftw(path, test_folder_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/** Path of `name`, which may contain folders, below `folder`. */
static inline const char *test_path(char path[TEST_PATH_SIZE], const char *folder, const char *name)
{
    int length = snprintf(path, TEST_PATH_SIZE, "%s/%s", folder, name);
    assert_in_range(length, 1, TEST_PATH_SIZE - 1);
    return path;
}

/** Writes a file of `size` bytes. */
static inline void test_file_write(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (size)
        assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

#endif
