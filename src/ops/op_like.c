/* Constants of the dtype and shape of another value. */
#include "ops/build.h"
#include "tensorc/ops/elementwise.h"

static const tc_port like_inputs[] = {
    {"x", TC_DTYPES_ANY, 'T', TC_PORT_SHAPE_ONLY, "gives dtype and shape"}};
static const tc_port like_outputs[] = {{"y", TC_DTYPES_ANY, 'T', 0, "constant, of the shape of x"}};

#define LIKE(op, text)                                        \
    const tc_op tc_op_##op = {.name = #op,                    \
                              .version = 1,                   \
                              .doc = text,                    \
                              TC_LIST(inputs, like_inputs),   \
                              TC_LIST(outputs, like_outputs), \
                              .infer = tc_infer_same,         \
                              .grad = TC_GRAD_NONE};          \
    tc_value tc_##op##_at(tc_location at, tc_value x)         \
    {                                                         \
        return TC_NODE(#op, NULL, at, (x));                   \
    }

LIKE(zeros_like, "zeros of dtype and shape of x")
LIKE(ones_like, "ones of dtype and shape of x")
