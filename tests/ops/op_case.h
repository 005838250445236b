/*
 * What an operator promises, as data. A file case_<op>.c defines `const op_case op_case_<op>` (a
 * family may define several) and cases.def lists each as TC_CASE(<op>). The driver runs every
 * sample for every dtype and checks
 *
 *   - outputs against the reference, which sees the inputs as the dtype rounded them, and against
 * the expected shapes;
 *   - the graph built with unknown dimensions, named and anonymous: inferred shapes must agree with
 * the actual ones;
 *   - that kernels write all of their outputs, nothing around them, and no input; the same bits on
 * 1 and 3 threads, in place for every declared pair, and (within the tolerance) with a packed
 * weight;
 *   - gradients of first and second order against finite differences in f64.
 *
 *     static tc_value build(tc_graph *graph, const tc_value *in, const void *options)
 *     {
 *         return tc_softmax(in[0], .axis = TC_SOME(*(const int64_t *)options));
 *     }
 *     static void reference(const op_run *run) { ... run->inputs[0] ... run->outputs[0][i] = ...; }
 *     static const op_sample samples[] = {
 *         {.name = "rows", .inputs = {{OP_SHAPE(3, 5)}}, .outputs = {{OP_SHAPE(3, 5)}}, .options =
 * &last},
 *         {.name = "empty", .inputs = {{OP_SHAPE(0, 5)}}, .outputs = {{OP_SHAPE(0, 5)}}, .options =
 * &last},
 *     };
 *     static const op_bad bad[] = {{.inputs = {{OP_SHAPE(3, 5)}}, .options = &seven, .message =
 * "axis 7"}}; const op_case op_case_softmax = { .op = "softmax", .build = build, .reference =
 * reference, OP_LIST(samples), OP_BAD(bad), .dtypes = TC_DTYPES_FLOAT, .gradients = OP_INPUT(0)};
 */
#ifndef TC_TESTS_OPS_OP_CASE_H
#define TC_TESTS_OPS_OP_CASE_H

#include <math.h>

#include <tensorc/extend.h>
#include <tensorc/ops.h>

#define OP_MAX_INPUTS  12
#define OP_MAX_OUTPUTS 8

/** How the elements of an input are chosen; always the same ones for the same sample. */
typedef enum op_fill {
    OP_UNIFORM = 0, /**< evenly in [low, high); both 0: [-2, 2); rounded down for integers and bool:
                       [0, 2) */
    OP_INTEGERS = 1, /**< whole numbers in [low, high] */
    OP_VALUES = 2,   /**< `values`, repeated where there are fewer than elements */
    OP_DISTINCT = 3  /**< shuffled, no two closer than (high - low) / elements; both 0: [-2, 2). For
                        max, sort, kinks */
} op_fill;

typedef struct op_input {
    tc_dtype dtype; /**< 0: the one being tested */
    int32_t rank;
    int64_t sizes[TC_MAX_RANK];
    op_fill fill;
    double low, high;
    const double *values;
    int32_t n_values;
    uint32_t fixed; /**< axes (bits) whose size stays known in the builds with unknown dimensions */
    bool constant;  /**< a constant of the graph instead of a placeholder */
    bool variable;  /**< a variable, for resource ports */
    bool absent;    /**< TC_NO_VALUE */
} op_input;

typedef struct op_output {
    tc_dtype dtype; /**< 0: the one being tested */
    int32_t rank;
    int64_t sizes[TC_MAX_RANK];
    bool unchecked; /**< shape and dtype are checked, elements are not (a mask, saved statistics in
                       another dtype) */
} op_output;

/* Rank and sizes in an op_input or op_output; {0}, or {.rank = 0}, is a scalar. */
#define OP_SHAPE(...) \
    .rank = (int32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .sizes = {__VA_ARGS__}
/* Explicit elements of an op_input. */
#define OP_ELEMENTS(...)                                        \
    .fill = OP_VALUES, .values = (const double[]){__VA_ARGS__}, \
    .n_values = (int32_t)(sizeof((double[]){__VA_ARGS__}) / sizeof(double))
/* One input, for sets of inputs. */
#define OP_INPUT(i) (1u << (i))

/** One sample with one dtype, as reference and check see it. Elements are row-major doubles. */
typedef struct op_run {
    const double *const *inputs; /**< NULL for an absent one */
    const tc_shape *input_shapes;
    double *const *outputs; /**< reference: to be filled; check: as computed */
    const tc_shape *output_shapes;
    int32_t n_inputs;
    int32_t n_outputs;
    tc_dtype dtype; /**< being tested */
    const void *options;
} op_run;

/** Builds the sample with the typed builders and returns output 0 of the node; the driver takes the
 * other outputs. */
typedef tc_value (*op_build)(tc_graph *graph, const tc_value *inputs, const void *options);
typedef void (*op_reference)(const op_run *run);
/** Says what is wrong with the outputs in `why`, or leaves it empty: for results that no reference
 * can give (random). */
typedef void (*op_check)(const op_run *run, char why[256]);

typedef struct op_sample {
    const char *name;
    op_input inputs[OP_MAX_INPUTS];
    int32_t
        n_inputs; /**< 0: up to the last one that is not all zeros, at least n_inputs of the case */
    op_output outputs[OP_MAX_OUTPUTS];
    const void *options; /**< for build, reference and check */
    uint32_t dtypes;     /**< of this sample; 0: those of the case */
    double loosen;       /**< factor of the tolerance for ill-conditioned samples; 0: 1 */
    bool no_gradients;   /**< not differentiable here (kinks, empty) */
    bool known_shapes;   /**< cannot be built with unknown dimensions */
    op_build build;      /**< instead of the one of the case */
    op_reference reference;
} op_sample;

/** A build or run that must fail. */
typedef struct op_bad {
    op_input inputs[OP_MAX_INPUTS];
    int32_t n_inputs; /**< as in op_sample */
    const void *options;
    const char
        *message; /**< part of the expected sentence; operator and line are checked by the driver */
    tc_dtype dtype;   /**< of inputs without one; 0: TC_F32 */
    tc_status status; /**< 0: TC_INVALID_ARGUMENT */
    bool at_run;      /**< building succeeds, the kernel refuses */
    op_build build;   /**< instead of the one of the case */
} op_bad;

typedef struct op_tolerance {
    double relative, absolute; /**< |got - expected| <= absolute + relative * |expected| */
} op_tolerance;

typedef struct op_case {
    const char *op; /**< the operator under test: samples must build at least one node of it */
    op_build build;
    op_reference reference;
    op_check check;
    const op_sample *samples;
    int32_t n_samples;
    int32_t n_inputs; /**< least number of inputs of samples */
    const op_bad *bad;
    int32_t n_bad;
    uint32_t dtypes;    /**< to run */
    uint32_t gradients; /**< inputs to differentiate: OP_INPUT(0) | OP_INPUT(1) */
    bool no_second_order;
    /** Both 0: f64 1e-12, f32 1e-5, f16 2e-3, bf16 1.6e-2 relative and absolute; integers and bool
     * are exact. */
    op_tolerance tolerance[TC_DTYPE_COUNT];
    op_tolerance gradient_tolerance; /**< both 0: 1e-6 relative and absolute */
} op_case;

/** `value` wrapped around as arithmetic in an integer dtype of at most 32 bits does; other dtypes:
 * unchanged. */
static inline double op_wrap(tc_dtype dtype, double value)
{
    bool is_unsigned = dtype == TC_U8 || dtype == TC_U16 || dtype == TC_U32;
    if (!is_unsigned && dtype != TC_I8 && dtype != TC_I16 && dtype != TC_I32)
        return value;
    double range = ldexp(1, tc_dtype_bits(dtype));
    double wrapped = fmod(value, range);
    if (wrapped < 0)
        wrapped += range;
    return !is_unsigned && wrapped >= range / 2 ? wrapped - range : wrapped;
}

#define OP_LIST(array) \
    .samples = (array), .n_samples = (int32_t)(sizeof(array) / sizeof((array)[0]))
#define OP_BAD(array) .bad = (array), .n_bad = (int32_t)(sizeof(array) / sizeof((array)[0]))

#endif
