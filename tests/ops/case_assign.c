/* Writing variables. */
#include "op_case.h"

static tc_value assign(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_assign(in[0], in[1]);
}

static tc_value assign_add(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_assign_add(in[0], in[1]);
}

static tc_value assign_sub(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_assign_sub(in[0], in[1]);
}

/* Result = keep * content + factor * value, in 64-bit integers modulo the dtype where it is one. */
static void combine(const op_run *run, double keep, double factor)
{
    static const double modulus[TC_DTYPE_COUNT] = {
        [TC_I8] = 0x1p8, [TC_U8] = 0x1p8, [TC_I16] = 0x1p16, [TC_U16] = 0x1p16};
    static const double least[TC_DTYPE_COUNT] = {[TC_I8] = -0x1p7, [TC_I16] = -0x1p15};
    double wrap = modulus[run->dtype];
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++) {
        double y = keep * run->inputs[0][i] + factor * run->inputs[1][i];
        if (wrap > 0)
            y -= wrap * floor((y - least[run->dtype]) / wrap);
        run->outputs[0][i] = y;
    }
}

static void assign_reference(const op_run *run)
{
    combine(run, 0, 1);
}

static void add_reference(const op_run *run)
{
    combine(run, 1, 1);
}

static void sub_reference(const op_run *run)
{
    combine(run, 1, -1);
}

#define BOTH(sample_name, ...)                                                           \
    {                                                                                    \
        .name = sample_name, .inputs = {{__VA_ARGS__, .variable = true}, {__VA_ARGS__}}, \
        .outputs = {                                                                     \
            {__VA_ARGS__}                                                                \
        }                                                                                \
    }

static const op_sample assign_samples[] = {
    BOTH("matrix", OP_SHAPE(3, 5)),
    BOTH("scalar", .rank = 0),
    BOTH("empty", OP_SHAPE(2, 0)),
};

/* Of signed dtypes and floats: the differences of unsigned ones wrap, which have samples of their
 * own. */
#define SIGNED (TC_DTYPES_FLOAT | TC_DTYPES_SIGNED)
static const op_sample sum_samples[] = {
    {.name = "matrix",
     .inputs = {{OP_SHAPE(3, 5), .variable = true}, {OP_SHAPE(3, 5)}},
     .outputs = {{OP_SHAPE(3, 5)}},
     .dtypes = SIGNED},
    {.name = "empty",
     .inputs = {{OP_SHAPE(0), .variable = true}, {OP_SHAPE(0)}},
     .outputs = {{OP_SHAPE(0)}},
     .no_gradients = true},
    {.name = "unsigned",
     .inputs = {{OP_SHAPE(50), .fill = OP_INTEGERS, .low = 100, .high = 150, .variable = true},
                {OP_SHAPE(50), .fill = OP_INTEGERS, .low = 0, .high = 100}},
     .outputs = {{OP_SHAPE(50)}},
     .dtypes = TC_DTYPES_UNSIGNED},
    {.name = "wraps",
     .inputs = {{OP_SHAPE(4), .variable = true, OP_ELEMENTS(-32768, -100, 100, 32767)},
                {OP_SHAPE(4), OP_ELEMENTS(30000, -30000, 100, 32767)}},
     .outputs = {{OP_SHAPE(4)}},
     .dtypes = TC_DTYPE_BIT(TC_I16) | TC_DTYPE_BIT(TC_I8)},
    {.name = "several blocks",
     .inputs = {{OP_SHAPE(50001), .variable = true}, {OP_SHAPE(50001)}},
     .outputs = {{OP_SHAPE(50001)}},
     .dtypes = SIGNED,
     .no_gradients = true},
};

static const op_bad bad[] = {
    {.inputs = {{OP_SHAPE(3, 2), .variable = true}, {OP_SHAPE(2, 3)}},
     .message = "has shape [2, 3], but variable has [3, 2]"},
    {.inputs = {{OP_SHAPE(3), .variable = true}, {.dtype = TC_F64, OP_SHAPE(3)}},
     .message = "must have the same dtype, but are f32 and f64"},
    {.inputs = {{OP_SHAPE(3)}, {OP_SHAPE(3)}}, .message = "variable"},
};

extern const op_case op_case_assign, op_case_assign_add, op_case_assign_sub;

const op_case op_case_assign = {.op = "assign",
                                .build = assign,
                                .reference = assign_reference,
                                OP_LIST(assign_samples),
                                OP_BAD(bad),
                                .n_inputs = 2,
                                .dtypes = TC_DTYPES_ANY,
                                .gradients = OP_INPUT(1)};

const op_case op_case_assign_add = {.op = "assign_add",
                                    .build = assign_add,
                                    .reference = add_reference,
                                    OP_LIST(sum_samples),
                                    OP_BAD(bad),
                                    .n_inputs = 2,
                                    .dtypes = TC_DTYPES_NUMBER,
                                    .gradients = OP_INPUT(0) | OP_INPUT(1)};

const op_case op_case_assign_sub = {.op = "assign_sub",
                                    .build = assign_sub,
                                    .reference = sub_reference,
                                    OP_LIST(sum_samples),
                                    OP_BAD(bad),
                                    .n_inputs = 2,
                                    .dtypes = TC_DTYPES_NUMBER,
                                    .gradients = OP_INPUT(0) | OP_INPUT(1)};
