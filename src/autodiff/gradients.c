#include <stdio.h>
#include <string.h>

#include <tensorc/gradients.h>

#include "autodiff/internal.h"
#include "core/shape.h"
#include "graph/internal.h"

/*
 * One differentiation. Nodes are numbered from the first x to the last y; those that the walk
 * itself appends lie behind them and are never visited.
 */
typedef struct tc_walk {
    tc_graph *graph;
    tc_location at;
    int32_t begin, end; /* nodes that can matter */
    size_t *offsets;    /* node - begin -> number of its output 0 among all outputs */
    bool *is_x;         /* by output */
    tc_value *flows;    /* by output: gradient so far */
    bool *from_x;       /* by node: its outputs depend on an x */
    bool *on_path;      /* by node: and a y depends on them */
    const char *seed;   /* name of the first seed; NULL: none yet */
    bool annotate;      /* seeds and results */
} tc_walk;

static bool is_float(tc_dtype dtype)
{
    return dtype > TC_DTYPE_INVALID && dtype < TC_DTYPE_COUNT &&
           TC_DTYPES_FLOAT & TC_DTYPE_BIT(dtype);
}

static tc_value build_like(tc_location at, const char *op, tc_value like)
{
    return tc_node_build(like.graph,
                         &(const tc_node_spec){.op = op, .at = at, TC_SPEC_INPUTS(like)});
}

static size_t output_number(const tc_walk *w, tc_edge edge)
{
    return w->offsets[edge.node - w->begin] + (size_t)edge.output;
}

static bool in_walk(const tc_walk *w, tc_edge edge)
{
    return edge.node >= w->begin && edge.node < w->end;
}

/* Whether a gradient can flow from input `index` of `node` to an x. */
static bool input_depends(const tc_walk *w, const tc_node *node, int32_t index)
{
    tc_edge edge = node->inputs[index];
    return in_walk(w, edge) &&
           (w->from_x[edge.node - w->begin] || w->is_x[output_number(w, edge)]) &&
           is_float(tc_edge_info(w->graph, edge)->dtype) &&
           !(tc_op_input_port(node->attrs.op, index)->flags &
             (TC_PORT_SHAPE_ONLY | TC_PORT_INITIAL));
}

static bool walk_alloc(tc_walk *w)
{
    size_t nodes = (size_t)(w->end - w->begin), outputs = 0;
    w->offsets = tc_alloc_zero(nodes, sizeof *w->offsets);
    w->from_x = tc_alloc_zero(nodes, sizeof *w->from_x);
    w->on_path = tc_alloc_zero(nodes, sizeof *w->on_path);
    for (size_t i = 0; w->offsets && i < nodes; i++) {
        w->offsets[i] = outputs;
        outputs += (size_t)w->graph->nodes.data[(size_t)w->begin + i]->n_outputs;
    }
    w->is_x = tc_alloc_zero(outputs, sizeof *w->is_x);
    w->flows = tc_alloc_zero(outputs, sizeof *w->flows);
    for (size_t i = 0; w->flows && i < outputs; i++)
        w->flows[i] = TC_NO_VALUE;
    return w->offsets && w->from_x && w->on_path && w->is_x && w->flows;
}

static void walk_free(tc_walk *w)
{
    tc_free(w->offsets);
    tc_free(w->from_x);
    tc_free(w->on_path);
    tc_free(w->is_x);
    tc_free(w->flows);
}

static void mark(tc_walk *w, const tc_value *ys, size_t y_count)
{
    for (int32_t n = w->begin; n < w->end; n++) {
        const tc_node *node = w->graph->nodes.data[n];
        bool *from_x = &w->from_x[n - w->begin];
        for (int32_t i = 0; !*from_x && node->attrs.op->grad != TC_GRAD_NONE && i < node->n_inputs;
             i++)
            *from_x = input_depends(w, node, i);
    }
    for (size_t i = 0; i < y_count; i++)
        if (ys[i].node >= w->begin)
            w->on_path[ys[i].node - w->begin] = w->from_x[ys[i].node - w->begin];
    for (int32_t n = w->end - 1; n >= w->begin; n--) {
        const tc_node *node = w->graph->nodes.data[n];
        for (int32_t i = 0; w->on_path[n - w->begin] && i < node->n_inputs; i++)
            if (input_depends(w, node, i))
                w->on_path[node->inputs[i].node - w->begin] |=
                    w->from_x[node->inputs[i].node - w->begin];
    }
}

static void accumulate(tc_walk *w, tc_location at, tc_edge edge, tc_value gradient)
{
    tc_value *flow = &w->flows[output_number(w, edge)];
    *flow =
        flow->node < 0
            ? gradient
            : tc_node_build(w->graph, &(const tc_node_spec){
                                          .op = "add", .at = at, TC_SPEC_INPUTS(*flow, gradient)});
}

/* A grad function that returns nonsense is found here, not in a kernel. */
static bool check_gradient(tc_walk *w, const tc_node *node, int32_t index, tc_value gradient)
{
    const tc_value_info *info = tc_edge_info(w->graph, node->inputs[index]);
    const char *port = tc_op_input_port(node->attrs.op, index)->name;
    const char *why = NULL;
    if (gradient.graph != w->graph || !tc_value_node(gradient)) {
        why = "is no value of the graph";
    } else {
        tc_shape shape = tc_value_shape(gradient);
        if (tc_value_dtype(gradient) == info->dtype && tc_shape_compatible(&shape, &info->shape))
            return true;
    }
    tc_shape shape = tc_value_shape(gradient);
    char got[TC_SHAPE_TEXT_SIZE], want[TC_SHAPE_TEXT_SIZE];
    if (why)
        tc_graph_fail_node(w->graph, node->at, TC_INTERNAL, node->attrs.op->name, node->name,
                           "the gradient of the operator for input '%s' %s", port, why);
    else
        tc_graph_fail_node(w->graph, node->at, TC_INTERNAL, node->attrs.op->name, node->name,
                           "the gradient of the operator for input '%s' is %s%s, but the input is "
                           "%s%s",
                           port, tc_dtype_name(tc_value_dtype(gradient)),
                           tc_shape_text(&shape, got), tc_dtype_name(info->dtype),
                           tc_shape_text(&info->shape, want));
    return false;
}

static void call_grad(tc_walk *w, const tc_node *node, tc_grad *grad)
{
    if (node->attrs.op->grad)
        node->attrs.op->grad(grad);
    else if (tc_node_function(&node->attrs))
        tc_grad_call(grad, node);
    else
        tc_graph_fail_node(w->graph, node->at, TC_UNIMPLEMENTED, node->attrs.op->name, node->name,
                           "this operator has no gradient; tc_stop_gradient before or after it "
                           "treats it as a constant");
}

/* Lets `node` turn the gradients of its outputs into those of its inputs. */
static void step(tc_walk *w, const tc_node *node)
{
    size_t n_inputs = (size_t)node->n_inputs, n_outputs = (size_t)node->n_outputs;
    tc_value *values = tc_alloc_zero(2 * (n_inputs + n_outputs), sizeof *values);
    bool *needed = tc_alloc_zero(n_inputs, sizeof *needed);
    if (!values || !needed) {
        tc_graph_fail_memory(w->graph, w->at);
        goto done;
    }
    tc_value *inputs = values, *input_gradients = inputs + n_inputs;
    tc_value *outputs = input_gradients + n_inputs, *output_gradients = outputs + n_outputs;
    bool flows = false;
    for (int32_t i = 0; i < node->n_outputs; i++) {
        tc_edge edge = {node->index, i};
        outputs[i] = tc_edge_value(w->graph, edge);
        output_gradients[i] = w->flows[output_number(w, edge)];
        flows = flows || output_gradients[i].node >= 0;
    }
    if (!flows)
        goto done;
    for (int32_t i = 0; i < node->n_inputs; i++) {
        inputs[i] =
            node->inputs[i].node < 0 ? TC_NO_VALUE : tc_edge_value(w->graph, node->inputs[i]);
        input_gradients[i] = TC_NO_VALUE;
        needed[i] = input_depends(w, node, i);
    }
    tc_grad grad = {
        .graph = w->graph,
        .at = node->at,
        .attrs = &node->attrs,
        .n_inputs = node->n_inputs,
        .n_outputs = node->n_outputs,
        .inputs = inputs,
        .outputs = outputs,
        .output_gradients = output_gradients,
        .needed = needed,
        .input_gradients = input_gradients,
    };
    call_grad(w, node, &grad);
    for (int32_t i = 0; i < node->n_inputs && !tc_graph_failed(w->graph); i++) {
        if (!needed[i] || (input_gradients[i].node < 0 && !input_gradients[i].graph))
            continue;
        if (check_gradient(w, node, i, input_gradients[i]))
            accumulate(w, TC_WITHIN(w->at), node->inputs[i], input_gradients[i]);
    }
done:
    tc_free(values);
    tc_free(needed);
}

/* Nodes of the gradient are named after the node they belong to and run where it runs. */
static void step_in_scope(tc_walk *w, const tc_node *node)
{
    const char *device = tc_annotation((tc_value){w->graph, node->index, 0}, "device");
    tc_scope_push(w->graph, node->name);
    if (device)
        tc_device_push(w->graph, device);
    step(w, node);
    if (device)
        tc_device_pop(w->graph);
    tc_scope_pop(w->graph);
}

static void seed(tc_walk *w, const tc_value *ys, const tc_value *y_gradients, size_t y_count)
{
    for (size_t i = 0; i < y_count && !tc_graph_failed(w->graph); i++) {
        tc_edge edge = {ys[i].node, ys[i].output};
        if (!in_walk(w, edge) ||
            !(w->on_path[edge.node - w->begin] || w->is_x[output_number(w, edge)]))
            continue;
        tc_value gradient =
            y_gradients ? y_gradients[i] : build_like(TC_WITHIN(w->at), "ones_like", ys[i]);
        if (gradient.node >= 0 && w->annotate) {
            if (y_gradients) /* a node of its own */
                gradient = build_like(TC_WITHIN(w->at), "identity", gradient);
            if (!w->seed)
                w->seed = tc_value_name(gradient);
            tc_annotate(gradient, TC_NOTE_SEED, w->seed);
        }
        if (gradient.node >= 0)
            accumulate(w, TC_WITHIN(w->at), edge, gradient);
    }
}

static void walk(tc_walk *w, const tc_value *ys, const tc_value *y_gradients, size_t y_count)
{
    tc_scope_push(w->graph, "gradients");
    mark(w, ys, y_count);
    seed(w, ys, y_gradients, y_count);
    for (int32_t n = w->end - 1; n >= w->begin && !tc_graph_failed(w->graph); n--)
        if (w->on_path[n - w->begin])
            step_in_scope(w, w->graph->nodes.data[n]);
    tc_scope_pop(w->graph);
}

tc_status tc_gradients_flow(tc_graph *graph, tc_location at, const tc_value *ys,
                            const tc_value *y_gradients, size_t y_count, const tc_value *xs,
                            size_t x_count, tc_value *gradients, bool annotate)
{
    tc_walk w = {.graph = graph, .at = at, .begin = INT32_MAX, .annotate = annotate};
    for (size_t i = 0; i < x_count; i++) {
        gradients[i] = TC_NO_VALUE;
        if (xs[i].node < w.begin)
            w.begin = xs[i].node;
    }
    for (size_t i = 0; i < y_count; i++)
        if (ys[i].node >= w.end)
            w.end = ys[i].node + 1;
    if (w.begin >= w.end)
        return TC_OK; /* every y was built before every x */
    if (!walk_alloc(&w)) {
        tc_graph_fail_memory(graph, at);
    } else {
        for (size_t i = 0; i < x_count; i++)
            if (xs[i].node < w.end)
                w.is_x[output_number(&w, (tc_edge){xs[i].node, xs[i].output})] = true;
        walk(&w, ys, y_gradients, y_count);
        for (size_t i = 0; i < x_count; i++)
            if (xs[i].node < w.end)
                gradients[i] = w.flows[output_number(&w, (tc_edge){xs[i].node, xs[i].output})];
        for (size_t i = 0; i < x_count && w.seed && !tc_graph_failed(graph); i++)
            if (gradients[i].node >= 0)
                tc_annotate(gradients[i], TC_NOTE_RESULT, w.seed);
    }
    walk_free(&w);
    return tc_graph_status(graph);
}

static tc_value fail(tc_graph *graph, tc_location at, const char *format, ...) TC_PRINTF(3, 4);

static tc_value fail(tc_graph *graph, tc_location at, const char *format, ...)
{
    char why[TC_ERROR_MESSAGE_SIZE / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    return tc_graph_fail_node(graph, at, TC_INVALID_ARGUMENT, "gradients", NULL, "%s", why);
}

/* Checks that `value` can be a y or an x of `graph`; an x of a graph around it is captured. */
static bool check_value(tc_graph *graph, tc_location at, char kind, size_t index, tc_value *value)
{
    const tc_node *node = tc_value_node(*value);
    if (!node || value->output < 0 || value->output >= node->n_outputs)
        fail(graph, at, "%c %zu is not a valid value", kind, index);
    else if (!is_float(node->outputs[value->output].dtype))
        fail(graph, at, "%c %zu, '%s', is %s; only floats have gradients", kind, index, node->name,
             tc_dtype_name(node->outputs[value->output].dtype));
    else if (value->graph != graph && (kind == 'y' || !tc_graph_is_within(graph, value->graph)))
        fail(graph, at, "%c %zu, '%s', belongs to another graph than y 0", kind, index, node->name);
    else if (value->graph != graph)
        *value = tc_edge_value(graph, tc_graph_capture(graph, at, *value));
    return !tc_graph_failed(graph);
}

static bool check_y_gradient(tc_graph *graph, tc_location at, size_t index, tc_value y,
                             tc_value gradient)
{
    if (gradient.node < 0 && !gradient.graph)
        return true;
    tc_shape want = tc_value_shape(y), got = tc_value_shape(gradient);
    char want_text[TC_SHAPE_TEXT_SIZE], got_text[TC_SHAPE_TEXT_SIZE];
    if (gradient.graph != graph || !tc_value_node(gradient))
        fail(graph, at, "the output gradient %zu is not a value of the graph", index);
    else if (tc_value_dtype(gradient) != tc_value_dtype(y) || !tc_shape_compatible(&want, &got))
        fail(graph, at, "the output gradient %zu is %s%s, but y %zu is %s%s", index,
             tc_dtype_name(tc_value_dtype(gradient)), tc_shape_text(&got, got_text), index,
             tc_dtype_name(tc_value_dtype(y)), tc_shape_text(&want, want_text));
    return !tc_graph_failed(graph);
}

/* What is left of the contract of tc_gradients_at once every value is checked. */
static void differentiate(tc_graph *graph, tc_location at, const tc_value *ys, size_t y_count,
                          const tc_value *xs, size_t x_count, tc_value *gradients,
                          const tc_gradients_options *o)
{
    if (tc_gradients_flow(graph, at, ys, o->output_gradients, y_count, xs, x_count, gradients,
                          true) != TC_OK)
        return;
    for (size_t i = 0; i < x_count && !tc_graph_failed(graph); i++) {
        if (gradients[i].node >= 0)
            continue;
        char text[TC_ERROR_MESSAGE_SIZE / 4];
        if (o->zero_unconnected)
            gradients[i] = build_like(TC_WITHIN(at), "zeros_like", xs[i]);
        else
            fail(graph, at,
                 "no gradient flows from any y to x %zu, %s; leave it out or set "
                 "zero_unconnected",
                 i, tc_node_describe(tc_value_node(xs[i]), text, sizeof text));
    }
}

tc_status tc_gradients_at(tc_location at, const tc_value *ys, size_t y_count, const tc_value *xs,
                          size_t x_count, tc_value *gradients, const tc_gradients_options *options)
{
    TC_OPTIONS(tc_gradients_options, o, options);
    if ((y_count && !ys) || (x_count && (!xs || !gradients)))
        return tc_fail(TC_INVALID_ARGUMENT, "gradients: the ys, the xs or the results are NULL");
    tc_graph *graph = y_count ? ys[0].graph : NULL;
    for (size_t i = 0; i < x_count; i++)
        gradients[i] = (tc_value){graph, -1, 0};
    if (!graph)
        return tc_fail(TC_INVALID_ARGUMENT, "gradients: %s",
                       y_count ? "y 0 is no value of a graph" : "there is no y");
    TC_TRY(tc_graph_status(graph));
    tc_value *own_xs = tc_alloc_zero(x_count, sizeof *own_xs);
    if (!own_xs)
        tc_graph_fail_memory(graph, at);
    for (size_t i = 0; i < y_count && !tc_graph_failed(graph); i++) {
        tc_value y = ys[i];
        if (check_value(graph, at, 'y', i, &y) && o.output_gradients)
            check_y_gradient(graph, at, i, y, o.output_gradients[i]);
    }
    for (size_t i = 0; i < x_count && !tc_graph_failed(graph); i++) {
        own_xs[i] = xs[i];
        check_value(graph, at, 'x', i, &own_xs[i]);
    }
    if (!tc_graph_failed(graph))
        differentiate(graph, at, ys, y_count, own_xs, x_count, gradients, &o);
    tc_free(own_xs);
    for (size_t i = 0; i < x_count && tc_graph_failed(graph); i++)
        gradients[i] = (tc_value){graph, -1, 0};
    return tc_graph_status(graph);
}

void tc_grad_none(tc_grad *grad)
{
    (void)grad; /* input gradients are preset to TC_NO_VALUE; the walk stops at it before */
}

tc_value tc_grad_output(tc_grad *grad, int32_t i)
{
    if (i < 0 || i >= grad->n_outputs)
        return tc_graph_fail(grad->graph, grad->at, TC_INTERNAL,
                             "a gradient function asks for output %d of %d", (int)i,
                             (int)grad->n_outputs);
    if (grad->output_gradients[i].node >= 0)
        return grad->output_gradients[i];
    return build_like(TC_WITHIN(grad->at), "zeros_like", grad->outputs[i]);
}
