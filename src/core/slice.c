#include "core/slice.h"

#include "core/shape.h"

const char *tc_slice_ranges(const tc_attrs *attrs, int32_t rank, tc_slice_range ranges[TC_MAX_RANK])
{
    int32_t count, ends, steps, listed;
    const int64_t *begin = tc_attrs_ints(attrs, "begin", &count);
    const int64_t *end = tc_attrs_ints(attrs, "end", &ends);
    const int64_t *strides = tc_attrs_ints(attrs, "strides", &steps);
    const int64_t *axes = tc_attrs_ints(attrs, "axes", &listed);
    if (ends != count)
        return "begin and end must have the same number of entries";
    if (steps && steps != count)
        return "strides must have as many entries as begin";
    if (listed && listed != count)
        return "axes must have as many entries as begin";
    if (count > rank)
        return "begin has more entries than the value has dimensions";
    for (int32_t d = 0; d < rank; d++)
        ranges[d] = (tc_slice_range){0, INT64_MAX, 1};
    uint32_t seen = 0;
    for (int32_t i = 0; i < count; i++) {
        int axis = listed ? tc_axis_normalize(axes[i], rank) : i;
        if (axis < 0)
            return "an entry of axes is not a dimension of the value";
        if (seen >> axis & 1u)
            return "axes lists a dimension twice";
        seen |= 1u << axis;
        ranges[axis] = (tc_slice_range){begin[i], end[i], steps ? strides[i] : 1};
        if (ranges[axis].stride == 0)
            return "a stride must not be 0";
    }
    return NULL;
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

int64_t tc_slice_count(tc_slice_range range, int64_t size, int64_t *first)
{
    bool forward = range.stride > 0;
    int64_t low = forward ? 0 : -1, high = forward ? size : size - 1; /* of begin and end */
    int64_t begin = clamp(range.begin < 0 ? range.begin + size : range.begin, low, high);
    int64_t end = clamp(range.end < 0 ? range.end + size : range.end, low, high);
    if (range.end == INT64_MAX)
        end = forward ? high : low;
    int64_t distance = forward ? end - begin : begin - end;
    /* Unsigned, because INT64_MIN has no negative. */
    uint64_t step = forward ? (uint64_t)range.stride : 0 - (uint64_t)range.stride;
    *first = begin;
    return distance > 0 ? (int64_t)((uint64_t)(distance - 1) / step) + 1 : 0;
}
