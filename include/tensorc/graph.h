/*
 * Graphs: building, naming, inspecting.
 *
 * A graph is an append-only list of nodes; each node applies an operator to values that earlier
 * nodes produced. Building needs no checking line by line: the first error sticks to the graph,
 * later builders on it return invalid values, and tc_graph_status and session creation report it
 * with operator, node path, shapes and the line of the call.
 *
 * Thread safety: one graph may be built by one thread at a time; several threads may read it while
 * nobody builds.
 */
#ifndef TENSORC_GRAPH_H
#define TENSORC_GRAPH_H

#include <tensorc/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_graph tc_graph;
typedef struct tc_registry tc_registry;

/**
 * One output of one node, passed by value. `node` is -1 for a value that could not be built and for
 * TC_NO_VALUE. Valid as long as its graph.
 */
typedef struct tc_value {
    tc_graph *graph;
    int32_t node;
    int32_t output;
} tc_value;

/** "Nothing": for optional inputs that are not given. */
static inline tc_value tc_no_value(void)
{
    tc_value none;
    none.graph = NULL;
    none.node = -1;
    none.output = 0;
    return none;
}
#define TC_NO_VALUE tc_no_value()

/** True for the result of a builder that succeeded. */
static inline bool tc_value_ok(tc_value value)
{
    return value.graph != NULL && value.node >= 0;
}

typedef struct tc_graph_options {
    size_t struct_size;
    tc_registry *registry; /**< operators that may be used; NULL: those of the library. Retained. */
    uint64_t seed;         /**< key of all random numbers of the graph; default 0 */
} tc_graph_options;

/**
 * Creates an empty graph; the caller owns one reference. Returns NULL when memory is exhausted,
 * which every builder accepts and session creation reports.
 */
TC_API tc_graph *tc_graph_create(void);
/** As tc_graph_create; `options` may be NULL. */
TC_API tc_graph *tc_graph_create_with(const tc_graph_options *options);
TC_API tc_graph *tc_graph_retain(tc_graph *graph);
/** Drops a reference; the last one frees graph, nodes and functions, and makes all its values
 * dangling. */
TC_API void tc_graph_release(tc_graph *graph);

/** The first error of building this graph, also set as the thread's error; TC_OK when there is
 * none. */
TC_API tc_status tc_graph_status(const tc_graph *graph);
/** Its sentence, "" when there is none; borrowed from the graph. */
TC_API const char *tc_graph_error(const tc_graph *graph);

TC_API uint64_t tc_graph_seed(const tc_graph *graph);

/** Makes the error of a builder of your own stick to the graph. `graph` may be NULL. Returns an
 * invalid value. */
TC_API tc_value tc_graph_fail(tc_graph *graph, tc_location at, tc_status status, const char *format,
                              ...) TC_PRINTF(4, 5);

/*
 * Scopes. Names of nodes built inside are prefixed "outer/inner/"; a name that is taken gets "_1",
 * "_2", ... The scope "/" leaves all others until it is popped: nodes built inside have no prefix.
 */
TC_API void tc_scope_push(tc_graph *graph, const char *name);
/** As tc_scope_push, for a scope that this function has not opened before: "name", then "name_1",
 * "name_2", ... */
TC_API void tc_scope_push_new(tc_graph *graph, const char *name);
TC_API void tc_scope_pop(tc_graph *graph);
/** Nodes built until the matching pop run after `values` (in every run that needs them). */
TC_API void tc_control_push(tc_graph *graph, const tc_value *values, size_t count);
TC_API void tc_control_pop(tc_graph *graph);
/** Nodes built until the matching pop carry the annotation "device" = `device`, such as "cpu" or
 * "cuda:0". */
TC_API void tc_device_push(tc_graph *graph, const char *device);
TC_API void tc_device_pop(tc_graph *graph);

/**
 * Attaches a text to the node of `value` (device, sharding, collection, ...). Kept in files.
 * Setting a key again replaces its text. The collection "updates" holds nodes that a training step
 * also runs (running statistics). "rematerialize" is "always" for a node whose result is computed
 * again where it is needed late rather than kept, or "never" for one whose result is kept even when
 * a plan exceeds its memory budget. "precision" is "f32" for a node that keeps its dtypes whatever
 * tc_session_options.precision is.
 */
TC_API void tc_annotate(tc_value value, const char *key, const char *text);
/** Annotation of that key, NULL when there is none; borrowed from the graph. */
TC_API const char *tc_annotation(tc_value value, const char *key);

/*
 * Reading a graph.
 */
TC_API tc_dtype tc_value_dtype(tc_value value);
/** Inferred shape; rank -1 for an invalid value. */
TC_API tc_shape tc_value_shape(tc_value value);
/** Path of the node that produces the value, "" for an invalid value; borrowed from the graph. */
TC_API const char *tc_value_name(tc_value value);
/** Operator name of the node that produces the value; borrowed. */
TC_API const char *tc_value_op(tc_value value);
/** Another output of the same node: tc_output(v, 1). Out of range sticks an error. */
TC_API tc_value tc_output(tc_value value, int32_t output);
/** Number of outputs of the node of `value`, 0 for an invalid one. */
TC_API int32_t tc_output_count(tc_value value);

TC_API int32_t tc_graph_node_count(const tc_graph *graph);
/** Output 0 of node `index`; invalid when out of range. */
TC_API tc_value tc_graph_node(const tc_graph *graph, int32_t index);
/** Output `n` of the node called "name" or "name:n"; an invalid value (no sticky error) when there
 * is none. */
TC_API tc_value tc_graph_find(const tc_graph *graph, const char *name);
TC_API int32_t tc_node_input_count(tc_value node);
/** Input `index` of the node; TC_NO_VALUE for one that is not given. */
TC_API tc_value tc_node_input(tc_value node, int32_t index);
TC_API int32_t tc_node_control_count(tc_value node);
TC_API tc_value tc_node_control(tc_value node, int32_t index);
/** Where the node was built; strings borrowed from the graph. */
TC_API tc_location tc_node_location(tc_value node);
/** Writes attribute `name` as text into `buffer`; returns the length of the whole text, 0 when
 * there is none. */
TC_API size_t tc_node_attr_text(tc_value node, const char *name, char *buffer, size_t size);

/** Checks every invariant of the graph. Errors: INTERNAL or DATA_LOSS naming the node. */
TC_MUST_USE TC_API tc_status tc_graph_verify(const tc_graph *graph);
/** One line per node: name, operator, attributes, inputs, dtype and shape; functions follow. */
TC_MUST_USE TC_API tc_status tc_graph_print(const tc_graph *graph, FILE *file);
/** The graph in the DOT language of Graphviz. */
TC_MUST_USE TC_API tc_status tc_graph_print_dot(const tc_graph *graph, FILE *file);
/** Hash of structure, operators, attributes and constants; names and locations do not count. */
TC_API uint64_t tc_graph_hash(const tc_graph *graph);

/*
 * Sources.
 */

/**
 * A value given at each run. Unknown dimensions may be named; equal names must have equal sizes in
 * a run. `name` is required and unique in the graph.
 */
TC_API tc_value tc_placeholder_at(tc_location at, tc_graph *graph, const char *name, tc_dtype dtype,
                                  tc_shape shape);

/** A constant; retains `tensor`, which becomes read-only: it is no output of runs, and the caller
 * must not write to it. */
TC_API tc_value tc_constant_at(tc_location at, tc_graph *graph, tc_tensor *tensor);
/** A constant with the elements copied from `data`, dense row-major. */
TC_API tc_value tc_constant_data_at(tc_location at, tc_graph *graph, tc_dtype dtype, tc_shape shape,
                                    const void *data);
/** A rank-0 constant. */
TC_API tc_value tc_constant_scalar_at(tc_location at, tc_graph *graph, tc_dtype dtype,
                                      double value);

typedef struct tc_variable_options {
    size_t struct_size;
    bool not_trainable; /**< left out when an optimizer collects what to train */
} tc_variable_options;

/**
 * State that outlives a run, kept in the store under its path. `initial` (of this graph, fully
 * known shape) gives dtype, shape and, when first needed and not restored from a file, its first
 * elements. The value is the variable's content before the run.
 */
TC_API tc_value tc_variable_at(tc_location at, tc_graph *graph, const char *name, tc_value initial,
                               const tc_variable_options *options);

#ifndef __cplusplus
#define tc_placeholder(graph, name, dtype, shape) \
    tc_placeholder_at(TC_HERE, graph, name, dtype, shape)
#define tc_constant(graph, tensor) tc_constant_at(TC_HERE, graph, tensor)
#define tc_constant_data(graph, dtype, shape, data) \
    tc_constant_data_at(TC_HERE, graph, dtype, shape, data)
#define tc_constant_scalar(graph, dtype, value) tc_constant_scalar_at(TC_HERE, graph, dtype, value)
#define tc_variable(...)                        TC_BUILD3(tc_variable, __VA_ARGS__)
#endif

/*
 * Functions: subgraphs with parameters and results, called by name.
 *
 *     tc_graph *body = tc_function_begin(g, "block");
 *     tc_value x = tc_parameter(body, "x", TC_F32, TC_SHAPE(-1, 64));
 *     tc_function_end(body, TC_VALUES(tc_relu(tc_matmul(x, w))));      // w of g is captured
 *     tc_value y = tc_call(g, "block", TC_VALUES(h));
 */

/** Opens a function of `graph`; build into the returned graph, which `graph` owns. NULL graph gives
 * NULL. */
TC_API tc_graph *tc_function_begin(tc_graph *graph, const char *name);
/** Next parameter of the open function. */
TC_API tc_value tc_parameter_at(tc_location at, tc_graph *body, const char *name, tc_dtype dtype,
                                tc_shape shape);
/** Closes the function with its results. A function that failed makes its graph's status fail. */
TC_API void tc_function_end_at(tc_location at, tc_graph *body, const tc_value *results,
                               size_t count);

typedef struct tc_call_options {
    size_t struct_size;
    const char *name;
    /**
     * Function that computes the gradient instead of differentiating the body. Its parameters are
     * the call's inputs, its outputs and the gradients of its outputs; its results the gradients of
     * the inputs. NULL: differentiate.
     */
    const char *gradient;
} tc_call_options;

/** Calls function `function` with `inputs`; the result is output 0, others by tc_output. */
TC_API tc_value tc_call_at(tc_location at, tc_graph *graph, const char *function,
                           const tc_value *inputs, size_t count, const tc_call_options *options);
TC_API int32_t tc_graph_function_count(const tc_graph *graph);
/** Body of function `index`, borrowed; NULL when out of range. */
TC_API const tc_graph *tc_graph_function(const tc_graph *graph, int32_t index);
/** Name of a function body, "" for a graph that is none. */
TC_API const char *tc_function_name(const tc_graph *body);
TC_API int32_t tc_function_result_count(const tc_graph *body);
TC_API tc_value tc_function_result(const tc_graph *body, int32_t index);

#ifndef __cplusplus
/** An array of values and its count: two arguments. */
#define TC_VALUES(...) \
    ((const tc_value[]){__VA_ARGS__}), sizeof((const tc_value[]){__VA_ARGS__}) / sizeof(tc_value)
#define tc_parameter(body, name, dtype, shape) tc_parameter_at(TC_HERE, body, name, dtype, shape)
#define tc_function_end(body, ...)             tc_function_end_at(TC_HERE, body, __VA_ARGS__)
/* tc_call(graph, function, inputs, count, .option = ...) */
#define tc_call(...) TC_CALL_(__VA_ARGS__, .struct_size = sizeof(tc_call_options))
#define TC_CALL_(graph, function, inputs, count, ...) \
    tc_call_at(TC_HERE, graph, function, inputs, count, &(tc_call_options){__VA_ARGS__})
#endif

#ifdef __cplusplus
}
#endif

#endif
