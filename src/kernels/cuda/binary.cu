/* Arithmetic, comparison and logic of two inputs, and writing the sum into a variable. One kernel
 * for each type that is computed in holds all of them. */
#include "kernels/cuda/elementwise.cuh"
#include "kernels/cuda/math.cuh"

template <typename C, int V> struct pair {
    tc_raw<C, V> a, b;
};

/* What a launch is told beside its loops. */
struct binary_task {
    int32_t code;
    tc_storage storage, result;
    const void *a, *b;
    void *y;
    const tc_run_state *guard; /* nothing is written when a run has a fault; NULL: it always is */
};

/* Groups from element `first` on. */
template <typename C, int V>
static __device__ __forceinline__ void binary_loop(const tc_loops &loops, const binary_task &task,
                                                   int64_t first, int64_t groups)
{
    tc_each(
        groups,
        [&](int64_t i) {
            tc_places<2> places = tc_loops_places<2>(loops, first + i * V);
            int size = task.storage.size;
            return pair<C, V>{tc_read_broadcast<C, V>(task.a, places.at[0], size, loops, 0),
                              tc_read_broadcast<C, V>(task.b, places.at[1], size, loops, 1)};
        },
        [&](int64_t i, const pair<C, V> &raw) {
            C a[V], b[V];
            tc_decode(task.storage.dtype, raw.a, a);
            tc_decode(task.storage.dtype, raw.b, b);
            tc_math_binary(task.code, a, b);
            tc_write(task.y, first + i * V, task.result.size, tc_encode(task.result, a));
        });
}

template <typename C>
static __global__ void __launch_bounds__(TC_THREADS)
    binary(const __grid_constant__ tc_loops loops, const __grid_constant__ binary_task task,
           int64_t groups)
{
    constexpr int V = tc_width<C>;
    if (task.guard && task.guard->fault.place != 0)
        return;
    if constexpr (V > 1)
        binary_loop<C, V>(loops, task, 0, groups);
    binary_loop<C, 1>(loops, task, groups * V, loops.count - groups * V);
}

struct binary_params {
    tc_loops loops;
    int32_t code;
    tc_storage storage, result;
};

static tc_status finish(tc_prepare *prepare, const tc_broadcast *broadcast, int code)
{
    binary_params *p = static_cast<binary_params *>(tc_prepare_params(prepare, sizeof *p));
    if (!p)
        return TC_RESOURCE_EXHAUSTED;
    tc_loops_of(&p->loops, broadcast);
    p->code = code;
    p->storage = tc_storage_of(prepare->inputs[0].dtype);
    p->result = tc_storage_of(prepare->outputs[0].dtype);
    return TC_OK;
}

static tc_status prepare_binary(tc_prepare *prepare)
{
    tc_broadcast broadcast;
    memset(&broadcast, 0, sizeof broadcast);
    tc_broadcast_plan(&broadcast, prepare);
    return finish(prepare, &broadcast, tc_fused_code_of(prepare->attrs));
}

static tc_status prepare_bias_add(tc_prepare *prepare)
{
    const tc_shape *x = &prepare->inputs[0].shape;
    tc_broadcast broadcast;
    int64_t strides[TC_BROADCAST_INPUTS][TC_MAX_RANK] = {{0}};
    memset(&broadcast, 0, sizeof broadcast);
    tc_shape_strides(x, strides[0]);
    strides[1][tc_axis_normalize(tc_attrs_int(prepare->attrs, "axis"), x->rank)] = 1;
    tc_broadcast_merge(&broadcast, x, 2, strides);
    return finish(prepare, &broadcast, TC_FUSED_add);
}

template <int code> static tc_status prepare_assign(tc_prepare *prepare)
{
    tc_broadcast broadcast;
    memset(&broadcast, 0, sizeof broadcast);
    tc_broadcast_plan(&broadcast, prepare); /* of equal shapes */
    return finish(prepare, &broadcast, code);
}

template <typename C, bool guarded>
static tc_status run(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context)
{
    const binary_params *p = static_cast<const binary_params *>(params);
    constexpr int V = tc_width<C>;
    bool aligned = V > 1 && tc_aligned(inputs[0], inputs[1], outputs[0]);
    int64_t groups = tc_loops_groups(&p->loops, V, aligned);
    binary_task task = {p->code,
                        p->storage,
                        p->result,
                        inputs[0],
                        inputs[1],
                        outputs[0],
                        guarded ? context->state : NULL};
    return tc_cuda_launch(binary<C>, tc_grid(p->loops.count, groups, V), dim3(TC_THREADS), 0,
                          context, p->loops, task, groups);
}

#define BINARY(op, tag, C) TC_CUDA_KERNEL(op, tag, prepare_binary, (run<C, false>))
#define BIAS(op, tag, C)   TC_CUDA_KERNEL(op, tag, prepare_bias_add, (run<C, false>))
#define ADD(op, tag, C)    TC_CUDA_KERNEL(op, tag, prepare_assign<TC_FUSED_add>, (run<C, true>))
#define SUB(op, tag, C)    TC_CUDA_KERNEL(op, tag, prepare_assign<TC_FUSED_sub>, (run<C, true>))

static const tc_kernel kernels[] = {
    TC_NUMBERS(BINARY, add),       TC_NUMBERS(BINARY, sub),
    TC_NUMBERS(BINARY, mul),       TC_NUMBERS(BINARY, div),
    TC_NUMBERS(BINARY, pow),       TC_NUMBERS(BINARY, maximum),
    TC_NUMBERS(BINARY, minimum),   TC_BOOLS(BINARY, logical_and),
    TC_BOOLS(BINARY, logical_or),  TC_BOOLS(BINARY, logical_xor),
    TC_NUMBERS(BINARY, equal),     TC_BOOLS(BINARY, equal),
    TC_NUMBERS(BINARY, not_equal), TC_BOOLS(BINARY, not_equal),
    TC_NUMBERS(BINARY, less),      TC_NUMBERS(BINARY, less_equal),
    TC_NUMBERS(BINARY, greater),   TC_NUMBERS(BINARY, greater_equal),
    TC_NUMBERS(BIAS, bias_add),    TC_NUMBERS(ADD, assign_add),
    TC_NUMBERS(SUB, assign_sub),
};

TC_CUDA_TABLE(binary, kernels);
