/*
 * Tiles of attention: how 16 x 16 threads move and multiply them.
 *
 * A tile has TILE rows (queries) and TILE keys. Each thread has the scores of M rows behind each
 * other and of M keys that are 16 apart. Tiles of q, k, v and dy pass through shared memory in the
 * type that is computed in, TILE columns at a time, as they lie in memory; a line of a tile is 16
 * bytes longer than its content, so that what a warp reads lies in different banks.
 */
#ifndef TC_KERNELS_CUDA_ATTENTION_TILES_CUH
#define TC_KERNELS_CUDA_ATTENTION_TILES_CUH

#include "kernels/cuda/attention.cuh"

#define THREADS 256
#define SIDE    16

template <typename T> struct shape_of {
    typedef typename tc_compute<T>::type R;
    static constexpr int M = 16 / static_cast<int>(sizeof(R));
    static constexpr int TILE = SIDE * M, LD = TILE + M;
    static constexpr size_t shared_bytes = 3 * TILE * LD * sizeof(R);
};

/* Rows [row, row + TILE) and columns [column, column + TILE) of an array with `rows` rows of
 * `columns` elements, 0 outside of it. Vectors that lie behind the last column are left as they
 * are. */
template <typename T>
static __device__ TC_NOINLINE void load_tile(typename shape_of<T>::R *to, const T *from, int rows,
                                             int64_t columns, int row, int64_t column, bool aligned)
{
    typedef typename shape_of<T>::R R;
    constexpr int N = 16 / sizeof(T), TILE = shape_of<T>::TILE, M = shape_of<T>::M;
#pragma unroll
    for (int i = static_cast<int>(threadIdx.x); i < TILE * TILE / N; i += THREADS) {
        int r = i / (TILE / N), c = i % (TILE / N) * N;
        const T *at = from + static_cast<int64_t>(row + r) * columns + column + c;
        int64_t left = columns - column - c;
        if (left <= 0)
            continue;
        left = row + r < rows ? left : 0;
        tc_sixteen raw;
        tc_vector<T, N> values;
        if (aligned && left >= N)
            raw = *reinterpret_cast<const tc_sixteen *>(at);
        else
            raw = tc_load_edge<T>(at, 0, static_cast<int>(left < N ? left : N), T());
        memcpy(&values, &raw, sizeof raw);
#pragma unroll
        for (int k = 0; k < N; k += M) {
            tc_vector<R, M> wide;
#pragma unroll
            for (int m = 0; m < M; m++)
                wide.at[m] = tc_load(values.at[k + m]);
            *reinterpret_cast<tc_vector<R, M> *>(to + r * shape_of<T>::LD + c + k) = wide;
        }
    }
}

/* The most keys that any of the rows [row, row + count) sees; 0 or less: none. */
static __device__ __forceinline__ int most_seen(const tc_attention &p, int row, int count)
{
    int last = p.n_q - 1, place = row % p.n_q + count - 1;
    return p.causal ? (place < last ? place : last) + p.n_k - p.n_q + 1 : p.n_k;
}

/* Element of the mask for head 0 of the item, query 0 and key 0. */
static __device__ TC_NOINLINE int64_t mask_start(const tc_attention &p, int64_t item)
{
    int64_t start = item % p.heads_kv * p.group * p.mask_head;
    item /= p.heads_kv;
#pragma unroll 1
    for (int32_t d = p.mask_rank; d-- > 0;) {
        start += item % p.mask_dims[d] * p.mask_steps[d];
        item /= p.mask_dims[d];
    }
    return start;
}

/* What a row sees: keys before `seen`; its part of the mask begins at `mask`. */
struct row_view {
    int seen;
    int64_t mask;

    __device__ __forceinline__ row_view(const tc_attention &p, int64_t start, int row)
    {
        int head = row / p.n_q, place = row - head * p.n_q;
        seen = row >= p.rows ? 0 : p.causal ? place + p.n_k - p.n_q + 1 : p.n_k;
        mask = start + head * p.mask_head + place * p.mask_q;
    }
};

/* score + bias, -inf where that is masked, whatever the score: what is masked need not be a number.
 */
template <typename T>
static __device__ TC_NOINLINE typename shape_of<T>::R masked(typename shape_of<T>::R score,
                                                             const void *mask, tc_dtype dtype,
                                                             int64_t place)
{
    typedef typename shape_of<T>::R R;
    const R none = static_cast<R>(-INFINITY);
    if (dtype == TC_BOOL)
        return static_cast<const uint8_t *>(mask)[place] ? score : none;
    R bias = tc_load(static_cast<const T *>(mask)[place]);
    return bias == none ? none : score + bias;
}

/* Where a thread is in a tile: its first row, its first key, its first column of results. */
template <typename T> struct thread_place {
    static constexpr int M = shape_of<T>::M;
    int row, key, column;
    __device__ __forceinline__ thread_place()
    {
        row = static_cast<int>(threadIdx.x) / SIDE * M;
        key = static_cast<int>(threadIdx.x) % SIDE;
        column = key * M;
    }
};

template <typename R, int M>
static __device__ __forceinline__ tc_vector<R, M> vector_at(const R *from)
{
    return *reinterpret_cast<const tc_vector<R, M> *>(from);
}

/* scores[row][key] += sum over columns of a[row] b[key], `columns` a multiple of M. */
template <typename T, typename R, int M>
static __device__ __forceinline__ void multiply_dot(R (&scores)[M][M], const R *a, const R *b,
                                                    const thread_place<T> &at, int columns)
{
    constexpr int LD = shape_of<T>::LD;
#pragma unroll 1
    for (int k = 0; k < columns; k += M) {
        tc_vector<R, M> x[M], y[M];
#pragma unroll
        for (int i = 0; i < M; i++) {
            x[i] = vector_at<R, M>(a + (at.row + i) * LD + k);
            y[i] = vector_at<R, M>(b + (at.key + SIDE * i) * LD + k);
        }
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int j = 0; j < M; j++)
                    scores[i][j] += x[i].at[m] * y[j].at[m];
    }
}

/* sums[row][column] += sum over `keys` keys of weights[row][key] b[key][column] */
template <typename T, typename R, int M>
static __device__ __forceinline__ void multiply_rows(R (&sums)[M][M], const R *weights, const R *b,
                                                     const thread_place<T> &at, int keys)
{
    constexpr int LD = shape_of<T>::LD;
#pragma unroll 1
    for (int k = 0; k < keys; k += M) {
        tc_vector<R, M> x[M], y[M];
#pragma unroll
        for (int i = 0; i < M; i++) {
            x[i] = vector_at<R, M>(weights + (at.row + i) * LD + k);
            y[i] = vector_at<R, M>(b + (k + i) * LD + at.column);
        }
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int j = 0; j < M; j++)
                    sums[i][j] += x[i].at[m] * y[m].at[j];
    }
}

/* sums[key][column] += sum over `rows` rows of weights[row][key] b[row][column]: the thread's keys
 * are where its rows are otherwise. */
template <typename T, typename R, int M>
static __device__ __forceinline__ void multiply_turned(R (&sums)[M][M], const R *weights,
                                                       const R *b, const thread_place<T> &at,
                                                       int rows)
{
    constexpr int LD = shape_of<T>::LD;
#pragma unroll 2
    for (int k = 0; k < rows; k++) {
        tc_vector<R, M> x = vector_at<R, M>(weights + k * LD + at.row);
        tc_vector<R, M> y = vector_at<R, M>(b + k * LD + at.column);
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int j = 0; j < M; j++)
                sums[i][j] += x.at[i] * y.at[j];
    }
}

/* What all kernels share. `of` arrays are those of the item. */
template <typename T> struct tile_work {
    typedef typename shape_of<T>::R R;
    static constexpr int M = shape_of<T>::M, TILE = shape_of<T>::TILE, LD = shape_of<T>::LD;

    const tc_attention &p;
    bool aligned;
    R *a, *b, *weights; /* in shared memory */
    thread_place<T> at;

    /* scores = sum over all columns of rows of `x` and of `y`. `keep`: the rows of `x` are there
     * already where they are one tile. */
    __device__ __forceinline__ void product(R (&scores)[M][M], const T *x, int row, const T *y,
                                            int key, int64_t columns, bool keep)
    {
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int j = 0; j < M; j++)
                scores[i][j] = 0;
        for (int64_t c = 0; c < columns; c += TILE) {
            int64_t left = columns - c < TILE ? (columns - c + M - 1) / M * M : TILE;
            __syncthreads(); /* what was read before */
            if (!keep || columns > TILE)
                load_tile<T>(a, x, p.rows, columns, row, c, aligned);
            load_tile<T>(b, y, p.n_k, columns, key, c, aligned);
            __syncthreads();
            if (at.row < p.rows - row)
                multiply_dot<T>(scores, a, b, at, static_cast<int>(left));
        }
    }

    /* Scores times the scale and with the mask. */
    __device__ __forceinline__ void view(R (&scores)[M], const row_view &row, const void *mask,
                                         int key) const
    {
#pragma unroll
        for (int j = 0; j < M; j++) {
            int mine = key + at.key + SIDE * j;
            scores[j] *= static_cast<R>(p.scale);
            if (mine >= row.seen)
                scores[j] = static_cast<R>(-INFINITY);
            else if (mask)
                scores[j] = masked<T>(scores[j], mask, p.mask_dtype, row.mask + mine * p.mask_k);
        }
    }

    __device__ __forceinline__ void put_weights(const R (&x)[M][M])
    {
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int j = 0; j < M; j++)
                weights[(at.row + i) * LD + at.key + SIDE * j] = x[i][j];
    }

    /* Rows of results, of `rows` with `columns` elements, from column `column` on. */
    __device__ __forceinline__ void put_result(T *to, int rows, int64_t columns, int row,
                                               int64_t column, const R (&x)[M][M],
                                               const R (&factor)[M])
    {
        column += at.column;
#pragma unroll
        for (int i = 0; i < M; i++) {
            if (row + at.row + i >= rows)
                break;
            T *line = to + static_cast<int64_t>(row + at.row + i) * columns + column;
            tc_vector<T, M> packed;
#pragma unroll
            for (int j = 0; j < M; j++)
                packed.at[j] = tc_store<T>(factor[i] == 0 ? 0 : x[i][j] * factor[i]);
            if (aligned && column + M <= columns) {
                *reinterpret_cast<tc_vector<T, M> *>(line) = packed;
            } else {
#pragma unroll
                for (int j = 0; j < M; j++)
                    if (column + j < columns)
                        line[j] = packed.at[j];
            }
        }
    }
};

/* Over the threads with the same rows. */
template <typename R, typename F> static __device__ __forceinline__ R over_keys(R x, F combine)
{
#pragma unroll
    for (int step = SIDE / 2; step > 0; step /= 2)
        x = combine(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

#endif
