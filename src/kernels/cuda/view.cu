/* Operators that keep elements and order, which only copy when the plan could not share memory. */
#include "kernels/cuda/cuda.cuh"

static tc_status prepare_copy(tc_prepare *prepare)
{
    int64_t *bytes = static_cast<int64_t *>(tc_prepare_params(prepare, sizeof *bytes));
    if (!bytes)
        return TC_RESOURCE_EXHAUSTED;
    *bytes = tc_shape_size(&prepare->outputs[0].shape) *
             static_cast<int64_t>(tc_dtype_size(prepare->outputs[0].dtype));
    return TC_OK;
}

static tc_status run_copy(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    int64_t bytes = *static_cast<const int64_t *>(params);
    if (bytes == 0 || inputs[0] == outputs[0])
        return TC_OK;
    return tc_cuda_check(cudaMemcpyAsync(outputs[0], inputs[0], static_cast<size_t>(bytes),
                                         cudaMemcpyDeviceToDevice, context->queue->stream),
                         "copying");
}

static const tc_kernel kernels[] = {
    TC_CUDA_KERNEL(reshape, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(reshape_like, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(flatten, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(squeeze, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(unsqueeze, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(identity, any, prepare_copy, run_copy),
    TC_CUDA_KERNEL(stop_gradient, any, prepare_copy, run_copy),
};

TC_CUDA_TABLE(view, kernels);
