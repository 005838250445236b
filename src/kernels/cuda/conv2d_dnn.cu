/*
 * Convolutions by cuDNN: one operation, or for conv2d_fused a graph of it and what follows, where
 * an engine takes all of it.
 */
#include "kernels/cuda/conv2d.cuh"

#ifdef TC_CUDA_CUDNN

/* Names of the tensors of a graph. Those between operations are counted on from LINK. */
enum { X, W, Y, SCALE, BIAS, RESIDUAL, LINK };

/* All that a graph depends on. */
struct conv_key {
    int64_t kind, dtype, activation;
    int64_t fused, scale, bias, residual; /* 0, or the dtype of what is given */
    int64_t x[4], w[4], y[4];
    int64_t strides[2], dilations[2], before[2], after[2];
};

/* What the values of conv_key are called of each operation. */
struct conv_names {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t descriptor, x, w, y, alpha, beta;
};

static const conv_names names[] = {
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
     CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
     CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

/* Operations that follow each other, each of the result of the one before. */
struct chain {
    tc_dnn_graph &graph;
    const conv_key &key;
    cudnnDataType_t computed;
    int64_t left;  /* operations behind the next one */
    int64_t links; /* tensors between operations so far */
    void *last;

    /* The tensor that the next operation writes: the last one writes y itself. */
    void *next()
    {
        if (left-- == 0)
            return graph.tensor(Y, tc_dnn_type(static_cast<tc_dtype>(key.dtype)), 4, key.y);
        return graph.tensor(LINK + links++, computed, 4, key.y, nullptr, TC_DNN_VIRTUAL);
    }

    /* mode(last, other), or mode(last) when there is no other. */
    void apply(cudnnPointwiseMode_t mode, void *other)
    {
        void *what = mode == CUDNN_POINTWISE_RELU_FWD
                         ? graph.make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
                                      {{CUDNN_ATTR_POINTWISE_MODE, mode},
                                       {CUDNN_ATTR_POINTWISE_MATH_PREC, computed},
                                       {CUDNN_ATTR_POINTWISE_NAN_PROPAGATION,
                                        CUDNN_TYPE_NAN_PROPOGATION, &keep_nan, 1}})
                         : graph.pointwise(mode, computed);
        void *from = last;
        last = next();
        if (other)
            graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                            {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what},
                             {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from},
                             {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, other},
                             {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, last}});
        else
            graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                            {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, what},
                             {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from},
                             {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, last}});
    }

    /* The same with a vector of an element per channel. */
    void apply_vector(cudnnPointwiseMode_t mode, int64_t id, int64_t dtype)
    {
        const int64_t dims[4] = {1, key.y[1], 1, 1};
        apply(mode, graph.tensor(id, tc_dnn_type(static_cast<tc_dtype>(dtype)), 4, dims));
    }

    static constexpr cudnnNanPropagation_t keep_nan = CUDNN_PROPAGATE_NAN;
};

static void build(tc_dnn_graph &graph, const conv_key &key)
{
    static const cudnnPointwiseMode_t functions[] = {
        CUDNN_POINTWISE_IDENTITY, CUDNN_POINTWISE_RELU_FWD, CUDNN_POINTWISE_SIGMOID_FWD,
        CUDNN_POINTWISE_TANH_FWD, CUDNN_POINTWISE_GELU_FWD, CUDNN_POINTWISE_GELU_APPROX_TANH_FWD};
    const cudnnDataType_t type = tc_dnn_type(static_cast<tc_dtype>(key.dtype));
    const conv_names &of = names[key.kind];
    const bool wide = key.dtype == TC_F64;
    chain c = {graph, key, wide ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT, 0, 0, nullptr};
    if (key.fused)
        c.left = (key.scale != 0) + (key.bias != 0) + (key.residual != 0) +
                 (key.activation != TC_CUDA_NONE);
    void *descriptor = graph.make(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
                                  {{CUDNN_ATTR_CONVOLUTION_COMP_TYPE, c.computed},
                                   {CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION},
                                   {CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2}},
                                   {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, key.before, 2},
                                   {CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, key.after, 2},
                                   {CUDNN_ATTR_CONVOLUTION_DILATIONS, key.dilations, 2},
                                   {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, key.strides, 2}});
    void *x = graph.tensor(X, type, 4, key.x), *w = graph.tensor(W, type, 4, key.w);
    c.last = key.kind == TC_CUDA_CONV ? c.next() : graph.tensor(Y, type, 4, key.y);
    /* The factors have the type that is computed in. */
    const tc_dnn_attr alpha = wide ? tc_dnn_attr(of.alpha, 1.0) : tc_dnn_attr(of.alpha, 1.0f);
    const tc_dnn_attr beta = wide ? tc_dnn_attr(of.beta, 0.0) : tc_dnn_attr(of.beta, 0.0f);
    graph.operation(
        of.operation,
        {{of.descriptor, descriptor}, {of.x, x}, {of.w, w}, {of.y, c.last}, alpha, beta});
    if (!key.fused)
        return;
    if (key.scale)
        c.apply_vector(CUDNN_POINTWISE_MUL, SCALE, key.scale);
    if (key.bias)
        c.apply_vector(CUDNN_POINTWISE_ADD, BIAS, key.bias);
    if (key.residual)
        c.apply(CUDNN_POINTWISE_ADD, graph.tensor(RESIDUAL, type, 4, key.y));
    if (key.activation != TC_CUDA_NONE)
        c.apply(functions[key.activation], nullptr);
}

/* Whether cuDNN is asked at all: it counts the elements of filters in 32 bits, and sums over
 * nothing are not its business. */
static bool within(const conv_key &key)
{
    int64_t filter = 1, sizes = 1;
    for (int i = 0; i < 4; i++) {
        filter *= key.w[i];
        sizes = key.x[i] && key.y[i] && key.w[i] ? sizes : 0;
    }
    return sizes != 0 && filter <= INT32_MAX;
}

tc_status tc_cuda_conv_plan(const tc_prepare *prepare, tc_cuda_conv_params *params)
{
    const tc_cuda_conv *p = &params->conv;
    const tc_cuda_epilogue *e = &params->epilogue;
    const tc_dtype dtype = prepare->outputs[0].dtype;
    const int64_t vectors =
        dtype == TC_F16 || dtype == TC_BF16 ? (e->wide ? TC_F32 : dtype) : dtype;
    conv_key key = {};
    key.kind = p->kind;
    key.dtype = dtype;
    const tc_cuda_axis *h = &p->axis[0], *v = &p->axis[1];
    const int64_t x[4] = {params->images, p->image_channels, h->in, v->in},
                  w[4] = {p->image_filters, p->channels, h->kernel, v->kernel},
                  y[4] = {params->images, p->image_filters, h->out, v->out};
    memcpy(key.x, x, sizeof x);
    memcpy(key.w, w, sizeof w);
    memcpy(key.y, y, sizeof y);
    for (int i = 0; i < 2; i++) {
        key.strides[i] = p->axis[i].stride;
        key.dilations[i] = p->axis[i].dilation;
        key.before[i] = p->axis[i].before;
        key.after[i] = p->axis[i].after;
    }
    if (!within(key))
        return TC_OK;
    const bool follows = e->scale || e->bias || e->residual || e->activation != TC_CUDA_NONE;
    if (follows && e->alpha == 1) {
        key.fused = 1;
        key.scale = e->scale ? vectors : 0;
        key.bias = e->bias ? vectors : 0;
        key.residual = e->residual ? dtype : 0;
        key.activation = e->activation;
        TC_TRY(tc_dnn_plan_of<build>(prepare, dtype, key, &params->plan));
        params->fused = params->plan.index != 0;
        if (params->fused)
            return TC_OK;
        key.fused = key.scale = key.bias = key.residual = key.activation = 0;
    }
    TC_TRY(tc_dnn_plan_of<build>(prepare, dtype, key, &params->plan));
    if (!params->plan.index)
        return TC_OK;
    params->fused = !follows && e->alpha == 1;
    /* A residual may lie where the result will: the convolution is kept apart. */
    if (e->residual)
        params->result_bytes =
            (static_cast<size_t>(params->count) * tc_dtype_size(dtype) + 255) / 256 * 256;
    return TC_OK;
}

tc_status tc_cuda_conv_run(const tc_cuda_conv_params *params, const void *const *inputs,
                           void *result, void *workspace, const tc_kernel_context *context)
{
    const tc_cuda_epilogue *e = &params->epilogue;
    const bool fused = params->fused;
    switch (params->conv.kind) {
    case TC_CUDA_CONV_GRAD_INPUT:
        return tc_dnn_run(&params->plan, {{W, inputs[0]}, {Y, inputs[1]}, {X, result}}, workspace,
                          context);
    case TC_CUDA_CONV_GRAD_FILTER:
        return tc_dnn_run(&params->plan, {{X, inputs[0]}, {Y, inputs[1]}, {W, result}}, workspace,
                          context);
    default:
        return tc_dnn_run(&params->plan,
                          {{X, inputs[0]},
                           {W, inputs[1]},
                           {Y, result},
                           {SCALE, fused && e->scale ? inputs[TC_CUDA_SCALE] : nullptr},
                           {BIAS, fused && e->bias ? inputs[TC_CUDA_BIAS] : nullptr},
                           {RESIDUAL, fused && e->residual ? inputs[TC_CUDA_RESIDUAL] : nullptr}},
                          workspace, context);
    }
}

#endif
