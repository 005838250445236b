#include "runtime/deadline.h"

#include <time.h>
#include <unistd.h>

#include "base/threads.h"
#include "runtime/profile.h"

int64_t tc_deadline_after(int64_t timeout_us)
{
    if (timeout_us == 0)
        return 0;
    int64_t now = tc_clock_ns();
    return timeout_us > (INT64_MAX - now) / 1000 ? INT64_MAX : now + timeout_us * 1000;
}

void tc_watch_init(tc_watch *watch)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&watch->lock, NULL);
    watch->wakes_ns = INT64_MAX;
}

/* Marks what is due; returns when the next one is. */
static int64_t mark_passed(const tc_watch *watch, int64_t now)
{
    int64_t next = INT64_MAX;
    for (tc_deadline *deadline = watch->first; deadline; deadline = deadline->next) {
        if (deadline->at_ns <= now)
            atomic_store_explicit(&deadline->passed, true, memory_order_relaxed);
        else if (deadline->at_ns < next)
            next = deadline->at_ns;
    }
    return next;
}

static void *watch_main(void *argument)
{
    tc_watch *watch = argument;
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop) {
        watch->wakes_ns = mark_passed(watch, tc_clock_ns());
        if (watch->wakes_ns == INT64_MAX) {
            pthread_cond_wait(&watch->wake, &watch->lock);
        } else {
            struct timespec until = {watch->wakes_ns / 1000000000, watch->wakes_ns % 1000000000};
            pthread_cond_timedwait(&watch->wake, &watch->lock, &until);
        }
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

tc_status tc_watch_add(tc_watch *watch, tc_deadline *deadline)
{
    tc_status status = TC_OK;
    pthread_mutex_lock(&watch->lock);
    if (!watch->started) {
        watch->process = getpid();
        status = tc_thread_start("tensorc-watch", watch_main, watch, &watch->thread);
        watch->started = status == TC_OK;
    }
    if (watch->started) {
        deadline->previous = NULL;
        deadline->next = watch->first;
        if (watch->first)
            watch->first->previous = deadline;
        watch->first = deadline;
        /* Most runs end before their deadline: a thread that wakes for one that is gone finds the
         * next, so a row of runs rarely has to wake it. */
        if (deadline->at_ns < watch->wakes_ns)
            pthread_cond_signal(&watch->wake);
    }
    pthread_mutex_unlock(&watch->lock);
    return status;
}

void tc_watch_remove(tc_watch *watch, tc_deadline *deadline)
{
    pthread_mutex_lock(&watch->lock);
    if (deadline->previous)
        deadline->previous->next = deadline->next;
    else
        watch->first = deadline->next;
    if (deadline->next)
        deadline->next->previous = deadline->previous;
    pthread_mutex_unlock(&watch->lock);
}

void tc_watch_destroy(tc_watch *watch)
{
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
    if (watch->started && watch->process == getpid())
        pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
}
