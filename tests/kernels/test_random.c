/* Distributions: their definition element by element, their statistics, and what they depend on. */
#include "kernels/node_run.h"

#include <math.h>

#include <tensorc/ops/random.h>

#include "core/dtype.h"
#include "core/philox.h"

enum { COUNT = 200003, LONG = 1 << 20 };

static const node_run plain = {.isa = TC_ISA_SCALAR, .seed = 5};

static void *compute(tc_value y, const node_run *how)
{
    tc_shape shape = tc_value_shape(y);
    size_t bytes = (size_t)tc_shape_size(&shape) * tc_dtype_size(tc_value_dtype(y));
    void *buffer = malloc(bytes ? bytes : 1);
    node_compute(y, how, NULL, (void *[]){buffer});
    return buffer;
}

/* The elements as doubles; the caller frees them. */
static double *numbers_of(tc_value y, const node_run *how)
{
    tc_shape shape = tc_value_shape(y);
    int64_t count = tc_shape_size(&shape);
    tc_dtype dtype = tc_value_dtype(y);
    char *buffer = compute(y, how);
    double *numbers = malloc(sizeof(double) * (size_t)(count ? count : 1));
    for (int64_t i = 0; i < count; i++)
        numbers[i] = tc_dtype_load(dtype, buffer + (size_t)i * tc_dtype_size(dtype));
    free(buffer);
    return numbers;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov-Smirnov distance times sqrt(n); above 1.95 with probability 0.001. Sorts. */
static double ks_distance(double *x, size_t count, double (*distribution)(double))
{
    qsort(x, count, sizeof *x, compare_doubles);
    double distance = 0;
    for (size_t i = 0; i < count; i++) {
        double f = distribution(x[i]);
        distance = fmax(distance,
                        fmax(f - (double)i / (double)count, (double)(i + 1) / (double)count - f));
    }
    return distance * sqrt((double)count);
}

static double uniform_distribution(double x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}

static double normal_distribution(double x)
{
    return 0.5 * erfc(-x * M_SQRT1_2);
}

static double cut_distribution(double x)
{
    double tail = normal_distribution(-2);
    return (normal_distribution(x) - tail) / (1 - 2 * tail);
}

static const struct statistics {
    const char *name;
    bool normal, cut;
    double mean, variance;
    double (*distribution)(double);
} statistics[] = {
    {"uniform", false, false, 0.5, 1.0 / 12, uniform_distribution},
    {"normal", true, false, 0, 1, normal_distribution},
    /* 1 - 4 p(2) / (P(2) - P(-2)) */
    {"truncated", true, true, 0, 0.77374131, cut_distribution},
};

static tc_value standard(tc_graph *g, const struct statistics *s, tc_dtype dtype, int64_t count,
                         int64_t stream)
{
    tc_shape shape = TC_SHAPE(count);
    if (!s->normal)
        return tc_random_uniform(g, dtype, shape, .stream = stream);
    if (s->cut)
        return tc_random_truncated_normal(g, dtype, shape, .stream = stream);
    return tc_random_normal(g, dtype, shape, .stream = stream);
}

static void test_random_statistics(void **state)
{
    const tc_dtype dtypes[] = {TC_F32, TC_F64};
    tc_graph *g = tc_graph_create();
    for (size_t k = 0; k < 3; k++) {
        const struct statistics *s = &statistics[k];
        for (int d = 0; d < 2; d++) {
            double *x = numbers_of(standard(g, s, dtypes[d], LONG, 17), &plain);
            double sum = 0, squares = 0, lag = 0;
            for (int i = 0; i < LONG; i++)
                sum += x[i];
            double mean = sum / LONG;
            for (int i = 0; i < LONG; i++) {
                squares += (x[i] - mean) * (x[i] - mean);
                lag += i ? (x[i] - mean) * (x[i - 1] - mean) : 0;
            }
            /* Four standard errors. */
            assert_true(fabs(mean - s->mean) < 4 * sqrt(s->variance / LONG));
            assert_true(fabs(squares / LONG - s->variance) < 4 * s->variance * sqrt(2.0 / LONG));
            assert_true(fabs(lag / squares) < 4 / sqrt(LONG));
            double distance = ks_distance(x, LONG, s->distribution);
            if (!(distance < 1.95))
                fail_msg("%s: Kolmogorov-Smirnov distance %g", s->name, distance);
            free(x);
        }
    }
    tc_graph_release(g);
}

/* Uniform numbers as core/philox.h says, on every instruction set. */
static void test_random_uniform_definition(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_random random = tc_random_make(5, 9, 0, 0);
    const tc_random_uniform_options o = {
        .struct_size = sizeof o, .low = -1.5, .high = TC_SOME(0.1), .stream = 9};
    tc_value single = tc_random_uniform_at(TC_HERE, g, TC_F32, TC_SHAPE(COUNT), &o);
    tc_value wide = tc_random_uniform_at(TC_HERE, g, TC_F64, TC_SHAPE(COUNT), &o);
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa, .seed = 5};
        float *x = compute(single, &how);
        double *y = compute(wide, &how);
        float below = nextafterf(0.1f, -1);
        for (uint64_t i = 0; i < COUNT; i++) {
            float u = (float)(tc_random_w32(&random, i, 0) >> 8) * 0x1p-24f;
            float expected = -1.5f + u * (0.1f - -1.5f);
            assert_true(x[i] == (expected < below ? expected : below));
            double v = (double)(tc_random_w64(&random, i, 0) >> 11) * 0x1p-53;
            double number = -1.5 + v * (0.1 - -1.5);
            assert_true(y[i] == (number < 0.1 ? number : nextafter(0.1, -1)));
        }
        free(x);
        free(y);
    }
    tc_graph_release(g);
}

/* Rounding never reaches the open end, in any dtype and on both sides of zero. */
static void test_random_uniform_stays_below(void **state)
{
    static const double bounds[][2] = {{0, 1}, {-1, 0}, {-3, -2}, {100, 101}, {0, 0x1p-14}};
    static const tc_dtype dtypes[] = {TC_F16, TC_BF16, TC_F32, TC_F64};
    tc_graph *g = tc_graph_create();
    for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++)
        for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
            FOR_EACH_ISA(isa)
            {
                const node_run how = {.isa = isa, .seed = b};
                tc_value y = tc_random_uniform(g, dtypes[d], TC_SHAPE(COUNT), .low = bounds[b][0],
                                               .high = TC_SOME(bounds[b][1]));
                double *x = numbers_of(y, &how), largest = -INFINITY;
                for (int i = 0; i < COUNT; i++) {
                    assert_true(x[i] >= bounds[b][0] && x[i] < bounds[b][1]);
                    largest = fmax(largest, x[i]);
                }
                /* As near as the eight bits of bf16 allow. */
                assert_true(largest >= bounds[b][1] - fmax(0.01, fabs(bounds[b][1]) * 0x1p-7));
                free(x);
            }
    tc_graph_release(g);
}

/* The deviation of probability 1/2 + q by bisection of the distribution, in long double. */
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

/* Largest relative error over elements that cover centre and tails, with the sign. */
static double normal_error(tc_value y, const node_run *how, int64_t count, double part)
{
    double *x = numbers_of(y, how), worst = 0;
    bool wide = tc_value_dtype(y) == TC_F64;
    tc_random random = tc_random_make(how->seed, 3, 0, 0);
    for (int64_t i = 0; i < count; i++) {
        uint64_t w = wide ? tc_random_w64(&random, (uint64_t)i, 0)
                          : (uint64_t)tc_random_w32(&random, (uint64_t)i, 0) << 32;
        long double k = (long double)(wide ? w & INT64_MAX : (w >> 32) & INT32_MAX);
        long double q = (k + 0.5L) * (wide ? 0x1p-64L : 0x1p-32L) * (long double)part;
        double z = exact_deviation(0.5L - q);
        worst = fmax(worst, fabs((w >> 63 ? -x[i] : x[i]) - z) / z);
    }
    free(x);
    return worst;
}

static void test_random_normal_accuracy(void **state)
{
    enum { POINTS = 20000 };
    tc_graph *g = tc_graph_create();
    const double part = 1 - erfc(M_SQRT2);
    tc_shape shape = TC_SHAPE(POINTS);
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa, .seed = 8};
        double f32 = normal_error(tc_random_normal(g, TC_F32, shape, .stream = 3), &how, POINTS, 1);
        double f64 = normal_error(tc_random_normal(g, TC_F64, shape, .stream = 3), &how, POINTS, 1);
        double cut32 = normal_error(tc_random_truncated_normal(g, TC_F32, shape, .stream = 3), &how,
                                    POINTS, part);
        double cut64 = normal_error(tc_random_truncated_normal(g, TC_F64, shape, .stream = 3), &how,
                                    POINTS, part);
        print_message("%s: relative error %.2g f32, %.2g f64, truncated %.2g f32, %.2g f64\n",
                      tc_isa_name(isa), f32, f64, cut32, cut64);
        assert_true(f32 < 5e-7 && cut32 < 8e-7);
        assert_true(f64 < 2e-15 && cut64 < 4e-15);
    }
    tc_graph_release(g);
}

static void test_random_normal_parameters(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_shape shape = TC_SHAPE(1000);
    double *z = numbers_of(tc_random_normal(g, TC_F32, shape, .stream = 3), &plain);
    double *x = numbers_of(
        tc_random_normal(g, TC_F32, shape, .mean = 3, .stddev = TC_SOME(0.5), .stream = 3), &plain);
    double *cut = numbers_of(
        tc_random_truncated_normal(g, TC_F32, shape, .mean = 3, .stddev = TC_SOME(0.5)), &plain);
    double *flat =
        numbers_of(tc_random_normal(g, TC_F32, shape, .mean = 3, .stddev = TC_SOME(0)), &plain);
    double *half = numbers_of(tc_random_normal(g, TC_F16, shape, .stream = 3), &plain);
    for (int i = 0; i < 1000; i++) {
        assert_true(x[i] == (double)(3 + 0.5f * (float)z[i]));
        assert_true(cut[i] >= 2 && cut[i] <= 4);
        assert_true(flat[i] == 3);
        assert_true(fabs(half[i] - z[i]) <= 0x1p-11 * fabs(z[i]));
    }
    free(z), free(x), free(cut), free(flat), free(half);
    tc_graph_release(g);
}

/* Every bit pattern counts: reject more than a third of the words, and go past 32 bits. */
static const struct int_case {
    tc_dtype dtype;
    int64_t low, high;
} int_cases[] = {
    {TC_I8, -128, 128},
    {TC_U8, 0, 3},
    {TC_I16, -5, 1000},
    {TC_U16, 0, 65536},
    {TC_I32, -2147483647 - 1, (int64_t)1 << 31},
    {TC_U32, 7, 7 + ((int64_t)1 << 31) + 12345678},
    {TC_I64, 0, 1},
    {TC_I64, INT64_MIN, INT64_MAX},
    {TC_I64, -((int64_t)1 << 62), ((int64_t)1 << 62) + 1},
    {TC_U64, 3, INT64_MAX},
    {TC_I64, 0, (int64_t)1 << 32},
    {TC_I64, 0, ((int64_t)1 << 32) + 1},
};

/* Lemire's method by its definition in core/philox.h. */
static uint64_t drawn(const tc_random *random, uint64_t i, uint64_t range)
{
    __extension__ typedef unsigned __int128 wide;
    int bits = range <= (uint64_t)1 << 32 ? 32 : 64;
    for (uint32_t attempt = 0;; attempt++) {
        uint64_t w =
            bits == 32 ? tc_random_w32(random, i, attempt) : tc_random_w64(random, i, attempt);
        wide product = (wide)w * range, all = (wide)1 << bits;
        if (product % all >= all % range)
            return (uint64_t)(product >> bits);
    }
}

static void test_random_int_definition(void **state)
{
    tc_graph *g = tc_graph_create();
    for (size_t c = 0; c < sizeof int_cases / sizeof int_cases[0]; c++) {
        const struct int_case *k = &int_cases[c];
        tc_value y = tc_random_int(g, k->dtype, TC_SHAPE(20011), k->low, k->high, .stream = 6);
        tc_random random = tc_random_make(5, 6, 0, 0);
        size_t size = tc_dtype_size(k->dtype);
        FOR_EACH_ISA(isa)
        {
            const node_run how = {.isa = isa, .seed = 5};
            unsigned char *x = compute(y, &how);
            for (uint64_t i = 0; i < 20011; i++) {
                uint64_t expected =
                    (uint64_t)k->low + drawn(&random, i, (uint64_t)k->high - (uint64_t)k->low);
                if (memcmp(x + i * size, &expected, size) != 0)
                    fail_msg("case %d, element %d on %s", (int)c, (int)i, tc_isa_name(isa));
            }
            free(x);
        }
    }
    tc_graph_release(g);
}

/* Chi-squared of 3 equally likely numbers, where one third of the words would be rejected at 2
 * bits. */
static void test_random_int_is_unbiased(void **state)
{
    tc_graph *g = tc_graph_create();
    uint8_t *x = compute(tc_random_int(g, TC_U8, TC_SHAPE(LONG), 0, 3), &plain);
    double counts[3] = {0}, chi = 0;
    for (int i = 0; i < LONG; i++)
        counts[x[i]]++;
    for (int i = 0; i < 3; i++)
        chi += (counts[i] - LONG / 3.0) * (counts[i] - LONG / 3.0) / (LONG / 3.0);
    assert_true(chi < 13.8); /* probability 0.001 for two degrees of freedom */
    free(x);
    tc_graph_release(g);
}

/* Numbers depend on seed, stream, step and loop index, and on nothing else. */
static void test_random_dependence(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value y = tc_random_uniform(g, TC_F32, TC_SHAPE(COUNT));
    tc_value other = tc_random_uniform(g, TC_F32, TC_SHAPE(COUNT));
    const size_t bytes = COUNT * sizeof(float);
    float *base = compute(y, &plain), *again = compute(y, &plain), *next = compute(other, &plain);
    assert_memory_equal(base, again, bytes);
    assert_memory_not_equal(base, next, 64);
    free(again);
    free(next);
    for (int i = 0; i < 3; i++) {
        node_run changed = plain;
        *(i == 0 ? &changed.seed : i == 1 ? &changed.step : &changed.loop_index) += 1;
        float *x = compute(y, &changed);
        int equal = 0;
        for (int j = 0; j < COUNT; j++)
            equal += x[j] == base[j];
        assert_in_range(equal, 0, 5);
        free(x);
    }
    FOR_EACH_ISA(isa)
    {
        for (int threads = 1; threads <= 3; threads += 2) {
            node_run how = plain;
            how.isa = isa;
            how.threads = threads;
            float *x = compute(y, &how);
            assert_memory_equal(x, base, bytes);
            free(x);
        }
    }
    free(base);
    tc_graph_release(g);
}

static void test_random_normal_threads(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value y = tc_random_normal(g, TC_F64, TC_SHAPE(COUNT));
    double *first = compute(y, &plain);
    FOR_EACH_ISA(isa)
    {
        node_run how = {.isa = isa, .seed = plain.seed};
        double *alone = compute(y, &how);
        how.threads = 3;
        double *shared = compute(y, &how);
        assert_memory_equal(alone, shared, COUNT * sizeof(double));
        for (int i = 0; i < COUNT; i++)
            assert_true(fabs(alone[i] - first[i]) <= 4e-15 * fabs(first[i]));
        free(alone);
        free(shared);
    }
    free(first);
    tc_graph_release(g);
}

static void test_random_empty(void **state)
{
    tc_graph *g = tc_graph_create();
    free(compute(tc_random_normal(g, TC_F32, TC_SHAPE(3, 0)), &plain));
    free(compute(tc_random_int(g, TC_I8, TC_SHAPE(0), 0, 5), &plain));
    tc_graph_release(g);
}

/* The mask of core/philox.h; dropped infinities are 0, and any instruction set gives the same bits.
 */
static void test_random_dropout(void **state)
{
    const tc_dtype dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16};
    tc_graph *g = tc_graph_create();
    tc_random random = tc_random_make(5, 4, 0, 0);
    for (int d = 0; d < 4; d++) {
        size_t size = tc_dtype_size(dtypes[d]);
        tc_value x = tc_placeholder(g, tc_dtype_name(dtypes[d]), dtypes[d], TC_SHAPE(COUNT));
        tc_value y = tc_dropout(x, 0.2, .mode = TC_MODE_TRAINING, .stream = 4);
        char *in = malloc(COUNT * size), *out = malloc(COUNT * size);
        for (size_t i = 0; i < COUNT; i++)
            tc_dtype_store(dtypes[d], in + i * size, i % 7 == 3 ? INFINITY : 1 + (double)(i % 5));
        FOR_EACH_ISA(isa)
        {
            const node_run how = {.isa = isa, .seed = 5, .threads = 2};
            node_compute(y, &how, (const void *[]){in}, (void *[]){out});
            int dropped = 0;
            for (size_t i = 0; i < COUNT; i++) {
                bool drop = tc_random_w32(&random, i, 0) < 858993459u; /* 0.2 * 2^32 */
                double value = tc_dtype_load(dtypes[d], in + i * size);
                uint64_t expected = 0;
                tc_dtype_store(dtypes[d], &expected,
                               drop                  ? 0
                               : dtypes[d] == TC_F64 ? value * (1 / (1 - 0.2))
                                                     : (double)((float)value * (float)(1 / 0.8)));
                assert_memory_equal(out + i * size, &expected, size);
                dropped += drop;
            }
            assert_true(fabs(dropped - 0.2 * COUNT) < 4 * sqrt(0.16 * COUNT));
        }
        free(in);
        free(out);
    }
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_statistics),
        cmocka_unit_test(test_random_uniform_definition),
        cmocka_unit_test(test_random_uniform_stays_below),
        cmocka_unit_test(test_random_normal_accuracy),
        cmocka_unit_test(test_random_normal_parameters),
        cmocka_unit_test(test_random_normal_threads),
        cmocka_unit_test(test_random_int_definition),
        cmocka_unit_test(test_random_int_is_unbiased),
        cmocka_unit_test(test_random_dependence),
        cmocka_unit_test(test_random_empty),
        cmocka_unit_test(test_random_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
