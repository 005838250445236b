/*
 * Steps of optimizers on one parameter or on many at once, and assign. A run that has a fault
 * writes nothing.
 *
 * One launch does as many parameters as its arguments have room for: each block takes a tile of the
 * elements of one of them. The formulas are in tensorc/ops/state.h.
 */
#include <math.h>

#include "kernels/cuda/elementwise.cuh"

/* The kinds of steps are told by the number of their slots. */
enum kind { SGD, MOMENTUM, ADAM };

/* Elements of a block. */
#define TILE (TC_THREADS * 16)

struct update_params {
    double weight_decay, momentum, beta1, beta2, epsilon;
    int32_t rate_dtype;
    int32_t nesterov;
    int32_t when; /* the input that says whether to step; -1: always */
    int32_t members;
    tc_storage storage;
    int64_t sizes[]; /* elements of the members */
};

/* What a step multiplies with. */
template <typename S> struct update_scalars {
    S rate;  /* learning rate; of Adam divided by 1 - beta1^step */
    S decay; /* factor of the parameter in the gradient */
    S momentum, along, ahead;
    S keep; /* of Adam: what weight decay leaves of the parameter */
    S root; /* of Adam: 1 / sqrt(1 - beta2^step) */
    S beta1, rest1, beta2, rest2, epsilon;
    bool due; /* otherwise everything stays as it is */
};

/* And what that follows from. */
struct update_rule {
    double weight_decay, momentum, beta1, beta2, epsilon;
    const void *rate;
    const int64_t *step;
    const bool *when; /* NULL: always */
    int32_t rate_dtype;
    int32_t nesterov;
};

template <kind rule> struct update_member {
    static constexpr int slots = rule;
    const void *p, *g;
    void *new_p;
    const void *slot[slots > 0 ? slots : 1];
    void *new_slot[slots > 0 ? slots : 1];
    int64_t size; /* negative: not aligned */
};

/* Arguments are 4 KB at most. */
template <kind rule> constexpr int update_room = (4096 - 128) / (sizeof(update_member<rule>) + 4);

template <kind rule> struct update_chunk {
    update_rule rule_of;
    const tc_run_state *run;
    tc_storage storage;
    int32_t members;
    int32_t ends[update_room<rule>]; /* blocks up to and with each member */
    update_member<rule> member[update_room<rule>];
};

template <typename S, kind rule>
static __device__ __forceinline__ void read_scalars(const update_rule &r, update_scalars<S> &s)
{
    double rate = r.rate_dtype == TC_F64 ? *static_cast<const double *>(r.rate)
                                         : *static_cast<const float *>(r.rate);
    if constexpr (rule == ADAM) {
        double t = static_cast<double>(*r.step);
        s.keep = static_cast<S>(1 - rate * r.weight_decay);
        s.root = static_cast<S>(1 / sqrt(1 - pow(r.beta2, t)));
        rate /= 1 - pow(r.beta1, t);
    }
    s.rate = static_cast<S>(rate);
    s.decay = static_cast<S>(r.weight_decay);
    s.momentum = static_cast<S>(r.momentum);
    s.along = r.nesterov ? s.momentum : S(1);
    s.ahead = r.nesterov ? S(1) : S(0);
    s.beta1 = static_cast<S>(r.beta1);
    s.beta2 = static_cast<S>(r.beta2);
    s.rest1 = static_cast<S>(1 - r.beta1);
    s.rest2 = static_cast<S>(1 - r.beta2);
    s.epsilon = static_cast<S>(r.epsilon);
    s.due = !r.when || *r.when;
}

/* One element: the parameter and its slots become the new ones. */
template <typename S, kind rule>
static __device__ __forceinline__ void step(const update_scalars<S> &s, S &p, S g, S &a, S &b)
{
    if constexpr (rule == SGD) {
        p -= s.rate * (g + s.decay * p);
    } else if constexpr (rule == MOMENTUM) {
        S gradient = g + s.decay * p;
        a = s.momentum * a + gradient;
        p -= s.rate * (s.along * a + s.ahead * gradient);
    } else {
        a = s.beta1 * a + s.rest1 * g;
        b = s.beta2 * b + s.rest2 * g * g;
        p = s.keep * p - s.rate * a / (sqrt(b) * s.root + s.epsilon);
    }
}

/* V elements from element `at` on. */
template <typename S, kind rule, int V>
static __device__ __forceinline__ void update_group(tc_storage storage,
                                                    const update_member<rule> &m, int64_t at,
                                                    const update_scalars<S> &s)
{
    constexpr int slots = rule;
    const tc_storage own = {sizeof(S) == 8 ? TC_F64 : TC_F32, sizeof(S)};
    tc_raw<S, V> raw_p = tc_read<S, V>(m.p, at, storage.size);
    tc_raw<S, V> raw_g = tc_read<S, V>(m.g, at, storage.size), raw_slot[2] = {};
#pragma unroll
    for (int k = 0; k < slots; k++)
        raw_slot[k] = tc_read<S, V>(m.slot[k], at, own.size);
    S p[V], g[V], slot[2][V];
    tc_decode(storage.dtype, raw_p, p);
    tc_decode(storage.dtype, raw_g, g);
    tc_decode(own.dtype, raw_slot[0], slot[0]);
    tc_decode(own.dtype, raw_slot[1], slot[1]);
    if (s.due)
        TC_EACH_OF(V) step<S, rule>(s, p[i], g[i], slot[0][i], slot[1][i]);
    tc_write(m.new_p, at, storage.size, tc_encode(storage, p));
#pragma unroll
    for (int k = 0; k < slots; k++)
        tc_write(m.new_slot[k], at, own.size, tc_encode(own, slot[k]));
}

template <typename S, kind rule>
static __global__ void __launch_bounds__(TC_THREADS)
    update(const __grid_constant__ update_chunk<rule> chunk)
{
    constexpr int V = tc_width<S>;
    __shared__ update_scalars<S> shared;
    if (chunk.run->fault.place != 0)
        return;
    if (threadIdx.x == 0) { /* powers in double take long */
        update_scalars<S> scalars = {};
        read_scalars<S, rule>(chunk.rule_of, scalars);
        shared = scalars;
    }
    __syncthreads();
    const update_scalars<S> s = shared;
    int block = static_cast<int>(blockIdx.x), member = 0;
    for (int above = chunk.members - 1; member < above;) { /* the first one that ends behind */
        int middle = (member + above) / 2;
        if (chunk.ends[middle] > block)
            above = middle;
        else
            member = middle + 1;
    }
    const update_member<rule> &m = chunk.member[member];
    int64_t size = m.size < 0 ? -m.size : m.size;
    int64_t tile = block - (member > 0 ? chunk.ends[member - 1] : 0);
    int64_t at = tile * TILE, end = at + TILE < size ? at + TILE : size;
    if constexpr (V > 1)
        if (m.size > 0) {
            int64_t whole = at + (end - at) / V * V;
            for (int64_t i = at + threadIdx.x * V; i < whole; i += TC_THREADS * V)
                update_group<S, rule, V>(chunk.storage, m, i, s);
            at = whole;
        }
    for (int64_t i = at + threadIdx.x; i < end; i += TC_THREADS)
        update_group<S, rule, 1>(chunk.storage, m, i, s);
}

/* Inputs are all parameters, all of each slot, all gradients, then the scalars. */
template <kind rule> static tc_status prepare_update(tc_prepare *prepare)
{
    constexpr int slots = rule;
    int32_t members = prepare->n_outputs / (1 + slots);
    update_params *p = static_cast<update_params *>(
        tc_prepare_params(prepare, sizeof *p + static_cast<size_t>(members) * sizeof p->sizes[0]));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_attrs *attrs = prepare->attrs;
    p->weight_decay = tc_attrs_float(attrs, "weight_decay");
    if (rule == MOMENTUM) {
        p->momentum = tc_attrs_float(attrs, "momentum");
        p->nesterov = tc_attrs_bool(attrs, "nesterov");
    } else if (rule == ADAM) {
        p->beta1 = tc_attrs_float(attrs, "beta1");
        p->beta2 = tc_attrs_float(attrs, "beta2");
        p->epsilon = tc_attrs_float(attrs, "epsilon");
    }
    p->rate_dtype = prepare->inputs[members * (2 + slots)].dtype;
    int32_t last = prepare->n_inputs - 1;
    p->when = prepare->inputs[last].dtype == TC_BOOL ? last : -1;
    p->members = members;
    p->storage = tc_storage_of(prepare->inputs[0].dtype);
    for (int32_t i = 0; i < members; i++)
        p->sizes[i] = tc_shape_size(&prepare->outputs[i].shape);
    return TC_OK;
}

/* Member `i` with its operands. */
template <kind rule>
static void fill_member(const update_params *p, int32_t i, const void *const *inputs,
                        void *const *outputs, update_member<rule> *m)
{
    constexpr int slots = rule;
    int32_t n = p->members;
    m->p = inputs[i];
    m->g = inputs[n * (1 + slots) + i];
    m->new_p = outputs[i];
    bool aligned = tc_aligned(m->p, m->g, m->new_p);
    for (int k = 0; k < slots; k++) {
        m->slot[k] = inputs[n * (1 + k) + i];
        m->new_slot[k] = outputs[n * (1 + k) + i];
        aligned = aligned && tc_aligned(m->slot[k], m->new_slot[k]);
    }
    m->size = aligned ? p->sizes[i] : -p->sizes[i];
}

template <typename S, kind rule>
static tc_status run_update(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const update_params *p = static_cast<const update_params *>(params);
    const void *const *scalars = inputs + p->members * (2 + rule);
    update_chunk<rule> chunk = {};
    chunk.rule_of = {p->weight_decay,
                     p->momentum,
                     p->beta1,
                     p->beta2,
                     p->epsilon,
                     scalars[0],
                     rule == ADAM ? static_cast<const int64_t *>(scalars[1]) : NULL,
                     p->when >= 0 ? static_cast<const bool *>(inputs[p->when]) : NULL,
                     p->rate_dtype,
                     p->nesterov};
    chunk.run = context->state;
    chunk.storage = p->storage;
    int64_t blocks = 0;
    for (int32_t i = 0; i < p->members; i++) {
        fill_member(p, i, inputs, outputs, &chunk.member[chunk.members]);
        blocks += (p->sizes[i] + TILE - 1) / TILE;
        chunk.ends[chunk.members++] = static_cast<int32_t>(blocks);
        if (chunk.members < update_room<rule> && i + 1 < p->members)
            continue;
        TC_TRY(tc_cuda_launch(update<S, rule>, dim3(static_cast<unsigned>(blocks)),
                              dim3(TC_THREADS), 0, context, chunk));
        chunk.members = 0;
        blocks = 0;
    }
    return TC_OK;
}

/*
 * assign
 */
static tc_status prepare_assign(tc_prepare *prepare)
{
    int64_t *bytes = static_cast<int64_t *>(tc_prepare_params(prepare, sizeof *bytes));
    if (!bytes)
        return TC_RESOURCE_EXHAUSTED;
    *bytes = tc_shape_size(&prepare->outputs[0].shape) *
             static_cast<int64_t>(tc_dtype_size(prepare->outputs[0].dtype));
    return TC_OK;
}

static tc_status run_assign(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    size_t bytes = static_cast<size_t>(*static_cast<const int64_t *>(params));
    return context->queue->backend->copy_unless_fault(context->queue, outputs[0], inputs[1], bytes,
                                                      context->state);
}

#define STEP(op, tag, S, rule) TC_CUDA_KERNEL(op, tag, prepare_update<rule>, (run_update<S, rule>))
#define STEPS(op, rule)                                                                  \
    STEP(op, f32, float, rule), STEP(op, f64, double, rule), STEP(op, f16, float, rule), \
        STEP(op, bf16, float, rule)

static const tc_kernel kernels[] = {
    STEPS(apply_sgd, SGD),
    STEPS(apply_sgd_all, SGD),
    STEPS(apply_momentum, MOMENTUM),
    STEPS(apply_momentum_all, MOMENTUM),
    STEPS(apply_adam, ADAM),
    STEPS(apply_adam_all, ADAM),
    TC_CUDA_KERNEL(assign, any, prepare_assign, run_assign),
};

TC_CUDA_TABLE(update, kernels);
