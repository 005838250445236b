#include <tensorc/losses.h>
#include <tensorc/ops.h>

#include "options.h"

static tc_value reduce(tc_location at, tc_value x, tc_reduction reduction)
{
    switch (reduction) {
    case TC_REDUCTION_MEAN: return tc_reduce_mean_at(TC_WITHIN(at), x, NULL);
    case TC_REDUCTION_SUM: return tc_reduce_sum_at(TC_WITHIN(at), x, NULL);
    case TC_REDUCTION_NONE: return x;
    }
    return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT, "reduction %d is none of tc_reduction",
                         (int)reduction);
}

typedef tc_value (*element_loss)(tc_location at, tc_value x, tc_value target);

/* Builds `loss` element by element in a scope of its own and reduces it. */
static tc_value build(tc_location at, const char *name, element_loss loss, tc_value x,
                      tc_value target, const tc_loss_options *options)
{
    TC_OPTIONS(tc_loss_options, o, options);
    tc_shape a = tc_value_shape(x), b = tc_value_shape(target);
    if (a.rank > 0 && b.rank > 0 && a.rank != b.rank) {
        /* [n, 1] and [n] would broadcast to [n, n], which nobody means. */
        char a_text[256], b_text[256];
        tc_shape_format(&a, a_text, sizeof a_text);
        tc_shape_format(&b, b_text, sizeof b_text);
        return tc_graph_fail(x.graph, at, TC_INVALID_ARGUMENT,
                             "%s: %s and targets %s differ in rank; reshape one of them", name,
                             a_text, b_text);
    }
    tc_scope_push(x.graph, tc_name_or(o.name, name));
    tc_value y = reduce(at, loss(at, x, target), o.reduction);
    tc_scope_pop(x.graph);
    return y;
}

static tc_value squared_error(tc_location at, tc_value x, tc_value target)
{
    return tc_square_at(TC_WITHIN(at), tc_sub_at(TC_WITHIN(at), x, target));
}

static tc_value absolute_error(tc_location at, tc_value x, tc_value target)
{
    return tc_abs_at(TC_WITHIN(at), tc_sub_at(TC_WITHIN(at), x, target));
}

/*
 * max(x, 0) - x z + log(1 + exp(-|x|)). Maximum and absolute value select by one condition, so that
 * their gradients at 0 add up to that of the loss, sigmoid(0) - z.
 */
static tc_value binary_cross_entropy(tc_location at, tc_value x, tc_value target)
{
    tc_value zero = tc_constant_scalar_at(TC_WITHIN(at), x.graph, tc_value_dtype(x), 0.0);
    tc_value one = tc_constant_scalar_at(TC_WITHIN(at), x.graph, tc_value_dtype(x), 1.0);
    tc_value positive = tc_greater_equal_at(TC_WITHIN(at), x, zero);
    tc_value above = tc_where_at(TC_WITHIN(at), positive, x, zero);
    tc_value distance =
        tc_where_at(TC_WITHIN(at), positive, tc_neg_at(TC_WITHIN(at), x), x); /* -|x| */
    tc_value decay = tc_exp_at(TC_WITHIN(at), distance);
    tc_value tail = tc_log_at(TC_WITHIN(at), tc_add_at(TC_WITHIN(at), one, decay));
    tc_value linear = tc_sub_at(TC_WITHIN(at), above, tc_mul_at(TC_WITHIN(at), x, target));
    return tc_add_at(TC_WITHIN(at), linear, tail);
}

tc_value tc_mean_squared_error_at(tc_location at, tc_value predictions, tc_value targets,
                                  const tc_loss_options *options)
{
    return build(at, "mean_squared_error", squared_error, predictions, targets, options);
}

tc_value tc_mean_absolute_error_at(tc_location at, tc_value predictions, tc_value targets,
                                   const tc_loss_options *options)
{
    return build(at, "mean_absolute_error", absolute_error, predictions, targets, options);
}

tc_value tc_sigmoid_cross_entropy_at(tc_location at, tc_value logits, tc_value targets,
                                     const tc_loss_options *options)
{
    return build(at, "sigmoid_cross_entropy", binary_cross_entropy, logits, targets, options);
}
