/* What generated sources begin with, behind math_source.h. */
#ifndef TC_KERNELS_CUDA_FUSED_PRELUDE_H
#define TC_KERNELS_CUDA_FUSED_PRELUDE_H

static const char fused_prelude[] = R"(
struct half_bits { unsigned short bits; };
struct bfloat_bits { unsigned short bits; };
template <typename T, int count> struct alignas(sizeof(T) * count) pack { T at[count]; };

static __device__ __forceinline__ float from_bits(unsigned bits) { return __uint_as_float(bits); }

template <typename T> static __device__ __forceinline__ T widen(T x) { return x; }
static __device__ __forceinline__ float widen(bfloat_bits x) { return from_bits((unsigned)x.bits << 16); }
#ifdef __CUDA_ARCH__
static __device__ __forceinline__ float widen(half_bits x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
static __device__ __forceinline__ half_bits to_half(float x)
{
    half_bits y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
#else
static float widen(half_bits x)
{
    unsigned sign = (x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
    if (rest >= 0x7c00u)
        return from_bits(sign | 0x7f800000u | (rest > 0x7c00u ? 0x400000u : 0u) | (rest & 0x3ffu) << 13);
    if (rest < 0x400u)
        return (sign ? -0x1p-24f : 0x1p-24f) * (float)rest;
    return from_bits(sign | ((rest << 13) + (112u << 23)));
}
static half_bits to_half(float x)
{
    unsigned bits = __float_as_uint(x), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u)
        rest = 0x7e00u;
    else if (rest >= 0x477ff000u)
        rest = 0x7c00u;
    else if (rest < 0x38800000u)
        rest = (unsigned)rintf(from_bits(rest) * 0x1p24f);
    else
        rest = (rest + 0xfffu + (rest >> 13 & 1u) - (112u << 23)) >> 13;
    return half_bits{(unsigned short)(sign | rest)};
}
#endif
static __device__ __forceinline__ bfloat_bits to_bfloat(float x)
{
    unsigned bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return bfloat_bits{(unsigned short)(bits >> 16 | 0x40u)};
    return bfloat_bits{(unsigned short)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}
template <typename T> struct narrow { template <typename C> static __device__ __forceinline__ T of(C x) { return (T)x; } };
template <> struct narrow<half_bits> { static __device__ __forceinline__ half_bits of(float x) { return to_half(x); } };
template <> struct narrow<bfloat_bits> { static __device__ __forceinline__ bfloat_bits of(float x) { return to_bfloat(x); } };

/* Floats are truncated and saturated, NaN gives 0; integers keep their low bits. */
template <typename T> struct limits;
template <> struct limits<signed char> { static constexpr double low = -0x1p7, end = 0x1p7; static constexpr signed char most = 127; };
template <> struct limits<short> { static constexpr double low = -0x1p15, end = 0x1p15; static constexpr short most = 32767; };
template <> struct limits<int> { static constexpr double low = -0x1p31, end = 0x1p31; static constexpr int most = 2147483647; };
template <> struct limits<long long> { static constexpr double low = -0x1p63, end = 0x1p63; static constexpr long long most = 9223372036854775807ll; };
template <> struct limits<unsigned char> { static constexpr double low = 0, end = 0x1p8; static constexpr unsigned char most = 255; };
template <> struct limits<unsigned short> { static constexpr double low = 0, end = 0x1p16; static constexpr unsigned short most = 65535; };
template <> struct limits<unsigned> { static constexpr double low = 0, end = 0x1p32; static constexpr unsigned most = 4294967295u; };
template <> struct limits<unsigned long long> { static constexpr double low = 0, end = 0x1p64; static constexpr unsigned long long most = 18446744073709551615ull; };
template <typename T, typename F> static __device__ __forceinline__ T saturated(F x)
{
    return x != x ? T(0) : x <= F(limits<T>::low) ? T(limits<T>::low) : x >= F(limits<T>::end) ? limits<T>::most : T(x);
}
template <typename T> struct cast {
    template <typename F> static __device__ __forceinline__ T of(F x) { return T(x); }
    static __device__ __forceinline__ T of(float x) { return saturated<T>(x); }
    static __device__ __forceinline__ T of(double x) { return saturated<T>(x); }
};
template <> struct cast<float> { template <typename F> static __device__ __forceinline__ float of(F x) { return float(x); } };
template <> struct cast<double> { template <typename F> static __device__ __forceinline__ double of(F x) { return double(x); } };

/* Reductions: sums go on in f64, so that long rows lose nothing. */
struct add_up { static __device__ __forceinline__ double of(double a, double b) { return a + b; } };
struct most { static __device__ __forceinline__ double of(double a, double b) { return a > b || a != a ? a : b; } };
struct least { static __device__ __forceinline__ double of(double a, double b) { return a < b || a != a ? a : b; } };

/* x of all threads of the group together, the same in each: in one order whatever the time. */
template <typename R, int group> static __device__ __forceinline__ double together(double x, double *shared)
{
    for (int offset = 16; offset > 0; offset /= 2)
        x = R::of(x, __shfl_xor_sync(0xffffffffu, x, offset));
    if (group == 32)
        return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int i = 1; i < group / 32; i++)
        x = R::of(x, shared[i]);
    return x;
}
)";

#endif
