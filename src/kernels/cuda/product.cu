#include "kernels/cuda/product.cuh"

/* Merges dimension `next`, which varies faster, into `last` where both operands and the result run
 * through the two as through one. */
static bool merge(tc_cuda_batch_dim *last, const tc_cuda_batch_dim *next)
{
    if (last->a != next->a * next->size || last->b != next->b * next->size)
        return false;
    last->size *= next->size;
    last->a = next->a;
    last->b = next->b;
    last->y = next->y;
    return true;
}

static void read_batch(const tc_prepare *prepare, tc_cuda_product *p)
{
    const tc_shape *a = &prepare->inputs[0].shape, *b = &prepare->inputs[1].shape;
    const tc_shape *y = &prepare->outputs[0].shape;
    const int32_t rank = y->rank - 2;
    tc_cuda_batch_dim dims[TC_MAX_RANK];
    int64_t step_a = p->m * p->k, step_b = p->k * p->n, step_y = p->m * p->n;
    for (int32_t d = rank; d-- > 0;) {
        const int32_t da = d - rank + a->rank - 2, db = d - rank + b->rank - 2;
        const int64_t size_a = da >= 0 ? a->dims[da].size : 1;
        const int64_t size_b = db >= 0 ? b->dims[db].size : 1;
        dims[d].size = y->dims[d].size;
        dims[d].a = size_a == 1 ? 0 : step_a;
        dims[d].b = size_b == 1 ? 0 : step_b;
        dims[d].y = step_y;
        step_a *= size_a;
        step_b *= size_b;
        step_y *= dims[d].size;
    }
    for (int32_t d = 0; d < rank; d++) {
        p->items *= dims[d].size;
        if (dims[d].size != 1 && !(p->rank > 0 && merge(&p->batch[p->rank - 1], &dims[d])))
            p->batch[p->rank++] = dims[d];
    }
}

tc_cuda_product tc_cuda_product_read(const tc_prepare *prepare)
{
    const tc_shape *a = &prepare->inputs[0].shape, *y = &prepare->outputs[0].shape;
    tc_cuda_product p;
    memset(&p, 0, sizeof p);
    p.a_turned = tc_attrs_bool(prepare->attrs, "transpose_a");
    p.b_turned = tc_attrs_bool(prepare->attrs, "transpose_b");
    p.m = y->dims[y->rank - 2].size;
    p.n = y->dims[y->rank - 1].size;
    p.k = a->dims[a->rank - (p.a_turned ? 2 : 1)].size;
    p.items = 1;
    if (tc_shape_size(y) == 0) { /* other dimensions may be so large that nothing can be computed */
        p.items = 0;
        return p;
    }
    /* A vector lies in memory like its transpose. */
    p.a_turned = p.a_turned && p.m > 1 && p.k > 1;
    p.b_turned = p.b_turned && p.k > 1 && p.n > 1;
    p.a_ld = p.a_turned ? p.m : p.k;
    p.b_ld = p.b_turned ? p.k : p.n;
    read_batch(prepare, &p);
    /* Rows of a, one matrix behind the other, are those of a taller one. */
    if (p.rank > 0 && p.batch[p.rank - 1].b == 0 && !p.a_turned) {
        p.rank--;
        p.m *= p.batch[p.rank].size;
        p.items /= p.batch[p.rank].size;
    }
    return p;
}
