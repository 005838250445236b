/*
 * Metrics of classification. Builders are not thread-safe on one graph; errors stick to the graph
 * (see graph.h).
 */
#ifndef TENSORC_METRICS_H
#define TENSORC_METRICS_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How many examples of `logits` [..., classes] have their largest logit (the first of equal ones)
 * at the class id `labels` [...] (i32 or i64): a scalar, i64.
 */
TC_API tc_value tc_correct_count_at(tc_location at, tc_value logits, tc_value labels);

/** The same as a share of the examples, in [0, 1]: a scalar, f32. */
TC_API tc_value tc_accuracy_at(tc_location at, tc_value logits, tc_value labels);

#ifndef __cplusplus
#define tc_correct_count(logits, labels) tc_correct_count_at(TC_HERE, logits, labels)
#define tc_accuracy(logits, labels)      tc_accuracy_at(TC_HERE, logits, labels)
#endif

#ifdef __cplusplus
}
#endif

#endif
