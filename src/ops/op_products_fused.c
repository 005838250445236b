/*
 * Products that finish their elements while they are in the cache: what the compiler makes of
 * matmul and conv2d and the operations on their results. There are no builders.
 */
#include "core/shape.h"
#include "ops/products.h"

enum { SCALE = 2, BIAS, RESIDUAL }; /* inputs behind the operands of the product */

/* A vector of dimension `dim` of the result, in the dtype of the result or, of 16-bit floats, f32.
 */
static tc_status check_vector(tc_infer *infer, int32_t index, tc_dim dim)
{
    const tc_value_info *y = &infer->outputs[0], *vector = &infer->inputs[index];
    const char *name = infer->attrs->op->inputs[index].name;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (index >= infer->n_inputs || vector->dtype == TC_DTYPE_INVALID)
        return TC_OK;
    tc_shape expected = tc_shape_make(1, &dim);
    if (!tc_shape_compatible(&vector->shape, &expected))
        return tc_infer_fail(infer, "%s has shape %s, but must be %s for a result of shape %s",
                             name, tc_shape_text(&vector->shape, a), tc_shape_text(&expected, b),
                             tc_shape_text(&y->shape, a));
    bool small = y->dtype == TC_F16 || y->dtype == TC_BF16;
    if (vector->dtype != y->dtype && !(small && vector->dtype == TC_F32))
        return tc_infer_fail(infer, "%s is %s, but must be %s%s", name,
                             tc_dtype_name(vector->dtype), tc_dtype_name(y->dtype),
                             small ? " or f32" : "");
    return TC_OK;
}

static tc_status check_epilogue(tc_infer *infer, int32_t axis)
{
    const tc_shape *y = &infer->outputs[0].shape;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    TC_TRY(check_vector(infer, SCALE, y->dims[axis]));
    TC_TRY(check_vector(infer, BIAS, y->dims[axis]));
    if (infer->n_inputs > RESIDUAL && infer->inputs[RESIDUAL].dtype != TC_DTYPE_INVALID &&
        !tc_shape_compatible(&infer->inputs[RESIDUAL].shape, y))
        return tc_infer_fail(infer, "residual has shape %s, but the product has %s",
                             tc_shape_text(&infer->inputs[RESIDUAL].shape, a), tc_shape_text(y, b));
    return TC_OK;
}

static tc_status matmul_fused_infer(tc_infer *infer)
{
    TC_TRY(tc_infer_matmul(infer));
    return check_epilogue(infer, infer->outputs[0].shape.rank - 1);
}

static tc_status conv2d_fused_infer(tc_infer *infer)
{
    TC_TRY(tc_infer_conv2d(infer));
    return check_epilogue(infer, 1);
}

/* Every element of the result is `depth` multiply-adds and one operation for each thing after. */
static void cost(const tc_infer *node, double depth, tc_node_cost *out)
{
    double size = (double)tc_shape_size(&node->outputs[0].shape);
    double after = strcmp(tc_attrs_string(node->attrs, "activation"), "none") != 0;
    after += tc_attrs_float(node->attrs, "alpha") != 1;
    for (int32_t i = SCALE; i < node->n_inputs; i++)
        after += node->inputs[i].dtype != TC_DTYPE_INVALID;
    out->flops = size * (2 * depth + after);
}

static void matmul_fused_cost(const tc_infer *node, tc_node_cost *out)
{
    const tc_shape *a = &node->inputs[0].shape;
    bool transposed = tc_attrs_bool(node->attrs, "transpose_a");
    cost(node, (double)a->dims[a->rank - (transposed ? 2 : 1)].size, out);
}

static void conv2d_fused_cost(const tc_infer *node, tc_node_cost *out)
{
    const tc_dim *w = node->inputs[1].shape.dims;
    cost(node, (double)w[1].size * (double)w[2].size * (double)w[3].size, out);
}

#define VECTOR_PORT(port_name, what)                       \
    {                                                      \
        port_name, TC_DTYPES_FLOAT, 'S', TC_PORT_OPTIONAL, \
            what " the product, "                          \
                 "[columns] or [channels]"                 \
    }
#define EPILOGUE_PORTS                                                                 \
    VECTOR_PORT("scale", "factors of"), VECTOR_PORT("bias", "added to"),               \
    {                                                                                  \
        "residual", TC_DTYPES_FLOAT, 'T', TC_PORT_OPTIONAL, "added, of the shape of y" \
    }
#define EPILOGUE_ATTRS                                                                        \
    {"alpha", TC_ATTR_FLOAT, {.type = TC_ATTR_FLOAT, .f = 1}, NULL, "factor of the product"}, \
    {                                                                                         \
        "activation", TC_ATTR_STRING, {.type = TC_ATTR_STRING, .s = "none"},                  \
            "none|relu|sigmoid|tanh|gelu|gelu_tanh", "function of the sum"                    \
    }

static const tc_port matmul_inputs[] = {{"a", TC_DTYPES_FLOAT, 'T', 0, "as of matmul"},
                                        {"b", TC_DTYPES_FLOAT, 'T', 0, "as of matmul"},
                                        EPILOGUE_PORTS};
static const tc_port conv2d_inputs[] = {{"x", TC_DTYPES_FLOAT, 'T', 0, "as of conv2d"},
                                        {"w", TC_DTYPES_FLOAT, 'T', 0, "as of conv2d"},
                                        EPILOGUE_PORTS};
static const tc_port outputs[] = {
    {"y", TC_DTYPES_FLOAT, 'T', 0, "activation(alpha * scale * product + bias + residual)"}};
static const tc_attr_def matmul_attrs[] = {TC_ATTRS_MATMUL, EPILOGUE_ATTRS};
static const tc_attr_def conv2d_attrs[] = {TC_ATTRS_CONV2D, EPILOGUE_ATTRS};
static const tc_inplace in_place[] = {{RESIDUAL, 0}};

const tc_op tc_op_matmul_fused = {
    .name = "matmul_fused",
    .version = 1,
    .doc = "internal: matmul, and what follows it on each element",
    TC_LIST(inputs, matmul_inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, matmul_attrs),
    TC_LIST(inplace, in_place),
    .flags = TC_OP_INTERNAL,
    .infer = matmul_fused_infer,
    .grad = TC_GRAD_NONE,
    .cost = matmul_fused_cost,
};

const tc_op tc_op_conv2d_fused = {
    .name = "conv2d_fused",
    .version = 1,
    .doc = "internal: conv2d, and what follows it on each element",
    TC_LIST(inputs, conv2d_inputs),
    TC_LIST(outputs, outputs),
    TC_LIST(attrs, conv2d_attrs),
    TC_LIST(inplace, in_place),
    .flags = TC_OP_INTERNAL,
    .infer = conv2d_fused_infer,
    .grad = TC_GRAD_NONE,
    .cost = conv2d_fused_cost,
};
