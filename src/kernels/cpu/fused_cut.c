/* How the domain of a fused program is cut into units and tiles: see fused_plan.h. */
#include <string.h>

#include "core/dtype.h"
#include "core/shape.h"
#include "kernels/cpu/fused_plan.h"
#include "kernels/cpu/reduce_plan.h"

/* Rows shorter than this are put together, because each step has a price. */
#define SHORT_ROW 128

typedef struct cutter {
    const tc_fused_program *p;
    tc_fused_plan *plan;
    tc_fused_layout *layouts;
} cutter;

/* Strides of an input along the axes of the domain, 0 where it is repeated. */
static void input_strides(const tc_shape *in, int32_t shift, const tc_shape *domain,
                          int64_t strides[TC_MAX_RANK])
{
    int64_t dense[TC_MAX_RANK];
    tc_shape_strides(in, dense);
    memset(strides, 0, TC_MAX_RANK * sizeof *strides);
    for (int32_t d = 0; d < in->rank; d++)
        if (in->dims[d].size != 1)
            strides[domain->rank - shift - in->rank + d] = dense[d];
}

static void merge_layout(tc_fused_layout *layout, const tc_shape *shape, const int64_t *strides)
{
    int rank = 0;
    for (int32_t d = 0; d < shape->rank; d++) {
        int64_t size = shape->dims[d].size;
        if (size == 1)
            continue;
        bool joins = rank > 0 && layout->strides[rank - 1] == strides[d] * size;
        rank += !joins;
        layout->dims[rank - 1] = joins ? layout->dims[rank - 1] * size : size;
        layout->strides[rank - 1] = strides[d];
    }
    layout->rank = rank;
    layout->run = rank ? layout->dims[rank - 1] : 1;
    layout->step = rank ? layout->strides[rank - 1] : 0;
}

static int64_t size_of(const tc_shape *shape, int32_t first, int32_t last)
{
    int64_t size = 1;
    for (int32_t d = first; d < last; d++)
        size *= shape->dims[d].size;
    return size;
}

/* The matrix, and where inputs lie in it. */
static void find_layouts(cutter *e, const tc_value_info *inputs, const tc_shape *domain)
{
    tc_fused_plan *plan = e->plan;
    int32_t axes = domain->rank - e->p->columns;
    tc_shape outer = *domain;
    outer.rank = axes;
    plan->rows = e->p->columns ? size_of(domain, 0, axes) : 1;
    plan->columns = e->p->columns ? size_of(domain, axes, domain->rank) : tc_shape_size(domain);
    for (int32_t i = 0; i < e->p->n_inputs; i++) {
        tc_fused_layout *layout = &e->layouts[i];
        if (inputs[i].dtype == TC_DTYPE_INVALID)
            continue;
        int64_t strides[TC_MAX_RANK];
        input_strides(&inputs[i].shape, e->p->inputs[i].shift, domain, strides);
        layout->size = (uint8_t)tc_dtype_size(inputs[i].dtype);
        layout->full = e->p->inputs[i].full;
        merge_layout(layout, layout->full ? domain : &outer, strides);
    }
}

/* Without reductions a row is what lies between two changes of pattern, if that is long. */
static void cut_rows(cutter *e)
{
    tc_fused_plan *plan = e->plan;
    int64_t row = plan->columns;
    for (int32_t i = 0; i < e->p->n_inputs; i++) {
        const tc_fused_layout *layout = &e->layouts[i];
        if (layout->full && layout->rank > 1 && layout->run >= SHORT_ROW && layout->run < row)
            row = layout->run;
    }
    if (row > 0) {
        plan->rows = plan->columns / row;
        plan->columns = row;
    }
}

static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

static int64_t at_most(int64_t a, int64_t limit)
{
    return a < limit ? a : limit;
}

/* Where every input of a tile of short runs repeats, tiles begin with a run. */
static void align_tile(cutter *e)
{
    int64_t longest = 1;
    for (int32_t i = 0; i < e->p->n_inputs; i++) {
        const tc_fused_layout *layout = &e->layouts[i];
        if (layout->full && layout->rank > 1 && layout->run <= e->plan->tile &&
            layout->run < e->plan->columns && layout->run > longest)
            longest = layout->run;
    }
    e->plan->tile -= e->plan->tile % longest;
}

/* Cuts the matrix into units. */
static void cut_units(cutter *e, int64_t tile, bool by_rows)
{
    tc_fused_plan *plan = e->plan;
    plan->together = 1;
    plan->by_rows = by_rows;
    plan->whole = true;
    plan->tile = at_most(plan->columns, tile);
    plan->chunk = plan->columns;
    plan->chunks = 1;
    if (!by_rows) {
        align_tile(e);
        plan->units = plan->tile ? plan->rows * divide_up(plan->columns, plan->tile) : 0;
    } else if (plan->columns <= tile) {
        if (plan->columns < SHORT_ROW)
            plan->together = at_most(plan->rows, plan->columns ? tile / plan->columns : tile);
        plan->together = plan->together ? plan->together : 1;
        plan->tile = plan->together * plan->columns;
        plan->units = divide_up(plan->rows, plan->together);
    } else {
        plan->whole = false;
        plan->units = plan->rows;
    }
    for (int32_t i = 0; i < e->p->n_inputs; i++) {
        tc_fused_layout *layout = &e->layouts[i];
        int64_t length =
            layout->full ? plan->columns * (by_rows ? plan->together : 1) : plan->together;
        layout->gather = layout->rank > 1 && (layout->full || plan->together > 1) &&
                         (layout->run < length || (by_rows && plan->together > 1));
        layout->periodic = layout->gather && layout->full && plan->whole && layout->rank == 2 &&
                           layout->strides[0] == 0 && plan->tile % layout->run == 0;
    }
}

/* Reductions add in the order of their own kernels: the same lanes, chunks and flushes. */
static void plan_reductions(cutter *e)
{
    tc_fused_plan *plan = e->plan;
    const tc_shape shape = tc_shape_of(2, (const int64_t[]){plan->rows, plan->columns});
    const bool reduced[TC_MAX_RANK] = {false, true};
    tc_reduce_plan like;
    tc_reduce_plan_make(&shape, reduced, &like);
    plan->one_by_one = like.short_rows > 0;
    plan->group = at_most(plan->columns, TC_FUSED_LANES);
    plan->group = plan->group ? plan->group : 1;
    if (!plan->whole && like.chunks > 1) {
        plan->chunk = like.chunk_rows;
        plan->chunks = like.chunks;
    }
}

void tc_fused_cut(const tc_fused_program *program, const tc_value_info *inputs,
                  const tc_shape *domain, int64_t tile, tc_fused_plan *plan,
                  tc_fused_layout *layouts)
{
    cutter c = {program, plan, layouts};
    find_layouts(&c, inputs, domain);
    if (program->columns == 0)
        cut_rows(&c);
    cut_units(&c, tile, program->columns > 0);
    plan_reductions(&c);
}
