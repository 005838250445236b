/* Slices at indices, and adding slices there. */
#include "places.h"

#define AXIS(n) (&(const int64_t){n})

/* A value as [outer, size, inner] along the axis of the options. */
typedef struct parts {
    int64_t outer, size, inner;
} parts;

static parts parts_of(const op_run *run, const tc_shape *x)
{
    int64_t axis = *(const int64_t *)run->options;
    axis += axis < 0 ? x->rank : 0;
    parts p = {1, x->dims[axis].size, 1};
    for (int32_t d = 0; d < x->rank; d++) {
        if (d < axis)
            p.outer *= x->dims[d].size;
        else if (d > axis)
            p.inner *= x->dims[d].size;
    }
    return p;
}

/* Calls for each element of the slices: its index there, and that of the element of x it stands
 * for. */
static void each_element(const op_run *run, const tc_shape *x, int32_t indices,
                         void (*visit)(const op_run *run, int64_t slices, int64_t whole))
{
    parts p = parts_of(run, x);
    int64_t count = elements_of(&run->input_shapes[indices]);
    for (int64_t o = 0; o < p.outer; o++)
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = 0; i < p.inner; i++) {
                int64_t index = (int64_t)run->inputs[indices][k];
                index += index < 0 ? p.size : 0;
                visit(run, (o * count + k) * p.inner + i, (o * p.size + index) * p.inner + i);
            }
}

static tc_value build_gather(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_gather(in[0], in[1], .axis = *(const int64_t *)options);
}

static void take(const op_run *run, int64_t slices, int64_t whole)
{
    run->outputs[0][slices] = run->inputs[0][whole];
}

static void gather_reference(const op_run *run)
{
    each_element(run, &run->input_shapes[0], 1, take);
}

#define INDICES(type, shape, ...)                      \
    {                                                  \
        .dtype = type, shape, OP_ELEMENTS(__VA_ARGS__) \
    }
#define RANDOM(shape, n)                                                        \
    {                                                                           \
        .dtype = TC_I64, shape, .fill = OP_INTEGERS, .low = -(n), .high = (n)-1 \
    }
#define NO_INDICES                   \
    {                                \
        .dtype = TC_I32, OP_SHAPE(0) \
    }

static const op_sample gather_samples[] = {
    {.name = "rows",
     .inputs = {{OP_SHAPE(4, 3)}, INDICES(TC_I64, OP_SHAPE(2), 3, 1)},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = AXIS(0)},
    {.name = "repeated, i32",
     .inputs = {{OP_SHAPE(4, 3)}, INDICES(TC_I32, OP_SHAPE(2, 2), 3, 3, -1, 0)},
     .outputs = {{OP_SHAPE(2, 2, 3)}},
     .options = AXIS(0)},
    {.name = "columns",
     .inputs = {{OP_SHAPE(3, 4)}, INDICES(TC_I64, OP_SHAPE(3), -4, 2, 2)},
     .outputs = {{OP_SHAPE(3, 3)}},
     .options = AXIS(-1)},
    {.name = "middle",
     .inputs = {{OP_SHAPE(2, 3, 2)}, INDICES(TC_I64, OP_SHAPE(2), 2, 0)},
     .outputs = {{OP_SHAPE(2, 2, 2)}},
     .options = AXIS(1)},
    {.name = "one index",
     .inputs = {{OP_SHAPE(2, 3)}, INDICES(TC_I64, .rank = 0, 1)},
     .outputs = {{OP_SHAPE(2)}},
     .options = AXIS(1)},
    {.name = "element",
     .inputs = {{OP_SHAPE(3)}, INDICES(TC_I32, .rank = 0, -1)},
     .outputs = {{.rank = 0}},
     .options = AXIS(0)},
    {.name = "none",
     .inputs = {{OP_SHAPE(3, 2)}, NO_INDICES},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = AXIS(0)},
    {.name = "none of none",
     .inputs = {{OP_SHAPE(0, 2)}, NO_INDICES},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = AXIS(0)},
    {.name = "empty slices",
     .inputs = {{OP_SHAPE(3, 0)}, INDICES(TC_I64, OP_SHAPE(2), 1, 2)},
     .outputs = {{OP_SHAPE(2, 0)}},
     .options = AXIS(0)},
    {.name = "empty outside",
     .inputs = {{OP_SHAPE(0, 3)}, INDICES(TC_I64, OP_SHAPE(2), 1, 2)},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = AXIS(1)},
    {.name = "rank 8",
     .inputs = {{OP_SHAPE(2, 1, 3, 1, 2)}, INDICES(TC_I64, OP_SHAPE(1, 2, 1, 2), 2, 0, 1, 1)},
     .outputs = {{OP_SHAPE(2, 1, 1, 2, 1, 2, 1, 2)}},
     .options = AXIS(2)},
    {.name = "large",
     .inputs = {{OP_SHAPE(500, 131)}, RANDOM(OP_SHAPE(1000), 500)},
     .outputs = {{OP_SHAPE(1000, 131)}},
     .options = AXIS(0),
     .no_gradients = true},
    {.name = "many elements",
     .inputs = {{OP_SHAPE(3, 999)}, RANDOM(OP_SHAPE(30000), 999)},
     .outputs = {{OP_SHAPE(3, 30000)}},
     .options = AXIS(1),
     .no_gradients = true},
};

static const op_bad gather_bad[] = {
    {.inputs = {{OP_SHAPE(4, 3)}, INDICES(TC_I64, OP_SHAPE(3), 0, 4, 9)},
     .options = AXIS(0),
     .message = "element 1 of the indices is 4, but dimension 0 has size 4",
     .at_run = true},
    {.inputs = {{OP_SHAPE(2, 3)}, INDICES(TC_I32, OP_SHAPE(2), -3, -4)},
     .options = AXIS(1),
     .message = "element 1 of the indices is -4, but dimension 1 has size 3",
     .at_run = true},
    {.inputs = {{OP_SHAPE(0, 3)}, INDICES(TC_I32, OP_SHAPE(1), 3)},
     .options = AXIS(1),
     .message = "element 0 of the indices is 3",
     .at_run = true},
    {.inputs = {{OP_SHAPE(0)}, INDICES(TC_I32, OP_SHAPE(1), 0)},
     .options = AXIS(0),
     .message = "element 0 of the indices is 0, but dimension 0 has size 0",
     .at_run = true},
    {.inputs = {{OP_SHAPE(4, 3)}, INDICES(TC_I64, OP_SHAPE(1), 0)},
     .options = AXIS(2),
     .message = "axis 2"},
    {.inputs = {{.rank = 0}, INDICES(TC_I64, OP_SHAPE(1), 0)},
     .options = AXIS(0),
     .message = "a scalar has no slices"},
    {.inputs = {{OP_SHAPE(4)}, {OP_SHAPE(1)}}, .options = AXIS(0), .message = "must be i32 or i64"},
    {.inputs = {{OP_SHAPE(1, 1, 1, 1, 1)}, {.dtype = TC_I64, OP_SHAPE(1, 1, 1, 1, 1)}},
     .options = AXIS(0),
     .message = "rank 9, beyond the limit of 8"},
};

extern const op_case op_case_gather;
const op_case op_case_gather = {.op = "gather",
                                .build = build_gather,
                                .reference = gather_reference,
                                OP_LIST(gather_samples),
                                OP_BAD(gather_bad),
                                .n_inputs = 2,
                                .dtypes = TC_DTYPES_ANY,
                                .gradients = OP_INPUT(0)};

/* Small integers, whose sums are exact in every dtype. */
#define SMALL(...)                                            \
    {                                                         \
        __VA_ARGS__, .fill = OP_INTEGERS, .low = 0, .high = 3 \
    }

static tc_value build_gather_grad(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    tc_gather_options o = {.struct_size = sizeof o, .axis = *(const int64_t *)options};
    return tc_gather_grad_at(TC_HERE, in[0], in[1], in[2], &o);
}

static void add_dy(const op_run *run, int64_t slices, int64_t whole)
{
    run->outputs[0][whole] += run->inputs[0][slices];
}

static void gather_grad_reference(const op_run *run)
{
    for (int64_t i = 0; i < elements_of(&run->output_shapes[0]); i++)
        run->outputs[0][i] = 0;
    each_element(run, &run->output_shapes[0], 1, add_dy);
}

static const op_sample gather_grad_samples[] = {
    {.name = "rows",
     .inputs = {SMALL(OP_SHAPE(3, 2)), INDICES(TC_I64, OP_SHAPE(3), 3, 1, -1), {OP_SHAPE(4, 2)}},
     .outputs = {{OP_SHAPE(4, 2)}},
     .options = AXIS(0)},
    {.name = "columns",
     .inputs = {SMALL(OP_SHAPE(2, 2, 2)),
                INDICES(TC_I32, OP_SHAPE(2, 2), 0, 2, 2, 2),
                {.dtype = TC_BOOL, OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = AXIS(-1)},
    {.name = "none",
     .inputs = {{OP_SHAPE(0, 2)}, NO_INDICES, {OP_SHAPE(3, 2)}},
     .outputs = {{OP_SHAPE(3, 2)}},
     .options = AXIS(0)},
    {.name = "of none",
     .inputs = {{OP_SHAPE(0, 2)}, NO_INDICES, {OP_SHAPE(0, 2)}},
     .outputs = {{OP_SHAPE(0, 2)}},
     .options = AXIS(0)},
    {.name = "element",
     .inputs = {{.rank = 0}, INDICES(TC_I64, .rank = 0, 1), {OP_SHAPE(3)}},
     .outputs = {{OP_SHAPE(3)}},
     .options = AXIS(0)},
    {.name = "large",
     .inputs = {SMALL(OP_SHAPE(900, 1030)), RANDOM(OP_SHAPE(900), 700), {OP_SHAPE(700, 1030)}},
     .outputs = {{OP_SHAPE(700, 1030)}},
     .options = AXIS(0),
     .no_gradients = true},
    {.name = "many elements",
     .inputs = {SMALL(OP_SHAPE(3, 3000)), RANDOM(OP_SHAPE(3000), 999), {OP_SHAPE(3, 999)}},
     .outputs = {{OP_SHAPE(3, 999)}},
     .options = AXIS(1),
     .no_gradients = true},
    {.name = "few rows take many",
     .inputs = {SMALL(OP_SHAPE(9001, 24)), RANDOM(OP_SHAPE(9001), 7), {OP_SHAPE(7, 24)}},
     .outputs = {{OP_SHAPE(7, 24)}},
     .options = AXIS(0),
     .no_gradients = true,
     .dtypes = TC_DTYPES_FLOAT | TC_DTYPE_BIT(TC_U32)},
    {.name = "many rows take many",
     .inputs = {SMALL(OP_SHAPE(13000)), RANDOM(OP_SHAPE(13000), 3000), {OP_SHAPE(3000)}},
     .outputs = {{OP_SHAPE(3000)}},
     .options = AXIS(0),
     .no_gradients = true},
    /* 4096 ones and more: a 16-bit sum that was rounded at each step would stop growing. */
    {.name = "one row takes all",
     .inputs = {{OP_SHAPE(4096, 3), OP_ELEMENTS(1)},
                {.dtype = TC_I64, OP_SHAPE(4096), OP_ELEMENTS(1)},
                {OP_SHAPE(2, 3)}},
     .outputs = {{OP_SHAPE(2, 3)}},
     .options = AXIS(0),
     .no_gradients = true,
     .dtypes = TC_DTYPES_FLOAT | TC_DTYPE_BIT(TC_I32)},
};

static const op_bad gather_grad_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, INDICES(TC_I64, OP_SHAPE(2), 0, 2), {OP_SHAPE(2, 3)}},
     .options = AXIS(0),
     .message = "element 1 of the indices is 2, but dimension 0 has size 2",
     .at_run = true},
    {.inputs = {{OP_SHAPE(3, 3)}, {.dtype = TC_I64, OP_SHAPE(2)}, {OP_SHAPE(2, 3)}},
     .options = AXIS(0),
     .message = "dy has shape [3, 3], but the slices have shape [2, 3]"},
};

extern const op_case op_case_gather_grad;
const op_case op_case_gather_grad = {.op = "gather_grad",
                                     .build = build_gather_grad,
                                     .reference = gather_grad_reference,
                                     OP_LIST(gather_grad_samples),
                                     OP_BAD(gather_grad_bad),
                                     .n_inputs = 3,
                                     .dtypes = TC_DTYPES_NUMBER,
                                     .gradients = OP_INPUT(0)};

static tc_value build_scatter_add(tc_graph *graph, const tc_value *in, const void *options)
{
    (void)graph;
    return tc_scatter_add(in[0], in[1], in[2], .axis = *(const int64_t *)options);
}

static void add_update(const op_run *run, int64_t slices, int64_t whole)
{
    run->outputs[0][whole] += run->inputs[2][slices];
}

static void scatter_add_reference(const op_run *run)
{
    for (int64_t i = 0; i < elements_of(&run->output_shapes[0]); i++)
        run->outputs[0][i] = run->inputs[0][i];
    each_element(run, &run->output_shapes[0], 1, add_update);
}

static const op_sample scatter_add_samples[] = {
    {.name = "rows",
     .inputs = {SMALL(OP_SHAPE(4, 2)), INDICES(TC_I64, OP_SHAPE(3), 3, 1, -1),
                SMALL(OP_SHAPE(3, 2))},
     .outputs = {{OP_SHAPE(4, 2)}},
     .options = AXIS(0)},
    {.name = "middle",
     .inputs = {SMALL(OP_SHAPE(2, 3, 2)), INDICES(TC_I32, OP_SHAPE(2), 1, 1),
                SMALL(OP_SHAPE(2, 2, 2))},
     .outputs = {{OP_SHAPE(2, 3, 2)}},
     .options = AXIS(1)},
    {.name = "element",
     .inputs = {SMALL(OP_SHAPE(3)),
                INDICES(TC_I32, .rank = 0, 0),
                {.rank = 0, .fill = OP_INTEGERS, .low = 1, .high = 2}},
     .outputs = {{OP_SHAPE(3)}},
     .options = AXIS(0)},
    {.name = "none",
     .inputs = {SMALL(OP_SHAPE(3, 2)), NO_INDICES, {OP_SHAPE(0, 2)}},
     .outputs = {{OP_SHAPE(3, 2)}},
     .options = AXIS(0)},
    {.name = "large",
     .inputs = {SMALL(OP_SHAPE(50, 2000)), RANDOM(OP_SHAPE(60), 50), SMALL(OP_SHAPE(60, 2000))},
     .outputs = {{OP_SHAPE(50, 2000)}},
     .options = AXIS(0),
     .no_gradients = true},
    {.name = "few rows take many",
     .inputs = {SMALL(OP_SHAPE(2, 3, 5)), RANDOM(OP_SHAPE(5000), 3), SMALL(OP_SHAPE(2, 5000, 5))},
     .outputs = {{OP_SHAPE(2, 3, 5)}},
     .options = AXIS(1),
     .no_gradients = true,
     .dtypes = TC_DTYPES_FLOAT | TC_DTYPE_BIT(TC_U32)},
};

static const op_bad scatter_add_bad[] = {
    {.inputs = {{OP_SHAPE(2, 3)}, INDICES(TC_I32, OP_SHAPE(2), 0, -3), {OP_SHAPE(2, 3)}},
     .options = AXIS(0),
     .message = "element 1 of the indices is -3, but dimension 0 has size 2",
     .at_run = true},
    {.inputs = {{OP_SHAPE(2, 3)}, {.dtype = TC_I32, OP_SHAPE(2)}, {OP_SHAPE(3, 3)}},
     .options = AXIS(0),
     .message = "updates has shape [3, 3], but the slices have shape [2, 3]"},
    {.inputs = {{.dtype = TC_BOOL, OP_SHAPE(2)},
                {.dtype = TC_I32, OP_SHAPE(2)},
                {.dtype = TC_BOOL, OP_SHAPE(2)}},
     .options = AXIS(0),
     .message = "input 'x' is bool"},
};

extern const op_case op_case_scatter_add;
const op_case op_case_scatter_add = {.op = "scatter_add",
                                     .build = build_scatter_add,
                                     .reference = scatter_add_reference,
                                     OP_LIST(scatter_add_samples),
                                     OP_BAD(scatter_add_bad),
                                     .n_inputs = 3,
                                     .dtypes = TC_DTYPES_NUMBER,
                                     .gradients = OP_INPUT(0) | OP_INPUT(2)};
