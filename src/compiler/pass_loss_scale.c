/*
 * Gradients in f16 are computed of a loss that is multiplied by a scale, so that small ones do not
 * vanish below 2^-24, and divided by it in f32 before anything but their own computation reads
 * them. When one of them is not finite, nothing is written in that run.
 *
 * Differentiation has annotated where its nodes begin, the seeds, and those of its results; nodes
 * keep the order they were built in, so that what lies between is one window. A value in it that
 * follows from a seed is scaled. Whoever reads it from outside of the window, be it an update, the
 * norm of a clipping or a second differentiation, gets the quotient, which makes the rest of the
 * program what it was.
 */
#include <math.h>
#include <string.h>

#include "compiler/simplify.h"
#include "core/loss_scale.h"
#include "core/tensor.h"

typedef struct window {
    int32_t end; /* the last result */
    bool usable; /* all seeds are f32 */
} window;

/* Arrays by old node or by old value: pass->first[node] + output. */
typedef struct scaler {
    tc_pass_context *pass;
    TC_VECTOR(window) windows;
    tc_map open;     /* text of the annotations -> index of the latest window */
    int32_t *seed;   /* per node: the window that it is a seed of, -1 */
    int32_t *scaled; /* per node: the window in which its outputs are scaled, -1 */
    bool *needed;    /* per node: whether gradients are finite depends on it */
    bool *driven;    /* per node: it depends on gradients */
    bool *leads;     /* per node: a write depends on it */
    bool *late;      /* per node: a write that is left out where they are not, or after one */
    bool *checked;   /* per value: must be finite */
    tc_edge *plain;  /* per value: divided by the scale, node -1 until somebody asks */
    const tc_node *like;
    tc_edge scale, finite;
    int32_t n_checked;
} scaler;

static int32_t value_of(const scaler *s, tc_edge old)
{
    return s->pass->first[old.node] + old.output;
}

static bool writes(const tc_node *node)
{
    return (node->attrs.op->effects & TC_EFFECT_WRITE) != 0;
}

/*
 * What is scaled
 */
static tc_status find_windows(scaler *s)
{
    for (int32_t i = 0; i < s->pass->n_old; i++) {
        const tc_node *node = s->pass->old[i];
        const char *seed = tc_node_note(node, TC_NOTE_SEED);
        const char *result = tc_node_note(node, TC_NOTE_RESULT);
        uint64_t *found = seed ? tc_map_find_string(&s->open, seed) : NULL;
        if (seed) {
            /* A function that is called again has its own window in each place. */
            bool known = found && s->windows.data[*found].end < 0;
            uint64_t index = known ? *found : s->windows.count;
            if (!known && (!tc_vector_push(&s->windows, ((window){-1, true})) ||
                           !tc_map_put_string(&s->open, seed, index)))
                return tc_compiler_exhausted();
            if (node->n_outputs != 1 || node->outputs[0].dtype != TC_F32)
                s->windows.data[index].usable = false;
            s->seed[i] = (int32_t)index;
        }
        found = result ? tc_map_find_string(&s->open, result) : NULL;
        if (found)
            s->windows.data[*found].end = i;
    }
    return TC_OK;
}

static bool is_scaled(const scaler *s, tc_edge edge)
{
    return edge.node >= 0 && s->scaled[edge.node] >= 0 &&
           tc_dtype_in(s->pass->old[edge.node]->outputs[edge.output].dtype, TC_DTYPES_FLOAT);
}

/* Whether old node `reader` must be given the quotient of its input `k`, which is old value `edge`.
 */
static bool crosses(const scaler *s, int32_t reader, int32_t k, tc_edge edge)
{
    return tc_node_reads(s->pass->old[reader], k) && is_scaled(s, edge) &&
           (s->scaled[edge.node] != s->scaled[reader] || s->seed[reader] >= 0);
}

static void find_scaled(scaler *s)
{
    int32_t current = -1;
    for (int32_t i = 0; i < s->pass->n_old; i++) {
        const tc_node *node = s->pass->old[i];
        if (s->seed[i] >= 0)
            current = s->seed[i];
        bool inside = current >= 0 && s->windows.data[current].usable &&
                      i <= s->windows.data[current].end && !writes(node);
        bool scaled = inside && s->seed[i] >= 0;
        for (int32_t k = 0; inside && k < node->n_inputs; k++)
            scaled = scaled || (tc_node_reads(node, k) && is_scaled(s, node->inputs[k]) &&
                                s->scaled[node->inputs[k].node] == current);
        s->scaled[i] = scaled ? current : -1;
    }
}

/*
 * What is written, and what that depends on
 */
static void find_checked(scaler *s)
{
    for (int32_t i = s->pass->n_old - 1; i >= 0; i--) {
        const tc_node *node = s->pass->old[i];
        s->leads[i] = s->leads[i] || writes(node);
        for (int32_t k = 0; s->leads[i] && k < node->n_inputs; k++) {
            if (!tc_node_reads(node, k))
                continue;
            s->leads[node->inputs[k].node] = true;
            bool *checked = &s->checked[value_of(s, node->inputs[k])];
            if (!crosses(s, i, k, node->inputs[k]) || *checked)
                continue;
            *checked = s->needed[node->inputs[k].node] = true;
            s->n_checked++;
        }
    }
}

static tc_status find_late(scaler *s)
{
    char where[512];
    for (int32_t i = s->pass->n_old - 1; i >= 0; i--) {
        const tc_node *node = s->pass->old[i];
        for (int32_t k = 0; s->needed[i] && k < node->n_inputs; k++)
            if (tc_node_reads(node, k))
                s->needed[node->inputs[k].node] = true;
        for (int32_t k = 0; s->needed[i] && k < node->n_controls; k++)
            s->needed[node->controls[k]] = true;
    }
    for (int32_t i = 0; i < s->pass->n_old; i++) {
        const tc_node *node = s->pass->old[i];
        s->driven[i] = s->scaled[i] >= 0;
        s->late[i] = writes(node) && !s->needed[i];
        for (int32_t k = 0; k < node->n_inputs; k++) {
            if (!tc_node_reads(node, k))
                continue;
            s->driven[i] = s->driven[i] || s->driven[node->inputs[k].node];
            s->late[i] = s->late[i] || s->late[node->inputs[k].node];
        }
        for (int32_t k = 0; k < node->n_controls; k++)
            s->late[i] = s->late[i] || s->late[node->controls[k]];
        if (writes(node) && s->needed[i] && s->driven[i])
            return tc_fail(
                TC_UNIMPLEMENTED,
                "%s: gradients of the same run are computed from what it writes, so that "
                "with precision f16 it cannot wait until they are known to be finite; "
                "make two runs of it, or use bf16",
                tc_node_describe(node, where, sizeof where));
    }
    return TC_OK;
}

/*
 * Making nodes
 */
static tc_status make(scaler *s, const tc_node *like, const char *op, tc_edge a, tc_edge b,
                      tc_edge *out)
{
    const tc_edge inputs[] = {a, b};
    return tc_ir_make(s->pass, like, op, inputs, b.node < 0 ? 1 : 2, NULL, 0, out);
}

static tc_status make_where(scaler *s, const tc_node *like, tc_edge condition, tc_edge x, tc_edge y,
                            tc_edge *out)
{
    const tc_edge inputs[] = {condition, x, y};
    return tc_ir_make(s->pass, like, "where", inputs, 3, NULL, 0, out);
}

static tc_status make_cast(scaler *s, const tc_node *like, tc_dtype dtype, tc_edge *edge)
{
    const tc_attr_arg attr = {"dtype", tc_attr_dtype(dtype)};
    if (tc_edge_info(s->pass->graph, *edge)->dtype == dtype)
        return TC_OK;
    return tc_ir_make(s->pass, like, "cast", edge, 1, &attr, 1, edge);
}

static tc_status make_constant(scaler *s, const tc_node *like, tc_dtype dtype, double value,
                               tc_edge *out)
{
    tc_tensor *tensor;
    TC_TRY(tc_tensor_create_scalar(dtype, value, &tensor));
    tc_node *node = tc_ir_constant(s->pass, like, 0, tensor);
    tc_tensor_release(tensor);
    if (!node)
        return TC_RESOURCE_EXHAUSTED;
    node->outputs[0].dtype = dtype;
    node->outputs[0].known = NULL;
    node->outputs[0].known_count = 0;
    TC_TRY(tc_ir_append(s->pass, node));
    *out = (tc_edge){node->index, 0};
    return TC_OK;
}

/* The session gives it its first content. */
static tc_status make_variable(scaler *s, const char *name, tc_dtype dtype, tc_edge *out)
{
    const tc_shape scalar = TC_SCALAR;
    const tc_attr_arg attrs[] = {{"dtype", tc_attr_dtype(dtype)},
                                 {"shape", tc_attr_shape(&scalar)},
                                 {"trainable", tc_attr_bool(false)}};
    TC_TRY(tc_ir_make(s->pass, s->like, "variable", NULL, 0, attrs, 3, out));
    s->pass->graph->nodes.data[out->node]->name = name;
    return TC_OK;
}

/* What an old value is to those outside of its window. */
static tc_status plain_of(scaler *s, tc_edge old, tc_edge *edge)
{
    tc_pass_context *pass = s->pass;
    tc_edge *plain = &s->plain[value_of(s, old)];
    if (plain->node < 0) {
        tc_edge scaled = tc_ir_new_edge(pass, old), scale = s->scale;
        const tc_node *like = tc_graph_node_at(pass->graph, scaled.node);
        tc_dtype dtype = tc_edge_info(pass->graph, scaled)->dtype;
        /* The scale may be more than f16 can hold. */
        tc_dtype wide = dtype == TC_F64 ? TC_F64 : TC_F32;
        TC_TRY(make_cast(s, like, wide, &scaled));
        TC_TRY(make_cast(s, like, wide, &scale));
        TC_TRY(make(s, like, "div", scaled, scale, plain));
        tc_node *node = pass->graph->nodes.data[plain->node];
        tc_note *note = tc_arena_alloc(&pass->graph->arena, sizeof *note);
        if (!note)
            return tc_compiler_exhausted();
        *note = (tc_note){TC_NOTE_PRECISION, "f32", node->notes};
        node->notes = note;
        TC_TRY(make_cast(s, like, dtype, plain));
    }
    *edge = *plain;
    return TC_OK;
}

/*
 * Whether all gradients are finite, and what becomes of the scale
 */

/* Products with 0 add up to 0, unless one of them is NaN. */
static tc_status make_finite(scaler *s)
{
    tc_edge sum = TC_NO_EDGE, zero, part;
    for (int32_t i = 0; i < s->pass->n_old; i++)
        for (int32_t k = 0; k < s->pass->old[i]->n_outputs; k++) {
            if (!s->checked[s->pass->first[i] + k])
                continue;
            tc_edge edge = tc_ir_new_edge(s->pass, (tc_edge){i, k});
            const tc_node *like = tc_graph_node_at(s->pass->graph, edge.node);
            TC_TRY(make_constant(s, like, tc_edge_info(s->pass->graph, edge)->dtype, 0, &zero));
            TC_TRY(make(s, like, "mul", edge, zero, &part));
            TC_TRY(make(s, like, "reduce_sum", part, TC_NO_EDGE, &part));
            TC_TRY(make_cast(s, like, TC_F32, &part));
            if (sum.node >= 0)
                TC_TRY(make(s, s->like, "add", sum, part, &part));
            sum = part;
        }
    TC_TRY(make_constant(s, s->like, TC_F32, 0, &zero));
    return make(s, s->like, "equal", sum, zero, &s->finite);
}

static tc_status make_next_scale(scaler *s)
{
    const tc_node *like = s->like;
    tc_edge steps, one, zero, grown, full, factor, bound, more, less;
    tc_edge next = s->scale, patience, done;
    TC_TRY(make_variable(s, TC_LOSS_SCALE_STEPS, TC_I64, &steps));
    TC_TRY(make_constant(s, like, TC_I64, 1, &one));
    TC_TRY(make_constant(s, like, TC_I64, 0, &zero));
    TC_TRY(make_constant(s, like, TC_I64, TC_LOSS_SCALE_PATIENCE, &patience));
    TC_TRY(make(s, like, "add", steps, one, &grown));
    TC_TRY(make(s, like, "greater_equal", grown, patience, &full));
    TC_TRY(make_constant(s, like, TC_F32, 2, &factor));
    TC_TRY(make_constant(s, like, TC_F32, TC_LOSS_SCALE_MOST, &bound));
    TC_TRY(make(s, like, "mul", next, factor, &more));
    TC_TRY(make(s, like, "minimum", more, bound, &more));
    TC_TRY(make_constant(s, like, TC_F32, 0.5, &factor));
    TC_TRY(make_constant(s, like, TC_F32, TC_LOSS_SCALE_LEAST, &bound));
    TC_TRY(make(s, like, "mul", next, factor, &less));
    TC_TRY(make(s, like, "maximum", less, bound, &less));
    TC_TRY(make_where(s, like, full, more, next, &next));
    TC_TRY(make_where(s, like, s->finite, next, less, &next));
    TC_TRY(make_where(s, like, full, zero, grown, &grown));
    TC_TRY(make_where(s, like, s->finite, grown, zero, &grown));
    TC_TRY(make(s, like, "assign", s->scale, next, &done));
    return make(s, like, "assign", steps, grown, &done);
}

/*
 * Writes that are left out
 */

/* The input of an operator that says whether it does anything, -1: it has none. */
static int32_t when_port(const tc_op *op)
{
    for (int32_t i = 0; i < op->n_inputs; i++)
        if (op->inputs[i].flags & TC_PORT_OPTIONAL && op->inputs[i].dtypes == TC_DTYPES_BOOL &&
            strcmp(op->inputs[i].name, "when") == 0)
            return i;
    return -1;
}

static tc_status give_when(scaler *s, tc_node *node, int32_t port)
{
    tc_edge when = s->finite;
    if (port >= node->n_inputs) {
        tc_edge *inputs = tc_arena_array(&s->pass->graph->arena, (size_t)port + 1, sizeof *inputs);
        if (!inputs)
            return tc_compiler_exhausted();
        for (int32_t k = 0; k <= port; k++)
            inputs[k] = k < node->n_inputs ? node->inputs[k] : TC_NO_EDGE;
        node->inputs = inputs;
        node->n_inputs = port + 1;
    }
    if (node->inputs[port].node >= 0)
        TC_TRY(make(s, node, "logical_and", node->inputs[port], when, &when));
    node->inputs[port] = when;
    return TC_OK;
}

/* `node` is in the program but for its place there. */
static tc_status guard(scaler *s, tc_node *node)
{
    const char *op = node->attrs.op->name;
    int32_t port = when_port(node->attrs.op);
    tc_dtype dtype = node->outputs[0].dtype;
    tc_edge other = node->inputs[0]; /* assigned again */
    char where[512];
    if (port >= 0)
        return give_when(s, node, port);
    if (strcmp(op, "assign_add") == 0) /* not even a zero changes its sign */
        TC_TRY(make_constant(s, s->like, dtype, tc_dtype_in(dtype, TC_DTYPES_FLOAT) ? -0.0 : 0,
                             &other));
    else if (strcmp(op, "assign_sub") == 0)
        TC_TRY(make_constant(s, s->like, dtype, 0, &other));
    else if (strcmp(op, "assign") != 0)
        return tc_fail(TC_UNIMPLEMENTED,
                       "%s: with precision f16 a run writes nothing when gradients overflow, for "
                       "which this operator needs an optional bool input 'when'; use bf16",
                       tc_node_describe(node, where, sizeof where));
    return make_where(s, node, s->finite, node->inputs[1], other, &node->inputs[1]);
}

/*
 * The rewrite
 */
static tc_status emit(scaler *s, int32_t index)
{
    tc_pass_context *pass = s->pass;
    tc_node *node = pass->old[index];
    const tc_edge *old =
        tc_arena_memdup(&pass->graph->arena, node->inputs, (size_t)node->n_inputs * sizeof *old);
    if (!old)
        return tc_compiler_exhausted();
    tc_ir_renumber(pass, node);
    for (int32_t k = 0; k < node->n_inputs; k++)
        if (crosses(s, index, k, old[k]))
            TC_TRY(plain_of(s, old[k], &node->inputs[k]));
    if (writes(node) && s->late[index] && !s->needed[index])
        TC_TRY(guard(s, node));
    TC_TRY(tc_ir_keep(pass, node, index));
    if (s->seed[index] >= 0 && s->scaled[index] >= 0) {
        tc_edge *edge = &pass->edges[pass->first[index]];
        s->plain[pass->first[index]] = *edge;
        TC_TRY(make(s, node, "mul", *edge, s->scale, edge));
    }
    return TC_OK;
}

static tc_status rewrite(scaler *s)
{
    tc_pass_context *pass = s->pass;
    double fixed = pass->request->loss_scale;
    if (fixed > 0)
        TC_TRY(make_constant(s, s->like, TC_F32, fixed, &s->scale));
    else
        TC_TRY(make_variable(s, TC_LOSS_SCALE, TC_F32, &s->scale));
    for (int32_t i = 0; i < pass->n_old; i++)
        if (!s->late[i])
            TC_TRY(emit(s, i));
    TC_TRY(make_finite(s));
    for (int32_t i = 0; i < pass->n_old; i++)
        if (s->late[i])
            TC_TRY(emit(s, i));
    if (fixed == 0)
        TC_TRY(make_next_scale(s));
    for (int32_t i = 0; i < pass->program->n_feeds; i++) {
        tc_edge feed = pass->program->feeds[i];
        if (is_scaled(s, feed)) /* a seed is fed, not the product */
            pass->edges[value_of(s, feed)] = s->plain[value_of(s, feed)];
    }
    for (int32_t i = 0; i < pass->program->n_fetches; i++) {
        tc_edge fetch = pass->program->fetches[i];
        if (is_scaled(s, fetch))
            TC_TRY(plain_of(s, fetch, &pass->edges[value_of(s, fetch)]));
    }
    return TC_OK;
}

static tc_status start(scaler *s)
{
    size_t nodes = (size_t)s->pass->n_old, values = (size_t)s->pass->first[nodes];
    s->seed = tc_alloc_zero(nodes, sizeof *s->seed);
    s->scaled = tc_alloc_zero(nodes, sizeof *s->scaled);
    s->needed = tc_alloc_zero(nodes, 1);
    s->driven = tc_alloc_zero(nodes, 1);
    s->leads = tc_alloc_zero(nodes, 1);
    s->late = tc_alloc_zero(nodes, 1);
    s->checked = tc_alloc_zero(values, 1);
    s->plain = tc_alloc_zero(values, sizeof *s->plain);
    if (!s->seed || !s->scaled || !s->needed || !s->driven || !s->leads || !s->late ||
        !s->checked || !s->plain)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < nodes; i++)
        s->seed[i] = s->scaled[i] = -1;
    for (size_t i = 0; i < values; i++)
        s->plain[i] = TC_NO_EDGE;
    TC_TRY(find_windows(s));
    find_scaled(s);
    find_checked(s);
    for (size_t i = nodes; i-- > 0;)
        if (s->seed[i] >= 0)
            s->like = s->pass->old[i]; /* the first one */
    return s->n_checked > 0 ? find_late(s) : TC_OK;
}

static void stop(scaler *s)
{
    tc_vector_free(&s->windows);
    tc_map_free(&s->open);
    tc_free(s->seed);
    tc_free(s->scaled);
    tc_free(s->needed);
    tc_free(s->driven);
    tc_free(s->leads);
    tc_free(s->late);
    tc_free(s->checked);
    tc_free(s->plain);
}

tc_status tc_pass_loss_scale(tc_pass_context *pass)
{
    scaler s = {.pass = pass};
    if (pass->request->precision != TC_F16 || !pass->program->writes)
        return TC_OK;
    tc_status status = tc_ir_map(pass, pass->graph->nodes.data, pass->graph->nodes.count);
    if (status == TC_OK)
        status = start(&s);
    if (status == TC_OK && s.n_checked == 0) {
        tc_ir_unmap(pass);
    } else {
        pass->graph->nodes.count = 0;
        if (status == TC_OK)
            status = rewrite(&s);
        status = tc_ir_end(pass, status);
    }
    stop(&s);
    return status;
}
