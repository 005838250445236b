/* What goes wrong on devices: faults that elements show, memory, calls that fail, devices that are
 * lost, runs that are stopped. Never is an update half applied. */
#include <math.h>
#include <unistd.h>

#include "devices_test.h"
#include "probe.h"

/*
 * Faults
 */

/* y = the rows of a table that are asked for; the table grows by 1 in every run. */
typedef struct lookup {
    tc_graph *graph;
    tc_value indexes, rows, grow;
    tc_tensor *good, *bad;
} lookup;

static void lookup_create(lookup *l, bool devices)
{
    const int64_t good[] = {3, 0, 2}, bad[] = {1, 7, 9};
    l->graph = tc_graph_create();
    tc_graph *g = l->graph;
    if (devices)
        tc_device_push(g, "loop:1");
    l->indexes = tc_placeholder(g, "indexes", TC_I64, TC_SHAPE(3));
    tc_value table = tc_variable(g, "table", tc_ones(g, TC_F32, TC_SHAPE(4, 2)));
    l->rows = tc_gather(tc_mul(table, table), l->indexes, .axis = 0);
    if (devices)
        tc_device_pop(g);
    tc_value count = tc_variable(g, "count", tc_zeros(g, TC_F32, TC_SHAPE(3, 2)));
    l->grow = tc_group(
        g, (tc_value[]){tc_assign_add(table, tc_ones_like(table)), tc_assign_add(count, l->rows)},
        2);
    assert_ok(tc_graph_status(g));
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(3), good, &l->good));
    assert_ok(tc_tensor_create_copy(TC_I64, TC_SHAPE(3), bad, &l->bad));
}

static void lookup_destroy(lookup *l)
{
    tc_tensor_release(l->good);
    tc_tensor_release(l->bad);
    tc_graph_release(l->graph);
}

static tc_status look_up(lookup *l, tc_session *s, tc_tensor *indexes, tc_tensor **rows,
                         const tc_run_options *options)
{
    return tc_session_run(s, TC_FEEDS({l->indexes, indexes}), TC_FETCHES(l->rows),
                          TC_TARGETS(l->grow), rows, options);
}

static void check_faults(lookup *l, const tc_session_options *with, const tc_run_options *options)
{
    tc_session *s, *cpu;
    tc_tensor *rows = NULL;
    char expected[512];
    tc_session_options plain = {.struct_size = sizeof plain,
                                .check_numerics = with->check_numerics};
    assert_ok(tc_session_create(l->graph, &plain, &cpu));
    assert_status(look_up(l, cpu, l->bad, &rows, NULL), TC_INVALID_ARGUMENT);
    snprintf(expected, sizeof expected, "%s", tc_error_message());
    assert_ok(tc_session_create(l->graph, with, &s));
    for (int i = 0; i < 5; i++) {
        assert_ok(look_up(l, s, l->good, &rows, options));
        assert_true(tc_tensor_get(rows, 0) == (i + 1) * (i + 1));
        contents before = contents_of(s);
        assert_status(look_up(l, s, l->bad, &rows, options), TC_INVALID_ARGUMENT);
        assert_string_equal(tc_error_message(), expected);
        contents after = contents_of(s);
        assert_true(contents_equal(&before, &after));
        assert_int_equal(after.step, i + 1);
        contents_free(&before);
        contents_free(&after);
    }
    tc_tensor_release(rows);
    tc_session_release(s);
    tc_session_release(cpu);
}

static void test_failures_faults(void **state)
{
    (void)state;
    tc_profile *profile;
    assert_ok(tc_profile_create(&profile));
    for (int variant = 0; variant < 8; variant++) {
        loopback_reset(&(loopback_options){
            .n_devices = 2, .deferred = variant & 1, .no_recordings = variant & 2});
        lookup l;
        lookup_create(&l, variant & 4);
        /* With branches before, a CPU session of the same graph needs a device as well: one of the
         * graph without is the reference. */
        if (variant & 4) {
            tc_session *s = session_on(l.graph, "loop:0");
            tc_tensor *rows = NULL;
            for (int i = 0; i < 3; i++) {
                assert_ok(look_up(&l, s, l.good, &rows, NULL));
                contents before = contents_of(s);
                assert_status(look_up(&l, s, l.bad, &rows, NULL), TC_INVALID_ARGUMENT);
                assert_error_contains("'gather'");
                contents after = contents_of(s);
                assert_true(contents_equal(&before, &after));
                contents_free(&before);
                contents_free(&after);
            }
            tc_tensor_release(rows);
            tc_session_release(s);
        } else {
            tc_session_options with = {.struct_size = sizeof with, .device = "loop:1"};
            tc_run_options options = {.struct_size = sizeof options};
            check_faults(&l, &with, NULL);
            options.timeout_us = 1000000000; /* asks before it commits */
            check_faults(&l, &with, &options);
            options.profile = profile;
            check_faults(&l, &with, &options);
            with.check_numerics = true;
            check_faults(&l, &with, NULL);
        }
        lookup_destroy(&l);
        assert_clean();
    }
    tc_profile_destroy(profile);
}

/*
 * Memory
 */
typedef struct wide {
    tc_graph *graph;
    tc_value x, y;
    tc_tensor *fed[8]; /* of (i + 1) * 24 rows */
} wide;

static void wide_create(wide *w)
{
    w->graph = tc_graph_create();
    w->x = tc_placeholder(w->graph, "x", TC_F32, TC_SHAPE(TC_DIM("n"), 16));
    tc_value h = tc_softmax(w->x);
    w->y = tc_reduce_sum(tc_softmax(tc_matmul(h, tc_transpose(h))));
    for (int i = 0; i < 8; i++) {
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE((i + 1) * 24, 16), &w->fed[i]));
        memset(tc_tensor_data(w->fed[i]), 0, tc_tensor_bytes(w->fed[i]));
    }
}

static void wide_destroy(wide *w)
{
    for (int i = 0; i < 8; i++)
        tc_tensor_release(w->fed[i]);
    tc_graph_release(w->graph);
}

static void test_failures_memory(void **state)
{
    wide w;
    tc_tensor *sum = NULL;
    (void)state;
    loopback_reset(&(loopback_options){.memory = 150000});
    wide_create(&w);
    tc_session *s = session_on(w.graph, "loop:0");
    /* What earlier shapes have kept makes room for later ones. */
    for (int i = 0; i < 7; i++) {
        assert_ok(tc_session_run(s, TC_FEEDS({w.x, w.fed[i]}), TC_FETCHES(w.y), TC_NO_TARGETS, &sum,
                                 NULL));
        assert_float_equal(tc_tensor_get(sum, 0), 24 * (i + 1), 1e-3);
    }
    assert_status(
        tc_session_run(s, TC_FEEDS({w.x, w.fed[7]}), TC_FETCHES(w.y), TC_NO_TARGETS, &sum, NULL),
        TC_RESOURCE_EXHAUSTED);
    assert_error_contains("loop:0: the plan");
    assert_error_contains("bytes, of 150000 that are free");
    /* The session lives on. */
    assert_ok(
        tc_session_run(s, TC_FEEDS({w.x, w.fed[0]}), TC_FETCHES(w.y), TC_NO_TARGETS, &sum, NULL));
    assert_float_equal(tc_tensor_get(sum, 0), 24, 1e-3);
    /* What other sessions have kept makes room, too. */
    tc_session *other = session_on(w.graph, "loop:0"), *turns[] = {s, other, s};
    for (int i = 0; i < 3; i++) {
        assert_ok(tc_session_run(turns[i], TC_FEEDS({w.x, w.fed[6]}), TC_FETCHES(w.y),
                                 TC_NO_TARGETS, &sum, NULL));
        assert_float_equal(tc_tensor_get(sum, 0), 24 * 7, 1e-3);
    }
    tc_tensor_release(sum);
    tc_session_release(s);
    tc_session_release(other);
    wide_destroy(&w);
    assert_clean();
}

/* Variables and constants get the memory that plans have kept for later runs, too. */
static void test_failures_memory_makes_room(void **state)
{
    enum { count = 4000 };
    static const float ones[count] = {1};
    (void)state;
    loopback_reset(&(loopback_options){.memory = 40000});
    tc_graph *g = tc_graph_create();
    tc_tensor *out = NULL, *content, *large, *small;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(count), ones, &large));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(count / 8), ones, &small));
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    tc_value y = tc_neg(x);
    tc_value v = tc_variable(g, "v", tc_zeros(g, TC_F32, TC_SHAPE(count)));
    tc_value up = tc_assign_add(v, tc_constant(g, large));
    tc_session *s = session_on(g, "loop:0");
    assert_ok(tc_session_run(s, TC_FEEDS({x, large}), TC_FETCHES(y), TC_NO_TARGETS, &out, NULL));
    size_t kept = loopback_live_bytes();
    assert_true(kept > sizeof ones);
    assert_ok(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(up), NULL, NULL));
    assert_true(loopback_live_bytes() < kept + 2 * sizeof ones);
    tc_tensor_release(out);
    out = NULL;
    assert_ok(tc_session_run(s, TC_FEEDS({x, small}), TC_FETCHES(y), TC_NO_TARGETS, &out, NULL));
    assert_true(tc_tensor_get(out, 0) == -1);
    assert_ok(tc_store_read(tc_session_store(s), "v", &content));
    assert_true(tc_tensor_get(content, 0) == 1);
    tc_tensor_release(content);
    tc_tensor_release(out);
    tc_tensor_release(large);
    tc_tensor_release(small);
    tc_session_release(s);
    tc_graph_release(g);
    assert_clean();
}

static void test_failures_memory_of_variables(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.memory = 6000});
    tc_graph *g = tc_graph_create();
    tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(1000)));
    tc_value up = tc_assign_add(v, v);
    tc_session *s = session_on(g, "loop:0");
    assert_status(tc_session_run(s, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(up), NULL, NULL),
                  TC_RESOURCE_EXHAUSTED);
    assert_error_contains("loop:0");
    assert_error_contains("variable 'v': ");
    assert_error_contains("4000 bytes");
    tc_session_release(s);
    tc_graph_release(g);
    assert_clean();
}

/*
 * Calls that fail, one after the other. What a run that fails leaves is what was there before: with
 * the step made again, all ends as if nothing had happened.
 */
typedef struct scenario {
    tc_graph *graph;
    tc_value fetch, target;
    tc_feed feeds[2];
    size_t n_feeds;
    tc_run_options options;
    bool check_numerics;
} scenario;

enum { STEPS = 3 };

static tc_status scenario_step(const scenario *c, tc_session *s, tc_tensor **out)
{
    return tc_session_run(s, c->feeds, c->n_feeds, &c->fetch, 1, &c->target, 1, out, &c->options);
}

/* Whether the device was not lost on the way. */
static bool scenario_run(const scenario *c, const char *device, contents *after)
{
    tc_session *s;
    tc_tensor *out = NULL, *again = NULL;
    bool lost = false;
    const tc_session_options with = {
        .struct_size = sizeof with, .device = device, .check_numerics = c->check_numerics};
    assert_ok(tc_session_create(c->graph, &with, &s));
    for (int i = 0; i < STEPS && !lost; i++) {
        tc_status status = scenario_step(c, s, &out);
        for (int tries = 0; status != TC_OK && tries < 3 && !lost; tries++) {
            assert_true(status == TC_INTERNAL || status == TC_RESOURCE_EXHAUSTED ||
                        status == TC_UNAVAILABLE);
            assert_true(tc_error_message()[0]);
            assert_int_equal(tc_store_step(tc_session_store(s)), i);
            status = scenario_step(c, s, &out);
            lost = status == TC_UNAVAILABLE;
        }
        if (!lost)
            assert_ok(status);
    }
    for (tc_status status = TC_INTERNAL; status != TC_OK && !lost;) {
        *after = (contents){0};
        status = tc_store_visit(tc_session_store(s), contents_add, after, &after->step);
        if (status != TC_OK)
            contents_free(after);
        lost = status == TC_UNAVAILABLE;
    }
    if (lost) {
        /* And stays so, without harm. */
        assert_status(scenario_step(c, s, &out), TC_UNAVAILABLE);
        assert_error_contains("lost");
    }
    tc_tensor_release(out);
    tc_tensor_release(again);
    tc_session_release(s);
    return !lost;
}

static void check_failures(const scenario *c, const char *reference, const char *device,
                           const loopback_options *options)
{
    contents expected, after;
    int64_t kept = 0, lost = 0;
    loopback_reset(options);
    assert_true(scenario_run(c, reference, &expected));
    bool failed = true;
    for (int64_t n = 0; failed; n++) {
        loopback_reset(options);
        loopback_fail_at(LOOPBACK_ANY, n);
        bool whole = scenario_run(c, device, &after);
        failed = loopback_failed();
        if (whole) {
            if (!contents_equal(&after, &expected))
                print_error("call %d\n", (int)n);
            assert_true(contents_equal(&after, &expected));
            contents_free(&after);
        }
        kept += whole;
        lost += !whole;
        assert_clean();
    }
    assert_true(kept > 30);
    assert_true(lost > 3);
    contents_free(&expected);
}

static void test_failures_everywhere(void **state)
{
    test_model m;
    (void)state;
    assert_ok(test_model_create(&m));
    tc_profile *profile;
    tc_cancellation *cancellation;
    assert_ok(tc_profile_create(&profile));
    assert_ok(tc_cancellation_create(&cancellation));
    scenario c = {.graph = m.graph,
                  .fetch = m.loss,
                  .target = m.train,
                  .feeds = {{m.x, m.features}, {m.y, m.labels}},
                  .n_feeds = 2,
                  .options = {.struct_size = sizeof c.options}};
    check_failures(&c, "cpu", "loop:0", NULL);
    check_failures(&c, "cpu", "loop:0", &(loopback_options){.deferred = true});
    c.options.cancellation = cancellation;
    check_failures(&c, "cpu", "loop:0", &(loopback_options){.deferred = true});
    c.check_numerics = true;
    check_failures(&c, "cpu", "loop:0", NULL);
    c.check_numerics = false;
    c.options.profile = profile;
    check_failures(&c, "cpu", "loop:0", NULL);
    c.options.profile = NULL;
    check_failures(&c, "cpu", "loop:0", &(loopback_options){.no_recordings = true});
    tc_profile_destroy(profile);
    tc_cancellation_destroy(cancellation);
    test_model_destroy(&m);
}

/* State on two devices and the CPU, in one run. */
static void test_failures_everywhere_mixed(void **state)
{
    const char *const names[] = {"loop:0", "cpu", "loop:1"};
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(4)), at = x, updates[3];
    tc_tensor *fed;
    (void)state;
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "v%d", i);
        tc_device_push(g, names[i]);
        tc_value v = tc_variable(g, name, tc_ones(g, TC_F32, TC_SHAPE(4)));
        at = tc_mul(tc_add(at, v), v);
        updates[i] = tc_assign_add(v, at);
        tc_device_pop(g);
    }
    const float values[] = {0.5f, -1, 2, -0.25f};
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(4), values, &fed));
    scenario c = {.graph = g,
                  .fetch = at,
                  .target = tc_group(g, updates, 3),
                  .feeds = {{x, fed}},
                  .n_feeds = 1,
                  .options = {.struct_size = sizeof c.options}};
    assert_ok(tc_graph_status(g));
    const loopback_options two = {.n_devices = 2}, later = {.n_devices = 2, .deferred = true};
    check_failures(&c, "cpu", "cpu", &two);
    check_failures(&c, "cpu", "loop:1", &later);
    tc_tensor_release(fed);
    tc_graph_release(g);
}

/* A device that is lost takes what only it had along; the rest goes on. */
static void test_failures_lost(void **state)
{
    test_model m;
    tc_tensor *loss = NULL, *content;
    (void)state;
    loopback_reset(&(loopback_options){.n_devices = 2});
    assert_ok(test_model_create(&m));
    tc_session *s = session_on(m.graph, "loop:0"), *other = session_on(m.graph, "loop:1");
    assert_ok(model_step(&m, s, &loss, NULL));
    assert_ok(model_step(&m, other, &loss, NULL));
    contents saved = contents_of(s); /* has a copy of all by now */
    assert_ok(model_step(&m, s, &loss, NULL));
    loopback_fail_at(LOOPBACK_WAIT, 0);
    assert_status(model_step(&m, s, &loss, NULL), TC_INTERNAL);
    assert_error_contains("loop:0: the work fails");
    assert_status(model_step(&m, s, &loss, NULL), TC_UNAVAILABLE);
    assert_status(tc_store_read(tc_session_store(s), "hidden/weights", &content), TC_UNAVAILABLE);
    assert_error_contains("loop:0");
    assert_ok(model_step(&m, other, &loss, NULL));
    contents_free(&saved);
    tc_tensor_release(loss);
    tc_session_release(s);
    tc_session_release(other);
    test_model_destroy(&m);
    assert_clean();
}

/*
 * Runs that are stopped
 */
static void check_stopped(bool cancels)
{
    probe_graph p;
    tc_session *s;
    tc_cancellation *cancel;
    tc_tensor *sum = NULL;
    assert_ok(probe_graph_create(&p, 3, 1)); /* the probes have kernels of the CPU alone */
    assert_ok(tc_cancellation_create(&cancel));
    const tc_session_options with = {
        .struct_size = sizeof with, .runtime = p.runtime, .device = "loop:0"};
    assert_ok(tc_session_create(p.graph, &with, &s));
    tc_run_options options = {.struct_size = sizeof options, .cancellation = cancel};
    the_probe.cancel = cancel;
    for (int i = 0; i < 8; i++) {
        atomic_store(&the_probe.calls, 0);
        the_probe.at = i % 2 ? i % 6 : -1;
        the_probe.sleep_us = cancels ? 0 : 30000;
        options.cancellation = cancels ? cancel : NULL;
        options.timeout_us = cancels ? 0 : i % 2 ? 10000 : 10000000;
        contents before = contents_of(s);
        tc_status status = tc_session_run(s, TC_FEEDS({p.x, p.fed}), TC_FETCHES(p.sum),
                                          TC_TARGETS(p.update_a, p.update_b), &sum, &options);
        contents after = contents_of(s);
        assert_int_equal(status, i % 2 == 0 ? TC_OK
                                 : cancels  ? TC_CANCELLED
                                            : TC_DEADLINE_EXCEEDED);
        if (i > 0)
            assert_int_equal(contents_equal(&before, &after), i % 2);
        contents_free(&before);
        contents_free(&after);
        tc_cancellation_reset(cancel);
    }
    tc_tensor_release(sum);
    tc_session_release(s);
    tc_cancellation_destroy(cancel);
    probe_graph_destroy(&p);
}

static void test_failures_stopped(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        loopback_reset(&(loopback_options){.deferred = i / 2});
        check_stopped(i % 2);
        assert_clean();
    }
}

/* The first node with NaN is named, also when it is a device's; profiles have a row per step. */
static void test_failures_numerics_and_profile(void **state)
{
    (void)state;
    loopback_reset(&(loopback_options){.deferred = true});
    tc_graph *g = tc_graph_create();
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(2));
    tc_value v = tc_variable(g, "v", tc_ones(g, TC_F32, TC_SHAPE(2)));
    tc_value root = tc_sqrt(tc_add(x, v));
    tc_value up = tc_assign(v, root);
    tc_session *s;
    const tc_session_options with = {.struct_size = sizeof with,
                                     .device = "loop:0",
                                     .check_numerics = true,
                                     .optimization = TC_OPTIMIZATION_NONE};
    assert_ok(tc_session_create(g, &with, &s));
    tc_tensor *good, *bad, *out = NULL, *content;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){3, 8}, &good));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2), (float[]){3, -80}, &bad));
    for (int i = 0; i < 3; i++) {
        assert_status(
            tc_session_run(s, TC_FEEDS({x, bad}), TC_FETCHES(root), TC_TARGETS(up), &out, NULL),
            TC_INTERNAL);
        assert_error_contains("'sqrt'");
        assert_error_contains("output 0 holds NaN at element 1");
        assert_ok(
            tc_session_run(s, TC_FEEDS({x, good}), TC_FETCHES(root), TC_TARGETS(up), &out, NULL));
    }
    assert_ok(tc_store_read(tc_session_store(s), "v", &content));
    assert_true(tc_tensor_get(content, 0) > 2 && tc_tensor_get(content, 0) < 2.5);
    tc_tensor_release(content);

    char *text = NULL;
    size_t size = 0;
    tc_profile *profile;
    FILE *file = open_memstream(&text, &size);
    assert_ok(tc_profile_create(&profile));
    const tc_run_options options = {.struct_size = sizeof options, .profile = profile};
    assert_ok(
        tc_session_run(s, TC_FEEDS({x, good}), TC_FETCHES(root), TC_TARGETS(up), &out, &options));
    assert_ok(tc_profile_print(profile, file));
    fclose(file);
    assert_non_null(strstr(text, "sqrt"));
    assert_non_null(strstr(text, "memcpy")); /* copies are rows too */
    free(text);
    tc_profile_destroy(profile);
    tc_tensor_release(out);
    tc_tensor_release(good);
    tc_tensor_release(bad);
    tc_session_release(s);
    tc_graph_release(g);
    assert_clean();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failures_faults),
        cmocka_unit_test(test_failures_memory),
        cmocka_unit_test(test_failures_memory_makes_room),
        cmocka_unit_test(test_failures_memory_of_variables),
        cmocka_unit_test(test_failures_everywhere),
        cmocka_unit_test(test_failures_everywhere_mixed),
        cmocka_unit_test(test_failures_lost),
        cmocka_unit_test(test_failures_stopped),
        cmocka_unit_test(test_failures_numerics_and_profile),
    };
    return cmocka_run_group_tests_name("devices_failures", tests, NULL, NULL);
}
