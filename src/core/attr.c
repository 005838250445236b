#include <string.h>

#include "core/registry.h"

int tc_op_attr_index(const tc_op *op, const char *name)
{
    for (int i = 0; i < op->n_attrs; i++)
        if (strcmp(op->attrs[i].name, name) == 0)
            return i;
    return -1;
}

const tc_attr *tc_attrs_get(const tc_attrs *attrs, const char *name)
{
    if (!attrs || !attrs->op || !attrs->values || !name)
        return NULL;
    int index = tc_op_attr_index(attrs->op, name);
    return index < 0 ? NULL : &attrs->values[index];
}

static const tc_attr *get_typed(const tc_attrs *attrs, const char *name, tc_attr_type type)
{
    static const tc_attr zero;
    const tc_attr *attr = tc_attrs_get(attrs, name);
    return attr && attr->type == type ? attr : &zero;
}

int64_t tc_attrs_int(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_INT)->i;
}

double tc_attrs_float(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_FLOAT)->f;
}

bool tc_attrs_bool(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_BOOL)->b;
}

const char *tc_attrs_string(const tc_attrs *attrs, const char *name)
{
    const tc_attr *attr = tc_attrs_get(attrs, name);
    return attr && (attr->type == TC_ATTR_STRING || attr->type == TC_ATTR_FUNCTION) ? attr->s
                                                                                    : NULL;
}

tc_dtype tc_attrs_dtype(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_DTYPE)->dtype;
}

const tc_shape *tc_attrs_shape(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_SHAPE)->shape;
}

const int64_t *tc_attrs_ints(const tc_attrs *attrs, const char *name, int32_t *count)
{
    const tc_attr *attr = get_typed(attrs, name, TC_ATTR_INTS);
    if (count)
        *count = attr->count;
    return attr->ints;
}

const double *tc_attrs_floats(const tc_attrs *attrs, const char *name, int32_t *count)
{
    const tc_attr *attr = get_typed(attrs, name, TC_ATTR_FLOATS);
    if (count)
        *count = attr->count;
    return attr->floats;
}

tc_tensor *tc_attrs_tensor(const tc_attrs *attrs, const char *name)
{
    return get_typed(attrs, name, TC_ATTR_TENSOR)->tensor;
}
