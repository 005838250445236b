/* Elements that follow from their index: constants, ranges, unit vectors, the causal mask. */
#include "kernels/cuda/convert.cuh"

/*
 * Constants
 */
struct fill_params {
    int64_t bytes;
    uint64_t pattern; /* 8 bytes of elements */
};

static __global__ void __launch_bounds__(TC_THREADS)
    fill(uint64_t pattern, unsigned char *y, int64_t bytes, int64_t groups)
{
    tc_vector<uint64_t, 2> both = {{pattern, pattern}};
    int64_t stride = tc_thread_count();
    for (int64_t i = tc_thread_index(); i < groups; i += stride)
        reinterpret_cast<tc_vector<uint64_t, 2> *>(y)[i] = both;
    for (int64_t i = groups * 16 + tc_thread_index(); i < bytes; i += stride)
        y[i] = static_cast<unsigned char>(pattern >> i % 8 * 8);
}

static tc_status prepare_filled(tc_prepare *prepare, double value)
{
    fill_params *p = static_cast<fill_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = prepare->outputs[0].dtype;
    size_t size = tc_dtype_size(dtype);
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, value);
    for (size_t at = 0; at < sizeof p->pattern; at += size)
        memcpy(reinterpret_cast<char *>(&p->pattern) + at, &element, size);
    p->bytes = tc_shape_size(&prepare->outputs[0].shape) * static_cast<int64_t>(size);
    return TC_OK;
}

static tc_status prepare_fill(tc_prepare *prepare)
{
    return prepare_filled(prepare, tc_attrs_float(prepare->attrs, "value"));
}

static tc_status prepare_zeros(tc_prepare *prepare)
{
    return prepare_filled(prepare, 0);
}

static tc_status prepare_ones(tc_prepare *prepare)
{
    return prepare_filled(prepare, 1);
}

static tc_status prepare_mode(tc_prepare *prepare)
{
    return prepare_filled(prepare,
                          strcmp(tc_attrs_string(prepare->attrs, "mode"), "training") == 0);
}

static tc_status run_fill(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    (void)inputs;
    const fill_params *p = static_cast<const fill_params *>(params);
    int64_t groups = tc_aligned(outputs[0], NULL) ? p->bytes / 16 : 0;
    return tc_cuda_launch(fill, tc_grid(p->bytes, groups, 16), dim3(TC_THREADS), 0, context,
                          p->pattern, static_cast<unsigned char *>(outputs[0]), p->bytes, groups);
}

/*
 * Ranges
 */
struct range_params {
    int64_t count;
    double start, step;
    tc_storage storage;
};

static __global__ void __launch_bounds__(TC_THREADS) range(range_params p, void *y)
{
    for (int64_t i = tc_thread_index(); i < p.count; i += tc_thread_count()) {
        /* Each operation rounded, as on the CPU. */
        double value[1] = {__dadd_rn(p.start, __dmul_rn(static_cast<double>(i), p.step))};
        tc_write(y, i, p.storage.size, tc_convert(p.storage.dtype, value));
    }
}

static tc_status prepare_range(tc_prepare *prepare)
{
    range_params *p = static_cast<range_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->count = tc_shape_size(&prepare->outputs[0].shape);
    p->start = tc_attrs_float(prepare->attrs, "start");
    p->step = tc_attrs_float(prepare->attrs, "step");
    p->storage = tc_storage_of(prepare->outputs[0].dtype);
    return TC_OK;
}

static tc_status run_range(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    (void)inputs;
    const range_params *p = static_cast<const range_params *>(params);
    return tc_cuda_launch(range, tc_grid(p->count, 0, 1), dim3(TC_THREADS), 0, context, *p,
                          outputs[0]);
}

/*
 * Unit vectors
 */
struct one_hot_params {
    int64_t count;
    tc_divisor row, inner; /* elements of an outer place, and of one place along the new axis */
    int64_t depth;
    uint64_t on, off; /* one element each */
    int32_t size;
    int32_t wide; /* i64, not i32 */
};

/* Groups from element `first` on. */
template <int V>
static __device__ __forceinline__ void one_hot_loop(const one_hot_params &p, const void *indices,
                                                    void *y, int64_t first, int64_t groups)
{
    typedef int64_t C;
    for (int64_t g = tc_thread_index(); g < groups; g += tc_thread_count()) {
        int64_t at = first + g * V;
        int64_t outer = tc_divide(at, p.row), rest = at - outer * p.row.size;
        int64_t place = tc_divide(rest, p.inner), column = rest - place * p.inner.size;
        tc_raw<C, V> raw = {};
        uint64_t values[V];
        TC_EACH_OF(V)
        {
            int64_t k = outer * p.inner.size + column;
            int64_t index = p.wide ? static_cast<const int64_t *>(indices)[k]
                                   : static_cast<const int32_t *>(indices)[k];
            values[i] = (index < 0 ? index + p.depth : index) == place ? p.on : p.off;
            if (++column == p.inner.size) {
                column = 0;
                if (++place == p.depth) {
                    place = 0;
                    outer++;
                }
            }
        }
        TC_BY_SIZE(tc_reads, p.size, TC_EACH_OF(V) tc_pack(raw, i, static_cast<T>(values[i]));)
        tc_write(y, at, p.size, raw);
    }
}

#define ONE_HOT_WIDTH 4

static __global__ void __launch_bounds__(TC_THREADS)
    one_hot(const __grid_constant__ one_hot_params p, const void *indices, void *y, int64_t groups)
{
    one_hot_loop<ONE_HOT_WIDTH>(p, indices, y, 0, groups);
    one_hot_loop<1>(p, indices, y, groups * ONE_HOT_WIDTH, p.count - groups * ONE_HOT_WIDTH);
}

static tc_status prepare_one_hot(tc_prepare *prepare)
{
    one_hot_params *p = static_cast<one_hot_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *y = &prepare->outputs[0].shape;
    tc_dtype dtype = prepare->outputs[0].dtype;
    int axis = tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), y->rank);
    int64_t inner = 1;
    for (int i = axis + 1; i < y->rank; i++)
        inner *= y->dims[i].size;
    p->count = tc_shape_size(y);
    p->depth = y->dims[axis].size;
    p->size = static_cast<int32_t>(tc_dtype_size(dtype));
    p->wide = prepare->inputs[0].dtype == TC_I64;
    tc_dtype_store(dtype, &p->on, tc_attrs_float(prepare->attrs, "on"));
    tc_dtype_store(dtype, &p->off, tc_attrs_float(prepare->attrs, "off"));
    if (p->count > 0) {
        p->row = tc_divisor_of(p->depth * inner);
        p->inner = tc_divisor_of(inner);
    }
    return TC_OK;
}

static tc_status run_one_hot(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    const one_hot_params *p = static_cast<const one_hot_params *>(params);
    int64_t groups = tc_aligned(outputs[0], NULL) ? p->count / ONE_HOT_WIDTH : 0;
    return tc_cuda_launch(one_hot, tc_grid(p->count, groups, ONE_HOT_WIDTH), dim3(TC_THREADS), 0,
                          context, *p, inputs[0], outputs[0], groups);
}

/*
 * Causal mask
 */
struct causal_params {
    int64_t count;
    tc_divisor n_k;
    int64_t ahead; /* keys that the first query sees */
};

/* Groups from element `first` on. */
template <int V>
static __device__ __forceinline__ void causal_loop(const causal_params &p, void *y, int64_t first,
                                                   int64_t groups)
{
    for (int64_t g = tc_thread_index(); g < groups; g += tc_thread_count()) {
        int64_t at = first + g * V;
        int64_t row = tc_divide(at, p.n_k), column = at - row * p.n_k.size;
        tc_raw<int64_t, V> raw = {};
        TC_EACH_OF(V)
        {
            tc_pack(raw, i, static_cast<uint8_t>(column < row + p.ahead));
            if (++column == p.n_k.size) {
                column = 0;
                row++;
            }
        }
        tc_write(y, at, 1, raw);
    }
}

#define CAUSAL_WIDTH 16

static __global__ void __launch_bounds__(TC_THREADS)
    causal(causal_params p, void *y, int64_t groups)
{
    causal_loop<CAUSAL_WIDTH>(p, y, 0, groups);
    causal_loop<1>(p, y, groups * CAUSAL_WIDTH, p.count - groups * CAUSAL_WIDTH);
}

static tc_status prepare_causal(tc_prepare *prepare)
{
    causal_params *p = static_cast<causal_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    const tc_shape *y = &prepare->outputs[0].shape;
    p->count = tc_shape_size(y);
    p->ahead = y->dims[1].size - y->dims[0].size + 1;
    if (p->count > 0)
        p->n_k = tc_divisor_of(y->dims[1].size);
    return TC_OK;
}

static tc_status run_causal(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    (void)inputs;
    const causal_params *p = static_cast<const causal_params *>(params);
    int64_t groups = tc_aligned(outputs[0], NULL) ? p->count / CAUSAL_WIDTH : 0;
    return tc_cuda_launch(causal, tc_grid(p->count, groups, CAUSAL_WIDTH), dim3(TC_THREADS), 0,
                          context, *p, outputs[0], groups);
}

static tc_status run_nothing(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    (void)params, (void)inputs, (void)outputs, (void)context;
    return TC_OK;
}

static const tc_kernel kernels[] = {
    TC_CUDA_KERNEL(fill, any, prepare_fill, run_fill),
    TC_CUDA_KERNEL(zeros_like, any, prepare_zeros, run_fill),
    TC_CUDA_KERNEL(ones_like, any, prepare_ones, run_fill),
    TC_CUDA_KERNEL(is_training, any, prepare_mode, run_fill),
    TC_CUDA_KERNEL(range, any, prepare_range, run_range),
    TC_CUDA_KERNEL(one_hot, any, prepare_one_hot, run_one_hot),
    TC_CUDA_KERNEL(causal_mask, any, prepare_causal, run_causal),
    TC_CUDA_KERNEL(no_op, any, NULL, run_nothing),
};

TC_CUDA_TABLE(source, kernels);
