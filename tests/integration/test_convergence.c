/* Small networks learn what cannot be learned by a line, from any seed. */
#include <math.h>

#include <tensorc/tensorc.h>

#include "support/test.h"

/*
 * XOR: four examples, two inputs, one hidden layer.
 */
static double learn_xor(uint64_t seed)
{
    tc_graph *g = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .seed = seed});
    tc_value x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 2));
    tc_value y = tc_placeholder(g, "y", TC_F32, TC_SHAPE(TC_DIM("batch"), 1));
    tc_value h = tc_dense(x, 16, .activation = TC_ACT_TANH, .name = "hidden");
    tc_value loss = tc_sigmoid_cross_entropy(tc_dense(h, 1, .name = "logit"), y);
    tc_value train = tc_minimize(tc_adam(g, .learning_rate = 0.05f), loss);
    tc_tensor *inputs, *targets, *value = NULL;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(4, 2), (const float[]){0, 0, 0, 1, 1, 0, 1, 1},
                                    &inputs));
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(4, 1), (const float[]){0, 1, 1, 0}, &targets));
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    for (int step = 0; step < 400; step++)
        assert_ok(tc_session_run(s, TC_FEEDS({x, inputs}, {y, targets}), TC_FETCHES(loss),
                                 TC_TARGETS(train), &value, NULL));
    double last = tc_tensor_get(value, 0);
    tc_tensor_release(inputs);
    tc_tensor_release(targets);
    tc_tensor_release(value);
    tc_session_release(s);
    tc_graph_release(g);
    return last;
}

static void test_convergence_xor(void **state)
{
    for (uint64_t seed = 0; seed < 5; seed++) {
        double loss = learn_xor(seed);
        if (!(loss < 0.02))
            fail_msg("from seed %d the loss is still %g", (int)seed, loss);
    }
}

/*
 * Two moons: points on two half circles that reach into each other, with noise.
 */
#define POINTS 512

static void moons(tc_tensor **points, tc_tensor **labels)
{
    uint32_t random = 12345;
    assert_ok(tc_tensor_create(TC_F32, TC_SHAPE(POINTS, 2), points));
    assert_ok(tc_tensor_create(TC_I64, TC_SHAPE(POINTS), labels));
    float *xy = tc_tensor_data(*points);
    for (int i = 0; i < POINTS; i++) {
        double angle = acos(-1.0) * (i / 2) / (POINTS / 2 - 1), noise[2];
        for (int j = 0; j < 2; j++) {
            random = random * 1664525u + 1013904223u;
            noise[j] = ((random >> 8) / 16777216.0 - 0.5) * 0.3;
        }
        bool upper = i % 2 == 0;
        xy[2 * i] = (float)((upper ? cos(angle) : 1 - cos(angle)) + noise[0]);
        xy[2 * i + 1] = (float)((upper ? sin(angle) : 0.5 - sin(angle)) + noise[1]);
        ((int64_t *)tc_tensor_data(*labels))[i] = i % 2;
    }
}

typedef struct classifier {
    tc_graph *g;
    tc_value x, y, loss, accuracy, train;
} classifier;

/* Dropout and batch normalization make it a test of training and inference modes too. */
static classifier classifier_create(uint64_t seed, bool regularized)
{
    classifier c = {.g = tc_graph_create_with(&(tc_graph_options){
                        .struct_size = sizeof(tc_graph_options), .seed = seed})};
    c.x = tc_placeholder(c.g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 2));
    c.y = tc_placeholder(c.g, "y", TC_I64, TC_SHAPE(TC_DIM("batch")));
    tc_value h = tc_dense(c.x, 32, .initializer = TC_INIT_HE_NORMAL, .name = "hidden1");
    if (regularized)
        h = tc_batch_norm_layer(h);
    h = tc_relu(h);
    if (regularized)
        h = tc_dropout(h, 0.1);
    h = tc_dense(h, 32, .activation = TC_ACT_RELU, .initializer = TC_INIT_HE_NORMAL,
                 .name = "hidden2");
    tc_value logits = tc_dense(h, 2, .name = "logits");
    c.loss = tc_softmax_cross_entropy(logits, c.y);
    c.accuracy = tc_accuracy(logits, c.y);
    tc_warmup_cosine schedule = {.peak = 0.02, .warmup_steps = 20, .total_steps = 480};
    c.train = tc_minimize(
        tc_adamw(c.g, .schedule = tc_warmup_cosine_schedule, .schedule_context = &schedule), c.loss,
        .clip_global_norm = 5);
    return c;
}

/* Thirty epochs of 16 batches; returns the accuracy of an inference run and the last weights. */
static double learn_moons(uint64_t seed, bool regularized, int32_t threads, tc_tensor **weights)
{
    classifier c = classifier_create(seed, regularized);
    tc_tensor *points, *labels, *columns[2], *accuracy = NULL;
    moons(&points, &labels);
    tc_batches *batches;
    const tc_column all[] = {{.data = points}, {.data = labels}};
    const tc_batches_options shuffled = {
        .struct_size = sizeof shuffled, .batch_size = 32, .seed = seed};
    assert_ok(tc_batches_create(all, 2, &shuffled, &batches));
    tc_runtime *runtime;
    tc_session *s;
    tc_callable *step;
    assert_ok(tc_runtime_create(
        &(tc_runtime_options){.struct_size = sizeof(tc_runtime_options), .threads = threads},
        &runtime));
    assert_ok(tc_session_create(
        c.g, &(tc_session_options){.struct_size = sizeof(tc_session_options), .runtime = runtime},
        &s));
    assert_ok(tc_session_compile(s, TC_FETCHES(c.x, c.y), TC_NO_FETCHES, TC_TARGETS(c.train), NULL,
                                 &step));
    while (tc_batches_tell(batches).epoch < 30) {
        tc_status status = tc_batches_next(batches, columns);
        if (status == TC_OK)
            assert_ok(tc_callable_run(step, columns, NULL, NULL));
        else
            assert_int_equal(status, TC_OUT_OF_RANGE);
    }
    assert_ok(tc_session_run(s, TC_FEEDS({c.x, points}, {c.y, labels}), TC_FETCHES(c.accuracy),
                             TC_NO_TARGETS, &accuracy, NULL));
    double share = tc_tensor_get(accuracy, 0);
    assert_ok(tc_store_read(tc_session_store(s), "hidden2/weights", weights));
    tc_tensor_release(points);
    tc_tensor_release(labels);
    tc_tensor_release(accuracy);
    tc_batches_destroy(batches);
    tc_callable_release(step);
    tc_session_release(s);
    tc_runtime_release(runtime);
    tc_graph_release(c.g);
    return share;
}

static void check_moons(bool regularized)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        tc_tensor *one, *two;
        double accuracy = learn_moons(seed, regularized, 1, &one);
        if (!(accuracy >= 0.98))
            fail_msg("from seed %d the accuracy is only %g", (int)seed, accuracy);
        /* The same bits with two threads. */
        assert_true(learn_moons(seed, regularized, 2, &two) == accuracy);
        assert_memory_equal(tc_tensor_data(one), tc_tensor_data(two), tc_tensor_bytes(one));
        tc_tensor_release(one);
        tc_tensor_release(two);
    }
}

static void test_convergence_moons(void **state)
{
    check_moons(false);
}

static void test_convergence_moons_regularized(void **state)
{
    check_moons(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convergence_xor),
        cmocka_unit_test(test_convergence_moons),
        cmocka_unit_test(test_convergence_moons_regularized),
    };
    return cmocka_run_group_tests_name("convergence", tests, NULL, NULL);
}
