/* What the tests of stages share. */
#ifndef TC_TEST_RUNTIME_STAGES_H
#define TC_TEST_RUNTIME_STAGES_H

#include <math.h>

#include "../support/counting_allocator.h"
#include "../support/test.h"

#include <tensorc/tensorc.h>

/*
 * Running
 */
static inline tc_session *session_of(tc_graph *g)
{
    tc_session *s;
    assert_ok(tc_session_create(g, NULL, &s));
    return s;
}

static inline tc_tensor *floats(tc_shape shape, const float *data)
{
    tc_tensor *t;
    assert_ok(tc_tensor_create_copy(TC_F32, shape, data, &t));
    return t;
}

static inline void expect(tc_tensor *t, tc_shape shape, const double *elements)
{
    assert_non_null(t);
    char is[256], wanted[256];
    tc_shape_format(tc_tensor_shape(t), is, sizeof is);
    tc_shape_format(&shape, wanted, sizeof wanted);
    assert_string_equal(is, wanted);
    for (int64_t i = 0; i < tc_tensor_size(t); i++)
        assert_float_equal(tc_tensor_get(t, i), elements[i], 1e-6);
}

#define ELEMENTS(...) ((const double[]){__VA_ARGS__})

static inline void release(tc_tensor **tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tc_tensor_release(tensors[i]);
        tensors[i] = NULL;
    }
}

/* The positive elements of x, and what is computed from them and from how many there are. */
typedef struct positive {
    tc_graph *graph;
    tc_value x, chosen, scaled, mean, places;
} positive;

static inline positive positive_create(void)
{
    positive p = {.graph = tc_graph_create()};
    p.x = tc_placeholder(p.graph, "x", TC_F32, TC_SHAPE(TC_DIM("n")));
    tc_value mask = tc_greater(p.x, tc_constant_scalar(p.graph, TC_F32, 0));
    p.chosen = tc_boolean_mask(p.x, mask);
    p.scaled = tc_mul(p.chosen, tc_constant_scalar(p.graph, TC_F32, 10));
    p.mean = tc_reduce_mean(p.scaled);
    p.places = tc_nonzero(mask);
    assert_ok(tc_graph_status(p.graph));
    return p;
}

/*
 * Training through a mask
 */
typedef struct masked_model {
    tc_graph *graph;
    tc_value x, y, w, loss, train, count;
} masked_model;

/* Rows whose label is not negative count. */
static inline masked_model masked_model_create(void)
{
    masked_model m = {.graph = tc_graph_create()};
    tc_graph *g = m.graph;
    m.x = tc_placeholder(g, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 3));
    m.y = tc_placeholder(g, "y", TC_F32, TC_SHAPE(TC_DIM("batch")));
    m.w = tc_variable(g, "w", tc_constant_data(g, TC_F32, TC_SHAPE(3, 1), ((float[]){1, -1, 2})));
    m.count = tc_variable(g, "count", tc_constant_scalar(g, TC_I64, 0));
    tc_value known = tc_greater_equal(m.y, tc_constant_scalar(g, TC_F32, 0));
    tc_value out = tc_matmul(m.x, m.w);
    tc_value chosen = tc_boolean_mask(out, known), labels = tc_boolean_mask(m.y, known);
    m.loss = tc_reduce_sum(tc_square(tc_sub(tc_squeeze(chosen, .axes = TC_INTS(1)), labels)));
    tc_value step = tc_minimize(tc_sgd(g, .learning_rate = 0.01f), m.loss);
    m.train =
        tc_group(g, TC_VALUES(step, tc_assign_add(m.count, tc_constant_scalar(g, TC_I64, 1))));
    assert_ok(tc_graph_status(g));
    return m;
}

static const float features[4 * 3] = {1, 2, 3, -1, 0, 1, 2, 2, -2, 0.5f, 1, 0};
static const float labels[4] = {1, -1, 2, 0.5f};

/* One step by hand: w -= 0.01 * sum of 2 (x.w - y) x over rows with y >= 0. */
static inline double step_by_hand(double w[3])
{
    double gradient[3] = {0}, loss = 0;
    for (int i = 0; i < 4; i++) {
        double error = -labels[i];
        for (int k = 0; k < 3; k++)
            error += features[3 * i + k] * w[k];
        for (int k = 0; k < 3 && labels[i] >= 0; k++)
            gradient[k] += 2 * error * features[3 * i + k];
        loss += labels[i] >= 0 ? error * error : 0;
    }
    for (int k = 0; k < 3; k++)
        w[k] -= 0.01 * gradient[k];
    return loss;
}

static inline void expect_variable(tc_session *s, const char *name, const double *elements)
{
    tc_tensor *t;
    assert_ok(tc_store_read(tc_session_store(s), name, &t));
    for (int64_t i = 0; i < tc_tensor_size(t); i++)
        assert_float_equal(tc_tensor_get(t, i), elements[i], 1e-5);
    tc_tensor_release(t);
}

#endif
