/* The memory planner: exact offsets, random lifetimes, how near it comes to the largest live set.
 */
#include "support/test.h"

#include <time.h>

#include "base/alloc.h"
#include "compiler/memory.h"
#include "support/counting_allocator.h"

#define COUNT(array) ((int32_t)(sizeof(array) / sizeof((array)[0])))

static tc_lifetime block(size_t bytes, int32_t first, int32_t last)
{
    return (tc_lifetime){.bytes = bytes, .first = first, .last = last, .alias = -1, .offset = 77};
}

static tc_lifetime alias(size_t bytes, int32_t first, int32_t last, int32_t of)
{
    return (tc_lifetime){.bytes = bytes, .first = first, .last = last, .alias = of, .offset = 77};
}

static void test_nothing(void **state)
{
    size_t total = 1;
    assert_ok(tc_memory_plan(NULL, 0, &total));
    assert_int_equal(total, 0);
}

static void test_offsets(void **state)
{
    /* A chain: each block dies where the next but one begins. */
    tc_lifetime chain[] = {block(256, 0, 1), block(256, 1, 2), block(256, 2, 3), block(256, 3, 4)};
    size_t total;
    assert_ok(tc_memory_plan(chain, COUNT(chain), &total));
    assert_int_equal(total, 512);
    assert_int_equal(chain[0].offset, 0);
    assert_int_equal(chain[1].offset, 256);
    assert_int_equal(chain[2].offset, 0);
    assert_int_equal(chain[3].offset, 256);

    /* Both ends of a lifetime count: these two meet in step 1. */
    tc_lifetime meet[] = {block(64, 0, 1), block(64, 1, 1)};
    assert_ok(tc_memory_plan(meet, COUNT(meet), &total));
    assert_int_equal(total, 128);

    /* Sizes are rounded up to 64, and nothing else is added. */
    tc_lifetime round[] = {block(1, 0, 0), block(65, 0, 0), block(64, 0, 0)};
    assert_ok(tc_memory_plan(round, COUNT(round), &total));
    assert_int_equal(total, 256);
    assert_int_equal(round[1].offset, 0);
    assert_int_equal(round[0].offset, 128);
    assert_int_equal(round[2].offset, 192);
}

static void test_best_fit(void **state)
{
    /*
     * Two gaps are free at step 1, of 256 bytes where block 0 was and of 128 where block 2 was; 128
     * bytes go into the smaller one and 256 into the larger.
     */
    tc_lifetime blocks[] = {block(256, 0, 0), block(512, 0, 1), block(128, 0, 0),
                            block(512, 0, 1), block(128, 1, 1), block(256, 1, 1)};
    size_t total;
    assert_ok(tc_memory_plan(blocks, COUNT(blocks), &total));
    assert_int_equal(total, 512 + 512 + 256 + 128);
    assert_int_equal(blocks[5].offset, blocks[0].offset);
    assert_int_equal(blocks[4].offset, blocks[2].offset);
}

static void test_alias(void **state)
{
    /* 1 takes over 0 and 2 takes over 1, so 3 finds no room at the bottom although 0 is dead. */
    tc_lifetime blocks[] = {block(256, 0, 1), alias(256, 1, 2, 0), alias(200, 2, 3, 1),
                            block(128, 3, 3)};
    size_t total;
    assert_ok(tc_memory_plan(blocks, COUNT(blocks), &total));
    assert_int_equal(blocks[0].offset, 0);
    assert_int_equal(blocks[1].offset, 0);
    assert_int_equal(blocks[2].offset, 0);
    assert_int_equal(blocks[3].offset, 256);
    assert_int_equal(total, 384);
}

static void test_empty_blocks(void **state)
{
    tc_lifetime blocks[] = {block(0, 0, 5), block(64, 0, 5), alias(0, 1, 2, 0)};
    size_t total;
    assert_ok(tc_memory_plan(blocks, COUNT(blocks), &total));
    assert_int_equal(total, 64);
    assert_int_equal(blocks[0].offset, 0);
    assert_int_equal(blocks[2].offset, 0);
}

static void test_bad_input(void **state)
{
    size_t total;
    tc_lifetime huge[] = {block(SIZE_MAX / 2 + 1, 0, 0), block(SIZE_MAX / 2 + 1, 0, 0)};
    assert_status(tc_memory_plan(huge, COUNT(huge), &total), TC_RESOURCE_EXHAUSTED);
    tc_lifetime one[] = {block(SIZE_MAX, 0, 0)};
    assert_status(tc_memory_plan(one, COUNT(one), &total), TC_RESOURCE_EXHAUSTED);
    tc_lifetime backwards[] = {block(64, 2, 1)};
    assert_status(tc_memory_plan(backwards, COUNT(backwards), &total), TC_INTERNAL);
    tc_lifetime outside[] = {alias(64, 0, 1, 1)};
    assert_status(tc_memory_plan(outside, COUNT(outside), &total), TC_INTERNAL);
    tc_lifetime circle[] = {alias(64, 0, 1, 1), alias(64, 0, 1, 0)};
    assert_status(tc_memory_plan(circle, COUNT(circle), &total), TC_INTERNAL);
}

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t live_bytes(const tc_lifetime *blocks, int32_t count, int32_t steps)
{
    size_t most = 0;
    for (int32_t step = 0; step < steps; step++) {
        size_t live = 0;
        for (int32_t i = 0; i < count; i++)
            if (blocks[i].alias < 0 && blocks[i].first <= step && step <= blocks[i].last)
                live += tc_align_up(blocks[i].bytes, 64);
        if (live > most)
            most = live;
    }
    return most;
}

static void check_placed(const tc_lifetime *blocks, int32_t count, size_t total)
{
    for (int32_t i = 0; i < count; i++) {
        const tc_lifetime *a = &blocks[i];
        assert_int_equal(a->offset % 64, 0);
        assert_true(a->offset + a->bytes <= total);
        for (int32_t j = 0; j < i; j++) {
            const tc_lifetime *b = &blocks[j];
            bool together = a->first <= b->last && b->first <= a->last;
            bool overlap = a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
            assert_false(together && overlap);
        }
    }
}

static void test_random_lifetimes(void **state)
{
    double worst = 1, sum = 0;
    enum { ROUNDS = 300, BLOCKS = 120, STEPS = 80 };
    random_state = 88172645463325252u;
    for (int round = 0; round < ROUNDS; round++) {
        tc_lifetime blocks[BLOCKS];
        int32_t count = 1 + (int32_t)(next_random() % BLOCKS);
        for (int32_t i = 0; i < count; i++) {
            int32_t first = (int32_t)(next_random() % STEPS);
            uint64_t longest = next_random() % 8 == 0 ? STEPS : 6;
            int32_t length = (int32_t)(next_random() % longest);
            int32_t last = first + length < STEPS ? first + length : STEPS - 1;
            blocks[i] = block((size_t)(next_random() % 4096), first, last);
        }
        size_t total;
        assert_ok(tc_memory_plan(blocks, count, &total));
        check_placed(blocks, count, total);
        size_t least = live_bytes(blocks, count, STEPS);
        assert_true(total >= least);
        double ratio = least ? (double)total / (double)least : 1;
        sum += ratio;
        if (ratio > worst)
            worst = ratio;
    }
    print_message("random lifetimes: arena over largest live set %.3f on average, %.3f at worst\n",
                  sum / ROUNDS, worst);
    assert_true(sum / ROUNDS < 1.03);
    assert_true(worst < 1.20);
}

/* The deterministic planner gives the same offsets whenever it is asked. */
static void test_deterministic(void **state)
{
    enum { BLOCKS = 500 };
    tc_lifetime a[BLOCKS], b[BLOCKS];
    size_t first_total, second_total;
    random_state = 12345;
    for (int32_t i = 0; i < BLOCKS; i++) {
        int32_t first = (int32_t)(next_random() % 200);
        a[i] = b[i] = block((size_t)(next_random() % 16) * 64, first, first + 5);
    }
    assert_ok(tc_memory_plan(a, BLOCKS, &first_total));
    assert_ok(tc_memory_plan(b, BLOCKS, &second_total));
    assert_int_equal(first_total, second_total);
    for (int32_t i = 0; i < BLOCKS; i++)
        assert_int_equal(a[i].offset, b[i].offset);
}

/* Training of a network of `layers` blocks: activations live until the backward pass comes back to
 * them. */
static int32_t training_blocks(tc_lifetime *blocks, int32_t layers)
{
    int32_t count = 0, steps = layers * 4;
    for (int32_t i = 0; i < layers; i++) {
        size_t width = (size_t)1 << (10 + i % 7);
        blocks[count++] = block(width * 12, 2 * i, steps - 2 * i); /* activation */
        blocks[count++] = block(width * 40, 2 * i, 2 * i);         /* workspace */
        blocks[count++] = block(width * 12, 2 * i, 2 * i + 1);     /* before the non-linearity */
        blocks[count++] = block(width * 12, steps - 2 * i, steps - 2 * i + 2); /* its gradient */
        blocks[count++] = block(width * 5 + 4, steps - 2 * i, steps + 2);      /* of the weights */
    }
    return count;
}

/* Inference with branches: each block is read by the next few. */
static int32_t inference_blocks(tc_lifetime *blocks, int32_t layers)
{
    random_state = 99;
    for (int32_t i = 0; i < layers; i++) {
        size_t bytes = (size_t)4096 << (next_random() % 5);
        blocks[i] = block(bytes, i, i + 1 + (int32_t)(next_random() % 3));
    }
    return layers;
}

static void test_realistic(void **state)
{
    static tc_lifetime blocks[1000];
    const struct {
        const char *name;
        int32_t (*make)(tc_lifetime *blocks, int32_t layers);
        int32_t layers;
    } cases[] = {{"training", training_blocks, 50},
                 {"training", training_blocks, 180},
                 {"inference", inference_blocks, 100},
                 {"inference", inference_blocks, 900}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int32_t count = cases[i].make(blocks, cases[i].layers);
        size_t total;
        assert_ok(tc_memory_plan(blocks, count, &total));
        check_placed(blocks, count, total);
        double ratio = (double)total / (double)live_bytes(blocks, count, cases[i].layers * 4 + 8);
        print_message("%s of %d layers: arena over largest live set %.3f\n", cases[i].name,
                      (int)cases[i].layers, ratio);
        assert_true(ratio < 1.05);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void test_many_blocks(void **state)
{
    enum { BLOCKS = 100000 };
    tc_lifetime *blocks = malloc(BLOCKS * sizeof *blocks);
    assert_non_null(blocks);
    for (int32_t count = BLOCKS / 10; count <= BLOCKS; count *= 10) {
        random_state = 4242;
        for (int32_t i = 0; i < count; i++) {
            int32_t length = next_random() % 100 == 0 ? 500 : (int32_t)(next_random() % 6);
            blocks[i] = block((size_t)(next_random() % 65536), i, i + length);
        }
        size_t total;
        double start = seconds();
        assert_ok(tc_memory_plan(blocks, count, &total));
        double took = seconds() - start;
        print_message("%d blocks: %.1f ms\n", (int)count, took * 1e3);
        assert_true(took < (TEST_SANITIZED ? 20.0 : 2.0)); /* quadratic would take minutes */
    }
    free(blocks);
}

static tc_status plan_few(void *context)
{
    tc_lifetime blocks[] = {block(256, 0, 1), block(256, 1, 2), alias(256, 2, 3, 1)};
    size_t total;
    return tc_memory_plan(blocks, COUNT(blocks), &total);
}

/* So many blocks alive at one time that memory is given out in the order of time: nothing overlaps,
 * what is free is used again, and it does not take minutes. */
static void test_many_alive(void **state)
{
    enum { ALIVE = 20000, STEPS = 3 * ALIVE };
    tc_lifetime *blocks = malloc(STEPS * sizeof *blocks);
    size_t total, live = 0, most = 0;
    assert_non_null(blocks);
    for (int32_t i = 0; i < STEPS; i++)
        blocks[i] = block(64 * (size_t)(1 + i % 3), i, i + ALIVE - (i % 7) * 100);
    clock_t start = clock();
    assert_ok(tc_memory_plan(blocks, STEPS, &total));
    print_message("%.2f s for %d blocks\n", (double)(clock() - start) / CLOCKS_PER_SEC, STEPS);
    assert_true(clock() - start < (TEST_SANITIZED ? 60 : 10) * CLOCKS_PER_SEC);
    /* Every 64 bytes belong to one block at a time: by time, ends before beginnings. */
    size_t n_steps = STEPS + ALIVE + 1;
    int32_t *owner = malloc(total / 64 * sizeof *owner), *next = malloc(STEPS * sizeof *next);
    int32_t *head = malloc(n_steps * sizeof *head);
    assert_true(owner && next && head);
    memset(owner, 0xff, total / 64 * sizeof *owner);
    memset(head, 0xff, n_steps * sizeof *head);
    for (int32_t i = 0; i < STEPS; i++) {
        next[i] = head[blocks[i].last];
        head[blocks[i].last] = i;
    }
    for (int32_t step = 0; step < STEPS; step++) {
        for (int32_t e = step ? head[step - 1] : -1; e >= 0; e = next[e]) {
            for (size_t at = 0; at < blocks[e].bytes; at += 64)
                owner[(blocks[e].offset + at) / 64] = -1;
            live -= blocks[e].bytes;
        }
        assert_true(blocks[step].offset + blocks[step].bytes <= total);
        for (size_t at = 0; at < blocks[step].bytes; at += 64) {
            int32_t *slot = &owner[(blocks[step].offset + at) / 64];
            assert_int_equal(*slot, -1);
            *slot = step;
        }
        live += blocks[step].bytes;
        most = live > most ? live : most;
    }
    assert_true(total <= most + most / 2);
    free(owner);
    free(next);
    free(head);
    free(blocks);
    (void)state;
}

static void test_memory_exhausted(void **state)
{
    counting_allocator_install();
    assert_true(counting_allocator_sweep(plan_few, NULL) >= 1);
    counting_allocator_remove();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),          cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_best_fit),         cmocka_unit_test(test_alias),
        cmocka_unit_test(test_empty_blocks),     cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_random_lifetimes), cmocka_unit_test(test_deterministic),
        cmocka_unit_test(test_realistic),        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_many_alive),       cmocka_unit_test(test_memory_exhausted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
