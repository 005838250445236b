/*
 * Intermediate f32 results are stored in 16 bits where the operators around them stand it; kernels
 * accumulate in f32 all the same. Products, convolutions and attention always read and write 16
 * bits. What only moves, adds or bends elements follows its inputs. Everything else (softmax,
 * losses, exponentials, roots, reductions to a number, updates, variables, feeds and fetches) stays
 * f32, with a cast where the two meet; statistics of normalizations have f32 ports of their own.
 *
 * A value is cast once, whoever reads it; a value that exists in both forms is never cast back.
 */
#include <math.h>
#include <string.h>

#include "compiler/simplify.h"
#include "core/dtype.h"
#include "core/tensor.h"

/* What rounds to infinity in f16. */
#define F16_LIMIT 65520.0f

typedef enum manner {
    WIDE,   /* f32 */
    NARROW, /* 16 bits always */
    FOLLOW, /* 16 bits when an input has them already */
    RANGE,  /* likewise, where the 16 bits have the exponents of f32 */
    CAST
} manner;

static const struct {
    const char *op;
    manner manner;
} manners[] = {
    /* Products: operands of 16 bits are what they are fast with, and sums are f32 inside. */
    {"matmul", NARROW},
    {"conv2d", NARROW},
    {"conv2d_grad_input", NARROW},
    {"conv2d_grad_filter", NARROW},
    {"attention", NARROW},
    {"attention_grad", NARROW},

    /* Exact: elements are moved, chosen or compared. */
    {"cast", CAST},
    {"identity", FOLLOW},
    {"stop_gradient", FOLLOW},
    {"reshape", FOLLOW},
    {"reshape_like", FOLLOW},
    {"flatten", FOLLOW},
    {"squeeze", FOLLOW},
    {"unsqueeze", FOLLOW},
    {"transpose", FOLLOW},
    {"expand", FOLLOW},
    {"expand_like", FOLLOW},
    {"concat", FOLLOW},
    {"split", FOLLOW},
    {"split_like", FOLLOW},
    {"slice", FOLLOW},
    {"slice_grad", FOLLOW},
    {"pad", FOLLOW},
    {"pad_grad", FOLLOW},
    {"gather", FOLLOW},
    {"boolean_mask", FOLLOW},
    {"where", FOLLOW},
    {"maximum", FOLLOW},
    {"minimum", FOLLOW},
    {"equal", FOLLOW},
    {"not_equal", FOLLOW},
    {"less", FOLLOW},
    {"less_equal", FOLLOW},
    {"greater", FOLLOW},
    {"greater_equal", FOLLOW},
    {"zeros_like", FOLLOW},
    {"ones_like", FOLLOW},
    {"max_pool2d", FOLLOW},
    {"max_pool2d_grad", FOLLOW},
    {"max_pool2d_gather", FOLLOW},

    /* One rounding of a result about as large as the operands. */
    {"bias_add", FOLLOW},
    {"add", FOLLOW},
    {"sub", FOLLOW},
    {"mul", FOLLOW},
    {"neg", FOLLOW},
    {"abs", FOLLOW},
    {"sign", FOLLOW},
    {"relu", FOLLOW},
    {"gelu", FOLLOW},
    {"tanh", FOLLOW},
    {"sigmoid", FOLLOW},
    {"dropout", FOLLOW},
    {"avg_pool2d", FOLLOW},
    {"avg_pool2d_grad", FOLLOW},
    {"reduce_expand", FOLLOW},

    /* Squares leave the range of f16. */
    {"square", RANGE},

    /* Statistics and parameters are f32 by themselves, and so is what happens inside. */
    {"layer_norm", FOLLOW},
    {"layer_norm_grad", FOLLOW},
    {"batch_norm", FOLLOW},
    {"batch_norm_grad", FOLLOW},

    /* Gradients of what was broadcast: sums like those of a product, of which one number per
     * parameter is left. */
    {"sum_to_like", FOLLOW},
    {"reduce_sum", FOLLOW},
};

/* Arrays by old value: pass->first[node] + output. */
typedef struct narrower {
    tc_pass_context *pass;
    tc_dtype dtype; /* of 16 bits */
    tc_map manners; /* operator -> manner */
    const tc_op **ops;
    bool *was_wide; /* the value was f32 before the pass */
    tc_edge *wide;  /* its form in f32, node -1 until somebody asks */
    tc_edge *narrow;
} narrower;

static int32_t value_of(const narrower *n, tc_edge old)
{
    return n->pass->first[old.node] + old.output;
}

/* A constant in another dtype, rounded to nearest even. */
static tc_status convert_constant(narrower *n, const tc_node *node, tc_dtype dtype, tc_edge *out)
{
    const tc_tensor *from = tc_attrs_tensor(&node->attrs, "tensor");
    tc_tensor *to;
    TC_TRY(tc_tensor_check(from));
    TC_TRY(tc_tensor_create(dtype, *tc_tensor_shape(from), &to));
    const char *source = tc_tensor_data(from);
    char *target = tc_tensor_data(to);
    for (int64_t i = 0; i < tc_tensor_size(from); i++)
        tc_dtype_store(dtype, target + (size_t)i * tc_dtype_size(dtype),
                       tc_dtype_load(tc_tensor_dtype(from),
                                     source + (size_t)i * tc_dtype_size(tc_tensor_dtype(from))));
    tc_node *constant = tc_ir_constant(n->pass, node, 0, to);
    tc_tensor_release(to);
    if (!constant)
        return TC_RESOURCE_EXHAUSTED;
    constant->outputs[0].dtype = dtype;
    TC_TRY(tc_ir_append(n->pass, constant));
    *out = (tc_edge){constant->index, 0};
    return TC_OK;
}

/* The form of an old value in `dtype`, one of the two. */
static tc_status form_of(narrower *n, tc_edge old, tc_dtype dtype, tc_edge *edge)
{
    int32_t value = value_of(n, old);
    tc_edge *form = dtype == TC_F32 ? &n->wide[value] : &n->narrow[value];
    tc_edge other = dtype == TC_F32 ? n->narrow[value] : n->wide[value];
    if (form->node < 0) {
        const tc_node *node = tc_graph_node_at(n->pass->graph, other.node);
        const tc_attr_arg attr = {"dtype", tc_attr_dtype(dtype)};
        if (tc_node_is(node, "constant"))
            TC_TRY(convert_constant(n, node, dtype, form));
        else
            TC_TRY(tc_ir_make(n->pass, node, "cast", &other, 1, &attr, 1, form));
        n->pass->changes++;
    }
    *edge = *form;
    return TC_OK;
}

static bool is_wide(const narrower *n, tc_edge old)
{
    return old.node >= 0 && n->was_wide[value_of(n, old)];
}

static bool has_letter(const tc_node *node, int32_t input)
{
    const tc_port *port = tc_op_input_port(node->attrs.op, input);
    return port && port->type == 'T';
}

/* A sum of everything is a number that somebody looks at: a loss, a norm. */
static bool gives_number(const tc_node *node)
{
    return tc_node_is(node, "reduce_sum") && node->outputs[0].shape.rank == 0;
}

/* Whether the value has 16 bits by itself, not because somebody else had it cast. */
static bool is_narrow(const narrower *n, tc_edge old)
{
    tc_edge edge = tc_ir_new_edge(n->pass, old);
    return is_wide(n, old) && tc_edge_info(n->pass->graph, edge)->dtype == n->dtype;
}

/* Whether the value is a constant with finite elements that the 16 bits have no room for, such as
 * the -1e9 of a mask. */
static bool is_beyond(const narrower *n, tc_edge old)
{
    tc_edge edge = tc_ir_new_edge(n->pass, old);
    const tc_node *node = edge.node < 0 ? NULL : tc_graph_node_at(n->pass->graph, edge.node);
    if (n->dtype != TC_F16 || !node || !tc_node_is(node, "constant"))
        return false;
    const tc_tensor *tensor = tc_attrs_tensor(&node->attrs, "tensor");
    if (tc_tensor_dtype(tensor) != TC_F32 || tc_tensor_check(tensor) != TC_OK)
        return false;
    const float *elements = tc_tensor_data(tensor);
    for (int64_t i = 0; i < tc_tensor_size(tensor); i++)
        if (fabsf(elements[i]) >= F16_LIMIT && !isinf(elements[i]))
            return true;
    return false;
}

static bool wants_narrow(const narrower *n, const tc_node *node, const tc_edge *inputs, manner how)
{
    bool wants = false, fits = how != WIDE && (how != RANGE || n->dtype == TC_BF16);
    for (int32_t k = 0; fits && k < node->n_inputs; k++) {
        fits = how == NARROW || !has_letter(node, k) || !is_beyond(n, inputs[k]);
        wants = wants || (has_letter(node, k) &&
                          (how == NARROW ? is_wide(n, inputs[k]) : is_narrow(n, inputs[k])));
    }
    return fits && wants && !gives_number(node) &&
           tc_ir_has_kernel(n->pass, node, node->attrs.op->name, n->dtype);
}

/* Sets the inputs of `node` to the forms it reads. */
static tc_status connect(narrower *n, tc_node *node, const tc_edge *inputs, bool narrow)
{
    for (int32_t k = 0; k < node->n_inputs; k++) {
        if (!is_wide(n, inputs[k]))
            continue;
        bool letter = has_letter(node, k);
        if (!letter && tc_input_flags(node, k) & TC_PORT_SHAPE_ONLY)
            continue;
        TC_TRY(form_of(n, inputs[k], narrow && letter ? n->dtype : TC_F32, &node->inputs[k]));
    }
    return TC_OK;
}

/* Infers the dtypes of the outputs again; shapes stay. False when the operator refuses. */
static tc_status adopt(narrower *n, tc_node *node, bool *accepted)
{
    tc_node probe = *node;
    tc_value_info *infos = tc_arena_memdup(&n->pass->graph->arena, node->outputs,
                                           (size_t)node->n_outputs * sizeof *infos);
    if (!infos)
        return tc_compiler_exhausted();
    tc_status status = tc_ir_infer(n->pass, &probe);
    *accepted = status == TC_OK;
    if (status == TC_RESOURCE_EXHAUSTED)
        return status;
    for (int32_t k = 0; *accepted && k < node->n_outputs; k++) {
        tc_dtype before = infos[k].dtype, after = probe.outputs[k].dtype;
        infos[k].dtype = after;
        *accepted = before == after || (before == TC_F32 && after == n->dtype);
    }
    if (*accepted)
        node->outputs = infos;
    return TC_OK;
}

static void record(narrower *n, const tc_node *node, int32_t index)
{
    for (int32_t k = 0; k < node->n_outputs; k++) {
        int32_t value = n->pass->first[index] + k;
        tc_edge edge = {node->index, k};
        if (n->was_wide[value] && node->outputs[k].dtype == n->dtype)
            n->narrow[value] = edge;
        else if (n->was_wide[value])
            n->wide[value] = edge;
    }
}

/* A cast to the dtype that the value has by now is nothing. */
static tc_status rewrite_cast(narrower *n, tc_node *node, tc_edge input, int32_t index)
{
    if (is_wide(n, input)) {
        int32_t value = value_of(n, input);
        tc_edge narrow = n->narrow[value];
        if (narrow.node >= 0 && node->outputs[0].dtype == n->dtype) {
            tc_ir_forward(n->pass, index, 0, narrow);
            return TC_OK;
        }
        TC_TRY(form_of(n, input, TC_F32, &node->inputs[0]));
    }
    TC_TRY(tc_ir_keep(n->pass, node, index));
    record(n, node, index);
    return TC_OK;
}

static tc_status rewrite(narrower *n, int32_t index)
{
    tc_pass_context *pass = n->pass;
    tc_node *node = pass->old[index];
    const uint64_t *found = tc_map_find(&n->manners, &node->attrs.op, sizeof node->attrs.op);
    manner how = found && !(node->attrs.op->effects & ~TC_EFFECT_RANDOM) ? (manner)*found : WIDE;
    const char *note = node->notes ? tc_node_note(node, TC_NOTE_PRECISION) : NULL;
    if (note && strcmp(note, "f32") == 0 && how != CAST)
        how = WIDE;
    tc_edge *inputs =
        tc_arena_memdup(&pass->graph->arena, node->inputs, (size_t)node->n_inputs * sizeof *inputs);
    bool accepted = true;
    if (!inputs)
        return tc_compiler_exhausted();
    tc_ir_renumber(pass, node);
    if (how == CAST)
        return rewrite_cast(n, node, inputs[0], index);
    bool narrow = wants_narrow(n, node, inputs, how);
    TC_TRY(connect(n, node, inputs, narrow));
    if (narrow) {
        TC_TRY(adopt(n, node, &accepted));
        if (!accepted)
            TC_TRY(connect(n, node, inputs, false));
    }
    TC_TRY(tc_ir_keep(pass, node, index));
    record(n, node, index);
    return TC_OK;
}

static tc_status start(narrower *n)
{
    tc_pass_context *pass = n->pass;
    size_t values = (size_t)pass->first[pass->n_old], count = sizeof manners / sizeof manners[0];
    n->ops = tc_alloc_zero(count, sizeof *n->ops);
    n->was_wide = tc_alloc_zero(values, sizeof *n->was_wide);
    n->wide = tc_alloc_zero(values, sizeof *n->wide);
    n->narrow = tc_alloc_zero(values, sizeof *n->narrow);
    if (!n->ops || !n->was_wide || !n->wide || !n->narrow)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < count; i++) {
        n->ops[i] = tc_ir_op(pass, manners[i].op);
        if (!n->ops[i])
            return TC_INTERNAL;
        if (!tc_map_put(&n->manners, &n->ops[i], sizeof n->ops[i], manners[i].manner))
            return tc_compiler_exhausted();
    }
    for (int32_t i = 0; i < pass->n_old; i++)
        for (int32_t k = 0; k < pass->old[i]->n_outputs; k++) {
            int32_t value = pass->first[i] + k;
            n->was_wide[value] = pass->old[i]->outputs[k].dtype == TC_F32;
            n->wide[value] = n->narrow[value] = TC_NO_EDGE;
        }
    return TC_OK;
}

static tc_status run(narrower *n)
{
    tc_pass_context *pass = n->pass;
    TC_TRY(start(n));
    for (int32_t i = 0; i < pass->n_old; i++)
        TC_TRY(rewrite(n, i));
    for (int32_t i = 0; i < pass->program->n_fetches; i++) {
        tc_edge fetch = pass->program->fetches[i];
        if (is_wide(n, fetch))
            TC_TRY(form_of(n, fetch, TC_F32, &pass->edges[value_of(n, fetch)]));
    }
    return TC_OK;
}

tc_status tc_pass_precision(tc_pass_context *pass)
{
    narrower n = {.pass = pass, .dtype = pass->request->precision};
    if (n.dtype != TC_BF16 && n.dtype != TC_F16)
        return TC_OK;
    tc_status status = tc_ir_begin(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK)
        status = run(&n);
    tc_map_free(&n.manners);
    tc_free(n.ops);
    tc_free(n.was_wide);
    tc_free(n.wide);
    tc_free(n.narrow);
    return tc_ir_end(pass, status);
}
