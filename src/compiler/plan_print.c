/* Plans as text for people, as JSON for programs and as a drawing for Graphviz. */
#include <string.h>

#include "base/text.h"
#include "compiler/planner.h"
#include "core/registry.h"
#include "core/shape.h"

static const char *const place_names[] = {
    [TC_PLACE_NONE] = "none",         [TC_PLACE_ARENA] = "arena",
    [TC_PLACE_FEED] = "feed",         [TC_PLACE_OUTPUT] = "output",
    [TC_PLACE_VARIABLE] = "variable", [TC_PLACE_CONSTANT] = "constant",
    [TC_PLACE_PACKED] = "invariant"};

static const char *device_name(const tc_plan *plan, int32_t device)
{
    return plan->program->devices[device];
}

static bool is_copy_between(const tc_plan *plan, const tc_step *step)
{
    return !step->kernel && plan->buffers[plan->operands[step->first_input]].device !=
                                plan->buffers[plan->operands[step->first_output]].device;
}

static const char *what_runs(const tc_plan *plan, const tc_step *step)
{
    return step->kernel ? step->kernel->symbol : is_copy_between(plan, step) ? "transfer" : "copy";
}

static const tc_node *step_node(const tc_plan *plan, const tc_step *step)
{
    return step->node < 0 ? NULL : tc_graph_node_at(plan->program->graph, step->node);
}

/* What a product takes in: the ports that are given, in the order they are applied. */
static void append_epilogue(const tc_node *node, const char *activation, tc_text *text)
{
    const char *separator = "";
    double alpha = tc_attrs_float(&node->attrs, "alpha");
    if (alpha != 1) {
        tc_text_append(text, "alpha %g", alpha);
        separator = ", ";
    }
    for (int32_t i = 2; i < node->n_inputs; i++) {
        if (node->inputs[i].node < 0)
            continue;
        tc_text_append(text, "%s%s", separator, tc_op_input_port(node->attrs.op, i)->name);
        separator = ", ";
    }
    if (strcmp(activation, "none") != 0)
        tc_text_append(text, "%s%s", separator, activation);
}

/* Appends what was fused into an internal operator, nothing where that is nothing. */
static void append_fused(const tc_node *node, tc_text *text)
{
    if (!node || !(node->attrs.op->flags & TC_OP_INTERNAL))
        return;
    const tc_attr *program = tc_attrs_get(&node->attrs, "text");
    const tc_attr *activation = tc_attrs_get(&node->attrs, "activation");
    if (program && program->type == TC_ATTR_STRING)
        tc_text_append(text, "%s", program->s);
    else if (activation && activation->type == TC_ATTR_STRING &&
             tc_attrs_get(&node->attrs, "alpha"))
        append_epilogue(node, activation->s, text);
}

/* The name of what holds a buffer, NULL for the arena. */
static const char *holder_name(const tc_plan *plan, const tc_buffer *buffer)
{
    const tc_program *program = plan->program;
    int32_t node = -1;
    switch (buffer->place) {
    case TC_PLACE_VARIABLE: return plan->variables[buffer->index].name;
    case TC_PLACE_FEED: node = program->feeds[buffer->index].node; break;
    case TC_PLACE_OUTPUT: node = program->fetches[buffer->index].node; break;
    case TC_PLACE_PACKED: node = plan->packs[buffer->index].node; break;
    default: return NULL;
    }
    return node < 0 ? NULL : tc_graph_node_at(program->graph, node)->name;
}

/* Whether a step repeats an earlier one of the same node. `seen` is per node. */
static bool is_again(const tc_step *step, bool *seen)
{
    if (step->node < 0)
        return false;
    bool again = seen[step->node];
    seen[step->node] = true;
    return again;
}

/*
 * Text
 */
static void write_size(tc_text *text, size_t bytes)
{
    if (bytes >= (size_t)10 << 20)
        tc_text_append(text, "%.1f MB", (double)bytes / 1e6);
    else if (bytes >= 10 << 10)
        tc_text_append(text, "%.1f KiB", (double)bytes / 1024);
    else
        tc_text_append(text, "%zu B", bytes);
}

static void write_operand(const tc_plan *plan, int32_t index, tc_text *text)
{
    char shape[TC_SHAPE_TEXT_SIZE];
    if (index < 0) {
        tc_text_append(text, "-");
        return;
    }
    const tc_buffer *buffer = &plan->buffers[index];
    tc_text_append(text, "%s", place_names[buffer->place]);
    const char *name = holder_name(plan, buffer);
    if (name)
        tc_text_append(text, " '%s'", name);
    else if (buffer->place != TC_PLACE_ARENA)
        tc_text_append(text, " %d", (int)buffer->index);
    if (buffer->device != 0)
        tc_text_append(text, " on %s", device_name(plan, buffer->device));
    if (buffer->place == TC_PLACE_ARENA || buffer->offset > 0)
        tc_text_append(text, "+%zu", buffer->offset);
    tc_text_append(text, " %s%s ", tc_dtype_name(buffer->info.dtype),
                   tc_shape_text(&buffer->info.shape, shape));
    write_size(text, buffer->bytes);
}

static void write_operands(const tc_plan *plan, int32_t first, int32_t count, tc_text *text)
{
    for (int32_t i = 0; i < count; i++) {
        if (i)
            tc_text_append(text, ", ");
        write_operand(plan, plan->operands[first + i], text);
    }
}

static void write_step(const tc_plan *plan, int32_t index, bool *seen, tc_text *text)
{
    const tc_step *step = &plan->steps[index];
    const tc_node *node = step_node(plan, step);
    tc_text_append(text, "%6d  %-7s  %s", (int)index,
                   index < plan->n_compute ? "compute" : "commit", what_runs(plan, step));
    if (node)
        tc_text_append(text, " '%s'", node->name);
    tc_text_append(text, " (");
    write_operands(plan, step->first_input, step->n_inputs, text);
    tc_text_append(text, ") -> ");
    write_operands(plan, step->first_output, step->n_outputs, text);
    if (step->workspace_bytes > 0)
        tc_text_append(text, "  workspace arena+%zu %.1f KiB", step->workspace_offset,
                       (double)step->workspace_bytes / 1024);
    if (step->pack >= 0) {
        tc_text_append(text, "  packed ");
        write_size(text, plan->packs[step->pack].bytes);
    }
    if (step->region >= 0)
        tc_text_append(text, "  region %d lane %d", (int)step->region, (int)step->lane);
    if (is_again(step, seen))
        tc_text_append(text, "  again");
    tc_text fused = {0};
    append_fused(node, &fused);
    if (fused.length > 0)
        tc_text_append(text, "  fused: %s", fused.data);
    text->failed = text->failed || fused.failed;
    tc_text_free(&fused);
    tc_text_append(text, "%s\n", index == plan->peak_step ? "  <- peak" : "");
}

static void write_devices(const tc_plan *plan, tc_text *text)
{
    if (!plan->mixed)
        return;
    for (int32_t d = 1; d < plan->n_devices; d++)
        tc_text_append(text, "memory on %s: arena %zu bytes (%.2f MB), %zu (%.2f MB) alive\n",
                       device_name(plan, d), plan->devices[d].arena_bytes,
                       (double)plan->devices[d].arena_bytes / 1e6, plan->devices[d].live_bytes,
                       (double)plan->devices[d].live_bytes / 1e6);
    tc_text_append(text, "between devices: %d segments, %d transfers, %zu bytes per run\n",
                   (int)plan->n_segments, (int)plan->n_transfers, plan->transferred_bytes);
}

static void write_text(const tc_plan *plan, bool *seen, tc_text *text)
{
    tc_text_append(text,
                   "plan: %d steps (%d compute, %d commit), %d of them computed again, %d regions "
                   "of branches\n",
                   (int)plan->n_steps, (int)plan->n_compute, (int)(plan->n_steps - plan->n_compute),
                   (int)plan->recomputed, (int)plan->n_regions);
    tc_text_append(text,
                   "memory: arena %zu bytes (%.2f MB), %zu (%.2f MB) alive at step %d, the peak; "
                   "%zu bytes copied per run\n",
                   plan->arena_bytes, (double)plan->arena_bytes / 1e6, plan->live_bytes,
                   (double)plan->live_bytes / 1e6, (int)plan->peak_step, plan->copied_bytes);
    tc_text_append(text, "reads: %d variables, %d constants, %d packed forms and invariants\n",
                   (int)plan->n_variables, (int)plan->n_constants, (int)plan->n_packs);
    write_devices(plan, text);
    tc_text_append(text, "  step  part     kernel 'node' (inputs) -> outputs, each: place+offset "
                         "dtype[shape] size\n");
    for (int32_t i = 0, segment = 0; i < plan->n_steps; i++) {
        if (segment < plan->n_segments && plan->segments[segment].first_step == i)
            tc_text_append(text, "%s%s:\n", device_name(plan, plan->segments[segment].device),
                           plan->segments[segment].waits ? ", when the others are done" : "");
        segment += segment < plan->n_segments && plan->segments[segment].first_step == i;
        write_step(plan, i, seen, text);
    }
}

/*
 * JSON
 */
static void write_shape(const tc_shape *shape, tc_text *text)
{
    tc_text_append(text, "[");
    for (int32_t d = 0; d < shape->rank; d++)
        tc_text_append(text, "%s%lld", d ? "," : "", (long long)shape->dims[d].size);
    tc_text_append(text, "]");
}

static void write_string(const char *key, const char *value, tc_text *text)
{
    tc_text_append(text, "\"%s\":", key);
    if (value)
        tc_text_append_json(text, value);
    else
        tc_text_append(text, "null");
}

static void write_indexes(const char *key, const int32_t *indexes, int32_t count, tc_text *text)
{
    tc_text_append(text, ",\"%s\":[", key);
    for (int32_t i = 0; i < count; i++)
        if (indexes[i] < 0)
            tc_text_append(text, "%snull", i ? "," : "");
        else
            tc_text_append(text, "%s%d", i ? "," : "", (int)indexes[i]);
    tc_text_append(text, "]");
}

static void write_json_step(const tc_plan *plan, int32_t index, bool *seen, tc_text *text)
{
    const tc_step *step = &plan->steps[index];
    const tc_node *node = step_node(plan, step);
    tc_text_append(text, "%s\n{\"index\":%d,\"part\":\"%s\",", index ? "," : "", (int)index,
                   index < plan->n_compute ? "compute" : "commit");
    write_string("device", device_name(plan, step->device), text);
    tc_text_append(text, ",");
    write_string("kernel", step->kernel ? step->kernel->symbol : NULL, text);
    tc_text_append(text, ",");
    write_string("operator", node ? node->attrs.op->name : NULL, text);
    tc_text_append(text, ",");
    write_string("node", node ? node->name : NULL, text);
    tc_text_append(text, ",");
    tc_text fused = {0};
    append_fused(node, &fused);
    write_string("fused", fused.length > 0 ? fused.data : NULL, text);
    text->failed = text->failed || fused.failed;
    tc_text_free(&fused);
    write_indexes("inputs", plan->operands + step->first_input, step->n_inputs, text);
    write_indexes("outputs", plan->operands + step->first_output, step->n_outputs, text);
    tc_text_append(text,
                   ",\"workspace_offset\":%zu,\"workspace_bytes\":%zu,\"copy_bytes\":%zu,"
                   "\"pack\":%d,\"region\":%d,\"lane\":%d,\"again\":%s}",
                   step->workspace_offset, step->workspace_bytes, step->copy_bytes, (int)step->pack,
                   (int)step->region, (int)step->lane, is_again(step, seen) ? "true" : "false");
}

static void write_json_buffer(const tc_plan *plan, int32_t index, tc_text *text)
{
    const tc_buffer *buffer = &plan->buffers[index];
    tc_text_append(text, "%s\n{\"place\":\"%s\",\"index\":%d,", index ? "," : "",
                   place_names[buffer->place], (int)buffer->index);
    write_string("name", holder_name(plan, buffer), text);
    tc_text_append(text, ",");
    write_string("device", device_name(plan, buffer->device), text);
    tc_text_append(text,
                   ",\"offset\":%zu,\"bytes\":%zu,\"dtype\":\"%s\",\"shape\":", buffer->offset,
                   buffer->bytes, tc_dtype_name(buffer->info.dtype));
    write_shape(&buffer->info.shape, text);
    tc_text_append(text, "}");
}

static void write_json_variable(const tc_plan *plan, int32_t index, tc_text *text)
{
    const tc_plan_variable *variable = &plan->variables[index];
    tc_text_append(text, "%s\n{", index ? "," : "");
    write_string("name", variable->name, text);
    tc_text_append(text, ",\"dtype\":\"%s\",\"shape\":", tc_dtype_name(variable->dtype));
    write_shape(&variable->shape, text);
    tc_text_append(text, ",\"written\":%s}", variable->written ? "true" : "false");
}

static void write_json_pack(const tc_plan *plan, int32_t index, tc_text *text)
{
    const tc_pack *pack = &plan->packs[index];
    tc_text_append(text, "%s\n{", index ? "," : "");
    write_string("kernel", pack->kernel ? pack->kernel->symbol : "transfer", text);
    tc_text_append(text, ",\"bytes\":%zu,\"buffer\":%d,", pack->bytes, (int)pack->buffer);
    write_string("device", device_name(plan, pack->device), text);
    tc_text_append(text, ",");
    write_string("node",
                 pack->node < 0 ? NULL : tc_graph_node_at(plan->program->graph, pack->node)->name,
                 text);
    tc_text_append(text, "}");
}

static void write_json_devices(const tc_plan *plan, tc_text *text)
{
    tc_text_append(text, "\"transfers\":%d,\"transferred_bytes\":%zu,\"staging_bytes\":%zu,",
                   (int)plan->n_transfers, plan->transferred_bytes, plan->staging_bytes);
    tc_text_append(text, "\"devices\":[");
    for (int32_t d = 0; d < plan->n_devices; d++) {
        tc_text_append(text, "%s{", d ? "," : "");
        write_string("name", device_name(plan, d), text);
        tc_text_append(text, ",\"arena_bytes\":%zu,\"live_bytes\":%zu}",
                       plan->devices[d].arena_bytes, plan->devices[d].live_bytes);
    }
    tc_text_append(text, "],\"segments\":[");
    for (int32_t i = 0; i < plan->n_segments; i++) {
        const tc_segment *segment = &plan->segments[i];
        tc_text_append(text, "%s{", i ? "," : "");
        write_string("device", device_name(plan, segment->device), text);
        tc_text_append(text, ",\"first_step\":%d,\"steps\":%d,\"waits\":%s}",
                       (int)segment->first_step, (int)segment->n_steps,
                       segment->waits ? "true" : "false");
    }
    tc_text_append(text, "],");
}

static void write_json(const tc_plan *plan, bool *seen, tc_text *text)
{
    tc_text_append(text,
                   "{\"arena_bytes\":%zu,\"live_bytes\":%zu,\"peak_step\":%d,\"copied_bytes\":%zu,"
                   "\"recomputed\":%d,\"compute_steps\":%d,\"regions\":%d,",
                   plan->arena_bytes, plan->live_bytes, (int)plan->peak_step, plan->copied_bytes,
                   (int)plan->recomputed, (int)plan->n_compute, (int)plan->n_regions);
    write_json_devices(plan, text);
    tc_text_append(text, "\"steps\":[");
    for (int32_t i = 0; i < plan->n_steps; i++)
        write_json_step(plan, i, seen, text);
    tc_text_append(text, "],\"buffers\":[");
    for (int32_t i = 0; i < plan->n_buffers; i++)
        write_json_buffer(plan, i, text);
    tc_text_append(text, "],\"variables\":[");
    for (int32_t i = 0; i < plan->n_variables; i++)
        write_json_variable(plan, i, text);
    tc_text_append(text, "],\"packs\":[");
    for (int32_t i = 0; i < plan->n_packs; i++)
        write_json_pack(plan, i, text);
    tc_text_append(text, "]}\n");
}

/*
 * Drawing
 */
/* A box for memory that is not the run's: named by place and index. */
static void write_dot_memory(const tc_plan *plan, const tc_buffer *buffer, tc_text *text)
{
    tc_text label = {0};
    const char *name = holder_name(plan, buffer);
    tc_text_append(&label, "%s %s", place_names[buffer->place], name ? name : "");
    tc_text_append(text, "  %s%d [shape=box, label=", place_names[buffer->place],
                   (int)buffer->index);
    tc_text_append_json(text, label.data ? label.data : "");
    tc_text_append(text, "];\n");
    text->failed = text->failed || label.failed;
    tc_text_free(&label);
}

/* The step that last wrote to where `buffer` begins, before step `index`; -1. */
static int32_t writer_of(const tc_plan *plan, const int32_t *writer, int32_t buffer, int32_t index)
{
    if (writer[buffer] >= 0)
        return writer[buffer];
    const tc_buffer *wanted = &plan->buffers[buffer];
    for (int32_t i = index - 1; i >= 0; i--)
        for (int32_t k = 0; k < plan->steps[i].n_outputs; k++) {
            int32_t operand = plan->operands[plan->steps[i].first_output + k];
            const tc_buffer *b = operand < 0 ? NULL : &plan->buffers[operand];
            if (b && b->place == wanted->place && b->device == wanted->device &&
                (b->place == TC_PLACE_ARENA || b->index == wanted->index) &&
                b->offset < wanted->offset + wanted->bytes && wanted->offset < b->offset + b->bytes)
                return i;
        }
    return -1;
}

static void write_dot_step(const tc_plan *plan, int32_t index, int32_t *writer, bool *seen,
                           tc_text *text)
{
    const tc_step *step = &plan->steps[index];
    const tc_node *node = step_node(plan, step);
    tc_text label = {0};
    tc_text_append(&label, "%d %s", (int)index, what_runs(plan, step));
    if (step->device != 0)
        tc_text_append(&label, " on %s", device_name(plan, step->device));
    if (node)
        tc_text_append(&label, "\n%s", node->name);
    for (int32_t k = 0; k < step->n_outputs; k++) {
        tc_text_append(&label, "\n");
        write_operand(plan, plan->operands[step->first_output + k], &label);
    }
    tc_text_append(text, "  s%d [label=", (int)index);
    tc_text_append_json(text, label.data ? label.data : "");
    tc_text_append(text, "%s%s%s];\n", index == plan->peak_step ? ", penwidth=3" : "",
                   is_again(step, seen) ? ", style=dashed" : "",
                   step->device != 0 ? ", shape=box3d" : "");
    text->failed = text->failed || label.failed;
    tc_text_free(&label);
    for (int32_t k = 0; k < step->n_inputs; k++) {
        int32_t operand = plan->operands[step->first_input + k];
        if (operand < 0)
            continue;
        const tc_buffer *buffer = &plan->buffers[operand];
        int32_t from = writer_of(plan, writer, operand, index);
        if (from >= 0)
            tc_text_append(text, "  s%d -> s%d;\n", (int)from, (int)index);
        else
            tc_text_append(text, "  %s%d -> s%d;\n", place_names[buffer->place], (int)buffer->index,
                           (int)index);
    }
    for (int32_t k = 0; k < step->n_outputs; k++) {
        int32_t operand = plan->operands[step->first_output + k];
        if (operand < 0)
            continue;
        const tc_buffer *buffer = &plan->buffers[operand];
        writer[operand] = index;
        if (buffer->place != TC_PLACE_ARENA)
            tc_text_append(text, "  s%d -> %s%d;\n", (int)index, place_names[buffer->place],
                           (int)buffer->index);
    }
}

static void write_dot(const tc_plan *plan, bool *seen, int32_t *writer, tc_text *text)
{
    tc_text_append(text, "digraph plan {\n  node [shape=ellipse];\n");
    for (int32_t i = 0; i < plan->n_buffers; i++) {
        writer[i] = -1;
        if (plan->buffers[i].place > TC_PLACE_ARENA)
            write_dot_memory(plan, &plan->buffers[i], text);
    }
    for (int32_t i = 0; i < plan->n_steps; i++)
        write_dot_step(plan, i, writer, seen, text);
    tc_text_append(text, "}\n");
}

tc_status tc_plan_print(const tc_plan *plan, tc_dump_format format, FILE *file)
{
    tc_text text = {0};
    tc_arena scratch = {0};
    tc_status status = TC_OK;
    bool *seen = tc_arena_array(&scratch, plan->program->graph->nodes.count, sizeof *seen);
    int32_t *writer = tc_arena_array(&scratch, (size_t)plan->n_buffers, sizeof *writer);
    if (!seen || !writer)
        status = tc_compiler_exhausted();
    else if (format == TC_DUMP_JSON)
        write_json(plan, seen, &text);
    else if (format == TC_DUMP_DOT)
        write_dot(plan, seen, writer, &text);
    else if (format == TC_DUMP_TEXT)
        write_text(plan, seen, &text);
    else
        status = tc_fail(TC_INVALID_ARGUMENT, "plan: there is no dump format %d", (int)format);
    if (status == TC_OK && text.failed)
        status = tc_compiler_exhausted();
    else if (status == TC_OK && fwrite(text.data, 1, text.length, file) != text.length)
        status = tc_fail(TC_UNAVAILABLE, "the plan could not be written to the file");
    tc_text_free(&text);
    tc_arena_free(&scratch);
    return status;
}
