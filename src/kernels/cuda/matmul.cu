/*
 * matmul and matmul_fused. Floats go through cuBLASLt, which is asked in prepare for its algorithm;
 * small products, integers and what it refuses through the kernel of product.cuh.
 *
 * Column-major cuBLASLt computes y as its transpose, b' a': its A is our b, its rows are our n.
 */
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/product.cuh"

/* Products of so many multiply-adds are as fast in one launch of our own, which loads no library.
 */
#define SMALL_WORK  (32 << 10)
#define SMALL_DEPTH 256
/* Batches that cuBLASLt cannot step through are so many calls at most, and longer ones than this
 * are not for all of its algorithms: a grid has no more blocks in z. */
#define MOST_CALLS 256
#define MOST_BATCH 65535
/* NVIDIA's advice for the workspace of cuBLAS: 32 MiB on Hopper and later, 4 MiB before. */
#define WORKSPACE_BYTES(device) (static_cast<size_t>((device)->major >= 9 ? 32 : 4) << 20)

/* What of the epilogue cuBLASLt does: always alpha, and the residual where `add` says so. */
struct blas_call {
    cudaDataType type;
    cublasComputeType_t compute;
    cublasLtEpilogue_t epilogue;
    bool add;
    tc_cuda_batch_dim batch; /* that one call steps through; size 1: none */
};

/* An algorithm for operands of at least one alignment. */
struct blas_algorithm {
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace_bytes;
};

struct matmul_params {
    tc_cuda_product product; /* with blas: its batch are the dimensions of the calls */
    tc_cuda_epilogue after;  /* what our kernel does, after the product or in it */
    bool blas;
    blas_call call;
    blas_algorithm aligned, unaligned; /* to 16 bytes, and to their elements alone */
    double alpha;                      /* of the call */
    bool bias;                         /* of the call */
    size_t workspace_bytes;            /* of cuBLASLt; what follows comes behind it */
    size_t bias_bytes;                 /* of the bias in the dtype of the result */
    size_t product_bytes;              /* of the product where it cannot lie in the result */
    int32_t device;
};

static bool follows(const tc_cuda_epilogue *e)
{
    return e->scale || e->bias || e->residual || e->activation != TC_CUDA_NONE || e->alpha != 1;
}

static size_t aligned_up(size_t bytes)
{
    return (bytes + 255) & ~static_cast<size_t>(255);
}

/*
 * Descriptions for cuBLASLt
 */
struct blas_descriptions {
    cublasLtMatmulDescOpaque_t product;
    cublasLtMatrixLayoutOpaque_t a, b, y; /* a and b are ours */
};

#define BLAS_TRY(call)                                \
    do {                                              \
        cublasStatus_t blas_try_status = call;        \
        if (blas_try_status != CUBLAS_STATUS_SUCCESS) \
            return blas_try_status;                   \
    } while (0)

static cublasStatus_t describe_matrix(const tc_cuda_blas *blas, const blas_call *call,
                                      int64_t columns, int64_t rows, int64_t ld, int64_t step,
                                      cublasLtMatrixLayoutOpaque_t *layout)
{
    BLAS_TRY(blas->cublasLtMatrixLayoutInit_internal(layout, sizeof *layout, call->type,
                                                     static_cast<uint64_t>(columns),
                                                     static_cast<uint64_t>(rows), ld));
    const int32_t count = static_cast<int32_t>(call->batch.size);
    if (count == 1)
        return CUBLAS_STATUS_SUCCESS;
    BLAS_TRY(blas->cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                    &count, sizeof count));
    return blas->cublasLtMatrixLayoutSetAttribute(
        layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
}

/* A few hundred nanoseconds, without allocating. */
static cublasStatus_t describe(const tc_cuda_blas *blas, const blas_call *call,
                               const tc_cuda_product *p, const void *bias, blas_descriptions *out)
{
    const cublasOperation_t of_a = p->a_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t of_b = p->b_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtMatmulDesc_t d = &out->product;
    BLAS_TRY(blas->cublasLtMatmulDescInit_internal(
        d, sizeof *d, call->compute, call->type == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F));
#define SET(attribute, value)                                                                    \
    BLAS_TRY(blas->cublasLtMatmulDescSetAttribute(d, CUBLASLT_MATMUL_DESC_##attribute, &(value), \
                                                  sizeof(value)))
    SET(TRANSA, of_b);
    SET(TRANSB, of_a);
    SET(EPILOGUE, call->epilogue);
    if (bias)
        SET(BIAS_POINTER, bias);
#undef SET
    BLAS_TRY(describe_matrix(blas, call, p->a_turned ? p->m : p->k, p->a_turned ? p->k : p->m,
                             p->a_ld, call->batch.a, &out->a));
    BLAS_TRY(describe_matrix(blas, call, p->b_turned ? p->k : p->n, p->b_turned ? p->n : p->k,
                             p->b_ld, call->batch.b, &out->b));
    return describe_matrix(blas, call, p->n, p->m, p->n, call->batch.y, &out->y);
}

/* The first choice of cuBLASLt for operands that are multiples of `alignment`; false when it does
 * not do the call. */
static bool choose(const tc_cuda_libraries *libraries, const matmul_params *params,
                   uint32_t alignment, blas_algorithm *chosen)
{
    const tc_cuda_blas *blas = libraries->blas;
    blas_descriptions d;
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasLtMatmulHeuristicResult_t result;
    /* What reads 16-bit results again to add to them would round every part. */
    const uint32_t reductions =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const uint64_t most = WORKSPACE_BYTES(tc_cuda_device_at(params->device));
    int count = 0;
    /* Only the alignment of the pointer is looked at. */
    const void *bias = params->bias ? reinterpret_cast<const void *>(uintptr_t{alignment}) : NULL;
    if (describe(blas, &params->call, &params->product, bias, &d) != CUBLAS_STATUS_SUCCESS ||
        blas->cublasLtMatmulPreferenceInit_internal(&preference, sizeof preference) !=
            CUBLAS_STATUS_SUCCESS)
        return false;
#define PREFER(attribute, value)                                                                  \
    if (blas->cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_##attribute, \
                                                   &(value),                                      \
                                                   sizeof(value)) != CUBLAS_STATUS_SUCCESS)       \
    return false
    PREFER(MAX_WORKSPACE_BYTES, most);
    PREFER(REDUCTION_SCHEME_MASK, reductions);
    PREFER(MIN_ALIGNMENT_A_BYTES, alignment);
    PREFER(MIN_ALIGNMENT_B_BYTES, alignment);
    PREFER(MIN_ALIGNMENT_C_BYTES, alignment);
    PREFER(MIN_ALIGNMENT_D_BYTES, alignment);
#undef PREFER
    if (blas->cublasLtMatmulAlgoGetHeuristic(libraries->blaslt, &d.product, &d.b, &d.a, &d.y, &d.y,
                                             &preference, 1, &result,
                                             &count) != CUBLAS_STATUS_SUCCESS ||
        count == 0 || result.state != CUBLAS_STATUS_SUCCESS)
        return false;
    *chosen = blas_algorithm{result.algo, result.workspaceSize};
    return true;
}

/*
 * prepare
 */
static blas_call call_of(const tc_prepare *prepare)
{
    blas_call call;
    memset(&call, 0, sizeof call);
    call.batch.size = 1;
    call.epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    call.compute = CUBLAS_COMPUTE_32F;
    switch (prepare->outputs[0].dtype) {
    case TC_F64:
        call.type = CUDA_R_64F;
        call.compute = CUBLAS_COMPUTE_64F;
        break;
    case TC_F16: call.type = CUDA_R_16F; break;
    case TC_BF16: call.type = CUDA_R_16BF; break;
    default:
        call.type = CUDA_R_32F;
        if (prepare->allows & TC_ALLOW_TF32)
            call.compute = CUBLAS_COMPUTE_32F_FAST_TF32;
    }
    return call;
}

/* Equal parts that `size` is cut into, each short enough for a call; 0: there are none. */
static int64_t parts_of(int64_t size)
{
    for (int64_t parts = (size + MOST_BATCH - 1) / MOST_BATCH; parts <= MOST_CALLS; parts++)
        if (size % parts == 0)
            return parts;
    return 0;
}

/* One dimension of the batch, the longest, becomes that of a call; the others are calls. */
static bool split_batch(matmul_params *params)
{
    tc_cuda_product *p = &params->product;
    int32_t longest = 0;
    for (int32_t d = 1; d < p->rank; d++)
        if (p->batch[d].size > p->batch[longest].size)
            longest = d;
    if (p->rank == 0)
        return true;
    tc_cuda_batch_dim *calls = &p->batch[longest], *batch = &params->call.batch;
    const int64_t parts = parts_of(calls->size);
    if (parts == 0)
        return false;
    *batch = *calls;
    batch->size /= parts;
    p->items /= batch->size;
    *calls = {parts, calls->a * batch->size, calls->b * batch->size, calls->y * batch->size};
    if (parts == 1) {
        p->rank--;
        for (int32_t d = longest; d < p->rank; d++)
            p->batch[d] = p->batch[d + 1];
    }
    return p->items <= MOST_CALLS;
}

/* Gives the call as much of the epilogue as it can take, and leaves the rest in params->after. */
static void move_into_call(matmul_params *params, bool bias_and_activation)
{
    tc_cuda_epilogue *after = &params->after;
    blas_call *call = &params->call;
    const bool half = call->type == CUDA_R_16F || call->type == CUDA_R_16BF;
    if (after->scale) /* it comes before everything else */
        return;
    params->alpha = after->alpha;
    after->alpha = 1;
    call->add = after->residual;
    after->residual = false;
    if (!bias_and_activation)
        return;
    /* Its GELU is the tanh form, with a tanh that is good enough for 16 bits alone. Its ReLU makes
     * zeros of NaN, which must not be lost. */
    const bool gelu = after->activation == TC_CUDA_GELU_TANH && half;
    if (!gelu && after->activation != TC_CUDA_NONE)
        return;
    if (after->bias)
        call->epilogue = gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS;
    else if (gelu)
        call->epilogue = CUBLASLT_EPILOGUE_GELU;
    if (after->bias && after->wide)
        params->bias_bytes = aligned_up(static_cast<size_t>(params->product.n) * 2);
    params->bias = after->bias;
    after->bias = false;
    after->activation = TC_CUDA_NONE;
}

/* Fills `params` for cuBLASLt; false when it does not take the product. */
static bool plan_blas(const tc_prepare *prepare, const tc_cuda_libraries *libraries,
                      bool bias_and_activation, matmul_params *params)
{
    const size_t element = tc_dtype_size(prepare->outputs[0].dtype);
    params->blas = true;
    params->call = call_of(prepare);
    if (!split_batch(params))
        return false;
    move_into_call(params, bias_and_activation);
    /* The residual may lie in the result, and must outlive the product. */
    if (params->after.residual)
        params->product_bytes =
            aligned_up(static_cast<size_t>(tc_shape_size(&prepare->outputs[0].shape)) * element);
    if (!choose(libraries, params, 16, &params->aligned) ||
        !choose(libraries, params, static_cast<uint32_t>(element), &params->unaligned))
        return false;
    size_t bytes = params->aligned.workspace_bytes;
    if (bytes < params->unaligned.workspace_bytes)
        bytes = params->unaligned.workspace_bytes;
    params->workspace_bytes = aligned_up(bytes);
    return true;
}

/* Whether one launch of our own is at least as good. */
static bool is_small(const tc_cuda_product *p)
{
    const double work = static_cast<double>(p->m) * static_cast<double>(p->n) *
                        static_cast<double>(p->k) * static_cast<double>(p->items);
    return work <= SMALL_WORK && p->k <= SMALL_DEPTH;
}

static tc_status keep(tc_prepare *prepare, const matmul_params *params)
{
    matmul_params *kept = static_cast<matmul_params *>(tc_prepare_params(prepare, sizeof *kept));
    if (!kept)
        return TC_RESOURCE_EXHAUSTED;
    *kept = *params;
    if (params->blas)
        prepare->workspace_bytes =
            params->workspace_bytes + params->bias_bytes + params->product_bytes;
    return TC_OK;
}

static matmul_params read_node(const tc_prepare *prepare)
{
    matmul_params params;
    memset(&params, 0, sizeof params);
    params.product = tc_cuda_product_read(prepare);
    params.after = tc_cuda_epilogue_read(prepare);
    params.alpha = 1;
    params.device = prepare->device;
    return params;
}

static tc_status prepare_integer(tc_prepare *prepare)
{
    const matmul_params params = read_node(prepare);
    return keep(prepare, &params);
}

static tc_status prepare_float(tc_prepare *prepare)
{
    const matmul_params own = read_node(prepare);
    if (is_small(&own.product))
        return keep(prepare, &own);
    const tc_cuda_libraries *libraries = NULL;
    TC_TRY(tc_cuda_use_blas(prepare->device, &libraries));
    for (int whole = 1; whole >= 0; whole--) {
        matmul_params params = own;
        if (plan_blas(prepare, libraries, whole != 0, &params))
            return keep(prepare, &params);
    }
    return keep(prepare, &own);
}

/*
 * run
 */
template <typename T>
static tc_status run_own(const void *params, const void *const *inputs, void *const *outputs,
                         const tc_kernel_context *context)
{
    const matmul_params *p = static_cast<const matmul_params *>(params);
    const tc_cuda_finish finish = tc_cuda_epilogue_bind(&p->after, inputs);
    return tc_cuda_product_launch<T>(&p->product, inputs[0], inputs[1], outputs[0], &finish,
                                     context);
}

template <typename T> static __global__ void narrow(const float *from, T *to, int64_t count)
{
    int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count)
        to[i] = tc_store<T>(from[i]);
}

/* What follows the product, `width` elements at a time, all of them of one row. */
template <typename T, int width>
static __global__ void __launch_bounds__(256)
    finish_rows(const T *product, T *y, int64_t count, int64_t columns, tc_cuda_finish finish)
{
    typedef tc_vector<T, width> V;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x * width;
#pragma unroll 1
    for (int64_t at = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * width;
         at < count; at += stride) {
        const int64_t column = count <= UINT32_MAX
                                   ? static_cast<uint32_t>(at) % static_cast<uint32_t>(columns)
                                   : at % columns;
        V rest = {}, x = *reinterpret_cast<const V *>(product + at);
        if (finish.residual)
            rest = *reinterpret_cast<const V *>(static_cast<const T *>(finish.residual) + at);
            /* Always the first one, so that the functions that may follow are here once. */
#pragma unroll 1
        for (int i = 0; i < width; i++) {
            const T done = tc_store<T>(tc_cuda_finish_element<T>(finish, tc_load(x.at[0]),
                                                                 tc_load(rest.at[0]), column + i));
#pragma unroll
            for (int k = 1; k < width; k++) {
                x.at[k - 1] = x.at[k];
                rest.at[k - 1] = rest.at[k];
            }
            x.at[width - 1] = done;
        }
        *reinterpret_cast<V *>(y + at) = x;
    }
}

template <typename T>
static tc_status launch_finish(const matmul_params *p, const void *product, void *y,
                               const tc_cuda_finish *finish, const tc_kernel_context *context)
{
    constexpr int width = 16 / sizeof(T);
    const tc_cuda_product *shape = &p->product;
    const int64_t count = shape->m * shape->n * shape->items * p->call.batch.size;
    const bool wide = shape->n % width == 0 &&
                      (reinterpret_cast<uintptr_t>(product) | reinterpret_cast<uintptr_t>(y) |
                       reinterpret_cast<uintptr_t>(finish->residual)) %
                              16 ==
                          0;
    const dim3 blocks(tc_cuda_blocks(count, 256 * (wide ? width : 1), TC_CUDA_MOST_BLOCKS));
    return tc_cuda_launch(wide ? finish_rows<T, width> : finish_rows<T, 1>, blocks, dim3(256), 0,
                          context, static_cast<const T *>(product), static_cast<T *>(y), count,
                          shape->n, *finish);
}

/* The buffers of the product itself. */
struct blas_buffers {
    const char *a, *b, *add;
    char *y;
    const void *bias;
    void *workspace;
};

/* One call for each item of the batch that a call does not step through. */
static tc_status run_calls(const matmul_params *p, const blas_buffers *buffers, size_t element,
                           const tc_kernel_context *context)
{
    const tc_cuda_libraries *libraries = context->queue->libraries;
    const tc_cuda_product *product = &p->product;
    const float single[2] = {static_cast<float>(p->alpha), p->call.add ? 1.0f : 0.0f};
    const double wide[2] = {p->alpha, p->call.add ? 1.0 : 0.0};
    const bool is_double = p->call.type == CUDA_R_64F;
    const void *alpha = is_double ? static_cast<const void *>(&wide[0]) : &single[0];
    const void *beta = is_double ? static_cast<const void *>(&wide[1]) : &single[1];
    blas_descriptions d;
    TC_TRY(tc_cuda_check_blas(describe(libraries->blas, &p->call, product, buffers->bias, &d),
                              "describing a product"));
    for (int64_t i = 0; i < product->items; i++) {
        int64_t item = i, a0 = 0, b0 = 0, y0 = 0;
        for (int32_t k = product->rank; k-- > 0; item /= product->batch[k].size) {
            const int64_t index = item % product->batch[k].size;
            a0 += index * product->batch[k].a;
            b0 += index * product->batch[k].b;
            y0 += index * product->batch[k].y;
        }
        const int64_t size = static_cast<int64_t>(element);
        const char *a = buffers->a + a0 * size, *b = buffers->b + b0 * size;
        char *y = buffers->y + y0 * size;
        const char *add = p->call.add ? buffers->add + y0 * size : y;
        const uintptr_t all = reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b) |
                              reinterpret_cast<uintptr_t>(y) | reinterpret_cast<uintptr_t>(add) |
                              reinterpret_cast<uintptr_t>(buffers->bias);
        const blas_algorithm *chosen = all % 16 == 0 ? &p->aligned : &p->unaligned;
        TC_TRY(tc_cuda_check_blas(libraries->blas->cublasLtMatmul(
                                      libraries->blaslt, &d.product, alpha, b, &d.b, a, &d.a, beta,
                                      add, &d.y, y, &d.y, &chosen->algorithm, buffers->workspace,
                                      p->workspace_bytes, context->queue->stream),
                                  "computing a product"));
    }
    return TC_OK;
}

template <typename T>
static tc_status run_float(const void *params, const void *const *inputs, void *const *outputs,
                           const tc_kernel_context *context)
{
    const matmul_params *p = static_cast<const matmul_params *>(params);
    if (!p->blas)
        return run_own<T>(params, inputs, outputs, context);
    char *memory = static_cast<char *>(context->workspace);
    char *narrowed = memory + p->workspace_bytes, *apart = narrowed + p->bias_bytes;
    blas_buffers buffers = {static_cast<const char *>(inputs[0]),
                            static_cast<const char *>(inputs[1]),
                            NULL,
                            p->product_bytes ? apart : static_cast<char *>(outputs[0]),
                            NULL,
                            memory};
    if (p->call.add)
        buffers.add = static_cast<const char *>(inputs[TC_CUDA_RESIDUAL]);
    if (p->bias)
        buffers.bias = p->bias_bytes ? narrowed : inputs[TC_CUDA_BIAS];
    if constexpr (sizeof(T) == 2)
        if (p->bias_bytes)
            TC_TRY(tc_cuda_launch(narrow<T>, dim3(tc_cuda_blocks(p->product.n, 256, INT32_MAX)),
                                  dim3(256), 0, context,
                                  static_cast<const float *>(inputs[TC_CUDA_BIAS]),
                                  reinterpret_cast<T *>(narrowed), p->product.n));
    TC_TRY(run_calls(p, &buffers, sizeof(T), context));
    if (!follows(&p->after))
        return TC_OK;
    const tc_cuda_finish finish = tc_cuda_epilogue_bind(&p->after, inputs);
    return launch_finish<T>(p, buffers.y, outputs[0], &finish, context);
}

#define FLOAT_KERNELS(tag, T)                                 \
    TC_CUDA_KERNEL(matmul, tag, prepare_float, run_float<T>), \
        TC_CUDA_KERNEL(matmul_fused, tag, prepare_float, run_float<T>)

/* Integers wrap, which unsigned ones may. */
static const tc_kernel kernels[] = {
    FLOAT_KERNELS(f32, float),
    FLOAT_KERNELS(f64, double),
    FLOAT_KERNELS(f16, tc_half),
    FLOAT_KERNELS(bf16, tc_bfloat),
    TC_CUDA_KERNEL(matmul, i32, prepare_integer, run_own<uint32_t>),
    TC_CUDA_KERNEL(matmul, i64, prepare_integer, run_own<uint64_t>),
};

TC_CUDA_TABLE(matmul, kernels);
