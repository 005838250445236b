/* The judge of kernels must notice what kernels must not do. */
#include <tensorc/ops.h>

#include "support/evaluate.h"
#include "support/test.h"

typedef enum fault {
    NONE,
    WRITES_BEHIND,
    WRITES_BEFORE,
    WRITES_INPUT,
    WRITES_BEHIND_WORKSPACE,
    WRITES_BEHIND_PACKED,
    LEAVES_A_HOLE,
    FAILS
} fault;

static fault current;
static bool saw_packed, saw_shape_only;

static tc_status copy_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static tc_status copy_prepare(tc_prepare *prepare)
{
    int64_t *count = tc_prepare_params(prepare, sizeof *count);
    if (!count)
        return TC_RESOURCE_EXHAUSTED;
    *count = tc_shape_size(&prepare->outputs[0].shape);
    prepare->workspace_bytes = 40;
    prepare->pack_input = 0;
    prepare->pack_bytes = 16;
    return TC_OK;
}

static void copy_pack(const void *params, const void *weights, void *blob)
{
    memset(blob, 1, current == WRITES_BEHIND_PACKED ? 17 : 16);
}

static tc_status copy_run(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    int64_t count = *(const int64_t *)params;
    const float *x = inputs[0];
    float *y = outputs[0];
    saw_packed = context->packed != NULL;
    saw_shape_only = inputs[1] != NULL;
    for (int64_t i = 0; i < count; i++)
        if (current != LEAVES_A_HOLE || i != count / 2)
            y[i] = x[i];
    memset(context->workspace, 0, current == WRITES_BEHIND_WORKSPACE ? 41 : 40);
    if (current == WRITES_BEHIND)
        y[count] = 0;
    if (current == WRITES_BEFORE)
        y[-1] = 0;
    if (current == WRITES_INPUT)
        ((float *)x)[0] = 77;
    if (current == FAILS)
        return tc_kernel_fail(TC_OUT_OF_RANGE, "element %d", 5);
    return TC_OK;
}

static const tc_port inputs[] = {
    {.name = "x", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'},
    {.name = "like", .dtypes = TC_DTYPE_BIT(TC_F32), .flags = TC_PORT_SHAPE_ONLY}};
static const tc_port outputs[] = {{.name = "y", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'}};
static const tc_inplace pairs[] = {{0, 0}};
static const tc_op copy_op = {.name = "test_copy",
                              .version = 1,
                              .doc = "Copy.",
                              TC_LIST(inputs, inputs),
                              TC_LIST(outputs, outputs),
                              TC_LIST(inplace, pairs),
                              .infer = copy_infer,
                              .grad = TC_GRAD_NONE};
static const tc_kernel copy_kernel = {.op = "test_copy",
                                      .dtype = TC_F32,
                                      .symbol = "test_copy_f32",
                                      .prepare = copy_prepare,
                                      .pack = copy_pack,
                                      .run = copy_run};

static tc_status run(fault how, eval_options options, float out[3])
{
    current = how;
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &copy_op));
    assert_ok(tc_registry_add_kernel(registry, &copy_kernel));
    tc_graph *g = tc_graph_create_with(&(tc_graph_options){sizeof(tc_graph_options), registry, 0});
    tc_value x = tc_constant_data(g, TC_F32, TC_SHAPE(3), ((const float[]){1, 2, 3}));
    tc_value y = tc_node_build(
        g, &(const tc_node_spec){.op = "test_copy", .at = TC_HERE, TC_SPEC_INPUTS(x, x)});
    eval_buffer result = {0};
    tc_status status = evaluate(g, NULL, 0, &y, 1, &options, &result);
    if (status == TC_OK)
        memcpy(out, result.data, 3 * sizeof *out);
    eval_buffer_free(&result);
    tc_graph_release(g);
    tc_registry_release(registry);
    return status;
}

static void test_evaluate_runs(void **state)
{
    float out[3];
    const float expected[] = {1, 2, 3};
    assert_ok(run(NONE, (eval_options){0}, out));
    assert_memory_equal(out, expected, sizeof expected);
    assert_false(saw_packed);
    assert_false(saw_shape_only);
    assert_ok(run(NONE, (eval_options){.pack = true}, out));
    assert_true(saw_packed);
    assert_ok(run(NONE, (eval_options){.inplace = "test_copy"}, out));
    assert_memory_equal(out, expected, sizeof expected);
}

static void test_evaluate_notices(void **state)
{
    static const struct {
        fault how;
        tc_status status;
        const char *part;
    } rows[] = {
        {WRITES_BEHIND, TC_INTERNAL, "test_copy_f32 writes outside of its output 0"},
        {WRITES_BEFORE, TC_INTERNAL, "test_copy_f32 writes outside of its output 0"},
        {WRITES_INPUT, TC_INTERNAL, "test_copy_f32 writes to its input 0"},
        {WRITES_BEHIND_WORKSPACE, TC_INTERNAL, "test_copy_f32 writes outside of its workspace"},
        {WRITES_BEHIND_PACKED, TC_INTERNAL, "test_copy_f32 writes outside of its packed input"},
        {FAILS, TC_OUT_OF_RANGE, "test_copy 'test_copy' ("},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        float out[3];
        assert_status(run(rows[i].how, (eval_options){.pack = true}, out), rows[i].status);
        assert_error_contains(rows[i].part);
    }
}

/* A hole in the output shows as a difference between runs over different garbage. */
static void test_evaluate_shows_holes(void **state)
{
    float a[3], b[3];
    assert_ok(run(LEAVES_A_HOLE, (eval_options){.garbage = 0xA5}, a));
    assert_ok(run(LEAVES_A_HOLE, (eval_options){.garbage = 0x5A}, b));
    assert_memory_not_equal(a, b, sizeof a);
}

static void test_evaluate_refuses(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SCALAR), y = tc_neg(x);
    eval_options options = {0};
    eval_buffer result = {0};
    assert_status(evaluate(g, NULL, 0, &y, 1, &options, &result), TC_INVALID_ARGUMENT);
    assert_error_contains("the placeholder is not fed");
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_evaluate_runs),
        cmocka_unit_test(test_evaluate_notices),
        cmocka_unit_test(test_evaluate_shows_holes),
        cmocka_unit_test(test_evaluate_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
