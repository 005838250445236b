/*
 * Layer normalization and its gradient: x is [rows, count], normalized over each row. The gradients
 * of scale and offset are sums over rows: chunks of rows, cut by the shape alone, have partial sums
 * in the workspace, which are then added in order. Inside a chunk they run in the dtype for FLUSH
 * rows and go on in f64.
 */
#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/isa/storage.h"

/* Elements that are worth a task of their own. */
#define UNIT_ELEMENTS (16 * 1024)
#define FLUSH         32
/* Bounds of the partial sums: chunks, and elements of all of them. */
#define MAX_CHUNKS   64
#define MAX_PARTIALS (4 * 1024 * 1024)

typedef struct params {
    int64_t rows, count;
    int64_t grain;
    double epsilon;
    int64_t chunks, chunk_rows; /* of the gradient */
    /* Workspace: scale and offset as REAL, [chunks] partial sums, rows of each worker. */
    size_t partials, partial, scratch_at, scratch;
} params;

typedef struct job {
    const params *params;
    const void *x, *scale, *offset, *dy, *mean_in, *inverse_in;
    void *y, *mean, *inverse, *dscale, *doffset;
    char *workspace;
} job;

static params *prepare_rows(tc_prepare *prepare, int input)
{
    params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return NULL;
    const tc_shape *x = &prepare->inputs[input].shape;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank);
    p->rows = p->count = 1;
    for (int32_t i = 0; i < x->rank; i++)
        *(i < axis ? &p->rows : &p->count) *= x->dims[i].size;
    p->grain = p->count < UNIT_ELEMENTS ? UNIT_ELEMENTS / (p->count + 1) + 1 : 1;
    p->epsilon = tc_attrs_float(prepare->attrs, "epsilon");
    return p;
}

/* Rows of `per_worker` buffers behind what p->partials says, which is counted from `shared` rows.
 */
static tc_status plan_workspace(tc_prepare *prepare, params *p, size_t shared, size_t per_worker)
{
    size_t row, all;
    bool fits = tc_mul_size((size_t)p->count, sizeof(float), &row);
    if (fits) {
        row = tc_align_up(row, TC_ALIGNMENT);
        p->partials = row * shared;
        p->scratch_at = p->partials + p->partial * (size_t)p->chunks;
        p->scratch = row * per_worker;
        fits = tc_mul_size(p->scratch, (size_t)prepare->threads, &all) &&
               tc_add_size(all, p->scratch_at, &prepare->workspace_bytes);
    }
    return fits ? TC_OK
                : tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "%lld elements are too many to normalize",
                                 (long long)p->count);
}

static bool is_16_bit(tc_dtype dtype)
{
    return dtype == TC_F16 || dtype == TC_BF16;
}

static tc_status prepare_forward(tc_prepare *prepare)
{
    params *p = prepare_rows(prepare, 0);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    return is_16_bit(prepare->inputs[0].dtype) ? plan_workspace(prepare, p, 2, 1) : TC_OK;
}

static tc_status prepare_gradient(tc_prepare *prepare)
{
    params *p = prepare_rows(prepare, 1);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    int64_t most = p->count ? MAX_PARTIALS / p->count : 1;
    most = most < 1 ? 1 : most > MAX_CHUNKS ? MAX_CHUNKS : most;
    int64_t rows = (p->rows + most - 1) / most;
    p->chunk_rows = rows > p->grain ? rows : p->grain;
    p->chunks = (p->rows + p->chunk_rows - 1) / p->chunk_rows;
    /* Sums of the gradients of scale and offset, in f64 and in the dtype. */
    size_t real = prepare->inputs[1].dtype == TC_F64 ? sizeof(double) : sizeof(float);
    p->partial = tc_align_up((size_t)p->count * 2 * (sizeof(double) + real), TC_ALIGNMENT);
    bool buffered = is_16_bit(prepare->inputs[1].dtype);
    return plan_workspace(prepare, p, buffered ? 2 : 0, buffered ? 3 : 0);
}

#define TAG f32
#include "kernels/cpu/isa/layer_norm_body.h"
#define TAG f64
#include "kernels/cpu/isa/layer_norm_body.h"
#define TAG f16
#include "kernels/cpu/isa/layer_norm_body.h"
#define TAG bf16
#include "kernels/cpu/isa/layer_norm_body.h"

#define KERNELS(tag)                                                                  \
    TC_KERNEL(layer_norm, tag, .prepare = prepare_forward, .run = run_forward_##tag), \
        TC_KERNEL(layer_norm_grad, tag, .prepare = prepare_gradient, .run = run_gradient_##tag)

static const tc_kernel kernels[] = {KERNELS(f32), KERNELS(f64), KERNELS(f16), KERNELS(bf16)};
TC_KERNEL_TABLE(layer_norm, kernels);
