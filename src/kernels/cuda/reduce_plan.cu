#include "kernels/cuda/reduce.cuh"

/* Blocks that fill any device, and the fewest steps of a thread that are worth one more. */
#define WANTED_BLOCKS 1024
#define LEAST_STEPS   16

static int64_t divide_up(int64_t a, int64_t b)
{
    return a / b + (a % b != 0);
}

/* The power of 2 that is not below `n`, at most 2^most. */
static int32_t bits_for(int64_t n, int32_t most)
{
    int32_t bits = 0;
    while (bits < most && (int64_t{1} << bits) < n)
        bits++;
    return bits;
}

void reduce_axes(const tc_attrs *attrs, int32_t rank, bool reduced[TC_MAX_RANK])
{
    int32_t count;
    const int64_t *axes = tc_attrs_ints(attrs, "axes", &count);
    for (int32_t i = 0; i < TC_MAX_RANK; i++)
        reduced[i] = count == 0;
    for (int32_t i = 0; i < count; i++)
        reduced[tc_axis_normalize(axes[i], rank)] = true;
}

/* Copies all reduced dimensions behind the others. */
static void plan_copy(int32_t rank, const int64_t *sizes, const int64_t *strides, const bool *flags,
                      int32_t element, strided_plan *copy)
{
    strided_dim dims[TC_MAX_RANK];
    int32_t n = 0;
    for (int reduced = 0; reduced < 2; reduced++)
        for (int32_t i = 0; i < rank; i++)
            if (flags[i] == reduced)
                dims[n++] = {sizes[i], strides[i] * element, 0};
    int64_t to = element;
    for (int32_t i = n; i-- > 0; to *= dims[i].count)
        dims[i].to = to;
    strided_make(copy, n, dims, element, 0, 0);
}

bool reduce_collapse(const tc_shape *shape, const bool reduced[TC_MAX_RANK], int32_t element,
                     reduce_matrix *matrix, strided_plan *copy)
{
    int64_t sizes[TC_MAX_RANK], strides[TC_MAX_RANK], all_strides[TC_MAX_RANK];
    bool flags[TC_MAX_RANK];
    int32_t rank = 0, slices = 0;
    memset(matrix, 0, sizeof *matrix);
    tc_shape_strides(shape, all_strides);
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
        strides[rank - 1] = all_strides[i];
    }
    int32_t whole = rank;
    matrix->width = rank && !flags[rank - 1] ? sizes[--rank] : 1;
    int64_t rows = rank && flags[rank - 1] ? sizes[--rank] : 1, kept = 1, count = rows;
    for (int32_t i = 0; i < rank; i++) {
        slices += flags[i];
        *(flags[i] ? &count : &kept) *= sizes[i];
    }
    matrix->count = count;
    matrix->kept.count = kept;
    matrix->rows.shift = 31; /* 0 for all 32-bit indices */
    if (slices > 1) {
        plan_copy(whole, sizes, strides, flags, element, copy);
        matrix->kept.count *= matrix->width;
        matrix->width = matrix->kept.rank = 1;
        matrix->kept.sizes[0] = strided_divisor_of(matrix->kept.count);
        matrix->kept.strides[0] = count;
        return false;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (flags[i]) {
            matrix->rows = strided_divisor_of(rows);
            matrix->slice = strides[i] - rows * matrix->width;
            matrix->slices = true;
        } else {
            matrix->kept.sizes[matrix->kept.rank] = strided_divisor_of(sizes[i]);
            matrix->kept.strides[matrix->kept.rank++] = strides[i];
        }
    }
    return true;
}

tc_status reduce_lay_out(const reduce_matrix *m, int32_t most, reduce_layout *layout)
{
    memset(layout, 0, sizeof *layout);
    if (!strided_is_narrow(m->kept.count) || (m->slices && !strided_is_narrow(m->count)))
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                              "reducing %lld groups of %lld elements is too much for one kernel",
                              static_cast<long long>(m->kept.count * m->width),
                              static_cast<long long>(m->count));
    layout->vector = 1;
    layout->along = m->width == 1 && most > 1 && (m->slices ? m->rows.by : m->count) % most == 0;
    if (layout->along || (m->width > 1 && m->width % most == 0))
        layout->vector = most;
    int64_t columns = layout->along ? 1 : m->width / layout->vector;
    int64_t steps = layout->along ? m->count / layout->vector : m->count;
    layout->across_bits = bits_for(columns, 5);
    /* Along rows a group is at most a warp, or the whole block where rows are long or few. */
    int32_t down = 8 - layout->across_bits;
    if (layout->along && (steps <= 64 || (steps <= 1024 && m->kept.count >= WANTED_BLOCKS)))
        down = 5;
    layout->down_bits = bits_for(steps, down);
    int32_t group_bits = 8 - layout->across_bits - layout->down_bits;
    layout->tiles = strided_divisor_of(divide_up(columns, int64_t{1} << layout->across_bits));
    int64_t blocks = divide_up(m->kept.count, int64_t{1} << group_bits) * layout->tiles.by;
    if (blocks > INT32_MAX)
        return tc_kernel_fail(TC_RESOURCE_EXHAUSTED,
                              "a reduction to %lld elements is too much for one kernel",
                              static_cast<long long>(m->kept.count * m->width));
    layout->blocks = static_cast<int32_t>(blocks);
    layout->chunks = 1;
    layout->chunk = m->count;
    if (blocks == 0 || blocks >= WANTED_BLOCKS || group_bits > 0)
        return TC_OK;
    int64_t wanted = divide_up(WANTED_BLOCKS, blocks), unit = layout->along ? layout->vector : 1;
    int64_t worth = divide_up(steps, (int64_t{1} << layout->down_bits) * LEAST_STEPS);
    layout->chunk = divide_up(steps, wanted < worth ? wanted : worth) * unit;
    layout->chunks = static_cast<int32_t>(divide_up(m->count, layout->chunk));
    return TC_OK;
}
