/* What the cases of operators that work along an axis share. */
#ifndef TC_TESTS_OPS_ROWS_H
#define TC_TESTS_OPS_ROWS_H

#include "elementwise.h"

/** A shape as [outer, count, inner] round an axis: element k of row (o, i) is at (o count + k)
 * inner + i. */
typedef struct axis_view {
    int64_t outer, count, inner;
} axis_view;

static inline axis_view view_along(const tc_shape *shape, int64_t axis)
{
    axis_view v = {1, 1, 1};
    axis += axis < 0 ? shape->rank : 0;
    for (int d = 0; d < shape->rank; d++)
        *(d < axis ? &v.outer : d == axis ? &v.count : &v.inner) *= shape->dims[d].size;
    return v;
}

/** Index of the first element of row `row`, whose elements are v->inner apart. */
static inline int64_t row_start(const axis_view *v, int64_t row)
{
    return row / v->inner * v->inner * v->count + row % v->inner;
}

/** log(sum(exp(x))) of `count` elements that are `step` apart. */
static inline double log_sum_exp(const double *x, int64_t count, int64_t step)
{
    double high = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++)
        high = isnan(x[i * step]) ? NAN : fmax(high, x[i * step]);
    if (high == -INFINITY && count == 0)
        return high;
    for (int64_t i = 0; i < count; i++)
        sum += exp(x[i * step] - high);
    return high + log(sum);
}

#endif
