/*
 * What follows a product on each of its elements (matmul_fused, conv2d_fused):
 *     y = activation(alpha * scale * x + bias + residual)
 * scale and bias have an element per channel: column of a matrix, filter of a convolution. The
 * operations are rounded one after the other, as on the CPU.
 */
#ifndef TC_KERNELS_CUDA_EPILOGUE_CUH
#define TC_KERNELS_CUDA_EPILOGUE_CUH

#include "kernels/cuda/cuda.cuh"

/** In the order of the choices of the attribute "activation". */
enum tc_cuda_activation {
    TC_CUDA_NONE,
    TC_CUDA_RELU,
    TC_CUDA_SIGMOID,
    TC_CUDA_TANH,
    TC_CUDA_GELU,
    TC_CUDA_GELU_TANH
};

/** Decided in prepare; plain data. Zeroed but for alpha = 1: nothing follows. */
struct tc_cuda_epilogue {
    double alpha;
    tc_cuda_activation activation;
    bool scale, bias, residual; /* which are given */
    bool wide;                  /* scale and bias are f32 beside a result of 16 bits */
};

/** The same with the buffers of one run; NULL for what is not given. Passed to kernels. */
struct tc_cuda_finish {
    double alpha;
    const void *scale, *bias; /* float when `wide`, else as the result */
    const void *residual;     /* as the result, which may lie in its memory */
    tc_cuda_activation activation;
    bool wide;
};

enum { TC_CUDA_SCALE = 2, TC_CUDA_BIAS, TC_CUDA_RESIDUAL }; /* inputs of the operators */

/** Reads the attributes and inputs of a node; nothing follows an operator without "activation". */
static inline tc_cuda_epilogue tc_cuda_epilogue_read(const tc_prepare *prepare)
{
    static const char *const words[] = {"none", "relu", "sigmoid", "tanh", "gelu", "gelu_tanh"};
    tc_cuda_epilogue e = {1, TC_CUDA_NONE, false, false, false, false};
    if (!tc_attrs_get(prepare->attrs, "activation"))
        return e;
    const char *word = tc_attrs_string(prepare->attrs, "activation");
    int activation = 0;
    while (strcmp(words[activation], word) != 0) /* the attribute has no other values */
        activation++;
    e.activation = static_cast<tc_cuda_activation>(activation);
    e.alpha = tc_attrs_float(prepare->attrs, "alpha");
    bool given[TC_CUDA_RESIDUAL + 1] = {};
    for (int32_t i = TC_CUDA_SCALE; i <= TC_CUDA_RESIDUAL && i < prepare->n_inputs; i++)
        given[i] = prepare->inputs[i].dtype != TC_DTYPE_INVALID;
    e.scale = given[TC_CUDA_SCALE];
    e.bias = given[TC_CUDA_BIAS];
    e.residual = given[TC_CUDA_RESIDUAL];
    if (e.scale || e.bias) /* they have one dtype */
        e.wide = prepare->inputs[e.scale ? TC_CUDA_SCALE : TC_CUDA_BIAS].dtype == TC_F32 &&
                 prepare->outputs[0].dtype != TC_F32;
    return e;
}

static inline tc_cuda_finish tc_cuda_epilogue_bind(const tc_cuda_epilogue *e,
                                                   const void *const *inputs)
{
    return tc_cuda_finish{e->alpha,
                          e->scale ? inputs[TC_CUDA_SCALE] : NULL,
                          e->bias ? inputs[TC_CUDA_BIAS] : NULL,
                          e->residual ? inputs[TC_CUDA_RESIDUAL] : NULL,
                          e->activation,
                          e->wide};
}

/* The functions that take many instructions: kept in one place, as a thread has many elements. */
template <typename C> static __device__ __attribute__((noinline)) C tc_cuda_curve(int32_t f, C x)
{
    const C half = static_cast<C>(0.5), one = 1;
    switch (f) {
    case TC_CUDA_SIGMOID: return one / (one + exp(-x));
    case TC_CUDA_TANH: return tanh(x);
    case TC_CUDA_GELU: return half * x * erfc(x * static_cast<C>(-0.70710678118654752440));
    case TC_CUDA_GELU_TANH: {
        C cube = static_cast<C>(0.044715) * x * x * x;
        return half * x * (one + tanh(static_cast<C>(0.79788456080286535588) * (x + cube)));
    }
    default: return x;
    }
}

/** f(x), in float or double. */
template <typename C>
static __device__ __forceinline__ C tc_cuda_activate(tc_cuda_activation f, C x)
{
    if (f == TC_CUDA_RELU)
        return x < 0 ? static_cast<C>(0) : x; /* NaN stays */
    return f == TC_CUDA_NONE ? x : tc_cuda_curve(static_cast<int32_t>(f), x);
}

/** Element `channel` of scale or bias. */
template <typename T>
static __device__ __forceinline__ typename tc_compute<T>::type tc_cuda_of_channel(
    const void *vector, bool wide, int64_t channel)
{
    if (wide)
        return static_cast<const float *>(vector)[channel];
    return tc_load(static_cast<const T *>(vector)[channel]);
}

/** An element of the result, in `channel`, from element x of the product; `residual` counts where
 * one is given. Nothing ever follows a product of integers. */
template <typename T>
static __device__ __forceinline__ typename tc_compute<T>::type tc_cuda_finish_element(
    const tc_cuda_finish &finish, typename tc_compute<T>::type x,
    typename tc_compute<T>::type residual, int64_t channel)
{
    typedef typename tc_compute<T>::type C;
    if constexpr (static_cast<C>(0.5) != 0) {
        x *= static_cast<C>(finish.alpha);
        if (finish.scale)
            x *= tc_cuda_of_channel<T>(finish.scale, finish.wide, channel);
        if (finish.bias)
            x += tc_cuda_of_channel<T>(finish.bias, finish.wide, channel);
        if (finish.residual)
            x += residual;
        x = tc_cuda_activate(finish.activation, x);
    }
    return x;
}

/** The same, of element `at`. */
template <typename T>
static __device__ __forceinline__ typename tc_compute<T>::type tc_cuda_finish_at(
    const tc_cuda_finish &finish, typename tc_compute<T>::type x, int64_t at, int64_t channel)
{
    typename tc_compute<T>::type residual = 0;
    if (finish.residual)
        residual = tc_load(static_cast<const T *>(finish.residual)[at]);
    return tc_cuda_finish_element<T>(finish, x, residual, channel);
}

#endif
