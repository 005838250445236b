#include "core/window.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const axis_names[2] = {"height", "width"};

static TC_PRINTF(2, 3) bool fail(char message[TC_WINDOW_MESSAGE], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, TC_WINDOW_MESSAGE, format, arguments);
    va_end(arguments);
    return false;
}

/* Attribute `name` as `count` numbers of at least `least`; ones when the operator has no such
 * attribute. */
static bool read_numbers(const tc_attrs *attrs, const char *name, int32_t count, int64_t least,
                         int64_t *out, char message[TC_WINDOW_MESSAGE])
{
    if (!tc_attrs_get(attrs, name)) {
        for (int32_t i = 0; i < count; i++)
            out[i] = 1;
        return true;
    }
    int32_t given;
    const int64_t *numbers = tc_attrs_ints(attrs, name, &given);
    if (given != count)
        return fail(message, "%s has %d numbers instead of %d", name, given, count);
    for (int32_t i = 0; i < count; i++) {
        if (numbers[i] < least || numbers[i] > TC_WINDOW_LIMIT)
            return fail(message, "%s has the number %lld; %lld to %lld are allowed", name,
                        (long long)numbers[i], (long long)least, (long long)TC_WINDOW_LIMIT);
        out[i] = numbers[i];
    }
    return true;
}

/* Output size, and padding where the mode asks for it. */
static bool resolve(tc_window_axis *axis, const char *padding, bool ceil_mode, const char *name,
                    char message[TC_WINDOW_MESSAGE])
{
    axis->out = -1;
    if (axis->kernel == 0 || axis->kernel > TC_WINDOW_LIMIT)
        return fail(message, "the kernel has %s %lld; 1 to %lld are allowed", name,
                    (long long)axis->kernel, (long long)TC_WINDOW_LIMIT);
    if (strcmp(padding, "explicit") != 0) {
        int64_t needed = -1; /* padding of both sides */
        if (axis->stride == 1 && axis->kernel > 0)
            needed = tc_window_extent(axis) - 1;
        if (axis->in >= 0)
            axis->out = axis->in / axis->stride + (axis->in % axis->stride != 0);
        if (axis->in >= 0 && axis->kernel > 0) {
            needed = (axis->out - 1) * axis->stride + tc_window_extent(axis) - axis->in;
            needed = needed > 0 && axis->out > 0 ? needed : 0;
        }
        if (needed < 0)
            return true;
        int64_t more = needed - needed / 2, less = needed / 2;
        bool lower = strcmp(padding, "same_lower") == 0;
        axis->before = lower ? more : less;
        axis->after = lower ? less : more;
        return true;
    }
    if (axis->in < 0 || axis->kernel < 0)
        return true;
    int64_t extent = tc_window_extent(axis), padded;
    if (__builtin_add_overflow(axis->in, axis->before + axis->after, &padded))
        return fail(message, "the padded %s is too large", name);
    if (extent > padded)
        return fail(message,
                    "the kernel covers a %s of %lld, but the image with its padding only has %lld "
                    "(%lld + %lld + %lld): pad more or use a smaller kernel",
                    name, (long long)extent, (long long)padded, (long long)axis->before,
                    (long long)axis->in, (long long)axis->after);
    int64_t rest = padded - extent;
    axis->out = rest / axis->stride + 1;
    if (ceil_mode && rest % axis->stride != 0 && axis->out * axis->stride < axis->in + axis->before)
        axis->out++;
    return true;
}

bool tc_window_make(const tc_attrs *attrs, const int64_t in[2], const int64_t kernel[2],
                    tc_window *window, char message[TC_WINDOW_MESSAGE])
{
    int64_t strides[2], dilations[2], pads[4];
    if (!read_numbers(attrs, "strides", 2, 1, strides, message) ||
        !read_numbers(attrs, "dilations", 2, 1, dilations, message) ||
        !read_numbers(attrs, "pads", 4, 0, pads, message))
        return false;
    const char *padding = tc_attrs_string(attrs, "padding");
    bool ceil_mode = tc_attrs_get(attrs, "ceil_mode") && tc_attrs_bool(attrs, "ceil_mode");
    for (int i = 0; i < 2; i++) {
        window->axis[i] = (tc_window_axis){.in = in[i],
                                           .kernel = kernel[i],
                                           .stride = strides[i],
                                           .dilation = dilations[i],
                                           .before = pads[i],
                                           .after = pads[2 + i]};
        if (!resolve(&window->axis[i], padding, ceil_mode, axis_names[i], message))
            return false;
    }
    return true;
}

/* Whether every window of the axis has an element inside the image. */
static bool covered(const tc_window_axis *axis)
{
    for (int64_t o = 0; o < axis->out; o++) {
        int64_t first = o * axis->stride - axis->before;
        int64_t skipped = first < 0 ? (-first + axis->dilation - 1) / axis->dilation : 0;
        if (skipped >= axis->kernel || first + skipped * axis->dilation >= axis->in)
            return false;
        if (axis->dilation == 1 && first >= 0)
            /* Those that follow begin further right; only the last may begin outside. */
            return (axis->out - 1) * axis->stride - axis->before < axis->in;
    }
    return true;
}

bool tc_window_covers(const tc_window *window, char message[TC_WINDOW_MESSAGE])
{
    for (int i = 0; i < 2; i++) {
        const tc_window_axis *axis = &window->axis[i];
        if (axis->out > 0 && !covered(axis))
            return fail(message,
                        "along the %s some windows lie wholly in the padding (%lld before, %lld "
                        "after, the kernel covers %lld): padding must be smaller than the kernel",
                        axis_names[i], (long long)axis->before, (long long)axis->after,
                        (long long)tc_window_extent(axis));
    }
    return true;
}
