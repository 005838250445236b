/* Runs in stages: shapes that depend on elements. */
#include "stages_test.h"

static void test_stages_of_a_mask(void **state)
{
    positive p = positive_create();
    tc_session *s = session_of(p.graph);
    tc_tensor *x = floats(TC_SHAPE(5), (const float[]){1, -2, 3, 0, 5}), *out[4] = {0};
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}),
                             TC_FETCHES(p.chosen, p.scaled, p.mean, p.places), TC_NO_TARGETS, out,
                             NULL));
    expect(out[0], TC_SHAPE(3), ELEMENTS(1, 3, 5));
    expect(out[1], TC_SHAPE(3), ELEMENTS(10, 30, 50));
    expect(out[2], TC_SCALAR, ELEMENTS(30));
    expect(out[3], TC_SHAPE(3, 1), ELEMENTS(0, 2, 4));
    release(out, 4);
    tc_tensor_release(x);

    /* Everything, nothing, and nothing to choose from. */
    x = floats(TC_SHAPE(2), (const float[]){7, 8});
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.scaled, p.places), TC_NO_TARGETS,
                             out, NULL));
    expect(out[0], TC_SHAPE(2), ELEMENTS(70, 80));
    expect(out[1], TC_SHAPE(2, 1), ELEMENTS(0, 1));
    release(out, 2);
    tc_tensor_release(x);
    x = floats(TC_SHAPE(2), (const float[]){-7, -8});
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.scaled, p.places), TC_NO_TARGETS,
                             out, NULL));
    expect(out[0], TC_SHAPE(0), NULL);
    expect(out[1], TC_SHAPE(0, 1), NULL);
    release(out, 2);
    tc_tensor_release(x);
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(0), &x));
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.scaled, p.scaled, p.chosen),
                             TC_NO_TARGETS, out, NULL));
    for (int i = 0; i < 3; i++)
        expect(out[i], TC_SHAPE(0), NULL);
    release(out, 3);
    tc_tensor_release(x);
    tc_session_release(s);
    tc_graph_release(p.graph);
}

static void test_stages_given_outputs(void **state)
{
    positive p = positive_create();
    tc_session *s = session_of(p.graph);
    tc_tensor *x = floats(TC_SHAPE(3), (const float[]){4, -2, 3}), *fits, *large, *view;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(2), &fits));
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(3), &large));
    tc_tensor *out[2] = {fits, NULL};
    assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.chosen, p.scaled), TC_NO_TARGETS,
                             out, NULL));
    assert_ptr_equal(out[0], fits);
    expect(out[0], TC_SHAPE(2), ELEMENTS(4, 3));
    expect(out[1], TC_SHAPE(2), ELEMENTS(40, 30));
    release(&out[1], 1);
    const tc_value either[] = {p.chosen, p.scaled};
    for (int i = 0; i < 2; i++) {
        out[0] = large;
        assert_status(
            tc_session_run(s, TC_FEEDS({p.x, x}), &either[i], 1, TC_NO_TARGETS, out, NULL),
            TC_INVALID_ARGUMENT);
        assert_error_contains("is f32 [2], but the given tensor is f32 [3]");
        assert_ptr_equal(out[0], large);
    }
    out[0] = x;
    assert_status(tc_session_run(s, TC_FEEDS({p.x, x}), &either[1], 1, TC_NO_TARGETS, out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("shares memory with the tensor of feed 0");
    assert_ok(tc_tensor_reshape(fits, TC_SHAPE(2), &view));
    out[0] = fits;
    out[1] = view;
    assert_status(tc_session_run(s, TC_FEEDS({p.x, x}), either, 2, TC_NO_TARGETS, out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("outputs 0 and 1 share memory");
    tc_tensor_release(view);
    tc_tensor_release(fits);
    tc_tensor_release(large);
    tc_tensor_release(x);
    tc_session_release(s);
    tc_graph_release(p.graph);
}

/* Each mask is of what the one before left. */
static void test_stages_in_a_chain(void **state)
{
    enum { links = 6 };
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1)), left = x, sum = tc_reduce_sum(x);
    for (int i = 0; i < links; i++) {
        tc_value mean = tc_reduce_mean(left);
        left = tc_boolean_mask(left, tc_greater_equal(left, mean));
        sum = tc_add(sum, tc_reduce_sum(left)); /* needs values of all stages */
    }
    tc_session *s = session_of(g);
    float data[100];
    double expected = 0;
    for (int i = 0; i < 100; i++)
        expected += data[i] = (float)(i * 37 % 100);
    double rest[100];
    int n = 100;
    for (int i = 0; i < n; i++)
        rest[i] = data[i];
    for (int k = 0; k < links; k++) {
        double mean = 0;
        for (int i = 0; i < n; i++)
            mean += rest[i] / n;
        int kept = 0;
        for (int i = 0; i < n; i++)
            if (rest[i] >= mean)
                rest[kept++] = rest[i];
        n = kept;
        for (int i = 0; i < n; i++)
            expected += rest[i];
    }
    tc_tensor *t = floats(TC_SHAPE(100), data), *out[2] = {0};
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(left, sum), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(n), rest);
    expect(out[1], TC_SCALAR, &expected);
    release(out, 2);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
}

/*
 * Errors
 */
static void test_stages_misuse(void **state)
{
    masked_model m = masked_model_create();
    tc_session *s = session_of(m.graph);
    tc_tensor *x = floats(TC_SHAPE(4, 3), features), *y = floats(TC_SHAPE(3), labels);
    assert_status(tc_session_run(s, TC_FEEDS({m.x, x}, {m.y, y}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains(
        "feeds 'x' and 'y' disagree on dimension 'batch': it is 4 in the first and "
        "3 in the second");
    assert_status(tc_session_run(s, TC_FEEDS({m.x, y}, {m.y, y}), TC_NO_FETCHES,
                                 TC_TARGETS(m.train), NULL, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("feed 'x' has shape [batch, 3], but the tensor is [3]");
    assert_status(
        tc_session_run(s, TC_FEEDS({m.x, x}), TC_NO_FETCHES, TC_TARGETS(m.train), NULL, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("placeholder 'y'");
    assert_error_contains("is needed but not fed");
    expect_variable(s, "count", ELEMENTS(0));
    release(&x, 1);
    release(&y, 1);
    tc_session_release(s);
    tc_graph_release(m.graph);

    /* Sizes that clash only once they are known: the operator, node and line are named. */
    tc_graph *g = tc_graph_create();
    tc_value a = tc_placeholder(g, "a", TC_F32, TC_SHAPE(-1));
    tc_value some = tc_boolean_mask(a, tc_greater(a, tc_zeros_like(a)));
    tc_value rest = tc_boolean_mask(a, tc_less(a, tc_zeros_like(a)));
    tc_value sum = tc_add(some, rest);
    s = session_of(g);
    tc_tensor *t = floats(TC_SHAPE(5), (const float[]){1, 2, 3, -1, -2}), *out[1] = {0};
    assert_status(tc_session_run(s, TC_FEEDS({a, t}), TC_FETCHES(sum), TC_NO_TARGETS, out, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("add 'add'");
    assert_error_contains("[2]");
    assert_error_contains("[3]");
    tc_tensor_release(t);
    t = floats(TC_SHAPE(5), (const float[]){1, 2, 0, -1, -2});
    assert_ok(tc_session_run(s, TC_FEEDS({a, t}), TC_FETCHES(sum), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(2), ELEMENTS(0, 0));
    release(out, 1);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_stages_after_an_update(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value v =
        tc_variable(g, "v", tc_constant_data(g, TC_F32, TC_SHAPE(3), ((float[]){1, 0, 2})));
    tc_value updated = tc_assign_add(v, tc_ones_like(v));
    tc_value places = tc_nonzero(updated), picked = tc_gather(v, tc_reshape(places, TC_SHAPE(-1)));
    tc_session *s = session_of(g);
    tc_tensor *out[2] = {0};
    assert_status(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(picked), TC_NO_TARGETS, out, NULL),
                  TC_UNIMPLEMENTED);
    assert_error_contains("nonzero 'nonzero'");
    assert_error_contains("must be known after an update of the same run");
    /* Without anything that follows there is nothing to wait for. */
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(places, v), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(3, 1), ELEMENTS(0, 1, 2));
    expect(out[1], TC_SHAPE(3), ELEMENTS(1, 0, 2));
    release(out, 2);
    expect_variable(s, "v", ELEMENTS(2, 1, 3));
    tc_session_release(s);
    tc_graph_release(g);
}

/* A shape is enough of what an earlier stage would have to compute. */
static void test_stages_pass_shapes(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1, 2));
    tc_value deep = tc_exp(tc_concat(TC_VALUES(x, x), 1)); /* [n, 4], never computed */
    tc_value rows = tc_boolean_mask(
        x, tc_greater(tc_reduce_sum(x, .axes = TC_INTS(1)), tc_constant_scalar(g, TC_F32, 0)));
    tc_value y = tc_expand_like(tc_reduce_sum(rows), deep);
    tc_session *s = session_of(g);
    tc_tensor *t = floats(TC_SHAPE(3, 2), (const float[]){1, 2, -3, 1, 0, 4}), *out[1] = {0};
    tc_profile *profile;
    assert_ok(tc_profile_create(&profile));
    const tc_run_options run = {.struct_size = sizeof run, .profile = profile};
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(y), TC_NO_TARGETS, out, &run));
    expect(out[0], TC_SHAPE(3, 4), ELEMENTS(7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7));
    char text[20000];
    FILE *file = fmemopen(text, sizeof text, "w");
    assert_ok(tc_profile_print(profile, file));
    fclose(file);
    /* Both stages are there, and what only gave a shape is in none. */
    assert_non_null(strstr(text, "boolean_mask"));
    assert_non_null(strstr(text, "expand_like"));
    assert_null(strstr(text, "exp "));
    release(out, 1);
    tc_tensor_release(t);
    tc_profile_destroy(profile);
    tc_session_release(s);
    tc_graph_release(g);
}

/* Also inside of functions. */
static void test_stages_in_functions(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_graph *body = tc_function_begin(g, "positive_sum");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1));
    tc_value some = tc_boolean_mask(p, tc_greater(p, tc_zeros_like(p)));
    tc_function_end(body, TC_VALUES(tc_reduce_sum(some), some));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(-1));
    tc_value first = tc_call(g, "positive_sum", TC_VALUES(x));
    tc_value second =
        tc_call(g, "positive_sum",
                TC_VALUES(tc_sub(tc_output(first, 1), tc_constant_scalar(g, TC_F32, 2))));
    tc_session *s = session_of(g);
    tc_tensor *t = floats(TC_SHAPE(4), (const float[]){1, 3, -1, 5}), *out[2] = {0};
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(first, second), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SCALAR, ELEMENTS(9));
    expect(out[1], TC_SCALAR, ELEMENTS(4));
    release(out, 2);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
}

/* What depends on constants and weights alone is found anew by each run. */
static void test_stages_of_constants(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value c = tc_constant_data(g, TC_F32, TC_SHAPE(4), ((float[]){0, 2, 0, 3}));
    tc_value w =
        tc_variable(g, "w", tc_constant_data(g, TC_F32, TC_SHAPE(3), ((float[]){4, 0, 5})));
    tc_value places = tc_nonzero(c), values = tc_unique(tc_concat(TC_VALUES(w, c), 0));
    tc_value sum = tc_add(tc_reduce_sum(tc_cast(places, TC_F32)), tc_reduce_sum(values));
    tc_session *s = session_of(g);
    tc_tensor *out[3] = {0};
    for (int i = 0; i < 3; i++) {
        assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_FETCHES(places, values, sum), TC_NO_TARGETS,
                                 out, NULL));
        expect(out[0], TC_SHAPE(2, 1), ELEMENTS(1, 3));
        expect(out[1], TC_SHAPE(5), ELEMENTS(0, 2, 3, 4, 5));
        expect(out[2], TC_SCALAR, ELEMENTS(18));
        release(out, 3);
    }
    tc_session_release(s);
    tc_graph_release(g);
}

/* A value of a stage may be fed instead of computed. */
static void test_stages_feed_inside(void **state)
{
    positive p = positive_create();
    tc_session *s = session_of(p.graph);
    tc_tensor *t = floats(TC_SHAPE(2), (const float[]){1, 2}), *out[1] = {0};
    assert_ok(
        tc_session_run(s, TC_FEEDS({p.chosen, t}), TC_FETCHES(p.mean), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SCALAR, ELEMENTS(15));
    release(out, 1);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(p.graph);
}

/* Sizes that inference knows need no stage, others end one. */
static void test_stages_reshape_to(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n"), TC_DIM("m")));
    tc_value sizes = tc_placeholder(g, "sizes", TC_I64, TC_SHAPE(2));
    tc_value back = tc_constant_data(g, TC_I64, TC_SHAPE(2), ((int64_t[]){1, 0}));
    tc_value turned = tc_reshape_to(x, tc_gather(tc_shape_of_value(x), back));
    tc_shape inferred = tc_value_shape(turned);
    assert_string_equal(inferred.dims[0].name, "m");
    assert_string_equal(inferred.dims[1].name, "n");
    tc_value free = tc_reshape_to(x, sizes), sum = tc_reduce_sum(free, .axes = TC_INTS(0));
    tc_value chosen = tc_boolean_mask(x, tc_greater(x, tc_zeros_like(x)));
    tc_value pairs =
        tc_reshape_to(chosen, tc_constant_data(g, TC_I64, TC_SHAPE(2), ((int64_t[]){-1, 2})));
    tc_session *s = session_of(g);
    tc_tensor *t = floats(TC_SHAPE(2, 3), (const float[]){1, 2, 3, -4, 5, 0}), *n, *out[2] = {0};
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(2), (const int64_t[]){-1, 1}, &n));
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}),
                             TC_FETCHES(tc_graph_find(g, tc_value_name(turned))), TC_NO_TARGETS,
                             out, NULL));
    expect(out[0], TC_SHAPE(3, 2), ELEMENTS(1, 2, 3, -4, 5, 0));
    tc_session_counters counters;
    tc_session_count(s, &counters);
    assert_int_equal(counters.plans, 1);
    release(out, 1);
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}, {sizes, n}), TC_FETCHES(free, sum), TC_NO_TARGETS,
                             out, NULL));
    expect(out[0], TC_SHAPE(6, 1), ELEMENTS(1, 2, 3, -4, 5, 0));
    expect(out[1], TC_SHAPE(1), ELEMENTS(7));
    release(out, 2);
    assert_ok(tc_session_run(s, TC_FEEDS({x, t}), TC_FETCHES(pairs), TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(2, 2), ELEMENTS(1, 2, 3, 5));
    release(out, 1);
    assert_ok(tc_tensor_set(n, 1, 4));
    assert_status(
        tc_session_run(s, TC_FEEDS({x, t}, {sizes, n}), TC_FETCHES(sum), TC_NO_TARGETS, out, NULL),
        TC_INVALID_ARGUMENT);
    assert_error_contains("reshape_to 'reshape_to_1'");
    tc_tensor_release(t);
    tc_tensor_release(n);
    tc_session_release(s);
    tc_graph_release(g);
}

static void test_stages_unique(void **state)
{
    tc_graph *g = tc_graph_create();
    tc_value ids = tc_placeholder(g, "ids", TC_I64, TC_SHAPE(-1));
    tc_value table = tc_variable(
        g, "table",
        tc_constant_data(g, TC_F32, TC_SHAPE(4, 2), ((float[]){0, 1, 2, 3, 4, 5, 6, 7})));
    tc_value u = tc_unique(ids); /* rows are looked up once each, then put where they belong */
    tc_value rows = tc_gather(tc_gather(table, u), tc_output(u, 1));
    tc_session *s = session_of(g);
    tc_tensor *t, *out[2] = {0};
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(4), (const int64_t[]){3, 1, 3, 0}, &t));
    assert_ok(tc_session_run(s, TC_FEEDS({ids, t}), TC_FETCHES(rows, tc_output(u, 2)),
                             TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(4, 2), ELEMENTS(6, 7, 2, 3, 6, 7, 0, 1));
    expect(out[1], TC_SHAPE(3), ELEMENTS(1, 1, 2));
    release(out, 2);
    tc_tensor_release(t);
    tc_session_release(s);
    tc_graph_release(g);
}

/*
 * Looking at it
 */
static void test_stages_plans(void **state)
{
    masked_model m = masked_model_create();
    tc_session *s = session_of(m.graph);
    tc_callable *callable;
    assert_ok(tc_session_compile(s, TC_FETCHES(m.x, m.y), TC_FETCHES(m.loss), TC_TARGETS(m.train),
                                 NULL, &callable));
    const tc_shape shapes[] = {TC_SHAPE(4, 3), TC_SHAPE(4)};
    tc_plan_info info;
    assert_ok(tc_callable_plan(callable, shapes, &info));
    assert_true(info.kernels > 0);
    assert_int_equal(info.commits, 0); /* of the first stage */
    assert_status(tc_callable_plan(callable, (const tc_shape[]){TC_SHAPE(4, 2), TC_SHAPE(4)}, NULL),
                  TC_INVALID_ARGUMENT);
    assert_error_contains("feed 'x' has shape [batch, 3]");
    size_t passes;
    assert_ok(tc_callable_passes(callable, NULL, 0, &passes));
    assert_true(passes > 0);
    char text[40000];
    for (int run = 0; run < 2; run++) {
        memset(text, 0, sizeof text);
        FILE *file = fmemopen(text, sizeof text - 1, "w");
        assert_ok(tc_plan_dump(callable, shapes, TC_DUMP_TEXT, file));
        fclose(file);
        assert_non_null(strstr(text, "boolean_mask"));
        assert_non_null(strstr(text, run ? "stage 2, for the sizes of its last run"
                                         : "stage 2: planned when a run knows its sizes"));
        assert_true(!run == !strstr(text, "assign_add"));
        tc_tensor *in[] = {floats(TC_SHAPE(4, 3), features), floats(TC_SHAPE(4), labels)};
        tc_tensor *out[1] = {0};
        assert_ok(tc_callable_run(callable, in, out, NULL));
        release(in, 2);
        release(out, 1);
    }
    tc_callable_release(callable);
    tc_session_release(s);
    tc_graph_release(m.graph);
}

static void test_stages_of_many_threads(void **state)
{
    float data[5000];
    tc_tensor *first[3] = {0};
    for (int i = 0; i < 5000; i++)
        data[i] = (float)sin(i * 12.9898) * 100;
    tc_tensor *x = floats(TC_SHAPE(5000), data);
    for (int threads = 1; threads <= 8; threads *= 2) {
        positive p = positive_create();
        const tc_runtime_options with = {.struct_size = sizeof with, .threads = threads};
        tc_session_options options = {.struct_size = sizeof options};
        assert_ok(tc_runtime_create(&with, &options.runtime));
        tc_session *s;
        assert_ok(tc_session_create(p.graph, &options, &s));
        tc_tensor *out[3] = {0};
        assert_ok(tc_session_run(s, TC_FEEDS({p.x, x}), TC_FETCHES(p.scaled, p.mean, p.places),
                                 TC_NO_TARGETS, out, NULL));
        for (int i = 0; i < 3; i++) {
            if (threads == 1) {
                first[i] = out[i];
                continue;
            }
            assert_int_equal(tc_tensor_bytes(out[i]), tc_tensor_bytes(first[i]));
            assert_memory_equal(tc_tensor_data(out[i]), tc_tensor_data(first[i]),
                                tc_tensor_bytes(first[i]));
            tc_tensor_release(out[i]);
        }
        tc_session_release(s);
        tc_runtime_release(options.runtime);
        tc_graph_release(p.graph);
    }
    release(first, 3);
    tc_tensor_release(x);
}

/* Saved and loaded, unknown dimensions and all. */
static void test_stages_saved(void **state)
{
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    test_folder_create(folder);
    positive p = positive_create();
    assert_ok(tc_graph_save(p.graph, test_path(path, folder, "graph.pb")));
    tc_graph *loaded;
    assert_ok(tc_graph_load(path, NULL, &loaded));
    tc_value places = tc_graph_find(loaded, tc_value_name(p.places));
    tc_shape shape = tc_value_shape(places);
    assert_int_equal(shape.rank, 2);
    assert_int_equal(shape.dims[0].size, -1);
    assert_int_equal(shape.dims[1].size, 1);
    tc_session *s = session_of(loaded);
    tc_tensor *x = floats(TC_SHAPE(4), (const float[]){0, 2, -1, 4}), *out[2] = {0};
    assert_ok(tc_session_run(s, TC_FEEDS({tc_graph_find(loaded, "x"), x}),
                             TC_FETCHES(places, tc_graph_find(loaded, tc_value_name(p.mean))),
                             TC_NO_TARGETS, out, NULL));
    expect(out[0], TC_SHAPE(2, 1), ELEMENTS(1, 3));
    expect(out[1], TC_SCALAR, ELEMENTS(30));
    release(out, 2);
    tc_tensor_release(x);
    tc_session_release(s);
    tc_graph_release(loaded);
    tc_graph_release(p.graph);
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages_of_a_mask),       cmocka_unit_test(test_stages_given_outputs),
        cmocka_unit_test(test_stages_in_a_chain),      cmocka_unit_test(test_stages_misuse),
        cmocka_unit_test(test_stages_after_an_update), cmocka_unit_test(test_stages_pass_shapes),
        cmocka_unit_test(test_stages_in_functions),    cmocka_unit_test(test_stages_feed_inside),
        cmocka_unit_test(test_stages_of_constants),    cmocka_unit_test(test_stages_reshape_to),
        cmocka_unit_test(test_stages_unique),          cmocka_unit_test(test_stages_plans),
        cmocka_unit_test(test_stages_of_many_threads), cmocka_unit_test(test_stages_saved),
    };
    return cmocka_run_group_tests_name("stages", tests, NULL, NULL);
}
