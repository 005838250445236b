/* See stages.h. Nodes get levels first, then each stage collects what it needs, the last one first.
 */
#include "compiler/stages.h"

#include <string.h>

#include "compiler/pass.h"
#include "core/shape.h"

/* How a node is needed in the stage being collected. */
enum { BY_SHAPE = 1, BY_CONTENT = 2 };

/* Lists of one stage in the making. */
typedef struct draft {
    TC_VECTOR(tc_edge) feeds;
    TC_VECTOR(tc_stage_feed) from;
    TC_VECTOR(tc_edge) fetches;
    TC_VECTOR(tc_stage_fetch) to;
    TC_VECTOR(int32_t) targets;
} draft;

typedef struct visit {
    int32_t node;
    int how;
} visit;

typedef struct cutter {
    const tc_program *whole;
    const tc_graph *graph;
    tc_arena scratch;
    int32_t n_nodes;
    int32_t *level;    /* stage of each node */
    int32_t *first;    /* output k of node n is value first[n] + k */
    int32_t *fetch_of; /* per value: its fetch in its stage, -1 */
    int32_t *fed_in;  /* per value: the last stage (counted from the end) that is fed with it, -1 */
    int32_t *feed_of; /* per node, a placeholder: the feed of the whole request */
    int32_t *seen_in; /* per node: the last stage that visited it */
    char *seen;       /* how */
    TC_VECTOR(visit) stack;
    draft *drafts;
    int32_t count; /* of stages */
    int32_t stage; /* being collected */
} cutter;

/* True for a node whose shapes only its kernel knows. Where every dimension is known, or has the
 * name of one that a feed tells, planning finds the shape without it. */
static bool has_bound(const tc_node *node)
{
    if (!node->attrs.op->bound)
        return false;
    for (int32_t i = 0; i < node->n_outputs; i++)
        for (int32_t d = 0; d < node->outputs[i].shape.rank; d++)
            if (!tc_dim_is_known(node->outputs[i].shape.dims[d]) &&
                !node->outputs[i].shape.dims[d].name)
                return true;
    return false;
}

static bool acts(const tc_node *node)
{
    return tc_node_writes(node) || tc_node_reaches_outside(node);
}

bool tc_graph_is_dynamic(const tc_graph *graph)
{
    for (size_t i = 0; i < graph->nodes.count; i++)
        if (has_bound(graph->nodes.data[i]))
            return true;
    for (size_t i = 0; i < graph->functions.count; i++)
        if (tc_graph_is_dynamic(graph->functions.data[i]))
            return true;
    return false;
}

/*
 * The whole request as a graph
 */
static tc_status extract(tc_pass_context *pass)
{
    const tc_program_request *r = pass->request;
    tc_program *p = pass->program;
    p->n_feeds = r->n_feeds;
    p->n_fetches = r->n_fetches;
    p->n_targets = r->n_targets;
    p->feeds = tc_arena_memdup(&p->arena, r->feeds, (size_t)r->n_feeds * sizeof *r->feeds);
    p->fetches = tc_arena_memdup(&p->arena, r->fetches, (size_t)r->n_fetches * sizeof *r->fetches);
    p->targets = tc_arena_memdup(&p->arena, r->targets, (size_t)r->n_targets * sizeof *r->targets);
    if (!p->feeds || !p->fetches || !p->targets)
        return tc_compiler_exhausted();
    TC_TRY(tc_pass_extract(pass));
    TC_TRY(tc_ir_prune(pass));
    TC_TRY(tc_pass_inline_calls(pass));
    return tc_ir_prune(pass);
}

static tc_status create_whole(const tc_graph *graph, const tc_program_request *request,
                              const tc_target *target, tc_program **out)
{
    tc_program *program = tc_alloc_zero(1, sizeof *program);
    if (!program)
        return tc_compiler_exhausted();
    atomic_init(&program->references, 1);
    const tc_graph_options options = {sizeof options, graph->registry, graph->seed};
    program->graph = tc_graph_create_with(&options);
    program->source = tc_graph_retain((tc_graph *)graph);
    tc_pass_context pass = {.source = graph,
                            .request = request,
                            .target = target,
                            .program = program,
                            .graph = program->graph};
    tc_status status = program->graph ? TC_OK : TC_RESOURCE_EXHAUSTED;
    if (status == TC_OK) {
        program->graph->parent = (tc_graph *)graph;
        status = extract(&pass);
        program->graph->parent = NULL;
        program->graph->origin = graph;
    }
    if (status != TC_OK) {
        tc_program_release(program);
        return status;
    }
    *out = program;
    return TC_OK;
}

/*
 * Levels
 */
static int32_t level_after_inputs(const cutter *c, const tc_node *node)
{
    int32_t level = 0;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        int32_t input = node->inputs[k].node;
        if (input < 0)
            continue;
        int32_t after = c->level[input] + has_bound(tc_graph_node_at(c->graph, input));
        level = after > level ? after : level;
    }
    for (int32_t k = 0; k < node->n_controls; k++)
        if (c->level[node->controls[k]] > level)
            level = c->level[node->controls[k]];
    return level;
}

/* Gives levels with writes at `writes` or later; what reaches outside follows what did before. */
static int32_t give_levels(cutter *c, int32_t writes)
{
    int32_t last = 0, outside = 0;
    for (int32_t i = 0; i < c->n_nodes; i++) {
        const tc_node *node = tc_graph_node_at(c->graph, i);
        int32_t level = level_after_inputs(c, node);
        if (tc_node_writes(node) && level < writes)
            level = writes;
        if (tc_node_reaches_outside(node)) {
            level = level > outside ? level : outside;
            outside = level;
        }
        c->level[i] = level;
        last = level > last ? level : last;
    }
    return last;
}

static tc_status find_levels(cutter *c)
{
    int32_t last = give_levels(c, 0);
    c->count = last + 1;
    if (give_levels(c, last) == last)
        return TC_OK;
    for (int32_t i = 0; i < c->n_nodes; i++) {
        const tc_node *node = tc_graph_node_at(c->graph, i);
        char where[512];
        if (has_bound(node) && c->level[i] >= last)
            return tc_fail(TC_UNIMPLEMENTED,
                           "%s: its shape must be known after an update of the same run, on which "
                           "it depends; make the update a run of its own",
                           tc_node_describe(node, where, sizeof where));
    }
    return tc_fail(TC_INTERNAL, "stages of the run cannot be ordered");
}

/*
 * Collecting
 */
static tc_status exhausted_unless(bool pushed)
{
    return pushed ? TC_OK : tc_compiler_exhausted();
}

static tc_status add_target(cutter *c, int32_t node)
{
    draft *d = &c->drafts[c->level[node]];
    return exhausted_unless(tc_vector_push(&d->targets, node));
}

/* Fetches `edge` in the stage that computes it; `user` -1: for a later stage. */
static tc_status add_fetch(cutter *c, tc_edge edge, int32_t user)
{
    draft *d = &c->drafts[c->level[edge.node]];
    int32_t *fetch = &c->fetch_of[c->first[edge.node] + edge.output];
    if (user < 0 && *fetch >= 0) {
        d->to.data[*fetch].passed = true;
        return TC_OK;
    }
    const tc_stage_fetch to = {user, user < 0};
    if (*fetch < 0)
        *fetch = (int32_t)d->fetches.count;
    TC_TRY(exhausted_unless(tc_vector_push(&d->fetches, edge)));
    return exhausted_unless(tc_vector_push(&d->to, to));
}

static tc_status add_feed(cutter *c, tc_edge edge, int32_t user)
{
    draft *d = &c->drafts[c->stage];
    int32_t value = c->first[edge.node] + edge.output, level = c->level[edge.node];
    if (c->fed_in[value] == c->stage)
        return TC_OK;
    c->fed_in[value] = c->stage;
    if (user < 0)
        TC_TRY(add_fetch(c, edge, -1));
    const tc_stage_feed from = {user, level, c->fetch_of[value]};
    TC_TRY(exhausted_unless(tc_vector_push(&d->feeds, edge)));
    return exhausted_unless(tc_vector_push(&d->from, from));
}

static tc_status push_visit(cutter *c, int32_t node, int how)
{
    if (c->seen_in[node] == c->stage && c->seen[node] >= how)
        return TC_OK;
    c->seen_in[node] = c->stage;
    c->seen[node] = (char)how;
    const visit next = {node, how};
    return exhausted_unless(tc_vector_push(&c->stack, next));
}

/* Sources, and views of them by nothing but attributes, are as good in any stage. */
static bool is_everywhere(const cutter *c, const tc_node *node)
{
    while (node->attrs.op->flags & TC_OP_VIEW && node->n_inputs == 1 && node->n_controls == 0 &&
           !node->attrs.op->effects)
        node = tc_graph_node_at(c->graph, node->inputs[0].node);
    return tc_node_is_identity(node) || tc_node_is(node, "constant");
}

static tc_status need(cutter *c, tc_edge edge, int how)
{
    const tc_node *node = tc_graph_node_at(c->graph, edge.node);
    if (c->feed_of[edge.node] >= 0)
        return add_feed(c, edge, c->feed_of[edge.node]);
    if (c->level[edge.node] == c->stage || is_everywhere(c, node))
        return push_visit(c, edge.node, how);
    if (how == BY_CONTENT || has_bound(node) || acts(node) || node->n_controls > 0)
        return add_feed(c, edge, -1);
    return push_visit(c, edge.node, how);
}

static tc_status visit_node(cutter *c, visit v)
{
    const tc_node *node = tc_graph_node_at(c->graph, v.node);
    for (int32_t k = 0; k < node->n_inputs; k++) {
        uint32_t flags = tc_input_flags(node, k);
        if (node->inputs[k].node >= 0 && !(flags & TC_PORT_INITIAL))
            TC_TRY(need(c, node->inputs[k], flags & TC_PORT_SHAPE_ONLY ? BY_SHAPE : v.how));
    }
    for (int32_t k = 0; k < node->n_controls; k++)
        TC_TRY(push_visit(c, node->controls[k], BY_CONTENT));
    return TC_OK;
}

static tc_status collect_stage(cutter *c)
{
    draft *d = &c->drafts[c->stage];
    for (size_t i = 0; i < d->fetches.count; i++)
        TC_TRY(need(c, d->fetches.data[i], BY_CONTENT));
    for (size_t i = 0; i < d->targets.count; i++)
        TC_TRY(push_visit(c, d->targets.data[i], BY_CONTENT));
    while (c->stack.count > 0)
        TC_TRY(visit_node(c, c->stack.data[--c->stack.count]));
    return TC_OK;
}

/* Dependencies on earlier stages hold by themselves; what was depended on must still run. */
static tc_status drop_controls(cutter *c)
{
    for (int32_t i = 0; i < c->n_nodes; i++) {
        tc_node *node = c->graph->nodes.data[i];
        int32_t kept = 0;
        if (acts(node))
            TC_TRY(add_target(c, i));
        for (int32_t k = 0; k < node->n_controls; k++) {
            int32_t control = node->controls[k];
            if (c->level[control] == c->level[i])
                node->controls[kept++] = control;
            else
                TC_TRY(add_target(c, control));
        }
        node->n_controls = kept;
    }
    return TC_OK;
}

static int32_t *indexes(cutter *c, int32_t count)
{
    int32_t *array = tc_arena_array(&c->scratch, (size_t)count + 1, sizeof *array);
    for (int32_t i = 0; array && i <= count; i++)
        array[i] = -1;
    return array;
}

static tc_status allocate(cutter *c)
{
    int64_t values = 0;
    c->n_nodes = (int32_t)c->graph->nodes.count;
    c->first = indexes(c, c->n_nodes);
    for (int32_t i = 0; c->first && i < c->n_nodes; i++) {
        c->first[i] = (int32_t)values;
        values += tc_graph_node_at(c->graph, i)->n_outputs;
    }
    if (values > INT32_MAX - 1)
        return tc_compiler_exhausted();
    c->level = indexes(c, c->n_nodes);
    c->feed_of = indexes(c, c->n_nodes);
    c->seen_in = indexes(c, c->n_nodes);
    c->seen = tc_arena_array(&c->scratch, (size_t)c->n_nodes, 1);
    c->fetch_of = indexes(c, (int32_t)values);
    c->fed_in = indexes(c, (int32_t)values);
    if (!c->first || !c->level || !c->feed_of || !c->seen_in || !c->seen || !c->fetch_of ||
        !c->fed_in)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < c->whole->n_feeds; i++)
        if (c->whole->feeds[i].node >= 0)
            c->feed_of[c->whole->feeds[i].node] = i;
    return TC_OK;
}

static tc_status collect(cutter *c)
{
    const tc_program *whole = c->whole;
    c->drafts = tc_arena_array(&c->scratch, (size_t)c->count, sizeof *c->drafts);
    if (!c->drafts)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < whole->n_fetches; i++)
        TC_TRY(add_fetch(c, whole->fetches[i], i));
    for (int32_t i = 0; i < whole->n_targets; i++)
        TC_TRY(add_target(c, whole->targets[i]));
    TC_TRY(drop_controls(c));
    for (c->stage = c->count - 1; c->stage >= 0; c->stage--)
        TC_TRY(collect_stage(c));
    return TC_OK;
}

static tc_status write_stages(cutter *c, tc_arena *arena, tc_stages *out)
{
    out->list = tc_arena_array(arena, (size_t)c->count, sizeof *out->list);
    if (!out->list)
        return tc_compiler_exhausted();
    for (int32_t i = 0; i < c->count; i++) {
        const draft *d = &c->drafts[i];
        tc_stage *s = &out->list[i];
#define COPY(list) \
    ((s->list = tc_arena_memdup(arena, d->list.data, d->list.count * sizeof *d->list.data)) != NULL)
        if (!COPY(feeds) || !COPY(from) || !COPY(fetches) || !COPY(to) || !COPY(targets))
            return tc_compiler_exhausted();
#undef COPY
        s->n_feeds = (int32_t)d->feeds.count;
        s->n_fetches = (int32_t)d->fetches.count;
        s->n_targets = (int32_t)d->targets.count;
    }
    out->count = c->count;
    return TC_OK;
}

static tc_status cut(cutter *c, tc_arena *arena, tc_stages *out)
{
    TC_TRY(allocate(c));
    TC_TRY(find_levels(c));
    TC_TRY(collect(c));
    return write_stages(c, arena, out);
}

static void free_cutter(cutter *c)
{
    for (int32_t i = 0; c->drafts && i < c->count; i++) {
        tc_vector_free(&c->drafts[i].feeds);
        tc_vector_free(&c->drafts[i].from);
        tc_vector_free(&c->drafts[i].fetches);
        tc_vector_free(&c->drafts[i].to);
        tc_vector_free(&c->drafts[i].targets);
    }
    tc_vector_free(&c->stack);
    tc_arena_free(&c->scratch);
}

tc_status tc_stages_create(const tc_graph *graph, const tc_program_request *request,
                           const tc_target *target, tc_arena *arena, tc_stages *out)
{
    *out = (tc_stages){0};
    if (!tc_graph_is_dynamic(graph))
        return TC_OK;
    tc_program *whole = NULL;
    TC_TRY(create_whole(graph, request, target, &whole));
    if (!tc_graph_is_dynamic(whole->graph)) {
        tc_program_release(whole);
        return TC_OK;
    }
    cutter c = {.whole = whole, .graph = whole->graph};
    for (size_t i = 0; i < whole->graph->nodes.count; i++)
        if (whole->graph->nodes.data[i]->attrs.op->effects & TC_EFFECT_WRITE)
            whole->writes = true;
    tc_status status = cut(&c, arena, out);
    free_cutter(&c);
    if (status != TC_OK) {
        tc_program_release(whole);
        return status;
    }
    out->whole = whole;
    out->mode = request->mode;
    if (out->mode == TC_MODE_AUTO)
        out->mode = whole->writes ? TC_MODE_TRAINING : TC_MODE_INFERENCE;
    return TC_OK;
}
