/* Registries: definitions that are refused, finding operators and kernels. */
#include "support/test.h"

#include <tensorc/extend.h>

#include "core/registry.h"

static tc_status infer(tc_infer *context)
{
    return TC_OK;
}

static const tc_port x[] = {{.name = "x", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};
static const tc_op good = {.name = "test_op",
                           .version = 1,
                           .doc = "Test.",
                           TC_LIST(inputs, x),
                           TC_LIST(outputs, x),
                           .infer = infer};

static const tc_port nameless[] = {{.dtypes = TC_DTYPES_FLOAT}};
static const tc_port untyped[] = {{.name = "x"}};
static const tc_port reserved[] = {{.name = "x", .dtypes = TC_DTYPE_BIT(TC_STRING)}};
static const tc_port twice[] = {{.name = "x", .dtypes = 2}, {.name = "x", .dtypes = 2}};
static const tc_port early[] = {{.name = "x", .dtypes = 2, .flags = TC_PORT_VARIADIC},
                                {.name = "y", .dtypes = 2}};
static const tc_port letter[] = {{.name = "x", .dtypes = 2, .type = '1'}};
static const tc_attr_def no_type[] = {{.name = "a"}};
static const tc_attr_def no_name[] = {{.type = TC_ATTR_INT}};
static const tc_attr_def other_type[] = {
    {.name = "a", .type = TC_ATTR_INT, .fallback = {.type = TC_ATTR_BOOL}}};
static const tc_attr_def choices[] = {{.name = "a", .type = TC_ATTR_INT, .choices = "a|b"}};
static const tc_attr_def two[] = {{.name = "a", .type = TC_ATTR_INT},
                                  {.name = "a", .type = TC_ATTR_INT}};
static const tc_inplace pair[] = {{0, 1}};

static void test_registry_refuses_operators(void **state)
{
#define GOOD .version = 1, .doc = "Test.", .infer = infer
    static const struct {
        tc_op op;
        const char *part;
    } rows[] = {
        {{GOOD}, "must be lower_snake_case, but is '(NULL)'"},
        {{GOOD, .name = "Test"}, "must be lower_snake_case, but is 'Test'"},
        {{GOOD, .name = "te-st"}, "lower_snake_case"},
        {{.name = "t", .doc = "d", .infer = infer}, "operator 't': the version must be 1 or more"},
        {{.name = "t", .version = 1, .infer = infer}, "operator 't' has no doc"},
        {{.name = "t", .version = 1, .doc = "d"}, "operator 't' has no infer function"},
        {{GOOD, .name = "t", .n_inputs = 1}, "the list of inputs is broken"},
        {{GOOD, .name = "t", TC_LIST(inputs, nameless)}, "input 0 has no name"},
        {{GOOD, .name = "t", TC_LIST(outputs, untyped)}, "the dtypes of output 'x'"},
        {{GOOD, .name = "t", TC_LIST(outputs, reserved)}, "the dtypes of output 'x'"},
        {{GOOD, .name = "t", TC_LIST(inputs, twice)}, "has two inputs called 'x'"},
        {{GOOD, .name = "t", TC_LIST(inputs, early)}, "'x' is variadic but not the last one"},
        {{GOOD, .name = "t", TC_LIST(inputs, letter)}, "must be a letter or 0"},
        {{GOOD, .name = "t", .n_attrs = 1}, "the list of attributes is broken"},
        {{GOOD, .name = "t", TC_LIST(attrs, no_type)}, "attribute 'a' has no type"},
        {{GOOD, .name = "t", TC_LIST(attrs, no_name)}, "attribute 0 has no name"},
        {{GOOD, .name = "t", TC_LIST(attrs, other_type)}, "has another type"},
        {{GOOD, .name = "t", TC_LIST(attrs, choices)}, "has choices but is no string"},
        {{GOOD, .name = "t", TC_LIST(attrs, two)}, "has two attributes called 'a'"},
        {{GOOD, .name = "t", .n_inplace = 1}, "the list of in-place pairs is broken"},
        {{GOOD, .name = "t", TC_LIST(inputs, x), TC_LIST(outputs, x), TC_LIST(inplace, pair)},
         "in-place pair 0 names no port"},
    };
    tc_registry *registry = tc_registry_create();
    int32_t count = tc_registry_op_count(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_status(tc_registry_add_op(registry, &rows[i].op), TC_INVALID_ARGUMENT);
        assert_error_contains(rows[i].part);
    }
    assert_status(tc_registry_add_op(registry, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_registry_add_op(NULL, &good), TC_INVALID_ARGUMENT);
    assert_int_equal(tc_registry_op_count(registry), count);
    assert_ok(tc_registry_add_op(registry, &good));
    assert_status(tc_registry_add_op(registry, &good), TC_ALREADY_EXISTS);
    static tc_op add;
    add = good;
    add.name = "add"; /* the library's */
    assert_status(tc_registry_add_op(registry, &add), TC_ALREADY_EXISTS);
    assert_int_equal(tc_registry_op_count(registry), count + 1);
    assert_ptr_equal(tc_registry_op(registry, count), &good);
    assert_null(tc_registry_op(registry, count + 1));
    assert_null(tc_registry_op(registry, -1));
    assert_ptr_equal(tc_registry_find_op(registry, "test_op"), &good);
    assert_null(tc_registry_find_op(NULL, "test_op"));
    assert_null(tc_registry_find_op(registry, NULL));
    assert_ptr_equal(tc_registry_find_op(registry, "add"), tc_registry_find_op(NULL, "add"));
    assert_string_equal(tc_registry_nearest_op(registry, "test_opp"), "test_op");
    tc_registry_release(tc_registry_retain(registry));
    tc_registry_release(registry);
    tc_registry_release(NULL);
}

static tc_status run(const void *params, const void *const *in, void *const *out,
                     const tc_kernel_context *context)
{
    return TC_OK;
}

static void test_registry_finds_every_operator(void **state)
{
    assert_true(tc_registry_op_count(NULL) > 50);
    for (int32_t i = 0; i < tc_registry_op_count(NULL); i++) {
        const tc_op *op = tc_registry_op(NULL, i);
        assert_ptr_equal(tc_registry_find_op(NULL, op->name), op);
    }
}

static void test_registry_many_operators(void **state)
{
    enum { many = 1000 };
    static tc_op ops[many];
    static char names[many][16];
    tc_registry *registry = tc_registry_create();
    for (int i = 0; i < many; i++) {
        snprintf(names[i], sizeof names[i], "test_%d", i);
        ops[i] = good;
        ops[i].name = names[i];
        assert_ok(tc_registry_add_op(registry, &ops[i]));
    }
    for (int i = 0; i < many; i++)
        assert_ptr_equal(tc_registry_find_op(registry, names[i]), &ops[i]);
    tc_registry_release(registry);
}

#define KERNEL(kernel_dtype, kernel_isa)                               \
    {                                                                  \
        .op = "test_op", .dtype = (kernel_dtype), .isa = (kernel_isa), \
        .symbol = #kernel_dtype #kernel_isa, .run = run                \
    }

static void test_registry_chooses_kernels(void **state)
{
    static const tc_kernel kernels[] = {KERNEL(TC_F32, TC_ISA_SCALAR), KERNEL(TC_F32, TC_ISA_AVX2),
                                        KERNEL(TC_DTYPE_INVALID, TC_ISA_SCALAR),
                                        KERNEL(TC_F64, TC_ISA_NEON), KERNEL(TC_F32, TC_ISA_SCALAR)};
    tc_registry *registry = tc_registry_create();
    int32_t before = tc_registry_kernel_count(registry);
    assert_status(tc_registry_add_kernel(registry, &kernels[0]), TC_INVALID_ARGUMENT);
    assert_error_contains("there is no operator 'test_op'");
    assert_ok(tc_registry_add_op(registry, &good));
    for (int i = 0; i < 4; i++)
        assert_ok(tc_registry_add_kernel(registry, &kernels[i]));
    const struct {
        tc_dtype dtype;
        tc_isa isa;
        int kernel;
    } rows[] = {
        {TC_F32, TC_ISA_SCALAR, 0}, {TC_F32, TC_ISA_AVX2, 1},           {TC_F32, TC_ISA_AVX512, 1},
        {TC_F32, TC_ISA_NEON, 0},   {TC_F64, TC_ISA_AVX512, 2},         {TC_F64, TC_ISA_NEON, 3},
        {TC_I8, TC_ISA_NEON, 2},    {TC_DTYPE_INVALID, TC_ISA_AVX2, 2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_ptr_equal(
            tc_registry_find_kernel(registry, "test_op", rows[i].dtype, TC_DEVICE_CPU, rows[i].isa),
            &kernels[rows[i].kernel]);
    assert_null(
        tc_registry_find_kernel(registry, "test_op", TC_F32, TC_DEVICE_CUDA, TC_ISA_AVX512));
    assert_null(tc_registry_find_kernel(registry, "no_such", TC_F32, TC_DEVICE_CPU, TC_ISA_AVX512));
    /* A later one of the same kind wins. */
    assert_ok(tc_registry_add_kernel(registry, &kernels[4]));
    assert_ptr_equal(
        tc_registry_find_kernel(registry, "test_op", TC_F32, TC_DEVICE_CPU, TC_ISA_SCALAR),
        &kernels[4]);
    assert_int_equal(tc_registry_kernel_count(registry), before + 5);
    assert_ptr_equal(tc_registry_kernel(registry, before + 1), &kernels[1]);
    assert_null(tc_registry_kernel(registry, before + 5));
    assert_null(tc_registry_kernel(registry, -1));
    static const tc_kernel broken[] = {
        {.op = "test_op", .symbol = "a"},
        {.op = "test_op", .run = run},
        {.op = "test_op", .symbol = "a", .run = run, .dtype = (tc_dtype)99},
        {.op = "test_op", .symbol = "a", .run = run, .isa = 9},
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++)
        assert_status(tc_registry_add_kernel(registry, &broken[i]), TC_INVALID_ARGUMENT);
    assert_status(tc_registry_add_kernel(registry, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_registry_add_kernel(NULL, &kernels[0]), TC_INVALID_ARGUMENT);
    tc_registry_release(registry);
}

static void test_registry_kernel_dtype(void **state)
{
    static const tc_port two_letters[] = {
        {.name = "a", .dtypes = TC_DTYPES_ANY, .type = 'I'},
        {.name = "b", .dtypes = TC_DTYPES_ANY, .type = 'T', .flags = TC_PORT_OPTIONAL},
        {.name = "c", .dtypes = TC_DTYPES_ANY, .type = 'T', .flags = TC_PORT_VARIADIC}};
    tc_op op = good;
    op.inputs = two_letters;
    op.n_inputs = 3;
    const tc_value_info infos[] = {{.dtype = TC_I64}, {0}, {.dtype = TC_F16}, {.dtype = TC_F16}};
    const tc_value_info output = {.dtype = TC_BF16};
    assert_int_equal(tc_op_kernel_dtype(&op, infos, 4, &output, 1), TC_F16);
    assert_int_equal(tc_op_kernel_dtype(&op, infos, 1, &output, 1), TC_BF16);
    assert_string_equal(tc_op_input_port(&op, 7)->name, "c");
    assert_null(tc_op_input_port(&op, -1));
    assert_null(tc_op_output_port(&op, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry_refuses_operators),
        cmocka_unit_test(test_registry_finds_every_operator),
        cmocka_unit_test(test_registry_many_operators),
        cmocka_unit_test(test_registry_chooses_kernels),
        cmocka_unit_test(test_registry_kernel_dtype),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
