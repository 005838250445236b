/*
 * Graphs that have something of everything a file can hold. The golden files hold these very ones:
 * they may not change, only others be added.
 */
#ifndef TC_TEST_SERIALIZE_SAMPLES_H
#define TC_TEST_SERIALIZE_SAMPLES_H

#include <tensorc/tensorc.h>

#include "support/test.h"

static const tc_dtype sample_dtypes[] = {TC_F32, TC_F64, TC_F16, TC_BF16, TC_I8,  TC_I16, TC_I32,
                                         TC_I64, TC_U8,  TC_U16, TC_U32,  TC_U64, TC_BOOL};
enum { sample_dtype_count = sizeof sample_dtypes / sizeof sample_dtypes[0] };

/** A tensor of elements that differ. */
static inline tc_tensor *sample_tensor(tc_dtype dtype, tc_shape shape)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create(dtype, shape, &tensor));
    uint8_t *bytes = tc_tensor_data(tensor);
    for (size_t i = 0; i < tc_tensor_bytes(tensor); i++)
        bytes[i] = (uint8_t)(dtype == TC_BOOL ? i % 3 == 0 : i * 37 + 11);
    return tensor;
}

static inline tc_value sample_constant(tc_graph *graph, tc_dtype dtype, tc_shape shape)
{
    tc_tensor *tensor = sample_tensor(dtype, shape);
    tc_value value = tc_constant(graph, tensor);
    tc_tensor_release(tensor);
    return value;
}

/** Constants of every dtype and of unusual ranks. */
static inline void sample_constants(tc_graph *graph)
{
    for (int i = 0; i < sample_dtype_count; i++) {
        sample_constant(graph, sample_dtypes[i], TC_SHAPE(3, 5));
        sample_constant(graph, sample_dtypes[i], TC_SCALAR);
        sample_constant(graph, sample_dtypes[i], TC_SHAPE(2, 0, 7));
    }
    sample_constant(graph, TC_F32, TC_SHAPE(1, 2, 1, 3, 1, 2, 1, 2));
}

/** Functions: nested, capturing values and a variable that they write, begun before they are
 * called from another one, and never called. */
static inline void sample_functions(tc_graph *graph, tc_value x, tc_value variable)
{
    tc_graph *outer = tc_function_begin(graph, "outer");
    tc_graph *helper = tc_function_begin(graph, "helper");
    tc_value p = tc_parameter(helper, "p", TC_F32, TC_SHAPE(TC_DIM("rows"), 4));
    tc_function_end(helper, TC_VALUES(tc_mul(p, x), tc_neg(p)));

    tc_value q = tc_parameter(outer, "q", TC_F32, TC_SHAPE(-1, 4));
    tc_graph *inner = tc_function_begin(outer, "inner");
    tc_value r = tc_parameter(inner, "r", TC_F32, TC_SHAPE(-1, 4));
    tc_function_end(inner, TC_VALUES(tc_add(r, q)));
    tc_value h = tc_call(outer, "helper", TC_VALUES(q));
    tc_value i = tc_call(outer, "inner", TC_VALUES(tc_output(h, 1)), .name = "again");
    tc_value total = tc_assign_add(variable, tc_reduce_sum(i));
    tc_function_end(outer, TC_VALUES(i, total));

    tc_graph *unused = tc_function_begin(graph, "unused");
    tc_value s = tc_parameter(unused, "s", TC_F32, TC_SHAPE(4));
    tc_function_end(unused, TC_VALUES(tc_exp(s)));
    tc_call(graph, "outer", TC_VALUES(x));
}

/** The caller owns the graph. */
static inline tc_graph *sample_graph(void)
{
    const tc_graph_options options = {sizeof options, NULL, 0x123456789abcdef0ull};
    tc_graph *graph = tc_graph_create_with(&options);
    tc_value x = tc_placeholder(graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    tc_placeholder(graph, "y", TC_I64, TC_SHAPE(TC_DIM("batch"), -1, TC_DIM("caf\xc3\xa9")));
    sample_constants(graph);
    tc_scope_push(graph, "scope");
    tc_device_push(graph, "cpu");
    tc_value variable =
        tc_variable(graph, "total", tc_constant_scalar(graph, TC_F32, 2.5), .not_trainable = true);
    tc_device_pop(graph);
    tc_scope_pop(graph);
    tc_annotate(variable, "collection", "updates \xe2\x9c\x93");
    tc_annotate(variable, "empty", "");
    sample_functions(graph, x, variable);
    tc_control_push(graph, &x, 1);
    tc_value ordered = tc_identity(variable);
    tc_control_pop(graph);
    tc_value kept = tc_dropout(x, 0.25);
    tc_value pieces = tc_reshape(kept, TC_SHAPE(-1, 2, 2));
    tc_transpose(pieces, .permutation = TC_INTS(2, 0, 1));
    tc_group(graph, TC_VALUES(ordered, pieces));
    assert_ok(tc_graph_status(graph));
    return graph;
}

/** Everything that printing shows; the caller frees it. */
static inline char *sample_text(const tc_graph *graph)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    assert_ok(tc_graph_print(graph, file));
    fclose(file);
    return text;
}

/** Session that has trained a little: y = x * w + b with weights that changed. */
typedef struct sample_model {
    tc_graph *graph;
    tc_value x, w, b, y, unused, train;
    tc_session *session;
} sample_model;

static inline sample_model sample_model_create(void)
{
    sample_model m = {.graph = tc_graph_create()};
    const float w[] = {1, 2, 3, 4};
    m.x = tc_placeholder(m.graph, "x", TC_F32, TC_SHAPE(TC_DIM("batch"), 4));
    m.w = tc_variable(m.graph, "layer/w", tc_constant_data(m.graph, TC_F32, TC_SHAPE(4), w));
    m.b = tc_variable(m.graph, "layer/b", tc_zeros(m.graph, TC_F32, TC_SHAPE(4)));
    m.unused = tc_variable(m.graph, "slot", tc_zeros(m.graph, TC_I64, TC_SHAPE(2, 3)));
    m.y = tc_add(tc_mul(m.x, m.w), m.b);
    m.train = tc_assign_add(m.b, tc_ones(m.graph, TC_F32, TC_SHAPE(4)));
    assert_ok(tc_session_create(m.graph, NULL, &m.session));
    return m;
}

static inline void sample_model_train(sample_model *m)
{
    assert_ok(
        tc_session_run(m->session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(m->train), NULL, NULL));
}

/** What the model computes for rows of ones. */
static inline void sample_model_result(tc_session *session, tc_value x, tc_value y, float out[8])
{
    const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    tc_tensor *input, *output = NULL;
    assert_ok(tc_tensor_create_copy(TC_F32, TC_SHAPE(2, 4), ones, &input));
    assert_ok(
        tc_session_run(session, TC_FEEDS({x, input}), TC_FETCHES(y), TC_NO_TARGETS, &output, NULL));
    assert_int_equal(tc_tensor_bytes(output), 8 * sizeof(float));
    memcpy(out, tc_tensor_data(output), 8 * sizeof(float));
    tc_tensor_release(output);
    tc_tensor_release(input);
}

static inline void sample_model_destroy(sample_model *m)
{
    tc_session_release(m->session);
    tc_graph_release(m->graph);
}

#endif
