/* Programs of fused nodes: reading and writing, what is refused, text. */
#include "support/test.h"

#include "core/fused_program.h"
#include "core/registry.h"

/* relu(a * 2 + b), and its sum over each row of one axis */
static tc_fused_program sample(void)
{
    return (tc_fused_program){.columns = 1,
                              .n_inputs = 2,
                              .n_constants = 1,
                              .n_instructions = 4,
                              .n_outputs = 2,
                              .inputs = {{TC_F32, 0, true}, {TC_F32, 1, false}},
                              .constants = {{TC_F32, 2}},
                              .instructions = {{TC_FUSED_mul, TC_F32, {0, 2, -1}},
                                               {TC_FUSED_add, TC_F32, {3, 1, -1}},
                                               {TC_FUSED_relu, TC_F32, {4, -1, -1}},
                                               {TC_FUSED_reduce_sum, TC_F32, {5, -1, -1}}},
                              .outputs = {{5, TC_FUSED_FULL}, {6, TC_FUSED_ROWS}}};
}

static void expect_text(const tc_fused_program *program, const char *expected)
{
    tc_text text = {0};
    tc_fused_program_print(program, &text);
    assert_false(text.failed);
    assert_string_equal(text.data, expected);
    tc_text_free(&text);
}

static const char *read_ints(const int64_t *ints, int32_t count, const double *numbers,
                             int32_t n_numbers, tc_fused_program *out)
{
    const tc_op *op = tc_registry_find_op(NULL, "fused");
    const tc_attr values[] = {
        {.type = TC_ATTR_INTS, .count = count, .ints = ints},
        {.type = TC_ATTR_FLOATS, .count = n_numbers, .floats = numbers},
        {.type = TC_ATTR_STRING, .s = ""},
    };
    const tc_attrs attrs = {op, values};
    return tc_fused_read(&attrs, out);
}

static void test_fused_program_round_trip(void **state)
{
    tc_fused_program program = sample(), read;
    int64_t ints[TC_FUSED_INTS], again[TC_FUSED_INTS];
    const double two = 2;
    assert_null(tc_fused_verify(&program));
    int32_t count = tc_fused_write(&program, ints);
    assert_null(read_ints(ints, count, &two, 1, &read));
    assert_int_equal(tc_fused_write(&read, again), count);
    assert_memory_equal(ints, again, (size_t)count * sizeof *ints);
    assert_true(read.constants[0].value == 2);
    /* Every shorter one and every one with another number somewhere is read without harm. */
    for (int32_t i = 0; i < count; i++) {
        assert_non_null(read_ints(ints, i, &two, 1, &read));
        const int64_t others[] = {-1, 0, 1, 7, 63, 1000, INT32_MAX, INT64_MIN, INT64_MAX};
        for (size_t k = 0; k < sizeof others / sizeof others[0]; k++) {
            memcpy(again, ints, sizeof again);
            again[i] = others[k];
            if (!read_ints(again, count, &two, 1, &read))
                assert_null(tc_fused_verify(&read));
        }
    }
    assert_non_null(read_ints(ints, count, &two, 0, &read));
}

static void test_fused_program_text(void **state)
{
    tc_fused_program program = sample();
    expect_text(&program, "t2 = relu((a * 2) + b); t2, reduce_sum(t2)");
    program.n_instructions = 3;
    program.n_outputs = 1;
    expect_text(&program, "relu((a * 2) + b)");
    program.instructions[2] = (tc_fused_instruction){TC_FUSED_cast, TC_BF16, {4, -1, -1}};
    expect_text(&program, "bf16((a * 2) + b)");
    program.instructions[1] = (tc_fused_instruction){TC_FUSED_maximum, TC_F32, {3, 3, -1}};
    expect_text(&program, "t0 = a * 2; bf16(maximum(t0, t0))");
}

static void test_fused_program_extents(void **state)
{
    tc_fused_program program = sample();
    bool full[TC_FUSED_VALUES];
    const bool expected[] = {true, false, false, true, true, true, false};
    tc_fused_extents(&program, full);
    for (int i = 0; i < 7; i++)
        assert_int_equal(full[i], expected[i]);
    tc_value_info infos[2] = {{.dtype = TC_F32, .shape = TC_SHAPE(TC_DIM("n"), 5)},
                              {.dtype = TC_F32, .shape = TC_SHAPE(TC_DIM("n"))}};
    tc_shape domain, rows = TC_SHAPE(TC_DIM("n"));
    assert_null(tc_fused_domain(&program, NULL, infos, &domain));
    assert_true(tc_shape_equal(&domain, &infos[0].shape));
    tc_shape out = tc_fused_output_shape(&program, 1, &domain);
    assert_true(tc_shape_equal(&out, &rows));
    program.outputs[1].extent = TC_FUSED_KEPT;
    out = tc_fused_output_shape(&program, 1, &domain);
    rows = TC_SHAPE(TC_DIM("n"), 1);
    assert_true(tc_shape_equal(&out, &rows));
    infos[0].shape = TC_SHAPE(4, 5);
    infos[1].shape = TC_SHAPE(3);
    assert_string_equal(tc_fused_domain(&program, NULL, infos, &domain),
                        "the inputs do not broadcast");
}

#define REFUSED(change, message)                                     \
    do {                                                             \
        tc_fused_program program = sample();                         \
        change;                                                      \
        assert_non_null(tc_fused_verify(&program));                  \
        assert_non_null(strstr(tc_fused_verify(&program), message)); \
    } while (0)

static void test_fused_program_malformed(void **state)
{
    REFUSED(program.columns = 9, "too large");
    REFUSED(program.n_inputs = 17, "too large");
    REFUSED(program.n_outputs = 0, "no output");
    REFUSED(program.inputs[0].dtype = TC_STRING, "dtype");
    REFUSED(program.inputs[0].shift = -1, "shift");
    REFUSED(program.inputs[0].dtype = TC_DTYPE_INVALID, "dtype");
    REFUSED(program.constants[0].dtype = TC_I8, "constant");
    REFUSED(program.instructions[0].code = TC_FUSED_CODES, "code");
    REFUSED(program.instructions[0].operands[2] = 0, "too many operands");
    REFUSED(program.instructions[0].operands[1] = 3, "not computed before");
    REFUSED(program.instructions[0].operands[1] = -1, "not computed before");
    REFUSED(program.instructions[0].dtype = TC_F64, "wrong dtype");
    REFUSED(program.constants[0].dtype = TC_F64, "differ in dtype");
    REFUSED(program.instructions[0].code = TC_FUSED_logical_and, "does not take");
    REFUSED(program.instructions[3].operands[0] = 1, "nothing to reduce");
    REFUSED(program.columns = 0, "nothing to reduce");
    REFUSED(program.outputs[0].value = 7, "no value");
    REFUSED(program.outputs[0].value = -1, "no value");
    REFUSED(program.outputs[0].extent = TC_FUSED_ROWS, "more than one element");
    REFUSED(program.outputs[1].value = 1, "not computed");
    REFUSED(program.outputs[1].extent = (tc_fused_extent)3, "valid extent");
    tc_fused_program program = sample();
    program.n_instructions = 3 + TC_FUSED_REDUCTIONS + 1;
    for (int i = 3; i < program.n_instructions; i++)
        program.instructions[i] = program.instructions[3];
    assert_string_equal(tc_fused_verify(&program), "the program has too many reductions");
    /* An input of twice the bytes per element could be half as long as output 0 and repeated. */
    program = sample();
    program.n_instructions = program.n_outputs = 1;
    program.outputs[0].value = 3;
    program.inputs[1].dtype = TC_F64;
    assert_string_equal(tc_fused_verify(&program),
                        "an input whose memory output 0 may take has larger elements");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fused_program_round_trip),
        cmocka_unit_test(test_fused_program_text),
        cmocka_unit_test(test_fused_program_extents),
        cmocka_unit_test(test_fused_program_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
