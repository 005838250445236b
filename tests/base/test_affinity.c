/* Pools whose workers are bound to cores. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/threads.h"
#include "support/test.h"

static void note_core(void *context, int64_t begin, int64_t end, int worker)
{
    _Atomic int *cores = context;
    cpu_set_t set;
    (void)begin;
    (void)end;
    if (worker == 0)
        nanosleep(&(struct timespec){0, 1000000}, NULL); /* leave the blocks to the workers */
    else if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) == 0 && CPU_COUNT(&set) == 1)
        for (int core = 0; core < CPU_SETSIZE; core++)
            if (CPU_ISSET(core, &set))
                atomic_store(cores, core);
}

static void count_block(void *context, int64_t begin, int64_t end, int worker)
{
    (void)worker;
    atomic_fetch_add((_Atomic int *)context, (int)(end - begin));
}

static void test_affinity_of_workers(void **state)
{
    cpu_set_t usable;
    char text[16];
    int core = 0;
    assert_int_equal(sched_getaffinity(0, sizeof usable, &usable), 0);
    while (!CPU_ISSET(core, &usable))
        core++;
    snprintf(text, sizeof text, "%d,%d-%d", core, core, core);
    tc_pool *pool;
    assert_ok(tc_pool_create_on(0, text, &pool));
    assert_int_equal(tc_pool_threads(pool), 2); /* one per core listed */
    _Atomic int bound = -1;
    for (int i = 0; i < 1000 && atomic_load(&bound) < 0; i++)
        tc_parallel_for(pool, 16, 1, note_core, &bound);
    assert_int_equal(atomic_load(&bound), core);
    tc_pool_destroy(pool);
    assert_ok(tc_pool_create_on(4, text, &pool)); /* over again */
    assert_int_equal(tc_pool_threads(pool), 4);
    _Atomic int blocks = 0;
    tc_parallel_for(pool, 100, 1, count_block, &blocks);
    assert_int_equal(atomic_load(&blocks), 100);
    tc_pool_destroy(pool);
}

static void test_affinity_errors(void **state)
{
    static const char *const bad[] = {"",    " ", "0-",    "-1",    "0,", ",0", "0--1", "3-2",
                                      "0;1", "a", "0 - 1", "0-1-2", "1x", "+1", "0x1f", "0,,1"};
    tc_pool *pool;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_status(tc_pool_create_on(0, bad[i], &pool), TC_INVALID_ARGUMENT);
        assert_null(pool);
        assert_error_contains("is no list of cores like \"0-3,8\"");
    }
    static const char *const beyond[] = {"1023", "0-1024", "99999999999999999999", "0,4294967296"};
    for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
        if (sysconf(_SC_NPROCESSORS_CONF) < 1000) {
            assert_status(tc_pool_create_on(0, beyond[i], &pool), TC_INVALID_ARGUMENT);
            assert_error_contains("numbered from 0 to");
        }
    char text[8 * CPU_SETSIZE] = "0";
    for (int i = 0; i < CPU_SETSIZE; i++)
        strcat(text, ",0");
    assert_status(tc_pool_create_on(2, text, &pool), TC_INVALID_ARGUMENT);
    assert_error_contains("lists more than");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affinity_of_workers),
        cmocka_unit_test(test_affinity_errors),
    };
    return cmocka_run_group_tests_name("affinity", tests, NULL, NULL);
}
