#include "kernels/cuda/dnn.cuh"

#ifdef TC_CUDA_CUDNN
#include <pthread.h>

#include "kernels/cuda/host.h"

cudnnDataType_t tc_dnn_type(tc_dtype dtype)
{
    return dtype == TC_F64    ? CUDNN_DATA_DOUBLE
           : dtype == TC_F16  ? CUDNN_DATA_HALF
           : dtype == TC_BF16 ? CUDNN_DATA_BFLOAT16
                              : CUDNN_DATA_FLOAT;
}

/* cuDNN, once it has been asked for: nothing below is called before. */
static const tc_cuda_dnn *dnn;

/*
 * Descriptors
 */
static cudnnStatus_t set(void *descriptor, const tc_dnn_attr &attr)
{
    const void *value = attr.array ? attr.array : static_cast<const void *>(&attr.descriptor);
    return dnn->cudnnBackendSetAttribute(descriptor, attr.name, attr.type, attr.count, value);
}

/* A finalized descriptor, or NULL with the reason. */
static void *make(cudnnBackendDescriptorType_t type, std::initializer_list<tc_dnn_attr> attrs,
                  cudnnStatus_t *status)
{
    void *descriptor = nullptr;
    *status = dnn->cudnnBackendCreateDescriptor(type, &descriptor);
    if (*status != CUDNN_STATUS_SUCCESS)
        return nullptr;
    for (const tc_dnn_attr &attr : attrs)
        if (*status == CUDNN_STATUS_SUCCESS)
            *status = set(descriptor, attr);
    if (*status == CUDNN_STATUS_SUCCESS)
        *status = dnn->cudnnBackendFinalize(descriptor);
    if (*status == CUDNN_STATUS_SUCCESS)
        return descriptor;
    (void)dnn->cudnnBackendDestroyDescriptor(descriptor);
    return nullptr;
}

static void destroy(void *descriptor)
{
    if (descriptor)
        (void)dnn->cudnnBackendDestroyDescriptor(descriptor);
}

void *tc_dnn_graph::make(cudnnBackendDescriptorType_t type,
                         std::initializer_list<tc_dnn_attr> attrs)
{
    if (status == CUDNN_STATUS_SUCCESS && n_descriptors == MOST_DESCRIPTORS)
        status = CUDNN_STATUS_NOT_SUPPORTED;
    if (status != CUDNN_STATUS_SUCCESS)
        return nullptr;
    void *descriptor = ::make(type, attrs, &status);
    if (descriptor)
        descriptors[n_descriptors++] = descriptor;
    return descriptor;
}

void *tc_dnn_graph::tensor(int64_t id, cudnnDataType_t type, int32_t rank, const int64_t *dims,
                           const int64_t *strides, uint32_t flags)
{
    int64_t dense[CUDNN_DIM_MAX], size = 1;
    if (rank > CUDNN_DIM_MAX && status == CUDNN_STATUS_SUCCESS)
        status = CUDNN_STATUS_NOT_SUPPORTED;
    for (int32_t i = rank - 1; status == CUDNN_STATUS_SUCCESS && i >= 0; i--) {
        dense[i] = size;
        size *= dims[i];
    }
    return make(CUDNN_BACKEND_TENSOR_DESCRIPTOR,
                {{CUDNN_ATTR_TENSOR_UNIQUE_ID, id},
                 {CUDNN_ATTR_TENSOR_DATA_TYPE, type},
                 {CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16}},
                 {CUDNN_ATTR_TENSOR_DIMENSIONS, dims, rank},
                 {CUDNN_ATTR_TENSOR_STRIDES, strides ? strides : dense, rank},
                 {CUDNN_ATTR_TENSOR_IS_VIRTUAL, (flags & TC_DNN_VIRTUAL) != 0},
                 {CUDNN_ATTR_TENSOR_IS_BY_VALUE, (flags & TC_DNN_BY_VALUE) != 0}});
}

void *tc_dnn_graph::pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t type)
{
    return make(CUDNN_BACKEND_POINTWISE_DESCRIPTOR,
                {{CUDNN_ATTR_POINTWISE_MODE, mode}, {CUDNN_ATTR_POINTWISE_MATH_PREC, type}});
}

void *tc_dnn_graph::operation(cudnnBackendDescriptorType_t type,
                              std::initializer_list<tc_dnn_attr> attrs)
{
    if (status == CUDNN_STATUS_SUCCESS && n_operations == MOST_OPERATIONS)
        status = CUDNN_STATUS_NOT_SUPPORTED;
    void *made = make(type, attrs);
    if (made)
        operations[n_operations++] = made;
    return made;
}

/*
 * Plans
 *
 * One lock serves the cache and every use of a handle: what it guards puts work into queues and
 * does not wait for it, but for the making of a plan.
 */
typedef struct entry {
    void (*build)(tc_dnn_graph &graph, const void *key);
    int32_t device;
    uint32_t allows;
    tc_dtype dtype;
    size_t bytes;
    void *key;
    void *plan, *config; /* NULL: cuDNN cannot */
    size_t workspace_bytes;
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry *entries;
static int32_t n_entries, room;

/* What an engine must not do. Winograd's algorithm in large tiles, Fourier's, and sums in 16 bits
 * lose more digits than a change of order does. */
static bool may_use(void *config, uint32_t allows, tc_dtype dtype)
{
    cudnnStatus_t status;
    void *engine = nullptr;
    if (dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
        CUDNN_STATUS_SUCCESS)
        return false;
    int64_t count = 0;
    cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    status = dnn->cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE,
                                           CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &engine);
    if (status == CUDNN_STATUS_SUCCESS)
        status = dnn->cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                               CUDNN_TYPE_NUMERICAL_NOTE,
                                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes);
    bool may = status == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; may && i < count; i++) {
        switch (notes[i]) {
        case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC: may = allows & TC_ALLOW_ANY_ORDER; break;
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: /* f32 on them is TF32 */
            may = dtype != TC_F32 || (allows & TC_ALLOW_TF32);
            break;
        case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
            may = dtype == TC_F32 && (allows & TC_ALLOW_TF32);
            break;
        case CUDNN_NUMERICAL_NOTE_WINOGRAD: may = dtype == TC_F32 || dtype == TC_F64; break;
        case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
        case CUDNN_NUMERICAL_NOTE_FFT:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: may = false; break;
        default: break;
        }
    }
    destroy(engine);
    return may;
}

/* More memory than any engine is worth. */
#define MOST_WORKSPACE (INT64_C(1) << 30)

static bool workspace_of(void *plan, size_t *bytes)
{
    int64_t count = 0, wanted = 0;
    cudnnStatus_t status = dnn->cudnnBackendGetAttribute(
        plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &wanted);
    *bytes = static_cast<size_t>(wanted);
    return status == CUDNN_STATUS_SUCCESS && wanted >= 0 && wanted <= MOST_WORKSPACE;
}

/* Fills plan, config and workspace with the first of the engines that `mode` proposes, best first,
 * that may be used and takes the graph. */
static void choose(cudnnHandle_t handle, void *operations, cudnnBackendHeurMode_t mode, entry *made)
{
    enum { MOST = 32 };
    cudnnStatus_t status;
    void *configs[MOST] = {nullptr};
    void *heuristics = make(
        CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR,
        {{CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, operations}, {CUDNN_ATTR_ENGINEHEUR_MODE, mode}},
        &status);
    if (!heuristics)
        return;
    int64_t count = 0;
    for (int i = 0; i < MOST && status == CUDNN_STATUS_SUCCESS; i++)
        status = dnn->cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]);
    if (status == CUDNN_STATUS_SUCCESS)
        status =
            dnn->cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST, &count, configs);
    /* The count may be of all that there are. */
    for (int64_t i = 0; status == CUDNN_STATUS_SUCCESS && i < count && i < MOST && !made->plan;
         i++) {
        cudnnStatus_t refused;
        if (may_use(configs[i], made->allows, made->dtype))
            made->plan = make(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR,
                              {{CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, &handle, 1},
                               {CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configs[i]}},
                              &refused);
        if (made->plan && workspace_of(made->plan, &made->workspace_bytes)) {
            made->config = configs[i];
            configs[i] = nullptr;
        } else {
            destroy(made->plan);
            made->plan = nullptr;
        }
    }
    for (int i = 0; i < MOST; i++)
        destroy(configs[i]);
    destroy(heuristics);
}

/* Fills plan and workspace of `made`, whose other fields are. */
static tc_status make_plan(entry *made)
{
    const tc_cuda_libraries *libraries;
    tc_dnn_graph *graph = static_cast<tc_dnn_graph *>(tc_cuda_host->allocate(sizeof(tc_dnn_graph)));
    if (!graph)
        return TC_RESOURCE_EXHAUSTED;
    memset(static_cast<void *>(graph), 0, sizeof *graph);
    if (tc_cuda_use_dnn(made->device, &libraries) == TC_OK) {
        dnn = libraries->dnn;
        graph->handle = libraries->cudnn;
        made->build(*graph, made->key);
        void *operations =
            graph->make(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR,
                        {{CUDNN_ATTR_OPERATIONGRAPH_OPS, graph->operations, graph->n_operations},
                         {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, &graph->handle, 1}});
        if (operations)
            choose(graph->handle, operations, CUDNN_HEUR_MODE_A, made);
        if (operations && !made->plan)
            choose(graph->handle, operations, CUDNN_HEUR_MODE_FALLBACK, made);
    }
    for (int32_t i = graph->n_descriptors - 1; i >= 0; i--)
        destroy(graph->descriptors[i]);
    tc_cuda_host->release(graph);
    return TC_OK;
}

static int32_t find(const entry *wanted, const void *key)
{
    for (int32_t i = 0; i < n_entries; i++) {
        const entry *e = &entries[i];
        if (e->build == wanted->build && e->device == wanted->device &&
            e->allows == wanted->allows && e->dtype == wanted->dtype && e->bytes == wanted->bytes &&
            memcmp(e->key, key, e->bytes) == 0)
            return i;
    }
    return -1;
}

static tc_status add(const entry *wanted, const void *key)
{
    if (n_entries == room) {
        int32_t more = room ? 2 * room : 32;
        entry *grown =
            static_cast<entry *>(tc_cuda_host->allocate(static_cast<size_t>(more) * sizeof(entry)));
        if (!grown)
            return TC_RESOURCE_EXHAUSTED;
        if (entries)
            memcpy(grown, entries, static_cast<size_t>(n_entries) * sizeof(entry));
        tc_cuda_host->release(entries);
        entries = grown;
        room = more;
    }
    entry *made = &entries[n_entries];
    *made = *wanted;
    made->key = tc_cuda_host->allocate(made->bytes);
    if (!made->key)
        return TC_RESOURCE_EXHAUSTED;
    memcpy(made->key, key, made->bytes);
    tc_status status = make_plan(made);
    if (status == TC_OK)
        n_entries++;
    else
        tc_cuda_host->release(made->key);
    return status;
}

tc_status tc_dnn_plan_of_bytes(int32_t device, uint32_t allows, tc_dtype dtype, const void *key,
                               size_t bytes, void (*build)(tc_dnn_graph &graph, const void *key),
                               tc_dnn_plan *plan)
{
    entry wanted = {build, device, allows, dtype, bytes, nullptr, nullptr, nullptr, 0};
    tc_status status = TC_OK;
    *plan = {0, device, 0};
    pthread_mutex_lock(&lock);
    int32_t at = find(&wanted, key);
    if (at < 0) {
        at = n_entries;
        status = add(&wanted, key);
    }
    if (status == TC_OK && entries[at].plan)
        /* Aligned in run to what cuDNN's engines like. */
        *plan = {at + 1, device,
                 entries[at].workspace_bytes ? entries[at].workspace_bytes + 256 : 0};
    pthread_mutex_unlock(&lock);
    if (status != TC_OK)
        return tc_kernel_fail(status, "no memory for a plan of cuDNN");
    return TC_OK;
}

tc_status tc_dnn_run(const tc_dnn_plan *plan, std::initializer_list<tc_dnn_binding> bindings,
                     void *workspace, const tc_kernel_context *context)
{
    return tc_dnn_run_array(plan, bindings.begin(), static_cast<int32_t>(bindings.size()),
                            workspace, context);
}

/* The variant pack is cuDNN's way to hand pointers over. That it allocates costs little: runs are
 * recorded once. */
tc_status tc_dnn_run_array(const tc_dnn_plan *plan, const tc_dnn_binding *bindings, int32_t count,
                           void *workspace, const tc_kernel_context *context)
{
    enum { MOST = 32 };
    int64_t ids[MOST], n = 0;
    const void *memory[MOST];
    for (int32_t i = 0; i < count && n < MOST; i++) {
        if (!bindings[i].memory)
            continue;
        ids[n] = bindings[i].id;
        memory[n++] = bindings[i].memory;
    }
    void *room_of_plan = nullptr;
    if (plan->workspace_bytes)
        room_of_plan =
            reinterpret_cast<void *>((reinterpret_cast<uintptr_t>(workspace) + 255) / 256 * 256);
    const tc_cuda_libraries *libraries = context->queue->libraries;
    pthread_mutex_lock(&lock);
    cudnnStatus_t status = dnn->cudnnSetStream(libraries->cudnn, context->queue->stream);
    void *pack = nullptr;
    if (status == CUDNN_STATUS_SUCCESS)
        pack = make(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR,
                    {{CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, memory, n},
                     {CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids, n},
                     {CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, &room_of_plan, 1}},
                    &status);
    if (pack)
        status = dnn->cudnnBackendExecute(libraries->cudnn, entries[plan->index - 1].plan, pack);
    destroy(pack);
    pthread_mutex_unlock(&lock);
    return tc_cuda_check_dnn(status, "running a plan");
}

void tc_dnn_destroy(void)
{
    pthread_mutex_lock(&lock);
    for (int32_t i = 0; i < n_entries; i++) {
        destroy(entries[i].plan);
        destroy(entries[i].config);
        tc_cuda_host->release(entries[i].key);
    }
    tc_cuda_host->release(entries);
    entries = nullptr;
    n_entries = room = 0;
    pthread_mutex_unlock(&lock);
}

#endif
