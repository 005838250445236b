/*
 * Softmax, its logarithm, and their gradients along an axis. Along the last axis a row is a vector
 * loop; along another one, LANES neighbouring columns are worked on at once. 16-bit floats go
 * through f32 copies in the workspace.
 */
#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/isa/storage.h"

/* Elements that are worth a task of their own. */
#define UNIT_ELEMENTS (8 * 1024)
/* Longer columns are too large for the caches as a copy too. */
#define MAX_GATHERED (8 * 1024)

typedef struct params {
    int64_t outer, count, inner; /* the tensor is [outer, count, inner], normalized along count */
    int64_t grain;
    bool gathered;  /* columns are copied */
    size_t scratch; /* bytes of a worker */
} params;

static tc_status prepare(tc_prepare *prepare)
{
    params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *x = &prepare->inputs[0];
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->shape.rank);
    p->outer = p->inner = 1;
    p->count = x->shape.dims[axis].size;
    for (int32_t i = 0; i < x->shape.rank; i++)
        if (i != axis)
            *(i < axis ? &p->outer : &p->inner) *= x->shape.dims[i].size;
    if (p->count == 0)
        p->outer = 0;
    int64_t unit = p->count * (p->inner == 1 ? 1 : TC_F32_LANES);
    p->grain = unit && unit < UNIT_ELEMENTS ? UNIT_ELEMENTS / unit : 1;
    bool small = x->dtype == TC_F16 || x->dtype == TC_BF16;
    p->gathered = p->inner > 1 && p->count <= MAX_GATHERED;
    if (!small && !p->gathered)
        return TC_OK;
    /* A row of f32 or f64, or LANES of them, has the same size in bytes. */
    size_t column = p->inner == 1 ? sizeof(float) : TC_VECTOR_BYTES;
    p->scratch = tc_align_up((size_t)p->count * column * (size_t)prepare->n_inputs, TC_ALIGNMENT);
    if (!tc_mul_size(p->scratch, (size_t)prepare->threads, &prepare->workspace_bytes))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "an axis of %lld elements is too large",
                              (long long)p->count);
    return TC_OK;
}

#define TAG           f32
#define TAG_IS_16_BIT 0
#include "kernels/cpu/isa/softmax_body.h"
#define TAG           f64
#define TAG_IS_16_BIT 0
#include "kernels/cpu/isa/softmax_body.h"
#define TAG           f16
#define TAG_IS_16_BIT 1
#include "kernels/cpu/isa/softmax_body.h"
#define TAG           bf16
#define TAG_IS_16_BIT 1
#include "kernels/cpu/isa/softmax_body.h"

#define KERNEL(op, tag) TC_KERNEL(op, tag, .prepare = prepare, .run = run_##op##_##tag)
#define KERNELS(op)     KERNEL(op, f32), KERNEL(op, f64), KERNEL(op, f16), KERNEL(op, bf16)

static const tc_kernel kernels[] = {KERNELS(softmax), KERNELS(log_softmax), KERNELS(softmax_grad),
                                    KERNELS(log_softmax_grad)};
TC_KERNEL_TABLE(softmax, kernels);
