/* matmul: floats through tc_gemm, integers by plain loops. */
#include <string.h>

#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/matmul.h"

/* Fills dimensions, transposes and batch of `g` from shapes; the batch is merged into the rows
 * where B is shared. */
static void describe(const tc_prepare *prepare, tc_gemm *g)
{
    const tc_shape *a = &prepare->inputs[0].shape, *b = &prepare->inputs[1].shape;
    const tc_shape *y = &prepare->outputs[0].shape;
    int rank = y->rank - 2;
    g->transpose_a = tc_attrs_bool(prepare->attrs, "transpose_a");
    g->transpose_b = tc_attrs_bool(prepare->attrs, "transpose_b");
    g->m = y->dims[rank].size;
    g->n = y->dims[rank + 1].size;
    g->k = a->dims[a->rank - (g->transpose_a ? 2 : 1)].size;
    g->lda = g->transpose_a ? g->m : g->k;
    g->ldb = g->transpose_b ? g->k : g->n;
    g->ldc = g->n;

    /* An empty tensor may have dimensions whose product does not fit; then no step is used. */
    uint64_t step_a = (uint64_t)g->m * (uint64_t)g->k, step_b = (uint64_t)g->k * (uint64_t)g->n;
    bool dense_a = true, one_b = true;
    for (int d = rank; d-- > 0;) {
        int da = d - rank + a->rank - 2, db = d - rank + b->rank - 2;
        int64_t size = y->dims[d].size;
        int64_t size_a = da >= 0 ? a->dims[da].size : 1, size_b = db >= 0 ? b->dims[db].size : 1;
        g->batch_dims[d] = size;
        g->batch_a[d] = size_a == 1 ? 0 : (int64_t)step_a;
        g->batch_b[d] = size_b == 1 ? 0 : (int64_t)step_b;
        step_a *= (uint64_t)size_a;
        step_b *= (uint64_t)size_b;
        dense_a = dense_a && size_a == size;
        one_b = one_b && size_b == 1;
    }
    g->batch_rank = rank;
    if (dense_a && one_b && !g->transpose_a && tc_shape_size(y) > 0) {
        for (int d = 0; d < rank; d++)
            g->m *= g->batch_dims[d];
        g->batch_rank = 0;
    }
}

tc_status tc_matmul_prepare(tc_prepare *prepare, tc_isa isa)
{
    tc_gemm g = {.isa = isa, .dtype = prepare->inputs[0].dtype};
    describe(prepare, &g);
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (!tc_epilogue_read(prepare, isa, &g.epilogue) || !tc_gemm_plan(&g, prepare->threads) ||
        !tc_add_size(g.workspace_bytes, g.epilogue.bytes, &prepare->workspace_bytes))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the product of %s and %s is too large",
                              tc_shape_text(&prepare->inputs[0].shape, a),
                              tc_shape_text(&prepare->inputs[1].shape, b));
    tc_gemm *params = tc_prepare_params(prepare, sizeof g);
    if (!params)
        return TC_RESOURCE_EXHAUSTED;
    *params = g;
    if (g.packed_bytes) {
        prepare->pack_input = 1;
        prepare->pack_bytes = g.packed_bytes;
    }
    return TC_OK;
}

void tc_matmul_pack(const void *params, const void *weights, void *blob)
{
    tc_gemm_pack(params, weights, blob, NULL);
}

tc_status tc_matmul_run(const void *params, const void *const *inputs, void *const *outputs,
                        const tc_kernel_context *context)
{
    const tc_gemm *g = params;
    tc_epilogue_inputs after = tc_epilogue_bind(&g->epilogue, inputs, context->workspace);
    char *workspace = context->workspace;
    tc_gemm_run(g, inputs[0], inputs[1], context->packed, &after, outputs[0],
                g->epilogue.bytes ? workspace + g->epilogue.bytes : workspace, context->pool);
    return TC_OK;
}

static tc_status prepare_int(tc_prepare *prepare)
{
    tc_gemm *g = tc_prepare_params(prepare, sizeof *g);
    if (!g)
        return TC_RESOURCE_EXHAUSTED;
    g->dtype = prepare->inputs[0].dtype;
    describe(prepare, g);
    int64_t size = tc_shape_size(&prepare->outputs[0].shape);
    g->items = size > 0 ? size / (g->m * g->n) : 0;
    return TC_OK;
}

typedef struct int_work {
    const tc_gemm *g;
    const void *a, *b;
    void *c;
} int_work;

/* Rows [begin, end) of all items. Unsigned arithmetic wraps; the inner loop over columns becomes
 * vectors. */
#define INT_ROWS(T)                                                                                \
    static void rows_##T(void *argument, int64_t begin, int64_t end, int worker)                   \
    {                                                                                              \
        (void)worker;                                                                              \
        const int_work *w = argument;                                                              \
        const tc_gemm *g = w->g;                                                                   \
        for (int64_t r = begin; r < end; r++) {                                                    \
            int64_t i = r % g->m, item = r / g->m, a0 = 0, b0 = 0;                                 \
            for (int d = g->batch_rank; d-- > 0; item /= g->batch_dims[d]) {                       \
                a0 += item % g->batch_dims[d] * g->batch_a[d];                                     \
                b0 += item % g->batch_dims[d] * g->batch_b[d];                                     \
            }                                                                                      \
            const T *a = (const T *)w->a + a0, *b = (const T *)w->b + b0;                          \
            T *c = (T *)w->c + r * g->n;                                                           \
            memset(c, 0, (size_t)g->n * sizeof(T));                                                \
            if (g->transpose_b) {                                                                  \
                for (int64_t j = 0; j < g->n; j++)                                                 \
                    for (int64_t p = 0; p < g->k; p++)                                             \
                        c[j] += a[g->transpose_a ? p * g->lda + i : i * g->lda + p] *              \
                                b[j * g->ldb + p];                                                 \
            } else {                                                                               \
                for (int64_t p = 0; p < g->k; p++) {                                               \
                    T left = a[g->transpose_a ? p * g->lda + i : i * g->lda + p];                  \
                    for (int64_t j = 0; j < g->n; j++)                                             \
                        c[j] += left * b[p * g->ldb + j];                                          \
                }                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    static tc_status run_##T(const void *params, const void *const *inputs, void *const *outputs,  \
                             const tc_kernel_context *context)                                     \
    {                                                                                              \
        const tc_gemm *g = params;                                                                 \
        int_work w = {g, inputs[0], inputs[1], outputs[0]};                                        \
        int64_t cost = g->n > 0 && g->k > 0 ? g->n * g->k : 1;                                     \
        tc_parallel_for(context->pool, g->items * g->m, cost < 65536 ? 65536 / cost : 1, rows_##T, \
                        &w);                                                                       \
        return TC_OK;                                                                              \
    }
INT_ROWS(uint32_t)
INT_ROWS(uint64_t)

static const tc_kernel kernels[] = {
    TC_KERNEL(matmul, i32, .prepare = prepare_int, .run = run_uint32_t),
    TC_KERNEL(matmul, i64, .prepare = prepare_int, .run = run_uint64_t),
};
TC_KERNEL_TABLE(matmul_int, kernels);
