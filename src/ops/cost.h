/* The work of a node: tc_op.cost, or what is taken where an operator has none. */
#ifndef TC_OPS_COST_H
#define TC_OPS_COST_H

#include <tensorc/extend.h>

/**
 * Work of a node whose dimensions are all known: each operand that is read or written moves once,
 * element-wise operators take one operation per output element, and tc_op.cost mends both.
 */
void tc_op_cost(const tc_infer *node, tc_node_cost *cost);

/** Elements of a value, 0 for one that is not given. */
double tc_cost_elements(const tc_value_info *value);

/** cost: one operation per element of input 0. */
void tc_cost_each_input(const tc_infer *node, tc_node_cost *cost);

/** Operations that exp, tanh and their like take per element: about the length of their
 * polynomials. */
#define TC_COST_FUNCTION 20.0

/** cost: such a function of each element of output 0. */
void tc_cost_function(const tc_infer *node, tc_node_cost *cost);

/** cost: per element of input 0 five operations: what a softmax takes (maximum, difference,
 * exponential, sum, quotient) and about what a normalization does. */
void tc_cost_normalize(const tc_infer *node, tc_node_cost *cost);

#endif
