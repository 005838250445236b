#include "core/infer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"

/* What tc_infer.internal points at. */
typedef struct tc_infer_state {
    tc_arena *arena;
    char *message;
    tc_status status;
    tc_dtype letters[128]; /* dtype that the inputs gave to each port letter */
} tc_infer_state;

static tc_status infer_message(char *message, const char *format, ...) TC_PRINTF(2, 3);

static tc_status infer_message(char *message, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, TC_INFER_MESSAGE_SIZE, format, arguments);
    va_end(arguments);
    return TC_INVALID_ARGUMENT;
}

static tc_status infer_exhausted(char *message)
{
    infer_message(message, "out of memory while inferring shapes");
    return TC_RESOURCE_EXHAUSTED;
}

static void *infer_alloc(tc_infer *infer, size_t count, size_t size)
{
    tc_infer_state *state = infer->internal;
    void *memory = tc_arena_array(state->arena, count, size);
    if (!memory)
        state->status = infer_exhausted(state->message);
    return memory;
}

/* "f32, f64 or i8" */
static const char *dtypes_text(uint32_t dtypes, char *buffer, size_t size)
{
    size_t length = 0;
    buffer[0] = 0;
    for (int d = 1; d < TC_DTYPE_COUNT && length < size; d++) {
        if (!(dtypes & TC_DTYPE_BIT(d)))
            continue;
        bool last = !(dtypes >> (d + 1));
        length += (size_t)snprintf(buffer + length, size - length, "%s%s",
                                   length == 0 ? ""
                                   : last      ? " or "
                                               : ", ",
                                   tc_dtype_name((tc_dtype)d));
    }
    return buffer;
}

static bool is_single(uint32_t dtypes)
{
    return dtypes && !(dtypes & (dtypes - 1));
}

static tc_dtype single_dtype(uint32_t dtypes)
{
    return is_single(dtypes) ? (tc_dtype)__builtin_ctz(dtypes) : TC_DTYPE_INVALID;
}

static const char *port_text(const tc_op *op, int32_t index, char buffer[80])
{
    const tc_port *port = tc_op_input_port(op, index);
    if (port->flags & TC_PORT_VARIADIC)
        snprintf(buffer, 80, "'%.60s' %d", port->name, (int)(index - (op->n_inputs - 1)));
    else
        snprintf(buffer, 80, "'%.60s'", port->name);
    return buffer;
}

/* Checks number and dtypes; notes the dtype of each letter. */
static tc_status check_inputs(const tc_op *op, const tc_value_info *inputs, int32_t n_inputs,
                              tc_dtype letters[128], char *message)
{
    int32_t first[128]; /* input that fixed each letter */
    bool variadic = op->n_inputs > 0 && op->inputs[op->n_inputs - 1].flags & TC_PORT_VARIADIC;
    if (n_inputs > op->n_inputs && !variadic)
        return infer_message(message, "takes %d input%s, but %d are given", op->n_inputs,
                             op->n_inputs == 1 ? "" : "s", (int)n_inputs);
    int32_t ports = variadic ? op->n_inputs - 1 : op->n_inputs;
    char name[80], other[80], list[160];
    for (int32_t i = 0; i < ports || i < n_inputs; i++) {
        const tc_port *port = tc_op_input_port(op, i);
        tc_dtype dtype = i < n_inputs ? inputs[i].dtype : TC_DTYPE_INVALID;
        if (dtype == TC_DTYPE_INVALID) {
            if (port->flags & TC_PORT_OPTIONAL)
                continue;
            return infer_message(message, "input %s is missing", port_text(op, i, name));
        }
        if (!(port->dtypes & TC_DTYPE_BIT(dtype)))
            return infer_message(message, "input %s is %s, but must be %s", port_text(op, i, name),
                                 tc_dtype_name(dtype),
                                 dtypes_text(port->dtypes, list, sizeof list));
        unsigned letter = (unsigned char)port->type & 127u;
        if (!letter)
            continue;
        if (letters[letter] == TC_DTYPE_INVALID) {
            letters[letter] = dtype;
            first[letter] = i;
        } else if (letters[letter] != dtype) {
            return infer_message(message,
                                 "inputs %s and %s must have the same dtype, but are %s and %s; "
                                 "convert one of them with tc_cast",
                                 port_text(op, first[letter], other), port_text(op, i, name),
                                 tc_dtype_name(letters[letter]), tc_dtype_name(dtype));
        }
    }
    return TC_OK;
}

tc_status tc_infer_check(const tc_op *op, const tc_value_info *inputs, int32_t n_inputs,
                         char message[TC_INFER_MESSAGE_SIZE])
{
    tc_dtype letters[128] = {TC_DTYPE_INVALID};
    return check_inputs(op, inputs, n_inputs, letters, message);
}

tc_status tc_infer_outputs(tc_infer *infer, int32_t count)
{
    const tc_op *op = infer->attrs->op;
    const tc_infer_state *state = infer->internal;
    if (count < 0)
        return tc_infer_fail(infer, "cannot have %d outputs", (int)count);
    tc_value_info *outputs = infer_alloc(infer, (size_t)count, sizeof *outputs);
    if (!outputs)
        return TC_RESOURCE_EXHAUSTED;
    for (int32_t i = 0; i < count; i++) {
        const tc_port *port = tc_op_output_port(op, i);
        if (!port)
            return tc_infer_fail(infer, "has %d outputs, not %d", op->n_outputs, (int)count);
        tc_dtype dtype = state->letters[(unsigned char)port->type & 127u];
        if (!port->type || dtype == TC_DTYPE_INVALID)
            dtype = single_dtype(port->dtypes);
        outputs[i].dtype = dtype;
    }
    infer->outputs = outputs;
    infer->n_outputs = count;
    return TC_OK;
}

tc_status tc_infer_fail(tc_infer *infer, const char *format, ...)
{
    tc_infer_state *state = infer->internal;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(state->message, TC_INFER_MESSAGE_SIZE, format, arguments);
    va_end(arguments);
    state->status = TC_INVALID_ARGUMENT;
    return TC_INVALID_ARGUMENT;
}

void *tc_infer_alloc(tc_infer *infer, size_t size)
{
    return infer_alloc(infer, 1, size);
}

/*
 * Where an output lies in the memory of an input, that of a variable or of a view, the two must be
 * of one size: the planner relies on it.
 */
static tc_status check_memory(const tc_op *op, const tc_infer *infer, char *message)
{
    for (int32_t i = 0; i < infer->n_inputs && i < infer->n_outputs; i++) {
        const tc_value_info *input = &infer->inputs[i], *output = &infer->outputs[i];
        bool written =
            op->effects & TC_EFFECT_WRITE && tc_op_input_port(op, i)->flags & TC_PORT_RESOURCE;
        bool view = op->flags & TC_OP_VIEW && i == 0;
        if (input->dtype == TC_DTYPE_INVALID || !(written || view))
            continue;
        int64_t from = tc_shape_size(&input->shape), to = tc_shape_size(&output->shape);
        if (input->dtype == output->dtype &&
            (written ? tc_shape_compatible(&input->shape, &output->shape)
                     : from < 0 || to < 0 || from == to))
            continue;
        char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
        infer_message(message,
                      "shape inference gives output '%s' %s %s, but it %s input '%s', %s %s",
                      tc_op_output_port(op, i)->name, tc_dtype_name(output->dtype),
                      tc_shape_text(&output->shape, b), written ? "replaces" : "is a view of",
                      tc_op_input_port(op, i)->name, tc_dtype_name(input->dtype),
                      tc_shape_text(&input->shape, a));
        return TC_INTERNAL;
    }
    return TC_OK;
}

/* Guards the library against an infer function that leaves something undone. */
static tc_status check_outputs(const tc_op *op, const tc_infer *infer, tc_dtype letters[128],
                               char *message)
{
    char list[160];
    for (int32_t i = 0; i < infer->n_outputs; i++) {
        const tc_value_info *info = &infer->outputs[i];
        const tc_port *port = tc_op_output_port(op, i);
        unsigned letter = (unsigned char)port->type & 127u;
        if (letter && letters[letter] == TC_DTYPE_INVALID)
            letters[letter] = info->dtype;
        if (info->dtype == TC_DTYPE_INVALID || !(port->dtypes & TC_DTYPE_BIT(info->dtype)))
            return infer_message(message, "output '%s' would be %s, but must be %s", port->name,
                                 tc_dtype_name(info->dtype),
                                 dtypes_text(port->dtypes, list, sizeof list));
        if (letter && letters[letter] != info->dtype) {
            infer_message(message, "shape inference gives output '%s' the dtype %s instead of %s",
                          port->name, tc_dtype_name(info->dtype), tc_dtype_name(letters[letter]));
            return TC_INTERNAL;
        }
        if (tc_shape_valid(&info->shape) != TC_OK)
            return infer_message(message, "output '%s': %s", port->name, tc_error_message());
    }
    return TC_OK;
}

tc_status tc_infer_run(const tc_attrs *attrs, const tc_value_info *inputs, int32_t n_inputs,
                       tc_arena *arena, tc_value_info **outputs, int32_t *n_outputs,
                       char message[TC_INFER_MESSAGE_SIZE])
{
    const tc_op *op = attrs->op;
    tc_infer_state state = {.arena = arena, .message = message};
    message[0] = 0;
    tc_status status = check_inputs(op, inputs, n_inputs, state.letters, message);
    if (status != TC_OK)
        return status;
    tc_infer infer = {.attrs = attrs, .inputs = inputs, .n_inputs = n_inputs, .internal = &state};
    bool variadic = op->n_outputs > 0 && op->outputs[op->n_outputs - 1].flags & TC_PORT_VARIADIC;
    status = tc_infer_outputs(&infer, variadic ? op->n_outputs - 1 : op->n_outputs);
    if (status == TC_OK)
        status = op->infer(&infer);
    if (status == TC_OK)
        status = state.status; /* an infer function that ignores a failed allocation */
    if (status != TC_OK) {
        if (!message[0])
            infer_message(message, "does not accept these inputs");
        return status;
    }
    status = check_outputs(op, &infer, state.letters, message);
    if (status == TC_OK)
        status = check_memory(op, &infer, message);
    if (status != TC_OK)
        return status;
    *outputs = infer.outputs;
    *n_outputs = infer.n_outputs;
    return TC_OK;
}

/* Takes the bound for each unknown dimension of `info`. */
static tc_status take_bound(const tc_op *op, int32_t index, const tc_shape *bound,
                            tc_value_info *info, char *message)
{
    char a[TC_SHAPE_TEXT_SIZE], b[TC_SHAPE_TEXT_SIZE];
    if (!tc_shape_is_known(bound) || !tc_shape_compatible(bound, &info->shape)) {
        infer_message(message, "output '%s' has shape %s, but its bound is %s",
                      tc_op_output_port(op, index)->name, tc_shape_text(&info->shape, a),
                      tc_shape_text(bound, b));
        return TC_INTERNAL;
    }
    info->shape = *bound;
    return TC_OK;
}

tc_status tc_infer_bound(const tc_attrs *attrs, const tc_value_info *inputs, int32_t n_inputs,
                         tc_arena *arena, tc_value_info *outputs, int32_t n_outputs,
                         char message[TC_INFER_MESSAGE_SIZE])
{
    tc_infer_state state = {.arena = arena, .message = message};
    tc_infer infer = {.attrs = attrs,
                      .inputs = inputs,
                      .n_inputs = n_inputs,
                      .outputs =
                          tc_arena_memdup(arena, outputs, (size_t)n_outputs * sizeof *outputs),
                      .n_outputs = n_outputs,
                      .internal = &state};
    message[0] = 0;
    if (!infer.outputs)
        return infer_exhausted(message);
    tc_status status = attrs->op->bound(&infer);
    if (status == TC_OK)
        status = state.status;
    if (status != TC_OK && !message[0])
        infer_message(message, "has no bound for these inputs");
    for (int32_t i = 0; i < n_outputs && status == TC_OK; i++)
        status = take_bound(attrs->op, i, &infer.outputs[i].shape, &outputs[i], message);
    return status;
}
