/* Profiles and counters: what is told of runs. */
#include <math.h>

#include "../support/json.h"
#include "../support/test.h"
#include "probe.h"

static void test_profile_of_json(void **state)
{
    (void)state; /* the checker itself */
    static const char *const good[] = {"{}", "[]", " [1, -0.5e+3, \"a\\u00e9\\n\", {\"b\":null}] ",
                                       "true", "0"};
    static const char *const bad[] = {"",        "{",      "[1,]", "{\"a\":1,}", "{a:1}", "[1 2]",
                                      "01",      "1.",     "nan",  "\"\\x\"",    "[]]",   "\"\n\"",
                                      "{\"a\"}", "\"open", "-inf", "[,]"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(json_is_valid(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(json_is_valid(bad[i]));
}

static char *read_text(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 1 << 20);
    size_t size = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);
    assert_in_range(size, 1, (1 << 20) - 2);
    return text;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        count++;
    return count;
}

/* The number after `key` in the first row that has `name`. */
static double number_of(const char *text, const char *name, const char *key)
{
    const char *row = strstr(text, name);
    assert_non_null(row);
    const char *at = strstr(row, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

static void test_profile_json_and_table(void **state)
{
    (void)state;
    enum { n = 96 };
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(n, n));
    tc_value y = tc_matmul(x, x, .name = "the_product");
    tc_session *s;
    tc_profile *profile;
    tc_tensor *fed, *out = NULL;
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    test_folder_create(folder);
    test_path(path, folder, "profile.json");
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(n, n), &fed));
    memset(tc_tensor_data(fed), 0, tc_tensor_bytes(fed));
    assert_ok(tc_session_create(g, NULL, &s));
    assert_ok(tc_profile_create(&profile));
    assert_status(tc_profile_write_json(profile, path), TC_FAILED_PRECONDITION);
    tc_run_options options = {.struct_size = sizeof options, .profile = profile};
    for (int i = 0; i < 5; i++)
        assert_ok(
            tc_session_run(s, TC_FEEDS({x, fed}), TC_FETCHES(y), TC_NO_TARGETS, &out, &options));
    assert_status(tc_profile_write_json(profile, NULL), TC_INVALID_ARGUMENT);
    assert_status(tc_profile_write_json(profile, "/nonexistent/profile.json"), TC_UNAVAILABLE);
    assert_ok(tc_profile_write_json(profile, path));
    char *text = read_text(path);
    assert_true(json_is_valid(text));
    assert_int_equal(count_of(text, "\"node\":"), 1);
    assert_non_null(strstr(text, "\"the_product\""));
    assert_float_equal(number_of(text, "product", "\"calls\":"), 5, 0);
    assert_float_equal(number_of(text, "product", "\"flops\":"), 2.0 * n * n * n, 0);
    assert_float_equal(number_of(text, "product", "\"bytes\":"), 4.0 * 3 * n * n, 0);
    double mean = number_of(text, "product", "\"mean_us\":");
    assert_true(mean > 0);
    assert_float_equal(number_of(text, "product", "\"total_us\":"), 5 * mean, 0.01);
    free(text);

    FILE *file = fopen(path, "w+");
    assert_ok(tc_profile_print(profile, file));
    fclose(file);
    text = read_text(path);
    const char *row = strstr(text, "the_product");
    assert_non_null(strstr(text, "GFLOP/s"));
    assert_non_null(strstr(text, "GB/s"));
    assert_non_null(row);
    const char *last = strstr(row, "%"); /* the share, then the rates */
    double flops = 0, bytes = 0;
    assert_int_equal(sscanf(last + 1, "%lf %lf", &flops, &bytes), 2);
    assert_true(fabs(flops - 2.0 * n * n * n / mean * 1e-3) < 0.02 * flops + 0.01);
    assert_true(fabs(bytes - 12.0 * n * n / mean * 1e-3) < 0.02 * bytes + 0.01);
    free(text);
    test_folder_remove(folder);
    tc_profile_destroy(profile);
    tc_tensor_release(fed);
    tc_tensor_release(out);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Lanes are threads of the trace; a run that failed shows what it came to. */
static void test_profile_of_lanes(void **state)
{
    (void)state;
    probe_graph p;
    assert_ok(probe_graph_create(&p, 4, 2));
    tc_session *s;
    tc_profile *profile;
    tc_tensor *sum = NULL;
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    test_folder_create(folder);
    test_path(path, folder, "trace.json");
    assert_ok(tc_profile_create(&profile));
    assert_ok(tc_session_create(
        p.graph,
        &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = p.runtime},
        &s));
    tc_run_options options = {.struct_size = sizeof options, .profile = profile};
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, p.fed}), TC_FETCHES(p.sum), TC_NO_TARGETS, &sum,
                             &options));
    assert_ok(tc_profile_write_trace(profile, path));
    char *text = read_text(path);
    assert_true(json_is_valid(text));
    assert_int_equal(count_of(text, "\"cat\":\"probe\""), 8);
    assert_true(count_of(text, "\"tid\":1,") >= 4);
    assert_true(count_of(text, "\"tid\":2,") >= 4);
    assert_null(strstr(text, "\"dur\":-"));
    assert_null(strstr(text, "\"ts\":-"));
    free(text);
    tc_profile_destroy(profile);

    assert_ok(tc_profile_create(&profile));
    options.profile = profile;
    the_probe.fails = 2.5f;
    assert_status(
        tc_session_run(s, TC_FEEDS({p.x, p.fed}), TC_FETCHES(p.sum), TC_NO_TARGETS, &sum, &options),
        TC_OUT_OF_RANGE);
    assert_ok(tc_profile_write_trace(profile, path));
    text = read_text(path);
    assert_true(json_is_valid(text));
    assert_in_range(count_of(text, "\"cat\":\"probe\""), 3, 7);
    assert_null(strstr(text, "\"ts\":-"));
    free(text);
    assert_ok(tc_profile_write_json(profile, path));
    text = read_text(path);
    assert_true(json_is_valid(text));
    free(text);
    test_folder_remove(folder);
    tc_profile_destroy(profile);
    tc_tensor_release(sum);
    tc_session_release(s);
    probe_graph_destroy(&p);
}

/* The first node with NaN is named also where lanes would have met it. */
static void test_profile_numerics_of_lanes(void **state)
{
    (void)state;
    probe_graph p;
    assert_ok(probe_graph_create(&p, 4, 2));
    tc_value bad = probe_chain(tc_log(tc_neg(p.x)), 4);
    tc_value sum = tc_add(bad, probe_chain(p.x, 4));
    tc_session *s;
    tc_tensor *out = NULL;
    assert_ok(tc_session_create(p.graph,
                                &(tc_session_options){.struct_size = sizeof(tc_session_options),
                                                      .runtime = p.runtime,
                                                      .check_numerics = true},
                                &s));
    for (int i = 0; i < 5; i++) {
        assert_status(
            tc_session_run(s, TC_FEEDS({p.x, p.fed}), TC_FETCHES(sum), TC_NO_TARGETS, &out, NULL),
            TC_INTERNAL);
        assert_error_contains("log");
        assert_error_contains("NaN at element 0");
    }
    tc_session_release(s);
    probe_graph_destroy(&p);
}

/* Counters count what they say. */
static void test_profile_counters(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(4)));
    tc_value w = tc_variable(g, "w", tc_ones(g, TC_F32, TC_SHAPE(4)));
    tc_value swap_v = tc_assign(v, w), swap_w = tc_assign(w, v); /* not possible in place */
    tc_value y = tc_add(x, x);
    tc_session *s;
    tc_session_counters c;
    tc_tensor *fed[2], *out[2] = {0};
    assert_ok(tc_session_create(
        g, &(tc_session_options){.struct_size = sizeof(tc_session_options), .plan_cache = 1}, &s));
    tc_session_count(s, &c);
    assert_int_equal(c.runs + c.commits + c.programs + c.plans + c.copied_bytes + c.fallbacks, 0);
    for (int i = 0; i < 2; i++) {
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(i + 1, 4), &fed[i]));
        memset(tc_tensor_data(fed[i]), 0, tc_tensor_bytes(fed[i]));
    }
    for (int i = 0; i < 6; i++)
        assert_ok(tc_session_run(s, TC_FEEDS({x, fed[i / 2 % 2]}), TC_FETCHES(y), TC_NO_TARGETS,
                                 &out[i / 2 % 2], NULL));
    tc_session_count(s, &c);
    assert_int_equal(c.runs, 6);
    assert_int_equal(c.commits, 0);
    assert_int_equal(c.programs, 1);
    assert_int_equal(c.plans, 3); /* one is kept, and they take turns */
    assert_int_equal(c.evictions, 2);
    assert_int_equal(c.copied_bytes, 0);
    assert_int_equal(c.fallbacks, 0);
    assert_ok(tc_session_initialize(s));
    tc_session_count(s, &c);
    uint64_t programs = c.programs;
    for (int i = 0; i < 3; i++)
        assert_ok(
            tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(swap_v, swap_w), NULL, NULL));
    tc_session_count(s, &c);
    assert_int_equal(c.runs, 9);
    assert_int_equal(c.commits, 3);
    assert_int_equal(c.programs, programs + 1);
    assert_true(c.copied_bytes >= 3 * 16 && c.copied_bytes <= 3 * 48);
    assert_status(tc_session_run(s, TC_FEEDS({x, NULL}), TC_FETCHES(y), TC_NO_TARGETS, out, NULL),
                  TC_INVALID_ARGUMENT);
    tc_session_count(s, &c);
    assert_int_equal(c.runs, 9); /* completed ones */
    for (int i = 0; i < 2; i++) {
        tc_tensor_release(fed[i]);
        tc_tensor_release(out[i]);
    }
    tc_session_release(s);
    tc_graph_release(g);
}

/* A kernel for scalars alone, though its operator has better ones for other dtypes. */
static void test_profile_counts_fallbacks(void **state)
{
    (void)state;
    static tc_kernel basic, best;
    basic = best = probe_kernel;
    static tc_op op;
    static tc_port in[1], out[1];
    in[0] = probe_in[0];
    out[0] = probe_out[0];
    in[0].dtypes = out[0].dtypes = TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64);
    op = probe_op;
    op.inputs = in;
    op.outputs = out;
    basic.dtype = TC_F64;
    best.isa = 1;
    tc_registry *registry = tc_registry_create();
    assert_ok(tc_registry_add_op(registry, &op));
    assert_ok(tc_registry_add_kernel(registry, &basic));
    assert_ok(tc_registry_add_kernel(registry, &best));
    tc_runtime *runtime;
    tc_runtime_options with = {.struct_size = sizeof with, .registry = registry, .cpu_isa = "avx2"};
    if (tc_runtime_create(&with, &runtime) != TC_OK) {
        tc_registry_release(registry);
        skip();
    }
    tc_graph *g = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .registry = registry});
    tc_value single = probe_at(tc_placeholder(g, "a", TC_F32, TC_SHAPE(4)));
    tc_value wide = probe_at(tc_placeholder(g, "b", TC_F64, TC_SHAPE(4)));
    tc_session *s;
    assert_ok(tc_session_create(
        g, &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = runtime},
        &s));
    tc_value fetches[] = {single, wide}, feeds[2];
    feeds[0] = tc_graph_find(g, "a");
    feeds[1] = tc_graph_find(g, "b");
    for (int i = 0; i < 2; i++) {
        tc_callable *callable;
        tc_session_counters c;
        tc_shape shape = TC_SHAPE(4);
        assert_ok(
            tc_session_compile(s, &feeds[i], 1, &fetches[i], 1, TC_NO_TARGETS, NULL, &callable));
        assert_ok(tc_callable_plan(callable, &shape, NULL));
        tc_session_count(s, &c);
        assert_int_equal(c.fallbacks, i);
        tc_callable_release(callable);
    }
    tc_session_release(s);
    tc_graph_release(g);
    tc_runtime_release(runtime);
    tc_registry_release(registry);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_of_json),  cmocka_unit_test(test_profile_json_and_table),
        cmocka_unit_test(test_profile_of_lanes), cmocka_unit_test(test_profile_numerics_of_lanes),
        cmocka_unit_test(test_profile_counters), cmocka_unit_test(test_profile_counts_fallbacks),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
