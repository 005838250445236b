/* Plans as text. */
#include "base/text.h"
#include "compiler/pass.h"
#include "compiler/plan.h"
#include "core/shape.h"

static void print_buffer(const tc_plan *plan, int32_t index, tc_text *text)
{
    static const char *const places[] = {
        [TC_PLACE_NONE] = "none",         [TC_PLACE_ARENA] = "arena",
        [TC_PLACE_FEED] = "feed",         [TC_PLACE_OUTPUT] = "output",
        [TC_PLACE_VARIABLE] = "variable", [TC_PLACE_CONSTANT] = "constant"};
    char shape[TC_SHAPE_TEXT_SIZE];
    if (index < 0) {
        tc_text_append(text, "-");
        return;
    }
    const tc_buffer *buffer = &plan->buffers[index];
    tc_text_append(text, "%s", places[buffer->place]);
    if (buffer->place == TC_PLACE_ARENA)
        tc_text_append(text, "+%zu", buffer->offset);
    else if (buffer->place == TC_PLACE_VARIABLE)
        tc_text_append(text, " '%s'", plan->variables[buffer->index].name);
    else
        tc_text_append(text, " %d", (int)buffer->index);
    tc_text_append(text, ":%s%s", tc_dtype_name(buffer->info.dtype),
                   tc_shape_text(&buffer->info.shape, shape));
}

static void print_operands(const tc_plan *plan, int32_t first, int32_t count, tc_text *text)
{
    for (int32_t i = 0; i < count; i++) {
        if (i)
            tc_text_append(text, ", ");
        print_buffer(plan, plan->operands[first + i], text);
    }
}

static void print_step(const tc_plan *plan, int32_t index, tc_text *text)
{
    const tc_step *step = &plan->steps[index];
    const char *name =
        step->node >= 0 ? tc_graph_node_at(plan->program->graph, step->node)->name : "";
    tc_text_append(text, "%5d  %-7s  %s  %s%s%s(", (int)index,
                   index < plan->n_compute ? "compute" : "commit",
                   step->kernel ? step->kernel->symbol : "copy", name[0] ? "'" : "", name,
                   name[0] ? "' " : "");
    print_operands(plan, step->first_input, step->n_inputs, text);
    tc_text_append(text, ") -> ");
    print_operands(plan, step->first_output, step->n_outputs, text);
    if (step->workspace_bytes > 0)
        tc_text_append(text, "  workspace arena+%zu, %zu bytes", step->workspace_offset,
                       step->workspace_bytes);
    if (step->pack >= 0)
        tc_text_append(text, "  packed %zu bytes", plan->packs[step->pack].bytes);
    tc_text_append(text, "%s\n", index == plan->peak_step ? "  <- peak" : "");
}

tc_status tc_plan_print(const tc_plan *plan, tc_dump_format format, FILE *file)
{
    (void)format;
    tc_text text = {0};
    tc_text_append(&text, "plan: %d steps (%d compute, %d commit)\n", (int)plan->n_steps,
                   (int)plan->n_compute, (int)(plan->n_steps - plan->n_compute));
    for (int32_t i = 0; i < plan->n_steps; i++)
        print_step(plan, i, &text);
    tc_text_append(&text,
                   "arena %zu bytes, %zu alive at step %d; %zu bytes copied; %d variables, "
                   "%d constants, %d packs\n",
                   plan->arena_bytes, plan->live_bytes, (int)plan->peak_step, plan->copied_bytes,
                   (int)plan->n_variables, (int)plan->n_constants, (int)plan->n_packs);
    tc_status status = TC_OK;
    if (text.failed)
        status = tc_compiler_exhausted();
    else if (fwrite(text.data, 1, text.length, file) != text.length)
        status = tc_fail(TC_UNAVAILABLE, "the plan could not be written to the file");
    tc_text_free(&text);
    return status;
}
