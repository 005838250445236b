/*
 * Random tensors: shapes, dtypes, bounds, errors, and that every way of running gives the same
 * bits. Which numbers, and how they are distributed, is checked by tests/kernels/test_random.c.
 */
#include <stdio.h>

#include "op_case.h"

typedef struct draw {
    tc_dtype dtype;
    int32_t rank;
    int64_t sizes[2];
    double low, high;     /* uniform */
    int64_t least, limit; /* integers */
    double mean, stddev;  /* normal */
} draw;

static tc_shape shape_of(const draw *o)
{
    return tc_shape_of((size_t)o->rank, o->sizes);
}

/* All elements within [least, most], and not all the same where there are many. */
static void check_range(const op_run *run, double least, double most, char why[256])
{
    int64_t count = tc_shape_size(&run->output_shapes[0]), same = 0;
    for (int64_t i = 0; i < count; i++) {
        double x = run->outputs[0][i];
        if (!(x >= least && x <= most))
            snprintf(why, 256, "element %d is %g, outside %g..%g", (int)i, x, least, most);
        same += x == run->outputs[0][0];
    }
    if (count > 100 && same > count / 2 && least < most)
        snprintf(why, 256, "%d of %d elements are equal", (int)same, (int)count);
}

#define ONCE .dtypes = TC_DTYPE_BIT(TC_F32)
#define SOURCE(tag, ...)                                                   \
    {                                                                      \
        .name = #tag, .outputs = {{.dtype = tag, OP_SHAPE(300, 7)}}, ONCE, \
        .options = &(const draw)                                           \
        {                                                                  \
            .dtype = tag, .rank = 2, .sizes = {300, 7}, __VA_ARGS__        \
        }                                                                  \
    }

/*
 * Uniform
 */

static tc_value uniform(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_uniform(graph, o->dtype, shape_of(o), .low = o->low, .high = TC_SOME(o->high));
}

static tc_value uniform_like(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_uniform_like(in[0], .low = o->low, .high = TC_SOME(o->high));
}

static void check_uniform(const op_run *run, char why[256])
{
    const draw *o = run->options;
    check_range(run, o->low, o->high, why);
}

static const op_sample uniform_samples[] = {
    SOURCE(TC_F32, .low = -2, .high = 3),
    SOURCE(TC_F64, .low = 0, .high = 1e-300),
    SOURCE(TC_F16, .low = 0.5, .high = 1),
    SOURCE(TC_BF16, .low = -1, .high = 0),
    {.name = "like",
     .inputs = {{OP_SHAPE(40, 30)}},
     .outputs = {{OP_SHAPE(40, 30)}},
     .options = &(const draw){.low = -2, .high = 3},
     .build = uniform_like},
    {.name = "like an empty one",
     .inputs = {{OP_SHAPE(0, 3)}},
     .outputs = {{OP_SHAPE(0, 3)}},
     .options = &(const draw){.high = 1},
     .build = uniform_like},
    {.name = "scalar",
     .outputs = {{.dtype = TC_F32, .rank = 0}},
     ONCE,
     .options = &(const draw){.dtype = TC_F32, .low = 5, .high = 6}},
    {.name = "several blocks",
     .outputs = {{.dtype = TC_F64, OP_SHAPE(40001)}},
     ONCE,
     .options = &(const draw){.dtype = TC_F64, .rank = 1, .sizes = {40001}, .high = 1}},
};

static const op_bad uniform_bad[] = {
    {.options = &(const draw){.dtype = TC_F32, .low = 1, .high = 1},
     .message = "low 1 must be below high 1"},
    {.options = &(const draw){.dtype = TC_BF16, .low = 1, .high = 1.001},
     .message = "in dtype bf16"},
    {.options = &(const draw){.dtype = TC_F32, .low = -3e38, .high = 3e38}, .message = "finite"},
    {.options = &(const draw){.dtype = TC_F64, .low = 0, .high = NAN}, .message = "finite"},
    {.options = &(const draw){.dtype = TC_F16, .low = 0, .high = 1e6}, .message = "finite"},
    {.options = &(const draw){.dtype = TC_I32, .high = 9}, .message = "i32"},
    {.options = &(const draw){.dtype = TC_F32, .rank = 1, .sizes = {-1}, .high = 1},
     .message = "every dimension of the shape must be known, but it is [?]"},
};

/*
 * Integers
 */

static tc_value integers(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_int(graph, o->dtype, shape_of(o), o->least, o->limit);
}

static void check_integers(const op_run *run, char why[256])
{
    const draw *o = run->options;
    check_range(run, (double)o->least, (double)(o->limit - 1), why);
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++)
        if (run->outputs[0][i] != floor(run->outputs[0][i]))
            snprintf(why, 256, "element %d is no integer", (int)i);
}

static const op_sample int_samples[] = {
    SOURCE(TC_I8, .least = -128, .limit = 128), SOURCE(TC_I16, .least = -7, .limit = 7),
    SOURCE(TC_I32, .least = 0, .limit = 10),    SOURCE(TC_I64, .least = -5, .limit = INT64_MAX),
    SOURCE(TC_U8, .least = 0, .limit = 256),    SOURCE(TC_U16, .least = 9, .limit = 12),
    SOURCE(TC_U32, .least = 0, .limit = 1000),  SOURCE(TC_U64, .least = 3, .limit = 4),
};

static const op_bad int_bad[] = {
    {.options = &(const draw){.dtype = TC_I32, .least = 4, .limit = 4},
     .message = "low 4 must be below high 4"},
    {.options = &(const draw){.dtype = TC_U8, .least = 0, .limit = 257},
     .message = "dtype u8 cannot hold"},
    {.options = &(const draw){.dtype = TC_U32, .least = -1, .limit = 5},
     .message = "dtype u32 cannot hold"},
    {.options = &(const draw){.dtype = TC_I8, .least = -129, .limit = 5},
     .message = "dtype i8 cannot hold"},
    {.options = &(const draw){.dtype = TC_F32, .limit = 5}, .message = "f32"},
};

/*
 * Normal
 */

static tc_value normal(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_normal(graph, o->dtype, shape_of(o), .mean = o->mean,
                            .stddev = TC_SOME(o->stddev));
}

static tc_value normal_like(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_normal_like(in[0], .mean = o->mean, .stddev = TC_SOME(o->stddev));
}

static tc_value truncated(tc_graph *graph, const tc_value *in, const void *options)
{
    const draw *o = options;
    return tc_random_truncated_normal(graph, o->dtype, shape_of(o), .mean = o->mean,
                                      .stddev = TC_SOME(o->stddev));
}

static void check_normal(const op_run *run, char why[256])
{
    const draw *o = run->options;
    check_range(run, o->mean - 7 * o->stddev, o->mean + 7 * o->stddev, why);
}

static void check_truncated(const op_run *run, char why[256])
{
    const draw *o = run->options;
    check_range(run, o->mean - 2 * o->stddev, o->mean + 2 * o->stddev, why);
}

/* Means and deviations whose bounds the dtypes hold exactly. */
#define NORMALS                                                                          \
    SOURCE(TC_F32, .mean = 1, .stddev = 2), SOURCE(TC_F64, .mean = -3, .stddev = 0.5),   \
        SOURCE(TC_F16, .mean = 0, .stddev = 1), SOURCE(TC_BF16, .mean = 0, .stddev = 4), \
        SOURCE(TC_F32, .mean = 7, .stddev = 0)

static const op_sample normal_samples[] = {
    NORMALS,
    {.name = "like",
     .inputs = {{OP_SHAPE(40, 30)}},
     .outputs = {{OP_SHAPE(40, 30)}},
     .options = &(const draw){.mean = 1, .stddev = 2},
     .build = normal_like},
};
static const op_sample truncated_samples[] = {NORMALS};

static const op_bad normal_bad[] = {
    {.options = &(const draw){.dtype = TC_F32, .stddev = -1},
     .message = "stddev -1 must be finite in dtype f32, and stddev at least 0"},
    {.options = &(const draw){.dtype = TC_F32, .mean = 1e39}, .message = "mean 1e+39"},
    {.options = &(const draw){.dtype = TC_F64, .mean = NAN}, .message = "finite"},
};

extern const op_case op_case_random_uniform, op_case_random_int, op_case_random_normal,
    op_case_random_truncated_normal;

#define RANDOM_CASE(op_name, builder, checker, sample_list, bad_list) \
    const op_case op_case_##op_name = {.op = #op_name,                \
                                       .build = builder,              \
                                       .check = checker,              \
                                       OP_LIST(sample_list),          \
                                       OP_BAD(bad_list),              \
                                       .dtypes = TC_DTYPES_FLOAT};
RANDOM_CASE(random_uniform, uniform, check_uniform, uniform_samples, uniform_bad)
RANDOM_CASE(random_int, integers, check_integers, int_samples, int_bad)
RANDOM_CASE(random_normal, normal, check_normal, normal_samples, normal_bad)
RANDOM_CASE(random_truncated_normal, truncated, check_truncated, truncated_samples, normal_bad)
