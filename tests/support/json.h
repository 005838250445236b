/* Whether a text is JSON (RFC 8259), for what the library writes. */
#ifndef TC_TEST_SUPPORT_JSON_H
#define TC_TEST_SUPPORT_JSON_H

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static inline const char *json_space(const char *text)
{
    return text + strspn(text, " \t\r\n");
}

static inline const char *json_string(const char *text)
{
    if (*text++ != '"')
        return NULL;
    for (; *text != '"'; text++) {
        if ((unsigned char)*text < 0x20)
            return NULL;
        if (*text == '\\') {
            text++;
            if (*text == 'u') {
                for (int i = 0; i < 4; i++)
                    if (!isxdigit((unsigned char)*++text))
                        return NULL;
            } else if (!*text || !strchr("\"\\/bfnrt", *text)) {
                return NULL;
            }
        }
    }
    return text + 1;
}

static inline const char *json_digits(const char *text)
{
    size_t count = strspn(text, "0123456789");
    return count ? text + count : NULL;
}

static inline const char *json_number(const char *text)
{
    text += *text == '-';
    text = *text == '0' ? text + 1 : json_digits(text);
    if (text && *text == '.')
        text = json_digits(text + 1);
    if (text && (*text == 'e' || *text == 'E')) {
        text++;
        text = json_digits(text + (*text == '+' || *text == '-'));
    }
    return text;
}

/** The end of the value at `text`, NULL when there is none. */
static inline const char *json_value(const char *text)
{
    static const char *const words[] = {"true", "false", "null"};
    text = json_space(text);
    bool object = *text == '{';
    if (object || *text == '[') {
        char end = object ? '}' : ']';
        text = json_space(text + 1);
        if (*text == end)
            return text + 1;
        for (;; text++) {
            if (object) {
                text = json_string(json_space(text));
                if (!text || *(text = json_space(text)) != ':')
                    return NULL;
                text++;
            }
            text = json_value(text);
            if (!text)
                return NULL;
            text = json_space(text);
            if (*text == end)
                return text + 1;
            if (*text != ',')
                return NULL;
        }
    }
    if (*text == '"')
        return json_string(text);
    for (int i = 0; i < 3; i++)
        if (strncmp(text, words[i], strlen(words[i])) == 0)
            return text + strlen(words[i]);
    return json_number(text);
}

static inline bool json_is_valid(const char *text)
{
    const char *end = json_value(text);
    return end && *json_space(end) == '\0';
}

#endif
