/* Random tensors. core/philox.h defines their elements. */
#include "ops/build.h"
#include "ops/source.h"
#include "tensorc/ops/random.h"

#include <math.h>

#include "core/dtype.h"
#include "core/shape.h"

static const tc_port like_inputs[] = {
    {.name = "like",
     .dtypes = TC_DTYPES_ANY,
     .flags = TC_PORT_OPTIONAL | TC_PORT_SHAPE_ONLY,
     .doc = "gives the shape in place of the attribute"},
};

#define FLOAT_ATTR(attr_name, text)                               \
    {                                                             \
        .name = (attr_name), .type = TC_ATTR_FLOAT, .doc = (text) \
    }
#define STREAM_ATTR                                                                       \
    {                                                                                     \
        .name = "stream", .type = TC_ATTR_INT, .fallback = {.type = TC_ATTR_INT, .i = 0}, \
        .doc = "which sequence of numbers; 0: from the path of the node"                  \
    }

static tc_status shape_infer(tc_infer *infer)
{
    if (infer->n_inputs == 0 || infer->inputs[0].dtype == TC_DTYPE_INVALID)
        return tc_infer_known_source(infer);
    infer->outputs[0].dtype = tc_attrs_dtype(infer->attrs, "dtype");
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

/* Float attribute `name` rounded to the dtype of the output, in which the numbers are computed. */
static double rounded_attr(const tc_infer *infer, const char *name)
{
    tc_dtype dtype = infer->outputs[0].dtype;
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, tc_attrs_float(infer->attrs, name));
    return tc_dtype_load(dtype, &element);
}

static bool fits(const tc_infer *infer, double value)
{
    return infer->outputs[0].dtype == TC_F64 ? isfinite(value) : isfinite((float)value);
}

/* A source is built in `graph`, with or without a value that gives the shape. */
static tc_value random_node(const char *op, const char *name, tc_location at, tc_graph *graph,
                            const tc_value *like, const tc_attr_arg *attrs, size_t n_attrs)
{
    return tc_node_build(graph, &(const tc_node_spec){.op = op,
                                                      .name = name,
                                                      .at = at,
                                                      .inputs = like,
                                                      .n_inputs = like ? 1 : 0,
                                                      .attrs = attrs,
                                                      .n_attrs = n_attrs});
}

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static const tc_port float_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_FLOAT, .type = 'T'}};

/*
 * Uniform
 */

static const tc_attr_def uniform_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
    FLOAT_ATTR("low", "smallest number"),
    FLOAT_ATTR("high", "all numbers are below it"),
    STREAM_ATTR,
};

static tc_status uniform_infer(tc_infer *infer)
{
    TC_TRY(shape_infer(infer));
    double low = rounded_attr(infer, "low"), high = rounded_attr(infer, "high");
    if (!(low < high) || !fits(infer, low) || !fits(infer, high) || !fits(infer, high - low))
        return tc_infer_fail(infer,
                             "low %g must be below high %g, and both and their difference finite "
                             "in dtype %s",
                             tc_attrs_float(infer->attrs, "low"),
                             tc_attrs_float(infer->attrs, "high"),
                             tc_dtype_name(infer->outputs[0].dtype));
    return TC_OK;
}

const tc_op tc_op_random_uniform = {
    .name = "random_uniform",
    .version = 1,
    .doc = "Uniformly distributed random numbers.",
    TC_LIST(inputs, like_inputs),
    TC_LIST(outputs, float_outputs),
    TC_LIST(attrs, uniform_attrs),
    .effects = TC_EFFECT_RANDOM,
    .infer = uniform_infer,
    .grad = TC_GRAD_NONE,
};

static tc_value build_uniform(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                              const tc_value *like, const tc_random_uniform_options *options)
{
    TC_OPTIONS(tc_random_uniform_options, o, options);
    const tc_attr_arg attrs[] = {
        {"dtype", tc_attr_dtype(dtype)},   {"shape", tc_attr_shape(&shape)},
        {"low", tc_attr_float(o.low)},     {"high", tc_attr_float(tc_float_or(o.high, 1))},
        {"stream", tc_attr_int(o.stream)},
    };
    return random_node("random_uniform", o.name, at, graph, like, attrs, COUNT_OF(attrs));
}

tc_value tc_random_uniform_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                              const tc_random_uniform_options *options)
{
    return build_uniform(at, graph, dtype, shape, NULL, options);
}

tc_value tc_random_uniform_like_at(tc_location at, tc_value x,
                                   const tc_random_uniform_options *options)
{
    return build_uniform(at, x.graph, tc_value_dtype(x), TC_SCALAR, &x, options);
}

/*
 * Integers
 */

static const tc_port int_outputs[] = {{.name = "y", .dtypes = TC_DTYPES_INT, .type = 'T'}};

static const tc_attr_def int_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
    {.name = "low", .type = TC_ATTR_INT, .doc = "smallest number"},
    {.name = "high", .type = TC_ATTR_INT, .doc = "all numbers are below it"},
    STREAM_ATTR,
};

/* Whether integers of `dtype` reach to `value`. */
static bool int_holds(tc_dtype dtype, int64_t value)
{
    int bits = (int)tc_dtype_size(dtype) * 8;
    if (TC_DTYPES_UNSIGNED & TC_DTYPE_BIT(dtype))
        return value >= 0 && (bits == 64 || value >> bits == 0);
    return value >> (bits - 1) == 0 || value >> (bits - 1) == -1;
}

static tc_status int_infer(tc_infer *infer)
{
    TC_TRY(shape_infer(infer));
    int64_t low = tc_attrs_int(infer->attrs, "low"), high = tc_attrs_int(infer->attrs, "high");
    tc_dtype dtype = infer->outputs[0].dtype;
    if (low >= high)
        return tc_infer_fail(infer, "low %lld must be below high %lld", (long long)low,
                             (long long)high);
    if (TC_DTYPES_INT & TC_DTYPE_BIT(dtype) &&
        (!int_holds(dtype, low) || !int_holds(dtype, high - 1)))
        return tc_infer_fail(infer, "low %lld and high %lld give numbers that dtype %s cannot hold",
                             (long long)low, (long long)high, tc_dtype_name(dtype));
    return TC_OK;
}

const tc_op tc_op_random_int = {
    .name = "random_int",
    .version = 1,
    .doc = "Uniformly distributed random integers, without bias.",
    TC_LIST(inputs, like_inputs),
    TC_LIST(outputs, int_outputs),
    TC_LIST(attrs, int_attrs),
    .effects = TC_EFFECT_RANDOM,
    .infer = int_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_random_int_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                          int64_t low, int64_t high, const tc_random_int_options *options)
{
    TC_OPTIONS(tc_random_int_options, o, options);
    const tc_attr_arg attrs[] = {
        {"dtype", tc_attr_dtype(dtype)},   {"shape", tc_attr_shape(&shape)},
        {"low", tc_attr_int(low)},         {"high", tc_attr_int(high)},
        {"stream", tc_attr_int(o.stream)},
    };
    return random_node("random_int", o.name, at, graph, NULL, attrs, COUNT_OF(attrs));
}

/*
 * Normal
 */

static const tc_attr_def normal_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
    FLOAT_ATTR("mean", "mean of the numbers"),
    FLOAT_ATTR("stddev", "standard deviation of the numbers"),
    STREAM_ATTR,
};

static tc_status normal_infer(tc_infer *infer)
{
    TC_TRY(shape_infer(infer));
    double mean = tc_attrs_float(infer->attrs, "mean");
    double stddev = tc_attrs_float(infer->attrs, "stddev");
    if (!fits(infer, mean) || !fits(infer, stddev) || stddev < 0)
        return tc_infer_fail(infer,
                             "mean %g and stddev %g must be finite in dtype %s, and stddev at "
                             "least 0",
                             mean, stddev, tc_dtype_name(infer->outputs[0].dtype));
    return TC_OK;
}

#define NORMAL_OP(op_name, summary)      \
    const tc_op tc_op_##op_name = {      \
        .name = #op_name,                \
        .version = 1,                    \
        .doc = summary,                  \
        TC_LIST(inputs, like_inputs),    \
        TC_LIST(outputs, float_outputs), \
        TC_LIST(attrs, normal_attrs),    \
        .effects = TC_EFFECT_RANDOM,     \
        .infer = normal_infer,           \
        .grad = TC_GRAD_NONE,            \
    };

NORMAL_OP(random_normal, "Normally distributed random numbers.")
NORMAL_OP(random_truncated_normal,
          "Normally distributed random numbers within two standard deviations of the mean.")

static tc_value build_normal(const char *op, tc_location at, tc_graph *graph, tc_dtype dtype,
                             tc_shape shape, const tc_value *like,
                             const tc_random_normal_options *options)
{
    TC_OPTIONS(tc_random_normal_options, o, options);
    const tc_attr_arg attrs[] = {
        {"dtype", tc_attr_dtype(dtype)},   {"shape", tc_attr_shape(&shape)},
        {"mean", tc_attr_float(o.mean)},   {"stddev", tc_attr_float(tc_float_or(o.stddev, 1))},
        {"stream", tc_attr_int(o.stream)},
    };
    return random_node(op, o.name, at, graph, like, attrs, COUNT_OF(attrs));
}

tc_value tc_random_normal_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                             const tc_random_normal_options *options)
{
    return build_normal("random_normal", at, graph, dtype, shape, NULL, options);
}

tc_value tc_random_normal_like_at(tc_location at, tc_value x,
                                  const tc_random_normal_options *options)
{
    return build_normal("random_normal", at, x.graph, tc_value_dtype(x), TC_SCALAR, &x, options);
}

tc_value tc_random_truncated_normal_at(tc_location at, tc_graph *graph, tc_dtype dtype,
                                       tc_shape shape, const tc_random_normal_options *options)
{
    return build_normal("random_truncated_normal", at, graph, dtype, shape, NULL, options);
}
