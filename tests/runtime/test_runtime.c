/* Runtimes, devices, profiles, packed weights, plans on paper. */
#include "../support/test.h"
#include "model.h"

static void test_runtime_options(void **state)
{
    (void)state;
    tc_runtime *runtime;
    tc_runtime_options options = {.struct_size = sizeof options, .threads = 2, .cpu_isa = "scalar"};
    assert_ok(tc_runtime_create(&options, &runtime));
    assert_int_equal(tc_runtime_threads(runtime), 2);
    tc_device_info device;
    size_t count;
    char why[256];
    assert_ok(tc_device_list(runtime, &device, 1, &count, why, sizeof why));
    assert_int_equal(count, 1);
    assert_string_equal(device.name, "cpu");
    assert_non_null(strstr(device.description, "scalar"));
    assert_non_null(strstr(why, "cuda"));
    tc_runtime_release(runtime);

    options.cpu_isa = "avx9000";
    assert_status(tc_runtime_create(&options, &runtime), TC_INVALID_ARGUMENT);
    assert_error_contains("avx9000");
    options = (tc_runtime_options){.struct_size = sizeof options, .threads = -1};
    assert_status(tc_runtime_create(&options, &runtime), TC_INVALID_ARGUMENT);
    assert_null(runtime);
}

static void test_runtime_profiles(void **state)
{
    (void)state;
    test_model m;
    assert_ok(test_model_create(&m));
    tc_session *s;
    assert_ok(tc_session_create(m.graph, NULL, &s));
    tc_profile *profile;
    assert_ok(tc_profile_create(&profile));
    assert_status(tc_profile_print(profile, stderr), TC_FAILED_PRECONDITION);
    tc_run_options options = {.struct_size = sizeof options, .profile = profile};
    for (int i = 0; i < 3; i++)
        assert_ok(tc_session_run(s, TC_FEEDS({m.x, m.features}, {m.y, m.labels}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, &options));
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE], text[65536];
    test_folder_create(folder);
    FILE *file = fopen(test_path(path, folder, "table"), "w+");
    assert_ok(tc_profile_print(profile, file));
    rewind(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(text, "matmul"));
    assert_non_null(strstr(text, "apply_adam"));
    assert_non_null(strstr(text, "       3 ")); /* calls */

    assert_ok(tc_profile_write_trace(profile, test_path(path, folder, "trace.json")));
    file = fopen(path, "r");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(text, "\"traceEvents\""));
    assert_non_null(strstr(text, "\"dur\""));
    assert_status(tc_profile_write_trace(profile, "/nonexistent/trace.json"), TC_UNAVAILABLE);
    test_folder_remove(folder);
    tc_profile_destroy(profile);
    tc_session_release(s);
    test_model_destroy(&m);
}

/*
 * A kernel of our own, which wants its second input packed.
 */
static int packs;

static tc_status prepare_scale(tc_prepare *prepare)
{
    int64_t *size = tc_prepare_params(prepare, sizeof *size);
    if (!size)
        return TC_RESOURCE_EXHAUSTED;
    *size = tc_shape_size(&prepare->outputs[0].shape);
    prepare->pack_input = 1;
    prepare->pack_bytes = sizeof(float);
    return TC_OK;
}

static void pack_scale(const void *params, const void *weights, void *blob)
{
    (void)params;
    *(float *)blob = 2 * *(const float *)weights;
    packs++;
}

static tc_status run_scale(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    const float *x = inputs[0];
    float doubled =
        context->packed ? *(const float *)context->packed : 2 * *(const float *)inputs[1];
    for (int64_t i = 0; i < *(const int64_t *)params; i++)
        ((float *)outputs[0])[i] = x[i] * doubled;
    return TC_OK;
}

static tc_status infer_scale(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static const tc_port scale_inputs[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'},
                                       {.name = "s", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_port scale_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_op scale_op = {.name = "double_scale",
                               .version = 1,
                               .doc = "2 x s",
                               TC_LIST(inputs, scale_inputs),
                               TC_LIST(outputs, scale_outputs),
                               .infer = infer_scale,
                               .grad = TC_GRAD_NONE};
static const tc_kernel scale_kernel = {.op = "double_scale",
                                       .dtype = TC_F32,
                                       .symbol = "test_double_scale_f32",
                                       .prepare = prepare_scale,
                                       .pack = pack_scale,
                                       .run = run_scale};

static double run_scaled(tc_session *s, tc_value x, tc_value y)
{
    tc_tensor *fed, *out = NULL;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){1, 10}, &fed));
    assert_ok(tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(y), TC_NO_TARGETS, &out, NULL));
    double value = tc_tensor_get(out, 1);
    tc_tensor_release(fed);
    tc_tensor_release(out);
    return value;
}

static void test_runtime_packs_once_per_content(void **state)
{
    (void)state;
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &scale_op));
    assert_ok(tc_registry_add_kernel(registry, &scale_kernel));
    tc_graph *g = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .registry = registry});
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
    tc_value s = tc_variable(g, "s", tc_constant_scalar(g, TC_F32, 3));
    tc_value y = tc_node_build(
        NULL, &(tc_node_spec){.op = "double_scale", .at = TC_HERE, TC_SPEC_INPUTS(x, s)});
    tc_runtime *runtime;
    assert_ok(tc_runtime_create(
        &(tc_runtime_options){.struct_size = sizeof(tc_runtime_options), .registry = registry},
        &runtime));
    tc_session *a, *b;
    tc_session_options first = {.struct_size = sizeof first, .runtime = runtime};
    assert_ok(tc_session_create(g, &first, &a));
    tc_session_options second = {.struct_size = sizeof second, .store = tc_session_store(a)};
    assert_ok(tc_session_create(g, &second, &b));
    packs = 0;
    assert_true(run_scaled(a, x, y) == 60);
    assert_true(run_scaled(a, x, y) == 60);
    assert_true(run_scaled(b, x, y) == 60);
    assert_int_equal(packs, 1);
    /* New content is packed anew. */
    tc_tensor *four;
    assert_ok(tc_tensor_create_scalar(TC_F32, 4, &four));
    assert_ok(tc_store_restore(tc_session_store(a), (const char *[]){"s"}, &four, 1, NULL));
    tc_tensor_release(four);
    assert_true(run_scaled(a, x, y) == 80);
    assert_true(run_scaled(b, x, y) == 80);
    assert_int_equal(packs, 2);
    tc_session_release(a);
    tc_session_release(b);
    tc_runtime_release(runtime);
    tc_graph_release(g);
    tc_registry_release(registry);
}

static void test_runtime_prints_plans(void **state)
{
    (void)state;
    test_model m;
    assert_ok(test_model_create(&m));
    tc_session *s;
    assert_ok(tc_session_create(m.graph, NULL, &s));
    tc_callable *c;
    assert_ok(
        tc_session_compile(s, TC_FETCHES(m.x), TC_FETCHES(m.logits), TC_NO_TARGETS, NULL, &c));
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    assert_ok(tc_plan_dump(c, (tc_shape[]){TC_SHAPE(5, 4)}, TC_DUMP_TEXT, file));
    fclose(file);
    assert_non_null(strstr(text, "matmul"));
    assert_non_null(strstr(text, "[5, 8]"));
    free(text);
    tc_callable_release(c);
    tc_session_release(s);
    test_model_destroy(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runtime_options),
        cmocka_unit_test(test_runtime_profiles),
        cmocka_unit_test(test_runtime_packs_once_per_content),
        cmocka_unit_test(test_runtime_prints_plans),
    };
    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
