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

/* max(x, 0) - x z + log(1 + exp(-|x|)) */
static tc_value binary_cross_entropy(tc_location at, tc_value x, tc_value target)
{
    tc_value one = tc_constant_scalar_at(TC_WITHIN(at), x.graph, tc_value_dtype(x), 1.0);
    tc_value decay =
        tc_exp_at(TC_WITHIN(at), tc_neg_at(TC_WITHIN(at), tc_abs_at(TC_WITHIN(at), x)));
    tc_value tail = tc_log_at(TC_WITHIN(at), tc_add_at(TC_WITHIN(at), one, decay));
    tc_value linear =
        tc_sub_at(TC_WITHIN(at), tc_relu_at(TC_WITHIN(at), x), tc_mul_at(TC_WITHIN(at), x, target));
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
