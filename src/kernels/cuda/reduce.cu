/*
 * Sums, products, maxima and minima.
 *
 * Threads add up in the dtype (16-bit floats in float) over FLUSH elements only and go on in f64.
 * Where one launch would not fill the device, the elements of an output are cut into chunks whose
 * partial results a second launch combines, always in the same order.
 */
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/reduce.cuh"

#define FLUSH 32
/* Loads of a thread that are under way together. */
#define EACH 4

struct reduce_params {
    reduce_matrix matrix;
    reduce_layout layout;
    double divisor;
    tc_dtype dtype;
    bool invert; /* a minimum is the maximum of what is turned round */
};

/* What prepare leaves. Where `moved`, x is copied into the workspace first. */
struct reduce_plan {
    reduce_params params;
    bool moved;
    size_t partials; /* offset in the workspace */
    strided_plan copy;
};

/* What kernels are given. */
struct reduce_args {
    reduce_params p;
    const void *x;
    void *y;        /* results, or */
    void *partials; /* [chunks, kept, width] accumulators */
};

/*
 * Reducers: elements are loaded as C, added up in L for a while and on in A. `vector` elements are
 * loaded as one along rows, and in columns where `wide`; `partials` combines accumulators.
 */
template <typename R> struct of_partials;

template <typename T, int V>
static __device__ __forceinline__ tc_vector<T, V> load_vector(const void *x, int64_t i)
{
    return *reinterpret_cast<const tc_vector<T, V> *>(static_cast<const T *>(x) + i);
}

struct sums {
    typedef double A;
    static __device__ A begin()
    {
        return 0;
    }
    static __device__ A merge(A a, A b)
    {
        return a + b;
    }
    static __device__ void finish(const reduce_args &args, A a, int64_t i)
    {
        store_as(a / args.p.divisor, args.y, args.p.dtype, i);
    }
};

template <typename T> struct sum_floats : sums {
    typedef typename tc_compute<T>::type C;
    typedef C L;
    typedef of_partials<sums> partials;
    static constexpr int vector = sizeof(T) < 8 ? 16 / sizeof(T) : 1;
    static constexpr bool wide = true;
    static __device__ L start()
    {
        return 0;
    }
    static __device__ L step(L a, C x)
    {
        return a + x;
    }
    template <int V> static __device__ void load(const reduce_args &args, int64_t i, C *x)
    {
        tc_vector<T, V> v = load_vector<T, V>(args.x, i);
#pragma unroll
        for (int k = 0; k < V; k++)
            x[k] = tc_load(v.at[k]);
    }
};

/* The largest element, a NaN above all. */
template <typename T> struct largest {
    typedef T A;
    static __device__ T begin()
    {
        return static_cast<T>(-__builtin_inff());
    }
    static __device__ T merge(T a, T x)
    {
        return x > a || x != x ? x : a;
    }
    static __device__ void finish(const reduce_args &args, T a, int64_t i)
    {
        store_as(args.p.invert ? -a : a, args.y, args.p.dtype, i);
    }
};

template <typename T> struct largest_float : largest<typename tc_compute<T>::type> {
    typedef typename tc_compute<T>::type C;
    typedef C L;
    typedef of_partials<largest<C>> partials;
    static constexpr int vector = sum_floats<T>::vector;
    static constexpr bool wide = false;
    static __device__ C start()
    {
        return largest<C>::begin();
    }
    static __device__ C step(C a, C x)
    {
        return largest<C>::merge(a, x);
    }
    template <int V> static __device__ void load(const reduce_args &args, int64_t i, C *x)
    {
        tc_vector<T, V> v = load_vector<T, V>(args.x, i);
#pragma unroll
        for (int k = 0; k < V; k++)
            x[k] = args.p.invert ? -tc_load(v.at[k]) : tc_load(v.at[k]);
    }
};

/* Products of floats, and all of integers: of any dtype, one element at a time. R combines. */
template <typename R> struct any_elements : R {
    typedef typename R::A C;
    typedef typename R::A L;
    typedef of_partials<R> partials;
    static constexpr int vector = 1;
    static constexpr bool wide = false;
    static __device__ L start()
    {
        return R::begin();
    }
    static __device__ L step(L a, C x)
    {
        return R::merge(a, x);
    }
    template <int V> static __device__ void load(const reduce_args &args, int64_t i, C *x)
    {
        *x = R::turn(args, load_as<C>(args.x, args.p.dtype, i));
    }
};

template <typename T> struct plain_element {
    typedef T A;
    static __device__ T turn(const reduce_args &args, T x)
    {
        (void)args;
        return x;
    }
    static __device__ void finish(const reduce_args &args, T a, int64_t i)
    {
        store_as(a, args.y, args.p.dtype, i);
    }
};

template <typename T> struct product : plain_element<T> {
    static __device__ T begin()
    {
        return 1;
    }
    static __device__ T merge(T a, T x)
    {
        return a * x;
    }
};

struct integer_sum : plain_element<uint64_t> {
    static __device__ uint64_t begin()
    {
        return 0;
    }
    static __device__ uint64_t merge(uint64_t a, uint64_t x)
    {
        return a + x;
    }
};

struct largest_integer {
    typedef int64_t A;
    static __device__ int64_t begin()
    {
        return INT64_MIN;
    }
    static __device__ int64_t merge(int64_t a, int64_t x)
    {
        return x > a ? x : a;
    }
    /* Into the order of i64 and back. */
    static __device__ int64_t turn(const reduce_args &args, int64_t x)
    {
        return x ^ (args.p.dtype == TC_U64 ? INT64_MIN : 0) ^ (args.p.invert ? -1 : 0);
    }
    static __device__ void finish(const reduce_args &args, int64_t a, int64_t i)
    {
        store_as(turn(args, a), args.y, args.p.dtype, i);
    }
};

/* The second launch: of a matrix of accumulators. */
template <typename R> struct of_partials : R {
    typedef typename R::A C;
    typedef typename R::A L;
    static constexpr int vector = 1;
    static constexpr bool wide = false;
    static __device__ int64_t place(const reduce_matrix &m, uint32_t i)
    {
        return i * m.width;
    }
    static __device__ L start()
    {
        return R::begin();
    }
    static __device__ L step(L a, C x)
    {
        return R::merge(a, x);
    }
    template <int V> static __device__ void load(const reduce_args &args, int64_t i, C *x)
    {
        *x = static_cast<const C *>(args.x)[i];
    }
};

template <typename R>
static __device__ __forceinline__ void leave(const reduce_args &args, int64_t output,
                                             typename R::A value)
{
    int64_t outputs = args.p.matrix.kept.count * args.p.matrix.width;
    if (args.partials)
        static_cast<typename R::A *>(args.partials)[blockIdx.y * outputs + output] = value;
    else
        R::finish(args, value, output);
}

/* The elements of the block's chunk. Without slices they are counted from its start, which `base`
 * is moved to. */
static __device__ __forceinline__ void find_chunk(const reduce_args &args, int64_t *base,
                                                  uint32_t *begin, uint32_t *end)
{
    int64_t first = blockIdx.y * args.p.layout.chunk, left = args.p.matrix.count - first;
    bool slices = args.p.matrix.slices;
    *base += slices ? 0 : first * args.p.matrix.width;
    *begin = slices ? static_cast<uint32_t>(first) : 0;
    *end = *begin + static_cast<uint32_t>(left < args.p.layout.chunk ? left : args.p.layout.chunk);
}

/* Accumulates elements begin, begin + step, ... below end of one output, `V` each at `base`. */
template <typename R, int V, bool along>
static __device__ __forceinline__ void accumulate(const reduce_args &args, int64_t base,
                                                  uint32_t begin, uint32_t end, uint32_t step,
                                                  typename R::A *sums)
{
#pragma unroll 1
    while (begin < end) {
        typename R::L lanes[V];
#pragma unroll
        for (int k = 0; k < V; k++)
            lanes[k] = R::start();
#pragma unroll 1
        for (int n = 0; n < FLUSH && begin < end; n += EACH, begin += EACH * step) {
            typename R::C x[EACH][V];
#pragma unroll
            for (int e = 0; e < EACH; e++)
                if (begin + e * step < end)
                    R::template load<V>(args, base + reduce_inside(args.p.matrix, begin + e * step),
                                        x[e]);
#pragma unroll
            for (int e = 0; e < EACH; e++)
                if (begin + e * step < end)
#pragma unroll
                    for (int k = 0; k < V; k++)
                        lanes[k] = R::step(lanes[k], x[e][k]);
        }
        if constexpr (along)
#pragma unroll
            for (int half = V / 2; half > 0; half /= 2)
#pragma unroll
                for (int k = 0; k < half; k++)
                    lanes[k] = R::step(lanes[k], lanes[k + half]);
#pragma unroll
        for (int k = 0; k < (along ? 1 : V); k++)
            sums[k] = R::merge(sums[k], static_cast<typename R::A>(lanes[k]));
    }
}

/* Blocks of [groups, down, across] threads that own V columns each. */
template <typename R, int V>
static __global__ void __launch_bounds__(REDUCE_THREADS) reduce_columns(reduce_args args)
{
    typedef typename R::A A;
    __shared__ A shared[V][REDUCE_THREADS];
    const reduce_matrix &m = args.p.matrix;
    const reduce_layout &l = args.p.layout;
    const uint32_t thread = threadIdx.x, across = 1u << l.across_bits, down = 1u << l.down_bits;
    const uint32_t row = thread >> l.across_bits & (down - 1);
    const int32_t group_bits = l.across_bits + l.down_bits;
    uint32_t block = strided_quotient(blockIdx.x, l.tiles);
    uint32_t tile = blockIdx.x - block * static_cast<uint32_t>(l.tiles.by);
    uint32_t kept = block * (REDUCE_THREADS >> group_bits) + (thread >> group_bits);
    int64_t column = static_cast<int64_t>(tile * across + (thread & (across - 1))) * V;
    bool inside = kept < m.kept.count && column < m.width;
    A sums[V];
#pragma unroll
    for (int k = 0; k < V; k++)
        sums[k] = R::begin();
    if (inside) {
        int64_t base = reduce_offset(m.kept, kept) + column;
        uint32_t begin, end;
        find_chunk(args, &base, &begin, &end);
        accumulate<R, V, false>(args, base, begin + row, end, down, sums);
    }
#pragma unroll
    for (int k = 0; k < V; k++)
        shared[k][thread] = sums[k];
        /* Rows are folded in halves. */
#pragma unroll 1
    for (uint32_t half = down / 2; half > 0; half /= 2) {
        __syncthreads();
        if (row < half)
#pragma unroll
            for (int k = 0; k < V; k++)
                shared[k][thread] =
                    R::merge(shared[k][thread], shared[k][thread + (half << l.across_bits)]);
    }
    if (inside && row == 0) /* whose thread wrote the sums */
#pragma unroll 1
        for (int k = 0; k < V; k++)
            leave<R>(args, kept * m.width + column + k, shared[k][thread]);
}

/* Blocks of [groups, down] threads that take V elements of a row at once: groups are parts of a
 * warp, or the block is one group. */
template <typename R, int V>
static __global__ void __launch_bounds__(REDUCE_THREADS) reduce_rows(reduce_args args)
{
    typedef typename R::A A;
    __shared__ A shared[REDUCE_THREADS / 32];
    const reduce_matrix &m = args.p.matrix;
    const reduce_layout &l = args.p.layout;
    const uint32_t thread = threadIdx.x, down = 1u << l.down_bits, row = thread & (down - 1);
    uint32_t kept = blockIdx.x * (REDUCE_THREADS >> l.down_bits) + (thread >> l.down_bits);
    A sum = R::begin();
    if (kept < m.kept.count) {
        int64_t base = reduce_offset(m.kept, kept);
        uint32_t begin, end;
        find_chunk(args, &base, &begin, &end);
        accumulate<R, V, true>(args, base, begin + row * V, end, down * V, &sum);
    }
#pragma unroll 1
    for (uint32_t half = (down < 32 ? down : 32) / 2; half > 0; half /= 2)
        sum = R::merge(sum, __shfl_xor_sync(0xffffffffu, sum, static_cast<int>(half)));
    if (down > 32) {
        if (thread % 32 == 0)
            shared[thread / 32] = sum;
        __syncthreads();
#pragma unroll 1
        for (uint32_t i = 1; row == 0 && i < down / 32; i++)
            sum = R::merge(sum, shared[thread / 32 + i]);
    }
    if (row == 0 && kept < m.kept.count)
        leave<R>(args, kept, sum);
}

/*
 * Launches
 */
static tc_status prepare(tc_prepare *prepare, const bool reduced[TC_MAX_RANK], int32_t vector,
                         bool wide, bool mean, bool invert)
{
    reduce_plan *plan = static_cast<reduce_plan *>(tc_prepare_params(prepare, sizeof *plan));
    if (!plan)
        return TC_RESOURCE_EXHAUSTED;
    reduce_params *p = &plan->params;
    const tc_value_info *x = &prepare->inputs[0];
    size_t element = tc_dtype_size(x->dtype);
    plan->moved = !reduce_collapse(&x->shape, reduced, static_cast<int32_t>(element), &p->matrix,
                                   &plan->copy);
    TC_TRY(reduce_lay_out(&p->matrix, wide || p->matrix.width == 1 ? vector : 1, &p->layout));
    p->divisor = mean ? static_cast<double>(p->matrix.count) : 1;
    p->dtype = x->dtype;
    p->invert = invert;
    if (plan->moved)
        plan->partials = (static_cast<size_t>(tc_shape_size(&x->shape)) * element + 15) / 16 * 16;
    prepare->workspace_bytes = plan->partials;
    if (p->layout.chunks > 1)
        prepare->workspace_bytes += static_cast<size_t>(p->layout.chunks) *
                                    static_cast<size_t>(p->matrix.kept.count * p->matrix.width) * 8;
    return TC_OK;
}

template <typename R, bool mean, bool invert> static tc_status prepare_reduce(tc_prepare *p)
{
    bool reduced[TC_MAX_RANK];
    reduce_axes(p->attrs, p->inputs[0].shape.rank, reduced);
    return prepare(p, reduced, R::vector, R::wide, mean, invert);
}

template <typename R> static tc_status prepare_sum_to_like(tc_prepare *p)
{
    const tc_shape *x = &p->inputs[0].shape, *like = &p->inputs[1].shape;
    int32_t extra = x->rank - like->rank;
    bool reduced[TC_MAX_RANK] = {false};
    for (int32_t i = 0; i < x->rank; i++)
        reduced[i] = i < extra || (like->dims[i - extra].size == 1 && x->dims[i].size != 1);
    return prepare(p, reduced, R::vector, R::wide, false, false);
}

template <typename R> static tc_status launch(const reduce_args &args, const tc_kernel_context *c)
{
    const reduce_layout *l = &args.p.layout;
    dim3 grid(static_cast<unsigned>(l->blocks), static_cast<unsigned>(l->chunks));
    dim3 block(REDUCE_THREADS);
    if constexpr (R::vector > 1)
        if (l->along)
            return tc_cuda_launch(reduce_rows<R, R::vector>, grid, block, 0, c, args);
    if constexpr (R::vector > 1 && R::wide)
        if (l->vector > 1)
            return tc_cuda_launch(reduce_columns<R, R::vector>, grid, block, 0, c, args);
    return tc_cuda_launch(reduce_columns<R, 1>, grid, block, 0, c, args);
}

/* One element after the other, in at most `chunks` chunks. */
static tc_status lay_out_plainly(reduce_params *p, int32_t chunks)
{
    reduce_layout *l = &p->layout;
    TC_TRY(reduce_lay_out(&p->matrix, 1, l));
    if (l->chunks > chunks) {
        l->chunk = (p->matrix.count + chunks - 1) / chunks;
        l->chunks = static_cast<int32_t>((p->matrix.count + l->chunk - 1) / l->chunk);
    }
    return TC_OK;
}

template <typename R>
static tc_status run_reduce(const void *params, const void *const *inputs, void *const *outputs,
                            const tc_kernel_context *context)
{
    const reduce_plan *plan = static_cast<const reduce_plan *>(params);
    reduce_args args = {plan->params, inputs[0], outputs[0], NULL};
    reduce_matrix *m = &args.p.matrix;
    int64_t results = m->kept.count * m->width;
    if (m->count == 1) {
        if (results == 0 || inputs[0] == outputs[0])
            return TC_OK;
        size_t bytes = static_cast<size_t>(results) * tc_dtype_size(args.p.dtype);
        return tc_cuda_check(cudaMemcpyAsync(outputs[0], inputs[0], bytes, cudaMemcpyDeviceToDevice,
                                             context->queue->stream),
                             "copying");
    }
    if (plan->moved) {
        TC_TRY(strided_copy(&plan->copy, inputs[0], context->workspace, context));
        args.x = context->workspace;
    }
    if (reinterpret_cast<uintptr_t>(args.x) % 16 != 0 && args.p.layout.vector > 1)
        TC_TRY(lay_out_plainly(&args.p, args.p.layout.chunks));
    int32_t chunks = args.p.layout.chunks;
    if (chunks == 1)
        return launch<R>(args, context);
    args.partials = static_cast<char *>(context->workspace) + plan->partials;
    TC_TRY(launch<R>(args, context));
    args.x = args.partials;
    args.partials = NULL;
    memset(m, 0, sizeof *m);
    m->kept.count = 1;
    m->rows.shift = 31;
    m->count = chunks;
    m->width = results;
    TC_TRY(lay_out_plainly(&args.p, 1));
    return launch<typename R::partials>(args, context);
}

#define KERNEL(op, dtype, R, mean, invert) \
    TC_CUDA_KERNEL(op, dtype, (prepare_reduce<R, mean, invert>), run_reduce<R>)
#define FLOATS(op, R, mean, invert)                                                    \
    KERNEL(op, f32, R<float>, mean, invert), KERNEL(op, f64, R<double>, mean, invert), \
        KERNEL(op, f16, R<tc_half>, mean, invert), KERNEL(op, bf16, R<tc_bfloat>, mean, invert)
#define INTEGERS(op, R, invert)                                               \
    KERNEL(op, i8, R, false, invert), KERNEL(op, i16, R, false, invert),      \
        KERNEL(op, i32, R, false, invert), KERNEL(op, i64, R, false, invert), \
        KERNEL(op, u8, R, false, invert), KERNEL(op, u16, R, false, invert),  \
        KERNEL(op, u32, R, false, invert), KERNEL(op, u64, R, false, invert)
#define LIKE(dtype, R) TC_CUDA_KERNEL(sum_to_like, dtype, prepare_sum_to_like<R>, run_reduce<R>)
template <typename T> using product_floats = any_elements<product<double>>;
typedef any_elements<product<uint64_t>> product_integers;
typedef any_elements<integer_sum> sum_integers;
typedef any_elements<largest_integer> largest_integers;

static const tc_kernel kernels[] = {
    FLOATS(reduce_sum, sum_floats, false, false),
    INTEGERS(reduce_sum, sum_integers, false),
    FLOATS(reduce_mean, sum_floats, true, false),
    FLOATS(reduce_prod, product_floats, false, false),
    INTEGERS(reduce_prod, product_integers, false),
    FLOATS(reduce_max, largest_float, false, false),
    INTEGERS(reduce_max, largest_integers, false),
    KERNEL(reduce_max, bool, largest_integers, false, false),
    FLOATS(reduce_min, largest_float, false, true),
    INTEGERS(reduce_min, largest_integers, true),
    KERNEL(reduce_min, bool, largest_integers, false, true),
    LIKE(f32, sum_floats<float>),
    LIKE(f64, sum_floats<double>),
    LIKE(f16, sum_floats<tc_half>),
    LIKE(bf16, sum_floats<tc_bfloat>),
    LIKE(i8, sum_integers),
    LIKE(i16, sum_integers),
    LIKE(i32, sum_integers),
    LIKE(i64, sum_integers),
    LIKE(u8, sum_integers),
    LIKE(u16, sum_integers),
    LIKE(u32, sum_integers),
    LIKE(u64, sum_integers),
};

TC_CUDA_TABLE(reduce, kernels);
