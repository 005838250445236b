/*
 * What the tables of tests/ops cannot say about element-wise operators: 64-bit integers that no
 * double holds, gradients at ties, 16-bit floats against their conversions, and builders on errors.
 */
#include <math.h>

#include <tensorc/gradients.h>
#include <tensorc/ops.h>

#include "core/float16.h"
#include "node_run.h"
#include "support/evaluate.h"

static tc_value source(tc_graph *graph, const char *name, tc_dtype dtype, int64_t n)
{
    return tc_placeholder_at(TC_HERE, graph, name, dtype, tc_shape_of(1, &n));
}

/* Runs the node of two [n] inputs on every instruction set and compares bytes. */
static void check_bytes(tc_value node, const void *a, const void *b, const void *expected,
                        size_t bytes)
{
    unsigned char y[512];
    assert_in_range(bytes, 1, sizeof y);
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa};
        node_compute(node, &how, (const void *const[]){a, b}, (void *const[]){y});
        assert_memory_equal(y, expected, bytes);
    }
}

#define N 20

static void integers_of_64_bits_wrap(void **state)
{
    static const int64_t a[N] = {
        INT64_MIN, INT64_MAX,  INT64_MIN, -1, INT64_MIN, INT64_MAX, 3, -7, 7, 1,
        INT64_MIN, 3037000500, -9,        0,  5,         -5,        2, -2, 3, 10};
    static const int64_t b[N] = {-1, 1,  1,         INT64_MIN, INT64_MIN,  INT64_MAX, 0,
                                 2,  -2, INT64_MAX, 0,         3037000500, 4,         0,
                                 3,  3,  63,        63,        41,         19};
    int64_t sum[N], difference[N], product[N], quotient[N], power[N];
    for (int i = 0; i < N; i++) {
        sum[i] = (int64_t)((uint64_t)a[i] + (uint64_t)b[i]);
        difference[i] = (int64_t)((uint64_t)a[i] - (uint64_t)b[i]);
        product[i] = (int64_t)((uint64_t)a[i] * (uint64_t)b[i]);
        quotient[i] = b[i] == 0 ? 0 : b[i] == -1 ? (int64_t)(0 - (uint64_t)a[i]) : a[i] / b[i];
        uint64_t result = 1;
        for (int64_t k = 0; k < b[i] && k < 64; k++)
            result *= (uint64_t)a[i];
        power[i] = (int64_t)result;
    }
    /* Beyond the simple loop: negative and huge exponents. */
    power[0] = power[4] = 0;
    power[3] = 1;
    power[5] = INT64_MAX;
    power[8] = 0;
    power[9] = 1;
    power[11] = 0;
    tc_graph *graph = tc_graph_create();
    tc_value x = source(graph, "a", TC_I64, N), y = source(graph, "b", TC_I64, N);
    check_bytes(tc_add(x, y), a, b, sum, sizeof sum);
    check_bytes(tc_sub(x, y), a, b, difference, sizeof difference);
    check_bytes(tc_mul(x, y), a, b, product, sizeof product);
    check_bytes(tc_div(x, y), a, b, quotient, sizeof quotient);
    check_bytes(tc_pow(x, y), a, b, power, sizeof power);
    tc_graph_release(graph);
}

static void unsigned_64_bits_are_ordered(void **state)
{
    static const uint64_t a[4] = {UINT64_MAX, 0, 0x8000000000000000u, 9007199254740993u};
    static const uint64_t b[4] = {1, UINT64_MAX, 0x7fffffffffffffffu, 9007199254740992u};
    static const uint64_t larger[4] = {UINT64_MAX, UINT64_MAX, 0x8000000000000000u,
                                       9007199254740993u};
    static const uint64_t quotient[4] = {UINT64_MAX, 0, 1, 1};
    static const uint8_t less[4] = {0, 1, 0, 0}, equal[4] = {0, 0, 0, 0};
    tc_graph *graph = tc_graph_create();
    tc_value x = source(graph, "a", TC_U64, 4), y = source(graph, "b", TC_U64, 4);
    check_bytes(tc_maximum(x, y), a, b, larger, sizeof larger);
    check_bytes(tc_div(x, y), a, b, quotient, sizeof quotient);
    check_bytes(tc_less(x, y), a, b, less, sizeof less);
    check_bytes(tc_equal(x, y), a, b, equal, sizeof equal);
    tc_graph_release(graph);
}

static void casts_at_the_limits(void **state)
{
    static const double a[6] = {0x1p63, -0x1p63, 0x1.fffffffffffffp62, NAN, 0x1p64, -1};
    static const int64_t as_i64[6] = {INT64_MAX, INT64_MIN, INT64_MAX - 1023, 0, INT64_MAX, -1};
    static const uint64_t as_u64[6] = {0x8000000000000000u, 0, INT64_MAX - 1023, 0, UINT64_MAX, 0};
    static const int64_t wide[4] = {INT64_MIN, INT64_MAX, 0x123456789abcdef0, -2};
    static const uint32_t low[4] = {0, 0xffffffffu, 0x9abcdef0u, 0xfffffffeu};
    static const float nearest[4] = {-0x1p63f, 0x1p63f, (float)0x123456789abcdef0, -2};
    tc_graph *graph = tc_graph_create();
    tc_value x = source(graph, "x", TC_F64, 6), w = source(graph, "w", TC_I64, 4);
    check_bytes(tc_cast(x, TC_I64), a, NULL, as_i64, sizeof as_i64);
    check_bytes(tc_cast(x, TC_U64), a, NULL, as_u64, sizeof as_u64);
    check_bytes(tc_cast(w, TC_U32), wide, NULL, low, sizeof low);
    check_bytes(tc_cast(w, TC_F32), wide, NULL, nearest, sizeof nearest);
    /* Double to 16 bits is rounded once: by way of f32 this tie would go the other way. */
    static const double tie[6] = {1 + 0x1p-11 + 0x1p-40, 1 + 0x1p-8 + 0x1p-40};
    static const uint16_t f16[6] = {0x3c01, 0x3c04}, bf16[6] = {0x3f80, 0x3f81};
    check_bytes(tc_cast(x, TC_F16), tie, NULL, f16, 4);
    check_bytes(tc_cast(x, TC_BF16), tie, NULL, bf16, 4);
    tc_graph_release(graph);
}

/* A conversion to the same dtype changes no bit, of a signalling NaN neither. */
static void casts_to_the_same_dtype_copy(void **state)
{
    static const uint16_t halves[4] = {0x7c01, 0xfd00, 0x0001, 0x8000};
    tc_graph *graph = tc_graph_create();
    for (int bf16 = 0; bf16 < 2; bf16++) {
        tc_dtype dtype = bf16 ? TC_BF16 : TC_F16;
        tc_value x = source(graph, tc_dtype_name(dtype), dtype, 4);
        check_bytes(tc_cast(x, dtype), halves, NULL, halves, sizeof halves);
    }
    tc_graph_release(graph);
}

/* All 16-bit floats, squared in f32 and rounded once. */
static void halves_are_computed_in_f32(void **state)
{
    enum { ALL = 65536 };
    static uint16_t x[ALL], y[ALL];
    for (int i = 0; i < ALL; i++)
        x[i] = (uint16_t)i;
    tc_graph *graph = tc_graph_create();
    tc_value f16 = tc_square(source(graph, "f16", TC_F16, ALL));
    tc_value bf16 = tc_square(source(graph, "bf16", TC_BF16, ALL));
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa, .threads = 2};
        node_compute(f16, &how, (const void *const[]){x}, (void *const[]){y});
        for (int i = 0; i < ALL; i++) {
            float wide = tc_f16_to_f32(x[i]);
            assert_int_equal(y[i], tc_f32_to_f16(wide * wide));
        }
        node_compute(bf16, &how, (const void *const[]){x}, (void *const[]){y});
        for (int i = 0; i < ALL; i++) {
            float wide = tc_bf16_to_f32(x[i]);
            assert_int_equal(y[i], tc_f32_to_bf16(wide * wide));
        }
    }
    tc_graph_release(graph);
}

/* Gradients of `y` for two [n] inputs of f64 against those expected. */
static void check_gradients(tc_graph *graph, tc_value y, const tc_value *inputs, int n,
                            const double *const *elements, const double *const *expected)
{
    tc_value gradients[2];
    assert_ok(tc_gradients(&y, 1, inputs, 2, gradients));
    eval_buffer buffers[2] = {{.bytes = 0}}, results[2] = {{.bytes = 0}};
    eval_feed feeds[2];
    for (int i = 0; i < 2; i++) {
        tc_shape shape = tc_value_shape(inputs[i]);
        assert_ok(eval_buffer_create(TC_F64, &shape, 0, &buffers[i]));
        memcpy(buffers[i].data, elements[i], (size_t)n * sizeof(double));
        feeds[i] = (eval_feed){inputs[i], &buffers[i]};
    }
    eval_options options = {.isa = tc_cpu_isa()};
    assert_ok(evaluate(graph, feeds, 2, gradients, 2, &options, results));
    for (int i = 0; i < 2; i++) {
        const double *got = results[i].data;
        for (int k = 0; k < n; k++)
            if (!(fabs(got[k] - expected[i][k]) <= 1e-15))
                fail_msg("gradient of input %d at element %d is %g instead of %g", i, k, got[k],
                         expected[i][k]);
        eval_buffer_free(&buffers[i]);
        eval_buffer_free(&results[i]);
    }
}

static void gradient_of_a_tie_is_shared(void **state)
{
    static const double a[4] = {1, 2, 3, -1}, b[4] = {2, 2, 1, -1};
    static const double winner[4] = {0, 0.5, 1, 0.5}, loser[4] = {1, 0.5, 0, 0.5};
    tc_graph *graph = tc_graph_create();
    tc_value in[2] = {source(graph, "a", TC_F64, 4), source(graph, "b", TC_F64, 4)};
    const double *const elements[2] = {a, b};
    check_gradients(graph, tc_maximum(in[0], in[1]), in, 4, elements,
                    (const double *const[]){winner, loser});
    check_gradients(graph, tc_minimum(in[0], in[1]), in, 4, elements,
                    (const double *const[]){loser, winner});
    tc_graph_release(graph);
}

/* Zero bases and exponents, where the usual formula is 0 times infinity. */
static void gradient_of_pow_at_zero(void **state)
{
    static const double a[4] = {0, 0, 3, 0}, b[4] = {2, 0, 0, 1};
    static const double of_base[4] = {0, 0, 0, 1};
    double of_exponent[4] = {0, 0, log(3), 0};
    tc_graph *graph = tc_graph_create();
    tc_value in[2] = {source(graph, "a", TC_F64, 4), source(graph, "b", TC_F64, 4)};
    check_gradients(graph, tc_pow(in[0], in[1]), in, 4, (const double *const[]){a, b},
                    (const double *const[]){of_base, of_exponent});
    tc_graph_release(graph);
}

/* Infinity and NaN that flow back do not pass a relu that is off. */
static void gradients_stop_where_relu_is_not_positive(void **state)
{
    static const double a[3] = {-1, 0, 2}, b[3] = {INFINITY, NAN, 3};
    static const double of_a[3] = {0, 0, 3}, of_b[3] = {0, 0, 2};
    tc_graph *graph = tc_graph_create();
    tc_value in[2] = {source(graph, "a", TC_F64, 3), source(graph, "b", TC_F64, 3)};
    check_gradients(graph, tc_mul(tc_relu(in[0]), in[1]), in, 3, (const double *const[]){a, b},
                    (const double *const[]){of_a, of_b});
    tc_graph_release(graph);
}

static void dimensions_keep_their_names(void **state)
{
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 7));
    tc_value row = tc_placeholder(graph, "row", TC_F32, TC_SHAPE(7));
    tc_value other = tc_placeholder(graph, "other", TC_F32, TC_SHAPE(TC_DIM("batch"), 1));
    tc_value y = tc_add(tc_mul(tc_relu(x), row), other);
    tc_value biased = tc_bias_add(tc_placeholder(graph, "z", TC_F32, TC_SHAPE(-1, -1)), row);
    tc_shape batch = tc_value_shape(x), shape = tc_value_shape(y);
    assert_true(tc_shape_equal(&batch, &shape));
    assert_int_equal(tc_value_shape(biased).dims[1].size, 7);
    assert_int_equal(tc_value_shape(biased).dims[0].size, -1);
    tc_graph_release(graph);
}

static void builders_take_what_failed_before(void **state)
{
    tc_value nothing = TC_NO_VALUE;
    assert_false(tc_value_ok(tc_exp(nothing)));
    assert_false(tc_value_ok(tc_add(nothing, nothing)));
    assert_false(tc_value_ok(tc_where(nothing, nothing, nothing)));
    assert_false(tc_value_ok(tc_gelu_at(TC_HERE, nothing, NULL)));
    assert_false(tc_value_ok(tc_bias_add_at(TC_HERE, nothing, nothing, NULL)));
    assert_false(tc_value_ok(tc_cast(nothing, TC_F32)));
    tc_graph *graph = tc_graph_create();
    tc_value x = source(graph, "x", TC_F32, 3), i = source(graph, "i", TC_I32, 3);
    int line = __LINE__ + 1;
    tc_value wrong = tc_mul(x, i);
    assert_false(tc_value_ok(tc_exp(wrong)));
    assert_status(tc_graph_status(graph), TC_INVALID_ARGUMENT);
    char where[64];
    snprintf(where, sizeof where, "test_elementwise.c:%d", line);
    assert_error_contains(where);
    assert_error_contains("mul");
    tc_graph_release(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_of_64_bits_wrap),
        cmocka_unit_test(unsigned_64_bits_are_ordered),
        cmocka_unit_test(casts_at_the_limits),
        cmocka_unit_test(casts_to_the_same_dtype_copy),
        cmocka_unit_test(halves_are_computed_in_f32),
        cmocka_unit_test(gradient_of_a_tie_is_shared),
        cmocka_unit_test(gradient_of_pow_at_zero),
        cmocka_unit_test(gradients_stop_where_relu_is_not_positive),
        cmocka_unit_test(dimensions_keep_their_names),
        cmocka_unit_test(builders_take_what_failed_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
