/* Running a graph with and without a pass: results must agree. */
#ifndef TC_TEST_COMPILER_SAME_RESULTS_H
#define TC_TEST_COMPILER_SAME_RESULTS_H

#include <math.h>

#include "compiler/compiler_test.h"

enum { SAME_MAX = 16 };

/** Elements that depend on their index alone, of both signs. */
static inline void same_fill(tc_tensor *tensor)
{
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        assert_ok(tc_tensor_set(tensor, i, (double)(i * 37 % 101) / 50 - 1));
}

static inline tc_tensor *same_input(tc_dtype dtype, tc_shape shape)
{
    tc_tensor *tensor;
    assert_ok(tc_tensor_create(dtype, shape, &tensor));
    same_fill(tensor);
    return tensor;
}

/** Two runs of `fetches` and `target` in a new session; `outputs` receives those of the second. */
static inline void same_observe(tc_graph *graph, const char *disable, tc_value x, tc_tensor *input,
                                const tc_value *fetches, size_t n, tc_value target,
                                tc_tensor **outputs)
{
    tc_session *session;
    const tc_session_options options = {.struct_size = sizeof options, .disable_passes = disable};
    const tc_feed feed = {x, input};
    assert_ok(tc_session_create(graph, &options, &session));
    assert_ok(tc_session_initialize(session));
    for (int run = 0; run < 2; run++)
        assert_ok(tc_session_run(session, &feed, 1, fetches, n, &target, target.graph ? 1 : 0,
                                 outputs, NULL));
    tc_session_release(session);
}

/** Fails unless fetches computed with all passes and without `disable` agree: within `tolerance` of
 * the larger of 1 and the value, 0 for the same bits. */
static inline void expect_same_results(tc_graph *graph, const char *disable, tc_value x,
                                       tc_shape shape, const tc_value *fetches, size_t n,
                                       tc_value target, double tolerance)
{
    tc_tensor *with[SAME_MAX] = {0}, *without[SAME_MAX] = {0};
    tc_tensor *input = same_input(tc_value_dtype(x), shape);
    assert_true(n <= SAME_MAX);
    same_observe(graph, NULL, x, input, fetches, n, target, with);
    same_observe(graph, disable, x, input, fetches, n, target, without);
    for (size_t k = 0; k < n; k++) {
        assert_int_equal(tc_tensor_size(with[k]), tc_tensor_size(without[k]));
        if (tolerance == 0)
            assert_memory_equal(tc_tensor_data(with[k]), tc_tensor_data(without[k]),
                                tc_tensor_bytes(with[k]));
        bool moves = tc_tensor_size(with[k]) < 2;
        for (int64_t i = 0; i < tc_tensor_size(with[k]); i++) {
            double a = tc_tensor_get(with[k], i), b = tc_tensor_get(without[k], i);
            assert_true(fabs(a - b) <= tolerance * fmax(1, fabs(b)));
            moves = moves || a != tc_tensor_get(with[k], 0);
        }
        assert_true(moves); /* results that are all the same would prove little */
        tc_tensor_release(with[k]);
        tc_tensor_release(without[k]);
    }
    tc_tensor_release(input);
}

#endif
