/*
 * Asynchronous runs: a queue per runtime and the thread that empties it.
 *
 * Whoever holds a completion, the queue included, holds the runtime. The last reference to a
 * runtime may therefore go on this very thread, which cannot join itself: it then takes the runtime
 * apart as the last thing it does.
 */
#ifndef TC_RUNTIME_ASYNC_H
#define TC_RUNTIME_ASYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <tensorc/session.h>

typedef struct tc_async {
    pthread_mutex_t lock; /* of all fields and of the completions of the runtime */
    pthread_cond_t work;
    pthread_t thread;
    pid_t process;               /* a forked child has no thread to join */
    tc_completion *first, *last; /* waiting */
    tc_completion *unused;       /* kept for the next start */
    int32_t n_unused;
    bool started;
    bool stop;
    bool orphaned; /* nobody holds the runtime any more */
} tc_async;

void tc_async_init(tc_async *async);
/** Joins the thread; nothing is queued. */
void tc_async_destroy(tc_async *async);

/** When called on the thread itself, leaves the destruction of the runtime to the thread and
 * returns true. */
bool tc_async_leave(tc_async *async);

#endif
