/*
 * What the plug-in uses of cuBLASLt, on the processor: column-major products with the checks that
 * the documentation tells, and some that it leaves to the caller. A product runs in its stream as a
 * kernel of one thread, so that what it reads and writes is checked like a kernel's.
 *
 * As the real one it has several algorithms, that need alignments and workspaces: the one that
 * cublasLtMatmul gets must be of the same problem, and of pointers aligned as was promised.
 */
#include <cublasLt.h>
#include <math.h>
#include <string.h>

#include <type_traits>
#include <vector>

#include "access.h"
#include "cuda_host_launch.h"
#include "emulation.h"

extern "C" {
#include "core/float16.h"
}

/* The inner loop becomes vectors. */
#pragma GCC optimize("O3")

struct cublasLtContext {
    int device;
};

namespace
{

struct layout {
    cudaDataType type;
    int32_t batch;
    uint64_t rows, columns;
    int64_t ld, stride;
};
static_assert(sizeof(layout) <= sizeof(cublasLtMatrixLayoutOpaque_t));

struct description {
    cublasComputeType_t compute;
    cudaDataType scale;
    cublasOperation_t of_a, of_b;
    cublasLtEpilogue_t epilogue;
    const void *bias;
};
static_assert(sizeof(description) <= sizeof(cublasLtMatmulDescOpaque_t));

struct preference {
    uint64_t workspace_bytes;
    uint32_t reductions;
    uint32_t alignment[4]; /* of A, B, C, D */
};
static_assert(sizeof(preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t));

struct algorithm {
    uint64_t problem; /* hash */
    uint64_t workspace_bytes;
    uint32_t alignment[4];
    uint32_t bias_alignment;
    uint32_t parts; /* of k, added up at last */
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t));

template <typename T, typename Opaque> T *as(Opaque *opaque)
{
    return reinterpret_cast<T *>(opaque);
}

/* Everything that a kernel of a product is given. */
struct problem {
    description what;
    layout a, b, c, d;
};

size_t size_of(cudaDataType type)
{
    return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : 2;
}

bool has_bias(const description &d)
{
    return d.epilogue & CUBLASLT_EPILOGUE_BIAS;
}

/* What is wrong with the matrices, or NULL: dimensions must fit, and columns and matrices of the
 * result not overlap. */
const char *mistake_of(const problem &p)
{
    const uint64_t m = p.d.rows, n = p.d.columns;
    const bool turned_a = p.what.of_a != CUBLAS_OP_N, turned_b = p.what.of_b != CUBLAS_OP_N;
    const uint64_t k = turned_a ? p.a.rows : p.a.columns;
    if (m == 0 || n == 0 || k == 0)
        return "nothing is to be computed";
    if (p.c.rows != m || p.c.columns != n)
        return "C and D have other dimensions";
    if ((turned_a ? p.a.columns : p.a.rows) != m || (turned_b ? p.b.columns : p.b.rows) != k ||
        (turned_b ? p.b.rows : p.b.columns) != n)
        return "the dimensions of A, B and D do not fit";
    for (const layout *l : {&p.a, &p.b, &p.c, &p.d}) {
        if (l->ld < static_cast<int64_t>(l->rows))
            return "a leading dimension is less than the rows";
        if (l->batch != p.d.batch || l->batch < 1 || l->stride < 0)
            return "the batches do not fit";
    }
    const int64_t matrix = p.d.ld * static_cast<int64_t>(n - 1) + static_cast<int64_t>(m);
    return p.d.batch > 1 && p.d.stride < matrix ? "results of a batch overlap" : nullptr;
}

/* Callers take a refusal for an answer and go on without the library, so a mistake of theirs loses
 * the device besides. */
cublasStatus_t refuse(const char *mistake)
{
    cuda_host::lose_device(cudaErrorInvalidValue, std::string("cuBLASLt: ") + mistake);
    return CUBLAS_STATUS_INVALID_VALUE;
}

bool is_supported(const problem &p)
{
    for (const layout *l : {&p.a, &p.b, &p.c})
        if (l->type != p.d.type)
            return false;
    for (const layout *l : {&p.a, &p.b, &p.c, &p.d})
        if (l->rows > INT32_MAX || l->columns > INT32_MAX)
            return false;
    switch (p.what.epilogue) {
    case CUBLASLT_EPILOGUE_DEFAULT:
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_BIAS:
    case CUBLASLT_EPILOGUE_RELU_BIAS:
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS: break;
    default: return false;
    }
    if (p.d.type == CUDA_R_64F)
        return p.what.compute == CUBLAS_COMPUTE_64F && p.what.scale == CUDA_R_64F &&
               p.what.epilogue == CUBLASLT_EPILOGUE_DEFAULT;
    return p.what.scale == CUDA_R_32F &&
           (p.what.compute == CUBLAS_COMPUTE_32F ||
            (p.what.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && p.d.type == CUDA_R_32F));
}

/* Of all but addresses. */
uint64_t hash_of(const problem &p)
{
    uint64_t hash = 14695981039346656037u;
    auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
    add(p.what.compute);
    add(p.what.of_a);
    add(p.what.of_b);
    add(p.what.epilogue);
    for (const layout *l : {&p.a, &p.b, &p.c, &p.d})
        for (uint64_t value :
             {static_cast<uint64_t>(l->type), static_cast<uint64_t>(l->batch), l->rows, l->columns,
              static_cast<uint64_t>(l->ld), static_cast<uint64_t>(l->stride)})
            add(value);
    return hash;
}

/* An address as a multiple of what, at most 256. */
uint32_t alignment_of(const void *pointer)
{
    const uintptr_t bits = reinterpret_cast<uintptr_t>(pointer) | 256;
    return static_cast<uint32_t>(bits & -bits);
}

/*
 * The kernel
 */
float load(uint16_t bits, cudaDataType type, cublasComputeType_t)
{
    return type == CUDA_R_16F ? tc_f16_to_f32(bits) : tc_bf16_to_f32(bits);
}

float load(float x, cudaDataType, cublasComputeType_t compute)
{
    if (compute != CUBLAS_COMPUTE_32F_FAST_TF32 || !isfinite(x))
        return x;
    /* 10 bits of the fraction, rounded to nearest. */
    uint32_t bits = tc_f32_bits(x);
    return tc_f32_from_bits((bits + 0xfff + (bits >> 13 & 1)) & ~0x1fffu);
}

double load(double x, cudaDataType, cublasComputeType_t)
{
    return x;
}

void store(float x, cudaDataType type, uint16_t *to)
{
    *to = type == CUDA_R_16F ? tc_f32_to_f16(x) : tc_f32_to_bf16(x);
}
void store(float x, cudaDataType, float *to)
{
    *to = x;
}
void store(double x, cudaDataType, double *to)
{
    *to = x;
}

/* Tells that the columns of item `i` are touched. */
void touch(const layout &l, int32_t i, const char *matrix, tc_cuda_host_access_kind kind)
{
    const size_t size = size_of(l.type);
    const char *at = matrix + static_cast<size_t>(l.stride) * static_cast<size_t>(i) * size;
    const bool whole = static_cast<uint64_t>(l.ld) == l.rows;
    const uint64_t pieces = whole ? 1 : l.columns;
    const size_t bytes = (whole ? l.rows * l.columns : l.rows) * size;
    for (uint64_t j = 0; j < pieces; j++)
        tc_cuda_host_access(at + j * static_cast<size_t>(l.ld) * size, bytes, kind,
                            __builtin_return_address(0));
}

struct arguments {
    problem p;
    const char *a, *b, *c;
    char *d;
    double alpha, beta;
    char *workspace;
    algorithm chosen;
};

/* `out` (rows x columns, dense and column-major) is item `i` of the matrix, turned or not. */
template <typename T, typename C>
void gather(const layout &l, int32_t i, const char *matrix, bool turned,
            cublasComputeType_t compute, std::vector<C> *out)
{
    const T *at = reinterpret_cast<const T *>(matrix) + l.stride * i;
    out->resize(l.rows * l.columns);
    for (uint64_t column = 0; column < l.columns; column++)
        for (uint64_t row = 0; row < l.rows; row++)
            (*out)[turned ? row * l.columns + column : column * l.rows + row] =
                load(at[static_cast<int64_t>(column) * l.ld + static_cast<int64_t>(row)], l.type,
                     compute);
}

template <typename C> C epilogue(cublasLtEpilogue_t which, C x)
{
    switch (which & ~CUBLASLT_EPILOGUE_BIAS) {
    case CUBLASLT_EPILOGUE_RELU: return x > 0 ? x : 0; /* as the real one: no NaN comes through */
    case CUBLASLT_EPILOGUE_GELU:
        return x / 2 *
               (1 + tanh(static_cast<C>(0.79788456080286535588) *
                         (x + static_cast<C>(0.044715) * x * x * x)));
    default: return x;
    }
}

template <typename T, typename C> void compute_items(const arguments &g)
{
    const problem &p = g.p;
    const size_t m = p.d.rows, n = p.d.columns;
    const size_t k = p.what.of_a != CUBLAS_OP_N ? p.a.rows : p.a.columns;
    const T *bias = static_cast<const T *>(p.what.bias);
    std::vector<C> a, b, sums(m), total(m);
    if (has_bias(p.what))
        tc_cuda_host_access(bias, m * sizeof(T), TC_ACCESS_READ, __builtin_return_address(0));
    for (int32_t item = 0; item < p.d.batch; item++) {
        touch(p.a, item, g.a, TC_ACCESS_READ);
        touch(p.b, item, g.b, TC_ACCESS_READ);
        if (g.beta != 0)
            touch(p.c, item, g.c, TC_ACCESS_READ);
        if (g.chosen.workspace_bytes) { /* what other buffers have there is lost */
            tc_cuda_host_access(g.workspace, g.chosen.workspace_bytes, TC_ACCESS_WRITE,
                                __builtin_return_address(0));
            memset(g.workspace, 0xff, g.chosen.workspace_bytes);
        }
        gather<T>(p.a, item, g.a, p.what.of_a != CUBLAS_OP_N, p.what.compute, &a);
        gather<T>(p.b, item, g.b, p.what.of_b != CUBLAS_OP_N, p.what.compute, &b);
        touch(p.d, item, g.d, TC_ACCESS_WRITE);
        for (size_t j = 0; j < n; j++) {
            std::fill(total.begin(), total.end(), C(0));
            for (size_t part = 0; part < g.chosen.parts; part++) {
                std::fill(sums.begin(), sums.end(), C(0));
                const size_t end = k * (part + 1) / g.chosen.parts;
                for (size_t t = k * part / g.chosen.parts; t < end; t++) {
                    const C right = b[j * k + t], *left = &a[t * m];
                    C *sum = sums.data();
                    for (size_t i = 0; i < m; i++)
                        sum[i] += left[i] * right;
                }
                for (size_t i = 0; i < m; i++)
                    total[i] += sums[i];
            }
            const int64_t column = static_cast<int64_t>(j);
            const T *c = reinterpret_cast<const T *>(g.c) + p.c.stride * item + column * p.c.ld;
            T *d = reinterpret_cast<T *>(g.d) + p.d.stride * item + column * p.d.ld;
            for (size_t i = 0; i < m; i++) {
                C x = static_cast<C>(g.alpha) * total[i];
                if (g.beta != 0)
                    x += static_cast<C>(g.beta) * load(c[i], p.c.type, CUBLAS_COMPUTE_32F);
                if (has_bias(p.what))
                    x += load(bias[i], p.d.type, CUBLAS_COMPUTE_32F);
                store(epilogue(p.what.epilogue, x), p.d.type, d + i);
            }
        }
    }
}

void cublaslt_product(arguments g)
{
    switch (g.p.d.type) {
    case CUDA_R_64F: compute_items<double, double>(g); break;
    case CUDA_R_32F: compute_items<float, float>(g); break;
    default: compute_items<uint16_t, float>(g);
    }
}

problem problem_of(cublasLtMatmulDesc_t what, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                   cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    return {*as<description>(what), *as<layout>(a), *as<layout>(b), *as<layout>(c), *as<layout>(d)};
}

/* The bytes from the first to the last element. */
size_t extent_of(const layout &l)
{
    return (static_cast<size_t>(l.stride) * static_cast<size_t>(l.batch - 1) +
            static_cast<size_t>(l.ld) * (l.columns - 1) + l.rows) *
           size_of(l.type);
}

bool overlap(const void *a, size_t a_bytes, const void *b, size_t b_bytes)
{
    const uintptr_t x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
    return x < y + b_bytes && y < x + a_bytes;
}

template <typename T> cublasStatus_t set(T *field, const void *value, size_t bytes)
{
    if (!value || bytes != sizeof *field)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(field, value, sizeof *field);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

/*
 * The library
 */
cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    *handle = new cublasLtContext{0};
    return cudaGetDevice(&(*handle)->device) == cudaSuccess ? CUBLAS_STATUS_SUCCESS
                                                            : CUBLAS_STATUS_NOT_INITIALIZED;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED: return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown status";
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t what, size_t bytes,
                                               cublasComputeType_t compute, cudaDataType_t scale)
{
    if (bytes < sizeof(description))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *as<description>(what) = {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT,
                              nullptr};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t what,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    description *d = as<description>(what);
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&d->of_a, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB: return set(&d->of_b, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&d->bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t opaque, size_t bytes,
                                                 cudaDataType type, uint64_t rows, uint64_t columns,
                                                 int64_t ld)
{
    if (bytes < sizeof(layout))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *as<layout>(opaque) = {type, 1, rows, columns, ld, 0};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t opaque,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes)
{
    layout *l = as<layout>(opaque);
    switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return set(&l->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return set(&l->stride, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t opaque,
                                                     size_t bytes)
{
    if (bytes < sizeof(preference))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *as<preference>(opaque) = {0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t opaque,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    preference *p = as<preference>(opaque);
    switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return set(&p->workspace_bytes, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return set(&p->reductions, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return set(&p->alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return set(&p->alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return set(&p->alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return set(&p->alignment[3], value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

/* Deep products are cut in two where there is room for the sums of both. */
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t what,
                                              cublasLtMatrixLayout_t of_a,
                                              cublasLtMatrixLayout_t of_b,
                                              cublasLtMatrixLayout_t of_c,
                                              cublasLtMatrixLayout_t of_d,
                                              cublasLtMatmulPreference_t asked_for, int asked,
                                              cublasLtMatmulHeuristicResult_t found[], int *count)
{
    *count = 0;
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const problem p = problem_of(what, of_a, of_b, of_c, of_d);
    const preference *wish = as<preference>(asked_for);
    if (const char *mistake = mistake_of(p))
        return refuse(mistake);
    if (asked < 1)
        return refuse("no algorithm is asked for");
    if (!is_supported(p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm chosen = {hash_of(p), 0, {}, alignment_of(p.what.bias), 1};
    memcpy(chosen.alignment, wish->alignment, sizeof chosen.alignment);
    const uint64_t sums = 2 * p.d.rows * p.d.columns * (p.d.type == CUDA_R_64F ? 8 : 4);
    const uint64_t k = p.what.of_a != CUBLAS_OP_N ? p.a.rows : p.a.columns;
    if (k >= 256 && (wish->reductions & CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) &&
        sums <= wish->workspace_bytes) {
        chosen.parts = 2;
        chosen.workspace_bytes = sums;
    }
    memset(found, 0, sizeof *found);
    memcpy(&found->algo, &chosen, sizeof chosen);
    found->workspaceSize = chosen.workspace_bytes;
    found->state = CUBLAS_STATUS_SUCCESS;
    found->wavesCount = 1;
    *count = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t what, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t of_a, const void *b,
                              cublasLtMatrixLayout_t of_b, const void *beta, const void *c,
                              cublasLtMatrixLayout_t of_c, void *d, cublasLtMatrixLayout_t of_d,
                              const cublasLtMatmulAlgo_t *opaque, void *workspace,
                              size_t workspace_bytes, cudaStream_t stream)
{
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    const problem p = problem_of(what, of_a, of_b, of_c, of_d);
    if (const char *mistake = mistake_of(p))
        return refuse(mistake);
    if (!alpha || !beta || !a || !b || !c || !d || !opaque)
        return refuse("an argument is missing");
    if (!is_supported(p))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    algorithm chosen;
    memcpy(&chosen, opaque, sizeof chosen);
    if (chosen.problem != hash_of(p))
        return refuse("the algorithm is another problem's");
    const void *const pointers[] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if (alignment_of(pointers[i]) < chosen.alignment[i])
            return refuse("a matrix is less aligned than was promised");
    if (has_bias(p.what) && (!p.what.bias || alignment_of(p.what.bias) < chosen.bias_alignment))
        return refuse("the bias is missing, or less aligned than was promised");
    if (workspace_bytes < chosen.workspace_bytes ||
        (workspace_bytes > 0 && alignment_of(workspace) < 16))
        return refuse("the workspace is too small or not aligned");
    const bool is_double = p.d.type == CUDA_R_64F;
    const double factor = is_double ? *static_cast<const double *>(alpha)
                                    : static_cast<double>(*static_cast<const float *>(alpha));
    const double factor_c = is_double ? *static_cast<const double *>(beta)
                                      : static_cast<double>(*static_cast<const float *>(beta));
    /* The result may be C in place, and nothing else. */
    const bool in_place = c == d && p.c.ld == p.d.ld && p.c.stride == p.d.stride;
    if (overlap(a, extent_of(p.a), d, extent_of(p.d)) ||
        overlap(b, extent_of(p.b), d, extent_of(p.d)) ||
        (factor_c != 0 && !in_place && overlap(c, extent_of(p.c), d, extent_of(p.d))))
        return refuse("the result lies in an operand");
    const layout *const layouts[] = {&p.a, &p.b, &p.c, &p.d};
    for (int i = 0; i < 4; i++)
        if (overlap(workspace, chosen.workspace_bytes, pointers[i], extent_of(*layouts[i])))
            return refuse("the workspace lies in a matrix");
    int device = -1;
    if (cudaGetDevice(&device) != cudaSuccess || device != handle->device)
        return refuse("another device is the current one");
    const arguments g = {p,
                         static_cast<const char *>(a),
                         static_cast<const char *>(b),
                         static_cast<const char *>(c),
                         static_cast<char *>(d),
                         factor,
                         factor_c,
                         static_cast<char *>(workspace),
                         chosen};
    return tc_cuda_host_launch(cublaslt_product, dim3(1), dim3(1), 0, stream, g) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
