/* Reading the index inputs of gather and scatter. */
#ifndef TC_KERNELS_CPU_INDICES_H
#define TC_KERNELS_CPU_INDICES_H

#include <stdbool.h>

#include "core/shape.h"
#include "kernels/cpu/kernel.h"

/** A value as slices along an axis, [outer, size, inner], and the indices of slices. */
typedef struct index_params {
    int64_t outer, size, inner; /* in elements */
    int64_t count;              /* of indices */
    int32_t axis;
    bool wide; /* i64, not i32 */
} index_params;

static inline void index_params_set(index_params *p, const tc_attrs *attrs, const tc_shape *x,
                                    const tc_value_info *indices)
{
    p->axis = tc_axis_normalize(tc_attrs_int(attrs, "axis"), x->rank);
    p->outer = p->inner = 1;
    for (int32_t i = 0; i < p->axis; i++)
        p->outer *= x->dims[i].size;
    for (int32_t i = p->axis + 1; i < x->rank; i++)
        p->inner *= x->dims[i].size;
    p->size = x->dims[p->axis].size;
    p->count = tc_shape_size(&indices->shape);
    p->wide = indices->dtype == TC_I64;
}

static inline int64_t index_value(bool wide, const void *indices, int64_t i)
{
    return wide ? ((const int64_t *)indices)[i] : ((const int32_t *)indices)[i];
}

/** Index i in 0..size-1, negative ones counted from the end; -1 when it is out of range. */
static inline int64_t index_read(const index_params *p, const void *indices, int64_t i)
{
    int64_t value = index_value(p->wide, indices, i);
    int64_t place = value < 0 ? value + p->size : value;
    return place < 0 || place >= p->size ? -1 : place;
}

/** The error for the index at position i. */
static inline tc_status index_fail(const index_params *p, const void *indices, int64_t i)
{
    return tc_kernel_fail(TC_INVALID_ARGUMENT,
                          "element %lld of the indices is %lld, but dimension %d has size %lld",
                          (long long)i, (long long)index_value(p->wide, indices, i), (int)p->axis,
                          (long long)p->size);
}

#endif
