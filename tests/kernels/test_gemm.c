/* tc_gemm against a plain double loop: every mode, dtype, transpose and tile border, batches,
 * threads, concurrency. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/test.h"

#include "base/alloc.h"
#include "base/cpu.h"
#include "core/dtype.h"
#include "kernels/cpu/gemm.h"

static uint32_t state = 1;
static tc_isa isa; /* under test */

/* Whole numbers of few bits: every sum below is exact in f32, so the results must be equal. */
static void *numbers(tc_dtype dtype, int64_t count)
{
    char *data = tc_alloc_aligned((size_t)count * tc_dtype_size(dtype) + 64, 64);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        tc_dtype_store(dtype, data + (size_t)i * tc_dtype_size(dtype), (double)(state >> 29) - 3);
    }
    return data;
}

static double element(tc_dtype dtype, const void *data, int64_t i)
{
    return tc_dtype_load(dtype, (const char *)data + (size_t)i * tc_dtype_size(dtype));
}

/* Pools by their threads, made when first wanted. */
static tc_pool *pools[9];

static tc_pool *pool_of(int threads)
{
    if (!pools[threads])
        assert_int_equal(tc_pool_create(threads, &pools[threads]), TC_OK);
    return pools[threads];
}

/* Runs `g` (leading dimensions preset), with B packed ahead where that is possible and wanted;
 * returns C. */
static void *run(tc_gemm g, const void *a, const void *b, int64_t c_size, int threads, bool ahead)
{
    assert_true(tc_gemm_plan(&g, threads));
    tc_pool *pool = pool_of(threads);
    void *workspace = tc_alloc_aligned(g.workspace_bytes + 64, 64);
    void *packed = ahead && g.packed_bytes ? tc_alloc_aligned(g.packed_bytes, 64) : NULL;
    size_t bytes = (size_t)c_size * tc_dtype_size(g.dtype);
    char *c = tc_alloc_aligned(bytes + 64, 64);
    assert_non_null(c);
    memset(c, g.accumulate ? 0 : 0x5a, bytes + 64);
    memset(c + bytes, 0x5a, 64);
    memset(workspace, 0xff, g.workspace_bytes);
    memset((char *)workspace + g.workspace_bytes, 0x5a, 64);
    if (packed)
        tc_gemm_pack(&g, b, packed, pool);
    tc_gemm_run(&g, a, packed ? NULL : b, packed, NULL, c, workspace, pool);
    for (int i = 0; i < 64; i++) {
        assert_int_equal(c[bytes + (size_t)i], 0x5a);
        assert_int_equal(((char *)workspace)[g.workspace_bytes + (size_t)i], 0x5a);
    }
    tc_free(workspace);
    tc_free(packed);
    return c;
}

static void check(tc_dtype dtype, int64_t m, int64_t n, int64_t k, bool ta, bool tb, int64_t items)
{
    tc_gemm g = {.isa = isa,
                 .dtype = dtype,
                 .transpose_a = ta,
                 .transpose_b = tb,
                 .m = m,
                 .n = n,
                 .k = k,
                 .lda = ta ? m : k,
                 .ldb = tb ? k : n,
                 .ldc = n};
    if (items > 1) {
        g.batch_rank = 2;
        g.batch_dims[0] = items;
        g.batch_dims[1] = 2; /* B is broadcast along it */
        g.batch_a[0] = 2 * m * k;
        g.batch_a[1] = m * k;
        g.batch_b[0] = k * n;
    }
    int64_t total = items > 1 ? 2 * items : 1;
    void *a = numbers(dtype, total * m * k), *b = numbers(dtype, items * k * n);
    void *c = run(g, a, b, total * m * n, 1, false);
    for (int64_t t = 0; t < total; t++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                int64_t a0 = t * m * k, b0 = t / 2 * k * n;
                for (int64_t p = 0; p < k; p++)
                    sum += element(dtype, a, a0 + (ta ? p * m + i : i * k + p)) *
                           element(dtype, b, b0 + (tb ? j * k + p : p * n + j));
                char rounded[8] = {0};
                tc_dtype_store(dtype, rounded, sum);
                double got = element(dtype, c, t * m * n + i * n + j);
                if (got != element(dtype, rounded, 0))
                    fail_msg("%s %dx%dx%d ta %d tb %d: c[%d][%d] is %g, expected %g",
                             tc_dtype_name(dtype), (int)m, (int)n, (int)k, ta, tb, (int)i, (int)j,
                             got, sum);
            }
    size_t bytes = (size_t)(total * m * n) * tc_dtype_size(dtype);
    for (int threads = 1; threads <= 3; threads += 2) {
        void *again = run(g, a, b, total * m * n, threads, true);
        assert_memory_equal(c, again, bytes);
        tc_free(again);
    }
    tc_free(a);
    tc_free(b);
    tc_free(c);
}

static const tc_dtype dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16};

static void test_gemm_small_sizes(void **unused)
{
    static const int64_t sizes[] = {1, 2, 4, 7, 8, 15, 17, 33};
    enum { N = sizeof sizes / sizeof sizes[0] };
    for (int d = 0; d < 4; d++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                for (int p = 0; p < N; p += TEST_SANITIZED ? 5 : 2)
                    for (int t = 0; t < 4; t += d < 2 ? 1 : 3)
                        check(dtypes[d], sizes[i], sizes[j], sizes[p], t & 1, t & 2, 1);
}

static void test_gemm_tile_borders(void **unused)
{
    /* Rows of strips, copies and tiles; columns of panels and tiles; depths of passes. */
    static const int64_t shapes[][3] = {
        {64, 31, 40},   {65, 257, 64},  {111, 96, 33},  {112, 97, 385},  {113, 33, 384},
        {225, 65, 383}, {449, 129, 70}, {1, 513, 800},  {3, 300, 129},   {14, 128, 769},
        {16, 40, 100},  {17, 70, 512},  {128, 512, 65}, {240, 256, 512}, {60, 512, 256}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int d = 0; d < 4; d++)
            for (int t = 0; t < 4; t++)
                check(dtypes[d], shapes[s][0], shapes[s][1], shapes[s][2], t & 1, t & 2, 1);
}

static void test_gemm_batches(void **unused)
{
    static const int64_t shapes[][3] = {{1, 1, 1}, {5, 6, 7}, {33, 40, 64}, {130, 66, 90}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int d = 0; d < 4; d++)
            for (int t = 0; t < 4; t++)
                check(dtypes[d], shapes[s][0], shapes[s][1], shapes[s][2], t & 1, t & 2, 3);
    check(TC_F32, 300, 300, 200, false, false, 2); /* items that are split */
    check(TC_BF16, 300, 300, 200, true, true, 2);
}

static void test_gemm_empty(void **unused)
{
    float a[1] = {1}, b[1] = {1}, c[6] = {7, 7, 7, 7, 7, 7};
    static const int64_t shapes[][3] = {{0, 3, 4}, {3, 0, 4}, {0, 0, 0}};
    for (size_t s = 0; s < 3; s++) {
        tc_gemm g = {
            .isa = isa, .dtype = TC_F32, .m = shapes[s][0], .n = shapes[s][1], .k = shapes[s][2]};
        assert_true(tc_gemm_plan(&g, 2));
        tc_gemm_run(&g, a, b, NULL, NULL, c, NULL, NULL);
        assert_true(c[0] == 7);
    }
    /* k = 0: a sum of nothing. */
    for (int d = 0; d < 4; d++)
        for (int t = 0; t < 4; t++)
            check(dtypes[d], 2, 3, 0, t & 1, t & 2, 1);
}

static void test_gemm_accumulate(void **unused)
{
    for (int t = 0; t < 4; t++) {
        tc_gemm g = {.isa = isa,
                     .dtype = TC_F64,
                     .transpose_a = t & 1,
                     .transpose_b = t & 2,
                     .accumulate = true,
                     .m = 70,
                     .n = 50,
                     .k = 400};
        g.lda = g.transpose_a ? 70 : 400;
        g.ldb = g.transpose_b ? 400 : 50;
        g.ldc = 50;
        double *a = numbers(TC_F64, 70 * 400), *b = numbers(TC_F64, 50 * 400);
        double *once = run(g, a, b, 70 * 50, 2, false);
        assert_true(tc_gemm_plan(&g, 1));
        void *workspace = tc_alloc_aligned(g.workspace_bytes + 64, 64);
        double *twice = tc_alloc_aligned(70 * 50 * sizeof(double), 64);
        memcpy(twice, once, 70 * 50 * sizeof(double));
        tc_gemm_run(&g, a, b, NULL, NULL, twice, workspace, NULL);
        for (int i = 0; i < 70 * 50; i++)
            assert_true(twice[i] == 2 * once[i]);
        tc_free(a);
        tc_free(b);
        tc_free(once);
        tc_free(twice);
        tc_free(workspace);
    }
}

/* Fractions this time, so that another order of summation would show. */
static void test_gemm_same_bits_for_any_threads(void **unused)
{
    static const int64_t shapes[][3] = {
        {64, 10, 784}, {1, 1000, 2048}, {200, 300, 500}, {8, 70, 65}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int t = 0; t < 4; t++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            tc_gemm g = {.isa = isa,
                         .dtype = TC_F32,
                         .transpose_a = t & 1,
                         .transpose_b = t & 2,
                         .m = m,
                         .n = n,
                         .k = k,
                         .lda = t & 1 ? m : k,
                         .ldb = t & 2 ? k : n,
                         .ldc = n};
            float *a = numbers(TC_F32, m * k), *b = numbers(TC_F32, k * n);
            for (int64_t i = 0; i < m * k; i++)
                a[i] = a[i] / 3 + 1.0f / (float)(i + 1);
            float *one = run(g, a, b, m * n, 1, false);
            static const int threads[] = {2, 3, 8};
            for (int i = 0; i < 3; i++) {
                float *more = run(g, a, b, m * n, threads[i], i == 1);
                assert_memory_equal(one, more, (size_t)(m * n) * sizeof(float));
                tc_free(more);
            }
            tc_free(a);
            tc_free(b);
            tc_free(one);
        }
}

typedef struct concurrent {
    tc_pool *pool; /* one for all */
    const tc_gemm *g;
    const float *a, *b, *expected;
    bool right;
} concurrent;

static void *multiply_often(void *argument)
{
    concurrent *w = argument;
    size_t bytes = (size_t)(w->g->m * w->g->n) * sizeof(float);
    float *c = malloc(bytes);
    void *workspace = tc_alloc_aligned(w->g->workspace_bytes + 64, 64);
    w->right = c && workspace;
    for (int i = 0; i < 5 && w->right; i++) {
        memset(c, 0xff, bytes);
        tc_gemm_run(w->g, w->a, w->b, NULL, NULL, c, workspace, w->pool);
        w->right = memcmp(c, w->expected, bytes) == 0;
    }
    free(c);
    tc_free(workspace);
    return NULL;
}

static void test_gemm_from_many_threads(void **unused)
{
    enum { CALLERS = 80 };
    tc_gemm g = {.isa = isa,
                 .dtype = TC_F32,
                 .m = 150,
                 .n = 200,
                 .k = 100,
                 .lda = 100,
                 .ldb = 200,
                 .ldc = 200};
    float *a = numbers(TC_F32, g.m * g.k), *b = numbers(TC_F32, g.k * g.n);
    float *expected = run(g, a, b, g.m * g.n, 1, false);
    tc_pool *pool;
    assert_int_equal(tc_pool_create(3, &pool), TC_OK);
    assert_true(tc_gemm_plan(&g, 3));
    static concurrent work[CALLERS];
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        work[i] = (concurrent){pool, &g, a, b, expected, false};
        assert_int_equal(pthread_create(&threads[i], NULL, multiply_often, &work[i]), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(work[i].right);
    }
    tc_pool_destroy(pool);
    tc_free(a);
    tc_free(b);
    tc_free(expected);
}

static void test_gemm_plan_refuses_overflow(void **unused)
{
    tc_gemm g = {.isa = isa,
                 .dtype = TC_F32,
                 .m = 1000,
                 .n = INT64_MAX / 1000,
                 .k = INT64_MAX / 1000,
                 .lda = INT64_MAX / 1000,
                 .ldb = INT64_MAX / 1000,
                 .ldc = INT64_MAX / 1000};
    assert_false(tc_gemm_plan(&g, 4));
    tc_gemm batch = {.isa = isa,
                     .dtype = TC_F32,
                     .m = 2,
                     .n = 2,
                     .k = 2,
                     .lda = 2,
                     .ldb = 2,
                     .ldc = 2,
                     .batch_rank = 2,
                     .batch_dims = {INT64_MAX, 3}};
    assert_false(tc_gemm_plan(&batch, 4));
}

static void test_gemm_micro(void **unused)
{
    const tc_gemm_micro *micro = tc_gemm_micro_of(isa);
    enum { K = 19, LD = 80 };
    float *a = numbers(TC_F32, 40 * 40), *b = numbers(TC_F32, LD * LD), c[30 * LD];
    double *da = numbers(TC_F64, 40 * 40), *db = numbers(TC_F64, LD * LD), dc[30 * LD];
    for (int m = 1; m <= 30; m++)
        for (int n = 1; n <= 70; n += m % 3 + 1)
            for (int transposed = 0; transposed < 2; transposed++) {
                int64_t row = transposed ? 1 : 40, column = transposed ? 40 : 1;
                memset(c, 0, sizeof c);
                memset(dc, 0, sizeof dc);
                micro->f32.run(m, n, K, a, row, column, b, LD, micro->f32.width, c, LD, false);
                micro->f64.run(m, n, K, da, row, column, db, LD, micro->f64.width, dc, LD, false);
                for (int i = 0; i < m; i++)
                    for (int j = 0; j < LD; j++) {
                        double sum = 0, dsum = 0;
                        for (int p = 0; p < K && j < n; p++) {
                            sum += (double)a[i * row + p * column] * (double)b[p * LD + j];
                            dsum += da[i * row + p * column] * db[p * LD + j];
                        }
                        assert_true((double)c[i * LD + j] == sum);
                        assert_true(dc[i * LD + j] == dsum);
                    }
                if (transposed)
                    continue;
                micro->f32.dot(m, n, K, a, 40, b, LD, c, LD, true);
                micro->f64.dot(m, n, K, da, 40, db, LD, dc, LD, false);
                for (int i = 0; i < m; i++)
                    for (int j = 0; j < n; j++) {
                        double sum = 0, dsum = 0;
                        for (int p = 0; p < K; p++) {
                            sum += (double)a[i * 40 + p] * (double)(b[j * LD + p] + b[p * LD + j]);
                            dsum += da[i * 40 + p] * db[j * LD + p];
                        }
                        assert_true((double)c[i * LD + j] == sum);
                        assert_true(dc[i * LD + j] == dsum);
                    }
            }
    uint16_t half[37];
    float wide[37];
    for (int base = 0; base < 65536; base += 37) {
        for (int i = 0; i < 37; i++)
            half[i] = (uint16_t)(base + i);
        micro->load_f16(wide, half, 37);
        for (int i = 0; i < 37; i++)
            assert_true((double)wide[i] == element(TC_F16, half, i) || isnan(wide[i]));
        micro->store_f16(half, wide, 37);
        for (int i = 0; i < 37; i++)
            assert_true(half[i] == (uint16_t)(base + i) || isnan(wide[i]));
        for (int i = 0; i < 37; i++)
            half[i] = (uint16_t)(base + i);
        micro->load_bf16(wide, half, 37);
        micro->store_bf16(half, wide, 37);
        for (int i = 0; i < 37; i++) {
            assert_true((double)wide[i] == element(TC_BF16, half, i) || isnan(wide[i]));
            assert_true(half[i] == (uint16_t)(base + i) || isnan(wide[i]));
        }
    }
    tc_free(a);
    tc_free(b);
    tc_free(da);
    tc_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm_small_sizes),
        cmocka_unit_test(test_gemm_tile_borders),
        cmocka_unit_test(test_gemm_batches),
        cmocka_unit_test(test_gemm_empty),
        cmocka_unit_test(test_gemm_accumulate),
        cmocka_unit_test(test_gemm_same_bits_for_any_threads),
        cmocka_unit_test(test_gemm_from_many_threads),
        cmocka_unit_test(test_gemm_plan_refuses_overflow),
        cmocka_unit_test(test_gemm_micro),
    };
    int failed = 0;
    for (int level = 0; level < TC_ISA_COUNT; level++) {
        isa = (tc_isa)level;
        if (!tc_cpu_supports(isa)) {
            print_message("skipped: this processor lacks %s\n", tc_isa_name(isa));
            continue;
        }
        print_message("instruction set: %s\n", tc_isa_name(isa));
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    for (size_t i = 0; i < sizeof pools / sizeof pools[0]; i++)
        if (pools[i])
            tc_pool_destroy(pools[i]);
    return failed;
}
