/* Running the kernel of one node directly, on a chosen instruction set and number of threads. */
#ifndef TC_TESTS_KERNELS_NODE_RUN_H
#define TC_TESTS_KERNELS_NODE_RUN_H

#include "support/test.h"

#include "base/cpu.h"
#include "base/threads.h"
#include "core/kernel.h"
#include "core/registry.h"
#include "graph/graph.h"

typedef struct node_run {
    tc_isa isa;
    int threads; /* 0: the caller alone, without a pool */
    uint64_t seed, step, loop_index;
} node_run;

/** Computes the node of `value`; `inputs` and `outputs` are the buffers of its inputs and outputs.
 */
static inline void node_compute(tc_value value, const node_run *how, const void *const *inputs,
                                void *const *outputs)
{
    if (!tc_value_ok(value))
        fail_msg("%s", tc_graph_error(value.graph));
    const tc_graph *graph = value.graph;
    const tc_node *node = tc_graph_node_at(graph, value.node);
    tc_value_info infos[8] = {{.dtype = TC_DTYPE_INVALID}};
    assert_in_range(node->n_inputs, 0, 8);
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (node->inputs[i].node >= 0)
            infos[i] = *tc_edge_info(graph, node->inputs[i]);
    const tc_op *op = node->attrs.op;
    tc_dtype dtype = tc_op_kernel_dtype(op, infos, node->n_inputs, node->outputs, node->n_outputs);
    const tc_kernel *kernel =
        tc_registry_find_kernel(NULL, op->name, dtype, TC_DEVICE_CPU, how->isa);
    if (!kernel)
        fail_msg("no kernel of %s for %s", op->name, tc_dtype_name(dtype));
    tc_arena arena = {0};
    tc_prepared prepared;
    const tc_kernel_place place = {.threads = how->threads ? how->threads : 1};
    assert_ok(tc_kernel_prepare(kernel, &node->attrs, infos, node->n_inputs, node->outputs,
                                node->n_outputs, &place, &arena, &prepared));
    void *workspace = tc_alloc_aligned(prepared.workspace_bytes + 64, 64);
    assert_non_null(workspace);
    tc_pool *pool = NULL;
    if (how->threads)
        assert_ok(tc_pool_create(how->threads, &pool));
    const tc_kernel_context context = {.workspace = workspace,
                                       .seed = how->seed,
                                       .step = how->step,
                                       .loop_index = how->loop_index,
                                       .pool = pool};
    assert_ok(kernel->run(prepared.params, inputs, outputs, &context));
    if (pool)
        tc_pool_destroy(pool);
    tc_free(workspace);
    tc_arena_free(&arena);
}

/** Calls `function` for every instruction set of this machine. */
#define FOR_EACH_ISA(isa)                                       \
    for (tc_isa isa = TC_ISA_SCALAR; isa < TC_ISA_COUNT; isa++) \
        if (tc_cpu_supports(isa))

#endif
