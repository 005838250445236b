/* Learning rates as functions of the step, in scalar nodes of the graph. */
#include <tensorc/ops.h>
#include <tensorc/optimizers.h>

/* A scalar of the graph of `like`. */
static tc_value scalar(tc_location at, tc_value like, tc_dtype dtype, double value)
{
    return tc_constant_scalar_at(TC_WITHIN(at), like.graph, dtype, value);
}

/*
 * sin(pi q / 2) for q in [0, 1], f32. No operator is a sine: these are the terms of its Taylor
 * series up to q^13, (pi / 2)^n / n! with alternating signs, the next of which is 7e-10.
 */
static tc_value quarter_sine(tc_location at, tc_value q)
{
    enum { TERMS = 7 };
    const double half_pi = 1.57079632679489661923;
    double terms[TERMS] = {half_pi};
    for (int k = 1; k < TERMS; k++)
        terms[k] = -terms[k - 1] * half_pi * half_pi / (double)(2 * k * (2 * k + 1));
    tc_value square = tc_square_at(TC_WITHIN(at), q);
    tc_value sum = scalar(at, q, TC_F32, terms[TERMS - 1]);
    for (int k = TERMS - 2; k >= 0; k--)
        sum = tc_add_at(TC_WITHIN(at), tc_mul_at(TC_WITHIN(at), sum, square),
                        scalar(at, q, TC_F32, terms[k]));
    return tc_mul_at(TC_WITHIN(at), sum, q);
}

/* `count` (i64, below 2^53) / `total` between 0 and 1, f32; exact steps far beyond 2^24. */
static tc_value share(tc_location at, tc_value count, int64_t total)
{
    tc_value ratio = tc_div_at(TC_WITHIN(at), tc_cast_at(TC_WITHIN(at), count, TC_F32),
                               scalar(at, count, TC_F32, (double)total));
    return tc_minimum_at(TC_WITHIN(at),
                         tc_maximum_at(TC_WITHIN(at), ratio, scalar(at, count, TC_F32, 0)),
                         scalar(at, count, TC_F32, 1));
}

tc_value tc_warmup_cosine_schedule(tc_location at, tc_value step, void *context)
{
    const tc_warmup_cosine *p = context;
    if (!p || p->warmup_steps < 0 || p->total_steps <= p->warmup_steps)
        return tc_graph_fail(step.graph, at, TC_INVALID_ARGUMENT,
                             "warmup_cosine: total_steps must be more than warmup_steps, and "
                             "neither negative");
    tc_scope_push(step.graph, "warmup_cosine");
    tc_value peak = scalar(at, step, TC_F32, p->peak);
    /* (1 + cos(pi (1 - q))) / 2 = sin^2(pi q / 2) of the share q that is left */
    tc_value left =
        tc_sub_at(TC_WITHIN(at), scalar(at, step, TC_I64, (double)p->total_steps), step);
    tc_value q = share(at, left, p->total_steps - p->warmup_steps);
    tc_value rate = tc_add_at(TC_WITHIN(at), scalar(at, step, TC_F32, p->final),
                              tc_mul_at(TC_WITHIN(at), scalar(at, step, TC_F32, p->peak - p->final),
                                        tc_square_at(TC_WITHIN(at), quarter_sine(at, q))));
    if (p->warmup_steps > 0) {
        tc_value done = tc_add_at(TC_WITHIN(at), step, scalar(at, step, TC_I64, 1));
        tc_value rising = tc_mul_at(TC_WITHIN(at), share(at, done, p->warmup_steps), peak);
        tc_value warming =
            tc_less_at(TC_WITHIN(at), step, scalar(at, step, TC_I64, (double)p->warmup_steps));
        rate = tc_where_at(TC_WITHIN(at), warming, rising, rate);
    }
    tc_scope_pop(step.graph);
    return rate;
}
