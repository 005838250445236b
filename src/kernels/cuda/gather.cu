/* Slices at indices. */
#include "kernels/cuda/indices.cuh"

#define THREADS 256

struct gather_params {
    index_params index;
    int64_t run; /* bytes of one slice */
};

static tc_status prepare_gather(tc_prepare *prepare)
{
    gather_params *p = static_cast<gather_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    index_params_set(&p->index, prepare->attrs, &prepare->inputs[0].shape, &prepare->inputs[1]);
    p->run = p->index.inner * static_cast<int64_t>(tc_dtype_size(prepare->inputs[0].dtype));
    return TC_OK;
}

/* Where there is nothing to copy the indices are checked all the same. */
static __global__ void __launch_bounds__(THREADS)
    check_indices(index_params p, const void *indices, tc_run_state *state, int32_t place)
{
    int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS;
#pragma unroll 1
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < p.count;
         i += stride)
        if (index_read(p, indices, i) < 0)
            index_fault(p, indices, i, state, place);
}

/* y is [outer, count, run] units of U. */
template <typename U>
static __global__ void __launch_bounds__(THREADS)
    gather(index_params p, strided_divisor run, strided_divisor count, int64_t total,
           const void *__restrict__ indices, const U *__restrict__ x, U *__restrict__ y,
           tc_run_state *state, int32_t place)
{
    int64_t stride = static_cast<int64_t>(gridDim.x) * THREADS;
#pragma unroll 1
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; i < total;
         i += stride) {
        int64_t slice = strided_quotient(i, run), unit = i - slice * run.by;
        int64_t outer = strided_quotient(slice, count), k = slice - outer * count.by;
        int64_t index = index_read(p, indices, k);
        /* After a fault what follows still runs, and must find something. */
        y[i] = index >= 0 ? x[(outer * p.size + index) * run.by + unit] : U();
        if (index < 0 && unit == 0 && outer == 0)
            index_fault(p, indices, k, state, place);
    }
}

template <typename U>
static tc_status launch(const gather_params *p, const void *x, const void *indices, void *y,
                        const tc_kernel_context *context)
{
    int64_t run = p->run / static_cast<int64_t>(sizeof(U)), total = p->index.outer * p->index.count;
    total *= run;
    return tc_cuda_launch(
        gather<U>, dim3(tc_cuda_blocks(total, THREADS, TC_CUDA_MOST_BLOCKS)), dim3(THREADS), 0,
        context, p->index, strided_divisor_of(run), strided_divisor_of(p->index.count), total,
        indices, static_cast<const U *>(x), static_cast<U *>(y), context->state, context->place);
}

static tc_status run_gather(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const gather_params *p = static_cast<const gather_params *>(params);
    if (p->run == 0 || p->index.outer == 0)
        return tc_cuda_launch(
            check_indices, dim3(tc_cuda_blocks(p->index.count, THREADS, TC_CUDA_MOST_BLOCKS)),
            dim3(THREADS), 0, context, p->index, inputs[1], context->state, context->place);
    uintptr_t bits = reinterpret_cast<uintptr_t>(inputs[0]) |
                     reinterpret_cast<uintptr_t>(outputs[0]) | static_cast<uintptr_t>(p->run) | 16;
    switch (bits & (0 - bits)) {
    case 1: return launch<uint8_t>(p, inputs[0], inputs[1], outputs[0], context);
    case 2: return launch<uint16_t>(p, inputs[0], inputs[1], outputs[0], context);
    case 4: return launch<uint32_t>(p, inputs[0], inputs[1], outputs[0], context);
    case 8: return launch<uint64_t>(p, inputs[0], inputs[1], outputs[0], context);
    default: return launch<uint4>(p, inputs[0], inputs[1], outputs[0], context);
    }
}

static tc_status fault_gather(const void *params, const tc_fault *fault)
{
    return index_fail(&static_cast<const gather_params *>(params)->index, fault);
}

static const tc_kernel kernels[] = {
    TC_CUDA_FAULTY_KERNEL(gather, any, prepare_gather, run_gather, fault_gather),
};

TC_CUDA_TABLE(gather, kernels);
