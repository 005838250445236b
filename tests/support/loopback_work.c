/* What the loopback backend does with queues, recordings and kernels. */
#include "support/loopback_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/kernel.h"
#include "core/kernel_table.h"
#include "core/registry.h"

enum { MOST_LANES = 16 };

/* The device that the thread has selected; what is selected between two resets of the backend. */
static _Thread_local struct selection {
    int32_t device;
    int64_t reset;
} selected;

/*
 * Work. All pointers are real ones by now.
 */
typedef struct command {
    struct command *next;
    enum { RUN_KERNEL, RUN_COPY, RUN_ORDER, RUN_RECORDING } kind;
    /* of a kernel */
    const struct launch *launch;
    tc_kernel_context context;
    tc_run_state *state; /* of a copy too; NULL: whatever happened */
    const void **inputs;
    void **outputs;
    /* of a copy */
    void *to;
    const void *from;
    size_t bytes;
    /* of the others */
    tc_queue *earlier;
    uint64_t until;
    tc_recording *recording;
} command;

struct tc_recording {
    command *first, **end;
    tc_queue *queues[MOST_LANES]; /* that record: the one it was begun for, and those tied to it */
    int32_t n_queues;
};

struct tc_queue {
    tc_backend *backend;
    int32_t device;
    command *first, **end;
    uint64_t given, done;
    tc_recording *recording; /* NULL: it does not */
    bool tied;               /* nothing that it has recorded is without somebody to wait for it */
    pthread_mutex_t lock;
};

/* What a kernel of ours has as parameters: the CPU's kernel and, behind this, its parameters. */
typedef struct launch {
    const tc_kernel *kernel;
    int32_t n_inputs, n_outputs;
    bool writes;
    bool has_params;
    _Alignas(16) char params[];
} launch;

static void raise_fault(tc_run_state *state, int32_t place)
{
    if (state->fault.place != 0)
        return;
    pthread_mutex_lock(&loop.lock);
    int32_t at = loop.n_faults++ % LOOP_MOST_FAULTS;
    snprintf(loop.faults[at], sizeof loop.faults[at], "%s", tc_error_message());
    pthread_mutex_unlock(&loop.lock);
    state->fault = (tc_fault){.place = place, .code = (int32_t)tc_error_take(NULL, 0)};
    state->fault.values[0] = at;
}

static tc_status loop_fault(const void *params, const tc_fault *fault)
{
    char text[256];
    (void)params;
    pthread_mutex_lock(&loop.lock);
    memcpy(text, loop.faults[fault->values[0]], sizeof text);
    pthread_mutex_unlock(&loop.lock);
    return loop_fail((tc_status)fault->code, "%s", text);
}

static void run_until(tc_queue *queue, uint64_t until);

static void run_command(const command *c)
{
    if (c->kind == RUN_ORDER) {
        run_until(c->earlier, c->until);
    } else if (c->kind == RUN_RECORDING) {
        for (const command *at = c->recording->first; at; at = at->next)
            run_command(at);
    } else if (c->kind == RUN_COPY) {
        if (c->bytes > 0 && !(c->state && c->state->fault.place != 0))
            memmove(c->to, c->from, c->bytes);
    } else if (!(c->launch->writes && c->state->fault.place != 0)) {
        tc_kernel_context context = c->context;
        context.seed = c->state->seed;
        context.step = c->state->step;
        context.loop_index = c->state->loop_index;
        const void *params = c->launch->has_params ? c->launch->params : NULL;
        if (c->launch->kernel->run(params, c->inputs, c->outputs, &context) != TC_OK)
            raise_fault(c->state, context.place);
    }
}

static void free_command(command *c)
{
    free(c->inputs);
    free(c->outputs);
    free(c);
}

static void run_until(tc_queue *queue, uint64_t until)
{
    pthread_mutex_lock(&queue->lock);
    while (queue->done < until && queue->first) {
        command *c = queue->first;
        queue->first = c->next;
        if (!queue->first)
            queue->end = &queue->first;
        queue->done++;
        pthread_mutex_unlock(&queue->lock);
        run_command(c);
        free_command(c);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
}

/* Gives `c`, which is on the caller's stack, to the queue. */
static tc_status give(tc_queue *queue, const command *c)
{
    if (!queue->recording && !loop.options.deferred) {
        run_command(c);
        free(c->inputs);
        free(c->outputs);
        return TC_OK;
    }
    command *kept = malloc(sizeof *kept);
    if (!kept)
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    *kept = *c;
    kept->next = NULL;
    pthread_mutex_lock(&queue->lock);
    command ***end = queue->recording ? &queue->recording->end : &queue->end;
    **end = kept;
    *end = &kept->next;
    queue->given += !queue->recording;
    pthread_mutex_unlock(&queue->lock);
    queue->tied = false;
    return TC_OK;
}

static tc_status check_lost(int32_t device)
{
    if (!atomic_load(&loop.lost[device]))
        return TC_OK;
    return loop_fail(TC_UNAVAILABLE, "loop:%d is lost", device);
}

static tc_status loop_queue_create(tc_backend *backend, int32_t device, tc_queue **out)
{
    *out = NULL;
    tc_queue *queue = loop_fails(LOOPBACK_QUEUE) ? NULL : calloc(1, sizeof *queue);
    if (!queue)
        return loop_fail(TC_RESOURCE_EXHAUSTED, "loop:%d: no queue is left", device);
    queue->backend = backend;
    queue->device = device;
    queue->end = &queue->first;
    pthread_mutex_init(&queue->lock, NULL);
    atomic_fetch_add(&loop.objects, 1);
    *out = queue;
    return TC_OK;
}

static void loop_queue_destroy(tc_queue *queue)
{
    if (queue->recording)
        loop_violate("a queue is destroyed that records");
    run_until(queue, UINT64_MAX);
    pthread_mutex_destroy(&queue->lock);
    free(queue);
    atomic_fetch_sub(&loop.objects, 1);
}

static tc_status copy(tc_queue *queue, command *c, void *to, int32_t to_device, const void *from,
                      int32_t from_device, size_t bytes)
{
    if (loop_fails(LOOPBACK_COPY))
        return loop_fail(TC_INTERNAL, "loop:%d: the copy fails", queue->device);
    TC_TRY(check_lost(queue->device));
    bool pinned = queue->recording != NULL;
    if (to_device != queue->device && from_device != queue->device)
        loop_violate("a copy is given to a queue of neither device");
    c->kind = RUN_COPY;
    c->to = loop_real(to, to_device, bytes, pinned);
    c->from = loop_real(from, from_device, bytes, pinned);
    c->bytes = c->to && c->from ? bytes : 0;
    return give(queue, c);
}

static tc_status loop_copy(tc_queue *queue, void *to, int32_t to_device, const void *from,
                           int32_t from_device, size_t bytes)
{
    command c = {.kind = RUN_COPY};
    return copy(queue, &c, to, to_device, from, from_device, bytes);
}

static tc_status loop_copy_unless_fault(tc_queue *queue, void *to, const void *from, size_t bytes,
                                        const tc_run_state *state)
{
    command c = {.state = loop_real(state, queue->device, sizeof *state, false)};
    if (!c.state)
        return TC_OK;
    return copy(queue, &c, to, queue->device, from, queue->device, bytes);
}

static tc_status loop_order(tc_queue *later, tc_queue *earlier)
{
    if (loop_fails(LOOPBACK_ORDER))
        return loop_fail(TC_INTERNAL, "loop:%d: the order fails", later->device);
    if (earlier->recording && !later->recording) {
        tc_recording *recording = earlier->recording;
        if (later->first)
            loop_violate("a queue with work under way is tied to one that records");
        if (recording->n_queues == MOST_LANES)
            return loop_fail(TC_INTERNAL, "loop: too many queues record together");
        recording->queues[recording->n_queues++] = later;
        later->recording = recording;
        later->tied = true;
        return TC_OK;
    }
    if (earlier->recording) {
        earlier->tied = true;
        return TC_OK; /* recordings run in the order in which they were given their work */
    }
    if (later->recording)
        loop_violate("a queue that records is to wait for one that does not");
    command c = {.kind = RUN_ORDER, .earlier = earlier, .until = earlier->given};
    return give(later, &c);
}

static tc_status loop_wait(tc_queue *queue)
{
    if (queue->recording)
        loop_violate("a queue that records is waited for");
    bool now = loop_fails(LOOPBACK_WAIT);
    run_until(queue, UINT64_MAX);
    TC_TRY(check_lost(queue->device));
    if (!now)
        return TC_OK;
    atomic_store(&loop.lost[queue->device], true);
    return loop_fail(TC_INTERNAL, "loop:%d: the work fails", queue->device);
}

/*
 * Recordings
 */
static void loop_recording_destroy(tc_backend *backend, tc_recording *recording)
{
    (void)backend;
    while (recording->first) {
        command *c = recording->first;
        recording->first = c->next;
        free_command(c);
    }
    free(recording);
    atomic_fetch_sub(&loop.objects, 1);
}

static tc_status loop_select(tc_queue *queue)
{
    selected = (struct selection){queue->device, loop.resets};
    return TC_OK;
}

static tc_status loop_record_begin(tc_queue *queue)
{
    if (loop.options.no_recordings)
        return loop_fail(TC_UNIMPLEMENTED, "loop: it records nothing");
    if (loop_fails(LOOPBACK_RECORD))
        return loop_fail(TC_INTERNAL, "loop:%d: recording does not begin", queue->device);
    if (queue->recording)
        loop_violate("a queue records twice");
    tc_recording *recording = calloc(1, sizeof *recording);
    if (!recording)
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    recording->end = &recording->first;
    recording->queues[recording->n_queues++] = queue;
    queue->recording = recording;
    atomic_fetch_add(&loop.objects, 1);
    return TC_OK;
}

static tc_status loop_record_end(tc_queue *queue, tc_recording **out)
{
    tc_recording *recording = queue->recording;
    bool tied = true;
    *out = NULL;
    if (!recording || recording->queues[0] != queue) {
        loop_violate("a recording ends that was not begun");
        return loop_fail(TC_INTERNAL, "loop: it records nothing");
    }
    for (int32_t i = 0; i < recording->n_queues; i++) {
        tied = tied && (i == 0 || recording->queues[i]->tied);
        recording->queues[i]->recording = NULL;
    }
    if (loop_fails(LOOPBACK_RECORD) || !tied) {
        loop_recording_destroy(queue->backend, recording);
        return loop_fail(TC_INTERNAL, "loop:%d: the recording fails%s", queue->device,
                         tied ? "" : ", a queue was not tied back");
    }
    *out = recording;
    return TC_OK;
}

static tc_status loop_replay(tc_queue *queue, tc_recording *recording)
{
    if (loop_fails(LOOPBACK_REPLAY))
        return loop_fail(TC_INTERNAL, "loop:%d: the recording does not run", queue->device);
    TC_TRY(check_lost(queue->device));
    if (queue->recording)
        loop_violate("a recording runs in a queue that records");
    command c = {.kind = RUN_RECORDING, .recording = recording};
    return give(queue, &c);
}

/*
 * Kernels
 */
static const tc_kernel *cpu_kernel(const tc_op *op, tc_dtype dtype)
{
    return tc_registry_find_kernel(NULL, op->name, dtype, TC_DEVICE_CPU, loop.isa);
}

static tc_status loop_prepare(tc_prepare *prepare)
{
    const tc_op *op = prepare->attrs->op;
    const tc_kernel *kernel =
        cpu_kernel(op, tc_op_kernel_dtype(op, prepare->inputs, prepare->n_inputs, prepare->outputs,
                                          prepare->n_outputs));
    tc_arena arena = {0};
    tc_prepared prepared;
    tc_status status = tc_kernel_prepare(kernel, prepare->attrs, prepare->inputs, prepare->n_inputs,
                                         prepare->outputs, prepare->n_outputs,
                                         &(tc_kernel_place){.threads = 1}, &arena, &prepared);
    launch *l = status == TC_OK
                    ? loop.host->prepare_params(prepare, sizeof *l + prepared.params_bytes)
                    : NULL;
    if (l) {
        *l = (launch){.kernel = kernel,
                      .n_inputs = prepare->n_inputs,
                      .n_outputs = prepare->n_outputs,
                      .writes = op->effects & TC_EFFECT_WRITE,
                      .has_params = prepared.params != NULL};
        if (prepared.params)
            memcpy(l->params, prepared.params, prepared.params_bytes);
        prepare->workspace_bytes = prepared.workspace_bytes;
    } else if (status == TC_OK) {
        status = TC_RESOURCE_EXHAUSTED;
    }
    tc_arena_free(&arena);
    return status;
}

static tc_status loop_run(const void *params, const void *const *inputs, void *const *outputs,
                          const tc_kernel_context *context)
{
    const launch *l = params;
    int32_t device = context->queue->device;
    if (loop_fails(LOOPBACK_LAUNCH))
        return loop_fail(TC_INTERNAL, "the launch fails");
    TC_TRY(check_lost(device));
    command c = {.kind = RUN_KERNEL, .launch = l, .context = *context};
    if (context->seed || context->step || context->pool || context->packed || context->place < 1)
        loop_violate("a kernel is given what is not for devices, or no place");
    if (selected.reset != loop.resets || selected.device != device)
        loop_violate("a kernel runs on a thread that has not selected its device");
    c.inputs = calloc((size_t)l->n_inputs + 1, sizeof *c.inputs);
    c.outputs = calloc((size_t)l->n_outputs + 1, sizeof *c.outputs);
    if (!c.inputs || !c.outputs) {
        free(c.inputs);
        free(c.outputs);
        return loop_fail(TC_RESOURCE_EXHAUSTED, "the test has no memory left");
    }
    for (int32_t i = 0; i < l->n_inputs; i++)
        c.inputs[i] = inputs[i] ? loop_real(inputs[i], device, 1, false) : NULL;
    for (int32_t i = 0; i < l->n_outputs; i++)
        c.outputs[i] = outputs[i] ? loop_real(outputs[i], device, 1, false) : NULL;
    c.context.queue = NULL;
    c.context.workspace =
        context->workspace ? loop_real(context->workspace, device, 1, false) : NULL;
    c.state = loop_real(context->state, device, sizeof *c.state, false);
    return c.state ? give(context->queue, &c) : TC_OK;
}

static bool is_left_out(const tc_op *op)
{
    char word[128];
    snprintf(word, sizeof word, ",%s,", op->name);
    return op->bound || (loop.options.without && strstr(loop.options.without, word));
}

/* Those of the CPU's kernels whose run may fail by what elements are. */
static bool finds_faults(const tc_op *op)
{
    char word[128];
    snprintf(word, sizeof word, ",%s,", op->name);
    return strstr(",gather,gather_grad,scatter_add,softmax_cross_entropy,"
                  "softmax_cross_entropy_grad,reshape_to,",
                  word) != NULL;
}

tc_status loop_list_kernels(tc_kernel **kernels, const tc_kernel ***list, int32_t *count)
{
    int32_t most = tc_registry_kernel_count(NULL);
    *count = 0;
    if (tc_cpu_isa_selected(&loop.isa) != TC_OK)
        loop.isa = TC_ISA_SCALAR;
    *kernels = calloc((size_t)most, sizeof **kernels);
    *list = calloc((size_t)most, sizeof **list);
    if (!*kernels || !*list)
        return TC_RESOURCE_EXHAUSTED;
    for (int32_t i = 0; i < most; i++) {
        const tc_kernel *kernel = tc_registry_kernel(NULL, i);
        const tc_op *op = tc_registry_find_op(NULL, kernel->op);
        if (is_left_out(op) || cpu_kernel(op, kernel->dtype) != kernel)
            continue;
        (*kernels)[*count] = (tc_kernel){.op = kernel->op,
                                         .dtype = kernel->dtype,
                                         .device = LOOPBACK_TYPE,
                                         .symbol = kernel->symbol,
                                         .prepare = loop_prepare,
                                         .run = loop_run,
                                         .fault = finds_faults(op) ? loop_fault : NULL};
        (*list)[*count] = &(*kernels)[*count];
        ++*count;
    }
    return TC_OK;
}

void loop_work(tc_backend *backend)
{
    backend->queue_create = loop_queue_create;
    backend->queue_destroy = loop_queue_destroy;
    backend->copy = loop_copy;
    backend->copy_unless_fault = loop_copy_unless_fault;
    backend->order = loop_order;
    backend->wait = loop_wait;
    backend->select = loop_select;
    backend->record_begin = loop_record_begin;
    backend->record_end = loop_record_end;
    backend->replay = loop_replay;
    backend->recording_destroy = loop_recording_destroy;
}
