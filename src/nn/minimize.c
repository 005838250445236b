/* From a loss to a training step: what to train, gradients, clipping. */
#include <tensorc/gradients.h>
#include <tensorc/ops.h>
#include <tensorc/optimizers.h>

#include "options.h"

static tc_value invalid(tc_graph *graph)
{
    return (tc_value){graph, -1, 0};
}

/* Marks every node that `value` depends on, walking back from it. Inputs come before their node. */
static void mark_ancestors(const tc_graph *graph, int32_t last, bool *needed)
{
    needed[last] = true;
    for (int32_t i = last; i >= 0; i--) {
        if (!needed[i])
            continue;
        tc_value node = tc_graph_node(graph, i);
        for (int32_t j = 0; j < tc_node_input_count(node); j++) {
            tc_value input = tc_node_input(node, j);
            if (tc_value_ok(input))
                needed[input.node] = true;
        }
    }
}

static bool is_trainable(tc_value node)
{
    char text[8];
    return strcmp(tc_value_op(node), "variable") == 0 &&
           tc_node_attr_text(node, "trainable", text, sizeof text) > 0 && strcmp(text, "true") == 0;
}

/* The trainable variables among the ancestors of `loss`, in the order they were built; the caller
 * frees them. */
static tc_value *collect(tc_value loss, size_t *count)
{
    size_t nodes = (size_t)loss.node + 1;
    bool *needed = tc_memory_allocate(nodes * sizeof *needed);
    tc_value *variables = tc_memory_allocate(nodes * sizeof *variables);
    *count = 0;
    if (needed && variables) {
        memset(needed, 0, nodes * sizeof *needed);
        mark_ancestors(loss.graph, loss.node, needed);
        for (int32_t i = 0; i <= loss.node; i++)
            if (needed[i] && is_trainable(tc_graph_node(loss.graph, i)))
                variables[(*count)++] = tc_graph_node(loss.graph, i);
    } else {
        tc_memory_free(variables);
        variables = NULL;
    }
    tc_memory_free(needed);
    return variables;
}

static tc_value cast_to(tc_location at, tc_value x, tc_dtype dtype)
{
    return tc_value_dtype(x) == dtype ? x : tc_cast_at(TC_WITHIN(at), x, dtype);
}

/* The norm is in f64 where all gradients are, else in f32: squares of 16-bit floats overflow. */
static tc_dtype norm_dtype(const tc_value *gradients, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tc_value_dtype(gradients[i]) != TC_F64)
            return TC_F32;
    return TC_F64;
}

tc_value tc_clip_by_global_norm_at(tc_location at, const tc_value *gradients, size_t count,
                                   double max_norm, tc_value *clipped)
{
    tc_graph *graph = gradients && count > 0 ? gradients[0].graph : NULL;
    if (!gradients || count == 0 || !clipped || !(max_norm > 0)) {
        for (size_t i = 0; clipped && i < count; i++)
            clipped[i] = invalid(graph);
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                             "clip_by_global_norm: needs gradients and a positive max_norm, not "
                             "%zu gradients and %g",
                             gradients && clipped ? count : 0, max_norm);
    }
    tc_scope_push(graph, "clip");
    tc_dtype dtype = norm_dtype(gradients, count);
    tc_value sum = tc_no_value();
    for (size_t i = 0; i < count; i++) {
        tc_value square = tc_square_at(TC_WITHIN(at), cast_to(at, gradients[i], dtype));
        tc_value part = tc_reduce_sum_at(TC_WITHIN(at), square, NULL);
        sum = i == 0 ? part : tc_add_at(TC_WITHIN(at), sum, part);
    }
    tc_value norm = tc_sqrt_at(TC_WITHIN(at), sum);
    tc_value limit = tc_constant_scalar_at(TC_WITHIN(at), graph, dtype, max_norm);
    /* max_norm / max(norm, max_norm) is at most 1 and safe for a norm of 0. */
    tc_value scale = tc_div_at(TC_WITHIN(at), limit, tc_maximum_at(TC_WITHIN(at), norm, limit));
    for (size_t i = 0; i < count; i++)
        clipped[i] = tc_mul_at(TC_WITHIN(at), gradients[i],
                               cast_to(at, scale, tc_value_dtype(gradients[i])));
    tc_scope_pop(graph);
    return norm;
}

/* Clipped gradients of `loss` by the variables; false when they cannot be built. */
static bool differentiate(tc_location at, tc_value loss, const tc_value *variables, size_t count,
                          const tc_minimize_options *o, tc_value *gradients)
{
    tc_scope_push(loss.graph, tc_name_or(o->name, "minimize"));
    bool built =
        tc_gradients_at(TC_WITHIN(at), &loss, 1, variables, count, gradients, NULL) == TC_OK;
    if (built && o->clip_global_norm != 0)
        tc_clip_by_global_norm_at(at, gradients, count, o->clip_global_norm, gradients);
    tc_scope_pop(loss.graph);
    return built;
}

static tc_value train(tc_location at, tc_optimizer optimizer, tc_value loss,
                      const tc_value *variables, size_t count, const tc_minimize_options *o)
{
    if (count == 0)
        return tc_graph_fail(loss.graph, at, TC_INVALID_ARGUMENT,
                             o->variables
                                 ? "minimize: the list of variables for the loss '%s' is empty"
                                 : "minimize: the loss '%s' depends on no trainable variable",
                             tc_value_name(loss));
    tc_value *gradients = tc_memory_allocate(count * sizeof *gradients);
    if (!gradients)
        return tc_graph_fail(loss.graph, at, TC_RESOURCE_EXHAUSTED,
                             "out of memory for the gradients of %zu variables", count);
    tc_value step = invalid(loss.graph);
    if (differentiate(at, loss, variables, count, o, gradients))
        step = tc_apply_gradients_at(at, optimizer, variables, gradients, count);
    tc_memory_free(gradients);
    return step;
}

tc_value tc_minimize_at(tc_location at, tc_optimizer optimizer, tc_value loss,
                        const tc_minimize_options *options)
{
    TC_OPTIONS(tc_minimize_options, o, options);
    tc_graph *graph = loss.graph ? loss.graph : optimizer.graph;
    if (!tc_value_ok(loss))
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT, "minimize: the loss is invalid");
    if (graph != optimizer.graph)
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                             "minimize: the loss '%s' belongs to another graph than the optimizer",
                             tc_value_name(loss));
    if (o.variables)
        return train(at, optimizer, loss, o.variables, o.n_variables, &o);
    size_t count;
    tc_value *variables = collect(loss, &count);
    if (!variables)
        return tc_graph_fail(graph, at, TC_RESOURCE_EXHAUSTED,
                             "out of memory to collect the variables of the loss");
    tc_value step = train(at, optimizer, loss, variables, count, &o);
    tc_memory_free(variables);
    return step;
}
