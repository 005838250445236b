/* What a graph starts from: placeholders, constants, variables. The runtime provides their memory.
 */
#include "ops/build.h"
#include "ops/source.h"

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"

tc_status tc_infer_source(tc_infer *infer)
{
    infer->outputs[0].dtype = tc_attrs_dtype(infer->attrs, "dtype");
    infer->outputs[0].shape = *tc_attrs_shape(infer->attrs, "shape");
    return TC_OK;
}

tc_status tc_infer_known_source(tc_infer *infer)
{
    TC_TRY(tc_infer_source(infer));
    const tc_shape *shape = &infer->outputs[0].shape;
    if (tc_shape_valid(shape) != TC_OK)
        return tc_infer_fail(infer, "%s", tc_error_message());
    for (int32_t i = 0; i < shape->rank; i++) {
        char text[TC_SHAPE_TEXT_SIZE];
        if (!tc_dim_is_known(shape->dims[i]))
            return tc_infer_fail(infer, "every dimension of the shape must be known, but it is %s",
                                 tc_shape_text(shape, text));
    }
    return TC_OK;
}

tc_status tc_infer_exact(tc_infer *infer, const char *what, tc_dtype dtype, double value)
{
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, value);
    if (TC_DTYPES_FLOAT & TC_DTYPE_BIT(dtype) || tc_dtype_load(dtype, &element) == value)
        return TC_OK;
    return tc_infer_fail(infer, "%s %.17g is not an element of dtype %s", what, value,
                         tc_dtype_name(dtype));
}

tc_dim *tc_infer_known(tc_infer *infer)
{
    tc_value_info *output = &infer->outputs[0];
    int64_t size = tc_shape_size(&output->shape);
    if (!(TC_DTYPES_INT & TC_DTYPE_BIT(output->dtype)) || size < 0 || size > TC_KNOWN_MAX)
        return NULL;
    tc_dim *known = tc_infer_alloc(infer, sizeof(tc_dim) * (size_t)(size > 0 ? size : 1));
    output->known = known;
    output->known_count = known ? (int32_t)size : 0;
    return known;
}

static tc_value missing_name(tc_location at, tc_graph *graph, const char *op)
{
    return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                         "%s: the name is NULL; a %s is known by its name", op, op);
}

/*
 * Placeholder
 */

static const tc_attr_def typed_attrs[] = {TC_DTYPE_ATTR, TC_SHAPE_ATTR};
static const tc_port any_output[] = {{.name = "value", .dtypes = TC_DTYPES_ANY}};

const tc_op tc_op_placeholder = {
    .name = "placeholder",
    .version = 1,
    .doc = "A value given at each run; the name of the node is its name.",
    TC_LIST(outputs, any_output),
    TC_LIST(attrs, typed_attrs),
    .infer = tc_infer_source,
    .grad = TC_GRAD_NONE,
};

tc_value tc_placeholder_at(tc_location at, tc_graph *graph, const char *name, tc_dtype dtype,
                           tc_shape shape)
{
    if (!name)
        return missing_name(at, graph, "placeholder");
    return tc_node_build(graph,
                         &(const tc_node_spec){.op = "placeholder",
                                               .name = name,
                                               .at = at,
                                               TC_SPEC_ATTRS({"dtype", tc_attr_dtype(dtype)},
                                                             {"shape", tc_attr_shape(&shape)})});
}

/*
 * Constant
 */

static tc_status constant_infer(tc_infer *infer)
{
    const tc_tensor *tensor = tc_attrs_tensor(infer->attrs, "tensor");
    if (!tensor)
        return tc_infer_fail(infer, "the tensor is NULL");
    tc_value_info *output = &infer->outputs[0];
    output->dtype = tc_tensor_dtype(tensor);
    output->shape = *tc_tensor_shape(tensor);
    tc_dim *known = tc_infer_known(infer);
    const char *element = tc_tensor_data(tensor);
    for (int32_t i = 0; known && i < output->known_count; i++) {
        /* Beyond 2^53 the double is rounded, and no dimension is that large. */
        double value = tc_dtype_load(output->dtype, element);
        known[i] = tc_known_element(value < 0x1p53 ? (int64_t)value : -1);
        element += tc_dtype_size(output->dtype);
    }
    return TC_OK;
}

static const tc_attr_def constant_attrs[] = {
    {.name = "tensor", .type = TC_ATTR_TENSOR, .doc = "dtype, shape and elements"},
};

const tc_op tc_op_constant = {
    .name = "constant",
    .version = 1,
    .doc = "A tensor that is part of the graph.",
    TC_LIST(outputs, any_output),
    TC_LIST(attrs, constant_attrs),
    .infer = constant_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_constant_at(tc_location at, tc_graph *graph, tc_tensor *tensor)
{
    if (!tensor)
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT, "constant: the tensor is NULL");
    return tc_node_build(
        graph, &(const tc_node_spec){
                   .op = "constant", .at = at, TC_SPEC_ATTRS({"tensor", tc_attr_tensor(tensor)})});
}

/* The constant of a tensor that was made for it, or the error of making it. */
static tc_value constant_of(tc_location at, tc_graph *graph, tc_status status, tc_tensor *tensor)
{
    if (status != TC_OK) {
        char message[TC_ERROR_MESSAGE_SIZE];
        (void)tc_error_take(message, sizeof message);
        return tc_graph_fail(graph, at, status, "constant: %s", message);
    }
    tc_value value = tc_constant_at(at, graph, tensor);
    tc_tensor_release(tensor);
    return value;
}

tc_value tc_constant_data_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                             const void *data)
{
    tc_tensor *tensor = NULL;
    tc_status status = tc_tensor_create_copy(dtype, shape, data, &tensor);
    return constant_of(at, graph, status, tensor);
}

tc_value tc_constant_scalar_at(tc_location at, tc_graph *graph, tc_dtype dtype, double value)
{
    tc_tensor *tensor = NULL;
    tc_status status = tc_tensor_create_scalar(dtype, value, &tensor);
    return constant_of(at, graph, status, tensor);
}

/*
 * Variable
 */

/* A file may leave out `initial` when the checkpoint beside it has the elements. */
static const tc_port variable_inputs[] = {
    {.name = "initial",
     .dtypes = TC_DTYPES_ANY,
     .flags = TC_PORT_OPTIONAL | TC_PORT_INITIAL,
     .doc = "first elements, used once"},
};

static const tc_attr_def variable_attrs[] = {
    TC_DTYPE_ATTR,
    TC_SHAPE_ATTR,
    {.name = "trainable",
     .type = TC_ATTR_BOOL,
     .fallback = {.type = TC_ATTR_BOOL, .b = true},
     .doc = "whether an optimizer that collects variables takes this one"},
};

static tc_status variable_infer(tc_infer *infer)
{
    TC_TRY(tc_infer_known_source(infer));
    const tc_value_info *initial = &infer->inputs[0], *variable = &infer->outputs[0];
    if (infer->n_inputs == 0 || initial->dtype == TC_DTYPE_INVALID)
        return TC_OK;
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (initial->dtype != variable->dtype ||
        !tc_shape_compatible(&initial->shape, &variable->shape))
        return tc_infer_fail(infer, "initial is %s %s, but the variable is %s %s",
                             tc_dtype_name(initial->dtype), tc_shape_text(&initial->shape, a),
                             tc_dtype_name(variable->dtype), tc_shape_text(&variable->shape, b));
    return TC_OK;
}

const tc_op tc_op_variable = {
    .name = "variable",
    .version = 1,
    .doc = "State kept in the store under the path of the node; reads as before the run.",
    TC_LIST(inputs, variable_inputs),
    TC_LIST(outputs, any_output),
    TC_LIST(attrs, variable_attrs),
    .effects = TC_EFFECT_READ,
    .infer = variable_infer,
    .grad = TC_GRAD_NONE,
};

tc_value tc_variable_at(tc_location at, tc_graph *graph, const char *name, tc_value initial,
                        const tc_variable_options *options)
{
    TC_OPTIONS(tc_variable_options, o, options);
    if (!name)
        return missing_name(at, graph, "variable");
    tc_shape shape = tc_value_shape(initial);
    if (shape.rank < 0) /* initial failed, which its own error tells unless it is TC_NO_VALUE */
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                             "variable '%s': the initial value is missing", name);
    return tc_node_build(graph, &(const tc_node_spec){
                                    .op = "variable",
                                    .name = name,
                                    .at = at,
                                    TC_SPEC_INPUTS(initial),
                                    TC_SPEC_ATTRS({"dtype", tc_attr_dtype(tc_value_dtype(initial))},
                                                  {"shape", tc_attr_shape(&shape)},
                                                  {"trainable", tc_attr_bool(!o.not_trainable)})});
}
