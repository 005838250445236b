/* Operators that pass their input on. */
#include "op_case.h"

static tc_value identity(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_identity(in[0]);
}

static tc_value stop_gradient(tc_graph *graph, const tc_value *in, const void *options)
{
    return tc_stop_gradient(in[0]);
}

static void reference(const op_run *run)
{
    for (int64_t i = 0; i < tc_shape_size(&run->output_shapes[0]); i++)
        run->outputs[0][i] = run->inputs[0][i];
}

static const op_sample samples[] = {
    {.name = "matrix", .inputs = {{OP_SHAPE(3, 5)}}, .outputs = {{OP_SHAPE(3, 5)}}},
    {.name = "scalar", .inputs = {{.rank = 0}}, .n_inputs = 1, .outputs = {{.rank = 0}}},
    {.name = "empty",
     .inputs = {{OP_SHAPE(2, 0)}},
     .outputs = {{OP_SHAPE(2, 0)}},
     .no_gradients = true},
    {.name = "several blocks",
     .inputs = {{OP_SHAPE(300001)}},
     .outputs = {{OP_SHAPE(300001)}},
     .no_gradients = true},
};

extern const op_case op_case_identity, op_case_stop_gradient;

const op_case op_case_identity = {.op = "identity",
                                  .build = identity,
                                  .reference = reference,
                                  OP_LIST(samples),
                                  .n_inputs = 1,
                                  .dtypes = TC_DTYPES_ANY,
                                  .gradients = OP_INPUT(0)};

const op_case op_case_stop_gradient = {.op = "stop_gradient",
                                       .build = stop_gradient,
                                       .reference = reference,
                                       OP_LIST(samples),
                                       .n_inputs = 1,
                                       .dtypes = TC_DTYPES_ANY};
