/*
 * Random programs give the same results however much the compiler does: with basic optimization the
 * same bits as with none, with all of it, and with all but one pass, numbers that differ by no more
 * than rounding may. Outputs and the contents of variables are compared, run after run and with
 * batches of several sizes. A quarter of them runs with 16 bits as well, another one on two devices
 * that compute with the CPU's kernels, with nodes scattered over all three.
 *
 * With TENSORC_TEST_DEVICE the device of that name is compared with the CPU instead.
 *
 *     test_compiler_differential [FIRST_SEED [COUNT [PASSES]]]
 *
 * A failing seed is found again by giving it as the first argument; the pass to blame by leaving
 * out PASSES, a list with commas.
 */
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/loopback.h"
#include "support/random_graph.h"
#include "support/test.h"

#include "compiler/program.h"

enum { SIDE = 4, ELEMENTS = SIDE * SIDE };
enum { MAX_FETCHES = 6, RUNS = 3, SEEN = MAX_FETCHES + RANDOM_VARIABLES, SEEDS = 10000 };

/* Differences are relative to the largest magnitude in a tensor, or to 1: what a value is made from
 * is about as large, however small the value. */
#define TOLERANCE 2e-4

/* A result that differs by more may do so when the graph itself answers with a change that large to
 * a change of its feeds and variables by this much. */
#define PERTURBATION 1e-6
#define SENSITIVITY  16.0

typedef struct request {
    random_graph *g;
    uint64_t seed;
    tc_value fetches[MAX_FETCHES], targets[RANDOM_UPDATES];
    size_t n_fetches, n_targets;
    int64_t batches[RUNS];
} request;

typedef struct way {
    const char *name;
    tc_optimization optimization;
    const char *disable;
    double perturbation;
    tc_dtype precision;
    const char *device;
} way;

typedef struct seen {
    tc_tensor *tensors[RUNS][SEEN];
    bool refused; /* to scale gradients that read updates driven by others */
} seen;

static void seen_release(seen *s)
{
    for (int run = 0; run < RUNS; run++)
        for (int i = 0; i < SEEN; i++)
            tc_tensor_release(s->tensors[run][i]);
}

/* Moves floats a little, by amounts that differ from element to element. */
static void perturb(tc_tensor *tensor, double by)
{
    for (int64_t i = 0; by != 0 && i < tc_tensor_size(tensor); i++)
        if (tc_tensor_dtype(tensor) == TC_F32) {
            double sign = (i * 2654435761u >> 7 & 1) ? 1 : -1;
            assert_ok(tc_tensor_set(tensor, i, tc_tensor_get(tensor, i) * (1 + sign * by)));
        }
}

static void variable_name(char name[16], int index)
{
    snprintf(name, 16, "v%d", index);
}

static void perturb_variables(tc_session *session, const request *r, double by)
{
    for (int i = 0; by != 0 && i < r->g->n_variables; i++) {
        char name[16];
        const char *names[] = {name};
        tc_tensor *tensor;
        variable_name(name, i);
        assert_ok(tc_store_read(tc_session_store(session), name, &tensor));
        perturb(tensor, by);
        assert_ok(tc_store_restore(tc_session_store(session), names, &tensor, 1, NULL));
        tc_tensor_release(tensor);
    }
}

/* Everything that can be seen of the runs: outputs, and variables after each. */
static void observe(const request *r, const way *w, seen *s)
{
    tc_session *session;
    const tc_session_options options = {.struct_size = sizeof options,
                                        .optimization = w->optimization,
                                        .disable_passes = w->disable,
                                        .precision = w->precision,
                                        .device = w->device};
    memset(s, 0, sizeof *s);
    assert_ok(tc_session_create(r->g->graph, &options, &session));
    assert_ok(tc_session_initialize(session));
    perturb_variables(session, r, w->perturbation);
    for (int run = 0; run < RUNS; run++) {
        tc_feed feeds[RANDOM_FEEDS];
        for (int i = 0; i < RANDOM_FEEDS; i++) {
            feeds[i].value = r->g->feeds[i];
            assert_ok(
                random_graph_feed(i, r->batches[run], r->seed + (uint64_t)run, &feeds[i].tensor));
            perturb(feeds[i].tensor, w->perturbation);
        }
        tc_status status = tc_session_run(session, feeds, RANDOM_FEEDS, r->fetches, r->n_fetches,
                                          r->targets, r->n_targets, s->tensors[run], NULL);
        s->refused = status == TC_UNIMPLEMENTED && w->precision == TC_F16;
        if (s->refused)
            status = TC_OK;
        if (status != TC_OK)
            print_error("seed %llu, %s, run %d: %s\n", (unsigned long long)r->seed, w->name, run,
                        tc_error_message());
        assert_int_equal(status, TC_OK);
        for (int i = 0; i < r->g->n_variables && !s->refused; i++) {
            char name[16];
            variable_name(name, i);
            assert_ok(
                tc_store_read(tc_session_store(session), name, &s->tensors[run][MAX_FETCHES + i]));
        }
        for (int i = 0; i < RANDOM_FEEDS; i++)
            tc_tensor_release(feeds[i].tensor);
    }
    tc_session_release(session);
}

/* Largest difference of two tensors relative to their magnitude. Beyond what training that explodes
 * leaves there is nothing to compare. */
static double difference(tc_tensor *a, tc_tensor *b)
{
    double largest = 1, worst = 0;
    for (int64_t i = 0; i < tc_tensor_size(a); i++) {
        double x = tc_tensor_get(a, i), y = tc_tensor_get(b, i);
        if (!isfinite(x) && !isfinite(y))
            continue;
        largest = fmax(largest, fmax(fabs(x), fabs(y)));
        worst = fmax(worst, fabs(x - y));
        if (isnan(x) || isnan(y))
            return INFINITY;
    }
    return largest > 1e8 ? 0 : worst / largest;
}

static bool equal_bits(tc_tensor *a, tc_tensor *b)
{
    return memcmp(tc_tensor_data(a), tc_tensor_data(b), tc_tensor_bytes(a)) == 0;
}

static void report(const request *r, const way *w, int run, int index, tc_tensor *a, tc_tensor *b)
{
    bool fetch = index < MAX_FETCHES;
    print_error("seed %llu, %s: %s %d%s%s after run %d (batch %lld) differs by %g:\n",
                (unsigned long long)r->seed, w->name, fetch ? "fetch" : "variable",
                fetch ? index : index - MAX_FETCHES, fetch ? " " : "",
                fetch ? tc_value_name(r->fetches[index]) : "", run, (long long)r->batches[run],
                difference(a, b));
    assert_ok(tc_tensor_print(a, stderr));
    assert_ok(tc_tensor_print(b, stderr));
}

/* The first place where two ways differ by more than `tolerance` (0: a bit); false for none. */
static bool find_difference(const seen *a, const seen *b, double tolerance, const seen *excuse,
                            int *run, int *index)
{
    for (*run = 0; *run < RUNS; ++*run)
        for (*index = 0; *index < SEEN; ++*index) {
            tc_tensor *x = a->tensors[*run][*index], *y = b->tensors[*run][*index];
            assert_true(!x == !y);
            if (!x || equal_bits(x, y))
                continue;
            assert_int_equal(tc_tensor_dtype(x), tc_tensor_dtype(y));
            assert_true(tc_shape_equal(tc_tensor_shape(x), tc_tensor_shape(y)));
            double allowed = tolerance;
            if (excuse)
                allowed += SENSITIVITY * difference(x, excuse->tensors[*run][*index]);
            if (tolerance == 0 || difference(x, y) > allowed)
                return true;
        }
    return false;
}

static const char *left_out; /* passes, by the command line */
static int sensitive;        /* seeds that are excused by what they answer to small changes */

/* Whether a difference is no larger than what small changes of the feeds make. */
static bool excused(const request *r, const seen *reference, const seen *other)
{
    int run, index;
    bool found = true;
    for (int i = 0; i < 4 && found; i++) {
        const way shaken = {"perturbed",
                            TC_OPTIMIZATION_NONE,
                            NULL,
                            (i % 2 ? -1 : 1) * (i / 2 * 4 + 1) * PERTURBATION,
                            TC_DTYPE_INVALID,
                            NULL};
        seen moved;
        observe(r, &shaken, &moved);
        found = find_difference(reference, other, TOLERANCE, &moved, &run, &index);
        seen_release(&moved);
    }
    sensitive += !found;
    return !found;
}

static void check_way(const request *r, const way *w, const seen *reference, double tolerance)
{
    seen s;
    int run, index;
    observe(r, w, &s);
    if (!s.refused && find_difference(reference, &s, tolerance, NULL, &run, &index) &&
        (tolerance == 0 || !excused(r, reference, &s))) {
        report(r, w, run, index, reference->tensors[run][index], s.tensors[run][index]);
        fail();
    }
    seen_release(&s);
}

/* Every pass that can be left out, and what plans do. */
static const struct {
    const char *name;
    bool optional;
} passes[] = {
#define ALWAYS                    false
#define BASIC                     true
#define FULL                      true
#define TC_PASS(name, level, doc) {#name, level},
#define TC_PLAN_PASS(name, doc)   {#name, true},
#include "compiler/passes.def"
#undef TC_PASS
#undef ALWAYS
#undef BASIC
#undef FULL
};

static const char *some_pass(random_graph *g)
{
    while (true) {
        size_t i = random_pick(g, sizeof passes / sizeof passes[0]);
        if (passes[i].optional)
            return passes[i].name;
    }
}

/* Devices of values, variables and updates: names for one in three. */
static void scatter(request *r, const char *const names[4])
{
    random_graph *g = r->g;
    for (int i = 0; i < g->n_values; i++)
        if (random_pick(g, 3) == 0)
            tc_annotate(g->values[i].value, "device", names[random_pick(g, 4)]);
    for (int i = 0; i < g->n_updates; i++)
        if (random_pick(g, 3) == 0)
            tc_annotate(g->updates[i], "device", names[random_pick(g, 4)]);
    for (int i = 0; i < g->n_variables; i++)
        if (random_pick(g, 3) == 0)
            tc_annotate(g->variables[i], "device", names[random_pick(g, 4)]);
    assert_ok(tc_graph_status(g->graph));
}

static void check_devices(request *r, const seen *reference)
{
    static const char *const names[] = {"cpu", "loop:0", "loop:1", "loop"};
    static const char *const defaults[] = {"cpu", "loop:0", "loop:1", "auto"};
    static const char *const missing[] = {NULL, ",matmul,tanh,", ",fused,add,conv2d,",
                                          ",assign,apply_adam,concat,reduce_sum,"};
    const char *device = defaults[random_pick(r->g, 4)];
    loopback_reset(&(loopback_options){.n_devices = 2,
                                       .deferred = random_pick(r->g, 2) == 0,
                                       .without = missing[random_pick(r->g, 4)]});
    if (random_pick(r->g, 4))
        scatter(r, names);
    const way basic = {"devices, basic", TC_OPTIMIZATION_BASIC, NULL, 0, TC_DTYPE_INVALID, device};
    const way full = {"devices, full", TC_OPTIMIZATION_FULL, left_out, 0, TC_DTYPE_INVALID, device};
    check_way(r, &basic, reference, 0);
    check_way(r, &full, reference, TOLERANCE);
    assert_string_equal(loopback_violation(), "");
}

/* Device that TENSORC_TEST_DEVICE names: graphs are compared on it with the CPU alone. */
static const char *named_device;

static void check_named_device(request *r, const seen *reference)
{
    const char *const names[] = {"cpu", named_device, named_device, named_device};
    const way basic = {"device, basic",  TC_OPTIMIZATION_BASIC, NULL, 0,
                       TC_DTYPE_INVALID, named_device};
    const way full = {"device, full",   TC_OPTIMIZATION_FULL, left_out, 0,
                      TC_DTYPE_INVALID, named_device};
    check_way(r, &basic, reference, TOLERANCE);
    if (random_pick(r->g, 2))
        scatter(r, names);
    check_way(r, &full, reference, TOLERANCE);
}

static void check_seed(uint64_t seed)
{
    random_graph g;
    random_graph_build(&g, seed);
    if (tc_graph_status(g.graph) != TC_OK)
        print_error("seed %llu: %s\n", (unsigned long long)seed, tc_error_message());
    assert_ok(tc_graph_status(g.graph));
    request r = {.g = &g, .seed = seed};
    r.n_fetches = random_pick(&g, MAX_FETCHES + 1);
    for (size_t i = 0; i < r.n_fetches; i++)
        r.fetches[i] = g.values[random_pick(&g, g.n_values)].value;
    for (int i = 0; i < g.n_updates; i++)
        if (random_pick(&g, 2))
            r.targets[r.n_targets++] = g.updates[i];
    r.batches[0] = r.batches[2] = 1 + random_pick(&g, RANDOM_MAX_BATCH);
    r.batches[1] = 1 + random_pick(&g, RANDOM_MAX_BATCH);
    char without[64];
    const char *pass = some_pass(&g);
    snprintf(without, sizeof without, "full without %s", pass);
    const way none = {"none", TC_OPTIMIZATION_NONE, NULL, 0, TC_DTYPE_INVALID, NULL};
    const way basic = {"basic", TC_OPTIMIZATION_BASIC, NULL, 0, TC_DTYPE_INVALID, NULL};
    const way full = {"full", TC_OPTIMIZATION_FULL, left_out, 0, TC_DTYPE_INVALID, NULL};
    const way partly = {without, TC_OPTIMIZATION_FULL, pass, 0, TC_DTYPE_INVALID, NULL};
    /* Scaled by a power of two, gradients have the bits they had. */
    const way scaled = {"loss scale", TC_OPTIMIZATION_FULL, "precision", 0, TC_F16, NULL};
    const way narrow = {"bf16", TC_OPTIMIZATION_FULL, left_out, 0, TC_BF16, NULL};
    seen reference;
    observe(&r, &none, &reference);
    if (named_device) {
        check_named_device(&r, &reference);
        seen_release(&reference);
        tc_graph_release(g.graph);
        return;
    }
    check_way(&r, &basic, &reference, 0);
    check_way(&r, &full, &reference, TOLERANCE);
    if (!left_out)
        check_way(&r, &partly, &reference, TOLERANCE);
    if (seed % 4 ==
        0) /* dtypes and shapes are the same; what is rounded to 8 bits is not compared */
        check_way(&r, &narrow, &reference, INFINITY);
    if (seed % 4 == 2)
        check_way(&r, &scaled, &reference, TOLERANCE);
    if (seed % 4 == 1) /* the last: nodes get annotations */
        check_devices(&r, &reference);
    seen_release(&reference);
    tc_graph_release(g.graph);
}

static uint64_t first_seed = 1, seed_count = TEST_SANITIZED ? SEEDS / 50 : SEEDS;
static uint64_t shard = 0, shards = 1;

static void test_passes_change_nothing(void **state)
{
    int checked = 0;
    for (uint64_t i = shard; i < seed_count; i += shards, checked++)
        check_seed(first_seed + i);
    print_message("%d graphs, %d of them too sensitive to compare closely\n", checked, sensitive);
    assert_true(sensitive * 100 <= checked + 100);
}

/* y = tanh(x w) w twice, by a function that is called and by hand; and the gradient of its sum for
 * w. */
static tc_value layer(tc_value x, tc_value w)
{
    return tc_matmul(tc_tanh(tc_matmul(x, w)), w);
}

static void test_gradients_through_calls(void **state)
{
    tc_graph *graph = tc_graph_create();
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(-1, SIDE));
    tc_value w = tc_variable(graph, "w", tc_random_normal(graph, TC_F32, TC_SHAPE(SIDE, SIDE)));
    tc_graph *body = tc_function_begin(graph, "layer");
    tc_value p = tc_parameter(body, "p", TC_F32, TC_SHAPE(-1, SIDE));
    tc_function_end(body, TC_VALUES(layer(p, w)));
    tc_graph *outer = tc_function_begin(graph, "twice");
    tc_value q = tc_parameter(outer, "q", TC_F32, TC_SHAPE(-1, SIDE));
    tc_function_end(outer, TC_VALUES(tc_call(outer, "layer",
                                             TC_VALUES(tc_call(outer, "layer", TC_VALUES(q))))));
    tc_value called = tc_reduce_sum(tc_call(graph, "twice", TC_VALUES(x)));
    tc_value written = tc_reduce_sum(layer(layer(x, w), w));
    tc_value fetches[4] = {called, written};
    assert_ok(tc_gradients(TC_VALUES(called), TC_VALUES(w), &fetches[2]));
    assert_ok(tc_gradients(TC_VALUES(written), TC_VALUES(w), &fetches[3]));
    static const char *const disabled[] = {NULL, "all", "cse", "simplify,fold"};
    for (size_t i = 0; i < sizeof disabled / sizeof disabled[0]; i++) {
        const tc_session_options options = {.struct_size = sizeof options,
                                            .disable_passes = disabled[i]};
        tc_session *session;
        tc_tensor *input, *outputs[4] = {0};
        assert_ok(tc_session_create(graph, &options, &session));
        assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(3, SIDE), &input));
        for (int k = 0; k < 3 * SIDE; k++)
            assert_ok(tc_tensor_set(input, k, 0.1 * k - 0.5));
        const tc_feed feed = {x, input};
        assert_ok(tc_session_run(session, &feed, 1, fetches, 4, TC_NO_TARGETS, outputs, NULL));
        assert_true(tc_tensor_get(outputs[0], 0) == tc_tensor_get(outputs[1], 0));
        for (int k = 0; k < ELEMENTS; k++) {
            double a = tc_tensor_get(outputs[2], k), b = tc_tensor_get(outputs[3], k);
            assert_true(a != 0 && a - b < 1e-5 && b - a < 1e-5);
        }
        for (int k = 0; k < 4; k++)
            tc_tensor_release(outputs[k]);
        tc_tensor_release(input);
        tc_session_release(session);
    }
    tc_graph_release(graph);
}

static int run_shard(uint64_t index)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_passes_change_nothing),
                                       cmocka_unit_test(test_gradients_through_calls)};
    shard = index;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* One process per core; they must part before the library starts threads. */
int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pid_t workers[4];
    int failed = 0;
    if (argc > 1)
        first_seed = strtoull(argv[1], NULL, 10);
    if (argc > 1)
        seed_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    if (argc > 3)
        left_out = argv[3];
    named_device = getenv("TENSORC_TEST_DEVICE");
    if (argc <= 1)
        shards = cores < 1 ? 1 : cores > 4 ? 4 : (uint64_t)cores;
    for (uint64_t i = 1; i < shards; i++) {
        workers[i] = fork();
        if (workers[i] == 0)
            _exit(run_shard(i) != 0);
        if (workers[i] < 0)
            return 1;
    }
    failed = run_shard(0);
    for (uint64_t i = 1; i < shards; i++) {
        int status;
        if (waitpid(workers[i], &status, 0) != workers[i] || status != 0)
            failed++;
    }
    return failed;
}
