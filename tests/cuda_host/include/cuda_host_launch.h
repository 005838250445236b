/* Launches: arguments are copied when work is put into a stream. */
#ifndef TC_CUDA_HOST_LAUNCH_H
#define TC_CUDA_HOST_LAUNCH_H

#include <stdint.h>

#include <memory>
#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"

/** A kernel with its arguments, ready to be called by every thread. */
struct tc_cuda_host_call {
    const void *kernel;                    /* for its name in reports */
    void (*call)(const void *arguments);   /* runs one thread */
    std::shared_ptr<const void> arguments; /* kernels may read these bytes */
    size_t argument_bytes;
};

cudaError_t tc_cuda_host_enqueue(const tc_cuda_host_call &call, dim3 grid, dim3 block,
                                 size_t shared_bytes, cudaStream_t stream);

template <typename... P> struct tc_cuda_host_arguments {
    void (*kernel)(P...);
    std::tuple<P...> values;
    static void call(const void *packed)
    {
        const auto *a = static_cast<const tc_cuda_host_arguments *>(packed);
        std::apply(a->kernel, a->values);
    }
};

/** kernel<<<grid, block, shared_bytes, stream>>>(arguments...) */
template <typename... P>
static inline cudaError_t tc_cuda_host_launch(void (*kernel)(P...), dim3 grid, dim3 block,
                                              size_t shared_bytes, cudaStream_t stream,
                                              std::type_identity_t<P>... arguments)
{
    typedef tc_cuda_host_arguments<P...> packed;
    return tc_cuda_host_enqueue(
        {reinterpret_cast<const void *>(kernel), packed::call,
         std::make_shared<packed>(packed{kernel, std::tuple<P...>(arguments...)}), sizeof(packed)},
        grid, block, shared_bytes, stream);
}

/** As cudaLaunchKernel of CUDA, for kernels that the program holds itself. */
template <typename... P>
static inline cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block,
                                           void **arguments, size_t shared_bytes = 0,
                                           cudaStream_t stream = 0)
{
    return [&]<size_t... i>(std::index_sequence<i...>)
    {
        return tc_cuda_host_launch(kernel, grid, block, shared_bytes, stream,
                                   *static_cast<std::remove_cv_t<P> *>(arguments[i])...);
    }
    (std::index_sequence_for<P...>());
}

/*
 * Kernels of libraries, which are found by name: TC_CUDA_HOST_KERNEL(name) exports how to launch
 * one from pointers to its arguments.
 */
typedef cudaError_t (*tc_cuda_host_launcher)(void **arguments, dim3 grid, dim3 block,
                                             size_t shared_bytes, cudaStream_t stream);

#define TC_CUDA_HOST_KERNEL(name)                                                             \
    extern "C" __attribute__((visibility("default"))) cudaError_t tc_cuda_host_kernel_##name( \
        void **arguments, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream)    \
    {                                                                                         \
        return cudaLaunchKernel(name, grid, block, arguments, shared_bytes, stream);          \
    }

#endif
