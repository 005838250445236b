/*
 * cuDNN's graphs of operations: descriptors, a cache of execution plans, running them.
 *
 * A family describes what it wants computed as a function that builds a graph from a plain key. In
 * prepare it asks for the plan of a key; when cuDNN is absent, refuses the graph or has no engine
 * that the session allows, there is none, and the family's own kernel runs:
 *
 *     struct key { int32_t dtype; int32_t rows; ... };    // no pointers, no padding
 *     static void build(tc_dnn_graph &graph, const key &k)
 *     {
 *         void *x = graph.tensor(X, k.dtype, 4, dims, strides);
 *         void *y = graph.tensor(Y, k.dtype, 4, dims, strides);
 *         void *relu = graph.pointwise(CUDNN_POINTWISE_RELU_FWD, CUDNN_DATA_FLOAT);
 *         graph.operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
 *                         {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, relu},
 *                          {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x},
 *                          {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y}});
 *     }
 *     prepare: tc_dnn_plan_of<build>(prepare, dtype, key, &params->plan);   // plan.index 0: none
 *     run:     tc_dnn_run(&params->plan, {{X, inputs[0]}, {Y, outputs[0]}}, workspace, context);
 */
#ifndef TC_KERNELS_CUDA_DNN_CUH
#define TC_KERNELS_CUDA_DNN_CUH

#include "kernels/cuda/cuda.cuh"

/** A plan in the cache of the process; plain data for params. Zeroed: none. */
struct tc_dnn_plan {
    int32_t index; /* from 1; 0: cuDNN does not compute this */
    int32_t device;
    size_t workspace_bytes; /* what tc_dnn_run needs */
};

#ifdef TC_CUDA_CUDNN
#include <initializer_list>

#include "kernels/cuda/libraries.h"

/** One attribute of a descriptor, with the type that its value tells. Arrays are borrowed for the
 * call. */
struct tc_dnn_attr {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t count;
    const void *array; /* NULL: the value below */
    union {
        void *descriptor;
        int64_t i;
        double d;
        float f;
        int32_t enumeration;
        bool b;
    };

#define TC_DNN_VALUE(T, type_name, field)                                  \
    tc_dnn_attr(cudnnBackendAttributeName_t n, T value)                    \
        : name(n), type(type_name), count(1), array(nullptr), field(value) \
    {                                                                      \
    }
    TC_DNN_VALUE(void *, CUDNN_TYPE_BACKEND_DESCRIPTOR, descriptor)
    TC_DNN_VALUE(int64_t, CUDNN_TYPE_INT64, i)
    TC_DNN_VALUE(double, CUDNN_TYPE_DOUBLE, d)
    TC_DNN_VALUE(float, CUDNN_TYPE_FLOAT, f)
    TC_DNN_VALUE(bool, CUDNN_TYPE_BOOLEAN, b)
    TC_DNN_VALUE(cudnnDataType_t, CUDNN_TYPE_DATA_TYPE, enumeration)
    TC_DNN_VALUE(cudnnConvolutionMode_t, CUDNN_TYPE_CONVOLUTION_MODE, enumeration)
    TC_DNN_VALUE(cudnnPointwiseMode_t, CUDNN_TYPE_POINTWISE_MODE, enumeration)
    TC_DNN_VALUE(cudnnReduceTensorOp_t, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, enumeration)
    TC_DNN_VALUE(cudnnRngDistribution_t, CUDNN_TYPE_RNG_DISTRIBUTION, enumeration)
    TC_DNN_VALUE(cudnnResampleMode_t, CUDNN_TYPE_RESAMPLE_MODE, enumeration)
    TC_DNN_VALUE(cudnnPaddingMode_t, CUDNN_TYPE_PADDING_MODE, enumeration)
    TC_DNN_VALUE(cudnnBackendNormMode_t, CUDNN_TYPE_NORM_MODE, enumeration)
    TC_DNN_VALUE(cudnnBackendNormFwdPhase_t, CUDNN_TYPE_NORM_FWD_PHASE, enumeration)
    TC_DNN_VALUE(cudnnBackendHeurMode_t, CUDNN_TYPE_HEUR_MODE, enumeration)
    TC_DNN_VALUE(cudnnBackendTensorReordering_t, CUDNN_TYPE_TENSOR_REORDERING_MODE, enumeration)
#undef TC_DNN_VALUE
    tc_dnn_attr(cudnnBackendAttributeName_t n, const int64_t *values, int64_t c)
        : name(n), type(CUDNN_TYPE_INT64), count(c), array(values), i(0)
    {
    }
    tc_dnn_attr(cudnnBackendAttributeName_t n, void *const *values, int64_t c)
        : name(n), type(CUDNN_TYPE_BACKEND_DESCRIPTOR), count(c), array(values), i(0)
    {
    }
    /* Of a type that the value does not tell: a handle, a pointer. */
    tc_dnn_attr(cudnnBackendAttributeName_t n, cudnnBackendAttributeType_t t, const void *values,
                int64_t c)
        : name(n), type(t), count(c), array(values), i(0)
    {
    }
};

#define TC_DNN_VIRTUAL  1u /**< an intermediate result, without memory */
#define TC_DNN_BY_VALUE 2u /**< a scalar that run gives in the memory of the processor */

/** cuDNN's name of a dtype; of floats. */
cudnnDataType_t tc_dnn_type(tc_dtype dtype);

/** A graph that is being built. The first failure sticks: then every function gives NULL. */
struct tc_dnn_graph {
    enum { MOST_DESCRIPTORS = 192, MOST_OPERATIONS = 64 };

    /** A finalized descriptor, freed with the graph. */
    void *make(cudnnBackendDescriptorType_t type, std::initializer_list<tc_dnn_attr> attrs);

    /** A tensor. `id` is what run names it with, and unique among the tensors of the graph,
     * virtual ones too. `strides` NULL: dense row-major. Elements begin at multiples of 16 bytes.
     */
    void *tensor(int64_t id, cudnnDataType_t type, int32_t rank, const int64_t *dims,
                 const int64_t *strides = nullptr, uint32_t flags = 0);

    /** What an element-wise operation computes, in `type`. */
    void *pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t type);

    /** An operation, put behind those so far. */
    void *operation(cudnnBackendDescriptorType_t type, std::initializer_list<tc_dnn_attr> attrs);

    /* Of dnn.cu. */
    cudnnHandle_t handle;
    cudnnStatus_t status;
    int32_t n_descriptors, n_operations;
    void *descriptors[MOST_DESCRIPTORS];
    void *operations[MOST_OPERATIONS];
};

/** tc_dnn_plan_of for any key: `bytes` of it, whose content alone `build` reads. */
tc_status tc_dnn_plan_of_bytes(int32_t device, uint32_t allows, tc_dtype dtype, const void *key,
                               size_t bytes, void (*build)(tc_dnn_graph &graph, const void *key),
                               tc_dnn_plan *plan);

template <typename K, void (*build)(tc_dnn_graph &, const K &)>
static void tc_dnn_build(tc_dnn_graph &graph, const void *key)
{
    build(graph, *static_cast<const K *>(key));
}

/**
 * The plan of the graph that `build` makes of `key`, on the device and with what the session allows
 * of `prepare`; made when it is first asked for. Engines whose results differ from run to run,
 * round operands or sums more than the dtypes say, or transform them far are not taken unless
 * allowed. plan->index is 0 when cuDNN cannot compute it. `dtype` is what the graph multiplies.
 * Thread-safe. RESOURCE_EXHAUSTED.
 */
template <auto build, typename K>
static tc_status tc_dnn_plan_of(const tc_prepare *prepare, tc_dtype dtype, const K &key,
                                tc_dnn_plan *plan)
{
    return tc_dnn_plan_of_bytes(prepare->device, prepare->allows, dtype, &key, sizeof key,
                                tc_dnn_build<K, build>, plan);
}

/** Memory of a tensor in a run: of the device, or of the processor for one by value. */
struct tc_dnn_binding {
    int64_t id;
    const void *memory;
};

/** Puts a plan into the queue. `workspace`: plan->workspace_bytes. */
tc_status tc_dnn_run(const tc_dnn_plan *plan, std::initializer_list<tc_dnn_binding> bindings,
                     void *workspace, const tc_kernel_context *context);
/** Likewise, of `count` bindings; one without memory is left out. */
tc_status tc_dnn_run_array(const tc_dnn_plan *plan, const tc_dnn_binding *bindings, int32_t count,
                           void *workspace, const tc_kernel_context *context);

/** Frees all plans, when nobody uses them, before the handles. */
void tc_dnn_destroy(void);

#endif
#endif
