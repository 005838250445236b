/*
 * The products of tc_bench through OpenBLAS. Build and run by hand, the library is no dependency:
 *     cc -O2 benchmarks/peers/openblas_sgemm.c $(pkg-config --cflags --libs openblas) -o
 * /tmp/openblas_sgemm /tmp/openblas_sgemm 1      # threads
 */
#include <cblas.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MAX_SAMPLES 400

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *random_matrix(int size)
{
    float *data = aligned_alloc(64, ((size_t)size * sizeof(float) + 63) / 64 * 64);
    for (int i = 0; data && i < size; i++)
        data[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    return data;
}

int main(int argc, char **argv)
{
    static const int sizes[][3] = {{1024, 1024, 1024}, {2048, 2048, 2048}, {64, 10, 784},
                                   {64, 256, 784},     {1, 1000, 2048},    {32, 512, 512},
                                   {128, 768, 3072}};
    openblas_set_num_threads(argc > 1 ? atoi(argv[1]) : 1);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        int m = sizes[s][0], n = sizes[s][1], k = sizes[s][2], count = 0;
        float *a = random_matrix(m * k), *b = random_matrix(k * n), *c = random_matrix(m * n);
        if (!a || !b || !c)
            return 1;
        double samples[MAX_SAMPLES], begin = now_us();
        while (count < MAX_SAMPLES && (count < 7 || now_us() - begin < 3e6)) {
            double start = now_us();
            cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a, k, b, n, 0, c, n);
            samples[count++] = now_us() - start;
        }
        qsort(samples, (size_t)count, sizeof *samples, ascending);
        printf("OpenBLAS sgemm M%d N%d K%d: min %.1f us, median %.1f us\n", m, n, k, samples[0],
               samples[count / 2]);
        free(a);
        free(b);
        free(c);
    }
    return 0;
}
