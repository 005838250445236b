#include "core/kernel.h"

#include "base/status.h"
#include "base/threads.h"

/* Behind tc_prepare.internal. */
typedef struct tc_prepare_state {
    tc_arena *arena;
    void *params;
    size_t params_bytes;
    bool exhausted;
} tc_prepare_state;

void *tc_prepare_params(tc_prepare *prepare, size_t size)
{
    tc_prepare_state *state = prepare->internal;
    state->params = tc_arena_alloc(state->arena, size);
    state->params_bytes = size;
    if (!state->params) {
        state->exhausted = true;
        (void)tc_fail_memory(size, "kernel parameters");
    }
    return state->params;
}

tc_status tc_kernel_prepare(const tc_kernel *kernel, const tc_attrs *attrs,
                            const tc_value_info *inputs, int32_t n_inputs,
                            const tc_value_info *outputs, int32_t n_outputs,
                            const tc_kernel_place *place, tc_arena *arena, tc_prepared *prepared)
{
    *prepared = (tc_prepared){.pack_input = -1};
    if (!kernel->prepare)
        return TC_OK;
    tc_prepare_state state = {.arena = arena};
    tc_prepare prepare = {
        .attrs = attrs,
        .inputs = inputs,
        .outputs = outputs,
        .n_inputs = n_inputs,
        .n_outputs = n_outputs,
        .threads = place->threads,
        .device = place->device,
        .allows = place->allows,
        .pack_input = -1,
        .internal = &state,
    };
    tc_status status = kernel->prepare(&prepare);
    if (state.exhausted)
        return tc_fail_memory(state.params_bytes, "kernel parameters");
    TC_TRY(status);
    prepared->params = state.params;
    prepared->params_bytes = state.params_bytes;
    prepared->workspace_bytes = prepare.workspace_bytes;
    if (kernel->pack && prepare.pack_input >= 0 && prepare.pack_input < n_inputs) {
        prepared->pack_input = prepare.pack_input;
        prepared->pack_bytes = prepare.pack_bytes;
    }
    return TC_OK;
}

tc_status tc_kernel_fail(tc_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    tc_fail_v(status, format, arguments);
    va_end(arguments);
    return status;
}

void tc_kernel_parallel_for(const tc_kernel_context *context, int64_t count, int64_t grain,
                            tc_loop_function function, void *argument)
{
    tc_parallel_for(context->pool, count, grain, function, argument);
}
