#include "base/threads.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "support/counting_allocator.h"
#include "support/test.h"

/* What the blocks of a loop record, to be checked when it is over. */
#define MAX_BLOCKS 4096
typedef struct record {
    int64_t count, grain;
    int threads;
    _Atomic int visits[MAX_BLOCKS];
    atomic_bool in_use[TC_POOL_MAX_THREADS];
    atomic_bool wrong;
    int plain[MAX_BLOCKS]; /* no atomics: the loop itself must order these */
} record;

static void record_block(void *context, int64_t begin, int64_t end, int worker)
{
    record *r = context;
    if (worker < 0 || worker >= r->threads || begin % r->grain || end <= begin ||
        (end != r->count && end - begin != r->grain) || begin / r->grain >= MAX_BLOCKS) {
        atomic_store(&r->wrong, true);
        return;
    }
    if (atomic_exchange(&r->in_use[worker], true)) /* another block runs as the same worker */
        atomic_store(&r->wrong, true);
    atomic_fetch_add(&r->visits[begin / r->grain], 1);
    r->plain[begin / r->grain] += 1;
    atomic_store(&r->in_use[worker], false);
}

static void check_loop(tc_pool *pool, record *r, int64_t count, int64_t grain, int times)
{
    int64_t blocks = count > 0 ? count / grain + (count % grain != 0) : 0;
    assert_true(blocks <= MAX_BLOCKS);
    memset(r, 0, sizeof *r);
    r->count = count;
    r->grain = grain;
    r->threads = tc_pool_threads(pool);
    for (int i = 0; i < times; i++)
        tc_parallel_for(pool, count, grain, record_block, r);
    assert_false(atomic_load(&r->wrong));
    for (int64_t i = 0; i < MAX_BLOCKS; i++) {
        assert_int_equal(atomic_load(&r->visits[i]), i < blocks ? times : 0);
        assert_int_equal(r->plain[i], i < blocks ? times : 0);
    }
}

static record shared_record;

static void test_threads_every_block_once(void **state)
{
    static const int64_t counts[] = {0, 1, 2, 3, 7, 64, 1000, 4096, -1, INT64_MIN};
    static const int64_t grains[] = {1, 2, 3, 64, 1000, INT64_MAX};
    for (int threads = 1; threads <= 8; threads++) {
        tc_pool *pool;
        assert_ok(tc_pool_create(threads, &pool));
        assert_int_equal(tc_pool_threads(pool), threads);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
            for (size_t j = 0; j < sizeof grains / sizeof grains[0]; j++)
                if (grains[j] < INT64_MAX || counts[i] <= 1)
                    check_loop(pool, &shared_record, counts[i], grains[j], 3);
        tc_pool_destroy(pool);
    }
    check_loop(NULL, &shared_record, 100, 7, 2);
    assert_int_equal(tc_pool_threads(NULL), 1);
}

static void test_threads_many_short_loops(void **state)
{
    for (int threads = 2; threads <= 8; threads += 3) {
        tc_pool *pool;
        assert_ok(tc_pool_create(threads, &pool));
        check_loop(pool, &shared_record, 2, 1, TEST_SANITIZED ? 2000 : 20000);
        check_loop(pool, &shared_record, 16, 1, TEST_SANITIZED ? 1000 : 10000);
        tc_pool_destroy(pool);
    }
}

typedef struct sum {
    _Atomic int64_t total, blocks;
    atomic_bool wrong;
} sum;

static void sum_block(void *context, int64_t begin, int64_t end, int worker)
{
    sum *s = context;
    (void)worker;
    if (begin < 0 || end <= begin)
        atomic_store(&s->wrong, true);
    atomic_fetch_add(&s->total, end - begin);
    atomic_fetch_add(&s->blocks, 1);
}

static void test_threads_extreme_arguments(void **state)
{
    tc_pool *pool;
    assert_ok(tc_pool_create(3, &pool));
    sum s = {0};
    tc_parallel_for(pool, INT64_MAX, INT64_MAX / 3, sum_block, &s);
    assert_true(atomic_load(&s.total) == INT64_MAX);
    assert_int_equal(atomic_load(&s.blocks), 4);
    s = (sum){0};
    tc_parallel_for(pool, INT64_MAX, INT64_MAX, sum_block, &s);
    assert_true(atomic_load(&s.total) == INT64_MAX);
    assert_int_equal(atomic_load(&s.blocks), 1);
    static const int64_t grains[] = {0, -1, INT64_MIN}; /* all count as 1 */
    for (int i = 0; i < 3; i++) {
        s = (sum){0};
        tc_parallel_for(pool, 10, grains[i], sum_block, &s);
        assert_int_equal(atomic_load(&s.blocks), 10);
        s = (sum){0};
        tc_parallel_for(NULL, 10, grains[i], sum_block, &s);
        assert_int_equal(atomic_load(&s.blocks), 10);
    }
    assert_false(atomic_load(&s.wrong));
    tc_pool_destroy(pool);
}

static void sleep_ms(int milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/*
 * Blocks that each wait for all the others to have begun: they finish only when every thread takes
 * part.
 */
typedef struct meeting {
    _Atomic int arrived;
    int expected;
    atomic_bool alone;
} meeting;

static void meet(void *context, int64_t begin, int64_t end, int worker)
{
    meeting *m = context;
    (void)begin;
    (void)end;
    (void)worker;
    atomic_fetch_add(&m->arrived, 1);
    for (int i = 0; atomic_load(&m->arrived) < m->expected; i++) {
        if (i > 20000) {
            atomic_store(&m->alone, true);
            return;
        }
        sleep_ms(1);
    }
}

static void test_threads_all_take_part(void **state)
{
    for (int threads = 2; threads <= 8; threads += 2) {
        tc_pool *pool;
        assert_ok(tc_pool_create(threads, &pool));
        for (int i = 0; i < 20; i++) {
            if (i % 3 == 1)
                sleep_ms(2); /* long enough for workers to fall asleep */
            meeting m = {.expected = i % 2 ? threads : 2}; /* fewer blocks than threads too */
            tc_parallel_for(pool, m.expected, 1, meet, &m);
            assert_int_equal(atomic_load(&m.arrived), m.expected);
            assert_false(atomic_load(&m.alone));
        }
        tc_pool_destroy(pool);
    }
}

typedef struct nested {
    tc_pool *pool;
    sum sum;
    atomic_bool wrong;
} nested;

static void inner_block(void *context, int64_t begin, int64_t end, int worker)
{
    nested *n = context;
    if (worker != 0)
        atomic_store(&n->wrong, true);
    sum_block(&n->sum, begin, end, worker);
}

static void outer_block(void *context, int64_t begin, int64_t end, int worker)
{
    nested *n = context;
    (void)worker;
    for (int64_t i = begin; i < end; i++)
        tc_parallel_for(n->pool, 10, 3, inner_block, n);
}

static void test_threads_nested(void **state)
{
    nested n = {0};
    assert_ok(tc_pool_create(4, &n.pool));
    tc_parallel_for(n.pool, 100, 1, outer_block, &n);
    assert_int_equal(atomic_load(&n.sum.total), 1000);
    assert_int_equal(atomic_load(&n.sum.blocks), 400);
    assert_false(atomic_load(&n.wrong));
    tc_pool_destroy(n.pool);
}

static record caller_records[4];

static void *concurrent_caller(void *argument)
{
    tc_pool *pool = ((void **)argument)[0];
    record *r = ((void **)argument)[1];
    for (int i = 0; i < 200; i++)
        tc_parallel_for(pool, r->count, r->grain, record_block, r);
    return NULL;
}

static void test_threads_concurrent_callers(void **state)
{
    tc_pool *pool;
    assert_ok(tc_pool_create(4, &pool));
    pthread_t callers[4];
    void *arguments[4][2];
    for (int i = 0; i < 4; i++) {
        memset(&caller_records[i], 0, sizeof caller_records[i]);
        caller_records[i].count = 100 + i;
        caller_records[i].grain = 7;
        caller_records[i].threads = 4;
        arguments[i][0] = pool;
        arguments[i][1] = &caller_records[i];
        assert_int_equal(pthread_create(&callers[i], NULL, concurrent_caller, arguments[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(callers[i], NULL);
        assert_false(atomic_load(&caller_records[i].wrong));
        for (int j = 0; j < MAX_BLOCKS; j++)
            assert_int_equal(caller_records[i].plain[j], j < 15 ? 200 : 0);
    }
    tc_pool_destroy(pool);
}

static void add_partial(void *context, int64_t begin, int64_t end, int worker)
{
    float *partial = context;
    (void)worker;
    float total = 0;
    for (int64_t i = begin; i < end; i++)
        total += 1.0f / (float)(i + 1);
    partial[begin / 100] = total;
}

static void test_threads_split_is_independent_of_threads(void **state)
{
    float expected[100], partial[100];
    tc_parallel_for(NULL, 10000, 100, add_partial, expected);
    for (int threads = 1; threads <= 8; threads++) {
        tc_pool *pool;
        assert_ok(tc_pool_create(threads, &pool));
        tc_parallel_for(pool, 10000, 100, add_partial, partial);
        assert_memory_equal(partial, expected, sizeof expected);
        tc_pool_destroy(pool);
    }
}

static void test_threads_loops_do_not_allocate(void **state)
{
    counting_allocator_install();
    tc_pool *pool;
    assert_ok(tc_pool_create(4, &pool));
    int64_t total = counting_allocator_total();
    check_loop(pool, &shared_record, 100, 3, 100);
    assert_int_equal(counting_allocator_total(), total);
    tc_pool_destroy(pool);
    counting_allocator_remove();
}

typedef struct worker_facts {
    pthread_t caller;
    _Atomic int workers, named, blocking;
} worker_facts;

static void inspect_worker(void *context, int64_t begin, int64_t end, int worker)
{
    worker_facts *facts = context;
    (void)begin;
    (void)end;
    if (pthread_equal(pthread_self(), facts->caller)) {
        sleep_ms(1); /* leave the blocks to the workers */
        return;
    }
    char name[16], more;
    int number;
    sigset_t mask;
    (void)worker;
    atomic_fetch_add(&facts->workers, 1);
    if (pthread_getname_np(pthread_self(), name, sizeof name) == 0 &&
        sscanf(name, "tensorc-%d%c", &number, &more) == 1 && (number == 1 || number == 2))
        atomic_fetch_add(&facts->named, 1);
    if (pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0 && sigismember(&mask, SIGINT) &&
        sigismember(&mask, SIGALRM) && sigismember(&mask, SIGUSR1) && !sigismember(&mask, SIGSEGV))
        atomic_fetch_add(&facts->blocking, 1);
}

static void test_threads_names_and_signals(void **state)
{
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    worker_facts facts = {.caller = pthread_self()};
    tc_pool *pool;
    assert_ok(tc_pool_create(3, &pool));
    for (int i = 0; i < 1000 && atomic_load(&facts.workers) < 10; i++)
        tc_parallel_for(pool, 16, 1, inspect_worker, &facts);
    assert_true(atomic_load(&facts.workers) >= 10);
    assert_int_equal(atomic_load(&facts.named), atomic_load(&facts.workers));
    assert_int_equal(atomic_load(&facts.blocking), atomic_load(&facts.workers));
    tc_pool_destroy(pool);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < 32; i++) /* the caller's own are as before */
        assert_int_equal(sigismember(&before, i), sigismember(&after, i));
}

/* Loops on a view run on so many threads and no more, whoever of the pool they are. */
static void test_threads_views(void **state)
{
    tc_pool *pool;
    assert_ok(tc_pool_create(6, &pool));
    for (int threads = 1; threads <= 6; threads++) {
        tc_pool *view;
        assert_ok(tc_pool_create_view(pool, threads, &view));
        assert_int_equal(tc_pool_threads(view), threads);
        check_loop(view, &shared_record, 1000, 1, 20);
        meeting m = {.expected = threads};
        tc_parallel_for(view, m.expected, 1, meet, &m);
        assert_false(atomic_load(&m.alone));
        tc_pool_destroy(view);
    }
    tc_pool *view;
    assert_ok(tc_pool_create_view(pool, 100, &view));
    assert_int_equal(tc_pool_threads(view), 6);
    tc_pool_destroy(view);
    check_loop(pool, &shared_record, 1000, 1, 20);
    tc_pool_destroy(pool);
}

/* A loop that has the pool for as long as the test wants, and another caller's beside it. */
typedef struct occupied {
    tc_pool *pool;
    atomic_bool entered, leave;
} occupied;

static void occupy_block(void *context, int64_t begin, int64_t end, int worker)
{
    occupied *o = context;
    (void)begin;
    (void)end;
    (void)worker;
    atomic_store(&o->entered, true);
    while (!atomic_load(&o->leave))
        sleep_ms(1);
}

static void *occupy(void *argument)
{
    occupied *o = argument;
    tc_parallel_for(o->pool, 2, 1, occupy_block, o);
    return NULL;
}

static void test_threads_busy_pool_keeps_nobody_waiting(void **state)
{
    occupied o = {0};
    assert_ok(tc_pool_create(2, &o.pool));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, occupy, &o), 0);
    while (!atomic_load(&o.entered))
        sleep_ms(1);
    tc_pool *view;
    assert_ok(tc_pool_create_view(o.pool, 2, &view));
    check_loop(o.pool, &shared_record, 100, 1, 10); /* would not return before `leave` */
    check_loop(view, &shared_record, 100, 1, 10);
    atomic_store(&o.leave, true);
    pthread_join(thread, NULL);
    tc_pool_destroy(view);
    tc_pool_destroy(o.pool);
}

static double cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}

/* Workers that have nothing to do sleep. */
static void test_threads_idle_pool_takes_no_time(void **state)
{
    tc_pool *pool;
    assert_ok(tc_pool_create(0, &pool));
    check_loop(pool, &shared_record, 100, 1, 10);
    sleep_ms(5); /* they spin a little first */
    double before = cpu_ms();
    sleep_ms(200);
    assert_true(cpu_ms() - before < 2);
    tc_pool_destroy(pool);
}

static void test_threads_create_arguments(void **state)
{
    tc_pool *pool = (tc_pool *)state;
    assert_status(tc_pool_create(-1, &pool), TC_INVALID_ARGUMENT);
    assert_null(pool);
    assert_error_contains("not -1");
    assert_status(tc_pool_create(TC_POOL_MAX_THREADS + 1, &pool), TC_INVALID_ARGUMENT);
    assert_null(pool);
    assert_ok(tc_pool_create(0, &pool));
    assert_int_equal(tc_pool_threads(pool), tc_cpu_count());
    tc_pool_destroy(pool);
    tc_pool_destroy(NULL);
}

static tc_status create_and_run(void *context)
{
    tc_pool *pool;
    TC_TRY(tc_pool_create(3, &pool));
    sum s = {0};
    tc_parallel_for(pool, 10, 1, sum_block, &s);
    tc_pool_destroy(pool);
    return atomic_load(&s.blocks) == 10 ? TC_OK : TC_INTERNAL;
}

static void test_threads_create_exhausted(void **state)
{
    counting_allocator_install();
    assert_true(counting_allocator_sweep(create_and_run, NULL) > 0);
    counting_allocator_remove();
}

static size_t address_space(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%zu", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Room for the stacks of some threads only: those that did start are joined again. */
static void test_threads_cannot_be_started(void **state)
{
    if (TEST_SANITIZED || address_space() == 0)
        skip();
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    pthread_attr_t usual, large;
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_attr_init(&large), 0);
    assert_int_equal(pthread_attr_setstacksize(&large, (size_t)256 << 20), 0);
    assert_int_equal(pthread_setattr_default_np(&large), 0);
    counting_allocator_install();
    struct rlimit limit = {address_space() + ((size_t)700 << 20), before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    tc_pool *pool;
    tc_status status = tc_pool_create(8, &pool);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    assert_status(status, TC_RESOURCE_EXHAUSTED);
    assert_null(pool);
    assert_error_contains("of 7 cannot be started");
    counting_allocator_remove();
    pthread_attr_destroy(&large);
    pthread_attr_destroy(&usual);
}

static void test_threads_after_fork(void **state)
{
    tc_pool *pool;
    assert_ok(tc_pool_create(4, &pool));
    check_loop(pool, &shared_record, 100, 1, 10);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        sum s = {0};
        tc_parallel_for(pool, 100, 1, sum_block, &s);
        tc_pool_destroy(pool);
        _exit(atomic_load(&s.blocks) == 100 ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
    check_loop(pool, &shared_record, 100, 1, 10);
    tc_pool_destroy(pool);
}

static void test_threads_create_and_destroy_at_once(void **state)
{
    for (int i = 0; i < 50; i++) {
        tc_pool *pool;
        assert_ok(tc_pool_create(1 + i % 8, &pool));
        if (i % 2)
            check_loop(pool, &shared_record, 20, 1, 1);
        if (i % 3 == 0)
            sleep_ms(1);
        tc_pool_destroy(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_every_block_once),
        cmocka_unit_test(test_threads_many_short_loops),
        cmocka_unit_test(test_threads_extreme_arguments),
        cmocka_unit_test(test_threads_all_take_part),
        cmocka_unit_test(test_threads_nested),
        cmocka_unit_test(test_threads_concurrent_callers),
        cmocka_unit_test(test_threads_split_is_independent_of_threads),
        cmocka_unit_test(test_threads_loops_do_not_allocate),
        cmocka_unit_test(test_threads_names_and_signals),
        cmocka_unit_test(test_threads_views),
        cmocka_unit_test(test_threads_busy_pool_keeps_nobody_waiting),
        cmocka_unit_test(test_threads_idle_pool_takes_no_time),
        cmocka_unit_test(test_threads_create_arguments),
        cmocka_unit_test(test_threads_create_exhausted),
        cmocka_unit_test(test_threads_cannot_be_started),
        cmocka_unit_test(test_threads_after_fork),
        cmocka_unit_test(test_threads_create_and_destroy_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
