#include <tensorc/ops.h>
#include <tensorc/optimizers.h>

/* An f32 scalar of the graph of `like`. */
static tc_value scalar(tc_location at, tc_value like, double value)
{
    return tc_constant_scalar_at(TC_WITHIN(at), like.graph, TC_F32, value);
}

/* No operator is a cosine: for x in [0, pi], cos x = 1 - 2 sin^2(x / 2), and the sine is a Taylor
 * polynomial. */
static tc_value half_cosine(tc_location at, tc_value progress)
{
    /* sin(pi p / 2) for p in [0, 1]: coefficients (pi / 2)^(2k+1) / (2k+1)! with alternating signs.
     */
    double coefficients[7];
    double half_pi = 1.57079632679489661923;
    double term = half_pi;
    for (int k = 0; k < 7; k++) {
        coefficients[k] = term;
        term *= -half_pi * half_pi / (double)((2 * k + 2) * (2 * k + 3));
    }
    tc_value square = tc_square_at(TC_WITHIN(at), progress);
    tc_value sine = scalar(at, progress, coefficients[6]);
    for (int k = 5; k >= 0; k--)
        sine = tc_add_at(TC_WITHIN(at), tc_mul_at(TC_WITHIN(at), sine, square),
                         scalar(at, progress, coefficients[k]));
    sine = tc_mul_at(TC_WITHIN(at), sine, progress);
    /* (1 + cos(pi p)) / 2 = 1 - sin^2(pi p / 2) */
    return tc_sub_at(TC_WITHIN(at), scalar(at, progress, 1.0), tc_square_at(TC_WITHIN(at), sine));
}

tc_value tc_warmup_cosine_schedule(tc_location at, tc_value step, void *context)
{
    const tc_warmup_cosine *p = context;
    if (!p || p->warmup_steps < 0 || p->total_steps <= p->warmup_steps)
        return tc_graph_fail(step.graph, at, TC_INVALID_ARGUMENT,
                             "warmup_cosine: total_steps must be more than warmup_steps, and "
                             "neither negative");
    double warmup = (double)p->warmup_steps;
    double decay = (double)(p->total_steps - p->warmup_steps);
    tc_scope_push(step.graph, "warmup_cosine");
    tc_value t = tc_cast_at(TC_WITHIN(at), step, TC_F32);
    tc_value rising = tc_mul_at(TC_WITHIN(at), tc_add_at(TC_WITHIN(at), t, scalar(at, step, 1.0)),
                                scalar(at, step, warmup > 0 ? p->peak / warmup : 0.0));
    tc_value progress =
        tc_div_at(TC_WITHIN(at), tc_sub_at(TC_WITHIN(at), t, scalar(at, step, warmup)),
                  scalar(at, step, decay));
    progress =
        tc_minimum_at(TC_WITHIN(at), tc_maximum_at(TC_WITHIN(at), progress, scalar(at, step, 0.0)),
                      scalar(at, step, 1.0));
    tc_value falling = tc_add_at(
        TC_WITHIN(at), scalar(at, step, p->final),
        tc_mul_at(TC_WITHIN(at), scalar(at, step, p->peak - p->final), half_cosine(at, progress)));
    tc_value rate = tc_where_at(
        TC_WITHIN(at), tc_less_at(TC_WITHIN(at), t, scalar(at, step, warmup)), rising, falling);
    tc_scope_pop(step.graph);
    return rate;
}
