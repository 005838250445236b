/*
 * What the compiler's tests share: a target of the library's CPU kernels that can be bent, requests
 * by values.
 */
#ifndef TC_TEST_COMPILER_H
#define TC_TEST_COMPILER_H

#include "support/test.h"

#include <tensorc/tensorc.h>

#include "compiler/pass.h"
#include "compiler/plan.h"
#include "compiler/plan_follow.h"
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
    const char *cpu_only;      /* operators without a kernel on other devices, "exp,matmul" */
    tc_dtype cpu_dtype;        /* dtype without kernels on other devices */
    const tc_kernel *override; /* taken for its operator whatever the dtype */
    int folds;
    int prepares;
} fake_target;

static inline const char *fake_device_name(const tc_target *target, int32_t device)
{
    static const char *const names[] = {"cpu", "cuda:0", "cuda:1"};
    (void)target;
    return names[device];
}

static inline tc_device_type fake_device_type(const tc_target *target, int32_t device,
                                              int32_t *index)
{
    (void)target;
    *index = device == 0 ? 0 : device - 1;
    return device == 0 ? TC_DEVICE_CPU : TC_DEVICE_CUDA;
}

static inline bool fake_is_listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == ',') && (at[length] == ',' || !at[length]))
            return true;
    return false;
}

static inline const tc_kernel *fake_find_kernel(const tc_target *target, int32_t device,
                                                const char *op, tc_dtype dtype)
{
    const fake_target *fake = (const fake_target *)target;
    if (device != 0 && ((fake->cpu_only && fake_is_listed(fake->cpu_only, op)) ||
                        (fake->cpu_dtype && dtype == fake->cpu_dtype)))
        return NULL;
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
    const tc_kernel_place place = {.threads = 1};
    tc_status status = tc_kernel_prepare(kernel, attrs, input_infos, n_inputs, output_infos,
                                         n_outputs, &place, &arena, &prepared);
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
                                    .device_type = fake_device_type,
                                    .find_kernel = fake_find_kernel,
                                    .fold = fake_fold}};
}

/** One with `count` devices, `device` the default. */
static inline fake_target fake_devices(int32_t count, int32_t device)
{
    fake_target fake = fake_target_make();
    fake.target.device_count = count;
    fake.target.default_device = device;
    return fake;
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

/** The node called `name`, which must be there. */
static inline const tc_node *named_node(const tc_program *program, const char *name)
{
    const uint64_t *index = tc_map_find_string(&program->graph->names, name);
    if (!index)
        fail_msg("there is no node '%s'", name);
    return tc_graph_node_at(program->graph, (int32_t)*index);
}

static inline const char *reason_of(const tc_program *program, const tc_node *node)
{
    return program->reasons.data[node->reason];
}

static inline const tc_node *fetch_node(const tc_program *program, int32_t fetch)
{
    return tc_graph_node_at(program->graph, program->fetches[fetch].node);
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
