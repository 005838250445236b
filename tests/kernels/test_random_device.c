/*
 * Random tensors and dropout on the device that TENSORC_TEST_DEVICE names, against those of the
 * CPU, which test_random.c holds to core/philox.h: the same bits, of normal numbers up to a few
 * units in the last place. Skipped when no device is named.
 */
#include "kernels/node_run.h"

#include <math.h>
#include <stdio.h>

#include <tensorc/ops/random.h>

#include "core/dtype.h"
#include "support/device.h"

/* Elements: whole blocks of threads and a rest. */
enum { COUNT = 5003 };

static test_device *device;

static const node_run how = {.isa = TC_ISA_SCALAR, .seed = 5, .step = (uint64_t)1 << 40};

/* As node_compute, on the device. */
static void device_compute(tc_value value, void *input, void *output)
{
    const tc_node *node = tc_graph_node_at(value.graph, value.node);
    tc_value_info info = {.dtype = TC_DTYPE_INVALID};
    if (node->n_inputs > 0 && node->inputs[0].node >= 0)
        info = *tc_edge_info(value.graph, node->inputs[0]);
    const tc_op *op = node->attrs.op;
    tc_dtype dtype = tc_op_kernel_dtype(op, &info, node->n_inputs, node->outputs, node->n_outputs);
    const tc_kernel *kernel = test_device_find_kernel(device, op->name, dtype);
    if (!kernel)
        fail_msg("no kernel of %s for %s", op->name, tc_dtype_name(dtype));
    tc_arena arena = {0};
    tc_prepared prepared;
    const tc_kernel_place place = test_device_place(device);
    assert_ok(tc_kernel_prepare(kernel, &node->attrs, &info, node->n_inputs, node->outputs,
                                node->n_outputs, &place, &arena, &prepared));
    size_t bytes = COUNT * tc_dtype_size(tc_value_dtype(value));
    const test_operand in = {input, input ? bytes : 0}, out = {output, bytes};
    assert_ok(test_device_run(device, kernel, &prepared, &in, node->n_inputs, &out, 1, how.seed,
                              how.step));
    tc_arena_free(&arena);
}

/* `ulps` units of 2^-digits of a dtype by which elements may differ; 0: the same bits. */
static void compare(tc_value value, void *input, double ulps)
{
    tc_dtype dtype = tc_value_dtype(value);
    size_t size = tc_dtype_size(dtype);
    char *ours = malloc(COUNT * size), *theirs = malloc(COUNT * size);
    assert_true(ours && theirs);
    memset(ours, 0x55, COUNT * size);
    node_compute(value, &how, (const void *[]){input}, (void *[]){theirs});
    device_compute(value, input, ours);
    if (ulps == 0) {
        assert_memory_equal(ours, theirs, COUNT * size);
    } else {
        double unit = dtype == TC_F64   ? 0x1p-53
                      : dtype == TC_F32 ? 0x1p-24
                      : dtype == TC_F16 ? 0x1p-11
                                        : 0x1p-8;
        for (size_t i = 0; i < COUNT; i++) {
            double a = tc_dtype_load(dtype, ours + i * size);
            double b = tc_dtype_load(dtype, theirs + i * size);
            if (!(fabs(a - b) <= ulps * unit * fabs(b)))
                fail_msg("%s: element %d is %.17g, but %.17g on the CPU", tc_dtype_name(dtype),
                         (int)i, a, b);
        }
    }
    free(ours);
    free(theirs);
}

static const tc_dtype floats[] = {TC_F32, TC_F64, TC_F16, TC_BF16};

static void test_random_device_uniform(void **state)
{
    static const double bounds[][2] = {{0, 1}, {-1.5, 0.1}, {-3, 0}, {100, 101}, {0, 0x1p-14}};
    tc_graph *g = tc_graph_create();
    for (int d = 0; d < 4; d++)
        for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++)
            compare(tc_random_uniform(g, floats[d], TC_SHAPE(COUNT), .low = bounds[b][0],
                                      .high = TC_SOME(bounds[b][1])),
                    NULL, 0);
    tc_graph_release(g);
}

static void test_random_device_normal(void **state)
{
    tc_graph *g = tc_graph_create();
    for (int d = 0; d < 4; d++) {
        compare(tc_random_normal(g, floats[d], TC_SHAPE(COUNT)), NULL, 8);
        compare(tc_random_truncated_normal(g, floats[d], TC_SHAPE(COUNT)), NULL, 8);
        compare(tc_random_normal(g, floats[d], TC_SHAPE(COUNT), .mean = 64, .stddev = TC_SOME(2)),
                NULL, 8);
    }
    tc_graph_release(g);
}

/* Ranges that reject many words, among them those of 64 bits. */
static void test_random_device_int(void **state)
{
    static const struct {
        tc_dtype dtype;
        int64_t low, high;
    } cases[] = {
        {TC_I8, -128, 128},
        {TC_U8, 0, 3},
        {TC_U16, 0, 65536},
        {TC_I32, -2147483647 - 1, (int64_t)1 << 31},
        {TC_U32, 7, 7 + ((int64_t)1 << 31) + 12345678},
        {TC_I64, 0, 1},
        {TC_I64, INT64_MIN, INT64_MAX},
        {TC_I64, -((int64_t)1 << 62), ((int64_t)1 << 62) + 1},
        {TC_I64, 0, ((int64_t)1 << 32) + 1},
    };
    tc_graph *g = tc_graph_create();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        compare(tc_random_int(g, cases[c].dtype, TC_SHAPE(COUNT), cases[c].low, cases[c].high),
                NULL, 0);
    tc_graph_release(g);
}

static void test_random_device_dropout(void **state)
{
    tc_graph *g = tc_graph_create();
    for (int d = 0; d < 4; d++) {
        size_t size = tc_dtype_size(floats[d]);
        char *input = malloc(COUNT * size);
        assert_non_null(input);
        for (size_t i = 0; i < COUNT; i++)
            tc_dtype_store(floats[d], input + i * size, i % 7 == 3 ? INFINITY : 1 + (double)i / 8);
        tc_value x = tc_placeholder(g, tc_dtype_name(floats[d]), floats[d], TC_SHAPE(COUNT));
        compare(tc_dropout(x, 0.3, .mode = TC_MODE_TRAINING), input, 0);
        compare(tc_dropout(x, 0.3, .mode = TC_MODE_INFERENCE), input, 0);
        free(input);
    }
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_device_uniform),
        cmocka_unit_test(test_random_device_normal),
        cmocka_unit_test(test_random_device_int),
        cmocka_unit_test(test_random_device_dropout),
    };
    if (test_device_open(&device) != TC_OK) {
        fprintf(stderr, "%s\n", tc_error_message());
        return 1;
    }
    if (!device) {
        printf("no device is named: skipped\n");
        return 77;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    test_device_close(device);
    return failed;
}
