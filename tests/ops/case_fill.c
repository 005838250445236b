/* Tensors described by a few numbers: their dtype is an option, so that each sample runs once. */
#include "op_case.h"

typedef struct source {
    tc_dtype dtype;
    tc_shape shape;
    double value;              /* of fill */
    double start, limit, step; /* of range */
} source;

static tc_value build_fill(tc_graph *graph, const tc_value *in, const void *options)
{
    const source *o = options;
    return tc_fill(graph, o->dtype, o->shape, o->value);
}

static tc_value build_zeros(tc_graph *graph, const tc_value *in, const void *options)
{
    const source *o = options;
    return tc_zeros(graph, o->dtype, o->shape);
}

static tc_value build_ones(tc_graph *graph, const tc_value *in, const void *options)
{
    const source *o = options;
    return tc_ones(graph, o->dtype, o->shape);
}

static void fill_reference(const op_run *run)
{
    const source *o = run->options;
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++)
        run->outputs[0][i] = o->value;
}

#define ONCE .dtypes = TC_DTYPE_BIT(TC_F32)
#define FILL(tag, builder, number)                                                    \
    {                                                                                 \
        .name = #tag ", " #number, .outputs = {{.dtype = tag, OP_SHAPE(2, 3)}}, ONCE, \
        .build = builder, .options = &(const source)                                  \
        {                                                                             \
            .dtype = tag, .shape = {2, {{2, NULL}, {3, NULL}}}, .value = (number)     \
        }                                                                             \
    }

static const op_sample fill_samples[] = {
    FILL(TC_F32, build_fill, 1.5),
    FILL(TC_F64, build_fill, 0.1),
    FILL(TC_F16, build_fill, -2.5),
    FILL(TC_BF16, build_fill, 384),
    FILL(TC_F32, build_fill, NAN),
    FILL(TC_F64, build_fill, -INFINITY),
    FILL(TC_I8, build_fill, -128),
    FILL(TC_I16, build_fill, 32767),
    FILL(TC_I32, build_fill, -7),
    FILL(TC_I64, build_fill, 0x1p52),
    FILL(TC_U8, build_fill, 255),
    FILL(TC_U16, build_fill, 65535),
    FILL(TC_U32, build_fill, 4294967295.0),
    FILL(TC_U64, build_fill, 0x1p63),
    FILL(TC_BOOL, build_fill, 1),
    FILL(TC_F32, build_zeros, 0),
    FILL(TC_I64, build_zeros, 0),
    FILL(TC_BOOL, build_ones, 1),
    FILL(TC_BF16, build_ones, 1),
    {.name = "scalar",
     .outputs = {{.dtype = TC_I32, .rank = 0}},
     ONCE,
     .options = &(const source){.dtype = TC_I32, .value = 3}},
    {.name = "empty",
     .outputs = {{.dtype = TC_F32, OP_SHAPE(0)}},
     ONCE,
     .options = &(const source){.dtype = TC_F32, .shape = {1, {{0, NULL}}}, .value = 3}},
    {.name = "several blocks",
     .outputs = {{.dtype = TC_I16, OP_SHAPE(100003)}},
     ONCE,
     .options = &(const source){.dtype = TC_I16, .shape = {1, {{100003, NULL}}}, .value = -3}},
};

static const op_bad fill_bad[] = {
    {.options = &(const source){.dtype = TC_I8, .value = 128},
     .message = "value 128 is not an element of dtype i8"},
    {.options = &(const source){.dtype = TC_I32, .value = 0.5},
     .message = "value 0.5 is not an element of dtype i32"},
    {.options = &(const source){.dtype = TC_BOOL, .value = 2},
     .message = "value 2 is not an element"},
    {.options = &(const source){.dtype = TC_I64, .value = NAN}, .message = "is not an element"},
    {.options = &(const source){.dtype = TC_F32, .shape = {2, {{-1, "batch"}, {3, NULL}}}},
     .message = "every dimension of the shape must be known, but it is [batch, 3]"},
    {.options = &(const source){.dtype = TC_F8E4M3}, .message = "f8e4m3"},
    {.options = &(const source){.dtype = TC_F32, .shape = {.rank = -1}}, .message = "rank"},
};

extern const op_case op_case_fill, op_case_range;

const op_case op_case_fill = {.op = "fill",
                              .build = build_fill,
                              .reference = fill_reference,
                              OP_LIST(fill_samples),
                              OP_BAD(fill_bad),
                              .dtypes = TC_DTYPE_BIT(TC_F32)};

/*
 * Range
 */

static tc_value build_range(tc_graph *graph, const tc_value *in, const void *options)
{
    const source *o = options;
    return o->step == 1 ? tc_range(graph, o->dtype, o->start, o->limit)
                        : tc_range(graph, o->dtype, o->start, o->limit, .step = o->step);
}

static void range_reference(const op_run *run)
{
    const source *o = run->options;
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++)
        run->outputs[0][i] = o->start + (double)i * o->step;
}

#define RANGE(tag, from, to, by, count)                                                           \
    {                                                                                             \
        .name = #tag " " #from ".." #to " by " #by, .outputs = {{.dtype = tag, OP_SHAPE(count)}}, \
        ONCE, .options = &(const source)                                                          \
        {                                                                                         \
            .dtype = tag, .start = from, .limit = to, .step = by                                  \
        }                                                                                         \
    }

static const op_sample range_samples[] = {
    RANGE(TC_I64, 0, 5, 1, 5),   RANGE(TC_I32, 0, 5, 2, 3),           RANGE(TC_I32, 0, 6, 2, 3),
    RANGE(TC_I16, 5, 0, -1, 5),  RANGE(TC_I8, -128, 128, 5, 52),      RANGE(TC_U8, 0, 256, 1, 256),
    RANGE(TC_U64, 3, 4, 7, 1),   RANGE(TC_F32, 0, 1, 0.25, 4),        RANGE(TC_F64, 1, -1, -0.5, 4),
    RANGE(TC_F16, 0, 10, 1, 10), RANGE(TC_BF16, -4, 4, 2, 4),         RANGE(TC_F32, 3, 3, 1, 0),
    RANGE(TC_I32, 3, 0, 1, 0),   RANGE(TC_F32, 0, 100003, 1, 100003),
};

static const op_bad range_bad[] = {
    {.options = &(const source){.dtype = TC_F32, .limit = INFINITY, .step = 2},
     .message = "finite"},
    {.options = &(const source){.dtype = TC_F32, .limit = 1e300, .step = 1e-10},
     .message = "too many elements"},
    {.options = &(const source){.dtype = TC_I32, .limit = 4, .step = 0.5},
     .message = "whole numbers for dtype i32"},
    {.options = &(const source){.dtype = TC_U8, .limit = 257, .step = 1},
     .message = "last element 256 is not an element of dtype u8"},
    {.options = &(const source){.dtype = TC_U8, .start = -1, .limit = 2, .step = 1},
     .message = "start -1 is not an element of dtype u8"},
    {.options = &(const source){.dtype = TC_BOOL, .limit = 2, .step = 1}, .message = "bool"},
};

const op_case op_case_range = {.op = "range",
                               .build = build_range,
                               .reference = range_reference,
                               OP_LIST(range_samples),
                               OP_BAD(range_bad),
                               .dtypes = TC_DTYPE_BIT(TC_F32)};
