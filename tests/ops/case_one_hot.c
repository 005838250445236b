/* Unit vectors of indices. */
#include "places.h"

typedef struct vectors {
    int64_t depth, axis;
    double on, off;
    tc_dtype dtype;
    bool defaults;
} vectors;
#define VECTORS(...) (&(const vectors){__VA_ARGS__})

static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    const vectors *v = options;
    if (v->defaults)
        return tc_one_hot(in[0], v->depth);
    return tc_one_hot(in[0], v->depth, .axis = {true, v->axis}, .on = {true, v->on},
                      .off = {true, v->off}, .dtype = v->dtype);
}

static void reference(const op_run *run)
{
    const vectors *v = run->options;
    const tc_shape *y = &run->output_shapes[0];
    int64_t axis = v->defaults || v->axis == -1 ? y->rank - 1 : v->axis;
    double on = v->defaults ? 1 : v->on, off = v->defaults ? 0 : v->off;
    for (int64_t i = 0; i < elements_of(y); i++) {
        int64_t place[TC_MAX_RANK], outer = 0;
        place_of(y, i, place);
        for (int32_t d = 0; d < y->rank; d++)
            if (d != axis)
                outer = outer * y->dims[d].size + place[d];
        double index = run->inputs[0][outer];
        bool hit = index == (double)place[axis] || index + (double)v->depth == (double)place[axis];
        run->outputs[0][i] = hit ? on : off;
    }
}

#define OUT(type, ...)                 \
    {                                  \
        {                              \
            .dtype = type, __VA_ARGS__ \
        }                              \
    }
static const op_sample samples[] = {
    {.name = "classes",
     .inputs = {{OP_SHAPE(4), OP_ELEMENTS(0, 2, 1, 2)}},
     .outputs = OUT(TC_F32, OP_SHAPE(4, 3)),
     .options = VECTORS(3, .defaults = true)},
    {.name = "outside",
     .inputs = {{OP_SHAPE(5), OP_ELEMENTS(-1, -3, -4, 3, 2147483647)}},
     .outputs = OUT(TC_F32, OP_SHAPE(5, 3)),
     .options = VECTORS(3, .defaults = true)},
    {.name = "first axis",
     .inputs = {{OP_SHAPE(2, 3), OP_ELEMENTS(0, 1, -1, 3, 2, 7)}},
     .outputs = OUT(TC_F64, OP_SHAPE(4, 2, 3)),
     .options = VECTORS(4, 0, 2.5, -1, TC_F64, false)},
    {.name = "middle axis",
     .inputs = {{OP_SHAPE(2, 3), OP_ELEMENTS(0, 1, -1, 3, 2, -9)}},
     .outputs = OUT(TC_BF16, OP_SHAPE(2, 4, 3)),
     .options = VECTORS(4, 1, 3, 0.5, TC_BF16, false)},
    {.name = "bool",
     .inputs = {{OP_SHAPE(2), OP_ELEMENTS(1, 0)}},
     .outputs = OUT(TC_BOOL, OP_SHAPE(2, 2)),
     .options = VECTORS(2, -1, 1, 0, TC_BOOL, false)},
    {.name = "i64",
     .inputs = {{OP_SHAPE(2), OP_ELEMENTS(1, 0)}},
     .outputs = OUT(TC_I64, OP_SHAPE(2, 2)),
     .options = VECTORS(2, -1, -5, 9, TC_I64, false)},
    {.name = "scalar",
     .inputs = {{.rank = 0}},
     .outputs = OUT(TC_F32, OP_SHAPE(2)),
     .options = VECTORS(2, .defaults = true)},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0)}},
     .outputs = OUT(TC_F32, OP_SHAPE(0, 2)),
     .options = VECTORS(2, .defaults = true)},
    {.name = "empty inside",
     .inputs = {{OP_SHAPE(2, 0)}},
     .outputs = OUT(TC_F16, OP_SHAPE(2, 3, 0)),
     .options = VECTORS(3, 1, 1, 0, TC_F16, false)},
    {.name = "large",
     .inputs = {{OP_SHAPE(700), .fill = OP_INTEGERS, .low = -300, .high = 310}},
     .outputs = OUT(TC_U8, OP_SHAPE(700, 300)),
     .options = VECTORS(300, -1, 1, 0, TC_U8, false)},
};

static const op_bad bad[] = {
    {.inputs = {{.dtype = TC_I64, OP_SHAPE(2)}},
     .options = VECTORS(0, .defaults = true),
     .message = "depth is 0, but must be 1 at least"},
    {.inputs = {{.dtype = TC_I64, OP_SHAPE(2)}},
     .options = VECTORS(2, 2, 1, 0, TC_F32, false),
     .message = "axis 2"},
    {.inputs = {{.dtype = TC_I64, OP_SHAPE(2)}},
     .options = VECTORS(2, 0, 1, 0, TC_C64, false),
     .message = "dtype c64 are not supported"},
    {.inputs = {{.dtype = TC_F32, OP_SHAPE(2)}},
     .options = VECTORS(2, .defaults = true),
     .message = "must be i32 or i64"},
    {.inputs = {{.dtype = TC_I64, OP_SHAPE(1, 1, 1, 1, 1, 1, 1, 1)}},
     .options = VECTORS(2, .defaults = true),
     .message = "rank 9"},
};

extern const op_case op_case_one_hot;
const op_case op_case_one_hot = {.op = "one_hot",
                                 .build = build,
                                 .reference = reference,
                                 OP_LIST(samples),
                                 OP_BAD(bad),
                                 .n_inputs = 1,
                                 .dtypes = TC_DTYPES_INDEX};
