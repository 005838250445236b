/*
 * The language of kernels: qualifiers, built-in variables, synchronization, warp functions, atomics
 * and intrinsics.
 */
#ifndef TC_CUDA_HOST_DEVICE_H
#define TC_CUDA_HOST_DEVICE_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "cuda_host_launch.h"
#include "vector_types.h"

#define __global__
#define __device__
#define __host__
#define __constant__ /* of constant data: "static __constant__ const float table[] = {...};" */
#define __shared__   static /* one block runs at a time */
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    __attribute__((aligned(n)))
#define __launch_bounds__(...)
#ifndef __restrict__
#define __restrict__ __restrict
#endif

/*
 * Constant functions, since for the thread that calls them the results never change, and values
 * because instrumented code should see no memory of the emulation.
 */
__attribute__((const)) uint3 tc_cuda_host_thread_index(void);
__attribute__((const)) uint3 tc_cuda_host_block_index(void);
__attribute__((const)) dim3 tc_cuda_host_block_dim(void);
__attribute__((const)) dim3 tc_cuda_host_grid_dim(void);
#define threadIdx tc_cuda_host_thread_index()
#define blockIdx  tc_cuda_host_block_index()
#define blockDim  tc_cuda_host_block_dim()
#define gridDim   tc_cuda_host_grid_dim()
static constexpr int warpSize = 32;

#define TC_SITE_PARAMETERS const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum tc_cuda_host_barrier { TC_BARRIER_PLAIN, TC_BARRIER_COUNT, TC_BARRIER_AND, TC_BARRIER_OR };
enum tc_cuda_host_exchange {
    TC_WARP_SYNC,
    TC_WARP_SHUFFLE,
    TC_WARP_SHUFFLE_UP,
    TC_WARP_SHUFFLE_DOWN,
    TC_WARP_SHUFFLE_XOR,
    TC_WARP_BALLOT,
    TC_WARP_MATCH_ANY,
    TC_WARP_ADD_U,
    TC_WARP_MIN_S,
    TC_WARP_MAX_S,
    TC_WARP_MIN_U,
    TC_WARP_MAX_U,
    TC_WARP_AND,
    TC_WARP_OR,
    TC_WARP_XOR
};

int tc_cuda_host_barrier_wait(tc_cuda_host_barrier kind, int predicate, const char *file, int line);
/* `width` 0: no shuffle. */
uint64_t tc_cuda_host_warp(tc_cuda_host_exchange kind, unsigned mask, uint64_t value, int argument,
                           int width, const char *file, int line);
void *tc_cuda_host_shared(void);
void tc_cuda_host_fence(void);
/* Tells of an atomic access that follows at once, in a function that returns to `pc`. */
void tc_cuda_host_atomic(const volatile void *address, unsigned bytes, const void *pc);
[[noreturn]] void tc_cuda_host_trap(const char *what, const char *file, int line);
/* Number of the thread within its warp. */
unsigned tc_cuda_host_lane(void);

/*
 * Synchronization
 */
static inline void __syncthreads(TC_SITE_PARAMETERS)
{
    (void)tc_cuda_host_barrier_wait(TC_BARRIER_PLAIN, 0, file, line);
}
static inline int __syncthreads_count(int predicate, TC_SITE_PARAMETERS)
{
    return tc_cuda_host_barrier_wait(TC_BARRIER_COUNT, predicate, file, line);
}
static inline int __syncthreads_and(int predicate, TC_SITE_PARAMETERS)
{
    return tc_cuda_host_barrier_wait(TC_BARRIER_AND, predicate, file, line);
}
static inline int __syncthreads_or(int predicate, TC_SITE_PARAMETERS)
{
    return tc_cuda_host_barrier_wait(TC_BARRIER_OR, predicate, file, line);
}
static inline void __syncwarp(unsigned mask = 0xffffffffu, TC_SITE_PARAMETERS)
{
    (void)tc_cuda_host_warp(TC_WARP_SYNC, mask, 0, 0, 0, file, line);
}
static inline void __threadfence(void)
{
    tc_cuda_host_fence();
}
static inline void __threadfence_block(void)
{
}
static inline void __threadfence_system(void)
{
    tc_cuda_host_fence();
}
static inline void __nanosleep(unsigned)
{
}
static inline void __trap(TC_SITE_PARAMETERS)
{
    tc_cuda_host_trap("__trap()", file, line);
}

/*
 * Warps
 */
template <typename T> static inline uint64_t tc_cuda_host_widen(T value)
{
    static_assert(sizeof(T) <= 8, "shuffles exchange values of up to 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &value, sizeof value);
    return bits;
}
template <typename T> static inline T tc_cuda_host_narrow(uint64_t bits)
{
    T value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

#define TC_SHUFFLE(name, kind, argument_type)                                                    \
    template <typename T>                                                                        \
    static inline T name(unsigned mask, T value, argument_type argument, int width = 32,         \
                         TC_SITE_PARAMETERS)                                                     \
    {                                                                                            \
        return tc_cuda_host_narrow<T>(tc_cuda_host_warp(kind, mask, tc_cuda_host_widen(value),   \
                                                        static_cast<int>(argument), width, file, \
                                                        line));                                  \
    }
TC_SHUFFLE(__shfl_sync, TC_WARP_SHUFFLE, int)
TC_SHUFFLE(__shfl_up_sync, TC_WARP_SHUFFLE_UP, unsigned)
TC_SHUFFLE(__shfl_down_sync, TC_WARP_SHUFFLE_DOWN, unsigned)
TC_SHUFFLE(__shfl_xor_sync, TC_WARP_SHUFFLE_XOR, int)
#undef TC_SHUFFLE

static inline unsigned __ballot_sync(unsigned mask, int predicate, TC_SITE_PARAMETERS)
{
    return static_cast<unsigned>(
        tc_cuda_host_warp(TC_WARP_BALLOT, mask, predicate != 0, 0, 0, file, line));
}
static inline int __any_sync(unsigned mask, int predicate, TC_SITE_PARAMETERS)
{
    return __ballot_sync(mask, predicate, file, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, TC_SITE_PARAMETERS)
{
    return __ballot_sync(mask, !predicate, file, line) == 0;
}
template <typename T>
static inline unsigned __match_any_sync(unsigned mask, T value, TC_SITE_PARAMETERS)
{
    return static_cast<unsigned>(
        tc_cuda_host_warp(TC_WARP_MATCH_ANY, mask, tc_cuda_host_widen(value), 0, 0, file, line));
}
/* CUDA may give any of the threads that run together: here each alone. */
static inline unsigned __activemask(void)
{
    return 1u << tc_cuda_host_lane();
}

#define TC_WARP_REDUCE(name, type, kind)                                                 \
    static inline type name(unsigned mask, type value, TC_SITE_PARAMETERS)               \
    {                                                                                    \
        return static_cast<type>(                                                        \
            tc_cuda_host_warp(kind, mask, tc_cuda_host_widen(value), 0, 0, file, line)); \
    }
TC_WARP_REDUCE(__reduce_add_sync, unsigned, TC_WARP_ADD_U)
TC_WARP_REDUCE(__reduce_add_sync, int, TC_WARP_ADD_U)
TC_WARP_REDUCE(__reduce_min_sync, unsigned, TC_WARP_MIN_U)
TC_WARP_REDUCE(__reduce_min_sync, int, TC_WARP_MIN_S)
TC_WARP_REDUCE(__reduce_max_sync, unsigned, TC_WARP_MAX_U)
TC_WARP_REDUCE(__reduce_max_sync, int, TC_WARP_MAX_S)
TC_WARP_REDUCE(__reduce_and_sync, unsigned, TC_WARP_AND)
TC_WARP_REDUCE(__reduce_or_sync, unsigned, TC_WARP_OR)
TC_WARP_REDUCE(__reduce_xor_sync, unsigned, TC_WARP_XOR)
#undef TC_WARP_REDUCE

/*
 * Atomics. One thread runs at a time, so plain accesses are atomic; they are not instrumented, as
 * the emulation is told of them.
 */
#define TC_ATOMIC(name, result)                                               \
    template <typename T>                                                     \
    __attribute__((noinline, no_sanitize("thread"))) static T name(           \
        T *address, typename tc_cuda_host_exactly<T>::type value)             \
    {                                                                         \
        tc_cuda_host_atomic(address, sizeof(T), __builtin_return_address(0)); \
        T old = *address;                                                     \
        *address = (result);                                                  \
        return old;                                                           \
    }
TC_ATOMIC(atomicAdd, static_cast<T>(old + value))
TC_ATOMIC(atomicSub, static_cast<T>(old - value))
TC_ATOMIC(atomicExch, value)
TC_ATOMIC(atomicMin, value < old ? value : old)
TC_ATOMIC(atomicMax, value > old ? value : old)
TC_ATOMIC(atomicAnd, old &value)
TC_ATOMIC(atomicOr, old | value)
TC_ATOMIC(atomicXor, old ^ value)
TC_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
TC_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef TC_ATOMIC

template <typename T>
__attribute__((noinline, no_sanitize("thread"))) static T atomicCAS(
    T *address, typename tc_cuda_host_exactly<T>::type compare,
    typename tc_cuda_host_exactly<T>::type value)
{
    tc_cuda_host_atomic(address, sizeof(T), __builtin_return_address(0));
    T old = *address;
    if (old == compare)
        *address = value;
    return old;
}

/*
 * Memory
 */
template <typename T> static inline T __ldg(const T *address)
{
    return *address;
}
template <typename T> static inline T __ldcs(const T *address)
{
    return *address;
}
template <typename T> static inline T __ldcg(const T *address)
{
    return *address;
}
template <typename T> static inline T __ldca(const T *address)
{
    return *address;
}
template <typename T> static inline void __stcs(T *address, T value)
{
    *address = value;
}
template <typename T> static inline void __stcg(T *address, T value)
{
    *address = value;
}
static inline unsigned __isGlobal(const void *)
{
    return 1;
}

/*
 * Bits and integers
 */
#define TC_REINTERPRET(name, to, from)                              \
    static inline to name(from value)                               \
    {                                                               \
        to result;                                                  \
        static_assert(sizeof(to) == sizeof(from), "of equal size"); \
        __builtin_memcpy(&result, &value, sizeof result);           \
        return result;                                              \
    }
TC_REINTERPRET(__float_as_uint, unsigned, float)
TC_REINTERPRET(__float_as_int, int, float)
TC_REINTERPRET(__uint_as_float, float, unsigned)
TC_REINTERPRET(__int_as_float, float, int)
TC_REINTERPRET(__double_as_longlong, long long, double)
TC_REINTERPRET(__longlong_as_double, double, long long)
#undef TC_REINTERPRET

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
static inline int __clzll(long long x)
{
    return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64;
}
static inline unsigned __brev(unsigned x)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++)
        r |= (x >> i & 1u) << (31 - i);
    return r;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
static inline int __mulhi(int a, int b)
{
    return static_cast<int>(static_cast<int64_t>(a) * b >> 32);
}
__extension__ typedef __int128 tc_cuda_host_int128;
__extension__ typedef unsigned __int128 tc_cuda_host_uint128;
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return static_cast<unsigned long long>(static_cast<tc_cuda_host_uint128>(a) * b >> 64);
}
static inline long long __mul64hi(long long a, long long b)
{
    return static_cast<long long>(static_cast<tc_cuda_host_int128>(a) * b >> 64);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    shift &= 31u;
    return shift ? high << shift | low >> (32u - shift) : high;
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    shift &= 31u;
    return shift ? low >> shift | high << (32u - shift) : low;
}
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned select)
{
    uint64_t both = static_cast<uint64_t>(y) << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++)
        r |= static_cast<unsigned>(both >> (select >> (4 * i) & 7u) * 8 & 0xffu) << (8 * i);
    return r;
}

/*
 * Floating point: what the host's math library lacks. The rounding of plain operations is to
 * nearest on both.
 */
static inline float rsqrtf(float x)
{
    return static_cast<float>(1.0 / std::sqrt(static_cast<double>(x)));
}
static inline double rsqrt(double x)
{
    return 1.0 / std::sqrt(x);
}
#define TC_FLOAT(name, type, expression)    \
    static inline type name(type a, type b) \
    {                                       \
        return (expression);                \
    }
TC_FLOAT(__fadd_rn, float, a + b)
TC_FLOAT(__fsub_rn, float, a - b)
TC_FLOAT(__fmul_rn, float, a *b)
TC_FLOAT(__fdiv_rn, float, a / b)
TC_FLOAT(__fdividef, float, a / b)
TC_FLOAT(__dadd_rn, double, a + b)
TC_FLOAT(__dsub_rn, double, a - b)
TC_FLOAT(__dmul_rn, double, a *b)
TC_FLOAT(__ddiv_rn, double, a / b)
#undef TC_FLOAT
static inline float __fmaf_rn(float a, float b, float c)
{
    return std::fma(a, b, c);
}
static inline double __fma_rn(double a, double b, double c)
{
    return std::fma(a, b, c);
}
static inline float __fsqrt_rn(float x)
{
    return std::sqrt(x);
}
static inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
static inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
static inline int __float2int_rn(float x)
{
    return static_cast<int>(std::nearbyint(x));
}
static inline int __float2int_rz(float x)
{
    return static_cast<int>(x);
}
static inline unsigned __float2uint_rz(float x)
{
    return static_cast<unsigned>(x);
}
static inline float __int2float_rn(int x)
{
    return static_cast<float>(x);
}
static inline float __uint2float_rn(unsigned x)
{
    return static_cast<float>(x);
}

template <typename T> static inline T max(T a, T b)
{
    return a < b ? b : a;
}
template <typename T> static inline T min(T a, T b)
{
    return b < a ? b : a;
}
static inline float max(float a, float b)
{
    return fmaxf(a, b);
}
static inline float min(float a, float b)
{
    return fminf(a, b);
}
static inline double max(double a, double b)
{
    return fmax(a, b);
}
static inline double min(double a, double b)
{
    return fmin(a, b);
}

#endif
