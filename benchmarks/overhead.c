/* Small graphs, where the executor's own cost is what counts. */
#include "bound.h"

#define CHAIN 100

/* What is measured here is a run of single operators. */
static tc_session_options unfused(const workload *w, const tc_session_options *options)
{
    tc_session_options result = *options;
    if (!w->detail)
        result.disable_passes = "fuse_elementwise,fuse_epilogues,merge_updates";
    return result;
}

/* Alternating operators that no pass removes, on 4 floats. */
static tc_status create_chain(const workload *w, const tc_session_options *options, void **state)
{
    const tc_session_options with = unfused(w, options);
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, TC_SHAPE(4));
    tc_value y = x;
    for (int i = 0; i < (int)w->per_sample || i == 0; i++)
        y = i % 2 ? tc_relu(y) : tc_add(y, x);
    TC_TRY(random_floats(TC_SHAPE(4), &b->inputs[0]));
    return bound_compile(b, &with, TC_FETCHES(x), y, TC_NO_VALUE);
}

static tc_value small_mlp(tc_value x)
{
    x = tc_dense(x, 8, .activation = TC_ACT_RELU, .name = "hidden1");
    x = tc_dense(x, 8, .activation = TC_ACT_RELU, .name = "hidden2");
    return tc_dense(x, 2, .name = "logits");
}

static tc_status create_inference(const workload *w, const tc_session_options *options,
                                  void **state)
{
    const tc_session_options with = unfused(w, options);
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, TC_SHAPE(1, 4));
    TC_TRY(random_floats(TC_SHAPE(1, 4), &b->inputs[0]));
    return bound_compile(b, &with, TC_FETCHES(x), small_mlp(x), TC_NO_VALUE);
}

static tc_status create_training(const workload *w, const tc_session_options *options, void **state)
{
    const tc_session_options with = unfused(w, options);
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, TC_SHAPE(1, 4));
    tc_value y = tc_placeholder(b->graph, "y", TC_I64, TC_SHAPE(1));
    tc_value loss = tc_softmax_cross_entropy(small_mlp(x), y);
    tc_value train = tc_minimize(tc_sgd(b->graph, .learning_rate = 0.01f), loss);
    TC_TRY(random_floats(TC_SHAPE(1, 4), &b->inputs[0]));
    TC_TRY(random_ids(TC_SHAPE(1), 2, &b->inputs[1]));
    return bound_compile(b, &with, TC_FETCHES(x, y), TC_NO_VALUE, train);
}

/* Operators of a few microseconds each, which a profile must not slow down: that a row with it
 * takes less than 1.01 of the time of the row without. */
static tc_status create_profiled(const workload *w, const tc_session_options *options, void **state)
{
    tc_session_options with = *options;
    with.disable_passes = "fuse_elementwise";
    with.threads = 1;
    bound *b = bound_create();
    *state = b;
    if (!b)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "out of memory");
    if (w->detail)
        TC_TRY(tc_profile_create(&b->profile));
    tc_value x = tc_placeholder(b->graph, "x", TC_F32, TC_SHAPE(128, 128));
    tc_value y = x;
    for (int i = 0; i < CHAIN; i++)
        y = i % 2 ? tc_sigmoid(y) : tc_tanh(y);
    TC_TRY(random_floats(TC_SHAPE(128, 128), &b->inputs[0]));
    return bound_compile(b, &with, TC_FETCHES(x), y, TC_NO_VALUE);
}

/* `fused` is any pointer for rows that leave all passes on, or that have a profile. */
#define ROW(name, create, repeats, per_sample, fused)                                    \
    {                                                                                    \
        "overhead", name, create, bound_run, bound_destroy, repeats, per_sample, (fused) \
    }

static const bool fused = true;
static const workload rows[] = {
    ROW("chain of 100 ops on 4 floats, per op", create_chain, 100, CHAIN, NULL),
    ROW("graph of 1 op on 4 floats", create_chain, 1000, 0, NULL),
    ROW("MLP 4-8-8-2 inference", create_inference, 1000, 0, NULL),
    ROW("MLP 4-8-8-2 SGD training step", create_training, 1000, 0, NULL),
    ROW("chain of 100 ops on 4 floats, per op, fused", create_chain, 100, CHAIN, &fused),
    ROW("MLP 4-8-8-2 inference, fused", create_inference, 1000, 0, &fused),
    ROW("MLP 4-8-8-2 SGD training step, fused", create_training, 1000, 0, &fused),
    ROW("chain of 100 ops of 5 us", create_profiled, 10, 0, NULL),
    ROW("chain of 100 ops of 5 us, with a profile", create_profiled, 10, 0, &fused),
};

const workload_table overhead_workloads = {rows, sizeof rows / sizeof rows[0]};
