/*
 * Part of the plug-in: its kernels, each of which may touch nothing but the operands of its node.
 * The arena of a plan is one allocation, in which an index that is too large by one would go
 * unseen. Their outputs and workspace count as never written before they run.
 *
 * A kernel's functions are not told which kernel they belong to, so each has functions of its own,
 * by its number; what prepare leaves is put behind a header that has the sizes of the operands.
 */
#include <utility>
#include <vector>

#include "cuda_host.h"
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/host.h"

namespace
{

constexpr int most_kernels = 2048;
constexpr size_t alignment = 64;

const tc_kernel *originals[most_kernels];
tc_kernel bounded[most_kernels];
int n_kernels;
tc_host host; /* of the library, but for prepare_params */
const tc_host *host_of_library;

struct header {
    size_t bytes; /* of the header with the sizes behind it */
    size_t workspace;
    size_t pack;
    int32_t n_inputs, n_outputs;
    size_t sizes[1]; /* of the inputs, then the outputs */
};

size_t header_bytes(const tc_prepare *p)
{
    size_t bytes =
        sizeof(header) + static_cast<size_t>(p->n_inputs + p->n_outputs) * sizeof(size_t);
    return (bytes + alignment - 1) / alignment * alignment;
}

/* What the prepare that this thread is in has asked for. */
thread_local header *prepared;

void *prepare_params(tc_prepare *p, size_t size)
{
    size_t bytes = header_bytes(p);
    char *memory = static_cast<char *>(host_of_library->prepare_params(p, bytes + size));
    prepared = reinterpret_cast<header *>(memory);
    return memory ? memory + bytes : nullptr;
}

size_t size_of(const tc_value_info *info)
{
    if (info->dtype == TC_DTYPE_INVALID)
        return 0;
    int64_t elements = tc_shape_size(&info->shape);
    return elements > 0 ? static_cast<size_t>(elements) * tc_dtype_size(info->dtype) : 0;
}

tc_status prepare(const tc_kernel *kernel, tc_prepare *p)
{
    prepared = nullptr;
    if (kernel->prepare)
        TC_TRY(kernel->prepare(p));
    if (!prepared && !prepare_params(p, 0))
        return TC_RESOURCE_EXHAUSTED;
    header *h = prepared;
    h->bytes = header_bytes(p);
    h->workspace = p->workspace_bytes;
    h->pack = p->pack_bytes;
    h->n_inputs = p->n_inputs;
    h->n_outputs = p->n_outputs;
    for (int32_t i = 0; i < p->n_inputs; i++)
        h->sizes[i] = size_of(&p->inputs[i]);
    for (int32_t i = 0; i < p->n_outputs; i++)
        h->sizes[p->n_inputs + i] = size_of(&p->outputs[i]);
    return TC_OK;
}

const void *params_of(const void *params)
{
    return static_cast<const char *>(params) + static_cast<const header *>(params)->bytes;
}

bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const char *x = static_cast<const char *>(a), *y = static_cast<const char *>(b);
    return x && y && x < y + b_bytes && y < x + a_bytes;
}

/* An output that shares memory with an input keeps what is there. */
bool is_fresh(const header *h, int32_t output, const void *const *inputs, void *const *outputs)
{
    for (int32_t i = 0; i < h->n_inputs; i++)
        if (overlap(outputs[output], h->sizes[h->n_inputs + output], inputs[i], h->sizes[i]))
            return false;
    return true;
}

tc_status run(const tc_kernel *kernel, const void *params, const void *const *inputs,
              void *const *outputs, const tc_kernel_context *context)
{
    const header *h = static_cast<const header *>(params);
    cudaStream_t stream = context->queue->stream;
    std::vector<tc_cuda_host_bound> bounds;
    auto add = [&](const void *address, size_t bytes, bool writable, const char *what, int index) {
        if (address && bytes)
            bounds.push_back({address, bytes, writable, what, index});
    };
    /* Outputs before inputs, as an input that an output overwrites may be written. */
    for (int32_t i = 0; i < h->n_outputs; i++)
        add(outputs[i], h->sizes[h->n_inputs + i], true, "output", i);
    for (int32_t i = 0; i < h->n_inputs; i++)
        add(inputs[i], h->sizes[i], false, "input", i);
    add(context->workspace, h->workspace, true, "workspace", 0);
    add(context->packed, h->pack, false, "packed input", 0);
    add(context->state, sizeof *context->state, true, "run state", 0);
    if (context->extents)
        add(context->extents,
            sizeof *context->extents * TC_MAX_RANK * static_cast<size_t>(h->n_outputs), true,
            "extents", 0);
    cudaError_t error = cudaSuccess;
    for (int32_t i = 0; i < h->n_outputs && error == cudaSuccess; i++)
        if (outputs[i] && !context->extents && is_fresh(h, i, inputs, outputs))
            error = tc_cuda_host_forget(outputs[i], h->sizes[h->n_inputs + i], stream);
    if (context->workspace && error == cudaSuccess)
        error = tc_cuda_host_forget(context->workspace, h->workspace, stream);
    TC_TRY(tc_cuda_check(error, "launch"));
    if (context->state)
        tc_cuda_host_excuse(&context->state->fault.place);
    tc_cuda_host_set_bounds(bounds.data(), bounds.size());
    tc_status status = kernel->run(params_of(params), inputs, outputs, context);
    tc_cuda_host_set_bounds(nullptr, 0);
    return status;
}

template <int number> struct functions {
    static tc_status prepare_it(tc_prepare *p)
    {
        return prepare(originals[number], p);
    }
    static tc_status run_it(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
    {
        return run(originals[number], params, inputs, outputs, context);
    }
    static void pack_it(const void *params, const void *weights, void *blob)
    {
        originals[number]->pack(params_of(params), weights, blob);
    }
    static tc_status fault_it(const void *params, const tc_fault *fault)
    {
        return originals[number]->fault(params_of(params), fault);
    }
    static void fill(tc_kernel *kernel)
    {
        kernel->prepare = prepare_it;
        kernel->run = run_it;
        kernel->pack = kernel->pack ? pack_it : nullptr;
        kernel->fault = kernel->fault ? fault_it : nullptr;
    }
};

template <int... numbers> void fill(int number, std::integer_sequence<int, numbers...>)
{
    static void (*const table[])(tc_kernel *) = {functions<numbers>::fill...};
    table[number](&bounded[number]);
}

} // namespace

const tc_kernel *tc_cuda_host_bounded(const tc_kernel *kernel)
{
    if (tc_cuda_host != &host) {
        host_of_library = tc_cuda_host;
        host = *tc_cuda_host;
        host.prepare_params = prepare_params;
        tc_cuda_host = &host;
    }
    for (int i = 0; i < n_kernels; i++)
        if (originals[i] == kernel)
            return &bounded[i];
    if (n_kernels == most_kernels)
        return kernel;
    originals[n_kernels] = kernel;
    bounded[n_kernels] = *kernel;
    fill(n_kernels, std::make_integer_sequence<int, most_kernels>());
    return &bounded[n_kernels++];
}
