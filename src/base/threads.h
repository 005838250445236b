/*
 * The thread pool. Workers spin briefly for the next job, then sleep. The split of a loop into
 * blocks depends only on the loop, never on the number of threads, so results do not either.
 */
#ifndef TC_BASE_THREADS_H
#define TC_BASE_THREADS_H

#include <pthread.h>
#include <stdint.h>

#include <tensorc/status.h>

typedef struct tc_pool tc_pool;

/** Largest number of threads of a pool. */
#define TC_POOL_MAX_THREADS 1024

/**
 * Pool that runs loops on `threads` threads: the caller and threads - 1 workers. 0: one per usable
 * core. The workers are named tensorc-1, tensorc-2, ... and take no asynchronous signals.
 * Errors: INVALID_ARGUMENT (negative or more than TC_POOL_MAX_THREADS), RESOURCE_EXHAUSTED (memory,
 * a thread cannot be started); then `*out` is NULL and nothing is left behind.
 *
 * Forking is not supported: the child has no workers, and there loops run on their callers alone.
 */
TC_MUST_USE tc_status tc_pool_create(int threads, tc_pool **out);
/**
 * The same with the workers bound to cores: worker i to the i-th of `affinity`, a list like
 * "0-3,8", over again when there are fewer; the first, number 0, is left to callers. `threads` 0:
 * one per core of the list. Errors besides: INVALID_ARGUMENT for what is no list of existing cores,
 * UNAVAILABLE for a core that this process may not use.
 */
TC_MUST_USE tc_status tc_pool_create_on(int threads, const char *affinity, tc_pool **out);
/**
 * A pool whose loops run on at most `threads` of the threads of `pool`, which must outlive it and
 * is no such view itself.
 */
TC_MUST_USE tc_status tc_pool_create_view(tc_pool *pool, int threads, tc_pool **out);
/** Joins the workers. No loop may be running. NULL is allowed. */
void tc_pool_destroy(tc_pool *pool);
/** Threads of the pool with its caller; 1 for NULL. */
int tc_pool_threads(const tc_pool *pool);

/**
 * Work on [begin, end). `worker` is in 0..threads-1 and unique among the blocks of this loop that
 * run at one time.
 */
typedef void (*tc_block_function)(void *context, int64_t begin, int64_t end, int worker);

/**
 * Calls `function` for the blocks [0, grain), [grain, 2 grain), ... of [0, count) and returns when
 * all are done. Blocks run in any order on the caller and the workers. Never allocates. A loop
 * started inside a block, or while another thread's loop holds the pool, runs on its own caller
 * alone as worker 0. `pool` NULL runs on the caller. A `grain` below 1 counts as 1. Everything the
 * caller wrote is visible to the blocks, and all that they wrote to the caller on return.
 * Thread-safe.
 */
void tc_parallel_for(tc_pool *pool, int64_t count, int64_t grain, tc_block_function function,
                     void *context);

/**
 * Starts a thread that takes no asynchronous signals, named `name` (at most 15 characters).
 * RESOURCE_EXHAUSTED. The caller joins or detaches it.
 */
TC_MUST_USE tc_status tc_thread_start(const char *name, void *(*function)(void *), void *argument,
                                      pthread_t *thread);

#endif
