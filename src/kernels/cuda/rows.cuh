/*
 * Rows of floats, for softmax, cross entropy and normalization.
 *
 * A group of threads works on a row: up to 32 of one warp, so that a block has several rows, or a
 * whole block. Elements are moved in vectors of 16 bytes that are cut at multiples of 16 bytes of
 * memory, not of the row, so that rows of any length are read and written in vectors: those at the
 * ends of a row are partly outside it and are moved element by element.
 */
#ifndef TC_KERNELS_CUDA_ROWS_CUH
#define TC_KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/cuda.cuh"

/* f64 is never held: its code would be long, and nobody waits for it. */
/** Vectors that a thread may hold in registers, and threads of the largest group. */
#define TC_ROW_HOLD    4
#define TC_ROW_THREADS 512
/** Threads of a block of several rows. */
#define TC_ROW_BLOCK 128

/** 16 bytes of whatever. */
typedef tc_vector<uint32_t, 4> tc_sixteen;

template <typename T> struct tc_row_type {
    static constexpr int width = 16 / static_cast<int>(sizeof(T)); /* elements of a vector */
    typedef typename tc_compute<T>::type real;
};

/** How rows are spread over threads. Plain data, for params. */
typedef struct tc_rows {
    int64_t rows, count;
    int32_t group; /* threads of a row */
    int32_t block;
    uint32_t blocks;
    bool held; /* a row fits into TC_ROW_HOLD vectors per thread */
} tc_rows;

static inline int32_t tc_row_power(int64_t least, int32_t most)
{
    int32_t power = 1;
    while (power < least && power < most)
        power *= 2;
    return power;
}

/** The longest row, so that vectors behind its end have numbers too. */
#define TC_ROW_MOST (INT32_MAX - 2 * 16 * TC_ROW_THREADS)

/** `count` elements of `size` bytes in each of `rows`. RESOURCE_EXHAUSTED: they are too long. */
static inline tc_status tc_rows_plan(int64_t rows, int64_t count, size_t size, tc_rows *plan)
{
    tc_rows p = {};
    if (count > TC_ROW_MOST)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "rows of %lld elements are too long",
                              static_cast<long long>(count));
    int64_t width = 16 / static_cast<int64_t>(size);
    /* A row that begins and ends within vectors touches one more. */
    int64_t vectors = count / width + (count % width ? 2 : 0);
    p.rows = count > 0 ? rows : 0;
    p.count = count;
    p.held = size < 8 && vectors <= TC_ROW_HOLD * TC_ROW_THREADS;
    p.group = vectors <= 32 * TC_ROW_HOLD
                  ? tc_row_power(vectors, 32)
                  : tc_row_power((vectors + TC_ROW_HOLD - 1) / TC_ROW_HOLD, TC_ROW_THREADS);
    p.block = p.group <= 32 ? TC_ROW_BLOCK : p.group;
    p.blocks = tc_cuda_blocks(p.rows, p.block / p.group, 1 << 30);
    *plan = p;
    return TC_OK;
}

/** Whether vectors may be used: the buffers of a row are cut at the same places. */
template <typename... P> static inline bool tc_rows_aligned(const P *...pointers)
{
    return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

/*
 * Reductions: every thread of the block calls them, and every one of a group gets the result.
 */
static __device__ __forceinline__ float tc_max(float a, float b)
{
    return fmaxf(a, b);
}
static __device__ __forceinline__ double tc_max(double a, double b)
{
    return fmax(a, b);
}
static __device__ __forceinline__ float tc_exp(float x)
{
    return expf(x);
}
static __device__ inline TC_NOINLINE double tc_exp(double x) /* long */
{
    return exp(x);
}
static __device__ __forceinline__ float tc_log(float x)
{
    return logf(x);
}
static __device__ inline TC_NOINLINE double tc_log(double x)
{
    return log(x);
}
static __device__ __forceinline__ float tc_sqrt(float x)
{
    return sqrtf(x);
}
static __device__ __forceinline__ double tc_sqrt(double x)
{
    return sqrt(x);
}

/** exp of what is kept as T: for 16 bits by the function of the hardware, whose error of a few
 * parts in 10^6 they do not show. Its operand must not be far above 0. */
template <typename T>
static __device__ __forceinline__ typename tc_compute<T>::type tc_exp_of(
    typename tc_compute<T>::type x)
{
    if constexpr (sizeof(T) == 2)
        return exp2f(x * 1.44269504f);
    else
        return tc_exp(x);
}

struct tc_add {
    template <typename R> __device__ R operator()(R a, R b) const
    {
        return a + b;
    }
};
struct tc_most {
    template <typename R> __device__ R operator()(R a, R b) const
    {
        return tc_max(a, b);
    }
};

/** `combine` over the threads of each group. `shared` has a place per warp. */
template <typename R, typename F>
static __device__ TC_NOINLINE R tc_group_reduce(R x, int group, R *shared, F combine)
{
#pragma unroll 1
    for (int step = (group < 32 ? group : 32) / 2; step > 0; step /= 2)
        x = combine(x, __shfl_xor_sync(0xffffffffu, x, step));
    if (group <= 32)
        return x;
    int warps = group / 32, lane = static_cast<int>(threadIdx.x) % 32;
    if (lane == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[lane % warps];
#pragma unroll 1
    for (int step = warps / 2; step > 0; step /= 2)
        x = combine(x, __shfl_xor_sync(0xffffffffu, x, step));
    __syncthreads(); /* before `shared` is written again */
    return x;
}

template <typename R> static __device__ __forceinline__ R tc_group_sum(R x, int group, R *shared)
{
    return tc_group_reduce(x, group, shared, tc_add());
}

template <typename R> static __device__ __forceinline__ R tc_group_max(R x, int group, R *shared)
{
    return tc_group_reduce(x, group, shared, tc_most());
}

/** `combine` over the threads of the block with the same threadIdx.x; blockDim.y is a power of two.
 * `shared` has a place per thread. */
template <typename R, typename F>
static __device__ TC_NOINLINE R tc_column_reduce(R x, R *shared, F combine)
{
    unsigned at = threadIdx.y * blockDim.x + threadIdx.x;
    shared[at] = x;
    __syncthreads();
#pragma unroll 1
    for (unsigned half = blockDim.y / 2; half > 0; half /= 2) {
        if (threadIdx.y < half)
            shared[at] = combine(shared[at], shared[at + half * blockDim.x]);
        __syncthreads();
    }
    x = shared[threadIdx.x];
    __syncthreads();
    return x;
}

/** What to subtract from elements whose maximum is `most`: exp(-inf) of nothing but -inf is 0. */
template <typename R> static __device__ __forceinline__ R tc_shift_of(R most)
{
    return most == -static_cast<R>(INFINITY) ? 0 : most;
}

/** Maximum, and sum of exponentials relative to it, as elements come. NaN and inf make the sum NaN.
 */
template <typename T> struct tc_online {
    typedef typename tc_compute<T>::type R;
    R most, sum;

    __device__ __forceinline__ tc_online() : most(-static_cast<R>(INFINITY)), sum(0)
    {
    }

    template <int n> __device__ __forceinline__ void add(const R (&x)[n])
    {
        R high = x[0];
#pragma unroll
        for (int k = 1; k < n; k++)
            high = tc_max(high, x[k]);
        R old = most;
        most = tc_max(high, most);
        R shift = tc_shift_of(most);
        if (most != old)
            sum *= tc_exp_of<T>(old - shift);
#pragma unroll
        for (int k = 0; k < n; k++)
            sum += tc_exp_of<T>(x[k] - shift);
    }

    /** With those of the other threads of the group. */
    __device__ __forceinline__ void merge(int group, R *shared)
    {
        R high = tc_group_max(most, group, shared);
        sum = tc_group_sum(sum * tc_exp_of<T>(most - tc_shift_of(high)), group, shared);
        most = high;
    }
};

/*
 * A row as vectors. Vector v has the elements [v width - lead, ... + width) of the row; `I` counts
 * them.
 *
 * Vectors that are partly outside are moved by functions that are not inlined: they are few, and
 * the code of every kernel would be twice as long.
 */
template <typename T>
static __device__ TC_NOINLINE tc_sixteen tc_load_edge(const T *x, int low, int high, T fill)
{
    tc_vector<T, 16 / sizeof(T)> to;
    tc_sixteen raw;
#pragma unroll
    for (int k = 0; k < static_cast<int>(16 / sizeof(T)); k++) {
        to.at[k] = fill;
        if (k >= low && k < high)
            to.at[k] = x[k];
    }
    memcpy(&raw, &to, sizeof raw);
    return raw;
}

template <typename T>
static __device__ TC_NOINLINE void tc_store_edge(T *y, int low, int high, tc_sixteen raw)
{
    tc_vector<T, 16 / sizeof(T)> from;
    memcpy(&from, &raw, sizeof raw);
#pragma unroll
    for (int k = 0; k < static_cast<int>(16 / sizeof(T)); k++)
        if (k >= low && k < high)
            y[k] = from.at[k];
}

template <typename T, typename I = int32_t> struct tc_row {
    typedef typename tc_row_type<T>::real real;
    static constexpr int width = tc_row_type<T>::width;
    typedef tc_vector<T, width> vector;

    int64_t start; /* element of the tensor where vector 0 begins */
    I end;         /* lead + elements of the row */
    int lead;
    bool aligned;

    /** Row `row` of `p`; one behind the last has no elements. */
    __device__ __forceinline__ tc_row(const tc_rows &p, int64_t row, bool aligned_)
    {
        aligned = aligned_;
        start = row * p.count;
        lead = aligned ? static_cast<int>(start & (width - 1)) : 0;
        start -= lead;
        end = row < p.rows ? static_cast<I>(lead + p.count) : 0;
    }

    /** Elements [low, high) of vector `v` are of the row. */
    __device__ __forceinline__ int low(I v) const
    {
        return v == 0 ? lead : 0;
    }
    __device__ __forceinline__ int high(I v) const
    {
        I left = end - v * width;
        return left >= width ? width : left <= 0 ? 0 : static_cast<int>(left);
    }

    /** Elements of vector `v`; `fill` for those outside the row. */
    __device__ __forceinline__ void load(const T *x, I v, T fill, real (&to)[width]) const
    {
        load_at(x + start, v, fill, aligned, to);
    }

    /** Elements of `x`, which all rows share, that belong to vector `v`. */
    __device__ __forceinline__ void load_shared(const T *x, I v, real (&to)[width]) const
    {
        load_at(x - lead, v, T(), aligned && lead == 0, to);
    }

    __device__ __forceinline__ void load_at(const T *x, I v, T fill, bool whole,
                                            real (&to)[width]) const
    {
        tc_sixteen raw;
        vector from;
        x += static_cast<int64_t>(v) * width;
        if (whole && low(v) == 0 && high(v) == width)
            raw = *reinterpret_cast<const tc_sixteen *>(x);
        else
            raw = tc_load_edge<T>(x, low(v), high(v), fill);
        memcpy(&from, &raw, sizeof raw);
#pragma unroll
        for (int k = 0; k < width; k++)
            to[k] = tc_load(from.at[k]);
    }

    __device__ __forceinline__ void store(T *y, I v, const real (&from)[width]) const
    {
        tc_sixteen raw;
        vector to;
        if (high(v) <= low(v))
            return;
        y += start + static_cast<int64_t>(v) * width;
#pragma unroll
        for (int k = 0; k < width; k++)
            to.at[k] = tc_store<T>(from[k]);
        memcpy(&raw, &to, sizeof raw);
        if (aligned && low(v) == 0 && high(v) == width)
            *reinterpret_cast<tc_sixteen *>(y) = raw;
        else
            tc_store_edge<T>(y, low(v), high(v), raw);
    }
};

/** Position of the thread: which row of the block's, and which thread of its group. */
struct tc_row_place {
    int slot, lane;
    __device__ __forceinline__ explicit tc_row_place(int group)
    {
        slot = static_cast<int>(threadIdx.x) / group;
        lane = static_cast<int>(threadIdx.x) % group;
    }
};

/** Loops over the rows of the block, `row` being that of the thread: all threads take part in every
 * round. */
#define TC_EACH_ROW(p, place, row)                                                         \
    for (int64_t row##_first = static_cast<int64_t>(blockIdx.x) * ((p).block / (p).group), \
                 row = row##_first + (place).slot;                                         \
         row##_first < (p).rows;                                                           \
         row##_first += static_cast<int64_t>(gridDim.x) * ((p).block / (p).group),         \
                 row = row##_first + (place).slot)

#endif
