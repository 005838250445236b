/*
 * An operator whose kernel does what a test wants at one of its calls: y = x + 1, in between
 * cancelling, sleeping or failing. It says that it takes long enough for branches to pay.
 */
#ifndef TC_TEST_RUNTIME_PROBE_H
#define TC_TEST_RUNTIME_PROBE_H

#include <stdatomic.h>
#include <time.h>

#include <tensorc/extend.h>
#include <tensorc/tensorc.h>

typedef struct probe {
    atomic_int calls; /* of the run */
    int at;           /* the call, from 0, that acts; -1: none */
    tc_cancellation *cancel;
    int sleep_us;
    float fails; /* every call whose first input element is at least this fails; 0: none */
    atomic_int failures;
} probe;

static probe the_probe = {.at = -1};

static inline void probe_sleep(int us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

static inline tc_status probe_prepare(tc_prepare *prepare)
{
    int64_t *size = tc_prepare_params(prepare, sizeof *size);
    if (!size)
        return TC_RESOURCE_EXHAUSTED;
    *size = tc_shape_size(&prepare->outputs[0].shape);
    return TC_OK;
}

static inline tc_status probe_run(const void *params, const void *const *inputs,
                                  void *const *outputs, const tc_kernel_context *context)
{
    const float *x = inputs[0];
    float *y = outputs[0];
    (void)context;
    int call = atomic_fetch_add(&the_probe.calls, 1);
    if (call == the_probe.at) {
        tc_cancellation_cancel(the_probe.cancel);
        probe_sleep(the_probe.sleep_us);
    }
    if (the_probe.fails > 0 && x[0] >= the_probe.fails) {
        atomic_fetch_add(&the_probe.failures, 1);
        return tc_kernel_fail(TC_OUT_OF_RANGE, "the input is %g", x[0]);
    }
    for (int64_t i = 0; i < *(const int64_t *)params; i++)
        y[i] = x[i] + 1;
    return TC_OK;
}

static inline tc_status probe_infer(tc_infer *infer)
{
    infer->outputs[0].shape = infer->inputs[0].shape;
    return TC_OK;
}

static inline void probe_grad(tc_grad *grad)
{
    grad->input_gradients[0] = grad->output_gradients[0];
}

static inline void probe_cost(const tc_infer *node, tc_node_cost *cost)
{
    (void)node;
    cost->flops = 4e5;
}

static const tc_port probe_in[] = {{.name = "x", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'}};
static const tc_port probe_out[] = {{.name = "y", .dtypes = TC_DTYPE_BIT(TC_F32), .type = 'T'}};
static const tc_op probe_op = {.name = "probe",
                               .version = 1,
                               .doc = "x + 1",
                               TC_LIST(inputs, probe_in),
                               TC_LIST(outputs, probe_out),
                               .infer = probe_infer,
                               .grad = probe_grad,
                               .cost = probe_cost};
static const tc_kernel probe_kernel = {.op = "probe",
                                       .dtype = TC_F32,
                                       .symbol = "test_probe_f32",
                                       .prepare = probe_prepare,
                                       .run = probe_run};

static inline tc_value probe_at(tc_value x)
{
    return tc_node_build(NULL, &(tc_node_spec){.op = "probe", .at = TC_HERE, TC_SPEC_INPUTS(x)});
}

/**
 * Two branches of `length` probes each from x [4], each followed by an update of a variable of its
 * own (a, b), and the sum of both.
 */
typedef struct probe_graph {
    tc_registry *registry;
    tc_runtime *runtime;
    tc_graph *graph;
    tc_value x, sum, update_a, update_b;
    tc_tensor *fed;
} probe_graph;

static inline tc_value probe_chain(tc_value x, int length)
{
    for (int i = 0; i < length; i++)
        x = probe_at(x);
    return x;
}

static inline tc_status probe_graph_create(probe_graph *p, int length, int threads)
{
    *p = (probe_graph){.registry = tc_registry_create()};
    the_probe = (probe){.at = -1};
    if (!p->registry)
        return TC_RESOURCE_EXHAUSTED;
    TC_TRY(tc_registry_add_op(p->registry, &probe_op));
    TC_TRY(tc_registry_add_kernel(p->registry, &probe_kernel));
    p->graph = tc_graph_create_with(
        &(tc_graph_options){.struct_size = sizeof(tc_graph_options), .registry = p->registry});
    if (!p->graph)
        return TC_RESOURCE_EXHAUSTED;
    p->x = tc_placeholder(p->graph, "x", TC_F32, TC_SHAPE(4));
    tc_value a = tc_variable(p->graph, "a", tc_zeros(p->graph, TC_F32, TC_SHAPE(4)));
    tc_value b = tc_variable(p->graph, "b", tc_zeros(p->graph, TC_F32, TC_SHAPE(4)));
    tc_value left = probe_chain(tc_neg(p->x), length), right = probe_chain(p->x, length);
    p->sum = tc_add(left, right);
    p->update_a = tc_assign_add(a, left);
    p->update_b = tc_assign_add(b, right);
    TC_TRY(tc_tensor_create_copy(TC_F32, TC_SHAPE(4), (float[]){1, 2, 3, 4}, &p->fed));
    return tc_runtime_create(&(tc_runtime_options){.struct_size = sizeof(tc_runtime_options),
                                                   .threads = threads,
                                                   .registry = p->registry},
                             &p->runtime);
}

static inline void probe_graph_destroy(probe_graph *p)
{
    tc_tensor_release(p->fed);
    tc_graph_release(p->graph);
    tc_runtime_release(p->runtime);
    tc_registry_release(p->registry);
}

#endif
