/* Functions of one input. One kernel for each type that is computed in holds all of them. */
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/math.cuh"

/* Groups from element `first` on. */
template <typename C, int V>
static __device__ __forceinline__ void unary_loop(int code, tc_storage storage, const void *x,
                                                  void *y, int64_t first, int64_t groups)
{
    tc_each(
        groups, [=](int64_t i) { return tc_read<C, V>(x, first + i * V, storage.size); },
        [=](int64_t i, const tc_raw<C, V> &raw) {
            C numbers[V];
            tc_decode(storage.dtype, raw, numbers);
            tc_math_unary(code, numbers);
            tc_write(y, first + i * V, storage.size, tc_encode(storage, numbers));
        });
}

template <typename C>
static __global__ void __launch_bounds__(TC_THREADS)
    unary(int code, tc_storage storage, const void *x, void *y, int64_t count, int64_t groups)
{
    constexpr int V = tc_width<C>;
    if constexpr (V > 1)
        unary_loop<C, V>(code, storage, x, y, 0, groups);
    unary_loop<C, 1>(code, storage, x, y, groups * V, count - groups * V);
}

struct unary_params {
    int64_t count;
    int32_t code;
    tc_storage storage;
};

static tc_status prepare(tc_prepare *prepare)
{
    unary_params *p = static_cast<unary_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->count = tc_shape_size(&prepare->outputs[0].shape);
    p->code = tc_fused_code_of(prepare->attrs); /* of gelu it depends on an attribute */
    p->storage = tc_storage_of(prepare->outputs[0].dtype);
    return TC_OK;
}

template <typename C>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const unary_params *p = static_cast<const unary_params *>(params);
    constexpr int V = tc_width<C>;
    int64_t groups = V > 1 && tc_aligned(inputs[0], outputs[0]) ? p->count / V : 0;
    return tc_cuda_launch(unary<C>, tc_grid(p->count, groups, V), dim3(TC_THREADS), 0, context,
                          p->code, p->storage, inputs[0], outputs[0], p->count, groups);
}

#define ENTRY(op, tag, C) TC_CUDA_KERNEL(op, tag, prepare, run<C>)

static const tc_kernel kernels[] = {
    TC_FLOATS(ENTRY, exp),        TC_FLOATS(ENTRY, log),        TC_FLOATS(ENTRY, sqrt),
    TC_FLOATS(ENTRY, rsqrt),      TC_FLOATS(ENTRY, sigmoid),    TC_FLOATS(ENTRY, tanh),
    TC_FLOATS(ENTRY, erf),        TC_FLOATS(ENTRY, floor),      TC_FLOATS(ENTRY, ceil),
    TC_FLOATS(ENTRY, gelu),       TC_FLOATS(ENTRY, reciprocal), TC_FLOATS(ENTRY, neg),
    TC_SIGNEDS(ENTRY, neg),       TC_FLOATS(ENTRY, relu),       TC_SIGNEDS(ENTRY, relu),
    TC_NUMBERS(ENTRY, abs),       TC_NUMBERS(ENTRY, square),    TC_NUMBERS(ENTRY, sign),
    TC_BOOLS(ENTRY, logical_not),
};

TC_CUDA_TABLE(unary, kernels);
