/*
 * What kernels on elements share: how elements are stored and computed, accesses of 16 bytes, loops
 * over a grid, broadcasts.
 *
 * A kernel is compiled once for each type C that elements are computed in - float, double, int64_t
 * and uint64_t - and told at run time how they are stored: the branches are the same for all
 * threads, and the code is a fifth of what one kernel per dtype takes. Smaller integers are
 * computed in int64_t, whose low bits are theirs.
 *
 * A group is as many neighbouring elements as one thread takes at a time. Threads load their next
 * group before they compute the last one, so that two are under way.
 */
#ifndef TC_KERNELS_CUDA_ELEMENTWISE_CUH
#define TC_KERNELS_CUDA_ELEMENTWISE_CUH

#include <type_traits>

#include "kernels/cuda/cuda.cuh"

extern "C" {
#include "core/broadcast.h"
}

#define TC_THREADS 256

/*
 * Groups
 */
/** Elements of a group: 16 bytes of f32. The rare types with long code take one at a time. */
template <typename C> constexpr int tc_width = 1;
template <> constexpr int tc_width<float> = 4;
template <> constexpr int tc_width<int64_t> = 4;

/** The bits of V stored elements that are computed in C, packed as in memory. */
template <typename C, int V> struct tc_raw {
    uint32_t words[V * sizeof(C) / 4];
};

/** How elements are stored. */
struct tc_storage {
    int32_t dtype;
    int32_t size; /* bytes of one */
};

static inline tc_storage tc_storage_of(tc_dtype dtype)
{
    tc_storage storage = {dtype, static_cast<int32_t>(tc_dtype_size(dtype))};
    return storage;
}

/** Whether inputs with elements of `size` bytes are computed in C, and whether there are such
 * outputs: bool is what all comparisons give. */
template <typename C> static constexpr bool tc_reads(int size)
{
    return std::is_same_v<C, int64_t> ||
           (std::is_same_v<C, float> ? size == 2 || size == 4 : size == 8);
}

template <typename C> static constexpr bool tc_writes(int size)
{
    return size == 1 || tc_reads<C>(size);
}

template <typename T, typename C, int V>
static __device__ __forceinline__ void tc_read_bits(const void *x, int64_t place, tc_raw<C, V> &raw)
{
    constexpr int bytes = V * sizeof(T);
    const char *from = static_cast<const char *>(x) + place * static_cast<int64_t>(sizeof(T));
    if constexpr (bytes == 1) {
        raw.words[0] = *reinterpret_cast<const uint8_t *>(from);
    } else if constexpr (bytes == 2) {
        raw.words[0] = *reinterpret_cast<const uint16_t *>(from);
    } else {
        constexpr int piece = bytes > 16 ? 4 : bytes / 4;
#pragma unroll
        for (int p = 0; p < bytes / 4; p += piece) {
            tc_vector<uint32_t, piece> part =
                reinterpret_cast<const tc_vector<uint32_t, piece> *>(from)[p / piece];
#pragma unroll
            for (int i = 0; i < piece; i++)
                raw.words[p + i] = part.at[i];
        }
    }
}

template <typename T, typename C, int V>
static __device__ __forceinline__ void tc_write_bits(void *y, int64_t place,
                                                     const tc_raw<C, V> &raw)
{
    constexpr int bytes = V * sizeof(T);
    char *to = static_cast<char *>(y) + place * static_cast<int64_t>(sizeof(T));
    if constexpr (bytes == 1) {
        *reinterpret_cast<uint8_t *>(to) = static_cast<uint8_t>(raw.words[0]);
    } else if constexpr (bytes == 2) {
        *reinterpret_cast<uint16_t *>(to) = static_cast<uint16_t>(raw.words[0]);
    } else {
        constexpr int piece = bytes > 16 ? 4 : bytes / 4;
#pragma unroll
        for (int p = 0; p < bytes / 4; p += piece) {
            tc_vector<uint32_t, piece> part;
#pragma unroll
            for (int i = 0; i < piece; i++)
                part.at[i] = raw.words[p + i];
            reinterpret_cast<tc_vector<uint32_t, piece> *>(to)[p / piece] = part;
        }
    }
}

#define TC_SIZE_CASE(moves, bytes, type, ...) \
    case bytes:                               \
        if constexpr (moves<C>(bytes)) {      \
            typedef type T;                   \
            __VA_ARGS__                       \
        }                                     \
        break;
/* The statement with T the unsigned type of elements of `size` bytes; `moves` is tc_reads or
 * tc_writes. */
#define TC_BY_SIZE(moves, size, ...)                  \
    switch (size) {                                   \
        TC_SIZE_CASE(moves, 1, uint8_t, __VA_ARGS__)  \
        TC_SIZE_CASE(moves, 2, uint16_t, __VA_ARGS__) \
        TC_SIZE_CASE(moves, 4, uint32_t, __VA_ARGS__) \
        TC_SIZE_CASE(moves, 8, uint64_t, __VA_ARGS__) \
    }

/** V elements of `size` bytes from element `place` of `x` on, which V * size or 16 divides. */
template <typename C, int V>
static __device__ __forceinline__ tc_raw<C, V> tc_read(const void *x, int64_t place, int size)
{
    tc_raw<C, V> raw = {};
    TC_BY_SIZE(tc_reads, size, tc_read_bits<T>(x, place, raw);)
    return raw;
}

template <typename C, int V>
static __device__ __forceinline__ void tc_write(void *y, int64_t place, int size,
                                                const tc_raw<C, V> &raw)
{
    TC_BY_SIZE(tc_writes, size, tc_write_bits<T>(y, place, raw);)
}

/** Element `i` among those of type T. */
template <typename T, typename C, int V>
static __device__ __forceinline__ T tc_unpack(const tc_raw<C, V> &raw, int i)
{
    if constexpr (sizeof(T) == 8)
        return static_cast<T>(raw.words[2 * i] | static_cast<uint64_t>(raw.words[2 * i + 1]) << 32);
    else
        return static_cast<T>(raw.words[i * static_cast<int>(sizeof(T)) / 4] >>
                              i * sizeof(T) % 4 * 8);
}

/** Puts element `i` into words that are 0 there. */
template <typename T, typename C, int V>
static __device__ __forceinline__ void tc_pack(tc_raw<C, V> &raw, int i, T bits)
{
    if constexpr (sizeof(T) == 8) {
        raw.words[2 * i] = static_cast<uint32_t>(bits);
        raw.words[2 * i + 1] = static_cast<uint32_t>(bits >> 32);
    } else {
        raw.words[i * static_cast<int>(sizeof(T)) / 4] |= static_cast<uint32_t>(bits)
                                                          << i * sizeof(T) % 4 * 8;
    }
}

#define TC_EACH_OF(V) _Pragma("unroll") for (int i = 0; i < V; i++)

/** Elements as numbers of C. */
template <typename C, int V>
static __device__ __forceinline__ void tc_decode(int dtype, const tc_raw<C, V> &raw, C (&x)[V])
{
    if constexpr (std::is_same_v<C, float>) {
        switch (dtype) {
        case TC_F16: TC_EACH_OF(V) x[i] = tc_load(tc_half{tc_unpack<uint16_t>(raw, i)}); break;
        case TC_BF16: TC_EACH_OF(V) x[i] = tc_load(tc_bfloat{tc_unpack<uint16_t>(raw, i)}); break;
        default: TC_EACH_OF(V) x[i] = __uint_as_float(raw.words[i]);
        }
    } else if constexpr (std::is_same_v<C, double>) {
        TC_EACH_OF(V)
        x[i] = __longlong_as_double(static_cast<long long>(tc_unpack<uint64_t>(raw, i)));
    } else if constexpr (std::is_same_v<C, uint64_t>) {
        TC_EACH_OF(V) x[i] = tc_unpack<uint64_t>(raw, i);
    } else {
        switch (dtype) {
        case TC_I8: TC_EACH_OF(V) x[i] = tc_unpack<int8_t>(raw, i); break;
        case TC_I16: TC_EACH_OF(V) x[i] = tc_unpack<int16_t>(raw, i); break;
        case TC_I32: TC_EACH_OF(V) x[i] = tc_unpack<int32_t>(raw, i); break;
        case TC_U8:
        case TC_BOOL: TC_EACH_OF(V) x[i] = tc_unpack<uint8_t>(raw, i); break;
        case TC_U16: TC_EACH_OF(V) x[i] = tc_unpack<uint16_t>(raw, i); break;
        case TC_U32: TC_EACH_OF(V) x[i] = tc_unpack<uint32_t>(raw, i); break;
        default: TC_EACH_OF(V) x[i] = tc_unpack<int64_t>(raw, i);
        }
    }
}

/** Numbers of C rounded, or cut, to `storage`. */
template <typename C, int V>
static __device__ __forceinline__ tc_raw<C, V> tc_encode(tc_storage storage, const C (&x)[V])
{
    tc_raw<C, V> raw = {};
    if (storage.dtype == TC_BOOL) {
        TC_EACH_OF(V) tc_pack(raw, i, static_cast<uint8_t>(x[i] != 0));
    } else if constexpr (std::is_same_v<C, float>) {
        switch (storage.dtype) {
        case TC_F16: TC_EACH_OF(V) tc_pack(raw, i, tc_store<tc_half>(x[i]).bits); break;
        case TC_BF16: TC_EACH_OF(V) tc_pack(raw, i, tc_store<tc_bfloat>(x[i]).bits); break;
        default: TC_EACH_OF(V) raw.words[i] = __float_as_uint(x[i]);
        }
    } else if constexpr (std::is_same_v<C, double>) {
        TC_EACH_OF(V) tc_pack(raw, i, static_cast<uint64_t>(__double_as_longlong(x[i])));
    } else {
        TC_BY_SIZE(tc_reads, storage.size, TC_EACH_OF(V) tc_pack(raw, i, static_cast<T>(x[i]));)
    }
    return raw;
}

static __device__ __forceinline__ int64_t tc_thread_index(void)
{
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

static __device__ __forceinline__ int64_t tc_thread_count(void)
{
    return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

/**
 * use(i, load(i)) for every i below `count` that belongs to this thread. The thread's next load
 * comes before its last use, so what `use` writes must not be what another i loads.
 */
template <typename L, typename U>
static __device__ __forceinline__ void tc_each(int64_t count, L load, U use)
{
    int64_t first = tc_thread_index(), stride = tc_thread_count();
    decltype(load(first)) now = {};
    for (int64_t i = first;; i += stride) { /* one place that loads, which is most of the code */
        decltype(load(first)) next = {};
        if (i < count)
            next = load(i);
        if (i > first)
            use(i - stride, now);
        if (i >= count)
            return;
        now = next;
    }
}

/*
 * Launches
 */
static inline bool tc_aligned(const void *a, const void *b, const void *c = NULL,
                              const void *d = NULL)
{
    return ((reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
             reinterpret_cast<uintptr_t>(c) | reinterpret_cast<uintptr_t>(d)) %
            16) == 0;
}

/** Blocks for `groups` groups of `width` among `count` elements, the others being taken one by one.
 */
static inline dim3 tc_grid(int64_t count, int64_t groups, int width)
{
    int64_t rest = count - groups * width;
    return dim3(tc_cuda_blocks(groups > rest ? groups : rest, TC_THREADS, TC_CUDA_MOST_BLOCKS));
}

/*
 * Broadcasts
 */
/** Division by a positive number, as a multiplication. */
struct tc_divisor {
    uint64_t magic; /* 2^(63 + shift) / size, rounded up, where 2^shift is not below size */
    int64_t size;
    int64_t shift;
};

static inline tc_divisor tc_divisor_of(int64_t size)
{
    tc_divisor d = {0, size, 0};
    while (static_cast<int64_t>(1) << d.shift < size && d.shift < 62)
        d.shift++;
    unsigned __int128 power = static_cast<unsigned __int128>(1) << (63 + d.shift);
    d.magic = static_cast<uint64_t>(power / static_cast<uint64_t>(size)) + 1;
    d.shift--; /* of the 64 bits below the high half of the product, 63 count */
    return d;
}

/** n / d for n below 2^62: the excess of the magic, at most 2^shift / size <= 2, is too small to
 * show. */
static __device__ __forceinline__ int64_t tc_divide(int64_t n, const tc_divisor &d)
{
    if (d.size == 1)
        return n;
    uint64_t high = __umul64hi(static_cast<uint64_t>(n), d.magic);
    return static_cast<int64_t>(high >> d.shift);
}

/** tc_broadcast as devices walk along it. */
struct tc_loops {
    int64_t count, inner;
    int64_t rank;
    tc_divisor dims[TC_MAX_RANK];
    int64_t strides[TC_BROADCAST_INPUTS][TC_MAX_RANK];
};

static inline void tc_loops_of(tc_loops *loops, const tc_broadcast *broadcast)
{
    loops->count = broadcast->count;
    loops->inner = broadcast->inner;
    loops->rank = broadcast->rank;
    for (int d = 0; d < broadcast->rank; d++)
        if (broadcast->dims[d] > 1)
            loops->dims[d] = tc_divisor_of(broadcast->dims[d]);
    memcpy(loops->strides, broadcast->strides, sizeof loops->strides);
}

/** prepare of kernels whose inputs broadcast to output 0. */
static inline tc_status tc_prepare_loops(tc_prepare *prepare)
{
    tc_loops *loops = static_cast<tc_loops *>(tc_prepare_params(prepare, sizeof *loops));
    if (!loops)
        return TC_RESOURCE_EXHAUSTED;
    tc_broadcast broadcast;
    memset(&broadcast, 0, sizeof broadcast);
    tc_broadcast_plan(&broadcast, prepare);
    tc_loops_of(loops, &broadcast);
    return TC_OK;
}

/** Groups of `width` that the elements fall into: none where rows would be cut. */
static inline int64_t tc_loops_groups(const tc_loops *loops, int width, bool aligned)
{
    return aligned && (loops->rank <= 1 || loops->inner % width == 0) ? loops->count / width : 0;
}

template <int N> struct tc_places {
    int64_t at[N];
};

/** Elements of N inputs that belong to element i of the output. */
template <int N>
static __device__ __forceinline__ tc_places<N> tc_loops_places(const tc_loops &loops, int64_t i)
{
    tc_places<N> places = {};
    for (int d = static_cast<int>(loops.rank) - 1; d > 0; d--) {
        int64_t quotient = tc_divide(i, loops.dims[d]), rest = i - quotient * loops.dims[d].size;
#pragma unroll
        for (int n = 0; n < N; n++)
            places.at[n] += rest * loops.strides[n][d];
        i = quotient;
    }
#pragma unroll
    for (int n = 0; n < N; n++)
        places.at[n] += i * loops.strides[n][0];
    return places;
}

/** The group of input `n` for element `place` on: one element again and again where the innermost
 * stride is 0. */
template <typename C, int V>
static __device__ __forceinline__ tc_raw<C, V> tc_read_broadcast(const void *x, int64_t place,
                                                                 int size, const tc_loops &loops,
                                                                 int n)
{
    if (V == 1 || loops.strides[n][loops.rank > 0 ? loops.rank - 1 : 0] != 0)
        return tc_read<C, V>(x, place, size);
    tc_raw<C, 1> single = tc_read<C, 1>(x, place, size);
    tc_raw<C, V> raw = {};
    TC_BY_SIZE(tc_reads, size, TC_EACH_OF(V) tc_pack(raw, i, tc_unpack<T>(single, 0));)
    return raw;
}

/*
 * Tables: ENTRY(op, tag, C) for the dtypes of a class, C being what their elements are computed in.
 */
#define TC_FLOATS(ENTRY, op) \
    ENTRY(op, f32, float), ENTRY(op, f64, double), ENTRY(op, f16, float), ENTRY(op, bf16, float)
#define TC_SIGNEDS(ENTRY, op)                                                 \
    ENTRY(op, i8, int64_t), ENTRY(op, i16, int64_t), ENTRY(op, i32, int64_t), \
        ENTRY(op, i64, int64_t)
#define TC_UNSIGNEDS(ENTRY, op)                                               \
    ENTRY(op, u8, int64_t), ENTRY(op, u16, int64_t), ENTRY(op, u32, int64_t), \
        ENTRY(op, u64, uint64_t)
#define TC_NUMBERS(ENTRY, op) TC_FLOATS(ENTRY, op), TC_SIGNEDS(ENTRY, op), TC_UNSIGNEDS(ENTRY, op)
#define TC_BOOLS(ENTRY, op)   ENTRY(op, bool, int64_t)

#endif
