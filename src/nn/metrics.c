#include <tensorc/metrics.h>
#include <tensorc/ops.h>

/* Whether each example's largest logit is at its label: bool [...]. */
static tc_value is_correct(tc_location at, tc_value logits, tc_value labels)
{
    tc_shape x = tc_value_shape(logits), y = tc_value_shape(labels);
    if (x.rank > 0 && y.rank >= 0 && y.rank != x.rank - 1) {
        char x_text[256], y_text[256];
        tc_shape_format(&x, x_text, sizeof x_text);
        tc_shape_format(&y, y_text, sizeof y_text);
        return tc_graph_fail(logits.graph, at, TC_INVALID_ARGUMENT,
                             "metric: labels %s must have the shape of logits %s without its last "
                             "dimension",
                             y_text, x_text);
    }
    tc_value predicted = tc_argmax_at(TC_WITHIN(at), logits, NULL);
    if (tc_value_dtype(labels) != TC_I64)
        labels = tc_cast_at(TC_WITHIN(at), labels, TC_I64);
    return tc_equal_at(TC_WITHIN(at), predicted, labels);
}

tc_value tc_correct_count_at(tc_location at, tc_value logits, tc_value labels)
{
    tc_scope_push(logits.graph, "correct_count");
    tc_value hits = tc_cast_at(TC_WITHIN(at), is_correct(at, logits, labels), TC_I64);
    tc_value count = tc_reduce_sum_at(TC_WITHIN(at), hits, NULL);
    tc_scope_pop(logits.graph);
    return count;
}

tc_value tc_accuracy_at(tc_location at, tc_value logits, tc_value labels)
{
    tc_scope_push(logits.graph, "accuracy");
    tc_value hits = tc_cast_at(TC_WITHIN(at), is_correct(at, logits, labels), TC_F32);
    tc_value share = tc_reduce_mean_at(TC_WITHIN(at), hits, NULL);
    tc_scope_pop(logits.graph);
    return share;
}
