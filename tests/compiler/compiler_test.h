/*
 * What the compiler's tests share: a target of the library's CPU kernels that can be bent, requests
 * by values, and a checker that follows the contents of every buffer through a plan.
 */
#ifndef TC_TEST_COMPILER_H
#define TC_TEST_COMPILER_H

#include "support/test.h"

#include <tensorc/tensorc.h>

#include "compiler/pass.h"
#include "compiler/plan.h"
#include "core/kernel.h"
#include "core/registry.h"
#include "core/shape.h"
#include "core/tensor.h"

/*
 * Target
 */
typedef struct fake_target {
    tc_target target;          /* first, so that its functions find the rest */
    const char *missing;       /* operator without a kernel */
    const tc_kernel *override; /* taken for its operator whatever the dtype */
    int folds;
    int prepares;
} fake_target;

static inline const char *fake_device_name(const tc_target *target, int32_t device)
{
    static const char *const names[] = {"cpu", "cuda:0"};
    (void)target;
    return names[device];
}

static inline const tc_kernel *fake_find_kernel(const tc_target *target, int32_t device,
                                                const char *op, tc_dtype dtype)
{
    const fake_target *fake = (const fake_target *)target;
    (void)device;
    if (fake->missing && strcmp(fake->missing, op) == 0)
        return NULL;
    if (fake->override && strcmp(fake->override->op, op) == 0)
        return fake->override;
    return tc_registry_find_kernel(NULL, op, dtype, TC_DEVICE_CPU, TC_ISA_SCALAR);
}

static inline tc_status fake_fold(const tc_target *target, const tc_attrs *attrs,
                                  tc_tensor *const *inputs, const tc_value_info *input_infos,
                                  int32_t n_inputs, const tc_value_info *output_infos,
                                  int32_t n_outputs, tc_tensor **outputs)
{
    tc_dtype dtype = tc_op_kernel_dtype(attrs->op, input_infos, n_inputs, output_infos, n_outputs);
    const tc_kernel *kernel = fake_find_kernel(target, 0, attrs->op->name, dtype);
    if (!kernel)
        return tc_fail(TC_UNIMPLEMENTED, "no kernel");
    tc_arena arena = {0};
    tc_prepared prepared;
    const void *in[16];
    void *out[16], *workspace = NULL;
    assert_true(n_inputs <= 16 && n_outputs <= 16);
    for (int32_t i = 0; i < n_outputs; i++)
        outputs[i] = NULL;
    tc_status status = tc_kernel_prepare(kernel, attrs, input_infos, n_inputs, output_infos,
                                         n_outputs, 1, &arena, &prepared);
    if (status == TC_OK && prepared.workspace_bytes &&
        !(workspace = tc_alloc_aligned(prepared.workspace_bytes, 64)))
        status = tc_fail_memory(prepared.workspace_bytes, "a workspace");
    for (int32_t i = 0; i < n_outputs && status == TC_OK; i++) {
        status = tc_tensor_create(output_infos[i].dtype, output_infos[i].shape, &outputs[i]);
        out[i] = tc_tensor_data(outputs[i]);
    }
    for (int32_t i = 0; i < n_inputs; i++)
        in[i] = tc_tensor_data(inputs[i]);
    const tc_kernel_context context = {.workspace = workspace};
    if (status == TC_OK)
        status = kernel->run(prepared.params, in, out, &context);
    for (int32_t i = 0; i < n_outputs && status != TC_OK; i++) {
        tc_tensor_release(outputs[i]);
        outputs[i] = NULL;
    }
    ((fake_target *)target)->folds += status == TC_OK;
    tc_free(workspace);
    tc_arena_free(&arena);
    return status;
}

static inline fake_target fake_target_make(void)
{
    return (fake_target){.target = {.threads = 2,
                                    .device_count = 1,
                                    .device_name = fake_device_name,
                                    .find_kernel = fake_find_kernel,
                                    .fold = fake_fold}};
}

/*
 * Requests
 */
#define TEST_EDGES 32

typedef struct test_request {
    tc_program_request request;
    tc_edge feeds[TEST_EDGES], fetches[TEST_EDGES];
    int32_t targets[TEST_EDGES];
} test_request;

/** Adds values to a zeroed request. */
static inline void request_feed(test_request *r, tc_value value)
{
    r->feeds[r->request.n_feeds++] = (tc_edge){value.node, value.output};
    r->request.feeds = r->feeds;
}

static inline void request_fetch(test_request *r, tc_value value)
{
    r->fetches[r->request.n_fetches++] = (tc_edge){value.node, value.output};
    r->request.fetches = r->fetches;
}

static inline void request_target(test_request *r, tc_value value)
{
    r->targets[r->request.n_targets++] = value.node;
    r->request.targets = r->targets;
}

static inline tc_program *compile_ok(const tc_graph *graph, const test_request *r,
                                     const fake_target *target)
{
    tc_program *program;
    test_request copy = *r; /* the arrays of a request that was copied are elsewhere */
    copy.request.feeds = copy.feeds;
    copy.request.fetches = copy.fetches;
    copy.request.targets = copy.targets;
    assert_ok(tc_program_create(graph, &copy.request, &target->target, &program));
    assert_ok(tc_graph_verify(program->graph));
    return program;
}

/** Nodes of operator `op`. */
static inline int count_nodes(const tc_graph *graph, const char *op)
{
    int count = 0;
    for (size_t i = 0; i < graph->nodes.count; i++)
        count += tc_node_is(graph->nodes.data[i], op);
    return count;
}

static inline const tc_node *fetch_node(const tc_program *program, int32_t fetch)
{
    return tc_graph_node_at(program->graph, program->fetches[fetch].node);
}

/*
 * Following contents through a plan. Every byte of every place holds the number of a value: 1 + the
 * number of the value in the program; a variable begins with the number of its node's value. Each
 * operand must hold what the program says, at the end the fetches their values and the variables
 * their last writes, and writes must not touch what the same step reads unless the operator
 * declares the pair.
 */
typedef struct content {
    int32_t *value; /* per 64 bytes, except for empty memory */
    size_t units;
} content;

typedef struct follower {
    const tc_plan *plan;
    const tc_graph *graph;
    int32_t *first, *root;
    content arena;
    int32_t *variables, *outputs;
} follower;

static inline int32_t followed_root(const follower *f, tc_edge edge)
{
    return f->root[f->first[edge.node] + edge.output];
}

static inline void fill_units(follower *f, const tc_buffer *b, int32_t value)
{
    for (size_t u = b->offset / 64; u < (b->offset + b->bytes + 63) / 64; u++) {
        assert_true(u < f->arena.units);
        f->arena.value[u] = value;
    }
}

static inline void write_buffer(follower *f, const tc_buffer *b, int32_t value)
{
    switch (b->place) {
    case TC_PLACE_ARENA: fill_units(f, b, value); break;
    case TC_PLACE_VARIABLE: f->variables[b->index] = value; break;
    case TC_PLACE_OUTPUT: f->outputs[b->index] = value; break;
    default: fail_msg("a step writes to place %d", b->place);
    }
}

static inline void expect_buffer(const follower *f, const tc_buffer *b, int32_t value)
{
    tc_edge feed;
    if (b->bytes == 0)
        return;
    switch (b->place) {
    case TC_PLACE_ARENA:
        for (size_t u = b->offset / 64; u < (b->offset + b->bytes + 63) / 64; u++)
            assert_int_equal(f->arena.value[u], value);
        break;
    case TC_PLACE_VARIABLE: assert_int_equal(f->variables[b->index], value); break;
    case TC_PLACE_OUTPUT: assert_int_equal(f->outputs[b->index], value); break;
    case TC_PLACE_FEED:
        feed = f->plan->program->feeds[b->index];
        assert_int_equal(f->first[feed.node] + feed.output, value);
        break;
    case TC_PLACE_CONSTANT: {
        const tc_node *node = NULL;
        for (size_t i = 0; i < f->graph->nodes.count; i++)
            if (f->first[i] == value)
                node = f->graph->nodes.data[i];
        assert_non_null(node);
        assert_ptr_equal(f->plan->constants[b->index], tc_attrs_tensor(&node->attrs, "tensor"));
        break;
    }
    case TC_PLACE_NONE: fail();
    }
}

static inline bool buffers_overlap(const tc_buffer *a, const tc_buffer *b)
{
    if (a->place != b->place || !a->bytes || !b->bytes)
        return false;
    if (a->place != TC_PLACE_ARENA)
        return a->index == b->index;
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

static inline bool declared_pair(const tc_node *node, int32_t input, int32_t output)
{
    const tc_op *op = node->attrs.op;
    for (int16_t i = 0; i < op->n_inplace; i++)
        if (op->inplace[i].input == input && op->inplace[i].output == output)
            return true;
    return false;
}

static inline void follow_kernel(follower *f, const tc_step *step, bool commit)
{
    const tc_plan *plan = f->plan;
    const tc_node *node = tc_graph_node_at(f->graph, step->node);
    assert_int_equal(step->n_inputs, node->n_inputs);
    assert_int_equal(step->n_outputs, node->n_outputs);
    assert_string_equal(step->kernel->op, node->attrs.op->name);
    for (int32_t k = 0; k < step->n_inputs; k++) {
        int32_t operand = plan->operands[step->first_input + k];
        uint32_t flags = tc_input_flags(node, k);
        if (node->inputs[k].node < 0 || flags & TC_PORT_SHAPE_ONLY) {
            assert_int_equal(operand, -1);
            continue;
        }
        assert_true(operand >= 0);
        expect_buffer(f, &plan->buffers[operand], followed_root(f, node->inputs[k]));
        if (commit && flags & TC_PORT_RESOURCE)
            assert_int_equal(plan->buffers[operand].place, TC_PLACE_VARIABLE);
    }
    for (int32_t k = 0; k < step->n_outputs; k++) {
        const tc_buffer *out = &plan->buffers[plan->operands[step->first_output + k]];
        for (int32_t i = 0; i < step->n_inputs; i++) {
            int32_t operand = plan->operands[step->first_input + i];
            if (operand < 0 || !buffers_overlap(out, &plan->buffers[operand]))
                continue;
            assert_true(declared_pair(node, i, k));
            assert_int_equal(out->offset, plan->buffers[operand].offset);
            assert_int_equal(out->bytes, plan->buffers[operand].bytes);
        }
        for (int32_t i = 0; i < k; i++)
            assert_false(
                buffers_overlap(out, &plan->buffers[plan->operands[step->first_output + i]]));
        if (step->workspace_bytes && out->place == TC_PLACE_ARENA)
            assert_true(out->offset >= step->workspace_offset + step->workspace_bytes ||
                        out->offset + out->bytes <= step->workspace_offset);
        if (commit)
            assert_int_equal(out->place, TC_PLACE_VARIABLE);
        else
            assert_int_not_equal(out->place, TC_PLACE_VARIABLE);
        write_buffer(f, out, f->first[step->node] + k);
    }
    if (step->workspace_bytes) {
        tc_buffer workspace = {.place = TC_PLACE_ARENA,
                               .offset = step->workspace_offset,
                               .bytes = step->workspace_bytes};
        fill_units(f, &workspace, -2);
    }
}

static inline int32_t held_value(const follower *f, const tc_buffer *b)
{
    switch (b->place) {
    case TC_PLACE_ARENA: return f->arena.value[b->offset / 64];
    case TC_PLACE_VARIABLE: return f->variables[b->index];
    case TC_PLACE_OUTPUT: return f->outputs[b->index];
    case TC_PLACE_FEED: return f->first[f->plan->program->feeds[b->index].node];
    default: break;
    }
    for (size_t i = 0; i < f->graph->nodes.count; i++) {
        const tc_node *node = f->graph->nodes.data[i];
        if (tc_node_is(node, "constant") &&
            tc_attrs_tensor(&node->attrs, "tensor") == f->plan->constants[b->index])
            return f->first[i];
    }
    return -1;
}

static inline void follow_step(follower *f, int32_t index)
{
    const tc_plan *plan = f->plan;
    const tc_step *step = &plan->steps[index];
    bool commit = index >= plan->n_compute;
    assert_int_equal(step->workspace_offset % 64, 0);
    if (step->kernel) {
        follow_kernel(f, step, commit);
        return;
    }
    const tc_buffer *from = &plan->buffers[plan->operands[step->first_input]];
    const tc_buffer *to = &plan->buffers[plan->operands[step->first_output]];
    int32_t value = held_value(f, from);
    assert_int_equal(step->copy_bytes, from->bytes);
    assert_int_equal(to->bytes, from->bytes);
    assert_false(buffers_overlap(from, to));
    if (!commit)
        assert_int_not_equal(to->place, TC_PLACE_VARIABLE);
    expect_buffer(f, from, value);
    write_buffer(f, to, value);
}

static inline int32_t *test_ints(size_t count, int32_t value)
{
    int32_t *ints = malloc((count + 1) * sizeof *ints);
    assert_non_null(ints);
    for (size_t i = 0; i <= count; i++)
        ints[i] = value;
    return ints;
}

/** Follows `plan` from its first step to its last. */
static inline void check_plan(const tc_plan *plan)
{
    const tc_graph *graph = plan->program->graph;
    follower f = {.plan = plan, .graph = graph};
    int32_t n = (int32_t)graph->nodes.count, values = 0;
    f.first = test_ints((size_t)n, 0);
    for (int32_t i = 0; i < n; i++) {
        f.first[i] = values;
        values += graph->nodes.data[i]->n_outputs;
    }
    f.root = test_ints((size_t)values, 0);
    int32_t *last_write = test_ints((size_t)n, -1), *variable_of = test_ints((size_t)values, -1);
    for (int32_t i = 0; i < n; i++) {
        const tc_node *node = graph->nodes.data[i];
        for (int32_t k = 0; k < node->n_outputs; k++)
            f.root[f.first[i] + k] = f.first[i] + k;
        if (node->attrs.op->flags & TC_OP_VIEW)
            f.root[f.first[i]] = followed_root(&f, node->inputs[0]);
        if (tc_node_is(node, "variable")) {
            variable_of[f.first[i]] = i;
            last_write[i] = f.first[i];
        }
        for (int32_t k = 0; k < node->n_inputs; k++) {
            if (!(tc_input_flags(node, k) & TC_PORT_RESOURCE))
                continue;
            int32_t v = variable_of[f.first[node->inputs[k].node] + node->inputs[k].output];
            assert_true(v >= 0);
            variable_of[f.first[i] + k] = v;
            last_write[v] = f.first[i] + k;
        }
    }
    f.arena.units = (plan->arena_bytes + 63) / 64;
    f.arena.value = test_ints(f.arena.units, -1);
    f.variables = test_ints((size_t)plan->n_variables, -1);
    f.outputs = test_ints((size_t)plan->program->n_fetches, -1);
    for (int32_t v = 0; v < plan->n_variables; v++) {
        const uint64_t *node = tc_map_find_string(&graph->names, plan->variables[v].name);
        assert_non_null(node);
        f.variables[v] = f.first[*node];
    }
    for (int32_t i = 0; i < plan->n_steps; i++)
        follow_step(&f, i);
    for (int32_t i = 0; i < plan->program->n_fetches; i++)
        if (tc_shape_size(&plan->outputs[i].shape) > 0)
            assert_int_equal(f.outputs[i], followed_root(&f, plan->program->fetches[i]));
    for (int32_t v = 0; v < plan->n_variables; v++) {
        int32_t node = (int32_t)*tc_map_find_string(&graph->names, plan->variables[v].name);
        assert_int_equal(plan->variables[v].written, last_write[node] != f.first[node]);
        if (tc_shape_size(&plan->variables[v].shape) > 0)
            assert_int_equal(f.variables[v], last_write[node]);
    }
    free(f.first);
    free(f.root);
    free(last_write);
    free(variable_of);
    free(f.arena.value);
    free(f.variables);
    free(f.outputs);
}

static inline tc_plan *plan_ok(tc_program *program, const tc_shape *shapes,
                               const fake_target *target)
{
    tc_plan *plan;
    assert_ok(tc_plan_create(program, shapes, &target->target, 0, &plan));
    check_plan(plan);
    return plan;
}

#endif
