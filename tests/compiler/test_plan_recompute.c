/* Plans that fit a memory budget by computing values again: they fit, and give the same bits. */
#include "compiler/plan_test.h"

#define WIDTH 64
#define BATCH 256

typedef struct network {
    tc_graph *graph;
    tc_value x, loss, train;
} network;

/* The gradients of all weights are alive before the first commit, so batches are large enough that
 * activations take most of the memory. `layers` of WIDTH units after each other, trained; with
 * dropout and normalization when `rich`. */
static network make_network(int layers, bool rich)
{
    network n = {.graph = tc_graph_create()};
    n.x = tc_placeholder(n.graph, "x", TC_F32, TC_SHAPE(BATCH, WIDTH));
    tc_value h = n.x;
    for (int i = 0; i < layers; i++) {
        h = tc_dense(h, WIDTH, .activation = TC_ACT_RELU);
        if (rich) {
            h = tc_layer_norm_layer(h);
            h = tc_dropout(h, 0.25);
        }
    }
    n.loss = tc_reduce_mean(tc_mul(h, h));
    n.train = tc_minimize(tc_sgd(n.graph, .learning_rate = 0.05f), n.loss);
    assert_ok(tc_graph_status(n.graph));
    return n;
}

typedef struct trained {
    tc_plan_info info;
    float losses[3];
    tc_tensor *weights;
} trained;

/* The status of planning; trains three steps when that succeeds. */
static tc_status train(const network *n, size_t budget, const char *disable_passes, trained *out)
{
    tc_session *session;
    tc_callable *callable;
    *out = (trained){0};
    const tc_session_options options = {
        .struct_size = sizeof options, .memory_budget = budget, .disable_passes = disable_passes};
    assert_ok(tc_session_create(n->graph, &options, &session));
    assert_ok(tc_session_compile(session, &n->x, 1, &n->loss, 1, &n->train, 1, NULL, &callable));
    const tc_shape shape = TC_SHAPE(BATCH, WIDTH);
    tc_status status = tc_callable_plan(callable, &shape, &out->info);
    static float data[BATCH * WIDTH];
    for (int i = 0; i < BATCH * WIDTH; i++)
        data[i] = (float)((i * 37) % 101) / 101 - 0.5f;
    tc_tensor *x;
    assert_ok(tc_tensor_create_copy(TC_F32, shape, data, &x));
    for (int step = 0; step < 3 && status == TC_OK; step++) {
        tc_tensor *loss = NULL;
        assert_ok(tc_callable_run(callable, &x, &loss, NULL));
        memcpy(&out->losses[step], tc_tensor_data(loss), sizeof(float));
        tc_tensor_release(loss);
    }
    if (status == TC_OK)
        assert_ok(tc_store_read(tc_session_store(session), "dense/weights", &out->weights));
    tc_tensor_release(x);
    tc_callable_release(callable);
    tc_session_release(session);
    return status;
}

static void expect_equal(const trained *a, const trained *b)
{
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    assert_memory_equal(tc_tensor_data(a->weights), tc_tensor_data(b->weights),
                        tc_tensor_bytes(a->weights));
}

static void check_network(int layers, bool rich, double share, const char *disable_passes)
{
    network n = make_network(layers, rich);
    trained free_run, bound_run;
    assert_ok(train(&n, 0, disable_passes, &free_run));
    assert_int_equal(free_run.info.recomputed, 0);
    size_t budget = (size_t)((double)free_run.info.peak_bytes * share);
    assert_ok(train(&n, budget, disable_passes, &bound_run));
    print_message("%d layers%s: %zu bytes, then %zu with %d of %d kernels again\n", layers,
                  rich ? " with dropout and normalization" : "", free_run.info.peak_bytes,
                  bound_run.info.peak_bytes, (int)bound_run.info.recomputed,
                  (int)free_run.info.kernels);
    assert_true(bound_run.info.peak_bytes <= budget);
    assert_true(bound_run.info.recomputed > 0);
    assert_int_equal(bound_run.info.kernels, free_run.info.kernels + bound_run.info.recomputed);
    expect_equal(&free_run, &bound_run);
    tc_tensor_release(free_run.weights);
    tc_tensor_release(bound_run.weights);
    tc_graph_release(n.graph);
}

static void test_networks(void **state)
{
    check_network(40, false, 0.6, NULL);
    check_network(40, false, 0.4, NULL);
    check_network(20, true, 0.7, NULL);
    /* A fused node is computed again as a whole, single ones go further. */
    check_network(20, true, 0.6, "fuse_elementwise");
    check_network(20, true, 0.3, "fuse_elementwise");
}

/* Without the pass, or when nothing helps, the plan is refused as before. */
static void test_refused(void **state)
{
    network n = make_network(20, false);
    trained free_run, bound_run;
    assert_ok(train(&n, 0, NULL, &free_run));
    size_t budget = free_run.info.peak_bytes * 6 / 10;
    assert_status(train(&n, budget, "rematerialize", &bound_run), TC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(tc_error_message(), "the memory budget is"));
    assert_status(train(&n, 1000, NULL, &bound_run), TC_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(tc_error_message(), "the memory budget is 1000"));
    tc_tensor_release(free_run.weights);
    tc_graph_release(n.graph);
}

/* A value that is needed at both ends of a long computation. */
typedef struct ends {
    tc_graph *graph;
    test_request r;
    fake_target target;
} ends;

static ends make_ends(const char *note)
{
    ends e = {.graph = tc_graph_create(), .target = fake_target_make()};
    tc_value x = tc_placeholder(e.graph, "x", TC_F32, TC_SHAPE(64, 64));
    tc_value early = tc_exp(x);
    if (note)
        tc_annotate(early, "rematerialize", note);
    tc_value m = tc_matmul(early, x);
    for (int i = 0; i < 4; i++)
        m = tc_matmul(tc_matmul(m, x), tc_matmul(m, m));
    tc_value late = tc_reduce_sum(tc_mul(early, tc_reduce_sum(m)));
    request_feed(&e.r, x);
    request_fetch(&e.r, late);
    assert_ok(tc_graph_status(e.graph));
    return e;
}

static tc_status plan_ends(const char *note, size_t budget, const char *disable_passes,
                           size_t *arena, int32_t *recomputed)
{
    ends e = make_ends(note);
    e.r.request.disable_passes = disable_passes;
    tc_program *program = compile_ok(e.graph, &e.r, &e.target);
    const tc_shape shape = TC_SHAPE(64, 64);
    tc_plan *plan;
    tc_status status = tc_plan_create(program, &shape, &e.target.target, budget, &plan);
    if (status == TC_OK) {
        check_plan(plan);
        *arena = plan->arena_bytes;
        *recomputed = plan->recomputed;
        tc_plan_release(plan);
    }
    tc_program_release(program);
    tc_graph_release(e.graph);
    return status;
}

static void test_annotations(void **state)
{
    size_t kept, again;
    int32_t recomputed;
    assert_ok(plan_ends(NULL, 0, NULL, &kept, &recomputed));
    assert_int_equal(recomputed, 0);
    /* "always" needs no budget. */
    assert_ok(plan_ends("always", 0, NULL, &again, &recomputed));
    assert_int_equal(recomputed, 1);
    assert_int_equal(again, kept - 64 * 64 * 4);
    assert_ok(plan_ends("always", 0, "rematerialize", &again, &recomputed));
    assert_int_equal(recomputed, 0);
    /* A budget makes the plan do it, "never" keeps it from it. */
    assert_ok(plan_ends(NULL, kept - 1, NULL, &again, &recomputed));
    assert_int_equal(recomputed, 1);
    assert_status(plan_ends("never", kept - 1, NULL, &again, &recomputed), TC_RESOURCE_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_annotations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
