#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <tensorc/tensor.h>

#include "base/status.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "core/tensor.h"

/*
 * As NumPy by default: tensors above the threshold show this many elements at either end of each
 * dimension.
 */
#define TC_PRINT_THRESHOLD 1000
#define TC_PRINT_EDGE      3

/* Long enough for a 64-bit integer with sign and for %.6g. */
#define TC_ELEMENT_TEXT_SIZE 32

typedef struct tc_printer {
    const tc_tensor *tensor;
    tc_text *text; /* NULL while only the width is measured */
    int64_t strides[TC_MAX_RANK];
    bool shortened;
    int width;
} tc_printer;

static int format_element(const tc_tensor *tensor, int64_t index, char *buffer)
{
    const char *at = (const char *)tensor->data + (size_t)index * tc_dtype_size(tensor->dtype);
    switch (tensor->dtype) {
    case TC_BOOL: return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "%s", *at ? "true" : "false");
    case TC_I64: /* beyond 2^53 a double would round */
        return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "%" PRId64, *(const int64_t *)at);
    case TC_U64: return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "%" PRIu64, *(const uint64_t *)at);
    case TC_F32:
    case TC_F64:
    case TC_F16:
    case TC_BF16: {
        double value = tc_dtype_load(tensor->dtype, at);
        if (value != value) /* without the sign that some NaNs have */
            return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "nan");
        return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "%.6g", value);
    }
    default:
        return snprintf(buffer, TC_ELEMENT_TEXT_SIZE, "%.0f", tc_dtype_load(tensor->dtype, at));
    }
}

static void visit_element(tc_printer *printer, int64_t index)
{
    char element[TC_ELEMENT_TEXT_SIZE];
    int width = format_element(printer->tensor, index, element);
    if (printer->text)
        tc_text_append(printer->text, "%*s", printer->width, element);
    else if (width > printer->width)
        printer->width = width;
}

static void append(tc_printer *printer, const char *text)
{
    if (printer->text)
        tc_text_append(printer->text, "%s", text);
}

/*
 * Between two entries: a comma in the innermost dimension, else as many new lines as brackets
 * close, and the indent.
 */
static void separate(tc_printer *printer, int32_t axis)
{
    int32_t rank = printer->tensor->shape.rank;
    if (axis == rank - 1) {
        append(printer, ", ");
        return;
    }
    append(printer, ",");
    for (int32_t i = axis; i < rank - 1; i++)
        append(printer, "\n");
    for (int32_t i = 0; i <= axis; i++)
        append(printer, " ");
}

static void visit(tc_printer *printer, int32_t axis, int64_t offset)
{
    const tc_shape *shape = &printer->tensor->shape;
    if (axis == shape->rank) {
        visit_element(printer, offset);
        return;
    }
    int64_t size = shape->dims[axis].size;
    bool gap = printer->shortened && size > 2 * TC_PRINT_EDGE;
    append(printer, "[");
    for (int64_t i = 0; i < size; i++) {
        if (i > 0)
            separate(printer, axis);
        if (gap && i == TC_PRINT_EDGE) {
            append(printer, "...");
            separate(printer, axis);
            i = size - TC_PRINT_EDGE;
        }
        visit(printer, axis + 1, offset + i * printer->strides[axis]);
    }
    append(printer, "]");
}

void tc_tensor_format(const tc_tensor *tensor, tc_text *text)
{
    char shape[TC_SHAPE_TEXT_SIZE];
    tc_text_append(text, "%s %s", tc_dtype_name(tensor->dtype),
                   tc_shape_text(&tensor->shape, shape));
    if (tensor->size == 0) { /* brackets of an outer dimension could be any number */
        tc_text_append(text, " []");
        return;
    }
    tc_text_append(text, tensor->shape.rank > 1 ? "\n" : " ");
    tc_printer printer = {.tensor = tensor, .shortened = tensor->size > TC_PRINT_THRESHOLD};
    tc_shape_strides(&tensor->shape, printer.strides);
    visit(&printer, 0, 0);
    printer.text = text;
    visit(&printer, 0, 0);
}

tc_status tc_tensor_print(const tc_tensor *tensor, FILE *file)
{
    if (!tensor)
        return tc_fail(TC_INVALID_ARGUMENT, "the tensor to print is NULL");
    if (!file)
        return tc_fail(TC_INVALID_ARGUMENT, "the file to print to is NULL");
    tc_text text = {0};
    tc_tensor_format(tensor, &text);
    tc_text_append(&text, "\n");
    tc_status status = TC_OK;
    if (text.failed)
        status = tc_fail(TC_RESOURCE_EXHAUSTED, "out of memory: cannot print a tensor");
    else if (fwrite(text.data, 1, text.length, file) != text.length || fflush(file) != 0)
        status = tc_fail(TC_UNAVAILABLE, "printing a tensor: writing to the file failed");
    tc_text_free(&text);
    return status;
}
