#include "runtime/numerics.h"

#include <math.h>
#include <stdint.h>

#include "base/status.h"
#include "core/dtype.h"

/* Exponent bits of each float format: all set means NaN or Inf. */
static uint64_t exponent_mask(tc_dtype dtype)
{
    switch (dtype) {
    case TC_F64: return 0x7ff0000000000000u;
    case TC_F32: return 0x7f800000u;
    case TC_F16: return 0x7c00u;
    case TC_BF16: return 0x7f80u;
    default: return 0;
    }
}

static uint64_t load_bits(const void *data, int64_t i, size_t size)
{
    switch (size) {
    case 8: return ((const uint64_t *)data)[i];
    case 4: return ((const uint32_t *)data)[i];
    default: return ((const uint16_t *)data)[i];
    }
}

/* Index of the first NaN or Inf, -1 when there is none. */
static int64_t find_nonfinite(const void *data, tc_dtype dtype, int64_t count)
{
    uint64_t mask = exponent_mask(dtype);
    size_t size = tc_dtype_size(dtype);
    if (mask == 0)
        return -1;
    for (int64_t i = 0; i < count; i++)
        if ((load_bits(data, i, size) & mask) == mask)
            return i;
    return -1;
}

static const char *nonfinite_name(const void *data, tc_dtype dtype, int64_t i)
{
    uint64_t mask = exponent_mask(dtype);
    uint64_t mantissa = (mask & (~mask + 1)) - 1;
    return load_bits(data, i, tc_dtype_size(dtype)) & mantissa ? "NaN" : "Inf";
}

/* Elements of output `output` of `step`, whose buffer may be larger. */
static int64_t count_elements(const tc_step *step, int32_t output, const tc_value_info *info,
                              const int64_t *extents)
{
    if (!step->extents)
        return tc_shape_size(&info->shape);
    const int64_t *sizes = extents + step->extents - 1 + output * TC_MAX_RANK;
    int64_t count = 1;
    for (int32_t d = 0; d < info->shape.rank; d++)
        count *= sizes[d];
    return count;
}

tc_status tc_check_output_numerics(const tc_plan *plan, const tc_step *step, int32_t output,
                                   const void *data, const int64_t *extents)
{
    const tc_value_info *info = &plan->buffers[plan->operands[step->first_output + output]].info;
    int64_t found = find_nonfinite(data, info->dtype, count_elements(step, output, info, extents));
    if (found < 0)
        return TC_OK;
    char where[512];
    return tc_fail(
        TC_INTERNAL, "%s: output %d holds %s at element %lld; no update was applied",
        tc_node_describe(tc_graph_node_at(plan->program->graph, step->node), where, sizeof where),
        output, nonfinite_name(data, info->dtype, found), (long long)found);
}

tc_status tc_check_step_numerics(const tc_plan *plan, const tc_step *step, void *const *operands,
                                 const int64_t *extents)
{
    for (int32_t i = 0; step->node >= 0 && i < step->n_outputs; i++)
        if (plan->operands[step->first_output + i] >= 0)
            TC_TRY(
                tc_check_output_numerics(plan, step, i, operands[step->first_output + i], extents));
    return TC_OK;
}
