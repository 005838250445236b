/* What the gradients of sums, means and products need. */
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/reduce.cuh"

#define THREADS 256

/*
 * reduce_expand: y repeated along the reduced dimensions, for means divided by their size.
 */
struct expand_params {
    strided_plan plan;
    int64_t count; /* elements of y */
    double divisor;
    tc_dtype dtype;
};

static tc_status prepare_expand(tc_prepare *prepare)
{
    expand_params *p = static_cast<expand_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->outputs[0].shape;
    p->dtype = prepare->inputs[0].dtype;
    int64_t element = static_cast<int64_t>(tc_dtype_size(p->dtype)), from = element, size = 1;
    int64_t to[TC_MAX_RANK];
    bool reduced[TC_MAX_RANK];
    strided_dim dims[TC_MAX_RANK];
    reduce_axes(prepare->attrs, x->rank, reduced);
    tc_shape_strides(x, to);
    for (int32_t i = x->rank; i-- > 0;) {
        dims[i] = {x->dims[i].size, reduced[i] ? 0 : from, to[i] * element};
        *(reduced[i] ? &size : &from) *= x->dims[i].size;
    }
    p->divisor = tc_attrs_bool(prepare->attrs, "mean") ? static_cast<double>(size) : 1;
    strided_make(&p->plan, x->rank, dims, static_cast<int32_t>(element), 0, 0);
    p->count = tc_shape_size(&prepare->inputs[0].shape);
    if (p->divisor != 1) /* it is divided while it is small, then repeated */
        prepare->workspace_bytes = static_cast<size_t>(p->count * element);
    return TC_OK;
}

static __global__ void __launch_bounds__(THREADS)
    divide(const void *__restrict__ x, int64_t count, double divisor, tc_dtype dtype,
           void *__restrict__ y)
{
    int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS;
#pragma unroll 1
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < count;
         i += stride)
        store_as(load_as<double>(x, dtype, i) / divisor, y, dtype, i);
}

static tc_status run_expand(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const expand_params *p = static_cast<const expand_params *>(params);
    if (p->divisor == 1)
        return strided_copy(&p->plan, inputs[0], outputs[0], context);
    TC_TRY(tc_cuda_launch(divide, dim3(tc_cuda_blocks(p->count, THREADS, TC_CUDA_MOST_BLOCKS)),
                          dim3(THREADS), 0, context, inputs[0], p->count, p->divisor, p->dtype,
                          context->workspace));
    return strided_copy(&p->plan, context->workspace, outputs[0], context);
}

/*
 * reduce_prod_others (see src/ops/op_reduce.c). A state is a polynomial in e1 ... em without
 * squares: the coefficient of a product of some e is at the index that has their bits. Result i is
 * the coefficient of all of them in the product of the elements before i and of those behind.
 *
 * A block owns a group of elements, each thread a run of them: the threads multiply their runs, two
 * of them make from these the products before and behind each run, and the threads go through
 * their runs once more, forwards, where they keep what was before each element, and backwards.
 */
#define MAX_TANGENTS 6
#define MAX_STATES   (1 << MAX_TANGENTS)
/* Memory for blocks that work side by side, where it is not even one. */
#define SCRATCH_BYTES (64 << 20)

struct others_params {
    reduce_dims kept, reduced;
    tc_dtype dtype;
    int32_t tangents, states;
    int32_t threads;
    int64_t blocks;
    size_t scratch; /* doubles of a block: states before each element, before and behind each run */
};

/* x and the directions: pointers of the kernel's argument. */
struct others_inputs {
    const void *at[MAX_TANGENTS + 1];
};

static void add_dim(reduce_dims *dims, int64_t size, int64_t stride)
{
    dims->sizes[dims->rank] = strided_divisor_of(size);
    dims->strides[dims->rank++] = stride;
    dims->count *= size;
}

static tc_status prepare_others(tc_prepare *prepare)
{
    others_params *p = static_cast<others_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *x = &prepare->inputs[0].shape;
    bool reduced[TC_MAX_RANK];
    int64_t strides[TC_MAX_RANK];
    reduce_axes(prepare->attrs, x->rank, reduced);
    tc_shape_strides(x, strides);
    p->kept.count = p->reduced.count = 1;
    for (int32_t i = 0; i < x->rank; i++)
        if (x->dims[i].size != 1)
            add_dim(reduced[i] ? &p->reduced : &p->kept, x->dims[i].size, strides[i]);
    p->dtype = prepare->inputs[0].dtype;
    p->tangents = prepare->n_inputs - 1;
    p->states = 1 << p->tangents;
    p->threads = 32;
    while (p->threads < THREADS && p->threads * 8 < p->reduced.count)
        p->threads *= 2;
    size_t elements, bytes;
    if (!strided_is_narrow(p->kept.count) || !strided_is_narrow(p->reduced.count))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "a product of %lld elements is too large",
                              static_cast<long long>(p->reduced.count));
    elements = static_cast<size_t>(p->reduced.count + 2 * p->threads);
    p->scratch = elements * static_cast<size_t>(p->states);
    bytes = p->scratch * sizeof(double);
    p->blocks = bytes < SCRATCH_BYTES ? static_cast<int64_t>(SCRATCH_BYTES / bytes) : 1;
    if (p->blocks > p->kept.count)
        p->blocks = p->kept.count;
    if (p->reduced.count == 0)
        p->blocks = 0;
    prepare->workspace_bytes = static_cast<size_t>(p->blocks) * bytes;
    return TC_OK;
}

/* MOST bounds the tangents: state arrays are registers where it is small. */
template <int MOST> struct polynomial {
    static constexpr int unroll = MOST > 1 ? 1 : 2;
    double at[1 << MOST];

    __device__ __forceinline__ void start()
    {
#pragma unroll unroll
        for (int i = 0; i < 1 << MOST; i++)
            at[i] = i == 0;
    }
    __device__ __forceinline__ void load(const double *from, int states)
    {
#pragma unroll unroll
        for (int i = 0; i < 1 << MOST; i++)
            if (i < states)
                at[i] = from[i];
    }
    __device__ __forceinline__ void store(double *to, int states) const
    {
#pragma unroll unroll
        for (int i = 0; i < 1 << MOST; i++)
            if (i < states)
                to[i] = at[i];
    }
    /* *= x + e1 t1 + ... + em tm, at offset `i` of the inputs. */
    __device__ __forceinline__ void multiply(const others_params &p, const others_inputs &inputs,
                                             int64_t i)
    {
        double factors[MOST + 1];
#pragma unroll unroll
        for (int k = 0; k <= MOST; k++)
            factors[k] = k <= p.tangents ? load_as<double>(inputs.at[k], p.dtype, i) : 0;
#pragma unroll unroll
        for (int set = (1 << MOST) - 1; set >= 0; set--) {
            double sum = at[set] * factors[0];
#pragma unroll unroll
            for (int k = 0; k < MOST; k++)
                if (set >> k & 1)
                    sum += at[set ^ 1 << k] * factors[k + 1];
            at[set] = sum;
        }
    }
    /* *= other: all ways to share out each set of e. */
    __device__ __forceinline__ void multiply(const double *other, int states)
    {
#pragma unroll unroll
        for (int set = (1 << MOST) - 1; set >= 0; set--) {
            double sum = 0;
#pragma unroll unroll
            for (int part = 0; part < 1 << MOST; part++)
                if ((part & set) == part && set < states)
                    sum += at[part] * other[set ^ part];
            at[set] = sum;
        }
    }
};

template <int MOST>
static __global__ void __launch_bounds__(THREADS)
    product_of_others(others_params p, others_inputs inputs, double *scratch, void *y)
{
    const int states = p.states, thread = static_cast<int>(threadIdx.x), threads = p.threads;
    const uint32_t count = static_cast<uint32_t>(p.reduced.count);
    const uint32_t run = (count + threads - 1) / threads, first = thread * run;
    const uint32_t end = first + run < count ? first + run : count;
    double *inside = scratch + blockIdx.x * p.scratch;
    double *before = inside + static_cast<size_t>(count) * states;
    double *behind = before + threads * states;
    polynomial<MOST> state;
#pragma unroll 1
    for (uint32_t group = blockIdx.x; group < p.kept.count; group += gridDim.x) {
        int64_t base = reduce_offset(p.kept, group);
        state.start();
#pragma unroll 1
        for (uint32_t i = first; i < end; i++)
            state.multiply(p, inputs, base + reduce_offset(p.reduced, i));
        state.store(before + thread * states, states);
        state.store(behind + thread * states, states);
        __syncthreads();
        if (thread == 0) {
            state.start();
#pragma unroll 1
            for (int i = 0; i < threads; i++) {
                polynomial<MOST> here;
                here.load(before + i * states, states);
                state.store(before + i * states, states);
                state.multiply(here.at, states);
            }
        }
        if (thread == threads - 1) {
            state.start();
#pragma unroll 1
            for (int i = threads - 1; i >= 0; i--) {
                polynomial<MOST> here;
                here.load(behind + i * states, states);
                state.store(behind + i * states, states);
                state.multiply(here.at, states);
            }
        }
        __syncthreads();
        state.load(before + thread * states, states);
#pragma unroll 1
        for (uint32_t i = first; i < end; i++) {
            state.store(inside + static_cast<size_t>(i) * states, states);
            state.multiply(p, inputs, base + reduce_offset(p.reduced, i));
        }
        state.load(behind + thread * states, states);
#pragma unroll 1
        for (uint32_t i = end; i-- > first;) {
            const double *prefix = inside + static_cast<size_t>(i) * states;
            int64_t at = base + reduce_offset(p.reduced, i);
            double sum = 0;
#pragma unroll polynomial < MOST> ::unroll
            for (int set = 0; set < 1 << MOST; set++)
                if (set < states)
                    sum += prefix[states - 1 - set] * state.at[set];
            store_as(sum, y, p.dtype, at);
            state.multiply(p, inputs, at);
        }
        __syncthreads();
    }
}

template <int MOST>
static tc_status launch_others(const others_params *p, const others_inputs &inputs, void *y,
                               const tc_kernel_context *context)
{
    return tc_cuda_launch(product_of_others<MOST>, dim3(static_cast<unsigned>(p->blocks)),
                          dim3(static_cast<unsigned>(p->threads)), 0, context, *p, inputs,
                          static_cast<double *>(context->workspace), y);
}

static tc_status run_others(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const others_params *p = static_cast<const others_params *>(params);
    others_inputs all = {{NULL}};
    for (int32_t i = 0; i <= p->tangents; i++)
        all.at[i] = inputs[i];
    if (p->tangents == 0)
        return launch_others<0>(p, all, outputs[0], context);
    if (p->tangents == 1)
        return launch_others<1>(p, all, outputs[0], context);
    return launch_others<MAX_TANGENTS>(p, all, outputs[0], context);
}

static const tc_kernel kernels[] = {
    TC_CUDA_KERNEL(reduce_expand, any, prepare_expand, run_expand),
    TC_CUDA_KERNEL(reduce_prod_others, any, prepare_others, run_others),
};

TC_CUDA_TABLE(reduce_grad, kernels);
