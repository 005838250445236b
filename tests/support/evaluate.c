#include "support/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "core/dtype.h"
#include "core/kernel.h"
#include "core/shape.h"

enum { guard_bytes = 64, guard_value = 0xC3 };

/* One run of one graph or function body. */
typedef struct eval_run {
    const tc_graph *graph;
    const eval_feed *feeds;
    size_t n_feeds;
    eval_options *options;
    int64_t stream; /* of the call that this body belongs to */
    bool nested;
    tc_arena arena;
    bool *needed;          /* by node */
    eval_buffer **outputs; /* by node */
    bool **open;           /* by node: which outputs have a shape that only the kernel knows */
} eval_run;

static tc_status guarded_create(size_t bytes, unsigned char garbage, eval_buffer *out)
{
    size_t size = tc_align_up(bytes, TC_ALIGNMENT) + 2 * guard_bytes;
    out->block = aligned_alloc(TC_ALIGNMENT, size);
    if (!out->block)
        return tc_fail_memory(size, "a buffer of a test");
    memset(out->block, guard_value, size);
    out->data = out->block + guard_bytes;
    out->bytes = bytes;
    memset(out->data, garbage, bytes);
    return TC_OK;
}

static bool guards_intact(const eval_buffer *buffer)
{
    for (size_t i = 0; buffer->block && i < guard_bytes; i++)
        if (buffer->block[i] != guard_value ||
            buffer->block[guard_bytes + buffer->bytes + i] != guard_value)
            return false;
    return true;
}

tc_status eval_buffer_create(tc_dtype dtype, const tc_shape *shape, unsigned char garbage,
                             eval_buffer *out)
{
    *out = (eval_buffer){.info = {.dtype = dtype, .shape = *shape}};
    int64_t size = tc_shape_size(shape);
    size_t bytes;
    if (size < 0 || !tc_mul_size((size_t)size, tc_dtype_size(dtype), &bytes)) {
        char text[TC_SHAPE_TEXT_SIZE];
        return tc_fail(TC_INVALID_ARGUMENT, "a buffer of shape %s cannot be made",
                       tc_shape_text(shape, text));
    }
    return guarded_create(bytes, garbage, out);
}

void eval_buffer_free(eval_buffer *buffer)
{
    free(buffer->block);
    *buffer = (eval_buffer){0};
}

static tc_status node_fails(const tc_node *node, tc_status status, const char *format, ...)
    TC_PRINTF(3, 4);

static tc_status node_fails(const tc_node *node, tc_status status, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    tc_fail_v(status, format, arguments);
    va_end(arguments);
    return tc_fail_prefix(status, "%s: ", tc_node_describe(node, text, sizeof text));
}

static void mark(eval_run *run, int32_t end)
{
    for (int32_t n = end - 1; n >= 0; n--) {
        const tc_node *node = run->graph->nodes.data[n];
        for (int32_t i = 0; run->needed[n] && i < node->n_inputs; i++)
            if (node->inputs[i].node >= 0)
                run->needed[node->inputs[i].node] = true;
        for (int32_t i = 0; run->needed[n] && i < node->n_controls; i++)
            run->needed[node->controls[i]] = true;
    }
}

static tc_status copy_buffer(const eval_buffer *from, unsigned char garbage, eval_buffer *to)
{
    TC_TRY(eval_buffer_create(from->info.dtype, &from->info.shape, garbage, to));
    to->info = from->info;
    memcpy(to->data, from->data, from->bytes);
    return TC_OK;
}

static const eval_buffer *input_of(const eval_run *run, const tc_node *node, int32_t index)
{
    tc_edge edge = node->inputs[index];
    return edge.node < 0 ? NULL : &run->outputs[edge.node][edge.output];
}

/* Nodes whose content comes from elsewhere. Sets *done where `node` is one. */
static tc_status source(eval_run *run, const tc_node *node, bool *done)
{
    eval_buffer *out = run->outputs[node->index];
    unsigned char garbage = run->options->garbage;
    *done = true;
    for (size_t i = 0; i < run->n_feeds; i++)
        if (run->feeds[i].placeholder.graph == run->graph &&
            run->feeds[i].placeholder.node == node->index)
            return copy_buffer(run->feeds[i].buffer, garbage, out);
    if (tc_node_is(node, "placeholder"))
        return node_fails(node, TC_INVALID_ARGUMENT, "the placeholder is not fed");
    if (tc_node_is(node, "variable"))
        return copy_buffer(input_of(run, node, 0), garbage, out);
    if (tc_node_is(node, "constant")) {
        const tc_tensor *tensor = tc_attrs_tensor(&node->attrs, "tensor");
        TC_TRY(eval_buffer_create(tc_tensor_dtype(tensor), tc_tensor_shape(tensor), garbage, out));
        out->info = node->outputs[0];
        memcpy(out->data, tc_tensor_data(tensor), out->bytes);
        return TC_OK;
    }
    *done = node->n_outputs == 0; /* only orders others */
    return TC_OK;
}

/* The attributes of the node, in a function with the stream that inlining gives them. */
static tc_status attrs_of(eval_run *run, const tc_node *node, tc_attrs *attrs)
{
    *attrs = node->attrs;
    int stream = tc_op_attr_index(attrs->op, "stream");
    if (!run->nested || stream < 0)
        return TC_OK;
    size_t bytes = (size_t)attrs->op->n_attrs * sizeof(tc_attr);
    tc_attr *values = tc_arena_memdup(&run->arena, attrs->values, bytes);
    if (!values)
        return tc_fail_memory(bytes, "attributes");
    values[stream].i = tc_stream_within(run->stream, values[stream].i);
    attrs->values = values;
    return TC_OK;
}

static tc_status infer(eval_run *run, const tc_node *node, const tc_attrs *attrs,
                       tc_value_info *inputs)
{
    tc_value_info *infos;
    int32_t n_infos;
    char message[TC_INFER_MESSAGE_SIZE], inferred[TC_SHAPE_TEXT_SIZE], actual[TC_SHAPE_TEXT_SIZE];
    for (int32_t i = 0; i < node->n_inputs; i++) {
        const eval_buffer *input = input_of(run, node, i);
        inputs[i] = input ? input->info : (tc_value_info){0};
    }
    tc_status status = tc_graph_infer(run->graph, attrs, inputs, node->n_inputs, &run->arena,
                                      &infos, &n_infos, message);
    if (status != TC_OK)
        return node_fails(node, status, "%s", message);
    if (n_infos != node->n_outputs)
        return node_fails(node, TC_INTERNAL, "%d outputs were inferred, there are %d",
                          (int)node->n_outputs, (int)n_infos);
    if (attrs->op->bound) {
        bool *open = tc_arena_array(&run->arena, (size_t)n_infos, sizeof *open);
        for (int32_t i = 0; open && i < n_infos; i++)
            open[i] = !tc_shape_is_known(&infos[i].shape);
        run->open[node->index] = open;
        status =
            tc_infer_bound(attrs, inputs, node->n_inputs, &run->arena, infos, n_infos, message);
        if (status != TC_OK || !open)
            return node_fails(node, status, "%s", message);
    }
    if (attrs->op->bound) {
        status =
            tc_infer_bound(attrs, inputs, node->n_inputs, &run->arena, infos, n_infos, message);
        if (status != TC_OK)
            return node_fails(node, status, "%s", message);
    }
    for (int32_t i = 0; i < n_infos; i++) {
        if (!tc_shape_is_known(&infos[i].shape))
            return node_fails(node, TC_UNIMPLEMENTED, "output %d has the shape %s for known inputs",
                              (int)i, tc_shape_text(&infos[i].shape, actual));
        if (infos[i].dtype != node->outputs[i].dtype ||
            !tc_shape_compatible(&infos[i].shape, &node->outputs[i].shape))
            return node_fails(node, TC_INTERNAL, "output %d was inferred as %s%s, but is %s%s",
                              (int)i, tc_dtype_name(node->outputs[i].dtype),
                              tc_shape_text(&node->outputs[i].shape, inferred),
                              tc_dtype_name(infos[i].dtype),
                              tc_shape_text(&infos[i].shape, actual));
        TC_TRY(eval_buffer_create(infos[i].dtype, &infos[i].shape, run->options->garbage,
                                  &run->outputs[node->index][i]));
        run->outputs[node->index][i].info = infos[i];
    }
    return TC_OK;
}

/* What a kernel is run with. */
typedef struct eval_launch {
    const tc_kernel *kernel;
    tc_prepared prepared;
    eval_buffer workspace, packed;
    const void **inputs;
    void **outputs;
    uint64_t *hashes; /* of the inputs, before */
    int in_place;     /* input that shares its memory; -1: none */
} eval_launch;

static tc_status bind(eval_run *run, const tc_node *node, eval_launch *launch)
{
    launch->in_place = -1;
    for (int32_t i = 0; i < node->n_outputs; i++)
        launch->outputs[i] = run->outputs[node->index][i].data;
    for (int32_t i = 0; i < node->n_inputs; i++) {
        const eval_buffer *input = input_of(run, node, i);
        bool shape_only = tc_op_input_port(node->attrs.op, i)->flags & TC_PORT_SHAPE_ONLY;
        launch->inputs[i] = input && !shape_only ? input->data : NULL;
        launch->hashes[i] = input ? tc_hash_bytes(input->data, input->bytes, 0) : 0;
    }
    eval_options *options = run->options;
    if (options->inplace && tc_node_is(node, options->inplace)) {
        tc_inplace pair = node->attrs.op->inplace[options->inplace_pair];
        const eval_buffer *input =
            pair.input < node->n_inputs ? input_of(run, node, pair.input) : NULL;
        eval_buffer *output = &run->outputs[node->index][pair.output];
        if (input && launch->inputs[pair.input] && input->bytes == output->bytes) {
            memcpy(output->data, input->data, input->bytes);
            launch->inputs[pair.input] = output->data;
            launch->in_place = pair.input;
            options->placed++;
        }
    }
    tc_prepared *prepared = &launch->prepared;
    if (prepared->workspace_bytes)
        TC_TRY(guarded_create(prepared->workspace_bytes, options->garbage, &launch->workspace));
    if (options->pack && prepared->pack_input >= 0 && launch->inputs[prepared->pack_input]) {
        TC_TRY(guarded_create(prepared->pack_bytes, options->garbage, &launch->packed));
        launch->kernel->pack(prepared->params, launch->inputs[prepared->pack_input],
                             launch->packed.data);
        options->packed++;
    }
    return TC_OK;
}

static tc_status inspect(eval_run *run, const tc_node *node, const eval_launch *launch)
{
    const char *symbol = launch->kernel->symbol;
    if (!guards_intact(&launch->workspace))
        return node_fails(node, TC_INTERNAL, "%s writes outside of its workspace", symbol);
    if (!guards_intact(&launch->packed))
        return node_fails(node, TC_INTERNAL, "%s writes outside of its packed input", symbol);
    for (int32_t i = 0; i < node->n_inputs; i++) {
        const eval_buffer *input = input_of(run, node, i);
        if (input && tc_hash_bytes(input->data, input->bytes, 0) != launch->hashes[i])
            return node_fails(node, TC_INTERNAL, "%s writes to its input %d", symbol, (int)i);
        if (input && !guards_intact(input))
            return node_fails(node, TC_INTERNAL, "%s writes around its input %d", symbol, (int)i);
    }
    for (int32_t i = 0; i < node->n_outputs; i++) {
        const eval_buffer *output = &run->outputs[node->index][i];
        if (!guards_intact(output))
            return node_fails(node, TC_INTERNAL, "%s writes outside of its output %d", symbol,
                              (int)i);
    }
    return TC_OK;
}

/*
 * Outputs whose size is known afterwards
 */

/* Gives output `index`, which has the size of its bound, the shape that the kernel told. */
static tc_status shrink(eval_run *run, const tc_node *node, int32_t index, const int64_t *extents)
{
    eval_buffer *output = &run->outputs[node->index][index], exact;
    tc_shape shape = tc_shape_of((size_t)output->info.shape.rank, extents);
    char actual[TC_SHAPE_TEXT_SIZE], bound[TC_SHAPE_TEXT_SIZE];
    if (!tc_shape_is_known(&shape) || !tc_shape_compatible(&shape, &node->outputs[index].shape) ||
        tc_shape_size(&shape) > tc_shape_size(&output->info.shape))
        return node_fails(node, TC_INTERNAL, "output %d has shape %s with the bound %s", (int)index,
                          tc_shape_text(&shape, actual), tc_shape_text(&output->info.shape, bound));
    TC_TRY(eval_buffer_create(output->info.dtype, &shape, run->options->garbage, &exact));
    memcpy(exact.data, output->data, exact.bytes);
    eval_buffer_free(output);
    *output = exact;
    return TC_OK;
}

static tc_status shrink_outputs(eval_run *run, const tc_node *node, const int64_t *extents)
{
    for (int32_t i = 0; extents && i < node->n_outputs; i++)
        if (run->open[node->index][i])
            TC_TRY(shrink(run, node, i, extents + i * TC_MAX_RANK));
    return TC_OK;
}

static tc_status check_bools(eval_run *run, const tc_node *node, const char *symbol)
{
    for (int32_t i = 0; i < node->n_outputs; i++) {
        const eval_buffer *output = &run->outputs[node->index][i];
        for (size_t k = 0; output->info.dtype == TC_BOOL && k < output->bytes; k++)
            if (((const unsigned char *)output->data)[k] > 1)
                return node_fails(node, TC_INTERNAL, "%s writes the byte %d to a bool output",
                                  symbol, ((const unsigned char *)output->data)[k]);
    }
    return TC_OK;
}

/* Inputs of the step that a kernel reads, and outputs, where they lie in the memory of the CPU. */
static tc_status run_on_device(eval_run *run, const tc_node *node, const eval_launch *launch)
{
    size_t count = (size_t)(node->n_inputs + node->n_outputs);
    test_operand *inputs = tc_arena_array(&run->arena, count, sizeof *inputs);
    if (!inputs)
        return tc_fail_memory(count * sizeof *inputs, "operands");
    test_operand *outputs = inputs + node->n_inputs;
    for (int32_t i = 0; i < node->n_inputs; i++)
        if (launch->inputs[i])
            inputs[i] = (test_operand){(void *)launch->inputs[i], input_of(run, node, i)->bytes};
    for (int32_t i = 0; i < node->n_outputs; i++)
        outputs[i] = (test_operand){launch->outputs[i], run->outputs[node->index][i].bytes};
    run->options->on_device++;
    return test_device_run(run->options->device, launch->kernel, &launch->prepared, inputs,
                           node->n_inputs, outputs, node->n_outputs, run->graph->seed,
                           run->options->step);
}

static tc_status launch_kernel(eval_run *run, const tc_node *node, eval_launch *launch)
{
    size_t count = node->attrs.op->bound ? (size_t)node->n_outputs * TC_MAX_RANK : 0;
    int64_t *extents = count ? tc_arena_array(&run->arena, count, sizeof *extents) : NULL;
    if (count && !extents)
        return tc_fail_memory(count * sizeof *extents, "extents");
    for (size_t i = 0; i < count; i++)
        extents[i] = -1;
    TC_TRY(bind(run, node, launch));
    const tc_kernel_context context = {
        .workspace = launch->workspace.data,
        .packed = launch->packed.data,
        .seed = run->graph->seed,
        .step = run->options->step,
        .pool = run->options->pool,
        .extents = extents,
    };
    tc_status status = launch->kernel->device == TC_DEVICE_CPU
                           ? launch->kernel->run(launch->prepared.params, launch->inputs,
                                                 launch->outputs, &context)
                           : run_on_device(run, node, launch);
    if (status != TC_OK)
        return node_fails(node, status, "%s", tc_error_message());
    TC_TRY(inspect(run, node, launch));
    TC_TRY(shrink_outputs(run, node, extents));
    return check_bools(run, node, launch->kernel->symbol);
}

static tc_status compute(eval_run *run, const tc_node *node, const tc_attrs *attrs,
                         const tc_value_info *inputs)
{
    tc_value_info *infos = tc_arena_array(&run->arena, (size_t)node->n_outputs, sizeof *infos);
    eval_launch launch = {
        .inputs = tc_arena_array(&run->arena, (size_t)node->n_inputs, sizeof *launch.inputs),
        .outputs = tc_arena_array(&run->arena, (size_t)node->n_outputs, sizeof *launch.outputs),
        .hashes = tc_arena_array(&run->arena, (size_t)node->n_inputs, sizeof *launch.hashes),
    };
    if (!infos || !launch.inputs || !launch.outputs || !launch.hashes)
        return tc_fail_memory(0, "running a node");
    for (int32_t i = 0; i < node->n_outputs; i++)
        infos[i] = run->outputs[node->index][i].info;
    tc_dtype dtype = tc_op_kernel_dtype(attrs->op, inputs, node->n_inputs, infos, node->n_outputs);
    tc_kernel_place place = {.threads = run->options->threads ? run->options->threads : 1};
    if (run->options->device)
        launch.kernel = test_device_find_kernel(run->options->device, attrs->op->name, dtype);
    if (launch.kernel)
        place = test_device_place(run->options->device);
    else
        launch.kernel = tc_registry_find_kernel(run->graph->registry, attrs->op->name, dtype,
                                                TC_DEVICE_CPU, run->options->isa);
    if (!launch.kernel)
        return node_fails(node, TC_UNIMPLEMENTED, "there is no kernel for %s",
                          tc_dtype_name(dtype));
    tc_status status = tc_kernel_prepare(launch.kernel, attrs, inputs, node->n_inputs, infos,
                                         node->n_outputs, &place, &run->arena, &launch.prepared);
    if (status != TC_OK)
        return node_fails(node, status, "%s", tc_error_message());
    status = launch_kernel(run, node, &launch);
    eval_buffer_free(&launch.workspace);
    eval_buffer_free(&launch.packed);
    return status;
}

static tc_status run_graph(eval_run *run, const tc_edge *fetches, size_t n_fetches,
                           eval_buffer *results);

static tc_status call(eval_run *run, const tc_node *node, const tc_attrs *attrs)
{
    const tc_graph *body = tc_graph_find_function(run->graph, tc_node_function(attrs)->s);
    eval_feed *feeds = tc_arena_array(&run->arena, (size_t)node->n_inputs, sizeof *feeds);
    if (!feeds)
        return tc_fail_memory(0, "a call");
    for (int32_t i = 0; i < node->n_inputs; i++)
        feeds[i] =
            (eval_feed){{(tc_graph *)body, body->parameters.data[i], 0}, input_of(run, node, i)};
    eval_run inner = {
        .graph = body,
        .feeds = feeds,
        .n_feeds = (size_t)node->n_inputs,
        .options = run->options,
        .stream = tc_attrs_int(attrs, "stream"),
        .nested = true,
    };
    return run_graph(&inner, body->results.data, body->results.count, run->outputs[node->index]);
}

static tc_status step(eval_run *run, const tc_node *node)
{
    run->outputs[node->index] =
        tc_arena_array(&run->arena, (size_t)node->n_outputs, sizeof(eval_buffer));
    tc_value_info *inputs =
        tc_arena_array(&run->arena, (size_t)node->n_inputs, sizeof(tc_value_info));
    if (!run->outputs[node->index] || !inputs)
        return tc_fail_memory(0, "running a graph");
    bool done;
    TC_TRY(source(run, node, &done));
    if (done)
        return TC_OK;
    tc_attrs attrs;
    TC_TRY(attrs_of(run, node, &attrs));
    if (tc_node_is(node, "call"))
        return call(run, node, &attrs);
    TC_TRY(infer(run, node, &attrs, inputs));
    return compute(run, node, &attrs, inputs);
}

static tc_status run_graph(eval_run *run, const tc_edge *fetches, size_t n_fetches,
                           eval_buffer *results)
{
    size_t count = run->graph->nodes.count;
    run->needed = tc_arena_array(&run->arena, count, sizeof *run->needed);
    run->outputs = tc_arena_array(&run->arena, count, sizeof *run->outputs);
    run->open = tc_arena_array(&run->arena, count, sizeof *run->open);
    tc_status status =
        run->needed && run->outputs && run->open ? TC_OK : tc_fail_memory(0, "running a graph");
    int32_t end = 0;
    for (size_t i = 0; status == TC_OK && i < n_fetches; i++) {
        run->needed[fetches[i].node] = true;
        if (fetches[i].node >= end)
            end = fetches[i].node + 1;
    }
    if (status == TC_OK)
        mark(run, end);
    for (int32_t n = 0; status == TC_OK && n < end; n++)
        if (run->needed[n])
            status = step(run, run->graph->nodes.data[n]);
    for (size_t i = 0; status == TC_OK && i < n_fetches; i++) {
        status = copy_buffer(&run->outputs[fetches[i].node][fetches[i].output], 0, &results[i]);
        results[i].info.known = NULL; /* lies in the arena of this run */
    }
    for (int32_t n = 0; n < end; n++)
        for (int32_t i = 0;
             run->outputs && run->outputs[n] && i < run->graph->nodes.data[n]->n_outputs; i++)
            eval_buffer_free(&run->outputs[n][i]);
    tc_arena_free(&run->arena);
    return status;
}

tc_status evaluate(const tc_graph *graph, const eval_feed *feeds, size_t n_feeds,
                   const tc_value *fetches, size_t n_fetches, eval_options *options,
                   eval_buffer *results)
{
    TC_TRY(tc_graph_status(graph));
    tc_edge *edges = calloc(n_fetches + 1, sizeof *edges);
    if (!edges)
        return tc_fail_memory(0, "running a graph");
    for (size_t i = 0; i < n_fetches; i++)
        edges[i] = (tc_edge){fetches[i].node, fetches[i].output};
    eval_run run = {.graph = graph, .feeds = feeds, .n_feeds = n_feeds, .options = options};
    tc_status status = run_graph(&run, edges, n_fetches, results);
    free(edges);
    for (size_t i = 0; status != TC_OK && i < n_fetches; i++)
        eval_buffer_free(&results[i]);
    return status;
}
