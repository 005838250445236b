/*
 * The small graphs of tc_bench in ggml: a chain of 100 operators and a graph of one, on 4 floats.
 * Build against a static ggml without OpenMP:
 *     cc -O2 -Iggml/include ggml_overhead.c libggml.a libggml-cpu.a libggml-base.a -lstdc++ -lm
 * -lpthread
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <ggml-cpu.h>
#include <ggml.h>

#define SAMPLES 1001
#define REPEATS 200

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

/* Median time of a run of a chain of `count` operators. */
static double median_us(int count)
{
    static double samples[SAMPLES];
    const struct ggml_init_params params = {.mem_size = 16u << 20};
    struct ggml_context *context = ggml_init(params);
    struct ggml_tensor *x = ggml_new_tensor_1d(context, GGML_TYPE_F32, 4), *y = x;
    for (int i = 0; i < 4; i++)
        ((float *)x->data)[i] = (float)i - 1.5f;
    for (int i = 0; i < count; i++)
        y = i % 2 ? ggml_relu(context, y) : ggml_add(context, y, x);
    struct ggml_cgraph *graph = ggml_new_graph(context);
    ggml_build_forward_expand(graph, y);
    struct ggml_cplan plan = ggml_graph_plan(graph, 1, NULL);
    plan.work_data = plan.work_size ? malloc(plan.work_size) : NULL;
    for (int s = 0; s < SAMPLES; s++) {
        double start = now_us();
        for (int i = 0; i < REPEATS; i++)
            ggml_graph_compute(graph, &plan);
        samples[s] = (now_us() - start) / REPEATS;
    }
    free(plan.work_data);
    ggml_free(context);
    qsort(samples, SAMPLES, sizeof *samples, ascending);
    return samples[SAMPLES / 2];
}

int main(void)
{
    printf("ggml  %-44s median %8.4f us\n", "chain of 100 ops on 4 floats, per op",
           median_us(100) / 100);
    printf("ggml  %-44s median %8.4f us\n", "graph of 1 op on 4 floats", median_us(1));
    return 0;
}
