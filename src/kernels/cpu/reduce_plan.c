#include "kernels/cpu/reduce_plan.h"

#include "core/shape.h"

/* Elements that are worth a task of their own, and tasks that keep any machine busy. */
#define UNIT_ELEMENTS (32 * 1024)
#define WANTED_UNITS  64

static int64_t minimum(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t maximum(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

void tc_reduce_plan_axes(const tc_attrs *attrs, int32_t rank, bool reduced[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(attrs, "axes", &count);
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        reduced[i] = count == 0;
    for (int32_t i = 0; i < count; i++)
        reduced[tc_axis_normalize(axes[i], rank)] = true;
}

static void add_dim(tc_reduce_dims *dims, int64_t size, int64_t stride)
{
    dims->sizes[dims->rank] = size;
    dims->strides[dims->rank++] = stride;
    dims->count *= size;
}

/* Finds the innermost matrix and the dimensions round it. */
static void collapse(const tc_shape *shape, const bool reduced[TC_MAX_RANK], tc_reduce_plan *plan)
{
    int64_t sizes[TC_MAX_RANK], strides[TC_MAX_RANK], shape_strides[TC_MAX_RANK];
    bool flags[TC_MAX_RANK];
    int32_t rank = 0;
    tc_shape_strides(shape, shape_strides);
    for (int32_t i = 0; i < shape->rank; i++) {
        int64_t size = shape->dims[i].size;
        if (size == 1)
            continue;
        if (rank && flags[rank - 1] == reduced[i]) {
            sizes[rank - 1] *= size;
        } else {
            flags[rank] = reduced[i];
            sizes[rank++] = size;
        }
        strides[rank - 1] = shape_strides[i];
    }
    plan->width = rank && !flags[rank - 1] ? sizes[--rank] : 1;
    plan->rows = rank && flags[rank - 1] ? sizes[--rank] : 1;
    plan->kept.count = plan->reduced.count = 1;
    for (int32_t i = 0; i < rank; i++)
        add_dim(flags[i] ? &plan->reduced : &plan->kept, sizes[i], strides[i]);
}

void tc_reduce_plan_make(const tc_shape *shape, const bool reduced[TC_MAX_RANK],
                         tc_reduce_plan *plan)
{
    *plan = (tc_reduce_plan){.divisor = 1};
    collapse(shape, reduced, plan);
    plan->count = plan->reduced.count * plan->rows;
    plan->tile = minimum(plan->width, TC_REDUCE_TILE);
    plan->tiles = plan->tile ? divide_up(plan->width, plan->tile) : 0;
    int64_t outputs = plan->kept.count * plan->tiles;
    if (plan->width == 1 && plan->reduced.rank == 0 && plan->rows <= TC_REDUCE_SHORT &&
        plan->kept.count > 1) {
        plan->short_rows = TC_REDUCE_TILE;
        plan->chunks = 1;
        plan->units = divide_up(plan->kept.count, plan->short_rows);
        plan->grain = maximum(1, UNIT_ELEMENTS / (plan->short_rows * maximum(plan->rows, 1)));
        return;
    }
    plan->group = plan->tile ? maximum(1, TC_REDUCE_LANES / plan->tile) : 1;
    plan->group = maximum(1, minimum(plan->group, plan->rows));
    plan->chunks = 1;
    plan->chunk_rows = plan->count;
    if (outputs > 0 && outputs < WANTED_UNITS && plan->count > 0) {
        int64_t rows = maximum(divide_up(plan->count, divide_up(WANTED_UNITS, outputs)),
                               divide_up(UNIT_ELEMENTS, plan->tile));
        plan->chunk_rows = minimum(plan->count, divide_up(rows, plan->group) * plan->group);
        plan->chunks = divide_up(plan->count, plan->chunk_rows);
    }
    plan->units = outputs * plan->chunks;
    plan->grain = maximum(1, UNIT_ELEMENTS /
                                 maximum(1, minimum(UNIT_ELEMENTS, plan->chunk_rows) * plan->tile));
}
