/*
 * Cross entropy of a softmax over the last axis, with class ids and with probabilities ("dense"),
 * and its gradients. The losses read the logits once; nothing keeps a row.
 */
#include <stdio.h>

#include "kernels/cuda/rows.cuh"

struct entropy_params {
    tc_rows rows; /* examples and classes */
    int64_t examples, classes;
    bool wide; /* class ids are i64 */
    bool ignore;
    int64_t ignore_index;
    int32_t rank; /* of the labels, for messages */
    int64_t sizes[TC_MAX_RANK];
};

static tc_status prepare_for(tc_prepare *prepare, int logits, int labels, bool dense)
{
    entropy_params *p =
        static_cast<entropy_params *>(tc_prepare_params(prepare, sizeof(entropy_params)));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_value_info *x = &prepare->inputs[logits], *l = &prepare->inputs[labels];
    p->examples = 1;
    for (int32_t i = 0; i + 1 < x->shape.rank; i++)
        p->examples *= x->shape.dims[i].size;
    p->classes = x->shape.dims[x->shape.rank - 1].size;
    TC_TRY(tc_rows_plan(p->examples, p->classes, tc_dtype_size(x->dtype), &p->rows));
    p->rows.rows = p->examples; /* of no classes too: they have a loss and may have wrong labels */
    p->rows.blocks = tc_cuda_blocks(p->examples, p->rows.block / p->rows.group, 1 << 30);
    p->wide = l->dtype == TC_I64;
    p->rank = l->shape.rank;
    for (int32_t i = 0; i < p->rank; i++)
        p->sizes[i] = l->shape.dims[i].size;
    if (!dense) {
        p->ignore = tc_attrs_bool(prepare->attrs, "ignore");
        p->ignore_index = tc_attrs_int(prepare->attrs, "ignore_index");
    }
    return TC_OK;
}

template <int logits, bool dense> static tc_status prepare(tc_prepare *prepare)
{
    return prepare_for(prepare, logits, logits + 1, dense);
}

/*
 * Labels
 */
static __device__ __forceinline__ int64_t label_of(const entropy_params &p, const void *labels,
                                                   int64_t example)
{
    return p.wide ? static_cast<const int64_t *>(labels)[example]
                  : static_cast<const int32_t *>(labels)[example];
}

static __device__ __forceinline__ bool is_ignored(const entropy_params &p, int64_t label)
{
    return p.ignore && label == p.ignore_index;
}

static __device__ __forceinline__ bool is_wrong(const entropy_params &p, int64_t label)
{
    return (label < 0 || label >= p.classes) && !is_ignored(p, label);
}

/* Tells of the first wrong label, which who finds one looks for: that it is the same one in every
 * run costs nothing where all are right. */
static __device__ __forceinline__ void tell_wrong(const entropy_params &p, const void *labels,
                                                  int64_t example, tc_run_state *state,
                                                  int32_t place)
{
    int64_t first = 0;
    while (first < example && !is_wrong(p, label_of(p, labels, first)))
        first++;
    tc_cuda_fault(state, place, 0, first, label_of(p, labels, first), 0, 0);
}

static tc_status fault(const void *params, const tc_fault *fault)
{
    const entropy_params *p = static_cast<const entropy_params *>(params);
    char text[192] = "";
    size_t length = 0;
    int64_t stride = p->examples, example = fault->values[0];
    for (int32_t i = 0; i < p->rank; i++) {
        stride /= p->sizes[i];
        length +=
            static_cast<size_t>(snprintf(text + length, sizeof text - length, "%s%lld",
                                         i ? ", " : "", static_cast<long long>(example / stride)));
        example %= stride;
    }
    return tc_kernel_fail(
        TC_INVALID_ARGUMENT, "labels[%s] is %lld, but there are %lld classes, numbered from 0",
        text, static_cast<long long>(fault->values[1]), static_cast<long long>(p->classes));
}

/*
 * Losses
 */
struct fault_place {
    tc_run_state *state;
    int32_t place;
};

template <typename T, bool dense>
static __global__ __launch_bounds__(TC_ROW_THREADS) void losses(entropy_params p, bool aligned,
                                                                fault_place f, const T *logits,
                                                                const void *labels, T *loss,
                                                                typename tc_row<T>::real *lse)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width;
    __shared__ R shared[TC_ROW_THREADS / 32];
    tc_row_place at(p.rows.group);
    TC_EACH_ROW(p.rows, at, row)
    {
        tc_row<T> r(p.rows, row, aligned);
        tc_online<T> online;
        R x[N];
#pragma unroll 2
        for (int v = at.lane; v * N < r.end; v += p.rows.group) {
            r.load(logits, v, tc_store<T>(static_cast<R>(-INFINITY)), x);
            online.add(x);
        }
        online.merge(p.rows.group, shared);
        R high = online.most, rest = tc_log(online.sum), entropy = 0;
        R total = high + rest;
        if (dense) {
            const T *t = static_cast<const T *>(labels);
            R y[N];
#pragma unroll 1
            for (int v = at.lane; v * N < r.end; v += p.rows.group) {
                r.load(logits, v, T(), x);
                r.load(t, v, T(), y);
#pragma unroll
                for (int k = 0; k < N; k++)
                    entropy += y[k] != 0 ? y[k] * (total - x[k]) : 0;
            }
            entropy = tc_group_sum(entropy, p.rows.group, shared);
        }
        if (at.lane != 0 || row >= p.examples)
            continue;
        if (!dense) {
            int64_t label = label_of(p, labels, row);
            if (is_wrong(p, label))
                tell_wrong(p, labels, row, f.state, f.place);
            else if (!is_ignored(p, label))
                entropy = (high - tc_load(logits[row * p.classes + label])) + rest;
        }
        lse[row] = total;
        loss[row] = tc_store<T>(entropy);
    }
}

template <typename T, bool dense>
static tc_status run_loss(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    const entropy_params *p = static_cast<const entropy_params *>(params);
    const T *logits = static_cast<const T *>(inputs[0]);
    bool aligned =
        tc_rows_aligned(logits) && (!dense || tc_rows_aligned(static_cast<const T *>(inputs[1])));
    return tc_cuda_launch(
        losses<T, dense>, dim3(p->rows.blocks), dim3(static_cast<unsigned>(p->rows.block)), 0,
        context, *p, aligned, fault_place{context->state, context->place}, logits, inputs[1],
        static_cast<T *>(outputs[0]), static_cast<typename tc_row<T>::real *>(outputs[1]));
}

/*
 * Gradients: weight (exp(x - lse) - t), where with probabilities the softmax is taken times their
 * sum.
 */
template <typename T, bool dense>
static __global__ __launch_bounds__(TC_ROW_THREADS) void gradients(
    entropy_params p, bool aligned, fault_place f, const T *dloss, const T *logits,
    const void *labels, const typename tc_row<T>::real *lse, T *dlogits)
{
    typedef typename tc_row<T>::real R;
    constexpr int N = tc_row<T>::width;
    __shared__ R shared[TC_ROW_THREADS / 32];
    const T *t = static_cast<const T *>(labels);
    tc_row_place at(p.rows.group);
    TC_EACH_ROW(p.rows, at, row)
    {
        tc_row<T> r(p.rows, row, aligned);
        R x[N], y[N], mass = 0, weight = 0, shift = 0;
        int hot = -1; /* the label, counted as vectors count */
        bool ignored = false;
        if (row < p.examples) {
            weight = tc_load(dloss[row]);
            shift = lse[row];
        }
        if (dense) {
#pragma unroll 1
            for (int v = at.lane; v * N < r.end; v += p.rows.group) {
                r.load(t, v, T(), y);
#pragma unroll
                for (int k = 0; k < N; k++)
                    mass += y[k];
            }
            mass = weight * tc_group_sum(mass, p.rows.group, shared);
        } else if (row < p.examples) {
            int64_t label = label_of(p, labels, row);
            if (at.lane == 0 && is_wrong(p, label))
                tell_wrong(p, labels, row, f.state, f.place);
            ignored = is_ignored(p, label);
            hot = static_cast<int>(label) + r.lead;
            mass = weight;
        }
#pragma unroll 2
        for (int v = at.lane; v * N < r.end; v += p.rows.group) {
            r.load(logits, v, T(), x);
            if (dense)
                r.load(t, v, T(), y);
#pragma unroll
            for (int k = 0; k < N; k++) {
                x[k] = tc_exp_of<T>(x[k] - shift) * mass;
                if (dense)
                    x[k] -= weight * y[k];
                else
                    x[k] = ignored ? 0 : v * N + k == hot ? x[k] - weight : x[k];
            }
            r.store(dlogits, v, x);
        }
    }
}

template <typename T, bool dense>
static tc_status run_gradient(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    const entropy_params *p = static_cast<const entropy_params *>(params);
    const T *logits = static_cast<const T *>(inputs[1]);
    T *dlogits = static_cast<T *>(outputs[0]);
    bool aligned = tc_rows_aligned(logits, dlogits) &&
                   (!dense || tc_rows_aligned(static_cast<const T *>(inputs[2])));
    return tc_cuda_launch(gradients<T, dense>, dim3(p->rows.blocks),
                          dim3(static_cast<unsigned>(p->rows.block)), 0, context, *p, aligned,
                          fault_place{context->state, context->place},
                          static_cast<const T *>(inputs[0]), logits, inputs[2],
                          static_cast<const typename tc_row<T>::real *>(inputs[3]), dlogits);
}

#define KERNELS(tag, T)                                                                            \
    TC_CUDA_FAULTY_KERNEL(softmax_cross_entropy, tag, (prepare<0, false>), (run_loss<T, false>),   \
                          fault),                                                                  \
        TC_CUDA_KERNEL(softmax_cross_entropy_dense, tag, (prepare<0, true>), (run_loss<T, true>)), \
        TC_CUDA_FAULTY_KERNEL(softmax_cross_entropy_grad, tag, (prepare<1, false>),                \
                              (run_gradient<T, false>), fault),                                    \
        TC_CUDA_KERNEL(softmax_cross_entropy_dense_grad, tag, (prepare<1, true>),                  \
                       (run_gradient<T, true>))

static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(softmax_cross_entropy, kernels);
