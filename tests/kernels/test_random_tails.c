/*
 * Normal numbers so far out that no test draws them (beyond 6.6 deviations, one in 10^10): the
 * function that turns words into numbers is called on words made for it.
 */
#include "support/test.h"

#define TC_ISA_SUFFIX inside
#define TC_ISA_LEVEL  0
#include "kernels/cpu/isa/random.c"

static double exact_deviation(long double tail)
{
    long double low = 0, high = 40;
    for (int i = 0; i < 120; i++) {
        long double middle = (low + high) / 2;
        if (0.5L * erfcl(middle / sqrtl(2)) > tail)
            low = middle;
        else
            high = middle;
    }
    return (double)((low + high) / 2);
}

static void test_random_tails_f64(void **state)
{
    double last = INFINITY;
    for (int bit = 0; bit < 63; bit++) {
        int64_t distance = (int64_t)1 << bit; /* to the largest word */
        int64_t words[2] = {INT64_MAX - distance + 1, -distance};
        tc_i64v w;
        memcpy(&w, words, sizeof w);
        tc_f64v z = f64_gauss(w);
        double expected = exact_deviation(((long double)distance - 0.5L) * 0x1p-64L);
        assert_true(fabs(z[0] - expected) <= 2e-15 * expected);
        assert_true(z[1] == -z[0]);
        assert_true(z[0] < last);
        last = z[0];
    }
}

static void test_random_tails_f32(void **state)
{
    for (int bit = 0; bit < 31; bit++) {
        int32_t distance = (int32_t)1 << bit;
        int32_t words[4] = {INT32_MAX - distance + 1, -distance, 0, INT32_MIN};
        tc_i32v w;
        memcpy(&w, words, sizeof w);
        tc_f32v z = f32_gauss(w);
        double expected = exact_deviation(((long double)distance - 0.5L) * 0x1p-32L);
        assert_true(fabs((double)z[0] - expected) <= 5e-7 * expected);
        assert_true(z[1] == -z[0]);
        assert_true(z[2] > 0 && z[2] < 1e-9f && z[3] == -z[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_tails_f64),
        cmocka_unit_test(test_random_tails_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
