#include "base/status.h"

#include <stdio.h>
#include <string.h>

/*
 * The record lives in static thread storage rather than on the heap: reporting that memory is
 * exhausted must not need memory.
 */
typedef struct tc_error_record {
    tc_status status;
    char message[TC_ERROR_MESSAGE_SIZE];
} tc_error_record;

static _Thread_local tc_error_record record;

const char *tc_status_name(tc_status status)
{
    switch (status) {
    case TC_OK: return "OK";
    case TC_CANCELLED: return "CANCELLED";
    case TC_UNKNOWN: return "UNKNOWN";
    case TC_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case TC_DEADLINE_EXCEEDED: return "DEADLINE_EXCEEDED";
    case TC_NOT_FOUND: return "NOT_FOUND";
    case TC_ALREADY_EXISTS: return "ALREADY_EXISTS";
    case TC_PERMISSION_DENIED: return "PERMISSION_DENIED";
    case TC_RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case TC_FAILED_PRECONDITION: return "FAILED_PRECONDITION";
    case TC_ABORTED: return "ABORTED";
    case TC_OUT_OF_RANGE: return "OUT_OF_RANGE";
    case TC_UNIMPLEMENTED: return "UNIMPLEMENTED";
    case TC_INTERNAL: return "INTERNAL";
    case TC_UNAVAILABLE: return "UNAVAILABLE";
    case TC_DATA_LOSS: return "DATA_LOSS";
    }
    return "UNKNOWN";
}

const char *tc_error_message(void)
{
    return record.message;
}

tc_status tc_error_status(void)
{
    return record.status;
}

/* Copies with a visible "..." where the text does not fit, never cutting inside a UTF-8 character.
 */
static void copy_cut(char *out, size_t size, const char *text)
{
    if (size == 0)
        return;
    size_t length = strlen(text);
    if (length < size) {
        memmove(out, text, length + 1);
        return;
    }
    size_t dots = size > 3 ? 3 : size - 1;
    size_t kept = size - 1 - dots;
    while (kept > 0 && ((unsigned char)text[kept] & 0xc0) == 0x80)
        kept--;
    memmove(out, text, kept);
    memcpy(out + kept, "...", dots);
    out[kept + dots] = 0;
}

tc_status tc_error_take(char *buffer, size_t size)
{
    tc_status status = record.status;
    if (buffer)
        copy_cut(buffer, size, record.message);
    record.status = TC_OK;
    record.message[0] = 0;
    return status;
}

tc_status tc_fail_v(tc_status status, const char *format, va_list arguments)
{
    /*
     * Formatted aside, because an argument may be the current message. One byte more than fits
     * shows the overflow.
     */
    char text[TC_ERROR_MESSAGE_SIZE + 1];
    if (vsnprintf(text, sizeof text, format, arguments) < 0)
        copy_cut(text, sizeof text, format);
    record.status = status;
    copy_cut(record.message, sizeof record.message, text);
    return status;
}

tc_status tc_fail(tc_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tc_fail_v(status, format, arguments);
    va_end(arguments);
    return status;
}

tc_status tc_fail_prefix(tc_status status, const char *format, ...)
{
    char text[TC_ERROR_MESSAGE_SIZE + 1];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t length = written < 0 ? 0 : (size_t)written;
    if (length < sizeof text)
        snprintf(text + length, sizeof text - length, "%s", record.message);
    record.status = status;
    copy_cut(record.message, sizeof record.message, text);
    return status;
}

tc_status tc_fail_memory(size_t bytes, const char *what)
{
    return tc_fail(TC_RESOURCE_EXHAUSTED, "out of memory: cannot allocate %zu bytes for %s", bytes,
                   what);
}

tc_status tc_fail_saved(tc_status status, const char *message)
{
    record.status = status;
    copy_cut(record.message, sizeof record.message, message ? message : "");
    return status;
}
