/*
 * The part of the source graph that is asked for. A fed value becomes a placeholder, whatever
 * computes it in the source; initial values of variables are left out unless they are fetched
 * themselves.
 */
#include "compiler/pass.h"
#include "core/shape.h"

/* The feed of each source output, -1 for none, and what of the source is needed. */
typedef struct extraction {
    tc_pass_context *pass;
    int32_t *feed_of; /* by pass->first[node] + output */
    bool *fed_used;   /* likewise: somebody reads the fed value */
    bool *live;
    bool reinfer; /* a fed value had known elements, which shapes may have been made from */
} extraction;

static const char *describe(const extraction *x, int32_t node, char buffer[512])
{
    return tc_node_describe(x->pass->old[node], buffer, 512);
}

static tc_status check_edge(const extraction *x, tc_edge edge, const char *what, int32_t index)
{
    const tc_pass_context *pass = x->pass;
    if (edge.node >= 0 && edge.node < pass->n_old && edge.output >= 0 &&
        edge.output < pass->old[edge.node]->n_outputs)
        return TC_OK;
    return tc_fail(TC_INVALID_ARGUMENT, "%s %d is no value of the graph", what, (int)index);
}

static tc_status check_request(extraction *x)
{
    const tc_program_request *request = x->pass->request;
    char where[512];
    for (int32_t i = 0; i < request->n_feeds; i++) {
        tc_edge edge = request->feeds[i];
        TC_TRY(check_edge(x, edge, "feed", i));
        if (tc_node_is(x->pass->old[edge.node], "variable"))
            return tc_fail(TC_INVALID_ARGUMENT,
                           "feed %d is %s: variables are not fed; assign to it or restore it",
                           (int)i, describe(x, edge.node, where));
        int32_t *feed = &x->feed_of[x->pass->first[edge.node] + edge.output];
        if (*feed >= 0)
            return tc_fail(TC_INVALID_ARGUMENT, "feeds %d and %d are both for %s", (int)*feed,
                           (int)i, describe(x, edge.node, where));
        *feed = i;
        x->reinfer = x->reinfer || x->pass->old[edge.node]->outputs[edge.output].known;
    }
    for (int32_t i = 0; i < request->n_fetches; i++)
        TC_TRY(check_edge(x, request->fetches[i], "fetch", i));
    for (int32_t i = 0; i < request->n_targets; i++)
        if (request->targets[i] < 0 || request->targets[i] >= x->pass->n_old)
            return tc_fail(TC_INVALID_ARGUMENT, "target %d is no node of the graph", (int)i);
    return TC_OK;
}

static void need(extraction *x, tc_edge edge)
{
    int32_t id = x->pass->first[edge.node] + edge.output;
    if (x->feed_of[id] >= 0)
        x->fed_used[id] = true;
    else
        x->live[edge.node] = true;
}

static bool is_fed_placeholder(const extraction *x, int32_t node)
{
    return tc_node_is(x->pass->old[node], "placeholder") && x->feed_of[x->pass->first[node]] >= 0;
}

/* Marks what is needed; edges point backwards, so one sweep does. */
static tc_status mark(extraction *x)
{
    const tc_pass_context *pass = x->pass;
    for (int32_t i = 0; i < pass->request->n_fetches; i++)
        need(x, pass->request->fetches[i]);
    for (int32_t i = 0; i < pass->request->n_targets; i++)
        x->live[pass->request->targets[i]] = true;
    for (int32_t i = pass->n_old - 1; i >= 0; i--) {
        const tc_node *node = pass->old[i];
        if (!x->live[i])
            continue;
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (node->inputs[k].node >= 0 && !(tc_input_flags(node, k) & TC_PORT_INITIAL))
                need(x, node->inputs[k]);
        for (int32_t k = 0; k < node->n_controls; k++)
            x->live[node->controls[k]] = true;
    }
    char where[512], shape[TC_SHAPE_TEXT_SIZE];
    for (int32_t i = 0; i < pass->n_old; i++) {
        const tc_node *node = pass->old[i];
        if (!x->live[i] || !tc_node_is(node, "placeholder") || is_fed_placeholder(x, i))
            continue;
        return tc_fail(TC_INVALID_ARGUMENT, "%s is needed but not fed; feed it a tensor of %s %s",
                       describe(x, i, where), tc_dtype_name(node->outputs[0].dtype),
                       tc_shape_text(&node->outputs[0].shape, shape));
    }
    return TC_OK;
}

/* A placeholder for output `output` of `node`, which is fed. */
static tc_status place_feed(extraction *x, const tc_node *node, int32_t output)
{
    const tc_value_info *info = &node->outputs[output];
    const tc_attr_arg attrs[] = {{"dtype", tc_attr_dtype(info->dtype)},
                                 {"shape", tc_attr_shape(&info->shape)}};
    tc_node *fed = tc_ir_source(x->pass, "placeholder", node, output, attrs, 2);
    if (!fed)
        return TC_RESOURCE_EXHAUSTED;
    fed->device = -1;
    fed->outputs[0].known = NULL;
    fed->outputs[0].known_count = 0;
    TC_TRY(tc_ir_append(x->pass, fed));
    tc_ir_forward(x->pass, node->index, output, (tc_edge){fed->index, 0});
    return TC_OK;
}

static tc_status emit(extraction *x, int32_t index)
{
    tc_pass_context *pass = x->pass;
    const tc_node *node = pass->old[index];
    bool live = x->live[index] && !is_fed_placeholder(x, index);
    if (live) {
        tc_node *copy = tc_ir_copy(pass, node);
        if (!copy)
            return TC_RESOURCE_EXHAUSTED;
        copy->device = -1;
        tc_ir_renumber(pass, copy); /* initial values that are not needed become "not given" */
        for (int32_t k = 0; k < copy->n_inputs; k++)
            if (tc_input_flags(copy, k) & TC_PORT_INITIAL)
                copy->inputs[k] = TC_NO_EDGE;
        TC_TRY(tc_ir_keep(pass, copy, index));
        if (x->reinfer && !tc_node_is_identity(copy))
            TC_TRY(tc_ir_infer(pass, copy));
    }
    for (int32_t k = 0; k < node->n_outputs; k++) {
        int32_t id = pass->first[index] + k;
        bool wanted = x->fed_used[id] || (x->live[index] && !live);
        if (x->feed_of[id] < 0)
            continue;
        pass->edges[id] = TC_NO_EDGE; /* a feed that nothing reads */
        int32_t place = pass->places[index];
        if (wanted)
            TC_TRY(place_feed(x, node, k));
        if (live)
            pass->places[index] = place;
    }
    return TC_OK;
}

static tc_status extract(extraction *x)
{
    TC_TRY(check_request(x));
    TC_TRY(mark(x));
    for (int32_t i = 0; i < x->pass->n_old; i++)
        TC_TRY(emit(x, i));
    return TC_OK;
}

tc_status tc_pass_extract(tc_pass_context *pass)
{
    const tc_graph *source = pass->source;
    tc_status status = tc_ir_begin(pass, source->nodes.data, source->nodes.count);
    extraction x = {.pass = pass};
    size_t n_edges = status == TC_OK ? (size_t)pass->first[pass->n_old] : 0;
    x.feed_of = tc_alloc_zero(n_edges, sizeof *x.feed_of);
    x.fed_used = tc_alloc_zero(n_edges, 1);
    x.live = tc_alloc_zero((size_t)pass->n_old, 1);
    if (status == TC_OK && (!x.feed_of || !x.fed_used || !x.live))
        status = tc_compiler_exhausted();
    for (size_t i = 0; status == TC_OK && i < n_edges; i++)
        x.feed_of[i] = -1;
    if (status == TC_OK)
        status = extract(&x);
    tc_free(x.feed_of);
    tc_free(x.fed_used);
    tc_free(x.live);
    return tc_ir_end(pass, status);
}
