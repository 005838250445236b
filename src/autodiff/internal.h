/* What the files of this folder share. */
#ifndef TC_AUTODIFF_INTERNAL_H
#define TC_AUTODIFF_INTERNAL_H

#include "graph/graph.h"

/** d(sum of ys * y_gradients)/dx for values of one graph: TC_NO_VALUE for an x that no gradient
 * reaches. Seeds and results are annotated where the gradients are a caller's, not a function's. */
tc_status tc_gradients_flow(tc_graph *graph, tc_location at, const tc_value *ys,
                            const tc_value *y_gradients, size_t y_count, const tc_value *xs,
                            size_t x_count, tc_value *gradients, bool annotate);

/** The grad function of calls. */
void tc_grad_call(tc_grad *grad, const tc_node *node);

#endif
