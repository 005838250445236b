/*
 * Passes over a program. The representation is the program's own tc_graph, whose nodes belong to
 * the program and are edited in place; operators, attribute values, names and annotations are
 * borrowed from the source graph, which the program retains. A pass walks the old nodes in order
 * between tc_ir_begin and tc_ir_end and keeps, replaces or drops each, so that edges always point
 * to earlier nodes and a pass is linear.
 */
#ifndef TC_COMPILER_PASS_H
#define TC_COMPILER_PASS_H

#include "compiler/program.h"

typedef struct tc_pass_context {
    const tc_graph *source;
    const tc_program_request *request;
    const tc_target *target;
    tc_program *program;
    tc_graph *graph; /* program->graph */

    /* Of the rewrite in progress. */
    tc_node **old;
    int32_t n_old;
    int32_t *first;  /* outputs of old node i are edges[first[i]...] */
    tc_edge *edges;  /* new edge of each old one, node -1: none */
    int32_t *places; /* new node that stands for each old one in control dependencies, -1: none */

    /* Rewrites done by all passes so far: what runs again does so only where this grew. */
    int64_t changes;
    size_t folded_bytes; /* of the constants that folding has made */
} tc_pass_context;

typedef tc_status (*tc_pass_function)(tc_pass_context *pass);

#define TC_PASS(name, level, doc) tc_status tc_pass_##name(tc_pass_context *pass);
#include "compiler/passes.def"
#undef TC_PASS

/** Sets up the maps from `nodes` to new ones, which tc_ir_unmap frees, also after a failure. */
tc_status tc_ir_map(tc_pass_context *pass, tc_node *const *nodes, size_t count);
void tc_ir_unmap(tc_pass_context *pass);
/** Starts a rewrite of `nodes`; the graph is empty afterwards. tc_ir_end is due whatever happens
 * then. */
tc_status tc_ir_begin(tc_pass_context *pass, tc_node *const *nodes, size_t count);
/** Ends it: feeds, fetches and targets follow when `status` is TC_OK. Returns the first error. */
tc_status tc_ir_end(tc_pass_context *pass, tc_status status);

/** Makes inputs and controls of an old node point to new nodes. */
void tc_ir_renumber(const tc_pass_context *pass, tc_node *node);
/** Appends a node whose inputs point to new nodes. */
tc_status tc_ir_append(tc_pass_context *pass, tc_node *node);
/** Appends `node` in place of old node `old`, outputs and all. */
tc_status tc_ir_keep(tc_pass_context *pass, tc_node *node, int32_t old);
/** Lets output `output` of old node `old` be the new edge `edge`. */
void tc_ir_forward(tc_pass_context *pass, int32_t old, int32_t output, tc_edge edge);
tc_edge tc_ir_new_edge(const tc_pass_context *pass, tc_edge old);

/** Infers dtypes and shapes of a node from its inputs again. */
tc_status tc_ir_infer(tc_pass_context *pass, tc_node *node);

/** Spreads `live`, one per node and set for roots, to what live nodes and nodes with effects need.
 */
void tc_ir_mark(tc_node *const *nodes, int32_t count, bool *live);
/** Adds to uses[i] the readers of elements of old node i, and TC_IR_PINNED, more than any part of a
 * pattern has, for what must stay: fetches, targets, nodes with or behind control dependencies,
 * what another device reads. */
#define TC_IR_PINNED 4
void tc_ir_count_uses(const tc_pass_context *pass, int32_t *uses);
/** Removes what neither fetches, targets nor effects need. */
tc_status tc_ir_prune(tc_pass_context *pass);

/** A copy of `node` that the program may edit: its own inputs, controls and outputs arrays. NULL:
 * memory (error set). */
tc_node *tc_ir_copy(tc_pass_context *pass, const tc_node *node);
/** A node without inputs in the place of output `output` of `like`, of which it takes name,
 * location and annotations. */
tc_node *tc_ir_source(tc_pass_context *pass, const char *op, const tc_node *like, int32_t output,
                      const tc_attr_arg *attrs, size_t n_attrs);
/** The operator called `name` of the program's registry; NULL when it has none (error set). */
const tc_op *tc_ir_op(const tc_pass_context *pass, const char *name);
/** Makes `node` apply another operator, in place: its outputs stay, which must be the same values.
 * Inputs are new edges; arrays of `attrs` are copied, what they leave out takes its default. */
tc_status tc_ir_become(tc_pass_context *pass, tc_node *node, const char *op, const tc_edge *inputs,
                       size_t n_inputs, const tc_attr_arg *attrs, size_t n_attrs);
/** Appends a new node, likewise, with the name, location and annotations of `like`; `*out` is its
 * output 0. */
tc_status tc_ir_make(tc_pass_context *pass, const tc_node *like, const char *op,
                     const tc_edge *inputs, size_t n_inputs, const tc_attr_arg *attrs,
                     size_t n_attrs, tc_edge *out);
/** A constant in the place of output `output` of `like`. Retains `tensor`. */
tc_node *tc_ir_constant(tc_pass_context *pass, const tc_node *like, int32_t output,
                        tc_tensor *tensor);
/** Replaces attribute `name`, which the operator has, of a node of the program. */
tc_status tc_ir_set_attr(tc_pass_context *pass, tc_node *node, const char *name, tc_attr value);
/** Text of annotation `key`, NULL when there is none. */
const char *tc_node_note(const tc_node *node, const char *key);

/** Whether both run on one device; before nodes have one, whether both are annotated with the same
 * device, or neither with any. */
bool tc_node_same_device(const tc_node *a, const tc_node *b);
/** Whether the device of a placed node has a kernel of `op` for `dtype`. */
bool tc_ir_has_kernel(const tc_pass_context *pass, const tc_node *node, const char *op,
                      tc_dtype dtype);
/** True for a placed node of the CPU. */
static inline bool tc_ir_on_cpu(const tc_node *node)
{
    return node->device == 0;
}

/** Flags of the port of input `index`. */
uint32_t tc_input_flags(const tc_node *node, int32_t index);
/** True for an operator whose node stands for itself: variables, placeholders, parameters. */
bool tc_node_is_identity(const tc_node *node);
/** True for memory that exists: such nodes have no step. */
bool tc_node_is_source(const tc_node *node);
/** True for an operator whose output shows the memory of its input 0, of which it needs no more
 * than that: elements of the others are for shape inference. */
bool tc_node_is_view(const tc_node *node);
/** True for an update of a variable. */
bool tc_node_writes(const tc_node *node);
/** True for a node that reaches outside of the run, which such nodes do one after the other. */
bool tc_node_reaches_outside(const tc_node *node);
/** True for a node that only orders others. */
bool tc_node_is_idle(const tc_node *node);
/** True for an input whose elements a run reads. */
bool tc_node_reads(const tc_node *node, int32_t input);
/** The same dtype, and the same shape in every run. */
bool tc_info_same(const tc_value_info *a, const tc_value_info *b);
/** Adds the names of the variables that `graph` or its functions write to the keys of `updated`. */
tc_status tc_program_updated(const tc_graph *graph, tc_map *updated);
static inline bool tc_edges_equal(tc_edge a, tc_edge b)
{
    return a.node == b.node && a.output == b.output;
}
/** Whether no other integer rounds to the double `integer`. */
static inline bool tc_is_exact(double integer)
{
    return integer > -0x1p53 && integer < 0x1p53;
}
/** Error of what memory the compiler could not have. */
tc_status tc_compiler_exhausted(void);

#define TC_NO_EDGE ((tc_edge){-1, 0})

#endif
