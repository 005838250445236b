/* Comparing gradients with finite differences in f64. */
#ifndef TC_TEST_SUPPORT_GRADIENT_CHECK_H
#define TC_TEST_SUPPORT_GRADIENT_CHECK_H

#include "support/evaluate.h"

/** The xs are placeholders, or variables whose initial value is one, of dtype f64. */
typedef struct gradient_problem {
    tc_graph *graph; /**< gradients are built into it */
    const tc_value *ys;
    size_t n_ys;
    const tc_value *xs;
    size_t n_xs;
    const size_t *x_feeds; /**< feed of each x; its elements are changed and restored */
    const eval_feed *feeds;
    size_t n_feeds;
    double relative, absolute; /**< |a - n| <= absolute + relative * max(|a|, |n|) */
    bool second_order; /**< also differentiate the gradients, by the xs and the output gradients */
    tc_isa isa;
    test_device *device; /**< of the gradients; the differences are the CPU's. NULL: the CPU */
} gradient_problem;

/**
 * Compares d(sum c y)/dx, for fixed random c, with central differences of fourth order, over all xs
 * and at most 32 elements of each. NaN never agrees. Returns true, or false with the first
 * disagreement in `why`. `*worst` (may be NULL) is the largest |a - n| / (absolute + relative *
 * max(|a|, |n|)) seen.
 */
bool gradient_check(const gradient_problem *problem, char why[1024], double *worst);

#endif
