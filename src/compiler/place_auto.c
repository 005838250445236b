/*
 * Which nodes gain from a device. Nodes on it that pass values to each other are an island; an
 * island stays when its kernels, launches and the copies round it are expected to take clearly less
 * time than the same nodes on the CPU. Tiny graphs therefore stay where they are fed.
 */
#include "compiler/placement.h"

#include "core/shape.h"
#include "core/tensor.h"
#include "ops/cost.h"

/* A GPU of a data center: microseconds, operations and bytes per microsecond. */
#define DEVICE_RUN_US       25.0 /* to start work and to hear of its end */
#define DEVICE_STEP_US      2.0
#define DEVICE_FLOPS_PER_US 20e6
#define DEVICE_BYTES_PER_US 2e6
#define COPY_US             8.0
#define COPY_BYTES_PER_US   25e3
/* A core of a server and what its memory moves for all of them. */
#define CPU_STEP_US      0.1
#define CPU_FLOPS_PER_US 100e3
#define CPU_BYTES_PER_US 25e3
#define CPU_MEMORY_CORES 4
/* How much of the time a device must save. */
#define LEAST_GAIN 0.2
/* Dimensions that only a feed tells are taken to be this. */
#define UNKNOWN_SIZE 64

typedef struct chooser {
    tc_placement_work *w;
    int32_t *island; /* union-find per node */
    double *cpu;     /* per island: time of its nodes there */
    double *device;  /* per island: time of its nodes and copies here */
    int32_t *taken;  /* per node: the last island that counted a copy of an output, -1 */
    bool *fixed;     /* per island: has nodes that somebody asked for */
} chooser;

static int32_t island_of(chooser *c, int32_t node)
{
    while (c->island[node] != node)
        node = c->island[node] = c->island[c->island[node]];
    return node;
}

static void join(chooser *c, int32_t a, int32_t b)
{
    a = island_of(c, a);
    b = island_of(c, b);
    c->island[a > b ? a : b] = a > b ? b : a;
}

static bool is_inside(const chooser *c, int32_t node)
{
    return c->w->nodes[node]->device == 1;
}

static bool is_fixed_source(const tc_node *node)
{
    return tc_node_is(node, "constant");
}

static void find_islands(chooser *c)
{
    tc_placement_work *w = c->w;
    for (int32_t i = 0; i < w->count; i++) {
        c->island[i] = i;
        c->taken[i] = -1;
    }
    for (int32_t i = 0; i < w->count; i++) {
        const tc_node *node = w->nodes[i];
        if (!is_inside(c, i))
            continue;
        join(c, i, tc_placement_owner(w, i));
        for (int32_t k = 0; k < node->n_inputs; k++)
            if (tc_node_reads(node, k) && is_inside(c, w->root[node->inputs[k].node]))
                join(c, i, w->root[node->inputs[k].node]);
    }
}

static void guess_sizes(tc_value_info *info)
{
    for (int32_t d = 0; d < info->shape.rank; d++)
        if (!tc_dim_is_known(info->shape.dims[d]))
            info->shape.dims[d].size = UNKNOWN_SIZE;
}

static double copy_time(const tc_value_info *info)
{
    tc_value_info known = *info;
    guess_sizes(&known);
    double elements = tc_cost_elements(&known);
    return COPY_US + elements * tc_dtype_bits(known.dtype) / 8 / COPY_BYTES_PER_US;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static tc_status add_node(chooser *c, const tc_node *node)
{
    tc_placement_work *w = c->w;
    int32_t island = island_of(c, node->index), threads = w->pass->target->threads;
    if (tc_node_is_source(node) || tc_node_is_view(node))
        return TC_OK;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        w->infos[k] = (tc_value_info){0};
        if (node->inputs[k].node < 0)
            continue;
        w->infos[k] = *tc_edge_info(w->pass->graph, node->inputs[k]);
        guess_sizes(&w->infos[k]);
    }
    tc_value_info *outputs =
        tc_arena_memdup(&w->arena, node->outputs, (size_t)node->n_outputs * sizeof *outputs);
    if (!outputs)
        return tc_compiler_exhausted();
    for (int32_t k = 0; k < node->n_outputs; k++)
        guess_sizes(&outputs[k]);
    const tc_infer work = {.attrs = &node->attrs,
                           .inputs = w->infos,
                           .outputs = outputs,
                           .n_inputs = node->n_inputs,
                           .n_outputs = node->n_outputs};
    tc_node_cost cost;
    tc_op_cost(&work, &cost);
    double cores = threads, memory = threads < CPU_MEMORY_CORES ? threads : CPU_MEMORY_CORES;
    c->cpu[island] += CPU_STEP_US + larger(cost.flops / (CPU_FLOPS_PER_US * cores),
                                           cost.bytes / (CPU_BYTES_PER_US * memory));
    c->device[island] +=
        DEVICE_STEP_US + larger(cost.flops / DEVICE_FLOPS_PER_US, cost.bytes / DEVICE_BYTES_PER_US);
    return TC_OK;
}

/* Copies into the island of an inner node and out of the islands of what an outer one reads. */
static void add_copies(chooser *c, const tc_node *node)
{
    tc_placement_work *w = c->w;
    bool inside = is_inside(c, node->index);
    for (int32_t k = 0; k < node->n_inputs && !tc_node_is_view(node); k++) {
        if (!tc_node_reads(node, k))
            continue;
        int32_t from = w->root[node->inputs[k].node];
        if (is_inside(c, from) == inside || is_fixed_source(w->nodes[from]))
            continue;
        int32_t island = island_of(c, inside ? node->index : from);
        if (c->taken[from] == island)
            continue;
        c->taken[from] = island;
        c->device[island] += copy_time(tc_edge_info(w->pass->graph, node->inputs[k]));
    }
}

static tc_status measure(chooser *c)
{
    tc_placement_work *w = c->w;
    const tc_program *program = w->pass->program;
    for (int32_t i = 0; i < w->count; i++) {
        const tc_node *node = w->nodes[i];
        add_copies(c, node);
        if (!is_inside(c, i))
            continue;
        TC_TRY(add_node(c, node));
        bool view = tc_node_is_view(node), source = tc_node_is_source(node);
        if (!w->free[i] && !view && !source)
            c->fixed[island_of(c, i)] = true;
    }
    for (int32_t i = 0; i < program->n_fetches; i++) {
        int32_t from = w->root[program->fetches[i].node];
        if (is_inside(c, from))
            c->device[island_of(c, from)] +=
                copy_time(tc_edge_info(w->pass->graph, program->fetches[i]));
    }
    return TC_OK;
}

tc_status tc_placement_choose(tc_placement_work *w)
{
    size_t count = (size_t)w->count;
    chooser c = {w,
                 tc_arena_array(&w->arena, count, sizeof *c.island),
                 tc_arena_array(&w->arena, count, sizeof *c.cpu),
                 tc_arena_array(&w->arena, count, sizeof *c.device),
                 tc_arena_array(&w->arena, count, sizeof *c.taken),
                 tc_arena_array(&w->arena, count, sizeof *c.fixed)};
    if (!c.island || !c.cpu || !c.device || !c.taken || !c.fixed)
        return tc_compiler_exhausted();
    find_islands(&c);
    TC_TRY(measure(&c));
    for (int32_t i = 0; i < w->count; i++) {
        int32_t island = island_of(&c, i);
        if (!is_inside(&c, i) || !w->free[i] || c.fixed[island] ||
            c.device[island] + DEVICE_RUN_US < (1 - LEAST_GAIN) * c.cpu[island])
            continue;
        TC_TRY(tc_placement_put(w->pass, w->nodes[i], 0, "expected to be quicker here"));
    }
    return TC_OK;
}
