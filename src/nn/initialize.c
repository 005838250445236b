#include <math.h>

#include <tensorc/layers.h>
#include <tensorc/ops/random.h>
#include <tensorc/ops/state.h>

/* Standard deviation of a standard normal truncated to two standard deviations. */
#define TRUNCATED_STDDEV 0.87962566103423978

static tc_value uniform(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                        double limit)
{
    tc_random_uniform_options options = {
        .struct_size = sizeof options, .name = "initial", .low = -limit, .high = {true, limit}};
    return tc_random_uniform_at(TC_WITHIN(at), graph, dtype, shape, &options);
}

static tc_value normal(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                       double variance)
{
    tc_random_normal_options options = {.struct_size = sizeof options,
                                        .name = "initial",
                                        .stddev = {true, sqrt(variance) / TRUNCATED_STDDEV}};
    return tc_random_truncated_normal_at(TC_WITHIN(at), graph, dtype, shape, &options);
}

tc_value tc_initialize_at(tc_location at, tc_graph *graph, tc_initializer initializer,
                          tc_dtype dtype, tc_shape shape, int64_t fan_in, int64_t fan_out)
{
    double in = fan_in > 0 ? (double)fan_in : 1.0;
    double both = in + (fan_out > 0 ? (double)fan_out : 1.0);
    switch (initializer) {
    case TC_INIT_DEFAULT:
    case TC_INIT_GLOROT_UNIFORM: return uniform(at, graph, dtype, shape, sqrt(6.0 / both));
    case TC_INIT_GLOROT_NORMAL: return normal(at, graph, dtype, shape, 2.0 / both);
    case TC_INIT_HE_UNIFORM: return uniform(at, graph, dtype, shape, sqrt(6.0 / in));
    case TC_INIT_HE_NORMAL: return normal(at, graph, dtype, shape, 2.0 / in);
    case TC_INIT_ZEROS: return tc_zeros_at(TC_WITHIN(at), graph, dtype, shape);
    case TC_INIT_ONES: return tc_ones_at(TC_WITHIN(at), graph, dtype, shape);
    }
    return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT, "initializer %d is none of tc_initializer",
                         (int)initializer);
}
