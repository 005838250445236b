/* Helpers of the tests of layers and training: tensors from doubles, runs that give doubles. */
#ifndef TC_TEST_NN_NN_TEST_H
#define TC_TEST_NN_NN_TEST_H

#include <math.h>

#include <tensorc/tensorc.h>

#include "support/test.h"

/** A tensor of `dtype` with elements converted from `values`. */
static inline tc_tensor *tensor_of(tc_dtype dtype, tc_shape shape, const double *values)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create(dtype, shape, &tensor));
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_ok(tc_tensor_set(tensor, i, values[i]));
    return tensor;
}

static inline tc_session *session_of(tc_graph *graph)
{
    tc_session *session;
    assert_ok(tc_session_create(graph, NULL, &session));
    return session;
}

/** Runs `target` (none when invalid) and writes the `count` elements of `fetch` to `out`. */
static inline void run_for(tc_session *session, const tc_feed *feeds, size_t n_feeds,
                           tc_value fetch, tc_value target, double *out, int64_t count)
{
    tc_tensor *result = NULL;
    assert_ok(tc_session_run(session, feeds, n_feeds, &fetch, 1, &target,
                             (size_t)tc_value_ok(target), &result, NULL));
    assert_int_equal(tc_tensor_size(result), count);
    for (int64_t i = 0; i < count; i++)
        out[i] = tc_tensor_get(result, i);
    tc_tensor_release(result);
}

/** Runs `target` alone. */
static inline void run_target(tc_session *session, tc_value target)
{
    assert_ok(tc_session_run(session, TC_NO_FEEDS, TC_NO_FETCHES, TC_TARGETS(target), NULL, NULL));
}

/** The single element of `fetch`, of a run without feeds. */
static inline double scalar_of(tc_session *session, tc_value fetch)
{
    double value;
    run_for(session, TC_NO_FEEDS, fetch, TC_NO_VALUE, &value, 1);
    return value;
}

/** Writes the `count` elements of variable `name`. */
static inline void read_variable(tc_session *session, const char *name, double *out, int64_t count)
{
    tc_tensor *tensor;
    assert_ok(tc_store_read(tc_session_store(session), name, &tensor));
    assert_int_equal(tc_tensor_size(tensor), count);
    for (int64_t i = 0; i < count; i++)
        out[i] = tc_tensor_get(tensor, i);
    tc_tensor_release(tensor);
}

/** Fails unless |actual - expected| <= tolerance * max(1, |expected|). */
static inline void check_close(double actual, double expected, double tolerance, const char *what)
{
    if (!(fabs(actual - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("%s is %.17g instead of %.17g", what, actual, expected);
}

/** Fails unless the graph has failed with a message that contains `text` and names this program. */
static inline void check_graph_error(const tc_graph *graph, const char *text, const char *file)
{
    assert_status(tc_graph_status(graph), TC_INVALID_ARGUMENT);
    if (!strstr(tc_graph_error(graph), text) || !strstr(tc_graph_error(graph), file))
        fail_msg("the error is \"%s\", without \"%s\" in %s", tc_graph_error(graph), text, file);
}

/** The shape of `value` as text. */
static inline void check_shape(tc_value value, const char *expected)
{
    char text[256];
    tc_shape shape = tc_value_shape(value);
    tc_shape_format(&shape, text, sizeof text);
    assert_string_equal(text, expected);
}

#endif
