/*
 * What the files of this folder share: types, launches, errors.
 *
 * The same files are compiled by nvcc for GPUs and, with TC_CUDA_HOST, by a C++ compiler for the
 * emulation of tests/cuda_host. What the two spell differently is hidden here: launches
 * (tc_cuda_launch), dynamic shared memory (TC_DYNAMIC_SHARED).
 */
#ifndef TC_KERNELS_CUDA_CUDA_CUH
#define TC_KERNELS_CUDA_CUDA_CUH

#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>
#ifndef TC_CUDA_HOST
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include <tensorc/backend.h>

extern "C" {
#include "core/dtype.h"
#include "core/float16.h"
#include "core/kernel_table.h"
#include "core/shape.h"
}

/*
 * Errors
 */
/** TC_OK, or a status and a sentence of what failed: "cuda:0: <what>: out of memory". */
tc_status tc_cuda_check(cudaError_t error, const char *what);

/** TC_TRY for calls of the CUDA runtime. */
#define TC_CUDA_TRY(call, what) TC_TRY(tc_cuda_check((call), (what)))

/*
 * Queues
 */
struct tc_cuda_libraries; /* cuBLASLt and cuDNN: libraries.h */

struct tc_queue {
    tc_backend *backend;
    int32_t device;
    cudaStream_t stream;
    cudaEvent_t event;                         /* for tc_backend.order */
    const struct tc_cuda_libraries *libraries; /* of the device */
};

#define TC_CUDA_MAX_DEVICES 16

/** What a file of kernels wants to know of a device. Constant. */
struct tc_cuda_device {
    int32_t multiprocessors;
    int32_t major, minor;       /* compute capability */
    size_t shared_bytes;        /* that a block may have without asking */
    size_t shared_bytes_opt_in; /* and with cudaFuncSetAttribute */
    size_t l2_bytes;
};

/** Device `index` (tc_prepare.device). Thread-safe. */
const struct tc_cuda_device *tc_cuda_device_at(int32_t index);

/*
 * Launches
 */
/** Of a device function: what is rare or long is there once. */
#ifdef TC_CUDA_HOST
#define TC_NOINLINE __attribute__((noinline))
#else
#define TC_NOINLINE __noinline__
#endif

#ifdef TC_CUDA_HOST
#define TC_DYNAMIC_SHARED(type, name) type *name = (type *)tc_cuda_host_shared()
#else
#define TC_DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char tc_dynamic_shared[]; \
    type *name = reinterpret_cast<type *>(tc_dynamic_shared)
#endif

#ifndef TC_CUDA_HOST
/* Not <<<>>>: the error is that of this launch, whatever failed before. */
template <typename... P>
static inline cudaError_t tc_cuda_enqueue(void (*kernel)(P...), dim3 grid, dim3 block,
                                          size_t shared_bytes, cudaStream_t stream, P... arguments)
{
    void *addresses[] = {&arguments...};
    return cudaLaunchKernel(reinterpret_cast<const void *>(kernel), grid, block, addresses,
                            shared_bytes, stream);
}
#endif

/**
 * Puts kernel<<<grid, block, shared>>>(arguments) into the queue of `context`. An empty grid is no
 * launch. Shared memory beyond 48 KB is asked for.
 */
template <typename... P, typename... A>
static inline tc_status tc_cuda_launch(void (*kernel)(P...), dim3 grid, dim3 block,
                                       size_t shared_bytes, const tc_kernel_context *context,
                                       A... arguments)
{
    if (grid.x == 0 || grid.y == 0 || grid.z == 0)
        return TC_OK;
    cudaStream_t stream = context->queue->stream;
    if (shared_bytes > (48 << 10))
        TC_CUDA_TRY(cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel),
                                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(shared_bytes)),
                    "shared memory");
#ifdef TC_CUDA_HOST
    return tc_cuda_check(tc_cuda_host_launch(kernel, grid, block, shared_bytes, stream,
                                             static_cast<P>(arguments)...),
                         "launch");
#else
    return tc_cuda_check(tc_cuda_enqueue<P...>(kernel, grid, block, shared_bytes, stream,
                                               static_cast<P>(arguments)...),
                         "launch");
#endif
}

/** Blocks of `block` threads for `count` elements, at most `most`: for loops with the stride of the
 * grid. */
static inline unsigned tc_cuda_blocks(int64_t count, int64_t block, int64_t most)
{
    int64_t blocks = (count + block - 1) / block;
    return static_cast<unsigned>(blocks < most ? blocks : most);
}

/** Enough blocks of 256 threads to fill any device, where each thread loops. */
#define TC_CUDA_MOST_BLOCKS (132 * 16)

/*
 * Elements
 *
 * 16-bit floats are kept as bits in types of their own; kernels compute with tc_load and tc_store
 * in float, double or the integer itself.
 */
struct tc_half {
    uint16_t bits;
};
struct tc_bfloat {
    uint16_t bits;
};

/** What an element of T is computed in. */
template <typename T> struct tc_compute {
    typedef T type;
};
template <> struct tc_compute<tc_half> {
    typedef float type;
};
template <> struct tc_compute<tc_bfloat> {
    typedef float type;
};

template <typename T> static __device__ __forceinline__ T tc_load(T x)
{
    return x;
}
static __device__ __forceinline__ float tc_load(tc_half x)
{
#ifdef TC_CUDA_HOST
    return tc_f16_to_f32(x.bits);
#else
    return __half2float(__ushort_as_half(x.bits));
#endif
}
static __device__ __forceinline__ float tc_load(tc_bfloat x)
{
    return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}

/** `x` rounded to T: tc_store<tc_half>(1.5f). */
template <typename T> static __device__ __forceinline__ T tc_store(typename tc_compute<T>::type x)
{
    return x;
}
template <> __device__ __forceinline__ tc_half tc_store<tc_half>(float x)
{
#ifdef TC_CUDA_HOST
    return tc_half{tc_f32_to_f16(x)};
#else
    return tc_half{__half_as_ushort(__float2half_rn(x))};
#endif
}
template <> __device__ __forceinline__ tc_bfloat tc_store<tc_bfloat>(float x)
{
#ifdef TC_CUDA_HOST
    return tc_bfloat{tc_f32_to_bf16(x)};
#else
    return tc_bfloat{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#endif
}

/** `count` elements of T in one access: `count * sizeof(T)` is 4, 8 or 16 and the address a
 * multiple of it. */
template <typename T, int count> struct alignas(sizeof(T) * count) tc_vector {
    T at[count];
};

/*
 * Faults
 */
/** Tells that an element is wrong: the first one of a run is kept. */
static __device__ __forceinline__ void tc_cuda_fault(tc_run_state *state, int32_t place,
                                                     int32_t code, int64_t a, int64_t b, int64_t c,
                                                     int64_t d)
{
    if (atomicCAS(reinterpret_cast<int *>(&state->fault.place), 0, place) != 0)
        return;
    state->fault.code = code;
    state->fault.values[0] = a;
    state->fault.values[1] = b;
    state->fault.values[2] = c;
    state->fault.values[3] = d;
}

/*
 * Tables
 */
/* Entry of a kernel array. `tag` is the dtype in lower case, or `any`; the symbol is
 * "cuda_<op>_<tag>": TC_CUDA_KERNEL(softmax, f32, prepare, run<float>). */
#define TC_CUDA_KERNEL(op_name, tag, prepare_function, run_function) \
    TC_CUDA_FAULTY_KERNEL(op_name, tag, prepare_function, run_function, NULL)
/* Likewise, of a kernel that finds faults. */
#define TC_CUDA_FAULTY_KERNEL(op_name, tag, prepare_function, run_function, fault_function) \
    {                                                                                       \
        .op = #op_name, .dtype = TC_TAG_##tag, .device = TC_DEVICE_CUDA, .isa = 0,          \
        .symbol = "cuda_" #op_name "_" #tag, .prepare = prepare_function, .pack = NULL,     \
        .run = run_function, .fault = fault_function                                        \
    }
#define TC_TAG_any  TC_DTYPE_INVALID
#define TC_TAG_f32  TC_F32
#define TC_TAG_f64  TC_F64
#define TC_TAG_f16  TC_F16
#define TC_TAG_bf16 TC_BF16
#define TC_TAG_i8   TC_I8
#define TC_TAG_i16  TC_I16
#define TC_TAG_i32  TC_I32
#define TC_TAG_i64  TC_I64
#define TC_TAG_u8   TC_U8
#define TC_TAG_u16  TC_U16
#define TC_TAG_u32  TC_U32
#define TC_TAG_u64  TC_U64
#define TC_TAG_bool TC_BOOL

/** Exports `array` as the table of `family`, whose name goes into kernels.def. */
#define TC_CUDA_TABLE(family, array)                                                       \
    extern "C" {                                                                           \
    extern const tc_kernel_table tc_cuda_kernels_##family;                                 \
    const tc_kernel_table tc_cuda_kernels_##family = {(array),                             \
                                                      sizeof(array) / sizeof((array)[0])}; \
    }

#endif
