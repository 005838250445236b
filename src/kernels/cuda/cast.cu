/* Conversion between element types: one kernel for each type that elements come in. */
#include "kernels/cuda/convert.cuh"

/* Groups from element `first` on. */
template <typename C, int V>
static __device__ __forceinline__ void cast_loop(tc_storage from, tc_storage to, const void *x,
                                                 void *y, int64_t first, int64_t groups)
{
    tc_each(
        groups, [=](int64_t i) { return tc_read<C, V>(x, first + i * V, from.size); },
        [=](int64_t i, const tc_raw<C, V> &raw) {
            C numbers[V];
            tc_decode(from.dtype, raw, numbers);
            tc_write(y, first + i * V, to.size, tc_convert(to.dtype, numbers));
        });
}

template <typename C>
static __global__ void __launch_bounds__(TC_THREADS)
    cast(tc_storage from, tc_storage to, const void *x, void *y, int64_t count, int64_t groups)
{
    constexpr int V = tc_width<C>;
    if constexpr (V > 1)
        cast_loop<C, V>(from, to, x, y, 0, groups);
    cast_loop<C, 1>(from, to, x, y, groups * V, count - groups * V);
}

struct cast_params {
    int64_t count;
    tc_storage from, to;
};

static tc_status prepare(tc_prepare *prepare)
{
    cast_params *p = static_cast<cast_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->count = tc_shape_size(&prepare->outputs[0].shape);
    p->from = tc_storage_of(prepare->inputs[0].dtype);
    p->to = tc_storage_of(prepare->outputs[0].dtype);
    return TC_OK;
}

template <typename C>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const cast_params *p = static_cast<const cast_params *>(params);
    constexpr int V = tc_width<C>;
    int64_t groups = V > 1 && tc_aligned(inputs[0], outputs[0]) ? p->count / V : 0;
    return tc_cuda_launch(cast<C>, tc_grid(p->count, groups, V), dim3(TC_THREADS), 0, context,
                          p->from, p->to, inputs[0], outputs[0], p->count, groups);
}

#define ENTRY(op, tag, C) TC_CUDA_KERNEL(op, tag, prepare, run<C>)

static const tc_kernel kernels[] = {TC_NUMBERS(ENTRY, cast), TC_BOOLS(ENTRY, cast)};

TC_CUDA_TABLE(cast, kernels);
