/* Cross entropy of a softmax over the last axis, with class ids and with probabilities ("dense"),
 * and its gradients. */
#include <stdio.h>

#include "base/alloc.h"
#include "core/shape.h"
#include "kernels/cpu/isa/storage.h"

/* Elements that are worth a task of their own. */
#define UNIT_ELEMENTS (8 * 1024)

typedef struct params {
    int64_t examples, classes;
    int64_t grain;
    size_t scratch; /* bytes of a worker */
    bool wide;      /* class ids are i64 */
    bool ignore;
    int64_t ignore_index;
    tc_shape labels; /* shape, for messages */
} params;

typedef struct job {
    const params *params;
    const void *dloss, *logits, *labels, *lse_in;
    void *out, *lse_out;
    char *scratch;
} job;

static int64_t label_of(const params *p, const void *labels, int64_t example)
{
    return p->wide ? ((const int64_t *)labels)[example] : ((const int32_t *)labels)[example];
}

static bool is_ignored(const params *p, int64_t label)
{
    return p->ignore && label == p->ignore_index;
}

static tc_status label_error(const params *p, int64_t example, int64_t label)
{
    char place[192] = "";
    size_t length = 0;
    int64_t strides[TC_MAX_RANK];
    tc_shape_strides(&p->labels, strides);
    for (int32_t i = 0; i < p->labels.rank; i++)
        length += (size_t)snprintf(place + length, sizeof place - length, "%s%lld", i ? ", " : "",
                                   (long long)(example / strides[i] % p->labels.dims[i].size));
    return tc_kernel_fail(TC_INVALID_ARGUMENT,
                          "labels[%s] is %lld, but there are %lld classes, numbered from 0", place,
                          (long long)label, (long long)p->classes);
}

/* Before anything is computed, and in order, so that the message does not depend on threads. */
static tc_status check_labels(const params *p, const void *labels)
{
    for (int64_t i = 0; i < p->examples; i++) {
        int64_t label = label_of(p, labels, i);
        if ((label < 0 || label >= p->classes) && !is_ignored(p, label))
            return label_error(p, i, label);
    }
    return TC_OK;
}

static tc_status prepare_for(tc_prepare *prepare, int logits, int labels, bool dense)
{
    params *p = tc_prepare_params(prepare, sizeof *p);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *x = &prepare->inputs[logits];
    p->examples = 1;
    for (int32_t i = 0; i + 1 < x->shape.rank; i++)
        p->examples *= x->shape.dims[i].size;
    p->classes = x->shape.dims[x->shape.rank - 1].size;
    p->labels = prepare->inputs[labels].shape;
    p->wide = prepare->inputs[labels].dtype == TC_I64;
    if (!dense) {
        p->ignore = tc_attrs_bool(prepare->attrs, "ignore");
        p->ignore_index = tc_attrs_int(prepare->attrs, "ignore_index");
    }
    p->grain = p->classes < UNIT_ELEMENTS ? UNIT_ELEMENTS / (p->classes + 1) + 1 : 1;
    if (x->dtype == TC_F32 || x->dtype == TC_F64)
        return TC_OK;
    p->scratch = tc_align_up((size_t)p->classes * 2 * sizeof(float), TC_ALIGNMENT);
    if (!tc_mul_size(p->scratch, (size_t)prepare->threads, &prepare->workspace_bytes))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "%lld classes are too many",
                              (long long)p->classes);
    return TC_OK;
}

static tc_status prepare_loss(tc_prepare *prepare)
{
    return prepare_for(prepare, 0, 1, false);
}

static tc_status prepare_dense(tc_prepare *prepare)
{
    return prepare_for(prepare, 0, 1, true);
}

static tc_status prepare_loss_grad(tc_prepare *prepare)
{
    return prepare_for(prepare, 1, 2, false);
}

static tc_status prepare_dense_grad(tc_prepare *prepare)
{
    return prepare_for(prepare, 1, 2, true);
}

#define TAG f32
#include "kernels/cpu/isa/softmax_cross_entropy_body.h"
#define TAG f64
#include "kernels/cpu/isa/softmax_cross_entropy_body.h"
#define TAG f16
#include "kernels/cpu/isa/softmax_cross_entropy_body.h"
#define TAG bf16
#include "kernels/cpu/isa/softmax_cross_entropy_body.h"

#define KERNELS(tag)                                                                       \
    TC_KERNEL(softmax_cross_entropy, tag, .prepare = prepare_loss, .run = run_loss_##tag), \
        TC_KERNEL(softmax_cross_entropy_dense, tag, .prepare = prepare_dense,              \
                  .run = run_dense_##tag),                                                 \
        TC_KERNEL(softmax_cross_entropy_grad, tag, .prepare = prepare_loss_grad,           \
                  .run = run_loss_grad_##tag),                                             \
        TC_KERNEL(softmax_cross_entropy_dense_grad, tag, .prepare = prepare_dense_grad,    \
                  .run = run_dense_grad_##tag)

static const tc_kernel kernels[] = {KERNELS(f32), KERNELS(f64), KERNELS(f16), KERNELS(bf16)};
TC_KERNEL_TABLE(softmax_cross_entropy, kernels);
