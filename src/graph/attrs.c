/* Attributes in nodes: owning copies and text. */
#include <stdio.h>
#include <string.h>

#include "core/shape.h"
#include "core/tensor.h"
#include "graph/internal.h"

const char *tc_attr_type_name(tc_attr_type type)
{
    static const char *const names[] = {
        [TC_ATTR_NONE] = "nothing",
        [TC_ATTR_INT] = "an int",
        [TC_ATTR_FLOAT] = "a float",
        [TC_ATTR_BOOL] = "a bool",
        [TC_ATTR_STRING] = "a string",
        [TC_ATTR_DTYPE] = "a dtype",
        [TC_ATTR_SHAPE] = "a shape",
        [TC_ATTR_INTS] = "a list of ints",
        [TC_ATTR_FLOATS] = "a list of floats",
        [TC_ATTR_STRINGS] = "a list of strings",
        [TC_ATTR_TENSOR] = "a tensor",
        [TC_ATTR_FUNCTION] = "a function",
    };
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "of no known type";
}

static bool copy_array(tc_graph *graph, const void **data, int32_t count, size_t size)
{
    if (count == 0) {
        *data = NULL;
        return true;
    }
    return (*data = tc_arena_memdup(&graph->arena, *data, (size_t)count * size));
}

bool tc_attr_copy(tc_graph *graph, tc_attr *attr)
{
    const void *data;
    switch (attr->type) {
    case TC_ATTR_STRING:
    case TC_ATTR_FUNCTION: return !attr->s || (attr->s = tc_arena_strdup(&graph->arena, attr->s));
    case TC_ATTR_SHAPE: {
        if (!attr->shape)
            return true;
        tc_shape *shape = tc_arena_memdup(&graph->arena, attr->shape, sizeof *shape);
        attr->shape = shape;
        return shape && tc_graph_intern_shape(graph, shape);
    }
    case TC_ATTR_INTS:
        data = attr->ints;
        if (!copy_array(graph, &data, attr->count, sizeof *attr->ints))
            return false;
        attr->ints = data;
        return true;
    case TC_ATTR_FLOATS:
        data = attr->floats;
        if (!copy_array(graph, &data, attr->count, sizeof *attr->floats))
            return false;
        attr->floats = data;
        return true;
    case TC_ATTR_STRINGS: {
        const char **strings = tc_arena_array(&graph->arena, (size_t)attr->count, sizeof *strings);
        for (int32_t i = 0; strings && i < attr->count; i++)
            if (!(strings[i] = tc_arena_strdup(&graph->arena, attr->strings[i])))
                return false;
        attr->strings = strings;
        return strings;
    }
    case TC_ATTR_TENSOR:
        if (!attr->tensor)
            return true;
        if (!tc_vector_push(&graph->tensors, attr->tensor))
            return false;
        tc_tensor_retain(attr->tensor);
        tc_tensor_freeze(attr->tensor);
        return true;
    default: return true;
    }
}

static void write_shape(const tc_shape *shape, tc_text *text)
{
    char buffer[TC_SHAPE_TEXT_SIZE];
    tc_text_append(text, "%s", tc_shape_text(shape, buffer));
}

static void write_tensor(const tc_tensor *tensor, tc_text *text)
{
    enum { shown = 8 };
    tc_text_append(text, "%s", tc_dtype_name(tc_tensor_dtype(tensor)));
    write_shape(tc_tensor_shape(tensor), text);
    int64_t size = tc_tensor_size(tensor);
    tc_text_append(text, "{");
    for (int64_t i = 0; i < size && i < shown; i++)
        tc_text_append(text, "%s%.9g", i ? ", " : "", tc_tensor_get(tensor, i));
    tc_text_append(text, size > shown ? ", ...}" : "}");
}

void tc_attr_write(const tc_attr *attr, tc_text *text)
{
    switch (attr->type) {
    case TC_ATTR_NONE: tc_text_append(text, "none"); break;
    case TC_ATTR_INT: tc_text_append(text, "%lld", (long long)attr->i); break;
    case TC_ATTR_FLOAT: tc_text_append(text, "%.9g", attr->f); break;
    case TC_ATTR_BOOL: tc_text_append(text, "%s", attr->b ? "true" : "false"); break;
    case TC_ATTR_STRING: tc_text_append_json(text, attr->s ? attr->s : ""); break;
    case TC_ATTR_DTYPE: tc_text_append(text, "%s", tc_dtype_name(attr->dtype)); break;
    case TC_ATTR_SHAPE: write_shape(attr->shape, text); break;
    case TC_ATTR_INTS:
    case TC_ATTR_FLOATS:
    case TC_ATTR_STRINGS:
        tc_text_append(text, "[");
        for (int32_t i = 0; i < attr->count; i++) {
            tc_text_append(text, "%s", i ? ", " : "");
            if (attr->type == TC_ATTR_INTS)
                tc_text_append(text, "%lld", (long long)attr->ints[i]);
            else if (attr->type == TC_ATTR_FLOATS)
                tc_text_append(text, "%.9g", attr->floats[i]);
            else
                tc_text_append_json(text, attr->strings[i]);
        }
        tc_text_append(text, "]");
        break;
    case TC_ATTR_TENSOR:
        if (attr->tensor)
            write_tensor(attr->tensor, text);
        else
            tc_text_append(text, "none");
        break;
    case TC_ATTR_FUNCTION: tc_text_append(text, "@%s", attr->s ? attr->s : ""); break;
    }
}
