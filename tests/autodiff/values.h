/* Evaluating scalars of small graphs. */
#ifndef TC_TESTS_AUTODIFF_VALUES_H
#define TC_TESTS_AUTODIFF_VALUES_H

#include "support/evaluate.h"
#include "support/test.h"

/** The only element of `value`, f64, with the f64 scalar placeholder `x` (or TC_NO_VALUE) fed with
 * `at`. */
static inline double value_at(tc_value value, tc_value x, double at)
{
    eval_buffer fed = {0}, result = {0};
    const tc_shape scalar = tc_shape_make(0, NULL);
    assert_ok(eval_buffer_create(TC_F64, &scalar, 0, &fed));
    *(double *)fed.data = at;
    const eval_feed feed = {x, &fed};
    eval_options options = {.isa = tc_cpu_isa()};
    assert_ok(evaluate(value.graph, &feed, tc_value_ok(x), &value, 1, &options, &result));
    assert_int_equal(result.bytes, sizeof(double));
    double element = *(double *)result.data;
    eval_buffer_free(&fed);
    eval_buffer_free(&result);
    return element;
}

static inline void assert_near(double actual, double expected)
{
    double error = actual > expected ? actual - expected : expected - actual;
    double size = expected < 0 ? -expected : expected;
    if (!(error <= 1e-12 * (1 + size)))
        fail_msg("%.17g instead of %.17g", actual, expected);
}

#endif
