/*
 * Random tensors and dropout, as core/philox.h defines them. A thread takes the elements of one
 * block of words at a time: four of 32 bits, two of 64.
 */
#include <math.h>

#include "kernels/cuda/elementwise.cuh"

extern "C" {
#include "core/normal.h"
#include "core/philox.h"
}

struct random_params {
    int64_t count;
    uint64_t stream;
    double base, scale, limit; /* a float is min(limit, base + scale * x), x of the distribution */
    uint64_t low, range;       /* an integer is low + x, x below range */
    uint64_t reject;           /* 2^b mod range */
    uint32_t threshold;        /* dropout drops words below it and multiplies the others by scale */
    int32_t copy;              /* dropout: pass x on */
    int32_t kind;              /* of the distribution */
    tc_storage storage;
};

static __device__ __forceinline__ tc_random random_of(const random_params &p,
                                                      const tc_run_state *run)
{
    return tc_random_make(run->seed, p.stream, run->step, run->loop_index);
}

/* Writes V elements from element `at` on, or as many as there are. */
template <typename C, int V>
static __device__ __forceinline__ void write_numbers(const random_params &p, void *y, int64_t at,
                                                     bool aligned, const C (&x)[V])
{
    if (aligned && at + V <= p.count) {
        tc_write(y, at, p.storage.size, tc_encode(p.storage, x));
        return;
    }
    TC_EACH_OF(V)
    if (at + i < p.count) {
        C one[1] = {x[i]};
        tc_write(y, at + i, p.storage.size, tc_encode(p.storage, one));
    }
}

/*
 * Distributions
 */
/* Words as random bits of C. */
template <typename C> struct random_word;
template <> struct random_word<float> {
    typedef int32_t type;
    static constexpr float unit = 0x1p-24f, half = 0x1p-32f;
    static constexpr int beyond = 8; /* bits that a mantissa has no room for */
    static __device__ __forceinline__ uint32_t of(const uint32_t (&words)[4], int i)
    {
        return words[i];
    }
};
template <> struct random_word<double> {
    typedef int64_t type;
    static constexpr double unit = 0x1p-53, half = 0x1p-64;
    static constexpr int beyond = 11;
    static __device__ __forceinline__ uint64_t of(const uint32_t (&words)[4], int i)
    {
        return static_cast<uint64_t>(words[2 * i + 1]) << 32 | words[2 * i];
    }
};

template <typename C, int n> static __device__ __forceinline__ C polynomial(const C (&c)[n], C x)
{
    C y = c[n - 1];
#pragma unroll
    for (int i = n - 2; i >= 0; i--)
        y = y * x + c[i];
    return y;
}

#define RATIO(type, part, x)                                    \
    do {                                                        \
        constexpr type above[] = {TC_NORMAL_##part##_ABOVE};    \
        constexpr type below[] = {TC_NORMAL_##part##_BELOW};    \
        return polynomial(above, (x)) / polynomial(below, (x)); \
    } while (0)

/* The deviation that a normal number exceeds with probability `tail` = 1/2 - `q`. */
static __device__ __forceinline__ float center(float r)
{
    RATIO(float, F32_CENTER, r);
}
static __device__ __forceinline__ double center(double r)
{
    RATIO(double, F64_CENTER, r);
}
static __device__ __forceinline__ float outside(float s)
{
    RATIO(float, F32_TAIL, s - 1.6f);
}
static __device__ __forceinline__ double outside(double s)
{
    if (s > 5)
        RATIO(double, F64_FAR, s - 5);
    RATIO(double, F64_TAIL, s - 1.6);
}

template <typename C> static __device__ __forceinline__ C deviation(C q, C tail)
{
    if (q <= C(0.425))
        return q * center(C(0.180625) - q * q);
    return outside(sqrt(-log(tail)));
}

enum distribution { UNIFORM, NORMAL, TRUNCATED_NORMAL };

template <typename C, typename W> static __device__ __forceinline__ C number_of(int kind, W word)
{
    typedef random_word<C> traits;
    typedef typename traits::type I; /* conversions of signed numbers are the faster ones */
    if (kind == UNIFORM)
        return static_cast<C>(static_cast<I>(word >> traits::beyond)) * traits::unit;
    constexpr W most = static_cast<W>(-1) >> 1;
    W k = word & most;
    C q = (static_cast<C>(static_cast<I>(k)) + C(0.5)) * traits::half;
    C tail = (static_cast<C>(static_cast<I>(most - k)) + C(0.5)) * traits::half;
    if (kind == TRUNCATED_NORMAL) { /* q is scaled to what of the probability lies within */
        q *= C(0.95449973610364158560);
        tail = C(0.5) - q;
    }
    C z = deviation(q, tail);
    if (kind == TRUNCATED_NORMAL && z > C(2))
        z = C(2);
    return word > most ? -z : z;
}

/* base + scale * x, each operation rounded by itself. */
static __device__ __forceinline__ float scaled(float base, float scale, float x)
{
    return __fadd_rn(base, __fmul_rn(scale, x));
}
static __device__ __forceinline__ double scaled(double base, double scale, double x)
{
    return __dadd_rn(base, __dmul_rn(scale, x));
}

template <typename C>
static __global__ void __launch_bounds__(TC_THREADS)
    numbers(const __grid_constant__ random_params p, const tc_run_state *run, void *y, bool aligned)
{
    constexpr int V = 16 / sizeof(C);
    tc_random random = random_of(p, run);
    const C base = static_cast<C>(p.base), scale = static_cast<C>(p.scale);
    const C limit = static_cast<C>(p.limit);
    for (int64_t b = tc_thread_index(); b * V < p.count; b += tc_thread_count()) {
        uint32_t words[4];
        C x[V];
        tc_random_block(&random, static_cast<uint64_t>(b), 0, words);
        TC_EACH_OF(V)
        {
            C number = number_of<C>(p.kind, random_word<C>::of(words, i));
            number = scaled(base, scale, number);
            x[i] = number < limit ? number : limit;
        }
        write_numbers(p, y, b * V, aligned, x);
    }
}

/*
 * Integers
 */
/* Numbers of one block, drawn until none is rejected: the next attempt changes only those that
 * were. */
template <bool wide>
static __global__ void __launch_bounds__(TC_THREADS)
    integers(const __grid_constant__ random_params p, const tc_run_state *run, void *y,
             bool aligned)
{
    constexpr int V = wide ? 2 : 4;
    tc_random random = random_of(p, run);
    for (int64_t b = tc_thread_index(); b * V < p.count; b += tc_thread_count()) {
        int64_t x[V];
        bool rejected[V], again = true;
        TC_EACH_OF(V) rejected[i] = true;
        for (uint32_t attempt = 0; again; attempt++) {
            uint32_t words[4];
            tc_random_block(&random, static_cast<uint64_t>(b), attempt, words);
            again = false;
            TC_EACH_OF(V)
            {
                uint64_t high, low;
                if constexpr (wide) {
                    uint64_t word = random_word<double>::of(words, i);
                    high = __umul64hi(word, p.range);
                    low = word * p.range;
                } else {
                    uint64_t product = words[i] * p.range;
                    high = product >> 32;
                    low = static_cast<uint32_t>(product);
                }
                if (rejected[i])
                    x[i] = static_cast<int64_t>(p.low + high);
                rejected[i] = rejected[i] && low < p.reject && attempt != 255;
                again = again || rejected[i];
            }
        }
        write_numbers(p, y, b * V, aligned, x);
    }
}

/*
 * Dropout
 */
template <typename C>
static __global__ void __launch_bounds__(TC_THREADS)
    dropout(const __grid_constant__ random_params p, const tc_run_state *run, const void *x,
            void *y, bool aligned)
{
    constexpr int V = 4;
    tc_random random = random_of(p, run);
    const C scale = static_cast<C>(p.scale);
    int64_t blocks = (p.count + V - 1) / V;
    tc_each(
        blocks,
        [&](int64_t b) {
            if (aligned && b * V + V <= p.count)
                return tc_read<C, V>(x, b * V, p.storage.size);
            tc_raw<C, V> raw = {};
            TC_EACH_OF(V)
            if (b * V + i < p.count) {
                typedef tc_raw<C, 1> single;
                single one = tc_read<C, 1>(x, b * V + i, p.storage.size);
                TC_BY_SIZE(tc_reads, p.storage.size, tc_pack(raw, i, tc_unpack<T>(one, 0));)
            }
            return raw;
        },
        [&](int64_t b, const tc_raw<C, V> &raw) {
            uint32_t words[4];
            C numbers[V];
            tc_random_block(&random, static_cast<uint64_t>(b), 0, words);
            tc_decode(p.storage.dtype, raw, numbers);
            TC_EACH_OF(V) numbers[i] = words[i] < p.threshold ? C(0) : numbers[i] * scale;
            write_numbers(p, y, b * V, aligned, numbers);
        });
}

/*
 * Entries
 */
static random_params *prepare_params(tc_prepare *prepare)
{
    random_params *p = static_cast<random_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return NULL;
    p->count = tc_shape_size(&prepare->outputs[0].shape);
    p->stream = static_cast<uint64_t>(tc_attrs_int(prepare->attrs, "stream"));
    p->storage = tc_storage_of(prepare->outputs[0].dtype);
    return p;
}

static double rounded(tc_dtype dtype, double value)
{
    uint64_t element = 0;
    tc_dtype_store(dtype, &element, value);
    return tc_dtype_load(dtype, &element);
}

/* The largest number of `dtype` below `high`, one of its finite numbers: bits count numbers. */
static double number_below(tc_dtype dtype, double high)
{
    uint64_t bits = 0, sign = static_cast<uint64_t>(1) << (tc_dtype_size(dtype) * 8 - 1);
    tc_dtype_store(dtype, &bits, high);
    bits = high == 0 ? sign | 1 : high > 0 ? bits - 1 : bits + 1;
    return tc_dtype_load(dtype, &bits);
}

static tc_status prepare_uniform(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = prepare->outputs[0].dtype;
    p->kind = UNIFORM;
    double high = rounded(dtype, tc_attrs_float(prepare->attrs, "high"));
    p->base = rounded(dtype, tc_attrs_float(prepare->attrs, "low"));
    p->scale =
        dtype == TC_F64 ? high - p->base : static_cast<float>(high) - static_cast<float>(p->base);
    p->limit = number_below(dtype, high);
    return TC_OK;
}

template <distribution kind> static tc_status prepare_normal(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->kind = kind;
    p->base = tc_attrs_float(prepare->attrs, "mean");
    p->scale = tc_attrs_float(prepare->attrs, "stddev");
    p->limit = INFINITY;
    return TC_OK;
}

static tc_status prepare_int(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->low = static_cast<uint64_t>(tc_attrs_int(prepare->attrs, "low"));
    p->range = static_cast<uint64_t>(tc_attrs_int(prepare->attrs, "high")) - p->low;
    p->reject = p->range <= static_cast<uint64_t>(1) << 32
                    ? (static_cast<uint64_t>(1) << 32) % p->range
                    : (0 - p->range) % p->range;
    return TC_OK;
}

static tc_status prepare_dropout(tc_prepare *prepare)
{
    random_params *p = prepare_params(prepare);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    double rate = tc_attrs_float(prepare->attrs, "rate");
    double threshold = floor(rate * 0x1p32 + 0.5);
    p->threshold = threshold < 0x1p32 ? static_cast<uint32_t>(threshold) : UINT32_MAX;
    p->scale = 1 / (1 - rate);
    p->copy = rate == 0 || strcmp(tc_attrs_string(prepare->attrs, "mode"), "training") != 0;
    return TC_OK;
}

template <typename C>
static tc_status run_numbers(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    (void)inputs;
    const random_params *p = static_cast<const random_params *>(params);
    int64_t blocks = (p->count + 16 / sizeof(C) - 1) / (16 / sizeof(C));
    return tc_cuda_launch(numbers<C>, tc_grid(blocks, 0, 1), dim3(TC_THREADS), 0, context, *p,
                          context->state, outputs[0], tc_aligned(outputs[0], NULL));
}

static tc_status run_int(const void *params, const void *const *inputs, void *const *outputs,
                         const tc_kernel_context *context)
{
    (void)inputs;
    const random_params *p = static_cast<const random_params *>(params);
    bool wide = p->range > static_cast<uint64_t>(1) << 32;
    int64_t blocks = wide ? (p->count + 1) / 2 : (p->count + 3) / 4;
    return tc_cuda_launch(wide ? integers<true> : integers<false>, tc_grid(blocks, 0, 1),
                          dim3(TC_THREADS), 0, context, *p, context->state, outputs[0],
                          tc_aligned(outputs[0], NULL));
}

template <typename C>
static tc_status run_dropout(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    const random_params *p = static_cast<const random_params *>(params);
    if (p->copy) {
        if (inputs[0] == outputs[0] || p->count == 0)
            return TC_OK;
        return tc_cuda_check(cudaMemcpyAsync(outputs[0], inputs[0],
                                             static_cast<size_t>(p->count * p->storage.size),
                                             cudaMemcpyDeviceToDevice, context->queue->stream),
                             "copying");
    }
    return tc_cuda_launch(dropout<C>, tc_grid((p->count + 3) / 4, 0, 1), dim3(TC_THREADS), 0,
                          context, *p, context->state, inputs[0], outputs[0],
                          tc_aligned(inputs[0], outputs[0]));
}

#define UNIFORMS(op, tag, C) TC_CUDA_KERNEL(op, tag, prepare_uniform, run_numbers<C>)
#define NORMALS(op, tag, C)  TC_CUDA_KERNEL(op, tag, prepare_normal<NORMAL>, run_numbers<C>)
#define TRUNCATED(op, tag, C) \
    TC_CUDA_KERNEL(op, tag, prepare_normal<TRUNCATED_NORMAL>, run_numbers<C>)
#define DROPOUTS(op, tag, C) TC_CUDA_KERNEL(op, tag, prepare_dropout, run_dropout<C>)

static const tc_kernel kernels[] = {
    TC_FLOATS(UNIFORMS, random_uniform),
    TC_FLOATS(NORMALS, random_normal),
    TC_FLOATS(TRUNCATED, random_truncated_normal),
    TC_CUDA_KERNEL(random_int, any, prepare_int, run_int),
    TC_FLOATS(DROPOUTS, dropout),
};

TC_CUDA_TABLE(random, kernels);
