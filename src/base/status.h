/* Writing the thread's error record. */
#ifndef TC_BASE_STATUS_H
#define TC_BASE_STATUS_H

#include <stdarg.h>

#include <tensorc/status.h>

/**
 * Records `status` with a formatted sentence for the calling thread and returns `status`. Never
 * allocates.
 */
tc_status tc_fail(tc_status status, const char *format, ...) TC_PRINTF(2, 3);
tc_status tc_fail_v(tc_status status, const char *format, va_list arguments) TC_PRINTF(2, 0);

/** Puts a formatted prefix before the message of the current error; returns `status`. */
tc_status tc_fail_prefix(tc_status status, const char *format, ...) TC_PRINTF(2, 3);

/** Status of the calling thread's record, TC_OK when there is none. */
tc_status tc_error_status(void);

/** RESOURCE_EXHAUSTED for `bytes` that could not be allocated for `what`. */
tc_status tc_fail_memory(size_t bytes, const char *what);

/** Longest message kept, including the terminator. */
#define TC_ERROR_MESSAGE_SIZE 2048

/** Restores a record saved elsewhere (a session, a graph) as the calling thread's error. */
tc_status tc_fail_saved(tc_status status, const char *message);

#endif
