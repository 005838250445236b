#include "ops/known.h"

tc_dim *tc_known_output(tc_infer *infer, int32_t output)
{
    tc_value_info *info = &infer->outputs[output];
    int64_t count = tc_shape_size(&info->shape);
    if (!(TC_DTYPE_BIT(info->dtype) & TC_DTYPES_INDEX) || count < 0 || count > TC_KNOWN_MAX)
        return NULL;
    tc_dim *known = tc_infer_alloc(infer, (size_t)count * sizeof *known);
    if (!known) /* tc_infer_run reports it */
        return NULL;
    for (int64_t i = 0; i < count; i++)
        known[i].size = -1;
    info->known = known;
    info->known_count = (int32_t)count;
    return known;
}

tc_dim tc_known_element(const tc_infer *infer, int32_t input, int64_t index)
{
    const tc_value_info *info = &infer->inputs[input];
    if (!info->known || index < 0 || index >= info->known_count)
        return (tc_dim){-1, NULL};
    return info->known[index];
}

void tc_known_copy(tc_infer *infer)
{
    tc_dim *known = infer->inputs[0].known ? tc_known_output(infer, 0) : NULL;
    for (int32_t i = 0; known && i < infer->outputs[0].known_count; i++)
        known[i] = tc_known_element(infer, 0, i);
}
