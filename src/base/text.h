/* Growable text for dumps and messages. */
#ifndef TC_BASE_TEXT_H
#define TC_BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <tensorc/status.h>

/**
 * Zero-initialize; `data` is NULL or terminated. Once memory is exhausted, `failed` sticks and
 * appends do nothing.
 */
typedef struct tc_text {
    char *data;
    size_t length, capacity;
    bool failed;
} tc_text;

void tc_text_append(tc_text *text, const char *format, ...) TC_PRINTF(2, 3);
void tc_text_append_v(tc_text *text, const char *format, va_list arguments) TC_PRINTF(2, 0);
/** Appends `s` as a double-quoted JSON string. */
void tc_text_append_json(tc_text *text, const char *s);
void tc_text_free(tc_text *text);

/**
 * Of `count` candidates the one closest to `name` by edit distance, NULL when none is near: for
 * "did you mean". candidate(context, i) returns the i-th name.
 */
const char *tc_text_nearest(const char *name, size_t count,
                            const char *(*candidate)(const void *context, size_t i),
                            const void *context);

#endif
