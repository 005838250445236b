/* Long sums: their accuracy, and that the number of threads does not change a bit of any reduction.
 */
#include "kernels/node_run.h"

#include <math.h>

#include <tensorc/ops/nn.h>
#include <tensorc/ops/reduce.h>

#include "core/float16.h"

enum { MEBI = 1024 * 1024 };

typedef struct buffer {
    float *elements;
    int64_t count;
} buffer;

static buffer buffer_create(int64_t count, float low, float high)
{
    buffer b = {tc_alloc_aligned((size_t)count * sizeof(float), 64), count};
    assert_non_null(b.elements);
    uint64_t state = 1;
    for (int64_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        b.elements[i] = low + (high - low) * (float)(state >> 40) * 0x1p-24f;
    }
    return b;
}

static double exact_sum(const float *x, int64_t count)
{
    double sum = 0, lost = 0; /* Kahan & Babuska, by Neumaier */
    for (int64_t i = 0; i < count; i++) {
        double next = sum + (double)x[i];
        lost += fabs(sum) >= fabs((double)x[i]) ? (sum - next) + (double)x[i]
                                                : ((double)x[i] - next) + sum;
        sum = next;
    }
    return sum + lost;
}

/* Constants are the worst case: each addition to a lane rounds to the same side. */
static void test_reduce_sum_is_accurate(void **state)
{
    static const float lows[] = {0.1f, 0, -1}, highs[] = {0.1f, 1, 3};
    for (int kind = 0; kind < 3; kind++) {
        buffer x = buffer_create(16 * MEBI, lows[kind], highs[kind]);
        double expected = exact_sum(x.elements, x.count);
        FOR_EACH_ISA(isa)
        {
            tc_graph *graph = tc_graph_create();
            tc_value in = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(x.count));
            float got;
            node_compute(tc_reduce_sum(in), &(node_run){.isa = isa},
                         (const void *const[]){x.elements}, (void *const[]){&got});
            if (fabs((double)got - expected) > 1e-6 * fabs(expected))
                fail_msg("sum of kind %d is %.9g instead of %.9g on %s", kind, (double)got,
                         expected, tc_isa_name(isa));
            tc_graph_release(graph);
        }
        tc_free(x.elements);
    }
}

/* A sum that an f16 or bf16 accumulator would stop growing at. */
static void test_reduce_sum_of_16_bit_floats_accumulates_wider(void **state)
{
    enum { COUNT = 1024 * 1024 };
    uint16_t *x = tc_alloc_aligned(COUNT * sizeof *x, 64), got;
    assert_non_null(x);
    for (int i = 0; i < COUNT; i++)
        x[i] = tc_f32_to_f16(0.03125f);
    FOR_EACH_ISA(isa)
    {
        tc_graph *graph = tc_graph_create();
        tc_value in = tc_placeholder(graph, "x", TC_F16, TC_SHAPE(COUNT));
        node_compute(tc_reduce_sum(in), &(node_run){.isa = isa}, (const void *const[]){x},
                     (void *const[]){&got});
        assert_int_equal(got, tc_f32_to_f16(32768));
        tc_graph_release(graph);
    }
    tc_free(x);
}

typedef tc_value (*builder)(tc_value x);

static tc_value sum_of_all(tc_value x)
{
    return tc_reduce_sum(x);
}

static tc_value mean_of_rows(tc_value x)
{
    return tc_reduce_mean(x, .axes = TC_INTS(1));
}

static tc_value sum_of_columns(tc_value x)
{
    return tc_reduce_sum(x, .axes = TC_INTS(0));
}

static tc_value prod_of_columns(tc_value x)
{
    return tc_reduce_prod(x, .axes = TC_INTS(0));
}

static tc_value max_of_all(tc_value x)
{
    return tc_reduce_max(x);
}

static tc_value softmax_of_columns(tc_value x)
{
    return tc_softmax(x, .axis = TC_SOME(0));
}

static tc_value softmax_of_rows(tc_value x)
{
    return tc_softmax(x);
}

static tc_value normalized(tc_value x)
{
    return tc_layer_norm(x, TC_NO_VALUE, TC_NO_VALUE);
}

static tc_value normalized_gradient(tc_value x)
{
    tc_value y = tc_layer_norm(x, TC_NO_VALUE, TC_NO_VALUE);
    return tc_node_build(
        NULL, &(tc_node_spec){.op = "layer_norm_grad",
                              .at = TC_HERE,
                              TC_SPEC_INPUTS(x, x, TC_NO_VALUE, tc_output(y, 1), tc_output(y, 2))});
}

static void test_reduce_has_the_same_bits_with_any_number_of_threads(void **state)
{
    static const builder builders[] = {sum_of_all,         mean_of_rows, sum_of_columns,
                                       prod_of_columns,    max_of_all,   softmax_of_rows,
                                       softmax_of_columns, normalized,   normalized_gradient};
    enum { ROWS = 1537, COLUMNS = 703, RUNS = 4 };
    static const int threads[RUNS] = {1, 2, 3, 8};
    buffer x = buffer_create((int64_t)ROWS * COLUMNS, -1, 3);
    buffer statistics = buffer_create(ROWS, 0.5f, 1);
    FOR_EACH_ISA(isa)
    {
        for (size_t b = 0; b < sizeof builders / sizeof builders[0]; b++) {
            tc_graph *graph = tc_graph_create();
            tc_value y = builders[b](tc_placeholder(graph, "x", TC_F32, TC_SHAPE(ROWS, COLUMNS)));
            const void *inputs[] = {x.elements, x.elements, NULL, statistics.elements,
                                    statistics.elements};
            int32_t n_outputs = tc_output_count(y);
            float *outputs[RUNS][3] = {{NULL}};
            for (int run = 0; run < RUNS; run++) {
                for (int32_t i = 0; i < n_outputs; i++)
                    outputs[run][i] = buffer_create((int64_t)ROWS * COLUMNS, 0, 1).elements;
                node_compute(y, &(node_run){.isa = isa, .threads = threads[run]}, inputs,
                             (void *const *)outputs[run]);
                for (int32_t i = 0; i < n_outputs; i++)
                    assert_memory_equal(outputs[run][i], outputs[0][i],
                                        (size_t)x.count * sizeof(float));
            }
            for (int run = 0; run < RUNS; run++)
                for (int32_t i = 0; i < n_outputs; i++)
                    tc_free(outputs[run][i]);
            tc_graph_release(graph);
        }
    }
    tc_free(x.elements);
    tc_free(statistics.elements);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reduce_sum_is_accurate),
        cmocka_unit_test(test_reduce_sum_of_16_bit_floats_accumulates_wider),
        cmocka_unit_test(test_reduce_has_the_same_bits_with_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
