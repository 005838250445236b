/*
 * Accuracy of the vector mathematics of src/kernels/cpu/isa against libm of the next wider type, on
 * every instruction set: bit patterns over the whole range, special values, and that an element's
 * bits do not depend on its neighbours.
 */
#include <math.h>

#include <tensorc/ops.h>

#include "node_run.h"

#define BLOCK 4096

typedef tc_value (*unary_builder)(tc_location at, tc_value x);

static tc_value gelu(tc_location at, tc_value x)
{
    return tc_gelu_at(at, x, NULL);
}

static tc_value gelu_tanh(tc_location at, tc_value x)
{
    tc_gelu_options options = {.struct_size = sizeof options, .tanh_approximation = true};
    return tc_gelu_at(at, x, &options);
}

static long double sigmoid_reference(long double x)
{
    return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x));
}

static long double rsqrt_reference(long double x)
{
    return 1 / sqrtl(x);
}

static long double reciprocal_reference(long double x)
{
    return 1 / x;
}

static long double gelu_reference(long double x)
{
    return isinf(x) && x < 0 ? -0.0L : 0.5L * x * erfcl(-x * sqrtl(0.5L));
}

static long double gelu_tanh_reference(long double x)
{
    long double twice = 2 * sqrtl(2 / acosl(-1)) * (x + 0.044715L * x * x * x);
    return isinf(x) && x < 0 ? -0.0L : x * sigmoid_reference(twice);
}

typedef struct function {
    const char *name;
    unary_builder build;
    long double (*reference)(long double x);
    double ulps_f32, ulps_f64; /* largest error, in units in the last place of the result */
    bool of_x;                 /* or of x, where that is larger */
} function;

static const function functions[] = {
    {"exp", tc_exp_at, expl, 1.5, 1.5, false},
    {"log", tc_log_at, logl, 1.5, 1.5, false},
    {"tanh", tc_tanh_at, tanhl, 3, 3, false},
    {"sigmoid", tc_sigmoid_at, sigmoid_reference, 3, 3, false},
    {"erf", tc_erf_at, erfl, 2, 2, false},
    {"sqrt", tc_sqrt_at, sqrtl, 0.5, 0.5, false},
    {"rsqrt", tc_rsqrt_at, rsqrt_reference, 1.5, 1.5, false},
    {"reciprocal", tc_reciprocal_at, reciprocal_reference, 0.5, 0.5, false},
    {"floor", tc_floor_at, floorl, 0, 0, false},
    {"ceil", tc_ceil_at, ceill, 0, 0, false},
    {"gelu", gelu, gelu_reference, 3, 4, true},
    {"gelu_tanh", gelu_tanh, gelu_tanh_reference, 6, 6, true},
};
#define FUNCTIONS (sizeof functions / sizeof functions[0])

/* Distance of `got` from `expected` in units of a format of so many mantissa bits and that smallest
 * exponent. */
static double ulps(long double got, long double expected, long double scale, int mantissa,
                   int smallest, long double largest)
{
    if (isnan(expected) || isnan(got))
        return isnan(expected) && isnan(got) ? 0 : INFINITY;
    if (isinf(got) || fabsl(expected) > largest) {
        bool overflows = fabsl(expected) >= largest && signbit(got) == signbit(expected);
        return overflows && (isinf(got) || fabsl(got) == largest) ? 0 : INFINITY;
    }
    if (expected == 0 && got == 0)
        return signbit(expected) == signbit(got) ? 0 : INFINITY;
    int exponent;
    frexpl(fmaxl(fabsl(expected), scale), &exponent);
    exponent = exponent - mantissa > smallest ? exponent - mantissa : smallest;
    return (double)ldexpl(fabsl(got - expected), -exponent);
}

static double ulps_f32(float got, long double expected, float scale)
{
    return ulps(got, expected, scale, 24, -149, 0x1.fffffep127L);
}

static double ulps_f64(double got, long double expected, double scale)
{
    return ulps(got, expected, scale, 53, -1074, 0x1.fffffffffffffp1023L);
}

static tc_value source(tc_graph *graph, tc_dtype dtype, int64_t n)
{
    char name[32];
    snprintf(name, sizeof name, "x%d", (int)tc_graph_node_count(graph));
    return tc_placeholder_at(TC_HERE, graph, name, dtype, tc_shape_of(1, &n));
}

static tc_value node_of(tc_graph *graph, const function *f, tc_dtype dtype)
{
    return f->build(TC_HERE, source(graph, dtype, BLOCK));
}

static void compute(tc_value node, tc_isa isa, const void *x, void *y)
{
    const node_run how = {.isa = isa};
    node_compute(node, &how, &x, &y);
}

/* Compares one block on every instruction set. */
static void check_f32(const function *f, tc_value node, const float *x)
{
    long double expected[BLOCK];
    float y[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        expected[i] = f->reference(x[i]);
    FOR_EACH_ISA(isa)
    {
        compute(node, isa, x, y);
        for (int i = 0; i < BLOCK; i++) {
            double error = ulps_f32(y[i], expected[i], f->of_x ? fabsf(x[i]) : 0);
            if (!(error <= f->ulps_f32))
                fail_msg("%s of %a is %a instead of %La on %s: %g ulp", f->name, x[i], y[i],
                         expected[i], tc_isa_name(isa), error);
        }
    }
}

static void check_f64(const function *f, tc_value node, const double *x)
{
    long double expected[BLOCK];
    double y[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        expected[i] = f->reference(x[i]);
    FOR_EACH_ISA(isa)
    {
        compute(node, isa, x, y);
        for (int i = 0; i < BLOCK; i++) {
            double error = ulps_f64(y[i], expected[i], f->of_x ? fabs(x[i]) : 0);
            if (!(error <= f->ulps_f64))
                fail_msg("%s of %a is %a instead of %La on %s: %g ulp", f->name, x[i], y[i],
                         expected[i], tc_isa_name(isa), error);
        }
    }
}

/* Every 4093rd of all floats: all exponents, signs, subnormals, infinities and NaNs are among them.
 */
static void floats_of_the_whole_range(void **state)
{
    tc_graph *graph = tc_graph_create();
    float x[BLOCK];
    for (size_t k = 0; k < FUNCTIONS; k++) {
        tc_value node = node_of(graph, &functions[k], TC_F32);
        for (uint64_t bits = 0; bits <= UINT32_MAX;) {
            for (int i = 0; i < BLOCK; i++, bits += 4093) {
                uint32_t pattern = (uint32_t)bits;
                memcpy(&x[i], &pattern, sizeof pattern);
            }
            check_f32(&functions[k], node, x);
        }
    }
    tc_graph_release(graph);
}

static uint64_t random_bits(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Evenly in [-limit, limit). */
static double random_within(uint64_t *state, double limit)
{
    return ((double)(random_bits(state) >> 11) * 0x1p-52 - 1) * limit;
}

static const double limits[] = {0.4, 2, 12, 110, 760};
#define LIMITS (sizeof limits / sizeof limits[0])

/* Where the functions bend, which bit patterns visit rarely. */
static void floats_of_usual_size(void **state)
{
    tc_graph *graph = tc_graph_create();
    uint64_t seed = 1;
    float x[BLOCK];
    for (size_t k = 0; k < FUNCTIONS; k++) {
        tc_value node = node_of(graph, &functions[k], TC_F32);
        for (int block = 0; block < 60; block++) {
            for (int i = 0; i < BLOCK; i++)
                x[i] = (float)random_within(&seed, limits[block % LIMITS]);
            check_f32(&functions[k], node, x);
        }
    }
    tc_graph_release(graph);
}

static void doubles(void **state)
{
    tc_graph *graph = tc_graph_create();
    uint64_t seed = 2;
    double x[BLOCK];
    for (size_t k = 0; k < FUNCTIONS; k++) {
        tc_value node = node_of(graph, &functions[k], TC_F64);
        for (int block = 0; block < 60; block++) {
            for (int i = 0; i < BLOCK; i++) {
                uint64_t bits = random_bits(&seed);
                memcpy(&x[i], &bits, sizeof bits);
                if (block % 2)
                    x[i] = random_within(&seed, limits[block / 2 % LIMITS]);
            }
            check_f64(&functions[k], node, x);
        }
    }
    tc_graph_release(graph);
}

/* Infinities, zeros of both signs, ends of the range: within the same bounds, signs of zeros
 * included. */
static void special_values(void **state)
{
    static const double values[] = {0.0,
                                    -0.0,
                                    INFINITY,
                                    -INFINITY,
                                    NAN,
                                    1.0,
                                    -1.0,
                                    0.5,
                                    -0.5,
                                    0x1p-149,
                                    -0x1p-149,
                                    0x1p-126,
                                    -0x1p-126,
                                    0x1.fffffep127,
                                    -0x1.fffffep127,
                                    88.72283,
                                    88.72284,
                                    88.8,
                                    -87.33654,
                                    -87.33655,
                                    -103.97,
                                    -103.98,
                                    -104.5,
                                    9.0,
                                    -9.02,
                                    0.92,
                                    0.9200001,
                                    -0.92,
                                    10.0,
                                    -10.1,
                                    0x1p23,
                                    0x1p23 - 0.5,
                                    -0x1p22,
                                    8388607.5,
                                    -8388607.5,
                                    0x1p24,
                                    0.4999999,
                                    -0.4999999,
                                    5e-324,
                                    -5e-324,
                                    0x1p-1022,
                                    709.78,
                                    709.79,
                                    -708.4,
                                    -745.13,
                                    -745.14,
                                    0x1p52,
                                    0x1p52 - 0.5,
                                    -0x1p53,
                                    0x1.fffffffffffffp1023,
                                    19.06,
                                    -19.07,
                                    1.4142135,
                                    0.70710678};
    float x[BLOCK];
    double wide[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        wide[i] = values[(size_t)i % (sizeof values / sizeof values[0])];
        x[i] = (float)wide[i];
    }
    tc_graph *graph = tc_graph_create();
    for (size_t k = 0; k < FUNCTIONS; k++) {
        check_f32(&functions[k], node_of(graph, &functions[k], TC_F32), x);
        check_f64(&functions[k], node_of(graph, &functions[k], TC_F64), wide);
    }
    tc_graph_release(graph);
}

/* Any length gives the bits that the elements have in a long run: the ends use the same code. */
static void bits_do_not_depend_on_length(void **state)
{
    tc_graph *graph = tc_graph_create();
    uint64_t seed = 3;
    float x[BLOCK], whole[BLOCK], part[BLOCK];
    for (int i = 0; i < BLOCK; i++)
        x[i] = (float)random_within(&seed, 5);
    for (size_t k = 0; k < FUNCTIONS; k++) {
        tc_value node = node_of(graph, &functions[k], TC_F32);
        FOR_EACH_ISA(isa)
        {
            compute(node, isa, x, whole);
            for (int n = 0; n < 40; n++) {
                memset(part, 0x5a, sizeof part);
                compute(functions[k].build(TC_HERE, source(graph, TC_F32, n)), isa, x + n, part);
                assert_memory_equal(part, whole + n, (size_t)n * sizeof part[0]);
                assert_int_equal(((unsigned char *)(part + n))[0], 0x5a);
            }
        }
    }
    tc_graph_release(graph);
}

static void check_pow(tc_graph *graph, const float *a, const float *b, double limit)
{
    tc_value node = tc_pow(source(graph, TC_F32, BLOCK), source(graph, TC_F32, BLOCK));
    float y[BLOCK];
    FOR_EACH_ISA(isa)
    {
        const node_run how = {.isa = isa};
        node_compute(node, &how, (const void *const[]){a, b}, (void *const[]){y});
        for (int i = 0; i < BLOCK; i++) {
            double error = ulps_f32(y[i], powl(a[i], b[i]), 0);
            if (!(error <= limit))
                fail_msg("pow of %a and %a is %a instead of %La on %s: %g ulp", a[i], b[i], y[i],
                         powl(a[i], b[i]), tc_isa_name(isa), error);
        }
    }
}

/* All pairs of what IEEE 754 lists. */
static void special_powers(void **state)
{
    static const float values[] = {
        0.0f,    -0.0f,    1.0f,      -1.0f,     INFINITY,   -INFINITY,  NAN,      0.5f,
        -0.5f,   2.0f,     -2.0f,     3.0f,      -3.0f,      2.5f,       -2.5f,    1e-40f,
        -1e-40f, 1e30f,    -1e30f,    16777215,  -16777215,  16777216,   33554432, 0x1p-126f,
        3.4e38f, -3.4e38f, 1.000001f, 0.999999f, 8388607.5f, 4194303.5f, 7.0f,     -7.0f};
    enum { COUNT = sizeof values / sizeof values[0] };
    float a[BLOCK], b[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
        a[i] = values[i % COUNT];
        b[i] = values[i / COUNT % COUNT];
    }
    tc_graph *graph = tc_graph_create();
    check_pow(graph, a, b, 1);
    tc_graph_release(graph);
}

/* Positive bases of all sizes with exponents that keep most of the results in range. */
static void powers(void **state)
{
    tc_graph *graph = tc_graph_create();
    uint64_t seed = 4;
    float a[BLOCK], b[BLOCK];
    for (int block = 0; block < 60; block++) {
        for (int i = 0; i < BLOCK; i++) {
            uint32_t bits = (uint32_t)random_bits(&seed) & 0x7fffffffu;
            memcpy(&a[i], &bits, sizeof bits);
            double size = block % 2 ? 110 / fabs(log(a[i])) : 10;
            b[i] = (float)random_within(&seed, size);
        }
        check_pow(graph, a, b, 0.51);
    }
    tc_graph_release(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats_of_the_whole_range),
        cmocka_unit_test(floats_of_usual_size),
        cmocka_unit_test(doubles),
        cmocka_unit_test(special_values),
        cmocka_unit_test(bits_do_not_depend_on_length),
        cmocka_unit_test(special_powers),
        cmocka_unit_test(powers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
