/*
 * Deadlines: a thread that raises a flag of each run whose time is up, so that the run itself reads
 * no clock.
 */
#ifndef TC_RUNTIME_DEADLINE_H
#define TC_RUNTIME_DEADLINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <tensorc/status.h>

/** In the memory of the run that has it. */
typedef struct tc_deadline {
    struct tc_deadline *next, *previous; /* of those watched */
    int64_t at_ns;                       /* a time of tc_clock_ns; 0: none */
    atomic_bool passed;                  /* true from some moment after at_ns on */
} tc_deadline;

/** The watcher. Its thread is made when first needed and sleeps until the next deadline. */
typedef struct tc_watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    pid_t process; /* a forked child has no thread to join */
    tc_deadline *first;
    int64_t wakes_ns; /* when the thread looks again by itself; INT64_MAX: never */
    bool started;
    bool stop;
} tc_watch;

/** The time `timeout_us` from now, as at_ns; 0 for 0. */
int64_t tc_deadline_after(int64_t timeout_us);

void tc_watch_init(tc_watch *watch);
/** Joins the thread. No deadline may be watched. */
void tc_watch_destroy(tc_watch *watch);

/**
 * Watches `deadline`, whose `at_ns` is set, until tc_watch_remove. Allocates nothing but the first
 * time: RESOURCE_EXHAUSTED when the thread cannot be made. Thread-safe.
 */
tc_status tc_watch_add(tc_watch *watch, tc_deadline *deadline);
/** Thread-safe. */
void tc_watch_remove(tc_watch *watch, tc_deadline *deadline);

#endif
