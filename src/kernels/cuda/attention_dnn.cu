/*
 * Attention of 16-bit floats by cuDNN, whose engines recognize the graph of operations that is
 * built here as one kernel ("flash" attention, forward and backward). What they would compute
 * otherwise than the operator says is left to the kernels of attention.cu: masks, rows that see
 * nothing, a gradient of the logsumexp.
 */
#include "kernels/cuda/attention.cuh"

#ifdef TC_CUDA_CUDNN
/* Tensors with memory; virtual ones are numbered from FIRST_VIRTUAL on. */
enum {
    ID_Q = 1,
    ID_K,
    ID_V,
    ID_Y,
    ID_LSE,
    ID_DY,
    ID_DQ,
    ID_DK,
    ID_DV,
    ID_SCALE,
    ID_LOWEST,
    ID_ONE,
    ID_N_Q,
    ID_N_K,
    ID_FLOW,   /* backward: sum(dy y) of every query, in the workspace */
    ID_DQ_SUM, /* backward in any order: where blocks of keys add up dq */
    FIRST_VIRTUAL = 100
};

struct attention_key {
    int64_t batch, heads, heads_kv, n_q, n_k, depth, depth_v;
    int32_t dtype, causal, any_order, unused;
};

/* A graph over [batch, heads, rows, columns] under construction. */
struct builder {
    tc_dnn_graph &graph;
    const attention_key &k;
    cudnnDataType_t type; /* of operands and results */
    int64_t next;

    builder(tc_dnn_graph &g, const attention_key &key)
        : graph(g), k(key), type(tc_dnn_type(static_cast<tc_dtype>(key.dtype))), next(FIRST_VIRTUAL)
    {
    }

    void *array(int64_t id, int64_t heads, int64_t rows, int64_t columns,
                cudnnDataType_t t = CUDNN_DATA_FLOAT, uint32_t flags = 0)
    {
        const int64_t dims[] = {k.batch, heads, rows, columns};
        return graph.tensor(id, t, 4, dims, nullptr, flags);
    }

    /* The transposed view of an array with `rows` rows of `columns` elements. */
    void *turned(int64_t id, int64_t heads, int64_t rows, int64_t columns, cudnnDataType_t t,
                 uint32_t flags = 0)
    {
        const int64_t dims[] = {k.batch, heads, columns, rows};
        const int64_t strides[] = {heads * rows * columns, rows * columns, 1, columns};
        return graph.tensor(id, t, 4, dims, strides, flags);
    }

    void *scalar(int64_t id, cudnnDataType_t t)
    {
        const int64_t dims[] = {1, 1, 1, 1};
        return graph.tensor(id, t, 4, dims, nullptr, TC_DNN_BY_VALUE);
    }

    /* An intermediate result in the shape of the scores; one number per query. */
    void *scores(cudnnDataType_t t = CUDNN_DATA_FLOAT)
    {
        return array(next++, k.heads, k.n_q, k.n_k, t, TC_DNN_VIRTUAL);
    }
    void *per_query()
    {
        return array(next++, k.heads, k.n_q, 1, CUDNN_DATA_FLOAT, TC_DNN_VIRTUAL);
    }

    void *multiply(void *a, void *b, void *c)
    {
        void *how = graph.make(CUDNN_BACKEND_MATMUL_DESCRIPTOR,
                               {{CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT}});
        graph.operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATION_MATMUL_ADESC, a},
                         {CUDNN_ATTR_OPERATION_MATMUL_BDESC, b},
                         {CUDNN_ATTR_OPERATION_MATMUL_CDESC, c},
                         {CUDNN_ATTR_OPERATION_MATMUL_DESC, how}});
        return c;
    }

    void *reduce(cudnnReduceTensorOp_t how, void *x, void *y)
    {
        void *reduction = graph.make(CUDNN_BACKEND_REDUCTION_DESCRIPTOR,
                                     {{CUDNN_ATTR_REDUCTION_OPERATOR, how},
                                      {CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT}});
        graph.operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x},
                         {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y},
                         {CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction}});
        return y;
    }

    void *unary(cudnnPointwiseMode_t mode, void *x, void *y)
    {
        graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
                          graph.pointwise(mode, CUDNN_DATA_FLOAT)},
                         {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
                         {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
        return y;
    }

    void *binary(cudnnPointwiseMode_t mode, void *x, void *b, void *y,
                 cudnnDataType_t compute = CUDNN_DATA_FLOAT)
    {
        graph.operation(
            CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
            {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, graph.pointwise(mode, compute)},
             {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
             {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b},
             {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
        return y;
    }

    void *turn(void *x, void *y)
    {
        graph.operation(
            CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
            {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x}, {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y}});
        return y;
    }

    /* The number of the row (axis 2) or column (3) of each score of `x`. */
    void *index(void *x, int64_t axis)
    {
        void *y = scores(CUDNN_DATA_INT32);
        void *how = graph.make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
                               {{CUDNN_ATTR_POINTWISE_MODE, CUDNN_POINTWISE_GEN_INDEX},
                                {CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT},
                                {CUDNN_ATTR_POINTWISE_AXIS, axis}});
        graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how},
                         {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
                         {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
        return y;
    }

    /* Scores of later keys become -inf: key j is seen where i + n_k - n_q >= j. */
    void *causal(void *x)
    {
        void *row = index(x, 2), *column = index(x, 3);
        if (k.n_q != k.n_k) {
            row = binary(CUDNN_POINTWISE_ADD, row, scalar(ID_N_K, CUDNN_DATA_INT32),
                         scores(CUDNN_DATA_INT32), CUDNN_DATA_INT32);
            row = binary(CUDNN_POINTWISE_SUB, row, scalar(ID_N_Q, CUDNN_DATA_INT32),
                         scores(CUDNN_DATA_INT32), CUDNN_DATA_INT32);
        }
        void *seen = binary(CUDNN_POINTWISE_CMP_GE, row, column, scores(CUDNN_DATA_BOOLEAN),
                            CUDNN_DATA_BOOLEAN);
        void *y = scores();
        graph.operation(
            CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
            {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
              graph.pointwise(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT)},
             {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
             {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, scalar(ID_LOWEST, CUDNN_DATA_FLOAT)},
             {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, seen},
             {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
        return y;
    }
};

static void build_forward(tc_dnn_graph &graph, const attention_key &k)
{
    builder b(graph, k);
    void *q = b.array(ID_Q, k.heads, k.n_q, k.depth, b.type);
    void *keys = b.turned(ID_K, k.heads_kv, k.n_k, k.depth, b.type);
    void *v = b.array(ID_V, k.heads_kv, k.n_k, k.depth_v, b.type);
    void *y = b.array(ID_Y, k.heads, k.n_q, k.depth_v, b.type);
    void *s = b.multiply(q, keys, b.scores());
    s = b.binary(CUDNN_POINTWISE_MUL, s, b.scalar(ID_SCALE, CUDNN_DATA_FLOAT), b.scores());
    if (k.causal)
        s = b.causal(s);
    void *most = b.reduce(CUDNN_REDUCE_TENSOR_MAX, s, b.per_query());
    void *e = b.binary(CUDNN_POINTWISE_SUB, s, most, b.scores());
    e = b.unary(CUDNN_POINTWISE_EXP, e, b.scores());
    void *sum = b.reduce(CUDNN_REDUCE_TENSOR_ADD, e, b.per_query());
    void *log = b.unary(CUDNN_POINTWISE_LOG, sum, b.per_query());
    b.binary(CUDNN_POINTWISE_ADD, most, log, b.array(ID_LSE, k.heads, k.n_q, 1));
    void *weights = b.binary(CUDNN_POINTWISE_DIV, e, sum, b.scores(b.type));
    b.multiply(weights, v, y);
}

/* a' b for every head of keys: `to` adds up the heads of queries that share it. */
static void multiply_turned(builder &b, void *a, void *x, int64_t columns, int64_t id)
{
    const attention_key &k = b.k;
    void *at = b.turn(a, b.turned(b.next++, k.heads, k.n_q, k.n_k, b.type, TC_DNN_VIRTUAL));
    void *to = b.array(id, k.heads_kv, k.n_k, columns, b.type);
    if (k.heads == k.heads_kv) {
        b.multiply(at, x, to);
        return;
    }
    void *each = b.array(b.next++, k.heads, k.n_k, columns, b.type, TC_DNN_VIRTUAL);
    b.reduce(CUDNN_REDUCE_TENSOR_ADD, b.multiply(at, x, each), to);
}

static void build_backward(tc_dnn_graph &graph, const attention_key &k)
{
    builder b(graph, k);
    void *q = b.array(ID_Q, k.heads, k.n_q, k.depth, b.type);
    void *keys = b.turned(ID_K, k.heads_kv, k.n_k, k.depth, b.type);
    void *v = b.turned(ID_V, k.heads_kv, k.n_k, k.depth_v, b.type);
    void *y = b.array(ID_Y, k.heads, k.n_q, k.depth_v, b.type);
    void *dy = b.array(ID_DY, k.heads, k.n_q, k.depth_v, b.type);
    void *dq = b.array(ID_DQ, k.heads, k.n_q, k.depth, b.type);
    void *scale = b.scalar(ID_SCALE, CUDNN_DATA_FLOAT);

    void *flow =
        b.binary(CUDNN_POINTWISE_MUL, dy, y,
                 b.array(b.next++, k.heads, k.n_q, k.depth_v, CUDNN_DATA_FLOAT, TC_DNN_VIRTUAL));
    flow = b.reduce(CUDNN_REDUCE_TENSOR_ADD, flow, b.per_query());
    /* The engines expect the factor that dropout would have. */
    flow = b.binary(CUDNN_POINTWISE_MUL, flow, b.scalar(ID_ONE, CUDNN_DATA_FLOAT),
                    b.array(ID_FLOW, k.heads, k.n_q, 1));

    void *s = b.multiply(q, keys, b.scores());
    s = b.binary(CUDNN_POINTWISE_MUL, s, scale, b.scores());
    s = b.binary(CUDNN_POINTWISE_SUB, s, b.array(ID_LSE, k.heads, k.n_q, 1), b.scores());
    if (k.causal)
        s = b.causal(s);
    void *weights = b.unary(CUDNN_POINTWISE_EXP, s, b.scores());
    multiply_turned(b, weights, dy, k.depth_v, ID_DV);

    void *ds = b.multiply(dy, v, b.scores());
    ds = b.binary(CUDNN_POINTWISE_SUB, ds, flow, b.scores());
    ds = b.binary(CUDNN_POINTWISE_MUL, ds, weights, b.scores());
    ds = b.binary(CUDNN_POINTWISE_MUL, ds, scale, b.scores(b.type));
    multiply_turned(b, ds, q, k.depth, ID_DK);

    void *lines =
        b.turn(keys, b.array(b.next++, k.heads_kv, k.n_k, k.depth, b.type, TC_DNN_VIRTUAL));
    if (!k.any_order) {
        b.multiply(ds, lines, dq);
        return;
    }
    void *sum = b.multiply(ds, lines, b.array(ID_DQ_SUM, k.heads, k.n_q, k.depth));
    b.unary(CUDNN_POINTWISE_IDENTITY, sum, dq);
}

static size_t align_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static size_t flow_bytes(const tc_attention *p)
{
    return align_up(static_cast<size_t>(p->items * p->rows) * sizeof(float));
}

static size_t dq_bytes(const tc_attention *p)
{
    return static_cast<size_t>(p->items * p->rows * p->depth) * sizeof(float);
}

static bool fits(const tc_prepare *prepare, bool gradient, const tc_attention *p)
{
    bool dlse = gradient && prepare->inputs[TC_ATTENTION_DLSE].dtype != TC_DTYPE_INVALID;
    bool blind = p->causal && p->n_q > p->n_k;
    return (p->dtype == TC_F16 || p->dtype == TC_BF16) && p->mask_dtype == TC_DTYPE_INVALID &&
           !dlse && !blind && p->rows > 0 && p->n_k > 0 && p->depth % 8 == 0 &&
           p->depth_v % 8 == 0 && p->depth > 0 && p->depth <= 128 && p->depth_v > 0 &&
           p->depth_v <= 128 && tc_cuda_device_at(prepare->device)->major >= 8;
}

tc_status tc_attention_plan(const tc_prepare *prepare, bool gradient, tc_attention *p)
{
    if (!fits(prepare, gradient, p))
        return TC_OK;
    attention_key key = {};
    key.batch = p->items / p->heads_kv;
    key.heads = p->heads_kv * p->group;
    key.heads_kv = p->heads_kv;
    key.n_q = p->n_q;
    key.n_k = p->n_k;
    key.depth = p->depth;
    key.depth_v = p->depth_v;
    key.dtype = p->dtype;
    key.causal = p->causal;
    p->factor = static_cast<float>(p->scale);
    p->lowest = -INFINITY;
    p->one = 1;
    if (!gradient) {
        TC_TRY(tc_dnn_plan_of<build_forward>(prepare, p->dtype, key, &p->plan));
        p->plan_bytes = p->plan.workspace_bytes;
        return TC_OK;
    }
    if (prepare->allows & TC_ALLOW_ANY_ORDER) {
        key.any_order = p->any_order = true;
        TC_TRY(tc_dnn_plan_of<build_backward>(prepare, p->dtype, key, &p->plan));
    }
    if (p->plan.index == 0) {
        key.any_order = p->any_order = false;
        TC_TRY(tc_dnn_plan_of<build_backward>(prepare, p->dtype, key, &p->plan));
    }
    p->plan_bytes =
        align_up(p->plan.workspace_bytes) + flow_bytes(p) + (p->any_order ? dq_bytes(p) : 0);
    return TC_OK;
}

tc_status tc_attention_run_plan(const tc_attention *p, bool gradient, const void *const *inputs,
                                void *const *outputs, const tc_kernel_context *context)
{
    const tc_dnn_binding common[] = {
        {ID_Q, inputs[TC_ATTENTION_Q]},
        {ID_K, inputs[TC_ATTENTION_K]},
        {ID_V, inputs[TC_ATTENTION_V]},
        {ID_SCALE, &p->factor},
    };
    tc_dnn_binding bindings[16];
    int32_t count = 0;
    for (const tc_dnn_binding &binding : common)
        bindings[count++] = binding;
    if (p->causal)
        bindings[count++] = {ID_LOWEST, &p->lowest};
    if (p->causal && p->n_q != p->n_k) {
        bindings[count++] = {ID_N_Q, &p->n_q};
        bindings[count++] = {ID_N_K, &p->n_k};
    }
    if (!gradient) {
        bindings[count++] = {ID_Y, outputs[0]};
        bindings[count++] = {ID_LSE, outputs[1]};
    } else {
        unsigned char *flow =
            static_cast<unsigned char *>(context->workspace) + align_up(p->plan.workspace_bytes);
        bindings[count++] = {ID_Y, inputs[TC_ATTENTION_Y]};
        bindings[count++] = {ID_LSE, inputs[TC_ATTENTION_LSE]};
        bindings[count++] = {ID_DY, inputs[TC_ATTENTION_DY]};
        bindings[count++] = {ID_DQ, outputs[0]};
        bindings[count++] = {ID_DK, outputs[1]};
        bindings[count++] = {ID_DV, outputs[2]};
        bindings[count++] = {ID_ONE, &p->one};
        bindings[count++] = {ID_FLOW, flow};
        if (p->any_order) {
            void *sum = flow + flow_bytes(p);
            TC_CUDA_TRY(cudaMemsetAsync(sum, 0, dq_bytes(p), context->queue->stream), "zeros");
            bindings[count++] = {ID_DQ_SUM, sum};
        }
    }
    return tc_dnn_run_array(&p->plan, bindings, count, context->workspace, context);
}

#else
tc_status tc_attention_plan(const tc_prepare *prepare, bool gradient, tc_attention *p)
{
    (void)prepare, (void)gradient, (void)p;
    return TC_OK;
}

tc_status tc_attention_run_plan(const tc_attention *p, bool gradient, const void *const *inputs,
                                void *const *outputs, const tc_kernel_context *context)
{
    (void)p, (void)gradient, (void)inputs, (void)outputs, (void)context;
    return tc_kernel_fail(TC_INTERNAL, "there is no cuDNN");
}
#endif
