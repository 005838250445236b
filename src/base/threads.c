#include "base/threads.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "base/status.h"

/*
 * How a loop runs. The caller takes `busy`, writes the job, and publishes it by storing `state`: a
 * count of the loops so far in the upper bits and the number of places for workers in the lower. A
 * worker joins by taking a place with a compare-and-exchange, claims blocks from `next` until none
 * is left, and adds itself to `finished`. The caller claims blocks likewise, then closes the job by
 * clearing the places, which also tells it how many workers joined, and waits for just those. A
 * worker that wakes late finds no place and touches nothing of the job, so no loop waits for a
 * thread that is asleep. The number of its place is what a worker is known by within the loop.
 *
 * Every ordering is by C11 atomics on these words (the futex calls only decide when to look again),
 * so thread sanitizers see all of it.
 */

#define TC_PLACES_MASK ((uint64_t)0xffff)
#define TC_LOOP_UNIT   ((uint64_t)0x10000)
#define TC_CACHE_LINE  64

/* Longer than what goes on between two loops of a run, and than a thread takes to wake up; shorter
 * than anyone would notice as load. */
#define TC_SPIN_NANOSECONDS 200000

typedef struct tc_worker {
    tc_pool *pool;
    pthread_t thread;
    int index;
} tc_worker;

typedef struct tc_job {
    tc_block_function function;
    void *context;
    int64_t count, grain, blocks;
} tc_job;

struct tc_pool {
    alignas(TC_CACHE_LINE) _Atomic uint64_t state;
    atomic_bool stop;
    tc_job job; /* written while `state` has no places, read by who holds one */

    alignas(TC_CACHE_LINE) _Atomic int64_t next; /* block to claim */

    alignas(TC_CACHE_LINE) _Atomic uint32_t finished; /* workers done with the job; a futex */
    atomic_bool caller_sleeps;

    alignas(TC_CACHE_LINE) _Atomic uint32_t
        signal; /* changes with every loop; the futex of idle workers */
    _Atomic int sleepers;

    alignas(TC_CACHE_LINE) atomic_bool busy;

    tc_pool *shared; /* whose workers run the loops: itself, or the pool this is a view of */
    int threads;
    int started;   /* workers that run, of a view those it may use */
    int64_t spin;  /* nanoseconds */
    pid_t process; /* in a forked child there are no workers to join */
    tc_worker *workers;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * A wait of limited length: `while (!condition && spin_again(&s))`. Reads the clock only now and
 * then.
 */
typedef struct tc_spin {
    int64_t limit, deadline;
    unsigned turns;
} tc_spin;

static bool spin_again(tc_spin *spin)
{
    if (spin->limit == 0)
        return false;
    if (spin->turns++ % 32 == 0) {
        int64_t now = nanoseconds();
        if (spin->deadline == 0)
            spin->deadline = now + spin->limit;
        else if (now >= spin->deadline)
            return false;
    }
    pause_briefly();
    return true;
}

static void run_block(const tc_job *job, int64_t block, int worker)
{
    int64_t begin = block * job->grain;
    int64_t left = job->count - begin;
    job->function(job->context, begin, begin + (left < job->grain ? left : job->grain), worker);
}

static void run_blocks(tc_pool *pool, int worker)
{
    const tc_job *job = &pool->job;
    for (;;) {
        int64_t block = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (block >= job->blocks)
            return;
        run_block(job, block, worker);
    }
}

/* The number of the place taken, 0 for none. */
static int try_join(tc_pool *pool)
{
    uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    while (state & TC_PLACES_MASK)
        if (atomic_compare_exchange_weak_explicit(&pool->state, &state, state - 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return (int)(state & TC_PLACES_MASK);
    return 0;
}

static bool job_or_stop(tc_pool *pool)
{
    return (atomic_load(&pool->state) & TC_PLACES_MASK) != 0 || atomic_load(&pool->stop);
}

static void sleep_until_signal(tc_pool *pool)
{
    uint32_t seen = atomic_load(&pool->signal);
    atomic_fetch_add(&pool->sleepers, 1);
    /*
     * A loop published before this look is found by it; one published later has changed `signal`,
     * or sees this sleeper and wakes it.
     */
    if (!job_or_stop(pool))
        futex_wait(&pool->signal, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void *worker_main(void *argument)
{
    tc_worker *self = argument;
    tc_pool *pool = self->pool;
    char name[24];
    snprintf(name, sizeof name, "tensorc-%d", self->index);
    pthread_setname_np(pthread_self(), name);
    for (;;) {
        tc_spin spin = {.limit = pool->spin};
        while (!job_or_stop(pool) && spin_again(&spin))
            ;
        int place = try_join(pool);
        if (place > 0) {
            run_blocks(pool, place);
            atomic_fetch_add(&pool->finished, 1);
            if (atomic_load(&pool->caller_sleeps))
                futex_wake(&pool->finished, 1);
        } else if (atomic_load(&pool->stop)) {
            return NULL;
        } else if (!job_or_stop(pool)) {
            sleep_until_signal(pool);
        }
    }
}

/* Opens `places` and wakes as many sleepers as the spinning workers cannot fill. */
static void publish(tc_pool *pool, int places)
{
    uint64_t loops = atomic_load_explicit(&pool->state, memory_order_relaxed) & ~TC_PLACES_MASK;
    atomic_store(&pool->state, loops + TC_LOOP_UNIT + (uint64_t)places);
    atomic_fetch_add(&pool->signal, 1);
    int sleepers = atomic_load(&pool->sleepers);
    int wanted = places - (pool->started - sleepers);
    if (sleepers > 0 && wanted > 0)
        futex_wake(&pool->signal, wanted);
}

static void wait_for_workers(tc_pool *pool, uint32_t joined)
{
    tc_spin spin = {.limit = pool->spin};
    while (atomic_load(&pool->finished) != joined && spin_again(&spin))
        ;
    if (atomic_load(&pool->finished) == joined)
        return;
    atomic_store(&pool->caller_sleeps, true);
    for (;;) {
        uint32_t finished = atomic_load(&pool->finished);
        if (finished == joined)
            break;
        futex_wait(&pool->finished, finished);
    }
    atomic_store(&pool->caller_sleeps, false);
}

void tc_parallel_for(tc_pool *pool, int64_t count, int64_t grain, tc_block_function function,
                     void *context)
{
    if (count <= 0)
        return;
    if (grain < 1)
        grain = 1;
    tc_job job = {function, context, count, grain, count / grain + (count % grain != 0)};
    if (!pool || pool->started == 0 || job.blocks == 1 ||
        atomic_exchange_explicit(&pool->shared->busy, true, memory_order_acquire)) {
        for (int64_t block = 0; block < job.blocks; block++)
            run_block(&job, block, 0);
        return;
    }
    int places = job.blocks - 1 < pool->started ? (int)(job.blocks - 1) : pool->started;
    pool = pool->shared;
    pool->job = job;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    publish(pool, places);
    run_blocks(pool, 0);
    uint64_t left = atomic_fetch_and(&pool->state, ~TC_PLACES_MASK) & TC_PLACES_MASK;
    wait_for_workers(pool, (uint32_t)((uint64_t)places - left));
    atomic_store_explicit(&pool->busy, false, memory_order_release);
}

static void stop_workers(tc_pool *pool)
{
    atomic_store(&pool->stop, true);
    atomic_fetch_add(&pool->signal, 1);
    futex_wake(&pool->signal, INT_MAX);
    if (pool->process != getpid())
        return;
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
}

void tc_pool_destroy(tc_pool *pool)
{
    if (!pool)
        return;
    if (pool->shared == pool)
        stop_workers(pool);
    tc_free(pool->workers);
    tc_free(pool);
}

int tc_pool_threads(const tc_pool *pool)
{
    return pool ? pool->threads : 1;
}

/*
 * Workers inherit the mask: signals of the program go to its own threads, faults still reach their
 * handlers.
 */
static void block_signals(sigset_t *before)
{
    sigset_t blocked;
    sigfillset(&blocked);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, before);
}

tc_status tc_thread_start(const char *name, void *(*function)(void *), void *argument,
                          pthread_t *thread)
{
    sigset_t before;
    block_signals(&before);
    int error = pthread_create(thread, NULL, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        return tc_fail(TC_RESOURCE_EXHAUSTED, "the thread '%s' cannot be started: %s", name,
                       strerror(error));
    pthread_setname_np(*thread, name);
    return TC_OK;
}

/*
 * Lists of cores
 */
typedef struct core_list {
    int count;
    int cores[CPU_SETSIZE];
} core_list;

/* A core number at *text, which it steps over; -1 when there is none. */
static int parse_core(const char **text)
{
    long core = 0;
    if (**text < '0' || **text > '9')
        return -1;
    for (; **text >= '0' && **text <= '9'; ++*text)
        core = core > INT_MAX / 10 - 1 ? core : core * 10 + (**text - '0');
    return (int)core;
}

static tc_status parse_cores(const char *text, core_list *list)
{
    long cores = sysconf(_SC_NPROCESSORS_CONF);
    int limit = cores > 0 && cores < CPU_SETSIZE ? (int)cores : CPU_SETSIZE;
    list->count = 0;
    for (const char *next = text;; next++) {
        int first = parse_core(&next), last = first;
        if (first >= 0 && *next == '-') {
            next++;
            last = parse_core(&next);
        }
        if (first < 0 || last < first || (*next && *next != ','))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "affinity \"%.100s\" is no list of cores like \"0-3,8\"", text);
        if (last >= limit)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "affinity \"%.100s\" names core %d; they are numbered from 0 to %d here",
                           text, last, limit - 1);
        for (int core = first; core <= last; core++) {
            if (list->count == CPU_SETSIZE)
                return tc_fail(TC_INVALID_ARGUMENT, "affinity \"%.100s\" lists more than %d cores",
                               text, CPU_SETSIZE);
            list->cores[list->count++] = core;
        }
        if (!*next)
            return TC_OK;
    }
}

/*
 * Making pools
 */
static tc_status allocate_pool(int threads, tc_pool **out)
{
    tc_pool *pool = tc_alloc_aligned(sizeof *pool, TC_CACHE_LINE);
    if (!pool)
        return tc_fail_memory(sizeof *pool, "a thread pool");
    memset(pool, 0, sizeof *pool);
    pool->shared = pool;
    pool->threads = threads;
    pool->process = getpid();
    *out = pool;
    return TC_OK;
}

/* Starts the next worker, bound to `core` unless that is -1; returns an errno. */
static int start_worker(tc_pool *pool, int core)
{
    pthread_attr_t attributes;
    tc_worker *worker = &pool->workers[pool->started];
    worker->pool = pool;
    worker->index = pool->started + 1;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    if (core >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(core, &set);
        error = pthread_attr_setaffinity_np(&attributes, sizeof set, &set);
    }
    if (!error)
        error = pthread_create(&worker->thread, &attributes, worker_main, worker);
    pthread_attr_destroy(&attributes);
    /* Final before the first loop, the only time it matters to anyone but this thread. */
    if (!error)
        pool->started++;
    return error;
}

static tc_status start_workers(tc_pool *pool, const core_list *list)
{
    int error = 0, core = -1;
    sigset_t before;
    block_signals(&before);
    while (!error && pool->started < pool->threads - 1) {
        core = list->count > 0 ? list->cores[(pool->started + 1) % list->count] : -1;
        error = start_worker(pool, core);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        return TC_OK;
    if (core >= 0 && error == EINVAL)
        return tc_fail(TC_UNAVAILABLE, "affinity: this process may not use core %d", core);
    return tc_fail(TC_RESOURCE_EXHAUSTED, "thread %d of %d cannot be started: %s",
                   pool->started + 1, pool->threads - 1, strerror(error));
}

static tc_status create_pool(int threads, const core_list *list, tc_pool **out)
{
    if (threads < 0 || threads > TC_POOL_MAX_THREADS)
        return tc_fail(TC_INVALID_ARGUMENT, "a thread pool has 1 to %d threads, not %d",
                       TC_POOL_MAX_THREADS, threads);
    int cores = list->count > 0 ? list->count : tc_cpu_count();
    if (threads == 0)
        threads = cores < TC_POOL_MAX_THREADS ? cores : TC_POOL_MAX_THREADS;
    tc_pool *pool;
    TC_TRY(allocate_pool(threads, &pool));
    /* With more threads than cores, spinning takes the time of those that have work. */
    pool->spin = threads <= cores ? TC_SPIN_NANOSECONDS : 0;
    pool->workers = tc_alloc_zero((size_t)threads, sizeof *pool->workers);
    tc_status status = pool->workers
                           ? start_workers(pool, list)
                           : tc_fail_memory((size_t)threads * sizeof(tc_worker), "a thread pool");
    if (status != TC_OK) {
        tc_pool_destroy(pool);
        return status;
    }
    *out = pool;
    return TC_OK;
}

tc_status tc_pool_create(int threads, tc_pool **out)
{
    *out = NULL;
    return create_pool(threads, &(core_list){0}, out);
}

tc_status tc_pool_create_on(int threads, const char *affinity, tc_pool **out)
{
    core_list list;
    *out = NULL;
    TC_TRY(parse_cores(affinity, &list));
    return create_pool(threads, &list, out);
}

tc_status tc_pool_create_view(tc_pool *pool, int threads, tc_pool **out)
{
    *out = NULL;
    TC_TRY(allocate_pool(threads < pool->threads ? threads : pool->threads, out));
    (*out)->shared = pool;
    (*out)->started = (*out)->threads - 1;
    return TC_OK;
}
