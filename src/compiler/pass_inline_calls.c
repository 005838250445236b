/*
 * Function bodies in place of their calls, to any depth. Random streams of a body are combined with
 * that of the call, so that every call draws its own numbers and a call and its gradient the same;
 * shapes are inferred again from the actual inputs, because names of dimensions mean something else
 * in every body.
 */
#include <stdio.h>
#include <string.h>

#include "compiler/pass.h"
#include "core/registry.h"

/* Functions that call each other deeper than this are refused, so that a hostile file cannot
 * exhaust the stack. */
#define MAX_DEPTH 256

typedef struct inliner {
    const tc_graph *open[MAX_DEPTH]; /* bodies being inlined, to find recursion */
    int32_t depth;
    tc_map variables; /* of bodies, which are the same ones in every call: name -> new node */
} inliner;

/* One level: the program itself (call NULL) or a body. */
typedef struct level {
    inliner *in;
    tc_pass_context pass;  /* with maps of its own */
    const tc_graph *graph; /* where functions are looked up */
    const tc_node *call;   /* its inputs are new edges */
    int32_t *arguments;    /* of a body: per node, the input that a parameter is; -1 */
    bool *live;
    bool *depended; /* per node: somebody depends on it by control, or it is a target */
} level;

static tc_status expand(level *l);

static tc_status start_level(level *l, tc_node *const *nodes, size_t count)
{
    TC_TRY(tc_ir_map(&l->pass, nodes, count));
    l->arguments = tc_alloc_zero(count, sizeof *l->arguments);
    l->live = tc_alloc_zero(count, 1);
    l->depended = tc_alloc_zero(count, 1);
    if (!l->arguments || !l->live || !l->depended)
        return tc_compiler_exhausted();
    for (size_t i = 0; i < count; i++) {
        l->arguments[i] = -1;
        for (int32_t k = 0; k < nodes[i]->n_controls; k++)
            l->depended[nodes[i]->controls[k]] = true;
    }
    return TC_OK;
}

static void end_level(level *l)
{
    tc_free(l->arguments);
    tc_free(l->live);
    tc_free(l->depended);
    tc_ir_unmap(&l->pass);
}

/* What a node of a body has from the call: path, stream, device. */
static tc_status adopt(level *l, tc_node *node)
{
    tc_arena *arena = &l->pass.graph->arena;
    const tc_node *call = l->call;
    size_t size = strlen(call->name) + strlen(node->name) + 2;
    char *name = tc_arena_alloc(arena, size);
    if (!name)
        return tc_compiler_exhausted();
    snprintf(name, size, "%s/%s", call->name, node->name);
    if (!tc_node_is(node, "variable"))
        node->name = name;
    const tc_attr *stream = tc_attrs_get(&node->attrs, "stream");
    if (stream && stream->type == TC_ATTR_INT) {
        int64_t inner = tc_stream_within(tc_attrs_int(&call->attrs, "stream"), stream->i);
        TC_TRY(tc_ir_set_attr(&l->pass, node, "stream", tc_attr_int(inner)));
    }
    const char *device = tc_node_note(call, "device");
    if (device && !tc_node_note(node, "device")) {
        tc_note *note = tc_arena_alloc(arena, sizeof *note);
        if (!note)
            return tc_compiler_exhausted();
        *note = (tc_note){"device", device, node->notes};
        node->notes = note;
    }
    if (call->n_controls > 0) {
        size_t n = (size_t)node->n_controls, m = (size_t)call->n_controls;
        int32_t *controls = tc_arena_array(arena, n + m, sizeof *controls);
        if (!controls)
            return tc_compiler_exhausted();
        memcpy(controls, node->controls, n * sizeof *controls);
        memcpy(controls + n, call->controls, m * sizeof *controls);
        node->controls = controls;
        node->n_controls = (int32_t)(n + m);
    }
    return TC_OK;
}

/* Something that runs after everything the call does, for those that depend on the call. */
static tc_status place_call(level *outer, int32_t old, const tc_node *call, const level *body)
{
    tc_pass_context *pass = &outer->pass;
    size_t n = 0;
    int32_t *controls =
        tc_arena_array(&pass->graph->arena, (size_t)body->pass.n_old, sizeof *controls);
    const tc_op *op = tc_registry_find_op(pass->graph->registry, "no_op");
    tc_node *node = tc_arena_memdup(&pass->graph->arena, call, sizeof *call);
    if (!controls || !node)
        return tc_compiler_exhausted();
    if (!op)
        return tc_fail(TC_INTERNAL, "the registry has no operator 'no_op'");
    for (int32_t i = 0; i < body->pass.n_old; i++)
        if (body->live[i] && body->pass.places[i] >= 0)
            controls[n++] = body->pass.places[i];
    node->attrs = (tc_attrs){op, NULL};
    node->inputs = NULL;
    node->outputs = NULL;
    node->n_inputs = node->n_outputs = 0;
    node->controls = controls;
    node->n_controls = (int32_t)n;
    TC_TRY(tc_ir_append(pass, node));
    pass->places[old] = node->index;
    return TC_OK;
}

static tc_status inline_call(level *outer, int32_t old, const tc_node *call)
{
    inliner *in = outer->in;
    char where[512];
    const char *name = tc_attrs_string(&call->attrs, "function");
    const tc_graph *body = tc_graph_find_function(outer->graph, name);
    if (!body || body->parameters.count != (size_t)call->n_inputs ||
        body->results.count != (size_t)call->n_outputs)
        return tc_fail(TC_INTERNAL, "%s: there is no function '%s' of these inputs and outputs",
                       tc_node_describe(call, where, sizeof where), name);
    for (int32_t i = 0; i < in->depth; i++)
        if (in->open[i] == body)
            return tc_fail(TC_INVALID_ARGUMENT, "%s: function '%s' calls itself",
                           tc_node_describe(call, where, sizeof where), name);
    if (in->depth == MAX_DEPTH)
        return tc_fail(TC_INVALID_ARGUMENT, "%s: calls are nested deeper than %d",
                       tc_node_describe(call, where, sizeof where), MAX_DEPTH);
    in->open[in->depth++] = body;
    level l = {.in = in, .pass = outer->pass, .graph = body, .call = call};
    tc_status status = start_level(&l, body->nodes.data, body->nodes.count);
    if (status == TC_OK) {
        for (size_t i = 0; i < body->parameters.count; i++)
            l.arguments[body->parameters.data[i]] = (int32_t)i;
        for (size_t i = 0; i < body->results.count; i++)
            l.live[body->results.data[i].node] = true;
        tc_ir_mark(l.pass.old, l.pass.n_old, l.live);
        status = expand(&l);
    }
    for (size_t i = 0; status == TC_OK && i < body->results.count; i++)
        tc_ir_forward(&outer->pass, old, (int32_t)i,
                      tc_ir_new_edge(&l.pass, body->results.data[i]));
    if (status == TC_OK && outer->depended[old])
        status = place_call(outer, old, call, &l);
    end_level(&l);
    in->depth--;
    return status;
}

/* A variable of a body that another call has brought already; true then. */
static bool find_variable(level *l, const tc_node *node, int32_t old)
{
    const uint64_t *found = tc_map_find_string(&l->in->variables, node->name);
    if (found)
        tc_ir_forward(&l->pass, old, 0, (tc_edge){(int32_t)*found, 0});
    return found != NULL;
}

static tc_status expand_node(level *l, int32_t old)
{
    tc_node *node = l->pass.old[old];
    bool variable = tc_node_is(node, "variable");
    if (l->arguments[old] >= 0) {
        tc_ir_forward(&l->pass, old, 0, l->call->inputs[l->arguments[old]]);
        return TC_OK;
    }
    if (variable && find_variable(l, node, old))
        return TC_OK;
    if (l->call) {
        node = tc_ir_copy(&l->pass, node);
        if (!node)
            return TC_RESOURCE_EXHAUSTED;
        node->device = -1;
    }
    for (int32_t k = 0; variable && k < node->n_inputs; k++)
        node->inputs[k] = TC_NO_EDGE; /* initial values are not for runs */
    tc_ir_renumber(&l->pass, node);
    if (l->call)
        TC_TRY(adopt(l, node));
    if (tc_node_is(node, "call"))
        return inline_call(l, old, node);
    /* Not only in bodies: what reads the results of a call follows them. */
    if (!tc_node_is_identity(node))
        TC_TRY(tc_ir_infer(&l->pass, node));
    TC_TRY(tc_ir_keep(&l->pass, node, old));
    if (variable && !tc_map_put_string(&l->in->variables, node->name, (uint64_t)node->index))
        return tc_compiler_exhausted();
    return TC_OK;
}

static tc_status expand(level *l)
{
    for (int32_t i = 0; i < l->pass.n_old; i++)
        if (l->live[i])
            TC_TRY(expand_node(l, i));
    return TC_OK;
}

tc_status tc_pass_inline_calls(tc_pass_context *pass)
{
    const tc_graph *graph = pass->graph;
    bool any = false;
    for (size_t i = 0; i < graph->nodes.count; i++)
        any = any || tc_node_is(graph->nodes.data[i], "call");
    if (!any)
        return TC_OK;
    inliner in = {0};
    level l = {.in = &in, .pass = *pass, .graph = pass->source};
    tc_status status = start_level(&l, graph->nodes.data, graph->nodes.count);
    if (status == TC_OK) {
        pass->graph->nodes.count = 0;
        memset(l.live, 1, (size_t)l.pass.n_old);
        for (int32_t i = 0; i < pass->program->n_targets; i++)
            l.depended[pass->program->targets[i]] = true;
        status = expand(&l);
    }
    tc_map_free(&in.variables);
    status = tc_ir_end(&l.pass, status);
    end_level(&l);
    return status;
}
