/* A small network for the tests of this folder: x [batch, 4] -> dense 8 -> dense 2, trained with
 * Adam. */
#ifndef TC_TEST_RUNTIME_MODEL_H
#define TC_TEST_RUNTIME_MODEL_H

#include <tensorc/tensorc.h>

#define MODEL_BATCH 6

typedef struct test_model {
    tc_graph *graph;
    tc_value x, y; /* f32 [batch, 4], i64 [batch] */
    tc_value logits, loss, train;
    tc_tensor *features, *labels;
} test_model;

static inline tc_status test_model_create(test_model *m)
{
    static const float features[MODEL_BATCH * 4] = {
        0.1f, -0.5f, 0.3f, 1.0f,  0.9f, 0.2f, -1.f, 0.4f, 0.0f, 0.7f, -0.2f, 0.5f,
        0.6f, -0.6f, 0.8f, -0.1f, 0.3f, 0.3f, -.7f, 0.2f, 0.5f, 0.9f, -0.4f, 0.1f};
    static const int64_t labels[MODEL_BATCH] = {0, 1, 1, 0, 1, 0};
    *m = (test_model){.graph = tc_graph_create()};
    if (!m->graph)
        return TC_RESOURCE_EXHAUSTED;
    m->x = tc_placeholder(m->graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    m->y = tc_placeholder(m->graph, "y", TC_I64, TC_SHAPE(TC_DIM("batch")));
    tc_value h = tc_dense(m->x, 8, .activation = TC_ACT_TANH, .name = "hidden");
    m->logits = tc_dense(h, 2, .name = "logits");
    m->loss = tc_softmax_cross_entropy(m->logits, m->y);
    m->train = tc_minimize(tc_adam(m->graph, .learning_rate = 0.05f), m->loss);
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(MODEL_BATCH, 4), features, &m->features));
    return tc_tensor_create_copy(TC_I64, TC_SHAPE(MODEL_BATCH), labels, &m->labels);
}

static inline void test_model_destroy(test_model *m)
{
    tc_tensor_release(m->features);
    tc_tensor_release(m->labels);
    tc_graph_release(m->graph);
}

#endif
