/*
 * Launches: arguments are copied when work is put into a stream. No headers of the C++ library, as
 * generated kernels are compiled while tests run.
 */
#ifndef TC_CUDA_HOST_LAUNCH_H
#define TC_CUDA_HOST_LAUNCH_H

#include "cuda_runtime_api.h"

/** `call` runs one thread of `kernel` with `arguments`, which are copied. */
cudaError_t tc_cuda_host_enqueue(const void *kernel, void (*call)(const void *arguments),
                                 const void *arguments, size_t bytes, dim3 grid, dim3 block,
                                 size_t shared_bytes, cudaStream_t stream);

/* Values one behind the other. */
template <typename... P> struct tc_cuda_host_values {
};
template <typename First, typename... Rest> struct tc_cuda_host_values<First, Rest...> {
    First first;
    tc_cuda_host_values<Rest...> rest;
};

/* The type itself, where it is not to be deduced. */
template <typename T> struct tc_cuda_host_exactly {
    typedef T type;
};

template <typename... P> struct tc_cuda_host_arguments {
    void (*kernel)(P...);
    tc_cuda_host_values<P...> values;

    template <typename... Taken> void take(tc_cuda_host_values<>, const Taken &...taken) const
    {
        kernel(taken...);
    }
    template <typename First, typename... Rest, typename... Taken>
    void take(const tc_cuda_host_values<First, Rest...> &v, const Taken &...taken) const
    {
        take(v.rest, taken..., v.first);
    }
    static void call(const void *packed)
    {
        const auto *a = static_cast<const tc_cuda_host_arguments *>(packed);
        a->take(a->values);
    }

    static void fill(tc_cuda_host_values<> *)
    {
    }
    template <typename First, typename... Rest>
    static void fill(tc_cuda_host_values<First, Rest...> *v, const First &first,
                     const Rest &...rest)
    {
        __builtin_memcpy(&v->first, &first, sizeof first);
        fill(&v->rest, rest...);
    }
    static void fill_from(tc_cuda_host_values<> *, void **)
    {
    }
    template <typename First, typename... Rest>
    static void fill_from(tc_cuda_host_values<First, Rest...> *v, void **from)
    {
        __builtin_memcpy(&v->first, *from, sizeof v->first);
        fill_from(&v->rest, from + 1);
    }
};

/** kernel<<<grid, block, shared_bytes, stream>>>(arguments...) */
template <typename... P>
static inline cudaError_t tc_cuda_host_launch(void (*kernel)(P...), dim3 grid, dim3 block,
                                              size_t shared_bytes, cudaStream_t stream,
                                              typename tc_cuda_host_exactly<P>::type... arguments)
{
    typedef tc_cuda_host_arguments<P...> packed;
    alignas(packed) char memory[sizeof(packed)];
    packed *p = reinterpret_cast<packed *>(memory);
    p->kernel = kernel;
    packed::fill(&p->values, arguments...);
    return tc_cuda_host_enqueue(reinterpret_cast<const void *>(kernel), packed::call, p, sizeof *p,
                                grid, block, shared_bytes, stream);
}

/** As cudaLaunchKernel of CUDA, for kernels that the program holds itself. */
template <typename... P>
static inline cudaError_t cudaLaunchKernel(void (*kernel)(P...), dim3 grid, dim3 block,
                                           void **arguments, size_t shared_bytes = 0,
                                           cudaStream_t stream = 0)
{
    typedef tc_cuda_host_arguments<P...> packed;
    alignas(packed) char memory[sizeof(packed)];
    packed *p = reinterpret_cast<packed *>(memory);
    p->kernel = kernel;
    packed::fill_from(&p->values, arguments);
    return tc_cuda_host_enqueue(reinterpret_cast<const void *>(kernel), packed::call, p, sizeof *p,
                                grid, block, shared_bytes, stream);
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
