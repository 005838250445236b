/* Row-major places, for references that move elements one by one. */
#ifndef TC_TESTS_OPS_PLACES_H
#define TC_TESTS_OPS_PLACES_H

#include "op_case.h"

static inline int64_t elements_of(const tc_shape *shape)
{
    int64_t count = 1;
    for (int32_t d = 0; d < shape->rank; d++)
        count *= shape->dims[d].size;
    return count;
}

/** The place of element `index`. */
static inline void place_of(const tc_shape *shape, int64_t index, int64_t place[TC_MAX_RANK])
{
    for (int32_t d = shape->rank; d-- > 0;) {
        place[d] = index % shape->dims[d].size;
        index /= shape->dims[d].size;
    }
}

/** The element at `place`. */
static inline int64_t index_of(const tc_shape *shape, const int64_t place[TC_MAX_RANK])
{
    int64_t index = 0;
    for (int32_t d = 0; d < shape->rank; d++)
        index = index * shape->dims[d].size + place[d];
    return index;
}

/** A reference that keeps elements and order. */
static inline void copy_reference(const op_run *run)
{
    for (int64_t i = 0; i < elements_of(&run->output_shapes[0]); i++)
        run->outputs[0][i] = run->inputs[0][i];
}

#define COUNTED(...)                                                                             \
    {                                                                                            \
        (const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t) \
    }

#endif
