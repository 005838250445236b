/* Optimizers and the updates they build for given gradients. */
#include <tensorc/ops.h>
#include <tensorc/optimizers.h>

#include <stdio.h>

#include "options.h"

typedef tc_value (*schedule_function)(tc_location at, tc_value step, void *context);

static tc_value state_scalar(tc_location at, tc_graph *graph, const char *name, tc_dtype dtype,
                             double value)
{
    tc_variable_options fixed = {.struct_size = sizeof fixed, .not_trainable = true};
    tc_value initial = tc_constant_scalar_at(TC_WITHIN(at), graph, dtype, value);
    return tc_variable_at(TC_WITHIN(at), graph, name, initial, &fixed);
}

/* What every optimizer has: its step and its learning rate. */
static tc_optimizer create(tc_location at, tc_graph *graph, tc_optimizer_kind kind,
                           const char *name, double learning_rate, schedule_function schedule,
                           void *context)
{
    tc_optimizer optimizer = {.graph = graph, .kind = kind};
    tc_scope_push(graph, name);
    optimizer.step = state_scalar(at, graph, "step", TC_I64, 0);
    optimizer.learning_rate = schedule
                                  ? schedule(TC_WITHIN(at), optimizer.step, context)
                                  : state_scalar(at, graph, "learning_rate", TC_F32, learning_rate);
    tc_scope_pop(graph);
    if (tc_value_ok(optimizer.learning_rate) &&
        (tc_value_dtype(optimizer.learning_rate) != TC_F32 ||
         tc_value_shape(optimizer.learning_rate).rank != 0))
        optimizer.learning_rate =
            tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                          "optimizer '%s': the schedule must give an f32 scalar", name);
    return optimizer;
}

tc_optimizer tc_sgd_at(tc_location at, tc_graph *graph, const tc_sgd_options *options)
{
    TC_OPTIONS(tc_sgd_options, o, options);
    tc_optimizer optimizer =
        create(at, graph, o.momentum != 0 ? TC_OPTIMIZER_MOMENTUM : TC_OPTIMIZER_SGD,
               tc_name_or(o.name, "sgd"), o.learning_rate != 0 ? o.learning_rate : 0.01f,
               o.schedule, o.schedule_context);
    optimizer.momentum = o.momentum;
    optimizer.nesterov = o.nesterov;
    optimizer.weight_decay = o.weight_decay;
    if (o.nesterov && o.momentum == 0)
        tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                      "optimizer '%s': nesterov needs a momentum, such as 0.9",
                      tc_name_or(o.name, "sgd"));
    return optimizer;
}

static tc_optimizer create_adam(tc_location at, tc_graph *graph, const tc_adam_options *o,
                                const char *name, double weight_decay)
{
    tc_optimizer optimizer =
        create(at, graph, TC_OPTIMIZER_ADAM, tc_name_or(o->name, name),
               o->learning_rate != 0 ? o->learning_rate : 0.001f, o->schedule, o->schedule_context);
    optimizer.beta1 = o->beta1.has ? o->beta1.value : 0.9;
    optimizer.beta2 = o->beta2.has ? o->beta2.value : 0.999;
    optimizer.epsilon = o->epsilon.has ? o->epsilon.value : 1e-8;
    optimizer.weight_decay = weight_decay;
    return optimizer;
}

tc_optimizer tc_adam_at(tc_location at, tc_graph *graph, const tc_adam_options *options)
{
    TC_OPTIONS(tc_adam_options, o, options);
    return create_adam(at, graph, &o, "adam", o.weight_decay);
}

tc_optimizer tc_adamw_at(tc_location at, tc_graph *graph, const tc_adam_options *options)
{
    TC_OPTIONS(tc_adam_options, o, options);
    double usual = o.weight_decay != 0 ? o.weight_decay : 0.01;
    return create_adam(at, graph, &o, "adamw", o.no_weight_decay ? 0 : usual);
}

/*
 * Updates
 */

/*
 * A slot of `variable`, zero at first: "adam/mean/hidden/weights", where "adam" is the path of the
 * optimizer, whatever scope is open now. f64 for an f64 variable and f32 for all others, as the
 * updates want it. One that exists is shared: the optimizer may be applied twice.
 */
static tc_value slot(tc_location at, const tc_optimizer *optimizer, const char *kind,
                     tc_value variable)
{
    tc_graph *graph = optimizer->graph;
    const char *step = tc_value_name(optimizer->step), *path = tc_value_name(variable);
    const char *end = strrchr(step, '/');
    int length = end ? (int)(end + 1 - step) : 0; /* with the slash */
    size_t size = (size_t)length + strlen(kind) + strlen(path) + 2;
    char *name = tc_memory_allocate(size);
    if (!name)
        return tc_graph_fail(graph, at, TC_RESOURCE_EXHAUSTED,
                             "out of memory for the name of an optimizer slot");
    snprintf(name, size, "%.*s%s/%s", length, step, kind, path);
    tc_value result = tc_graph_find(graph, name);
    if (!tc_value_ok(result)) {
        tc_variable_options fixed = {.struct_size = sizeof fixed, .not_trainable = true};
        tc_dtype dtype = tc_value_dtype(variable) == TC_F64 ? TC_F64 : TC_F32;
        tc_value zero = tc_zeros_at(TC_WITHIN(at), graph, dtype, tc_value_shape(variable));
        tc_scope_push(graph, "/");
        result = tc_variable_at(TC_WITHIN(at), graph, name, zero, &fixed);
        tc_scope_pop(graph);
    }
    tc_memory_free(name);
    return result;
}

/* `count` is the number of this update, from 1. */
static tc_value update(tc_location at, const tc_optimizer *optimizer, tc_value variable,
                       tc_value gradient, tc_value count)
{
    switch (optimizer->kind) {
    case TC_OPTIMIZER_SGD: {
        tc_apply_sgd_options options = {.struct_size = sizeof options,
                                        .weight_decay = optimizer->weight_decay};
        return tc_apply_sgd_at(TC_WITHIN(at), variable, gradient, optimizer->learning_rate,
                               &options);
    }
    case TC_OPTIMIZER_MOMENTUM: {
        tc_apply_momentum_options options = {.struct_size = sizeof options,
                                             .momentum = {true, optimizer->momentum},
                                             .weight_decay = optimizer->weight_decay,
                                             .nesterov = optimizer->nesterov};
        return tc_apply_momentum_at(TC_WITHIN(at), variable,
                                    slot(at, optimizer, "velocity", variable), gradient,
                                    optimizer->learning_rate, &options);
    }
    case TC_OPTIMIZER_ADAM: {
        tc_apply_adam_options options = {.struct_size = sizeof options,
                                         .beta1 = {true, optimizer->beta1},
                                         .beta2 = {true, optimizer->beta2},
                                         .epsilon = {true, optimizer->epsilon},
                                         .weight_decay = optimizer->weight_decay};
        tc_apply_adam_inputs inputs = {.parameter = variable,
                                       .mean = slot(at, optimizer, "mean", variable),
                                       .square = slot(at, optimizer, "square", variable),
                                       .gradient = gradient,
                                       .learning_rate = optimizer->learning_rate,
                                       .step = count};
        return tc_apply_adam_at(TC_WITHIN(at), &inputs, &options);
    }
    }
    return tc_graph_fail(optimizer->graph, at, TC_INVALID_ARGUMENT,
                         "optimizer kind %d is none of tc_optimizer_kind", (int)optimizer->kind);
}

static bool is_update(tc_value node)
{
    const char *collection = tc_annotation(node, "collection");
    return collection && strcmp(collection, "updates") == 0;
}

tc_value tc_apply_gradients_at(tc_location at, tc_optimizer optimizer, const tc_value *variables,
                               const tc_value *gradients, size_t count)
{
    tc_graph *graph = optimizer.graph;
    if (count > 0 && (!variables || !gradients))
        return tc_graph_fail(graph, at, TC_INVALID_ARGUMENT,
                             "apply_gradients: variables or gradients are NULL");
    int32_t nodes = tc_graph_node_count(graph);
    tc_value *group = tc_memory_allocate((count + (size_t)nodes + 1) * sizeof *group);
    if (!group)
        return tc_graph_fail(graph, at, TC_RESOURCE_EXHAUSTED,
                             "out of memory for a training step of %zu variables", count);
    size_t members = 0;
    for (int32_t i = 0; i < nodes; i++)
        if (is_update(tc_graph_node(graph, i)))
            group[members++] = tc_graph_node(graph, i);
    tc_value one = tc_constant_scalar_at(TC_WITHIN(at), graph, TC_I64, 1);
    group[members++] = tc_assign_add_at(TC_WITHIN(at), optimizer.step, one);
    tc_value updates = tc_add_at(TC_WITHIN(at), optimizer.step, one);
    for (size_t i = 0; i < count; i++)
        group[members++] = update(at, &optimizer, variables[i], gradients[i], updates);
    tc_value step = tc_group_at(TC_WITHIN(at), graph, group, members);
    tc_memory_free(group);
    return step;
}
