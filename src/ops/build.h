/* What the files of this folder share: adding nodes, common shape inference. */
#ifndef TC_OPS_BUILD_H
#define TC_OPS_BUILD_H

#include <string.h>

#include <tensorc/extend.h>

/** Value of an optional number, or what it means when it is not set. */
static inline int64_t tc_int_or(tc_optional_int option, int64_t otherwise)
{
    return option.has ? option.value : otherwise;
}

static inline double tc_float_or(tc_optional_float option, double otherwise)
{
    return option.has ? option.value : otherwise;
}

/**
 * Add a node to the graph of its inputs, which stand in parentheses:
 *     return TC_NODE("add", NULL, at, (a, b));
 *     return TC_NODE_WITH("softmax", o.name, at, (x), {"axis", tc_attr_int(axis)});
 */
#define TC_NODE(op_name, node_name, location, node_inputs)         \
    tc_node_build(NULL, &(const tc_node_spec){.op = (op_name),     \
                                              .name = (node_name), \
                                              .at = (location),    \
                                              TC_SPEC_INPUTS node_inputs})
#define TC_NODE_WITH(op_name, node_name, location, node_inputs, ...)      \
    tc_node_build(NULL, &(const tc_node_spec){.op = (op_name),            \
                                              .name = (node_name),        \
                                              .at = (location),           \
                                              TC_SPEC_INPUTS node_inputs, \
                                              TC_SPEC_ATTRS(__VA_ARGS__)})

/** infer: every output has the shape of input 0. */
tc_status tc_infer_same(tc_infer *infer);

/** infer: output 0 has the shape that all given inputs broadcast to; names the first that does not
 * fit. */
tc_status tc_infer_broadcast(tc_infer *infer);

/** infer: `axis` of a value of `rank` dimensions, negative counted from the end; fails naming
 * attribute `what`. */
tc_status tc_infer_axis(tc_infer *infer, const char *what, int64_t axis, int32_t rank, int *out);

/** `gradient` summed down to the shape of `like`; unchanged when the two surely have one shape. */
tc_value tc_unbroadcast(tc_location at, tc_value gradient, tc_value like);

/** A rank-0 constant of the graph and dtype of `like`. */
tc_value tc_constant_like(tc_location at, tc_value like, double value);

#endif
