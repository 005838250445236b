#include "core/shape.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

static bool tc_rank_is_valid(const tc_shape *shape)
{
    return shape && shape->rank >= 0 && shape->rank <= TC_MAX_RANK;
}

/* Names are interned within a graph, but shapes of different graphs and of callers meet here too.
 */
static bool tc_name_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool tc_dim_equal(tc_dim a, tc_dim b)
{
    return a.size == b.size && (a.size >= 0 || tc_name_equal(a.name, b.name));
}

bool tc_dim_same(tc_dim a, tc_dim b)
{
    return tc_dim_equal(a, b) && (a.size >= 0 || a.name);
}

bool tc_shape_is_known(const tc_shape *shape)
{
    if (!tc_rank_is_valid(shape))
        return false;
    for (int32_t i = 0; i < shape->rank; i++)
        if (!tc_dim_is_known(shape->dims[i]))
            return false;
    return true;
}

int64_t tc_shape_size(const tc_shape *shape)
{
    if (!tc_shape_is_known(shape))
        return -1;
    /*
     * Zeros are left out of the product, so that neither its overflow nor that of strides depends
     * on their place.
     */
    int64_t size = 1;
    bool empty = false;
    for (int32_t i = 0; i < shape->rank; i++) {
        if (shape->dims[i].size == 0)
            empty = true;
        else if (!tc_mul_i64(size, shape->dims[i].size, &size))
            return -1;
    }
    return empty ? 0 : size;
}

bool tc_shape_equal(const tc_shape *a, const tc_shape *b)
{
    if (!tc_rank_is_valid(a) || !tc_rank_is_valid(b) || a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (!tc_dim_equal(a->dims[i], b->dims[i]))
            return false;
    return true;
}

tc_status tc_shape_valid(const tc_shape *shape)
{
    if (!shape)
        return tc_fail(TC_INVALID_ARGUMENT, "the shape is NULL");
    if (!tc_rank_is_valid(shape))
        return tc_fail(TC_INVALID_ARGUMENT, "the rank of a shape must be 0 to %d", TC_MAX_RANK);
    char text[TC_SHAPE_TEXT_SIZE];
    for (int32_t i = 0; i < shape->rank; i++) {
        tc_dim dim = shape->dims[i];
        if (dim.size < -1)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "dimension %d is %lld; sizes must be 0 or more, or -1 when unknown",
                           (int)i, (long long)dim.size);
        if (dim.name && dim.size >= 0)
            return tc_fail(TC_INVALID_ARGUMENT,
                           "dimension %d has the size %lld and the name '%s'; only unknown "
                           "dimensions have names",
                           (int)i, (long long)dim.size, dim.name);
        if (dim.name && !dim.name[0])
            return tc_fail(TC_INVALID_ARGUMENT, "the name of dimension %d is empty", (int)i);
    }
    if (tc_shape_is_known(shape) && tc_shape_size(shape) < 0)
        return tc_fail(TC_INVALID_ARGUMENT,
                       "the number of elements of shape %s does not fit in 64 bits",
                       tc_shape_text(shape, text));
    return TC_OK;
}

static bool tc_dim_broadcast(tc_dim a, tc_dim b, tc_dim *out)
{
    if (a.size == 1) {
        *out = b;
    } else if (b.size == 1) {
        *out = a;
    } else if (tc_dim_is_known(a) && tc_dim_is_known(b)) {
        if (a.size != b.size)
            return false;
        *out = a;
    } else if (tc_dim_is_known(a)) {
        *out = a;
    } else if (tc_dim_is_known(b)) {
        *out = b;
    } else {
        *out = a;
        if (!tc_name_equal(a.name, b.name))
            out->name = NULL;
    }
    return true;
}

bool tc_shape_broadcast(const tc_shape *a, const tc_shape *b, tc_shape *out)
{
    if (!tc_rank_is_valid(a) || !tc_rank_is_valid(b))
        return false;
    int32_t rank = a->rank > b->rank ? a->rank : b->rank;
    tc_shape result = tc_shape_make(0, NULL);
    result.rank = rank;
    for (int32_t i = 0; i < rank; i++) {
        int32_t in_a = i - (rank - a->rank);
        int32_t in_b = i - (rank - b->rank);
        tc_dim one = {1, NULL};
        if (!tc_dim_broadcast(in_a < 0 ? one : a->dims[in_a], in_b < 0 ? one : b->dims[in_b],
                              &result.dims[i]))
            return false;
    }
    *out = result;
    return true;
}

/* A name that occurs twice in `named` must not meet two known sizes in `other`. */
static bool tc_names_consistent(const tc_shape *named, const tc_shape *other)
{
    for (int32_t i = 0; i < named->rank; i++) {
        if (tc_dim_is_known(named->dims[i]) || !named->dims[i].name ||
            !tc_dim_is_known(other->dims[i]))
            continue;
        for (int32_t j = 0; j < i; j++)
            if (tc_dim_same(named->dims[i], named->dims[j]) && tc_dim_is_known(other->dims[j]) &&
                other->dims[i].size != other->dims[j].size)
                return false;
    }
    return true;
}

bool tc_shape_compatible(const tc_shape *a, const tc_shape *b)
{
    if (!tc_rank_is_valid(a) || !tc_rank_is_valid(b) || a->rank != b->rank)
        return false;
    for (int32_t i = 0; i < a->rank; i++)
        if (tc_dim_is_known(a->dims[i]) && tc_dim_is_known(b->dims[i]) &&
            a->dims[i].size != b->dims[i].size)
            return false;
    return tc_names_consistent(a, b) && tc_names_consistent(b, a);
}

int tc_axis_normalize(int64_t axis, int32_t rank)
{
    if (axis < -(int64_t)rank || axis >= rank)
        return -1;
    return (int)(axis < 0 ? axis + rank : axis);
}

void tc_shape_strides(const tc_shape *shape, int64_t strides[TC_MAX_RANK])
{
    for (int i = 0; i < TC_MAX_RANK; i++)
        strides[i] = 0;
    if (!tc_rank_is_valid(shape))
        return;
    int64_t stride = 1;
    for (int32_t i = shape->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        if (shape->dims[i].size > 0 && !tc_mul_i64(stride, shape->dims[i].size, &stride))
            stride = INT64_MAX; /* only for shapes that tc_shape_valid rejects */
    }
}

size_t tc_shape_format(const tc_shape *shape, char *buffer, size_t size)
{
    size_t length = 0;
    if (!buffer)
        size = 0;
/* snprintf with the room that is left; `length` goes on counting when there is none. */
#define TC_PUT(...)                                                    \
    length += (size_t)snprintf(length < size ? buffer + length : NULL, \
                               length < size ? size - length : 0, __VA_ARGS__)
    if (!tc_rank_is_valid(shape)) {
        TC_PUT("[invalid]");
        return length;
    }
    TC_PUT("[");
    for (int32_t i = 0; i < shape->rank; i++) {
        tc_dim dim = shape->dims[i];
        TC_PUT("%s", i ? ", " : "");
        if (tc_dim_is_known(dim))
            TC_PUT("%lld", (long long)dim.size);
        else
            TC_PUT("%s", dim.name ? dim.name : "?");
    }
    TC_PUT("]");
#undef TC_PUT
    return length;
}

const char *tc_shape_text(const tc_shape *shape, char buffer[TC_SHAPE_TEXT_SIZE])
{
    tc_shape_format(shape, buffer, TC_SHAPE_TEXT_SIZE);
    return buffer;
}
