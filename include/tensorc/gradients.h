/* Reverse-mode automatic differentiation: builds the backward graph beside the forward one. */
#ifndef TENSORC_GRADIENTS_H
#define TENSORC_GRADIENTS_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_gradients_options {
    size_t struct_size;
    /** One value per y, of its shape: the gradients that flow into the ys. NULL: ones. TC_NO_VALUE
     * entries: none flows. */
    const tc_value *output_gradients;
    /** An x that no y depends on gets zeros of its shape; otherwise it is an error that names it.
     */
    bool zero_unconnected;
} tc_gradients_options;

/**
 * Builds d(sum of ys)/dx for every x into `gradients[0..x_count)`, each of the dtype and shape of
 * its x. Apply it to its own results for higher orders. On an error every entry is invalid and the
 * error sticks to the graph: INVALID_ARGUMENT (values of different graphs, integer dtypes, an x no
 * y depends on), UNIMPLEMENTED (an operator on the way has no gradient; named with the line that
 * built it). Returns that status. Not thread-safe on one graph.
 */
TC_API tc_status tc_gradients_at(tc_location at, const tc_value *ys, size_t y_count,
                                 const tc_value *xs, size_t x_count, tc_value *gradients,
                                 const tc_gradients_options *options);

#ifndef __cplusplus
/* tc_gradients(TC_VALUES(loss), TC_VALUES(w, b), grads, .zero_unconnected = true) */
#define tc_gradients(...) TC_GRADIENTS_(__VA_ARGS__, .struct_size = sizeof(tc_gradients_options))
#define TC_GRADIENTS_(ys, y_count, xs, x_count, gradients, ...)   \
    tc_gradients_at(TC_HERE, ys, y_count, xs, x_count, gradients, \
                    &(tc_gradients_options){__VA_ARGS__})
#endif

#ifdef __cplusplus
}
#endif

#endif
