/* The generator itself, and the vector kernels against its definition in core/philox.h. */
#include "kernels/node_run.h"

#include <tensorc/ops/random.h>

#include "core/philox.h"

/* From kat_vectors of Random123 1.14, the authors' own library. */
static const struct known_answer {
    uint32_t counter[4], key[2], words[4];
} known_answers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

static void test_philox_known_answers(void **state)
{
    for (size_t i = 0; i < sizeof known_answers / sizeof known_answers[0]; i++) {
        uint32_t words[4];
        tc_philox4x32(known_answers[i].key, known_answers[i].counter, words);
        assert_memory_equal(words, known_answers[i].words, sizeof words);
    }
}

/* SplitMix64 with seed 1234567 gives these numbers; its state is seed + n * golden ratio. */
static void test_philox_mix_is_splitmix(void **state)
{
    const uint64_t golden = 0x9E3779B97F4A7C15u, seed = 1234567;
    assert_true(tc_random_mix(seed + golden) == 6457827717110365317u);
    assert_true(tc_random_mix(seed + 2 * golden) == 3203168211198807973u);
    assert_true(tc_random_mix(0) == 0);
}

/* The layout that other devices reproduce: changing it changes every saved experiment. */
static void test_philox_layout(void **state)
{
    const uint64_t block = 0x0012345678abcdefu, step = 0xfffffffffffffff0u;
    tc_random random = tc_random_make(7, 11, step, 13);
    uint64_t key = tc_random_mix(7 + tc_random_mix(11)), tick = step + tc_random_mix(13);
    uint32_t words[4], expected[4];
    tc_random_block(&random, block, 3, words);
    tc_philox4x32(
        (const uint32_t[]){(uint32_t)key, (uint32_t)(key >> 32)},
        (const uint32_t[]){0x78abcdef, 0x03123456, (uint32_t)tick, (uint32_t)(tick >> 32)},
        expected);
    assert_memory_equal(words, expected, sizeof words);
    assert_int_equal(tc_random_w32(&random, 4 * block + 2, 3), words[2]);
    assert_true(tc_random_w64(&random, 2 * block + 1, 3) == ((uint64_t)words[3] << 32 | words[2]));
}

/* Integers of all 32 bits are the words themselves. */
static void test_philox_vectors(void **state)
{
    enum { COUNT = 70001 };
    tc_graph *g = tc_graph_create();
    tc_value y = tc_random_int(g, TC_U32, TC_SHAPE(COUNT), 0, (int64_t)1 << 32, .stream = 42);
    uint32_t *words = malloc(sizeof(uint32_t) * COUNT);
    FOR_EACH_ISA(isa)
    {
        memset(words, 0, sizeof(uint32_t) * COUNT);
        const node_run how = {.isa = isa, .seed = 1, .step = 2, .loop_index = 3};
        node_compute(y, &how, NULL, (void *[]){words});
        tc_random random = tc_random_make(1, 42, 2, 3);
        for (uint64_t i = 0; i < COUNT; i++)
            if (words[i] != tc_random_w32(&random, i, 0))
                fail_msg("word %d of %s differs", (int)i, tc_isa_name(isa));
    }
    free(words);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_philox_mix_is_splitmix),
        cmocka_unit_test(test_philox_layout),
        cmocka_unit_test(test_philox_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
