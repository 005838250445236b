/*
 * Adding operators and kernels. The library's own are written against the same structs.
 *
 * An operator is a static tc_op: ports, attributes, shape inference, gradient. A kernel is a static
 * tc_kernel for one operator, dtype and device. Both are put into a tc_registry, which graphs and
 * runtimes are created with.
 */
#ifndef TENSORC_EXTEND_H
#define TENSORC_EXTEND_H

#include <tensorc/graph.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Attributes
 */
typedef enum tc_attr_type {
    TC_ATTR_NONE = 0,
    TC_ATTR_INT = 1,
    TC_ATTR_FLOAT = 2,
    TC_ATTR_BOOL = 3,
    TC_ATTR_STRING = 4,
    TC_ATTR_DTYPE = 5,
    TC_ATTR_SHAPE = 6,
    TC_ATTR_INTS = 7,
    TC_ATTR_FLOATS = 8,
    TC_ATTR_STRINGS = 9,
    TC_ATTR_TENSOR = 10,
    TC_ATTR_FUNCTION = 11 /**< name of a function of the graph */
} tc_attr_type;

/** A typed attribute. Pointers are borrowed by builders and owned by the graph in nodes. */
typedef struct tc_attr {
    tc_attr_type type;
    int32_t count; /**< of ints, floats, strings */
    union {
        int64_t i;
        double f;
        bool b;
        const char *s; /**< string or function */
        tc_dtype dtype;
        const tc_shape *shape;
        const int64_t *ints;
        const double *floats;
        const char *const *strings;
        tc_tensor *tensor;
    };
} tc_attr;

/** Declaration of an attribute of an operator. An attribute without `fallback` is required. */
typedef struct tc_attr_def {
    const char *name;
    tc_attr_type type;
    tc_attr fallback;    /**< type TC_ATTR_NONE: required */
    const char *choices; /**< of a string: the allowed words, "a|b|c"; NULL: any */
    const char *doc;
} tc_attr_def;

/** The attributes of one node: one per declaration, in its order. */
typedef struct tc_attrs {
    const struct tc_op *op;
    const tc_attr *values;
} tc_attrs;

/* Attribute `name`, which the operator must declare with that type; otherwise zero. Strings and
 * arrays are borrowed. */
TC_API int64_t tc_attrs_int(const tc_attrs *attrs, const char *name);
TC_API double tc_attrs_float(const tc_attrs *attrs, const char *name);
TC_API bool tc_attrs_bool(const tc_attrs *attrs, const char *name);
TC_API const char *tc_attrs_string(const tc_attrs *attrs, const char *name);
TC_API tc_dtype tc_attrs_dtype(const tc_attrs *attrs, const char *name);
TC_API const tc_shape *tc_attrs_shape(const tc_attrs *attrs, const char *name);
TC_API const int64_t *tc_attrs_ints(const tc_attrs *attrs, const char *name, int32_t *count);
TC_API const double *tc_attrs_floats(const tc_attrs *attrs, const char *name, int32_t *count);
TC_API tc_tensor *tc_attrs_tensor(const tc_attrs *attrs, const char *name);
/** The attribute itself, NULL when the operator declares none of that name. */
TC_API const tc_attr *tc_attrs_get(const tc_attrs *attrs, const char *name);

/*
 * Operators
 */

/* Sets of dtypes for ports. */
#define TC_DTYPE_BIT(dtype) (1u << (dtype))
#define TC_DTYPES_FLOAT \
    (TC_DTYPE_BIT(TC_F32) | TC_DTYPE_BIT(TC_F64) | TC_DTYPE_BIT(TC_F16) | TC_DTYPE_BIT(TC_BF16))
#define TC_DTYPES_SIGNED \
    (TC_DTYPE_BIT(TC_I8) | TC_DTYPE_BIT(TC_I16) | TC_DTYPE_BIT(TC_I32) | TC_DTYPE_BIT(TC_I64))
#define TC_DTYPES_UNSIGNED \
    (TC_DTYPE_BIT(TC_U8) | TC_DTYPE_BIT(TC_U16) | TC_DTYPE_BIT(TC_U32) | TC_DTYPE_BIT(TC_U64))
#define TC_DTYPES_INT    (TC_DTYPES_SIGNED | TC_DTYPES_UNSIGNED)
#define TC_DTYPES_INDEX  (TC_DTYPE_BIT(TC_I32) | TC_DTYPE_BIT(TC_I64))
#define TC_DTYPES_NUMBER (TC_DTYPES_FLOAT | TC_DTYPES_INT)
#define TC_DTYPES_BOOL   TC_DTYPE_BIT(TC_BOOL)
#define TC_DTYPES_ANY    (TC_DTYPES_NUMBER | TC_DTYPES_BOOL)

#define TC_PORT_OPTIONAL 1u /**< may be TC_NO_VALUE */
#define TC_PORT_VARIADIC 2u /**< the last port of its list, repeated zero or more times */
#define TC_PORT_RESOURCE                                                                          \
    4u /**< fed by a variable itself; the operator writes it (output i holds the new content). Of \
          a variadic port: the inputs that have an output */
#define TC_PORT_SHAPE_ONLY 8u  /**< only the shape is used: the elements need not be alive */
#define TC_PORT_INITIAL    16u /**< used once to initialize, not in runs */

/** Input or output of an operator. */
typedef struct tc_port {
    const char *name;
    uint32_t dtypes; /**< set of allowed dtypes */
    char type; /**< ports with the same letter have one dtype; 0: free. The letter 'T' selects the
                  kernel. */
    uint8_t flags;
    const char *doc;
} tc_port;

#define TC_EFFECT_READ  1u /**< reads state (variable) */
#define TC_EFFECT_WRITE 2u /**< writes its resource inputs */
#define TC_EFFECT_RANDOM \
    4u /**< depends on seed and step: not folded; equal attributes give equal numbers */
#define TC_EFFECT_IO         8u /**< reaches outside: never folded, merged or dropped when asked for */
#define TC_EFFECT_COLLECTIVE 16u

#define TC_OP_COMMUTATIVE 1u
#define TC_OP_ELEMENTWISE \
    2u /**< output element i depends on element i (after broadcasting) of the inputs alone */
#define TC_OP_VIEW \
    4u /**< output 0 has the elements of input 0 in the same order: it may share its memory */
#define TC_OP_INTERNAL 8u /**< made by the compiler alone, after differentiation; no builder */

/** What is known of a value before a run: dtype, shape and, for small integer tensors, elements. */
typedef struct tc_value_info {
    tc_dtype dtype; /**< TC_DTYPE_INVALID: optional input that is not given */
    tc_shape shape;
    const tc_dim *known; /**< one per element, size -1 where unknown; NULL when nothing is known */
    int32_t known_count;
} tc_value_info;

/**
 * Shape inference of one node: fill dtype (where no port letter fixes it) and shape of each output.
 * Runs when the node is built, with dimensions that may be unknown, and when a plan is made, with
 * every dimension known. The framework has checked number and dtypes of inputs and attributes
 * before.
 */
typedef struct tc_infer {
    const tc_attrs *attrs;
    const tc_value_info *inputs;
    tc_value_info *outputs; /**< zeroed; dtype preset where a letter or single-dtype set fixes it */
    int32_t n_inputs;
    int32_t n_outputs; /**< a variadic output list: set by tc_infer_outputs */
    void *internal;
} tc_infer;

/** Sets the number of outputs of an operator with a variadic output list (infer then finds
 * `outputs` enlarged). */
TC_API tc_status tc_infer_outputs(tc_infer *infer, int32_t count);
/** Records why the inputs do not fit, without operator or line (the framework adds them); returns
 * INVALID_ARGUMENT. */
TC_API tc_status tc_infer_fail(tc_infer *infer, const char *format, ...) TC_PRINTF(2, 3);
/** Zeroed memory that lives as long as the node, for `known`; NULL when exhausted. */
TC_API void *tc_infer_alloc(tc_infer *infer, size_t size);

/**
 * Gradient of one node: for each needed input fill input_gradients[i] by building nodes, or leave
 * TC_NO_VALUE where none flows. Errors stick to the graph through the builders.
 */
typedef struct tc_grad {
    tc_graph *graph;
    tc_location at; /**< of the forward node: pass TC_WITHIN(grad->at) to builders */
    const tc_attrs *attrs;
    int32_t n_inputs;
    int32_t n_outputs;
    const tc_value *inputs;
    const tc_value *outputs;
    const tc_value *output_gradients; /**< TC_NO_VALUE where none flows */
    const bool *needed;               /**< per input */
    tc_value *input_gradients;        /**< preset to TC_NO_VALUE */
} tc_grad;

typedef void (*tc_grad_function)(tc_grad *grad);

/** "This operator is not differentiable and no gradient flows through it": differs from a missing
 * gradient. */
TC_API void tc_grad_none(tc_grad *grad);
#define TC_GRAD_NONE tc_grad_none

/** Gradient of output `i`, or zeros of its shape when none flows. */
TC_API tc_value tc_grad_output(tc_grad *grad, int32_t i);

/** Work of one node, for the choice of what runs beside what and for profiles. */
typedef struct tc_node_cost {
    double flops; /**< additions, multiplications and functions; a multiply-add counts as two */
    double bytes; /**< read and written, each operand once */
} tc_node_cost;

/** An in-place pair: output may take the memory of input when nothing else needs it. */
typedef struct tc_inplace {
    int8_t input;
    int8_t output;
} tc_inplace;

/** Definition of an operator. Static; the library keeps the pointer. */
typedef struct tc_op {
    const char *name; /**< lower_snake_case */
    int32_t version;  /**< raised when the meaning changes; files store it */
    const char *doc;  /**< one line */
    const tc_port *inputs;
    const tc_port *outputs;
    const tc_attr_def *attrs;
    int16_t n_inputs; /**< ports */
    int16_t n_outputs;
    int16_t n_attrs;
    int16_t n_inplace;
    uint32_t effects; /**< TC_EFFECT_* */
    uint32_t flags;   /**< TC_OP_* */
    tc_status (*infer)(tc_infer *infer);
    tc_grad_function grad; /**< NULL: missing, an error when differentiated */
    const tc_inplace *inplace;
    /**
     * Of an operator whose output shapes depend on elements: fills outputs[i].shape with upper
     * bounds, every dimension of the inputs being known. infer leaves the dimensions it cannot know
     * unknown; the kernel writes what they are into tc_kernel_context.extents. NULL: shapes depend
     * on shapes alone.
     */
    tc_status (*bound)(tc_infer *infer);
    /**
     * What computing the node takes, every dimension being known. NULL: as many operations as
     * output elements for element-wise operators, none for others; every operand moved once:
     * what `cost` is preset to.
     */
    void (*cost)(const tc_infer *node, tc_node_cost *cost);
} tc_op;

/** Fills a pointer and a count from an array: `TC_LIST(inputs, softmax_inputs)`. */
#define TC_LIST(field, array) \
    .field = (array), .n_##field = (int16_t)(sizeof(array) / sizeof(array[0]))

typedef struct tc_attr_arg {
    const char *name;
    tc_attr value;
} tc_attr_arg;

/** What a builder asks for. */
typedef struct tc_node_spec {
    const char *op;   /**< name in the graph's registry */
    const char *name; /**< NULL: the operator's */
    tc_location at;
    const tc_value *inputs;
    size_t n_inputs;
    const tc_attr_arg *attrs; /**< those not given take their defaults */
    size_t n_attrs;
} tc_node_spec;

/**
 * Adds a node to `graph` (NULL: the graph of the first given input) and returns its output 0. Every
 * typed builder ends here. Errors stick to the graph: unknown operator or attribute (with the
 * nearest name), wrong number, dtype or graph of inputs, whatever infer refuses.
 */
TC_API tc_value tc_node_build(tc_graph *graph, const tc_node_spec *spec);

#ifndef __cplusplus
static inline tc_attr tc_attr_int(int64_t value)
{
    return (tc_attr){.type = TC_ATTR_INT, .i = value};
}
static inline tc_attr tc_attr_float(double value)
{
    return (tc_attr){.type = TC_ATTR_FLOAT, .f = value};
}
static inline tc_attr tc_attr_bool(bool value)
{
    return (tc_attr){.type = TC_ATTR_BOOL, .b = value};
}
static inline tc_attr tc_attr_string(const char *value)
{
    return (tc_attr){.type = TC_ATTR_STRING, .s = value};
}
static inline tc_attr tc_attr_dtype(tc_dtype value)
{
    return (tc_attr){.type = TC_ATTR_DTYPE, .dtype = value};
}
static inline tc_attr tc_attr_shape(const tc_shape *value)
{
    return (tc_attr){.type = TC_ATTR_SHAPE, .shape = value};
}
static inline tc_attr tc_attr_ints(const int64_t *values, size_t count)
{
    return (tc_attr){.type = TC_ATTR_INTS, .count = (int32_t)count, .ints = values};
}
static inline tc_attr tc_attr_floats(const double *values, size_t count)
{
    return (tc_attr){.type = TC_ATTR_FLOATS, .count = (int32_t)count, .floats = values};
}
static inline tc_attr tc_attr_tensor(tc_tensor *value)
{
    return (tc_attr){.type = TC_ATTR_TENSOR, .tensor = value};
}
static inline tc_attr tc_attr_function(const char *value)
{
    return (tc_attr){.type = TC_ATTR_FUNCTION, .s = value};
}

/** Fields of tc_node_spec from lists. */
#define TC_SPEC_INPUTS(...)                    \
    .inputs = (const tc_value[]){__VA_ARGS__}, \
    .n_inputs = sizeof((const tc_value[]){__VA_ARGS__}) / sizeof(tc_value)
#define TC_SPEC_ATTRS(...)                       \
    .attrs = (const tc_attr_arg[]){__VA_ARGS__}, \
    .n_attrs = sizeof((const tc_attr_arg[]){__VA_ARGS__}) / sizeof(tc_attr_arg)
#endif

/*
 * Kernels
 */
typedef enum tc_device_type { TC_DEVICE_CPU = 0, TC_DEVICE_CUDA = 1 } tc_device_type;

#define TC_ALLOW_TF32      1u /**< products of f32 may round their operands to 11 bits */
#define TC_ALLOW_ANY_ORDER 2u /**< runs may differ in the order of additions */

/** What prepare sees, and what it leaves. Every dimension is known. */
typedef struct tc_prepare {
    const tc_attrs *attrs;
    const tc_value_info *inputs;
    const tc_value_info *outputs;
    int32_t n_inputs;
    int32_t n_outputs;
    int32_t
        threads;    /**< workers that a loop of the kernel may run on; must not influence results */
    int32_t device; /**< among the devices of its type */
    uint32_t allows; /**< TC_ALLOW_*: what the session lets kernels do */
    /* Results. */
    size_t workspace_bytes; /**< scratch of one run, aligned to 64 */
    int32_t pack_input;     /**< input to pack when it is constant; -1 (preset): none */
    size_t pack_bytes;      /**< size of its packed form */
    void *internal;
} tc_prepare;

/** `size` zeroed bytes of plain data without pointers, which run receives as `params`; NULL when
 * exhausted. Call once. */
TC_API void *tc_prepare_params(tc_prepare *prepare, size_t size);
/** Records why the kernel cannot run this case; returns `status`. The framework adds node and line.
 */
TC_API tc_status tc_kernel_fail(tc_status status, const char *format, ...) TC_PRINTF(2, 3);

/** What a kernel of a device found wrong with elements, which nobody but the device sees: an index
 * out of range. */
typedef struct tc_fault {
    int32_t place; /**< tc_kernel_context.place of the kernel; 0: nothing is wrong */
    int32_t code;  /**< of the kernel's own */
    int64_t values[4];
} tc_fault;

/** What the kernels of one run on a device share, in its memory. */
typedef struct tc_run_state {
    uint64_t seed; /**< these as in tc_kernel_context */
    uint64_t step;
    uint64_t loop_index;
    tc_fault fault; /**< the first one wins; kernels that write variables do nothing after one */
} tc_run_state;

/** What run has besides its buffers. Read-only for kernels. */
typedef struct tc_kernel_context {
    void *workspace;    /**< workspace_bytes, or NULL */
    const void *packed; /**< the packed form of pack_input, or NULL when it is not constant */
    uint64_t seed;      /**< of the graph */
    uint64_t step;      /**< committed runs so far */
    uint64_t loop_index;
    struct tc_pool *pool; /**< threads of the run; for tc_kernel_parallel_for */
    /** Of an operator with `bound`: extents[i * TC_MAX_RANK + d] receives dimension d of output i.
     * NULL otherwise. */
    int64_t *extents;
    /* Of devices other than the CPU, where run puts its work into a queue and returns at once.
     * Buffers are device memory, and seed and step above are not to be used: a recorded run keeps
     * what it was recorded with. */
    struct tc_queue *queue;
    tc_run_state *state; /**< device memory */
    int32_t place;       /**< what the kernel sets tc_fault.place to */
} tc_kernel_context;

/** Work on [begin, end) of a loop; `worker` is unique among the blocks running at one time. */
typedef void (*tc_loop_function)(void *argument, int64_t begin, int64_t end, int worker);

/** Runs `function` over [0, count) in blocks of `grain` on the threads of the run. Never allocates.
 */
TC_API void tc_kernel_parallel_for(const tc_kernel_context *context, int64_t count, int64_t grain,
                                   tc_loop_function function, void *argument);

/** One kernel. Static; the library keeps the pointer. */
typedef struct tc_kernel {
    const char *op;
    tc_dtype dtype; /**< of the ports with letter 'T'; TC_DTYPE_INVALID: every dtype the operator
                       allows */
    tc_device_type device;
    int32_t isa; /**< level that the code needs: 0 scalar, 1 AVX2, 2 AVX-512, 3 NEON; the best one
                    wins */
    const char *symbol; /**< stable name in plans and profiles */
    /** Chooses algorithm and tile sizes from shapes and attributes. NULL: no params, no workspace.
     */
    tc_status (*prepare)(tc_prepare *prepare);
    /** Writes the packed form of the constant input `weights` into `blob` (pack_bytes). */
    void (*pack)(const void *params, const void *weights, void *blob);
    /**
     * Computes the outputs. inputs[i] is NULL for an input that is not given and for a SHAPE_ONLY
     * one. Empty tensors do reach it. It does not allocate, log or block. A kernel of an operator
     * with TC_EFFECT_WRITE returns TC_OK always.
     */
    tc_status (*run)(const void *params, const void *const *inputs, void *const *outputs,
                     const tc_kernel_context *context);
    /** Of devices other than the CPU: turns what the kernel found into tc_kernel_fail. NULL: it
     * finds nothing. */
    tc_status (*fault)(const void *params, const tc_fault *fault);
} tc_kernel;

/*
 * Registries
 */

/** A registry holding the library's operators and kernels, to add to. The caller owns one
 * reference. NULL: memory. */
TC_API tc_registry *tc_registry_create(void);
TC_API tc_registry *tc_registry_retain(tc_registry *registry);
TC_API void tc_registry_release(tc_registry *registry);
/** Adds an operator. Errors: ALREADY_EXISTS, INVALID_ARGUMENT naming the broken field. Not while
 * others read. */
TC_MUST_USE TC_API tc_status tc_registry_add_op(tc_registry *registry, const tc_op *op);
/** Adds a kernel; a later one for the same operator, dtype, device and ISA wins. */
TC_MUST_USE TC_API tc_status tc_registry_add_kernel(tc_registry *registry, const tc_kernel *kernel);
/** Reading: `registry` NULL is the library's own. Indexes count the library's operators first. */
TC_API int32_t tc_registry_op_count(const tc_registry *registry);
TC_API const tc_op *tc_registry_op(const tc_registry *registry, int32_t index);
TC_API const tc_op *tc_registry_find_op(const tc_registry *registry, const char *name);
TC_API int32_t tc_registry_kernel_count(const tc_registry *registry);
TC_API const tc_kernel *tc_registry_kernel(const tc_registry *registry, int32_t index);

#ifdef __cplusplus
}
#endif

#endif
