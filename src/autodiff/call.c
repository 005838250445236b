/* Differentiating calls of functions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tensorc/gradients.h>

#include "autodiff/internal.h"
#include "graph/internal.h"

/*
 * The derived function is kept with the function it belongs to, and found again by two annotations
 * of its parameters: on the first one of what function and for which inputs and outputs it was
 * derived, and on the parameter of each input that a gradient reaches the number of the result that
 * holds it.
 */
#define TC_GRADIENT_OF     "gradient_of"
#define TC_GRADIENT_RESULT "gradient"

/* A function that only the body being copied knows, copied too. */
typedef struct tc_local {
    const tc_graph *body, *copy;
} tc_local;

/* Copying the nodes of one body into another one. */
typedef struct tc_copying {
    const tc_graph *from;
    tc_graph *to;
    tc_location at;
    const char *name; /* of the function that is differentiated */
    bool *needed;     /* nodes of `from` */
    tc_edge **values; /* nodes of `from` -> their outputs in `to` */
    TC_VECTOR(tc_local) locals;
} tc_copying;

static bool fail(const tc_copying *c, const tc_node *node, const char *why)
{
    tc_graph_fail_node(c->to, node->at, TC_UNIMPLEMENTED, node->attrs.op->name, node->name,
                       "function '%s' cannot be differentiated: %s", c->name, why);
    return false;
}

static bool copy_body(tc_copying *c, const tc_edge *inputs, tc_edge *results, const bool *wanted);

/* Parameters for all those of `body`; what it captured becomes an ordinary parameter. */
static bool copy_parameters(const tc_graph *body, tc_graph *to, tc_location at, tc_edge *inputs)
{
    for (size_t i = 0; i < body->parameters.count; i++) {
        const tc_node *node = body->nodes.data[body->parameters.data[i]];
        tc_value value =
            tc_parameter_at(at, to, node->name, node->outputs[0].dtype, node->outputs[0].shape);
        inputs[i] = (tc_edge){value.node, value.output};
    }
    return !tc_graph_failed(to);
}

/* Copies what a local function needs into `copy` and ends that. */
static bool copy_function_body(const tc_copying *c, const tc_graph *body, tc_graph *copy)
{
    tc_copying inner = {.from = body, .to = copy, .at = c->at, .name = c->name};
    size_t n_results = body->results.count;
    tc_edge *inputs = tc_alloc_zero(body->parameters.count, sizeof *inputs);
    tc_edge *edges = tc_alloc_zero(n_results, sizeof *edges);
    tc_value *results = tc_alloc_zero(n_results, sizeof *results);
    bool copied = inputs && edges && results && copy_parameters(body, copy, c->at, inputs) &&
                  copy_body(&inner, inputs, edges, NULL);
    for (size_t i = 0; copied && i < n_results; i++)
        results[i] = tc_edge_value(copy, edges[i]);
    if (copied)
        tc_function_end_at(c->at, copy, results, n_results);
    tc_free(inputs);
    tc_free(edges);
    tc_free(results);
    return copied && !tc_graph_failed(copy);
}

/*
 * The copy of a function that is defined inside of `from`. It stays a function, called with the
 * stream of the original call, because random numbers depend on how calls nest.
 */
static const tc_graph *copy_local(tc_copying *c, const tc_graph *body)
{
    for (size_t i = 0; i < c->locals.count; i++)
        if (c->locals.data[i].body == body)
            return c->locals.data[i].copy;
    size_t size = strlen(body->function_name) + 24;
    char *name = tc_alloc(size);
    if (!name)
        return NULL;
    snprintf(name, size, "%s", body->function_name);
    for (int n = 1; tc_graph_find_function(c->to, name); n++)
        snprintf(name, size, "%s_%d", body->function_name, n);
    tc_graph *copy = tc_function_begin(c->to, name);
    tc_free(name);
    const tc_local local = {body, copy};
    return copy && copy_function_body(c, body, copy) && tc_vector_push(&c->locals, local) ? copy
                                                                                          : NULL;
}

/* Where `value`, of attribute `def`, names a function that `to` does not know, makes it name a
 * copy. */
static bool localize(tc_copying *c, const tc_node *node, const tc_attr_def *def, tc_attr *value)
{
    bool custom = strcmp(def->name, "gradient") == 0 && tc_node_function(&node->attrs);
    if (def->type != TC_ATTR_FUNCTION && !custom)
        return true;
    const tc_graph *body = tc_graph_find_function(c->from, value->s);
    if (!body || tc_graph_find_function(c->to, value->s) == body)
        return true;
    if (custom) /* its captures would have to become inputs of the call */
        return fail(c, node,
                    "it defines the gradient function of a call itself; define that "
                    "function outside of it");
    const tc_graph *copy = copy_local(c, body);
    if (copy)
        value->s = copy->function_name;
    return copy;
}

static bool copy_node(tc_copying *c, const tc_node *node)
{
    const tc_op *op = node->attrs.op;
    c->values[node->index] = tc_alloc_zero((size_t)node->n_outputs, sizeof(tc_edge));
    if (!c->values[node->index])
        return false;
    if (op->effects & (TC_EFFECT_WRITE | TC_EFFECT_IO))
        return fail(c, node,
                    "the gradient computes the body again, which must not write twice; "
                    "give the call a gradient function");
    tc_value *inputs = tc_alloc_zero((size_t)node->n_inputs, sizeof *inputs);
    tc_attr_arg *attrs = tc_alloc_zero((size_t)op->n_attrs, sizeof *attrs);
    const tc_node *copy = NULL;
    bool good = inputs && attrs;
    for (int i = 0; good && i < op->n_attrs; i++) {
        attrs[i] = (tc_attr_arg){op->attrs[i].name, node->attrs.values[i]};
        good = localize(c, node, &op->attrs[i], &attrs[i].value);
    }
    if (good) {
        for (int32_t i = 0; i < node->n_inputs; i++) {
            tc_edge edge = node->inputs[i];
            inputs[i] = edge.node < 0 ? TC_NO_VALUE
                                      : tc_edge_value(c->to, c->values[edge.node][edge.output]);
        }
        copy = tc_graph_append(c->to,
                               &(const tc_node_spec){.op = op->name,
                                                     .name = node->name,
                                                     .at = node->at,
                                                     .inputs = inputs,
                                                     .n_inputs = (size_t)node->n_inputs,
                                                     .attrs = attrs,
                                                     .n_attrs = (size_t)op->n_attrs},
                               NULL, 0);
    }
    tc_free(inputs);
    tc_free(attrs);
    if (!copy)
        return false;
    for (const tc_note *note = node->notes; note; note = note->next)
        tc_annotate((tc_value){c->to, copy->index, 0}, note->key, note->text);
    for (int32_t i = 0; i < node->n_outputs; i++)
        c->values[node->index][i] = (tc_edge){copy->index, i};
    return true;
}

/* Marks what the wanted results (NULL: all) are computed from. */
static void mark_needed(tc_copying *c, const bool *wanted)
{
    for (size_t i = 0; i < c->from->results.count; i++)
        if (!wanted || wanted[i])
            c->needed[c->from->results.data[i].node] = true;
    for (size_t n = c->from->nodes.count; n-- > 0;) {
        const tc_node *node = c->from->nodes.data[n];
        for (int32_t i = 0; c->needed[n] && i < node->n_inputs; i++)
            if (node->inputs[i].node >= 0)
                c->needed[node->inputs[i].node] = true;
    }
}

/* `inputs` are the values of the parameters in `to`; `results` is filled where wanted. */
static bool copy_body(tc_copying *c, const tc_edge *inputs, tc_edge *results, const bool *wanted)
{
    size_t count = c->from->nodes.count;
    c->needed = tc_alloc_zero(count, sizeof *c->needed);
    c->values = tc_alloc_zero(count, sizeof *c->values);
    bool copied = c->needed && c->values;
    if (copied)
        mark_needed(c, wanted);
    for (size_t i = 0; copied && i < c->from->parameters.count; i++) {
        tc_edge **value = &c->values[c->from->parameters.data[i]];
        copied = (*value = tc_alloc_zero(1, sizeof **value));
        if (copied)
            **value = inputs[i];
    }
    for (size_t i = 0; copied && i < count; i++)
        if (c->needed[i] && !c->values[i])
            copied = copy_node(c, c->from->nodes.data[i]);
    for (size_t i = 0; copied && i < c->from->results.count; i++)
        if (!wanted || wanted[i])
            results[i] = c->values[c->from->results.data[i].node][c->from->results.data[i].output];
    for (size_t i = 0; c->values && i < count; i++)
        tc_free(c->values[i]);
    tc_free(c->values);
    tc_free(c->needed);
    tc_vector_free(&c->locals);
    if (!copied && !tc_graph_failed(c->to))
        tc_graph_fail_memory(c->to, c->at);
    return copied;
}

/* Everything that deriving a function needs by input and output. */
typedef struct tc_deriving {
    tc_edge *inputs;       /* parameters for the inputs of the function */
    tc_value *xs;          /* those that need a gradient */
    tc_value *gradients;   /* of the xs */
    tc_edge *results;      /* of the function, computed again */
    tc_value *ys;          /* those that have a gradient */
    tc_value *y_gradients; /* parameters for it */
    bool *flows;           /* which */
    size_t x_count, y_count;
} tc_deriving;

static bool derive_nodes(tc_deriving *d, const tc_graph *from, tc_graph *to, const tc_grad *grad)
{
    tc_location at = grad->at;
    size_t n_inputs = from->parameters.count, n_outputs = from->results.count;
    if (!copy_parameters(from, to, at, d->inputs))
        return false;
    for (size_t i = 0; i < n_inputs; i++)
        if (grad->needed[i])
            d->xs[d->x_count++] = tc_edge_value(to, d->inputs[i]);
    tc_copying copying = {.from = from, .to = to, .at = at, .name = from->function_name};
    if (!copy_body(&copying, d->inputs, d->results, d->flows))
        return false;
    for (size_t i = 0; i < n_outputs; i++) {
        if (!d->flows[i])
            continue;
        tc_edge result = from->results.data[i];
        const tc_value_info *info = tc_edge_info(from, result);
        d->ys[d->y_count] = tc_edge_value(to, d->results[i]);
        tc_scope_push(to, "output_gradients");
        d->y_gradients[d->y_count++] =
            tc_parameter_at(at, to, from->nodes.data[result.node]->name, info->dtype, info->shape);
        tc_scope_pop(to);
    }
    return !tc_graph_failed(to) &&
           tc_gradients_flow(to, at, d->ys, d->y_gradients, d->y_count, d->xs, d->x_count,
                             d->gradients, false) == TC_OK;
}

/* Notes which input each result is the gradient of, and ends the function. */
static void derive_results(tc_deriving *d, tc_graph *to, const tc_grad *grad)
{
    size_t x = 0, n_results = 0;
    for (int32_t i = 0; i < grad->n_inputs; i++) {
        if (!grad->needed[i] || d->gradients[x++].node < 0)
            continue;
        char number[24];
        snprintf(number, sizeof number, "%zu", n_results);
        tc_annotate(tc_edge_value(to, d->inputs[i]), TC_GRADIENT_RESULT, number);
        d->gradients[n_results++] = d->gradients[x - 1];
    }
    tc_function_end_at(grad->at, to, d->gradients, n_results);
}

static bool derive(const tc_graph *from, tc_graph *to, const tc_grad *grad, const char *signature)
{
    size_t n_inputs = from->parameters.count, n_outputs = from->results.count;
    tc_deriving d = {
        .inputs = tc_alloc_zero(n_inputs, sizeof *d.inputs),
        .xs = tc_alloc_zero(n_inputs, sizeof *d.xs),
        .gradients = tc_alloc_zero(n_inputs, sizeof *d.gradients),
        .results = tc_alloc_zero(n_outputs, sizeof *d.results),
        .ys = tc_alloc_zero(n_outputs, sizeof *d.ys),
        .y_gradients = tc_alloc_zero(n_outputs, sizeof *d.y_gradients),
        .flows = tc_alloc_zero(n_outputs, sizeof *d.flows),
    };
    if (d.inputs && d.xs && d.gradients && d.results && d.ys && d.y_gradients && d.flows) {
        for (size_t i = 0; i < n_outputs; i++)
            d.flows[i] = grad->output_gradients[i].node >= 0;
        if (derive_nodes(&d, from, to, grad)) {
            tc_annotate(tc_graph_node(to, to->parameters.data[0]), TC_GRADIENT_OF, signature);
            derive_results(&d, to, grad);
        }
    } else {
        tc_graph_fail_memory(to, grad->at);
    }
    tc_free(d.inputs);
    tc_free(d.xs);
    tc_free(d.gradients);
    tc_free(d.results);
    tc_free(d.ys);
    tc_free(d.y_gradients);
    tc_free(d.flows);
    return !tc_graph_failed(to);
}

/* "name/hash" of which inputs need and which outputs have a gradient. */
static void write_signature(const tc_graph *body, const tc_grad *grad, char *text, size_t size)
{
    uint64_t hash = 0;
    for (int32_t i = 0; i < grad->n_inputs; i++)
        hash = tc_hash_combine(hash, grad->needed[i]);
    for (int32_t i = 0; i < grad->n_outputs; i++)
        hash = tc_hash_combine(hash, grad->output_gradients[i].node >= 0);
    snprintf(text, size, "%s/%016llx", body->function_name, (unsigned long long)hash);
}

/* The derived function, from an earlier call or made now; NULL when that failed. */
static const tc_graph *derived_function(const tc_graph *body, const tc_grad *grad)
{
    tc_graph *owner = body->parent;
    size_t size = strlen(body->function_name) + 48;
    char *text = tc_alloc(2 * size);
    if (!text) {
        tc_graph_fail_memory(grad->graph, grad->at);
        return NULL;
    }
    char *name = text, *signature = text + size;
    write_signature(body, grad, signature, size);
    tc_graph *found;
    for (int n = 0;; n++) {
        snprintf(name, size, n ? "%s_grad_%d" : "%s_grad", body->function_name, n);
        found = tc_graph_find_function(owner, name);
        if (!found)
            break;
        if (found->parameters.count == 0)
            continue;
        const char *of =
            tc_annotation(tc_graph_node(found, found->parameters.data[0]), TC_GRADIENT_OF);
        if (of && strcmp(of, signature) == 0)
            break;
    }
    if (!found) {
        found = tc_function_begin(owner, name);
        if (found && !derive(body, found, grad, signature))
            found = NULL;
    }
    tc_free(text);
    return found;
}

/* Calls `function` with the inputs of the forward call and `extra` values, in the stream of the
 * forward call. */
static tc_value call_gradient(tc_grad *grad, const char *function, const tc_value *extra,
                              size_t n_extra)
{
    size_t n_inputs = (size_t)grad->n_inputs;
    tc_value *values = tc_alloc_zero(n_inputs + n_extra, sizeof *values);
    if (!values)
        return tc_graph_fail_memory(grad->graph, grad->at);
    if (n_inputs)
        memcpy(values, grad->inputs, n_inputs * sizeof *values);
    if (n_extra)
        memcpy(values + n_inputs, extra, n_extra * sizeof *values);
    tc_value result =
        tc_call_in_stream(TC_WITHIN(grad->at), grad->graph, function, values, n_inputs + n_extra,
                          NULL, tc_attrs_int(grad->attrs, "stream"));
    tc_free(values);
    return result;
}

/* The call names the function that computes its gradient. */
static void custom_gradient(tc_grad *grad, const tc_node *node, const char *function)
{
    const tc_graph *body = tc_graph_find_function(grad->graph, function);
    if (body && tc_function_result_count(body) != grad->n_inputs) {
        tc_graph_fail_node(grad->graph, node->at, TC_INVALID_ARGUMENT, "call", node->name,
                           "the gradient function '%s' has %d results, but must have one for each "
                           "of the %d inputs (captured values of '%s' are inputs too)",
                           function, (int)tc_function_result_count(body), (int)grad->n_inputs,
                           tc_node_function(&node->attrs)->s);
        return;
    }
    size_t n_outputs = (size_t)grad->n_outputs;
    tc_value *extra = tc_alloc_zero(2 * n_outputs, sizeof *extra);
    if (!extra) {
        tc_graph_fail_memory(grad->graph, grad->at);
        return;
    }
    for (int32_t i = 0; i < grad->n_outputs; i++) {
        extra[i] = grad->outputs[i];
        extra[n_outputs + (size_t)i] = tc_grad_output(grad, i);
    }
    tc_value call = call_gradient(grad, function, extra, 2 * n_outputs);
    tc_free(extra);
    for (int32_t i = 0; i < grad->n_inputs && tc_value_ok(call); i++)
        if (grad->needed[i])
            grad->input_gradients[i] = tc_output(call, i);
}

void tc_grad_call(tc_grad *grad, const tc_node *node)
{
    const char *custom = tc_attrs_string(grad->attrs, "gradient");
    if (custom && custom[0]) {
        custom_gradient(grad, node, custom);
        return;
    }
    const tc_graph *body = tc_graph_find_function(grad->graph, tc_node_function(&node->attrs)->s);
    const tc_graph *derived = body ? derived_function(body, grad) : NULL;
    if (!derived || derived->results.count == 0)
        return;
    tc_value *flows = tc_alloc_zero((size_t)grad->n_outputs, sizeof *flows);
    if (!flows) {
        tc_graph_fail_memory(grad->graph, grad->at);
        return;
    }
    size_t n_flows = 0;
    for (int32_t i = 0; i < grad->n_outputs; i++)
        if (grad->output_gradients[i].node >= 0)
            flows[n_flows++] = grad->output_gradients[i];
    tc_value call = call_gradient(grad, derived->function_name, flows, n_flows);
    tc_free(flows);
    for (int32_t i = 0; i < grad->n_inputs && tc_value_ok(call); i++) {
        const char *number =
            tc_annotation(tc_graph_node(derived, derived->parameters.data[i]), TC_GRADIENT_RESULT);
        if (number)
            grad->input_gradients[i] = tc_output(call, (int32_t)strtol(number, NULL, 10));
    }
}
