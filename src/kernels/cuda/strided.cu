#include "kernels/cuda/strided.cuh"

/* Threads of a block; of a tile TILE x TILE_ROWS. */
#define THREADS   256
#define TILE      32
#define TILE_ROWS 8
/* Shorter sides than this are not worth a tile. */
#define LEAST_SIDE 8

/*
 * Plans
 */

/* Drops dimensions of size 1 and merges neighbours. */
static int32_t merge(int32_t rank, const strided_dim *dims, strided_dim *out)
{
    int32_t n = 0;
    for (int32_t i = 0; i < rank; i++) {
        if (dims[i].count == 1)
            continue;
        strided_dim *outer = &out[n ? n - 1 : 0];
        if (n && outer->from == dims[i].from * dims[i].count &&
            outer->to == dims[i].to * dims[i].count)
            *outer = {outer->count * dims[i].count, dims[i].from, dims[i].to};
        else
            out[n++] = dims[i];
    }
    return n;
}

/* The most bytes that move as one: a divisor of the contiguous run, strides and offsets. */
static void widen(strided_plan *p)
{
    strided_dim *inner = &p->dims[p->rank ? p->rank - 1 : 0];
    if (p->rank == 0 || inner->from != p->element || inner->to != p->element)
        return;
    uint64_t bits = static_cast<uint64_t>(inner->count * p->element) |
                    static_cast<uint64_t>(p->from_offset) | static_cast<uint64_t>(p->to_offset) |
                    16;
    for (int32_t i = 0; i + 1 < p->rank; i++)
        bits |= static_cast<uint64_t>(p->dims[i].from) | static_cast<uint64_t>(p->dims[i].to);
    int32_t wide = static_cast<int32_t>(bits & (0 - bits));
    *inner = {inner->count * p->element / wide, wide, wide};
    p->count = p->count * p->element / wide;
    p->element = wide;
    if (inner->count == 1)
        p->rank--;
}

static int32_t find_row(const strided_plan *p)
{
    const strided_dim *inner = &p->dims[p->rank ? p->rank - 1 : 0];
    if (p->rank < 2 || inner->to != p->element || inner->from == 0 || inner->count < LEAST_SIDE)
        return -1;
    for (int32_t i = 0; i + 1 < p->rank; i++)
        if (p->dims[i].from == p->element && p->dims[i].count >= LEAST_SIDE)
            return i;
    return -1;
}

void strided_make(strided_plan *plan, int32_t rank, const strided_dim *dims, int32_t element,
                  int64_t from_offset, int64_t to_offset)
{
    memset(plan, 0, sizeof *plan);
    plan->element = element;
    plan->from_offset = from_offset;
    plan->to_offset = to_offset;
    plan->row = -1;
    plan->count = 1;
    for (int32_t i = 0; i < rank; i++)
        plan->count *= dims[i].count;
    if (plan->count == 0)
        return;
    plan->rank = merge(rank, dims, plan->dims);
    widen(plan);
    plan->row = find_row(plan);
}

/*
 * Element by element, in the order of the result: a thread has loads of EACH elements under way.
 */
#define EACH 4

template <typename E>
static __global__ void __launch_bounds__(THREADS)
    copy_elements(strided_walk w, uint32_t count, const char *__restrict__ x, char *__restrict__ y)
{
    for (uint32_t first = blockIdx.x * (THREADS * EACH) + threadIdx.x; first < count;
         first += gridDim.x * (THREADS * EACH)) {
        E v[EACH];
        int64_t to[EACH];
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++) {
            int64_t from = 0;
            to[k] = 0;
            if (first + k * THREADS < count) {
                strided_offsets(w, first + k * THREADS, &from, &to[k]);
                v[k] = *reinterpret_cast<const E *>(x + from);
            }
        }
#pragma unroll
        for (uint32_t k = 0; k < EACH; k++)
            if (first + k * THREADS < count)
                *reinterpret_cast<E *>(y + to[k]) = v[k];
    }
}

/*
 * 16 bytes of the result for each thread, whose elements lie `step` bytes apart in x: for strides
 * and repetitions in the innermost dimension. The walk is over groups.
 */
template <typename E>
static __global__ void __launch_bounds__(THREADS)
    copy_groups(strided_walk w, uint32_t groups, int64_t step, const char *__restrict__ x,
                char *__restrict__ y)
{
    constexpr int lanes = 16 / static_cast<int>(sizeof(E));
    uint32_t stride = gridDim.x * THREADS;
    for (uint32_t i = blockIdx.x * THREADS + threadIdx.x; i < groups; i += stride) {
        int64_t from = 0, to = 0;
        strided_offsets(w, i, &from, &to);
        tc_vector<E, lanes> v;
        v.at[0] = *reinterpret_cast<const E *>(x + from);
#pragma unroll
        for (int k = 1; k < lanes; k++)
            v.at[k] = step ? *reinterpret_cast<const E *>(x + from + k * step) : v.at[0];
        *reinterpret_cast<tc_vector<E, lanes> *>(y + to) = v;
    }
}

/*
 * Tiles through shared memory: rows are contiguous in x, columns in y. Threads move `V` elements
 * as one; lines of the tile are 4 bytes (or an element) longer than it, so that columns spread over
 * the banks.
 */
struct tile_walk {
    strided_walk outer;
    strided_divisor tiles_down, tiles_across;
    uint32_t tiles, rows, columns;
    int64_t from_column, to_row; /* bytes */
};

template <typename E, int V>
static __global__ void __launch_bounds__(TILE *TILE_ROWS)
    copy_tiles(tile_walk w, const char *__restrict__ x, char *__restrict__ y)
{
    constexpr int side = TILE * V;
    constexpr int line = side + (V > 1 ? V : 1);
    typedef tc_vector<E, V> vector;
    alignas(16) __shared__ E tile[side * line];
    const uint32_t lane = threadIdx.x * V;
    for (uint32_t t = blockIdx.x; t < w.tiles; t += gridDim.x) {
        uint32_t rest = strided_quotient(t, w.tiles_across);
        uint32_t column = (t - rest * static_cast<uint32_t>(w.tiles_across.by)) * side;
        uint32_t outer = strided_quotient(rest, w.tiles_down);
        uint32_t row = (rest - outer * static_cast<uint32_t>(w.tiles_down.by)) * side;
        int64_t from = 0, to = 0;
        strided_offsets(w.outer, outer, &from, &to);
        const char *source = x + from + static_cast<int64_t>(row + lane) * sizeof(E);
        if (row + lane < w.rows)
#pragma unroll 8
            for (int k = 0; k < side; k += TILE_ROWS) {
                uint32_t c = threadIdx.y + k;
                if (column + c < w.columns)
                    *reinterpret_cast<vector *>(&tile[c * line + lane]) =
                        *reinterpret_cast<const vector *>(
                            source + static_cast<int64_t>(column + c) * w.from_column);
            }
        __syncthreads();
        char *target = y + to + static_cast<int64_t>(column + lane) * sizeof(E);
        if (column + lane < w.columns)
#pragma unroll 8
            for (int k = 0; k < side; k += TILE_ROWS) {
                uint32_t r = threadIdx.y + k;
                if (row + r < w.rows) {
                    vector v;
#pragma unroll
                    for (int i = 0; i < V; i++)
                        v.at[i] = tile[(lane + i) * line + r];
                    *reinterpret_cast<vector *>(target + static_cast<int64_t>(row + r) * w.to_row) =
                        v;
                }
            }
        __syncthreads();
    }
}

/*
 * Launches
 */
struct copy {
    strided_plan plan;
    const char *from;
    char *to;
    const tc_kernel_context *context;
};

template <typename E> static tc_status launch_elements(const copy &c)
{
    strided_walk w = strided_walk_of(c.plan.rank, c.plan.dims);
    unsigned blocks = tc_cuda_blocks(c.plan.count, THREADS * EACH, TC_CUDA_MOST_BLOCKS);
    return tc_cuda_launch(copy_elements<E>, dim3(blocks), dim3(THREADS), 0, c.context, w,
                          static_cast<uint32_t>(c.plan.count), c.from, c.to);
}

/* True when whole groups of 16 bytes can be written. */
static bool can_group(const copy &c)
{
    const strided_plan *p = &c.plan;
    if (p->rank == 0)
        return false;
    const strided_dim *inner = &p->dims[p->rank - 1];
    uint64_t bits =
        reinterpret_cast<uintptr_t>(c.to) | static_cast<uint64_t>(inner->count * p->element);
    for (int32_t i = 0; i + 1 < p->rank; i++)
        bits |= static_cast<uint64_t>(p->dims[i].to);
    return inner->to == p->element && inner->from != p->element && bits % 16 == 0;
}

template <typename E> static tc_status launch_groups(const copy &c)
{
    strided_plan p = c.plan;
    int64_t lanes = 16 / static_cast<int64_t>(sizeof(E));
    strided_dim *inner = &p.dims[p.rank - 1];
    int64_t step = inner->from, groups = p.count / lanes;
    *inner = {inner->count / lanes, inner->from * lanes, 16};
    strided_walk w = strided_walk_of(p.rank, p.dims);
    unsigned blocks = tc_cuda_blocks(groups, THREADS, TC_CUDA_MOST_BLOCKS);
    return tc_cuda_launch(copy_groups<E>, dim3(blocks), dim3(THREADS), 0, c.context, w,
                          static_cast<uint32_t>(groups), step, c.from, c.to);
}

/* True when `V` elements can be read along rows and written along columns. */
static bool can_pair(const copy &c, int64_t bytes)
{
    const strided_plan *p = &c.plan;
    uint64_t bits = reinterpret_cast<uintptr_t>(c.from) | reinterpret_cast<uintptr_t>(c.to);
    for (int32_t i = 0; i < p->rank; i++) {
        if (i != p->row)
            bits |= static_cast<uint64_t>(p->dims[i].from);
        if (i != p->rank - 1)
            bits |= static_cast<uint64_t>(p->dims[i].to);
        if (i == p->row || i == p->rank - 1)
            bits |= static_cast<uint64_t>(p->dims[i].count * p->element);
    }
    return bits % static_cast<uint64_t>(bytes) == 0;
}

template <typename E, int V> static tc_status launch_tiles(const copy &c)
{
    const strided_plan *p = &c.plan;
    const int64_t side = TILE * V;
    strided_dim row = p->dims[p->row], column = p->dims[p->rank - 1], outer[STRIDED_RANK];
    int32_t rank = 0;
    int64_t slices = 1;
    for (int32_t i = 0; i + 1 < p->rank; i++)
        if (i != p->row) {
            outer[rank++] = p->dims[i];
            slices *= p->dims[i].count;
        }
    tile_walk w;
    memset(&w, 0, sizeof w);
    w.outer = strided_walk_of(rank, outer);
    w.tiles_down = strided_divisor_of((row.count + side - 1) / side);
    w.tiles_across = strided_divisor_of((column.count + side - 1) / side);
    w.tiles = static_cast<uint32_t>(slices * w.tiles_down.by * w.tiles_across.by);
    w.rows = static_cast<uint32_t>(row.count);
    w.columns = static_cast<uint32_t>(column.count);
    w.from_column = column.from;
    w.to_row = row.to;
    return tc_cuda_launch(copy_tiles<E, V>, dim3(w.tiles), dim3(TILE, TILE_ROWS), 0, c.context, w,
                          c.from, c.to);
}

static tc_status launch(const copy &c)
{
    bool tiles = c.plan.row >= 0, groups = !tiles && can_group(c), pairs = tiles && can_pair(c, 4);
    switch (c.plan.element) {
    case 1:
        return groups  ? launch_groups<uint8_t>(c)
               : pairs ? launch_tiles<uint8_t, 4>(c)
               : tiles ? launch_tiles<uint8_t, 1>(c)
                       : launch_elements<uint8_t>(c);
    case 2:
        return groups  ? launch_groups<uint16_t>(c)
               : pairs ? launch_tiles<uint16_t, 2>(c)
               : tiles ? launch_tiles<uint16_t, 1>(c)
                       : launch_elements<uint16_t>(c);
    case 4:
        return groups  ? launch_groups<uint32_t>(c)
               : tiles ? launch_tiles<uint32_t, 1>(c)
                       : launch_elements<uint32_t>(c);
    case 8:
        return groups  ? launch_groups<uint64_t>(c)
               : tiles ? launch_tiles<uint64_t, 1>(c)
                       : launch_elements<uint64_t>(c);
    default: return tiles ? launch_tiles<uint4, 1>(c) : launch_elements<uint4>(c);
    }
}

/* Cuts what 32-bit indices do not reach along the longest dimension. */
static tc_status launch_parts(const copy &c)
{
    if (strided_is_narrow(c.plan.count))
        return launch(c);
    int32_t longest = 0;
    for (int32_t i = 1; i < c.plan.rank; i++)
        if (c.plan.dims[i].count > c.plan.dims[longest].count)
            longest = i;
    copy lower = c, upper = c;
    const strided_dim *whole = &c.plan.dims[longest];
    int64_t half = whole->count / 2;
    half += half >= 16 ? -half % 16 : 0; /* groups stay whole */
    lower.plan.dims[longest].count = half;
    upper.plan.dims[longest].count -= half;
    lower.plan.count = c.plan.count / whole->count * half;
    upper.plan.count = c.plan.count - lower.plan.count;
    upper.from += half * whole->from;
    upper.to += half * whole->to;
    TC_TRY(launch_parts(lower));
    return launch_parts(upper);
}

tc_status strided_copy(const strided_plan *plan, const void *from, void *to,
                       const tc_kernel_context *context)
{
    if (plan->count == 0)
        return TC_OK;
    copy c = {*plan, static_cast<const char *>(from) + plan->from_offset,
              static_cast<char *>(to) + plan->to_offset, context};
    /* What the plan made wide is narrowed again for buffers that lie amiss. */
    uintptr_t bits = reinterpret_cast<uintptr_t>(c.from) | reinterpret_cast<uintptr_t>(c.to) |
                     static_cast<uintptr_t>(plan->element);
    int32_t element = static_cast<int32_t>(bits & (0 - bits));
    if (element < c.plan.element) {
        int64_t parts = c.plan.element / element;
        c.plan.dims[c.plan.rank++] = {parts, element, element};
        c.plan.count *= parts;
        c.plan.element = element;
        c.plan.row = -1;
    }
    return launch_parts(c);
}
