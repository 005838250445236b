/*
 * Training in f16: gradients that would vanish without a scale, runs that write nothing when one
 * overflows, and a scale that adapts and is kept. On the CPU and, where there is one, on cuda:0.
 */
#include <float.h>
#include <math.h>

#include <tensorc/layers.h>
#include <tensorc/losses.h>
#include <tensorc/optimizers.h>
#include <tensorc/serialize.h>

#include "compiler/passes_test.h"
#include "core/loss_scale.h"

static const char *devices[2] = {NULL};
static size_t n_devices = 1;

static void find_devices(void)
{
    tc_device_info infos[8];
    size_t count;
    assert_ok(tc_device_list(NULL, infos, 8, &count, NULL, 0));
    for (size_t i = 0; i < count && i < 8; i++)
        if (strcmp(infos[i].name, "cuda:0") == 0)
            devices[n_devices++] = "cuda:0";
    print_message("on the CPU%s\n", n_devices > 1 ? " and cuda:0" : "");
}

/* y = x w1 w2, loss = factor * mean(y). A weight less than `tiny` loss has a gradient that f16
 * cannot hold. */
typedef struct model {
    tc_graph *graph;
    tc_value x, factor, w1, w2, moving, loss, gradient, train;
} model;

enum { N = 4, WIDTH = 8 };

static tc_value ones(tc_graph *graph, const char *name, int64_t rows, int64_t columns)
{
    return tc_variable(graph, name, tc_fill(graph, TC_F32, TC_SHAPE(rows, columns), 0.5));
}

static model make_model(int optimizer)
{
    model m = {.graph = tc_graph_create()};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(N, WIDTH));
    m.factor = tc_placeholder(m.graph, "factor", TC_F32, TC_SCALAR);
    m.w1 = ones(m.graph, "w1", WIDTH, WIDTH);
    m.w2 = ones(m.graph, "w2", WIDTH, 1);
    m.moving = ones(m.graph, "moving", 1, 1);
    tc_value y = tc_matmul(tc_matmul(m.x, m.w1), m.w2);
    m.loss = tc_mul(tc_reduce_mean(y), m.factor);
    assert_ok(tc_gradients(&m.loss, 1, &m.w1, 1, &m.gradient));
    /* Whatever a run writes is left out when gradients overflow: running statistics, plain adding.
     */
    tc_value statistics = tc_assign(m.moving, tc_reshape(tc_reduce_mean(y), TC_SHAPE(1, 1)));
    tc_annotate(statistics, "collection", "updates");
    tc_optimizer o = optimizer == 0   ? tc_sgd(m.graph, .learning_rate = 0.25f)
                     : optimizer == 1 ? tc_sgd(m.graph, .learning_rate = 0.25f, .momentum = 0.9)
                                      : tc_adam(m.graph, .learning_rate = 0.125f);
    m.train = tc_minimize(o, m.loss);
    assert_ok(tc_graph_status(m.graph));
    return m;
}

static tc_session *open_session(const model *m, tc_dtype precision, float scale, const char *device)
{
    const tc_session_options options = {.struct_size = sizeof options,
                                        .precision = precision,
                                        .loss_scale = scale,
                                        .device = device};
    tc_session *session;
    assert_ok(tc_session_create(m->graph, &options, &session));
    return session;
}

static tc_tensor *filled(tc_shape shape, double value)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create(TC_F32, shape, &tensor));
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_ok(tc_tensor_set(tensor, i, value));
    return tensor;
}

/* One step with the loss multiplied by `factor`; the largest gradient of w1. */
static double step(const model *m, tc_session *session, double factor)
{
    tc_tensor *x = filled(TC_SHAPE(N, WIDTH), 1), *by = filled(TC_SCALAR, factor), *out = NULL;
    assert_ok(tc_session_run(session, TC_FEEDS({m->x, x}, {m->factor, by}), &m->gradient, 1,
                             &m->train, 1, &out, NULL));
    double largest = 0;
    for (int64_t i = 0; i < tc_tensor_size(out); i++)
        largest = fmax(largest, fabs(tc_tensor_get(out, i)));
    tc_tensor_release(x);
    tc_tensor_release(by);
    tc_tensor_release(out);
    return largest;
}

static double content(tc_session *session, const char *name)
{
    tc_tensor *tensor;
    assert_ok(tc_store_read(tc_session_store(session), name, &tensor));
    double value = tc_tensor_get(tensor, tc_tensor_size(tensor) - 1);
    tc_tensor_release(tensor);
    return value;
}

static void set(tc_session *session, const char *name, tc_dtype dtype, double value)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create_scalar(dtype, value, &tensor));
    assert_ok(tc_store_restore(tc_session_store(session), &name, &tensor, 1, NULL));
    tc_tensor_release(tensor);
}

/* The gradient of w1 is factor / 2: 2^-27 is 0 in f16. */
static void check_underflow(int optimizer, const char *device)
{
    model m = make_model(optimizer);
    tc_session *wide = open_session(&m, TC_DTYPE_INVALID, 0, device);
    tc_session *scaled = open_session(&m, TC_F16, 0, device);
    tc_session *bare = open_session(&m, TC_F16, 1, device);
    for (int i = 0; i < 5; i++) {
        double expected = step(&m, wide, 0x1p-26);
        assert_true(expected > 0);
        assert_float_equal(step(&m, scaled, 0x1p-26) / expected, 1, 2e-3);
        assert_true(step(&m, bare, 0x1p-26) < 0.1 * expected);
    }
    assert_float_equal(content(scaled, "w1"), content(wide, "w1"), 1e-3);
    assert_float_equal(content(scaled, TC_LOSS_SCALE_STEPS), 5, 0);
    if (optimizer == 2) /* Adam makes large steps of small gradients, but not of none */
        assert_true(content(scaled, "w1") < 0.49 + 0.01 && content(bare, "w1") == 0.5);
    tc_session_release(wide);
    tc_session_release(scaled);
    tc_session_release(bare);
    tc_graph_release(m.graph);
}

static void test_underflow(void **state)
{
    (void)state;
    for (size_t d = 0; d < n_devices; d++)
        for (int optimizer = 0; optimizer < 3; optimizer++)
            check_underflow(optimizer, devices[d]);
}

/* What a session's store has but for the scale, as text. */
static void contents(tc_session *session, double values[16], int *count)
{
    static const char *const names[] = {
        "w1",        "w2",           "moving",        "sgd/step", "sgd/velocity/w1",
        "adam/step", "adam/mean/w1", "adam/square/w2"};
    *count = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        tc_tensor *tensor;
        if (tc_store_read(tc_session_store(session), names[i], &tensor) != TC_OK)
            continue;
        values[(*count)++] = tc_tensor_get(tensor, 0);
        tc_tensor_release(tensor);
    }
}

static void check_overflow(int optimizer, float fixed, const char *device)
{
    model m = make_model(optimizer);
    tc_session *session = open_session(&m, TC_F16, fixed, device);
    double before[16], after[16], scale = TC_LOSS_SCALE_FIRST;
    int n_before, n_after;
    for (int i = 0; i < 2; i++)
        (void)step(&m, session, 0.0625);
    contents(session, before, &n_before);
    assert_true(n_before >= 4);
    for (int i = 0; i < 3; i++) {
        step(&m, session, 0x1p20); /* times the scale is beyond f16 */
        contents(session, after, &n_after);
        assert_int_equal(n_after, n_before);
        assert_memory_equal(before, after, (size_t)n_before * sizeof *before);
        scale /= 2;
        if (fixed == 0) {
            assert_float_equal(content(session, TC_LOSS_SCALE), scale, 0);
            assert_float_equal(content(session, TC_LOSS_SCALE_STEPS), 0, 0);
        }
    }
    assert_int_equal(tc_store_step(tc_session_store(session)), 5);
    double gradient = step(&m, session, 0.0625);
    assert_float_equal(gradient, 0.03125 * content(session, "w2") / before[1], 0.02);
    contents(session, after, &n_after);
    for (int i = 0; i < n_before; i++)
        assert_true(after[i] != before[i]);
    tc_session_release(session);
    tc_graph_release(m.graph);
}

static void test_overflow(void **state)
{
    (void)state;
    for (size_t d = 0; d < n_devices; d++)
        for (int optimizer = 0; optimizer < 3; optimizer++) {
            check_overflow(optimizer, 0, devices[d]);
            check_overflow(optimizer, 1024, devices[d]);
        }
}

/* The scale doubles after so many good steps, up to a bound, and falls no lower than another. */
static void test_bounds(void **state)
{
    (void)state;
    for (size_t d = 0; d < n_devices; d++) {
        model m = make_model(0);
        tc_session *session = open_session(&m, TC_F16, 0, devices[d]);
        (void)step(&m, session, 0.0625);
        set(session, TC_LOSS_SCALE_STEPS, TC_I64, TC_LOSS_SCALE_PATIENCE - 2);
        (void)step(&m, session, 0.0625);
        assert_float_equal(content(session, TC_LOSS_SCALE), TC_LOSS_SCALE_FIRST, 0);
        (void)step(&m, session, 0.0625);
        assert_float_equal(content(session, TC_LOSS_SCALE), 2 * TC_LOSS_SCALE_FIRST, 0);
        assert_float_equal(content(session, TC_LOSS_SCALE_STEPS), 0, 0);
        set(session, TC_LOSS_SCALE, TC_F32, TC_LOSS_SCALE_MOST);
        set(session, TC_LOSS_SCALE_STEPS, TC_I64, TC_LOSS_SCALE_PATIENCE - 1);
        (void)step(&m, session, 0x1p-20);
        assert_float_equal(content(session, TC_LOSS_SCALE), TC_LOSS_SCALE_MOST, 0);
        set(session, TC_LOSS_SCALE, TC_F32, TC_LOSS_SCALE_LEAST);
        (void)step(&m, session, 0x1p30);
        assert_float_equal(content(session, TC_LOSS_SCALE), TC_LOSS_SCALE_LEAST, 0);
        tc_session_release(session);
        tc_graph_release(m.graph);
    }
}

/* Checkpoints carry the scale; those of trainings without one fit as well, and the other way. */
static void test_checkpoint(void **state)
{
    (void)state;
    model m = make_model(2);
    char folder[TEST_PATH_SIZE], path[TEST_PATH_SIZE];
    test_folder_create(folder);
    tc_session *session = open_session(&m, TC_F16, 0, NULL);
    (void)step(&m, session, 0x1p20);
    (void)step(&m, session, 0.0625);
    assert_ok(tc_checkpoint_save(session, folder, NULL, path, sizeof path));
    tc_session *other = open_session(&m, TC_F16, 0, NULL), *wide = open_session(&m, 0, 0, NULL);
    assert_float_equal(content(other, TC_LOSS_SCALE), TC_LOSS_SCALE_FIRST, 0);
    assert_ok(tc_checkpoint_restore(other, path, NULL));
    assert_float_equal(content(other, TC_LOSS_SCALE), TC_LOSS_SCALE_FIRST / 2, 0);
    assert_float_equal(content(other, TC_LOSS_SCALE_STEPS), 1, 0);
    assert_float_equal(step(&m, other, 0.0625), step(&m, session, 0.0625), 0);
    assert_ok(tc_checkpoint_restore(wide, path, NULL));
    (void)step(&m, wide, 0.0625);
    tc_session_release(session);
    tc_session_release(wide);
    wide = open_session(&m, TC_BF16, 0, NULL);
    assert_ok(tc_session_initialize(wide));
    assert_ok(tc_checkpoint_save(wide, folder, NULL, path, sizeof path));
    assert_ok(tc_checkpoint_restore(other, path, NULL));
    assert_float_equal(content(other, TC_LOSS_SCALE), TC_LOSS_SCALE_FIRST / 2, 0);
    tc_session_release(wide);
    tc_session_release(other);
    tc_graph_release(m.graph);
    test_folder_remove(folder);
}

/* Options that are refused, and a name that the library needs. */
static void test_refused(void **state)
{
    (void)state;
    model m = make_model(0);
    tc_session *session;
    static const float wrong[] = {-1, NAN, INFINITY};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const tc_session_options options = {.struct_size = sizeof options, .loss_scale = wrong[i]};
        assert_status(tc_session_create(m.graph, &options, &session), TC_INVALID_ARGUMENT);
        assert_error_contains("must be positive, or 0 for one that adapts");
    }
    (void)ones(m.graph, TC_LOSS_SCALE, 1, 1);
    const tc_session_options options = {.struct_size = sizeof options, .precision = TC_F16};
    assert_status(tc_session_create(m.graph, &options, &session), TC_INVALID_ARGUMENT);
    assert_error_contains("'loss_scale/scale' is a variable of the library");
    tc_graph_release(m.graph);
}

/* An update that the loss reads cannot wait for its gradients, unless these do not drive it. */
static void test_updates_before_the_loss(void **state)
{
    (void)state;
    tc_graph *g = tc_graph_create();
    tc_value w = ones(g, "w", 2, 2), v = ones(g, "v", 2, 2), gradient, second;
    tc_value moved = tc_assign_add(v, tc_fill(g, TC_F32, TC_SHAPE(2, 2), 1));
    tc_value loss = tc_reduce_sum(tc_mul(tc_matmul(w, moved), tc_fill(g, TC_F32, TC_SCALAR, 3e9)));
    assert_ok(tc_gradients(&loss, 1, &w, 1, &gradient));
    tc_value update = tc_assign_sub(w, gradient);
    tc_value again = tc_reduce_sum(tc_square(update));
    assert_ok(tc_gradients(&again, 1, &update, 1, &second));
    tc_value late = tc_assign_add(v, second);
    model m = {.graph = g};
    tc_session *session = open_session(&m, TC_F16, 0, NULL);
    tc_tensor *results[1] = {NULL};
    assert_ok(tc_session_run(session, TC_NO_FEEDS, &gradient, 1, &update, 1, results, NULL));
    assert_float_equal(content(session, "v"), 1.5, 0);
    assert_float_equal(content(session, "w"), 0.5, 0);
    assert_float_equal(content(session, TC_LOSS_SCALE), TC_LOSS_SCALE_FIRST / 2, 0);
    tc_tensor_release(results[0]);
    assert_status(tc_session_run(session, TC_NO_FEEDS, NULL, 0, &late, 1, NULL, NULL),
                  TC_UNIMPLEMENTED);
    assert_error_contains("make two runs of it");
    tc_session_release(session);
    tc_graph_release(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_underflow), cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_bounds),    cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_updates_before_the_loss),
    };
    find_devices();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
