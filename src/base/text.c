#include "base/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

/* Room for `more` characters and the terminator. */
static bool reserve(tc_text *text, size_t more)
{
    if (text->failed)
        return false;
    size_t needed;
    if (!tc_add_size(text->length, more, &needed) || !tc_add_size(needed, 1, &needed))
        goto exhausted;
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity < 128 ? 128 : text->capacity;
    while (capacity < needed)
        capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
    char *moved = tc_realloc(text->data, text->data ? text->length + 1 : 0, capacity);
    if (!moved)
        goto exhausted;
    text->data = moved;
    text->capacity = capacity;
    return true;

exhausted:
    text->failed = true;
    return false;
}

void tc_text_append_v(tc_text *text, const char *format, va_list arguments)
{
    if (!reserve(text, 64))
        return;
    va_list again;
    va_copy(again, arguments);
    size_t room = text->capacity - text->length;
    int length = vsnprintf(text->data + text->length, room, format, arguments);
    if (length < 0) {
        text->data[text->length] = 0;
        text->failed = true;
    } else if ((size_t)length < room) {
        text->length += (size_t)length;
    } else {
        text->data[text->length] = 0;
        if (reserve(text, (size_t)length)) {
            vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
            text->length += (size_t)length;
        }
    }
    va_end(again);
}

void tc_text_append(tc_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tc_text_append_v(text, format, arguments);
    va_end(arguments);
}

static void append_bytes(tc_text *text, const char *bytes, size_t size)
{
    if (!reserve(text, size))
        return;
    memcpy(text->data + text->length, bytes, size);
    text->length += size;
    text->data[text->length] = 0;
}

/*
 * Bytes of the well-formed UTF-8 character at `s` (RFC 3629, no surrogates), 0 when it is
 * malformed.
 */
static size_t utf8_length(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t length;
    unsigned char low = 0x80, high = 0xbf; /* bounds of the second byte */
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        length = 2;
    } else if (s[0] >= 0xe0 && s[0] <= 0xef) {
        length = 3;
        if (s[0] == 0xe0)
            low = 0xa0;
        else if (s[0] == 0xed)
            high = 0x9f;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        length = 4;
        if (s[0] == 0xf0)
            low = 0x90;
        else if (s[0] == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

void tc_text_append_json(tc_text *text, const char *s)
{
    append_bytes(text, "\"", 1);
    const unsigned char *p = (const unsigned char *)s;
    while (*p) {
        const char *escape = NULL;
        switch (*p) {
        case '"': escape = "\\\""; break;
        case '\\': escape = "\\\\"; break;
        case '\n': escape = "\\n"; break;
        case '\t': escape = "\\t"; break;
        case '\r': escape = "\\r"; break;
        }
        size_t length = utf8_length(p);
        if (escape) {
            append_bytes(text, escape, 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            tc_text_append(text, "\\u%04x", (unsigned)*p);
        } else if (length == 0) { /* names may hold any bytes, JSON only Unicode */
            append_bytes(text, "\\ufffd", 6);
            length = 1;
        } else {
            append_bytes(text, (const char *)p, length);
        }
        p += length;
    }
    append_bytes(text, "\"", 1);
}

void tc_text_free(tc_text *text)
{
    tc_free(text->data);
    *text = (tc_text){0};
}

#define TC_NEAREST_LENGTH 64

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/*
 * Damerau-Levenshtein distance in its "optimal string alignment" form (a swap of neighbours costs
 * 1), without regard to the case of ASCII letters. Both texts are at most TC_NEAREST_LENGTH long.
 */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][TC_NEAREST_LENGTH + 1];
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_length; i++) {
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            char in_a = lower(a[i - 1]), in_b = lower(b[j - 1]);
            size_t best = above[j - 1] + (in_a != in_b);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && in_a == lower(b[j - 2]) && lower(a[i - 2]) == in_b &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *tc_text_nearest(const char *name, size_t count,
                            const char *(*candidate)(const void *context, size_t i),
                            const void *context)
{
    size_t length = name ? strlen(name) : 0;
    if (length == 0 || length > TC_NEAREST_LENGTH)
        return NULL;
    /* A third of the letters wrong is a likely slip; more is another word. */
    size_t best = (length + 2) / 3 + 1;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        const char *other = candidate(context, i);
        size_t other_length = other ? strlen(other) : 0;
        if (other_length == 0 || other_length > TC_NEAREST_LENGTH)
            continue;
        size_t gap = other_length > length ? other_length - length : length - other_length;
        if (gap >= best)
            continue;
        size_t distance = edit_distance(name, length, other, other_length);
        if (distance < best) {
            best = distance;
            nearest = other;
        }
    }
    return nearest;
}
