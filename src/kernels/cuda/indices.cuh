/* Reading the index inputs of gather and scatter. */
#ifndef TC_KERNELS_CUDA_INDICES_CUH
#define TC_KERNELS_CUDA_INDICES_CUH

#include "kernels/cuda/strided.cuh"

/** A value as slices along an axis, [outer, size, inner], and the indices of slices. */
struct index_params {
    int64_t outer, size, inner; /* in elements */
    int64_t count;              /* of indices */
    int32_t axis;
    bool wide; /* i64, not i32 */
};

static inline void index_params_set(index_params *p, const tc_attrs *attrs, const tc_shape *x,
                                    const tc_value_info *indices)
{
    p->axis = tc_axis_normalize(tc_attrs_int(attrs, "axis"), x->rank);
    p->outer = p->inner = 1;
    for (int32_t i = 0; i < p->axis; i++)
        p->outer *= x->dims[i].size;
    for (int32_t i = p->axis + 1; i < x->rank; i++)
        p->inner *= x->dims[i].size;
    p->size = x->dims[p->axis].size;
    p->count = tc_shape_size(&indices->shape);
    p->wide = indices->dtype == TC_I64;
}

static __device__ __forceinline__ int64_t index_value(const index_params &p, const void *indices,
                                                      int64_t i)
{
    return p.wide ? static_cast<const int64_t *>(indices)[i]
                  : static_cast<const int32_t *>(indices)[i];
}

/** Index i in 0..size-1, negative ones counted from the end; -1 when it is out of range. */
static __device__ __forceinline__ int64_t index_read(const index_params &p, const void *indices,
                                                     int64_t i)
{
    int64_t value = index_value(p, indices, i);
    int64_t place = value < 0 ? value + p.size : value;
    return place < 0 || place >= p.size ? -1 : place;
}

/**
 * The index at position `i` is out of range. The one that is told is the first such one, whichever
 * thread is here first.
 */
static __device__ __forceinline__ void index_fault(const index_params &p, const void *indices,
                                                   int64_t i, tc_run_state *state, int32_t place)
{
    if (atomicCAS(reinterpret_cast<int *>(&state->fault.place), 0, 0) != 0)
        return;
    int64_t first = 0;
    while (first < i && index_read(p, indices, first) >= 0)
        first++;
    tc_cuda_fault(state, place, 0, first, index_value(p, indices, first), 0, 0);
}

/** tc_kernel.fault. */
static inline tc_status index_fail(const index_params *p, const tc_fault *fault)
{
    return tc_kernel_fail(
        TC_INVALID_ARGUMENT, "element %lld of the indices is %lld, but dimension %d has size %lld",
        static_cast<long long>(fault->values[0]), static_cast<long long>(fault->values[1]),
        static_cast<int>(p->axis), static_cast<long long>(p->size));
}

#endif
