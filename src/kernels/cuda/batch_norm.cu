/*
 * Batch normalization and its gradient. x is [samples, channels, plane].
 *
 * The elements of a channel are cut into chunks, by the shape alone. A block finds what belongs to
 * a chunk: mean and squared distances, in two passes over elements that the first one left in the
 * cache, or sums of dy and dy (x - mean). A warp per channel combines its chunks, for the
 * statistics by the formula of Chan, Golub & LeVeque (1983), in f64. A last launch goes over all
 * elements. Without planes (plane is 1) neighbouring threads have neighbouring channels.
 */
#include "kernels/cuda/rows.cuh"

#define THREADS 256
#define COLUMNS 32
#define LINES   16
/* Without planes: a grid has 65535 blocks in y. */
#define MOST_CHUNKS 65535

struct partial {
    double first, second; /* mean and squared distances, or sums of dy and dy (x - mean) */
};

struct batch_params {
    int64_t samples, channels, plane;
    int64_t chunk, chunks; /* elements of a chunk, chunks of a channel */
    double epsilon, momentum;
    bool training;
    tc_dtype channel_dtype; /* of what belongs to channels: of x, or f32 */
    size_t partials;        /* their place in the workspace, behind what the last launch needs */
};

static batch_params *prepare_for(tc_prepare *prepare, int x_input)
{
    batch_params *p = static_cast<batch_params *>(tc_prepare_params(prepare, sizeof(batch_params)));
    if (!p)
        return NULL;
    const tc_value_info *x = &prepare->inputs[x_input];
    p->samples = x->shape.dims[0].size;
    p->channels = x->shape.dims[1].size;
    p->plane = 1;
    for (int32_t i = 2; i < x->shape.rank; i++)
        p->plane *= x->shape.dims[i].size;
    int64_t count = p->samples * p->plane;
    int64_t least = p->plane == 1 ? 128 : 2048, most = 16384;
    /* So many that there are a few thousand blocks; in whole vectors. */
    int64_t wanted = p->plane == 1 ? p->channels / COLUMNS + 1 : p->channels + 1;
    wanted = wanted < 2048 ? 2048 / wanted : 1;
    p->chunk = (count + wanted - 1) / wanted;
    p->chunk = (p->chunk + 7) / 8 * 8;
    p->chunk = p->chunk < least ? least : p->chunk > most ? most : p->chunk;
    while (p->plane == 1 && count / p->chunk >= MOST_CHUNKS)
        p->chunk *= 2;
    p->chunks = (count + p->chunk - 1) / p->chunk;
    p->epsilon = tc_attrs_float(prepare->attrs, "epsilon");
    p->training = strcmp(tc_attrs_string(prepare->attrs, "mode"), "training") == 0;
    p->channel_dtype = prepare->inputs[3].dtype;
    p->partials = static_cast<size_t>(p->channels) * 4 *
                  (x->dtype == TC_F64 ? sizeof(double) : sizeof(float));
    prepare->workspace_bytes = p->partials + static_cast<size_t>(p->channels) *
                                                 static_cast<size_t>(p->chunks) * sizeof(partial);
    return p;
}

static tc_status prepare_forward(tc_prepare *prepare)
{
    batch_params *p = prepare_for(prepare, 0);
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    p->momentum = tc_attrs_float(prepare->attrs, "momentum");
    return TC_OK;
}

static tc_status prepare_gradient(tc_prepare *prepare)
{
    return prepare_for(prepare, 1) ? TC_OK : TC_RESOURCE_EXHAUSTED;
}

/* What belongs to channel `c`, of any float. */
static __device__ __forceinline__ double get(const batch_params &p, const void *from, int64_t c)
{
    switch (p.channel_dtype) {
    case TC_F64: return static_cast<const double *>(from)[c];
    case TC_F32: return static_cast<double>(static_cast<const float *>(from)[c]);
    case TC_F16: return static_cast<double>(tc_load(static_cast<const tc_half *>(from)[c]));
    default: return static_cast<double>(tc_load(static_cast<const tc_bfloat *>(from)[c]));
    }
}

static __device__ __forceinline__ void put(const batch_params &p, void *to, int64_t c, double value)
{
    float narrow = static_cast<float>(value);
    switch (p.channel_dtype) {
    case TC_F64: static_cast<double *>(to)[c] = value; break;
    case TC_F32: static_cast<float *>(to)[c] = narrow; break;
    case TC_F16: static_cast<tc_half *>(to)[c] = tc_store<tc_half>(narrow); break;
    default: static_cast<tc_bfloat *>(to)[c] = tc_store<tc_bfloat>(narrow); break;
    }
}

/*
 * Chunks
 */
/* Walks over the elements [begin, end) of a channel in the steps of a block of threads, `width` at
 * a time: these are never in two planes. */
struct walk {
    int64_t left, at; /* elements of the channel from here on; element of the tensor */
    int64_t place;    /* in the plane */
    int64_t step, step_at, step_place, carry, plane;

    __device__ __forceinline__ walk(const batch_params &p, int64_t channel, int64_t begin,
                                    int64_t end, int width)
    {
        int64_t first = begin + static_cast<int64_t>(threadIdx.x) * width;
        plane = p.plane;
        step = THREADS * width;
        left = end - first;
        place = first % plane;
        at = (first / plane * p.channels + channel) * plane + place;
        step_place = step % plane;
        step_at = step / plane * p.channels * plane + step_place;
        carry = (p.channels - 1) * plane;
    }
    __device__ __forceinline__ void next()
    {
        left -= step;
        at += step_at;
        place += step_place;
        if (place >= plane) {
            place -= plane;
            at += carry;
        }
    }
};

template <typename T, int W>
static __device__ __forceinline__ void load_some(const T *x, typename tc_compute<T>::type (&to)[W])
{
    tc_vector<T, W> from = *reinterpret_cast<const tc_vector<T, W> *>(x);
#pragma unroll
    for (int k = 0; k < W; k++)
        to[k] = tc_load(from.at[k]);
}

/* Chunk blockIdx.x % chunks of channel blockIdx.x / chunks, `W` elements at a time. */
template <typename T, int W, bool gradient>
static __global__ __launch_bounds__(THREADS) void plane_partials(batch_params p, const T *x,
                                                                 const T *dy, const void *means,
                                                                 partial *to)
{
    typedef typename tc_compute<T>::type R;
    __shared__ R shared[THREADS / 32];
    int64_t channel = blockIdx.x / p.chunks, begin = blockIdx.x % p.chunks * p.chunk;
    int64_t end = begin + p.chunk, count = p.samples * p.plane;
    end = end < count ? end : count;
    count = end - begin;
    R mean = 0, first = 0, second = 0, in[W], slope[W];
    if (gradient) {
        mean = static_cast<R>(get(p, means, channel));
    } else {
#pragma unroll 2
        for (walk w(p, channel, begin, end, W); w.left > 0; w.next()) {
            load_some<T, W>(x + w.at, in);
#pragma unroll
            for (int k = 0; k < W; k++)
                mean += in[k];
        }
        mean = tc_group_sum(mean, THREADS, shared) / static_cast<R>(count);
    }
#pragma unroll 2
    for (walk w(p, channel, begin, end, W); w.left > 0; w.next()) {
        load_some<T, W>(x + w.at, in);
        if (gradient)
            load_some<T, W>(dy + w.at, slope);
#pragma unroll
        for (int k = 0; k < W; k++) {
            R d = in[k] - mean;
            first += gradient ? slope[k] : d;
            second += gradient ? slope[k] * d : d * d;
        }
    }
    first = tc_group_sum(first, THREADS, shared);
    second = tc_group_sum(second, THREADS, shared);
    if (threadIdx.x != 0)
        return;
    double a = first, b = second;
    if (!gradient) { /* the mean was rounded */
        double rest = a / static_cast<double>(count);
        b -= rest * a;
        a = static_cast<double>(mean) + rest;
    }
    to[blockIdx.x] = {a, b};
}

/* Chunk blockIdx.y of the channels from COLUMNS blockIdx.x on, without planes. */
template <typename T, bool gradient>
static __global__ __launch_bounds__(COLUMNS *LINES) void column_partials(batch_params p, const T *x,
                                                                         const T *dy,
                                                                         const void *means,
                                                                         partial *to)
{
    typedef typename tc_compute<T>::type R;
    __shared__ R shared[COLUMNS * LINES];
    int64_t channel = static_cast<int64_t>(blockIdx.x) * COLUMNS + threadIdx.x;
    int64_t begin = blockIdx.y * p.chunk, end = begin + p.chunk;
    end = end < p.samples ? end : p.samples;
    double count = static_cast<double>(end - begin);
    if (channel >= p.channels)
        end = begin;
    R mean = 0, first = 0, second = 0;
    if (!gradient) {
#pragma unroll 4
        for (int64_t s = begin + threadIdx.y; s < end; s += LINES)
            mean += tc_load(x[s * p.channels + channel]);
        mean = tc_column_reduce(mean, shared, tc_add()) / static_cast<R>(count);
    } else if (channel < p.channels) {
        mean = static_cast<R>(get(p, means, channel));
    }
#pragma unroll 4
    for (int64_t s = begin + threadIdx.y; s < end; s += LINES) {
        R d = tc_load(x[s * p.channels + channel]) - mean;
        R slope = gradient ? tc_load(dy[s * p.channels + channel]) : d;
        first += slope;
        second += slope * d;
    }
    first = tc_column_reduce(first, shared, tc_add());
    second = tc_column_reduce(second, shared, tc_add());
    if (threadIdx.y != 0 || channel >= p.channels)
        return;
    double a = first, b = second;
    if (!gradient) {
        double rest = a / count;
        b -= rest * a;
        a = static_cast<double>(mean) + rest;
    }
    to[channel * p.chunks + blockIdx.y] = {a, b};
}

/*
 * Channels
 */
struct moments {
    double count, mean, squares;

    __device__ __forceinline__ void add(double more, double its_mean, double its_squares)
    {
        double both = count + more;
        if (more == 0)
            return;
        double distance = its_mean - mean;
        mean += distance * (more / both);
        squares += its_squares + distance * distance * (count * more / both);
        count = both;
    }
};

/* Channel of the warp, lane of the thread. */
struct warp_place {
    int64_t channel;
    int lane;
    __device__ __forceinline__ warp_place()
    {
        channel = (static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x) / 32;
        lane = static_cast<int>(threadIdx.x % 32);
    }
};

struct forward_args {
    const void *scale, *offset, *running_mean, *running_variance;
    void *new_mean, *new_variance, *mean, *inverse;
};

/* For y = (x - mean) slope + shift. */
template <typename R>
static __global__ __launch_bounds__(THREADS) void finish_forward(batch_params p, forward_args a,
                                                                 const partial *chunks,
                                                                 tc_vector<R, 4> *out)
{
    warp_place at;
    if (at.channel >= p.channels)
        return;
    moments m = {0, 0, 0};
    if (chunks) {
#pragma unroll 1
        for (int64_t i = at.lane; i < p.chunks; i += 32) {
            int64_t left = p.samples * p.plane - i * p.chunk;
            partial c = chunks[at.channel * p.chunks + i];
            m.add(static_cast<double>(left < p.chunk ? left : p.chunk), c.first, c.second);
        }
#pragma unroll 1
        for (int step = 16; step > 0; step /= 2) {
            double count = __shfl_down_sync(0xffffffffu, m.count, step);
            double mean = __shfl_down_sync(0xffffffffu, m.mean, step);
            m.add(count, mean, __shfl_down_sync(0xffffffffu, m.squares, step));
        }
    }
    if (at.lane != 0)
        return;
    double running_mean = get(p, a.running_mean, at.channel), mean = running_mean;
    double running_variance = get(p, a.running_variance, at.channel);
    double variance = running_variance;
    if (chunks) {
        mean = m.mean;
        variance = m.squares > 0 ? m.squares / m.count : m.squares * 0;
        double unbiased = m.count > 1 ? variance * (m.count / (m.count - 1)) : variance;
        running_mean = p.momentum * running_mean + (1 - p.momentum) * mean;
        running_variance = p.momentum * running_variance + (1 - p.momentum) * unbiased;
    }
    double inverse = 1 / sqrt(variance + p.epsilon);
    put(p, a.new_mean, at.channel, running_mean);
    put(p, a.new_variance, at.channel, running_variance);
    put(p, a.mean, at.channel, mean);
    put(p, a.inverse, at.channel, inverse);
    double slope = a.scale ? inverse * get(p, a.scale, at.channel) : inverse;
    double offset = a.offset ? get(p, a.offset, at.channel) : 0;
    /* What is subtracted is the mean as rounded to R. */
    double rest = mean - static_cast<double>(static_cast<R>(mean));
    out[at.channel] = {
        {static_cast<R>(mean), static_cast<R>(slope), static_cast<R>(offset - rest * slope), 0}};
}

struct gradient_args {
    const void *scale, *mean, *inverse;
    void *dscale, *doffset;
};

/*
 * doffset = sum(dy), dscale = inverse sum(dy (x - mean)), and for dx = (dy - base - (x - mean)
 * slope) factor, where base and slope are 0 unless mean and deviation depend on x.
 */
template <typename R>
static __global__ __launch_bounds__(THREADS) void finish_gradient(batch_params p, gradient_args a,
                                                                  const partial *chunks,
                                                                  tc_vector<R, 4> *out)
{
    warp_place at;
    if (at.channel >= p.channels)
        return;
    double plain = 0, products = 0;
    for (int64_t i = at.lane; i < p.chunks; i += 32) {
        plain += chunks[at.channel * p.chunks + i].first;
        products += chunks[at.channel * p.chunks + i].second;
    }
#pragma unroll 1
    for (int step = 16; step > 0; step /= 2) {
        plain += __shfl_down_sync(0xffffffffu, plain, step);
        products += __shfl_down_sync(0xffffffffu, products, step);
    }
    if (at.lane != 0)
        return;
    double inverse = get(p, a.inverse, at.channel);
    double count = p.training ? static_cast<double>(p.samples * p.plane) : 0;
    put(p, a.dscale, at.channel, products * inverse);
    put(p, a.doffset, at.channel, plain);
    double base = count > 0 ? plain / count : 0;
    double slope = count > 0 ? products / count * inverse * inverse : 0;
    double factor = a.scale ? inverse * get(p, a.scale, at.channel) : inverse;
    out[at.channel] = {{static_cast<R>(get(p, a.mean, at.channel)), static_cast<R>(base),
                        static_cast<R>(slope), static_cast<R>(factor)}};
}

/*
 * Elements
 */
template <typename T, bool gradient>
static __global__ __launch_bounds__(THREADS) void apply(
    batch_params p, bool aligned, const T *x, const T *dy, T *y,
    const tc_vector<typename tc_compute<T>::type, 4> *channels)
{
    typedef typename tc_compute<T>::type R;
    constexpr int N = tc_row<T>::width;
    tc_rows whole = {};
    whole.rows = 1;
    whole.count = p.samples * p.channels * p.plane;
    tc_row<T, int64_t> r(whole, 0, aligned);
    int64_t step = static_cast<int64_t>(gridDim.x) * THREADS;
    for (int64_t v = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x; v * N < r.end;
         v += step) {
        R in[N], slope[N];
        int64_t place, channel;
        if (r.end <= INT32_MAX) { /* division is quicker */
            uint32_t i = static_cast<uint32_t>(v * N), plane = static_cast<uint32_t>(p.plane);
            place = i % plane;
            channel = i / plane % static_cast<uint32_t>(p.channels);
        } else {
            place = v * N % p.plane;
            channel = v * N / p.plane % p.channels;
        }
        r.load(x, v, T(), in);
        if (gradient)
            r.load(dy, v, T(), slope);
        tc_vector<R, 4> c = channels[channel];
#pragma unroll
        for (int k = 0; k < N; k++) {
            R centered = in[k] - c.at[0];
            in[k] = gradient ? (slope[k] - c.at[1] - centered * c.at[2]) * c.at[3]
                             : centered * c.at[1] + c.at[2];
            if (++place == p.plane && k + 1 < N) {
                place = 0;
                channel = channel + 1 < p.channels ? channel + 1 : 0;
                c = channels[channel];
            }
        }
        r.store(y, v, in);
    }
}

/*
 * Launches
 */
template <typename T, bool gradient>
static tc_status launch_partials(const batch_params *p, const T *x, const T *dy, const void *means,
                                 const tc_kernel_context *context)
{
    constexpr int N = tc_row<T>::width;
    partial *to =
        reinterpret_cast<partial *>(static_cast<unsigned char *>(context->workspace) + p->partials);
    if (p->plane == 1) {
        dim3 grid(static_cast<unsigned>((p->channels + COLUMNS - 1) / COLUMNS),
                  static_cast<unsigned>(p->chunks));
        return tc_cuda_launch(column_partials<T, gradient>, grid, dim3(COLUMNS, LINES), 0, context,
                              *p, x, dy, means, to);
    }
    auto kernel = plane_partials<T, 1, gradient>;
    if constexpr (sizeof(T) < 8)
        if (p->plane % N == 0 && p->chunk % N == 0 && tc_rows_aligned(x, dy))
            kernel = plane_partials<T, N, gradient>;
    return tc_cuda_launch(kernel, dim3(static_cast<unsigned>(p->channels * p->chunks)),
                          dim3(THREADS), 0, context, *p, x, dy, means, to);
}

template <typename T, bool gradient>
static tc_status launch_apply(const batch_params *p, const T *x, const T *dy, T *y,
                              const tc_kernel_context *context)
{
    typedef const tc_vector<typename tc_compute<T>::type, 4> *channels;
    int64_t vectors = p->samples * p->channels * p->plane / tc_row<T>::width + 1;
    if (p->samples * p->channels * p->plane == 0)
        return TC_OK;
    return tc_cuda_launch(apply<T, gradient>,
                          dim3(tc_cuda_blocks(vectors, THREADS, TC_CUDA_MOST_BLOCKS)),
                          dim3(THREADS), 0, context, *p, tc_rows_aligned(x, dy, y), x, dy, y,
                          static_cast<channels>(context->workspace));
}

static dim3 channel_blocks(const batch_params *p)
{
    return dim3(static_cast<unsigned>((p->channels * 32 + THREADS - 1) / THREADS));
}

template <typename T>
static tc_status run_forward(const void *params, const void *const *inputs, void *const *outputs,
                             const tc_kernel_context *context)
{
    typedef tc_vector<typename tc_compute<T>::type, 4> *channels;
    const batch_params *p = static_cast<const batch_params *>(params);
    const T *x = static_cast<const T *>(inputs[0]);
    forward_args a = {inputs[1],  inputs[2],  inputs[3],  inputs[4],
                      outputs[1], outputs[2], outputs[3], outputs[4]};
    const partial *chunks = NULL;
    if (p->training && p->chunks > 0) {
        TC_TRY((launch_partials<T, false>(p, x, x, NULL, context)));
        chunks = reinterpret_cast<const partial *>(
            static_cast<unsigned char *>(context->workspace) + p->partials);
    }
    TC_TRY(tc_cuda_launch(finish_forward<typename tc_compute<T>::type>, channel_blocks(p),
                          dim3(THREADS), 0, context, *p, a, chunks,
                          static_cast<channels>(context->workspace)));
    return launch_apply<T, false>(p, x, x, static_cast<T *>(outputs[0]), context);
}

template <typename T>
static tc_status run_gradient(const void *params, const void *const *inputs, void *const *outputs,
                              const tc_kernel_context *context)
{
    typedef tc_vector<typename tc_compute<T>::type, 4> *channels;
    const batch_params *p = static_cast<const batch_params *>(params);
    const T *dy = static_cast<const T *>(inputs[0]), *x = static_cast<const T *>(inputs[1]);
    gradient_args a = {inputs[2], inputs[3], inputs[4], outputs[1], outputs[2]};
    TC_TRY((launch_partials<T, true>(p, x, dy, inputs[3], context)));
    TC_TRY(tc_cuda_launch(finish_gradient<typename tc_compute<T>::type>, channel_blocks(p),
                          dim3(THREADS), 0, context, *p, a,
                          reinterpret_cast<const partial *>(
                              static_cast<unsigned char *>(context->workspace) + p->partials),
                          static_cast<channels>(context->workspace)));
    return launch_apply<T, true>(p, x, dy, static_cast<T *>(outputs[0]), context);
}

#define KERNELS(tag, T)                                               \
    TC_CUDA_KERNEL(batch_norm, tag, prepare_forward, run_forward<T>), \
        TC_CUDA_KERNEL(batch_norm_grad, tag, prepare_gradient, run_gradient<T>)

static const tc_kernel kernels[] = {KERNELS(f32, float), KERNELS(f64, double),
                                    KERNELS(f16, tc_half), KERNELS(bf16, tc_bfloat)};

TC_CUDA_TABLE(batch_norm, kernels);
