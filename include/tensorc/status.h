/*
 * Status codes and the error record of the calling thread.
 *
 * Every fallible function except the graph builders returns a tc_status. When it is not TC_OK, the
 * calling thread's error record holds one sentence: what went wrong, where, and how to mend it. The
 * record stays until the next failing call on the same thread. The library never aborts, exits or
 * prints because of what a caller passed in.
 */
#ifndef TENSORC_STATUS_H
#define TENSORC_STATUS_H

#include <stddef.h>

#if defined(__GNUC__)
#define TC_API      __attribute__((visibility("default")))
#define TC_MUST_USE __attribute__((warn_unused_result))
#define TC_PRINTF(format_index, first_argument) \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define TC_API
#define TC_MUST_USE
#define TC_PRINTF(format_index, first_argument)
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Result of a call, in the meanings and numbers of the canonical gRPC codes. */
typedef enum tc_status {
    TC_OK = 0,
    TC_CANCELLED = 1,           /**< the caller cancelled the run */
    TC_UNKNOWN = 2,             /**< a failure of unknown kind, for example in user code */
    TC_INVALID_ARGUMENT = 3,    /**< an argument is wrong whatever the state of the system */
    TC_DEADLINE_EXCEEDED = 4,   /**< the deadline of the run passed */
    TC_NOT_FOUND = 5,           /**< a file, name or operator does not exist */
    TC_ALREADY_EXISTS = 6,      /**< the name is taken */
    TC_PERMISSION_DENIED = 7,   /**< the operating system refuses access */
    TC_RESOURCE_EXHAUSTED = 8,  /**< memory, disk space or another budget is used up */
    TC_FAILED_PRECONDITION = 9, /**< the object is not in the state that the call needs */
    TC_ABORTED = 10,            /**< stopped by a conflict with another operation */
    TC_OUT_OF_RANGE = 11,       /**< past the end, for example of a data set */
    TC_UNIMPLEMENTED = 12,      /**< no kernel, gradient or feature for what was asked */
    TC_INTERNAL = 13,           /**< an invariant of the library is broken: a bug */
    TC_UNAVAILABLE = 14,        /**< a device or service cannot be reached now */
    TC_DATA_LOSS = 15           /**< stored data is truncated or corrupted */
} tc_status;

/** Upper-case name of a status, such as "INVALID_ARGUMENT"; "UNKNOWN" for other numbers.
 * Thread-safe. */
TC_API const char *tc_status_name(tc_status status);

/**
 * Sentence of the calling thread's last error, "" when there was none.
 * Borrowed: valid until the next failing call on this thread. Thread-safe.
 */
TC_API const char *tc_error_message(void);

/**
 * Copies the calling thread's last error message into `buffer` (at most `size` bytes, always
 * terminated) and clears the record. Returns the status of that error, TC_OK when there was none.
 * `buffer` may be NULL when `size` is 0.
 */
TC_API tc_status tc_error_take(char *buffer, size_t size);

/** Evaluates `expression` once and returns its status from the enclosing function when it is not
 * TC_OK. */
#define TC_TRY(expression)                      \
    do {                                        \
        tc_status tc_try_status = (expression); \
        if (tc_try_status != TC_OK)             \
            return tc_try_status;               \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
