/*
 * Adding slices at indices: scatter_add and the gradient of gather, without atomic additions.
 *
 * The positions are sorted by their index: tiles in shared memory, which are then merged in pairs.
 * Keys are index * 2^32 + position, so no two are equal and every way to sort gives the order in
 * which the processor adds. After that a group of threads owns a slice of the result and walks its
 * updates; slices with many are shared by all groups of the block, whose sums are folded in a fixed
 * order.
 */
#include "kernels/cuda/indices.cuh"

#define THREADS 256
/* Keys that a block sorts. */
#define TILE         4096
#define TILE_THREADS 1024
/* Slices that each group of threads owns in turn. */
#define SLICES 4
/* Updates from which on a slice is shared by the block. */
#define MANY 64
/* Of an index out of range: behind all others. */
#define NOWHERE UINT32_MAX

struct scatter_params {
    index_params index;
    int32_t vector;        /* elements that are added as one */
    int32_t across_bits;   /* threads of a group, along a slice: a power of 2, at most a warp */
    strided_divisor tiles; /* of the units of a slice, a group each */
    strided_divisor parts; /* of the slices, a block each */
    size_t keys;           /* bytes of the workspace; the starts of slices among them follow */
};

static tc_status prepare_scatter(tc_prepare *prepare)
{
    scatter_params *p = static_cast<scatter_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_dtype dtype = prepare->outputs[0].dtype;
    index_params_set(&p->index, prepare->attrs, &prepare->outputs[0].shape, &prepare->inputs[1]);
    const index_params *index = &p->index;
    if (index->size >= NOWHERE || index->count >= NOWHERE)
        return tc_kernel_fail(
            TC_RESOURCE_EXHAUSTED, "adding %lld slices to %lld is too much for one kernel",
            static_cast<long long>(index->count), static_cast<long long>(index->size));
    p->vector = 1;
    if (TC_DTYPE_BIT(dtype) & TC_DTYPES_FLOAT) {
        int32_t most = 16 / static_cast<int32_t>(tc_dtype_size(dtype));
        p->vector = index->inner % most == 0 ? most : 1;
    }
    int64_t units = index->inner / p->vector;
    while (p->across_bits < 5 && (int64_t{1} << p->across_bits) < units)
        p->across_bits++;
    int64_t slices = (THREADS >> p->across_bits) * SLICES;
    p->tiles = strided_divisor_of((units + (1 << p->across_bits) - 1) >> p->across_bits);
    p->parts = strided_divisor_of((index->size + slices - 1) / slices);
    p->keys = static_cast<size_t>(index->count) * sizeof(uint64_t) * (index->count > TILE ? 2 : 1);
    prepare->workspace_bytes = p->keys + static_cast<size_t>(index->size + 1) * sizeof(uint32_t);
    return TC_OK;
}

/*
 * Sorting
 */
static __global__ void __launch_bounds__(TILE_THREADS)
    sort_tiles(index_params p, const void *__restrict__ indices, uint64_t *__restrict__ keys,
               tc_run_state *state, int32_t place)
{
    __shared__ uint64_t tile[TILE];
    int64_t first = static_cast<int64_t>(blockIdx.x) * TILE;
    int64_t left = p.count - first;
    uint32_t count = static_cast<uint32_t>(left < TILE ? left : TILE), size = 2;
    while (size < count)
        size *= 2;
    for (uint32_t i = threadIdx.x; i < size; i += TILE_THREADS) {
        uint64_t key = UINT64_MAX;
        if (i < count) {
            int64_t index = index_read(p, indices, first + i);
            if (index < 0)
                index_fault(p, indices, first + i, state, place);
            key = static_cast<uint64_t>(index < 0 ? NOWHERE : index) << 32 |
                  static_cast<uint64_t>(first + i);
        }
        tile[i] = key;
    }
    /* Bitonic: runs of `run` are merged, the second of each pair read backwards. */
    for (uint32_t run = 2; run <= size; run *= 2)
        for (uint32_t step = run / 2; step > 0; step /= 2) {
            __syncthreads();
            for (uint32_t i = threadIdx.x; i < size / 2; i += TILE_THREADS) {
                uint32_t low = (i & ~(step - 1)) * 2 + (i & (step - 1)), high = low + step;
                uint64_t a = tile[low], b = tile[high];
                if ((a > b) == ((low & run) == 0)) {
                    tile[low] = b;
                    tile[high] = a;
                }
            }
        }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count; i += TILE_THREADS)
        keys[first + i] = tile[i];
}

/* The first of the sorted keys [begin, end) that is not below `key`. */
static __device__ __forceinline__ int64_t first_of(const uint64_t *keys, int64_t begin, int64_t end,
                                                   uint64_t key)
{
    while (begin < end) {
        int64_t middle = (begin + end) / 2;
        if (keys[middle] < key)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Merges runs of `run` keys in pairs: each key goes behind those before it in both. */
static __global__ void __launch_bounds__(THREADS)
    merge_runs(int64_t count, int64_t run, const uint64_t *__restrict__ from,
               uint64_t *__restrict__ to)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= count)
        return;
    int64_t mine = i & -run, other = mine ^ run, pair = i & -(2 * run);
    int64_t begin = other < count ? other : count;
    int64_t end = other + run < count ? other + run : count;
    to[pair + (i - mine) + first_of(from, begin, end, from[i]) - begin] = from[i];
}

/* Where the keys of each slice begin, and those of none. */
static __global__ void __launch_bounds__(THREADS)
    find_starts(int64_t size, int64_t count, const uint64_t *__restrict__ keys,
                uint32_t *__restrict__ starts)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
    if (i <= size)
        starts[i] = static_cast<uint32_t>(first_of(keys, 0, count, static_cast<uint64_t>(i) << 32));
}

/* Leaves the sorted keys in the workspace. */
static tc_status sort_keys(const index_params *p, const void *indices,
                           const tc_kernel_context *context, const uint64_t **sorted)
{
    uint64_t *keys = static_cast<uint64_t *>(context->workspace), *spare = keys + p->count;
    *sorted = keys;
    if (p->count == 0)
        return TC_OK;
    unsigned tiles = static_cast<unsigned>((p->count + TILE - 1) / TILE);
    TC_TRY(tc_cuda_launch(sort_tiles, dim3(tiles), dim3(TILE_THREADS), 0, context, *p, indices,
                          keys, context->state, context->place));
    unsigned blocks = static_cast<unsigned>((p->count + THREADS - 1) / THREADS);
    for (int64_t run = TILE; run < p->count; run *= 2) {
        TC_TRY(tc_cuda_launch(merge_runs, dim3(blocks), dim3(THREADS), 0, context, p->count, run,
                              static_cast<const uint64_t *>(keys), spare));
        uint64_t *merged = spare;
        spare = keys;
        keys = merged;
    }
    *sorted = keys;
    return TC_OK;
}

/*
 * Adding
 */
template <typename T, int V> struct sums {
    typedef typename tc_compute<T>::type C;
    C at[V];

    __device__ __forceinline__ void load(const T *x)
    {
        tc_vector<T, V> v = *reinterpret_cast<const tc_vector<T, V> *>(x);
#pragma unroll
        for (int k = 0; k < V; k++)
            at[k] = tc_load(v.at[k]);
    }
    __device__ __forceinline__ void store(T *y) const
    {
        tc_vector<T, V> v;
#pragma unroll
        for (int k = 0; k < V; k++)
            v.at[k] = tc_store<T>(at[k]);
        *reinterpret_cast<tc_vector<T, V> *>(y) = v;
    }
    __device__ __forceinline__ void clear()
    {
#pragma unroll
        for (int k = 0; k < V; k++)
            at[k] = 0;
    }
    __device__ __forceinline__ void add(const sums &other)
    {
#pragma unroll
        for (int k = 0; k < V; k++)
            at[k] = static_cast<C>(at[k] + other.at[k]);
    }
};

/* Loads of a thread that are under way together. */
#define EACH 4

/* Adds the updates of keys begin, begin + step, ... below end. */
template <typename T, int V>
static __device__ __forceinline__ void add_updates(sums<T, V> *sum, const uint64_t *keys,
                                                   uint32_t begin, uint32_t end, uint32_t step,
                                                   const T *updates, int64_t inner)
{
#pragma unroll 1
    for (; begin < end; begin += EACH * step) {
        sums<T, V> update[EACH];
#pragma unroll
        for (uint32_t e = 0; e < EACH; e++)
            if (begin + e * step < end)
                update[e].load(updates + static_cast<uint32_t>(keys[begin + e * step]) * inner);
#pragma unroll
        for (uint32_t e = 0; e < EACH; e++)
            if (begin + e * step < end)
                sum->add(update[e]);
    }
}

/*
 * A block does a part of the slices at one outer place, and of these one unit of V elements per
 * thread of a group. x and y may be the same; x NULL counts as zeros.
 */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS)
    add_slices(scatter_params p, const uint64_t *__restrict__ keys,
               const uint32_t *__restrict__ starts, const T *x, const T *__restrict__ updates, T *y)
{
    typedef typename tc_compute<T>::type C;
    __shared__ C shared[V][THREADS];
    const index_params &index = p.index;
    const uint32_t thread = threadIdx.x, groups = THREADS >> p.across_bits;
    const uint32_t group = thread >> p.across_bits;
    int64_t rest = strided_quotient(static_cast<int64_t>(blockIdx.x), p.tiles);
    int64_t tile = blockIdx.x - rest * p.tiles.by, outer = strided_quotient(rest, p.parts);
    int64_t first = (rest - outer * p.parts.by) * groups * SLICES, left = index.size - first;
    uint32_t slices = static_cast<uint32_t>(left < groups * SLICES ? left : groups * SLICES);
    int64_t element = ((tile << p.across_bits) + (thread & ((1u << p.across_bits) - 1))) *
                      static_cast<int64_t>(V);
    bool inside = element < index.inner, shares = false;
    starts += first;
    updates += outer * index.count * index.inner + element;
    const int64_t base = (outer * index.size + first) * index.inner + element;
#pragma unroll 1
    for (uint32_t i = group; i < slices; i += groups) {
        uint32_t begin = starts[i], end = starts[i + 1];
        shares |= end - begin > MANY;
        if (!inside || end - begin > MANY)
            continue;
        sums<T, V> sum;
        if (x)
            sum.load(x + base + i * index.inner);
        else
            sum.clear();
        add_updates(&sum, keys, begin, end, 1, updates, index.inner);
        sum.store(y + base + i * index.inner);
    }
    if (!__syncthreads_or(shares))
        return;
#pragma unroll 1
    for (uint32_t i = 0; i < slices; i++) {
        uint32_t begin = starts[i], end = starts[i + 1];
        if (end - begin <= MANY)
            continue;
        sums<T, V> sum;
        if (x && group == 0 && inside)
            sum.load(x + base + i * index.inner);
        else
            sum.clear();
        if (inside)
            add_updates(&sum, keys, begin + group, end, groups, updates, index.inner);
#pragma unroll
        for (int k = 0; k < V; k++)
            shared[k][thread] = sum.at[k];
#pragma unroll 1
        for (uint32_t half = groups / 2; half > 0; half /= 2) {
            __syncthreads();
            if (group < half)
#pragma unroll
                for (int k = 0; k < V; k++)
                    shared[k][thread] = static_cast<C>(shared[k][thread] +
                                                       shared[k][thread + (half << p.across_bits)]);
        }
        if (group == 0 && inside) {
#pragma unroll
            for (int k = 0; k < V; k++)
                sum.at[k] = shared[k][thread];
            sum.store(y + base + i * index.inner);
        }
        __syncthreads();
    }
}

template <typename T, int V>
static tc_status launch_add(const scatter_params *p, const uint64_t *keys, const uint32_t *starts,
                            const void *x, const void *updates, void *y,
                            const tc_kernel_context *context)
{
    int64_t blocks = p->index.outer * p->parts.by * p->tiles.by;
    if (blocks > INT32_MAX)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED, "the result is too large for one kernel");
    return tc_cuda_launch(add_slices<T, V>, dim3(static_cast<unsigned>(blocks)), dim3(THREADS), 0,
                          context, *p, keys, starts, static_cast<const T *>(x),
                          static_cast<const T *>(updates), static_cast<T *>(y));
}

template <typename T, int V>
static tc_status run_scatter(const void *params, const void *x, const void *indices,
                             const void *updates, void *y, const tc_kernel_context *context)
{
    scatter_params p = *static_cast<const scatter_params *>(params);
    const uint64_t *keys;
    TC_TRY(sort_keys(&p.index, indices, context, &keys));
    uint32_t *starts =
        reinterpret_cast<uint32_t *>(static_cast<char *>(context->workspace) + p.keys);
    TC_TRY(tc_cuda_launch(find_starts,
                          dim3(static_cast<unsigned>((p.index.size + THREADS) / THREADS)),
                          dim3(THREADS), 0, context, p.index.size, p.index.count, keys, starts));
    uintptr_t bits = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(updates) |
                     reinterpret_cast<uintptr_t>(y);
    if constexpr (V > 1)
        if (p.vector == V && bits % 16 == 0)
            return launch_add<T, V>(&p, keys, starts, x, updates, y, context);
    int64_t units = p.index.inner;
    p.tiles = strided_divisor_of((units + (1 << p.across_bits) - 1) >> p.across_bits);
    return launch_add<T, 1>(&p, keys, starts, x, updates, y, context);
}

template <typename T, int V>
static tc_status run_scatter_add(const void *params, const void *const *inputs,
                                 void *const *outputs, const tc_kernel_context *context)
{
    return run_scatter<T, V>(params, inputs[0], inputs[1], inputs[2], outputs[0], context);
}

template <typename T, int V>
static tc_status run_gather_grad(const void *params, const void *const *inputs,
                                 void *const *outputs, const tc_kernel_context *context)
{
    return run_scatter<T, V>(params, NULL, inputs[1], inputs[0], outputs[0], context);
}

static tc_status fault_scatter(const void *params, const tc_fault *fault)
{
    return index_fail(&static_cast<const scatter_params *>(params)->index, fault);
}

#define KERNELS(tag, T, V)                                                                \
    TC_CUDA_FAULTY_KERNEL(scatter_add, tag, prepare_scatter, (run_scatter_add<T, V>),     \
                          fault_scatter),                                                 \
        TC_CUDA_FAULTY_KERNEL(gather_grad, tag, prepare_scatter, (run_gather_grad<T, V>), \
                              fault_scatter)

/* Unsigned sums wrap around: for signed integers too. */
static const tc_kernel kernels[] = {
    KERNELS(f32, float, 4),      KERNELS(f64, double, 2),   KERNELS(f16, tc_half, 8),
    KERNELS(bf16, tc_bfloat, 8), KERNELS(i8, uint8_t, 1),   KERNELS(i16, uint16_t, 1),
    KERNELS(i32, uint32_t, 1),   KERNELS(i64, uint64_t, 1), KERNELS(u8, uint8_t, 1),
    KERNELS(u16, uint16_t, 1),   KERNELS(u32, uint32_t, 1), KERNELS(u64, uint64_t, 1),
};

TC_CUDA_TABLE(scatter, kernels);
